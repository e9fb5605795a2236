/* internal.h - what gradus' own files know of each other, grouped by the file that defines it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_INTERNAL_H
#define GRADUS_INTERNAL_H

#ifndef GR_NO_PLACES
#define GR_NO_PLACES /* inside the library a call's place is its user's */
#endif
#include <gradus/gradus.h>
#include "kernels/kernels.h"

typedef struct gr_scope gr_scope;
typedef struct gr_chunk gr_chunk;
typedef struct gr_storage gr_storage;

typedef struct gr_entry gr_entry;
typedef struct gr_parameter_state gr_parameter_state;

/* ---- memory.c: the seam, the arena, the buffer pool ------------------------------------------ */

/* Bytes from the context's allocator, aligned to 64; NULL (and the error MEMORY) if there are none.
   Every allocation of the library goes through these two. release takes NULL. */
void *gr_allocate(gr_context *ctx, int64_t bytes);
void gr_release(gr_context *ctx, void *memory, int64_t bytes);

/* Zeroed bytes that die with the scope; NULL (and MEMORY) if there are none. */
void *gr_scope_allocate(gr_scope *scope, int64_t bytes);

/* At least `bytes` bytes, aligned to 64, contents undefined, that go back to the pool with the
   scope; NULL (and MEMORY) if there are none. */
void *gr_buffer(gr_scope *scope, int64_t bytes);

/* A scope in a chunk of its own; NULL (and MEMORY). */
gr_scope *gr_scope_open(gr_context *ctx, gr_scope *outer);

/* Gives back what the scope holds: chunks to the quarantine, buffers to the pool. */
void gr_scope_close(gr_scope *scope);

/* At a context's start and end: chunks in reserve, and everything back to the allocator. */
bool gr_memory_begin(gr_context *ctx);
void gr_memory_end(gr_context *ctx);

/* Four size classes to a power of two. */
enum { GR_SIZE_CLASSES = 4 * 62 };

/* ---- context.c, scope.c ---------------------------------------------------------------------- */

struct gr_scope {
    gr_context *ctx;
    gr_scope *outer;      /* NULL: the root */
    gr_chunk *chunks;     /* of the arena, the one in use first */
    gr_tensor *tensors;   /* made here, newest first */
    gr_storage *storages; /* held here */
    int64_t tape_length;  /* when it began */
    int no_grad;          /* likewise */
};

struct gr_tensor {
    uint32_t state; /* GR_LIVE, or what became of it */
    gr_dtype dtype;
    int ndim;
    bool requires_grad;
    bool weak; /* gr_scalar: takes the other operand's dtype */
    int64_t shape[GR_MAX_DIMS];
    int64_t strides[GR_MAX_DIMS]; /* elements */
    char *data;                   /* the first element; NULL in a failed tensor */
    gr_context *ctx;
    gr_tensor *next;               /* in its scope */
    gr_entry *entry;               /* the tape's, that made it; NULL: a leaf */
    gr_parameter_state *parameter; /* what gr_backward adds to, or NULL */
    int64_t sweep;                 /* the last sweep that it took part in */
    gr_tensor *sum;                /* its gradient so far, in that sweep */
};

enum { GR_LIVE = 0x67724c69, GR_DEAD = 0x67724465, GR_FAILED = 0x67724661 };

struct gr_parameter_state {
    gr_tensor *gradient; /* the root's, of the parameter's shape and dtype */
    bool has_gradient;
    gr_tensor *tensor;        /* the parameter */
    gr_parameter_state *next; /* in its context */
};

/* One entry of the tape: the public node, and where it stands. */
struct gr_entry {
    gr_node node;
    int64_t position;
};

struct gr_context {
    gr_allocator allocator;
    gr_memory_report memory;
    const gr_kernels *kernels;
    int threads;
    bool broken; /* could not be made: nothing works */

    gr_status error;
    char message[512];
    bool place_known, handler_due;
    int handler_held; /* depth of gr_hold_handler */
    gr_error_handler *handler;
    void *handler_data;
    const char *doing; /* the op that runs, for messages of memory */
    gr_tensor failed;

    gr_scope *root, *scope;
    int lost_scopes; /* begun without memory, to be ended without effect */
    gr_chunk *reserve, *reserve_last;
    int64_t reserve_count;
    gr_storage *pool[GR_SIZE_CLASSES];

