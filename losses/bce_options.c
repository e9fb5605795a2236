/* bce_options.c - the parts that both binary cross entropies share: options, reduction, one fused
 * pass.
 *
 * The fused op is one pass of the kernel over x, y, w, p and mask. The last three may be missing.
 * Its result is the loss. Its hidden results are the gradients that a sweep may want, without the
 * reduction's factor. The fused rule multiplies them by this factor. If the sweep is recorded, or
 * if the denominator has a gradient too, the rule is gr_bce_compose: the same loss in public ops.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/losses.h"
#include <math.h>
#include <string.h>

/* The operands and the results. The gradient of operand i is result AHEAD + i. The outputs of the
   kernel have the same numbers as the results. */
enum { X, Y, W, P, MASK, OPERANDS };
enum { LOSS, AHEAD, DENOMINATOR = AHEAD + P + 1 };

gr_tensor *gr_loss_one_minus(gr_tensor *y) { return gr_sub(gr_scalar_like(y, 1), y); }
gr_tensor *gr_loss_times(gr_tensor *p, gr_tensor *a) { return p ? gr_mul(p, a) : a; }
gr_tensor *gr_loss_blend(gr_tensor *t, gr_tensor *a, gr_tensor *b)
{
    return gr_add(gr_mul(t, a), gr_mul(gr_loss_one_minus(t), b));
}

/* ---- Checks ---------------------------------------------------------------------------------- */

static gr_status check_numbers(const char *op, gr_context *ctx, const gr_bce_args *args)
{
    if (!gr_check_defaults(ctx, op, args->from_defaults, "bce"))
        return GR_ERROR_ARGUMENT;
    if (!(args->label_smoothing >= 0 && args->label_smoothing <= 1))
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op, "label_smoothing %g lies outside [0,1]",
                       args->label_smoothing);
    if (!(args->gamma >= 0 && args->gamma < INFINITY))
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op, "gamma %g is not a number from 0 up",
                       args->gamma);
    if (args->alpha != GR_NO_ALPHA && !(args->alpha >= 0 && args->alpha <= 1))
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op, "alpha %g lies outside [0,1]", args->alpha);
    if ((int)args->denominator < GR_ALL || args->denominator > GR_WEIGHTS)
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op, "unknown denominator %d",
                       (int)args->denominator);
    return gr_check_reduction(ctx, op, args->reduction);
}

static gr_status check_input(const char *op, gr_context *ctx, gr_tensor *const *in)
{
    if (!in[X] || !in[Y])
        return gr_fail(ctx, GR_ERROR_NULL, op, "%s is NULL", in[X] ? "target" : "input");
    if (!gr_dtype_is_float(gr_type(in[X])))
        return gr_fail(ctx, GR_ERROR_DTYPE, op, "the input is %s, not a float",
                       gr_dtype_name(gr_type(in[X])));
    return GR_OK;
}

/* Refuses a float whose dtype differs from x's. A gr_scalar adapts. */
static gr_status check_dtype(const char *op, const char *name, const gr_tensor *x,
                             const gr_tensor *operand)
{
    const gr_dtype dtype = gr_type(operand);
    if (!gr_dtype_is_float(dtype) || dtype == gr_type(x) || gr_weak(operand))
        return GR_OK;
    return gr_fail(gr_ctx(x), GR_ERROR_DTYPE, op, "%s is %s, the input %s (gr_cast converts)", name,
                   gr_dtype_name(dtype), gr_dtype_name(gr_type(x)));
}

static gr_status check_target(const char *op, const gr_tensor *x, const gr_tensor *y)
{
    if (!gr_same_shape(x, y))
        return gr_fail(gr_ctx(x), GR_ERROR_SHAPE, op, "target shape %s must be the input's, %s",
                       gr_shape_text(y).text, gr_shape_text(x).text);
    return check_dtype(op, "target", x, y);
}

static gr_status check_option(const char *op, const char *name, const gr_tensor *x,
                              const gr_tensor *option)
{
    const gr_dims shape = gr_shape_of(x);
    if (!option)
        return GR_OK;
    if (!gr_broadcasts_to(option, &shape) || gr_axes_of(option) > gr_axes_of(x))
        return gr_fail(gr_ctx(x), GR_ERROR_BROADCAST, op,
                       "%s shape %s does not broadcast to the input's, %s", name,
                       gr_shape_text(option).text, gr_dims_text(&shape).text);
    return check_dtype(op, name, x, option);
}

