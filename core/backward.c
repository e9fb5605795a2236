/* backward.c - gradients: one sweep over the tape, backwards.
 *
 * The sweep first walks forward and marks, for each entry, which operands depend on an input that
 * is asked for; then it walks back, calls the rule of each marked entry whose result has received a
 * gradient, brings what the rule gives to the operand's shape and dtype, and adds it to what the
 * operand has already. A rule is made of public ops: where the sweep records, these land on the
 * tape, and the gradient can be differentiated again.
 *
 * A rule may start a sweep of its own (gr_vjp_by_composition) over entries that are younger than
 * all of the outer sweep's. It shares with it only the tensors that are its inputs, whose marks it
 * keeps aside and puts back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <string.h>

typedef struct sweep {
    gr_context *ctx;
    int64_t id, first; /* its number; the first entry that can matter */
    gr_tensors inputs;
    struct mark {
        int64_t sweep;
        gr_tensor *sum;
    } * kept; /* the inputs' marks from before */
} sweep;

/* ---- Marks ----------------------------------------------------------------------------------- */

static bool sweep_begin(sweep *s, gr_tensors inputs, int64_t since)
{
    s->id = ++s->ctx->sweep;
    s->inputs = inputs;
    s->kept = gr_scope_allocate(s->ctx->scope, (inputs.count + 1) * (int64_t)sizeof *s->kept);
    if (!s->kept)
        return false;
    s->first = s->ctx->tape_length;
    for (int64_t i = 0; i < inputs.count; i++) {
        gr_tensor *x = inputs.at[i];
        const int64_t made = x->entry ? x->entry->position + 1 : 0;
        s->kept[i] = (struct mark){x->sweep, x->sum};
        s->first = made < s->first ? made : s->first;
    }
    for (int64_t i = 0; i < inputs.count; i++) {
        inputs.at[i]->sweep = s->id;
        inputs.at[i]->sum = NULL;
    }
    s->first = s->first > since ? s->first : since;
    return true;
}

/* Backwards, so that an input listed twice gets its oldest mark back. */
static void sweep_end(sweep *s)
{
    for (int64_t i = s->inputs.count - 1; i >= 0; i--) {
        s->inputs.at[i]->sweep = s->kept[i].sweep;
        s->inputs.at[i]->sum = s->kept[i].sum;
    }
}

/* For entries [first, last]: which operands depend on an input, and so whether the result does. */
static void mark_entries(const sweep *s, int64_t last)
{
    for (int64_t at = s->first; at <= last; at++) {
        gr_node *node = &s->ctx->tape[at]->node;
        bool any = false;
        for (int i = 0; i < node->count; i++) {
            node->wanted[i] = node->in[i] && node->in[i]->sweep == s->id;
            any = any || node->wanted[i];
        }
        if (any && node->out->sweep != s->id) {
            node->out->sweep = s->id;
            node->out->sum = NULL;
        }
    }
}

/* ---- The way back ---------------------------------------------------------------------------- */

/* A gradient as its operand wants it: same dtype, same shape. */
static gr_tensor *fit(gr_tensor *gradient, const gr_tensor *x)
{
    const gr_dims shape = gr_shape_of(x), own = gr_shape_of(gradient);
    if (gradient->dtype != x->dtype)
        gradient = gr_cast(gradient, x->dtype);
    return gr_same_dims(&shape, &own) ? gradient : gr_sum_to(gradient, shape);
}

static bool add_gradient(const sweep *s, const char *op, gr_tensor *x, gr_tensor *gradient)
{
    if (x->sweep != s->id)
        return true;
    if (!gr_failed(gradient))
        gradient = fit(gradient, x);
    if (!gr_failed(gradient) && x->sum)
        gradient = gr_add(x->sum, gradient);
    if (gr_failed(gradient)) {
        gr_fail(s->ctx, GR_ERROR_GRADIENT, op, "its gradient rule gave a tensor that failed");
        return false;
    }
    x->sum = gradient;
    return true;
}

