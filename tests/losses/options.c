/* options.c - the arguments that both losses accept and refuse, with each error message. Masks,
 * smoothing, focal factors and denominators. Failed allocations. Threads and instruction sets.
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"

TestSuite(options, .init = begin, .fini = end);

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* An input and a target that both losses accept. */
static gr_tensor *input(void) { return MAKE(GR_F64, gr_shape(2, 3), .2, .7, .1, .5, .9, .35); }
static gr_tensor *target(void) { return MAKE(GR_F64, gr_shape(2, 3), 0, 1, .25, 1, 0, .5); }

/* ---- Shapes ---------------------------------------------------------------------------------- */

/* Checks the message after "bce: " or "bce_with_logits: ". */
static void refuses(gr_tensor *x, const gr_bce_args *args, gr_status status, const char *words)
{
    for (int kind = 0; kind < KINDS; kind++) {
        char message[256];
        snprintf(message, sizeof message, "%s: %s", kind_names[kind], words);
        expect_error(loss_of(kind, x, args), status, message);
    }
}

static void refuses_weight(gr_tensor *x, gr_tensor *option, const char *words)
{
    char message[256];
    gr_tensor *y = gr_zeros_like(x);
    snprintf(message, sizeof message, "weight %s", words);
    refuses(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .weight = option}, GR_ERROR_BROADCAST,
            message);
    snprintf(message, sizeof message, "pos_weight %s", words);
    refuses(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .pos_weight = option},
            GR_ERROR_BROADCAST, message);
    snprintf(message, sizeof message, "mask %s", words);
    refuses(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .mask = option}, GR_ERROR_BROADCAST,
            message);
}

Test(options, weights_that_would_enlarge_are_refused)
{
    gr_tensor *x = input();
#define ONES(...) gr_ones(ctx, GR_F64, gr_shape(__VA_ARGS__))
    refuses_weight(x, ONES(2), "shape [2] does not broadcast to the input's, [2,3]");
    refuses_weight(x, ONES(3, 1), "shape [3,1] does not broadcast to the input's, [2,3]");
    refuses_weight(x, ONES(1, 2, 3), "shape [1,2,3] does not broadcast to the input's, [2,3]");
    refuses_weight(x, ONES(4, 2, 3), "shape [4,2,3] does not broadcast to the input's, [2,3]");
    refuses_weight(x, ONES(1, 1, 2, 3), "shape [1,1,2,3] does not broadcast to the input's, [2,3]");
    refuses_weight(x, ONES(2, 0), "shape [2,0] does not broadcast to the input's, [2,3]");
    refuses_weight(ONE(GR_F64, .5), ONES(1), "shape [1] does not broadcast to the input's, []");
    refuses_weight(gr_zeros(ctx, GR_F64, gr_shape(2, 3, 4, 4)), ONES(3),
                   "shape [3] does not broadcast to the input's, [2,3,4,4]");
}

/* Checks that the loss is the same as with the expanded option. */
static void takes(loss_kind kind, gr_tensor *option)
{
    gr_tensor *x = input(), *full = gr_contiguous(gr_expand(option, gr_shape(2, 3)));
    for (int i = 0; i < 3; i++) {
        const gr_bce_args given = {GR_BCE_DEFAULTS, .target = target(), .weight = option,
                                   .reduction = reductions[i]};
        const gr_bce_args by_hand = {GR_BCE_DEFAULTS, .target = target(), .weight = full,
                                     .reduction = reductions[i]};
        cr_expect(same_bits(loss_of(kind, x, &given), loss_of(kind, x, &by_hand)), "%s",
                  gr_error_message(ctx));
        const gr_bce_args given_pos = {GR_BCE_DEFAULTS, .target = target(), .pos_weight = option,
                                       .reduction = reductions[i]};
        const gr_bce_args by_hand_pos = {GR_BCE_DEFAULTS, .target = target(), .pos_weight = full,
                                         .reduction = reductions[i]};
        cr_expect(same_bits(loss_of(kind, x, &given_pos), loss_of(kind, x, &by_hand_pos)), "%s",
                  gr_error_message(ctx));
    }
}

Test(options, weights_broadcast_to_the_input)
{
    for (int kind = 0; kind < KINDS; kind++) {
        takes(kind, ONE(GR_F64, 2));
        takes(kind, ROW(GR_F64, 2));
        takes(kind, ROW(GR_F64, 2, 3, 4));
        takes(kind, MAKE(GR_F64, gr_shape(1, 3), 2, 3, 4));
        takes(kind, MAKE(GR_F64, gr_shape(2, 1), 2, 3));
        takes(kind, MAKE(GR_F64, gr_shape(2, 3), 2, 3, 4, 5, 6, 7));
        takes(kind, gr_transpose(MAKE(GR_F64, gr_shape(3, 2), 2, 3, 4, 5, 6, 7)));
    }
}

