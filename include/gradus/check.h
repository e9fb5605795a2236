/* gradus/check.h - checks gradients against differences of the function itself.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_CHECK_H
#define GRADUS_CHECK_H

#include <gradus/core.h>
#include <math.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The result of a check. */
typedef enum gr_gradcheck_reason {
    GR_CHECK_PASSED = 0,
    GR_CHECK_WRONG,      /* an analytic and a numeric entry differ */
    GR_CHECK_NOT_SAME,   /* two calls with the same inputs differ in a bit. `worst` holds the two
                             numbers; its input is GR_CHECK_NO_INPUT if they are outputs */
    GR_CHECK_NOT_FINITE, /* a gradient is NaN or infinite although the function is smooth there */
    GR_CHECK_ERROR,      /* the check or f failed; the context's error gives the reason */
    GR_CHECK_NOT_LINEAR  /* entries are right for each output alone, and the gradient of a weighted
                            sum of outputs is not the weighted sum of their gradients: the rule is
                            not linear in the upstream gradient */
} gr_gradcheck_reason;

/* Marks in an entry. */
enum {
    GR_CHECK_NO_INPUT = -1, /* input: the entry is an output and not a gradient */
    GR_CHECK_UPSTREAM = -2, /* input: it is the derivative in the upstream gradient v of order 2 */
    GR_CHECK_ALL_OUTPUTS = -1 /* output_at: it is the gradient of a weighted sum of all outputs */
};

/* One entry of a Jacobian and the difference of its two values. */
typedef struct gr_gradcheck_entry {
    int order;         /* 1: of the function; 2: of its gradient */
    int input;         /* which of the inputs, or a mark */
    int64_t output_at; /* flat index into the output (order 1), or into all gradients in a row; or a
                          mark */
    int64_t input_at;  /* flat index into the input */
    gr_dims index;     /* input_at as coordinates */
    double x;          /* the value of that element of the input */
    double analytic, numeric;
    double absolute, relative; /* |analytic - numeric|, and that over the larger of the two */
    double noise;              /* the estimated error of the numeric value */
} gr_gradcheck_entry;

typedef struct gr_gradcheck_report {
    const char *name;
    gr_gradcheck_reason reason;
    int64_t checked;          /* the number of entries compared */
    int64_t bad;              /* the number of entries that differ */
    int64_t unsure;           /* the number of entries that agree only thanks to the noise: an error
                                 as large as the noise would not be found */
    int64_t kinks;            /* the number of entries at a kink, where the slopes of both sides
                                 differ. Any number between the two slopes is right there */
    gr_gradcheck_entry worst; /* the entry that is furthest off, compared with what is allowed */
} gr_gradcheck_report;

typedef struct gr_gradcheck_args {
    int order;                   /* 1, or 2: the gradient of the gradient too */
    double rtol;                 /* relative tolerance, >= 0 */
    double atol;                 /* absolute tolerance, times the scale of the output, >= 0 */
    double low, high;            /* the domain of the inputs, low < high; the check stays in it */
    gr_gradcheck_report *report; /* filled, if given */
    const char *name;            /* the name in the report; NULL: "f" */
    bool from_defaults;
} gr_gradcheck_args;
#define GR_GRADCHECK_DEFAULTS                                                                      \
    .from_defaults = true, .order = 1, .rtol = 1e-6, .atol = 1e-9, .low = -INFINITY,               \
    .high = INFINITY
GR_API gr_gradcheck_args gr_gradcheck_defaults(void);

/* Compares the full Jacobian of f at the inputs with central differences. f: the function, made of
   ops, with an output of any float dtype and shape; data is passed to it and may be NULL. inputs:
   contiguous f64 leaves of any shapes: parameters, variables or plain tensors. args: NULL for the
   defaults. The gradients of gr_backward (not recorded) and of gr_grad (recorded) are both
   compared. Order 2 checks the gradient of sum(v f), for a fixed random v, in the same way, with v
   as one more input. An entry is bad if

       |a - n| > rtol max(|a|,|n|) + atol scale + noise,

   with a the analytic and n the numeric value, noise the possible error of n, and scale the size of
   the output or of its slopes near x, whichever is smaller. Where an entry is allowed more for the
   noise than for the rest, it counts as unsure. If all entries are right, dense seeds of several
   sizes must give the weighted sums of the rows. docs/checker.md tells how the noise is found, and
   what the check cannot see: give it all outputs of an op, and not their sum.
   The inputs are changed in place and restored bit by bit. This is no write: results that were
   recorded before can be differentiated afterwards. Random state, scopes and program are restored
   too. Returns GR_OK, GR_ERROR_GRADIENT if the gradient is wrong (the report gives the entry; the
   context gets no error), or the error of the context. Fails with
       DTYPE     an input is not f64, or the output of f is no float
       ARGUMENT  an input is no contiguous leaf, lies outside the domain or shares elements with
                 another; an option is invalid; the count is negative (no context keeps that error)
       SCOPE     f leaves a scope open, or ends a scope that it has not begun
       CONTEXT   the output of f belongs to another context
   and with NULL, MEMORY, or as f does. */
GR_API GR_CHECKED gr_status gr_gradcheck_with(gr_function *f, void *data, gr_tensors inputs,
                                              const gr_gradcheck_args *args);

/* Used by the macros: adds the place of the call to an error, as gr_here does. */
GR_API GR_CHECKED gr_status gr_gradcheck_here(gr_function *f, void *data, gr_tensors inputs,
                                              const gr_gradcheck_args *args, const char *file,
                                              int line);
#ifndef GR_NO_PLACES
#define gr_gradcheck_with(...) gr_gradcheck_here(__VA_ARGS__, __FILE__, __LINE__)
#endif

/* Options are given by name; the name in the report is the text of f:
   gr_gradcheck(f, NULL, gr_list(x, w), .order = 2, .report = &report). */
#ifndef __cplusplus
#define gr_gradcheck(f, data, ...) GR_GRADCHECK(f, #f, data, __VA_ARGS__, .from_defaults = true)
#define GR_GRADCHECK(f, text, data, inputs, ...)                                                   \
    GR_BY_NAME(                                                                                    \
        gr_gradcheck_with((f), (data), (inputs),                                                   \
                          &(gr_gradcheck_args){GR_GRADCHECK_DEFAULTS, .name = text, __VA_ARGS__}))
#endif

/* Prints a report to `out` in one line: "f: passed, 24 entries", or "f: wrong gradient: d out[2] /
   d in[0] at [3,1]: analytic 0.4211, numeric 0.4164, relative error 1.1e-02 (noise 4e-11), 3 of
   24". */
GR_API void gr_gradcheck_print(const gr_gradcheck_report *report, FILE *out);

#ifdef __cplusplus
}
#endif

#endif
