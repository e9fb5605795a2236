/* composed.h - what the losses that are compositions of public ops share: checks, and both ends.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_LOSSES_COMPOSED_H
#define GRADUS_LOSSES_COMPOSED_H

#include "losses/losses.h"

/* An operand of a loss, as messages name it. The first one is a float and sets shape and dtype: a
   float among the others must be of that dtype. */
typedef struct gr_loss_operand {
    const char *name;
    gr_tensor *tensor;
    enum {
        GR_SAME_SHAPE = 0, /* as the first operand's */
        GR_OWN_SHAPE,      /* checked by the loss */
        GR_OPTIONAL        /* may be NULL, and has a shape of its own */
    } kind;
} gr_loss_operand;

/* True if the operands are there, of one context, and fit in dtype and shape. If not, the reason is
   raised, and *failed is the tensor to return. */
bool gr_loss_operands(const char *op, int count, const gr_loss_operand *operands,
                      gr_tensor **failed);

/* value, or `standard` where it is 0; raises ARGUMENT unless it is finite, and above 0 if
   `positive`. */
bool gr_loss_number(gr_context *ctx, const char *op, const char *name, double value,
                    double standard, bool positive, double *number);

/* An operand in the dtype in which an input x is computed with: x's own, f32 for halves. */
gr_tensor *gr_loss_wide(gr_tensor *operand, const gr_tensor *x);

/* For input and target of one shape and no more: the checks, and both in that dtype. If something
   does not fit, false, and *x is the tensor to return. */
bool gr_loss_ready(const char *op, gr_tensor *input, gr_tensor *target, gr_reduction reduction,
                   gr_tensor **x, gr_tensor **y);

/* The elements' losses reduced, and rounded once to x's dtype. */
gr_tensor *gr_loss_done(gr_tensor *losses, gr_reduction reduction, const gr_tensor *x);

/* The sum over one axis, which vanishes. */
gr_tensor *gr_loss_sum_along(gr_tensor *x, int axis);

#endif
