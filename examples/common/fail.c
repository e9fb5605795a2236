/* fail.c - how the examples stop.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Names in a message may come from files. A line end or an escape sequence in a name must not reach
   the terminal. */
static void blank_controls(char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < ' ' || c == 127)
            *text = '?';
    }
}

static _Noreturn void stop(int status, const char *format, va_list values)
{
    char line[1024];
    vsnprintf(line, sizeof line, format, values);
    blank_controls(line);
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, line);
    exit(status);
}

void refuse(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    stop(STATUS_REFUSED, format, values);
}

void give_up(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    stop(STATUS_FAILED, format, values);
}

void refuse_error(gr_context *ctx)
{
    if (gr_error(ctx) == GR_ERROR_MEMORY)
        give_up("%s", gr_error_message(ctx));
    if (gr_error(ctx) != GR_OK)
        refuse("%s", gr_error_message(ctx));
}

void give_up_error(gr_context *ctx)
{
    if (gr_error(ctx) != GR_OK)
        give_up("%s", gr_error_message(ctx));
}

void *allocate(int64_t count, size_t size)
{
    void *memory = calloc(count > 0 ? (size_t)count : 1, size);
    if (!memory)
        give_up("no memory for %lld elements of %zu bytes", (long long)count, size);
    return memory;
}
