/* edges.c - extreme values of both binary cross entropies: saturated, huge and infinite logits,
 * probabilities of 0 and 1, targets outside [0,1], NaN, empty tensors, and errors.
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"

TestSuite(edges, .init = begin, .fini = end);

/* An element and its expected results. ANY is not checked here, but by the closed forms below. */
#define ANY 12345.0
typedef struct row {
    double x, y, p;
    double loss, dx, dy;
} row;

static void expect_value(gr_dtype dtype, const row *r, const char *what, gr_tensor *got,
                         double want)
{
    if (want == ANY)
        return;
    /* The numbers below have nine digits, which is enough for a float. */
    const double value = gr_get(got, gr_index(0)), off = ulps_off(GR_F32, value, want, 0);
    cr_expect(off <= 1.01, "%s x=%g y=%g p=%g: %s %.9g instead of %.9g", gr_dtype_name(dtype), r->x,
              r->y, r->p, what, value, want);
}

static void expect_row(loss_kind kind, gr_dtype dtype, const row *r)
{
    gr_tensor *p = r->p == 1 ? NULL : ROW(dtype, r->p);
    for (int recorded = 0; recorded < 2; recorded++) {
        const outcome out = run(kind, ROW(dtype, r->x),
                                (gr_bce_args){GR_BCE_DEFAULTS, .target = ROW(dtype, r->y),
                                              .pos_weight = p, .reduction = GR_NONE},
                                recorded);
        expect_value(dtype, r, "loss", out.at[LOSS], r->loss);
        expect_value(dtype, r, "dx", out.at[DX], r->dx);
        expect_value(dtype, r, "dy", out.at[DY], r->dy);
    }
}

static void expect_rows(loss_kind kind, gr_dtype dtype, const row *rows, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof *rows; i++)
        expect_row(kind, dtype, &rows[i]);
}

static void expect_rows_of_both(loss_kind kind, const row *rows, size_t bytes)
{
    expect_rows(kind, GR_F32, rows, bytes);
    expect_rows(kind, GR_F64, rows, bytes);
}

/* ---- Logits ---------------------------------------------------------------------------------- */

Test(edges, logit_of_zero)
{
    static const row rows[] = {
        {0, 0, 1, 0.693147182, .5, 0},     {0, 1, 1, 0.693147182, -.5, 0},
        {0, .5, 1, 0.693147182, 0, 0},     {-0.0, 0, 1, 0.693147182, .5, 0},
        {-0.0, 1, 1, 0.693147182, -.5, 0},
    };
    expect_rows_of_both(LOGITS, rows, sizeof rows);
}

Test(edges, large_logits)
{
    static const row rows[] = {
        {1e4, 0, 1, 1e4, 1, -1e4}, {1e4, 1, 1, 0, 0, -1e4},      {-1e4, 1, 1, 1e4, -1, 1e4},
        {-1e4, 0, 1, 0, 0, 1e4},   {3e38, 0, 1, 3e38, 1, -3e38}, {3e38, .5, 1, 1.5e38, .5, -3e38},
    };
    expect_rows_of_both(LOGITS, rows, sizeof rows);
    static const row overflows = {-3e38, 1, 3, INFINITY, -3, INFINITY};
    expect_row(LOGITS, GR_F32, &overflows);
    static const row fits = {-3e38, 1, 3, ANY, -3, ANY};
    expect_row(LOGITS, GR_F64, &fits);
    gr_tensor *loss =
        gr_bce_with_logits(ROW(GR_F64, -3e38), ROW(GR_F64, 1), .pos_weight = ROW(GR_F64, 3));
    expect_near(GR_F64, gr_item(loss), 3 * (long double)3e38, 1, "beyond a float");
}

