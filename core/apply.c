/* apply.c - the one way of every op: check the operands, make the result, run forward, record.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <string.h>

gr_context *gr_operands_context(const char *op, int count, gr_tensor *const *in, gr_tensor **failed)
{
    /* A context to speak in: the first operand's that is there. */
    gr_context *ctx = NULL;
    for (int i = 0; i < count && !ctx; i++)
        ctx = in[i] && gr_usable(op, in[i], i, failed) ? in[i]->ctx : NULL;
    for (int i = 0; i < count; i++) {
        if (!in[i])
            continue;
        if (!gr_usable(op, in[i], i, failed)) {
            /* What came of NULL, and a header that was written over, name no context: another
               operand does. */
            if (*failed == &gr_null_context.failed && ctx)
                *failed = in[i] == *failed
                              ? gr_fail_tensor(ctx, GR_ERROR_NULL, op,
                                               "operand %d is the result of an op on NULL", i)
                              : gr_fail_tensor(ctx, GR_ERROR_SCOPE, op,
                                               "operand %d belongs to a scope that has ended", i);
            return NULL;
        }
        if (in[i]->ctx != ctx) {
            *failed = gr_fail_tensor(ctx, GR_ERROR_CONTEXT, op,
                                     "operands 0 and %d belong to two contexts", i);
            gr_fail(in[i]->ctx, GR_ERROR_CONTEXT, op, "operands 0 and %d belong to two contexts",
                    i);
            return NULL;
        }
    }
    if (!ctx)
        *failed = &gr_null_context.failed;
    return ctx;
}

/* ---- Shape and dtype of float operands ------------------------------------------------------- */

/* The operands' common dtype; a gr_scalar has none of its own beside one that has. */
gr_status gr_common_dtype(const gr_call *call, gr_dtype *dtype)
{
    const gr_tensor *chosen = NULL;
    for (int i = 0; i < call->count; i++) {
        const gr_tensor *x = call->in[i];
        if (!x)
            continue;
        if (!gr_dtype_is_float(x->dtype))
            return gr_fail(call->ctx, GR_ERROR_DTYPE, call->op->name,
                           "operand %d is %s, not a float", i, gr_dtype_name(x->dtype));
        if (!chosen || (chosen->weak && !x->weak))
            chosen = x;
        else if (chosen->dtype != x->dtype && !x->weak)
            return gr_fail(call->ctx, GR_ERROR_DTYPE, call->op->name,
                           "dtypes %s %s and %s %s differ (gr_cast converts)",
                           gr_dtype_name(chosen->dtype), gr_shape_text(chosen).text,
                           gr_dtype_name(x->dtype), gr_shape_text(x).text);
    }
    *dtype = chosen->dtype;
    return GR_OK;
}

static gr_status raise_broadcast(const gr_call *call, const gr_dims *a, const gr_dims *b, int axis)
{
    const int count = a->count > b->count ? a->count : b->count;
    const int64_t left = a->at[axis - (count - a->count)];
    const int64_t right = b->at[axis - (count - b->count)];
    return gr_fail(call->ctx, GR_ERROR_BROADCAST, call->op->name,
                   "shapes %s and %s do not broadcast: dimension %d is %lld and %lld",
                   gr_dims_text(a).text, gr_dims_text(b).text, axis, (long long)left,
                   (long long)right);
}

gr_status gr_broadcast_dims(const gr_call *call, gr_dims *shape)
{
    bool first = true;
    for (int i = 0; i < call->count; i++) {
        if (!call->in[i])
            continue;
        const gr_dims other = gr_shape_of(call->in[i]);
        int axis;
        if (first)
            *shape = other;
        else if (!gr_broadcast(shape, &other, &axis))
            return raise_broadcast(call, shape, &other, axis);
        first = false;
    }
    return GR_OK;
}

gr_status gr_broadcast_shape(const gr_call *call, gr_dtype *dtype, gr_dims *shape)
{
    const gr_status status = gr_common_dtype(call, dtype);
    return status != GR_OK ? status : gr_broadcast_dims(call, shape);
}

/* ---- Forward --------------------------------------------------------------------------------- */

/* Of the result; a comparison's is that of its operands, gr_scalar's aside. */
static int kernel_type(const gr_call *call)
{
    if (call->out->dtype != GR_BOOL)
        return gr_ktype(call->out->dtype);
    bool narrow = false, wide = false;
    for (int i = 0; i < call->count; i++) {
        const gr_tensor *x = call->in[i];
        narrow = narrow || (!x->weak && gr_ktype(x->dtype) == GR_K32);
        wide = wide || (!x->weak && gr_ktype(x->dtype) == GR_K64);
    }
    return narrow && !wide ? GR_K32 : GR_K64;
}

