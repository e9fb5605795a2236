/* regressions.c - former faults of core. Each test failed before the fault was fixed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"
#include <setjmp.h>

TestSuite(regressions, .init = begin, .fini = end);

/* ---- Rules that fail ------------------------------------------------------------------------- */

static gr_status copy_run(const gr_call *call)
{
    memcpy(gr_data_mutable(call->out), gr_data(call->in[0]),
           (size_t)(gr_numel(call->out) * gr_dtype_size(gr_dtype_of(call->out))));
    return GR_OK;
}

static void of_null_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)n;
    (void)g;
    dx[0] = gr_exp(NULL);
}

static void misfit_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)n;
    dx[0] = gr_here(gr_add(g, gr_ones_like(gr_zeros(ctx, GR_F64, gr_shape(7)))), "rule.c", 1);
}

static void nested_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)g;
    dx[0] = gr_grad(sum_of(gr_square(n->in[0])), n->in[0]);
}

static gr_status backward_through(void (*vjp)(const gr_node *, gr_tensor *, gr_tensor **),
                                  gr_tensor *p)
{
    const gr_op op = {.name = "own", .arity = 1, .run = copy_run, .vjp = vjp};
    const gr_status status = gr_backward(sum_of(gr_add(gr_apply_with(&op, 1, &p, NULL), p)));
    EXPECT_VALUES(gr_gradient(p), 0, 0);
    return status;
}

/* All three cases gave no error, and the gradient was incomplete. */
Test(regressions, a_rule_that_fails_fails_the_sweep)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(2)));
    cr_expect_eq((int)backward_through(of_null_vjp, p), GR_ERROR_GRADIENT);
    expect_error(NULL, GR_ERROR_GRADIENT, "own: its gradient rule gave a tensor that failed");
    cr_expect_eq((int)backward_through(NULL, p), GR_ERROR_GRADIENT);
    expect_error(NULL, GR_ERROR_GRADIENT, "own: the op has no gradient rule");
    cr_expect_eq((int)backward_through(nested_vjp, p), GR_ERROR_GRADIENT);
    expect_error(NULL, GR_ERROR_GRADIENT, "grad: called by an op's gradient rule");
}

/* ---- The handler ----------------------------------------------------------------------------- */

static jmp_buf back;
static int handled;

static void leave(gr_context *of, gr_status status, const char *message, void *data)
{
    (void)of;
    (void)status;
    (void)message;
    (void)data;
    handled++;
    longjmp(back, 1);
}

static gr_tensor *misfit(gr_tensors in, void *data)
{
    (void)data;
    return gr_here(gr_add(in.at[0], gr_ones_like(gr_zeros(ctx, GR_F64, gr_shape(7)))), "f.c", 1);
}

/* The handler was called inside a sweep. A longjmp from it left recording off and scopes open. */
Test(regressions, a_handler_that_leaves_leaves_nothing_open)
{
    static const gr_op op = {.name = "own", .arity = 1, .run = copy_run, .vjp = misfit_vjp};
    ctx->handler = leave;
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(2))), *gradient;
    gr_tensor *y = sum_of(gr_apply_with(&op, 1, &p, NULL));
    if (!setjmp(back))
        (void)!gr_grad_with(y, (gr_tensors){1, &p}, &gradient, NULL);
    gr_error_clear(ctx);
    if (!setjmp(back))
        (void)!gr_backward_here(y, "main.c", 2);
    cr_expect_str_eq(gr_error_message(ctx),
                     "add: shapes [2] and [7] do not broadcast: dimension 0 is 2 and 7 (rule.c:1)");
    gr_error_clear(ctx);
    if (!setjmp(back))
        gr_here(gr_hessian(misfit, NULL, p), "main.c", 3);
    cr_expect_eq(handled, 3);
    gr_error_clear(ctx);
    ctx->handler = NULL;
    cr_expect(gr_requires_grad(gr_square(p)), "recording is on");
    cr_expect_eq((int)gr_scope_end(ctx), GR_ERROR_SCOPE, "no scope is open");
    gr_error_clear(ctx);
}

/* ---- Places and reasons ---------------------------------------------------------------------- */

Test(regressions, backward_blames_the_brackets_only_where_there_are_some)
{
    gr_tensor *one = gr_ones(ctx, GR_F64, gr_shape());
    cr_expect_eq((int)gr_backward(one), GR_ERROR_GRADIENT);
    expect_error(NULL, GR_ERROR_GRADIENT, "backward: loss depends on no parameter");
}

Test(regressions, an_operand_that_came_of_null_is_called_so)
{
    gr_add(gr_ones(ctx, GR_F64, gr_shape(2)), gr_exp(NULL));
    expect_error(NULL, GR_ERROR_NULL, "add: operand 1 is the result of an op on NULL");
}

/* ---- Brackets -------------------------------------------------------------------------------- */

static gr_tensor *sum_of_squares(gr_tensors in, void *data)
{
    (void)data;
    return sum_of(gr_square(in.at[0]));
}

Test(regressions, a_hessian_is_taken_within_no_grad_too)
{
    gr_no_grad_begin(ctx);
    EXPECT_VALUES(gr_hessian(sum_of_squares, NULL, gr_ones(ctx, GR_F64, gr_shape(2))), 2, 0, 0, 2);
    cr_expect(!gr_requires_grad(gr_square(gr_variable(gr_ones(ctx, GR_F64, gr_shape(1))))));
    gr_no_grad_end(ctx);
}

/* ---- Arguments ------------------------------------------------------------------------------- */

Test(regressions, an_index_of_any_size_is_only_outside)
{
    gr_tensor *x = gr_ones(ctx, GR_F64, gr_shape(2, 3));
    cr_expect(isnan(gr_get(x, gr_index(INT64_MAX, INT64_MIN))));
    gr_error_clear(ctx);
}

