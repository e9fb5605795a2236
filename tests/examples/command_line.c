/* command_line.c - tests of train and predict from the command line: errors with messages and
 * statuses, the files that they leave, and that their figures can be reproduced.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(command_line, .init = enter, .fini = leave, .timeout = 120);

/* ---- What is refused ------------------------------------------------------------------------- */

#define TRAIN "train --target y --positive 1 --save old.safetensors --plot old.png --data "

static const char good[] = "a,b,y\n1,2,0\n2,1,1\n3,5,0\n4,4,1\n5,2,0\n6,9,1\n7,3,0\n8,8,1\n"
                           "1,4,0\n2,3,1\n3,1,0\n4,7,1\n5,5,0\n6,2,1\n7,8,0\n8,1,1\n";

Test(command_line, refuses_bad_files)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "bad.csv"},                                     /* empty */
        {"a,b,y\n", "bad.csv"},                              /* only a header */
        {"a,b,y\n1,2,0\n1,2\n3,4,1\n", "bad.csv:3"},         /* too few cells */
        {"a,b,y\n1,2,0\n1,2,1,5\n3,4,1\n", "bad.csv:3"},     /* too many */
        {"a,b,y\n1,2,0\n1,two,1\n3,4,1\n", "bad.csv:3:3"},   /* text for a number */
        {"a,b,y\n1,2,0\n1,2x,1\n3,4,1\n", "bad.csv:3:3"},    /* a number and more */
        {"a,b,y\n1,2,0\nnan,2,1\n3,4,1\n", "bad.csv:3:1"},   /* not finite */
        {"a,b,y\n1,2,0\n1,-inf,1\n3,4,1\n", "bad.csv:3:3"},  /* not finite */
        {"a,b,y\n1,2,0\n1,1e999,1\n3,4,1\n", "bad.csv:3:3"}, /* not finite */
        {"a,b,y\n1,2,0\n1,,1\n3,4,1\n", "bad.csv:3:3"},      /* a missing cell */
        {"a,b,y\n1,2,0\n1,2,\n3,4,1\n", "bad.csv:3:5"},      /* a missing class */
        {"a,b,z\n1,2,0\n1,2,1\n", "'y'"},                    /* no target */
        {"a,b,y\n1,2,1\n1,2,1\n", "only one class"},         /* all rows are positive */
        {"a,b,y\n1,2,0\n1,2,0\n", "'1'"},                    /* no row is positive */
        {"a,a,y\n1,2,0\n1,2,1\n", "'a'"},                    /* two columns with the same name */
        {"y\n0\n1\n", "no column"},                          /* no column to learn from */
        {"a,b,y\n1,2,0\n2,3,0\n3,4,0\n4,5,1\n", "1 rows"},   /* too few rows to hold one out */
        {"a,b,y\n1e308,2,0\n1e308,2,0\n1e308,3,0\n1e308,4,1\n1e308,4,1\n-1e308,5,1\n",
         "'a'"},                                /* overflow */
        {"a,b,y\n1,\"2,0\n1,2,1\n", "bad.csv"}, /* a quote without an end */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put("bad.csv", cases[i].text);
        expect_refusal(TRAIN "bad.csv", cases[i].words);
    }
    expect_refusal(TRAIN "missing.csv", "missing.csv");
    expect_refusal(TRAIN ".", "train: ");
}

Test(command_line, refuses_a_line_of_200_megabytes)
{
    static char block[1 << 20];
    memset(block, '7', sizeof block);
    FILE *file = fopen("bad.csv", "wb");
    cr_assert(file);
    fputs("a,b,y\n", file);
    for (int i = 0; i < 200; i++)
        cr_assert(fwrite(block, sizeof block, 1, file) == 1);
    cr_assert(fclose(file) == 0);
    expect_refusal(TRAIN "bad.csv", "bad.csv:2");
}

