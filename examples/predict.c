/* predict.c - the probabilities of a classifier that train has saved.
 *
 *     predict                                           the held-out moons of moons.safetensors
 *     predict --model wdbc.safetensors --data new.csv   a probability for each row
 *     predict --model wdbc.safetensors --data wdbc.csv --split test
 *                                                       the figures that train printed
 *
 * The probabilities are a CSV file of one column, on stdout or, whole or not at all, in --out.
 * Where the data has the target column the figures follow: on stdout, or on stderr where stdout has
 * the probabilities. docs/classifier.md says what the figures mean. Exit status as train's.
 *
 * SPDX-License-Identifier: MIT
 */
#include "common/fail.h"
#include "common/metrics.h"
#include "common/model.h"
#include "common/moons.h"
#include "common/options.h"
#include "common/sample.h"
#include "common/split.h"

#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Options --------------------------------------------------------------------------------- */

typedef struct options {
    const char *model, *data, *out;
    bool test; /* only the rows that train held out */
} options;

static const struct argp_option argp_options[] = {
    {"model", 'm', "FILE.safetensors", 0, "What train saved; moons.safetensors", 0},
    {"data", 'd', "FILE.csv", 0,
     "Table with the model's columns in any order; others do not matter", 0},
    {"split", 's', "all|test", 0,
     "test: only the rows that train held out, of the file that it was given", 0},
    {"out", 'o', "FILE.csv", 0, "Where the probabilities go; stdout", 0},
    {0}};

static error_t parse(int key, char *text, struct argp_state *state)
{
    options *o = state->input;
    switch (key) {
    case 'm':
        o->model = text;
        return 0;
    case 'd':
        o->data = text;
        return 0;
    case 'o':
        o->out = text;
        return 0;
    case 's':
        o->test = strcmp(text, "test") == 0;
        if (!o->test && strcmp(text, "all") != 0)
            refuse("--split: '%.60s' is neither all nor test", text);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static options read_options(int argc, char **argv)
{
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Gives the probability of each row by a classifier that train has saved. Where the "
               "data has the target column, with the labels that the model knows, it also says how "
               "good the probabilities are."};
    options o = {.model = MOONS ".safetensors"};
    argp_err_exit_status = STATUS_REFUSED;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (o.out)
        check_writable("--out", o.out);
    check_apart("--out", o.out, "--data", o.data);
    check_apart("--out", o.out, "--model", o.model);
    return o;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static table read_data(gr_context *ctx, const classifier *c, const options *o)
{
    if (o->data)
        return table_to_predict(ctx, o->data, c->columns, c->names, c->target, c->labels);
    if (strcmp(c->source, MOONS) != 0)
        refuse("--data is missing: which rows %s is to judge", o->model);
    return table_of_moons(ctx, c->seed);
}

/* Without data there are the moons, most of which the model has learned from: the others count. */
static row_list choose_rows(const classifier *c, const table *t, const options *o)
{
    if (!o->test && o->data)
        return all_rows(t->rows);
    if (!t->positive)
        refuse("%s: no labels in a column '%s', by which --split finds the held-out rows",
               t->source, c->target);
    split parts = repeat_split(c, t);
    rows_free(&parts.left);
    return parts.taken;
}

/* ---- Probabilities --------------------------------------------------------------------------- */

/* A row whose numbers are far too large, or a model with NaN in it. */
static void need_numbers(const float *probability, row_list chosen, const table *t,
                         const char *model)
{
    for (int64_t i = 0; i < chosen.count; i++)
        if (isnan(probability[i]))
            refuse("%s:%lld: the probability of this row by %s is not a number", t->source,
                   (long long)gr_csv_line(t->csv, chosen.at[i]), model);
}

/* Nine digits: a float that is read back from them is the same float. */
static char *write_probabilities(const float *probability, int64_t rows, size_t *length)
{
    char *text = NULL;
    FILE *memory = open_memstream(&text, length);
    if (!memory)
        give_up("no memory for the probabilities");
    fputs("probability\n", memory);
    for (int64_t i = 0; i < rows; i++)
        fprintf(memory, "%.9g\n", (double)probability[i]);
    if (fclose(memory) != 0)
        give_up("no memory for the probabilities");
    return text;
}

static void deliver(gr_context *ctx, const char *text, size_t length, const char *out)
{
    if (out && gr_write_file(ctx, out, text, (int64_t)length) != GR_OK)
        give_up_error(ctx);
    if (!out && (fwrite(text, 1, length, stdout) != length || fflush(stdout) != 0))
        give_up("cannot write the probabilities to stdout");
}

int main(int argc, char **argv)
{
    options o = read_options(argc, argv);
    gr_context *ctx = gr_context_new(NULL);
    refuse_error(ctx);
    gr_archive *archive = gr_load(ctx, o.model);
    refuse_error(ctx);
    classifier c = load_classifier(ctx, archive, o.model);
    table t = read_data(ctx, &c, &o);
    row_list chosen = choose_rows(&c, &t, &o);
    say_separators(&t);
    sample s = sample_of(ctx, &c, &t, chosen);

    gr_no_grad_begin(ctx);
    gr_tensor *probability = probabilities_of(c.mlp, &s);
    gr_no_grad_end(ctx);
    give_up_error(ctx);
    need_numbers(gr_data(probability), chosen, &t, o.model);
    size_t length;
    char *text = write_probabilities(gr_data(probability), s.rows, &length);
    deliver(ctx, text, length, o.out);
    if (s.y) {
        figures f = judge(ctx, &c, &s);
        print_figures(&f, o.out ? stdout : stderr);
    }

    free(text);
    rows_free(&chosen);
    table_free(&t);
    free(c.names);
    gr_archive_free(archive);
    return gr_context_free(ctx) == GR_OK ? 0 : STATUS_FAILED;
}
