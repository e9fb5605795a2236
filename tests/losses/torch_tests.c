/* torch_tests.c - checks of PyTorch's own tests (test_nn.py, test_torch.py, OpInfo) for these
 * losses.
 *
 * If gradus gives the true value and PyTorch an approximation, the comment says so.
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"

TestSuite(torch_tests, .init = begin, .fini = end);

static gr_tensor *scaled(gr_tensor *x, double by) { return gr_mul(x, gr_scalar_like(x, by)); }
static gr_tensor *uniform(int64_t rows, int64_t columns)
{
    return gr_rand(ctx, GR_F64, gr_shape(rows, columns));
}

static double furthest(gr_tensor *a, gr_tensor *b)
{
    double *one = values_of(a), *other = values_of(b), most = 0;
    cr_assert_eq(gr_numel(a), gr_numel(b));
    for (int64_t i = 0; i < gr_numel(a); i++)
        most = fmax(most, isnan(one[i] - other[i]) ? INFINITY : fabs(one[i] - other[i]));
    free(one);
    free(other);
    return most;
}

static gr_tensor *gradient_of(gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *p)
{
    gr_tensor *v = gr_variable(x);
    return gr_grad(gr_bce_with_logits(v, y, .weight = w, .pos_weight = p, .reduction = GR_SUM), v);
}

Test(torch_tests, raises_if_target_and_input_are_different_size)
{
    for (int kind = 0; kind < KINDS; kind++) {
        gr_tensor *x = gr_rand(ctx, GR_F32, gr_shape(5, 1)), *y = gr_rand(ctx, GR_F32, gr_shape(5));
        cr_expect(gr_failed(loss_of(kind, x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y})));
        cr_expect_eq(gr_error(ctx), GR_ERROR_SHAPE);
        gr_error_clear(ctx);
        cr_expect(gr_failed(loss_of(kind, y, &(gr_bce_args){GR_BCE_DEFAULTS, .target = x})));
        cr_expect_eq(gr_error(ctx), GR_ERROR_SHAPE);
        gr_error_clear(ctx);
    }
}

Test(torch_tests, gives_same_result_as_sigmoid_and_bce_loss)
{
    gr_tensor *y = uniform(64, 4), *x = gr_sub(uniform(64, 4), gr_scalar(ctx, .5)),
              *w = gr_rand(ctx, GR_F64, gr_shape(4));
    for (int i = 0; i < 3; i++) {
        gr_tensor *of_logits = gr_bce_with_logits(x, y, .reduction = reductions[i]);
        gr_tensor *of_sigmoid = gr_bce(gr_sigmoid(x), y, .reduction = reductions[i]);
        cr_expect_leq(furthest(of_logits, of_sigmoid), i == 1 ? 1e-13 : 1e-15);
        gr_tensor *weighted = gr_bce_with_logits(x, y, .weight = w, .reduction = reductions[i]);
        gr_tensor *weighted_sigmoid =
            gr_bce(gr_sigmoid(x), y, .weight = w, .reduction = reductions[i]);
        cr_expect_leq(furthest(weighted, weighted_sigmoid), i == 1 ? 1e-13 : 1e-15);
    }
}

Test(torch_tests, gives_same_result_as_sigmoid_and_bce_loss_large_logits)
{
    gr_tensor *y = uniform(16, 4), *x = gr_add(uniform(16, 4), gr_scalar(ctx, 20));
    gr_tensor *p = gr_sigmoid(x);
    cr_expect_leq(furthest(gr_bce_with_logits(x, y), gr_bce(p, y)),
                  1e-7); /* 1 - p has only few digits left */
    gr_tensor *huge = gr_full(ctx, GR_F64, gr_shape(2), 1e3);
    gr_tensor *zero = gr_zeros(ctx, GR_F64, gr_shape(2)), *ones = gr_ones(ctx, GR_F64, gr_shape(2));
    cr_expect_eq(gr_item(gr_bce(gr_sigmoid(huge), zero)), 100, "the clamp");
    cr_expect_eq(gr_item(gr_bce_with_logits(huge, zero)), 1000, "none");
    cr_expect_eq(gr_item(gr_bce_with_logits(huge, ones)), gr_item(gr_bce(gr_sigmoid(huge), ones)));
}

Test(torch_tests, has_correct_grad_at_zero)
{
    gr_tensor *x = gr_zeros(ctx, GR_F64, gr_shape(3, 1)),
              *y = gr_zeros(ctx, GR_F64, gr_shape(3, 1));
    gr_tensor *half = gr_full(ctx, GR_F64, gr_shape(3, 1), .5);
    cr_expect(same_bits(gradient_of(x, y, NULL, NULL), half));
}

