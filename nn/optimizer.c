/* optimizer.c - gradient descent: SGD, Adam, AdamW.
 *
 * A step reads parameters, gradients and state as doubles, 256 elements at a time, computes the
 * rule in double, and rounds once to what each is stored as. The rules are elementwise, made of + -
 * * / and sqrt, which IEEE 754 fixes to the bit: so the bits of a step depend neither on threads
 * nor on compilers nor on vectors.
 *
 * Everything that a step changes besides the parameters is in the state tensors, in this order:
 * for each parameter its momentum, or its m and v (f64 for an f64 parameter, else f32); then, for
 * Adam, the powers b1^t and b2^t of each parameter (f64 [parameters, 2]; t counts its own steps:
 * one that got no gradient does not age); then the number of steps (i64, 0-d). Written into the
 * state of a new optimiser by gr_write, they make it go on where this one stood.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"
#include <math.h>
#include <string.h>

enum { PIECE = 256 }; /* elements held as doubles on the stack */

typedef struct piece piece;

/* The elements of one parameter, as the rules see them. */
struct piece {
    int64_t count;
    double theta[PIECE], gradient[PIECE];
    double moment[2][PIECE]; /* momentum, or m and v */
};

typedef struct rule {
    const char *name;
    int moments;    /* tensors of state a parameter */
    bool corrected; /* needs the powers of the betas */
    void (*apply)(const gr_optimizer *optimizer, const double *powers, piece *p);
} rule;

struct gr_optimizer {
    gr_context *ctx;
    gr_status status; /* why it could not be made */
    const rule *rule;
    double lr, weight_decay;
    double momentum;
    bool nesterov;
    double beta1, beta2, epsilon;
    int64_t count; /* of parameters */
    gr_tensor **parameters;
    int64_t state_count;
    gr_tensor **state;
};

/* ---- The rules ------------------------------------------------------------------------------- */

/* g <- g + weight_decay theta, where there is a decay: 0 times infinity would be NaN. */
static void add_decay(const gr_optimizer *o, piece *p)
{
    const double decay = o->weight_decay;
    for (int64_t i = 0; decay > 0 && i < p->count; i++)
        p->gradient[i] = p->gradient[i] + decay * p->theta[i];
}

/* theta <- theta - lr g */
static void apply_sgd(const gr_optimizer *o, const double *powers, piece *p)
{
    (void)powers;
    const double lr = o->lr;
    add_decay(o, p);
    for (int64_t i = 0; i < p->count; i++)
        p->theta[i] = p->theta[i] - lr * p->gradient[i];
}

/* v <- momentum v + g;  theta <- theta - lr v, or with nesterov theta - lr (g + momentum v) */
static void apply_momentum(const gr_optimizer *o, const double *powers, piece *p)
{
    (void)powers;
    const double lr = o->lr, momentum = o->momentum;
    double *v = p->moment[0];
    add_decay(o, p);
    for (int64_t i = 0; i < p->count; i++) {
        v[i] = momentum * v[i] + p->gradient[i];
        const double ahead = p->gradient[i] + momentum * v[i];
        p->theta[i] = p->theta[i] - lr * (o->nesterov ? ahead : v[i]);
    }
}

/* m <- b1 m + (1-b1) g;  v <- b2 v + (1-b2) g^2;
   theta <- theta - lr/(1-b1^t) m / (sqrt(v) / sqrt(1-b2^t) + epsilon) */
static void apply_moments(const gr_optimizer *o, const double *powers, piece *p)
{
    const double beta1 = o->beta1, beta2 = o->beta2, epsilon = o->epsilon;
    const double rate = o->lr / (1 - powers[0]);
    const double root = 1 / sqrt(1 - powers[1]);
    double *m = p->moment[0], *v = p->moment[1];
    for (int64_t i = 0; i < p->count; i++) {
        const double g = p->gradient[i];
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * (g * g);
        p->theta[i] = p->theta[i] - rate * m[i] / (sqrt(v[i]) * root + epsilon);
    }
}

static void apply_adam(const gr_optimizer *o, const double *powers, piece *p)
{
    add_decay(o, p);
    apply_moments(o, powers, p);
}

