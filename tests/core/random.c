/* random.c - tests of core/engine/random.c and core/base/philox.c: known answers, distributions,
 * and that numbers depend only on seed, call and index.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(random, .init = begin, .fini = end);

/* ---- Known answers --------------------------------------------------------------------------- */

static void expect_words(uint64_t seed, uint64_t stream, uint64_t index, uint32_t a, uint32_t b,
                         uint32_t c, uint32_t d)
{
    const gr_words w = gr_philox(seed, stream, index);
    cr_expect(w.at[0] == a && w.at[1] == b && w.at[2] == c && w.at[3] == d, "%08x %08x %08x %08x",
              w.at[0], w.at[1], w.at[2], w.at[3]);
}

/* From philox4x32 10 in Random123's kat_vectors: counter and key are 0, all ones, and digits of
   pi. */
Test(random, known_answers)
{
    expect_words(0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
    expect_words(UINT64_MAX, UINT64_MAX, UINT64_MAX, 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
                 0x6d5451fd);
    expect_words(UINT64_C(0x299f31d0a4093822), UINT64_C(0x0370734413198a2e),
                 UINT64_C(0x85a308d3243f6a88), 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);
}

/* The same answers from the public function: seed 0, first call, elements 0 and 1. */
Test(random, known_answers_of_rand)
{
    gr_context *other = gr_context_new(&(gr_context_options){.seed = 0});
    gr_tensor *x = gr_rand(other, GR_F64, gr_shape(2));
    cr_expect_eq(gr_get(x, gr_index(0)), (double)(UINT64_C(0x6627e8d5e169c58d) >> 11) * 0x1p-53);
    cr_expect_eq(gr_get(x, gr_index(1)), (double)(UINT64_C(0xbc57ac4c9b00dbd8) >> 11) * 0x1p-53);
    cr_expect_eq(gr_context_free(other), GR_OK);
    other = gr_context_new(&(gr_context_options){.seed = 0});
    const double u = (0x6627e8d5 + 0.5) * 0x1p-32, angle = (0xe169c58d + 0.5) * 0x1p-32;
    const long double normal =
        sqrtl(-2 * logl(u)) * cosl(2 * 3.14159265358979323846264338327950288L * angle);
    cr_expect_leq(ulps(GR_F64, gr_item(gr_randn(other, GR_F64, gr_shape(1))), normal), 8);
    cr_expect_eq(gr_context_free(other), GR_OK);
}

/* Element i takes words of counter i / 2, even if the work is cut elsewhere. */
Test(random, each_element_has_its_words)
{
    enum { FIRST = 3, COUNT = 70001 };
    gr_context *other = new_context(NULL, 2);
    for (int i = 0; i < FIRST; i++)
        gr_rand(other, GR_F32, gr_shape(1));
    double *x = values_of(gr_rand(other, GR_F64, gr_shape(COUNT)));
    for (int64_t i = 0; i < COUNT; i++) {
        const gr_words w = gr_philox(7, FIRST, (uint64_t)i / 2);
        const uint64_t bits = (uint64_t)w.at[i % 2 * 2] << 32 | w.at[i % 2 * 2 + 1];
        cr_assert_eq(x[i], (double)(bits >> 11) * 0x1p-53, "element %d", (int)i);
    }
    free(x);
    cr_expect_eq(gr_context_free(other), GR_OK);
}

/* ---- Distributions --------------------------------------------------------------------------- */

enum { MANY = 200000 };

Test(random, uniform)
{
    for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
        double *x = values_of(gr_rand(ctx, dtype, gr_shape(MANY))), sum = 0, squares = 0,
               neighbours = 0;
        int64_t buckets[16] = {0};
        for (int i = 0; i < MANY; i++) {
            cr_assert(x[i] >= 0 && x[i] < 1, "%s %g", gr_dtype_name(dtype), x[i]);
            sum += x[i];
            squares += (x[i] - 0.5) * (x[i] - 0.5);
            neighbours += i ? (x[i] - 0.5) * (x[i - 1] - 0.5) : 0;
            buckets[(int)(16 * x[i])]++;
        }
        const double coarse = dtype == GR_BF16  ? 0x1p-9
                              : dtype == GR_F16 ? 0x1p-12
                                                : 0; /* truncated */
        double chi2 = 0;
        for (int i = 0; i < 16; i++)
            chi2 += pow((double)buckets[i] - MANY / 16.0, 2) / (MANY / 16.0);
        cr_expect_lt(fabs(sum / MANY + coarse - 0.5), 5 * sqrt(1 / 12.0 / MANY), "%s",
                     gr_dtype_name(dtype));
        cr_expect_lt(fabs(squares / MANY - 1 / 12.0), 0.001);
        cr_expect_lt(fabs(neighbours / MANY), 5 / 12.0 / sqrt(MANY));
        cr_expect_lt(chi2, 45, "chi2 of 15 degrees of freedom: %g", chi2);
        free(x);
    }
}

Test(random, normal)
{
    for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
        double *x = values_of(gr_randn(ctx, dtype, gr_shape(MANY))), power[4] = {0}, neighbours = 0,
               within = 0;
        for (int i = 0; i < MANY; i++) {
            cr_assert(isfinite(x[i]));
            for (int k = 0; k < 4; k++)
                power[k] += pow(x[i], k + 1) / MANY;
            neighbours += i ? x[i] * x[i - 1] / MANY : 0;
            within += fabs(x[i]) < 1.959963985;
        }
        const double unit = 1 / sqrt(MANY);
        cr_expect_lt(fabs(power[0]), 5 * unit);
        cr_expect_lt(fabs(power[1] - 1), 5 * sqrt(2) * unit);
        cr_expect_lt(fabs(power[2]), 5 * sqrt(15) * unit);
        cr_expect_lt(fabs(power[3] - 3), 5 * sqrt(96) * unit);
        cr_expect_lt(fabs(neighbours), 5 * unit);
        cr_expect_lt(fabs(within / MANY - 0.95), dtype == GR_BF16 ? 0.004 : 0.0025, "%g",
                     within / MANY);
        free(x);
    }
}

