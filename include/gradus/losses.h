/* gradus/losses.h - loss functions. Every float operand gets a gradient, of any order.
 *
 * Symbols: x is the input, y the target, w the weight, p the pos_weight, l the loss of one element,
 * N the number of x's elements, g the upstream gradient, s(z) = 1/(1+e^-z) and
 * softplus(z) = log(1+e^z).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_LOSSES_H
#define GRADUS_LOSSES_H

#include <gradus/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the losses of the elements are combined. */
typedef enum gr_reduction {
    GR_MEAN = 0, /* their sum divided by the denominator; shape [] */
    GR_SUM,      /* their sum; shape [] */
    GR_NONE      /* not combined; x's shape */
} gr_reduction;

/* What GR_MEAN divides by. */
typedef enum gr_denominator {
    GR_ALL = 0, /* N, as PyTorch and MindSpore do */
    GR_KEPT,    /* the number of elements where the mask is not 0 */
    GR_WEIGHTS  /* the sum of the weights of those elements */
} gr_denominator;

/* Options of both binary cross entropies. weight, pos_weight and mask broadcast to x's shape and
   never enlarge it: for x of shape [B,C,H,W], a pos_weight of each class is [C,1,1]. weight and
   pos_weight have x's dtype, or are integer or bool. Their values are not checked: the loss is the
   formula's for every number, also below 0. */
#define GR_NO_ALPHA (-1.0) /* the value of alpha that scales nothing */
typedef struct gr_bce_args {
    gr_tensor *target;      /* y: x's shape; any dtype, but a float one must be x's */
    gr_tensor *weight;      /* w: scales the loss; NULL: 1 */
    gr_tensor *pos_weight;  /* p: scales the part of the loss that y multiplies; NULL: 1 */
    gr_reduction reduction; /* GR_MEAN if left out */
    gr_tensor *mask;        /* any dtype. Where it is 0 the element does not count, even if it is
                               NaN: loss and gradients are 0. NULL: all elements count */
    gr_denominator denominator; /* of GR_MEAN; without effect under GR_SUM and GR_NONE */
    double label_smoothing;     /* e in [0,1]: y is replaced by y (1-e) + e/2 */
    double gamma;               /* focal loss: l is scaled by (1 - p_t)^gamma, where p_t is the
                                   probability given to the target; gamma >= 0 (Lin et al., "Focal
                                   loss for dense object detection", ICCV 2017) */
    double alpha;               /* focal loss: l is scaled by alpha y + (1-alpha) (1-y), whatever
                                   gamma is; in [0,1], or GR_NO_ALPHA */
    bool strict_target;         /* true: a target outside [0,1] fails with DOMAIN */
    gr_dims class_axis;         /* gr_axes(k): pos_weight has shape [x's size along axis k] and
                                   applies along it; empty: pos_weight broadcasts */
    bool from_defaults;
} gr_bce_args;
#define GR_BCE_DEFAULTS .from_defaults = true, .alpha = GR_NO_ALPHA
GR_API gr_bce_args gr_bce_defaults(void);

/* Which form is which. The following holds for gr_bce and gr_bce_with_logits. The unit is the ulp
   of the largest of the true result and the two terms, of y and of 1-y, that it is a sum of.
     GR_NONE   f32 losses and gradients are computed in f64 and rounded once: within 0.5 ulp (0.501
               where that rounding meets an error of f64). f64: within 4 ulp.
     Sums      of GR_SUM and GR_MEAN: the losses are added in f64, and the result is rounded once.
               gr_bce_with_logits takes the logarithms of a whole chunk of 1024 elements
               together, as one of a product, if no option changes the chunk. All other losses
               are those of GR_NONE.
     dx        of gr_bce_with_logits under GR_SUM and GR_MEAN has one definition at every length. It
               is not that of GR_NONE: it is computed in x's dtype. Within 3 ulp, for any number of
               elements and any upstream gradient.
     The rest  of the gradients under GR_SUM and GR_MEAN (dy, dw, dp; dx with gamma or alpha; all of
               gr_bce) are those of GR_NONE times the factor of the reduction.
   The bits of an element's loss and gradients never depend on the length of the array, on the
   position of the element or on its neighbours. The bits of a sum never depend on threads or
   instruction set. A weight, pos_weight or mask of ones changes no bit. f16 and bf16 are computed
   as f32 is, and rounded once more at the end. docs/accuracy.md has the measurements.
   A recorded gradient (gr_grad) is computed by ordinary ops and agrees up to rounding. */

