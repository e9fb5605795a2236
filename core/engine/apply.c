/* apply.c - the path that every op takes: check the operands, compute the shapes, make the results,
 * run, keep the entry.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <string.h>

/* The limit of an op's results, visible and hidden together. */
enum { MOST_RESULTS = 16 };

static int visible_results(const gr_op *op) { return op->results ? op->results : 1; }

/* ---- Shape and dtype of float operands ------------------------------------------------------- */

gr_status gr_need_operands(const gr_call *call, int count)
{
    for (int i = 0; i < count; i++)
        if (i >= call->count || !call->in[i])
            return gr_fail(call->ctx, GR_ERROR_NULL, call->op->name, "operand %d is NULL", i);
    return GR_OK;
}

/* Finds the operands' common dtype. A gr_scalar adapts to operands that have a dtype of their
   own. */
gr_status gr_common_dtype(const gr_call *call, gr_dtype *dtype)
{
    const gr_tensor *chosen = NULL;
    for (int i = 0; i < call->count; i++) {
        const gr_tensor *x = call->in[i];
        if (!x)
            continue;
        if (!gr_dtype_is_float(gr_type(x)))
            return gr_fail(call->ctx, GR_ERROR_DTYPE, call->op->name,
                           "operand %d is %s, not a float", i, gr_dtype_name(gr_type(x)));
        if (!chosen || (gr_weak(chosen) && !gr_weak(x)))
            chosen = x;
        else if (gr_type(chosen) != gr_type(x) && !gr_weak(x))
            return gr_fail(call->ctx, GR_ERROR_DTYPE, call->op->name,
                           "dtypes %s %s and %s %s differ (gr_cast converts)",
                           gr_dtype_name(gr_type(chosen)), gr_shape_text(chosen).text,
                           gr_dtype_name(gr_type(x)), gr_shape_text(x).text);
    }
    if (!chosen)
        return gr_fail(call->ctx, GR_ERROR_NULL, call->op->name, "there is no operand");
    *dtype = gr_type(chosen);
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
    const gr_tensor *first = NULL;
    for (int i = 0; i < call->count; i++) {
        const gr_tensor *x = call->in[i];
        if (!x || (first && gr_same_shape(first, x)))
            continue;
        if (first) {
            const gr_dims other = gr_shape_of(x);
            int axis;
            if (!gr_broadcast(shape, &other, &axis))
                return raise_broadcast(call, shape, &other, axis);
            continue;
        }
        first = x;
        shape->count = gr_axes_of(x);
        for (int axis = 0; axis < shape->count; axis++)
            shape->at[axis] = gr_sizes(x)[axis];
    }
    return GR_OK;
}

gr_status gr_broadcast_form(const gr_call *call, gr_form *results)
{
    const gr_status status = gr_common_dtype(call, &results->dtype);
    return status != GR_OK ? status : gr_broadcast_dims(call, &results->shape);
}

/* Computes the forms of the results. If the op fails but raises no error, raises one. */
static gr_status shape_results(const gr_call *call, gr_form *forms)
{
    gr_status status = GR_OK;
    if (call->op->kind == GR_VIEW)
        status = gr_need_operands(call, 1);
    if (status == GR_OK && call->op->shape) {
        status = call->op->shape(call, forms);
    } else if (status == GR_OK) {
        status = gr_need_operands(call, call->count);
        if (status == GR_OK)
            status = gr_broadcast_form(call, forms);
        for (int k = 1; k < visible_results(call->op); k++)
            forms[k] = forms[0];
    }
    return status == GR_OK ? GR_OK : gr_fail(call->ctx, status, call->op->name, "failed");
}

/* ---- Results --------------------------------------------------------------------------------- */

/* If all operands are scalars that adapt, then the result adapts as well. */
static bool all_weak(const gr_call *call)
{
    bool weak = call->count > 0;
    for (int i = 0; i < call->count; i++)
        weak = weak && (!call->in[i] || gr_weak(call->in[i]));
    return weak;
}

static gr_tensor *make_result(const gr_call *call, const gr_form *form)
{
    gr_context *ctx = call->ctx;
    if (call->op->kind == GR_VIEW)
        return gr_restrided(ctx->scope, call->in[0], &form->shape, &form->strides, form->offset);
    return gr_tensor_in(ctx->scope, call->op->name, form->dtype, &form->shape);
}

/* Frees the results of a call that fails. Nobody has seen them, so the next tensors get the same
   handles. However many calls fail, no handle of a dead tensor becomes valid again. */
static void free_results(gr_tensor **outs, int count)
{
    for (int k = 0; k < count; k++)
        gr_tensor_unmake(outs[k]);
}

