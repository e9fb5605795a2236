/* text.c - the text of names and labels.
 *
 * SPDX-License-Identifier: MIT
 */
#include "text.h"

#include "fail.h"

#include <errno.h>
#include <iconv.h>
#include <stdlib.h>
#include <string.h>

static const char blanks[] = " \t";

char *trimmed(const char *text)
{
    text += strspn(text, blanks);
    size_t length = strlen(text);
    while (length > 0 && strchr(blanks, text[length - 1]))
        length--;
    char *copy = strndup(text, length);
    if (!copy)
        give_up("no memory for a text");
    return copy;
}

/* Reads a decimal number. A text of more than 15 bytes does not count: two such numbers can differ
   and still round to one double. */
static bool is_short_number(const char *text, double *value)
{
    char *end;
    if (strlen(text) > 15 || text[strspn(text, "+-.0123456789eE")])
        return false;
    *value = strtod(text, &end); /* a point as in "C": the program never changes its locale */
    return end > text && !*end;
}

bool same_label(const char *left, const char *right)
{
    char *a = trimmed(left), *b = trimmed(right);
    double x, y;
    bool same = strcmp(a, b) == 0 || (is_short_number(a, &x) && is_short_number(b, &y) && x == y);
    free(a);
    free(b);
    return same;
}

bool is_utf8(const char *text)
{
    iconv_t reader = iconv_open("UCS-4LE", "UTF-8");
    if (reader == (iconv_t)-1)
        give_up("this system cannot read UTF-8");
    char *copy = strdup(text), *from = copy;
    if (!copy)
        give_up("no memory for a text");
    size_t left = strlen(text);
    while (left > 0) {
        char room[256], *to = room;
        size_t space = sizeof room;
        if (iconv(reader, &from, &left, &to, &space) == (size_t)-1 && errno != E2BIG)
            break;
    }
    iconv_close(reader);
    free(copy);
    return left == 0;
}
