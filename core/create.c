/* create.c - tensors from nothing but a shape and values.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <string.h>

/* A tensor of the innermost scope, or the failed one. */
static gr_tensor *make(gr_context *ctx, const char *op, gr_dtype dtype, const gr_dims *shape)
{
    gr_tensor *failed;
    if (!gr_context_usable(ctx, &failed))
        return failed;
    gr_tensor *x = gr_tensor_in(ctx->scope, op, dtype, shape);
    return x ? x : failed;
}

static gr_tensor *fill(gr_tensor *x, double value)
{
    if (gr_failed(x))
        return x;
    const int64_t size = gr_dtype_size(x->dtype), count = gr_numel(x);
    char element[8];
    gr_convert(GR_F64, &value, x->dtype, element, 1);
    for (int64_t i = 0; i < count; i++)
        memcpy(x->data + i * size, element, (size_t)size);
    return x;
}

gr_tensor *gr_zeros(gr_context *ctx, gr_dtype dtype, gr_dims shape)
{
    gr_tensor *x = make(ctx, "zeros", dtype, &shape);
    if (!gr_failed(x))
        memset(x->data, 0, (size_t)(gr_numel(x) * gr_dtype_size(dtype)));
    return x;
}

gr_tensor *gr_ones(gr_context *ctx, gr_dtype dtype, gr_dims shape)
{
    return fill(make(ctx, "ones", dtype, &shape), 1);
}

gr_tensor *gr_full(gr_context *ctx, gr_dtype dtype, gr_dims shape, double value)
{
    return fill(make(ctx, "full", dtype, &shape), value);
}

gr_tensor *gr_from_data(gr_context *ctx, gr_dtype dtype, gr_dims shape, const void *data)
{
    gr_tensor *x = make(ctx, "from_data", dtype, &shape);
    if (gr_failed(x) || gr_numel(x) == 0)
        return x;
    if (!data)
        return gr_fail_tensor(ctx, GR_ERROR_NULL, "from_data", "data for shape %s is NULL",
                              gr_dims_text(&shape).text);
    memcpy(x->data, data, (size_t)(gr_numel(x) * gr_dtype_size(dtype)));
    return x;
}

gr_tensor *gr_scalar(gr_context *ctx, double value)
{
    const gr_dims none = {0};
    gr_tensor *x = fill(make(ctx, "scalar", GR_F64, &none), value);
    if (!gr_failed(x))
        x->weak = true;
    return x;
}

/* A constant of x's context and dtype. */
static gr_tensor *make_like(const char *op, gr_tensor *x, const gr_dims *shape, double value)
{
    gr_tensor *failed;
    if (!gr_usable(op, x, 0, &failed))
        return failed;
    return fill(make(x->ctx, op, x->dtype, shape), value);
}

gr_tensor *gr_scalar_like(gr_tensor *x, double value)
{
    const gr_dims none = {0};
    return make_like("scalar_like", x, &none, value);
}

gr_tensor *gr_zeros_like(gr_tensor *x)
{
    const gr_dims shape = gr_shape_of(x);
    return make_like("zeros_like", x, &shape, 0);
}

gr_tensor *gr_ones_like(gr_tensor *x)
{
    const gr_dims shape = gr_shape_of(x);
    return make_like("ones_like", x, &shape, 1);
}

gr_tensor *gr_arange(gr_context *ctx, gr_dtype dtype, int64_t count)
{
    gr_tensor *failed;
    if (!gr_context_usable(ctx, &failed))
        return failed;
    if (count < 0)
        return gr_fail_tensor(ctx, GR_ERROR_ARGUMENT, "arange", "count %lld is negative",
                              (long long)count);
    const gr_dims shape = {.count = 1, .at = {count}};
    gr_tensor *x = make(ctx, "arange", dtype, &shape);
    for (int64_t i = 0; i < count && !gr_failed(x); i++)
        gr_convert(GR_I64, &i, dtype, x->data + i * gr_dtype_size(dtype), 1);
    return x;
}
