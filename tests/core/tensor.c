/* tensor.c - tests of core/tensor/tensor.c, core/tensor/convert.c and core/engine/create.c: making
 * tensors, looking at them, reading and writing.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(tensor, .init = begin, .fini = end);

/* ---- Dtypes ---------------------------------------------------------------------------------- */

Test(tensor, dtypes)
{
    static const char *const names[] = {"f32", "f64", "f16", "bf16", "i32", "i64", "u8", "bool"};
    static const int sizes[] = {4, 8, 2, 2, 4, 8, 1, 1};
    for (int dtype = GR_F32; dtype <= GR_BOOL; dtype++) {
        cr_expect_str_eq(gr_dtype_name(dtype), names[dtype]);
        cr_expect_eq(gr_dtype_size(dtype), sizes[dtype]);
        cr_expect_eq(gr_dtype_is_float(dtype), dtype <= GR_BF16);
    }
    for (int i = 0; i < 2; i++) {
        const gr_dtype unknown = i ? (gr_dtype)8 : (gr_dtype)-1;
        cr_expect_str_eq(gr_dtype_name(unknown), "unknown");
        cr_expect_eq(gr_dtype_size(unknown), 0);
        cr_expect_not(gr_dtype_is_float(unknown));
    }
}

/* ---- Making ---------------------------------------------------------------------------------- */

static void expect_new(gr_tensor *x, gr_dtype dtype, double value)
{
    cr_assert_not(gr_failed(x), "%s", gr_error_message(ctx));
    expect_shape(x, gr_shape(3, 2));
    cr_expect_eq(gr_dtype_of(x), dtype);
    cr_expect(gr_is_contiguous(x));
    cr_expect_not(gr_requires_grad(x));
    cr_expect_eq(gr_context_of(x), ctx);
    EXPECT_VALUES(x, value, value, value, value, value, value);
}

Test(tensor, new_ones)
{
    for (int dtype = GR_F32; dtype <= GR_BOOL; dtype++) {
        expect_new(gr_zeros(ctx, dtype, gr_shape(3, 2)), dtype, 0);
        expect_new(gr_ones(ctx, dtype, gr_shape(3, 2)), dtype, 1);
        gr_tensor *x = gr_full(ctx, dtype, gr_shape(3, 2), 2.75);
        expect_new(x, dtype, dtype <= GR_BF16 ? 2.75 : dtype == GR_BOOL ? 1 : 2);
        expect_new(gr_zeros_like(gr_transpose(gr_transpose(x))), dtype, 0);
        expect_new(gr_ones_like(x), dtype, 1);
        gr_tensor *scalar = gr_scalar_like(x, 3.5);
        expect_shape(scalar, gr_shape());
        cr_expect_eq(gr_dtype_of(scalar), dtype);
        cr_expect_eq(gr_item(scalar), dtype <= GR_BF16 ? 3.5 : dtype == GR_BOOL ? 1 : 3);
        double *values = values_of(gr_arange(ctx, dtype, 5));
        for (int i = 0; i < 5; i++)
            cr_expect_eq(values[i], dtype == GR_BOOL ? i != 0 : i);
        free(values);
    }
    cr_expect(gr_is_contiguous(gr_zeros_like(gr_transpose(gr_zeros(ctx, GR_F32, gr_shape(2, 3))))));
    expect_shape(gr_arange(ctx, GR_F32, 0), gr_shape(0));
    expect_shape(gr_zeros(ctx, GR_F32, gr_shape(1, 1, 1, 1, 1, 1, 1, 2)),
                 gr_shape(1, 1, 1, 1, 1, 1, 1, 2));
    expect_fine(ctx);
}

Test(tensor, from_data)
{
    const int64_t values[] = {INT64_MIN, -1, 0, INT64_MAX};
    gr_tensor *x = gr_from_data(ctx, GR_I64, gr_shape(2, 2), values);
    cr_expect_eq(memcmp(gr_data(x), values, sizeof values), 0);
    cr_expect_neq(gr_data(x), values, "a copy");
    expect_shape(gr_from_data(ctx, GR_F32, gr_shape(0, 2), NULL), gr_shape(0, 2));
    expect_fine(ctx);
    cr_expect(gr_failed(gr_from_data(ctx, GR_F32, gr_shape(2), NULL)));
    expect_error(ctx, GR_ERROR_NULL, "from_data: data for shape [2] is NULL");
}