/* theta <- theta - lr weight_decay theta, then Adam's step without decay */
static void apply_adamw(const gr_optimizer *o, const double *powers, piece *p)
{
    const double shrink = o->lr * o->weight_decay;
    for (int64_t i = 0; i < p->count; i++)
        p->theta[i] = p->theta[i] - shrink * p->theta[i];
    apply_moments(o, powers, p);
}

static const rule rule_sgd = {"sgd", 0, false, apply_sgd};
static const rule rule_momentum = {"sgd", 1, false, apply_momentum};
static const rule rule_adam = {"adam", 2, true, apply_adam};
static const rule rule_adamw = {"adamw", 2, true, apply_adamw};

/* ---- A step ---------------------------------------------------------------------------------- */

static char *element(const gr_tensor *x, int64_t at)
{
    return x->data + at * gr_dtype_size(x->dtype);
}

/* Elements [start, start + count) of parameter k. */
static void step_piece(const gr_optimizer *o, int64_t k, const double *powers, int64_t start,
                       int64_t count)
{
    gr_tensor *x = o->parameters[k];
    const gr_tensor *gradient = x->parameter->gradient;
    gr_tensor *const *moments = o->state + k * o->rule->moments;
    piece p;
    p.count = count;
    gr_convert(x->dtype, element(x, start), GR_F64, p.theta, count);
    gr_convert(gradient->dtype, element(gradient, start), GR_F64, p.gradient, count);
    for (int i = 0; i < o->rule->moments; i++)
        gr_convert(moments[i]->dtype, element(moments[i], start), GR_F64, p.moment[i], count);
    o->rule->apply(o, powers, &p);
    gr_convert(GR_F64, p.theta, x->dtype, element(x, start), count);
    for (int i = 0; i < o->rule->moments; i++)
        gr_convert(GR_F64, p.moment[i], moments[i]->dtype, element(moments[i], start), count);
}

typedef struct share {
    const gr_optimizer *optimizer;
    int64_t k;
    const double *powers;
} share;

static void step_part(void *state, int64_t i)
{
    const share *s = state;
    const int64_t start = i * PIECE, left = gr_numel(s->optimizer->parameters[s->k]) - start;
    step_piece(s->optimizer, s->k, s->powers, start, left < PIECE ? left : PIECE);
}

static void step_parameter(const gr_optimizer *o, int64_t k, const double *powers)
{
    const int64_t elements = gr_numel(o->parameters[k]);
    gr_parallel_for(gr_threads_for(o->ctx, elements), (elements + PIECE - 1) / PIECE, step_part,
                    &(share){o, k, powers});
}

/* The powers b1^t and b2^t of parameter k, by one more factor each; NULL for a rule without. */
static const double *advance_powers(const gr_optimizer *o, int64_t k)
{
    if (!o->rule->corrected)
        return NULL;
    double *powers = (double *)o->state[o->state_count - 2]->data + 2 * k;
    powers[0] *= o->beta1;
    powers[1] *= o->beta2;
    return powers;
}

static int64_t *steps_of(const gr_optimizer *o)
{
    return (int64_t *)o->state[o->state_count - 1]->data;
}

/* The error that keeps a call on this optimiser from its work, in the context if it has one. */
static gr_status refuse(const gr_optimizer *o, const char *op)
{
    if (!o)
        return GR_ERROR_NULL;
    if (!o->ctx)
        return o->status;
    if (o->status != GR_OK)
        gr_fail(o->ctx, o->status, op, "the optimiser could not be made");
    return gr_finish(o->ctx);
}

gr_status gr_step(gr_optimizer *optimizer)
{
    const gr_status status = refuse(optimizer, "step");
    if (status != GR_OK)
        return status;
    for (int64_t k = 0; k < optimizer->count; k++) {
        if (optimizer->parameters[k]->parameter->has_gradient)
            step_parameter(optimizer, k, advance_powers(optimizer, k));
    }
    ++*steps_of(optimizer);
    gr_zero_grad((gr_tensors){optimizer->count, optimizer->parameters});
    return GR_OK;
}

/* ---- Making one ------------------------------------------------------------------------------ */

