/* accuracy.c - the errors of values and gradients, in units in the last place.
 *
 * The reference is the closed form in long double. The unit is the ulp of the true result, or of
 * its largest term if that is larger. Terms can cancel (in a gradient near the probability that
 * equals the target). Then no method that rounds its terms can do better. Elsewhere the unit is the
 * ulp of the result.
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"

TestSuite(accuracy, .init = begin, .fini = end);

/* ---- Elements -------------------------------------------------------------------------------- */

enum { GRID = 4001 };

/* Logits from -1e4 to 1e4, dense near 0: half of them are within 313, a third within 42. */
static double logit_at(int i)
{
    const double t = (2.0 * i - (GRID - 1)) / (GRID - 1);
    return 1e4 * (t * t) * (t * t) * t;
}

/* Probabilities from 0 to 1, dense at both ends: from 1e-40 to the largest number below 1. */
static double probability_at(int i)
{
    const double t = (double)i / (GRID - 1);
    return i < GRID / 2 ? exp2(-140 * (1 - 2 * t)) / 2 : 1 - exp2(-54 * (2 * t - 1)) / 2;
}

static const double HARD[] = {0, 1}, SOFT[] = {.5, .1, .9, 1e-6, .3, .7, 1.5, -.25};

typedef struct setting {
    loss_kind kind;
    gr_dtype dtype;
    double w, p;            /* p = 0: no pos_weight */
    gr_reduction reduction; /* GR_NONE: the losses are measured too */
} setting;

/* Finds the largest error of each quantity over the grid, with one target. */
static void measure(const setting *s, double target, double *most)
{
    static double x[GRID], y[GRID], w[GRID], p[GRID];
    for (int i = 0; i < GRID; i++) {
        x[i] = s->kind == LOGITS ? logit_at(i) : probability_at(i);
        y[i] = target;
        w[i] = s->w;
        p[i] = s->p;
    }
    const gr_dims shape = gr_shape(GRID);
    gr_tensor *in[] = {make(s->dtype, shape, x), make(s->dtype, shape, y), make(s->dtype, shape, w),
                       make(s->dtype, shape, p)};
    const outcome out =
        run(s->kind, in[0],
            (gr_bce_args){GR_BCE_DEFAULTS, .target = in[1], .weight = in[2],
                          .pos_weight = s->p != 0 ? in[3] : NULL, .reduction = s->reduction},
            false);
    double *from[4], *got[QUANTITIES];
    for (int i = 0; i < 4; i++)
        from[i] = values_of(in[i]);
    for (int k = 0; k < QUANTITIES; k++) {
        const bool alike = out.at[k] && (k != LOSS || s->reduction == GR_NONE);
        got[k] = alike ? values_of(out.at[k]) : NULL;
    }
    for (int i = 0; i < GRID; i++) {
        const point a = {from[0][i], from[1][i], from[2][i], s->p != 0 ? from[3][i] : 1};
        const truth t = truth_of(s->kind, a);
        for (int k = 0; k < QUANTITIES; k++) {
            const double off = got[k] ? ulps_off(s->dtype, got[k][i], t.at[k], t.scale[k]) : 0;
            most[k] = fmax(most[k], off);
        }
    }
    for (int i = 0; i < 4; i++)
        free(from[i]);
    for (int k = 0; k < QUANTITIES; k++)
        free(got[k]);
}

static void expect_accuracy(loss_kind kind, gr_dtype dtype, gr_reduction reduction,
                            const double *targets, int count, double most)
{
    static const double weights[] = {1, .7}, pos_weights[] = {0, 3, .3};
    double found[QUANTITIES] = {0};
    for (int i = 0; i < count; i++)
        for (int w = 0; w < 2; w++)
            for (int p = 0; p < 3; p++)
                measure(&(setting){kind, dtype, weights[w], pos_weights[p], reduction}, targets[i],
                        found);
    for (int k = 0; k < QUANTITIES; k++) {
        if (getenv("ACCURACY_PRINT"))
            fprintf(stderr, "%s %s %s%s: %.3f ulp\n", kind_names[kind], gr_dtype_name(dtype),
                    quantity_names[k], reduction == GR_NONE ? "" : " of a sum", found[k]);
        cr_expect(found[k] <= most, "%s %s: %s is %g ulp off", kind_names[kind],
                  gr_dtype_name(dtype), quantity_names[k], found[k]);
    }
}

