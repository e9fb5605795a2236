/* fit.h - the training loop.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_FIT_H
#define EXAMPLES_FIT_H

#include "sample.h"

typedef struct fit_options {
    int64_t epochs, batch;
    double lr, weight_decay; /* options of AdamW */
    bool quiet;
} fit_options;

/* The losses after each epoch. Index 0 is before the first epoch. */
typedef struct history {
    int64_t epochs; /* number of finished epochs */
    int64_t best;   /* the epoch whose weights were kept */
    bool interrupted;
    double *training, *validation;
} history;

/* Trains the classifier's perceptron on mini-batches, in a new order each epoch. Leaves it with the
   weights that had the smallest loss on the validation samples. Ctrl-C stops the training early. A
   second Ctrl-C ends the program. Gives up if the loss is no longer finite. */
history fit(gr_context *ctx, classifier *c, const sample *training, const sample *validation,
            const fit_options *options);
void history_free(history *h);

#endif
