/* shape.c - the same elements seen otherwise: views, and their gradients.
 *
 * A view shares its operand's memory. Its forward only sets strides, so a view op has a shape rule
 * that says the result's shape, and no buffer of its own: `view` takes the place of apply.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <string.h>

/* What a view's gradient rule needs to know. */
typedef struct view_call {
    gr_dims shape; /* reshape, expand: the result's */
    gr_dims order; /* permute */
    int axis;      /* slice */
    int64_t start, step;
} view_call;

/* Records a view of x with another shape, strides and first element. */
static gr_tensor *view(const gr_op *op, gr_tensor *x, const view_call *call, const gr_dims *shape,
                       const int64_t *strides, int64_t offset)
{
    x->ctx->doing = op->name;
    gr_tensor *out = gr_view_of(x);
    if (!out)
        return &x->ctx->failed;
    out->ndim = shape->count;
    memcpy(out->shape, shape->at, sizeof out->shape);
    memcpy(out->strides, strides, sizeof out->strides);
    out->data += offset * gr_dtype_size(x->dtype);
    if (gr_records(x->ctx, 1, &x) && !gr_record(op, 1, &x, out, call))
        return &x->ctx->failed;
    return out;
}

static void contiguous_strides(const gr_dims *shape, int64_t *strides)
{
    int64_t stride = 1;
    for (int i = shape->count - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= shape->at[i] > 0 ? shape->at[i] : 1;
    }
}

/* ---- reshape --------------------------------------------------------------------------------- */

/* reshape(x): the elements in row-major order under another shape;  dx = g under x's shape */
static void reshape_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_reshape(g, gr_shape_of(n->in[0]));
}
static const gr_op reshape_op = {
    .name = "reshape", .arity = 1, .vjp = reshape_vjp, .args_size = sizeof(view_call)};

/* Puts what is left in the place of a -1; false if the elements do not fit the shape. */
static bool fit_shape(gr_dims *shape, int64_t count)
{
    int64_t known = 1;
    int free_axis = -1;
    for (int i = 0; i < shape->count; i++) {
        if (shape->at[i] < -1 || (shape->at[i] == -1 && free_axis >= 0))
            return false;
        if (shape->at[i] == -1)
            free_axis = i;
        else if (__builtin_mul_overflow(known, shape->at[i], &known))
            return false;
    }
    if (free_axis < 0)
        return known == count;
    if (known == 0 || count % known)
        return false;
    shape->at[free_axis] = count / known;
    return true;
}

gr_tensor *gr_reshape(gr_tensor *x, gr_dims shape)
{
    gr_tensor *failed;
    if (!gr_usable("reshape", x, 0, &failed))
        return failed;
    const gr_dims asked = shape, own = gr_shape_of(x);
    if (shape.count < 0 || shape.count > GR_MAX_DIMS || !fit_shape(&shape, gr_numel(x)))
        return gr_fail_tensor(x->ctx, GR_ERROR_SHAPE, "reshape", "shape %s does not fit %s",
                              gr_shape_text(x).text, gr_dims_text(&asked).text);
    if (gr_same_dims(&shape, &own))
        return x;
    if (!gr_check_shape(x->ctx, "reshape", x->dtype,
                        &shape)) /* one without elements may be too large */
        return failed;
    x = gr_contiguous(x);
    if (gr_failed(x))
        return x;
    int64_t strides[GR_MAX_DIMS] = {0};
    contiguous_strides(&shape, strides);
    const view_call call = {.shape = shape};
    return view(&reshape_op, x, &call, &shape, strides, 0);
}

/* ---- permute, transpose ---------------------------------------------------------------------- */

/* permute(x, order): axis i is x's axis order[i];  dx = g with the inverse order */
static void permute_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    const gr_dims order = ((const view_call *)n->args)->order;
    gr_dims inverse = {.count = order.count};
    for (int i = 0; i < order.count; i++)
        inverse.at[order.at[i]] = i;
    dx[0] = gr_permute(g, inverse);
}
static const gr_op permute_op = {
    .name = "permute", .arity = 1, .vjp = permute_vjp, .args_size = sizeof(view_call)};

gr_tensor *gr_permute(gr_tensor *x, gr_dims order)
{
    gr_tensor *failed;
    if (!gr_usable("permute", x, 0, &failed))
        return failed;
    const gr_dims asked = order;
    bool seen[GR_MAX_DIMS] = {false}, right = order.count == x->ndim;
    gr_dims shape = {.count = order.count};
    int64_t strides[GR_MAX_DIMS] = {0};
    for (int i = 0; right && i < order.count; i++) {
        const int axis = gr_axis_of(x->ndim, order.at[i]);
        right = axis >= 0 && !seen[axis];
        if (!right)
            break;
        seen[axis] = true;
        order.at[i] = axis;
        shape.at[i] = x->shape[axis];
        strides[i] = x->strides[axis];
    }
    if (!right)
        return gr_fail_tensor(x->ctx, GR_ERROR_SHAPE, "permute",
                              "%s is no permutation of the axes of shape %s",
                              gr_dims_text(&asked).text, gr_shape_text(x).text);
    const view_call call = {.order = order};
    return view(&permute_op, x, &call, &shape, strides, 0);
}

