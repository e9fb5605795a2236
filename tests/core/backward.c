/* backward.c - tests of core/engine/gradients.c and core/engine/sweep.c: recording, gradients, and
 * that a failed call does not change gradients.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(backward, .init = begin, .fini = end);

static gr_tensor *vector(double a, double b)
{
    return gr_from_data(ctx, GR_F64, gr_shape(2), (double[]){a, b});
}
static gr_tensor *number(double a) { return gr_full(ctx, GR_F64, gr_shape(), a); }

/* ---- What is recorded ------------------------------------------------------------------------ */

Test(backward, what_needs_a_gradient)
{
    gr_tensor *x = vector(1, 2), *v = gr_variable(x), *p = gr_parameter(x);
    cr_expect_not(gr_requires_grad(x));
    cr_expect(gr_requires_grad(v) && gr_requires_grad(p));
    cr_expect_not(gr_requires_grad(gr_exp(x)));
    cr_expect(gr_requires_grad(gr_add(x, v)) && gr_requires_grad(gr_add(p, x)));
    cr_expect(gr_requires_grad(gr_transpose(gr_reshape(v, gr_shape(1, 2)))));
    cr_expect_not(gr_requires_grad(gr_detach(gr_exp(v))));
    cr_expect_not(gr_requires_grad(gr_keep(v)));
    cr_expect_eq(gr_data(v), gr_data(x), "a variable is a view");
    cr_expect_eq(gr_data(gr_detach(v)), gr_data(x));
    cr_expect_neq(gr_data(p), gr_data(x), "a parameter is a copy");
    gr_no_grad_begin(ctx);
    cr_expect_not(gr_requires_grad(gr_exp(v)));
    cr_expect_not(gr_requires_grad(gr_reshape(v, gr_shape(1, 2))));
    gr_no_grad_begin(ctx);
    gr_no_grad_end(ctx);
    cr_expect_not(gr_requires_grad(gr_exp(v)));
    gr_no_grad_end(ctx);
    cr_expect(gr_requires_grad(gr_exp(v)));
    gr_no_grad_end(ctx);
    gr_no_grad_begin(ctx);
    cr_expect_not(gr_requires_grad(gr_exp(v)), "an end too many does not count");
    gr_no_grad_end(ctx);
    gr_tensor *scalar = gr_variable(gr_scalar(ctx, 2));
    cr_expect_eq(gr_dtype_of(scalar), GR_F64);
    expect_fine(ctx);
}

Test(backward, detach_stops_the_gradient)
{
    gr_tensor *x = gr_variable(vector(2, 3)), *y = gr_mul(gr_detach(gr_square(x)), x);
    EXPECT_VALUES(gr_grad(sum_of(y), x), 4, 9);
}

Test(backward, a_variable_without_memory_is_a_failed_tensor)
{
    int made = 0;
    gr_tensor *x = vector(2, 3), *view = x;
    heap_fail(1, true);
    for (; !gr_error(ctx) && made < 100000; made++)
        view = gr_variable(x);
    heap_fail(0, false);
    cr_expect_gt(made, 1);
    cr_expect_eq(view, ctx->failed);
    cr_expect_eq(gr_error(ctx), GR_ERROR_MEMORY);
    gr_error_clear(ctx);
}

