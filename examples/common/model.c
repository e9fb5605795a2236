/* model.c - computes, saves and loads a classifier.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model.h"

#include "fail.h"

#include <gradus/losses.h>
#include <gradus/ops.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Change this name when the meaning of the file's content changes. */
#define FORMAT_NAME "gradus classifier 2"

/* ---- Computing ------------------------------------------------------------------------------- */

gr_mlp *new_mlp(gr_context *ctx, const classifier *c, gr_dtype dtype)
{
    int64_t sizes[MAX_HIDDEN + 2] = {c->columns};
    memcpy(sizes + 1, c->hidden, (size_t)c->layers * sizeof *sizes);
    sizes[c->layers + 1] = 1;
    return gr_mlp_new(ctx, dtype, GR_RELU, c->layers + 2, sizes);
}

void copy_weights(gr_context *ctx, gr_mlp *to, const gr_mlp *from)
{
    gr_tensors target = gr_mlp_parameters(to), source = gr_mlp_parameters(from);
    for (int64_t i = 0; i < target.count; i++)
        if (gr_write(target.at[i], gr_dtype_of(source.at[i]), gr_numel(source.at[i]),
                     gr_data(source.at[i])) != GR_OK)
            give_up_error(ctx);
}

void learn_scale(classifier *c, gr_tensor *x)
{
    c->mean = gr_mean(x, .axes = gr_axes(0));
    gr_tensor *spread = gr_sqrt(gr_mean(gr_square(gr_sub(x, c->mean)), .axes = gr_axes(0)));
    gr_tensor *rounding = gr_mul(gr_abs(c->mean), gr_scalar_like(spread, 1e-12));
    gr_tensor *is_constant = gr_less_equal(spread, rounding);
    c->deviation = gr_where(is_constant, gr_scalar_like(spread, 1), spread);
}

void need_finite_scale(const classifier *c, const char *source)
{
    const double *mean = gr_data(c->mean), *deviation = gr_data(c->deviation);
    for (int64_t i = 0; i < c->columns; i++)
        if (!isfinite(mean[i]) || !isfinite(deviation[i]))
            refuse("%s: the numbers in column '%s' are too large", source, c->names[i]);
}

gr_tensor *standardise(const classifier *c, gr_tensor *x)
{
    return gr_div(gr_sub(x, c->mean), c->deviation);
}

gr_tensor *logits_of(const gr_mlp *mlp, gr_tensor *x)
{
    return gr_reshape(gr_mlp_forward(mlp, x), gr_shape(gr_size(x, 0)));
}

gr_tensor *loss_of(gr_tensor *logits, gr_tensor *target, double pos_weight)
{
    return gr_bce_with_logits(logits, target, .pos_weight = gr_scalar_like(logits, pos_weight));
}

double threshold_of(const classifier *c) { return 1 / (1 + c->pos_weight); }

void write_fingerprint(char text[17], const table *t)
{
    snprintf(text, 17, "%016llx", (unsigned long long)fingerprint_of(t));
}

split repeat_split(const classifier *c, const table *t)
{
    if (t->rows != c->rows)
        refuse("%s: %lld rows, but the model was trained on a file of %lld: its held-out rows "
               "cannot be found again",
               t->source, (long long)t->rows, (long long)c->rows);
    char fingerprint[sizeof c->fingerprint];
    write_fingerprint(fingerprint, t);
    if (strcmp(fingerprint, c->fingerprint) != 0)
        refuse("%s: not the rows, in the same order, that the model was trained on: its held-out "
               "rows cannot be found again",
               t->source);
    row_list all = all_rows(t->rows);
    split parts = take_rows(all, t->positive, c->test, c->seed, FOR_TEST);
    rows_free(&all);
    return parts;
}

/* ---- The file -------------------------------------------------------------------------------- */

/* Lists the perceptron's parameters and the scale, with their names in the file. */
static int64_t name_tensors(const classifier *c, gr_named_tensor *list)
{
    gr_tensors weights = gr_mlp_parameters(c->mlp);
    for (int64_t i = 0; i < weights.count; i++)
        list[i] = (gr_named_tensor){gr_mlp_parameter_name(c->mlp, i), weights.at[i]};
    list[weights.count] = (gr_named_tensor){"scale.mean", c->mean};
    list[weights.count + 1] = (gr_named_tensor){"scale.deviation", c->deviation};
    return weights.count + 2;
}

enum { MOST_TENSORS = 2 * (MAX_HIDDEN + 1) + 2, FIXED_KEYS = 12 };

/* Numbers as text. Reading the text gives the same number again. */
typedef struct numbers {
    char hidden[8 * MAX_HIDDEN], pos_weight[32], rows[24], seed[24], test[32], columns[24];
} numbers;

static numbers write_numbers(const classifier *c)
{
    numbers n = {.hidden = "none"};
    for (int i = 0, at = 0; i < c->layers; i++)
        at += snprintf(n.hidden + at, sizeof n.hidden - (size_t)at, i ? ",%d" : "%d",
                       (int)c->hidden[i]);
    snprintf(n.pos_weight, sizeof n.pos_weight, "%.17g", c->pos_weight);
    snprintf(n.rows, sizeof n.rows, "%lld", (long long)c->rows);
    snprintf(n.seed, sizeof n.seed, "%llu", (unsigned long long)c->seed);
    snprintf(n.test, sizeof n.test, "%.17g", c->test);
    snprintf(n.columns, sizeof n.columns, "%lld", (long long)c->columns);
    return n;
}

typedef char column_key[32];

