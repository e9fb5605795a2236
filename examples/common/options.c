/* options.c - reads the values of command-line options. A value must be valid as a whole.
 *
 * SPDX-License-Identifier: MIT
 */
#include "options.h"

#include "fail.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* strtoll and strtod skip blanks, but an option's value must not begin with one. */
static bool starts_well(const char *text) { return *text && !isspace((unsigned char)*text); }

int64_t read_integer(const char *what, const char *text, int64_t low, int64_t high)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (!starts_well(text) || *end || errno || value < low || value > high)
        refuse("%s: '%.60s' is not a whole number from %lld to %lld", what, text, (long long)low,
               (long long)high);
    return value;
}

double read_number(const char *what, const char *text, double low, double high)
{
    char *end;
    double value = strtod(text, &end); /* a point as in "C": the program never changes its locale */
    if (!starts_well(text) || *end || !(value > low && value < high))
        refuse("%s: '%.60s' is not a number above %g and below %g", what, text, low, high);
    return value;
}

int read_sizes(const char *what, const char *text, int64_t sizes[MAX_HIDDEN])
{
    if (strcmp(text, "none") == 0)
        return 0;
    for (int count = 0;; count++) {
        if (count == MAX_HIDDEN)
            refuse("%s: more than %d sizes", what, MAX_HIDDEN);
        size_t length = strcspn(text, ",");
        char size[16];
        snprintf(size, sizeof size, "%.*s", (int)(length < 15 ? length : 15), text);
        sizes[count] = read_integer(what, size, 1, MAX_UNITS);
        if (!text[length])
            return count + 1;
        text += length + 1;
    }
}

void check_writable(const char *what, const char *path)
{
    struct stat file;
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!folder)
        give_up("no memory");
    if (!*path)
        refuse("%s: the file's name is empty", what);
    if (stat(path, &file) == 0 && S_ISDIR(file.st_mode))
        refuse("%s: '%s' is a folder", what, path);
    if (access(folder, W_OK | X_OK) != 0)
        refuse("%s: cannot write in '%s': %s", what, folder, strerror(errno));
    free(folder);
}
