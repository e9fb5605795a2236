/* linear.c - the linear ops that differentiation itself needs: sums, copies, views and zeros.
 *
 * Their gradient rules use only each other. The rules read no values, so later writes cannot make
 * their gradients wrong. ops/ gives these ops their public names.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <string.h>

#define READS_NOTHING                                                                              \
    .reads = {GR_READS_NOTHING, GR_READS_NOTHING, GR_READS_NOTHING, GR_READS_NOTHING}

/* Passes g to each operand unchanged. The engine sums it down to the operand's shape and dtype. */
static void pass_on_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    for (int i = 0; i < n->count; i++)
        dx[i] = g;
}

/* ---- add ------------------------------------------------------------------------------------- */

/* add(a, b) = a + b;  da = g, db = g */
static const gr_row add_row = {{.name = "add",
                                .formula = "a + b",
                                .kind = GR_ELEMENTWISE,
                                .arity = 2,
                                .flags = GR_OP_STRIDED,
                                .run = gr_elementwise_run,
                                .vjp = pass_on_vjp,
                                READS_NOTHING},
                               GR_KERNEL_ADD};
gr_tensor *gr_linear_add(gr_tensor *a, gr_tensor *b)
{
    return gr_apply_with(&add_row.op, 2, (gr_tensor *[]){a, b}, NULL);
}

static const gr_row accumulate_row = {{.name = "accumulate",
                                       .formula = "a + b",
                                       .kind = GR_ELEMENTWISE,
                                       .arity = 2,
                                       .flags = GR_OP_IN_PLACE,
                                       .run = gr_elementwise_run},
                                      GR_KERNEL_ADD};
gr_status gr_linear_accumulate(gr_tensor *sum, gr_tensor *x)
{
    return gr_apply_in_place(&accumulate_row.op, 2, (gr_tensor *[]){sum, x}, NULL, NULL, 0);
}

/* ---- Copies ---------------------------------------------------------------------------------- */

typedef struct copy {
    gr_reader from;
    gr_tensor *to;
} copy;

static void copy_block(void *state, int64_t block)
{
    const copy *c = state;
    const gr_dtype dtype = gr_type(c->to);
    const int64_t at = block * GR_BLOCK, left = gr_count(c->to) - at;
    gr_reader_read(&c->from, at, left < GR_BLOCK ? left : GR_BLOCK, dtype,
                   gr_bytes(c->to) + at * gr_dtype_size(dtype));
}

/* Copies a transposed matrix in tiles, so that all elements of a cache line are used after one
   read. */
enum { TILE_ROWS = 32, TILE_COLUMNS = 16 };

#define COPY_TILE(type)                                                                            \
    for (int64_t r = row; r < row_end; r++)                                                        \
        for (int64_t k = column; k < column_end; k++)                                              \
            ((type *)(void *)to)[r * columns + k] =                                                \
                ((const type *)(const void *)from)[r + k * step];                                  \
    break

static void copy_tiles(void *state, int64_t strip)
{
    const copy *c = state;
    const int64_t rows = c->from.shape[0], columns = c->from.shape[1], step = c->from.strides[1];
    const int64_t row = strip * TILE_ROWS, left = rows - row;
    const int64_t row_end = row + (left < TILE_ROWS ? left : TILE_ROWS);
    const char *from = c->from.data;
    char *to = gr_bytes(c->to);
    for (int64_t column = 0; column < columns; column += TILE_COLUMNS) {
        const int64_t rest = columns - column;
        const int64_t column_end = column + (rest < TILE_COLUMNS ? rest : TILE_COLUMNS);
        switch (gr_dtype_size(c->from.dtype)) {
        case 8:
            COPY_TILE(uint64_t);
        case 4:
            COPY_TILE(uint32_t);
        case 2:
            COPY_TILE(uint16_t);
        default:
            COPY_TILE(uint8_t);
        }
    }
}

static bool is_transposed(const copy *c)
{
    return c->from.ndim == 2 && c->from.strides[0] == 1 && c->from.strides[1] > 1 &&
           c->from.dtype == gr_type(c->to);
}

static gr_status copy_run(const gr_call *call)
{
    const gr_dims shape = gr_shape_of(call->out);
    const int64_t count = gr_count(call->out);
    copy c = {.to = call->out};
    gr_reader_begin(&c.from, call->in[0], &shape);
    const int threads = gr_threads_for(call->ctx, count);
    if (is_transposed(&c))
        gr_parallel_for(threads, (c.from.shape[0] + TILE_ROWS - 1) / TILE_ROWS, copy_tiles, &c);
    else
        gr_parallel_for(threads, (count + GR_BLOCK - 1) / GR_BLOCK, copy_block, &c);
    return GR_OK;
}