static bool run_rule(const sweep *s, const gr_node *node, bool record)
{
    gr_tensor *dx[GR_MAX_ARITY] = {0};
    const gr_op *op = node->op;
    const bool fused = op->fused_vjp && !record;
    if (!fused && !op->vjp) {
        gr_fail(s->ctx, GR_ERROR_GRADIENT, op->name, "the op has no gradient rule");
        return false;
    }
    s->ctx->rules_running++;
    (fused ? op->fused_vjp : op->vjp)(node, node->out->sum, dx);
    s->ctx->rules_running--;
    for (int i = 0; i < node->count; i++)
        if (node->wanted[i] && dx[i] && !add_gradient(s, op->name, node->in[i], dx[i]))
            return false;
    return true;
}

static bool wants_any(const gr_node *node)
{
    bool any = false;
    for (int i = 0; i < node->count; i++)
        any = any || node->wanted[i];
    return any;
}

static bool walk_back(const sweep *s, gr_tensor *y, bool record)
{
    for (int64_t at = y->entry ? y->entry->position : -1; at >= s->first; at--) {
        const gr_node *node = &s->ctx->tape[at]->node;
        if (wants_any(node) && node->out->sweep == s->id && node->out->sum &&
            !run_rule(s, node, record))
            return false;
    }
    return true;
}

/* ---- Sweeps ---------------------------------------------------------------------------------- */

static bool collect(const sweep *s, gr_tensor **gradients)
{
    for (int64_t i = 0; i < s->inputs.count; i++) {
        gr_tensor *sum = s->inputs.at[i]->sum;
        gradients[i] = sum ? sum : gr_zeros_like(s->inputs.at[i]);
        if (gr_failed(gradients[i]))
            return false;
    }
    return true;
}

gr_status gr_sweep(gr_tensor *y, gr_tensors inputs, gr_tensor *seed, bool record, int64_t since,
                   gr_tensor **gradients)
{
    sweep s = {.ctx = y->ctx};
    for (int64_t i = 0; i < inputs.count; i++)
        gradients[i] = &s.ctx->failed;
    if (!sweep_begin(&s, inputs, since))
        return GR_ERROR_MEMORY;
    s.ctx->no_grad += record ? 0 : 1;
    const struct mark own = {y->sweep, y->sum};
    const bool is_input = own.sweep == s.id;
    if (y->entry)
        mark_entries(&s, y->entry->position);
    bool done = true;
    if (y->sweep == s.id) {
        gr_tensor *first = seed ? seed : gr_ones_like(y);
        y->sum = first;
        done = !gr_failed(first) && walk_back(&s, y, record);
    }
    done = done && collect(&s, gradients);
    if (!is_input) {
        y->sweep = own.sweep;
        y->sum = own.sum;
    }
    s.ctx->no_grad -= record ? 0 : 1;
    sweep_end(&s);
    for (int64_t i = 0; !done && i < inputs.count; i++)
        gradients[i] = &s.ctx->failed;
    return done ? GR_OK : s.ctx->error;
}

/* A tensor that stands for two operands gets its whole gradient through the first of them. */
static bool is_first_of(const gr_node *node, int i)
{
    for (int j = 0; j < i; j++)
        if (node->wanted[j] && node->in[j] == node->in[i])
            return false;
    return node->wanted[i];
}

void gr_vjp_by_composition(const gr_node *node, gr_tensor *g, gr_tensor **dx,
                           gr_tensor *(*compose)(const gr_node *node))
{
    gr_context *ctx = g->ctx;
    gr_tensor *inputs[GR_MAX_ARITY], *gradients[GR_MAX_ARITY];
    int64_t count = 0;
    for (int i = 0; i < node->count; i++)
        if (is_first_of(node, i))
            inputs[count++] = node->in[i];
    /* The composition is recorded even where the sweep around it is not. */
    const int depth = ctx->no_grad;
    const int64_t since = ctx->tape_length;
    ctx->no_grad = 0;
    gr_tensor *out = compose(node);
    ctx->no_grad = depth;
    const bool failed = gr_failed(out);
    if (!failed)
        gr_sweep(out, (gr_tensors){count, inputs}, g, depth == 0, since, gradients);
    if (depth != 0)
        ctx->tape_length = since; /* nobody will differentiate it again */
    for (int i = 0, at = 0; i < node->count; i++)
        if (is_first_of(node, i))
            dx[i] = failed ? &ctx->failed : gradients[at++];
}

