/* sweep.c - gradients: a sweep walks from a result back over its ancestors.
 *
 *   1. collect: finds the entries that the result depends on, youngest first. A frontier (a
 *      pairing heap) gives the youngest entry that is still to be visited. Serial numbers are the
 *      order, so there is no sort and no recursion.
 *   2. mark: walks from the oldest entry, and marks operands that depend on a requested input.
 *   3. walk back: walks from the youngest entry, and calls the rule of each marked entry. The
 *      engine converts each new gradient to the operand's shape and dtype, and adds it to the
 *      operand's sum.
 *
 * If the sweep is not recorded, each rule runs in an internal scope. The temporaries of the rule
 * are freed with this scope, and its gradients move to the scope of the sweep. An upstream gradient
 * is freed after its rule. If the sweep is recorded, the ops of the rule are entries of the user's
 * scope, and nothing is freed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"
#include "core/engine/sweep.h"
#include <string.h>

/* ---- The frontier ---------------------------------------------------------------------------- */

/* Joins two heaps. The younger root gets the older root as a child. */
static gr_entry *meld(gr_entry *a, gr_entry *b)
{
    if (!a || !b)
        return a ? a : b;
    gr_entry *top = a->serial > b->serial ? a : b, *under = top == a ? b : a;
    under->sibling = top->child;
    top->child = under;
    return top;
}

/* Returns the heap without its root. It joins the children in pairs, and then joins the pairs. */
static gr_entry *without_root(gr_entry *root)
{
    gr_entry *pairs = NULL, *rest = NULL;
    for (gr_entry *a = root->child, *b, *next; a; a = next) {
        b = a->sibling;
        next = b ? b->sibling : NULL;
        a->sibling = NULL;
        if (b)
            b->sibling = NULL;
        gr_entry *pair = meld(a, b);
        pair->sibling = pairs;
        pairs = pair;
    }
    for (gr_entry *next; pairs; pairs = next) {
        next = pairs->sibling;
        pairs->sibling = NULL;
        rest = meld(rest, pairs);
    }
    return rest;
}

static gr_entry *meet(const gr_sweep_state *s, gr_entry *frontier, const gr_tensor *x)
{
    gr_entry *entry = gr_history_of(x)->entry;
    if (!entry || entry->serial < s->since || entry->sweep == s->id)
        return frontier;
    entry->sweep = s->id;
    entry->child = entry->sibling = NULL;
    return meld(frontier, entry);
}

static bool is_live(const gr_tensor *x) { return x && gr_state(x) == GR_LIVE; }

/* ---- Collect and mark ------------------------------------------------------------------------ */

static void collect(gr_sweep_state *s, const gr_tensor *y)
{
    gr_entry *frontier = meet(s, NULL, y);
    while (frontier) {
        gr_entry *entry = frontier;
        frontier = without_root(entry);
        entry->younger = s->oldest;
        entry->older = NULL;
        *(s->oldest ? &s->oldest->older : &s->youngest) = entry;
        s->oldest = entry;
        s->ctx->program.visited++;
        for (int i = 0; i < entry->node.count; i++)
            if (is_live(entry->in[i]))
                frontier = meet(s, frontier, entry->in[i]);
    }
}

/* Marks that x gets a gradient in this sweep. */
static void mark(const gr_sweep_state *s, gr_tensor *x)
{
    gr_history *history = gr_history_of(x);
    if (history->sweep == s->id)
        return;
    history->sweep = s->id;
    history->sum = NULL;
}

/* True if x gets a gradient: it is an input, or a result that depends on an input. */
static bool depends(gr_sweep_state *s, gr_tensor *x)
{
    if (!is_live(x))
        return false;
    if (gr_history_of(x)->sweep == s->id)
        return true;
    if (!s->all_parameters || !gr_is_parameter(x))
        return false;
    mark(s, x);
    gr_meet_parameter(x, &s->parameters);
    return true;
}

static void mark_entries(gr_sweep_state *s)
{
    for (gr_entry *entry = s->oldest; entry; entry = entry->younger) {
        bool any = false;
        for (int i = 0; i < entry->node.count; i++) {
            entry->wanted[i] = depends(s, entry->in[i]);
            any = any || entry->wanted[i];
        }
        for (int k = 0; any && k < entry->visible; k++)
            mark(s, entry->out[k]);
    }
}

