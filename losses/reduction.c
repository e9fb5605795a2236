/* reduction.c - reduces the losses of the elements.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/losses.h"
#include <math.h>

gr_status gr_check_reduction(gr_context *ctx, const char *op, gr_reduction reduction)
{
    if ((int)reduction >= GR_MEAN && reduction <= GR_NONE)
        return GR_OK;
    return gr_fail(ctx, GR_ERROR_REDUCTION, op,
                   "unknown reduction %d; the known ones are GR_MEAN, GR_SUM and GR_NONE",
                   (int)reduction);
}

gr_tensor *gr_loss_mean_of(gr_tensor *sum, gr_tensor *count)
{
    gr_tensor *none = gr_equal(count, gr_scalar_like(count, 0));
    gr_tensor *mean = gr_div(sum, gr_where(none, gr_scalar_like(count, 1), count));
    return gr_where(none, gr_scalar_like(sum, NAN), mean);
}

gr_tensor *gr_reduce_losses(gr_tensor *losses, gr_reduction reduction)
{
    const gr_reduce_args all = {.x = losses};
    if (reduction == GR_NONE)
        return losses;
    return reduction == GR_SUM ? gr_sum_with(&all) : gr_mean_with(&all);
}