/* Checks losses without weight and pos_weight, also with soft targets. */
static void expect_accuracy_of_plain(loss_kind kind, double most)
{
    double found[QUANTITIES] = {0};
    for (int i = 0; i < 8; i++)
        measure(&(setting){kind, GR_F64, 1, 0, GR_NONE}, SOFT[i], found);
    for (int k = 0; k < QUANTITIES; k++)
        cr_expect(found[k] <= most, "%s: %s is %g ulp off", kind_names[kind], quantity_names[k],
                  found[k]);
}

/* Floats are computed in double and rounded once, so the error is half an ulp (measured: 0.500). */
Test(accuracy, of_floats_is_half_an_ulp)
{
    expect_accuracy(LOGITS, GR_F32, GR_NONE, HARD, 2, 0.501);
    expect_accuracy(LOGITS, GR_F32, GR_NONE, SOFT, 8, 0.501);
    expect_accuracy(PROBABILITIES, GR_F32, GR_NONE, HARD, 2, 0.501);
    expect_accuracy(PROBABILITIES, GR_F32, GR_NONE, SOFT, 8, 0.501);
}

/* Measured maximum: loss 2.9, dx 3.4, dy 1.9, dw 2.7, dp 2.5, with weight, pos_weight and soft
 * targets.
 */
Test(accuracy, of_doubles_is_three_ulp_and_four_with_both_weights)
{
    expect_accuracy(LOGITS, GR_F64, GR_NONE, HARD, 2, 3);
    expect_accuracy(LOGITS, GR_F64, GR_NONE, SOFT, 8, 4);
    expect_accuracy(PROBABILITIES, GR_F64, GR_NONE, HARD, 2, 3);
    expect_accuracy(PROBABILITIES, GR_F64, GR_NONE, SOFT, 8, 4);
    expect_accuracy_of_plain(LOGITS, 3);
    expect_accuracy_of_plain(PROBABILITIES, 3);
}

/* The gradients of a sum of logits come from exp(-|x|) in the dtype. Measured maximum: see
   docs/accuracy.md. */
Test(accuracy, of_all_gradients_of_a_sum)
{
    expect_accuracy(LOGITS, GR_F32, GR_SUM, HARD, 2, 3);
    expect_accuracy(LOGITS, GR_F32, GR_SUM, SOFT, 8, 3);
    expect_accuracy(LOGITS, GR_F64, GR_SUM, HARD, 2, 3);
    expect_accuracy(LOGITS, GR_F64, GR_SUM, SOFT, 8, 4);
    expect_accuracy(PROBABILITIES, GR_F32, GR_SUM, HARD, 2, 0.501);
    expect_accuracy(PROBABILITIES, GR_F32, GR_SUM, SOFT, 8, 0.501);
}

/* For at least one block of plain logits, the sum is a separate pass, which also writes dx. */
static void expect_accuracy_of_one_pass(gr_dtype dtype, double target)
{
    enum { COPIES = 3 };
    static double x[COPIES * GRID], y[COPIES * GRID];
    for (int i = 0; i < COPIES * GRID; i++) {
        x[i] = logit_at(i % GRID);
        y[i] = target;
    }
    gr_tensor *logits = make(dtype, gr_shape(COPIES * GRID), x), *in = gr_variable(logits), *dx;
    gr_tensor *targets = make(dtype, gr_shape(COPIES * GRID), y);
    gr_tensor *sum = gr_bce_with_logits(in, targets, .reduction = GR_SUM);
    cr_assert_eq(gr_grad_with(sum, gr_list(in), &dx, &(gr_grad_args){0}), GR_OK);
    double *from = values_of(logits), *label = values_of(targets), *got = values_of(dx), most = 0;
    long double total = 0;
    for (int i = 0; i < COPIES * GRID; i++) {
        const truth t = truth_of_logits((point){from[i], label[i], 1, 1});
        const double off = ulps_off(dtype, got[i], t.at[DX], t.scale[DX]);
        most = fmax(most, off);
        cr_expect(off <= 3, "%s x=%g y=%g: dx is %g instead of %Lg", gr_dtype_name(dtype), from[i],
                  target, got[i], t.at[DX]);
        total += t.at[LOSS];
    }
    if (getenv("ACCURACY_PRINT"))
        fprintf(stderr, "one pass %s y=%g: dx %.3f ulp\n", gr_dtype_name(dtype), target, most);
    cr_expect_leq(ulps_off(dtype, gr_item(sum), total, 0), dtype == GR_F32 ? 1 : 4);
    free(from);
    free(label);
    free(got);
}

