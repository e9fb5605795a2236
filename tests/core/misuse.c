/* misuse.c - typical mistakes of programs. Each gives a clear error with its place, and leaks
 * nothing.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(misuse, .init = begin, .fini = end);

/* ---- Another context's tensors --------------------------------------------------------------- */

static gr_context *other;

static void begin_two(void)
{
    begin();
    other = new_context(NULL, 1);
}

static void end_two(void)
{
    gr_context_free(other);
    end();
}

TestSuite(misuse_contexts, .init = begin_two, .fini = end_two);

static gr_tensor *foreign_result(gr_tensors in, void *data)
{
    (void)in, (void)data;
    return gr_ones(other, GR_F64, gr_shape());
}

static void foreign_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)n, (void)g;
    dx[0] = gr_ones(other, GR_F64, gr_shape(3));
}

static gr_status copy_run(const gr_call *call)
{
    memcpy(gr_data_mutable(call->out), gr_data(call->in[0]),
           (size_t)gr_numel(call->out) * sizeof(double));
    return GR_OK;
}

Test(misuse_contexts, seeds_and_what_rules_return)
{
    gr_tensor *v = gr_variable(gr_ones(ctx, GR_F64, gr_shape(3))), *gradient;
    gr_tensor *y = gr_square(v);
    const gr_grad_args args = {.seed = gr_ones(other, GR_F64, gr_shape(3))};
    cr_expect_eq(gr_grad_with(y, gr_list(v), &gradient, &args), GR_ERROR_CONTEXT);
    cr_expect(gr_failed(gradient));
    expect_error(ctx, GR_ERROR_CONTEXT, "grad: the seed belongs to another context");

    static const gr_op op = {.name = "own", .arity = 1, .run = copy_run, .vjp = foreign_vjp};
    for (int record = 0; record < 2; record++) {
        y = gr_apply_with(&op, 1, &v, NULL);
        cr_expect_eq(gr_grad_with(y, gr_list(v), &gradient, &(gr_grad_args){.record = record}),
                     GR_ERROR_CONTEXT);
        expect_error(ctx, GR_ERROR_CONTEXT, "own: its gradient rule gave another context's tensor");
    }
    cr_expect(gr_failed(gr_hessian(foreign_result, NULL, gr_ones(ctx, GR_F64, gr_shape(2)))));
    cr_expect_eq((int)gr_error(ctx), GR_ERROR_CONTEXT);
    gr_error_clear(ctx);
    cr_expect_eq(gr_grad_with(gr_square(v), gr_list(gr_variable(args.seed)), &gradient, NULL),
                 GR_ERROR_CONTEXT);
    gr_error_clear(ctx);
}

/* ---- No failure without an error ------------------------------------------------------------- */

static gr_tensor *null_result(gr_tensors in, void *data) { return (void)in, (void)data, NULL; }
static gr_tensor *failed_result(gr_tensors in, void *data)
{
    (void)data;
    gr_tensor *bad = gr_reshape(in.at[0], gr_shape(7));
    gr_error_clear(gr_context_of(in.at[0]));
    return bad;
}

static gr_status silent_shape(const gr_call *call, gr_form *results)
{
    (void)call, (void)results;
    return GR_ERROR_SHAPE;
}
static gr_status silent_run(const gr_call *call) { return (void)call, GR_ERROR_DOMAIN; }

/* Checks that the tensor failed and that the context has an error. */
static void expect_raised(gr_tensor *x)
{
    cr_expect(gr_failed(x));
    cr_expect_neq((int)gr_error(ctx), GR_OK);
    cr_expect_gt(strlen(gr_error_message(ctx)), 4, "'%s'", gr_error_message(ctx));
    gr_error_clear(ctx);
}

Test(misuse, no_failure_without_an_error)
{
    gr_tensor *x = gr_ones(ctx, GR_F64, gr_shape(2));
    expect_raised(gr_hessian(null_result, NULL, x));
    expect_raised(gr_hessian(failed_result, NULL, x));
    static const gr_op shapeless = {
        .name = "own", .arity = 1, .run = copy_run, .shape = silent_shape};
    static const gr_op runless = {.name = "own", .arity = 1, .run = silent_run};
    expect_raised(gr_apply_with(&shapeless, 1, &x, NULL));
    expect_raised(gr_apply_with(&runless, 1, &x, NULL));
    gr_tensor *bad = gr_reshape(x, gr_shape(7));
    gr_error_clear(ctx);
    expect_raised(gr_square(bad));
    expect_raised(gr_add(x, bad));
    expect_raised(gr_sum_with(&(gr_reduce_args){.x = bad}));
    expect_raised(gr_keep(bad));
    expect_raised(gr_detach(bad));
    expect_raised(gr_parameter(bad));
    expect_raised(gr_softmax(bad, 0));
    expect_raised(gr_mse_with(x, &(gr_loss_args){.target = bad}));
    cr_expect_neq(gr_backward(bad), GR_OK);
    gr_error_clear(ctx);
    cr_expect(isnan(gr_item(bad)));
    cr_expect_neq((int)gr_error(ctx), GR_OK);
    gr_error_clear(ctx);
}

