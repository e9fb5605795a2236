/* own_op.c - tests of extend.h and core/engine/apply.c: a user's op is checked, differentiated and
 * refused in the same way as the library's ops.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(own_op, .init = begin, .fini = end);

/* ---- swish, as extend.h has it --------------------------------------------------------------- */

static int forwards, plain_rules, fused_rules;

static gr_status swish_run(const gr_call *call)
{
    forwards++;
    if (gr_dtype_of(call->out) != GR_F64 && gr_dtype_of(call->out) != GR_F32)
        return gr_raise(call->ctx, GR_ERROR_DTYPE, call->op->name, "%s is not taken",
                        gr_dtype_name(gr_dtype_of(call->out)));
    for (int64_t i = 0; i < gr_numel(call->out); i++) {
        if (gr_dtype_of(call->out) == GR_F64) {
            const double x = ((const double *)gr_data(call->in[0]))[i];
            ((double *)gr_data_mutable(call->out))[i] = x / (1 + exp(-x));
        } else {
            const float x = ((const float *)gr_data(call->in[0]))[i];
            ((float *)gr_data_mutable(call->out))[i] = (float)(x / (1 + exp(-(double)x)));
        }
    }
    return GR_OK;
}

static gr_tensor *swish_slope(const gr_node *n)
{
    gr_tensor *s = gr_sigmoid(n->in[0]);
    return gr_add(s, gr_mul(n->out, gr_sub(gr_scalar_like(s, 1), s)));
}

static void swish_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    plain_rules++;
    dx[0] = gr_mul(g, swish_slope(n));
}

static void swish_fused_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    fused_rules++;
    dx[0] = gr_mul(swish_slope(n), g);
}

static void wrong_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *s = gr_sigmoid(n->in[0]);
    dx[0] = gr_mul(g, gr_add(s, gr_mul(n->out, s)));
}

static const gr_op swish = {.name = "swish", .arity = 1, .run = swish_run, .vjp = swish_vjp};
static const gr_op fused = {
    .name = "swish", .arity = 1, .run = swish_run, .vjp = swish_vjp, .fused_vjp = swish_fused_vjp};
static const gr_op wrong = {.name = "swish", .arity = 1, .run = swish_run, .vjp = wrong_vjp};
static const gr_op wrong_fused = {
    .name = "swish", .arity = 1, .run = swish_run, .vjp = swish_vjp, .fused_vjp = wrong_vjp};

static gr_tensor *apply(const gr_op *op, gr_tensor *x) { return gr_apply_with(op, 1, &x, NULL); }
static gr_tensor *apply_data(gr_tensors in, void *data) { return apply(data, in.at[0]); }

static gr_status check(const gr_op *op, gr_gradcheck_report *report)
{
    gr_tensor *x = sample(ctx, GR_F64, gr_shape(2, 3), -4, 4);
    return gr_gradcheck(apply_data, (void *)(uintptr_t)op, gr_list(x), .order = 2, .rtol = 1e-8,
                        .report = report);
}

Test(own_op, swish_is_right_to_second_order)
{
    gr_gradcheck_report report;
    cr_expect_eq(check(&swish, &report), GR_OK);
    cr_expect_eq(report.unsure, 0);
    cr_expect_eq(check(&fused, &report), GR_OK);
    gr_tensor *x = gr_variable(sample(ctx, GR_F32, gr_shape(5), -4, 4));
    cr_expect_eq(gr_dtype_of(gr_grad(sum_of(apply(&swish, x)), x)), GR_F32);
    expect_fine(ctx);
}

Test(own_op, a_wrong_gradient_is_caught)
{
    gr_gradcheck_report report;
    cr_expect_eq(check(&wrong, &report), GR_ERROR_GRADIENT);
    cr_expect_eq(report.reason, GR_CHECK_WRONG);
    cr_expect_eq(check(&wrong_fused, &report), GR_ERROR_GRADIENT);
    cr_expect_eq(report.reason, GR_CHECK_WRONG);
    expect_fine(ctx);
}

