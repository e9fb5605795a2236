/* gradus/compat.h - binary cross entropy with the parameter lists of PyTorch and MindSpore.
 *
 * For code that comes from there: the same parameters in the same order with the same defaults
 * (NULL and GR_UNSET stand for None), and each system's own rules for dtypes, shapes and the
 * spelling of reductions. What is computed is gr_bce and gr_bce_with_logits: exact in both tails,
 * infinite logits give their limits, and every float argument has a gradient. docs/api_mapping.md
 * lists every parameter and every difference.
 *
 * Each call returns a tensor of the input's dtype, the scope's: 0-d, or the input's shape for
 * reduction "none". Each fails as gr_bce and gr_bce_with_logits do (losses.h), and with REDUCTION
 * for a word that its system does not know, DTYPE for a dtype that its system does not take, and
 * NULL for what it must be given. The target has the input's shape (SHAPE); weight and pos_weight
 * broadcast to it and never enlarge it (BROADCAST). A gr_scalar takes the input's dtype.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_COMPAT_H
#define GRADUS_COMPAT_H

#include <gradus/losses.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Reductions by name ---------------------------------------------------------------------- */

/* "none", "mean" or "sum", in any case; "elementwise_mean" is "mean" under an old name, which a
   note to the error handler says; NULL is "mean". Fails with REDUCTION for any other word, "" too,
   and with NULL; *reduction is then as it was. */
GR_API GR_CHECKED gr_status gr_reduction_from_name(gr_context *ctx, const char *name,
                                                   gr_reduction *reduction);

/* A bool that may not be given. */
typedef enum gr_tristate { GR_UNSET = 0, GR_YES, GR_NO } gr_tristate;

/* PyTorch's deprecated pair: if either is given, *reduction becomes GR_NONE where reduce is GR_NO,
   else GR_SUM where size_average is GR_NO, else GR_MEAN, and the result is true: a note is due. If
   none is given, *reduction stays as it is, and the result is false. */
GR_API bool gr_legacy_reduction(gr_tristate size_average, gr_tristate reduce,
                                gr_reduction *reduction);

/* ---- PyTorch --------------------------------------------------------------------------------- */

/* torch.nn.functional.binary_cross_entropy_with_logits. input: any float dtype; target: any float
   dtype, input's shape; weight: any dtype; pos_weight: any but bool. reduction: "none", "mean"
   (NULL), "sum" or "elementwise_mean", spelt so; size_average and reduce, if given, decide in its
   place, and the error handler gets a note. */
GR_API gr_tensor *gr_torch_binary_cross_entropy_with_logits(gr_tensor *input, gr_tensor *target,
                                                            gr_tensor *weight,
                                                            gr_tristate size_average,
                                                            gr_tristate reduce,
                                                            const char *reduction,
                                                            gr_tensor *pos_weight);

/* torch.nn.functional.binary_cross_entropy. input: any float dtype, in [0,1]; target: the same
   dtype and shape, in [0,1] (PyTorch 2.1 and later), otherwise DOMAIN; weight: any dtype. */
GR_API gr_tensor *gr_torch_binary_cross_entropy(gr_tensor *input, gr_tensor *target,
                                                gr_tensor *weight, gr_tristate size_average,
                                                gr_tristate reduce, const char *reduction);

/* torch.nn.BCELoss and torch.nn.BCEWithLogitsLoss: what their constructors take, every zero the
   default. A reduction is looked at when the loss is called, as there, and so is the deprecated
   pair. */
typedef struct gr_torch_bce_loss {
    gr_tensor *weight;
    gr_tristate size_average, reduce;
    const char *reduction;
} gr_torch_bce_loss;
GR_API gr_tensor *gr_torch_bce_loss_call(const gr_torch_bce_loss *loss, gr_tensor *input,
                                         gr_tensor *target);

typedef struct gr_torch_bce_with_logits_loss {
    gr_tensor *weight;
    gr_tristate size_average, reduce;
    const char *reduction;
    gr_tensor *pos_weight;
} gr_torch_bce_with_logits_loss;
GR_API gr_tensor *gr_torch_bce_with_logits_loss_call(const gr_torch_bce_with_logits_loss *loss,
                                                     gr_tensor *input, gr_tensor *target);

