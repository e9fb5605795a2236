/* optimizer.c - tests of nn/optimizer.c: formulas in long double, bits, and steps that must not
 * happen.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

TestSuite(optimizer, .init = begin, .fini = end);

enum { COUNT = 5, STEPS = 20 };

/* ---- The formulas of nn.h, in long double ---------------------------------------------------- */

typedef struct reference {
    long double lr, momentum, decay, beta1, beta2, epsilon;
    bool nesterov, adam, apart; /* apart: the decay of AdamW */
    int t;
    long double theta[COUNT], m[COUNT], v[COUNT];
} reference;

/* Takes one step. State is rounded in the same way as in its dtype. */
static void reference_step(reference *r, const double *gradient, bool single)
{
    r->t++;
    for (int i = 0; i < COUNT; i++) {
        const long double theta = r->theta[i];
        long double g = gradient[i], next = theta;
        if (r->apart)
            next = theta - r->lr * r->decay * theta;
        else
            g = g + r->decay * theta;
        if (r->adam) {
            r->m[i] = r->beta1 * r->m[i] + (1 - r->beta1) * g;
            r->v[i] = r->beta2 * r->v[i] + (1 - r->beta2) * g * g;
            const long double m = r->m[i] / (1 - powl(r->beta1, r->t));
            const long double v = r->v[i] / (1 - powl(r->beta2, r->t));
            next = next - r->lr * m / (sqrtl(v) + r->epsilon);
        } else {
            r->v[i] = r->momentum * r->v[i] + g;
            next = next - r->lr * (r->nesterov ? g + r->momentum * r->v[i] : r->v[i]);
        }
        r->theta[i] = single ? (float)next : (double)next;
        r->m[i] = single ? (float)r->m[i] : (double)r->m[i];
        r->v[i] = single ? (float)r->v[i] : (double)r->v[i];
    }
}

static const double start[COUNT] = {0.5, -1.25, 3, -0.001, 0.75};

/* sum(exp(x / 2) + x^2): its gradient depends on x and differs between elements. */
static gr_tensor *loss_of(gr_tensor *x)
{
    gr_tensor *half = gr_mul(x, gr_scalar(gr_context_of(x), 0.5));
    return gr_sum(gr_add(gr_exp(half), gr_square(x)));
}

static void backward(gr_tensor *x)
{
    cr_assert_eq(gr_scope_begin(gr_context_of(x)), GR_OK);
    cr_assert_eq(gr_backward(loss_of(x)), GR_OK);
    cr_assert_eq(gr_scope_end(gr_context_of(x)), GR_OK);
}

static gr_tensor *new_parameter(gr_dtype dtype)
{
    return gr_parameter(gr_cast(gr_from_data(ctx, GR_F64, gr_shape(COUNT), start), dtype));
}

static void follow(gr_optimizer *optimizer, gr_tensor *x, reference r)
{
    const bool single = gr_dtype_of(x) == GR_F32;
    double gradient[COUNT], theta[COUNT];
    cr_assert_eq(gr_read(x, GR_F64, COUNT, theta), GR_OK);
    for (int i = 0; i < COUNT; i++)
        r.theta[i] = theta[i];
    for (int step = 0; step < STEPS; step++) {
        backward(x);
        cr_assert_eq(gr_read(gr_gradient(x), GR_F64, COUNT, gradient), GR_OK);
        reference_step(&r, gradient, single);
        cr_assert_eq(gr_step(optimizer), GR_OK, "%s", gr_error_message(ctx));
        cr_assert_eq(gr_read(x, GR_F64, COUNT, theta), GR_OK);
        for (int i = 0; i < COUNT; i++) {
            const double scale = fmax(fabs(theta[i]), 1);
            cr_expect_float_eq(theta[i], (double)r.theta[i], scale * (single ? 1e-6 : 5e-15),
                               "step %d element %d: %.17g is not %.17Lg", step, i, theta[i],
                               r.theta[i]);
        }
    }
    cr_expect_eq(gr_optimizer_steps(optimizer), STEPS);
}

