/* regression.c - losses of an input against a target of its shape: distances and likelihoods.
 *
 * Each loss: its formula, a function of the elements in public ops, and the public function, which
 * checks and reduces. d = x - y.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/composed.h"
#include <math.h>

static gr_tensor *number(gr_tensor *like, double value) { return gr_scalar_like(like, value); }

/* ---- Distances ------------------------------------------------------------------------------- */

/* d^2 */
gr_tensor *gr_mse_with(gr_tensor *input, const gr_loss_args *args)
{
    args = args ? args : &(const gr_loss_args){0};
    gr_tensor *x, *y;
    if (!gr_loss_ready("mse", input, args->target, args->reduction, &x, &y))
        return x;
    return gr_loss_done(gr_square(gr_sub(x, y)), args->reduction, input);
}

/* |d| */
gr_tensor *gr_l1_with(gr_tensor *input, const gr_loss_args *args)
{
    args = args ? args : &(const gr_loss_args){0};
    gr_tensor *x, *y;
    if (!gr_loss_ready("l1", input, args->target, args->reduction, &x, &y))
        return x;
    return gr_loss_done(gr_abs(gr_sub(x, y)), args->reduction, input);
}

/* d^2/2 where |d| < delta, else delta (|d| - delta/2). With c = d cut to [-delta, delta] both are
   c (d - c/2): no square that overflows, no branch, and at d = 0 nothing but a parabola. */
static gr_tensor *huber(gr_tensor *x, gr_tensor *y, double delta)
{
    gr_tensor *d = gr_sub(x, y);
    gr_tensor *c = gr_maximum(gr_minimum(d, number(d, delta)), number(d, -delta));
    return gr_mul(c, gr_sub(d, gr_mul(c, number(c, 0.5))));
}

gr_tensor *gr_huber_with(gr_tensor *input, const gr_huber_args *args)
{
    args = args ? args : &(const gr_huber_args){0};
    gr_tensor *x, *y;
    double delta;
    if (!gr_loss_ready("huber", input, args->target, args->reduction, &x, &y))
        return x;
    if (!gr_loss_number(input->ctx, "huber", "delta", args->delta, 1, true, &delta))
        return &input->ctx->failed;
    return gr_loss_done(huber(x, y, delta), args->reduction, input);
}

/* Huber's with delta = beta, over beta */
gr_tensor *gr_smooth_l1_with(gr_tensor *input, const gr_smooth_l1_args *args)
{
    args = args ? args : &(const gr_smooth_l1_args){0};
    gr_tensor *x, *y;
    double beta;
    if (!gr_loss_ready("smooth_l1", input, args->target, args->reduction, &x, &y))
        return x;
    if (!gr_loss_number(input->ctx, "smooth_l1", "beta", args->beta, 1, true, &beta))
        return &input->ctx->failed;
    gr_tensor *losses = gr_div(huber(x, y, beta), number(x, beta));
    return gr_loss_done(losses, args->reduction, input);
}

/* ---- Likelihoods and divergences ------------------------------------------------------------- */

/* y (log y - x), or e^y (y - x) of a log_target y. 0 log 0 is 0, with gradient 0. */
static gr_tensor *kl_div(gr_tensor *x, gr_tensor *y, bool log_target)
{
    if (log_target)
        return gr_mul(gr_exp(y), gr_sub(y, x));
    gr_tensor *zero = number(y, 0), *nothing = gr_equal(y, zero);
    gr_tensor *y_log_y = gr_mul(y, gr_log(gr_where(nothing, number(y, 1), y)));
    return gr_sub(gr_where(nothing, zero, y_log_y), gr_mul(y, x));
}

gr_tensor *gr_kl_div_with(gr_tensor *input, const gr_kl_div_args *args)
{
    args = args ? args : &(const gr_kl_div_args){0};
    gr_tensor *x, *y;
    if (!gr_loss_ready("kl_div", input, args->target, args->reduction, &x, &y))
        return x;
    if (!args->batch_mean)
        return gr_loss_done(kl_div(x, y, args->log_target), args->reduction, input);
    if (args->reduction != GR_MEAN)
        return gr_fail_tensor(input->ctx, GR_ERROR_ARGUMENT, "kl_div",
                              "batch_mean is a kind of GR_MEAN, and goes with no other reduction");
    if (input->ndim == 0)
        return gr_fail_tensor(input->ctx, GR_ERROR_SHAPE, "kl_div",
                              "batch_mean asks for an input of one axis at least, not []");
    gr_tensor *sum = gr_reduce_losses(kl_div(x, y, args->log_target), GR_SUM);
    sum = gr_div(sum, number(sum, (double)input->shape[0]));
    return gr_loss_done(sum, GR_NONE, input);
}

/* y log y - y + log(2 pi y)/2 where y > 1, else 0: Stirling's approximation of log y!, whose part
   that is not chosen is computed for y = 1, so that no log 0 gets into a gradient. */
static gr_tensor *stirling(gr_tensor *y)
{
    gr_tensor *one = number(y, 1), *small = gr_less_equal(y, one);
    gr_tensor *t = gr_where(small, one, y);
    gr_tensor *root = gr_mul(number(t, 0.5), gr_log(gr_mul(number(t, 2 * M_PI), t)));
    return gr_where(small, number(y, 0), gr_add(gr_sub(gr_mul(t, gr_log(t)), t), root));
}

