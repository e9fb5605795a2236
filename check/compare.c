/* compare.c - the judgement: the Jacobians from sweeps against that from differences, entry by
 * entry.
 *
 * Of the two analytic entries, the one further from the numeric entry is judged. In order 2, the
 * derivative in the upstream gradient is judged too. It must be the Jacobian of order 1.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"
#include <float.h>

/* ---- An entry -------------------------------------------------------------------------------- */

gr_gradcheck_entry gr_checker_entry(const gr_checker *c, int64_t row, int64_t column)
{
    gr_gradcheck_entry entry = {.order = c->order, .output_at = row, .input = GR_CHECK_NO_INPUT};
    if (column >= c->columns) {
        entry.input = GR_CHECK_UPSTREAM;
        entry.input_at = column - c->columns;
        entry.index = gr_dims_position(&c->upstream_form, entry.input_at);
        entry.x = c->stretch * gr_checker_cotangent(c, entry.input_at);
    } else if (column >= 0) {
        const gr_checker_element element = gr_checker_element_of(c, column);
        const gr_dims shape = gr_shape_of(element.view);
        entry.input = element.input;
        entry.input_at = element.at;
        entry.index = gr_dims_position(&shape, element.at);
        entry.x = *element.value;
    }
    return entry;
}

void gr_checker_keep_worst(gr_checker *c, const gr_gradcheck_entry *entry, double ratio)
{
    if (ratio > c->worst) {
        c->worst = ratio;
        c->report.worst = *entry;
    }
}

/* Returns the value that is further from the numeric value. NaN counts as the furthest. */
static double further(double a, double b, double numeric)
{
    const bool b_is = fabs(b - numeric) > fabs(a - numeric) || !isfinite(b);
    return b_is && isfinite(a) ? b : a;
}

/* ---- References ------------------------------------------------------------------------------ */

/* At a kink any number between the slopes of both sides is right. */
static gr_reference at_kink(const gr_estimate *e, double a)
{
    return (gr_reference){.numeric = fmin(fmax(a, e->low), e->high),
                          .noise = e->side_noise,
                          .scale = e->scale,
                          .kink = true};
}

static gr_reference of_estimate(const gr_checker *c, const gr_estimate *e, int64_t row,
                                int64_t column)
{
    const int64_t at = row * gr_checker_width(c) + column;
    if (e->doubt > 1 && e->kinks >= 2)
        return at_kink(e, further(c->plain[at], c->recorded[at], e->slope));
    const bool zero = c->plain[at] == 0 && c->recorded[at] == 0;
    const bool after_kink = c->order == 2 && c->kinked[column];
    return (gr_reference){.numeric = e->slope,
                          .noise = e->noise,
                          .scale = e->scale,
                          .kink = e->doubt > 1 && after_kink,
                          .constant = zero && e->constant && e->noise <= c->args.atol};
}

static bool refer_column(gr_checker *c, int64_t column)
{
    if (!gr_checker_differentiate(c, column))
        return false;
    for (int64_t j = 0; j < c->rows; j++) {
        gr_reference *r = c->references + j * gr_checker_width(c) + column;
        *r = of_estimate(c, c->estimates + j, j, column);
        if (c->order == 1)
            c->kinked[column] = c->kinked[column] || r->kink;
    }
    return true;
}

/* The derivative of G(x, v) in v[i] is the gradient of f[i]. */
static void refer_upstream(gr_checker *c, int64_t row)
{
    gr_reference *to = c->references + row * gr_checker_width(c) + c->columns;
    for (int64_t i = 0; i < c->upstream; i++)
        to[i] = c->first[i * c->columns + row];
}

/* ---- Judgement ------------------------------------------------------------------------------- */

/* An infinite noise means that no difference has a value. Where the function itself has one, an
   entry is then not wrong. */
