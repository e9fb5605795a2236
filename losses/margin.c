/* margin.c - losses that use a margin: pairs that belong together must be close, others far apart.
 *
 * A part that is clamped at 0 has the gradient 0 there, also at the kink.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/composed.h"
#include <math.h>

static gr_tensor *number(gr_tensor *like, double value) { return gr_scalar_like(like, value); }
static gr_tensor *where_else_0(gr_tensor *condition, gr_tensor *a)
{
    return gr_where(condition, a, number(a, 0));
}

gr_hinge_embedding_args gr_hinge_embedding_defaults(void)
{
    return (gr_hinge_embedding_args){GR_HINGE_EMBEDDING_DEFAULTS};
}

/* x if y is not -1, plus max(0, margin - x) if y is not 1 */
gr_tensor *gr_hinge_embedding_with(gr_tensor *input, const gr_hinge_embedding_args *args)
{
    args = args ? args : &(const gr_hinge_embedding_args){GR_HINGE_EMBEDDING_DEFAULTS};
    gr_tensor *x, *y;
    if (!gr_loss_ready("hinge_embedding", input, args->target, args->reduction, &x, &y))
        return x;
    if (!gr_check_defaults(gr_ctx(input), "hinge_embedding", args->from_defaults,
                           "hinge_embedding") ||
        !gr_loss_number(gr_ctx(input), "hinge_embedding", "margin", args->margin, GR_LOSS_ANY))
        return gr_ctx(input)->failed;
    gr_tensor *near = where_else_0(gr_not_equal(y, number(y, -1)), x);
    gr_tensor *far = gr_relu(gr_sub(number(x, args->margin), x));
    gr_tensor *losses = gr_add(near, where_else_0(gr_not_equal(y, number(y, 1)), far));
    return gr_loss_done(losses, args->reduction, input);
}

/* log(1 + e^(-y x)) = softplus(-y x) */
gr_tensor *gr_soft_margin_with(gr_tensor *input, const gr_loss_args *args)
{
    args = args ? args : &(const gr_loss_args){0};
    gr_tensor *x, *y;
    if (!gr_loss_ready("soft_margin", input, args->target, args->reduction, &x, &y))
        return x;
    return gr_loss_done(gr_softplus(gr_loss_product(gr_neg(y), x)), args->reduction, input);
}

/* The mean over the classes (the last axis) of binary cross entropy with logits. */
gr_tensor *gr_multilabel_soft_margin_with(gr_tensor *input,
                                          const gr_multilabel_soft_margin_args *args)
{
    args = args ? args : &(const gr_multilabel_soft_margin_args){0};
    static const char op[] = "multilabel_soft_margin";
    gr_tensor *weight = args->weight, *failed;
    const gr_loss_operand operands[] = {{.name = "input", .tensor = input},
                                        {.name = "target", .tensor = args->target},
                                        {"weight", weight, GR_OPTIONAL}};
    if (!gr_loss_operands(op, 3, operands, &failed) ||
        gr_check_reduction(gr_ctx(input), op, args->reduction) != GR_OK)
        return failed;
    const gr_dims shape = gr_shape_of(input);
    if (gr_axes_of(input) == 0)
        return gr_fail_tensor(gr_ctx(input), GR_ERROR_SHAPE, op,
                              "an input of shape [] has no classes");
    if (weight && (gr_axes_of(weight) > gr_axes_of(input) || !gr_broadcasts_to(weight, &shape)))
        return gr_fail_tensor(gr_ctx(input), GR_ERROR_BROADCAST, op,
                              "weight shape %s does not broadcast to the input's, %s",
                              gr_shape_text(weight).text, gr_dims_text(&shape).text);
    const gr_bce_args bce = {GR_BCE_DEFAULTS, .target = gr_loss_wide(args->target, input),
                             .weight = weight ? gr_loss_wide(weight, input) : NULL,
                             .reduction = GR_NONE};
    gr_tensor *each = gr_bce_with_logits_with(gr_loss_wide(input, input), &bce);
    each = gr_mean_with(&(gr_reduce_args){.x = each, .axes = gr_axes(-1)});
    return gr_loss_done(each, args->reduction, input);
}

/* The cosine of the angle between two vectors, a b / sqrt((a a + 1e-12) (b b + 1e-12)). Each factor
   has its own square root, so that their product cannot overflow. */
static gr_tensor *cosine(gr_tensor *a, gr_tensor *b)
{
    gr_tensor *least = number(a, 1e-12);
    gr_tensor *length_a = gr_sqrt(gr_add(gr_loss_sum_along(gr_square(a), -1), least));
    gr_tensor *length_b = gr_sqrt(gr_add(gr_loss_sum_along(gr_square(b), -1), least));
    return gr_div(gr_loss_sum_along(gr_mul(a, b), -1), gr_mul(length_a, length_b));
}

/* The first operand is a sample [D], or samples [N,D]. Sets `samples` to its shape without the last
   axis. */