Test(options, targets_have_the_inputs_shape)
{
    gr_tensor *x = gr_zeros(ctx, GR_F64, gr_shape(3, 1));
    refuses(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = gr_zeros(ctx, GR_F64, gr_shape(3))},
            GR_ERROR_SHAPE, "target shape [3] must be the input's, [3,1]");
    refuses(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = gr_zeros(ctx, GR_F64, gr_shape(1, 3))},
            GR_ERROR_SHAPE, "target shape [1,3] must be the input's, [3,1]");
    refuses(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = gr_zeros(ctx, GR_F64, gr_shape())},
            GR_ERROR_SHAPE, "target shape [] must be the input's, [3,1]");
    refuses(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = gr_zeros(ctx, GR_F64, gr_shape(3, 1, 1))},
            GR_ERROR_SHAPE, "target shape [3,1,1] must be the input's, [3,1]");
    refuses(ONE(GR_F64, .5), &(gr_bce_args){GR_BCE_DEFAULTS, .target = ROW(GR_F64, 1)},
            GR_ERROR_SHAPE, "target shape [1] must be the input's, []");
}

/* ---- Dtypes, missing and foreign operands ---------------------------------------------------- */

Test(options, floats_are_of_one_dtype)
{
    gr_tensor *x = input(), *y = target(), *other = gr_cast(y, GR_F32);
    refuses(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = other}, GR_ERROR_DTYPE,
            "target is f32, the input f64 (gr_cast converts)");
    refuses(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .weight = other}, GR_ERROR_DTYPE,
            "weight is f32, the input f64 (gr_cast converts)");
    refuses(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .pos_weight = other}, GR_ERROR_DTYPE,
            "pos_weight is f32, the input f64 (gr_cast converts)");
    refuses(gr_cast(x, GR_F16), &(gr_bce_args){GR_BCE_DEFAULTS, .target = gr_cast(y, GR_BF16)},
            GR_ERROR_DTYPE, "target is bf16, the input f16 (gr_cast converts)");
    refuses(gr_cast(x, GR_I32), &(gr_bce_args){GR_BCE_DEFAULTS, .target = y}, GR_ERROR_DTYPE,
            "the input is i32, not a float");
    refuses(gr_cast(x, GR_BOOL), &(gr_bce_args){GR_BCE_DEFAULTS, .target = y}, GR_ERROR_DTYPE,
            "the input is bool, not a float");
}

Test(options, input_and_target_must_be_given)
{
    gr_tensor *x = input();
    refuses(x, &(gr_bce_args){GR_BCE_DEFAULTS}, GR_ERROR_NULL, "target is NULL");
    refuses(NULL, &(gr_bce_args){GR_BCE_DEFAULTS, .target = x}, GR_ERROR_NULL, "input is NULL");
    refuses(x, NULL, GR_ERROR_NULL, "target is NULL");
    for (int kind = 0; kind < KINDS; kind++)
        cr_expect(gr_failed(loss_of(kind, NULL, &(gr_bce_args){GR_BCE_DEFAULTS})));
}

Test(options, operands_of_another_context_are_refused)
{
    gr_context *own = ctx, *other = new_context(NULL, 1);
    gr_tensor *x = input();
    ctx = other;
    gr_tensor *foreign = target();
    ctx = own;
    for (int kind = 0; kind < KINDS; kind++) {
        gr_tensor *failed = loss_of(kind, x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = foreign});
        cr_expect(gr_failed(failed));
        cr_expect_eq(gr_error(gr_context_of(failed)), GR_ERROR_CONTEXT);
        gr_error_clear(gr_context_of(failed));
    }
    cr_expect_eq(gr_context_free(other), GR_ERROR_CONTEXT, "both contexts know");
}

Test(options, a_failed_operand_passes_through)
{
    for (int kind = 0; kind < KINDS; kind++) {
        gr_tensor *failed = gr_add(input(), ROW(GR_F64, 1, 2));
        cr_expect(
            gr_failed(loss_of(kind, failed, &(gr_bce_args){GR_BCE_DEFAULTS, .target = target()})));
        cr_expect(gr_failed(loss_of(
            kind, input(), &(gr_bce_args){GR_BCE_DEFAULTS, .target = target(), .weight = failed})));
        cr_expect_eq(gr_error(ctx), GR_ERROR_BROADCAST);
        cr_expect_eq(strncmp(gr_error_message(ctx), "add: ", 5), 0);
        gr_error_clear(ctx);
    }
}