Test(edges, saturated_logits_keep_value_and_gradient)
{
    static const row rows[] = {
        {20, 1, 1, 2.06115362e-9, -2.06115362e-9, -20},
        {-20, 0, 1, 2.06115362e-9, 2.06115362e-9, 20},
        {-88, 0, 1, 6.054602e-39, 6.054602e-39, 88},
        {88, 1, 1, 6.054602e-39, -6.054602e-39, -88},
        {17, 1, 1, 4.13993771e-8, -4.13993754e-8, -17},
    };
    expect_rows_of_both(LOGITS, rows, sizeof rows);

    const double x = 37.42994775023705;
    const outcome out =
        run(LOGITS, ROW(GR_F64, x),
            (gr_bce_args){GR_BCE_DEFAULTS, .target = ROW(GR_F64, 1), .reduction = GR_NONE}, false);
    expect_near(GR_F64, gr_item(out.at[LOSS]), 5.5511151231257759e-17L, 2, "loss");
    expect_near(GR_F64, gr_item(out.at[DX]), -5.5511151231257765e-17L, 2, "dx");
}

Test(edges, infinite_logits_give_limits)
{
    static const row rows[] = {
        {INFINITY, 0, 1, INFINITY, 1, -INFINITY},   {INFINITY, 1, 1, 0, 0, -INFINITY},
        {INFINITY, .5, 1, INFINITY, .5, -INFINITY}, {-INFINITY, 0, 1, 0, 0, INFINITY},
        {-INFINITY, 1, 1, INFINITY, -1, INFINITY},  {-INFINITY, .5, 1, INFINITY, -.5, INFINITY},
        {INFINITY, 1, 3, 0, 0, -INFINITY},          {-INFINITY, 1, 3, INFINITY, -3, INFINITY},
        {-INFINITY, 0, 3, 0, 0, INFINITY},          {-INFINITY, 1, 0, 0, 0, 0},
        {INFINITY, 0, 0, INFINITY, 1, -INFINITY},   {INFINITY, 2, 1, -INFINITY, -1, -INFINITY},
    };
    expect_rows_of_both(LOGITS, rows, sizeof rows);
}

Test(edges, an_infinite_logit_that_agrees_leaves_the_mean_finite)
{
    for (int i = 0; i < 2; i++) {
        const gr_dtype dtype = i ? GR_F64 : GR_F32;
        gr_tensor *x = ROW(dtype, INFINITY, 0, -INFINITY), *y = ROW(dtype, 1, 1, 0);
        expect_near(dtype, gr_item(gr_bce_with_logits(x, y)), logl(2) / 3, 1, "mean");
        expect_near(dtype, gr_item(gr_bce_with_logits(x, y, .reduction = GR_SUM)), logl(2), 1,
                    "sum");
    }
}

/* From one block on, the logarithms are computed together. This covers that path too. */
Test(edges, an_infinite_logit_among_many)
{
    enum { MANY = 24000 };
    static double x[MANY], y[MANY];
    for (int i = 0; i < MANY; i++) {
        x[i] = i % 3 == 0 ? INFINITY : i % 3 == 1 ? -INFINITY : 0;
        y[i] = i % 3 == 0;
    }
    for (int i = 0; i < 2; i++) {
        const gr_dtype dtype = i ? GR_F64 : GR_F32;
        gr_tensor *v = gr_variable(make(dtype, gr_shape(MANY), x)), *dx;
        gr_tensor *mean = gr_bce_with_logits(v, make(dtype, gr_shape(MANY), y));
        expect_near(dtype, gr_item(mean), logl(2) / 3, 8, "mean");
        cr_assert_eq(gr_grad_with(mean, gr_list(v), &dx, &(gr_grad_args){0}), GR_OK);
        cr_expect_eq(gr_get(dx, gr_index(0)), 0);
        cr_expect_eq(gr_get(dx, gr_index(1)), 0);
        expect_near(dtype, gr_get(dx, gr_index(2)), .5L / MANY, 1, "dx");
    }
}

