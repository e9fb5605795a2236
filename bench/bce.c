/* bce.c - measures the time of loss and gradient of a large array. It also measures passes that
 * only move memory, for comparison.
 *
 *     OMP_NUM_THREADS=1 build/bench/bce [elements]
 *
 * The cases run in turn, RUNS times. It prints the median, the fastest and the slowest run.
 *
 * SPDX-License-Identifier: MIT
 */
#include <gradus/gradus.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RUNS = 15 };

typedef struct bench {
    gr_tensor *x, *parameter, *y;
} bench;

static gr_tensor *loss_and_gradient(const bench *b)
{
    return gr_bce_with_logits(b->parameter, b->y);
}
static gr_tensor *loss_alone(const bench *b) { return gr_bce_with_logits(b->x, b->y); }
static gr_tensor *each_loss(const bench *b)
{
    return gr_bce_with_logits(b->x, b->y, .reduction = GR_NONE);
}
static gr_tensor *bare_pass(const bench *b) { return gr_add(b->x, b->y); }
static gr_tensor *exp_pass(const bench *b) { return gr_exp(b->x); }

static const struct row {
    const char *name;
    gr_tensor *(*run)(const bench *);
} rows[] = {
    {"bce_with_logits, mean, and its gradient", loss_and_gradient},
    {"bce_with_logits, mean", loss_alone},
    {"bce_with_logits, none", each_loss},
    {"a pass that reads two arrays and writes one", bare_pass},
    {"exp", exp_pass},
};
enum { ROWS = sizeof rows / sizeof *rows };

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **arguments)
{
    static double times[ROWS][RUNS];
    const int64_t n = count > 1 ? atoll(arguments[1]) : 1 << 24;
    gr_context *ctx = gr_context_new(NULL);
    bench b = {.x = gr_randn(ctx, GR_F32, gr_shape(n))};
    b.parameter = gr_parameter(b.x);
    b.y = gr_cast(gr_greater(gr_rand(ctx, GR_F32, gr_shape(n)), gr_scalar(ctx, 0.5)), GR_F32);
    for (int run = -1; run < RUNS; run++) { /* the first run only warms up the memory */
        for (int row = 0; row < ROWS; row++) {
            gr_scope_begin(ctx);
            const double start = seconds();
            rows[row].run(&b);
            if (run >= 0)
                times[row][run] = 1e3 * (seconds() - start);
            gr_scope_end(ctx);
        }
    }
    printf("%lld elements, %s, ms: median (fastest to slowest of %d)\n", (long long)n,
           gr_context_isa(ctx), RUNS);
    for (int row = 0; row < ROWS; row++) {
        qsort(times[row], RUNS, sizeof(double), by_size);
        printf("%8.2f (%.2f to %.2f)  %s\n", times[row][RUNS / 2], times[row][0],
               times[row][RUNS - 1], rows[row].name);
    }
    fprintf(stderr, "%s", gr_error_message(ctx));
    return gr_context_free(ctx) == GR_OK ? 0 : 1;
}
