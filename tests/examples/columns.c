/* columns.c - tests of how columns are found by their names: whatever separates them, with blanks
 * around, in any order; and what is said of one that is not there.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(columns, .init = enter, .fini = leave, .timeout = 120);

#define PREDICT "predict --model good.safetensors --data "
#define TRAIN   "train --target y --positive 1 --batch 4 --epochs 2 --hidden 3 --data "

static void train_plainly(void)
{
    put_labelled("good.csv", (labelled){0});
    train_good("good.csv", "1", "--quiet");
    cr_assert(run(PREDICT "good.csv") == 0);
    cr_assert(rename("out", "out.good") == 0);
}

/* Checks that a file gives the probabilities of good.csv. */
static void expect_same_probabilities(const char *data)
{
    char line[256];
    snprintf(line, sizeof line, PREDICT "%s", data);
    expect_success(line, "err", "16, 8 of them positive");
    cr_expect(same_files("out", "out.good"), "%s: other probabilities", data);
}

Test(columns, missing_ones_show_which_there_are)
{
    put_labelled("new.csv", (labelled){.header = "a,b,kind"});
    expect_refusal(TRAIN "new.csv", "new.csv: there is no column 'y', which --target names; "
                                    "separated by commas, there are: 'a', 'b', 'kind'");
    expect_refusal("train --target kind --positive 1 --data new.csv --drop c",
                   "'c', which --drop names; separated by commas, there are: 'a', 'b', 'kind'");
}

Test(columns, missing_ones_in_predict_show_which_there_are)
{
    train_plainly();
    put_labelled("new.csv", (labelled){.header = "a;c;y", .delimiter = ";"});
    expect_refusal(PREDICT "new.csv", "no column 'b', which the model was trained on; separated by "
                                      "semicolons, there are: 'a', 'c', 'y'");
}

Test(columns, of_a_wide_file_are_shown_in_part)
{
    put("wide.csv", "c1,c2,c3,c4,c5,c6,c7,c8,c9,c10,c11,c12,c13,c14\n"
                    "1,2,3,4,5,6,7,8,9,10,11,12,13,14\n");
    expect_refusal(TRAIN "wide.csv", "'c12' and 2 more");
}

Test(columns, may_be_separated_by_semicolons_tabs_and_bars)
{
    static const char *const separators[][3] = {
        {";", "a;b;y", "semicolons"}, {"\t", "a\tb\ty", "tabs"}, {"|", "a|b|y", "bars"}};
    train_plainly();
    for (int i = 0; i < 3; i++) {
        char words[80];
        snprintf(words, sizeof words, "new.csv: the cells are separated by %s\n", separators[i][2]);
        put_labelled("new.csv",
                     (labelled){.header = separators[i][1], .delimiter = separators[i][0]});
        expect_success(TRAIN "new.csv", "err", words);
        expect_success(PREDICT "new.csv", "err", words);
        expect_same_probabilities("new.csv");
    }
}

/* What is separated by commas is not guessed, and nothing is said of it. */
Test(columns, separated_by_commas_stay_so)
{
    put_labelled("new.csv", (labelled){.header = "a;c,b|d|e,y"});
    expect_success(TRAIN "new.csv --save good.safetensors", "err", "16 rows of 2 columns");
    size_t size;
    char *said = get("err", &size);
    cr_expect(strstr(said, "separated") == NULL, "%s", said);
    free(said);
    expect_success(PREDICT "new.csv", "err", "8 of them positive");
}

Test(columns, of_a_file_with_decimal_commas_are_no_numbers)
{
    put("new.csv", "a;b;y\n1,5;2;0\n2;1;1\n");
    expect_refusal(TRAIN "new.csv", "new.csv:2:1: '1,5' is not a number");
}

Test(columns, may_have_blanks_around_their_names)
{
    train_plainly();
    put_labelled("new.csv", (labelled){.header = " a, b\t,y "});
    expect_same_probabilities("new.csv");
    expect_success(TRAIN "new.csv --save good.safetensors", "err", "8 of them positive");
    expect_success(PREDICT "good.csv", "err", "8 of them positive");
    expect_success(TRAIN "new.csv --drop b", "err", "16 rows of 1 columns");
}

Test(columns, that_differ_by_blanks_only_are_refused)
{
    put_labelled("new.csv", (labelled){.header = "a,a ,y"});
    expect_refusal(TRAIN "new.csv", "new.csv:1: two columns have the name 'a'");
}