Test(edges, logits_with_targets_outside_the_unit_interval)
{
    static const row rows[] = {
        {.3, -.5, 1, 1.00435524, ANY, -.3},
        {.3, 1.5, 1, .404355244, ANY, -.3},
        {.3, 2, 1, .254355244, ANY, -.3},
    };
    expect_rows_of_both(LOGITS, rows, sizeof rows);
}

Test(edges, pos_weight_of_logits)
{
    static const row rows[] = {
        {0, 1, 3, 2.07944155, -1.5, 1.38629436},
        {0, .5, 3, 1.38629436, -.5, 1.38629436},
        {-1, .5, 3, 2.12652326, -.962117136, 3.62652349},
        {0, 1, -1, -.693147182, .5, -1.38629436},
    };
    expect_rows_of_both(LOGITS, rows, sizeof rows);
}

/* ---- Probabilities --------------------------------------------------------------------------- */

Test(edges, probabilities_of_zero_and_one)
{
    static const row rows[] = {
        {0, 0, 1, 0, 0, 100},       {0, 1, 1, 100, -1e12, 100},    {0, .5, 1, 50, -.5e12, 100},
        {1, 0, 1, 100, 1e12, -100}, {1, 1, 1, 0, 0, -100},         {1, .5, 1, 50, .5e12, -100},
        {-0.0, 0, 1, 0, 0, 100},    {-0.0, 1, 1, 100, -1e12, 100}, {0, 1, 3, 300, -3e12, 300},
    };
    expect_rows_of_both(PROBABILITIES, rows, sizeof rows);
    gr_tensor *loss = gr_bce(ROW(GR_F32, 0), ROW(GR_F32, 1), .weight = ROW(GR_F32, 2));
    cr_expect_eq(gr_item(loss), 200, "the clamp comes before the weight");
}

Test(edges, no_loss_is_minus_zero)
{
    for (int i = 0; i < 2; i++) {
        gr_tensor *x = ROW(i ? GR_F64 : GR_F32, 1, 0, -0.0), *y = ROW(i ? GR_F64 : GR_F32, 1, 0, 0);
        gr_tensor *loss = gr_bce(x, y, .reduction = GR_NONE);
        for (int k = 0; k < 3; k++) {
            const double value = gr_get(loss, gr_index(k));
            cr_expect(value == 0 && !signbit(value), "element %d is %g", k, value);
        }
    }
}

Test(edges, tiny_probabilities)
{
    static const row floats[] = {
        {1e-45, 1, 1, 100, -1e12, 100}, /* log = -103.28, clamped */
        {3.7835e-44, 1, 1, 99.9830933, -1e12, 99.9830933},
        {.9999999, 0, 1, 15.9423847, 8388608, -15.9423847},
        {1e-38, 1, 1, 87.4982335, -1e12, 87.4982335},
    };
    expect_rows(PROBABILITIES, GR_F32, floats, sizeof floats);
    static const row rows[] = {
        {1e-30, 0, 1, 1e-30, 1e-18, 69.0775528},
        {1e-12, 1, 1, 27.6310215, ANY, 27.6310215},
        {.25, 0, 1, .287682072, 1.33333333, 1.09861229},
    };
    expect_rows_of_both(PROBABILITIES, rows, sizeof rows);
    static const row doubles[] = {
        {5e-324, 1, 1, 100, -1e12, 100},
        {1e-300, 1, 1, 100, -1e12, 100},
        {1e-43, 1, 1, 99.0111593, ANY, ANY},
    };
    expect_rows(PROBABILITIES, GR_F64, doubles, sizeof doubles);
}

