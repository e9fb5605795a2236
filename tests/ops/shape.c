/* shape.c - tests of ops/shape.c: views, copies and casts, and their gradients.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"
#include <float.h>

TestSuite(shape, .init = begin, .fini = end);

/* Fills a shape with 0, 1, 2, ... */
static gr_tensor *counted(gr_dtype dtype, gr_dims shape)
{
    return gr_reshape(gr_arange(ctx, dtype, gr_dims_count(&shape)), shape);
}

static void expect_strides(gr_tensor *x, gr_dims strides)
{
    const gr_dims own = gr_strides_of(x);
    cr_expect(gr_same_dims(&own, &strides), "%s", gr_dims_text(&own).text);
}

/* ---- Views ----------------------------------------------------------------------------------- */

Test(shape, reshape)
{
    for (int dtype = GR_F32; dtype <= GR_BOOL; dtype++) {
        gr_tensor *x = counted(dtype, gr_shape(2, 6)), *y = gr_reshape(x, gr_shape(3, 4));
        expect_shape(y, gr_shape(3, 4));
        expect_strides(y, gr_shape(4, 1));
        cr_expect_eq(gr_data(y), gr_data(x), "a view copies nothing");
        cr_expect_eq(gr_dtype_of(y), dtype);
    }
    gr_tensor *x = counted(GR_F32, gr_shape(2, 6));
    expect_shape(gr_reshape(x, gr_shape(-1)), gr_shape(12));
    expect_shape(gr_reshape(x, gr_shape(2, -1, 3)), gr_shape(2, 2, 3));
    expect_shape(gr_reshape(x, gr_shape(12, -1)), gr_shape(12, 1));
    expect_shape(gr_reshape(gr_slice(x, 0, 0, 1, 1), gr_shape(6, 1)), gr_shape(6, 1));
    expect_shape(gr_reshape(gr_ones(ctx, GR_F32, gr_shape()), gr_shape(1, 1)), gr_shape(1, 1));
    expect_shape(gr_reshape(gr_ones(ctx, GR_F32, gr_shape(1)), gr_shape()), gr_shape());
    expect_shape(gr_reshape(gr_zeros(ctx, GR_F32, gr_shape(0, 3)), gr_shape(5, 0)), gr_shape(5, 0));
    expect_shape(gr_reshape(gr_zeros(ctx, GR_F32, gr_shape(0, 3)), gr_shape(-1, 3)),
                 gr_shape(0, 3));
    expect_shape(gr_reshape(gr_transpose(gr_zeros(ctx, GR_F32, gr_shape(0, 3))), gr_shape(0)),
                 gr_shape(0));
    cr_expect_eq(gr_reshape(x, gr_shape(2, 6)), x);
    gr_tensor *turned = gr_transpose(counted(GR_F64, gr_shape(2, 3)));
    EXPECT_VALUES(gr_reshape(turned, gr_shape(6)), 0, 3, 1, 4, 2, 5);
    expect_fine(ctx);
}

Test(shape, reshape_errors)
{
    gr_tensor *x = counted(GR_F32, gr_shape(2, 6));
    const gr_dims wrong[] = {gr_shape(5),
                             gr_shape(),
                             gr_shape(-1, -1),
                             gr_shape(-2, 6),
                             gr_shape(5, -1),
                             gr_shape(0, -1),
                             gr_shape(INT64_MAX, INT64_MAX)};
    for (int i = 0; i < COUNT_OF(wrong); i++) {
        char message[256];
        snprintf(message, sizeof message, "reshape: shape [2,6] does not fit %s",
                 gr_dims_text(&wrong[i]).text);
        cr_expect(gr_failed(gr_reshape(x, wrong[i])));
        expect_error(ctx, GR_ERROR_SHAPE, message);
    }
    cr_expect(gr_failed(gr_reshape(x, gr_shape(1, 1, 1, 1, 1, 1, 1, 2, 6))));
    cr_expect_eq(gr_error(ctx), GR_ERROR_SHAPE);
}

