/* gradcheck.c - gradients compared with differences of the function itself, entry by entry.
 *
 * A pass takes a function G of the inputs, all in one column of numbers: in order 1 G is f; in
 * order 2 it is the gradient of sum(v f) for one fixed random v, which a wrong second derivative
 * cannot hide from. Its Jacobian comes from sweeps over the tape, row by row, twice: not recorded
 * (fused rules, as gr_backward runs them) and recorded (composed ones, as gr_grad does); of both
 * the one further off is judged. It also comes from differences, column by column:
 *
 *     D(h) = (G(x+h) - G(x-h)) / 2h, or at the domain's border (-3 G(x) + 4 G(x+h) - G(x+2h)) / 2h,
 *
 * for h, h/2 and h/4, extrapolated twice (Richardson). How far the last extrapolation is from those
 * before it says how much it may be wrong (Ridders, "Accurate computation of F'(x) and
 * F'(x)F''(x)", Advances in Engineering Software 4, 1982), be it from curvature, a kink near by or
 * rounding. Where that is too much, smaller h are tried, and each entry keeps its best estimate.
 *
 * The inputs are moved in place, and the old bits are put back, not computed back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum {
    STEPS = 3,          /* h, h/2, h/4 */
    POINTS = 2 * STEPS, /* the most that a stencil takes */
    LEVELS = 5          /* how often h is chosen anew; the last for a tiny x */
};

typedef struct checker {
    gr_context *ctx;
    gr_function *function;
    void *data;
    gr_tensors inputs;
    gr_gradcheck_args args; /* without zeros */
    gr_gradcheck_report report;
    double worst;          /* the worst entry's error over what is allowed */
    int order;             /* of the pass that runs */
    int64_t rows, columns; /* of the Jacobian */
    double epsilon;        /* of the dtype of what is differentiated */
    gr_tensor **seen;      /* the inputs as the function gets them */
    gr_tensor **outputs;   /* G's parts: f's result, or a gradient for each input */
    int64_t output_count;
    gr_tensor **gradients;    /* of one row, by input */
    double *value;            /* G at the inputs: [rows] */
    double *plain, *recorded; /* its Jacobian from the tape: [rows, columns] */
    double *points[POINTS];   /* G around the inputs: [rows] each */
    double *row_scale;        /* the largest entry of each row of it: [rows] */
    /* Of a column, [rows] each: the derivative, how much it may be wrong, that beside what is
       tolerated, and the largest value of G around the inputs. */
    double *numeric, *noise, *doubt, *scale;
} checker;

/* Where one element is moved to. */
typedef struct stencil {
    int side; /* 0: both ways; 1 or -1: this way only */
    int count;
    double h[STEPS], at[POINTS];
} stencil;

/* ---- Scopes ---------------------------------------------------------------------------------- */

/* A scope, and where the context stood before it, so that a function that loses count of its scopes
   does no harm. */
typedef struct bracket {
    gr_scope *outer;
    int lost;
    bool begun;
} bracket;

static bracket begin(checker *c)
{
    bracket b = {.outer = c->ctx->scope, .lost = c->ctx->lost_scopes};
    b.begun = gr_scope_begin(c->ctx) == GR_OK;
    return b;
}

static bool is_inside(const gr_scope *scope, const gr_scope *outer)
{
    while (scope && scope != outer)
        scope = scope->outer;
    return scope != NULL;
}

/* Ends the scope; whether all went well in it. */
static bool end(checker *c, bracket b)
{
    gr_context *ctx = c->ctx;
    gr_status status = gr_error(ctx);
    while (ctx->lost_scopes > b.lost)
        status = gr_scope_end(ctx);
    while (ctx->scope != b.outer && is_inside(ctx->scope, b.outer))
        status = gr_scope_end(ctx);
    return b.begun && status == GR_OK;
}

/* ---- The function ---------------------------------------------------------------------------- */