void gr_sweep_inputs(gr_sweep_state *s, gr_tensors inputs)
{
    int64_t oldest = s->ctx->program.serial;
    for (int64_t i = 0; i < inputs.count; i++) {
        gr_history *history = gr_history_of(inputs.at[i]);
        mark(s, inputs.at[i]);
        history->asked = s->id;
        oldest = history->born < oldest ? history->born : oldest;
    }
    s->since = s->since > oldest ? s->since : oldest;
}

bool gr_sweep_reaches(gr_sweep_state *s, gr_tensor *y)
{
    collect(s, y);
    mark_entries(s);
    return depends(s, y);
}

/* ---- Stale values ---------------------------------------------------------------------------- */

static unsigned reads_of(const gr_entry *entry)
{
    const unsigned everything = ~GR_READS_NOTHING;
    unsigned reads = 0;
    for (int i = 0; i < entry->node.count; i++) {
        const unsigned own = entry->node.op->reads[i < 4 ? i : 3];
        reads |= !entry->wanted[i] ? 0 : own ? own : everything;
    }
    return reads;
}

/* If x was written since the entry was kept, raises an error and returns false. */
static bool is_fresh(const gr_entry *entry, const char *what, int which, const gr_tensor *x,
                     int64_t version)
{
    gr_context *ctx = entry->node.ctx;
    const char *op = entry->node.op->name;
    if (!is_live(x)) {
        gr_fail(ctx, GR_ERROR_GRADIENT, op, "the gradient reads %s %d, which was freed", what,
                which);
        return false;
    }
    const gr_buffer *buffer = gr_buffer_of(x);
    if (buffer->version == version)
        return true;
    char place[160] = "";
    if (buffer->file)
        snprintf(place, sizeof place, " at %s:%d", buffer->file, buffer->line);
    gr_fail(ctx, GR_ERROR_GRADIENT, op,
            "the gradient reads %s %d, shape %s, which %s wrote%s after it was recorded", what,
            which, gr_shape_text(x).text, buffer->writer ? buffer->writer : "a call", place);
    return false;
}

static bool all_fresh(const gr_entry *entry)
{
    const unsigned reads = reads_of(entry);
    const int count = entry->node.count;
    for (int i = 0; i < count; i++)
        if (entry->in[i] && (i < 16 ? reads & GR_READS_IN(i) : (reads & 0xffff) == 0xffff) &&
            !is_fresh(entry, "operand", i, entry->in[i], entry->versions[i]))
            return false;
    for (int k = 0; k < entry->visible; k++)
        if ((k < 8 ? reads & GR_READS_OUT(k) : (reads >> 16 & 0xff) == 0xff) &&
            !is_fresh(entry, "result", k, entry->out[k], entry->versions[count + k]))
            return false;
    return true;
}

/* ---- Sums of gradients ----------------------------------------------------------------------- */

static bool raise_bad_gradient(const gr_sweep_state *s, const char *op, const gr_tensor *gradient)
{
    if (!is_live(gradient))
        gr_fail(s->ctx, GR_ERROR_GRADIENT, op, "its gradient rule gave a tensor that failed");
    else
        gr_fail(s->ctx, GR_ERROR_CONTEXT, op, "its gradient rule gave another context's tensor");
    return false;
}

/* Returns the dtype of the sum of x's gradients. */
static gr_dtype sum_dtype(const gr_sweep_state *s, const gr_tensor *x)
{
    return s->all_parameters && gr_is_parameter(x) ? gr_parameter_gradient_dtype(x) : gr_type(x);
}

/* Converts a gradient to the dtype of the sum and to its operand's shape. */
static gr_tensor *fit(const gr_sweep_state *s, gr_tensor *gradient, const gr_tensor *x)
{
    if (gr_type(gradient) != sum_dtype(s, x))
        gradient = gr_linear_convert(gradient, sum_dtype(s, x));
    if (!is_live(gradient) || gr_same_shape(gradient, x))
        return gradient;
    const gr_dims shape = gr_shape_of(x);
    return gr_linear_sum_to(gradient, &shape);
}

/* Returns a tensor in the sweep's scope with the gradient's elements. This is the gradient itself
   if the rule has made it. */
