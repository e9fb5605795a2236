/* sample.c - converts rows of a table to a perceptron's input.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample.h"

#include "fail.h"

#include <gradus/extend.h>
#include <gradus/ops.h>
#include <string.h>

gr_tensor *take(gr_context *ctx, gr_tensor *x, int64_t count, const int64_t *chosen)
{
    gr_dims shape = gr_shape_of(x);
    size_t bytes = (size_t)(gr_numel(x) / shape.at[0] * gr_dtype_size(gr_dtype_of(x)));
    shape.at[0] = count;
    gr_tensor *taken = gr_zeros(ctx, gr_dtype_of(x), shape);
    give_up_error(ctx);
    char *to = gr_data_mutable(taken);
    const char *from = gr_data(x);
    for (int64_t i = 0; i < count; i++)
        memcpy(to + (size_t)i * bytes, from + (size_t)chosen[i] * bytes, bytes);
    return taken;
}

sample sample_of(gr_context *ctx, const classifier *c, const table *t, row_list chosen)
{
    gr_tensor *x = take(ctx, t->x, chosen.count, chosen.at);
    sample s = {.rows = chosen.count, .x = gr_cast(standardise(c, x), GR_F32)};
    if (t->positive) {
        gr_tensor *positive = gr_from_data(ctx, GR_U8, gr_shape(t->rows), t->positive);
        s.y = gr_cast(take(ctx, positive, chosen.count, chosen.at), GR_F32);
    }
    give_up_error(ctx);
    return s;
}

sample batch_of(gr_context *ctx, const sample *s, int64_t count, const int64_t *chosen)
{
    return (sample){count, take(ctx, s->x, count, chosen), take(ctx, s->y, count, chosen)};
}

gr_tensor *probabilities_of(const gr_mlp *mlp, const sample *s)
{
    return gr_sigmoid(logits_of(mlp, s->x));
}
