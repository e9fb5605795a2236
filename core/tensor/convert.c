/* convert.c - reads elements of any dtype and strides, broadcasts them, and converts them to
 * contiguous elements of another dtype.
 *
 * A run is a number of elements with one stride. Each conversion goes through one of three carrier
 * types that hold the source exactly: float (from f16, bf16, f32), double (to and from the rest),
 * int64 (between integers). So each result is rounded once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/tensor/tensor.h"
#include <math.h>
#include <string.h>

enum { RUN = 256 }; /* elements of the carrier on the stack */

/* ---- Reading a run into a carrier ------------------------------------------------------------ */

#define READ_EACH(type, value_of, step)                                                            \
    for (int64_t i = 0; i < count; i++) {                                                          \
        type element;                                                                              \
        memcpy(&element, from + i * (step), sizeof element);                                       \
        to[i] = value_of;                                                                          \
    }

/* The compiler makes vectors of the first loop. */
#define READ(type, value_of)                                                                       \
    if (stride == 1)                                                                               \
        READ_EACH(type, value_of, (int64_t)sizeof element)                                         \
    else                                                                                           \
        READ_EACH(type, value_of, step)                                                            \
    break

/* From any dtype to float or double. Exact, except that i64 above 2^53 is rounded once. */
#define DEFINE_READ(name, carrier)                                                                 \
    static void name(gr_dtype dtype, const char *from, int64_t stride, int64_t count, carrier *to) \
    {                                                                                              \
        const int64_t step = stride * gr_dtype_size(dtype);                                        \
        switch (dtype) {                                                                           \
        case GR_F32:                                                                               \
            READ(float, (carrier)element);                                                         \
        case GR_F64:                                                                               \
            READ(double, (carrier)element);                                                        \
        case GR_F16:                                                                               \
            READ(uint16_t, gr_f16_to_f32(element));                                                \
        case GR_BF16:                                                                              \
            READ(uint16_t, gr_bf16_to_f32(element));                                               \
        case GR_I32:                                                                               \
            READ(int32_t, (carrier)element);                                                       \
        case GR_I64:                                                                               \
            READ(int64_t, (carrier)element);                                                       \
        case GR_U8:                                                                                \
            READ(uint8_t, element);                                                                \
        case GR_BOOL:                                                                              \
            READ(uint8_t, element != 0);                                                           \
        }                                                                                          \
    }
DEFINE_READ(read_float, float)
DEFINE_READ(read_double, double)

static void read_integer(gr_dtype dtype, const char *from, int64_t stride, int64_t count,
                         int64_t *to)
{
    const int64_t step = stride * gr_dtype_size(dtype);
    switch (dtype) {
    case GR_I32:
        READ(int32_t, element);
    case GR_I64:
        READ(int64_t, element);
    case GR_U8:
        READ(uint8_t, element);
    default:
        READ(uint8_t, element != 0);
    }
}

#define COPY_EACH(size)                                                                            \
    for (int64_t i = 0; i < count; i++)                                                            \
        memcpy(to + i * (size), from + i * stride * (size), (size));                               \
    break

/* Copies the elements to contiguous ones without a conversion. */
static void read_same(int64_t size, const char *from, int64_t stride, int64_t count, char *to)
{
    if (stride == 1) {
        memcpy(to, from, (size_t)(count * size));
        return;
    }
    switch (size) { /* the copy of a known size is one instruction */
    case 8:
        COPY_EACH(8);
    case 4:
        COPY_EACH(4);
    case 2:
        COPY_EACH(2);
    default:
        COPY_EACH(1);
    }
}

/* ---- Writing a carrier ----------------------------------------------------------------------- */

/* Truncates towards 0 and clamps to [low, high]. NaN gives 0. high is 2^k - 1, rounded to double.
   For i64 this is 2^63, so the test for "above" is "not below". */
static int64_t clamp(double value, int64_t low, int64_t high)
{
    if (value != value)
        return 0;
    if (value <= (double)low)
        return low;
    return value >= (double)high ? high : (int64_t)value;
}

