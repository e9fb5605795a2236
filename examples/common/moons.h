/* moons.h - data that needs no file: two noisy half moons that overlap a little. It has two
 * columns, so it can be drawn. One moon has three times as many rows as the other, because classes
 * are rarely equal.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_MOONS_H
#define EXAMPLES_MOONS_H

#include "table.h"

/* They take the place of the file's name, the target column and its two labels. */
#define MOONS          "moons"
#define MOONS_TARGET   "moon"
#define MOONS_POSITIVE "lower"
#define MOONS_NEGATIVE "upper"

/* Makes the same rows for the same seed on every machine. x belongs to ctx. */
table table_of_moons(gr_context *ctx, uint64_t seed);

#endif
