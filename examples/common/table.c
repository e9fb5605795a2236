/* table.c - makes a table from a CSV file. All checks come before any computation. So an error in
 * the file is reported once, with line and column, before anything has happened.
 *
 * SPDX-License-Identifier: MIT
 */
#include "table.h"

#include "fail.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The file -------------------------------------------------------------------------------- */

/* Reads a file whose header is known. */
static void read_file(gr_context *ctx, table *t)
{
    t->csv = gr_csv_read(ctx, t->source, .delimiter = t->header.delimiter);
    refuse_error(ctx);
    t->rows = gr_csv_rows(t->csv);
    if (gr_csv_columns(t->csv) != t->header.count)
        refuse("%s:1: the header cannot be read", t->source);
}

/* Reads the header of a file. `sought` are columns that the file should have. */
static table open_table(gr_context *ctx, const char *path, int64_t count, const char *const *sought)
{
    table t = {.source = path, .header = header_read(path, count, sought)};
    if (t.header.count == 0)
        read_file(ctx, &t); /* refuses the file and says why */
    t.names = allocate(t.header.count > count ? t.header.count : count, sizeof *t.names);
    return t;
}

/* gr_csv knows a column by its name as it stands in the file, with blanks. */
static void read_numbers(gr_context *ctx, table *t)
{
    const char **names = allocate(t->columns, sizeof *names);
    for (int64_t i = 0; i < t->columns; i++)
        names[i] = gr_csv_name(t->csv, header_find(&t->header, t->names[i]));
    t->x = gr_csv_tensor(t->csv, t->columns, names, NULL);
    free(names);
    refuse_error(ctx);
}

void say_separators(const table *t)
{
    if (t->csv && t->header.delimiter != ',')
        fprintf(stderr, "%s: the cells are separated by %s\n", t->source,
                header_separators(&t->header));
}

/* ---- Columns --------------------------------------------------------------------------------- */

static bool is_dropped(const table *t, const table_request *request, int64_t column)
{
    for (int i = 0; i < request->drops; i++)
        if (header_find(&t->header, request->drop[i]) == column)
            return true;
    return false;
}

/* A model file holds the names of the columns. */
static void need_utf8_name(const table *t, int64_t column)
{
    if (!is_utf8(t->header.names[column]))
        refuse(
            "%s:1: the name of column %lld, '%.60s', is not UTF-8; convert the file, for example "
            "with iconv -f LATIN1 -t UTF-8",
            t->source, (long long)column + 1, t->header.names[column]);
}

static void choose_columns(table *t, const table_request *request, int64_t target)
{
    for (int i = 0; i < request->drops; i++)
        header_need(&t->header, request->drop[i], "which --drop names");
    if (is_dropped(t, request, target))
        refuse("--drop: '%s' is the target", request->target);
    need_utf8_name(t, target);
    for (int64_t i = 0; i < t->header.count; i++)
        if (i != target && !is_dropped(t, request, i)) {
            need_utf8_name(t, i);
            t->names[t->columns++] = t->header.names[i];
        }
    if (t->columns == 0)
        refuse("%s: no column is left to learn from", t->source);
    if (t->columns > MAX_COLUMNS)
        refuse("%s: %lld columns to learn from; %d are possible", t->source, (long long)t->columns,
               MAX_COLUMNS);
}

/* ---- Labels ---------------------------------------------------------------------------------- */

static _Noreturn void refuse_label(const table *t, int64_t row, int64_t target, const char *what)
{
    refuse("%s:%lld:%lld: column '%.60s' %s", t->source, (long long)gr_csv_line(t->csv, row),
           (long long)gr_csv_column_at(t->csv, row, target), t->header.names[target], what);
}

static bool has_label(const table *t, int64_t row, int64_t target)
{
    return !gr_csv_is_missing(t->csv, row, target);
}

/* Returns the first row whose label is this one, or is not this one. -1 if there is none. */
static int64_t first_row(const table *t, int64_t target, const char *label, bool same)
{
    for (int64_t row = 0; row < t->rows; row++)
        if (same_label(gr_csv_cell(t->csv, row, target), label) == same)
            return row;
    return -1;
}

