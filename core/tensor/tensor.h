/* tensor.h - n-d views of buffers, as the other folders see them. Nothing here knows ops.
 *
 * A gr_tensor * is a handle: the address of a header, with the header's generation in the low bits.
 * After its scope has ended, a header is used again with the next generation. So a handle into an
 * ended scope is detected. Only this folder reads headers directly; all others call the functions
 * here.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TENSOR_H
#define GRADUS_TENSOR_H

#include "core/base/base.h"

/* ---- Headers --------------------------------------------------------------------------------- */

/* The engine's part of a header: where the tensor comes from, and the notes of a sweep. */
typedef struct gr_history {
    struct gr_entry *entry;               /* the entry that made it; NULL for a leaf */
    struct gr_parameter_state *parameter; /* gr_backward adds to it; may be NULL */
    int64_t born;                         /* the program's serial when the tensor was made */
    int64_t sweep;                        /* the last sweep that visited it */
    int64_t asked;                        /* the last sweep that was asked for its gradient */
    gr_tensor *sum;                       /* the sum of its gradients in that sweep */
} gr_history;

typedef struct gr_header {
    gr_member member;
    uint8_t dtype, ndim;
    bool weak; /* a gr_scalar: takes the other operand's dtype */
    bool requires_grad;
    int64_t shape[GR_MAX_DIMS];
    int64_t strides[GR_MAX_DIMS]; /* in elements */
    char *data;                   /* the first element; NULL for a failed tensor */
    gr_history history;
} gr_header;
_Static_assert(sizeof(gr_header) <= GR_MEMBER_BYTES, "a header is a member");

static inline gr_header *gr_header_of(const gr_tensor *x)
{
    return (gr_header *)((uintptr_t)x & -(uintptr_t)GR_GENERATIONS);
}

/* ---- Fields ---------------------------------------------------------------------------------- */

/* These require a tensor that is not NULL. */
static inline gr_context *gr_ctx(const gr_tensor *x) { return gr_header_of(x)->member.ctx; }
static inline gr_scope *gr_scope_of(const gr_tensor *x) { return gr_header_of(x)->member.scope; }
static inline gr_buffer *gr_buffer_of(const gr_tensor *x) { return gr_header_of(x)->member.buffer; }
static inline gr_dtype gr_type(const gr_tensor *x) { return (gr_dtype)gr_header_of(x)->dtype; }
static inline int gr_axes_of(const gr_tensor *x) { return gr_header_of(x)->ndim; }
static inline const int64_t *gr_sizes(const gr_tensor *x) { return gr_header_of(x)->shape; }
static inline const int64_t *gr_steps(const gr_tensor *x) { return gr_header_of(x)->strides; }
static inline char *gr_bytes(const gr_tensor *x) { return gr_header_of(x)->data; }
static inline bool gr_weak(const gr_tensor *x) { return gr_header_of(x)->weak; }
static inline void gr_set_weak(gr_tensor *x, bool weak) { gr_header_of(x)->weak = weak; }
static inline void gr_set_requires_grad(gr_tensor *x) { gr_header_of(x)->requires_grad = true; }
static inline bool gr_wants_grad(const gr_tensor *x) { return gr_header_of(x)->requires_grad; }
static inline gr_history *gr_history_of(const gr_tensor *x) { return &gr_header_of(x)->history; }

/* Returns GR_LIVE, GR_DEAD or GR_FAILED. */
static inline int gr_state(const gr_tensor *x)
{
    const gr_header *header = gr_header_of(x);
    const uint8_t generation = (uint8_t)((uintptr_t)x & (GR_GENERATIONS - 1));
    return header->member.generation == generation ? header->member.state : GR_DEAD;
}

static inline int64_t gr_count(const gr_tensor *x)
{
    const gr_header *header = gr_header_of(x);
    int64_t count = 1;
    for (int i = 0; i < header->ndim; i++)
        count *= header->shape[i];
    return count;
}

/* ---- Making and ending ----------------------------------------------------------------------- */

/* True if a context can make tensors. If not, *failed is the tensor to return. */
bool gr_context_usable(gr_context *ctx, gr_tensor **failed);

/* Stands in for the context of an operand that is NULL. It is broken, has its error from the start,
   and never changes. */
extern gr_context gr_null_context;

/* True if the elements of this shape, sizes of 0 left out, are few enough for a tensor. */
bool gr_countable(const gr_dims *shape);

/* If no tensor can have this dtype or shape, raises SHAPE or DTYPE and returns false. */
bool gr_check_shape(gr_context *ctx, const char *op, gr_dtype dtype, const gr_dims *shape);

/* Returns a contiguous tensor with a buffer. Its contents are undefined. NULL on an error. */
gr_tensor *gr_tensor_in(gr_scope *scope, const char *op, gr_dtype dtype, const gr_dims *shape);

/* Returns a contiguous header without a buffer. NULL after MEMORY. */
gr_tensor *gr_bare_tensor(gr_scope *scope, gr_dtype dtype, const gr_dims *shape);

/* Returns a view of x's elements in a scope, as a leaf without gradient. NULL on an error. */
gr_tensor *gr_view_in(gr_scope *scope, const gr_tensor *x);

