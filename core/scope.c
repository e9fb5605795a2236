/* scope.c - brackets in a context: what is made inside one dies when it ends.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <string.h>

gr_status gr_scope_begin(gr_context *ctx)
{
    if (!ctx)
        return GR_ERROR_NULL;
    if (ctx->broken)
        return ctx->error;
    ctx->doing = "scope_begin";
    if (ctx->lost_scopes)
        gr_fail(ctx, GR_ERROR_MEMORY, "scope_begin", "the scope around it has no memory");
    gr_scope *scope = ctx->lost_scopes ? NULL : gr_scope_open(ctx, ctx->scope);
    if (!scope) {
        ctx->lost_scopes++; /* so that the end that belongs to it ends no other */
        gr_finish(ctx);
        return GR_ERROR_MEMORY;
    }
    scope->tape_length = ctx->tape_length;
    scope->no_grad = ctx->no_grad;
    ctx->scope = scope;
    return GR_OK;
}

/* Marks the headers dead first: the chunks keep them, for a while, for whoever still points
   here. */
static void end_innermost(gr_context *ctx)
{
    gr_scope *scope = ctx->scope;
    for (gr_tensor *tensor = scope->tensors; tensor; tensor = tensor->next)
        tensor->state = GR_DEAD;
    ctx->tape_length = scope->tape_length;
    ctx->no_grad = scope->no_grad;
    ctx->scope = scope->outer;
    gr_scope_close(scope);
}

gr_status gr_scope_end(gr_context *ctx)
{
    if (!ctx)
        return GR_ERROR_NULL;
    if (ctx->broken)
        return ctx->error;
    if (ctx->lost_scopes)
        ctx->lost_scopes--;
    else if (ctx->scope != ctx->root)
        end_innermost(ctx);
    else
        gr_fail(ctx, GR_ERROR_SCOPE, "scope_end", "no scope is open");
    return gr_finish(ctx);
}

gr_tensor *gr_keep(gr_tensor *x)
{
    gr_tensor *failed;
    if (!gr_usable("keep", x, 0, &failed))
        return failed;
    gr_context *ctx = x->ctx;
    gr_scope *outer = ctx->scope->outer ? ctx->scope->outer : ctx->root;
    const gr_dims shape = gr_shape_of(x);
    gr_tensor *kept = gr_tensor_in(outer, "keep", x->dtype, &shape);
    if (!kept)
        return &ctx->failed;
    gr_reader reader;
    gr_reader_begin(&reader, x, &shape);
    gr_reader_read(&reader, 0, gr_numel(x), x->dtype, kept->data);
    kept->weak = x->weak;
    return kept;
}

void gr_no_grad_begin(gr_context *ctx)
{
    if (ctx && !ctx->broken)
        ctx->no_grad++;
}

void gr_no_grad_end(gr_context *ctx)
{
    if (ctx && !ctx->broken && ctx->no_grad > ctx->scope->no_grad)
        ctx->no_grad--;
}
