/* use.cc - how C++ gives options: a struct that begins with its defaults. It is only compiled, with
 * strict warnings.
 *
 * SPDX-License-Identifier: MIT
 */
#include <gradus/gradus.h>

gr_tensor *use(gr_context *ctx, gr_tensors parameters, gr_tensor *x, gr_tensor *y,
               gr_optimizer **made);

gr_tensor *use(gr_context *ctx, gr_tensors parameters, gr_tensor *x, gr_tensor *y,
               gr_optimizer **made)
{
    gr_adam_args adam = gr_adamw_defaults();
    adam.parameters = parameters;
    adam.weight_decay = 0;
    *made = gr_adamw_with(ctx, &adam);
    gr_bce_args bce = gr_bce_defaults();
    bce.target = y;
    bce.alpha = 0;
    return gr_bce_with_logits_with(x, &bce);
}