/* ---- Scopes that a function leaves open, or ends --------------------------------------------- */

static gr_tensor *opens(gr_tensors in, void *data)
{
    (void)data;
    (void)!gr_scope_begin(gr_context_of(in.at[0]));
    return gr_sum_with(&(gr_reduce_args){.x = gr_square(in.at[0])});
}

static gr_tensor *closes(gr_tensors in, void *data)
{
    gr_tensor *y = opens(in, data);
    y = gr_keep(y);
    (void)!gr_scope_end(gr_context_of(in.at[0]));
    (void)!gr_scope_end(gr_context_of(in.at[0]));
    return y;
}

static void opening_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)!gr_scope_begin(n->ctx);
    dx[0] = gr_neg(g);
}

static void closing_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    (void)!gr_scope_end(n->ctx);
    dx[0] = gr_neg(g);
}

Test(misuse, scopes_of_functions_and_rules)
{
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *x = gr_ones(ctx, GR_F64, gr_shape(2));
    const gr_scope *scope = ctx->scope;
    gr_function *functions[] = {opens, closes};
    for (int i = 0; i < 2; i++) {
        cr_expect(gr_failed(gr_hessian(functions[i], NULL, x)));
        cr_expect_eq((int)gr_error(ctx), GR_ERROR_SCOPE, "%s", gr_error_message(ctx));
        cr_expect_eq(ctx->scope, scope);
        gr_error_clear(ctx);
        cr_expect_eq(gr_gradcheck_with(functions[i], NULL, gr_list(x), NULL), GR_ERROR_SCOPE);
        cr_expect_eq(ctx->scope, scope);
        gr_error_clear(ctx);
    }
    static const gr_op ops[] = {
        {.name = "opening", .arity = 1, .run = copy_run, .vjp = opening_vjp},
        {.name = "closing", .arity = 1, .run = copy_run, .vjp = closing_vjp}};
    gr_tensor *v = gr_variable(x), *gradient;
    for (int i = 0; i < 2; i++)
        for (int record = 0; record < 2; record++) {
            gr_tensor *y = gr_apply_with(&ops[i], 1, &v, NULL);
            cr_expect_eq(gr_grad_with(y, gr_list(v), &gradient, &(gr_grad_args){.record = record}),
                         GR_ERROR_SCOPE, "%d %d", i, record);
            cr_expect_eq(ctx->scope, scope);
            gr_error_clear(ctx);
        }
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
}

/* ---- Use after a scope's end ----------------------------------------------------------------- */

Test(misuse, a_dead_tensor_is_noticed_for_200_scopes)
{
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *dead[20];
    for (int i = 0; i < 20; i++)
        dead[i] = gr_full(ctx, GR_F64, gr_shape(3), i);
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(3)));
    gr_optimizer *sgd = gr_sgd(ctx, gr_list(p));
    for (int scope = 0; scope < 200; scope++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        for (int i = 0; i < 20; i++)
            cr_assert_eq(gr_backward(sum_of(gr_square(gr_exp(p)))), GR_OK);
        cr_assert_eq(gr_step(sgd), GR_OK);
        for (int i = 0; i < 20; i++) {
            cr_assert(gr_failed(dead[i]));
            cr_assert_null(gr_data(dead[i]));
            cr_assert_eq(gr_numel(dead[i]), 0);
        }
        cr_assert(isnan(gr_item(dead[7])));
        expect_error(ctx, GR_ERROR_SCOPE, "item: operand 0 belongs to a scope that has ended");
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
    }
}

