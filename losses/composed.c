/* composed.c - helpers of the losses that are compositions of public ops: checks before them,
 * reduction and rounding after them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/composed.h"
#include <math.h>

/* ---- Checks ---------------------------------------------------------------------------------- */

static gr_status check_operand(const char *op, const gr_loss_operand *first,
                               const gr_loss_operand *operand)
{
    const gr_tensor *x = first->tensor, *y = operand->tensor;
    const gr_dtype dtype = gr_type(y);
    if (gr_dtype_is_float(dtype) && dtype != gr_type(x) && !gr_weak(y))
        return gr_fail(gr_ctx(x), GR_ERROR_DTYPE, op, "%s is %s, the %s %s (gr_cast converts)",
                       operand->name, gr_dtype_name(dtype), first->name, gr_dtype_name(gr_type(x)));
    if (operand->kind == GR_SAME_SHAPE && !gr_same_shape(x, y))
        return gr_fail(gr_ctx(x), GR_ERROR_SHAPE, op, "%s shape %s must be the %s's, %s",
                       operand->name, gr_shape_text(y).text, first->name, gr_shape_text(x).text);
    return GR_OK;
}

static gr_status check_operands(gr_context *ctx, const char *op, int count,
                                const gr_loss_operand *operands)
{
    const gr_tensor *x = operands->tensor;
    for (int i = 0; i < count; i++)
        if (!operands[i].tensor && operands[i].kind != GR_OPTIONAL)
            return gr_fail(ctx, GR_ERROR_NULL, op, "%s is NULL", operands[i].name);
    if (!gr_dtype_is_float(gr_type(x)))
        return gr_fail(ctx, GR_ERROR_DTYPE, op, "the %s is %s, not a float", operands->name,
                       gr_dtype_name(gr_type(x)));
    gr_status status = GR_OK;
    for (int i = 1; i < count && status == GR_OK; i++)
        status = operands[i].tensor ? check_operand(op, operands, operands + i) : GR_OK;
    return status;
}

bool gr_loss_operands(const char *op, int count, const gr_loss_operand *operands,
                      gr_tensor **failed)
{
    enum { MOST_OPERANDS = 3 };
    gr_tensor *in[MOST_OPERANDS] = {0};
    for (int i = 0; i < count; i++)
        in[i] = operands[i].tensor;
    gr_context *ctx = gr_operands_context(op, count, in, failed);
    if (!ctx)
        return false;
    *failed = ctx->failed;
    return check_operands(ctx, op, count, operands) == GR_OK;
}

bool gr_loss_number(gr_context *ctx, const char *op, const char *name, double value,
                    gr_loss_range range)
{
    static const char *const ranges[] = {"", " from 0 up", " above 0"};
    const bool inside =
        range == GR_LOSS_ANY || value > 0 || (range == GR_LOSS_FROM_0 && value == 0);
    if (isfinite(value) && inside)
        return true;
    gr_fail(ctx, GR_ERROR_ARGUMENT, op, "%s %g is not a finite number%s", name, value,
            ranges[range]);
    return false;
}

/* ---- Both ends ------------------------------------------------------------------------------- */

gr_tensor *gr_loss_wide(gr_tensor *operand, const gr_tensor *x)
{
    return gr_cast(operand, gr_compute_dtype(x));
}

bool gr_loss_ready(const char *op, gr_tensor *input, gr_tensor *target, gr_reduction reduction,
                   gr_tensor **x, gr_tensor **y)
{
    const gr_loss_operand operands[] = {{.name = "input", .tensor = input},
                                        {.name = "target", .tensor = target}};
    if (!gr_loss_operands(op, 2, operands, x) ||
        gr_check_reduction(gr_ctx(input), op, reduction) != GR_OK)
        return false;
    *x = gr_loss_wide(input, input);
    *y = gr_loss_wide(target, input);
    return true;
}

gr_tensor *gr_loss_done(gr_tensor *losses, gr_reduction reduction, const gr_tensor *x)
{
    return gr_cast(gr_reduce_losses(losses, reduction), gr_type(x));
}

gr_tensor *gr_loss_sum_along(gr_tensor *x, int axis)
{
    return gr_sum_with(&(gr_reduce_args){.x = x, .axes = gr_axes(axis)});
}
