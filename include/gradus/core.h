/* gradus/core.h - contexts, scopes, tensors, errors and gradients.
 *
 * Five nouns carry the library:
 *
 *   context   owns everything: memory, program, random state, settings and the first error.
 *   scope     a bracket in a context: what is made inside dies when it ends.
 *   tensor    an n-dimensional view: dtype, shape, strides, buffer.
 *   op        a function of tensors that knows its gradient (ops.h; your own: extend.h).
 *   program   the calls of ops that a gradient may need, in order; gr_backward and gr_grad walk it
 *             backwards.
 *
 * Words used for every function here:
 *
 *   "the scope's"   the result dies with the innermost scope that was open when it was made.
 *   "the root's"    the result lives until gr_context_free, or until a call that says it frees it.
 *   "fails with X"  the context keeps the error X (if it is its first), and the call returns the
 *                   failed tensor or the status. Nothing is ever printed, aborted or half done.
 *
 * One context is used by one thread at a time; different contexts may be used side by side.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_CORE_H
#define GRADUS_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define GR_API __attribute__((visibility("default")))
#define GR_CHECKED __attribute__((warn_unused_result))
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

/* The version of the library that runs, such as "0.1.0"; static. */
GR_API const char *gr_version(void);

/* ---- Errors ---------------------------------------------------------------------------------- */

typedef enum gr_status {
    GR_OK = 0,
    GR_ERROR_MEMORY,    /* the allocator returned NULL */
    GR_ERROR_NULL,      /* an argument that must be given is NULL */
    GR_ERROR_SHAPE,     /* a shape is not one that the op takes */
    GR_ERROR_BROADCAST, /* shapes do not broadcast against each other */
    GR_ERROR_DTYPE,     /* a dtype is not one that the op takes, or two differ */
    GR_ERROR_DOMAIN,    /* a value lies outside the op's domain */
    GR_ERROR_REDUCTION, /* a reduction's name or value is not one of the known ones */
    GR_ERROR_ARGUMENT,  /* an option's value makes no sense */
    GR_ERROR_CONTEXT,   /* operands belong to two contexts */
    GR_ERROR_SCOPE,     /* a tensor's scope has ended, or scopes do not nest */
    GR_ERROR_GRADIENT,  /* no gradient: not a scalar, not recorded, or checked and wrong */
    GR_ERROR_IO,        /* the system refused to read or write; the message has its reason */
    GR_ERROR_FORMAT,    /* a file does not hold what its format asks for */
    GR_ERROR_PROCESSOR  /* the processor lacks what gradus needs, or what GR_ISA names */
} gr_status;

/* The name of a status, such as "GR_ERROR_SHAPE"; static. "unknown" for any other number. */
GR_API const char *gr_status_name(gr_status status);

/* The context's first error since it was made or cleared; GR_OK if there was none. */
GR_API gr_status gr_error(const gr_context *ctx);

/* Its message, one line: op, what was wrong with both shapes, and the place of the call, as in
   "add: shapes [2,3] and [4] do not broadcast: dimension 1 is 3 and 4 (program.c:12)".
   "" if there was none. The context's; changed by the next error or gr_error_clear. */
GR_API const char *gr_error_message(gr_context *ctx);

/* Forgets the error, so that the context can be used again. Tensors made before it are unharmed. */
GR_API void gr_error_clear(gr_context *ctx);

/* Called once for a context's first error, when its place is known: in the failing call itself
   where it is called by its macro, otherwise in the next call that returns a status. It may print,
   longjmp or exit: the failing call has closed by then what it opened, and gr_backward, gr_grad,
   gr_hessian and gr_gradcheck call it only at their end. If it returns, the failing call returns
   too. With status GR_OK it is called for a
   note, such as that an argument is deprecated: nothing has failed. */
typedef void gr_error_handler(gr_context *ctx, gr_status status, const char *message, void *data);

/* ---- Contexts -------------------------------------------------------------------------------- */

/* Where a context's memory comes from. Both are called from one thread at a time. */
typedef struct gr_allocator {
    /* At least `bytes` bytes at a multiple of `alignment` (a power of two), or NULL. */
    void *(*allocate)(void *state, size_t bytes, size_t alignment);
    /* Takes back what allocate gave, with the same number of bytes; never called with NULL. */
    void (*release)(void *state, void *memory, size_t bytes);
    void *state;
} gr_allocator;

/* Every zero is the default. */
typedef struct gr_context_options {
    const gr_allocator *allocator;  /* the system's (aligned_alloc, free); copied */
    uint64_t seed;                  /* of gr_randn and its kin; 0 is a seed like any other */
    gr_error_handler *handler;      /* none */
    void *handler_data;             /* given to the handler */
    const char *isa;                /* "scalar", "avx2" or "avx512"; default: the environment's
                                       GR_ISA, and without it the widest that the processor has */
    int threads;                    /* at most so many, 256 or fewer; default: OpenMP's
                                       (OMP_NUM_THREADS) */
} gr_context_options;

