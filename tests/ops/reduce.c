/* reduce.c - tests of sum, mean and sum_to: bits of the values, axes, gradients, errors.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(reduce, .init = begin, .fini = end);

static gr_tensor *sum_along(gr_tensor *x, gr_dims axes, bool keepdim)
{
    return gr_sum_with(&(gr_reduce_args){.x = x, .axes = axes, .keepdim = keepdim});
}
static gr_tensor *mean_along(gr_tensor *x, gr_dims axes, bool keepdim)
{
    return gr_mean_with(&(gr_reduce_args){.x = x, .axes = axes, .keepdim = keepdim});
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* The definition: element r belongs to block r / 4096 and lane r % 16. A lane adds up the elements
   of each group of 256, and then the groups. Lanes and blocks are added in trees, in f64. */
static double defined_sum(const double *x, int64_t count)
{
    enum { BLOCK = 4096, GROUP = 256, LANES = 16, MOST = 512 };
    double blocks[MOST] = {0};
    int64_t n = (count + BLOCK - 1) / BLOCK;
    for (int64_t block = 0; block < n; block++) {
        double lanes[LANES] = {0};
        for (int64_t g = block * BLOCK; g < count && g < (block + 1) * BLOCK; g += GROUP) {
            double own[LANES] = {0};
            for (int64_t i = g; i < count && i < g + GROUP; i++)
                own[i % LANES] += x[i];
            for (int lane = 0; lane < LANES; lane++)
                lanes[lane] += own[lane];
        }
        for (int half = LANES / 2; half; half /= 2)
            for (int i = 0; i < half; i++)
                lanes[i] += lanes[i + half];
        blocks[block] = lanes[0];
    }
    for (; n > 1; n = (n + 1) / 2) {
        for (int64_t i = 0; 2 * i < n; i++)
            blocks[i] = 2 * i + 1 < n ? blocks[2 * i] + blocks[2 * i + 1] : blocks[2 * i];
    }
    return blocks[0];
}

static gr_tensor *defined_sum_of(gr_tensor *x)
{
    double *values = values_of(x);
    gr_tensor *sum = gr_full(ctx, gr_dtype_of(x), gr_shape(), defined_sum(values, gr_numel(x)));
    free(values);
    return sum;
}

Test(reduce, the_sum_is_the_defined_one)
{
    static const int64_t sizes[] = {0,    1,    2,    15,   16,   17,    31,    100,    1023,  1024,
                                    1025, 4095, 4096, 4097, 8192, 12289, 70001, 262144, 300007};
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
            gr_tensor *x = sample(ctx, dtype, gr_shape(sizes[i]), -1, 1.5);
            cr_expect(same_bits(sum_of(x), defined_sum_of(x)), "%s [%d]", gr_dtype_name(dtype),
                      (int)sizes[i]);
        }
    }
    expect_fine(ctx);
}

/* Along rows, across columns, and strided: each result element is the sum of its own elements. */
static void expect_columns(gr_tensor *x)
{
    gr_tensor *across = sum_along(x, gr_axes(0), false);
    gr_tensor *along = sum_along(gr_contiguous(gr_transpose(x)), gr_axes(-1), false);
    gr_tensor *turned = sum_along(gr_transpose(x), gr_axes(1), false);
    cr_expect(same_bits(across, along), "%s", gr_shape_text(x).text);
    cr_expect(same_bits(turned, along), "%s", gr_shape_text(x).text);
    for (int64_t column = 0; column < gr_size(x, 1); column += 1 + gr_size(x, 1) / 5) {
        gr_tensor *one = gr_slice(x, 1, column, column + 1, 1);
        gr_tensor *want = defined_sum_of(one), *got = gr_slice(across, 0, column, column + 1, 1);
        cr_expect(same_bits(gr_reshape(got, gr_shape()), want), "%s", gr_shape_text(x).text);
    }
}

