/* tails.c - losses where one term is far above the others, or is infinite: value, slope and
 * curvature keep their digits or meet their limits.
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"

TestSuite(tails, .init = begin, .fini = end, .timeout = 300);

/* d loss / d x by the rule in one pass and by the recorded one. */
static void both_gradients(gr_tensor *loss, gr_tensor *x, double *found[2])
{
    for (int record = 0; record < 2; record++) {
        gr_tensor *g;
        cr_assert_eq(gr_grad_with(loss, gr_list(x), &g, &(gr_grad_args){.record = record}), GR_OK,
                     "%s", gr_error_message(ctx));
        found[record] = values_of(g);
    }
}

static gr_tensor *variable_of(gr_dtype dtype, int64_t n, const double *x)
{
    return gr_variable(gr_cast(gr_from_data(ctx, GR_F64, gr_shape(n), x), dtype));
}

/* ---- Cross entropy --------------------------------------------------------------------------- */

/* The shares of three logits, and 1 minus them, as sums of positive terms. */
static void shares_of(const double *x, long double *s, long double *rest)
{
    const long double most = fmaxl(x[0], fmaxl(x[1], x[2]));
    long double all = 0;
    for (int i = 0; i < 3; i++)
        all += s[i] = expl(x[i] - most);
    for (int i = 0; i < 3; i++)
        rest[i] = (s[(i + 1) % 3] + s[(i + 2) % 3]) / all;
    for (int i = 0; i < 3; i++)
        s[i] /= all;
}

/* One of the ways to compute cross entropy. */
typedef enum way { CLASSES, LOG_SOFTMAX, HOT, SOFT, WAYS } way;
static const char *const way_names[] = {"class numbers", "nll of log_softmax", "one-hot targets",
                                        "soft targets"};

static gr_tensor *loss_of(way how, gr_tensor *x, int64_t t, const double *y)
{
    gr_tensor *class = gr_from_data(ctx, GR_I64, gr_shape(), &t);
    gr_tensor *target = gr_cast(gr_from_data(ctx, GR_F64, gr_shape(3), y), gr_dtype_of(x));
    if (how == CLASSES)
        return gr_cross_entropy(x, class, .reduction = GR_SUM);
    if (how == LOG_SOFTMAX)
        return gr_nll(gr_log_softmax(x, 0), class, .reduction = GR_SUM);
    return gr_cross_entropy(x, target, .reduction = GR_SUM);
}

/* The gradient is s (the sum of the other y) - y (1 - s). Of a class or a one-hot target only one
   term is not 0; otherwise the error is measured in the last place of the larger term. */
static double gradient_error(gr_dtype dtype, way how, double g, int64_t t)
{
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    const double logits[] = {0, g, -g};
    double y[3] = {how == SOFT ? 0.25 : 0, how == SOFT ? 0.125 : 0, how == SOFT ? 0.625 : 0};
    y[t] = how == SOFT ? y[t] : 1;
    long double s[3], rest[3];
    shares_of(logits, s, rest);
    gr_tensor *x = variable_of(dtype, 3, logits);
    double *found[2], worst = 0;
    both_gradients(loss_of(how, x, t, y), x, found);
    for (int i = 0; i < 3; i++) {
        const long double up = s[i] * (y[(i + 1) % 3] + y[(i + 2) % 3]), down = y[i] * rest[i];
        const long double term = fmaxl(up, down);
        for (int record = 0; record < 2; record++) {
            const double got = found[record][i];
            const double off = term == fabsl(up - down)
                                   ? ulps(dtype, got, up - down)
                                   : ulps(dtype, (double)(got - (up - down) + term), term);
            worst = fmax(worst, isnan(off) ? INFINITY : off);
        }
    }
    free(found[0]), free(found[1]);
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
    return worst;
}

Test(tails, the_gradient_of_cross_entropy_is_not_lost_at_a_dominant_logit)
{
    for (int dtype = GR_F32; dtype <= GR_F64; dtype++)
        for (way how = CLASSES; how < WAYS; how++) {
            double worst = 0, at = 0;
            for (int i = -400; i <= 400; i++) {
                const double g = i * (dtype == GR_F32 ? 0.25 : 1.75);
                const double off = gradient_error(dtype, how, g, (i + 400) % 3);
                at = off > worst ? g : at;
                worst = fmax(worst, off);
            }
            cr_expect_leq(worst, dtype == GR_F32 ? 1 : 4, "f%d, %s: %g ulp at %g",
                          dtype == GR_F32 ? 32 : 64, way_names[how], worst, at);
        }
}