/* Marks the positive rows. Every row must have one of the two labels. */
static void read_classes(table *t, int64_t target, labels known)
{
    t->positive = allocate(t->rows, 1);
    for (int64_t row = 0; row < t->rows; row++) {
        const char *cell = gr_csv_cell(t->csv, row, target);
        t->positive[row] = same_label(cell, known.positive);
        if (!t->positive[row] && !same_label(cell, known.negative)) {
            char what[256];
            snprintf(what, sizeof what,
                     "has '%.60s'; the two labels that are known are '%.60s', which is positive, "
                     "and '%.60s'",
                     cell, known.positive, known.negative);
            refuse_label(t, row, target, what);
        }
    }
}

static void need_labels(const table *t, int64_t target)
{
    for (int64_t row = 0; row < t->rows; row++)
        if (!has_label(t, row, target))
            refuse_label(t, row, target, "has no value");
}

/* A model file holds the labels. */
static void need_utf8_label(const table *t, int64_t row, int64_t target)
{
    if (!is_utf8(gr_csv_cell(t->csv, row, target)))
        refuse_label(t, row, target,
                     "has a label that is not UTF-8; convert the file, for example with iconv -f "
                     "LATIN1 -t UTF-8");
}

/* The first label that is not the positive one is the negative one. */
static void learn_labels(table *t, const table_request *request, int64_t target)
{
    int64_t positive = first_row(t, target, request->positive, true);
    int64_t negative = first_row(t, target, request->positive, false);
    if (positive < 0)
        refuse("%s: no row has '%.60s' in column '%.60s'; the first has '%.60s'", t->source,
               request->positive, request->target, gr_csv_cell(t->csv, 0, target));
    if (negative < 0)
        refuse("%s: every row has '%.60s' in column '%.60s': there is only one class", t->source,
               request->positive, request->target);
    need_utf8_label(t, positive, target);
    need_utf8_label(t, negative, target);
    t->labels =
        (labels){gr_csv_cell(t->csv, positive, target), gr_csv_cell(t->csv, negative, target)};
}

/* ---- Tables ---------------------------------------------------------------------------------- */

table table_to_train(gr_context *ctx, const table_request *request)
{
    table t = open_table(ctx, request->path, 1, &request->target);
    int64_t target = header_need(&t.header, request->target, "which --target names");
    choose_columns(&t, request, target);
    read_file(ctx, &t);
    need_labels(&t, target);
    learn_labels(&t, request, target);
    read_classes(&t, target, t.labels);
    read_numbers(ctx, &t);
    return t;
}

static bool has_labels(const table *t, int64_t target)
{
    for (int64_t row = 0; target >= 0 && row < t->rows; row++)
        if (has_label(t, row, target))
            return true;
    return false;
}

table table_to_predict(gr_context *ctx, const char *path, int64_t columns, const char *const *names,
                       const char *target, labels known)
{
    table t = open_table(ctx, path, columns, names);
    for (; t.columns < columns; t.columns++) {
        header_need(&t.header, names[t.columns], "which the model was trained on");
        t.names[t.columns] = names[t.columns];
    }
    read_file(ctx, &t);
    read_numbers(ctx, &t);
    int64_t at = header_find(&t.header, target);
    if (has_labels(&t, at)) {
        need_labels(&t, at);
        read_classes(&t, at, known);
    }
    return t;
}

int64_t count_positive(const table *t)
{
    int64_t count = 0;
    for (int64_t row = 0; row < t->rows; row++)
        count += t->positive[row];
    return count;
}

static uint64_t hash_bytes(uint64_t hash, const void *bytes, int64_t count)
{
    const unsigned char *at = bytes;
    for (int64_t i = 0; i < count; i++)
        hash = (hash ^ at[i]) * UINT64_C(1099511628211);
    return hash;
}

uint64_t fingerprint_of(const table *t)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    hash = hash_bytes(hash, gr_data(t->x), t->rows * t->columns * (int64_t)sizeof(double));
    return hash_bytes(hash, t->positive, t->rows);
}

void table_free(table *t)
{
    gr_csv_free(t->csv);
    header_free(&t->header);
    free(t->names);
    free(t->positive);
    *t = (table){0};
}