/* e^x - y x of a log of a rate; x - y log(x + eps) of a rate */
gr_tensor *gr_poisson_nll_with(gr_tensor *input, const gr_poisson_nll_args *args)
{
    args = args ? args : &(const gr_poisson_nll_args){0};
    gr_tensor *x, *y;
    double eps;
    if (!gr_loss_ready("poisson_nll", input, args->target, args->reduction, &x, &y))
        return x;
    if (!gr_loss_number(input->ctx, "poisson_nll", "eps", args->eps, 1e-8, true, &eps))
        return &input->ctx->failed;
    gr_tensor *losses;
    if (args->rate_input)
        losses = gr_sub(x, gr_mul(y, gr_log(gr_add(x, number(x, eps)))));
    else
        losses = gr_sub(gr_exp(x), gr_mul(y, x));
    if (args->full)
        losses = gr_add(losses, stirling(y));
    return gr_loss_done(losses, args->reduction, input);
}

/* DOMAIN for a variance below 0. */
static gr_status check_variance(const gr_tensor *variance)
{
    const gr_dims shape = gr_shape_of(variance);
    gr_reader reader;
    gr_reader_begin(&reader, variance, &shape);
    for (int64_t i = 0; i < gr_dims_count(&shape); i++) {
        double value;
        gr_reader_read(&reader, i, 1, GR_F64, &value);
        if (!(value < 0))
            continue;
        const gr_dims position = gr_dims_position(&shape, i);
        return gr_fail(variance->ctx, GR_ERROR_DOMAIN, "gaussian_nll",
                       "variance at %s of shape %s is %g, below 0", gr_dims_text(&position).text,
                       gr_dims_text(&shape).text, value);
    }
    return GR_OK;
}

/* The variance of x's shape, or with size 1 along its last axis, or without that axis: one a row;
   or one for all. So that it broadcasts to x; NULL: SHAPE. */
static gr_tensor *spread_variance(const gr_tensor *x, gr_tensor *variance)
{
    const gr_dims shape = gr_shape_of(x), own = gr_shape_of(variance);
    if (gr_same_dims(&own, &shape) || own.count == 0)
        return variance;
    if (shape.count == 0) {
        gr_fail(x->ctx, GR_ERROR_SHAPE, "gaussian_nll", "variance shape %s must be the input's, []",
                gr_dims_text(&own).text);
        return NULL;
    }
    gr_dims row = shape, column = shape;
    row.count--;
    column.at[row.count] = 1;
    if (gr_same_dims(&own, &row))
        return gr_reshape(variance, column);
    if (gr_same_dims(&own, &column))
        return variance;
    gr_fail(x->ctx, GR_ERROR_SHAPE, "gaussian_nll",
            "variance shape %s must be the input's, %s, or one a row, %s or %s",
            gr_dims_text(&own).text, gr_dims_text(&shape).text, gr_dims_text(&column).text,
            gr_dims_text(&row).text);
    return NULL;
}

/* (log v + d^2 / v) / 2, + log(2 pi)/2 where full; v = max(variance, eps), where the gradient does
   not see the cut: below eps it is eps + (variance - its own value). */
static gr_tensor *gaussian_nll(gr_tensor *x, gr_tensor *y, gr_tensor *variance, double eps,
                               bool full)
{
    gr_tensor *least = number(variance, eps);
    gr_tensor *cut = gr_add(least, gr_sub(variance, gr_detach(variance)));
    gr_tensor *v = gr_where(gr_less(variance, least), cut, variance);
    gr_tensor *twice = gr_add(gr_log(v), gr_div(gr_square(gr_sub(x, y)), v));
    gr_tensor *half = gr_mul(twice, number(x, 0.5));
    return full ? gr_add(half, number(x, 0.5 * log(2 * M_PI))) : half;
}

gr_tensor *gr_gaussian_nll_with(gr_tensor *input, const gr_gaussian_nll_args *args)
{
    args = args ? args : &(const gr_gaussian_nll_args){0};
    static const char op[] = "gaussian_nll";
    const gr_loss_operand operands[] = {{.name = "input", .tensor = input},
                                        {.name = "target", .tensor = args->target},
                                        {"variance", args->variance, GR_OWN_SHAPE}};
    gr_tensor *failed;
    double eps;
    if (!gr_loss_operands(op, 3, operands, &failed))
        return failed;
    gr_tensor *variance = spread_variance(input, args->variance);
    if (!variance || gr_check_reduction(input->ctx, op, args->reduction) != GR_OK ||
        !gr_loss_number(input->ctx, op, "eps", args->eps, 1e-6, true, &eps) ||
        check_variance(args->variance) != GR_OK)
        return failed;
    gr_tensor *x = gr_loss_wide(input, input), *y = gr_loss_wide(args->target, input);
    gr_tensor *losses = gaussian_nll(x, y, gr_loss_wide(variance, input), eps, args->full);
    return gr_loss_done(losses, args->reduction, input);
}
