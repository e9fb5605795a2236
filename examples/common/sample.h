/* sample.h - rows of a table as a perceptron takes them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_SAMPLE_H
#define EXAMPLES_SAMPLE_H

#include "model.h"

typedef struct sample {
    int64_t rows;
    gr_tensor *x; /* f32 [rows, columns], standardised */
    gr_tensor *y; /* f32 [rows]: 1 or 0; NULL where the classes are unknown */
} sample;

/* Elements of x's first axis, in the order of `chosen`; the scope's, without gradient. */
gr_tensor *take(gr_context *ctx, gr_tensor *x, int64_t count, const int64_t *chosen);

/* Rows of a table; rows of a sample. Both are the scope's. */
sample sample_of(gr_context *ctx, const classifier *c, const table *t, row_list chosen);
sample batch_of(gr_context *ctx, const sample *s, int64_t count, const int64_t *chosen);

/* The perceptron's probabilities for all rows: f32 [rows], the scope's. */
gr_tensor *probabilities_of(const gr_mlp *mlp, const sample *s);

#endif
