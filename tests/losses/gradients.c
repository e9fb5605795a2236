/* gradients.c - the gradients of both losses: compared with differences, to second order, with
 * every option. Compares the fused rule with the recorded rule, and second derivatives with their
 * closed forms. Checks dtypes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include "helpers.h"
#include <gradus/gradus.h>

TestSuite(gradients, .init = begin, .fini = end);

/* ---- Against differences --------------------------------------------------------------------- */

/* A loss as a function of input and target, and of weight and pos_weight if they are given. */
typedef struct problem {
    loss_kind kind;
    gr_bce_args args;
    bool has_weight, has_pos_weight;
} problem;

static gr_tensor *loss(gr_tensors in, void *data)
{
    const problem *p = data;
    gr_bce_args args = p->args;
    int next = 1;
    args.target = in.at[next++];
    args.weight = p->has_weight ? in.at[next++] : NULL;
    args.pos_weight = p->has_pos_weight ? in.at[next++] : NULL;
    return loss_of(p->kind, in.at[0], &args);
}

/* Returns numbers inside (0,1). They are the same in each run, and all different. */
static gr_tensor *numbers(gr_dims shape, int start)
{
    double values[64];
    int64_t count = 1;
    for (int i = 0; i < shape.count; i++)
        count *= shape.at[i];
    for (int i = 0; i < count; i++)
        values[i] = .15 + .7 * fmod((start + i) * 0.6180339887, 1);
    return make(GR_F64, shape, values);
}

/* Shapes for an option of a [2,3] input. The first one stands for "not given". */
static gr_dims option_shape(int i)
{
    const gr_dims shapes[] = {gr_shape(),     gr_shape(),     gr_shape(1),   gr_shape(3),
                              gr_shape(1, 3), gr_shape(2, 1), gr_shape(2, 3)};
    return shapes[i];
}
enum { OPTION_SHAPES = 7 };

static void check(problem *p, gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *pos,
                  const char *name)
{
    gr_tensor *in[] = {x, y, w ? w : pos, pos};
    gr_gradcheck_report report;
    p->has_weight = w != NULL;
    p->has_pos_weight = pos != NULL;
    const gr_tensors inputs = {2 + p->has_weight + p->has_pos_weight, in};
    const bool bounded = p->kind == PROBABILITIES;
    gr_gradcheck_args args = gr_gradcheck_defaults();
    args.order = 2;
    args.report = &report;
    args.name = name;
    if (bounded) {
        args.low = 0;
        args.high = 1;
    }
    const gr_status status = gr_gradcheck_with(loss, p, inputs, &args);
    if (status != GR_OK)
        gr_gradcheck_print(&report, stderr);
    cr_expect_eq(status, GR_OK, "%s %s: %s", kind_names[p->kind], name, gr_error_message(ctx));
    cr_expect_eq(report.unsure, 0, "%s %s: %lld entries are unsure", kind_names[p->kind], name,
                 (long long)report.unsure);
    gr_error_clear(ctx);
}

static gr_tensor *input_of(loss_kind kind)
{
    gr_tensor *x = numbers(gr_shape(2, 3), 0);
    return kind == LOGITS ? gr_mul(gr_sub(x, gr_scalar_like(x, .5)), gr_scalar_like(x, 8)) : x;
}

static void check_shapes(loss_kind kind, gr_reduction reduction)
{
    for (int i = 0; i < OPTION_SHAPES; i++)
        for (int j = 0; j < OPTION_SHAPES; j++) {
            cr_assert_eq(gr_scope_begin(ctx), GR_OK);
            problem p = {.kind = kind, .args = {PLAIN, .reduction = reduction}};
            char name[64];
            snprintf(name, sizeof name, "reduction %d, weight shape %d, pos_weight shape %d",
                     (int)reduction, i, j);
            check(&p, input_of(kind), numbers(gr_shape(2, 3), 10),
                  i ? numbers(option_shape(i), 20) : NULL, j ? numbers(option_shape(j), 30) : NULL,
                  name);
            cr_assert_eq(gr_scope_end(ctx), GR_OK);
        }
}

