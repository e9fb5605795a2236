/* many.c - options together with blocks and more of elements, under sum and mean: values and
 * gradients against the closed forms in long double, and against the elements' own.
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"

TestSuite(many, .init = begin, .fini = end);

enum { MANY = 9001 };

/* ---- The closed form with every option ------------------------------------------------------- */

/* With t = y (1-e) + e/2: l = A F b, b = t u + (1-t) v, A = alpha t + (1-alpha) (1-t), F = m^gamma,
   where m is the probability of the wrong side. */
typedef struct element {
    long double loss, dx, dy;
    long double scale; /* the largest term that any of them is a sum of */
} element;

static element element_of(loss_kind kind, long double x, long double y, const gr_bce_args *a)
{
    const long double e = a->label_smoothing, gamma = a->gamma, alpha = a->alpha;
    const long double t = y * (1 - e) + e / 2, s = kind == LOGITS ? sigmoid(x) : x;
    const long double rest = kind == LOGITS ? sigmoid(-x) : 1 - x;
    const long double u = kind == LOGITS ? softplus(-x) : -logl(x);
    const long double v = kind == LOGITS ? softplus(x) : -log1pl(-x);
    const long double A = alpha != GR_NO_ALPHA ? alpha * t + (1 - alpha) * (1 - t) : 1;
    const long double dA = alpha != GR_NO_ALPHA ? 2 * alpha - 1 : 0;
    const long double m = rest * t + s * (1 - t), F = gamma != 0 ? powl(m, gamma) : 1;
    const long double dF = gamma != 0 ? gamma * powl(m, gamma - 1) : 0;
    const long double b = t * u + (1 - t) * v, db_dt = u - v;
    const long double ds = kind == LOGITS ? s * rest : 1; /* ds/dx */
    const long double db_dx = ((1 - t) / rest - t / s) * ds;
    element all = {.loss = A * F * b};
    all.dx = A * (F * db_dx + dF * (1 - 2 * t) * ds * b);
    all.dy = (1 - e) * (dA * F * b + A * F * db_dt + A * dF * (rest - s) * b);
    all.scale = 1 + fabsl(F * db_dt) + fabsl(F * db_dx) + fabsl(dF * b);
    return all;
}

/* ---- Elements -------------------------------------------------------------------------------- */

static const gr_bce_args choices[] = {
    {PLAIN},
    {PLAIN, .label_smoothing = 0.1},
    {PLAIN, .label_smoothing = 1},
    {PLAIN, .gamma = 2},
    {PLAIN, .gamma = 0.5},
    {ALPHA(0.25)},
    {ALPHA(0)},
    {ALPHA(0.25), .gamma = 2},
    {ALPHA(0.75), .label_smoothing = 0.2, .gamma = 1.5},
    {PLAIN, .strict_target = true},
    {ALPHA(0.25), .strict_target = true, .label_smoothing = 0.1, .gamma = 2},
};

static const int64_t lengths[] = {4096, 4097, 5120, MANY};