Test(backward, leaves_have_a_float_dtype)
{
    for (int dtype = GR_I32; dtype <= GR_BOOL; dtype++) {
        char message[128];
        gr_tensor *x = gr_zeros(ctx, dtype, gr_shape(2));
        snprintf(message, sizeof message, "parameter: %s [2] is no float: it has no gradient",
                 gr_dtype_name(dtype));
        cr_expect(gr_failed(gr_parameter(x)));
        expect_error(ctx, GR_ERROR_DTYPE, message);
        snprintf(message, sizeof message, "variable: %s [2] is no float: it has no gradient",
                 gr_dtype_name(dtype));
        cr_expect(gr_failed(gr_variable(x)));
        expect_error(ctx, GR_ERROR_DTYPE, message);
    }
    cr_expect_eq(gr_error(gr_context_of(gr_parameter(NULL))), GR_ERROR_NULL);
    cr_expect_eq(gr_error(gr_context_of(gr_variable(NULL))), GR_ERROR_NULL);
    cr_expect_eq(gr_error(gr_context_of(gr_detach(NULL))), GR_ERROR_NULL);
    cr_expect_eq(gr_error(gr_context_of(gr_gradient(NULL))), GR_ERROR_NULL);
    cr_expect(gr_failed(gr_gradient(gr_variable(vector(1, 2)))));
    expect_error(ctx, GR_ERROR_GRADIENT,
                 "gradient: [2] is no parameter (gr_parameter makes one; gr_grad takes any)");
}

/* ---- gr_backward ----------------------------------------------------------------------------- */

/* f = sum((x w - y)^2): df/dw = 2 x^T (x w - y). */
Test(backward, closed_form)
{
    gr_tensor *x = gr_from_data(ctx, GR_F64, gr_shape(3, 2), (double[]){1, 2, 3, 4, 5, 6});
    gr_tensor *y = gr_from_data(ctx, GR_F64, gr_shape(3), (double[]){1, 1, 1});
    gr_tensor *w = gr_parameter(vector(1, -1)), *b = gr_parameter(number(0.5));
    EXPECT_VALUES(gr_gradient(w), 0, 0);
    gr_tensor *loss = sum_of(gr_square(gr_sub(gr_add(gr_matmul(x, w), b), y)));
    cr_expect_eq(gr_backward(loss), GR_OK);
    EXPECT_VALUES(gr_gradient(w), -27, -36);
    EXPECT_VALUES(gr_gradient(b), -9);
    EXPECT_VALUES(loss, 6.75);
}

Test(backward, adds_up_until_it_is_told_to_forget)
{
    gr_tensor *p = gr_parameter(vector(1, 2)), *q = gr_parameter(vector(3, 4)),
              *y = sum_of(gr_square(p));
    cr_expect_eq(gr_backward(y), GR_OK);
    cr_expect_eq(gr_backward(y), GR_OK);
    cr_expect_eq(gr_backward(sum_of(gr_mul(p, q))), GR_OK);
    EXPECT_VALUES(gr_gradient(p), 7, 12);
    EXPECT_VALUES(gr_gradient(q), 1, 2);
    gr_zero_grad(gr_list(p, q, NULL, vector(1, 1)));
    EXPECT_VALUES(gr_gradient(p), 0, 0);
    cr_expect_eq(gr_backward(y), GR_OK);
    EXPECT_VALUES(gr_gradient(p), 2, 4);
    EXPECT_VALUES(gr_gradient(q), 0, 0);
    cr_expect_eq(gr_backward(sum_of(p)), GR_OK);
    EXPECT_VALUES(gr_gradient(p), 3, 5);
}

Test(backward, one_operand_used_often)
{
    gr_tensor *p = gr_parameter(number(3)), *y = gr_mul(p, p);
    for (int i = 0; i < 3; i++)
        y = gr_add(y, gr_mul(y, p)); /* y (1+p)^3, y = p^2 */
    cr_expect_eq(gr_backward(y), GR_OK);
    EXPECT_VALUES(gr_gradient(p), 2 * 3 * 64 + 9 * 3 * 16);
}

Test(backward, of_a_parameter_itself_and_of_one_in_a_list)
{
    gr_tensor *p = gr_parameter(gr_full(ctx, GR_F32, gr_shape(1, 1), 3));
    cr_expect_eq(gr_backward(p), GR_OK);
    EXPECT_VALUES(gr_gradient(p), 1);
    cr_expect_eq(gr_backward(gr_reshape(p, gr_shape())), GR_OK);
    EXPECT_VALUES(gr_gradient(p), 2);
}

