/* shape.c - dtypes, and shapes as lists of sizes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/tensor/tensor.h"
#include <stdio.h>
#include <string.h>

/* ---- Dtypes ---------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int size;
    bool is_float;
} dtypes[] = {
    [GR_F32] = {"f32", 4, true},   [GR_F64] = {"f64", 8, true},    [GR_F16] = {"f16", 2, true},
    [GR_BF16] = {"bf16", 2, true}, [GR_I32] = {"i32", 4, false},   [GR_I64] = {"i64", 8, false},
    [GR_U8] = {"u8", 1, false},    [GR_BOOL] = {"bool", 1, false},
};

static bool known(gr_dtype dtype)
{
    return (int)dtype >= 0 && (size_t)dtype < sizeof dtypes / sizeof *dtypes;
}

const char *gr_dtype_name(gr_dtype dtype) { return known(dtype) ? dtypes[dtype].name : "unknown"; }
int64_t gr_dtype_size(gr_dtype dtype) { return known(dtype) ? dtypes[dtype].size : 0; }
bool gr_dtype_is_float(gr_dtype dtype) { return known(dtype) && dtypes[dtype].is_float; }

int gr_ktype(gr_dtype dtype)
{
    return gr_dtype_is_float(dtype) && dtype != GR_F64 ? GR_K32 : GR_K64;
}

gr_dtype gr_ktype_dtype(int ktype) { return ktype == GR_K32 ? GR_F32 : GR_F64; }
gr_dtype gr_compute_dtype(const gr_tensor *x) { return gr_ktype_dtype(gr_ktype(gr_type(x))); }

/* ---- Shapes ---------------------------------------------------------------------------------- */

gr_dims gr_dims_from(int64_t count, const int64_t *values)
{
    const bool fits = count >= 0 && count <= GR_MAX_DIMS && (values || count == 0);
    gr_dims dims = {.count = fits ? count : GR_MAX_DIMS + 1};
    for (int i = 0; fits && i < dims.count; i++)
        dims.at[i] = values[i];
    return dims;
}

gr_text gr_dims_text(const gr_dims *dims)
{
    gr_text text = {"["};
    int used = 1;
    for (int i = 0; i < dims->count && i < GR_MAX_DIMS; i++)
        used += snprintf(text.text + used, sizeof text.text - (size_t)used, "%s%lld", i ? "," : "",
                         (long long)dims->at[i]);
    snprintf(text.text + used, sizeof text.text - (size_t)used, "]");
    return text;
}

gr_dims gr_contiguous_strides(const gr_dims *shape)
{
    gr_dims strides = {.count = shape->count};
    int64_t stride = 1;
    for (int i = shape->count - 1; i >= 0; i--) {
        strides.at[i] = stride;
        stride *= shape->at[i] > 0 ? shape->at[i] : 1;
    }
    return strides;
}

gr_text gr_shape_text(const gr_tensor *x)
{
    const gr_dims shape = gr_shape_of(x);
    return gr_dims_text(&shape);
}

int64_t gr_dims_count(const gr_dims *shape)
{
    int64_t count = 1;
    for (int i = 0; i < shape->count; i++)
        count *= shape->at[i];
    return count;
}

gr_dims gr_dims_position(const gr_dims *shape, int64_t i)
{
    gr_dims position = *shape;
    for (int axis = shape->count - 1; axis >= 0; i /= shape->at[axis--])
        position.at[axis] = i % shape->at[axis];
    return position;
}

bool gr_same_dims(const gr_dims *a, const gr_dims *b)
{
    return a->count == b->count && memcmp(a->at, b->at, (size_t)a->count * sizeof *a->at) == 0;
}

bool gr_same_shape(const gr_tensor *a, const gr_tensor *b)
{
    const int ndim = gr_axes_of(a);
    bool same = ndim == gr_axes_of(b);
    for (int i = 0; same && i < ndim; i++)
        same = gr_sizes(a)[i] == gr_sizes(b)[i];
    return same;
}

int gr_axis_of(int ndim, int64_t axis)
{
    axis += axis < 0 ? ndim : 0;
    return axis >= 0 && axis < ndim ? (int)axis : -1;
}

/* Returns the size along `axis` when the shape is aligned at the right with `count` axes. Axes
   before the first have size 1. */
static int64_t aligned_size(const gr_dims *shape, int count, int axis)
{
    const int at = axis - (count - shape->count);
    return at < 0 ? 1 : shape->at[at];
}

bool gr_broadcast(gr_dims *into, const gr_dims *other, int *axis)
{
    gr_dims result = {.count = into->count > other->count ? into->count : other->count};
    for (int i = 0; i < result.count; i++) {
        const int64_t a = aligned_size(into, result.count, i);
        const int64_t b = aligned_size(other, result.count, i);
        *axis = i;
        if (a != b && a != 1 && b != 1)
            return false;
        result.at[i] = a == 1 ? b : a;
    }
    *into = result;
    return true;
}

bool gr_broadcasts_to(const gr_tensor *x, const gr_dims *shape)
{
    const gr_dims from = gr_shape_of(x);
    gr_dims both = *shape;
    int axis;
    return gr_broadcast(&both, &from, &axis) && gr_same_dims(&both, shape);
}

bool gr_countable(const gr_dims *shape)
{
    int64_t elements = 1;
    for (int i = 0; i < shape->count; i++) {
        /* Leaves out sizes of 0, because strides are products of only some of the sizes. */
        if (shape->at[i] > 0 && __builtin_mul_overflow(elements, shape->at[i], &elements))
            return false;
    }
    return elements <= INT64_MAX / 64;
}

bool gr_check_shape(gr_context *ctx, const char *op, gr_dtype dtype, const gr_dims *shape)
{
    if (!known(dtype)) {
        gr_fail(ctx, GR_ERROR_DTYPE, op, "unknown dtype %d", (int)dtype);
        return false;
    }
    if (shape->count < 0 || shape->count > GR_MAX_DIMS) {
        gr_fail(ctx, GR_ERROR_SHAPE, op, "more than %d dimensions", GR_MAX_DIMS);
        return false;
    }
    for (int i = 0; i < shape->count; i++) {
        if (shape->at[i] < 0) {
            gr_fail(ctx, GR_ERROR_SHAPE, op, "shape %s has a negative size",
                    gr_dims_text(shape).text);
            return false;
        }
    }
    if (!gr_countable(shape)) {
        gr_fail(ctx, GR_ERROR_SHAPE, op, "shape %s has too many elements",
                gr_dims_text(shape).text);
        return false;
    }
    return true;
}