/* Each formula for f32 and f64. */
#define FOLLOW(make, ...)                                                                          \
    for (int single = 0; single < 2; single++) {                                                   \
        gr_tensor *x = new_parameter(single ? GR_F32 : GR_F64);                                    \
        follow(make, x, (reference){__VA_ARGS__});                                                 \
    }

Test(optimizer, sgd_is_its_formula)
{
    FOLLOW(gr_sgd(ctx, gr_list(x)), .lr = 0.01);
    FOLLOW(gr_sgd(ctx, gr_list(x), .lr = 0.05), .lr = 0.05);
    FOLLOW(gr_sgd(ctx, gr_list(x), .lr = 0.05, .momentum = 0.9), .lr = 0.05, .momentum = 0.9);
    FOLLOW(gr_sgd(ctx, gr_list(x), .lr = 0.05, .momentum = 0.5, .nesterov = true), .lr = 0.05,
           .momentum = 0.5, .nesterov = true);
    FOLLOW(gr_sgd(ctx, gr_list(x), .momentum = 0.9, .weight_decay = 0.1), .lr = 0.01,
           .momentum = 0.9, .decay = 0.1L);
    FOLLOW(gr_sgd(ctx, gr_list(x), .weight_decay = 0.5), .lr = 0.01, .decay = 0.5);
}

Test(optimizer, adam_is_its_formula)
{
    FOLLOW(gr_adam(ctx, gr_list(x)), .adam = true, .lr = 0.001, .beta1 = 0.9, .beta2 = 0.999,
           .epsilon = 1e-8);
    FOLLOW(gr_adam(ctx, gr_list(x), .lr = 0.1, .beta1 = 0.5, .beta2 = 0.9, .epsilon = 0.01,
                   .weight_decay = 0.2),
           .adam = true, .lr = 0.1, .beta1 = 0.5, .beta2 = 0.9, .epsilon = 0.01, .decay = 0.2);
}

Test(optimizer, adamw_is_its_formula)
{
    FOLLOW(gr_adamw(ctx, gr_list(x)), .adam = true, .apart = true, .lr = 0.001, .beta1 = 0.9,
           .beta2 = 0.999, .epsilon = 1e-8, .decay = 0.01);
    FOLLOW(gr_adamw(ctx, gr_list(x), .lr = 0.1, .beta1 = 0.5, .beta2 = 0.9, .epsilon = 0.01,
                    .weight_decay = 0.2),
           .adam = true, .apart = true, .lr = 0.1, .beta1 = 0.5, .beta2 = 0.9, .epsilon = 0.01,
           .decay = 0.2);
}

/* A warm-up begins at 0 and a cosine ends there. At 0 the moments still take in the gradient. */
Test(optimizer, a_learning_rate_of_0_moves_the_state_alone)
{
    gr_tensor *x = new_parameter(GR_F64), *y = new_parameter(GR_F64);
    gr_optimizer *adam = gr_adam(ctx, gr_list(x), .lr = 0), *sgd = gr_sgd(ctx, gr_list(y), .lr = 0);
    cr_expect_eq(gr_learning_rate(adam), 0);
    cr_expect_eq(gr_learning_rate(sgd), 0);
    cr_assert_eq(gr_backward(gr_sum(gr_add(x, y))), GR_OK);
    cr_assert_eq(gr_step(adam), GR_OK);
    cr_assert_eq(gr_step(sgd), GR_OK);
    for (int i = 0; i < COUNT; i++) {
        cr_expect_eq(gr_get(x, gr_index(i)), start[i]);
        cr_expect_eq(gr_get(y, gr_index(i)), start[i]);
        cr_expect_float_eq(gr_get(gr_optimizer_state(adam).at[0], gr_index(i)), 0.1, 1e-15);
    }
}

