/* engine.c - measures the cost of the engine, in CPU time of one thread and in memory. Each case
 * prints one line.
 *
 *     build/bench/engine                    runs every case
 *     build/bench/engine chain 'bce*'       runs the cases with these names or patterns
 *     build/bench/engine --list ['bce*']    lists names of cases
 *
 * A line holds: name, median, smallest, largest, unit. Times are for one step, turn or op. There
 * are at least 9 samples of at least 5 ms each. A sample is shorter if the case sets its number of
 * turns. There are 3 samples if one takes seconds. A KB is 1000 bytes as gr_memory counts them. It
 * is the same in every run, so memory is measured once.
 *
 * Each case runs in its own process, so that its effect on the C library's heap does not change the
 * next case. bench/compare compares two builds.
 *
 * SPDX-License-Identifier: MIT
 */
#include <gradus/gradus.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FEWEST = 9, MOST = 45, GROUPS = 9, CHAIN = 1000 };
static const double shortest = 5e-3; /* seconds of one sample */
static const double enough = 0.25;   /* seconds: after this, FEWEST samples are enough */
static const double too_long = 15;   /* seconds: after this, 3 samples are enough */

typedef struct row row;

/* The tensors and other objects of a case. */
typedef struct bench {
    const row *row;
    gr_context *ctx;
    gr_tensor *x, *z; /* operands, parameters; z only if the case has two */
    gr_tensor *y;     /* the target */
    gr_tensor *weight, *pos_weight;
    gr_tensor *state;     /* passed from turn to turn */
    gr_tensor *seed;      /* upstream gradient, all ones */
    gr_tensor *inputs[2]; /* x and z */
    gr_tensors parameters;
    gr_mlp *mlp;
    gr_optimizer *optimizer;
    double spent; /* seconds measured by the step itself */
    double samples[MOST];
    int count;
} bench;

typedef enum target { NO_TARGET = 0, BINARY, REAL, CLASSES } target;

/* A case. 0 stands for the default in each field. */
struct row {
    const char *name;
    /* Each case sets one of these three. step: runs many times. turn: runs many times in one scope,
       and is timed around turn number `at`. bytes: measures memory. */
    void (*step)(bench *b);
    void (*turn)(bench *b);
    int64_t (*bytes)(bench *b);

    /* The computation. Each case sets one of these three. */
    gr_tensor *(*op)(bench *b);
    gr_tensor *(*unary)(gr_tensor *x);
    gr_tensor *(*binary)(gr_tensor *x, gr_tensor *z);

    gr_dims shape; /* shape of x */
    gr_dims other; /* shape of z; a binary op without it takes x's shape */
    target target;
    const int64_t *sizes; /* a model with Adam, ended by 0; then x is [batch, its inputs] */
    int64_t batch;
    bool weight, pos_weight; /* weight has x's shape; pos_weight has one value for each column */
    int64_t idle;            /* number of other parameters in the context */
    int64_t at, group;       /* number of the middle turn; turns in a sample */
    int64_t per;             /* ops in a step; the time is that of one op, in ns */
    bool own_clock;          /* the step measures its own time */
    int axis;
};

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void must(bench *b, gr_status status)
{
    if (status != GR_OK) {
        fprintf(stderr, "%s: %s\n", b->row->name, gr_error_message(b->ctx));
        _exit(1);
    }
}

/* ---- Steps ----------------------------------------------------------------------------------- */

static void begin(bench *b) { must(b, gr_scope_begin(b->ctx)); }
static void end(bench *b) { must(b, gr_scope_end(b->ctx)); }

static gr_tensor *apply(bench *b)
{
    if (b->row->unary)
        return b->row->unary(b->x);
    return b->row->binary ? b->row->binary(b->x, b->z) : b->row->op(b);
}

/* The operands are parameters, so the computation is recorded. */
static void forward(bench *b)
{
    begin(b);
    apply(b);
    end(b);
}

static void gradient(bench *b)
{
    gr_tensor *gradients[2];
    begin(b);
    must(b, gr_grad_with(apply(b), b->parameters, gradients, &(gr_grad_args){.seed = b->seed}));
    end(b);
}

