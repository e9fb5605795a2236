/* threads.c - the only place that starts threads.
 *
 * Work is cut into parts by index alone, and the result of a part depends only on its index. The
 * number of threads decides which thread computes a part, and nothing else. A part cannot allocate
 * and cannot fail.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/base/base.h"
#include <omp.h>
#include <pthread.h>

/* ---- Fork ------------------------------------------------------------------------------------ */

/* True in a child made by fork. Fork does not copy the threads that OpenMP keeps, but libgomp's
   lists still name them, and a parallel region of the child would wait for them for ever. So the
   child computes with one thread. Nothing tells whether the host program has used OpenMP
   before, so this holds for each child. */
static bool forked;

static void note_fork(void) { forked = true; }

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, note_fork);
}

/* ---- Threads --------------------------------------------------------------------------------- */

/* For fewer elements, waking threads costs more than it saves. This is about 20 us of work. */
enum { GRAIN = 64 * 1024 };

static bool must_be_alone(void) { return forked || omp_in_parallel(); }

int gr_threads_for(const gr_context *ctx, int64_t elements)
{
    if (ctx->threads <= 1 || elements < GRAIN || must_be_alone())
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
    if (threads <= 1 || must_be_alone()) {
        for (int64_t i = 0; i < parts; i++)
            part(state, i);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
        /* A thread of the pool has the mode of the thread that started it, at that time. */
        const gr_float_mode mode = gr_float_mode_begin();
#pragma omp for schedule(static)
        for (int64_t i = 0; i < parts; i++)
            part(state, i);
        gr_float_mode_end(mode);
    }
}
