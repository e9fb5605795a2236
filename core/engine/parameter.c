/* parameter.c - parameters, and the gradients that gr_backward adds up for them.
 *
 * The gradient of a parameter is a header in the root scope. It has a buffer only if there is a
 * gradient or if a user has asked for it. The first gradient after a reset takes over the sweep's
 * buffer, unless the user has views of the old one. Later gradients are added to it in place.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/sweep.h"
#include <string.h>

struct gr_parameter_state {
    gr_tensor *tensor;   /* the parameter */
    gr_tensor *gradient; /* has the parameter's shape */
    bool has_gradient;
    bool is_shown;            /* a user has the gradient, so it always has elements */
    gr_parameter_state *next; /* in the list of those that a sweep has visited */
};

static gr_parameter_state *state_of(const gr_tensor *x) { return gr_history_of(x)->parameter; }

bool gr_is_parameter(const gr_tensor *x) { return state_of(x) != NULL; }

/* Gradients of halves are added up in f32: in bf16, 256 + 1 is 256. */
gr_dtype gr_parameter_gradient_dtype(const gr_tensor *x)
{
    return gr_type(x) == GR_F64 ? GR_F64 : GR_F32;
}

/* ---- Leaves ---------------------------------------------------------------------------------- */

/* detach(x) and variable(x): the same elements as a leaf. They are entries without a gradient. */
static gr_status same_form(const gr_call *call, gr_form *results)
{
    *results = (gr_form){.dtype = gr_type(call->in[0]),
                         .shape = gr_shape_of(call->in[0]),
                         .strides = gr_strides_of(call->in[0])};
    return GR_OK;
}
static const gr_op detach_op = {
    .name = "detach", .kind = GR_VIEW, .arity = 1, .flags = GR_OP_NO_GRAD, .shape = same_form};
static const gr_op variable_op = {
    .name = "variable", .kind = GR_VIEW, .arity = 1, .flags = GR_OP_NO_GRAD, .shape = same_form};

gr_tensor *gr_detach(gr_tensor *x) { return gr_apply_with(&detach_op, 1, &x, NULL); }

static bool check_float(const char *op, gr_tensor *x, gr_tensor **failed)
{
    if (!gr_usable(op, x, 0, failed))
        return false;
    if (gr_dtype_is_float(gr_type(x)))
        return true;
    *failed = gr_fail_tensor(gr_ctx(x), GR_ERROR_DTYPE, op, "%s %s is no float: it has no gradient",
                             gr_dtype_name(gr_type(x)), gr_shape_text(x).text);
    return false;
}

gr_tensor *gr_variable(gr_tensor *x)
{
    gr_tensor *view;
    if (!check_float("variable", x, &view))
        return view;
    view = gr_apply_in(gr_ctx(x), &variable_op, 1, &x, NULL);
    if (gr_failed(view))
        return view;
    gr_set_requires_grad(view);
    gr_set_weak(view, false);
    return view;
}

/* ---- Parameters ------------------------------------------------------------------------------ */

gr_tensor *gr_parameter(gr_tensor *x)
{
    gr_tensor *failed;
    if (!check_float("parameter", x, &failed))
        return failed;
    gr_context *ctx = gr_ctx(x);
    const gr_dims shape = gr_shape_of(x);
    ctx->doing = "parameter";
    gr_parameter_state *state = gr_block_new(ctx, (int64_t)sizeof *state);
    gr_tensor *own = state ? gr_tensor_in(ctx->root, "parameter", gr_type(x), &shape) : NULL;
    gr_tensor *gradient =
        own ? gr_bare_tensor(ctx->root, gr_parameter_gradient_dtype(x), &shape) : NULL;
    if (!gradient) {
        gr_tensor_free(own);
        gr_block_free(ctx, state);
        return ctx->failed;
    }
    gr_copy_elements(x, &shape, gr_type(x), gr_bytes(own));
    *state = (gr_parameter_state){.tensor = own, .gradient = gradient};
    gr_history_of(own)->parameter = state;
    gr_set_requires_grad(own);
    return own;
}

void gr_parameter_free(gr_tensor *parameter)
{
    gr_tensor *failed;
    if (!parameter || !gr_usable("parameter_free", parameter, 0, &failed))
        return;
    gr_parameter_state *state = state_of(parameter);
    gr_context *ctx = gr_ctx(parameter);
    if (!state) {
        gr_fail(ctx, GR_ERROR_GRADIENT, "parameter_free", "%s is no parameter",
                gr_shape_text(parameter).text);
        return;
    }
    if (ctx->program.rules_running) { /* the sweep that called the rule may have met it */
        gr_fail(ctx, GR_ERROR_GRADIENT, "parameter_free", "called by an op's gradient rule");
        return;
    }
    gr_tensor_free(state->gradient);
    gr_tensor_free(parameter);
    gr_block_free(ctx, state);
}

