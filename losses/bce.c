/* bce.c - binary cross entropy of a probability.
 *
 *     l = -[ p y max(log x, -100) + (1-y) max(log(1-x), -100) ]
 *
 * The logarithms are clamped at -100, as in PyTorch. In the slope, x (1-x) is clamped to at least
 * 1e-12. The options are those of bce_with_logits.c, with p_t = x y + (1-x) (1-y). The kernel is in
 * kernels/bce.inc.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/losses.h"

static const double SLOPE_FLOOR = 1e-12, LOG_FLOOR = -100;

/* ---- The slope ------------------------------------------------------------------------------- */

/* bce_slope(x, y, p) = (p y (x-1) + (1-y) x) / d with d = max(x (1-x), 1e-12). It is a separate
   op, so that its gradient has no cancellation either:
       dx = g [ p y / max(x, 1e-12)^2 + (1-y) / max(1-x, 1e-12)^2 ]
       dy = g (p (x-1) - x) / d,   dp = g y (x-1) / d */
static void slope_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *x = n->in[0], *y = n->in[1], *p = n->in[2];
    gr_tensor *floor = gr_scalar_like(x, SLOPE_FLOOR), *rest = gr_loss_one_minus(x);
    gr_tensor *d = gr_maximum(gr_mul(x, rest), floor);
    if (n->wanted[0]) {
        gr_tensor *low = gr_square(gr_maximum(x, floor));
        gr_tensor *high = gr_square(gr_maximum(rest, floor));
        gr_tensor *up = gr_div(gr_loss_times(p, y), low);
        dx[0] = gr_mul(g, gr_add(up, gr_div(gr_loss_one_minus(y), high)));
    }
    if (n->wanted[1])
        dx[1] = gr_neg(gr_mul(g, gr_div(gr_add(gr_loss_times(p, rest), x), d)));
    if (n->wanted[2])
        dx[2] = gr_neg(gr_mul(g, gr_div(gr_mul(y, rest), d)));
}
static gr_status slope_run(const gr_call *call)
{
    return gr_bce_elements_run(GR_KERNEL_BCE, 1, call);
}
static const gr_op slope_op = {.name = "bce_slope",
                               .formula = "(c*b*(a-1) + (1-b)*a) / fmax(a*(1-a), 1e-12)",
                               GR_BCE_ELEMENTS_COLUMNS,
                               .run = slope_run,
                               .vjp = slope_vjp};

/* ---- The losses of the elements -------------------------------------------------------------- */

/* max(log x, -100). The gradient is 0 below the clamp, even if log x is infinite. */
static gr_tensor *cut_log(gr_tensor *x)
{
    gr_tensor *none = gr_equal(x, gr_scalar_like(x, 0)), *floor = gr_scalar_like(x, LOG_FLOOR);
    gr_tensor *log = gr_log(gr_where(none, gr_scalar_like(x, 1), x));
    return gr_where(none, floor, gr_maximum(log, floor));
}

/* max(log(1-x), -100), with the same gradient rule. */
static gr_tensor *cut_log1m(gr_tensor *x)
{
    gr_tensor *none = gr_equal(x, gr_scalar_like(x, 1)), *floor = gr_scalar_like(x, LOG_FLOOR);
    gr_tensor *log = gr_log1p(gr_neg(gr_where(none, gr_scalar_like(x, 0), x)));
    return gr_where(none, floor, gr_maximum(log, floor));
}

/* bce_elements(x, y, p) = l:
       dx = g bce_slope(x, y, p)
       dy = g (max(log(1-x), -100) - p max(log x, -100)),   dp = -g y max(log x, -100) */
static void elements_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *x = n->in[0], *y = n->in[1], *p = n->in[2];
    if (n->wanted[0])
        dx[0] = gr_mul(g, gr_apply_with(&slope_op, 3, n->in, NULL));
    if (n->wanted[1])
        dx[1] = gr_mul(g, gr_sub(cut_log1m(x), gr_loss_times(p, cut_log(x))));
    if (n->wanted[2])
        dx[2] = gr_neg(gr_mul(g, gr_mul(y, cut_log(x))));
}
static gr_status elements_run(const gr_call *call)
{
    return gr_bce_elements_run(GR_KERNEL_BCE, 0, call);
}
static const gr_op elements_op = {.name = "bce_elements",
                                  .formula =
                                      "-(c*b*fmax(log(a), -100) + (1-b)*fmax(log1p(-a), -100))",
                                  GR_BCE_ELEMENTS_COLUMNS,
                                  .run = elements_run,
                                  .vjp = elements_vjp};
static gr_tensor *elements(gr_tensor *x, gr_tensor *y, gr_tensor *p)
{
    return gr_apply_with(&elements_op, 3, (gr_tensor *[]){x, y, p}, NULL);
}

/* ---- The whole loss -------------------------------------------------------------------------- */

/* m^gamma, m = y (1-x) + (1-y) x. If m is 0, its gradient is cut off: the loss is 0 too, and it
   falls faster than the slope of the power grows. */
static gr_tensor *factor(gr_tensor *x, gr_tensor *y, double gamma)
{
    gr_tensor *m = gr_loss_blend(y, gr_loss_one_minus(x), x);
    gr_tensor *zero = gr_scalar_like(m, 0), *none = gr_equal(m, zero);
    gr_tensor *power = gr_pow(gr_where(none, gr_scalar_like(m, 1), m), gamma);
    return gr_where(none, zero, power);
}
static const gr_bce_kind kind = {.kernel = GR_KERNEL_BCE,
                                 .input = GR_BCE_OF_PROBABILITIES,
                                 .neutral = 0.5,
                                 .elements = elements,
                                 .factor = factor};

static gr_status run(const gr_call *call) { return gr_bce_run(&kind, call); }
static gr_tensor *compose(const gr_node *n, gr_tensor *const *in)
{
    return gr_bce_compose(&kind, n, in);
}
static void vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_vjp_by_composition(n, g, dx, compose);
}
static const gr_op op = {.name = "bce", GR_BCE_COLUMNS, .run = run, .vjp = vjp};

gr_tensor *gr_bce_with(gr_tensor *x, const gr_bce_args *args) { return gr_bce_apply(&op, x, args); }
