/* sweeps.c - the function that a check differentiates, and its Jacobian from sweeps, row by row.
 *
 * Each evaluation and each row has its own scope, so a check holds only one of them at a time.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"
#include <float.h>
#include <math.h>

/* ---- Seeds ----------------------------------------------------------------------------------- */

/* Returns a tensor like y with these elements. NULL on an error. */
static gr_tensor *seed_like(gr_tensor *y, const double *values)
{
    gr_tensor *seed = gr_zeros_like(y);
    return gr_write(seed, GR_F64, gr_numel(seed), values) == GR_OK ? seed : NULL;
}

/* Returns a constant for output i, in +-[0.5, 1.5). It is not 0, and neighbours differ. */
static double cotangent(int64_t i)
{
    uint64_t bits = (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15) + UINT64_C(0x2545f4914f6cdd1d);
    bits = (bits ^ (bits >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ (bits >> 27)) * UINT64_C(0x94d049bb133111eb);
    bits ^= bits >> 31;
    const double size = 0.5 + (double)(bits >> 12) * 0x1p-52;
    return bits & 1 ? size : -size;
}

/* Returns the v of sum(v y). NULL on an error. */
static gr_tensor *cotangents_for(gr_tensor *y)
{
    gr_context *ctx = gr_context_of(y);
    const int64_t count = gr_numel(y);
    double *values = gr_arena_cut(ctx, count * (int64_t)sizeof *values);
    for (int64_t i = 0; values && i < count; i++)
        values[i] = cotangent(i);
    return values ? seed_like(y, values) : NULL;
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
    const gr_grad_args args = {.seed = cotangents_for(y), .record = true};
    return args.seed && gr_grad_with(y, seen, c->outputs, &args) == GR_OK;
}

static int64_t count_rows(const gr_checker *c)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < c->output_count; i++)
        rows += gr_numel(c->outputs[i]);
    return rows;
}

/* Reads the outputs, one after the other. */
static bool read_outputs(const gr_checker *c, double *to)
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

/* Order 2 cannot be more precise than order 1, so epsilon never decreases. */
bool gr_checker_measure(gr_checker *c)
{
    const bool done = gr_scope_begin(c->ctx) == GR_OK && evaluate(c);
    if (done) {
        c->rows = count_rows(c);
        for (int64_t i = 0; i < c->output_count; i++)
            c->epsilon = fmax(c->epsilon, epsilon_of(gr_dtype_of(c->outputs[i])));
    }
    return gr_scope_end(c->ctx) == GR_OK && done;
}

bool gr_checker_evaluate(gr_checker *c, double *value)
{
    const bool done = gr_scope_begin(c->ctx) == GR_OK && evaluate(c) && read_outputs(c, value);
    return gr_scope_end(c->ctx) == GR_OK && done;
}

/* ---- The Jacobian ---------------------------------------------------------------------------- */

/* Computes the gradients of (seed times an output) in each input, one after the other. */
static bool sweep_into(gr_checker *c, gr_tensor *output, gr_tensor *seed, bool record, double *row)
{
    const gr_tensors seen = {c->inputs.count, c->seen};
    const gr_grad_args args = {.seed = seed, .record = record};
    bool done = seed && gr_grad_with(output, seen, c->gradients, &args) == GR_OK;
    for (int64_t i = 0; done && i < c->inputs.count; i++) {
        const int64_t count = gr_numel(c->inputs.at[i]);
        done = gr_read(c->gradients[i], GR_F64, count, row) == GR_OK;
        row += count;
    }
    return done;
}

/* Computes the row of element `at` of an output. The seed is negative and not 1, so that a rule
   that is not linear in it, such as one with g * g or |g|, gives another row. A power of two loses
   no digit. */
static bool sweep_row(gr_checker *c, gr_tensor *output, int64_t at, bool record, double *row)
{
    c->seed[at] = -0.5;
    const bool done = gr_scope_begin(c->ctx) == GR_OK &&
                      sweep_into(c, output, seed_like(output, c->seed), record, row);
    c->seed[at] = 0;
    for (int64_t i = 0; done && i < c->columns; i++)
        row[i] *= -2;
    return gr_scope_end(c->ctx) == GR_OK && done;
}

static bool sweep_rows(gr_checker *c, bool record, double *jacobian)
{
    for (int64_t i = 0; i < c->output_count; i++) {
        const int64_t count = gr_numel(c->outputs[i]);
        for (int64_t at = 0; at < count; at++, jacobian += c->columns)
            if (!sweep_row(c, c->outputs[i], at, record, jacobian))
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
