/* classification.c - negative log likelihood and cross entropy over the classes along one axis.
 *
 * A target of class numbers picks by comparison: [target = c], of the input's shape, chooses what
 * is summed over the class axis, so that what is not picked has no influence, and every gradient is
 * that of the choice. An ignored row picks nothing.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/composed.h"

enum { IGNORE = -100 }; /* PyTorch's */

/* What a target of class numbers says. */
typedef struct labels {
    int axis;           /* the classes' in the input: 1, or 0 of a single row [C] */
    int64_t classes;    /* C */
    int64_t kept;       /* rows that are not ignored */
    int64_t rows;       /* and of all */
    gr_tensor *numbers; /* i64, [N,1,d...]: a class, or -1 for an ignored row */
    gr_tensor *picks;   /* bool, the input's shape */
} labels;

static gr_tensor *number(gr_tensor *like, double value) { return gr_scalar_like(like, value); }
static int class_axis(const gr_tensor *input) { return input->ndim > 1 ? 1 : 0; }

/* [C] as [C,1,...,1], C on the axis of x's classes. */
static gr_tensor *along_classes(const gr_tensor *x, gr_tensor *each)
{
    gr_dims shape = {.count = x->ndim - class_axis(x), .at = {x->shape[class_axis(x)]}};
    for (int i = 1; i < shape.count; i++)
        shape.at[i] = 1;
    return gr_reshape(each, shape);
}

/* ---- Checks ---------------------------------------------------------------------------------- */

static gr_status check_input(const char *op, const gr_tensor *input, const gr_tensor *weight)
{
    if (input->ndim == 0)
        return gr_fail(input->ctx, GR_ERROR_SHAPE, op, "an input of shape [] has no classes");
    const int64_t classes = input->shape[class_axis(input)];
    if (weight && !gr_dtype_is_float(weight->dtype))
        return gr_fail(input->ctx, GR_ERROR_DTYPE, op, "weight is %s, not a float",
                       gr_dtype_name(weight->dtype));
    if (weight && (weight->ndim != 1 || weight->shape[0] != classes))
        return gr_fail(input->ctx, GR_ERROR_SHAPE, op,
                       "weight shape %s must be [%lld], one a class of the input's %s",
                       gr_shape_text(weight).text, (long long)classes, gr_shape_text(input).text);
    return GR_OK;
}

static gr_status check_labels(const char *op, const gr_tensor *input, const gr_tensor *target)
{
    if (target->dtype != GR_I64 && target->dtype != GR_I32 && target->dtype != GR_U8)
        return gr_fail(input->ctx, GR_ERROR_DTYPE, op,
                       "target is %s, and class numbers are i64, i32 or u8",
                       gr_dtype_name(target->dtype));
    const gr_dims own = gr_shape_of(target), shape = gr_shape_of(input);
    gr_dims rows = {0};
    for (int i = 0; i < shape.count; i++)
        if (i != class_axis(input))
            rows.at[rows.count++] = shape.at[i];
    if (!gr_same_dims(&own, &rows))
        return gr_fail(input->ctx, GR_ERROR_SHAPE, op,
                       "target shape %s must be %s, one class a row of the input's %s",
                       gr_dims_text(&own).text, gr_dims_text(&rows).text,
                       gr_dims_text(&shape).text);
    return GR_OK;
}

/* Reads the target into l->numbers; DOMAIN for one that is no class and not to be ignored. */
static gr_status read_labels(const char *op, const gr_tensor *target, int64_t ignore, labels *l)
{
    const gr_dims shape = gr_shape_of(target);
    int64_t *numbers = (int64_t *)(void *)l->numbers->data;
    l->kept = l->rows = gr_numel(target);
    gr_reader reader;
    gr_reader_begin(&reader, target, &shape);
    gr_reader_read(&reader, 0, l->rows, GR_I64, numbers);
    for (int64_t i = 0; i < l->rows; i++) {
        if (numbers[i] == ignore) {
            numbers[i] = -1;
            l->kept--;
        } else if (numbers[i] < 0 || numbers[i] >= l->classes) {
            const gr_dims position = gr_dims_position(&shape, i);
            return gr_fail(target->ctx, GR_ERROR_DOMAIN, op,
                           "target at %s of shape %s is %lld, not a class from 0 to %lld",
                           gr_dims_text(&position).text, gr_dims_text(&shape).text,
                           (long long)numbers[i], (long long)l->classes - 1);
        }
    }
    return GR_OK;
}

