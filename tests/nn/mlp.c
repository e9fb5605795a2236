/* mlp.c - tests of nn/linear.c and nn/mlp.c: values computed by hand, names, errors.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

TestSuite(mlp, .init = begin, .fini = end);

static void write_values(gr_tensor *x, int64_t count, const double *values)
{
    cr_assert_eq(gr_write(x, GR_F64, count, values), GR_OK);
}
#define WRITE(x, ...)                                                                              \
    write_values(x, sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]){__VA_ARGS__})

static gr_tensor *matrix(int64_t rows, int64_t columns, const double *values)
{
    return gr_from_data(ctx, GR_F64, gr_shape(rows, columns), values);
}

/* ---- The layer ------------------------------------------------------------------------------- */

Test(mlp, a_layer_is_x_times_weight_transposed_plus_bias)
{
    const gr_linear layer = gr_linear_new(ctx, GR_F64, 3, 2, GR_RELU);
    WRITE(layer.weight, 1, 2, 3, 4, 5, 6);
    WRITE(layer.bias, 10, 20);
    gr_tensor *y = gr_linear_forward(&layer, matrix(2, 3, (double[]){1, 0, -1, 2, 1, 0.5}));
    cr_assert_eq(gr_error(ctx), GR_OK, "%s", gr_error_message(ctx));
    cr_expect_eq(gr_size(y, 0), 2);
    cr_expect_eq(gr_size(y, 1), 2);
    cr_expect(same_bits(y, (double[]){8, 18, 15.5, 36}));
}

Test(mlp, a_layer_is_two_parameters_of_the_root)
{
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    const gr_linear layer = gr_linear_new(ctx, GR_F32, 3, 2, GR_TANH);
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
    cr_expect(!gr_failed(layer.weight) && gr_requires_grad(layer.weight));
    cr_expect(!gr_failed(layer.bias) && gr_requires_grad(layer.bias));
    cr_expect_eq(gr_size(layer.weight, 0), 2);
    cr_expect_eq(gr_size(layer.weight, 1), 3);
    cr_expect_eq(gr_ndim(layer.bias), 1);
    cr_expect(same_bits(layer.bias, (float[]){0, 0}));
    gr_tensor *y = gr_linear_forward(&layer, gr_ones(ctx, GR_F32, gr_shape(4, 3)));
    cr_expect_eq(gr_backward(gr_sum(y)), GR_OK);
    cr_expect(same_bits(gr_gradient(layer.weight), (float[]){4, 4, 4, 4, 4, 4}));
    cr_expect(same_bits(gr_gradient(layer.bias), (float[]){4, 4}));
}

Test(mlp, the_activation_chooses_the_initialiser)
{
    const gr_activation activations[] = {GR_RELU, GR_TANH, GR_SIGMOID, GR_IDENTITY};
    for (int i = 0; i < 4; i++) {
        gr_context *twin = new_context(7), *own = new_context(7);
        const gr_linear layer = gr_linear_new(own, GR_F32, 5, 4, activations[i]);
        gr_tensor *expected =
            i == 0 ? gr_kaiming(twin, GR_F32, 4, 5) : gr_xavier(twin, GR_F32, 4, 5);
        cr_expect(same_bits(layer.weight, gr_data(expected)));
        cr_expect_eq(gr_context_free(twin), GR_OK);
        cr_expect_eq(gr_context_free(own), GR_OK);
    }
}

static void expect_failed_layer(gr_linear layer, gr_status status, const char *message)
{
    cr_expect(gr_failed(layer.weight));
    cr_expect(gr_failed(layer.bias));
    expect_error(status, message);
}

