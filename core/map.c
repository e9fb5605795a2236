/* map.c - the driver: runs a kernel over broadcast operands, block by block, and sums if asked to.
 *
 * The blocks (GR_BLOCK elements) and the chunks in them (GR_CHUNK) are cut by index alone. A thread
 * computes whole blocks; the sum of a block lands in its own place and the places are folded in a
 * fixed tree. So threads change the time and never a bit.
 *
 * An operand that lies in memory as the kernel wants it is passed as it is; any other is gathered
 * into scratch on the thread's stack. Nothing in a parallel region allocates or fails.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <string.h>

enum { MOST_SHARES = 256 };

/* What is the same for every chunk. */
typedef struct plan {
    const gr_map *map;
    gr_dtype dtype; /* that the kernel computes in */
    int64_t size;   /* of its elements */
    int64_t count;  /* of elements in all */
    gr_reader readers[GR_MAX_ARITY];
    bool direct[GR_MAX_ARITY];     /* an operand that needs no gathering */
    bool direct_out[GR_MAX_ARITY]; /* a result that needs no conversion */
    bool all_direct;               /* then a block is one chunk */
} plan;

typedef struct scratch {
    _Alignas(64) char in[GR_MAX_ARITY][GR_CHUNK * sizeof(double)];
    _Alignas(64) char out[GR_MAX_ARITY][GR_CHUNK * sizeof(double)];
} scratch;

static void plan_begin(plan *p, const gr_map *map)
{
    *p = (plan){.map = map, .dtype = gr_ktype_dtype(map->ktype), .all_direct = !map->sum};
    p->size = gr_dtype_size(p->dtype);
    p->count = gr_dims_count(&map->shape);
    for (int i = 0; i < map->inputs; i++) {
        if (!map->in[i])
            continue;
        gr_reader_begin(&p->readers[i], map->in[i], &map->shape);
        p->direct[i] = map->in[i]->dtype == p->dtype && p->readers[i].contiguous &&
                       (p->count == 1 || !p->readers[i].constant);
        p->all_direct = p->all_direct && p->direct[i];
    }
    for (int i = 0; i < map->outputs; i++) {
        p->direct_out[i] = map->out[i] && map->out[i]->dtype == p->dtype;
        p->all_direct = p->all_direct && (!map->out[i] || p->direct_out[i]);
    }
}

/* Operands that are one element, repeated, fill their scratch once for a thread. */
static void scratch_begin(const plan *p, scratch *s)
{
    const int64_t count = p->count < GR_CHUNK ? p->count : GR_CHUNK;
    for (int i = 0; i < p->map->inputs; i++)
        if (p->map->in[i] && !p->direct[i] && p->readers[i].constant)
            gr_reader_read(&p->readers[i], 0, count, p->dtype, s->in[i]);
}

/* Elements [start, start + count) through the kernel; into the lanes where the map sums. */
static int run_chunk(const plan *p, scratch *s, int64_t start, int64_t count, double *lanes)
{
    const gr_map *map = p->map;
    const void *in[GR_MAX_ARITY] = {0};
    void *out[GR_MAX_ARITY] = {0};
    for (int i = 0; i < map->inputs; i++) {
        if (!map->in[i])
            continue;
        in[i] = p->direct[i] ? map->in[i]->data + start * p->size : s->in[i];
        if (!p->direct[i] && !p->readers[i].constant)
            gr_reader_read(&p->readers[i], start, count, p->dtype, s->in[i]);
    }
    for (int i = 0; i < map->outputs; i++) {
        if (p->direct_out[i])
            out[i] = map->out[i]->data + start * p->size;
        else if (map->out[i] || (i == 0 && map->sum))
            out[i] = s->out[i];
    }
    int bits;
    if (map->lane_kernel) {
        bits = map->lane_kernel(map, count, out, in, lanes);
    } else {
        bits = map->kernel(count, out, in, map->args);
        if (map->sum)
            map->ctx->kernels->accumulate[map->ktype](count, out[0], lanes);
    }
    for (int i = 0; i < map->outputs; i++)
        if (map->out[i] && !p->direct_out[i])
            gr_convert(p->dtype, s->out[i], map->out[i]->dtype,
                       map->out[i]->data + start * gr_dtype_size(map->out[i]->dtype), count);
    return bits;
}