/* ---- Public ---------------------------------------------------------------------------------- */

static gr_status check_output(const char *op, gr_tensor *y, bool scalar)
{
    gr_tensor *failed;
    /* Where the error was cleared, what failed still has failed. */
    if (!gr_usable(op, y, 0, &failed))
        return failed->ctx->error
                   ? failed->ctx->error
                   : gr_fail(failed->ctx, GR_ERROR_GRADIENT, op, "the output failed");
    if (y->ctx->rules_running) /* its marks would be those of the sweep that called the rule */
        return gr_fail(y->ctx, GR_ERROR_GRADIENT, op, "called by an op's gradient rule");
    if (!gr_dtype_is_float(y->dtype))
        return gr_fail(y->ctx, GR_ERROR_DTYPE, op, "%s %s is no float", gr_dtype_name(y->dtype),
                       gr_shape_text(y).text);
    if (scalar && gr_numel(y) != 1)
        return gr_fail(y->ctx, GR_ERROR_GRADIENT, op, "shape %s has not one element",
                       gr_shape_text(y).text);
    return GR_OK;
}

static gr_status check_inputs(const char *op, gr_tensor *y, gr_tensors inputs)
{
    for (int64_t i = 0; i < inputs.count; i++) {
        gr_tensor *x = inputs.at[i], *failed;
        if (!x)
            return gr_fail(y->ctx, GR_ERROR_NULL, op, "input %lld is NULL", (long long)i);
        if (!gr_usable(op, x, (int)i + 1, &failed))
            return gr_fail(y->ctx, GR_ERROR_SCOPE, op, "input %lld cannot be used", (long long)i);
        if (x->ctx != y->ctx)
            return gr_fail(y->ctx, GR_ERROR_CONTEXT, op, "input %lld belongs to another context",
                           (long long)i);
        if (!x->requires_grad)
            return gr_fail(
                y->ctx, GR_ERROR_GRADIENT, op,
                "input %lld, %s, gets no gradient (gr_parameter or gr_variable makes it)",
                (long long)i, gr_shape_text(x).text);
    }
    return GR_OK;
}

gr_status gr_grad_with(gr_tensor *y, gr_tensors inputs, gr_tensor **gradients,
                       const gr_grad_args *args)
{
    static const gr_grad_args defaults;
    args = args ? args : &defaults;
    gr_context *ctx = gr_context_of(y);
    for (int64_t i = 0; gradients && i < inputs.count; i++)
        gradients[i] = &ctx->failed;
    gr_hold_handler(ctx);
    gr_status status = check_output("grad", y, false);
    if (status == GR_OK && inputs.count > 0 && (!inputs.at || !gradients))
        status = gr_fail(ctx, GR_ERROR_NULL, "grad", "a list is NULL");
    if (status == GR_OK)
        status = check_inputs("grad", y, inputs);
    if (status == GR_OK && args->seed) {
        const gr_dims shape = gr_shape_of(y), own = gr_shape_of(args->seed);
        if (gr_failed(args->seed) || !gr_same_dims(&shape, &own) || args->seed->dtype != y->dtype)
            status = gr_fail(ctx, GR_ERROR_SHAPE, "grad", "seed %s %s, output %s %s",
                             gr_dtype_name(gr_dtype_of(args->seed)), gr_dims_text(&own).text,
                             gr_dtype_name(y->dtype), gr_dims_text(&shape).text);
    }
    if (status == GR_OK)
        status = gr_sweep(y, inputs, args->seed, args->record, 0, gradients);
    gr_free_handler(ctx);
    if (status != GR_OK)
        gr_finish(ctx);
    return status;
}