static bool make_labels(const char *op, const gr_tensor *input, const gr_tensor *target,
                        const gr_dims *ignore_index, labels *l)
{
    gr_context *ctx = input->ctx;
    gr_dims row = gr_shape_of(input);
    l->axis = class_axis(input);
    l->classes = row.at[l->axis];
    row.at[l->axis] = 1;
    if (ignore_index->count > 1) {
        gr_fail(ctx, GR_ERROR_ARGUMENT, op, "ignore_index %s is not one number",
                gr_dims_text(ignore_index).text);
        return false;
    }
    if (check_labels(op, input, target) != GR_OK)
        return false;
    l->numbers = gr_tensor_in(ctx->scope, op, GR_I64, &row);
    if (!l->numbers ||
        read_labels(op, target, ignore_index->count ? ignore_index->at[0] : IGNORE, l) != GR_OK)
        return false;
    l->picks = gr_equal(l->numbers, along_classes(input, gr_arange(ctx, GR_I64, l->classes)));
    return !gr_failed(l->picks);
}

/* ---- Negative log likelihood ----------------------------------------------------------------- */

/* The rows' own elements of a, which broadcasts to the input's shape; 0 for an ignored row:
 * [N,d...]. */
static gr_tensor *pick(const labels *l, gr_tensor *a)
{
    return gr_loss_sum_along(gr_where(l->picks, a, number(a, 0)), l->axis);
}

/* GR_MEAN divides by the weights of the rows' own classes, or the number of rows that are kept. */
static gr_tensor *reduce(gr_tensor *losses, gr_reduction reduction, gr_tensor *row_weights,
                         double kept)
{
    if (reduction != GR_MEAN)
        return gr_reduce_losses(losses, reduction);
    gr_tensor *sum = gr_reduce_losses(losses, GR_SUM);
    return gr_div(sum, row_weights ? gr_reduce_losses(row_weights, GR_SUM) : number(sum, kept));
}

/* -w[t] logp[t], and with smoothing e: (1-e) of it, and e/C of -(sum over c of w[c] logp[c]). */
static gr_tensor *nll(const labels *l, gr_tensor *logp, gr_tensor *weight, double e,
                      gr_reduction reduction)
{
    gr_tensor *w = weight ? along_classes(logp, weight) : NULL;
    gr_tensor *row_weights = w ? pick(l, w) : NULL;
    gr_tensor *losses = gr_neg(pick(l, logp));
    if (w)
        losses = gr_mul(row_weights, losses);
    if (e != 0) {
        gr_tensor *all = gr_neg(gr_loss_sum_along(w ? gr_mul(w, logp) : logp, l->axis));
        gr_tensor *zero = number(all, 0);
        gr_tensor *numbers = gr_reshape(l->numbers, gr_shape_of(all));
        all = gr_where(gr_less(numbers, gr_scalar(all->ctx, 0)), zero, all);
        losses = gr_add(gr_mul(losses, number(losses, 1 - e)),
                        gr_mul(all, number(all, e / (double)l->classes)));
    }
    return reduce(losses, reduction, row_weights, (double)l->kept);
}

/* Ignored rows are zeros from here on: not even a NaN in them gets any further. */
static gr_tensor *kept_rows(const labels *l, gr_tensor *x)
{
    if (l->kept == l->rows)
        return x;
    return gr_where(gr_less(l->numbers, gr_scalar(x->ctx, 0)), number(x, 0), x);
}

