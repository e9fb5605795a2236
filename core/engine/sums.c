/* sums.c - sums over some of a tensor's axes.
 *
 * The reduced elements of each result element are numbered in row-major order over the reduced
 * axes. Element r belongs to block r / GR_BLOCK and to lane r % GR_LANES of it. A lane adds up its
 * elements in groups of GR_GROUP. Lanes and blocks are added in fixed trees, in double. This alone
 * defines every bit of the sum. The strides of the operand have no influence.
 *
 * There are two ways to walk, which give the same bits:
 *
 *   along   computes one result element after the other;
 *   across  computes many adjacent result elements at once. It serves sums over the first axis,
 *           where result elements are adjacent in memory and reduced elements are not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <string.h>

typedef struct reduction {
    gr_context *ctx;
    int64_t shape[GR_MAX_DIMS], strides[GR_MAX_DIMS]; /* of x, with its reduced axes last */
    gr_reader reader;
    int ktype;
    gr_dtype dtype;
    int64_t outputs, reduced, blocks; /* number of result elements; elements and blocks of each */
    bool direct;                      /* elements are contiguous and need no conversion */
    double *sums;                     /* [outputs][blocks] */
} reduction;

/* Puts the kept axes first and then the reduced ones. Each group keeps x's order. */
static void order_axes(reduction *r, const gr_tensor *x, const bool *reduced)
{
    r->outputs = r->reduced = 1;
    int at = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int axis = 0; axis < gr_axes_of(x); axis++) {
            if (reduced[axis] != (pass == 1))
                continue;
            r->shape[at] = gr_sizes(x)[axis];
            r->strides[at++] = gr_steps(x)[axis];
            *(pass ? &r->reduced : &r->outputs) *= gr_sizes(x)[axis];
        }
    }
}

static reduction reduction_of(const gr_tensor *x, const bool *reduced)
{
    reduction r = {.ctx = gr_ctx(x), .ktype = gr_ktype(gr_type(x))};
    order_axes(&r, x, reduced);
    r.dtype = gr_ktype_dtype(r.ktype);
    r.blocks = (r.reduced + GR_BLOCK - 1) / GR_BLOCK;
    return r;
}

/* ---- Along ----------------------------------------------------------------------------------- */

static double sum_along(const reduction *r, int64_t output, int64_t block)
{
    const int64_t row = output * r->reduced, size = gr_dtype_size(r->dtype);
    const int64_t start = block * GR_BLOCK;
    const int64_t end = start + GR_BLOCK < r->reduced ? start + GR_BLOCK : r->reduced;
    double lanes[GR_LANES] = {0};
    if (r->direct) {
        r->ctx->kernels->accumulate[r->ktype](end - start, r->reader.data + (row + start) * size,
                                              lanes);
        return gr_fold_lanes(lanes);
    }
    _Alignas(64) char scratch[GR_CHUNK * sizeof(double)];
    for (int64_t at = start; at < end; at += GR_CHUNK) {
        const int64_t count = end - at < GR_CHUNK ? end - at : GR_CHUNK;
        gr_reader_read(&r->reader, row + at, count, r->dtype, scratch);
        r->ctx->kernels->accumulate[r->ktype](count, scratch, lanes);
    }
    return gr_fold_lanes(lanes);
}

static void run_along(void *state, int64_t task)
{
    const reduction *r = state;
    r->sums[task] = sum_along(r, task / r->blocks, task % r->blocks);
}

/* ---- Across ---------------------------------------------------------------------------------- */

/* True if two axes remain: a result axis with stride 1 outside, and a reduced axis inside. */
static bool is_across(const reduction *r)
{
    return r->reader.ndim == 2 && r->reader.strides[0] == 1 && r->reader.shape[0] == r->outputs &&
           r->reader.dtype == r->dtype && r->outputs >= 4;
}

static void sum_across(const reduction *r, int64_t first, int64_t block)
{
    const int64_t columns = r->outputs - first < GR_TILE ? r->outputs - first : GR_TILE;
    const int64_t start = block * GR_BLOCK, stride = r->reader.strides[1];
    const int64_t end = start + GR_BLOCK < r->reduced ? start + GR_BLOCK : r->reduced;
    _Alignas(64) double lanes[GR_LANES * GR_TILE] = {0};
    const char *from = r->reader.data + (start * stride + first) * gr_dtype_size(r->dtype);
    r->ctx->kernels->accumulate_rows[r->ktype](end - start, columns, from, stride, lanes);
    for (int64_t column = 0; column < columns; column++) {
        double own[GR_LANES];
        for (int lane = 0; lane < GR_LANES; lane++)
            own[lane] = lanes[lane * columns + column];
        r->sums[(first + column) * r->blocks + block] = gr_fold_lanes(own);
    }
}

static void run_across(void *state, int64_t task)
{
    const reduction *r = state;
    sum_across(r, task / r->blocks * GR_TILE, task % r->blocks);
}

/* ---- Both ------------------------------------------------------------------------------------ */

/* Divides each sum by the divisor and rounds once. */
static void store(const reduction *r, double divisor, gr_tensor *out)
{
    const int64_t size = gr_dtype_size(gr_type(out));
    for (int64_t i = 0; i < r->outputs; i++) {
        double *sums = r->blocks ? r->sums + i * r->blocks : NULL;
        const double sum = gr_fold_blocks(r->blocks, sums) / divisor;
        gr_convert(GR_F64, &sum, gr_type(out), gr_bytes(out) + i * size, 1);
    }
}

int64_t gr_reduce_scratch(const gr_tensor *x, const bool *reduced)
{
    const reduction r = reduction_of(x, reduced);
    return r.outputs * r.blocks * (int64_t)sizeof *r.sums;
}

void gr_reduce_run(const gr_tensor *x, const bool *reduced, double divisor, gr_tensor *out,
                   void *scratch)
{
    reduction r = reduction_of(x, reduced);
    gr_reader_begin_view(&r.reader, gr_bytes(x), gr_type(x), gr_axes_of(x), r.shape, r.strides);
    r.direct = r.reader.contiguous && gr_type(x) == r.dtype;
    r.sums = scratch;
    const int64_t tasks = r.outputs * r.blocks;
    const int threads = gr_threads_for(r.ctx, r.outputs * r.reduced);
    if (is_across(&r))
        gr_parallel_for(threads, (r.outputs + GR_TILE - 1) / GR_TILE * r.blocks, run_across, &r);
    else
        gr_parallel_for(threads, tasks, run_along, &r);
    store(&r, divisor, out);
}
