/* fit.c - the training loop.
 *
 * The held-out rows have no influence here. The validation rows decide which epoch is the best.
 * They were set aside from the training rows.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fit.h"

#include "fail.h"
#include "metrics.h"
#include "progress.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>

/* ---- Ctrl-C ---------------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void note_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* Catches only the first Ctrl-C. A second one ends the program at once. */
static void catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = note_interrupt, .sa_flags = SA_RESETHAND | SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

/* ---- One epoch ------------------------------------------------------------------------------- */

typedef struct run {
    gr_context *ctx;
    classifier *c;
    gr_optimizer *optimizer;
    const sample *training, *validation;
    const fit_options *options;
} run;

/* Takes one step down the gradient of some samples. Returns their loss. */
static double train_step(const run *r, int64_t count, const int64_t *chosen)
{
    gr_scope_begin(r->ctx);
    sample batch = batch_of(r->ctx, r->training, count, chosen);
    gr_tensor *loss = loss_of(logits_of(r->c->mlp, batch.x), batch.y, r->c->pos_weight);
    if (gr_backward(loss) != GR_OK || gr_step(r->optimizer) != GR_OK)
        give_up_error(r->ctx);
    double value = gr_item(loss);
    gr_scope_end(r->ctx);
    return value;
}

/* Takes all samples once. Returns the mean of their losses during the epoch. */
static double train_epoch(const run *r)
{
    int64_t all = r->training->rows, size = r->options->batch;
    double sum = 0;
    gr_scope_begin(r->ctx);
    gr_tensor *permutation = gr_permutation(r->ctx, all);
    give_up_error(r->ctx);
    const int64_t *order = gr_data(permutation);
    for (int64_t at = 0; at < all && !interrupted; at += size) {
        int64_t count = all - at < size ? all - at : size;
        sum += (double)count * train_step(r, count, order + at);
    }
    gr_scope_end(r->ctx);
    return sum / (double)all;
}

/* ---- All epochs ------------------------------------------------------------------------------ */

/* Training begins with large steps and ends with small ones. The rate falls along a parabola to
   almost 0. */
static void set_rate(const run *r, int64_t epoch)
{
    double left = 1 - (double)epoch / (double)r->options->epochs;
    if (gr_set_learning_rate(r->optimizer, r->options->lr * left * left) != GR_OK)
        give_up_error(r->ctx);
}

static void need_finite(const history *h, int64_t epoch)
{
    if (!isfinite(h->training[epoch]) || !isfinite(h->validation[epoch]))
        give_up("epoch %lld: the loss is no longer a finite number; a smaller --lr may help",
                (long long)epoch);
}

static void train_epochs(const run *r, history *h, gr_mlp *best)
{
    progress bar = progress_begin(r->options->epochs, r->options->quiet);
    for (int64_t epoch = 1; epoch <= r->options->epochs; epoch++) {
        set_rate(r, epoch - 1);
        h->training[epoch] = train_epoch(r);
        if (interrupted)
            break;
        figures now = judge(r->ctx, r->c, r->validation);
        h->validation[epoch] = now.trained_loss;
        need_finite(h, epoch);
        if (h->validation[epoch] < h->validation[h->best]) {
            h->best = epoch;
            copy_weights(r->ctx, best, r->c->mlp);
        }
        h->epochs = epoch;
        progress_show(&bar, epoch, now.trained_loss, now.accuracy);
    }
    progress_end(&bar);
}

static gr_optimizer *new_optimizer(gr_context *ctx, const gr_mlp *mlp, const fit_options *o)
{
    return gr_adamw(ctx, gr_mlp_parameters(mlp), .lr = o->lr, .weight_decay = o->weight_decay);
}

history fit(gr_context *ctx, classifier *c, const sample *training, const sample *validation,
            const fit_options *options)
{
    gr_optimizer *optimizer = new_optimizer(ctx, c->mlp, options);
    gr_mlp *best = new_mlp(ctx, c, GR_F32);
    give_up_error(ctx);
    copy_weights(ctx, best, c->mlp);

    run r = {ctx, c, optimizer, training, validation, options};
    history h = {.training = allocate(options->epochs + 1, sizeof(double)),
                 .validation = allocate(options->epochs + 1, sizeof(double))};
    h.training[0] = judge(ctx, c, training).trained_loss;
    h.validation[0] = judge(ctx, c, validation).trained_loss;

    catch_interrupt();
    train_epochs(&r, &h, best);
    h.interrupted = interrupted;
    copy_weights(ctx, c->mlp, best);
    return h;
}

void history_free(history *h)
{
    free(h->training);
    free(h->validation);
    *h = (history){0};
}
