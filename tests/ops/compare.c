/* compare.c - tests of the comparisons and of where() in ops/binary.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/rows.h"

TestSuite(compare, .init = begin, .fini = end);

static void expect_reference(const compare_row *row, gr_tensor *a, gr_tensor *b)
{
    double *left = values_of(a), *right = values_of(b), *out = values_of(row->call(a, b));
    for (int64_t i = 0; i < gr_numel(a); i++)
        cr_assert_eq(out[i], row->reference(left[i], right[i]), "%s %s(%a, %a) is %g",
                     gr_dtype_name(gr_dtype_of(a)), row->name, left[i], right[i], out[i]);
    free(left);
    free(right);
    free(out);
}

/* Pairs each element with each other one. */
static void pairs_of(gr_tensor *x, gr_tensor **a, gr_tensor **b)
{
    const int64_t n = gr_numel(x);
    *a = gr_reshape(gr_expand(gr_reshape(x, gr_shape(n, 1)), gr_shape(n, n)), gr_shape(-1));
    *b = gr_reshape(gr_expand(x, gr_shape(n, n)), gr_shape(-1));
}

Test(compare, values)
{
    for (int dtype = GR_F32; dtype <= GR_BOOL; dtype++) {
        gr_tensor *x = gr_cast(edges(ctx, GR_F64), dtype), *a, *b;
        if (dtype == GR_I64) /* f64 holds integers only up to 2^53 */
            x = gr_cast(sample(ctx, GR_F64, gr_shape(50), -0x1p53, 0x1p53), dtype);
        pairs_of(x, &a, &b);
        EACH_ROW(row, compare_rows) {
            expect_reference(row, a, b);
            cr_expect_eq(gr_dtype_of(row->call(a, b)), GR_BOOL);
        }
    }
    expect_fine(ctx);
}

Test(compare, integers_of_two_dtypes_and_floats_of_two)
{
    gr_tensor *i = gr_from_data(ctx, GR_I32, gr_shape(3), (int32_t[]){-1, 0, 300});
    gr_tensor *u = gr_from_data(ctx, GR_U8, gr_shape(3), (uint8_t[]){255, 0, 44});
    EXPECT_VALUES(gr_less(i, u), 1, 0, 0);
    /* 0.1 in f32 is slightly larger than in f64. */
    gr_tensor *f = gr_full(ctx, GR_F32, gr_shape(1), 0.1),
              *d = gr_full(ctx, GR_F64, gr_shape(1), 0.1);
    EXPECT_VALUES(gr_greater(f, d), 1);
    EXPECT_VALUES(gr_equal(f, gr_scalar(ctx, 0.1)), 1);
    EXPECT_VALUES(gr_less(i, gr_scalar(ctx, 0.5)), 1, 1, 0);
    expect_fine(ctx);
}

Test(compare, broadcast_strided_and_empty)
{
    EACH_ROW(row, compare_rows) {
        gr_tensor *a = gr_cast(sample(ctx, GR_F64, gr_shape(70, 81), -3, 3), GR_I32);
        gr_tensor *b = gr_cast(sample(ctx, GR_F64, gr_shape(70), -3, 3), GR_I32);
        gr_tensor *y = row->call(gr_transpose(a), b);
        expect_shape(y, gr_shape(81, 70));
        gr_tensor *full = gr_contiguous(gr_expand(b, gr_shape(81, 70)));
        cr_expect(same_bits(y, row->call(gr_contiguous(gr_transpose(a)), full)), "%s", row->name);
        expect_shape(row->call(gr_zeros(ctx, GR_F32, gr_shape(0, 3)), gr_scalar(ctx, 1)),
                     gr_shape(0, 3));
        expect_shape(row->call(gr_scalar(ctx, 1), gr_scalar(ctx, 1)), gr_shape());
    }
    expect_fine(ctx);
}

Test(compare, no_gradient)
{
    gr_tensor *x = gr_variable(gr_ones(ctx, GR_F32, gr_shape(2)));
    EACH_ROW(row, compare_rows)
        cr_expect_not(gr_requires_grad(row->call(x, x)), "%s", row->name);
}

Test(compare, errors)
{
    char message[128];
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2));
    EACH_ROW(row, compare_rows) {
        cr_expect_eq(gr_error(gr_context_of(row->call(NULL, NULL))), GR_ERROR_NULL);
        cr_expect(gr_failed(row->call(NULL, x)));
        snprintf(message, sizeof message, "%s: operand 0 is NULL", row->name);
        expect_error(ctx, GR_ERROR_NULL, message);
        cr_expect(gr_failed(row->call(x, gr_zeros(ctx, GR_I32, gr_shape(2)))));
        snprintf(message, sizeof message, "%s: dtypes f32 and i32 differ (gr_cast converts)",
                 row->name);
        expect_error(ctx, GR_ERROR_DTYPE, message);
        cr_expect(gr_failed(row->call(x, gr_ones(ctx, GR_F32, gr_shape(3)))));
        snprintf(message, sizeof message,
                 "%s: shapes [2] and [3] do not broadcast: dimension 0 is 2 and 3", row->name);
        expect_error(ctx, GR_ERROR_BROADCAST, message);
    }
}

static uint64_t one_op(gr_context *of, const void *data)
{
    const compare_row *row = data;
    (void)!gr_scope_begin(of);
    gr_tensor *x = gr_arange(of, GR_F32, 100);
    const uint64_t hash = hash_of(row->call(x, gr_scalar(of, 50)));
    return (void)!gr_scope_end(of), hash;
}

Test(compare, memory)
{
    EACH_ROW(row, compare_rows)
        expect_survives(row->name, one_op, row);
}

