/* shape.c - views with another shape or order, and copies.
 *
 * A view shares its operand's buffer. Its row has a shape rule, which also sets the strides, and no
 * run. The rows that the sweep itself needs (reshape, expand, copies) are in core/engine/linear.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <gradus/ops.h>
#include <string.h>

/* ---- reshape --------------------------------------------------------------------------------- */

/* Replaces a -1 by the size that fits. False if the elements do not fit the shape. */
static bool fit_shape(gr_dims *shape, int64_t count)
{
    int64_t known = 1;
    int free_axis = -1;
    for (int i = 0; i < shape->count; i++) {
        if (shape->at[i] < -1 || (shape->at[i] == -1 && free_axis >= 0))
            return false;
        if (shape->at[i] == -1)
            free_axis = i;
        else if (__builtin_mul_overflow(known, shape->at[i], &known))
            return false;
    }
    if (free_axis < 0)
        return known == count;
    if (known == 0 || count % known)
        return false;
    shape->at[free_axis] = count / known;
    return true;
}

/* reshape(x): the elements in row-major order with another shape;  dx = g with x's shape */
gr_tensor *gr_reshape(gr_tensor *x, gr_dims shape)
{
    gr_tensor *failed;
    if (!gr_usable("reshape", x, 0, &failed))
        return failed;
    const gr_dims asked = shape;
    if (shape.count < 0 || shape.count > GR_MAX_DIMS || !fit_shape(&shape, gr_count(x)))
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_SHAPE, "reshape", "shape %s does not fit %s",
                              gr_shape_text(x).text, gr_dims_text(&asked).text);
    /* A shape without elements can still be too large. */
    if (!gr_check_shape(gr_ctx(x), "reshape", gr_type(x), &shape))
        return failed;
    return gr_linear_reshape(x, &shape);
}

/* ---- permute, transpose ---------------------------------------------------------------------- */

static gr_status permute_shape(const gr_call *call, gr_form *results)
{
    const gr_dims *order = call->attributes;
    const gr_tensor *x = call->in[0];
    *results = (gr_form){.dtype = gr_type(x), .shape = *order, .strides = *order};
    for (int i = 0; i < order->count; i++) {
        results->shape.at[i] = gr_sizes(x)[order->at[i]];
        results->strides.at[i] = gr_steps(x)[order->at[i]];
    }
    return GR_OK;
}

/* permute(x, order): axis i is x's axis order[i];  dx = g with the inverse order */
static void permute_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    const gr_dims *order = n->attributes;
    gr_dims inverse = {.count = order->count};
    for (int i = 0; i < order->count; i++)
        inverse.at[order->at[i]] = i;
    dx[0] = gr_permute(g, inverse);
}
static const gr_op permute_op = {.name = "permute",
                                 .kind = GR_VIEW,
                                 .arity = 1,
                                 .attributes_size = sizeof(gr_dims),
                                 .shape = permute_shape,
                                 .vjp = permute_vjp,
                                 .reads = {GR_READS_NOTHING}};

gr_tensor *gr_permute(gr_tensor *x, gr_dims order)
{
    gr_tensor *failed;
    if (!gr_usable("permute", x, 0, &failed))
        return failed;
    const gr_dims asked = order;
    bool seen[GR_MAX_DIMS] = {false}, right = order.count == gr_axes_of(x);
    for (int i = 0; right && i < order.count; i++) {
        const int axis = gr_axis_of(gr_axes_of(x), order.at[i]);
        right = axis >= 0 && !seen[axis];
        if (!right)
            break;
        seen[axis] = true;
        order.at[i] = axis;
    }
    if (!right)
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_SHAPE, "permute",
                              "%s is no permutation of the axes of shape %s",
                              gr_dims_text(&asked).text, gr_shape_text(x).text);
    return gr_apply_in(gr_ctx(x), &permute_op, 1, &x, &order);
}

/* transpose(x): the last two axes swapped */
gr_tensor *gr_transpose(gr_tensor *x)
{
    gr_tensor *failed;
    if (!gr_usable("transpose", x, 0, &failed))
        return failed;
    const int ndim = gr_axes_of(x);
    if (ndim < 2)
        return x;
    gr_dims order = {.count = ndim};
    for (int i = 0; i < ndim; i++)
        order.at[i] = i < ndim - 2 ? i : 2 * ndim - 3 - i;
    return gr_permute(x, order);
}

