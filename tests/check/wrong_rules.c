/* wrong_rules.c - gradient rules with a fault each. The checker must find every one of them.
 *
 * An op computes the right values. Its rule is the wrong one of a row. A row says in which order
 * the fault is found: a fault of the second order must not be found in the first.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(wrong_rules, .init = begin, .fini = end);

/* ---- Words for rules ------------------------------------------------------------------------- */

static gr_tensor *times(gr_tensor *x, double factor)
{
    return gr_mul(x, gr_scalar_like(x, factor));
}
static gr_tensor *plus(gr_tensor *x, double more) { return gr_add(x, gr_scalar_like(x, more)); }
static gr_tensor *below(gr_tensor *x, double limit) { return gr_less(x, gr_scalar_like(x, limit)); }
static gr_tensor *clipped(gr_tensor *x, double limit)
{
    return gr_maximum(gr_minimum(x, gr_scalar_like(x, limit)), gr_scalar_like(x, -limit));
}
static gr_tensor *through(gr_tensor *x, gr_dtype dtype)
{
    return gr_cast(gr_cast(x, dtype), GR_F64);
}
static gr_tensor *total(gr_tensor *x) { return gr_sum(x); }
static gr_tensor *average(gr_tensor *x) { return gr_mean(x); }
static gr_tensor *zeros_of(gr_tensor *x) { return times(gr_detach(x), 0); }

