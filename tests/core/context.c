/* context.c - tests of core/base/context.c and core/base/errors.c: contexts, errors, and one way to
 * provoke each status.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"
#include <pthread.h>

TestSuite(context, .init = begin, .fini = end);

/* ---- Errors ---------------------------------------------------------------------------------- */

Test(context, names_of_statuses)
{
    cr_expect_str_eq(gr_status_name(GR_OK), "GR_OK");
    cr_expect_str_eq(gr_status_name(GR_ERROR_MEMORY), "GR_ERROR_MEMORY");
    cr_expect_str_eq(gr_status_name(GR_ERROR_PROCESSOR), "GR_ERROR_PROCESSOR");
    for (int status = 0; status <= GR_ERROR_PROCESSOR; status++)
        for (int other = 0; other < status; other++)
            cr_expect_neq(strcmp(gr_status_name(status), gr_status_name(other)), 0);
    cr_expect_str_eq(gr_status_name((gr_status)-1), "unknown");
    cr_expect_str_eq(gr_status_name((gr_status)(GR_ERROR_PROCESSOR + 1)), "unknown");
    cr_expect_str_eq(gr_version(), "0.1.0");
}

static void memory(void)
{
    heap_fail(1, false);
    gr_zeros(ctx, GR_F32, gr_shape(1 << 20));
}
static void null(void) { gr_from_data(ctx, GR_F32, gr_shape(2), NULL); }
static void shape(void) { gr_ones(ctx, GR_F32, gr_shape(-2)); }
static void broadcast(void)
{
    gr_add(gr_ones(ctx, GR_F32, gr_shape(2)), gr_ones(ctx, GR_F32, gr_shape(3)));
}
static void dtype(void) { gr_exp(gr_ones(ctx, GR_U8, gr_shape(2))); }
static void domain(void)
{
    gr_tensor *two = gr_full(ctx, GR_F32, gr_shape(1), 2);
    gr_bce_with(two, &(gr_bce_args){GR_BCE_DEFAULTS, .target = two});
}
static void reduction(void)
{
    gr_tensor *half = gr_full(ctx, GR_F32, gr_shape(1), 0.5);
    gr_bce_with(half,
                &(gr_bce_args){GR_BCE_DEFAULTS, .target = half, .reduction = (gr_reduction)77});
}
static void argument(void) { gr_arange(ctx, GR_F32, -1); }
static void contexts(void)
{
    gr_context *other = new_context(NULL, 1);
    gr_add(gr_ones(ctx, GR_F32, gr_shape(2)), gr_ones(other, GR_F32, gr_shape(2)));
    (void)!gr_context_free(other);
}
static void scope(void) { (void)!gr_scope_end(ctx); }
static void gradient(void) { (void)!gr_backward(gr_ones(ctx, GR_F32, gr_shape(2))); }
static void system_refuses(void) { (void)!gr_csv_read(ctx, "/nowhere/at/all"); }
static void format(void)
{
    char path[] = "/tmp/gradus-XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");
    cr_assert_not_null(file);
    fputs("a,b\n1\n", file);
    fclose(file);
    (void)!gr_csv_read(ctx, path);
    remove(path);
}
static void processor(void)
{
    (void)!gr_context_free(ctx);
    ctx = new_context("vax", 1);
}

/* Each status has a line in this table. The last one makes a context that stays broken. */
static const struct {
    gr_status status;
    void (*provoke)(void);
} provocations[] = {
    {GR_ERROR_MEMORY, memory},       {GR_ERROR_NULL, null},           {GR_ERROR_SHAPE, shape},
    {GR_ERROR_BROADCAST, broadcast}, {GR_ERROR_DTYPE, dtype},         {GR_ERROR_DOMAIN, domain},
    {GR_ERROR_REDUCTION, reduction}, {GR_ERROR_ARGUMENT, argument},   {GR_ERROR_CONTEXT, contexts},
    {GR_ERROR_SCOPE, scope},         {GR_ERROR_GRADIENT, gradient},   {GR_ERROR_IO, system_refuses},
    {GR_ERROR_FORMAT, format},       {GR_ERROR_PROCESSOR, processor},
};

