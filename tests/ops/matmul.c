/* matmul.c - tests of the matrix product: compares every bit with chains of fused multiply-adds.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(matmul, .init = begin, .fini = end);

/* ---- Values ---------------------------------------------------------------------------------- */

/* Computes the chain in f32 (also for halves) or f64, and rounds to the dtype: [m,k] [k,n], any
   strides. */
static gr_tensor *chains(gr_tensor *a, gr_tensor *b)
{
    const int64_t m = gr_sizes(a)[0], k = gr_sizes(a)[1], n = gr_sizes(b)[1];
    double *left = values_of(a), *right = values_of(b);
    gr_tensor *c = gr_zeros(gr_context_of(a), gr_dtype_of(a), gr_shape(m, n));
    const int64_t size = gr_dtype_size(gr_dtype_of(c));
    for (int64_t i = 0; i < m * n; i++) {
        float narrow = 0;
        double wide = 0;
        for (int64_t at = 0; at < k; at++) {
            const double x = left[i / n * k + at], y = right[at * n + i % n];
            if (gr_dtype_of(a) == GR_F64)
                wide = fma(x, y, wide);
            else
                narrow = fmaf((float)x, (float)y, narrow);
        }
        if (gr_dtype_of(a) != GR_F64)
            wide = narrow;
        gr_convert(GR_F64, &wide, gr_dtype_of(c), gr_bytes(c) + i * size, 1);
    }
    free(left);
    free(right);
    return c;
}

static const int64_t sizes[][3] = {{1, 1, 1},     {2, 3, 4},    {1, 7, 1},    {5, 1, 9},
                                   {3, 0, 2},     {0, 4, 3},    {7, 17, 31},  {16, 16, 16},
                                   {33, 65, 17},  {48, 48, 48}, {49, 50, 97}, {6, 300, 65},
                                   {101, 77, 33}, {1, 64, 200}, {200, 64, 1}, {13, 513, 47}};

static void expect_chains(gr_tensor *a, gr_tensor *b, const char *how)
{
    cr_expect(same_bits(gr_matmul(a, b), chains(a, b)), "%s %s %s %s",
              gr_dtype_name(gr_dtype_of(a)), gr_shape_text(a).text, gr_shape_text(b).text, how);
}

Test(matmul, values)
{
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        const int64_t m = sizes[i][0], k = sizes[i][1], n = sizes[i][2];
        for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
            gr_tensor *a = sample(ctx, dtype, gr_shape(m, k), -1, 1.5),
                      *b = sample(ctx, dtype, gr_shape(k, n), -1, 1.5);
            gr_tensor *at = gr_transpose(gr_contiguous(gr_transpose(a)));
            gr_tensor *bt = gr_transpose(gr_contiguous(gr_transpose(b)));
            expect_chains(a, b, "");
            expect_chains(at, b, "left transposed");
            expect_chains(a, bt, "right transposed");
            expect_chains(at, bt, "both transposed");
        }
    }
    expect_fine(ctx);
}

Test(matmul, strided_operands)
{
    for (int dtype = GR_F32; dtype <= GR_F64; dtype++) {
        gr_tensor *a = gr_slice(sample(ctx, dtype, gr_shape(40, 90), -1, 1), 1, 1, 90, 3);
        gr_tensor *b = gr_slice(sample(ctx, dtype, gr_shape(60, 50), -1, 1), 0, 0, 60, 2);
        expect_chains(a, b, "sliced");
        expect_chains(gr_expand(sample(ctx, dtype, gr_shape(1, 30), -1, 1), gr_shape(20, 30)), b,
                      "expanded");
        expect_chains(a, gr_expand(sample(ctx, dtype, gr_shape(30, 1), -1, 1), gr_shape(30, 70)),
                      "expanded");
    }
    expect_fine(ctx);
}

