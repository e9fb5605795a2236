/* gradus/ops.h - the ops: functions of tensors that know their gradients, of any order.
 *
 * The following holds for each op unless its comment says otherwise.
 *
 *   operands   float tensors of one context and one dtype; gr_scalar adapts. Their shapes broadcast
 *              as in NumPy: they are aligned at the right, and a size of 1 is repeated.
 *   result     a new contiguous tensor of the broadcast shape and the operands' dtype, freed with
 *              the scope. NaN in an operand gives NaN.
 *   gradient   every operand gets one. The comments give it for an upstream gradient g: d is the
 *              gradient of a single operand, da and db those of a and b.
 *   errors     NULL, DTYPE, BROADCAST, CONTEXT, SCOPE, MEMORY.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_OPS_H
#define GRADUS_OPS_H

#include <gradus/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Arithmetic ------------------------------------------------------------------------------ */

GR_API gr_tensor *gr_add(gr_tensor *a, gr_tensor *b); /* a + b;  da = g, db = g */
GR_API gr_tensor *gr_sub(gr_tensor *a, gr_tensor *b); /* a - b;  da = g, db = -g */
GR_API gr_tensor *gr_mul(gr_tensor *a, gr_tensor *b); /* a b;    da = g b, db = g a */
GR_API gr_tensor *gr_div(gr_tensor *a, gr_tensor *b); /* a / b;  da = g / b, db = -g (a/b) / b */

/* The larger and the smaller of a and b. The gradient goes to the chosen operand. Equal operands
   get half each. If one is NaN, neither gets a gradient. */
GR_API gr_tensor *gr_maximum(gr_tensor *a, gr_tensor *b);
GR_API gr_tensor *gr_minimum(gr_tensor *a, gr_tensor *b);

/* x^exponent for a constant exponent; d = g exponent x^(exponent-1). NaN for x < 0 and a fractional
   exponent. */
GR_API gr_tensor *gr_pow(gr_tensor *x, double exponent);

/* ---- Functions of one operand ---------------------------------------------------------------- */

/* Elementwise. Values and gradients keep their digits for large |x| too. */
GR_API gr_tensor *gr_neg(gr_tensor *x);      /* -x */
GR_API gr_tensor *gr_abs(gr_tensor *x);      /* |x|;  d = g sign(x), 0 at 0 */
GR_API gr_tensor *gr_sign(gr_tensor *x);     /* -1, 0 or 1; no gradient */
GR_API gr_tensor *gr_square(gr_tensor *x);   /* x^2;  d = 2 g x */
GR_API gr_tensor *gr_sqrt(gr_tensor *x);     /* square root;  d = g / (2 sqrt(x)) */
GR_API gr_tensor *gr_exp(gr_tensor *x);      /* e^x;  d = g e^x */
GR_API gr_tensor *gr_log(gr_tensor *x);      /* natural logarithm;  d = g / x */
GR_API gr_tensor *gr_log1p(gr_tensor *x);    /* log(1+x), accurate near 0;  d = g / (1+x) */
GR_API gr_tensor *gr_relu(gr_tensor *x);     /* max(x, 0);  d = g for x > 0, else 0 */
GR_API gr_tensor *gr_sigmoid(gr_tensor *x);  /* s(x) = 1/(1+e^-x);  d = g s(x) s(-x) */
GR_API gr_tensor *gr_tanh(gr_tensor *x);     /* hyperbolic tangent;  d = g (1 - tanh(x)^2) */
GR_API gr_tensor *gr_softplus(gr_tensor *x); /* log(1+e^x);  d = g s(x), s = gr_sigmoid */

/* ---- Comparisons and choice ------------------------------------------------------------------ */

/* Elementwise; the result is bool and has no gradient. Both operands are floats, or both are
   integers or bool. They are compared as f64 (an i64 above 2^53 is rounded). gr_scalar goes with
   all of them, and is rounded to f32 if the other operand is f32, f16 or bf16. A comparison with
   NaN is false, but gr_not_equal is true. */
GR_API gr_tensor *gr_equal(gr_tensor *a, gr_tensor *b);
GR_API gr_tensor *gr_not_equal(gr_tensor *a, gr_tensor *b);
GR_API gr_tensor *gr_less(gr_tensor *a, gr_tensor *b);
GR_API gr_tensor *gr_less_equal(gr_tensor *a, gr_tensor *b);
GR_API gr_tensor *gr_greater(gr_tensor *a, gr_tensor *b);
GR_API gr_tensor *gr_greater_equal(gr_tensor *a, gr_tensor *b);