Test(backward, in_narrow_dtypes)
{
    for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
        gr_tensor *p = gr_parameter(gr_full(ctx, dtype, gr_shape(3), 0.5));
        for (int i = 0; i < 2; i++)
            cr_expect_eq(gr_backward(sum_of(gr_square(gr_cast(p, GR_F64)))), GR_OK);
        cr_expect_eq(gr_dtype_of(gr_gradient(p)), dtype == GR_F64 ? GR_F64 : GR_F32);
        EXPECT_VALUES(gr_gradient(p), 2, 2, 2);
    }
}

/* In bf16, 256 + 1 is 256; in f16, 2048 + 1 is 2048. */
Test(backward, gradients_of_half_parameters_add_up)
{
    for (int dtype = GR_F16; dtype <= GR_BF16; dtype++) {
        gr_tensor *p = gr_parameter(gr_ones(ctx, dtype, gr_shape(3)));
        for (int i = 0; i < 4096; i++) {
            gr_scope_begin(ctx);
            cr_expect_eq(gr_backward(sum_of(p)), GR_OK);
            cr_expect_eq(gr_scope_end(ctx), GR_OK);
        }
        EXPECT_VALUES(gr_gradient(p), 4096, 4096, 4096);
    }
}

Test(backward, gradients_of_a_half_parameter_add_up_within_a_sweep)
{
    for (int dtype = GR_F16; dtype <= GR_BF16; dtype++) {
        gr_tensor *p = gr_parameter(gr_ones(ctx, dtype, gr_shape(3))),
                  *y = gr_zeros(ctx, GR_F32, gr_shape());
        for (int i = 0; i < 4096; i++)
            y = gr_add(y, gr_cast(i % 2 ? sum_of(p) : sum_of(gr_slice(p, 0, 0, 2, 1)), GR_F32));
        cr_expect_eq(gr_backward(y), GR_OK);
        EXPECT_VALUES(gr_gradient(p), 4096, 4096, 2048);
    }
}

/* The first gradient of p is an upstream gradient in bf16. */
Test(backward, gradients_of_a_half_parameter_add_up_after_one_that_is_passed_on)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_BF16, gr_shape())),
              *c = gr_ones(ctx, GR_BF16, gr_shape()), *y = gr_zeros(ctx, GR_F32, gr_shape());
    for (int i = 0; i < 600; i++)
        y = gr_add(y, gr_cast(p, GR_F32));
    cr_expect_eq(gr_backward(gr_add(y, gr_cast(gr_add(c, p), GR_F32))), GR_OK);
    EXPECT_VALUES(gr_gradient(p), 601);
}

Test(backward, of_a_half_parameter_itself)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_BF16, gr_shape()));
    for (int i = 0; i < 300; i++)
        cr_expect_eq(gr_backward(p), GR_OK);
    EXPECT_VALUES(gr_gradient(p), 300);
}

/* The sweep is a loop and not a recursion, because the program may be long. */
Test(backward, a_long_chain)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F32, gr_shape())), *y = p;
    for (int i = 0; i < 50000; i++)
        y = gr_neg(y);
    cr_expect_eq(gr_backward(y), GR_OK);
    EXPECT_VALUES(gr_gradient(p), 1);
}

Test(backward, records_nothing)
{
    gr_tensor *p = gr_parameter(vector(1, 2)), *y = sum_of(gr_tanh(gr_square(p)));
    const int64_t length = entries_kept();
    cr_expect_eq(gr_backward(y), GR_OK);
    cr_expect_eq(entries_kept(), length);
    cr_expect_eq(ctx->program.no_grad, 0);
}

/* ---- Errors of gr_backward ------------------------------------------------------------------- */

