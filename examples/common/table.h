/* table.h - the data of a classifier: numbers in named columns, and the positive rows.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_TABLE_H
#define EXAMPLES_TABLE_H

#include "header.h"

#include <gradus/io.h>

/* Limits the values that a model file may state. It is far more than a perceptron can use. */
#define MAX_COLUMNS 65536

/* The texts of the two classes in the target column. */
typedef struct labels {
    const char *positive, *negative;
} labels;

typedef struct table {
    const char *source; /* the file's path, or "moons" */
    header header;      /* its columns' names; none for moons */
    gr_csv *csv;        /* NULL for moons */
    int64_t rows, columns;
    const char **names;      /* names of the columns that are read */
    gr_tensor *x;            /* f64 [rows, columns] */
    unsigned char *positive; /* [rows]: 1 or 0; NULL if the classes are unknown */
    labels labels;           /* as they stand in the file; NULL where they are not asked for */
} table;

/* The data that train needs: every column except the target and the dropped ones. The target has
   exactly two labels. Any error in the file is refused, and so is a text that a model file cannot
   hold. */
typedef struct table_request {
    const char *path;
    const char *target, *positive; /* the target column, and its text in the positive rows */
    int drops;
    const char *const *drop;
} table_request;
table table_to_train(gr_context *ctx, const table_request *request);

/* The data that predict needs: these columns, in any order, and the target if the file has it. A
   label that is not known is refused. If no row has a label, the classes are unknown. */
table table_to_predict(gr_context *ctx, const char *path, int64_t columns, const char *const *names,
                       const char *target, labels known);

/* Says on stderr what separates the cells, unless it is the usual comma. */
void say_separators(const table *t);

/* Frees everything except the tensor x, which belongs to the context. */
void table_free(table *t);

/* Counts the positive rows. */
int64_t count_positive(const table *t);

/* Returns a number that tells tables with other numbers or classes, or in another order, from this
   one: FNV-1a, 64 bits, of x and positive. */
uint64_t fingerprint_of(const table *t);

#endif
