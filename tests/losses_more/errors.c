/* errors.c - every error of every loss, with its message.
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"

TestSuite(errors, .init = begin, .fini = end);

#define EACH(name) #name,
static const char *const names[] = {LOSSES(EACH)};
enum { LOSS_COUNT = sizeof names / sizeof *names - 2 }; /* without softmax and log_softmax */

static void fails(gr_tensor *result, gr_status status, const char *message)
{
    cr_expect(gr_failed(result), "%s: did not fail", message);
    if (gr_error(ctx) == GR_OK)
        return;
    /* The macros append a place: " (FILE.c:12)". */
    char text[600];
    snprintf(text, sizeof text, "%s", gr_error_message(ctx));
    char *place = strrchr(text, '(');
    if (place && (strstr(place, ".c:") || strstr(place, ".h:")))
        place[-1] = 0;
    cr_expect_eq(gr_error(ctx), status, "%s", text);
    cr_expect_str_eq(text, message);
    gr_error_clear(ctx);
}

static gr_tensor *f32(gr_dims shape) { return gr_ones(ctx, GR_F32, shape); }
static gr_tensor *f64(gr_dims shape) { return gr_ones(ctx, GR_F64, shape); }

/* Returns "LOSS: what", in a buffer that the next call overwrites. */
static const char *of(const char *loss, const char *what)
{
    static char text[256];
    snprintf(text, sizeof text, "%s: %s", loss, what);
    return text;
}

static const char *first(const char *loss) { return strstr(loss, "triplet") ? "anchor" : "input"; }
static const char *second(const char *loss)
{
    return strstr(loss, "triplet") ? "positive" : "target";
}

Test(errors, operands_that_are_not_given)
{
    for (int i = 0; i < LOSS_COUNT; i++) {
        char text[64];
        spec s = sample_of(ctx, names[i], 0, gr_shape(2, 3));
        gr_tensor *x = s.x, *y = s.y, *z = s.z;
        snprintf(text, sizeof text, "%s is NULL", first(names[i]));
        s.x = NULL;
        fails(call_loss(&s), GR_ERROR_NULL, of(names[i], text));
        snprintf(text, sizeof text, "%s is NULL", second(names[i]));
        s.x = x, s.y = NULL;
        fails(call_loss(&s), GR_ERROR_NULL, of(names[i], text));
        s.y = y, s.z = NULL;
        const char *third = strstr(s.loss, "gauss") ? "variance"
                            : z && s.loss[0] == 'c' ? "other"
                                                    : "negative";
        snprintf(text, sizeof text, "%s is NULL", third);
        if (z)
            fails(call_loss(&s), GR_ERROR_NULL, of(names[i], text));
    }
    cr_expect(gr_failed(gr_mse(NULL, NULL)));
    cr_expect(gr_failed(gr_softmax(NULL, 0)));
    fails(gr_mse_with(f32(gr_shape(2)), NULL), GR_ERROR_NULL, "mse: target is NULL");
    fails(gr_nll_with(f32(gr_shape(2)), NULL), GR_ERROR_NULL, "nll: target is NULL");
    fails(gr_cross_entropy_with(f32(gr_shape(2)), NULL), GR_ERROR_NULL,
          "cross_entropy: target is NULL");
    fails(gr_triplet_margin_with(f32(gr_shape(2)), NULL), GR_ERROR_NULL,
          "triplet_margin: positive is NULL");
}

Test(errors, reductions_that_are_not_known)
{
    for (int i = 0; i < LOSS_COUNT; i++) {
        spec s = sample_of(ctx, names[i], 0, gr_shape(2, 3));
        s.reduction = (gr_reduction)7;
        fails(call_loss(&s), GR_ERROR_REDUCTION,
              of(names[i], "unknown reduction 7; the known ones are GR_MEAN, GR_SUM and GR_NONE"));
    }
}

