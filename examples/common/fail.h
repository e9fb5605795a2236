/* fail.h - how the examples stop: one clear line, and a status that tells the kind of failure.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_FAIL_H
#define EXAMPLES_FAIL_H

#include <gradus/core.h>

/* The exit statuses of the programs, besides 0. */
enum {
    STATUS_FAILED = 1,       /* the work failed */
    STATUS_REFUSED = 2,      /* the input or an option is wrong; no file was changed */
    STATUS_INTERRUPTED = 130 /* Ctrl-C: the best model so far is saved */
};

/* Print "PROGRAM: TEXT" as one line on stderr, and exit with STATUS_REFUSED or STATUS_FAILED. */
_Noreturn void refuse(const char *format, ...) GR_PRINTF(1, 2);
_Noreturn void give_up(const char *format, ...) GR_PRINTF(1, 2);

/* If the context has an error, these refuse or give up with its message. */
void refuse_error(gr_context *ctx);
void give_up_error(gr_context *ctx);

/* Returns zeroed memory for count elements. Gives up if there is none. */
void *allocate(int64_t count, size_t size);

#endif