/* Inner scopes of a step count as scopes. Uses of dead tensors from gr_grad are detected too. */
Test(misuse, dead_gradients_are_noticed)
{
    gr_tensor *dead[2];
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *v = gr_variable(gr_ones(ctx, GR_F64, gr_shape(3)));
    dead[0] = gr_grad(sum_of(gr_square(v)), v);
    cr_assert_eq(gr_grad_with(sum_of(gr_exp(v)), gr_list(v), &dead[1], NULL), GR_OK);
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
    for (int scope = 0; scope < 200; scope++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        v = gr_variable(gr_ones(ctx, GR_F64, gr_shape(3)));
        gr_tensor *gradient;
        cr_assert_eq(gr_grad_with(sum_of(gr_square(v)), gr_list(v), &gradient, NULL), GR_OK);
        cr_assert(gr_failed(dead[0]) && gr_failed(dead[1]));
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
    }
}

/* ---- One rule for constants that adapt ------------------------------------------------------- */

Test(misuse, what_scalars_alone_make_adapts)
{
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2)), *s = gr_scalar(ctx, 3);
    gr_tensor *made[] = {gr_neg(s),
                         gr_reshape(s, gr_shape(1)),
                         gr_mul(s, s),
                         gr_exp(s),
                         gr_expand(s, gr_shape(2)),
                         gr_sum_with(&(gr_reduce_args){.x = s}),
                         gr_pow(s, 2),
                         gr_maximum(s, s),
                         gr_detach(s),
                         gr_transpose(s),
                         gr_keep(s),
                         gr_softmax(gr_reshape(s, gr_shape(1)), 0)};
    for (int i = 0; i < COUNT_OF(made); i++) {
        gr_tensor *y = gr_mul(x, made[i]);
        cr_expect_eq(gr_dtype_of(y), GR_F32, "%d: %s", i, gr_error_message(ctx));
        gr_error_clear(ctx);
    }
    gr_tensor *own[] = {gr_cast(s, GR_F64), gr_variable(s), gr_parameter(s), gr_scalar_like(s, 1)};
    for (int i = 0; i < COUNT_OF(own); i++) {
        cr_expect(gr_failed(gr_mul(x, own[i])), "%d", i);
        gr_error_clear(ctx);
    }
    cr_expect_eq(gr_dtype_of(gr_less(s, s)), GR_BOOL);
}

/* ---- Counts ---------------------------------------------------------------------------------- */

Test(misuse, counts_out_of_range)
{
    const int64_t one = 1;
    for (int64_t count = -3; count <= 12; count++) {
        const gr_dims dims = gr_dims_from(count, count == 1 ? &one : (const int64_t[8]){0});
        cr_expect_eq(dims.count, count < 0 || count > GR_MAX_DIMS ? GR_MAX_DIMS + 1 : count);
    }
    /* gr_dims_from must not read values beyond the list. */
    int64_t *short_list = malloc(sizeof *short_list);
    *short_list = 5;
    cr_expect_gt(gr_dims_from(9, short_list).count, GR_MAX_DIMS);
    cr_expect_gt(gr_dims_from(-1, short_list).count, GR_MAX_DIMS);
    free(short_list);

    gr_tensor *v = gr_variable(gr_ones(ctx, GR_F64, gr_shape(2))), *gradient = v;
    cr_expect_eq(gr_grad_with(sum_of(v), (gr_tensors){-2, &v}, &gradient, NULL), GR_ERROR_ARGUMENT);
    expect_error(ctx, GR_ERROR_ARGUMENT, "grad: -2 inputs");
    cr_expect_eq(gradient, v, "nothing is written");
    gr_zero_grad((gr_tensors){-1, &v});
    cr_expect(gr_failed(
        gr_apply_with(&(gr_op){.name = "own", .arity = 1, .run = copy_run}, -1, &v, NULL)));
    gr_error_clear(ctx);
    cr_expect_eq(gr_optimizer_steps(
                     gr_adam_with(ctx, &(gr_adam_args){GR_ADAM_DEFAULTS, .parameters = {-1, &v}})),
                 0);
    gr_error_clear(ctx);
    cr_expect_neq(gr_gradcheck_with(opens, NULL, (gr_tensors){-1, &v}, NULL), GR_OK);
    gr_error_clear(ctx);
    static const gr_dims bad[] = {{.count = -1}, {.count = 9}, {.count = 1000000}};
    for (int i = 0; i < COUNT_OF(bad); i++) {
        cr_expect(gr_failed(gr_zeros(ctx, GR_F32, bad[i])));
        gr_error_clear(ctx);
        cr_expect(gr_failed(gr_reshape(v, bad[i])));
        gr_error_clear(ctx);
        cr_expect(gr_failed(gr_sum_to(v, bad[i])));
        gr_error_clear(ctx);
        cr_expect(gr_failed(gr_expand(v, bad[i])));
        gr_error_clear(ctx);
        cr_expect(gr_failed(gr_permute(v, bad[i])));
        gr_error_clear(ctx);
        cr_expect(gr_failed(gr_sum_with(&(gr_reduce_args){.x = v, .axes = bad[i]})));
        gr_error_clear(ctx);
        cr_expect(isnan(gr_get(v, bad[i])));
        gr_error_clear(ctx);
    }
}

