/* progress.h - shows the progress of the training: a bar on a terminal, otherwise ten lines.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_PROGRESS_H
#define EXAMPLES_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

typedef struct progress {
    int64_t epochs;
    bool quiet, terminal, unicode;
    struct timespec start;
} progress;

progress progress_begin(int64_t epochs, bool quiet);
void progress_show(const progress *p, int64_t epoch, double loss, double accuracy);

/* Keeps the bar on the screen and goes to the next line. */
void progress_end(const progress *p);

#endif
