/* gradus/core.h - contexts, scopes, tensors, errors and gradients.
 *
 * Five nouns carry the library:
 *
 *   context   owns everything: memory, program, random state, settings and the first error.
 *   scope     a bracket in a context. All tensors made inside are freed when it ends.
 *   tensor    an n-dimensional view: dtype, shape, strides, buffer.
 *   op        a function of tensors that knows its gradient (ops.h; for your own: extend.h).
 *   program   the recorded calls of ops, in order. gr_backward and gr_grad walk it backwards.
 *
 * Words used in all headers:
 *
 *   "freed with the scope"  the result lives until the scope ends that was innermost at the call.
 *   "lives in the context"  the result lives until gr_context_free, or until a call that frees it
 *                           earlier, such as gr_parameter_free.
 *   "the caller frees it"   the caller must call the function that is named.
 *   "static"                a constant text. It is never freed.
 *   "the failed tensor"     what a call returns instead of a result when it fails. Each context has
 *                           one. An op on the failed tensor returns it again.
 *   "fails with X"          the call stores the error GR_ERROR_X in the context, if that has no
 *                           error yet, and returns the failed tensor, or a status other than GR_OK.
 *                           It changes nothing else, and it never prints, aborts or exits
 *                           (gr_context_new names the one exception).
 *
 * A pointer argument must not be NULL unless its comment allows NULL. The call fails with NULL.
 *
 * Options are given by name, after the operands:
 *
 *     gr_adamw(ctx, gr_list(w, b), .lr = 0.1, .weight_decay = 0)
 *
 * An option that is written has the value that is written: 0 means 0. An option that is left out
 * has its default. See "Options" below.
 *
 * Use a context from one thread at a time. Threads may use different contexts at the same time.
 * A child made by fork may use gradus too, and also contexts of its parent. It computes with one
 * thread, because fork does not copy OpenMP's threads, and gets the same bits.
 * The floating-point mode of a thread (flush to zero, rounding, traps) changes no result: gradus
 * sets the standard mode while it computes and then gives back the thread's own.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_CORE_H
#define GRADUS_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define GR_API                 __attribute__((visibility("default")))
#define GR_CHECKED             __attribute__((warn_unused_result))
#define GR_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define GR_API
#define GR_CHECKED
#define GR_PRINTF(text, first)
#endif

#define GR_VERSION_MAJOR 0
#define GR_VERSION_MINOR 1
#define GR_VERSION_PATCH 0

/* A tensor has at most this many dimensions. */
#define GR_MAX_DIMS 8

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gr_context gr_context;
typedef struct gr_tensor gr_tensor;

/* Returns the version of the library at run time, such as "0.1.0"; static. */
GR_API const char *gr_version(void);

/* ---- Errors ---------------------------------------------------------------------------------- */

typedef enum gr_status {
    GR_OK = 0,
    GR_ERROR_MEMORY,    /* the allocator returned NULL */
    GR_ERROR_NULL,      /* a required argument is NULL */
    GR_ERROR_SHAPE,     /* the op does not take this shape */
    GR_ERROR_BROADCAST, /* two shapes do not broadcast to one */
    GR_ERROR_DTYPE,     /* the op does not take this dtype, or two dtypes differ */
    GR_ERROR_DOMAIN,    /* a value lies outside the op's domain */
    GR_ERROR_REDUCTION, /* the name or value of a reduction is unknown */
    GR_ERROR_ARGUMENT,  /* the value of an option is invalid */
    GR_ERROR_CONTEXT,   /* operands belong to two contexts */
    GR_ERROR_SCOPE,     /* the scope of a tensor has ended, or scopes do not nest */
    GR_ERROR_GRADIENT,  /* there is no gradient: the output is no scalar or is not recorded, a
                           value that the gradient reads was overwritten, or a check failed */
    GR_ERROR_IO,        /* the system could not read or write; the message gives its reason */
    GR_ERROR_FORMAT,    /* the content of a file breaks the rules of its format */
    GR_ERROR_PROCESSOR  /* the processor lacks an instruction set that gradus or GR_ISA requires */
} gr_status;

/* Returns the name of a status, such as "GR_ERROR_SHAPE", or "unknown" for any other number;
   static. */
GR_API const char *gr_status_name(gr_status status);

/* Returns the first error of the context since gr_context_new or gr_error_clear; GR_OK: none. */
GR_API gr_status gr_error(const gr_context *ctx);

