/* tremble.c - how large rounding errors are: in G, or in what sweeps give.
 *
 * They are at least half a unit of the value. But a value may be a small difference of large
 * numbers, or the end of a long chain. So it is taken at nine points that lie very close together.
 * There a smooth function is a straight line, and its higher differences are rounding errors alone:
 *
 *     size^2 = (k!)^2 / (2k)! mean((k-th difference)^2)
 *
 * (J. More and S. Wild, "Estimating computational noise", SIAM J. Scientific Computing 33, 2011.)
 * All inputs move together, towards 0, each by a 2^-32nd of itself and its multiples. The inputs
 * themselves are no such point: a rule that is wrong for them alone must not look like rounding.
 * Where all nine values are the same, they move by less than a unit of what they are computed from.
 * Then the points lie further apart.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"
#include <string.h>

enum {
    POINTS = 9,
    FIRST = 2, /* the orders of the differences */
    LAST = 5,
    NEAR = -32, /* distances of points, as powers of two */
    FAR = -12,
    STEP = 10
};

/* Moves each element by `count` steps. The steps differ, so that sums do not round alike. At 0 they
   are smaller. */
static void move_all(const gr_checker *c, const double *before, int exponent, int count)
{
    for (int64_t k = 0; k < c->columns; k++) {
        const double x = before[k], part = ldexp(fabs(gr_checker_cotangent(c, k)), exponent);
        double moved = x - count * part * x;
        if (x == 0)
            moved = (c->args.high > 0 ? count : -count) * part * 0x1p-20;
        if (moved < c->args.low || moved > c->args.high)
            moved = x + count * part * x;
        *gr_checker_element_of(c, k).value = fmin(fmax(moved, c->args.low), c->args.high);
    }
}

/* Returns the size of the errors in `count` values at equal distances; destroys the values. The
   smallest result counts, because a curved G makes the lower differences larger. */
static double size_of(double *values, int count)
{
    double factor = 1, smallest = INFINITY;
    for (int order = 1; order <= LAST; order++) {
        double sum = 0;
        for (int k = 0; k < count - order; k++) {
            values[k] = values[k + 1] - values[k];
            sum += values[k] * values[k];
        }
        factor *= order / (2.0 * (2 * order - 1)); /* (k!)^2 / (2k)! */
        if (order >= FIRST)
            smallest = fmin(smallest, sqrt(factor * sum / (count - order)));
    }
    return isfinite(smallest) ? smallest : 0;
}

/* The inputs count as written while they are moved; see evaluate_stencil in differences.c. */
static void count_writes(const gr_checker *c, int more)
{
    for (int64_t i = 0; i < c->inputs.count; i++)
        gr_set_writes(c->views[i], gr_writes(c->views[i]) + more);
}

/* The values whose errors are asked for. */
typedef struct question {
    gr_checker_values *take;
    void *data;
    int64_t count;
    double *before; /* the inputs: [columns] */
    double *values; /* [POINTS, count] */
    double *sizes;  /* the answer: [count] */
} question;

static bool take_all(gr_checker *c, const question *q, int exponent)
{
    bool done = true;
    count_writes(c, 1);
    for (int point = 0; done && point < POINTS; point++) {
        move_all(c, q->before, exponent, point + 1);
        done = q->take(c, q->data, q->values + point * q->count);
        for (int64_t k = 0; k < c->columns; k++)
            memcpy(gr_checker_element_of(c, k).value, q->before + k, sizeof *q->before);
    }
    count_writes(c, -1);
    return done;
}

/* Sets the sizes that are not known yet. False if the values of one are all the same. */
static bool answer(const question *q)
{
    bool all = true;
    for (int64_t i = 0; i < q->count; i++) {
        double line[POINTS];
        bool same = true;
        for (int point = 0; point < POINTS; point++) {
            line[point] = q->values[point * q->count + i];
            same = same && line[point] == line[0];
        }
        if (q->sizes[i] == 0 && !same)
            q->sizes[i] = size_of(line, POINTS);
        all = all && !same;
    }
    return all;
}

static bool ask_in_scope(gr_checker *c, question *q)
{
    q->before = gr_arena_cut(c->ctx, c->columns * (int64_t)sizeof(double));
    q->values = gr_arena_cut(c->ctx, q->count * POINTS * (int64_t)sizeof(double));
    if (!q->before || !q->values)
        return false;
    for (int64_t k = 0; k < c->columns; k++)
        q->before[k] = *gr_checker_element_of(c, k).value;
    bool all = false;
    for (int exponent = NEAR; !all && exponent <= FAR; exponent += STEP) {
        if (!take_all(c, q, exponent))
            return false;
        all = answer(q);
    }
    return true;
}

bool gr_checker_tremble(gr_checker *c, gr_checker_values *take, void *data, int64_t count,
                        double *sizes)
{
    question q = {.take = take, .data = data, .count = count, .sizes = sizes};
    for (int64_t i = 0; i < count; i++)
        sizes[i] = 0;
    c->ctx->doing = "gradcheck";
    const bool done = gr_scope_begin(c->ctx) == GR_OK && ask_in_scope(c, &q);
    return gr_scope_end(c->ctx) == GR_OK && done;
}
