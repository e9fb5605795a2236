/* create.c - new tensors from a shape and values, and elements from the user's memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <string.h>

/* ---- Equal elements -------------------------------------------------------------------------- */

typedef struct creation {
    int64_t dtype;
    gr_dims shape;
    double value;
} creation;

static gr_status creation_shape(const gr_call *call, gr_form *results)
{
    const creation *c = call->attributes;
    if (!gr_check_shape(call->ctx, call->op->name, (gr_dtype)c->dtype, &c->shape))
        return call->ctx->error;
    *results = (gr_form){.dtype = (gr_dtype)c->dtype, .shape = c->shape};
    return GR_OK;
}

static gr_status fill_run(const gr_call *call)
{
    const creation *c = call->attributes;
    const int64_t size = gr_dtype_size((gr_dtype)c->dtype), count = gr_count(call->out);
    char *to = gr_bytes(call->out), element[8];
    static const char zeros[8];
    gr_convert(GR_F64, &c->value, (gr_dtype)c->dtype, element, 1);
    if (memcmp(element, zeros, (size_t)size) == 0)
        memset(to, 0, (size_t)(count * size));
    else
        for (int64_t i = 0; i < count; i++)
            memcpy(to + i * size, element, (size_t)size);
    return GR_OK;
}

/* full(shape, value): all elements are the value, rounded to the dtype. zeros, ones and scalar are
   the same op under the names of their calls. */
#define FILL_OP(word)                                                                              \
    static const gr_op word##_op = {.name = #word,                                                 \
                                    .kind = GR_CREATION,                                           \
                                    .flags = GR_OP_NO_GRAD,                                        \
                                    .attributes_size = sizeof(creation),                           \
                                    .shape = creation_shape,                                       \
                                    .run = fill_run}
FILL_OP(full);
FILL_OP(zeros);
FILL_OP(ones);
FILL_OP(scalar);
FILL_OP(zeros_like);
FILL_OP(ones_like);
FILL_OP(scalar_like);

static gr_tensor *create(gr_context *ctx, const gr_op *op, const creation *c)
{
    gr_tensor *failed;
    return gr_context_usable(ctx, &failed) ? gr_apply_in(ctx, op, 0, NULL, c) : failed;
}

gr_tensor *gr_filled(gr_context *ctx, gr_dtype dtype, const gr_dims *shape, double value)
{
    return create(ctx, &full_op, &(creation){dtype, *shape, value});
}

gr_tensor *gr_zeros(gr_context *ctx, gr_dtype dtype, gr_dims shape)
{
    return create(ctx, &zeros_op, &(creation){dtype, shape, 0});
}

gr_tensor *gr_ones(gr_context *ctx, gr_dtype dtype, gr_dims shape)
{
    return create(ctx, &ones_op, &(creation){dtype, shape, 1});
}

gr_tensor *gr_full(gr_context *ctx, gr_dtype dtype, gr_dims shape, double value)
{
    return create(ctx, &full_op, &(creation){dtype, shape, value});
}

gr_tensor *gr_scalar(gr_context *ctx, double value)
{
    const gr_dims none = {0};
    gr_tensor *x = create(ctx, &scalar_op, &(creation){GR_F64, none, value});
    if (!gr_failed(x))
        gr_set_weak(x, true);
    return x;
}

/* Makes a constant of x's context and dtype. */
static gr_tensor *create_like(const gr_op *op, gr_tensor *x, const gr_dims *shape, double value)
{
    gr_tensor *failed;
    if (!gr_usable(op->name, x, 0, &failed))
        return failed;
    return create(gr_ctx(x), op, &(creation){gr_type(x), *shape, value});
}

gr_tensor *gr_scalar_like(gr_tensor *x, double value)
{
    const gr_dims none = {0};
    return create_like(&scalar_like_op, x, &none, value);
}

gr_tensor *gr_zeros_like(gr_tensor *x)
{
    const gr_dims shape = gr_shape_of(x);
    return create_like(&zeros_like_op, x, &shape, 0);
}

