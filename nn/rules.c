/* rules.c - one step of gradient descent on one parameter: SGD, Adam, AdamW.
 *
 * A step reads the parameter, its gradient and its state as doubles, 256 elements at a time. It
 * computes in double, and rounds each result once to the dtype that stores it. The rules work
 * element by element and use only + - * / and sqrt. IEEE 754 defines every bit of these. So the
 * bits of a step do not depend on threads, compilers or vectors.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/nn.h"
#include <math.h>

enum { PIECE = 256 }; /* elements held as doubles on the stack */

/* The elements of one parameter, in double. */
struct gr_piece {
    int64_t count;
    double theta[PIECE], gradient[PIECE];
    double moment[GR_RULE_MOMENTS][PIECE]; /* momentum, or m and v */
};

/* ---- The run of every rule ------------------------------------------------------------------- */

typedef struct step {
    const gr_call *call;
    const gr_rule *rule;
    const double *powers; /* NULL if the rule has no powers */
} step;

static char *element(const gr_tensor *x, int64_t at)
{
    return gr_bytes(x) + at * gr_dtype_size(gr_type(x));
}

static void load(const gr_tensor *x, int64_t start, int64_t count, double *to)
{
    gr_convert(gr_type(x), element(x, start), GR_F64, to, count);
}

static void store(const double *from, int64_t start, int64_t count, const gr_tensor *x)
{
    gr_convert(GR_F64, from, gr_type(x), element(x, start), count);
}

static void step_part(void *state, int64_t i)
{
    const step *s = state;
    gr_tensor *const *in = s->call->in, *const *moments = in + 1;
    const int64_t start = i * PIECE, left = gr_count(in[0]) - start;
    gr_piece p;
    p.count = left < PIECE ? left : PIECE;
    load(in[0], start, p.count, p.theta);
    load(in[s->call->count - 1], start, p.count, p.gradient);
    for (int m = 0; m < s->rule->moments; m++)
        load(moments[m], start, p.count, p.moment[m]);
    s->rule->update(s->call->attributes, s->powers, &p);
    store(p.theta, start, p.count, in[0]);
    for (int m = 0; m < s->rule->moments; m++)
        store(p.moment[m], start, p.count, moments[m]);
}

/* Multiplies the powers b1^t and b2^t of the parameter by one more factor each. */
static const double *advance_powers(const gr_step_settings *settings, const gr_tensor *x)
{
    double *powers = (double *)(void *)gr_bytes(x);
    powers[0] *= settings->beta1;
    powers[1] *= settings->beta2;
    return powers;
}

/* Calls part(state, i) for each piece of the first operand. */
static void each_piece(const gr_call *call, gr_part *part, void *state)
{
    const int64_t elements = gr_count(call->in[0]);
    gr_parallel_for(gr_threads_for(call->ctx, elements), (elements + PIECE - 1) / PIECE, part,
                    state);
}

static gr_status rule_run(const gr_call *call)
{
    const gr_rule *rule = (const gr_rule *)(const void *)call->op;
    step s = {.call = call, .rule = rule};
    if (rule->corrected)
        s.powers = advance_powers(call->attributes, call->in[1 + rule->moments]);
    each_piece(call, step_part, &s);
    return GR_OK;
}

/* ---- The rules ------------------------------------------------------------------------------- */

/* The gradient is the last operand and is only read. */
/* clang-format off */
#define STEP_OP(title, operands)                                                                   \
    {.name = title,                                                                                \
     .kind = GR_OPAQUE,                                                                            \
     .flags = GR_OP_IN_PLACE,                                                                      \
     .arity = (operands),                                                                          \
     .results = (operands) - 1,                                                                    \
     .attributes_size = sizeof(gr_step_settings),                                                  \
     .run = rule_run}
/* clang-format on */

/* g <- g + weight_decay theta. Skipped if there is no decay, because 0 times infinity would be
   NaN. */
static void add_decay(const gr_step_settings *s, gr_piece *p)
{
    const double decay = s->weight_decay;
    for (int64_t i = 0; decay > 0 && i < p->count; i++)
        p->gradient[i] = p->gradient[i] + decay * p->theta[i];
}

/* theta <- theta - lr g */
static void update_sgd(const gr_step_settings *s, const double *powers, gr_piece *p)
{
    (void)powers;
    const double lr = s->lr;
    add_decay(s, p);
    for (int64_t i = 0; i < p->count; i++)
        p->theta[i] = p->theta[i] - lr * p->gradient[i];
}
const gr_rule gr_sgd_rule = {STEP_OP("sgd", 2), .update = update_sgd};

