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
#include <float.h>

static gr_tensor *one_minus(gr_tensor *y) { return gr_sub(gr_scalar_like(y, 1), y); }
static gr_tensor *times(gr_tensor *p, gr_tensor *a) { return p ? gr_mul(p, a) : a; }

/* c v, where a coefficient c of exactly 0 kills an infinite v: the limit as v grows. NaN stays. */
static gr_tensor *times_limit(gr_tensor *c, gr_tensor *v)
{
    const double most = v->dtype == GR_F64 ? DBL_MAX : v->dtype == GR_F16 ? 65504 : 0x1.fep127;
    gr_tensor *finite = gr_minimum(v, gr_scalar_like(v, most));
    return gr_mul(c, gr_where(gr_equal(c, gr_scalar_like(c, 0)), finite, v));
}

/* p softplus(-x) - softplus(x), which cancels for p near 1, as (p-1) softplus(-|x|) + (x < 0 ? -p x : -x).
   Each side is written as a function that is smooth at 0, for its gradient's sake. */
static gr_tensor *target_slope(gr_tensor *x, gr_tensor *p)
{
    gr_tensor *minus_x = gr_neg(x), *more = gr_sub(p, gr_scalar_like(p, 1));
    gr_tensor *below = gr_add(gr_mul(more, gr_softplus(x)), times_limit(p, minus_x));
    gr_tensor *above = gr_sub(gr_mul(more, gr_softplus(minus_x)), x);
    return gr_where(gr_less(x, gr_scalar_like(x, 0)), below, above);
}

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
        dx[1] = gr_mul(g, target_slope(x, p));
    else if (n->wanted[1])
        dx[1] = gr_mul(g, minus_x); /* softplus(-x) - softplus(x), exactly */
    if (n->wanted[2])
        dx[2] = gr_mul(g, times_limit(y, gr_softplus(minus_x)));
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
