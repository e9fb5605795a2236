/* gradcheck.c - tests of the checker: what it reports, what it refuses, and what it leaves as it
 * was. wrong_rules.c and hard_functions.c hold the tables of what must be found and what must pass.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/heap.h"
#include <criterion/criterion.h>
#include <gradus/gradus.h>
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

/* ---- A context whose allocator can fail ------------------------------------------------------ */

static gr_context *ctx;

static gr_context *new_context(gr_error_handler *handler)
{
    return gr_context_new(
        &(gr_context_options){.allocator = &heap_allocator, .seed = 3, .handler = handler});
}

static void begin(void) { ctx = new_context(NULL); }

static void end(void)
{
    (void)!gr_context_free(ctx);
    cr_expect_eq(heap.live, 0, "%lld bytes are lost", (long long)heap.live);
}

TestSuite(gradcheck, .init = begin, .fini = end);

static gr_tensor *vector(int64_t count, const double *values)
{
    return gr_from_data(ctx, GR_F64, gr_shape(count), values);
}
#define VECTOR(...)                                                                                \
    vector(sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]){__VA_ARGS__})

static bool same_bits(gr_tensor *x, const void *data)
{
    return memcmp(gr_data(x), data, (size_t)gr_numel(x) * sizeof(double)) == 0;
}

static gr_gradcheck_report report;

/* ---- Right functions ------------------------------------------------------------------------- */

static gr_tensor *dense(gr_tensors in, void *data)
{
    (void)data;
    gr_tensor *z = gr_add(gr_matmul(in.at[0], in.at[1]), in.at[2]);
    return gr_mean(gr_mul(gr_tanh(z), gr_sigmoid(z)));
}

static gr_tensor *elementwise(gr_tensors in, void *data)
{
    (void)data;
    return gr_div(gr_exp(in.at[0]), gr_add(gr_square(in.at[1]), gr_scalar_like(in.at[1], 1)));
}

static gr_tensor *logarithm(gr_tensors in, void *data)
{
    (void)data;
    return gr_log(in.at[0]);
}

static gr_tensor *root(gr_tensors in, void *data)
{
    (void)data;
    return gr_sqrt(in.at[0]);
}

static gr_tensor *first_input(gr_tensors in, void *data)
{
    (void)data;
    return in.at[0];
}

static gr_tensor *constant(gr_tensors in, void *data)
{
    (void)data;
    return gr_ones(gr_context_of(in.at[0]), GR_F64, gr_shape(2));
}

static gr_tensor *single(gr_tensors in, void *data)
{
    (void)data;
    return gr_sum(gr_exp(gr_cast(in.at[0], GR_F32)));
}

static void expect_passed(gr_status status, int64_t entries)
{
    cr_expect_eq(status, GR_OK, "%s", gr_error_message(ctx));
    cr_expect_eq(report.reason, GR_CHECK_PASSED);
    cr_expect_eq(report.checked, entries);
    cr_expect_eq(report.bad, 0);
    cr_expect_eq(report.unsure, 0);
    cr_expect_eq(gr_error(ctx), GR_OK);
}
#define EXPECT_PASSED(entries, f, ...)                                                             \
    expect_passed(gr_gradcheck(f, NULL, __VA_ARGS__, .report = &report), entries)

Test(gradcheck, right_gradients_pass_to_second_order)
{
    gr_tensor *x = gr_randn(ctx, GR_F64, gr_shape(3, 4)),
              *w = gr_randn(ctx, GR_F64, gr_shape(4, 2));
    gr_tensor *b = gr_randn(ctx, GR_F64, gr_shape(2));
    EXPECT_PASSED(22, dense, gr_list(x, w, b));
    EXPECT_PASSED(22 + 22 * 23, dense, gr_list(x, w, b), .order = 2);
    cr_expect_lt(report.worst.relative, 1e-7);
    cr_expect_lt(report.worst.noise, 1e-9);
    /* Operands that broadcast, and all outputs. */
    gr_tensor *row = gr_randn(ctx, GR_F64, gr_shape(4)),
              *column = gr_randn(ctx, GR_F64, gr_shape(3, 1));
    EXPECT_PASSED(12 * 7 + 7 * (7 + 12), elementwise, gr_list(row, column), .order = 2);
    cr_expect_str_eq(report.name, "elementwise");
}

Test(gradcheck, leaves_of_every_kind_are_inputs)
{
    gr_tensor *x = gr_randn(ctx, GR_F64, gr_shape(3));
    EXPECT_PASSED(9, first_input, gr_list(x));
    EXPECT_PASSED(9, first_input, gr_list(gr_variable(x)));
    EXPECT_PASSED(9, first_input, gr_list(gr_parameter(x)));
    EXPECT_PASSED(1, first_input, gr_list(gr_scalar(ctx, 2)));
    EXPECT_PASSED(0, first_input, gr_list(gr_zeros(ctx, GR_F64, gr_shape(0))));
    EXPECT_PASSED(18, elementwise, gr_list(x, gr_parameter(x)), .rtol = 1e-8);
}

static gr_tensor *around(gr_tensors in, void *parameter)
{
    (void)in;
    return gr_exp(parameter);
}

Test(gradcheck, parameters_may_be_reached_by_another_way)
{
    gr_tensor *p = gr_parameter(VECTOR(0.5, -1));
    cr_expect_eq(gr_gradcheck(around, p, gr_list(p), .order = 2), GR_OK);
    cr_expect_eq(gr_gradcheck(around, p, gr_list(p), .report = &report), GR_OK);
    cr_expect_float_eq(report.worst.numeric, exp(report.worst.x), 1e-10);
}

static gr_tensor *steep(gr_tensors in, void *data)
{
    (void)data;
    return gr_exp(gr_mul(in.at[0], gr_scalar(gr_context_of(in.at[0]), 8)));
}