/* A constant for output i, in +-[0.5, 1.5): neither 0 nor the same as its neighbour's. */
static double cotangent(int64_t i)
{
    uint64_t bits = (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15) + UINT64_C(0x2545f4914f6cdd1d);
    bits = (bits ^ (bits >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ (bits >> 27)) * UINT64_C(0x94d049bb133111eb);
    bits ^= bits >> 31;
    const double size = 0.5 + (double)(bits >> 12) * 0x1p-52;
    return bits & 1 ? size : -size;
}

/* A tensor like y whose elements are 0 but for one, or (at = -1) the cotangents; NULL on an error.
 */
static gr_tensor *seed_for(const gr_tensor *y, int64_t at)
{
    const gr_dims shape = gr_shape_of(y);
    gr_tensor *seed = gr_tensor_in(y->ctx->scope, "gradcheck", y->dtype, &shape);
    const int64_t size = gr_dtype_size(y->dtype), count = gr_numel(y);
    for (int64_t i = 0; seed && i < count; i++) {
        const double value = at < 0 ? cotangent(i) : i == at;
        gr_convert(GR_F64, &value, y->dtype, seed->data + i * size, 1);
    }
    return seed;
}

static bool output_is_good(const checker *c, gr_tensor *y)
{
    gr_tensor *failed;
    if (!y)
        gr_fail(c->ctx, GR_ERROR_NULL, "gradcheck", "the function's result is NULL");
    else if (!gr_usable("gradcheck", y, 0, &failed))
        gr_fail(c->ctx, GR_ERROR_ARGUMENT, "gradcheck", "the function's result cannot be used");
    else if (y->ctx != c->ctx)
        gr_fail(c->ctx, GR_ERROR_CONTEXT, "gradcheck",
                "the function's result is another context's");
    else if (!gr_dtype_is_float(y->dtype))
        gr_fail(c->ctx, GR_ERROR_DTYPE, "gradcheck", "the function's result is %s: no float",
                gr_dtype_name(y->dtype));
    return gr_error(c->ctx) == GR_OK;
}

/* f's result in the innermost scope; NULL on an error. A parameter is given as it is, so that f may
   also reach it by another way; what gets no gradient is given as a view that does. */
static gr_tensor *call_function(checker *c)
{
    for (int64_t i = 0; i < c->inputs.count; i++) {
        gr_tensor *x = c->inputs.at[i];
        c->seen[i] = x->requires_grad ? x : gr_variable(x);
        if (gr_failed(c->seen[i]))
            return NULL;
    }
    const gr_scope *scope = c->ctx->scope;
    gr_tensor *y = c->function((gr_tensors){c->inputs.count, c->seen}, c->data);
    if (c->ctx->scope != scope)
        gr_fail(c->ctx, GR_ERROR_SCOPE, "gradcheck",
                "the function leaves a scope open, or ends one");
    return output_is_good(c, y) ? y : NULL;
}

/* c->outputs, in the innermost scope: what this order differentiates. */
static bool evaluate(checker *c)
{
    gr_tensor *y = call_function(c);
    if (!y)
        return false;
    c->output_count = c->order == 1 ? 1 : c->inputs.count;
    c->outputs[0] = y;
    if (c->order == 1)
        return true;
    const gr_grad_args args = {.seed = seed_for(y, -1), .record = true};
    const gr_tensors seen = {c->inputs.count, c->seen};
    return args.seed && gr_grad_with(y, seen, c->outputs, &args) == GR_OK;
}

static int64_t count_rows(const checker *c)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < c->output_count; i++)
        rows += gr_numel(c->outputs[i]);
    return rows;
}

/* The outputs end to end. */
static bool read_outputs(const checker *c, double *to)
{
    if (count_rows(c) != c->rows) {
        gr_fail(c->ctx, GR_ERROR_SHAPE, "gradcheck", "the function's result changes its shape");
        return false;
    }
    for (int64_t i = 0; i < c->output_count; i++) {
        const int64_t count = gr_numel(c->outputs[i]);
        if (gr_read(c->outputs[i], GR_F64, count, to) != GR_OK)
            return false;
        to += count;
    }
    return true;
}