Test(gradients, mean_of_logits_for_every_shape) { check_shapes(LOGITS, GR_MEAN); }
Test(gradients, sum_of_logits_for_every_shape) { check_shapes(LOGITS, GR_SUM); }
Test(gradients, elements_of_logits_for_every_shape) { check_shapes(LOGITS, GR_NONE); }
Test(gradients, mean_of_probabilities_for_every_shape) { check_shapes(PROBABILITIES, GR_MEAN); }
Test(gradients, sum_of_probabilities_for_every_shape) { check_shapes(PROBABILITIES, GR_SUM); }
Test(gradients, elements_of_probabilities_for_every_shape) { check_shapes(PROBABILITIES, GR_NONE); }

/* Checks each set of options with all four operands. */
static void check_options(loss_kind kind, gr_reduction reduction)
{
    gr_tensor *mask = MAKE(GR_BOOL, gr_shape(2, 3), 1, 0, 1, 1, 1, 0),
              *column = MAKE(GR_U8, gr_shape(2, 1), 0, 1);
    const struct {
        const char *name;
        gr_bce_args args;
    } sets[] = {{"label smoothing", {PLAIN, .label_smoothing = .2}},
                {"label smoothing 1", {PLAIN, .label_smoothing = 1}},
                {"mask", {PLAIN, .mask = mask}},
                {"mask of a column", {PLAIN, .mask = column}},
                {"mean over the kept", {PLAIN, .mask = mask, .denominator = GR_KEPT}},
                {"mean over the weights", {PLAIN, .denominator = GR_WEIGHTS}},
                {"mean over the kept weights", {PLAIN, .mask = mask, .denominator = GR_WEIGHTS}},
                {"gamma 2", {PLAIN, .gamma = 2}},
                {"gamma 1", {PLAIN, .gamma = 1}},
                {"gamma .5", {PLAIN, .gamma = .5}},
                {"alpha .25", {ALPHA(.25)}},
                {"alpha 0", {ALPHA(0)}},
                {"alpha 1", {ALPHA(1)}},
                {"focal", {ALPHA(.75), .gamma = 2.5}},
                {"strict", {PLAIN, .strict_target = true}},
                {"everything",
                 {ALPHA(.3), .label_smoothing = .1, .mask = mask, .denominator = GR_WEIGHTS,
                  .gamma = 1.5, .strict_target = true}}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        problem p = {.kind = kind, .args = sets[i].args};
        p.args.reduction = reduction;
        check(&p, input_of(kind), numbers(gr_shape(2, 3), 10), numbers(gr_shape(2, 1), 20),
              numbers(gr_shape(3), 30), sets[i].name);
    }
    problem p = {.kind = kind, .args = {PLAIN, .class_axis = gr_axes(0), .reduction = reduction}};
    check(&p, input_of(kind), numbers(gr_shape(2, 3), 10), NULL, numbers(gr_shape(2), 30),
          "class axis");
}

static void check_options_of(loss_kind kind)
{
    for (int i = 0; i < 3; i++)
        check_options(kind, reductions[i]);
}

Test(gradients, of_logits_under_every_option) { check_options_of(LOGITS); }
Test(gradients, of_probabilities_under_every_option) { check_options_of(PROBABILITIES); }

Test(gradients, of_strided_operands)
{
    problem p = {
        .kind = LOGITS,
        .args = {PLAIN, .reduction = GR_SUM, .mask = gr_transpose(numbers(gr_shape(3, 2), 1))}};
    check(&p, input_of(LOGITS), numbers(gr_shape(2, 3), 10), numbers(gr_shape(2, 3), 1), NULL,
          "strided mask");
    gr_tensor *x = gr_variable(numbers(gr_shape(3, 2), 0)), *y = numbers(gr_shape(3, 2), 10);
    gr_tensor *straight = gr_grad(gr_bce_with_logits(x, y), x);
    gr_tensor *turned = gr_grad(gr_bce_with_logits(gr_transpose(x), gr_transpose(y)), x);
    cr_expect(same_bits(straight, gr_contiguous(turned)));
}

/* ---- The fused rule and the recorded one ----------------------------------------------------- */

static const double LOGITS_TRIED[] = {0,   1e-30, -1e-7, .3,    -1,       2,        -5,  17,
                                      -17, 20,    -20,   37.43, -88,      89,       104, -500,
                                      700, 1e4,   -1e4,  3e37,  INFINITY, -INFINITY};
