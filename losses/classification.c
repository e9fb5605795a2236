/* classification.c - negative log likelihood and cross entropy over the classes along one axis.
 *
 * The input holds samples: one [C], or [N,C,d...] with N times d... of them. A target of class
 * numbers has one number for each sample. It becomes picks: a bool tensor of the input's shape,
 * true at the class of each sample. The loss is the sum of the picked elements over the class axis.
 * Elements that are not picked have no influence, and get the gradient 0. An ignored sample picks
 * nothing.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/composed.h"

/* The two losses and their names in messages. Attributes hold the number, because they must not
   hold a pointer. */
enum { NLL, CROSS_ENTROPY };
static const char *const names[] = {"nll", "cross_entropy"};

static gr_tensor *number(gr_tensor *like, double value) { return gr_scalar_like(like, value); }

/* Returns the axis of the classes in the input. */
static int class_axis(const gr_tensor *input) { return gr_axes_of(input) > 1 ? 1 : 0; }
static int64_t classes_of(const gr_tensor *input) { return gr_sizes(input)[class_axis(input)]; }

/* Reshapes [C] to [C,1,...,1], so that C is on the axis of x's classes. */
static gr_tensor *along_classes(const gr_tensor *x, gr_tensor *each)
{
    gr_dims shape = {.count = gr_axes_of(x) - class_axis(x), .at = {classes_of(x)}};
    for (int i = 1; i < shape.count; i++)
        shape.at[i] = 1;
    return gr_reshape(each, shape);
}

/* ---- Checks ---------------------------------------------------------------------------------- */

static gr_status check_input(const char *op, const gr_tensor *input, const gr_tensor *weight)
{
    gr_context *ctx = gr_ctx(input);
    if (gr_axes_of(input) == 0)
        return gr_fail(ctx, GR_ERROR_SHAPE, op, "an input of shape [] has no classes");
    const int64_t classes = classes_of(input);
    if (weight && !gr_dtype_is_float(gr_type(weight)))
        return gr_fail(ctx, GR_ERROR_DTYPE, op, "weight is %s, not a float",
                       gr_dtype_name(gr_type(weight)));
    if (weight && (gr_axes_of(weight) != 1 || gr_sizes(weight)[0] != classes))
        return gr_fail(ctx, GR_ERROR_SHAPE, op,
                       "weight shape %s must be [%lld], one a class of the input's %s",
                       gr_shape_text(weight).text, (long long)classes, gr_shape_text(input).text);
    return GR_OK;
}

static gr_status check_labels(const char *op, const gr_tensor *input, const gr_tensor *target)
{
    const gr_dtype dtype = gr_type(target);
    if (dtype != GR_I64 && dtype != GR_I32 && dtype != GR_U8)
        return gr_fail(gr_ctx(input), GR_ERROR_DTYPE, op,
                       "target is %s, and class numbers are i64, i32 or u8", gr_dtype_name(dtype));
    const gr_dims own = gr_shape_of(target), shape = gr_shape_of(input);
    gr_dims samples = {0};
    for (int i = 0; i < shape.count; i++)
        if (i != class_axis(input))
            samples.at[samples.count++] = shape.at[i];
    if (!gr_same_dims(&own, &samples))
        return gr_fail(gr_ctx(input), GR_ERROR_SHAPE, op,
                       "target shape %s must be %s, one class a row of the input's %s",
                       gr_dims_text(&own).text, gr_dims_text(&samples).text,
                       gr_dims_text(&shape).text);
    return GR_OK;
}

/* ---- Class numbers --------------------------------------------------------------------------- */

typedef struct class_attributes {
    int64_t classes, ignore, loss;
} class_attributes;

/* Sets the target's shape with size 1 on the axis of the classes: [1], or [N,1,d...]. */
static gr_status class_numbers_shape(const gr_call *call, gr_form *results)
{
    const gr_dims samples = gr_shape_of(call->in[0]);
    const int axis = samples.count > 0 ? 1 : 0;
    results->dtype = GR_I64;
    results->shape.count = samples.count + 1;
    for (int i = 0; i <= samples.count; i++)
        results->shape.at[i] = i == axis ? 1 : samples.at[i < axis ? i : i - 1];
    return GR_OK;
}

static gr_status raise_no_class(const gr_call *call, int64_t i, int64_t found)
{
    const class_attributes *a = call->attributes;
    const gr_dims shape = gr_shape_of(call->in[0]), position = gr_dims_position(&shape, i);
    return gr_fail(call->ctx, GR_ERROR_DOMAIN, names[a->loss],
                   "target at %s of shape %s is %lld, not a class from 0 to %lld",
                   gr_dims_text(&position).text, gr_dims_text(&shape).text, (long long)found,
                   (long long)a->classes - 1);
}

