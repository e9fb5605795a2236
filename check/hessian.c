/* hessian.c - second derivatives of a whole function, row by row.
 *
 * The first sweep is recorded, so that the gradient can be differentiated. The sweeps of the rows
 * are not recorded. Each row has its own scope, and the next row uses the same buffers again.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"

/* Fills a row: the gradient of that element of the gradient where seed is 1. */
static bool fill_row(gr_tensor *gradient, gr_tensor *point, gr_tensor *seed, char *row)
{
    gr_tensor *second;
    const gr_grad_args args = {.seed = seed};
    return gr_grad_with(gradient, (gr_tensors){1, &point}, &second, &args) == GR_OK &&
           gr_read(second, gr_dtype_of(point), gr_numel(point), row) == GR_OK;
}

static bool fill_rows(gr_tensor *gradient, gr_tensor *point, char *row)
{
    gr_context *ctx = gr_context_of(point);
    const int64_t count = gr_numel(point), row_bytes = count * gr_dtype_size(gr_dtype_of(point));
    gr_tensor *seed = gr_zeros_like(gradient);
    double *unit = gr_arena_cut(ctx, count * (int64_t)sizeof *unit);
    bool done = unit && !gr_failed(seed);
    for (int64_t i = 0; done && i < count; i++, row += row_bytes) {
        unit[i] = 1;
        done = gr_scope_begin(ctx) == GR_OK && gr_write(seed, GR_F64, count, unit) == GR_OK &&
               fill_row(gradient, point, seed, row);
        done = gr_scope_end(ctx) == GR_OK && done;
        unit[i] = 0;
    }
    return done;
}

static bool fill(gr_function *f, void *data, gr_tensor *x, char *hessian)
{
    gr_tensor *point = gr_variable(x);
    gr_tensor *y = gr_failed(point) ? NULL
                                    : gr_call_function(gr_context_of(x), "hessian", f,
                                                       (gr_tensors){1, &point}, data);
    gr_tensor *gradient = y ? gr_grad(y, point) : NULL;
    return !gr_failed(gradient) && fill_rows(gradient, point, hessian);
}

/* f is recorded even inside no_grad brackets. The handler is held until the brackets are restored,
   because the handler may leave with longjmp. */
static bool fill_in_scope(gr_function *f, void *data, gr_tensor *x, char *hessian)
{
    gr_context *ctx = gr_context_of(x);
    const int no_grad = ctx->program.no_grad;
    gr_hold_handler(ctx);
    ctx->program.no_grad = 0;
    bool done = gr_scope_begin_check(ctx) == GR_OK && fill(f, data, x, hessian);
    done = gr_scope_end(ctx) == GR_OK && done;
    ctx->program.no_grad = no_grad;
    gr_resume_handler(ctx);
    return done;
}

gr_tensor *gr_hessian(gr_function *f, void *data, gr_tensor *x)
{
    gr_tensor *failed;
    if (!gr_usable("hessian", x, 0, &failed))
        return failed;
    gr_context *ctx = gr_context_of(x);
    if (!f)
        return gr_fail_tensor(ctx, GR_ERROR_NULL, "hessian", "the function is NULL");
    const int64_t count = gr_numel(x);
    const gr_dims shape = {.count = 2, .at = {count, count}};
    gr_tensor *hessian = gr_tensor_in(ctx->scope, "hessian", gr_dtype_of(x), &shape);
    if (!hessian)
        return failed;
    if (fill_in_scope(f, data, x, gr_bytes(hessian)))
        return hessian;
    gr_tensor_free(hessian);
    /* A failed rule may have raised no error. Then this error says so. */
    return gr_fail_tensor(ctx, GR_ERROR_GRADIENT, "hessian",
                          "a gradient rule failed without an error");
}
