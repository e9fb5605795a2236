/* differences.c - a column of the Jacobian from differences of the function itself:
 *
 *     D(h) = (G(x+h) - G(x-h)) / 2h, or at the domain's border (-3 G(x) + 4 G(x+h) - G(x+2h)) / 2h,
 *
 * for h, h/2 and h/4, extrapolated twice (Richardson). The distance between the last extrapolation
 * and the earlier ones estimates the error (Ridders, "Accurate computation of F'(x) and
 * F'(x)F''(x)", Advances in Engineering Software 4, 1982). This error may come from curvature, from
 * a kink nearby or from rounding. If it is too large, smaller h are tried. Each entry keeps its
 * best estimate.
 *
 * The inputs are moved in place. Afterwards the old bits are copied back, so no rounding remains.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum {
    STEPS = GR_STENCIL_STEPS,
    POINTS = GR_STENCIL_POINTS,
    LEVELS = 5 /* number of choices of h; the last is for a tiny x */
};

/* The points to which one element is moved. */
typedef struct stencil {
    int side; /* 0: both sides; 1 or -1: only this side */
    int count;
    double h[STEPS], at[POINTS];
} stencil;

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
static bool evaluate_stencil(gr_checker *c, const stencil *s, gr_checker_element element)
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
static stencil stencil_at(const gr_checker *c, double x, double h)
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
        s.h[k] = fabs(x) + h - fabs(x); /* the real step, after rounding */
        s.at[k] = clamp(c, x + (s.side ? s.side : 1) * s.h[k]);
        if (!s.side)
            s.at[STEPS + k] = clamp(c, x - s.h[k]);
    }
    return s;
}

/* Returns the step of a level. It starts with 2^-8 of x's magnitude (which counts as at least 1),
   or with 2^-4 if G is less precise than f64. Each level is 32 times smaller. The last level is
   small compared to x itself, for functions such as log near 0. Returns 0 if there is no such
   level. */
static double step_of(const gr_checker *c, double x, int level)
{
    const int first = c->epsilon == DBL_EPSILON ? -8 : -4;
    int exponent;
    frexp(x, &exponent);
    const double h = ldexp(1, (exponent > 1 ? exponent - 1 : 0) + first - 5 * level);
    if (level < LEVELS - 1)
        return h;
    return fabs(x) / 64 < 32 * h && fabs(x) > DBL_MIN ? fabs(x) / 64 : 0;
}

/* ---- Extrapolation --------------------------------------------------------------------------- */

/* Returns D(h[k]) of row j. In the one-sided form, G(x + 2h) is the previous point. */
static double difference(const gr_checker *c, const stencil *s, int64_t j, int k)
{
    const double *const *g = (const double *const *)c->points;
    if (!s->side)
        return (g[k][j] - g[STEPS + k][j]) / (s->at[k] - s->at[STEPS + k]);
    const double twice = k == 0 ? g[STEPS][j] : g[k - 1][j];
    return s->side * (4 * (g[k][j] - c->value[j]) - (twice - c->value[j])) / (2 * s->h[k]);
}

/* Returns the larger value. NaN counts as the largest. */
static double larger(double a, double b) { return a > b || isnan(a) ? a : b; }

/* Returns the derivative of row j and estimates its error. The error is the spread of the
   extrapolations, plus the effect on the finest difference if G is rounded by half a unit. */
static double extrapolate(const gr_checker *c, const stencil *s, int64_t j, double *noise)
{
    double d[STEPS], largest = fabs(c->value[j]);
    for (int k = 0; k < STEPS; k++)
        d[k] = difference(c, s, j, k);
    for (int k = 0; k < s->count; k++)
        largest = larger(largest, fabs(c->points[k][j]));
    /* The errors of D fall with h^2, h^4 (two sides) or h^2, h^3 (one side). */
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

/* Keeps the best estimate of each row, which has the least noise relative to the tolerance. False
   if some row is not yet good enough. */
static bool improve(gr_checker *c, const stencil *s)
{
    bool enough = true;
    for (int64_t j = 0; j < c->rows; j++) {
        double noise;
        const double numeric = extrapolate(c, s, j, &noise);
        for (int k = 0; k < s->count; k++)
            c->scale[j] = fmax(c->scale[j], fabs(c->points[k][j]));
        const double tolerated = gr_checker_tolerance(c, fabs(numeric), c->scale[j]);
        const double doubt = noise > 0 ? noise / tolerated : 0;
        if (doubt < c->doubt[j]) {
            c->numeric[j] = numeric;
            c->noise[j] = noise;
            c->doubt[j] = doubt;
        }
        enough = enough && c->doubt[j] <= 0.125;
    }
    return enough;
}

bool gr_checker_differentiate(gr_checker *c, int64_t column)
{
    const gr_checker_element element = gr_checker_element_of(c, column);
    for (int64_t j = 0; j < c->rows; j++) {
        c->numeric[j] = NAN;
        c->noise[j] = INFINITY;
        c->doubt[j] = INFINITY;
        c->scale[j] = fabs(c->value[j]);
    }
    for (int level = 0; level < LEVELS; level++) {
        const double h = step_of(c, *element.value, level);
        if (h == 0)
            break;
        const stencil s = stencil_at(c, *element.value, h);
        if (!evaluate_stencil(c, &s, element))
            return false;
        if (improve(c, &s))
            break;
    }
    return true;
}
