/* verify.h - before a model is trained: is the gradient that will train it right?
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_VERIFY_H
#define EXAMPLES_VERIFY_H

#include "sample.h"

/* Compares the gradient of the model's loss, with respect to its parameters, with differences of
   the loss itself: same layers, same initial weights, same loss options, in f64, on a few rows of
   the sample. Says what it found, unless quiet; gives up if the gradient is wrong. */
void verify_gradient(gr_context *ctx, const classifier *c, const sample *s, bool quiet);

#endif