Test(random, permutation)
{
    static const int64_t counts[] = {0, 1, 2, 3, 10, 1000, 100003};
    for (int i = 0; i < COUNT_OF(counts); i++) {
        gr_tensor *x = gr_permutation(ctx, counts[i]);
        expect_shape(x, gr_shape(counts[i]));
        cr_expect_eq(gr_dtype_of(x), GR_I64);
        bool *seen = calloc((size_t)counts[i] + 1, sizeof *seen);
        const int64_t *order = gr_data(x);
        for (int64_t j = 0; j < counts[i]; j++) {
            cr_assert(order[j] >= 0 && order[j] < counts[i] && !seen[order[j]]);
            seen[order[j]] = true;
        }
        free(seen);
    }
}

/* Each of the 24 orders of four elements must be equally frequent. */
Test(random, permutations_are_even)
{
    enum { TIMES = 24000 };
    int64_t seen[256] = {0};
    for (int i = 0; i < TIMES; i++) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        const int64_t *order = gr_data(gr_permutation(ctx, 4));
        seen[order[0] << 6 | order[1] << 4 | order[2] << 2 | order[3]]++;
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
    }
    double chi2 = 0;
    int orders = 0;
    for (int i = 0; i < 256; i++) {
        orders += seen[i] > 0;
        chi2 += seen[i] ? pow((double)seen[i] - TIMES / 24, 2) / (TIMES / 24) : 0;
    }
    cr_expect_eq(orders, 24);
    cr_expect_lt(chi2, 60, "chi2 of 23 degrees of freedom: %g", chi2);
}

/* ---- What the numbers depend on -------------------------------------------------------------- */

Test(random, seed_call_and_index_alone)
{
    gr_context *same = new_context(NULL, 1);
    gr_context *other =
        gr_context_new(&(gr_context_options){.allocator = &heap_allocator, .seed = 8});
    gr_tensor *x = gr_rand(ctx, GR_F64, gr_shape(100)),
              *again = gr_rand(ctx, GR_F64, gr_shape(100));
    cr_expect_not(same_bits(x, again), "the next call");
    cr_expect(same_bits(gr_rand(same, GR_F64, gr_shape(100)), x));
    cr_expect_not(same_bits(gr_rand(other, GR_F64, gr_shape(100)), x), "another seed");
    /* An element does not depend on the number of elements or on the shape. */
    gr_tensor *more = gr_rand(same, GR_F64, gr_shape(50, 40));
    cr_expect(same_bits(gr_slice(gr_reshape(more, gr_shape(2000)), 0, 0, 100, 1), again));
    /* Narrow dtypes round the same number down, so that it stays below 1. */
    double *wide = values_of(gr_rand(ctx, GR_F64, gr_shape(50))),
           *narrow = values_of(gr_rand(same, GR_F32, gr_shape(50)));
    for (int i = 0; i < 50; i++)
        cr_expect_eq(narrow[i], floor(wide[i] * 0x1p24) * 0x1p-24);
    free(wide);
    free(narrow);
    cr_expect_eq(gr_context_free(same), GR_OK);
    cr_expect_eq(gr_context_free(other), GR_OK);
}

Test(random, a_failed_call_does_not_count)
{
    gr_context *same = new_context(NULL, 1);
    cr_expect(gr_failed(gr_rand(ctx, GR_I32, gr_shape(2))));
    expect_error(ctx, GR_ERROR_DTYPE, "rand: i32 is no float");
    cr_expect(gr_failed(gr_randn(ctx, GR_BOOL, gr_shape(2))));
    expect_error(ctx, GR_ERROR_DTYPE, "randn: bool is no float");
    cr_expect(gr_failed(gr_randn(ctx, GR_F32, gr_shape(-2))));
    gr_error_clear(ctx);
    cr_expect(gr_failed(gr_permutation(ctx, -2)));
    cr_expect_eq(gr_error(ctx), GR_ERROR_ARGUMENT);
    gr_error_clear(ctx);
    heap_fail(1, true);
    cr_expect(gr_failed(gr_randn(ctx, GR_F32, gr_shape(1 << 20))));
    cr_expect_eq(gr_error(ctx), GR_ERROR_MEMORY);
    cr_expect(gr_failed(gr_permutation(ctx, 1 << 20)));
    heap_fail(0, false);
    gr_error_clear(ctx);
    cr_expect(same_bits(gr_randn(ctx, GR_F32, gr_shape(9)), gr_randn(same, GR_F32, gr_shape(9))));
    cr_expect_eq(gr_context_free(same), GR_OK);
}

static void compare_bits(gr_context *other, const char *label, void *data)
{
    uint64_t hash = 0, *known = data;
    for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
        cr_assert_eq(gr_scope_begin(other), GR_OK);
        hash = hash * 31 + hash_of(gr_randn(other, dtype, gr_shape(60001)));
        hash = hash * 31 + hash_of(gr_rand(other, dtype, gr_shape(60001)));
        cr_expect_eq(gr_scope_end(other), GR_OK);
    }
    hash = hash * 31 + hash_of(gr_permutation(other, 1000));
    *known = *known ? *known : hash;
    cr_expect_eq(hash, *known, "other bits with %s", label);
}

Test(random, same_bits)
{
    uint64_t known = 0;
    on_each_context(compare_bits, &known);
}