/* Returns x with the element at this place multiplied. */
static gr_tensor *spoilt(gr_tensor *x, int64_t at, double factor)
{
    const int64_t count = gr_numel(x);
    double *values = malloc((size_t)count * sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = i == at ? factor : 1;
    gr_tensor *mask = gr_from_data(gr_context_of(x), GR_F64, gr_shape_of(x), values);
    free(values);
    return gr_mul(x, mask);
}

/* Moves each element one place on: [n]. */
static gr_tensor *rolled(gr_tensor *x)
{
    const int64_t count = gr_numel(x);
    double *values = calloc((size_t)(count * count), sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i * count + (i + 1) % count] = 1;
    gr_tensor *move = gr_from_data(gr_context_of(x), GR_F64, gr_shape(count, count), values);
    free(values);
    return gr_matmul(move, x);
}

/* ---- An op of one operand -------------------------------------------------------------------- */

/* bump(x) = x^2 e^x; d = (x^2 + 2 x) e^x */
static gr_status bump_run(const gr_call *call)
{
    const double *x = gr_data(call->in[0]);
    double *y = gr_data_mutable(call->out);
    for (int64_t i = 0; i < gr_numel(call->out); i++)
        y[i] = x[i] * x[i] * exp(x[i]);
    return GR_OK;
}
static gr_tensor *slope(gr_tensor *x)
{
    return gr_mul(gr_add(gr_square(x), times(x, 2)), gr_exp(x));
}

/* WRONG(name, order, rule): the rule gives dx for the upstream gradient g and the operand x; s is
   the right slope, and c the same as a constant. */
#define BUMP_RULES                                                                                 \
    WRONG(upstream_forgotten, 1, s)                                                                \
    WRONG(upstream_squared, 1, gr_mul(gr_square(g), s))                                            \
    WRONG(upstream_cubed, 1, gr_mul(gr_mul(gr_square(g), g), s))                                   \
    WRONG(upstream_without_sign, 1, gr_mul(gr_abs(g), s))                                          \
    WRONG(upstream_sign_alone, 1, gr_mul(gr_sign(g), s))                                           \
    WRONG(upstream_positive_part, 1, gr_mul(gr_relu(g), s))                                        \
    WRONG(upstream_clipped_at_a_half, 1, gr_mul(clipped(g, 0.5), s))                               \
    WRONG(upstream_clipped_at_1, 1, gr_mul(clipped(g, 1), s))                                      \
    WRONG(upstream_clipped_at_10, 1, gr_mul(clipped(g, 10), s))                                    \
    WRONG(upstream_clipped_at_100, 1, gr_mul(clipped(g, 100), s))                                  \
    WRONG(upstream_dropped_where_small, 1,                                                         \
          gr_mul(gr_where(below(gr_abs(g), 1e-3), zeros_of(g), g), s))                             \
    WRONG(upstream_squashed, 1, gr_mul(gr_tanh(g), s))                                             \
    WRONG(upstream_doubled, 1, gr_mul(times(g, 2), s))                                             \
    WRONG(upstream_doubled_where_large, 1, gr_mul(gr_where(below(g, 20), g, times(g, 2)), s))      \
    WRONG(upstream_doubled_where_very_negative, 1,                                                 \
          gr_mul(gr_where(below(g, -20), times(g, 2), g), s))                                      \
    WRONG(upstream_detached, 2, gr_mul(gr_detach(g), s))                                           \
    WRONG(upstream_detached_in_one_entry, 2,                                                       \
          gr_mul(gr_add(spoilt(g, 3, 0), gr_sub(gr_detach(g), spoilt(gr_detach(g), 3, 0))), s))    \
    WRONG(upstream_off_in_second_order, 2,                                                         \
          gr_mul(gr_add(g, times(gr_sub(g, gr_detach(g)), 0.01)), s))                              \
    WRONG(upstream_in_bf16, 1, gr_mul(through(g, GR_BF16), s))                                     \
    WRONG(upstream_in_f16, 1, gr_mul(through(g, GR_F16), s))                                       \
    WRONG(upstream_as_integers, 1,                                                                 \
          gr_mul(gr_cast(gr_cast(times(g, 16), GR_I32), GR_F64), times(s, 1 / 16.)))               \
    WRONG(upstream_averaged, 1, gr_mul(average(g), s))                                             \
    WRONG(upstream_summed, 1, gr_mul(total(g), s))                                                 \
    WRONG(upstream_summed_where_not_0, 1, gr_mul(gr_where(gr_cast(g, GR_BOOL), total(g), g), s))   \
    WRONG(upstream_weighted_by_its_share, 1,                                                       \
          gr_mul(gr_mul(g, gr_div(gr_abs(g), total(gr_abs(g)))), s))                               \
    WRONG(upstream_normalised, 1, gr_mul(gr_div(g, gr_sqrt(total(gr_square(g)))), s))              \
    WRONG(upstream_of_the_neighbour, 1, gr_mul(rolled(g), s))                                      \
    WRONG(                                                                                         \
        upstream_with_a_bit_of_the_neighbour, 1,                                                   \
        gr_mul(gr_add(g, times(gr_where(gr_cast(g, GR_BOOL), rolled(g), zeros_of(g)), 1e-3)), s))  \
    WRONG(negated, 1, gr_neg(gr_mul(g, s)))                                                        \
    WRONG(halved, 1, times(gr_mul(g, s), 0.5))                                                     \
    WRONG(one_percent_off, 1, times(gr_mul(g, s), 1.01))                                           \
    WRONG(ten_millionths_off, 1, times(gr_mul(g, s), 1.00001))                                     \
    WRONG(constant_added, 1, plus(gr_mul(g, s), 1e-3))                                             \
    WRONG(tiny_constant_added, 1, plus(gr_mul(g, s), 1e-6))                                        \
    WRONG(operand_added, 1, gr_add(gr_mul(g, s), times(x, 1e-3)))                                  \
    WRONG(nothing, 1, zeros_of(x))                                                                 \
    WRONG(no_rule_result, 1, NULL)                                                                 \
    WRONG(one_entry_zero, 1, spoilt(gr_mul(g, s), 3, 0))                                           \
    WRONG(one_entry_one_percent_off, 1, spoilt(gr_mul(g, s), 3, 1.01))                             \
    WRONG(one_entry_negated, 1, spoilt(gr_mul(g, s), 5, -1))                                       \
    WRONG(one_entry_nan, 1, spoilt(gr_mul(g, s), 3, NAN))                                          \
    WRONG(one_entry_infinite, 1, spoilt(gr_mul(g, s), 3, INFINITY))                                \
    WRONG(entries_moved, 1, rolled(gr_mul(g, s)))                                                  \
    WRONG(term_forgotten, 1, gr_mul(g, gr_mul(gr_square(x), gr_exp(x))))                           \
    WRONG(inner_slope_forgotten, 1, gr_mul(g, gr_mul(x, gr_exp(x))))                               \
    WRONG(result_for_slope, 1, gr_mul(g, n->out))                                                  \
    WRONG(right_above_0_alone, 1, gr_mul(g, slope(gr_abs(x))))                                     \
    WRONG(slope_detached, 2, gr_mul(g, c))                                                         \
    WRONG(all_detached, 2, gr_mul(gr_detach(g), c))                                                \
    WRONG(second_order_one_percent_off, 2, gr_mul(g, gr_sub(times(s, 1.01), times(c, 0.01))))      \
    WRONG(second_order_negated, 2, gr_mul(g, gr_sub(times(c, 2), s)))                              \
    WRONG(second_order_of_one_entry, 2, gr_mul(g, gr_add(c, spoilt(gr_sub(s, c), 3, 0))))          \
    WRONG(second_order_where_upstream_is_positive, 2, gr_mul(g, gr_where(below(g, 0), s, c)))      \
    WRONG(second_order_where_upstream_is_negative, 2, gr_mul(g, gr_where(below(g, 0), c, s)))      \
    WRONG(second_order_where_upstream_is_large, 2,                                                 \
          gr_mul(g, gr_where(below(gr_abs(g), 10), s, c)))                                         \
    WRONG(second_order_where_upstream_is_small, 2,                                                 \
          gr_mul(g, gr_where(below(gr_abs(g), 1e-2), c, s)))

typedef void rule(const gr_node *n, gr_tensor *g, gr_tensor **dx);

#define WRONG(name, order, dx0)                                                                    \
    static void name##_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)                         \
    {                                                                                              \
        gr_tensor *x = n->in[0], *s = slope(x), *c = slope(gr_detach(x));                          \
        (void)g, (void)s, (void)c;                                                                 \
        dx[0] = dx0;                                                                               \
    }
BUMP_RULES
#undef WRONG

static void bump_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, slope(n->in[0]));
}
static void bump_clipped(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(clipped(g, 5), slope(n->in[0]));
}
static gr_status bump_add(const gr_node *n, gr_tensor *g, int i, gr_tensor *into)
{
    const double *x = gr_data(n->in[i]), *up = gr_data(g);
    double *to = gr_data_mutable(into);
    for (int64_t k = 0; k < gr_numel(into); k++) /* = for += is right if nothing is there yet */
        to[k] += 1.01 * up[k] * (x[k] * x[k] + 2 * x[k]) * exp(x[k]);
    return GR_OK;
}