static gr_status class_numbers_run(const gr_call *call)
{
    const class_attributes *a = call->attributes;
    const gr_dims shape = gr_shape_of(call->in[0]);
    int64_t *numbers = (int64_t *)(void *)gr_bytes(call->out);
    gr_copy_elements(call->in[0], &shape, GR_I64, numbers);
    for (int64_t i = 0; i < gr_dims_count(&shape); i++) {
        if (numbers[i] == a->ignore)
            numbers[i] = -1;
        else if (numbers[i] < 0 || numbers[i] >= a->classes)
            return raise_no_class(call, i, numbers[i]);
    }
    return GR_OK;
}

/* class_numbers(target): the class of each sample, or -1 for an ignored sample. DOMAIN for a number
   that is not a class. */
static const gr_op class_numbers_op = {.name = "class_numbers",
                                       .flags = GR_OP_STRIDED | GR_OP_NO_GRAD,
                                       .arity = 1,
                                       .attributes_size = sizeof(class_attributes),
                                       .shape = class_numbers_shape,
                                       .run = class_numbers_run};

/* A target of class numbers, prepared for an input. */
typedef struct labels {
    int axis;         /* the axis of the classes in the input */
    int64_t classes;  /* C */
    gr_tensor *kept;  /* bool [N,1,d...]: false for an ignored sample */
    gr_tensor *picks; /* bool, the input's shape */
} labels;

static bool make_labels(int loss, const gr_tensor *input, gr_tensor *target, int64_t ignore,
                        labels *l)
{
    gr_context *ctx = gr_ctx(input);
    if (check_labels(names[loss], input, target) != GR_OK)
        return false;
    l->axis = class_axis(input);
    l->classes = classes_of(input);
    const class_attributes attributes = {.classes = l->classes, .ignore = ignore, .loss = loss};
    gr_tensor *numbers = gr_apply_with(&class_numbers_op, 1, &target, &attributes);
    l->kept = gr_greater_equal(numbers, gr_scalar(ctx, 0));
    l->picks = gr_equal(numbers, along_classes(input, gr_arange(ctx, GR_I64, l->classes)));
    return !gr_failed(l->picks);
}

/* ---- Negative log likelihood ----------------------------------------------------------------- */

/* Returns the picked element of a for each sample: [N,d...]. a broadcasts to the input's shape. An
   ignored sample gets 0. */
static gr_tensor *pick(const labels *l, gr_tensor *a)
{
    return gr_loss_sum_along(gr_where(l->picks, a, number(a, 0)), l->axis);
}

/* GR_MEAN divides by the sum of the samples' weights. Without weights it divides by the number of
   samples that are kept. */
static gr_tensor *reduce(const labels *l, gr_tensor *losses, gr_tensor *weights,
                         gr_reduction reduction)
{
    if (reduction != GR_MEAN)
        return gr_reduce_losses(losses, reduction);
    gr_tensor *counted = weights ? weights : gr_cast(l->kept, gr_dtype_of(losses));
    return gr_loss_mean_of(gr_reduce_losses(losses, GR_SUM), gr_reduce_losses(counted, GR_SUM));
}

/* -(sum over c of w[c] logp[c]); 0 for an ignored sample. */
static gr_tensor *over_all_classes(const labels *l, gr_tensor *logp, gr_tensor *w)
{
    gr_tensor *all = gr_neg(gr_loss_sum_along(w ? gr_loss_product(w, logp) : logp, l->axis));
    return gr_where(gr_reshape(l->kept, gr_shape_of(all)), all, number(all, 0));
}

/* What label smoothing e leaves the target, and what each of C classes gets. */
typedef struct smoothing {
    double rest, share;
} smoothing;

static smoothing smoothing_of(double e, int64_t classes)
{
    const gr_float_mode host = gr_float_mode_begin();
    const double given = gr_stay_in_mode(e);
    const smoothing s = {gr_stay_in_mode(1 - given), gr_stay_in_mode(given / (double)classes)};
    gr_float_mode_end(host);
    return s;
}

/* -w[t] logp[t]. With smoothing e it is (1-e) of that, plus e/C of the sum over all classes. */
static gr_tensor *nll(const labels *l, gr_tensor *logp, gr_tensor *weight, double e,
                      gr_reduction reduction)
{
    gr_tensor *w = weight ? along_classes(logp, weight) : NULL;
    gr_tensor *weights = w ? pick(l, w) : NULL;
    gr_tensor *losses = gr_neg(pick(l, logp));
    if (w)
        losses = gr_loss_product(weights, losses);
    if (e != 0) {
        const smoothing s = smoothing_of(e, l->classes);
        gr_tensor *all = over_all_classes(l, logp, w);
        losses = gr_add(gr_loss_product(number(losses, s.rest), losses),
                        gr_mul(all, number(all, s.share)));
    }
    return reduce(l, losses, weights, reduction);
}

gr_nll_args gr_nll_defaults(void) { return (gr_nll_args){GR_NLL_DEFAULTS}; }