/* Stand for optimisers without a context to live in; never written. */
static gr_optimizer *optimizer_without_home(gr_status status)
{
    static gr_optimizer memory = {.status = GR_ERROR_MEMORY, .lr = NAN};
    static gr_optimizer null = {.status = GR_ERROR_NULL, .lr = NAN};
    static gr_optimizer processor = {.status = GR_ERROR_PROCESSOR, .lr = NAN};
    static gr_optimizer argument = {.status = GR_ERROR_ARGUMENT, .lr = NAN};
    switch (status) {
    case GR_ERROR_NULL:
        return &null;
    case GR_ERROR_PROCESSOR:
        return &processor;
    case GR_ERROR_ARGUMENT:
        return &argument;
    default:
        return &memory;
    }
}

static gr_status check_parameter(gr_context *ctx, const char *op, gr_tensors parameters, int64_t i)
{
    gr_tensor *x = parameters.at[i], *failed;
    if (!x)
        return gr_fail(ctx, GR_ERROR_NULL, op, "parameter %lld is NULL", (long long)i);
    if (!gr_usable(op, x, (int)i, &failed)) {
        gr_fail(ctx, GR_ERROR_GRADIENT, op, "parameter %lld could not be made", (long long)i);
        return ctx->error; /* its own, if that is still there */
    }
    if (x->ctx != ctx)
        return gr_fail(ctx, GR_ERROR_CONTEXT, op, "parameter %lld belongs to another context",
                       (long long)i);
    if (!x->parameter)
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

/* An option's value or, for 0, its default; raises unless low <= value < high and value is finite.
 */
static gr_status option(gr_context *ctx, const char *op, const char *name, double given,
                        double otherwise, double high, double *value)
{
    *value = given == 0 ? otherwise : given;
    if (*value >= 0 && *value < high)
        return GR_OK;
    return gr_fail(ctx, GR_ERROR_ARGUMENT, op, "%s is %g, not in [0, %g)", name, given, high);
}

static gr_tensor *zeros_in_root(gr_context *ctx, const char *op, gr_dtype dtype, gr_dims shape)
{
    gr_tensor *x = gr_tensor_in(ctx->root, op, dtype, &shape);
    if (x)
        memset(x->data, 0, (size_t)(gr_numel(x) * gr_dtype_size(dtype)));
    return x;
}

/* The powers of each parameter before its first step: 1. */
static gr_tensor *new_powers(const gr_optimizer *o)
{
    const gr_dims shape = {.count = 2, .at = {o->count, 2}};
    gr_tensor *powers = zeros_in_root(o->ctx, o->rule->name, GR_F64, shape);
    for (int64_t i = 0; powers && i < 2 * o->count; i++)
        ((double *)powers->data)[i] = 1;
    return powers;
}

/* The state's tensors into their list; false after MEMORY. */
static bool make_state(const gr_optimizer *o, gr_tensor **state)
{
    for (int64_t k = 0; k < o->count; k++) {
        const gr_tensor *x = o->parameters[k];
        const gr_dtype dtype = x->dtype == GR_F64 ? GR_F64 : GR_F32;
        for (int i = 0; i < o->rule->moments; i++) {
            if (!(*state++ = zeros_in_root(o->ctx, o->rule->name, dtype, gr_shape_of(x))))
                return false;
        }
    }
    if (o->rule->corrected && !(*state++ = new_powers(o)))
        return false;
    return (*state = zeros_in_root(o->ctx, o->rule->name, GR_I64, (gr_dims){0})) != NULL;
}

/* Copies the list of parameters, and makes the state. */
static gr_status fill(gr_optimizer *o, gr_tensors parameters)
{
    const int64_t size = (int64_t)sizeof(gr_tensor *);
    const int64_t states = parameters.count * o->rule->moments + o->rule->corrected + 1;
    gr_tensor **list = gr_scope_allocate(o->ctx->root, parameters.count * size);
    gr_tensor **state = gr_scope_allocate(o->ctx->root, states * size);
    if (!list || !state)
        return GR_ERROR_MEMORY;
    memcpy(list, parameters.at, (size_t)(parameters.count * size));
    o->parameters = list;
    o->count = parameters.count;
    if (!make_state(o, state))
        return GR_ERROR_MEMORY;
    o->state = state;
    o->state_count = states;
    return GR_OK;
}

/* A copy of `settings`, whose options are checked (status), in the root, with its state. */
static gr_optimizer *new_optimizer(const gr_optimizer *settings, gr_tensors parameters)
{
    gr_context *ctx = settings->ctx;
    ctx->doing = settings->rule->name;
    gr_optimizer *o = gr_scope_allocate(ctx->root, (int64_t)sizeof *o);
    if (!o)
        return optimizer_without_home(GR_ERROR_MEMORY);
    *o = *settings;
    if (o->status == GR_OK)
        o->status = check_parameters(ctx, o->rule->name, parameters);
    if (o->status == GR_OK)
        o->status = fill(o, parameters);
    if (o->status != GR_OK)
        *o = (gr_optimizer){.ctx = ctx, .status = o->status, .lr = NAN};
    return o;
}

/* Whether the call can go on; if not, *instead is what to return. */
static bool can_make(gr_context *ctx, const char *op, const void *args, gr_optimizer **instead)
{
    gr_tensor *failed;
    *instead = NULL;
    if (!gr_context_usable(ctx, &failed))
        *instead = optimizer_without_home(failed->ctx->error);
    else if (!args)
        *instead = optimizer_without_home(gr_fail(ctx, GR_ERROR_NULL, op, "args is NULL"));
    return *instead == NULL;
}

gr_optimizer *gr_sgd_with(gr_context *ctx, const gr_sgd_args *args)
{
    gr_optimizer o = {.ctx = ctx}, *instead;
    if (!can_make(ctx, "sgd", args, &instead))
        return instead;
    o.rule = args->momentum == 0 ? &rule_sgd : &rule_momentum;
    o.nesterov = args->nesterov;
    o.status = option(ctx, "sgd", "lr", args->lr, 0.01, INFINITY, &o.lr);
    if (o.status == GR_OK)
        o.status = option(ctx, "sgd", "momentum", args->momentum, 0, 1, &o.momentum);
    if (o.status == GR_OK)
        o.status =
            option(ctx, "sgd", "weight_decay", args->weight_decay, 0, INFINITY, &o.weight_decay);
    return new_optimizer(&o, args->parameters);
}

static gr_optimizer *new_adam(gr_context *ctx, const rule *which, double decay,
                              const gr_adam_args *args)
{
    gr_optimizer o = {.ctx = ctx, .rule = which}, *instead;
    const char *op = which->name;
    if (!can_make(ctx, op, args, &instead))
        return instead;
    o.status = option(ctx, op, "lr", args->lr, 0.001, INFINITY, &o.lr);
    if (o.status == GR_OK)
        o.status = option(ctx, op, "beta1", args->beta1, 0.9, 1, &o.beta1);
    if (o.status == GR_OK)
        o.status = option(ctx, op, "beta2", args->beta2, 0.999, 1, &o.beta2);
    if (o.status == GR_OK)
        o.status = option(ctx, op, "epsilon", args->epsilon, 1e-8, INFINITY, &o.epsilon);
    if (o.status == GR_OK)
        o.status =
            option(ctx, op, "weight_decay", args->weight_decay, decay, INFINITY, &o.weight_decay);
    return new_optimizer(&o, args->parameters);
}

gr_optimizer *gr_adam_with(gr_context *ctx, const gr_adam_args *args)
{
    return new_adam(ctx, &rule_adam, 0, args);
}

gr_optimizer *gr_adamw_with(gr_context *ctx, const gr_adam_args *args)
{
    return new_adam(ctx, &rule_adamw, 0.01, args);
}

/* ---- Looking at one -------------------------------------------------------------------------- */

double gr_learning_rate(const gr_optimizer *optimizer) { return optimizer ? optimizer->lr : NAN; }

gr_status gr_set_learning_rate(gr_optimizer *optimizer, double lr)
{
    gr_status status = refuse(optimizer, "set_learning_rate");
    if (status != GR_OK)
        return status;
    if (!(lr > 0 && lr < INFINITY)) {
        gr_fail(optimizer->ctx, GR_ERROR_ARGUMENT, "set_learning_rate",
                "lr is %g, not a number above 0", lr);
        return gr_finish(optimizer->ctx);
    }
    optimizer->lr = lr;
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
    return optimizer && optimizer->state ? *steps_of(optimizer) : 0;
}
