/* csv.c - text tables with named columns, in the format of RFC 4180.
 *
 * The file is read once, in pieces of 64 KiB. Each byte goes through a state machine. The text of a
 * cell, without its quotes, is appended to one growing array and ends there with a NUL. Each byte
 * adds at most one byte to the array, so one allocation for each piece is enough. Each row after
 * the header has as many cells as the header. So cell (row, column) needs no index.
 *
 * For messages, the reader keeps the line where each row begins, and the column of each cell in
 * bytes. The line of a cell follows from these, because inside a row only quoted cells contain line
 * ends.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/file.h"

#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 16 };
static const int64_t most_max_line = INT32_MAX; /* a place in a record must fit in 32 bits */

/* An array that doubles when it is full. It counts bytes. */
typedef struct array {
    char *bytes;
    int64_t count, capacity;
} array;

typedef struct cell {
    uint32_t text;   /* offset from the row's text */
    uint32_t column; /* in its line, from 1 */
} cell;

typedef struct row {
    int64_t text; /* where the text of its first cell begins */
    int64_t line; /* counted from 1 */
} row;

struct gr_csv {
    gr_context *ctx;
    locale_t c_locale;
    array path, text, cells, rows; /* the first row is the header */
    int64_t columns;
    array by_name; /* the columns, int64_t, sorted by name and number */
};

/* ---- Memory ---------------------------------------------------------------------------------- */

static bool reserve(gr_context *ctx, array *a, int64_t more)
{
    if (a->capacity - a->count >= more)
        return true;
    int64_t capacity = 2 * a->capacity > a->count + more ? 2 * a->capacity : a->count + more;
    char *bytes = gr_allocate(ctx, capacity);
    if (bytes == NULL)
        return false;
    if (a->count > 0)
        memcpy(bytes, a->bytes, (size_t)a->count);
    gr_release(ctx, a->bytes, a->capacity);
    a->bytes = bytes;
    a->capacity = capacity;
    return true;
}

static bool append(gr_context *ctx, array *a, const void *item, int64_t size)
{
    if (!reserve(ctx, a, size))
        return false;
    memcpy(a->bytes + a->count, item, (size_t)size);
    a->count += size;
    return true;
}

static void drop(gr_context *ctx, array *a)
{
    gr_release(ctx, a->bytes, a->capacity);
    *a = (array){0};
}

void gr_csv_free(gr_csv *csv)
{
    if (csv == NULL)
        return;
    gr_context *ctx = csv->ctx;
    array *arrays[] = {&csv->path, &csv->text, &csv->cells, &csv->rows, &csv->by_name};
    for (int i = 0; i < 5; i++)
        drop(ctx, arrays[i]);
    if (csv->c_locale != (locale_t)0)
        freelocale(csv->c_locale);
    gr_release(ctx, csv, sizeof *csv);
}

static gr_csv *new_table(gr_context *ctx, const char *path)
{
    gr_csv *csv = gr_allocate(ctx, sizeof *csv);
    if (csv == NULL)
        return NULL;
    *csv = (gr_csv){.ctx = ctx, .c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0)};
    if (csv->c_locale == (locale_t)0)
        gr_fail(ctx, GR_ERROR_MEMORY, "csv", "there is no memory for a locale");
    else if (append(ctx, &csv->path, path, (int64_t)strlen(path) + 1))
        return csv;
    gr_csv_free(csv);
    return NULL;
}

/* ---- The machine ----------------------------------------------------------------------------- */

enum state {
    CELL_BEGINS,
    IN_BARE, /* in a cell without quotes */
    IN_QUOTES,
    AFTER_QUOTE, /* after a quote in a quoted cell: its end, or the first half of "" */
    AFTER_RETURN /* after a CR outside quotes: LF must follow */
};

typedef struct reader {
    gr_csv *csv;
    gr_context *ctx;
    char delimiter;
    int64_t max_line;
    enum state state;
    int64_t line, column; /* of the current byte */
    int64_t length;       /* of the record so far */
    int64_t cell_count;   /* cells of the record that have ended */
    row row;
    cell cell;
    int64_t quote_line; /* where the last quoted cell began */
} reader;

#define COMPLAIN(r, at_line, at_column, ...)                                                       \
    complain((r)->ctx, (r)->csv->path.bytes, at_line, at_column, __VA_ARGS__)

static bool complain(gr_context *ctx, const char *path, int64_t line, int64_t column,
                     const char *what, ...) GR_PRINTF(5, 6);

