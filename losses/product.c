/* product.c - a product in which the first factor, if it is 0, wins over an infinite second one.
 *
 * A weight, a share of the target or an upstream gradient of 0 says that something does not count.
 * This must hold for an infinite loss or slope too, so the losses multiply by this product where
 * both can meet. Its rule uses itself, with the upstream gradient first, so it holds for
 * derivatives of every order. NaN stays NaN; so does an infinite weight of a loss of 0.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/losses.h"

/* product(a, b) = a b, 0 if a is 0 and b infinite;  da = product(g, b), db = product(g, a) */
static void product_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    if (n->wanted[0])
        dx[0] = gr_loss_product(g, n->in[1]);
    if (n->wanted[1])
        dx[1] = gr_loss_product(g, n->in[0]);
}
static const gr_row product_row = {{.name = "product",
                                    .formula = "a == 0 && isinf(b) ? 0 : a * b",
                                    .kind = GR_ELEMENTWISE,
                                    .arity = 2,
                                    .flags = GR_OP_STRIDED,
                                    .run = gr_elementwise_run,
                                    .vjp = product_vjp,
                                    .reads = {GR_READS_IN(1), GR_READS_IN(0)}},
                                   GR_KERNEL_TIMES};
gr_tensor *gr_loss_product(gr_tensor *a, gr_tensor *b)
{
    return gr_apply_with(&product_row.op, 2, (gr_tensor *[]){a, b}, NULL);
}