/* ---- Gradients ------------------------------------------------------------------------------- */

static void fill_zeros(gr_tensor *x)
{
    memset(gr_bytes(x), 0, (size_t)(gr_count(x) * gr_dtype_size(gr_type(x))));
}

/* Gives the gradient elements of 0 if it has no elements. False after MEMORY. */
static bool show(gr_parameter_state *state)
{
    if (!gr_bytes(state->gradient)) {
        gr_context *ctx = gr_ctx(state->gradient);
        const gr_dims shape = gr_shape_of(state->gradient);
        gr_tensor *zeros = gr_tensor_in(ctx->root, "gradient", gr_type(state->gradient), &shape);
        if (!zeros)
            return false;
        fill_zeros(zeros);
        gr_share_buffer(state->gradient, zeros);
        gr_tensor_free(zeros);
    }
    state->is_shown = true;
    return true;
}

gr_tensor *gr_gradient(gr_tensor *parameter)
{
    gr_tensor *failed;
    if (!gr_usable("gradient", parameter, 0, &failed))
        return failed;
    gr_parameter_state *state = state_of(parameter);
    if (!state)
        return gr_fail_tensor(gr_ctx(parameter), GR_ERROR_GRADIENT, "gradient",
                              "%s is no parameter (gr_parameter makes one; gr_grad takes any)",
                              gr_shape_text(parameter).text);
    return show(state) ? state->gradient : failed;
}

gr_tensor *gr_gradient_or_null(const gr_tensor *parameter)
{
    const gr_parameter_state *state = state_of(parameter);
    return state && state->has_gradient ? state->gradient : NULL;
}

void gr_forget_gradient(gr_tensor *parameter)
{
    gr_parameter_state *state = state_of(parameter);
    if (state->is_shown) { /* then a user may have written it, too */
        fill_zeros(state->gradient);
        gr_wrote(state->gradient, "zero_grad", NULL, 0);
    } else if (state->has_gradient) {
        gr_drop_elements(state->gradient);
    }
    state->has_gradient = false;
}

void gr_zero_grad(gr_tensors parameters)
{
    for (int64_t i = 0; parameters.at && i < parameters.count; i++)
        if (!gr_failed(parameters.at[i]) && gr_is_parameter(parameters.at[i]))
            gr_forget_gradient(parameters.at[i]);
}

/* ---- For the sweep --------------------------------------------------------------------------- */

void gr_meet_parameter(gr_tensor *x, gr_parameter_state **list)
{
    gr_parameter_state *state = state_of(x);
    state->next = *list;
    *list = state;
}

/* If a gradient will take over the buffer of its sum, makes sure that nobody else holds this buffer
   and that it has the gradient's dtype (the seed itself may have another). False after MEMORY. */
bool gr_prepare_gradients(gr_parameter_state *list)
{
    for (gr_parameter_state *state = list; state; state = state->next) {
        gr_history *history = gr_history_of(state->tensor);
        const gr_dtype dtype = gr_type(state->gradient);
        if (!history->sum || state->has_gradient)
            continue;
        const bool converts = gr_type(history->sum) != dtype;
        if (!converts && gr_owns_buffer(history->sum))
            continue;
        gr_tensor *own =
            converts ? gr_linear_convert(history->sum, dtype) : gr_linear_copy(history->sum);
        if (gr_failed(own))
            return false;
        history->sum = own;
    }
    return true;
}

/* The gradient takes the sum's buffer. Its count of writes goes on from the old one, so that an
   entry that read the old elements notices the change. If the user has views of the gradient, they
   must see the change, too: then the elements are copied. */
static void take_over(gr_tensor *gradient, gr_tensor *sum)
{
    const bool has_elements = gr_bytes(gradient) != NULL;
    const int64_t writes = has_elements ? gr_writes(gradient) : 0;
    if (has_elements && !gr_owns_buffer(gradient)) {
        const gr_dims shape = gr_shape_of(gradient);
        gr_copy_elements(sum, &shape, gr_type(gradient), gr_bytes(gradient));
    } else {
        gr_share_buffer(gradient, sum);
        gr_set_writes(gradient, writes);
    }
    gr_wrote(gradient, "backward", NULL, 0);
}

void gr_commit_gradients(gr_parameter_state *list)
{
    for (gr_parameter_state *state = list; state; state = state->next) {
        gr_tensor *sum = gr_history_of(state->tensor)->sum;
        if (!sum)
            continue;
        if (state->has_gradient)
            gr_linear_accumulate(state->gradient, sum);
        else
            take_over(state->gradient, sum);
        state->has_gradient = true;
    }
}
