/* linear.c - the layer y = x weight^T + bias.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"

static gr_tensor *new_weight(gr_context *ctx, gr_dtype dtype, int64_t in, int64_t out,
                             gr_activation init)
{
    gr_tensor *x =
        init == GR_RELU ? gr_kaiming(ctx, dtype, out, in) : gr_xavier(ctx, dtype, out, in);
    return gr_parameter(x);
}

gr_linear gr_linear_new(gr_context *ctx, gr_dtype dtype, int64_t in, int64_t out,
                        gr_activation init)
{
    gr_tensor *failed;
    if (!gr_context_usable(ctx, &failed))
        return (gr_linear){failed, failed};
    if (init < GR_RELU || init > GR_IDENTITY) {
        failed = gr_fail_tensor(ctx, GR_ERROR_ARGUMENT, "linear_new", "no activation has number %d",
                                (int)init);
        return (gr_linear){failed, failed};
    }
    const uint64_t stream = ctx->stream;
    /* What the parameters are copied from dies with a scope of its own. */
    const bool begun = gr_scope_begin(ctx) == GR_OK;
    gr_tensor *weight = new_weight(ctx, dtype, in, out, init);
    gr_tensor *bias = gr_parameter(gr_zeros(ctx, dtype, (gr_dims){.count = 1, .at = {out}}));
    if (!begun || gr_failed(weight) || gr_failed(bias)) {
        weight = bias = &ctx->failed;
        ctx->stream = stream; /* before the scope's end, which may call an error handler */
    }
    (void)!gr_scope_end(ctx); /* the context has kept what went wrong */
    return (gr_linear){weight, bias};
}

/* weight^T is a view: the matrix product reads it where it lies. */
gr_tensor *gr_linear_forward(const gr_linear *layer, gr_tensor *x)
{
    if (!layer) {
        gr_tensor *failed;
        if (gr_usable("linear_forward", x, 1, &failed))
            failed = gr_fail_tensor(x->ctx, GR_ERROR_NULL, "linear_forward", "layer is NULL");
        return failed;
    }
    return gr_add(gr_matmul(x, gr_transpose(layer->weight)), layer->bias);
}
