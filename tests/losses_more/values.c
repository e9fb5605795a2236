/* values.c - compares every loss with its closed form in long double. Reductions, dtypes, edges.
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"

TestSuite(values, .init = begin, .fini = end);

/* ---- Closed forms ---------------------------------------------------------------------------- */

static bool is(const spec *s, const char *loss) { return strcmp(s->loss, loss) == 0; }

/* Returns the loss of one element. z is the variance. */
static long double element(const spec *s, long double x, long double y, long double z)
{
    const long double d = fabsl(x - y), width = (long double)s->number, pi = acosl(-1);
    if (is(s, "mse"))
        return d * d;
    if (is(s, "l1"))
        return d;
    if (is(s, "huber"))
        return d < width ? d * d / 2 : width * (d - width / 2);
    if (is(s, "smooth_l1"))
        return d < width ? d * d / 2 / width : d - width / 2;
    if (is(s, "kl_div"))
        return s->log_target ? expl(y) * (y - x) : y * (logl(y) - x);
    if (is(s, "soft_margin"))
        return log1pl(expl(-x * y));
    if (is(s, "hinge_embedding"))
        return y == 1 ? x : fmaxl(0, (long double)s->margin - x);
    if (is(s, "poisson_nll")) {
        const long double more = s->full ? y * logl(y) - y + logl(2 * pi * y) / 2 : 0;
        return (s->rate_input ? x - y * logl(x + (long double)s->eps) : expl(x) - y * x) + more;
    }
    const long double v = fmaxl(z, (long double)s->eps); /* gaussian_nll */
    return (logl(v) + d * d / v) / 2 + (s->full ? logl(2 * pi) / 2 : 0);
}

/* Returns the log probability of class c in a sample x of n classes. */
static long double log_probability(const double *x, int n, int c)
{
    long double sum = 0;
    for (int i = 0; i < n; i++)
        sum += expl((long double)x[i] - (long double)x[c]);
    return -logl(sum);
}

static long double labelled(const spec *s, const double *x, const double *w, int n, int t)
{
    const bool logits = is(s, "cross_entropy");
    const long double e = logits ? (long double)s->label_smoothing : 0;
    long double all = 0, own = 0;
    for (int c = 0; c < n; c++) {
        const long double term =
            -(w ? (long double)w[c] : 1) * (logits ? log_probability(x, n, c) : (long double)x[c]);
        all += term;
        own = c == t ? term : own;
    }
    return (1 - e) * own + e / n * all;
}

static long double length(const spec *s, const double *a, const double *b, int n)
{
    const long double p = (long double)s->p, eps = (long double)s->eps;
    long double sum = 0;
    for (int i = 0; i < n; i++)
        sum += powl(fabsl((long double)a[i] - (long double)b[i] + eps), p);
    return powl(sum, 1 / p);
}

static long double cosine(const double *a, const double *b, int n)
{
    long double ab = 0, aa = 1e-12L, bb = 1e-12L;
    for (int i = 0; i < n; i++) {
        ab += (long double)a[i] * (long double)b[i];
        aa += (long double)a[i] * (long double)a[i];
        bb += (long double)b[i] * (long double)b[i];
    }
    return ab / sqrtl(aa * bb);
}

static long double row(const spec *s, const double *x, const double *y, const double *z,
                       const double *w, int n)
{
    long double sum = 0;
    if (is(s, "triplet_margin")) {
        long double far = length(s, x, z, n);
        far = s->swap ? fminl(far, length(s, y, z, n)) : far;
        return fmaxl(0, (long double)s->margin + length(s, x, y, n) - far);
    }
    if (is(s, "cosine_embedding"))
        return *y == 1 ? 1 - cosine(x, z, n) : fmaxl(0, cosine(x, z, n) - (long double)s->margin);
    for (int c = 0; c < n; c++) { /* multilabel_soft_margin, or cross_entropy of probabilities */
        const long double up = log1pl(expl(-(long double)x[c])), t = y[c];
        const long double term = is(s, "cross_entropy")
                                     ? -t * log_probability(x, n, c)
                                     : (t * up + (1 - t) * (up + (long double)x[c])) / n;
        sum += (w ? (long double)w[c] : 1) * term;
    }
    return sum;
}

/* ---- All of them ----------------------------------------------------------------------------- */

static void expect_close(const spec *s, const char *what, double got, long double want)
{
    cr_expect(fabsl((long double)got - want) <= 1e-14L + 2e-14L * fabsl(want),
              "%s, %s: %.17g, not %.17Lg", s->loss, what, got, want);
}

