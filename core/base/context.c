/* context.c - how a context begins and how it ends. A context owns everything else.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/base/chunks.h"
#include <omp.h>
#include <stdlib.h>

#define TEXT_OF(number)                   #number
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *gr_version(void)
{
    return VERSION_TEXT(GR_VERSION_MAJOR, GR_VERSION_MINOR, GR_VERSION_PATCH);
}

/* aligned_alloc requires a size that is a multiple of the alignment. */
static void *system_allocate(void *state, size_t bytes, size_t alignment)
{
    (void)state;
    return aligned_alloc(alignment, bytes ? (bytes + alignment - 1) & -alignment : alignment);
}

static void system_release(void *state, void *memory, size_t bytes)
{
    (void)state;
    (void)bytes;
    free(memory);
}

const gr_allocator *gr_allocator_of(const gr_context_options *options)
{
    static const gr_allocator system = {system_allocate, system_release, NULL};
    return options && options->allocator ? options->allocator : &system;
}

static void break_context(gr_context *ctx, gr_status status, const char *reason)
{
    gr_fail(ctx, status, "context", "%s", reason);
    ctx->broken = true;
    gr_finish(ctx);
}

/* Chooses the kernels by the option, by GR_ISA or by the processor. False if that fails; the
   context keeps the error. */
static bool choose_kernels(gr_context *ctx, const char *isa)
{
    const char *environment = getenv("GR_ISA");
    if (!isa && environment && *environment)
        isa = environment;
    ctx->kernels = gr_kernels_choose(isa);
    if (!ctx->kernels)
        break_context(ctx, GR_ERROR_PROCESSOR, gr_kernels_reason(isa));
    return ctx->kernels != NULL;
}

/* Takes the requested number, or OpenMP's number within the limit. False if that fails; the context
   keeps the error. */
static bool choose_threads(gr_context *ctx, int threads)
{
    const int standard = omp_get_max_threads();
    ctx->threads = threads ? threads : standard < GR_MOST_THREADS ? standard : GR_MOST_THREADS;
    if (threads >= 0 && threads <= GR_MOST_THREADS)
        return true;
    gr_fail(ctx, GR_ERROR_ARGUMENT, "context", "%d threads; it takes 1 to %d, or 0 for OpenMP's",
            threads, GR_MOST_THREADS);
    ctx->broken = true;
    gr_finish(ctx);
    return false;
}

void gr_context_begin(gr_context *ctx, int64_t bytes, const gr_context_options *options)
{
    static const gr_context_options defaults;
    gr_tensor *failed = ctx->failed;
    options = options ? options : &defaults;
    *ctx = (gr_context){
        .allocator = *gr_allocator_of(options),
        .memory = {.live_bytes = bytes, .peak_bytes = bytes, .allocations = 1},
        .handler = options->handler,
        .handler_data = options->handler_data,
        .seed = options->seed,
        .failed = failed,
    };
    if (!choose_threads(ctx, options->threads) || !choose_kernels(ctx, options->isa))
        return;
    ctx->root = gr_scope_open(ctx);
    if (!ctx->root) {
        break_context(ctx, GR_ERROR_MEMORY, "out of memory");
        return;
    }
    ctx->root->internal = false;
    ctx->floor = ctx->root;
}

void gr_context_end(gr_context *ctx)
{
    if (ctx->root)
        gr_scope_close(ctx->root);
    gr_arena_trim(ctx);
    gr_blocks_end(ctx);
    gr_pool_end(ctx);
}

const char *gr_context_isa(const gr_context *ctx)
{
    return ctx && ctx->kernels ? ctx->kernels->isa : "none";
}

gr_memory_report gr_memory(const gr_context *ctx)
{
    return ctx ? ctx->memory : (gr_memory_report){0};
}
