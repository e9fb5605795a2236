/* errors.c - the first error of a context.
 *
 * A context keeps only its first error, because later errors are consequences of it. The macro
 * around the failing call adds the place of the call. The handler is called only after that, so
 * that it sees the place.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/base/base.h"
#include <gradus/extend.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
    return ctx->failed;
}

gr_status gr_raise(gr_context *ctx, gr_status status, const char *name, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    if (ctx)
        keep_error(ctx, status, name, format ? format : "failed", list);
    va_end(list);
    return status;
}

bool gr_check_defaults(gr_context *ctx, const char *op, bool from_defaults, const char *name)
{
    if (!from_defaults)
        gr_fail(ctx, GR_ERROR_ARGUMENT, op, "the options do not start from gr_%s_defaults()", name);
    return from_defaults;
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

void gr_resume_handler(gr_context *ctx)
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
    const gr_status status = ctx->error; /* the handler may clear ctx->error */
    if (status == GR_OK || ctx->handler_held)
        return status;
    if (!ctx->place_known) /* threads share the constant contexts: do not write to them */
        ctx->place_known = true;
    call_handler(ctx);
    return status;
}

void gr_place_error(gr_context *ctx, const char *file, int line)
{
    if (ctx->error == GR_OK || ctx->place_known || !file)
        return;
    ctx->place_known = true;
    const size_t used = strlen(ctx->message);
    snprintf(ctx->message + used, sizeof ctx->message - used, " (%s:%d)", file, line);
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
