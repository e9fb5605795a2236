/* bce_with_logits.c - binary cross entropy of a logit x with target y and pos_weight p.
 *
 *     q = log1p(exp(-|x|)),   s(x) = 1 / (1 + exp(-x))
 *     l = (1-y) max(x,0) + p y max(-x,0) + ((1-y) + p y) q  =  (1-y) softplus(x) + p y softplus(-x)
 *
 * No term cancels, so the loss and its gradients keep their digits in both tails. The options, in
 * bce_options.c, in the order in which they act:
 *
 *     .label_smoothing e   y (1-e) + e/2 stands for y
 *     .gamma, .alpha       l times (1-p_t)^gamma (alpha y + (1-alpha)(1-y));  p_t = s(x) y + s(-x)(1-y)
 *     .weight w            times w
 *     .mask                0 where the mask is 0, and so are the gradients
 *     .reduction           none, sum, or mean over .denominator: all, kept ones, or the sum of w
 *
 * One pass of the kernel (kernels/bce.inc) gives value and gradients; where the backward pass is
 * itself recorded, the rule is the composition of the element's loss below, the options and the
 * reduction.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/losses.h"
#include <float.h>

static const gr_bce_kind kind;
static gr_tensor *times_limit(gr_tensor *c, gr_tensor *v);
static gr_tensor *target_slope(gr_tensor *x, gr_tensor *p);

gr_tensor *gr_bce_with_logits_with(gr_tensor *logits, const gr_bce_args *args)
{
    return gr_bce_apply(&kind, logits, args);
}

/* The elements' losses l(x, y, p):
       dx = (1-y) s(x) - p y s(-x),   dy = p softplus(-x) - softplus(x),   dp = y softplus(-x) */
static void element_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *x = n->in[0], *y = n->in[1], *p = n->in[2], *minus_x = gr_neg(x);
    if (n->wanted[0]) {
        gr_tensor *up = gr_mul(gr_loss_one_minus(y), gr_sigmoid(x));
        gr_tensor *down = gr_mul(gr_loss_times(p, y), gr_sigmoid(minus_x));
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
static const gr_op element_op = {.name = "bce_with_logits",
                                 .arity = 3,
                                 .flags = GR_OP_STRIDED,
                                 .forward = element_forward,
                                 .vjp = element_vjp,
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

static const gr_bce_kind kind = {.op = GR_BCE_OP("bce_with_logits"),
                                 .kernel = GR_KERNEL_BCE_WITH_LOGITS,
                                 .neutral = 0,
                                 .element = element,
                                 .probabilities = probabilities};

/* ---- Without cancellation, up to infinity ---------------------------------------------------- */

/* c v, where a coefficient c of exactly 0 kills an infinite v: the limit as v grows. NaN stays. */
static gr_tensor *times_limit(gr_tensor *c, gr_tensor *v)
{
    const double most = v->dtype == GR_F64 ? DBL_MAX : v->dtype == GR_F16 ? 65504 : 0x1.fep127;
    gr_tensor *finite = gr_minimum(v, gr_scalar_like(v, most));
    return gr_mul(c, gr_where(gr_equal(c, gr_scalar_like(c, 0)), finite, v));
}

/* p softplus(-x) - softplus(x), which cancels for p near 1, as (p-1) softplus(-|x|) + (x < 0 ? -p x
   : -x). Each side is written as a function that is smooth at 0, for its gradient's sake. */
static gr_tensor *target_slope(gr_tensor *x, gr_tensor *p)
{
    gr_tensor *minus_x = gr_neg(x), *more = gr_sub(p, gr_scalar_like(p, 1));
    gr_tensor *below = gr_add(gr_mul(more, gr_softplus(x)), times_limit(p, minus_x));
    gr_tensor *above = gr_sub(gr_mul(more, gr_softplus(minus_x)), x);
    return gr_where(gr_less(x, gr_scalar_like(x, 0)), below, above);
}
