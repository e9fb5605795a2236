/* program.c - the cost of a sweep, and the entries that it visits: only the ancestors of the
 * result.
 *
 * Costs are counted in visited entries, not in time.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(program, .init = begin, .fini = end);

static int64_t visited(void) { return ctx->program.visited; }

/* Returns the number of entries that a backward of p squared visits. */
static int64_t cost_of_a_square(gr_tensor *p)
{
    const int64_t before = visited();
    cr_assert_eq(gr_backward(sum_of(gr_square(p))), GR_OK);
    return visited() - before;
}

Test(program, idle_parameters_cost_nothing)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F32, gr_shape(3)));
    const int64_t alone = cost_of_a_square(p);
    for (int i = 0; i < 2000; i++)
        gr_parameter(gr_ones(ctx, GR_F32, gr_shape(2)));
    cr_expect_eq(cost_of_a_square(p), alone);
    cr_expect_eq(alone, 2);
}

Test(program, earlier_losses_of_a_scope_cost_nothing)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F32, gr_shape(3)));
    int64_t first = 0, last = 0;
    for (int i = 0; i < 3000; i++) {
        last = cost_of_a_square(p);
        first = i == 0 ? last : first;
    }
    cr_expect_eq(first, last);
}

/* A gradient with respect to a new variable visits no entries older than the variable. */
Test(program, nested_gradients_on_fresh_variables_are_linear)
{
    gr_tensor *z = gr_variable(gr_ones(ctx, GR_F64, gr_shape(2)));
    int64_t early = 0, late = 0;
    for (int turn = 0; turn < 2000; turn++) {
        gr_tensor *v = gr_variable(gr_ones(ctx, GR_F64, gr_shape(2)));
        gr_tensor *y = gr_mul(gr_sum(gr_square(v)), gr_sum(z));
        const int64_t before = visited();
        z = gr_add(z, gr_mul(gr_scalar(ctx, 1e-9), gr_grad(y, v)));
        late = visited() - before;
        early = turn == 10 ? late : early;
    }
    expect_fine(ctx);
    cr_expect_eq(early, late);
    cr_expect_leq(late, 4);
}

/* ---- Order and shape of the graph ------------------------------------------------------------ */

/* A recursive sweep over this chain would overflow the stack. */
Test(program, deep_chains_do_not_recurse)
{
    gr_tensor *v = gr_variable(gr_ones(ctx, GR_F64, gr_shape())), *x = v;
    for (int i = 0; i < 300000; i++)
        x = gr_neg(x);
    EXPECT_VALUES(gr_grad(x, v), 1);
}

/* Each entry is visited once, even if many paths lead to it. Here there are 2^60 paths. */
Test(program, diamonds_are_met_once)
{
    gr_tensor *v = gr_variable(gr_ones(ctx, GR_F64, gr_shape())), *x = v;
    for (int i = 0; i < 60; i++)
        x = gr_add(x, x);
    const int64_t before = visited();
    cr_expect_eq(gr_item(gr_grad(x, v)), 0x1p60);
    cr_expect_eq(visited() - before, 60);
}

/* Wide graphs, with the operands in every order. */
Test(program, wide_sums_in_any_order)
{
    enum { COUNT = 500 };
    gr_tensor *v = gr_variable(gr_ones(ctx, GR_F64, gr_shape())), *leaves[COUNT];
    for (int i = 0; i < COUNT; i++)
        leaves[i] = gr_mul(v, gr_scalar(ctx, i));
    for (int order = 0; order < 3; order++) {
        gr_tensor *sum = gr_scalar_like(v, 0);
        for (int i = 0; i < COUNT; i++)
            sum = gr_add(sum, leaves[order == 0 ? i : order == 1 ? COUNT - 1 - i : i * 7 % COUNT]);
        cr_expect_eq(gr_item(gr_grad(sum, v)), COUNT * (COUNT - 1) / 2.0, "order %d", order);
    }
}

/* An input that is itself a result, together with an input that it depends on. */
Test(program, intermediate_inputs)
{
    gr_tensor *v = gr_variable(gr_full(ctx, GR_F64, gr_shape(2), 3)), *u = gr_square(v);
    gr_tensor *y = gr_sum(gr_mul(u, v)), *gradients[3];
    for (int record = 0; record < 2; record++) {
        cr_assert_eq(
            gr_grad_with(y, gr_list(u, v, y), gradients, &(gr_grad_args){.record = record}), GR_OK);
        EXPECT_VALUES(gradients[0], 3, 3);
        EXPECT_VALUES(gradients[1], 27, 27);
        EXPECT_VALUES(gradients[2], 1);
    }
}