/* The exponents differ so much that the order of the additions matters. */
Test(matmul, order_of_additions)
{
    gr_tensor *a = gr_from_data(ctx, GR_F32, gr_shape(1, 4), (float[]){1e8f, 1, -1e8f, 1});
    gr_tensor *b = gr_ones(ctx, GR_F32, gr_shape(4, 1));
    EXPECT_VALUES(gr_matmul(a, b), 1);
    /* The multiply-add rounds only once, at its end. */
    const double x = 1 + 0x1p-52;
    gr_tensor *c = gr_from_data(ctx, GR_F64, gr_shape(1, 2), (double[]){1, x});
    gr_tensor *d = gr_from_data(ctx, GR_F64, gr_shape(2, 1), (double[]){-1, x});
    EXPECT_VALUES(gr_matmul(c, d), fma(x, x, -1));
}

Test(matmul, nan_and_infinity)
{
    gr_tensor *a = gr_from_data(ctx, GR_F32, gr_shape(3, 2), (float[]){NAN, 1, INFINITY, 1, 1, 2});
    gr_tensor *b = gr_from_data(ctx, GR_F32, gr_shape(2, 2), (float[]){1, 0, 1, 1});
    EXPECT_VALUES(gr_matmul(a, b), NAN, NAN, INFINITY, NAN, 3, 2);
}

Test(matmul, vectors)
{
    for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
        gr_tensor *m = sample(ctx, dtype, gr_shape(37, 53), -1, 1),
                  *v = sample(ctx, dtype, gr_shape(53), -1, 1);
        gr_tensor *u = sample(ctx, dtype, gr_shape(37), -1, 1),
                  *spread = gr_slice(gr_expand(gr_reshape(v, gr_shape(53, 1)), gr_shape(53, 2)), 1,
                                     0, 1, 1);
        expect_shape(gr_matmul(m, v), gr_shape(37));
        expect_shape(gr_matmul(u, m), gr_shape(53));
        expect_shape(gr_matmul(v, v), gr_shape());
        gr_tensor *column = chains(m, gr_reshape(v, gr_shape(53, 1)));
        cr_expect(same_bits(gr_matmul(m, v), gr_reshape(column, gr_shape(37))));
        cr_expect(same_bits(gr_matmul(m, gr_reshape(spread, gr_shape(53))),
                            gr_reshape(column, gr_shape(37))));
        cr_expect(same_bits(gr_matmul(u, m),
                            gr_reshape(chains(gr_reshape(u, gr_shape(1, 37)), m), gr_shape(53))));
        gr_tensor *dot = chains(gr_reshape(v, gr_shape(1, 53)), gr_reshape(v, gr_shape(53, 1)));
        cr_expect(same_bits(gr_matmul(v, v), gr_reshape(dot, gr_shape())));
    }
    EXPECT_VALUES(gr_matmul(gr_zeros(ctx, GR_F32, gr_shape(0)), gr_zeros(ctx, GR_F32, gr_shape(0))),
                  0);
    expect_fine(ctx);
}

/* ---- Gradients ------------------------------------------------------------------------------- */

static gr_tensor *product(gr_tensors in, void *data)
{
    const double factor = data ? *(const double *)data : 1;
    gr_tensor *a = in.at[0], *planted = gr_mul(gr_scalar_like(a, factor), a);
    planted = gr_add(planted, gr_mul(gr_scalar_like(a, 1 - factor), gr_detach(a)));
    return gr_matmul(data ? planted : a, in.at[1]);
}

Test(matmul, gradients)
{
    const gr_dims left[] = {gr_shape(2, 3), gr_shape(3), gr_shape(2, 3), gr_shape(3),
                            gr_shape(1, 1)};
    const gr_dims right[] = {gr_shape(3, 4), gr_shape(3, 2), gr_shape(3), gr_shape(3),
                             gr_shape(1, 2)};
    double factor = 1.001;
    for (int i = 0; i < COUNT_OF(left); i++) {
        gr_tensor *a = sample(ctx, GR_F64, left[i], -2, 2),
                  *b = sample(ctx, GR_F64, right[i], -2, 2);
        gr_gradcheck_report report;
        cr_expect_eq(
            gr_gradcheck(product, NULL, gr_list(a, b), .order = 2, .rtol = 1e-8, .report = &report),
            GR_OK, "%d: %d of %d", i, (int)report.bad, (int)report.checked);
        cr_expect_eq(gr_gradcheck(product, &factor, gr_list(a, b)), GR_ERROR_GRADIENT);
    }
    expect_fine(ctx);
}