/* ---- expand ---------------------------------------------------------------------------------- */

/* expand(x): x broadcast to a larger shape;  dx = g, summed down to x's shape */
gr_tensor *gr_expand(gr_tensor *x, gr_dims shape)
{
    gr_tensor *failed;
    if (!gr_usable("expand", x, 0, &failed))
        return failed;
    if (!gr_check_shape(gr_ctx(x), "expand", gr_type(x), &shape))
        return failed;
    if (!gr_broadcasts_to(x, &shape))
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_BROADCAST, "expand",
                              "shape %s does not broadcast to %s", gr_shape_text(x).text,
                              gr_dims_text(&shape).text);
    return gr_linear_expand(x, &shape);
}

/* ---- slice ----------------------------------------------------------------------------------- */

/* A slice of a tensor of shape `whole`: `count` elements of an axis, namely start, start + step,
   ... */
typedef struct slice {
    gr_dims whole;
    int64_t axis, start, step, count;
} slice;

static gr_status slice_shape(const gr_call *call, gr_form *results)
{
    const slice *s = call->attributes;
    const gr_tensor *x = call->in[0];
    *results = (gr_form){.dtype = gr_type(x), .shape = gr_shape_of(x), .strides = gr_strides_of(x)};
    results->offset = s->count ? s->start * results->strides.at[s->axis] : 0;
    results->shape.at[s->axis] = s->count;
    results->strides.at[s->axis] *= s->step;
    return GR_OK;
}

/* Finds the places of the whole that the slice shows. Sets shape and strides of the view, and
   returns the address of its first element. */
static char *places(const slice *s, const gr_tensor *whole, gr_dims *shape, gr_dims *strides)
{
    *shape = gr_shape_of(whole);
    *strides = gr_strides_of(whole);
    const int64_t offset = s->count ? s->start * strides->at[s->axis] : 0;
    shape->at[s->axis] = s->count;
    strides->at[s->axis] *= s->step;
    return gr_bytes(whole) + offset * gr_dtype_size(gr_type(whole));
}

/* unslice(g): g in the places that the slice shows, zeros elsewhere;  dg = the slice of that */
static gr_status unslice_shape(const gr_call *call, gr_form *results)
{
    *results =
        (gr_form){.dtype = gr_type(call->in[0]), .shape = ((const slice *)call->attributes)->whole};
    return GR_OK;
}

enum { PIECE = 256 }; /* elements on the stack */

/* Writes n elements of `from` to places that are `step` apart, or adds them there. In f64 the sum
   of two elements is exact, or has the same rounding as in their own dtype. */
static void write_run(gr_dtype dtype, const char *from, char *to, int64_t step, int64_t n, bool add)
{
    const int64_t size = gr_dtype_size(dtype);
    char sums[PIECE * sizeof(double)];
    double a[PIECE], b[PIECE];
    if (add) {
        gr_convert(dtype, from, GR_F64, a, n);
        for (int64_t i = 0; i < n; i += step == 1 ? n : 1)
            gr_convert(dtype, to + i * step * size, GR_F64, b + i, step == 1 ? n : 1);
        for (int64_t i = 0; i < n; i++)
            a[i] += b[i];
        gr_convert(GR_F64, a, dtype, sums, n);
        from = sums;
    }
    if (step == 1)
        memcpy(to, from, (size_t)(n * size));
    else
        for (int64_t i = 0; i < n; i++)
            memcpy(to + i * step * size, from + i * size, (size_t)size);
}

/* Writes g's elements in row-major order to the places, in runs along the last axis. */
static void write_places(const slice *s, const gr_tensor *g, const gr_tensor *whole, bool add)
{
    gr_dims shape, strides;
    char *first = places(s, whole, &shape, &strides), from[PIECE * sizeof(double)];
    const gr_dtype dtype = gr_type(whole);
    const int64_t size = gr_dtype_size(dtype), count = gr_dims_count(&shape);
    const int last = shape.count - 1;
    const gr_dims own = gr_shape_of(g);
    gr_reader reader;
    gr_reader_begin(&reader, g, &own);
    for (int64_t at = 0, n; at < count; at += n) {
        const gr_dims position = gr_dims_position(&shape, at);
        int64_t offset = 0;
        for (int axis = 0; axis <= last; axis++)
            offset += position.at[axis] * strides.at[axis];
        const int64_t left = shape.at[last] - position.at[last];
        n = left < PIECE ? left : PIECE;
        gr_reader_read(&reader, at, n, dtype, from);
        write_run(dtype, from, first + offset * size, strides.at[last], n, add);
    }
}

