/* regressions.c - former faults of ops and losses. Each test failed before the fault was fixed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(regressions, .init = begin, .fini = end);

/* The strides of a shape without elements overflowed. */
Test(regressions, an_empty_tensor_does_not_take_a_shape_without_strides)
{
    const int64_t huge = INT64_MAX / 2;
    gr_reshape(gr_zeros(ctx, GR_F32, gr_shape(0)), gr_shape(0, huge, huge));
    cr_expect_eq((int)gr_error(ctx), GR_ERROR_SHAPE);
    gr_error_clear(ctx);
}

/* Checks d loss / d logits with both rules: not recorded as in backward, and recorded. */
static void expect_both(gr_tensor *loss, gr_tensor *x, double want, double tolerance)
{
    gr_tensor *plain;
    cr_assert_eq((int)gr_grad_with(loss, (gr_tensors){1, &x}, &plain, NULL), GR_OK);
    gr_tensor *both[] = {plain, gr_grad(loss, x)};
    for (int i = 0; i < 2; i++) {
        const double got = gr_get(both[i], gr_index(0));
        cr_expect(fabs(got - want) <= tolerance * fabs(want), "%s: %g, not %g",
                  i ? "recorded" : "plain", got, want);
    }
}

/* If no element is kept, the mean is NaN. The gradients of dropped elements were 0 * inf. */
Test(regressions, masked_elements_have_gradient_0_whatever_the_denominator)
{
    gr_tensor *x = gr_variable(gr_ones(ctx, GR_F32, gr_shape(3)));
    gr_tensor *mask = gr_zeros(ctx, GR_BOOL, gr_shape(3)), *y = gr_ones(ctx, GR_F32, gr_shape(3));
    for (int denominator = GR_ALL; denominator <= GR_WEIGHTS; denominator++)
        expect_both(
            gr_bce_with_logits_with(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .mask = mask,
                                                      .denominator = (gr_denominator)denominator}),
            x, 0, 0);
}

/* In the recorded rule, the number of kept elements overflowed f16. */
Test(regressions, halves_count_beyond_their_range)
{
    gr_tensor *x = gr_variable(gr_zeros(ctx, GR_F16, gr_shape(70000)));
    gr_tensor *y = gr_ones(ctx, GR_F16, gr_shape(70000));
    const gr_bce_args args = {GR_BCE_DEFAULTS, .target = y, .denominator = GR_KEPT};
    expect_both(gr_bce_with_logits_with(x, &args), x, -0.5 / 70000, 0.01);
}

/* In the recorded rule, m^(gamma-1) at m = 0 and an infinite loss were multiplied by zeros. */
Test(regressions, focal_slopes_have_their_limits)
{
    for (int i = 0; i < 2; i++) {
        const double logit = i ? 800 : -INFINITY;
        gr_tensor *x = gr_variable(gr_full(ctx, GR_F32, gr_shape(1), logit));
        gr_tensor *y = gr_ones(ctx, GR_F32, gr_shape(1));
        const gr_bce_args args = {GR_BCE_DEFAULTS, .target = y, .gamma = 0.5};
        expect_both(gr_bce_with_logits_with(x, &args), x, i ? 0 : -1, 1e-6);
    }
}

/* The slope of a clamped logarithm was 0/0 at 0. */
Test(regressions, probabilities_of_0_and_1_have_finite_mixed_slopes)
{
    for (int one = 0; one < 2; one++) {
        gr_tensor *x = gr_variable(gr_full(ctx, GR_F64, gr_shape(1), one));
        gr_tensor *y = gr_variable(gr_full(ctx, GR_F64, gr_shape(1), 0.5));
        gr_tensor *slope = gr_grad(gr_bce_with(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y}), y);
        cr_expect(isfinite(gr_item(gr_grad(slope, x))));
    }
}

/* Where the condition is 0, the gradient of what stands behind gr_sqrt was 0 times infinity. */
Test(regressions, a_masked_sqrt_has_a_gradient)
{
    gr_tensor *x = gr_variable(gr_from_data(ctx, GR_F64, gr_shape(3), (double[]){-1, 0, 4}));
    gr_tensor *m = gr_greater(x, gr_scalar(ctx, 0)), *one = gr_scalar_like(x, 1);
    gr_tensor *y = gr_where(m, gr_sqrt(gr_where(m, x, one)), x), *plain;
    cr_assert_eq((int)gr_grad_with(y, (gr_tensors){1, &x}, &plain, NULL), GR_OK);
    EXPECT_VALUES(plain, 1, 1, 0.25);
    EXPECT_VALUES(gr_grad(sum_of(y), x), 1, 1, 0.25);
    /* The form that the header of gr_where warns of. */
    gr_tensor *bad = gr_grad(sum_of(gr_where(m, gr_sqrt(x), x)), x);
    cr_expect(isnan(gr_get(bad, gr_index(0))));
    cr_expect_eq(gr_get(bad, gr_index(2)), 0.25);
}
