/* csv.c - tests of io/csv.c: the rules of RFC 4180, and every error with its message.
 *
 * SPDX-License-Identifier: MIT
 */
#include "temp.h"

#include <locale.h>
#include <math.h>
#include <time.h>

TestSuite(csv, .init = begin, .fini = end);

static gr_csv *read_bytes(const char *bytes, size_t count)
{
    put_file("t.csv", bytes, count);
    return gr_csv_read(ctx, "t.csv");
}

static gr_csv *read_text(const char *text) { return read_bytes(text, strlen(text)); }

/* Checks that this text is refused with this message. */
static void refuses(const char *text, const char *message)
{
    cr_expect_null(read_text(text), "%s", text);
    expect_error(GR_ERROR_FORMAT, message);
}

/* Checks the rows and columns, with every cell in one string: "a|b/1|2". */
static void reads(const char *text, const char *cells)
{
    char found[512] = "";
    gr_csv *csv = read_text(text);
    cr_assert_not_null(csv, "%s: %s", text, gr_error_message(ctx));
    for (int64_t row = -1; row < gr_csv_rows(csv); row++) {
        for (int64_t column = 0; column < gr_csv_columns(csv); column++) {
            strcat(found, row < 0 ? gr_csv_name(csv, column) : gr_csv_cell(csv, row, column));
            strcat(found, column + 1 < gr_csv_columns(csv) ? "|" : "/");
        }
    }
    cr_expect_str_eq(found, cells);
    gr_csv_free(csv);
}

Test(csv, reads_what_rfc_4180_describes)
{
    reads("a,b\n1,2\n", "a|b/1|2/");
    reads("a,b\r\n1,2\r\n", "a|b/1|2/");
    reads("a,b\n1,2", "a|b/1|2/");
    reads("a,b\n1,2\r\n3,4", "a|b/1|2/3|4/");
    reads("\"a\",\"b\"\n\"1\",\"2\"", "a|b/1|2/");
    reads("a,b\n\"x,y\",\"say \"\"hi\"\"\"\n", "a|b/x,y|say \"hi\"/");
    reads("a,b\n\"one\ntwo\",\"three\r\nfour\"\n5,6\n", "a|b/one\ntwo|three\r\nfour/5|6/");
    reads("a,b\n,\n\"\",\n", "a|b/|/|/");
    reads("a\n\"\"\n1\n", "a//1/");
    reads("a,b\n 1 ,\t2\n", "a|b/ 1 |\t2/");
    reads("\xef\xbb\xbf"
          "a,b\n1,2\n",
          "a|b/1|2/");
    reads("\xef\xbb\xbf\"a\",b\n1,2\n", "a|b/1|2/");
    reads("caf\xc3\xa9,b\n\xe2\x82\xac,2\n", "caf\xc3\xa9|b/\xe2\x82\xac|2/");
    reads("a,b\n\"\"\"\",\"\"\"x\"\"\"", "a|b/\"|\"x\"/");
    reads(",b\n1,2\n", "|b/1|2/");
}

Test(csv, takes_another_delimiter)
{
    put_file("t.csv", "a;b\n1,5;\"2;3\"\n", 14);
    gr_csv *csv = gr_csv_read(ctx, "t.csv", .delimiter = ';');
    cr_assert_not_null(csv);
    cr_expect_str_eq(gr_csv_cell(csv, 0, 0), "1,5");
    cr_expect_str_eq(gr_csv_cell(csv, 0, 1), "2;3");
    gr_csv_free(csv);
}