Test(columns, may_have_quoted_names)
{
    put_labelled("quoted.csv", (labelled){.header = "\"a,1\",\"b \"\"x\"\"\",\"y\""});
    expect_success(TRAIN "quoted.csv --save good.safetensors", "err", "16 rows of 2 columns");
    put_labelled("new.csv", (labelled){.header = "\"b \"\"x\"\"\";y;\"a,1\"", .delimiter = ";"});
    expect_refusal(PREDICT "new.csv", "new.csv:2:3: column 'y' has");
    put_labelled("new.csv", (labelled){.header = "\"a,1\";\"b \"\"x\"\"\";y", .delimiter = ";"});
    expect_success(PREDICT "new.csv", "err", "8 of them positive");
}

Test(columns, may_stand_in_another_order_among_others)
{
    put("good.csv", "a,b,y\n1,2,0\n2,1,1\n3,5,0\n4,4,1\n5,2,0\n6,9,1\n7,3,0\n8,8,1\n");
    train_good("good.csv", "1", "--quiet");
    cr_assert(run(PREDICT "good.csv") == 0);
    cr_assert(rename("out", "out.good") == 0);
    put("new.csv", "name,b,a\nu,2,1\nv,1,2\nw,5,3\nx,4,4\n,2,5\nz,9,6\n!,3,7\n?,8,8\n");
    cr_assert(run(PREDICT "new.csv") == 0);
    cr_expect(same_files("out", "out.good"), "the order of the columns changes probabilities");
}

Test(columns, that_are_constant_can_be_learned_from)
{
    put("flat.csv", "a,b,y\n1,7,0\n2,7,1\n3,7,0\n4,7,1\n5,7,0\n6,7,1\n7,7,0\n8,7,1\n");
    train_good("flat.csv", "1", "--quiet");
    expect_success(PREDICT "flat.csv", "err", "8, 4 of them positive");
}

Test(columns, of_other_encodings_are_refused_and_said)
{
    FILE *file = fopen("wide.csv", "wb");
    cr_assert(file);
    cr_assert(fwrite("\xff\xfe"
                     "a\0,\0y\0\n\0001\0,\0001\0\n",
                     1, 18, file) == 18);
    cr_assert(fclose(file) == 0);
    expect_refusal(TRAIN "wide.csv", "wide.csv: the text is UTF-16");
    file = fopen("nul.csv", "wb");
    cr_assert(file);
    cr_assert(fwrite("a\0,\0y\0\n\0001\0,\0001\0\n", 1, 16, file) == 16);
    cr_assert(fclose(file) == 0);
    expect_refusal(TRAIN "nul.csv", "nul.csv:1:2: a NUL byte");
}

Test(columns, of_an_empty_file_or_a_header_alone_are_refused)
{
    train_plainly();
    static const char *const texts[] = {"", "\xef\xbb\xbf", "\n", "a,b,y", "a,b,y\n", "a;b;y\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        put("none.csv", texts[i]);
        expect_refusal(PREDICT "none.csv", "none.csv");
        expect_refusal(TRAIN "none.csv", "none.csv");
    }
}

/* In f32 both numbers are infinite, and their difference is not a number. */
Test(columns, with_numbers_that_are_far_too_large_are_refused_in_predict)
{
    put_labelled("good.csv", (labelled){0});
    expect_success(TRAIN "good.csv --hidden none --save good.safetensors", "out", "accuracy");
    static const char *const rows[] = {"1e300,1e300", "1e300,-1e300"};
    int refused = 0;
    for (int i = 0; i < 2; i++) {
        char text[64];
        size_t size;
        snprintf(text, sizeof text, "a,b\n1,2\n%s\n", rows[i]);
        put("new.csv", text);
        int status = run(PREDICT "new.csv");
        char *said = get("err", &size);
        refused += status == 2 && strstr(said, "new.csv:3: the probability of this row by");
        free(said);
    }
    cr_expect(refused == 1, "%d of the two differences", refused);
}

Test(columns, with_cells_that_are_no_number_are_refused_in_predict)
{
    static const char *const cells[] = {"", "NA", "nan", "inf", "1e999", "two"};
    train_plainly();
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        char text[64];
        snprintf(text, sizeof text, "a,b,y\n1,2,0\n3,%s,1\n", cells[i]);
        put("new.csv", text);
        expect_refusal(PREDICT "new.csv", "new.csv:3:3: '");
    }
}