static gr_status unslice_run(const gr_call *call)
{
    gr_tensor *out = call->out;
    memset(gr_bytes(out), 0, (size_t)(gr_count(out) * gr_dtype_size(gr_type(out))));
    write_places(call->attributes, call->in[0], out, false);
    return GR_OK;
}

static gr_tensor *take(gr_tensor *x, const slice *s);

static void unslice_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = take(g, n->attributes);
}
static const gr_op unslice_op = {.name = "unslice",
                                 .kind = GR_GATHER,
                                 .arity = 1,
                                 .flags = GR_OP_STRIDED,
                                 .attributes_size = sizeof(slice),
                                 .shape = unslice_shape,
                                 .run = unslice_run,
                                 .vjp = unslice_vjp,
                                 .reads = {GR_READS_NOTHING}};

/* slice(x): a view of some places;  dx = g in these places, zeros elsewhere. If g can be added in
   place to an existing gradient, the zeros are not made. */
static void slice_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_apply_with(&unslice_op, 1, &g, n->attributes);
}
static gr_status slice_add_vjp(const gr_node *n, gr_tensor *g, int i, gr_tensor *into)
{
    (void)i;
    write_places(n->attributes, g, into, true);
    return GR_OK;
}
static const gr_op slice_op = {.name = "slice",
                               .kind = GR_VIEW,
                               .arity = 1,
                               .attributes_size = sizeof(slice),
                               .shape = slice_shape,
                               .vjp = slice_vjp,
                               .add_vjp = slice_add_vjp,
                               .reads = {GR_READS_NOTHING}};
static gr_tensor *take(gr_tensor *x, const slice *s) { return gr_apply_with(&slice_op, 1, &x, s); }

static int64_t clip(int64_t at, int64_t size)
{
    at += at < 0 ? size : 0;
    return at < 0 ? 0 : at > size ? size : at;
}

gr_tensor *gr_slice(gr_tensor *x, int axis, int64_t start, int64_t stop, int64_t step)
{
    gr_tensor *failed;
    if (!gr_usable("slice", x, 0, &failed))
        return failed;
    const int at = gr_axis_of(gr_axes_of(x), axis);
    if (at < 0)
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_SHAPE, "slice",
                              "axis %d of shape %s does not exist", axis, gr_shape_text(x).text);
    if (step <= 0)
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_ARGUMENT, "slice", "step %lld is not above 0",
                              (long long)step);
    const int64_t size = gr_sizes(x)[at];
    start = clip(start, size);
    stop = clip(stop, size);
    /* A step beyond the axis takes one element in any case. The limit avoids an overflow. */
    step = step < size || size < 1 ? step : size;
    const int64_t count = stop > start ? (stop - start - 1) / step + 1 : 0;
    const slice s = {.whole = gr_shape_of(x),
                     .axis = at,
                     .start = start,
                     .step = count > 1 ? step : 1,
                     .count = count};
    return take(x, &s);
}

/* ---- Copies ---------------------------------------------------------------------------------- */

/* contiguous(x): the same elements, copied if necessary;  dx = g */
gr_tensor *gr_contiguous(gr_tensor *x)
{
    gr_tensor *failed;
    if (!gr_usable("contiguous", x, 0, &failed))
        return failed;
    return gr_is_contiguous(x) ? x : gr_linear_copy(x);
}

/* cast(x): converts each element with one rounding;  dx = g in x's dtype, between floats */
gr_tensor *gr_cast(gr_tensor *x, gr_dtype dtype)
{
    gr_tensor *failed;
    if (!gr_usable("cast", x, 0, &failed))
        return failed;
    return gr_type(x) == dtype && !gr_weak(x) ? x : gr_linear_convert(x, dtype);
}