/* Special values, in all losses. What does not count wins over infinity: a weight of 0, a target of
   0 for a class, a focal factor of 0 or an upstream gradient of 0 gives 0 beside an infinite loss
   or slope. NaN stays NaN unless the mask drops it. A mean whose denominator is 0 is NaN and has no
   gradient: derivatives of every order through it are 0. The gradients of gr_backward and the
   recorded ones of gr_grad follow the same rule. */

/* Binary cross entropy of a probability x in [0,1]:
       l = -w [ p y max(log x, -100) + (1-y) max(log(1-x), -100) ]
   x: any float dtype, any shape. Returns the losses (GR_NONE), their sum or their mean, of x's
   dtype, freed with the scope. The mean of no elements is NaN. Gradients:
       dx = g w (p y (x-1) + (1-y) x) / max(x (1-x), 1e-12)
       dy = g w [ max(log(1-x), -100) - p max(log x, -100) ]
       dp = -g w y max(log x, -100),   dw = g l / w
   Fails with DOMAIN if an x that counts is NaN or outside [0,1], with SHAPE if y has another shape
   than x, with BROADCAST if an option does not broadcast to x, and with DTYPE, ARGUMENT, REDUCTION,
   NULL, CONTEXT, SCOPE and MEMORY. */
GR_API gr_tensor *gr_bce_with(gr_tensor *x, const gr_bce_args *args);

/* Binary cross entropy of a logit x, any real number, with q = log1p(exp(-|x|)):
       l = w [ (1-y) max(x,0) + p y max(-x,0) + ((1-y) + p y) q ]
   No term cancels, so losses and gradients are accurate for large |x| too. An infinite logit gives
   the limit. x: any float dtype, any shape. Returns what gr_bce returns. Gradients:
       dx = g w [ (1-y) s(x) - p y s(-x) ]
       dy = g w [ p softplus(-x) - softplus(x) ],   dp = g w y softplus(-x),   dw = g l / w
   With gamma, recorded gradients are computed in f64: first and second derivatives in x are within
   1e-6 (f32) and 1e-12 (f64) of the truth, relatively, or 0 below the smallest normal number. Where
   e^-|x| is below it, those in y may be 0.
   Fails as gr_bce does, but not for the value of x. y may lie outside [0,1] unless strict_target is
   set. */
GR_API gr_tensor *gr_bce_with_logits_with(gr_tensor *logits, const gr_bce_args *args);

/* Options are given by name after the target, as in gr_bce_with_logits(logits, target) and
   gr_bce_with_logits(logits, target, .pos_weight = p). */
#ifndef __cplusplus
#define gr_bce(x, ...)                                                                             \
    GR_HERE(GR_BY_NAME(gr_bce_with((x), &(gr_bce_args){GR_BCE_DEFAULTS, .target = __VA_ARGS__})))
#define gr_bce_with_logits(logits, ...)                                                            \
    GR_HERE(GR_BY_NAME(gr_bce_with_logits_with(                                                    \
        (logits), &(gr_bce_args){GR_BCE_DEFAULTS, .target = __VA_ARGS__})))
#endif

/* ---- Losses of an input against a target of its shape ---------------------------------------- */

/* The losses below have the names, formulas, reductions and defaults of PyTorch: gr_mse is mse_loss
 * of torch.nn.functional, and so on. The following holds for each of them.
 *
 * x has any float dtype; f16 and bf16 are computed in f32 and rounded once. The target has any
 * dtype (a float one must be x's) and x's shape, unless a comment says otherwise. The result has
 * x's dtype and is freed with the scope. It is l of each element (GR_NONE), their sum or their
 * mean. The mean of no elements is NaN. At a kink, |d| and max(0, d) have slope 0. NaN in an
 * operand gives NaN.
 *
 * Each loss fails with NULL for an operand that is missing, with SHAPE, DTYPE, REDUCTION, CONTEXT,
 * SCOPE and MEMORY, and with ARGUMENT for a number that is not finite or is outside its range. */
typedef struct gr_loss_args {
    gr_tensor *target;
    gr_reduction reduction; /* GR_MEAN if left out, here and below */
} gr_loss_args;

/* gr_mse: squared error, l = (x - y)^2. gr_l1: absolute error, l = |x - y|. */
GR_API gr_tensor *gr_mse_with(gr_tensor *x, const gr_loss_args *args);
GR_API gr_tensor *gr_l1_with(gr_tensor *x, const gr_loss_args *args);

