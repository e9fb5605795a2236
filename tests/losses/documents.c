/* documents.c - the examples in the documentation of these losses, to the last digit:
 *
 *   the mapping pages  MindSpore's ops.binary_cross_entropy_with_logits beside PyTorch's (two
 *                      languages)
 *   the PyTorch page   torch.nn.functional.binary_cross_entropy_with_logits
 *   the object page    mindspore.ops.BCEWithLogitsLoss
 *   the mint page      mindspore.mint.nn.functional.binary_cross_entropy
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"

TestSuite(documents, .init = begin, .fini = end);

static const double LOGIT[] = {-0.8, 1.2, 0.7, -0.1, -0.4, 0.7};
static const double LABEL[] = {0.3, 0.8, 1.2, -0.6, 0.1, 2.2};

static gr_tensor *logit(gr_dtype dtype) { return make(dtype, gr_shape(2, 3), LOGIT); }
static gr_tensor *label(gr_dtype dtype) { return make(dtype, gr_shape(2, 3), LABEL); }

/* Checks the digits of the documentation: the shortest digits that give the same float. */
static void prints_as(gr_tensor *x, const char *digits)
{
    char text[64];
    for (int precision = 1; precision < 10; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, gr_item(x));
        if (strtof(text, NULL) == (float)gr_item(x))
            break;
    }
    cr_expect_str_eq(text, digits);
}

Test(documents, the_mapping_pages_example)
{
    gr_tensor *ones = gr_ones(ctx, GR_F32, gr_shape(3));
    prints_as(gr_bce_with_logits(logit(GR_F32), label(GR_F32), .weight = ones, .pos_weight = ones),
              "0.34636116");
    prints_as(gr_bce_with_logits(logit(GR_F32), label(GR_F32)), "0.34636116");
    cr_expect_eq(gr_item(gr_bce_with_logits(logit(GR_F32), label(GR_F32))), (double)0.34636116F);
}

Test(documents, the_mapping_pages_example_in_double)
{
    gr_tensor *loss = gr_bce_with_logits(logit(GR_F64), label(GR_F64));
    char text[400];
    snprintf(text, sizeof text, "tensor(%.4f, dtype=torch.float64)", gr_item(loss));
    cr_expect_str_eq(text, "tensor(0.3464, dtype=torch.float64)");
    expect_near(GR_F64, gr_item(loss), 0.34636119058837461L, 1, "mean");
}

Test(documents, the_object_pages_example)
{
    /* loss = ops.BCEWithLogitsLoss(); loss(logits, label, weight, pos_weight) */
    gr_tensor *ones = gr_ones(ctx, GR_F32, gr_shape(3));
    gr_bce_args args = {GR_BCE_DEFAULTS, .target = label(GR_F32), .weight = ones,
                        .pos_weight = ones};
    prints_as(gr_bce_with_logits_with(logit(GR_F32), &args), "0.34636116");
    args.reduction = GR_NONE;
    gr_tensor *none = gr_bce_with_logits_with(logit(GR_F32), &args);
    cr_expect_eq(gr_ndim(none), 2);
    cr_expect_eq(gr_size(none, 0), 2);
    cr_expect_eq(gr_size(none, 1), 3);
    cr_expect_eq(gr_dtype_of(none), GR_F32);
}

/* Compares with numbers from MindSpore's own test, which PyTorch's floats give too. */
static void reads_as(gr_tensor *x, const double *printed, double rounding)
{
    double *values = values_of(x);
    for (int i = 0; i < 6; i++)
        cr_expect_leq(fabs(values[i] - printed[i]), rounding, "[%d] %.9g, printed %.9g", i,
                      values[i], printed[i]);
    free(values);
}

static void example_has_all_its_numbers(gr_dtype dtype)
{
    static const double elements[] = {0.6111006, 0.5032824, 0.2631860,
                                      0.5843967, 0.5530152, -0.4368140};
    static const double slopes[] = {0.00167091, -0.00524587, -0.08863538,
                                    0.17917013, 0.05021872,  -0.25530204};
    gr_tensor *y = label(dtype);
    reads_as(gr_bce_with_logits(logit(dtype), y, .reduction = GR_NONE), elements, 1e-7);
    gr_tensor *sum = gr_bce_with_logits(logit(dtype), y, .reduction = GR_SUM);
    cr_expect_leq(fabs(gr_item(sum) - 2.0781671), 2e-7, "sum %.9g", gr_item(sum));

    gr_tensor *x = gr_parameter(logit(dtype));
    cr_assert_eq(gr_backward(gr_bce_with_logits(x, y)), GR_OK);
    reads_as(gr_gradient(x), slopes, 4e-8);
    gr_tensor *v = gr_variable(logit(dtype));
    reads_as(gr_grad(gr_bce_with_logits(v, y), v), slopes, 4e-8);
}

Test(documents, the_mapping_pages_elements_sum_and_gradients)
{
    example_has_all_its_numbers(GR_F32);
    example_has_all_its_numbers(GR_F64);
}

static double mint(gr_dtype dtype, gr_reduction reduction)
{
    return gr_item(gr_bce(ROW(dtype, .2, .7, .1), ROW(dtype, 0, 1, 0),
                          .weight = ROW(dtype, 1, 2, 2), .reduction = reduction));
}