/* An op with a shape rule and without GR_OP_STRIDED read beyond an operand that does not
   broadcast. */
static gr_status smaller_shape(const gr_call *call, gr_form *results)
{
    (void)call;
    results->dtype = GR_F64;
    return GR_OK;
}

Test(regressions, an_operand_larger_than_the_result_is_refused)
{
    static const gr_op op = {.name = "own", .arity = 1, .run = copy_run, .shape = smaller_shape};
    gr_tensor *x = gr_ones(ctx, GR_F64, gr_shape(3));
    cr_expect(gr_failed(gr_apply_with(&op, 1, &x, NULL)));
    cr_expect_eq((int)gr_error(ctx), GR_ERROR_BROADCAST);
    gr_error_clear(ctx);
}

/* The threads' copies of a sample are more bytes than 64 bits count. */
Test(regressions, a_sample_too_long_to_copy_is_refused)
{
    gr_context *many = new_context(NULL, 256);
    gr_tensor *one = gr_ones(many, GR_F64, gr_shape(1));
    gr_tensor *x = gr_expand(one, gr_shape((int64_t)1 << 53));
    cr_expect(gr_failed(gr_softmax(x, 0)));
    cr_expect_eq((int)gr_error(many), GR_ERROR_MEMORY);
    gr_context_free(many);
}

/* ---- One tensor for several operands --------------------------------------------------------- */

static gr_status first_run(const gr_call *call)
{
    return gr_read(call->in[0], GR_F64, gr_numel(call->out), gr_data_mutable(call->out));
}

/* The same new tensor for each operand. */
static void doubled_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_tensor *twice = gr_mul(g, gr_scalar_like(g, 2));
    for (int i = 0; i < n->count; i++)
        dx[i] = twice;
}
static const gr_op doubled_op = {
    .name = "doubled", .arity = 4, .run = first_run, .vjp = doubled_vjp};

/* Its sum for one operand is not what another one gets. */
Test(regressions, a_rule_may_give_one_tensor_for_operands_that_are_the_same)
{
    gr_tensor *a = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(3))), *b = gr_parameter(a);
    gr_tensor *in[] = {a, a, b, b};
    cr_assert_eq(gr_backward_here(sum_of(gr_apply_with(&doubled_op, 3, in, NULL)), NULL, 0), GR_OK);
    EXPECT_VALUES(gr_gradient(a), 4, 4, 4);
    EXPECT_VALUES(gr_gradient(b), 2, 2, 2);
    gr_zero_grad(gr_list(a, b));
    in[1] = b;
    in[2] = a;
    cr_assert_eq(gr_backward_here(sum_of(gr_apply_with(&doubled_op, 4, in, NULL)), NULL, 0), GR_OK);
    EXPECT_VALUES(gr_gradient(a), 4, 4, 4);
    EXPECT_VALUES(gr_gradient(b), 4, 4, 4);
}

static void closed_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    dx[0] = gr_mul(g, n->in[0]);
    gr_no_grad_begin(n->ctx);
}
static const gr_op closed_op = {.name = "closed", .arity = 1, .run = first_run, .vjp = closed_vjp};

Test(regressions, brackets_that_a_rule_leaves_open_end_with_it)
{
    gr_tensor *a = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(3)));
    gr_tensor *gradient = gr_grad(sum_of(gr_apply_with(&closed_op, 1, &a, NULL)), a);
    EXPECT_VALUES(gr_grad(sum_of(gradient), a), 1, 1, 1);
    cr_expect(gr_requires_grad(gr_exp(a)));
}

/* ---- Rules that add in place ----------------------------------------------------------------- */

static gr_tensor *inner_loss;
static gr_status nesting_add_vjp(const gr_node *n, gr_tensor *g, int i, gr_tensor *into)
{
    (void)n, (void)g, (void)i, (void)into;
    return gr_backward_here(inner_loss, NULL, 0);
}
static gr_status opening_add_vjp(const gr_node *n, gr_tensor *g, int i, gr_tensor *into)
{
    (void)g, (void)i, (void)into;
    return gr_scope_begin(n->ctx);
}
static gr_status careless_add_vjp(const gr_node *n, gr_tensor *g, int i, gr_tensor *into)
{
    (void)g, (void)i, (void)into;
    gr_raise(n->ctx, GR_ERROR_DOMAIN, "adding", "no");
    return GR_OK;
}

/* They are rules as others are: a sweep within them would take the marks of the one around it. */
Test(regressions, rules_that_add_in_place_are_held_as_others)
{
    gr_op op = {.name = "adding", .arity = 1, .run = first_run, .vjp = closed_vjp};
    gr_tensor *a = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(3)));
    inner_loss = sum_of(gr_square(a));
    gr_tensor *loss = sum_of(gr_apply_with(&op, 1, &a, NULL));
    op.add_vjp = nesting_add_vjp;
    cr_expect_eq(gr_backward_here(loss, NULL, 0), GR_ERROR_GRADIENT);
    expect_error(ctx, GR_ERROR_GRADIENT, "backward: called by an op's gradient rule");
    op.add_vjp = opening_add_vjp;
    cr_expect_eq(gr_backward_here(loss, NULL, 0), GR_ERROR_SCOPE);
    expect_error(ctx, GR_ERROR_SCOPE, "adding: its gradient rule leaves a scope open");
    op.add_vjp = careless_add_vjp;
    cr_expect_eq(gr_backward_here(loss, NULL, 0), GR_ERROR_DOMAIN);
    expect_error(ctx, GR_ERROR_DOMAIN, "adding: no");
    EXPECT_VALUES(gr_gradient(a), 0, 0, 0);
}