/* Huber loss: l = (x-y)^2 / 2 where |x-y| < delta, else delta (|x-y| - delta/2). */
typedef struct gr_huber_args {
    gr_tensor *target;
    gr_reduction reduction;
    double delta; /* > 0 */
    bool from_defaults;
} gr_huber_args;
#define GR_HUBER_DEFAULTS .from_defaults = true, .delta = 1
GR_API gr_huber_args gr_huber_defaults(void);
GR_API gr_tensor *gr_huber_with(gr_tensor *x, const gr_huber_args *args);

/* Smooth absolute error: l = (x-y)^2 / (2 beta) where |x-y| < beta, else |x-y| - beta/2. This is
   gr_huber with delta = beta, divided by beta; with beta = 0 it is gr_l1. */
typedef struct gr_smooth_l1_args {
    gr_tensor *target;
    gr_reduction reduction;
    double beta; /* >= 0 */
    bool from_defaults;
} gr_smooth_l1_args;
#define GR_SMOOTH_L1_DEFAULTS .from_defaults = true, .beta = 1
GR_API gr_smooth_l1_args gr_smooth_l1_defaults(void);
GR_API gr_tensor *gr_smooth_l1_with(gr_tensor *x, const gr_smooth_l1_args *args);

/* Kullback-Leibler divergence of the distribution y from the one whose logarithms are x:
   l = y (log y - x). 0 log 0 counts as 0, with gradient 0, and so does a y of 0 beside an x of
   -inf. With log_target the target holds logarithms: l = e^y (y - x). batch_mean divides the sum by
   x's first size, which gives the divergence itself; GR_MEAN alone divides it by N. Fails with
   ARGUMENT if batch_mean comes with GR_SUM or GR_NONE. */
typedef struct gr_kl_div_args {
    gr_tensor *target;
    gr_reduction reduction;
    bool log_target; /* the target holds logarithms */
    bool batch_mean;
} gr_kl_div_args;
GR_API gr_tensor *gr_kl_div_with(gr_tensor *x, const gr_kl_div_args *args);

/* Negative log likelihood of a count y under a Poisson distribution with rate e^x: l = e^x - y x.
   With rate_input (PyTorch's log_input = False) the rate is x: l = x - y log(x + eps). full adds
   y log y - y + log(2 pi y)/2 where y > 1. An infinite x gives the limit. Fails with DOMAIN for a
   rate below 0. */
typedef struct gr_poisson_nll_args {
    gr_tensor *target;
    gr_reduction reduction;
    bool rate_input;
    bool full;
    double eps; /* >= 0; only rate_input uses it */
    bool from_defaults;
} gr_poisson_nll_args;
#define GR_POISSON_NLL_DEFAULTS .from_defaults = true, .eps = 1e-8
GR_API gr_poisson_nll_args gr_poisson_nll_defaults(void);
GR_API gr_tensor *gr_poisson_nll_with(gr_tensor *x, const gr_poisson_nll_args *args);

/* Negative log likelihood of y under a normal distribution with mean x:
   l = (log v + (x-y)^2 / v) / 2 with v = max(variance, eps). full adds log(2 pi) / 2. variance: x's
   shape, x's shape with last size 1 or without the last axis (one number for each row), or [].
   Below eps the gradient of variance is the one at v = eps: max adds no slope of its own. Fails
   with DOMAIN for a variance below 0. */
typedef struct gr_gaussian_nll_args {
    gr_tensor *target;
    gr_tensor *variance;
    gr_reduction reduction;
    bool full;
    double eps; /* >= 0; with 0 a variance of 0 has no finite loss */
    bool from_defaults;
} gr_gaussian_nll_args;
#define GR_GAUSSIAN_NLL_DEFAULTS .from_defaults = true, .eps = 1e-6
GR_API gr_gaussian_nll_args gr_gaussian_nll_defaults(void);
GR_API gr_tensor *gr_gaussian_nll_with(gr_tensor *x, const gr_gaussian_nll_args *args);

/* ---- Losses over classes --------------------------------------------------------------------- */

/* Negative log likelihood of classes. x: log probabilities, [C], or [N,C,d...] with the C classes
   along axis 1. y: class numbers from 0 to C-1, of dtype i64, i32 or u8, of x's shape without the
   class axis; GR_NONE gives the losses that shape too.
       l = -w[y] x[y]
   A row whose y is ignore_index (any integer) does not count, even if x is NaN there: l and
   gradients are 0.
   GR_MEAN divides by the sum of w[y] over the rows that count, or by their number without weight.
   If no row counts, the mean is NaN. weight: [C], any float dtype. Fails with DOMAIN if y is no
   class number; the message names it. */
