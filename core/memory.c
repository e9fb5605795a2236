/* memory.c - where every byte comes from: the allocator seam, arenas, a pool of buffers.
 *
 * Headers (tensors, tape entries, scopes) are cut from chunks. A scope owns its chunks; when it
 * ends they go to the end of the context's reserve, from whose front the next scope takes them, but
 * never the last GR_QUARANTINE ones: so a pointer into an ended scope meets a header marked dead,
 * and not a new tensor, for as long as that. Element buffers go by size class from the pool to a
 * scope and back. From the second step of a loop on, neither needs the allocator.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <string.h>

#ifdef GR_DEBUG
enum { GR_QUARANTINE = 32 };
#else
enum { GR_QUARANTINE = 2 };
#endif

enum { CHUNK_BYTES = 16 * 1024, ALIGNMENT = 64 };

struct gr_chunk {
    gr_chunk *next;
    int64_t bytes, used; /* of the whole chunk, this header included */
};

/* Stands before the bytes of a buffer. */
struct gr_storage {
    gr_storage *next;
    int64_t bytes; /* of the size class, this header included */
    int size_class;
};

static int64_t round_up(int64_t bytes) { return (bytes + ALIGNMENT - 1) & -(int64_t)ALIGNMENT; }

/* ---- The seam -------------------------------------------------------------------------------- */

void *gr_allocate(gr_context *ctx, int64_t bytes)
{
    void *memory = NULL;
    if (!ctx->broken && bytes >= 0 && bytes < INT64_MAX / 2)
        memory = ctx->allocator.allocate(ctx->allocator.state, (size_t)round_up(bytes), ALIGNMENT);
    if (!memory) {
        gr_fail(ctx, GR_ERROR_MEMORY, NULL, "out of memory: %lld bytes", (long long)bytes);
        return NULL;
    }
    gr_memory_report *report = &ctx->memory;
    report->allocations++;
    report->live_bytes += round_up(bytes);
    if (report->live_bytes > report->peak_bytes)
        report->peak_bytes = report->live_bytes;
    return memory;
}

void gr_release(gr_context *ctx, void *memory, int64_t bytes)
{
    if (!memory)
        return;
    ctx->memory.live_bytes -= round_up(bytes);
    ctx->allocator.release(ctx->allocator.state, memory, (size_t)round_up(bytes));
}

/* ---- Chunks ---------------------------------------------------------------------------------- */

static gr_chunk *chunk_new(gr_context *ctx, int64_t bytes)
{
    gr_chunk *chunk = gr_allocate(ctx, bytes);
    if (chunk)
        *chunk = (gr_chunk){.bytes = bytes, .used = round_up((int64_t)sizeof *chunk)};
    return chunk;
}

static void reserve_append(gr_context *ctx, gr_chunk *chunk)
{
    chunk->next = NULL;
    *(ctx->reserve ? &ctx->reserve_last->next : &ctx->reserve) = chunk;
    ctx->reserve_last = chunk;
    ctx->reserve_count++;
}

/* A chunk with room for `bytes`: the reserve's oldest if it fits, else a new one. */
static gr_chunk *chunk_take(gr_context *ctx, int64_t bytes)
{
    const int64_t whole = bytes + round_up((int64_t)sizeof(gr_chunk));
    gr_chunk *chunk = ctx->reserve;
    if (!chunk || ctx->reserve_count <= GR_QUARANTINE || chunk->bytes < whole)
        return chunk_new(ctx, whole > CHUNK_BYTES ? whole : CHUNK_BYTES);
    ctx->reserve = chunk->next;
    ctx->reserve_count--;
    chunk->used = round_up((int64_t)sizeof *chunk);
    return chunk;
}

/* Larger chunks than usual are not kept: the next scope's first need is a usual one. */
static void chunk_give(gr_context *ctx, gr_chunk *chunk)
{
    if (chunk->bytes == CHUNK_BYTES)
        reserve_append(ctx, chunk);
    else
        gr_release(ctx, chunk, chunk->bytes);
}

static void *chunk_cut(gr_chunk *chunk, int64_t bytes)
{
    if (!chunk || chunk->bytes - chunk->used < bytes)
        return NULL;
    void *memory = (char *)chunk + chunk->used;
    chunk->used += bytes;
    return memset(memory, 0, (size_t)bytes);
}