Test(edges, probabilities_take_targets_outside_the_unit_interval)
{
    /* As in PyTorch before it checked targets: x = .3. */
    static const row rows[] = {
        {.3, -.5, 1, -0.0669738, ANY, ANY},
        {.3, 2, 1, 2.0512707, ANY, ANY},
    };
    for (int i = 0; i < 2; i++) {
        gr_tensor *loss = gr_bce(ROW(GR_F64, rows[i].x), ROW(GR_F64, rows[i].y));
        const long double want = -rows[i].y * logl(.3L) - (1 - rows[i].y) * logl(.7L);
        cr_expect_leq(ulps_off(GR_F64, gr_item(loss), want, 2), 2);
        cr_expect_float_eq(gr_item(loss), rows[i].loss, 1e-6);
    }
    cr_expect(isnan(gr_item(gr_bce(ROW(GR_F64, .3), ROW(GR_F64, NAN)))));
    cr_expect(!isfinite(gr_item(gr_bce(ROW(GR_F64, .3), ROW(GR_F64, INFINITY)))));
}

/* ---- Everything against the closed forms ----------------------------------------------------- */

static const double LOGITS_TRIED[] = {
    0,   -0.0, 1e-300, 1e-45, 1e-30, -1e-30, 1e-7,   -1e-7, .3,    -1,       1,        3,
    -5,  17,   -17,    20,    -20,   37.43,  -37.43, 88,    -88,   88.7,     -88.7,    89,
    -89, 104,  -104,   500,   -500,  1e4,    -1e4,   3e38,  -3e38, INFINITY, -INFINITY};
static const double PROBABILITIES_TRIED[] = {
    0,          -0.0,     1e-300,        1e-45,
    3.7835e-44, 1e-43,    1e-38,         1e-30,
    1e-20,      1e-12,    1e-7,          .1,
    .3,         .5,       .75,           .9,
    .999,       .9999999, 0x1.fffffep-1, 0x1.fffffffffffffp-1,
    1};
static const double TARGETS_TRIED[] = {0, 1, .5, .125, 1e-30, -.5, 1.5, 2};
static const double WEIGHTS_TRIED[] = {1, 2.5, -1.5, 0};
static const double POS_WEIGHTS_TRIED[] = {1, 3, .25, 0, -1};

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* Makes one column for each combination of target, weight and pos_weight. */
enum { COLUMNS = 8 * 4 * 5 };
static point column(int i)
{
    return (point){0, TARGETS_TRIED[i % 8], WEIGHTS_TRIED[i / 8 % 4], POS_WEIGHTS_TRIED[i / 32]};
}

static gr_tensor *columns(gr_dtype dtype, int rows, int which)
{
    double *values = malloc(sizeof *values * (size_t)rows * COLUMNS);
    for (int i = 0; i < rows * COLUMNS; i++) {
        const point a = column(i % COLUMNS);
        values[i] = (double)(which == 0 ? a.y : which == 1 ? a.w : a.p);
    }
    gr_tensor *made = make(dtype, gr_shape(rows, COLUMNS), values);
    free(values);
    return made;
}

static void expect_element(loss_kind kind, gr_dtype dtype, const outcome *out, int64_t i, int64_t j,
                           point a)
{
    const truth t = truth_of(kind, a);
    for (int k = 0; k < QUANTITIES; k++) {
        const double got = gr_get(out->at[k], gr_index(i, j));
        const double off = ulps_off(dtype, got, t.at[k], t.scale[k]);
        cr_expect(off <= 3, "%s %s x=%Lg y=%Lg w=%Lg p=%Lg: %s %.17g instead of %.17Lg, %g ulp",
                  kind_names[kind], gr_dtype_name(dtype), a.x, a.y, a.w, a.p, quantity_names[k],
                  got, t.at[k], off);
    }
}

static void expect_closed_forms(loss_kind kind, gr_dtype dtype, const double *inputs, int rows)
{
    double *x = malloc(sizeof *x * (size_t)rows * COLUMNS);
    for (int i = 0; i < rows * COLUMNS; i++)
        x[i] = inputs[i / COLUMNS];
    gr_tensor *input = make(dtype, gr_shape(rows, COLUMNS), x);
    gr_tensor *y = columns(dtype, rows, 0), *w = columns(dtype, rows, 1),
              *p = columns(dtype, rows, 2);
    const outcome out = run(kind, input,
                            (gr_bce_args){GR_BCE_DEFAULTS, .target = y, .weight = w,
                                          .pos_weight = p, .reduction = GR_NONE},
                            false);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < COLUMNS; j++)
            expect_element(kind, dtype, &out, i, j,
                           (point){gr_get(input, gr_index(i, j)), gr_get(y, gr_index(i, j)),
                                   gr_get(w, gr_index(i, j)), gr_get(p, gr_index(i, j))});
    free(x);
}