static void backward(bench *b)
{
    begin(b);
    must(b, gr_backward(apply(b)));
    gr_zero_grad(b->parameters);
    end(b);
}

static void train(bench *b)
{
    begin(b);
    must(b, gr_backward(apply(b)));
    must(b, gr_step(b->optimizer));
    end(b);
}

/* Makes no operand that outlives the step. */
static void create(bench *b)
{
    begin(b);
    gr_randn(b->ctx, GR_F32, b->row->shape);
    end(b);
}

/* Measures only gr_keep and two calls of the clock. */
static void keep(bench *b)
{
    begin(b);
    begin(b);
    gr_tensor *x = gr_zeros(b->ctx, GR_F32, b->row->shape);
    const double start = seconds();
    gr_keep(x);
    b->spent += seconds() - start;
    end(b);
    end(b);
}

/* ---- Turns: many in one scope ---------------------------------------------------------------- */

static void loss_turn(bench *b) { must(b, gr_backward(gr_mse(gr_mul(b->x, b->z), b->y))); }

/* Computes a recorded gradient with respect to a new variable. */
static void grad_turn(bench *b)
{
    gr_tensor *v = gr_variable(b->x);
    gr_grad(gr_square(v), v);
}

/* Does the same, and adds the gradient to a state that comes from all earlier turns. The sign of
   the gradient changes with each turn. */
static void carried_turn(bench *b)
{
    gr_tensor *v = gr_variable(b->state);
    b->state = gr_sub(b->state, gr_grad(gr_square(v), v));
}

/* ---- Ops ------------------------------------------------------------------------------------- */

static gr_tensor *chain(bench *b)
{
    gr_tensor *z = b->x;
    for (int i = 0; i < CHAIN; i += 2)
        z = gr_add(gr_mul(z, b->x), b->x);
    return z;
}

static gr_tensor *bce(bench *b)
{
    return gr_bce_with_logits(b->x, b->y, .weight = b->weight, .pos_weight = b->pos_weight);
}
static gr_tensor *bce_none(bench *b)
{
    return gr_sum(gr_bce_with_logits(b->x, b->y, .reduction = GR_NONE));
}
static gr_tensor *cross_entropy(bench *b) { return gr_cross_entropy(b->x, b->y); }
static gr_tensor *mse(bench *b) { return gr_mse(b->x, b->y); }

static gr_tensor *mlp_bce(bench *b)
{
    return gr_bce_with_logits(gr_mlp_forward(b->mlp, b->x), b->y);
}
static gr_tensor *mlp_cross_entropy(bench *b)
{
    return gr_cross_entropy(gr_mlp_forward(b->mlp, b->x), b->y);
}
static gr_tensor *mlp_mse(bench *b) { return gr_mse(gr_mlp_forward(b->mlp, b->x), b->y); }

static gr_tensor *softmax(bench *b) { return gr_softmax(b->x, -1); }
static gr_tensor *log_softmax(bench *b) { return gr_log_softmax(b->x, -1); }
static gr_tensor *sum_axis(bench *b) { return gr_sum(b->x, .axes = gr_axes(b->row->axis)); }
static gr_tensor *mean_axis(bench *b) { return gr_mean(b->x, .axes = gr_axes(b->row->axis)); }
static gr_tensor *sum_all(bench *b) { return gr_sum(b->x); }
static gr_tensor *mean_all(bench *b) { return gr_mean(b->x); }
static gr_tensor *transposed_copy(bench *b) { return gr_contiguous(gr_transpose(b->x)); }
static gr_tensor *transposed_product(bench *b) { return gr_matmul(gr_transpose(b->x), b->z); }

static gr_tensor *slices(bench *b)
{
    gr_tensor *sum = gr_slice(b->x, 0, 0, 1, 1);
    for (int64_t i = 1; i < gr_size(b->x, 0); i++)
        sum = gr_add(sum, gr_slice(b->x, 0, i, i + 1, 1));
    return gr_sum(sum);
}