static gr_status copy_shape(const gr_call *call, gr_form *results)
{
    const gr_tensor *x = call->in[0];
    *results =
        (gr_form){.dtype = call->attributes ? *(const gr_dtype *)call->attributes : gr_type(x),
                  .shape = gr_shape_of(x)};
    return GR_OK;
}

/* contiguous(x): copies the elements;  dx = g */
static const gr_op copy_op = {.name = "contiguous",
                              .kind = GR_GATHER,
                              .arity = 1,
                              .flags = GR_OP_STRIDED,
                              .shape = copy_shape,
                              .run = copy_run,
                              .vjp = pass_on_vjp,
                              READS_NOTHING};
gr_tensor *gr_linear_copy(gr_tensor *x) { return gr_apply_with(&copy_op, 1, &x, NULL); }

/* cast(x): converts each element with one rounding;  dx = g in x's dtype, between floats */
static const gr_op convert_op = {.name = "cast",
                                 .kind = GR_ELEMENTWISE,
                                 .arity = 1,
                                 .flags = GR_OP_STRIDED,
                                 .attributes_size = sizeof(gr_dtype),
                                 .shape = copy_shape,
                                 .run = copy_run,
                                 .vjp = pass_on_vjp,
                                 READS_NOTHING};
static const gr_op convert_away_op = {.name = "cast",
                                      .kind = GR_ELEMENTWISE,
                                      .arity = 1,
                                      .flags = GR_OP_STRIDED | GR_OP_NO_GRAD,
                                      .attributes_size = sizeof(gr_dtype),
                                      .shape = copy_shape,
                                      .run = copy_run};
gr_tensor *gr_linear_convert(gr_tensor *x, gr_dtype dtype)
{
    const bool floats = gr_dtype_is_float(gr_type(x)) && gr_dtype_is_float(dtype);
    gr_tensor *out = gr_apply_with(floats ? &convert_op : &convert_away_op, 1, &x, &dtype);
    if (!gr_failed(out))
        gr_set_weak(out, false);
    return out;
}

/* ---- Views ----------------------------------------------------------------------------------- */

/* Attributes: shape and strides of the result. */
typedef struct view {
    gr_dims shape, strides;
} view;

static gr_status view_shape(const gr_call *call, gr_form *results)
{
    const view *v = call->attributes;
    *results = (gr_form){.dtype = gr_type(call->in[0]), .shape = v->shape, .strides = v->strides};
    return GR_OK;
}

static gr_tensor *apply_view(const gr_op *op, gr_tensor *x, const gr_dims *shape,
                             const gr_dims *strides)
{
    const view v = {*shape, *strides};
    return gr_apply_with(op, 1, &x, &v);
}

/* alias(x): shows the same elements;  dx = g */
static const gr_op alias_op = {.name = "alias",
                               .kind = GR_VIEW,
                               .arity = 1,
                               .attributes_size = sizeof(view),
                               .shape = view_shape,
                               .vjp = pass_on_vjp,
                               READS_NOTHING};
gr_tensor *gr_linear_alias(gr_tensor *x)
{
    const gr_dims shape = gr_shape_of(x), strides = gr_strides_of(x);
    return apply_view(&alias_op, x, &shape, &strides);
}

/* reshape(x): the elements in row-major order with another shape;  dx = g with x's shape */
static void reshape_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    const gr_dims shape = gr_shape_of(n->in[0]);
    dx[0] = gr_linear_reshape(g, &shape);
}
static const gr_op reshape_op = {.name = "reshape",
                                 .kind = GR_VIEW,
                                 .arity = 1,
                                 .attributes_size = sizeof(view),
                                 .shape = view_shape,
                                 .vjp = reshape_vjp,
                                 READS_NOTHING};
gr_tensor *gr_linear_reshape(gr_tensor *x, const gr_dims *shape)
{
    const gr_dims own = gr_shape_of(x), strides = gr_contiguous_strides(shape);
    if (gr_failed(x) || gr_same_dims(shape, &own))
        return x;
    x = gr_is_contiguous(x) ? x : gr_linear_copy(x);
    return apply_view(&reshape_op, x, shape, &strides);
}

/* expand(x): x broadcast to a larger shape;  dx = g, and the engine sums it down */
static const gr_op expand_op = {.name = "expand",
                                .kind = GR_VIEW,
                                .arity = 1,
                                .attributes_size = sizeof(view),
                                .shape = view_shape,
                                .vjp = pass_on_vjp,
                                READS_NOTHING};
gr_tensor *gr_linear_expand(gr_tensor *x, const gr_dims *shape)
{
    if (gr_failed(x))
        return x;
    const int added = shape->count - gr_axes_of(x);
    gr_dims strides = {.count = shape->count};
    for (int i = added; i < shape->count; i++)
        strides.at[i] =
            gr_sizes(x)[i - added] == 1 && shape->at[i] != 1 ? 0 : gr_steps(x)[i - added];
    return apply_view(&expand_op, x, shape, &strides);
}

/* ---- sum ------------------------------------------------------------------------------------- */

