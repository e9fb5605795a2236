/* gradus/check.h - is a gradient right? Checked against differences of the function itself.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_CHECK_H
#define GRADUS_CHECK_H

#include <gradus/core.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum gr_gradcheck_reason {
    GR_CHECK_PASSED = 0,
    GR_CHECK_WRONG,       /* an analytic and a numeric entry differ */
    GR_CHECK_NOT_SAME,    /* two calls with the same inputs differ in a bit: worst holds the two
                             numbers, its input is -1 where they are outputs and not gradients */
    GR_CHECK_NOT_FINITE,  /* a gradient is NaN or infinite where the function is smooth */
    GR_CHECK_ERROR        /* the call or the function failed; the context's error says how */
} gr_gradcheck_reason;

/* One entry of a Jacobian, and how far its two values are apart. */
typedef struct gr_gradcheck_entry {
    int order;         /* 1: of the function; 2: of its gradient */
    int input;         /* which of the inputs */
    int64_t output_at; /* flat index into the output (order 1) or into the gradients, end to end */
    int64_t input_at;  /* flat index into the input */
    gr_dims index;     /* the same as coordinates */
    double x;          /* the input's value there */
    double analytic, numeric;
    double absolute, relative; /* |analytic - numeric|, and that over the larger of the two */
    double noise;              /* the error of the numeric value, as estimated */
} gr_gradcheck_entry;

typedef struct gr_gradcheck_report {
    const char *name;
    gr_gradcheck_reason reason;
    int64_t checked; /* entries compared */
    int64_t bad;     /* entries that differ */
    int64_t unsure;  /* entries that agree only within a noise that is larger than the tolerances */
    gr_gradcheck_entry worst; /* furthest off beside what it may be; of a check that passed too */
} gr_gradcheck_report;

/* Every zero is the default. */
typedef struct gr_gradcheck_args {
    int order;            /* 1, or 2: the gradient's gradient too; 1 */
    double rtol;          /* relative tolerance; 1e-6 */
    double atol;          /* what may differ besides, times the output's scale; 1e-9 */
    double low, high;     /* the inputs' domain, which no difference leaves; low = high: all of R */
    gr_gradcheck_report *report; /* filled, if given */
    const char *name;     /* as the report prints it; the macro's: the function's name */
} gr_gradcheck_args;

/* Compares the full Jacobian of f at the inputs (f64, any shapes, contiguous leaves: parameters,
   variables or plain tensors) with central differences, extrapolated from three steps, the step
   chosen for each element; one-sided ones at the domain's border. f: any float output, made of its
   inputs with ops. Both the gradients of gr_backward (not recorded) and of gr_grad (recorded) are
   compared. The inputs are moved in place and put back bit by bit, which is no write: results that
   were recorded before the check can be differentiated after it. Random state, scopes and tape are
   as before. An entry is bad if |a - n| > rtol max(|a|,|n|) + atol scale + noise; scale: the
   largest of the output around the inputs and of its gradients. Order 2 checks in the same way the
   gradient of sum(v f) for a fixed random v. args may be NULL.
   Returns GR_OK, GR_ERROR_GRADIENT where the check fails (no error of the context: the report says
   what was found), or the error of the context. Fails with DTYPE for an input that is not f64 and
   for an f that gives no float; with ARGUMENT for an input that is no contiguous leaf, lies outside
   the domain or shares elements with another, for options that make no sense, and for a negative
   count (which no context keeps); with SCOPE for an f that leaves a scope open, or ends one that it
   has not begun; with CONTEXT for an f that gives a tensor of another context; with NULL, MEMORY, or
   as f does. */
GR_API GR_CHECKED gr_status gr_gradcheck_with(gr_function *f, void *data, gr_tensors inputs,
                                              const gr_gradcheck_args *args);

/* What the macros call, with the place of the call (core.h, Places). */
GR_API GR_CHECKED gr_status gr_gradcheck_here(gr_function *f, void *data, gr_tensors inputs,
                                              const gr_gradcheck_args *args, const char *file,
                                              int line);
#ifndef GR_NO_PLACES
#define gr_gradcheck_with(...) gr_gradcheck_here(__VA_ARGS__, __FILE__, __LINE__)
#endif

/* gr_gradcheck(f, NULL, gr_list(x, w), .order = 2, .report = &report) */
#ifndef __cplusplus
#define gr_gradcheck(f, data, ...) GR_GRADCHECK(f, data, __VA_ARGS__, .name = #f)
#define GR_GRADCHECK(f, data, inputs, ...)                                                         \
    gr_gradcheck_with((f), (data), (inputs), &(gr_gradcheck_args){__VA_ARGS__})
#endif

/* One line: "f: passed, 24 entries" or "f: wrong gradient: d out[2] / d in[0] at [3,1]: analytic
   0.4211, numeric 0.4164, relative error 1.1e-02 (noise 4e-11), 3 of 24". */
GR_API void gr_gradcheck_print(const gr_gradcheck_report *report, FILE *out);

#ifdef __cplusplus
}
#endif

#endif