static gr_tensor *sigmoids(bench *b)
{
    gr_tensor *x = b->x;
    for (int i = 0; i < 50; i++)
        x = gr_sigmoid(x);
    return gr_sum(x);
}

static gr_tensor *tanhs(bench *b)
{
    gr_tensor *x = b->x;
    for (int i = 0; i < 100; i++)
        x = gr_tanh(x);
    return gr_sum(x);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static int64_t forward_peak(bench *b)
{
    forward(b);
    return gr_memory(b->ctx).peak_bytes;
}

static int64_t backward_peak(bench *b)
{
    backward(b);
    return gr_memory(b->ctx).peak_bytes;
}

static int64_t products_live(bench *b)
{
    begin(b);
    for (int i = 0; i < 1000; i++)
        apply(b);
    const int64_t live = gr_memory(b->ctx).live_bytes;
    end(b);
    return live;
}

/* Counts a parameter, its gradient and two moments, with 4 bytes for each element. */
static int64_t adam_bytes(const bench *b)
{
    int64_t elements = 0;
    for (int64_t i = 0; i < b->parameters.count; i++)
        elements += gr_numel(b->parameters.at[i]);
    return 4 * 4 * elements;
}

static int64_t train_peak(bench *b)
{
    train(b);
    return gr_memory(b->ctx).peak_bytes - adam_bytes(b);
}

static int64_t train_live(bench *b)
{
    train(b);
    return gr_memory(b->ctx).live_bytes - adam_bytes(b);
}

/* ---- Cases ----------------------------------------------------------------------------------- */

static const int64_t moons[] = {2, 16, 16, 1, 0};
static const int64_t digits[] = {784, 256, 256, 10, 0};
static const int64_t wide[] = {1024, 1024, 1024, 1024, 1024, 0};
static const int64_t narrow[] = {64, 64, 64, 1, 0};

/* An op, and the op with its gradients. */
#define BOTH(title, ...)                                                                           \
    {title, .step = forward, __VA_ARGS__}, { title "+grad", .step = gradient, __VA_ARGS__ }
#define ELEMENTWISE(title, ...)                                                                    \
    BOTH(title "/100", __VA_ARGS__, .shape = {1, {100}}),                                          \
        BOTH(title "/65536", __VA_ARGS__, .shape = {1, {65536}})

static const row rows[] = {
    /* The cost of an op without its elements. */
    {"chain", .step = forward, .op = chain, .per = CHAIN},
    {"chain+backward", .step = backward, .op = chain, .per = CHAIN},
    {"one_op/0_idle", .step = backward, .unary = gr_square},
    {"one_op/20000_idle", .step = backward, .unary = gr_square, .idle = 20000},
    {"loss/100th", .turn = loss_turn, .shape = {1, {10}}, .other = {1, {10}}, .target = REAL,
     .at = 100, .group = 5},
    {"loss/8000th", .turn = loss_turn, .shape = {1, {10}}, .other = {1, {10}}, .target = REAL,
     .at = 8000, .group = 50},
    {"nested/500th", .turn = grad_turn, .at = 500, .group = 20},
    {"nested/16000th", .turn = grad_turn, .at = 16000, .group = 50},
    {"nested_carried/500th", .turn = carried_turn, .at = 500, .group = 20},
    {"nested_carried/16000th", .turn = carried_turn, .at = 16000, .group = 50},

    /* Training steps. */
    {"mlp_2_16_16_1/batch_1", .step = train, .op = mlp_bce, .sizes = moons, .batch = 1,
     .target = BINARY},
    {"mlp_2_16_16_1/batch_100", .step = train, .op = mlp_bce, .sizes = moons, .batch = 100,
     .target = BINARY},
    {"mlp_784_256_256_10/batch_128", .step = train, .op = mlp_cross_entropy, .sizes = digits,
     .batch = 128, .target = CLASSES},
    {"mlp_4_of_1024/batch_512", .step = train, .op = mlp_mse, .sizes = wide, .batch = 512,
     .target = REAL},

    /* Losses and their gradients. */
    {"bce/64", .step = backward, .op = bce, .shape = {1, {64}}, .target = BINARY},
    {"bce/1024", .step = backward, .op = bce, .shape = {1, {1024}}, .target = BINARY},
    {"bce/4095", .step = backward, .op = bce, .shape = {1, {4095}}, .target = BINARY},
    {"bce/4096", .step = backward, .op = bce, .shape = {1, {4096}}, .target = BINARY},
    {"bce/65536", .step = backward, .op = bce, .shape = {1, {65536}}, .target = BINARY},
    {"bce/2^24", .step = backward, .op = bce, .shape = {1, {1 << 24}}, .target = BINARY},
    {"bce_weight/65536x256", .step = backward, .op = bce, .shape = {2, {65536, 256}},
     .target = BINARY, .weight = true},
    {"bce_pos_weight/65536x256", .step = backward, .op = bce, .shape = {2, {65536, 256}},
     .target = BINARY, .pos_weight = true},
    {"bce_both/65536x256", .step = backward, .op = bce, .shape = {2, {65536, 256}},
     .target = BINARY, .weight = true, .pos_weight = true},
    {"bce_none/65536", .step = backward, .op = bce_none, .shape = {1, {65536}}, .target = BINARY},
    {"bce_none/65536x256", .step = backward, .op = bce_none, .shape = {2, {65536, 256}},
     .target = BINARY},
    {"cross_entropy/128x10", .step = backward, .op = cross_entropy, .shape = {2, {128, 10}},
     .target = CLASSES},
    {"cross_entropy/8192x10", .step = backward, .op = cross_entropy, .shape = {2, {8192, 10}},
     .target = CLASSES},
    {"cross_entropy/4096x1000", .step = backward, .op = cross_entropy, .shape = {2, {4096, 1000}},
     .target = CLASSES},
    {"mse/4096", .step = backward, .op = mse, .shape = {1, {4096}}, .target = REAL},
    {"mse/2^22", .step = backward, .op = mse, .shape = {1, {1 << 22}}, .target = REAL},

    /* Ops. */
    BOTH("softmax/256x256", .op = softmax, .shape = {2, {256, 256}}),
    BOTH("log_softmax/256x256", .op = log_softmax, .shape = {2, {256, 256}}),
    BOTH("sum_first/512x512", .op = sum_axis, .shape = {2, {512, 512}}, .axis = 0),
    BOTH("sum_last/512x512", .op = sum_axis, .shape = {2, {512, 512}}, .axis = -1),
    BOTH("sum_all/512x512", .op = sum_all, .shape = {2, {512, 512}}),
    BOTH("mean_first/512x512", .op = mean_axis, .shape = {2, {512, 512}}, .axis = 0),
    BOTH("mean_last/512x512", .op = mean_axis, .shape = {2, {512, 512}}, .axis = -1),
    BOTH("mean_all/512x512", .op = mean_all, .shape = {2, {512, 512}}),
    ELEMENTWISE("mul", .binary = gr_mul),
    ELEMENTWISE("add", .binary = gr_add),
    ELEMENTWISE("exp", .unary = gr_exp),
    ELEMENTWISE("tanh", .unary = gr_tanh),
    ELEMENTWISE("sigmoid", .unary = gr_sigmoid),
    BOTH("add_column/1024x256", .binary = gr_add, .shape = {2, {1024, 256}},
         .other = {2, {1024, 1}}),
    BOTH("transposed_copy/1024x1024", .op = transposed_copy, .shape = {2, {1024, 1024}}),
    BOTH("matmul/64", .binary = gr_matmul, .shape = {2, {64, 64}}),
    BOTH("matmul/256", .binary = gr_matmul, .shape = {2, {256, 256}}),
    BOTH("matmul/1024", .binary = gr_matmul, .shape = {2, {1024, 1024}}),
    BOTH("matmul/1x1024x1024", .binary = gr_matmul, .shape = {2, {1, 1024}},
         .other = {2, {1024, 1024}}),
    BOTH("matmul_transposed/64", .op = transposed_product, .shape = {2, {64, 64}},
         .other = {2, {64, 64}}),
    BOTH("matmul_transposed/256", .op = transposed_product, .shape = {2, {256, 256}},
         .other = {2, {256, 256}}),
    {"slices/1600_rows", .step = backward, .op = slices, .shape = {2, {1600, 100}}},
    {"randn/2^20", .step = create, .shape = {1, {1 << 20}}},
    {"keep/4_MB", .step = keep, .shape = {1, {1000000}}, .own_clock = true},

    /* Memory. */
    {"slices/peak", .bytes = backward_peak, .op = slices, .shape = {2, {1600, 100}}},
    {"1000_products/live", .bytes = products_live, .binary = gr_matmul, .shape = {2, {2, 2}}},
    {"50_sigmoids/forward_peak", .bytes = forward_peak, .op = sigmoids, .shape = {1, {1000000}}},
    {"50_sigmoids/backward_peak", .bytes = backward_peak, .op = sigmoids, .shape = {1, {1000000}}},
    {"100_tanhs/forward_peak", .bytes = forward_peak, .op = tanhs, .shape = {1, {250000}}},
    {"100_tanhs/backward_peak", .bytes = backward_peak, .op = tanhs, .shape = {1, {250000}}},
    {"mlp_64_64_64_1/live", .bytes = train_live, .op = mlp_bce, .sizes = narrow, .batch = 32,
     .target = BINARY},
    {"mlp_64_64_64_1/peak", .bytes = train_peak, .op = mlp_bce, .sizes = narrow, .batch = 32,
     .target = BINARY},
};
enum { ROWS = sizeof rows / sizeof *rows };

/* ---- Operands -------------------------------------------------------------------------------- */

/* Keeps only the parameter. The tensors that it is made from are freed at once. */
static gr_tensor *normal_parameter(bench *b, gr_dims shape)
{
    begin(b);
    gr_tensor *p = gr_parameter(shape.count ? gr_randn(b->ctx, GR_F32, shape)
                                            : gr_full(b->ctx, GR_F32, shape, 0.5));
    end(b);
    return p;
}

static gr_tensor *make_target(bench *b, gr_dims shape)
{
    gr_context *ctx = b->ctx;
    const int64_t classes = shape.at[shape.count - 1];
    gr_tensor *y = NULL;
    begin(b);
    switch (b->row->target) {
    case NO_TARGET:
        break;
    case BINARY:
        y = gr_cast(gr_greater(gr_rand(ctx, GR_F32, shape), gr_scalar(ctx, 0.5)), GR_F32);
        break;
    case REAL:
        y = gr_randn(ctx, GR_F32, shape);
        break;
    case CLASSES:
        shape.count--;
        y = gr_cast(gr_mul(gr_rand(ctx, GR_F32, shape), gr_scalar(ctx, (double)classes)), GR_I64);
        break;
    }
    y = y ? gr_keep(y) : NULL;
    end(b);
    return y;
}

static void make_model(bench *b)
{
    const int64_t *sizes = b->row->sizes;
    int count = 0;
    while (sizes[count])
        count++;
    b->mlp = gr_mlp_new(b->ctx, GR_F32, GR_RELU, count, sizes);
    b->parameters = gr_mlp_parameters(b->mlp);
    b->optimizer = gr_adam(b->ctx, b->parameters);
    b->x = gr_randn(b->ctx, GR_F32, gr_shape(b->row->batch, sizes[0]));
    b->y = make_target(b, gr_shape(b->row->batch, sizes[count - 1]));
}

static void make_operands(bench *b)
{
    const row *r = b->row;
    const gr_dims shape = r->shape;
    b->inputs[0] = b->x = normal_parameter(b, shape);
    if (r->binary || r->other.count)
        b->inputs[1] = b->z = normal_parameter(b, r->other.count ? r->other : shape);
    b->parameters = (gr_tensors){b->z ? 2 : 1, b->inputs};
    b->y = make_target(b, shape);
    if (r->weight)
        b->weight = gr_rand(b->ctx, GR_F32, shape);
    if (r->pos_weight)
        b->pos_weight = gr_rand(b->ctx, GR_F32, gr_shape(shape.at[shape.count - 1]));
    for (int64_t i = 0; i < r->idle; i++)
        normal_parameter(b, gr_shape());
    if (r->step == gradient) {
        begin(b);
        const gr_dims result = gr_shape_of(apply(b));
        end(b);
        b->seed = gr_ones(b->ctx, GR_F32, result);
    }
}

/* ---- Measuring ------------------------------------------------------------------------------- */

static void add_sample(bench *b, double sample) { b->samples[b->count++] = sample; }

static bool one_more(const bench *b, double start)
{
    const double passed = seconds() - start;
    if (b->count >= MOST || (b->count >= 3 && passed > too_long))
        return false;
    return b->count < FEWEST || passed < enough;
}

static double time_steps(bench *b, int64_t steps)
{
    const double start = seconds();
    b->spent = 0;
    for (int64_t i = 0; i < steps; i++)
        b->row->step(b);
    return seconds() - start;
}

static void measure_steps(bench *b)
{
    int64_t steps = 1;
    time_steps(b, 1); /* warms up the memory */
    while (time_steps(b, steps) < shortest)
        steps *= 2;
    const double start = seconds();
    while (one_more(b, start)) {
        const double time = time_steps(b, steps);
        add_sample(b, (b->row->own_clock ? b->spent : time) / (double)steps);
    }
}

/* Takes GROUPS samples from each scope, around the turn that the case names. The first scope warms
   up the memory. It counts only if there is no time for more scopes. */
static void measure_turns(bench *b)
{
    const int64_t group = b->row->group, before = b->row->at - GROUPS * group / 2;
    const double start = seconds();
    for (bool first = true; b->count + GROUPS <= MOST && one_more(b, start); first = false) {
        begin(b);
        b->state = b->x;
        for (int64_t i = 0; i < before; i++)
            b->row->turn(b);
        for (int run = 0; run < GROUPS; run++) {
            const double then = seconds();
            for (int64_t i = 0; i < group; i++)
                b->row->turn(b);
            add_sample(b, (seconds() - then) / (double)group);
        }
        end(b);
        if (first && seconds() - start < enough)
            b->count = 0;
    }
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void run_case(const row *r)
{
    bench b = {.row = r, .ctx = gr_context_new(&(gr_context_options){.threads = 1})};
    const char *unit = r->bytes ? "KB" : r->per ? "ns" : "us";
    const double factor = r->bytes ? 1e-3 : r->per ? 1e9 / (double)r->per : 1e6;
    if (r->sizes)
        make_model(&b);
    else if (r->step != create && r->step != keep)
        make_operands(&b);
    must(&b, gr_error(b.ctx));
    if (r->step)
        measure_steps(&b);
    else if (r->turn)
        measure_turns(&b);
    else
        add_sample(&b, (double)r->bytes(&b));
    must(&b, gr_error(b.ctx));
    qsort(b.samples, (size_t)b.count, sizeof(double), by_size);
    printf("%-30s %12.3f %12.3f %12.3f %s\n", r->name, factor * b.samples[b.count / 2],
           factor * b.samples[0], factor * b.samples[b.count - 1], unit);
    must(&b, gr_context_free(b.ctx));
}

/* True if the case ran. */
static bool run_apart(const row *r)
{
    int status = 1;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        run_case(r);
        fflush(stdout);
        _exit(0);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static bool named(const char *name, int count, char **patterns)
{
    for (int i = 0; i < count; i++) {
        if (fnmatch(patterns[i], name, 0) == 0)
            return true;
    }
    return count == 0;
}

int main(int count, char **arguments)
{
    const bool list = count > 1 && strcmp(arguments[1], "--list") == 0;
    const int first = list ? 2 : 1;
    int found = 0, failed = 0;
    for (int i = 0; i < ROWS; i++) {
        if (!named(rows[i].name, count - first, arguments + first))
            continue;
        found++;
        if (list) {
            puts(rows[i].name);
        } else if (!run_apart(&rows[i])) {
            fprintf(stderr, "%s: failed\n", rows[i].name);
            failed++;
        }
    }
    if (!found)
        fprintf(stderr, "no such case; --list names them\n");
    return found && !failed ? 0 : 1;
}
