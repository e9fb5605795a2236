/* versions.c - a gradient that would read a value written after the recording gives an error, not a
 * wrong number.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(versions, .init = begin, .fini = end);

static const double two[] = {2, 2, 2};

static gr_tensor *threes(void) { return gr_parameter(gr_full(ctx, GR_F64, gr_shape(3), 3)); }

/* The error names op, operand, shape, writer and both places. The gradients are unchanged. */
Test(versions, a_write_after_recording_is_noticed)
{
    gr_tensor *w = threes(), *y = sum_of(gr_mul(w, gr_mul(w, w)));
    const int line = __LINE__ + 1;
    cr_assert_eq(gr_write_here(w, GR_F64, 3, two, "train.c", line), GR_OK);
    cr_expect_eq(gr_backward_here(y, "loss.c", 7), GR_ERROR_GRADIENT);
    char want[200];
    snprintf(
        want, sizeof want,
        "mul: the gradient reads operand 0, shape [3], which write wrote at train.c:%d after it "
        "was recorded (loss.c:7)",
        line);
    expect_error(ctx, GR_ERROR_GRADIENT, want);
    EXPECT_VALUES(gr_gradient(w), 0, 0, 0);
    cr_expect(gr_failed(gr_grad(y, w)));
    gr_error_clear(ctx);
    cr_assert_eq(gr_backward(sum_of(gr_mul(w, gr_mul(w, w)))), GR_OK);
    EXPECT_VALUES(gr_gradient(w), 12, 12, 12);
}

/* Two nets that are trained in turn, with losses that share a graph. The step comes between their
   backwards. */
Test(versions, a_step_between_two_backwards_is_noticed)
{
    gr_tensor *w = threes();
    gr_optimizer *sgd = gr_sgd(ctx, gr_list(w), .lr = 0.1);
    gr_tensor *shared = gr_square(w), *first = sum_of(shared), *second = sum_of(gr_exp(shared));
    cr_assert_eq(gr_backward(first), GR_OK);
    cr_assert_eq(gr_step(sgd), GR_OK);
    cr_expect_eq(gr_backward(second), GR_ERROR_GRADIENT);
    cr_expect(strstr(gr_error_message(ctx),
                     "square: the gradient reads operand 0, shape [3], which "
                     "sgd wrote"),
              "%s", gr_error_message(ctx));
    gr_error_clear(ctx);
}

/* Values that no gradient reads may change: an addition's operands, and a result that no rule
   reads. */
Test(versions, values_that_no_gradient_reads_may_change)
{
    gr_tensor *w = threes();
    gr_tensor *x = gr_full(ctx, GR_F64, gr_shape(3), 5),
              *data = gr_full(ctx, GR_F64, gr_shape(3), 4);
    gr_tensor *y = sum_of(gr_add(gr_mul(w, data), x));
    cr_assert_eq(gr_write(x, GR_F64, 3, two), GR_OK);
    cr_assert_eq(gr_write(w, GR_F64, 3, two), GR_OK, "d (w data) / dw reads data alone");
    cr_assert_eq(gr_backward(y), GR_OK, "%s", gr_error_message(ctx));
    EXPECT_VALUES(gr_gradient(w), 4, 4, 4);
    cr_assert_eq(gr_write(data, GR_F64, 3, two), GR_OK);
    cr_expect_eq(gr_backward(y), GR_ERROR_GRADIENT);
    gr_error_clear(ctx);
}

/* Writes are counted for the buffer, even if they go through different views. */
Test(versions, writes_through_views_are_noticed)
{
    gr_tensor *x = gr_full(ctx, GR_F64, gr_shape(3), 5), *w = threes();
    gr_tensor *same = gr_detach(x), *part = gr_slice(x, 0, 0, 1, 1);
    for (int i = 0; i < 3; i++) {
        gr_tensor *y = sum_of(gr_mul(w, i == 0 ? x : gr_reshape(x, gr_shape(3))));
        if (i == 2)
            ((double *)gr_data_mutable(part))[0] = 1;
        else
            cr_assert_eq(gr_write(i == 0 ? same : part, GR_F64, i == 0 ? 3 : 1, two), GR_OK);
        cr_expect_eq(gr_backward(y), GR_ERROR_GRADIENT, "%d", i);
        gr_error_clear(ctx);
    }
}

Test(versions, second_order_is_noticed)
{
    gr_tensor *w = threes(), *g = gr_grad(sum_of(gr_mul(w, gr_mul(w, w))), w);
    cr_assert_eq(gr_write(w, GR_F64, 3, two), GR_OK);
    cr_expect(gr_failed(gr_grad(sum_of(g), w)));
    cr_expect_eq((int)gr_error(ctx), GR_ERROR_GRADIENT);
    gr_error_clear(ctx);
}

/* Fused losses compute their gradients ahead. They detect writes too. */
Test(versions, losses_are_noticed)
{
    gr_tensor *x = threes(), *y = gr_full(ctx, GR_F64, gr_shape(3), 0.5);
    gr_tensor *losses[] = {
        gr_bce_with_logits(x, y), gr_mse(x, y), gr_sum(gr_softmax(x, 0)),
        gr_sum(gr_matmul(gr_reshape(x, gr_shape(1, 3)), gr_reshape(x, gr_shape(3, 1))))};
    cr_assert_eq(gr_write(x, GR_F64, 3, two), GR_OK);
    for (int i = 0; i < COUNT_OF(losses); i++) {
        const gr_status status = gr_backward(losses[i]);
        cr_expect_eq(status, i == 1 || i == 2 ? GR_OK : GR_ERROR_GRADIENT, "%d", i);
        gr_error_clear(ctx);
    }
}

/* A loop may overwrite its data in each step before it records the next one. */
Test(versions, a_loop_may_refill_its_data)
{
    gr_tensor *w = threes(), *x = gr_zeros(ctx, GR_F64, gr_shape(3));
    gr_optimizer *sgd = gr_sgd(ctx, gr_list(w), .lr = 0.1);
    for (int step = 0; step < 5; step++) {
        const double data[] = {step, 1, 2};
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        cr_assert_eq(gr_write(x, GR_F64, 3, data), GR_OK);
        cr_assert_eq(gr_backward(sum_of(gr_mul(w, gr_mul(x, w)))), GR_OK);
        cr_assert_eq(gr_step(sgd), GR_OK);
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
    }
    expect_fine(ctx);
}

/* A gradient that was read in a loss, forgotten and made again is not what was read. */
Test(versions, a_gradient_that_is_made_again_is_noticed)
{
    gr_tensor *p = threes(), *w = threes(), *gradient = gr_gradient(p);
    cr_assert_eq(gr_backward(sum_of(gr_square(p))), GR_OK);
    gr_tensor *y = sum_of(gr_mul(w, gradient));
    gr_zero_grad(gr_list(p));
    cr_assert_eq(gr_backward(sum_of(gr_exp(p))), GR_OK);
    cr_expect_eq(gr_backward(y), GR_ERROR_GRADIENT);
    cr_expect(strstr(gr_error_message(ctx), "which backward wrote"), "%s", gr_error_message(ctx));
    gr_error_clear(ctx);
    EXPECT_VALUES(gr_gradient(w), 0, 0, 0);
}