Test(edges, every_combination_is_the_closed_form)
{
    expect_closed_forms(LOGITS, GR_F32, LOGITS_TRIED, COUNT(LOGITS_TRIED));
    expect_closed_forms(LOGITS, GR_F64, LOGITS_TRIED, COUNT(LOGITS_TRIED));
    expect_closed_forms(PROBABILITIES, GR_F32, PROBABILITIES_TRIED, COUNT(PROBABILITIES_TRIED));
    expect_closed_forms(PROBABILITIES, GR_F64, PROBABILITIES_TRIED, COUNT(PROBABILITIES_TRIED));
}

/* ---- NaN ------------------------------------------------------------------------------------- */

/* Checks which quantities are NaN if an operand (x, y, w, p) is NaN. If the loss is linear in an
   operand, the derivative in that operand does not contain it. */
static void expect_nan(gr_dtype dtype, int operand, const bool *nan)
{
    double in[] = {.5, .25, 2, 3};
    in[operand] = NAN;
    const gr_bce_args args = {GR_BCE_DEFAULTS, .target = ROW(dtype, in[1]),
                              .weight = ROW(dtype, in[2]), .pos_weight = ROW(dtype, in[3]),
                              .reduction = GR_NONE};
    for (int recorded = 0; recorded < 2; recorded++) {
        const outcome out = run(LOGITS, ROW(dtype, in[0]), args, recorded);
        for (int k = 0; k < QUANTITIES; k++)
            cr_expect_eq((bool)isnan(gr_item(out.at[k])), nan[k], "operand %d, %s is %g", operand,
                         quantity_names[k], gr_item(out.at[k]));
    }
}

Test(edges, nan_is_passed_on)
{
    static const bool nan[4][QUANTITIES] = {
        {true, true, true, true, true},
        {true, true, false, true, true},
        {true, true, true, false, true},
        {true, true, true, true, false},
    };
    for (int operand = 0; operand < 4; operand++) {
        expect_nan(GR_F32, operand, nan[operand]);
        expect_nan(GR_F64, operand, nan[operand]);
    }
    for (int i = 0; i < 3; i++) {
        gr_tensor *x = ROW(GR_F32, 1, NAN, 3), *y = ROW(GR_F32, 0, 0, 1);
        gr_tensor *loss = gr_bce_with_logits(x, y, .reduction = reductions[i]);
        cr_expect(isnan(i < 2 ? gr_item(loss) : gr_get(loss, gr_index(1))));
    }
}

Test(edges, nan_is_passed_on_among_many)
{
    gr_tensor *x = gr_zeros(ctx, GR_F32, gr_shape(5000)),
              *y = gr_zeros(ctx, GR_F32, gr_shape(5000));
    ((float *)(void *)(uintptr_t)gr_data(x))[4999] = NAN;
    cr_expect(isnan(gr_item(gr_bce_with_logits(x, y))));
    cr_expect(isnan(gr_item(gr_bce_with_logits(y, x))));
}

Test(edges, weights_are_no_mask)
{
    gr_tensor *nan = ROW(GR_F64, NAN), *one = ROW(GR_F64, 1), *zero = ROW(GR_F64, 0);
    cr_expect(isnan(gr_item(gr_bce_with_logits(nan, one, .weight = zero))), "0 times NaN");
    gr_tensor *infinite = ROW(GR_F64, INFINITY);
    cr_expect(isnan(gr_item(gr_bce_with_logits(infinite, one, .weight = infinite))), "inf times 0");
}

