/* binary.c - tests of the arithmetic in ops/binary.c: compares each row of ops.def with its
 * formula, with every kind of broadcast.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/rows.h"

TestSuite(binary, .init = begin, .fini = end);

/* Makes a and b in the row's domain. They are never equal, because their grids interleave. */
static gr_tensor *on_grid(gr_context *of, const binary_row *row, gr_dtype dtype, gr_dims shape,
                          int which)
{
    gr_tensor *x = gr_zeros(of, dtype, shape);
    for (int64_t i = 0; !gr_failed(x) && i < gr_numel(x); i++) {
        const double at = floor(draw(0, 10)) + (which ? 0.75 : 0.25);
        const double value = row->low + (row->high - row->low) * at / 10;
        gr_convert(GR_F64, &value, dtype, gr_bytes(x) + i * gr_dtype_size(dtype), 1);
    }
    return x;
}

static const gr_dims left_shapes[] = {{2, {2, 3}}, {2, {2, 3}}, {2, {2, 3}}, {2, {2, 3}},
                                      {2, {2, 3}}, {2, {2, 1}}, {0, {0}},    {3, {2, 1, 3}}};
static const gr_dims right_shapes[] = {{2, {2, 3}}, {1, {3}},    {2, {2, 1}}, {2, {1, 3}},
                                       {0, {0}},    {2, {1, 3}}, {0, {0}},    {2, {4, 1}}};
enum { SHAPES = COUNT_OF(left_shapes), PAIRS = 2 * SHAPES };

/* Makes the i-th pair of operands. Each pair of shapes comes in both orders. */
static void operands(gr_context *of, const binary_row *row, gr_dtype dtype, int i, gr_tensor **a,
                     gr_tensor **b)
{
    const bool swapped = i >= SHAPES;
    *a = on_grid(of, row, dtype, (swapped ? right_shapes : left_shapes)[i % SHAPES], 0);
    *b = on_grid(of, row, dtype, (swapped ? left_shapes : right_shapes)[i % SHAPES], 1);
}

static gr_dims both_shapes(gr_tensor *a, gr_tensor *b)
{
    gr_dims shape = gr_shape_of(a), other = gr_shape_of(b);
    int axis;
    cr_assert(gr_broadcast(&shape, &other, &axis));
    return shape;
}

/* ---- Values ---------------------------------------------------------------------------------- */

static void expect_reference(const binary_row *row, gr_tensor *a, gr_tensor *b)
{
    double *left = values_of(a), *right = values_of(b), *out = values_of(row->call(a, b));
    for (int64_t i = 0; i < gr_numel(a); i++) {
        const double off = ulps(gr_dtype_of(a), out[i], row->reference(left[i], right[i]));
        cr_assert_leq(off, 0.501, "%s %s(%a, %a) is %a", gr_dtype_name(gr_dtype_of(a)), row->name,
                      left[i], right[i], out[i]);
    }
    free(left);
    free(right);
    free(out);
}

/* Pairs each edge value with each other one. */
static void all_edges(gr_dtype dtype, gr_tensor **a, gr_tensor **b)
{
    gr_tensor *x = edges(ctx, dtype);
    const int64_t n = gr_numel(x);
    *a = gr_reshape(gr_expand(gr_reshape(x, gr_shape(n, 1)), gr_shape(n, n)), gr_shape(-1));
    *b = gr_reshape(gr_expand(x, gr_shape(n, n)), gr_shape(-1));
}

Test(binary, values)
{
    for (int dtype = GR_F32; dtype <= GR_F64; dtype++) {
        gr_tensor *a, *b;
        all_edges(dtype, &a, &b);
        EACH_ROW(row, binary_rows) {
            expect_reference(row, a, b);
            expect_reference(row, any_bits(ctx, dtype, 20001), any_bits(ctx, dtype, 20001));
            expect_reference(row, sample(ctx, dtype, gr_shape(5003), row->low, row->high),
                             sample(ctx, dtype, gr_shape(5003), row->low, row->high));
        }
    }
    expect_fine(ctx);
}

Test(binary, narrow_values)
{
    for (int dtype = GR_F16; dtype <= GR_BF16; dtype++) {
        gr_tensor *a = gr_cast(any_bits(ctx, GR_F32, 9001), dtype);
        gr_tensor *b = sample(ctx, dtype, gr_shape(9001), -8, 8),
                  *c = sample(ctx, dtype, gr_shape(9001), -8, 8);
        gr_tensor *wide_a = gr_cast(a, GR_F32), *wide_b = gr_cast(b, GR_F32),
                  *wide_c = gr_cast(c, GR_F32);
        EACH_ROW(row, binary_rows) {
            cr_expect(same_bits(row->call(a, b), gr_cast(row->call(wide_a, wide_b), dtype)), "%s",
                      row->name);
            cr_expect(same_bits(row->call(b, c), gr_cast(row->call(wide_b, wide_c), dtype)), "%s",
                      row->name);
        }
    }
    expect_fine(ctx);
}

