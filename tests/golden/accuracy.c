/* accuracy.c - a loss and its gradients at given elements, for accuracy.py.
 *
 *     accuracy logits|bce f32|f64 pos_weight count < numbers > results
 *
 * numbers: count inputs and count targets; results: loss, dx, dy, dw, dp without a reduction, then
 * dx, dy, dw, dp of the sum and dx of the mean, count of each; all doubles. pos_weight is one
 * number for all, 0 for none; the weight is 1.
 *
 * SPDX-License-Identifier: MIT
 */
#include <gradus/gradus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESULTS = 10, DX_OF_SUM = 5, DX_OF_MEAN = 9 };

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

static gr_tensor *loss_of(bool logits, gr_tensor *x, const gr_bce_args *args)
{
    return logits ? gr_bce_with_logits_with(x, args) : gr_bce_with(x, args);
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
    gr_bce_args args = {GR_BCE_DEFAULTS, .target = y, .weight = w, .pos_weight = p,
                        .reduction = GR_NONE};
    gr_tensor *results[RESULTS] = {loss_of(logits, x, &args)};
    args.reduction = GR_SUM;
    gr_tensor *sum = loss_of(logits, x, &args);
    args.reduction = GR_MEAN;
    gr_tensor *mean = loss_of(logits, x, &args);
    const gr_grad_args plain = {0};
    if (gr_grad_with(results[0], gr_list(x, y, w, p), results + 1, &plain) == GR_OK &&
        gr_grad_with(sum, gr_list(x, y, w, p), results + DX_OF_SUM, &plain) == GR_OK &&
        gr_grad_with(mean, gr_list(x), results + DX_OF_MEAN, &plain) == GR_OK)
        for (int i = 0; i < RESULTS; i++)
            write_numbers(results[i], count);
    if (gr_error(ctx) != GR_OK)
        fprintf(stderr, "%s\n", gr_error_message(ctx));
    return gr_context_free(ctx) != GR_OK;
}