static const double PROBABILITIES_TRIED[] = {0,  1e-45, 1e-38, 1e-30, 1e-12,    1e-7,
                                             .1, .3,    .5,    .9,    .9999999, 1};
static const double TARGETS_TRIED[] = {0, 1, .5, .125, 1.5, -.5};
static const double POS_WEIGHTS_TRIED[] = {1, 3, .25, 0};
#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

typedef struct grid {
    gr_tensor *x, *y, *w, *p;
} grid;

static grid grid_of(loss_kind kind, gr_dtype dtype)
{
    double x[1024], y[1024], w[1024], p[1024];
    const int inputs = kind == LOGITS ? COUNT(LOGITS_TRIED) : COUNT(PROBABILITIES_TRIED);
    int n = 0;
    for (int i = 0; i < inputs; i++)
        for (int j = 0; j < 6; j++)
            for (int k = 0; k < 4; k++, n++) {
                x[n] = kind == LOGITS ? LOGITS_TRIED[i] : PROBABILITIES_TRIED[i];
                y[n] = TARGETS_TRIED[j];
                w[n] = n % 2 ? 1 : .75;
                p[n] = POS_WEIGHTS_TRIED[k];
            }
    const gr_dims shape = gr_shape(n);
    return (grid){make(dtype, shape, x), make(dtype, shape, y), make(dtype, shape, w),
                  make(dtype, shape, p)};
}

/* Compares both rules, in ulp of the largest term of the closed form. */
static void compare_rules(loss_kind kind, gr_dtype dtype, bool with_pos_weight, double most)
{
    const grid g = grid_of(kind, dtype);
    const gr_bce_args args = {GR_BCE_DEFAULTS, .target = g.y, .weight = g.w,
                              .pos_weight = with_pos_weight ? g.p : NULL, .reduction = GR_NONE};
    const outcome fused = run(kind, g.x, args, false), recorded = run(kind, g.x, args, true);
    cr_expect(same_bits(fused.at[LOSS], recorded.at[LOSS]));
    double worst[QUANTITIES] = {0};
    for (int64_t i = 0; i < gr_numel(g.x); i++) {
        const gr_dims at = gr_index(i);
        const point a = {gr_get(g.x, at), gr_get(g.y, at), gr_get(g.w, at),
                         with_pos_weight ? gr_get(g.p, at) : 1};
        const truth t = truth_of(kind, a);
        for (int k = DX; k < QUANTITIES; k++) {
            if (!fused.at[k])
                continue;
            const double one = gr_get(fused.at[k], at), other = gr_get(recorded.at[k], at);
            const double off = ulps_off(dtype, other, (long double)one, t.scale[k]);
            worst[k] = fmax(worst[k], off);
            cr_expect(off <= most,
                      "%s %s x=%Lg y=%Lg w=%Lg p=%Lg: %s %.17g fused, %.17g recorded, %g ulp",
                      kind_names[kind], gr_dtype_name(dtype), a.x, a.y, a.w, a.p, quantity_names[k],
                      one, other, off);
        }
    }
    if (getenv("ACCURACY_PRINT"))
        fprintf(stderr, "%s %s: dx %g dy %g dw %g dp %g ulp\n", kind_names[kind],
                gr_dtype_name(dtype), worst[DX], worst[DY], worst[DW], worst[DP]);
}

Test(gradients, fused_and_recorded_rule_agree)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int with = 0; with < 2; with++) {
            compare_rules(kind, GR_F32, with, 3);
            compare_rules(kind, GR_F64, with, 3);
        }
}

/* Does the same for every option, at points where nothing is infinite. */
static void compare_options(loss_kind kind, gr_dtype dtype, gr_bce_args args)
{
    static const double x[] = {-30, -3, 0, 1, 4, 25},
                        probability[] = {1e-6, .2, .5, .7, .99, .999999};
    const gr_dims shape = gr_shape(2, 3);
    args.target = MAKE(dtype, shape, 0, 1, .25, 1, 0, .875);
    args.weight = MAKE(dtype, gr_shape(2, 1), 1.5, .75);
    args.pos_weight = MAKE(dtype, gr_shape(3), 1, 2, .5);
    for (int i = 0; i < 3; i++) {
        args.reduction = reductions[i];
        gr_tensor *in = make(dtype, shape, kind == LOGITS ? x : probability);
        const outcome fused = run(kind, in, args, false), recorded = run(kind, in, args, true);
        for (int k = LOSS; k < QUANTITIES; k++) {
            double *one = values_of(fused.at[k]), *other = values_of(recorded.at[k]);
            for (int64_t j = 0; j < gr_numel(fused.at[k]); j++) {
                const double off = ulps_off(dtype, other[j], (long double)one[j], 0);
                cr_expect(off <= 64, "%s %s gamma %g: %s[%lld] %.17g fused, %.17g recorded, %g ulp",
                          kind_names[kind], gr_dtype_name(dtype), args.gamma, quantity_names[k],
                          (long long)j, one[j], other[j], off);
            }
            free(one);
            free(other);
        }
    }
}

