/* verify.h - checks the gradient of a model before the model is trained with it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_VERIFY_H
#define EXAMPLES_VERIFY_H

#include "sample.h"

/* Compares the gradient of the model's loss in its parameters with differences of the loss itself.
   It uses the same layers, initial weights and loss options, in f64, on a few rows of the sample.
   Prints the result, unless quiet. Gives up if the gradient is wrong. */
void verify_gradient(gr_context *ctx, const classifier *c, const sample *s, bool quiet);

#endif
