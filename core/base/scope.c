/* scope.c - scopes of a context: all that is made inside a scope is freed when the scope ends.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/base/chunks.h"

/* A scope lies in the arena. Its end frees the arena down to the place where the scope began. */
static gr_scope *open_scope(gr_context *ctx, bool internal)
{
    gr_chunk *chunk = ctx->arena.top;
    const int64_t used = chunk ? chunk->used : 0;
    gr_scope *scope = gr_arena_cut(ctx, (int64_t)sizeof *scope);
    if (!scope)
        return NULL;
    *scope = (gr_scope){
        .ctx = ctx,
        .outer = ctx->scope,
        .chunk = chunk,
        .used = used,
        .last = ctx->program.last,
        .no_grad = ctx->program.no_grad,
        .internal = internal,
        .inside_check = ctx->scope && ctx->scope->inside_check,
    };
    ctx->scope = scope;
    return scope;
}

static void close_innermost(gr_context *ctx)
{
    gr_scope *scope = ctx->scope;
    gr_members_end(scope);
    ctx->program.last = scope->last;
    ctx->program.no_grad = scope->no_grad;
    ctx->scope = scope->outer;
    gr_arena_rewind(ctx, scope->chunk, scope->used);
}

gr_scope *gr_scope_open(gr_context *ctx) { return open_scope(ctx, true); }

void gr_scope_close(gr_scope *scope)
{
    if (!scope)
        return;
    gr_context *ctx = scope->ctx;
    while (ctx->scope != scope)
        close_innermost(ctx);
    close_innermost(ctx);
}

gr_floor gr_floor_enter(gr_context *ctx)
{
    const gr_floor former = {ctx->floor, ctx->lost_scopes};
    ctx->floor = ctx->scope;
    ctx->lost_scopes = 0;
    return former;
}

bool gr_floor_leave(gr_context *ctx, gr_floor former)
{
    const bool balanced = ctx->scope == ctx->floor && ctx->lost_scopes == 0;
    while (ctx->scope != ctx->floor)
        close_innermost(ctx);
    ctx->floor = former.scope;
    ctx->lost_scopes = former.lost_scopes;
    return balanced;
}

/* ---- Public ---------------------------------------------------------------------------------- */

gr_status gr_scope_begin(gr_context *ctx)
{
    if (!ctx)
        return GR_ERROR_NULL;
    if (ctx->broken)
        return ctx->error;
    ctx->doing = "scope_begin";
    if (ctx->lost_scopes)
        gr_fail(ctx, GR_ERROR_MEMORY, "scope_begin", "the scope around it has no memory");
    gr_scope *scope = ctx->lost_scopes ? NULL : open_scope(ctx, false);
    if (!scope) {
        ctx->lost_scopes++; /* the matching end must not end another scope */
        gr_finish(ctx);
        return GR_ERROR_MEMORY;
    }
    return GR_OK;
}

gr_status gr_scope_begin_check(gr_context *ctx)
{
    const gr_status status = gr_scope_begin(ctx);
    if (status == GR_OK)
        ctx->scope->inside_check = true;
    return status;
}

gr_status gr_scope_end(gr_context *ctx)
{
    if (!ctx)
        return GR_ERROR_NULL;
    if (ctx->broken)
        return ctx->error;
    if (ctx->lost_scopes) {
        ctx->lost_scopes--;
    } else if (ctx->scope != ctx->floor && !ctx->scope->internal) {
        close_innermost(ctx);
        ctx->ended_scopes++;
        gr_pool_trim(ctx);
    } else {
        gr_fail(ctx, GR_ERROR_SCOPE, "scope_end",
                ctx->scope == ctx->root ? "no scope is open"
                                        : "the innermost scope was begun outside this function");
    }
    return gr_finish(ctx);
}

void gr_no_grad_begin(gr_context *ctx)
{
    if (ctx && !ctx->broken)
        ctx->program.no_grad++;
}

void gr_no_grad_end(gr_context *ctx)
{
    if (ctx && !ctx->broken && ctx->program.no_grad > ctx->scope->no_grad)
        ctx->program.no_grad--;
}
