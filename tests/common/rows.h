/* rows.h - the rows of ops.def, as arrays for the tests.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_ROWS_H
#define GRADUS_TESTS_ROWS_H

#include "tests/common/common.h"
#include <tgmath.h>

typedef enum slope_kind { SMOOTH, KINK, FLAT } slope_kind;

typedef struct unary_row {
    const char *name;
    gr_tensor *(*call)(gr_tensor *x);
    slope_kind slope;
    double low, high;
    long double (*reference)(long double x);
} unary_row;

typedef struct binary_row {
    const char *name;
    gr_tensor *(*call)(gr_tensor *a, gr_tensor *b);
    slope_kind slope;
    double low, high;
    long double (*reference)(long double a, long double b);
} binary_row;

typedef struct compare_row {
    const char *name;
    gr_tensor *(*call)(gr_tensor *a, gr_tensor *b);
    bool (*reference)(long double a, long double b);
} compare_row;

#define UNARY(f, NAME, slope, reads, pass, low, high, formula)                                     \
    static long double f##_reference(long double x) { return formula; }
#define BINARY(f, NAME, slope, low, high, formula)                                                 \
    static long double f##_reference(long double a, long double b) { return formula; }
#define LINEAR BINARY
#define COMPARE(f, NAME, formula)                                                                  \
    static bool f##_reference(long double a, long double b) { return formula; }
#include "ops/ops.def"

static const unary_row unary_rows[] = {
#define UNARY(f, NAME, slope, reads, pass, low, high, formula)                                     \
    {#f, gr_##f, slope, low, high, f##_reference},
#include "ops/ops.def"
};

static const binary_row binary_rows[] = {
#define BINARY(f, NAME, slope, low, high, formula) {#f, gr_##f, slope, low, high, f##_reference},
#define LINEAR                                     BINARY
#include "ops/ops.def"
};

static const compare_row compare_rows[] = {
#define COMPARE(f, NAME, formula) {#f, gr_##f, f##_reference},
#include "ops/ops.def"
};

/* Uses all arrays, so that no file gets a warning about an unused one. */
static inline int row_count(void)
{
    return COUNT_OF(unary_rows) + COUNT_OF(binary_rows) + COUNT_OF(compare_rows);
}

#define EACH_ROW(row, rows)                                                                        \
    for (const __typeof__(*(rows)) *row = rows; row < rows + COUNT_OF(rows); row++)

#endif
