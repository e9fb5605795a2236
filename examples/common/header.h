/* header.h - the names of a CSV file's columns, as a person means them: whatever separates them,
 * and without the blanks around them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_HEADER_H
#define EXAMPLES_HEADER_H

#include <stdint.h>

typedef struct header {
    const char *path;
    char delimiter;
    int64_t count; /* 0 if the file cannot be read or is empty */
    char **names;
    int64_t *by_name; /* the columns, sorted by name */
} header;

/* Reads the first record of a file. The delimiter is guessed: of comma, semicolon, tab and bar, it
   is the one that yields the most of the sought names. A comma wins a tie. So a file with commas is
   always read with commas. Refuses two columns with one name, and a file in UTF-16. */
header header_read(const char *path, int64_t count, const char *const *sought);

/* Returns the column of a name, or -1. header_need refuses a name that is not there, and says which
   are; `why` is part of its message. */
int64_t header_find(const header *h, const char *name);
int64_t header_need(const header *h, const char *name, const char *why);

/* Returns "commas", "semicolons", "tabs" or "bars". */
const char *header_separators(const header *h);

void header_free(header *h);

#endif