static gr_tensor *gram(gr_tensors in, void *data)
{
    (void)data;
    return gr_matmul(gr_transpose(in.at[0]), in.at[0]);
}

Test(matmul, gradient_of_a_matrix_times_itself)
{
    cr_expect_eq(
        gr_gradcheck(gram, NULL, gr_list(sample(ctx, GR_F64, gr_shape(3, 2), -2, 2)), .order = 2),
        GR_OK);
}

Test(matmul, gradient_of_an_empty_product)
{
    gr_tensor *a = gr_variable(gr_zeros(ctx, GR_F32, gr_shape(2, 0)));
    gr_tensor *b = gr_variable(gr_zeros(ctx, GR_F32, gr_shape(0, 3)));
    gr_tensor *y = sum_of(gr_matmul(a, b));
    EXPECT_VALUES(y, 0);
    expect_shape(gr_grad(y, a), gr_shape(2, 0));
    expect_shape(gr_grad(y, b), gr_shape(0, 3));
    expect_fine(ctx);
}

/* ---- Errors, memory, bits -------------------------------------------------------------------- */

Test(matmul, errors)
{
    gr_tensor *a = gr_ones(ctx, GR_F32, gr_shape(2, 3)), *v = gr_ones(ctx, GR_F32, gr_shape(4));
    gr_context *other = new_context(NULL, 1);
    cr_expect_eq(gr_error(gr_context_of(gr_matmul(NULL, NULL))), GR_ERROR_NULL);
    cr_expect(gr_failed(gr_matmul(a, NULL)));
    expect_error(ctx, GR_ERROR_NULL, "matmul: operand 1 is NULL");
    cr_expect(gr_failed(gr_matmul(NULL, a)));
    expect_error(ctx, GR_ERROR_NULL, "matmul: operand 0 is NULL");
    cr_expect(gr_failed(gr_matmul(a, a)));
    expect_error(ctx, GR_ERROR_SHAPE, "matmul: shapes [2,3] and [2,3]: 3 columns against 2 rows");
    cr_expect(gr_failed(gr_matmul(a, v)));
    expect_error(ctx, GR_ERROR_SHAPE, "matmul: shapes [2,3] and [4]: 3 columns against 4 rows");
    cr_expect(gr_failed(gr_matmul(v, a)));
    expect_error(ctx, GR_ERROR_SHAPE, "matmul: shapes [4] and [2,3]: 4 columns against 2 rows");
    cr_expect(gr_failed(gr_matmul(gr_ones(ctx, GR_F32, gr_shape()), a)));
    expect_error(ctx, GR_ERROR_SHAPE,
                 "matmul: shapes [] and [2,3]: operand 0 has neither one axis nor two");
    cr_expect(gr_failed(gr_matmul(a, gr_ones(ctx, GR_F32, gr_shape(1, 3, 2)))));
    expect_error(ctx, GR_ERROR_SHAPE,
                 "matmul: shapes [2,3] and [1,3,2]: operand 1 has neither one axis nor two");
    cr_expect(gr_failed(gr_matmul(a, gr_ones(ctx, GR_F64, gr_shape(3, 2)))));
    expect_error(ctx, GR_ERROR_DTYPE,
                 "matmul: dtypes f32 [2,3] and f64 [3,2] differ (gr_cast converts)");
    cr_expect(gr_failed(gr_matmul(gr_ones(ctx, GR_U8, gr_shape(3, 2)), a)));
    expect_error(ctx, GR_ERROR_DTYPE, "matmul: operand 0 is u8, not a float");
    cr_expect(gr_failed(gr_matmul(a, gr_ones(other, GR_F32, gr_shape(3, 2)))));
    expect_error(ctx, GR_ERROR_CONTEXT, "matmul: operands 0 and 1 belong to two contexts");
    cr_expect_eq(gr_context_free(other), GR_ERROR_CONTEXT);
    cr_expect_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *dead = gr_ones(ctx, GR_F32, gr_shape(3, 2));
    cr_expect_eq(gr_scope_end(ctx), GR_OK);
    cr_expect(gr_failed(gr_matmul(a, dead)));
    expect_error(ctx, GR_ERROR_SCOPE, "matmul: operand 1 belongs to a scope that has ended");
}