/* Checks the error of the first h, 2^-8. The noise must cover this error and be a little larger. */
static void expect_error_below(double relative, double low, double high)
{
    const double slope = 8 * exp(2);
    EXPECT_PASSED(1, steep, gr_list(VECTOR(0.25)), .rtol = 1e-3, .low = low, .high = high);
    const double wrong = fabs(report.worst.numeric - slope);
    cr_expect_lt(wrong, relative * slope);
    cr_expect_lt(wrong, report.worst.noise);
    cr_expect_lt(report.worst.noise, 1e-5 * slope);
}

Test(gradcheck, differences_are_extrapolated_by_their_order)
{
    expect_error_below(1e-12, -1, 1);
    expect_error_below(1e-8, 0.25, 9);
    expect_error_below(1e-8, -9, 0.25);
}

Test(gradcheck, a_function_that_ignores_its_input_has_no_gradient)
{
    EXPECT_PASSED(4 + 4 + 4, constant, gr_list(VECTOR(1, 2)), .order = 2);
}

Test(gradcheck, steps_fit_the_scale_of_the_function)
{
    EXPECT_PASSED(25, logarithm, gr_list(VECTOR(1e-300, 1e-9, 1e-3, 1, 1e6)));
    EXPECT_PASSED(16, root, gr_list(VECTOR(1e-12, 1e-4, 1, 1e12)));
}

Test(gradcheck, a_coarse_output_is_checked_as_well_as_it_can_be)
{
    gr_tensor *x = VECTOR(0.5, -1, 2);
    cr_expect_eq(gr_gradcheck(single, NULL, gr_list(x), .order = 2, .report = &report), GR_OK);
    cr_expect_eq(report.checked, 3 + 3 * (3 + 1));
    cr_expect_gt(report.unsure, 0, "and says so");
}

Test(gradcheck, it_works_where_recording_is_off)
{
    gr_no_grad_begin(ctx);
    EXPECT_PASSED(16, root, gr_list(VECTOR(1, 2, 3, 4)));
    cr_expect_not(gr_requires_grad(gr_exp(gr_variable(VECTOR(1)))), "and leaves it off");
    gr_no_grad_end(ctx);
}

/* ---- An op with faults ----------------------------------------------------------------------- */

enum fault {
    NO_FAULT,
    SCALED,         /* the gradient 1.01 times too large */
    SIGN,           /* the wrong sign */
    MISSING,        /* one term left out */
    ZEROED,         /* one entry of many is zero */
    SECOND,         /* correct itself, but its derivative is wrong */
    FUSED,          /* only the fused rule is wrong */
    NOT_A_NUMBER,   /* NaN in one entry */
    UNSTEADY,       /* the last bit differs from call to call */
    UNSTEADY_VALUE, /* the same, but for the function's value */
    NARROW          /* the op fails outside [0, 1] */
};
static enum fault fault;
static int unsteady; /* number of calls */

/* bump(x) = x^2 exp(x) */
static gr_status bump_run(const gr_call *call)
{
    const double *x = gr_data(call->in[0]);
    double *y = gr_data_mutable(call->out);
    for (int64_t i = 0; i < gr_numel(call->out); i++) {
        if (fault == NARROW && !(x[i] >= 0 && x[i] <= 1))
            return gr_raise(call->ctx, GR_ERROR_DOMAIN, "bump", "%g", x[i]);
        y[i] = x[i] * x[i] * exp(x[i]);
        if (fault == UNSTEADY_VALUE && i == 1 && unsteady++ % 2)
            y[i] = nextafter(y[i], 2 * y[i]);
    }
    return GR_OK;
}

/* Returns a constant like x with 1 everywhere, except `value` at element 3. */
static gr_tensor *all_but_one(gr_tensor *x, double value)
{
    double *data = malloc((size_t)gr_numel(x) * sizeof *data);
    for (int64_t i = 0; i < gr_numel(x); i++)
        data[i] = i == 3 ? value : 1;
    gr_tensor *mask = gr_from_data(gr_context_of(x), GR_F64, gr_shape_of(x), data);
    free(data);
    return mask;
}

/* d bump = (x^2 + 2 x) exp(x) */
static gr_tensor *bump_slope(gr_tensor *x)
{
    gr_tensor *twice = gr_mul(x, gr_scalar_like(x, fault == MISSING ? 0 : 2));
    gr_tensor *slope = gr_mul(gr_add(gr_square(x), twice), gr_exp(x));
    if (fault == SCALED || fault == SIGN)
        slope = gr_mul(slope, gr_scalar_like(x, fault == SCALED ? 1.01 : -1));
    if (fault == ZEROED || fault == NOT_A_NUMBER)
        slope = gr_mul(slope, all_but_one(x, fault == ZEROED ? 0 : NAN));
    if (fault == UNSTEADY)
        slope = gr_mul(slope, all_but_one(x, unsteady++ % 2 ? 1 : nextafter(1, 2)));
    return slope;
}

static void bump_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, bump_slope(fault == SECOND ? gr_detach(n->in[0]) : n->in[0]));
}

static void bump_fused(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, bump_slope(n->in[0]));
    if (fault == FUSED)
        dx[0] = gr_mul(dx[0], gr_scalar_like(g, 1.01));
}

static const gr_op bump = {
    .name = "bump", .arity = 1, .run = bump_run, .vjp = bump_vjp, .fused_vjp = bump_fused};

/* A fused rule that is correct with every fault, while the composed rule is not. */
static void right_fused(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    const enum fault planted = fault;
    fault = NO_FAULT;
    dx[0] = gr_mul(g, bump_slope(n->in[0]));
    fault = planted;
}
static const gr_op bump_composed_wrong = {
    .name = "bump", .arity = 1, .run = bump_run, .vjp = bump_vjp, .fused_vjp = right_fused};

