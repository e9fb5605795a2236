/* gradus/extend.h - an op of one's own, checked and differentiated like the library's.
 *
 *     static gr_status swish_forward(const gr_call *call) { ... loop over call->in[0], call->out }
 *     static void swish_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
 *     {
 *         gr_tensor *s = gr_sigmoid(n->in[0]);
 *         dx[0] = gr_mul(g, gr_add(s, gr_mul(n->out, gr_sub(gr_scalar_like(s, 1), s))));
 *     }
 *     static const gr_op swish = {.name = "swish", .arity = 1,
 *                                 .forward = swish_forward, .vjp = swish_vjp};
 *
 *     gr_tensor *y = gr_apply(&swish, x);
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_EXTEND_H
#define GRADUS_EXTEND_H

#include <gradus/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An op takes at most so many operands. */
#define GR_MAX_ARITY 6

typedef struct gr_op gr_op;

/* One call of an op, before it is recorded. */
typedef struct gr_call {
    const gr_op *op;
    gr_context *ctx;
    int count;                   /* of operands; one that is not given is NULL */
    gr_tensor *in[GR_MAX_ARITY]; /* for an op without GR_OP_STRIDED contiguous, of the result's
    shape */
    gr_tensor *out;              /* the result: allocated, contiguous, to be filled */
    const void *args;            /* the call's options, or NULL */
    gr_tensor **saved;           /* where forward may leave tensors for a fused rule, GR_MAX_ARITY
                                    places; NULL: the call will not be recorded */
} gr_call;

/* One recorded call: what a gradient rule may look at. */
typedef struct gr_node {
    const gr_op *op;
    int count;
    gr_tensor *in[GR_MAX_ARITY];
    gr_tensor *out;
    const void *args;               /* a copy of the call's options */
    bool wanted[GR_MAX_ARITY];      /* which gradients are asked for */
    gr_tensor *saved[GR_MAX_ARITY]; /* what forward left for a fused rule, or NULL */
} gr_node;

enum {
    GR_OP_STRIDED = 1, /* forward reads operands of any strides and shapes (it has a shape rule) */
    GR_OP_NO_GRAD = 2  /* the result never gets a gradient */
};

/* The last rows may stay 0. */
struct gr_op {
    const char *name; /* as errors print it */
    int arity;        /* the most operands it takes */
    unsigned flags;

    /* Fills call->out, or calls gr_raise and returns its status. It must not call ops. */
    gr_status (*forward)(const gr_call *call);

    /* For an upstream gradient g of out's shape, sets dx[i] for each wanted i to a tensor of public
       ops; NULL stands for 0. It may be left larger than in[i] where in[i] was broadcast: the
       engine sums it down. It must not call gr_grad, gr_grad_with or gr_backward. Without a rule
       the sweep fails with GRADIENT, unless GR_OP_NO_GRAD. */
    void (*vjp)(const gr_node *node, gr_tensor *g, gr_tensor **dx);

    /* The same gradients, faster; used where the backward pass itself is not recorded. NULL: vjp.
       */
    void (*fused_vjp)(const gr_node *node, gr_tensor *g, gr_tensor **dx);

    /* Sets the result's dtype and shape, or raises. NULL: operands broadcast, dtype of the first.
       */
    gr_status (*shape)(const gr_call *call, gr_dtype *dtype, gr_dims *shape);
    size_t args_size; /* of the options struct that args points to */
};

/* Applies an op. Without a shape rule all operands are floats of one dtype that broadcast. Returns
   the scope's result. Fails as the library's own ops do, or as forward does. */
GR_API gr_tensor *gr_apply_with(const gr_op *op, int count, gr_tensor *const *in, const void *args);
#ifndef __cplusplus
#define gr_apply(op, ...)                                                                          \
    GR_HERE(gr_apply_with((op), (int)(sizeof((gr_tensor *[]){__VA_ARGS__}) / sizeof(gr_tensor *)), \
                          (gr_tensor *[]){__VA_ARGS__}, NULL))
#endif

/* The address of a tensor's first element, to be written by forward. */
GR_API void *gr_data_mutable(gr_tensor *x);

/* Keeps an error, with a message as printf makes it, and returns status. "NAME: " is put before it. */
GR_API gr_status gr_raise(gr_context *ctx, gr_status status, const char *name, const char *format,
                          ...) GR_PRINTF(4, 5);

#ifdef __cplusplus
}
#endif

#endif