Test(backward, errors)
{
    gr_tensor *p = gr_parameter(vector(1, 2));
    cr_expect_eq(gr_backward(NULL), GR_ERROR_NULL);
    cr_expect_eq(gr_backward(gr_square(p)), GR_ERROR_GRADIENT);
    expect_error(ctx, GR_ERROR_GRADIENT, "backward: shape [2] has not one element");
    cr_expect_eq(gr_backward(sum_of(vector(1, 2))), GR_ERROR_GRADIENT);
    expect_error(ctx, GR_ERROR_GRADIENT, "backward: loss depends on no parameter");
    cr_expect_eq(gr_backward(sum_of(gr_square(gr_variable(vector(1, 2))))), GR_ERROR_GRADIENT);
    expect_error(ctx, GR_ERROR_GRADIENT, "backward: loss depends on no parameter");
    cr_expect_eq(gr_backward(gr_ones(ctx, GR_I32, gr_shape())), GR_ERROR_DTYPE);
    expect_error(ctx, GR_ERROR_DTYPE, "backward: i32 [] is no float");
    gr_no_grad_begin(ctx);
    gr_tensor *unrecorded = sum_of(gr_square(p));
    gr_no_grad_end(ctx);
    cr_expect_eq(gr_backward(unrecorded), GR_ERROR_GRADIENT);
    gr_error_clear(ctx);
    EXPECT_VALUES(gr_gradient(p), 0, 0);
}

Test(backward, refuses_in_a_context_with_an_error)
{
    gr_tensor *p = gr_parameter(vector(1, 2)), *y = sum_of(p);
    gr_tensor *failed = gr_add(p, gr_zeros(ctx, GR_F64, gr_shape(5)));
    cr_expect_eq(gr_backward(y), GR_ERROR_BROADCAST);
    cr_expect_eq(gr_backward(failed), GR_ERROR_BROADCAST);
    gr_error_clear(ctx);
    EXPECT_VALUES(gr_gradient(p), 0, 0);
    cr_expect_neq(gr_backward(failed), GR_OK, "nothing was done");
    gr_error_clear(ctx);
    cr_expect_eq(gr_backward(y), GR_OK);
}

/* A call adds all gradients or none. Each allocation fails once. */
Test(backward, leaves_gradients_alone_where_it_fails)
{
    for (int64_t k = 1, reached = 1; reached; k++) {
        gr_context *own = new_context(NULL, 1);
        gr_tensor *p = gr_parameter(gr_ones(own, GR_F64, gr_shape(70, 90)));
        gr_tensor *q = gr_parameter(gr_ones(own, GR_F64, gr_shape(90)));
        gr_tensor *y = sum_of(gr_sigmoid(gr_mul(p, gr_exp(q))));
        cr_assert_eq(gr_backward(y), GR_OK);
        /* This is larger than before, so the pool has no buffers for it. */
        gr_tensor *z = gr_add(sum_of(gr_tanh(gr_expand(gr_mul(p, q), gr_shape(9, 70, 90)))), y);
        const uint64_t left = hash_of(gr_gradient(p)), right = hash_of(gr_gradient(q));
        heap_fail(k, false);
        const gr_status status = gr_backward(z);
        reached = heap.calls >= k;
        heap_fail(0, false);
        cr_expect_eq(status, reached ? GR_ERROR_MEMORY : GR_OK);
        if (reached) {
            cr_expect_eq(hash_of(gr_gradient(p)), left, "allocation %d", (int)k);
            cr_expect_eq(hash_of(gr_gradient(q)), right, "allocation %d", (int)k);
            gr_error_clear(own);
            cr_expect_eq(gr_backward(z), GR_OK);
        } else {
            cr_expect_gt(k, 3);
        }
        static uint64_t after;
        after = after ? after : hash_of(gr_gradient(p));
        cr_expect_eq(hash_of(gr_gradient(p)), after, "and then as if nothing had been");
        (void)!gr_context_free(own);
    }
}

