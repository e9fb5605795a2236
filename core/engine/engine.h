/* engine.h - the program: rows, entries, and the walks over them. It knows no particular op but the
 * linear ones that differentiation itself needs.
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

/* One kept call. */
struct gr_entry {
    gr_node node;
    int64_t serial;     /* its number; older entries have lower ones */
    gr_entry *previous; /* kept before it */
    int outs;           /* results, hidden ones included */
    int visible;
    gr_tensor **in, **out, **g; /* what the node shows as constant; g: [visible] */
    bool *wanted;
    int64_t *versions; /* of the operands' buffers, then of the results' */

    int64_t sweep;            /* the last sweep that met it */
    gr_entry *child, *sibling; /* in that sweep's frontier */
    gr_entry *older, *younger; /* in that sweep's list */
};

/* ---- Apply ----------------------------------------------------------------------------------- */

/* The one way of every op: shape, buffers, run, keep the entry. results: op's visible results, all
   the failed tensor after an error. */
gr_status gr_apply_op(gr_context *ctx, const gr_op *op, int count, gr_tensor *const *in,
                      const void *attributes, gr_tensor **results);

/* An op without operands, or whose operands are known to be usable: its first result. */
gr_tensor *gr_apply_in(gr_context *ctx, const gr_op *op, int count, gr_tensor *const *in,
                       const void *attributes);

/* An in-place op over operands that are known to be usable. It fails only as its run does, and
   allocates nothing (but for the entry where all are kept). file and line: the user's call. */
gr_status gr_apply_in_place(const gr_op *op, int count, gr_tensor *const *in,
                            const void *attributes, const char *file, int line);

/* Whether a gradient may flow through a call on these operands. */
bool gr_records(const gr_context *ctx, int count, gr_tensor *const *in);

/* Runs a kept entry again, in the same buffers. */
gr_status gr_rerun(gr_entry *entry);

/* ---- Shapes of results ----------------------------------------------------------------------- */

/* The one dtype of float operands, gr_scalars aside; fails with DTYPE. */
gr_status gr_common_dtype(const gr_call *call, gr_dtype *dtype);

/* The broadcast shape of the operands that are given; fails with BROADCAST. */
gr_status gr_broadcast_dims(const gr_call *call, gr_dims *shape);

/* Dtype and broadcast shape of float operands, as ops without a shape have them. */
gr_status gr_broadcast_form(const gr_call *call, gr_form *results);

/* Raises NULL unless the first `count` operands are given. */
gr_status gr_need_operands(const gr_call *call, int count);

/* ---- Elementwise ----------------------------------------------------------------------------- */

/* A row of the library with an elementwise kernel. */
typedef struct gr_row {
    gr_op op;
    gr_kernel_id kernel;
} gr_row;

/* The run and scratch of such rows: the kernel over the broadcast operands. */
gr_status gr_elementwise_run(const gr_call *call);
int64_t gr_elementwise_scratch(const gr_call *call);

enum { GR_MAP_ARRAYS = 6 };

/* A kernel over the operands, broadcast to a shape. */
typedef struct gr_map {
    gr_context *ctx;
    int ktype;
    gr_dims shape;
    int inputs, outputs;
    const gr_tensor *in[GR_MAP_ARRAYS]; /* NULL: not given */
    gr_tensor *out[GR_MAP_ARRAYS];      /* contiguous, of the shape; NULL: not wanted */
    gr_map_kernel *kernel;
    const void *args;
    /* Instead of kernel: one that adds up the first output's elements, which are not stored. sum is
       where their sum goes; scratch holds gr_map_scratch bytes. */
    gr_sum_kernel *sum_kernel;
    double *sum;
    void *scratch;
} gr_map;

/* Bytes of scratch for a map that sums over so many elements. */
int64_t gr_map_scratch(int64_t elements);

/* Runs it; returns the kernels' bits or'ed. Allocates nothing. */
int gr_map_run(const gr_map *map);

/* ---- Sums over axes -------------------------------------------------------------------------- */

/* out[...] = sum of x over the axes marked in reduced, over divisor; out: contiguous. */
void gr_reduce_run(const gr_tensor *x, const bool *reduced, double divisor, gr_tensor *out,
                   void *scratch);
int64_t gr_reduce_scratch(const gr_tensor *x, const bool *reduced);

/* The attributes of sum and mean: the axes that go, and the shapes before they go and after. */
typedef struct gr_reduce_attributes {
    bool reduced[GR_MAX_DIMS];
    gr_dims kept_shape; /* reduced axes with size 1 */
    gr_dims shape;      /* of the result */
    double divisor;
} gr_reduce_attributes;

/* Checks x and the axes and applies sum, or another op of such attributes that divides by the number
   of elements. */
gr_tensor *gr_reduce_apply(const gr_op *op, gr_tensor *x, const gr_dims *axes, bool keepdim);
extern const gr_op gr_sum_op;

/* Their columns. spread is the gradient of the sum: g, repeated along the axes that went. */
gr_status gr_reduce_op_shape(const gr_call *call, gr_form *results);
gr_status gr_reduce_op_run(const gr_call *call);
int64_t gr_reduce_op_scratch(const gr_call *call);
gr_tensor *gr_reduce_spread(const gr_node *node, gr_tensor *g);

/* ---- The linear ops: what differentiation itself needs --------------------------------------- */

/* ops/ gives them their public names, and says there what they do. */
gr_tensor *gr_linear_add(gr_tensor *a, gr_tensor *b);
gr_tensor *gr_linear_convert(gr_tensor *x, gr_dtype dtype);
gr_tensor *gr_linear_copy(gr_tensor *x); /* contiguous, in a buffer of its own */
gr_tensor *gr_linear_sum_to(gr_tensor *x, const gr_dims *shape);
gr_tensor *gr_linear_reshape(gr_tensor *x, const gr_dims *shape);
gr_tensor *gr_linear_expand(gr_tensor *x, const gr_dims *shape);
gr_tensor *gr_linear_alias(gr_tensor *x); /* the same elements, for a sweep of a rule's own */

/* sum += x, in place; of one shape and dtype, sum contiguous. */
gr_status gr_linear_accumulate(gr_tensor *sum, gr_tensor *x);

/* A tensor of equal elements. */
gr_tensor *gr_filled(gr_context *ctx, gr_dtype dtype, const gr_dims *shape, double value);

/* ---- Sweeps ---------------------------------------------------------------------------------- */

/* The gradients of y in each input, as gr_grad_with has them; entries before `since` are not met. */
gr_status gr_sweep(gr_tensor *y, gr_tensors inputs, gr_tensor *seed, bool record, int64_t since,
                   gr_tensor **gradients);

/* For gradient rules that are a composition of public ops: runs compose on the node's operands and
   sets dx to the gradients of what it returns, a tensor of out's shape. in: the operands. */
typedef gr_tensor *gr_compose(const gr_node *node, gr_tensor *const *in);
void gr_vjp_by_composition(const gr_node *node, gr_tensor *g, gr_tensor **dx, gr_compose *compose);

/* ---- Parameters ------------------------------------------------------------------------------ */

/* A parameter's gradient, or NULL if it has got none since it was last forgotten. */
gr_tensor *gr_gradient_or_null(const gr_tensor *parameter);

/* Whether x is a parameter, alive. */
bool gr_is_parameter(const gr_tensor *x);

/* Forgets what gr_backward has summed up for a parameter. */
void gr_forget_gradient(gr_tensor *parameter);

#endif
