/* accuracy.c - the error of each elementwise kernel, in units in the last place (ulp), and its
 * values where SLEEF alone would be wrong.
 *
 * Only the default table is tested: the others give the same bits (same_bits.c). The true values
 * are computed in long double, with an error of about 2^-11 ulp of a double.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

static const gr_kernels *kernels;

static void begin_accuracy(void)
{
    reseed(1);
    kernels = gr_kernels_choose(NULL);
    cr_assert_not_null(kernels);
}

TestSuite(accuracy, .init = begin_accuracy);

#define EACH_TYPE(ktype) for (int ktype = 0; ktype < GR_KTYPES; ktype++)

static guarded operands[5], results[5];

/* ---- The rows' formulas and bounds ----------------------------------------------------------- */

#define FORMULA(name, formula)                                                                     \
    static long double name##_of(const long double *in)                                            \
    {                                                                                              \
        const long double a = in[0], b = in[1], c = in[2];                                         \
        (void)a, (void)b, (void)c;                                                                 \
        return formula;                                                                            \
    }

FORMULA(copy, a)
FORMULA(neg, -a)
FORMULA(abs, fabsl(a))
FORMULA(sign, isnan(a) ? a : (a > 0) - (a < 0))
FORMULA(square, a *a)
FORMULA(sqrt, sqrtl(a))
FORMULA(exp, expl(a))
FORMULA(log, logl(a))
FORMULA(log1p, log1pl(a))
FORMULA(relu, a < 0 ? 0 : a)
FORMULA(sigmoid, a < 0 ? expl(a) / (1 + expl(a)) : 1 / (1 + expl(-a)))
FORMULA(tanh, tanhl(a))
FORMULA(sigmoid_slope, expl(-fabsl(a)) / powl(1 + expl(-fabsl(a)), 2))
FORMULA(tanh_slope, 4 * expl(-2 * fabsl(a)) / powl(1 + expl(-2 * fabsl(a)), 2))
FORMULA(softplus, (a > 0 ? a : 0) + (isnan(a) ? a : log1pl(expl(-fabsl(a)))))
FORMULA(add, a + b)
FORMULA(sub, a - b)
FORMULA(mul, a *b)
FORMULA(div, a / b)
FORMULA(times, a == 0 && isinf(b) ? 0 : a * b)
FORMULA(maximum, isnan(a) || isnan(b) ? NAN : a > b ? a : b)
FORMULA(minimum, isnan(a) || isnan(b) ? NAN : a < b ? a : b)
FORMULA(equal, a == b)
FORMULA(not_equal, a != b)
FORMULA(less, a < b)
FORMULA(less_equal, a <= b)
FORMULA(greater, a > b)
FORMULA(greater_equal, a >= b)
FORMULA(where, a != 0 ? b : c)

/* most: the largest error, for floats and for doubles. low and high: the range in which the
   function is not nearly constant, linear or infinite. */
typedef struct bound {
    long double (*of)(const long double *in);
    double most[GR_KTYPES];
    double low, high;
} bound;

/* Rounded once: half an ulp, and a little more because the true value is rounded too. */
/* clang-format off */
#define ONCE  {0.5005, 0.5005}
#define EXACT {0, 0}
/* clang-format on */

