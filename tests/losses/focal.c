/* focal.c - focal loss of logits in both tails: value, slope and curvature against closed forms in
 * long double.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(focal, .init = begin, .fini = end, .timeout = 300);

/* The loss F b of one element and its first two derivatives in x. size: of the terms that each of
   them is a sum of. */
typedef struct exact {
    long double value[3], size[3];
} exact;

static exact exact_of(long double x, long double t, long double gamma)
{
    const long double z = expl(-fabsl(x)), near = 1 / (1 + z), far = z / (1 + z);
    const long double s = x < 0 ? far : near, r = x < 0 ? near : far; /* s(x), s(-x) */
    const long double b = (1 - t) * fmaxl(x, 0) + t * fmaxl(-x, 0) + log1pl(z);
    const long double b1 = (1 - t) * s - t * r, b2 = s * r;
    const long double m = t * r + (1 - t) * s, F = expl(gamma * logl(m));
    const long double d = (1 - 2 * t) * s * r / m, dd = (1 - 2 * t) * s * r * (r - s) / m;
    const long double terms[3][4] = {
        {b, 0, 0, 0},
        {(1 - t) * s, -t * r, gamma * d * b, 0},
        {b2, 2 * gamma * d * b1, gamma * (gamma - 1) * d * d * b, gamma * dd * b}};
    exact e = {{0}, {0}};
    for (int order = 0; order < 3; order++)
        for (int i = 0; i < 4; i++) {
            e.value[order] += F * terms[order][i];
            e.size[order] += F * fabsl(terms[order][i]);
        }
    return e;
}

typedef struct worst {
    double off, x, t, gamma, got;
    long double want;
} worst;

/* Where terms cancel, the error is measured in a tenth of their sizes. Below the smallest normal
   number a result may be 0. */
static void measure(worst *w, gr_dtype dtype, double got, long double want, long double size,
                    worst at)
{
    const long double tiny = dtype == GR_F32 ? 0x1p-126L : 0x1p-1022L;
    double off = (double)(fabsl(got - want) / fmaxl(fabsl(want), size / 10));
    if (fabsl(want) < tiny && fabs(got) < 2 * tiny)
        off = 0;
    off = isnan(off) ? INFINITY : off;
    if (off <= w->off)
        return;
    *w = at;
    w->off = off;
    w->got = got;
    w->want = want;
}

static void expect_within(const worst *w, double bar, gr_dtype dtype, const char *what)
{
    cr_expect(w->off <= bar, "%s %s is off by %g: x = %.9g, y = %g, gamma = %g: %g, not %Lg",
              gr_dtype_name(dtype), what, w->off, w->x, w->t, w->gamma, w->got, w->want);
}

/* Logits from -1e4 to 1e4, dense near 0. */
enum { GRID = 2001 };
static gr_tensor *grid(gr_dtype dtype)
{
    static double x[GRID];
    for (int i = 0; i < GRID; i++) {
        const double u = (2.0 * i - (GRID - 1)) / (GRID - 1);
        x[i] = 1e4 * u * u * u * u * u;
    }
    return gr_variable(gr_cast(gr_from_data(ctx, GR_F64, gr_shape(GRID), x), dtype));
}

enum { VALUE, SLOPE, RECORDED_SLOPE, CURVATURE, RECORDED_CURVATURE, QUANTITIES };
static const char *const names[] = {"value", "slope", "recorded slope", "curvature",
                                    "recorded curvature"};

static void check(gr_dtype dtype, double t, double gamma, worst *w)
{
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *x = grid(dtype), *y = gr_full(ctx, dtype, gr_shape(GRID), t), *found[QUANTITIES];
    t = gr_get(y, gr_index(0));
    found[VALUE] = gr_bce_with_logits(x, y, .gamma = gamma, .reduction = GR_NONE);
    for (int record = 0; record < 2; record++)
        cr_assert_eq(gr_grad_with(found[VALUE], gr_list(x), &found[SLOPE + record],
                                  &(gr_grad_args){.record = record}),
                     GR_OK);
    for (int record = 0; record < 2; record++)
        cr_assert_eq(gr_grad_with(found[RECORDED_SLOPE], gr_list(x), &found[CURVATURE + record],
                                  &(gr_grad_args){.record = record}),
                     GR_OK);
    double *at = values_of(x), *got[QUANTITIES];
    for (int k = 0; k < QUANTITIES; k++)
        got[k] = values_of(found[k]);
    for (int i = 0; i < GRID; i++) {
        const exact e = exact_of(at[i], t, gamma);
        for (int k = 0; k < QUANTITIES; k++) {
            const int order = (k + 1) / 2;
            measure(&w[k], dtype, got[k][i], e.value[order], e.size[order],
                    (worst){.x = at[i], .t = t, .gamma = gamma});
        }
    }
    free(at);
    for (int k = 0; k < QUANTITIES; k++)
        free(got[k]);
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
}