Test(accuracy, of_the_one_pass_over_many_logits)
{
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 10; k++)
            expect_accuracy_of_one_pass(i ? GR_F64 : GR_F32, k < 2 ? HARD[k] : SOFT[k - 2]);
}

/* ---- Sums and means of logits: dx ------------------------------------------------------------ */

/* The largest error of dx over random logits, in ulp of the larger of dx and its two terms. */
static double slope_error(gr_dtype dtype, int64_t n, gr_reduction reduction, double upstream)
{
    double *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y), most = 0;
    uint64_t state = 1;
    for (int64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = ((double)(state >> 40) * 0x1p-24 - 0.5) * (i % 2 ? 60 : 10);
        y[i] = i % 4 ? (double)(state >> 39 & 1) : (double)(state >> 20 & 0xfffff) * 0x1p-20;
    }
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *logits = make(dtype, gr_shape(n), x), *in = gr_variable(logits), *dx;
    gr_tensor *targets = make(dtype, gr_shape(n), y), *seed = make(dtype, (gr_dims){0}, &upstream);
    gr_tensor *loss = gr_bce_with_logits(in, targets, .reduction = reduction);
    cr_assert_eq(gr_grad_with(loss, gr_list(in), &dx, &(gr_grad_args){.seed = seed}), GR_OK);
    double *from = values_of(logits), *label = values_of(targets), *got = values_of(dx);
    const long double g = (long double)gr_item(seed) / (reduction == GR_MEAN ? n : 1);
    for (int64_t i = 0; i < n; i++) {
        const truth t = truth_of_logits((point){from[i], label[i], 1, 1});
        most = fmax(most, ulps_off(dtype, got[i], g * t.at[DX], g * t.scale[DX]));
    }
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
    free(x);
    free(y);
    free(from);
    free(label);
    free(got);
    return most;
}

/* 1 / 524801 is just below a power of two. There an error of dx counts most. */
Test(accuracy, of_dx_under_every_factor)
{
    static const int64_t counts[] = {1000, 70001, 524801};
    static const double upstream[] = {1, 1.37, 0.999};
    for (int i = 0; i < 2; i++)
        for (int n = 0; n < 3; n++)
            for (int g = 0; g < 3; g++)
                for (int sum = 0; sum < 2; sum++) {
                    const gr_dtype dtype = i ? GR_F64 : GR_F32;
                    const double off =
                        slope_error(dtype, counts[n], sum ? GR_SUM : GR_MEAN, upstream[g]);
                    if (getenv("ACCURACY_PRINT"))
                        fprintf(stderr, "%s, %d elements, %s: dx %.3f ulp\n", gr_dtype_name(dtype),
                                (int)counts[n], sum ? "sum" : "mean", off);
                    cr_expect(off <= 2.6, "%s, %d elements, %s: dx is %g ulp off",
                              gr_dtype_name(dtype), (int)counts[n], sum ? "sum" : "mean", off);
                }
}

/* ---- Sums ------------------------------------------------------------------------------------ */

enum { MANY = 1 << 24 };

/* Makes MANY inputs and targets, as floats, with a generator in this file. Every 16th target is 0
   or 1. */
static void fill(loss_kind kind, float *x, float *y)
{
    uint64_t state = 1;
    for (int i = 0; i < MANY; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const float u = (float)(state >> 40) * 0x1p-24F,
                    v = (float)(state >> 20 & 0xfffff) * 0x1p-20F;
        x[i] = kind == LOGITS ? 40 * (u - .5F) * (u - .5F) * (v > .5F ? 1 : -1) + u - .5F : u;
        y[i] = i % 16 == 0 ? (v > .5F) : v;
    }
}