static const bound bounds[GR_KERNEL_COUNT] = {
    [GR_KERNEL_COPY] = {copy_of, EXACT, -9, 9},
    [GR_KERNEL_NEG] = {neg_of, EXACT, -9, 9},
    [GR_KERNEL_ABS] = {abs_of, EXACT, -9, 9},
    [GR_KERNEL_SIGN] = {sign_of, EXACT, -9, 9},
    [GR_KERNEL_SQUARE] = {square_of, ONCE, -9, 9},
    [GR_KERNEL_SQRT] = {sqrt_of, ONCE, 0, 9},
    [GR_KERNEL_EXP] = {exp_of, {1, 1}, -750, 710},
    [GR_KERNEL_LOG] = {log_of, {1, 1}, 0.5, 2},
    [GR_KERNEL_LOG1P] = {log1p_of, {1, 1}, -1, 1},
    [GR_KERNEL_RELU] = {relu_of, EXACT, -9, 9},
    [GR_KERNEL_SIGMOID] = {sigmoid_of, {2.5, 2.5}, -110, 40},
    [GR_KERNEL_TANH] = {tanh_of, {1.1, 1.1}, -20, 20},
    [GR_KERNEL_SIGMOID_SLOPE] = {sigmoid_slope_of, {3.5, 3.5}, -110, 110},
    [GR_KERNEL_TANH_SLOPE] = {tanh_slope_of, {3.5, 3.5}, -55, 55},
    [GR_KERNEL_SOFTPLUS] = {softplus_of, {2, 2}, -110, 40},
    [GR_KERNEL_ADD] = {add_of, ONCE, -9, 9},
    [GR_KERNEL_SUB] = {sub_of, ONCE, -9, 9},
    [GR_KERNEL_MUL] = {mul_of, ONCE, -9, 9},
    [GR_KERNEL_DIV] = {div_of, ONCE, -9, 9},
    [GR_KERNEL_TIMES] = {times_of, ONCE, -9, 9},
    [GR_KERNEL_MAXIMUM] = {maximum_of, EXACT, -9, 9},
    [GR_KERNEL_MINIMUM] = {minimum_of, EXACT, -9, 9},
    [GR_KERNEL_EQUAL] = {equal_of, EXACT, -9, 9},
    [GR_KERNEL_NOT_EQUAL] = {not_equal_of, EXACT, -9, 9},
    [GR_KERNEL_LESS] = {less_of, EXACT, -9, 9},
    [GR_KERNEL_LESS_EQUAL] = {less_equal_of, EXACT, -9, 9},
    [GR_KERNEL_GREATER] = {greater_of, EXACT, -9, 9},
    [GR_KERNEL_GREATER_EQUAL] = {greater_equal_of, EXACT, -9, 9},
    [GR_KERNEL_WHERE] = {where_of, EXACT, -9, 9},
};

/* pow, scale and the losses have options; their tests are below. The gradient rules give the same
   bits as the ops that they replace; tests/ops/unary.c tests that. */
static bool has_own_test(int id)
{
    return (id >= GR_KERNEL_RELU_VJP && id <= GR_KERNEL_SOFTPLUS_VJP) || id == GR_KERNEL_POW ||
           id == GR_KERNEL_SCALE || id == GR_KERNEL_BCE || id == GR_KERNEL_BCE_WITH_LOGITS;
}

/* ---- Measuring ------------------------------------------------------------------------------- */

/* The largest error so far, and the operand and the result that have it. */
typedef struct worst {
    double ulps, at, got;
} worst;

static void note(worst *w, double error, double at, double got)
{
    if (!(error <= w->ulps))
        *w = (worst){error, at, got};
}

/* Runs the kernel over the n elements in `operands`. */
static void measure(int id, int ktype, int64_t n, worst *w)
{
    const void *in[3];
    void *out[1] = {guard(&results[0], ktype, n, 0)};
    for (int k = 0; k < 3; k++)
        in[k] = (char *)operands[k].memory + GUARD * size_of(ktype);
    cr_assert_eq(kernels->map[id][ktype](n, out, in, NULL), 0);
    for (int64_t i = 0; i < n; i++) {
        const long double x[3] = {get(ktype, in[0], i), get(ktype, in[1], i), get(ktype, in[2], i)};
        const double got = get(ktype, out[0], i);
        note(w, ulps(dtype_of(ktype), got, bounds[id].of(x)), (double)x[0], got);
    }
}

static void set(int ktype, int64_t i, double a, double b, double c)
{
    const double x[3] = {a, b, c};
    for (int k = 0; k < 3; k++)
        put(ktype, (char *)operands[k].memory + GUARD * size_of(ktype), i, x[k]);
}

enum { RUN = 4096, RUNS = 12 };

/* The first operand is spread evenly over [low, high]. The others are random, and sometimes equal
   to the first. */
static void measure_evenly(int id, int ktype, worst *w)
{
    const double low = bounds[id].low, step = (bounds[id].high - low) / (RUNS * RUN);
    for (int64_t run = 0; run < RUNS; run++) {
        for (int64_t i = 0; i < RUN; i++) {
            const double a = low + (double)(run * RUN + i) * step;
            set(ktype, i, a, i % 9 ? draw(low, bounds[id].high) : a, draw(low, bounds[id].high));
        }
        measure(id, ktype, RUN, w);
    }
}

