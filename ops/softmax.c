/* softmax.c - softmax and its logarithm along one axis.
 *
 * Both are compositions of public ops, and so are their gradients, of every order. The row's
 * largest element is taken out first; it changes neither value nor gradient, so it is a constant of
 * the tape.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include <gradus/ops.h>

static gr_tensor *sum_along(gr_tensor *x, int axis)
{
    return gr_sum_with(&(gr_reduce_args){.x = x, .axes = gr_axes(axis), .keepdim = true});
}

/* The largest of each row, with size 1 along the axis: the row is folded in two until one is left.
   An odd row's halves share the middle element, which does no harm to a maximum. */
static gr_tensor *largest(gr_tensor *x, int axis)
{
    x = gr_detach(x);
    while (gr_size(x, axis) > 1 && !gr_failed(x)) {
        const int64_t count = gr_size(x, axis), half = (count + 1) / 2;
        x = gr_maximum(gr_slice(x, axis, 0, half, 1), gr_slice(x, axis, count - half, count, 1));
    }
    return x;
}

/* x - m. A row without elements has no largest, and stays as it is. */
static gr_tensor *shifted(gr_tensor *x, int axis) { return gr_sub(x, largest(x, axis)); }

/* softmax(x) = e^z / sum(e^z), z = x - m */
static gr_tensor *softmax(gr_tensor *x, int axis)
{
    gr_tensor *e = gr_exp(shifted(x, axis));
    return gr_div(e, sum_along(e, axis));
}

/* log_softmax(x) = z - log(sum(e^z)), z = x - m. The k largest elements have e^z = 1 exactly;
   without them the sum keeps the digits of the others, however small, and log(sum(e^z)) =
   log1p(sum(e^z - [z = 0]) + (k - 1)). */
static gr_tensor *log_softmax(gr_tensor *x, int axis)
{
    gr_tensor *z = shifted(x, axis), *one = gr_scalar_like(z, 1);
    gr_tensor *top = gr_cast(gr_equal(z, gr_scalar_like(z, 0)), gr_dtype_of(z));
    gr_tensor *others = sum_along(gr_sub(gr_exp(z), top), axis);
    gr_tensor *more = gr_sub(sum_along(top, axis), one);
    return gr_sub(z, gr_log1p(gr_add(others, more)));
}

/* Checks, halves widened to f32, and a 0-d x as a row of one, as PyTorch has it. */
static gr_tensor *along(const char *op, gr_tensor *(*function)(gr_tensor *, int), gr_tensor *x,
                        int axis)
{
    gr_tensor *failed;
    if (!gr_usable(op, x, 0, &failed))
        return failed;
    const int ndim = gr_axes_of(x);
    if (!gr_dtype_is_float(gr_type(x)))
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_DTYPE, op, "%s %s is no float",
                              gr_dtype_name(gr_type(x)), gr_shape_text(x).text);
    const int at = gr_axis_of(ndim ? ndim : 1, axis);
    if (at < 0)
        return gr_fail_tensor(gr_ctx(x), GR_ERROR_SHAPE, op, "axis %d of shape %s does not exist",
                              axis, gr_shape_text(x).text);
    gr_tensor *rows = ndim ? x : gr_reshape(x, gr_shape(1));
    rows = function(gr_cast(rows, gr_compute_dtype(x)), at);
    return gr_reshape(gr_cast(rows, gr_type(x)), gr_shape_of(x));
}

gr_tensor *gr_softmax(gr_tensor *x, int axis) { return along("softmax", softmax, x, axis); }
gr_tensor *gr_log_softmax(gr_tensor *x, int axis)
{
    return along("log_softmax", log_softmax, x, axis);
}
