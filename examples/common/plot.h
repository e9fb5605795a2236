/* plot.h - a picture of the training: the losses, and the trained classifier.
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
    const sample *test;      /* the held-out samples */
} picture;

/* True if gnuplot can be started. */
bool can_draw(void);

/* Writes a PNG to path, completely or not at all. The left panel shows the losses by epoch. With
   two columns, the right panel shows the probability over the plane and the rows. With more
   columns, it shows the ROC curve of the held-out rows. */
void draw(gr_context *ctx, const picture *p, const char *path);

#endif