/* Operands of every exponent and both signs. */
static void measure_exponents(int id, int ktype, worst *w)
{
    const int lowest = ktype == GR_K32 ? -149 : -1074, highest = ktype == GR_K32 ? 127 : 1023;
    enum { EACH = 16 };
    for (int exponent = lowest; exponent <= highest; exponent++) {
        for (int i = 0; i < 2 * EACH; i++) {
            const double size = ldexp(1 + (i < 2 ? 0 : draw(0, 1)), exponent);
            set(ktype, i, i % 2 ? -size : size, ldexp(draw(-2, 2), exponent - i / 4), draw(-9, 9));
        }
        measure(id, ktype, 2 * EACH, w);
    }
}

static void measure_any(int id, int ktype, worst *w)
{
    for (int run = 0; run < RUNS; run++) {
        for (int64_t i = 0; i < RUN; i++) {
            if (run % 3)
                set(ktype, i, draw_any(ktype), draw_any(ktype), draw_any(ktype));
            else
                set(ktype, i, draw_edge(), draw_edge(), draw_edge());
        }
        measure(id, ktype, RUN, w);
    }
}

Test(accuracy, every_row_keeps_its_bound)
{
    for (int id = 0; id < GR_KERNEL_COUNT; id++)
        EACH_TYPE(ktype) {
            if (has_own_test(id))
                continue;
            cr_assert(bounds[id].of, "%s has no formula here", kernel_rows[id].name);
            worst w = {0};
            measure_evenly(id, ktype, &w);
            measure_exponents(id, ktype, &w);
            measure_any(id, ktype, &w);
            cr_expect_leq(w.ulps, bounds[id].most[ktype], "%s f%d: off by %.4g ulp at %a (%a)",
                          kernel_rows[id].name, 32 << ktype, w.ulps, w.at, w.got);
        }
}

/* ---- Single values --------------------------------------------------------------------------- */

static double one_of(int id, int ktype, double a, double b, double c, const void *args)
{
    set(ktype, 0, a, b, c);
    const void *in[3];
    void *out[1] = {guard(&results[0], ktype, 1, 0)};
    for (int k = 0; k < 3; k++)
        in[k] = (char *)operands[k].memory + GUARD * size_of(ktype);
    kernels->map[id][ktype](1, out, in, args);
    return get(ktype, out[0], 0);
}

/* Expects this value with this sign, or any NaN if it is NaN. */
static void expect_value(int id, int ktype, double a, double b, double c, double want)
{
    const double got = one_of(id, ktype, a, b, c, NULL);
    const bool right = isnan(want) ? isnan(got) : got == want && signbit(got) == signbit(want);
    cr_expect(right, "%s f%d of %g, %g, %g: %g, not %g", kernel_rows[id].name, 32 << ktype, a, b, c,
              got, want);
}

typedef struct special {
    int id;
    double a, want;
} special;

#define INF INFINITY

