/* metrics.h - measures how good a classifier is on rows that it has not seen.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_METRICS_H
#define EXAMPLES_METRICS_H

#include "sample.h"

#include <stdio.h>

/* A row is said to be positive if its probability is at least 1 / (1 + pos_weight): there a false
   positive costs as much as a false negative that is pos_weight times as bad. A ratio with
   denominator 0 is 0, as in scikit-learn. */
typedef struct figures {
    int64_t true_positive, false_positive, true_negative, false_negative;
    double trained_loss; /* the loss that was trained, with pos_weight */
    double log_loss;     /* without any weight: scikit-learn's log_loss */
    double mean_probability;
    double threshold;
    double accuracy, precision, recall, f1;
    double auc; /* NaN if there is only one class */
} figures;

/* Measures a classifier on rows with known classes. */
figures judge(gr_context *ctx, const classifier *c, const sample *s);

/* Prints twelve lines. Equal figures give equal bytes. */
void print_figures(const figures *f, FILE *out);

#endif
