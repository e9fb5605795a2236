/* engine.h - the program: rows of ops, entries, and the sweeps over entries. It knows only those
 * linear ops that differentiation itself needs.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_ENGINE_H
#define GRADUS_ENGINE_H

#include "core/tensor/tensor.h"
#include <gradus/extend.h>

typedef struct gr_entry gr_entry;
typedef struct gr_parameter_state gr_parameter_state;

/* ---- Entries --------------------------------------------------------------------------------- */

/* A call that the program keeps. */
struct gr_entry {
    gr_node node;
    int64_t serial;     /* older entries have lower numbers */
    gr_entry *previous; /* the entry kept before this one */
    int outs;           /* number of results, with hidden ones */
    int visible;
    gr_tensor **in, **out, **g; /* the node shows these as constant; g: [visible] */
    bool *wanted;
    int64_t *versions; /* of the operands' buffers, then of the results' buffers */

    int64_t sweep;             /* the last sweep that visited it */
    gr_entry *child, *sibling; /* links of that sweep's frontier */
    gr_entry *older, *younger; /* links of that sweep's list */
};

/* ---- Apply ----------------------------------------------------------------------------------- */

/* Runs the path that every op takes: shapes, buffers, run, keep the entry. results: the visible
   results of op. After an error each is the failed tensor. */
gr_status gr_apply_op(gr_context *ctx, const gr_op *op, int count, gr_tensor *const *in,
                      const void *attributes, gr_tensor **results);

/* Does the same for an op without operands, or with operands that are already checked. Returns the
   first result. */
gr_tensor *gr_apply_in(gr_context *ctx, const gr_op *op, int count, gr_tensor *const *in,
                       const void *attributes);

/* Applies an in-place op to operands that are already checked. It fails only if the op's run fails.
   It allocates nothing, except an entry if all entries are kept. file and line: the user's call. */
gr_status gr_apply_in_place(const gr_op *op, int count, gr_tensor *const *in,
                            const void *attributes, const char *file, int line);

/* True if a gradient may flow through a call on these operands. */
bool gr_records(const gr_context *ctx, int count, gr_tensor *const *in);

/* Runs a kept entry again with the same buffers. */
gr_status gr_rerun(gr_entry *entry);

/* ---- Shapes of results ----------------------------------------------------------------------- */

/* Finds the one dtype of float operands; gr_scalars adapt. Fails with DTYPE. */
gr_status gr_common_dtype(const gr_call *call, gr_dtype *dtype);

/* Finds the broadcast shape of the operands that are not NULL. Fails with BROADCAST. */
gr_status gr_broadcast_dims(const gr_call *call, gr_dims *shape);

/* Sets dtype and broadcast shape of float operands. An op without a shape rule uses this one. */
gr_status gr_broadcast_form(const gr_call *call, gr_form *results);

/* Raises NULL if one of the first `count` operands is NULL. */
gr_status gr_need_operands(const gr_call *call, int count);

/* ---- Elementwise ----------------------------------------------------------------------------- */

/* A row of the library's table of ops, with an elementwise kernel. */
typedef struct gr_row {
    gr_op op;
    gr_kernel_id kernel;
} gr_row;

/* These rows share run and scratch. run calls the kernel over the broadcast operands. */
gr_status gr_elementwise_run(const gr_call *call);
int64_t gr_elementwise_scratch(const gr_call *call);

enum { GR_MAP_ARRAYS = 6 };

/* A kernel over operands that are broadcast to a shape. */
typedef struct gr_map {
    gr_context *ctx;
    int ktype;
    gr_dims shape;
    int inputs, outputs;
    const gr_tensor *in[GR_MAP_ARRAYS]; /* NULL for a missing operand */
    gr_tensor *out[GR_MAP_ARRAYS];      /* contiguous, of the shape; NULL if not wanted */
    gr_map_kernel *kernel;
    const void *args;
    /* Replaces `kernel`, if set. It adds up the elements of the first output and does not store
       them. The total goes to sum. scratch holds gr_map_scratch bytes. */
    gr_sum_kernel *sum_kernel;
    double *sum;
    void *scratch;
} gr_map;

