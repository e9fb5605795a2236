/* softmax.c - tests of ops/softmax.c: values, gradients and second derivatives where one logit is
 * far above the others, against sums of positive terms in long double.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(softmax, .init = begin, .fini = end, .timeout = 300);

enum { MOST = 64 };

/* The exact numbers of one line. */
typedef struct exact {
    int64_t n;
    long double share[MOST], rest[MOST], log[MOST]; /* s, 1 - s and log s */
} exact;

static exact exact_of(int64_t n, const double *x)
{
    exact e = {.n = n};
    long double most = -INFINITY, of[MOST];
    for (int64_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (int64_t i = 0; i < n; i++) {
        long double others = 0;
        for (int64_t k = 0; k < n; k++)
            others += k == i ? 0 : expl(x[k] - (long double)x[i]);
        e.log[i] = -log1pl(others);
        of[i] = expl(x[i] - most);
    }
    for (int64_t i = 0; i < n; i++) {
        long double all = 0, others = 0;
        for (int64_t k = 0; k < n; k++) {
            all += of[k];
            others += k == i ? 0 : of[k];
        }
        e.share[i] = of[i] / all;
        e.rest[i] = others / all;
    }
    return e;
}

/* |got - want| in units of the last place of want, or of a term of which want is the difference. */
static double off(gr_dtype dtype, double got, long double want, long double term)
{
    const double of_want = ulps(dtype, got, want);
    const double of_term = term == 0 ? of_want : ulps(dtype, (double)(got - want + term), term);
    return of_want < of_term ? of_want : of_term;
}

/* One measured quantity: its largest error. */
typedef struct worst {
    double off, x[MOST];
    int64_t n, at;
} worst;

static void measure(worst *w, double off_by, int64_t n, const double *x, int64_t at)
{
    if (off_by <= w->off)
        return;
    w->off = off_by;
    w->n = n;
    w->at = at;
    memcpy(w->x, x, (size_t)n * sizeof *x);
}

static void expect_within(const worst *w, double bar, gr_dtype dtype, const char *what)
{
    cr_expect_leq(w->off, bar, "%s %s is off by %g, element %d of %a, %a, %a...",
                  gr_dtype_name(dtype), what, w->off, (int)w->at, w->x[0], w->x[1], w->x[2]);
}

/* Calls check for {0, g, -g} with g from -most to most, and for lines of other lengths with
   elements of up to `most`. The elements are numbers of the dtype. */
static void each_line(gr_dtype dtype, double most, int64_t lines,
                      void (*check)(gr_dtype dtype, int64_t n, const double *x))
{
    for (int64_t i = -lines; i <= lines; i++) {
        const double g = (double)(float)(most * (double)i / (double)lines);
        check(dtype, 3, (const double[]){0, g, -g});
    }
    for (int64_t i = 0; i < lines; i++) {
        const int64_t n = 2 + i % (MOST - 2);
        double x[MOST];
        for (int64_t k = 0; k < n; k++) {
            x[k] = draw(-most, most) * (i % 3 ? 0.05 : 1);
            x[k] = dtype == GR_F32 ? (double)(float)x[k] : x[k];
        }
        check(dtype, n, x);
    }
}

static gr_tensor *line_of(gr_dtype dtype, int64_t n, const double *x)
{
    return gr_variable(gr_cast(gr_from_data(ctx, GR_F64, gr_shape(n), x), dtype));
}

/* d y / d x with one seed, by the rule in one pass and by the recorded one. */
static void both_gradients(gr_tensor *y, gr_tensor *x, gr_tensor *seed, double *found[2])
{
    for (int record = 0; record < 2; record++) {
        gr_tensor *g;
        const gr_grad_args args = {.seed = seed, .record = record};
        cr_assert_eq(gr_grad_with(y, gr_list(x), &g, &args), GR_OK);
        found[record] = values_of(g);
    }
}

/* ---- Values ---------------------------------------------------------------------------------- */

static worst of_softmax, of_log;

static void check_values(gr_dtype dtype, int64_t n, const double *x)
{
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    const exact e = exact_of(n, x);
    gr_tensor *line = line_of(dtype, n, x);
    double *s = values_of(gr_softmax(line, 0)), *l = values_of(gr_log_softmax(line, 0));
    for (int64_t i = 0; i < n; i++) {
        measure(&of_softmax, ulps(dtype, s[i], e.share[i]), n, x, i);
        measure(&of_log, ulps(dtype, l[i], e.log[i]), n, x, i);
    }
    free(s), free(l);
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
}

Test(softmax, values_keep_their_digits_where_one_logit_dominates)
{
    for (int dtype = GR_F32; dtype <= GR_F64; dtype++) {
        of_softmax = of_log = (worst){0};
        each_line(dtype, dtype == GR_F32 ? 100 : 700, 1400, check_values);
        expect_within(&of_softmax, dtype == GR_F32 ? 0.51 : 4, dtype, "softmax");
        expect_within(&of_log, dtype == GR_F32 ? 0.51 : 4, dtype, "log_softmax");
    }
}

/* ---- First derivatives ----------------------------------------------------------------------- */

static worst of_gradient[2], of_softmax_gradient[2];

/* The gradient of log s[t] is 1 - s[t] at t and -s elsewhere: no difference at all. */
static void check_gradients(gr_dtype dtype, int64_t n, const double *x)
{
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    const exact e = exact_of(n, x);
    gr_tensor *line = line_of(dtype, n, x);
    for (int64_t t = 0; t < n && t < 3; t++) {
        double one[MOST] = {0}, *found[2];
        one[t] = 1;
        gr_tensor *seed = gr_detach(line_of(dtype, n, one));
        both_gradients(gr_log_softmax(line, 0), line, seed, found);
        for (int record = 0; record < 2; record++) {
            for (int64_t i = 0; i < n; i++)
                measure(&of_gradient[record],
                        ulps(dtype, found[record][i], i == t ? e.rest[i] : -e.share[i]), n, x, i);
            free(found[record]);
        }
        both_gradients(gr_softmax(line, 0), line, seed, found);
        for (int record = 0; record < 2; record++) {
            for (int64_t i = 0; i < n; i++)
                measure(
                    &of_softmax_gradient[record],
                    ulps(dtype, found[record][i], e.share[i] * (i == t ? e.rest[i] : -e.share[t])),
                    n, x, i);
            free(found[record]);
        }
    }
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
}

Test(softmax, the_gradient_of_a_dominant_logit_is_not_lost)
{
    for (int dtype = GR_F32; dtype <= GR_F64; dtype++) {
        memset(of_gradient, 0, sizeof of_gradient);
        memset(of_softmax_gradient, 0, sizeof of_softmax_gradient);
        each_line(dtype, dtype == GR_F32 ? 100 : 700, 350, check_gradients);
        for (int record = 0; record < 2; record++) {
            expect_within(&of_gradient[record], dtype == GR_F32 ? 0.51 : 4, dtype,
                          record ? "recorded d log_softmax" : "d log_softmax");
            expect_within(&of_softmax_gradient[record], dtype == GR_F32 ? 2 : 6, dtype,
                          record ? "recorded d softmax" : "d softmax");
        }
    }
}

/* With a general seed g the gradient of log_softmax is the difference of g (1 - s) and s times the
   sum of the other g. The error is measured in the last place of the larger one. */
static void check_seeds(gr_dtype dtype, int64_t n, const double *x)
{
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    const exact e = exact_of(n, x);
    double g[MOST], *found[2];
    for (int64_t i = 0; i < n; i++)
        g[i] = (double)(float)draw(-1, 1);
    gr_tensor *line = line_of(dtype, n, x), *seed = gr_detach(line_of(dtype, n, g));
    both_gradients(gr_log_softmax(line, 0), line, seed, found);
    for (int64_t i = 0; i < n; i++) {
        long double others = 0, size = 0;
        for (int64_t k = 0; k < n; k++) {
            others += k == i ? 0 : (long double)g[k];
            size += k == i ? 0 : fabsl((long double)g[k]);
        }
        const long double want = g[i] * e.rest[i] - e.share[i] * others;
        const long double term = fmaxl(fabsl(g[i] * e.rest[i]), e.share[i] * size);
        for (int record = 0; record < 2; record++)
            measure(&of_gradient[record], off(dtype, found[record][i], want, term), n, x, i);
    }
    free(found[0]), free(found[1]);
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
}

Test(softmax, gradients_of_general_seeds)
{
    for (int dtype = GR_F32; dtype <= GR_F64; dtype++) {
        memset(of_gradient, 0, sizeof of_gradient);
        each_line(dtype, dtype == GR_F32 ? 100 : 700, 350, check_seeds);
        for (int record = 0; record < 2; record++)
            expect_within(&of_gradient[record], dtype == GR_F32 ? 0.51 : 4, dtype,
                          record ? "recorded d log_softmax" : "d log_softmax");
    }
}

/* ---- Second derivatives ---------------------------------------------------------------------- */

static worst of_second;

/* d/dx of sum(v dx), dx the gradient of -log s[t]. It is the sum over j of s[i] s[j] (v[i] - v[j]),
   whatever t is. One v is 1 and the others are 0, so that no two terms cancel by chance. */
static void check_second(gr_dtype dtype, int64_t n, const double *x)
{
    const double tiny = dtype == GR_F32 ? 0x1p-126 : 0x1p-1022;
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    const exact e = exact_of(n, x);
    gr_tensor *line = line_of(dtype, n, x);
    for (int64_t k = 0; k < n && k < 3; k++) {
        double one[MOST] = {0}, v[MOST] = {0};
        one[n - 1] = -1;
        v[k] = 1;
        gr_tensor *g, *log = gr_log_softmax(line, 0), *seed = gr_detach(line_of(dtype, n, one));
        cr_assert_eq(
            gr_grad_with(log, gr_list(line), &g, &(gr_grad_args){.seed = seed, .record = true}),
            GR_OK);
        double *found[2];
        both_gradients(g, line, gr_detach(line_of(dtype, n, v)), found);
        for (int64_t i = 0; i < n; i++) {
            const long double want = e.share[i] * (i == k ? e.rest[i] : -e.share[k]);
            for (int record = 0; record < 2 && fabsl(want) > tiny; record++)
                measure(&of_second, (double)fabsl((found[record][i] - want) / want), n, x, i);
            cr_expect(isfinite(found[0][i]) && isfinite(found[1][i]));
        }
        free(found[0]), free(found[1]);
    }
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
}

Test(softmax, second_derivatives_keep_their_digits)
{
    for (int dtype = GR_F32; dtype <= GR_F64; dtype++) {
        of_second = (worst){0};
        each_line(dtype, dtype == GR_F32 ? 100 : 700, 350, check_second);
        expect_within(&of_second, dtype == GR_F32 ? 1e-6 : 1e-14, dtype, "second derivative");
    }
}

/* ---- The checker and the rules --------------------------------------------------------------- */

static gr_tensor *run_softmax(gr_tensors in, void *axis)
{
    return gr_softmax(in.at[0], *(const int *)axis);
}
static gr_tensor *run_log_softmax(gr_tensors in, void *axis)
{
    return gr_log_softmax(in.at[0], *(const int *)axis);
}

Test(softmax, the_checker_agrees_up_to_logits_of_60)
{
    static gr_function *const ops[] = {run_softmax, run_log_softmax};
    for (int i = 0; i < 12; i++) {
        int axis = i % 3;
        gr_gradcheck_report report;
        gr_tensor *x = sample(ctx, GR_F64, gr_shape(2, 3, 2), -60, 60);
        const gr_status status =
            gr_gradcheck(ops[i % 2], &axis, gr_list(x), .order = 2, .report = &report);
        if (status != GR_OK)
            gr_gradcheck_print(&report, stderr);
        cr_expect_eq(status, GR_OK);
    }
}

Test(softmax, rules_in_one_pass_have_the_bits_of_the_composed_ones)
{
    for (int i = 0; i < 2 * 2 * 3 * 2; i++) {
        const gr_dtype dtype = i & 1 ? GR_F32 : GR_F64;
        const int axis = i / 4 % 3;
        gr_tensor *x = gr_variable(sample(ctx, dtype, gr_shape(7, 9, 5), -20, 20));
        gr_tensor *turned = i < 12 ? x : gr_permute(x, gr_axes(2, 0, 1)), *gradients[2];
        gr_tensor *y = i & 2 ? gr_softmax(turned, axis) : gr_log_softmax(turned, axis);
        gr_tensor *seed = sample(ctx, dtype, gr_shape_of(y), -1, 1);
        for (int record = 0; record < 2; record++)
            cr_assert_eq(gr_grad_with(y, gr_list(x), &gradients[record],
                                      &(gr_grad_args){.seed = seed, .record = record}),
                         GR_OK);
        cr_expect(same_bits(gradients[0], gradients[1]), "%d", i);
    }
}

/* The axis changes no bit, and neither do strides. */
Test(softmax, every_axis_has_the_same_bits)
{
    gr_tensor *x = sample(ctx, GR_F32, gr_shape(6, 5), -20, 20);
    gr_tensor *turned = gr_transpose(x), *copied = gr_contiguous(turned);
    cr_expect(same_bits(gr_softmax(x, 1), gr_transpose(gr_softmax(turned, 0))));
    cr_expect(same_bits(gr_softmax(x, 1), gr_transpose(gr_softmax(copied, 0))));
    cr_expect(same_bits(gr_log_softmax(x, 0), gr_transpose(gr_log_softmax(copied, 1))));
}

/* The sum over many equal logits neither drifts nor depends on their place. */
Test(softmax, many_classes)
{
    enum { MANY = 100003 };
    gr_tensor *x = gr_zeros(ctx, GR_F64, gr_shape(MANY));
    double *s = values_of(gr_softmax(x, 0)), *l = values_of(gr_log_softmax(x, 0));
    for (int i = 0; i < MANY; i += 1234) {
        cr_expect_leq(ulps(GR_F64, s[i], 1 / (long double)MANY), 1);
        cr_expect_leq(ulps(GR_F64, l[i], -logl(MANY)), 1);
    }
    free(s), free(l);
}

Test(softmax, without_classes)
{
    gr_tensor *none = gr_variable(gr_zeros(ctx, GR_F32, gr_shape(2, 0)));
    expect_shape(gr_grad(sum_of(gr_softmax(none, 1)), none), gr_shape(2, 0));
    expect_shape(gr_grad(sum_of(gr_log_softmax(none, 1)), none), gr_shape(2, 0));
    gr_tensor *rows = gr_variable(gr_zeros(ctx, GR_F32, gr_shape(0, 2)));
    expect_shape(gr_grad(sum_of(gr_log_softmax(rows, 1)), rows), gr_shape(0, 2));
}
