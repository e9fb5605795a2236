/* unary.c - functions of one operand, elementwise, any float dtype and shape.
 *
 * Each op: its formula, the public function, and the gradient rule under it; its row is in ops.def
 * and its kernel, of the same name, in kernels/map.inc.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"

#define UNARY(f, NAME, kind, low, high, reference)                                                 \
    static void f##_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx);                           \
    static const gr_row f##_row = {{.name = #f,                                                    \
                                    .arity = 1,                                                    \
                                    .flags = GR_OP_STRIDED | GR_UNARY_##kind,                      \
                                    .forward = gr_elementwise_forward,                             \
                                    .vjp = f##_vjp},                                               \
                                   GR_KERNEL_##NAME};
enum { GR_UNARY_SMOOTH = 0, GR_UNARY_KINK = 0, GR_UNARY_FLAT = GR_OP_NO_GRAD };
#include "ops.def"

static gr_tensor *apply(const gr_row *row, gr_tensor *x)
{
    return gr_apply_with(&row->op, 1, &x, NULL);
}

/* neg(x) = -x */
gr_tensor *gr_neg(gr_tensor *x) { return apply(&neg_row, x); }
static void neg_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)n;
    dx[0] = gr_neg(g);
}

/* abs(x) = |x|;  d = sign(x) dx, which is 0 at the kink */
gr_tensor *gr_abs(gr_tensor *x) { return apply(&abs_row, x); }
static void abs_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, gr_sign(n->in[0]));
}

/* sign(x) = -1, 0 or 1; constant wherever it is continuous, so it passes no gradient */
gr_tensor *gr_sign(gr_tensor *x) { return apply(&sign_row, x); }
static void sign_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)g;
    dx[0] = gr_zeros_like(n->in[0]);
}

/* square(x) = x^2;  d = 2 x dx */
gr_tensor *gr_square(gr_tensor *x) { return apply(&square_row, x); }
static void square_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, gr_mul(gr_scalar_like(g, 2), n->in[0]));
}

/* sqrt(x);  d = dx / (2 sqrt(x)) */
gr_tensor *gr_sqrt(gr_tensor *x) { return apply(&sqrt_row, x); }
static void sqrt_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_div(g, gr_mul(gr_scalar_like(g, 2), n->out));
}

/* exp(x);  d = exp(x) dx */
gr_tensor *gr_exp(gr_tensor *x) { return apply(&exp_row, x); }
static void exp_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx) { dx[0] = gr_mul(g, n->out); }

/* log(x), natural;  d = dx / x */
gr_tensor *gr_log(gr_tensor *x) { return apply(&log_row, x); }
static void log_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx) { dx[0] = gr_div(g, n->in[0]); }

/* log1p(x) = log(1 + x);  d = dx / (1 + x) */
gr_tensor *gr_log1p(gr_tensor *x) { return apply(&log1p_row, x); }
static void log1p_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_div(g, gr_add(gr_scalar_like(g, 1), n->in[0]));
}

/* relu(x) = max(x, 0);  d = dx where x > 0, else 0: chosen and not multiplied, so that an infinite
   gradient on the flat side stays out */
gr_tensor *gr_relu(gr_tensor *x) { return apply(&relu_row, x); }
static void relu_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *zero = gr_scalar_like(g, 0);
    dx[0] = gr_where(gr_greater(n->in[0], zero), g, zero);
}

/* sigmoid(x) = 1 / (1 + exp(-x));  d = sigmoid(x) sigmoid(-x) dx, written so that both tails keep
   their digits */
gr_tensor *gr_sigmoid(gr_tensor *x) { return apply(&sigmoid_row, x); }
static void sigmoid_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, gr_mul(n->out, gr_sigmoid(gr_neg(n->in[0]))));
}

/* tanh(x);  d = (1 - tanh(x)^2) dx = 4 sigmoid(2x) sigmoid(-2x) dx, the form without
   cancellation */
gr_tensor *gr_tanh(gr_tensor *x) { return apply(&tanh_row, x); }
static void tanh_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *twice = gr_mul(gr_scalar_like(g, 2), n->in[0]);
    gr_tensor *both = gr_mul(gr_sigmoid(twice), gr_sigmoid(gr_neg(twice)));
    dx[0] = gr_mul(g, gr_mul(gr_scalar_like(g, 4), both));
}

/* softplus(x) = log(1 + exp(x)) = max(x,0) + log1p(exp(-|x|));  d = sigmoid(x) dx */
gr_tensor *gr_softplus(gr_tensor *x) { return apply(&softplus_row, x); }
static void softplus_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, gr_sigmoid(n->in[0]));
}

/* pow(x, e) = x^e for a constant e;  d = e x^(e-1) dx */
static void pow_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    const double exponent = ((const gr_pow_kernel_args *)n->args)->exponent;
    if (exponent == 0)
        dx[0] = gr_zeros_like(n->in[0]); /* and not 0 * inf at x = 0 */
    else
        dx[0] = gr_mul(g, gr_mul(gr_scalar(g->ctx, exponent), gr_pow(n->in[0], exponent - 1)));
}
static const gr_row pow_row = {{.name = "pow",
                                .arity = 1,
                                .flags = GR_OP_STRIDED,
                                .forward = gr_elementwise_forward,
                                .vjp = pow_vjp,
                                .args_size = sizeof(gr_pow_kernel_args)},
                               GR_KERNEL_POW};
gr_tensor *gr_pow(gr_tensor *x, double exponent)
{
    return gr_apply_with(&pow_row.op, 1, &x, &(gr_pow_kernel_args){exponent});
}
