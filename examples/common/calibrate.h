/* calibrate.h - makes what a trained classifier gives probabilities.
 *
 * A weight p on the positive rows (pos_weight) multiplies the odds that the training aims at by p.
 * So it adds log p to every logit. Weight decay pulls every logit to 0, and every probability to
 * 1/2. Both move the mean probability away from the share of positive rows. The bias of the last
 * layer can move it back, whatever the reason was.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_CALIBRATE_H
#define EXAMPLES_CALIBRATE_H

#include "sample.h"

/* Moves the bias of the last layer so that, over the samples, the mean of sigmoid(logit) is the
   mean of y. This bias is also the one with the smallest log loss. The order of the samples by
   probability stays. Both classes must occur. Returns how much the bias has moved. */
double calibrate(gr_context *ctx, classifier *c, const sample *s);

#endif
