/* forms.h - every loss, softmax and the product of rows as functions of samples, one row a form.
 *
 * A form takes operands that hold `width` numbers a sample, [n] for a width of 1 and [n,width] for
 * others, and gives one or more numbers a sample (or their sum or mean): what it gives for a sample
 * depends on that sample.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_FORMS_H
#define GRADUS_TESTS_FORMS_H

#include "tests/common/common.h"

/* ---- Draws ----------------------------------------------------------------------------------- */

/* An infinity or NaN once in 64 times, unless a test turns them off: with one of them a sum says no
   more. */
static bool no_specials;
static double or_special(double usual)
{
    static const double specials[] = {INFINITY, -INFINITY, NAN};
    const uint64_t bits = draw_bits();
    return bits % 64 || no_specials ? usual : specials[(bits >> 8) % 3];
}

static double any_real(void) { return or_special(draw(-4, 4)); }
static double logit(void) { return or_special(draw(-30, 30)); }
static double log_probability(void) { return or_special(draw(-20, 0)); }
static double rate(void) { return fabs(or_special(draw(0.1, 5))); } /* not below 0 */
static double count(void) { return (double)(draw_bits() % 6); }
static double variance(void) { return draw_bits() % 16 ? draw(0.1, 3) : 0; }
static double mask(void) { return draw_bits() % 4 != 0; }

/* Quarters, of which sums have no rounding; a third of them 1. */
static double quarter(void) { return draw_bits() % 3 ? (double)(draw_bits() % 16 + 1) / 4 : 1; }

static double probability(void)
{
    return draw_bits() % 32 ? draw(0, 1) : (double)(draw_bits() & 1);
}

/* A target, hard or soft. */
static double target(void) { return draw_bits() % 2 ? (double)(draw_bits() & 1) : draw(0, 1); }

static double sign(void) { return draw_bits() % 32 ? (draw_bits() & 1 ? 1 : -1) : 0; }

