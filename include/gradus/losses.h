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

/* ---- Losses of an input against a target of its shape ---------------------------------------- */

/* From here on the losses have PyTorch's names, formulas, reductions and defaults, as the pages of
 * torch.nn and torch.nn.functional define them: gr_mse is mse_loss, and so on. What follows holds
 * for each of them.
 *
 * x is any float dtype, halves computed in f32 and rounded once. A target is of any dtype (a float
 * one is x's) and, unless a line says otherwise, exactly of x's shape. The result is the scope's,
 * of x's dtype: GR_NONE gives each l, GR_SUM and GR_MEAN their sum and mean; an empty mean is NaN.
 * Every float operand gets a gradient, of any order; at a kink |d| and max(0, d) have slope 0.
 * NaN in an operand gives NaN.
 *
 * Every zero is the default: a number that is left out, or 0, stands for the value behind its name.
 * Where 0 itself is meant, a number too small to matter serves, such as 1e-300.
 *
 * Each fails with NULL for an operand that is not given, with SHAPE, DTYPE, REDUCTION, CONTEXT,
 * SCOPE and MEMORY, and with ARGUMENT for a number that is not finite, or not above 0 where it says
 * so. */
typedef struct gr_loss_args {
    gr_tensor *target;
    gr_reduction reduction; /* GR_MEAN, here and below */
} gr_loss_args;

/* Mean squared error, l = (x - y)^2, and absolute error, l = |x - y|. */
GR_API gr_tensor *gr_mse_with(gr_tensor *x, const gr_loss_args *args);
GR_API gr_tensor *gr_l1_with(gr_tensor *x, const gr_loss_args *args);

/* l = (x-y)^2 / 2 where |x-y| < delta, else delta (|x-y| - delta/2). */
typedef struct gr_huber_args {
    gr_tensor *target;
    gr_reduction reduction;
    double delta; /* > 0; 1 */
} gr_huber_args;
GR_API gr_tensor *gr_huber_with(gr_tensor *x, const gr_huber_args *args);

/* l = (x-y)^2 / (2 beta) where |x-y| < beta, else |x-y| - beta/2: gr_huber with delta = beta, over
   beta. What PyTorch does for beta = 0 is gr_l1. */
typedef struct gr_smooth_l1_args {
    gr_tensor *target;
    gr_reduction reduction;
    double beta; /* > 0; 1 */
} gr_smooth_l1_args;
GR_API gr_tensor *gr_smooth_l1_with(gr_tensor *x, const gr_smooth_l1_args *args);

/* Kullback-Leibler divergence of a distribution from the one whose logarithms are x:
   l = y (log y - x), where 0 log 0 is 0 and has the gradient 0, or e^y (y - x) of a log_target.
   batch_mean: the sum over x's first size, which is the divergence itself; GR_MEAN is over all
   elements. Fails with ARGUMENT for batch_mean beside another reduction than GR_MEAN. */
typedef struct gr_kl_div_args {
    gr_tensor *target;
    gr_reduction reduction;
    bool log_target; /* the target is logarithms too */
    bool batch_mean;
} gr_kl_div_args;
GR_API gr_tensor *gr_kl_div_with(gr_tensor *x, const gr_kl_div_args *args);

/* Of a count y whose rate is e^x: l = e^x - y x. PyTorch's log_input = False is rate_input: the
   rate is x itself, l = x - y log(x + eps). full: plus y log y - y + log(2 pi y)/2 where y > 1. */
typedef struct gr_poisson_nll_args {
    gr_tensor *target;
    gr_reduction reduction;
    bool rate_input;
    bool full;
    double eps; /* > 0; 1e-8 */
} gr_poisson_nll_args;
GR_API gr_tensor *gr_poisson_nll_with(gr_tensor *x, const gr_poisson_nll_args *args);

/* Of y whose mean is x: l = (log v + (x-y)^2 / v) / 2 with v = max(variance, eps). full: plus
   log(2 pi) / 2. variance: x's shape, or that with 1 for its last size or without it (one a row),
   or 0-d. Below eps its gradient is that of v = variance: the cut has none. Fails with DOMAIN for a
   variance below 0. */