Test(errors, dtypes)
{
    for (int i = 0; i < LOSS_COUNT; i++) {
        char text[128];
        spec s = sample_of(ctx, names[i], 0, gr_shape(2, 3));
        gr_tensor *x = s.x;
        s.x = gr_cast(x, GR_I32);
        snprintf(text, sizeof text, "the %s is i32, not a float", first(names[i]));
        fails(call_loss(&s), GR_ERROR_DTYPE, of(names[i], text));
        s.x = x;
        s.y = gr_cast(s.y, GR_F32);
        snprintf(text, sizeof text, "%s is f32, the %s f64 (gr_cast converts)", second(names[i]),
                 first(names[i]));
        fails(call_loss(&s), GR_ERROR_DTYPE, of(names[i], text));
    }
    gr_tensor *x = f32(gr_shape(2, 3)), *y = gr_zeros(ctx, GR_BOOL, gr_shape(2));
    fails(gr_cross_entropy(x, y), GR_ERROR_DTYPE,
          "cross_entropy: target is bool, and class numbers are i64, i32 or u8");
    fails(gr_nll(x, f32(gr_shape(2))), GR_ERROR_DTYPE,
          "nll: target is f32, and class numbers are i64, i32 or u8");
    y = gr_cast(y, GR_I64);
    fails(gr_nll(x, y, f64(gr_shape(3))), GR_ERROR_DTYPE,
          "nll: weight is f64, the input f32 (gr_cast converts)");
    fails(gr_nll(x, y, gr_ones(ctx, GR_I32, gr_shape(3))), GR_ERROR_DTYPE,
          "nll: weight is i32, not a float");
    fails(gr_softmax(y, 0), GR_ERROR_DTYPE, "softmax: i64 [2] is no float");
    fails(gr_log_softmax(y, 0), GR_ERROR_DTYPE, "log_softmax: i64 [2] is no float");
}

Test(errors, shapes_are_never_broadcast)
{
    const char *same[] = {
        "mse",         "l1",           "huber",       "smooth_l1",       "kl_div",
        "poisson_nll", "gaussian_nll", "soft_margin", "hinge_embedding", "multilabel_soft_margin"};
    for (int i = 0; i < (int)(sizeof same / sizeof *same); i++) {
        spec s = sample_of(ctx, same[i], 0, gr_shape(2, 3));
        s.y = f64(gr_shape(3));
        fails(call_loss(&s), GR_ERROR_SHAPE,
              of(same[i], "target shape [3] must be the input's, [2,3]"));
        s.y = f64(gr_shape(2, 1));
        fails(call_loss(&s), GR_ERROR_SHAPE,
              of(same[i], "target shape [2,1] must be the input's, [2,3]"));
    }
    gr_tensor *x = f64(gr_shape(2, 3)), *y = gr_zeros(ctx, GR_I64, gr_shape(3));
    fails(gr_nll(x, y), GR_ERROR_SHAPE,
          "nll: target shape [3] must be [2], one class a row of the input's [2,3]");
    fails(gr_cross_entropy(x, y), GR_ERROR_SHAPE,
          "cross_entropy: target shape [3] must be [2], one class a row of the input's [2,3]");
    fails(gr_cross_entropy(x, f64(gr_shape(2))), GR_ERROR_SHAPE,
          "cross_entropy: target shape [2] must be the input's, [2,3], for one of probabilities, "
          "as f64 is");
    fails(gr_cross_entropy(x, x, .weight = f64(gr_shape(2))), GR_ERROR_SHAPE,
          "cross_entropy: weight shape [2] must be [3], one a class of the input's [2,3]");
    fails(gr_nll(f64(gr_shape()), y), GR_ERROR_SHAPE, "nll: an input of shape [] has no classes");
    fails(gr_cross_entropy(f64(gr_shape()), y), GR_ERROR_SHAPE,
          "cross_entropy: an input of shape [] has no classes");
    fails(gr_multilabel_soft_margin(f64(gr_shape()), f64(gr_shape())), GR_ERROR_SHAPE,
          "multilabel_soft_margin: an input of shape [] has no classes");
    fails(gr_multilabel_soft_margin(x, x, f64(gr_shape(2))), GR_ERROR_BROADCAST,
          "multilabel_soft_margin: weight shape [2] does not broadcast to the input's, [2,3]");
    fails(gr_multilabel_soft_margin(x, x, f64(gr_shape(1, 2, 3))), GR_ERROR_BROADCAST,
          "multilabel_soft_margin: weight shape [1,2,3] does not broadcast to the input's, [2,3]");
    fails(
        gr_gaussian_nll(x, x, f64(gr_shape(3))), GR_ERROR_SHAPE,
        "gaussian_nll: variance shape [3] must be the input's, [2,3], or one a row, [2,1] or [2]");
    fails(gr_gaussian_nll(f64(gr_shape()), f64(gr_shape()), f64(gr_shape(2))), GR_ERROR_SHAPE,
          "gaussian_nll: variance shape [2] must be the input's, []");
    fails(gr_cosine_embedding(x, x, f64(gr_shape(3))), GR_ERROR_SHAPE,
          "cosine_embedding: target shape [3] must be [2], one a row of the input's [2,3]");
    fails(gr_cosine_embedding(x, f64(gr_shape(3)), f64(gr_shape(2))), GR_ERROR_SHAPE,
          "cosine_embedding: other shape [3] must be the input's, [2,3]");
    fails(gr_cosine_embedding(f64(gr_shape()), f64(gr_shape()), f64(gr_shape())), GR_ERROR_SHAPE,
          "cosine_embedding: input shape [] must be [D] or [N,D]");
    fails(gr_triplet_margin(x, x, f64(gr_shape(3))), GR_ERROR_SHAPE,
          "triplet_margin: negative shape [3] must be the anchor's, [2,3]");
    fails(gr_triplet_margin(f64(gr_shape(1, 2, 3)), f64(gr_shape(1, 2, 3)), f64(gr_shape(1, 2, 3))),
          GR_ERROR_SHAPE, "triplet_margin: anchor shape [1,2,3] must be [D] or [N,D]");
    fails(gr_kl_div(f64(gr_shape()), f64(gr_shape()), .batch_mean = true), GR_ERROR_SHAPE,
          "kl_div: batch_mean asks for an input of one axis at least, not []");
    fails(gr_softmax(x, 2), GR_ERROR_SHAPE, "softmax: axis 2 of shape [2,3] does not exist");
    fails(gr_log_softmax(x, -3), GR_ERROR_SHAPE,
          "log_softmax: axis -3 of shape [2,3] does not exist");
    fails(gr_softmax(f64(gr_shape()), 1), GR_ERROR_SHAPE,
          "softmax: axis 1 of shape [] does not exist");
}