Test(context, every_status_can_be_provoked)
{
    cr_expect_eq(COUNT_OF(provocations), GR_ERROR_PROCESSOR);
    for (int i = 0; i < COUNT_OF(provocations); i++) {
        cr_expect_eq(provocations[i].status, i + 1, "row %d is another's", i);
        provocations[i].provoke();
        heap_fail(0, false);
        cr_expect_eq(gr_error(ctx), provocations[i].status, "%s, not %s: %s",
                     gr_status_name(gr_error(ctx)), gr_status_name(provocations[i].status),
                     gr_error_message(ctx));
        cr_expect_gt(strlen(gr_error_message(ctx)), 5);
        gr_error_clear(ctx);
    }
}

Test(context, the_first_error_stays)
{
    expect_fine(ctx);
    cr_expect_str_eq(gr_error_message(ctx), "");
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2, 3));
    gr_add(x, gr_ones(ctx, GR_F32, gr_shape(4)));
    gr_exp(gr_ones(ctx, GR_I32, gr_shape(1)));
    gr_zeros(ctx, GR_F32, gr_shape(-1));
    cr_expect_eq(gr_scope_begin(ctx), GR_OK);
    cr_expect_eq(gr_scope_end(ctx), GR_ERROR_BROADCAST);
    cr_expect_eq(gr_item(sum_of(x)), 6, "ops on sound operands go on");
    expect_error(ctx, GR_ERROR_BROADCAST,
                 "add: shapes [2,3] and [4] do not broadcast: dimension 1 is 3 and 4");
    expect_fine(ctx);
    cr_expect_str_eq(gr_error_message(ctx), "");
    cr_expect_eq(gr_item(sum_of(x)), 6, "tensors from before the error are unharmed");
}

Test(context, free_returns_the_first_error)
{
    cr_expect_eq(gr_context_free(new_context(NULL, 1)), GR_OK);
    gr_context *other = new_context(NULL, 1);
    gr_zeros(other, (gr_dtype)55, gr_shape(1));
    cr_expect_str_eq(gr_error_message(other), "zeros: unknown dtype 55");
    cr_expect_eq(gr_context_free(other), GR_ERROR_DTYPE);
    cr_expect_eq(gr_context_free(NULL), GR_ERROR_NULL);
}

/* ---- Instruction sets ------------------------------------------------------------------------ */

/* Every call on a context whose creation failed must fail, and none may crash. */
static void expect_broken(gr_context *of, gr_status status)
{
    float value = 0;
    gr_tensor *x = gr_zeros(of, GR_F32, gr_shape(2)), *g;
    cr_expect(gr_failed(x));
    cr_expect_eq(gr_context_of(x), of);
    gr_tensor *made[] = {gr_ones(of, GR_F32, gr_shape(2)),
                         gr_full(of, GR_F32, gr_shape(2), 1),
                         gr_scalar(of, 1),
                         gr_from_data(of, GR_F32, gr_shape(1), &value),
                         gr_arange(of, GR_F32, 3),
                         gr_rand(of, GR_F32, gr_shape(2)),
                         gr_randn(of, GR_F32, gr_shape(2)),
                         gr_permutation(of, 3),
                         gr_zeros_like(x),
                         gr_scalar_like(x, 1),
                         gr_add(x, x),
                         gr_exp(x),
                         gr_matmul(x, x),
                         sum_of(x),
                         gr_keep(x),
                         gr_parameter(x),
                         gr_variable(x),
                         gr_detach(x),
                         gr_grad(x, x),
                         gr_reshape(x, gr_shape(1)),
                         gr_hessian(NULL, NULL, x),
                         gr_gradient(x)};
    for (int i = 0; i < COUNT_OF(made); i++)
        cr_expect(gr_failed(made[i]), "%d", i);
    cr_expect_eq(gr_scope_begin(of), status);
    cr_expect_eq(gr_scope_end(of), status);
    cr_expect_eq(gr_backward(x), status);
    cr_expect_eq(gr_grad_with(x, gr_list(x), &g, NULL), status);
    cr_expect_eq(gr_read(x, GR_F32, 1, &value), status);
    cr_expect_eq(gr_write(x, GR_F32, 1, &value), status);
    cr_expect(isnan(gr_item(x)) && isnan(gr_get(x, gr_index(0))));
    gr_no_grad_begin(of);
    gr_no_grad_end(of);
    gr_zero_grad(gr_list(x));
    gr_error_clear(of);
    cr_expect_eq(gr_error(of), status, "what cannot work stays an error");
    cr_expect_neq(gr_error_message(of)[0], '\0');
}