typedef struct gr_gaussian_nll_args {
    gr_tensor *target;
    gr_tensor *variance;
    gr_reduction reduction;
    bool full;
    double eps; /* > 0; 1e-6 */
} gr_gaussian_nll_args;
GR_API gr_tensor *gr_gaussian_nll_with(gr_tensor *x, const gr_gaussian_nll_args *args);

/* ---- Losses over classes --------------------------------------------------------------------- */

/* Negative log likelihood. x: log probabilities, [C], or [N,C,d...] with the classes along axis 1.
   y: i64, i32 or u8 class numbers from 0 to C-1, of x's shape without the classes.
       l = -w[y] x[y]
   Rows whose y is ignore_index do not count, NaN or not: l and gradients 0. GR_MEAN divides by the
   sum of w[y] over the others, or by their number; without any it is NaN. weight: [C], x's dtype.
   Fails with DOMAIN for a y that is no class, and names it. */
typedef struct gr_nll_args {
    gr_tensor *target;
    gr_tensor *weight; /* w; 1 */
    gr_reduction reduction;
    gr_dims ignore_index; /* one number, gr_index(0); -100 */
} gr_nll_args;
GR_API gr_tensor *gr_nll_with(gr_tensor *x, const gr_nll_args *args);

/* Cross entropy: gr_nll of gr_log_softmax(x), for logits x. label_smoothing e in [0,1]:
       l = -(1-e) w[y] logp[y] - e/C (sum over c of w[c] logp[c])
   A float y of x's shape is the probability of each class; there is no ignore_index then
   (ARGUMENT), GR_MEAN divides by the number of rows, and y gets a gradient:
       l = -(sum over c of w[c] (y[c] (1-e) + e/C) logp[c])
   Exact where one logit outweighs the others: a loss of 1e-30 is 1e-30, not 0. Fails as gr_nll
   does, and with ARGUMENT for an e outside [0,1]. */
typedef struct gr_cross_entropy_args {
    gr_tensor *target;
    gr_tensor *weight; /* w; 1 */
    gr_reduction reduction;
    gr_dims ignore_index;   /* one number, gr_index(0); -100 */
    double label_smoothing; /* 0 */
} gr_cross_entropy_args;
GR_API gr_tensor *gr_cross_entropy_with(gr_tensor *x, const gr_cross_entropy_args *args);

/* Several labels a row, y in [0,1], x: [C] or [..,C] logits: the mean over the classes, the last
   axis, of gr_bce_with_logits; [..]. weight broadcasts to x and never enlarges it (BROADCAST). */
typedef struct gr_multilabel_soft_margin_args {
    gr_tensor *target;
    gr_tensor *weight; /* w, such as [C]; 1 */
    gr_reduction reduction;
} gr_multilabel_soft_margin_args;
GR_API gr_tensor *gr_multilabel_soft_margin_with(gr_tensor *x,
                                                 const gr_multilabel_soft_margin_args *args);

/* ---- Losses with a margin -------------------------------------------------------------------- */

/* y is 1 or -1: l = log(1 + e^(-y x)), exact in both tails. */
GR_API gr_tensor *gr_soft_margin_with(gr_tensor *x, const gr_loss_args *args);

/* Of a distance x: l = x where y is 1, max(0, margin - x) where it is -1, their sum elsewhere. */
typedef struct gr_hinge_embedding_args {
    gr_tensor *target;
    gr_reduction reduction;
    double margin; /* 1 */
} gr_hinge_embedding_args;
GR_API gr_tensor *gr_hinge_embedding_with(gr_tensor *x, const gr_hinge_embedding_args *args);

/* Of two vectors a and b (other), [D] or rows [N,D], with y [] or [N]:
       l = 1 - cos where y is 1, max(0, cos - margin) where it is -1, else 0,
       cos = a b / sqrt((a a + 1e-12) (b b + 1e-12)) */