gr_tensor *gr_ones_like(gr_tensor *x)
{
    const gr_dims shape = gr_shape_of(x);
    return create_like(&ones_like_op, x, &shape, 1);
}

/* ---- Counting -------------------------------------------------------------------------------- */

static gr_status arange_run(const gr_call *call)
{
    const gr_dtype dtype = gr_type(call->out);
    char *to = gr_bytes(call->out);
    for (int64_t i = 0; i < gr_count(call->out); i++)
        gr_convert(GR_I64, &i, dtype, to + i * gr_dtype_size(dtype), 1);
    return GR_OK;
}

/* arange(count): 0, 1, ..., count - 1 */
static const gr_op arange_op = {.name = "arange",
                                .kind = GR_CREATION,
                                .flags = GR_OP_NO_GRAD,
                                .attributes_size = sizeof(creation),
                                .shape = creation_shape,
                                .run = arange_run};
gr_tensor *gr_arange(gr_context *ctx, gr_dtype dtype, int64_t count)
{
    gr_tensor *failed;
    if (!gr_context_usable(ctx, &failed))
        return failed;
    if (count < 0)
        return gr_fail_tensor(ctx, GR_ERROR_ARGUMENT, "arange", "count %lld is negative",
                              (long long)count);
    return create(ctx, &arange_op, &(creation){dtype, {.count = 1, .at = {count}}, 0});
}

/* ---- From outside ---------------------------------------------------------------------------- */

/* from_data(data): copies elements from the user's memory */
static const gr_op from_data_op = {.name = "from_data",
                                   .kind = GR_FEED,
                                   .flags = GR_OP_NO_GRAD,
                                   .attributes_size = sizeof(creation),
                                   .shape = creation_shape};
gr_tensor *gr_from_data(gr_context *ctx, gr_dtype dtype, gr_dims shape, const void *data)
{
    gr_tensor *x = create(ctx, &from_data_op, &(creation){dtype, shape, 0});
    if (gr_failed(x) || gr_count(x) == 0)
        return x;
    if (!data) {
        gr_tensor_free(x);
        return gr_fail_tensor(ctx, GR_ERROR_NULL, "from_data", "data for shape %s is NULL",
                              gr_dims_text(&shape).text);
    }
    memcpy(gr_bytes(x), data, (size_t)(gr_count(x) * gr_dtype_size(dtype)));
    return x;
}

/* write(x): replaces x's elements by elements from the user's memory */
static const gr_op write_op = {
    .name = "write", .kind = GR_FEED, .arity = 1, .flags = GR_OP_IN_PLACE};

static gr_status check_write(const char *op, const gr_tensor *x)
{
    if (gr_history_of(x)->entry)
        return gr_fail(gr_ctx(x), GR_ERROR_GRADIENT, op,
                       "the result of a recorded op cannot be written");
    if (!gr_is_contiguous(x))
        return gr_fail(gr_ctx(x), GR_ERROR_SHAPE, op, "a strided view cannot be written");
    return GR_OK;
}

gr_status gr_write(gr_tensor *x, gr_dtype dtype, int64_t count, const void *data)
{
    return gr_write_here(x, dtype, count, data, NULL, 0);
}

gr_status gr_write_here(gr_tensor *x, gr_dtype dtype, int64_t count, const void *data,
                        const char *file, int line)
{
    gr_status status = gr_check_copy("write", x, dtype, count, data);
    if (status == GR_OK)
        status = check_write("write", x);
    if (status != GR_OK) {
        gr_finish_at(gr_context_of(x), file, line);
        return status;
    }
    gr_convert(dtype, data, gr_type(x), gr_bytes(x), count);
    return gr_apply_in_place(&write_op, 1, &x, NULL, file, line);
}

void *gr_data_mutable(gr_tensor *x)
{
    if (gr_failed(x))
        return NULL;
    gr_wrote(x, "gr_data_mutable", NULL, 0);
    return gr_bytes(x);
}