/* ---- Expecting ------------------------------------------------------------------------------- */

static gr_gradcheck_report report;
static int rows_tried;

/* An op, and the number of its last operands that are used twice. */
static gr_tensor *apply_op(gr_tensors in, void *op)
{
    return gr_apply_with(op, (int)in.count, in.at, NULL);
}

static gr_status check(gr_function *f, void *data, gr_tensors in, int order)
{
    gr_gradcheck_args args = gr_gradcheck_defaults();
    args.order = order;
    args.report = &report;
    return gr_gradcheck_with(f, data, in, &args);
}

/* The fault is found in this order and in none before it. */
static void expect_found(const char *name, int order, gr_function *f, void *data, gr_tensors in)
{
    rows_tried++;
    for (int tried = 1; tried <= order; tried++) {
        const gr_status want = tried == order ? GR_ERROR_GRADIENT : GR_OK;
        cr_expect_eq(check(f, data, in, tried), want, "%s, order %d: reason %d, %s", name, tried,
                     (int)report.reason, gr_error_message(ctx));
        if (tried == order)
            cr_expect_eq(report.worst.order, order, "%s", name);
        gr_error_clear(ctx);
    }
}

static gr_tensor *points(void)
{
    return gr_from_data(ctx, GR_F64, gr_shape(6), (double[]){0.5, -1.25, 2, 0.75, -0.1, 1.5});
}

static void expect_rule_found(const char *name, int order, rule *vjp)
{
    gr_op op = {.name = name, .arity = 1, .run = bump_run, .vjp = vjp};
    gr_tensor *x = points();
    expect_found(name, order, apply_op, &op, gr_list(x));
}

Test(wrong_rules, of_one_operand)
{
#define WRONG(name, order, dx0) expect_rule_found(#name, order, name##_vjp);
    BUMP_RULES
#undef WRONG
    cr_expect_geq(rows_tried, 50);
    gr_op right = {.name = "right", .arity = 1, .run = bump_run, .vjp = bump_vjp};
    cr_expect_eq(check(apply_op, &right, gr_list(points()), 2), GR_OK);
    cr_expect_eq(report.unsure, 0);
}

