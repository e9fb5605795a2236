/* binary.c - elementwise functions of two operands with broadcasting, and where().
 *
 * A rule may return a gradient of the broadcast shape. The engine sums it down to the operand's
 * shape.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <gradus/ops.h>

#define BINARY(f, NAME, slope, low, high, expression)                                              \
    static void f##_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx);                           \
    static const gr_row f##_row = {{.name = #f,                                                    \
                                    .formula = #expression,                                        \
                                    .kind = GR_ELEMENTWISE,                                        \
                                    .arity = 2,                                                    \
                                    .flags = GR_OP_STRIDED,                                        \
                                    .run = gr_elementwise_run,                                     \
                                    .vjp = f##_vjp,                                                \
                                    .reads = {f##_reads}},                                         \
                                   GR_KERNEL_##NAME};
/* The values that the rule reads for da and for db. */
#define sub_reads     GR_READS_NOTHING, GR_READS_NOTHING
#define mul_reads     GR_READS_IN(1), GR_READS_IN(0)
#define div_reads     GR_READS_IN(1), GR_READS_IN(1) | GR_READS_OUT(0)
#define maximum_reads GR_READS_IN(0) | GR_READS_IN(1), GR_READS_IN(0) | GR_READS_IN(1)
#define minimum_reads GR_READS_IN(0) | GR_READS_IN(1), GR_READS_IN(0) | GR_READS_IN(1)
#include "ops.def"

static gr_tensor *apply_binary(const gr_row *row, gr_tensor *a, gr_tensor *b)
{
    return gr_apply_with(&row->op, 2, (gr_tensor *[]){a, b}, NULL);
}

/* add(a, b) = a + b;  da = g, db = g. The sweep itself uses add, so its row is in
   core/engine/linear.c. */
gr_tensor *gr_add(gr_tensor *a, gr_tensor *b) { return gr_linear_add(a, b); }

/* sub(a, b) = a - b;  db = -g */
gr_tensor *gr_sub(gr_tensor *a, gr_tensor *b) { return apply_binary(&sub_row, a, b); }
static void sub_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = g;
    if (n->wanted[1])
        dx[1] = gr_neg(g);
}

/* mul(a, b) = a b;  da = g b, db = g a */
gr_tensor *gr_mul(gr_tensor *a, gr_tensor *b) { return apply_binary(&mul_row, a, b); }
static void mul_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    if (n->wanted[0])
        dx[0] = gr_mul(g, n->in[1]);
    if (n->wanted[1])
        dx[1] = gr_mul(g, n->in[0]);
}

/* div(a, b) = a / b;  da = g / b, db = -g (a/b) / b */
gr_tensor *gr_div(gr_tensor *a, gr_tensor *b) { return apply_binary(&div_row, a, b); }
static void div_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *da = gr_div(g, n->in[1]);
    dx[0] = da;
    if (n->wanted[1])
        dx[1] = gr_neg(gr_mul(da, n->out));
}

/* Returns g where the condition holds, g / 2 where a and b are equal, else 0. */
static gr_tensor *share(gr_tensor *g, gr_tensor *chosen, gr_tensor *a, gr_tensor *b)
{
    gr_tensor *half = gr_mul(gr_scalar_like(g, 0.5), g);
    gr_tensor *rest = gr_where(gr_equal(a, b), half, gr_scalar_like(g, 0));
    return gr_where(chosen, g, rest);
}

/* maximum(a, b): the larger operand. It gets the gradient; equal operands get half each. */
gr_tensor *gr_maximum(gr_tensor *a, gr_tensor *b) { return apply_binary(&maximum_row, a, b); }
static void maximum_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *a = n->in[0], *b = n->in[1];
    if (n->wanted[0])
        dx[0] = share(g, gr_greater(a, b), a, b);
    if (n->wanted[1])
        dx[1] = share(g, gr_greater(b, a), a, b);
}

