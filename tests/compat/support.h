/* support.h - helpers that the tests of the compatible functions share: a context whose handler
 * counts, tensors from numbers, the losses in long double, and checks of errors.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_COMPAT_SUPPORT_H
#define GRADUS_TESTS_COMPAT_SUPPORT_H

#include <criterion/criterion.h>
#include <gradus/compat.h>
#include <gradus/ops.h>
#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

/* ---- A context that hears -------------------------------------------------------------------- */

static gr_context *ctx;
static int notes, errors;          /* number of handler calls of each kind */
static char note[256], error[512]; /* the last text of each kind */

static void hear(gr_context *from, gr_status status, const char *message, void *data)
{
    (void)from;
    (void)data;
    if (status == GR_OK) {
        notes++;
        snprintf(note, sizeof note, "%s", message);
    } else {
        errors++;
        snprintf(error, sizeof error, "%s", message);
    }
}

static inline void begin(void) { ctx = gr_context_new(&(gr_context_options){.handler = hear}); }

static inline void end(void)
{
    cr_expect_str_eq(gr_error_message(ctx), "");
    const gr_status status = gr_context_free(ctx);
    cr_expect_eq(status, GR_OK, "%s", gr_status_name(status));
}

/* Checks that the call failed with this error at a place in `file`, and that the handler was called
   once. Clears the error. */
static inline void refused_at(const char *file, gr_tensor *loss, gr_status status,
                              const char *message)
{
    char place[128];
    const size_t size = strlen(message);
    snprintf(place, sizeof place, " (%s:", file);
    cr_expect(gr_failed(loss), "was taken: %s", message);
    cr_expect_eq(gr_error(ctx), status, "%s: %s", gr_status_name(gr_error(ctx)), message);
    cr_expect(strncmp(gr_error_message(ctx), message, size) == 0, "\"%s\" instead of \"%s\"",
              gr_error_message(ctx), message);
    cr_expect(strncmp(gr_error_message(ctx) + size, place, strlen(place)) == 0,
              "no place in \"%s\"", gr_error_message(ctx));
    cr_expect_eq(errors, 1, "the handler was called %d times", errors);
    cr_expect_str_eq(error, gr_error_message(ctx));
    gr_error_clear(ctx);
    errors = 0;
}
#define REFUSED(loss, status, message) refused_at(__FILE__, loss, status, message)

/* ---- Tensors --------------------------------------------------------------------------------- */

static inline gr_tensor *make(gr_dtype dtype, gr_dims shape, const double *values)
{
    return gr_cast(gr_from_data(ctx, GR_F64, shape, values), dtype);
}
#define MAKE(dtype, shape, ...) make(dtype, shape, (const double[]){__VA_ARGS__})

/* The numbers of the mapping pages. */
static const double LOGITS[] = {-0.8, 1.2, 0.7, -0.1, -0.4, 0.7};
static const double LABELS[] = {0.3, 0.8, 1.2, -0.6, 0.1, 2.2};
static inline gr_tensor *logits(gr_dtype dtype) { return make(dtype, gr_shape(2, 3), LOGITS); }
static inline gr_tensor *labels(gr_dtype dtype) { return make(dtype, gr_shape(2, 3), LABELS); }

/* Probabilities and targets in [0,1]. */
static const double CHANCES[] = {0.2, 0.7, 0.1, 0.9, 0.5, 0.25};
static const double TARGETS[] = {0, 1, 0.5, 0.25, 1, 0};
static inline gr_tensor *chances(gr_dtype dtype) { return make(dtype, gr_shape(2, 3), CHANCES); }
static inline gr_tensor *targets(gr_dtype dtype) { return make(dtype, gr_shape(2, 3), TARGETS); }

/* One weight for each column, and one for each sample. They differ from each other, and are exact
   in every dtype. */
static const double BY_COLUMN[] = {2, 4, 3}, BY_ROW[] = {5, 1};
static inline gr_tensor *columns(gr_dtype dtype) { return make(dtype, gr_shape(3), BY_COLUMN); }
static inline gr_tensor *rows(gr_dtype dtype) { return make(dtype, gr_shape(2, 1), BY_ROW); }

/* ---- What should come out -------------------------------------------------------------------- */

static inline long double of_logit(long double x, long double y, long double p)
{
    return (1 - y) * (fmaxl(x, 0) + log1pl(expl(-fabsl(x)))) +
           p * y * (fmaxl(-x, 0) + log1pl(expl(-fabsl(x))));
}

static inline long double of_chance(long double x, long double y, long double p)
{
    (void)p;
    return -y * logl(x) - (1 - y) * log1pl(-x);
}

/* The weights that a call got. */
typedef struct weights {
    bool by_column, by_row;   /* weight is BY_COLUMN, BY_ROW */
    bool pos_column, pos_row; /* pos_weight is BY_COLUMN, BY_ROW */
} weights;

static inline long double weight_of(bool column, bool row, int i)
{
    return (column ? (long double)BY_COLUMN[i % 3] : 1) * (row ? (long double)BY_ROW[i / 3] : 1);
}

static inline long double element(bool chance, weights w, int i)
{
    const long double p = weight_of(w.pos_column, w.pos_row, i);
    return weight_of(w.by_column, w.by_row, i) *
           (chance ? of_chance(CHANCES[i], TARGETS[i], 1) : of_logit(LOGITS[i], LABELS[i], p));
}

/* Returns the relative error of numbers that are stored in a dtype. */
static inline double grain(gr_dtype dtype)
{
    return dtype == GR_F64 ? 1e-15 : dtype == GR_F16 ? 2e-3 : dtype == GR_BF16 ? 1.6e-2 : 3e-7;
}

/* Checks that loss is the documented loss for these weights and this reduction. coarsest is the
   least precise dtype of the operands. */
static inline void expect_loss(gr_tensor *loss, bool chance, weights w, gr_reduction reduction,
                               gr_dtype coarsest)
{
    const double close = 4 * grain(coarsest);
    long double sum = 0, size = 1;
    cr_assert(!gr_failed(loss), "%s", gr_error_message(ctx));
    cr_assert_eq(gr_ndim(loss), reduction == GR_NONE ? 2 : 0);
    for (int i = 0; i < 6; i++) {
        const long double want = element(chance, w, i);
        sum += want;
        size += fabsl(want);
        if (reduction != GR_NONE)
            continue;
        const double got = gr_get(loss, gr_index(i / 3, i % 3));
        cr_expect_leq(fabsl(got - want), close * (1 + fabsl(want)), "[%d] %.9g, not %.9Lg", i, got,
                      want);
    }
    if (reduction == GR_NONE)
        return;
    const long double want = reduction == GR_SUM ? sum : sum / 6;
    cr_expect_leq(fabsl(gr_item(loss) - want), close * size, "%.9g, not %.9Lg", gr_item(loss),
                  want);
}

#endif
