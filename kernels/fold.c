/* fold.c - adds partial sums in a tree. Its shape depends only on the number of leaves.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels.h"

double gr_fold_lanes(const double *lanes)
{
    double sum[GR_LANES];
    for (int i = 0; i < GR_LANES; i++)
        sum[i] = lanes[i];
    for (int half = GR_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            sum[i] += sum[i + half];
    return sum[0];
}

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
