/* gradcheck.c - compares gradients with differences of the function itself, entry by entry.
 *
 * A pass of order 1 looks at f, one of order 2 at f's gradient. Each pass does this:
 *
 *   sweeps.c       the Jacobian from sweeps, row by row, from one-hot seeds. They run twice: not
 *                  recorded (fused rules, as in gr_backward) and recorded (composed rules, as in
 *                  gr_grad). Two evaluations must give the same bits.
 *   tremble.c      the rounding errors in the function
 *   differences.c  the Jacobian from differences, column by column, from stencils (extrapolate.c)
 *   compare.c      the judgement of each entry
 *   linear.c       sweeps with dense seeds, against the sums of rows
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"
#include <float.h>
#include <string.h>

/* ---- The same twice -------------------------------------------------------------------------- */

/* Returns the first of `count` positions where the bits differ. -1 if all are the same. */
static int64_t first_difference(const double *a, const double *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0)
            return i;
    return -1;
}

/* Compares two evaluations. If they differ, the entry gets both numbers. */
static void expect_same(gr_checker *c, const double *value, const double *jacobian)
{
    const int64_t width = gr_checker_width(c);
    const double *before = c->value, *after = value;
    gr_gradcheck_entry entry;
    int64_t at = first_difference(before, after, c->rows);
    if (at >= 0) {
        entry = gr_checker_entry(c, at, GR_CHECK_NO_INPUT);
    } else {
        before = c->plain;
        after = jacobian;
        at = first_difference(before, after, c->rows * width);
        if (at < 0)
            return;
        entry = gr_checker_entry(c, at / width, at % width);
    }
    entry.analytic = before[at];
    entry.numeric = after[at];
    c->report.reason = GR_CHECK_NOT_SAME;
    c->report.worst = entry;
}

/* ---- A pass ---------------------------------------------------------------------------------- */

/* Returns `count` zeroed elements that are freed with the check. NULL on an error. */
static void *zeros(const gr_checker *c, int64_t count, size_t size)
{
    int64_t bytes;
    c->ctx->doing = "gradcheck";
    if (!__builtin_mul_overflow(count, (int64_t)size, &bytes) && bytes <= INT64_MAX / 8)
        return gr_arena_cut(c->ctx, bytes);
    gr_fail(c->ctx, GR_ERROR_MEMORY, "gradcheck", "the Jacobian is too large");
    return NULL;
}

static bool make_numbers(gr_checker *c)
{
    int64_t entries;
    if (__builtin_mul_overflow(c->rows, gr_checker_width(c), &entries))
        entries = INT64_MAX;
    double **const vectors[] = {&c->value, &c->tremble, &c->seed, &c->row_scale};
    bool done = (c->plain = zeros(c, entries, sizeof(double))) &&
                (c->recorded = zeros(c, entries, sizeof(double))) &&
                (c->references = zeros(c, entries, sizeof *c->references));
    for (size_t i = 0; done && i < sizeof vectors / sizeof *vectors; i++)
        done = (*vectors[i] = zeros(c, c->rows, sizeof(double))) != NULL;
    for (int i = 0; done && i < GR_STENCIL_POINTS; i++)
        done = (c->points[i] = zeros(c, c->rows, sizeof(double))) != NULL;
    return done && (c->estimates = zeros(c, c->rows, sizeof *c->estimates)) != NULL;
}

/* Two evaluations must agree to the bit. The second Jacobian goes to the place where the recorded
   Jacobian comes later. */
static bool check_same(gr_checker *c)
{
    double *const again = c->points[0];
    if (!gr_checker_sweep(c, false, c->value, c->plain) ||
        !gr_checker_sweep(c, false, again, c->recorded))
        return false;
    expect_same(c, again, c->recorded);
    return true;
}

static bool take_value(gr_checker *c, void *data, double *values)
{
    (void)data;
    return gr_checker_evaluate(c, values);
}

/* Seeds that are not one-hot are tried only if no fault was found without them. */
static bool run_pass(gr_checker *c, int order)
{
    c->order = order;
    c->first = c->references;
    c->trembles_added = false;
    if (!gr_checker_measure(c) || !make_numbers(c) || !check_same(c))
        return false;
    if (c->report.reason != GR_CHECK_PASSED)
        return true;
    if (!gr_checker_sweep(c, true, c->points[0], c->recorded) ||
        !gr_checker_tremble(c, take_value, NULL, c->rows, c->tremble) || !gr_checker_compare(c))
        return false;
    return c->report.reason != GR_CHECK_PASSED || gr_checker_combine(c);
}

/* Makes the lists of tensors, with room for v behind the inputs, and the views of the inputs. */
static bool make_lists(gr_checker *c)
{
    gr_tensor ***const lists[] = {&c->views, &c->seen, &c->outputs, &c->gradients};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (!(*lists[i] = zeros(c, c->inputs.count + 1, sizeof(gr_tensor *))))
            return false;
    for (int64_t i = 0; i < c->inputs.count; i++) {
        if (gr_failed(c->views[i] = gr_detach(c->inputs.at[i])))
            return false;
        c->columns += gr_numel(c->inputs.at[i]);
    }
    return (c->kinked = zeros(c, c->columns, sizeof *c->kinked)) != NULL;
}

static bool run_passes(gr_checker *c)
{
    bool done = gr_scope_begin_check(c->ctx) == GR_OK && make_lists(c);
    for (int order = 1; order <= c->args.order; order++)
        if (done && c->report.reason == GR_CHECK_PASSED)
            done = run_pass(c, order);
    return gr_scope_end(c->ctx) == GR_OK && done;
}

/* Afterwards the context is as before, even if f has changed it. The handler is held until the
   inputs have their old values, because the handler may leave with longjmp. */
