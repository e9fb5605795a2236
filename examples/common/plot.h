/* plot.h - a picture of the training: the losses, and what the classifier has learned.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_PLOT_H
#define EXAMPLES_PLOT_H

#include "fit.h"

typedef struct picture {
    const history *history;
    const classifier *c;
    const table *t;
    row_list seen, held_out; /* rows of t */
    const sample *test;      /* the held-out ones */
} picture;

/* Whether gnuplot, which draws, is there. */
bool can_draw(void);

/* A PNG at path, whole or not at all. Left: the losses by epoch. Right: with two columns the
   probability over the plane, with the rows; with more the ROC curve of the held-out rows. */
void draw(gr_context *ctx, const picture *p, const char *path);

#endif
