/* regression.c - losses of an input against a target of the same shape: distances and likelihoods.
 *
 * Each loss has its formula, a function of the elements in public ops, and the public function,
 * which checks and reduces. d = x - y.
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

/* d^2/2 if |d| < delta, else delta (|d| - delta/2). With c = d clamped to [-delta, delta], both are
   c (d - c/2). This form has no square that could overflow, and no branch. Near d = 0 it is a
   parabola. */
static gr_tensor *huber(gr_tensor *x, gr_tensor *y, double delta)
{
    gr_tensor *d = gr_sub(x, y);
    gr_tensor *c = gr_maximum(gr_minimum(d, number(d, delta)), number(d, -delta));
    return gr_mul(c, gr_sub(d, gr_mul(c, number(c, 0.5))));
}

gr_huber_args gr_huber_defaults(void) { return (gr_huber_args){GR_HUBER_DEFAULTS}; }

gr_tensor *gr_huber_with(gr_tensor *input, const gr_huber_args *args)
{
    args = args ? args : &(const gr_huber_args){GR_HUBER_DEFAULTS};
    gr_tensor *x, *y;
    if (!gr_loss_ready("huber", input, args->target, args->reduction, &x, &y))
        return x;
    if (!gr_check_defaults(gr_ctx(input), "huber", args->from_defaults, "huber") ||
        !gr_loss_number(gr_ctx(input), "huber", "delta", args->delta, GR_LOSS_ABOVE_0))
        return gr_ctx(input)->failed;
    return gr_loss_done(huber(x, y, args->delta), args->reduction, input);
}

gr_smooth_l1_args gr_smooth_l1_defaults(void) { return (gr_smooth_l1_args){GR_SMOOTH_L1_DEFAULTS}; }

/* huber with delta = beta, divided by beta; its limit |d| for beta = 0 */
static gr_tensor *smooth_l1(gr_tensor *x, gr_tensor *y, double beta)
{
    return beta == 0 ? gr_abs(gr_sub(x, y)) : gr_div(huber(x, y, beta), number(x, beta));
}

gr_tensor *gr_smooth_l1_with(gr_tensor *input, const gr_smooth_l1_args *args)
{
    args = args ? args : &(const gr_smooth_l1_args){GR_SMOOTH_L1_DEFAULTS};
    gr_tensor *x, *y;
    if (!gr_loss_ready("smooth_l1", input, args->target, args->reduction, &x, &y))
        return x;
    if (!gr_check_defaults(gr_ctx(input), "smooth_l1", args->from_defaults, "smooth_l1") ||
        !gr_loss_number(gr_ctx(input), "smooth_l1", "beta", args->beta, GR_LOSS_FROM_0))
        return gr_ctx(input)->failed;
    return gr_loss_done(smooth_l1(x, y, args->beta), args->reduction, input);
}

/* ---- Operands that may not be below 0 -------------------------------------------------------- */

/* The attributes hold a number that stands for the names in messages: they hold no pointer. */
enum { VARIANCE, RATE };
static const struct {
    const char *op, *operand;
} checks[] = {{"gaussian_nll", "variance"}, {"poisson_nll", "rate"}};

static gr_status checked_shape(const gr_call *call, gr_form *results)
{
    const gr_tensor *x = call->in[0];
    *results = (gr_form){.dtype = gr_type(x), .shape = gr_shape_of(x)};
    return GR_OK;
}

static gr_status raise_negative(const gr_call *call, int64_t i, double value)
{
    const int64_t which = *(const int64_t *)call->attributes;
    const gr_dims shape = gr_shape_of(call->in[0]), position = gr_dims_position(&shape, i);
    return gr_fail(call->ctx, GR_ERROR_DOMAIN, checks[which].op,
                   "%s at %s of shape %s is %g, below 0", checks[which].operand,
                   gr_dims_text(&position).text, gr_dims_text(&shape).text, value);
}