typedef struct gr_cosine_embedding_args {
    gr_tensor *other; /* b, a's shape */
    gr_tensor *target;
    gr_reduction reduction;
    double margin; /* 0 */
} gr_cosine_embedding_args;
GR_API gr_tensor *gr_cosine_embedding_with(gr_tensor *a, const gr_cosine_embedding_args *args);

/* Of three vectors of one shape, [D] or rows [N,D], with |d| = (sum |d + eps|^p)^(1/p) a row:
       l = max(0, margin + |a - positive| - |a - negative|)
   swap: for |a - negative| the smaller of it and |positive - negative|. |d| has slope 0 at 0. */
typedef struct gr_triplet_margin_args {
    gr_tensor *positive;
    gr_tensor *negative;
    gr_reduction reduction;
    bool swap;
    double margin; /* > 0; 1 */
    double p;      /* > 0; 2 */
    double eps;    /* > 0; 1e-6 */
} gr_triplet_margin_args;
GR_API gr_tensor *gr_triplet_margin_with(gr_tensor *a, const gr_triplet_margin_args *args);

/* gr_mse(x, y), gr_huber(x, y, .delta = 2), gr_gaussian_nll(x, y, variance, .full = true),
   gr_cross_entropy(x, y, .ignore_index = gr_index(0)), gr_cosine_embedding(a, b, y, .margin = 0.5),
   gr_triplet_margin(a, positive, negative, .swap = true). */
#ifndef __cplusplus
#define gr_mse(x, ...) GR_HERE(gr_mse_with((x), &(gr_loss_args){.target = __VA_ARGS__}))
#define gr_l1(x, ...) GR_HERE(gr_l1_with((x), &(gr_loss_args){.target = __VA_ARGS__}))
#define gr_huber(x, ...) GR_HERE(gr_huber_with((x), &(gr_huber_args){.target = __VA_ARGS__}))
#define gr_smooth_l1(x, ...)                                                                       \
    GR_HERE(gr_smooth_l1_with((x), &(gr_smooth_l1_args){.target = __VA_ARGS__}))
#define gr_kl_div(x, ...) GR_HERE(gr_kl_div_with((x), &(gr_kl_div_args){.target = __VA_ARGS__}))
#define gr_poisson_nll(x, ...)                                                                     \
    GR_HERE(gr_poisson_nll_with((x), &(gr_poisson_nll_args){.target = __VA_ARGS__}))
#define gr_gaussian_nll(x, ...)                                                                    \
    GR_HERE(gr_gaussian_nll_with((x), &(gr_gaussian_nll_args){.target = __VA_ARGS__}))
#define gr_nll(x, ...) GR_HERE(gr_nll_with((x), &(gr_nll_args){.target = __VA_ARGS__}))
#define gr_cross_entropy(x, ...)                                                                   \
    GR_HERE(gr_cross_entropy_with((x), &(gr_cross_entropy_args){.target = __VA_ARGS__}))
#define gr_multilabel_soft_margin(x, ...)                                                          \
    GR_HERE(gr_multilabel_soft_margin_with(                                                        \
        (x), &(gr_multilabel_soft_margin_args){.target = __VA_ARGS__}))
#define gr_soft_margin(x, ...)                                                                     \
    GR_HERE(gr_soft_margin_with((x), &(gr_loss_args){.target = __VA_ARGS__}))
#define gr_hinge_embedding(x, ...)                                                                 \
    GR_HERE(gr_hinge_embedding_with((x), &(gr_hinge_embedding_args){.target = __VA_ARGS__}))
#define gr_cosine_embedding(a, ...)                                                                \
    GR_HERE(gr_cosine_embedding_with((a), &(gr_cosine_embedding_args){.other = __VA_ARGS__}))
#define gr_triplet_margin(a, ...)                                                                  \
    GR_HERE(gr_triplet_margin_with((a), &(gr_triplet_margin_args){.positive = __VA_ARGS__}))
#endif

#ifdef __cplusplus
}
#endif

#endif