/* Returns the bytes of scratch for a map that sums over this many elements. */
int64_t gr_map_scratch(int64_t elements);

/* Runs the map. Returns the kernels' result bits, combined by or. Allocates nothing. */
int gr_map_run(const gr_map *map);

/* ---- Sums over axes -------------------------------------------------------------------------- */

/* out[...] = (sum of x over the axes marked in reduced) / divisor. out is contiguous. */
void gr_reduce_run(const gr_tensor *x, const bool *reduced, double divisor, gr_tensor *out,
                   void *scratch);
int64_t gr_reduce_scratch(const gr_tensor *x, const bool *reduced);

/* The attributes of sum and mean. */
typedef struct gr_reduce_attributes {
    bool reduced[GR_MAX_DIMS];
    gr_dims kept_shape; /* shape with size 1 along reduced axes */
    gr_dims shape;      /* of the result */
    double divisor;
} gr_reduce_attributes;

/* Checks x and the axes, and applies sum. Or applies another op with such attributes, which divides
   by the number of elements. */
gr_tensor *gr_reduce_apply(const gr_op *op, gr_tensor *x, const gr_dims *axes, bool keepdim);
extern const gr_op gr_sum_op;

/* Columns of the rows of sum and mean. spread is the gradient of the sum: it repeats g along the
   reduced axes. */
gr_status gr_reduce_op_shape(const gr_call *call, gr_form *results);
gr_status gr_reduce_op_run(const gr_call *call);
int64_t gr_reduce_op_scratch(const gr_call *call);
gr_tensor *gr_reduce_spread(const gr_node *node, gr_tensor *g);

/* ---- The linear ops: what differentiation itself needs --------------------------------------- */

/* ops/ gives these their public names and documents them. */
gr_tensor *gr_linear_add(gr_tensor *a, gr_tensor *b);
gr_tensor *gr_linear_convert(gr_tensor *x, gr_dtype dtype);
gr_tensor *gr_linear_copy(gr_tensor *x); /* contiguous, with its own buffer */
gr_tensor *gr_linear_sum_to(gr_tensor *x, const gr_dims *shape);
gr_tensor *gr_linear_reshape(gr_tensor *x, const gr_dims *shape);
gr_tensor *gr_linear_expand(gr_tensor *x, const gr_dims *shape);
gr_tensor *gr_linear_alias(gr_tensor *x); /* the same elements; for a sweep inside a rule */

/* sum += x, in place. Both have the same shape and dtype. sum is contiguous. */
gr_status gr_linear_accumulate(gr_tensor *sum, gr_tensor *x);

/* Returns a tensor whose elements all have this value. */
gr_tensor *gr_filled(gr_context *ctx, gr_dtype dtype, const gr_dims *shape, double value);

/* ---- Sweeps ---------------------------------------------------------------------------------- */

/* Computes the gradients of y in each input, as gr_grad_with does. It does not visit entries older
   than `since`. */
gr_status gr_sweep(gr_tensor *y, gr_tensors inputs, gr_tensor *seed, bool record, int64_t since,
                   gr_tensor **gradients);

/* For gradient rules that are compositions of public ops. It runs compose on the node's operands
   (in), differentiates the result, and sets dx. compose returns a tensor of out's shape. */
typedef gr_tensor *gr_compose(const gr_node *node, gr_tensor *const *in);
void gr_vjp_by_composition(const gr_node *node, gr_tensor *g, gr_tensor **dx, gr_compose *compose);

/* ---- Parameters ------------------------------------------------------------------------------ */

/* Returns a parameter's gradient. NULL if it has no gradient since the last reset. */
gr_tensor *gr_gradient_or_null(const gr_tensor *parameter);

/* True if x is a live parameter. */
bool gr_is_parameter(const gr_tensor *x);

/* Returns the dtype of a parameter's gradient: f64 for f64, else f32. */
gr_dtype gr_parameter_gradient_dtype(const gr_tensor *x);

/* Resets the gradient that gr_backward has added up for a parameter. */
void gr_forget_gradient(gr_tensor *parameter);

#endif