static bool check_samples(const char *op, const char *name, const gr_tensor *x, gr_dims *samples)
{
    *samples = gr_shape_of(x);
    samples->count--;
    if (gr_axes_of(x) == 1 || gr_axes_of(x) == 2)
        return true;
    gr_fail(gr_ctx(x), GR_ERROR_SHAPE, op, "%s shape %s must be [D] or [N,D]", name,
            gr_shape_text(x).text);
    return false;
}

/* 1 - cos if y is 1; max(0, cos - margin) if y is -1; else 0 */
gr_tensor *gr_cosine_embedding_with(gr_tensor *input, const gr_cosine_embedding_args *args)
{
    args = args ? args : &(const gr_cosine_embedding_args){0};
    static const char op[] = "cosine_embedding";
    const gr_loss_operand operands[] = {{.name = "input", .tensor = input},
                                        {.name = "other", .tensor = args->other},
                                        {"target", args->target, GR_OWN_SHAPE}};
    gr_tensor *failed;
    gr_dims samples;
    if (!gr_loss_operands(op, 3, operands, &failed) ||
        !check_samples(op, "input", input, &samples) ||
        gr_check_reduction(gr_ctx(input), op, args->reduction) != GR_OK ||
        !gr_loss_number(gr_ctx(input), op, "margin", args->margin, GR_LOSS_ANY))
        return failed;
    const gr_dims own = gr_shape_of(args->target);
    if (!gr_same_dims(&own, &samples))
        return gr_fail_tensor(gr_ctx(input), GR_ERROR_SHAPE, op,
                              "target shape %s must be %s, one a row of the input's %s",
                              gr_dims_text(&own).text, gr_dims_text(&samples).text,
                              gr_shape_text(input).text);
    gr_tensor *cos = cosine(gr_loss_wide(input, input), gr_loss_wide(args->other, input));
    gr_tensor *y = gr_loss_wide(args->target, input);
    gr_tensor *near = gr_sub(number(cos, 1), cos);
    gr_tensor *far = gr_relu(gr_sub(cos, number(cos, args->margin)));
    gr_tensor *losses = gr_add(where_else_0(gr_equal(y, number(y, 1)), near),
                               where_else_0(gr_equal(y, number(y, -1)), far));
    return gr_loss_done(losses, args->reduction, input);
}

/* The p-norm of a - b + eps for each sample. If it is 0, the root is taken of 1 instead, so that
   its gradient is 0. */
static gr_tensor *distance(gr_tensor *a, gr_tensor *b, double p, double eps)
{
    gr_tensor *d = gr_add(gr_sub(a, b), number(a, eps));
    if (p == 1)
        return gr_loss_sum_along(gr_abs(d), -1);
    gr_tensor *powers = p == 2 ? gr_square(d) : gr_pow(gr_abs(d), p);
    gr_tensor *sum = gr_loss_sum_along(powers, -1), *zero = number(sum, 0);
    gr_tensor *none = gr_equal(sum, zero), *safe = gr_where(none, number(sum, 1), sum);
    return gr_where(none, zero, p == 2 ? gr_sqrt(safe) : gr_pow(safe, 1 / p));
}

gr_triplet_margin_args gr_triplet_margin_defaults(void)
{
    return (gr_triplet_margin_args){GR_TRIPLET_MARGIN_DEFAULTS};
}

/* max(0, margin + |a - p| - |a - n|). With swap, the distance of the negative is the smaller of |a
   - n| and |p - n|. */
gr_tensor *gr_triplet_margin_with(gr_tensor *anchor, const gr_triplet_margin_args *args)
{
    args = args ? args : &(const gr_triplet_margin_args){GR_TRIPLET_MARGIN_DEFAULTS};
    static const char op[] = "triplet_margin";
    const gr_loss_operand operands[] = {{.name = "anchor", .tensor = anchor},
                                        {.name = "positive", .tensor = args->positive},
                                        {.name = "negative", .tensor = args->negative}};
    gr_tensor *failed;
    gr_dims samples;
    if (!gr_loss_operands(op, 3, operands, &failed) ||
        !check_samples(op, "anchor", anchor, &samples) ||
        gr_check_reduction(gr_ctx(anchor), op, args->reduction) != GR_OK ||
        !gr_check_defaults(gr_ctx(anchor), op, args->from_defaults, op) ||
        !gr_loss_number(gr_ctx(anchor), op, "margin", args->margin, GR_LOSS_ABOVE_0) ||
        !gr_loss_number(gr_ctx(anchor), op, "p", args->p, GR_LOSS_ABOVE_0) ||
        !gr_loss_number(gr_ctx(anchor), op, "eps", args->eps, GR_LOSS_FROM_0))
        return failed;
    const double p = args->p, eps = args->eps;
    gr_tensor *a = gr_loss_wide(anchor, anchor), *positive = gr_loss_wide(args->positive, anchor);
    gr_tensor *negative = gr_loss_wide(args->negative, anchor);
    gr_tensor *near = distance(a, positive, p, eps), *far = distance(a, negative, p, eps);
    if (args->swap)
        far = gr_minimum(far, distance(positive, negative, p, eps));
    gr_tensor *losses = gr_relu(gr_add(number(near, args->margin), gr_sub(near, far)));
    return gr_loss_done(losses, args->reduction, anchor);
}
