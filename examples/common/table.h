/* table.h - the data of a classifier: numbers in named columns, and the positive rows.
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
    const char **names;      /* names of the columns */
    gr_tensor *x;            /* f64 [rows, columns] */
    unsigned char *positive; /* [rows]: 1 or 0; NULL if the file has no target column */
} table;

/* The data that train needs: every column except the target and the dropped ones. Both classes must
   occur. Any error in the file is refused. */
typedef struct table_request {
    const char *path;
    const char *target, *positive; /* the target column, and its text in the positive rows */
    int drops;
    const char *const *drop;
} table_request;
table table_to_train(gr_context *ctx, const table_request *request);

/* The data that predict needs: these columns, and the target if the file has it. */
table table_to_predict(gr_context *ctx, const char *path, int64_t columns, const char *const *names,
                       const char *target, const char *positive);

/* Frees everything except the tensor x, which belongs to the context. */
void table_free(table *t);

/* Counts the positive rows. */
int64_t count_positive(const table *t);

#endif