/* In f32 the loss of class 1 of {0, 17, -17} was 4e-8 and its gradient 0. */
Test(tails, logits_0_17_and_minus_17)
{
    gr_tensor *x = variable_of(GR_F32, 3, (const double[]){0, 17, -17});
    gr_tensor *y = gr_from_data(ctx, GR_I64, gr_shape(), &(int64_t){1});
    double *found[2];
    both_gradients(gr_cross_entropy(x, y), x, found);
    for (int record = 0; record < 2; record++)
        cr_expect_float_eq(found[record][1] / -4.13993772e-08, 1, 1e-7);
    free(found[0]), free(found[1]);
}

static gr_tensor *penalty_of(gr_tensors in, void *way_)
{
    const double y[] = {0.25, 0.125, 0.625};
    return loss_of(*(const way *)way_, in.at[0], 1, y);
}

Test(tails, the_checker_agrees_on_cross_entropy_up_to_60)
{
    for (way how = CLASSES; how < WAYS; how++)
        for (double g = -60; g <= 60; g += 12.5) {
            gr_gradcheck_report report;
            gr_tensor *x = gr_from_data(ctx, GR_F64, gr_shape(3), (double[]){0, g, -g});
            if (how == HOT)
                continue;
            const gr_status status =
                gr_gradcheck(penalty_of, &how, gr_list(x), .order = 2, .report = &report);
            if (status != GR_OK)
                gr_gradcheck_print(&report, stderr);
            cr_expect_eq(status, GR_OK, "%s at %g", way_names[how], g);
        }
}

/* ---- Every loss, up to logits of 60 ---------------------------------------------------------- */

static gr_tensor *run_spec(gr_tensors in, void *data)
{
    spec s = *(const spec *)data;
    s.x = in.at[0];
    return call_loss(&s);
}

/* cosine_embedding and triplet_margin take vectors, not logits. */
Test(tails, the_checker_agrees_on_every_loss_up_to_60)
{
    static const char *const losses[] = {
        "mse",         "l1",         "huber",         "smooth_l1",   "kl_div",
        "poisson_nll", "nll",        "cross_entropy", "soft_margin", "multilabel_soft_margin",
        "softmax",     "log_softmax"};
    for (int k = 0; k < COUNT_OF(losses); k++)
        for (int i = 0; i < 8; i++) {
            spec s = sample_of(ctx, losses[k], 0, gr_shape(2, 3));
            s.reduction = i % 2 ? GR_SUM : GR_NONE;
            gr_tensor *x = sample(ctx, GR_F64, gr_shape(2, 3), -60, 60);
            gr_gradcheck_report report;
            gr_gradcheck_args args = gr_gradcheck_defaults();
            args.order = 2;
            args.report = &report;
            args.name = losses[k];
            const gr_status status = gr_gradcheck_with(run_spec, &s, gr_list(x), &args);
            if (status != GR_OK)
                gr_gradcheck_print(&report, stderr);
            cr_expect_eq(status, GR_OK, "%s", losses[k]);
        }
}

/* ---- Losses of one number -------------------------------------------------------------------- */

/* Value, slope and curvature of a loss of x at one place, in closed form. */
typedef struct point {
    const char *name;
    double y, x;
    long double want[3];
} point;

static gr_tensor *loss_at(const char *name, gr_tensor *x, double number)
{
    gr_tensor *y = gr_full(ctx, gr_dtype_of(x), gr_shape_of(x), number);
    if (strcmp(name, "soft_margin") == 0)
        return gr_soft_margin(x, y, .reduction = GR_SUM);
    if (strcmp(name, "multilabel_soft_margin") == 0)
        return gr_multilabel_soft_margin(x, y, .reduction = GR_SUM);
    if (strcmp(name, "poisson_nll") == 0)
        return gr_poisson_nll(x, y, .reduction = GR_SUM);
    if (strcmp(name, "rate") == 0)
        return gr_poisson_nll(x, y, .rate_input = true, .reduction = GR_SUM);
    if (strcmp(name, "kl_div") == 0)
        return gr_kl_div(x, y, .reduction = GR_SUM);
    if (strcmp(name, "kl_div of y") == 0)
        return gr_kl_div(y, x, .reduction = GR_SUM);
    cr_assert_str_eq(name, "kl_div of log y");
    return gr_kl_div(y, x, .log_target = true, .reduction = GR_SUM);
}