enum { CLASSES = 7, DEPTH = 5, INNER = 37, OUTER = 11, WIDE = 1500 };
static double class_number(void)
{
    return draw_bits() % 16 ? (double)(draw_bits() % CLASSES) : -100;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

typedef enum operand_kind {
    VARIABLE = 0, /* gets a gradient */
    CONSTANT,     /* gets none */
    INDICES,      /* i64 */
    SHARED        /* [width], one for all samples, without gradient */
} operand_kind;

typedef struct form_operand {
    double (*draw)(void);
    int width;
    operand_kind kind;
} form_operand;

#define OF(numbers, each)                                                                          \
    {                                                                                              \
        .draw = numbers, .width = each                                                             \
    }
#define AS(what, numbers, each)                                                                    \
    {                                                                                              \
        .draw = numbers, .width = each, .kind = what                                               \
    }

enum {
    REDUCES = 1, /* takes a reduction */
    COUNTS = 2   /* its mean divides by what the samples say, and not by their number alone */
};

enum { FORM_OPERANDS = 5 };

typedef struct form {
    const char *name;
    int flags;
    gr_tensor *(*call)(gr_tensor *const *in, gr_reduction reduction);
    form_operand operands[FORM_OPERANDS];
} form;

/* BCE(name, kind, x, flags, options, the rest of the operands): of x and y, and z, w, m behind
   them. Both cross entropies. */
#define BCE_FORMS(BCE, kind, x)                                                                    \
    BCE(kind, kind, x, REDUCES, ZERO)                                                              \
    BCE(kind##_weight, kind, x, REDUCES, .weight = z, OF(quarter, 1))                              \
    BCE(kind##_pos_weight, kind, x, REDUCES, .pos_weight = z, OF(quarter, 1))                      \
    BCE(kind##_all, kind, x, REDUCES, BOTH_WEIGHTS.mask = m, OF(quarter, 1), OF(quarter, 1),       \
        AS(CONSTANT, mask, 1))                                                                     \
    BCE(kind##_kept, kind, x, REDUCES | COUNTS, .mask = z COUNTED(GR_KEPT), AS(CONSTANT, mask, 1)) \
    BCE(kind##_weights, kind, x, REDUCES | COUNTS, .weight = z COUNTED(GR_WEIGHTS),                \
        AS(CONSTANT, quarter, 1))                                                                  \
    BCE(kind##_smooth, kind, x, REDUCES, .label_smoothing = 0.1)                                   \
    BCE(kind##_focal, kind, x, REDUCES, FOCAL)                                                     \
    BCE(kind##_strict, kind, x, REDUCES, .strict_target = true)
#define ZERO          .gamma = 0
#define BOTH_WEIGHTS  .weight = z, .pos_weight = w,
#define COUNTED(what) , .denominator = what
#define FOCAL         .gamma = 2, .alpha = 0.25

#define FORMS                                                                                      \
    FORM(mse, REDUCES, gr_mse(x, y, R), OF(any_real, 1), OF(any_real, 1))                          \
    FORM(l1, REDUCES, gr_l1(x, y, R), OF(any_real, 1), OF(any_real, 1))                            \
    FORM(huber, REDUCES, gr_huber(x, y, R), OF(any_real, 1), OF(any_real, 1))                      \
    FORM(smooth_l1, REDUCES, gr_smooth_l1(x, y, R, .beta = 2), OF(any_real, 1), OF(any_real, 1))   \
    FORM(kl_div, REDUCES, gr_kl_div(x, y, R), OF(log_probability, 1), OF(probability, 1))          \
    FORM(kl_div_log, REDUCES, gr_kl_div(x, y, R, .log_target = true), OF(log_probability, 1),      \
         OF(log_probability, 1))                                                                   \
    FORM(kl_div_batch, REDUCES, gr_kl_div(x, y, R, .batch_mean = r == GR_MEAN),                    \
         OF(log_probability, 1), OF(probability, 1))                                               \
    FORM(poisson_nll, REDUCES, gr_poisson_nll(x, y, R), OF(any_real, 1), OF(count, 1))             \
    FORM(poisson_nll_rate, REDUCES, gr_poisson_nll(x, y, R, .rate_input = true, .full = true),     \
         OF(rate, 1), OF(count, 1))                                                                \
    FORM(gaussian_nll, REDUCES, gr_gaussian_nll(x, y, z, R), OF(any_real, 1), OF(any_real, 1),     \
         OF(variance, 1))                                                                          \
    FORM(nll, REDUCES | COUNTS, gr_nll(x, y, .reduction = r), OF(log_probability, CLASSES),        \
         AS(INDICES, class_number, 1))                                                             \
    FORM(nll_weight, REDUCES | COUNTS, gr_nll(x, y, .weight = z, .reduction = r),                  \
         OF(log_probability, CLASSES), AS(INDICES, class_number, 1), AS(SHARED, quarter, CLASSES)) \
    FORM(cross_entropy, REDUCES | COUNTS, gr_cross_entropy(x, y, .reduction = r),                  \
         OF(logit, CLASSES), AS(INDICES, class_number, 1))                                         \
    FORM(cross_entropy_smooth, REDUCES | COUNTS,                                                   \
         gr_cross_entropy(x, y, .weight = z, .label_smoothing = 0.1, .reduction = r),              \
         OF(logit, CLASSES), AS(INDICES, class_number, 1), AS(SHARED, quarter, CLASSES))           \
    FORM(cross_entropy_of_probabilities, REDUCES, gr_cross_entropy(x, y, .reduction = r),          \
         OF(logit, CLASSES), OF(probability, CLASSES))                                             \
    FORM(cross_entropy_of_pixels, REDUCES | COUNTS,                                                \
         gr_cross_entropy(image(x), gr_reshape(y, gr_shape(1, -1)), .reduction = r),               \
         OF(logit, CLASSES), AS(INDICES, class_number, 1))                                         \
    FORM(multilabel_soft_margin, REDUCES,                                                          \
         gr_multilabel_soft_margin(x, y, .weight = z, .reduction = r), OF(logit, CLASSES),         \
         OF(target, CLASSES), AS(SHARED, quarter, CLASSES))                                        \
    FORM(soft_margin, REDUCES, gr_soft_margin(x, y, R), OF(logit, 1), OF(sign, 1))                 \
    FORM(hinge_embedding, REDUCES, gr_hinge_embedding(x, y, R), OF(any_real, 1), OF(sign, 1))      \
    FORM(cosine_embedding, REDUCES, gr_cosine_embedding(x, y, z, .margin = 0.1, .reduction = r),   \
         OF(any_real, DEPTH), OF(any_real, DEPTH), AS(CONSTANT, sign, 1))                          \
    FORM(triplet_margin, REDUCES, gr_triplet_margin(x, y, z, .swap = true, .reduction = r),        \
         OF(any_real, DEPTH), OF(any_real, DEPTH), OF(any_real, DEPTH))                            \
    FORM(softmax, 0, gr_softmax(x, -1), OF(logit, CLASSES))                                        \
    FORM(softmax_of_columns, 0, gr_transpose(gr_softmax(gr_transpose(x), 0)), OF(logit, CLASSES))  \
    FORM(softmax_of_many, 0, gr_softmax(x, -1), OF(any_real, WIDE))                                \
    FORM(log_softmax, 0, gr_log_softmax(x, -1), OF(logit, CLASSES))                                \
    FORM(log_softmax_of_columns, 0, gr_transpose(gr_log_softmax(gr_transpose(x), 0)),              \
         OF(logit, CLASSES))                                                                       \
    FORM(log_softmax_of_many, 0, gr_log_softmax(x, -1), OF(any_real, WIDE))                        \
    FORM(matmul_rows, 0, gr_matmul(x, gr_reshape(y, gr_shape(INNER, OUTER))), OF(any_real, INNER), \
         AS(SHARED, quarter, INNER *OUTER))                                                        \
    FORM(matmul_columns, 0,                                                                        \
         gr_transpose(gr_matmul(gr_reshape(y, gr_shape(OUTER, INNER)), gr_transpose(x))),          \
         OF(any_real, INNER), AS(SHARED, quarter, INNER *OUTER))                                   \
    FORM(matmul_vector, 0, gr_matmul(x, y), OF(any_real, INNER), AS(SHARED, quarter, INNER))
#define R .reduction = r

/* [n,C] as one image [1,C,n]. */
static gr_tensor *image(gr_tensor *x)
{
    return gr_reshape(gr_transpose(x), gr_shape(1, CLASSES, -1));
}

#define FORM(name, flags, expression, ...)                                                         \
    static gr_tensor *name##_form(gr_tensor *const *in, gr_reduction r)                            \
    {                                                                                              \
        gr_tensor *x = in[0], *y = in[1], *z = in[2], *w = in[3], *m = in[4];                      \
        (void)x, (void)y, (void)z, (void)w, (void)m, (void)r;                                      \
        return expression;                                                                         \
    }
#define BCE(name, kind, draw, flags, options, ...)                                                 \
    FORM(name, flags, gr_##kind(x, y, .reduction = r, options), OF(draw, 1), OF(target, 1),        \
         __VA_ARGS__)
BCE_FORMS(BCE, bce, probability)
BCE_FORMS(BCE, bce_with_logits, logit)
FORMS
#undef FORM

static const form forms[] = {
#define FORM(name, flags, expression, ...) {#name, flags, name##_form, {__VA_ARGS__}},
    BCE_FORMS(BCE, bce, probability) BCE_FORMS(BCE, bce_with_logits, logit) FORMS
#undef FORM
#undef BCE
};

#define EACH_FORM(f) for (const form *f = forms; f < forms + COUNT_OF(forms); f++)

/* ---- Samples --------------------------------------------------------------------------------- */

static inline int width_of(const form *f)
{
    int most = 1;
    for (int k = 0; k < FORM_OPERANDS; k++)
        if (f->operands[k].kind != SHARED && f->operands[k].width > most)
            most = f->operands[k].width;
    return most;
}

/* Numbers of every operand for so many samples, and of an upstream gradient. */
typedef struct form_samples {
    int64_t count;
    double *of[FORM_OPERANDS], *seed;
} form_samples;

static inline double *draw_numbers(double (*draw_one)(void), int64_t n)
{
    double *numbers = malloc((size_t)(n + 1) * sizeof *numbers);
    for (int64_t i = 0; i < n; i++)
        numbers[i] = draw_one();
    return numbers;
}

static inline form_samples draw_samples(const form *f, int64_t n)
{
    form_samples s = {.count = n};
    for (int k = 0; k < FORM_OPERANDS; k++) {
        const form_operand *o = &f->operands[k];
        if (o->draw)
            s.of[k] = draw_numbers(o->draw, o->width * (o->kind == SHARED ? 1 : n));
    }
    const int width = width_of(f);
    s.seed = draw_numbers(quarter, n * (width > OUTER ? width : OUTER));
    return s;
}

static inline void free_samples(form_samples *s)
{
    for (int k = 0; k < FORM_OPERANDS; k++)
        free(s->of[k]);
    free(s->seed);
}

/* Some samples' numbers, in that order: [n] or [n,width]. which: NULL for the first n. Nothing else
   is allocated. */
static inline gr_tensor *gather(gr_context *of, gr_dtype dtype, const double *from, int width,
                                int64_t n, const int64_t *which)
{
    double *numbers = malloc((size_t)(n * width + 1) * sizeof *numbers);
    for (int64_t i = 0; i < n; i++)
        memcpy(numbers + i * width, from + (which ? which[i] : i) * width,
               (size_t)width * sizeof *numbers);
    const gr_dims shape = width == 1 ? gr_shape(n) : gr_shape(n, width);
    gr_tensor *x = gr_zeros(of, dtype, shape);
    cr_assert_eq(gr_write(x, GR_F64, n * width, numbers), GR_OK, "%s", gr_error_message(of));
    free(numbers);
    return x;
}

/* A form's operands; `variables` gets those that have a gradient. Returns their number. */
static inline int gather_operands(gr_context *of, const form *f, gr_dtype dtype,
                                  const form_samples *s, int64_t n, const int64_t *which,
                                  gr_tensor **in, gr_tensor **variables)
{
    int found = 0;
    for (int k = 0; k < FORM_OPERANDS; k++) {
        const form_operand *o = &f->operands[k];
        in[k] = NULL;
        if (!o->draw)
            continue;
        if (o->kind == SHARED)
            in[k] = gr_reshape(gather(of, dtype, s->of[k], o->width, 1, NULL), gr_shape(-1));
        else
            in[k] = gather(of, o->kind == INDICES ? GR_I64 : dtype, s->of[k], o->width, n, which);
        if (o->kind == VARIABLE)
            variables[found++] = in[k] = gr_variable(in[k]);
    }
    return found;
}

#endif