static const special specials[] = {
    {GR_KERNEL_NEG, 0.0, -0.0},      {GR_KERNEL_NEG, NAN, NAN},      {GR_KERNEL_NEG, INF, -INF},
    {GR_KERNEL_ABS, -0.0, 0.0},      {GR_KERNEL_ABS, NAN, NAN},      {GR_KERNEL_ABS, -INF, INF},
    {GR_KERNEL_SIGN, -0.0, 0.0},     {GR_KERNEL_SIGN, NAN, NAN},     {GR_KERNEL_SIGN, -INF, -1},
    {GR_KERNEL_SQUARE, -INF, INF},   {GR_KERNEL_SQRT, -0.0, -0.0},   {GR_KERNEL_SQRT, -1, NAN},
    {GR_KERNEL_SQRT, INF, INF},      {GR_KERNEL_EXP, INF, INF},      {GR_KERNEL_EXP, -INF, 0.0},
    {GR_KERNEL_EXP, NAN, NAN},       {GR_KERNEL_EXP, 0.0, 1},        {GR_KERNEL_EXP, -0.0, 1},
    {GR_KERNEL_EXP, 1e5, INF},       {GR_KERNEL_EXP, -1e5, 0.0},     {GR_KERNEL_LOG, 0.0, -INF},
    {GR_KERNEL_LOG, -0.0, -INF},     {GR_KERNEL_LOG, -1, NAN},       {GR_KERNEL_LOG, 1, 0.0},
    {GR_KERNEL_LOG, INF, INF},       {GR_KERNEL_LOG, NAN, NAN},      {GR_KERNEL_LOG1P, -1, -INF},
    {GR_KERNEL_LOG1P, -2, NAN},      {GR_KERNEL_LOG1P, -INF, NAN},   {GR_KERNEL_LOG1P, INF, INF},
    {GR_KERNEL_LOG1P, -0.0, -0.0},   {GR_KERNEL_LOG1P, 0.0, 0.0},    {GR_KERNEL_LOG1P, NAN, NAN},
    {GR_KERNEL_RELU, NAN, NAN},      {GR_KERNEL_RELU, -0.0, 0.0},    {GR_KERNEL_RELU, -INF, 0.0},
    {GR_KERNEL_SIGMOID, INF, 1},     {GR_KERNEL_SIGMOID, -INF, 0.0}, {GR_KERNEL_SIGMOID, NAN, NAN},
    {GR_KERNEL_SIGMOID, -0.0, 0.5},  {GR_KERNEL_TANH, INF, 1},       {GR_KERNEL_TANH, -INF, -1},
    {GR_KERNEL_TANH, -0.0, -0.0},    {GR_KERNEL_TANH, NAN, NAN},     {GR_KERNEL_SOFTPLUS, INF, INF},
    {GR_KERNEL_SOFTPLUS, -INF, 0.0}, {GR_KERNEL_SOFTPLUS, NAN, NAN},
};

Test(accuracy, the_ends_are_what_they_should_be)
{
    for (int i = 0; i < COUNT_OF(specials); i++)
        EACH_TYPE(ktype)
            expect_value(specials[i].id, ktype, specials[i].a, 0, 0, specials[i].want);
}

Test(accuracy, nan_is_not_lost_among_two_or_three)
{
    EACH_TYPE(ktype) {
        for (int id = GR_KERNEL_ADD; id <= GR_KERNEL_MINIMUM; id++) {
            expect_value(id, ktype, NAN, 1, 0, NAN);
            expect_value(id, ktype, -1, NAN, 0, NAN);
            expect_value(id, ktype, NAN, INF, 0, NAN);
            expect_value(id, ktype, NAN, NAN, 0, NAN);
        }
        expect_value(GR_KERNEL_EQUAL, ktype, NAN, NAN, 0, 0);
        expect_value(GR_KERNEL_NOT_EQUAL, ktype, NAN, NAN, 0, 1);
        expect_value(GR_KERNEL_LESS_EQUAL, ktype, NAN, 1, 0, 0);
        expect_value(GR_KERNEL_GREATER_EQUAL, ktype, 1, NAN, 0, 0);
        expect_value(GR_KERNEL_WHERE, ktype, NAN, 2, 3, 2);
        expect_value(GR_KERNEL_WHERE, ktype, -0.0, 2, -0.0, -0.0);
        expect_value(GR_KERNEL_WHERE, ktype, 1, 2, NAN, 2);
    }
}

/* ---- Where SLEEF alone is wrong -------------------------------------------------------------- */

static void expect_close(int id, int ktype, double a, double most)
{
    const long double x[3] = {a, 0, 0};
    const double got = one_of(id, ktype, a, 0, 0, NULL);
    const double error = ulps(dtype_of(ktype), got, bounds[id].of(x));
    cr_expect_leq(error, most, "%s f%d of %a: %a, off by %g ulp", kernel_rows[id].name, 32 << ktype,
                  a, got, error);
}

Test(accuracy, log1p_of_the_largest_is_finite)
{
    for (double x = 1e29; x < FLT_MAX; x *= 1.01)
        expect_close(GR_KERNEL_LOG1P, GR_K32, (double)(float)x, 1);
    expect_close(GR_KERNEL_LOG1P, GR_K32, FLT_MAX, 1);
    expect_close(GR_KERNEL_LOG1P, GR_K32, (double)nextafterf(1e38f, INFINITY), 1);
    for (double x = 1e29; x < DBL_MAX / 2; x *= 2)
        expect_close(GR_KERNEL_LOG1P, GR_K64, x, 1);
    expect_close(GR_KERNEL_LOG1P, GR_K64, DBL_MAX, 1);
}

