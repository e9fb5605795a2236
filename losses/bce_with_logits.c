/* bce_with_logits.c - binary cross entropy of a logit x with target y and pos_weight p.
 *
 *     q = log1p(exp(-|x|)),   s(x) = 1 / (1 + exp(-x))
 *     l = (1-y) max(x,0) + p y max(-x,0) + ((1-y) + p y) q
 *       = (1-y) softplus(x) + p y softplus(-x)
 *
 * No terms cancel, so the loss and its gradients stay precise in both tails. The options are in
 * bce_options.c. They act in this order:
 *
 *     .label_smoothing e   replaces y by y (1-e) + e/2
 *     .gamma, .alpha       multiplies by (1-p_t)^gamma (alpha y + (1-alpha) (1-y)),
 *                          p_t = s(x) y + s(-x) (1-y)
 *     .weight w            multiplies by w
 *     .mask                sets loss and gradients to 0 where the mask is 0
 *     .reduction           none, sum, or mean over .denominator: all elements, kept elements,
 *                          or the sum of w
 *
 * One pass of the kernel (kernels/bce.inc) computes value and gradients. If the sweep is recorded,
 * the rule is a composition: the elements' losses below, the options and the reduction.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/losses.h"

/* ---- The slope of the target ---------------------------------------------------------------- */

/* p softplus(-x) - softplus(x) cancels for p near 1. The equal form (p-1) softplus(-|x|) - p x for
   x < 0, and (p-1) softplus(-|x|) - x elsewhere, does not cancel. Each side is a function that is
   smooth at 0, so that its gradient is right there. */
static gr_tensor *target_slope(gr_tensor *x, gr_tensor *p)
{
    gr_tensor *minus_x = gr_neg(x), *more = gr_sub(p, gr_scalar_like(p, 1));
    gr_tensor *below = gr_add(gr_loss_product(more, gr_softplus(x)), gr_loss_product(p, minus_x));
    gr_tensor *above = gr_sub(gr_loss_product(more, gr_softplus(minus_x)), x);
    return gr_where(gr_less(x, gr_scalar_like(x, 0)), below, above);
}

/* ---- The losses of the elements -------------------------------------------------------------- */

/* bce_with_logits_elements(x, y, p) = l:
       dx = g ((1-y) s(x) - p y s(-x)),   dy = g (p softplus(-x) - softplus(x)),
       dp = g y softplus(-x) */
static void elements_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *x = n->in[0], *y = n->in[1], *p = n->in[2], *minus_x = gr_neg(x);
    if (n->wanted[0]) {
        gr_tensor *up = gr_mul(gr_loss_one_minus(y), gr_sigmoid(x));
        gr_tensor *down = gr_mul(gr_loss_times(p, y), gr_sigmoid(minus_x));
        dx[0] = gr_mul(g, gr_sub(up, down));
    }
    if (n->wanted[1] && p)
        dx[1] = gr_loss_product(g, target_slope(x, p));
    else if (n->wanted[1])
        dx[1] = gr_loss_product(g, minus_x); /* softplus(-x) - softplus(x), exactly */
    if (n->wanted[2])
        dx[2] = gr_loss_product(g, gr_loss_product(y, gr_softplus(minus_x)));
}
static gr_status elements_run(const gr_call *call)
{
    return gr_bce_elements_run(GR_KERNEL_BCE_WITH_LOGITS, 0, call);
}
static const gr_op elements_op = {
    .name = "bce_with_logits_elements",
    .formula = "(1-b)*fmax(a, 0) + c*b*fmax(-a, 0) + ((1-b) + c*b)*log1p(exp(-fabs(a)))",
    GR_BCE_ELEMENTS_COLUMNS,
    .run = elements_run,
    .vjp = elements_vjp};
static gr_tensor *elements(gr_tensor *x, gr_tensor *y, gr_tensor *p)
{
    return gr_apply_with(&elements_op, 3, (gr_tensor *[]){x, y, p}, NULL);
}

/* ---- The whole loss -------------------------------------------------------------------------- */

static const gr_bce_kind kind = {.kernel = GR_KERNEL_BCE_WITH_LOGITS,
                                 .input = GR_BCE_OF_LOGITS,
                                 .neutral = 0,
                                 .elements = elements,
                                 .factor = gr_focal_factor};

static gr_status run(const gr_call *call) { return gr_bce_run(&kind, call); }
static gr_tensor *compose(const gr_node *n, gr_tensor *const *in)
{
    return gr_bce_compose(&kind, n, in);
}
static void vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_vjp_by_composition(n, g, dx, compose);
}
static const gr_op op = {.name = "bce_with_logits", GR_BCE_COLUMNS, .run = run, .vjp = vjp};

gr_tensor *gr_bce_with_logits_with(gr_tensor *logits, const gr_bce_args *args)
{
    return gr_bce_apply(&op, logits, args);
}
