/* metrics.h - how good a classifier is on rows that it has not seen.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_METRICS_H
#define EXAMPLES_METRICS_H

#include "sample.h"

#include <stdio.h>

/* Positive: a probability of at least 1/2. A share of nothing is 0, as scikit-learn has it. */
typedef struct figures {
    int64_t true_positive, false_positive, true_negative, false_negative;
    double loss; /* that it was trained to lessen: pos_weight is in it */
    double accuracy, precision, recall, f1;
    double auc; /* NaN where there is only one class */
} figures;

/* Of a classifier on rows whose classes are known. */
figures judge(gr_context *ctx, const classifier *c, const sample *s);

/* Ten lines, the same for the same figures to the last byte. */
void print_figures(const figures *f, FILE *out);

#endif
