/* softmax.c - softmax and its logarithm along one axis.
 *
 * Both are compositions of public ops, and so are their gradients of every order. First the largest
 * element m is subtracted. This changes neither value nor gradient, so m is a constant.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <gradus/ops.h>
#include <math.h>

static gr_tensor *sum_along(gr_tensor *x, int axis)
{
    return gr_sum_with(&(gr_reduce_args){.x = x, .axes = gr_axes(axis), .keepdim = true});
}

/* largest(x): the largest element of each sample, with size 1 along the axis. NaN if the sample has
   a NaN. It is a constant: it passes no gradient. */
static gr_status largest_shape(const gr_call *call, gr_form *results)
{
    const gr_tensor *x = call->in[0];
    *results = (gr_form){.dtype = gr_type(x), .shape = gr_shape_of(x)};
    results->shape.at[*(const int64_t *)call->attributes] = 1;
    return GR_OK;
}

/* Returns the largest of n elements. Compares eight at a time. */
#define DEFINE_LARGEST(name, type)                                                                 \
    static double name(const type *x, int64_t n)                                                   \
    {                                                                                              \
        enum { WAYS = 8 };                                                                         \
        type most[WAYS];                                                                           \
        for (int way = 0; way < WAYS; way++)                                                       \
            most[way] = (type)-INFINITY;                                                           \
        for (int64_t i = 0; i < n; i += WAYS)                                                      \
            for (int way = 0; way < WAYS && i + way < n; way++)                                    \
                most[way] = x[i + way] <= most[way] ? most[way] : x[i + way];                      \
        double of_all = -INFINITY;                                                                 \
        for (int way = 0; way < WAYS; way++)                                                       \
            of_all = most[way] <= of_all ? of_all : (double)most[way];                             \
        return of_all;                                                                             \
    }

DEFINE_LARGEST(largest_float, float)
DEFINE_LARGEST(largest_double, double)

/* Samples along the axis, divided among the threads. If the elements of a sample do not lie side by
   side, the thread copies the sample to its part of the scratch. */
typedef struct samples {
    const gr_call *call;
    gr_reader reader; /* its last axis is the axis of the samples */
    int64_t count, length, parts;
    bool copied;
} samples;

static samples samples_of(const gr_call *call)
{
    const gr_tensor *x = call->in[0];
    const int64_t axis = *(const int64_t *)call->attributes;
    const int last = gr_axes_of(x) - 1;
    gr_dims shape = gr_shape_of(x), strides = gr_strides_of(x);
    for (int64_t i = axis; i < last; i++) {
        shape.at[i] = gr_sizes(x)[i + 1];
        strides.at[i] = gr_steps(x)[i + 1];
    }
    shape.at[last] = gr_sizes(x)[axis];
    strides.at[last] = gr_steps(x)[axis];
    samples s = {.call = call, .length = shape.at[last], .count = gr_count(call->out)};
    gr_reader_begin_view(&s.reader, gr_bytes(x), gr_type(x), last + 1, shape.at, strides.at);
    s.parts = gr_threads_for(call->ctx, gr_count(x));
    s.copied = !s.reader.contiguous;
    return s;
}

static int64_t largest_scratch(const gr_call *call)
{
    const samples s = samples_of(call);
    int64_t bytes; /* a view of equal elements can need too many */
    if (__builtin_mul_overflow(s.parts, s.length * gr_dtype_size(s.reader.dtype), &bytes))
        bytes = INT64_MAX;
    return s.copied ? bytes : 0;
}

static void largest_part(void *state, int64_t part)
{
    const samples *s = state;
    const gr_dtype dtype = s->reader.dtype;
    const int64_t size = gr_dtype_size(dtype), bytes = s->length * size;
    char *copy = s->copied ? (char *)s->call->scratch + part * bytes : NULL;
    char *to = gr_bytes(s->call->out);
    const int64_t end = s->count * (part + 1) / s->parts;
    for (int64_t i = s->count * part / s->parts; i < end; i++) {
        if (copy)
            gr_reader_read(&s->reader, i * s->length, s->length, dtype, copy);
        const void *from = copy ? copy : s->reader.data + i * bytes;
        const double most =
            dtype == GR_F32 ? largest_float(from, s->length) : largest_double(from, s->length);
        gr_convert(GR_F64, &most, dtype, to + i * size, 1);
    }
}

static gr_status largest_run(const gr_call *call)
{
    samples s = samples_of(call);
    gr_parallel_for((int)s.parts, s.parts, largest_part, &s);
    return GR_OK;
}
static const gr_op largest_op = {.name = "largest",
                                 .kind = GR_REDUCTION,
                                 .arity = 1,
                                 .flags = GR_OP_STRIDED | GR_OP_NO_GRAD,
                                 .attributes_size = sizeof(int64_t),
                                 .shape = largest_shape,
                                 .scratch = largest_scratch,
                                 .run = largest_run};
static gr_tensor *largest(gr_tensor *x, int axis)
{
    const int64_t along = axis;
    return gr_apply_with(&largest_op, 1, &x, &along);
}

/* x - m */
static gr_tensor *shifted(gr_tensor *x, int axis) { return gr_sub(x, largest(x, axis)); }

/* softmax(x) = e^z / sum(e^z), z = x - m */
static gr_tensor *softmax(gr_tensor *x, int axis)
{
    gr_tensor *e = gr_exp(shifted(x, axis));
    return gr_div(e, sum_along(e, axis));
}

/* log_softmax(x) = z - log(sum(e^z)), z = x - m. The k largest elements have e^z = 1 exactly.
   Without them, the sum keeps the digits of the other elements, even if these are small:
   log(sum(e^z)) = log1p(sum(e^z - [z = 0]) + (k - 1)). */
static gr_tensor *log_softmax(gr_tensor *x, int axis)
{
    gr_tensor *z = shifted(x, axis), *one = gr_scalar_like(z, 1);
    gr_tensor *top = gr_cast(gr_equal(z, gr_scalar_like(z, 0)), gr_dtype_of(z));
    gr_tensor *others = sum_along(gr_sub(gr_exp(z), top), axis);
    gr_tensor *more = gr_sub(sum_along(top, axis), one);
    return gr_sub(z, gr_log1p(gr_add(others, more)));
}

/* Checks x and the axis. Widens halves to f32. Treats a 0-d x as one sample of one class, as
   PyTorch does. */
static gr_tensor *along(const char *op, gr_tensor *(*function)(gr_tensor *, int), gr_tensor *x,
                        int axis)
{
    gr_tensor *failed;
    if (!gr_usable(op, x, 0, &failed))
        return failed;
    const int ndim = gr_axes_of(x);
    if (!gr_dtype_is_float(gr_type(x)))
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_DTYPE, op, "%s %s is no float",
                              gr_dtype_name(gr_type(x)), gr_shape_text(x).text);
    const int at = gr_axis_of(ndim ? ndim : 1, axis);
    if (at < 0)
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_SHAPE, op, "axis %d of shape %s does not exist",
                              axis, gr_shape_text(x).text);
    gr_tensor *rows = ndim ? x : gr_reshape(x, gr_shape(1));
    rows = function(gr_cast(rows, gr_compute_dtype(x)), at);
    return gr_reshape(gr_cast(rows, gr_type(x)), gr_shape_of(x));
}

gr_tensor *gr_softmax(gr_tensor *x, int axis) { return along("softmax", softmax, x, axis); }
gr_tensor *gr_log_softmax(gr_tensor *x, int axis)
{
    return along("log_softmax", log_softmax, x, axis);
}