static void judge(gr_checker *c, int64_t row, int64_t column)
{
    const int64_t at = row * gr_checker_width(c) + column;
    const gr_reference *r = c->references + at;
    const double n = r->numeric, a = further(c->plain[at], c->recorded[at], n);
    const bool known = isfinite(r->noise) || !isfinite(c->value[row]);
    const bool finite = isfinite(a) && (isfinite(n) || !known);
    const double size = known ? fmax(fabs(a), fabs(n)) : fabs(a);
    const double tolerated = gr_checker_tolerance(c, size, r->scale);
    gr_gradcheck_entry entry = gr_checker_entry(c, row, column);
    entry.analytic = a;
    entry.numeric = n;
    entry.noise = r->noise;
    entry.absolute = fabs(a - n);
    const bool bad = !finite || entry.absolute > tolerated + r->noise;
    entry.relative = !finite ? INFINITY : entry.absolute > 0 ? entry.absolute / size : 0;
    double ratio = 0;
    if (!finite)
        ratio = isfinite(a) ? DBL_MAX : INFINITY;
    else if (entry.absolute > 0)
        ratio = fmin(entry.absolute / (tolerated + r->noise), DBL_MAX);
    c->report.checked++;
    c->report.bad += bad;
    c->report.kinks += !bad && r->kink;
    c->report.unsure += !bad && !r->kink && !r->constant && r->noise > tolerated;
    if (bad && c->report.reason != GR_CHECK_NOT_FINITE)
        c->report.reason = finite ? GR_CHECK_WRONG : GR_CHECK_NOT_FINITE;
    gr_checker_keep_worst(c, &entry, ratio);
}

static void judge_all(gr_checker *c)
{
    for (int64_t column = 0; column < gr_checker_width(c); column++)
        for (int64_t row = 0; row < c->rows; row++)
            judge(c, row, column);
}

/* ---- Rounding in the sweeps ------------------------------------------------------------------ */

static bool take_jacobian(gr_checker *c, void *record, double *values)
{
    return gr_checker_sweep(c, *(const bool *)record, c->points[0], values);
}

/* Adds the rounding errors of one kind of sweep to the noise. */
static bool add_tremble(gr_checker *c, bool record, double *sizes)
{
    const int64_t count = c->rows * gr_checker_width(c);
    if (!gr_checker_tremble(c, take_jacobian, &record, count, sizes))
        return false;
    for (int64_t at = 0; at < count; at++)
        c->references[at].noise += 8 * sizes[at];
    return true;
}

bool gr_checker_add_trembles(gr_checker *c)
{
    if (c->trembles_added)
        return true;
    c->trembles_added = true;
    const int64_t bytes = c->rows * gr_checker_width(c) * (int64_t)sizeof(double);
    bool done = gr_scope_begin(c->ctx) == GR_OK;
    double *sizes = done ? gr_arena_cut(c->ctx, bytes) : NULL;
    done = sizes && add_tremble(c, false, sizes) && add_tremble(c, true, sizes);
    return gr_scope_end(c->ctx) == GR_OK && done;
}

/* ---- All entries ----------------------------------------------------------------------------- */

/* Returns the largest finite entry of a row. */
static double largest_in_row(const gr_checker *c, int64_t row)
{
    const int64_t width = gr_checker_width(c);
    double largest = 0;
    for (int64_t k = 0; k < width; k++) {
        const double entry = fabs(c->plain[row * width + k]);
        largest = isfinite(entry) ? fmax(largest, entry) : largest;
    }
    return largest;
}

/* Before an entry is called wrong, the rounding errors of the sweeps count too. They are not taken
   earlier, because they cost many sweeps. */
bool gr_checker_compare(gr_checker *c)
{
    for (int64_t j = 0; j < c->rows; j++)
        c->row_scale[j] = largest_in_row(c, j);
    for (int64_t column = 0; column < c->columns; column++)
        if (!refer_column(c, column))
            return false;
    for (int64_t row = 0; row < c->rows; row++)
        refer_upstream(c, row);
    const gr_gradcheck_report before = c->report;
    const double worst = c->worst;
    judge_all(c);
    if (c->report.reason != GR_CHECK_WRONG)
        return true;
    c->report = before;
    c->worst = worst;
    if (!gr_checker_add_trembles(c))
        return false;
    judge_all(c);
    return true;
}
