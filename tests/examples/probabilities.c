/* probabilities.c - tests that what predict gives are probabilities: their mean, their log loss,
 * and what weights do to them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(probabilities, .init = enter, .fini = leave, .timeout = 300);

/* ---- Data with a known prevalence ------------------------------------------------------------ */

enum { ROWS = 1000, POSITIVE = 150 };
static const double prevalence = (double)POSITIVE / ROWS;

/* Returns a number between -1 and 1 (a linear congruential generator, as in Numerical Recipes). */
static double uniform(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) / 8388608.0 - 1;
}

/* Positive rows lie `apart` to the right in the first column; the second one says nothing. */
static void put_rare(const char *path, double apart)
{
    uint32_t state = 1;
    FILE *file = fopen(path, "wb");
    cr_assert(file);
    fputs("a,b,y\n", file);
    for (int row = 0; row < ROWS; row++) {
        int positive = (row * 7) % ROWS < POSITIVE;
        double a = uniform(&state) + uniform(&state) + uniform(&state), b = uniform(&state);
        fprintf(file, "%.6f,%.6f,%d\n", positive ? a + apart : a, b, positive);
    }
    cr_assert(fclose(file) == 0);
}

static const char *const weights[] = {"", "--pos-weight auto", "--pos-weight 20",
                                      "--pos-weight 0.05 --weight-decay 2",
                                      "--hidden none --weight-decay 5 --pos-weight 3"};
enum { WEIGHTS = sizeof weights / sizeof *weights };

/* ---- What predict gives ---------------------------------------------------------------------- */

typedef struct answer {
    double mean, log_loss;     /* of the probabilities, computed here */
    double printed, threshold; /* the figures */
    double recall;
} answer;

static double figure(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    cr_assert(at, "no '%s' in: %s", name, text);
    return strtod(at + strlen(name), NULL);
}

/* -mean(y log p + (1 - y) log(1 - p)), as scikit-learn's log_loss has it: p is first clipped by the
   rounding of a double. */
static void measure(answer *a, const char *list, const char *data)
{
    const char *p = strchr(list, '\n') + 1, *row = strchr(data, '\n') + 1;
    int rows = 0;
    for (; *p; p = strchr(p, '\n') + 1, row = strchr(row, '\n') + 1, rows++) {
        double value = strtod(p, NULL), tiny = 2.220446049250313e-16;
        double clipped = fmin(fmax(value, tiny), 1 - tiny);
        bool positive = strchr(row, '\n')[-1] == '1';
        cr_assert(value >= 0 && value <= 1);
        a->mean += value;
        a->log_loss -= positive ? log(clipped) : log1p(-clipped);
    }
    cr_assert(rows == ROWS, "%d rows", rows);
    a->mean /= rows;
    a->log_loss /= rows;
}

static answer train_and_predict(const char *data, const char *options)
{
    char line[512];
    size_t size;
    snprintf(
        line, sizeof line,
        "train --data %s --target y --positive 1 --epochs 20 --quiet --save new.safetensors %s",
        data, options);
    cr_assert(run(line) == 0, "%s", line);
    snprintf(line, sizeof line, "predict --data %s --model new.safetensors", data);
    cr_assert(run(line) == 0, "%s", line);
    char *list = get("out", &size), *figures = get("err", &size), *table = get(data, &size);
    answer a = {.printed = figure(figures, "log loss "),
                .threshold = figure(figures, "threshold "),
                .recall = figure(figures, "recall ")};
    measure(&a, list, table);
    free(list);
    free(figures);
    free(table);
    return a;
}

/* ---- Tests ----------------------------------------------------------------------------------- */

/* With the positive rows weighted the mean was once 0.39 for a prevalence of 0.15. */
Test(probabilities, have_the_share_of_positive_rows_as_their_mean)
{
    put_rare("rare.csv", 1);
    for (int i = 0; i < WEIGHTS; i++) {
        answer a = train_and_predict("rare.csv", weights[i]);
        cr_expect(fabs(a.mean - prevalence) < 0.01, "'%s': mean %.4f", weights[i], a.mean);
    }
}

Test(probabilities, of_columns_that_say_nothing_are_near_the_share)
{
    put_rare("rare.csv", 0);
    for (int i = 0; i < WEIGHTS; i++) {
        answer a = train_and_predict("rare.csv", weights[i]);
        cr_expect(fabs(a.mean - prevalence) < 0.01, "'%s': mean %.4f", weights[i], a.mean);
        double best = -prevalence * log(prevalence) - (1 - prevalence) * log1p(-prevalence);
        cr_expect(a.log_loss < best + 0.01, "'%s': log loss %.4f", weights[i], a.log_loss);
    }
}

Test(probabilities, of_classes_that_do_not_overlap_are_finite)
{
    put_rare("rare.csv", 9);
    answer a = train_and_predict("rare.csv", "--pos-weight auto");
    cr_expect(fabs(a.mean - prevalence) < 0.01, "mean %.4f", a.mean);
    cr_expect(a.log_loss < 0.05, "log loss %.4f", a.log_loss);
}

Test(probabilities, have_the_log_loss_that_is_printed)
{
    put_rare("rare.csv", 1);
    for (int i = 0; i < WEIGHTS; i++) {
        answer a = train_and_predict("rare.csv", weights[i]);
        cr_expect(fabs(a.printed - a.log_loss) < 1e-6, "'%s': printed %.6f, is %.6f", weights[i],
                  a.printed, a.log_loss);
    }
}

/* A weight says which error is worse. That is a matter of the threshold. */
Test(probabilities, are_cut_where_the_weight_says)
{
    put_rare("rare.csv", 1);
    answer plain = train_and_predict("rare.csv", "");
    answer weighted = train_and_predict("rare.csv", "--pos-weight 4");
    cr_expect(plain.threshold == 0.5, "%f", plain.threshold);
    cr_expect(weighted.threshold == 0.2, "%f", weighted.threshold);
    cr_expect(weighted.recall > plain.recall + 0.1, "recall %f and %f", plain.recall,
              weighted.recall);
}

Test(probabilities, of_the_breast_cancer_data_have_the_share_as_their_mean)
{
    const char *data = breast_cancer();
    char line[2 * PATH_MAX];
    for (int i = 0; i < 2; i++) {
        size_t size;
        snprintf(line, sizeof line,
                 "train --data %s --target diagnosis --positive M --drop id --quiet %s "
                 "--save new.safetensors",
                 data, weights[i]);
        cr_assert(run(line) == 0);
        snprintf(line, sizeof line, "predict --model new.safetensors --data %s", data);
        cr_assert(run(line) == 0);
        char *figures = get("err", &size);
        double positive = figure(figures, "share "), predicted = figure(figures, "positive, ");
        cr_expect(fabs(positive - predicted) < 0.01, "%s", figures);
        free(figures);
    }
}