/* Raises FORMAT: "PATH:LINE:COLUMN: WHAT". */
static bool complain(gr_context *ctx, const char *path, int64_t line, int64_t column,
                     const char *what, ...)
{
    char text[256];
    va_list list;
    va_start(list, what);
    vsnprintf(text, sizeof text, what, list);
    va_end(list);
    gr_fail(ctx, GR_ERROR_FORMAT, "csv", "%s:%lld:%lld: %s", gr_show_path(path), (long long)line,
            (long long)column, text);
    return false;
}

static bool too_long(const reader *r)
{
    if (r->state == IN_QUOTES || r->state == AFTER_QUOTE)
        return COMPLAIN(r, r->line, r->column,
                        "record is longer than %lld bytes; a quote was opened at %lld:%u",
                        (long long)r->max_line, (long long)r->quote_line, r->cell.column);
    return COMPLAIN(r, r->line, r->column, "record is longer than %lld bytes",
                    (long long)r->max_line);
}

static void put(reader *r, char byte)
{
    array *text = &r->csv->text;
    text->bytes[text->count++] = byte;
}

static void begin_cell(reader *r, int64_t column)
{
    r->state = CELL_BEGINS;
    r->cell.text = (uint32_t)(r->csv->text.count - r->row.text);
    r->cell.column = (uint32_t)column;
}

static void begin_row(reader *r)
{
    r->row = (row){r->csv->text.count, r->line};
    r->length = r->cell_count = 0;
    begin_cell(r, 1);
}

/* Ends a cell. Cells beyond the header's columns are only counted. */
static bool end_cell(reader *r)
{
    gr_csv *csv = r->csv;
    put(r, '\0');
    r->cell_count++;
    if (csv->rows.count > 0 && r->cell_count > csv->columns)
        return true;
    return append(r->ctx, &csv->cells, &r->cell, sizeof r->cell);
}

static bool end_row(reader *r)
{
    gr_csv *csv = r->csv;
    if (!end_cell(r))
        return false;
    if (csv->rows.count == 0)
        csv->columns = r->cell_count;
    if (r->cell_count != csv->columns)
        return COMPLAIN(r, r->row.line, 1, "row has %lld cell%s, the header has %lld",
                        (long long)r->cell_count, r->cell_count == 1 ? "" : "s",
                        (long long)csv->columns);
    return append(r->ctx, &csv->rows, &r->row, sizeof r->row);
}

static void next_line(reader *r)
{
    r->line++;
    r->column = 0; /* the current byte ends a line, so the next byte has column 1 */
}

/* Takes a byte inside quotes. Line ends there are part of the cell and stay unchanged. */
static bool take_quoted(reader *r, char byte)
{
    if (byte == '"') {
        r->state = AFTER_QUOTE;
        return true;
    }
    put(r, byte);
    if (byte == '\n')
        next_line(r);
    return true;
}

static bool take_quote(reader *r)
{
    if (r->state == IN_BARE)
        return COMPLAIN(r, r->line, r->column,
                        "a quote inside a cell that does not begin with one");
    if (r->state == AFTER_QUOTE)
        put(r, '"');
    else
        r->quote_line = r->line;
    r->state = IN_QUOTES;
    return true;
}

/* Takes the end of a line outside quotes: CR LF or LF. */
static bool take_line_end(reader *r, char byte)
{
    if (byte == '\r') {
        r->state = AFTER_RETURN;
        return true;
    }
    if (!end_row(r))
        return false;
    next_line(r);
    begin_row(r);
    return true;
}

static bool take_other(reader *r, char byte)
{
    if (r->state == AFTER_QUOTE)
        return COMPLAIN(r, r->line, r->column, "text behind a closing quote");
    r->state = IN_BARE;
    put(r, byte);
    return true;
}

static bool take(reader *r, char byte)
{
    if (byte == '\0')
        return COMPLAIN(r, r->line, r->column, "a NUL byte");
    if (r->state == AFTER_RETURN && byte != '\n')
        return COMPLAIN(r, r->line, r->column, "a carriage return without a line feed");
    if (r->state != IN_QUOTES && (byte == '\n' || byte == '\r'))
        return take_line_end(r, byte);
    if (++r->length > r->max_line)
        return too_long(r);
    if (r->state == IN_QUOTES)
        return take_quoted(r, byte);
    if (byte == '"')
        return take_quote(r);
    if (byte != r->delimiter)
        return take_other(r, byte);
    if (!end_cell(r))
        return false;
    begin_cell(r, r->column + 1);
    return true;
}