/* v <- momentum v + g;  theta <- theta - lr v, or with nesterov theta - lr (g + momentum v) */
static void update_momentum(const gr_step_settings *s, const double *powers, gr_piece *p)
{
    (void)powers;
    const double lr = s->lr, momentum = s->momentum;
    double *v = p->moment[0];
    add_decay(s, p);
    for (int64_t i = 0; i < p->count; i++) {
        v[i] = momentum * v[i] + p->gradient[i];
        const double ahead = p->gradient[i] + momentum * v[i];
        p->theta[i] = p->theta[i] - lr * (s->nesterov ? ahead : v[i]);
    }
}
const gr_rule gr_momentum_rule = {STEP_OP("sgd_momentum", 3), .moments = 1,
                                  .update = update_momentum};

/* m <- b1 m + (1-b1) g;  v <- b2 v + (1-b2) g^2;
   theta <- theta - lr/(1-b1^t) m / (sqrt(v) / sqrt(1-b2^t) + epsilon)
   The divisor is 0 only if v and epsilon are 0. Then theta stays. */
static void update_moments(const gr_step_settings *s, const double *powers, gr_piece *p)
{
    const double beta1 = s->beta1, beta2 = s->beta2, epsilon = s->epsilon;
    const double rate = s->lr / (1 - powers[0]);
    const double root = 1 / sqrt(1 - powers[1]);
    double *m = p->moment[0], *v = p->moment[1];
    for (int64_t i = 0; i < p->count; i++) {
        const double g = p->gradient[i];
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * (g * g);
        const double divisor = sqrt(v[i]) * root + epsilon;
        p->theta[i] = p->theta[i] - (divisor == 0 ? 0 : rate * m[i] / divisor);
    }
}

static void update_adam(const gr_step_settings *s, const double *powers, gr_piece *p)
{
    add_decay(s, p);
    update_moments(s, powers, p);
}
const gr_rule gr_adam_rule = {STEP_OP("adam", 5), .moments = 2, .corrected = true,
                              .update = update_adam};

/* theta <- theta - lr weight_decay theta, then Adam's step without decay */
static void update_adamw(const gr_step_settings *s, const double *powers, gr_piece *p)
{
    const double shrink = s->lr * s->weight_decay;
    for (int64_t i = 0; i < p->count; i++)
        p->theta[i] = p->theta[i] - shrink * p->theta[i];
    update_moments(s, powers, p);
}
const gr_rule gr_adamw_rule = {STEP_OP("adamw", 5), .moments = 2, .corrected = true,
                               .update = update_adamw};

/* ---- The count of steps ---------------------------------------------------------------------- */

static gr_status count_run(const gr_call *call)
{
    ++*(int64_t *)(void *)gr_bytes(call->in[0]);
    return GR_OK;
}
const gr_op gr_count_step_op = {.name = "count_step",
                                .kind = GR_OPAQUE,
                                .flags = GR_OP_IN_PLACE,
                                .arity = 1,
                                .results = 1,
                                .run = count_run};

/* ---- Masters of half parameters -------------------------------------------------------------- */

static void meet_part(void *state, int64_t i)
{
    const gr_call *call = state;
    const gr_tensor *master = call->in[0], *parameter = call->in[1];
    const gr_dtype half = gr_type(parameter);
    const int64_t start = i * PIECE, left = gr_count(master) - start;
    const int64_t count = left < PIECE ? left : PIECE;
    const uint16_t *now = (const uint16_t *)(const void *)element(parameter, start);
    float *exact = (float *)(void *)element(master, start);
    uint16_t rounded[PIECE];
    float written[PIECE];
    gr_convert(GR_F32, exact, half, rounded, count);
    gr_convert(half, now, GR_F32, written, count);
    for (int64_t k = 0; k < count; k++)
        exact[k] = rounded[k] == now[k] ? exact[k] : written[k];
}

static void round_part(void *state, int64_t i)
{
    const gr_call *call = state;
    const gr_tensor *parameter = call->in[0], *master = call->in[1];
    const int64_t start = i * PIECE, left = gr_count(master) - start;
    gr_convert(GR_F32, element(master, start), gr_type(parameter), element(parameter, start),
               left < PIECE ? left : PIECE);
}

static gr_status meet_run(const gr_call *call)
{
    gr_call own = *call;
    each_piece(call, meet_part, &own);
    return GR_OK;
}

static gr_status round_run(const gr_call *call)
{
    gr_call own = *call;
    each_piece(call, round_part, &own);
    return GR_OK;
}

const gr_op gr_meet_master_op = {.name = "meet_master",
                                 .kind = GR_OPAQUE,
                                 .flags = GR_OP_IN_PLACE,
                                 .arity = 2,
                                 .results = 1,
                                 .run = meet_run};
const gr_op gr_round_master_op = {.name = "round_master",
                                  .kind = GR_OPAQUE,
                                  .flags = GR_OP_IN_PLACE,
                                  .arity = 2,
                                  .results = 1,
                                  .run = round_run};
