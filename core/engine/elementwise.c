/* elementwise.c - runs a kernel over broadcast operands, block by block, and sums the result on
 * request.
 *
 * The blocks (GR_BLOCK elements) and their chunks (GR_CHUNK) are cut by index alone. A thread
 * computes whole blocks. Each block stores its sum at its own place, and the sums are added in a
 * fixed tree. So the number of threads changes the time, but no bit.
 *
 * An operand goes to the kernel directly if it is contiguous and has the kernel's dtype. Other
 * operands are gathered into scratch on the thread's stack. Nothing in a parallel region allocates
 * or fails.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <string.h>

enum { MOST_SHARES = 256 };

/* The data that all chunks share. */
typedef struct plan {
    const gr_map *map;
    gr_dtype dtype; /* dtype in which the kernel computes */
    int64_t size;   /* of an element in that dtype */
    int64_t count;  /* number of elements */
    gr_reader readers[GR_MAP_ARRAYS];
    bool direct[GR_MAP_ARRAYS];     /* the operand needs no gathering */
    bool direct_out[GR_MAP_ARRAYS]; /* the result needs no conversion */
    bool all_direct;                /* a block is then one chunk */
} plan;

typedef struct scratch {
    _Alignas(64) char in[GR_MAP_ARRAYS][GR_CHUNK * sizeof(double)];
    _Alignas(64) char out[GR_MAP_ARRAYS][GR_CHUNK * sizeof(double)];
} scratch;

static void plan_begin(plan *p, const gr_map *map)
{
    *p = (plan){.map = map, .dtype = gr_ktype_dtype(map->ktype), .all_direct = true};
    p->size = gr_dtype_size(p->dtype);
    p->count = gr_dims_count(&map->shape);
    for (int i = 0; i < map->inputs; i++) {
        if (!map->in[i])
            continue;
        gr_reader_begin(&p->readers[i], map->in[i], &map->shape);
        p->direct[i] = gr_type(map->in[i]) == p->dtype && p->readers[i].contiguous &&
                       (p->count == 1 || !p->readers[i].constant);
        p->all_direct = p->all_direct && p->direct[i];
    }
    for (int i = 0; i < map->outputs; i++) {
        p->direct_out[i] = map->out[i] && gr_type(map->out[i]) == p->dtype;
        p->all_direct = p->all_direct && (!map->out[i] || p->direct_out[i]);
    }
}

/* An operand with one repeated element fills its scratch once for each thread. */
static void scratch_begin(const plan *p, scratch *s)
{
    const int64_t count = p->count < GR_CHUNK ? p->count : GR_CHUNK;
    for (int i = 0; i < p->map->inputs; i++)
        if (p->map->in[i] && !p->direct[i] && p->readers[i].constant)
            gr_reader_read(&p->readers[i], 0, count, p->dtype, s->in[i]);
}

/* Runs the kernel on elements [start, start + count). If the map sums, the sums go to the lanes. */
static int run_chunk(const plan *p, scratch *s, int64_t start, int64_t count, double *lanes)
{
    const gr_map *map = p->map;
    const void *in[GR_MAP_ARRAYS] = {0};
    void *out[GR_MAP_ARRAYS] = {0};
    for (int i = 0; i < map->inputs; i++) {
        if (!map->in[i])
            continue;
        in[i] = p->direct[i] ? gr_bytes(map->in[i]) + start * p->size : s->in[i];
        if (!p->direct[i] && !p->readers[i].constant)
            gr_reader_read(&p->readers[i], start, count, p->dtype, s->in[i]);
    }
    for (int i = 0; i < map->outputs; i++) {
        if (p->direct_out[i])
            out[i] = gr_bytes(map->out[i]) + start * p->size;
        else if (map->out[i])
            out[i] = s->out[i];
    }
    const int bits = map->sum_kernel ? map->sum_kernel(count, out, in, map->args, lanes)
                                     : map->kernel(count, out, in, map->args);
    for (int i = 0; i < map->outputs; i++)
        if (map->out[i] && !p->direct_out[i])
            gr_convert(p->dtype, s->out[i], gr_type(map->out[i]),
                       gr_bytes(map->out[i]) + start * gr_dtype_size(gr_type(map->out[i])), count);
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

/* A thread's share: adjacent blocks, with one scratch. */
typedef struct shares {
    const plan *p;
    int64_t blocks, count; /* number of all blocks, number of shares */
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

int64_t gr_map_scratch(int64_t elements)
{
    return (elements + GR_BLOCK - 1) / GR_BLOCK * (int64_t)sizeof(double);
}

int gr_map_run(const gr_map *map)
{
    plan p;
    plan_begin(&p, map);
    const int64_t blocks = (p.count + GR_BLOCK - 1) / GR_BLOCK;
    const int bits = run_blocks(&p, blocks, map->sum ? map->scratch : NULL);
    if (map->sum)
        *map->sum = gr_fold_blocks(blocks, map->scratch);
    return bits;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* Returns the kernel's index for the result's dtype. For a comparison the operands decide, but not
   those that are gr_scalars. */
static int kernel_type(const gr_call *call)
{
    if (gr_type(call->out) != GR_BOOL)
        return gr_ktype(gr_type(call->out));
    bool narrow = false, wide = false;
    for (int i = 0; i < call->count; i++) {
        const gr_tensor *x = call->in[i];
        narrow = narrow || (!gr_weak(x) && gr_ktype(gr_type(x)) == GR_K32);
        wide = wide || (!gr_weak(x) && gr_ktype(gr_type(x)) == GR_K64);
    }
    return narrow && !wide ? GR_K32 : GR_K64;
}

/* A fast path for one block of contiguous operands that have the result's shape and the kernel's
   dtype. It only calls the kernel. */
static bool run_at_once(const gr_call *call, int ktype, gr_map_kernel *kernel)
{
    const gr_dtype dtype = gr_ktype_dtype(ktype);
    const int64_t count = gr_count(call->out);
    const void *in[GR_MAP_ARRAYS];
    if (count > GR_BLOCK || gr_type(call->out) != dtype)
        return false;
    for (int i = 0; i < call->count; i++) {
        const gr_tensor *x = call->in[i];
        if (gr_type(x) != dtype || gr_count(x) != count || !gr_is_contiguous(x))
            return false;
        in[i] = gr_bytes(x);
    }
    void *out[] = {gr_bytes(call->out)};
    if (count)
        kernel(count, out, in, call->attributes);
    return true;
}

gr_status gr_elementwise_run(const gr_call *call)
{
    const gr_row *row = (const gr_row *)(const void *)call->op;
    const int ktype = kernel_type(call);
    gr_map_kernel *kernel = call->ctx->kernels->map[row->kernel][ktype];
    if (run_at_once(call, ktype, kernel))
        return GR_OK;
    gr_map map = {
        .ctx = call->ctx,
        .ktype = ktype,
        .shape = gr_shape_of(call->out),
        .inputs = call->count,
        .outputs = 1,
        .out = {call->out},
        .args = call->attributes,
    };
    for (int i = 0; i < call->count; i++)
        map.in[i] = call->in[i];
    map.kernel = kernel;
    gr_map_run(&map);
    return GR_OK;
}
