/* losses.h - what the losses share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_LOSSES_INTERNAL_H
#define GRADUS_LOSSES_INTERNAL_H

#include "core/engine/engine.h"
#include <gradus/losses.h>
#include <gradus/ops.h>

/* Fails with REDUCTION unless it is one of the enum's. */
gr_status gr_check_reduction(gr_context *ctx, const char *op, gr_reduction reduction);

/* The losses of the elements, reduced: themselves, their sum, or their mean over all. */
gr_tensor *gr_reduce_losses(gr_tensor *losses, gr_reduction reduction);

/* 1 - y;  p a, or a where p is not given. */
gr_tensor *gr_loss_one_minus(gr_tensor *y);
gr_tensor *gr_loss_times(gr_tensor *p, gr_tensor *a);

/* ---- Binary cross entropy -------------------------------------------------------------------- */

/* One of the two: of a probability, of a logit. */
typedef struct gr_bce_kind {
    gr_kernel_id kernel;
    int input;      /* GR_BCE_OF_PROBABILITIES or GR_BCE_OF_LOGITS */
    double neutral; /* an input that is fine where the mask hides the real one */

    /* What gr_bce_compose is made of. The loss of each element, unweighted, differentiable in x, y
       and p (NULL: 1). The probability that x stands for, and its complement. */
    gr_tensor *(*elements)(gr_tensor *x, gr_tensor *y, gr_tensor *p);
    void (*probabilities)(gr_tensor *x, gr_tensor **positive, gr_tensor **negative);
} gr_bce_kind;

/* The attributes of the fused ops. */
typedef struct gr_bce_attributes {
    gr_bce_kernel_args kernel;
    gr_reduction reduction;
    gr_denominator denominator;
    bool ahead[4]; /* the gradients in x, y, w and p that a sweep may want */
} gr_bce_attributes;

/* The columns that both fused ops share. Operands: x, y, w, p, mask; the last three may be NULL.
   Hidden results: dx, dy, dw and dp before the reduction's factor, and the mean's denominator. The
   rules read operands, and not the loss. */
#define GR_BCE_READS                                                                               \
    (GR_READS_IN(0) | GR_READS_IN(1) | GR_READS_IN(2) | GR_READS_IN(3) | GR_READS_IN(4))
#define GR_BCE_COLUMNS                                                                             \
    .flags = GR_OP_STRIDED, .arity = 5, .hidden = 5, .attributes_size = sizeof(gr_bce_attributes), \
    .shape = gr_bce_shape, .scratch = gr_bce_scratch, .fused_vjp = gr_bce_fused_vjp,               \
    .reads = {GR_BCE_READS, GR_BCE_READS, GR_BCE_READS, GR_BCE_READS}
gr_status gr_bce_shape(const gr_call *call, gr_form *results);
int64_t gr_bce_scratch(const gr_call *call);
void gr_bce_fused_vjp(const gr_node *node, gr_tensor *g, gr_tensor **dx);

/* The run of a kind's fused op, and the same loss in public ops: the recorded rule. */
gr_status gr_bce_run(const gr_bce_kind *kind, const gr_call *call);
gr_tensor *gr_bce_compose(const gr_bce_kind *kind, const gr_node *node, gr_tensor *const *in);

/* Checks everything and applies a fused op. */
gr_tensor *gr_bce_apply(const gr_op *op, gr_tensor *x, const gr_bce_args *args);

/* The run of an elementwise op of x, y and p (or NULL): one output of a kind's kernel. */
gr_status gr_bce_elements_run(gr_kernel_id kernel, int output, const gr_call *call);

#endif
