/* hessian.c - tests of check/hessian.c against closed forms.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(hessian, .init = begin, .fini = end);

/* x^T A x: A + A^T */
static gr_tensor *quadratic(gr_tensors in, void *data)
{
    return gr_matmul(in.at[0], gr_matmul(data, in.at[0]));
}

/* (1-a)^2 + 100 (b - a^2)^2 */
static gr_tensor *rosenbrock(gr_tensors in, void *data)
{
    (void)data;
    gr_tensor *a = gr_slice(in.at[0], 0, 0, 1, 1), *b = gr_slice(in.at[0], 0, 1, 2, 1);
    gr_tensor *valley = gr_square(gr_sub(b, gr_square(a)));
    return gr_add(gr_square(gr_sub(gr_scalar_like(a, 1), a)),
                  gr_mul(gr_scalar_like(a, 100), valley));
}

static gr_tensor *sum_of_exp(gr_tensors in, void *data)
{
    (void)data;
    return sum_of(gr_exp(in.at[0]));
}

static gr_tensor *linear(gr_tensors in, void *data) { return (void)data, sum_of(in.at[0]); }
static gr_tensor *constant(gr_tensors in, void *data)
{
    return (void)data, gr_scalar_like(in.at[0], 3);
}
static gr_tensor *not_scalar(gr_tensors in, void *data) { return (void)data, gr_exp(in.at[0]); }

Test(hessian, closed_forms)
{
    gr_tensor *a = gr_from_data(ctx, GR_F64, gr_shape(3, 3), (double[]){1, 2, 3, 4, 5, 6, 7, 8, 9});
    gr_tensor *x = gr_from_data(ctx, GR_F64, gr_shape(3), (double[]){0.3, -2, 1});
    EXPECT_VALUES(gr_hessian(quadratic, a, x), 2, 6, 10, 6, 10, 14, 10, 14, 18);
    expect_shape(gr_hessian(quadratic, a, x), gr_shape(3, 3));
    gr_tensor *point = gr_from_data(ctx, GR_F64, gr_shape(2), (double[]){-2, 3});
    EXPECT_VALUES(gr_hessian(rosenbrock, NULL, point), 2 + 1200 * 4 - 400 * 3, 800, 800, 200);
    for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
        gr_tensor *h = gr_hessian(sum_of_exp, NULL, gr_zeros(ctx, dtype, gr_shape(1, 2)));
        cr_expect_eq(gr_dtype_of(h), dtype);
        EXPECT_VALUES(h, 1, 0, 0, 1);
    }
    EXPECT_VALUES(gr_hessian(linear, NULL, point), 0, 0, 0, 0);
    expect_shape(gr_hessian(linear, NULL, gr_zeros(ctx, GR_F32, gr_shape(0))), gr_shape(0, 0));
    expect_shape(gr_hessian(sum_of_exp, NULL, gr_ones(ctx, GR_F32, gr_shape())), gr_shape(1, 1));
    EXPECT_VALUES(point, -2, 3);
    expect_fine(ctx);
}

Test(hessian, leaves_no_trace)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(2)));
    const int64_t length = entries_kept();
    gr_scope *scope = ctx->scope;
    EXPECT_VALUES(gr_hessian(rosenbrock, NULL, p), 802, -400, -400, 200);
    cr_expect_eq(entries_kept(), length);
    cr_expect_eq(ctx->scope, scope);
    EXPECT_VALUES(gr_gradient(p), 0, 0);
}

Test(hessian, errors)
{
    gr_tensor *x = gr_ones(ctx, GR_F64, gr_shape(2));
    cr_expect_eq(gr_error(gr_context_of(gr_hessian(linear, NULL, NULL))), GR_ERROR_NULL);
    cr_expect(gr_failed(gr_hessian(not_scalar, NULL, x)));
    expect_error(ctx, GR_ERROR_GRADIENT, "grad: shape [2] has not one element");
    cr_expect(gr_failed(gr_hessian(linear, NULL, gr_ones(ctx, GR_I32, gr_shape(2)))));
    cr_expect_eq(gr_error(ctx), GR_ERROR_DTYPE);
    gr_error_clear(ctx);
    EXPECT_VALUES(gr_hessian(constant, NULL, x), 0, 0, 0, 0);
}

