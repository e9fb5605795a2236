/* context.c - the object that owns everything, and the first error that it keeps.
 *
 * An error is kept once: later ones are its consequences. Its place is filled in by gr_here, in the
 * macro around the failing call, and only then the handler is called, so that it sees the place.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_OF(number)                   #number
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *gr_version(void)
{
    return VERSION_TEXT(GR_VERSION_MAJOR, GR_VERSION_MINOR, GR_VERSION_PATCH);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

const char *gr_status_name(gr_status status)
{
    static const char *const names[] = {
        [GR_OK] = "GR_OK",
        [GR_ERROR_MEMORY] = "GR_ERROR_MEMORY",
        [GR_ERROR_NULL] = "GR_ERROR_NULL",
        [GR_ERROR_SHAPE] = "GR_ERROR_SHAPE",
        [GR_ERROR_BROADCAST] = "GR_ERROR_BROADCAST",
        [GR_ERROR_DTYPE] = "GR_ERROR_DTYPE",
        [GR_ERROR_DOMAIN] = "GR_ERROR_DOMAIN",
        [GR_ERROR_REDUCTION] = "GR_ERROR_REDUCTION",
        [GR_ERROR_ARGUMENT] = "GR_ERROR_ARGUMENT",
        [GR_ERROR_CONTEXT] = "GR_ERROR_CONTEXT",
        [GR_ERROR_SCOPE] = "GR_ERROR_SCOPE",
        [GR_ERROR_GRADIENT] = "GR_ERROR_GRADIENT",
        [GR_ERROR_IO] = "GR_ERROR_IO",
        [GR_ERROR_FORMAT] = "GR_ERROR_FORMAT",
        [GR_ERROR_PROCESSOR] = "GR_ERROR_PROCESSOR",
    };
    const bool known = (int)status >= 0 && (size_t)status < sizeof names / sizeof *names;
    return known ? names[status] : "unknown";
}

gr_context gr_no_context = {
    .broken = true,
    .error = GR_ERROR_MEMORY,
    .message = "context: out of memory",
    .place_known = true,
    .failed = {.state = GR_FAILED, .ctx = &gr_no_context},
};

gr_context gr_null_context = {
    .broken = true,
    .error = GR_ERROR_NULL,
    .message = "operand 0 is NULL",
    .place_known = true,
    .failed = {.state = GR_FAILED, .ctx = &gr_null_context},
};

static void keep_error(gr_context *ctx, gr_status status, const char *op, const char *format,
                       va_list list)
{
    if (ctx->error != GR_OK)
        return;
    ctx->error = status;
    ctx->place_known = false;
    ctx->handler_due = ctx->handler != NULL;
    op = op ? op : ctx->doing;
    const int size = (int)sizeof ctx->message;
    int used = op ? snprintf(ctx->message, (size_t)size, "%s: ", op) : 0;
    if (used < size)
        vsnprintf(ctx->message + used, (size_t)(size - used), format, list);
}

gr_status gr_fail(gr_context *ctx, gr_status status, const char *op, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    keep_error(ctx, status, op, format, list);
    va_end(list);
    return status;
}

gr_tensor *gr_fail_tensor(gr_context *ctx, gr_status status, const char *op, const char *format,
                          ...)
{
    va_list list;
    va_start(list, format);
    keep_error(ctx, status, op, format, list);
    va_end(list);
    return &ctx->failed;
}

gr_status gr_raise(gr_context *ctx, gr_status status, const char *name, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    keep_error(ctx ? ctx : &gr_null_context, status, name, format, list);
    va_end(list);
    return status;
}

static void call_handler(gr_context *ctx)
{
    if (!ctx->handler_due || ctx->handler_held)
        return;
    ctx->handler_due = false;
    ctx->handler(ctx, ctx->error, ctx->message, ctx->handler_data);
}

void gr_hold_handler(gr_context *ctx)
{
    if (!ctx->broken)
        ctx->handler_held++;
}

void gr_free_handler(gr_context *ctx)
{
    if (!ctx->broken)
        ctx->handler_held--;
}

void gr_note(gr_context *ctx, const char *message)
{
    if (ctx->handler && !ctx->handler_held)
        ctx->handler(ctx, GR_OK, message, ctx->handler_data);
}

gr_status gr_finish(gr_context *ctx)
{
    const gr_status status = ctx->error; /* which the handler may clear */
    if (status == GR_OK || ctx->handler_held)
        return status;
    if (!ctx->place_known) /* the contexts that never change are shared by threads */
        ctx->place_known = true;
    call_handler(ctx);
    return status;
}