Test(accuracy, log1p_of_the_smallest_is_itself)
{
    EACH_TYPE(ktype)
        for (int exponent = ktype == GR_K32 ? -149 : -1074; exponent < -60; exponent++) {
            expect_value(GR_KERNEL_LOG1P, ktype, ldexp(1, exponent), 0, 0, ldexp(1, exponent));
            expect_value(GR_KERNEL_LOG1P, ktype, -ldexp(1, exponent), 0, 0, -ldexp(1, exponent));
        }
}

/* last: the largest x whose exp is finite. first: the next number. */
static void expect_overflow(int ktype, double last, double first)
{
    const double most = one_of(GR_KERNEL_EXP, ktype, last, 0, 0, NULL);
    cr_expect(isfinite(most), "f%d: exp(%a) is %g", 32 << ktype, last, most);
    expect_close(GR_KERNEL_EXP, ktype, last, 1);
    expect_value(GR_KERNEL_EXP, ktype, first, 0, 0, INFINITY);
}

Test(accuracy, exp_overflows_where_it_should)
{
    const double last = 0x1.62e42fefa39efp+9;
    const float last_narrow = 0x1.62e42ep+6f;
    expect_overflow(GR_K64, last, nextafter(last, INFINITY));
    expect_overflow(GR_K32, (double)last_narrow, (double)nextafterf(last_narrow, INFINITY));
    for (double x = 709.5; x < last; x += 1e-4)
        expect_close(GR_KERNEL_EXP, GR_K64, x, 1);
    for (float x = 88.5f; x < last_narrow; x += 1e-4f)
        expect_close(GR_KERNEL_EXP, GR_K32, (double)x, 1);
}

/* Results that are denormal, down to the smallest one. */
Test(accuracy, exp_underflows_gradually)
{
    for (double x = -745.1; x < -708; x += 1e-3)
        expect_close(GR_KERNEL_EXP, GR_K64, x, 1);
    for (double x = -103.9; x < -87; x += 1e-3)
        expect_close(GR_KERNEL_EXP, GR_K32, (double)(float)x, 1);
    expect_value(GR_KERNEL_EXP, GR_K64, -745.1, 0, 0, 0x1p-1074);
    expect_value(GR_KERNEL_EXP, GR_K32, -103.9, 0, 0, 0x1p-149);
}

/* ---- pow ------------------------------------------------------------------------------------- */

typedef struct pow_bound {
    double exponent, most[GR_KTYPES];
} pow_bound;

/* The first seven exponents need only products, quotients and roots; 1/sqrt and the cube round
   twice. The others use SLEEF's pow, in double. */
static const pow_bound pow_bounds[] = {
    {0, EXACT},         {1, EXACT},        {2, ONCE},
    {3, {1.5, 1.5}},    {-1, ONCE},        {0.5, ONCE},
    {-0.5, {1.5, 1.5}}, {1.5, {0.501, 1}}, {-2, {0.501, 1}},
    {0.1, {0.501, 1}},  {7, {0.501, 1}},   {-3, {0.501, 1}},
    {2.5, {0.501, 1}},  {100, {0.501, 1}}, {1.0 / 3, {0.501, 1}},
};

static void measure_pow(int ktype, double exponent, worst *w)
{
    const gr_pow_kernel_args args = {exponent};
    const void *in[1] = {(char *)operands[0].memory + GUARD * size_of(ktype)};
    void *out[1] = {guard(&results[0], ktype, RUN, 0)};
    for (int64_t i = 0; i < RUN; i++)
        set(ktype, i, i % 2 ? fabs(draw_any(ktype)) : draw(0, 4), 0, 0);
    kernels->map[GR_KERNEL_POW][ktype](RUN, out, in, &args);
    for (int64_t i = 0; i < RUN; i++) {
        const double x = get(ktype, in[0], i), got = get(ktype, out[0], i);
        const long double want = isnan(x) ? NAN : powl(x, exponent);
        note(w, ulps(dtype_of(ktype), got, want), x, got);
    }
}

