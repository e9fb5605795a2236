/* mindspore.c - MindSpore's functions: the numbers of its documentation, and the order of its
 * parameters.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

TestSuite(mindspore, .init = begin, .fini = end);

/* Checks the digits of the documentation: the shortest digits that give the same float. */
static void prints_as(gr_tensor *x, const char *digits)
{
    char text[64] = "";
    for (int precision = 1; precision < 10; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, gr_item(x));
        if (strtof(text, NULL) == (float)gr_item(x))
            break;
    }
    cr_expect_str_eq(text, digits);
}

static gr_tensor *ones(void) { return gr_ones(ctx, GR_F32, gr_shape(3)); }

/* ---- The pages' numbers ---------------------------------------------------------------------- */

Test(mindspore, the_mapping_pages_example)
{
    gr_tensor *x = logits(GR_F32), *y = labels(GR_F32);
    prints_as(gr_mindspore_binary_cross_entropy_with_logits(x, y, ones(), ones(), "mean"),
              "0.34636116");
    prints_as(gr_mindspore_binary_cross_entropy_with_logits(x, y, ones(), ones(), NULL),
              "0.34636116");
    prints_as(gr_mindspore_binary_cross_entropy_with_logits(x, y, NULL, NULL, NULL), "0.34636116");
}

Test(mindspore, the_object_pages_example)
{
    const gr_mindspore_bce_with_logits_loss loss = {0};
    prints_as(gr_mindspore_bce_with_logits_loss_call(&loss, logits(GR_F32), labels(GR_F32), ones(),
                                                     ones()),
              "0.34636116");
}

Test(mindspore, the_objects_elements)
{
    static const double elements[] = {0.6111006, 0.5032824, 0.2631860,
                                      0.5843967, 0.5530152, -0.4368140};
    const gr_mindspore_bce_with_logits_loss loss = {.reduction = "NONE"};
    gr_tensor *each = gr_mindspore_bce_with_logits_loss_call(&loss, logits(GR_F32), labels(GR_F32),
                                                             ones(), ones());
    cr_expect_eq(gr_dtype_of(each), GR_F32);
    for (int i = 0; i < 6; i++)
        cr_expect_leq(fabs(gr_get(each, gr_index(i / 3, i % 3)) - elements[i]), 1.2e-7);
}

Test(mindspore, one_object_is_called_many_times)
{
    const gr_mindspore_bce_with_logits_loss loss = {.reduction = "sum"};
    for (int i = 0; i < 3; i++) {
        gr_tensor *sum = gr_mindspore_bce_with_logits_loss_call(&loss, logits(GR_F32),
                                                                labels(GR_F32), ones(), ones());
        cr_expect_leq(fabs(gr_item(sum) - 2.0781671), 2.4e-7, "%.9g", gr_item(sum));
    }
}

Test(mindspore, the_nn_pages_example)
{
    char text[32];
    const gr_mindspore_nn_bce_with_logits_loss loss = {0};
    gr_tensor *mean =
        gr_mindspore_nn_bce_with_logits_loss_call(&loss, logits(GR_F32), labels(GR_F32));
    snprintf(text, sizeof text, "%.7f", gr_item(mean));
    cr_expect_str_eq(text, "0.3463612");
}

Test(mindspore, the_mint_pages_example)
{
    gr_tensor *x = MAKE(GR_F32, gr_shape(3), .2, .7, .1), *y = MAKE(GR_F32, gr_shape(3), 0, 1, 0);
    gr_tensor *w = MAKE(GR_F32, gr_shape(3), 1, 2, 2);
    gr_tensor *mean = gr_mint_binary_cross_entropy(x, y, w, NULL);
    prints_as(mean, "0.38240483"); /* the page has 0.38240486, one float above the true value */
    cr_expect_leq(fabs(gr_item(mean) - (double)0.38240486F), 0x1p-25);
    prints_as(gr_mint_binary_cross_entropy(x, y, w, "Mean"), "0.38240483");
    prints_as(gr_mint_binary_cross_entropy(x, y, NULL, "sum"), "0.68517905");
}

/* ---- Orders ---------------------------------------------------------------------------------- */

/* In ops, reduction comes after pos_weight. In mint, it comes before. Both give the same result. */
Test(mindspore, the_two_orders_agree)
{
    gr_tensor *x = logits(GR_F32), *y = labels(GR_F32), *w = columns(GR_F32), *p = rows(GR_F32);
    gr_tensor *ops = gr_mindspore_binary_cross_entropy_with_logits(x, y, w, p, "sum");
    gr_tensor *mint = gr_mint_binary_cross_entropy_with_logits(x, y, w, "sum", p);
    cr_expect_eq(gr_item(ops), gr_item(mint));
    expect_loss(mint, false, (weights){.by_column = true, .pos_row = true}, GR_SUM, GR_F32);
}

/* ---- Halves ---------------------------------------------------------------------------------- */

Test(mindspore, halves_of_all_and_mixed_with_floats)
{
    const gr_dtype both[] = {GR_F16, GR_F32};
    for (int k = 0; k < 16; k++) {
        const gr_dtype of[] = {both[k & 1], both[k >> 1 & 1], both[k >> 2 & 1], both[k >> 3]};
        gr_tensor *loss = gr_mindspore_binary_cross_entropy_with_logits(
            logits(of[0]), labels(of[1]), columns(of[2]), rows(of[3]), "none");
        cr_expect_eq(gr_dtype_of(loss), of[0]);
        expect_loss(loss, false, (weights){.by_column = true, .pos_row = true}, GR_NONE, GR_F16);
    }
}

/* Here the 1e-12 that MindSpore adds inside the logarithm rounds to 0. */
Test(mindspore, a_half_of_exactly_0_is_no_nan)
{
    gr_tensor *x = gr_zeros(ctx, GR_F16, gr_shape(2)), *y = MAKE(GR_F16, gr_shape(2), 0, 1);
    gr_tensor *loss = gr_mint_binary_cross_entropy(x, y, NULL, "none");
    cr_expect_eq(gr_get(loss, gr_index(0)), 0);
    cr_expect_eq(gr_get(loss, gr_index(1)), 100);
}

Test(mindspore, gradients_of_weights_are_not_zeros)
{
    gr_tensor *w = gr_parameter(columns(GR_F32)), *p = gr_parameter(rows(GR_F32));
    const gr_mindspore_nn_bce_with_logits_loss loss = {
        .reduction = "sum", .weight = w, .pos_weight = p};
    cr_assert_eq(gr_backward(gr_mindspore_nn_bce_with_logits_loss_call(&loss, logits(GR_F32),
                                                                       labels(GR_F32))),
                 GR_OK);
    for (int i = 0; i < 3; i++)
        cr_expect_neq(gr_get(gr_gradient(w), gr_index(i)), 0);
    for (int i = 0; i < 2; i++)
        cr_expect_neq(gr_get(gr_gradient(p), gr_index(i, 0)), 0);
}