static gr_status checked_run(const gr_call *call)
{
    const gr_tensor *x = call->in[0];
    const gr_dims shape = gr_shape_of(x);
    const int64_t count = gr_count(x);
    gr_reader reader;
    gr_reader_begin(&reader, x, &shape);
    gr_reader_read(&reader, 0, count, gr_type(x), gr_bytes(call->out));
    for (int64_t start = 0; start < count; start += GR_CHUNK) {
        double values[GR_CHUNK];
        const int64_t length = count - start < GR_CHUNK ? count - start : GR_CHUNK;
        gr_reader_read(&reader, start, length, GR_F64, values);
        for (int64_t i = 0; i < length; i++)
            if (values[i] < 0)
                return raise_negative(call, start + i, values[i]);
    }
    return GR_OK;
}

static void checked_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)n;
    dx[0] = g;
}

/* checked(x): x's elements. DOMAIN if one is below 0.  dx = g */
static const gr_op checked_op = {.name = "checked",
                                 .flags = GR_OP_STRIDED,
                                 .arity = 1,
                                 .attributes_size = sizeof(int64_t),
                                 .shape = checked_shape,
                                 .run = checked_run,
                                 .vjp = checked_vjp,
                                 .reads = {GR_READS_NOTHING}};
static gr_tensor *checked(gr_tensor *x, int64_t which)
{
    return gr_apply_with(&checked_op, 1, &x, &which);
}

/* ---- Likelihoods and divergences ------------------------------------------------------------- */

/* y (log y - x). If log_target, y is a logarithm and the loss is e^y (y - x). A probability of 0
   does not count: 0 log 0 is 0, with gradient 0, and so is 0 times an x of -inf. */
static gr_tensor *kl_div(gr_tensor *x, gr_tensor *y, bool log_target)
{
    gr_tensor *nothing = gr_equal(y, number(y, log_target ? -INFINITY : 0)), *zero = number(y, 0);
    if (log_target) {
        gr_tensor *some = gr_where(nothing, zero, y);
        return gr_where(nothing, zero, gr_loss_product(gr_exp(some), gr_sub(some, x)));
    }
    gr_tensor *y_log_y = gr_mul(y, gr_log(gr_where(nothing, number(y, 1), y)));
    return gr_sub(gr_where(nothing, zero, y_log_y), gr_loss_product(y, x));
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
        return gr_fail_tensor(gr_ctx(input), GR_ERROR_ARGUMENT, "kl_div",
                              "batch_mean is a kind of GR_MEAN, and goes with no other reduction");
    if (gr_axes_of(input) == 0)
        return gr_fail_tensor(gr_ctx(input), GR_ERROR_SHAPE, "kl_div",
                              "batch_mean asks for an input of one axis at least, not []");
    gr_tensor *sum = gr_reduce_losses(kl_div(x, y, args->log_target), GR_SUM);
    sum = gr_div(sum, number(sum, (double)gr_sizes(input)[0]));
    return gr_loss_done(sum, GR_NONE, input);
}

/* y log y - y + log(2 pi y)/2 if y > 1, else 0: Stirling's approximation of log y!. Elements that
   get 0 are computed with y = 1, so that no log 0 reaches a gradient. */
static gr_tensor *stirling(gr_tensor *y)
{
    gr_tensor *one = number(y, 1), *small = gr_less_equal(y, one);
    gr_tensor *t = gr_where(small, one, y);
    gr_tensor *root = gr_mul(number(t, 0.5), gr_log(gr_mul(number(t, 2 * M_PI), t)));
    return gr_where(small, number(y, 0), gr_add(gr_sub(gr_mul(t, gr_log(t)), t), root));
}

/* e^x - y x for x, the log of a rate. At infinity e^x is larger than any y x. */
static gr_tensor *poisson_of_log(gr_tensor *x, gr_tensor *y)
{
    gr_tensor *rate = gr_exp(x), *infinite = gr_equal(x, number(x, INFINITY));
    return gr_where(infinite, rate, gr_sub(rate, gr_loss_product(y, x)));
}

/* x - y log(x + eps) for a rate x. At infinity x is larger than any y log x. 0 log 0 is 0, with
   gradient 0. */
static gr_tensor *poisson_of_rate(gr_tensor *x, gr_tensor *y, double eps)
{
    gr_tensor *infinite = gr_equal(x, number(x, INFINITY));
    gr_tensor *rate = gr_add(x, number(x, eps)), *one = number(x, 1), *zero = number(x, 0);
    gr_tensor *some = gr_where(gr_equal(rate, zero), one, rate);
    gr_tensor *log = gr_log(gr_where(gr_equal(y, zero), some, rate));
    return gr_where(infinite, x, gr_sub(x, gr_loss_product(y, log)));
}

