/* derivatives.c - value, first and second derivative of an op or loss of one number, for
 * derivatives.py.
 *
 *     derivatives NAME f32|f64 count < numbers > results
 *
 * numbers: count inputs x; results: count values, first and second derivatives; all doubles. For
 * softmax and the losses over classes x stands for the logits {0, x, -x}, and the derivatives are
 * those in the second logit, of class 1.
 *
 * SPDX-License-Identifier: MIT
 */
#include <gradus/gradus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 3 };

static gr_tensor *constant(gr_tensor *x, double value)
{
    return gr_full(gr_context_of(x), gr_dtype_of(x), gr_shape_of(x), value);
}

/* The losses of the elements. Returns NULL for the names of over_classes. */
static gr_tensor *of_one(const char *name, gr_tensor *x)
{
#define OP(word, call)                                                                             \
    if (strcmp(name, word) == 0)                                                                   \
        return call;
    OP("exp", gr_exp(x))
    OP("log", gr_log(x))
    OP("log1p", gr_log1p(x))
    OP("sqrt", gr_sqrt(x))
    OP("sigmoid", gr_sigmoid(x))
    OP("tanh", gr_tanh(x))
    OP("softplus", gr_softplus(x))
    OP("bce_with_logits, y = 1", gr_bce_with_logits(x, constant(x, 1), .reduction = GR_NONE))
    OP("focal loss, gamma 2, y = 1",
       gr_bce_with_logits(x, constant(x, 1), .gamma = 2, .reduction = GR_NONE))
    OP("focal loss, gamma 0.5, y = 1",
       gr_bce_with_logits(x, constant(x, 1), .gamma = 0.5, .reduction = GR_NONE))
    OP("soft_margin, y = 1", gr_soft_margin(x, constant(x, 1), .reduction = GR_NONE))
    OP("poisson_nll, y = 3", gr_poisson_nll(x, constant(x, 3), .reduction = GR_NONE))
    OP("poisson_nll of a rate, y = 3",
       gr_poisson_nll(x, constant(x, 3), .rate_input = true, .reduction = GR_NONE))
    OP("kl_div in y", gr_kl_div(constant(x, -3), x, .reduction = GR_NONE))
    OP("mse, y = 0.5", gr_mse(x, constant(x, 0.5), .reduction = GR_NONE))
    OP("huber, y = 0.5", gr_huber(x, constant(x, 0.5), .reduction = GR_NONE))
    OP("gaussian_nll in the variance, d = 1",
       gr_gaussian_nll(constant(x, 1), constant(x, 0), x, .reduction = GR_NONE))
#undef OP
    return NULL;
}

static gr_tensor *over_classes(const char *name, gr_tensor *logits)
{
    gr_context *ctx = gr_context_of(logits);
    gr_tensor *hot = gr_from_data(ctx, GR_F64, gr_shape(1, CLASSES), (double[]){0, 1, 0});
    hot = gr_expand(gr_cast(hot, gr_dtype_of(logits)), gr_shape_of(logits));
    gr_tensor *class = gr_cast(gr_ones(ctx, GR_F64, gr_shape(gr_size(logits, 0))), GR_I64);
    if (strcmp(name, "softmax") == 0)
        return gr_sum(gr_mul(gr_softmax(logits, 1), hot), .axes = gr_axes(1));
    if (strcmp(name, "nll of log_softmax") == 0)
        return gr_nll(gr_log_softmax(logits, 1), class, .reduction = GR_NONE);
    if (strcmp(name, "cross_entropy of a class") == 0)
        return gr_cross_entropy(logits, class, .reduction = GR_NONE);
    return gr_cross_entropy(logits, hot, .reduction = GR_NONE);
}

/* Row i of x [n] becomes {0, x[i], -x[i]}. */
static gr_tensor *logits_of(gr_tensor *x, int64_t n)
{
    gr_tensor *signs =
        gr_from_data(gr_context_of(x), GR_F64, gr_shape(1, CLASSES), (double[]){0, 1, -1});
    return gr_mul(gr_reshape(x, gr_shape(n, 1)), gr_cast(signs, gr_dtype_of(x)));
}

static gr_tensor *second_column(gr_tensor *x)
{
    return gr_ndim(x) == 1 ? x : gr_reshape(gr_slice(x, 1, 1, 2, 1), gr_shape(gr_size(x, 0)));
}

static void write_numbers(gr_tensor *x, int64_t count)
{
    double *numbers = malloc((size_t)count * sizeof *numbers);
    if (!numbers || gr_read(gr_contiguous(x), GR_F64, count, numbers) != GR_OK ||
        fwrite(numbers, sizeof *numbers, (size_t)count, stdout) != (size_t)count)
        exit(1);
    free(numbers);
}

int main(int count_of_words, char **words)
{
    if (count_of_words != 4)
        return 2;
    const char *name = words[1];
    const gr_dtype dtype = strcmp(words[2], "f32") == 0 ? GR_F32 : GR_F64;
    const int64_t count = atoll(words[3]);
    double *numbers = malloc((size_t)count * sizeof *numbers);
    if (!numbers || fread(numbers, sizeof *numbers, (size_t)count, stdin) != (size_t)count)
        return 1;
    gr_context *ctx = gr_context_new(NULL);
    gr_tensor *x = gr_cast(gr_from_data(ctx, GR_F64, gr_shape(count), numbers), dtype);
    free(numbers);
    gr_tensor *v = gr_variable(x), *y = of_one(name, v);
    if (!y) {
        v = gr_variable(logits_of(x, count));
        y = over_classes(name, v);
    }
    gr_tensor *first = gr_grad(gr_sum(y), v), *column = second_column(first);
    gr_tensor *second =
        gr_requires_grad(column) ? gr_grad(gr_sum(column), v) : gr_zeros_like(first);
    write_numbers(y, count);
    write_numbers(column, count);
    write_numbers(second_column(second), count);
    if (gr_error(ctx) != GR_OK)
        fprintf(stderr, "%s\n", gr_error_message(ctx));
    return gr_context_free(ctx) != GR_OK;
}
