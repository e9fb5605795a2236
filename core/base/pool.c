/* pool.c - buffers and members. Every op needs some, and most are soon free again.
 *
 * Buffers go from the pool to their holders and back, by size class. So a loop needs no allocator
 * from its second step on. Buffers that were idle while the last TRIM_PERIOD scopes ended go back
 * to the allocator.
 *
 * Members are cut from slabs that belong to the context until it ends. A member that a user may
 * know is used again only after a scope of the user has ended. So there are two more idle lists:
 * one for the members of internal scopes, because a sweep uses many of them, and one for the
 * members of scopes inside a check, because a check ends many scopes. A member that is freed before
 * its scope ends waits for the next end of a user's scope, or until MOST_WAITING others wait behind
 * it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/base/chunks.h"
#include <string.h>

enum { TRIM_PERIOD = 256, MOST_WAITING = 256 };

/* ---- Slabs ----------------------------------------------------------------------------------- */

/* Returns memory that lives as long as the context. bytes is a multiple of 64. */
static void *slab_cut(gr_context *ctx, int64_t bytes, int64_t alignment)
{
    gr_pool *pool = &ctx->pool;
    for (int attempt = 0; attempt < 2; attempt++) {
        gr_chunk *slab = pool->slabs;
        if (slab) {
            const intptr_t at = (intptr_t)slab + slab->used;
            const int64_t gap = -at & (alignment - 1);
            if (slab->bytes - slab->used >= gap + bytes) {
                slab->used += gap;
                return gr_chunk_cut(slab, bytes);
            }
        }
        slab = attempt ? NULL : gr_chunk_new(ctx, GR_CHUNK_BYTES);
        if (!slab)
            return NULL;
        slab->next = pool->slabs;
        pool->slabs = slab;
    }
    return NULL;
}

/* ---- Buffers --------------------------------------------------------------------------------- */

/* Returns the smallest class that holds `bytes` (at least 64), and sets `bytes` to the size of the
   class: (4 + q) / 4 of a power of 2. */
static int size_class_of(int64_t *bytes)
{
    const int exponent = 63 - __builtin_clzll((unsigned long long)*bytes);
    const int64_t quarter = (int64_t)1 << (exponent - 2);
    const int64_t quarters = (*bytes + quarter - 1) / quarter;
    *bytes = gr_round_up(quarters * quarter);
    return (exponent - 6) * 4 + (int)(quarters - 4);
}

/* Returns a header with this many bytes from the allocator. */
static gr_buffer *buffer_from_allocator(gr_context *ctx, int64_t bytes)
{
    gr_pool *pool = &ctx->pool;
    gr_buffer *buffer = pool->headers;
    if (buffer)
        pool->headers = buffer->next;
    else
        buffer = slab_cut(ctx, gr_round_up((int64_t)sizeof *buffer), GR_ALIGNMENT);
    if (!buffer)
        return NULL;
    buffer->bytes = gr_allocate(ctx, bytes);
    if (!buffer->bytes) {
        buffer->next = pool->headers;
        pool->headers = buffer;
        return NULL;
    }
    return buffer;
}

gr_buffer *gr_buffer_new(gr_context *ctx, int64_t bytes)
{
    if (bytes > INT64_MAX / 8) {
        gr_fail(ctx, GR_ERROR_MEMORY, NULL, "out of memory: %lld bytes", (long long)bytes);
        return NULL;
    }
    int64_t size = bytes < GR_ALIGNMENT ? GR_ALIGNMENT : bytes;
    const int size_class = size_class_of(&size);
    gr_pool *pool = &ctx->pool;
    gr_buffer *buffer = pool->buffers[size_class];
    if (buffer) {
        pool->buffers[size_class] = buffer->next;
        const int32_t left = --pool->count[size_class];
        if (left < pool->least[size_class])
            pool->least[size_class] = left;
    } else if (!(buffer = buffer_from_allocator(ctx, size))) {
        return NULL;
    }
    *buffer =
        (gr_buffer){.bytes = buffer->bytes, .size = size, .holders = 1, .size_class = size_class};
    return buffer;
}

void gr_buffer_drop(gr_context *ctx, gr_buffer *buffer)
{
    if (!buffer || --buffer->holders > 0)
        return;
#ifdef GR_DEBUG
    memset(buffer->bytes, 0xff, (size_t)buffer->size); /* NaN */
#endif
    gr_pool *pool = &ctx->pool;
    buffer->next = pool->buffers[buffer->size_class];
    pool->buffers[buffer->size_class] = buffer;
    pool->count[buffer->size_class]++;
}

