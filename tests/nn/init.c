/* init.c - tests of nn/init.c: moments, bounds, errors, and that failures do not change the random
 * state.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

TestSuite(init, .init = begin, .fini = end);

static const gr_dtype floats[] = {GR_F32, GR_F64, GR_F16, GR_BF16};

typedef struct moments {
    double mean, variance, fourth, least, most;
} moments;

static moments moments_of(gr_tensor *x)
{
    const int64_t n = gr_numel(x);
    double *data = malloc((size_t)n * sizeof *data);
    cr_assert_eq(gr_read(x, GR_F64, n, data), GR_OK);
    moments m = {.least = data[0], .most = data[0]};
    for (int64_t i = 0; i < n; i++) {
        m.mean += data[i] / (double)n;
        m.variance += data[i] * data[i] / (double)n;
        m.fourth += pow(data[i], 4) / (double)n;
        m.least = fmin(m.least, data[i]);
        m.most = fmax(m.most, data[i]);
    }
    free(data);
    return m;
}

/* The tolerance is five standard errors of 60000 samples. */
static void expect_moments(moments m, double variance, double kurtosis)
{
    const double n = 60000;
    cr_expect_float_eq(m.mean, 0, 5 * sqrt(variance / n));
    cr_expect_float_eq(m.variance / variance, 1, 5 * sqrt((kurtosis - 1) / n));
    cr_expect_float_eq(m.fourth / (variance * variance), kurtosis, 0.15);
}

Test(init, kaiming_is_normal_with_variance_two_over_in)
{
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        gr_tensor *x = gr_kaiming(ctx, floats[i], 200, 300);
        cr_assert_eq(gr_ndim(x), 2);
        cr_expect_eq(gr_size(x, 0), 200);
        cr_expect_eq(gr_size(x, 1), 300);
        cr_expect_eq(gr_dtype_of(x), floats[i]);
        cr_expect(!gr_requires_grad(x));
        expect_moments(moments_of(x), 2.0 / 300, 3);
    }
}

Test(init, xavier_is_uniform_within_its_bound)
{
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        gr_tensor *x = gr_xavier(ctx, floats[i], 200, 300);
        const double bound = sqrt(6.0 / 500);
        const moments m = moments_of(x);
        cr_expect_eq(gr_size(x, 0), 200);
        cr_expect_eq(gr_size(x, 1), 300);
        expect_moments(m, bound * bound / 3, 1.8);
        cr_expect_geq(m.least, -bound * 1.005);
        cr_expect_leq(m.most, bound * 1.005);
        cr_expect_lt(m.least, -bound * 0.99);
        cr_expect_gt(m.most, bound * 0.99);
    }
}

Test(init, the_seed_decides)
{
    gr_context *twin = new_context(7), *other = new_context(8);
    gr_tensor *x = gr_kaiming(ctx, GR_F32, 3, 5);
    cr_expect(same_bits(x, gr_data(gr_kaiming(twin, GR_F32, 3, 5))));
    cr_expect_not(same_bits(x, gr_data(gr_kaiming(other, GR_F32, 3, 5))));
    cr_expect_not(same_bits(x, gr_data(gr_kaiming(ctx, GR_F32, 3, 5))),
                  "the second call draws anew");
    cr_expect_eq(gr_context_free(twin), GR_OK);
    cr_expect_eq(gr_context_free(other), GR_OK);
}

Test(init, sizes_below_one_and_other_dtypes_are_refused)
{
    cr_expect(gr_failed(gr_kaiming(ctx, GR_F32, 0, 5)));
    expect_error(GR_ERROR_SHAPE, "kaiming: sizes must be at least 1, not 0 and 5");
    cr_expect(gr_failed(gr_xavier(ctx, GR_F32, 3, -1)));
    expect_error(GR_ERROR_SHAPE, "xavier: sizes must be at least 1, not 3 and -1");
    cr_expect(gr_failed(gr_kaiming(ctx, GR_I32, 3, 5)));
    expect_error(GR_ERROR_DTYPE, "kaiming: weights are floats, not i32");
    cr_expect(gr_failed(gr_xavier(ctx, (gr_dtype)99, 3, 5)));
    expect_error(GR_ERROR_DTYPE, "xavier: weights are floats, not unknown");
    cr_expect(gr_failed(gr_kaiming(NULL, GR_F32, 3, 5)));
    cr_expect(gr_failed(gr_xavier(NULL, GR_F32, 3, 5)));
}

/* After any failure, the next call draws the same numbers as without the failure. */
static void expect_first_draw(void)
{
    gr_context *twin = new_context(7);
    cr_expect(same_bits(gr_xavier(ctx, GR_F64, 3, 5), gr_data(gr_xavier(twin, GR_F64, 3, 5))));
    cr_expect_eq(gr_context_free(twin), GR_OK);
}

Test(init, a_refusal_does_not_count_as_a_draw)
{
    cr_expect(gr_failed(gr_kaiming(ctx, GR_F32, 0, 5)));
    gr_error_clear(ctx);
    cr_expect(gr_failed(gr_xavier(ctx, GR_U8, 2, 5)));
    gr_error_clear(ctx);
    expect_first_draw();
}

typedef gr_tensor *initialiser(gr_context *, gr_dtype, int64_t, int64_t);

/* Each allocation fails once. There must be more than one, and none may change the random state. */
static void fail_each_allocation(initialiser *make)
{
    int failures = 0;
    for (int64_t n = 1;; n++) {
        cr_assert_eq(gr_context_free(ctx), GR_OK);
        ctx = new_context(7);
        heap_fail(n, false);
        gr_tensor *x = make(ctx, GR_F64, 100, 50);
        heap.fail_at = 0;
        if (!gr_failed(x))
            break;
        failures++;
        cr_expect_eq(gr_error(ctx), GR_ERROR_MEMORY);
        gr_error_clear(ctx);
        expect_first_draw();
    }
    cr_expect_geq(failures, 2);
}

Test(init, a_failed_allocation_does_not_count_as_a_draw)
{
    fail_each_allocation(gr_kaiming);
    fail_each_allocation(gr_xavier);
}
