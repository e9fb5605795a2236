/* unary.c - elementwise functions of one operand, for any float dtype and shape.
 *
 * Each op has its formula, the public function, and then the gradient rule. Its row is in ops.def.
 * Its kernel has the same name and is in kernels/map.inc.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <gradus/ops.h>

#define UNARY(f, NAME, slope, values, pass, low, high, expression)                                 \
    static void f##_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx);                           \
    ONE_PASS_##pass(f, NAME, values) static const gr_row f##_row = {                               \
        {.name = #f,                                                                               \
         .formula = #expression,                                                                   \
         .kind = GR_ELEMENTWISE,                                                                   \
         .arity = 1,                                                                               \
         .flags = GR_OP_STRIDED | SLOPE_##slope,                                                   \
         .run = gr_elementwise_run,                                                                \
         .vjp = f##_vjp,                                                                           \
         .fused_vjp = FUSED_##pass(f),                                                             \
         .reads = {READS_##values}},                                                               \
        GR_KERNEL_##NAME};

enum { SLOPE_SMOOTH = 0, SLOPE_KINK = 0, SLOPE_FLAT = GR_OP_NO_GRAD };

#define READS_X    GR_READS_IN(0)
#define READS_OUT  GR_READS_OUT(0)
#define READS_BOTH GR_READS_IN(0) | GR_READS_OUT(0)
#define READS_NONE GR_READS_NOTHING

/* The rule in one pass: a kernel of g, x and, if the rule reads it, the result. In f32 and f64 it
   gives the same bits as the composed rule of the op. In f16 and bf16 it rounds once, while the
   composed rule rounds the result of each of its ops. */
#define ONE_PASS_COMPOSED(f, NAME, values)
#define FUSED_COMPOSED(f) NULL
#define FUSED_FUSED(f)    f##_fused_vjp
#define ONE_PASS_FUSED(f, NAME, values)                                                            \
    static const gr_row f##_vjp_row = {{.name = #f "_vjp",                                         \
                                        .formula = f##_vjp_formula,                                \
                                        .kind = GR_ELEMENTWISE,                                    \
                                        .arity = 3,                                                \
                                        .flags = GR_OP_STRIDED | GR_OP_NO_GRAD,                    \
                                        .run = gr_elementwise_run},                                \
                                       GR_KERNEL_##NAME##_VJP};                                    \
    static void f##_fused_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)                      \
    {                                                                                              \
        gr_tensor *in[] = {g, n->in[0], n->out};                                                   \
        dx[0] = gr_apply_in(n->ctx, &f##_vjp_row.op, 1 + VALUES_##values, in, NULL);               \
    }
enum { VALUES_X = 1, VALUES_BOTH = 2 };

#define relu_vjp_formula     "b > 0 ? a : 0"
#define sigmoid_vjp_formula  "a * (c * (1 / (1 + exp(b))))"
#define tanh_vjp_formula     "a * (4 * (1 / (1 + exp(-2 * b)) * (1 / (1 + exp(2 * b)))))"
#define softplus_vjp_formula "a * (1 / (1 + exp(-b)))"
#include "ops.def"

/* The row of f's slope, an op that only rules use. */
#define SLOPE(f, NAME, expression)                                                                 \
    static void f##_slope_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx);                     \
    static const gr_row f##_slope_row = {{.name = #f "_slope",                                     \
                                          .formula = expression,                                   \
                                          .kind = GR_ELEMENTWISE,                                  \
                                          .arity = 1,                                              \
                                          .flags = GR_OP_STRIDED,                                  \
                                          .run = gr_elementwise_run,                               \
                                          .vjp = f##_slope_vjp,                                    \
                                          .reads = {READS_BOTH}},                                  \
                                         GR_KERNEL_##NAME##_SLOPE};

static gr_tensor *apply_unary(const gr_row *row, gr_tensor *x)
{
    return gr_apply_with(&row->op, 1, &x, NULL);
}

/* neg(x) = -x */
gr_tensor *gr_neg(gr_tensor *x) { return apply_unary(&neg_row, x); }
static void neg_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)n;
    dx[0] = gr_neg(g);
}

/* abs(x) = |x|;  d = sign(x) dx, which is 0 at the kink */
gr_tensor *gr_abs(gr_tensor *x) { return apply_unary(&abs_row, x); }
static void abs_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, gr_sign(n->in[0]));
}

/* sign(x) = -1, 0 or 1. It is constant except at jumps, so it passes no gradient. */
gr_tensor *gr_sign(gr_tensor *x) { return apply_unary(&sign_row, x); }
static void sign_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)g;
    dx[0] = gr_zeros_like(n->in[0]);
}

