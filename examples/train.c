/* train.c - trains a classifier on a CSV file, or on two moons, and says how good it is on rows
 * that it has not seen.
 *
 *     train                                        two moons: moons.safetensors and moons.png
 *     train --data wdbc.csv --target diagnosis --positive M --drop id --save wdbc.safetensors
 *
 * The figures on stdout and the model are the same to the last bit on every machine, for any number
 * of threads. docs/classifier.md says what the figures mean, and what a weight does.
 *
 * Exit status: 0; 1: the work could not be done; 2: the input or an option makes no sense, and no
 * file was touched; 130: interrupted, and the best weights so far are saved.
 *
 * SPDX-License-Identifier: MIT
 */
#include "common/calibrate.h"
#include "common/fail.h"
#include "common/fit.h"
#include "common/metrics.h"
#include "common/moons.h"
#include "common/options.h"
#include "common/plot.h"
#include "common/sample.h"
#include "common/split.h"
#include "common/verify.h"

#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Options --------------------------------------------------------------------------------- */

typedef struct options {
    table_request data; /* path NULL: moons */
    const char **drop;
    int64_t hidden[MAX_HIDDEN];
    int layers;
    fit_options fit;
    double pos_weight; /* 0: negatives/positives */
    double test;
    uint64_t seed;
    const char *save, *plot;
    bool plot_wanted; /* --plot was given: without gnuplot there is nothing to do */
} options;

enum {
    OPTION_WEIGHT_DECAY = 256,
    OPTION_POS_WEIGHT,
    OPTION_TEST,
    OPTION_SEED,
    OPTION_SAVE,
    OPTION_PLOT
};

static const struct argp_option argp_options[] = {
    {0, 0, 0, 0, "Data (without --data: two noisy moons, made from the seed)", 1},
    {"data", 'd', "FILE.csv", 0,
     "Table with a header; every cell but the target's is a number. Commas, semicolons, tabs or "
     "bars separate the cells",
     1},
    {"target", 't', "COLUMN", 0, "The column to be predicted", 1},
    {"positive", 'p', "VALUE", 0, "Its text in the positive rows; the others have one other text",
     1},
    {"drop", 'x', "COLUMN", 0, "A column to leave out; may be given often", 1},
    {"test", OPTION_TEST, "FRACTION", 0, "Rows of each class to hold out; 0.3", 1},
    {0, 0, 0, 0, "Model and training", 2},
    {"hidden", 'H', "SIZES", 0, "Units of the hidden layers, or none; 32,16", 2},
    {"epochs", 'e', "N", 0, "Times that each row is seen; 100", 2},
    {"batch", 'b', "N", 0, "Rows in a step; 32, or all if there are fewer", 2},
    {"lr", 'l', "X", 0, "Learning rate of AdamW in the first epoch; 0.01", 2},
    {"weight-decay", OPTION_WEIGHT_DECAY, "X", 0, "How strongly AdamW pulls weights to 0; 0.5", 2},
    {"pos-weight", OPTION_POS_WEIGHT, "X", 0,
     "How many times as bad it is to miss a positive row, or auto: negatives/positives; 1. It "
     "moves the threshold and not the probabilities",
     2},
    {"seed", OPTION_SEED, "N", 0, "Of the split, the first weights and the order of rows; 1", 2},
    {0, 0, 0, 0, "Output", 3},
    {"save", OPTION_SAVE, "FILE.safetensors", 0,
     "Where the model goes; for moons: moons.safetensors", 3},
    {"plot", OPTION_PLOT, "FILE.png", 0, "Draws with gnuplot; for moons: moons.png", 3},
    {"quiet", 'q', 0, 0, "Say nothing but the figures", 3},
    {0}};

