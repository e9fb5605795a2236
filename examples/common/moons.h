/* moons.h - two noisy half moons that reach into each other, three times as many rows in one as in
 * the other: data that needs no file, two columns that can be drawn, and a reason for pos_weight.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_MOONS_H
#define EXAMPLES_MOONS_H

#include "table.h"

/* What stands for the file's name, the target column and its positive text. */
#define MOONS          "moons"
#define MOONS_TARGET   "moon"
#define MOONS_POSITIVE "lower"

/* The same rows for the same seed on every machine; x is ctx's. */
table table_of_moons(gr_context *ctx, uint64_t seed);

#endif