/* Returns the message of that error in one line: the op, the reason with the shapes, and the place
   of the call. Example: "add: shapes [2,3] and [4] do not broadcast: dimension 1 is 3 and 4
   (program.c:12)". "" if there is no error. The context owns the text. The next error and
   gr_error_clear change it. */
GR_API const char *gr_error_message(gr_context *ctx);

/* Removes the error, so that the context works again. Tensors made before the error stay valid. */
GR_API void gr_error_clear(gr_context *ctx);

/* A function that the library calls once for the first error of a context. A call through its macro
   (Places, below) calls it before it returns. A call without its macro leaves it to the next call
   that returns a status, so that the message can have a place. status: the error, or GR_OK for a
   notice, such as that an argument is deprecated. message: one line, valid during the call. data:
   handler_data of the options. The handler may print, exit, or leave by longjmp: the failing call
   has closed its internal scopes by then, and gr_backward, gr_grad, gr_hessian and gr_gradcheck
   call it only at their end. If the handler returns, the failing call returns too. */
typedef void gr_error_handler(gr_context *ctx, gr_status status, const char *message, void *data);

/* ---- Options --------------------------------------------------------------------------------- */

/* Each call with options has a struct for them, such as gr_adam_args, and a function that takes the
   struct, such as gr_adamw_with. The defaults stand in one line under the struct, such as
   GR_ADAMW_DEFAULTS. All that it does not name is 0, false, NULL, an empty list or the first name
   of an enum.

   C++ and other languages fill in the struct themselves, and C may. They begin with the defaults:

       gr_adam_args args = gr_adamw_defaults();
       args.parameters = parameters;
       args.weight_decay = 0;
       gr_optimizer *optimizer = gr_adamw_with(ctx, &args);

   A struct that has such a line but does not begin with it fails with ARGUMENT: nobody has chosen
   the zeros in it. The field from_defaults tells; only the line sets it.

   GR_BY_NAME is used by the macros. They write the defaults first and then what the caller writes.
   In C the last initialiser of a field holds (C11 6.7.9, 19). gcc and clang warn of a field that is
   written twice; GR_BY_NAME turns this warning off in its argument alone. */
#ifdef __GNUC__
#define GR_BY_NAME(...)                                                                            \
    __extension__({                                                                                \
        _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Woverride-init\"")       \
            __VA_ARGS__;                                                                           \
        _Pragma("GCC diagnostic pop")                                                              \
    })
#else
#define GR_BY_NAME(...) __VA_ARGS__
#endif

/* ---- Contexts -------------------------------------------------------------------------------- */

/* The source of a context's memory. Both functions are called from one thread at a time. */
typedef struct gr_allocator {
    /* Returns at least `bytes` bytes at a multiple of `alignment` (a power of two), or NULL. */
    void *(*allocate)(void *state, size_t bytes, size_t alignment);
    /* Frees memory from allocate; bytes is the same number as there. memory is never NULL. */
    void (*release)(void *state, void *memory, size_t bytes);
    void *state; /* passed to both; may be NULL */
} gr_allocator;

/* Every zero is the default. */
typedef struct gr_context_options {
    const gr_allocator *allocator; /* copied; default: the system's (aligned_alloc, free) */
    uint64_t seed;                 /* of all random numbers; 0 is a seed like any other */
    gr_error_handler *handler;     /* default: none */
    void *handler_data;            /* given to the handler */
    const char *isa;               /* "scalar", "avx2" or "avx512"; default: the environment
                                       variable GR_ISA, or else the widest that the processor has */
    int threads;                   /* the most threads to use, 1 to 256; 0, the default: OpenMP's
                                       number (OMP_NUM_THREADS) */
} gr_context_options;

/* Returns a new context; options may be NULL. The caller frees it with gr_context_free. The result
   is never NULL. If the context cannot be made, it holds the error, and every call on it fails with
   that: MEMORY, NULL for an allocator without allocate or release, PROCESSOR for a processor
   without FMA or an unknown isa, ARGUMENT for a number of threads outside 0 to 256.
   gradus cannot catch one failure: if the system refuses libgomp a thread, or memory for it,
   libgomp prints a message and ends the process. Ask for no more threads than the system allows. */
GR_API gr_context *gr_context_new(const gr_context_options *options);

/* Frees the context with all its scopes, tensors, models and optimisers. Returns its first error,
   or GR_OK. */
GR_API gr_status gr_context_free(gr_context *ctx);

