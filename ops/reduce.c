/* reduce.c - sum and mean over some axes.
 *
 * The sweep itself sums gradients. So the row of sum, and the code that sum and mean share, are in
 * core/engine/linear.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <gradus/ops.h>

/* sum(x) over axes;  dx = g, repeated along the reduced axes */
gr_tensor *gr_sum_with(const gr_reduce_args *args)
{
    return args ? gr_reduce_apply(&gr_sum_op, args->x, &args->axes, args->keepdim)
                : gr_null_context.failed;
}

/* mean(x) over axes = sum(x) / n;  dx = g / n, repeated. If n is 0, no element gets it, and g is
   not divided: a second derivative would be 0/0. */
static void mean_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    const double divisor = ((const gr_reduce_attributes *)n->attributes)->divisor;
    dx[0] = gr_reduce_spread(n, gr_div(g, gr_scalar(n->ctx, divisor == 0 ? 1 : divisor)));
}
static const gr_op mean_op = {.name = "mean",
                              .kind = GR_REDUCTION,
                              .arity = 1,
                              .flags = GR_OP_STRIDED,
                              .attributes_size = sizeof(gr_reduce_attributes),
                              .shape = gr_reduce_op_shape,
                              .scratch = gr_reduce_op_scratch,
                              .run = gr_reduce_op_run,
                              .vjp = mean_vjp,
                              .reads = {GR_READS_NOTHING}};
gr_tensor *gr_mean_with(const gr_reduce_args *args)
{
    return args ? gr_reduce_apply(&mean_op, args->x, &args->axes, args->keepdim)
                : gr_null_context.failed;
}

/* sum_to(x, shape): sums over those axes along which x repeats the shape */
gr_tensor *gr_sum_to(gr_tensor *x, gr_dims shape)
{
    gr_tensor *failed;
    if (!gr_usable("sum_to", x, 0, &failed))
        return failed;
    if (shape.count < 0 || shape.count > GR_MAX_DIMS)
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_SHAPE, "sum_to", "more than %d dimensions",
                              GR_MAX_DIMS);
    return gr_linear_sum_to(x, &shape);
}