Test(csv, refuses_what_is_no_table)
{
    refuses("", "csv: t.csv:1:1: the file is empty");
    refuses("\xef\xbb\xbf", "csv: t.csv:1:1: the file is empty");
    refuses("a,b\n", "csv: t.csv:2:1: no row follows the header");
    refuses("a,b", "csv: t.csv:2:1: no row follows the header");
    refuses("a,b\n1,2\n3\n", "csv: t.csv:3:1: row has 1 cell, the header has 2");
    refuses("a,b\n1,2\n3", "csv: t.csv:3:1: row has 1 cell, the header has 2");
    refuses("a,b\n1,2,3\n", "csv: t.csv:2:1: row has 3 cells, the header has 2");
    refuses("a,b\n\"x\ny\",2\n3,4,5\n", "csv: t.csv:4:1: row has 3 cells, the header has 2");
    refuses("a,b,a\n1,2,3\n", "csv: t.csv:1:5: a second column of the name 'a'");
    refuses("b,a,\"c\nd\",a,b\n1,2,3,4,5\n", "csv: t.csv:2:4: a second column of the name 'a'");
}

/* Editors and spreadsheets leave blank lines at the end, also with spaces in them. */
Test(csv, skips_blank_lines_at_the_end)
{
    reads("a,b\n1,2\n\n", "a|b/1|2/");
    reads("a,b\n1,2\n\n\n\n", "a|b/1|2/");
    reads("a,b\r\n1,2\r\n\r\n", "a|b/1|2/");
    reads("a,b\n1,2\n  \n\t \n ", "a|b/1|2/");
    reads("a\n1\n\n", "a/1/");
}

Test(csv, names_a_blank_line_before_a_row)
{
    refuses("a,b\n1,2\n\n3,4\n", "csv: t.csv:3:1: the line is blank; a row follows at line 4");
    refuses("a,b\n1,2\n\n \r\n3,4", "csv: t.csv:3:1: the line is blank; a row follows at line 5");
    refuses("a,b\n\"x\ny\",2\n\n3,4\n",
            "csv: t.csv:4:1: the line is blank; a row follows at line 5");
    refuses("\na,b\n1,2\n", "csv: t.csv:1:1: the line is blank; a row follows at line 2");
    refuses("a\n\n1\n", "csv: t.csv:2:1: the line is blank; a row follows at line 3");
    refuses("\n", "csv: t.csv:1:1: the file is empty");
    refuses(" \n\n\t", "csv: t.csv:1:1: the file is empty");
    refuses("a,b\n\n", "csv: t.csv:3:1: no row follows the header");
}

/* What is no blank line: a quoted cell, and blanks that are delimiters. */
Test(csv, keeps_rows_of_empty_cells)
{
    reads("a\n\"\"\n\" \"\n", "a// /");
    reads("a,b\n,\n , \n", "a|b/|/ | /");
    put_file("t.csv", "a\tb\n1\t2\n\t\n \t \n", 14);
    gr_csv *csv = gr_csv_read(ctx, "t.csv", .delimiter = '\t');
    cr_assert_not_null(csv, "%s", gr_error_message(ctx));
    cr_expect_eq(gr_csv_rows(csv), 3);
    gr_csv_free(csv);
}

Test(csv, says_what_a_file_of_another_format_seems_to_be)
{
    static const char zip[] = "PK\3\4\24\0\6\0", utf16[] = "\xff\xfe"
                                                           "a\0,\0b\0\n\0";
    cr_expect_null(read_bytes(zip, sizeof zip - 1));
    expect_error(GR_ERROR_FORMAT, "csv: t.csv:1:6: a NUL byte; the file seems to be a zip archive, "
                                  "such as .pt of PyTorch, .npz or .xlsx");
    cr_expect_null(read_bytes(utf16, sizeof utf16 - 1));
    expect_error(GR_ERROR_FORMAT,
                 "csv: t.csv:1:4: a NUL byte; the file seems to be text in UTF-16");
    refuses("<!DOCTYPE html>\n<a href=\"x\">\n",
            "csv: t.csv:2:9: a quote inside a cell that does not begin with one; the file seems to "
            "be an HTML page");
    reads("[a\n{\n", "[a/{/"); /* a guess refuses nothing */
}

