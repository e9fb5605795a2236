/* kernels.h - the interface of the innermost loops: a table of functions for each instruction set.
 *
 * A kernel gets only contiguous arrays. The driver (core/engine/elementwise.c) divides the work
 * into chunks, copies strided, broadcast and converted operands into scratch memory, and
 * distributes the chunks among threads. A kernel's result depends only on its arguments, and every
 * table gives the same bits.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_KERNELS_H
#define GRADUS_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

/* GR_BLOCK: elements that a reduction adds up before it combines the sums. GR_CHUNK: elements that
   a kernel gets at once if operands were copied. GR_LANES: accumulators per block, the same number
   for every width of vectors. */
enum { GR_BLOCK = 4096, GR_CHUNK = 1024, GR_LANES = 16 };

/* GR_GROUP: elements that are added up by themselves before they are added to the lanes of a block.
   GR_TILE: columns that are added up at once. */
enum { GR_GROUP = 16 * GR_LANES, GR_TILE = 64 };

/* Room behind a line of doubles: the widest vector. */
enum { GR_LINE_PAD = 8 };

/* The dtypes that kernels compute in. They are an index of the arrays below. */
enum { GR_K32, GR_K64, GR_KTYPES };

/* out[j][i] = f(in[0][i], in[1][i], ...) for i in [0, n). in[k] and out[j] are contiguous arrays of
   the kernel's type (float or double). An output that is not wanted is NULL, and so is an operand
   that is not given. Returns 0, or GR_OUTSIDE_* bits if an operand has values outside its
   domain. */
typedef int gr_map_kernel(int64_t n, void *const *out, const void *const *in, const void *args);

enum { GR_OUTSIDE_INPUT = 1, GR_OUTSIDE_TARGET = 2 };

/* A map kernel that does not write its first output but adds element i to lanes[i % GR_LANES]. It
   writes the other outputs that are wanted. n is at most GR_BLOCK. The first element is always the
   first of a chunk, so that the bits of a sum do not depend on how work is divided. */
typedef int gr_sum_kernel(int64_t n, void *const *out, const void *const *in, const void *args,
                          double *lanes);

/* One for each row of kernels.def. */
typedef enum gr_kernel_id {
#define KERNEL(name, NAME, inputs, outputs) GR_KERNEL_##NAME,
#include "kernels.def"
#undef KERNEL
    GR_KERNEL_COUNT
} gr_kernel_id;

/* The options of a kernel; args points to them. */
typedef struct gr_pow_kernel_args {
    double exponent;
} gr_pow_kernel_args;

/* The factor of scale is the sum of both. An infinite or NaN factor has no rest. */
typedef struct gr_scale_kernel_args {
    double factor, rest;
} gr_scale_kernel_args;

/* Options of bce and bce_with_logits. in: x, target, weight, pos_weight, mask; the last three may
   be NULL. out: loss, dx, dtarget, dweight, dpos_weight; each may be NULL. They are not yet
   multiplied by the factor of a mean. */
typedef struct gr_bce_kernel_args {
    double label_smoothing, gamma, alpha;
    bool balanced; /* alpha counts */
    bool strict_target;
} gr_bce_kernel_args;

/* The kinds of input of a cross entropy. They are an index of bce_sum. */
enum { GR_BCE_OF_PROBABILITIES, GR_BCE_OF_LOGITS, GR_BCE_KINDS };

struct gr_gemm;

typedef struct gr_kernels {
    const char *isa;
    gr_map_kernel *map[GR_KERNEL_COUNT][GR_KTYPES];

    /* lanes[i % GR_LANES] += x[i], in double. The elements of each group are added up first, in
       ascending order of i; the first element is the first of a group. */
    void (*accumulate[GR_KTYPES])(int64_t n, const void *x, double *lanes);

    /* accumulate for each of many columns: lanes[r % GR_LANES][c] += x[r * stride + c], for r in
       [0, rows), in the same order. lanes has GR_LANES rows of `columns`. */
    void (*accumulate_rows[GR_KTYPES])(int64_t rows, int64_t columns, const void *x, int64_t stride,
                                       double *lanes);

    /* The sum of the losses of a cross entropy, and its gradients. The operands are described at
       gr_bce_kernel_args. In a chunk of logits where no option changes anything, many elements
       share one logarithm. A weight, pos_weight or mask of ones does not change any bit. */
    gr_sum_kernel *bce_sum[GR_BCE_KINDS][GR_KTYPES];

    /* c[i,j] = sum over k of a[i,k] b[k,j], for rows i in [row, row_end) and columns j in
       [column, column_end). Each sum is a chain of fused multiply-adds in ascending k that starts
       at 0. Strides are in elements; c's column stride is 1. scratch has gemm_scratch(n, k) bytes,
       is aligned to 64 bytes and belongs to the calling thread; n is the problem's n, or
       column_end - column. */
    void (*gemm[GR_KTYPES])(const struct gr_gemm *problem, int64_t row, int64_t row_end,
                            int64_t column, int64_t column_end, void *scratch);
    int64_t (*gemm_scratch[GR_KTYPES])(int64_t n, int64_t k);

    /* Softmax along one line of n >= 1 doubles, with p, q, s and r as in ops/softmax.c. Every array
       has room for GR_LINE_PAD elements behind the line, which are overwritten.
           softmax            x becomes r = 1 - s, e becomes s
           log_softmax        e becomes log s
           others             sums[i] becomes the sum of x without x[i]
           softmax_slope      ds becomes the gradient of the elements; dr is overwritten
           log_softmax_slope  e becomes the gradient for an upstream gradient g; x is overwritten
           narrow             rounds a line to floats */
    struct {
        void (*softmax)(int64_t n, double *x, double *e);
        void (*log_softmax)(int64_t n, double *x, double *e);
        void (*others)(int64_t n, double *x, double *sums);
        void (*softmax_slope)(int64_t n, double *ds, double *dr, const double *s, const double *r);
        void (*log_softmax_slope)(int64_t n, double *x, double *g, double *e);
        void (*narrow)(int64_t n, const double *from, float *to);
    } line;

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

/* The table of the instruction set with this name. isa = NULL: the widest that this processor has.
   Returns NULL if the name is unknown or the processor does not have the instructions. A processor
   without FMA has none of them. */
const gr_kernels *gr_kernels_choose(const char *isa);

/* Why gr_kernels_choose(isa) returned NULL: one line, in static memory. */
const char *gr_kernels_reason(const char *isa);

/* The sum of the lanes, in a fixed tree: lane i plus lane i + 8, then i + 4, i + 2, i + 1. */
double gr_fold_lanes(const double *lanes);

/* The sum of n sums, in a fixed tree that adds neighbours. Overwrites them. n = 0 gives 0. */
double gr_fold_blocks(int64_t n, double *sums);

/* Conversions of one element, each rounded once, to nearest even. */
float gr_f16_to_f32(uint16_t half);
float gr_bf16_to_f32(uint16_t half);
uint16_t gr_f32_to_f16(float value);
uint16_t gr_f32_to_bf16(float value);
uint16_t gr_f64_to_f16(double value);
uint16_t gr_f64_to_bf16(double value);

#endif