/* square(x) = x^2;  d = 2 x dx */
gr_tensor *gr_square(gr_tensor *x) { return apply_unary(&square_row, x); }
static void square_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, gr_mul(gr_scalar_like(g, 2), n->in[0]));
}

/* sqrt(x);  d = dx / (2 sqrt(x)) */
gr_tensor *gr_sqrt(gr_tensor *x) { return apply_unary(&sqrt_row, x); }
static void sqrt_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_div(g, gr_mul(gr_scalar_like(g, 2), n->out));
}

/* exp(x);  d = exp(x) dx */
gr_tensor *gr_exp(gr_tensor *x) { return apply_unary(&exp_row, x); }
static void exp_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx) { dx[0] = gr_mul(g, n->out); }

/* log(x), natural;  d = dx / x */
gr_tensor *gr_log(gr_tensor *x) { return apply_unary(&log_row, x); }
static void log_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx) { dx[0] = gr_div(g, n->in[0]); }

/* log1p(x) = log(1 + x);  d = dx / (1 + x) */
gr_tensor *gr_log1p(gr_tensor *x) { return apply_unary(&log1p_row, x); }
static void log1p_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_div(g, gr_add(gr_scalar_like(g, 1), n->in[0]));
}

/* relu(x) = max(x, 0);  d = dx where x > 0, else 0. It selects and does not multiply, because 0
   times an infinite gradient would be NaN. */
gr_tensor *gr_relu(gr_tensor *x) { return apply_unary(&relu_row, x); }
static void relu_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *zero = gr_scalar_like(g, 0);
    dx[0] = gr_where(gr_greater(n->in[0], zero), g, zero);
}

/* sigmoid(x) = 1 / (1 + exp(-x));  d = slope(x) dx, slope(x) = sigmoid(x) sigmoid(-x). The slope is
   an op of its own: its rule, slope'(x) = -tanh(x/2) slope(x), is a product. As a composition the
   second derivative would be a difference, and lose its digits near 0. */
SLOPE(sigmoid, SIGMOID, "1 / (1 + exp(-x)) * (1 / (1 + exp(x)))")
gr_tensor *gr_sigmoid(gr_tensor *x) { return apply_unary(&sigmoid_row, x); }
static void sigmoid_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, apply_unary(&sigmoid_slope_row, n->in[0]));
}
static void sigmoid_slope_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *half = gr_mul(gr_scalar_like(g, -0.5), n->in[0]);
    dx[0] = gr_mul(g, gr_mul(gr_tanh(half), n->out));
}

/* tanh(x);  d = slope(x) dx, slope(x) = 1 - tanh(x)^2 = 4 sigmoid(2x) sigmoid(-2x). The last form
   has no cancellation. slope'(x) = -2 tanh(x) slope(x), as above. */
SLOPE(tanh, TANH, "4 * (1 / (1 + exp(-2 * x)) * (1 / (1 + exp(2 * x))))")
gr_tensor *gr_tanh(gr_tensor *x) { return apply_unary(&tanh_row, x); }
static void tanh_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, apply_unary(&tanh_slope_row, n->in[0]));
}
static void tanh_slope_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *twice = gr_mul(gr_scalar_like(g, -2), gr_tanh(n->in[0]));
    dx[0] = gr_mul(g, gr_mul(twice, n->out));
}

/* softplus(x) = log(1 + exp(x)) = max(x,0) + log1p(exp(-|x|));  d = sigmoid(x) dx */
gr_tensor *gr_softplus(gr_tensor *x) { return apply_unary(&softplus_row, x); }
static void softplus_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, gr_sigmoid(n->in[0]));
}

/* pow(x, e) = x^e for a constant e;  d = e x^(e-1) dx */
static void pow_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    const double exponent = ((const gr_pow_kernel_args *)n->attributes)->exponent;
    if (exponent == 0)
        dx[0] = gr_zeros_like(n->in[0]); /* avoids 0 * inf at x = 0 */
    else
        dx[0] = gr_mul(g, gr_mul(gr_scalar(n->ctx, exponent), gr_pow(n->in[0], exponent - 1)));
}
static const gr_row pow_row = {{.name = "pow",
                                .formula = "pow(x, exponent)",
                                .kind = GR_ELEMENTWISE,
                                .arity = 1,
                                .flags = GR_OP_STRIDED,
                                .attributes_size = sizeof(gr_pow_kernel_args),
                                .run = gr_elementwise_run,
                                .vjp = pow_vjp,
                                .reads = {GR_READS_IN(0)}},
                               GR_KERNEL_POW};
gr_tensor *gr_pow(gr_tensor *x, double exponent)
{
    return gr_apply_with(&pow_row.op, 1, &x, &(gr_pow_kernel_args){exponent});
}
