/* shapes.c - files of every shape: the memory of the readers is bounded by the file's size, what
 * they read is right, and where memory ends they say so.
 *
 * The seeds are fixed, so each run tests the same files. With GRADUS_PEAKS in the environment, the
 * memory of each file is printed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "temp.h"

#include "io/json.h"
#include "peak.h"
#include <jansson.h>

TestSuite(shapes, .init = begin, .fini = end);

enum { MEBIBYTE = 1 << 20 };

/* ---- Random texts ---------------------------------------------------------------------------- */

static uint64_t random_state;

/* Returns a number from 0 to below - 1. */
static int random_below(int below)
{
    uint64_t bits = random_state += UINT64_C(0x9e3779b97f4a7c15);
    bits = (bits ^ bits >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ bits >> 27) * UINT64_C(0x94d049bb133111eb);
    return (int)((bits ^ bits >> 31) % (uint64_t)below);
}

static const char *one_of(const char *const *words, int count)
{
    return words[random_below(count)];
}
#define ONE_OF(words) one_of((words), (int)(sizeof(words) / sizeof *(words)))

/* A text that grows. */
typedef struct text {
    char *bytes;
    size_t count, capacity;
} text;

static void add_bytes(text *t, const char *bytes, size_t count)
{
    if (count == 0)
        return;
    if (t->count + count > t->capacity) {
        t->capacity = 2 * (t->count + count);
        t->bytes = realloc(t->bytes, t->capacity);
    }
    memcpy(t->bytes + t->count, bytes, count);
    t->count += count;
}

static void add(text *t, const char *words) { add_bytes(t, words, strlen(words)); }

/* Adds copies of an item until the text has `size` bytes, and at most `most`. '#' stands for the
   number of the copy. Returns how many there are. */
static int add_copies(text *t, const char *item, size_t size, int most)
{
    const char *mark = strchr(item, '#');
    const size_t length = strlen(item);
    int i = 0;
    for (; length > 0 && t->count < size && i < most; i++) {
        add_bytes(t, item, mark == NULL ? length : (size_t)(mark - item));
        if (mark != NULL) {
            char number[16];
            snprintf(number, sizeof number, "%d", i);
            add(t, number);
            add(t, mark + 1);
        }
    }
    return i;
}

/* A file: begin, many copies of first, middle, many copies of second, end. If second begins with
   '=', it has as many copies as first. */
typedef struct file_shape {
    const char *name, *begin, *first, *middle, *second, *end;
} file_shape;

static text text_of(const file_shape *s, size_t size)
{
    text t = {0};
    add(&t, s->begin);
    const bool same = s->second[0] == '=';
    int count = add_copies(&t, s->first, s->second[0] == '\0' ? size : size / 2, INT32_MAX);
    add(&t, s->middle);
    add_copies(&t, s->second + same, same ? SIZE_MAX : size, same ? count : INT32_MAX);
    add(&t, s->end);
    return t;
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* True if a call gave a result. Takes a context of its own, so that its peak is the call's. */
typedef bool reader(gr_context *own);

/* Returns the most memory that was held at once during a call. Sets *status to its error. */
static int64_t peak_of(reader *read, gr_status *status)
{
    const int64_t before = mallocs.live;
    mallocs.peak = before;
    gr_context *own = new_context();
    const bool accepted = read(own);
    *status = gr_error(own);
    cr_expect_eq(accepted, *status == GR_OK);
    const int64_t at_allocator = gr_memory(own).peak_bytes, at_malloc = mallocs.peak - before;
    gr_error_clear(own);
    cr_expect_eq(gr_context_free(own), GR_OK);
    return at_allocator > at_malloc ? at_allocator : at_malloc;
}

static void expect_bounded(const char *name, reader *read, size_t size, int factor)
{
    gr_status status;
    const int64_t peak = peak_of(read, &status), most = factor * (int64_t)size + MEBIBYTE;
    cr_expect(status == GR_OK || status == GR_ERROR_FORMAT, "%s: %s", name, gr_status_name(status));
    cr_expect_leq(peak, most, "%s: %lld bytes for a file of %zu", name, (long long)peak, size);
    if (getenv("GRADUS_PEAKS") != NULL)
        fprintf(stderr, "%-60.60s %s %9zu bytes, peak %5.2f times\n", name,
                status == GR_OK ? "read   " : "refused", size, (double)peak / (double)size);
}

static bool read_archive(gr_context *own)
{
    gr_archive *archive = gr_load(own, "t");
    gr_archive_free(archive);
    return archive != NULL;
}

static bool read_table(gr_context *own)
{
    gr_csv *csv = gr_csv_read(own, "t");
    gr_csv_free(csv);
    return csv != NULL;
}

static void put_header(const text *t, size_t data)
{
    const uint64_t length = t->count;
    char *bytes = calloc(8 + t->count + data, 1);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, t->bytes, t->count);
    put_file("t", bytes, 8 + t->count + data);
    free(bytes);
}