Test(focal, every_order_is_right_in_both_tails)
{
    static const double gammas[] = {0.01, 0.05, 0.5, 1, 2, 3.3, 5}, targets[] = {0, 1, 0.3};
    for (int dtype = GR_F32; dtype <= GR_F64; dtype++) {
        worst w[QUANTITIES] = {{0}};
        for (int i = 0; i < COUNT_OF(gammas); i++)
            for (int j = 0; j < COUNT_OF(targets); j++)
                check(dtype, targets[j], gammas[i], w);
        for (int k = 0; k < QUANTITIES; k++)
            expect_within(&w[k], dtype == GR_F32 ? 1e-6 : 1e-12, dtype, names[k]);
    }
}

/* A linear layer in front: its weights get the second derivative, and it was NaN. */
Test(focal, the_gradient_of_a_gradient_penalty_is_finite)
{
    gr_tensor *x = gr_from_data(ctx, GR_F32, gr_shape(3, 2), (float[]){1, 0, 2, 1, 62, 1});
    gr_tensor *w = gr_variable(gr_from_data(ctx, GR_F32, gr_shape(2), (float[]){1, 0}));
    gr_tensor *y = gr_from_data(ctx, GR_F32, gr_shape(3), (float[]){1, 0, 1});
    gr_tensor *loss = gr_bce_with_logits(gr_matmul(x, w), y, .gamma = 0.5, .reduction = GR_SUM);
    gr_tensor *second = gr_grad(sum_of(gr_grad(loss, w)), w);
    long double want[2] = {0};
    for (int i = 0; i < 3; i++) {
        const double a = gr_get(x, gr_index(i, 0)), b = gr_get(x, gr_index(i, 1));
        const long double curvature = exact_of(a, gr_get(y, gr_index(i)), 0.5L).value[2];
        want[0] += curvature * a * (a + b);
        want[1] += curvature * b * (a + b);
    }
    for (int i = 0; i < 2; i++)
        cr_expect_float_eq(gr_get(second, gr_index(i)) / (double)want[i], 1, 1e-6);
}

/* For a positive at a large logit the curvature is (1 + gamma)^2 e^(-(1+gamma) x). */
Test(focal, the_tail_of_the_second_derivative)
{
    gr_tensor *x = gr_variable(gr_full(ctx, GR_F64, gr_shape(1), 62));
    gr_tensor *loss = gr_bce_with_logits(x, gr_ones_like(x), .gamma = 0.5);
    const double got = gr_item(gr_grad(sum_of(gr_grad(loss, x)), x));
    cr_expect_float_eq(got / (2.25 * exp(-93)), 1, 1e-12);
}

/* The mixed derivative asked for the targets alone is the one asked for both. */
Test(focal, the_derivative_of_a_slope_in_the_targets_alone)
{
    gr_tensor *x = gr_variable(sample(ctx, GR_F64, gr_shape(20), -8, 8));
    gr_tensor *t = gr_variable(sample(ctx, GR_F64, gr_shape(20), 0.2, 0.8)), *both[2];
    gr_tensor *loss = gr_bce_with_logits(x, t, .gamma = 2, .reduction = GR_SUM);
    gr_tensor *slope = sum_of(gr_grad(loss, x));
    cr_assert_eq(gr_grad_with(slope, gr_list(x, t), both, &(gr_grad_args){.record = true}), GR_OK);
    cr_expect(same_bits(gr_grad(slope, t), both[1]));
    cr_expect(same_bits(gr_grad(slope, x), both[0]));
    gr_tensor *third[2];
    gr_tensor *mixed = sum_of(gr_add(both[0], both[1]));
    cr_assert_eq(gr_grad_with(mixed, gr_list(x, t), third, &(gr_grad_args){.record = true}), GR_OK);
    cr_expect(same_bits(gr_grad(mixed, t), third[1]));
    cr_expect(same_bits(gr_grad(mixed, x), third[0]));
}

static gr_tensor *loss_of(gr_tensors in, void *gamma)
{
    return gr_bce_with_logits(in.at[0], in.at[1], .gamma = *(const double *)gamma,
                              .reduction = GR_NONE);
}

/* Targets are inputs too, and lie between 0 and 1. */
Test(focal, the_checker_agrees)
{
    static const double gammas[] = {0.05, 0.5, 1, 2, 3.3};
    for (int i = 0; i < 3 * COUNT_OF(gammas); i++) {
        double gamma = gammas[i / 3], width = i % 3 == 0 ? 2 : i % 3 == 1 ? 8 : 20;
        gr_gradcheck_report report;
        gr_tensor *x = sample(ctx, GR_F64, gr_shape(4), -width, width);
        gr_tensor *t = sample(ctx, GR_F64, gr_shape(4), 0.2, 0.8);
        const gr_status status =
            gr_gradcheck(loss_of, &gamma, gr_list(x, t), .order = 2, .report = &report);
        if (status != GR_OK)
            gr_gradcheck_print(&report, stderr);
        cr_expect_eq(status, GR_OK);
    }
}