Test(accuracy, pow_keeps_its_bounds)
{
    EACH_TYPE(ktype)
        for (int i = 0; i < COUNT_OF(pow_bounds); i++) {
            worst w = {0};
            for (int run = 0; run < RUNS; run++)
                measure_pow(ktype, pow_bounds[i].exponent, &w);
            cr_expect_leq(w.ulps, pow_bounds[i].most[ktype],
                          "pow %g f%d: off by %.4g ulp at %a (%a)", pow_bounds[i].exponent,
                          32 << ktype, w.ulps, w.at, w.got);
        }
}

/* The values of C's pow, except that NaN always stays NaN. */
Test(accuracy, pow_at_the_ends)
{
    static const double exponents[] = {0, 1, 2, 3, -1, 0.5, -0.5, 1.5, -2, -3, 0.3, -0.3, 7, 4};
    static const double bases[] = {0.0, -0.0, 1, -1, 2, -2, INFINITY, NAN, 0.5, -8, 4};
    EACH_TYPE(ktype)
        for (int i = 0; i < COUNT_OF(exponents); i++)
            for (int j = 0; j < COUNT_OF(bases); j++) {
                const gr_pow_kernel_args args = {exponents[i]};
                const double got = one_of(GR_KERNEL_POW, ktype, bases[j], 0, 0, &args);
                const double want = isnan(bases[j]) ? NAN : pow(bases[j], exponents[i]);
                const bool right = isnan(want)
                                       ? isnan(got)
                                       : signbit(got) == signbit(want) &&
                                             (got == want || fabs(got - want) <= 1e-7 * fabs(want));
                cr_expect(right, "f%d: %g to the %g is %g, not %g", 32 << ktype, bases[j],
                          exponents[i], got, want);
            }
}

/* ---- Scale ----------------------------------------------------------------------------------- */

/* The product is rounded once, although the factor has more bits than the type. */
Test(accuracy, scale_rounds_once)
{
    EACH_TYPE(ktype)
        for (int i = 0; i < 10000; i++) {
            const double g = draw(-2, 2), divisor = draw(1, 1e6), x = draw(-9, 9);
            gr_scale_kernel_args args = {.factor = g / divisor};
            args.rest = fma(-args.factor, divisor, g) / divisor;
            const double got = one_of(GR_KERNEL_SCALE, ktype, x, 0, 0, &args);
            double operand[1];
            put(ktype, operand, 0, x);
            const long double want =
                (long double)get(ktype, operand, 0) * ((long double)g / (long double)divisor);
            cr_expect_leq(ulps(dtype_of(ktype), got, want), 0.502, "f%d: %a times %a / %a is %a",
                          32 << ktype, x, g, divisor, got);
        }
}

/* ---- Binary cross entropy -------------------------------------------------------------------- */

enum { LOSS, DX, DY, DW, DP, BCE_OUTPUTS };

/* The true outputs. scale is the sum of the absolute values of an output's terms: errors are
   relative to it, because the terms may cancel. */
typedef struct bce_truth {
    long double value[BCE_OUTPUTS], scale[BCE_OUTPUTS];
} bce_truth;

/* u and v: the losses of a positive and of a negative. s and r: their probabilities. vx and -ux:
   the derivatives of v and u by x. mx (1-2t): the derivative of m, the probability of the wrong
   class. */
typedef struct bce_parts {
    long double u, v, s, r, ux, vx, mx;
} bce_parts;

static bce_parts parts_of_logit(long double x)
{
    const long double a[3] = {x}, minus[3] = {-x}, s = sigmoid_of(a), r = sigmoid_of(minus);
    return (bce_parts){softplus_of(minus), softplus_of(a), s, r, r, s, s * r};
}

static bce_parts parts_of_probability(long double x)
{
    const long double r = 1 - x, bottom = fmaxl(x * r, 1e-12L);
    return (bce_parts){
        fminl(-logl(x), 100), fminl(-log1pl(-x), 100), x, r, r / bottom, x / bottom, 1};
}

