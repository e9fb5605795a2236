/* sample.h - converts rows of a table to a perceptron's input.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_SAMPLE_H
#define EXAMPLES_SAMPLE_H

#include "model.h"

typedef struct sample {
    int64_t rows;
    gr_tensor *x; /* f32 [rows, columns], standardised */
    gr_tensor *y; /* f32 [rows]: 1 or 0; NULL if the classes are unknown */
} sample;

/* Takes elements of x's first axis, in the order of `chosen`. The result is freed with the scope
   and has no gradient. */
gr_tensor *take(gr_context *ctx, gr_tensor *x, int64_t count, const int64_t *chosen);

/* sample_of takes rows of a table. batch_of takes some of a sample. Both results are freed with the
   scope. */
sample sample_of(gr_context *ctx, const classifier *c, const table *t, row_list chosen);
sample batch_of(gr_context *ctx, const sample *s, int64_t count, const int64_t *chosen);

/* Returns the perceptron's probabilities for all samples: f32 [rows], freed with the scope. */
gr_tensor *probabilities_of(const gr_mlp *mlp, const sample *s);

#endif