static void expect_point(const point *p, gr_dtype dtype, double bar)
{
    gr_tensor *x = variable_of(dtype, 1, &p->x), *loss = loss_at(p->name, x, p->y);
    gr_tensor *slope = gr_grad(loss, x);
    gr_tensor *of[] = {loss, slope, gr_requires_grad(slope) ? gr_grad(slope, x) : NULL};
    for (int order = 0; order < 3; order++) {
        const double got = of[order] ? gr_get(of[order], order ? gr_index(0) : gr_index()) : 0;
        const long double want = p->want[order];
        const bool same =
            isinf(want) || want == 0 ? got == want : fabsl(got - want) <= bar * fabsl(want);
        cr_expect(same, "f%d %s(%g, %g), order %d: %.17g, not %.17Lg", dtype == GR_F32 ? 32 : 64,
                  p->name, p->x, p->y, order, got, want);
    }
    expect_fine(ctx);
}

#define E(x) expl((long double)(x))
#define INF  INFINITY
#define MARGIN(name, y, x)                                                                         \
    {                                                                                              \
        name, y, x, { log1pl(E(-(x))), -E(-(x)) / (1 + E(-(x))), E(-(x)) / powl(1 + E(-(x)), 2) }  \
    }

Test(tails, losses_of_one_number)
{
    const point points[] = {
        MARGIN("soft_margin", 1, 60),
        MARGIN("soft_margin", 1, 1e-6),
        MARGIN("soft_margin", 1, -60),
        MARGIN("multilabel_soft_margin", 1, 60),
        MARGIN("multilabel_soft_margin", 1, -60),
        {"soft_margin", 1, INF, {0, 0, 0}},
        {"soft_margin", 1, -INF, {INF, -1, 0}},
        {"soft_margin", 0, INF, {logl(2), 0, 0}},
        {"multilabel_soft_margin", 0, -INF, {0, 0, 0}},
        {"poisson_nll", 3, -60, {E(-60) + 180, E(-60) - 3, E(-60)}},
        {"poisson_nll", 0, -60, {E(-60), E(-60), E(-60)}},
        {"poisson_nll", 3, 60, {E(60) - 180, E(60) - 3, E(60)}},
        {"poisson_nll", 3, INF, {INF, INF, INF}},
        {"poisson_nll", 0, -INF, {0, 0, 0}},
        {"poisson_nll", 2, -INF, {INF, -2, 0}},
        {"rate", 0, 0, {0, 1, 0}},
        {"rate", 3, INF, {INF, 1, 0}},
        {"kl_div", 0, -INF, {0, 0, 0}},
        {"kl_div", 0.5, -INF, {INF, -0.5L, 0}},
        {"kl_div of y", -3, 1e-30, {1e-30 * (logl(1e-30L) + 3), logl(1e-30L) + 4, 1e30L}},
        {"kl_div of y", -3, 0, {0, 3, 0}},
        {"kl_div of log y", -3, -60, {E(-60) * -57, E(-60) * -56, E(-60) * -55}},
        {"kl_div of log y", -3, -INF, {0, 0, 0}},
        {"kl_div of log y", -INF, -INF, {0, 0, 0}},
    };
    for (int i = 0; i < COUNT_OF(points); i++) {
        expect_point(&points[i], GR_F32, 1e-6);
        expect_point(&points[i], GR_F64, 1e-14);
    }
}

/* ---- What does not count --------------------------------------------------------------------- */

