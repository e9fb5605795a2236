/* moons.c - two noisy half moons, with the same bits on every machine.
 *
 * C libraries differ in the last bit of sin and cos. So this takes a normally distributed point in
 * the plane and moves it to the unit circle. Its angle is uniform too. This needs only +, *, / and
 * sqrt, which IEEE 754 defines exactly.
 *
 * SPDX-License-Identifier: MIT
 */
#include "moons.h"

#include "fail.h"
#include "seeds.h"

#include <math.h>
#include <stdlib.h>

enum { UPPER = 750, LOWER = 250, ROWS = UPPER + LOWER };

static const double noise = 0.2;

/* normal holds four independent draws. The upper moon is the half circle above (0, 0). The lower
   moon is the half circle below (1, 1/2). */
static void place(const double normal[4], bool lower, double point[2])
{
    double radius = sqrt(normal[0] * normal[0] + normal[1] * normal[1]);
    double x = normal[0] / radius, y = fabs(normal[1]) / radius;
    point[0] = (lower ? 1 - x : x) + noise * normal[2];
    point[1] = (lower ? 0.5 - y : y) + noise * normal[3];
}

static const double *draw_normals(gr_context *ctx)
{
    gr_tensor *normal = gr_randn(ctx, GR_F64, gr_shape(ROWS, 4));
    give_up_error(ctx);
    return gr_data(normal);
}

table table_of_moons(gr_context *ctx, uint64_t seed)
{
    table t = {
        .source = MOONS, .rows = ROWS, .columns = 2, .labels = {MOONS_POSITIVE, MOONS_NEGATIVE}};
    t.names = allocate(2, sizeof *t.names);
    t.names[0] = "x";
    t.names[1] = "y";
    t.positive = allocate(ROWS, 1);

    gr_context *own = gr_context_new(&(gr_context_options){.seed = seed_for(seed, FOR_MOONS)});
    const double *normal = draw_normals(own);
    double *points = allocate(2 * ROWS, sizeof *points);
    for (int64_t row = 0; row < ROWS; row++) {
        t.positive[row] = row >= UPPER;
        place(normal + 4 * row, t.positive[row], points + 2 * row);
    }
    gr_context_free(own);

    t.x = gr_from_data(ctx, GR_F64, gr_shape(ROWS, 2), points);
    give_up_error(ctx);
    free(points);
    return t;
}