/* Reshapes pos_weight [C] to [C,1,...,1], so that C is on the requested axis. */
static gr_tensor *along_class_axis(const char *op, const gr_tensor *x, gr_tensor *p,
                                   const gr_dims *class_axis)
{
    if (!p || class_axis->count == 0)
        return p;
    const int ndim = gr_axes_of(x);
    const int axis = class_axis->count == 1 ? gr_axis_of(ndim, class_axis->at[0]) : -1;
    if (axis < 0)
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_ARGUMENT, op,
                              "class_axis %s is no axis of shape %s", gr_dims_text(class_axis).text,
                              gr_shape_text(x).text);
    const int64_t classes = gr_sizes(x)[axis];
    if (gr_axes_of(p) != 1 || gr_sizes(p)[0] != classes)
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_BROADCAST, op,
                              "pos_weight shape %s must be [%lld], axis %d of the input's, %s",
                              gr_shape_text(p).text, (long long)classes, axis,
                              gr_shape_text(x).text);
    gr_dims shape = {.count = ndim - axis, .at = {classes}};
    for (int i = 1; i < shape.count; i++)
        shape.at[i] = 1;
    return gr_reshape(p, shape);
}

/* ---- Apply ----------------------------------------------------------------------------------- */

/* Sets every byte, also padding, so that equal calls have equal attributes. */
static void set_attributes(gr_bce_attributes *a, const gr_context *ctx, gr_tensor *const *in,
                           const gr_bce_args *args)
{
    memset(a, 0, sizeof *a);
    a->kernel.label_smoothing = args->label_smoothing;
    a->kernel.gamma = args->gamma;
    a->kernel.balanced = args->alpha != GR_NO_ALPHA;
    a->kernel.alpha = args->alpha;
    a->kernel.strict_target = args->strict_target;
    a->reduction = args->reduction;
    a->denominator = args->denominator;
    for (int i = X; i <= P; i++)
        a->ahead[i] = gr_records(ctx, 1, &in[i]);
}

gr_bce_args gr_bce_defaults(void) { return (gr_bce_args){GR_BCE_DEFAULTS}; }

gr_tensor *gr_bce_apply(const gr_op *op, gr_tensor *x, const gr_bce_args *args)
{
    static const gr_bce_args none = {GR_BCE_DEFAULTS};
    const char *name = op->name;
    args = args ? args : &none;
    gr_tensor *in[OPERANDS] = {x, args->target, args->weight, args->pos_weight, args->mask};
    gr_tensor *failed;
    gr_context *ctx = gr_operands_context(name, OPERANDS, in, &failed);
    if (!ctx)
        return failed;
    if (check_input(name, ctx, in) != GR_OK)
        return ctx->failed;
    in[P] = along_class_axis(name, x, in[P], &args->class_axis);
    if (in[P] && gr_failed(in[P]))
        return in[P];
    if (check_numbers(name, ctx, args) != GR_OK || check_target(name, x, in[Y]) != GR_OK ||
        check_option(name, "weight", x, in[W]) != GR_OK ||
        check_option(name, "pos_weight", x, in[P]) != GR_OK ||
        check_option(name, "mask", x, in[MASK]) != GR_OK)
        return ctx->failed;
    gr_bce_attributes attributes;
    set_attributes(&attributes, ctx, in, args);
    return gr_apply_in(ctx, op, OPERANDS, in, &attributes);
}

/* ---- The denominator ------------------------------------------------------------------------- */

/* True if mask or weight decide the mean's denominator, and not the number of elements. */
static bool is_counted(const gr_bce_attributes *a)
{
    return a->reduction == GR_MEAN && a->denominator != GR_ALL;
}

/* Reads an operand as broadcast to the shape. A missing operand reads as ones. */
static gr_reader reader_of(const gr_tensor *operand, const gr_dims *shape)
{
    static const double one = 1;
    gr_reader reader;
    if (operand)
        gr_reader_begin(&reader, operand, shape);
    else
        gr_reader_begin_view(&reader, &one, GR_F64, 0, NULL, NULL);
    return reader;
}

typedef struct kept_sum {
    const gr_kernels *kernels;
    gr_reader mask, values;
    int64_t count;
    double *sums; /* one for each block */
} kept_sum;

