/* metrics.c - measures how good a classifier is.
 *
 * SPDX-License-Identifier: MIT
 */
#include "metrics.h"

#include "fail.h"

#include <gradus/ops.h>
#include <math.h>
#include <stdlib.h>

typedef struct scored {
    float probability, y;
} scored;

static int by_probability(const void *left, const void *right)
{
    const scored *a = left, *b = right;
    return (a->probability > b->probability) - (a->probability < b->probability);
}

/* Returns the probability that a positive row is ranked above a negative row. A tie counts one half
   (Mann and Whitney's U). It is computed from the sum of the ranks of the positive rows. Tied rows
   share their mean rank. All sums are multiples of 1/2, so they are exact. */
static double area_under_roc(int64_t rows, const float *probability, const float *y)
{
    scored *list = allocate(rows, sizeof *list);
    for (int64_t i = 0; i < rows; i++)
        list[i] = (scored){probability[i], y[i]};
    qsort(list, (size_t)rows, sizeof *list, by_probability);

    double rank_sum = 0, positive = 0;
    for (int64_t first = 0, next; first < rows; first = next) {
        double tied = list[first].y;
        for (next = first + 1; next < rows && list[next].probability == list[first].probability;
             next++)
            tied += list[next].y;
        rank_sum += tied * (double)(first + 1 + next) / 2;
        positive += tied;
    }
    free(list);
    double negative = (double)rows - positive;
    if (positive == 0 || negative == 0)
        return NAN;
    return (rank_sum - positive * (positive + 1) / 2) / (positive * negative);
}

static double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

static void count_sides(figures *f, int64_t rows, const float *probability, const float *y)
{
    for (int64_t i = 0; i < rows; i++) {
        bool said = (double)probability[i] >= f->threshold, is = y[i] == 1;
        f->true_positive += said && is;
        f->false_positive += said && !is;
        f->true_negative += !said && !is;
        f->false_negative += !said && is;
    }
}

static void add_ratios(figures *f, int64_t rows)
{
    double hit = (double)f->true_positive;
    f->accuracy = share(hit + (double)f->true_negative, (double)rows);
    f->precision = share(hit, hit + (double)f->false_positive);
    f->recall = share(hit, hit + (double)f->false_negative);
    f->f1 = share(2 * hit, 2 * hit + (double)(f->false_positive + f->false_negative));
}

/* The log loss is taken from the logits, because a probability near 0 or 1 has lost digits. */
figures judge(gr_context *ctx, const classifier *c, const sample *s)
{
    gr_scope_begin(ctx);
    gr_no_grad_begin(ctx);
    gr_tensor *logits = logits_of(c->mlp, s->x), *exact = gr_cast(logits, GR_F64);
    gr_tensor *probability = gr_sigmoid(logits);
    figures f = {
        .trained_loss = gr_item(loss_of(logits, s->y, c->pos_weight)),
        .log_loss = gr_item(loss_of(exact, gr_cast(s->y, GR_F64), 1)),
        .mean_probability = gr_item(gr_mean(gr_sigmoid(exact))),
        .threshold = threshold_of(c),
    };
    give_up_error(ctx);
    f.auc = area_under_roc(s->rows, gr_data(probability), gr_data(s->y));
    count_sides(&f, s->rows, gr_data(probability), gr_data(s->y));
    add_ratios(&f, s->rows);
    gr_no_grad_end(ctx);
    gr_scope_end(ctx);
    return f;
}

void print_figures(const figures *f, FILE *out)
{
    int64_t positive = f->true_positive + f->false_negative;
    int64_t negative = f->true_negative + f->false_positive;
    fprintf(out, "rows       %lld, %lld of them positive\n", (long long)(positive + negative),
            (long long)positive);
    fprintf(out, "share      %.6f positive, %.6f predicted\n",
            share((double)positive, (double)(positive + negative)), f->mean_probability);
    fprintf(out, "log loss   %.6f\n", f->log_loss);
    fprintf(out, "threshold  %.6f\n", f->threshold);
    fprintf(out, "accuracy   %.6f\n", f->accuracy);
    fprintf(out, "precision  %.6f\n", f->precision);
    fprintf(out, "recall     %.6f\n", f->recall);
    fprintf(out, "F1         %.6f\n", f->f1);
    if (isnan(f->auc))
        fprintf(out, "ROC AUC    undefined, there is only one class\n");
    else
        fprintf(out, "ROC AUC    %.6f\n", f->auc);
    fprintf(out, "confusion           said positive  said negative\n");
    fprintf(out, "  is positive       %13lld  %13lld\n", (long long)f->true_positive,
            (long long)f->false_negative);
    fprintf(out, "  is negative       %13lld  %13lld\n", (long long)f->false_positive,
            (long long)f->true_negative);
    if (fflush(out) != 0)
        give_up("cannot write the figures");
}