/* l = w A F b as in kernels/bce.inc, and its derivatives, by the product rule. */
static bce_truth truth_of(const gr_bce_kernel_args *o, bce_parts q, const long double in[4])
{
    const long double e = o->label_smoothing, t = in[1] * (1 - e) + e / 2, w = in[2], p = in[3];
    const long double A = o->balanced ? o->alpha * t + (1 - (long double)o->alpha) * (1 - t) : 1;
    const long double At = o->balanced ? 2 * o->alpha - 1 : 0;
    const long double m = q.r * t + q.s * (1 - t), g = o->gamma;
    const long double F = g != 0 ? powl(m, g) : 1, Fm = g != 0 ? g * powl(m, g - 1) : 0;
    const long double b = p * t * q.u + (1 - t) * q.v;
    const long double push = F * (1 - t) * q.vx, pull = F * p * t * q.ux;
    const long double turn = Fm * q.mx * (1 - 2 * t) * b;
    const long double dt[] = {At * F * b, A * Fm * (q.r - q.s) * b, A * F * p * q.u, A * F * q.v};
    bce_truth truth = {.value = {w * A * F * b, w * A * (push - pull + turn),
                                 w * (1 - e) * (dt[0] + dt[1] + dt[2] - dt[3]), A * F * b,
                                 w * A * F * t * q.u}};
    memcpy(truth.scale, truth.value, sizeof truth.scale);
    truth.scale[DX] = w * A * (push + pull + fabsl(turn));
    truth.scale[DY] = w * (1 - e) * (fabsl(dt[0]) + fabsl(dt[1]) + dt[2] + dt[3]);
    return truth;
}

/* A random logit or probability. far: also in the tails. A probability is never 1, because the
   derivative of a focal factor has no limit there. */
static double draw_input(int ktype, bool logit, bool far)
{
    if (logit)
        return far ? draw(-90, 90) : draw(-6, 6);
    if (!far)
        return draw(0, 1);
    return draw_bits() % 2 ? exp(draw(-60, 0)) : 1 - exp(draw(ktype == GR_K32 ? -16 : -36, 0));
}

static void draw_bce(int ktype, bool logit, bool far, const void *in[5])
{
    void *arrays[4];
    for (int k = 0; k < 4; k++)
        in[k] = arrays[k] = guard(&operands[k], ktype, RUN, 0);
    in[4] = NULL;
    for (int64_t i = 0; i < RUN; i++) {
        put(ktype, arrays[0], i, draw_input(ktype, logit, far));
        put(ktype, arrays[1], i, draw_bits() % 2 ? (double)(draw_bits() & 1) : draw(0, 1));
        put(ktype, arrays[2], i, draw(0.1, 3));
        put(ktype, arrays[3], i, draw_bits() % 2 ? 1 : draw(0.1, 5));
    }
}

/* The largest error of each output. For floats it is in ulp. For doubles it is in 2^-53 of the
   scale, because terms may cancel. */
static void measure_bce(int ktype, bool logit, bool far, const gr_bce_kernel_args *args,
                        worst of[BCE_OUTPUTS])
{
    const void *in[5];
    void *out[BCE_OUTPUTS];
    draw_bce(ktype, logit, far, in);
    for (int k = 0; k < BCE_OUTPUTS; k++)
        out[k] = guard(&results[k], ktype, RUN, 0);
    const int id = logit ? GR_KERNEL_BCE_WITH_LOGITS : GR_KERNEL_BCE;
    cr_assert_eq(kernels->map[id][ktype](RUN, out, in, args), 0);
    for (int64_t i = 0; i < RUN; i++) {
        const long double x[4] = {get(ktype, in[0], i), get(ktype, in[1], i), get(ktype, in[2], i),
                                  get(ktype, in[3], i)};
        const bce_parts parts = logit ? parts_of_logit(x[0]) : parts_of_probability(x[0]);
        const bce_truth truth = truth_of(args, parts, x);
        for (int k = 0; k < BCE_OUTPUTS; k++) {
            const double got = get(ktype, out[k], i);
            const long double unit = truth.scale[k] * 0x1p-53L + 0x1p-1074L;
            const double error = ktype == GR_K32 ? ulps(GR_F32, got, truth.value[k])
                                                 : (double)(fabsl(got - truth.value[k]) / unit);
            note(&of[k], error, (double)x[0], got);
        }
    }
}

