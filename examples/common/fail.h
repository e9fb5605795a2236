/* fail.h - how the examples stop: one clear line, and a status that says whose fault it was.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_FAIL_H
#define EXAMPLES_FAIL_H

#include <gradus/core.h>

/* What main returns: 0, or one of these. */
enum {
    STATUS_FAILED = 1,       /* the work could not be done */
    STATUS_REFUSED = 2,      /* the input or an option makes no sense; no file was touched */
    STATUS_INTERRUPTED = 130 /* Ctrl-C: what was reached is saved */
};

/* "PROGRAM: TEXT", one line on stderr, and exit with STATUS_REFUSED or STATUS_FAILED. */
_Noreturn void refuse(const char *format, ...) GR_PRINTF(1, 2);
_Noreturn void give_up(const char *format, ...) GR_PRINTF(1, 2);

/* Refuses or gives up with the context's message if it has an error. */
void refuse_error(gr_context *ctx);
void give_up_error(gr_context *ctx);

/* Zeroed memory for count elements, or gives up. */
void *allocate(int64_t count, size_t size);

#endif