static gr_tensor *bumps(gr_tensors in, void *op)
{
    return gr_apply(op ? (const gr_op *)op : &bump, in.at[0]);
}

static gr_tensor *bump_mean(gr_tensors in, void *op) { return gr_mean(bumps(in, op)); }

/* ---- Faults ---------------------------------------------------------------------------------- */

static gr_tensor *points(void) { return VECTOR(0.5, -1.25, 2, 0.75, -0.1, 1.5); }

static void expect_wrong(enum fault planted, gr_function *f, int order, int64_t bad)
{
    gr_tensor *x = points();
    fault = planted;
    cr_expect_eq(gr_gradcheck(f, NULL, gr_list(x), .order = order, .report = &report),
                 GR_ERROR_GRADIENT);
    cr_expect_eq(report.reason, GR_CHECK_WRONG);
    cr_expect_eq(report.bad, bad, "fault %d: %lld bad entries", (int)planted,
                 (long long)report.bad);
    cr_expect_eq(gr_error(ctx), GR_OK, "what is found is no error of the context");
}

Test(gradcheck, the_op_without_a_fault_passes)
{
    EXPECT_PASSED(36 * 3, bumps, gr_list(points()), .order = 2);
    EXPECT_PASSED(6 + 36 + 6, bump_mean, gr_list(points()), .order = 2);
}

Test(gradcheck, wrong_gradients_are_caught)
{
    expect_wrong(SCALED, bumps, 1, 6);
    expect_wrong(SCALED, bump_mean, 1, 6);
    expect_wrong(SIGN, bumps, 1, 6);
    expect_wrong(SIGN, bump_mean, 1, 6);
    expect_wrong(MISSING, bumps, 1, 6);
    expect_wrong(MISSING, bump_mean, 1, 6);
    expect_wrong(FUSED, bumps, 1, 6);
    expect_wrong(FUSED, bump_mean, 1, 6);
}

Test(gradcheck, a_composed_rule_cannot_hide_behind_a_fused_one)
{
    fault = SCALED;
    gr_op op = bump_composed_wrong;
    cr_expect_eq(gr_gradcheck(bumps, &op, gr_list(points()), .report = &report), GR_ERROR_GRADIENT);
    cr_expect_eq(report.reason, GR_CHECK_WRONG);
    cr_expect_eq(report.bad, 6);
}

Test(gradcheck, what_is_wrong_only_in_second_order_is_caught)
{
    fault = SECOND;
    EXPECT_PASSED(36, bumps, gr_list(points()));
    expect_wrong(SECOND, bumps, 2, 6);
    cr_expect_eq(report.worst.order, 2);
    expect_wrong(SECOND, bump_mean, 2, 6);
}

/* ---- Rules that see the sign of what comes from above ---------------------------------------- */

/* bump with a rule that forgets a second derivative where g has this sign. */
static double forgetful_sign;
static void forgetful_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *x = n->in[0], *zero = gr_scalar_like(g, 0);
    gr_tensor *chosen = gr_less(gr_mul(g, gr_scalar_like(g, forgetful_sign)), zero);
    dx[0] = gr_mul(g, gr_where(chosen, bump_slope(x), bump_slope(gr_detach(x))));
}
static const gr_op forgetful = {.name = "bump", .arity = 1, .run = bump_run, .vjp = forgetful_vjp};

static int64_t bad_entries(const gr_op *op, gr_tensor *x)
{
    gr_op own = *op;
    fault = NO_FAULT;
    (void)!gr_gradcheck(bumps, &own, gr_list(x), .order = 2, .report = &report);
    return report.bad;
}

/* The v of the second order has both signs, at places that stay: for six elements it is above 0 at
   two, and below at four. A v of one sign, or -v, gives other numbers. */
Test(gradcheck, the_second_order_has_both_signs)
{
    forgetful_sign = 1;
    cr_expect_eq(bad_entries(&forgetful, points()), 2);
    cr_expect_eq(report.worst.order, 2);
    forgetful_sign = -1;
    cr_expect_eq(bad_entries(&forgetful, points()), 4);
    cr_expect_eq(report.worst.order, 2);
}

/* Rules that are not linear in g: right for a g of 1 alone. */
static void square_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(gr_mul(g, g), bump_slope(n->in[0]));
}
static void size_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(gr_abs(g), bump_slope(n->in[0]));
}
static const gr_op squared = {.name = "bump", .arity = 1, .run = bump_run, .vjp = square_vjp};
static const gr_op sized = {.name = "bump", .arity = 1, .run = bump_run, .vjp = size_vjp};

Test(gradcheck, rules_that_are_not_linear_are_caught)
{
    cr_expect_gt(bad_entries(&squared, points()), 0);
    cr_expect_eq(report.reason, GR_CHECK_WRONG, "a row's seed is not 1, so the row is named");
    cr_expect_gt(bad_entries(&sized, points()), 0);
    cr_expect_eq(report.reason, GR_CHECK_WRONG);
}

/* A rule that is right for one-hot seeds, and mixes the elements of others. */
static void mixing_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *share = gr_div(gr_abs(g), gr_sum(gr_abs(g)));
    dx[0] = gr_mul(gr_mul(g, share), bump_slope(n->in[0]));
}
static const gr_op mixing = {.name = "bump", .arity = 1, .run = bump_run, .vjp = mixing_vjp};

Test(gradcheck, rules_that_mix_elements_are_caught)
{
    cr_expect_eq(bad_entries(&mixing, points()), 6);
    cr_expect_eq(report.reason, GR_CHECK_NOT_LINEAR);
    cr_expect_eq(report.checked, 36, "each output alone is right");
    cr_expect_eq(report.worst.order, 1);
    cr_expect_eq(report.worst.output_at, GR_CHECK_ALL_OUTPUTS);
    cr_expect_eq(report.worst.input, 0);
}