static void check_bce(int ktype, bool logit, const gr_bce_kernel_args *args, double most)
{
    static const char *const names[] = {"loss", "dx", "dy", "dw", "dp"};
    for (int far = 0; far < 2; far++) {
        worst of[BCE_OUTPUTS] = {{0}};
        measure_bce(ktype, logit, far, args, of);
        for (int k = 0; k < BCE_OUTPUTS; k++)
            cr_expect_leq(of[k].ulps, most,
                          "%s f%d%s, smoothing %g gamma %g alpha %g: %s is off by "
                          "%.4g at %a (%a)",
                          logit ? "logits" : "probabilities", 32 << ktype, far ? ", tails" : "",
                          args->label_smoothing, args->gamma, args->alpha, names[k], of[k].ulps,
                          of[k].at, of[k].got);
    }
}

/* Options, and the bound for doubles. A focal factor adds several products. Label smoothing rounds
   the target, and near 1 this is a large relative error of 1-t. */
typedef struct bce_bound {
    gr_bce_kernel_args options;
    double most;
} bce_bound;

static const bce_bound bce_bounds[] = {
    {{0}, 4.5},
    {{.label_smoothing = 0.1}, 32},
    {{.gamma = 2}, 12},
    {{.gamma = 1}, 12},
    {{.gamma = 0.5}, 12},
    {{.gamma = 2.5, .alpha = 0.25, .balanced = true}, 12},
    {{.alpha = 0.8, .balanced = true}, 12},
    {{.alpha = 0, .balanced = true}, 12},
    {{.label_smoothing = 0.25, .gamma = 3, .alpha = 0.25, .balanced = true}, 32},
};

Test(accuracy, bce_of_floats_is_the_true_value_rounded)
{
    for (int i = 0; i < COUNT_OF(bce_bounds); i++)
        for (int logit = 0; logit < 2; logit++)
            check_bce(GR_K32, logit, &bce_bounds[i].options, 0.51);
}

Test(accuracy, bce_of_doubles_keeps_its_bounds)
{
    for (int i = 0; i < COUNT_OF(bce_bounds); i++)
        for (int logit = 0; logit < 2; logit++)
            check_bce(GR_K64, logit, &bce_bounds[i].options, bce_bounds[i].most);
}

/* x and y where the formula is clamped or has a limit; right: the loss, dx and dy. */
typedef struct bce_end {
    bool logit;
    double x, y, right[3];
} bce_end;

static const bce_end bce_ends[] = {
    {false, 0, 0, {0, 0, 100}},         {false, 0, 1, {100, -1e12, 100}},
    {false, 1, 0, {100, 1e12, -100}},   {false, 1, 1, {0, 0, -100}},
    {false, 0, 0.5, {50, -5e11, 100}},  {false, 0x1p-149, 1, {100, -1e12, 100}},
    {true, INF, 0, {INF, 1, -INF}},     {true, INF, 1, {0, 0, -INF}},
    {true, INF, 0.5, {INF, 0.5, -INF}}, {true, -INF, 1, {INF, -1, INF}},
    {true, -INF, 0, {0, 0, INF}},       {true, -INF, 0.5, {INF, -0.5, INF}},
    {true, NAN, 1, {NAN, NAN, NAN}},    {true, 1e4, 0, {1e4, 1, -1e4}},
    {true, -1e4, 1, {1e4, -1, 1e4}},
};

Test(accuracy, bce_at_its_ends)
{
    const gr_bce_kernel_args plain = {0};
    for (int i = 0; i < COUNT_OF(bce_ends); i++)
        EACH_TYPE(ktype) {
            const bce_end *end = &bce_ends[i];
            double x[1], y[1], got[3][1];
            const void *in[5] = {x, y};
            void *out[5] = {got[0], got[1], got[2]};
            put(ktype, x, 0, end->x), put(ktype, y, 0, end->y);
            kernels->map[end->logit ? GR_KERNEL_BCE_WITH_LOGITS : GR_KERNEL_BCE][ktype](1, out, in,
                                                                                        &plain);
            for (int k = 0; k < 3; k++) {
                const double value = get(ktype, got[k], 0), want = end->right[k];
                const bool right =
                    isnan(want) ? isnan(value) : value == (double)(float)want || value == want;
                cr_expect(right, "f%d, x %g, y %g: output %d is %g, not %g", 32 << ktype, end->x,
                          end->y, k, value, want);
            }
        }
}