Test(torch_tests, with_pos_weight_has_correct_grad_at_zero)
{
    gr_tensor *x = gr_zeros(ctx, GR_F64, gr_shape(3, 1)),
              *y = gr_zeros(ctx, GR_F64, gr_shape(3, 1));
    gr_tensor *half = gr_full(ctx, GR_F64, gr_shape(3, 1), .5),
              *p = gr_ones(ctx, GR_F64, gr_shape(3, 1));
    cr_expect(same_bits(gradient_of(x, y, NULL, p), half));
}

Test(torch_tests, broadcasts_weights)
{
    gr_tensor *y = uniform(16, 4), *x = gr_sub(uniform(16, 4), gr_scalar(ctx, .5));
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < 2; i++) {
            gr_tensor *w = gr_rand(ctx, GR_F64, i ? gr_shape(16, 1) : gr_shape(4));
            gr_tensor *expanded = gr_contiguous(gr_expand(w, gr_shape(16, 4)));
            gr_tensor *in = kind == LOGITS ? x : gr_sigmoid(x);
            cr_expect(same_bits(
                loss_of(kind, in, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .weight = w}),
                loss_of(kind, in,
                        &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .weight = expanded})));
        }
}

Test(torch_tests, ones_in_pos_weights_are_the_same_as_none)
{
    gr_tensor *y = uniform(64, 4), *x = gr_sub(uniform(64, 4), gr_scalar(ctx, .5));
    gr_tensor *ones = gr_ones(ctx, GR_F64, gr_shape(64, 4));
    for (int kind = 0; kind < KINDS; kind++) { /* PyTorch: within 2.4e-7 in floats */
        gr_tensor *in = kind == LOGITS ? x : gr_sigmoid(x);
        cr_expect(same_bits(
            loss_of(kind, in, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y}),
            loss_of(kind, in, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .pos_weight = ones})));
    }
}

Test(torch_tests, broadcasts_pos_weights)
{
    gr_tensor *y = uniform(64, 4), *x = gr_sub(uniform(64, 4), gr_scalar(ctx, .5));
    gr_tensor *p = gr_rand(ctx, GR_F64, gr_shape(4));
    gr_tensor *row = gr_reshape(p, gr_shape(1, 4)), *full = gr_expand(p, gr_shape(64, 4));
    gr_tensor *loss = gr_bce_with_logits(x, y, .pos_weight = p);
    cr_expect(same_bits(loss, gr_bce_with_logits(x, y, .pos_weight = row)));
    cr_expect(same_bits(loss, gr_bce_with_logits(x, y, .pos_weight = full)));
}

Test(torch_tests, with_pos_weight_has_no_overflow)
{
    /* These logits once overflowed: -120 with pos_weight gave inf. */
    gr_tensor *x = ROW(GR_F32, 0, -120), *y = ROW(GR_F32, 0, 1), *p = ROW(GR_F32, 1, 1);
    gr_tensor *loss = gr_bce_with_logits(x, y, .pos_weight = p, .reduction = GR_NONE);
    cr_expect_eq(gr_get(loss, gr_index(1)), 120);
    cr_expect(isfinite(gr_item(gr_bce_with_logits(x, y, .pos_weight = p))));
    expect_near(GR_F32, gr_get(loss, gr_index(0)), logl(2), 1, "log 2");
}

Test(torch_tests, bce_loss_always_nonnegative)
{
    gr_tensor *x = gr_ones(ctx, GR_F64, gr_shape(5)), *y = gr_ones(ctx, GR_F64, gr_shape(5));
    cr_expect(gr_item(gr_bce(x, y)) >= 0 && !signbit(gr_item(gr_bce(x, y))));
    gr_tensor *zero = gr_zeros(ctx, GR_F64, gr_shape(5));
    cr_expect(gr_item(gr_bce(zero, zero)) >= 0 && !signbit(gr_item(gr_bce(zero, zero))));
    gr_tensor *some = uniform(50, 20), *labels = uniform(50, 20);
    double *losses = values_of(gr_bce(some, labels, .reduction = GR_NONE));
    for (int i = 0; i < 1000; i++)
        cr_expect(losses[i] >= 0);
    free(losses);
}

Test(torch_tests, bce_loss_input_range)
{
    gr_tensor *valid = gr_rand(ctx, GR_F32, gr_shape(25, 25)),
              *y = gr_rand(ctx, GR_F32, gr_shape(25, 25));
    gr_tensor *low = gr_sub(valid, gr_scalar(ctx, 1)), *high = gr_add(valid, gr_scalar(ctx, 1));
    cr_expect(isfinite(gr_item(gr_bce(valid, y))));
    gr_tensor *bad[] = {low, high};
    for (int i = 0; i < 2; i++) {
        cr_expect(gr_failed(gr_bce(bad[i], y)));
        cr_expect_eq(gr_error(ctx), GR_ERROR_DOMAIN);
        cr_expect_not_null(strstr(gr_error_message(ctx), "bce: input at ["));
        gr_error_clear(ctx);
    }
    /* The target is checked too if strict_target is set, as in PyTorch since 2.1. */
    cr_expect(gr_failed(gr_bce(valid, gr_add(y, gr_scalar(ctx, 1)), .strict_target = true)));
    gr_error_clear(ctx);
}

