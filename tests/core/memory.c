/* memory.c - the memory of ops, sweeps and training, counted in the allocator and compared with
 * limits.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(memory, .init = begin, .fini = end);

enum { MB = 1000 * 1000 };

static int64_t live(void) { return gr_memory(ctx).live_bytes; }

/* ---- Sweeps ---------------------------------------------------------------------------------- */

/* Returns the peak of a backward through `count` ops on `elements` floats, minus the memory that
   the forward held. */
static int64_t sweep_beyond_forward(gr_tensor *(*op)(gr_tensor *), int count, int64_t elements)
{
    gr_tensor *p = gr_parameter(gr_full(ctx, GR_F32, gr_shape(elements), 0.1));
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *x = p;
    for (int i = 0; i < count; i++)
        x = op(x);
    gr_tensor *loss = sum_of(x);
    const int64_t forward = live();
    cr_assert_eq(gr_backward(loss), GR_OK, "%s", gr_error_message(ctx));
    const int64_t peak = gr_memory(ctx).peak_bytes;
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
    return peak - forward;
}

Test(memory, a_sweep_over_50_sigmoids_holds_three_buffers_more)
{
    const int64_t beyond = sweep_beyond_forward(gr_sigmoid, 50, MB);
    cr_expect_leq(beyond, 3 * 4 * MB * 105 / 100, "%lld bytes", (long long)beyond);
    cr_expect_geq(beyond, 4 * MB, "a gradient of 4 MB cannot take less");
}

Test(memory, a_sweep_over_100_tanhs_peaks_at_112_MB)
{
    sweep_beyond_forward(gr_tanh, 100, MB / 4);
    const int64_t peak = gr_memory(ctx).peak_bytes;
    cr_expect_leq(peak, 112 * MB, "%lld bytes", (long long)peak);
}

Test(memory, a_sweep_through_additions_moves_gradients)
{
    gr_tensor *p = gr_parameter(gr_full(ctx, GR_F32, gr_shape(MB), 0.1));
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *x = p;
    for (int i = 0; i < 10; i++)
        x = gr_add(x, p);
    gr_tensor *loss = sum_of(x);
    const int64_t forward = live();
    cr_assert_eq(gr_backward(loss), GR_OK);
    cr_expect_leq(gr_memory(ctx).peak_bytes - forward, 2 * 4 * MB * 105 / 100);
    EXPECT_VALUES(gr_slice(gr_gradient(p), 0, 0, 1, 1), 11);
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
}

/* The parameter's gradient takes over the sweep's buffer without a copy. */
Test(memory, a_first_gradient_takes_over_the_buffer)
{
    gr_tensor *p = gr_parameter(gr_full(ctx, GR_F32, gr_shape(MB), 0.1));
    const int64_t before = live();
    for (int step = 0; step < 3; step++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        cr_assert_eq(gr_backward(sum_of(gr_square(p))), GR_OK);
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
        gr_zero_grad(gr_list(p));
    }
    /* the square, 2 x, and their product, which is the gradient */
    cr_expect_leq(live() - before, 4 * 4 * MB * 105 / 100);
}

/* ---- Scratch --------------------------------------------------------------------------------- */

Test(memory, a_thousand_products_hold_a_megabyte)
{
    const int64_t before = live();
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *a = gr_ones(ctx, GR_F32, gr_shape(2, 2));
    for (int i = 0; i < 1000; i++)
        gr_matmul(a, a);
    cr_expect_leq(live() - before, 1 << 20, "%lld bytes", (long long)(live() - before));
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
}

Test(memory, scratch_dies_with_its_call)
{
    gr_tensor *a = gr_ones(ctx, GR_F32, gr_shape(512, 512));
    gr_matmul(a, a);
    const int64_t before = live();
    for (int i = 0; i < 20; i++)
        gr_matmul(a, a);
    cr_expect_leq(live() - before, 20 * (int64_t)(512 * 512 * 4 + 1024));
}

/* ---- Training -------------------------------------------------------------------------------- */

/* Trains 64-64-64-1 with Adam on a batch of 32. Returns the bytes besides parameters, gradients and
   moments. */
static int64_t training_bytes(int steps)
{
    const int64_t before = live(), numbers = 64 * 64 + 64 + 64 * 64 + 64 + 64 + 1;
    gr_mlp *mlp = gr_mlp_new(ctx, GR_F32, GR_RELU, 4, (const int64_t[]){64, 64, 64, 1});
    gr_optimizer *adam = gr_adam(ctx, gr_mlp_parameters(mlp), .lr = 0.01);
    gr_tensor *x = gr_randn(ctx, GR_F32, gr_shape(32, 64));
    gr_tensor *y = gr_ones(ctx, GR_F32, gr_shape(32, 1));
    for (int step = 0; step < steps; step++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        cr_assert_eq(gr_backward(gr_bce_with_logits(gr_mlp_forward(mlp, x), y)), GR_OK);
        cr_assert_eq(gr_step(adam), GR_OK);
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
    }
    return gr_memory(ctx).peak_bytes - before - 4 * 4 * numbers;
}