Test(documents, the_mint_pages_example)
{
    /* The page has 0.38240486. The true value is 0.38240482..., between two floats. */
    const double printed = (double)0.38240486F;
    cr_expect_leq(fabs(mint(GR_F32, GR_MEAN) - printed), 0x1p-25, "%.9g", mint(GR_F32, GR_MEAN));
    const long double sum = -(logl(.8L) + 2 * logl(.7L) + 2 * logl(.9L));
    expect_near(GR_F64, mint(GR_F64, GR_MEAN), sum / 3, 2, "mean");
    expect_near(GR_F64, mint(GR_F64, GR_SUM), sum, 2, "sum");
    expect_near(GR_F32, mint(GR_F32, GR_SUM), 1.14721453L, 1.5, "sum as PyTorch prints it");
    gr_tensor *plain = gr_bce(ROW(GR_F64, .2, .7, .1), ROW(GR_F64, 0, 1, 0));
    expect_near(GR_F64, gr_item(plain), -(logl(.8L) + logl(.7L) + logl(.9L)) / 3, 2,
                "without weight");
}

Test(documents, the_mint_pages_weighted_mean_is_over_all_elements)
{
    /* "weighted mean" divides by N, not by the sum of the weights. The option for that sum is
       GR_WEIGHTS. */
    gr_tensor *loss = gr_bce(ROW(GR_F64, .2, .7, .1), ROW(GR_F64, 0, 1, 0),
                             .weight = ROW(GR_F64, 1, 2, 2), .denominator = GR_WEIGHTS);
    cr_expect_float_eq(gr_item(loss), 0.2294, 5e-5);
    cr_expect_float_eq(mint(GR_F64, GR_MEAN), 0.3824, 5e-5);
}

/* Checks that element [b,c,h,w] is pos_weight times log 2. The input is 0 and the target 1. */
static void weighs_as(gr_tensor *loss, double (*weight)(int b, int c, int h, int w))
{
    for (int i = 0; i < 2 * 3 * 2 * 2; i++) {
        const int b = i / 12, c = i / 4 % 3, h = i / 2 % 2, w = i % 2;
        const double got = gr_get(loss, gr_index(b, c, h, w));
        expect_near(GR_F64, got, weight(b, c, h, w) * logl(2), 1, "element");
    }
}
static double by_element(int b, int c, int h, int w) { return 1 + ((b * 3 + c) * 2 + h) * 2 + w; }
static double by_image(int b, int c, int h, int w) { return (void)b, by_element(0, c, h, w); }
static double by_channel(int b, int c, int h, int w) { return (void)b, (void)h, (void)w, 1.0 + c; }
static double by_column(int b, int c, int h, int w) { return (void)b, (void)c, (void)h, 1.0 + w; }

Test(documents, the_pytorch_pages_pos_weight_shapes)
{
    const gr_dims shape = gr_shape(2, 3, 2, 2);
    gr_tensor *x = gr_zeros(ctx, GR_F64, shape), *y = gr_ones(ctx, GR_F64, shape);
    gr_tensor *one = gr_scalar_like(x, 1);
#define POS_WEIGHT(count, ...)                                                                     \
    gr_reshape(gr_add(gr_arange(ctx, GR_F64, count), one), gr_shape(__VA_ARGS__))
#define LOSS_WITH(p) gr_bce_with_logits(x, y, .pos_weight = (p), .reduction = GR_NONE)
    weighs_as(LOSS_WITH(POS_WEIGHT(24, 2, 3, 2, 2)), by_element);
    weighs_as(LOSS_WITH(POS_WEIGHT(12, 3, 2, 2)), by_image);
    weighs_as(LOSS_WITH(POS_WEIGHT(3, 3, 1, 1)), by_channel);
    weighs_as(LOSS_WITH(POS_WEIGHT(3, 1, 3, 1, 1)), by_channel);
    weighs_as(LOSS_WITH(POS_WEIGHT(2, 2)), by_column);
    weighs_as(gr_bce_with_logits(x, y, .pos_weight = POS_WEIGHT(3, 3), .reduction = GR_NONE,
                                 .class_axis = gr_axes(1)),
              by_channel);
}

Test(documents, the_pytorch_pages_own_example)
{
    /* input = torch.randn(3); target = torch.empty(3).random_(2); the default is the mean. */
    gr_tensor *x = gr_parameter(gr_randn(ctx, GR_F32, gr_shape(3)));
    gr_tensor *y = gr_cast(gr_less(gr_rand(ctx, GR_F32, gr_shape(3)), gr_scalar(ctx, .5)), GR_F32);
    gr_tensor *loss = gr_bce_with_logits(x, y);
    cr_assert_eq(gr_backward(loss), GR_OK);
    long double sum = 0;
    for (int i = 0; i < 3; i++) {
        const truth t =
            truth_of_logits((point){gr_get(x, gr_index(i)), gr_get(y, gr_index(i)), 1, 1});
        sum += t.at[LOSS];
        expect_near(GR_F32, gr_get(gr_gradient(x), gr_index(i)), t.at[DX] / 3, 2, "gradient");
    }
    cr_expect_eq(gr_ndim(loss), 0);
    expect_near(GR_F32, gr_item(loss), sum / 3, 1, "mean");
}

Test(documents, the_pytorch_object_pages_example)
{
    /* target = ones(10, 64); output = full(10, 64, 1.5); pos_weight = ones(64) -> 0.20141 */
    for (int i = 0; i < 2; i++) {
        const gr_dtype dtype = i ? GR_F64 : GR_F32;
        gr_tensor *x = gr_full(ctx, dtype, gr_shape(10, 64), 1.5);
        gr_tensor *y = gr_ones(ctx, dtype, gr_shape(10, 64)),
                  *p = gr_ones(ctx, dtype, gr_shape(64));
        const double loss = gr_item(gr_bce_with_logits(x, y, .pos_weight = p));
        cr_expect_leq(fabs(loss - 0.2014132633), 1.6e-8, "%.10f", loss); /* 1 ulp of a float */
        expect_near(dtype, loss, log1pl(expl(-1.5L)), i ? 16 : 1, "mean");
    }
}
