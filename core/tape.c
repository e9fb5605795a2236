/* tape.c - the ops that ran, in order.
 *
 * Define by run: an entry's operands were made before it, so the order is topological, and sweeping
 * it backwards needs no recursion and no sorting. Entries lie in the arena of the scope that was
 * innermost when they were made, as their results do; the end of a scope cuts the tape back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <string.h>

bool gr_records(const gr_context *ctx, int count, gr_tensor *const *in)
{
    bool needed = false;
    for (int i = 0; i < count; i++)
        needed = needed || (in[i] && in[i]->requires_grad);
    return needed && ctx->no_grad == 0;
}

static bool grow_tape(gr_context *ctx)
{
    if (ctx->tape_length < ctx->tape_capacity)
        return true;
    const int64_t size = (int64_t)sizeof *ctx->tape;
    const int64_t capacity = ctx->tape_capacity ? 2 * ctx->tape_capacity : 256;
    gr_entry **tape = gr_allocate(ctx, capacity * size);
    if (!tape)
        return false;
    if (ctx->tape)
        memcpy(tape, ctx->tape, (size_t)(ctx->tape_length * size));
    gr_release(ctx, ctx->tape, ctx->tape_capacity * size);
    ctx->tape = tape;
    ctx->tape_capacity = capacity;
    return true;
}

gr_entry *gr_record(const gr_op *op, int count, gr_tensor *const *in, gr_tensor *out,
                    const void *args)
{
    gr_context *ctx = out->ctx;
    const int64_t args_size = args ? (int64_t)op->args_size : 0;
    gr_entry *entry = gr_scope_allocate(ctx->scope, (int64_t)sizeof *entry);
    void *copy = entry && args_size ? gr_scope_allocate(ctx->scope, args_size) : NULL;
    if (!entry || (args_size && !copy) || !grow_tape(ctx))
        return NULL;
    if (copy)
        memcpy(copy, args, (size_t)args_size);
    entry->node = (gr_node){.op = op, .count = count, .out = out, .args = copy};
    memcpy(entry->node.in, in, (size_t)count * sizeof *in);
    entry->position = ctx->tape_length;
    ctx->tape[ctx->tape_length++] = entry;
    out->entry = entry;
    out->requires_grad = true;
    return entry;
}

/* ---- Leaves ---------------------------------------------------------------------------------- */

gr_tensor *gr_detach(gr_tensor *x)
{
    gr_tensor *failed;
    if (!gr_usable("detach", x, 0, &failed))
        return failed;
    x->ctx->doing = "detach";
    gr_tensor *view = gr_view_of(x);
    return view ? view : &x->ctx->failed;
}

static bool check_float(const char *op, gr_tensor *x, gr_tensor **failed)
{
    if (!gr_usable(op, x, 0, failed))
        return false;
    *failed = &x->ctx->failed;
    if (!gr_dtype_is_float(x->dtype))
        gr_fail(x->ctx, GR_ERROR_DTYPE, op, "%s %s is no float: it has no gradient",
                gr_dtype_name(x->dtype), gr_shape_text(x).text);
    return gr_dtype_is_float(x->dtype);
}

gr_tensor *gr_variable(gr_tensor *x)
{
    gr_tensor *failed;
    if (!check_float("variable", x, &failed))
        return failed;
    x->ctx->doing = "variable";
    gr_tensor *view = gr_view_of(x);
    if (!view)
        return &x->ctx->failed;
    view->requires_grad = true;
    view->weak = false;
    return view;
}

gr_tensor *gr_parameter(gr_tensor *x)
{
    gr_tensor *failed;
    if (!check_float("parameter", x, &failed))
        return failed;
    gr_context *ctx = x->ctx;
    const gr_dims shape = gr_shape_of(x);
    ctx->doing = "parameter";
    gr_parameter_state *state = gr_scope_allocate(ctx->root, (int64_t)sizeof *state);
    gr_tensor *parameter = state ? gr_tensor_in(ctx->root, "parameter", x->dtype, &shape) : NULL;
    gr_tensor *gradient = parameter ? gr_tensor_in(ctx->root, "parameter", x->dtype, &shape) : NULL;
    if (!gradient)
        return &ctx->failed;
    gr_reader reader;
    gr_reader_begin(&reader, x, &shape);
    gr_reader_read(&reader, 0, gr_numel(x), x->dtype, parameter->data);
    memset(gradient->data, 0, (size_t)(gr_numel(x) * gr_dtype_size(x->dtype)));
    *state =
        (gr_parameter_state){.gradient = gradient, .tensor = parameter, .next = ctx->parameters};
    ctx->parameters = state;
    parameter->parameter = state;
    parameter->requires_grad = true;
    return parameter;
}

/* ---- What gr_backward has summed up ---------------------------------------------------------- */

static void forget(gr_parameter_state *state)
{
    state->has_gradient = false;
    memset(state->gradient->data, 0,
           (size_t)(gr_numel(state->gradient) * gr_dtype_size(state->gradient->dtype)));
}

gr_tensor *gr_gradient(gr_tensor *parameter)
{
    gr_tensor *failed;
    if (!gr_usable("gradient", parameter, 0, &failed))
        return failed;
    if (!parameter->parameter)
        return gr_fail_tensor(parameter->ctx, GR_ERROR_GRADIENT, "gradient",
                              "%s is no parameter (gr_parameter makes one; gr_grad takes any)",
                              gr_shape_text(parameter).text);
    return parameter->parameter->gradient;
}

void gr_zero_grad(gr_tensors parameters)
{
    for (int64_t i = 0; i < parameters.count; i++)
        if (!gr_failed(parameters.at[i]) && parameters.at[i]->parameter)
            forget(parameters.at[i]->parameter);
}
