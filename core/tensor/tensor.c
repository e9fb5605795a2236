/* tensor.c - headers of tensors: making them, making views, checking them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/tensor/tensor.h"
#include <string.h>

/* ---- Making and ending ----------------------------------------------------------------------- */

static gr_tensor *handle_of(gr_header *header)
{
    return (gr_tensor *)((char *)header + header->member.generation);
}

static gr_header *new_header(gr_scope *scope, gr_dtype dtype)
{
    gr_header *header = (gr_header *)(void *)gr_member_new(scope);
    if (!header)
        return NULL;
    header->dtype = (uint8_t)dtype;
    header->ndim = 0;
    header->weak = header->requires_grad = false;
    header->data = NULL;
    header->history = (gr_history){.born = scope->ctx->program.serial};
    return header;
}

gr_tensor *gr_bare_tensor(gr_scope *scope, gr_dtype dtype, const gr_dims *shape)
{
    gr_header *header = new_header(scope, dtype);
    if (!header)
        return NULL;
    header->ndim = (uint8_t)shape->count;
    int64_t stride = 1;
    for (int i = shape->count - 1; i >= 0; i--) {
        header->shape[i] = shape->at[i];
        header->strides[i] = stride;
        stride *= shape->at[i] > 0 ? shape->at[i] : 1;
    }
    return handle_of(header);
}

gr_tensor *gr_tensor_in(gr_scope *scope, const char *op, gr_dtype dtype, const gr_dims *shape)
{
    gr_context *ctx = scope->ctx;
    ctx->doing = op;
    if (!gr_check_shape(ctx, op, dtype, shape))
        return NULL;
    gr_buffer *buffer = gr_buffer_new(ctx, gr_dims_count(shape) * gr_dtype_size(dtype));
    gr_tensor *x = buffer ? gr_bare_tensor(scope, dtype, shape) : NULL;
    if (!x) {
        gr_buffer_drop(ctx, buffer);
        return NULL;
    }
    gr_header *header = gr_header_of(x);
    header->member.buffer = buffer;
    header->data = buffer->bytes;
    return x;
}

gr_tensor *gr_view_in(gr_scope *scope, const gr_tensor *x)
{
    const gr_header *from = gr_header_of(x);
    gr_header *header = new_header(scope, gr_type(x));
    if (!header)
        return NULL;
    header->ndim = from->ndim;
    header->weak = from->weak;
    for (int i = 0; i < from->ndim; i++) {
        header->shape[i] = from->shape[i];
        header->strides[i] = from->strides[i];
    }
    header->data = from->data;
    header->member.buffer = from->member.buffer;
    gr_buffer_hold(from->member.buffer);
    return handle_of(header);
}

gr_tensor *gr_restrided(gr_scope *scope, const gr_tensor *x, const gr_dims *shape,
                        const gr_dims *strides, int64_t offset)
{
    gr_tensor *view = gr_view_in(scope, x);
    if (!view)
        return NULL;
    gr_header *header = gr_header_of(view);
    header->ndim = (uint8_t)shape->count;
    for (int i = 0; i < shape->count; i++) {
        header->shape[i] = shape->at[i];
        header->strides[i] = strides->at[i];
    }
    header->data += offset * gr_dtype_size(gr_type(x));
    return view;
}

void gr_tensor_free(gr_tensor *x)
{
    if (x && gr_state(x) == GR_LIVE)
        gr_member_free(&gr_header_of(x)->member);
}

void gr_tensor_unmake(gr_tensor *x)
{
    if (x && gr_state(x) == GR_LIVE)
        gr_member_unmake(&gr_header_of(x)->member);
}

void gr_tensor_move(gr_tensor *x, gr_scope *to) { gr_member_move(&gr_header_of(x)->member, to); }

void gr_drop_elements(gr_tensor *x)
{
    gr_header *header = gr_header_of(x);
    gr_buffer_drop(header->member.ctx, header->member.buffer);
    header->member.buffer = NULL;
    header->data = NULL;
}

void gr_share_buffer(gr_tensor *x, gr_tensor *y)
{
    gr_header *to = gr_header_of(x), *from = gr_header_of(y);
    gr_buffer_hold(from->member.buffer);
    gr_drop_elements(x);
    to->member.buffer = from->member.buffer;
    to->data = from->data;
}

