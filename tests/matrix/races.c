/* races.c - runs every parallel loop of the library under ThreadSanitizer.
 *
 *     races           trains in one context with several threads, and in several contexts at once
 *     races --plant   has a race of its own, which must be reported
 *
 * It has a plain main, because Criterion's memory does not work with ThreadSanitizer.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/training/curve.h"
#include <pthread.h>
#include <string.h>

enum { THREADS = 4, SIDES = 3, STEPS = 3, LONG = 300 * 1000 };

/* Trains a few steps of a problem. All loops of a step use several threads. */
static void train(gr_context *ctx, const curve_problem *problem)
{
    const int64_t outputs = problem->sizes[problem->count - 1];
    gr_tensor *x = gr_randn(ctx, GR_F32, gr_shape(problem->rows, CURVE_INPUTS));
    gr_tensor *y = gr_rand(ctx, GR_F32, gr_shape(problem->rows, outputs));
    gr_mlp *mlp = gr_mlp_new(ctx, GR_F32, GR_TANH, problem->count, problem->sizes);
    gr_optimizer *adam = gr_adam(ctx, gr_mlp_parameters(mlp));
    double loss;
    for (int i = 0; i < STEPS; i++)
        if (curve_step(mlp, x, y, adam, &loss) != GR_OK)
            return;
}

/* Runs long tensors through each kind of loop: random, elementwise, cast, broadcast, sums of all
   shapes. */
static void compute(gr_context *ctx, gr_dtype dtype)
{
    gr_scope_begin(ctx);
    gr_tensor *x = gr_variable(gr_randn(ctx, dtype, gr_shape(LONG / 300, 300)));
    gr_tensor *y = gr_rand(ctx, dtype, gr_shape(LONG / 300, 300));
    gr_tensor *row = gr_randn(ctx, dtype, gr_shape(300));
    gr_tensor *square = gr_matmul(gr_transpose(x), x);
    gr_tensor *joined = gr_add(gr_mul(gr_tanh(x), row), gr_cast(gr_less(x, y), dtype));
    gr_tensor *sums =
        gr_add(gr_sum(gr_sum(joined, .axes = gr_axes(0))),
               gr_sum(gr_mean(gr_contiguous(gr_transpose(joined)), .axes = gr_axes(0))));
    gr_tensor *losses =
        gr_add(gr_bce(gr_sigmoid(x), y, .reduction = GR_SUM), gr_bce_with_logits(x, y, .gamma = 2));
    gr_tensor *all = gr_add(gr_add(sums, losses), gr_mean(square));
    gr_tensor *once = gr_grad(all, x);
    gr_grad(gr_sum(gr_square(once)), x);
    gr_permutation(ctx, LONG);
    gr_scope_end(ctx);
}

/* Does everything once in its own context. Returns NULL, or the problem. */
static void *work(void *unused)
{
    (void)unused;
    static char message[256];
    gr_context *ctx = gr_context_new(&(gr_context_options){.threads = THREADS});
    train(ctx, &curve_tall);
    train(ctx, &curve_wide);
    compute(ctx, GR_F32);
    compute(ctx, GR_F64);
    compute(ctx, GR_BF16);
    const bool good = gr_error(ctx) == GR_OK;
    if (!good)
        snprintf(message, sizeof message, "%s", gr_error_message(ctx));
    return gr_context_free(ctx) == GR_OK && good ? NULL : message;
}

static int work_side_by_side(void)
{
    pthread_t sides[SIDES];
    int failures = 0;
    for (int i = 0; i < SIDES; i++)
        if (pthread_create(&sides[i], NULL, work, NULL) != 0)
            return 1;
    for (int i = 0; i < SIDES; i++) {
        void *message;
        pthread_join(sides[i], &message);
        failures += message != NULL;
    }
    return failures;
}

/* Adds to one place from all threads. The library never does this. */
static int race(void)
{
    static double sum;
#pragma omp parallel for num_threads(THREADS)
    for (int i = 0; i < 100000; i++)
        sum += i;
    return sum < 0;
}

int main(int count, char **words)
{
    if (count == 2 && strcmp(words[1], "--plant") == 0)
        return race();
    const char *message = work(NULL);
    if (message)
        fprintf(stderr, "races: %s\n", message);
    return message || work_side_by_side() ? 1 : 0;
}