Test(optimizer, half_precision_is_rounded_once)
{
    const gr_dtype halves[] = {GR_F16, GR_BF16};
    for (int i = 0; i < 2; i++) {
        gr_tensor *x = gr_parameter(gr_full(ctx, halves[i], gr_shape(1), 3));
        gr_optimizer *optimizer = gr_sgd(ctx, gr_list(x), .lr = 0.3, .momentum = 0.9);
        cr_expect_eq(gr_dtype_of(gr_optimizer_state(optimizer).at[0]), GR_F32);
        cr_assert_eq(gr_backward(gr_sum(gr_square(x))), GR_OK);
        cr_assert_eq(gr_step(optimizer), GR_OK);
        gr_tensor *expected = gr_full(ctx, halves[i], gr_shape(1), 3 - 0.3 * 6);
        cr_expect(same_bits(x, gr_data(expected)));
    }
}

/* ---- Masters of half parameters -------------------------------------------------------------- */

typedef gr_optimizer *half_maker(gr_tensor *x);
static gr_optimizer *small_sgd(gr_tensor *x) { return gr_sgd(ctx, gr_list(x), .lr = 0.0001); }
static gr_optimizer *small_momentum(gr_tensor *x)
{
    return gr_sgd(ctx, gr_list(x), .lr = 0.00001, .momentum = 0.9);
}
static gr_optimizer *small_adamw(gr_tensor *x)
{
    return gr_adamw(ctx, gr_list(x), .lr = 0.0001, .weight_decay = 0.01);
}

static void steps_of_one(gr_tensor *x, gr_optimizer *optimizer, int count)
{
    for (int i = 0; i < count; i++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        cr_assert_eq(gr_backward(gr_sum(x)), GR_OK);
        cr_assert_eq(gr_step(optimizer), GR_OK);
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
    }
}

/* Each step is smaller than half a unit in the last place of 1. MANY elements are several pieces of
   a step, and the last one is not whole. */
Test(optimizer, small_steps_of_a_half_parameter_add_up)
{
    enum { MANY = 600 };
    half_maker *const makers[] = {small_sgd, small_momentum, small_adamw};
    for (int m = 0; m < 3; m++)
        for (int dtype = GR_F16; dtype <= GR_BF16; dtype++) {
            gr_tensor *half = gr_parameter(gr_ones(ctx, dtype, gr_shape(MANY)));
            gr_tensor *single = gr_parameter(gr_ones(ctx, GR_F32, gr_shape(MANY)));
            steps_of_one(half, makers[m](half), 1000);
            steps_of_one(single, makers[m](single), 1000);
            cr_expect_lt(gr_get(single, gr_shape(0)), 0.95);
            cr_expect(same_bits(half, gr_data(gr_cast(single, dtype))), "rule %d, %s", m,
                      gr_dtype_name(dtype));
        }
}

Test(optimizer, a_half_parameter_that_is_written_goes_on_from_there)
{
    gr_tensor *x = gr_parameter(gr_ones(ctx, GR_BF16, gr_shape(3)));
    gr_optimizer *optimizer = small_sgd(x);
    steps_of_one(x, optimizer, 5);
    cr_expect_float_eq(gr_get(gr_optimizer_state(optimizer).at[0], gr_shape(1)), 0.9995, 1e-5);
    const double written[] = {1, 3, -2};
    cr_assert_eq(gr_write(x, GR_F64, 3, written), GR_OK);
    steps_of_one(x, optimizer, 5);
    gr_tensor *now = gr_optimizer_state(optimizer).at[0];
    cr_expect_float_eq(gr_get(now, gr_shape(0)), 0.999, 1e-5); /* 1 is what it was */
    cr_expect_float_eq(gr_get(now, gr_shape(1)), 2.9995, 1e-5);
    cr_expect_float_eq(gr_get(now, gr_shape(2)), -2.0005, 1e-5);
    for (int64_t i = 0; i < 3; i++)
        cr_expect_eq(gr_get(x, gr_shape(i)), written[i]);
}

Test(optimizer, masters_stand_before_the_count_of_steps)
{
    gr_tensor *half = gr_parameter(gr_ones(ctx, GR_F16, gr_shape(2))),
              *single = gr_parameter(gr_ones(ctx, GR_F32, gr_shape(3)));
    gr_tensors state = gr_optimizer_state(gr_adam(ctx, gr_list(single, half)));
    cr_assert_eq(state.count, 7);
    cr_expect_eq(gr_dtype_of(state.at[5]), GR_F32);
    cr_expect_eq(gr_numel(state.at[5]), 2);
    cr_expect_eq(gr_dtype_of(state.at[6]), GR_I64);
    state = gr_optimizer_state(gr_adam(ctx, gr_list(single)));
    cr_expect_eq(state.count, 4);
}

