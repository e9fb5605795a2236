/* model.h - a classifier: a perceptron, how its inputs are standardised, and where it comes from.
 *
 * All of it is in one safetensors file, so that a model can be used, and the split of its data
 * repeated, with nothing else at hand.
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

/* Far more than a perceptron is good for; a bound for what a file may claim. */
#define MAX_COLUMNS 65536

typedef struct classifier {
    /* What it takes and what it says. */
    int64_t columns;
    const char **names;
    const char *target, *positive;

    /* What it computes: standardise, linear layers with relu between them, a logit. */
    gr_tensor *mean, *deviation; /* f64 [columns], of the training rows */
    int layers;                  /* hidden ones */
    int64_t hidden[MAX_HIDDEN];
    gr_mlp *mlp; /* f32 */

    /* How it was trained. */
    double pos_weight;
    const char *source; /* MOONS, or "csv" */
    int64_t rows;       /* of the source */
    uint64_t seed;
    double test; /* the fraction of the rows that was held out */
} classifier;

/* A new perceptron of the classifier's sizes with random weights; and the weights of one copied to
   another of the same sizes, converted to its dtype. */
gr_mlp *new_mlp(gr_context *ctx, const classifier *c, gr_dtype dtype);
void copy_weights(gr_context *ctx, gr_mlp *to, const gr_mlp *from);

/* Sets mean and deviation from x [rows, columns]. A column that never changes has deviation 1. */
void learn_scale(classifier *c, gr_tensor *x);

/* Refuses numbers of which mean or deviation overflow. */
void need_finite_scale(const classifier *c, const char *source);

/* (x - mean) / deviation: f64 [rows, columns], the scope's. */
gr_tensor *standardise(const classifier *c, gr_tensor *x);

/* Standardised rows, of the perceptron's dtype, to logits [rows]; logits to the loss. The same two
   functions make the loss that is trained, the one that is checked, and the one that is printed. */
gr_tensor *logits_of(const gr_mlp *mlp, gr_tensor *x);
gr_tensor *loss_of(gr_tensor *logits, gr_tensor *target, double pos_weight);

/* The rows that the classifier did not see: drawn as they were before it was trained. */
split repeat_split(const classifier *c, const table *t);

void save_classifier(gr_context *ctx, const classifier *c, const char *path);

/* Refuses a file that save_classifier did not write. The archive owns the texts; the list of names
   is the caller's, to be freed. */
classifier load_classifier(gr_context *ctx, gr_archive *archive, const char *path);

#endif
