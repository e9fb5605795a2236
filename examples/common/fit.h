/* fit.h - the training loop.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_FIT_H
#define EXAMPLES_FIT_H

#include "sample.h"

typedef struct fit_options {
    int64_t epochs, batch;
    double lr, weight_decay; /* AdamW's */
    bool quiet;
} fit_options;

/* The loss after each epoch; at 0: before the first. */
typedef struct history {
    int64_t epochs; /* that were finished */
    int64_t best;   /* whose weights were kept */
    bool interrupted;
    double *training, *validation;
} history;

/* Trains the classifier's perceptron on mini-batches in an order that is new each epoch, and leaves
   in it the weights that had the least loss on the validation rows. Ctrl-C ends it early; a second
   one ends the program. Gives up if the loss is no longer finite. */
history fit(gr_context *ctx, classifier *c, const sample *training, const sample *validation,
            const fit_options *options);
void history_free(history *h);

#endif