gr_tensor *gr_nll_with(gr_tensor *input, const gr_nll_args *args)
{
    args = args ? args : &(const gr_nll_args){GR_NLL_DEFAULTS};
    const gr_loss_operand operands[] = {{.name = "input", .tensor = input},
                                        {"target", args->target, GR_OWN_SHAPE},
                                        {"weight", args->weight, GR_OPTIONAL}};
    gr_tensor *failed;
    labels l;
    if (!gr_loss_operands("nll", 3, operands, &failed) ||
        !gr_check_defaults(gr_ctx(input), "nll", args->from_defaults, "nll") ||
        check_input("nll", input, args->weight) != GR_OK ||
        gr_check_reduction(gr_ctx(input), "nll", args->reduction) != GR_OK ||
        !make_labels(NLL, input, args->target, args->ignore_index, &l))
        return failed;
    gr_tensor *w = args->weight ? gr_loss_wide(args->weight, input) : NULL;
    return gr_loss_done(nll(&l, gr_loss_wide(input, input), w, 0, args->reduction), GR_NONE, input);
}

/* ---- Cross entropy --------------------------------------------------------------------------- */

/* -sum over c of w[c] y'[c] logp[c], with y' = y (1-e) + e/C. A class with y' = 0 or w = 0 does not
   count, even if its probability is 0. The mean is over all samples. */
static gr_tensor *of_probabilities(gr_tensor *logp, gr_tensor *y, gr_tensor *weight, double e,
                                   gr_reduction reduction)
{
    if (e != 0) {
        const smoothing s = smoothing_of(e, classes_of(logp));
        y = gr_add(gr_mul(y, number(y, s.rest)), number(y, s.share));
    }
    gr_tensor *terms = gr_loss_product(y, logp);
    if (weight)
        terms = gr_loss_product(along_classes(logp, weight), terms);
    return gr_reduce_losses(gr_neg(gr_loss_sum_along(terms, class_axis(logp))), reduction);
}

/* Sets ignored samples to 0, so that even a NaN in them does not reach a gradient. */
static gr_tensor *only_kept(const labels *l, gr_tensor *x)
{
    return gr_where(l->kept, x, number(x, 0));
}

gr_cross_entropy_args gr_cross_entropy_defaults(void)
{
    return (gr_cross_entropy_args){GR_CROSS_ENTROPY_DEFAULTS};
}

static gr_status check_probabilities(gr_context *ctx, const gr_tensor *input,
                                     const gr_cross_entropy_args *args)
{
    static const char op[] = "cross_entropy";
    const gr_tensor *target = args->target;
    if (!gr_same_shape(target, input))
        return gr_fail(
            ctx, GR_ERROR_SHAPE, op,
            "target shape %s must be the input's, %s, for one of probabilities, as %s is",
            gr_shape_text(target).text, gr_shape_text(input).text, gr_dtype_name(gr_type(target)));
    if (args->ignore_index != gr_cross_entropy_defaults().ignore_index)
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op,
                       "ignore_index goes with class numbers, and the target is %s: probabilities",
                       gr_dtype_name(gr_type(target)));
    return GR_OK;
}

static gr_status check_cross_entropy(const gr_tensor *input, const gr_cross_entropy_args *args)
{
    static const char op[] = "cross_entropy";
    gr_context *ctx = gr_ctx(input);
    if (!gr_check_defaults(ctx, op, args->from_defaults, op))
        return GR_ERROR_ARGUMENT;
    gr_status status = check_input(op, input, args->weight);
    if (status == GR_OK && !(args->label_smoothing >= 0 && args->label_smoothing <= 1))
        status = gr_fail(ctx, GR_ERROR_ARGUMENT, op, "label_smoothing %g lies outside [0,1]",
                         args->label_smoothing);
    if (status == GR_OK && gr_dtype_is_float(gr_type(args->target)))
        status = check_probabilities(ctx, input, args);
    return status == GR_OK ? gr_check_reduction(ctx, op, args->reduction) : status;
}

gr_tensor *gr_cross_entropy_with(gr_tensor *input, const gr_cross_entropy_args *args)
{
    args = args ? args : &(const gr_cross_entropy_args){GR_CROSS_ENTROPY_DEFAULTS};
    const gr_loss_operand operands[] = {{.name = "input", .tensor = input},
                                        {"target", args->target, GR_OWN_SHAPE},
                                        {"weight", args->weight, GR_OPTIONAL}};
    gr_tensor *failed;
    labels l;
    if (!gr_loss_operands("cross_entropy", 3, operands, &failed) ||
        check_cross_entropy(input, args) != GR_OK)
        return failed;
    const int axis = class_axis(input);
    const double e = args->label_smoothing;
    gr_tensor *x = gr_loss_wide(input, input);
    gr_tensor *w = args->weight ? gr_loss_wide(args->weight, input) : NULL;
    if (gr_dtype_is_float(gr_type(args->target))) {
        gr_tensor *y = gr_loss_wide(args->target, input);
        gr_tensor *logp = gr_log_softmax(x, axis);
        return gr_loss_done(of_probabilities(logp, y, w, e, args->reduction), GR_NONE, input);
    }
    if (!make_labels(CROSS_ENTROPY, input, args->target, args->ignore_index, &l))
        return failed;
    gr_tensor *logp = gr_log_softmax(only_kept(&l, x), axis);
    return gr_loss_done(nll(&l, logp, w, e, args->reduction), GR_NONE, input);
}