Test(csv, refuses_stray_quotes_and_bytes)
{
    refuses("a,b\n1,\"2\n3,4\n", "csv: t.csv:2:3: a quote that is not closed");
    refuses("a,b\n1,x\"y\"\n",
            "csv: t.csv:2:4: a quote inside a cell that does not begin with one");
    refuses("a,b\n1, \"y\"\n",
            "csv: t.csv:2:4: a quote inside a cell that does not begin with one");
    refuses("a,b\n1,\"y\"z\n", "csv: t.csv:2:6: text behind a closing quote");
    refuses("a,b\n1,\"y\" \n", "csv: t.csv:2:6: text behind a closing quote");
    refuses("a,b\n1,2\r3,4\n", "csv: t.csv:2:5: a carriage return without a line feed");
    refuses("a,b\n1,2\r", "csv: t.csv:2:5: a carriage return without a line feed");
    cr_expect_null(read_bytes("a,b\n1,\0\n", 8));
    expect_error(GR_ERROR_FORMAT, "csv: t.csv:2:3: a NUL byte");
    cr_expect_null(read_bytes("a,b\n\"1\n2\0\",3\n", 14));
    expect_error(GR_ERROR_FORMAT, "csv: t.csv:3:2: a NUL byte");
}

Test(csv, refuses_a_record_longer_than_allowed)
{
    put_file("t.csv", "a,b\n123,567\n12,4567\n", 20);
    gr_csv *csv = gr_csv_read(ctx, "t.csv", .max_line = 7);
    cr_assert_not_null(csv, "%s", gr_error_message(ctx));
    gr_csv_free(csv);
    cr_expect_null(gr_csv_read(ctx, "t.csv", .max_line = 6));
    expect_error(GR_ERROR_FORMAT, "csv: t.csv:2:7: record is longer than 6 bytes");

    put_file("t.csv", "a,b\r\n123,567\r\n", 14);
    csv = gr_csv_read(ctx, "t.csv", .max_line = 7);
    cr_assert_not_null(csv, "the line end does not count");
    gr_csv_free(csv);

    put_file("t.csv", "a,b\n1,\"x\ny\nz\n", 13);
    cr_expect_null(gr_csv_read(ctx, "t.csv", .max_line = 6));
    expect_error(GR_ERROR_FORMAT,
                 "csv: t.csv:3:2: record is longer than 6 bytes; a quote was opened at 2:3");
}

/* 200 MB without a line end. Most of it is a hole in a sparse file, so the file is made at once. */
Test(csv, refuses_a_huge_line_without_reading_it_all)
{
    char *line = malloc(20 << 20);
    memset(line, 'x', 20 << 20);
    put_file("t.csv", line, 20 << 20);
    free(line);
    cr_assert_eq(truncate("t.csv", 200 * 1000 * 1000), 0);
    clock_t before = clock();
    cr_expect_null(gr_csv_read(ctx, "t.csv"));
    double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
    expect_error(GR_ERROR_FORMAT, "csv: t.csv:1:16777217: record is longer than 16777216 bytes");
    cr_expect_lt(seconds, 2.0);
    cr_expect_lt(gr_memory(ctx).peak_bytes, 80 << 20);
}

Test(csv, keeps_memory_in_proportion_to_the_file)
{
    char *commas = malloc(1 << 20);
    memset(commas, ',', 1 << 20);
    memcpy(commas, "a\n", 2);
    put_file("t.csv", commas, 1 << 20);
    free(commas);
    cr_expect_null(gr_csv_read(ctx, "t.csv"));
    expect_error(GR_ERROR_FORMAT, "csv: t.csv:2:1: row has 1048575 cells, the header has 1");
    cr_expect_lt(gr_memory(ctx).peak_bytes, 8 << 20);
}