Test(errors, numbers_that_make_no_sense)
{
    gr_tensor *x = f64(gr_shape(2, 3)), *y = gr_zeros(ctx, GR_I64, gr_shape(2));
    fails(gr_huber(x, x, .delta = -1), GR_ERROR_ARGUMENT,
          "huber: delta -1 is not a finite number above 0");
    fails(gr_smooth_l1(x, x, .beta = NAN), GR_ERROR_ARGUMENT,
          "smooth_l1: beta nan is not a finite number from 0 up");
    fails(gr_poisson_nll(x, x, .eps = -2), GR_ERROR_ARGUMENT,
          "poisson_nll: eps -2 is not a finite number from 0 up");
    fails(gr_gaussian_nll(x, x, x, .eps = INFINITY), GR_ERROR_ARGUMENT,
          "gaussian_nll: eps inf is not a finite number from 0 up");
    fails(gr_hinge_embedding(x, x, .margin = INFINITY), GR_ERROR_ARGUMENT,
          "hinge_embedding: margin inf is not a finite number");
    fails(gr_cosine_embedding(x, x, y, .margin = NAN), GR_ERROR_ARGUMENT,
          "cosine_embedding: margin nan is not a finite number");
    fails(gr_triplet_margin(x, x, x, .margin = -1), GR_ERROR_ARGUMENT,
          "triplet_margin: margin -1 is not a finite number above 0");
    fails(gr_triplet_margin(x, x, x, .p = INFINITY), GR_ERROR_ARGUMENT,
          "triplet_margin: p inf is not a finite number above 0");
    fails(gr_triplet_margin(x, x, x, .eps = -1), GR_ERROR_ARGUMENT,
          "triplet_margin: eps -1 is not a finite number from 0 up");
    fails(gr_cross_entropy(x, y, .label_smoothing = 1.5), GR_ERROR_ARGUMENT,
          "cross_entropy: label_smoothing 1.5 lies outside [0,1]");
    fails(gr_cross_entropy(x, y, .label_smoothing = NAN), GR_ERROR_ARGUMENT,
          "cross_entropy: label_smoothing nan lies outside [0,1]");
    fails(gr_cross_entropy(x, x, .ignore_index = 0), GR_ERROR_ARGUMENT,
          "cross_entropy: ignore_index goes with class numbers, and the target is f64: "
          "probabilities");
    fails(gr_kl_div(x, x, .batch_mean = true, .reduction = GR_SUM), GR_ERROR_ARGUMENT,
          "kl_div: batch_mean is a kind of GR_MEAN, and goes with no other reduction");
}

