/* reduce.c - sum and mean over some axes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <string.h>

/* What a call carries: the axes that go, and the shapes before they go and after. */
typedef struct reduce_call {
    bool reduced[GR_MAX_DIMS];
    gr_dims kept_shape; /* reduced axes with size 1 */
    gr_dims shape;      /* of the result */
    double divisor;
} reduce_call;

static gr_status reduce_shape(const gr_call *call, gr_dtype *dtype, gr_dims *shape)
{
    *dtype = call->in[0]->dtype;
    *shape = ((const reduce_call *)call->args)->shape;
    return GR_OK;
}

static gr_status reduce_forward(const gr_call *call)
{
    const reduce_call *args = call->args;
    return gr_reduce_run(call->in[0], args->reduced, args->divisor, call->out);
}

/* sum: dx = g, repeated along the axes that went */
static void sum_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    const reduce_call *args = n->args;
    dx[0] = gr_expand(gr_reshape(g, args->kept_shape), gr_shape_of(n->in[0]));
}

/* mean: dx = g over the number of elements, repeated */
static void mean_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    const reduce_call *args = n->args;
    sum_vjp(n, gr_div(g, gr_scalar(g->ctx, args->divisor)), dx);
}

static const gr_op sum_op = {.name = "sum",
                             .arity = 1,
                             .flags = GR_OP_STRIDED,
                             .forward = reduce_forward,
                             .vjp = sum_vjp,
                             .shape = reduce_shape,
                             .args_size = sizeof(reduce_call)};
static const gr_op mean_op = {.name = "mean",
                              .arity = 1,
                              .flags = GR_OP_STRIDED,
                              .forward = reduce_forward,
                              .vjp = mean_vjp,
                              .shape = reduce_shape,
                              .args_size = sizeof(reduce_call)};

/* Marks the axes; SHAPE for one that x has not, or twice. */
static gr_status mark_axes(const gr_op *op, const gr_tensor *x, const gr_dims *axes, bool *reduced)
{
    for (int i = 0; i < x->ndim; i++)
        reduced[i] = axes->count == 0;
    if (axes->count < 0 || axes->count > GR_MAX_DIMS)
        return gr_fail(x->ctx, GR_ERROR_SHAPE, op->name, "more than %d axes", GR_MAX_DIMS);
    for (int i = 0; i < axes->count; i++) {
        const int axis = gr_axis_of(x->ndim, axes->at[i]);
        if (axis < 0 || reduced[axis])
            return gr_fail(x->ctx, GR_ERROR_SHAPE, op->name, "axis %lld of shape %s %s",
                           (long long)axes->at[i], gr_shape_text(x).text,
                           axis < 0 ? "does not exist" : "is given twice");
        reduced[axis] = true;
    }
    return GR_OK;
}

static gr_tensor *reduce(const gr_op *op, gr_tensor *x, const gr_dims *axes, bool keepdim)
{
    gr_tensor *failed;
    if (!gr_usable(op->name, x, 0, &failed))
        return failed;
    if (!gr_dtype_is_float(x->dtype))
        return gr_fail_tensor(x->ctx, GR_ERROR_DTYPE, op->name, "%s %s is no float",
                              gr_dtype_name(x->dtype), gr_shape_text(x).text);
    reduce_call call;
    memset(&call, 0, sizeof call);
    if (mark_axes(op, x, axes, call.reduced) != GR_OK)
        return failed;
    double count = 1;
    for (int i = 0; i < x->ndim; i++) {
        call.kept_shape.at[call.kept_shape.count++] = call.reduced[i] ? 1 : x->shape[i];
        if (!call.reduced[i] || keepdim)
            call.shape.at[call.shape.count++] = call.reduced[i] ? 1 : x->shape[i];
        count *= call.reduced[i] ? (double)x->shape[i] : 1;
    }
    call.divisor = op == &mean_op ? count : 1;
    return gr_apply_with(op, 1, &x, &call);
}

gr_tensor *gr_sum_with(const gr_reduce_args *args)
{
    return args ? reduce(&sum_op, args->x, &args->axes, args->keepdim) : &gr_null_context.failed;
}

gr_tensor *gr_mean_with(const gr_reduce_args *args)
{
    return args ? reduce(&mean_op, args->x, &args->axes, args->keepdim) : &gr_null_context.failed;
}

/* The axes that are new in x, or of size 1 in the shape and not in x, are summed. */
gr_tensor *gr_sum_to(gr_tensor *x, gr_dims shape)
{
    gr_tensor *failed;
    if (!gr_usable("sum_to", x, 0, &failed))
        return failed;
    const gr_dims from = gr_shape_of(x);
    gr_dims both = shape, axes = {0};
    int axis;
    if (shape.count > x->ndim || !gr_broadcast(&both, &from, &axis) || !gr_same_dims(&both, &from))
        return gr_fail_tensor(x->ctx, GR_ERROR_BROADCAST, "sum_to",
                              "shape %s does not broadcast to %s", gr_dims_text(&shape).text,
                              gr_dims_text(&from).text);
    const int added = x->ndim - shape.count;
    for (int i = 0; i < x->ndim; i++)
        if (i < added || (shape.at[i - added] == 1 && from.at[i] != 1))
            axes.at[axes.count++] = i;
    gr_tensor *sum = axes.count ? reduce(&sum_op, x, &axes, true) : x;
    return gr_reshape(sum, shape);
}
