/* places.c - tests of the macros: an error names the place of the failing call, and the handler is
 * called in that call.
 *
 * SPDX-License-Identifier: MIT
 */
#include <criterion/criterion.h>
#include <gradus/gradus.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

static gr_context *ctx;
static int handled;
static gr_status last_status;
static char last_message[512];
static jmp_buf back;
static bool jumps;

/* A call on one line, and the number of that line. */
static int line;
#define AT(call) (line = __LINE__, (void)(call))

static void handler(gr_context *of, gr_status status, const char *message, void *data)
{
    cr_expect_eq(of, ctx);
    cr_expect_eq(data, &handled);
    handled++;
    last_status = status;
    snprintf(last_message, sizeof last_message, "%s", message);
    if (jumps)
        longjmp(back, 1);
}

static void begin(void)
{
    ctx = gr_context_new(&(gr_context_options){.handler = handler, .handler_data = &handled});
}

static void end(void) { (void)!gr_context_free(ctx); }

TestSuite(places, .init = begin, .fini = end);

/* Checks the error and its place. */
static void expect_place(gr_status status, const char *message)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s (%s:%d)", message, __FILE__, line);
    cr_expect_eq(gr_error(ctx), status, "%s", gr_status_name(gr_error(ctx)));
    cr_expect_str_eq(gr_error_message(ctx), whole);
    cr_expect_str_eq(last_message, whole);
    cr_expect_eq(last_status, status);
    cr_expect_eq(handled, 1, "handled %d times", handled);
    handled = 0;
    gr_error_clear(ctx);
}

Test(places, of_the_innermost_failing_call)
{
    gr_tensor *a = gr_ones(ctx, GR_F32, gr_shape(2, 3)), *b = gr_ones(ctx, GR_F32, gr_shape(4));
    gr_tensor *bad;
    AT(bad = gr_add(a, b));
    gr_tensor *out = gr_exp(gr_mul(bad, bad));
    cr_expect(gr_failed(out));
    cr_expect_eq(gr_backward(gr_sum(out)), GR_ERROR_BROADCAST);
    expect_place(GR_ERROR_BROADCAST,
                 "add: shapes [2,3] and [4] do not broadcast: dimension 1 is 3 and 4");
}

Test(places, of_every_kind_of_call)
{
    gr_tensor *i = gr_zeros(ctx, GR_I32, gr_shape(2)), *f = gr_ones(ctx, GR_F32, gr_shape(2));
    AT(gr_exp(i));
    expect_place(GR_ERROR_DTYPE, "exp: operand 0 is i32, not a float");
    AT(gr_sum(i, .keepdim = true));
    expect_place(GR_ERROR_DTYPE, "sum: i32 [2] is no float");
    AT(gr_zeros(ctx, GR_F32, gr_shape(-1)));
    expect_place(GR_ERROR_SHAPE, "zeros: shape [-1] has a negative size");
    AT(gr_reshape(f, gr_shape(3)));
    expect_place(GR_ERROR_SHAPE, "reshape: shape [2] does not fit [3]");
    AT(gr_parameter(i));
    expect_place(GR_ERROR_DTYPE, "parameter: i32 [2] is no float: it has no gradient");
    AT(gr_grad(f, f));
    expect_place(GR_ERROR_GRADIENT, "grad: shape [2] has not one element");
    AT(gr_gradient(f));
    expect_place(GR_ERROR_GRADIENT,
                 "gradient: [2] is no parameter (gr_parameter makes one; gr_grad takes any)");
    gr_status status;
    AT(status = gr_backward(gr_sum(f)));
    cr_expect_eq(status, GR_ERROR_GRADIENT);
    expect_place(GR_ERROR_GRADIENT, "backward: loss depends on no parameter");
    AT(gr_bce_with_logits(f, i, .gamma = -1));
    expect_place(GR_ERROR_ARGUMENT, "bce_with_logits: gamma -1 is not a number from 0 up");
}