/* Scopes fill a chunk of the arena step by step. Then a sweep's own scope finds no room. */
Test(backward, says_that_it_ran_out_of_memory)
{
    gr_tensor *p = gr_parameter(vector(1, 2)), *y = sum_of(gr_neg(p));
    cr_assert_eq(gr_backward(y), GR_OK);
    int scopes = 0;
    for (bool said = false; !said && scopes < 5000; scopes++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        heap_fail(1, true);
        if (gr_backward(y) == GR_ERROR_MEMORY)
            said = strncmp(gr_error_message(ctx), "backward: out of memory", 23) == 0;
        heap_fail(0, false);
        gr_error_clear(ctx);
    }
    cr_expect_lt(scopes, 5000);
    for (; scopes > 0; scopes--)
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
}

/* ---- gr_grad --------------------------------------------------------------------------------- */

Test(backward, gradients_of_gradients)
{
    gr_tensor *x = gr_variable(number(2)), *y = gr_pow(x, 5);
    static const double want[] = {80, 160, 240, 240, 120, 0};
    for (int i = 0; i < COUNT_OF(want); i++) {
        y = gr_grad(y, x);
        cr_expect_eq(gr_item(y), want[i], "derivative %d is %g", i + 1, gr_item(y));
    }
    gr_tensor *p = gr_parameter(number(2));
    cr_expect_eq(gr_backward(gr_grad(gr_pow(p, 3), p)), GR_OK);
    EXPECT_VALUES(gr_gradient(p), 12);
    expect_fine(ctx);
}

Test(backward, hessian_times_vector)
{
    gr_tensor *x = gr_variable(vector(1, 2)), *a = gr_slice(x, 0, 0, 1, 1),
              *b = gr_slice(x, 0, 1, 2, 1);
    gr_tensor *y =
        gr_mul(gr_square(a), gr_pow(b, 3)); /* H = [[2 b^3, 6 a b^2], [6 a b^2, 6 a^2 b]] */
    gr_tensor *g = gr_grad(y, x);
    EXPECT_VALUES(g, 16, 12);
    EXPECT_VALUES(gr_grad(sum_of(gr_mul(g, vector(1, -1))), x), 16 - 24, 24 - 12);
}

/* The rule of a sum passes its upstream gradient on, and this one is also asked for. */
Test(backward, grad_of_a_sum_and_of_its_terms)
{
    gr_tensor *a = gr_variable(number(3)), *b = gr_variable(number(4)), *sum = gr_add(a, b), *of[3];
    cr_expect_eq(gr_grad_with(gr_square(sum), gr_list(a, sum, b), of, NULL), GR_OK);
    for (int i = 0; i < 3; i++)
        EXPECT_VALUES(of[i], 14);
}

Test(backward, grad_of_what_is_between)
{
    gr_tensor *x = gr_variable(number(3)), *y = gr_square(x), *z = gr_mul(gr_exp(gr_sub(y, y)), y);
    EXPECT_VALUES(gr_grad(z, y), 1);
    EXPECT_VALUES(gr_grad(z, z), 1);
    EXPECT_VALUES(gr_grad(z, x), 6);
    EXPECT_VALUES(gr_grad(gr_square(gr_variable(number(1))), x), 0);
    EXPECT_VALUES(gr_grad(y, gr_square(x)), 0);
    gr_tensor *wide = gr_variable(gr_zeros(ctx, GR_F32, gr_shape(2, 3)));
    expect_shape(gr_grad(z, wide), gr_shape(2, 3));
    cr_expect_eq(gr_dtype_of(gr_grad(z, wide)), GR_F32);
    expect_fine(ctx);
}

