/* model.h - a classifier: a perceptron, the scale of its inputs, and the source of its data.
 *
 * One safetensors file holds all of it. So the file alone is enough to use a model, and to repeat
 * the split of its data.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_MODEL_H
#define EXAMPLES_MODEL_H

#include "options.h"
#include "split.h"
#include "table.h"

#include <gradus/io.h>
#include <gradus/nn.h>

typedef struct classifier {
    /* Its inputs and its output. */
    int64_t columns;
    const char **names;
    const char *target; /* the column of the labels */
    labels labels;

    /* Its computation: standardise the inputs, linear layers with relu between them, one logit. */
    gr_tensor *mean, *deviation; /* f64 [columns], of the training rows */
    int layers;                  /* number of hidden layers */
    int64_t hidden[MAX_HIDDEN];
    gr_mlp *mlp; /* f32 */

    /* Its training. */
    double pos_weight;
    const char *source;   /* MOONS, or "csv" */
    int64_t rows;         /* number of rows of the source */
    char fingerprint[17]; /* of the source: 16 hexadecimal digits */
    uint64_t seed;
    double test; /* the fraction of the rows in the test set */
} classifier;

/* new_mlp makes a perceptron of the classifier's sizes with random weights. copy_weights copies the
   weights to a perceptron of the same sizes and converts them to its dtype. */
gr_mlp *new_mlp(gr_context *ctx, const classifier *c, gr_dtype dtype);
void copy_weights(gr_context *ctx, gr_mlp *to, const gr_mlp *from);

/* Sets mean and deviation from x [rows, columns]. A constant column gets deviation 1. */
void learn_scale(classifier *c, gr_tensor *x);

/* Refuses columns whose mean or deviation overflows. */
void need_finite_scale(const classifier *c, const char *source);

/* Returns (x - mean) / deviation: f64 [rows, columns], freed with the scope. */
gr_tensor *standardise(const classifier *c, gr_tensor *x);

/* logits_of takes standardised samples in the perceptron's dtype and returns logits [rows]. loss_of
   takes logits and returns the loss. These two functions make the trained loss, the checked loss
   and the printed loss. */
gr_tensor *logits_of(const gr_mlp *mlp, gr_tensor *x);
gr_tensor *loss_of(gr_tensor *logits, gr_tensor *target, double pos_weight);

/* Returns the probability from which on a row is said to be positive: 1 / (1 + pos_weight). */
double threshold_of(const classifier *c);

/* Writes the fingerprint of a table as text. */
void write_fingerprint(char text[17], const table *t);

/* Repeats the random split that was made before the training. The test rows are those that the
   classifier has not seen. Refuses a table that is not the one of the training. */
split repeat_split(const classifier *c, const table *t);

void save_classifier(gr_context *ctx, const classifier *c, const char *path);

/* Saves the classifier beside the path and removes that file again. So whatever would stop
   save_classifier is refused before the training. */
void rehearse_save(gr_context *ctx, const classifier *c, const char *path);

/* Refuses a file that save_classifier did not write. The archive owns the texts. The caller owns
   the list of names and frees it. */
classifier load_classifier(gr_context *ctx, gr_archive *archive, const char *path);

#endif