bool gr_owns_buffer(const gr_tensor *x)
{
    const gr_header *header = gr_header_of(x);
    const gr_buffer *buffer = header->member.buffer;
    return buffer->holders == 1 && header->data == buffer->bytes && gr_is_contiguous(x);
}

gr_tensor *gr_keep(gr_tensor *x)
{
    gr_tensor *failed;
    if (!gr_usable("keep", x, 0, &failed))
        return failed;
    gr_context *ctx = gr_ctx(x);
    gr_scope *outer = ctx->scope->outer ? ctx->scope->outer : ctx->root;
    const gr_dims shape = gr_shape_of(x);
    ctx->doing = "keep";
    gr_tensor *kept;
    if (gr_scope_of(x) == ctx->scope && outer != ctx->scope && gr_owns_buffer(x)) {
        kept = gr_view_in(outer, x);
    } else {
        kept = gr_tensor_in(outer, "keep", gr_type(x), &shape);
        if (kept)
            gr_copy_elements(x, &shape, gr_type(x), gr_bytes(kept));
    }
    if (!kept)
        return ctx->failed;
    gr_set_weak(kept, gr_weak(x));
    return kept;
}

/* ---- Checking -------------------------------------------------------------------------------- */

bool gr_usable(const char *op, const gr_tensor *x, int position, gr_tensor **failed)
{
    if (!x) {
        *failed = gr_null_context.failed;
        return false;
    }
    gr_context *ctx = gr_ctx(x);
    const int state = gr_state(x);
    *failed = ctx->failed;
    if (state == GR_DEAD)
        gr_fail(ctx, GR_ERROR_SCOPE, op, "operand %d belongs to a scope that has ended", position);
    else if (state == GR_FAILED && ctx->error == GR_OK) /* the user cleared it */
        gr_fail(ctx, GR_ERROR_ARGUMENT, op, "operand %d is the result of a call that failed",
                position);
    return state == GR_LIVE;
}

/* Returns the first usable context among the operands. Some operands may have none. */
static gr_context *any_context(int64_t count, gr_tensor *const *in)
{
    for (int64_t i = 0; i < count; i++)
        if (in[i] && gr_state(in[i]) == GR_LIVE)
            return gr_ctx(in[i]);
    return NULL;
}

gr_context *gr_call_context(gr_context *given, const char *op, int64_t count, gr_tensor *const *in,
                            gr_tensor **failed)
{
    if (given && !gr_context_usable(given, failed))
        return NULL;
    gr_context *ctx = given ? given : any_context(count, in);
    *failed = gr_null_context.failed;
    for (int64_t i = 0; i < count; i++) {
        if (!in[i])
            continue;
        const bool usable = gr_usable(op, in[i], (int)i, failed);
        gr_context *of = gr_ctx(in[i]);
        if (usable && of == ctx)
            continue;
        if (of == &gr_null_context && ctx) {
            *failed = gr_fail_tensor(ctx, GR_ERROR_NULL, op,
                                     "operand %d is the result of an op on NULL", (int)i);
        } else if (of != ctx && (usable || given)) {
            const char *text = given ? "operand %d belongs to another context"
                                     : "operands 0 and %d belong to two contexts";
            *failed = gr_fail_tensor(ctx, GR_ERROR_CONTEXT, op, text, (int)i);
            gr_fail(of, GR_ERROR_CONTEXT, op, text, (int)i);
        }
        return NULL;
    }
    return ctx;
}

gr_context *gr_operands_context(const char *op, int64_t count, gr_tensor *const *in,
                                gr_tensor **failed)
{
    return gr_call_context(NULL, op, count, in, failed);
}

void gr_wrote(const gr_tensor *x, const char *writer, const char *file, int line)
{
    gr_buffer_wrote(gr_buffer_of(x), writer, file, line);
}

int64_t gr_writes(const gr_tensor *x) { return gr_buffer_of(x)->version; }
void gr_set_writes(gr_tensor *x, int64_t writes) { gr_buffer_of(x)->version = writes; }