static int run_block(const plan *p, scratch *s, int64_t block, double *sums)
{
    const int64_t start = block * GR_BLOCK;
    const int64_t end = start + GR_BLOCK < p->count ? start + GR_BLOCK : p->count;
    const int64_t step = p->all_direct ? GR_BLOCK : GR_CHUNK;
    double lanes[GR_LANES] = {0};
    int bits = 0;
    for (int64_t at = start; at < end; at += step)
        bits |= run_chunk(p, s, at, end - at < step ? end - at : step, lanes);
    if (sums)
        sums[block] = gr_fold_lanes(lanes);
    return bits;
}

/* A thread's share: neighbouring blocks, with one scratch. */
typedef struct shares {
    const plan *p;
    int64_t blocks, count; /* of all; shares in all */
    double *sums;
    int bits[MOST_SHARES];
} shares;

static void run_share(void *state, int64_t share)
{
    shares *all = state;
    scratch s;
    int bits = 0;
    scratch_begin(all->p, &s);
    const int64_t end = all->blocks * (share + 1) / all->count;
    for (int64_t block = all->blocks * share / all->count; block < end; block++)
        bits |= run_block(all->p, &s, block, all->sums);
    all->bits[share] = bits;
}

static int run_blocks(const plan *p, int64_t blocks, double *sums)
{
    const int threads = gr_threads_for(p->map->ctx, p->count);
    shares all = {.p = p,
                  .blocks = blocks,
                  .count = threads < MOST_SHARES ? threads : MOST_SHARES,
                  .sums = sums};
    gr_parallel_for(threads, all.count, run_share, &all);
    int bits = 0;
    for (int64_t i = 0; i < all.count; i++)
        bits |= all.bits[i];
    return bits;
}

/* Contiguous operands of the kernel's own dtype in one block: nothing to plan. */
static bool run_small(const gr_map *map, int *bits)
{
    const int64_t count = gr_dims_count(&map->shape);
    const gr_dtype dtype = gr_ktype_dtype(map->ktype);
    const void *in[GR_MAX_ARITY] = {0};
    void *out[GR_MAX_ARITY] = {0};
    if (count > GR_BLOCK || map->sum)
        return false;
    for (int i = 0; i < map->inputs; i++) {
        const gr_tensor *x = map->in[i];
        if (x && (x->dtype != dtype || gr_numel(x) != count || !gr_is_contiguous(x)))
            return false;
        in[i] = x ? x->data : NULL;
    }
    for (int i = 0; i < map->outputs; i++) {
        if (map->out[i] && map->out[i]->dtype != dtype)
            return false;
        out[i] = map->out[i] ? map->out[i]->data : NULL;
    }
    *bits = count ? map->kernel(count, out, in, map->args) : 0;
    return true;
}

int gr_map_run(const gr_map *map)
{
    enum { STACK_BLOCKS = 64 };
    double few[STACK_BLOCKS];
    int bits;
    if (run_small(map, &bits))
        return bits;

    plan p;
    plan_begin(&p, map);
    const int64_t blocks = (p.count + GR_BLOCK - 1) / GR_BLOCK;
    double *sums = NULL;
    if (map->sum) {
        sums = blocks <= STACK_BLOCKS ? few
                                      : gr_buffer(map->ctx->scope, blocks * (int64_t)sizeof *sums);
        if (!sums)
            return -1;
    }
    bits = run_blocks(&p, blocks, sums);
    if (map->sum)
        *map->sum = gr_fold_blocks(blocks, sums);
    return bits;
}
