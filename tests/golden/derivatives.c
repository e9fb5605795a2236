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

static gr_tensor *pair(gr_tensor *x, double first, double second)
{
    return gr_cast(
        gr_from_data(gr_context_of(x), GR_F64, gr_shape(1, 2), (double[]){first, second}),
        gr_dtype_of(x));
}

/* Row i is the vector {x[i], 1}. */
static gr_tensor *vectors_of(gr_tensor *x)
{
    return gr_add(gr_mul(gr_reshape(x, gr_shape(-1, 1)), pair(x, 1, 0)), pair(x, 0, 1));
}
static gr_tensor *rows_of(gr_tensor *x, double first, double second)
{
    return gr_expand(pair(x, first, second), gr_shape(gr_numel(x), 2));
}

static gr_tensor *cosine_embedding(gr_tensor *x, double y, double margin)
{
    return gr_cosine_embedding(vectors_of(x), rows_of(x, 1, 1), constant(x, y), .margin = margin,
                               .reduction = GR_NONE);
}
static gr_tensor *triplet_margin(gr_tensor *x, double p, bool swap)
{
    return gr_triplet_margin(vectors_of(x), rows_of(x, 0, 0), rows_of(x, -1, 2), .margin = 4,
                             .p = p, .eps = 0x1p-20, .swap = swap, .reduction = GR_NONE);
}

/* The losses of the elements. Returns NULL for the names of over_classes. */
static gr_tensor *of_one(const char *name, gr_tensor *x)
{
#define OP(word, call)                                                                             \
    if (strcmp(name, word) == 0)                                                                   \
        return call;
    OP("1 / x", gr_div(constant(x, 1), x))
    OP("x^2.5", gr_pow(x, 2.5))
    OP("square", gr_square(x))
    OP("abs", gr_abs(x))
    OP("relu", gr_relu(x))
    OP("exp", gr_exp(x))
    OP("log", gr_log(x))
    OP("log1p", gr_log1p(x))
    OP("sqrt", gr_sqrt(x))
    OP("sigmoid", gr_sigmoid(x))
    OP("tanh", gr_tanh(x))
    OP("softplus", gr_softplus(x))
    OP("bce_with_logits, y = 1", gr_bce_with_logits(x, constant(x, 1), .reduction = GR_NONE))
    OP("bce, y = 1", gr_bce(x, constant(x, 1), .reduction = GR_NONE))
    OP("bce, y = 0", gr_bce(x, constant(x, 0), .reduction = GR_NONE))
    OP("bce, y = 0.25", gr_bce(x, constant(x, 0.25), .reduction = GR_NONE))
    OP("focal loss, gamma 2, y = 1",
       gr_bce_with_logits(x, constant(x, 1), .gamma = 2, .reduction = GR_NONE))
    OP("focal loss, gamma 0.5, y = 1",
       gr_bce_with_logits(x, constant(x, 1), .gamma = 0.5, .reduction = GR_NONE))
    OP("soft_margin, y = 1", gr_soft_margin(x, constant(x, 1), .reduction = GR_NONE))
    OP("poisson_nll, y = 3", gr_poisson_nll(x, constant(x, 3), .reduction = GR_NONE))
    OP("poisson_nll of a rate, y = 3",
       gr_poisson_nll(x, constant(x, 3), .rate_input = true, .reduction = GR_NONE))
    OP("kl_div in x, y = 0.375", gr_kl_div(x, constant(x, 0.375), .reduction = GR_NONE))
    OP("kl_div in y", gr_kl_div(constant(x, -3), x, .reduction = GR_NONE))
    OP("kl_div in log y", gr_kl_div(constant(x, -3), x, .log_target = true, .reduction = GR_NONE))
    OP("mse, y = 0.5", gr_mse(x, constant(x, 0.5), .reduction = GR_NONE))
    OP("l1, y = 0.5", gr_l1(x, constant(x, 0.5), .reduction = GR_NONE))
    OP("huber, y = 0.5", gr_huber(x, constant(x, 0.5), .reduction = GR_NONE))
    OP("huber, delta 0.25, y = 0.5",
       gr_huber(x, constant(x, 0.5), .delta = 0.25, .reduction = GR_NONE))
    OP("smooth_l1, y = 0.5", gr_smooth_l1(x, constant(x, 0.5), .reduction = GR_NONE))
    OP("smooth_l1, beta 0.25, y = 0.5",
       gr_smooth_l1(x, constant(x, 0.5), .beta = 0.25, .reduction = GR_NONE))
    OP("hinge_embedding, y = 1",
       gr_hinge_embedding(x, constant(x, 1), .margin = 0.25, .reduction = GR_NONE))
    OP("hinge_embedding, y = -1",
       gr_hinge_embedding(x, constant(x, -1), .margin = 0.25, .reduction = GR_NONE))
    OP("cosine_embedding, y = 1", cosine_embedding(x, 1, 0))
    OP("cosine_embedding, margin 0.25, y = -1", cosine_embedding(x, -1, 0.25))
    OP("triplet_margin", triplet_margin(x, 2, false))
    OP("triplet_margin, swap", triplet_margin(x, 2, true))
    OP("triplet_margin, p 1", triplet_margin(x, 1, false))
    OP("triplet_margin, p 3", triplet_margin(x, 3, false))
    OP("gaussian_nll in x, v = 0.75",
       gr_gaussian_nll(x, constant(x, 0.5), constant(x, 0.75), .reduction = GR_NONE))
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
    if (strcmp(name, "cross_entropy, label_smoothing 0.125") == 0)
        return gr_cross_entropy(logits, class, .label_smoothing = 0.125, .reduction = GR_NONE);
    if (strcmp(name, "multilabel_soft_margin") == 0)
        return gr_multilabel_soft_margin(logits, hot, .reduction = GR_NONE);
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
