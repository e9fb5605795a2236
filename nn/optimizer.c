/* optimizer.c - optimisers: they hold parameters and their state, and update them.
 *
 * A step applies one row to each parameter that has a gradient (rules.c), and one row that counts
 * the step. Once a step has begun, nothing in it can fail. So a step changes everything or nothing.
 *
 * A step changes the parameters and the state tensors, and nothing else. The order of the state is:
 * the momentum of each parameter, or its m and v (f64 for an f64 parameter, else f32); then, for
 * Adam, the powers b1^t and b2^t of each parameter (f64 [parameters, 2]); then the master of each
 * half parameter (f32); then the number of steps (i64, 0-d). t counts the steps of one parameter:
 * it does not change in a step without a gradient. If gr_write copies the state to a new optimiser,
 * that one continues where this one stopped.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/nn.h"
#include <math.h>
#include <string.h>

struct gr_optimizer {
    gr_context *ctx;  /* NULL: the optimiser has no context */
    gr_status status; /* the error of its creation */
    const gr_rule *rule;
    gr_step_settings settings;
    int64_t count;          /* number of parameters */
    gr_tensor **parameters; /* one block holds all lists */
    gr_tensor **powers;     /* one view for each parameter; NULL if the rule has no powers */
    gr_tensor **masters;    /* of each parameter; NULL if it is no half */
    int64_t state_count;
    gr_tensor **state;
};

/* ---- A step ---------------------------------------------------------------------------------- */

/* Returns the error that stops a call on this optimiser. If the error is older than the call, it
   does not get the call's place. */
static gr_status refuse(const gr_optimizer *o, const char *op, const char *file, int line)
{
    if (!o)
        return GR_ERROR_NULL;
    if (!o->ctx)
        return o->status;
    if (o->ctx->error != GR_OK)
        return gr_finish(o->ctx);
    if (o->status != GR_OK)
        gr_fail(o->ctx, o->status, op, "the optimiser could not be made");
    return gr_finish_at(o->ctx, file, line);
}

static gr_status check_alive(const gr_optimizer *o)
{
    for (int64_t k = 0; k < o->count; k++)
        if (gr_state(o->parameters[k]) != GR_LIVE || !gr_is_parameter(o->parameters[k]))
            return gr_fail(o->ctx, GR_ERROR_SCOPE, "step",
                           "parameter %lld was freed after the optimiser was made", (long long)k);
    return GR_OK;
}

static void step_parameter(const gr_optimizer *o, int64_t k, gr_tensor *gradient, const char *file,
                           int line)
{
    const gr_rule *rule = o->rule;
    gr_tensor *parameter = o->parameters[k], *master = o->masters[k];
    gr_tensor *in[GR_RULE_OPERANDS] = {master ? master : parameter};
    int count = 1;
    if (master)
        gr_apply_in_place(&gr_meet_master_op, 2, (gr_tensor *[]){master, parameter}, NULL, file,
                          line);
    for (int i = 0; i < rule->moments; i++)
        in[count++] = o->state[k * rule->moments + i];
    if (rule->corrected)
        in[count++] = o->powers[k];
    in[count++] = gradient;
    gr_apply_in_place(&rule->op, count, in, &o->settings, file, line);
    if (master)
        gr_apply_in_place(&gr_round_master_op, 2, (gr_tensor *[]){parameter, master}, NULL, file,
                          line);
}

gr_status gr_step(gr_optimizer *optimizer) { return gr_step_here(optimizer, NULL, 0); }

gr_status gr_step_here(gr_optimizer *optimizer, const char *file, int line)
{
    const gr_status status = refuse(optimizer, "step", file, line);
    if (status != GR_OK)
        return status;
    gr_context *ctx = optimizer->ctx;
    if (check_alive(optimizer) != GR_OK)
        return gr_finish_at(ctx, file, line);
    for (int64_t k = 0; k < optimizer->count; k++) {
        gr_tensor *gradient = gr_gradient_or_null(optimizer->parameters[k]);
        if (gradient)
            step_parameter(optimizer, k, gradient, file, line);
    }
    gr_tensor *steps = optimizer->state[optimizer->state_count - 1];
    gr_apply_in_place(&gr_count_step_op, 1, &steps, NULL, file, line);
    gr_zero_grad((gr_tensors){optimizer->count, optimizer->parameters});
    return gr_finish_at(ctx, file, line);
}