static gr_tensor *adopt(const gr_sweep_state *s, gr_tensor *gradient)
{
    if (gr_scope_of(gradient) == s->ctx->scope && s->ctx->scope != s->scope) {
        gr_tensor_move(gradient, s->scope);
        return gradient;
    }
    return gr_view_in(s->scope, gradient);
}

/* Returns sum + gradient. It reuses the buffer of one of them if nobody else holds that buffer.
   NULL on an error. */
static gr_tensor *add_up(const gr_sweep_state *s, gr_tensor *sum, gr_tensor *gradient)
{
    if (gr_owns_buffer(sum))
        return gr_linear_accumulate(sum, gradient) == GR_OK ? sum : NULL;
    gr_tensor *both = gr_linear_add(sum, gradient);
    if (gr_failed(both))
        return NULL;
    gr_tensor_free(sum);
    return adopt(s, both);
}

static bool add_gradient(const gr_sweep_state *s, const char *op, gr_tensor *x, gr_tensor *gradient)
{
    gr_history *history = gr_history_of(x);
    if (!is_live(gradient) || gr_ctx(gradient) != s->ctx)
        return raise_bad_gradient(s, op, gradient);
    gradient = fit(s, gradient, x);
    if (!is_live(gradient))
        return raise_bad_gradient(s, op, gradient);
    if (s->record)
        gradient = history->sum ? gr_linear_add(history->sum, gradient) : gradient;
    else
        gradient = history->sum ? add_up(s, history->sum, gradient) : adopt(s, gradient);
    if (!is_live(gradient))
        return false;
    history->sum = gradient;
    return true;
}

/* Makes zeros of x's shape that the sweep owns. */
static gr_tensor *zeros_for(const gr_sweep_state *s, const gr_tensor *x)
{
    const gr_dims shape = gr_shape_of(x);
    gr_tensor *zeros = gr_filled(s->ctx, sum_dtype(s, x), &shape, 0);
    if (gr_failed(zeros) || s->record)
        return zeros;
    return adopt(s, zeros);
}

/* Returns x's sum in a buffer that nobody else holds, so that it can be added to in place. */
static gr_tensor *own_sum(const gr_sweep_state *s, gr_tensor *x)
{
    gr_history *history = gr_history_of(x);
    if (history->sum && gr_owns_buffer(history->sum))
        return history->sum;
    gr_tensor *own = history->sum ? gr_linear_copy(history->sum) : zeros_for(s, x);
    if (!own || gr_failed(own))
        return NULL;
    if (history->sum) {
        gr_tensor_free(history->sum);
        own = adopt(s, own);
    }
    history->sum = own;
    return own;
}

/* ---- The way back ---------------------------------------------------------------------------- */

/* Collects the upstream gradients of the results. If an op has several results, a result without a
   gradient gets zeros. */
static bool gather_upstream(const gr_sweep_state *s, gr_entry *entry)
{
    for (int k = 0; k < entry->visible; k++) {
        gr_history *history = gr_history_of(entry->out[k]);
        if (!history->sum)
            history->sum = zeros_for(s, entry->out[k]);
        entry->g[k] = history->sum;
        if (!is_live(entry->g[k]))
            return false;
    }
    return true;
}

/* The state of the context before a call of a rule. enter_rule and leave_rule surround the call,
   and end the scopes and no_grad brackets that the rule leaves open. */
typedef struct rule_call {
    gr_floor floor;
    int no_grad;
} rule_call;

static rule_call enter_rule(gr_context *ctx)
{
    const rule_call call = {gr_floor_enter(ctx), ctx->program.no_grad};
    ctx->program.rules_running++;
    return call;
}

/* If the rule left a scope open, raises an error and returns false. */
static bool leave_rule(gr_context *ctx, const gr_op *op, rule_call call)
{
    ctx->program.rules_running--;
    ctx->program.no_grad = call.no_grad;
    if (gr_floor_leave(ctx, call.floor))
        return true;
    gr_fail(ctx, GR_ERROR_SCOPE, op->name, "its gradient rule leaves a scope open");
    return false;
}

static gr_status add_to(const gr_sweep_state *s, gr_entry *entry, int i, gr_tensor *into)
{
    const gr_op *op = entry->node.op;
    const rule_call call = enter_rule(s->ctx);
    const gr_status status = op->add_vjp(&entry->node, entry->g[0], i, into);
    return leave_rule(s->ctx, op, call) ? status : GR_ERROR_SCOPE;
}