/* Pieces end at every position: inside quotes, between the two quotes of "", between CR and LF. */
Test(csv, reads_across_pieces)
{
    for (int shift = 0; shift < 14; shift++) {
        FILE *file = fopen("t.csv", "wb");
        fprintf(file, "%*s,b\r\n", shift + 1, "a");
        for (int i = 0; i < 20000; i++)
            fputs("\"1\"\"\",22\r\n", file);
        fclose(file);
        gr_csv *csv = gr_csv_read(ctx, "t.csv");
        cr_assert_not_null(csv, "%s", gr_error_message(ctx));
        cr_assert_eq(gr_csv_rows(csv), 20000);
        for (int64_t row = 0; row < 20000; row++) {
            cr_assert_str_eq(gr_csv_cell(csv, row, 0), "1\"");
            cr_assert_str_eq(gr_csv_cell(csv, row, 1), "22");
            cr_assert_eq(gr_csv_line(csv, row), row + 2);
        }
        gr_csv_free(csv);
    }
}

Test(csv, refuses_what_cannot_be_read)
{
    cr_expect_null(gr_csv_read(ctx, "none.csv"));
    expect_error(GR_ERROR_IO, "csv: none.csv: cannot open: No such file or directory");
    cr_expect_null(gr_csv_read(ctx, "."));
    expect_error(GR_ERROR_IO, "csv: .: is a directory");
    cr_assert_eq(mkfifo("pipe", 0600), 0);
    cr_expect_null(gr_csv_read(ctx, "pipe"));
    expect_error(GR_ERROR_IO, "csv: pipe: is not a regular file");
    cr_expect_null(gr_csv_read(ctx, "/dev/null"));
    expect_error(GR_ERROR_IO, "csv: /dev/null: is not a regular file");
    if (geteuid() != 0) {
        put_file("t.csv", "a\n1\n", 4);
        cr_assert_eq(chmod("t.csv", 0), 0);
        cr_expect_null(gr_csv_read(ctx, "t.csv"));
        expect_error(GR_ERROR_IO, "csv: t.csv: cannot open: Permission denied");
    }
}

Test(csv, refuses_wrong_arguments)
{
    cr_expect_null(gr_csv_read(ctx, NULL));
    expect_error(GR_ERROR_NULL, "csv: path is NULL");
    cr_expect_null(gr_csv_read_with(ctx, NULL));
    expect_error(GR_ERROR_NULL, "csv: path is NULL");
    cr_expect_null(gr_csv_read(ctx, "t.csv", .delimiter = '"'));
    expect_error(GR_ERROR_ARGUMENT, "csv: the delimiter is a NUL, a quote or a line end");
    cr_expect_null(gr_csv_read(ctx, "t.csv", .delimiter = '\0'));
    expect_error(GR_ERROR_ARGUMENT, "csv: the delimiter is a NUL, a quote or a line end");
    const int64_t bad[] = {-1, 0, (int64_t)INT32_MAX + 1};
    for (int i = 0; i < 3; i++) {
        cr_expect_null(gr_csv_read(ctx, "t.csv", .max_line = bad[i]));
        char text[80];
        snprintf(text, sizeof text, "csv: max_line is %lld, not from 1 to 2147483647",
                 (long long)bad[i]);
        expect_error(GR_ERROR_ARGUMENT, text);
    }
    cr_expect_null(gr_csv_read(NULL, "t.csv"));
    gr_csv_free(NULL);
    cr_expect_eq(gr_csv_rows(NULL), 0);
    cr_expect_eq(gr_csv_columns(NULL), 0);
    cr_expect_not_null(gr_csv_tensor(NULL, 0, NULL, NULL));
    cr_expect_eq(gr_csv_number(NULL, 0, 0, NULL), GR_ERROR_NULL);
}

Test(csv, reads_nothing_in_a_context_with_an_error)
{
    cr_expect_null(gr_csv_read(ctx, "none.csv"));
    put_file("t.csv", "a\n1\n", 4);
    cr_expect_null(gr_csv_read(ctx, "t.csv"));
    expect_error(GR_ERROR_IO, "csv: none.csv: cannot open: No such file or directory");
    gr_csv *csv = gr_csv_read(ctx, "t.csv");
    cr_assert_not_null(csv);
    gr_csv_free(csv);
}