Test(mlp, layers_that_cannot_be_are_refused)
{
    expect_failed_layer(gr_linear_new(ctx, GR_F32, 0, 2, GR_RELU), GR_ERROR_SHAPE,
                        "kaiming: sizes must be at least 1, not 2 and 0");
    expect_failed_layer(gr_linear_new(ctx, GR_BOOL, 3, 2, GR_IDENTITY), GR_ERROR_DTYPE,
                        "xavier: weights are floats, not bool");
    expect_failed_layer(gr_linear_new(ctx, GR_F32, 3, 2, (gr_activation)9), GR_ERROR_ARGUMENT,
                        "linear_new: no activation has number 9");
    cr_expect(gr_failed(gr_linear_new(NULL, GR_F32, 3, 2, GR_RELU).weight));
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(1, 3));
    cr_expect(gr_failed(gr_linear_forward(NULL, x)));
    expect_error(GR_ERROR_NULL, "linear_forward: layer is NULL");
    const gr_linear layer = gr_linear_new(ctx, GR_F32, 3, 2, GR_RELU);
    cr_expect(gr_failed(gr_linear_forward(&layer, gr_ones(ctx, GR_F32, gr_shape(1, 4)))));
    cr_expect_eq(gr_error(ctx), GR_ERROR_SHAPE);
    gr_error_clear(ctx);
    cr_expect(gr_failed(gr_linear_forward(&layer, NULL)));
}

Test(mlp, a_layer_that_fails_leaves_the_random_state_alone)
{
    int failures = 0;
    for (bool made = false; !made; failures += !made) {
        gr_context *twin = new_context(7);
        cr_assert_eq(gr_context_free(ctx), GR_OK);
        ctx = new_context(7);
        heap_fail(failures + 1, false);
        made = !gr_failed(gr_linear_new(ctx, GR_F32, 100, 50, GR_TANH).weight);
        heap.fail_at = 0;
        cr_expect_eq(gr_error(ctx), made ? GR_OK : GR_ERROR_MEMORY);
        gr_error_clear(ctx);
        if (made)
            (void)gr_linear_new(twin, GR_F32, 100, 50, GR_TANH);
        gr_tensor *next = gr_rand(ctx, GR_F32, gr_shape(4));
        cr_expect(same_bits(next, gr_data(gr_rand(twin, GR_F32, gr_shape(4)))));
        cr_expect_eq(gr_context_free(twin), GR_OK);
    }
    cr_expect_geq(failures, 4);
}

/* ---- The model ------------------------------------------------------------------------------- */

/* Makes 2 -> 2 -> 1 with weights chosen by hand. */
static gr_mlp *small_model(gr_activation activation)
{
    gr_mlp *mlp = gr_mlp_new(ctx, GR_F64, activation, 3, (int64_t[]){2, 2, 1});
    const gr_tensors p = gr_mlp_parameters(mlp);
    cr_assert_eq(p.count, 4, "%s", gr_error_message(ctx));
    WRITE(p.at[0], 1, -1, 2, 0.5);
    WRITE(p.at[1], 0.25, -1);
    WRITE(p.at[2], 3, -2);
    WRITE(p.at[3], 0.5);
    return mlp;
}

static void expect_forward(gr_activation activation, double (*f)(double))
{
    /* x = (1, 2) gives the hidden values (1 - 2 + 0.25, 2 + 1 - 1) = (-0.75, 2). x = (-1, -3) gives
       (2.25, -4.5). */
    gr_tensor *y = gr_mlp_forward(small_model(activation), matrix(2, 2, (double[]){1, 2, -1, -3}));
    cr_assert_eq(gr_error(ctx), GR_OK, "%s", gr_error_message(ctx));
    cr_assert_eq(gr_numel(y), 2);
    cr_expect_float_eq(gr_get(y, gr_index(0, 0)), 3 * f(-0.75) - 2 * f(2) + 0.5, 1e-14);
    cr_expect_float_eq(gr_get(y, gr_index(1, 0)), 3 * f(2.25) - 2 * f(-4.5) + 0.5, 1e-14);
}

static double relu(double x) { return x > 0 ? x : 0; }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double identity(double x) { return x; }

Test(mlp, forward_is_layers_with_the_activation_between)
{
    expect_forward(GR_RELU, relu);
    expect_forward(GR_TANH, tanh);
    expect_forward(GR_SIGMOID, sigmoid);
    expect_forward(GR_IDENTITY, identity);
}