gr_tensor *gr_grad(gr_tensor *y, gr_tensor *x)
{
    gr_context *ctx = gr_context_of(y);
    gr_tensor *gradient = &ctx->failed;
    const gr_tensors inputs = {1, &x};
    gr_hold_handler(ctx);
    if (check_output("grad", y, true) == GR_OK && check_inputs("grad", y, inputs) == GR_OK)
        (void)!gr_sweep(y, inputs, NULL, true, 0, &gradient);
    gr_free_handler(ctx);
    return gradient;
}

/* ---- backward -------------------------------------------------------------------------------- */

/* The context's parameters as a list in the scope. */
static bool list_parameters(gr_context *ctx, gr_tensors *list)
{
    int64_t count = 0;
    for (gr_parameter_state *p = ctx->parameters; p; p = p->next)
        count++;
    gr_tensor **at = gr_scope_allocate(ctx->scope, (count + 1) * (int64_t)sizeof *at);
    if (!at)
        return false;
    *list = (gr_tensors){count, at};
    for (gr_parameter_state *p = ctx->parameters; p; p = p->next)
        *at++ = p->tensor;
    return true;
}

/* gradient += sum; nothing here can fail. */
static void commit(gr_parameter_state *parameter, const gr_tensor *sum)
{
    gr_tensor *gradient = parameter->gradient;
    const int ktype = gr_ktype(gradient->dtype);
    const gr_kernel_id kernel = parameter->has_gradient ? GR_KERNEL_ADD : GR_KERNEL_COPY;
    const gr_map map = {
        .ctx = gradient->ctx,
        .ktype = ktype,
        .shape = gr_shape_of(gradient),
        .inputs = parameter->has_gradient ? 2 : 1,
        .outputs = 1,
        .in = {sum, gradient},
        .out = {gradient},
        .kernel = gradient->ctx->kernels->map[kernel][ktype],
    };
    gr_map_run(&map);
    parameter->has_gradient = true;
}

/* The sweep of backward, in a scope of its own. Parameters that loss does not reach get nothing. */
static gr_status backward_in_scope(gr_tensor *loss)
{
    gr_context *ctx = loss->ctx;
    gr_tensors parameters;
    sweep s = {.ctx = ctx};
    gr_tensor *one = gr_ones_like(loss);
    if (gr_failed(one) || !list_parameters(ctx, &parameters) || !sweep_begin(&s, parameters, 0))
        return GR_ERROR_MEMORY;
    bool reached = loss->sweep == s.id;
    if (loss->entry) {
        mark_entries(&s, loss->entry->position);
        reached = loss->sweep == s.id;
    }
    gr_status status = GR_OK;
    if (!reached)
        status = gr_fail(ctx, GR_ERROR_GRADIENT, "backward", "loss depends on no parameter%s",
                         ctx->no_grad > 1 ? " (recording is off: gr_no_grad_begin)" : "");
    loss->sum = reached ? one : NULL;
    if (reached && !walk_back(&s, loss, false))
        status = ctx->error;
    for (int64_t i = 0; status == GR_OK && i < parameters.count; i++)
        if (parameters.at[i]->sum)
            commit(parameters.at[i]->parameter, parameters.at[i]->sum);
    sweep_end(&s);
    return status;
}

gr_status gr_backward(gr_tensor *loss) { return gr_backward_here(loss, NULL, 0); }

gr_status gr_backward_here(gr_tensor *loss, const char *file, int line)
{
    gr_context *ctx = gr_context_of(loss);
    gr_hold_handler(ctx);
    gr_status status = check_output("backward", loss, true);
    if (status == GR_OK && ctx->error == GR_OK) {
        if (gr_scope_begin(ctx) == GR_OK) {
            ctx->no_grad++;
            ctx->doing = "backward";
            (void)!backward_in_scope(loss);
            ctx->no_grad--;
        }
        status = gr_scope_end(ctx);
    }
    gr_free_handler(ctx);
    if (status != GR_OK && file)
        gr_place_error(ctx, file, line);
    return gr_finish(ctx);
}
