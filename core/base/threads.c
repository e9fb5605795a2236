/* threads.c - the only place that starts threads.
 *
 * Work is cut into parts by index, without regard to the number of threads. The result of a part
 * depends only on its index. So the threads decide which thread computes a part, and nothing else.
 * A part cannot allocate and cannot fail.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/base/base.h"
#include <omp.h>

/* For fewer elements, waking threads costs more than it saves. This is about 20 us of work. */
enum { GRAIN = 64 * 1024 };

int gr_threads_for(const gr_context *ctx, int64_t elements)
{
    if (ctx->threads <= 1 || elements < GRAIN || omp_in_parallel())
        return 1;
    const int64_t most = elements / (GRAIN / 2);
    return most < ctx->threads ? (int)most : ctx->threads;
}

/* One thread runs a plain loop: a parallel region of one thread would stop and restart OpenMP's
   team. */
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
