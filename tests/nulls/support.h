/* support.h - values for calls in which one pointer is NULL, and checks of the results.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_NULLS_SUPPORT_H
#define GRADUS_TESTS_NULLS_SUPPORT_H

/* Declares the functions themselves and not the macros. */
#define GR_NO_PLACES
#include "tests/common/heap.h"
#include <gradus/compat.h>
#include <gradus/gradus.h>

/* ---- A test's own ---------------------------------------------------------------------------- */

/* A context on the counting heap with an open scope. */
extern gr_context *own;
void enter(void);

/* The last line of each test, because Criterion ignores failures in a .fini. It frees the context
   and checks that no memory is left. */
void leave(void);

/* NULL that the compiler cannot see. */
extern void *volatile nothing;
extern void *no_elements[4];

/* ---- Values ---------------------------------------------------------------------------------- */

/* Calls read from these and write to these. */
extern gr_tensor *places[4];
extern double numbers[16];
extern const int64_t sizes[8];
extern char bytes[256];
extern const char *const columns[1];
extern gr_reduction reduction;

gr_context *another_context(void);
gr_tensor *matrix(void);    /* f32 [2,2] in (0,1) */
gr_tensor *vector(void);    /* f32 [2] of 1 */
gr_tensor *scalar(void);    /* f32 [] */
gr_tensor *doubles(void);   /* f64 [2,2] */
gr_tensor *classes(void);   /* i64 [2] */
gr_tensor *parameter(void); /* f32 [2,2] */
gr_tensor *loss(void);      /* of a parameter */
gr_tensors list_of(gr_tensor *x);

gr_mlp *mlp(void);
gr_optimizer *optimizer(void);
const char *out_path(void); /* these three are in a new folder */
const char *csv_path(void);
const char *archive_path(void);
gr_csv *csv(void); /* leave() frees these two, but not the loose ones */
gr_archive *archive(void);
gr_csv *loose_csv(void);
gr_archive *loose_archive(void);
FILE *sink(void);

gr_tensor *sum_of_squares(gr_tensors inputs, void *data);
void ignore(gr_context *ctx, gr_status status, const char *message, void *data);

/* An op x -> x. */
gr_status own_shape(const gr_call *call, gr_form *results);
int64_t own_scratch(const gr_call *call);
gr_status own_run(const gr_call *call);
void own_rule(const gr_node *node, gr_tensor *g, gr_tensor **dx);
gr_status own_add_rule(const gr_node *node, gr_tensor *g, int i, gr_tensor *into);

/* ---- Demands --------------------------------------------------------------------------------- */

/* All required pointers were given: the call succeeds. */
void expect_no_error(void);
void given_tensor(gr_tensor *x);
void given_status(gr_status status);
void given_mlp(gr_mlp *made);
void given_optimizer(gr_optimizer *made);
void given_csv(gr_csv *made);
void given_archive(gr_archive *made);
void given_linear(gr_linear made);
void given_number(double x);
void given_new_context(gr_context *made);
void given_context(gr_context *of);
void given_raised(gr_status status);
void given_error(gr_status status);

/* A required pointer was NULL: the result shows it, and its context has the error NULL. */
void refused_tensor(gr_tensor *x);
void refused_status(gr_status status);
void refused_mlp(gr_mlp *made);
void refused_optimizer(gr_optimizer *made);
void refused_csv(gr_csv *made);
void refused_archive(gr_archive *made);
void refused_linear(gr_linear made);
void refused_number(double x);
void refused_new_context(gr_context *made);
void refused_context(gr_context *of);
void refused_raised(gr_status status);
void refused_error(gr_status status);

#endif