gr_status gr_reduce_op_shape(const gr_call *call, gr_form *results)
{
    const gr_reduce_attributes *attributes = call->attributes;
    *results = (gr_form){.dtype = gr_type(call->in[0]), .shape = attributes->shape};
    return GR_OK;
}

int64_t gr_reduce_op_scratch(const gr_call *call)
{
    const gr_reduce_attributes *attributes = call->attributes;
    return gr_reduce_scratch(call->in[0], attributes->reduced);
}

gr_status gr_reduce_op_run(const gr_call *call)
{
    const gr_reduce_attributes *attributes = call->attributes;
    gr_reduce_run(call->in[0], attributes->reduced, attributes->divisor, call->out, call->scratch);
    return GR_OK;
}

gr_tensor *gr_reduce_spread(const gr_node *n, gr_tensor *g)
{
    const gr_reduce_attributes *attributes = n->attributes;
    const gr_dims shape = gr_shape_of(n->in[0]);
    return gr_linear_expand(gr_linear_reshape(g, &attributes->kept_shape), &shape);
}

/* sum: dx = g, repeated along the reduced axes */
static void sum_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_reduce_spread(n, g);
}
const gr_op gr_sum_op = {.name = "sum",
                         .kind = GR_REDUCTION,
                         .arity = 1,
                         .flags = GR_OP_STRIDED,
                         .attributes_size = sizeof(gr_reduce_attributes),
                         .shape = gr_reduce_op_shape,
                         .scratch = gr_reduce_op_scratch,
                         .run = gr_reduce_op_run,
                         .vjp = sum_vjp,
                         READS_NOTHING};

/* Marks the axes. Fails with SHAPE for an axis that x does not have, and for one that comes
   twice. */
static gr_status mark_axes(const gr_op *op, const gr_tensor *x, const gr_dims *axes, bool *reduced)
{
    const int ndim = gr_axes_of(x);
    for (int i = 0; i < ndim; i++)
        reduced[i] = axes->count == 0;
    if (axes->count < 0 || axes->count > GR_MAX_DIMS)
        return gr_fail(gr_ctx(x), GR_ERROR_SHAPE, op->name, "more than %d axes", GR_MAX_DIMS);
    for (int i = 0; i < axes->count; i++) {
        const int axis = gr_axis_of(ndim, axes->at[i]);
        if (axis < 0 || reduced[axis])
            return gr_fail(gr_ctx(x), GR_ERROR_SHAPE, op->name, "axis %lld of shape %s %s",
                           (long long)axes->at[i], gr_shape_text(x).text,
                           axis < 0 ? "does not exist" : "is given twice");
        reduced[axis] = true;
    }
    return GR_OK;
}

gr_tensor *gr_reduce_apply(const gr_op *op, gr_tensor *x, const gr_dims *axes, bool keepdim)
{
    gr_tensor *failed;
    if (!gr_usable(op->name, x, 0, &failed))
        return failed;
    if (!gr_dtype_is_float(gr_type(x)))
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_DTYPE, op->name, "%s %s is no float",
                              gr_dtype_name(gr_type(x)), gr_shape_text(x).text);
    gr_reduce_attributes a;
    memset(&a, 0, sizeof a);
    if (mark_axes(op, x, axes, a.reduced) != GR_OK)
        return failed;
    double count = 1;
    for (int i = 0; i < gr_axes_of(x); i++) {
        const int64_t size = gr_sizes(x)[i];
        a.kept_shape.at[a.kept_shape.count++] = a.reduced[i] ? 1 : size;
        if (!a.reduced[i] || keepdim)
            a.shape.at[a.shape.count++] = a.reduced[i] ? 1 : size;
        count *= a.reduced[i] ? (double)size : 1;
    }
    a.divisor = op == &gr_sum_op ? 1 : count;
    return gr_apply_in(gr_ctx(x), op, 1, &x, &a);
}

/* Sums over the axes that only x has, and over those that have size 1 only in the shape. */
gr_tensor *gr_linear_sum_to(gr_tensor *x, const gr_dims *shape)
{
    gr_dims axes = {0};
    const gr_dims from = gr_shape_of(x);
    gr_dims both = *shape;
    int axis;
    if (shape->count > from.count || !gr_broadcast(&both, &from, &axis) ||
        !gr_same_dims(&both, &from))
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_BROADCAST, "sum_to",
                              "shape %s does not broadcast to %s", gr_dims_text(shape).text,
                              gr_dims_text(&from).text);
    const int added = from.count - shape->count;
    for (int i = 0; i < from.count; i++)
        if (i < added || (shape->at[i - added] == 1 && from.at[i] != 1))
            axes.at[axes.count++] = i;
    gr_tensor *sum = axes.count ? gr_reduce_apply(&gr_sum_op, x, &axes, true) : x;
    return gr_linear_reshape(sum, shape);
}