static double one_of(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

static gr_tensor *draw_x(loss_kind kind, gr_dtype dtype, int64_t n)
{
    static double x[MANY];
    uint64_t state = 5;
    for (int64_t i = 0; i < n; i++)
        x[i] = kind == LOGITS ? 24 * one_of(&state) - 12 : 0.01 + 0.98 * one_of(&state);
    return make(dtype, gr_shape(n), x);
}

static gr_tensor *draw_y(gr_dtype dtype, int64_t n)
{
    static double y[MANY];
    uint64_t state = 9;
    for (int64_t i = 0; i < n; i++) {
        const double u = one_of(&state);
        y[i] = i % 2 ? u > 0.5 : u;
    }
    return make(dtype, gr_shape(n), y);
}

/* ---- Values and gradients -------------------------------------------------------------------- */

static void expect_close(const char *what, int choice, loss_kind kind, gr_dtype dtype, double got,
                         long double want, long double most)
{
    cr_expect(fabsl(got - want) <= most, "%s %s, choice %d: %s is %.17g, not %.20Lg",
              kind_names[kind], gr_dtype_name(dtype), choice, what, got, want);
}

static void check(loss_kind kind, gr_dtype dtype, int choice, int64_t n, bool record)
{
    const long double unit = dtype == GR_F32 ? 0x1p-24L : 0x1p-53L;
    gr_tensor *x = draw_x(kind, dtype, n), *y = draw_y(dtype, n);
    gr_bce_args args = choices[choice];
    args.target = y;
    args.reduction = GR_SUM;
    const outcome sum = run(kind, x, args, record);
    args.reduction = GR_MEAN;
    const outcome mean = run(kind, x, args, record);
    args.reduction = GR_NONE;
    const outcome none = run(kind, x, args, record);
    double *xs = values_of(x), *ys = values_of(y), *each = values_of(none.at[LOSS]);
    double *dx = values_of(sum.at[DX]), *dy = values_of(sum.at[DY]);
    double *mean_dx = values_of(mean.at[DX]), *mean_dy = values_of(mean.at[DY]);
    long double total = 0, elements = 0;
    for (int64_t i = 0; i < n; i++) {
        const element right = element_of(kind, xs[i], ys[i], &choices[choice]);
        const long double most = 16 * unit * right.scale;
        expect_close("dx", choice, kind, dtype, dx[i], right.dx, most);
        expect_close("dy", choice, kind, dtype, dy[i], right.dy, most * 4);
        expect_close("n dx of the mean", choice, kind, dtype, mean_dx[i] * (double)n, right.dx,
                     most);
        expect_close("n dy of the mean", choice, kind, dtype, mean_dy[i] * (double)n, right.dy,
                     most * 4);
        total += right.loss;
        elements += each[i];
    }
    /* Each element may be rounded to its dtype, and the sum. */
    expect_close("sum", choice, kind, dtype, gr_item(sum.at[LOSS]), total, 4 * unit * total);
    expect_close("sum of elements", choice, kind, dtype, gr_item(sum.at[LOSS]), elements,
                 4 * unit * total);
    expect_close("mean", choice, kind, dtype, gr_item(mean.at[LOSS]), total / n,
                 4 * unit * total / n);
    double *const all[] = {xs, ys, each, dx, dy, mean_dx, mean_dy};
    for (int i = 0; i < 7; i++)
        free(all[i]);
}

static void check_all(loss_kind kind, gr_dtype dtype)
{
    for (int choice = 0; choice < (int)(sizeof choices / sizeof *choices); choice++)
        for (int i = 0; i < 4; i++)
            for (int record = 0; record < 2; record++) {
                cr_assert_eq(gr_scope_begin(ctx), GR_OK);
                check(kind, dtype, choice, lengths[i], record);
                cr_assert_eq(gr_scope_end(ctx), GR_OK);
            }
}

Test(many, options_of_logits_f32) { check_all(LOGITS, GR_F32); }
Test(many, options_of_logits_f64) { check_all(LOGITS, GR_F64); }
Test(many, options_of_probabilities_f32) { check_all(PROBABILITIES, GR_F32); }
Test(many, options_of_probabilities_f64) { check_all(PROBABILITIES, GR_F64); }

/* ---- NaN ------------------------------------------------------------------------------------- */

/* A logit that is NaN, whatever its bits, gives the one NaN, wherever it stands. */
Test(many, a_gradient_that_is_nan_has_the_same_bits_everywhere)
{
    static const int64_t places[] = {0, 1, 15, 1023, 1024, 4095, 4096, MANY - 1};
    static float x[MANY];
    const uint32_t strange = 0xffc12345;
    const float one_nan = NAN;
    for (int i = 0; i < 8; i++) {
        const gr_dims shape = gr_shape(places[i] < 4096 ? 4096 : MANY);
        memset(x, 0, sizeof x);
        memcpy(&x[places[i]], &strange, sizeof strange);
        gr_tensor *logits = gr_variable(gr_from_data(ctx, GR_F32, shape, x));
        gr_tensor *y = gr_full(ctx, GR_F32, shape, 0.5), *dx;
        gr_tensor *loss = gr_bce_with_logits(logits, y, .reduction = GR_SUM);
        cr_expect(isnan(gr_item(loss)));
        cr_assert_eq(gr_grad_with(loss, gr_list(logits), &dx, NULL), GR_OK);
        const float *all = gr_data(dx);
        cr_expect_eq(memcmp(&all[places[i]], &one_nan, sizeof one_nan), 0, "at %d", (int)places[i]);
    }
}

/* ---- Targets that are looked at -------------------------------------------------------------- */

/* One target of many lies outside: it is named, wherever it stands and whatever else is asked. */
static void expect_outside(loss_kind kind, gr_dtype dtype, int64_t at, gr_bce_args args)
{
    char words[128];
    double *targets = values_of(draw_y(dtype, MANY));
    targets[at] = at % 2 ? 1.5 : NAN;
    gr_tensor *x = draw_x(kind, dtype, MANY);
    args.strict_target = true;
    args.target = make(dtype, gr_shape(MANY), targets);
    snprintf(words, sizeof words, "%s: target at [%d] of shape [%d] is %s, outside [0,1]",
             kind_names[kind], (int)at, MANY, at % 2 ? "1.5" : "nan");
    expect_error(loss_of(kind, x, &args), GR_ERROR_DOMAIN, words);
    for (int64_t i = 0; i < MANY; i++)
        targets[i] = i != at;
    args.mask = make(GR_BOOL, gr_shape(MANY), targets);
    cr_expect(isfinite(gr_item(loss_of(kind, x, &args))), "masked, it does not count");
    free(targets);
}

Test(many, strict_targets_outside_are_named)
{
    static const int64_t places[] = {0, 1023, 1024, 4095, 4096, 8192, MANY - 1};
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < 7; i++)
            for (int reduction = GR_MEAN; reduction <= GR_SUM; reduction++)
                for (gr_dtype dtype = GR_F32; dtype <= GR_F64; dtype++) {
                    const gr_reduction r = (gr_reduction)reduction;
                    expect_outside(kind, dtype, places[i],
                                   (gr_bce_args){GR_BCE_DEFAULTS, .reduction = r});
                    expect_outside(
                        kind, dtype, places[i],
                        (gr_bce_args){GR_BCE_DEFAULTS, .reduction = r, .label_smoothing = 0.5});
                    expect_outside(kind, dtype, places[i],
                                   (gr_bce_args){ALPHA(0.5), .reduction = r, .gamma = 2});
                }
}
