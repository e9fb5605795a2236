/* common.h - helpers that the tests of core and ops share: contexts on an allocator that counts and
 * fails, samples, comparison of bits and errors.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_COMMON_H
#define GRADUS_TESTS_COMMON_H

#include "core/engine/engine.h"
#include <gradus/gradus.h>
#include "tests/common/heap.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof *(array)))

/* ---- Memory ---------------------------------------------------------------------------------- */

/* The work of a test in a context. Returns the hash of its results. It ignores errors. */
typedef uint64_t scenario(gr_context *ctx, const void *data);

/* Makes each allocation of the scenario fail in turn, also those of a new context. It fails once,
   or from then on. Each time the error must be MEMORY, and all memory must come back. Then the
   scenario runs again in the same context, with memory, and must give the same result as without a
   failure. */
void expect_survives(const char *name, scenario *run, const void *data);

/* ---- Contexts -------------------------------------------------------------------------------- */

/* The context of the running test. begin makes it. end frees it and checks that no bytes are
   left. */
extern gr_context *ctx;
void begin(void);
void end(void);

/* Makes a context on the counting heap. threads 0 and isa NULL have the same meaning as in
   gr_context_options. */
gr_context *new_context(const char *isa, int threads);

/* Calls check with a context for each instruction set of this processor, with 1, 2, 4 and 7
   threads. Prints the instruction sets that it skips, and the reason. */
void on_each_context(void (*check)(gr_context *other, const char *label, void *data), void *data);

/* Checks that the context (NULL: the test's context) has this error with exactly this message.
   Clears it. */
void expect_error(gr_context *of, gr_status status, const char *message);

/* Counts the entries that the program holds now. */
int64_t entries_kept(void);

/* Checks that there is no error. */
void expect_fine(gr_context *of);

/* ---- Samples --------------------------------------------------------------------------------- */

void reseed(uint64_t seed);
uint64_t draw_bits(void);
double draw(double low, double high);

/* Draws elements from [low, high] and rounds them to the dtype. */
gr_tensor *sample(gr_context *of, gr_dtype dtype, gr_dims shape, double low, double high);

/* [n]: zeros, denormals, limits of the range, infinities, NaN, and special points of the functions,
   with both signs; f32 or f64. */
gr_tensor *edges(gr_context *of, gr_dtype dtype);

/* [count]: random bits; f32 or f64. */
gr_tensor *any_bits(gr_context *of, gr_dtype dtype, int64_t count);

/* ---- Comparing ------------------------------------------------------------------------------- */

/* Returns |got - want| in units of the last place of want; f32 or f64. */
double ulps(gr_dtype dtype, double got, long double want);

/* True if dtype, shape and all bits are the same, in row-major order. All NaNs count as the
   same. */
bool same_bits(gr_tensor *a, gr_tensor *b);

/* Returns a hash of shape and bits. 0 for a failed tensor. */
uint64_t hash_of(gr_tensor *x);

/* Returns x's elements as doubles. The caller frees them. */
double *values_of(gr_tensor *x);

/* Checks that x has `count` elements with exactly these values. x may have any shape. */
void expect_values(gr_tensor *x, const double *values, int64_t count);
#define EXPECT_VALUES(x, ...)                                                                      \
    expect_values((x), (const double[]){__VA_ARGS__},                                              \
                  (int64_t)(sizeof((const double[]){__VA_ARGS__}) / sizeof(double)))

void expect_shape(gr_tensor *x, gr_dims shape);

/* gr_sum and gr_mean are macros that add a place to each message, even in this file. These do
   not. */
gr_tensor *sum_of(gr_tensor *x);

/* Returns d sum(weights y) / dx, with a different weight for each element. */
gr_tensor *gradient_of(gr_tensor *y, gr_tensor *x);

#endif