Test(edges, negative_weights_are_plain_arithmetic)
{
    gr_tensor *x = ROW(GR_F64, .3, -2), *y = ROW(GR_F64, 1, 0), *w = ROW(GR_F64, -1.5, -2);
    gr_tensor *loss = gr_bce_with_logits(x, y, .weight = w, .reduction = GR_SUM);
    expect_near(GR_F64, gr_item(loss), -1.5L * softplus(-(long double).3) - 2 * softplus(-2), 2,
                "sum");
}

/* ---- The domain ------------------------------------------------------------------------------ */

static void refuses_input(gr_dtype dtype, double value, const char *message)
{
    gr_tensor *x = MAKE(dtype, gr_shape(2, 3), .1, .2, .3, .4, .5, value);
    const gr_bce_args args = {GR_BCE_DEFAULTS, .target = gr_zeros(ctx, dtype, gr_shape(2, 3))};
    for (int i = 0; i < 3; i++) {
        gr_bce_args with = args;
        with.reduction = reductions[i];
        expect_error(gr_bce_with(x, &with), GR_ERROR_DOMAIN, message);
    }
}

Test(edges, probabilities_outside_are_refused)
{
    for (int i = 0; i < 2; i++) {
        const gr_dtype dtype = i ? GR_F64 : GR_F32;
        refuses_input(dtype, -.125, "bce: input at [1,2] of shape [2,3] is -0.125, outside [0,1]");
        refuses_input(dtype, 1.125, "bce: input at [1,2] of shape [2,3] is 1.125, outside [0,1]");
        refuses_input(dtype, INFINITY, "bce: input at [1,2] of shape [2,3] is inf, outside [0,1]");
        refuses_input(dtype, -INFINITY,
                      "bce: input at [1,2] of shape [2,3] is -inf, outside [0,1]");
        refuses_input(dtype, NAN, "bce: input at [1,2] of shape [2,3] is nan, outside [0,1]");
    }
    gr_tensor *x = ROW(GR_F32, 1.00000012), *y = ROW(GR_F32, 1);
    cr_expect(gr_failed(gr_bce_with(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y})),
              "the float after 1");
    cr_expect_eq(gr_error(ctx), GR_ERROR_DOMAIN);
    gr_error_clear(ctx);
    cr_expect(gr_failed(gr_bce_with(ROW(GR_F64, -5e-324),
                                    &(gr_bce_args){GR_BCE_DEFAULTS, .target = ROW(GR_F64, 1)})));
    cr_expect_eq(gr_error(ctx), GR_ERROR_DOMAIN);
    gr_error_clear(ctx);
}

Test(edges, a_probability_outside_is_named_by_its_place)
{
    double *values = calloc(20000, sizeof *values);
    values[12345] = 2;
    values[19999] = 3;
    gr_tensor *x = make(GR_F64, gr_shape(20, 1000), values);
    expect_error(gr_bce_with(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = gr_zeros_like(x)}),
                 GR_ERROR_DOMAIN, "bce: input at [12,345] of shape [20,1000] is 2, outside [0,1]");
    gr_tensor *y = gr_bce(gr_transpose(x), gr_zeros(ctx, GR_F64, gr_shape(1000, 20)));
    char want[64];
    snprintf(want, sizeof want, "edges.c:%d)", __LINE__ - 2);
    cr_expect(gr_failed(y) && strstr(gr_error_message(ctx), "[345,12] of shape [1000,20] is 2"));
    cr_expect_not_null(strstr(gr_error_message(ctx), want), "%s", gr_error_message(ctx));
    gr_error_clear(ctx);
    expect_error(
        gr_bce_with(ONE(GR_F32, 2), &(gr_bce_args){GR_BCE_DEFAULTS, .target = ONE(GR_F32, 1)}),
        GR_ERROR_DOMAIN, "bce: input at [] of shape [] is 2, outside [0,1]");
    free(values);
}