Test(reduce, along_and_across_have_the_same_bits)
{
    static const int64_t shapes[][2] = {{5, 3},    {3, 4},    {17, 64},    {100, 65},
                                        {4097, 7}, {9000, 4}, {4096, 129}, {4101, 131},
                                        {1, 70},   {70, 1},   {2, 1000}};
    for (int i = 0; i < COUNT_OF(shapes); i++)
        for (int dtype = GR_F32; dtype <= GR_BF16; dtype++)
            expect_columns(sample(ctx, dtype, gr_shape(shapes[i][0], shapes[i][1]), -1, 1.5));
    expect_fine(ctx);
}

/* A reference for any axes. The index of an element without the reduced axes is the index of its
   sum. */
static void expect_axes(gr_tensor *x, gr_dims axes, unsigned reduced)
{
    double *in = values_of(x), want[64] = {0};
    int64_t count = 1;
    gr_dims kept = {0}, dropped = {0};
    for (int i = 0; i < gr_ndim(x); i++) {
        const bool gone = reduced >> i & 1;
        kept.at[kept.count++] = gone ? 1 : gr_sizes(x)[i];
        if (!gone)
            dropped.at[dropped.count++] = gr_sizes(x)[i];
        count *= gone ? gr_sizes(x)[i] : 1;
    }
    for (int64_t i = 0; i < gr_numel(x); i++) {
        int64_t rest = i, at = 0, scale = 1;
        for (int axis = gr_ndim(x) - 1; axis >= 0; axis--) {
            const int64_t index = rest % gr_sizes(x)[axis];
            rest /= gr_sizes(x)[axis];
            at += reduced >> axis & 1 ? 0 : index * scale;
            scale *= reduced >> axis & 1 ? 1 : gr_sizes(x)[axis];
        }
        want[at] += in[i];
    }
    gr_tensor *sum = sum_along(x, axes, false);
    expect_shape(sum, dropped);
    expect_shape(sum_along(x, axes, true), kept);
    expect_shape(mean_along(x, axes, true), kept);
    expect_values(sum, want, gr_dims_count(&dropped));
    expect_values(sum_along(x, axes, true), want, gr_dims_count(&dropped));
    for (int64_t i = 0; i < gr_dims_count(&dropped); i++)
        want[i] /= (double)count;
    expect_values(mean_along(x, axes, false), want, gr_dims_count(&dropped));
    free(in);
}

Test(reduce, any_axes)
{
    gr_tensor *x = gr_reshape(gr_arange(ctx, GR_F64, 60), gr_shape(3, 4, 5));
    for (int turned = 0; turned < 2; turned++) {
        expect_axes(x, gr_axes(), 7);
        expect_axes(x, gr_axes(0), 1);
        expect_axes(x, gr_axes(1), 2);
        expect_axes(x, gr_axes(-1), 4);
        expect_axes(x, gr_axes(0, 1), 3);
        expect_axes(x, gr_axes(2, 0), 5);
        expect_axes(x, gr_axes(-2, -1), 6);
        expect_axes(x, gr_axes(0, 1, 2), 7);
        x = gr_permute(x, gr_axes(2, 0, 1));
    }
    expect_fine(ctx);
}

Test(reduce, no_elements)
{
    gr_tensor *none = gr_zeros(ctx, GR_F32, gr_shape(0, 3));
    EXPECT_VALUES(sum_of(none), 0);
    EXPECT_VALUES(mean_along(none, gr_axes(), false), NAN);
    EXPECT_VALUES(sum_along(none, gr_axes(0), false), 0, 0, 0);
    EXPECT_VALUES(mean_along(none, gr_axes(0), false), NAN, NAN, NAN);
    expect_shape(sum_along(none, gr_axes(1), false), gr_shape(0));
    expect_shape(sum_along(none, gr_axes(1), true), gr_shape(0, 1));
    gr_tensor *x = gr_variable(none);
    expect_shape(gr_grad(sum_of(x), x), gr_shape(0, 3));
    expect_fine(ctx);
}