/* Returns the instruction set of the context's kernels, "scalar", "avx2" or "avx512", or "none" if
   the context could not be made; static. */
GR_API const char *gr_context_isa(const gr_context *ctx);

/* How much memory the context holds from its allocator. */
typedef struct gr_memory_report {
    int64_t live_bytes;  /* held now, including pools and arenas that are kept for later use */
    int64_t peak_bytes;  /* the largest live_bytes so far */
    int64_t allocations; /* calls of allocate so far */
} gr_memory_report;
GR_API gr_memory_report gr_memory(const gr_context *ctx);

/* ---- Scopes ---------------------------------------------------------------------------------- */

/* Opens a scope inside the innermost one. Tensors made from now on are freed when it ends. Fails
   with MEMORY.
   The use of a tensor after the end of its scope fails with SCOPE, and gr_data returns NULL. This
   holds until 255 more scopes have ended. Later the handle may name a newer tensor. gr_hessian and
   gr_gradcheck end scopes of their own. These count only for tensors that were made inside them. */
GR_API gr_status gr_scope_begin(gr_context *ctx);

/* Ends the innermost scope. Frees its tensors and the calls recorded in it. Returns the first error
   of the context: one check for each step is enough. Fails with SCOPE if no scope is open. */
GR_API gr_status gr_scope_end(gr_context *ctx);

/* Returns x (any dtype, any shape) as a tensor of the scope around the innermost one; it is freed
   with that scope. No gradient flows through the result. If x belongs to the innermost scope and is
   the only view of its buffer, the result shares the buffer. Otherwise it is a contiguous copy.
   Fails with NULL, SCOPE and MEMORY. */
GR_API gr_tensor *gr_keep(gr_tensor *x);

/* ---- Dtypes and shapes ----------------------------------------------------------------------- */

/* Element types. Ops compute f32 in f32 and f64 in f64. They compute f16 and bf16 in f32 and round
   the result once. The integers and bool are for data, targets, masks and conditions. */
typedef enum gr_dtype {
    GR_F32 = 0,
    GR_F64,
    GR_F16,
    GR_BF16,
    GR_I32,
    GR_I64,
    GR_U8,
    GR_BOOL
} gr_dtype;

GR_API const char *gr_dtype_name(gr_dtype dtype); /* "f32", "bool", ...; static */
GR_API int64_t gr_dtype_size(gr_dtype dtype);     /* bytes per element; 0 for an unknown number */
GR_API bool gr_dtype_is_float(gr_dtype dtype);    /* true for f16, bf16, f32 and f64 */

/* A list of sizes, axes or indices. */
typedef struct gr_dims {
    int64_t count; /* a function that gets more than GR_MAX_DIMS fails */
    int64_t at[GR_MAX_DIMS];
} gr_dims;

/* Returns a list of the first `count` values. If count is below 0 or above GR_MAX_DIMS, or if
   values is NULL and count is not 0, each function that gets the list fails. */
GR_API gr_dims gr_dims_from(int64_t count, const int64_t *values);

/* Write a list in place: gr_shape(2, 3), gr_axes(0, -1), gr_index(1, 2). gr_shape() is the shape of
   a 0-d tensor. Axes and indices below 0 count from the end. */
#ifndef __cplusplus
#define GR_DIMS(...)                                                                               \
    gr_dims_from((int64_t)(sizeof((int64_t[]){0, __VA_ARGS__}) / sizeof(int64_t)) - 1,             \
                 (const int64_t[]){0, __VA_ARGS__} + 1)
#define gr_shape(...) GR_DIMS(__VA_ARGS__)
#define gr_axes(...)  GR_DIMS(__VA_ARGS__)
#define gr_index(...) GR_DIMS(__VA_ARGS__)
#endif

/* A list of tensors. gr_list(w, b) makes one that is valid until the end of the enclosing block. */
typedef struct gr_tensors {
    int64_t count;
    gr_tensor *const *at;
} gr_tensors;

#ifndef __cplusplus
#define gr_list(...)                                                                               \
    ((gr_tensors){(int64_t)(sizeof((gr_tensor *[]){__VA_ARGS__}) / sizeof(gr_tensor *)),           \
                  (gr_tensor *[]){__VA_ARGS__}})
#endif

/* ---- Making tensors -------------------------------------------------------------------------- */

/* Each result is new, contiguous in row-major order, a leaf without gradient, and freed with the
   scope. Each function fails with MEMORY, with SHAPE for a negative size or more than GR_MAX_DIMS
   sizes, and with DTYPE for an unknown dtype. */