static void bounds_header(const char *name, text *t)
{
    put_header(t, 0);
    expect_bounded(name, read_archive, 8 + t->count, 3);
    free(t->bytes);
}

static void bounds_csv(const char *name, text *t)
{
    put_file("t", t->bytes, t->count);
    expect_bounded(name, read_table, t->count, 12);
    free(t->bytes);
}

/* ---- The memory of headers ------------------------------------------------------------------- */

#define ENTRY "{\"dtype\":\"\",\"shape\":[],\"data_offsets\":[0,0]}"

static const file_shape headers[] = {
    {"a list of empty lists", "{\"a\":[", "[],", "", "", "[]]}"},
    {"a list of empty objects", "{\"a\":[", "{},", "", "", "{}]}"},
    {"a list of numbers", "{\"a\":[", "1,", "", "", "1]}"},
    {"a list of strings", "{\"a\":[", "\"\",", "", "", "\"\"]}"},
    {"empty lists as a shape", "{\"a\":{\"shape\":[", "[],", "", "", "[]]}}"},
    {"a shape of a million sizes", "{\"a\":{\"shape\":[", "1,", "", "",
     "1],\"dtype\":\"\",\"data_offsets\":[0,0]}}"},
    {"a shape of zeros", "{\"a\":{\"shape\":[", "0,", "", "",
     "0],\"dtype\":\"F32\",\"data_offsets\":[0,0]}}"},
    {"many offsets", "{\"a\":{\"data_offsets\":[", "0,", "", "", "0]}}"},
    {"open brackets", "{\"a\":", "[", "", "", ""},
    {"open objects", "", "{\"a\":", "", "", ""},
    {"open braces", "", "{", "", "", ""},
    {"commas", "{", ",", "", "", "}"},
    {"colons", "{", ":", "", "", "}"},
    {"quotes", "{", "\"", "", "", "}"},
    {"backslashes", "{\"", "\\", "", "", "\"}"},
    {"blanks", "{", " ", "", "", "}"},
    {"blanks after it", "{}", " ", "", "", ""},
    {"line ends", "{", "\n", "", "", "}"},
    {"entries that are no objects", "{", "\"#\":1,", "", "", "\"a\":1}"},
    {"empty entries", "{", "\"#\":{},", "", "", "\"a\":{}}"},
    {"one entry of many keys", "{\"a\":{", "\"#\":1,", "", "", "\"a\":1}}"},
    {"a long name", "{\"", "x", "", "", "\":" ENTRY "}"},
    {"a long name of escapes", "{\"", "\\u00e9", "", "", "\":" ENTRY "}"},
    {"a name that does not end", "{\"", "x", "", "", ""},
    {"a long dtype", "{\"a\":{\"dtype\":\"", "x", "", "",
     "\",\"shape\":[],\"data_offsets\":[0,0]}}"},
    {"tensors of one name", "{", "\"\":" ENTRY ",", "", "", "\"\":" ENTRY "}"},
    {"tensors without bytes", "{", "\"#\":" ENTRY ",", "", "", "\"\":" ENTRY "}"},
    {"tensors on the same bytes", "{",
     "\"#\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]},", "", "", "\"a\":" ENTRY "}"},
    {"tensors, the last one wrong", "{", "\"#\":" ENTRY ",", "", "", "\"a\":{}}"},
    {"metadata of one empty key", "{\"__metadata__\":{", "\"\":\"\",", "", "", "\"\":\"\"}}"},
    {"metadata of short keys", "{\"__metadata__\":{", "\"#\":\"\",", "", "", "\"\":\"\"}}"},
    {"metadata that are numbers", "{\"__metadata__\":{", "\"#\":1,", "", "", "\"\":1}}"},
    {"metadata that are objects", "{\"__metadata__\":{", "\"#\":{},", "", "", "\"\":{}}}"},
    {"a long value of metadata", "{\"__metadata__\":{\"a\":\"", "x", "", "", "\"}}"},
    {"a long value of escapes", "{\"__metadata__\":{\"a\":\"", "\\n", "", "", "\"}}"},
    {"a tensor, then metadata", "{\"a\":" ENTRY ",\"__metadata__\":{", "\"\":\"\",", "", "",
     "\"\":\"\"}}"},
    {"metadata, then tensors", "{\"__metadata__\":{", "\"#\":\"\",", "\"\":\"\"},",
     "\"#\":" ENTRY ",", "\"\":" ENTRY "}"},
    {"tensors, then metadata", "{", "\"#\":" ENTRY ",", "\"__metadata__\":{", "\"\":\"\",",
     "\"\":\"\"}}"},
    {"many metadata", "{", "\"__metadata__\":{},", "", "", "\"__metadata__\":{}}"},
};