/* Returns the loss of one element, for a target in [0,1]. */
static long double true_loss(loss_kind kind, long double x, long double y)
{
    if (kind == PROBABILITIES)
        return y * fminl(-logl(x), 100) + (1 - y) * fminl(-log1pl(-x), 100);
    return (x > 0 ? 1 - y : y) * fabsl(x) + log1pl(expl(-fabsl(x)));
}

static long double true_sum(loss_kind kind, const float *x, const float *y)
{
    long double sum = 0;
#pragma omp parallel for reduction(+ : sum)
    for (int i = 0; i < MANY; i++)
        sum += true_loss(kind, (long double)x[i], (long double)y[i]);
    return sum;
}

static void expect_relative(const char *what, double got, long double want, double most)
{
    const double off = (double)fabsl((got - want) / want);
    if (getenv("ACCURACY_PRINT"))
        fprintf(stderr, "%s: %.3g\n", what, off);
    cr_expect(off <= most, "%s is %.17g instead of %.17Lg: relative error %g", what, got, want,
              off);
}

/* Checks every 509th element of N times the mean's gradient, by norm and by the worst ulp. */
static void expect_gradient(loss_kind kind, gr_dtype dtype, gr_tensor *dx, const float *x,
                            const float *y)
{
    long double error = 0, size = 0;
    double most = 0;
    for (int i = 0; i < MANY; i += 509) {
        const point a = {(long double)x[i], (long double)y[i], 1, 1};
        const truth t = truth_of(kind, a);
        const double got = MANY * (dtype == GR_F32 ? (double)((const float *)gr_data(dx))[i]
                                                   : ((const double *)gr_data(dx))[i]);
        most = fmax(most, ulps_off(dtype, got, t.at[DX], t.scale[DX]));
        error += (got - t.at[DX]) * (got - t.at[DX]);
        size += t.at[DX] * t.at[DX];
    }
    const double off = (double)sqrtl(error / size);
    if (getenv("ACCURACY_PRINT"))
        fprintf(stderr, "%s %s gradient: %.3g, worst %.3g ulp\n", kind_names[kind],
                gr_dtype_name(dtype), off, most);
    cr_expect(off < (dtype == GR_F64 ? 1e-15 : 1e-7), "relative error %g", off);
    cr_expect(most <= 3, "%g ulp", most);
}

static void expect_sums(loss_kind kind, gr_dtype dtype, const float *x, const float *y,
                        long double sum)
{
    gr_tensor *input = gr_cast(gr_from_data(ctx, GR_F32, gr_shape(MANY), x), dtype);
    gr_tensor *target = gr_cast(gr_from_data(ctx, GR_F32, gr_shape(MANY), y), dtype);
    /* The sum is computed in double. A float result is rounded once. */
    const double most = dtype == GR_F64 ? 1e-14 : 0x1p-24 * 1.001;
    gr_tensor *in = gr_variable(input), *dx;
    gr_tensor *mean = loss_of(kind, in, &(gr_bce_args){GR_BCE_DEFAULTS, .target = target});
    expect_relative("mean", gr_item(mean), sum / MANY, most);
    cr_assert_eq(gr_grad_with(mean, gr_list(in), &dx, &(gr_grad_args){0}), GR_OK);
    expect_gradient(kind, dtype, dx, x, y);
    const gr_bce_args args = {GR_BCE_DEFAULTS, .target = target, .reduction = GR_SUM};
    expect_relative("sum", gr_item(loss_of(kind, input, &args)), sum, most);
}

static void expect_sums_of(loss_kind kind)
{
    float *x = malloc(MANY * sizeof *x), *y = malloc(MANY * sizeof *y);
    fill(kind, x, y);
    const long double sum = true_sum(kind, x, y);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        expect_sums(kind, i ? GR_F64 : GR_F32, x, y, sum);
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
    }
    free(x);
    free(y);
}

Test(accuracy, of_sums_over_16_million_logits) { expect_sums_of(LOGITS); }
Test(accuracy, of_sums_over_16_million_probabilities) { expect_sums_of(PROBABILITIES); }