/* The handler gets errors of layers, models and optimisers in the failing call, with its place. */
Test(places, of_layers_and_optimisers)
{
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(1, 3)), *p = gr_parameter(x);
    gr_linear layer;
    gr_optimizer *o;
    AT(gr_kaiming(ctx, GR_F32, 0, 5));
    expect_place(GR_ERROR_SHAPE, "kaiming: sizes must be at least 1, not 0 and 5");
    AT(gr_xavier(ctx, GR_I32, 2, 5));
    expect_place(GR_ERROR_DTYPE, "xavier: weights are floats, not i32");
    AT(layer = gr_linear_new(ctx, GR_F32, 0, 2, GR_RELU));
    expect_place(GR_ERROR_SHAPE, "kaiming: sizes must be at least 1, not 2 and 0");
    cr_expect(gr_failed(layer.weight));
    AT(gr_mlp_new(ctx, GR_F32, GR_RELU, 1, NULL));
    expect_place(GR_ERROR_ARGUMENT, "mlp_new: 1 sizes: it takes two at least, inputs and outputs");
    AT(gr_linear_forward(NULL, x));
    expect_place(GR_ERROR_NULL, "linear_forward: layer is NULL");
    AT(gr_mlp_forward(NULL, x));
    expect_place(GR_ERROR_NULL, "mlp_forward: model is NULL");
    AT(gr_sgd(ctx, gr_list(p), .lr = -1));
    expect_place(GR_ERROR_ARGUMENT, "sgd: lr is -1, not in [0, inf)");
    AT(gr_adam(ctx, gr_list(x)));
    expect_place(GR_ERROR_GRADIENT,
                 "adam: tensor 0, [1,3], is no parameter (gr_parameter makes one)");
    AT(gr_adamw(ctx, gr_list(p, p)));
    expect_place(GR_ERROR_ARGUMENT, "adamw: parameters 0 and 1 are the same");
    o = gr_adam(ctx, gr_list(p));
    gr_status status;
    AT(status = gr_set_learning_rate(o, -1));
    cr_expect_eq(status, GR_ERROR_ARGUMENT);
    expect_place(GR_ERROR_ARGUMENT, "set_learning_rate: lr is -1, not in [0, inf)");
    gr_parameter_free(p);
    AT(status = gr_step(o));
    cr_expect_eq(status, GR_ERROR_SCOPE);
    expect_place(GR_ERROR_SCOPE, "step: parameter 0 was freed after the optimiser was made");
    gr_optimizer_free(o);
    float value = 1;
    AT(status = gr_write(x, GR_F32, 1, &value));
    cr_expect_eq(status, GR_ERROR_SHAPE);
    expect_place(GR_ERROR_SHAPE, "write: shape [1,3] has 3 elements, not 1");
    gr_tensor *gradient;
    AT(status = gr_grad_with(x, gr_list(x), &gradient, NULL));
    cr_expect_eq(status, GR_ERROR_GRADIENT);
    expect_place(GR_ERROR_GRADIENT,
                 "grad: input 0, [1,3], gets no gradient (gr_parameter or gr_variable makes it)");
}

/* An op that always fails. */
static gr_status failing_run(const gr_call *call)
{
    return gr_raise(call->ctx, GR_ERROR_DOMAIN, "own", "it never works");
}

Test(places, of_ops_of_ones_own)
{
    static const gr_op op = {.name = "own", .arity = 2, .run = failing_run};
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2)), *result;
    AT(gr_apply(&op, x, x));
    expect_place(GR_ERROR_DOMAIN, "own: it never works");
    AT(gr_apply_with(&op, 1, &x, NULL));
    expect_place(GR_ERROR_DOMAIN, "own: it never works");
    gr_status status;
    AT(status = gr_apply_results(ctx, &op, 1, &x, NULL, &result));
    cr_expect_eq(status, GR_ERROR_DOMAIN);
    cr_expect(gr_failed(result));
    expect_place(GR_ERROR_DOMAIN, "own: it never works");
    AT(status = gr_apply_results(ctx, &op, 3, (gr_tensor *[]){x, x, x}, NULL, &result));
    cr_expect_eq(status, GR_ERROR_ARGUMENT);
    expect_place(GR_ERROR_ARGUMENT, "own: 3 operands; it takes at most 2");
}