Test(shapes, bounds_the_memory_of_headers)
{
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        text t = text_of(&headers[i], 2 * MEBIBYTE);
        bounds_header(headers[i].name, &t);
    }
}

/* Random pieces, each repeated many times, after a beginning that leads into the header. */
Test(shapes, bounds_the_memory_of_random_headers)
{
    static const char *const begins[] = {"{",
                                         "{\"a\":",
                                         "{\"a\":{\"shape\":[",
                                         "{\"a\":{\"data_offsets\":",
                                         "{\"__metadata__\":{",
                                         "{\"__metadata__\":{\"a\":\"",
                                         "{\"",
                                         "{\"a\":" ENTRY ","};
    static const char *const words[] = {"[",
                                        "]",
                                        "{",
                                        "}",
                                        ",",
                                        ":",
                                        "\"",
                                        "1",
                                        "0",
                                        " ",
                                        "\\n",
                                        "\"\"",
                                        "[]",
                                        "x",
                                        "\"#\":",
                                        "{}",
                                        "-",
                                        "#",
                                        "\"a",
                                        "\\u0041",
                                        ENTRY,
                                        "\"\":\"\"",
                                        "\"#\":" ENTRY ","};
    for (int round = 0; round < 60; round++) {
        char name[64], item[256];
        random_state = (uint64_t)round;
        snprintf(name, sizeof name, "random header %d", round);
        text t = {0};
        add(&t, ONE_OF(begins));
        for (int part = 1 + random_below(3); part > 0; part--) {
            item[0] = '\0';
            for (int word = 1 + random_below(4); word > 0; word--)
                strcat(item, ONE_OF(words));
            add_copies(&t, item, t.count + MEBIBYTE, INT32_MAX);
        }
        add(&t, random_below(2) != 0 ? "}" : "\"}}");
        bounds_header(name, &t);
    }
}

/* 99 MB of empty lists: a tree of them takes 4 GB. */
Test(shapes, refuses_99_MB_of_empty_lists_at_once)
{
    text t = text_of(&headers[0], 99 * 1000 * 1000);
    bounds_header("99 MB of empty lists", &t);
}

/* What the bound is made against, so that it is known to see it: a tree of the same header. */
static bool read_tree(gr_context *own)
{
    size_t count;
    char *bytes = get_file("t", &count);
    json_t *tree = json_loadb(bytes + 8, count - 8, 0, NULL);
    json_decref(tree);
    free(bytes);
    return own != NULL && tree != NULL;
}

static bool allocate_four_times(gr_context *own)
{
    void *memory = gr_allocate(own, 16 * MEBIBYTE);
    gr_release(own, memory, 16 * MEBIBYTE);
    return memory != NULL;
}

