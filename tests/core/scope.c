/* scope.c - tests of core/base/scope.c and core/base/memory.c: what is freed with a scope, what
 * stays, and that a training loop soon needs no more allocations.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(scope, .init = begin, .fini = end);

static void open_scope(void) { cr_assert_eq(gr_scope_begin(ctx), GR_OK); }
static void close_scope(void)
{
    cr_assert_eq(gr_scope_end(ctx), GR_OK, "%s", gr_error_message(ctx));
}

/* ---- What dies ------------------------------------------------------------------------------- */

Test(scope, nest)
{
    open_scope();
    gr_tensor *outer = gr_ones(ctx, GR_F32, gr_shape(2));
    open_scope();
    gr_tensor *inner = gr_add(outer, outer);
    close_scope();
    cr_expect_not(gr_failed(outer));
    cr_expect(gr_failed(inner));
    EXPECT_VALUES(outer, 1, 1);
    close_scope();
    cr_expect(gr_failed(outer));
    expect_fine(ctx);
}

Test(scope, dead_tensors_are_refused)
{
    double value;
    gr_tensor *g, *live = gr_variable(gr_ones(ctx, GR_F32, gr_shape()));
    open_scope();
    gr_tensor *dead = gr_exp(live);
    close_scope();
    cr_expect(isnan(gr_item(dead)));
    expect_error(ctx, GR_ERROR_SCOPE, "item: operand 0 belongs to a scope that has ended");
    cr_expect(isnan(gr_get(dead, gr_index())));
    expect_error(ctx, GR_ERROR_SCOPE, "get: operand 0 belongs to a scope that has ended");
    cr_expect_eq(gr_read(dead, GR_F64, 1, &value), GR_ERROR_SCOPE);
    expect_error(ctx, GR_ERROR_SCOPE, "read: operand 0 belongs to a scope that has ended");
    cr_expect_eq(gr_write(dead, GR_F64, 1, &value), GR_ERROR_SCOPE);
    expect_error(ctx, GR_ERROR_SCOPE, "write: operand 0 belongs to a scope that has ended");
    cr_expect_eq(gr_backward(dead), GR_ERROR_SCOPE);
    expect_error(ctx, GR_ERROR_SCOPE, "backward: operand 0 belongs to a scope that has ended");
    cr_expect(gr_failed(gr_grad(dead, live)));
    expect_error(ctx, GR_ERROR_SCOPE, "grad: operand 0 belongs to a scope that has ended");
    cr_expect_eq(gr_grad_with(gr_exp(live), gr_list(dead), &g, NULL), GR_ERROR_SCOPE);
    gr_error_clear(ctx);
    cr_expect(gr_failed(gr_keep(dead)));
    expect_error(ctx, GR_ERROR_SCOPE, "keep: operand 0 belongs to a scope that has ended");
    cr_expect(gr_failed(gr_parameter(dead)));
    expect_error(ctx, GR_ERROR_SCOPE, "parameter: operand 0 belongs to a scope that has ended");
    cr_expect(gr_failed(gr_detach(dead)));
    expect_error(ctx, GR_ERROR_SCOPE, "detach: operand 0 belongs to a scope that has ended");
    cr_expect(gr_failed(gr_zeros_like(dead)));
    expect_error(ctx, GR_ERROR_SCOPE, "zeros_like: operand 0 belongs to a scope that has ended");
}

/* The next scope must not use a header again for another tensor. */
Test(scope, dead_tensors_stay_dead_for_a_while)
{
    open_scope();
    gr_tensor *dead = gr_ones(ctx, GR_F32, gr_shape(2));
    close_scope();
    open_scope();
    for (int i = 0; i < 20; i++)
        gr_zeros(ctx, GR_F32, gr_shape(2));
    cr_expect(gr_failed(gr_exp(dead)));
    cr_expect_eq(gr_error(ctx), GR_ERROR_SCOPE);
    cr_expect_eq(gr_scope_end(ctx), GR_ERROR_SCOPE);
}

/* ---- For how long a dead tensor is noticed --------------------------------------------------- */

enum { ENDED_SCOPES = 254 };