/* ---- Functions that break the rules ---------------------------------------------------------- */

static gr_tensor *nothing(gr_tensors in, void *data) { return (void)in, (void)data, NULL; }
static gr_tensor *foreign(gr_tensors in, void *of)
{
    return (void)in, gr_ones(of, GR_F64, gr_shape());
}
static gr_tensor *comparison(gr_tensors in, void *data)
{
    return gr_greater(linear(in, data), gr_scalar_like(in.at[0], 0));
}
static gr_tensor *failed_and_cleared(gr_tensors in, void *data)
{
    (void)data;
    gr_tensor *y = gr_reshape(in.at[0], gr_shape(7));
    gr_error_clear(ctx);
    return y;
}
static gr_tensor *leaves_scopes_open(gr_tensors in, void *data)
{
    cr_expect_eq(gr_scope_begin(ctx), GR_OK);
    cr_expect_eq(gr_scope_begin(ctx), GR_OK);
    return linear(in, data);
}
static gr_tensor *ends_scopes(gr_tensors in, void *data)
{
    gr_tensor *y = linear(in, data);
    (void)!gr_scope_end(ctx);
    (void)!gr_scope_end(ctx);
    return y;
}
static gr_tensor *of_an_ended_scope(gr_tensors in, void *data)
{
    cr_expect_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *y = linear(in, data);
    cr_expect_eq(gr_scope_end(ctx), GR_OK);
    return y;
}
static gr_tensor *leaves_brackets_open(gr_tensors in, void *data)
{
    gr_tensor *y = sum_of_exp(in, data);
    gr_no_grad_begin(ctx);
    return y;
}

static void expect_refused(gr_function *f, void *data, gr_status status, const char *message)
{
    gr_tensor *x = gr_ones(ctx, GR_F64, gr_shape(2));
    gr_scope *scope = ctx->scope;
    cr_expect(gr_failed(gr_hessian(f, data, x)));
    expect_error(ctx, status, message);
    cr_expect_eq(ctx->scope, scope);
    cr_expect_not(gr_failed(x));
}

Test(hessian, functions_that_break_the_rules_are_refused)
{
    gr_context *other = gr_context_new(NULL);
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    expect_refused(nothing, NULL, GR_ERROR_NULL, "hessian: the function's result is NULL");
    expect_refused(failed_and_cleared, NULL, GR_ERROR_ARGUMENT,
                   "hessian: the function's result cannot be used");
    expect_refused(foreign, other, GR_ERROR_CONTEXT,
                   "hessian: the function's result is another context's");
    expect_refused(comparison, NULL, GR_ERROR_DTYPE,
                   "hessian: the function's result is bool: no float");
    expect_refused(leaves_scopes_open, NULL, GR_ERROR_SCOPE,
                   "hessian: the function leaves a scope open, or ends one");
    expect_refused(ends_scopes, NULL, GR_ERROR_SCOPE,
                   "scope_end: the innermost scope was begun outside this function");
    expect_refused(of_an_ended_scope, NULL, GR_ERROR_SCOPE,
                   "hessian: operand 0 belongs to a scope that has ended");
    cr_expect_eq(gr_scope_end(ctx), GR_OK);
    cr_expect_eq(gr_context_free(other), GR_OK);
}

/* A bracket left open by f made its second derivatives 0. */
Test(hessian, brackets_that_the_function_leaves_open_end_with_it)
{
    gr_tensor *x = gr_zeros(ctx, GR_F64, gr_shape(2));
    EXPECT_VALUES(gr_hessian(leaves_brackets_open, NULL, x), 1, 0, 0, 1);
    cr_expect(gr_requires_grad(gr_exp(gr_variable(x))));
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static uint64_t one_hessian(gr_context *of, const void *data)
{
    (void)data;
    (void)!gr_scope_begin(of);
    const uint64_t hash = hash_of(gr_hessian(rosenbrock, NULL, gr_ones(of, GR_F64, gr_shape(2))));
    return (void)!gr_scope_end(of), hash;
}

Test(hessian, memory) { expect_survives("hessian", one_hessian, NULL); }