Test(memory, a_step_of_a_small_net_takes_400_KB)
{
    const int64_t bytes = training_bytes(1);
    cr_expect_leq(bytes, 400 * 1000, "%lld bytes", (long long)bytes);
}

Test(memory, a_thousand_steps_take_no_more)
{
    const int64_t bytes = training_bytes(1000);
    cr_expect_leq(bytes, 400 * 1000, "%lld bytes", (long long)bytes);
}

/* ---- The pool -------------------------------------------------------------------------------- */

/* If sizes grow from step to step, a pool that never gives memory back would grow without limit. */
Test(memory, the_pool_gives_back_what_lies_idle)
{
    for (int64_t step = 0; step < 1200; step++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        gr_square(gr_zeros(ctx, GR_F32, gr_shape(100 + 1000 * (step % 300))));
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
    }
    for (int step = 0; step < 600; step++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        gr_square(gr_zeros(ctx, GR_F32, gr_shape(100)));
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
    }
    cr_expect_leq(live(), 300 * 1000, "%lld bytes", (long long)live());
}

Test(memory, a_loop_needs_the_allocator_in_its_first_step_alone)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F32, gr_shape(100)));
    gr_optimizer *adam = gr_adam(ctx, gr_list(p));
    int64_t calls = 0;
    for (int step = 0; step < 2000; step++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        cr_assert_eq(gr_backward(sum_of(gr_square(p))), GR_OK);
        cr_assert_eq(gr_step(adam), GR_OK);
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
        calls = step == 0 ? gr_memory(ctx).allocations : calls;
    }
    cr_expect_eq(gr_memory(ctx).allocations, calls);
}

/* ---- Keeping and freeing --------------------------------------------------------------------- */

Test(memory, keep_moves_what_the_scope_owns)
{
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *x = gr_full(ctx, GR_F32, gr_shape(1000), 7), *view = gr_slice(x, 0, 0, 10, 1);
    const void *at = gr_data(x);
    const int64_t before = live();
    gr_tensor *kept = gr_keep(gr_square(gr_full(ctx, GR_F32, gr_shape(1000), 3)));
    cr_expect_leq(live() - before, 3 * 4096, "operand and result, and no copy");
    gr_tensor *copied = gr_keep(x);
    cr_expect_neq(gr_data(copied), at, "a slice holds the buffer as well");
    (void)view;
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
    cr_expect_eq(gr_get(kept, gr_index(999)), 9);
    cr_expect_eq(gr_get(copied, gr_index(999)), 7);
    cr_expect_null(gr_data(x));
}

Test(memory, what_is_kept_through_scopes_stays)
{
    gr_tensor *kept = NULL;
    for (int step = 0; step < 300; step++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        gr_tensor *x = gr_full(ctx, GR_F64, gr_shape(50), step);
        if (step == 3)
            kept = gr_keep(x);
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
    }
    cr_expect_eq(gr_get(kept, gr_index(49)), 3);
}

Test(memory, models_and_optimisers_are_freed_before_their_context)
{
    int64_t first = 0;
    for (int round = 0; round < 600; round++) {
        gr_mlp *mlp = gr_mlp_new(ctx, GR_F32, GR_TANH, 3, (const int64_t[]){30, 40, 1});
        gr_optimizer *adam = gr_adam(ctx, gr_mlp_parameters(mlp));
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(5, 30));
        cr_assert_eq(gr_backward(sum_of(gr_mlp_forward(mlp, x))), GR_OK);
        cr_assert_eq(gr_step(adam), GR_OK);
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
        gr_optimizer_free(adam);
        gr_mlp_free(mlp);
        first = round <= 1 ? live() : first; /* headers wait for a scope to end */
    }
    cr_expect_leq(live(), first, "%lld and %lld bytes", (long long)first, (long long)live());
}

Test(memory, a_freed_parameter_is_noticed)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F32, gr_shape(3)));
    gr_tensor *q = gr_parameter(gr_ones(ctx, GR_F32, gr_shape(3)));
    gr_tensor *loss = sum_of(gr_mul(p, q));
    gr_parameter_free(p);
    cr_expect_eq(gr_backward(loss), GR_ERROR_GRADIENT);
    gr_error_clear(ctx);
    cr_expect(gr_failed(gr_square(p)));
    cr_expect_eq((int)gr_error(ctx), GR_ERROR_SCOPE);
    gr_error_clear(ctx);
}