Test(torch_tests, bce_loss_0_and_1_stay_finite)
{
    gr_tensor *x = ROW(GR_F32, 0, 0, 1, 1), *y = ROW(GR_F32, 0, 1, 0, 1);
    const outcome out = run(
        PROBABILITIES, x, (gr_bce_args){GR_BCE_DEFAULTS, .target = y, .reduction = GR_NONE}, false);
    static const double want[] = {0, 100, 100, 0};
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(gr_get(out.at[LOSS], gr_index(i)), want[i]);
        cr_expect(isfinite(gr_get(out.at[DX], gr_index(i))));
        cr_expect(isfinite(gr_get(out.at[DY], gr_index(i))));
    }
}

Test(torch_tests, size_zero_batches)
{
    gr_tensor *x = gr_variable(gr_zeros(ctx, GR_F32, gr_shape(0, 2, 3))),
              *y = gr_zeros(ctx, GR_F32, gr_shape(0, 2, 3));
    for (int kind = 0; kind < KINDS; kind++) {
        gr_tensor *none =
            loss_of(kind, x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .reduction = GR_NONE});
        cr_expect_eq(gr_numel(none), 0);
        cr_expect_eq(gr_ndim(none), 3);
        gr_tensor *mean = loss_of(kind, x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y});
        cr_expect(isnan(gr_item(mean)));
        cr_expect_eq(gr_numel(gr_grad(mean, x)), 0);
    }
}

Test(torch_tests, masked_choices_at_minus_infinity)
{
    /* Several users of PyTorch reported NaN here. gradus gives the limit. */
    gr_tensor *x = gr_variable(ROW(GR_F32, -INFINITY, .5)), *y = ROW(GR_F32, 0, 1);
    gr_tensor *loss = gr_bce_with_logits(x, y);
    expect_near(GR_F32, gr_item(loss), softplus(-.5L) / 2, 1, "mean");
    cr_expect_eq(gr_get(gr_grad(loss, x), gr_index(0)), 0);
}

/* ---- OpInfo's samples ------------------------------------------------------------------------ */

static gr_tensor *loss_of_sample(gr_tensors in, void *data)
{
    gr_bce_args args = *(const gr_bce_args *)data;
    args.target = in.at[1];
    if (args.weight)
        args.weight = in.at[2];
    if (args.pos_weight)
        args.pos_weight = in.at[in.count - 1];
    return gr_bce_with_logits_with(in.at[0], &args);
}

static void check_sample(gr_dims shape, gr_tensor *w, gr_tensor *p, gr_reduction reduction)
{
    gr_tensor *in[4] = {scaled(gr_randn(ctx, GR_F64, shape), 3), gr_rand(ctx, GR_F64, shape)};
    int count = 2;
    if (w)
        in[count++] = w;
    if (p)
        in[count++] = p;
    gr_bce_args args = {GR_BCE_DEFAULTS, .weight = w, .pos_weight = p, .reduction = reduction};
    gr_gradcheck_report report;
    gr_gradcheck_args check = gr_gradcheck_defaults();
    check.order = 2;
    check.report = &report;
    const gr_status status =
        gr_gradcheck_with(loss_of_sample, &args, (gr_tensors){count, in}, &check);
    if (status != GR_OK)
        gr_gradcheck_print(&report, stderr);
    cr_expect_eq(status, GR_OK, "%s", gr_error_message(ctx));
}

Test(torch_tests, opinfo_samples)
{
    enum { S = 3 };
    const gr_dims shapes[] = {gr_shape(), gr_shape(1), gr_shape(S), gr_shape(S, S),
                              gr_shape(2, 2, S)};
    const gr_dims weights[] = {gr_shape(), gr_shape(1), gr_shape(1, S), gr_shape(S),
                               gr_shape(S, S)};
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 5; k++)
            check_sample(shapes[k], NULL, NULL, reductions[i]);
        for (int k = 0; k < 5; k++)
            check_sample(gr_shape(S, S), gr_rand(ctx, GR_F64, weights[k]),
                         gr_rand(ctx, GR_F64, gr_shape(S)), reductions[i]);
        check_sample(gr_shape(S), NULL, gr_rand(ctx, GR_F64, gr_shape(S)), reductions[i]);
    }
}