/* A class of probability 0 and logit -inf, as a mask makes it, has neither loss nor gradient. */
Test(tails, a_target_of_0_beside_a_logit_of_minus_infinity)
{
    gr_tensor *x = variable_of(GR_F32, 3, (const double[]){1, -INFINITY, 1});
    gr_tensor *y = gr_from_data(ctx, GR_F32, gr_shape(3), (float[]){0.25f, 0, 0.75f});
    gr_tensor *w = gr_from_data(ctx, GR_F32, gr_shape(3), (float[]){1, 0, 1});
    gr_tensor *half = gr_from_data(ctx, GR_F32, gr_shape(3), (float[]){0.25f, 0.25f, 0.5f});
    gr_tensor *losses[] = {gr_cross_entropy(x, y), gr_cross_entropy(x, y, .weight = w),
                           gr_kl_div(gr_log_softmax(x, 0), y, .reduction = GR_SUM),
                           gr_cross_entropy(x, half, .weight = w)};
    for (int i = 0; i < COUNT_OF(losses); i++) {
        double *found[2];
        cr_expect(isfinite(gr_item(losses[i])), "%d", i);
        both_gradients(losses[i], x, found);
        for (int record = 0; record < 2; record++) {
            cr_expect_eq(found[record][1], 0, "%d", i);
            cr_expect(isfinite(found[record][0]) && isfinite(found[record][2]), "%d", i);
            free(found[record]);
        }
    }
    double *g = values_of(gr_grad(losses[0], x));
    cr_expect_float_eq(g[0], 0.25, 1e-7);
    cr_expect_float_eq(g[2], -0.25, 1e-7);
    free(g);
}

Test(tails, a_class_of_weight_0_may_be_impossible)
{
    gr_tensor *x = variable_of(GR_F64, 2, (const double[]){0, -INFINITY});
    gr_tensor *y = gr_from_data(ctx, GR_I64, gr_shape(), &(int64_t){1});
    gr_tensor *w = gr_from_data(ctx, GR_F64, gr_shape(2), (double[]){1, 0});
    gr_tensor *loss = gr_cross_entropy(x, y, .weight = w, .reduction = GR_SUM);
    cr_expect_eq(gr_item(loss), 0);
    EXPECT_VALUES(gr_grad(loss, x), 0, 0);
}

Test(tails, a_negative_rate_is_refused)
{
    gr_tensor *x = gr_from_data(ctx, GR_F32, gr_shape(2), (float[]){1, -0.5f});
    gr_poisson_nll_with(x, &(gr_poisson_nll_args){GR_POISSON_NLL_DEFAULTS,
                                                  .target = gr_ones_like(x), .rate_input = true});
    expect_error(ctx, GR_ERROR_DOMAIN, "poisson_nll: rate at [1] of shape [2] is -0.5, below 0");
}

/* ---- Means over nothing ---------------------------------------------------------------------- */

/* The mean is NaN, but a second derivative through it gives 0 to a parameter that has elements. */
Test(tails, a_second_derivative_through_an_empty_mean_is_0)
{
    gr_tensor *p = gr_variable(gr_full(ctx, GR_F64, gr_shape(), 3));
    gr_tensor *none = gr_variable(gr_zeros(ctx, GR_F64, gr_shape(0)));
    gr_tensor *kept = gr_variable(gr_ones(ctx, GR_F64, gr_shape(2, 3)));
    gr_tensor *ignored = gr_full(ctx, GR_I64, gr_shape(2), -100);
    gr_tensor *nothing = gr_zeros(ctx, GR_BOOL, gr_shape(2, 3)), *ones = gr_ones_like(kept);
    gr_tensor *means[] = {
        gr_mean(none),
        gr_mse(none, none),
        gr_bce_with_logits(none, none),
        gr_cross_entropy(kept, ignored),
        gr_bce_with_logits(kept, ones, .mask = nothing, .denominator = GR_KEPT),
        gr_bce_with_logits(kept, ones, .weight = gr_zeros_like(kept), .denominator = GR_WEIGHTS)};
    for (int i = 0; i < COUNT_OF(means); i++) {
        gr_tensor *x = i < 3 ? none : kept;
        cr_expect(isnan(gr_item(means[i])));
        gr_tensor *g = gr_grad(gr_mul(p, means[i]), x);
        gr_tensor *second = gr_grad(sum_of(gr_square(g)), p);
        cr_expect_eq(gr_item(second), 0, "%d: %g", i, gr_item(second));
        cr_expect_eq(gr_item(sum_of(gr_square(g))), 0, "%d", i);
    }
    expect_fine(ctx);
}