static double epsilon_of(gr_dtype dtype)
{
    switch (dtype) {
    case GR_F64:
        return DBL_EPSILON;
    case GR_F32:
        return FLT_EPSILON;
    case GR_F16:
        return 0x1p-10;
    default:
        return 0x1p-7; /* bf16 */
    }
}

/* How many rows the Jacobian has, and how exact they can be: order 2 no more than order 1. */
static bool measure(checker *c)
{
    const bracket b = begin(c);
    const bool done = b.begun && evaluate(c);
    if (done) {
        c->rows = count_rows(c);
        for (int64_t i = 0; i < c->output_count; i++)
            c->epsilon = fmax(c->epsilon, epsilon_of(c->outputs[i]->dtype));
    }
    return end(c, b) && done;
}

static bool evaluate_into(checker *c, double *value)
{
    const bracket b = begin(c);
    const bool done = b.begun && evaluate(c) && read_outputs(c, value);
    return end(c, b) && done;
}

/* ---- The Jacobian from the tape -------------------------------------------------------------- */

/* One row: the gradients of element `at` of an output in every input. */
static bool sweep_row(checker *c, gr_tensor *output, int64_t at, bool record, double *row)
{
    const bracket b = begin(c);
    const gr_tensors seen = {c->inputs.count, c->seen};
    const gr_grad_args args = {.seed = b.begun ? seed_for(output, at) : NULL, .record = record};
    bool done = args.seed && gr_grad_with(output, seen, c->gradients, &args) == GR_OK;
    for (int64_t i = 0; done && i < c->inputs.count; i++) {
        const int64_t count = gr_numel(c->inputs.at[i]);
        done = gr_read(c->gradients[i], GR_F64, count, row) == GR_OK;
        row += count;
    }
    return end(c, b) && done;
}

static bool sweep_rows(checker *c, bool record, double *jacobian)
{
    for (int64_t i = 0; i < c->output_count; i++) {
        const int64_t count = gr_numel(c->outputs[i]);
        for (int64_t at = 0; at < count; at++, jacobian += c->columns)
            if (!sweep_row(c, c->outputs[i], at, record, jacobian))
                return false;
    }
    return true;
}

static bool jacobian_into(checker *c, bool record, double *value, double *jacobian)
{
    const bracket b = begin(c);
    const bool done =
        b.begun && evaluate(c) && read_outputs(c, value) && sweep_rows(c, record, jacobian);
    return end(c, b) && done;
}

/* ---- The Jacobian from differences ----------------------------------------------------------- */

/* The element that a column of the Jacobian belongs to. */
static double *column_element(const checker *c, int64_t column, int *input, int64_t *at)
{
    int64_t i = 0;
    for (; column >= gr_numel(c->inputs.at[i]); i++)
        column -= gr_numel(c->inputs.at[i]);
    *input = (int)i;
    *at = column;
    return (double *)c->inputs.at[i]->data + column;
}

static double clamp(const checker *c, double x) { return fmin(fmax(x, c->args.low), c->args.high); }

/* Points around x at steps h, h/2, h/4, as far as the domain allows. */
static stencil stencil_at(const checker *c, double x, double h)
{
    const double below = x - c->args.low, above = c->args.high - x;
    stencil s = {.count = POINTS};
    if (below < h || above < h) {
        const double room = fmax(below, above);
        s.side = above >= below ? 1 : -1;
        h = 2 * h > room ? room / 2 : h;
        s.count = STEPS + 1;
        s.at[STEPS] = clamp(c, x + s.side * 2 * h);
    }
    for (int k = 0; k < STEPS; k++, h /= 2) {
        s.h[k] = fabs(x) + h - fabs(x); /* what x is moved by, after rounding */
        s.at[k] = clamp(c, x + (s.side ? s.side : 1) * s.h[k]);
        if (!s.side)
            s.at[STEPS + k] = clamp(c, x - s.h[k]);
    }
    return s;
}

