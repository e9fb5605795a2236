/* softmax.c - softmax and its logarithm along one axis, computed line by line.
 *
 * A line is the elements of x along the axis. Its largest element m is subtracted first, so that no
 * exponential overflows. Two numbers describe a line:
 *
 *     m   the largest element, at place p
 *     q   the sum of e^(x-m) over the other elements
 *
 * The element at p has e^0 = 1, so the sum of all is 1 + q. If m is far above the others, q is
 * tiny, and would be lost in 1 + q. So everything near 0 is formed from q itself:
 *
 *     s[p] = 1/(1+q),   1 - s[p] = q/(1+q),   log s[p] = -log1p(q)
 *
 * A line is computed in double, for floats too, and each result is rounded once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <gradus/ops.h>
#include <math.h>

/* ---- Lines ----------------------------------------------------------------------------------- */

typedef struct lines lines;

/* Computes the results of one line. at[i] holds the line's elements of operand i; behind the
   operands there is room for two lines more. `first` is the place of the line's first element in
   the results. */
enum { ROOM = 2, MOST_LINES = 4 + ROOM };
typedef void line_formula(const lines *l, double *const *at, int64_t first);

struct lines {
    const gr_call *call;
    line_formula *formula;
    gr_reader readers[MOST_LINES]; /* of the operands; the last axis is the axis of the lines */
    int64_t count, length;         /* of lines, and of the elements of each */
    int64_t step;                  /* from one element of a line to the next, in the results */
    int64_t parts;                 /* for the threads */
};

/* Reads an operand with the axis of the lines moved to the end. */
static gr_reader reader_of(const gr_tensor *x, int64_t axis)
{
    const int last = gr_axes_of(x) - 1;
    gr_dims shape = gr_shape_of(x), strides = gr_strides_of(x);
    for (int64_t i = axis; i < last; i++) {
        shape.at[i] = gr_sizes(x)[i + 1];
        strides.at[i] = gr_steps(x)[i + 1];
    }
    shape.at[last] = gr_sizes(x)[axis];
    strides.at[last] = gr_steps(x)[axis];
    gr_reader reader;
    gr_reader_begin_view(&reader, gr_bytes(x), gr_type(x), last + 1, shape.at, strides.at);
    return reader;
}

static lines lines_of(const gr_call *call)
{
    const gr_tensor *x = call->in[0];
    const int64_t axis = *(const int64_t *)call->attributes;
    lines l = {.call = call, .length = gr_sizes(x)[axis], .step = 1};
    for (int64_t i = axis + 1; i < gr_axes_of(x); i++)
        l.step *= gr_sizes(x)[i];
    l.count = l.length ? gr_count(x) / l.length : 0;
    for (int i = 0; i < call->count; i++)
        l.readers[i] = reader_of(call->in[i], axis);
    const int threads = gr_threads_for(call->ctx, gr_count(x));
    l.parts = threads < l.count ? threads : l.count;
    return l;
}

static int64_t line_scratch(const gr_call *call)
{
    const lines l = lines_of(call);
    const int64_t numbers = l.parts * (call->count + ROOM);
    int64_t bytes; /* too many in a view of equal elements */
    if (__builtin_mul_overflow(l.length, numbers * (int64_t)sizeof(double), &bytes))
        bytes = INT64_MAX;
    return bytes;
}

static void run_part(void *state, int64_t part)
{
    const lines *l = state;
    const int operands = l->call->count;
    double *at[MOST_LINES];
    for (int k = 0; k < operands + ROOM; k++)
        at[k] = (double *)l->call->scratch + (part * (operands + ROOM) + k) * l->length;
    const int64_t end = l->count * (part + 1) / l->parts;
    for (int64_t i = l->count * part / l->parts; i < end; i++) {
        for (int k = 0; k < operands; k++)
            gr_reader_read(&l->readers[k], i * l->length, l->length, GR_F64, at[k]);
        l->formula(l, at, (i / l->step) * l->length * l->step + i % l->step);
    }
}

static gr_status run_lines(const gr_call *call, line_formula *formula)
{
    lines l = lines_of(call);
    l.formula = formula;
    gr_parallel_for((int)l.parts, l.parts, run_part, &l);
    return GR_OK;
}

/* A computed NaN is always the same one: else its sign would depend on the compiler. */
static double one_nan(double x) { return x == x ? x : (double)NAN; }

