/* kernels.h - what the hot loops offer to the rest: one table of functions per instruction set.
 *
 * A kernel sees contiguous arrays only. The driver (core/map.c) cuts work into chunks, gathers
 * strided, broadcast or converted operands into scratch, and decides which thread computes what.
 * A kernel's result depends on its arguments alone and has the same bits for every table.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_KERNELS_H
#define GRADUS_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

/* Elements a block: the unit of reduction. Elements a chunk: what a kernel is given at once where
   operands are gathered. Lanes: accumulators in a block, whatever the vector's width. */
enum { GR_BLOCK = 4096, GR_CHUNK = 1024, GR_LANES = 16 };

/* The dtypes that kernels compute in; the index of each table below. */
enum { GR_K32, GR_K64, GR_KTYPES };

/* out[j][i] = f(in[0][i], in[1][i], ...) for i in [0, n). in[k] and out[j] are contiguous arrays of
   the kernel's type (float or double); an output that is not wanted is NULL; an operand that is not
   given is NULL. Returns 0, or GR_OUTSIDE_* bits for values outside the domain, found on the
   way. */
typedef int gr_map_kernel(int64_t n, void *const *out, const void *const *in, const void *args);

enum { GR_OUTSIDE_INPUT = 1, GR_OUTSIDE_TARGET = 2 };

/* A map kernel whose first output is summed: lanes[i % GR_LANES] += out[0][i], where out[0] itself
   is not written, and each other output as it is wanted. n is at most GR_BLOCK, and the first
   element is one at which a chunk begins, so that the bits depend on the elements' index only. */
typedef int gr_sum_kernel(int64_t n, void *const *out, const void *const *in, const void *args,
                          double *lanes);

/* One per row of kernels.def. */
typedef enum gr_kernel_id {
#define KERNEL(name, NAME, inputs, outputs) GR_KERNEL_##NAME,
#include "kernels.def"
#undef KERNEL
    GR_KERNEL_COUNT
} gr_kernel_id;

/* Options of the kernels that have any; args points to them. */
typedef struct gr_pow_kernel_args {
    double exponent;
} gr_pow_kernel_args;

/* Of bce and bce_with_logits. in: x, target, weight, pos_weight, mask (each but x and target may be
   NULL). out: loss, dx, dtarget, dweight, dpos_weight (any may be NULL), each before the
   reduction's factor. */
typedef struct gr_bce_kernel_args {
    double label_smoothing, gamma, alpha;
    bool strict_target;
} gr_bce_kernel_args;

/* What a cross entropy's input is; the index of bce_sum. */
enum { GR_BCE_OF_PROBABILITIES, GR_BCE_OF_LOGITS, GR_BCE_KINDS };

struct gr_gemm;

typedef struct gr_kernels {
    const char *isa;
    gr_map_kernel *map[GR_KERNEL_COUNT][GR_KTYPES];

    /* lanes[i % GR_LANES] += x[i], in order of i, in double. */
    void (*accumulate[GR_KTYPES])(int64_t n, const void *x, double *lanes);

    /* For each column c of `columns`: lanes[r % GR_LANES][c] += x[r * stride + c] for r in [0,
       rows) in ascending order; lanes is [GR_LANES][columns]. The same sums as accumulate, for many
       columns side by side. */
    void (*accumulate_rows[GR_KTYPES])(int64_t rows, int64_t columns, const void *x, int64_t stride,
                                       double *lanes);

    /* The sum of a cross entropy's losses, and its gradients; operands as gr_bce_kernel_args has
       them. Where in a chunk nothing but logits and targets matters the logarithms are taken
       together: an element costs one exp. A weight, pos_weight or mask of ones changes no bit. */
    gr_sum_kernel *bce_sum[GR_BCE_KINDS][GR_KTYPES];

    /* c[i,j] = sum over k, ascending, of a[i,k] b[k,j], each a chain of fused multiply-adds from 0,
       for rows i in [row, row_end) and columns j in [column, column_end). Strides in elements;
       c's column stride is 1. scratch: gemm_scratch(n, k) bytes, aligned to 64, of the calling
       thread, where n is the problem's or column_end - column. */
    void (*gemm[GR_KTYPES])(const struct gr_gemm *problem, int64_t row, int64_t row_end,
                            int64_t column, int64_t column_end, void *scratch);
    int64_t (*gemm_scratch[GR_KTYPES])(int64_t n, int64_t k);

    /* Standard normals from 2 n uniform 32-bit words (Box-Muller, computed in f64). */
    void (*normal)(int64_t n, const uint32_t *words, double *out);
} gr_kernels;

typedef struct gr_gemm {
    int64_t m, n, k;
    const void *a;
    int64_t a_row, a_column;
    const void *b;
    int64_t b_row, b_column;
    void *c;
    int64_t c_row;
} gr_gemm;

/* The table for an instruction set's name, or for NULL the widest that this processor has. NULL if
   the name is unknown or the processor lacks it (without FMA: every one). */
const gr_kernels *gr_kernels_choose(const char *isa);

/* Why gr_kernels_choose(isa) gave NULL, one line; static. */
const char *gr_kernels_reason(const char *isa);

/* The lanes folded in the fixed tree: (i) + (i + 8), then 4, 2, 1. */
double gr_fold_lanes(const double *lanes);

/* n block sums folded in the fixed pairwise tree; n = 0 gives 0. Overwrites them. */
double gr_fold_blocks(int64_t n, double *sums);

/* Conversions of one element, rounded once to nearest even. */
float gr_f16_to_f32(uint16_t half);
float gr_bf16_to_f32(uint16_t half);
uint16_t gr_f32_to_f16(float value);
uint16_t gr_f32_to_bf16(float value);
uint16_t gr_f64_to_f16(double value);
uint16_t gr_f64_to_bf16(double value);

#endif