Test(binary, nan_gives_nan)
{
    for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
        gr_tensor *nan = gr_full(ctx, dtype, gr_shape(19), NAN),
                  *one = gr_ones(ctx, dtype, gr_shape(19));
        EACH_ROW(row, binary_rows) {
            double *left = values_of(row->call(nan, one)), *right = values_of(row->call(one, nan));
            for (int i = 0; i < 19; i++)
                cr_expect(isnan(left[i]) && isnan(right[i]), "%s %s", row->name,
                          gr_dtype_name(dtype));
            free(left);
            free(right);
        }
    }
}

/* The result has the same bits as with operands that are expanded and copied first. */
Test(binary, broadcast_values)
{
    for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
        EACH_ROW(row, binary_rows) {
            for (int i = 0; i < PAIRS; i++) {
                gr_tensor *a, *b;
                operands(ctx, row, dtype, i, &a, &b);
                const gr_dims shape = both_shapes(a, b);
                gr_tensor *y = row->call(a, b);
                expect_shape(y, shape);
                gr_tensor *full = row->call(gr_contiguous(gr_expand(a, shape)),
                                            gr_contiguous(gr_expand(b, shape)));
                cr_expect(same_bits(y, full), "%s, pair %d", row->name, i);
            }
        }
    }
    expect_fine(ctx);
}

Test(binary, strided)
{
    for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
        EACH_ROW(row, binary_rows) {
            gr_tensor *a = on_grid(ctx, row, dtype, gr_shape(90, 61), 0);
            gr_tensor *b = on_grid(ctx, row, dtype, gr_shape(61, 180), 1);
            gr_tensor *turned = gr_transpose(a), *sliced = gr_slice(b, 1, 1, 180, 2);
            gr_tensor *y = row->call(gr_contiguous(turned), gr_contiguous(sliced));
            cr_assert_not(gr_is_contiguous(turned) || gr_is_contiguous(sliced));
            cr_expect(same_bits(row->call(turned, sliced), y), "%s", row->name);
            cr_expect(same_bits(row->call(gr_contiguous(turned), sliced), y), "%s", row->name);
        }
    }
    expect_fine(ctx);
}

Test(binary, empty)
{
    EACH_ROW(row, binary_rows) {
        gr_tensor *none = gr_zeros(ctx, GR_F32, gr_shape(2, 0));
        expect_shape(row->call(none, none), gr_shape(2, 0));
        expect_shape(row->call(none, gr_ones(ctx, GR_F32, gr_shape(2, 1))), gr_shape(2, 0));
        expect_shape(row->call(gr_ones(ctx, GR_F32, gr_shape()), none), gr_shape(2, 0));
        gr_tensor *x = gr_variable(gr_ones(ctx, GR_F32, gr_shape()));
        EXPECT_VALUES(gr_grad(sum_of(row->call(none, x)), x), 0);
    }
    expect_fine(ctx);
}

Test(binary, scalars_adapt)
{
    EACH_ROW(row, binary_rows) {
        for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
            gr_tensor *x = on_grid(ctx, row, dtype, gr_shape(5), 0), *two = gr_scalar(ctx, 2);
            gr_tensor *full = gr_full(ctx, dtype, gr_shape(5), 2);
            cr_expect(same_bits(row->call(x, two), row->call(x, full)), "%s", row->name);
            cr_expect(same_bits(row->call(two, x), row->call(full, x)), "%s", row->name);
        }
        gr_tensor *alone = row->call(gr_scalar(ctx, 3), gr_scalar(ctx, 2));
        cr_expect_eq(gr_dtype_of(alone), GR_F64, "%s", row->name);
        cr_expect_eq(gr_item(alone), (double)row->reference(3, 2), "%s", row->name);
    }
    expect_fine(ctx);
}

/* ---- Gradients ------------------------------------------------------------------------------- */

static gr_tensor *apply_row(gr_tensors in, void *data)
{
    return ((const binary_row *)data)->call(in.at[0], in.at[1]);
}