/* Dead, and refused as such. */
static void expect_dead(gr_tensor *x, int after, const char *what)
{
    cr_assert(gr_failed(x) && !gr_data(x), "%s: alive again after %d scopes", what, after);
    cr_expect(gr_failed(gr_square(x)));
    cr_assert_eq(gr_error(ctx), GR_ERROR_SCOPE, "%s, after %d scopes", what, after);
    gr_error_clear(ctx);
}

/* Tensors of several scopes that ended one inside another, watched while scopes begin and end at
   any depth. */
Test(scope, dead_tensors_of_nested_scopes_stay_dead)
{
    enum { DEPTH = 5 };
    gr_tensor *dead[DEPTH];
    for (int i = 0; i < DEPTH; i++) {
        open_scope();
        dead[i] = gr_ones(ctx, GR_F32, gr_shape(2));
    }
    for (int i = 0; i < DEPTH; i++)
        close_scope();
    int ended = DEPTH - 1, depth = 0; /* since the innermost one ended */
    while (ended < ENDED_SCOPES) {
        const bool deeper = depth == 0 || (depth < DEPTH && draw_bits() % 2);
        if (deeper) {
            open_scope();
            for (int i = 0; i < 3; i++)
                gr_square(gr_zeros(ctx, GR_F32, gr_shape(2)));
        } else {
            close_scope();
            ended++;
        }
        depth += deeper ? 1 : -1;
        for (int i = 0; i < DEPTH; i++)
            expect_dead(dead[i], ended, "nested");
    }
    while (depth-- > 0)
        close_scope();
}

/* At each depth, while the tensors of 254 younger scopes live. */
Test(scope, dead_tensors_stay_dead_at_any_depth)
{
    for (int depth = 1; depth < 6; depth++) {
        for (int i = 0; i < depth; i++)
            open_scope();
        gr_tensor *dead = gr_ones(ctx, GR_F32, gr_shape(2));
        close_scope();
        for (int ended = 0; ended < ENDED_SCOPES; ended++) {
            open_scope();
            gr_tensor *young = gr_zeros(ctx, GR_F32, gr_shape(2));
            expect_dead(dead, ended, "one depth");
            cr_assert_neq(dead, young);
            close_scope();
        }
        for (int i = 1; i < depth; i++)
            close_scope();
    }
}

/* One that died in an inner scope while the outer one goes on, and calls that need scopes and
   tensors of their own. */
Test(scope, dead_tensors_stay_dead_through_sweeps)
{
    gr_tensor *v = gr_variable(gr_ones(ctx, GR_F32, gr_shape(2)));
    open_scope();
    open_scope();
    gr_tensor *dead = gr_square(v);
    close_scope();
    for (int ended = 0; ended < ENDED_SCOPES; ended++) {
        open_scope();
        gr_grad(sum_of(gr_sigmoid(v)), v);
        gr_keep(gr_softmax(v, 0));
        expect_dead(dead, ended, "sweeps");
        close_scope();
    }
    close_scope();
}

enum { WATCHED = 60 };

/* The sum of squares. Looks at tensors that died before the check. */
static gr_tensor *sum_of_squares(gr_tensors in, void *data)
{
    gr_tensor *y = sum_of(gr_square(in.at[0])), **dead = data;
    for (int i = 0; dead && i < WATCHED; i++)
        cr_assert(gr_failed(dead[i]), "tensor %d is alive again", i);
    return y;
}

/* A check ends more than 255 scopes. These do not count. dead[0] is freed before its scope ends,
   and the next end of a scope is one of the check. */
Test(scope, dead_tensors_stay_dead_through_checks)
{
    gr_tensor *x = gr_ones(ctx, GR_F64, gr_shape(50)), *dead[WATCHED];
    open_scope();
    for (int i = 1; i < WATCHED; i++)
        dead[i] = gr_ones(ctx, GR_F32, gr_shape(2));
    close_scope();
    open_scope();
    dead[0] = gr_ones(ctx, GR_F32, gr_shape(2));
    gr_tensor_free(dead[0]);
    const int64_t before = ctx->ended_scopes;
    cr_assert_eq(gr_gradcheck(sum_of_squares, dead, gr_list(x), .order = 2), GR_OK);
    cr_expect_gt(ctx->ended_scopes - before, 2 * 255);
    close_scope();
}