/* Checks each loss, and then their sum and mean. denominator is that of the mean. */
static void expect_losses(spec *s, const long double *want, int64_t count, long double denominator)
{
    s->reduction = GR_NONE;
    gr_tensor *each = call_loss(s);
    expect_fine(ctx);
    cr_assert_eq(gr_numel(each), count, "%s", s->loss);
    double *got = values_of(each);
    long double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        expect_close(s, "each", got[i], want[i]);
        sum += want[i];
    }
    free(got);
    s->reduction = GR_SUM;
    expect_close(s, "sum", gr_item(call_loss(s)), sum);
    s->reduction = GR_MEAN;
    expect_close(s, "mean", gr_item(call_loss(s)), sum / denominator);
}

enum { N = 6, C = 5, TIMES = 25 };

static void check_elements(const char *loss)
{
    for (int i = 0; i < TIMES * VARIANTS; i++) {
        spec s = sample_of(ctx, loss, i % VARIANTS, gr_shape(N, C));
        double *x = values_of(s.x), *y = values_of(s.y), *z = s.z ? values_of(s.z) : NULL;
        long double want[N * C];
        for (int k = 0; k < N * C; k++)
            want[k] = element(&s, (long double)x[k], (long double)y[k], z ? (long double)z[k] : 0);
        expect_losses(&s, want, N * C, N * C);
        free(x), free(y), free(z);
    }
}

