/* gradients.c - compares every loss with differences, to second order, in every float operand.
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"

TestSuite(gradients, .init = begin, .fini = end);

/* A spec whose operands are the checker's, in the order x, y, z, w. Only floats with a gradient are
   in it. */
typedef struct subject {
    spec s;
    bool in[4];
} subject;

static gr_tensor *run(gr_tensors inputs, void *data)
{
    const subject *subject_ = data;
    spec s = subject_->s;
    gr_tensor **places[] = {&s.x, &s.y, &s.z, &s.w};
    for (int i = 0, at = 0; i < 4; i++)
        if (subject_->in[i])
            *places[i] = inputs.at[at++];
    return call_loss(&s);
}

static void check(const spec *s, int variant)
{
    subject data = {.s = *s};
    gr_tensor *const operands[] = {s->x, s->y, s->z, s->w};
    gr_tensor *inputs[4];
    int64_t count = 0;
    const bool signs = strstr(s->loss, "embedding") != NULL;
    for (int i = 0; i < 4; i++) {
        data.in[i] = operands[i] && gr_dtype_of(operands[i]) == GR_F64 && !(signs && i == 1);
        if (data.in[i])
            inputs[count++] = operands[i];
    }
    gr_gradcheck_report report;
    gr_gradcheck_args args = gr_gradcheck_defaults();
    args.order = 2;
    args.report = &report;
    args.name = s->loss;
    const gr_status status = gr_gradcheck_with(run, &data, (gr_tensors){count, inputs}, &args);
    if (status != GR_OK)
        gr_gradcheck_print(&report, stderr);
    cr_expect_eq(status, GR_OK, "%s, variant %d: %s", s->loss, variant, gr_error_message(ctx));
    cr_expect_gt(report.checked, 4, "%s", s->loss);
    cr_expect_eq(report.unsure, 0, "%s, variant %d", s->loss, variant);
}

static void check_all(const char *loss)
{
    for (int variant = 0; variant < VARIANTS; variant++) {
        for (gr_reduction r = GR_MEAN; r <= GR_NONE; r++) {
            spec s = sample_of(ctx, loss, variant, gr_shape(2, 3));
            s.reduction = r;
            check(&s, variant);
        }
    }
}

#define GRADIENTS(name)                                                                            \
    Test(gradients, name) { check_all(#name); }
LOSSES(GRADIENTS)

Test(gradients, classes_along_the_middle_axis)
{
    for (int variant = 0; variant < VARIANTS; variant++) {
        const spec s = sample_of(ctx, "cross_entropy", variant, gr_shape(2, 3, 2));
        check(&s, variant);
    }
}

/* One variance for each sample, and one for all. Its gradient is the sum over the elements that
   share it. */
Test(gradients, a_variance_of_a_row_gets_the_sum)
{
    const gr_dims shapes[] = {gr_shape(2, 1), gr_shape(2), gr_shape()};
    for (int i = 0; i < 3; i++) {
        spec s = sample_of(ctx, "gaussian_nll", 1, gr_shape(2, 3));
        s.z = sample(ctx, GR_F64, shapes[i], 0.3, 2);
        check(&s, i);
    }
}

/* Below eps, the value is that of eps, but the gradient is that of the formula and not 0. */
Test(gradients, the_cut_of_a_variance_has_none)
{
    gr_tensor *x = gr_full(ctx, GR_F64, gr_shape(), 1), *y = gr_full(ctx, GR_F64, gr_shape(), 3);
    gr_tensor *v = gr_variable(gr_full(ctx, GR_F64, gr_shape(), 0.001));
    gr_tensor *loss = gr_gaussian_nll(x, y, v, .eps = 0.5);
    cr_expect_float_eq(gr_item(loss), 0.5 * (log(0.5) + 4 / 0.5), 1e-14);
    cr_expect_float_eq(gr_item(gr_grad(loss, v)), 0.5 * (1 / 0.5 - 4 / 0.25), 1e-13);
}

/* The defined gradients at a kink and at 0. */
Test(gradients, kinks_have_slope_0)
{
    gr_tensor *x = gr_variable(gr_full(ctx, GR_F64, gr_shape(2, 2), 1));
    gr_tensor *y = gr_full(ctx, GR_F64, gr_shape(2, 2), 1);
    EXPECT_VALUES(gr_grad(gr_l1(x, y), x), 0, 0, 0, 0);
    EXPECT_VALUES(gr_grad(gr_huber(x, y), x), 0, 0, 0, 0);
    EXPECT_VALUES(gr_grad(gr_hinge_embedding(x, gr_neg(y)), x), 0, 0, 0, 0);
    /* The distance to the positive, x - y + eps, is 0. It must not give 0/0. */
    gr_tensor *far = gr_full(ctx, GR_F64, gr_shape(2, 2), 100),
              *minus = gr_full(ctx, GR_F64, gr_shape(2, 2), 1.5);
    gr_tensor *g = gr_grad(gr_triplet_margin(x, minus, far, .eps = 0.5, .margin = 200), x);
    for (int i = 0; i < 4; i++)
        cr_expect_float_eq(gr_get(g, gr_index(i / 2, i % 2)), sqrt(0.5) / 2, 1e-12);
    /* At d = 0 the curvature is that of the parabola. */
    gr_tensor *slope = gr_grad(gr_smooth_l1(x, y, .reduction = GR_SUM), x);
    EXPECT_VALUES(gr_grad(gr_sum(slope), x), 1, 1, 1, 1);
}

/* 0 log 0 = 0, and a rate's target of 0 or 1 has no Stirling term, so no NaN reaches a gradient. */
Test(gradients, logarithms_of_0_stay_out)
{
    gr_tensor *x = gr_full(ctx, GR_F64, gr_shape(3), -1);
    gr_tensor *y = gr_variable(gr_from_data(ctx, GR_F64, gr_shape(3), (double[]){0, 1, 0.5}));
    gr_tensor *g = gr_grad(gr_kl_div(x, y, .reduction = GR_SUM), y);
    cr_expect_eq(gr_get(g, gr_index(0)), 1);
    cr_expect_eq(gr_get(g, gr_index(1)), 2);
    cr_expect_float_eq(gr_get(g, gr_index(2)), 2 + log(0.5), 1e-15);
    EXPECT_VALUES(gr_grad(gr_poisson_nll(x, y, .full = true, .reduction = GR_SUM), y), 1, 1, 1);
}

/* For an infinite distance the slope is delta. */
Test(gradients, an_infinite_distance_is_cut)
{
    gr_tensor *x =
        gr_variable(gr_from_data(ctx, GR_F64, gr_shape(2), (double[]){INFINITY, -1e200}));
    gr_tensor *y = gr_zeros(ctx, GR_F64, gr_shape(2));
    EXPECT_VALUES(gr_huber(x, y, .reduction = GR_NONE, .delta = 2), INFINITY, 2e200);
    EXPECT_VALUES(gr_grad(gr_huber(x, y, .reduction = GR_SUM, .delta = 2), x), 2, -2);
}