static void sum_kept_block(void *state, int64_t block)
{
    const kept_sum *s = state;
    const int64_t start = block * GR_BLOCK;
    const int64_t end = start + GR_BLOCK < s->count ? start + GR_BLOCK : s->count;
    _Alignas(64) double lanes[GR_LANES] = {0}, mask[GR_CHUNK], values[GR_CHUNK];
    for (int64_t at = start; at < end; at += GR_CHUNK) {
        const int64_t count = end - at < GR_CHUNK ? end - at : GR_CHUNK;
        gr_reader_read(&s->mask, at, count, GR_F64, mask);
        gr_reader_read(&s->values, at, count, GR_F64, values);
        for (int64_t i = 0; i < count; i++)
            values[i] = mask[i] == 0 ? 0 : values[i];
        s->kernels->accumulate[GR_K64](count, values, lanes);
    }
    s->sums[block] = gr_fold_lanes(lanes);
}

/* Returns the sum of the values over the elements that the mask keeps. If values is NULL, counts
   these elements. */
static double sum_kept(const gr_call *call, const gr_tensor *values)
{
    const gr_dims shape = gr_shape_of(call->in[X]);
    const int64_t count = gr_dims_count(&shape), blocks = (count + GR_BLOCK - 1) / GR_BLOCK;
    kept_sum s = {.kernels = call->ctx->kernels,
                  .mask = reader_of(call->in[MASK], &shape),
                  .values = reader_of(values, &shape),
                  .count = count,
                  .sums = call->scratch};
    gr_parallel_for(gr_threads_for(call->ctx, count), blocks, sum_kept_block, &s);
    return gr_fold_blocks(blocks, s.sums);
}

/* Returns the denominator of the reduction. Stores it if it depends on values. */
static double denominator_of(const gr_call *call)
{
    const gr_bce_attributes *a = call->attributes;
    if (!is_counted(a))
        return a->reduction == GR_MEAN ? (double)gr_count(call->in[X]) : 1;
    const double sum = sum_kept(call, a->denominator == GR_WEIGHTS ? call->in[W] : NULL);
    if (call->outs[DENOMINATOR])
        gr_convert(GR_F64, &sum, GR_F64, gr_bytes(call->outs[DENOMINATOR]), 1);
    return sum;
}

/* ---- The fused pass -------------------------------------------------------------------------- */

gr_status gr_bce_shape(const gr_call *call, gr_form *results)
{
    const gr_bce_attributes *a = call->attributes;
    const gr_tensor *x = call->in[X];
    const gr_dims shape = gr_shape_of(x), scalar = {0};
    results[LOSS] =
        (gr_form){.dtype = gr_type(x), .shape = a->reduction == GR_NONE ? shape : scalar};
    for (int i = X; i <= P; i++)
        results[AHEAD + i] =
            (gr_form){.dtype = gr_compute_dtype(x), .shape = shape, .absent = !a->ahead[i]};
    results[DENOMINATOR] = (gr_form){.dtype = GR_F64, .shape = scalar, .absent = !is_counted(a)};
    return GR_OK;
}

int64_t gr_bce_scratch(const gr_call *call)
{
    const gr_bce_attributes *a = call->attributes;
    return a->reduction == GR_NONE ? 0 : gr_map_scratch(gr_count(call->in[X]));
}

/* Raises an error about the first element that counts and is outside [0,1]. */
static gr_status raise_outside(const gr_call *call, int operand)
{
    const gr_dims shape = gr_shape_of(call->in[X]);
    const gr_reader values = reader_of(call->in[operand], &shape);
    const gr_reader mask = reader_of(call->in[MASK], &shape);
    for (int64_t i = 0; i < gr_dims_count(&shape); i++) {
        double value, kept;
        gr_reader_read(&values, i, 1, GR_F64, &value);
        gr_reader_read(&mask, i, 1, GR_F64, &kept);
        if (kept == 0 || (value >= 0 && value <= 1))
            continue;
        const gr_dims index = gr_dims_position(&shape, i);
        return gr_fail(call->ctx, GR_ERROR_DOMAIN, call->op->name,
                       "%s at %s of shape %s is %g, outside [0,1]",
                       operand == X ? "input" : "target", gr_dims_text(&index).text,
                       gr_dims_text(&shape).text, value);
    }
    return gr_fail(call->ctx, GR_ERROR_DOMAIN, call->op->name, "an element lies outside [0,1]");
}

/* Describes the kernel over the operands. It computes the gradients that this call has results
   for. */
static gr_map map_of(const gr_call *call)
{
    const gr_bce_attributes *a = call->attributes;
    gr_map map = {.ctx = call->ctx,
                  .ktype = gr_ktype(gr_type(call->in[X])),
                  .shape = gr_shape_of(call->in[X]),
                  .inputs = OPERANDS,
                  .outputs = AHEAD + P + 1,
                  .args = &a->kernel};
    for (int i = X; i < OPERANDS; i++)
        map.in[i] = call->in[i];
    for (int i = X; i <= P; i++)
        map.out[AHEAD + i] = call->outs[AHEAD + i];
    return map;
}