typedef struct gr_nll_args {
    gr_tensor *target;
    gr_tensor *weight; /* w; NULL: 1 */
    gr_reduction reduction;
    int64_t ignore_index;
    bool from_defaults;
} gr_nll_args;
#define GR_NLL_DEFAULTS .from_defaults = true, .ignore_index = -100
GR_API gr_nll_args gr_nll_defaults(void);
GR_API gr_tensor *gr_nll_with(gr_tensor *x, const gr_nll_args *args);

/* Cross entropy of logits x: gr_nll of logp = gr_log_softmax(x), with shapes as there. e is
   label_smoothing, in [0,1]:
       l = -(1-e) w[y] logp[y] - e/C (sum over c of w[c] logp[c])
   A float y of x's shape holds the probability of each class. It gets a gradient, and GR_MEAN
   divides by the number of rows:
       l = -(sum over c of w[c] (y[c] (1-e) + e/C) logp[c])
   Loss and gradients keep their digits if one logit is much larger than the others: 1e-30 is 1e-30
   and not 0. A class whose y or w is 0 does not count, even if its logit is -inf.
   Fails as gr_nll does, and with ARGUMENT for an e outside [0,1], and for a float y with another
   ignore_index than the default's. */
typedef struct gr_cross_entropy_args {
    gr_tensor *target;
    gr_tensor *weight; /* w; NULL: 1 */
    gr_reduction reduction;
    int64_t ignore_index;
    double label_smoothing; /* e */
    bool from_defaults;
} gr_cross_entropy_args;
#define GR_CROSS_ENTROPY_DEFAULTS .from_defaults = true, .ignore_index = -100
GR_API gr_cross_entropy_args gr_cross_entropy_defaults(void);
GR_API gr_tensor *gr_cross_entropy_with(gr_tensor *x, const gr_cross_entropy_args *args);

/* Cross entropy of several labels for each row. x: logits, [C] or [...,C]; y: x's shape, in [0,1].
   l is the mean of gr_bce_with_logits over the last axis, the classes; it has x's shape without
   that axis. weight broadcasts to x's shape and never enlarges it; fails with BROADCAST. */
typedef struct gr_multilabel_soft_margin_args {
    gr_tensor *target;
    gr_tensor *weight; /* w, such as [C]; NULL: 1 */
    gr_reduction reduction;
} gr_multilabel_soft_margin_args;
GR_API gr_tensor *gr_multilabel_soft_margin_with(gr_tensor *x,
                                                 const gr_multilabel_soft_margin_args *args);

/* ---- Losses with a margin -------------------------------------------------------------------- */

/* Logistic loss, for y of 1 or -1: l = log(1 + e^(-y x)), accurate for large |x| too. */
GR_API gr_tensor *gr_soft_margin_with(gr_tensor *x, const gr_loss_args *args);

/* Hinge loss of a distance x: l = x where y is 1, max(0, margin - x) where y is -1, and the sum of
   both elsewhere. */
typedef struct gr_hinge_embedding_args {
    gr_tensor *target;
    gr_reduction reduction;
    double margin; /* any finite number */
    bool from_defaults;
} gr_hinge_embedding_args;
#define GR_HINGE_EMBEDDING_DEFAULTS .from_defaults = true, .margin = 1
GR_API gr_hinge_embedding_args gr_hinge_embedding_defaults(void);
GR_API gr_tensor *gr_hinge_embedding_with(gr_tensor *x, const gr_hinge_embedding_args *args);

/* Loss of the angle between two vectors a and b (`other`), of shape [D] or rows [N,D], with y of
   shape [] or [N], which is the shape of l:
       l = 1 - cos where y is 1, max(0, cos - margin) where y is -1, else 0
       cos = a b / sqrt((a a + 1e-12) (b b + 1e-12)) */
typedef struct gr_cosine_embedding_args {
    gr_tensor *other; /* b: a's shape */
    gr_tensor *target;
    gr_reduction reduction;
    double margin; /* any finite number; 0 if left out */
} gr_cosine_embedding_args;
GR_API gr_tensor *gr_cosine_embedding_with(gr_tensor *a, const gr_cosine_embedding_args *args);

/* Loss of the distances between three vectors of one shape, [D] or rows [N,D]; l has shape [] or
   [N]:
       l = max(0, margin + |a - positive| - |a - negative|),   |d| = (sum |d + eps|^p)^(1/p)
   swap: |positive - negative| takes the place of |a - negative| where it is smaller. |d| has slope
   0 at 0. */
