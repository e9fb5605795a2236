/* differences.c - a column of the Jacobian from differences of the function itself.
 *
 * One element is moved to the points of a stencil (extrapolate.c), for a middling h first. If some
 * row is not known well enough, or is not what the sweeps say, smaller h follow as long as
 * something else than rounding is in the way, and then larger ones as long as only rounding is.
 * Each row keeps its best estimate. Where two estimates differ by more than their noise, that of
 * the smaller h is right: the larger one has not seen something between its points.
 *
 * The inputs are moved in place. Afterwards the old bits are copied back, so no rounding remains.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"
#include <float.h>
#include <string.h>

enum {
    STEPS = GR_STENCIL_STEPS,
    POINTS = GR_STENCIL_POINTS,
    FINER = 10, /* smaller choices of h, each a 32nd of the one before */
    TINIER = 3, /* and after them, for an x that is tiny itself */
    COARSER = 5 /* larger choices of h */
};

/* ---- Moving an element ----------------------------------------------------------------------- */

gr_checker_element gr_checker_element_of(const gr_checker *c, int64_t column)
{
    int input = 0;
    for (; column >= gr_numel(c->views[input]); input++)
        column -= gr_numel(c->views[input]);
    gr_tensor *view = c->views[input];
    double *data = (double *)(void *)gr_bytes(view);
    return (gr_checker_element){input, column, view, data + column};
}

/* Computes G at the points of a stencil, and restores the element. While the element is moved, it
   counts as written. So no sweep in f can use values that were recorded before the move. Afterwards
   the write is not counted, because the old bits are back. So earlier results can still be
   differentiated. */
static bool evaluate_stencil(gr_checker *c, const gr_stencil *s, gr_checker_element element)
{
    double before;
    memcpy(&before, element.value, sizeof before);
    gr_set_writes(element.view, gr_writes(element.view) + 1);
    bool done = true;
    for (int k = 0; done && k < s->count; k++) {
        *element.value = s->at[k];
        done = gr_checker_evaluate(c, c->points[k]);
        memcpy(element.value, &before, sizeof before);
    }
    gr_set_writes(element.view, gr_writes(element.view) - 1); /* writes by f still count */
    return done;
}

/* ---- Stencils -------------------------------------------------------------------------------- */

static double clamp(const gr_checker *c, double x)
{
    return fmin(fmax(x, c->args.low), c->args.high);
}

/* Returns points around x at steps h, h/2, h/4, within the domain. */
static gr_stencil stencil_at(const gr_checker *c, double x, double h, int level)
{
    const double below = x - c->args.low, above = c->args.high - x;
    gr_stencil s = {.level = level, .count = POINTS};
    if (below < h || above < h) {
        const double room = fmax(below, above);
        s.side = above >= below ? 1 : -1;
        h = 2 * h > room ? room / 2 : h;
        s.count = STEPS + 1;
        s.at[STEPS] = clamp(c, x + s.side * 2 * h);
    }
    for (int k = 0; k < STEPS; k++, h /= 2) {
        s.h[k] = fabs(x) + h - fabs(x); /* the real step, after rounding */
        s.at[k] = clamp(c, x + (s.side ? s.side : 1) * s.h[k]);
        if (!s.side)
            s.at[STEPS + k] = clamp(c, x - s.h[k]);
    }
    return s;
}

/* Returns the step of a level. Level 0 is a 2^-8th of x's magnitude (which counts as at least 1),
   or a 2^-4th if G is less precise than f64. No step is a power of two, which may be the period of
   something. The last levels are small compared to x itself, for functions such as log near 0.
   Returns 0 if there is no such level. */
static double step_of(const gr_checker *c, double x, int level)
{
    const int first = c->epsilon == DBL_EPSILON ? -8 : -4;
    int exponent;
    frexp(x, &exponent);
    const double h = ldexp(0x1.3p0, (exponent > 1 ? exponent - 1 : 0) + first + 5 * level);
    if (level >= -FINER)
        return fabs(x) + h / 4 > fabs(x) ? h : 0;
    const double tiny = ldexp(fabs(x) / 64, 5 * (level + FINER + 1));
    return tiny < h && tiny > DBL_MIN ? tiny : 0;
}

/* ---- The best of several estimates ----------------------------------------------------------- */

/* Sets e->rise, the steepest slope near x in this column, and e->scale, the size of what the entry
   is made of: this slope, or the smaller one of G and the largest entry of the row. Neither a large
   constant in G nor one large entry beside it makes the scale large. */
static void set_scale(const gr_checker *c, const gr_stencil *s, double x, int64_t j, gr_estimate *e)
{
    const double middle = c->value[j];
    double size = fabs(middle);
    e->rise = c->estimates[j].rise;
    for (int k = 0; k < s->count && s->level <= 0; k++) {
        const double value = c->points[k][j], rise = fabs(value - middle) / fabs(s->at[k] - x);
        size = isfinite(value) ? fmax(size, fabs(value)) : size;
        e->rise = isfinite(rise) ? fmax(e->rise, rise) : e->rise;
    }
    e->scale = fmax(e->rise, fmin(size, c->row_scale[j]));
}