Test(csv, finds_columns_and_places)
{
    gr_csv *csv = read_text("b,a,\"c\nd\"\n1,\"x\ny\",3\n\"\n4\",5,6\n");
    cr_assert_not_null(csv, "%s", gr_error_message(ctx));
    cr_expect_eq(gr_csv_find(csv, "a"), 1);
    cr_expect_eq(gr_csv_find(csv, "b"), 0);
    cr_expect_eq(gr_csv_find(csv, "c\nd"), 2);
    cr_expect_eq(gr_csv_find(csv, "e"), -1);
    cr_expect_eq(gr_csv_find(csv, ""), -1);
    cr_expect_eq(gr_csv_find(csv, NULL), -1);
    cr_expect_eq(gr_csv_line(csv, 0), 3);
    cr_expect_eq(gr_csv_line(csv, 1), 5);
    cr_expect_eq(gr_csv_column_at(csv, 0, 0), 1);
    cr_expect_eq(gr_csv_column_at(csv, 0, 1), 3);
    cr_expect_eq(gr_csv_column_at(csv, 0, 2), 4);
    cr_expect_eq(gr_csv_column_at(csv, 1, 2), 6);
    cr_expect_null(gr_csv_cell(csv, 2, 0));
    cr_expect_null(gr_csv_cell(csv, 0, 3));
    cr_expect_null(gr_csv_cell(csv, -1, 0));
    cr_expect_null(gr_csv_name(csv, 3));
    cr_expect_eq(gr_csv_line(csv, 2), 0);
    gr_csv_free(csv);
}

static double number(const char *cell)
{
    char text[256];
    double value = -12345;
    snprintf(text, sizeof text, "a\n%s\n", cell);
    gr_csv *csv = read_text(text);
    cr_assert_not_null(csv, "%s", gr_error_message(ctx));
    gr_status status = gr_csv_number(csv, 0, 0, &value);
    gr_csv_free(csv);
    cr_expect_eq(status, GR_OK, "%s: %s", cell, gr_error_message(ctx));
    return value;
}

Test(csv, reads_numbers)
{
    cr_expect_eq(number("0"), 0);
    cr_expect_eq(number("  -12.5\t"), -12.5);
    cr_expect_eq(number("+3"), 3);
    cr_expect_eq(number("1."), 1);
    cr_expect_eq(number(".5"), 0.5);
    cr_expect_eq(number("1e3"), 1000);
    cr_expect_eq(number("2.5E-3"), 0.0025);
    cr_expect_eq(number("\"7\""), 7);
    cr_expect_eq(number("0.1"), 0.1);
    cr_expect_eq(number("9007199254740993"), 9007199254740992.0);
    cr_expect_eq(number("4.9406564584124654e-324"), 4.9406564584124654e-324);
    cr_expect_eq(number("1.7976931348623157e308"), 1.7976931348623157e308);
    cr_expect_eq(number("1e-999"), 0);
    cr_expect(signbit(number("-0")));
}

Test(csv, reads_numbers_in_any_locale)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "C.UTF-8"};
    for (int i = 0; i < 4; i++) {
        if (setlocale(LC_ALL, names[i]) != NULL)
            cr_expect_eq(number("1.5"), 1.5, "%s", names[i]);
    }
}

/* Checks that the second cell of row 2 is refused, with this text after its place. */
static void refuses_number(const char *cell, const char *what)
{
    char text[512], message[512];
    double value = -12345;
    snprintf(text, sizeof text, "a,\"radius\nmean\"\n1,2\n\"x\ny\",%s\n", cell);
    snprintf(message, sizeof message, "csv: t.csv:5:4: '%s' is %s (column radius?mean)", cell,
             what);
    gr_csv *csv = read_text(text);
    cr_assert_not_null(csv, "%s", gr_error_message(ctx));
    cr_expect_eq(gr_csv_number(csv, 1, 1, &value), GR_ERROR_FORMAT);
    cr_expect_eq(value, -12345);
    expect_error(GR_ERROR_FORMAT, message);
    gr_csv_free(csv);
}

