/* focal.c - the focal factor of a logit: F = m^gamma, with the probability m of the wrong class.
 *
 *     m = t s(-x) + (1-t) s(x)
 *
 * Far on the right side of 0, m falls like e^-|x|. A slope formed as gamma m^(gamma-1) dm would be
 * a product of a huge and a tiny number there. This form has neither:
 *
 *     dF/dx = gamma F (1-2t) w,   w = s(x) s(-x) / m
 *
 * w lies in [0,1]. For a hard target it is one of the two probabilities.
 *
 * The values of the two ops here are compositions of public ops; their slopes are the rules below.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/losses.h"
#include <math.h>

/* The run of both ops: the first operand is the value. */
#define WITH_RULE(NAME)                                                                            \
    .name = (NAME), .formula = "a", .kind = GR_ELEMENTWISE, .arity = 3, .flags = GR_OP_STRIDED,    \
    .run = gr_elementwise_run,                                                                     \
    .reads = {GR_READS_NOTHING, GR_READS_IN(1) | GR_READS_IN(2) | GR_READS_OUT(0),                 \
              GR_READS_IN(1) | GR_READS_IN(2) | GR_READS_OUT(0)}

static gr_tensor *number(gr_tensor *like, double value) { return gr_scalar_like(like, value); }

/* a / m, and 0 where m is 0, beyond the range of the dtype. */
static gr_tensor *over(gr_tensor *a, gr_tensor *m)
{
    gr_tensor *none = gr_equal(m, number(m, 0));
    return gr_where(none, number(a, 0), gr_div(a, gr_where(none, number(m, 1), m)));
}

static gr_tensor *wrong(gr_tensor *x, gr_tensor *t)
{
    return gr_loss_blend(t, gr_sigmoid(gr_neg(x)), gr_sigmoid(x));
}

/* dm/dt = -tanh(x/2) */
static gr_tensor *wrong_slope(gr_tensor *x) { return gr_tanh(gr_mul(number(x, -0.5), x)); }

static gr_tensor *one_minus_twice(gr_tensor *t)
{
    return gr_sub(number(t, 1), gr_mul(number(t, 2), t));
}

/* ---- w --------------------------------------------------------------------------------------- */

/* focal_slope(x, t) = w;  dx = -g w (tanh(x/2) + (1-2t) w),  dt = g w tanh(x/2) / m */
static void slope_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *x = n->in[1], *t = n->in[2];
    gr_tensor *gw = gr_mul(g, n->out), *down = wrong_slope(x);
    if (n->wanted[1])
        dx[1] = gr_mul(gw, gr_sub(down, gr_mul(one_minus_twice(t), n->out)));
    if (n->wanted[2])
        dx[2] = gr_neg(over(gr_mul(gw, down), wrong(x, t)));
}
static const gr_row slope_row = {{WITH_RULE("focal_slope"), .vjp = slope_vjp}, GR_KERNEL_COPY};

static gr_tensor *relative_slope(gr_tensor *x, gr_tensor *t)
{
    gr_tensor *x0 = gr_detach(x), *t0 = gr_detach(t);
    gr_tensor *positive = gr_sigmoid(x0), *negative = gr_sigmoid(gr_neg(x0));
    gr_tensor *soft = gr_div(gr_mul(positive, negative), gr_loss_blend(t0, negative, positive));
    gr_tensor *low = gr_where(gr_equal(t0, number(t0, 0)), negative, soft);
    gr_tensor *w = gr_where(gr_equal(t0, number(t0, 1)), positive, low);
    return gr_apply_with(&slope_row.op, 3, (gr_tensor *[]){w, x, t}, NULL);
}

/* ---- The factor ------------------------------------------------------------------------------ */

/* focal_factor(x, t) = F;  dx = g gamma F (1-2t) w,  dt = -g gamma F tanh(x/2) / m */
static void factor_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *x = n->in[1], *t = n->in[2];
    gr_tensor *gamma = number(g, *(const double *)n->attributes);
    gr_tensor *scaled = gr_mul(g, gr_mul(gamma, n->out));
    if (n->wanted[1])
        dx[1] = gr_mul(scaled, gr_mul(one_minus_twice(t), relative_slope(x, t)));
    if (n->wanted[2])
        dx[2] = over(gr_mul(scaled, wrong_slope(x)), wrong(x, t));
}
static const gr_row factor_row = {
    {WITH_RULE("focal_factor"), .vjp = factor_vjp, .attributes_size = sizeof(double)},
    GR_KERNEL_COPY};

gr_tensor *gr_focal_factor(gr_tensor *x, gr_tensor *t, double gamma)
{
    gr_tensor *value = gr_pow(wrong(gr_detach(x), gr_detach(t)), gamma);
    return gr_apply_with(&factor_row.op, 3, (gr_tensor *[]){value, x, t}, &gamma);
}

/* ---- Infinite logits ------------------------------------------------------------------------- */

static gr_tensor *is_infinite(gr_tensor *x) { return gr_equal(gr_abs(x), number(x, INFINITY)); }

/* finite(x): 2^100 with the sign of x where x is infinite;  dx = g */
static void finite_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)n;
    dx[1] = g;
}
static const gr_row finite_row = {{.name = "finite",
                                   .formula = "a",
                                   .kind = GR_ELEMENTWISE,
                                   .arity = 2,
                                   .flags = GR_OP_STRIDED,
                                   .run = gr_elementwise_run,
                                   .vjp = finite_vjp,
                                   .reads = {GR_READS_NOTHING, GR_READS_NOTHING}},
                                  GR_KERNEL_COPY};
gr_tensor *gr_focal_finite(gr_tensor *x)
{
    gr_tensor *x0 = gr_detach(x), *large = gr_mul(number(x, 0x1p100), gr_sign(x0));
    gr_tensor *value = gr_where(is_infinite(x0), large, x0);
    return gr_apply_with(&finite_row.op, 2, (gr_tensor *[]){value, x}, NULL);
}

/* unbounded(y, x) = y;  dy = g, and g times infinity where x is infinite */
static void unbounded_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *large = gr_loss_product(g, number(g, INFINITY));
    dx[0] = gr_where(is_infinite(n->in[1]), large, g);
}
static const gr_row unbounded_row = {{.name = "unbounded",
                                      .formula = "a",
                                      .kind = GR_ELEMENTWISE,
                                      .arity = 2,
                                      .flags = GR_OP_STRIDED,
                                      .run = gr_elementwise_run,
                                      .vjp = unbounded_vjp,
                                      .reads = {GR_READS_IN(1)}},
                                     GR_KERNEL_COPY};
gr_tensor *gr_focal_unbounded(gr_tensor *y, gr_tensor *x)
{
    return gr_apply_with(&unbounded_row.op, 2, (gr_tensor *[]){y, gr_detach(x)}, NULL);
}