static error_t parse(int key, char *text, struct argp_state *state)
{
    options *o = state->input;
    switch (key) {
    case 'd':
        o->data.path = text;
        return 0;
    case 't':
        o->data.target = text;
        return 0;
    case 'p':
        o->data.positive = text;
        return 0;
    case 'x':
        o->drop[o->data.drops++] = text;
        return 0;
    case 'H':
        o->layers = read_sizes("--hidden", text, o->hidden);
        return 0;
    case 'e':
        o->fit.epochs = read_integer("--epochs", text, 1, 1000000);
        return 0;
    case 'b':
        o->fit.batch = read_integer("--batch", text, 1, 1 << 30);
        return 0;
    case 'l':
        o->fit.lr = read_number("--lr", text, 0, 1000);
        return 0;
    case OPTION_WEIGHT_DECAY:
        o->fit.weight_decay = strcmp(text, "0") ? read_number("--weight-decay", text, 0, 1000) : 0;
        return 0;
    case 'q':
        o->fit.quiet = true;
        return 0;
    case OPTION_POS_WEIGHT:
        o->pos_weight = strcmp(text, "auto") ? read_number("--pos-weight", text, 0, 1e6) : 0;
        return 0;
    case OPTION_TEST:
        o->test = read_number("--test", text, 0, 1);
        return 0;
    case OPTION_SEED:
        o->seed = (uint64_t)read_integer("--seed", text, 0, MAX_SEED);
        return 0;
    case OPTION_SAVE:
        o->save = text;
        return 0;
    case OPTION_PLOT:
        o->plot = text;
        o->plot_wanted = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void check_data_options(const options *o)
{
    const table_request *data = &o->data;
    if (!data->path && (data->target || data->positive || data->drops))
        refuse("--data is missing: --target, --positive and --drop say how to read it");
    if (data->path && !data->target)
        refuse("--target is missing: which column of %s is to be predicted", data->path);
    if (data->path && !data->positive)
        refuse("--positive is missing: which value of '%s' is the positive one", data->target);
}

/* Moons have outputs by default, for a first run should leave something to look at. */
static void choose_outputs(options *o)
{
    if (!o->data.path && !o->save)
        o->save = MOONS ".safetensors";
    if (o->save)
        check_writable("--save", o->save);
    bool drawing = o->plot_wanted || !o->data.path;
    if (drawing && !can_draw()) {
        if (o->plot_wanted)
            refuse("--plot: gnuplot, which draws it, is not installed");
        fprintf(stderr, "gnuplot is not installed: no picture is drawn\n");
    } else if (drawing && !o->plot) {
        o->plot = MOONS ".png";
    }
    if (o->plot)
        check_writable("--plot", o->plot);
    check_apart("--save", o->save, "--data", o->data.path);
    check_apart("--plot", o->plot, "--data", o->data.path);
    check_apart("--plot", o->plot, "--save", o->save);
}

static options read_options(int argc, char **argv)
{
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Trains a classifier of two classes and judges it on rows that it has not seen."};
    options o = {.drop = allocate(argc, sizeof *o.drop),
                 .hidden = {32, 16},
                 .layers = 2,
                 .fit = {.epochs = 100, .lr = 0.01, .weight_decay = 0.5},
                 .pos_weight = 1,
                 .test = 0.3,
                 .seed = 1};
    o.data.drop = o.drop;
    argp_err_exit_status = STATUS_REFUSED;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    check_data_options(&o);
    choose_outputs(&o);
    return o;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* How much of the training rows is set aside to decide which epoch was best. */
static const double validation_share = 0.15;

typedef struct parts {
    row_list held_out;          /* for the figures at the end, and nothing else */
    row_list training;          /* the others: ... */
    row_list fitted, validated; /* ... trained on, and looked at after each epoch */
} parts;

/* A class needs a row in each of the three parts. */
static void need_three_rows(const table *t)
{
    int64_t positive = count_positive(t), negative = t->rows - positive;
    if (positive < 3 || negative < 3)
        refuse("%s: %lld rows are %s; 3 are needed to train, to validate and to hold out",
               t->source, (long long)(positive < 3 ? positive : negative),
               positive < 3 ? "positive" : "negative");
}

/* Divides the rows, and settles how many of them make a batch. */
static parts divide_rows(const table *t, options *o)
{
    need_three_rows(t);
    row_list all = all_rows(t->rows);
    split outer = take_rows(all, t->positive, o->test, o->seed, FOR_TEST);
    split inner = take_rows(outer.left, t->positive, validation_share, o->seed, FOR_VALIDATION);
    rows_free(&all);
    if (o->fit.batch > inner.left.count)
        refuse("--batch: %lld is more than the %lld rows of %s to train on",
               (long long)o->fit.batch, (long long)inner.left.count, t->source);
    if (!o->fit.batch)
        o->fit.batch = inner.left.count < 32 ? inner.left.count : 32;
    return (parts){outer.taken, outer.left, inner.left, inner.taken};
}

static void parts_free(parts *p)
{
    rows_free(&p->held_out);
    rows_free(&p->training);
    rows_free(&p->fitted);
    rows_free(&p->validated);
}

static double ratio_of_classes(const table *t, row_list chosen)
{
    int64_t positive = 0;
    for (int64_t i = 0; i < chosen.count; i++)
        positive += t->positive[chosen.at[i]];
    return (double)(chosen.count - positive) / (double)positive;
}

/* ---- The work -------------------------------------------------------------------------------- */

static classifier new_classifier(gr_context *ctx, const table *t, const parts *p, const options *o)
{
    classifier c = {.columns = t->columns,
                    .names = t->names,
                    .target = o->data.path ? o->data.target : MOONS_TARGET,
                    .labels = t->labels,
                    .layers = o->layers,
                    .pos_weight = o->pos_weight,
                    .source = o->data.path ? "csv" : MOONS,
                    .rows = t->rows,
                    .seed = o->seed,
                    .test = o->test};
    if (c.pos_weight == 0)
        c.pos_weight = ratio_of_classes(t, p->training);
    memcpy(c.hidden, o->hidden, sizeof c.hidden);
    write_fingerprint(c.fingerprint, t);
    learn_scale(&c, take(ctx, t->x, p->training.count, p->training.at));
    c.mlp = new_mlp(ctx, &c, GR_F32);
    give_up_error(ctx);
    need_finite_scale(&c, t->source);
    return c;
}

static void say_what_is_trained(const table *t, const parts *p, const classifier *c)
{
    say_separators(t);
    fprintf(stderr, "%s: %lld rows of %lld columns, %lld of them positive\n", t->source,
            (long long)t->rows, (long long)t->columns, (long long)count_positive(t));
    fprintf(stderr, "%lld rows to train on, %lld to validate, %lld held out; pos_weight %.4g\n",
            (long long)p->fitted.count, (long long)p->validated.count, (long long)p->held_out.count,
            c->pos_weight);
}

static void say_what_was_kept(const history *h, double offset, const options *o)
{
    if (h->interrupted)
        fprintf(stderr, "interrupted after epoch %lld\n", (long long)h->epochs);
    fprintf(stderr, "kept: the weights of epoch %lld, validation loss %.4f\n", (long long)h->best,
            h->validation[h->best]);
    fprintf(stderr,
            "calibrated: %+.4f on every logit makes the mean probability the share of positives\n",
            offset);
    if (o->save)
        fprintf(stderr, "saved: %s\n", o->save);
}

int main(int argc, char **argv)
{
    options o = read_options(argc, argv);
    gr_context *ctx = gr_context_new(&(gr_context_options){.seed = seed_for(o.seed, FOR_TRAINING)});
    refuse_error(ctx);
    table t = o.data.path ? table_to_train(ctx, &o.data) : table_of_moons(ctx, o.seed);
    parts p = divide_rows(&t, &o);
    classifier c = new_classifier(ctx, &t, &p, &o);
    if (o.save)
        rehearse_save(ctx, &c, o.save);
    sample training = sample_of(ctx, &c, &t, p.training);
    sample fitted = sample_of(ctx, &c, &t, p.fitted);
    sample validated = sample_of(ctx, &c, &t, p.validated);
    sample held_out = sample_of(ctx, &c, &t, p.held_out);
    if (!o.fit.quiet)
        say_what_is_trained(&t, &p, &c);

    verify_gradient(ctx, &c, &fitted, o.fit.quiet);
    history h = fit(ctx, &c, &fitted, &validated, &o.fit);
    double offset = calibrate(ctx, &c, &training);
    if (o.save)
        save_classifier(ctx, &c, o.save);
    if (!o.fit.quiet)
        say_what_was_kept(&h, offset, &o);
    figures f = judge(ctx, &c, &held_out);
    print_figures(&f, stdout);
    if (o.plot)
        draw(ctx, &(picture){&h, &c, &t, p.training, p.held_out, &held_out}, o.plot);
    if (o.plot && !o.fit.quiet)
        fprintf(stderr, "drawn: %s\n", o.plot);

    int status = h.interrupted ? STATUS_INTERRUPTED : 0;
    history_free(&h);
    parts_free(&p);
    table_free(&t);
    free(o.drop);
    gr_status end = gr_context_free(ctx);
    return end == GR_OK ? status : STATUS_FAILED;
}