static int64_t clamp_integer(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

#define WRITE(type, value_of)                                                                      \
    for (int64_t i = 0; i < count; i++)                                                            \
        ((type *)to)[i] = (type)(value_of);                                                        \
    break

static void write_double(const double *from, gr_dtype dtype, void *to, int64_t count)
{
    switch (dtype) {
    case GR_F32:
        WRITE(float, from[i]);
    case GR_F64:
        WRITE(double, from[i]);
    case GR_F16:
        WRITE(uint16_t, gr_f64_to_f16(from[i]));
    case GR_BF16:
        WRITE(uint16_t, gr_f64_to_bf16(from[i]));
    case GR_I32:
        WRITE(int32_t, clamp(from[i], INT32_MIN, INT32_MAX));
    case GR_I64:
        WRITE(int64_t, clamp(from[i], INT64_MIN, INT64_MAX));
    case GR_U8:
        WRITE(uint8_t, clamp(from[i], 0, UINT8_MAX));
    case GR_BOOL:
        WRITE(uint8_t, from[i] != 0);
    }
}

static void write_float(const float *from, gr_dtype dtype, void *to, int64_t count)
{
    switch (dtype) {
    case GR_F16:
        WRITE(uint16_t, gr_f32_to_f16(from[i]));
    case GR_BF16:
        WRITE(uint16_t, gr_f32_to_bf16(from[i]));
    case GR_F64:
        WRITE(double, from[i]);
    default:
        WRITE(uint8_t, from[i] != 0);
    }
}

static void write_integer(const int64_t *from, gr_dtype dtype, void *to, int64_t count)
{
    switch (dtype) {
    case GR_I32:
        WRITE(int32_t, clamp_integer(from[i], INT32_MIN, INT32_MAX));
    case GR_I64:
        WRITE(int64_t, from[i]);
    case GR_U8:
        WRITE(uint8_t, clamp_integer(from[i], 0, UINT8_MAX));
    default:
        WRITE(uint8_t, from[i] != 0);
    }
}

/* ---- A run from any dtype to any ------------------------------------------------------------- */

/* Converts at most RUN elements through the carrier that holds the source exactly. */
static void convert_short(gr_dtype from, const char *in, int64_t stride, gr_dtype to, char *out,
                          int64_t count)
{
    union {
        float f[RUN];
        double d[RUN];
        int64_t i[RUN];
    } carrier;
    const bool narrow = from == GR_F32 || from == GR_F16 || from == GR_BF16;
    const bool narrow_to = to == GR_F64 || to == GR_F16 || to == GR_BF16 || to == GR_BOOL;
    if (narrow && narrow_to) {
        read_float(from, in, stride, count, carrier.f);
        write_float(carrier.f, to, out, count);
    } else if (gr_dtype_is_float(from) || gr_dtype_is_float(to)) {
        read_double(from, in, stride, count, carrier.d);
        write_double(carrier.d, to, out, count);
    } else {
        read_integer(from, in, stride, count, carrier.i);
        write_integer(carrier.i, to, out, count);
    }
}

/* From i64 to a float narrower than double, a plain double in between would round twice. Rounding
   to odd avoids that. */
static double odd_double(int64_t value)
{
    double rounded = (double)value;
    if (value == INT64_MIN || fabs(rounded) < 0x1p53)
        return rounded;
    const int64_t back = rounded >= 0x1p63 ? INT64_MAX : (int64_t)rounded;
    if (back == value && rounded < 0x1p63)
        return rounded;
    /* Truncates towards zero and sets the last bit. So the next rounding never meets a tie. */
    if ((value > 0) == (back > value || rounded >= 0x1p63))
        rounded = nextafter(rounded, 0);
    uint64_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    bits |= 1;
    memcpy(&rounded, &bits, sizeof bits);
    return rounded;
}

static void convert_long_integers(const char *in, int64_t stride, gr_dtype to, char *out,
                                  int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t element;
        memcpy(&element, in + i * stride * (int64_t)sizeof element, sizeof element);
        const double odd = odd_double(element);
        write_double(&odd, to, out + i * gr_dtype_size(to), 1);
    }
}

static void convert_run(gr_dtype from, const char *in, int64_t stride, gr_dtype to, void *out,
                        int64_t count)
{
    const int64_t size = gr_dtype_size(to);
    if (from == to) {
        read_same(size, in, stride, count, out);
    } else if (to == GR_F32 && from != GR_I64) {
        read_float(from, in, stride, count, out);
    } else if (to == GR_F64) {
        read_double(from, in, stride, count, out);
    } else if (from == GR_I64 && gr_dtype_is_float(to)) {
        convert_long_integers(in, stride, to, out, count);
    } else {
        const int64_t step = stride * gr_dtype_size(from);
        for (int64_t done = 0; done < count; done += RUN) {
            const int64_t n = count - done < RUN ? count - done : RUN;
            convert_short(from, in + done * step, stride, to, (char *)out + done * size, n);
        }
    }
}

