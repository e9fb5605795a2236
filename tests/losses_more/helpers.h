/* helpers.h - helpers that these tests share: every loss with one call, and samples of its
 * operands.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_LOSSES_MORE_HELPERS_H
#define GRADUS_TESTS_LOSSES_MORE_HELPERS_H

#include "tests/common/common.h"

/* ---- Every loss behind one call -------------------------------------------------------------- */

typedef struct spec {
    const char *loss;
    gr_tensor *x, *y, *z, *w; /* input, target, third operand, weight */
    gr_reduction reduction;
    double number, margin, p, eps, label_smoothing; /* number is beta or delta */
    bool log_target, batch_mean, rate_input, full, swap;
    int64_t ignore_index;
    int axis;
} spec;

/* clang-format off */
#define LOSSES(X)                                                                                  \
    X(mse) X(l1) X(huber) X(smooth_l1) X(kl_div) X(poisson_nll) X(gaussian_nll) X(nll)             \
    X(cross_entropy) X(multilabel_soft_margin) X(soft_margin) X(hinge_embedding)                   \
    X(cosine_embedding) X(triplet_margin) X(softmax) X(log_softmax)
/* clang-format on */

#define REDUCED .reduction = s->reduction
static gr_tensor *call_mse(const spec *s) { return gr_mse(s->x, s->y, REDUCED); }
static gr_tensor *call_l1(const spec *s) { return gr_l1(s->x, s->y, REDUCED); }
static gr_tensor *call_huber(const spec *s)
{
    return gr_huber(s->x, s->y, REDUCED, .delta = s->number);
}
static gr_tensor *call_smooth_l1(const spec *s)
{
    return gr_smooth_l1(s->x, s->y, REDUCED, .beta = s->number);
}
static gr_tensor *call_kl_div(const spec *s)
{
    return gr_kl_div(s->x, s->y, REDUCED, .log_target = s->log_target, .batch_mean = s->batch_mean);
}
static gr_tensor *call_poisson_nll(const spec *s)
{
    return gr_poisson_nll(s->x, s->y, REDUCED, .rate_input = s->rate_input, .full = s->full,
                          .eps = s->eps);
}
static gr_tensor *call_gaussian_nll(const spec *s)
{
    return gr_gaussian_nll(s->x, s->y, s->z, REDUCED, .full = s->full, .eps = s->eps);
}
static gr_tensor *call_nll(const spec *s)
{
    return gr_nll(s->x, s->y, s->w, REDUCED, .ignore_index = s->ignore_index);
}
static gr_tensor *call_cross_entropy(const spec *s)
{
    return gr_cross_entropy(s->x, s->y, .weight = s->w, REDUCED, .ignore_index = s->ignore_index,
                            .label_smoothing = s->label_smoothing);
}
static gr_tensor *call_multilabel_soft_margin(const spec *s)
{
    return gr_multilabel_soft_margin(s->x, s->y, s->w, REDUCED);
}
static gr_tensor *call_soft_margin(const spec *s) { return gr_soft_margin(s->x, s->y, REDUCED); }
static gr_tensor *call_hinge_embedding(const spec *s)
{
    return gr_hinge_embedding(s->x, s->y, REDUCED, .margin = s->margin);
}
static gr_tensor *call_cosine_embedding(const spec *s)
{
    return gr_cosine_embedding(s->x, s->z, s->y, REDUCED, .margin = s->margin);
}
static gr_tensor *call_triplet_margin(const spec *s)
{
    return gr_triplet_margin(s->x, s->y, s->z, REDUCED, .swap = s->swap, .margin = s->margin,
                             .p = s->p, .eps = s->eps);
}
static gr_tensor *call_softmax(const spec *s) { return gr_mul(gr_softmax(s->x, s->axis), s->y); }
static gr_tensor *call_log_softmax(const spec *s)
{
    return gr_mul(gr_log_softmax(s->x, s->axis), s->y);
}

static inline gr_tensor *call_loss(const spec *s)
{
#define CALL(name)                                                                                 \
    if (strcmp(s->loss, #name) == 0)                                                               \
        return call_##name(s);
    LOSSES(CALL)
#undef CALL
    cr_assert_fail("no loss %s", s->loss);
    return NULL;
}

/* ---- Samples --------------------------------------------------------------------------------- */

static inline gr_tensor *random_signs(gr_context *c, gr_dims shape)
{
    return gr_sign(gr_sub(sample(c, GR_F64, shape, 0, 1), gr_scalar(c, 0.5)));
}

/* Makes a spec of each loss with small operands. Float operands are f64. The loss is smooth around
   them, unless a kink cannot be avoided. Variants 0 to 3 have different options. */
enum { VARIANTS = 4 };
static inline spec sample_of(gr_context *c, const char *loss, int variant, gr_dims shape)
{
    static const double numbers[VARIANTS] = {1, 0.7, 3, 0.05}, ps[VARIANTS] = {2, 1, 3, 2.5};
    static const double margins[VARIANTS] = {1, 0.5, 2.25, 4};
    const int v = variant;
    spec s = {.loss = loss,
              .number = numbers[v],
              .margin = margins[v],
              .p = ps[v],
              .swap = v & 1,
              .full = v & 1,
              .log_target = v & 1,
              .axis = v & 1 ? -1 : 0,
              .label_smoothing = v == 2 ? 0.2 : 0,
              .eps = v == 3                             ? 1e-3
                     : strcmp(loss, "poisson_nll") == 0 ? 1e-8
                                                        : 1e-6,
              .ignore_index = -100};
    const bool rows = strstr(loss, "embedding") && strstr(loss, "cosine");
    const bool classes = strcmp(loss, "nll") == 0 || strcmp(loss, "cross_entropy") == 0;
    s.x = sample(c, GR_F64, shape, -2, 2);
    s.y = sample(c, GR_F64, shape, 0.1, 0.9);
    if (strcmp(loss, "triplet_margin") == 0)
        s.z = sample(c, GR_F64, shape, -2, 2);
    if (strcmp(loss, "gaussian_nll") == 0)
        s.z = sample(c, GR_F64, shape, 0.2, 2);
    if (strcmp(loss, "multilabel_soft_margin") == 0 && v)
        s.w = sample(c, GR_F64, gr_shape(shape.at[shape.count - 1]), 0.2, 2);
    s.rate_input = v >= 2;
    if (strcmp(loss, "poisson_nll") == 0) {
        s.x = v >= 2 ? sample(c, GR_F64, shape, 0.3, 2) : s.x;
        s.y = sample(c, GR_F64, shape, 1.1, 5);
    }
    if (strstr(loss, "hinge"))
        s.y = random_signs(c, shape);
    if (rows) {
        s.z = sample(c, GR_F64, shape, -2, 2);
        s.y = random_signs(c, gr_shape(shape.at[0]));
        s.margin = v * 0.1;
    }
    if (classes) {
        const bool probable = v == 3 && strcmp(loss, "nll") != 0;
        const int64_t count = shape.at[1];
        gr_dims target = {.count = shape.count - 1, .at = {shape.at[0]}};
        for (int i = 1; i < target.count; i++)
            target.at[i] = shape.at[i + 1];
        if (!probable)
            s.y = gr_cast(sample(c, GR_F64, target, 0, (double)count), GR_I64);
        if (v == 1 || v == 3)
            s.w = sample(c, GR_F64, gr_shape(count), 0.2, 2);
        if (v == 2)
            s.ignore_index = 0;
    }
    return s;
}

#endif
