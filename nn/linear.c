/* linear.c - the layer y = x weight^T + bias.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/nn.h"

static gr_tensor *new_weight(gr_context *ctx, gr_dtype dtype, int64_t in, int64_t out,
                             gr_activation init)
{
    gr_tensor *x =
        init == GR_RELU ? gr_kaiming(ctx, dtype, out, in) : gr_xavier(ctx, dtype, out, in);
    return gr_parameter(x);
}

static gr_linear failed_layer(gr_tensor *failed) { return (gr_linear){failed, failed}; }

/* Makes the parameters of a layer. One of them may have failed. */
static gr_linear make_parameters(gr_context *ctx, gr_dtype dtype, int64_t in, int64_t out,
                                 gr_activation init)
{
    gr_linear layer = failed_layer(ctx->failed);
    ctx->doing = "linear_new";
    gr_scope *scope = gr_scope_open(ctx); /* the originals are freed with this scope */
    if (scope) {
        layer.weight = new_weight(ctx, dtype, in, out, init);
        layer.bias = gr_parameter(gr_zeros(ctx, dtype, (gr_dims){.count = 1, .at = {out}}));
    }
    gr_scope_close(scope);
    return layer;
}

gr_linear gr_linear_new(gr_context *ctx, gr_dtype dtype, int64_t in, int64_t out,
                        gr_activation init)
{
    gr_tensor *failed;
    if (!gr_context_usable(ctx, &failed))
        return failed_layer(failed);
    if (init < GR_RELU || init > GR_IDENTITY)
        return failed_layer(gr_fail_tensor(ctx, GR_ERROR_ARGUMENT, "linear_new",
                                           "no activation has number %d", (int)init));
    const uint64_t stream = ctx->stream;
    gr_linear layer = make_parameters(ctx, dtype, in, out, init);
    if (gr_failed(layer.weight) || gr_failed(layer.bias)) {
        gr_linear_free(&layer);
        ctx->stream = stream;
        layer = failed_layer(ctx->failed);
    }
    return layer;
}

gr_linear gr_linear_here(gr_linear layer, const char *file, int line)
{
    if (!layer.weight || !layer.bias)
        return failed_layer(gr_null_context.failed);
    gr_here(layer.weight, file, line);
    return layer;
}

/* weight^T is a view, so the matrix product reads the weight without a copy. */
gr_tensor *gr_linear_forward(const gr_linear *layer, gr_tensor *x)
{
    if (!layer) {
        gr_tensor *failed;
        if (gr_usable("linear_forward", x, 1, &failed))
            failed = gr_fail_tensor(gr_ctx(x), GR_ERROR_NULL, "linear_forward", "layer is NULL");
        return failed;
    }
    return gr_add(gr_matmul(x, gr_transpose(layer->weight)), layer->bias);
}

void gr_linear_free(gr_linear *layer)
{
    if (!layer)
        return;
    gr_tensor *const both[] = {layer->weight, layer->bias};
    for (int i = 0; i < 2; i++)
        if (!gr_failed(both[i]))
            gr_parameter_free(both[i]);
    *layer = (gr_linear){NULL, NULL};
}
