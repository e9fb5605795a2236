/* composed.h - helpers of the losses that are compositions of public ops: checks before them,
 * reduction and rounding after them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_LOSSES_COMPOSED_H
#define GRADUS_LOSSES_COMPOSED_H

#include "losses/losses.h"

/* An operand of a loss, and its name in messages. The first operand is a float. It decides shape
   and dtype: any other float must have the same dtype. */
typedef struct gr_loss_operand {
    const char *name;
    gr_tensor *tensor;
    enum {
        GR_SAME_SHAPE = 0, /* the first operand's shape */
        GR_OWN_SHAPE,      /* the loss checks the shape */
        GR_OPTIONAL        /* may be NULL; the loss checks the shape */
    } kind;
} gr_loss_operand;

/* True if the operands are not NULL, share a context, and fit in dtype and shape. If not, raises
   the reason, and *failed is the tensor to return. */
bool gr_loss_operands(const char *op, int count, const gr_loss_operand *operands,
                      gr_tensor **failed);

/* The numbers that an option may be. */
typedef enum gr_loss_range { GR_LOSS_ANY, GR_LOSS_FROM_0, GR_LOSS_ABOVE_0 } gr_loss_range;

/* False after ARGUMENT: the option is not finite or out of its range. */
bool gr_loss_number(gr_context *ctx, const char *op, const char *name, double value,
                    gr_loss_range range);

/* Converts an operand to the dtype in which ops compute with input x: x's dtype, or f32 for
   halves. */
gr_tensor *gr_loss_wide(gr_tensor *operand, const gr_tensor *x);

/* Checks a loss that has only an input and a target of the same shape. Returns both in the dtype of
   gr_loss_wide. If a check fails, returns false, and *x is the tensor to return. */
bool gr_loss_ready(const char *op, gr_tensor *input, gr_tensor *target, gr_reduction reduction,
                   gr_tensor **x, gr_tensor **y);

/* Reduces the elements' losses and rounds once to x's dtype. */
gr_tensor *gr_loss_done(gr_tensor *losses, gr_reduction reduction, const gr_tensor *x);

/* Sums over one axis and removes it. */
gr_tensor *gr_loss_sum_along(gr_tensor *x, int axis);

#endif