Test(backward, several_inputs_and_a_seed)
{
    gr_tensor *x = gr_variable(vector(1, 2)), *w = gr_variable(vector(3, 4)), *y = gr_mul(x, w),
              *g[4];
    cr_expect_eq(gr_grad_with(y, gr_list(x, w, y, x), g, NULL), GR_OK);
    EXPECT_VALUES(g[0], 3, 4);
    EXPECT_VALUES(g[1], 1, 2);
    EXPECT_VALUES(g[2], 1, 1);
    EXPECT_VALUES(g[3], 3, 4);
    cr_expect_not(gr_requires_grad(g[0]));
    cr_expect_eq(
        gr_grad_with(y, gr_list(x, w), g, &(gr_grad_args){.seed = vector(10, -1), .record = true}),
        GR_OK);
    EXPECT_VALUES(g[0], 30, -4);
    EXPECT_VALUES(gr_grad(sum_of(g[0]), w), 10, -1);
    cr_expect_eq(gr_grad_with(y, (gr_tensors){0, NULL}, NULL, NULL), GR_OK);
    /* If the seed requires a gradient, it gets one. */
    gr_tensor *seed = gr_variable(vector(1, 1));
    cr_expect_eq(gr_grad_with(y, gr_list(x), g, &(gr_grad_args){.seed = seed, .record = true}),
                 GR_OK);
    EXPECT_VALUES(gr_grad(sum_of(g[0]), seed), 3, 4);
    expect_fine(ctx);
}

Test(backward, grad_errors)
{
    gr_tensor *x = gr_variable(vector(1, 2)), *y = gr_square(x), *g[2], *plain = vector(1, 2);
    gr_context *other = new_context(NULL, 1);
    cr_expect_eq(gr_error(gr_context_of(gr_grad(NULL, x))), GR_ERROR_NULL);
    cr_expect(gr_failed(gr_grad(sum_of(y), NULL)));
    expect_error(ctx, GR_ERROR_NULL, "grad: input 0 is NULL");
    cr_expect(gr_failed(gr_grad(y, x)));
    expect_error(ctx, GR_ERROR_GRADIENT, "grad: shape [2] has not one element");
    cr_expect(gr_failed(gr_grad(sum_of(y), plain)));
    expect_error(ctx, GR_ERROR_GRADIENT,
                 "grad: input 0, [2], gets no gradient (gr_parameter or gr_variable makes it)");
    cr_expect(gr_failed(gr_grad(gr_ones(ctx, GR_U8, gr_shape()), x)));
    expect_error(ctx, GR_ERROR_DTYPE, "grad: u8 [] is no float");
    cr_expect(gr_failed(gr_grad(sum_of(y), gr_variable(gr_ones(other, GR_F64, gr_shape())))));
    expect_error(ctx, GR_ERROR_CONTEXT, "grad: input 0 belongs to another context");
    cr_expect_eq(gr_context_free(other), GR_OK);
    cr_expect_eq(gr_grad_with(y, gr_list(x, plain), g, NULL), GR_ERROR_GRADIENT);
    cr_expect(gr_failed(g[0]) && gr_failed(g[1]), "all of them");
    gr_error_clear(ctx);
    cr_expect_eq(gr_grad_with(y, gr_list(x), g, &(gr_grad_args){.seed = number(1)}),
                 GR_ERROR_SHAPE);
    expect_error(ctx, GR_ERROR_SHAPE, "grad: seed f64 [], output f64 [2]");
    cr_expect_eq(
        gr_grad_with(y, gr_list(x), g, &(gr_grad_args){.seed = gr_ones(ctx, GR_F32, gr_shape(2))}),
        GR_ERROR_SHAPE);
    expect_error(ctx, GR_ERROR_SHAPE, "grad: seed f32 [2], output f64 [2]");
    EXPECT_VALUES(gr_grad(sum_of(y), x), 2, 4);
}

/* With broadcasting, the engine sums down to the operand's shape, along new axes and along axes of
   size 1. */