/* D(h[k]) of row j. One-sided, G(x + 2h) is the point before. */
static double difference(const checker *c, const stencil *s, int64_t j, int k)
{
    const double *const *g = (const double *const *)c->points;
    if (!s->side)
        return (g[k][j] - g[STEPS + k][j]) / (s->at[k] - s->at[STEPS + k]);
    const double twice = k == 0 ? g[STEPS][j] : g[k - 1][j];
    return s->side * (4 * (g[k][j] - c->value[j]) - (twice - c->value[j])) / (2 * s->h[k]);
}

/* The larger of two, where NaN is larger than all. */
static double larger(double a, double b) { return a > b || isnan(a) ? a : b; }

/* The derivative of row j, and how much it may be wrong: the spread of the extrapolations, and what
   rounding G by half a unit does to the finest difference. */
static double extrapolate(const checker *c, const stencil *s, int64_t j, double *noise)
{
    double d[STEPS], largest = fabs(c->value[j]);
    for (int k = 0; k < STEPS; k++)
        d[k] = difference(c, s, j, k);
    for (int k = 0; k < s->count; k++)
        largest = larger(largest, fabs(c->points[k][j]));
    /* The errors of D go as h^2, h^4 (both ways) or h^2, h^3 (one way). */
    const double next = s->side ? 8 : 16;
    const double coarse = (4 * d[1] - d[0]) / 3, fine = (4 * d[2] - d[1]) / 3;
    const double best = (next * fine - coarse) / (next - 1);
    const double spread = larger(fabs(best - fine), fabs(best - coarse));
    const double rounding = (s->side ? 8 : 2) * c->epsilon * largest / s->h[STEPS - 1];
    *noise = 2 * spread + rounding;
    if (!isfinite(*noise))
        *noise = INFINITY;
    return best;
}

/* The step of a level: 2^-8 of x's magnitude (at least 1; 2^-4 where G is coarser than f64), then
   32 times smaller each time; the last one small beside x itself, for functions like log near 0. 0:
   there is no such level. */
static double step_of(const checker *c, double x, int level)
{
    const int first = c->epsilon == DBL_EPSILON ? -8 : -4;
    int exponent;
    frexp(x, &exponent);
    const double h = ldexp(1, (exponent > 1 ? exponent - 1 : 0) + first - 5 * level);
    if (level < LEVELS - 1)
        return h;
    return fabs(x) / 64 < 32 * h && fabs(x) > DBL_MIN ? fabs(x) / 64 : 0;
}

/* G at the points of a stencil; the element is put back as it was. */
static bool sample(checker *c, const stencil *s, double *element)
{
    double before;
    memcpy(&before, element, sizeof before);
    bool done = true;
    for (int k = 0; done && k < s->count; k++) {
        *element = s->at[k];
        done = evaluate_into(c, c->points[k]);
        memcpy(element, &before, sizeof before);
    }
    return done;
}

/* By how much two values of an entry may differ, noise aside. */
static double tolerance(const checker *c, double size, double scale)
{
    return (c->args.rtol + 8 * c->epsilon) * size + c->args.atol * scale;
}

/* Keeps each row's best estimate: the one whose noise is least beside what is tolerated; false if
 * one is not yet good enough. */
static bool improve(checker *c, const stencil *s)
{
    bool enough = true;
    for (int64_t j = 0; j < c->rows; j++) {
        double noise;
        const double numeric = extrapolate(c, s, j, &noise);
        for (int k = 0; k < s->count; k++)
            c->scale[j] = fmax(c->scale[j], fabs(c->points[k][j]));
        const double doubt = noise > 0 ? noise / tolerance(c, fabs(numeric), c->scale[j]) : 0;
        if (doubt < c->doubt[j]) {
            c->numeric[j] = numeric;
            c->noise[j] = noise;
            c->doubt[j] = doubt;
        }
        enough = enough && c->doubt[j] <= 0.125;
    }
    return enough;
}

