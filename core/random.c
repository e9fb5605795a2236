/* random.c - random numbers that are a function of seed, stream and index.
 *
 * Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011): ten rounds turn the counter (index, stream) into four words under the key (seed). Each
 * call that makes random numbers has the next stream; element i of it uses words of counter i / 2,
 * two for each element. Nothing depends on who computes it, or on what was computed before.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/internal.h"

typedef struct words {
    uint32_t at[4];
} words;

static words philox(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    words w = {
        {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)}};
    for (int round = 0; round < 10; round++) {
        const uint64_t product0 = (uint64_t)0xD2511F53u * w.at[0];
        const uint64_t product1 = (uint64_t)0xCD9E8D57u * w.at[2];
        w = (words){{(uint32_t)(product1 >> 32) ^ w.at[1] ^ key0, (uint32_t)product1,
                     (uint32_t)(product0 >> 32) ^ w.at[3] ^ key1, (uint32_t)product0}};
        key0 +=
            0x9E3779B9u; /* the golden ratio, and the square root of 3 less 1, as the paper has */
        key1 += 0xBB67AE85u;
    }
    return w;
}

/* Two words for each of the elements [start, start + count), an even start. */
static void fill_words(uint64_t seed, uint64_t stream, int64_t start, int64_t count, uint32_t *to)
{
    for (int64_t i = 0; i < count; i += 2) {
        const words w = philox(seed, stream, (uint64_t)(start + i) / 2);
        for (int64_t j = 0; j < 4 && i + j / 2 < count; j++)
            to[2 * i + j] = w.at[j];
    }
}

/* Uniform in [0,1), 53 bits; where the dtype is narrower, as many as it holds, so that it is not
   rounded up to 1. */
static double uniform(const uint32_t *pair, gr_dtype dtype)
{
    const uint64_t bits = (uint64_t)pair[0] << 32 | pair[1];
    const int kept = dtype == GR_F64 ? 53 : dtype == GR_F32 ? 24 : dtype == GR_F16 ? 11 : 8;
    return (double)(bits >> (64 - kept)) / (double)((uint64_t)1 << kept);
}

typedef struct fill {
    gr_tensor *x;
    bool normal;
} fill;

static void fill_chunk(void *state, int64_t chunk)
{
    const fill *f = state;
    const gr_context *ctx = f->x->ctx;
    const gr_dtype dtype = f->x->dtype;
    const int64_t start = chunk * GR_CHUNK, left = gr_numel(f->x) - start;
    const int64_t n = left < GR_CHUNK ? left : GR_CHUNK;
    uint32_t pairs[2 * GR_CHUNK];
    double values[GR_CHUNK];
    fill_words(ctx->seed, ctx->stream, start, n, pairs);
    if (f->normal)
        ctx->kernels->normal(n, pairs, values);
    for (int64_t i = 0; i < n && !f->normal; i++)
        values[i] = uniform(pairs + 2 * i, dtype);
    gr_convert(GR_F64, values, dtype, f->x->data + start * gr_dtype_size(dtype), n);
}

static gr_tensor *random_tensor(gr_context *ctx, const char *op, gr_dtype dtype,
                                const gr_dims *shape, bool normal)
{
    gr_tensor *failed;
    if (!gr_context_usable(ctx, &failed))
        return failed;
    if (gr_dtype_size(dtype) && !gr_dtype_is_float(dtype))
        return gr_fail_tensor(ctx, GR_ERROR_DTYPE, op, "%s is no float", gr_dtype_name(dtype));
    gr_tensor *x = gr_tensor_in(ctx->scope, op, dtype, shape);
    if (!x)
        return failed;
    const int64_t count = gr_numel(x);
    gr_parallel_for(gr_threads_for(ctx, 4 * count), (count + GR_CHUNK - 1) / GR_CHUNK, fill_chunk,
                    &(fill){x, normal});
    ctx->stream++;
    return x;
}

gr_tensor *gr_rand(gr_context *ctx, gr_dtype dtype, gr_dims shape)
{
    return random_tensor(ctx, "rand", dtype, &shape, false);
}

gr_tensor *gr_randn(gr_context *ctx, gr_dtype dtype, gr_dims shape)
{
    return random_tensor(ctx, "randn", dtype, &shape, true);
}

/* A number in [0, bound), each as likely as any other, from the 64-bit words of one element on:
   Lemire's multiplication, drawn again (from a counter far away) where it would be biased. */
static uint64_t below(uint64_t bound, uint64_t seed, uint64_t stream, uint64_t element)
{
    const uint64_t threshold = -bound % bound;
    for (uint64_t attempt = 0;; attempt++) {
        const words w = philox(seed, stream, element | attempt << 48);
        const uint64_t bits = (uint64_t)w.at[0] << 32 | w.at[1];
        const __uint128_t product = (__uint128_t)bits * bound;
        if ((uint64_t)product >= threshold)
            return (uint64_t)(product >> 64);
    }
}

gr_tensor *gr_permutation(gr_context *ctx, int64_t count)
{
    gr_tensor *x = gr_arange(ctx, GR_I64, count);
    if (gr_failed(x))
        return x;
    /* Fisher and Yates, as Durstenfeld wrote it down (Communications of the ACM, 1964). */
    int64_t *order = (int64_t *)(void *)x->data;
    for (int64_t i = count - 1; i > 0; i--) {
        const int64_t j = (int64_t)below((uint64_t)i + 1, ctx->seed, ctx->stream, (uint64_t)i);
        const int64_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    ctx->stream++;
    return x;
}