typedef gr_tensor *maker(gr_dtype dtype, gr_dims shape);
static gr_tensor *zeros(gr_dtype dtype, gr_dims shape) { return gr_zeros(ctx, dtype, shape); }
static gr_tensor *ones(gr_dtype dtype, gr_dims shape) { return gr_ones(ctx, dtype, shape); }
static gr_tensor *full(gr_dtype dtype, gr_dims shape) { return gr_full(ctx, dtype, shape, 1); }
static gr_tensor *from_data(gr_dtype dtype, gr_dims shape)
{
    return gr_from_data(ctx, dtype, shape, NULL);
}
static gr_tensor *uniform(gr_dtype dtype, gr_dims shape) { return gr_rand(ctx, dtype, shape); }
static gr_tensor *normal(gr_dtype dtype, gr_dims shape) { return gr_randn(ctx, dtype, shape); }

Test(tensor, shapes_and_dtypes_that_there_are_not)
{
    static const struct {
        const char *name;
        maker *make;
    } makers[] = {{"zeros", zeros},         {"ones", ones},    {"full", full},
                  {"from_data", from_data}, {"rand", uniform}, {"randn", normal}};
    for (int i = 0; i < COUNT_OF(makers); i++) {
        char message[128];
        snprintf(message, sizeof message, "%s: shape [2,-1] has a negative size", makers[i].name);
        cr_expect(gr_failed(makers[i].make(GR_F32, gr_shape(2, -1))));
        expect_error(ctx, GR_ERROR_SHAPE, message);
        snprintf(message, sizeof message, "%s: more than 8 dimensions", makers[i].name);
        cr_expect(gr_failed(makers[i].make(GR_F32, gr_shape(1, 1, 1, 1, 1, 1, 1, 1, 1))));
        expect_error(ctx, GR_ERROR_SHAPE, message);
        cr_expect(gr_failed(makers[i].make(GR_F32, (gr_dims){.count = -1})));
        cr_expect_eq(gr_error(ctx), GR_ERROR_SHAPE);
        gr_error_clear(ctx);
        snprintf(message, sizeof message, "%s: unknown dtype 8", makers[i].name);
        cr_expect(gr_failed(makers[i].make((gr_dtype)8, gr_shape(2))));
        expect_error(ctx, GR_ERROR_DTYPE, message);
    }
    cr_expect(gr_failed(gr_arange(ctx, GR_F32, -2)));
    expect_error(ctx, GR_ERROR_ARGUMENT, "arange: count -2 is negative");
    cr_expect_eq(gr_error(gr_context_of(gr_zeros_like(NULL))), GR_ERROR_NULL);
    cr_expect_eq(gr_error(gr_context_of(gr_scalar_like(NULL, 1))), GR_ERROR_NULL);
}

static uint64_t make_all(gr_context *of, const void *data)
{
    (void)data;
    (void)!gr_scope_begin(of);
    gr_tensor *x = gr_zeros(of, GR_F32, gr_shape(7));
    gr_tensor *made[] = {x,
                         gr_ones(of, GR_F64, gr_shape(70000)),
                         gr_full(of, GR_F16, gr_shape(3), 2),
                         gr_scalar(of, 4),
                         gr_arange(of, GR_I32, 20),
                         gr_from_data(of, GR_F32, gr_shape(1), &(float){3}),
                         gr_keep(x),
                         gr_parameter(x),
                         gr_variable(x),
                         gr_detach(x),
                         gr_ones_like(x),
                         gr_scalar_like(x, 1)};
    uint64_t hash = 0;
    for (int i = 0; i < COUNT_OF(made); i++)
        hash = hash * 31 + hash_of(made[i]);
    return (void)!gr_scope_end(of), hash;
}

Test(tensor, memory) { expect_survives("making", make_all, NULL); }

/* ---- Looking --------------------------------------------------------------------------------- */

Test(tensor, looking)
{
    gr_tensor *x = gr_zeros(ctx, GR_F32, gr_shape(2, 3, 4)),
              *y = gr_slice(gr_transpose(x), 2, 0, 3, 2);
    expect_shape(y, gr_shape(2, 4, 2));
    const gr_dims strides = gr_strides_of(y), want = gr_shape(12, 1, 8);
    cr_expect(gr_same_dims(&strides, &want));
    cr_expect_eq(gr_ndim(y), 3);
    cr_expect_eq(gr_numel(y), 16);
    cr_expect_eq(gr_size(y, 1), 4);
    cr_expect_eq(gr_size(y, -1), 2);
    cr_expect_eq(gr_size(y, 3), -1);
    cr_expect_eq(gr_size(y, -4), -1);
    cr_expect(gr_is_contiguous(x));
    cr_expect_not(gr_is_contiguous(y));
    cr_expect(gr_is_contiguous(gr_slice(x, 0, 1, 2, 1)));
    cr_expect_not(gr_is_contiguous(gr_slice(x, 1, 0, 2, 1)));
    cr_expect(gr_is_contiguous(gr_slice(gr_slice(x, 1, 0, 1, 1), 0, 0, 1, 1)));
    cr_expect(gr_is_contiguous(gr_transpose(gr_zeros(ctx, GR_F32, gr_shape(3, 1)))));
    cr_expect(gr_is_contiguous(gr_transpose(gr_zeros(ctx, GR_F32, gr_shape(3, 0)))));
    cr_expect_eq(gr_numel(gr_zeros(ctx, GR_F32, gr_shape())), 1);
    cr_expect_eq(gr_numel(gr_zeros(ctx, GR_F32, gr_shape(3, 0))), 0);
    cr_expect_eq(gr_data_mutable(x), gr_data(x));
}