Test(gradients, fused_and_recorded_rule_agree_under_options)
{
    gr_tensor *mask = MAKE(GR_BOOL, gr_shape(2, 3), 1, 0, 1, 1, 1, 0);
    const gr_bce_args sets[] = {
        {PLAIN, .label_smoothing = .1},
        {PLAIN, .mask = mask},
        {PLAIN, .mask = mask, .denominator = GR_KEPT},
        {PLAIN, .mask = mask, .denominator = GR_WEIGHTS},
        {PLAIN, .gamma = 2},
        {PLAIN, .gamma = .5},
        {ALPHA(.25)},
        {ALPHA(.25), .label_smoothing = .1, .mask = mask, .gamma = 2},
    };
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < COUNT(sets); i++) {
            compare_options(kind, GR_F32, sets[i]);
            compare_options(kind, GR_F64, sets[i]);
        }
}

/* ---- Second order ---------------------------------------------------------------------------- */

/* Returns d2 loss / d i d j, for i, j among x, y, w, p. */
static double second(loss_kind kind, point a, int i, int j)
{
    gr_tensor *in[] = {gr_variable(ONE(GR_F64, (double)a.x)), gr_variable(ONE(GR_F64, (double)a.y)),
                       gr_variable(ONE(GR_F64, (double)a.w)),
                       gr_variable(ONE(GR_F64, (double)a.p))};
    gr_tensor *value = loss_of(
        kind, in[0],
        &(gr_bce_args){GR_BCE_DEFAULTS, .target = in[1], .weight = in[2], .pos_weight = in[3]});
    return gr_item(gr_grad(gr_grad(value, in[i]), in[j]));
}

enum { IN_X, IN_Y, IN_W, IN_P };

static void expect_second(loss_kind kind, point a, int i, int j, long double want,
                          long double scale)
{
    static const char names[] = "xywp";
    const double forth = second(kind, a, i, j), back = second(kind, a, j, i);
    cr_expect(ulps_off(GR_F64, forth, want, scale) <= 8,
              "%s x=%Lg y=%Lg: d2/d%cd%c %.17g instead of %.17Lg", kind_names[kind], a.x, a.y,
              names[i], names[j], forth, want);
    cr_expect(ulps_off(GR_F64, back, want, scale) <= 8,
              "%s x=%Lg y=%Lg: d2/d%cd%c %.17g instead of %.17Lg", kind_names[kind], a.x, a.y,
              names[j], names[i], back, want);
}

static void expect_second_of_logits(point a)
{
    const long double s = sigmoid(a.x), c = sigmoid(-a.x), up = softplus(a.x),
                      down = softplus(-a.x);
    expect_second(LOGITS, a, IN_X, IN_X, a.w * ((1 - a.y) + a.p * a.y) * s * c, 0);
    expect_second(LOGITS, a, IN_X, IN_Y, -a.w * (s + a.p * c), 0);
    expect_second(LOGITS, a, IN_Y, IN_Y, 0, 0);
    expect_second(LOGITS, a, IN_X, IN_P, -a.w * a.y * c, 0);
    expect_second(LOGITS, a, IN_Y, IN_P, a.w * down, 0);
    expect_second(LOGITS, a, IN_X, IN_W, (1 - a.y) * s - a.p * a.y * c,
                  fmaxl((1 - a.y) * s, a.p * a.y * c));
    expect_second(LOGITS, a, IN_Y, IN_W, a.p * down - up, fmaxl(a.p * down, up));
    expect_second(LOGITS, a, IN_P, IN_W, a.y * down, 0);
    expect_second(LOGITS, a, IN_P, IN_P, 0, 0);
    expect_second(LOGITS, a, IN_W, IN_W, 0, 0);
}