/* A rule whose derivative in g is not the slope. */
static void detached_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(gr_detach(g), bump_slope(n->in[0]));
}
static const gr_op detached = {.name = "bump", .arity = 1, .run = bump_run, .vjp = detached_vjp};

Test(gradcheck, the_upstream_gradient_is_an_input_of_order_2)
{
    cr_expect_eq(bad_entries(&detached, points()), 6);
    cr_expect_eq(report.reason, GR_CHECK_WRONG);
    cr_expect_eq(report.checked, 36 + 36 + 36);
    cr_expect_eq(report.worst.order, 2);
    cr_expect_eq(report.worst.input, GR_CHECK_UPSTREAM);
    cr_expect_eq(report.worst.input_at, report.worst.output_at);
    cr_expect_eq(report.worst.analytic, 0);
    const double x = ((const double *)gr_data(points()))[report.worst.input_at];
    cr_expect_float_eq(report.worst.numeric, (x * x + 2 * x) * exp(x), 1e-9);
}

static gr_tensor *half_of_a_square(gr_tensors in, void *offset)
{
    gr_tensor *x = in.at[0];
    return gr_add(gr_mul(x, gr_detach(x)), gr_scalar_like(x, *(const double *)offset));
}

/* The noise is that of the entry: larger steps see a slope of 2 beside 1e12. Beside 1e17 no step
   does, and then the entry is unsure. */
Test(gradcheck, a_large_constant_hides_nothing_silently)
{
    double offset = 1e12;
    cr_expect_eq(gr_gradcheck(half_of_a_square, &offset, gr_list(VECTOR(1)), .report = &report),
                 GR_ERROR_GRADIENT);
    cr_expect_eq(report.worst.analytic, 1);
    cr_expect_float_eq(report.worst.numeric, 2, 1e-6);
    offset = 1e200;
    cr_expect_eq(gr_gradcheck(half_of_a_square, &offset, gr_list(VECTOR(1)), .report = &report),
                 GR_OK);
    cr_expect_eq(report.unsure, 1);
}

static gr_tensor *half_beyond_a_clamp(gr_tensors in, void *data)
{
    gr_tensor *x = in.at[0], *half = gr_mul(x, gr_scalar_like(x, 0.5));
    gr_tensor *y = gr_minimum(x, gr_scalar_like(x, 1));
    (void)data;
    return gr_add(gr_add(y, gr_sub(half, gr_detach(half))), gr_scalar_like(x, 1e12));
}

/* The large number asks for steps that reach the kink at 1. */
Test(gradcheck, a_kink_far_away_excuses_nothing)
{
    cr_expect_eq(gr_gradcheck(half_beyond_a_clamp, NULL, gr_list(VECTOR(1.5)), .report = &report),
                 GR_ERROR_GRADIENT);
    cr_expect_eq(report.kinks, 0);
}

static gr_tensor *relu(gr_tensors in, void *slope)
{
    gr_tensor *x = in.at[0], *wrong = gr_mul(x, gr_scalar_like(x, *(const double *)slope));
    gr_tensor *at_0 = gr_equal(x, gr_scalar_like(x, 0));
    return gr_add(gr_relu(gr_detach(x)), gr_where(at_0, gr_sub(wrong, gr_detach(wrong)),
                                                  gr_sub(gr_relu(x), gr_detach(gr_relu(x)))));
}

/* At a kink any slope between those of both sides is right, and no other. */
Test(gradcheck, kinks_are_named)
{
    for (double slope = -0.5; slope <= 1.5; slope += 0.25) {
        const bool right = slope >= 0 && slope <= 1;
        cr_expect_eq(gr_gradcheck(relu, &slope, gr_list(VECTOR(0, 1, -1)), .report = &report),
                     right ? GR_OK : GR_ERROR_GRADIENT, "%g", slope);
        cr_expect_eq(report.kinks, right);
        cr_expect_eq(report.bad, !right);
        cr_expect_eq(report.unsure, 0);
    }
}

Test(gradcheck, one_zeroed_entry_among_many_is_named)
{
    double values[10 * 12];
    for (int i = 0; i < 120; i++)
        values[i] = 0.5 + i / 100.0;
    gr_tensor *x = gr_from_data(ctx, GR_F64, gr_shape(10, 12), values);
    fault = ZEROED;
    cr_expect_eq(gr_gradcheck(bump_mean, NULL, gr_list(x), .report = &report), GR_ERROR_GRADIENT);
    cr_expect_eq(report.checked, 120);
    cr_expect_eq(report.bad, 1);
    const gr_gradcheck_entry *worst = &report.worst;
    const double slope = (values[3] * values[3] + 2 * values[3]) * exp(values[3]) / 120;
    cr_expect_eq(worst->order, 1);
    cr_expect_eq(worst->input, 0);
    cr_expect_eq(worst->output_at, 0);
    cr_expect_eq(worst->input_at, 3);
    cr_expect_eq(worst->index.count, 2);
    cr_expect_eq(worst->index.at[0], 0);
    cr_expect_eq(worst->index.at[1], 3);
    cr_expect_eq(worst->x, values[3]);
    cr_expect_eq(worst->analytic, 0);
    cr_expect_float_eq(worst->numeric, slope, 1e-11);
    cr_expect_eq(worst->absolute, fabs(worst->numeric));
    cr_expect_eq(worst->relative, 1);
    cr_expect_leq(fabs(worst->numeric - slope), worst->noise);
    cr_expect_lt(worst->noise, 1e-9);
}

static gr_tensor *second_of_two(gr_tensors in, void *data)
{
    return gr_mul(gr_sum(in.at[0]), bumps((gr_tensors){1, in.at + 1}, data));
}