/* A fault that depends on the sign of g must be found for one output as well. */
static gr_tensor *mean_of_op(gr_tensors in, void *op) { return average(apply_op(in, op)); }

Test(wrong_rules, of_one_output)
{
    static const struct {
        const char *name;
        int order;
        rule *vjp;
    } rows[] = {
        {"upstream_squared", 1, upstream_squared_vjp},
        {"upstream_without_sign", 1, upstream_without_sign_vjp},
        {"upstream_positive_part", 1, upstream_positive_part_vjp},
        {"upstream_clipped_at_10", 1, upstream_clipped_at_10_vjp},
        {"upstream_dropped_where_small", 1, upstream_dropped_where_small_vjp},
        {"one_entry_one_percent_off", 1, one_entry_one_percent_off_vjp},
        {"second_order_positive", 2, second_order_where_upstream_is_positive_vjp},
        {"second_order_negative", 2, second_order_where_upstream_is_negative_vjp},
        {"second_order_of_one_entry", 2, second_order_of_one_entry_vjp},
        {"upstream_detached", 2, upstream_detached_vjp},
    };
    for (int i = 0; i < COUNT_OF(rows); i++) {
        gr_op op = {.name = rows[i].name, .arity = 1, .run = bump_run, .vjp = rows[i].vjp};
        expect_found(rows[i].name, rows[i].order, mean_of_op, &op, gr_list(points()));
    }
}

/* gr_backward uses other rules than gr_grad. Neither may hide the other's fault. */
Test(wrong_rules, of_one_way)
{
    static const struct {
        const char *name;
        rule *vjp, *fused;
        gr_status (*add)(const gr_node *, gr_tensor *, int, gr_tensor *);
    } rows[] = {
        {"fused wrong", bump_vjp, one_percent_off_vjp, NULL},
        {"composed wrong", one_percent_off_vjp, bump_vjp, NULL},
        {"fused not linear", bump_vjp, bump_clipped, NULL},
        {"composed not linear", bump_clipped, bump_vjp, NULL},
        {"adding wrong", bump_vjp, NULL, bump_add},
    };
    for (int i = 0; i < COUNT_OF(rows); i++) {
        gr_op op = {.name = "bump", .arity = 1, .run = bump_run, .vjp = rows[i].vjp};
        op.fused_vjp = rows[i].fused;
        op.add_vjp = rows[i].add;
        expect_found(rows[i].name, 1, apply_op, &op, gr_list(points()));
    }
}

/* ---- Tails ----------------------------------------------------------------------------------- */

static gr_status sigmoid_run(const gr_call *call)
{
    const double *x = gr_data(call->in[0]);
    double *y = gr_data_mutable(call->out);
    for (int64_t i = 0; i < gr_numel(call->out); i++)
        y[i] = x[i] >= 0 ? 1 / (1 + exp(-x[i])) : exp(x[i]) / (1 + exp(x[i]));
    return GR_OK;
}
static gr_tensor *sigmoid_slope(gr_tensor *x)
{
    return gr_mul(gr_sigmoid(x), gr_sigmoid(gr_neg(x)));
}

/* Here s is the right slope, and t is true in the lower tail alone. */
#define TAIL_RULES                                                                                 \
    TAIL(tail_negated, 1, gr_mul(g, gr_where(t, gr_neg(s), s)))                                    \
    TAIL(tail_zero, 1, gr_mul(g, gr_where(t, zeros_of(s), s)))                                     \
    TAIL(tail_doubled, 1, gr_mul(g, gr_where(t, times(s, 2), s)))                                  \
    TAIL(tail_one_percent_off, 1, gr_mul(g, gr_where(t, times(s, 0.99), s)))                       \
    TAIL(tail_without_leading_digits, 1, gr_mul(g, plus(plus(s, 1), -1)))                          \
    TAIL(tail_with_a_floor, 1, gr_mul(g, gr_maximum(s, gr_scalar_like(s, 1e-12))))                 \
    TAIL(wrong_at_0_alone, 1,                                                                      \
         gr_mul(g, gr_where(gr_equal(x, gr_scalar_like(x, 0)), times(s, 2), s)))                   \
    TAIL(tail_constant, 2, gr_mul(g, gr_where(t, sigmoid_slope(gr_detach(x)), s)))                 \
    TAIL(tail_second_order_negated, 2,                                                             \
         gr_mul(g, gr_where(t, gr_sub(times(sigmoid_slope(gr_detach(x)), 2), s), s)))