/* ---- Making one ------------------------------------------------------------------------------ */

/* Stand-ins for optimisers without a context. They are never written. */
#define STAND_IN(error) [error] = {.status = error, .settings.lr = NAN},
static gr_optimizer stand_ins[] = {GR_FIRST_ERRORS(STAND_IN)};

static gr_status check_parameter(gr_context *ctx, const char *op, gr_tensors parameters, int64_t i)
{
    gr_tensor *x = parameters.at[i], *failed;
    if (!x)
        return gr_fail(ctx, GR_ERROR_NULL, op, "parameter %lld is NULL", (long long)i);
    if (gr_state(x) == GR_FAILED || !gr_usable(op, x, (int)i, &failed)) {
        gr_fail(ctx, GR_ERROR_GRADIENT, op, "parameter %lld could not be made", (long long)i);
        return ctx->error; /* its own error, if the user has not cleared it */
    }
    if (gr_ctx(x) != ctx)
        return gr_fail(ctx, GR_ERROR_CONTEXT, op, "parameter %lld belongs to another context",
                       (long long)i);
    if (!gr_is_parameter(x))
        return gr_fail(ctx, GR_ERROR_GRADIENT, op,
                       "tensor %lld, %s, is no parameter (gr_parameter makes one)", (long long)i,
                       gr_shape_text(x).text);
    for (int64_t k = 0; k < i; k++) {
        if (parameters.at[k] == x)
            return gr_fail(ctx, GR_ERROR_ARGUMENT, op, "parameters %lld and %lld are the same",
                           (long long)k, (long long)i);
    }
    return GR_OK;
}

static gr_status check_parameters(gr_context *ctx, const char *op, gr_tensors parameters)
{
    if (parameters.count < 1)
        return gr_fail(ctx, GR_ERROR_ARGUMENT, op, "there is no parameter");
    if (!parameters.at)
        return gr_fail(ctx, GR_ERROR_NULL, op, "parameters.at is NULL");
    for (int64_t i = 0; i < parameters.count; i++) {
        const gr_status status = check_parameter(ctx, op, parameters, i);
        if (status != GR_OK)
            return status;
    }
    return GR_OK;
}

/* Sets *value to the option. Raises an error unless 0 <= value < high. */
static gr_status option(gr_context *ctx, const char *op, const char *name, double given,
                        double high, double *value)
{
    *value = given;
    if (given >= 0 && given < high)
        return GR_OK;
    return gr_fail(ctx, GR_ERROR_ARGUMENT, op, "%s is %g, not in [0, %g)", name, given, high);
}

static gr_tensor *zeros_in_root(gr_context *ctx, const char *op, gr_dtype dtype, gr_dims shape)
{
    gr_tensor *x = gr_tensor_in(ctx->root, op, dtype, &shape);
    if (x)
        memset(gr_bytes(x), 0, (size_t)(gr_count(x) * gr_dtype_size(dtype)));
    return x;
}

/* Makes the powers of each parameter, which are 1 before its first step, and the views of them.
   False after MEMORY. */
static bool make_powers(gr_optimizer *o, const char *op, gr_tensor **state)
{
    const gr_dims both = {.count = 1, .at = {2}}, stride = {.count = 1, .at = {1}};
    gr_tensor *all = *state =
        zeros_in_root(o->ctx, op, GR_F64, (gr_dims){.count = 2, .at = {o->count, 2}});
    bool made = all != NULL;
    for (int64_t i = 0; made && i < 2 * o->count; i++)
        ((double *)(void *)gr_bytes(all))[i] = 1;
    for (int64_t k = 0; made && k < o->count; k++) {
        o->powers[k] = gr_restrided(o->ctx->root, all, &both, &stride, 2 * k);
        made = o->powers[k] != NULL;
    }
    return made;
}

static bool is_half(const gr_tensor *x) { return gr_dtype_size(gr_type(x)) == 2; }

