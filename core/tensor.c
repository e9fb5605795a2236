/* tensor.c - headers of n-d views: making them, checking them, looking at them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <math.h>
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

/* ---- Shapes ---------------------------------------------------------------------------------- */

gr_dims gr_dims_from(int64_t count, const int64_t *values)
{
    const bool fits = count >= 0 && count <= GR_MAX_DIMS;
    gr_dims dims = {.count = fits ? (int)count : GR_MAX_DIMS + 1};
    for (int i = 0; i < dims.count && i < GR_MAX_DIMS; i++)
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

int gr_axis_of(int ndim, int64_t axis)
{
    axis += axis < 0 ? ndim : 0;
    return axis >= 0 && axis < ndim ? (int)axis : -1;
}

/* The size of axis `axis` of a shape that is aligned at the right with `count` axes; 1 before its
   first. */
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
    int64_t elements = 1;
    bool overflow = false;
    for (int i = 0; i < shape->count; i++) {
        if (shape->at[i] < 0) {
            gr_fail(ctx, GR_ERROR_SHAPE, op, "shape %s has a negative size",
                    gr_dims_text(shape).text);
            return false;
        }
        /* What counts is the product without its zeros: strides are products of some of the sizes.
           */
        if (shape->at[i] > 0)
            overflow |= __builtin_mul_overflow(elements, shape->at[i], &elements);
    }
    if (overflow || elements > INT64_MAX / 64) {
        gr_fail(ctx, GR_ERROR_SHAPE, op, "shape %s has too many elements",
                gr_dims_text(shape).text);
        return false;
    }
    return true;
}

/* ---- Headers --------------------------------------------------------------------------------- */

bool gr_context_usable(gr_context *ctx, gr_tensor **failed)
{
    ctx = ctx ? ctx : &gr_null_context;
    *failed = &ctx->failed;
    return !ctx->broken;
}

static gr_tensor *header(gr_scope *scope, gr_dtype dtype, const gr_dims *shape)
{
    gr_tensor *x = gr_scope_allocate(scope, (int64_t)sizeof *x);
    if (!x)
        return NULL;
    x->state = GR_LIVE;
    x->dtype = dtype;
    x->ctx = scope->ctx;
    x->ndim = shape->count;
    int64_t stride = 1;
    for (int i = shape->count - 1; i >= 0; i--) {
        x->shape[i] = shape->at[i];
        x->strides[i] = stride;
        stride *= shape->at[i] > 0 ? shape->at[i] : 1;
    }
    x->next = scope->tensors;
    scope->tensors = x;
    return x;
}

gr_tensor *gr_tensor_in(gr_scope *scope, const char *op, gr_dtype dtype, const gr_dims *shape)
{
    scope->ctx->doing = op;
    if (!gr_check_shape(scope->ctx, op, dtype, shape))
        return NULL;
    char *data = gr_buffer(scope, gr_dims_count(shape) * gr_dtype_size(dtype));
    gr_tensor *x = data ? header(scope, dtype, shape) : NULL;
    if (x)
        x->data = data;
    return x;
}

gr_tensor *gr_view_of(const gr_tensor *x)
{
    const gr_dims shape = gr_shape_of(x);
    gr_tensor *view = header(x->ctx->scope, x->dtype, &shape);
    if (!view)
        return NULL;
    memcpy(view->strides, x->strides, sizeof view->strides);
    view->data = x->data;
    view->weak = x->weak;
    return view;
}

bool gr_usable(const char *op, gr_tensor *x, int position, gr_tensor **failed)
{
    if (!x) {
        *failed = &gr_null_context.failed;
        return false;
    }
    *failed = &gr_context_of(x)->failed;
    if (x->state == GR_DEAD)
        gr_fail(x->ctx, GR_ERROR_SCOPE, op, "operand %d belongs to a scope that has ended",
                position);
    return x->state == GR_LIVE;
}

/* ---- Looking at tensors ---------------------------------------------------------------------- */

/* A header that is neither live, dead nor failed was written over: nothing in it can be used. */
gr_context *gr_context_of(const gr_tensor *x)
{
    const bool sane = x && (x->state == GR_LIVE || x->state == GR_DEAD || x->state == GR_FAILED);
    return sane ? x->ctx : &gr_null_context;
}

bool gr_failed(const gr_tensor *x) { return !x || x->state != GR_LIVE; }
gr_dtype gr_dtype_of(const gr_tensor *x) { return x ? x->dtype : GR_F32; }
int gr_ndim(const gr_tensor *x) { return x ? x->ndim : 0; }
const void *gr_data(const gr_tensor *x) { return x ? x->data : NULL; }
void *gr_data_mutable(gr_tensor *x) { return x ? x->data : NULL; }
bool gr_requires_grad(const gr_tensor *x) { return x && x->requires_grad; }

