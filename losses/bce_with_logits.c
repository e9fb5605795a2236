/* bce_with_logits.c - binary cross entropy of a logit.
 *
 *     q = log1p(exp(-|x|)),   s(x) = 1 / (1 + exp(-x))
 *     l = (1-y) max(x,0) + p y max(-x,0) + ((1-y) + p y) q  =  (1-y) softplus(x) + p y softplus(-x)
 *
 * No term cancels, so the loss and its gradients keep their digits in both tails. Weight, mask, label
 * smoothing, focal factor and reduction are bce_options.c's; the kernel is in kernels/bce.inc.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/losses.h"

static gr_tensor *one_minus(gr_tensor *y) { return gr_sub(gr_scalar_like(y, 1), y); }
static gr_tensor *times(gr_tensor *p, gr_tensor *a) { return p ? gr_mul(p, a) : a; }

/* The elements' losses l(x, y, p):
       dx = (1-y) s(x) - p y s(-x),   dy = p softplus(-x) - softplus(x),   dp = y softplus(-x) */
static void element_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *x = n->in[0], *y = n->in[1], *p = n->in[2], *minus_x = gr_neg(x);
    if (n->wanted[0]) {
        gr_tensor *up = gr_mul(one_minus(y), gr_sigmoid(x));
        gr_tensor *down = gr_mul(times(p, y), gr_sigmoid(minus_x));
        dx[0] = gr_mul(g, gr_sub(up, down));
    }
    if (n->wanted[1] && p)
        dx[1] = gr_mul(g, gr_sub(gr_mul(p, gr_softplus(minus_x)), gr_softplus(x)));
    else if (n->wanted[1])
        dx[1] = gr_mul(g, minus_x); /* softplus(-x) - softplus(x), exactly */
    if (n->wanted[2])
        dx[2] = gr_mul(g, gr_mul(y, gr_softplus(minus_x)));
}
static gr_status element_forward(const gr_call *call)
{
    return gr_bce_element_forward(GR_KERNEL_BCE_WITH_LOGITS, 0, call);
}
static const gr_op element_op = {.name = "bce_with_logits", .arity = 3, .flags = GR_OP_STRIDED,
                                 .forward = element_forward, .vjp = element_vjp,
                                 .shape = gr_broadcast_shape};
static gr_tensor *element(gr_tensor *x, gr_tensor *y, gr_tensor *p)
{
    return gr_apply_with(&element_op, 3, (gr_tensor *[]){x, y, p}, NULL);
}

static void probabilities(gr_tensor *x, gr_tensor **positive, gr_tensor **negative)
{
    *positive = gr_sigmoid(x);
    *negative = gr_sigmoid(gr_neg(x));
}

/* The whole loss: one pass gives value and gradients; where the backward pass is recorded, the rule
   is the composition of element, options and reduction. */
static const gr_bce_kind kind;
static gr_status forward(const gr_call *call) { return gr_bce_forward(&kind, call); }
static gr_tensor *compose(const gr_node *n) { return gr_bce_compose(&kind, n); }
static void vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_vjp_by_composition(n, g, dx, compose);
}
static const gr_op op = {.name = "bce_with_logits", .arity = 5, .flags = GR_OP_STRIDED,
                         .forward = forward, .vjp = vjp, .fused_vjp = gr_bce_fused_vjp,
                         .shape = gr_bce_shape, .args_size = GR_BCE_CALL_SIZE};
static const gr_bce_kind kind = {.name = "bce_with_logits", .kernel = GR_KERNEL_BCE_WITH_LOGITS,
                                 .neutral = 0, .op = &op, .element = element,
                                 .probabilities = probabilities};

gr_tensor *gr_bce_with_logits_with(gr_tensor *logits, const gr_bce_args *args)
{
    return gr_bce_apply(&kind, logits, args);
}