void *gr_scope_allocate(gr_scope *scope, int64_t bytes)
{
    bytes = round_up(bytes);
    void *memory = chunk_cut(scope->chunks, bytes);
    if (memory)
        return memory;
    gr_chunk *chunk = chunk_take(scope->ctx, bytes);
    if (!chunk)
        return NULL;
    chunk->next = scope->chunks;
    scope->chunks = chunk;
    return chunk_cut(chunk, bytes);
}

gr_scope *gr_scope_open(gr_context *ctx, gr_scope *outer)
{
    gr_chunk *chunk = chunk_take(ctx, round_up((int64_t)sizeof(gr_scope)));
    if (!chunk)
        return NULL;
    chunk->next = NULL;
    gr_scope *scope = chunk_cut(chunk, round_up((int64_t)sizeof *scope));
    *scope = (gr_scope){.ctx = ctx, .outer = outer, .chunks = chunk};
    return scope;
}

/* ---- Buffers --------------------------------------------------------------------------------- */

/* The smallest class that holds `bytes` (at least 64), and its size in bytes: 2^e (4+q) / 4. */
static int size_class_of(int64_t *bytes)
{
    const int exponent = 63 - __builtin_clzll((unsigned long long)*bytes);
    const int64_t quarter = (int64_t)1 << (exponent - 2);
    const int64_t quarters = (*bytes + quarter - 1) / quarter;
    *bytes = round_up(quarters * quarter);
    return (exponent - 6) * 4 + (int)(quarters - 4);
}

void *gr_buffer(gr_scope *scope, int64_t bytes)
{
    gr_context *ctx = scope->ctx;
    const int64_t header = round_up((int64_t)sizeof(gr_storage));
    if (bytes > INT64_MAX / 4) {
        gr_fail(ctx, GR_ERROR_MEMORY, NULL, "out of memory: %lld bytes", (long long)bytes);
        return NULL;
    }
    int64_t whole = bytes + header;
    const int size_class = size_class_of(&whole);
    gr_storage *storage = ctx->pool[size_class];
    if (storage)
        ctx->pool[size_class] = storage->next;
    else if ((storage = gr_allocate(ctx, whole)) != NULL)
        *storage = (gr_storage){.bytes = whole, .size_class = size_class};
    else
        return NULL;
    storage->next = scope->storages;
    scope->storages = storage;
    return (char *)storage + header;
}

static void buffers_give(gr_scope *scope)
{
    gr_context *ctx = scope->ctx;
    for (gr_storage *storage = scope->storages, *next; storage; storage = next) {
        next = storage->next;
#ifdef GR_DEBUG
        const int64_t header = round_up((int64_t)sizeof(gr_storage));
        memset((char *)storage + header, 0xff, (size_t)(storage->bytes - header)); /* NaNs */
#endif
        storage->next = ctx->pool[storage->size_class];
        ctx->pool[storage->size_class] = storage;
    }
}

/* ---- Ends ------------------------------------------------------------------------------------ */

void gr_scope_close(gr_scope *scope)
{
    gr_context *ctx = scope->ctx;
    buffers_give(scope);
    for (gr_chunk *chunk = scope->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        chunk_give(ctx, chunk);
    }
}

bool gr_memory_begin(gr_context *ctx)
{
    while (ctx->reserve_count < GR_QUARANTINE) {
        gr_chunk *chunk = chunk_new(ctx, CHUNK_BYTES);
        if (!chunk)
            return false;
        reserve_append(ctx, chunk);
    }
    return true;
}

void gr_memory_end(gr_context *ctx)
{
    for (gr_chunk *chunk = ctx->reserve, *next; chunk; chunk = next) {
        next = chunk->next;
        gr_release(ctx, chunk, chunk->bytes);
    }
    for (int i = 0; i < GR_SIZE_CLASSES; i++) {
        for (gr_storage *storage = ctx->pool[i], *next; storage; storage = next) {
            next = storage->next;
            gr_release(ctx, storage, storage->bytes);
        }
    }
    gr_release(ctx, ctx->tape, ctx->tape_capacity * (int64_t)sizeof *ctx->tape);
}