/* ---- Numbers and choices --------------------------------------------------------------------- */

static void refuses_option(gr_bce_args args, gr_status status, const char *words)
{
    args.target = target();
    refuses(input(), &args, status, words);
}

Test(options, out_of_range_are_refused)
{
    refuses_option((gr_bce_args){GR_BCE_DEFAULTS, .label_smoothing = -.1}, GR_ERROR_ARGUMENT,
                   "label_smoothing -0.1 lies outside [0,1]");
    refuses_option((gr_bce_args){GR_BCE_DEFAULTS, .label_smoothing = 1.5}, GR_ERROR_ARGUMENT,
                   "label_smoothing 1.5 lies outside [0,1]");
    refuses_option((gr_bce_args){GR_BCE_DEFAULTS, .label_smoothing = NAN}, GR_ERROR_ARGUMENT,
                   "label_smoothing nan lies outside [0,1]");
    refuses_option((gr_bce_args){GR_BCE_DEFAULTS, .gamma = -1}, GR_ERROR_ARGUMENT,
                   "gamma -1 is not a number from 0 up");
    refuses_option((gr_bce_args){GR_BCE_DEFAULTS, .gamma = INFINITY}, GR_ERROR_ARGUMENT,
                   "gamma inf is not a number from 0 up");
    refuses_option((gr_bce_args){GR_BCE_DEFAULTS, .gamma = NAN}, GR_ERROR_ARGUMENT,
                   "gamma nan is not a number from 0 up");
    refuses_option((gr_bce_args){.from_defaults = true, .alpha = -.5}, GR_ERROR_ARGUMENT,
                   "alpha -0.5 lies outside [0,1]");
    refuses_option((gr_bce_args){.from_defaults = true, .alpha = 2}, GR_ERROR_ARGUMENT,
                   "alpha 2 lies outside [0,1]");
    refuses_option((gr_bce_args){.from_defaults = true, .alpha = NAN}, GR_ERROR_ARGUMENT,
                   "alpha nan lies outside [0,1]");
    refuses_option((gr_bce_args){GR_BCE_DEFAULTS, .denominator = (gr_denominator)3},
                   GR_ERROR_ARGUMENT, "unknown denominator 3");
    refuses_option((gr_bce_args){GR_BCE_DEFAULTS, .denominator = (gr_denominator)-1},
                   GR_ERROR_ARGUMENT, "unknown denominator -1");
    refuses_option((gr_bce_args){GR_BCE_DEFAULTS, .reduction = (gr_reduction)3}, GR_ERROR_REDUCTION,
                   "unknown reduction 3; the known ones are GR_MEAN, GR_SUM and GR_NONE");
    refuses_option((gr_bce_args){GR_BCE_DEFAULTS, .reduction = (gr_reduction)-1},
                   GR_ERROR_REDUCTION,
                   "unknown reduction -1; the known ones are GR_MEAN, GR_SUM and GR_NONE");
}

Test(options, all_zero_are_the_default)
{
    for (int kind = 0; kind < KINDS; kind++) {
        gr_tensor *mean =
            loss_of(kind, input(), &(gr_bce_args){GR_BCE_DEFAULTS, .target = target()});
        gr_tensor *none =
            loss_of(kind, input(),
                    &(gr_bce_args){GR_BCE_DEFAULTS, .target = target(), .reduction = GR_NONE});
        gr_tensor *sum =
            loss_of(kind, input(),
                    &(gr_bce_args){GR_BCE_DEFAULTS, .target = target(), .reduction = GR_SUM});
        expect_near(GR_F64, gr_item(mean), (long double)gr_item(sum) / 6, 1, "mean");
        expect_near(GR_F64, gr_item(gr_sum(none)), (long double)gr_item(sum), 1, "sum");
    }
}

static void refuses_axis(gr_dims axis, gr_tensor *p, gr_status status, const char *words)
{
    refuses(gr_zeros(ctx, GR_F64, gr_shape(2, 3, 4)),
            &(gr_bce_args){GR_BCE_DEFAULTS, .target = gr_zeros(ctx, GR_F64, gr_shape(2, 3, 4)),
                           .pos_weight = p, .class_axis = axis},
            status, words);
}