gr_poisson_nll_args gr_poisson_nll_defaults(void)
{
    return (gr_poisson_nll_args){GR_POISSON_NLL_DEFAULTS};
}

gr_tensor *gr_poisson_nll_with(gr_tensor *input, const gr_poisson_nll_args *args)
{
    args = args ? args : &(const gr_poisson_nll_args){GR_POISSON_NLL_DEFAULTS};
    gr_tensor *x, *y;
    if (!gr_loss_ready("poisson_nll", input, args->target, args->reduction, &x, &y))
        return x;
    if (!gr_check_defaults(gr_ctx(input), "poisson_nll", args->from_defaults, "poisson_nll") ||
        !gr_loss_number(gr_ctx(input), "poisson_nll", "eps", args->eps, GR_LOSS_FROM_0))
        return gr_ctx(input)->failed;
    gr_tensor *losses =
        args->rate_input ? poisson_of_rate(checked(x, RATE), y, args->eps) : poisson_of_log(x, y);
    if (args->full)
        losses = gr_add(losses, stirling(y));
    return gr_loss_done(losses, args->reduction, input);
}

/* ---- Gaussian likelihood --------------------------------------------------------------------- */

/* Finds a shape in which the variance broadcasts to x. The variance may have x's shape, or size 1
   along x's last axis. It may lack that axis (one number for each sample), or be 0-d. False after
   SHAPE. */
static bool spread_shape(const gr_tensor *x, const gr_tensor *variance, gr_dims *spread)
{
    const gr_dims shape = gr_shape_of(x), own = gr_shape_of(variance);
    *spread = own;
    if (gr_same_dims(&own, &shape) || own.count == 0)
        return true;
    if (shape.count == 0) {
        gr_fail(gr_ctx(x), GR_ERROR_SHAPE, "gaussian_nll",
                "variance shape %s must be the input's, []", gr_dims_text(&own).text);
        return false;
    }
    gr_dims sample = shape, column = shape;
    sample.count--;
    column.at[sample.count] = 1;
    *spread = column;
    if (gr_same_dims(&own, &sample) || gr_same_dims(&own, &column))
        return true;
    gr_fail(gr_ctx(x), GR_ERROR_SHAPE, "gaussian_nll",
            "variance shape %s must be the input's, %s, or one a row, %s or %s",
            gr_dims_text(&own).text, gr_dims_text(&shape).text, gr_dims_text(&column).text,
            gr_dims_text(&sample).text);
    return false;
}

/* (log v + d^2 / v) / 2, plus log(2 pi)/2 if full; v = max(variance, eps). The gradient ignores the
   clamp: below eps, v is eps + (variance - its detached value). */
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

gr_gaussian_nll_args gr_gaussian_nll_defaults(void)
{
    return (gr_gaussian_nll_args){GR_GAUSSIAN_NLL_DEFAULTS};
}

gr_tensor *gr_gaussian_nll_with(gr_tensor *input, const gr_gaussian_nll_args *args)
{
    args = args ? args : &(const gr_gaussian_nll_args){GR_GAUSSIAN_NLL_DEFAULTS};
    static const char op[] = "gaussian_nll";
    const gr_loss_operand operands[] = {{.name = "input", .tensor = input},
                                        {.name = "target", .tensor = args->target},
                                        {"variance", args->variance, GR_OWN_SHAPE}};
    gr_tensor *failed;
    gr_dims spread;
    if (!gr_loss_operands(op, 3, operands, &failed) ||
        !spread_shape(input, args->variance, &spread) ||
        gr_check_reduction(gr_ctx(input), op, args->reduction) != GR_OK ||
        !gr_check_defaults(gr_ctx(input), op, args->from_defaults, op) ||
        !gr_loss_number(gr_ctx(input), op, "eps", args->eps, GR_LOSS_FROM_0))
        return failed;
    gr_tensor *variance = gr_reshape(checked(args->variance, VARIANCE), spread);
    gr_tensor *x = gr_loss_wide(input, input), *y = gr_loss_wide(args->target, input);
    gr_tensor *losses = gaussian_nll(x, y, gr_loss_wide(variance, input), args->eps, args->full);
    return gr_loss_done(losses, args->reduction, input);
}