Test(shapes, sees_memory_beyond_the_bound)
{
    gr_status status;
    text t = text_of(&headers[0], 4 * MEBIBYTE);
    put_header(&t, 0);
    const int64_t most = 3 * (int64_t)(8 + t.count) + MEBIBYTE;
    cr_expect_gt(peak_of(allocate_four_times, &status), most);
#ifndef SANITIZED
    cr_expect_gt(peak_of(read_tree, &status), 4 * most);
#else
    (void)read_tree;
#endif
    free(t.bytes);
}

/* ---- The memory of tables -------------------------------------------------------------------- */

static const file_shape tables[] = {
    {"blank lines", "a\n", "\n", "", "", ""},
    {"blank lines, then a row", "a\n", "\n", "", "", "1\n"},
    {"blank lines before the header", "", "\n", "", "", "a\n1\n"},
    {"lines of a blank", "a\n", " \n", "", "", ""},
    {"CRLFs", "a\r\n", "\r\n", "", "", ""},
    {"CRs", "a\n", "\r", "", "", ""},
    {"a column of digits", "a\n", "1\n", "", "", ""},
    {"a column of empty quoted cells", "a\n", "\"\"\n", "", "", ""},
    {"a column of line ends in quotes", "a\n", "\"\n\"\n", "", "", ""},
    {"two columns of digits", "a,b\n", "1,2\n", "", "", ""},
    {"two columns of empty cells", "a,b\n", ",\n", "", "", ""},
    {"two columns, the last row short", "a,b\n", ",\n", "", "", "1\n"},
    {"nine columns of empty cells", "a,b,c,d,e,f,g,h,i\n", ",,,,,,,,\n", "", "", ""},
    {"a long line of text", "a\n", "x", "", "", ""},
    {"a long quoted cell", "a\n\"", "x", "", "", "\"\n"},
    {"a long cell of quotes", "a\n\"", "\"\"", "", "", "\"\n"},
    {"a quote that is not closed", "a\n\"", "x\n", "", "", ""},
    {"quotes", "", "\"", "", "", ""},
    {"a long name", "", "x", "\n", "", "1\n"},
    {"a header of empty names", "", ",", "\n", "=,", "\n"},
    {"a header of one name", "a", ",a", "\n1", "=,1", "\n"},
    {"a wide header and a row", "a", ",#", "\n1", "=,", "\n"},
    {"a wide header of quoted names", "a", ",\"#\"", "\n", "=,", "\n"},
    {"a header and nothing", "a", ",#", "", "", "\n"},
    {"a row too wide", "a\n", ",", "", "", "\n"},
    {"a row too wide of quotes", "a\n", "\"\",", "", "", "\n"},
};

Test(shapes, bounds_the_memory_of_tables)
{
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        text t = text_of(&tables[i], 2 * MEBIBYTE);
        bounds_csv(tables[i].name, &t);
    }
}

/* The sizes at which an array has just doubled take the most. */
Test(shapes, bounds_the_memory_of_tables_of_every_size)
{
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        for (int eighth = 8; eighth < 16; eighth += 3) {
            text t = text_of(&tables[i], (size_t)eighth * MEBIBYTE / 8 + 4096);
            bounds_csv(tables[i].name, &t);
        }
    }
}

Test(shapes, bounds_the_memory_of_random_tables)
{
    static const char *const words[] = {",",    "\n",   "\r\n",  "\"",     "\"\"", "1",
                                        "x",    " ",    "#",     "\"\n\"", "a,b",  ",#",
                                        ",,\n", "\n\n", "\"#\"", "\"x\","};
    for (int round = 0; round < 60; round++) {
        char name[64], item[64];
        random_state = (uint64_t)round;
        snprintf(name, sizeof name, "random table %d", round);
        text t = {0};
        for (int part = 1 + random_below(3); part > 0; part--) {
            item[0] = '\0';
            for (int word = 1 + random_below(4); word > 0; word--)
                strcat(item, ONE_OF(words));
            add_copies(&t, item, t.count + MEBIBYTE, INT32_MAX);
        }
        bounds_csv(name, &t);
    }
}

