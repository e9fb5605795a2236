/* fold.c - tests of kernels/fold.c: each tree is compared with its definition, on numbers whose sum
 * differs from tree to tree.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

/* Values of very different sizes and both signs, so that almost any other order gives another
   sum. */
static void fill(int64_t n, double *values)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = draw(-1, 1) * exp(draw(-20, 20));
}

static double in_order(int64_t n, const double *values)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += values[i];
    return sum;
}

/* ---- Lanes ----------------------------------------------------------------------------------- */

/* The sum of the lanes i, i + step, i + 2 step, ... It is the sum of two halves, which start at i
   and at i + step and have twice the step. */
static double lanes_by_definition(const double *lanes, int i, int step)
{
    if (step == GR_LANES)
        return lanes[i];
    return lanes_by_definition(lanes, i, 2 * step) + lanes_by_definition(lanes, i + step, 2 * step);
}

Test(fold, lanes_fold_as_defined)
{
    int in_order_differs = 0;
    reseed(1);
    for (int round = 0; round < 1000; round++) {
        double lanes[GR_LANES];
        fill(GR_LANES, lanes);
        const double sum = gr_fold_lanes(lanes);
        cr_assert_eq(sum, lanes_by_definition(lanes, 0, 1), "round %d", round);
        in_order_differs += sum != in_order(GR_LANES, lanes);
    }
    cr_expect_gt(in_order_differs, 500, "the sums do not depend on the tree");
}

/* A 1 is lost if it is added to 2^60. The tree decides whether that happens. */
Test(fold, the_lanes_tree_pairs_i_with_i_and_8)
{
    double lanes[GR_LANES] = {[0] = 0x1p60, [8] = -0x1p60, [1] = 1, [15] = 1};
    cr_expect_eq(gr_fold_lanes(lanes), 2);
    double others[GR_LANES] = {[0] = 0x1p60, [1] = -0x1p60, [8] = 1, [15] = 1};
    cr_expect_eq(gr_fold_lanes(others), 0);
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

/* Node i of a level of the tree. `below` is the number of nodes in the level below it. */
static double blocks_by_definition(int64_t n, const double *leaves, int level, int64_t i)
{
    if (level == 0)
        return leaves[i];
    int64_t below = n;
    for (int l = 1; l < level; l++)
        below = (below + 1) / 2;
    const double left = blocks_by_definition(n, leaves, level - 1, 2 * i);
    if (2 * i + 1 == below)
        return left;
    return left + blocks_by_definition(n, leaves, level - 1, 2 * i + 1);
}

static int levels_of(int64_t n)
{
    int levels = 0;
    for (; n > 1; n = (n + 1) / 2)
        levels++;
    return levels;
}

/* Also checks that the number after the n sums is not changed. */
static bool folds_as_defined(int64_t n, bool *in_order_differs)
{
    double *leaves = malloc((size_t)(n + 1) * sizeof *leaves);
    double *sums = malloc((size_t)(n + 1) * sizeof *sums);
    fill(n, leaves);
    leaves[n] = 7;
    memcpy(sums, leaves, (size_t)(n + 1) * sizeof *sums);
    const double sum = gr_fold_blocks(n, sums);
    const bool right = sum == blocks_by_definition(n, leaves, levels_of(n), 0) && sums[n] == 7;
    *in_order_differs = sum != in_order(n, leaves);
    free(leaves);
    free(sums);
    return right;
}

Test(fold, blocks_fold_as_defined)
{
    static const int64_t large[] = {1000, 1023, 1024, 1025, 4097, 65535, 65536, 100003};
    int differing = 0;
    bool differs;
    reseed(2);
    for (int64_t n = 1; n <= 300; n++) {
        cr_expect(folds_as_defined(n, &differs), "%d sums", (int)n);
        differing += differs;
    }
    cr_expect_gt(differing, 150, "the sums do not depend on the tree");
    for (int i = 0; i < COUNT_OF(large); i++)
        cr_expect(folds_as_defined(large[i], &differs), "%d sums", (int)large[i]);
}

Test(fold, few_blocks_by_hand)
{
    const double a = 0x1p53, b = 1, c = 1, d = -0x1p53, e = 0x1p-3, f = 3, g = 0x1p52;
    cr_expect_eq(gr_fold_blocks(0, NULL), 0);
    cr_expect_eq(gr_fold_blocks(1, (double[]){e}), e);
    cr_expect(signbit(gr_fold_blocks(1, (double[]){-0.0})));
    cr_expect_eq(gr_fold_blocks(2, (double[]){c, f}), 4);
    cr_expect_eq(gr_fold_blocks(3, (double[]){a, b, c}), (a + b) + c);
    cr_expect_eq(gr_fold_blocks(3, (double[]){b, c, a}), (b + c) + a);
    cr_expect_eq(gr_fold_blocks(5, (double[]){a, b, c, d, e}), ((a + b) + (c + d)) + e);
    cr_expect_eq(gr_fold_blocks(7, (double[]){a, b, c, d, e, f, g}),
                 ((a + b) + (c + d)) + ((e + f) + g));
}