Test(gradcheck, coordinates_name_input_and_output)
{
    fault = ZEROED;
    gr_tensor *x = gr_from_data(ctx, GR_F64, gr_shape(3, 2), (double[]){1, 2, 3, 4, 5, 6});
    gr_tensor *a = VECTOR(1, 1);
    cr_expect_eq(gr_gradcheck(second_of_two, NULL, gr_list(a, x), .report = &report),
                 GR_ERROR_GRADIENT);
    cr_expect_eq(report.checked, 6 * 8);
    cr_expect_eq(report.bad, 1);
    cr_expect_eq(report.worst.input, 1);
    cr_expect_eq(report.worst.output_at, 3);
    cr_expect_eq(report.worst.input_at, 3);
    cr_expect_eq(report.worst.index.at[0], 1);
    cr_expect_eq(report.worst.index.at[1], 1);
    cr_expect_eq(report.worst.x, 4);
}

Test(gradcheck, a_gradient_that_is_not_finite_is_caught)
{
    fault = NOT_A_NUMBER;
    cr_expect_eq(gr_gradcheck(bump_mean, NULL, gr_list(points()), .report = &report),
                 GR_ERROR_GRADIENT);
    cr_expect_eq(report.reason, GR_CHECK_NOT_FINITE);
    cr_expect_eq(report.bad, 1);
    cr_expect_eq(report.worst.input_at, 3);
    cr_expect(isnan(report.worst.analytic));
    cr_expect(isfinite(report.worst.numeric));
    /* The gradient is infinite, and no difference can be computed. */
    cr_expect_eq(gr_gradcheck(logarithm, NULL, gr_list(VECTOR(1, 0)), .report = &report),
                 GR_ERROR_GRADIENT);
    cr_expect_eq(report.reason, GR_CHECK_NOT_FINITE);
    cr_expect_eq(report.worst.x, 0);
}

Test(gradcheck, what_is_not_the_same_twice_is_caught)
{
    fault = UNSTEADY;
    cr_expect_eq(gr_gradcheck(bump_mean, NULL, gr_list(points()), .report = &report),
                 GR_ERROR_GRADIENT);
    cr_expect_eq(report.reason, GR_CHECK_NOT_SAME);
    cr_expect_eq(report.worst.input, 0);
    cr_expect_eq(report.worst.input_at, 3);
    cr_expect_neq(report.worst.analytic, report.worst.numeric);
    fault = UNSTEADY_VALUE;
    cr_expect_eq(gr_gradcheck(bumps, NULL, gr_list(points()), .report = &report),
                 GR_ERROR_GRADIENT);
    cr_expect_eq(report.reason, GR_CHECK_NOT_SAME);
    cr_expect_eq(report.worst.input, -1);
    cr_expect_eq(report.worst.output_at, 1);
}

static gr_tensor *dropout(gr_tensors in, void *data)
{
    (void)data;
    gr_tensor *x = in.at[0];
    return gr_mul(x, gr_rand(gr_context_of(x), GR_F64, gr_shape_of(x)));
}

Test(gradcheck, random_numbers_in_the_function_are_caught_and_given_back)
{
    cr_expect_eq(gr_gradcheck(dropout, NULL, gr_list(points()), .report = &report),
                 GR_ERROR_GRADIENT);
    cr_expect_eq(report.reason, GR_CHECK_NOT_SAME);
    gr_context *twin = new_context(NULL);
    cr_expect(
        same_bits(gr_rand(ctx, GR_F64, gr_shape(4)), gr_data(gr_rand(twin, GR_F64, gr_shape(4)))));
    cr_expect_eq(gr_context_free(twin), GR_OK);
}

/* ---- Domains --------------------------------------------------------------------------------- */

Test(gradcheck, differences_stay_inside_the_domain)
{
    fault = NARROW; /* the op fails outside [0, 1] */
    gr_tensor *x = VECTOR(0, 1, 0.5, 1e-9, 1 - 1e-9, 0.001, 0.999);
    EXPECT_PASSED(49 + 49 + 49, bumps, gr_list(x), .order = 2, .low = 0, .high = 1);
    EXPECT_PASSED(7 + 49 + 7, bump_mean, gr_list(x), .order = 2, .low = 0, .high = 1);
}

static gr_tensor *bumps_beside_a_large_number(gr_tensors in, void *data)
{
    return gr_add(bumps(in, data), gr_scalar_like(in.at[0], 1e10));
}

/* The large number asks for larger steps, and those leave the domain, which was not given. */
Test(gradcheck, larger_steps_do_not_leave_the_domain)
{
    fault = NARROW;
    gr_tensor *x = VECTOR(0.5, 0.25);
    cr_expect_eq(gr_gradcheck(bumps_beside_a_large_number, NULL, gr_list(x), .report = &report),
                 GR_OK, "%s", gr_error_message(ctx));
    cr_expect_gt(report.unsure, 0);
    cr_expect_eq(gr_error(ctx), GR_OK);
    cr_expect(same_bits(x, (double[]){0.5, 0.25}));
}

