/* header.c - the names of a CSV file's columns.
 *
 * gr_csv reads the file with one delimiter, and a wrong one may fail at any row. So this looks at
 * the first record alone, before gr_csv reads the file. Quotes decide where the record ends, and
 * the delimiter does not matter for that.
 *
 * SPDX-License-Identifier: MIT
 */
#include "header.h"

#include "fail.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- The first record ------------------------------------------------------------------------ */

/* gr_csv refuses a longer record. */
static const size_t most_bytes = (size_t)16 << 20;

static void refuse_utf16(const char *path, const char *record, size_t length)
{
    if (length >= 2 && (memcmp(record, "\xff\xfe", 2) == 0 || memcmp(record, "\xfe\xff", 2) == 0))
        refuse("%s: the text is UTF-16; save it as UTF-8, for example with iconv -f UTF-16 -t "
               "UTF-8",
               path);
}

/* Copies a record without its line end. A line end inside quotes belongs to the record. */
static void copy_record(FILE *in, FILE *out)
{
    bool quoted = false;
    size_t count = 0;
    for (int byte; (byte = getc(in)) != EOF && count < most_bytes; count++) {
        quoted ^= byte == '"';
        if (!quoted && byte == '\n')
            break;
        if (quoted || byte != '\r')
            putc(byte, out);
    }
}

/* Returns the text, which is empty if the file cannot be read. The caller frees it. */
static char *first_record(const char *path)
{
    char *text = NULL;
    size_t length = 0;
    struct stat about;
    FILE *memory = open_memstream(&text, &length);
    if (!memory)
        give_up("no memory for the header of %s", path);
    /* Opening a FIFO would wait for a writer. */
    FILE *file = stat(path, &about) == 0 && S_ISREG(about.st_mode) ? fopen(path, "rb") : NULL;
    if (file) {
        copy_record(file, memory);
        fclose(file);
    }
    if (fclose(memory) != 0)
        give_up("no memory for the header of %s", path);
    refuse_utf16(path, text, length);
    if (strlen(text) < length)
        *text = '\0'; /* there is a NUL byte, which gr_csv refuses with its place */
    return text;
}

static const char *skip_mark(const char *text)
{
    return strncmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text;
}

/* ---- Names ----------------------------------------------------------------------------------- */

/* Copies the next name without its quotes. Returns the text behind it: a delimiter or the end. */
static const char *next_name(const char *text, char delimiter, char *name)
{
    bool quoted = false;
    for (; *text && (quoted || *text != delimiter); text++) {
        if (quoted && text[0] == '"' && text[1] == '"')
            *name++ = *++text;
        else if (*text == '"')
            quoted = !quoted;
        else
            *name++ = *text;
    }
    *name = '\0';
    return text;
}

static int64_t most_names(const char *text, char delimiter)
{
    int64_t count = 1;
    for (; *text; text++)
        count += *text == delimiter;
    return count;
}

static header split_names(const char *path, const char *text, char delimiter)
{
    header h = {.path = path, .delimiter = delimiter};
    int64_t room = most_names(text, delimiter);
    char *name = allocate((int64_t)strlen(text) + 1, 1);
    h.names = allocate(room, sizeof *h.names);
    h.by_name = allocate(room, sizeof *h.by_name);
    for (bool more = *text; more; text++) {
        text = next_name(text, delimiter, name);
        h.names[h.count++] = trimmed(name);
        more = *text;
    }
    free(name);
    return h;
}

static int compare_names(const void *left, const void *right, void *names)
{
    char **name = names;
    return strcmp(name[*(const int64_t *)left], name[*(const int64_t *)right]);
}

static void sort_names(header *h)
{
    for (int64_t i = 0; i < h->count; i++)
        h->by_name[i] = i;
    qsort_r(h->by_name, (size_t)h->count, sizeof *h->by_name, compare_names, h->names);
}

static void refuse_twins(const header *h)
{
    for (int64_t i = 1; i < h->count; i++)
        if (strcmp(h->names[h->by_name[i - 1]], h->names[h->by_name[i]]) == 0)
            refuse("%s:1: two columns have the name '%.60s'", h->path, h->names[h->by_name[i]]);
}

int64_t header_find(const header *h, const char *name)
{
    char *wanted = trimmed(name);
    int64_t low = 0, high = h->count, found = -1;
    while (low < high && found < 0) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(wanted, h->names[h->by_name[middle]]);
        if (order == 0)
            found = h->by_name[middle];
        else if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    free(wanted);
    return found;
}

/* ---- The delimiter --------------------------------------------------------------------------- */

static const struct {
    char byte;
    const char *plural;
} delimiters[] = {{',', "commas"}, {';', "semicolons"}, {'\t', "tabs"}, {'|', "bars"}};

enum { DELIMITERS = sizeof delimiters / sizeof *delimiters };

const char *header_separators(const header *h)
{
    int i = 0;
    while (delimiters[i].byte != h->delimiter)
        i++;
    return delimiters[i].plural;
}

static int64_t count_found(const header *h, int64_t count, const char *const *sought)
{
    int64_t found = 0;
    for (int64_t i = 0; i < count; i++)
        found += header_find(h, sought[i]) >= 0;
    return found;
}

/* Where no name is found, the number of columns decides which names a message will show. */
static bool is_better(const header *h, int64_t found, const header *best, int64_t best_found)
{
    return found > best_found || (found == 0 && best_found == 0 && h->count > best->count);
}

header header_read(const char *path, int64_t count, const char *const *sought)
{
    char *record = first_record(path);
    header best = {.path = path, .delimiter = ','};
    int64_t best_found = 0;
    for (int i = 0; i < DELIMITERS; i++) {
        header h = split_names(path, skip_mark(record), delimiters[i].byte);
        sort_names(&h);
        int64_t found = count_found(&h, count, sought);
        if (is_better(&h, found, &best, best_found)) {
            header_free(&best);
            best = h;
            best_found = found;
        } else {
            header_free(&h);
        }
    }
    free(record);
    refuse_twins(&best);
    return best;
}

/* ---- A name that is missing ------------------------------------------------------------------ */

enum { SHOWN = 12 };

static void show_names(const header *h, FILE *out)
{
    for (int64_t i = 0; i < h->count && i < SHOWN; i++)
        fprintf(out, "%s'%.40s'", i ? ", " : "", h->names[i]);
    if (h->count > SHOWN)
        fprintf(out, " and %lld more", (long long)(h->count - SHOWN));
}

int64_t header_need(const header *h, const char *name, const char *why)
{
    int64_t column = header_find(h, name);
    if (column >= 0)
        return column;
    char *list = NULL;
    size_t length;
    FILE *memory = open_memstream(&list, &length);
    if (!memory)
        give_up("no memory for a message");
    show_names(h, memory);
    if (fclose(memory) != 0)
        give_up("no memory for a message");
    refuse("%s: there is no column '%.60s', %s; separated by %s, there are: %s", h->path, name, why,
           header_separators(h), list);
}

void header_free(header *h)
{
    for (int64_t i = 0; i < h->count; i++)
        free(h->names[i]);
    free(h->names);
    free(h->by_name);
    *h = (header){0};
}