/* ---- MindSpore ------------------------------------------------------------------------------- */

/* Reductions in any case, "elementwise_mean" too. Dtypes: f16 and f32, which may be mixed, unless
   it is said otherwise. */

/* mindspore.ops.binary_cross_entropy_with_logits. weight, pos_weight: NULL for ones, as from
   release 2.4 on (2.0 wants both). */
GR_API gr_tensor *gr_mindspore_binary_cross_entropy_with_logits(gr_tensor *logits, gr_tensor *label,
                                                                gr_tensor *weight,
                                                                gr_tensor *pos_weight,
                                                                const char *reduction);

/* mindspore.ops.BCEWithLogitsLoss: an object with a reduction, called with four tensors; none may
   be NULL. */
typedef struct gr_mindspore_bce_with_logits_loss {
    const char *reduction;
} gr_mindspore_bce_with_logits_loss;
GR_API gr_tensor *
gr_mindspore_bce_with_logits_loss_call(const gr_mindspore_bce_with_logits_loss *loss,
                                       gr_tensor *logits, gr_tensor *label, gr_tensor *weight,
                                       gr_tensor *pos_weight);

/* mindspore.nn.BCEWithLogitsLoss: an object with a reduction and weights, called with two tensors
   of one dtype. It refuses a parameter as weight or pos_weight; here that gets a gradient. */
typedef struct gr_mindspore_nn_bce_with_logits_loss {
    const char *reduction;
    gr_tensor *weight, *pos_weight;
} gr_mindspore_nn_bce_with_logits_loss;
GR_API gr_tensor *
gr_mindspore_nn_bce_with_logits_loss_call(const gr_mindspore_nn_bce_with_logits_loss *loss,
                                          gr_tensor *logits, gr_tensor *labels);

/* mindspore.mint.nn.functional.binary_cross_entropy. input, target, weight: f16 or f32, all the
   same, and all of one shape; input in [0,1]. */
GR_API gr_tensor *gr_mint_binary_cross_entropy(gr_tensor *input, gr_tensor *target,
                                               gr_tensor *weight, const char *reduction);

/* mindspore.mint.nn.functional.binary_cross_entropy_with_logits: reduction before pos_weight.
   Dtypes: f16, bf16 and f32. */
GR_API gr_tensor *gr_mint_binary_cross_entropy_with_logits(gr_tensor *input, gr_tensor *target,
                                                           gr_tensor *weight, const char *reduction,
                                                           gr_tensor *pos_weight);

#ifdef __cplusplus
}
#endif

#ifndef GR_NO_PLACES
#define gr_torch_binary_cross_entropy_with_logits(...)                                             \
    GR_HERE(gr_torch_binary_cross_entropy_with_logits(__VA_ARGS__))
#define gr_torch_binary_cross_entropy(...) GR_HERE(gr_torch_binary_cross_entropy(__VA_ARGS__))
#define gr_torch_bce_loss_call(...) GR_HERE(gr_torch_bce_loss_call(__VA_ARGS__))
#define gr_torch_bce_with_logits_loss_call(...)                                                    \
    GR_HERE(gr_torch_bce_with_logits_loss_call(__VA_ARGS__))
#define gr_mindspore_binary_cross_entropy_with_logits(...)                                         \
    GR_HERE(gr_mindspore_binary_cross_entropy_with_logits(__VA_ARGS__))
#define gr_mindspore_bce_with_logits_loss_call(...)                                                \
    GR_HERE(gr_mindspore_bce_with_logits_loss_call(__VA_ARGS__))
#define gr_mindspore_nn_bce_with_logits_loss_call(...)                                             \
    GR_HERE(gr_mindspore_nn_bce_with_logits_loss_call(__VA_ARGS__))
#define gr_mint_binary_cross_entropy(...) GR_HERE(gr_mint_binary_cross_entropy(__VA_ARGS__))
#define gr_mint_binary_cross_entropy_with_logits(...)                                              \
    GR_HERE(gr_mint_binary_cross_entropy_with_logits(__VA_ARGS__))
#endif

#endif