/* minimum(a, b): the smaller operand. It gets the gradient; equal operands get half each. */
gr_tensor *gr_minimum(gr_tensor *a, gr_tensor *b) { return apply_binary(&minimum_row, a, b); }
static void minimum_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *a = n->in[0], *b = n->in[1];
    if (n->wanted[0])
        dx[0] = share(g, gr_less(a, b), a, b);
    if (n->wanted[1])
        dx[1] = share(g, gr_less(b, a), a, b);
}

/* ---- Comparisons ----------------------------------------------------------------------------- */

/* Compares floats with floats, or integers and bool with each other. The result is bool. A
   gr_scalar fits all: it is compared in f64 with an integer, and rounded to f32 with an f32. */
static gr_status compare_shape(const gr_call *call, gr_form *results)
{
    gr_status status = gr_need_operands(call, 2);
    if (status != GR_OK)
        return status;
    const gr_tensor *a = call->in[0], *b = call->in[1];
    if (gr_dtype_is_float(gr_type(a)) != gr_dtype_is_float(gr_type(b)) && !gr_weak(a) &&
        !gr_weak(b))
        return gr_fail(call->ctx, GR_ERROR_DTYPE, call->op->name,
                       "dtypes %s and %s differ (gr_cast converts)", gr_dtype_name(gr_type(a)),
                       gr_dtype_name(gr_type(b)));
    results->dtype = GR_BOOL;
    return gr_broadcast_dims(call, &results->shape);
}

#define COMPARE(f, NAME, expression)                                                               \
    static const gr_row f##_row = {{.name = #f,                                                    \
                                    .formula = #expression,                                        \
                                    .kind = GR_ELEMENTWISE,                                        \
                                    .arity = 2,                                                    \
                                    .flags = GR_OP_STRIDED | GR_OP_NO_GRAD,                        \
                                    .shape = compare_shape,                                        \
                                    .run = gr_elementwise_run},                                    \
                                   GR_KERNEL_##NAME};                                              \
    gr_tensor *gr_##f(gr_tensor *a, gr_tensor *b) { return apply_binary(&f##_row, a, b); }
#include "ops.def"

/* ---- Choice ---------------------------------------------------------------------------------- */

/* The condition may have any dtype. The other operands are floats of one dtype. */
static gr_status where_shape(const gr_call *call, gr_form *results)
{
    gr_status status = gr_need_operands(call, 3);
    if (status != GR_OK)
        return status;
    gr_call values = *call;
    values.count = 2;
    values.in = call->in + 1;
    status = gr_broadcast_form(&values, results);
    return status != GR_OK ? status : gr_broadcast_dims(call, &results->shape);
}

/* where(c, a, b) = c != 0 ? a : b;  da = c != 0 ? g : 0, db = c != 0 ? 0 : g */
static void where_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *zero = gr_scalar_like(g, 0);
    if (n->wanted[1])
        dx[1] = gr_where(n->in[0], g, zero);
    if (n->wanted[2])
        dx[2] = gr_where(n->in[0], zero, g);
}
static const gr_row where_row = {{.name = "where",
                                  .formula = "a != 0 ? b : c",
                                  .kind = GR_ELEMENTWISE,
                                  .arity = 3,
                                  .flags = GR_OP_STRIDED,
                                  .shape = where_shape,
                                  .run = gr_elementwise_run,
                                  .vjp = where_vjp,
                                  .reads = {GR_READS_NOTHING, GR_READS_IN(0), GR_READS_IN(0)}},
                                 GR_KERNEL_WHERE};
gr_tensor *gr_where(gr_tensor *condition, gr_tensor *a, gr_tensor *b)
{
    /* Converts an f64 condition to bool first. Otherwise a small nonzero f64 may become 0 in f32,
       the dtype in which the op computes narrower values. */
    if (!gr_failed(condition) && gr_type(condition) == GR_F64)
        condition = gr_cast(condition, GR_BOOL);
    return gr_apply_with(&where_row.op, 3, (gr_tensor *[]){condition, a, b}, NULL);
}
