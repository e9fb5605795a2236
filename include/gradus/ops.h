/* gradus/ops.h - the ops: functions of tensors that know their gradients, of any order.
 *
 * Unless a line says otherwise an op takes float tensors of one context and one dtype (gr_scalar
 * adapts), broadcasts their shapes as NumPy does (aligned at the right; a size of 1 stretches),
 * returns the scope's new contiguous tensor of the broadcast shape and the operands' dtype, is
 * differentiable in every operand, and fails with NULL, DTYPE, BROADCAST, CONTEXT, SCOPE or MEMORY.
 * NaN in an operand gives NaN. Gradients are given for an upstream gradient g.
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

/* The larger or smaller of the two; the gradient goes to the one chosen, half to each where equal,
   nowhere where one is NaN. */
GR_API gr_tensor *gr_maximum(gr_tensor *a, gr_tensor *b);
GR_API gr_tensor *gr_minimum(gr_tensor *a, gr_tensor *b);

/* x to a constant power; d = g exponent x^(exponent-1). NaN for x < 0 and a fractional exponent. */
GR_API gr_tensor *gr_pow(gr_tensor *x, double exponent);

/* ---- Functions of one operand ---------------------------------------------------------------- */

GR_API gr_tensor *gr_neg(gr_tensor *x);      /* -x */
GR_API gr_tensor *gr_abs(gr_tensor *x);      /* |x|;  d = g sign(x), 0 at 0 */
GR_API gr_tensor *gr_sign(gr_tensor *x);     /* -1, 0 or 1; no gradient */
GR_API gr_tensor *gr_square(gr_tensor *x);   /* x^2;  d = 2 g x */
GR_API gr_tensor *gr_sqrt(gr_tensor *x);     /* d = g / (2 sqrt(x)) */
GR_API gr_tensor *gr_exp(gr_tensor *x);      /* d = g exp(x) */
GR_API gr_tensor *gr_log(gr_tensor *x);      /* natural;  d = g / x */
GR_API gr_tensor *gr_log1p(gr_tensor *x);    /* log(1+x), exact near 0;  d = g / (1+x) */
GR_API gr_tensor *gr_relu(gr_tensor *x);     /* max(x, 0);  d = g for x > 0, else 0 */
GR_API gr_tensor *gr_sigmoid(gr_tensor *x);  /* 1/(1+e^-x);  d = g s(x) s(-x), exact in both tails */
GR_API gr_tensor *gr_tanh(gr_tensor *x);     /* d = g (1 - tanh(x)^2) */
GR_API gr_tensor *gr_softplus(gr_tensor *x); /* log(1+e^x), exact in both tails;  d = g s(x) */

/* ---- Comparisons and choice ------------------------------------------------------------------ */

/* Elementwise, bool, no gradient; floats with floats, or integers and bool with their like, each as
   f64 holds it (i64 above 2^53 rounded). gr_scalar fits all, rounded to f32 beside f32 and halves.
   A comparison with NaN is false, but for not_equal. */
GR_API gr_tensor *gr_equal(gr_tensor *a, gr_tensor *b);
GR_API gr_tensor *gr_not_equal(gr_tensor *a, gr_tensor *b);
GR_API gr_tensor *gr_less(gr_tensor *a, gr_tensor *b);
GR_API gr_tensor *gr_less_equal(gr_tensor *a, gr_tensor *b);
GR_API gr_tensor *gr_greater(gr_tensor *a, gr_tensor *b);
GR_API gr_tensor *gr_greater_equal(gr_tensor *a, gr_tensor *b);

/* a where condition is not 0, else b. condition: any dtype, no gradient, broadcasts with the
   others. What is not chosen has no influence, NaN or not: neither on the value nor on a
   gradient. */
GR_API gr_tensor *gr_where(gr_tensor *condition, gr_tensor *a, gr_tensor *b);

/* ---- Reductions ------------------------------------------------------------------------------ */

/* Over `axes` (below 0: from the end; none: all), which vanish, or stay with size 1 where keepdim.
   Summed in f64, in one fixed order that neither threads nor instruction set change, rounded once.
   Over no elements a sum is 0 and a mean NaN. Fails with SHAPE for an axis that x has not, or
   twice. */
typedef struct gr_reduce_args {
    gr_tensor *x;
    gr_dims axes;
    bool keepdim;
} gr_reduce_args;
GR_API gr_tensor *gr_sum_with(const gr_reduce_args *args);
GR_API gr_tensor *gr_mean_with(const gr_reduce_args *args);

/* gr_sum(x), gr_sum(x, .axes = gr_axes(0, 1), .keepdim = true), gr_mean likewise. */
#ifndef __cplusplus
#define gr_sum(...) GR_HERE(gr_sum_with(&(gr_reduce_args){.x = __VA_ARGS__}))
#define gr_mean(...) GR_HERE(gr_mean_with(&(gr_reduce_args){.x = __VA_ARGS__}))
#endif

/* x summed to a shape that broadcasts to x's: the gradient of gr_expand. Fails with BROADCAST. */
GR_API gr_tensor *gr_sum_to(gr_tensor *x, gr_dims shape);

/* ---- Softmax --------------------------------------------------------------------------------- */

/* Along an axis (below 0: from the end), shifted by the row's largest element m, which counts as a
   constant: no exponential overflows. An element that is -inf has softmax 0 and no influence; a row
   of nothing but -inf, or with inf or NaN in it, is NaN. x: any float dtype and shape, halves
   computed in f32. Named as in PyTorch. Fail with SHAPE for an axis that x has not, with NULL,
   DTYPE, SCOPE and MEMORY.
       softmax      s = e^(x-m) / sum e^(x-m);      dx = s (g - sum(g s))
       log_softmax  (x-m) - log(sum e^(x-m));       dx = g - s sum(g), exact where one element
                                                    outweighs the others: log1p of what these add */
