/* bce_options.c - what both binary cross entropies share: options, reduction, one fused pass.
 *
 * Of operands x, y, w, p, mask (the last three may be missing) the fused op's forward is one pass
 * of the kernel, which gives the loss and, for each operand that will want one, its gradient before
 * the reduction's factor. Backward then only scales what was saved. Where the backward pass is
 * recorded, or the denominator depends on w, the rule is `compose`, the same loss written with
 * public ops.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/losses.h"
#include <math.h>

enum { X, Y, W, P, MASK, OPERANDS };

static const gr_bce_kind *kind_of(const gr_op *op) { return (const gr_bce_kind *)(const void *)op; }

gr_tensor *gr_loss_one_minus(gr_tensor *y) { return gr_sub(gr_scalar_like(y, 1), y); }
gr_tensor *gr_loss_times(gr_tensor *p, gr_tensor *a) { return p ? gr_mul(p, a) : a; }

/* ---- Checks ---------------------------------------------------------------------------------- */

static gr_status check_numbers(const char *op, gr_context *ctx, const gr_bce_args *args)
{
    if (!(args->label_smoothing >= 0 && args->label_smoothing <= 1))
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op, "label_smoothing %g lies outside [0,1]",
                       args->label_smoothing);
    if (!(args->gamma >= 0 && args->gamma < INFINITY))
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op, "gamma %g is not a number from 0 up",
                       args->gamma);
    if (!(args->alpha >= 0 && args->alpha <= 1))
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op, "alpha %g lies outside [0,1]", args->alpha);
    if ((int)args->denominator < GR_ALL || args->denominator > GR_WEIGHTS)
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op, "unknown denominator %d",
                       (int)args->denominator);
    return gr_check_reduction(ctx, op, args->reduction);
}

static gr_status check_target(const char *op, const gr_tensor *x, const gr_tensor *y)
{
    const gr_dims input = gr_shape_of(x), target = gr_shape_of(y);
    if (!gr_same_dims(&input, &target))
        return gr_fail(x->ctx, GR_ERROR_SHAPE, op, "target shape %s must be the input's, %s",
                       gr_dims_text(&target).text, gr_dims_text(&input).text);
    if (gr_dtype_is_float(y->dtype) && y->dtype != x->dtype && !y->weak)
        return gr_fail(x->ctx, GR_ERROR_DTYPE, op, "target is %s, the input %s (gr_cast converts)",
                       gr_dtype_name(y->dtype), gr_dtype_name(x->dtype));
    return GR_OK;
}

static gr_status check_option(const char *op, const char *name, const gr_tensor *x,
                              const gr_tensor *option)
{
    const gr_dims shape = gr_shape_of(x);
    if (!option)
        return GR_OK;
    if (!gr_broadcasts_to(option, &shape) || option->ndim > x->ndim)
        return gr_fail(x->ctx, GR_ERROR_BROADCAST, op,
                       "%s shape %s does not broadcast to the input's, %s", name,
                       gr_shape_text(option).text, gr_dims_text(&shape).text);
    if (gr_dtype_is_float(option->dtype) && option->dtype != x->dtype && !option->weak)
        return gr_fail(x->ctx, GR_ERROR_DTYPE, op, "%s is %s, the input %s (gr_cast converts)",
                       name, gr_dtype_name(option->dtype), gr_dtype_name(x->dtype));
    return GR_OK;
}

/* pos_weight [C] as [C,1,...,1], C on the axis that is asked for. */
static gr_tensor *along_class_axis(const char *op, const gr_tensor *x, gr_tensor *p,
                                   const gr_dims *class_axis)
{
    if (!p || class_axis->count == 0)
        return p;
    const int axis = class_axis->count == 1 ? gr_axis_of(x->ndim, class_axis->at[0]) : -1;
    if (axis < 0)
        return gr_fail_tensor(x->ctx, GR_ERROR_ARGUMENT, op, "class_axis %s is no axis of shape %s",
                              gr_dims_text(class_axis).text, gr_shape_text(x).text);
    if (p->ndim != 1 || p->shape[0] != x->shape[axis])
        return gr_fail_tensor(x->ctx, GR_ERROR_BROADCAST, op,
                              "pos_weight shape %s must be [%lld], axis %d of the input's, %s",
                              gr_shape_text(p).text, (long long)x->shape[axis], axis,
                              gr_shape_text(x).text);
    gr_dims shape = {.count = x->ndim - axis, .at = {p->shape[0]}};
    for (int i = 1; i < shape.count; i++)
        shape.at[i] = 1;
    return gr_reshape(p, shape);
}

