/* verify.c - checks the gradient of the real model and the real loss before the training.
 *
 * relu has a kink at 0, and there a difference quotient is wrong. So the check takes the rows whose
 * hidden units are as far from their kinks as possible. It then moves parameters only by about a
 * millionth, so no unit crosses its kink.
 *
 * SPDX-License-Identifier: MIT
 */
#include "verify.h"

#include "fail.h"

#include <gradus/check.h>
#include <gradus/ops.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The check takes eight rows, half of them positive, and at most MOST_ENTRIES weights. More would
   take minutes. */
enum { ROWS = 8, MOST_ENTRIES = 20000 };

/* ---- Rows far from a kink -------------------------------------------------------------------- */

static void least_of_row(gr_tensor *z, double *least)
{
    const double *value = gr_data(z);
    int64_t rows = gr_size(z, 0), units = gr_size(z, 1);
    for (int64_t i = 0; i < rows * units; i++)
        least[i / units] = fmin(least[i / units], fabs(value[i]));
}

/* Returns for each row the smallest distance of a hidden unit's input from 0. */
static double *distances(gr_context *ctx, const gr_mlp *mlp, gr_tensor *x)
{
    gr_tensors parameters = gr_mlp_parameters(mlp);
    double *least = allocate(gr_size(x, 0), sizeof *least);
    for (int64_t i = 0; i < gr_size(x, 0); i++)
        least[i] = HUGE_VAL;
    for (int64_t i = 0; i + 2 < parameters.count; i += 2) {
        gr_tensor *z = gr_add(gr_matmul(x, gr_transpose(parameters.at[i])), parameters.at[i + 1]);
        give_up_error(ctx);
        least_of_row(z, least);
        x = gr_relu(z);
    }
    return least;
}

/* Returns the row of a class that is farthest from any kink, among the rows that are not yet taken.
   -1 if there is none. */
static int64_t farthest(const double *distance, gr_tensor *y, float class)
{
    const float *is = gr_data(y);
    int64_t best = -1;
    for (int64_t i = 0; i < gr_size(y, 0); i++)
        if (is[i] == class && distance[i] > 0 && (best < 0 || distance[i] > distance[best]))
            best = i;
    return best;
}

static int64_t choose_rows(double *distance, gr_tensor *y, int64_t chosen[ROWS])
{
    int64_t count = 0;
    for (int i = 0; i < ROWS; i++) {
        int64_t row = farthest(distance, y, (float)(i % 2));
        if (row >= 0) {
            chosen[count++] = row;
            distance[row] = 0;
        }
    }
    return count;
}

/* ---- The check ------------------------------------------------------------------------------- */

typedef struct problem {
    const gr_mlp *mlp;
    gr_tensor *x, *y;
    double pos_weight;
} problem;

/* The loss as a function of the perceptron's parameters. The checker moves these in place. */
static gr_tensor *model_loss(gr_tensors parameters, void *data)
{
    (void)parameters;
    const problem *p = data;
    return loss_of(logits_of(p->mlp, p->x), p->y, p->pos_weight);
}

static problem pose(gr_context *ctx, const classifier *c, const sample *s)
{
    gr_mlp *mlp = new_mlp(ctx, c, GR_F64);
    give_up_error(ctx);
    copy_weights(ctx, mlp, c->mlp);
    gr_tensor *x = gr_cast(s->x, GR_F64), *y = gr_cast(s->y, GR_F64);
    double *distance = distances(ctx, mlp, x);
    int64_t chosen[ROWS], count = choose_rows(distance, s->y, chosen);
    free(distance);
    return (problem){mlp, take(ctx, x, count, chosen), take(ctx, y, count, chosen), c->pos_weight};
}

/* Returns the parameters of the last layers. There are only as many as can be checked in a short
   time. */
static gr_tensors last_parameters(gr_tensors all, int64_t *left_out)
{
    int64_t first = all.count, entries = 0;
    while (first > 0 && entries + gr_numel(all.at[first - 1]) <= MOST_ENTRIES)
        entries += gr_numel(all.at[--first]);
    *left_out = 0;
    for (int64_t i = 0; i < first; i++)
        *left_out += gr_numel(all.at[i]);
    return (gr_tensors){all.count - first, all.at + first};
}

static void say(const gr_gradcheck_report *report, int64_t left_out)
{
    fprintf(stderr, "gradient check: passed, %lld entries, worst relative error %.0e",
            (long long)report->checked, report->worst.relative);
    if (left_out)
        fprintf(stderr, " (%lld entries of the first layers left out)", (long long)left_out);
    fputc('\n', stderr);
}

void verify_gradient(gr_context *ctx, const classifier *c, const sample *s, bool quiet)
{
    gr_scope_begin(ctx);
    problem p = pose(ctx, c, s);
    int64_t left_out;
    gr_tensors parameters = last_parameters(gr_mlp_parameters(p.mlp), &left_out);
    gr_gradcheck_report report = {0};
    gr_status status = gr_gradcheck(model_loss, &p, parameters, .report = &report);
    give_up_error(ctx);
    if (status != GR_OK) {
        gr_gradcheck_print(&report, stderr);
        give_up("the gradient of this model is wrong: it is not trained");
    }
    if (!quiet)
        say(&report, left_out);
    gr_scope_end(ctx);
}
