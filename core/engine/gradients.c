/* gradients.c - the public calls of sweeps: gr_backward, gr_grad, gr_grad_with.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/sweep.h"

/* ---- Checks ---------------------------------------------------------------------------------- */

static gr_status check_output(const char *op, gr_tensor *y, bool scalar)
{
    gr_tensor *failed;
    if (!gr_usable(op, y, 0, &failed))
        return gr_ctx(failed)->error;
    gr_context *ctx = gr_ctx(y);
    /* Inside a rule, a sweep would overwrite the marks of the outer sweep. */
    if (ctx->program.rules_running)
        return gr_fail(ctx, GR_ERROR_GRADIENT, op, "called by an op's gradient rule");
    if (!gr_dtype_is_float(gr_type(y)))
        return gr_fail(ctx, GR_ERROR_DTYPE, op, "%s %s is no float", gr_dtype_name(gr_type(y)),
                       gr_shape_text(y).text);
    if (scalar && gr_count(y) != 1)
        return gr_fail(ctx, GR_ERROR_GRADIENT, op, "shape %s has not one element",
                       gr_shape_text(y).text);
    return GR_OK;
}

static gr_status check_inputs(const char *op, const gr_tensor *y, gr_tensors inputs)
{
    gr_context *ctx = gr_ctx(y);
    for (int64_t i = 0; i < inputs.count; i++) {
        gr_tensor *x = inputs.at[i], *failed;
        if (!x)
            return gr_fail(ctx, GR_ERROR_NULL, op, "input %lld is NULL", (long long)i);
        if (gr_ctx(x) == ctx && !gr_usable(op, x, (int)i + 1, &failed))
            return ctx->error;
        if (gr_ctx(x) != ctx)
            return gr_fail(ctx, GR_ERROR_CONTEXT, op, "input %lld belongs to another context",
                           (long long)i);
        if (!gr_wants_grad(x))
            return gr_fail(ctx, GR_ERROR_GRADIENT, op,
                           "input %lld, %s, gets no gradient"
                           " (gr_parameter or gr_variable makes it)",
                           (long long)i, gr_shape_text(x).text);
    }
    return GR_OK;
}

static gr_status check_seed(const gr_tensor *y, gr_tensor *seed)
{
    gr_context *ctx = gr_ctx(y);
    gr_tensor *failed;
    if (!seed)
        return GR_OK;
    if (gr_ctx(seed) != ctx)
        return gr_fail(ctx, GR_ERROR_CONTEXT, "grad", "the seed belongs to another context");
    if (!gr_usable("grad", seed, 1, &failed))
        return ctx->error;
    if (gr_same_shape(seed, y) && gr_type(seed) == gr_type(y))
        return GR_OK;
    return gr_fail(ctx, GR_ERROR_SHAPE, "grad", "seed %s %s, output %s %s",
                   gr_dtype_name(gr_type(seed)), gr_shape_text(seed).text,
                   gr_dtype_name(gr_type(y)), gr_shape_text(y).text);
}

/* ---- For some inputs ------------------------------------------------------------------------- */

static gr_status grad_of_list(gr_tensor *y, gr_tensors inputs, gr_tensor **gradients,
                              const gr_grad_args *args)
{
    gr_context *ctx = gr_context_of(y);
    gr_status status = check_output("grad", y, false);
    if (status == GR_OK && inputs.count < 0)
        status = gr_fail(ctx, GR_ERROR_ARGUMENT, "grad", "%lld inputs", (long long)inputs.count);
    if (status == GR_OK && inputs.count > 0 && (!inputs.at || !gradients))
        status = gr_fail(ctx, GR_ERROR_NULL, "grad", "a list is NULL");
    if (status == GR_OK)
        status = check_inputs("grad", y, inputs);
    if (status == GR_OK)
        status = check_seed(y, args->seed);
    if (status == GR_OK && ctx->error == GR_OK)
        return gr_sweep(y, inputs, args->seed, args->record && ctx->program.no_grad == 0, 0,
                        gradients);
    return status == GR_OK ? ctx->error : status;
}

gr_status gr_grad_with(gr_tensor *y, gr_tensors inputs, gr_tensor **gradients,
                       const gr_grad_args *args)
{
    return gr_grad_here(y, inputs, gradients, args, NULL, 0);
}

gr_status gr_grad_here(gr_tensor *y, gr_tensors inputs, gr_tensor **gradients,
                       const gr_grad_args *args, const char *file, int line)
{
    static const gr_grad_args defaults;
    gr_context *ctx = gr_context_of(y);
    for (int64_t i = 0; gradients && i < inputs.count; i++)
        gradients[i] = ctx->failed;
    gr_hold_handler(ctx);
    const gr_status status = grad_of_list(y, inputs, gradients, args ? args : &defaults);
    gr_resume_handler(ctx);
    if (status != GR_OK)
        gr_finish_at(ctx, file, line);
    return status;
}

gr_tensor *gr_grad(gr_tensor *y, gr_tensor *x)
{
    gr_context *ctx = gr_context_of(y);
    gr_tensor *gradient = ctx->failed;
    const gr_tensors inputs = {1, &x};
    gr_hold_handler(ctx);
    if (check_output("grad", y, true) == GR_OK && check_inputs("grad", y, inputs) == GR_OK)
        (void)!gr_sweep(y, inputs, NULL, ctx->program.no_grad == 0, 0, &gradient);
    gr_resume_handler(ctx);
    return gradient;
}

/* ---- For all parameters ---------------------------------------------------------------------- */

/* Runs the sweep of backward in an internal scope. A parameter gets no gradient if loss does not
   depend on it. */
static gr_status backward_in_scope(gr_tensor *loss, bool recording)
{
    gr_context *ctx = gr_ctx(loss);
    gr_sweep_state s = {
        .ctx = ctx, .id = ++ctx->program.sweeps, .all_parameters = true, .scope = ctx->scope};
    if (!gr_sweep_reaches(&s, loss))
        return gr_fail(ctx, GR_ERROR_GRADIENT, "backward", "loss depends on no parameter%s",
                       recording ? "" : " (recording is off: gr_no_grad_begin)");
    gr_tensor *one = gr_ones_like(loss);
    if (gr_failed(one) || !gr_sweep_back(&s, loss, one) || !gr_prepare_gradients(s.parameters))
        return ctx->error;
    gr_commit_gradients(s.parameters);
    return GR_OK;
}

gr_status gr_backward(gr_tensor *loss) { return gr_backward_here(loss, NULL, 0); }

gr_status gr_backward_here(gr_tensor *loss, const char *file, int line)
{
    gr_context *ctx = gr_context_of(loss);
    gr_hold_handler(ctx);
    if (check_output("backward", loss, true) == GR_OK && ctx->error == GR_OK) {
        const bool recording = ctx->program.no_grad == 0;
        ctx->doing = "backward";
        gr_scope *scope = gr_scope_open(ctx);
        ctx->program.no_grad++;
        if (scope)
            (void)!backward_in_scope(loss, recording);
        ctx->program.no_grad--;
        gr_scope_close(scope);
    }
    gr_resume_handler(ctx);
    return gr_finish_at(ctx, file, line);
}