gr_tensor *gr_bce_apply(const gr_bce_kind *kind, gr_tensor *x, const gr_bce_args *args)
{
    static const gr_bce_args none;
    const char *name = kind->op.name;
    args = args ? args : &none;
    gr_tensor *in[OPERANDS] = {x, args->target, args->weight, args->pos_weight, args->mask};
    gr_tensor *failed = &gr_null_context.failed;
    gr_context *ctx = gr_operands_context(name, OPERANDS, in, &failed);
    if (!ctx)
        return failed;
    if (!x || !args->target)
        return gr_fail_tensor(ctx, GR_ERROR_NULL, name, "%s is NULL", x ? "target" : "input");
    if (!gr_dtype_is_float(x->dtype))
        return gr_fail_tensor(ctx, GR_ERROR_DTYPE, name, "the input is %s, not a float",
                              gr_dtype_name(x->dtype));
    in[P] = along_class_axis(name, x, in[P], &args->class_axis);
    if (in[P] && gr_failed(in[P]))
        return in[P];
    if (check_numbers(name, ctx, args) != GR_OK || check_target(name, x, in[Y]) != GR_OK ||
        check_option(name, "weight", x, in[W]) != GR_OK ||
        check_option(name, "pos_weight", x, in[P]) != GR_OK ||
        check_option(name, "mask", x, in[MASK]) != GR_OK)
        return &ctx->failed;
    const gr_bce_call call = {
        .kernel = {.label_smoothing = args->label_smoothing,
                   .gamma = args->gamma,
                   .alpha = args->alpha,
                   .strict_target = args->strict_target},
        .reduction = args->reduction,
        .denominator = args->denominator,
    };
    return gr_apply_with(&kind->op, OPERANDS, in, &call);
}

/* ---- Forward --------------------------------------------------------------------------------- */

gr_status gr_bce_shape(const gr_call *call, gr_dtype *dtype, gr_dims *shape)
{
    const gr_bce_call *args = call->args;
    *dtype = call->in[X]->dtype;
    *shape = args->reduction == GR_NONE ? gr_shape_of(call->in[X]) : (gr_dims){0};
    return GR_OK;
}

/* Whether nothing but input and target matters, so that the logarithms can be taken together. Up to
   a block they are not: then the sum is exactly that of the elements' losses as GR_NONE gives
   them. */
static bool is_plain(const gr_bce_kind *kind, const gr_call *call)
{
    const gr_bce_call *args = call->args;
    const gr_bce_kernel_args *options = &args->kernel;
    bool plain = kind->kernel == GR_KERNEL_BCE_WITH_LOGITS && args->reduction != GR_NONE &&
                 gr_numel(call->in[X]) >= GR_BLOCK && options->label_smoothing == 0 &&
                 options->gamma == 0 && options->alpha == 0 && !options->strict_target;
    for (int i = W; i < OPERANDS; i++)
        plain = plain && !call->in[i];
    return plain && !(call->saved && call->in[Y]->requires_grad);
}

static int plain_lanes(const gr_map *map, int64_t count, void *const *out, const void *const *in,
                       double *lanes)
{
    map->ctx->kernels->bce_with_logits_sum[map->ktype](count, in[X], in[Y], out[1], 1, lanes);
    return 0;
}

/* A place for each gradient that a later sweep may ask for, in the type that the kernel computes
   in. */
static bool make_room(const gr_call *call, gr_map *map)
{
    for (int i = X; call->saved && i <= P; i++) {
        if (!call->in[i] || !call->in[i]->requires_grad)
            continue;
        map->out[i + 1] =
            gr_tensor_in(call->ctx->scope, call->op->name, gr_ktype_dtype(map->ktype), &map->shape);
        if (!map->out[i + 1])
            return false;
    }
    return true;
}