/* The fused rule runs if the sweep is not recorded. The plain rule runs if it is recorded. */
Test(own_op, fused_rule_runs_in_backward_only)
{
    gr_tensor *p = gr_parameter(sample(ctx, GR_F64, gr_shape(4), -4, 4)),
              *y = sum_of(apply(&fused, p)), *g;
    plain_rules = fused_rules = 0;
    cr_expect_eq(gr_backward(y), GR_OK);
    cr_expect_eq(fused_rules, 1);
    cr_expect_eq(plain_rules, 0);
    gr_tensor *recorded = gr_grad(y, p);
    cr_expect_eq(fused_rules, 1);
    cr_expect_eq(plain_rules, 1);
    cr_expect_eq(gr_grad_with(y, gr_list(p), &g, NULL), GR_OK);
    cr_expect_eq(fused_rules, 2);
    cr_expect(same_bits(gr_gradient(p), recorded));
    cr_expect(same_bits(g, recorded));
}

Test(own_op, operands_come_contiguous)
{
    gr_tensor *x = sample(ctx, GR_F64, gr_shape(20, 30), -4, 4), *y = apply(&swish, x);
    cr_expect(same_bits(apply(&swish, gr_transpose(x)), gr_transpose(y)));
    gr_tensor *odd = gr_slice(x, 1, 1, 30, 2);
    cr_expect(same_bits(apply(&swish, odd), gr_slice(y, 1, 1, 30, 2)));
    expect_shape(apply(&swish, gr_zeros(ctx, GR_F64, gr_shape(0, 2))), gr_shape(0, 2));
    expect_fine(ctx);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static gr_status refuses(const gr_call *call)
{
    (void)call;
    return GR_ERROR_DOMAIN;
}

Test(own_op, errors)
{
    static const gr_op silent = {.name = "silent", .arity = 1, .run = refuses};
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2)), *half = gr_ones(ctx, GR_F16, gr_shape(2));
    cr_expect(gr_failed(apply(&swish, half)));
    expect_error(ctx, GR_ERROR_DTYPE, "swish: f16 is not taken");
    cr_expect(gr_failed(apply(&silent, x)));
    expect_error(ctx, GR_ERROR_DOMAIN, "silent: failed");
    cr_expect(gr_failed(gr_apply_with(&swish, 2, (gr_tensor *[]){x, x}, NULL)));
    expect_error(ctx, GR_ERROR_ARGUMENT, "swish: 2 operands; it takes at most 1");
    cr_expect(gr_failed(apply(&swish, gr_zeros(ctx, GR_I32, gr_shape(2)))));
    expect_error(ctx, GR_ERROR_DTYPE, "swish: operand 0 is i32, not a float");
    cr_expect_eq(gr_error(gr_context_of(apply(&swish, NULL))), GR_ERROR_NULL);
    cr_expect_eq(gr_error(gr_context_of(gr_apply_with(&swish, 0, NULL, NULL))), GR_ERROR_NULL);
    forwards = 0;
    cr_expect_eq(apply(&swish, ctx->failed), ctx->failed);
    cr_expect_eq(forwards, 0, "not run on a failed operand");
    expect_error(ctx, GR_ERROR_ARGUMENT, "swish: operand 0 is the result of a call that failed");
}

Test(own_op, raise)
{
    cr_expect_eq(gr_raise(ctx, GR_ERROR_DOMAIN, "mine", "%d of %s", 3, "four"), GR_ERROR_DOMAIN);
    cr_expect_eq(gr_raise(ctx, GR_ERROR_SHAPE, "mine", "later"), GR_ERROR_SHAPE);
    expect_error(ctx, GR_ERROR_DOMAIN, "mine: 3 of four");
    cr_expect_eq(gr_raise(NULL, GR_ERROR_DOMAIN, "mine", "no context"), GR_ERROR_DOMAIN);
    char long_name[2000];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    cr_expect_eq(gr_raise(ctx, GR_ERROR_DOMAIN, long_name, "%s", long_name), GR_ERROR_DOMAIN);
    cr_expect_lt(strlen(gr_error_message(ctx)), sizeof ctx->message);
}

