/* gradus/compat.h - binary cross entropy with the parameter lists of PyTorch and MindSpore.
 *
 * Use these to port code. The parameters, their order and their defaults are those of the other
 * system (NULL and GR_UNSET stand for None), and so are the rules for dtypes, shapes and the
 * spelling of reductions. The losses are those of gr_bce and gr_bce_with_logits (losses.h): they
 * are accurate for large |x|, infinite logits give their limits, and every float argument has a
 * gradient. docs/api_mapping.md lists every parameter and every difference.
 *
 * Each loss returns a tensor of the input's dtype, freed with the scope: shape [], or the input's
 * shape for reduction "none". The target has the input's shape (SHAPE). weight and pos_weight
 * broadcast to it and never enlarge it (BROADCAST). A gr_scalar takes the input's dtype. Each fails
 * as gr_bce and gr_bce_with_logits do; with REDUCTION for a word that the other system does not
 * know, DTYPE for a dtype that it does not take, and NULL for an argument that it requires.
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

/* Sets *reduction from a name: "none", "mean" or "sum", in upper or lower case. NULL is "mean".
   "elementwise_mean" is an old name of "mean"; the error handler gets a notice. Any other word, ""
   too, fails with REDUCTION. Fails with NULL if reduction is NULL. On failure *reduction is not
   changed. */
GR_API GR_CHECKED gr_status gr_reduction_from_name(gr_context *ctx, const char *name,
                                                   gr_reduction *reduction);

/* A bool that may be left out. */
typedef enum gr_tristate { GR_UNSET = 0, GR_YES, GR_NO } gr_tristate;

/* Sets *reduction from PyTorch's deprecated pair of arguments: GR_NONE if reduce is GR_NO, else
   GR_SUM if size_average is GR_NO, else GR_MEAN. Returns true: the caller should give a notice. If
   both are GR_UNSET, returns false and leaves *reduction as it is. */
GR_API bool gr_legacy_reduction(gr_tristate size_average, gr_tristate reduce,
                                gr_reduction *reduction);

/* ---- PyTorch --------------------------------------------------------------------------------- */

/* torch.nn.functional.binary_cross_entropy_with_logits. input: any float dtype; target: any float
   dtype, input's shape; weight: any dtype; pos_weight: any but bool. reduction: "none", "mean"
   (NULL), "sum" or "elementwise_mean", in lower case only. If size_average or reduce is given, they
   decide instead, and the error handler gets a notice. */
GR_API gr_tensor *
gr_torch_binary_cross_entropy_with_logits(gr_tensor *input, gr_tensor *target, gr_tensor *weight,
                                          gr_tristate size_average, gr_tristate reduce,
                                          const char *reduction, gr_tensor *pos_weight);

/* torch.nn.functional.binary_cross_entropy. input: any float dtype, in [0,1]; target: the same
   dtype and shape, in [0,1] (PyTorch 2.1 and later), otherwise DOMAIN; weight: any dtype. */
GR_API gr_tensor *gr_torch_binary_cross_entropy(gr_tensor *input, gr_tensor *target,
                                                gr_tensor *weight, gr_tristate size_average,
                                                gr_tristate reduce, const char *reduction);

/* torch.nn.BCELoss and torch.nn.BCEWithLogitsLoss: a struct holds the arguments of the constructor;
   every zero is the default. As in PyTorch, reduction, size_average and reduce are checked at the
   call and not before. */
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

/* Reductions are spelled in upper or lower case, as in gr_reduction_from_name. Dtypes: f16 and f32,
   which may be mixed, unless a comment says otherwise. */

/* mindspore.ops.binary_cross_entropy_with_logits. weight, pos_weight: NULL for ones, as from
   release 2.4 on; release 2.0 requires both. */
GR_API gr_tensor *gr_mindspore_binary_cross_entropy_with_logits(gr_tensor *logits, gr_tensor *label,
                                                                gr_tensor *weight,
                                                                gr_tensor *pos_weight,
                                                                const char *reduction);

/* mindspore.ops.BCEWithLogitsLoss: a struct with a reduction, called with four tensors, none of
   them NULL. */
typedef struct gr_mindspore_bce_with_logits_loss {
    const char *reduction;
} gr_mindspore_bce_with_logits_loss;
GR_API gr_tensor *
gr_mindspore_bce_with_logits_loss_call(const gr_mindspore_bce_with_logits_loss *loss,
                                       gr_tensor *logits, gr_tensor *label, gr_tensor *weight,
                                       gr_tensor *pos_weight);

/* mindspore.nn.BCEWithLogitsLoss: a struct with a reduction and weights, called with two tensors of
   one dtype. MindSpore refuses a parameter as weight or pos_weight; here it gets a gradient. */
typedef struct gr_mindspore_nn_bce_with_logits_loss {
    const char *reduction;
    gr_tensor *weight, *pos_weight;
} gr_mindspore_nn_bce_with_logits_loss;
GR_API gr_tensor *
gr_mindspore_nn_bce_with_logits_loss_call(const gr_mindspore_nn_bce_with_logits_loss *loss,
                                          gr_tensor *logits, gr_tensor *labels);

/* mindspore.mint.nn.functional.binary_cross_entropy. input in [0,1]; input, target and weight have
   one dtype, f16 or f32, and one shape. */
GR_API gr_tensor *gr_mint_binary_cross_entropy(gr_tensor *input, gr_tensor *target,
                                               gr_tensor *weight, const char *reduction);

/* mindspore.mint.nn.functional.binary_cross_entropy_with_logits: reduction comes before pos_weight.
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
#define gr_torch_bce_loss_call(...)        GR_HERE(gr_torch_bce_loss_call(__VA_ARGS__))
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
