/* extrapolate.c - what the points of one stencil say of the derivative of one row of G.
 *
 *     D(h) = (G(x+h) - G(x-h)) / 2h, or at the domain's border (-3 G(x) + 4 G(x+h) - G(x+2h)) / 2h,
 *
 * for h, h/2 and h/4, is extrapolated twice to h = 0 (Richardson, "The approximate arithmetical
 * solution by finite differences", Phil. Trans. A 210, 1911). Three things say how wrong the result
 * may be:
 *
 *   spread    the distance of the last extrapolation to the earlier ones (Ridders, "Accurate
 *             computation of F'(x) and F'(x)F''(x)", Advances in Engineering Software 4, 1982):
 *             curvature, or a kink nearby
 *   middle    the same extrapolation, of the mean of both sides, must give G(x). If it misses it,
 *             the points do not see what G does between them: a pole, a step, a peak. (Differences
 *             of one side contain G(x), and spread shows it.)
 *   rounding  of G, in the finest difference
 *
 * If the points of one side have no finite value, the other side alone gives the derivative.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"

enum { STEPS = GR_STENCIL_STEPS };

/* ---- Richardson ------------------------------------------------------------------------------ */

/* Extrapolates `count` values for h, h/2, ... to h = 0, in place. Their errors fall with h^order,
   h^(order + step), ... Returns the last extrapolation and its distance to the two before it. */
static double extrapolate(double *values, int count, int order, int step, double *spread)
{
    double best = values[count - 1];
    for (int round = 1; round < count; round++, order += step) {
        const double before = values[count - 2], factor = 1 / (ldexp(1, order) - 1);
        for (int k = count - 1; k >= round;
             k--) /* values[k] comes from rounds - 1 of k and k - 1 */
            values[k] += (values[k] - values[k - 1]) * factor;
        *spread = fmax(fabs(values[count - 1] - best), fabs(values[count - 1] - before));
        best = values[count - 1];
    }
    return best;
}

/* ---- Three forms ----------------------------------------------------------------------------- */

/* The values of G for one row. */
typedef struct samples {
    double middle, at[GR_STENCIL_POINTS];
} samples;

static double slope_of_both_sides(const gr_stencil *s, const samples *g, double *error)
{
    double d[STEPS], mean[STEPS], spread, unused;
    for (int k = 0; k < STEPS; k++) {
        d[k] = (g->at[k] - g->at[STEPS + k]) / (s->at[k] - s->at[STEPS + k]);
        mean[k] = (g->at[k] - g->middle) / 2 + (g->at[STEPS + k] - g->middle) / 2;
    }
    const double slope = extrapolate(d, STEPS, 2, 2, &spread);
    const double missed = extrapolate(mean, STEPS, 2, 2, &unused);
    *error = 2 * spread + fabs(missed) / s->h[STEPS - 1];
    return slope;
}

/* In this form, G(x + 2h) is the previous point. */
static double slope_at_border(const gr_stencil *s, const samples *g, double *error)
{
    double d[STEPS], spread;
    for (int k = 0; k < STEPS; k++) {
        const double near = g->at[k] - g->middle;
        const double far = g->at[k == 0 ? STEPS : k - 1] - g->middle;
        d[k] = s->side * (4 * (near / 2 / s->h[k]) - far / 2 / s->h[k]);
    }
    const double slope = extrapolate(d, STEPS, 2, 1, &spread);
    *error = 2 * spread;
    return slope;
}

/* Returns the slope of the side that begins at point `first` of a stencil with two sides. */
static double slope_of_side(const gr_stencil *s, const samples *g, int first, double x,
                            double *error)
{
    double d[STEPS], spread;
    for (int k = 0; k < STEPS; k++)
        d[k] = (g->at[first + k] - g->middle) / (s->at[first + k] - x);
    const double slope = extrapolate(d, STEPS, 1, 1, &spread);
    *error = 2 * spread;
    return slope;
}

/* ---- An estimate ----------------------------------------------------------------------------- */

static samples samples_of(const gr_checker *c, const gr_stencil *s, int64_t j)
{
    samples g = {.middle = c->value[j]};
    for (int k = 0; k < s->count; k++)
        g.at[k] = c->points[k][j];
    return g;
}

static bool all_finite(const double *values, int count)
{
    bool finite = true;
    for (int k = 0; k < count; k++)
        finite = finite && isfinite(values[k]);
    return finite;
}

/* Returns the effect on the finest difference if G trembles, or is rounded by half a unit. A G that
   does not change at all may end in the difference of two numbers that are rounded to 1. */
static double rounding_of(const gr_checker *c, const gr_stencil *s, const samples *g, int64_t j,
                          bool constant)
{
    double largest = fmax(fabs(g->middle), constant ? 1 : 0);
    for (int k = 0; k < s->count; k++)
        largest = isfinite(g->at[k]) ? fmax(largest, fabs(g->at[k])) : largest;
    return fmax(2 * c->epsilon * largest, 8 * c->tremble[j]) / s->h[STEPS - 1];
}

/* Compares the slopes of both sides. If each is known much better than they agree, G has a kink. */
static void look_for_kink(const gr_checker *c, const gr_stencil *s, const samples *g, double x,
                          gr_estimate *e)
{
    double above_error, below_error;
    const double above = slope_of_side(s, g, 0, x, &above_error);
    const double below = slope_of_side(s, g, STEPS, x, &below_error);
    const double error = above_error + below_error + 4 * e->rounding, gap = fabs(above - below);
    if (!(gap > 8 * error) || !(gap > gr_checker_tolerance(c, fmax(fabs(above), fabs(below)), 0)))
        return;
    e->kinks = 1;
    e->low = fmin(above, below);
    e->high = fmax(above, below);
    e->side_noise = error;
}

gr_estimate gr_checker_extrapolate(const gr_checker *c, const gr_stencil *s, double x, int64_t j)
{
    const samples g = samples_of(c, s, j);
    gr_estimate e = {.slope = NAN, .noise = INFINITY, .level = s->level, .constant = true};
    for (int k = 0; k < s->count; k++)
        e.constant = e.constant && g.at[k] == g.middle;
    e.rounding = rounding_of(c, s, &g, j, e.constant);
    double error = INFINITY;
    const bool first = all_finite(g.at, s->side ? s->count : STEPS);
    const bool second = !s->side && all_finite(g.at + STEPS, STEPS);
    if (s->side && first)
        e.slope = slope_at_border(s, &g, &error);
    else if (first && second)
        e.slope = slope_of_both_sides(s, &g, &error);
    else if (first || second)
        e.slope = slope_of_side(s, &g, first ? 0 : STEPS, x, &error);
    if (!first || !second)
        e.rounding *= 4; /* larger weights */
    if (isfinite(error + e.rounding) && isfinite(e.slope))
        e.noise = error + e.rounding;
    if (first && second)
        look_for_kink(c, s, &g, x, &e);
    return e;
}
