/* gradus/losses.h - loss functions, differentiable in every float argument, twice and more.
 *
 * x is the input, y the target (exactly x's shape), w the weight, p the pos_weight, N the number of
 * x's elements, s(z) = 1/(1+e^-z). weight and pos_weight broadcast to x's shape and never enlarge
 * it: for [B,C,H,W] a pos_weight per class is [C,1,1].
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_LOSSES_H
#define GRADUS_LOSSES_H

#include <gradus/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What becomes of the elements' losses. */
typedef enum gr_reduction {
    GR_MEAN = 0, /* their sum over the denominator, 0-d */
    GR_SUM,      /* their sum, 0-d */
    GR_NONE      /* each, x's shape */
} gr_reduction;

/* What GR_MEAN divides by. */
typedef enum gr_denominator {
    GR_ALL = 0, /* N, as PyTorch and MindSpore do */
    GR_KEPT,    /* the number of elements that the mask keeps */
    GR_WEIGHTS  /* the sum of weight over the kept elements */
} gr_denominator;

/* Options of both binary cross entropies; every zero is the default. */
typedef struct gr_bce_args {
    gr_tensor *target;      /* y, x's shape; any dtype (a float one must be x's) */
    gr_tensor *weight;      /* w, x's dtype; 1 */
    gr_tensor *pos_weight;  /* p, x's dtype: scales the loss of the positive part; 1 */
    gr_reduction reduction; /* GR_MEAN */
    gr_tensor *mask;        /* broadcasts to x; where it is 0 the element counts as if it were not
                               there, NaN or not: loss 0, gradients 0; all kept */
    gr_denominator denominator; /* of GR_MEAN: GR_ALL */
    double label_smoothing;     /* e in [0,1]: y (1-e) + e/2 stands for y; 0 */
    double gamma;               /* focal: scales by (1 - p_t)^gamma, gamma >= 0; 0 (Lin et al.,
                                   "Focal loss for dense object detection", ICCV 2017) */
    double alpha;               /* focal: scales by alpha y + (1-alpha) (1-y), in [0,1]; 0: by 1 */
    bool strict_target;         /* a target outside [0,1] is a DOMAIN error; accepted */
    gr_dims class_axis;         /* gr_axes(k): pos_weight is [x's size along k], one a class;
                                   plain broadcasting */
} gr_bce_args;

/* Binary cross entropy of a probability x in [0,1]:
       l = -w [ p y max(log x, -100) + (1-y) max(log(1-x), -100) ]
   x: any float dtype and shape. Returns l (GR_NONE) or its sum or mean, of x's dtype, the scope's;
   an empty mean is NaN. Gradients for g upstream:
       dx = g w (p y (x-1) + (1-y) x) / max(x (1-x), 1e-12)
       dy = g w [ max(log(1-x), -100) - p max(log x, -100) ]
   Fails with DOMAIN for an x outside [0,1] or NaN that is not masked, with SHAPE unless y has x's
   shape, with BROADCAST, DTYPE, ARGUMENT, REDUCTION, NULL, CONTEXT, SCOPE and MEMORY. */
GR_API gr_tensor *gr_bce_with(gr_tensor *x, const gr_bce_args *args);

/* Binary cross entropy of a logit x, of any size, with q = log1p(exp(-|x|)):
       l = w [ (1-y) max(x,0) + p y max(-x,0) + ((1-y) + p y) q ]
   No term cancels: the loss and its gradient keep their digits in both tails, and an infinite logit
   gives its limit. x: any float dtype and shape. Returns as gr_bce does. Gradients:
       dx = g w [ (1-y) s(x) - p y s(-x) ]
       dy = g w [ p softplus(-x) - softplus(x) ],   dp = g w y softplus(-x),   dw = g l / w
   Fails as gr_bce does, but takes any x; y may lie outside [0,1] unless strict_target. */
GR_API gr_tensor *gr_bce_with_logits_with(gr_tensor *logits, const gr_bce_args *args);

/* gr_bce_with_logits(logits, target), gr_bce_with_logits(logits, target, .pos_weight = p). */
#ifndef __cplusplus
#define gr_bce(x, ...) GR_HERE(gr_bce_with((x), &(gr_bce_args){.target = __VA_ARGS__}))
#define gr_bce_with_logits(logits, ...)                                                            \
    GR_HERE(gr_bce_with_logits_with((logits), &(gr_bce_args){.target = __VA_ARGS__}))
#endif

#ifdef __cplusplus
}
#endif

#endif
