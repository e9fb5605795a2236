/* chunks.h - declarations that only the files of core/base share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_BASE_CHUNKS_H
#define GRADUS_BASE_CHUNKS_H

#include "core/base/base.h"

enum { GR_CHUNK_BYTES = 16 * 1024, GR_ALIGNMENT = 64 };

struct gr_chunk {
    gr_chunk *next;
    int64_t bytes, used; /* size of the whole chunk with this header */
};

static inline int64_t gr_round_up(int64_t bytes)
{
    return (bytes + GR_ALIGNMENT - 1) & -(int64_t)GR_ALIGNMENT;
}

gr_chunk *gr_chunk_new(gr_context *ctx, int64_t bytes);
void *gr_chunk_cut(gr_chunk *chunk, int64_t bytes); /* zeroed; NULL if there is no room */
void gr_chunks_release(gr_context *ctx, gr_chunk *chunk);

void gr_blocks_end(gr_context *ctx);
void gr_arena_rewind(gr_context *ctx, gr_chunk *chunk, int64_t used);
void gr_arena_trim(gr_context *ctx);

void gr_pool_trim(gr_context *ctx);
void gr_pool_end(gr_context *ctx);

#endif
