/* helpers.h - helpers that the tests of the losses share: a context that counts its memory, tensors
 * from numbers, both losses with one call, and the closed forms in long double.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_LOSSES_HELPERS_H
#define GRADUS_TESTS_LOSSES_HELPERS_H

#include "tests/common/heap.h"
#include <criterion/criterion.h>
#include <float.h>
#include <gradus/gradus.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- A context, and its memory ------------------------------------------------------------------
 */

/* Criterion runs each test in its own process, so this state belongs to one test. */
static gr_context *ctx;

static inline gr_context *new_context(const char *isa, int threads)
{
    return gr_context_new(
        &(gr_context_options){.allocator = &heap_allocator, .isa = isa, .threads = threads});
}

static inline void begin(void) { ctx = new_context(NULL, 0); }

static inline void end(void)
{
    const gr_status status = gr_context_free(ctx);
    cr_expect_eq(status, GR_OK, "an error was left: %s", gr_status_name(status));
    cr_expect_eq(heap.live, 0, "%lld bytes were not given back", (long long)heap.live);
}

/* Checks that the context has this error, and clears it. */
static inline void expect_error(gr_tensor *result, gr_status status, const char *message)
{
    cr_expect(gr_failed(result), "%s: did not fail", message);
    cr_expect_eq(gr_error(ctx), status, "%s", gr_status_name(gr_error(ctx)));
    cr_expect_str_eq(gr_error_message(ctx), message);
    gr_error_clear(ctx);
}

/* ---- Tensors from numbers -------------------------------------------------------------------- */

/* Makes a tensor from numbers in row-major order, rounded to dtype. */
static inline gr_tensor *make(gr_dtype dtype, gr_dims shape, const double *values)
{
    return gr_cast(gr_from_data(ctx, GR_F64, shape, values), dtype);
}
#define NUMBERS(...)            ((const double[]){__VA_ARGS__})
#define MAKE(dtype, shape, ...) make(dtype, shape, NUMBERS(__VA_ARGS__))

/* A 0-d tensor, and a 1-d tensor. */
#define ONE(dtype, value) MAKE(dtype, gr_shape(), value)
#define ROW(dtype, ...)                                                                            \
    MAKE(dtype, gr_shape((int64_t)(sizeof NUMBERS(__VA_ARGS__) / sizeof(double))), __VA_ARGS__)

/* Makes a variable of an operand that may be NULL. */
static inline gr_tensor *variable(gr_tensor *x) { return x ? gr_variable(x) : NULL; }

/* Returns all elements as doubles. The caller frees them. */
static inline double *values_of(gr_tensor *x)
{
    const int64_t count = gr_numel(x);
    double *values = malloc((size_t)(count > 0 ? count : 1) * sizeof *values);
    cr_assert_eq(gr_read(x, GR_F64, count, values), GR_OK, "%s", gr_error_message(ctx));
    return values;
}

/* ---- Both losses ----------------------------------------------------------------------------- */

typedef enum loss_kind { LOGITS, PROBABILITIES, KINDS } loss_kind;
static const char *const kind_names[KINDS] __attribute__((unused)) = {"bce_with_logits", "bce"};
static const gr_reduction reductions[] __attribute__((unused)) = {GR_MEAN, GR_SUM, GR_NONE};

/* The beginning of a gr_bce_args in a list: without alpha, and with one. */
#define PLAIN    GR_BCE_DEFAULTS
#define ALPHA(a) .from_defaults = true, .alpha = (a)

static inline gr_tensor *loss_of(loss_kind kind, gr_tensor *x, const gr_bce_args *args)
{
    return kind == LOGITS ? gr_bce_with_logits_with(x, args) : gr_bce_with(x, args);
}

/* The quantities of a loss: its value and the gradients in input, target, weight and pos_weight. */
enum { LOSS, DX, DY, DW, DP, QUANTITIES };
static const char *const quantity_names[QUANTITIES]
    __attribute__((unused)) = {"loss", "dx", "dy", "dw", "dp"};

/* The loss and its gradients for an upstream gradient `seed` (NULL: ones). Missing operands have no
   gradient. record: uses the rule that can be differentiated again. */
typedef struct outcome {
    gr_tensor *at[QUANTITIES];
} outcome;

static inline outcome run_seeded(loss_kind kind, gr_tensor *x, gr_bce_args args, gr_tensor *seed,
                                 bool record)
{
    gr_tensor *in[] = {variable(x), variable(args.target), variable(args.weight),
                       variable(args.pos_weight)};
    args.target = in[1];
    args.weight = in[2];
    args.pos_weight = in[3];
    outcome out = {.at = {loss_of(kind, in[0], &args)}};
    gr_tensor *given[4], *gradients[4];
    int count = 0;
    for (int i = 0; i < 4; i++)
        if (in[i])
            given[count++] = in[i];
    const gr_status status = gr_grad_with(out.at[LOSS], (gr_tensors){count, given}, gradients,
                                          &(gr_grad_args){.seed = seed, .record = record});
    cr_assert_eq(status, GR_OK, "%s", gr_error_message(ctx));
    for (int i = 0, j = 0; i < 4; i++)
        if (in[i])
            out.at[DX + i] = gradients[j++];
    return out;
}

