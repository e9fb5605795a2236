/* own_op.c - an op of one's own, checked like the library's: swish(x) = x sigmoid(x).
 *
 * The forward pass is a plain loop. The gradient rule is written with public ops, so it has
 * gradients of its own, and the check can go to the second order.
 *
 * SPDX-License-Identifier: MIT
 */
#include <gradus/gradus.h>
#include <math.h>
#include <stdio.h>

static gr_status swish_run(const gr_call *call)
{
    gr_tensor *x = call->in[0];
    if (gr_dtype_of(x) != GR_F64)
        return gr_raise(call->ctx, GR_ERROR_DTYPE, "swish", "takes f64, not %s",
                        gr_dtype_name(gr_dtype_of(x)));
    const double *in = gr_data(x);
    double *out = gr_data_mutable(call->out);
    for (int64_t i = 0; i < gr_numel(x); i++)
        out[i] = in[i] / (1 + exp(-in[i]));
    return GR_OK;
}

/* d swish(x) = s + swish(x) (1 - s) with s = sigmoid(x) */
static void swish_vjp(const gr_node *node, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *s = gr_sigmoid(node->in[0]);
    gr_tensor *rest = gr_sub(gr_scalar_like(s, 1), s);
    dx[0] = gr_mul(g, gr_add(s, gr_mul(node->out, rest)));
}

/* The same with the second term forgotten: the check is to find it. */
static void wrong_vjp(const gr_node *node, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, gr_sigmoid(node->in[0]));
}

static const gr_op swish = {.name = "swish", .arity = 1, .run = swish_run, .vjp = swish_vjp};
static const gr_op wrong = {.name = "wrong", .arity = 1, .run = swish_run, .vjp = wrong_vjp};

static gr_tensor *swish_sum(gr_tensors in, void *data)
{
    (void)data;
    return gr_sum(gr_apply(&swish, in.at[0]));
}

static gr_tensor *wrong_sum(gr_tensors in, void *data)
{
    (void)data;
    return gr_sum(gr_apply(&wrong, in.at[0]));
}

int main(void)
{
    gr_context *ctx = gr_context_new(NULL);
    gr_tensor *x = gr_randn(ctx, GR_F64, gr_shape(3, 4));
    gr_gradcheck_report report = {0};

    gr_status right = gr_gradcheck(swish_sum, NULL, gr_list(x), .order = 2, .report = &report);
    gr_gradcheck_print(&report, stdout);
    gr_status caught = gr_gradcheck(wrong_sum, NULL, gr_list(x), .report = &report);
    gr_gradcheck_print(&report, stdout);

    if (gr_error(ctx) != GR_OK)
        fprintf(stderr, "own_op: %s\n", gr_error_message(ctx));
    bool as_expected = right == GR_OK && caught == GR_ERROR_GRADIENT;
    return gr_context_free(ctx) == GR_OK && as_expected ? 0 : 1;
}