Test(options, class_axis)
{
    gr_tensor *three = ROW(GR_F64, 1, 2, 3);
    refuses_axis(gr_axes(3), three, GR_ERROR_ARGUMENT,
                 "class_axis [3] is no axis of shape [2,3,4]");
    refuses_axis(gr_axes(-4), three, GR_ERROR_ARGUMENT,
                 "class_axis [-4] is no axis of shape [2,3,4]");
    refuses_axis(gr_axes(0, 1), three, GR_ERROR_ARGUMENT,
                 "class_axis [0,1] is no axis of shape [2,3,4]");
    refuses_axis(gr_axes(0), three, GR_ERROR_BROADCAST,
                 "pos_weight shape [3] must be [2], axis 0 of the input's, [2,3,4]");
    refuses_axis(gr_axes(1), MAKE(GR_F64, gr_shape(3, 1), 1, 2, 3), GR_ERROR_BROADCAST,
                 "pos_weight shape [3,1] must be [3], axis 1 of the input's, [2,3,4]");

    gr_tensor *x = gr_randn(ctx, GR_F64, gr_shape(2, 3, 4)),
              *y = gr_rand(ctx, GR_F64, gr_shape(2, 3, 4));
    gr_tensor *p = gr_variable(three), *q = gr_variable(gr_reshape(three, gr_shape(3, 1)));
    gr_tensor *along = gr_bce_with_logits(x, y, .pos_weight = p, .class_axis = gr_axes(1));
    gr_tensor *from_end = gr_bce_with_logits(x, y, .pos_weight = p, .class_axis = gr_axes(-2));
    gr_tensor *plain = gr_bce_with_logits(x, y, .pos_weight = q);
    cr_expect(same_bits(along, plain) && same_bits(from_end, plain));
    gr_tensor *dp = gr_grad(along, p);
    cr_expect(same_bits(dp, gr_reshape(gr_grad(plain, q), gr_shape(3))));
    gr_tensor *last = ROW(GR_F64, 1, 2, 3, 4);
    cr_expect(same_bits(gr_bce_with_logits(x, y, .pos_weight = last, .class_axis = gr_axes(-1)),
                        gr_bce_with_logits(x, y, .pos_weight = last)));
    cr_expect(
        same_bits(gr_bce_with_logits(x, y, .class_axis = gr_axes(1)), gr_bce_with_logits(x, y)));
}

Test(options, strict_target)
{
    const gr_bce_args args = {GR_BCE_DEFAULTS,
                              .target = MAKE(GR_F64, gr_shape(2, 3), 0, 1, .5, 1, 1.25, 0),
                              .strict_target = true};
    refuses(input(), &args, GR_ERROR_DOMAIN,
            "target at [1,1] of shape [2,3] is 1.25, outside [0,1]");
    refuses(input(),
            &(gr_bce_args){GR_BCE_DEFAULTS,
                           .target = MAKE(GR_F64, gr_shape(2, 3), 0, NAN, 0, 0, 0, 0),
                           .strict_target = true, .reduction = GR_NONE},
            GR_ERROR_DOMAIN, "target at [0,1] of shape [2,3] is nan, outside [0,1]");
    refuses(input(),
            &(gr_bce_args){GR_BCE_DEFAULTS,
                           .target = MAKE(GR_I32, gr_shape(2, 3), 0, 1, 0, 0, 0, 7),
                           .strict_target = true},
            GR_ERROR_DOMAIN, "target at [1,2] of shape [2,3] is 7, outside [0,1]");
    for (int kind = 0; kind < KINDS; kind++) {
        gr_bce_args fine = {GR_BCE_DEFAULTS, .target = target(), .strict_target = true},
                    loose = {GR_BCE_DEFAULTS, .target = target()};
        cr_expect(same_bits(loss_of(kind, input(), &fine), loss_of(kind, input(), &loose)));
        fine = args;
        fine.mask = MAKE(GR_BOOL, gr_shape(2, 3), 1, 1, 1, 1, 0, 1);
        cr_expect(!gr_failed(loss_of(kind, input(), &fine)), "masked, it does not count");
    }
}

/* ---- Mask ------------------------------------------------------------------------------------ */

/* Checks that the kept elements alone give the same as all elements with a mask, for any values in
   the dropped elements. */