gr_tensor *gr_transpose(gr_tensor *x)
{
    gr_tensor *failed;
    if (!gr_usable("transpose", x, 0, &failed))
        return failed;
    if (x->ndim < 2)
        return x;
    gr_dims order = {.count = x->ndim};
    for (int i = 0; i < x->ndim; i++)
        order.at[i] = i < x->ndim - 2 ? i : 2 * x->ndim - 3 - i;
    return gr_permute(x, order);
}

/* ---- expand ---------------------------------------------------------------------------------- */

/* expand(x): x broadcast to a larger shape;  dx = g, which the engine sums down to x's shape */
static void expand_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)n;
    dx[0] = g;
}
static const gr_op expand_op = {
    .name = "expand", .arity = 1, .vjp = expand_vjp, .args_size = sizeof(view_call)};

gr_tensor *gr_expand(gr_tensor *x, gr_dims shape)
{
    gr_tensor *failed;
    if (!gr_usable("expand", x, 0, &failed))
        return failed;
    if (!gr_check_shape(x->ctx, "expand", x->dtype, &shape))
        return failed;
    if (!gr_broadcasts_to(x, &shape))
        return gr_fail_tensor(x->ctx, GR_ERROR_BROADCAST, "expand",
                              "shape %s does not broadcast to %s", gr_shape_text(x).text,
                              gr_dims_text(&shape).text);
    const int added = shape.count - x->ndim;
    int64_t strides[GR_MAX_DIMS] = {0};
    for (int i = added; i < shape.count; i++)
        strides[i] = x->shape[i - added] == 1 && shape.at[i] != 1 ? 0 : x->strides[i - added];
    const view_call call = {.shape = shape};
    return view(&expand_op, x, &call, &shape, strides, 0);
}

/* ---- slice ----------------------------------------------------------------------------------- */

/* The gradient of a slice: g in the places that were taken, zeros elsewhere. It is an op of its
   own, whose gradient is the slice again. */
static gr_tensor *unslice(gr_tensor *g, const view_call *call);

static void slice_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = unslice(g, n->args);
}
static const gr_op slice_op = {
    .name = "slice", .arity = 1, .vjp = slice_vjp, .args_size = sizeof(view_call)};

/* A view of the taken places; call->shape is the whole's. */
static gr_tensor *take(const gr_op *op, gr_tensor *x, const view_call *call, int64_t count)
{
    gr_dims shape = gr_shape_of(x);
    int64_t strides[GR_MAX_DIMS];
    memcpy(strides, x->strides, sizeof strides);
    shape.at[call->axis] = count;
    strides[call->axis] *= call->step;
    const int64_t offset = count ? call->start * x->strides[call->axis] : 0;
    return view(op, x, call, &shape, strides, offset);
}

static gr_status unslice_shape(const gr_call *call, gr_dtype *dtype, gr_dims *shape)
{
    *dtype = call->in[0]->dtype;
    *shape = ((const view_call *)call->args)->shape;
    return GR_OK;
}

static gr_status unslice_forward(const gr_call *call)
{
    const view_call *args = call->args;
    const gr_tensor *g = call->in[0];
    gr_tensor places = *call->out; /* seen as the slice: its own strides, the gradient's shape */
    const int64_t size = gr_dtype_size(g->dtype), count = gr_numel(g);
    memset(call->out->data, 0, (size_t)(gr_numel(call->out) * size));
    if (count == 0)
        return GR_OK;
    places.strides[args->axis] *= args->step;
    places.data += args->start * call->out->strides[args->axis] * size;
    const gr_dims shape = gr_shape_of(g);
    gr_reader reader;
    gr_reader_begin(&reader, g, &shape);
    /* Element by element of the gradient, row-major, to its place. */
    for (int64_t i = 0; i < count; i++) {
        int64_t rest = i, at = 0;
        for (int axis = g->ndim - 1; axis >= 0; axis--) {
            at += rest % g->shape[axis] * places.strides[axis];
            rest /= g->shape[axis];
        }
        gr_reader_read(&reader, i, 1, g->dtype, places.data + at * size);
    }
    return GR_OK;
}