Test(errors, values_outside_the_domain)
{
    gr_tensor *x = f64(gr_shape(2, 3, 2));
    gr_tensor *y = gr_from_data(ctx, GR_I32, gr_shape(2, 2), (int32_t[]){0, 2, 3, 1});
    fails(gr_cross_entropy(x, y), GR_ERROR_DOMAIN,
          "cross_entropy: target at [1,0] of shape [2,2] is 3, not a class from 0 to 2");
    y = gr_from_data(ctx, GR_I64, gr_shape(2, 2), (int64_t[]){0, -1, 3, 1});
    fails(gr_nll(x, y), GR_ERROR_DOMAIN,
          "nll: target at [0,1] of shape [2,2] is -1, not a class from 0 to 2");
    fails(gr_nll(x, y, .ignore_index = -1), GR_ERROR_DOMAIN,
          "nll: target at [1,0] of shape [2,2] is 3, not a class from 0 to 2");
    gr_tensor *one = gr_from_data(ctx, GR_I64, gr_shape(), &(int64_t){-100});
    fails(gr_nll(f64(gr_shape(3)), one, .ignore_index = 0), GR_ERROR_DOMAIN,
          "nll: target at [] of shape [] is -100, not a class from 0 to 2");
    gr_tensor *v = gr_from_data(ctx, GR_F64, gr_shape(2), (double[]){-0.0, -0.5});
    fails(gr_gaussian_nll(v, v, v), GR_ERROR_DOMAIN,
          "gaussian_nll: variance at [1] of shape [2] is -0.5, below 0");
}

Test(errors, two_contexts_and_dead_scopes)
{
    gr_context *other = new_context(NULL, 1);
    for (int i = 0; i < LOSS_COUNT; i++) {
        spec s = sample_of(ctx, names[i], 0, gr_shape(2, 3));
        gr_tensor *y = s.y;
        s.y = gr_ones(other, GR_F64, gr_shape(2, 3));
        gr_tensor *result = call_loss(&s);
        cr_expect(gr_failed(result));
        cr_expect_eq(gr_error(ctx), GR_ERROR_CONTEXT, "%s", names[i]);
        gr_error_clear(ctx);
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        s.x = gr_ones(ctx, GR_F64, gr_shape(2, 3));
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
        s.y = y;
        cr_expect(gr_failed(call_loss(&s)));
        cr_expect_eq(gr_error(ctx), GR_ERROR_SCOPE, "%s: %s", names[i], gr_error_message(ctx));
        gr_error_clear(ctx);
    }
    (void)!gr_context_free(other);
}

/* A failed operand gives a failed loss. The first error stays. */
Test(errors, the_first_error_stays)
{
    gr_tensor *bad = gr_add(f32(gr_shape(2)), f32(gr_shape(3)));
    char text[256];
    snprintf(text, sizeof text, "%s", gr_error_message(ctx));
    for (int i = 0; i < LOSS_COUNT; i++) {
        gr_context *own = new_context(NULL, 1);
        spec s = sample_of(own, names[i], 0, gr_shape(2, 3));
        s.x = bad;
        s.y = s.z = s.w = bad;
        cr_expect(gr_failed(call_loss(&s)));
        cr_expect_eq(strncmp(gr_error_message(ctx), text, strlen(text)), 0);
        cr_expect_eq(gr_context_free(own), GR_OK);
    }
    gr_error_clear(ctx);
}