Test(command_line, refuses_options_that_make_no_sense)
{
    static const char *const cases[][2] = {
        {"--batch 1000", "--batch"},
        {"--batch 0", "--batch"},
        {"--epochs 0", "--epochs"},
        {"--epochs 1e3", "--epochs"},
        {"--epochs 99999999999999999999", "--epochs"},
        {"--lr -0.1", "--lr"},
        {"--lr 0", "--lr"},
        {"--lr nan", "--lr"},
        {"--lr inf", "--lr"},
        {"--lr 0.1x", "--lr"},
        {"--hidden 0", "--hidden"},
        {"--hidden 8,,8", "--hidden"},
        {"--hidden 8,", "--hidden"},
        {"--hidden 1,1,1,1,1,1,1,1,1", "--hidden"},
        {"--hidden 1000000000", "--hidden"},
        {"--pos-weight -1", "--pos-weight"},
        {"--pos-weight heavy", "--pos-weight"},
        {"--test 0", "--test"},
        {"--test 1", "--test"},
        {"--seed -1", "--seed"},
        {"--seed one", "--seed"},
        {"--drop c", "'c'"},
        {"--drop y", "'y'"},
        {"--save nowhere/model.safetensors", "--save"},
        {"--save /", "--save"},
        {"--plot nowhere/picture.png", "--plot"},
        {"--target c", "'c'"},
        {"--positive 7", "'7'"},
    };
    put("good.csv", good);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[256];
        snprintf(line, sizeof line, TRAIN "good.csv %s", cases[i][0]);
        expect_refusal(line, cases[i][1]);
    }
    expect_refusal("train --data good.csv --positive 1", "--target");
    expect_refusal("train --data good.csv --target y", "--positive");
    expect_refusal("train --target y", "--data");
    expect_refusal("train --save nowhere/model.safetensors", "--save");
}

Test(command_line, answers_wrong_usage_with_status_2)
{
    cr_expect(run("train --no-such-option") == 2);
    cr_expect(run("train stray") == 2);
    cr_expect(run("train --epochs") == 2);
    cr_expect(run("predict --no-such-option") == 2);
    cr_expect(run("predict stray") == 2);
    cr_expect(run("train --help") == 0);
    cr_expect(run("predict --help") == 0);
}

/* Models that are cut at every length, and other files that are not models. */
Test(command_line, predict_refuses_what_is_no_model)
{
    put("good.csv", good);
    cr_assert(run("train --data good.csv --target y --positive 1 --batch 4 --epochs 3 --hidden 3 "
                  "--save good.safetensors") == 0);
    size_t size;
    char *model = get("good.safetensors", &size);
    for (size_t length = 0; length < size; length += 1 + size / 40) {
        FILE *file = fopen("cut.safetensors", "wb");
        cr_assert(file && fwrite(model, 1, length, file) == length && fclose(file) == 0);
        expect_refusal("predict --model cut.safetensors --data good.csv", "cut.safetensors");
    }
    free(model);
    put("text.safetensors", "This is no model, but long enough for eight bytes of length.");
    expect_refusal("predict --model text.safetensors --data good.csv", "text.safetensors");
    expect_refusal("predict --model missing.safetensors --data good.csv", "missing.safetensors");
    expect_refusal("predict", "moons.safetensors");
}

Test(command_line, predict_refuses_data_that_do_not_fit)
{
    put("good.csv", good);
    cr_assert(run("train --data good.csv --target y --positive 1 --batch 4 --epochs 3 --hidden 3 "
                  "--save good.safetensors") == 0);
    put("other.csv", "a,c,y\n1,2,0\n");
    put("text.csv", "b,a\n1,2\n1,two\n");
    put("short.csv", "a,b,y\n1,2,0\n2,3,1\n");
    put("bare.csv", "a,b\n1,2\n2,3\n");
#define PREDICT "predict --model good.safetensors --out old.png "
    expect_refusal(PREDICT "--data other.csv", "'b'");
    expect_refusal(PREDICT "--data text.csv", "text.csv:3:3");
    expect_refusal(PREDICT "--data missing.csv", "missing.csv");
    expect_refusal(PREDICT "--data short.csv --split test", "short.csv");
    expect_refusal(PREDICT "--data bare.csv --split test", "'y'");
    put_labelled("other_rows.csv", (labelled){0});
    expect_refusal(PREDICT "--data other_rows.csv --split test", "not the rows, in the same order");
    expect_refusal(PREDICT "--data good.csv --split some", "--split");
    expect_refusal(PREDICT, "--data");
    expect_refusal("predict --model good.safetensors --data good.csv --out nowhere/x", "--out");
}

/* ---- What is done ---------------------------------------------------------------------------- */