/* Makes the results. After an error it returns false and frees those that it has made. */
static bool make_results(const gr_call *call, const gr_form *forms, int count, gr_tensor **outs)
{
    const bool weak = all_weak(call);
    for (int k = 0; k < count; k++) {
        outs[k] = forms[k].absent ? NULL : make_result(call, &forms[k]);
        if (!outs[k] && !forms[k].absent) {
            free_results(outs, k);
            return false;
        }
        if (outs[k])
            gr_set_weak(outs[k], weak && gr_type(outs[k]) == GR_F64);
    }
    return true;
}

/* ---- Run ------------------------------------------------------------------------------------- */

/* An op without GR_OP_STRIDED gets contiguous operands of the result's shape and dtype. Copies are
   made in the innermost scope if they are needed. */
static gr_status flatten_operands(const gr_call *call, gr_tensor **flat)
{
    const gr_dims shape = gr_shape_of(call->out);
    const gr_dtype dtype = gr_type(call->out);
    for (int i = 0; i < call->count; i++) {
        gr_tensor *x = flat[i] = call->in[i];
        if (!x || (gr_type(x) == dtype && gr_is_contiguous(x) && gr_same_shape(x, call->out)))
            continue;
        if (!gr_broadcasts_to(x, &shape))
            return gr_fail(call->ctx, GR_ERROR_BROADCAST, call->op->name,
                           "operand %d of shape %s does not broadcast to the result's, %s "
                           "(GR_OP_STRIDED takes any)",
                           i, gr_shape_text(x).text, gr_dims_text(&shape).text);
        flat[i] = gr_tensor_in(call->ctx->scope, call->op->name, dtype, &shape);
        if (!flat[i])
            return GR_ERROR_MEMORY;
        gr_copy_elements(x, &shape, dtype, gr_bytes(flat[i]));
    }
    return GR_OK;
}

static gr_status run_with_scratch(gr_call *call)
{
    const int64_t bytes = call->op->scratch ? call->op->scratch(call) : 0;
    if (bytes <= 0)
        return call->op->run(call);
    gr_buffer *scratch = gr_buffer_new(call->ctx, bytes);
    if (!scratch)
        return GR_ERROR_MEMORY;
    call->scratch = scratch->bytes;
    const gr_status status = call->op->run(call);
    gr_buffer_drop(call->ctx, scratch);
    return status;
}

static gr_status run_flattened(gr_call *call)
{
    gr_tensor *const *in = call->in;
    gr_scope *scope = gr_scope_open(call->ctx);
    gr_tensor **flat = scope ? gr_arena_cut(call->ctx, call->count * (int64_t)sizeof *flat) : NULL;
    gr_status status = flat ? flatten_operands(call, flat) : GR_ERROR_MEMORY;
    call->in = flat;
    if (status == GR_OK)
        status = run_with_scratch(call);
    call->in = in;
    gr_scope_close(scope);
    return status;
}

/* Fills the results. If the op fails but raises no error, raises one. */
static gr_status run_call(gr_call *call)
{
    if (!call->op->run) /* a view or a feed */
        return GR_OK;
    const bool flat = !(call->op->flags & (GR_OP_STRIDED | GR_OP_IN_PLACE)) && call->count > 0;
    const gr_float_mode host = gr_float_mode_begin();
    const gr_status status = flat ? run_flattened(call) : run_with_scratch(call);
    gr_float_mode_end(host);
    return status == GR_OK ? GR_OK : gr_fail(call->ctx, status, call->op->name, "failed");
}

/* ---- Entries --------------------------------------------------------------------------------- */

bool gr_records(const gr_context *ctx, int count, gr_tensor *const *in)
{
    bool needed = false;
    for (int i = 0; i < count; i++)
        needed = needed || (in[i] && gr_wants_grad(in[i]));
    return needed && ctx->program.no_grad == 0;
}

static int64_t version_of(const gr_tensor *x) { return x ? gr_buffer_of(x)->version : 0; }

/* Returns an entry with room after it for its lists and attributes. NULL after MEMORY. */
static gr_entry *new_entry(gr_context *ctx, int in, int outs, int visible, int64_t attributes)
{
    const int64_t pointer = (int64_t)sizeof(gr_tensor *), version = (int64_t)sizeof(int64_t);
    const int64_t lists = (in + outs + visible) * pointer + (in + outs) * version;
    const int64_t flags = (in + 15) & ~(int64_t)15;
    const int64_t head = ((int64_t)sizeof(gr_entry) + lists + 15) & ~(int64_t)15;
    char *at = gr_arena_cut(ctx, head + flags + attributes);
    if (!at)
        return NULL;
    gr_entry *entry = (gr_entry *)(void *)at;
    entry->in = (gr_tensor **)(void *)(entry + 1);
    entry->out = entry->in + in;
    entry->g = entry->out + outs;
    entry->versions = (int64_t *)(void *)(entry->g + visible);
    entry->wanted = (bool *)(at + head);
    entry->node.attributes = attributes ? at + head + flags : NULL;
    entry->outs = outs;
    entry->visible = visible;
    return entry;
}

