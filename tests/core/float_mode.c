/* float_mode.c - a host program's floating-point mode changes no bit, and it stays as it was.
 *
 * Flush to zero, roundings and traps are set around the calls of gradus, in the calling thread and
 * in threads that it starts. Each loss, softmax and the matrix product, ops at all ranges, and a
 * whole training run must have the bits of the standard mode.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/forms.h"
#include "tests/common/rows.h"
#include "tests/training/curve.h"

#ifdef __x86_64__
#include <xmmintrin.h>

TestSuite(float_mode, .init = begin, .fini = end, .timeout = 300);

enum { STANDARD = 0x1f80, MODE = 0xffc0, SAMPLES = 33 };

static const struct mode_row {
    const char *name;
    unsigned bits;
} modes[] = {
    {"FTZ and DAZ", STANDARD | 0x8040}, {"rounding down", STANDARD | 0x2000},
    {"rounding up", STANDARD | 0x4000}, {"rounding to zero", STANDARD | 0x6000},
    {"traps", STANDARD & ~0x680u},
};

#define EACH_MODE(mode)                                                                            \
    for (const struct mode_row *mode = modes; mode < modes + COUNT_OF(modes); mode++)

/* Runs `hash` in a mode. The mode must be the same at the end. */
static uint64_t in_mode(const struct mode_row *mode, uint64_t (*hash)(const void *data),
                        const void *data)
{
    _mm_setcsr(mode->bits);
    const uint64_t found = hash(data);
    const unsigned after = _mm_getcsr();
    _mm_setcsr(STANDARD);
    cr_expect_eq(after & MODE, mode->bits & MODE, "%s: the mode is %x afterwards", mode->name,
                 after & MODE);
    return found;
}

static void expect_same_bits(const char *name, uint64_t (*hash)(const void *), const void *data)
{
    const uint64_t known = hash(data);
    cr_expect_neq(known, 0, "%s", name);
    EACH_MODE(mode)
    {
        const uint64_t got = in_mode(mode, hash, data);
        cr_expect_eq(got, known, "%s: %s changes the bits", name, mode->name);
    }
}

/* ---- Losses, softmax, products --------------------------------------------------------------- */

typedef struct form_case {
    const form *form;
    gr_dtype dtype;
    gr_reduction reduction;
    bool record;
    const form_samples *samples;
} form_case;

static uint64_t form_hash(const void *data)
{
    const form_case *c = data;
    gr_tensor *in[FORM_OPERANDS], *variables[FORM_OPERANDS], *gradients[FORM_OPERANDS];
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    const int count =
        gather_operands(ctx, c->form, c->dtype, c->samples, c->samples->count, NULL, in, variables);
    gr_tensor *y = c->form->call(in, c->reduction);
    gr_tensor *loss = c->reduction == GR_NONE ? gr_mean(y) : y;
    (void)!gr_grad_with(loss, (gr_tensors){count, variables}, gradients,
                        &(gr_grad_args){.record = c->record});
    uint64_t hash = hash_of(y);
    for (int i = 0; i < count; i++)
        hash = hash * 31 + hash_of(gradients[i]);
    cr_assert_eq(gr_scope_end(ctx), GR_OK, "%s: %s", c->form->name, gr_error_message(ctx));
    return hash;
}

Test(float_mode, losses)
{
    no_specials = true;
    EACH_FORM(f) {
        form_samples samples = draw_samples(f, SAMPLES);
        for (gr_dtype dtype = GR_F32; dtype <= GR_F16; dtype++)
            for (int record = 0; record < 2; record++)
                expect_same_bits(f->name, form_hash,
                                 &(form_case){f, dtype, GR_MEAN, record, &samples});
        free_samples(&samples);
    }
}

/* ---- Ops ------------------------------------------------------------------------------------- */

static uint64_t unary_hash(const void *data)
{
    const unary_row *row = data;
    uint64_t hash = 1;
    for (gr_dtype dtype = GR_F32; dtype <= GR_F64; dtype++)
        hash = hash * 31 + hash_of(row->call(edges(ctx, dtype)));
    return hash;
}

