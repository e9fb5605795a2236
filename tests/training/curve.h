/* curve.h - 200 training steps, and one hash of all bits that they leave.
 *
 * The sizes are not multiples of a vector or a block. Together the two problems are large enough
 * that every parallel loop of a step uses several threads: "tall" in the ops, the matrix product
 * and the loss, "wide" in the optimiser.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_TRAINING_CURVE_H
#define GRADUS_TESTS_TRAINING_CURVE_H

#include <gradus/gradus.h>
#include <stdio.h>

enum { CURVE_STEPS = 200, CURVE_INPUTS = 13 };

typedef struct curve_problem {
    const char *name;
    int64_t rows;
    int count;        /* number of sizes */
    int64_t sizes[4]; /* of the perceptron; the first is CURVE_INPUTS */
} curve_problem;

static const curve_problem curve_tall = {"tall", 1031, 3, {CURVE_INPUTS, 67, 64}};
static const curve_problem curve_wide = {"wide", 65, 4, {CURVE_INPUTS, 256, 257, 1}};

/* FNV-1a (Fowler, Noll, Vo), 64 bits. */
static const uint64_t fnv_start = 0xcbf29ce484222325u;

static inline uint64_t fnv(uint64_t hash, const void *data, int64_t bytes)
{
    const unsigned char *at = (const unsigned char *)data;
    for (int64_t i = 0; i < bytes; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash;
}

static inline uint64_t fnv_tensor(uint64_t hash, const gr_tensor *x)
{
    return fnv(hash, gr_data(x), gr_numel(x) * gr_dtype_size(gr_dtype_of(x)));
}

static inline uint64_t fnv_tensors(uint64_t hash, gr_tensors list)
{
    for (int64_t i = 0; i < list.count; i++)
        hash = fnv_tensor(hash, list.at[i]);
    return hash;
}

/* Takes one step of training and sets *loss. */
static inline gr_status curve_step(const gr_mlp *mlp, gr_tensor *x, gr_tensor *y,
                                   gr_optimizer *optimizer, double *loss)
{
    gr_context *own = gr_context_of(x);
    gr_scope_begin(own);
    gr_tensor *mean = gr_bce_with_logits(gr_mlp_forward(mlp, x), y);
    gr_status status = gr_backward(mean);
    if (status == GR_OK) {
        *loss = gr_item(mean);
        status = gr_step(optimizer);
    }
    const gr_status end = gr_scope_end(own);
    return status == GR_OK ? end : status;
}

/* Returns the hash of all losses, the final parameters and the optimiser's state. Prints an error
   and returns 0 after it. isa and threads have the same meaning as in gr_context_options. */
static inline uint64_t curve_hash(const curve_problem *problem, const char *isa, int threads)
{
    gr_context *own =
        gr_context_new(&(gr_context_options){.seed = 17, .isa = isa, .threads = threads});
    const int64_t outputs = problem->sizes[problem->count - 1];
    gr_tensor *x = gr_randn(own, GR_F32, gr_shape(problem->rows, CURVE_INPUTS));
    gr_tensor *noise = gr_rand(own, GR_F32, gr_shape(problem->rows, outputs));
    gr_tensor *first = gr_sigmoid(gr_mul(gr_slice(x, 1, 0, 1, 1), gr_scalar(own, 3)));
    gr_tensor *y = gr_cast(gr_less(noise, first), GR_F32);
    gr_mlp *mlp = gr_mlp_new(own, GR_F32, GR_TANH, problem->count, problem->sizes);
    gr_optimizer *adam = gr_adam(own, gr_mlp_parameters(mlp), .lr = 0.01);

    uint64_t hash = fnv_start;
    for (int step = 0; step < CURVE_STEPS && gr_error(own) == GR_OK; step++) {
        double loss = 0;
        if (curve_step(mlp, x, y, adam, &loss) == GR_OK)
            hash = fnv(hash, &loss, sizeof loss);
    }
    hash = fnv_tensors(hash, gr_mlp_parameters(mlp));
    hash = fnv_tensors(hash, gr_optimizer_state(adam));
    if (gr_error(own) != GR_OK) {
        fprintf(stderr, "%s: %s\n", problem->name, gr_error_message(own));
        hash = 0;
    }
    return gr_context_free(own) == GR_OK ? hash : 0;
}

#endif