/* 10^7 blank lines, and 10^7 of them before a row. */
Test(shapes, reads_ten_million_blank_lines)
{
    text t = text_of(&tables[0], 10 * 1000 * 1000);
    memcpy(t.bytes, "a\n1\n", 4);
    put_file("t", t.bytes, t.count);
    gr_status status;
    cr_expect_lt(peak_of(read_table, &status), 2 * (int64_t)t.count);
    cr_expect_eq(status, GR_OK);
    t.bytes[t.count - 1] = '2';
    put_file("t", t.bytes, t.count);
    cr_expect_null(gr_csv_read(ctx, "t"));
    expect_error(GR_ERROR_FORMAT, "csv: t:3:1: the line is blank; a row follows at line 9999998");
    free(t.bytes);
}

/* ---- What is read ---------------------------------------------------------------------------- */

enum { MOST_COLUMNS = 40 };

/* Adds a random cell to a file. Returns its text. The place of the next byte follows. */
static char *random_cell(text *t, bool header, int number, int64_t *line, int64_t *at)
{
    static const char *const bits[] = {"x", "1", " ", ",", "\"", "\n", "\r\n", "\xc3\xa9", "abc"};
    char cell[64] = "", raw[160] = "";
    if (header)
        snprintf(cell, sizeof cell, "%d.", number); /* a name of its own */
    for (int count = random_below(5); count > 0; count--)
        strcat(cell, ONE_OF(bits));
    bool quoted = random_below(4) == 0 || strpbrk(cell, ",\"\n\r") != NULL || cell[0] == '\0';
    size_t length = 0;
    raw[length] = '"';
    length += quoted;
    for (const char *byte = cell; *byte != '\0'; byte++) {
        raw[length++] = *byte;
        if (*byte == '"')
            raw[length++] = '"';
    }
    raw[length] = '"';
    length += quoted;
    add_bytes(t, raw, length);
    for (size_t i = 0; i < length; i++) {
        *line += raw[i] == '\n';
        *at = raw[i] == '\n' ? 1 : *at + 1;
    }
    return strdup(cell);
}

/* Tables of random cells: all texts, lines and columns must be those that were written. */
Test(shapes, reads_random_tables)
{
    enum { MOST_ROWS = 30, MOST_CELLS = MOST_COLUMNS * (MOST_ROWS + 1) };
    static char *cells[MOST_CELLS];
    static int64_t lines[MOST_CELLS], places[MOST_CELLS];
    for (int round = 0; round < 1000; round++) {
        random_state = (uint64_t)round;
        const int columns = 1 + random_below(MOST_COLUMNS), rows = 1 + random_below(MOST_ROWS);
        const char *const line_end = random_below(2) != 0 ? "\n" : "\r\n";
        text t = {0};
        int64_t line = 1;
        for (int row = 0; row <= rows; row++, line++) {
            int64_t at = 1;
            for (int column = 0; column < columns; column++) {
                const int i = row * columns + column;
                lines[i] = line;
                places[i] = at;
                cells[i] = random_cell(&t, row == 0, column, &line, &at);
                add(&t, column + 1 < columns ? "," : line_end);
                at++;
            }
        }
        put_file("t", t.bytes, t.count);
        gr_csv *csv = gr_csv_read(ctx, "t");
        /* A row of one cell of blanks is a blank line. */
        if (csv == NULL && columns == 1) {
            cr_expect_not_null(strstr(gr_error_message(ctx), "the line is blank"), "%s",
                               gr_error_message(ctx));
            gr_error_clear(ctx);
        } else {
            cr_assert_not_null(csv, "round %d: %s", round, gr_error_message(ctx));
            cr_expect(columns == 1 || gr_csv_rows(csv) == rows);
            for (int column = 0; column < columns; column++) {
                cr_expect_str_eq(gr_csv_name(csv, column), cells[column]);
                cr_expect_eq(gr_csv_find(csv, cells[column]), column);
            }
            for (int64_t row = 0; row < gr_csv_rows(csv); row++) {
                cr_expect_eq(gr_csv_line(csv, row), lines[(row + 1) * columns]);
                for (int column = 0; column < columns; column++) {
                    const int64_t i = (row + 1) * columns + column;
                    cr_expect_str_eq(gr_csv_cell(csv, row, column), cells[i], "round %d", round);
                    cr_expect_eq(gr_csv_column_at(csv, row, column), places[i], "round %d", round);
                }
            }
        }
        gr_csv_free(csv);
        for (int i = 0; i < columns * (rows + 1); i++)
            free(cells[i]);
        free(t.bytes);
    }
}

