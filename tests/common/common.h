/* common.h - what the tests of core and ops share: contexts on an allocator that counts and fails,
 * samples, bits and errors.
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

/* What a test does with a context; the hash of what came out. It ignores errors. */
typedef uint64_t scenario(gr_context *ctx, const void *data);

/* Fails every allocation of the scenario in turn, the making of the context included, once and for
   good: each time the error is MEMORY, nothing is lost, and the same again, now with memory and in
   the same context, gives what it gave without a failure. */
void expect_survives(const char *name, scenario *run, const void *data);

/* ---- Contexts -------------------------------------------------------------------------------- */

/* The context of the running test, made by begin and freed by end, which counts the bytes. */
extern gr_context *ctx;
void begin(void);
void end(void);

/* A context on the counting heap; threads 0 and isa NULL as in gr_context_options. */
gr_context *new_context(const char *isa, int threads);

/* Calls check with contexts of every instruction set that this processor has and of 1, 2, 4 and 7
   threads; says which instruction sets it leaves out, and why. */
void on_each_context(void (*check)(gr_context *other, const char *label, void *data), void *data);

/* The error of the context (NULL: the test's) is this one, word by word; forgets it. */
void expect_error(gr_context *of, gr_status status, const char *message);

/* Entries that the program holds now. */
int64_t entries_kept(void);

/* No error so far. */
void expect_fine(gr_context *of);

/* ---- Samples --------------------------------------------------------------------------------- */

void reseed(uint64_t seed);
uint64_t draw_bits(void);
double draw(double low, double high);

/* Elements drawn from [low, high]; rounded to the dtype. */
gr_tensor *sample(gr_context *of, gr_dtype dtype, gr_dims shape, double low, double high);

/* [n]: zeros, denormals, ends of the range, infinities, NaN, and what the functions turn at, of
   both signs; f32 or f64. */
gr_tensor *edges(gr_context *of, gr_dtype dtype);

/* [count]: any bits at all; f32 or f64. */
gr_tensor *any_bits(gr_context *of, gr_dtype dtype, int64_t count);

/* ---- Comparing ------------------------------------------------------------------------------- */

/* |got - want| in units of the last place of want; f32 or f64. */
double ulps(gr_dtype dtype, double got, long double want);

/* Same dtype, shape and bits, in row-major order; any two NaNs are the same. */
bool same_bits(gr_tensor *a, gr_tensor *b);

/* Of shape and bits; 0 for a failed tensor. */
uint64_t hash_of(gr_tensor *x);

/* x's elements as doubles, to be freed. */
double *values_of(gr_tensor *x);

/* x is [count] (or any shape of so many elements) with these values exactly. */
void expect_values(gr_tensor *x, const double *values, int64_t count);
#define EXPECT_VALUES(x, ...)                                                                      \
    expect_values((x), (const double[]){__VA_ARGS__},                                              \
                  (int64_t)(sizeof((const double[]){__VA_ARGS__}) / sizeof(double)))

void expect_shape(gr_tensor *x, gr_dims shape);

/* gr_sum and gr_mean put the place behind a message even here; these do not. */
gr_tensor *sum_of(gr_tensor *x);

/* d sum(weights y) / dx with weights that tell the elements apart. */
gr_tensor *gradient_of(gr_tensor *y, gr_tensor *x);

#endif