/* The first element that counts and lies outside [0,1], for the message. */
static gr_status raise_outside(const gr_call *call, int operand)
{
    const gr_dims shape = gr_shape_of(call->in[X]);
    gr_reader values, mask;
    gr_reader_begin(&values, call->in[operand], &shape);
    if (call->in[MASK])
        gr_reader_begin(&mask, call->in[MASK], &shape);
    for (int64_t i = 0; i < gr_dims_count(&shape); i++) {
        double value, kept = 1;
        gr_reader_read(&values, i, 1, GR_F64, &value);
        if (call->in[MASK])
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

/* The sum over the elements that the mask keeps of 1, or of w. */
static bool sum_kept(gr_context *ctx, const gr_dims *shape, const gr_tensor *mask,
                     const gr_tensor *w, double *sum)
{
    const gr_dims none = {0};
    gr_tensor *one = gr_tensor_in(ctx->scope, "bce", GR_F64, &none);
    gr_tensor *zero = gr_tensor_in(ctx->scope, "bce", GR_F64, &none);
    if (!one || !zero)
        return false;
    *(double *)(void *)one->data = 1;
    *(double *)(void *)zero->data = 0;
    const gr_map map = {
        .ctx = ctx,
        .ktype = GR_K64,
        .shape = *shape,
        .inputs = 3,
        .outputs = 1,
        .in = {mask ? mask : one, w ? w : one, zero},
        .kernel = ctx->kernels->map[GR_KERNEL_WHERE][GR_K64],
        .sum = sum,
    };
    return gr_map_run(&map) >= 0;
}

/* What the reduction divides by; false after MEMORY. */
static bool divisor_of(gr_tensor *const *in, const gr_bce_call *args, double *divisor)
{
    const gr_dims shape = gr_shape_of(in[X]);
    *divisor = args->reduction == GR_MEAN ? (double)gr_dims_count(&shape) : 1;
    if (args->reduction != GR_MEAN || args->denominator == GR_ALL)
        return true;
    return sum_kept(in[X]->ctx, &shape, in[MASK], args->denominator == GR_WEIGHTS ? in[W] : NULL,
                    divisor);
}

gr_status gr_bce_forward(const gr_call *call)
{
    const gr_bce_kind *kind = kind_of(call->op);
    const gr_bce_call *args = call->args;
    gr_context *ctx = call->ctx;
    double sum = 0, divisor = 1;
    gr_map map = {
        .ctx = ctx,
        .ktype = gr_ktype(call->in[X]->dtype),
        .shape = gr_shape_of(call->in[X]),
        .inputs = OPERANDS,
        .outputs = OPERANDS,
        .args = &args->kernel,
    };
    for (int i = X; i < OPERANDS; i++)
        map.in[i] = call->in[i];
    map.kernel = ctx->kernels->map[kind->kernel][map.ktype];
    if (args->reduction == GR_NONE)
        map.out[0] = call->out;
    else
        map.sum = &sum;
    if (is_plain(kind, call))
        map.lane_kernel = plain_lanes;
    if (!make_room(call, &map) || !divisor_of(call->in, args, &divisor))
        return GR_ERROR_MEMORY;
    const int bits = gr_map_run(&map);
    if (bits < 0)
        return GR_ERROR_MEMORY;
    if (bits)
        return raise_outside(call, bits & GR_OUTSIDE_INPUT ? X : Y);
    for (int i = X; call->saved && i <= P; i++)
        call->saved[i] = map.out[i + 1];
    sum /= divisor;
    if (args->reduction != GR_NONE)
        gr_convert(GR_F64, &sum, call->out->dtype, call->out->data, 1);
    return GR_OK;
}

/* ---- Backward -------------------------------------------------------------------------------- */

/* a, and `instead` where the mask drops the element, whatever a is there. */
static gr_tensor *masked(gr_tensor *mask, gr_tensor *a, double instead)
{
    return mask && a ? gr_where(mask, a, gr_scalar_like(a, instead)) : a;
}

void gr_bce_fused_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    const gr_bce_call *args = n->args;
    if (args->reduction == GR_MEAN && args->denominator == GR_WEIGHTS && n->wanted[W]) {
        n->op->vjp(n, g, dx); /* the denominator has a gradient too */
        return;
    }
    double divisor;
    if (!divisor_of(n->in, args, &divisor)) {
        for (int i = X; i <= P; i++)
            dx[i] = &g->ctx->failed;
        return;
    }
    /* In the kernel's type, so that a half is rounded once, at the end. */
    gr_tensor *factor = gr_cast(g, gr_ktype_dtype(gr_ktype(g->dtype)));
    if (args->reduction == GR_MEAN)
        factor = gr_div(factor, gr_scalar_like(factor, divisor));
    for (int i = X; i <= P; i++)
        if (n->wanted[i])
            dx[i] = masked(n->in[MASK], gr_mul(n->saved[i], factor), 0);
}

/* y (1-e) + e/2 */
static gr_tensor *smooth(gr_tensor *y, double e)
{
    if (e == 0)
        return y;
    return gr_add(gr_mul(y, gr_scalar_like(y, 1 - e)), gr_scalar_like(y, e / 2));
}

/* t a + (1-t) b */
static gr_tensor *blend(gr_tensor *t, gr_tensor *a, gr_tensor *b)
{
    return gr_add(gr_mul(t, a), gr_mul(gr_sub(gr_scalar_like(t, 1), t), b));
}

/* (1 - p_t)^gamma. Where 1 - p_t is 0 so is the loss, faster than any slope of the power grows; and
   an infinite loss has the factor's limit: in both places the factor is a constant. */
static gr_tensor *focal_factor(gr_tensor *m, double gamma, gr_tensor *losses)
{
    gr_tensor *zero = gr_scalar_like(m, 0), *none = gr_equal(m, zero);
    gr_tensor *power = gr_pow(gr_where(none, gr_scalar_like(m, 1), m), gamma);
    gr_tensor *factor = gr_where(none, zero, power);
    gr_tensor *infinite = gr_equal(losses, gr_scalar_like(losses, INFINITY));
    return gr_where(infinite, gr_detach(factor), factor);
}

/* (1 - p_t)^gamma (alpha t + (1-alpha) (1-t)) times the losses */
static gr_tensor *focus(const gr_bce_kind *kind, const gr_bce_kernel_args *options, gr_tensor *x,
                        gr_tensor *t, gr_tensor *losses)
{
    if (options->gamma != 0) {
        gr_tensor *positive, *negative;
        kind->probabilities(x, &positive, &negative);
        gr_tensor *m = blend(t, negative, positive);
        losses = gr_mul(focal_factor(m, options->gamma, losses), losses);
    }
    if (options->alpha != 0)
        losses = gr_mul(
            blend(t, gr_scalar_like(t, options->alpha), gr_scalar_like(t, 1 - options->alpha)),
            losses);
    return losses;
}

static gr_tensor *reduced(const gr_bce_call *args, gr_tensor *losses, gr_tensor *mask, gr_tensor *w)
{
    if (args->reduction != GR_MEAN || args->denominator == GR_ALL)
        return gr_reduce_losses(losses, args->reduction);
    gr_tensor *counted = args->denominator == GR_WEIGHTS && w ? w : gr_scalar_like(losses, 1);
    counted = gr_expand(counted, gr_shape_of(losses));
    return gr_div(gr_reduce_losses(losses, GR_SUM),
                  gr_reduce_losses(masked(mask, counted, 0), GR_SUM));
}

/* The loss in public ops. */
static gr_tensor *compose(const gr_node *n)
{
    const gr_bce_kind *kind = kind_of(n->op);
    const gr_bce_call *args = n->args;
    gr_tensor *mask = n->in[MASK], *w = n->in[W], *p = n->in[P];
    /* In the kernel's type, so that a half is rounded once, at the end. */
    const gr_dtype dtype = gr_ktype_dtype(gr_ktype(n->in[X]->dtype));
    gr_tensor *x = masked(mask, gr_cast(n->in[X], dtype), kind->neutral);
    gr_tensor *y = masked(mask, gr_cast(n->in[Y], dtype), 0);
    gr_tensor *t = smooth(y, args->kernel.label_smoothing);
    w = w ? masked(mask, gr_cast(w, dtype), 0) : NULL;
    p = p ? masked(mask, gr_cast(p, dtype), 1) : NULL;
    gr_tensor *losses = focus(kind, &args->kernel, x, t, kind->element(x, t, p));
    losses = w ? gr_mul(w, losses) : losses;
    return gr_cast(reduced(args, masked(mask, losses, 0), mask, w), n->in[X]->dtype);
}

void gr_bce_vjp(const gr_node *node, gr_tensor *g, gr_tensor **dx)
{
    gr_vjp_by_composition(node, g, dx, compose);
}

/* ---- Elements alone -------------------------------------------------------------------------- */

gr_status gr_bce_element_forward(gr_kernel_id kernel, int output, const gr_call *call)
{
    static const gr_bce_kernel_args none;
    const int ktype = gr_ktype(call->out->dtype);
    gr_map map = {
        .ctx = call->ctx,
        .ktype = ktype,
        .shape = gr_shape_of(call->out),
        .inputs = OPERANDS,
        .outputs = OPERANDS,
        .in = {call->in[0], call->in[1], NULL, call->in[2], NULL},
        .kernel = call->ctx->kernels->map[kernel][ktype],
        .args = &none,
    };
    map.out[output] = call->out;
    return gr_map_run(&map) < 0 ? GR_ERROR_MEMORY : GR_OK;
}