void gr_buffer_wrote(gr_buffer *buffer, const char *writer, const char *file, int line)
{
    buffer->version++;
    buffer->writer = writer;
    buffer->file = file;
    buffer->line = line;
}

/* Returns `count` buffers of a class to the allocator. */
static void give_back(gr_context *ctx, int size_class, int32_t count)
{
    gr_pool *pool = &ctx->pool;
    for (; count > 0; count--) {
        gr_buffer *buffer = pool->buffers[size_class];
        pool->buffers[size_class] = buffer->next;
        pool->count[size_class]--;
        gr_release(ctx, buffer->bytes, buffer->size);
        buffer->next = pool->headers;
        pool->headers = buffer;
    }
}

void gr_pool_trim(gr_context *ctx)
{
    if (ctx->ended_scopes % TRIM_PERIOD)
        return;
    gr_pool *pool = &ctx->pool;
    for (int i = 0; i < GR_SIZE_CLASSES; i++) {
        give_back(ctx, i, pool->least[i]);
        pool->least[i] = pool->count[i];
    }
    gr_arena_trim(ctx);
}

void gr_pool_end(gr_context *ctx)
{
    for (int i = 0; i < GR_SIZE_CLASSES; i++)
        give_back(ctx, i, ctx->pool.count[i]);
    gr_chunks_release(ctx, ctx->pool.slabs);
}

/* ---- Members --------------------------------------------------------------------------------- */

static gr_member **idle_members(gr_scope *scope)
{
    gr_pool *pool = &scope->ctx->pool;
    if (scope->internal)
        return &pool->internal;
    return scope->inside_check ? &pool->checked : &pool->members;
}

static void link_member(gr_member *member, gr_scope *scope)
{
    member->scope = scope;
    member->previous = NULL;
    member->next = scope->members;
    if (member->next)
        member->next->previous = member;
    scope->members = member;
}

static void unlink_member(gr_member *member)
{
    *(member->previous ? &member->previous->next : &member->scope->members) = member->next;
    if (member->next)
        member->next->previous = member->previous;
}

gr_member *gr_member_new(gr_scope *scope)
{
    gr_member **idle = idle_members(scope), *member = *idle;
    uint8_t generation = 0;
    if (member) {
        *idle = member->next;
        generation = (uint8_t)(member->generation + 1);
    } else if (!(member = slab_cut(scope->ctx, GR_MEMBER_BYTES, GR_MEMBER_BYTES))) {
        return NULL;
    }
    member->state = GR_LIVE;
    member->generation = generation;
    member->ctx = scope->ctx;
    member->buffer = NULL;
    link_member(member, scope);
    return member;
}

static void end_member(gr_member *member)
{
    unlink_member(member);
    gr_buffer_drop(member->ctx, member->buffer);
    member->buffer = NULL;
    member->state = GR_DEAD;
}

static void make_idle(gr_member *member, gr_member **idle)
{
    member->next = *idle;
    *idle = member;
}

/* The one that has waited longest becomes idle. Its scope has not ended yet. */
static void wake_first(gr_pool *pool)
{
    gr_member *first = pool->waiting;
    pool->waiting = first->next;
    pool->waiting_count--;
    make_idle(first, idle_members(first->scope));
}

void gr_member_free(gr_member *member)
{
    gr_pool *pool = &member->ctx->pool;
    end_member(member);
    if (member->scope->internal) {
        make_idle(member, &pool->internal);
        return;
    }
    member->next = NULL;
    *(pool->waiting ? &pool->last_waiting->next : &pool->waiting) = member;
    pool->last_waiting = member;
    if (++pool->waiting_count > MOST_WAITING)
        wake_first(pool);
}

void gr_members_end(gr_scope *scope)
{
    gr_pool *pool = &scope->ctx->pool;
    gr_member **idle = idle_members(scope);
    while (scope->members) {
        gr_member *member = scope->members;
        end_member(member);
        make_idle(member, idle);
    }
    while (!scope->internal && pool->waiting)
        wake_first(pool);
}

void gr_member_unmake(gr_member *member)
{
    end_member(member);
    member->generation--;
    make_idle(member, idle_members(member->scope));
}

void gr_member_move(gr_member *member, gr_scope *to)
{
    unlink_member(member);
    link_member(member, to);
}