Test(reduce, one_element)
{
    gr_tensor *x = gr_full(ctx, GR_F32, gr_shape(), 2.5);
    EXPECT_VALUES(sum_of(x), 2.5);
    EXPECT_VALUES(mean_along(x, gr_axes(), true), 2.5);
    expect_shape(sum_along(x, gr_axes(), true), gr_shape());
    EXPECT_VALUES(sum_of(gr_scalar(ctx, 3)), 3);
}

Test(reduce, a_million_elements)
{
    enum { MILLION = 1000000 };
    gr_tensor *x = gr_full(ctx, GR_F32, gr_shape(MILLION), 0.1);
    const double tenth = (double)0.1f;
    cr_expect_eq(gr_item(sum_of(x)), (double)(float)(MILLION * tenth));
    cr_expect_eq(gr_item(mean_along(x, gr_axes(), false)), tenth);

    gr_tensor *y = gr_randn(ctx, GR_F64, gr_shape(MILLION));
    double *values = values_of(y);
    long double exact = 0, size = 0;
    for (int64_t i = 0; i < MILLION; i++) {
        exact += values[i];
        size += fabsl(values[i]);
    }
    free(values);
    /* The tree has a depth of about 29. The bound for a plain loop would be a million units. */
    cr_expect_leq(fabsl(gr_item(sum_of(y)) - exact), 1e-16L * 300 * size / 10);
    cr_expect_leq(fabsl(gr_item(sum_of(y)) - exact), 1e-11L);
}

Test(reduce, nan_and_infinity)
{
    gr_tensor *x =
        gr_from_data(ctx, GR_F32, gr_shape(2, 3), (float[]){1, INFINITY, 2, NAN, -INFINITY, 4});
    EXPECT_VALUES(sum_along(x, gr_axes(1), false), INFINITY, NAN);
    EXPECT_VALUES(sum_along(x, gr_axes(0), false), NAN, NAN, 6);
    /* f32 and f16 cannot hold the partial sums, but they can hold the final sum. */
    EXPECT_VALUES(sum_of(gr_from_data(ctx, GR_F32, gr_shape(3), (float[]){3e38f, 3e38f, -3e38f})),
                  (double)3e38f);
    EXPECT_VALUES(mean_along(gr_full(ctx, GR_F16, gr_shape(4096), 60000), gr_axes(), false), 60000);
    EXPECT_VALUES(sum_of(gr_full(ctx, GR_F16, gr_shape(2), 60000)), INFINITY);
}

/* ---- Gradients ------------------------------------------------------------------------------- */

typedef struct reduction {
    gr_tensor *(*along)(gr_tensor *, gr_dims, bool);
    gr_dims axes;
    bool keepdim;
    double factor; /* of a planted error; 1 means none */
} reduction;

static gr_tensor *apply_reduction(gr_tensors in, void *data)
{
    const reduction *r = data;
    gr_tensor *y = r->along(gr_square(in.at[0]), r->axes, r->keepdim),
              *factor = gr_scalar_like(y, r->factor);
    return gr_add(gr_mul(factor, y), gr_mul(gr_scalar_like(y, 1 - r->factor), gr_detach(y)));
}

Test(reduce, gradients)
{
    const gr_dims axes[] = {gr_axes(), gr_axes(0), gr_axes(-1), gr_axes(0, 2), gr_axes(1)};
    for (int i = 0; i < 4 * COUNT_OF(axes); i++) {
        reduction r = {i & 1 ? sum_along : mean_along, axes[i / 4], i & 2, 1};
        gr_tensor *x = sample(ctx, GR_F64, gr_shape(2, 3, 2), 0.5, 2);
        gr_gradcheck_report report;
        cr_expect_eq(gr_gradcheck(apply_reduction, &r, gr_list(x), .order = 2, .rtol = 1e-8,
                                  .report = &report),
                     GR_OK, "%d: %d of %d", i, (int)report.bad, (int)report.checked);
        r.factor = 1.001;
        cr_expect_eq(gr_gradcheck(apply_reduction, &r, gr_list(x)), GR_ERROR_GRADIENT);
    }
    expect_fine(ctx);
}