static void compare_bits(gr_context *other, const char *label, void *data)
{
    uint64_t hash = 0, *known = data;
    reseed(3);
    gr_tensor *a = any_bits(other, GR_F32, 66001), *b = gr_slice(a, 0, 1, 66001, 1);
    a = gr_slice(a, 0, 0, -1, 1);
    EACH_ROW(row, compare_rows)
        hash = hash * 31 + hash_of(gr_where(row->call(a, b), a, b));
    *known = *known ? *known : hash;
    cr_expect_eq(hash, *known, "other bits with %s", label);
}

Test(compare, same_bits)
{
    uint64_t known = 0;
    on_each_context(compare_bits, &known);
}

/* ---- where ----------------------------------------------------------------------------------- */

Test(where, chooses, .init = begin, .fini = end)
{
    const double conditions[] = {0, 1, -1, 0.5, 2, -0.0};
    gr_tensor *c = gr_from_data(ctx, GR_F64, gr_shape(6), conditions);
    for (int condition = GR_F32; condition <= GR_BOOL; condition++) {
        gr_tensor *chosen = gr_cast(c, condition);
        double *is = values_of(chosen);
        for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
            gr_tensor *a = gr_cast(gr_arange(ctx, GR_F64, 6), dtype);
            double *out = values_of(gr_where(chosen, a, gr_scalar(ctx, -7)));
            for (int i = 0; i < 6; i++)
                cr_expect_eq(out[i], is[i] != 0 ? i : -7, "%s", gr_dtype_name(condition));
            free(out);
        }
        free(is);
    }
    gr_tensor *nan = gr_full(ctx, GR_F32, gr_shape(), NAN);
    EXPECT_VALUES(gr_where(nan, gr_scalar(ctx, 1), gr_scalar(ctx, 2)), 1);
    expect_fine(ctx);
}

/* A tiny condition is not 0, even if the values have a dtype with a smaller range. */
Test(where, a_tiny_condition_is_not_0, .init = begin, .fini = end)
{
    gr_tensor *tiny = gr_full(ctx, GR_F64, gr_shape(2), 1e-300),
              *one = gr_ones(ctx, GR_F32, gr_shape(2));
    EXPECT_VALUES(gr_where(tiny, one, gr_scalar(ctx, 0)), 1, 1);
    EXPECT_VALUES(gr_where(gr_scalar(ctx, -1e-300), one, gr_scalar(ctx, 0)), 1, 1);
}

static gr_tensor *apply_where(gr_tensors in, void *data)
{
    return gr_where(data, in.at[0], in.at[1]);
}

Test(where, gradients, .init = begin, .fini = end)
{
    const uint8_t bits[] = {1, 0, 0, 1, 1, 0};
    gr_tensor *conditions[] = {gr_from_data(ctx, GR_BOOL, gr_shape(2, 3), bits),
                               gr_from_data(ctx, GR_U8, gr_shape(3), bits),
                               gr_from_data(ctx, GR_BOOL, gr_shape(2, 1), bits),
                               gr_from_data(ctx, GR_BOOL, gr_shape(), bits)};
    for (int i = 0; i < COUNT_OF(conditions); i++) {
        gr_tensor *a = sample(ctx, GR_F64, gr_shape(2, 3), -2, 2),
                  *b = sample(ctx, GR_F64, gr_shape(3), -2, 2);
        cr_expect_eq(gr_gradcheck(apply_where, conditions[i], gr_list(a, b), .order = 2), GR_OK,
                     "%d", i);
    }
    expect_fine(ctx);
}

Test(where, what_is_not_chosen_has_no_influence, .init = begin, .fini = end)
{
    gr_tensor *x = gr_variable(gr_from_data(ctx, GR_F64, gr_shape(3), (double[]){-1, 0, 4}));
    gr_tensor *positive = gr_greater(x, gr_scalar(ctx, 0)),
              *nan = gr_full(ctx, GR_F64, gr_shape(3), NAN);
    gr_tensor *v = gr_variable(nan), *y = gr_where(positive, x, v);
    EXPECT_VALUES(y, NAN, NAN, 4);
    EXPECT_VALUES(gr_grad(sum_of(y), x), 0, 0, 1);
    EXPECT_VALUES(gr_grad(sum_of(y), v), 1, 1, 0);
    gr_tensor *g, *seed = gr_from_data(ctx, GR_F64, gr_shape(3), (double[]){NAN, INFINITY, 2});
    cr_expect_eq(gr_grad_with(y, gr_list(x), &g, &(gr_grad_args){.seed = seed}), GR_OK);
    EXPECT_VALUES(g, 0, 0, 2);
}

Test(where, errors, .init = begin, .fini = end)
{
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2)), *wide = gr_ones(ctx, GR_F64, gr_shape(2));
    gr_tensor *operands[] = {x, x, x};
    for (int i = 0; i < 3; i++) {
        char message[64];
        operands[i] = NULL;
        snprintf(message, sizeof message, "where: operand %d is NULL", i);
        cr_expect(gr_failed(gr_where(operands[0], operands[1], operands[2])));
        expect_error(ctx, GR_ERROR_NULL, message);
        operands[i] = x;
    }
    cr_expect(gr_failed(gr_where(x, x, wide)));
    expect_error(ctx, GR_ERROR_DTYPE,
                 "where: dtypes f32 [2] and f64 [2] differ (gr_cast converts)");
    cr_expect(gr_failed(gr_where(gr_ones(ctx, GR_BOOL, gr_shape(3)), x, x)));
    expect_error(ctx, GR_ERROR_BROADCAST,
                 "where: shapes [3] and [2] do not broadcast: dimension 0 is 3 and 2");
    cr_expect(gr_failed(gr_where(x, gr_zeros(ctx, GR_I32, gr_shape(2)), x)));
    cr_expect_eq(gr_error(ctx), GR_ERROR_DTYPE);
}
