/* threads.c - the one place that starts threads.
 *
 * Work comes in parts that are cut by index before anybody asks how many threads there are; a
 * part's result depends on its index alone. So the threads decide who computes a part, and nothing
 * else. A part cannot allocate and cannot fail.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/base/base.h"
#include <omp.h>

/* Elements in a pass below which waking threads costs more than it saves: about 20 us of work. */
enum { GRAIN = 64 * 1024 };

int gr_threads_for(const gr_context *ctx, int64_t elements)
{
    if (ctx->threads <= 1 || elements < GRAIN || omp_in_parallel())
        return 1;
    const int64_t most = elements / (GRAIN / 2);
    return most < ctx->threads ? (int)most : ctx->threads;
}

/* One thread is a loop: a parallel region of one would still stop and restart OpenMP's team. */
void gr_parallel_for(int threads, int64_t parts, gr_part *part, void *state)
{
    if (threads > parts)
        threads = (int)parts;
    if (threads <= 1 || omp_in_parallel()) {
        for (int64_t i = 0; i < parts; i++)
            part(state, i);
        return;
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < parts; i++)
        part(state, i);
}