/* ---- Nothing, and one element ---------------------------------------------------------------- */

static void expect_empty(loss_kind kind, gr_dtype dtype)
{
    const gr_dims shape = gr_shape(0, 3);
    for (int i = 0; i < 6; i++) {
        const gr_bce_args args = {GR_BCE_DEFAULTS, .target = gr_zeros(ctx, dtype, shape),
                                  .weight = gr_ones(ctx, dtype, gr_shape(3)),
                                  .pos_weight = gr_ones(ctx, dtype, gr_shape(3)),
                                  .reduction = reductions[i % 3]};
        const outcome out = run(kind, gr_zeros(ctx, dtype, shape), args, i < 3);
        if (args.reduction == GR_NONE)
            cr_expect(gr_ndim(out.at[LOSS]) == 2 && gr_size(out.at[LOSS], 1) == 3 &&
                      gr_numel(out.at[LOSS]) == 0);
        else if (args.reduction == GR_SUM)
            cr_expect_eq(gr_item(out.at[LOSS]), 0);
        else
            cr_expect(isnan(gr_item(out.at[LOSS])));
        cr_expect_eq(gr_numel(out.at[DX]), 0);
        cr_expect_eq(gr_numel(out.at[DY]), 0);
        cr_expect_eq(gr_numel(out.at[DW]), 3);
        cr_expect_eq(gr_numel(out.at[DP]), 3);
    }
}

Test(edges, of_nothing_the_sum_is_zero_and_the_mean_nan)
{
    for (int kind = 0; kind < KINDS; kind++) {
        expect_empty(kind, GR_F32);
        expect_empty(kind, GR_F64);
        gr_tensor *x = gr_zeros(ctx, GR_F64, gr_shape(0));
        const gr_bce_args args = {GR_BCE_DEFAULTS, .target = x, .reduction = GR_SUM};
        cr_expect_eq(gr_item(loss_of(kind, x, &args)), 0);
        cr_expect(isnan(gr_item(loss_of(kind, x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = x}))));
    }
}

Test(edges, of_one_element_every_reduction_is_0d)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < 3; i++) {
            const outcome out =
                run(kind, ONE(GR_F64, .25),
                    (gr_bce_args){GR_BCE_DEFAULTS, .target = ONE(GR_F64, 1),
                                  .weight = ONE(GR_F64, 2), .reduction = reductions[i]},
                    false);
            const truth t = truth_of(kind, (point){.25, 1, 2, 1});
            for (int k = LOSS; k <= DW; k++) {
                cr_expect_eq(gr_ndim(out.at[k]), 0);
                expect_near(GR_F64, gr_item(out.at[k]), t.at[k], 3, quantity_names[k]);
            }
        }
}

Test(edges, an_upstream_gradient_of_zero_gives_exact_zeros)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < 6; i++) {
            gr_tensor *x =
                kind == LOGITS ? ROW(GR_F64, -1e4, .3, 1e4, 20) : ROW(GR_F64, 0, .3, 1, 1e-30);
            const gr_bce_args args = {GR_BCE_DEFAULTS, .target = ROW(GR_F64, 1, .5, 0, 1),
                                      .weight = ROW(GR_F64, 1, 2, 3, 4),
                                      .pos_weight = ROW(GR_F64, 4, 3, 2, 1),
                                      .reduction = reductions[i % 3]};
            gr_tensor *seed = gr_zeros(ctx, GR_F64, i % 3 == 2 ? gr_shape(4) : gr_shape());
            const outcome out = run_seeded(kind, x, args, seed, i < 3);
            for (int k = DX; k < QUANTITIES; k++)
                for (int j = 0; j < 4; j++)
                    cr_expect_eq(gr_get(out.at[k], gr_index(j)), 0, "%s %s", kind_names[kind],
                                 quantity_names[k]);
        }
}