/* Makes the list of the state tensors. False after MEMORY. */
static bool make_state(gr_optimizer *o, const char *op)
{
    gr_tensor **state = o->state;
    for (int64_t k = 0; k < o->count; k++) {
        const gr_tensor *x = o->parameters[k];
        const gr_dtype dtype = gr_type(x) == GR_F64 ? GR_F64 : GR_F32;
        for (int i = 0; i < o->rule->moments; i++) {
            if (!(*state++ = zeros_in_root(o->ctx, op, dtype, gr_shape_of(x))))
                return false;
        }
    }
    if (o->rule->corrected && !make_powers(o, op, state++))
        return false;
    for (int64_t k = 0; k < o->count; k++)
        if (is_half(o->parameters[k])) {
            o->masters[k] = *state =
                zeros_in_root(o->ctx, op, GR_F32, gr_shape_of(o->parameters[k]));
            if (!*state++)
                return false;
        }
    return (*state = zeros_in_root(o->ctx, op, GR_I64, (gr_dims){0})) != NULL;
}

/* Copies the list of parameters and makes the state. */
static gr_status fill(gr_optimizer *o, const char *op, gr_tensors parameters)
{
    const int64_t size = (int64_t)sizeof(gr_tensor *), count = parameters.count;
    int64_t states = count * o->rule->moments + o->rule->corrected + 1;
    for (int64_t k = 0; k < count; k++)
        states += is_half(parameters.at[k]);
    o->parameters = gr_block_new(o->ctx, (3 * count + states) * size);
    if (!o->parameters)
        return GR_ERROR_MEMORY;
    memcpy(o->parameters, parameters.at, (size_t)(count * size));
    o->powers = o->parameters + count;
    o->masters = o->powers + count;
    o->state = o->masters + count;
    o->count = count;
    o->state_count = states;
    return make_state(o, op) ? GR_OK : GR_ERROR_MEMORY;
}

/* Releases everything that the optimiser holds, but not the optimiser itself. */
static void release(gr_optimizer *o)
{
    for (int64_t k = 0; k < o->count; k++)
        gr_tensor_free(o->powers[k]);
    for (int64_t i = 0; i < o->state_count; i++)
        gr_tensor_free(o->state[i]);
    gr_block_free(o->ctx, o->parameters);
}

/* Makes an optimiser with state from `checked`, which holds checked options or an error status. */
static gr_optimizer *new_optimizer(const gr_optimizer *checked, const char *op,
                                   gr_tensors parameters)
{
    gr_context *ctx = checked->ctx;
    ctx->doing = op;
    gr_optimizer *o = gr_block_new(ctx, (int64_t)sizeof *o);
    if (!o) {
        /* The result has no link to the context, so the macro cannot add a place to the error. */
        gr_finish(ctx);
        return &stand_ins[GR_ERROR_MEMORY];
    }
    *o = *checked;
    if (o->status == GR_OK)
        o->status = check_parameters(ctx, op, parameters);
    if (o->status == GR_OK)
        o->status = fill(o, op, parameters);
    if (o->status != GR_OK) {
        release(o);
        *o = (gr_optimizer){.ctx = ctx, .status = o->status, .settings.lr = NAN};
    }
    return o;
}

/* True if the call can continue. If not, *instead is the optimiser to return. */
static bool can_make(gr_context *ctx, const char *op, const void *args, gr_optimizer **instead)
{
    gr_tensor *failed;
    *instead = NULL;
    if (!gr_context_usable(ctx, &failed))
        *instead = &stand_ins[gr_ctx(failed)->error];
    else if (!args)
        *instead = new_optimizer(
            &(gr_optimizer){.ctx = ctx, .status = gr_fail(ctx, GR_ERROR_NULL, op, "args is NULL")},
            op, (gr_tensors){0});
    return *instead == NULL;
}

gr_sgd_args gr_sgd_defaults(void) { return (gr_sgd_args){GR_SGD_DEFAULTS}; }
gr_adam_args gr_adam_defaults(void) { return (gr_adam_args){GR_ADAM_DEFAULTS}; }
gr_adam_args gr_adamw_defaults(void) { return (gr_adam_args){GR_ADAMW_DEFAULTS}; }

static gr_status set_sgd(gr_context *ctx, const gr_sgd_args *args, gr_step_settings *s)
{
    s->nesterov = args->nesterov;
    if (!gr_check_defaults(ctx, "sgd", args->from_defaults, "sgd"))
        return GR_ERROR_ARGUMENT;
    gr_status status = option(ctx, "sgd", "lr", args->lr, INFINITY, &s->lr);
    if (status == GR_OK)
        status = option(ctx, "sgd", "momentum", args->momentum, 1, &s->momentum);
    if (status == GR_OK)
        status = option(ctx, "sgd", "weight_decay", args->weight_decay, INFINITY, &s->weight_decay);
    if (status == GR_OK && args->nesterov && args->momentum == 0)
        status = gr_fail(ctx, GR_ERROR_ARGUMENT, "sgd", "nesterov needs a momentum above 0");
    return status;
}

