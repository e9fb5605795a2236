/* split.h - sets rows aside at random. The classes keep their proportions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_SPLIT_H
#define EXAMPLES_SPLIT_H

#include "seeds.h"

#include <stdint.h>

/* Numbers of rows of a table, in ascending order. */
typedef struct row_list {
    int64_t count;
    int64_t *at;
} row_list;

row_list all_rows(int64_t count);

/* Takes `fraction` of the rows of each class, but at least one; the others stay. `why` is the
   purpose, for the message. Equal seeds, rows and classes give equal splits. Refuses if a class has
   fewer than two rows. */
typedef struct split {
    row_list taken, left;
} split;
split take_rows(row_list from, const unsigned char *positive, double fraction, uint64_t seed,
                purpose why);

void rows_free(row_list *r);

#endif