static void run_check(gr_checker *c)
{
    gr_context *ctx = c->ctx;
    const uint64_t stream = ctx->stream;
    const int no_grad = ctx->program.no_grad;
    gr_hold_handler(ctx);
    ctx->program.no_grad = 0;
    if (!run_passes(c)) /* a failed rule may have raised no error */
        gr_fail(ctx, GR_ERROR_GRADIENT, "gradcheck", "a gradient rule failed without an error");
    ctx->program.no_grad = no_grad;
    ctx->stream = stream;
    gr_resume_handler(ctx);
}

/* ---- What is asked for ----------------------------------------------------------------------- */

static gr_status check_range(const gr_checker *c, int64_t which, const gr_tensor *x)
{
    const double *data = gr_data(x);
    for (int64_t i = 0; i < gr_numel(x); i++) {
        if (!isfinite(data[i]) || data[i] < c->args.low || data[i] > c->args.high)
            return gr_fail(c->ctx, GR_ERROR_ARGUMENT, "gradcheck",
                           "input %lld has an element %g, not in [%g, %g]", (long long)which,
                           data[i], c->args.low, c->args.high);
    }
    return GR_OK;
}

/* True if two inputs share bytes: a move of one would also move the other. */
static bool overlap(const gr_tensor *a, const gr_tensor *b)
{
    const double *left = gr_data(a), *right = gr_data(b);
    return left < right + gr_numel(b) && right < left + gr_numel(a);
}

static gr_status check_input(const gr_checker *c, int64_t i)
{
    const gr_tensor *x = c->inputs.at[i];
    if (!x)
        return gr_fail(c->ctx, GR_ERROR_NULL, "gradcheck", "input %lld is NULL", (long long)i);
    if (gr_dtype_of(x) != GR_F64)
        return gr_fail(c->ctx, GR_ERROR_DTYPE, "gradcheck", "input %lld is %s, not f64",
                       (long long)i, gr_dtype_name(gr_dtype_of(x)));
    const bool recorded = gr_history_of(x)->entry != NULL;
    if (recorded || !gr_is_contiguous(x))
        return gr_fail(c->ctx, GR_ERROR_ARGUMENT, "gradcheck",
                       "input %lld is %s: differences need contiguous leaves", (long long)i,
                       recorded ? "the result of a recorded op" : "a strided view");
    for (int64_t k = 0; k < i; k++) {
        if (overlap(x, c->inputs.at[k]))
            return gr_fail(c->ctx, GR_ERROR_ARGUMENT, "gradcheck",
                           "inputs %lld and %lld share elements", (long long)k, (long long)i);
    }
    return check_range(c, i, x);
}

static gr_status check_arguments(const gr_checker *c)
{
    const gr_gradcheck_args *args = &c->args;
    if (!c->function)
        return gr_fail(c->ctx, GR_ERROR_NULL, "gradcheck", "the function is NULL");
    if (!gr_check_defaults(c->ctx, "gradcheck", args->from_defaults, "gradcheck"))
        return GR_ERROR_ARGUMENT;
    if (args->order < 1 || args->order > 2)
        return gr_fail(c->ctx, GR_ERROR_ARGUMENT, "gradcheck", "order %d is neither 1 nor 2",
                       args->order);
    if (!(args->rtol >= 0 && args->rtol < INFINITY && args->atol >= 0 && args->atol < INFINITY))
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

/* Returns the inputs' context. If an input is not usable, returns the context that has the error
   about it. */
static gr_context *context_of(gr_tensors inputs)
{
    if (!inputs.at)
        return &gr_null_context;
    for (int64_t i = 0; i < inputs.count; i++) {
        const gr_tensor *x = inputs.at[i];
        if (x && gr_state(x) == GR_FAILED) /* its error may have been cleared */
            gr_fail(gr_ctx(x), GR_ERROR_ARGUMENT, "gradcheck", "an input could not be made");
    }
    gr_tensor *failed;
    gr_context *ctx = gr_operands_context("gradcheck", inputs.count, inputs.at, &failed);
    return ctx ? ctx : gr_ctx(failed);
}

/* ---- Public ---------------------------------------------------------------------------------- */

gr_gradcheck_args gr_gradcheck_defaults(void) { return (gr_gradcheck_args){GR_GRADCHECK_DEFAULTS}; }

gr_status gr_gradcheck_with(gr_function *f, void *data, gr_tensors inputs,
                            const gr_gradcheck_args *args)
{
    return gr_gradcheck_here(f, data, inputs, args, NULL, 0);
}

gr_status gr_gradcheck_here(gr_function *f, void *data, gr_tensors inputs,
                            const gr_gradcheck_args *args, const char *file, int line)
{
    gr_checker c = {.function = f,
                    .data = data,
                    .inputs = inputs,
                    .args = args ? *args : gr_gradcheck_defaults()};
    c.report.name = c.args.name ? c.args.name : "f";
    c.worst = -1;
    c.stretch = 1;
    c.epsilon = DBL_EPSILON;
    c.largest = DBL_MAX;
    gr_status status = GR_ERROR_ARGUMENT; /* a negative count: no context keeps the error */
    if (inputs.count >= 0) {
        c.ctx = context_of(inputs);
        if (gr_error(c.ctx) == GR_OK && check_arguments(&c) == GR_OK)
            run_check(&c);
        status = gr_finish_at(c.ctx, file, line);
    }
    if (status != GR_OK)
        c.report.reason = GR_CHECK_ERROR;
    else if (c.report.reason != GR_CHECK_PASSED)
        status = GR_ERROR_GRADIENT;
    if (args && args->report)
        *args->report = c.report;
    return status;
}