gr_status gr_bce_run(const gr_bce_kind *kind, const gr_call *call)
{
    const gr_kernels *kernels = call->ctx->kernels;
    const gr_bce_attributes *a = call->attributes;
    const double denominator = denominator_of(call);
    double loss = 0;
    gr_map map = map_of(call);
    if (a->reduction == GR_NONE) {
        map.kernel = kernels->map[kind->kernel][map.ktype];
        map.out[LOSS] = call->out;
    } else {
        map.sum_kernel = kernels->bce_sum[kind->input][map.ktype];
        map.sum = &loss;
        map.scratch = call->scratch;
    }
    const int bits = gr_map_run(&map);
    if (bits)
        return raise_outside(call, bits & GR_OUTSIDE_INPUT ? X : Y);
    loss /= denominator;
    if (a->reduction != GR_NONE)
        gr_convert(GR_F64, &loss, gr_type(call->out), gr_bytes(call->out), 1);
    return GR_OK;
}

gr_status gr_bce_elements_run(gr_kernel_id kernel, int output, const gr_call *call)
{
    static const gr_bce_kernel_args none;
    const int ktype = gr_ktype(gr_type(call->out));
    gr_map map = {
        .ctx = call->ctx,
        .ktype = ktype,
        .shape = gr_shape_of(call->out),
        .inputs = OPERANDS,
        .outputs = AHEAD + P + 1,
        .in = {[X] = call->in[0], [Y] = call->in[1], [P] = call->in[2]},
        .kernel = call->ctx->kernels->map[kernel][ktype],
        .args = &none,
    };
    map.out[output] = call->out;
    gr_map_run(&map);
    return GR_OK;
}

/* ---- The fused rule -------------------------------------------------------------------------- */

/* Returns a, with `instead` in the elements that the mask drops. There the value of a does not
   matter, even if it is NaN. */
static gr_tensor *masked(gr_tensor *mask, gr_tensor *a, double instead)
{
    return mask && a ? gr_where(mask, a, gr_scalar_like(a, instead)) : a;
}

/* scaled(ahead, g, d) = ahead (g / d), rounded once, for a g of one element. d is the operand, or
   the attribute if there is no operand. */
typedef struct scaling {
    const gr_call *call;
    gr_map_kernel *kernel;
    gr_scale_kernel_args factor;
} scaling;

static void scale_block(void *state, int64_t block)
{
    const scaling *s = state;
    const gr_tensor *x = s->call->in[0];
    const int64_t start = block * GR_BLOCK, left = gr_count(x) - start;
    const int64_t at = start * gr_dtype_size(gr_type(x));
    s->kernel(left < GR_BLOCK ? left : GR_BLOCK, (void *[]){gr_bytes(s->call->out) + at},
              (const void *[]){gr_bytes(x) + at}, &s->factor);
}

static gr_status scaled_run(const gr_call *call)
{
    const int64_t count = gr_count(call->out);
    double g, divisor = *(const double *)call->attributes;
    gr_convert(gr_type(call->in[1]), gr_bytes(call->in[1]), GR_F64, &g, 1);
    if (call->in[2])
        gr_convert(gr_type(call->in[2]), gr_bytes(call->in[2]), GR_F64, &divisor, 1);
    scaling s = {
        .call = call,
        .kernel = call->ctx->kernels->map[GR_KERNEL_SCALE][gr_ktype(gr_type(call->out))],
    };
    if (divisor != 0) { /* a mean over nothing has no gradient */
        s.factor.factor = g / divisor;
        s.factor.rest = fma(-s.factor.factor, divisor, g) / divisor;
    }
    gr_parallel_for(gr_threads_for(call->ctx, count), (count + GR_BLOCK - 1) / GR_BLOCK,
                    scale_block, &s);
    return GR_OK;
}

static gr_status scaled_shape(const gr_call *call, gr_form *results)
{
    *results = (gr_form){.dtype = gr_type(call->in[0]), .shape = gr_shape_of(call->in[0])};
    return GR_OK;
}
static const gr_op scaled_op = {.name = "bce_scaled",
                                .kind = GR_OPAQUE,
                                .arity = 3,
                                .flags = GR_OP_STRIDED | GR_OP_NO_GRAD,
                                .attributes_size = sizeof(double),
                                .shape = scaled_shape,
                                .run = scaled_run};