/* ---- Options, several operands, broadcasting ------------------------------------------------- */

typedef struct scale_args {
    double by;
} scale_args;

/* scale(a, b) = by a b */
static gr_status scale_run(const gr_call *call)
{
    const double by = ((const scale_args *)call->attributes)->by;
    const double *a = gr_data(call->in[0]), *b = gr_data(call->in[1]);
    for (int64_t i = 0; i < gr_numel(call->out); i++)
        ((double *)gr_data_mutable(call->out))[i] = by * a[i] * b[i];
    return GR_OK;
}

static int wanted_left, wanted_right;
static void scale_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *by = gr_mul(gr_scalar_like(g, ((const scale_args *)n->attributes)->by), g);
    wanted_left += n->wanted[0];
    wanted_right += n->wanted[1];
    dx[0] = gr_mul(by, n->in[1]);
    dx[1] = gr_mul(by, n->in[0]);
}
static const gr_op scale = {.name = "scale",
                            .arity = 2,
                            .run = scale_run,
                            .vjp = scale_vjp,
                            .attributes_size = sizeof(scale_args)};

static gr_tensor *apply_scale(gr_tensors in, void *data)
{
    (void)data;
    scale_args args = {3};
    gr_tensor *y = gr_apply_with(&scale, 2, in.at, &args);
    args.by = 1e9; /* the call has kept a copy */
    return y;
}

Test(own_op, broadcasts_and_keeps_its_options)
{
    gr_tensor *a = sample(ctx, GR_F64, gr_shape(2, 3), -2, 2),
              *b = sample(ctx, GR_F64, gr_shape(3), -2, 2);
    cr_expect_eq(gr_gradcheck(apply_scale, NULL, gr_list(a, b), .order = 2), GR_OK);
    cr_expect_eq(gr_gradcheck(apply_scale, NULL, gr_list(b, a), .order = 2), GR_OK);
    gr_tensor *v = gr_variable(a);
    wanted_left = wanted_right = 0;
    cr_expect(same_bits(gr_grad(sum_of(apply_scale(gr_list(v, b), NULL)), v),
                        gr_contiguous(gr_expand(gr_mul(gr_scalar(ctx, 3), b), gr_shape(2, 3)))));
    cr_expect_eq(wanted_left, 1);
    cr_expect_eq(wanted_right, 0);
    EXPECT_VALUES(apply_scale(gr_list(gr_ones(ctx, GR_F64, gr_shape(2)), gr_scalar(ctx, 2)), NULL),
                  6, 6);
    cr_expect(gr_failed(apply_scale(gr_list(a, gr_ones(ctx, GR_F64, gr_shape(4))), NULL)));
    expect_error(ctx, GR_ERROR_BROADCAST,
                 "scale: shapes [2,3] and [4] do not broadcast: dimension 1 is 3 and 4");
    cr_expect(gr_failed(apply_scale(gr_list(a, NULL), NULL)));
    expect_error(ctx, GR_ERROR_NULL, "scale: operand 1 is NULL");
}

/* ---- Hidden results, several results --------------------------------------------------------- */

/* twice(x) = 2 x. Its hidden result is x + 1, which is made only if the call is kept. */
static gr_status twice_shape(const gr_call *call, gr_form *results)
{
    results[0] = (gr_form){.dtype = GR_F64, .shape = gr_shape_of(call->in[0])};
    results[1] = results[0];
    return GR_OK;
}

static gr_status twice_run(const gr_call *call)
{
    const double *x = gr_data(call->in[0]);
    double *out = gr_data_mutable(call->out);
    double *ahead = call->outs[1] ? gr_data_mutable(call->outs[1]) : NULL;
    for (int64_t i = 0; i < gr_numel(call->out); i++) {
        out[i] = 2 * x[i];
        if (ahead)
            ahead[i] = x[i] + 1;
    }
    forwards += ahead != NULL;
    return GR_OK;
}