gr_dims gr_shape_of(const gr_tensor *x)
{
    return x ? gr_dims_from(x->ndim, x->shape) : (gr_dims){0};
}

gr_dims gr_strides_of(const gr_tensor *x)
{
    return x ? gr_dims_from(x->ndim, x->strides) : (gr_dims){0};
}

int64_t gr_size(const gr_tensor *x, int axis)
{
    const int at = x ? gr_axis_of(x->ndim, axis) : -1;
    return at < 0 ? -1 : x->shape[at];
}

int64_t gr_numel(const gr_tensor *x)
{
    if (gr_failed(x))
        return 0;
    const gr_dims shape = gr_shape_of(x);
    return gr_dims_count(&shape);
}

bool gr_is_contiguous(const gr_tensor *x)
{
    int64_t stride = 1;
    for (int i = x ? x->ndim - 1 : -1; i >= 0; i--) {
        if (x->shape[i] != 1 && x->strides[i] != stride)
            return gr_numel(x) == 0;
        stride *= x->shape[i];
    }
    return x != NULL;
}

double gr_item(gr_tensor *x)
{
    gr_tensor *failed;
    if (!gr_usable("item", x, 0, &failed))
        return NAN;
    if (gr_numel(x) != 1) {
        gr_fail(x->ctx, GR_ERROR_SHAPE, "item", "shape %s has not one element",
                gr_shape_text(x).text);
        gr_finish(x->ctx);
        return NAN;
    }
    double value;
    gr_convert(x->dtype, x->data, GR_F64, &value, 1);
    return value;
}

double gr_get(gr_tensor *x, gr_dims index)
{
    gr_tensor *failed;
    if (!gr_usable("get", x, 0, &failed))
        return NAN;
    bool inside = index.count == x->ndim;
    int64_t offset = 0;
    for (int i = 0; inside && i < x->ndim; i++) {
        const int64_t at = index.at[i] + (index.at[i] < 0 ? x->shape[i] : 0);
        inside = at >= 0 && at < x->shape[i];
        offset += inside ? at * x->strides[i] : 0;
    }
    if (!inside) {
        gr_fail(x->ctx, GR_ERROR_ARGUMENT, "get", "index %s lies outside shape %s",
                gr_dims_text(&index).text, gr_shape_text(x).text);
        gr_finish(x->ctx);
        return NAN;
    }
    double value;
    gr_convert(x->dtype, x->data + offset * gr_dtype_size(x->dtype), GR_F64, &value, 1);
    return value;
}

/* Checks what gr_read and gr_write have in common. */
static gr_status check_copy(const char *op, gr_tensor *x, gr_dtype dtype, int64_t count,
                            const void *data)
{
    gr_tensor *failed;
    if (!gr_usable(op, x, 0, &failed))
        return failed->ctx->error ? failed->ctx->error : GR_ERROR_NULL;
    if (!known(dtype))
        return gr_fail(x->ctx, GR_ERROR_DTYPE, op, "unknown dtype %d", (int)dtype);
    if (count != gr_numel(x))
        return gr_fail(x->ctx, GR_ERROR_SHAPE, op, "shape %s has %lld elements, not %lld",
                       gr_shape_text(x).text, (long long)gr_numel(x), (long long)count);
    if (count && !data)
        return gr_fail(x->ctx, GR_ERROR_NULL, op, "data is NULL");
    return GR_OK;
}

gr_status gr_read(gr_tensor *x, gr_dtype dtype, int64_t count, void *data)
{
    const gr_status status = check_copy("read", x, dtype, count, data);
    if (status != GR_OK) {
        gr_finish(gr_context_of(x));
        return status;
    }
    const gr_dims shape = gr_shape_of(x);
    gr_reader reader;
    gr_reader_begin(&reader, x, &shape);
    gr_reader_read(&reader, 0, count, dtype, data);
    return GR_OK;
}

gr_status gr_write(gr_tensor *x, gr_dtype dtype, int64_t count, const void *data)
{
    gr_status status = check_copy("write", x, dtype, count, data);
    if (status == GR_OK && x->entry)
        status = gr_fail(x->ctx, GR_ERROR_GRADIENT, "write",
                         "the result of a recorded op cannot be written");
    if (status == GR_OK && !gr_is_contiguous(x))
        status = gr_fail(x->ctx, GR_ERROR_SHAPE, "write", "a strided view cannot be written");
    if (status == GR_OK)
        gr_convert(dtype, data, x->dtype, x->data, count);
    else
        gr_finish(gr_context_of(x));
    return status;
}