/* Returns a view of x with another shape and strides. offset counts elements. NULL on an error. */
gr_tensor *gr_restrided(gr_scope *scope, const gr_tensor *x, const gr_dims *shape,
                        const gr_dims *strides, int64_t offset);

/* Ends a tensor before its scope ends. Takes NULL. */
void gr_tensor_free(gr_tensor *x);

/* The same for a tensor that nobody has seen. The next tensor may get its handle. */
void gr_tensor_unmake(gr_tensor *x);

/* Moves x, which was made in an internal scope, to another scope. */
void gr_tensor_move(gr_tensor *x, gr_scope *to);

/* x drops its own buffer and shares y's buffer. y has x's dtype and shape, and owns its buffer. */
void gr_share_buffer(gr_tensor *x, gr_tensor *y);

/* Drops x's buffer. */
void gr_drop_elements(gr_tensor *x);

/* True if nobody else holds x's buffer, and x's elements are the whole buffer in row-major
   order. */
bool gr_owns_buffer(const gr_tensor *x);

/* ---- Checking -------------------------------------------------------------------------------- */

/* True if x is a usable operand. If not, raises the reason, and *failed is the tensor to return.
   position counts operands from 0, for the message. */
bool gr_usable(const char *op, const gr_tensor *x, int position, gr_tensor **failed);

/* Returns the one context of the operands, after it has checked them. Skips NULL operands. NULL
   after an error. */
gr_context *gr_operands_context(const char *op, int64_t count, gr_tensor *const *in,
                                gr_tensor **failed);

/* Does the same for a call that may name its context: then all operands must belong to that one. */
gr_context *gr_call_context(gr_context *given, const char *op, int64_t count, gr_tensor *const *in,
                            gr_tensor **failed);

/* The checks that gr_read and gr_write share: x is usable and has `count` elements, and data is not
   NULL. */
gr_status gr_check_copy(const char *op, const gr_tensor *x, gr_dtype dtype, int64_t count,
                        const void *data);

/* ---- Shapes ---------------------------------------------------------------------------------- */

/* "[2,3]" in a buffer of the caller. */
typedef struct gr_text {
    char text[192];
} gr_text;
gr_text gr_shape_text(const gr_tensor *x);
gr_text gr_dims_text(const gr_dims *dims);

gr_dims gr_contiguous_strides(const gr_dims *shape);
int64_t gr_dims_count(const gr_dims *shape); /* the number of elements */
bool gr_same_dims(const gr_dims *a, const gr_dims *b);
bool gr_same_shape(const gr_tensor *a, const gr_tensor *b);

/* Returns the coordinates of the i-th element of a shape in row-major order. */
gr_dims gr_dims_position(const gr_dims *shape, int64_t i);

/* Sets *into to the broadcast of two shapes. If they do not fit, returns false and sets the axis
   (of the result) with the conflict. */
bool gr_broadcast(gr_dims *into, const gr_dims *other, int *axis);
bool gr_broadcasts_to(const gr_tensor *x, const gr_dims *shape);

/* Returns axis, counted from the end if it is negative. -1 if there is no such axis. */
int gr_axis_of(int ndim, int64_t axis);

/* ---- Elements -------------------------------------------------------------------------------- */

/* Reads the elements of a tensor, broadcast to a shape, in row-major order. */
typedef struct gr_reader {
    const char *data;
    gr_dtype dtype;
    int ndim;
    int64_t shape[GR_MAX_DIMS];
    int64_t strides[GR_MAX_DIMS];
    bool constant;   /* one repeated element */
    bool contiguous; /* elements lie side by side */
} gr_reader;
void gr_reader_begin(gr_reader *reader, const gr_tensor *x, const gr_dims *shape);

/* Does the same for a view that has no header: shape and strides of ndim axes. */
void gr_reader_begin_view(gr_reader *reader, const void *data, gr_dtype dtype, int ndim,
                          const int64_t *shape, const int64_t *strides);

/* Reads elements [start, start + count) as contiguous elements of dtype `to`. Converts as gr_cast
   does. */
void gr_reader_read(const gr_reader *reader, int64_t start, int64_t count, gr_dtype to, void *out);

/* Converts `count` contiguous elements to another dtype, as gr_cast does. */
void gr_convert(gr_dtype from, const void *in, gr_dtype to, void *out, int64_t count);

/* Copies all elements of x, broadcast to a shape, to contiguous elements of a dtype. */
void gr_copy_elements(const gr_tensor *x, const gr_dims *shape, gr_dtype to, void *out);

/* ktype is the index into kernel tables for the dtype in which ops compute: f64 for f64, f32 for
   other floats, f64 for integers. The second function returns the dtype of an index. */
int gr_ktype(gr_dtype dtype);
gr_dtype gr_ktype_dtype(int ktype);

/* Returns the dtype in which ops compute with x. */
gr_dtype gr_compute_dtype(const gr_tensor *x);

/* Counts a write to x's elements, so that entries that have recorded the old values notice it. */
void gr_wrote(const gr_tensor *x, const char *writer, const char *file, int line);

/* Returns how many times x's elements were written. Code that restores the old bits may also
   restore this number. */
int64_t gr_writes(const gr_tensor *x);
void gr_set_writes(gr_tensor *x, int64_t writes);

#endif