static bool differentiate(checker *c, double *element)
{
    for (int64_t j = 0; j < c->rows; j++) {
        c->numeric[j] = NAN;
        c->noise[j] = INFINITY;
        c->doubt[j] = INFINITY;
        c->scale[j] = fabs(c->value[j]);
    }
    for (int level = 0; level < LEVELS; level++) {
        const double h = step_of(c, *element, level);
        if (h == 0)
            break;
        const stencil s = stencil_at(c, *element, h);
        if (!sample(c, &s, element))
            return false;
        if (improve(c, &s))
            break;
    }
    return true;
}

/* ---- Judgement ------------------------------------------------------------------------------- */

static gr_gradcheck_entry entry_at(const checker *c, int64_t row, int64_t column)
{
    gr_gradcheck_entry entry = {.order = c->order, .output_at = row};
    entry.x = *column_element(c, column, &entry.input, &entry.input_at);
    const gr_dims shape = gr_shape_of(c->inputs.at[entry.input]);
    entry.index = gr_dims_position(&shape, entry.input_at);
    return entry;
}

/* The one of two that is further from the numeric value, NaN furthest. */
static double further(double a, double b, double numeric)
{
    const bool b_is = fabs(b - numeric) > fabs(a - numeric) || !isfinite(b);
    return b_is && isfinite(a) ? b : a;
}

static void judge(checker *c, int64_t row, int64_t column)
{
    gr_gradcheck_entry entry = entry_at(c, row, column);
    const int64_t at = row * c->columns + column;
    const double n = c->numeric[row];
    const double a = further(c->plain[at], c->recorded[at], n);
    const double size = fmax(fabs(a), fabs(n));
    entry.analytic = a;
    entry.numeric = n;
    entry.noise = c->noise[row];
    entry.absolute = fabs(a - n);
    const double tolerated = tolerance(c, size, fmax(c->scale[row], c->row_scale[row]));
    const bool finite = isfinite(a) && isfinite(n);
    const bool bad = !finite || entry.absolute > tolerated + entry.noise;
    entry.relative = !finite ? INFINITY : size > 0 ? entry.absolute / size : 0;
    double ratio = 0;
    if (!finite)
        ratio = isfinite(a) ? DBL_MAX : INFINITY;
    else if (entry.absolute > 0)
        ratio = fmin(entry.absolute / (tolerated + entry.noise), DBL_MAX);
    c->report.checked++;
    c->report.bad += bad;
    c->report.unsure += !bad && entry.noise > tolerated;
    if (bad && c->report.reason != GR_CHECK_NOT_FINITE)
        c->report.reason = finite ? GR_CHECK_WRONG : GR_CHECK_NOT_FINITE;
    if (ratio > c->worst) {
        c->worst = ratio;
        c->report.worst = entry;
    }
}

/* The largest entry of a row, as far as it is finite. */
static double largest_in_row(const checker *c, int64_t row)
{
    double largest = 0;
    for (int64_t k = 0; k < c->columns; k++) {
        const double entry = fabs(c->plain[row * c->columns + k]);
        largest = isfinite(entry) ? fmax(largest, entry) : largest;
    }
    return largest;
}

static bool compare(checker *c)
{
    for (int64_t j = 0; j < c->rows; j++)
        c->row_scale[j] = largest_in_row(c, j);
    for (int64_t column = 0; column < c->columns; column++) {
        int input;
        int64_t at;
        if (!differentiate(c, column_element(c, column, &input, &at)))
            return false;
        for (int64_t j = 0; j < c->rows; j++)
            judge(c, j, column);
    }
    return true;
}