Test(csv, refuses_what_is_no_number)
{
    static const char *const wrong[] = {"abc", "1x",  "1 2", "0x10",  "1e",    "1e+",      ".",
                                        "-",   "+-1", "--1", "inf",   "-inf",  "Infinity", "nan",
                                        "NaN", "1_0", "e5",  "1.2.3", "1e5.0", "nan(1)"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refuses_number(wrong[i], "not a number");
    refuses_number("1e999", "too large for a number");
    refuses_number("-1e999", "too large for a number");
    refuses_number("", "a missing value");
    refuses_number("NA", "a missing value");
    refuses_number(" ?", "a missing value");
}

Test(csv, cuts_long_text_in_messages)
{
    char text[300] = "a\n";
    memset(text + 2, 'x', 200);
    double value;
    gr_csv *csv = read_text(text);
    cr_expect_eq(gr_csv_number(csv, 0, 0, &value), GR_ERROR_FORMAT);
    expect_error(
        GR_ERROR_FORMAT,
        "csv: t.csv:2:1: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...' "
        "is not a number (column a)");
    gr_csv_free(csv);
}

Test(csv, cuts_no_character_in_two)
{
    char text[300] = "a\nx";
    double value;
    for (int i = 0; i < 100; i++)
        strcat(text, "\xc3\xa9");
    gr_csv *csv = read_text(text);
    cr_expect_eq(gr_csv_number(csv, 0, 0, &value), GR_ERROR_FORMAT);
    const char *dots = strstr(gr_error_message(ctx), "...");
    cr_assert_not_null(dots);
    cr_expect_eq(dots[-1], '\xa9');
    gr_error_clear(ctx);
    gr_csv_free(csv);
}

Test(csv, knows_missing_cells)
{
    gr_csv *csv = read_text("a\n\" \"\nNA\nN/A\n?\n ? \n\"\"\n0\nna\n-\nNAN\n");
    cr_assert_not_null(csv);
    for (int64_t row = 0; row < gr_csv_rows(csv); row++)
        cr_expect_eq(gr_csv_is_missing(csv, row, 0), row < 6, "row %lld", (long long)row);
    cr_expect(gr_csv_is_missing(csv, 99, 0));
    gr_csv_free(csv);
}

Test(csv, refuses_cells_that_are_not_there)
{
    double value;
    gr_csv *csv = read_text("a,b\n1,2\n");
    cr_expect_eq(gr_csv_number(csv, 1, 0, &value), GR_ERROR_ARGUMENT);
    expect_error(GR_ERROR_ARGUMENT,
                 "csv: t.csv: there is no cell at row 1, column 0 of 1 rows, 2 columns");
    cr_expect_eq(gr_csv_number(csv, 0, 0, NULL), GR_ERROR_NULL);
    expect_error(GR_ERROR_NULL, "csv: value is NULL");
    gr_csv_free(csv);
}

Test(csv, makes_tensors)
{
    static const char *const names[] = {"c", "a"};
    const double filler = -1;
    gr_csv *csv = read_text("a,b,c\n1,x,3\n4,y,\n");
    gr_tensor *x = gr_csv_tensor(csv, 2, names, &filler);
    cr_assert(!gr_failed(x), "%s", gr_error_message(ctx));
    cr_expect_eq(gr_dtype_of(x), GR_F64);
    cr_expect_eq(gr_ndim(x), 2);
    cr_expect_eq(gr_size(x, 0), 2);
    cr_expect_eq(gr_size(x, 1), 2);
    static const double wanted[] = {3, 1, -1, 4};
    cr_expect_eq(memcmp(gr_data(x), wanted, sizeof wanted), 0);

    const double nan_filler = NAN;
    x = gr_csv_tensor(csv, 1, names, &nan_filler);
    cr_expect(isnan(((const double *)gr_data(x))[1]));
    x = gr_csv_tensor(csv, 0, NULL, NULL);
    cr_expect_eq(gr_size(x, 0), 2);
    cr_expect_eq(gr_size(x, 1), 0);
    gr_csv_free(csv);
}

Test(csv, refuses_tensors_of_other_columns)
{
    static const char *const names[] = {"a", "d", "b", "c"};
    gr_csv *csv = read_text("a,b,c\n1,x,3\n4,y,\n");
    cr_expect(gr_failed(gr_csv_tensor(csv, 2, names, NULL)));
    cr_expect(gr_failed(gr_csv_tensor(csv, 1, names, NULL)), "the context has an error");
    expect_error(GR_ERROR_ARGUMENT, "csv: t.csv: there is no column 'd'");
    cr_expect(gr_failed(gr_csv_tensor(csv, 1, &names[2], NULL)));
    expect_error(GR_ERROR_FORMAT, "csv: t.csv:2:3: 'x' is not a number (column b)");
    cr_expect(gr_failed(gr_csv_tensor(csv, 1, &names[3], NULL)));
    expect_error(GR_ERROR_FORMAT, "csv: t.csv:3:5: '' is a missing value (column c)");
    cr_expect(gr_failed(gr_csv_tensor(csv, -1, names, NULL)));
    expect_error(GR_ERROR_ARGUMENT, "csv: count is -1");
    cr_expect(gr_failed(gr_csv_tensor(csv, 1, NULL, NULL)));
    expect_error(GR_ERROR_NULL, "csv: names is NULL");
    static const char *const none[] = {NULL};
    cr_expect(gr_failed(gr_csv_tensor(csv, 1, none, NULL)));
    expect_error(GR_ERROR_NULL, "csv: a name is NULL");
    gr_csv_free(csv);
}

/* Each allocation fails once. The error must be MEMORY and name this call, not the op that ran
   before. No memory may be left, and the next call must work. */
Test(csv, survives_every_failed_allocation)
{
    put_file("t.csv", "a,b\n1,2\n3,4\n", 12);
    int64_t failures = 0;
    for (gr_csv *csv = NULL; csv == NULL; failures++) {
        cr_assert_not(gr_failed(gr_ones(ctx, GR_F32, gr_shape(2))));
        int64_t before = heap.live;
        heap.fail_at = heap.calls + failures + 1;
        csv = gr_csv_read(ctx, "t.csv");
        heap.fail_at = 0;
        if (csv == NULL) {
            cr_expect_eq(gr_error(ctx), GR_ERROR_MEMORY);
            cr_expect(strncmp(gr_error_message(ctx), "csv: ", 5) == 0, "%s", gr_error_message(ctx));
            cr_expect_eq(heap.live, before);
            gr_error_clear(ctx);
        }
        gr_csv_free(csv);
    }
    cr_expect_geq(failures, 6); /* for table, path, piece, text, marks, names */
}

Test(csv, makes_no_tensor_without_memory)
{
    static const char *const names[] = {"b", "a"};
    gr_csv *csv = read_text("a,b\n1,2\n3,4\n");
    int64_t failures = 0;
    for (bool done = false; !done; failures++) {
        heap.fail_at = heap.calls + failures + 1;
        done = !gr_failed(gr_csv_tensor(csv, 2, names, NULL));
        heap.fail_at = 0;
        cr_expect_eq(gr_error(ctx), done ? GR_OK : GR_ERROR_MEMORY);
        cr_expect(done || strncmp(gr_error_message(ctx), "csv: ", 5) == 0, "%s",
                  gr_error_message(ctx));
        gr_error_clear(ctx);
    }
    cr_expect_gt(failures, 1);
    gr_csv_free(csv);
}