/* A new context; options may be NULL. Never NULL: where it cannot be made (no memory, an allocator
   that lacks allocate or release, a processor without FMA, an unknown isa, too many threads) the
   result is a context in the state of that error, on which every call fails with it. The caller's: give it to gr_context_free.
   What gradus cannot catch: libgomp prints a message and ends the process where the system gives it
   no thread. Ask for no more threads than the system allows. */
GR_API gr_context *gr_context_new(const gr_context_options *options);

/* Frees the context with all its scopes, tensors and optimisers, and returns its first error. */
GR_API gr_status gr_context_free(gr_context *ctx);

/* "scalar", "avx2" or "avx512": the kernels that the context uses; static. */
GR_API const char *gr_context_isa(const gr_context *ctx);

/* What the context holds from its allocator, in bytes and calls. */
typedef struct gr_memory_report {
    int64_t live_bytes;  /* held now, pools and arenas included */
    int64_t peak_bytes;  /* the most ever held */
    int64_t allocations; /* calls of allocate so far */
} gr_memory_report;
GR_API gr_memory_report gr_memory(const gr_context *ctx);

/* ---- Scopes ---------------------------------------------------------------------------------- */

/* Opens a scope: what is made from here on dies with it. Fails with MEMORY.
   A tensor that is used after its scope has ended gives the error SCOPE, and gr_data gives NULL, as
   long as fewer than 255 scopes have ended since. Later it may be taken for a younger tensor. */
GR_API gr_status gr_scope_begin(gr_context *ctx);

/* Ends the innermost scope with its tensors and the calls that were recorded in it. Returns the context's first error,
   so that one check a step is enough. Fails with SCOPE if none is open. */
GR_API gr_status gr_scope_end(gr_context *ctx);

/* x (any dtype and shape) for the scope around the innermost one; no gradient flows through it. Where
   x is the innermost scope's and its elements are all of its buffer, the result shares them and
   nothing is copied; otherwise it is a copy. Fails with MEMORY. */
GR_API gr_tensor *gr_keep(gr_tensor *x);

/* ---- Dtypes and shapes ----------------------------------------------------------------------- */

/* Ops compute in f32 and f64; f16 and bf16 are stored as such, computed in f32 and rounded once;
   the others are for data, targets, masks and conditions. */
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
GR_API int64_t gr_dtype_size(gr_dtype dtype);     /* bytes an element; 0 for an unknown number */
GR_API bool gr_dtype_is_float(gr_dtype dtype);    /* f16, bf16, f32, f64 */

/* A list of sizes, axes or indices. */
typedef struct gr_dims {
    int64_t count; /* more than GR_MAX_DIMS: refused where it is used */
    int64_t at[GR_MAX_DIMS];
} gr_dims;

GR_API gr_dims gr_dims_from(int64_t count, const int64_t *values);

/* gr_shape(2, 3), gr_shape() for a 0-d tensor, gr_axes(0, -1), gr_index(1, 2): a gr_dims. Axes and
   indices below 0 count from the end. */
#ifndef __cplusplus
#define GR_DIMS(...)                                                                               \
    gr_dims_from((int64_t)(sizeof((int64_t[]){0, __VA_ARGS__}) / sizeof(int64_t)) - 1,             \
                 (const int64_t[]){0, __VA_ARGS__} + 1)
#define gr_shape(...) GR_DIMS(__VA_ARGS__)
#define gr_axes(...) GR_DIMS(__VA_ARGS__)
#define gr_index(...) GR_DIMS(__VA_ARGS__)
#endif

/* A list of tensors; gr_list(w, b) makes one that lives as long as the block it stands in. */
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

/* Each is the scope's, contiguous, row-major. Each fails with MEMORY, with SHAPE for a negative
   size or more than GR_MAX_DIMS, and with DTYPE for an unknown dtype. */

/* Elements 0, 1 or `value`, rounded to the dtype. */
GR_API gr_tensor *gr_zeros(gr_context *ctx, gr_dtype dtype, gr_dims shape);
GR_API gr_tensor *gr_ones(gr_context *ctx, gr_dtype dtype, gr_dims shape);
GR_API gr_tensor *gr_full(gr_context *ctx, gr_dtype dtype, gr_dims shape, double value);

/* A copy of `data`: the shape's elements in row-major order, of that dtype. data may be NULL if
   there are none. Fails with NULL. */
GR_API gr_tensor *gr_from_data(gr_context *ctx, gr_dtype dtype, gr_dims shape, const void *data);