/* Adds a random JSON string, mostly a right one. */
static void add_string(text *t)
{
    static const char *const bits[] = {
        "a",       "b",        "\\u0041",      "\\n",     "\\\"",           "\\\\",
        "\\/",     "\xc3\xa9", "\xe2\x82\xac", "\\u00E9", "\\ud83d\\ude00", "\xf0\x9f\x98\x80",
        "\\u20ac", "c"};
    static const char *const wrong[] = {
        "\\x",     "\n",   "\xff",         "\\ud800", "\\u0000",
        "\\udc00", "\xc3", "\xed\xa0\x80", "\\u12",   "\\ud83d\\u0041"};
    add(t, "\"");
    for (int count = random_below(4); count > 0; count--)
        add(t, random_below(150) == 0 ? ONE_OF(wrong) : ONE_OF(bits));
    add(t, "\"");
}

static void add_blank(text *t)
{
    static const char *const blanks[] = {" ", "\n", "\t", "\r", "  "};
    if (random_below(12) == 0)
        add(t, ONE_OF(blanks));
}

static void add_token(text *t, const char *token)
{
    add_blank(t);
    add(t, token);
    add_blank(t);
}

static void add_metadata(text *t)
{
    static const char *const values[] = {"1", "null", "{}", "[]", "true"};
    add(t, "\"__metadata__\"");
    add_token(t, ":");
    add_token(t, "{");
    for (int count = random_below(4); count > 0; count--) {
        add_string(t);
        add_token(t, ":");
        if (random_below(40) == 0)
            add(t, ONE_OF(values));
        else
            add_string(t);
        add_token(t, count > 1 ? "," : "");
    }
    add_token(t, "}");
}

static void add_entry(text *t)
{
    static const char *const orders[] = {"dso", "sdo", "ods", "osd", "ds", "dsod", "dsox"};
    static const char *const dtypes[] = {"\"F32\"", "\"F8_E4M3\"", "\"U8\"", "\"\"", "1"};
    static const char *const shapes[] = {"[0]",  "[0,7]", "[ 3 , 0 ]", "[]",   "[2]",  "[1.0,0]",
                                         "[00]", "{}",    "[0,]",      "[,0]", "[1e3]"};
    static const char *const offsets[] = {"[0,0]", "[ 0 , 0 ]", "[0,1]", "[0]", "[0,0,0]", "0"};
    const char *order = orders[random_below(8) == 0 ? 4 + random_below(3) : random_below(4)];
    add_token(t, "{");
    for (; *order != '\0'; order++) {
        const bool odd = random_below(20) == 0;
        add(t, *order == 'd'   ? "\"dtype\""
               : *order == 's' ? "\"shape\""
               : *order == 'o' ? "\"data_offsets\""
                               : "\"x\"");
        add_token(t, ":");
        if (*order == 'd')
            add(t, dtypes[odd ? 4 : random_below(4)]);
        else if (*order == 's')
            add(t, shapes[odd ? 4 + random_below(7) : random_below(4)]);
        else
            add(t, offsets[odd ? 2 + random_below(4) : random_below(2)]);
        add_token(t, order[1] == '\0' ? "" : ",");
    }
    add_token(t, "}");
}

static text random_header(void)
{
    text t = {0};
    add(&t, "{");
    add_blank(&t);
    for (int count = random_below(4); count > 0; count--) {
        if (random_below(3) == 0) {
            add_metadata(&t);
        } else {
            add_string(&t);
            add_token(&t, ":");
            add_entry(&t);
        }
        add(&t, count > 1 ? "," : "");
        add_blank(&t);
    }
    add(&t, "}");
    if (random_below(8) == 0)
        add(&t, random_below(4) == 0 ? "\n" : "  ");
    if (random_below(4) == 0) /* one byte is another one */
        t.bytes[random_below((int)t.count)] = "{}[]\",:\\0a \x01"[random_below(12)];
    return t;
}