static void write_column_key(column_key key, int64_t column)
{
    snprintf(key, sizeof(column_key), "column.%lld", (long long)column);
}

static gr_status write_classifier(gr_context *ctx, const classifier *c, const char *path)
{
    gr_named_tensor tensors[MOST_TENSORS];
    int64_t count = name_tensors(c, tensors);
    numbers n = write_numbers(c);
    const gr_metadata fixed[FIXED_KEYS] = {
        {"format", FORMAT_NAME},
        {"source", c->source},
        {"rows", n.rows},
        {"fingerprint", c->fingerprint},
        {"seed", n.seed},
        {"test", n.test},
        {"target", c->target},
        {"positive", c->labels.positive},
        {"negative", c->labels.negative},
        {"pos_weight", n.pos_weight},
        {"hidden", n.hidden},
        {"columns", n.columns},
    };
    gr_metadata *metadata = allocate(FIXED_KEYS + c->columns, sizeof *metadata);
    column_key *keys = allocate(c->columns, sizeof *keys);
    memcpy(metadata, fixed, sizeof fixed);
    for (int64_t i = 0; i < c->columns; i++) {
        write_column_key(keys[i], i);
        metadata[FIXED_KEYS + i] = (gr_metadata){keys[i], c->names[i]};
    }
    gr_status status = gr_save(ctx, path, count, tensors, FIXED_KEYS + c->columns, metadata);
    free(keys);
    free(metadata);
    return status;
}

void save_classifier(gr_context *ctx, const classifier *c, const char *path)
{
    if (write_classifier(ctx, c, path) != GR_OK)
        give_up_error(ctx);
}

/* Returns a name in the folder where the file, or the file that a link leads to, will be. The
   caller frees it. */
static char *name_beside(const char *path)
{
    char *real = realpath(path, NULL), *beside;
    const char *place = real ? real : path, *slash = strrchr(place, '/');
    int folder = slash ? (int)(slash - place) + 1 : 0;
    if (asprintf(&beside, "%.*s.%.200s.rehearsal.%ld", folder, place, place + folder,
                 (long)getpid()) < 0)
        give_up("no memory for a file's name");
    free(real);
    return beside;
}

void rehearse_save(gr_context *ctx, const classifier *c, const char *path)
{
    char *beside = name_beside(path);
    gr_status status = write_classifier(ctx, c, beside);
    unlink(beside);
    free(beside);
    if (status == GR_ERROR_MEMORY)
        give_up_error(ctx);
    if (status != GR_OK)
        refuse("--save: %s", gr_error_message(ctx));
}

typedef struct reader {
    gr_archive *archive;
    const char *path;
} reader;

static const char *text_of(reader r, const char *key)
{
    const char *text = gr_archive_metadata(r.archive, key);
    if (!text)
        refuse("%s: not a model that train saved: its metadata has no '%s'", r.path, key);
    return text;
}

static int64_t integer_of(reader r, const char *key, int64_t low, int64_t high)
{
    char what[256];
    snprintf(what, sizeof what, "%.200s: metadata '%s'", r.path, key);
    return read_integer(what, text_of(r, key), low, high);
}

static double number_of(reader r, const char *key, double low, double high)
{
    char what[256];
    snprintf(what, sizeof what, "%.200s: metadata '%s'", r.path, key);
    return read_number(what, text_of(r, key), low, high);
}

static int sizes_of(reader r, const char *key, int64_t sizes[MAX_HIDDEN])
{
    char what[256];
    snprintf(what, sizeof what, "%.200s: metadata '%s'", r.path, key);
    return read_sizes(what, text_of(r, key), sizes);
}

static const char **names_of(reader r, int64_t columns)
{
    const char **names = allocate(columns, sizeof *names);
    for (int64_t i = 0; i < columns; i++) {
        column_key key;
        write_column_key(key, i);
        names[i] = text_of(r, key);
    }
    return names;
}

static void read_tensors(gr_context *ctx, classifier *c, reader r)
{
    c->mlp = new_mlp(ctx, c, GR_F32);
    c->mean = gr_zeros(ctx, GR_F64, gr_shape(c->columns));
    c->deviation = gr_zeros(ctx, GR_F64, gr_shape(c->columns));
    give_up_error(ctx);
    gr_named_tensor tensors[MOST_TENSORS];
    int64_t count = name_tensors(c, tensors);
    if (gr_archive_read(r.archive, count, tensors) != GR_OK)
        refuse("%s: %s", r.path, gr_error_message(ctx));
}

classifier load_classifier(gr_context *ctx, gr_archive *archive, const char *path)
{
    reader r = {archive, path};
    if (strcmp(text_of(r, "format"), FORMAT_NAME) != 0)
        refuse("%s: format '%.60s' is not '%s'; train the model again", path, text_of(r, "format"),
               FORMAT_NAME);
    classifier c = {.columns = integer_of(r, "columns", 1, MAX_COLUMNS),
                    .target = text_of(r, "target"),
                    .labels = {text_of(r, "positive"), text_of(r, "negative")},
                    .pos_weight = number_of(r, "pos_weight", 0, HUGE_VAL),
                    .source = text_of(r, "source"),
                    .rows = integer_of(r, "rows", 1, INT64_MAX),
                    .seed = (uint64_t)integer_of(r, "seed", 0, MAX_SEED),
                    .test = number_of(r, "test", 0, 1)};
    c.layers = sizes_of(r, "hidden", c.hidden);
    c.names = names_of(r, c.columns);
    snprintf(c.fingerprint, sizeof c.fingerprint, "%s", text_of(r, "fingerprint"));
    read_tensors(ctx, &c, r);
    return c;
}