/* The mean divides by the exact number of elements, although f16 cannot represent this number. */
Test(reduce, mean_of_many_halves)
{
    gr_tensor *x = gr_variable(gr_ones(ctx, GR_F16, gr_shape(100000)));
    gr_tensor *g = gr_grad(mean_along(x, gr_axes(), false), x);
    const double want = gr_item(gr_cast(gr_full(ctx, GR_F64, gr_shape(), 1e-5), GR_F16));
    cr_expect_gt(want, 0);
    cr_expect_eq(gr_get(g, gr_index(77777)), want);
}

/* ---- sum_to ---------------------------------------------------------------------------------- */

Test(reduce, sum_to)
{
    gr_tensor *x = gr_reshape(gr_arange(ctx, GR_F64, 6), gr_shape(2, 3));
    EXPECT_VALUES(gr_sum_to(x, gr_shape(3)), 3, 5, 7);
    EXPECT_VALUES(gr_sum_to(x, gr_shape(2, 1)), 3, 12);
    expect_shape(gr_sum_to(x, gr_shape(2, 1)), gr_shape(2, 1));
    EXPECT_VALUES(gr_sum_to(x, gr_shape(1)), 15);
    EXPECT_VALUES(gr_sum_to(x, gr_shape()), 15);
    cr_expect_eq(gr_sum_to(x, gr_shape(2, 3)), x);
    expect_shape(gr_sum_to(gr_zeros(ctx, GR_F32, gr_shape(0, 3)), gr_shape(1, 3)), gr_shape(1, 3));
    expect_fine(ctx);
    cr_expect(gr_failed(gr_sum_to(x, gr_shape(4))));
    expect_error(ctx, GR_ERROR_BROADCAST, "sum_to: shape [4] does not broadcast to [2,3]");
    cr_expect(gr_failed(gr_sum_to(x, gr_shape(5, 2, 3))));
    expect_error(ctx, GR_ERROR_BROADCAST, "sum_to: shape [5,2,3] does not broadcast to [2,3]");
    cr_expect_eq(gr_error(gr_context_of(gr_sum_to(NULL, gr_shape()))), GR_ERROR_NULL);
}

static gr_tensor *apply_sum_to(gr_tensors in, void *data)
{
    return gr_sum_to(gr_square(in.at[0]), *(const gr_dims *)data);
}

Test(reduce, sum_to_gradients)
{
    gr_dims shapes[] = {gr_shape(3), gr_shape(2, 1), gr_shape(), gr_shape(1, 3), gr_shape(2, 3)};
    for (int i = 0; i < COUNT_OF(shapes); i++)
        cr_expect_eq(gr_gradcheck(apply_sum_to, &shapes[i],
                                  gr_list(sample(ctx, GR_F64, gr_shape(2, 3), 0.5, 2)), .order = 2),
                     GR_OK, "%d", i);
}

/* ---- Errors, memory, bits -------------------------------------------------------------------- */