/* Rounds a line's results to the dtype of a result. */
static void store(const lines *l, int result, int64_t first, const double *values)
{
    gr_tensor *to = l->call->outs[result];
    if (gr_type(to) == GR_F32) {
        float *at = (float *)(void *)gr_bytes(to) + first;
        for (int64_t i = 0; i < l->length; i++)
            at[i * l->step] = (float)one_nan(values[i]);
    } else {
        double *at = (double *)(void *)gr_bytes(to) + first;
        for (int64_t i = 0; i < l->length; i++)
            at[i * l->step] = one_nan(values[i]);
    }
}

/* All operands and results have x's shape. */
static gr_status line_shape(const gr_call *call, gr_form *results)
{
    const gr_tensor *x = call->in[0];
    for (int k = 0; k == 0 || k < call->op->results; k++)
        results[k] = (gr_form){.dtype = gr_type(x), .shape = gr_shape_of(x)};
    return GR_OK;
}

/* The columns that the rows below share. */
#define LINE_COLUMNS                                                                               \
    .attributes_size = sizeof(int64_t), .shape = line_shape, .scratch = line_scratch
#define LINE_OP LINE_COLUMNS, .arity = 1, .flags = GR_OP_STRIDED

/* The rules below are compositions in double, for floats too: the engine rounds what they return.
   The rules in one pass do the same steps, and give the same bits. */
#define LINE_RULE LINE_COLUMNS, .arity = 4, .flags = GR_OP_STRIDED | GR_OP_NO_GRAD
static gr_tensor *wide(gr_tensor *x) { return gr_cast(x, GR_F64); }

/* ---- Numbers of a line ----------------------------------------------------------------------- */

/* The sum of n values, in the order that all sums have. */
static double sum_of(const lines *l, const double *values)
{
    const gr_kernels *kernels = l->call->ctx->kernels;
    double sum = 0;
    for (int64_t start = 0; start < l->length; start += GR_BLOCK) {
        const int64_t left = l->length - start;
        double lanes[GR_LANES] = {0};
        kernels->accumulate[GR_K64](left < GR_BLOCK ? left : GR_BLOCK, values + start, lanes);
        sum += gr_fold_lanes(lanes);
    }
    return sum;
}

/* Returns the place of the largest element, the first if there are several. */
static int64_t largest(int64_t n, const double *x)
{
    int64_t at = 0;
    for (int64_t i = 1; i < n; i++)
        at = x[i] > x[at] ? i : at;
    return at;
}

/* e[i] = e^(x[i]-m). The difference is rounded, and a large one by much: its rest r is put right by
   a factor of 1 + r. */
static void exponentials(const lines *l, const double *x, double m, double *e)
{
    gr_map_kernel *exp_of = l->call->ctx->kernels->map[GR_KERNEL_EXP][GR_K64];
    for (int64_t start = 0; start < l->length; start += GR_CHUNK) {
        const int64_t left = l->length - start, n = left < GR_CHUNK ? left : GR_CHUNK;
        double z[GR_CHUNK], rest[GR_CHUNK];
        const double *from = x + start;
        for (int64_t i = 0; i < n; i++) {
            z[i] = from[i] - m;
            const double subtracted = from[i] - z[i];
            const double r = (from[i] - (z[i] + subtracted)) + (subtracted - m);
            rest[i] = z[i] > -1e300 ? r : 0; /* not for an element of -inf */
        }
        exp_of(n, (void *[]){e + start}, (const void *[]){z}, NULL);
        for (int64_t i = 0; i < n; i++)
            e[start + i] += e[start + i] * rest[i];
    }
}

typedef struct peak {
    int64_t at;  /* p */
    double m, q; /* NaN if the line has no softmax */
} peak;

/* Finds p, m and q. e gets the exponentials, 1 at p. */
static peak peak_of(const lines *l, const double *x, double *e)
{
    peak found = {.at = largest(l->length, x)};
    found.m = x[found.at];
    exponentials(l, x, found.m, e);
    e[found.at] = 0;
    found.q = isfinite(found.m) ? sum_of(l, e) : NAN;
    e[found.at] = 1;
    return found;
}

/* ---- The sum of the others ------------------------------------------------------------------- */

/* Adds up the others of each element. It does not subtract the element from the sum of all, because
   that cancels where it is far larger than the others: the largest in size is added last. */