/* Keeps a call as the program's youngest entry. */
static gr_entry *keep(const gr_call *call, int outs)
{
    gr_context *ctx = call->ctx;
    const gr_op *op = call->op;
    const int64_t size = call->attributes ? (int64_t)op->attributes_size : 0;
    const int visible = op->flags & GR_OP_IN_PLACE ? outs : visible_results(op);
    gr_entry *entry = new_entry(ctx, call->count, outs, visible, size);
    if (!entry)
        return NULL;
    void *attributes = (void *)(uintptr_t)entry->node.attributes;
    if (size)
        memcpy(attributes, call->attributes, (size_t)size);
    if (call->count)
        memcpy(entry->in, call->in, (size_t)call->count * sizeof *call->in);
    memcpy(entry->out, call->outs, (size_t)outs * sizeof *call->outs);
    for (int i = 0; i < call->count; i++)
        entry->versions[i] = version_of(entry->in[i]);
    for (int k = 0; k < outs; k++)
        entry->versions[call->count + k] = version_of(entry->out[k]);
    entry->node = (gr_node){.op = op,
                            .ctx = ctx,
                            .count = call->count,
                            .in = entry->in,
                            .out = entry->out[0],
                            .outs = entry->out,
                            .attributes = attributes,
                            .wanted = entry->wanted,
                            .gs = entry->g};
    entry->serial = ctx->program.serial++;
    entry->previous = ctx->program.last;
    ctx->program.last = entry;
    return entry;
}

/* From here on, gradients of the visible results flow through the entry. */
static void record(gr_entry *entry)
{
    for (int k = 0; k < entry->visible; k++) {
        gr_history_of(entry->out[k])->entry = entry;
        gr_set_requires_grad(entry->out[k]);
    }
}

/* ---- Apply ----------------------------------------------------------------------------------- */

static gr_status check_op(gr_context *ctx, const gr_op *op, int count, gr_tensor *const *in)
{
    if (!op || !op->name)
        return gr_fail(ctx, GR_ERROR_NULL, "apply", "the op%s is NULL", op ? "'s name" : "");
    const bool needs_run = op->kind != GR_VIEW && op->kind != GR_FEED;
    const int results = visible_results(op);
    if (!op->run && needs_run)
        return gr_fail(ctx, GR_ERROR_NULL, op->name, "the op has no run");
    if (count > 0 && !in)
        return gr_fail(ctx, GR_ERROR_NULL, op->name, "the operands are NULL");
    if (count < 0 || (op->arity != GR_ANY_COUNT && count > op->arity))
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op->name, "%d operands; it takes at most %d", count,
                       op->arity);
    if (results < 0 || op->hidden < 0 || results + op->hidden > MOST_RESULTS)
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op->name,
                       "%d results and %d hidden ones; there may be %d", results, op->hidden,
                       MOST_RESULTS);
    if (op->flags & GR_OP_IN_PLACE)
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op->name, "the op works in place");
    return GR_OK;
}

static gr_status apply_call(gr_call *call, gr_tensor **outs)
{
    gr_context *ctx = call->ctx;
    const gr_op *op = call->op;
    const int visible = visible_results(op);
    const bool records = !(op->flags & GR_OP_NO_GRAD) && gr_records(ctx, call->count, call->in);
    const bool kept = records || ctx->program.keep_all;
    const int made = visible + (kept ? op->hidden : 0);
    gr_form forms[MOST_RESULTS];
    memset(forms, 0, (size_t)(visible + op->hidden) * sizeof *forms);
    memset(outs, 0, (size_t)(visible + op->hidden) * sizeof *outs);
    gr_status status = shape_results(call, forms);
    if (status == GR_OK && !make_results(call, forms, made, outs))
        status = ctx->error;
    if (status != GR_OK)
        return status;
    call->out = outs[0];
    call->outs = outs;
    status = run_call(call);
    gr_entry *entry = kept && status == GR_OK ? keep(call, made) : NULL;
    if (status != GR_OK || (kept && !entry)) {
        free_results(outs, made);
        return ctx->error;
    }
    if (records)
        record(entry);
    return GR_OK;
}