static uint64_t binary_hash(const void *data)
{
    const binary_row *row = data;
    uint64_t hash = 1;
    for (gr_dtype dtype = GR_F32; dtype <= GR_F64; dtype++) {
        gr_tensor *x = edges(ctx, dtype);
        hash = hash * 31 + hash_of(row->call(x, gr_reshape(x, gr_shape(-1, 1))));
    }
    return hash;
}

Test(float_mode, ops)
{
    EACH_ROW(row, unary_rows)
        expect_same_bits(row->name, unary_hash, row);
    EACH_ROW(row, binary_rows)
        expect_same_bits(row->name, binary_hash, row);
}

static uint64_t read_hash(const void *data)
{
    gr_tensor *x = *(gr_tensor *const *)data, *copy = gr_zeros_like(x);
    uint64_t hash = 1;
    for (int64_t i = 0; i < gr_numel(x); i++) {
        const double values[] = {gr_get(x, gr_shape(i)), gr_item(gr_slice(x, 0, i, i + 1, 1))};
        hash = fnv(hash, values, sizeof values);
    }
    float floats[256];
    cr_assert_leq(gr_numel(x), COUNT_OF(floats));
    cr_assert_eq(gr_read(x, GR_F32, gr_numel(x), floats), GR_OK);
    cr_assert_eq(gr_write(copy, GR_F32, gr_numel(x), floats), GR_OK);
    return fnv(fnv_tensor(hash, copy), floats, (int64_t)sizeof *floats * gr_numel(x));
}

Test(float_mode, reading_and_writing)
{
    gr_tensor *x =
        gr_mul(gr_add(gr_arange(ctx, GR_F64, 100), gr_scalar(ctx, 0.1)), gr_scalar(ctx, 1e-40));
    expect_same_bits("read", read_hash, &x);
    gr_tensor *halves = gr_cast(gr_mul(x, gr_scalar(ctx, 1e34)), GR_F16);
    expect_same_bits("halves", read_hash, &halves);
}

/* ---- Training -------------------------------------------------------------------------------- */

static uint64_t one_thread(const void *data) { return curve_hash(data, NULL, 1); }
static uint64_t four_threads(const void *data) { return curve_hash(data, NULL, 4); }

/* The pool's threads start in the standard mode, and then in a host's. */
Test(float_mode, training)
{
    const uint64_t known = one_thread(&curve_wide);
    cr_expect_eq(four_threads(&curve_wide), known);
    EACH_MODE(mode)
    {
        cr_expect_eq(in_mode(mode, four_threads, &curve_wide), known, "%s", mode->name);
    }
}

/* OpenMP's threads keep the mode of the thread that started them. */
Test(float_mode, threads_that_the_host_started_in_another_mode)
{
    unsigned changed = 0;
    _mm_setcsr(STANDARD | 0x4000);
#pragma omp parallel num_threads(4) reduction(+ : changed)
    changed += (_mm_getcsr() & 0x4000) != 0;
    _mm_setcsr(STANDARD);
    cr_assert_eq(changed, 4);
    cr_expect_eq(four_threads(&curve_wide), one_thread(&curve_wide));
}

static uint64_t weights_hash(const void *data)
{
    const int64_t *sizes = data;
    gr_context *own = gr_context_new(NULL);
    const uint64_t hash = hash_of(gr_xavier(own, GR_F64, sizes[0], sizes[1])) * 31 +
                          hash_of(gr_kaiming(own, GR_F64, sizes[0], sizes[1]));
    return gr_context_free(own) == GR_OK ? hash : 0;
}

Test(float_mode, first_weights)
{
    for (int64_t size = 3; size < 9; size++)
        expect_same_bits("weights", weights_hash, (const int64_t[]){size, size + 2});
}

static uint64_t smooth_hash(const void *data)
{
    gr_tensor *const *of = data;
    return hash_of(gr_cross_entropy(of[0], of[1], .label_smoothing = 0.1));
}

Test(float_mode, smooth_probabilities)
{
    gr_tensor *of[] = {sample(ctx, GR_F64, gr_shape(5, 7), -3, 3),
                       gr_softmax(sample(ctx, GR_F64, gr_shape(5, 7), -3, 3), 1)};
    expect_same_bits("cross_entropy", smooth_hash, of);
}

#else
Test(float_mode, other_processors) { cr_skip_test("the modes are those of x86-64"); }
#endif