Test(binary, gradients)
{
    EACH_ROW(row, binary_rows) {
        for (int i = 0; i < PAIRS; i++) {
            gr_tensor *a, *b;
            gr_gradcheck_report report;
            operands(ctx, row, GR_F64, i, &a, &b);
            const gr_status status =
                gr_gradcheck(apply_row, (void *)(uintptr_t)row, gr_list(a, b), .order = 2,
                             .rtol = 1e-8, .atol = 1e-10, .report = &report);
            cr_expect_eq(status, GR_OK, "%s, pair %d: reason %d, %d of %d are wrong", row->name, i,
                         report.reason, (int)report.bad, (int)report.checked);
            cr_expect_eq(report.unsure, 0, "%s, pair %d", row->name, i);
        }
    }
    expect_fine(ctx);
}

/* Takes one operand twice. Its gradient must count both uses. */
static gr_tensor *apply_twice(gr_tensors in, void *data)
{
    gr_tensor *square = gr_square(in.at[0]);
    return ((const binary_row *)data)->call(gr_add(square, in.at[0]), in.at[0]);
}

Test(binary, an_operand_used_twice)
{
    EACH_ROW(row, binary_rows) {
        gr_tensor *x = sample(ctx, GR_F64, gr_shape(4), 0.5, 3);
        cr_expect_eq(gr_gradcheck(apply_twice, (void *)(uintptr_t)row, gr_list(x), .order = 2),
                     GR_OK, "%s", row->name);
    }
}

/* The value is correct. The gradient of one operand is wrong by a factor. */
typedef struct planted {
    const binary_row *row;
    int operand;
    double factor;
} planted;

static gr_tensor *apply_planted(gr_tensors in, void *data)
{
    const planted *p = data;
    gr_tensor *x[2] = {in.at[0], in.at[1]}, *chosen = x[p->operand];
    gr_tensor *part = gr_mul(gr_scalar_like(chosen, p->factor), chosen);
    x[p->operand] = gr_add(part, gr_mul(gr_scalar_like(chosen, 1 - p->factor), gr_detach(chosen)));
    return p->row->call(x[0], x[1]);
}

Test(binary, wrong_gradients_are_caught)
{
    static const double factors[] = {1.0001, -1, 0};
    EACH_ROW(row, binary_rows) {
        for (int i = 0; i < 2 * COUNT_OF(factors); i++) {
            planted p = {row, i % 2, factors[i / 2]};
            gr_gradcheck_report report;
            gr_tensor *a = on_grid(ctx, row, GR_F64, gr_shape(6), 0);
            gr_tensor *b = on_grid(ctx, row, GR_F64, gr_shape(6), 1);
            cr_expect_eq(gr_gradcheck(apply_planted, &p, gr_list(a, b), .report = &report),
                         GR_ERROR_GRADIENT, "%s, operand %d times %g", row->name, p.operand,
                         p.factor);
            cr_expect_eq(report.reason, GR_CHECK_WRONG, "%s", row->name);
        }
    }
}

Test(binary, equal_operands_share_the_gradient)
{
    gr_tensor *(*const ops[])(gr_tensor *, gr_tensor *) = {gr_maximum, gr_minimum};
    for (int i = 0; i < 2; i++) {
        gr_tensor *a = gr_variable(gr_from_data(ctx, GR_F64, gr_shape(3), (double[]){1, 2, 3}));
        gr_tensor *b = gr_variable(gr_from_data(ctx, GR_F64, gr_shape(3), (double[]){2, 2, 2}));
        gr_tensor *sum = sum_of(ops[i](a, b));
        EXPECT_VALUES(gr_grad(sum, a), i, 0.5, !i);
        EXPECT_VALUES(gr_grad(sum, b), !i, 0.5, i);
    }
}

/* ---- The same bits whatever runs it ---------------------------------------------------------- */

enum { ROWS = 3, COLUMNS = 66001 };

static void compare_bits(gr_context *other, const char *label, void *data)
{
    uint64_t *known = data;
    for (int i = 0; i < 2 * COUNT_OF(binary_rows); i++) {
        const binary_row *row = &binary_rows[i / 2];
        const gr_dtype dtype = i % 2 ? GR_F64 : GR_F32;
        reseed(17);
        cr_assert_eq(gr_scope_begin(other), GR_OK);
        gr_tensor *a =
            gr_variable(gr_reshape(any_bits(other, dtype, COLUMNS), gr_shape(1, COLUMNS)));
        gr_tensor *b = gr_variable(sample(other, dtype, gr_shape(ROWS, 1), row->low, row->high));
        gr_tensor *y = row->call(a, b);
        const uint64_t hash =
            hash_of(y) * 31 + hash_of(gr_grad(sum_of(y), b)) + hash_of(gr_grad(sum_of(y), a));
        cr_expect_eq(gr_scope_end(other), GR_OK);
        known[i] = known[i] ? known[i] : hash;
        cr_expect_eq(hash, known[i], "%s: other bits with %s", row->name, label);
    }
}