Test(shape, permute_and_transpose)
{
    gr_tensor *x = counted(GR_F32, gr_shape(2, 3, 4)), *y = gr_permute(x, gr_axes(2, 0, 1));
    expect_shape(y, gr_shape(4, 2, 3));
    expect_strides(y, gr_shape(1, 12, 4));
    cr_expect_eq(gr_data(y), gr_data(x));
    for (int64_t i = 0; i < 24; i++)
        cr_expect_eq(gr_get(y, gr_index(i % 4, i / 12, i / 4 % 3)), i);
    cr_expect(same_bits(gr_permute(x, gr_axes(-1, 0, -2)), y));
    expect_shape(gr_transpose(x), gr_shape(2, 4, 3));
    cr_expect(same_bits(gr_transpose(gr_transpose(x)), x));
    cr_expect_eq(gr_ndim(gr_transpose(gr_slice(gr_reshape(x, gr_shape(24)), 0, 0, 3, 1))), 1);
    gr_tensor *line = gr_ones(ctx, GR_F32, gr_shape(3)), *point = gr_ones(ctx, GR_F32, gr_shape());
    cr_expect_eq(gr_transpose(line), line);
    cr_expect_eq(gr_ndim(gr_permute(point, gr_axes())), 0);
    expect_fine(ctx);

    const gr_dims wrong[] = {gr_axes(0, 1), gr_axes(0, 1, 1), gr_axes(0, 1, 3), gr_axes(0, 1, -4),
                             gr_axes(0, 1, 2, 3)};
    for (int i = 0; i < COUNT_OF(wrong); i++) {
        char message[256];
        snprintf(message, sizeof message,
                 "permute: %s is no permutation of the axes of shape [2,3,4]",
                 gr_dims_text(&wrong[i]).text);
        cr_expect(gr_failed(gr_permute(x, wrong[i])));
        expect_error(ctx, GR_ERROR_SHAPE, message);
    }
}

/* Checks a slice against Python's x[start:stop:step]. */
static void expect_slice(int64_t start, int64_t stop, int64_t step, const char *want)
{
    char got[64] = "";
    gr_tensor *y = gr_slice(gr_arange(ctx, GR_I32, 10), 0, start, stop, step);
    double *values = values_of(y);
    for (int64_t i = 0; i < gr_numel(y); i++)
        sprintf(got + strlen(got), "%d", (int)values[i]);
    free(values);
    cr_expect_str_eq(got, want, "%d:%d:%d is %s", (int)start, (int)stop, (int)step, got);
}

Test(shape, slice)
{
    expect_slice(0, 10, 1, "0123456789");
    expect_slice(2, 5, 1, "234");
    expect_slice(1, 10, 3, "147");
    expect_slice(0, 10, 3, "0369");
    expect_slice(0, 9, 3, "036");
    expect_slice(-3, 10, 1, "789");
    expect_slice(0, -3, 2, "0246");
    expect_slice(-100, 100, 4, "048");
    expect_slice(5, 5, 1, "");
    expect_slice(7, 3, 1, "");
    expect_slice(10, 20, 1, "");
    expect_slice(3, 10, INT64_MAX, "3");
    expect_slice(INT64_MIN, INT64_MAX, 9, "09");
    gr_tensor *x = counted(GR_F32, gr_shape(4, 6)), *y = gr_slice(x, -1, 1, 6, 2);
    expect_shape(y, gr_shape(4, 3));
    expect_strides(y, gr_shape(6, 2));
    cr_expect_eq(gr_data(y), (const float *)gr_data(x) + 1);
    EXPECT_VALUES(gr_slice(gr_transpose(y), 1, 2, 3, 1), 13, 15, 17);
    expect_shape(gr_slice(gr_zeros(ctx, GR_F32, gr_shape(0, 2)), 0, 0, 5, 2), gr_shape(0, 2));
    expect_fine(ctx);
    cr_expect(gr_failed(gr_slice(x, 2, 0, 1, 1)));
    expect_error(ctx, GR_ERROR_SHAPE, "slice: axis 2 of shape [4,6] does not exist");
    cr_expect(gr_failed(gr_slice(x, 0, 0, 1, 0)));
    expect_error(ctx, GR_ERROR_ARGUMENT, "slice: step 0 is not above 0");
    cr_expect(gr_failed(gr_slice(x, 0, 0, 1, -1)));
    expect_error(ctx, GR_ERROR_ARGUMENT, "slice: step -1 is not above 0");
}

