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
 * A line is computed in double, for floats too, by kernels/lines.inc. Each result is rounded once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <gradus/ops.h>
#include <string.h>

/* ---- Lines ----------------------------------------------------------------------------------- */

typedef struct lines lines;

/* Computes the results of one line. at[i] holds the line's elements of operand i; behind the
   operands there is room for one line more. `first` is the place of the line's first element in
   the results. */
enum { ROOM = 1, MOST_LINES = 4 + ROOM };
typedef void line_formula(const lines *l, double *const *at, int64_t first);

struct lines {
    const gr_call *call;
    line_formula *formula;
    gr_reader readers[MOST_LINES]; /* of the operands; the last axis is the axis of the lines */
    int64_t count, length;         /* of lines, and of the elements of each */
    int64_t step;                  /* from one element of a line to the next, in the results */
    int64_t room;                  /* for a line in the scratch, in doubles */
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
    l.room = (l.length + 2 * GR_LINE_PAD - 1) / GR_LINE_PAD * GR_LINE_PAD;
    const int threads = gr_threads_for(call->ctx, gr_count(x));
    l.parts = threads < l.count ? threads : l.count;
    return l;
}

static int64_t line_scratch(const gr_call *call)
{
    const lines l = lines_of(call);
    const int64_t numbers = l.parts * (call->count + ROOM);
    int64_t bytes; /* too many in a view of equal elements */
    if (__builtin_mul_overflow(l.room, numbers * (int64_t)sizeof(double), &bytes))
        bytes = INT64_MAX;
    return bytes;
}

static void run_part(void *state, int64_t part)
{
    const lines *l = state;
    const int operands = l->call->count;
    double *at[MOST_LINES];
    for (int k = 0; k < operands + ROOM; k++)
        at[k] = (double *)l->call->scratch + (part * (operands + ROOM) + k) * l->room;
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

static const gr_kernels *kernels_of(const lines *l) { return l->call->ctx->kernels; }

/* Rounds a line's results to the dtype of a result. */
static void store(const lines *l, int result, int64_t first, const double *values)
{
    gr_tensor *to = l->call->outs[result];
    float *narrow = (float *)(void *)gr_bytes(to) + first;
    double *wide = (double *)(void *)gr_bytes(to) + first;
    const bool is_narrow = gr_type(to) == GR_F32;
    if (l->step == 1 && is_narrow)
        kernels_of(l)->line.narrow(l->length, values, narrow);
    else if (l->step == 1)
        memcpy(wide, values, (size_t)l->length * sizeof *values);
    else if (is_narrow)
        for (int64_t i = 0; i < l->length; i++)
            narrow[i * l->step] = (float)values[i];
    else
        for (int64_t i = 0; i < l->length; i++)
            wide[i * l->step] = values[i];
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

/* ---- The sum of the others ------------------------------------------------------------------- */

static void others_line(const lines *l, double *const *at, int64_t first)
{
    kernels_of(l)->line.others(l->length, at[0], at[1]);
    store(l, 0, first, at[1]);
}
static gr_status others_run(const gr_call *call) { return run_lines(call, others_line); }

static gr_tensor *others(gr_tensor *x, int64_t axis);
static int64_t axis_of(const gr_node *n) { return *(const int64_t *)n->attributes; }

/* sum_of_others(x)[i]: the sum of the line without element i;  d = sum_of_others(g). It does not
   subtract the element from the sum of all, because that cancels where the element is far larger
   than the others: the largest in size is added last. */
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

static void softmax_line(const lines *l, double *const *at, int64_t first)
{
    kernels_of(l)->line.softmax(l->length, at[0], at[1]);
    store(l, 0, first, at[1]);
    if (l->call->op->results > 1)
        store(l, 1, first, at[0]);
}
static gr_status softmax_run(const gr_call *call) { return run_lines(call, softmax_line); }

/* softmax(x): s = e^(x-m) / (1+q), and as a second result r = 1 - s, the sum of the other shares. r
   is q/(1+q) at p, and (1 + (q - e^(x-m))) / (1+q) elsewhere. With h = ds - dr the gradient is

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
    kernels_of(l)->line.softmax_slope(l->length, at[0], at[1], at[2], at[3]);
    store(l, 0, first, at[0]);
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
    kernels_of(l)->line.log_softmax(l->length, at[0], at[1]);
    store(l, 0, first, at[1]);
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
    kernels_of(l)->line.log_softmax_slope(l->length, at[0], at[1], at[2]);
    store(l, 0, first, at[2]);
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
