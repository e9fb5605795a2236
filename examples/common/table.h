/* table.h - what a classifier learns from: numbers in named columns, and which rows are positive.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_TABLE_H
#define EXAMPLES_TABLE_H

#include <gradus/io.h>

typedef struct table {
    const char *source; /* the file's path, or "moons" */
    gr_csv *csv;        /* the file, which owns the names; NULL for moons */
    int64_t rows, columns;
    const char **names;      /* of the columns */
    gr_tensor *x;            /* f64 [rows, columns] */
    unsigned char *positive; /* [rows]: 1 or 0; NULL where the file has no target column */
} table;

/* What train asks for: every column but the target and the dropped ones. Both classes must be
   there. Refuses anything that is wrong with the file. */
typedef struct table_request {
    const char *path;
    const char *target, *positive; /* the column, and its text in the positive rows */
    int drops;
    const char *const *drop;
} table_request;
table table_to_train(gr_context *ctx, const table_request *request);

/* What predict asks for: these columns, and the target if the file has it. */
table table_to_predict(gr_context *ctx, const char *path, int64_t columns, const char *const *names,
                       const char *target, const char *positive);

/* The tensor x stays the context's. */
void table_free(table *t);

/* How many of the rows are positive. */
int64_t count_positive(const table *t);

#endif
