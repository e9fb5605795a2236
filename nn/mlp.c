/* mlp.c - linear layers with an activation between them.
 *
 * A model that failed to be made is also an object. It keeps the error and returns it from each
 * call.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/nn.h"
#include <stdio.h>

typedef struct parameter_name {
    char text[32];
} parameter_name;

struct gr_mlp {
    gr_context *ctx;  /* NULL: the model has no context */
    gr_status status; /* the error of its creation */
    gr_activation activation;
    int64_t count; /* number of parameters: weight and bias of each layer; 0 in a failed model */
    gr_tensor **parameters;
    parameter_name *names;
};

/* Stand-ins for models without a context. They are never written. */
#define STAND_IN(error) [error] = {.status = error},
static gr_mlp stand_ins[] = {GR_FIRST_ERRORS(STAND_IN)};

static gr_status check_sizes(gr_context *ctx, gr_activation activation, int count,
                             const int64_t *sizes)
{
    if (activation < GR_RELU || activation > GR_IDENTITY)
        return gr_fail(ctx, GR_ERROR_ARGUMENT, "mlp_new", "no activation has number %d",
                       (int)activation);
    if (count < 2)
        return gr_fail(ctx, GR_ERROR_ARGUMENT, "mlp_new",
                       "%d sizes: it takes two at least, inputs and outputs", count);
    if (!sizes)
        return gr_fail(ctx, GR_ERROR_NULL, "mlp_new", "sizes is NULL");
    for (int i = 0; i < count; i++) {
        if (sizes[i] < 1)
            return gr_fail(ctx, GR_ERROR_ARGUMENT, "mlp_new", "size %d is %lld, below 1", i,
                           (long long)sizes[i]);
    }
    return GR_OK;
}

/* Allocates the lists. False after MEMORY. */
static bool allocate_lists(gr_mlp *mlp, int64_t count)
{
    gr_context *ctx = mlp->ctx;
    mlp->parameters = gr_block_new(ctx, count * (int64_t)sizeof *mlp->parameters);
    mlp->names = gr_block_new(ctx, count * (int64_t)sizeof *mlp->names);
    return mlp->parameters && mlp->names;
}

static bool add_layer(gr_mlp *mlp, gr_dtype dtype, int i, const int64_t *sizes)
{
    gr_linear layer = gr_linear_new(mlp->ctx, dtype, sizes[i], sizes[i + 1], mlp->activation);
    if (gr_failed(layer.weight))
        return false;
    mlp->parameters[2 * i] = layer.weight;
    mlp->parameters[2 * i + 1] = layer.bias;
    mlp->count += 2;
    snprintf(mlp->names[2 * i].text, sizeof *mlp->names, "layers.%d.weight", i);
    snprintf(mlp->names[2 * i + 1].text, sizeof *mlp->names, "layers.%d.bias", i);
    return true;
}

/* Makes the layers. After an error it returns false and restores the random state. */
static bool make_layers(gr_mlp *mlp, gr_dtype dtype, int count, const int64_t *sizes)
{
    if (!allocate_lists(mlp, 2 * ((int64_t)count - 1)))
        return false;
    const uint64_t stream = mlp->ctx->stream;
    for (int i = 0; i + 1 < count; i++) {
        if (!add_layer(mlp, dtype, i, sizes)) {
            mlp->ctx->stream = stream;
            return false;
        }
    }
    return true;
}

/* Releases everything that the model holds, but not the model itself. */
static void release(gr_mlp *mlp)
{
    for (int64_t i = 0; i < mlp->count; i += 2)
        gr_linear_free(&(gr_linear){mlp->parameters[i], mlp->parameters[i + 1]});
    gr_block_free(mlp->ctx, mlp->parameters);
    gr_block_free(mlp->ctx, mlp->names);
}

gr_mlp *gr_mlp_new(gr_context *ctx, gr_dtype dtype, gr_activation activation, int count,
                   const int64_t *sizes)
{
    gr_tensor *failed;
    if (!gr_context_usable(ctx, &failed))
        return &stand_ins[gr_ctx(failed)->error];
    ctx->doing = "mlp_new";
    gr_mlp *mlp = gr_block_new(ctx, (int64_t)sizeof *mlp);
    if (!mlp) {
        /* The result has no link to the context, so the macro cannot add a place to the error. */
        gr_finish(ctx);
        return &stand_ins[GR_ERROR_MEMORY];
    }
    *mlp = (gr_mlp){.ctx = ctx, .activation = activation};
    mlp->status = check_sizes(ctx, activation, count, sizes);
    if (mlp->status == GR_OK && !make_layers(mlp, dtype, count, sizes)) {
        release(mlp);
        *mlp = (gr_mlp){.ctx = ctx, .status = ctx->error};
    }
    return mlp;
}

gr_mlp *gr_mlp_here(gr_mlp *mlp, const char *file, int line)
{
    if (!mlp)
        return &stand_ins[GR_ERROR_NULL];
    if (mlp->ctx && mlp->status != GR_OK)
        gr_finish_at(mlp->ctx, file, line);
    return mlp;
}

void gr_mlp_free(gr_mlp *mlp)
{
    if (!mlp || !mlp->ctx)
        return;
    release(mlp);
    gr_block_free(mlp->ctx, mlp);
}

static gr_tensor *activate(gr_activation activation, gr_tensor *x)
{
    switch (activation) {
    case GR_RELU:
        return gr_relu(x);
    case GR_TANH:
        return gr_tanh(x);
    case GR_SIGMOID:
        return gr_sigmoid(x);
    case GR_IDENTITY:
        break;
    }
    return x;
}

gr_tensor *gr_mlp_forward(const gr_mlp *mlp, gr_tensor *x)
{
    gr_tensor *failed;
    if (!gr_usable("mlp_forward", x, 1, &failed))
        return failed;
    if (!mlp || mlp->status != GR_OK)
        return gr_fail_tensor(gr_ctx(x), mlp ? mlp->status : GR_ERROR_NULL, "mlp_forward",
                              mlp ? "the model could not be made" : "model is NULL");
    for (int64_t i = 0; i < mlp->count; i += 2) {
        const gr_linear layer = {mlp->parameters[i], mlp->parameters[i + 1]};
        if (i > 0)
            x = activate(mlp->activation, x);
        x = gr_linear_forward(&layer, x);
    }
    return x;
}

gr_tensors gr_mlp_parameters(const gr_mlp *mlp)
{
    return mlp && mlp->count ? (gr_tensors){mlp->count, mlp->parameters} : (gr_tensors){0, NULL};
}

const char *gr_mlp_parameter_name(const gr_mlp *mlp, int64_t i)
{
    return mlp && i >= 0 && i < mlp->count ? mlp->names[i].text : NULL;
}
