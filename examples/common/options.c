/* options.c - reads the values of command-line options. A value must be valid as a whole.
 *
 * SPDX-License-Identifier: MIT
 */
#include "options.h"

#include "fail.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
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

/* ---- Files that will be written -------------------------------------------------------------- */

/* Returns the part of a path up to its last slash. The caller frees it. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("./");
    if (!folder)
        give_up("no memory for a path");
    return folder;
}

/* Makes a file in the folder and removes it. */
static void try_folder(const char *what, const char *folder)
{
    char *name;
    if (asprintf(&name, "%s.gradus-XXXXXX", folder) < 0)
        give_up("no memory for a path");
    int file = mkostemp(name, O_CLOEXEC);
    if (file < 0)
        refuse("%s: cannot write in '%.200s': %s", what, folder, strerror(errno));
    close(file);
    unlink(name);
    free(name);
}

static void check_old_file(const char *what, const char *path)
{
    struct stat file;
    if (stat(path, &file) == 0 && S_ISDIR(file.st_mode))
        refuse("%s: '%.200s' is a folder", what, path);
    if (stat(path, &file) == 0 && !S_ISREG(file.st_mode))
        refuse("%s: '%.200s' is not a regular file", what, path);
    if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0)
        refuse("%s: cannot write '%.200s': %s", what, path, strerror(errno));
}

static bool is_link(const char *path)
{
    struct stat file;
    return lstat(path, &file) == 0 && S_ISLNK(file.st_mode);
}

void check_writable(const char *what, const char *path)
{
    if (!*path)
        refuse("%s: the file's name is empty", what);
    char *old = realpath(path, NULL);
    if (!old && errno != ENOENT)
        refuse("%s: '%.200s': %s", what, path, strerror(errno));
    if (old)
        check_old_file(what, path);
    else if (is_link(path))
        refuse("%s: '%.200s' is a symbolic link to a file that does not exist", what, path);
    char *folder = folder_of(old ? old : path);
    try_folder(what, folder);
    free(folder);
    free(old);
}

/* Returns the path without links and dots, also where the file does not exist yet. The caller frees
   it. NULL if there is no such folder. */
static char *plain_path(const char *path)
{
    char *plain = realpath(path, NULL), *folder = folder_of(path), *in = realpath(folder, NULL);
    const char *slash = strrchr(path, '/');
    if (!plain && in && asprintf(&plain, "%s/%s", in, slash ? slash + 1 : path) < 0)
        give_up("no memory for a path");
    free(folder);
    free(in);
    return plain;
}

void check_apart(const char *what, const char *path, const char *other, const char *other_path)
{
    char *a = path ? plain_path(path) : NULL, *b = other_path ? plain_path(other_path) : NULL;
    if (a && b && strcmp(a, b) == 0)
        refuse("%s: '%.200s' is the file of %s", what, path, other);
    free(a);
    free(b);
}