static bool is_whole(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0;
}

/* True if an object describes a tensor of no bytes. */
static bool describes_nothing(json_t *info)
{
    json_t *shape = json_object_get(info, "shape"), *place = json_object_get(info, "data_offsets");
    const char *dtype = json_string_value(json_object_get(info, "dtype"));
    if (json_object_size(info) != 3 || dtype == NULL || !json_is_array(shape) ||
        json_array_size(place) != 2)
        return false;
    bool known = strcmp(dtype, "F32") == 0 || strcmp(dtype, "U8") == 0, empty = false;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        if (!is_whole(json_array_get(shape, i)))
            return false;
        empty |= json_integer_value(json_array_get(shape, i)) == 0;
    }
    for (size_t i = 0; i < 2; i++) {
        if (!is_whole(json_array_get(place, i)) ||
            json_integer_value(json_array_get(place, i)) != 0)
            return false;
    }
    return empty || !known;
}

/* Returns jansson's tree of a header of no data, if it is one of this format. Else NULL. */
static json_t *judge(const text *t)
{
    const char *key;
    json_t *value, *text_value;
    size_t length = t->count;
    while (length > 0 && t->bytes[length - 1] == ' ')
        length--;
    if (length == 0 || t->bytes[0] != '{' || t->bytes[length - 1] != '}')
        return NULL;
    json_t *root = json_loadb(t->bytes, length, JSON_REJECT_DUPLICATES, NULL);
    bool right = root != NULL;
    json_object_foreach(root, key, value)
    {
        if (strcmp(key, "__metadata__") != 0) {
            right = right && describes_nothing(value);
            continue;
        }
        const char *inner;
        right = right && json_is_object(value);
        json_object_foreach(value, inner, text_value) right = right && json_is_string(text_value);
    }
    if (!right)
        json_decref(root);
    return right ? root : NULL;
}

static void expect_same_content(json_t *root, gr_archive *archive, int round)
{
    const char *key;
    json_t *value;
    json_t *metadata = json_object_get(root, "__metadata__");
    cr_expect_eq(gr_archive_count(archive), (int64_t)json_object_size(root) - (metadata != NULL),
                 "round %d", round);
    json_object_foreach(metadata, key, value)
    {
        const char *found = gr_archive_metadata(archive, key);
        cr_expect(found != NULL && strcmp(found, json_string_value(value)) == 0, "round %d", round);
    }
    for (int64_t i = 0; i < gr_archive_count(archive); i++) {
        json_t *info = json_object_get(root, gr_archive_name(archive, i));
        json_t *shape = json_object_get(info, "shape");
        cr_assert_not_null(info, "round %d: %s", round, gr_archive_name(archive, i));
        cr_expect_str_eq(gr_archive_dtype(archive, i),
                         json_string_value(json_object_get(info, "dtype")));
        cr_expect_eq(gr_archive_ndim(archive, i), (int)json_array_size(shape));
        for (int axis = 0; axis < gr_archive_ndim(archive, i); axis++)
            cr_expect_eq(gr_archive_size(archive, i, axis),
                         json_integer_value(json_array_get(shape, (size_t)axis)));
    }
}

/* gr_load accepts a header exactly if jansson's tree of it has the format, and reads the same. */
Test(shapes, reads_headers_as_jansson_does)
{
    int accepted = 0, refused = 0;
    for (int round = 0; round < 20000; round++) {
        random_state = (uint64_t)round << 20;
        text t = random_header();
        put_header(&t, 0);
        json_t *root = judge(&t);
        gr_archive *archive = gr_load(ctx, "t");
        cr_assert_eq(archive != NULL, root != NULL, "round %d: %s: %.*s", round,
                     gr_error_message(ctx), (int)t.count, t.bytes);
        cr_assert_eq(gr_error(ctx), root != NULL ? GR_OK : GR_ERROR_FORMAT);
        if (archive != NULL)
            expect_same_content(root, archive, round);
        accepted += archive != NULL;
        refused += archive == NULL;
        gr_error_clear(ctx);
        gr_archive_free(archive);
        json_decref(root);
        free(t.bytes);
    }
    cr_expect_gt(accepted, 4000, "%d", accepted);
    cr_expect_gt(refused, 4000, "%d", refused);
}