/* All elements are 0, 1 or `value`, rounded to the dtype. */
GR_API gr_tensor *gr_zeros(gr_context *ctx, gr_dtype dtype, gr_dims shape);
GR_API gr_tensor *gr_ones(gr_context *ctx, gr_dtype dtype, gr_dims shape);
GR_API gr_tensor *gr_full(gr_context *ctx, gr_dtype dtype, gr_dims shape, double value);

/* A copy of `data`, which holds all elements in row-major order, of the same dtype. data may be
   NULL if the shape has no elements; otherwise fails with NULL. */
GR_API gr_tensor *gr_from_data(gr_context *ctx, gr_dtype dtype, gr_dims shape, const void *data);

/* A 0-d constant that adapts: in an op it takes the dtype of the other operands. With f16 and
   bf16 operands it is rounded to f32, in which the op computes. Alone it is f64. The result of an
   op on such constants alone adapts too, as in gr_neg(gr_scalar(ctx, 1)). The results of gr_cast
   and gr_variable do not. */
GR_API gr_tensor *gr_scalar(gr_context *ctx, double value);

/* A 0-d constant of x's dtype, in x's context. */
GR_API gr_tensor *gr_scalar_like(gr_tensor *x, double value);

/* Zeros or ones of x's dtype and shape. */
GR_API gr_tensor *gr_zeros_like(gr_tensor *x);
GR_API gr_tensor *gr_ones_like(gr_tensor *x);

/* The elements 0, 1, ..., count-1, shape [count]. Fails with ARGUMENT for a negative count. */
GR_API gr_tensor *gr_arange(gr_context *ctx, gr_dtype dtype, int64_t count);

/* Independent random numbers. gr_rand: uniform in [0, 1). gr_randn: normal with mean 0 and standard
   deviation 1. dtype: any float. The generator is Philox 4x32-10 (Salmon et al., "Parallel random
   numbers: as easy as 1, 2, 3", SC 2011). An element depends only on the context's seed, the number
   of earlier successful calls, and its index: never on threads or instruction set. */
GR_API gr_tensor *gr_rand(gr_context *ctx, gr_dtype dtype, gr_dims shape);
GR_API gr_tensor *gr_randn(gr_context *ctx, gr_dtype dtype, gr_dims shape);

/* The numbers 0 to count-1 in random order, i64, shape [count]. All orders are equally likely.
   Fails with ARGUMENT for a negative count. */
GR_API gr_tensor *gr_permutation(gr_context *ctx, int64_t count);

/* ---- Looking at tensors ---------------------------------------------------------------------- */

/* These only look: none changes the error of the context. For a failed tensor, and for one whose
   scope has ended, gr_failed returns true, gr_size -1, and the others f32, an empty list, 0 or
   false. */
GR_API gr_context *gr_context_of(const gr_tensor *x);
GR_API bool gr_failed(const gr_tensor *x); /* true: x cannot be used: failed, freed or NULL */
GR_API gr_dtype gr_dtype_of(const gr_tensor *x);
GR_API gr_dims gr_shape_of(const gr_tensor *x);
GR_API gr_dims gr_strides_of(const gr_tensor *x); /* in elements */
GR_API int gr_ndim(const gr_tensor *x);
GR_API int64_t gr_size(const gr_tensor *x, int axis); /* of one axis; -1 if x has no such axis */
GR_API int64_t gr_numel(const gr_tensor *x);          /* the product of the sizes; 1 for 0-d */
GR_API bool gr_is_contiguous(const gr_tensor *x);     /* row-major without gaps */

/* Returns the address of the first element. The steps between elements are gr_strides_of(x). The
   address is valid as long as x is. NULL for a failed tensor and for one whose scope has ended. */
GR_API const void *gr_data(const gr_tensor *x);

/* Returns the value of a tensor of one element, as a double. For any other shape it returns NaN and
   fails with SHAPE. */
GR_API double gr_item(gr_tensor *x);

/* Returns the element at an index, as in gr_get(x, gr_index(1, 2)), as a double. For an index
   outside x it returns NaN and fails with ARGUMENT. */
GR_API double gr_get(gr_tensor *x, gr_dims index);

/* Copies all elements of x in row-major order to `data`, converted to `dtype` as gr_cast does.
   count: the number of elements that data has room for. Fails with SHAPE if count is not
   gr_numel(x), and with DTYPE for an unknown dtype. */
