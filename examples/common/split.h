/* split.h - rows set aside at random, the classes kept in proportion.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_SPLIT_H
#define EXAMPLES_SPLIT_H

#include "seeds.h"

#include <stdint.h>

/* Numbers of rows of a table, ascending. */
typedef struct row_list {
    int64_t count;
    int64_t *at;
} row_list;

row_list all_rows(int64_t count);

/* Takes `fraction` of the rows of each class, at least one, for `why`; the others stay. The same
   for the same seed, rows and classes. Refuses if a class has not two rows. */
typedef struct split {
    row_list taken, left;
} split;
split take_rows(row_list from, const unsigned char *positive, double fraction, uint64_t seed,
                purpose why);

void rows_free(row_list *r);

#endif