/* The first of `count` numbers that is not the same to the bit in both; -1 if there is none. */
static int64_t first_difference(const double *a, const double *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0)
            return i;
    return -1;
}

/* Compares two evaluations; where they differ the entry holds both numbers. */
static void expect_same(checker *c, const double *value, const double *jacobian)
{
    gr_gradcheck_entry entry = {.order = c->order, .input = -1};
    int64_t at = first_difference(c->value, value, c->rows);
    if (at >= 0) {
        entry.output_at = at;
        entry.analytic = c->value[at];
        entry.numeric = value[at];
    } else if ((at = first_difference(c->plain, jacobian, c->rows * c->columns)) >= 0) {
        entry = entry_at(c, at / c->columns, at % c->columns);
        entry.analytic = c->plain[at];
        entry.numeric = jacobian[at];
    } else {
        return;
    }
    c->report.reason = GR_CHECK_NOT_SAME;
    c->report.worst = entry;
}

/* ---- A pass ---------------------------------------------------------------------------------- */

static double *numbers(const checker *c, int64_t count)
{
    int64_t bytes;
    if (__builtin_mul_overflow(count, (int64_t)sizeof(double), &bytes)) {
        gr_fail(c->ctx, GR_ERROR_MEMORY, "gradcheck", "the Jacobian is too large");
        return NULL;
    }
    return gr_buffer(c->ctx->scope, bytes ? bytes : 1);
}

static bool allocate(checker *c)
{
    int64_t entries;
    if (__builtin_mul_overflow(c->rows, c->columns, &entries))
        entries = INT64_MAX;
    double **const vectors[] = {&c->value, &c->row_scale, &c->numeric,
                                &c->noise, &c->doubt,     &c->scale};
    bool done = (c->plain = numbers(c, entries)) && (c->recorded = numbers(c, entries));
    for (size_t i = 0; done && i < sizeof vectors / sizeof *vectors; i++)
        done = (*vectors[i] = numbers(c, c->rows)) != NULL;
    for (int i = 0; done && i < POINTS; i++)
        done = (c->points[i] = numbers(c, c->rows)) != NULL;
    return done;
}

/* Two evaluations have to agree to the bit. The second Jacobian lands where the recorded one is to
   follow. */
static bool check_same(checker *c)
{
    double *const again = c->points[0];
    if (!jacobian_into(c, false, c->value, c->plain) ||
        !jacobian_into(c, false, again, c->recorded))
        return false;
    expect_same(c, again, c->recorded);
    return true;
}

static bool run_pass(checker *c, int order)
{
    c->order = order;
    if (!measure(c) || !allocate(c) || !check_same(c))
        return false;
    if (c->report.reason != GR_CHECK_PASSED)
        return true;
    return jacobian_into(c, true, c->points[0], c->recorded) && compare(c);
}

static gr_tensor **tensor_list(const checker *c)
{
    return gr_scope_allocate(c->ctx->scope, c->inputs.count * (int64_t)sizeof(gr_tensor *));
}

/* In a scope of its own. */
static bool run_passes(checker *c)
{
    c->seen = tensor_list(c);
    c->outputs = tensor_list(c);
    c->gradients = tensor_list(c);
    if (!c->seen || !c->outputs || !c->gradients)
        return false;
    for (int64_t i = 0; i < c->inputs.count; i++)
        c->columns += gr_numel(c->inputs.at[i]);
    for (int order = 1; order <= c->args.order; order++) {
        if (!run_pass(c, order))
            return false;
        if (c->report.reason != GR_CHECK_PASSED)
            break;
    }
    return true;
}

/* ---- What is asked for ----------------------------------------------------------------------- */

