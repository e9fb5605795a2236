/* function.c - a call of the user's function. If the function breaks a rule, such as that it must
 * end its scopes, this restores the context and raises an error.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"

static void raise_bad_result(gr_context *ctx, const char *op, const gr_tensor *y)
{
    gr_tensor *failed;
    if (!y) {
        gr_fail(ctx, GR_ERROR_NULL, op, "the function's result is NULL");
    } else if (gr_failed(y)) {
        if (gr_state(y) == GR_DEAD)
            gr_usable(op, y, 0, &failed); /* gr_usable raises the error */
        gr_fail(ctx, GR_ERROR_ARGUMENT, op, "the function's result cannot be used");
    } else if (gr_context_of(y) != ctx) {
        gr_fail(ctx, GR_ERROR_CONTEXT, op, "the function's result is another context's");
    } else if (!gr_dtype_is_float(gr_dtype_of(y))) {
        gr_fail(ctx, GR_ERROR_DTYPE, op, "the function's result is %s: no float",
                gr_dtype_name(gr_dtype_of(y)));
    }
}

gr_tensor *gr_call_function(gr_context *ctx, const char *op, gr_function *f, gr_tensors inputs,
                            void *data)
{
    const int no_grad = ctx->program.no_grad;
    const gr_floor floor = gr_floor_enter(ctx);
    gr_tensor *y = f(inputs, data);
    if (!gr_floor_leave(ctx, floor))
        gr_fail(ctx, GR_ERROR_SCOPE, op, "the function leaves a scope open, or ends one");
    ctx->program.no_grad = no_grad; /* ends the no_grad brackets that f left open */
    raise_bad_result(ctx, op, y);
    return gr_error(ctx) == GR_OK ? y : NULL;
}