Test(command_line, moons_leave_a_model_and_a_picture)
{
    cr_assert(run("train --epochs 50") == 0);
    size_t length;
    char *said = get("err", &length);
    cr_expect(count_lines(said) >= 3 + 10 + 2, "not a line for each tenth: %s", said);
    free(said);
    cr_assert(rename("out", "figures") == 0);
    cr_expect(access("moons.safetensors", R_OK) == 0);
    if (system("gnuplot --version >/dev/null 2>&1") == 0) {
        size_t size;
        char *picture = get("moons.png", &size);
        cr_assert(picture != NULL);
        cr_expect(size > 8 && memcmp(picture, "\x89PNG\r\n\x1a\n", 8) == 0);
        free(picture);
    }
    cr_assert(run("predict") == 0);
    cr_expect(same_files("err", "figures"), "predict's figures are not train's");
    cr_assert(run("predict --out probabilities.csv") == 0);
    cr_expect(same_files("out", "figures"), "predict's figures are not train's");
}

Test(command_line, predict_gives_a_probability_for_each_row)
{
    put("good.csv", good);
    put("bare.csv", "b,a\n1,2\n2,3\n");
    cr_assert(
        run("train --data good.csv --target y --positive 1 --batch 4 --epochs 3 --hidden none "
            "--save good.safetensors --quiet") == 0);
    size_t size;
    char *said = get("err", &size);
    cr_expect(size == 0, "--quiet said: %s", said);
    free(said);
    cr_assert(run("predict --model good.safetensors --data good.csv") == 0);
    char *list = get("out", &size);
    cr_expect(strncmp(list, "probability\n0.", 14) == 0);
    cr_expect(count_lines(list) == 17);
    free(list);
    cr_assert(run("predict --model good.safetensors --data bare.csv") == 0);
    said = get("err", &size);
    cr_expect(size == 0, "figures without classes: %s", said);
    free(said);
}

/* The loss grows without limit: one line of error, status 1, and no model. */
Test(command_line, divergence_is_said)
{
    cr_expect(run("train --lr 999 --quiet --save new.safetensors --plot new.png") == 1);
    size_t size;
    char *said = get("err", &size);
    cr_expect(strstr(said, "--lr") && count_lines(said) == 1, "%s", said);
    free(said);
    cr_expect(access("new.safetensors", F_OK) != 0);
}

/* Instruction set and threads must not change a byte. */
Test(command_line, instruction_set_and_threads_change_nothing)
{
    char *plain[] = {"PATH=/usr/bin:/bin", NULL};
    char *scalar[] = {"PATH=/usr/bin:/bin", "GR_ISA=scalar", "OMP_NUM_THREADS=1", NULL};
    char *avx2[] = {"PATH=/usr/bin:/bin", "GR_ISA=avx2", "OMP_NUM_THREADS=3", NULL};
    char **all[] = {plain, scalar, avx2};
    for (int i = 0; i < 3; i++) {
        cr_assert(finish(start("train --epochs 4 --save new.safetensors", all[i])) == 0);
        if (i == 0)
            cr_assert(rename("out", "figures") == 0 && rename("new.safetensors", "model") == 0);
        else
            cr_expect(same_files("out", "figures") && same_files("new.safetensors", "model"), "%s",
                      all[i][1]);
    }
}

Test(command_line, interrupt_saves_the_best_weights)
{
    pid_t child = start("train --epochs 1000000", environ);
    size_t size = 0;
    for (int i = 0; i < 600 && !size; i++) { /* waits for the message that the training has begun */
        usleep(50000);
        char *said = get("err", &size);
        size = said && strstr(said, "gradient check") ? size : 0;
        free(said);
    }
    usleep(300000);
    cr_assert(kill(child, SIGINT) == 0);
    cr_expect(finish(child) == 130);
    cr_assert(rename("out", "figures") == 0);
    cr_assert(run("predict") == 0);
    cr_expect(same_files("err", "figures"), "the saved weights are not the ones that were judged");
}

Test(command_line, breast_cancer_figures_can_be_had_again)
{
    const char *data = breast_cancer();
    char line[2 * PATH_MAX];
    snprintf(line, sizeof line,
             "train --data %s --target diagnosis --positive M --drop id "
             "--save wdbc.safetensors",
             data);
    cr_assert(run(line) == 0);
    cr_assert(rename("out", "figures") == 0);
    snprintf(line, sizeof line, "predict --model wdbc.safetensors --data %s --split test", data);
    cr_assert(run(line) == 0);
    cr_expect(same_files("err", "figures"), "predict's figures are not train's");
}