static gr_status check_range(const checker *c, int64_t which, const gr_tensor *x)
{
    const double *data = (const double *)x->data;
    for (int64_t i = 0; i < gr_numel(x); i++) {
        if (!isfinite(data[i]) || data[i] < c->args.low || data[i] > c->args.high)
            return gr_fail(c->ctx, GR_ERROR_ARGUMENT, "gradcheck",
                           "input %lld has an element %g, not in [%g, %g]", (long long)which,
                           data[i], c->args.low, c->args.high);
    }
    return GR_OK;
}

/* Two inputs on the same bytes would be moved together. */
static bool overlap(const gr_tensor *a, const gr_tensor *b)
{
    const int64_t size = (int64_t)sizeof(double);
    return a->data < b->data + gr_numel(b) * size && b->data < a->data + gr_numel(a) * size;
}

static gr_status check_input(const checker *c, int64_t i)
{
    const gr_tensor *x = c->inputs.at[i];
    if (!x)
        return gr_fail(c->ctx, GR_ERROR_NULL, "gradcheck", "input %lld is NULL", (long long)i);
    if (x->dtype != GR_F64)
        return gr_fail(c->ctx, GR_ERROR_DTYPE, "gradcheck", "input %lld is %s, not f64",
                       (long long)i, gr_dtype_name(x->dtype));
    if (x->entry || !gr_is_contiguous(x))
        return gr_fail(c->ctx, GR_ERROR_ARGUMENT, "gradcheck",
                       "input %lld is %s: differences need contiguous leaves", (long long)i,
                       x->entry ? "the result of a recorded op" : "a strided view");
    for (int64_t k = 0; k < i; k++) {
        if (overlap(x, c->inputs.at[k]))
            return gr_fail(c->ctx, GR_ERROR_ARGUMENT, "gradcheck",
                           "inputs %lld and %lld share elements", (long long)k, (long long)i);
    }
    return check_range(c, i, x);
}

static gr_status check_arguments(const checker *c)
{
    const gr_gradcheck_args *args = &c->args;
    if (!c->function)
        return gr_fail(c->ctx, GR_ERROR_NULL, "gradcheck", "the function is NULL");
    if (args->order < 1 || args->order > 2)
        return gr_fail(c->ctx, GR_ERROR_ARGUMENT, "gradcheck", "order %d is neither 1 nor 2",
                       args->order);
    if (!(args->rtol >= 0) || !(args->atol >= 0))
        return gr_fail(c->ctx, GR_ERROR_ARGUMENT, "gradcheck", "tolerances %g and %g", args->rtol,
                       args->atol);
    if (!(args->low < args->high))
        return gr_fail(c->ctx, GR_ERROR_ARGUMENT, "gradcheck", "domain [%g, %g] is empty",
                       args->low, args->high);
    gr_status status = GR_OK;
    for (int64_t i = 0; status == GR_OK && i < c->inputs.count; i++)
        status = check_input(c, i);
    return status;
}

static gr_gradcheck_args with_defaults(const gr_gradcheck_args *given)
{
    gr_gradcheck_args args = given ? *given : (gr_gradcheck_args){0};
    args.order = args.order ? args.order : 1;
    args.rtol = args.rtol != 0 ? args.rtol : 1e-6;
    args.atol = args.atol != 0 ? args.atol : 1e-9;
    args.name = args.name ? args.name : "f";
    if (args.low == args.high) {
        args.low = -INFINITY;
        args.high = INFINITY;
    }
    return args;
}

/* Runs the check; whatever f does, what it finds of the context afterwards is as before. The
   handler waits until the inputs are whole again: it may not come back. */
static void run_check(checker *c)
{
    gr_context *ctx = c->ctx;
    const uint64_t stream = ctx->stream;
    const int no_grad = ctx->no_grad;
    gr_hold_handler(ctx);
    ctx->no_grad = 0;
    ctx->doing = "gradcheck";
    const bracket b = begin(c);
    const bool done = b.begun && run_passes(c);
    if (!end(c, b) || !done)
        gr_fail(ctx, GR_ERROR_MEMORY, "gradcheck", "out of memory"); /* if nothing said so before */
    ctx->no_grad = no_grad;
    ctx->stream = stream;
    gr_free_handler(ctx);
}

