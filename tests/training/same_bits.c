/* same_bits.c - a training run leaves the same bits with any number of threads and any instruction
 * set. tests/run --all also compares compilers and levels of optimisation.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/training/curve.h"
#include <criterion/criterion.h>

static const char *const isas[] = {"scalar", "avx2", "avx512"};
static const int threads[] = {1, 2, 4, 7};

enum { ISAS = sizeof isas / sizeof *isas, THREADS = sizeof threads / sizeof *threads };

static bool machine_has(const char *isa)
{
    gr_context *ctx = gr_context_new(&(gr_context_options){.isa = isa});
    return gr_context_free(ctx) == GR_OK;
}

static void expect_one_hash(const curve_problem *problem)
{
    const uint64_t expected = curve_hash(problem, "scalar", 1);
    cr_assert_neq(expected, 0);
    for (int i = 0; i < ISAS; i++) {
        if (!machine_has(isas[i]))
            continue;
        for (int j = 0; j < THREADS; j++) {
            const uint64_t hash = curve_hash(problem, isas[i], threads[j]);
            cr_expect_eq(hash, expected, "%s, %s, %d threads: %016llx, and not %016llx",
                         problem->name, isas[i], threads[j], (unsigned long long)hash,
                         (unsigned long long)expected);
        }
    }
}

TestSuite(same_bits, .timeout = 600);

Test(same_bits, of_a_tall_problem) { expect_one_hash(&curve_tall); }
Test(same_bits, of_a_wide_problem) { expect_one_hash(&curve_wide); }

/* The hash must detect a change of one bit in one weight. */
Test(same_bits, hash_sees_one_bit)
{
    float weights[1000] = {0};
    const uint64_t before = fnv(fnv_start, weights, sizeof weights);
    weights[500] = 1e-45f;
    cr_expect_neq(fnv(fnv_start, weights, sizeof weights), before);
}