Test(shape, expand)
{
    gr_tensor *x = counted(GR_F32, gr_shape(3, 1)), *y = gr_expand(x, gr_shape(2, 3, 4));
    expect_shape(y, gr_shape(2, 3, 4));
    expect_strides(y, gr_shape(0, 1, 0));
    cr_expect_eq(gr_data(y), gr_data(x));
    for (int64_t i = 0; i < 24; i++)
        cr_expect_eq(gr_get(y, gr_index(i / 12, i / 4 % 3, i % 4)), i / 4 % 3);
    expect_shape(gr_expand(x, gr_shape(3, 0)), gr_shape(3, 0));
    expect_shape(gr_expand(gr_ones(ctx, GR_U8, gr_shape()), gr_shape(7)), gr_shape(7));
    expect_fine(ctx);
    cr_expect(gr_failed(gr_expand(x, gr_shape(4, 4))));
    expect_error(ctx, GR_ERROR_BROADCAST, "expand: shape [3,1] does not broadcast to [4,4]");
    cr_expect(gr_failed(gr_expand(x, gr_shape(3))));
    expect_error(ctx, GR_ERROR_BROADCAST, "expand: shape [3,1] does not broadcast to [3]");
    cr_expect(gr_failed(gr_expand(x, gr_shape(3, -1))));
    expect_error(ctx, GR_ERROR_SHAPE, "expand: shape [3,-1] has a negative size");
}

Test(shape, contiguous)
{
    for (int dtype = GR_F32; dtype <= GR_BOOL; dtype++) {
        gr_tensor *x = gr_cast(counted(GR_I32, gr_shape(70, 83)), dtype), *turned = gr_transpose(x);
        cr_expect_eq(gr_contiguous(x), x);
        gr_tensor *copy = gr_contiguous(turned);
        cr_expect(gr_is_contiguous(copy));
        cr_expect_neq(gr_data(copy), gr_data(x));
        cr_expect(same_bits(copy, turned));
        cr_expect_eq(gr_get(copy, gr_index(5, 60)), gr_get(x, gr_index(60, 5)));
    }
    /* Around whole blocks. */
    for (int64_t n = GR_BLOCK - 2; n <= GR_BLOCK + 2; n++) {
        gr_tensor *odd = gr_slice(counted(GR_I32, gr_shape(2 * n)), 0, 0, 2 * n, 2);
        cr_expect(same_bits(gr_contiguous(odd), odd), "%d elements", (int)n);
    }
    expect_shape(gr_contiguous(gr_transpose(gr_zeros(ctx, GR_F32, gr_shape(0, 3)))),
                 gr_shape(3, 0));
    expect_fine(ctx);
}

/* ---- Gradients ------------------------------------------------------------------------------- */

static gr_tensor *f_reshape(gr_tensors in, void *data)
{
    (void)data;
    return gr_square(gr_reshape(in.at[0], gr_shape(4, 6)));
}
static gr_tensor *f_permute(gr_tensors in, void *data)
{
    (void)data;
    return gr_square(gr_permute(in.at[0], gr_axes(1, 2, 0)));
}
static gr_tensor *f_transpose(gr_tensors in, void *data)
{
    (void)data;
    return gr_mul(gr_transpose(in.at[0]), gr_transpose(gr_exp(in.at[0])));
}
static gr_tensor *f_slice(gr_tensors in, void *data)
{
    (void)data;
    gr_tensor *x = in.at[0];
    return gr_mul(gr_slice(gr_square(x), 2, 0, 4, 3), gr_slice(x, -1, 1, 3, 1));
}
static gr_tensor *f_slice_of_transposed(gr_tensors in, void *data)
{
    (void)data;
    return gr_square(gr_slice(gr_transpose(in.at[0]), 1, 0, 3, 2));
}
static gr_tensor *f_expand(gr_tensors in, void *data)
{
    (void)data;
    gr_tensor *x = gr_slice(in.at[0], 1, 0, 1, 1);
    return gr_mul(gr_square(gr_expand(x, gr_shape(2, 3, 4))), in.at[0]);
}
static gr_tensor *f_contiguous(gr_tensors in, void *data)
{
    (void)data;
    return gr_square(gr_contiguous(gr_transpose(in.at[0])));
}
static gr_tensor *f_cast(gr_tensors in, void *data)
{
    (void)data;
    return gr_square(gr_cast(in.at[0], GR_F64));
}