    gr_entry **tape;
    int64_t tape_length, tape_capacity, sweep;
    int no_grad;       /* depth of brackets */
    int rules_running; /* gradient rules on the C stack */

    uint64_t seed, stream;
    gr_parameter_state *parameters;
};

/* Keeps the error if it is the first; "op: " goes before the message. Returns status. */
gr_status gr_fail(gr_context *ctx, gr_status status, const char *op, const char *format, ...)
    GR_PRINTF(4, 5);

/* The same, and the context's failed tensor. */
gr_tensor *gr_fail_tensor(gr_context *ctx, gr_status status, const char *op, const char *format,
                          ...) GR_PRINTF(4, 5);

/* Between these, which nest, the handler waits: it may not come back, and what is open would stay
   so. */
void gr_hold_handler(gr_context *ctx);
void gr_free_handler(gr_context *ctx);

/* Tells the handler, if there is one, what is no error. */
void gr_note(gr_context *ctx, const char *message);

/* At the end of a call that returns a status: calls the handler if one is due and nothing holds it;
   returns the context's first error. */
gr_status gr_finish(gr_context *ctx);

/* Appends " (file:line)" to the message if its place is not known yet. */
void gr_place_error(gr_context *ctx, const char *file, int line);

/* The contexts that stand for "there was no memory to make one" and for "the operand that would say
   which context is NULL". They are broken, have their error from the start, and never change. */
extern gr_context gr_no_context, gr_null_context;

/* "[2,3]" in a buffer of the caller's. */
typedef struct gr_text {
    char text[192];
} gr_text;
gr_text gr_shape_text(const gr_tensor *x);
gr_text gr_dims_text(const gr_dims *dims);

/* ---- tensor.c -------------------------------------------------------------------------------- */

/* Whether a context can make tensors; if not, *failed is what to return. */
bool gr_context_usable(gr_context *ctx, gr_tensor **failed);

/* Raises SHAPE or DTYPE (and returns false) for a dtype or shape that no tensor can have. */
bool gr_check_shape(gr_context *ctx, const char *op, gr_dtype dtype, const gr_dims *shape);

/* A contiguous tensor with a buffer, contents undefined; NULL on an error. */
gr_tensor *gr_tensor_in(gr_scope *scope, const char *op, gr_dtype dtype, const gr_dims *shape);

/* A view of x's elements in the innermost scope, a leaf without gradient; NULL on an error. */
gr_tensor *gr_view_of(const gr_tensor *x);

/* Whether x is an operand that can be used; if not, the reason is raised and *failed is the failed
   tensor to return. position: which operand, from 0, for the message. */
bool gr_usable(const char *op, gr_tensor *x, int position, gr_tensor **failed);

/* The broadcast of two shapes in *into; false and the axis (of the result) that does not fit. */
bool gr_broadcast(gr_dims *into, const gr_dims *other, int *axis);
bool gr_broadcasts_to(const gr_tensor *x, const gr_dims *shape);
bool gr_same_dims(const gr_dims *a, const gr_dims *b);
int64_t gr_dims_count(const gr_dims *shape); /* the number of elements */

/* The coordinates of the i-th element of a shape, row-major. */
gr_dims gr_dims_position(const gr_dims *shape, int64_t i);

/* axis, counted from the end if below 0, or -1 where x has not so many. */
int gr_axis_of(int ndim, int64_t axis);

/* ---- convert.c: reading elements of any dtype and stride ------------------------------------- */

/* Elements of a tensor as broadcast to a shape, in row-major order. */
typedef struct gr_reader {
    const char *data;
    gr_dtype dtype;
    int ndim;
    int64_t shape[GR_MAX_DIMS];
    int64_t strides[GR_MAX_DIMS];
    bool constant;   /* one element, repeated */
    bool contiguous; /* elements lie one behind the other */
} gr_reader;
void gr_reader_begin(gr_reader *reader, const gr_tensor *x, const gr_dims *shape);

/* Elements [start, start + count) as dtype `to` (contiguous), converted as gr_cast does. */
void gr_reader_read(const gr_reader *reader, int64_t start, int64_t count, gr_dtype to, void *out);