/* ---- Bits ------------------------------------------------------------------------------------ */

typedef gr_optimizer *maker(gr_context *, const gr_adam_args *);

/* Takes three steps on a large parameter in one context. Returns its bytes. */
static void *three_steps(gr_context_options options, gr_dtype dtype)
{
    gr_context *own = gr_context_new(&options);
    gr_tensor *x = gr_parameter(gr_randn(own, dtype, gr_shape(300001)));
    gr_optimizer *optimizer = gr_adamw(own, gr_list(x), .lr = 0.01);
    for (int i = 0; i < 3; i++) {
        backward(x);
        cr_assert_eq(gr_step(optimizer), GR_OK);
    }
    void *bits = bits_of(x);
    cr_expect_eq(gr_context_free(own), GR_OK);
    return bits;
}

Test(optimizer, bits_depend_on_neither_threads_nor_instruction_set)
{
    const gr_dtype dtypes[] = {GR_F32, GR_F64, GR_BF16};
    for (int i = 0; i < 3; i++) {
        const size_t bytes = 300001 * (size_t)gr_dtype_size(dtypes[i]);
        void *one = three_steps((gr_context_options){.threads = 1}, dtypes[i]);
        void *five = three_steps((gr_context_options){.threads = 5}, dtypes[i]);
        void *scalar = three_steps((gr_context_options){.isa = "scalar"}, dtypes[i]);
        cr_expect_arr_eq(one, five, bytes);
        cr_expect_arr_eq(one, scalar, bytes);
        free(one);
        free(five);
        free(scalar);
    }
}

Test(optimizer, a_step_allocates_nothing)
{
    gr_tensor *x = gr_parameter(gr_randn(ctx, GR_F32, gr_shape(100000)));
    gr_optimizer *optimizer = gr_adam(ctx, gr_list(x));
    backward(x);
    const int64_t before = gr_memory(ctx).allocations;
    cr_assert_eq(gr_step(optimizer), GR_OK);
    cr_expect_eq(gr_memory(ctx).allocations, before);
}

Test(optimizer, state_carried_over_goes_on_with_the_same_bits)
{
    gr_tensor *x = new_parameter(GR_F32), *y = new_parameter(GR_F32);
    gr_optimizer *whole = gr_adam(ctx, gr_list(x), .lr = 0.1);
    gr_optimizer *first = gr_adam(ctx, gr_list(y), .lr = 0.1);
    gr_optimizer *second = gr_adam(ctx, gr_list(y), .lr = 0.1);
    for (int i = 0; i < 10; i++) {
        backward(x);
        cr_assert_eq(gr_step(whole), GR_OK);
        backward(y);
        cr_assert_eq(gr_step(i < 5 ? first : second), GR_OK);
        for (int64_t k = 0; i == 4 && k < gr_optimizer_state(first).count; k++) {
            gr_tensor *from = gr_optimizer_state(first).at[k];
            cr_assert_eq(gr_write(gr_optimizer_state(second).at[k], gr_dtype_of(from),
                                  gr_numel(from), gr_data(from)),
                         GR_OK);
        }
    }
    cr_expect(same_bits(x, gr_data(y)));
    cr_expect_eq(gr_optimizer_steps(second), 10);
}

/* ---- State ----------------------------------------------------------------------------------- */

static void expect_state(gr_optimizer *optimizer, int64_t count)
{
    const gr_tensors state = gr_optimizer_state(optimizer);
    cr_expect_eq(state.count, count);
    gr_tensor *steps = state.at[state.count - 1];
    cr_expect_eq(gr_dtype_of(steps), GR_I64);
    cr_expect_eq(gr_ndim(steps), 0);
    cr_expect_eq(gr_item(steps), 0);
}

