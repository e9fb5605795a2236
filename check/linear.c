/* linear.c - whether the gradient is linear in the upstream gradient.
 *
 * The sweeps of the Jacobian have one-hot seeds. A rule may be right for them and wrong for others:
 * it clips or rounds the seed, or mixes its elements. So dense random seeds of several sizes are
 * swept as well. What they give must be the sum of the Jacobian's rows, each times its element of
 * the seed. In order 2, v is changed too: the second derivative is linear in it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"
#include <float.h>

/* One comparison. */
typedef struct combination {
    double *seed;     /* [rows] */
    double *swept;    /* the gradient of sum(seed G): [width] */
    double *expected; /* the sum of the rows: [width] */
    double *size;     /* the same sum of sizes: [width] */
    double *allowed;  /* the allowed difference: [width] */
    double *tremble;  /* the rounding errors of the sweep, if they are needed: [width] */
    double *scratch;  /* [width] */
    bool record;      /* the sweep is recorded */
} combination;

enum { SEEDS = 4 };

/* Returns the factors of a seed. The last seed has elements of different sizes. */
static double factor_of(const gr_checker *c, int which, int64_t i)
{
    const int exponent = c->largest < FLT_MAX ? 3 : 11; /* f16 has a small range */
    const double factors[] = {1, -ldexp(1, exponent), ldexp(1, -exponent)};
    return factors[which < SEEDS - 1 ? which : (int)(i % (SEEDS - 1))];
}

/* Sets the seed and, for order 2, the factor of v. */
static void set_seed(gr_checker *c, int which, combination *k)
{
    c->stretch = c->order == 2 ? factor_of(c, which, 1) : 1;
    for (int64_t i = 0; i < c->rows; i++) {
        const double size = gr_checker_cotangent(c, i + (which + 1) * c->rows);
        k->seed[i] = c->order == 2 ? size : size * factor_of(c, which, i);
    }
}

/* The derivative in v does not depend on v. */
static void add_rows(const gr_checker *c, const double *jacobian, combination *k)
{
    const int64_t width = gr_checker_width(c);
    for (int64_t column = 0; column < width; column++) {
        const double factor = column < c->columns ? c->stretch : 1;
        double sum = 0, size = 0, allowed = 0;
        for (int64_t j = 0; j < c->rows; j++) {
            const int64_t at = j * width + column;
            const double part = factor * k->seed[j];
            sum += part * jacobian[at];
            size += fabs(part * jacobian[at]);
            const gr_reference *r = c->references + at;
            allowed += r->constant ? 0 : fabs(part) * (r->noise + c->args.atol * r->scale);
        }
        k->expected[column] = sum;
        k->size[column] = size;
        k->allowed[column] = gr_checker_tolerance(c, size, 0) + allowed + 8 * k->tremble[column] +
                             64 * DBL_MIN; /* below it, digits are lost */
    }
}

/* True if a larger seed may have made numbers too large for the dtype. */
static bool may_overflow(const gr_checker *c, double size, double swept)
{
    return !isfinite(swept) && !(size < c->largest * 0x1p-16);
}

static bool is_bad(const gr_checker *c, const combination *k, int64_t column)
{
    const double swept = k->swept[column], allowed = k->allowed[column];
    return !(fabs(swept - k->expected[column]) <= allowed) && allowed < INFINITY &&
           !may_overflow(c, k->size[column], swept);
}

static int64_t count_bad(const gr_checker *c, const combination *k)
{
    int64_t bad = 0;
    for (int64_t column = 0; column < gr_checker_width(c); column++)
        bad += is_bad(c, k, column);
    return bad;
}

static void report_bad(gr_checker *c, const combination *k)
{
    for (int64_t column = 0; column < gr_checker_width(c); column++) {
        if (!is_bad(c, k, column))
            continue;
        const double swept = k->swept[column], expected = k->expected[column];
        const double wrong = fabs(swept - expected), allowed = k->allowed[column];
        gr_gradcheck_entry entry = gr_checker_entry(c, GR_CHECK_ALL_OUTPUTS, column);
        entry.analytic = swept;
        entry.numeric = expected;
        entry.noise = allowed;
        entry.absolute = wrong;
        entry.relative = isfinite(wrong) ? wrong / fmax(fabs(swept), fabs(expected)) : INFINITY;
        c->report.bad++;
        c->report.reason = GR_CHECK_NOT_LINEAR;
        gr_checker_keep_worst(c, &entry, isfinite(wrong) ? wrong / allowed : INFINITY);
    }
}

/* ---- All seeds ------------------------------------------------------------------------------- */

static bool take_sweep(gr_checker *c, void *data, double *values)
{
    const combination *k = data;
    return gr_checker_sweep_all(c, k->record, k->seed, values, k->scratch);
}

/* Before a sum is called wrong, the rounding errors of its rows and of the sweep count too. */
static bool judge(gr_checker *c, combination *k)
{
    const double *jacobian = k->record ? c->recorded : c->plain;
    add_rows(c, jacobian, k);
    if (count_bad(c, k) == 0)
        return true;
    if (!gr_checker_add_trembles(c) ||
        !gr_checker_tremble(c, take_sweep, k, gr_checker_width(c), k->tremble))
        return false;
    add_rows(c, jacobian, k);
    report_bad(c, k);
    return true;
}

static bool combine(gr_checker *c, combination *k)
{
    for (int which = 0; which < SEEDS; which++) {
        set_seed(c, which, k);
        for (int record = 0; record < 2 && c->report.reason == GR_CHECK_PASSED; record++) {
            k->record = record;
            for (int64_t i = 0; i < gr_checker_width(c); i++)
                k->tremble[i] = 0;
            if (!take_sweep(c, k, k->swept) || !judge(c, k))
                return false;
        }
    }
    return true;
}

static bool combine_in_scope(gr_checker *c)
{
    combination k = {0};
    double **const vectors[] = {&k.swept, &k.expected, &k.size, &k.allowed, &k.tremble, &k.scratch};
    bool done = (k.seed = gr_arena_cut(c->ctx, c->rows * (int64_t)sizeof(double))) != NULL;
    for (size_t i = 0; done && i < sizeof vectors / sizeof *vectors; i++) {
        *vectors[i] = gr_arena_cut(c->ctx, gr_checker_width(c) * (int64_t)sizeof(double));
        done = *vectors[i] != NULL;
    }
    done = done && combine(c, &k);
    c->stretch = 1;
    return done;
}

bool gr_checker_combine(gr_checker *c)
{
    c->ctx->doing = "gradcheck";
    const bool done = gr_scope_begin(c->ctx) == GR_OK && combine_in_scope(c);
    return gr_scope_end(c->ctx) == GR_OK && done;
}