Test(gradcheck, wrong_gradients_at_a_border_are_caught)
{
    fault = SCALED;
    cr_expect_eq(gr_gradcheck(bumps, NULL, gr_list(VECTOR(1, 0.25)), .report = &report, .low = 0.25,
                              .high = 1),
                 GR_ERROR_GRADIENT);
    cr_expect_eq(report.bad, 2);
    cr_expect_eq(gr_gradcheck(root, NULL, gr_list(VECTOR(0.25)), .report = &report, .low = 0.25,
                              .high = INFINITY),
                 GR_OK);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static const double odd[] = {0.5, 0.1, 1, 0x1.fffffffffffffp-2, 0x1p-1074, -0.0};

Test(gradcheck, inputs_keep_their_bits)
{
    gr_tensor *x = vector(6, odd);
    EXPECT_PASSED(36 * 3, bumps, gr_list(x), .order = 2);
    cr_expect(same_bits(x, odd));
    fault = SIGN;
    cr_expect_eq(gr_gradcheck(bumps, NULL, gr_list(x)), GR_ERROR_GRADIENT);
    cr_expect(same_bits(x, odd));
}

Test(gradcheck, an_error_in_the_function_is_the_contexts)
{
    fault = NARROW; /* the op fails when an element at the border is moved */
    gr_tensor *x = VECTOR(0.5, 1);
    cr_expect_eq(gr_gradcheck(bumps, NULL, gr_list(x), .report = &report), GR_ERROR_DOMAIN);
    cr_expect_eq(report.reason, GR_CHECK_ERROR);
    cr_expect(strstr(gr_error_message(ctx), "bump: 1.00") == gr_error_message(ctx), "%s",
              gr_error_message(ctx));
    cr_expect(same_bits(x, (double[]){0.5, 1}));
    cr_expect_eq(gr_gradcheck(bumps, NULL, gr_list(x), .report = &report), GR_ERROR_DOMAIN,
                 "while it is there nothing is checked");
    gr_error_clear(ctx);
    EXPECT_PASSED(4, bumps, gr_list(x), .low = 0, .high = 1);
}

static jmp_buf away;
static gr_tensor *watched;
static double seen_by_handler[2];
static int handled;

static void leave(gr_context *own, gr_status status, const char *message, void *data)
{
    (void)own, (void)status, (void)message, (void)data;
    handled++;
    memcpy(seen_by_handler, gr_data(watched), sizeof seen_by_handler);
    longjmp(away, 1);
}

Test(gradcheck, a_handler_that_does_not_come_back_finds_all_in_order)
{
    gr_context *own = new_context(leave);
    fault = NARROW;
    watched = gr_from_data(own, GR_F64, gr_shape(2), (double[]){0.5, 1});
    if (setjmp(away) == 0) {
        gr_status status = gr_gradcheck(bumps, NULL, gr_list(watched));
        cr_assert_fail("the handler was not called: %s", gr_status_name(status));
    }
    cr_expect_eq(handled, 1);
    cr_expect(same_bits(watched, (double[]){0.5, 1}));
    cr_expect_arr_eq(seen_by_handler, gr_data(watched), sizeof seen_by_handler);
    cr_expect_eq(gr_scope_end(own), GR_ERROR_DOMAIN, "no scope of the check is left open");
    cr_expect_eq(gr_context_free(own), GR_ERROR_DOMAIN);
}

static gr_tensor *leaves_scope_open(gr_tensors in, void *data)
{
    (void)data;
    (void)!gr_scope_begin(gr_context_of(in.at[0]));
    return gr_sum(in.at[0]);
}

static gr_tensor *ends_scope(gr_tensors in, void *data)
{
    (void)data;
    (void)!gr_scope_end(gr_context_of(in.at[0]));
    return in.at[0];
}

static gr_tensor *nothing(gr_tensors in, void *data)
{
    (void)in, (void)data;
    return NULL;
}

static gr_tensor *comparison(gr_tensors in, void *data)
{
    (void)data;
    return gr_greater(in.at[0], gr_scalar_like(in.at[0], 0));
}

static gr_tensor *foreign(gr_tensors in, void *other)
{
    (void)in;
    return gr_ones(other, GR_F64, gr_shape());
}

static gr_tensor *grows(gr_tensors in, void *count)
{
    return gr_ones(gr_context_of(in.at[0]), GR_F64, gr_shape(++*(int64_t *)count));
}

/* Checks the error of a check that was called on this line. */
static void expect_error(gr_status status, gr_status expected, const char *message, int line)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s (%s:%d)", message, __FILE__, line);
    cr_expect_eq(status, expected);
    cr_expect_eq(gr_error(ctx), expected);
    cr_expect_str_eq(gr_error_message(ctx), whole);
    cr_expect_eq(report.reason, GR_CHECK_ERROR);
    gr_error_clear(ctx);
}
#define EXPECT_ERROR(expected, message, ...)                                                       \
    expect_error(gr_gradcheck(__VA_ARGS__, .report = &report), expected, message, __LINE__)

Test(gradcheck, functions_that_break_the_rules_are_refused)
{
    gr_tensor *x = VECTOR(1, 2);
    int64_t count = 0;
    gr_context *other = new_context(NULL);
    EXPECT_ERROR(GR_ERROR_NULL, "gradcheck: the function's result is NULL", nothing, NULL,
                 gr_list(x));
    EXPECT_ERROR(GR_ERROR_DTYPE, "gradcheck: the function's result is bool: no float", comparison,
                 NULL, gr_list(x));
    EXPECT_ERROR(GR_ERROR_CONTEXT, "gradcheck: the function's result is another context's", foreign,
                 other, gr_list(x));
    EXPECT_ERROR(GR_ERROR_SHAPE, "gradcheck: the function's result changes its shape", grows,
                 &count, gr_list(x));
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    EXPECT_ERROR(GR_ERROR_SCOPE, "gradcheck: the function leaves a scope open, or ends one",
                 leaves_scope_open, NULL, gr_list(x));
    EXPECT_ERROR(GR_ERROR_SCOPE, "scope_end: the innermost scope was begun outside this function",
                 ends_scope, NULL, gr_list(x));
    cr_expect_eq(gr_scope_end(ctx), GR_OK, "the scope around it is untouched");
    cr_expect_eq(gr_scope_end(ctx), GR_ERROR_SCOPE, "and the only one");
    cr_expect_eq(gr_context_free(other), GR_OK);
}