gr_status gr_elementwise_forward(const gr_call *call)
{
    const gr_row *row = (const gr_row *)(const void *)call->op;
    gr_map map = {
        .ctx = call->ctx,
        .ktype = kernel_type(call),
        .shape = gr_shape_of(call->out),
        .inputs = call->count,
        .outputs = 1,
        .out = {call->out},
        .args = call->args,
    };
    for (int i = 0; i < call->count; i++)
        map.in[i] = call->in[i];
    map.kernel = call->ctx->kernels->map[row->kernel][map.ktype];
    return gr_map_run(&map) < 0 ? GR_ERROR_MEMORY : GR_OK;
}

/* An op of the user's sees contiguous operands of the result's shape and dtype; false on an
   error. */
static bool flatten_operands(gr_call *call)
{
    const gr_dims shape = gr_shape_of(call->out);
    for (int i = 0; i < call->count; i++) {
        gr_tensor *x = call->in[i];
        const gr_dims own = gr_shape_of(x);
        if (!x ||
            (x->dtype == call->out->dtype && gr_is_contiguous(x) && gr_same_dims(&own, &shape)))
            continue;
        if (!gr_broadcasts_to(x, &shape)) {
            gr_fail(call->ctx, GR_ERROR_BROADCAST, call->op->name,
                    "operand %d of shape %s does not broadcast to the result's, %s (GR_OP_STRIDED "
                    "takes any)",
                    i, gr_dims_text(&own).text, gr_dims_text(&shape).text);
            return false;
        }
        gr_tensor *flat = gr_tensor_in(call->ctx->scope, call->op->name, call->out->dtype, &shape);
        if (!flat)
            return false;
        gr_reader reader;
        gr_reader_begin(&reader, x, &shape);
        gr_reader_read(&reader, 0, gr_numel(flat), flat->dtype, flat->data);
        call->in[i] = flat;
    }
    return true;
}

/* ---- Apply ----------------------------------------------------------------------------------- */

static gr_status shape_of_call(const gr_call *call, gr_dtype *dtype, gr_dims *shape)
{
    if (call->op->shape)
        return call->op->shape(call, dtype, shape);
    for (int i = 0; i < call->count; i++)
        if (!call->in[i])
            return gr_fail(call->ctx, GR_ERROR_NULL, call->op->name, "operand %d is NULL", i);
    return gr_broadcast_shape(call, dtype, shape);
}

static gr_status check_op(gr_context *ctx, const gr_op *op, int count)
{
    if (!op->forward)
        return gr_fail(ctx, GR_ERROR_NULL, op->name, "the op has no forward");
    if (count < 1 || count > op->arity || op->arity > GR_MAX_ARITY)
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op->name, "%d operands; it takes 1 to %d", count,
                       op->arity);
    return GR_OK;
}

gr_tensor *gr_apply_with(const gr_op *op, int count, gr_tensor *const *in, const void *args)
{
    gr_tensor *failed = &gr_null_context.failed;
    if (!op || !in || count < 1)
        return failed;
    gr_context *ctx = gr_operands_context(op->name, count, in, &failed);
    if (!ctx || check_op(ctx, op, count) != GR_OK)
        return failed;
    gr_call call = {.op = op, .ctx = ctx, .count = count, .args = args};
    memcpy(call.in, in, (size_t)count * sizeof *in);
    failed = &ctx->failed;
    ctx->doing = op->name;

    gr_dtype dtype = GR_F32;
    gr_dims shape = {0};
    if (shape_of_call(&call, &dtype, &shape) != GR_OK)
        return failed;
    call.out = gr_tensor_in(ctx->scope, op->name, dtype, &shape);
    if (!call.out)
        return failed;
    if (!(op->flags & GR_OP_STRIDED) && !flatten_operands(&call))
        return failed;
    gr_tensor *saved[GR_MAX_ARITY] = {0};
    const bool records = !(op->flags & GR_OP_NO_GRAD) && gr_records(ctx, count, in);
    call.saved = records ? saved : NULL;
    const gr_status status = op->forward(&call);
    if (status != GR_OK) {
        gr_fail(ctx, status, op->name, "failed"); /* where forward gave no reason of its own */
        return failed;
    }
    gr_entry *entry = records ? gr_record(op, count, in, call.out, args) : NULL;
    if (records && !entry)
        return failed;
    if (records)
        memcpy(entry->node.saved, saved, sizeof saved);
    return call.out;
}
