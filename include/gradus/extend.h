/* gradus/extend.h - an op of one's own, checked and differentiated like the library's.
 *
 *     static gr_status swish_run(const gr_call *call) { ... loop over call->in[0], call->out }
 *     static void swish_vjp(const gr_node *n, gr_tensor *g, gr_tensor **dx)
 *     {
 *         gr_tensor *s = gr_sigmoid(n->in[0]);
 *         dx[0] = gr_mul(g, gr_add(s, gr_mul(n->out, gr_sub(gr_scalar_like(s, 1), s))));
 *     }
 *     static const gr_op swish = {.name = "swish", .arity = 1,
 *                                 .run = swish_run, .vjp = swish_vjp};
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

typedef struct gr_op gr_op;

/* One call of an op, while it runs. */
typedef struct gr_call {
    const gr_op *op;
    gr_context *ctx;
    int count;              /* of operands */
    gr_tensor *const *in;   /* the operands; one that is not given is NULL. For an op without
                               GR_OP_STRIDED they are contiguous, of the first result's shape and
                               dtype */
    gr_tensor *out;         /* the first result: allocated, contiguous, to be filled */
    gr_tensor *const *outs; /* all results, hidden ones last; NULL: one that is not wanted */
    const void *attributes; /* the call's attributes, or NULL: flat bytes without pointers, and
                               without numbers that depend on the operands' values */
    void *scratch;          /* op->scratch bytes, aligned to 64, undefined; they die with the call */
} gr_call;

/* One kept call: what a gradient rule may look at. */
typedef struct gr_node {
    const gr_op *op;
    gr_context *ctx;
    int count;
    gr_tensor *const *in;
    gr_tensor *out;
    gr_tensor *const *outs;
    const void *attributes;  /* a copy of the call's */
    const bool *wanted;      /* which operands' gradients are asked for */
    gr_tensor *const *gs;    /* the upstream gradients of the visible results; gs[0] is g */
} gr_node;

/* What a result will be. */
typedef struct gr_form {
    gr_dtype dtype;
    gr_dims shape;
    gr_dims strides; /* of a view of the first operand, in elements; */
    int64_t offset;  /* likewise */
    bool absent;     /* a hidden result that this call has no need of */
} gr_form;

/* How the results depend on the operands. */
typedef enum gr_kind {
    GR_OPAQUE = 0,
    GR_ELEMENTWISE, /* each element from the operands' broadcast elements at the same place */
    GR_REDUCTION,   /* fewer elements, each from many */
    GR_VIEW,        /* the first operand's elements, seen otherwise; has no run */
    GR_CONTRACTION, /* a matrix product and its kin */
    GR_GATHER,      /* elements moved to other places */
    GR_RANDOM,      /* of the context's seed and a stream number among the attributes */
    GR_CREATION,    /* of the attributes alone */
    GR_FEED         /* from outside: has no run */
} gr_kind;

enum {
    GR_OP_STRIDED = 1,  /* run reads operands of any strides and shapes (the op has a shape) */
    GR_OP_NO_GRAD = 2,  /* the results never get a gradient */
    GR_OP_IN_PLACE = 4  /* result k is written over operand k; the op has no gradient */
};

/* Sets of values, for gr_op.reads. */
#define GR_READS_IN(i)   (1u << (i))        /* operand i, below 16 */
#define GR_READS_OUT(k)  (1u << (16 + (k))) /* visible result k, below 8 */
#define GR_READS_NOTHING (1u << 31)

/* An op is one constant row: its columns say how it is computed, differentiated and shown. Columns
   that are left out have the defaults below. */
struct gr_op {
    const char *name;    /* as errors print it */
    const char *formula; /* of an elementwise op, in C, of x or of a, b, c; NULL */
    gr_kind kind;
    unsigned flags;
    int arity;   /* the most operands it takes; GR_ANY_COUNT: any number */
    int results; /* visible ones; 0 stands for 1 */
    int hidden;  /* results behind the visible ones, for the gradient rules alone. They are made
                    only where the call is kept */
    size_t attributes_size;

    /* Sets the results' forms from the operands' dtypes and shapes and the attributes, and from
       nothing else; or raises. Default: operands broadcast, dtype of the first. */
    gr_status (*shape)(const gr_call *call, gr_form *results);

    /* The bytes of scratch that run needs. Default: none. */
    int64_t (*scratch)(const gr_call *call);

    /* Fills the results that are not NULL, or calls gr_raise and returns its status. It allocates
       nothing and calls no op. The same operands and attributes give the same bits. */
    gr_status (*run)(const gr_call *call);

    /* For an upstream gradient g of out's shape, sets dx[i] for each wanted i to a tensor of public
       ops; NULL stands for 0. It may be larger than in[i] where in[i] was broadcast: the engine
       sums it down. It must not call gr_grad, gr_grad_with or gr_backward. For an op with several
       visible results, those that no gradient reached have zeros in gs. Without a rule the sweep
       fails with GRADIENT, unless GR_OP_NO_GRAD. */
    void (*vjp)(const gr_node *node, gr_tensor *g, gr_tensor **dx);

    /* The same gradients, faster; used where the sweep itself is not recorded. Default: vjp. */
    void (*fused_vjp)(const gr_node *node, gr_tensor *g, gr_tensor **dx);

    /* Adds dx[i] to `into`, which is contiguous and has in[i]'s dtype and shape; used instead of the
       rules where the sweep is not recorded, for a gradient that is 0 nearly everywhere. Default:
       the rules above. */
    gr_status (*add_vjp)(const gr_node *node, gr_tensor *g, int i, gr_tensor *into);

    /* reads[i]: the values that the rules read for dx[i], as a set of GR_READS_; 0: all operands
       and visible results. Where one was written since, the sweep fails with GRADIENT. Operands
       from 4 on have reads[3]. */
    unsigned reads[4];
};

#define GR_ANY_COUNT (-1)

/* Applies an op to `count` operands and returns its first result, the scope's. attributes: of
   op->attributes_size bytes, copied; NULL if there are none. Fails as the library's own ops do, or
   as shape and run do. Without a shape all operands are floats of one dtype that broadcast. */
GR_API gr_tensor *gr_apply_with(const gr_op *op, int count, gr_tensor *const *in,
                                const void *attributes);

/* The same, of any number of operands, 0 included, and with all visible results: op->results places,
   all filled on success, all the failed tensor otherwise. ctx may be NULL where there are
   operands. */
GR_API GR_CHECKED gr_status gr_apply_results(gr_context *ctx, const gr_op *op, int count,
                                             gr_tensor *const *in, const void *attributes,
                                             gr_tensor **results);

#ifndef __cplusplus
#define gr_apply(op, ...)                                                                          \
    GR_HERE(gr_apply_with((op), (int)(sizeof((gr_tensor *[]){__VA_ARGS__}) / sizeof(gr_tensor *)), \
                          (gr_tensor *[]){__VA_ARGS__}, NULL))
#endif

/* The address of a tensor's first element, to be written by run. Elsewhere it counts as a write at
   the time of the call: gradients of what read the old values are refused. */
GR_API void *gr_data_mutable(gr_tensor *x);

/* Keeps an error, with a message as printf makes it, and returns status. "NAME: " is put before it. */
GR_API gr_status gr_raise(gr_context *ctx, gr_status status, const char *name, const char *format,
                          ...) GR_PRINTF(4, 5);

#ifdef __cplusplus
}
#endif

#endif