static bool call_add_rule(const gr_sweep_state *s, gr_entry *entry)
{
    const gr_op *op = entry->node.op;
    for (int i = 0; i < entry->node.count; i++) {
        if (!entry->wanted[i])
            continue;
        gr_tensor *into = own_sum(s, entry->in[i]);
        const gr_status status = into ? add_to(s, entry, i, into) : GR_ERROR_MEMORY;
        if (status != GR_OK) {
            gr_fail(s->ctx, status, op->name, "its gradient rule failed");
            return false;
        }
    }
    return s->ctx->error == GR_OK;
}

/* True if the rule returned the same tensor for operand i and for a later one. */
static bool comes_again(const gr_entry *entry, gr_tensor *const *dx, int i)
{
    for (int k = i + 1; k < entry->node.count; k++)
        if (dx[k] == dx[i] && entry->wanted[k])
            return true;
    return false;
}

/* Gives x the upstream gradient itself. Returns false if x needs another tensor, or another one
   needs this tensor. */
static bool pass_on(const gr_sweep_state *s, const gr_entry *entry, gr_tensor *x,
                    gr_tensor *gradient)
{
    gr_history *from = gr_history_of(entry->out[0]), *to = gr_history_of(x);
    if (gradient != from->sum || from->asked == s->id || to->sum ||
        gr_type(gradient) != sum_dtype(s, x) || !gr_same_shape(gradient, x))
        return false;
    to->sum = gradient;
    from->sum = NULL;
    return true;
}

/* A tensor that a later operand gets, too, is not moved. So nothing is added to it in place. */
static bool add_gradients(const gr_sweep_state *s, gr_entry *entry, gr_tensor **dx)
{
    for (int i = 0; i < entry->node.count; i++) {
        if (!entry->wanted[i] || !dx[i])
            continue;
        gr_tensor *gradient = dx[i];
        if (!s->record && is_live(gradient) && comes_again(entry, dx, i))
            gradient = gr_view_in(s->ctx->scope, gradient);
        else if (pass_on(s, entry, entry->in[i], gradient))
            continue;
        if (!gradient || !add_gradient(s, entry->node.op->name, entry->in[i], gradient))
            return false;
    }
    return true;
}

static bool call_rule(const gr_sweep_state *s, gr_entry *entry)
{
    const gr_op *op = entry->node.op;
    gr_context *ctx = s->ctx;
    if (!s->record && op->add_vjp)
        return call_add_rule(s, entry);
    const bool fused = op->fused_vjp && !s->record;
    if (!fused && !op->vjp) {
        gr_fail(ctx, GR_ERROR_GRADIENT, op->name, "the op has no gradient rule");
        return false;
    }
    gr_tensor **dx = gr_arena_cut(ctx, (entry->node.count + 1) * (int64_t)sizeof *dx);
    if (!dx)
        return false;
    const rule_call call = enter_rule(ctx);
    (fused ? op->fused_vjp : op->vjp)(&entry->node, entry->g[0], dx);
    if (!leave_rule(ctx, op, call))
        return false;
    return add_gradients(s, entry, dx) && ctx->error == GR_OK;
}

/* After the rule an upstream gradient is no longer needed, unless it is a requested one. */
static void free_upstream(const gr_sweep_state *s, gr_entry *entry)
{
    for (int k = 0; k < entry->visible; k++) {
        gr_history *history = gr_history_of(entry->out[k]);
        if (history->asked == s->id)
            continue;
        gr_tensor_free(history->sum);
        history->sum = NULL;
    }
}

static bool run_rule(const gr_sweep_state *s, gr_entry *entry)
{
    if (!all_fresh(entry))
        return false;
    if (s->record)
        return gather_upstream(s, entry) && call_rule(s, entry);
    gr_scope *scope = gr_scope_open(s->ctx);
    const bool done = scope && gather_upstream(s, entry) && call_rule(s, entry);
    gr_scope_close(scope);
    if (done)
        free_upstream(s, entry);
    return done;
}

static bool has_upstream(const gr_sweep_state *s, const gr_entry *entry)
{
    bool any = false;
    for (int k = 0; k < entry->visible; k++) {
        const gr_history *history = gr_history_of(entry->out[k]);
        any = any || (history->sweep == s->id && history->sum);
    }
    return any;
}