#define TAIL(name, order, dx0)                                                                     \
    static void name##_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)                         \
    {                                                                                              \
        gr_tensor *x = n->in[0], *s = sigmoid_slope(x), *t = below(x, -20);                        \
        (void)t;                                                                                   \
        dx[0] = dx0;                                                                               \
    }
TAIL_RULES
#undef TAIL

static void expect_tail_found(const char *name, int order, rule *vjp)
{
    gr_op op = {.name = name, .arity = 1, .run = sigmoid_run, .vjp = vjp};
    gr_tensor *x = gr_from_data(ctx, GR_F64, gr_shape(4), (double[]){-30, -1, 0, -60});
    expect_found(name, order, apply_op, &op, gr_list(x));
}

Test(wrong_rules, in_tails)
{
#define TAIL(name, order, dx0) expect_tail_found(#name, order, name##_vjp);
    TAIL_RULES
#undef TAIL
}

/* ---- A wave ---------------------------------------------------------------------------------- */

static gr_status wave_run(const gr_call *call)
{
    const double *x = gr_data(call->in[0]);
    double *y = gr_data_mutable(call->out);
    for (int64_t i = 0; i < gr_numel(call->out); i++)
        y[i] = sin(*(const double *)call->attributes * 6.283185307179586 * x[i]);
    return GR_OK;
}
static void no_slope(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)n;
    dx[0] = zeros_of(g);
}
static gr_tensor *wave(gr_tensors in, void *frequency)
{
    static const gr_op op = {.name = "wave",
                             .arity = 1,
                             .run = wave_run,
                             .vjp = no_slope,
                             .attributes_size = sizeof(double)};
    return gr_apply_with(&op, 1, in.at, frequency);
}

/* If all steps were whole periods, the wave would look constant. */
Test(wrong_rules, of_a_wave_of_any_period)
{
    for (double frequency = 1; frequency <= 0x1p30; frequency *= 2)
        expect_found("wave", 1, wave, &frequency, gr_list(points()));
}

/* ---- Operands that broadcast ----------------------------------------------------------------- */

static gr_tensor *right_mul_slope(gr_tensor *g, gr_tensor *other) { return gr_mul(g, other); }

/* y = a b for a [3,4] and b [4]. */
static gr_status mul_run(const gr_call *call)
{
    const double *a = gr_data(call->in[0]), *b = gr_data(call->in[1]);
    double *y = gr_data_mutable(call->out);
    for (int64_t i = 0; i < gr_numel(call->out); i++)
        y[i] = a[i] * b[i];
    return GR_OK;
}

/* The rules give da and db for the upstream gradient g: [3,4]. h is the right gradient of b, not
   yet summed. */
#define PAIR_RULES                                                                                 \
    PAIR(operands_swapped, 1, gr_mul(g, a), gr_mul(g, b))                                          \
    PAIR(second_operand_forgotten, 1, gr_mul(g, b), NULL)                                          \
    PAIR(first_operand_forgotten, 1, NULL, h)                                                      \
    PAIR(broadcast_averaged, 1, gr_mul(g, b), gr_mean(h, .axes = gr_axes(0)))                      \
    PAIR(broadcast_of_first_row_alone, 1, gr_mul(g, b),                                            \
         gr_reshape(gr_slice(h, 0, 0, 1, 1), gr_shape(4)))                                         \
    PAIR(broadcast_of_first_row_times_3, 1, gr_mul(g, b),                                          \
         times(gr_reshape(gr_slice(h, 0, 0, 1, 1), gr_shape(4)), 3))                               \
    PAIR(broadcast_without_last_row, 1, gr_mul(g, b),                                              \
         gr_sum(gr_slice(h, 0, 0, 2, 1), .axes = gr_axes(0)))                                      \
    PAIR(broadcast_summed_over_columns, 1, gr_mul(g, b), gr_expand(gr_sum(h), gr_shape(4)))        \
    PAIR(broadcast_summed_before_the_product, 1, gr_mul(g, b),                                     \
         gr_mul(gr_sum(g, .axes = gr_axes(0)), gr_mean(a, .axes = gr_axes(0))))                    \
    PAIR(sign_of_second, 1, gr_mul(g, b), gr_neg(h))                                               \
    PAIR(asymmetric, 2, gr_mul(g, b), gr_mul(g, gr_detach(a)))                                     \
    PAIR(asymmetric_the_other_way, 2, gr_mul(g, gr_detach(b)), h)                                  \
    PAIR(both_detached, 2, gr_mul(g, gr_detach(b)), gr_mul(g, gr_detach(a)))                       \
    PAIR(upstream_of_second_detached, 2, gr_mul(g, b), gr_mul(gr_detach(g), a))

