/* hessian.c - second derivatives of a whole function, row by row.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <string.h>

/* Row i: the gradient of the gradient's element i. */
static bool fill_row(gr_tensor *gradient, gr_tensor *x, int64_t i, gr_tensor *hessian)
{
    gr_context *ctx = x->ctx;
    const int64_t size = gr_dtype_size(x->dtype), count = gr_numel(x);
    gr_tensor *unit = gr_zeros_like(gradient), *row = &ctx->failed;
    if (gr_failed(unit))
        return false;
    const double one = 1;
    gr_convert(GR_F64, &one, unit->dtype, unit->data + i * size, 1);
    const gr_grad_args args = {.seed = unit};
    if (gr_grad_with(gradient, (gr_tensors){1, &x}, &row, &args) != GR_OK)
        return false;
    return gr_read(row, x->dtype, count, hessian->data + i * count * size) == GR_OK;
}

gr_tensor *gr_hessian(gr_function *f, void *data, gr_tensor *x)
{
    gr_tensor *failed;
    if (!gr_usable("hessian", x, 0, &failed))
        return failed;
    gr_context *ctx = x->ctx;
    if (!f)
        return gr_fail_tensor(ctx, GR_ERROR_NULL, "hessian", "the function is NULL");
    const int64_t count = gr_numel(x);
    const gr_dims shape = {.count = 2, .at = {count, count}};
    gr_tensor *hessian = gr_tensor_in(ctx->scope, "hessian", x->dtype, &shape);
    if (!hessian)
        return &ctx->failed;
    const int no_grad = ctx->no_grad; /* f is recorded whatever brackets are open */
    ctx->no_grad = 0;
    gr_hold_handler(ctx);
    bool done = gr_scope_begin(ctx) == GR_OK;
    gr_tensor *point = done ? gr_variable(x) : &ctx->failed;
    gr_tensor *gradient =
        gr_failed(point) ? point : gr_grad(f((gr_tensors){1, &point}, data), point);
    done = !gr_failed(gradient);
    for (int64_t i = 0; done && i < count; i++) {
        const gr_status began = gr_scope_begin(ctx);
        const bool filled = began == GR_OK && fill_row(gradient, point, i, hessian);
        done = gr_scope_end(ctx) == GR_OK && filled;
    }
    done = gr_scope_end(ctx) == GR_OK && done;
    gr_free_handler(ctx);
    ctx->no_grad = no_grad;
    return done ? hessian : &ctx->failed;
}
