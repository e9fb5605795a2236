/* hessian.c - tests of core/hessian.c against closed forms.
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
    const int64_t length = ctx->tape_length;
    gr_scope *scope = ctx->scope;
    EXPECT_VALUES(gr_hessian(rosenbrock, NULL, p), 802, -400, -400, 200);
    cr_expect_eq(ctx->tape_length, length);
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

static uint64_t one_hessian(gr_context *of, const void *data)
{
    (void)data;
    (void)!gr_scope_begin(of);
    const uint64_t hash = hash_of(gr_hessian(rosenbrock, NULL, gr_ones(of, GR_F64, gr_shape(2))));
    return (void)!gr_scope_end(of), hash;
}

Test(hessian, memory) { expect_survives("hessian", one_hessian, NULL); }
