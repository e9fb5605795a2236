/* table.c - makes a table from a CSV file. All checks come before any computation. So an error in
 * the file is reported once, with line and column, before anything has happened.
 *
 * SPDX-License-Identifier: MIT
 */
#include "table.h"

#include "fail.h"

#include <stdlib.h>
#include <string.h>

static table open_table(gr_context *ctx, const char *path)
{
    gr_csv *csv = gr_csv_read(ctx, path);
    refuse_error(ctx);
    return (table){.source = path,
                   .csv = csv,
                   .rows = gr_csv_rows(csv),
                   .names = allocate(gr_csv_columns(csv), sizeof(const char *))};
}

static int64_t find_column(const table *t, const char *name, const char *why)
{
    int64_t column = gr_csv_find(t->csv, name);
    if (column < 0)
        refuse("%s: there is no column '%s'%s", t->source, name, why);
    return column;
}

static bool is_dropped(const table_request *request, const char *name)
{
    for (int i = 0; i < request->drops; i++)
        if (strcmp(request->drop[i], name) == 0)
            return true;
    return false;
}

static void choose_columns(table *t, const table_request *request)
{
    for (int i = 0; i < request->drops; i++)
        find_column(t, request->drop[i], ", which --drop names");
    if (is_dropped(request, request->target))
        refuse("--drop: '%s' is the target", request->target);
    for (int64_t i = 0; i < gr_csv_columns(t->csv); i++) {
        const char *name = gr_csv_name(t->csv, i);
        if (strcmp(name, request->target) != 0 && !is_dropped(request, name))
            t->names[t->columns++] = name;
    }
    if (t->columns == 0)
        refuse("%s: no column is left to learn from", t->source);
}

static void read_numbers(gr_context *ctx, table *t)
{
    t->x = gr_csv_tensor(t->csv, t->columns, t->names, NULL);
    refuse_error(ctx);
}

static void read_classes(table *t, int64_t target, const char *positive)
{
    t->positive = allocate(t->rows, 1);
    for (int64_t row = 0; row < t->rows; row++) {
        const char *cell = gr_csv_cell(t->csv, row, target);
        if (gr_csv_is_missing(t->csv, row, target))
            refuse("%s:%lld:%lld: column '%s' has no value", t->source,
                   (long long)gr_csv_line(t->csv, row),
                   (long long)gr_csv_column_at(t->csv, row, target), gr_csv_name(t->csv, target));
        t->positive[row] = strcmp(cell, positive) == 0;
    }
}

static void need_both_classes(const table *t, const table_request *request)
{
    int64_t positive = count_positive(t);
    if (positive == 0)
        refuse("%s: no row has '%s' in column '%s'; the first has '%.60s'", t->source,
               request->positive, request->target,
               gr_csv_cell(t->csv, 0, gr_csv_find(t->csv, request->target)));
    if (positive == t->rows)
        refuse("%s: every row has '%s' in column '%s': there is only one class", t->source,
               request->positive, request->target);
}

table table_to_train(gr_context *ctx, const table_request *request)
{
    table t = open_table(ctx, request->path);
    int64_t target = find_column(&t, request->target, ", which --target names");
    choose_columns(&t, request);
    read_classes(&t, target, request->positive);
    need_both_classes(&t, request);
    read_numbers(ctx, &t);
    return t;
}

table table_to_predict(gr_context *ctx, const char *path, int64_t columns, const char *const *names,
                       const char *target, const char *positive)
{
    table t = open_table(ctx, path);
    t.names = realloc(t.names, (size_t)columns * sizeof *t.names);
    if (!t.names)
        give_up("no memory for %lld names", (long long)columns);
    for (; t.columns < columns; t.columns++) {
        find_column(&t, names[t.columns], ", which the model was trained on");
        t.names[t.columns] = names[t.columns];
    }
    read_numbers(ctx, &t);
    int64_t at = gr_csv_find(t.csv, target);
    if (at >= 0)
        read_classes(&t, at, positive);
    return t;
}

int64_t count_positive(const table *t)
{
    int64_t count = 0;
    for (int64_t row = 0; row < t->rows; row++)
        count += t->positive[row];
    return count;
}

void table_free(table *t)
{
    gr_csv_free(t->csv);
    free(t->names);
    free(t->positive);
    *t = (table){0};
}
