/* sweeps.c - the function G that a check differentiates, and its Jacobian from sweeps, row by row.
 *
 * Each evaluation and each row has its own scope, so a check holds only one of them at a time.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"
#include <float.h>

/* ---- Seeds ----------------------------------------------------------------------------------- */

/* Returns a tensor like y with these elements. NULL on an error. */
static gr_tensor *seed_like(gr_tensor *y, const double *values)
{
    gr_tensor *seed = gr_zeros_like(y);
    return gr_write(seed, GR_F64, gr_numel(seed), values) == GR_OK ? seed : NULL;
}

double gr_checker_cotangent(const gr_checker *c, int64_t i)
{
    uint64_t bits = (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15) + UINT64_C(0x2545f4914f6cdd1d);
    bits = (bits ^ (bits >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ (bits >> 27)) * UINT64_C(0x94d049bb133111eb);
    bits ^= bits >> 31;
    const double digit = 8 * c->epsilon, size = 0.25 + (double)(bits >> 12) * 0x1p-53;
    const double rounded = floor(size / digit) * digit;
    return bits & 1 ? rounded : -rounded;
}

/* Returns v, the upstream gradient of order 2, as a variable. NULL on an error. */
static gr_tensor *upstream_for(gr_checker *c, gr_tensor *y)
{
    const int64_t count = gr_numel(y);
    double *values = gr_arena_cut(c->ctx, count * (int64_t)sizeof *values);
    for (int64_t i = 0; values && i < count; i++)
        values[i] = c->stretch * gr_checker_cotangent(c, i);
    gr_tensor *v = values ? seed_like(y, values) : NULL;
    return v && !gr_failed(v = gr_variable(v)) ? v : NULL;
}

/* ---- The function ---------------------------------------------------------------------------- */

/* f gets a parameter itself, so that f may also use it directly. An input without a gradient is
   passed as a view with a gradient. */
static bool show_inputs(gr_checker *c)
{
    for (int64_t i = 0; i < c->inputs.count; i++) {
        gr_tensor *x = c->inputs.at[i];
        c->seen[i] = gr_requires_grad(x) ? x : gr_variable(x);
        if (gr_failed(c->seen[i]))
            return false;
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

/* Order 2 cannot be more precise than order 1, so epsilon never decreases. */
static void meet_dtype(gr_checker *c, gr_dtype dtype)
{
    c->epsilon = fmax(c->epsilon, epsilon_of(dtype));
    c->largest = fmin(c->largest, dtype == GR_F64 ? DBL_MAX : dtype == GR_F16 ? 65504 : FLT_MAX);
}

/* Sets c->outputs, in the innermost scope: the results that this order differentiates. */
static bool evaluate(gr_checker *c)
{
    const gr_tensors seen = {c->inputs.count, c->seen};
    gr_tensor *y =
        show_inputs(c) ? gr_call_function(c->ctx, "gradcheck", c->function, seen, c->data) : NULL;
    if (!y)
        return false;
    c->output_count = c->order == 1 ? 1 : c->inputs.count;
    c->outputs[0] = y;
    if (c->order == 1)
        return true;
    gr_tensor *v = upstream_for(c, y);
    const gr_grad_args args = {.seed = v, .record = true};
    c->seen[c->inputs.count] = v;
    return v && gr_grad_with(y, seen, c->outputs, &args) == GR_OK;
}

static int64_t count_rows(const gr_checker *c)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < c->output_count; i++)
        rows += gr_numel(c->outputs[i]);
    return rows;
}

static bool check_size(const gr_checker *c)
{
    if (count_rows(c) == c->rows &&
        (c->order == 1 || gr_numel(c->seen[c->inputs.count]) == c->upstream))
        return true;
    gr_fail(c->ctx, GR_ERROR_SHAPE, "gradcheck", "the function's result changes its shape");
    return false;
}

/* Reads the outputs, one after the other. */
static bool read_outputs(const gr_checker *c, double *to)
{
    if (!check_size(c))
        return false;
    for (int64_t i = 0; i < c->output_count; i++) {
        const int64_t count = gr_numel(c->outputs[i]);
        if (gr_read(c->outputs[i], GR_F64, count, to) != GR_OK)
            return false;
        to += count;
    }
    return true;
}

bool gr_checker_measure(gr_checker *c)
{
    const bool done = gr_scope_begin(c->ctx) == GR_OK && evaluate(c);
    if (done) {
        c->rows = count_rows(c);
        for (int64_t i = 0; i < c->output_count; i++)
            meet_dtype(c, gr_dtype_of(c->outputs[i]));
    }
    if (done && c->order == 2) {
        c->upstream_form = gr_shape_of(c->seen[c->inputs.count]);
        c->upstream = gr_numel(c->seen[c->inputs.count]);
    }
    return gr_scope_end(c->ctx) == GR_OK && done;
}

bool gr_checker_evaluate(gr_checker *c, double *value)
{
    const bool done = gr_scope_begin(c->ctx) == GR_OK && evaluate(c) && read_outputs(c, value);
    return gr_scope_end(c->ctx) == GR_OK && done;
}

/* ---- The Jacobian ---------------------------------------------------------------------------- */

/* Computes the gradients of sum(seed output) in each input, one after the other. */
static bool sweep_into(gr_checker *c, gr_tensor *output, const double *seed, bool record,
                       double *row)
{
    const gr_tensors seen = {c->inputs.count + (c->order == 2), c->seen};
    const gr_grad_args args = {.seed = seed_like(output, seed), .record = record};
    bool done = args.seed && gr_grad_with(output, seen, c->gradients, &args) == GR_OK;
    for (int64_t i = 0; done && i < seen.count; i++) {
        const int64_t count = gr_numel(seen.at[i]);
        done = gr_read(c->gradients[i], GR_F64, count, row) == GR_OK;
        row += count;
    }
    return done;
}

static bool sweep_in_scope(gr_checker *c, gr_tensor *output, const double *seed, bool record,
                           double *row)
{
    const bool done = gr_scope_begin(c->ctx) == GR_OK && sweep_into(c, output, seed, record, row);
    return gr_scope_end(c->ctx) == GR_OK && done;
}

/* Computes the row of element `at` of an output; `place` is its place among all rows. The seed is
   no 1, so that a rule that is right for 1 alone gives another row. */
static bool sweep_row(gr_checker *c, gr_tensor *output, int64_t at, int64_t place, bool record,
                      double *row)
{
    const double size = gr_checker_cotangent(c, place);
    c->seed[at] = size;
    const bool done = sweep_in_scope(c, output, c->seed, record, row);
    c->seed[at] = 0;
    for (int64_t i = 0; done && i < gr_checker_width(c); i++)
        row[i] /= size;
    return done;
}

static bool sweep_rows(gr_checker *c, bool record, double *jacobian)
{
    int64_t place = 0;
    for (int64_t i = 0; i < c->output_count; i++) {
        const int64_t count = gr_numel(c->outputs[i]);
        for (int64_t at = 0; at < count; at++, place++, jacobian += gr_checker_width(c))
            if (!sweep_row(c, c->outputs[i], at, place, record, jacobian))
                return false;
    }
    return true;
}

bool gr_checker_sweep(gr_checker *c, bool record, double *value, double *jacobian)
{
    const bool done = gr_scope_begin(c->ctx) == GR_OK && evaluate(c) && read_outputs(c, value) &&
                      sweep_rows(c, record, jacobian);
    return gr_scope_end(c->ctx) == GR_OK && done;
}

/* ---- Dense seeds ----------------------------------------------------------------------------- */

static bool add_sweeps(gr_checker *c, bool record, const double *seed, double *row, double *part)
{
    for (int64_t k = 0; k < gr_checker_width(c); k++)
        row[k] = 0;
    for (int64_t i = 0; i < c->output_count; i++) {
        if (!sweep_in_scope(c, c->outputs[i], seed, record, part))
            return false;
        for (int64_t k = 0; k < gr_checker_width(c); k++)
            row[k] += part[k];
        seed += gr_numel(c->outputs[i]);
    }
    return true;
}

bool gr_checker_sweep_all(gr_checker *c, bool record, const double *seed, double *row,
                          double *scratch)
{
    const bool done = gr_scope_begin(c->ctx) == GR_OK && evaluate(c) && check_size(c) &&
                      add_sweeps(c, record, seed, row, scratch);
    return gr_scope_end(c->ctx) == GR_OK && done;
}