typedef struct gr_triplet_margin_args {
    gr_tensor *positive;
    gr_tensor *negative;
    gr_reduction reduction;
    bool swap;
    double margin; /* > 0 */
    double p;      /* > 0 */
    double eps;    /* >= 0 */
    bool from_defaults;
} gr_triplet_margin_args;
#define GR_TRIPLET_MARGIN_DEFAULTS .from_defaults = true, .margin = 1, .p = 2, .eps = 1e-6
GR_API gr_triplet_margin_args gr_triplet_margin_defaults(void);
GR_API gr_tensor *gr_triplet_margin_with(gr_tensor *a, const gr_triplet_margin_args *args);

/* Options are given by name after the operands: gr_mse(x, y), gr_huber(x, y, .delta = 2),
   gr_gaussian_nll(x, y, variance, .full = true), gr_cosine_embedding(a, b, y, .margin = 0.5),
   gr_cross_entropy(x, y, .ignore_index = 0),
   gr_triplet_margin(a, positive, negative, .swap = true). */
#ifndef __cplusplus
#define gr_mse(x, ...) GR_HERE(gr_mse_with((x), &(gr_loss_args){.target = __VA_ARGS__}))
#define gr_l1(x, ...)  GR_HERE(gr_l1_with((x), &(gr_loss_args){.target = __VA_ARGS__}))
#define gr_huber(x, ...)                                                                           \
    GR_HERE(GR_BY_NAME(                                                                            \
        gr_huber_with((x), &(gr_huber_args){GR_HUBER_DEFAULTS, .target = __VA_ARGS__})))
#define gr_smooth_l1(x, ...)                                                                       \
    GR_HERE(GR_BY_NAME(gr_smooth_l1_with(                                                          \
        (x), &(gr_smooth_l1_args){GR_SMOOTH_L1_DEFAULTS, .target = __VA_ARGS__})))
#define gr_kl_div(x, ...) GR_HERE(gr_kl_div_with((x), &(gr_kl_div_args){.target = __VA_ARGS__}))
#define gr_poisson_nll(x, ...)                                                                     \
    GR_HERE(GR_BY_NAME(gr_poisson_nll_with(                                                        \
        (x), &(gr_poisson_nll_args){GR_POISSON_NLL_DEFAULTS, .target = __VA_ARGS__})))
#define gr_gaussian_nll(x, ...)                                                                    \
    GR_HERE(GR_BY_NAME(gr_gaussian_nll_with(                                                       \
        (x), &(gr_gaussian_nll_args){GR_GAUSSIAN_NLL_DEFAULTS, .target = __VA_ARGS__})))
#define gr_nll(x, ...)                                                                             \
    GR_HERE(GR_BY_NAME(gr_nll_with((x), &(gr_nll_args){GR_NLL_DEFAULTS, .target = __VA_ARGS__})))
#define gr_cross_entropy(x, ...)                                                                   \
    GR_HERE(GR_BY_NAME(gr_cross_entropy_with(                                                      \
        (x), &(gr_cross_entropy_args){GR_CROSS_ENTROPY_DEFAULTS, .target = __VA_ARGS__})))
#define gr_multilabel_soft_margin(x, ...)                                                          \
    GR_HERE(gr_multilabel_soft_margin_with(                                                        \
        (x), &(gr_multilabel_soft_margin_args){.target = __VA_ARGS__}))
#define gr_soft_margin(x, ...)                                                                     \
    GR_HERE(gr_soft_margin_with((x), &(gr_loss_args){.target = __VA_ARGS__}))
#define gr_hinge_embedding(x, ...)                                                                 \
    GR_HERE(GR_BY_NAME(gr_hinge_embedding_with(                                                    \
        (x), &(gr_hinge_embedding_args){GR_HINGE_EMBEDDING_DEFAULTS, .target = __VA_ARGS__})))
#define gr_cosine_embedding(a, ...)                                                                \
    GR_HERE(gr_cosine_embedding_with((a), &(gr_cosine_embedding_args){.other = __VA_ARGS__}))
#define gr_triplet_margin(a, ...)                                                                  \
    GR_HERE(GR_BY_NAME(gr_triplet_margin_with(                                                     \
        (a), &(gr_triplet_margin_args){GR_TRIPLET_MARGIN_DEFAULTS, .positive = __VA_ARGS__})))
#endif

#ifdef __cplusplus
}
#endif

#endif