Test(shape, gradients)
{
    gr_function *const functions[] = {
        f_reshape, f_permute,    f_transpose, f_slice, f_slice_of_transposed,
        f_expand,  f_contiguous, f_cast};
    for (int i = 0; i < COUNT_OF(functions); i++) {
        gr_gradcheck_report report;
        gr_tensor *x = sample(ctx, GR_F64, gr_shape(2, 3, 4), -2, 2);
        cr_expect_eq(gr_gradcheck(functions[i], NULL, gr_list(x), .order = 2, .rtol = 1e-8,
                                  .report = &report),
                     GR_OK, "%d: reason %d, %d of %d", i, report.reason, (int)report.bad,
                     (int)report.checked);
        cr_expect_eq(report.unsure, 0);
    }
    expect_fine(ctx);
}

Test(shape, gradient_of_a_slice_is_0_elsewhere)
{
    gr_tensor *x = gr_variable(counted(GR_F32, gr_shape(7)));
    EXPECT_VALUES(gr_grad(sum_of(gr_slice(x, 0, 1, 7, 2)), x), 0, 1, 0, 1, 0, 1, 0);
    EXPECT_VALUES(gr_grad(sum_of(gr_slice(x, 0, 3, 3, 1)), x), 0, 0, 0, 0, 0, 0, 0);
    EXPECT_VALUES(gr_grad(sum_of(gr_slice(x, 0, 5, 7, 100)), x), 0, 0, 0, 0, 0, 1, 0);
}

Test(shape, gradient_of_a_cast_has_the_dtype_of_its_operand)
{
    gr_tensor *x = gr_variable(counted(GR_F32, gr_shape(3)));
    gr_tensor *g = gr_grad(sum_of(gr_square(gr_cast(x, GR_F64))), x);
    cr_expect_eq(gr_dtype_of(g), GR_F32);
    EXPECT_VALUES(g, 0, 2, 4);
    cr_expect_not(gr_requires_grad(gr_cast(x, GR_I32)));
    cr_expect_eq(gr_cast(x, GR_F32), x);
}

/* ---- Casts ----------------------------------------------------------------------------------- */

/* Converts every dtype to every other one. The reference converts one element at a time in long
   double. */
static long double element(gr_dtype dtype, const char *at)
{
    int32_t i32;
    int64_t i64;
    float f;
    double d;
    uint16_t h;
    switch (dtype) {
    case GR_F32:
        return memcpy(&f, at, 4), (long double)f;
    case GR_F64:
        return memcpy(&d, at, 8), (long double)d;
    case GR_I32:
        return memcpy(&i32, at, 4), (long double)i32;
    case GR_I64:
        return memcpy(&i64, at, 8), (long double)i64;
    case GR_U8:
        return (unsigned char)*at;
    case GR_BOOL:
        return *at != 0;
    default:
        break;
    }
    memcpy(&h, at, 2);
    const int digits = dtype == GR_F16 ? 10 : 7, bias = dtype == GR_F16 ? 15 : 127;
    const int exponent = (h & 0x7fff) >> digits, fraction = h & ((1 << digits) - 1);
    long double value =
        ldexpl(fraction + (exponent ? 1 << digits : 0), (exponent ? exponent : 1) - bias - digits);
    if (exponent == 2 * bias + 1)
        value = fraction ? (long double)NAN : (long double)INFINITY;
    return h & 0x8000 ? -value : value;
}

/* Rounds x to this number of binary digits, ties to even. It is denormal below 2^lowest, and
   infinite from 2^beyond on. */
static long double rounded(long double x, int digits, int lowest, int beyond)
{
    if (x == 0 || isnan(x) || isinf(x))
        return x;
    int exponent;
    (void)!frexpl(x, &exponent);
    const int unit = exponent - digits > lowest ? exponent - digits : lowest;
    const long double y = ldexpl(rintl(ldexpl(x, -unit)), unit);
    return fabsl(y) >= ldexpl(1, beyond) ? copysignl(INFINITY, x) : y;
}

static long double clamped(long double x, long double low, long double high)
{
    return isnan(x) ? 0 : x < low ? low : x > high ? high : truncl(x) + 0; /* adding 0 removes -0 */
}

static long double converted(long double x, gr_dtype to)
{
    switch (to) {
    case GR_F32:
        return rounded(x, 24, -149, 128);
    case GR_F64:
        return rounded(x, 53, -1074, 1024);
    case GR_F16:
        return rounded(x, 11, -24, 16);
    case GR_BF16:
        return rounded(x, 8, -133, 128);
    case GR_I32:
        return clamped(x, INT32_MIN, INT32_MAX);
    case GR_I64:
        return clamped(x, -0x1p63L, 0x1p63L - 1);
    case GR_U8:
        return clamped(x, 0, 255);
    default:
        return x != 0;
    }
}