#define PAIR(name, order, da, db)                                                                  \
    static void name##_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)                         \
    {                                                                                              \
        gr_tensor *a = n->in[0], *b = n->in[1], *h = right_mul_slope(g, a);                        \
        (void)b, (void)h;                                                                          \
        dx[0] = da;                                                                                \
        dx[1] = db;                                                                                \
    }
PAIR_RULES
#undef PAIR

static void expect_pair_found(const char *name, int order, rule *vjp)
{
    gr_op op = {.name = name, .arity = 2, .run = mul_run, .vjp = vjp};
    reseed(7);
    gr_tensor *a = sample(ctx, GR_F64, gr_shape(3, 4), -2, 2);
    gr_tensor *b = sample(ctx, GR_F64, gr_shape(4), -2, 2);
    expect_found(name, order, apply_op, &op, gr_list(a, b));
}

Test(wrong_rules, of_operands_that_broadcast)
{
#define PAIR(name, order, da, db) expect_pair_found(#name, order, name##_vjp);
    PAIR_RULES
#undef PAIR
}

/* ---- Large reductions ------------------------------------------------------------------------ */

enum { LARGE = 10000 };

static gr_status square_run(const gr_call *call)
{
    const double *x = gr_data(call->in[0]);
    double *y = gr_data_mutable(call->out);
    for (int64_t i = 0; i < gr_numel(call->out); i++)
        y[i] = x[i] * x[i];
    return GR_OK;
}

static gr_tensor *large_points(void)
{
    double *values = malloc(LARGE * sizeof *values);
    for (int i = 0; i < LARGE; i++)
        values[i] = 0.3 + fmod(i * 0.6180339887, 1);
    gr_tensor *x = gr_from_data(ctx, GR_F64, gr_shape(LARGE), values);
    free(values);
    return x;
}

#define LARGE_RULES                                                                                \
    WRONG(one_of_10000_one_percent_off, 1, spoilt(gr_mul(g, s), 4711, 1.01))                       \
    WRONG(last_of_10000_zero, 1, spoilt(gr_mul(g, s), LARGE - 1, 0))

#define WRONG(name, order, dx0)                                                                    \
    static void name##_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)                         \
    {                                                                                              \
        gr_tensor *s = times(n->in[0], 2);                                                         \
        dx[0] = dx0;                                                                               \
    }
LARGE_RULES
#undef WRONG

static void expect_large_found(const char *name, int order, rule *vjp)
{
    gr_op op = {.name = name, .arity = 1, .run = square_run, .vjp = vjp};
    expect_found(name, order, mean_of_op, &op, gr_list(large_points()));
}

Test(wrong_rules, among_10000_elements)
{
#define WRONG(name, order, dx0) expect_large_found(#name, order, name##_vjp);
    LARGE_RULES
#undef WRONG
}

/* ---- Functions ------------------------------------------------------------------------------- */