static void unslice_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    const view_call *args = n->args;
    dx[0] = take(&slice_op, g, args, n->in[0]->shape[args->axis]);
}
static const gr_op unslice_op = {.name = "slice",
                                 .arity = 1,
                                 .flags = GR_OP_STRIDED,
                                 .forward = unslice_forward,
                                 .vjp = unslice_vjp,
                                 .shape = unslice_shape,
                                 .args_size = sizeof(view_call)};
static gr_tensor *unslice(gr_tensor *g, const view_call *call)
{
    return gr_apply_with(&unslice_op, 1, &g, call);
}

static int64_t clip(int64_t at, int64_t size)
{
    at += at < 0 ? size : 0;
    return at < 0 ? 0 : at > size ? size : at;
}

gr_tensor *gr_slice(gr_tensor *x, int axis, int64_t start, int64_t stop, int64_t step)
{
    gr_tensor *failed;
    if (!gr_usable("slice", x, 0, &failed))
        return failed;
    const int at = gr_axis_of(x->ndim, axis);
    if (at < 0)
        return gr_fail_tensor(x->ctx, GR_ERROR_SHAPE, "slice", "axis %d of shape %s does not exist",
                              axis, gr_shape_text(x).text);
    if (step <= 0)
        return gr_fail_tensor(x->ctx, GR_ERROR_ARGUMENT, "slice", "step %lld is not above 0",
                              (long long)step);
    start = clip(start, x->shape[at]);
    stop = clip(stop, x->shape[at]);
    /* A step beyond the axis takes one element, whatever it is; so it cannot overflow. */
    step = step < x->shape[at] || x->shape[at] < 1 ? step : x->shape[at];
    const int64_t count = stop > start ? (stop - start - 1) / step + 1 : 0;
    const view_call call = {
        .shape = gr_shape_of(x), .axis = at, .start = start, .step = count > 1 ? step : 1};
    return take(&slice_op, x, &call, count);
}

/* ---- copies ---------------------------------------------------------------------------------- */

static gr_status copy_shape(const gr_call *call, gr_dtype *dtype, gr_dims *shape)
{
    *dtype = call->args ? *(const gr_dtype *)call->args : call->in[0]->dtype;
    *shape = gr_shape_of(call->in[0]);
    return GR_OK;
}

typedef struct copy {
    gr_reader from;
    gr_tensor *to;
} copy;

static void copy_block(void *state, int64_t block)
{
    const copy *c = state;
    const int64_t at = block * GR_BLOCK, left = gr_numel(c->to) - at;
    gr_reader_read(&c->from, at, left < GR_BLOCK ? left : GR_BLOCK, c->to->dtype,
                   c->to->data + at * gr_dtype_size(c->to->dtype));
}

static gr_status copy_forward(const gr_call *call)
{
    const gr_dims shape = gr_shape_of(call->out);
    const int64_t count = gr_numel(call->out);
    copy c = {.to = call->out};
    gr_reader_begin(&c.from, call->in[0], &shape);
    gr_parallel_for(gr_threads_for(call->ctx, count), (count + GR_BLOCK - 1) / GR_BLOCK, copy_block,
                    &c);
    return GR_OK;
}

/* contiguous(x): the same elements, copied;  dx = g */
static const gr_op contiguous_op = {.name = "contiguous",
                                    .arity = 1,
                                    .flags = GR_OP_STRIDED,
                                    .forward = copy_forward,
                                    .vjp = expand_vjp,
                                    .shape = copy_shape};
gr_tensor *gr_contiguous(gr_tensor *x)
{
    gr_tensor *failed;
    if (!gr_usable("contiguous", x, 0, &failed))
        return failed;
    return gr_is_contiguous(x) ? x : gr_apply_with(&contiguous_op, 1, &x, NULL);
}

/* cast(x): each element converted, rounded once;  dx = g in x's dtype, which the engine sees to */
static const gr_op cast_op = {.name = "cast",
                              .arity = 1,
                              .flags = GR_OP_STRIDED,
                              .forward = copy_forward,
                              .vjp = expand_vjp,
                              .shape = copy_shape,
                              .args_size = sizeof(gr_dtype)};
static const gr_op cast_away_op = {.name = "cast",
                                   .arity = 1,
                                   .flags = GR_OP_STRIDED | GR_OP_NO_GRAD,
                                   .forward = copy_forward,
                                   .shape = copy_shape,
                                   .args_size = sizeof(gr_dtype)};
gr_tensor *gr_cast(gr_tensor *x, gr_dtype dtype)
{
    gr_tensor *failed;
    if (!gr_usable("cast", x, 0, &failed))
        return failed;
    if (x->dtype == dtype && !x->weak)
        return x;
    const bool floats = gr_dtype_is_float(x->dtype) && gr_dtype_is_float(dtype);
    return gr_apply_with(floats ? &cast_op : &cast_away_op, 1, &x, &dtype);
}
