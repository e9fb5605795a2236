/* losses.h - declarations that the losses share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_LOSSES_INTERNAL_H
#define GRADUS_LOSSES_INTERNAL_H

#include "core/engine/engine.h"
#include <gradus/losses.h>
#include <gradus/ops.h>

/* Fails with REDUCTION unless it is a value of the enum. */
gr_status gr_check_reduction(gr_context *ctx, const char *op, gr_reduction reduction);

/* Reduces the losses of the elements: returns them unchanged, their sum, or their mean. */
gr_tensor *gr_reduce_losses(gr_tensor *losses, gr_reduction reduction);

/* 1 - y;  t a + (1-t) b;  p a, or a if p is NULL. */
gr_tensor *gr_loss_one_minus(gr_tensor *y);
gr_tensor *gr_loss_blend(gr_tensor *t, gr_tensor *a, gr_tensor *b);
gr_tensor *gr_loss_times(gr_tensor *p, gr_tensor *a);

/* a b; 0 if a is 0 and b infinite (product.c). */
gr_tensor *gr_loss_product(gr_tensor *a, gr_tensor *b);

/* sum / count. If count is 0 the mean is NaN and has no gradient: no order of derivative is NaN. */
gr_tensor *gr_loss_mean_of(gr_tensor *sum, gr_tensor *count);

/* ---- Binary cross entropy -------------------------------------------------------------------- */

/* One of the two losses: of a probability, or of a logit. */
typedef struct gr_bce_kind {
    gr_kernel_id kernel;
    int input;      /* GR_BCE_OF_PROBABILITIES or GR_BCE_OF_LOGITS */
    double neutral; /* a safe input, used where the mask drops the real one */

    /* The parts of gr_bce_compose. elements: the unweighted loss of each element, which can be
       differentiated in x, y and p (NULL: 1). factor: the focal factor (1 - p_t)^gamma. */
    gr_tensor *(*elements)(gr_tensor *x, gr_tensor *y, gr_tensor *p);
    gr_tensor *(*factor)(gr_tensor *x, gr_tensor *t, double gamma);
} gr_bce_kind;

/* The attributes of the fused ops. */
typedef struct gr_bce_attributes {
    gr_bce_kernel_args kernel;
    gr_reduction reduction;
    gr_denominator denominator;
    bool ahead[4]; /* a sweep may want the gradients in x, y, w, p */
} gr_bce_attributes;

/* Both fused ops share these columns. Operands: x, y, w, p, mask. The last three may be NULL.
   Hidden results: dx, dy, dw and dp before the reduction's factor, and the denominator of the mean.
   The rules read the operands and not the loss. */
#define GR_BCE_READS                                                                               \
    (GR_READS_IN(0) | GR_READS_IN(1) | GR_READS_IN(2) | GR_READS_IN(3) | GR_READS_IN(4))
#define GR_BCE_COLUMNS                                                                             \
    .flags = GR_OP_STRIDED, .arity = 5, .hidden = 5, .attributes_size = sizeof(gr_bce_attributes), \
    .shape = gr_bce_shape, .scratch = gr_bce_scratch, .fused_vjp = gr_bce_fused_vjp,               \
    .reads = {GR_BCE_READS, GR_BCE_READS, GR_BCE_READS, GR_BCE_READS}
gr_status gr_bce_shape(const gr_call *call, gr_form *results);
int64_t gr_bce_scratch(const gr_call *call);
void gr_bce_fused_vjp(const gr_node *node, gr_tensor *g, gr_tensor **dx);

/* The run of a fused op; and the same loss in public ops, which is the recorded rule. */
gr_status gr_bce_run(const gr_bce_kind *kind, const gr_call *call);
gr_tensor *gr_bce_compose(const gr_bce_kind *kind, const gr_node *node, gr_tensor *const *in);

/* Checks all arguments and applies a fused op. */
gr_tensor *gr_bce_apply(const gr_op *op, gr_tensor *x, const gr_bce_args *args);

/* (t s(-x) + (1-t) s(x))^gamma, whose derivatives of every order keep their digits in both tails
   (focal.c). */
gr_tensor *gr_focal_factor(gr_tensor *x, gr_tensor *t, double gamma);

/* With alpha the loss is a product of two functions of y, and at an infinite logit its slope in y
   would be a difference of infinities. finite(x) is a large number there, with slope 1.
   unbounded(y, x) is y: the gradient that it gets becomes infinite there, unless it is 0
   (focal.c). */
gr_tensor *gr_focal_finite(gr_tensor *x);
gr_tensor *gr_focal_unbounded(gr_tensor *y, gr_tensor *x);

/* The columns that the elementwise ops of x, y and p share (p may be NULL). The gradient of each
   operand reads the other two. That of x reads x, too. */
#define GR_BCE_ELEMENTS_COLUMNS                                                                    \
    .kind = GR_ELEMENTWISE, .flags = GR_OP_STRIDED, .arity = 3, .shape = gr_broadcast_form,        \
    .reads = {GR_READS_IN(0) | GR_READS_IN(1) | GR_READS_IN(2), GR_READS_IN(0) | GR_READS_IN(2),   \
              GR_READS_IN(0) | GR_READS_IN(1)}

/* The run of such an op. Computes one output of a kernel. */
gr_status gr_bce_elements_run(gr_kernel_id kernel, int output, const gr_call *call);

#endif