/* What stands in a gr_dims behind its count is no part of it. */
Test(tensor, what_is_behind_the_count_does_not_matter)
{
    const gr_dims shape = {.count = 2, .at = {2, 3, 5, 7, 11, 13, 17, 19}}, want = gr_shape(3, 1);
    gr_tensor *x = gr_zeros(ctx, GR_F32, shape);
    const gr_dims strides = gr_strides_of(x);
    expect_shape(x, gr_shape(2, 3));
    cr_expect(gr_same_dims(&strides, &want));
    cr_expect(gr_is_contiguous(x));
    const gr_dims ones = gr_shape(1, 1, 1, 1, 1, 1, 1, 1);
    cr_expect_eq(gr_ndim(gr_transpose(gr_zeros(ctx, GR_F32, ones))), GR_MAX_DIMS);
}

Test(tensor, looking_at_nothing)
{
    cr_expect(gr_failed(NULL));
    cr_expect_eq(gr_numel(NULL), 0);
    cr_expect_eq(gr_ndim(NULL), 0);
    cr_expect_eq(gr_size(NULL, 0), -1);
    cr_expect_null(gr_data(NULL));
    cr_expect_not(gr_requires_grad(NULL));
    cr_expect_not(gr_is_contiguous(NULL));
    cr_expect_eq(gr_shape_of(NULL).count, 0);
    cr_expect_eq(gr_strides_of(NULL).count, 0);
    cr_expect(isnan(gr_item(NULL)));
    cr_expect(isnan(gr_get(NULL, gr_index(1))));
    cr_expect_eq(gr_read(NULL, GR_F32, 0, NULL), GR_ERROR_NULL);
    cr_expect_eq(gr_write(NULL, GR_F32, 0, NULL), GR_ERROR_NULL);
    gr_tensor *failed = gr_zeros(ctx, GR_F32, gr_shape(-1));
    cr_expect_eq(gr_numel(failed), 0);
    cr_expect_null(gr_data(failed));
    cr_expect(isnan(gr_item(failed)));
    cr_expect_eq(gr_read(failed, GR_F32, 0, NULL), GR_ERROR_SHAPE);
    expect_error(ctx, GR_ERROR_SHAPE, "zeros: shape [-1] has a negative size");
}

Test(tensor, item_and_get)
{
    for (int dtype = GR_F32; dtype <= GR_BOOL; dtype++)
        cr_expect_eq(gr_item(gr_full(ctx, dtype, gr_shape(1, 1), 1)), 1);
    gr_tensor *x = gr_reshape(gr_arange(ctx, GR_I32, 24), gr_shape(2, 3, 4));
    cr_expect_eq(gr_get(x, gr_index(1, 2, 3)), 23);
    cr_expect_eq(gr_get(x, gr_index(-1, 0, -4)), 12);
    cr_expect_eq(gr_get(gr_transpose(x), gr_index(1, 3, 0)), 15);
    cr_expect_eq(gr_get(gr_slice(x, 2, 1, 4, 2), gr_index(0, 1, 1)), 7);
    cr_expect_eq(gr_get(gr_scalar(ctx, 4), gr_index()), 4);
    expect_fine(ctx);
    cr_expect(isnan(gr_item(x)));
    expect_error(ctx, GR_ERROR_SHAPE, "item: shape [2,3,4] has not one element");
    const gr_dims outside[] = {
        gr_index(0, 3, 0),    gr_index(2, 0, 0),         gr_index(0, 0, -5),       gr_index(0, 0),
        gr_index(0, 0, 0, 0), gr_index(INT64_MAX, 0, 0), gr_index(INT64_MIN, 0, 0)};
    for (int i = 0; i < COUNT_OF(outside); i++) {
        char message[256];
        snprintf(message, sizeof message, "get: index %s lies outside shape [2,3,4]",
                 gr_dims_text(&outside[i]).text);
        cr_expect(isnan(gr_get(x, outside[i])));
        expect_error(ctx, GR_ERROR_ARGUMENT, message);
    }
}

/* ---- Reading and writing --------------------------------------------------------------------- */

