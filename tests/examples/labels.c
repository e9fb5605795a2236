/* labels.c - tests of the two labels of the target column: which texts mean a class, and what is
 * said of any other text.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(labels, .init = enter, .fini = leave, .timeout = 120);

#define PREDICT "predict --model good.safetensors --data "

static void train_yes_and_no(void)
{
    put_labelled("good.csv", (labelled){.positive = "yes", .negative = "no"});
    train_good("good.csv", "yes", "--quiet");
}

/* Checks that a file gives the probabilities and the figures of good.csv. */
static void expect_same_figures(const char *data)
{
    char line[256];
    cr_assert(run(PREDICT "good.csv") == 0);
    cr_assert(rename("out", "out.good") == 0 && rename("err", "err.good") == 0);
    snprintf(line, sizeof line, PREDICT "%s", data);
    expect_success(line, "err", "16, 8 of them positive");
    cr_expect(same_files("out", "out.good"), "%s: other probabilities", data);
    cr_expect(same_files("err", "err.good"), "%s: other figures", data);
}

Test(labels, both_are_kept_in_the_model)
{
    train_yes_and_no();
    size_t size;
    char *model = get("good.safetensors", &size);
    cr_expect(strstr(model + 8, "\"positive\":\"yes\"") != NULL, "%s", model + 8);
    cr_expect(strstr(model + 8, "\"negative\":\"no\"") != NULL, "%s", model + 8);
    free(model);
}

/* Such rows once counted as negative, without a word. */
Test(labels, spelt_otherwise_are_refused)
{
    static const char *const spellings[][2] = {
        {"yes.", "no."},       {"Yes", "No"},   {"1", "0"},
        {"yes\xc2\xa0", "no"}, {"'yes'", "no"}, {"yes", "nope"},
    };
    train_yes_and_no();
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        bool first = strcmp(spellings[i][1], "no") != 0; /* the first row is negative */
        char wrong[80];
        put_labelled("new.csv",
                     (labelled){.positive = spellings[i][0], .negative = spellings[i][1]});
        snprintf(wrong, sizeof wrong, "new.csv:%d:5: column 'y' has '%s'; the two labels",
                 3 - first, spellings[i][first]);
        expect_refusal(PREDICT "new.csv", wrong);
        expect_refusal(PREDICT "new.csv", "'yes', which is positive, and 'no'");
    }
}

Test(labels, of_the_breast_cancer_data_with_full_stops_are_refused)
{
    const char *data = breast_cancer();
    char line[2 * PATH_MAX];
    snprintf(line, sizeof line,
             "train --data %s --target diagnosis --positive M --drop id --epochs 2 --quiet "
             "--save good.safetensors",
             data);
    cr_assert(run(line) == 0);
    snprintf(line, sizeof line, "sed 's/,\\([MB]\\),/,\\1.,/' %s > stops.csv", data);
    cr_assert(system(line) == 0);
    expect_refusal(PREDICT "stops.csv", "stops.csv:2:8: column 'diagnosis' has 'M.'");
    expect_refusal(PREDICT "stops.csv", "'M', which is positive, and 'B'");
}

Test(labels, a_third_one_is_refused_in_training)
{
    put("three.csv", "a,b,y\n1,2,cat\n2,1,dog\n3,5,cat\n4,4,cow\n5,2,dog\n");
    expect_refusal("train --data three.csv --target y --positive cat",
                   "three.csv:5:5: column 'y' has 'cow'");
    expect_refusal("train --data three.csv --target y --positive cat",
                   "'cat', which is positive, and 'dog'");
    expect_refusal("train --data three.csv --target y --positive cow",
                   "three.csv:3:5: column 'y' has 'dog'");
    expect_refusal("train --data three.csv --target y --positive Cat", "no row has 'Cat'");
}

Test(labels, may_have_blanks_around)
{
    train_yes_and_no();
    put_labelled("new.csv", (labelled){.positive = " yes", .negative = "no \t"});
    expect_same_figures("new.csv");
    expect_success("train --data new.csv --target y --positive yes --epochs 2", "err", "8 of them");
}

Test(labels, may_be_quoted_and_lines_may_end_in_crlf)
{
    train_yes_and_no();
    put_labelled("new.csv", (labelled){.header = "\xef\xbb\xbf\"a\",b,\"y\"",
                                       .positive = "\"yes\"",
                                       .negative = "\"no\"",
                                       .line_end = "\r\n"});
    expect_same_figures("new.csv");
    expect_success("train --data new.csv --target y --positive yes --epochs 2", "err", "8 of them");
}

Test(labels, numbers_are_equal_by_value)
{
    put_labelled("good.csv", (labelled){0});
    train_good("good.csv", "1", "--quiet");
    put_labelled("new.csv", (labelled){.positive = "1.0", .negative = "0.0"});
    expect_same_figures("new.csv");
    put_labelled("new.csv", (labelled){.positive = "1e0", .negative = "-0"});
    expect_same_figures("new.csv");
    put_labelled("new.csv", (labelled){.positive = "1.5", .negative = "0"});
    expect_refusal(PREDICT "new.csv", "'1.5'");
    put_labelled("new.csv", (labelled){.positive = "0x1", .negative = "0"});
    expect_refusal(PREDICT "new.csv", "'0x1'");
}

/* As doubles these two are one number. */
Test(labels, long_numbers_are_texts)
{
    put_labelled("long.csv",
                 (labelled){.positive = "9007199254740993", .negative = "9007199254740992"});
    expect_success("train --data long.csv --target y --positive 9007199254740993 --epochs 2 "
                   "--batch 4",
                   "err", "8 of them positive");
}

Test(labels, missing_ones_are_refused_with_their_place)
{
    train_yes_and_no();
    put("gap.csv", "a,b,y\n1,2,no\n2,1, \n3,5,yes\n");
    expect_refusal(PREDICT "gap.csv", "gap.csv:3:5: column 'y' has no value");
    put("gap.csv", "a,b,y\n1,2,no\n2,1,NA\n3,5,yes\n");
    expect_refusal("train --data gap.csv --target y --positive yes", "gap.csv:3:5");
}

Test(labels, missing_in_all_rows_are_unknown_classes)
{
    train_yes_and_no();
    put("new.csv", "a,b,y\n1,2,\n2,1,NA\n3,5,?\n");
    cr_assert(run(PREDICT "new.csv") == 0);
    size_t size, none;
    char *list = get("out", &size), *said = get("err", &none);
    cr_expect(count_lines(list) == 4, "%s", list);
    cr_expect(none == 0, "figures without classes: %s", said);
    free(list);
    free(said);
    expect_refusal("predict --model good.safetensors --data new.csv --split test", "no labels");
}

Test(labels, of_one_class_only_can_be_judged)
{
    train_yes_and_no();
    put("new.csv", "a,b,y\n1,2,no\n2,1,no\n");
    expect_success(PREDICT "new.csv", "err", "ROC AUC    undefined");
}

/* A model that older programs wrote knows one label. */
Test(labels, models_that_know_only_one_are_refused)
{
    train_yes_and_no();
    cr_assert(system("sed 's/gradus classifier 2/gradus classifier 1/' good.safetensors > "
                     "old_form.safetensors") == 0);
    expect_refusal("predict --model old_form.safetensors --data good.csv", "train the model again");
}