Test(gradcheck, inputs_that_cannot_be_moved_are_refused)
{
    gr_tensor *x = VECTOR(1, 2), *p = gr_parameter(x), *missing = NULL;
    EXPECT_ERROR(GR_ERROR_DTYPE, "gradcheck: input 1 is f32, not f64", root, NULL,
                 gr_list(x, gr_ones(ctx, GR_F32, gr_shape(2))));
    EXPECT_ERROR(GR_ERROR_ARGUMENT,
                 "gradcheck: input 0 is the result of a recorded op: differences need contiguous "
                 "leaves",
                 root, NULL, gr_list(gr_exp(p)));
    EXPECT_ERROR(GR_ERROR_ARGUMENT,
                 "gradcheck: input 0 is a strided view: differences need contiguous leaves", root,
                 NULL, gr_list(gr_expand(x, gr_shape(3, 2))));
    EXPECT_ERROR(GR_ERROR_ARGUMENT, "gradcheck: inputs 0 and 2 share elements", root, NULL,
                 gr_list(x, p, gr_variable(x)));
    EXPECT_ERROR(GR_ERROR_NULL, "gradcheck: input 1 is NULL", root, NULL, gr_list(x, missing));
    EXPECT_ERROR(GR_ERROR_ARGUMENT, "gradcheck: input 0 has an element 2, not in [0, 1]", root,
                 NULL, gr_list(x), .low = 0, .high = 1);
    EXPECT_ERROR(GR_ERROR_ARGUMENT, "gradcheck: input 0 has an element inf, not in [-inf, inf]",
                 root, NULL, gr_list(VECTOR(1, INFINITY)));
    gr_tensor *failed = gr_reshape(x, gr_shape(5));
    gr_error_clear(ctx);
    EXPECT_ERROR(GR_ERROR_ARGUMENT, "gradcheck: an input could not be made", root, NULL,
                 gr_list(failed));
    cr_expect_eq(gr_gradcheck(root, NULL, gr_list(missing)), GR_ERROR_NULL);
    cr_expect_eq(gr_gradcheck(root, NULL, ((gr_tensors){0, NULL})), GR_ERROR_NULL);
    cr_expect_eq(gr_gradcheck(root, NULL, ((gr_tensors){-1, &x}), .report = &report),
                 GR_ERROR_ARGUMENT);
    cr_expect_eq(report.reason, GR_CHECK_ERROR);
    cr_expect_eq(gr_gradcheck(root, NULL, ((gr_tensors){INT64_MIN, NULL})), GR_ERROR_ARGUMENT);
}

Test(gradcheck, options_that_make_no_sense_are_refused)
{
    gr_tensor *x = VECTOR(1, 2);
    EXPECT_ERROR(GR_ERROR_ARGUMENT, "gradcheck: order 3 is neither 1 nor 2", root, NULL, gr_list(x),
                 .order = 3);
    EXPECT_ERROR(GR_ERROR_ARGUMENT, "gradcheck: tolerances -1 and 1e-09", root, NULL, gr_list(x),
                 .rtol = -1);
    EXPECT_ERROR(GR_ERROR_ARGUMENT, "gradcheck: tolerances 1e-06 and nan", root, NULL, gr_list(x),
                 .atol = NAN);
    EXPECT_ERROR(GR_ERROR_ARGUMENT, "gradcheck: domain [2, 1] is empty", root, NULL, gr_list(x),
                 .low = 2, .high = 1);
    gr_function *missing = NULL;
    EXPECT_ERROR(GR_ERROR_NULL, "gradcheck: the function is NULL", missing, NULL, gr_list(x));
    cr_expect_eq(gr_gradcheck_with(root, NULL, gr_list(x), NULL), GR_OK, "all defaults");
}

/* ---- What was recorded before ---------------------------------------------------------------- */

static gr_tensor *cubes(gr_tensors in, void *data)
{
    (void)data;
    return gr_mul(in.at[0], gr_square(in.at[0]));
}

/* The check moves its inputs and restores them. This counts as no write, and does not hide other
   writes. */
Test(gradcheck, results_of_before_can_be_differentiated_after)
{
    gr_tensor *p = gr_parameter(VECTOR(2, 3)), *x = VECTOR(5, 7);
    gr_tensor *y = gr_sum(gr_mul(gr_square(p), gr_square(gr_variable(x))));
    cr_expect_eq(gr_gradcheck(cubes, NULL, gr_list(p, x), .order = 2), GR_OK);
    gr_tensor *slope = gr_grad(y, p);
    cr_expect_eq(gr_get(slope, gr_index(0)), 2 * 2 * 25, "%s", gr_error_message(ctx));
    cr_expect_eq(gr_write(p, GR_F64, 2, ((double[]){1, 1})), GR_OK);
    cr_expect_eq(gr_gradcheck(cubes, NULL, gr_list(p)), GR_OK);
    cr_expect_eq(gr_backward(y), GR_ERROR_GRADIENT);
    cr_expect(strstr(gr_error_message(ctx), "which write wrote at ") != NULL, "%s",
              gr_error_message(ctx));
}

static gr_tensor *writes_its_input(gr_tensors in, void *parameter)
{
    (void)!gr_write(parameter, GR_F64, 2, ((double[]){2, 3}));
    return cubes(in, NULL);
}

static gr_tensor *reads_of_before(gr_tensors in, void *square)
{
    return gr_add(cubes(in, NULL), gr_mul(square, gr_scalar_like(in.at[0], 0)));
}

Test(gradcheck, an_input_counts_as_written_while_it_is_moved)
{
    gr_tensor *p = gr_parameter(VECTOR(2, 3)), *square = gr_square(p);
    cr_expect_eq(gr_gradcheck(reads_of_before, square, gr_list(p)), GR_OK, "without sweeps in f");
    cr_expect_eq(gr_gradcheck(reads_of_before, square, gr_list(p), .order = 2), GR_ERROR_GRADIENT);
    cr_expect_eq(gr_error(ctx), GR_ERROR_GRADIENT);
    gr_error_clear(ctx);
    (void)!gr_gradcheck(writes_its_input, p, gr_list(p));
    gr_error_clear(ctx);
    cr_expect_eq(gr_backward(gr_sum(square)), GR_ERROR_GRADIENT, "f's own writes count");
}