static void expect_second_of_probabilities(point a)
{
    const long double c = 1 - a.x, floor = fmaxl(a.x * c, 1e-12L);
    const long double low = fmaxl(a.x, 1e-12L), high = fmaxl(c, 1e-12L);
    const long double u = fminl(-logl(a.x), 100), v = fminl(-log1pl(-a.x), 100);
    expect_second(PROBABILITIES, a, IN_X, IN_X,
                  a.w * (a.p * a.y / (low * low) + (1 - a.y) / (high * high)), 0);
    expect_second(PROBABILITIES, a, IN_X, IN_Y, -a.w * (a.p * c + a.x) / floor, 0);
    expect_second(PROBABILITIES, a, IN_Y, IN_Y, 0, 0);
    expect_second(PROBABILITIES, a, IN_X, IN_P, -a.w * a.y * c / floor, 0);
    expect_second(PROBABILITIES, a, IN_Y, IN_P, a.w * u, 0);
    expect_second(PROBABILITIES, a, IN_Y, IN_W, a.p * u - v, fmaxl(a.p * u, v));
    expect_second(PROBABILITIES, a, IN_P, IN_W, a.y * u, 0);
}

Test(gradients, second_order_closed_forms)
{
    static const double logits[] = {0, .3, -1, 5, -20, 30, 40, -45, 100, -300};
    static const double probabilities[] = {.5, .3, .999, .001, 1e-8, .99999999};
    static const double targets[] = {0, 1, .25};
    for (int j = 0; j < 3; j++) {
        for (int i = 0; i < COUNT(logits); i++) {
            expect_second_of_logits((point){logits[i], targets[j], 1, 1});
            expect_second_of_logits((point){logits[i], targets[j], .75, 3});
        }
        for (int i = 0; i < COUNT(probabilities); i++) {
            expect_second_of_probabilities((point){probabilities[i], targets[j], 1, 1});
            expect_second_of_probabilities((point){probabilities[i], targets[j], .75, 3});
        }
    }
}

Test(gradients, second_order_where_others_lose_it)
{
    /* (x^2 - 2xy + y) cancels near x = y. PyTorch's floats have an error of 1.3 % here. */
    gr_tensor *x = gr_variable(ROW(GR_F32, .999)), *y = ROW(GR_F32, 1);
    gr_tensor *twice = gr_grad(gr_grad(gr_bce(x, y), x), x);
    const long double c = .999F;
    expect_near(GR_F32, gr_item(twice), 1 / (c * c), 3, "at .999");
    expect_near(GR_F64, second(PROBABILITIES, (point){0, 0, 1, 1}, IN_X, IN_X), 1, 1,
                "at 0, target 0");
    expect_near(GR_F64, second(PROBABILITIES, (point){0, 1, 1, 1}, IN_X, IN_X), 1e24L, 4,
                "at 0, target 1");
    expect_near(GR_F64, second(PROBABILITIES, (point){0, 1, 1, 1}, IN_X, IN_Y), -1e12L, 4,
                "mixed at 0");
    expect_near(GR_F64, second(LOGITS, (point){1e4L, 1, 1, 1}, IN_X, IN_X), 0, 0, "saturated");
    expect_near(GR_F64, second(LOGITS, (point){INFINITY, 1, 1, 1}, IN_X, IN_X), 0, 0, "infinite");
    expect_near(GR_F64, second(LOGITS, (point){-INFINITY, 0, 1, 1}, IN_X, IN_X), 0, 0, "infinite");
}

Test(gradients, third_order_is_there)
{
    gr_tensor *x = gr_variable(ONE(GR_F64, .3)), *y = ONE(GR_F64, 1);
    gr_tensor *third = gr_grad(gr_grad(gr_grad(gr_bce_with_logits(x, y), x), x), x);
    const long double s = sigmoid(.3L);
    cr_expect_float_eq(gr_item(third), (double)(s * (1 - s) * (1 - 2 * s)), 1e-15);
}

/* ---- A wrong pos_weight ---------------------------------------------------------------------- */