/* A 0-d constant that takes the dtype of the tensor it meets in an op (alone it is f64). Beside f16
   and bf16 it is rounded to f32, in which the op computes. What an op makes of such constants alone
   is one as well: gr_neg(gr_scalar(ctx, 1)); gr_cast and gr_variable end that. */
GR_API gr_tensor *gr_scalar(gr_context *ctx, double value);

/* A 0-d constant of x's dtype and context. */
GR_API gr_tensor *gr_scalar_like(gr_tensor *x, double value);

/* As x in dtype and shape. */
GR_API gr_tensor *gr_zeros_like(gr_tensor *x);
GR_API gr_tensor *gr_ones_like(gr_tensor *x);

/* 0, 1, ..., count-1: [count]. Fails with ARGUMENT for a negative count. */
GR_API gr_tensor *gr_arange(gr_context *ctx, gr_dtype dtype, int64_t count);

/* Independent samples, uniform in [0, 1) or normal (mean 0, standard deviation 1); dtype: any
   float. Counter-based (Philox 4x32-10: Salmon et al., "Parallel random numbers: as easy as
   1, 2, 3", SC 2011), keyed by the context's seed, the number of such calls before this one, and
   the element's index: neither threads nor instruction set change them. A call that fails does not
   count. */
GR_API gr_tensor *gr_rand(gr_context *ctx, gr_dtype dtype, gr_dims shape);
GR_API gr_tensor *gr_randn(gr_context *ctx, gr_dtype dtype, gr_dims shape);

/* 0 ... count-1 in random order, each order as likely as any other: i64 [count]. Fails as gr_arange
   does. */
GR_API gr_tensor *gr_permutation(gr_context *ctx, int64_t count);

/* ---- Looking at tensors ---------------------------------------------------------------------- */

GR_API gr_context *gr_context_of(const gr_tensor *x);
GR_API bool gr_failed(const gr_tensor *x); /* x is its context's failed tensor, or NULL */
GR_API gr_dtype gr_dtype_of(const gr_tensor *x);
GR_API gr_dims gr_shape_of(const gr_tensor *x);
GR_API gr_dims gr_strides_of(const gr_tensor *x); /* in elements */
GR_API int gr_ndim(const gr_tensor *x);
GR_API int64_t gr_size(const gr_tensor *x, int axis); /* -1 for an axis that x has not */
GR_API int64_t gr_numel(const gr_tensor *x);          /* product of the sizes; 1 for 0-d */
GR_API bool gr_is_contiguous(const gr_tensor *x);

/* The first element's address; elements lie at gr_strides_of. The tensor's: valid as long as it. NULL
   for a failed tensor and for one whose scope has ended. */
GR_API const void *gr_data(const gr_tensor *x);

/* The value of a tensor of one element; NaN (and the error SHAPE) for any other. */
GR_API double gr_item(gr_tensor *x);

/* The element at an index, as in gr_get(x, gr_index(1, 2)); NaN (and ARGUMENT) outside. */
GR_API double gr_get(gr_tensor *x, gr_dims index);

/* Copies x's elements in row-major order to `data`, converted to `dtype`; `count` is the number of
   elements that data has room for. Fails with SHAPE unless it is gr_numel(x). */
GR_API GR_CHECKED gr_status gr_read(gr_tensor *x, gr_dtype dtype, int64_t count, void *data);

/* Copies `count` elements of `dtype` in row-major order into x, a leaf. Fails with SHAPE unless it
   is gr_numel(x) and x is contiguous, and with GRADIENT for the result of a recorded op. It counts as
   a write: a gradient that would have to read the old values fails from then on (gr_backward). */
GR_API GR_CHECKED gr_status gr_write(gr_tensor *x, gr_dtype dtype, int64_t count, const void *data);

/* ---- Gradients ------------------------------------------------------------------------------- */

/* A copy of x that is the root's, outlives every step, and gets a gradient. x: any float dtype.
   Fails with DTYPE and MEMORY. */
GR_API gr_tensor *gr_parameter(gr_tensor *x);

/* A view of x's elements that gets a gradient and is the scope's: for gr_grad with respect to
   something that is no parameter. x: any float dtype. */
GR_API gr_tensor *gr_variable(gr_tensor *x);

/* A view of the same elements; no gradient flows through it. */
GR_API gr_tensor *gr_detach(gr_tensor *x);

/* Between these nothing is recorded; brackets nest. The end of a scope ends the brackets that were
   opened in it, and one that was opened outside cannot be ended inside. */
GR_API void gr_no_grad_begin(gr_context *ctx);
GR_API void gr_no_grad_end(gr_context *ctx);

GR_API bool gr_requires_grad(const gr_tensor *x);