/* `count` contiguous elements of one dtype to another, as gr_cast does. */
void gr_convert(gr_dtype from, const void *in, gr_dtype to, void *out, int64_t count);

/* The index into kernel tables for a dtype that ops compute in: f64 in f64, other floats in f32,
   integers in f64; and the dtype of that index. */
int gr_ktype(gr_dtype dtype);
gr_dtype gr_ktype_dtype(int ktype);

/* ---- parallel.c ------------------------------------------------------------------------------ */

/* How many threads a pass over so many elements is worth. */
int gr_threads_for(const gr_context *ctx, int64_t elements);

/* Calls part(state, i) for each i in [0, parts), in any order, by as many threads. */
typedef void gr_part(void *state, int64_t i);
void gr_parallel_for(int threads, int64_t parts, gr_part *part, void *state);

/* ---- map.c: the driver of elementwise kernels and of full reductions ------------------------- */

typedef struct gr_map gr_map;

/* For a chunk of at most GR_CHUNK elements: writes out[1...] and adds out[0]'s elements into the
   lanes, faster than kernel and accumulate one after the other. */
typedef int gr_lane_kernel(const gr_map *map, int64_t count, void *const *out,
                           const void *const *in, double *lanes);

struct gr_map {
    gr_context *ctx;
    int ktype;
    gr_dims shape; /* what the operands are broadcast to */
    int inputs, outputs;
    const gr_tensor *in[GR_MAX_ARITY]; /* NULL: not given */
    gr_tensor *out[GR_MAX_ARITY];      /* contiguous, of the shape; NULL: not wanted */
    gr_map_kernel *kernel;
    const void *args;
    double *sum;                 /* where the sum of out[0]'s elements goes, or NULL */
    gr_lane_kernel *lane_kernel; /* with sum, instead of kernel, or NULL */
};

/* Runs it. Returns the kernels' bits or'ed, or -1 after MEMORY. */
int gr_map_run(const gr_map *map);

/* ---- apply.c, tape.c, backward.c ------------------------------------------------------------- */

/* An op of the library: the public row, and its elementwise kernel if it has one. */
typedef struct gr_row {
    gr_op op;
    gr_kernel_id kernel;
} gr_row;

/* The forward of every row that is its kernel over the broadcast operands. */
gr_status gr_elementwise_forward(const gr_call *call);

/* The one dtype of float operands, gr_scalars aside; fails with DTYPE. */
gr_status gr_common_dtype(const gr_call *call, gr_dtype *dtype);

/* The broadcast shape of the operands that are given; fails with BROADCAST. */
gr_status gr_broadcast_dims(const gr_call *call, gr_dims *shape);

/* Dtype and broadcast shape of float operands, as ops without a shape rule have them. */
gr_status gr_broadcast_shape(const gr_call *call, gr_dtype *dtype, gr_dims *shape);

/* Operands checked for one context and scope; NULL ones are not given. *failed as in gr_usable. */
gr_context *gr_operands_context(const char *op, int count, gr_tensor *const *in,
                                gr_tensor **failed);

/* Whether a call on these operands goes to the tape. */
bool gr_records(const gr_context *ctx, int count, gr_tensor *const *in);

/* Puts it there: out was made by op from in. NULL after MEMORY. saved: count places, or NULL. */
gr_entry *gr_record(const gr_op *op, int count, gr_tensor *const *in, gr_tensor *out,
                    const void *args);

/* The gradients of y in each input, as gr_grad_with; only entries at `since` and later are
   swept. */
gr_status gr_sweep(gr_tensor *y, gr_tensors inputs, gr_tensor *seed, bool record, int64_t since,
                   gr_tensor **gradients);

/* For gradient rules that are a composition of public ops: runs compose on the node's operands and
   sets dx to the gradients of what it returns, a tensor of out's shape. */
void gr_vjp_by_composition(const gr_node *node, gr_tensor *g, gr_tensor **dx,
                           gr_tensor *(*compose)(const gr_node *node));

/* ---- reduce.c -------------------------------------------------------------------------------- */

/* out[...] = sum of x over the axes marked in reduced, over divisor; out: contiguous. */
gr_status gr_reduce_run(const gr_tensor *x, const bool *reduced, double divisor, gr_tensor *out);

#endif