static void expect_mask(loss_kind kind, gr_dtype dtype, gr_reduction reduction, double rubbish,
                        bool record)
{
    const double r = rubbish;
    gr_tensor *mask = MAKE(GR_U8, gr_shape(2, 3), 1, 0, 5, 1, 0, 0);
    gr_tensor *x = MAKE(dtype, gr_shape(2, 3), .25, r, .5, .75, r, r),
              *y = MAKE(dtype, gr_shape(2, 3), 1, r, .5, 0, r, r);
    gr_tensor *w = MAKE(dtype, gr_shape(2, 3), 1, r, 2, 3, r, r),
              *p = MAKE(dtype, gr_shape(2, 3), 3, r, 2, 1, r, r);
    const outcome all =
        run(kind, x,
            (gr_bce_args){GR_BCE_DEFAULTS, .target = y, .weight = w, .pos_weight = p, .mask = mask,
                          .reduction = reduction, .denominator = GR_KEPT},
            record);
    const outcome kept =
        run(kind, ROW(dtype, .25, .5, .75),
            (gr_bce_args){GR_BCE_DEFAULTS, .target = ROW(dtype, 1, .5, 0),
                          .weight = ROW(dtype, 1, 2, 3), .pos_weight = ROW(dtype, 3, 2, 1),
                          .reduction = reduction},
            record);
    static const int at[6] = {0, -1, 1, 2, -1, -1};
    for (int k = reduction == GR_NONE ? LOSS : DX; k < QUANTITIES; k++)
        for (int i = 0; i < 6; i++) {
            const double got = gr_get(all.at[k], gr_index(i / 3, i % 3));
            const double want = at[i] < 0 ? 0 : gr_get(kept.at[k], gr_index(at[i]));
            cr_expect_eq(got, want, "%s %s [%d] is %g instead of %g", kind_names[kind],
                         quantity_names[k], i, got, want);
        }
    if (reduction != GR_NONE)
        cr_expect_eq(gr_item(all.at[LOSS]), gr_item(kept.at[LOSS]));
}

Test(options, what_is_masked_has_no_influence)
{
    static const double rubbish[] = {.5, NAN, INFINITY, -INFINITY, -7, 1e30};
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < COUNT(rubbish); i++)
            for (int k = 0; k < 3; k++) {
                expect_mask(kind, GR_F64, reductions[k], rubbish[i], false);
                expect_mask(kind, GR_F32, reductions[k], rubbish[i], false);
                expect_mask(kind, GR_F64, reductions[k], rubbish[i], true);
                expect_mask(kind, GR_F32, reductions[k], rubbish[i], true);
            }
}

Test(options, a_masked_value_outside_the_domain_is_no_error_and_a_kept_one_is)
{
    gr_tensor *x = ROW(GR_F64, .5, 3, -1), *y = ROW(GR_F64, 1, 1, 1);
    expect_near(GR_F64, gr_item(gr_bce(x, y, .mask = ROW(GR_I32, 1, 0, 0))), logl(2) / 3, 1,
                "mean over all");
    expect_error(
        gr_bce_with(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .mask = ROW(GR_I32, 1, 0, 1)}),
        GR_ERROR_DOMAIN, "bce: input at [2] of shape [3] is -1, outside [0,1]");
}

Test(options, a_mask_that_keeps_nothing)
{
    gr_tensor *x = gr_variable(ROW(GR_F64, NAN, .5)), *y = ROW(GR_F64, 1, 0),
              *none = gr_zeros(ctx, GR_BOOL, gr_shape(2));
    for (int kind = 0; kind < KINDS; kind++) {
        gr_bce_args args = {GR_BCE_DEFAULTS, .target = y, .mask = none};
        cr_expect_eq(gr_item(loss_of(kind, x, &args)), 0, "over all");
        cr_expect_eq(gr_get(gr_grad(loss_of(kind, x, &args), x), gr_index(0)), 0);
        args.denominator = GR_KEPT;
        cr_expect(isnan(gr_item(loss_of(kind, x, &args))), "over none: the mean of nothing");
        args.reduction = GR_SUM;
        cr_expect_eq(gr_item(loss_of(kind, x, &args)), 0);
    }
}

/* ---- Denominators ---------------------------------------------------------------------------- */

