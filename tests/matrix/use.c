/* use.c - one line for each form in which the macros of the headers can be called. It is only
 * compiled, with strict warnings.
 *
 * SPDX-License-Identifier: MIT
 */
#include <gradus/gradus.h>

gr_tensor *use(gr_context *ctx, gr_tensor *x, gr_tensor *y, gr_optimizer **made, gr_function *f);

gr_tensor *use(gr_context *ctx, gr_tensor *x, gr_tensor *y, gr_optimizer **made, gr_function *f)
{
    gr_tensor *zeros = gr_zeros(ctx, GR_F32, gr_shape());
    gr_tensor *rows = gr_reshape(x, gr_shape(2, -1));
    gr_tensor *sums = gr_add(gr_sum(x), gr_sum(x, .axes = gr_axes(0, -1), .keepdim = true));
    gr_tensor *means = gr_add(gr_mean(rows), gr_mean(rows, .axes = gr_axes(1)));
    gr_tensor *plain = gr_add(gr_bce(x, y), gr_bce_with_logits(x, y));
    gr_tensor *weighed = gr_bce_with_logits(x, y, .pos_weight = zeros, .reduction = GR_SUM);
    made[0] = gr_sgd(ctx, gr_list(x), .lr = 0.1, .momentum = 0.9);
    made[1] = gr_adam(ctx, gr_list(x, y));
    made[2] = gr_adamw(ctx, gr_list(x, y), .weight_decay = 0, .lr = 1e-3);
    gr_tensor *nested = gr_huber(gr_smooth_l1(x, gr_poisson_nll(x, y, .eps = 0), .beta = 0),
                                 gr_gaussian_nll(x, y, zeros, .eps = 0), .delta = 2);
    gr_tensor *classes = gr_nll(gr_cross_entropy(x, y, .ignore_index = 0), y, .ignore_index = -1);
    gr_tensor *margins = gr_triplet_margin(gr_hinge_embedding(x, y, .margin = 0), nested, classes,
                                           .margin = 2, .p = 1, .eps = 0);
    gr_tensor *focal = gr_bce(margins, gr_bce_with_logits(x, y, .alpha = 0), .alpha = 1);
    gr_csv_free(gr_csv_read(ctx, "file", .delimiter = ';', .max_line = 80));
    if (gr_gradcheck(f, NULL, gr_list(x), .low = 0) != GR_OK || gr_gradcheck(f, NULL, gr_list(x)))
        return focal;
    gr_status status = gr_backward(gr_add(gr_add(sums, means), gr_add(plain, weighed)));
    return status == GR_OK ? gr_keep(x) : zeros;
}