void gr_place_error(gr_context *ctx, const char *file, int line)
{
    if (ctx->error == GR_OK || ctx->place_known)
        return;
    ctx->place_known = true;
    const size_t used = strlen(ctx->message);
    snprintf(ctx->message + used, sizeof ctx->message - used, " (%s:%d)", file, line);
}

gr_tensor *gr_here(gr_tensor *result, const char *file, int line)
{
    if (result && result->state == GR_FAILED && result->ctx->error != GR_OK) {
        gr_place_error(result->ctx, file, line);
        call_handler(result->ctx);
    }
    return result;
}

gr_status gr_error(const gr_context *ctx) { return ctx ? ctx->error : GR_ERROR_NULL; }

const char *gr_error_message(gr_context *ctx)
{
    if (!ctx)
        return "context: NULL";
    return ctx->error == GR_OK ? "" : ctx->message;
}

void gr_error_clear(gr_context *ctx)
{
    if (!ctx || ctx->broken)
        return;
    ctx->error = GR_OK;
    ctx->handler_due = false;
    ctx->message[0] = '\0';
}

/* ---- Contexts -------------------------------------------------------------------------------- */

/* C asks aligned_alloc for multiples of the alignment only. */
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

static gr_context *break_context(gr_context *ctx, gr_status status, const char *reason)
{
    gr_fail(ctx, status, "context", "%s", reason);
    ctx->broken = true;
    gr_finish(ctx);
    return ctx;
}

/* The kernels for the option, GR_ISA or the processor; false with the reason kept. */
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

gr_context *gr_context_new(const gr_context_options *options)
{
    static const gr_context_options defaults;
    static const gr_allocator system = {system_allocate, system_release, NULL};
    options = options ? options : &defaults;
    const gr_allocator *allocator = options->allocator ? options->allocator : &system;

    gr_context *ctx = allocator->allocate(allocator->state, sizeof *ctx, 64);
    if (!ctx)
        return &gr_no_context;
    *ctx = (gr_context){
        .allocator = *allocator,
        .memory = {.live_bytes = sizeof *ctx, .peak_bytes = sizeof *ctx, .allocations = 1},
        .threads = options->threads > 0 ? options->threads : omp_get_max_threads(),
        .handler = options->handler,
        .handler_data = options->handler_data,
        .seed = options->seed,
        .failed = {.state = GR_FAILED, .ctx = ctx},
    };
    if (options->threads < 0)
        return break_context(ctx, GR_ERROR_ARGUMENT, "a negative number of threads");
    if (!choose_kernels(ctx, options->isa))
        return ctx;
    ctx->root = gr_memory_begin(ctx) ? gr_scope_open(ctx, NULL) : NULL;
    ctx->scope = ctx->root;
    return ctx->root ? ctx : break_context(ctx, GR_ERROR_MEMORY, "out of memory");
}

gr_status gr_context_free(gr_context *ctx)
{
    if (!ctx)
        return GR_ERROR_NULL;
    const gr_status status = gr_finish(ctx);
    if (ctx == &gr_no_context || ctx == &gr_null_context)
        return status;
    for (gr_scope *scope = ctx->scope, *outer; scope; scope = outer) {
        outer = scope->outer;
        gr_scope_close(scope);
    }
    gr_memory_end(ctx);
    const gr_allocator allocator = ctx->allocator;
    allocator.release(allocator.state, ctx, sizeof *ctx);
    return status;
}

const char *gr_context_isa(const gr_context *ctx)
{
    return ctx && ctx->kernels ? ctx->kernels->isa : "none";
}

gr_memory_report gr_memory(const gr_context *ctx)
{
    return ctx ? ctx->memory : (gr_memory_report){0};
}