static gr_tensor *leaves_brackets_open(gr_tensors in, void *data)
{
    gr_tensor *y = cubes(in, data);
    gr_no_grad_begin(ctx);
    return y;
}

Test(gradcheck, brackets_that_the_function_leaves_open_end_with_it)
{
    cr_expect_eq(gr_gradcheck(leaves_brackets_open, NULL, gr_list(VECTOR(1, 2)), .order = 2),
                 GR_OK);
    cr_expect(gr_requires_grad(gr_exp(gr_variable(VECTOR(1)))));
}

static gr_tensor *frees_its_input(gr_tensors in, void *calls)
{
    gr_tensor *y = gr_sum(gr_square(in.at[0]));
    if (--*(int *)calls == 0)
        gr_parameter_free(in.at[0]);
    return y;
}

Test(gradcheck, a_function_that_frees_its_input_harms_nothing)
{
    for (int calls = 1; calls < 16; calls++) {
        int left = calls;
        cr_expect_eq(gr_gradcheck(frees_its_input, &left, gr_list(gr_parameter(VECTOR(2, 3)))),
                     GR_ERROR_SCOPE, "freed in call %d", calls);
        gr_error_clear(ctx);
    }
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* Makes each allocation of a check fail once, and checks that nothing is damaged. Returns their
   number. */
static int fail_each_allocation(void)
{
    const double values[] = {0.5, 0.1, 2};
    for (int64_t n = 1;; n++) {
        (void)!gr_context_free(ctx);
        begin();
        gr_tensor *x = vector(3, values);
        heap.calls = 0;
        heap.fail_at = n;
        const gr_status status =
            gr_gradcheck(bump_mean, NULL, gr_list(x), .order = 2, .report = &report);
        heap.fail_at = 0;
        cr_expect(same_bits(x, values));
        if (status == GR_OK)
            return (int)n - 1;
        cr_expect_eq(status, GR_ERROR_MEMORY);
        cr_expect_eq(report.reason, GR_CHECK_ERROR);
        gr_error_clear(ctx);
        EXPECT_PASSED(3 + 9 + 3, bump_mean, gr_list(x), .order = 2);
        cr_expect_eq(gr_scope_end(ctx), GR_ERROR_SCOPE, "no scope is left open");
    }
}

Test(gradcheck, a_failed_allocation_harms_nothing)
{
    cr_expect_geq(fail_each_allocation(), 5);
    heap.lasting = true;
    cr_expect_geq(fail_each_allocation(), 5);
}

/* ---- The report ------------------------------------------------------------------------------ */

static void expect_line(const char *line)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    gr_gradcheck_print(&report, out);
    fclose(out);
    cr_expect_str_eq(text, line);
    free(text);
}

Test(gradcheck, the_report_is_one_line)
{
    report = (gr_gradcheck_report){.name = "f", .checked = 24};
    expect_line("f: passed, 24 entries\n");
    report.unsure = 2;
    expect_line("f: passed, 24 entries, 2 unsure: rounding or steps hide errors there\n");
    report.kinks = 3;
    expect_line(
        "f: passed, 24 entries, 3 at kinks, 2 unsure: rounding or steps hide errors there\n");
    report = (gr_gradcheck_report){
        .name = "f",
        .reason = GR_CHECK_WRONG,
        .checked = 24,
        .bad = 3,
        .worst = {.order = 1,
                  .output_at = 2,
                  .index = gr_index(3, 1),
                  .analytic = 0.4211,
                  .numeric = 0.4164,
                  .relative = 0.0111,
                  .noise = 4e-11},
    };
    expect_line("f: wrong gradient: d out[2] / d in[0] at [3,1]: analytic 0.4211, numeric 0.4164, "
                "relative error 1.1e-02 (noise 4e-11), 3 of 24\n");
    report.reason = GR_CHECK_NOT_FINITE;
    report.worst.order = 2;
    report.worst.analytic = INFINITY;
    report.worst.relative = INFINITY;
    expect_line("f: gradient not finite: d gradient[2] / d in[0] at [3,1]: analytic inf, numeric "
                "0.4164, relative error inf (noise 4e-11), 3 of 24\n");
    report.reason = GR_CHECK_NOT_SAME;
    report.worst.order = 1;
    report.worst.input = GR_CHECK_NO_INPUT;
    report.worst.analytic = 0.5;
    report.worst.numeric = 0.25;
    expect_line("f: not the same twice: out[2]: 0.5, then 0.25\n");
    report.reason = GR_CHECK_NOT_LINEAR;
    report.worst.input = 0;
    report.worst.output_at = GR_CHECK_ALL_OUTPUTS;
    expect_line(
        "f: not linear in the upstream gradient: d out / d in[0] at [3,1], weighted: 0.5, and "
        "0.25 from the outputs one by one\n");
    report.reason = GR_CHECK_WRONG;
    report.worst = (gr_gradcheck_entry){.order = 2,
                                        .input = GR_CHECK_UPSTREAM,
                                        .output_at = 1,
                                        .index = gr_index(4),
                                        .analytic = 0,
                                        .numeric = 2,
                                        .relative = 1};
    expect_line(
        "f: wrong gradient: d gradient[1] / d upstream at [4]: analytic 0, numeric 2, relative "
        "error 1.0e+00 (noise 0e+00), 3 of 24\n");
    report = (gr_gradcheck_report){.reason = GR_CHECK_ERROR};
    expect_line("f: failed: the context's error says how\n");
    gr_gradcheck_print(NULL, stdout);
    gr_gradcheck_print(&report, NULL);
}