Test(optimizer, state_is_as_documented)
{
    gr_tensor *x = new_parameter(GR_F32), *y = new_parameter(GR_F64);
    expect_state(gr_sgd(ctx, gr_list(x, y)), 1);
    expect_state(gr_sgd(ctx, gr_list(x, y), .momentum = 0.5), 3);
    gr_optimizer *adam = gr_adam(ctx, gr_list(x, y));
    expect_state(adam, 6);
    expect_state(gr_adamw(ctx, gr_list(x)), 4);
    const gr_tensors state = gr_optimizer_state(adam);
    const gr_dtype dtypes[] = {GR_F32, GR_F32, GR_F64, GR_F64};
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(gr_dtype_of(state.at[i]), dtypes[i]);
        cr_expect_eq(gr_numel(state.at[i]), COUNT);
        cr_expect_eq(gr_item(gr_sum(gr_abs(state.at[i]))), 0);
    }
    cr_expect(same_bits(state.at[4], (double[]){1, 1, 1, 1}));
}

Test(optimizer, a_parameter_without_a_gradient_stays_and_does_not_age)
{
    gr_tensor *x = new_parameter(GR_F64), *y = new_parameter(GR_F64), *z = new_parameter(GR_F64);
    gr_optimizer *both = gr_adam(ctx, gr_list(x, y)), *alone = gr_adam(ctx, gr_list(z));
    backward(x);
    cr_assert_eq(gr_step(both), GR_OK);
    cr_expect(same_bits(y, start));
    cr_expect_not(same_bits(x, start));
    cr_expect_eq(gr_item(gr_sum(gr_abs(gr_optimizer_state(both).at[2]))), 0);
    void *before = bits_of(x);
    backward(y);
    cr_assert_eq(gr_step(both), GR_OK);
    backward(z);
    cr_assert_eq(gr_step(alone), GR_OK);
    cr_expect(same_bits(y, gr_data(z)), "its first step is a first step");
    cr_expect(same_bits(x, before), "the gradient was forgotten");
    cr_expect_eq(gr_optimizer_steps(both), 2);
    free(before);
}

Test(optimizer, gradients_are_forgotten_after_the_step)
{
    gr_tensor *x = new_parameter(GR_F64);
    gr_optimizer *optimizer = gr_sgd(ctx, gr_list(x));
    backward(x);
    cr_assert_eq(gr_step(optimizer), GR_OK);
    cr_expect(same_bits(gr_gradient(x), (double[COUNT]){0}));
    void *before = bits_of(x);
    cr_assert_eq(gr_step(optimizer), GR_OK);
    cr_expect(same_bits(x, before));
    cr_expect_eq(gr_optimizer_steps(optimizer), 2);
    free(before);
}

Test(optimizer, infinite_weights_without_decay_stay_infinite)
{
    gr_tensor *x = gr_parameter(gr_full(ctx, GR_F64, gr_shape(1), INFINITY));
    gr_optimizer *optimizer = gr_sgd(ctx, gr_list(x));
    cr_assert_eq(gr_backward(gr_sum(gr_mul(x, gr_scalar(ctx, 2)))), GR_OK);
    cr_assert_eq(gr_step(optimizer), GR_OK);
    cr_expect_eq(gr_item(x), INFINITY);
}

