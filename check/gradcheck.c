/* gradcheck.c - compares gradients with differences of the function itself, entry by entry.
 *
 * Sweeps give the Jacobian row by row (sweeps.c). They run twice: not recorded (fused rules, as in
 * gr_backward) and recorded (composed rules, as in gr_grad). Differences give the Jacobian column
 * by column (differences.c). Of the two analytic entries, the one further from the numeric entry is
 * judged.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"
#include <float.h>
#include <math.h>
#include <string.h>

/* ---- Judgement ------------------------------------------------------------------------------- */

static gr_gradcheck_entry entry_at(const gr_checker *c, int64_t row, int64_t column)
{
    const gr_checker_element element = gr_checker_element_of(c, column);
    const gr_dims shape = gr_shape_of(element.view);
    return (gr_gradcheck_entry){.order = c->order,
                                .input = element.input,
                                .output_at = row,
                                .input_at = element.at,
                                .index = gr_dims_position(&shape, element.at),
                                .x = *element.value};
}

/* Returns the value that is further from the numeric value. NaN counts as the furthest. */
static double further(double a, double b, double numeric)
{
    const bool b_is = fabs(b - numeric) > fabs(a - numeric) || !isfinite(b);
    return b_is && isfinite(a) ? b : a;
}

static void judge(gr_checker *c, int64_t row, int64_t column)
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
    const double scale = fmax(c->scale[row], c->row_scale[row]);
    const double tolerated = gr_checker_tolerance(c, size, scale);
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

/* Returns the largest finite entry of a row. */
static double largest_in_row(const gr_checker *c, int64_t row)
{
    double largest = 0;
    for (int64_t k = 0; k < c->columns; k++) {
        const double entry = fabs(c->plain[row * c->columns + k]);
        largest = isfinite(entry) ? fmax(largest, entry) : largest;
    }
    return largest;
}

static bool compare(gr_checker *c)
{
    for (int64_t j = 0; j < c->rows; j++)
        c->row_scale[j] = largest_in_row(c, j);
    for (int64_t column = 0; column < c->columns; column++) {
        if (!gr_checker_differentiate(c, column))
            return false;
        for (int64_t j = 0; j < c->rows; j++)
            judge(c, j, column);
    }
    return true;
}

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

/* Returns numbers that are all 0 and are freed with the pass. NULL on an error. */
static double *numbers(const gr_checker *c, int64_t count)
{
    if (count > INT64_MAX / 64) {
        gr_fail(c->ctx, GR_ERROR_MEMORY, "gradcheck", "the Jacobian is too large");
        return NULL;
    }
    return gr_arena_cut(c->ctx, count * (int64_t)sizeof(double));
}

static bool make_numbers(gr_checker *c)
{
    int64_t entries;
    if (__builtin_mul_overflow(c->rows, c->columns, &entries))
        entries = INT64_MAX;
    double **const vectors[] = {&c->value, &c->seed,  &c->row_scale, &c->numeric,
                                &c->noise, &c->doubt, &c->scale};
    c->ctx->doing = "gradcheck";
    bool done = (c->plain = numbers(c, entries)) && (c->recorded = numbers(c, entries));
    for (size_t i = 0; done && i < sizeof vectors / sizeof *vectors; i++)
        done = (*vectors[i] = numbers(c, c->rows)) != NULL;
    for (int i = 0; done && i < GR_STENCIL_POINTS; i++)
        done = (c->points[i] = numbers(c, c->rows)) != NULL;
    return done;
}

/* Makes a list for each kind of tensor in a pass, and the views of the inputs. */
static bool make_lists(gr_checker *c)
{
    gr_tensor ***const lists[] = {&c->views, &c->seen, &c->outputs, &c->gradients};
    const int64_t bytes = c->inputs.count * (int64_t)sizeof(gr_tensor *);
    c->ctx->doing = "gradcheck";
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (!(*lists[i] = gr_arena_cut(c->ctx, bytes)))
            return false;
    for (int64_t i = 0; i < c->inputs.count; i++)
        if (gr_failed(c->views[i] = gr_detach(c->inputs.at[i])))
            return false;
    return true;
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

static bool run_pass_in_scope(gr_checker *c)
{
    if (!make_lists(c) || !gr_checker_measure(c) || !make_numbers(c) || !check_same(c))
        return false;
    if (c->report.reason != GR_CHECK_PASSED)
        return true;
    return gr_checker_sweep(c, true, c->points[0], c->recorded) && compare(c);
}

static bool run_pass(gr_checker *c, int order)
{
    c->order = order;
    const bool done = gr_scope_begin_check(c->ctx) == GR_OK && run_pass_in_scope(c);
    return gr_scope_end(c->ctx) == GR_OK && done;
}

static bool run_passes(gr_checker *c)
{
    bool done = true;
    for (int64_t i = 0; i < c->inputs.count; i++)
        c->columns += gr_numel(c->inputs.at[i]);
    for (int order = 1; order <= c->args.order; order++)
        if (done && c->report.reason == GR_CHECK_PASSED)
            done = run_pass(c, order);
    return done;
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

/* ---- The report ------------------------------------------------------------------------------ */

static const char *output_name(const gr_gradcheck_entry *e)
{
    return e->order == 2 ? "gradient" : "out";
}

/* Prints "d out[2] / d in[0] at [3,1]", or "out[2]" if the entry has no input. */
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
    c.epsilon = DBL_EPSILON;
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
