/* random.c - random numbers as a function of seed, stream and index.
 *
 * Each call that makes random numbers takes the next stream. Element i takes two words of counter i
 * / 2. So nothing depends on the threads or on earlier work.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/engine/engine.h"

/* The attributes of a call. */
typedef struct random_attributes {
    int64_t dtype;
    gr_dims shape;
    uint64_t stream;
} random_attributes;

static gr_status random_shape(const gr_call *call, gr_form *results)
{
    const random_attributes *r = call->attributes;
    if (!gr_check_shape(call->ctx, call->op->name, (gr_dtype)r->dtype, &r->shape))
        return call->ctx->error;
    *results = (gr_form){.dtype = (gr_dtype)r->dtype, .shape = r->shape};
    return GR_OK;
}

/* Only a call that succeeds moves on to the next stream. */
static gr_tensor *draw(gr_context *ctx, const gr_op *op, const random_attributes *attributes)
{
    gr_tensor *x = gr_apply_in(ctx, op, 0, NULL, attributes);
    if (!gr_failed(x))
        ctx->stream++;
    return x;
}

/* ---- Floats ---------------------------------------------------------------------------------- */

/* Fills in two words for each of the elements [start, start + count). start is even. */
static void fill_words(uint64_t seed, uint64_t stream, int64_t start, int64_t count, uint32_t *to)
{
    for (int64_t i = 0; i < count; i += 2) {
        const gr_words w = gr_philox(seed, stream, (uint64_t)(start + i) / 2);
        for (int64_t j = 0; j < 4 && i + j / 2 < count; j++)
            to[2 * i + j] = w.at[j];
    }
}

/* Returns a uniform number in [0,1) with 53 bits. A narrower dtype gets only as many bits as it
   holds. Otherwise rounding could give 1. */
static double uniform(const uint32_t *pair, gr_dtype dtype)
{
    const uint64_t bits = (uint64_t)pair[0] << 32 | pair[1];
    const int kept = dtype == GR_F64 ? 53 : dtype == GR_F32 ? 24 : dtype == GR_F16 ? 11 : 8;
    return (double)(bits >> (64 - kept)) / (double)((uint64_t)1 << kept);
}

typedef struct share {
    const gr_call *call;
    uint64_t stream;
    bool normal;
} share;

static void fill_chunk(void *state, int64_t chunk)
{
    const share *f = state;
    const gr_context *ctx = f->call->ctx;
    gr_tensor *x = f->call->out;
    const gr_dtype dtype = gr_type(x);
    const int64_t start = chunk * GR_CHUNK, left = gr_count(x) - start;
    const int64_t n = left < GR_CHUNK ? left : GR_CHUNK;
    uint32_t pairs[2 * GR_CHUNK];
    double values[GR_CHUNK];
    fill_words(ctx->seed, f->stream, start, n, pairs);
    if (f->normal)
        ctx->kernels->normal(n, pairs, values);
    for (int64_t i = 0; i < n && !f->normal; i++)
        values[i] = uniform(pairs + 2 * i, dtype);
    gr_convert(GR_F64, values, dtype, gr_bytes(x) + start * gr_dtype_size(dtype), n);
}

static gr_status fill(const gr_call *call, bool normal)
{
    const random_attributes *r = call->attributes;
    const int64_t count = gr_count(call->out);
    gr_parallel_for(gr_threads_for(call->ctx, 4 * count), (count + GR_CHUNK - 1) / GR_CHUNK,
                    fill_chunk, &(share){call, r->stream, normal});
    return GR_OK;
}

static gr_tensor *draw_floats(gr_context *ctx, const gr_op *op, gr_dtype dtype, gr_dims shape)
{
    gr_tensor *failed;
    if (!gr_context_usable(ctx, &failed))
        return failed;
    if (gr_dtype_size(dtype) && !gr_dtype_is_float(dtype))
        return gr_fail_tensor(ctx, GR_ERROR_DTYPE, op->name, "%s is no float",
                              gr_dtype_name(dtype));
    return draw(ctx, op, &(random_attributes){dtype, shape, ctx->stream});
}

/* rand: uniform in [0, 1) */
static gr_status rand_run(const gr_call *call) { return fill(call, false); }
static const gr_op rand_op = {.name = "rand",
                              .kind = GR_RANDOM,
                              .flags = GR_OP_NO_GRAD,
                              .attributes_size = sizeof(random_attributes),
                              .shape = random_shape,
                              .run = rand_run};
gr_tensor *gr_rand(gr_context *ctx, gr_dtype dtype, gr_dims shape)
{
    return draw_floats(ctx, &rand_op, dtype, shape);
}

/* randn: normal, mean 0, standard deviation 1 */
static gr_status randn_run(const gr_call *call) { return fill(call, true); }
static const gr_op randn_op = {.name = "randn",
                               .kind = GR_RANDOM,
                               .flags = GR_OP_NO_GRAD,
                               .attributes_size = sizeof(random_attributes),
                               .shape = random_shape,
                               .run = randn_run};
gr_tensor *gr_randn(gr_context *ctx, gr_dtype dtype, gr_dims shape)
{
    return draw_floats(ctx, &randn_op, dtype, shape);
}

/* ---- Orders ---------------------------------------------------------------------------------- */

/* Returns a number in [0, bound) with equal probabilities. It reads the 64-bit words of one
   element. This is Lemire's multiplication method. Where the method would be biased, it draws again
   from a counter far away. */
static uint64_t below(uint64_t bound, uint64_t seed, uint64_t stream, uint64_t element)
{
    const uint64_t threshold = -bound % bound;
    for (uint64_t attempt = 0;; attempt++) {
        const gr_words w = gr_philox(seed, stream, element | attempt << 48);
        const uint64_t bits = (uint64_t)w.at[0] << 32 | w.at[1];
        const __uint128_t product = (__uint128_t)bits * bound;
        if ((uint64_t)product >= threshold)
            return (uint64_t)(product >> 64);
    }
}

/* The shuffle of Fisher and Yates in Durstenfeld's form (Communications of the ACM, 1964). */
static gr_status permutation_run(const gr_call *call)
{
    const random_attributes *r = call->attributes;
    const int64_t count = gr_count(call->out);
    int64_t *order = (int64_t *)(void *)gr_bytes(call->out);
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    for (int64_t i = count - 1; i > 0; i--) {
        const int64_t j = (int64_t)below((uint64_t)i + 1, call->ctx->seed, r->stream, (uint64_t)i);
        const int64_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    return GR_OK;
}

/* permutation(count): 0 ... count - 1 in random order */
static const gr_op permutation_op = {.name = "permutation",
                                     .kind = GR_RANDOM,
                                     .flags = GR_OP_NO_GRAD,
                                     .attributes_size = sizeof(random_attributes),
                                     .shape = random_shape,
                                     .run = permutation_run};
gr_tensor *gr_permutation(gr_context *ctx, int64_t count)
{
    gr_tensor *failed;
    if (!gr_context_usable(ctx, &failed))
        return failed;
    if (count < 0)
        return gr_fail_tensor(ctx, GR_ERROR_ARGUMENT, "permutation", "count %lld is negative",
                              (long long)count);
    return draw(ctx, &permutation_op,
                &(random_attributes){
                    .dtype = GR_I64, .shape = {.count = 1, .at = {count}}, .stream = ctx->stream});
}
