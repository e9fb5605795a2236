/* csv.c - text tables with named columns, in the format of RFC 4180.
 *
 * The file is read once, in pieces of 64 KiB. Each byte goes through a state machine. The text of a
 * cell is appended to one growing array and ends there with a NUL. A cell that was quoted keeps its
 * opening quote, and no other cell can begin with one. Each byte adds at most one byte to the
 * array, so one allocation for each piece is enough.
 *
 * A file may have as many cells as bytes, so a cell must cost little besides its text. Each row has
 * as many cells as the header. So cell (row, column) has a number, and only every eighth number has
 * a mark: where its text begins and on which line. The rest follows from the text. A row takes one
 * line, and one more for each line end in its quoted cells, because a blank line before a row is
 * refused.
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
static const int64_t most_max_line = INT32_MAX; /* the number of a column fits in 32 bits */

enum { STEP = 8 }; /* cells to a mark */

/* An array that doubles when it is full. It counts bytes. `enough`, if not 0, is a size beyond
   which it does not double. */
typedef struct array {
    char *bytes;
    int64_t count, capacity, enough;
} array;

/* Where a cell begins. */
typedef struct mark {
    int64_t text; /* in the array of texts */
    int64_t line; /* in the file, counted from 1 */
} mark;

struct gr_csv {
    gr_context *ctx;
    locale_t c_locale;
    array path, text, marks;
    int64_t cells, rows, columns; /* row 0 is the header */
    array by_name;                /* the columns, int32_t, sorted by name and number */
    const char *seems;            /* while it is read: another format that its file seems to have */
};

/* ---- Memory ---------------------------------------------------------------------------------- */

static bool reserve(gr_context *ctx, array *a, int64_t more)
{
    if (a->capacity - a->count >= more)
        return true;
    const int64_t needed = a->count + more;
    int64_t capacity = 2 * a->capacity;
    if (a->enough > 0 && capacity > a->enough)
        capacity = a->enough;
    if (capacity < needed)
        capacity = needed;
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
    array *arrays[] = {&csv->path, &csv->text, &csv->marks, &csv->by_name};
    for (int i = 0; i < 4; i++)
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
    int64_t row_text, row_line;
    mark cell;
    int64_t cell_column; /* in its line, from 1 */
    int64_t blank_line;  /* the first of the blank lines that were just read; 0 if there is none */
} reader;

static bool complain(const gr_csv *csv, int64_t line, int64_t column, const char *what, ...)
    GR_PRINTF(4, 5);

/* Raises FORMAT: "PATH:LINE:COLUMN: WHAT". */
static bool complain(const gr_csv *csv, int64_t line, int64_t column, const char *what, ...)
{
    char text[256];
    va_list list;
    va_start(list, what);
    vsnprintf(text, sizeof text, what, list);
    va_end(list);
    gr_fail(csv->ctx, GR_ERROR_FORMAT, "csv", "%s:%lld:%lld: %s%s%s", gr_show_path(csv->path.bytes),
            (long long)line, (long long)column, text,
            csv->seems == NULL ? "" : "; the file seems to be ",
            csv->seems == NULL ? "" : csv->seems);
    return false;
}

