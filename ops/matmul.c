/* matmul.c - the matrix product.
 *
 *   matmul(a, b)[i,j] = sum over k of a[i,k] b[k,j];  da = g b^T, db = a^T g
 *
 * Each element is one chain of fused multiply-adds in ascending k. So the result has the same bits
 * for each instruction set and for any division of the work among threads. A transposed operand is
 * a view. The kernel packs it directly from the original memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <gradus/ops.h>

/* STRIP: the minimum number of rows or columns of a thread. PER_ELEMENT: this many multiply-adds
   cost as much as one addition of two arrays' elements. It is used to choose the number of
   threads. */
enum { STRIP = 48, PER_ELEMENT = 16 };

static gr_status matmul_shape(const gr_call *call, gr_form *results)
{
    const gr_tensor *a = call->in[0], *b = call->in[1];
    const gr_status status = gr_common_dtype(call, &results->dtype);
    if (status != GR_OK)
        return status;
    const int64_t *left = gr_sizes(a), *right = gr_sizes(b);
    if (left[1] != right[0])
        return gr_fail(call->ctx, GR_ERROR_SHAPE, "matmul",
                       "shapes %s and %s: %lld columns against %lld rows", gr_shape_text(a).text,
                       gr_shape_text(b).text, (long long)left[1], (long long)right[0]);
    results->shape = (gr_dims){.count = 2, .at = {left[0], right[1]}};
    return GR_OK;
}

/* A product, divided into parts. A part consists of whole strips of rows or of columns. Each part
   has its own scratch. */
typedef struct product {
    const gr_gemm *problem;
    void (*gemm)(const gr_gemm *, int64_t, int64_t, int64_t, int64_t, void *);
    bool by_rows;
    int64_t parts, strips, scratch_size;
    char *scratch;
} product;

static void multiply_part(void *state, int64_t part)
{
    const product *p = state;
    const gr_gemm *problem = p->problem;
    const int64_t length = p->by_rows ? problem->m : problem->n;
    const int64_t first = p->strips * part / p->parts * STRIP;
    const int64_t last = p->strips * (part + 1) / p->parts * STRIP;
    const int64_t end = last < length ? last : length;
    void *scratch = p->scratch + part * p->scratch_size;
    if (p->by_rows)
        p->gemm(problem, first, end, 0, problem->n, scratch);
    else
        p->gemm(problem, 0, problem->m, first, end, scratch);
}

/* Decides how to divide the product: by rows or by columns, the number of parts, and their
   scratch. */
static product cut(const gr_context *ctx, int ktype, int64_t m, int64_t n, int64_t k)
{
    const double work = (double)m * (double)n * (double)k / PER_ELEMENT;
    const int threads = gr_threads_for(ctx, work < 1e18 ? (int64_t)work : INT64_MAX / 2);
    const int64_t bytes = ctx->kernels->gemm_scratch[ktype](n, k);
    product p = {.gemm = ctx->kernels->gemm[ktype],
                 .by_rows = m >= n,
                 .scratch_size = (bytes + 63) & ~(int64_t)63};
    p.strips = ((p.by_rows ? m : n) + STRIP - 1) / STRIP;
    p.parts = threads < p.strips ? threads : p.strips;
    return p;
}

/* Returns the bytes of an operand or result in the dtype in which the kernel computes. Returns 0 if
   it already has that dtype. */
static int64_t widened_bytes(const gr_tensor *x)
{
    const gr_dtype dtype = gr_compute_dtype(x);
    const int64_t bytes = gr_count(x) * gr_dtype_size(dtype);
    return gr_type(x) == dtype ? 0 : (bytes + 63) & ~(int64_t)63;
}

static int64_t matmul_scratch(const gr_call *call)
{
    const gr_tensor *a = call->in[0], *b = call->in[1];
    const product p = cut(call->ctx, gr_ktype(gr_type(call->out)), gr_sizes(a)[0], gr_sizes(b)[1],
                          gr_sizes(a)[1]);
    return p.scratch_size * p.parts + widened_bytes(a) + widened_bytes(b) +
           widened_bytes(call->out);
}

/* The address of a matrix and its steps. */
typedef struct matrix {
    char *data;
    int64_t row, column;
} matrix;

