/* logistic.c - the first program: logistic regression in one screen.
 *
 * SPDX-License-Identifier: MIT
 */
#include <gradus/gradus.h>
#include <stdio.h>

int main(void)
{
    gr_context *ctx = gr_context_new(NULL); /* owns everything below */
    gr_tensor *x = gr_randn(ctx, GR_F32, gr_shape(200, 2));
    gr_tensor *side = gr_sum(x, .axes = gr_axes(1));
    gr_tensor *y = gr_cast(gr_greater(side, gr_scalar(ctx, 0)), GR_F32);
    gr_tensor *w = gr_parameter(gr_zeros(ctx, GR_F32, gr_shape(2)));
    gr_tensor *b = gr_parameter(gr_zeros(ctx, GR_F32, gr_shape()));
    gr_optimizer *opt = gr_adam(ctx, gr_list(w, b), .lr = 0.1);

    for (int step = 0; step < 100; step++) {
        gr_scope_begin(ctx); /* this step's tensors */
        gr_tensor *loss = gr_bce_with_logits(gr_add(gr_matmul(x, w), b), y);
        if (gr_backward(loss) != GR_OK || gr_step(opt) != GR_OK)
            break;
        if (step % 20 == 0)
            printf("step %3d  loss %.4f\n", step, gr_item(loss));
        gr_scope_end(ctx); /* ... are gone */
    }

    if (gr_error(ctx) != GR_OK)
        fprintf(stderr, "logistic: %s\n", gr_error_message(ctx));
    return gr_context_free(ctx) == GR_OK ? 0 : 1;
}
