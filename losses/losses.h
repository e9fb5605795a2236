/* losses.h - what the losses share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_LOSSES_INTERNAL_H
#define GRADUS_LOSSES_INTERNAL_H

#include "core/internal.h"

/* REDUCTION unless it is one of the enum's. */
gr_status gr_check_reduction(gr_context *ctx, const char *op, gr_reduction reduction);

/* The elements' losses reduced: themselves, their sum, or their mean over all. */
gr_tensor *gr_reduce_losses(gr_tensor *losses, gr_reduction reduction);

/* What a call of the fused binary cross entropies carries beside its operands. */
typedef struct gr_bce_call {
    gr_bce_kernel_args kernel;
    gr_reduction reduction;
    gr_denominator denominator;
} gr_bce_call;

/* One of the two binary cross entropies: of a logit, of a probability. The op comes first: from a
   node the shared pieces find their kind. */
typedef struct gr_bce_kind {
    gr_op op; /* GR_BCE_OP(name): the whole loss, fused, of operands x, y, w, p, mask */
    gr_kernel_id kernel;
    double neutral; /* an input that is fine where the mask hides the real one */
    /* The loss of each element, unweighted, differentiable in x, y and p (NULL: 1), and the
       probability that x stands for and its complement: of these and public ops the recorded rule
       is made. */
    gr_tensor *(*element)(gr_tensor *x, gr_tensor *y, gr_tensor *p);
    void (*probabilities)(gr_tensor *x, gr_tensor **positive, gr_tensor **negative);
} gr_bce_kind;

#define GR_BCE_OP(loss)                                                                            \
    {                                                                                              \
        .name = (loss), .arity = 5, .flags = GR_OP_STRIDED, .forward = gr_bce_forward,             \
        .vjp = gr_bce_vjp, .fused_vjp = gr_bce_fused_vjp, .shape = gr_bce_shape,                   \
        .args_size = sizeof(gr_bce_call)                                                           \
    }
gr_status gr_bce_shape(const gr_call *call, gr_dtype *dtype, gr_dims *shape);
gr_status gr_bce_forward(const gr_call *call);
void gr_bce_vjp(const gr_node *node, gr_tensor *g, gr_tensor **dx);
void gr_bce_fused_vjp(const gr_node *node, gr_tensor *g, gr_tensor **dx);

/* The whole loss, checked and applied. */
gr_tensor *gr_bce_apply(const gr_bce_kind *kind, gr_tensor *x, const gr_bce_args *args);

/* 1 - y;  p a, or a where p is not given. */
gr_tensor *gr_loss_one_minus(gr_tensor *y);
gr_tensor *gr_loss_times(gr_tensor *p, gr_tensor *a);

/* Runs a kind's kernel for elements alone: operands x, y, p (or NULL), one of its outputs. */
gr_status gr_bce_element_forward(gr_kernel_id kernel, int output, const gr_call *call);

#endif
