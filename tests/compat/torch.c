/* torch.c - PyTorch's functions: the numbers of its documentation, its shapes, and cases from its
 * own tests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

TestSuite(torch, .init = begin, .fini = end);

/* torch.nn.functional.binary_cross_entropy_with_logits with defaults for the other parameters. */
static gr_tensor *loss_of(gr_tensor *x, gr_tensor *y, gr_tensor *w, const char *reduction,
                          gr_tensor *p)
{
    return gr_torch_binary_cross_entropy_with_logits(x, y, w, GR_UNSET, GR_UNSET, reduction, p);
}

static bool same(gr_tensor *a, gr_tensor *b)
{
    const size_t bytes = (size_t)(gr_numel(a) * gr_dtype_size(gr_dtype_of(a)));
    return gr_numel(a) == gr_numel(b) && gr_dtype_of(a) == gr_dtype_of(b) &&
           memcmp(gr_data(a), gr_data(b), bytes) == 0;
}

/* ---- The pages' numbers ---------------------------------------------------------------------- */

Test(torch, the_mapping_pages_example)
{
    char text[64];
    gr_tensor *loss = loss_of(logits(GR_F64), labels(GR_F64), NULL, NULL, NULL);
    snprintf(text, sizeof text, "tensor(%.4f, dtype=torch.float64)", gr_item(loss));
    cr_expect_str_eq(text, "tensor(0.3464, dtype=torch.float64)");
    cr_expect_leq(fabs(gr_item(loss) - 0.34636119058837461), 1e-16);
    loss = loss_of(logits(GR_F32), labels(GR_F32), NULL, NULL, NULL);
    cr_expect_eq((float)gr_item(loss), 0.34636116F);
}

Test(torch, the_pytorch_pages_example)
{
    /* input = torch.randn(3, requires_grad=True); target = torch.empty(3).random_(2) */
    gr_tensor *x = gr_parameter(gr_randn(ctx, GR_F32, gr_shape(3)));
    gr_tensor *y = MAKE(GR_F32, gr_shape(3), 1, 0, 1);
    gr_tensor *loss = loss_of(x, y, NULL, NULL, NULL);
    cr_assert_eq(gr_backward(loss), GR_OK);
    for (int i = 0; i < 3; i++) {
        const gr_dims at = gr_index(i);
        const double want = (1 / (1 + exp(-gr_get(x, at))) - gr_get(y, at)) / 3;
        cr_expect_leq(fabs(gr_get(gr_gradient(x), at) - want), 1e-7);
    }
}

Test(torch, the_object_pages_example)
{
    gr_tensor *y = gr_ones(ctx, GR_F32, gr_shape(10, 64));
    gr_tensor *x = gr_full(ctx, GR_F32, gr_shape(10, 64), 1.5);
    const gr_torch_bce_with_logits_loss loss = {.pos_weight = gr_ones(ctx, GR_F32, gr_shape(64))};
    const double got = gr_item(gr_torch_bce_with_logits_loss_call(&loss, x, y));
    cr_expect_leq(fabs(got - 0.2014132632), 1.5e-8, "%.10f", got);
}

Test(torch, probabilities_with_weights_as_on_the_mint_page)
{
    gr_tensor *x = MAKE(GR_F32, gr_shape(3), .2, .7, .1), *y = MAKE(GR_F32, gr_shape(3), 0, 1, 0);
    gr_tensor *w = MAKE(GR_F32, gr_shape(3), 1, 2, 2);
    const double sum = gr_item(gr_torch_binary_cross_entropy(x, y, w, GR_UNSET, GR_UNSET, "sum"));
    const double mean = gr_item(gr_torch_binary_cross_entropy(x, y, w, GR_UNSET, GR_UNSET, "mean"));
    cr_expect_leq(fabs(sum - 1.14721453), 1.2e-7, "%.9g", sum);
    cr_expect_leq(fabs(mean - 0.38240484), 3e-8, "%.9g", mean);
}

/* ---- The page's shapes ----------------------------------------------------------------------- */