/* Returns ahead times g and the factor of the reduction. */
static gr_tensor *scaled(const gr_node *n, gr_tensor *ahead, gr_tensor *g)
{
    const gr_bce_attributes *a = n->attributes;
    const double divisor = a->reduction == GR_MEAN ? (double)gr_count(n->in[X]) : 1;
    if (a->reduction == GR_NONE) /* in the dtype of ahead, so that a half is rounded only once */
        return gr_loss_product(gr_cast(g, gr_type(ahead)), ahead);
    gr_tensor *in[] = {ahead, g, is_counted(a) ? n->outs[DENOMINATOR] : NULL};
    return gr_apply_in(n->ctx, &scaled_op, 3, in, &divisor);
}

void gr_bce_fused_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    const gr_bce_attributes *a = n->attributes;
    if (is_counted(a) && a->denominator == GR_WEIGHTS && n->wanted[W]) {
        n->op->vjp(n, g, dx); /* the denominator also has a gradient */
        return;
    }
    for (int i = X; i <= P; i++)
        if (n->wanted[i])
            dx[i] = masked(n->in[MASK], scaled(n, n->outs[AHEAD + i], g), 0);
}

/* ---- The recorded rule ----------------------------------------------------------------------- */

/* y (1-e) + e/2 */
static gr_tensor *smooth(gr_tensor *y, double e)
{
    if (e == 0)
        return y;
    return gr_add(gr_mul(y, gr_scalar_like(y, 1 - e)), gr_scalar_like(y, e / 2));
}

/* (1 - p_t)^gamma (alpha t + (1-alpha) (1-t)) times the losses. If a loss is infinite, its power
   has reached the limit, and has no gradient. */
static gr_tensor *focus(const gr_bce_kind *kind, const gr_bce_kernel_args *options, gr_tensor *x,
                        gr_tensor *t, gr_tensor *losses)
{
    if (options->gamma != 0) {
        gr_tensor *factor = kind->factor(x, t, options->gamma);
        gr_tensor *infinite = gr_equal(losses, gr_scalar_like(losses, INFINITY));
        factor = gr_where(infinite, gr_detach(factor), factor);
        losses = gr_loss_product(factor, losses);
    }
    if (options->balanced) {
        gr_tensor *of_positive = gr_scalar_like(t, options->alpha);
        gr_tensor *of_negative = gr_scalar_like(t, 1 - options->alpha);
        losses = gr_loss_product(gr_loss_blend(t, of_positive, of_negative), losses);
    }
    return losses;
}

static gr_tensor *reduced(const gr_bce_attributes *a, gr_tensor *losses, gr_tensor *mask,
                          gr_tensor *w)
{
    if (!is_counted(a))
        return gr_reduce_losses(losses, a->reduction);
    gr_tensor *counted = a->denominator == GR_WEIGHTS && w ? w : gr_scalar_like(losses, 1);
    counted = masked(mask, gr_expand(counted, gr_shape_of(losses)), 0);
    return gr_loss_mean_of(gr_reduce_losses(losses, GR_SUM), gr_reduce_losses(counted, GR_SUM));
}

gr_tensor *gr_bce_compose(const gr_bce_kind *kind, const gr_node *n, gr_tensor *const *in)
{
    const gr_bce_attributes *a = n->attributes;
    gr_tensor *mask = in[MASK];
    /* Uses the dtype in which the kernel computes, so that a half is rounded only once, at the end.
       With a focal factor it is f64, as in the kernel: factor and loss are tiny together. */
    const gr_dtype dtype = a->kernel.gamma != 0 ? GR_F64 : gr_compute_dtype(n->in[X]);
    gr_tensor *x = masked(mask, gr_cast(in[X], dtype), kind->neutral);
    gr_tensor *y = masked(mask, gr_cast(in[Y], dtype), 0);
    gr_tensor *w = in[W] ? masked(mask, gr_cast(in[W], dtype), 0) : NULL;
    gr_tensor *p = in[P] ? masked(mask, gr_cast(in[P], dtype), 1) : NULL;
    if (a->kernel.balanced && kind->input == GR_BCE_OF_LOGITS) {
        y = gr_focal_unbounded(y, x);
        w = w ? gr_focal_unbounded(w, x) : NULL;
        p = p ? gr_focal_unbounded(p, x) : NULL;
        x = gr_focal_finite(x);
    }
    gr_tensor *t = smooth(y, a->kernel.label_smoothing);
    gr_tensor *losses = focus(kind, &a->kernel, x, t, kind->elements(x, t, p));
    losses = w ? gr_loss_product(w, losses) : losses;
    return gr_cast(reduced(a, masked(mask, losses, 0), mask, w), gr_type(n->in[X]));
}