/* Values of dtype `from` that are special for some conversion. */
static gr_tensor *specimens(gr_dtype from)
{
    enum { RANDOM = 3000 };
    gr_tensor *x = gr_zeros(ctx, from, gr_shape(RANDOM));
    const int64_t size = gr_dtype_size(from);
    for (int i = 0; i < RANDOM; i++) {
        uint64_t bits = draw_bits();
        if (from == GR_I64)
            bits = (uint64_t)((int64_t)bits >> draw_bits() % 64);
        if (from == GR_BOOL)
            bits &= 1;
        memcpy(gr_bytes(x) + i * size, &bits, (size_t)size);
    }
    if (!gr_dtype_is_float(from))
        return x;
    /* Values halfway between neighbours of narrower dtypes and slightly beside, and limits of the
       integers. */
    static const double special[] = {0.5,
                                     1.5,
                                     -0.5,
                                     -0.9,
                                     255,
                                     255.9,
                                     256,
                                     -1,
                                     2147483647.0,
                                     2147483648.0,
                                     -2147483648.5,
                                     -2147483649.0,
                                     0x1p63,
                                     -0x1p63,
                                     0x1.8p63,
                                     1e30,
                                     65504,
                                     65519,
                                     65519.999,
                                     65520,
                                     65536,
                                     1 + 0x1p-11,
                                     1 + 0x3p-11,
                                     1 + 0x1p-11 + 0x1p-50,
                                     1 + 0x1p-11 - 0x1p-50,
                                     1 + 0x1p-8,
                                     1 + 0x3p-8,
                                     1 + 0x1p-8 + 0x1p-40,
                                     1 + 0x1p-24,
                                     1 + 0x3p-24,
                                     1 + 0x1p-24 + 0x1p-52,
                                     0x1p-24,
                                     0x1p-25,
                                     0x1.8p-25,
                                     0x1.000001p-25,
                                     0x3p-26,
                                     0x1p-133,
                                     0x1p-134,
                                     0x1.8p-134,
                                     0x1p-149,
                                     0x1p-150,
                                     0x1.000001p-150,
                                     FLT_MAX,
                                     0x1.ffffffp127,
                                     0x1.fffffefffffffp127,
                                     0x1.fep127,
                                     0x1.ff7fffp127,
                                     0x1.ff8p127,
                                     DBL_MAX,
                                     INFINITY,
                                     -INFINITY,
                                     NAN,
                                     -0.0};
    for (int i = 0; i < COUNT_OF(special); i++)
        gr_convert(GR_F64, &special[i], from, gr_bytes(x) + i * size, 1);
    return x;
}

static void expect_cast(gr_tensor *x, gr_dtype to)
{
    gr_tensor *y = gr_cast(x, to), *z = gr_cast(gr_slice(x, 0, 0, gr_numel(x), 7), to);
    cr_expect_eq(gr_dtype_of(y), to);
    for (int64_t i = 0; i < gr_numel(x); i++) {
        const long double in =
            element(gr_dtype_of(x), gr_bytes(x) + i * gr_dtype_size(gr_dtype_of(x)));
        const long double want = converted(in, to),
                          got = element(to, gr_bytes(y) + i * gr_dtype_size(to));
        cr_assert((got == want && signbit(got) == signbit(want)) || (isnan(got) && isnan(want)),
                  "%s %La to %s is %La, not %La", gr_dtype_name(gr_dtype_of(x)), in,
                  gr_dtype_name(to), got, want);
    }
    cr_expect(same_bits(z, gr_slice(y, 0, 0, gr_numel(y), 7)), "%s to %s, strided",
              gr_dtype_name(gr_dtype_of(x)), gr_dtype_name(to));
}

Test(cast, all_pairs, .init = begin, .fini = end)
{
    for (int from = GR_F32; from <= GR_BOOL; from++) {
        gr_tensor *x = specimens(from);
        for (int to = GR_F32; to <= GR_BOOL; to++)
            expect_cast(x, to);
    }
    expect_fine(ctx);
}