void gr_convert(gr_dtype from, const void *in, gr_dtype to, void *out, int64_t count)
{
    if (!count) /* the address may be NULL */
        return;
    const gr_float_mode host = gr_float_mode_begin();
    convert_run(from, in, 1, to, out, count);
    gr_float_mode_end(host);
}

/* ---- Readers --------------------------------------------------------------------------------- */

/* Appends an axis as the innermost one. It merges with the axis before if memory continues with the
   same step. */
static void append_axis(gr_reader *reader, int64_t size, int64_t stride)
{
    const int last = reader->ndim - 1;
    if (size == 1)
        return;
    if (last >= 0 && reader->strides[last] == stride * size) {
        reader->shape[last] *= size;
        reader->strides[last] = stride;
        return;
    }
    reader->shape[reader->ndim] = size;
    reader->strides[reader->ndim++] = stride;
}

static void finish_reader(gr_reader *reader)
{
    bool empty = false;
    reader->constant = true;
    for (int i = 0; i < reader->ndim; i++) {
        reader->constant = reader->constant && reader->strides[i] == 0;
        empty = empty || reader->shape[i] == 0;
    }
    reader->contiguous =
        empty || reader->ndim == 0 || (reader->ndim == 1 && reader->strides[0] == 1);
}

void gr_reader_begin(gr_reader *reader, const gr_tensor *x, const gr_dims *shape)
{
    const int64_t *sizes = gr_sizes(x), *steps = gr_steps(x);
    *reader = (gr_reader){.data = gr_bytes(x), .dtype = gr_type(x)};
    const int missing = shape->count - gr_axes_of(x);
    for (int i = 0; i < shape->count; i++) {
        const bool repeated = i < missing || sizes[i - missing] == 1;
        append_axis(reader, shape->at[i], repeated ? 0 : steps[i - missing]);
    }
    finish_reader(reader);
}

void gr_reader_begin_view(gr_reader *reader, const void *data, gr_dtype dtype, int ndim,
                          const int64_t *shape, const int64_t *strides)
{
    *reader = (gr_reader){.data = data, .dtype = dtype};
    for (int i = 0; i < ndim; i++)
        append_axis(reader, shape[i], strides[i]);
    finish_reader(reader);
}

void gr_reader_read(const gr_reader *reader, int64_t start, int64_t count, gr_dtype to, void *out)
{
    const int64_t from_size = gr_dtype_size(reader->dtype), to_size = gr_dtype_size(to);
    if (count == 0) /* a size may be 0 here, and an index cannot be divided by 0 */
        return;
    if (reader->ndim <= 1) {
        const int64_t stride = reader->ndim ? reader->strides[0] : 0;
        convert_run(reader->dtype, reader->data + start * stride * from_size, stride, to, out,
                    count);
        return;
    }
    /* Finds the first element: its index along each axis, and its address. */
    int64_t index[GR_MAX_DIMS], rest = start;
    const char *at = reader->data;
    for (int i = reader->ndim - 1; i >= 0; i--) {
        index[i] = rest % reader->shape[i];
        rest /= reader->shape[i];
        at += index[i] * reader->strides[i] * from_size;
    }
    const int last = reader->ndim - 1;
    char *into = out;
    while (count > 0) {
        const int64_t left = reader->shape[last] - index[last];
        const int64_t run = left < count ? left : count;
        convert_run(reader->dtype, at, reader->strides[last], to, into, run);
        into += run * to_size;
        count -= run;
        /* Goes on to the next run: carries over to the outer axes. */
        at -= index[last] * reader->strides[last] * from_size;
        index[last] = 0;
        for (int i = last - 1; i >= 0; i--) {
            at += reader->strides[i] * from_size;
            if (++index[i] < reader->shape[i])
                break;
            at -= index[i] * reader->strides[i] * from_size;
            index[i] = 0;
        }
    }
}

void gr_copy_elements(const gr_tensor *x, const gr_dims *shape, gr_dtype to, void *out)
{
    gr_reader reader;
    gr_reader_begin(&reader, x, shape);
    const gr_float_mode host = gr_float_mode_begin();
    gr_reader_read(&reader, 0, gr_dims_count(shape), to, out);
    gr_float_mode_end(host);
}