/* A character that is cut at the end of a text is not completed by what lies behind it. */
Test(shapes, reads_no_byte_behind_a_text)
{
    static const char *const characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (int length = 1; length <= 4; length++) {
        for (int left = 1; left <= 5; left++)
            cr_expect_eq(gr_utf8_length(characters[length - 1], left), length <= left ? length : 0);
    }
}

/* What gr_save writes, jansson reads back: a name of each character below U+0300. */
Test(shapes, writes_json_that_jansson_reads)
{
    enum { CODES = 0x300 };
    static char names[CODES][4];
    static gr_named_tensor tensors[CODES];
    static gr_metadata metadata[CODES];
    gr_tensor *empty = gr_zeros(ctx, GR_F32, gr_shape(0));
    for (int code = 1; code < CODES; code++) {
        names[code][0] = (char)(code < 0x80 ? code : 0xc0 | code >> 6);
        names[code][1] = (char)(code < 0x80 ? 0 : 0x80 | (code & 0x3f));
        tensors[code] = (gr_named_tensor){names[code], empty};
        metadata[code] = (gr_metadata){names[code], names[code]};
    }
    cr_assert_eq(gr_save(ctx, "t", CODES - 1, tensors + 1, CODES - 1, metadata + 1), GR_OK);
    size_t count;
    char *bytes = get_file("t", &count);
    json_t *root = json_loadb(bytes + 8, count - 8, JSON_REJECT_DUPLICATES, NULL);
    json_t *texts = json_object_get(root, "__metadata__");
    cr_expect_eq(json_object_size(root), CODES);
    cr_expect_eq(json_object_size(texts), 2 * (CODES - 1));
    for (int code = 1; code < CODES; code++) {
        const char *value = json_string_value(json_object_get(texts, names[code]));
        cr_expect_not_null(json_object_get(root, names[code]), "U+%04X", (unsigned)code);
        cr_expect(value != NULL && strcmp(value, names[code]) == 0, "U+%04X", (unsigned)code);
    }
    json_decref(root);
    free(bytes);
}

/* ---- Out of memory --------------------------------------------------------------------------- */

#ifndef SANITIZED
/* malloc itself fails, at every call: in libc, for a sort or a locale. */
static void survives_failed_mallocs(const char *name, reader *read)
{
    int failures = 0;
    for (bool reached = true; reached; failures++) {
        gr_context *own = new_context();
        mallocs.calls = 0;
        mallocs.fail_at = failures + 1;
        const bool accepted = read(own);
        reached = mallocs.calls > failures;
        mallocs.fail_at = 0;
        const gr_status status = gr_error(own);
        cr_expect(accepted ? status == GR_OK : status == GR_ERROR_MEMORY, "%s, malloc %d: %s", name,
                  failures, gr_error_message(own));
        gr_error_clear(own);
        cr_expect_eq(gr_context_free(own), GR_OK);
    }
    cr_expect_gt(failures, 1, "%s: malloc is not called: nothing was tested", name);
}

Test(shapes, survives_every_failed_malloc)
{
    const file_shape many = {.begin = "{",
                             .first = "\"#\":" ENTRY ",",
                             .middle = "",
                             .second = "",
                             .end = "\"\":" ENTRY "}"};
    const file_shape wide = {
        .begin = "a", .first = ",#", .middle = "\n", .second = "=,", .end = "\n"};
    text t = text_of(&many, 100000);
    put_header(&t, 0);
    survives_failed_mallocs("tensors", read_archive);
    free(t.bytes);
    t = text_of(&wide, 100000);
    put_file("t", t.bytes, t.count);
    survives_failed_mallocs("table", read_table);
    free(t.bytes);
}
#endif
