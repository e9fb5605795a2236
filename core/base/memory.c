/* memory.c - all memory of the library: calls of the allocator, blocks, and the arena.
 *
 * Scopes nest, so the arena is a stack of chunks. A scope remembers the top of the stack when it
 * begins, and its end restores that top. Memory that outlives its scope is a block.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/base/base.h"
#include "core/base/chunks.h"
#include <string.h>

/* ---- The seam -------------------------------------------------------------------------------- */

void *gr_allocate(gr_context *ctx, int64_t bytes)
{
    void *memory = NULL;
    if (!ctx->broken && bytes >= 0 && bytes < INT64_MAX / 2)
        memory =
            ctx->allocator.allocate(ctx->allocator.state, (size_t)gr_round_up(bytes), GR_ALIGNMENT);
    if (!memory) {
        gr_fail(ctx, GR_ERROR_MEMORY, NULL, "out of memory: %lld bytes", (long long)bytes);
        return NULL;
    }
    gr_memory_report *report = &ctx->memory;
    report->allocations++;
    report->live_bytes += gr_round_up(bytes);
    if (report->live_bytes > report->peak_bytes)
        report->peak_bytes = report->live_bytes;
    return memory;
}

void gr_release(gr_context *ctx, void *memory, int64_t bytes)
{
    if (!memory)
        return;
    ctx->memory.live_bytes -= gr_round_up(bytes);
    ctx->allocator.release(ctx->allocator.state, memory, (size_t)gr_round_up(bytes));
}

/* ---- Chunks ---------------------------------------------------------------------------------- */

gr_chunk *gr_chunk_new(gr_context *ctx, int64_t bytes)
{
    gr_chunk *chunk = gr_allocate(ctx, bytes);
    if (chunk)
        *chunk = (gr_chunk){.bytes = bytes, .used = gr_round_up((int64_t)sizeof *chunk)};
    return chunk;
}

void *gr_chunk_cut(gr_chunk *chunk, int64_t bytes)
{
    if (!chunk || chunk->bytes - chunk->used < bytes)
        return NULL;
    void *memory = (char *)chunk + chunk->used;
    chunk->used += bytes;
    return memset(memory, 0, (size_t)bytes);
}

void gr_chunks_release(gr_context *ctx, gr_chunk *chunk)
{
    for (gr_chunk *next; chunk; chunk = next) {
        next = chunk->next;
        gr_release(ctx, chunk, chunk->bytes);
    }
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

/* This header lies before the bytes of a block. */
struct gr_block {
    gr_block *next, *previous;
    int64_t bytes; /* includes this header */
};

enum { BLOCK_HEADER = GR_ALIGNMENT };
_Static_assert(sizeof(gr_block) <= BLOCK_HEADER, "a block's bytes are aligned");

void *gr_block_new(gr_context *ctx, int64_t bytes)
{
    gr_block *block = gr_allocate(ctx, bytes + BLOCK_HEADER);
    if (!block)
        return NULL;
    *block = (gr_block){.next = ctx->blocks, .bytes = bytes + BLOCK_HEADER};
    if (ctx->blocks)
        ctx->blocks->previous = block;
    ctx->blocks = block;
    return memset((char *)block + BLOCK_HEADER, 0, (size_t)bytes);
}

void gr_block_free(gr_context *ctx, void *memory)
{
    if (!memory)
        return;
    gr_block *block = (gr_block *)(void *)((char *)memory - BLOCK_HEADER);
    *(block->previous ? &block->previous->next : &ctx->blocks) = block->next;
    if (block->next)
        block->next->previous = block->previous;
    gr_release(ctx, block, block->bytes);
}

void gr_blocks_end(gr_context *ctx)
{
    while (ctx->blocks)
        gr_block_free(ctx, (char *)ctx->blocks + BLOCK_HEADER);
}

/* ---- The arena ------------------------------------------------------------------------------- */

/* Goes on to a chunk with room for `bytes`. Takes a spare chunk if one fits. */
static bool arena_grow(gr_context *ctx, int64_t bytes)
{
    gr_arena *arena = &ctx->arena;
    const int64_t whole = bytes + gr_round_up((int64_t)sizeof(gr_chunk));
    gr_chunk *chunk = arena->spare;
    if (chunk && chunk->bytes >= whole)
        arena->spare = chunk->next;
    else
        chunk = gr_chunk_new(ctx, whole > GR_CHUNK_BYTES ? whole : GR_CHUNK_BYTES);
    if (!chunk)
        return false;
    chunk->used = gr_round_up((int64_t)sizeof *chunk);
    chunk->next = arena->top;
    arena->top = chunk;
    return true;
}

void *gr_arena_cut(gr_context *ctx, int64_t bytes)
{
    bytes = (bytes + 15) & ~(int64_t)15;
    void *memory = gr_chunk_cut(ctx->arena.top, bytes);
    if (!memory && arena_grow(ctx, bytes))
        memory = gr_chunk_cut(ctx->arena.top, bytes);
    return memory;
}

/* Chunks of the usual size become spare. Larger ones go back to the allocator. */
void gr_arena_rewind(gr_context *ctx, gr_chunk *chunk, int64_t used)
{
    gr_arena *arena = &ctx->arena;
    while (arena->top != chunk) {
        gr_chunk *above = arena->top;
        arena->top = above->next;
        if (above->bytes == GR_CHUNK_BYTES) {
            above->next = arena->spare;
            arena->spare = above;
        } else {
            gr_release(ctx, above, above->bytes);
        }
    }
    if (chunk)
        chunk->used = used;
}

void gr_arena_trim(gr_context *ctx)
{
    gr_chunks_release(ctx, ctx->arena.spare);
    ctx->arena.spare = NULL;
}