/* A Hessian ends a scope for each row. Around 255 rows, a handle would come back. */
Test(scope, dead_tensors_stay_dead_through_hessians)
{
    for (int64_t rows = 240; rows < 270; rows++) {
        gr_tensor *x = gr_ones(ctx, GR_F64, gr_shape(rows)), *dead[WATCHED];
        open_scope();
        for (int i = 0; i < WATCHED; i++)
            dead[i] = gr_zeros(ctx, GR_F32, gr_shape(2));
        close_scope();
        open_scope();
        cr_expect_not(gr_failed(gr_hessian(sum_of_squares, NULL, x)));
        close_scope();
        open_scope();
        for (int i = 0; i < WATCHED; i++)
            gr_zeros(ctx, GR_F32, gr_shape(2));
        for (int i = 0; i < WATCHED; i++)
            expect_dead(dead[i], (int)rows, "rows of a Hessian");
        close_scope();
    }
}

/* Calls that fail end no scope, whatever they had made. */
Test(scope, dead_tensors_stay_dead_through_failures)
{
    gr_tensor *x = gr_full(ctx, GR_F32, gr_shape(2), 7);
    for (int failures = 250; failures < 260; failures++) {
        open_scope();
        gr_tensor *dead = gr_ones(ctx, GR_F32, gr_shape(2));
        close_scope();
        open_scope();
        for (int i = 0; i < failures; i++) {
            cr_expect(gr_failed(gr_bce_with(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = x})));
            cr_expect_eq((int)gr_error(ctx), GR_ERROR_DOMAIN);
            gr_error_clear(ctx);
        }
        gr_tensor *young = gr_zeros(ctx, GR_F32, gr_shape(2));
        cr_expect(gr_failed(dead), "alive again after %d failures", failures);
        cr_expect_neq(dead, young);
        close_scope();
    }
}

Test(scope, ends_without_beginning)
{
    cr_expect_eq(gr_scope_end(ctx), GR_ERROR_SCOPE);
    expect_error(ctx, GR_ERROR_SCOPE, "scope_end: no scope is open");
    open_scope();
    close_scope();
    cr_expect_eq(gr_scope_end(ctx), GR_ERROR_SCOPE);
}

Test(scope, end_returns_the_first_error)
{
    open_scope();
    gr_zeros(ctx, GR_F32, gr_shape(-1));
    cr_expect_eq(gr_scope_end(ctx), GR_ERROR_SHAPE);
    cr_expect_eq(gr_scope_begin(ctx), GR_OK, "but it was ended");
    cr_expect_eq(gr_scope_end(ctx), GR_ERROR_SHAPE);
}

Test(scope, open_ones_are_freed_with_the_context)
{
    gr_context *other = new_context(NULL, 1);
    const int64_t before = heap.live;
    for (int i = 0; i < 5; i++) {
        cr_expect_eq(gr_scope_begin(other), GR_OK);
        gr_zeros(other, GR_F64, gr_shape(1000));
    }
    cr_expect_gt(heap.live, before);
    cr_expect_eq(gr_context_free(other), GR_OK);
}

/* ---- What stays ------------------------------------------------------------------------------ */

Test(scope, keep)
{
    open_scope();
    open_scope();
    gr_tensor *x = gr_reshape(gr_arange(ctx, GR_F32, 6), gr_shape(2, 3)),
              *turned = gr_keep(gr_transpose(x));
    gr_tensor *v = gr_keep(gr_exp(gr_variable(x))), *bits = gr_keep(gr_less(x, gr_scalar(ctx, 2)));
    close_scope();
    EXPECT_VALUES(turned, 0, 3, 1, 4, 2, 5);
    expect_shape(turned, gr_shape(3, 2));
    cr_expect(gr_is_contiguous(turned));
    cr_expect_not(gr_requires_grad(v));
    cr_expect_eq(gr_dtype_of(bits), GR_BOOL);
    gr_tensor *again = gr_keep(turned);
    close_scope();
    cr_expect(gr_failed(turned));
    EXPECT_VALUES(again, 0, 3, 1, 4, 2, 5);
    EXPECT_VALUES(gr_keep(again), 0, 3, 1, 4, 2, 5);
    cr_expect_neq(gr_keep(again), again);
    cr_expect_eq(gr_error(gr_context_of(gr_keep(NULL))), GR_ERROR_NULL);
    expect_fine(ctx);
}