/* Functions of ops, with a part that stops the gradient where it should not. */
#define FUNCTIONS                                                                                  \
    FUNCTION(half_of_a_square, 1, gr_mul(x, gr_detach(x)))                                         \
    FUNCTION(half_of_a_square_beside_1e6, 1, plus(gr_mul(x, gr_detach(x)), 1e6))                   \
    FUNCTION(half_of_a_square_beside_1e12, 1, plus(gr_mul(x, gr_detach(x)), 1e12))                 \
    FUNCTION(half_of_a_square_times_1e200, 1, times(gr_mul(x, gr_detach(x)), 1e200))               \
    FUNCTION(half_of_a_square_times_1em200, 1, times(gr_mul(x, gr_detach(x)), 1e-200))             \
    FUNCTION(softmax_diagonal_alone, 1, gr_div(gr_exp(x), gr_detach(gr_sum(gr_exp(x)))))           \
    FUNCTION(log_softmax_of_a_constant_sum, 1, gr_sub(x, gr_detach(gr_log(gr_sum(gr_exp(x))))))    \
    FUNCTION(mean_forgotten_in_a_variance, 1,                                                      \
             gr_square(gr_sub(x, times(gr_detach(gr_mean(x)), 1))))                                \
    FUNCTION(norm_detached, 1, gr_div(x, gr_detach(gr_sqrt(gr_sum(gr_square(x))))))                \
    FUNCTION(step_straight_through, 1, gr_add(x, gr_detach(gr_sub(gr_square(x), x))))              \
    FUNCTION(product_rule_half, 1, gr_mul(gr_exp(x), gr_detach(gr_tanh(x))))                       \
    FUNCTION(                                                                                      \
        right_at_first_order, 2,                                                                   \
        gr_add(gr_mul(x, gr_detach(times(x, 2))), gr_sub(times(x, 0), gr_detach(gr_square(x)))))

#define FUNCTION(name, order, y)                                                                   \
    static gr_tensor *name(gr_tensors in, void *data)                                              \
    {                                                                                              \
        gr_tensor *x = in.at[0];                                                                   \
        (void)data;                                                                                \
        return y;                                                                                  \
    }
FUNCTIONS
#undef FUNCTION

Test(wrong_rules, of_functions)
{
#define FUNCTION(name, order, y) expect_found(#name, order, name, NULL, gr_list(points()));
    FUNCTIONS
#undef FUNCTION
}

/* ---- Two results ----------------------------------------------------------------------------- */

/* (x^2, x^3) */
static gr_status powers_run(const gr_call *call)
{
    const double *x = gr_data(call->in[0]);
    double *square = gr_data_mutable(call->outs[0]), *cube = gr_data_mutable(call->outs[1]);
    for (int64_t i = 0; i < gr_numel(call->in[0]); i++) {
        square[i] = x[i] * x[i];
        cube[i] = x[i] * x[i] * x[i];
    }
    return GR_OK;
}
static gr_status powers_shape(const gr_call *call, gr_form *results)
{
    for (int k = 0; k < 2; k++)
        results[k] = (gr_form){.dtype = GR_F64, .shape = gr_shape_of(call->in[0])};
    return GR_OK;
}

/* p and q are the upstream gradients of both results. */
#define RESULT_RULES                                                                               \
    RESULT(second_result_forgotten, 1, gr_mul(p, times(x, 2)))                                     \
    RESULT(first_result_forgotten, 1, gr_mul(q, times(gr_square(x), 3)))                           \
    RESULT(results_swapped, 1, gr_add(gr_mul(q, times(x, 2)), gr_mul(p, times(gr_square(x), 3))))  \
    RESULT(second_result_detached, 2,                                                              \
           gr_add(gr_mul(p, times(x, 2)), gr_mul(q, times(gr_square(gr_detach(x)), 3))))

#define RESULT(name, order, dx0)                                                                   \
    static void name##_vjp(const gr_node *n, gr_tensor *p, gr_tensor **dx)                         \
    {                                                                                              \
        gr_tensor *x = n->in[0], *q = n->gs[1];                                                    \
        (void)p, (void)q;                                                                          \
        dx[0] = dx0;                                                                               \
    }
RESULT_RULES
#undef RESULT

static gr_tensor *mixed_powers(gr_tensors in, void *op)
{
    gr_tensor *results[2];
    (void)!gr_apply_results(ctx, op, 1, in.at, NULL, results);
    return gr_sub(times(results[0], 3), gr_exp(results[1]));
}

static void expect_result_found(const char *name, int order, rule *vjp)
{
    gr_op op = {.name = name, .arity = 1, .results = 2, .vjp = vjp};
    op.shape = powers_shape;
    op.run = powers_run;
    expect_found(name, order, mixed_powers, &op, gr_list(points()));
}

Test(wrong_rules, of_two_results)
{
#define RESULT(name, order, dx0) expect_result_found(#name, order, name##_vjp);
    RESULT_RULES
#undef RESULT
}