Test(optimizer, the_learning_rate_can_be_changed)
{
    gr_tensor *x = new_parameter(GR_F64);
    gr_optimizer *optimizer = gr_sgd(ctx, gr_list(x));
    cr_expect_eq(gr_learning_rate(optimizer), 0.01);
    cr_expect_eq(gr_set_learning_rate(optimizer, 0.5), GR_OK);
    cr_expect_eq(gr_learning_rate(optimizer), 0.5);
    cr_assert_eq(gr_backward(gr_sum(x)), GR_OK);
    cr_assert_eq(gr_step(optimizer), GR_OK);
    cr_expect_eq(gr_get(x, gr_index(2)), 2.5);
    cr_expect_eq(gr_set_learning_rate(optimizer, 0), GR_OK);
    cr_expect_eq(gr_learning_rate(optimizer), 0);
    cr_assert_eq(gr_backward(gr_sum(x)), GR_OK);
    cr_assert_eq(gr_step(optimizer), GR_OK);
    cr_expect_eq(gr_get(x, gr_index(2)), 2.5, "a step at 0 moves nothing");
    cr_expect_eq(gr_optimizer_steps(optimizer), 2);
    cr_expect_eq(gr_set_learning_rate(optimizer, 0.5), GR_OK);
    const double bad[] = {-1, -1e-300, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(gr_set_learning_rate(optimizer, bad[i]), GR_ERROR_ARGUMENT);
        cr_expect_eq(gr_learning_rate(optimizer), 0.5);
        cr_expect_eq(gr_error(ctx), GR_ERROR_ARGUMENT);
        cr_expect_eq(gr_set_learning_rate(optimizer, 0.25), GR_ERROR_ARGUMENT, "error pending");
        cr_expect_eq(gr_learning_rate(optimizer), 0.5);
        gr_error_clear(ctx);
    }
}

/* ---- Steps that do not happen ---------------------------------------------------------------- */

Test(optimizer, nothing_moves_in_a_context_with_an_error)
{
    gr_tensor *x = new_parameter(GR_F64), *y = new_parameter(GR_F64);
    gr_optimizer *optimizer = gr_adam(ctx, gr_list(x)), *other = gr_adam(ctx, gr_list(y));
    backward(x);
    void *gradient = bits_of(gr_gradient(x));
    (void)gr_matmul(gr_ones(ctx, GR_F64, gr_shape(2, 3)), gr_ones(ctx, GR_F64, gr_shape(4, 2)));
    cr_expect_eq(gr_step(optimizer), GR_ERROR_SHAPE);
    cr_expect(same_bits(x, start));
    cr_expect(same_bits(gr_gradient(x), gradient));
    cr_expect_eq(gr_optimizer_steps(optimizer), 0);
    cr_expect(same_bits(gr_optimizer_state(optimizer).at[0], (double[COUNT]){0}));
    cr_expect(same_bits(gr_optimizer_state(optimizer).at[2], (double[]){1, 1}));
    gr_error_clear(ctx);
    cr_expect_eq(gr_step(optimizer), GR_OK);
    backward(y);
    cr_expect_eq(gr_step(other), GR_OK);
    cr_expect(same_bits(x, gr_data(y)), "as if nothing had happened");
    free(gradient);
}

/* ---- Refusals -------------------------------------------------------------------------------- */

static void expect_refused(gr_optimizer *optimizer, gr_status status, const char *message)
{
    cr_assert_not_null(optimizer);
    cr_expect_eq(gr_step(optimizer), status);
    expect_error(status, message);
    cr_expect_eq(gr_step(optimizer), status);
    gr_error_clear(ctx);
    cr_expect_eq(gr_set_learning_rate(optimizer, 1), status);
    gr_error_clear(ctx);
    cr_expect(isnan(gr_learning_rate(optimizer)));
    cr_expect_eq(gr_optimizer_state(optimizer).count, 0);
    cr_expect_eq(gr_optimizer_steps(optimizer), 0);
}