/* ---- Attributes ------------------------------------------------------------------------------ */

/* An entry keeps a copy of its attributes. Later changes by the caller have no effect. */
Test(program, attributes_are_copied)
{
    gr_tensor *v = gr_variable(gr_full(ctx, GR_F64, gr_shape(3), 2));
    gr_tensor *y = gr_sum(gr_pow(v, 3));
    EXPECT_VALUES(gr_grad(y, v), 12, 12, 12);
}

/* Equal calls on other values have equal attributes: attributes do not depend on data. */
Test(program, attributes_do_not_depend_on_data)
{
    gr_entry *entries[2][256];
    int count[2] = {0, 0};
    for (int round = 0; round < 2; round++) {
        gr_tensor *x = sample(ctx, GR_F64, gr_shape(4, 3), 0.1, 0.9);
        const int64_t classes[2][4] = {{0, 1, 2, 0}, {2, -100, 1, 1}};
        gr_tensor *target = gr_from_data(ctx, GR_I64, gr_shape(4), classes[round]);
        gr_tensor *mask = gr_greater(x, gr_scalar(ctx, 0.5));
        const gr_entry *until = ctx->program.last;
        ctx->program.keep_all = true;
        gr_cross_entropy(gr_mul(x, x), target, .label_smoothing = 0.1);
        gr_nll(x, target);
        gr_bce_with_logits(x, x, .mask = mask, .denominator = GR_KEPT, .weight = x);
        gr_mean(x, .axes = gr_axes(1));
        gr_gaussian_nll(x, x, x);
        ctx->program.keep_all = false;
        for (gr_entry *entry = ctx->program.last; entry != until; entry = entry->previous) {
            cr_assert_lt(count[round], 256);
            entries[round][count[round]++] = entry;
        }
    }
    expect_fine(ctx);
    cr_assert_eq(count[0], count[1]);
    for (int i = 0; i < count[0]; i++) {
        const gr_node *a = &entries[0][i]->node, *b = &entries[1][i]->node;
        cr_assert_eq(a->op, b->op, "%s, %s", a->op->name, b->op->name);
        cr_assert_eq(!a->attributes, !b->attributes, "%s", a->op->name);
        if (a->attributes)
            cr_expect_arr_eq(a->attributes, b->attributes, a->op->attributes_size, "%s",
                             a->op->name);
    }
}

/* ---- In place -------------------------------------------------------------------------------- */

/* An optimiser's step consists of entries. If they run again on the same values, they write the
   same bits. */
Test(program, a_step_runs_again)
{
    gr_tensor *p = gr_parameter(sample(ctx, GR_F32, gr_shape(300), -1, 1));
    gr_optimizer *adam = gr_adam(ctx, gr_list(p), .weight_decay = 0.1);
    for (int step = 0; step < 2; step++) {
        cr_assert_eq(gr_backward(sum_of(gr_square(p))), GR_OK);
        ctx->program.keep_all = step == 1;
        gr_tensor *before = step == 1 ? gr_contiguous(gr_mul(p, gr_scalar(ctx, 1))) : NULL;
        gr_tensors state = gr_optimizer_state(adam);
        gr_tensor *old[8];
        gr_tensor *gradient = gr_mul(gr_gradient(p), gr_scalar(ctx, 1));
        for (int i = 0; i < state.count; i++)
            old[i] = gr_from_data(ctx, gr_dtype_of(state.at[i]), gr_shape_of(state.at[i]),
                                  gr_data(state.at[i]));
        const gr_entry *until = ctx->program.last;
        cr_assert_eq(gr_step(adam), GR_OK);
        ctx->program.keep_all = false;
        if (step == 0)
            continue;
        const uint64_t after = hash_of(p);
        gr_entry *entries[8];
        int count = 0;
        for (gr_entry *entry = ctx->program.last; entry != until; entry = entry->previous)
            entries[count++] = entry;
        cr_assert_geq(count, 2, "the parameter's step and the count of steps");
        memcpy(gr_bytes(p), gr_data(before), 300 * sizeof(float));
        memcpy(gr_bytes(gr_gradient(p)), gr_data(gradient), 300 * sizeof(float));
        for (int i = 0; i < state.count; i++)
            memcpy(gr_bytes(state.at[i]), gr_data(old[i]),
                   (size_t)(gr_numel(old[i]) * gr_dtype_size(gr_dtype_of(old[i]))));
        while (count > 0)
            cr_expect_eq(gr_rerun(entries[--count]), GR_OK);
        cr_expect_eq(hash_of(p), after);
        cr_expect_eq(gr_optimizer_steps(adam), 2);
    }
}