/* With input 0 and target 1, each element of the loss is log 2 times its pos_weight. */
static void weighs(gr_dims shape, int64_t count, double mean)
{
    gr_tensor *x = gr_zeros(ctx, GR_F64, gr_shape(2, 3, 5, 4)), *y = gr_ones_like(x);
    gr_tensor *p = gr_reshape(gr_add(gr_arange(ctx, GR_F64, count), gr_scalar(ctx, 1)), shape);
    gr_tensor *loss = loss_of(x, y, NULL, NULL, p);
    cr_assert(!gr_failed(loss), "%s", gr_error_message(ctx));
    cr_expect_leq(fabs(gr_item(loss) - mean * log(2)), 1e-12 * mean);
}

Test(torch, every_shape_of_pos_weight_on_the_page)
{
    weighs(gr_shape(2, 3, 5, 4), 120, 60.5); /* [B,C,H,W] */
    weighs(gr_shape(3, 5, 4), 60, 30.5);     /* [C,H,W] */
    weighs(gr_shape(3, 1, 1), 3, 2);         /* [C,1,1] */
    weighs(gr_shape(1, 3, 1, 1), 3, 2);
    weighs(gr_shape(4), 4, 2.5); /* one for each position along the width */
    weighs(gr_shape(1), 1, 1);
    weighs(gr_shape(), 1, 1);
}

Test(torch, a_weight_per_class_in_front_of_an_image_is_refused)
{
    gr_tensor *x = gr_zeros(ctx, GR_F32, gr_shape(2, 3, 5, 4));
    REFUSED(loss_of(x, gr_ones_like(x), NULL, NULL, gr_ones(ctx, GR_F32, gr_shape(3))),
            GR_ERROR_BROADCAST,
            "torch.nn.functional.binary_cross_entropy_with_logits: pos_weight shape [3] does not "
            "broadcast to that of input, [2,3,5,4]");
}

/* ---- Dtypes ---------------------------------------------------------------------------------- */

Test(torch, dtypes_of_logits_and_targets_may_differ)
{
    static const gr_dtype all[] = {GR_F32, GR_F64, GR_F16, GR_BF16};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            gr_tensor *loss = loss_of(logits(all[i]), labels(all[j]), NULL, "none", NULL);
            const gr_dtype coarser = grain(all[i]) > grain(all[j]) ? all[i] : all[j];
            cr_expect_eq(gr_dtype_of(loss), all[i]);
            expect_loss(loss, false, (weights){0}, GR_NONE, coarser);
        }
}

Test(torch, f64_throughout_with_an_f32_weight)
{
    gr_tensor *w = gr_parameter(columns(GR_F32)), *p = gr_parameter(rows(GR_F32));
    gr_tensor *loss = loss_of(logits(GR_F64), labels(GR_F64), w, "sum", p);
    expect_loss(loss, false, (weights){.by_column = true, .pos_row = true}, GR_SUM, GR_F64);
    cr_assert_eq(gr_backward(loss), GR_OK);
    cr_expect_eq(gr_dtype_of(gr_gradient(w)), GR_F32);
    cr_expect_eq(gr_dtype_of(gr_gradient(p)), GR_F32);
}

/* ---- What PyTorch's own tests check ---------------------------------------------------------- */

Test(torch, bce_of_the_sigmoid_is_bce_with_logits)
{
    static const char *const words[] = {"none", "mean", "sum"};
    gr_tensor *x = gr_randn(ctx, GR_F64, gr_shape(64, 4)),
              *y = gr_rand(ctx, GR_F64, gr_shape(64, 4));
    gr_tensor *w = gr_rand(ctx, GR_F64, gr_shape(4));
    for (int i = 0; i < 3; i++) {
        gr_tensor *one = loss_of(x, y, w, words[i], NULL);
        gr_tensor *other =
            gr_torch_binary_cross_entropy(gr_sigmoid(x), y, w, GR_UNSET, GR_UNSET, words[i]);
        const double scale = i == 1 ? 1 : 256;
        cr_expect_leq(gr_item(gr_sum(gr_abs(gr_sub(one, other)))), 1e-14 * scale);
    }
}