Test(tensor, read)
{
    gr_tensor *x = gr_transpose(gr_reshape(gr_arange(ctx, GR_F32, 6), gr_shape(2, 3)));
    static const int order[] = {0, 3, 1, 4, 2, 5};
    for (int dtype = GR_F32; dtype <= GR_BOOL; dtype++) {
        char bytes[6 * 8 + 1];
        memset(bytes, 0x55, sizeof bytes);
        cr_expect_eq(gr_read(x, dtype, 6, bytes), GR_OK);
        for (int i = 0; i < 6; i++) {
            double value;
            gr_convert(dtype, bytes + i * gr_dtype_size(dtype), GR_F64, &value, 1);
            cr_expect_eq(value, dtype == GR_BOOL ? order[i] != 0 : order[i]);
        }
        cr_expect_eq(bytes[6 * gr_dtype_size(dtype)], 0x55, "wrote beyond the end");
    }
    cr_expect_eq(gr_read(gr_zeros(ctx, GR_F32, gr_shape(0)), GR_F64, 0, NULL), GR_OK);
    cr_expect_eq(gr_read(gr_transpose(gr_zeros(ctx, GR_F32, gr_shape(4, 0, 3))), GR_F64, 0, NULL),
                 GR_OK);
    expect_fine(ctx);
}

/* Strided and broadcast views with many dimensions, larger than every internal buffer. */
Test(tensor, read_of_large_views)
{
    gr_tensor *x = gr_reshape(gr_arange(ctx, GR_I32, 6 * 70 * 80), gr_shape(6, 70, 80));
    gr_tensor *y =
        gr_expand(gr_slice(gr_permute(x, gr_axes(2, 0, 1)), 0, 3, 80, 7), gr_shape(2, 11, 6, 70));
    double *values = values_of(y);
    for (int64_t i = 0; i < gr_numel(y); i++) {
        const int64_t column = i / 420 % 11 * 7 + 3, plane = i / 70 % 6, row = i % 70;
        cr_assert_eq(values[i], plane * 5600 + row * 80 + column);
    }
    free(values);
}

Test(tensor, write)
{
    const int64_t values[] = {1, -2, 300, INT64_MAX};
    gr_tensor *x = gr_zeros(ctx, GR_F32, gr_shape(2, 2)), *b = gr_zeros(ctx, GR_U8, gr_shape(4));
    cr_expect_eq(gr_write(x, GR_I64, 4, values), GR_OK);
    EXPECT_VALUES(x, 1, -2, 300, 0x1p63);
    cr_expect_eq(gr_write(b, GR_I64, 4, values), GR_OK);
    EXPECT_VALUES(b, 1, 0, 255, 255);
    gr_tensor *p = gr_parameter(x);
    cr_expect_eq(gr_write(p, GR_F32, 4, (float[]){1, 2, 3, 4}), GR_OK);
    EXPECT_VALUES(p, 1, 2, 3, 4);
    EXPECT_VALUES(x, 1, -2, 300, 0x1p63);
    cr_expect_eq(gr_write(gr_zeros(ctx, GR_F32, gr_shape(0)), GR_F32, 0, NULL), GR_OK);
    expect_fine(ctx);
}

Test(tensor, read_and_write_errors)
{
    float values[6] = {0};
    gr_tensor *x = gr_variable(gr_ones(ctx, GR_F32, gr_shape(2, 3)));
    cr_expect_eq(gr_read(x, GR_F32, 5, values), GR_ERROR_SHAPE);
    expect_error(ctx, GR_ERROR_SHAPE, "read: shape [2,3] has 6 elements, not 5");
    cr_expect_eq(gr_write(x, GR_F32, 7, values), GR_ERROR_SHAPE);
    expect_error(ctx, GR_ERROR_SHAPE, "write: shape [2,3] has 6 elements, not 7");
    cr_expect_eq(gr_read(x, GR_F32, 6, NULL), GR_ERROR_NULL);
    expect_error(ctx, GR_ERROR_NULL, "read: data is NULL");
    cr_expect_eq(gr_write(x, GR_F32, 6, NULL), GR_ERROR_NULL);
    expect_error(ctx, GR_ERROR_NULL, "write: data is NULL");
    cr_expect_eq(gr_read(x, (gr_dtype)8, 6, values), GR_ERROR_DTYPE);
    expect_error(ctx, GR_ERROR_DTYPE, "read: unknown dtype 8");
    cr_expect_eq(gr_write(gr_exp(x), GR_F32, 6, values), GR_ERROR_GRADIENT);
    expect_error(ctx, GR_ERROR_GRADIENT, "write: the result of a recorded op cannot be written");
    cr_expect_eq(gr_write(gr_detach(gr_slice(gr_ones(ctx, GR_F32, gr_shape(2, 6)), 1, 0, 6, 2)),
                          GR_F32, 6, values),
                 GR_ERROR_SHAPE);
    expect_error(ctx, GR_ERROR_SHAPE, "write: a strided view cannot be written");
    EXPECT_VALUES(x, 1, 1, 1, 1, 1, 1);
}