static bool wants_any(const gr_entry *entry)
{
    bool any = false;
    for (int i = 0; i < entry->node.count; i++)
        any = any || entry->wanted[i];
    return any;
}

bool gr_sweep_back(gr_sweep_state *s, gr_tensor *y, gr_tensor *seed)
{
    const bool own = s->record || gr_scope_of(seed) == s->scope;
    gr_tensor *first = own ? seed : gr_view_in(s->scope, seed);
    if (!first)
        return false;
    gr_history_of(y)->sum = first;
    bool done = true;
    const gr_float_mode host = gr_float_mode_begin(); /* rules compute numbers, such as 1/n */
    for (gr_entry *entry = s->youngest; entry && done; entry = entry->older)
        if (wants_any(entry) && has_upstream(s, entry))
            done = run_rule(s, entry);
    gr_float_mode_end(host);
    return done;
}

/* ---- Sweeps for a list of inputs ------------------------------------------------------------- */

/* Returns the inputs' gradients as tensors of the scope `outer`. */
static bool hand_out(const gr_sweep_state *s, gr_tensors inputs, gr_scope *outer,
                     gr_tensor **gradients)
{
    for (int64_t i = 0; i < inputs.count; i++) {
        gr_tensor *sum = gr_history_of(inputs.at[i])->sum;
        if (!sum)
            sum = zeros_for(s, inputs.at[i]);
        if (is_live(sum) && !s->record)
            sum = gr_view_in(outer, sum);
        if (!is_live(sum))
            return false;
        gradients[i] = sum;
    }
    return true;
}

gr_status gr_sweep(gr_tensor *y, gr_tensors inputs, gr_tensor *seed, bool record, int64_t since,
                   gr_tensor **gradients)
{
    gr_context *ctx = gr_ctx(y);
    gr_scope *outer = ctx->scope, *own = record ? NULL : gr_scope_open(ctx);
    gr_sweep_state s = {.ctx = ctx,
                        .id = ++ctx->program.sweeps,
                        .since = since,
                        .record = record,
                        .scope = record ? outer : own};
    bool done = record || own;
    if (!record)
        ctx->program.no_grad++;
    if (done) {
        gr_sweep_inputs(&s, inputs);
        if (gr_sweep_reaches(&s, y)) {
            gr_tensor *first = seed ? seed : gr_ones_like(y);
            done = !gr_failed(first) && gr_sweep_back(&s, y, first);
        }
        done = done && hand_out(&s, inputs, outer, gradients);
    }
    if (!record)
        ctx->program.no_grad--;
    gr_scope_close(own);
    for (int64_t i = 0; !done && i < inputs.count; i++)
        gradients[i] = ctx->failed;
    return done ? GR_OK : ctx->error;
}

/* ---- Rules by composition -------------------------------------------------------------------- */

void gr_vjp_by_composition(const gr_node *node, gr_tensor *g, gr_tensor **dx, gr_compose *compose)
{
    gr_context *ctx = node->ctx;
    const int count = node->count, depth = ctx->program.no_grad;
    gr_tensor **lists = gr_arena_cut(ctx, 3 * (int64_t)count * (int64_t)sizeof *lists);
    if (!lists)
        return;
    gr_tensor **in = lists, **inputs = lists + count, **gradients = inputs + count;
    int64_t wanted = 0;
    const int64_t since = ctx->program.serial;
    /* The composition is recorded even if the outer sweep is not. Aliases of the operands keep the
       two sweeps apart. */
    ctx->program.no_grad = 0;
    for (int i = 0; i < count; i++) {
        in[i] = node->wanted[i] ? gr_linear_alias(node->in[i]) : node->in[i];
        if (node->wanted[i])
            inputs[wanted++] = in[i];
    }
    gr_tensor *out = compose(node, in);
    ctx->program.no_grad = depth;
    if (gr_failed(out) ||
        gr_sweep(out, (gr_tensors){wanted, inputs}, g, depth == 0, since, gradients) != GR_OK)
        for (int64_t i = 0; i < wanted; i++)
            gradients[i] = ctx->failed;
    for (int i = 0, at = 0; i < count; i++)
        if (node->wanted[i])
            dx[i] = gradients[at++];
}
