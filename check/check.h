/* check.h - what the files of this room share: the call of a user's function, and a running check.
 *
 * The room is a client of the public API. From the rooms below it takes what the API does not give:
 * floors for f, the handler that waits, memory of a scope, elements that move without a write.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_CHECK_ROOM_H
#define GRADUS_CHECK_ROOM_H

#include "core/tensor/tensor.h"
#include <gradus/check.h>

/* ---- function.c: the user's function --------------------------------------------------------- */

/* f's result: a live float tensor of ctx; NULL after an error. Scopes and brackets are as before,
   whatever f does to them. op: the call's name in messages. */
gr_tensor *gr_call_function(gr_context *ctx, const char *op, gr_function *f, gr_tensors inputs,
                            void *data);

/* ---- A running check ------------------------------------------------------------------------- */

enum {
    GR_STENCIL_STEPS = 3,                    /* h, h/2, h/4 */
    GR_STENCIL_POINTS = 2 * GR_STENCIL_STEPS /* the most that a stencil takes */
};

/* A pass compares two Jacobians of a function G of the inputs, which are all in one column of
   numbers. In order 1 G is f; in order 2 it is the gradient of sum(v f) for one fixed random v,
   which a wrong second derivative cannot hide from. */
typedef struct gr_checker {
    gr_context *ctx;
    gr_function *function;
    void *data;
    gr_tensors inputs;
    gr_gradcheck_args args; /* without zeros */
    gr_gradcheck_report report;
    double worst; /* the worst entry's error over what is allowed */

    /* Of the pass that runs. */
    int order;
    int64_t rows, columns; /* of the Jacobians */
    double epsilon;        /* of the dtype of what is differentiated */
    gr_tensor **views;     /* of the inputs; f does not know them and cannot end them */
    gr_tensor **seen;      /* the inputs as f gets them */
    gr_tensor **outputs;   /* G's parts: f's result, or a gradient for each input */
    int64_t output_count;
    gr_tensor **gradients;    /* of one row, by input */
    double *value;            /* G at the inputs: [rows] */
    double *seed;             /* zeros: [rows] */
    double *plain, *recorded; /* G's Jacobian from sweeps: [rows, columns] */
    double *row_scale;        /* the largest entry of each row of it: [rows] */
    double *points[GR_STENCIL_POINTS]; /* G around the inputs: [rows] each */
    /* Of a column, [rows] each: the derivative, how much it may be wrong, that beside what is
       tolerated, and the largest value of G around the inputs. */
    double *numeric, *noise, *doubt, *scale;
} gr_checker;

/* ---- sweeps.c: G and its Jacobian from sweeps ------------------------------------------------ */

/* Sets rows, and how exact G can be. All three return false after an error. */
bool gr_checker_measure(gr_checker *c);

/* G at the inputs, as they are now, in value. */
bool gr_checker_evaluate(gr_checker *c, double *value);

/* The same, and the Jacobian there. record: from recorded sweeps, as gr_grad runs them, or from
   others, as gr_backward does. */
bool gr_checker_sweep(gr_checker *c, bool record, double *value, double *jacobian);

/* ---- differences.c: a column of G's Jacobian from differences -------------------------------- */

/* The input's element that a column belongs to. */
typedef struct gr_checker_element {
    int input;
    int64_t at; /* flat index into the input */
    gr_tensor *view;
    double *value;
} gr_checker_element;
gr_checker_element gr_checker_element_of(const gr_checker *c, int64_t column);

/* Sets numeric, noise, doubt and scale; false after an error. */
bool gr_checker_differentiate(gr_checker *c, int64_t column);

/* By how much two values of an entry may differ, noise aside. size: of the larger one; scale: of
   G. */
static inline double gr_checker_tolerance(const gr_checker *c, double size, double scale)
{
    return (c->args.rtol + 8 * c->epsilon) * size + c->args.atol * scale;
}

#endif
