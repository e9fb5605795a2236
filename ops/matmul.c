/* matmul.c - the matrix product.
 *
 *   matmul(a, b)[i,j] = sum over k of a[i,k] b[k,j];  da = g b^T, db = a^T g
 *
 * Each element is one chain of fused multiply-adds in ascending k, so the result has the same bits
 * for every instruction set and for any share of rows and columns among threads. A transposed
 * operand is a view: the kernel packs it from where it lies.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"

/* Multiply-adds below which one thread does it all, and rows or columns that a thread takes at
   least. */
enum { GRAIN = 1024 * 1024, STRIP = 48 };

static gr_status matmul_shape(const gr_call *call, gr_dtype *dtype, gr_dims *shape)
{
    const gr_tensor *a = call->in[0], *b = call->in[1];
    const gr_status status = gr_common_dtype(call, dtype);
    if (status != GR_OK)
        return status;
    if (a->shape[1] != b->shape[0])
        return gr_fail(call->ctx, GR_ERROR_SHAPE, "matmul",
                       "shapes %s and %s: %lld columns against %lld rows", gr_shape_text(a).text,
                       gr_shape_text(b).text, (long long)a->shape[1], (long long)b->shape[0]);
    *shape = (gr_dims){.count = 2, .at = {a->shape[0], b->shape[1]}};
    return GR_OK;
}

/* An operand in the type that the kernel computes in: itself, or a converted copy. */
static const gr_tensor *widened(const gr_call *call, const gr_tensor *x, gr_dtype dtype)
{
    if (x->dtype == dtype)
        return x;
    const gr_dims shape = gr_shape_of(x);
    gr_tensor *wide = gr_tensor_in(call->ctx->scope, "matmul", dtype, &shape);
    if (!wide)
        return NULL;
    gr_reader reader;
    gr_reader_begin(&reader, x, &shape);
    gr_reader_read(&reader, 0, gr_numel(wide), dtype, wide->data);
    return wide;
}

/* The product as parts of whole strips of rows or of columns, each with scratch of its own. */
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

static bool multiply(gr_context *ctx, int ktype, const gr_gemm *problem)
{
    const double work = (double)problem->m * (double)problem->n * (double)problem->k;
    const int threads = work < GRAIN ? 1 : ctx->threads;
    product p = {.problem = problem,
                 .gemm = ctx->kernels->gemm[ktype],
                 .by_rows = problem->m >= problem->n,
                 .scratch_size = (ctx->kernels->gemm_scratch[ktype] + 63) & ~(int64_t)63};
    p.strips = ((p.by_rows ? problem->m : problem->n) + STRIP - 1) / STRIP;
    p.parts = threads < p.strips ? threads : p.strips;
    p.scratch = gr_buffer(ctx->scope, p.scratch_size * p.parts);
    if (!p.scratch)
        return false;
    gr_parallel_for(threads, p.parts, multiply_part, &p);
    return true;
}

static gr_status matmul_forward(const gr_call *call)
{
    const int ktype = gr_ktype(call->out->dtype);
    const gr_dtype dtype = gr_ktype_dtype(ktype);
    const gr_dims shape = gr_shape_of(call->out);
    const gr_tensor *a = widened(call, call->in[0], dtype);
    const gr_tensor *b = a ? widened(call, call->in[1], dtype) : NULL;
    gr_tensor *c = call->out->dtype == dtype ? call->out : NULL;
    if (b && !c)
        c = gr_tensor_in(call->ctx->scope, "matmul", dtype, &shape);
    if (!b || !c)
        return GR_ERROR_MEMORY;
    const gr_gemm problem = {
        .m = a->shape[0],
        .n = b->shape[1],
        .k = a->shape[1],
        .a = a->data,
        .a_row = a->strides[0],
        .a_column = a->strides[1],
        .b = b->data,
        .b_row = b->strides[0],
        .b_column = b->strides[1],
        .c = c->data,
        .c_row = c->strides[0],
    };
    if (gr_numel(c) && !multiply(call->ctx, ktype, &problem))
        return GR_ERROR_MEMORY;
    if (c != call->out)
        gr_convert(dtype, c->data, call->out->dtype, call->out->data, gr_numel(c));
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
                                .arity = 2,
                                .flags = GR_OP_STRIDED,
                                .forward = matmul_forward,
                                .vjp = matmul_vjp,
                                .shape = matmul_shape};

/* A vector on the left is a row, on the right a column; its axis goes from the result. */
gr_tensor *gr_matmul(gr_tensor *a, gr_tensor *b)
{
    gr_tensor *operands[] = {a, b}, *failed = &gr_null_context.failed;
    gr_context *ctx = gr_operands_context("matmul", 2, operands, &failed);
    if (!ctx)
        return failed;
    for (int i = 0; i < 2; i++) {
        if (!operands[i])
            return gr_fail_tensor(ctx, GR_ERROR_NULL, "matmul", "operand %d is NULL", i);
        if (operands[i]->ndim < 1 || operands[i]->ndim > 2)
            return gr_fail_tensor(ctx, GR_ERROR_SHAPE, "matmul",
                                  "shapes %s and %s: operand %d has neither one axis nor two",
                                  gr_shape_text(a).text, b ? gr_shape_text(b).text : "NULL", i);
    }
    const bool row = a->ndim == 1, column = b->ndim == 1;
    if (!row && !column)
        return gr_apply_with(&matmul_op, 2, operands, NULL);
    if (a->shape[a->ndim - 1] != b->shape[0])
        return gr_fail_tensor(ctx, GR_ERROR_SHAPE, "matmul",
                              "shapes %s and %s: %lld columns against %lld rows",
                              gr_shape_text(a).text, gr_shape_text(b).text,
                              (long long)a->shape[a->ndim - 1], (long long)b->shape[0]);
    gr_dims shape = {0};
    if (!row)
        shape.at[shape.count++] = a->shape[0];
    if (!column)
        shape.at[shape.count++] = b->shape[1];
    if (row)
        operands[0] = gr_reshape(a, (gr_dims){.count = 2, .at = {1, a->shape[0]}});
    if (column)
        operands[1] = gr_reshape(b, (gr_dims){.count = 2, .at = {b->shape[0], 1}});
    return gr_reshape(gr_apply_with(&matmul_op, 2, operands, NULL), shape);
}