Test(mlp, parameters_have_names)
{
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_mlp *mlp = gr_mlp_new(ctx, GR_F32, GR_RELU, 4, (int64_t[]){3, 5, 4, 2});
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
    const gr_tensors p = gr_mlp_parameters(mlp);
    const char *const names[] = {"layers.0.weight", "layers.0.bias",   "layers.1.weight",
                                 "layers.1.bias",   "layers.2.weight", "layers.2.bias"};
    const int64_t sizes[] = {15, 5, 20, 4, 8, 2};
    cr_assert_eq(p.count, 6);
    for (int i = 0; i < 6; i++) {
        cr_expect_str_eq(gr_mlp_parameter_name(mlp, i), names[i]);
        cr_expect_eq(gr_numel(p.at[i]), sizes[i]);
        cr_expect_eq(gr_dtype_of(p.at[i]), GR_F32);
        cr_expect(gr_requires_grad(p.at[i]) && !gr_failed(p.at[i]));
    }
    cr_expect_null(gr_mlp_parameter_name(mlp, 6));
    cr_expect_null(gr_mlp_parameter_name(mlp, -1));
    cr_expect_null(gr_mlp_parameter_name(NULL, 0));
    cr_expect_eq(gr_mlp_parameters(NULL).count, 0);
}

static gr_tensor *model_loss(gr_tensors inputs, void *model)
{
    (void)inputs;
    gr_tensor *x = matrix(3, 2, (double[]){1, 2, -1, -3, 0.3, 0.4});
    return gr_mean(gr_square(gr_mlp_forward(model, x)));
}

Test(mlp, gradients_are_right)
{
    gr_mlp *mlp = small_model(GR_TANH);
    gr_gradcheck_report report;
    cr_expect_eq(
        gr_gradcheck(model_loss, mlp, gr_mlp_parameters(mlp), .order = 2, .report = &report), GR_OK,
        "%s", gr_error_message(ctx));
    cr_expect_eq(report.checked, 9 + 9 * (9 + 1));
    cr_expect_eq(report.unsure, 0);
}

static void expect_failed_model(gr_mlp *mlp, gr_status status, const char *message)
{
    cr_assert_not_null(mlp);
    cr_expect_eq(gr_mlp_parameters(mlp).count, 0);
    cr_expect_null(gr_mlp_parameter_name(mlp, 0));
    expect_error(status, message);
    cr_expect(gr_failed(gr_mlp_forward(mlp, gr_ones(ctx, GR_F32, gr_shape(1, 2)))));
    expect_error(status, "mlp_forward: the model could not be made");
}

Test(mlp, models_that_cannot_be_are_refused)
{
    const int64_t sizes[] = {2, 0, 1};
    expect_failed_model(gr_mlp_new(ctx, GR_F32, GR_RELU, 1, sizes), GR_ERROR_ARGUMENT,
                        "mlp_new: 1 sizes: it takes two at least, inputs and outputs");
    expect_failed_model(gr_mlp_new(ctx, GR_F32, GR_RELU, 3, sizes), GR_ERROR_ARGUMENT,
                        "mlp_new: size 1 is 0, below 1");
    expect_failed_model(gr_mlp_new(ctx, GR_F32, GR_RELU, 2, NULL), GR_ERROR_NULL,
                        "mlp_new: sizes is NULL");
    expect_failed_model(gr_mlp_new(ctx, GR_F32, (gr_activation)-1, 2, (int64_t[]){2, 1}),
                        GR_ERROR_ARGUMENT, "mlp_new: no activation has number -1");
    expect_failed_model(gr_mlp_new(ctx, GR_I64, GR_RELU, 2, (int64_t[]){2, 1}), GR_ERROR_DTYPE,
                        "kaiming: weights are floats, not i64");
    cr_expect(gr_failed(gr_mlp_forward(NULL, gr_ones(ctx, GR_F32, gr_shape(1, 2)))));
    expect_error(GR_ERROR_NULL, "mlp_forward: model is NULL");
    cr_expect(gr_failed(gr_mlp_forward(small_model(GR_RELU), NULL)));
}