GR_API gr_tensor *gr_softmax(gr_tensor *x, int axis);
GR_API gr_tensor *gr_log_softmax(gr_tensor *x, int axis);

/* ---- Matrix product -------------------------------------------------------------------------- */

/* a b: [m,k] [k,n] -> [m,n]; also [m,k] [k] -> [m], [k] [k,n] -> [n], [k] [k] -> 0-d. Operands
   of any strides: gr_matmul(gr_transpose(a), b) copies nothing. Each element is one chain of fused
   multiply-adds in ascending k, starting at 0. Fails with SHAPE. */
GR_API gr_tensor *gr_matmul(gr_tensor *a, gr_tensor *b);

/* ---- Shapes ---------------------------------------------------------------------------------- */

/* These take every dtype and return views: no copy, but for gr_cast, and gr_reshape and
   gr_contiguous of a strided tensor. Where reshape, contiguous or cast change nothing, they return
   x itself. */

/* The same elements in row-major order under another shape; one size may be -1: the rest. */
GR_API gr_tensor *gr_reshape(gr_tensor *x, gr_dims shape);

/* The last two axes swapped (fewer than two: x itself). */
GR_API gr_tensor *gr_transpose(gr_tensor *x);

/* Axis i of the result is axis order[i] of x. Fails with SHAPE unless order is a permutation. */
GR_API gr_tensor *gr_permute(gr_tensor *x, gr_dims order);

/* Elements start, start+step, ... below stop along an axis; start and stop below 0 count from the
   end and are cut to the axis as in Python; step > 0. Fails with SHAPE and ARGUMENT. */
GR_API gr_tensor *gr_slice(gr_tensor *x, int axis, int64_t start, int64_t stop, int64_t step);

/* x broadcast to a larger shape, its elements repeated. Fails with BROADCAST. */
GR_API gr_tensor *gr_expand(gr_tensor *x, gr_dims shape);

/* A contiguous tensor of the same elements: x itself if it is one. */
GR_API gr_tensor *gr_contiguous(gr_tensor *x);

/* Each element converted, any dtype to any: to a float rounded once to nearest, to an integer
   towards 0 and clamped to its range (NaN: 0), to bool "is not 0". d = g, cast back; between floats. */
GR_API gr_tensor *gr_cast(gr_tensor *x, gr_dtype dtype);

#ifdef __cplusplus
}
#endif

#ifndef GR_NO_PLACES
#define gr_add(a, b) GR_HERE(gr_add(a, b))
#define gr_sub(a, b) GR_HERE(gr_sub(a, b))
#define gr_mul(a, b) GR_HERE(gr_mul(a, b))
#define gr_div(a, b) GR_HERE(gr_div(a, b))
#define gr_maximum(a, b) GR_HERE(gr_maximum(a, b))
#define gr_minimum(a, b) GR_HERE(gr_minimum(a, b))
#define gr_pow(x, exponent) GR_HERE(gr_pow(x, exponent))
#define gr_neg(x) GR_HERE(gr_neg(x))
#define gr_abs(x) GR_HERE(gr_abs(x))
#define gr_sign(x) GR_HERE(gr_sign(x))
#define gr_square(x) GR_HERE(gr_square(x))
#define gr_sqrt(x) GR_HERE(gr_sqrt(x))
#define gr_exp(x) GR_HERE(gr_exp(x))
#define gr_log(x) GR_HERE(gr_log(x))
#define gr_log1p(x) GR_HERE(gr_log1p(x))
#define gr_relu(x) GR_HERE(gr_relu(x))
#define gr_sigmoid(x) GR_HERE(gr_sigmoid(x))
#define gr_tanh(x) GR_HERE(gr_tanh(x))
#define gr_softplus(x) GR_HERE(gr_softplus(x))
#define gr_equal(a, b) GR_HERE(gr_equal(a, b))
#define gr_not_equal(a, b) GR_HERE(gr_not_equal(a, b))
#define gr_less(a, b) GR_HERE(gr_less(a, b))
#define gr_less_equal(a, b) GR_HERE(gr_less_equal(a, b))
#define gr_greater(a, b) GR_HERE(gr_greater(a, b))
#define gr_greater_equal(a, b) GR_HERE(gr_greater_equal(a, b))
#define gr_where(condition, a, b) GR_HERE(gr_where(condition, a, b))
#define gr_sum_to(...) GR_HERE(gr_sum_to(__VA_ARGS__))
#define gr_softmax(x, axis) GR_HERE(gr_softmax(x, axis))
#define gr_log_softmax(x, axis) GR_HERE(gr_log_softmax(x, axis))
#define gr_matmul(a, b) GR_HERE(gr_matmul(a, b))
#define gr_reshape(...) GR_HERE(gr_reshape(__VA_ARGS__))
#define gr_transpose(x) GR_HERE(gr_transpose(x))
#define gr_permute(...) GR_HERE(gr_permute(__VA_ARGS__))
#define gr_slice(...) GR_HERE(gr_slice(__VA_ARGS__))
#define gr_expand(...) GR_HERE(gr_expand(__VA_ARGS__))
#define gr_contiguous(x) GR_HERE(gr_contiguous(x))
#define gr_cast(x, dtype) GR_HERE(gr_cast(x, dtype))
#endif

#endif