GR_API GR_CHECKED gr_status gr_read(gr_tensor *x, gr_dtype dtype, int64_t count, void *data);

/* Copies `count` elements of `dtype` in row-major order from `data` into x, converted to x's dtype.
   x must be a contiguous leaf. Fails with SHAPE if count is not gr_numel(x) or x is strided, with
   DTYPE for an unknown dtype, and with GRADIENT if x is the result of a recorded op. The call
   counts as a write: a gradient that would read the old values fails from then on (gr_backward). */
GR_API GR_CHECKED gr_status gr_write(gr_tensor *x, gr_dtype dtype, int64_t count, const void *data);

/* ---- Gradients ------------------------------------------------------------------------------- */

/* Returns a parameter: a contiguous copy of x that gets a gradient. It lives in the context until
   gr_parameter_free. x: any float dtype, any shape. Fails with DTYPE and MEMORY. */
GR_API gr_tensor *gr_parameter(gr_tensor *x);

/* Returns a view of x that gets a gradient from gr_grad, but not from gr_backward. x: any float
   dtype, any shape. The result shares x's elements and is freed with the scope. Fails with DTYPE
   and MEMORY. */
GR_API gr_tensor *gr_variable(gr_tensor *x);

/* Returns a view of x that stops gradients. x: any dtype. The result shares x's elements and is
   freed with the scope. Fails with MEMORY. */
GR_API gr_tensor *gr_detach(gr_tensor *x);

/* Between begin and end no call is recorded. The pairs nest. The end of a scope also ends the pairs
   that were begun in it. A pair that was begun outside a scope cannot be ended inside. */
GR_API void gr_no_grad_begin(gr_context *ctx);
GR_API void gr_no_grad_end(gr_context *ctx);

/* True if x gets a gradient: a parameter, a variable, or a recorded result. */
GR_API bool gr_requires_grad(const gr_tensor *x);

/* Adds d loss / d p to the gradient of every parameter p that loss depends on. loss: one element,
   any float dtype. If the call fails, no gradient changes. Time and memory depend only on the
   recorded calls that loss comes from. Fails with GRADIENT if loss has more or less than one
   element, or depends on no parameter, and with DTYPE and MEMORY.
   It also fails with GRADIENT if a gradient rule would read a value that was written after it was
   recorded (by gr_write, gr_step, gr_archive_read or gr_data_mutable). The message names the op,
   the operand, the writer and the place of the write. Values that no rule reads, such as the
   operands of an addition, may be written. */
GR_API GR_CHECKED gr_status gr_backward(gr_tensor *loss);

/* Returns the gradient that gr_backward has added up for a parameter since the last gr_step or
   gr_zero_grad: p's shape, f64 for an f64 parameter and else f32, zeros if there is none. It lives
   as long as the parameter. gr_backward, gr_step and gr_zero_grad change its elements, and views of
   it show the change. If there is no view of it, gr_backward may also change the address from
   gr_data. Fails with GRADIENT if the tensor is no parameter, and with MEMORY. */
GR_API gr_tensor *gr_gradient(gr_tensor *parameter);

/* Frees a parameter and its gradient. Fails with GRADIENT if the tensor is no parameter, and when a
   gradient rule calls it. A gradient that would read the freed parameter fails from then on. */
GR_API void gr_parameter_free(gr_tensor *parameter);

/* Sets the gradients of these parameters to none, as gr_step does. Tensors that are no parameters
   are skipped. */
GR_API void gr_zero_grad(gr_tensors parameters);

/* Returns d y / d x, with x's shape and dtype. It is freed with the scope and may share elements
   with other gradients. y: one element, any float dtype. x: a parameter, a variable or a recorded
   result. The result is 0 if y does not depend on x. It is recorded (not between gr_no_grad_begin
   and its end), so that it can be differentiated again. Fails with GRADIENT if y has more or less
   than one element or x gets no gradient, and as gr_backward does for overwritten values. */
GR_API gr_tensor *gr_grad(gr_tensor *y, gr_tensor *x);

/* Computes gradients[i] = sum over j of seed[j] d y[j] / d inputs[i] for all inputs in one sweep.
   y: any shape, any float dtype. args may be NULL. gradients: an array with a place for each input.
   On success each has the shape and dtype of its input; on failure each is the failed tensor. They
   are freed with the scope, and may share elements with the seed and with one another. Fails as
   gr_grad does, with SHAPE if the seed differs from y in shape or dtype, and with CONTEXT. */