static bool too_long(const reader *r)
{
    if (r->state == IN_QUOTES || r->state == AFTER_QUOTE)
        return complain(r->csv, r->line, r->column,
                        "record is longer than %lld bytes; a quote was opened at %lld:%lld",
                        (long long)r->max_line, (long long)r->cell.line, (long long)r->cell_column);
    return complain(r->csv, r->line, r->column, "record is longer than %lld bytes",
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
    r->cell = (mark){r->csv->text.count, r->line};
    r->cell_column = column;
}

static void begin_row(reader *r)
{
    r->row_text = r->csv->text.count;
    r->row_line = r->line;
    r->length = r->cell_count = 0;
    begin_cell(r, 1);
}

/* Ends a cell. Cells beyond the header's columns are only counted. */
static bool end_cell(reader *r)
{
    gr_csv *csv = r->csv;
    put(r, '\0');
    r->cell_count++;
    if (csv->rows > 0 && r->cell_count > csv->columns)
        return true;
    return csv->cells++ % STEP != 0 || append(r->ctx, &csv->marks, &r->cell, sizeof r->cell);
}

static bool is_blank(char byte) { return byte == ' ' || byte == '\t'; }

/* True if the line has one cell, of blanks only. A quoted cell begins with its quote here. */
static bool line_is_blank(const reader *r)
{
    const array *text = &r->csv->text;
    int64_t i = r->row_text;
    while (i < text->count && is_blank(text->bytes[i]))
        i++;
    return r->cell_count == 0 && i == text->count;
}

static bool end_row(reader *r)
{
    gr_csv *csv = r->csv;
    if (line_is_blank(r)) {
        r->blank_line = r->blank_line == 0 ? r->row_line : r->blank_line;
        return true;
    }
    if (r->blank_line != 0)
        return complain(csv, r->blank_line, 1, "the line is blank; a row follows at line %lld",
                        (long long)r->row_line);
    if (!end_cell(r))
        return false;
    if (csv->rows == 0)
        csv->columns = r->cell_count;
    if (r->cell_count != csv->columns)
        return complain(csv, r->row_line, 1, "row has %lld cell%s, the header has %lld",
                        (long long)r->cell_count, r->cell_count == 1 ? "" : "s",
                        (long long)csv->columns);
    csv->rows++;
    return true;
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
        return complain(r->csv, r->line, r->column,
                        "a quote inside a cell that does not begin with one");
    put(r, '"'); /* of the cell, or the one that "" stands for */
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
        return complain(r->csv, r->line, r->column, "text behind a closing quote");
    r->state = IN_BARE;
    put(r, byte);
    return true;
}

static bool take(reader *r, char byte)
{
    if (byte == '\0')
        return complain(r->csv, r->line, r->column, "a NUL byte");
    if (r->state == AFTER_RETURN && byte != '\n')
        return complain(r->csv, r->line, r->column, "a carriage return without a line feed");
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
    const gr_csv *csv = r->csv;
    bool nothing_begun = r->state == CELL_BEGINS && r->length == 0;
    if (r->state == IN_QUOTES)
        return complain(csv, r->cell.line, r->cell_column, "a quote that is not closed");
    if (r->state == AFTER_RETURN)
        return complain(csv, r->line, r->column, "a carriage return without a line feed");
    if (!nothing_begun) {
        if (!reserve(r->ctx, &r->csv->text, 1) || !end_row(r))
            return false;
        next_line(r);
    }
    if (csv->rows == 0)
        return complain(csv, 1, 1, "the file is empty");
    return csv->rows > 1 || complain(csv, r->line, 1, "no row follows the header");
}

/* Takes one piece. In the first piece it skips the byte order mark. */
static bool take_piece(reader *r, const char *piece, int64_t count, bool first)
{
    if (first)
        r->csv->seems = gr_guess(piece, count);
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

/* ---- Cells ----------------------------------------------------------------------------------- */

static const char *behind(const char *text) { return text + strlen(text) + 1; }

/* Returns the text of a cell, with its opening quote if it was quoted. Row 0 is the header here. */
static const char *stored_at(const gr_csv *csv, int64_t i, int64_t column)
{
    int64_t number = i * csv->columns + column;
    const mark *m = (const mark *)csv->marks.bytes + number / STEP;
    const char *text = csv->text.bytes + m->text;
    for (int64_t left = number % STEP; left > 0; left--)
        text = behind(text);
    return text;
}

static const char *text_at(const gr_csv *csv, int64_t i, int64_t column)
{
    const char *text = stored_at(csv, i, column);
    return text + (*text == '"');
}

/* Returns the line of a cell: that of the mark before it, plus the line ends from there. */
static int64_t line_at(const gr_csv *csv, int64_t i, int64_t column)
{
    int64_t number = i * csv->columns + column, from = number - number % STEP;
    const mark *m = (const mark *)csv->marks.bytes + number / STEP;
    int64_t line = m->line + i - from / csv->columns;
    const char *text = csv->text.bytes + m->text, *end = stored_at(csv, i, column);
    for (; text < end; text++)
        line += *text == '\n';
    return line;
}

/* Returns the byte in its line where a cell begins, from the texts of the cells before it. */
static int64_t column_at(const gr_csv *csv, int64_t i, int64_t column)
{
    int64_t at = 1;
    const char *text = stored_at(csv, i, 0);
    for (; column > 0; column--, text++) {
        bool quoted = *text == '"';
        for (text += quoted, at += quoted; *text != '\0'; text++)
            at = *text == '\n' ? 1 : at + 1 + (*text == '"'); /* in the file, a quote is two */
        at += quoted + 1;
    }
    return at;
}

/* ---- Names ----------------------------------------------------------------------------------- */

static int compare_columns(const void *a, const void *b, void *data)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    const gr_csv *csv = data;
    int order = strcmp(text_at(csv, 0, i), text_at(csv, 0, j));
    return order != 0 ? order : (i > j) - (i < j);
}

/* Sorts the columns by name. Refuses two columns with the same name. */
static bool index_names(gr_csv *csv)
{
    if (!reserve(csv->ctx, &csv->by_name, csv->columns * (int64_t)sizeof(int32_t)))
        return false;
    int32_t *by_name = (int32_t *)(void *)csv->by_name.bytes;
    int64_t twice = csv->columns;
    for (int64_t i = 0; i < csv->columns; i++)
        by_name[i] = (int32_t)i;
    qsort_r(by_name, (size_t)csv->columns, sizeof *by_name, compare_columns, csv);
    for (int64_t i = 1; i < csv->columns; i++) {
        bool same = strcmp(text_at(csv, 0, by_name[i - 1]), text_at(csv, 0, by_name[i])) == 0;
        if (same && by_name[i] < twice)
            twice = by_name[i];
    }
    if (twice == csv->columns)
        return true;
    return complain(csv, line_at(csv, 0, twice), column_at(csv, 0, twice),
                    "a second column of the name '%s'", gr_show(text_at(csv, 0, twice)).text);
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
    csv->text.enough = in->size + 1;
    bool filled = read_records(&r, in, piece) && index_names(csv);
    csv->seems = NULL;
    gr_release(csv->ctx, piece, PIECE);
    return filled;
}

gr_csv_args gr_csv_defaults(void) { return (gr_csv_args){GR_CSV_DEFAULTS}; }

gr_csv *gr_csv_read_with(gr_context *ctx, const gr_csv_args *args)
{
    gr_input in;
    gr_csv *csv = NULL;
    if (!gr_io_begin(ctx, "csv"))
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

int64_t gr_csv_rows(const gr_csv *csv) { return csv == NULL ? 0 : csv->rows - 1; }

int64_t gr_csv_columns(const gr_csv *csv) { return csv == NULL ? 0 : csv->columns; }

const char *gr_csv_name(const gr_csv *csv, int64_t column)
{
    return has_column(csv, column) ? text_at(csv, 0, column) : NULL;
}

int64_t gr_csv_find(const gr_csv *csv, const char *name)
{
    if (csv == NULL || name == NULL)
        return -1;
    const int32_t *by_name = (const int32_t *)(const void *)csv->by_name.bytes;
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
    return has_cell(csv, i, 0) ? line_at(csv, i + 1, 0) : 0;
}

int64_t gr_csv_column_at(const gr_csv *csv, int64_t i, int64_t column)
{
    return has_cell(csv, i, column) ? column_at(csv, i + 1, column) : 0;
}

/* ---- Numbers --------------------------------------------------------------------------------- */

/* The text of a cell without blanks around it. */
typedef struct trimmed {
    const char *text;
    size_t length;
} trimmed;

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
    return complain(csv, line_at(csv, i + 1, column), column_at(csv, i + 1, column),
                    "'%s' is %s (column %s)", gr_show(text_at(csv, i + 1, column)).text, what,
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
    if (!gr_io_begin(ctx, "csv"))
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