/* A conversion through f64 would round these twice. */
Test(cast, long_integers_are_rounded_once, .init = begin, .fini = end)
{
    int64_t values[2048];
    for (int i = 0; i < COUNT_OF(values); i++) {
        const int64_t base = (int64_t)1 << (40 + i % 23), near = (int64_t)1 << (40 + i % 23 - 24);
        values[i] =
            base + near * (1 + (int64_t)(draw_bits() % 64) * 2) + (int64_t)(draw_bits() % 3) - 1;
        values[i] = i % 2 ? -values[i] : values[i];
    }
    values[0] = INT64_MAX;
    values[1] = INT64_MIN;
    values[2] = INT64_MAX - 1;
    values[3] = (INT64_C(1) << 53) + 1;
    values[4] = INT64_MIN + 1;
    gr_tensor *x = gr_from_data(ctx, GR_I64, gr_shape(COUNT_OF(values)), values);
    for (int to = GR_F32; to <= GR_BF16; to++)
        expect_cast(x, to);
}

Test(cast, errors, .init = begin, .fini = end)
{
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2));
    cr_expect_eq(gr_error(gr_context_of(gr_cast(NULL, GR_F32))), GR_ERROR_NULL);
    cr_expect(gr_failed(gr_cast(x, (gr_dtype)99)));
    expect_error(ctx, GR_ERROR_DTYPE, "cast: unknown dtype 99");
}

/* ---- Dead and missing operands, memory ------------------------------------------------------- */

typedef gr_tensor *one_operand(gr_tensor *x);
static gr_tensor *do_reshape(gr_tensor *x) { return gr_reshape(x, gr_shape(3, 2)); }
static gr_tensor *do_permute(gr_tensor *x) { return gr_permute(x, gr_axes(1, 0)); }
static gr_tensor *do_slice(gr_tensor *x) { return gr_slice(x, 0, 0, 2, 1); }
static gr_tensor *do_expand(gr_tensor *x) { return gr_expand(x, gr_shape(4, 2, 3)); }
static gr_tensor *do_cast(gr_tensor *x) { return gr_cast(x, GR_F64); }
static const struct {
    const char *name;
    one_operand *call;
} views[] = {{"reshape", do_reshape}, {"permute", do_permute}, {"transpose", gr_transpose},
             {"slice", do_slice},     {"expand", do_expand},   {"contiguous", gr_contiguous},
             {"cast", do_cast}};

Test(shape, dead_and_missing_operands)
{
    cr_expect_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *dead = gr_ones(ctx, GR_F32, gr_shape(2, 3));
    cr_expect_eq(gr_scope_end(ctx), GR_OK);
    for (int i = 0; i < COUNT_OF(views); i++) {
        char message[128];
        snprintf(message, sizeof message, "%s: operand 0 belongs to a scope that has ended",
                 views[i].name);
        cr_expect(gr_failed(views[i].call(dead)));
        expect_error(ctx, GR_ERROR_SCOPE, message);
        cr_expect_eq(gr_error(gr_context_of(views[i].call(NULL))), GR_ERROR_NULL, "%s",
                     views[i].name);
        cr_expect_eq(views[i].call(ctx->failed), ctx->failed);
        gr_error_clear(ctx);
    }
}

static uint64_t all_views(gr_context *of, const void *data)
{
    uint64_t hash = 0;
    (void)data;
    (void)!gr_scope_begin(of);
    gr_tensor *x = gr_variable(gr_reshape(gr_arange(of, GR_F32, 6), gr_shape(2, 3)));
    for (int i = 0; i < COUNT_OF(views); i++) {
        gr_tensor *y = gr_square(views[i].call(gr_transpose(gr_transpose(x))));
        hash = hash * 31 + hash_of(gr_grad(sum_of(gr_grad(sum_of(gr_square(y)), x)), x));
    }
    return (void)!gr_scope_end(of), hash;
}

Test(shape, memory) { expect_survives("views", all_views, NULL); }

static void compare_bits(gr_context *other, const char *label, void *data)
{
    uint64_t hash = 0, *known = data;
    reseed(4);
    gr_tensor *x = any_bits(other, GR_F64, 300 * 230);
    gr_tensor *turned = gr_transpose(gr_reshape(x, gr_shape(300, 230)));
    for (int to = GR_F32; to <= GR_BOOL; to++)
        hash = hash * 31 + hash_of(gr_cast(turned, to));
    hash = hash * 31 + hash_of(gr_contiguous(turned));
    *known = *known ? *known : hash;
    cr_expect_eq(hash, *known, "other bits with %s", label);
}

Test(shape, same_bits)
{
    uint64_t known = 0;
    on_each_context(compare_bits, &known);
}