Test(gradients, pos_weight_scales_the_positive_part_only)
{
    /* An error in another library let pos_weight scale the whole loss. It gave 0.54305774 here. */
    gr_tensor *half = ONE(GR_F32, .5);
    gr_tensor *value = gr_bce_with_logits(half, half, .weight = half, .pos_weight = ONE(GR_F32, 2));
    expect_near(GR_F32, gr_item(value), .5L * (.5L * softplus(.5L) + 2 * .5L * softplus(-.5L)), 1,
                "loss");
    cr_expect_float_eq(gr_item(value), 0.4806, 5e-5);
    cr_expect(fabs(gr_item(value) - 0.54305774) > .05);
}

/* ---- Dtypes ---------------------------------------------------------------------------------- */

static uint16_t rounded(gr_dtype dtype, float value)
{
    return dtype == GR_F16 ? gr_f32_to_f16(value) : gr_f32_to_bf16(value);
}

static void expect_half(loss_kind kind, gr_dtype dtype)
{
    const double logits[] = {0, .3, -1, 3, -20, 9, 15.5, -8},
                 targets[] = {0, 1, .25, 1, 0, 0, 1, .5};
    const double probabilities[] = {.5, .25, .75, .125, .9, .0625, 1, 0};
    gr_tensor *x = make(dtype, gr_shape(8), kind == LOGITS ? logits : probabilities);
    gr_tensor *y = make(dtype, gr_shape(8), targets), *p = gr_full(ctx, dtype, gr_shape(8), 2);
    const outcome out = run(kind, x,
                            (gr_bce_args){GR_BCE_DEFAULTS, .target = y, .weight = gr_ones_like(x),
                                          .pos_weight = p, .reduction = GR_NONE},
                            false);
    for (int i = 0; i < 8; i++) {
        const truth t =
            truth_of(kind, (point){gr_get(x, gr_index(i)), gr_get(y, gr_index(i)), 1, 2});
        for (int k = LOSS; k < QUANTITIES; k++) {
            const uint16_t got = ((const uint16_t *)gr_data(out.at[k]))[i];
            const uint16_t want = rounded(dtype, (float)t.at[k]);
            cr_expect_eq(got & 0x7fff ? got : 0, want & 0x7fff ? want : 0,
                         "%s %s element %d: %s %04x, not %04x", kind_names[kind],
                         gr_dtype_name(dtype), i, quantity_names[k], got, want);
        }
    }
}

Test(gradients, of_halves_are_computed_wider_and_rounded_once)
{
    for (int kind = 0; kind < KINDS; kind++) {
        expect_half(kind, GR_F16);
        expect_half(kind, GR_BF16);
    }
    gr_tensor *x = gr_zeros(ctx, GR_BF16, gr_shape(4096));
    gr_tensor *mean = gr_bce_with_logits(x, x);
    cr_expect_eq(gr_item(mean), gr_bf16_to_f32(gr_f32_to_bf16(0.693147182F)));
}

Test(gradients, a_half_sum_loses_nothing_on_the_way)
{
    /* 2906 log 2 = 2014.3, and the nearest bf16 is 2016. If each element were rounded to bf16
       first, the sum would be 2009.2, rounded to 2008. */
    gr_tensor *x = gr_zeros(ctx, GR_BF16, gr_shape(2906));
    gr_tensor *sum = gr_bce_with_logits(x, x, .reduction = GR_SUM);
    cr_expect_eq(gr_dtype_of(sum), GR_BF16);
    cr_expect_eq(gr_item(sum), 2016, "%g", gr_item(sum));
}