Test(context, unknown_instruction_set)
{
    gr_context *other = new_context("sse9", 1);
    cr_expect_eq(gr_error(other), GR_ERROR_PROCESSOR);
    cr_expect_str_eq(gr_error_message(other),
                     "context: no such instruction set; there are scalar, avx2 and avx512");
    cr_expect_str_eq(gr_context_isa(other), "none");
    expect_broken(other, GR_ERROR_PROCESSOR);
    cr_expect_eq(gr_context_free(other), GR_ERROR_PROCESSOR);
}

Test(context, instruction_set_by_option_and_environment)
{
    unsetenv("GR_ISA");
    gr_context *widest = new_context(NULL, 1);
    char name[16];
    snprintf(name, sizeof name, "%s", gr_context_isa(widest));
    cr_expect_eq(gr_context_free(widest), GR_OK);

    setenv("GR_ISA", "scalar", 1);
    gr_context *by_environment = new_context(NULL, 1), *by_option = new_context(name, 1);
    cr_expect_str_eq(gr_context_isa(by_environment), "scalar");
    cr_expect_str_eq(gr_context_isa(by_option), name, "the option goes first");
    cr_expect_eq(gr_context_free(by_environment), GR_OK);
    cr_expect_eq(gr_context_free(by_option), GR_OK);

    setenv("GR_ISA", "", 1);
    widest = new_context(NULL, 1);
    cr_expect_str_eq(gr_context_isa(widest), name);
    cr_expect_eq(gr_context_free(widest), GR_OK);

    setenv("GR_ISA", "pdp11", 1);
    cr_expect_eq(gr_context_free(new_context(NULL, 1)), GR_ERROR_PROCESSOR);
}

Test(context, options)
{
    gr_context *other = new_context(NULL, -1);
    cr_expect_str_eq(gr_error_message(other),
                     "context: -1 threads; it takes 1 to 256, or 0 for OpenMP's");
    expect_broken(other, GR_ERROR_ARGUMENT);
    cr_expect_eq(gr_context_free(other), GR_ERROR_ARGUMENT);
    other = gr_context_new(NULL);
    cr_expect_eq(gr_item(gr_add(gr_scalar(other, 1), gr_scalar(other, 2))), 3);
    cr_expect_gt(gr_memory(other).live_bytes, 0);
    cr_expect_eq(gr_context_free(other), GR_OK);
}

Test(context, null)
{
    cr_expect_eq(gr_error(NULL), GR_ERROR_NULL);
    cr_expect_str_eq(gr_error_message(NULL), "context: NULL");
    gr_error_clear(NULL);
    cr_expect_str_eq(gr_context_isa(NULL), "none");
    cr_expect_eq(gr_memory(NULL).live_bytes, 0);
    cr_expect_eq(gr_scope_begin(NULL), GR_ERROR_NULL);
    cr_expect_eq(gr_scope_end(NULL), GR_ERROR_NULL);
    gr_no_grad_begin(NULL);
    gr_no_grad_end(NULL);
    cr_expect(gr_failed(gr_zeros(NULL, GR_F32, gr_shape(2))));
    cr_expect_eq(gr_error(gr_context_of(gr_randn(NULL, GR_F32, gr_shape(2)))), GR_ERROR_NULL);
    cr_expect(gr_failed(gr_scalar(NULL, 1)));
    cr_expect(gr_failed(gr_arange(NULL, GR_F32, 1)));
    cr_expect(gr_failed(gr_permutation(NULL, 1)));
}

/* ---- Memory ---------------------------------------------------------------------------------- */