Test(reduce, errors)
{
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2, 3));
    cr_expect_eq(gr_error(gr_context_of(sum_of(NULL))), GR_ERROR_NULL);
    cr_expect(gr_failed(sum_along(x, gr_axes(2), false)));
    expect_error(ctx, GR_ERROR_SHAPE, "sum: axis 2 of shape [2,3] does not exist");
    cr_expect(gr_failed(mean_along(x, gr_axes(-3), false)));
    expect_error(ctx, GR_ERROR_SHAPE, "mean: axis -3 of shape [2,3] does not exist");
    cr_expect(gr_failed(sum_along(x, gr_axes(1, -1), false)));
    expect_error(ctx, GR_ERROR_SHAPE, "sum: axis -1 of shape [2,3] is given twice");
    cr_expect(gr_failed(sum_along(x, gr_axes(0, 0, 0, 0, 0, 0, 0, 0, 0), false)));
    expect_error(ctx, GR_ERROR_SHAPE, "sum: more than 8 axes");
    cr_expect(gr_failed(mean_along(gr_ones(ctx, GR_I64, gr_shape(2)), gr_axes(), false)));
    expect_error(ctx, GR_ERROR_DTYPE, "mean: i64 [2] is no float");
    cr_expect_eq(gr_scope_begin(ctx), GR_OK);
    x = gr_ones(ctx, GR_F32, gr_shape(2));
    cr_expect_eq(gr_scope_end(ctx), GR_OK);
    cr_expect(gr_failed(sum_of(x)));
    expect_error(ctx, GR_ERROR_SCOPE, "sum: operand 0 belongs to a scope that has ended");
}

static uint64_t sums(gr_context *of, const void *data)
{
    (void)data;
    reseed(2);
    (void)!gr_scope_begin(of);
    gr_tensor *x = gr_variable(sample(of, GR_F64, gr_shape(200, 7), 0, 1));
    gr_tensor *y = sum_along(gr_square(x), gr_axes(1), false), *z = mean_along(y, gr_axes(), false);
    const uint64_t hash = hash_of(y) + 31 * hash_of(gr_grad(gr_square(z), x));
    return (void)!gr_scope_end(of), hash;
}

Test(reduce, memory) { expect_survives("sum and mean", sums, NULL); }

static void compare_bits(gr_context *other, const char *label, void *data)
{
    uint64_t hash = 0, *known = data;
    for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
        reseed(9);
        cr_assert_eq(gr_scope_begin(other), GR_OK);
        gr_tensor *x = sample(other, dtype, gr_shape(300, 773), -1, 1.5);
        hash = hash * 31 + hash_of(sum_of(x));
        hash = hash * 31 + hash_of(sum_along(x, gr_axes(0), false));
        hash = hash * 31 + hash_of(mean_along(x, gr_axes(1), false));
        hash = hash * 31 + hash_of(sum_of(gr_transpose(x)));
        cr_expect_eq(gr_scope_end(other), GR_OK);
    }
    *known = *known ? *known : hash;
    cr_expect_eq(hash, *known, "other bits with %s", label);
}

Test(reduce, same_bits)
{
    uint64_t known = 0;
    on_each_context(compare_bits, &known);
}

/* The roundings of equal elements do not add up: no chain of additions is long. */
Test(reduce, the_mean_of_a_million_equal_doubles_does_not_drift)
{
    enum { MANY = 1 << 20 };
    double worst = 0;
    for (int i = 0; i < 40; i++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        const double value = 0.01 + 0.0371 * i;
        gr_tensor *x = gr_full(ctx, GR_F64, gr_shape(MANY), value);
        gr_tensor *columns =
            gr_expand(gr_full(ctx, GR_F64, gr_shape(), value), gr_shape(MANY / 8, 8));
        gr_tensor *of_columns = gr_mean(gr_contiguous(columns), .axes = gr_axes(0));
        worst = fmax(worst, fabs(gr_item(gr_mean(x)) / value - 1));
        worst = fmax(worst, fabs(gr_get(of_columns, gr_index(3)) / value - 1));
        gr_tensor *one = gr_full(ctx, GR_F64, gr_shape(1), value),
                  *w = gr_full(ctx, GR_F64, gr_shape(MANY), 1.7);
        gr_tensor *single = gr_bce_with_logits(one, gr_ones_like(one));
        gr_tensor *many = gr_bce_with_logits(x, gr_ones_like(x), .weight = w);
        worst = fmax(worst, fabs(gr_item(many) / (1.7 * gr_item(single)) - 1));
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
    }
    cr_expect_leq(worst, 1e-15, "off by %g", worst);
}