/* If the failing call is no macro, the error must not get the place of a later macro. */
Test(places, of_calls_that_are_no_macros)
{
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2));
    gr_item(x);
    gr_exp(gr_add(x, gr_ones(ctx, GR_F32, gr_shape(3))));
    cr_expect_str_eq(gr_error_message(ctx), "item: shape [2] has not one element");
}

Test(places, handler_is_told_once)
{
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2)), *y = gr_ones(ctx, GR_F32, gr_shape(3));
    for (int i = 0; i < 3; i++)
        gr_mul(gr_add(x, y), x);
    cr_expect_eq(gr_scope_begin(ctx), GR_OK);
    cr_expect_eq(gr_scope_end(ctx), GR_ERROR_BROADCAST);
    cr_expect_eq(handled, 1);
    gr_error_clear(ctx);
    gr_sub(x, y);
    cr_expect_eq(handled, 2, "a new error after the clearing");
}

Test(places, handler_of_calls_that_return_a_status)
{
    float values[3];
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2));
    cr_expect_eq(gr_read(x, GR_F32, 3, values), GR_ERROR_SHAPE);
    cr_expect_eq(handled, 1);
    gr_error_clear(ctx);
    cr_expect_eq(gr_write(x, GR_F32, 3, values), GR_ERROR_SHAPE);
    cr_expect_eq(handled, 2);
    gr_error_clear(ctx);
    cr_expect_eq(gr_scope_end(ctx), GR_ERROR_SCOPE);
    cr_expect_eq(handled, 3);
    cr_expect_str_eq(last_message, "scope_end: no scope is open");
    gr_error_clear(ctx);
    cr_expect_eq(gr_raise(ctx, GR_ERROR_DOMAIN, "mine", "text"), GR_ERROR_DOMAIN);
    cr_expect_eq(gr_scope_begin(ctx), GR_OK);
    cr_expect_eq(gr_scope_end(ctx), GR_ERROR_DOMAIN);
    cr_expect_eq(handled, 4);
}

Test(places, handler_may_jump)
{
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2)), *y = gr_ones(ctx, GR_F32, gr_shape(3));
    jumps = true;
    if (setjmp(back) == 0) {
        gr_add(x, y);
        cr_expect_fail("it came back");
    }
    jumps = false;
    gr_error_clear(ctx);
    cr_expect_eq(gr_item(gr_sum(gr_add(x, x))), 4);
}

/* "mine: " and the first 505 letters fill the message. */
Test(places, a_long_message_is_cut)
{
    char text[2000] = {0};
    memset(text, 't', sizeof text - 1);
    cr_expect_eq(gr_raise(ctx, GR_ERROR_DOMAIN, "mine", "%s", text), GR_ERROR_DOMAIN);
    cr_expect_eq(strncmp(gr_error_message(ctx), "mine: ttt", 9), 0);
    cr_expect_eq(strlen(gr_error_message(ctx)), 511);
}

Test(places, a_long_place_is_cut)
{
    char file[2000];
    memset(file, 'f', sizeof file - 1);
    file[sizeof file - 1] = '\0';
    cr_expect_eq(gr_raise(ctx, GR_ERROR_DOMAIN, "mine", "text"), GR_ERROR_DOMAIN);
    gr_here(gr_exp(gr_ones(ctx, GR_I32, gr_shape())), file, 1);
    cr_expect_eq(strncmp(gr_error_message(ctx), "mine: text (", 12), 0);
    cr_expect_lt(strlen(gr_error_message(ctx)), 512);
}
