/* support.h - shared by the tests of the kernels: the tables of this processor, the rows of
 * kernels.def, and arrays of either type between guards.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_KERNELS_H
#define GRADUS_TESTS_KERNELS_H

#include "kernels/kernels.h"
#include "tests/common/common.h"
#include <float.h>

/* ---- Tables and rows ------------------------------------------------------------------------- */

typedef struct kernel_row {
    const char *name;
    int inputs, outputs;
} kernel_row;

static const kernel_row kernel_rows[] = {
#define KERNEL(name, NAME, inputs, outputs) {#name, inputs, outputs},
#include "kernels/kernels.def"
#undef KERNEL
};

static const char *const isas[] = {"scalar", "avx2", "avx512"};
enum { ISAS = COUNT_OF(isas) };

/* Finds the tables that this processor can run, scalar first, and returns their number. Prints
   which ones it cannot run. */
static inline int find_tables(const gr_kernels *tables[ISAS])
{
    int count = 0;
    for (int i = 0; i < ISAS; i++) {
        tables[count] = gr_kernels_choose(isas[i]);
        if (tables[count])
            count++;
        else
            printf("%s is left out: %s\n", isas[i], gr_kernels_reason(isas[i]));
    }
    cr_assert_gt(count, 0, "there is no table at all");
    return count;
}

/* ---- Elements -------------------------------------------------------------------------------- */

static inline int64_t size_of(int ktype) { return ktype == GR_K32 ? 4 : 8; }
static inline gr_dtype dtype_of(int ktype) { return ktype == GR_K32 ? GR_F32 : GR_F64; }

static inline void put(int ktype, void *to, int64_t i, double value)
{
    if (ktype == GR_K32)
        ((float *)to)[i] = (float)value;
    else
        ((double *)to)[i] = value;
}

static inline double get(int ktype, const void *from, int64_t i)
{
    return ktype == GR_K32 ? (double)((const float *)from)[i] : ((const double *)from)[i];
}

/* True if both have the same bits, or both are NaN. */
static inline bool same_element(int ktype, const void *a, const void *b, int64_t i)
{
    const double one = get(ktype, a, i), other = get(ktype, b, i);
    return isnan(one) ? isnan(other) : one == other && signbit(one) == signbit(other);
}

/* The first of n elements in which a and b differ, or -1. Two NaNs do not differ. */
static inline int64_t first_difference(int ktype, const void *a, const void *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!same_element(ktype, a, b, i))
            return i;
    return -1;
}

/* A value with random bits. */
static inline double draw_any(int ktype)
{
    const uint64_t bits = draw_bits();
    float narrow;
    double wide;
    memcpy(&narrow, &bits, sizeof narrow);
    memcpy(&wide, &bits, sizeof wide);
    return ktype == GR_K32 ? (double)narrow : wide;
}

/* A value at which a function changes its behaviour, or a very large or very small one. */
static inline double draw_edge(void)
{
    static const double edges[] = {
        0,           0x1p-149, 0x1p-126, 0x1.8p-127, 1e-40,     1e-30,     0x1p-24,   0.5,
        1 - 0x1p-24, 1,        2,        3,          16.6,      20,        37.43,     87.3,
        88.72,       88.73,    89,       103.9,      104,       709.7,     709.78271, 709.79,
        744.4,       745.2,    1e4,      16777216,   1e30,      1e38,      2e38,      FLT_MAX,
        1e300,       DBL_MAX,  INFINITY, NAN,        0x1p-1074, 0x1p-1022, 1e-310,    1e-300};
    const uint64_t bits = draw_bits();
    const double edge = edges[bits % (uint64_t)COUNT_OF(edges)];
    return bits >> 63 ? -edge : edge;
}

/* The first of n elements in which a and b have different bits, or -1. Two NaNs may differ. */
static inline int64_t first_other_bits(int ktype, const void *a, const void *b, int64_t n)
{
    const int64_t size = size_of(ktype);
    for (int64_t i = 0; i < n; i++)
        if (memcmp((const char *)a + i * size, (const char *)b + i * size, (size_t)size) != 0)
            return i;
    return -1;
}

/* ---- Guarded arrays -------------------------------------------------------------------------- */

enum { LONGEST = 4096 + 3, GUARD = 16, SHIFTS = 8, GUARD_BYTE = 0x5a };

/* Memory for LONGEST elements of either type, with GUARD elements before and after them. They can
   start at SHIFTS different alignments. */
typedef struct guarded {
    double memory[GUARD + SHIFTS + LONGEST + GUARD];
} guarded;

/* Returns the address of n elements. Sets them and their guards to GUARD_BYTE. */
static inline void *guard(guarded *array, int ktype, int64_t n, int shift)
{
    const int64_t size = size_of(ktype);
    char *first = (char *)array->memory + (GUARD + shift) * size;
    memset(first - GUARD * size, GUARD_BYTE, (size_t)((n + 2 * GUARD) * size));
    return first;
}

/* True if no guard of the n elements at `first` was written. */
static inline bool guards_hold(const void *first, int ktype, int64_t n)
{
    const int64_t length = GUARD * size_of(ktype);
    const char *before = (const char *)first - length;
    const char *behind = (const char *)first + n * size_of(ktype);
    for (int64_t i = 0; i < length; i++)
        if (before[i] != GUARD_BYTE || behind[i] != GUARD_BYTE)
            return false;
    return true;
}

#endif