typedef struct gr_grad_args {
    gr_tensor *seed; /* seed: y's shape and dtype, NULL for ones */
    bool record;     /* true: the gradients can be differentiated again */
} gr_grad_args;
GR_API GR_CHECKED gr_status gr_grad_with(gr_tensor *y, gr_tensors inputs, gr_tensor **gradients,
                                         const gr_grad_args *args);

/* Returns the Hessian H[i,j] = d2 f / dx[i] dx[j] at x: shape [n, n] for n elements of x, x's
   dtype, freed with the scope. x: any float dtype. f must return a tensor of one element, computed
   from inputs.at[0] with ops; data is passed to it and may be NULL. f is recorded even between
   gr_no_grad_begin and its end. Fails as f and gr_grad do. */
typedef gr_tensor *gr_function(gr_tensors inputs, void *data);
GR_API gr_tensor *gr_hessian(gr_function *f, void *data, gr_tensor *x);

/* ---- Places ---------------------------------------------------------------------------------- */

/* These functions add the place "(program.c:12)" to an error. Users need not call them: each
   function below is also a macro of the same name, which calls gr_here or the function with _here.
   file may be NULL; then the message has no place. C++ and other languages call the functions
   without macros. gr_here returns `result`, or a failed tensor if that is NULL. */
GR_API gr_tensor *gr_here(gr_tensor *result, const char *file, int line);
GR_API GR_CHECKED gr_status gr_backward_here(gr_tensor *loss, const char *file, int line);
GR_API GR_CHECKED gr_status gr_grad_here(gr_tensor *y, gr_tensors inputs, gr_tensor **gradients,
                                         const gr_grad_args *args, const char *file, int line);
GR_API GR_CHECKED gr_status gr_write_here(gr_tensor *x, gr_dtype dtype, int64_t count,
                                          const void *data, const char *file, int line);
#define GR_HERE(call) gr_here(call, __FILE__, __LINE__)

#ifdef __cplusplus
}
#endif

#ifdef __cplusplus
template <class... Sizes> inline gr_dims gr_shape(Sizes... sizes)
{
    const int64_t list[] = {0, static_cast<int64_t>(sizes)...};
    return gr_dims_from(static_cast<int64_t>(sizeof...(sizes)), list + 1);
}
template <class... Axes> inline gr_dims gr_axes(Axes... axes) { return gr_shape(axes...); }
template <class... Index> inline gr_dims gr_index(Index... index) { return gr_shape(index...); }
#endif

#ifndef GR_NO_PLACES
#define gr_keep(x)          GR_HERE(gr_keep(x))
#define gr_zeros(...)       GR_HERE(gr_zeros(__VA_ARGS__))
#define gr_ones(...)        GR_HERE(gr_ones(__VA_ARGS__))
#define gr_full(...)        GR_HERE(gr_full(__VA_ARGS__))
#define gr_from_data(...)   GR_HERE(gr_from_data(__VA_ARGS__))
#define gr_scalar(...)      GR_HERE(gr_scalar(__VA_ARGS__))
#define gr_scalar_like(...) GR_HERE(gr_scalar_like(__VA_ARGS__))
#define gr_zeros_like(x)    GR_HERE(gr_zeros_like(x))
#define gr_ones_like(x)     GR_HERE(gr_ones_like(x))
#define gr_arange(...)      GR_HERE(gr_arange(__VA_ARGS__))
#define gr_rand(...)        GR_HERE(gr_rand(__VA_ARGS__))
#define gr_randn(...)       GR_HERE(gr_randn(__VA_ARGS__))
#define gr_permutation(...) GR_HERE(gr_permutation(__VA_ARGS__))
#define gr_parameter(x)     GR_HERE(gr_parameter(x))
#define gr_variable(x)      GR_HERE(gr_variable(x))
#define gr_detach(x)        GR_HERE(gr_detach(x))
#define gr_gradient(x)      GR_HERE(gr_gradient(x))
#define gr_grad(y, x)       GR_HERE(gr_grad(y, x))
#define gr_hessian(...)     GR_HERE(gr_hessian(__VA_ARGS__))
#define gr_backward(loss)   gr_backward_here((loss), __FILE__, __LINE__)
#define gr_grad_with(...)   gr_grad_here(__VA_ARGS__, __FILE__, __LINE__)
#define gr_write(...)       gr_write_here(__VA_ARGS__, __FILE__, __LINE__)
#endif

#endif
