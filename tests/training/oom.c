/* oom.c - makes each allocation of a whole training run fail in turn, once or from then on. There
 * must be the error MEMORY, no leak and no incomplete change. The same call must work again with
 * memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/heap.h"
#include "tests/training/curve.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* ---- An allocator that fails ----------------------------------------------------------------- */

static void heap_fails_at(int64_t call, bool lasting)
{
    memset(&heap, 0, sizeof heap);
    heap.fail_at = call;
    heap.lasting = lasting;
}

/* ---- A training run in pieces ---------------------------------------------------------------- */

/* Each part draws at most once from the random state, so that a repeated part draws the same
   numbers. */
typedef struct run {
    gr_context *ctx;
    gr_tensor *x, *noise, *y, *drawn;
    gr_mlp *mlp;
    gr_optimizer *adam;
    double loss;
} run;

static const curve_problem *const problem = &curve_tall;

static gr_status make_x(run *r)
{
    r->x = gr_randn(r->ctx, GR_F32, gr_shape(problem->rows, CURVE_INPUTS));
    return gr_error(r->ctx);
}

static gr_status make_noise(run *r)
{
    r->noise = gr_rand(r->ctx, GR_F32, gr_shape(problem->rows, problem->sizes[problem->count - 1]));
    return gr_error(r->ctx);
}

static gr_status make_y(run *r)
{
    r->y = gr_cast(gr_less(r->noise, gr_scalar(r->ctx, 0.3)), GR_F32);
    return gr_error(r->ctx);
}

static gr_status make_model(run *r)
{
    r->mlp = gr_mlp_new(r->ctx, GR_F32, GR_RELU, problem->count, problem->sizes);
    return gr_error(r->ctx);
}

static gr_status make_optimizer(run *r)
{
    r->adam = gr_adam(r->ctx, gr_mlp_parameters(r->mlp));
    return gr_error(r->ctx);
}

static gr_status step(run *r) { return curve_step(r->mlp, r->x, r->y, r->adam, &r->loss); }

static gr_status draw(run *r)
{
    r->drawn = gr_rand(r->ctx, GR_F32, gr_shape(100));
    return gr_error(r->ctx);
}

typedef gr_status piece(run *r);
static piece *const pieces[] = {make_x, make_noise, make_y, make_model, make_optimizer,
                                step,   draw,       step,   step,       draw};
enum { PIECES = sizeof pieces / sizeof *pieces };

static gr_context *new_context(void)
{
    return gr_context_new(
        &(gr_context_options){.allocator = &heap_allocator, .seed = 23, .threads = 2});
}

/* Hashes all bits that a failed call must not change. */
static uint64_t bits_of(const run *r)
{
    uint64_t hash = fnv_start;
    if (r->x && !gr_failed(r->x))
        hash = fnv_tensor(hash, r->x);
    if (r->y && !gr_failed(r->y))
        hash = fnv_tensor(hash, r->y);
    if (r->drawn && !gr_failed(r->drawn))
        hash = fnv_tensor(hash, r->drawn);
    if (r->adam) {
        hash = fnv_tensors(hash, gr_mlp_parameters(r->mlp));
        hash = fnv_tensors(hash, gr_optimizer_state(r->adam));
        hash = fnv(hash, &r->loss, sizeof r->loss);
    }
    return hash;
}

/* Gives the memory back and clears the error. */
static void recover(gr_context *ctx, int which)
{
    cr_expect_eq(gr_error(ctx), GR_ERROR_MEMORY, "piece %d: %s", which,
                 gr_status_name(gr_error(ctx)));
    cr_expect_neq(gr_error_message(ctx)[0], '\0', "piece %d: an error without words", which);
    heap.fail_at = 0;
    gr_error_clear(ctx);
    cr_expect_eq(gr_error(ctx), GR_OK);
}

