/* init.c - random weights. Their size fits the layer, so that signals keep their size from layer to
 * layer.
 *
 * A call that fails leaves the random state of the context as it was. So later draws do not depend
 * on earlier failures.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/nn.h"
#include <math.h>

static gr_status check_weights(gr_context *ctx, const char *op, gr_dtype dtype, int64_t out,
                               int64_t in)
{
    if (out < 1 || in < 1)
        return gr_fail(ctx, GR_ERROR_SHAPE, op, "sizes must be at least 1, not %lld and %lld",
                       (long long)out, (long long)in);
    if (!gr_dtype_is_float(dtype))
        return gr_fail(ctx, GR_ERROR_DTYPE, op, "weights are floats, not %s", gr_dtype_name(dtype));
    return GR_OK;
}

static gr_dims weight_shape(int64_t out, int64_t in)
{
    return (gr_dims){.count = 2, .at = {out, in}};
}

/* Returns x. If x has failed, restores the random state. */
static gr_tensor *keep_or_put_back(gr_context *ctx, gr_tensor *x, uint64_t stream)
{
    if (gr_failed(x))
        ctx->stream = stream;
    return x;
}

/* Returns sqrt(a / b) in the standard mode of the processor. */
static double root_of_ratio(double a, double b)
{
    const gr_float_mode host = gr_float_mode_begin();
    const double root = gr_stay_in_mode(sqrt(gr_stay_in_mode(a) / b));
    gr_float_mode_end(host);
    return root;
}

gr_tensor *gr_kaiming(gr_context *ctx, gr_dtype dtype, int64_t out, int64_t in)
{
    gr_tensor *failed;
    if (!gr_context_usable(ctx, &failed))
        return failed;
    if (check_weights(ctx, "kaiming", dtype, out, in) != GR_OK)
        return ctx->failed;
    const uint64_t stream = ctx->stream;
    gr_tensor *normal = gr_randn(ctx, dtype, weight_shape(out, in));
    gr_tensor *x = gr_mul(normal, gr_scalar(ctx, root_of_ratio(2, (double)in)));
    return keep_or_put_back(ctx, x, stream);
}

gr_tensor *gr_xavier(gr_context *ctx, gr_dtype dtype, int64_t out, int64_t in)
{
    gr_tensor *failed;
    if (!gr_context_usable(ctx, &failed))
        return failed;
    if (check_weights(ctx, "xavier", dtype, out, in) != GR_OK)
        return ctx->failed;
    const uint64_t stream = ctx->stream;
    const double bound = root_of_ratio(6, (double)in + (double)out);
    gr_tensor *centred = gr_sub(gr_rand(ctx, dtype, weight_shape(out, in)), gr_scalar(ctx, 0.5));
    return keep_or_put_back(ctx, gr_mul(centred, gr_scalar(ctx, 2 * bound)), stream);
}