Test(context, no_memory_for_a_context)
{
    heap_fail(1, true);
    gr_context *other = new_context(NULL, 1);
    heap_fail(0, false);
    cr_expect_str_eq(gr_error_message(other), "context: out of memory");
    expect_broken(other, GR_ERROR_MEMORY);
    cr_expect_eq(gr_context_free(other), GR_ERROR_MEMORY);
    for (int k = 2; k < 3; k++) {
        heap_fail(k, true);
        other = new_context(NULL, 1);
        heap_fail(0, false);
        expect_broken(other, GR_ERROR_MEMORY);
        cr_expect_eq(gr_context_free(other), GR_ERROR_MEMORY);
    }
}

static uint64_t one_tensor(gr_context *of, const void *data)
{
    (void)data;
    return of->broken ? 1 : hash_of(gr_zeros(of, GR_F32, gr_shape(3)));
}
Test(context, memory) { expect_survives("a context", one_tensor, NULL); }

/* ---- The handler, where places are not known ------------------------------------------------- */

static int handled;
static void handler(gr_context *of, gr_status status, const char *message, void *data)
{
    handled++;
    cr_expect_eq(gr_error(of), status);
    cr_expect_str_eq(gr_error_message(of), message);
    *(gr_status *)data = status;
}

Test(context, handler)
{
    gr_status heard = GR_OK;
    gr_context *other = gr_context_new(&(gr_context_options){
        .allocator = &heap_allocator, .handler = handler, .handler_data = &heard});
    gr_zeros(other, GR_F32, gr_shape(-1));
    cr_expect_eq(handled, 0, "its place may still become known");
    cr_expect_eq(gr_scope_end(other), GR_ERROR_SHAPE);
    cr_expect_eq(handled, 1);
    cr_expect_eq(heard, GR_ERROR_SHAPE);
    cr_expect_eq(gr_context_free(other), GR_ERROR_SHAPE);
    cr_expect_eq(handled, 1);

    other = gr_context_new(&(gr_context_options){
        .allocator = &heap_allocator, .handler = handler, .handler_data = &heard, .isa = "none"});
    cr_expect_eq(handled, 2);
    cr_expect_eq(heard, GR_ERROR_PROCESSOR);
    cr_expect_eq(gr_context_free(other), GR_ERROR_PROCESSOR);
    cr_expect_eq(handled, 2);
}

/* ---- Two contexts side by side --------------------------------------------------------------- */

/* Trains a little with the system's allocator. Returns a hash of the result. */
static void *train(void *result)
{
    gr_context *own = gr_context_new(&(gr_context_options){.seed = 5, .threads = 2});
    gr_tensor *x = gr_randn(own, GR_F32, gr_shape(300, 50)),
              *y = gr_randn(own, GR_F32, gr_shape(300));
    gr_tensor *w = gr_parameter(gr_zeros(own, GR_F32, gr_shape(50)));
    for (int i = 0; i < 60; i++) {
        float values[50];
        (void)!gr_scope_begin(own);
        gr_add(gr_ones(own, GR_F32, gr_shape(2)), gr_ones(own, GR_F32, gr_shape(3)));
        gr_error_clear(own);
        cr_assert_eq(gr_backward(sum_of(gr_square(gr_sub(gr_matmul(x, w), y)))), GR_OK);
        gr_tensor *next = gr_sub(gr_detach(w), gr_mul(gr_scalar(own, 1e-4), gr_gradient(w)));
        cr_assert_eq(gr_read(next, GR_F32, 50, values), GR_OK);
        cr_assert_eq(gr_write(w, GR_F32, 50, values), GR_OK);
        gr_zero_grad(gr_list(w));
        cr_assert_eq(gr_scope_end(own), GR_OK);
    }
    *(uint64_t *)result = hash_of(w);
    cr_assert_eq(gr_context_free(own), GR_OK);
    return NULL;
}

Test(context, two_threads_with_a_context_each)
{
    uint64_t alone, left, right;
    pthread_t threads[2];
    train(&alone);
    cr_assert_eq(pthread_create(&threads[0], NULL, train, &left), 0);
    cr_assert_eq(pthread_create(&threads[1], NULL, train, &right), 0);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    cr_expect_eq(left, alone);
    cr_expect_eq(right, alone);
}
