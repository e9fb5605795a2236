/* fold.c - adds partial sums in a tree. Its shape depends only on the number of leaves.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels.h"

_Static_assert(GR_LANES == 16, "the tree below adds 16 lanes");
static double fold_2(const double *x, int i) { return x[i] + x[i + 8]; }
static double fold_4(const double *x, int i) { return fold_2(x, i) + fold_2(x, i + 4); }
static double fold_8(const double *x, int i) { return fold_4(x, i) + fold_4(x, i + 2); }
double gr_fold_lanes(const double *lanes) { return fold_8(lanes, 0) + fold_8(lanes, 1); }

/* Each pass adds neighbours. If their number is odd, the last one is kept for the next pass. */
double gr_fold_blocks(int64_t n, double *sums)
{
    if (n == 0)
        return 0;
    for (; n > 1; n = (n + 1) / 2) {
        for (int64_t i = 0; i < n / 2; i++)
            sums[i] = sums[2 * i] + sums[2 * i + 1];
        if (n % 2)
            sums[n / 2] = sums[n - 1];
    }
    return sums[0];
}
