/* check.h - declarations that the files of check/ share: the call of a user's function, and the
 * state of a check.
 *
 * This folder uses the public API. It takes from core only what the API does not offer: a floor
 * around f, the handler on hold, memory of a scope, and elements that move without a counted write.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_CHECK_ROOM_H
#define GRADUS_CHECK_ROOM_H

#include "core/tensor/tensor.h"
#include <gradus/check.h>

/* ---- function.c: the user's function --------------------------------------------------------- */

/* Calls f and returns its result: a live float tensor of ctx. NULL after an error. Afterwards
   scopes and no_grad brackets are as before, even if f has changed them. op: the call's name in
   messages. */
gr_tensor *gr_call_function(gr_context *ctx, const char *op, gr_function *f, gr_tensors inputs,
                            void *data);

/* ---- A running check ------------------------------------------------------------------------- */

enum {
    GR_STENCIL_STEPS = 3,                    /* h, h/2, h/4 */
    GR_STENCIL_POINTS = 2 * GR_STENCIL_STEPS /* maximum number of points in a stencil */
};

/* A pass compares two Jacobians of a function G. The inputs of G are seen as one column of numbers.
   In order 1, G is f. In order 2, G is the gradient of sum(v f) for one fixed random v. A wrong
   second derivative does not cancel out for a random v. */
typedef struct gr_checker {
    gr_context *ctx;
    gr_function *function;
    void *data;
    gr_tensors inputs;
    gr_gradcheck_args args; /* defaults are filled in */
    gr_gradcheck_report report;
    double worst; /* of the worst entry: error / allowed error */

    /* The state of the current pass. */
    int order;
    int64_t rows, columns; /* size of the Jacobians */
    double epsilon;        /* of the dtype that is differentiated */
    gr_tensor **views;     /* views of the inputs; f has no access to them and cannot end them */
    gr_tensor **seen;      /* the inputs as f receives them */
    gr_tensor **outputs;   /* the parts of G: f's result, or a gradient for each input */
    int64_t output_count;
    gr_tensor **gradients;             /* one row of the Jacobian, by input */
    double *value;                     /* G at the inputs: [rows] */
    double *seed;                      /* zeros: [rows] */
    double *plain, *recorded;          /* G's Jacobian from sweeps: [rows, columns] */
    double *row_scale;                 /* largest entry of each of its rows: [rows] */
    double *points[GR_STENCIL_POINTS]; /* G at points around the inputs: [rows] each */
    /* One column, [rows] each: the derivative, its possible error, this error divided by the
       tolerance, and the largest value of G around the inputs. */
    double *numeric, *noise, *doubt, *scale;
} gr_checker;

/* ---- sweeps.c: G and its Jacobian from sweeps ------------------------------------------------ */

/* Sets rows, and the precision that G can have. All three return false after an error. */
bool gr_checker_measure(gr_checker *c);

/* Writes G at the current inputs to value. */
bool gr_checker_evaluate(gr_checker *c, double *value);

/* Does the same and computes the Jacobian there. With `record` it uses recorded sweeps, as gr_grad
   does. Without it, the sweeps are not recorded, as in gr_backward. */
bool gr_checker_sweep(gr_checker *c, bool record, double *value, double *jacobian);

/* ---- differences.c: a column of G's Jacobian from differences -------------------------------- */

/* The element of an input that belongs to a column. */
typedef struct gr_checker_element {
    int input;
    int64_t at; /* flat index into the input */
    gr_tensor *view;
    double *value;
} gr_checker_element;
gr_checker_element gr_checker_element_of(const gr_checker *c, int64_t column);

/* Sets numeric, noise, doubt and scale. False after an error. */
bool gr_checker_differentiate(gr_checker *c, int64_t column);

/* Returns the allowed difference between two values of an entry, without noise. size is that of the
   larger value. scale is that of G. */
static inline double gr_checker_tolerance(const gr_checker *c, double size, double scale)
{
    return (c->args.rtol + 8 * c->epsilon) * size + c->args.atol * scale;
}

#endif