/* ---- Threads --------------------------------------------------------------------------------- */

Test(misuse, threads_are_bounded)
{
    const int refused[] = {-1, 257, 100000, INT32_MAX};
    for (int i = 0; i < COUNT_OF(refused); i++) {
        gr_context *broken = gr_context_new(&(gr_context_options){.threads = refused[i]});
        cr_expect_eq((int)gr_error(broken), GR_ERROR_ARGUMENT, "%d", refused[i]);
        cr_expect(gr_failed(gr_ones(broken, GR_F32, gr_shape(2))));
        gr_context_free(broken);
    }
    gr_context *most = gr_context_new(&(gr_context_options){.threads = 256});
    gr_tensor *x = gr_ones(most, GR_F32, gr_shape(1 << 20));
    cr_expect_eq(gr_item(gr_sum_with(&(gr_reduce_args){.x = x})), 1 << 20);
    cr_expect_eq(gr_context_free(most), GR_OK);
}

static int64_t most_at_once;
static void count_threads(void *state, int64_t i)
{
    (void)i;
    int64_t *count = state;
    __atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
}

Test(misuse, parts_bound_the_threads)
{
    most_at_once = 0;
    gr_parallel_for(100000, 3, count_threads, &most_at_once);
    cr_expect_eq(most_at_once, 3);
}

/* ---- Rules that free ------------------------------------------------------------------------- */

static gr_status same_run(const gr_call *call)
{
    return gr_read(call->in[0], GR_F64, gr_numel(call->out), gr_data_mutable(call->out));
}
static void freeing_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
{
    gr_parameter_free(n->in[0]);
    dx[0] = g;
}
static const gr_op freeing_op = {
    .name = "freeing", .arity = 1, .run = same_run, .vjp = freeing_vjp};

Test(misuse, a_rule_that_frees_its_parameter_is_refused)
{
    gr_tensor *p = gr_parameter(gr_ones(ctx, GR_F64, gr_shape(3)));
    gr_tensor *loss = sum_of(gr_apply_with(&freeing_op, 1, &p, NULL));
    cr_expect_eq(gr_backward_here(loss, NULL, 0), GR_ERROR_GRADIENT);
    expect_error(ctx, GR_ERROR_GRADIENT, "parameter_free: called by an op's gradient rule");
    EXPECT_VALUES(p, 1, 1, 1);
    EXPECT_VALUES(gr_gradient(p), 0, 0, 0);
}

/* ---- Use after an early end ------------------------------------------------------------------ */

/* Gradients that are shown for the first time free what they were made of; so do failed calls. */
Test(misuse, a_dead_tensor_is_noticed_after_many_gradients)
{
    enum { PARAMETERS = 255 };
    gr_tensor *parameters[PARAMETERS], *one = gr_ones(ctx, GR_F64, gr_shape(1));
    for (int i = 0; i < PARAMETERS; i++)
        parameters[i] = gr_parameter(one);
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *dead = gr_ones(ctx, GR_F64, gr_shape(3));
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
    for (int i = 0; i < PARAMETERS; i++)
        cr_assert_not(gr_failed(gr_gradient(parameters[i])));
    cr_expect_not(gr_failed(gr_zeros(ctx, GR_F64, gr_shape(3))));
    cr_expect(gr_failed(dead));
}

/* A loss of a freed parameter never becomes one of a younger parameter. */
Test(misuse, a_freed_parameter_is_noticed_after_many_others)
{
    gr_tensor *one = gr_ones(ctx, GR_F64, gr_shape(3)), *p = gr_parameter(one);
    gr_tensor *loss = sum_of(gr_square(p));
    gr_parameter_free(p);
    for (int i = 0; i < 3000; i++) {
        gr_tensor *younger = gr_parameter(one);
        cr_assert(gr_failed(p));
        if (i % 100 == 99) {
            cr_assert_eq(gr_backward_here(loss, NULL, 0), GR_ERROR_GRADIENT);
            gr_error_clear(ctx);
        }
        gr_parameter_free(younger);
    }
}