gr_tensor *gr_nll_with(gr_tensor *input, const gr_nll_args *args)
{
    args = args ? args : &(const gr_nll_args){0};
    const gr_loss_operand operands[] = {{.name = "input", .tensor = input},
                                        {"target", args->target, GR_OWN_SHAPE},
                                        {"weight", args->weight, GR_OPTIONAL}};
    gr_tensor *failed;
    labels l;
    if (!gr_loss_operands("nll", 3, operands, &failed) ||
        check_input("nll", input, args->weight) != GR_OK ||
        gr_check_reduction(input->ctx, "nll", args->reduction) != GR_OK ||
        !make_labels("nll", input, args->target, &args->ignore_index, &l))
        return failed;
    gr_tensor *w = args->weight ? gr_loss_wide(args->weight, input) : NULL;
    gr_tensor *logp = kept_rows(&l, gr_loss_wide(input, input));
    return gr_loss_done(nll(&l, logp, w, 0, args->reduction), GR_NONE, input);
}

/* ---- Cross entropy --------------------------------------------------------------------------- */

/* -sum over c of w[c] y'[c] logp[c], y' = y (1-e) + e/C; the mean is over all rows. */
static gr_tensor *of_probabilities(gr_tensor *logp, gr_tensor *y, gr_tensor *weight, double e,
                                   gr_reduction reduction)
{
    const int axis = class_axis(logp);
    if (e != 0)
        y = gr_add(gr_mul(y, number(y, 1 - e)), number(y, e / (double)logp->shape[axis]));
    gr_tensor *terms = gr_mul(y, logp);
    if (weight)
        terms = gr_mul(terms, along_classes(logp, weight));
    return gr_reduce_losses(gr_neg(gr_loss_sum_along(terms, axis)), reduction);
}

static gr_status check_cross_entropy(gr_tensor *input, const gr_cross_entropy_args *args)
{
    static const char op[] = "cross_entropy";
    const gr_tensor *target = args->target;
    const gr_dims own = gr_shape_of(target), shape = gr_shape_of(input);
    const gr_status status = check_input(op, input, args->weight);
    if (status != GR_OK)
        return status;
    if (!(args->label_smoothing >= 0 && args->label_smoothing <= 1))
        return gr_fail(input->ctx, GR_ERROR_ARGUMENT, op, "label_smoothing %g lies outside [0,1]",
                       args->label_smoothing);
    if (gr_dtype_is_float(target->dtype) && !gr_same_dims(&own, &shape))
        return gr_fail(
            input->ctx, GR_ERROR_SHAPE, op,
            "target shape %s must be the input's, %s, for one of probabilities, as %s is",
            gr_dims_text(&own).text, gr_dims_text(&shape).text, gr_dtype_name(target->dtype));
    if (gr_dtype_is_float(target->dtype) && args->ignore_index.count)
        return gr_fail(input->ctx, GR_ERROR_ARGUMENT, op,
                       "ignore_index goes with class numbers, and the target is %s: probabilities",
                       gr_dtype_name(target->dtype));
    return gr_check_reduction(input->ctx, op, args->reduction);
}

gr_tensor *gr_cross_entropy_with(gr_tensor *input, const gr_cross_entropy_args *args)
{
    args = args ? args : &(const gr_cross_entropy_args){0};
    static const char op[] = "cross_entropy";
    const gr_loss_operand operands[] = {{.name = "input", .tensor = input},
                                        {"target", args->target, GR_OWN_SHAPE},
                                        {"weight", args->weight, GR_OPTIONAL}};
    gr_tensor *failed;
    labels l = {0};
    if (!gr_loss_operands(op, 3, operands, &failed) || check_cross_entropy(input, args) != GR_OK)
        return failed;
    const bool probabilities = gr_dtype_is_float(args->target->dtype);
    if (!probabilities && !make_labels(op, input, args->target, &args->ignore_index, &l))
        return failed;
    const double e = args->label_smoothing;
    gr_tensor *x = gr_loss_wide(input, input);
    gr_tensor *w = args->weight ? gr_loss_wide(args->weight, input) : NULL;
    gr_tensor *logp = gr_log_softmax(probabilities ? x : kept_rows(&l, x), class_axis(x));
    gr_tensor *loss = probabilities ? of_probabilities(logp, gr_loss_wide(args->target, input), w,
                                                       e, args->reduction)
                                    : nll(&l, logp, w, e, args->reduction);
    return gr_loss_done(loss, GR_NONE, input);
}