/* An empty view with any strides, and a scalar that still adapts. */
Test(scope, keep_of_the_unusual)
{
    open_scope();
    gr_tensor *none = gr_keep(gr_transpose(gr_zeros(ctx, GR_F32, gr_shape(0, 3))));
    gr_tensor *scalar = gr_keep(gr_scalar(ctx, 2));
    close_scope();
    expect_shape(none, gr_shape(3, 0));
    cr_expect_eq(gr_dtype_of(gr_mul(scalar, gr_ones(ctx, GR_F16, gr_shape(2)))), GR_F16);
}

Test(scope, parameters_are_the_root_s)
{
    open_scope();
    gr_tensor *p = gr_parameter(gr_full(ctx, GR_F32, gr_shape(2), 3));
    close_scope();
    EXPECT_VALUES(p, 3, 3);
    cr_expect(gr_requires_grad(p));
}

/* ---- The tape and no_grad -------------------------------------------------------------------- */

Test(scope, end_cuts_the_tape)
{
    gr_tensor *x = gr_variable(gr_full(ctx, GR_F64, gr_shape(), 3)), *y = gr_square(x);
    const int64_t length = entries_kept();
    open_scope();
    gr_exp(gr_exp(y));
    cr_expect_eq(entries_kept(), length + 2);
    close_scope();
    cr_expect_eq(entries_kept(), length);
    cr_expect_eq(gr_item(gr_grad(y, x)), 6);
}

Test(scope, end_closes_no_grad)
{
    gr_tensor *x = gr_variable(gr_ones(ctx, GR_F32, gr_shape()));
    open_scope();
    gr_no_grad_begin(ctx);
    gr_no_grad_begin(ctx);
    cr_expect_not(gr_requires_grad(gr_exp(x)));
    close_scope();
    cr_expect(gr_requires_grad(gr_exp(x)));
    gr_no_grad_begin(ctx);
    open_scope();
    gr_no_grad_end(ctx);
    cr_expect_not(gr_requires_grad(gr_exp(x)), "the outer bracket is the outer scope's");
    close_scope();
    gr_no_grad_end(ctx);
    gr_no_grad_end(ctx);
    cr_expect(gr_requires_grad(gr_exp(x)));
    expect_fine(ctx);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* If a scope could not begin, its end must not end another scope. */
Test(scope, begin_without_memory)
{
    open_scope();
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2));
    int begun = 0;
    heap_fail(1, true);
    while (begun < 10000 && gr_scope_begin(ctx) == GR_OK)
        begun++;
    cr_expect_lt(begun, 10000, "scopes need memory");
    cr_expect_eq(gr_scope_begin(ctx), GR_ERROR_MEMORY);
    heap_fail(0, false);
    cr_expect_eq(gr_scope_end(ctx), GR_ERROR_MEMORY);
    cr_expect_eq(gr_scope_end(ctx), GR_ERROR_MEMORY);
    gr_error_clear(ctx);
    for (int i = 0; i < begun; i++)
        close_scope();
    cr_expect_not(gr_failed(x));
    close_scope();
    cr_expect(gr_failed(x));
}

/* Its gradients are those of the scope around it, and its end still ends no other. */
Test(scope, gradients_in_one_that_could_not_begin)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(2)));
    open_scope();
    gr_tensor *loss = sum_of(gr_square(p));
    heap_fail(1, true);
    int begun = 0;
    while (begun < 10000 && gr_scope_begin(ctx) == GR_OK)
        begun++;
    heap_fail(0, false);
    gr_error_clear(ctx);
    cr_expect_eq(gr_backward(loss), GR_OK, "%s", gr_error_message(ctx));
    gr_error_clear(ctx);
    for (int i = 0; i <= begun; i++)
        close_scope();
    cr_expect_not(gr_failed(loss));
    EXPECT_VALUES(gr_gradient(p), 2, 2);
    close_scope();
}

