/* accuracy.c - a loss and its gradients at given elements, for accuracy.py.
 *
 *     accuracy logits|bce f32|f64 pos_weight count < numbers > results
 *
 * numbers: count inputs and count targets; results: loss, dx, dy, dw, dp, count of each; all
 * doubles. pos_weight is one number for all, 0 for none; the weight is 1. Reduction: none.
 *
 * SPDX-License-Identifier: MIT
 */
#include <gradus/gradus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESULTS = 5 };

static gr_tensor *read_numbers(gr_context *ctx, gr_dtype dtype, int64_t count)
{
    double *numbers = malloc((size_t)count * sizeof *numbers);
    if (!numbers || fread(numbers, sizeof *numbers, (size_t)count, stdin) != (size_t)count)
        exit(1);
    gr_tensor *made = gr_cast(gr_from_data(ctx, GR_F64, gr_shape(count), numbers), dtype);
    free(numbers);
    return gr_variable(made);
}

static void write_numbers(gr_tensor *x, int64_t count)
{
    double *numbers = malloc((size_t)count * sizeof *numbers);
    if (!numbers || gr_read(x, GR_F64, count, numbers) != GR_OK ||
        fwrite(numbers, sizeof *numbers, (size_t)count, stdout) != (size_t)count)
        exit(1);
    free(numbers);
}

int main(int count_of_words, char **words)
{
    if (count_of_words != 5)
        return 2;
    const bool logits = strcmp(words[1], "logits") == 0;
    const gr_dtype dtype = strcmp(words[2], "f32") == 0 ? GR_F32 : GR_F64;
    const double pos_weight = atof(words[3]);
    const int64_t count = atoll(words[4]);

    gr_context *ctx = gr_context_new(NULL);
    gr_tensor *x = read_numbers(ctx, dtype, count), *y = read_numbers(ctx, dtype, count);
    gr_tensor *w = gr_variable(gr_ones(ctx, dtype, gr_shape(count)));
    gr_tensor *p =
        gr_variable(gr_full(ctx, dtype, gr_shape(count), pos_weight == 0 ? 1 : pos_weight));
    const gr_bce_args args = {.target = y, .weight = w, .pos_weight = p, .reduction = GR_NONE};
    gr_tensor *results[RESULTS] = {logits ? gr_bce_with_logits_with(x, &args)
                                          : gr_bce_with(x, &args)};
    if (gr_grad_with(results[0], gr_list(x, y, w, p), results + 1, &(gr_grad_args){0}) == GR_OK)
        for (int i = 0; i < RESULTS; i++)
            write_numbers(results[i], count);
    if (gr_error(ctx) != GR_OK)
        fprintf(stderr, "%s\n", gr_error_message(ctx));
    return gr_context_free(ctx) != GR_OK;
}