/* True if `e` is to replace `best`. */
static bool is_better(const gr_estimate *e, const gr_estimate *best)
{
    if (fabs(e->slope - best->slope) > e->noise + best->noise)
        return e->level < best->level;
    return e->noise < best->noise;
}

/* Keeps the better one of two estimates. */
static void improve(const gr_checker *c, gr_estimate *best, gr_estimate e)
{
    const double tolerated = gr_checker_tolerance(c, fabs(e.slope), e.scale);
    e.doubt = e.noise == 0 ? 0 : isfinite(e.noise) ? fmin(e.noise / tolerated, DBL_MAX) : INFINITY;
    const bool sharper = e.kinks && (!best->kinks || e.side_noise < best->side_noise);
    gr_estimate kept = is_better(&e, best) ? e : *best;
    kept.rise = e.rise;
    kept.kinks = best->kinks + e.kinks;
    kept.low = sharper ? e.low : best->low;
    kept.high = sharper ? e.high : best->high;
    kept.side_noise = sharper ? e.side_noise : best->side_noise;
    kept.constant = best->constant && e.constant;
    *best = kept;
}

/* Returns how far the sweeps are from an estimate, beyond what is allowed. */
static double distance(const gr_checker *c, const gr_estimate *e, int64_t at)
{
    const double plain = c->plain[at], recorded = c->recorded[at];
    const double off = fmax(fabs(plain - e->slope), fabs(recorded - e->slope));
    const double size = fmax(fabs(e->slope), fmax(fabs(plain), fabs(recorded)));
    return off > gr_checker_tolerance(c, size, e->scale) + e->noise ? off : 0;
}

/* True if larger or smaller steps are not needed. */
static bool is_enough(const gr_checker *c, const gr_estimate *e, int64_t at)
{
    const bool zero = c->plain[at] == 0 && c->recorded[at] == 0;
    const bool constant = zero && e->constant && e->noise <= c->args.atol;
    return constant || (e->doubt <= 0.125 && distance(c, e, at) == 0);
}

/* What is left to do after a level. */
typedef struct outlook {
    bool finer, coarser;
} outlook;

/* Takes in the points of a stencil. Smaller steps can help a row whose noise, or whose distance to
   the sweeps, is more than what rounding will be there. Larger steps can help a row that is best at
   this level, but for rounding. */
static outlook take_in(gr_checker *c, const gr_stencil *s, double x, int64_t column)
{
    outlook next = {false, false};
    for (int64_t j = 0; j < c->rows; j++) {
        const int64_t at = j * gr_checker_width(c) + column;
        gr_estimate *best = c->estimates + j;
        if (is_enough(c, best, at))
            continue;
        gr_estimate e = gr_checker_extrapolate(c, s, x, j);
        set_scale(c, s, x, j, &e);
        improve(c, best, e);
        if (is_enough(c, best, at))
            continue;
        const double open = fmax(best->noise, distance(c, best, at));
        next.finer = next.finer || !(32 * e.rounding > open);
        next.coarser =
            next.coarser || (best->level == s->level && best->rounding > best->noise / 4);
    }
    return next;
}

/* ---- A column -------------------------------------------------------------------------------- */

/* A step that is so large that f has no value there is not taken. False after another error. */
static bool try_coarser(gr_checker *c, gr_checker_element element, int64_t column, int level,
                        outlook *next)
{
    const double x = *element.value, h = step_of(c, x, level);
    *next = (outlook){false, false};
    if (2 * h > fmax(x - c->args.low, c->args.high - x))
        return true;
    const gr_stencil s = stencil_at(c, x, h, level);
    if (evaluate_stencil(c, &s, element)) {
        *next = take_in(c, &s, x, column);
    } else {
        if (gr_error(c->ctx) != GR_ERROR_DOMAIN)
            return false;
        gr_error_clear(c->ctx);
    }
    return true;
}

bool gr_checker_differentiate(gr_checker *c, int64_t column)
{
    const gr_checker_element element = gr_checker_element_of(c, column);
    const double x = *element.value;
    for (int64_t j = 0; j < c->rows; j++)
        c->estimates[j] = (gr_estimate){
            .slope = NAN, .noise = INFINITY, .doubt = INFINITY, .constant = true, .level = 1};
    outlook next = {true, true}, first = next;
    for (int level = 0; next.finer && level >= -(FINER + TINIER); level--) {
        const double h = step_of(c, x, level);
        if (h == 0)
            continue;
        const gr_stencil s = stencil_at(c, x, h, level);
        if (!evaluate_stencil(c, &s, element))
            return false;
        next = take_in(c, &s, x, column);
        first = level == 0 ? next : first;
    }
    next = first;
    for (int level = 1; next.coarser && level <= COARSER; level++)
        if (!try_coarser(c, element, column, level, &next))
            return false;
    return true;
}