static void add_others(const lines *l, double *x, double *sums)
{
    if (l->length == 0)
        return;
    for (int64_t i = 0; i < l->length; i++)
        sums[i] = fabs(x[i]);
    const int64_t p = largest(l->length, sums);
    const double most = x[p];
    x[p] = 0;
    const double rest = sum_of(l, x);
    x[p] = most;
    for (int64_t i = 0; i < l->length; i++)
        sums[i] = most + (rest - x[i]);
    sums[p] = rest;
}

static void others_line(const lines *l, double *const *at, int64_t first)
{
    add_others(l, at[0], at[1]);
    store(l, 0, first, at[1]);
}
static gr_status others_run(const gr_call *call) { return run_lines(call, others_line); }

static gr_tensor *others(gr_tensor *x, int64_t axis);
static int64_t axis_of(const gr_node *n) { return *(const int64_t *)n->attributes; }

/* sum_of_others(x)[i]: the sum of the line without element i;  d = sum_of_others(g) */
static void others_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = others(g, axis_of(n));
}
static const gr_op others_op = {.name = "sum_of_others",
                                LINE_OP,
                                .run = others_run,
                                .vjp = others_vjp,
                                .reads = {GR_READS_NOTHING}};
static gr_tensor *others(gr_tensor *x, int64_t axis)
{
    return gr_apply_with(&others_op, 1, &x, &axis);
}

/* ---- Softmax --------------------------------------------------------------------------------- */

/* s = e^(x-m) / (1+q) and r = 1 - s, the sum of the other shares: q/(1+q) at p, and
   (1 + (q - e^(x-m))) / (1+q) elsewhere. x becomes r, e becomes s. */
static void share_out(const lines *l, double *x, double *e)
{
    if (l->length == 0)
        return;
    const peak top = peak_of(l, x, e);
    const double all = 1 + top.q;
    for (int64_t i = 0; i < l->length; i++) {
        x[i] = (1 + (top.q - e[i])) / all;
        e[i] = e[i] / all;
    }
    x[top.at] = top.q / all;
}

static void softmax_line(const lines *l, double *const *at, int64_t first)
{
    share_out(l, at[0], at[1]);
    store(l, 0, first, at[1]);
    if (l->call->op->results > 1)
        store(l, 1, first, at[0]);
}
static gr_status softmax_run(const gr_call *call) { return run_lines(call, softmax_line); }

/* softmax(x): s, and as a second result r. With h = ds - dr the gradient is

       d = s (h r - sum_of_others(s h))

   that is the sum over all other j of s[i] s[j] (h[i] - h[j]). Nothing is subtracted from 1. */
static void softmax_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *s = wide(n->outs[0]), *r = wide(n->outs[1]);
    gr_tensor *h = gr_sub(wide(g), wide(n->gs[1]));
    dx[0] = gr_mul(s, gr_sub(gr_mul(h, r), others(gr_mul(s, h), axis_of(n))));
}

/* Operands: ds, dr, s, r. */
static void softmax_vjp_line(const lines *l, double *const *at, int64_t first)
{
    double *h = at[0], *sh = at[1], *sums = at[4];
    const double *s = at[2], *r = at[3];
    for (int64_t i = 0; i < l->length; i++) {
        h[i] = h[i] - sh[i];
        sh[i] = s[i] * h[i];
    }
    add_others(l, sh, sums);
    for (int64_t i = 0; i < l->length; i++)
        sums[i] = s[i] * (h[i] * r[i] - sums[i]);
    store(l, 0, first, sums);
}
static gr_status softmax_vjp_run(const gr_call *call) { return run_lines(call, softmax_vjp_line); }
static const gr_op softmax_vjp_op = {.name = "softmax_vjp", LINE_RULE, .run = softmax_vjp_run};
static void softmax_fused_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *in[] = {g, n->gs[1], n->outs[0], n->outs[1]};
    dx[0] = gr_apply_with(&softmax_vjp_op, 4, in, n->attributes);
}
static const gr_op shares_op = {.name = "softmax",
                                LINE_OP,
                                .results = 2,
                                .run = softmax_run,
                                .vjp = softmax_vjp,
                                .fused_vjp = softmax_fused_vjp,
                                .reads = {GR_READS_OUT(0) | GR_READS_OUT(1)}};

/* The same without r, for a call that needs no gradient. */
static const gr_op softmax_op = {.name = "softmax", LINE_OP, .run = softmax_run};