static void expect_error_of_context(gr_context *broken, gr_status status)
{
    gr_mlp *mlp = gr_mlp_new(broken, GR_F32, GR_RELU, 2, (int64_t[]){2, 1});
    cr_assert_not_null(mlp);
    cr_expect_eq(gr_mlp_parameters(mlp).count, 0);
    cr_expect(gr_failed(gr_mlp_forward(mlp, gr_ones(ctx, GR_F32, gr_shape(1, 2)))));
    expect_error(status, "mlp_forward: the model could not be made");
    gr_mlp_free(mlp);
    gr_linear layer = gr_linear_new(broken, GR_F32, 2, 1, GR_RELU);
    cr_expect(gr_failed(layer.weight) && gr_failed(layer.bias));
    cr_expect_eq(gr_error(gr_context_of(layer.weight)), status);
    gr_linear_free(&layer);
}

Test(mlp, without_a_context_the_error_is_that_of_the_context)
{
    on_each_broken_context(expect_error_of_context);
}

/* After a failed call, the next call makes the same model as a new context. */
static void expect_fresh_model(void)
{
    gr_context *twin = new_context(7);
    const int64_t sizes[] = {2, 3, 1};
    const gr_tensors a = gr_mlp_parameters(gr_mlp_new(ctx, GR_F32, GR_TANH, 3, sizes));
    const gr_tensors b = gr_mlp_parameters(gr_mlp_new(twin, GR_F32, GR_TANH, 3, sizes));
    cr_assert_eq(a.count, 4);
    cr_assert_eq(b.count, 4);
    for (int i = 0; i < 4; i++)
        cr_expect(same_bits(a.at[i], gr_data(b.at[i])));
    cr_expect_eq(gr_context_free(twin), GR_OK);
}

/* Makes each allocation of a new model of these sizes fail in turn. Returns their number. */
static int fail_each_allocation(bool lasting)
{
    for (int64_t n = 1;; n++) {
        cr_assert_eq(gr_context_free(ctx), GR_OK);
        ctx = new_context(7);
        heap_fail(n, lasting);
        gr_mlp *mlp = gr_mlp_new(ctx, GR_F32, GR_RELU, 3, (int64_t[]){40, 300, 20});
        heap.fail_at = 0;
        if (gr_error(ctx) == GR_OK) {
            cr_expect_eq(gr_mlp_parameters(mlp).count, 4);
            return (int)n - 1;
        }
        cr_assert_not_null(mlp);
        cr_expect_eq(gr_mlp_parameters(mlp).count, 0, "allocation %lld", (long long)n);
        cr_expect_eq(gr_error(ctx), GR_ERROR_MEMORY);
        gr_error_clear(ctx);
        gr_tensor *y = gr_mlp_forward(mlp, gr_ones(ctx, GR_F32, gr_shape(1, 40)));
        cr_expect(gr_failed(y));
        cr_expect_eq(gr_error(ctx), GR_ERROR_MEMORY);
        gr_error_clear(ctx);
        expect_fresh_model();
    }
}

Test(mlp, a_failed_allocation_leaves_the_random_state_alone)
{
    cr_expect_geq(fail_each_allocation(false), 6);
    cr_expect_geq(fail_each_allocation(true), 6);
}

Test(mlp, a_failed_allocation_of_a_long_list_is_a_refusal)
{
    int64_t sizes[601];
    for (int i = 0; i < 601; i++)
        sizes[i] = 1;
    for (int64_t n = 1; n <= 3; n++) {
        heap_fail(n, false);
        cr_expect_eq(gr_mlp_parameters(gr_mlp_new(ctx, GR_F32, GR_RELU, 601, sizes)).count, 0);
        heap.fail_at = 0;
        cr_expect_eq(gr_error(ctx), GR_ERROR_MEMORY);
        gr_error_clear(ctx);
    }
    gr_mlp *mlp = gr_mlp_new(ctx, GR_F32, GR_RELU, 601, sizes);
    cr_expect_str_eq(gr_mlp_parameter_name(mlp, 1199), "layers.599.bias");
}