/* The inputs' context in c; otherwise the reason why there is none that can be used. */
static gr_status find_context(checker *c)
{
    gr_tensor *failed = &gr_null_context.failed;
    if (c->inputs.count > 0 && c->inputs.at)
        c->ctx = gr_operands_context("gradcheck", (int)c->inputs.count, c->inputs.at, &failed);
    if (c->ctx)
        return gr_error(c->ctx);
    /* Where a failed tensor's error was cleared, it still is one. */
    gr_fail(failed->ctx, GR_ERROR_ARGUMENT, "gradcheck", "an input could not be made");
    return gr_finish(failed->ctx);
}

gr_status gr_gradcheck_with(gr_function *f, void *data, gr_tensors inputs,
                            const gr_gradcheck_args *args)
{
    checker c = {.function = f, .data = data, .inputs = inputs, .args = with_defaults(args)};
    c.report.name = c.args.name;
    c.worst = -1;
    c.epsilon = DBL_EPSILON;
    gr_status status = find_context(&c);
    if (status == GR_OK && check_arguments(&c) == GR_OK)
        run_check(&c);
    if (c.ctx)
        status = gr_finish(c.ctx);
    if (status != GR_OK)
        c.report.reason = GR_CHECK_ERROR;
    else if (c.report.reason != GR_CHECK_PASSED)
        status = GR_ERROR_GRADIENT;
    if (args && args->report)
        *args->report = c.report;
    return status;
}

/* ---- The report ------------------------------------------------------------------------------ */

static const char *output_name(const gr_gradcheck_entry *e)
{
    return e->order == 2 ? "gradient" : "out";
}

/* "d out[2] / d in[0] at [3,1]", or "out[2]" for an entry of no input. */
static void print_place(const gr_gradcheck_entry *e, FILE *out)
{
    const long long row = e->output_at;
    if (e->input < 0)
        fprintf(out, "%s[%lld]", output_name(e), row);
    else
        fprintf(out, "d %s[%lld] / d in[%d] at %s", output_name(e), row, e->input,
                gr_dims_text(&e->index).text);
}

static void print_worst(const gr_gradcheck_report *r, const char *what, FILE *out)
{
    const gr_gradcheck_entry *e = &r->worst;
    fprintf(out, "%s: ", what);
    print_place(e, out);
    fprintf(
        out, ": analytic %.10g, numeric %.10g, relative error %.1e (noise %.0e), %lld of %lld\n",
        e->analytic, e->numeric, e->relative, e->noise, (long long)r->bad, (long long)r->checked);
}

static void print_two(const gr_gradcheck_report *r, FILE *out)
{
    fputs("not the same twice: ", out);
    print_place(&r->worst, out);
    fprintf(out, ": %.17g, then %.17g\n", r->worst.analytic, r->worst.numeric);
}

static void print_passed(const gr_gradcheck_report *r, FILE *out)
{
    fprintf(out, "passed, %lld entries", (long long)r->checked);
    if (r->unsure > 0)
        fprintf(out, " (%lld unsure)", (long long)r->unsure);
    fputc('\n', out);
}

void gr_gradcheck_print(const gr_gradcheck_report *report, FILE *out)
{
    if (!report || !out)
        return;
    fprintf(out, "%s: ", report->name ? report->name : "f");
    switch (report->reason) {
    case GR_CHECK_PASSED:
        print_passed(report, out);
        break;
    case GR_CHECK_WRONG:
        print_worst(report, "wrong gradient", out);
        break;
    case GR_CHECK_NOT_FINITE:
        print_worst(report, "gradient not finite", out);
        break;
    case GR_CHECK_NOT_SAME:
        print_two(report, out);
        break;
    case GR_CHECK_ERROR:
        fputs("failed: the context's error says how\n", out);
        break;
    }
}