/* a where condition is not 0, b elsewhere. condition: any dtype, no gradient; it broadcasts with a
   and b. An element that is not chosen changes nothing, even if it is NaN, and its gradient is 0.
   This holds for a and b themselves, but not for what they are made of. In gr_where(m, gr_sqrt(x),
   x) the 0 goes on to the rule of gr_sqrt, which divides it by 2 sqrt(x): NaN for x <= 0. So choose
   a safe operand as well:
       one = gr_scalar_like(x, 1);
       y = gr_where(m, gr_sqrt(gr_where(m, x, one)), x);
   has the gradient of x where m is 0. Use the same form for gr_log, gr_div and gr_pow. */
GR_API gr_tensor *gr_where(gr_tensor *condition, gr_tensor *a, gr_tensor *b);

/* ---- Reductions ------------------------------------------------------------------------------ */

/* Sum and mean of x over `axes`. No axes means all axes; an axis below 0 counts from the end. The
   axes disappear, or stay with size 1 if keepdim is true. The sum is taken in f64, in one fixed
   order, and rounded once: its bits do not depend on threads or instruction set. Over no elements a
   sum is 0 and a mean is NaN. d = g, or g divided by the number of elements, repeated along the
   axes. Fails with SHAPE for an axis that x does not have or that is given twice. */
typedef struct gr_reduce_args {
    gr_tensor *x;
    gr_dims axes;
    bool keepdim;
} gr_reduce_args;
GR_API gr_tensor *gr_sum_with(const gr_reduce_args *args);
GR_API gr_tensor *gr_mean_with(const gr_reduce_args *args);

/* gr_sum(x), gr_sum(x, .axes = gr_axes(0, 1), .keepdim = true); gr_mean is called in the same
   way. */
#ifndef __cplusplus
#define gr_sum(...)  GR_HERE(gr_sum_with(&(gr_reduce_args){.x = __VA_ARGS__}))
#define gr_mean(...) GR_HERE(gr_mean_with(&(gr_reduce_args){.x = __VA_ARGS__}))
#endif

/* Sums x to a shape that broadcasts to x's shape; d = g expanded to x's shape. Fails with
   BROADCAST. */
GR_API gr_tensor *gr_sum_to(gr_tensor *x, gr_dims shape);

/* ---- Softmax --------------------------------------------------------------------------------- */

/* Softmax and its logarithm along one axis; an axis below 0 counts from the end. m is the largest
   element along the axis and counts as a constant, so that no exponential overflows:
       softmax      s = e^(x-m) / sum e^(x-m);      d = s (g - sum(g s))
       log_softmax  (x-m) - log(sum e^(x-m));       d = g - s sum(g)
   Values and derivatives of every order keep their digits where one element is far above the
   others. Nothing is formed as 1 - s: it is the sum of the other shares, all positive. Both are
   computed in f64 and rounded once, and so are their gradients. Values are within 0.51 ulp for f32
   and 4 ulp for f64. So are the gradients of log_softmax, in ulp of the larger of the two terms
   g (1 - s) and s (the sum of the other g) that they are the difference of.
   An element of -inf has softmax 0 and no influence. If all elements along the axis are -inf, or
   one is +inf or NaN, the results along it are NaN. x: any float dtype, any shape; f16 and bf16 are
   computed as f32 is. Fails with SHAPE for an axis that x does not have. */
GR_API gr_tensor *gr_softmax(gr_tensor *x, int axis);
GR_API gr_tensor *gr_log_softmax(gr_tensor *x, int axis);

/* ---- Matrix product -------------------------------------------------------------------------- */

/* Matrix product a b. Shapes: [m,k] [k,n] -> [m,n], [m,k] [k] -> [m], [k] [k,n] -> [n] and [k] [k]
   -> []. da = g b^T, db = a^T g. Strided operands are not copied, as in gr_matmul(gr_transpose(a),
   b). Each element is one chain of fused multiply-adds, in the order of k, that starts at 0. Fails
   with SHAPE for other shapes. */
GR_API gr_tensor *gr_matmul(gr_tensor *a, gr_tensor *b);

/* ---- Shapes ---------------------------------------------------------------------------------- */

/* These take every dtype. The result is a view of x's elements, freed with the scope. A copy is
   made only by gr_cast, and by gr_reshape and gr_contiguous if x is strided. gr_reshape,
   gr_contiguous and gr_cast may return x itself if nothing changes. The gradient of a float x is g,
   brought back to x's shape and dtype. */

/* The same elements, in row-major order, with another shape. One size may be -1: it is computed
   from the others. Fails with SHAPE if the number of elements differs. */