Test(scope, report_of_memory)
{
    gr_context *other = new_context(NULL, 1);
    const int64_t before = heap.live;
    const gr_memory_report start = gr_memory(other);
    cr_expect_gt(start.live_bytes, 0);
    cr_expect_eq(gr_scope_begin(other), GR_OK);
    for (int i = 0; i < 2000; i++)
        gr_zeros(other, GR_F32, gr_shape(100));
    cr_expect_eq(gr_scope_end(other), GR_OK);
    const gr_memory_report middle = gr_memory(other);
    cr_expect_eq(middle.live_bytes - start.live_bytes, heap.live - before);
    cr_expect_geq(middle.live_bytes, 2000 * 400);
    cr_expect_geq(middle.peak_bytes, middle.live_bytes);
    cr_expect_gt(middle.allocations, 2000);
    const int64_t calls = heap.calls;
    cr_expect_eq(gr_scope_begin(other), GR_OK);
    for (int i = 0; i < 2000; i++)
        gr_zeros(other, GR_F32, gr_shape(100));
    cr_expect_eq(gr_scope_end(other), GR_OK);
    cr_expect_eq(heap.calls, calls, "what was given back is used again");
    cr_expect_eq(gr_memory(other).allocations, middle.allocations);
    cr_expect_eq(gr_context_free(other), GR_OK);
}

/* Buffers of all sizes must not overlap, so each tensor keeps its own elements. */
Test(scope, buffers_do_not_overlap)
{
    enum { MANY = 300 };
    gr_tensor *all[MANY];
    for (int round = 0; round < 3; round++) {
        open_scope();
        for (int i = 0; i < MANY; i++)
            all[i] = gr_full(ctx, GR_F32, gr_shape(1 + i * 7 % 401), i);
        for (int i = 0; i < MANY; i++) {
            const float *values = gr_data(all[i]);
            cr_expect_eq((uintptr_t)values % 64, 0, "not aligned");
            for (int64_t j = 0; j < gr_numel(all[i]); j++)
                cr_assert_eq(values[j], i);
        }
        close_scope();
    }
}

Test(scope, too_much_memory)
{
    cr_expect(gr_failed(gr_zeros(ctx, GR_F64, gr_shape(INT64_C(1) << 55))));
    cr_expect_eq(gr_error(ctx), GR_ERROR_MEMORY);
    cr_expect_eq(strncmp(gr_error_message(ctx), "zeros: out of memory: ", 22), 0, "%s",
                 gr_error_message(ctx));
    gr_error_clear(ctx);
    cr_expect(gr_failed(gr_zeros(ctx, GR_F64, gr_shape(INT64_C(1) << 40, INT64_C(1) << 40))));
    expect_error(ctx, GR_ERROR_SHAPE,
                 "zeros: shape [1099511627776,1099511627776] has too many elements");
    expect_shape(gr_zeros(ctx, GR_F64, gr_shape(INT64_C(1) << 40, 0)),
                 gr_shape(INT64_C(1) << 40, 0));
}

/* ---- A training loop ------------------------------------------------------------------------- */

static void step(gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *b, gr_optimizer *optimizer)
{
    open_scope();
    gr_tensor *out = gr_add(gr_matmul(x, w), b);
    gr_tensor *loss = gr_bce_with_logits_with(out, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y});
    gr_tensor *norm = gr_mul(gr_scalar(ctx, 1e-3), sum_of(gr_square(gr_tanh(w))));
    cr_assert_eq(gr_backward(gr_add(loss, norm)), GR_OK, "%s", gr_error_message(ctx));
    cr_assert_eq(gr_step(optimizer), GR_OK);
    cr_assert(isfinite(gr_item(loss)));
    close_scope();
}

Test(scope, a_training_loop_allocates_in_its_first_step_only)
{
    gr_tensor *x = gr_randn(ctx, GR_F32, gr_shape(400, 30)),
              *y = gr_rand(ctx, GR_F32, gr_shape(400));
    gr_tensor *w = gr_parameter(gr_zeros(ctx, GR_F32, gr_shape(30)));
    gr_tensor *b = gr_parameter(gr_zeros(ctx, GR_F32, gr_shape()));
    gr_optimizer *adam = gr_adam(ctx, gr_list(w, b), .lr = 0.1);
    step(x, y, w, b, adam);
    const int64_t calls = heap.calls, live = heap.live;
    for (int i = 0; i < 20; i++)
        step(x, y, w, b, adam);
    cr_expect_eq(heap.calls, calls, "%d calls of the allocator in 20 steps",
                 (int)(heap.calls - calls));
    cr_expect_eq(heap.live, live);
}
