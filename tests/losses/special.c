/* special.c - infinities, NaN and zeros in binary cross entropy: the fused rule and the recorded
 * one follow one rule.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(special, .init = begin, .fini = end, .timeout = 300);

enum { COUNT = 400, OPERANDS = 4 };

/* Where the names of the operands begin: x, y, w, p. */
static const char *const names = "xywp";

typedef struct form {
    bool logits;
    gr_bce_args args; /* without operands */
    bool has_weight, has_pos_weight, has_mask;
} form;

static double pick(const double *from, int count) { return from[draw_bits() % (uint64_t)count]; }
#define PICK(...) pick((const double[]){__VA_ARGS__}, COUNT_OF(((const double[]){__VA_ARGS__})))

static gr_tensor *drawn(gr_dtype dtype, int operand, bool logits)
{
    double values[COUNT];
    for (int i = 0; i < COUNT; i++) {
        if (operand == 0 && logits)
            values[i] = PICK(0, 1, -1, 30, -30, 200, -200, 1e30, -1e30, INFINITY, -INFINITY, NAN);
        else if (operand == 0)
            values[i] = PICK(0, 1, 0.5, 0.25, 1e-30);
        else if (operand == 1)
            values[i] = PICK(0, 1, 0.5, 0.2, 0.7);
        else
            values[i] = PICK(0, 0, 1, 2, 0.5);
    }
    return gr_variable(gr_cast(gr_from_data(ctx, GR_F64, gr_shape(COUNT), values), dtype));
}

/* Equal as special values, or close as usual ones. scale: of the terms that may cancel. */
static bool agree(double a, double b, double scale)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (isinf(a) || isinf(b))
        return a == b;
    return fabs(a - b) <= 1e-5 * fmax(scale, fmax(fabs(a), fabs(b)));
}

static void compare(const form *f, gr_dtype dtype)
{
    gr_tensor *in[OPERANDS], *seed = NULL, *found[2][OPERANDS];
    for (int k = 0; k < OPERANDS; k++)
        in[k] = drawn(dtype, k, f->logits);
    gr_bce_args args = f->args;
    args.target = in[1];
    args.weight = f->has_weight ? in[2] : NULL;
    args.pos_weight = f->has_pos_weight ? in[3] : NULL;
    args.mask = f->has_mask ? gr_detach(drawn(dtype, 2, false)) : NULL;
    gr_tensor *y = f->logits ? gr_bce_with_logits_with(in[0], &args) : gr_bce_with(in[0], &args);
    if (args.reduction == GR_NONE)
        seed = gr_detach(drawn(dtype, 2, false));
    else
        seed = gr_full(ctx, dtype, gr_shape(), PICK(0, 1, 0.5));
    for (int record = 0; record < 2; record++)
        cr_assert_eq(gr_grad_with(y, (gr_tensors){OPERANDS, in}, found[record],
                                  &(gr_grad_args){.seed = seed, .record = record}),
                     GR_OK, "%s", gr_error_message(ctx));
    double *given[OPERANDS];
    for (int k = 0; k < OPERANDS; k++)
        given[k] = values_of(in[k]);
    for (int k = 0; k < OPERANDS; k++) {
        double *fused = values_of(found[0][k]), *recorded = values_of(found[1][k]);
        for (int i = 0; i < COUNT; i++)
            cr_expect(agree(fused[i], recorded[i], 0.1 + fabs(given[0][i])),
                      "%s d%c: %g and %g at x %g, y %g, w %g, p %g, gamma %g, alpha %g, e %g, "
                      "reduction %d, denominator %d, f%d",
                      f->logits ? "logits" : "bce", names[k], fused[i], recorded[i], given[0][i],
                      given[1][i], given[2][i], given[3][i], args.gamma, args.alpha,
                      args.label_smoothing, args.reduction, args.denominator,
                      dtype == GR_F32 ? 32 : 64);
        free(fused), free(recorded);
    }
    for (int k = 0; k < OPERANDS; k++)
        free(given[k]);
}

Test(special, fused_and_recorded_gradients_are_the_same)
{
    for (int i = 0; i < 400; i++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        form f = {.logits = i % 4 > 0, .args = gr_bce_defaults(), .has_weight = draw_bits() % 2};
        f.has_pos_weight = draw_bits() % 2;
        f.has_mask = draw_bits() % 2;
        f.args.reduction = (gr_reduction)(draw_bits() % 3);
        f.args.denominator = (gr_denominator)(draw_bits() % 3);
        f.args.gamma = PICK(0, 0, 0.5, 1, 2);
        f.args.alpha = PICK(GR_NO_ALPHA, GR_NO_ALPHA, 0, 1, 0.3);
        f.args.label_smoothing = PICK(0, 0, 0, 0.4);
        compare(&f, i % 2 ? GR_F32 : GR_F64);
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
    }
}

/* A weight of 0 says that the element does not count, and so does an upstream gradient of 0: an
   infinite logit changes nothing then. */
Test(special, an_infinite_logit_of_weight_0_has_no_gradient)
{
    for (int record = 0; record < 2; record++) {
        gr_tensor *x = gr_variable(gr_full(ctx, GR_F64, gr_shape(1), INFINITY));
        gr_tensor *y = gr_variable(gr_full(ctx, GR_F64, gr_shape(1), 0.5)), *g[2];
        gr_tensor *w = gr_zeros(ctx, GR_F64, gr_shape(1));
        gr_tensor *loss = gr_bce_with_logits(x, y, .weight = w);
        cr_expect_eq(gr_item(loss), 0);
        cr_assert_eq(gr_grad_with(loss, gr_list(x, y), g, &(gr_grad_args){.record = record}),
                     GR_OK);
        EXPECT_VALUES(g[0], 0);
        EXPECT_VALUES(g[1], 0);
        gr_tensor *nothing = gr_zeros(ctx, GR_F64, gr_shape());
        cr_assert_eq(gr_grad_with(gr_bce_with_logits(x, y), gr_list(x, y), g,
                                  &(gr_grad_args){.record = record, .seed = nothing}),
                     GR_OK);
        EXPECT_VALUES(g[0], 0);
        EXPECT_VALUES(g[1], 0);
    }
}
