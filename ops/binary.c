/* binary.c - functions of two operands, elementwise with broadcasting, and the choice between two.
 *
 * A rule may return a gradient of the broadcast shape: the engine sums it down to its operand's.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"

#define BINARY(f, NAME, kind, low, high, reference)                                                \
    static void f##_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx);                           \
    static const gr_row f##_row = {{.name = #f,                                                    \
                                    .arity = 2,                                                    \
                                    .flags = GR_OP_STRIDED,                                        \
                                    .forward = gr_elementwise_forward,                             \
                                    .vjp = f##_vjp},                                               \
                                   GR_KERNEL_##NAME};
#include "ops.def"

static gr_tensor *apply(const gr_row *row, gr_tensor *a, gr_tensor *b)
{
    return gr_apply_with(&row->op, 2, (gr_tensor *[]){a, b}, NULL);
}

/* add(a, b) = a + b */
gr_tensor *gr_add(gr_tensor *a, gr_tensor *b) { return apply(&add_row, a, b); }
static void add_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)n;
    dx[0] = g;
    dx[1] = g;
}

/* sub(a, b) = a - b;  db = -g */
gr_tensor *gr_sub(gr_tensor *a, gr_tensor *b) { return apply(&sub_row, a, b); }
static void sub_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = g;
    if (n->wanted[1])
        dx[1] = gr_neg(g);
}

/* mul(a, b) = a b;  da = g b, db = g a */
gr_tensor *gr_mul(gr_tensor *a, gr_tensor *b) { return apply(&mul_row, a, b); }
static void mul_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    if (n->wanted[0])
        dx[0] = gr_mul(g, n->in[1]);
    if (n->wanted[1])
        dx[1] = gr_mul(g, n->in[0]);
}

/* div(a, b) = a / b;  da = g / b, db = -g (a/b) / b */
gr_tensor *gr_div(gr_tensor *a, gr_tensor *b) { return apply(&div_row, a, b); }
static void div_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *da = gr_div(g, n->in[1]);
    dx[0] = da;
    if (n->wanted[1])
        dx[1] = gr_neg(gr_mul(da, n->out));
}

/* g where the condition holds; half of it where a and b are equal; else 0. */
static gr_tensor *share(gr_tensor *g, gr_tensor *chosen, gr_tensor *a, gr_tensor *b)
{
    gr_tensor *half = gr_mul(gr_scalar_like(g, 0.5), g);
    gr_tensor *rest = gr_where(gr_equal(a, b), half, gr_scalar_like(g, 0));
    return gr_where(chosen, g, rest);
}

/* maximum(a, b): the larger; the gradient goes to the one chosen, half to each where they are
   equal */
gr_tensor *gr_maximum(gr_tensor *a, gr_tensor *b) { return apply(&maximum_row, a, b); }
static void maximum_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *a = n->in[0], *b = n->in[1];
    if (n->wanted[0])
        dx[0] = share(g, gr_greater(a, b), a, b);
    if (n->wanted[1])
        dx[1] = share(g, gr_greater(b, a), a, b);
}

/* minimum(a, b): the smaller, likewise */
gr_tensor *gr_minimum(gr_tensor *a, gr_tensor *b) { return apply(&minimum_row, a, b); }
static void minimum_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *a = n->in[0], *b = n->in[1];
    if (n->wanted[0])
        dx[0] = share(g, gr_less(a, b), a, b);
    if (n->wanted[1])
        dx[1] = share(g, gr_less(b, a), a, b);
}

/* ---- Comparisons ----------------------------------------------------------------------------- */

/* Any dtypes; the broadcast shape, bool. A scalar of gr_scalar takes the other's side as it is: its
   value is compared in f64 with an integer, in f32 with an f32, rounded to that first. */
static gr_status compare_shape(const gr_call *call, gr_dtype *dtype, gr_dims *shape)
{
    const gr_tensor *a = call->in[0], *b = call->in[1];
    if (!a || !b)
        return gr_fail(call->ctx, GR_ERROR_NULL, call->op->name, "operand %d is NULL", a ? 1 : 0);
    *dtype = GR_BOOL;
    if (gr_dtype_is_float(a->dtype) != gr_dtype_is_float(b->dtype) && !a->weak && !b->weak)
        return gr_fail(call->ctx, GR_ERROR_DTYPE, call->op->name,
                       "dtypes %s and %s differ (gr_cast converts)", gr_dtype_name(a->dtype),
                       gr_dtype_name(b->dtype));
    return gr_broadcast_dims(call, shape);
}

#define COMPARE(f, NAME, reference)                                                                \
    static const gr_row f##_row = {{.name = #f,                                                    \
                                    .arity = 2,                                                    \
                                    .flags = GR_OP_STRIDED | GR_OP_NO_GRAD,                        \
                                    .forward = gr_elementwise_forward,                             \
                                    .shape = compare_shape},                                       \
                                   GR_KERNEL_##NAME};                                              \
    gr_tensor *gr_##f(gr_tensor *a, gr_tensor *b) { return apply(&f##_row, a, b); }
#include "ops.def"

/* ---- Choice ---------------------------------------------------------------------------------- */

/* The condition has any dtype; the others are floats of one. */
static gr_status where_shape(const gr_call *call, gr_dtype *dtype, gr_dims *shape)
{
    gr_call values = *call;
    values.count = 2;
    values.in[0] = call->in[1];
    values.in[1] = call->in[2];
    for (int i = 0; i < 3; i++)
        if (!call->in[i])
            return gr_fail(call->ctx, GR_ERROR_NULL, "where", "operand %d is NULL", i);
    const gr_status status = gr_broadcast_shape(&values, dtype, shape);
    return status != GR_OK ? status : gr_broadcast_dims(call, shape);
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
                                  .arity = 3,
                                  .flags = GR_OP_STRIDED,
                                  .forward = gr_elementwise_forward,
                                  .vjp = where_vjp,
                                  .shape = where_shape},
                                 GR_KERNEL_WHERE};
gr_tensor *gr_where(gr_tensor *condition, gr_tensor *a, gr_tensor *b)
{
    /* As bool: what is not 0 in f64 may be 0 in f32, in which narrower values are chosen. */
    if (condition && condition->state == GR_LIVE && condition->dtype == GR_F64)
        condition = gr_cast(condition, GR_BOOL);
    return gr_apply_with(&where_row.op, 3, (gr_tensor *[]){condition, a, b}, NULL);
}