Test(backward, gradients_have_the_operand_s_shape)
{
    gr_tensor *a = gr_variable(gr_ones(ctx, GR_F64, gr_shape(2, 1, 3))),
              *b = gr_variable(gr_ones(ctx, GR_F64, gr_shape(4, 1)));
    gr_tensor *y =
        sum_of(gr_mul(gr_mul(a, b), gr_reshape(gr_arange(ctx, GR_F64, 24), gr_shape(2, 4, 3))));
    expect_shape(gr_grad(y, a), gr_shape(2, 1, 3));
    EXPECT_VALUES(gr_grad(y, a), 18, 22, 26, 66, 70, 74);
    expect_shape(gr_grad(y, b), gr_shape(4, 1));
    EXPECT_VALUES(gr_grad(y, b), 42, 60, 78, 96);
}

static uint64_t second_order(gr_context *of, const void *data)
{
    (void)data;
    (void)!gr_scope_begin(of);
    gr_tensor *x = gr_variable(gr_arange(of, GR_F64, 20)), *p = gr_parameter(x);
    gr_tensor *y = sum_of(gr_tanh(gr_mul(x, gr_sigmoid(p)))), *g = gr_grad(y, x);
    gr_tensor *z = sum_of(gr_square(g));
    const gr_status status = gr_backward(z);
    const uint64_t hash = status == GR_OK ? hash_of(gr_gradient(p)) : 0;
    return (void)!gr_scope_end(of), hash;
}

Test(backward, memory) { expect_survives("second order", second_order, NULL); }

/* Also where no backward has made it. */
Test(backward, a_gradient_that_was_written_is_forgotten)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(2))), *gradient = gr_gradient(p);
    gr_optimizer *sgd = gr_sgd(ctx, gr_list(p));
    const double fours[] = {4, 4};
    cr_assert_eq(gr_write(gradient, GR_F64, 2, fours), GR_OK);
    gr_zero_grad(gr_list(p));
    EXPECT_VALUES(gradient, 0, 0);
    cr_assert_eq(gr_write(gradient, GR_F64, 2, fours), GR_OK);
    cr_assert_eq(gr_step(sgd), GR_OK);
    EXPECT_VALUES(gr_gradient(p), 0, 0);
}

static void add_gradient(gr_tensor *p)
{
    cr_assert_eq(gr_backward(sum_of(gr_square(p))), GR_OK, "%s", gr_error_message(ctx));
}

/* A view shows each change of the gradient, from wherever it was made. Without a view, the first
   gradient takes over the sweep's buffer. */
Test(backward, views_of_a_gradient_show_its_changes)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(2))), *gradient = gr_gradient(p);
    gr_optimizer *sgd = gr_sgd(ctx, gr_list(p), .lr = 0.5);
    const void *before = gr_data(gradient);
    add_gradient(p);
    cr_expect_neq(gr_data(gradient), before);
    gr_zero_grad(gr_list(p));
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *second = gr_slice(gradient, 0, 1, 2, 1),
              *turned = gr_reshape(gradient, gr_shape(2, 1));
    gr_tensor *v = gr_variable(second), *square = sum_of(gr_square(v));
    for (int times = 1; times <= 2; times++) {
        add_gradient(p);
        EXPECT_VALUES(gradient, 2 * times, 2 * times);
        EXPECT_VALUES(second, 2 * times);
        EXPECT_VALUES(turned, 2 * times, 2 * times);
    }
    cr_assert_eq(gr_step(sgd), GR_OK);
    EXPECT_VALUES(second, 0);
    cr_assert_eq(gr_write(p, GR_F64, 2, (double[]){3, 4}), GR_OK);
    add_gradient(p);
    EXPECT_VALUES(turned, 6, 8);
    expect_fine(ctx);
    cr_expect(gr_failed(gr_grad(square, v)));
    expect_error(ctx, GR_ERROR_GRADIENT,
                 "square: the gradient reads operand 0, shape [1], which "
                 "backward wrote after it was recorded");
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
    gr_zero_grad(gr_list(p));
    before = gr_data(gradient);
    add_gradient(p);
    cr_expect_neq(gr_data(gradient), before);
}