GR_API gr_tensor *gr_reshape(gr_tensor *x, gr_dims shape);

/* Swaps the last two axes. Returns x itself if it has fewer than two. */
GR_API gr_tensor *gr_transpose(gr_tensor *x);

/* Axis i of the result is axis order[i] of x. Fails with SHAPE unless order is a permutation. */
GR_API gr_tensor *gr_permute(gr_tensor *x, gr_dims order);

/* The elements start, start+step, start+2 step, ... before stop along an axis. start and stop below
   0 count from the end; both are limited to the axis as in Python. The gradient is 0 for the other
   elements. Fails with SHAPE for an axis that x does not have, and with ARGUMENT unless step >
   0. */
GR_API gr_tensor *gr_slice(gr_tensor *x, int axis, int64_t start, int64_t stop, int64_t step);

/* x broadcast to a larger shape. Elements are repeated, not copied; d = g summed to x's shape.
   Fails with BROADCAST. */
GR_API gr_tensor *gr_expand(gr_tensor *x, gr_dims shape);

/* A contiguous tensor of the same elements: x itself if it is contiguous, else a copy. */
GR_API gr_tensor *gr_contiguous(gr_tensor *x);

/* Converts each element, from any dtype to any dtype. To a float: rounded once to the nearest. To
   an integer: rounded towards 0 and limited to the range of the dtype; NaN gives 0. To bool: x !=
   0. Only a conversion between floats has a gradient. Fails with DTYPE for an unknown dtype. */
GR_API gr_tensor *gr_cast(gr_tensor *x, gr_dtype dtype);

#ifdef __cplusplus
}
#endif

#ifndef GR_NO_PLACES
#define gr_add(a, b)              GR_HERE(gr_add(a, b))
#define gr_sub(a, b)              GR_HERE(gr_sub(a, b))
#define gr_mul(a, b)              GR_HERE(gr_mul(a, b))
#define gr_div(a, b)              GR_HERE(gr_div(a, b))
#define gr_maximum(a, b)          GR_HERE(gr_maximum(a, b))
#define gr_minimum(a, b)          GR_HERE(gr_minimum(a, b))
#define gr_pow(x, exponent)       GR_HERE(gr_pow(x, exponent))
#define gr_neg(x)                 GR_HERE(gr_neg(x))
#define gr_abs(x)                 GR_HERE(gr_abs(x))
#define gr_sign(x)                GR_HERE(gr_sign(x))
#define gr_square(x)              GR_HERE(gr_square(x))
#define gr_sqrt(x)                GR_HERE(gr_sqrt(x))
#define gr_exp(x)                 GR_HERE(gr_exp(x))
#define gr_log(x)                 GR_HERE(gr_log(x))
#define gr_log1p(x)               GR_HERE(gr_log1p(x))
#define gr_relu(x)                GR_HERE(gr_relu(x))
#define gr_sigmoid(x)             GR_HERE(gr_sigmoid(x))
#define gr_tanh(x)                GR_HERE(gr_tanh(x))
#define gr_softplus(x)            GR_HERE(gr_softplus(x))
#define gr_equal(a, b)            GR_HERE(gr_equal(a, b))
#define gr_not_equal(a, b)        GR_HERE(gr_not_equal(a, b))
#define gr_less(a, b)             GR_HERE(gr_less(a, b))
#define gr_less_equal(a, b)       GR_HERE(gr_less_equal(a, b))
#define gr_greater(a, b)          GR_HERE(gr_greater(a, b))
#define gr_greater_equal(a, b)    GR_HERE(gr_greater_equal(a, b))
#define gr_where(condition, a, b) GR_HERE(gr_where(condition, a, b))
#define gr_sum_to(...)            GR_HERE(gr_sum_to(__VA_ARGS__))
#define gr_softmax(x, axis)       GR_HERE(gr_softmax(x, axis))
#define gr_log_softmax(x, axis)   GR_HERE(gr_log_softmax(x, axis))
#define gr_matmul(a, b)           GR_HERE(gr_matmul(a, b))
#define gr_reshape(...)           GR_HERE(gr_reshape(__VA_ARGS__))
#define gr_transpose(x)           GR_HERE(gr_transpose(x))
#define gr_permute(...)           GR_HERE(gr_permute(__VA_ARGS__))
#define gr_slice(...)             GR_HERE(gr_slice(__VA_ARGS__))
#define gr_expand(...)            GR_HERE(gr_expand(__VA_ARGS__))
#define gr_contiguous(x)          GR_HERE(gr_contiguous(x))
#define gr_cast(x, dtype)         GR_HERE(gr_cast(x, dtype))
#endif

#endif