Test(options, denominators)
{
    const double w[] = {1, 2, .5};
    gr_tensor *weight = make(GR_F64, gr_shape(3), w),
              *mask = MAKE(GR_BOOL, gr_shape(2, 3), 1, 1, 0, 0, 1, 1);
    const long double weights = 2 * 3.5L, kept = 4, kept_weights = 1 + 2 + 2 + .5L;
    for (int kind = 0; kind < KINDS; kind++) {
        gr_bce_args args = {GR_BCE_DEFAULTS, .target = target(), .weight = weight,
                            .reduction = GR_SUM};
        const double sum = gr_item(loss_of(kind, input(), &args));
        args.mask = mask;
        const double masked = gr_item(loss_of(kind, input(), &args));
        args.reduction = GR_MEAN;
#define MEAN_OVER(which, kept_only)                                                                \
    (args.denominator = (which), args.mask = (kept_only) ? mask : NULL,                            \
     gr_item(loss_of(kind, input(), &args)))
        expect_near(GR_F64, MEAN_OVER(GR_ALL, false), sum / 6.0L, 1, "all");
        expect_near(GR_F64, MEAN_OVER(GR_ALL, true), masked / 6.0L, 1, "all, masked");
        expect_near(GR_F64, MEAN_OVER(GR_KEPT, false), sum / 6.0L, 1, "kept");
        expect_near(GR_F64, MEAN_OVER(GR_KEPT, true), masked / kept, 1, "kept, masked");
        expect_near(GR_F64, MEAN_OVER(GR_WEIGHTS, false), sum / weights, 1, "weights");
        expect_near(GR_F64, MEAN_OVER(GR_WEIGHTS, true), masked / kept_weights, 1,
                    "weights, masked");
        args.weight = NULL;
        const double number = MEAN_OVER(GR_KEPT, true), weighed = MEAN_OVER(GR_WEIGHTS, true);
        cr_expect_eq(number, weighed, "without weight each counts 1");
    }
}

/* ---- Smoothing and focal factor -------------------------------------------------------------- */

Test(options, label_smoothing_is_a_smoothed_target)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < 3; i++) {
            const double e[] = {.1, .25, 1};
            gr_tensor *y = target(), *x = input();
            gr_tensor *t = gr_add(gr_mul(y, gr_scalar(ctx, 1 - e[i])), gr_scalar(ctx, e[i] / 2));
            const outcome smoothed =
                run(kind, x, (gr_bce_args){GR_BCE_DEFAULTS, .target = y, .label_smoothing = e[i]},
                    false);
            const outcome by_hand =
                run(kind, x, (gr_bce_args){GR_BCE_DEFAULTS, .target = t}, false);
            expect_near(GR_F64, gr_item(smoothed.at[LOSS]), gr_item(by_hand.at[LOSS]), 2, "loss");
            for (int j = 0; j < 6; j++) {
                const gr_dims at = gr_index(j / 3, j % 3);
                const double dx = gr_get(smoothed.at[DX], at), dy = gr_get(smoothed.at[DY], at);
                cr_expect_float_eq(dx, gr_get(by_hand.at[DX], at), 1e-15);
                cr_expect_float_eq(dy, (1 - e[i]) * gr_get(by_hand.at[DY], at), 1e-15);
            }
        }
}

/* torchvision's sigmoid_focal_loss: ce (1 - p_t)^gamma, p_t = p y + (1-p)(1-y), and alpha_t has the
   same form. 1 - p_t is computed without cancellation. */
static long double focal(loss_kind kind, point a, long double gamma, long double alpha)
{
    const long double positive = kind == LOGITS ? sigmoid(a.x) : a.x,
                      negative = kind == LOGITS ? sigmoid(-a.x) : 1 - a.x;
    const long double miss = a.y * negative + (1 - a.y) * positive;
    const long double side = alpha == GR_NO_ALPHA ? 1 : alpha * a.y + (1 - alpha) * (1 - a.y);
    return truth_of(kind, a).at[LOSS] * powl(miss, gamma) * side;
}

static void expect_focal(loss_kind kind, gr_dtype dtype, point a, double gamma, double alpha)
{
    gr_tensor *loss = loss_of(kind, ROW(dtype, (double)a.x),
                              &(gr_bce_args){.from_defaults = true,
                                             .target = ROW(dtype, (double)a.y),
                                             .gamma = gamma,
                                             .alpha = alpha});
    a.x = dtype == GR_F32 ? (float)a.x : a.x;
    const long double want = focal(kind, a, gamma, alpha);
    const double off = ulps_off(dtype, gr_item(loss), want, 0);
    cr_expect(off <= (dtype == GR_F32 ? .501 : 12 + gamma),
              "%s %s x=%Lg y=%Lg gamma %g alpha %g: %.17g instead of %.17Lg, %g ulp",
              kind_names[kind], gr_dtype_name(dtype), a.x, a.y, gamma, alpha, gr_item(loss), want,
              off);
}

