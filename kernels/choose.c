/* choose.c - chooses the table of kernels for this processor.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels.h"

#include <string.h>

#include "tables.h"

#define GR_COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* These are chains of && because __builtin_cpu_supports takes only literals. has_fma also asks for
   AVX, because the scalar unit is compiled with -mfma, which lets the compiler use AVX. */
static bool has_fma(void) { return __builtin_cpu_supports("avx") && __builtin_cpu_supports("fma"); }
static bool has_avx2(void) { return has_fma() && __builtin_cpu_supports("avx2"); }
static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

typedef struct gr_unit {
    const gr_kernels *table;
    bool (*supported)(void);
    const char *reason; /* why not, if it is not supported */
} gr_unit;

/* The widest first. */
static const gr_unit units[] = {
    {&gr_kernels_avx512, has_avx512, "this processor has no AVX-512 (F, DQ, BW, VL)"},
    {&gr_kernels_avx2, has_avx2, "this processor has no AVX2 with fused multiply-add"},
    {&gr_kernels_scalar, has_fma, "this processor has no fused multiply-add, which gradus needs"},
};

static const gr_unit *find(const char *isa)
{
    for (int i = 0; i < GR_COUNT(units); i++)
        if (strcmp(units[i].table->isa, isa) == 0)
            return &units[i];
    return NULL;
}

const gr_kernels *gr_kernels_choose(const char *isa)
{
    __builtin_cpu_init();
    if (isa) {
        const gr_unit *unit = find(isa);
        return unit && unit->supported() ? unit->table : NULL;
    }
    for (int i = 0; i < GR_COUNT(units); i++)
        if (units[i].supported())
            return units[i].table;
    return NULL;
}

const char *gr_kernels_reason(const char *isa)
{
    const gr_unit *unit = isa ? find(isa) : &units[GR_COUNT(units) - 1];
    return unit ? unit->reason : "no such instruction set; there are scalar, avx2 and avx512";
}
