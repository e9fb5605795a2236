/* progress.h - how far the training is: a bar on a terminal, a line every tenth elsewhere.
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

/* Leaves the bar where it is and goes to the next line. */
void progress_end(const progress *p);

#endif