Test(options, focal_loss_is_torchvisions)
{
    static const double gammas[] = {0, .5, 1, 2, 2.5, 5}, alphas[] = {GR_NO_ALPHA, 0, .25, .75, 1},
                        targets[] = {0, 1, .25};
    static const double logits[] = {0, .3, -2, 8, -8, 30, -30},
                        probabilities[] = {.5, .01, .99, 1e-6, .75};
    for (int i = 0; i < COUNT(gammas) * COUNT(alphas) * COUNT(targets); i++) {
        const double gamma = gammas[i % 6], alpha = alphas[i / 6 % 5], y = targets[i / 30];
        for (int j = 0; j < COUNT(logits); j++) {
            expect_focal(LOGITS, GR_F64, (point){logits[j], y, 1, 1}, gamma, alpha);
            expect_focal(LOGITS, GR_F32, (point){logits[j], y, 1, 1}, gamma, alpha);
        }
        for (int j = 0; j < COUNT(probabilities); j++) {
            expect_focal(PROBABILITIES, GR_F64, (point){probabilities[j], y, 1, 1}, gamma, alpha);
            expect_focal(PROBABILITIES, GR_F32, (point){probabilities[j], y, 1, 1}, gamma, alpha);
        }
    }
}

Test(options, focal_gradients_are_finite_in_the_tails)
{
    static const double x[] = {-1e4, -800, -100, -40, 40, 100, 800, 1e4};
    for (int i = 0; i < COUNT(x); i++)
        for (int y = 0; y < 2; y++)
            for (int g = 0; g < 3; g++) {
                const gr_bce_args args = {.from_defaults = true,
                                          .target = ROW(GR_F64, y),
                                          .gamma = g ? g : .5,
                                          .alpha = .25};
                const outcome out = run(LOGITS, ROW(GR_F64, x[i]), args, false);
                for (int k = LOSS; k <= DY; k++)
                    cr_expect(isfinite(gr_item(out.at[k])), "x=%g y=%d: %s is %g", x[i], y,
                              quantity_names[k], gr_item(out.at[k]));
                const bool right = (x[i] > 0) == y;
                cr_expect(right ? fabs(gr_item(out.at[DX])) < 1e-20
                                : fabs(gr_item(out.at[DX])) > .2);
            }
}

/* ---- Memory that runs out -------------------------------------------------------------------- */

/* Computes a loss with every option, and its gradients with both rules. If the k-th allocation
 * fails, there must be an error and no other effect.
 */
static bool whole_step(gr_context *in, loss_kind kind)
{
    ctx = in;
    gr_tensor *x = gr_parameter(gr_full(ctx, GR_F64, gr_shape(400, 30), .25));
    gr_tensor *y = gr_full(ctx, GR_F64, gr_shape(400, 30), .5),
              *w = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(30)));
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(400)));
    gr_tensor *mask = gr_ones(ctx, GR_BOOL, gr_shape(400, 1));
    if (gr_scope_begin(ctx) != GR_OK)
        return false;
    const gr_bce_args args = {GR_BCE_DEFAULTS,
                              .target = y,
                              .weight = w,
                              .pos_weight = p,
                              .mask = mask,
                              .gamma = 2,
                              .denominator = GR_WEIGHTS,
                              .class_axis = gr_axes(0),
                              .label_smoothing = .1};
    gr_tensor *value = loss_of(kind, x, &args);
    const bool done =
        gr_backward(value) == GR_OK && !gr_failed(gr_grad(value, x)) &&
        !gr_failed(
            loss_of(kind, x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .reduction = GR_NONE})) &&
        !gr_failed(gr_gradient(w));
    const gr_status status = gr_scope_end(ctx);
    return done && status == GR_OK;
}

static void fail_each_allocation(loss_kind kind)
{
    gr_context *own = ctx;
    const int64_t before = heap.live;
    bool done = false;
    int64_t k = 1;
    for (; !done && k < 2000; k++) {
        heap.calls = 0;
        heap.fail_at = k;
        gr_context *fragile = new_context("scalar", 1);
        done = whole_step(fragile, kind);
        const gr_status status = gr_context_free(fragile);
        cr_expect_eq(status, done ? GR_OK : GR_ERROR_MEMORY, "allocation %lld: %s", (long long)k,
                     gr_status_name(status));
        cr_expect_eq(heap.live, before, "allocation %lld: %lld bytes are lost", (long long)k,
                     (long long)(heap.live - before));
        heap.fail_at = 0;
    }
    cr_expect(done && k > 10, "%lld allocations", (long long)k);
    ctx = own;
}

Test(options, every_allocation_may_fail)
{
    for (int kind = 0; kind < KINDS; kind++)
        fail_each_allocation(kind);
}