static void twice_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    cr_expect_eq(gr_get(n->outs[1], gr_index(0)), gr_get(n->in[0], gr_index(0)) + 1);
    dx[0] = gr_mul(gr_scalar_like(g, 2), g);
}

Test(own_op, hidden_results_where_kept)
{
    static const gr_op twice = {.name = "twice",
                                .arity = 1,
                                .hidden = 1,
                                .shape = twice_shape,
                                .run = twice_run,
                                .vjp = twice_vjp};
    static const gr_op flat = {.name = "flat",
                               .arity = 1,
                               .hidden = 1,
                               .shape = twice_shape,
                               .run = twice_run,
                               .flags = GR_OP_NO_GRAD};
    gr_tensor *x = gr_ones(ctx, GR_F64, gr_shape(2)), *v = gr_variable(x);
    forwards = 0;
    apply(&twice, x);
    cr_expect_not(gr_requires_grad(apply(&flat, v)));
    cr_expect_eq(forwards, 0);
    EXPECT_VALUES(gr_grad(sum_of(apply(&twice, v)), v), 2, 2);
    cr_expect_eq(forwards, 1);
}

/* powers(x, y, ...) = (sum of squares, sum of cubes), for any number of operands with the same
   shape. */
static gr_status powers_shape(const gr_call *call, gr_form *results)
{
    results[0] = (gr_form){.dtype = GR_F64, .shape = gr_shape_of(call->in[0])};
    results[1] = results[0];
    return GR_OK;
}

static gr_status powers_run(const gr_call *call)
{
    double *squares = gr_data_mutable(call->outs[0]), *cubes = gr_data_mutable(call->outs[1]);
    for (int64_t i = 0; i < gr_numel(call->out); i++) {
        squares[i] = cubes[i] = 0;
        for (int k = 0; k < call->count; k++) {
            const double x = ((const double *)gr_data(call->in[k]))[i];
            squares[i] += x * x;
            cubes[i] += x * x * x;
        }
    }
    return GR_OK;
}

static void powers_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    for (int k = 0; k < n->count; k++) {
        gr_tensor *x = n->in[k];
        gr_tensor *of_squares = gr_mul(gr_mul(gr_scalar_like(g, 2), x), g);
        gr_tensor *of_cubes = gr_mul(gr_mul(gr_scalar_like(g, 3), gr_square(x)), n->gs[1]);
        if (n->wanted[k])
            dx[k] = gr_add(of_squares, of_cubes);
    }
}

static const gr_op powers = {.name = "powers",
                             .arity = GR_ANY_COUNT,
                             .results = 2,
                             .shape = powers_shape,
                             .run = powers_run,
                             .vjp = powers_vjp};

static gr_tensor *powers_mixed(gr_tensors in, void *data)
{
    (void)data;
    gr_tensor *results[2];
    if (gr_apply_results(NULL, &powers, (int)in.count, in.at, NULL, results) != GR_OK)
        return results[0];
    return gr_sum(gr_mul(results[0], gr_exp(results[1])));
}

Test(own_op, several_results_of_many_operands)
{
    gr_tensor *in[9];
    for (int k = 0; k < 9; k++)
        in[k] = sample(ctx, GR_F64, gr_shape(2), -0.5, 0.5);
    gr_gradcheck_report report;
    cr_expect_eq(
        gr_gradcheck(powers_mixed, NULL, ((gr_tensors){9, in}), .order = 2, .report = &report),
        GR_OK);
    cr_expect_eq(report.bad, 0);
}

/* Only the second result is used, so the gradient of the first one is zeros. */
Test(own_op, a_result_that_nobody_uses)
{
    gr_tensor *v = gr_variable(gr_full(ctx, GR_F64, gr_shape(2), 2)), *results[2];
    cr_assert_eq(gr_apply_results(NULL, &powers, 1, &v, NULL, results), GR_OK);
    EXPECT_VALUES(gr_grad(sum_of(results[1]), v), 12, 12);
    EXPECT_VALUES(gr_grad(sum_of(results[0]), v), 4, 4);
}