gr_optimizer *gr_sgd_with(gr_context *ctx, const gr_sgd_args *args)
{
    gr_optimizer o = {.ctx = ctx}, *instead;
    if (!can_make(ctx, "sgd", args, &instead))
        return instead;
    o.rule = args->momentum == 0 ? &gr_sgd_rule : &gr_momentum_rule;
    o.status = set_sgd(ctx, args, &o.settings);
    return new_optimizer(&o, "sgd", args->parameters);
}

static gr_status set_adam(gr_context *ctx, const char *op, const gr_adam_args *args,
                          gr_step_settings *s)
{
    if (!gr_check_defaults(ctx, op, args->from_defaults, op))
        return GR_ERROR_ARGUMENT;
    gr_status status = option(ctx, op, "lr", args->lr, INFINITY, &s->lr);
    if (status == GR_OK)
        status = option(ctx, op, "beta1", args->beta1, 1, &s->beta1);
    if (status == GR_OK)
        status = option(ctx, op, "beta2", args->beta2, 1, &s->beta2);
    if (status == GR_OK)
        status = option(ctx, op, "epsilon", args->epsilon, INFINITY, &s->epsilon);
    if (status == GR_OK)
        status = option(ctx, op, "weight_decay", args->weight_decay, INFINITY, &s->weight_decay);
    return status;
}

static gr_optimizer *new_adam(gr_context *ctx, const gr_rule *rule, const gr_adam_args *args)
{
    gr_optimizer o = {.ctx = ctx, .rule = rule}, *instead;
    const char *op = rule->op.name;
    if (!can_make(ctx, op, args, &instead))
        return instead;
    o.status = set_adam(ctx, op, args, &o.settings);
    return new_optimizer(&o, op, args->parameters);
}

gr_optimizer *gr_adam_with(gr_context *ctx, const gr_adam_args *args)
{
    return new_adam(ctx, &gr_adam_rule, args);
}

gr_optimizer *gr_adamw_with(gr_context *ctx, const gr_adam_args *args)
{
    return new_adam(ctx, &gr_adamw_rule, args);
}

gr_optimizer *gr_optimizer_here(gr_optimizer *optimizer, const char *file, int line)
{
    if (!optimizer)
        return &stand_ins[GR_ERROR_NULL];
    if (optimizer->ctx && optimizer->status != GR_OK)
        gr_finish_at(optimizer->ctx, file, line);
    return optimizer;
}

void gr_optimizer_free(gr_optimizer *optimizer)
{
    if (!optimizer || !optimizer->ctx)
        return;
    release(optimizer);
    gr_block_free(optimizer->ctx, optimizer);
}

/* ---- Looking at one -------------------------------------------------------------------------- */

double gr_learning_rate(const gr_optimizer *optimizer)
{
    return optimizer ? optimizer->settings.lr : NAN;
}

gr_status gr_set_learning_rate(gr_optimizer *optimizer, double lr)
{
    return gr_set_learning_rate_here(optimizer, lr, NULL, 0);
}

gr_status gr_set_learning_rate_here(gr_optimizer *optimizer, double lr, const char *file, int line)
{
    const gr_status status = refuse(optimizer, "set_learning_rate", file, line);
    if (status != GR_OK)
        return status;
    double checked;
    if (option(optimizer->ctx, "set_learning_rate", "lr", lr, INFINITY, &checked) != GR_OK)
        return gr_finish_at(optimizer->ctx, file, line);
    optimizer->settings.lr = checked;
    return GR_OK;
}

gr_tensors gr_optimizer_state(const gr_optimizer *optimizer)
{
    if (!optimizer || !optimizer->state)
        return (gr_tensors){0, NULL};
    return (gr_tensors){optimizer->state_count, optimizer->state};
}

int64_t gr_optimizer_steps(const gr_optimizer *optimizer)
{
    if (!optimizer || !optimizer->state)
        return 0;
    return *(const int64_t *)(const void *)gr_bytes(optimizer->state[optimizer->state_count - 1]);
}
