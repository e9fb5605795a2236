/* tensor.h - n-d views of buffers: what the rooms above may ask of them. It knows no op.
 *
 * A gr_tensor * is a handle: the address of a header, and in its low bits the header's generation.
 * A header is used again after its scope has ended, with the next generation, so that a handle into
 * an ended scope is noticed. Only this room looks into headers; others call the functions here.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TENSOR_H
#define GRADUS_TENSOR_H

#include "core/base/base.h"

/* ---- Headers --------------------------------------------------------------------------------- */

/* How a tensor came to be and what the sweep that meets it notes: the engine's part of a header. */
typedef struct gr_history {
    struct gr_entry *entry;         /* that made it; NULL: a leaf */
    struct gr_parameter_state *parameter; /* what gr_backward adds to, or NULL */
    int64_t born;                   /* the program's serial when it was made */
    int64_t sweep;                  /* the last sweep that met it */
    int64_t asked;                  /* the last sweep that was asked for its gradient */
    gr_tensor *sum;                 /* its gradient so far, in that sweep */
} gr_history;

typedef struct gr_header {
    gr_member member;
    uint8_t dtype, ndim;
    bool weak; /* gr_scalar: takes the other operand's dtype */
    bool requires_grad;
    int64_t shape[GR_MAX_DIMS];
    int64_t strides[GR_MAX_DIMS]; /* elements */
    char *data;                   /* the first element; NULL in a failed tensor */
    gr_history history;
} gr_header;
_Static_assert(sizeof(gr_header) <= GR_MEMBER_BYTES, "a header is a member");

static inline gr_header *gr_header_of(const gr_tensor *x)
{
    return (gr_header *)((uintptr_t)x & -(uintptr_t)GR_GENERATIONS);
}

/* ---- Fields ---------------------------------------------------------------------------------- */

/* These ask for a tensor that is not NULL. */
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

/* GR_LIVE, GR_DEAD or GR_FAILED. */
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

/* Whether a context can make tensors; if not, *failed is what to return. */
bool gr_context_usable(gr_context *ctx, gr_tensor **failed);

/* The context that stands for "the operand that would say which context is NULL". It is broken, has
   its error from the start, and never changes. */
extern gr_context gr_null_context;

/* Raises SHAPE or DTYPE (and returns false) for a dtype or shape that no tensor can have. */
bool gr_check_shape(gr_context *ctx, const char *op, gr_dtype dtype, const gr_dims *shape);

/* A contiguous tensor with a buffer, contents undefined; NULL on an error. */
gr_tensor *gr_tensor_in(gr_scope *scope, const char *op, gr_dtype dtype, const gr_dims *shape);

/* A contiguous header that has no buffer yet; NULL after MEMORY. */
gr_tensor *gr_bare_tensor(gr_scope *scope, gr_dtype dtype, const gr_dims *shape);

/* A view of x's elements in a scope: a leaf without gradient; NULL on an error. */
gr_tensor *gr_view_in(gr_scope *scope, const gr_tensor *x);

/* A view of x with another shape and strides; offset: in elements. NULL on an error. */
gr_tensor *gr_restrided(gr_scope *scope, const gr_tensor *x, const gr_dims *shape,
                        const gr_dims *strides, int64_t offset);

/* Ends a tensor before its scope does. Takes NULL. */
void gr_tensor_free(gr_tensor *x);

/* x in another scope, made in an internal scope: x itself moves. */
void gr_tensor_move(gr_tensor *x, gr_scope *to);

/* x holds y's buffer as well, instead of its own; y has x's dtype and shape and owns it. */
void gr_share_buffer(gr_tensor *x, gr_tensor *y);

/* x is bare again. */
void gr_drop_elements(gr_tensor *x);

/* True if x's elements are all of a buffer that nobody else holds, in row-major order. */
bool gr_owns_buffer(const gr_tensor *x);

/* ---- Checking -------------------------------------------------------------------------------- */

/* Whether x is an operand that can be used; if not, the reason is raised and *failed is the failed
   tensor to return. position: which operand, from 0, for the message. */
bool gr_usable(const char *op, const gr_tensor *x, int position, gr_tensor **failed);

/* The one context of operands that can be used; NULL ones are not given. NULL after an error. */
gr_context *gr_operands_context(const char *op, int64_t count, gr_tensor *const *in,
                                gr_tensor **failed);

/* What gr_read and gr_write have in common: x is usable and has `count` elements, data is there. */
gr_status gr_check_copy(const char *op, const gr_tensor *x, gr_dtype dtype, int64_t count,
                        const void *data);

/* ---- Shapes ---------------------------------------------------------------------------------- */

/* "[2,3]" in a buffer of the caller's. */
typedef struct gr_text {
    char text[192];
} gr_text;
gr_text gr_shape_text(const gr_tensor *x);
gr_text gr_dims_text(const gr_dims *dims);

gr_dims gr_contiguous_strides(const gr_dims *shape);
int64_t gr_dims_count(const gr_dims *shape); /* the number of elements */
bool gr_same_dims(const gr_dims *a, const gr_dims *b);
bool gr_same_shape(const gr_tensor *a, const gr_tensor *b);

/* The coordinates of the i-th element of a shape, row-major. */
gr_dims gr_dims_position(const gr_dims *shape, int64_t i);

/* The broadcast of two shapes in *into; false and the axis (of the result) that does not fit. */
bool gr_broadcast(gr_dims *into, const gr_dims *other, int *axis);
bool gr_broadcasts_to(const gr_tensor *x, const gr_dims *shape);

/* axis, counted from the end if below 0, or -1 where there are not so many. */
int gr_axis_of(int ndim, int64_t axis);

/* ---- Elements -------------------------------------------------------------------------------- */

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

/* The same for a view that has no header: shape and strides of so many axes. */
void gr_reader_begin_view(gr_reader *reader, const void *data, gr_dtype dtype, int ndim,
                          const int64_t *shape, const int64_t *strides);

/* Elements [start, start + count) as dtype `to` (contiguous), converted as gr_cast does. */
void gr_reader_read(const gr_reader *reader, int64_t start, int64_t count, gr_dtype to, void *out);

/* `count` contiguous elements of one dtype to another, as gr_cast does. */
void gr_convert(gr_dtype from, const void *in, gr_dtype to, void *out, int64_t count);

/* All elements of x, broadcast to a shape, to contiguous ones of a dtype. */
void gr_copy_elements(const gr_tensor *x, const gr_dims *shape, gr_dtype to, void *out);

/* The index into kernel tables for a dtype that ops compute in: f64 in f64, other floats in f32,
   integers in f64; and the dtype of that index. */
int gr_ktype(gr_dtype dtype);
gr_dtype gr_ktype_dtype(int ktype);

/* The dtype in which ops compute with x. */
gr_dtype gr_compute_dtype(const gr_tensor *x);

/* Notes a write to x's elements: whoever recorded their values will see it. */
void gr_wrote(const gr_tensor *x, const char *writer, const char *file, int line);

/* How often x's elements were written. Who puts the old bits back may put back the number too. */
int64_t gr_writes(const gr_tensor *x);
void gr_set_writes(gr_tensor *x, int64_t writes);

#endif