/* Takes the end of the file. A last record without a line end also ends here. */
static bool take_end(reader *r)
{
    array *rows = &r->csv->rows;
    bool nothing_begun = r->state == CELL_BEGINS && r->length == 0;
    if (rows->count == 0 && nothing_begun)
        return COMPLAIN(r, 1, 1, "the file is empty");
    if (r->state == IN_QUOTES)
        return COMPLAIN(r, r->quote_line, r->cell.column, "a quote that is not closed");
    if (r->state == AFTER_RETURN)
        return COMPLAIN(r, r->line, r->column, "a carriage return without a line feed");
    if (!nothing_begun) {
        if (!reserve(r->ctx, &r->csv->text, 1) || !end_row(r))
            return false;
        next_line(r);
    }
    if (rows->count == (int64_t)sizeof(row))
        return COMPLAIN(r, r->line, 1, "no row follows the header");
    return true;
}

/* Takes one piece. In the first piece it skips the byte order mark. */
static bool take_piece(reader *r, const char *piece, int64_t count, bool first)
{
    int64_t i = first && count >= 3 && memcmp(piece, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    if (!reserve(r->ctx, &r->csv->text, count + 1))
        return false;
    for (; i < count; i++) {
        if (!take(r, piece[i]))
            return false;
        r->column++;
    }
    return true;
}

static bool read_records(reader *r, gr_input *in, char *piece)
{
    begin_row(r);
    int64_t count = PIECE;
    for (bool first = true; count == PIECE; first = false) {
        count = gr_input_read(in, piece, PIECE);
        if (count < 0 || !take_piece(r, piece, count, first))
            return false;
    }
    return take_end(r);
}

/* ---- Names ----------------------------------------------------------------------------------- */

static const row *row_at(const gr_csv *csv, int64_t i) { return (const row *)csv->rows.bytes + i; }

/* Row 0 is the header here. */
static const cell *cell_at(const gr_csv *csv, int64_t i, int64_t column)
{
    return (const cell *)csv->cells.bytes + i * csv->columns + column;
}

static const char *text_at(const gr_csv *csv, int64_t i, int64_t column)
{
    return csv->text.bytes + row_at(csv, i)->text + cell_at(csv, i, column)->text;
}

/* Returns the line of a cell: the line of its row, plus the line ends in the cells before it. */
static int64_t line_at(const gr_csv *csv, int64_t i, int64_t column)
{
    int64_t line = row_at(csv, i)->line;
    const char *text = text_at(csv, i, 0), *end = text_at(csv, i, column);
    for (; text < end; text++)
        line += *text == '\n';
    return line;
}

static int compare_columns(const void *a, const void *b, void *data)
{
    int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    const gr_csv *csv = data;
    int order = strcmp(text_at(csv, 0, i), text_at(csv, 0, j));
    return order != 0 ? order : (i > j) - (i < j);
}

/* Sorts the columns by name. Refuses two columns with the same name. */
static bool index_names(gr_csv *csv)
{
    if (!reserve(csv->ctx, &csv->by_name, csv->columns * (int64_t)sizeof(int64_t)))
        return false;
    int64_t *by_name = (int64_t *)csv->by_name.bytes, twice = csv->columns;
    for (int64_t i = 0; i < csv->columns; i++)
        by_name[i] = i;
    qsort_r(by_name, (size_t)csv->columns, sizeof *by_name, compare_columns, csv);
    for (int64_t i = 1; i < csv->columns; i++) {
        bool same = strcmp(text_at(csv, 0, by_name[i - 1]), text_at(csv, 0, by_name[i])) == 0;
        if (same && by_name[i] < twice)
            twice = by_name[i];
    }
    if (twice == csv->columns)
        return true;
    return complain(csv->ctx, csv->path.bytes, line_at(csv, 0, twice),
                    cell_at(csv, 0, twice)->column, "a second column of the name '%s'",
                    gr_show(text_at(csv, 0, twice)).text);
}

/* ---- Reading a file -------------------------------------------------------------------------- */

static bool args_are_right(gr_context *ctx, const gr_csv_args *args)
{
    if (args == NULL || args->path == NULL)
        gr_fail(ctx, GR_ERROR_NULL, "csv", "path is NULL");
    else if (!gr_check_defaults(ctx, "csv", args->from_defaults, "csv"))
        return false;
    else if (strchr("\"\r\n", args->delimiter) != NULL) /* the text's end counts: a NUL */
        gr_fail(ctx, GR_ERROR_ARGUMENT, "csv", "the delimiter is a NUL, a quote or a line end");
    else if (args->max_line < 1 || args->max_line > most_max_line)
        gr_fail(ctx, GR_ERROR_ARGUMENT, "csv", "max_line is %lld, not from 1 to %lld",
                (long long)args->max_line, (long long)most_max_line);
    else
        return true;
    return false;
}

static bool fill_table(gr_csv *csv, const gr_csv_args *args, gr_input *in)
{
    reader r = {.csv = csv,
                .ctx = csv->ctx,
                .delimiter = args->delimiter,
                .max_line = args->max_line,
                .line = 1,
                .column = 1};
    char *piece = gr_allocate(csv->ctx, PIECE);
    if (piece == NULL)
        return false;
    bool filled = read_records(&r, in, piece) && index_names(csv);
    gr_release(csv->ctx, piece, PIECE);
    return filled;
}

gr_csv_args gr_csv_defaults(void) { return (gr_csv_args){GR_CSV_DEFAULTS}; }

gr_csv *gr_csv_read_with(gr_context *ctx, const gr_csv_args *args)
{
    gr_input in;
    gr_csv *csv = NULL;
    if (!gr_io_ready(ctx))
        return NULL;
    if (args_are_right(ctx, args) && gr_input_open(&in, ctx, "csv", args->path)) {
        csv = new_table(ctx, args->path);
        if (csv != NULL && !fill_table(csv, args, &in)) {
            gr_csv_free(csv);
            csv = NULL;
        }
        gr_input_close(&in);
    }
    (void)gr_finish(ctx);
    return csv;
}

/* ---- Looking at a table ---------------------------------------------------------------------- */

static bool has_column(const gr_csv *csv, int64_t column)
{
    return csv != NULL && column >= 0 && column < csv->columns;
}

static bool has_cell(const gr_csv *csv, int64_t i, int64_t column)
{
    return has_column(csv, column) && i >= 0 && i < gr_csv_rows(csv);
}

int64_t gr_csv_rows(const gr_csv *csv)
{
    return csv == NULL ? 0 : csv->rows.count / (int64_t)sizeof(row) - 1;
}

int64_t gr_csv_columns(const gr_csv *csv) { return csv == NULL ? 0 : csv->columns; }

const char *gr_csv_name(const gr_csv *csv, int64_t column)
{
    return has_column(csv, column) ? text_at(csv, 0, column) : NULL;
}

int64_t gr_csv_find(const gr_csv *csv, const char *name)
{
    if (csv == NULL || name == NULL)
        return -1;
    const int64_t *by_name = (const int64_t *)csv->by_name.bytes;
    int64_t low = 0, high = csv->columns;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(name, text_at(csv, 0, by_name[middle]));
        if (order == 0)
            return by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

const char *gr_csv_cell(const gr_csv *csv, int64_t i, int64_t column)
{
    return has_cell(csv, i, column) ? text_at(csv, i + 1, column) : NULL;
}

int64_t gr_csv_line(const gr_csv *csv, int64_t i)
{
    return has_cell(csv, i, 0) ? row_at(csv, i + 1)->line : 0;
}

int64_t gr_csv_column_at(const gr_csv *csv, int64_t i, int64_t column)
{
    return has_cell(csv, i, column) ? cell_at(csv, i + 1, column)->column : 0;
}

/* ---- Numbers --------------------------------------------------------------------------------- */

/* The text of a cell without blanks around it. */
typedef struct trimmed {
    const char *text;
    size_t length;
} trimmed;

static bool is_blank(char byte) { return byte == ' ' || byte == '\t'; }

static trimmed trim(const char *text)
{
    while (is_blank(*text))
        text++;
    size_t length = strlen(text);
    while (length > 0 && is_blank(text[length - 1]))
        length--;
    return (trimmed){text, length};
}

static bool says_missing(trimmed t)
{
    static const char *const words[] = {"", "NA", "N/A", "?"};
    for (int i = 0; i < 4; i++) {
        if (strlen(words[i]) == t.length && memcmp(words[i], t.text, t.length) == 0)
            return true;
    }
    return false;
}

bool gr_csv_is_missing(const gr_csv *csv, int64_t i, int64_t column)
{
    return !has_cell(csv, i, column) || says_missing(trim(text_at(csv, i + 1, column)));
}

static size_t count_digits(const char *text) { return strspn(text, "0123456789"); }

/* True for [+-] digits [. digits] [e [+-] digits], with a digit before or after the point. strtod
   also takes hexadecimal, "inf" and "nan"; this refuses them. */
static bool is_decimal(trimmed t)
{
    const char *at = t.text;
    at += *at == '+' || *at == '-';
    size_t digits = count_digits(at);
    at += digits;
    if (*at == '.') {
        size_t behind = count_digits(++at);
        digits += behind;
        at += behind;
    }
    if (digits == 0)
        return false;
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '+' || *at == '-';
        digits = count_digits(at);
        at += digits;
    }
    return digits > 0 && at == t.text + t.length;
}

static bool refuse_cell(const gr_csv *csv, int64_t i, int64_t column, const char *what)
{
    return complain(csv->ctx, csv->path.bytes, line_at(csv, i + 1, column),
                    cell_at(csv, i + 1, column)->column, "'%s' is %s (column %s)",
                    gr_show(text_at(csv, i + 1, column)).text, what,
                    gr_show(text_at(csv, 0, column)).text);
}

static bool to_number(const gr_csv *csv, int64_t i, int64_t column, const double *missing,
                      double *value)
{
    trimmed t = trim(text_at(csv, i + 1, column));
    if (says_missing(t)) {
        if (missing == NULL)
            return refuse_cell(csv, i, column, "a missing value");
        *value = *missing;
        return true;
    }
    if (!is_decimal(t))
        return refuse_cell(csv, i, column, "not a number");
    double number = strtod_l(t.text, NULL, csv->c_locale);
    if (!isfinite(number))
        return refuse_cell(csv, i, column, "too large for a number");
    *value = number;
    return true;
}

gr_status gr_csv_number(const gr_csv *csv, int64_t i, int64_t column, double *value)
{
    if (csv == NULL)
        return GR_ERROR_NULL;
    if (value == NULL)
        gr_fail(csv->ctx, GR_ERROR_NULL, "csv", "value is NULL");
    else if (!has_cell(csv, i, column))
        gr_fail(csv->ctx, GR_ERROR_ARGUMENT, "csv",
                "%s: there is no cell at row %lld, column %lld of %lld rows, %lld columns",
                gr_show_path(csv->path.bytes), (long long)i, (long long)column,
                (long long)gr_csv_rows(csv), (long long)csv->columns);
    else
        (void)to_number(csv, i, column, NULL, value);
    return gr_finish(csv->ctx);
}

/* Fills column j of `out`, which has `stride` columns. */
static bool fill_column(const gr_csv *csv, const char *name, const double *missing, double *out,
                        int64_t stride)
{
    if (name == NULL) {
        gr_fail(csv->ctx, GR_ERROR_NULL, "csv", "a name is NULL");
        return false;
    }
    int64_t column = gr_csv_find(csv, name);
    if (column < 0) {
        gr_fail(csv->ctx, GR_ERROR_ARGUMENT, "csv", "%s: there is no column '%s'",
                gr_show_path(csv->path.bytes), gr_show(name).text);
        return false;
    }
    for (int64_t i = 0; i < gr_csv_rows(csv); i++) {
        if (!to_number(csv, i, column, missing, out + i * stride))
            return false;
    }
    return true;
}

gr_tensor *gr_csv_tensor(const gr_csv *csv, int64_t count, const char *const *names,
                         const double *missing)
{
    if (csv == NULL)
        return gr_null_context.failed;
    gr_context *ctx = csv->ctx;
    if (!gr_io_ready(ctx))
        return ctx->failed;
    if (count < 0)
        return gr_fail_tensor(ctx, GR_ERROR_ARGUMENT, "csv", "count is %lld", (long long)count);
    if (names == NULL && count > 0)
        return gr_fail_tensor(ctx, GR_ERROR_NULL, "csv", "names is NULL");

    const gr_dims shape = {2, {gr_csv_rows(csv), count}};
    gr_tensor *table = gr_tensor_in(ctx->scope, "csv", GR_F64, &shape);
    if (table == NULL)
        return ctx->failed;
    double *numbers = (double *)(void *)gr_bytes(table);
    for (int64_t j = 0; j < count; j++) {
        if (!fill_column(csv, names[j], missing, numbers + j, count)) {
            gr_tensor_free(table);
            return ctx->failed;
        }
    }
    return table;
}