static gr_tensor *softmax(gr_tensor *x, int axis)
{
    const int64_t along = axis;
    gr_tensor *results[2];
    if (!gr_records(gr_ctx(x), 1, &x))
        return gr_apply_with(&softmax_op, 1, &x, &along);
    (void)!gr_apply_results(NULL, &shares_op, 1, &x, &along, results);
    return results[0];
}

/* ---- The logarithm --------------------------------------------------------------------------- */

static void log_softmax_line(const lines *l, double *const *at, int64_t first)
{
    double *x = at[0], *e = at[1];
    if (l->length == 0)
        return;
    const peak top = peak_of(l, x, e);
    double log_of_all;
    l->call->ctx->kernels->map[GR_KERNEL_LOG1P][GR_K64](1, (void *[]){&log_of_all},
                                                        (const void *[]){&top.q}, NULL);
    for (int64_t i = 0; i < l->length; i++)
        e[i] = (x[i] - top.m) - log_of_all;
    store(l, 0, first, e);
}
static gr_status log_softmax_run(const gr_call *call) { return run_lines(call, log_softmax_line); }

/* log_softmax(x) = (x-m) - log1p(q). With the shares s and r the gradient is

       d = g r - s sum_of_others(g)

   that is g - s sum(g), without its cancellation where s is near 1. */
static void log_softmax_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *x = wide(n->in[0]), *of[2];
    (void)!gr_apply_results(NULL, &shares_op, 1, &x, n->attributes, of);
    g = wide(g);
    dx[0] = gr_sub(gr_mul(g, of[1]), gr_mul(of[0], others(g, axis_of(n))));
}

/* Operands: x, g. */
static void log_softmax_vjp_line(const lines *l, double *const *at, int64_t first)
{
    double *r = at[0], *g = at[1], *s = at[2], *sums = at[3];
    share_out(l, r, s);
    add_others(l, g, sums);
    for (int64_t i = 0; i < l->length; i++)
        s[i] = g[i] * r[i] - s[i] * sums[i];
    store(l, 0, first, s);
}
static gr_status log_softmax_vjp_run(const gr_call *call)
{
    return run_lines(call, log_softmax_vjp_line);
}
static const gr_op log_softmax_vjp_op = {
    .name = "log_softmax_vjp", LINE_RULE, .run = log_softmax_vjp_run};
static void log_softmax_fused_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_apply_with(&log_softmax_vjp_op, 2, (gr_tensor *[]){n->in[0], g}, n->attributes);
}
static const gr_op log_softmax_op = {.name = "log_softmax",
                                     LINE_OP,
                                     .run = log_softmax_run,
                                     .vjp = log_softmax_vjp,
                                     .fused_vjp = log_softmax_fused_vjp,
                                     .reads = {GR_READS_IN(0)}};

static gr_tensor *log_softmax(gr_tensor *x, int axis)
{
    const int64_t along = axis;
    return gr_apply_with(&log_softmax_op, 1, &x, &along);
}

/* ---- Both ------------------------------------------------------------------------------------ */

/* Checks x and the axis. Widens halves to f32. Treats a 0-d x as one sample of one class, as
   PyTorch does. */
static gr_tensor *along(const char *op, gr_tensor *(*function)(gr_tensor *, int), gr_tensor *x,
                        int axis)
{
    gr_tensor *failed;
    if (!gr_usable(op, x, 0, &failed))
        return failed;
    const int ndim = gr_axes_of(x);
    if (!gr_dtype_is_float(gr_type(x)))
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_DTYPE, op, "%s %s is no float",
                              gr_dtype_name(gr_type(x)), gr_shape_text(x).text);
    const int at = gr_axis_of(ndim ? ndim : 1, axis);
    if (at < 0)
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_SHAPE, op, "axis %d of shape %s does not exist",
                              axis, gr_shape_text(x).text);
    gr_tensor *rows = ndim ? x : gr_reshape(x, gr_shape(1));
    rows = function(gr_cast(rows, gr_compute_dtype(x)), at);
    return gr_reshape(gr_cast(rows, gr_type(x)), gr_shape_of(x));
}

gr_tensor *gr_softmax(gr_tensor *x, int axis) { return along("softmax", softmax, x, axis); }
gr_tensor *gr_log_softmax(gr_tensor *x, int axis)
{
    return along("log_softmax", log_softmax, x, axis);
}
