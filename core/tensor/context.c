/* context.c - a context with its failed tensor, and constant contexts that stand in for a missing
 * one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/tensor/tensor.h"
#include <gradus/extend.h>

/* The object that gr_context_new allocates. */
typedef struct whole_context {
    gr_context context;
    _Alignas(GR_MEMBER_BYTES) gr_header failed;
} whole_context;

/* The failed tensor's handle needs this alignment. */
enum { WHOLE_ALIGNMENT = GR_MEMBER_BYTES };

/* Stands in for a missing context. It is broken and has its error from the start. It has no
   allocator and never changes. */
/* clang-format off */
#define STAND_IN(name, code, text)                                                                 \
    {.broken = true,                                                                               \
     .error = code,                                                                                \
     .message = text,                                                                              \
     .place_known = true,                                                                          \
     .failed = (gr_tensor *)&name##_tensor}
#define FAILED_TENSOR_OF(name)                                                                     \
    static _Alignas(GR_MEMBER_BYTES) gr_header name##_tensor = {                                   \
        .member = {.state = GR_FAILED, .ctx = &name}}
/* clang-format on */

static gr_context no_memory, half_allocator;
FAILED_TENSOR_OF(no_memory);
FAILED_TENSOR_OF(half_allocator);
FAILED_TENSOR_OF(gr_null_context);
static gr_context no_memory = STAND_IN(no_memory, GR_ERROR_MEMORY, "context: out of memory");
static gr_context half_allocator =
    STAND_IN(half_allocator, GR_ERROR_NULL, "context: the allocator's allocate or release is NULL");
gr_context gr_null_context = STAND_IN(gr_null_context, GR_ERROR_NULL, "operand 0 is NULL");

gr_context *gr_context_new(const gr_context_options *options)
{
    const gr_allocator *allocator = gr_allocator_of(options);
    if (!allocator->allocate || !allocator->release)
        return &half_allocator;
    whole_context *whole = allocator->allocate(allocator->state, sizeof *whole, WHOLE_ALIGNMENT);
    if (!whole)
        return &no_memory;
    gr_context *ctx = &whole->context;
    whole->failed = (gr_header){.member = {.state = GR_FAILED, .ctx = ctx}};
    ctx->failed = (gr_tensor *)&whole->failed;
    gr_context_begin(ctx, (int64_t)sizeof *whole, options);
    return ctx;
}

gr_status gr_context_free(gr_context *ctx)
{
    if (!ctx)
        return GR_ERROR_NULL;
    const gr_status status = gr_finish(ctx);
    const gr_allocator allocator = ctx->allocator;
    if (!allocator.release) /* this is a stand-in */
        return status;
    gr_context_end(ctx);
    allocator.release(allocator.state, ctx, sizeof(whole_context));
    return status;
}

bool gr_context_usable(gr_context *ctx, gr_tensor **failed)
{
    ctx = ctx ? ctx : &gr_null_context;
    *failed = ctx->failed;
    return !ctx->broken;
}

gr_tensor *gr_here(gr_tensor *result, const char *file, int line)
{
    if (!result)
        return gr_null_context.failed;
    if (gr_state(result) == GR_FAILED)
        gr_finish_at(gr_ctx(result), file, line);
    return result;
}