Test(options, after_a_failed_allocation_the_same_call_gives_the_same_bits)
{
    for (int kind = 0; kind < KINDS; kind++) {
        gr_tensor *x = gr_variable(gr_full(ctx, GR_F32, gr_shape(900, 700), .25));
        const gr_bce_args args = {GR_BCE_DEFAULTS,
                                  .target = gr_full(ctx, GR_F32, gr_shape(900, 700), .75)};
        gr_tensor *want = loss_of(kind, x, &args);
        heap.calls = 0;
        heap.fail_at = 1;
        gr_bce_args none = args;
        none.reduction = GR_NONE;
        cr_expect(gr_failed(loss_of(kind, gr_variable(x), &none)));
        cr_expect_eq(gr_error(ctx), GR_ERROR_MEMORY);
        heap.fail_at = 0;
        gr_error_clear(ctx);
        cr_expect(same_bits(loss_of(kind, x, &args), want));
    }
}

/* ---- The same bits --------------------------------------------------------------------------- */

/* Large enough that each of seven threads gets some elements. */
enum { ROWS = 701, COLUMNS = 331 };

/* Hashes (FNV-1a) the words of value and gradients, with several sets of options. */
static uint64_t mixed(uint64_t hash, gr_tensor *x)
{
    const uint32_t *words = gr_data(x);
    for (int64_t i = 0; i < gr_numel(x) * gr_dtype_size(gr_dtype_of(x)) / 4; i++)
        hash = (hash ^ words[i]) * 1099511628211u;
    return hash;
}

static uint64_t hash_of(gr_dtype dtype)
{
    uint64_t hash = 14695981039346656037u;
    const gr_dims shape = gr_shape(ROWS, COLUMNS);
    gr_tensor *u = gr_rand(ctx, dtype, shape), *y = gr_rand(ctx, dtype, shape),
              *w = gr_rand(ctx, dtype, gr_shape(ROWS, 1));
    gr_tensor *x = gr_mul(gr_randn(ctx, dtype, shape), gr_scalar(ctx, 9)),
              *p = gr_rand(ctx, dtype, gr_shape(COLUMNS));
    const gr_bce_args sets[] = {
        {GR_BCE_DEFAULTS, .target = y},
        {GR_BCE_DEFAULTS, .target = y, .reduction = GR_SUM},
        {GR_BCE_DEFAULTS, .target = y, .weight = w, .pos_weight = p, .reduction = GR_NONE},
        {.from_defaults = true,
         .target = y,
         .weight = w,
         .pos_weight = p,
         .gamma = 1.5,
         .alpha = .25,
         .label_smoothing = .1,
         .mask = gr_less(u, gr_scalar(ctx, .8)),
         .denominator = GR_WEIGHTS}};
    for (int i = 0; i < COUNT(sets) * KINDS; i++) {
        const outcome out = run(i % KINDS, i % KINDS == LOGITS ? x : u, sets[i / KINDS], i == 5);
        for (int k = 0; k < QUANTITIES; k++)
            hash = out.at[k] ? mixed(hash, out.at[k]) : hash;
        if (i >= KINDS)
            continue;
        gr_tensor *v = gr_variable(i == LOGITS ? x : u),
                  /* This one has no gradient for the target. */
            *dx;
        gr_tensor *value = loss_of(i, v, &sets[0]);
        cr_assert_eq(gr_grad_with(value, gr_list(v), &dx, &(gr_grad_args){0}), GR_OK);
        hash = mixed(mixed(hash, value), dx);
    }
    return hash;
}

static uint64_t hash_under(const char *isa, int threads, gr_dtype dtype)
{
    gr_context *own = ctx;
    ctx = new_context(isa, threads);
    uint64_t hash = 0;
    if (gr_error(ctx) == GR_OK) /* otherwise this processor lacks it */
        hash = hash_of(dtype);
    (void)!gr_context_free(ctx);
    ctx = own;
    return hash;
}

static void expect_same_bits(gr_dtype dtype)
{
    static const struct {
        const char *isa;
        int threads;
    } others[] = {{"scalar", 1}, {"avx2", 2}, {"avx512", 4}, {NULL, 7}};
    const uint64_t want = hash_under(NULL, 1, dtype);
    for (int i = 0; i < COUNT(others); i++) {
        const uint64_t hash = hash_under(others[i].isa, others[i].threads, dtype);
        cr_expect(hash == want || hash == 0, "%s, %d threads: other bits",
                  others[i].isa ? others[i].isa : "widest", others[i].threads);
    }
}

Test(options, threads_and_instruction_sets_change_no_bit_of_floats) { expect_same_bits(GR_F32); }
Test(options, threads_and_instruction_sets_change_no_bit_of_doubles) { expect_same_bits(GR_F64); }