Test(torch, the_gradient_at_zero)
{
    for (int with = 0; with < 2; with++) {
        gr_tensor *x = gr_parameter(gr_zeros(ctx, GR_F32, gr_shape(3, 1)));
        gr_tensor *y = gr_zeros(ctx, GR_F32, gr_shape(3, 1));
        gr_tensor *p = with ? gr_ones(ctx, GR_F32, gr_shape(3, 1)) : NULL;
        cr_assert_eq(gr_backward(loss_of(x, y, NULL, "sum", p)), GR_OK);
        for (int i = 0; i < 3; i++)
            cr_expect_eq(gr_get(gr_gradient(x), gr_index(i, 0)), 0.5);
    }
}

Test(torch, weights_broadcast_as_if_they_were_expanded)
{
    gr_tensor *x = gr_randn(ctx, GR_F32, gr_shape(16, 4)),
              *y = gr_rand(ctx, GR_F32, gr_shape(16, 4));
    const gr_dims list[] = {gr_shape(4), gr_shape(1, 4), gr_shape(16, 1), gr_shape(1), gr_shape()};
    for (int i = 0; i < 5; i++) {
        gr_tensor *w = gr_rand(ctx, GR_F32, list[i]), *whole = gr_expand(w, gr_shape(16, 4));
        cr_expect(same(loss_of(x, y, w, "mean", NULL), loss_of(x, y, whole, "mean", NULL)));
        cr_expect(same(loss_of(x, y, NULL, "none", w), loss_of(x, y, NULL, "none", whole)));
    }
}

Test(torch, a_pos_weight_of_ones_changes_nothing)
{
    gr_tensor *x = gr_randn(ctx, GR_F32, gr_shape(64, 4)),
              *y = gr_rand(ctx, GR_F32, gr_shape(64, 4));
    gr_tensor *plain = loss_of(x, y, NULL, "none", NULL);
    cr_expect(same(plain, loss_of(x, y, NULL, "none", gr_ones(ctx, GR_F32, gr_shape(4)))));
    cr_expect(same(plain, loss_of(x, y, NULL, "none", gr_ones(ctx, GR_F32, gr_shape(1, 4)))));
    cr_expect(same(plain, loss_of(x, y, NULL, "none", gr_ones(ctx, GR_F32, gr_shape(64, 4)))));
}

Test(torch, pos_weight_scales_the_positive_part_only)
{
    /* input = target = weight = 0.5, pos_weight = 2 gives 0.4806. If pos_weight scaled the whole
       loss, it would give 0.5430. */
    gr_tensor *half = gr_full(ctx, GR_F32, gr_shape(3), .5),
              *two = gr_full(ctx, GR_F32, gr_shape(3), 2);
    cr_expect_float_eq(gr_item(loss_of(half, half, half, NULL, two)), 0.4806, 5e-5);
}

Test(torch, stable_for_a_saturated_logit)
{
    gr_tensor *x = MAKE(GR_F32, gr_shape(2), 0, -120), *y = MAKE(GR_F32, gr_shape(2), 0, 1);
    gr_tensor *loss = loss_of(x, y, NULL, NULL, gr_ones(ctx, GR_F32, gr_shape(2)));
    cr_expect_leq(fabs(gr_item(loss) - (log(2) + 120) / 2), 1e-5);
}

Test(torch, the_logarithm_is_cut_off_before_the_weight)
{
    gr_tensor *x = gr_zeros(ctx, GR_F32, gr_shape(1)), *y = gr_ones_like(x);
    gr_tensor *w = gr_full(ctx, GR_F32, gr_shape(1), 2);
    cr_expect_eq(gr_item(gr_torch_binary_cross_entropy(x, y, w, GR_UNSET, GR_UNSET, "sum")), 200);
}

Test(torch, infinite_logits_give_their_limits)
{
    gr_tensor *x = MAKE(GR_F32, gr_shape(3), INFINITY, -INFINITY, 0);
    gr_tensor *y = MAKE(GR_F32, gr_shape(3), 1, 0, 1);
    cr_expect_leq(fabs(gr_item(loss_of(x, y, NULL, "sum", NULL)) - log(2)), 1e-7);
}

Test(torch, ten_million_equal_losses)
{
    gr_tensor *x = gr_zeros(ctx, GR_F32, gr_shape(10000000));
    cr_expect_eq((float)gr_item(loss_of(x, x, NULL, "sum", NULL)), 6931472.0F);
}
