/* look.c - reads the fields of tensors and the values of their elements.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/tensor/tensor.h"
#include <math.h>

/* ---- Fields ---------------------------------------------------------------------------------- */

static bool live(const gr_tensor *x) { return x && gr_state(x) == GR_LIVE; }

gr_context *gr_context_of(const gr_tensor *x) { return x ? gr_ctx(x) : &gr_null_context; }
bool gr_failed(const gr_tensor *x) { return !live(x); }
gr_dtype gr_dtype_of(const gr_tensor *x) { return live(x) ? gr_type(x) : GR_F32; }
int gr_ndim(const gr_tensor *x) { return live(x) ? gr_axes_of(x) : 0; }
int64_t gr_numel(const gr_tensor *x) { return live(x) ? gr_count(x) : 0; }
const void *gr_data(const gr_tensor *x) { return live(x) ? gr_bytes(x) : NULL; }
bool gr_requires_grad(const gr_tensor *x) { return live(x) && gr_wants_grad(x); }

gr_dims gr_shape_of(const gr_tensor *x)
{
    return live(x) ? gr_dims_from(gr_axes_of(x), gr_sizes(x)) : (gr_dims){0};
}

gr_dims gr_strides_of(const gr_tensor *x)
{
    return live(x) ? gr_dims_from(gr_axes_of(x), gr_steps(x)) : (gr_dims){0};
}

int64_t gr_size(const gr_tensor *x, int axis)
{
    const int at = live(x) ? gr_axis_of(gr_axes_of(x), axis) : -1;
    return at < 0 ? -1 : gr_sizes(x)[at];
}

bool gr_is_contiguous(const gr_tensor *x)
{
    if (!live(x))
        return false;
    int64_t stride = 1;
    for (int i = gr_axes_of(x) - 1; i >= 0; i--) {
        if (gr_sizes(x)[i] != 1 && gr_steps(x)[i] != stride)
            return gr_count(x) == 0;
        stride *= gr_sizes(x)[i];
    }
    return true;
}

/* ---- Elements -------------------------------------------------------------------------------- */

double gr_item(gr_tensor *x)
{
    gr_tensor *failed;
    if (!gr_usable("item", x, 0, &failed))
        return NAN;
    if (gr_count(x) != 1) {
        gr_fail(gr_ctx(x), GR_ERROR_SHAPE, "item", "shape %s has not one element",
                gr_shape_text(x).text);
        gr_finish(gr_ctx(x));
        return NAN;
    }
    double value;
    gr_convert(gr_type(x), gr_bytes(x), GR_F64, &value, 1);
    return value;
}

double gr_get(gr_tensor *x, gr_dims index)
{
    gr_tensor *failed;
    if (!gr_usable("get", x, 0, &failed))
        return NAN;
    bool inside = index.count == gr_axes_of(x);
    int64_t offset = 0;
    for (int i = 0; inside && i < gr_axes_of(x); i++) {
        const int64_t at = index.at[i] + (index.at[i] < 0 ? gr_sizes(x)[i] : 0);
        inside = at >= 0 && at < gr_sizes(x)[i];
        offset += inside ? at * gr_steps(x)[i] : 0;
    }
    if (!inside) {
        gr_fail(gr_ctx(x), GR_ERROR_ARGUMENT, "get", "index %s lies outside shape %s",
                gr_dims_text(&index).text, gr_shape_text(x).text);
        gr_finish(gr_ctx(x));
        return NAN;
    }
    double value;
    gr_convert(gr_type(x), gr_bytes(x) + offset * gr_dtype_size(gr_type(x)), GR_F64, &value, 1);
    return value;
}

gr_status gr_check_copy(const char *op, const gr_tensor *x, gr_dtype dtype, int64_t count,
                        const void *data)
{
    gr_tensor *failed;
    if (!gr_usable(op, x, 0, &failed))
        return gr_ctx(failed)->error;
    gr_context *ctx = gr_ctx(x);
    if (gr_dtype_size(dtype) == 0)
        return gr_fail(ctx, GR_ERROR_DTYPE, op, "unknown dtype %d", (int)dtype);
    if (count != gr_count(x))
        return gr_fail(ctx, GR_ERROR_SHAPE, op, "shape %s has %lld elements, not %lld",
                       gr_shape_text(x).text, (long long)gr_count(x), (long long)count);
    if (count && !data)
        return gr_fail(ctx, GR_ERROR_NULL, op, "data is NULL");
    return GR_OK;
}

gr_status gr_read(gr_tensor *x, gr_dtype dtype, int64_t count, void *data)
{
    const gr_status status = gr_check_copy("read", x, dtype, count, data);
    if (status != GR_OK) {
        gr_finish(gr_context_of(x));
        return status;
    }
    const gr_dims shape = gr_shape_of(x);
    gr_copy_elements(x, &shape, dtype, data);
    return GR_OK;
}
