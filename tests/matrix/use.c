/* use.c - one line for each form in which the macros of the headers can be called. It is only
 * compiled, with strict warnings.
 *
 * SPDX-License-Identifier: MIT
 */
#include <gradus/gradus.h>

gr_tensor *use(gr_context *ctx, gr_tensor *x, gr_tensor *y, gr_optimizer **made);

gr_tensor *use(gr_context *ctx, gr_tensor *x, gr_tensor *y, gr_optimizer **made)
{
    gr_tensor *zeros = gr_zeros(ctx, GR_F32, gr_shape());
    gr_tensor *rows = gr_reshape(x, gr_shape(2, -1));
    gr_tensor *sums = gr_add(gr_sum(x), gr_sum(x, .axes = gr_axes(0, -1), .keepdim = true));
    gr_tensor *means = gr_add(gr_mean(rows), gr_mean(rows, .axes = gr_axes(1)));
    gr_tensor *plain = gr_add(gr_bce(x, y), gr_bce_with_logits(x, y));
    gr_tensor *weighed = gr_bce_with_logits(x, y, .pos_weight = zeros, .reduction = GR_SUM);
    made[0] = gr_sgd(ctx, gr_list(x), .lr = 0.1, .momentum = 0.9);
    made[1] = gr_adam(ctx, gr_list(x, y));
    made[2] = gr_adamw(ctx, gr_list(x, y), .weight_decay = 0);
    gr_status status = gr_backward(gr_add(gr_add(sums, means), gr_add(plain, weighed)));
    return status == GR_OK ? gr_keep(x) : zeros;
}
