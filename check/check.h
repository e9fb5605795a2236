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
#include <math.h>

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

/* What differences say of one entry of a Jacobian. */
typedef struct gr_estimate {
    double slope;     /* the derivative */
    double noise;     /* its possible error; infinite if there is no difference */
    double rounding;  /* the part of the noise that rounding of G causes */
    double doubt;     /* the noise divided by the tolerance */
    double scale;     /* an error below atol times this size does not count */
    double rise;      /* the steepest slope from x to any point so far */
    int level;        /* the choice of h that gave it */
    int kinks;        /* the number of choices of h at which both sides had slopes that differ */
    double low, high; /* these two slopes, and their possible error */
    double side_noise;
    bool constant; /* G had the same bits at all points, at all choices of h */
} gr_estimate;

/* What an entry of a Jacobian is compared with. */
typedef struct gr_reference {
    double numeric, noise, scale; /* see gr_estimate. The noise is that of both sides */
    bool kink;                    /* the function has a kink here */
    bool constant; /* no step changes a bit of the function, the gradient is 0, the noise small */
} gr_reference;

/* A pass compares two Jacobians of a function G. The inputs of G are seen as one column of numbers.
   In order 1, G(x) is f(x). In order 2, G(x, v) is the gradient of sum(v f) in x. There v, the
   upstream gradient, is an input like any other: G's derivative in it is the Jacobian of f. A wrong
   second derivative does not cancel out for a random v. */
typedef struct gr_checker {
    gr_context *ctx;
    gr_function *function;
    void *data;
    gr_tensors inputs;
    gr_gradcheck_args args; /* defaults are filled in */
    gr_gradcheck_report report;
    double worst;      /* of the worst entry: error / allowed error */
    gr_tensor **views; /* views of the inputs; f has no access to them and cannot end them */
    int64_t columns;   /* the number of elements of the inputs */
    bool *kinked;      /* columns in which f has a kink: [columns] */

    /* The state of the current pass. */
    int order;
    int64_t rows;          /* number of elements of G */
    int64_t upstream;      /* in order 2, the number of elements of v; otherwise 0 */
    gr_dims upstream_form; /* the shape of v */
    double stretch;        /* a factor of v */
    double epsilon;        /* the coarsest precision of G and what it is computed from */
    double largest;        /* the largest number of that dtype */
    gr_tensor **seen;      /* the inputs as f receives them, and behind them v */
    gr_tensor **outputs;   /* the parts of G: f's result, or a gradient for each input */
    int64_t output_count;
    gr_tensor **gradients;             /* of one sweep, by input */
    double *value;                     /* G at the inputs: [rows] */
    double *tremble;                   /* size of the rounding errors in it: [rows] */
    double *seed;                      /* zeros: [rows] */
    double *plain, *recorded;          /* G's Jacobian from sweeps: [rows, columns + upstream] */
    bool trembles_added;               /* to the noise of the references */
    gr_reference *references;          /* what they are compared with: the same shape */
    double *row_scale;                 /* the largest entry of each of its rows: [rows] */
    double *points[GR_STENCIL_POINTS]; /* G at points around the inputs: [rows] each */
    gr_estimate *estimates;            /* of one column: [rows] */
    const gr_reference *first;         /* in order 2: the references of order 1 */
} gr_checker;

/* The length of a row of the Jacobians. */
static inline int64_t gr_checker_width(const gr_checker *c) { return c->columns + c->upstream; }

/* Returns the allowed difference between two values of an entry, without noise. size is that of the
   larger value. scale: see gr_estimate. */
static inline double gr_checker_tolerance(const gr_checker *c, double size, double scale)
{
    return (c->args.rtol + 8 * c->epsilon) * size + c->args.atol * scale;
}

/* The element of an input that belongs to a column. */
typedef struct gr_checker_element {
    int input;
    int64_t at; /* flat index into the input */
    gr_tensor *view;
    double *value;
} gr_checker_element;
gr_checker_element gr_checker_element_of(const gr_checker *c, int64_t column);

/* ---- sweeps.c: G and its Jacobian from sweeps ------------------------------------------------ */

/* Returns a number for place i of a seed, in +-[0.25, 0.75): random, but the same in each run. It
   is below 1, so that nothing overflows, and has few enough digits for the dtype of G. */
double gr_checker_cotangent(const gr_checker *c, int64_t i);

/* Sets rows, upstream and the precision that G can have. All four return false after an error. */
bool gr_checker_measure(gr_checker *c);

/* Writes G at the current inputs to value. */
bool gr_checker_evaluate(gr_checker *c, double *value);

/* Does the same and computes the Jacobian there. With `record` it uses recorded sweeps, as gr_grad
   does. Without it, the sweeps are not recorded, as in gr_backward. */
bool gr_checker_sweep(gr_checker *c, bool record, double *value, double *jacobian);

/* Writes the gradient of sum(seed G) in all inputs to `row`. It is one row, [columns + upstream].
   seed: [rows]. scratch: as row. */
bool gr_checker_sweep_all(gr_checker *c, bool record, const double *seed, double *row,
                          double *scratch);

/* ---- tremble.c: rounding errors -------------------------------------------------------------- */

/* Writes values at the current inputs. False after an error. */
typedef bool gr_checker_values(gr_checker *c, void *data, double *values);

/* Sets the size of the rounding errors in `count` such values. False after an error. */
bool gr_checker_tremble(gr_checker *c, gr_checker_values *take, void *data, int64_t count,
                        double *sizes);

/* ---- differences.c: a column of G's Jacobian from differences -------------------------------- */

/* Sets the estimates of a column. False after an error. */
bool gr_checker_differentiate(gr_checker *c, int64_t column);

/* ---- extrapolate.c: what the points of one stencil say --------------------------------------- */

/* The points to which one element is moved. */
typedef struct gr_stencil {
    int level; /* the choice of h */
    int side;  /* 0: both sides; 1 or -1: only this side */
    int count;
    double h[GR_STENCIL_STEPS], at[GR_STENCIL_POINTS];
} gr_stencil;

/* Returns what the points around x say of row j: all fields but scale, rise and doubt. */
gr_estimate gr_checker_extrapolate(const gr_checker *c, const gr_stencil *s, double x, int64_t j);

/* ---- compare.c: the judgement ---------------------------------------------------------------- */

/* Compares both Jacobians from sweeps with that from differences. False after an error. */
bool gr_checker_compare(gr_checker *c);

/* Adds the rounding errors of the sweeps to the noise, once in a pass. False after an error. */
bool gr_checker_add_trembles(gr_checker *c);

/* Returns the entry at this place, without its values. Then keeps it if it is the worst so far. */
gr_gradcheck_entry gr_checker_entry(const gr_checker *c, int64_t row, int64_t column);
void gr_checker_keep_worst(gr_checker *c, const gr_gradcheck_entry *entry, double ratio);

/* ---- linear.c: seeds that are not one-hot ---------------------------------------------------- */

/* Compares sweeps of dense seeds with sums of the Jacobian's rows. False after an error. */
bool gr_checker_combine(gr_checker *c);

#endif