Test(gradients, targets_may_be_integers)
{
    static const gr_dtype dtypes[] = {GR_I32, GR_I64, GR_U8, GR_BOOL};
    const gr_dims shape = gr_shape(2, 2);
    for (int kind = 0; kind < KINDS; kind++) {
        gr_tensor *x = MAKE(GR_F32, shape, .25, .5, .75, .125),
                  *y = MAKE(GR_F32, shape, 0, 1, 1, 0);
        const outcome want = run(kind, x, (gr_bce_args){GR_BCE_DEFAULTS, .target = y}, false);
        for (int i = 0; i < COUNT(dtypes); i++) {
            gr_tensor *v = gr_variable(x), *dx;
            gr_tensor *got =
                loss_of(kind, v, &(gr_bce_args){GR_BCE_DEFAULTS, .target = gr_cast(y, dtypes[i])});
            cr_expect(same_bits(got, want.at[LOSS]), "%s", gr_dtype_name(dtypes[i]));
            cr_assert_eq(gr_grad_with(got, gr_list(v), &dx, &(gr_grad_args){0}), GR_OK);
            cr_expect(same_bits(dx, want.at[DX]), "%s", gr_dtype_name(dtypes[i]));
            cr_expect(gr_numel(gr_grad(got, v)) == 4, "%s", gr_error_message(ctx));
        }
    }
    gr_tensor *x = MAKE(GR_F64, shape, .25, .5, .75, .125), *y = MAKE(GR_I32, shape, 0, 1, 1, 0);
    gr_tensor *w = MAKE(GR_I64, gr_shape(2), 2, 3), *p = MAKE(GR_U8, gr_shape(2, 1), 1, 4);
    gr_tensor *whole = gr_bce(x, y, .weight = w, .pos_weight = p);
    gr_tensor *real = gr_bce(x, gr_cast(y, GR_F64), .weight = gr_cast(w, GR_F64),
                             .pos_weight = gr_cast(p, GR_F64));
    cr_expect(same_bits(whole, real), "%s", gr_error_message(ctx));
    cr_expect(!isnan(gr_item(gr_bce(x, y, .weight = MAKE(GR_BOOL, gr_shape(2), 1, 0)))));
}

Test(gradients, scalars_take_the_inputs_dtype)
{
    for (int kind = 0; kind < KINDS; kind++) {
        gr_tensor *x = ROW(GR_F32, .25, .75), *y = ROW(GR_F32, 0, 1), *two = gr_scalar(ctx, 2);
        const gr_bce_args weak = {GR_BCE_DEFAULTS, .target = y, .weight = two, .pos_weight = two};
        const gr_bce_args strong = {GR_BCE_DEFAULTS, .target = y, .weight = ONE(GR_F32, 2),
                                    .pos_weight = ONE(GR_F32, 2)};
        const outcome a = run(kind, x, strong, false);
        gr_tensor *v = gr_variable(x), *loss_weak = loss_of(kind, v, &weak);
        cr_expect(same_bits(loss_weak, a.at[LOSS]), "%s", gr_error_message(ctx));
        cr_expect_eq(gr_dtype_of(gr_grad(loss_weak, v)), GR_F32);
        gr_tensor *zero_d = loss_of(kind, ONE(GR_F32, .25),
                                    &(gr_bce_args){GR_BCE_DEFAULTS, .target = gr_scalar(ctx, 1)});
        cr_expect_eq(gr_dtype_of(zero_d), GR_F32);
        expect_near(GR_F32, gr_item(zero_d), truth_of(kind, (point){.25L, 1, 1, 1}).at[LOSS], 1,
                    "scalar target");
    }
}

/* ---- Of the gradients themselves ------------------------------------------------------------- */

Test(gradients, add_up_and_scale)
{
    for (int kind = 0; kind < KINDS; kind++) {
        gr_tensor *x = gr_parameter(ROW(GR_F64, .25, .75, .5)), *y = ROW(GR_F64, 0, 1, .25);
        const gr_bce_args args = {GR_BCE_DEFAULTS, .target = y};
        cr_assert_eq(gr_backward(loss_of(kind, x, &args)), GR_OK);
        double *once = values_of(gr_gradient(x));
        cr_assert_eq(gr_backward(gr_mul(loss_of(kind, x, &args), gr_scalar(ctx, 3))), GR_OK);
        for (int i = 0; i < 3; i++)
            expect_near(GR_F64, gr_get(gr_gradient(x), gr_index(i)), 4 * (long double)once[i], 2,
                        "sum");
        free(once);
    }
}

Test(gradients, an_operand_used_twice_gets_both)
{
    gr_tensor *x = gr_variable(ROW(GR_F64, .25, .75));
    gr_tensor *dx = gr_grad(gr_bce(x, x, .reduction = GR_SUM), x);
    for (int i = 0; i < 2; i++) { /* the slope of the entropy is log((1-x)/x) */
        const long double a = i ? .75L : .25L;
        expect_near(GR_F64, gr_get(dx, gr_index(i)), logl((1 - a) / a), 4, "entropy's slope");
    }
}