static gr_status seen_shape(const gr_call *call, gr_form *results)
{
    results[0].dtype = gr_dtype_of(call->in[1]);
    return GR_OK;
}

Test(own_op, what_is_null)
{
    static const gr_op view = {.name = "view", .kind = GR_VIEW, .arity = 2, .shape = seen_shape};
    gr_tensor *x = gr_ones(ctx, GR_F64, gr_shape(2)), *results[2] = {x, x};
    cr_expect(gr_failed(gr_apply_with(&view, 2, (gr_tensor *[]){NULL, x}, NULL)));
    expect_error(ctx, GR_ERROR_NULL, "view: operand 0 is NULL");
    cr_expect(gr_failed(apply(NULL, x)));
    expect_error(ctx, GR_ERROR_NULL, "apply: the op is NULL");
    cr_expect_eq(gr_apply_results(NULL, &powers, 1, &x, NULL, NULL), GR_ERROR_NULL);
    expect_error(ctx, GR_ERROR_NULL, "powers: the place of the results is NULL");
    cr_expect_eq(gr_apply_results(ctx, &powers, 1, NULL, NULL, results), GR_ERROR_NULL);
    expect_error(ctx, GR_ERROR_NULL, "powers: the operands are NULL");
    cr_expect(gr_failed(results[0]) && gr_failed(results[1]));
}

static void expect_refusal(gr_context *of, gr_tensor *x, gr_status status)
{
    gr_tensor *results[2] = {x, x};
    cr_expect_eq(gr_apply_results(of, &powers, 2, (gr_tensor *[]){x, x}, NULL, results), status);
    for (int k = 0; k < 2; k++) {
        cr_expect(gr_failed(results[k]));
        cr_expect_eq(gr_context_of(results[k]), of);
    }
}

/* The operands must belong to the context that the call names. */
Test(own_op, results_in_a_context)
{
    gr_context *other = new_context(NULL, 0);
    gr_tensor *x = gr_ones(ctx, GR_F64, gr_shape(2)), *results[2];
    cr_expect_eq(gr_apply_results(ctx, &powers, 1, &x, NULL, results), GR_OK);
    EXPECT_VALUES(results[1], 1, 1);
    expect_refusal(other, x, GR_ERROR_CONTEXT);
    expect_error(other, GR_ERROR_CONTEXT, "powers: operand 0 belongs to another context");
    expect_error(ctx, GR_ERROR_CONTEXT, "powers: operand 0 belongs to another context");
    gr_tensor *failed = gr_exp(gr_zeros(ctx, GR_I32, gr_shape(2)));
    expect_refusal(other, failed, GR_ERROR_CONTEXT);
    gr_error_clear(ctx);
    gr_error_clear(other);
    expect_refusal(ctx, gr_exp(NULL), GR_ERROR_NULL);
    expect_error(ctx, GR_ERROR_NULL, "powers: operand 0 is the result of an op on NULL");
    expect_refusal(ctx, NULL, GR_ERROR_NULL);
    expect_error(ctx, GR_ERROR_NULL, "powers: operand 0 is NULL");
    gr_context *broken = gr_context_new(&(gr_context_options){.isa = "abacus"});
    expect_refusal(broken, x, GR_ERROR_PROCESSOR);
    expect_fine(ctx);
    cr_expect_eq(gr_context_free(broken), GR_ERROR_PROCESSOR);
    cr_expect_eq(gr_context_free(other), GR_OK);
}

static uint64_t run_swish(gr_context *of, const void *data)
{
    (void)data;
    (void)!gr_scope_begin(of);
    gr_tensor *x = gr_variable(gr_reshape(gr_arange(of, GR_F64, 6), gr_shape(2, 3)));
    gr_tensor *y = apply(&swish, gr_transpose(x));
    const uint64_t hash = hash_of(y) + 31 * hash_of(gr_grad(sum_of(gr_square(y)), x));
    return (void)!gr_scope_end(of), hash;
}

Test(own_op, memory) { expect_survives("swish", run_swish, NULL); }