static void run_piece(run *r, int which)
{
    run before = *r;
    const uint64_t bits = bits_of(r);
    if (pieces[which](r) == GR_OK)
        return;
    recover(r->ctx, which);
    *r = (run){before.ctx,   before.x,   before.noise, before.y,
               before.drawn, before.mlp, before.adam,  before.loss};
    cr_expect_eq(bits_of(r), bits, "allocation %lld: piece %d left something behind",
                 (long long)heap.calls, which);
    cr_assert_eq(pieces[which](r), GR_OK, "piece %d, repeated: %s", which,
                 gr_error_message(r->ctx));
}

/* Makes a context. If there is no memory, checks the error, checks for leaks and tries again. */
static gr_context *context_at_last(void)
{
    gr_context *ctx = new_context();
    if (gr_error(ctx) == GR_OK)
        return ctx;
    cr_expect_eq(gr_error(ctx), GR_ERROR_MEMORY);
    cr_expect_neq(gr_error_message(ctx)[0], '\0');
    cr_expect_eq(gr_context_free(ctx), GR_ERROR_MEMORY);
    cr_expect_eq(heap.live, 0, "%lld bytes of a context that was not made", (long long)heap.live);
    heap.fail_at = 0;
    return new_context();
}

/* Runs the whole training. Returns a hash of its bits at the end. */
static uint64_t run_all(void)
{
    run r = {.ctx = context_at_last()};
    for (int i = 0; i < PIECES; i++)
        run_piece(&r, i);
    const uint64_t bits = bits_of(&r);
    cr_expect_eq(gr_context_free(r.ctx), GR_OK);
    cr_expect_eq(heap.live, 0, "%lld bytes are lost", (long long)heap.live);
    return bits;
}

static void fail_each_in_turn(bool lasting)
{
    heap_fails_at(0, lasting);
    const uint64_t expected = run_all();
    const int64_t allocations = heap.calls;
    cr_assert_gt(allocations, 30, "%lld allocations are no training run", (long long)allocations);
    for (int64_t i = 1; i <= allocations; i++) {
        heap_fails_at(i, lasting);
        cr_expect_eq(run_all(), expected, "after allocation %lld failed: other bits", (long long)i);
        cr_expect_eq(heap.fail_at, 0, "allocation %lld did not fail", (long long)i);
    }
}

TestSuite(oom, .timeout = 600);

Test(oom, each_allocation_fails_once) { fail_each_in_turn(false); }
Test(oom, each_allocation_fails_for_good) { fail_each_in_turn(true); }

/* Less and less memory, down to none. There must be no effect other than the error. */
Test(oom, steps_without_any_memory_move_nothing)
{
    heap_fails_at(0, true);
    run r = {.ctx = context_at_last()};
    for (int i = 0; i < 5; i++)
        run_piece(&r, i);
    const uint64_t bits = bits_of(&r);
    heap_fails_at(1, true);
    const gr_memory_report held = gr_memory(r.ctx);
    heap.live = held.live_bytes;
    for (int i = 0; i < 10; i++) {
        cr_expect_eq(step(&r), GR_ERROR_MEMORY);
        cr_expect_eq(bits_of(&r), bits);
        gr_error_clear(r.ctx);
    }
    cr_expect_eq(gr_optimizer_steps(r.adam), 0);
    heap.fail_at = 0;
    cr_expect_eq(step(&r), GR_OK);
    cr_expect_eq(gr_context_free(r.ctx), GR_OK);
    cr_expect_eq(heap.live, 0);
}

/* A second step takes all its memory from the first step. */
Test(oom, second_step_allocates_nothing)
{
    heap_fails_at(0, false);
    run r = {.ctx = context_at_last()};
    for (int i = 0; i < 5; i++)
        run_piece(&r, i);
    cr_assert_eq(step(&r), GR_OK);
    const int64_t calls = heap.calls;
    for (int i = 2; i <= 10; i++) {
        cr_assert_eq(step(&r), GR_OK);
        cr_expect_eq(heap.calls, calls, "step %d: %lld allocations", i,
                     (long long)(heap.calls - calls));
    }
    cr_expect_eq(gr_memory(r.ctx).allocations, calls);
    cr_expect_eq(gr_context_free(r.ctx), GR_OK);
}
