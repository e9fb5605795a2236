/* bce.c - binary cross entropy of a probability.
 *
 *     l = -[ p y max(log x, -100) + (1-y) max(log(1-x), -100) ]
 *
 * The logarithms are cut off at -100, as PyTorch does, and so is the slope: x (1-x) counts as 1e-12
 * at least. The options are those of bce_with_logits.c, where p_t = x y + (1-x) (1-y); the kernel
 * is in kernels/bce.inc.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/losses.h"

static const double SLOPE_FLOOR = 1e-12, LOG_FLOOR = -100;

static gr_tensor *constant(gr_tensor *like, double value) { return gr_scalar_like(like, value); }

/* The slope dl/dx = (p y (x-1) + (1-y) x) / d with d = max(x (1-x), 1e-12), an op of its own so
   that its gradient has no cancellation either:
       dx = p y / max(x, 1e-12)^2 + (1-y) / max(1-x, 1e-12)^2,  dy = (p (x-1) - x) / d,  dp = y
       (x-1) / d */
static void slope_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *x = n->in[0], *y = n->in[1], *p = n->in[2], *floor = constant(x, SLOPE_FLOOR);
    gr_tensor *rest = gr_loss_one_minus(x), *d = gr_maximum(gr_mul(x, rest), floor);
    if (n->wanted[0]) {
        gr_tensor *low = gr_square(gr_maximum(x, floor)),
                  *high = gr_square(gr_maximum(rest, floor));
        dx[0] =
            gr_mul(g, gr_add(gr_div(gr_loss_times(p, y), low), gr_div(gr_loss_one_minus(y), high)));
    }
    if (n->wanted[1])
        dx[1] = gr_neg(gr_mul(g, gr_div(gr_add(gr_loss_times(p, rest), x), d)));
    if (n->wanted[2])
        dx[2] = gr_neg(gr_mul(g, gr_div(gr_mul(y, rest), d)));
}
static gr_status slope_forward(const gr_call *call)
{
    return gr_bce_element_forward(GR_KERNEL_BCE, 1, call);
}
static const gr_op slope_op = {.name = "bce",
                               .arity = 3,
                               .flags = GR_OP_STRIDED,
                               .forward = slope_forward,
                               .vjp = slope_vjp,
                               .shape = gr_broadcast_shape};

/* max(log x, -100); where it is cut off its gradient is 0, also where log x is infinite. */
static gr_tensor *cut_log(gr_tensor *x)
{
    gr_tensor *none = gr_equal(x, constant(x, 0)), *floor = constant(x, LOG_FLOOR);
    gr_tensor *log = gr_log(gr_where(none, constant(x, 1), x));
    return gr_where(none, floor, gr_maximum(log, floor));
}
static gr_tensor *cut_log1m(gr_tensor *x)
{
    gr_tensor *none = gr_equal(x, constant(x, 1)), *floor = constant(x, LOG_FLOOR);
    gr_tensor *log = gr_log1p(gr_neg(gr_where(none, constant(x, 0), x)));
    return gr_where(none, floor, gr_maximum(log, floor));
}

/* The elements' losses l(x, y, p):
       dx = slope,   dy = max(log(1-x), -100) - p max(log x, -100),   dp = -y max(log x, -100) */
static void element_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *x = n->in[0], *y = n->in[1], *p = n->in[2];
    if (n->wanted[0])
        dx[0] = gr_mul(g, gr_apply_with(&slope_op, 3, n->in, NULL));
    if (n->wanted[1])
        dx[1] = gr_mul(g, gr_sub(cut_log1m(x), gr_loss_times(p, cut_log(x))));
    if (n->wanted[2])
        dx[2] = gr_neg(gr_mul(g, gr_mul(y, cut_log(x))));
}
static gr_status element_forward(const gr_call *call)
{
    return gr_bce_element_forward(GR_KERNEL_BCE, 0, call);
}
static const gr_op element_op = {.name = "bce",
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
    *positive = x;
    *negative = gr_loss_one_minus(x);
}

static const gr_bce_kind kind = {.op = GR_BCE_OP("bce"),
                                 .kernel = GR_KERNEL_BCE,
                                 .neutral = 0.5,
                                 .element = element,
                                 .probabilities = probabilities};

gr_tensor *gr_bce_with(gr_tensor *x, const gr_bce_args *args)
{
    return gr_bce_apply(&kind, x, args);
}