Test(optimizer, options_outside_their_range_are_refused)
{
    gr_tensor *x = new_parameter(GR_F32);
    expect_refused(gr_sgd(ctx, gr_list(x), .lr = -1), GR_ERROR_ARGUMENT,
                   "sgd: lr is -1, not in [0, inf)");
    expect_refused(gr_sgd(ctx, gr_list(x), .lr = INFINITY), GR_ERROR_ARGUMENT,
                   "sgd: lr is inf, not in [0, inf)");
    expect_refused(gr_sgd(ctx, gr_list(x), .momentum = 1), GR_ERROR_ARGUMENT,
                   "sgd: momentum is 1, not in [0, 1)");
    expect_refused(gr_sgd(ctx, gr_list(x), .nesterov = true), GR_ERROR_ARGUMENT,
                   "sgd: nesterov needs a momentum above 0");
    expect_refused(gr_sgd(ctx, gr_list(x), .nesterov = true, .momentum = 0), GR_ERROR_ARGUMENT,
                   "sgd: nesterov needs a momentum above 0");
    expect_refused(gr_sgd(ctx, gr_list(x), .weight_decay = -0.5), GR_ERROR_ARGUMENT,
                   "sgd: weight_decay is -0.5, not in [0, inf)");
    expect_refused(gr_adam(ctx, gr_list(x), .lr = NAN), GR_ERROR_ARGUMENT,
                   "adam: lr is nan, not in [0, inf)");
    expect_refused(gr_adam(ctx, gr_list(x), .beta1 = 1), GR_ERROR_ARGUMENT,
                   "adam: beta1 is 1, not in [0, 1)");
    expect_refused(gr_adam(ctx, gr_list(x), .beta2 = -0.1), GR_ERROR_ARGUMENT,
                   "adam: beta2 is -0.1, not in [0, 1)");
    expect_refused(gr_adamw(ctx, gr_list(x), .epsilon = -1e-8), GR_ERROR_ARGUMENT,
                   "adamw: epsilon is -1e-08, not in [0, inf)");
    expect_refused(gr_adamw(ctx, gr_list(x), .weight_decay = NAN), GR_ERROR_ARGUMENT,
                   "adamw: weight_decay is nan, not in [0, inf)");
}

Test(optimizer, options_that_do_not_begin_with_their_defaults_are_refused)
{
    const gr_tensors all = gr_list(new_parameter(GR_F32));
    expect_refused(gr_sgd_with(ctx, &(gr_sgd_args){.parameters = all}), GR_ERROR_ARGUMENT,
                   "sgd: the options do not start from gr_sgd_defaults()");
    expect_refused(gr_adam_with(ctx, &(gr_adam_args){.parameters = all}), GR_ERROR_ARGUMENT,
                   "adam: the options do not start from gr_adam_defaults()");
    expect_refused(gr_adamw_with(ctx, &(gr_adam_args){.parameters = all}), GR_ERROR_ARGUMENT,
                   "adamw: the options do not start from gr_adamw_defaults()");
}

Test(optimizer, what_is_no_parameter_is_refused)
{
    gr_tensor *x = new_parameter(GR_F32), *missing = NULL;
    expect_refused(gr_sgd(ctx, gr_list(x, gr_ones(ctx, GR_F32, gr_shape(2, 3)))), GR_ERROR_GRADIENT,
                   "sgd: tensor 1, [2,3], is no parameter (gr_parameter makes one)");
    expect_refused(gr_sgd(ctx, gr_list(gr_variable(x))), GR_ERROR_GRADIENT,
                   "sgd: tensor 0, [5], is no parameter (gr_parameter makes one)");
    expect_refused(gr_adam(ctx, gr_list(x, missing)), GR_ERROR_NULL, "adam: parameter 1 is NULL");
    expect_refused(gr_adam(ctx, gr_list(x, x)), GR_ERROR_ARGUMENT,
                   "adam: parameters 0 and 1 are the same");
    expect_refused(gr_adam(ctx, ((gr_tensors){0, NULL})), GR_ERROR_ARGUMENT,
                   "adam: there is no parameter");
    expect_refused(gr_adam(ctx, ((gr_tensors){2, NULL})), GR_ERROR_NULL,
                   "adam: parameters.at is NULL");
    gr_tensor *failed = gr_reshape(x, gr_shape(7));
    gr_error_clear(ctx);
    expect_refused(gr_sgd(ctx, gr_list(failed)), GR_ERROR_GRADIENT,
                   "sgd: parameter 0 could not be made");
    expect_refused(gr_sgd_with(ctx, NULL), GR_ERROR_NULL, "sgd: args is NULL");
    expect_refused(gr_adamw_with(ctx, NULL), GR_ERROR_NULL, "adamw: args is NULL");
}

Test(optimizer, another_contexts_parameter_is_refused)
{
    gr_context *other = new_context(1);
    gr_tensor *foreign = gr_parameter(gr_ones(other, GR_F32, gr_shape(2)));
    expect_refused(gr_sgd(ctx, gr_list(foreign)), GR_ERROR_CONTEXT,
                   "sgd: parameter 0 belongs to another context");
    cr_expect_eq(gr_context_free(other), GR_OK);
}