/* Adds d loss / d p to the gradient of every parameter p that loss depends on. loss: one element,
   float. All gradients are added, or, on an error, none. Costs time and memory for what loss depends
   on, and for nothing else in the context. Fails with GRADIENT if loss has not one element or depends
   on no parameter, and with MEMORY.
   Fails with GRADIENT, too, where a gradient would have to read a value that was written after it was
   recorded (by gr_write, gr_step, gr_archive_read, gr_data_mutable): the message names the op, the
   operand, what wrote it, and where. Values that no gradient reads, such as an addition's operands,
   may be written. */
GR_API GR_CHECKED gr_status gr_backward(gr_tensor *loss);

/* The gradient that gr_backward has summed up for a parameter since the last gr_step or
   gr_zero_grad; zeros if there is none. The root's: its elements, and the address that gr_data gives,
   change with the next backward. */
GR_API gr_tensor *gr_gradient(gr_tensor *parameter);

/* Ends a parameter and its gradient before the context does. Fails with GRADIENT for a tensor that is
   no parameter, and in a gradient rule. A gradient that would have to read it fails from then on. */
GR_API void gr_parameter_free(gr_tensor *parameter);

/* Forgets what gr_backward has summed up. gr_step does it too. */
GR_API void gr_zero_grad(gr_tensors parameters);

/* d y / d x, recorded (but within gr_no_grad_begin), so that it can be differentiated again. y: one
   element; x: a parameter, a variable or any recorded result that y depends on; zeros if y does not
   depend on it. Same shape and dtype as x; the scope's. Fails with GRADIENT if y has not one
   element or x gets no gradient. */
GR_API gr_tensor *gr_grad(gr_tensor *y, gr_tensor *x);

/* For several inputs in one sweep: gradients[i] = sum over j of seed[j] d y[j] / d inputs[i].
   seed: y's shape and dtype, NULL for ones; record: whether the gradients can be differentiated
   again. args may be NULL. gradients: inputs.count places, all filled on success, all the failed
   tensor otherwise. Freed with the scope. They may share elements with the seed and with one
   another. Fails as gr_backward and gr_grad do. */
typedef struct gr_grad_args {
    gr_tensor *seed;
    bool record;
} gr_grad_args;
GR_API GR_CHECKED gr_status gr_grad_with(gr_tensor *y, gr_tensors inputs, gr_tensor **gradients,
                                         const gr_grad_args *args);

/* The Hessian of f at x, d2 f / dx[i] dx[j]: [n, n] for x of n elements, x's dtype, the scope's.
   f makes a tensor of one element of x with public ops; it is recorded whatever brackets are
   open. */
typedef gr_tensor *gr_function(gr_tensors inputs, void *data);
GR_API gr_tensor *gr_hessian(gr_function *f, void *data, gr_tensor *x);

/* ---- Places ---------------------------------------------------------------------------------- */

/* Where an error's "(program.c:12)" comes from: each call below is also a macro of its own name
   that hands its result to gr_here, or calls the function of its name with _here. file may be NULL:
   then the place stays unknown. The functions without a place serve C++ and other languages. */
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
#define gr_keep(x) GR_HERE(gr_keep(x))
#define gr_zeros(...) GR_HERE(gr_zeros(__VA_ARGS__))
#define gr_ones(...) GR_HERE(gr_ones(__VA_ARGS__))
#define gr_full(...) GR_HERE(gr_full(__VA_ARGS__))
#define gr_from_data(...) GR_HERE(gr_from_data(__VA_ARGS__))
#define gr_scalar(...) GR_HERE(gr_scalar(__VA_ARGS__))
#define gr_scalar_like(...) GR_HERE(gr_scalar_like(__VA_ARGS__))
#define gr_zeros_like(x) GR_HERE(gr_zeros_like(x))
#define gr_ones_like(x) GR_HERE(gr_ones_like(x))
#define gr_arange(...) GR_HERE(gr_arange(__VA_ARGS__))
#define gr_rand(...) GR_HERE(gr_rand(__VA_ARGS__))
#define gr_randn(...) GR_HERE(gr_randn(__VA_ARGS__))
#define gr_permutation(...) GR_HERE(gr_permutation(__VA_ARGS__))
#define gr_parameter(x) GR_HERE(gr_parameter(x))
#define gr_variable(x) GR_HERE(gr_variable(x))
#define gr_detach(x) GR_HERE(gr_detach(x))
#define gr_gradient(x) GR_HERE(gr_gradient(x))
#define gr_grad(y, x) GR_HERE(gr_grad(y, x))
#define gr_hessian(...) GR_HERE(gr_hessian(__VA_ARGS__))
#define gr_backward(loss) gr_backward_here((loss), __FILE__, __LINE__)
#define gr_grad_with(...) gr_grad_here(__VA_ARGS__, __FILE__, __LINE__)
#define gr_write(...) gr_write_here(__VA_ARGS__, __FILE__, __LINE__)
#endif

#endif