Test(binary, same_bits)
{
    uint64_t known[2 * COUNT_OF(binary_rows)] = {0};
    on_each_context(compare_bits, known);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static void expect_named_error(gr_context *of, const char *name, gr_status status, const char *rest)
{
    char message[160];
    snprintf(message, sizeof message, "%s: %s", name, rest);
    expect_error(of, status, message);
}

static void expect_scope_error(const binary_row *row, gr_tensor *live)
{
    cr_expect_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *dead = gr_ones(ctx, GR_F32, gr_shape(2));
    cr_expect_eq(gr_scope_end(ctx), GR_OK);
    cr_expect(gr_failed(row->call(dead, live)));
    expect_named_error(ctx, row->name, GR_ERROR_SCOPE,
                       "operand 0 belongs to a scope that has ended");
    cr_expect(gr_failed(row->call(live, dead)));
    expect_named_error(ctx, row->name, GR_ERROR_SCOPE,
                       "operand 1 belongs to a scope that has ended");
}

Test(binary, errors)
{
    gr_context *other = new_context(NULL, 1);
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2, 3)), *wide = gr_ones(ctx, GR_F64, gr_shape(3));
    EACH_ROW(row, binary_rows) {
        cr_expect_eq(gr_error(gr_context_of(row->call(NULL, NULL))), GR_ERROR_NULL);
        cr_expect(gr_failed(row->call(x, NULL)));
        expect_named_error(ctx, row->name, GR_ERROR_NULL, "operand 1 is NULL");
        cr_expect(gr_failed(row->call(NULL, x)));
        expect_named_error(ctx, row->name, GR_ERROR_NULL, "operand 0 is NULL");
        cr_expect(gr_failed(row->call(x, gr_ones(ctx, GR_F32, gr_shape(4)))));
        expect_named_error(ctx, row->name, GR_ERROR_BROADCAST,
                           "shapes [2,3] and [4] do not broadcast: dimension 1 is 3 and 4");
        cr_expect(gr_failed(row->call(gr_ones(ctx, GR_F32, gr_shape(5, 1, 3)), x)) == false);
        cr_expect(gr_failed(row->call(gr_ones(ctx, GR_F32, gr_shape(3, 3)), x)));
        expect_named_error(ctx, row->name, GR_ERROR_BROADCAST,
                           "shapes [3,3] and [2,3] do not broadcast: dimension 0 is 3 and 2");
        cr_expect(gr_failed(row->call(x, wide)));
        expect_named_error(ctx, row->name, GR_ERROR_DTYPE,
                           "dtypes f32 [2,3] and f64 [3] differ (gr_cast converts)");
        cr_expect(gr_failed(row->call(x, gr_zeros(ctx, GR_I32, gr_shape(3)))));
        expect_named_error(ctx, row->name, GR_ERROR_DTYPE, "operand 1 is i32, not a float");
        cr_expect(gr_failed(row->call(x, gr_ones(other, GR_F32, gr_shape(3)))));
        expect_named_error(ctx, row->name, GR_ERROR_CONTEXT,
                           "operands 0 and 1 belong to two contexts");
        expect_named_error(other, row->name, GR_ERROR_CONTEXT,
                           "operands 0 and 1 belong to two contexts");
        expect_scope_error(row, x);
    }
    cr_expect_eq(gr_context_free(other), GR_OK);
}

static uint64_t one_op(gr_context *of, const void *data)
{
    const binary_row *row = data;
    reseed(5);
    (void)!gr_scope_begin(of);
    gr_tensor *a = gr_variable(on_grid(of, row, GR_F64, gr_shape(6, 7), 0));
    gr_tensor *b = gr_variable(on_grid(of, row, GR_F64, gr_shape(6, 1), 1)), *y = row->call(a, b);
    uint64_t hash = hash_of(y) * 31 + hash_of(gr_grad(sum_of(gr_grad(sum_of(gr_square(y)), a)), b));
    return (void)!gr_scope_end(of), hash;
}

Test(binary, memory)
{
    EACH_ROW(row, binary_rows)
        expect_survives(row->name, one_op, row);
}