#define CHECK_ELEMENTS(name)                                                                       \
    Test(values, name) { check_elements(#name); }
CHECK_ELEMENTS(mse)
CHECK_ELEMENTS(l1)
CHECK_ELEMENTS(huber)
CHECK_ELEMENTS(smooth_l1)
CHECK_ELEMENTS(kl_div)
CHECK_ELEMENTS(poisson_nll)
CHECK_ELEMENTS(gaussian_nll)
CHECK_ELEMENTS(soft_margin)
CHECK_ELEMENTS(hinge_embedding)

static void check_rows(const char *loss)
{
    for (int i = 0; i < TIMES * VARIANTS; i++) {
        spec s = sample_of(ctx, loss, i % VARIANTS, gr_shape(N, C));
        double *x = values_of(s.x), *y = values_of(s.y), *z = s.z ? values_of(s.z) : NULL;
        double *w = s.w ? values_of(s.w) : NULL;
        const bool labels = !gr_dtype_is_float(gr_dtype_of(s.y));
        long double want[N], denominator = labels ? 0 : N;
        for (int r = 0; r < N; r++) {
            const int t = labels ? (int)y[r] : 0, at = gr_ndim(s.y) == 1 ? r : r * C;
            const bool kept = t != s.ignore_index;
            if (labels)
                want[r] = kept ? labelled(&s, x + (ptrdiff_t)r * C, w, C, t) : 0;
            else
                want[r] =
                    row(&s, x + (ptrdiff_t)r * C, y + at, z ? z + (ptrdiff_t)r * C : NULL, w, C);
            if (labels && kept)
                denominator += w ? (long double)w[t] : 1;
        }
        if (denominator > 0)
            expect_losses(&s, want, N, denominator);
        free(x), free(y), free(z), free(w);
    }
}

#define CHECK_ROWS(name)                                                                           \
    Test(values, name) { check_rows(#name); }
CHECK_ROWS(nll)
CHECK_ROWS(cross_entropy)
CHECK_ROWS(multilabel_soft_margin)
CHECK_ROWS(cosine_embedding)
CHECK_ROWS(triplet_margin)

Test(values, softmax_and_its_logarithm)
{
    for (int i = 0; i < TIMES; i++) {
        gr_tensor *x = sample(ctx, GR_F64, gr_shape(N, C), -30, 30);
        double *in = values_of(x), *s = values_of(gr_softmax(x, 1)),
               *l = values_of(gr_log_softmax(x, 1));
        const spec name = {.loss = "softmax"};
        for (int k = 0; k < N * C; k++) {
            const long double want = log_probability(in + k / C * C, C, k % C);
            expect_close(&name, "log", l[k], want);
            expect_close(&name, "value", s[k], expl(want));
        }
        free(in), free(s), free(l);
    }
}

/* ---- What is special ------------------------------------------------------------------------- */

Test(values, kl_div_over_the_batch)
{
    spec s = sample_of(ctx, "kl_div", 0, gr_shape(4, 3));
    s.reduction = GR_SUM;
    const double sum = gr_item(call_loss(&s));
    cr_expect_eq(gr_item(gr_kl_div(s.x, s.y, .batch_mean = true)), sum / 4);
}

/* Far in the tail a loss keeps its digits: it is e^-80 and not 0. Nothing overflows. */
Test(values, a_tail_keeps_its_digits)
{
    gr_tensor *x = gr_from_data(ctx, GR_F32, gr_shape(2, 2), (float[]){80, 0, 3e38f, -3e38f});
    gr_tensor *y = gr_from_data(ctx, GR_U8, gr_shape(2), (uint8_t[]){0, 0});
    double *loss = values_of(gr_cross_entropy(x, y, .reduction = GR_NONE));
    cr_expect_float_eq(loss[0] / exp(-80), 1, 1e-6);
    cr_expect_eq(loss[1], 0);
    free(loss);
    gr_tensor *z = gr_full(ctx, GR_F64, gr_shape(1), 700);
    cr_expect_float_eq(gr_item(gr_soft_margin(z, gr_ones_like(z))) / exp(-700), 1, 1e-12);
    cr_expect_eq(gr_item(gr_soft_margin(gr_mul(z, z), gr_neg(gr_ones_like(z)))), 490000);
}

/* A class with logit -inf has no influence. A sample with only such classes, with +inf or with NaN
   gives NaN. */
Test(values, infinite_logits)
{
    gr_tensor *x = gr_variable(gr_from_data(ctx, GR_F64, gr_shape(3), (double[]){1, -INFINITY, 1}));
    EXPECT_VALUES(gr_softmax(x, 0), 0.5, 0, 0.5);
    gr_tensor *y = gr_from_data(ctx, GR_I32, gr_shape(), &(int32_t){2});
    gr_tensor *loss = gr_cross_entropy(x, y);
    cr_expect_float_eq(gr_item(loss), log(2), 1e-16);
    EXPECT_VALUES(gr_grad(loss, x), 0.5, 0, -0.5);
    const double rows[3][2] = {{-INFINITY, -INFINITY}, {INFINITY, 0}, {NAN, 0}};
    for (int i = 0; i < 3; i++) {
        gr_tensor *row_ = gr_from_data(ctx, GR_F64, gr_shape(2), rows[i]);
        cr_expect(isnan(gr_get(gr_softmax(row_, 0), gr_index(0))));
        cr_expect(isnan(gr_get(gr_log_softmax(row_, 0), gr_index(0))));
    }
}

/* Ignored samples have neither loss nor gradient, for any values in them. If all are ignored, the
   mean is 0 over 0. */
Test(values, ignored_rows_do_not_count)
{
    const double data[] = {0.5, 1, NAN, INFINITY, 2, 0};
    gr_tensor *x = gr_variable(gr_from_data(ctx, GR_F64, gr_shape(3, 2), data));
    gr_tensor *y = gr_from_data(ctx, GR_I64, gr_shape(3), (int64_t[]){1, -100, 0});
    gr_tensor *alone = gr_from_data(ctx, GR_F64, gr_shape(2, 2), (double[]){0.5, 1, 2, 0});
    gr_tensor *z = gr_from_data(ctx, GR_I64, gr_shape(2), (int64_t[]){1, 0});
    for (int k = 0; k < 2; k++) {
        const double e = k * 0.1;
        gr_tensor *loss = gr_cross_entropy(x, y, .label_smoothing = e), *g = gr_grad(loss, x);
        cr_expect_eq(gr_item(loss), gr_item(gr_cross_entropy(alone, z, .label_smoothing = e)));
        cr_expect_eq(gr_get(g, gr_index(1, 0)), 0);
        cr_expect_eq(gr_get(g, gr_index(1, 1)), 0);
        cr_expect(isfinite(gr_get(g, gr_index(0, 0))) && gr_get(g, gr_index(0, 0)) != 0);
    }
    cr_expect_eq(gr_item(gr_nll(x, y)), (-1.0 - 2) / 2);
    gr_tensor *none = gr_full(ctx, GR_U8, gr_shape(3), 7);
    cr_expect(isnan(gr_item(gr_cross_entropy(x, none, .ignore_index = 7))));
    cr_expect_eq(gr_item(gr_nll(x, none, .ignore_index = 7, .reduction = GR_SUM)), 0);
}

Test(values, nan_comes_through)
{
    for (int variant = 0; variant < 2; variant++) {
#define NAN_IN(name)                                                                               \
    {                                                                                              \
        spec s = sample_of(ctx, #name, variant, gr_shape(2, 3));                                   \
        s.x = gr_full(ctx, GR_F64, gr_shape(2, 3), NAN);                                           \
        cr_expect(isnan(gr_item(gr_sum(call_loss(&s)))), #name);                                   \
    }
        LOSSES(NAN_IN)
    }
}

/* ---- Shapes and dtypes ----------------------------------------------------------------------- */

#define EACH(name) #name,
static const char *const names[] = {LOSSES(EACH)};

static gr_tensor *as(gr_tensor *x, gr_dtype dtype)
{
    return x && gr_dtype_is_float(gr_dtype_of(x)) ? gr_cast(x, dtype) : x;
}

/* A half gives the f32 result for the same numbers, rounded once. */
Test(values, halves_are_rounded_once)
{
    const gr_dtype halves[] = {GR_F16, GR_BF16};
    for (int i = 0; i < 2 * COUNT_OF(names); i++) {
        const gr_dtype half = halves[i % 2];
        spec s = sample_of(ctx, names[i / 2], i % 2, gr_shape(3, 4)), wide;
        s.x = as(s.x, half), s.y = as(s.y, half), s.z = as(s.z, half), s.w = as(s.w, half);
        wide = s;
        wide.x = as(s.x, GR_F32), wide.y = as(s.y, GR_F32), wide.z = as(s.z, GR_F32);
        wide.w = as(s.w, GR_F32);
        if (strstr(s.loss, "softmax")) /* call_loss multiplies by y */
            s.y = gr_ones_like(s.y), wide.y = gr_ones_like(wide.y);
        gr_tensor *loss = call_loss(&s);
        cr_expect_eq(gr_dtype_of(loss), half);
        cr_expect(same_bits(loss, gr_cast(call_loss(&wide), half)), "%s", s.loss);
    }
    expect_fine(ctx);
}

/* With no elements, a sum is 0, a mean is NaN, and no reduction gives no elements. */
Test(values, empty_inputs)
{
    for (int i = 0; i < COUNT_OF(names) - 2; i++) {
        spec s = sample_of(ctx, names[i], 0, gr_shape(0, 3));
        cr_expect(isnan(gr_item(call_loss(&s))), "%s", names[i]);
        s.reduction = GR_SUM;
        cr_expect_eq(gr_item(call_loss(&s)), 0, "%s", names[i]);
        s.reduction = GR_NONE;
        cr_expect_eq(gr_numel(call_loss(&s)), 0, "%s", names[i]);
    }
    expect_shape(gr_softmax(gr_zeros(ctx, GR_F32, gr_shape(2, 0)), 1), gr_shape(2, 0));
    expect_shape(gr_log_softmax(gr_zeros(ctx, GR_F32, gr_shape(0, 2)), 1), gr_shape(0, 2));
    expect_fine(ctx);
}

/* A single number is a valid input if the loss needs no axis. */
Test(values, zero_dimensions)
{
    const char *scalars[] = {
        "mse",          "l1",          "huber",           "smooth_l1", "kl_div",     "poisson_nll",
        "gaussian_nll", "soft_margin", "hinge_embedding", "softmax",   "log_softmax"};
    for (int i = 0; i < COUNT_OF(scalars); i++) {
        spec s = sample_of(ctx, scalars[i], 1, gr_shape(1));
        const double one = gr_item(call_loss(&s));
        s.x = gr_reshape(s.x, gr_shape());
        s.y = gr_reshape(s.y, gr_shape());
        s.z = s.z ? gr_reshape(s.z, gr_shape()) : NULL;
        cr_expect_eq(gr_item(call_loss(&s)), one, "%s", scalars[i]);
    }
    spec s = sample_of(ctx, "cosine_embedding", 1, gr_shape(1, 3));
    const double one = gr_item(call_loss(&s));
    s.x = gr_reshape(s.x, gr_shape(3)), s.z = gr_reshape(s.z, gr_shape(3));
    s.y = gr_reshape(s.y, gr_shape());
    cr_expect_eq(gr_item(call_loss(&s)), one);
    expect_fine(ctx);
}

/* A target of whole numbers, and a gr_scalar that takes the input's dtype. */
Test(values, targets_of_other_dtypes)
{
    gr_tensor *x = gr_from_data(ctx, GR_F32, gr_shape(2), (float[]){0.5f, 2});
    gr_tensor *y = gr_from_data(ctx, GR_BOOL, gr_shape(2), (uint8_t[]){1, 0});
    EXPECT_VALUES(gr_mse(x, y, .reduction = GR_NONE), 0.25, 4);
    EXPECT_VALUES(gr_l1(gr_full(ctx, GR_F32, gr_shape(), 3), gr_scalar(ctx, 1)), 2);
    /* PyTorch also allows other targets in hinge_embedding: both terms apply. */
    gr_tensor *zero = gr_zeros(ctx, GR_I32, gr_shape(2));
    EXPECT_VALUES(gr_hinge_embedding(x, zero, .reduction = GR_NONE), 1, 2);
}