static void expect_error_of_context(gr_context *broken, gr_status status)
{
    const gr_tensors one = gr_list(new_parameter(GR_F32));
    gr_optimizer *const made[] = {gr_sgd(broken, one), gr_adam(broken, one), gr_adamw(broken, one)};
    for (int i = 0; i < 3; i++) {
        cr_assert_not_null(made[i]);
        cr_expect_eq(gr_step(made[i]), status);
        cr_expect_eq(gr_set_learning_rate(made[i], 1), status);
        cr_expect(isnan(gr_learning_rate(made[i])));
        cr_expect_eq(gr_optimizer_state(made[i]).count, 0);
        gr_optimizer_free(made[i]);
    }
}

Test(optimizer, without_a_context_every_call_refuses)
{
    on_each_broken_context(expect_error_of_context);
    cr_expect_eq(gr_step(NULL), GR_ERROR_NULL);
    cr_expect_eq(gr_set_learning_rate(NULL, 1), GR_ERROR_NULL);
    cr_expect(isnan(gr_learning_rate(NULL)));
    cr_expect_eq(gr_optimizer_state(NULL).count, 0);
    cr_expect_eq(gr_optimizer_steps(NULL), 0);
}

/* With so many parameters the state needs several chunks of headers, one of them large. */
enum { MANY = 60 };

static gr_tensors many_parameters(void)
{
    static gr_tensor *list[MANY];
    for (int i = 0; i < MANY; i++)
        list[i] = gr_parameter(gr_randn(ctx, GR_F32, gr_shape(i ? 3 : 10000)));
    return (gr_tensors){MANY, list};
}

/* Makes each allocation of a new optimiser fail once. Returns their number. */
static int fail_each_allocation(maker *make, bool lasting)
{
    for (int64_t n = 1;; n++) {
        (void)!gr_context_free(ctx);
        ctx = new_context(7);
        const gr_adam_args args = {GR_ADAM_DEFAULTS, .parameters = many_parameters()};
        gr_tensor *x = args.parameters.at[0];
        void *before = bits_of(x);
        heap_fail(n, lasting);
        gr_optimizer *optimizer = make(ctx, &args);
        heap.fail_at = 0;
        const bool made = gr_error(ctx) == GR_OK;
        if (!made) {
            cr_expect_eq(gr_step(optimizer), GR_ERROR_MEMORY);
            gr_error_clear(ctx);
            cr_expect_eq(gr_step(optimizer), GR_ERROR_MEMORY, "it stays failed");
            gr_error_clear(ctx);
            cr_expect(same_bits(x, before));
            optimizer = make(ctx, &args);
        }
        backward(x);
        cr_expect_eq(gr_step(optimizer), GR_OK);
        cr_expect_not(same_bits(x, before));
        free(before);
        if (made)
            return (int)n - 1;
    }
}

Test(optimizer, a_failed_allocation_leaves_everything_as_it_was)
{
    cr_expect_geq(fail_each_allocation(gr_adam_with, false), 4);
    cr_expect_geq(fail_each_allocation(gr_adamw_with, true), 4);
}

Test(optimizer, a_failed_allocation_of_a_long_list_is_a_refusal)
{
    enum { LONG = 3000 };
    static gr_tensor *list[LONG];
    for (int i = 0; i < LONG; i++)
        list[i] = gr_parameter(gr_zeros(ctx, GR_F32, gr_shape(1)));
    const gr_adam_args args = {GR_ADAM_DEFAULTS, .parameters = {LONG, list}};
    for (int64_t n = 1; n <= 3; n++) {
        heap_fail(n, false);
        gr_optimizer *optimizer = gr_adam_with(ctx, &args);
        heap.fail_at = 0;
        cr_expect_eq(gr_step(optimizer), GR_ERROR_MEMORY);
        gr_error_clear(ctx);
        cr_expect_eq(gr_optimizer_state(optimizer).count, 0);
    }
    cr_expect_eq(gr_step(gr_adam_with(ctx, &args)), GR_OK);
}