static inline outcome run(loss_kind kind, gr_tensor *x, gr_bce_args args, bool record)
{
    return run_seeded(kind, x, args, NULL, record);
}

/* ---- Distances ------------------------------------------------------------------------------- */

/* Returns the distance between neighbours of dtype near a value. */
static inline long double ulp_at(gr_dtype dtype, long double value)
{
    int exponent;
    const int digits = dtype == GR_F64 ? 53 : dtype == GR_F32 ? 24 : dtype == GR_F16 ? 11 : 8;
    const int lowest = dtype == GR_F64   ? -1074
                       : dtype == GR_F32 ? -149
                       : dtype == GR_F16 ? -24
                                         : -133;
    (void)frexpl(value, &exponent);
    if (value == 0 || exponent - digits < lowest)
        return ldexpl(1, lowest);
    return ldexpl(1, exponent - digits);
}

/* Returns the error of a computed value, in ulp of the wanted value or of `scale`, whichever is
   larger. NaN and infinities must be the same. */
static inline double ulps_off(gr_dtype dtype, double got, long double want, long double scale)
{
    const long double most = dtype == GR_F64 ? (long double)DBL_MAX : (long double)FLT_MAX;
    if (isnan(want))
        return isnan(got) ? 0 : INFINITY;
    if (fabsl(want) > most)
        return isinf(got) && (got > 0) == (want > 0) ? 0 : INFINITY;
    if (!isfinite(got))
        return INFINITY;
    const long double size = fabsl(want) > fabsl(scale) ? want : scale;
    return (double)(fabsl((long double)got - want) / ulp_at(dtype, size));
}

static inline void expect_near(gr_dtype dtype, double got, long double want, double ulps,
                               const char *what)
{
    const double off = ulps_off(dtype, got, want, 0);
    cr_expect(off <= ulps, "%s: %.17g instead of %.20Lg, %g ulp", what, got, want, off);
}

static inline bool same_bits(gr_tensor *a, gr_tensor *b)
{
    const gr_dims one = gr_shape_of(a), other = gr_shape_of(b);
    return one.count == other.count && gr_dtype_of(a) == gr_dtype_of(b) &&
           memcmp(one.at, other.at, (size_t)one.count * sizeof one.at[0]) == 0 &&
           memcmp(gr_data(a), gr_data(b), (size_t)(gr_numel(a) * gr_dtype_size(gr_dtype_of(a)))) ==
               0;
}

/* ---- Closed forms, in long double ------------------------------------------------------------ */

typedef struct point {
    long double x, y, w, p;
} point;

/* The true loss and gradients of an element. scale is the largest term in the sum of each. */
typedef struct truth {
    long double at[QUANTITIES], scale[QUANTITIES];
} truth;

/* Returns c v. If c is exactly 0, the result is 0 even for an infinite v. */
static inline long double times(long double c, long double v)
{
    return c == 0 && isinf(v) ? 0 : c * v;
}

static inline long double softplus(long double x) { return fmaxl(x, 0) + log1pl(expl(-fabsl(x))); }
static inline long double sigmoid(long double x)
{
    const long double z = expl(-fabsl(x));
    return x >= 0 ? 1 / (1 + z) : z / (1 + z);
}

/* Sets w (a + b) and its scale. */
static inline void set_sum(truth *t, int quantity, long double w, long double a, long double b)
{
    t->at[quantity] = times(w, a + b);
    t->scale[quantity] = times(fabsl(w), fmaxl(fabsl(a), fabsl(b)));
}

static inline truth truth_of_logits(point a)
{
    truth t;
    if (isnan(a.x) || isnan(a.y) || isnan(a.w) || isnan(a.p)) {
        for (int i = 0; i < QUANTITIES; i++)
            t.at[i] = t.scale[i] = NAN;
        return t;
    }
    const long double up = softplus(a.x), down = softplus(-a.x), rest = 1 - a.y;
    set_sum(&t, LOSS, a.w, times(rest, up), times(a.p * a.y, down));
    set_sum(&t, DX, a.w, rest * sigmoid(a.x), -a.p * a.y * sigmoid(-a.x));
    set_sum(&t, DY, a.w, times(a.p, down), -up);
    if (a.p == 1)
        set_sum(&t, DY, a.w, -a.x, 0);
    set_sum(&t, DW, 1, times(rest, up), times(a.p * a.y, down));
    set_sum(&t, DP, 1, times(a.w * a.y, down), 0);
    return t;
}

static inline truth truth_of_probabilities(point a)
{
    truth t;
    const long double u = fminl(-logl(a.x), 100), v = fminl(-log1pl(-a.x), 100), rest = 1 - a.y;
    const long double floor = fmaxl(a.x * (1 - a.x), 1e-12L);
    set_sum(&t, LOSS, a.w, rest * v, a.p * a.y * u);
    set_sum(&t, DX, a.w, rest * a.x / floor, -a.p * a.y * (1 - a.x) / floor);
    set_sum(&t, DY, a.w, a.p * u, -v);
    set_sum(&t, DW, 1, rest * v, a.p * a.y * u);
    set_sum(&t, DP, 1, a.w * a.y * u, 0);
    return t;
}

static inline truth truth_of(loss_kind kind, point a)
{
    return kind == LOGITS ? truth_of_logits(a) : truth_of_probabilities(a);
}

#endif
