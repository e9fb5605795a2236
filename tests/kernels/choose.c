/* choose.c - tests of kernels/choose.c: which table is chosen, and the reason if there is none.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

/* Checks each feature, independently of kernels/choose.c. */
static bool processor_has(const char *isa)
{
    __builtin_cpu_init();
    const bool fma = __builtin_cpu_supports("avx") && __builtin_cpu_supports("fma");
    const bool avx2 = fma && __builtin_cpu_supports("avx2");
    if (strcmp(isa, "scalar") == 0)
        return fma;
    if (strcmp(isa, "avx2") == 0)
        return avx2;
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

Test(choose, a_name_gives_its_table_where_the_processor_has_it)
{
    for (int i = 0; i < ISAS; i++) {
        const gr_kernels *table = gr_kernels_choose(isas[i]);
        cr_expect_eq(table != NULL, processor_has(isas[i]), "%s", isas[i]);
        if (table)
            cr_expect_str_eq(table->isa, isas[i]);
    }
}

Test(choose, the_default_is_the_widest)
{
    const gr_kernels *widest = NULL;
    for (int i = 0; i < ISAS; i++)
        if (processor_has(isas[i]))
            widest = gr_kernels_choose(isas[i]);
    cr_expect_eq(gr_kernels_choose(NULL), widest);
}

Test(choose, an_unknown_name_gives_null_and_the_reason_lists_the_names)
{
    static const char *const unknown[] = {"", "avx", "AVX2", "avx2 ", "avx5122", "neon", "sse2"};
    for (int i = 0; i < COUNT_OF(unknown); i++) {
        const char *reason = gr_kernels_reason(unknown[i]);
        cr_expect_null(gr_kernels_choose(unknown[i]), "'%s'", unknown[i]);
        cr_expect(strstr(reason, "no such instruction set"), "'%s': %s", unknown[i], reason);
        for (int j = 0; j < ISAS; j++)
            cr_expect(strstr(reason, isas[j]), "'%s': %s", unknown[i], reason);
    }
}

Test(choose, each_reason_names_the_missing_feature)
{
    cr_expect(strstr(gr_kernels_reason("avx512"), "AVX-512"));
    cr_expect(strstr(gr_kernels_reason("avx2"), "AVX2"));
    cr_expect(strstr(gr_kernels_reason("scalar"), "fused multiply-add"));
    cr_expect_str_eq(gr_kernels_reason(NULL), gr_kernels_reason("scalar"));
    for (int i = 0; i < ISAS; i++)
        cr_expect_null(strchr(gr_kernels_reason(isas[i]), '\n'));
}

Test(choose, each_table_is_complete)
{
    const gr_kernels *tables[ISAS];
    const int count = find_tables(tables);
    for (int t = 0; t < count; t++) {
        for (int ktype = 0; ktype < GR_KTYPES; ktype++) {
            for (int id = 0; id < GR_KERNEL_COUNT; id++)
                cr_expect(tables[t]->map[id][ktype], "%s %s", tables[t]->isa, kernel_rows[id].name);
            cr_expect(tables[t]->accumulate[ktype]);
            cr_expect(tables[t]->accumulate_rows[ktype]);
            for (int kind = 0; kind < GR_BCE_KINDS; kind++)
                cr_expect(tables[t]->bce_sum[kind][ktype]);
            cr_expect(tables[t]->gemm[ktype]);
            cr_expect(tables[t]->gemm_scratch[ktype]);
        }
        cr_expect(tables[t]->line.softmax && tables[t]->line.log_softmax && tables[t]->line.others);
        cr_expect(tables[t]->line.softmax_slope && tables[t]->line.log_softmax_slope);
        cr_expect(tables[t]->line.narrow);
        cr_expect(tables[t]->normal);
    }
}