static uint64_t products(gr_context *of, const void *data)
{
    const gr_dtype dtype = *(const gr_dtype *)data;
    reseed(2);
    (void)!gr_scope_begin(of);
    gr_tensor *a = gr_variable(sample(of, dtype, gr_shape(20, 30), -1, 1));
    gr_tensor *b = gr_variable(sample(of, dtype, gr_shape(30, 10), -1, 1));
    gr_tensor *v = sample(of, dtype, gr_shape(10), -1, 1), *y = gr_matmul(gr_matmul(a, b), v);
    const uint64_t hash = hash_of(y) + 31 * hash_of(gr_grad(sum_of(gr_square(y)), a));
    return (void)!gr_scope_end(of), hash;
}

Test(matmul, memory)
{
    for (gr_dtype dtype = GR_F32; dtype <= GR_F16; dtype++)
        expect_survives("matmul", products, &dtype);
}

static void compare_bits(gr_context *other, const char *label, void *data)
{
    static const int64_t large[][3] = {
        {201, 150, 151}, {61, 129, 400}, {7, 1500, 301}, {301, 1500, 1}};
    uint64_t hash = 0, *known = data;
    for (int i = 0; i < 2 * COUNT_OF(large); i++) {
        const int64_t *size = large[i / 2];
        const gr_dtype dtype = i % 2 ? GR_F64 : GR_F32;
        reseed(9);
        cr_assert_eq(gr_scope_begin(other), GR_OK);
        gr_tensor *a = sample(other, dtype, gr_shape(size[0], size[1]), -1, 1);
        gr_tensor *b = sample(other, dtype, gr_shape(size[1], size[2]), -1, 1),
                  *y = gr_matmul(a, b);
        hash = hash * 31 + hash_of(y) + hash_of(gr_matmul(gr_transpose(b), gr_transpose(a)));
        if (!*known)
            cr_expect(same_bits(y, chains(a, b)), "%d", i);
        cr_expect_eq(gr_scope_end(other), GR_OK);
    }
    *known = *known ? *known : hash;
    cr_expect_eq(hash, *known, "other bits with %s", label);
}

Test(matmul, same_bits)
{
    uint64_t known = 0;
    on_each_context(compare_bits, &known);
}

/* ---- Threads --------------------------------------------------------------------------------- */

/* What a context of so many threads holds after a product of 600 x 600. */
static int64_t held_after_a_product(int threads)
{
    gr_context *own = gr_context_new(&(gr_context_options){.threads = threads});
    gr_tensor *a = gr_ones(own, GR_F32, gr_shape(600, 600));
    gr_matmul(a, a);
    const int64_t held = gr_memory(own).peak_bytes;
    cr_expect_eq(gr_context_free(own), GR_OK);
    return held;
}

/* Several threads take a scratch each; inside a parallel region the product runs in one. */
Test(matmul, scratch_is_that_of_the_threads_that_run)
{
    const int64_t one = held_after_a_product(1), eight = held_after_a_product(8);
    int64_t inside = 0;
    cr_expect_gt(eight, one, "%lld and %lld bytes", (long long)eight, (long long)one);
#pragma omp parallel num_threads(2)
    {
#pragma omp single
        inside = held_after_a_product(8);
    }
    cr_expect_eq(inside, one, "%lld and %lld bytes", (long long)inside, (long long)one);
}