/* Returns x itself, or scratch for it in the kernel's dtype. */
static matrix widened(const gr_tensor *x, bool filled, char **scratch)
{
    const int64_t bytes = widened_bytes(x);
    if (bytes == 0)
        return (matrix){gr_bytes(x), gr_steps(x)[0], gr_steps(x)[1]};
    const matrix wide = {*scratch, gr_sizes(x)[1], 1};
    const gr_dims shape = gr_shape_of(x);
    *scratch += bytes;
    if (filled)
        gr_copy_elements(x, &shape, gr_compute_dtype(x), wide.data);
    return wide;
}

static gr_status matmul_run(const gr_call *call)
{
    const gr_tensor *a = call->in[0], *b = call->in[1];
    const int ktype = gr_ktype(gr_type(call->out));
    char *scratch = call->scratch;
    const matrix left = widened(a, true, &scratch), right = widened(b, true, &scratch);
    const matrix out = widened(call->out, false, &scratch);
    const gr_gemm problem = {
        .m = gr_sizes(a)[0],
        .n = gr_sizes(b)[1],
        .k = gr_sizes(a)[1],
        .a = left.data,
        .a_row = left.row,
        .a_column = left.column,
        .b = right.data,
        .b_row = right.row,
        .b_column = right.column,
        .c = out.data,
        .c_row = out.row,
    };
    if (gr_count(call->out) == 0)
        return GR_OK;
    product p = cut(call->ctx, ktype, problem.m, problem.n, problem.k);
    p.problem = &problem;
    p.scratch = scratch;
    gr_parallel_for((int)p.parts, p.parts, multiply_part, &p);
    if (out.data != gr_bytes(call->out))
        gr_convert(gr_ktype_dtype(ktype), out.data, gr_type(call->out), gr_bytes(call->out),
                   gr_count(call->out));
    return GR_OK;
}

static void matmul_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    if (n->wanted[0])
        dx[0] = gr_matmul(g, gr_transpose(n->in[1]));
    if (n->wanted[1])
        dx[1] = gr_matmul(gr_transpose(n->in[0]), g);
}

static const gr_op matmul_op = {.name = "matmul",
                                .kind = GR_CONTRACTION,
                                .arity = 2,
                                .flags = GR_OP_STRIDED,
                                .shape = matmul_shape,
                                .scratch = matmul_scratch,
                                .run = matmul_run,
                                .vjp = matmul_vjp,
                                .reads = {GR_READS_IN(1), GR_READS_IN(0)}};

static gr_status check_ranks(gr_context *ctx, gr_tensor *const *in)
{
    for (int i = 0; i < 2; i++)
        if (!in[i])
            return gr_fail(ctx, GR_ERROR_NULL, "matmul", "operand %d is NULL", i);
    for (int i = 0; i < 2; i++)
        if (gr_axes_of(in[i]) < 1 || gr_axes_of(in[i]) > 2)
            return gr_fail(ctx, GR_ERROR_SHAPE, "matmul",
                           "shapes %s and %s: operand %d has neither one axis nor two",
                           gr_shape_text(in[0]).text, gr_shape_text(in[1]).text, i);
    const int64_t columns = gr_sizes(in[0])[gr_axes_of(in[0]) - 1], rows = gr_sizes(in[1])[0];
    if (columns != rows)
        return gr_fail(ctx, GR_ERROR_SHAPE, "matmul",
                       "shapes %s and %s: %lld columns against %lld rows",
                       gr_shape_text(in[0]).text, gr_shape_text(in[1]).text, (long long)columns,
                       (long long)rows);
    return GR_OK;
}

/* A vector on the left is a row, on the right a column. Its extra axis is removed from the
   result. */
gr_tensor *gr_matmul(gr_tensor *a, gr_tensor *b)
{
    gr_tensor *operands[] = {a, b}, *failed = gr_null_context.failed;
    gr_context *ctx = gr_operands_context("matmul", 2, operands, &failed);
    if (!ctx || check_ranks(ctx, operands) != GR_OK)
        return failed;
    const bool row = gr_axes_of(a) == 1, column = gr_axes_of(b) == 1;
    if (!row && !column)
        return gr_apply_in(ctx, &matmul_op, 2, operands, NULL);
    gr_dims shape = {0};
    if (!row)
        shape.at[shape.count++] = gr_sizes(a)[0];
    if (!column)
        shape.at[shape.count++] = gr_sizes(b)[1];
    if (row)
        operands[0] = gr_reshape(a, (gr_dims){.count = 2, .at = {1, gr_sizes(a)[0]}});
    if (column)
        operands[1] = gr_reshape(b, (gr_dims){.count = 2, .at = {gr_sizes(b)[0], 1}});
    return gr_reshape(gr_apply_with(&matmul_op, 2, operands, NULL), shape);
}