gr_status gr_apply_op(gr_context *ctx, const gr_op *op, int count, gr_tensor *const *in,
                      const void *attributes, gr_tensor **results)
{
    gr_tensor *outs[MOST_RESULTS];
    gr_call call = {.op = op, .ctx = ctx, .count = count, .in = in, .attributes = attributes};
    ctx->doing = op->name;
    const gr_status status = apply_call(&call, outs);
    for (int k = 0; k < visible_results(op); k++)
        results[k] = status == GR_OK ? outs[k] : ctx->failed;
    return status;
}

gr_tensor *gr_apply_in(gr_context *ctx, const gr_op *op, int count, gr_tensor *const *in,
                       const void *attributes)
{
    gr_tensor *results[MOST_RESULTS];
    gr_apply_op(ctx, op, count, in, attributes, results);
    return results[0];
}

gr_status gr_apply_in_place(const gr_op *op, int count, gr_tensor *const *in,
                            const void *attributes, const char *file, int line)
{
    const int results = visible_results(op);
    gr_context *ctx = gr_ctx(in[0]);
    gr_call call = {.op = op,
                    .ctx = ctx,
                    .count = count,
                    .in = in,
                    .out = in[0],
                    .outs = in,
                    .attributes = attributes};
    ctx->doing = op->name;
    if (ctx->program.keep_all && !keep(&call, results))
        return ctx->error;
    const gr_status status = run_call(&call);
    for (int k = 0; k < results; k++)
        gr_wrote(in[k], op->name, file, line);
    return status;
}

/* ---- Public ---------------------------------------------------------------------------------- */

/* True if all operands are missing. Without operands it is false. */
static bool all_missing(int count, gr_tensor *const *in)
{
    bool missing = in && count > 0;
    for (int i = 0; missing && i < count; i++)
        missing = !in[i];
    return missing;
}

/* Returns the context of a call that passes the first checks: ctx, or that of the operands if ctx
   is NULL. After an error it returns NULL and sets *failed to the tensor to return. */
static gr_context *check_call(gr_context *ctx, const gr_op *op, int count, gr_tensor *const *in,
                              gr_tensor **failed)
{
    const char *name = op && op->name ? op->name : "apply";
    ctx = gr_call_context(ctx, name, in ? count : 0, in, failed);
    if (!ctx)
        return NULL;
    *failed = ctx->failed;
    gr_status status = check_op(ctx, op, count, in);
    if (status == GR_OK && all_missing(count, in))
        status = gr_fail(ctx, GR_ERROR_NULL, op->name, "operand 0 is NULL");
    return status == GR_OK ? ctx : NULL;
}

static gr_status apply_results(gr_context *ctx, const gr_op *op, int count, gr_tensor *const *in,
                               const void *attributes, gr_tensor **results, gr_tensor **failed)
{
    ctx = check_call(ctx, op, count, in, failed);
    if (ctx && results)
        return gr_apply_op(ctx, op, count, in, attributes, results);
    if (ctx)
        gr_fail(ctx, GR_ERROR_NULL, op->name, "the place of the results is NULL");
    for (int k = 0; op && results && k < visible_results(op); k++)
        results[k] = *failed;
    return gr_ctx(*failed)->error;
}

gr_status gr_apply_results(gr_context *ctx, const gr_op *op, int count, gr_tensor *const *in,
                           const void *attributes, gr_tensor **results)
{
    return gr_apply_results_here(ctx, op, count, in, attributes, results, NULL, 0);
}

gr_status gr_apply_results_here(gr_context *ctx, const gr_op *op, int count, gr_tensor *const *in,
                                const void *attributes, gr_tensor **results, const char *file,
                                int line)
{
    gr_tensor *failed;
    const gr_status status = apply_results(ctx, op, count, in, attributes, results, &failed);
    if (status != GR_OK)
        gr_finish_at(gr_ctx(failed), file, line);
    return status;
}

gr_tensor *gr_apply_with(const gr_op *op, int count, gr_tensor *const *in, const void *attributes)
{
    gr_tensor *failed;
    gr_context *ctx = check_call(NULL, op, count, in, &failed);
    return ctx ? gr_apply_in(ctx, op, count, in, attributes) : failed;
}

/* ---- Again ----------------------------------------------------------------------------------- */

gr_status gr_rerun(gr_entry *entry)
{
    const gr_node *node = &entry->node;
    gr_call call = {.op = node->op,
                    .ctx = node->ctx,
                    .count = node->count,
                    .in = node->in,
                    .out = node->out,
                    .outs = node->outs,
                    .attributes = node->attributes};
    return run_call(&call);
}
