/* gradus/extend.h - how to write an op of your own. It is checked and differentiated like the
 * library's ops. examples/own_op.c is the whole program.
 *
 *     static gr_status swish_run(const gr_call *call) { ... a loop from call->in[0] to call->out }
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

/* One call of an op while it runs: the argument of shape, scratch and run. */
typedef struct gr_call {
    const gr_op *op;
    gr_context *ctx;
    int count;              /* the number of operands */
    gr_tensor *const *in;   /* the operands; NULL: one that is not given. Without GR_OP_STRIDED they
                               are contiguous, with the shape and dtype of the first result */
    gr_tensor *out;         /* the first result: allocated and contiguous, for run to fill */
    gr_tensor *const *outs; /* all results, the hidden ones last; NULL: one that is not wanted */
    const void *attributes; /* the attributes of the call, or NULL. They are plain bytes without
                               pointers, and hold no number that depends on the operands' values */
    void *scratch;          /* op->scratch bytes for run, aligned to 64, undefined at first; freed
                               after the call */
} gr_call;

/* One recorded call: what a gradient rule may read. Operands and results are those of the call. */
typedef struct gr_node {
    const gr_op *op;
    gr_context *ctx;
    int count;
    gr_tensor *const *in;
    gr_tensor *out;
    gr_tensor *const *outs;
    const void *attributes; /* a copy of those of the call */
    const bool *wanted;     /* wanted[i]: the gradient of operand i is needed */
    gr_tensor *const *gs;   /* the upstream gradients of the visible results; gs[0] is g */
} gr_node;

/* The dtype and shape of a result. */
typedef struct gr_form {
    gr_dtype dtype;
    gr_dims shape;
    gr_dims strides; /* only for GR_VIEW: steps in the first operand's buffer, in elements */
    int64_t offset;  /* only for GR_VIEW: from the first operand's first element, in elements */
    bool absent;     /* true for a hidden result that this call does not need */
} gr_form;

/* The kind of an op: how its results depend on the operands. */
typedef enum gr_kind {
    GR_OPAQUE = 0,  /* not one of the others */
    GR_ELEMENTWISE, /* each element depends on the operands' elements at the same place */
    GR_REDUCTION,   /* fewer elements, each computed from many */
    GR_VIEW,        /* the first operand's elements with another shape; has no run */
    GR_CONTRACTION, /* a matrix product and its relatives */
    GR_GATHER,      /* elements are moved to other places */
    GR_RANDOM,      /* depends on the context's seed and a stream number in the attributes */
    GR_CREATION,    /* depends on the attributes alone */
    GR_FEED         /* values come from outside; has no run */
} gr_kind;

enum {
    GR_OP_STRIDED = 1, /* run takes operands of any strides, dtypes and shapes as they are */
    GR_OP_NO_GRAD = 2, /* the results never get a gradient */
    GR_OP_IN_PLACE = 4 /* only inside the library: result k replaces operand k; no gradient */
};

/* Sets of values, for gr_op.reads. Combine them with |. */
#define GR_READS_IN(i)   (1u << (i))        /* operand i, below 16 */
#define GR_READS_OUT(k)  (1u << (16 + (k))) /* visible result k, below 8 */
#define GR_READS_NOTHING (1u << 31)

/* An op is one constant struct, its row. The fields are the columns: they say how the op is
   computed, differentiated and shown. A field that is left out has the default in its comment. */
struct gr_op {
    const char *name;    /* the name in error messages; required */
    const char *formula; /* the formula of an elementwise op, in C, of x or of a, b, c; NULL */
    gr_kind kind;
    unsigned flags;
    int arity;   /* the largest number of operands; GR_ANY_COUNT: any number */
    int results; /* the number of visible results; 0 means 1 */
    int hidden;  /* the number of results behind the visible ones, which only gradient rules see.
                    They are made only if the call is recorded */
    size_t attributes_size; /* the number of bytes of the attributes */

    /* Sets the forms of the results. It may look only at dtypes, shapes and attributes. To fail it
       calls gr_raise and returns its status. Default: operands broadcast, dtype of the first. */
    gr_status (*shape)(const gr_call *call, gr_form *results);

    /* The bytes of scratch that run needs. Default: none. */
    int64_t (*scratch)(const gr_call *call);

    /* Fills the results that are not NULL. To fail it calls gr_raise and returns its status. It
       must not allocate and must not call ops. The same operands and attributes must give the same
       bits. */
    gr_status (*run)(const gr_call *call);

    /* The gradient rule. g: the upstream gradient, of out's shape. The rule sets dx[i], for each
       wanted i, to a tensor computed with public ops; NULL stands for 0. If in[i] was broadcast,
       dx[i] may have the larger shape: the engine sums it. dx[i] may be g itself. The rule must not
       call gr_grad, gr_grad_with or gr_backward. If the op has several visible results, gs holds
       zeros for those that no gradient reached. Without a rule the sweep fails with GRADIENT,
       unless the op has GR_OP_NO_GRAD. */
    void (*vjp)(const gr_node *node, gr_tensor *g, gr_tensor **dx);

    /* A faster rule for the same gradients. It is used if the gradients are not recorded. Default:
       vjp. */
    void (*fused_vjp)(const gr_node *node, gr_tensor *g, gr_tensor **dx);

    /* A rule that adds dx[i] to `into`, a contiguous tensor of in[i]'s dtype and shape, for a
       gradient that is 0 at nearly all elements. It is used instead of the rules above if the
       gradients are not recorded. Default: the rules above. */
    gr_status (*add_vjp)(const gr_node *node, gr_tensor *g, int i, gr_tensor *into);

    /* reads[i]: the set of values that the rules read for dx[i]. 0 means all operands and all
       visible results. If such a value was written after the call, the sweep fails with GRADIENT.
       Operands from 4 on use reads[3]. */
    unsigned reads[4];
};

#define GR_ANY_COUNT (-1)

/* Applies an op to `count` operands and returns its first result, freed with the scope. attributes:
   op->attributes_size bytes, copied; NULL if there are none. Without op->shape all operands must be
   floats of one dtype that broadcast. Fails with NULL, ARGUMENT for a wrong number of operands,
   DTYPE, BROADCAST, CONTEXT, SCOPE, MEMORY, and as op->shape and op->run do. */
GR_API gr_tensor *gr_apply_with(const gr_op *op, int count, gr_tensor *const *in,
                                const void *attributes);

/* Applies an op to any number of operands, 0 included, and returns all visible results. results: an
   array of op->results places. On success all are filled; otherwise each is the failed tensor. The
   results are freed with the scope. ctx may be NULL where there are operands. Otherwise all
   operands must belong to it. Fails as gr_apply_with does. */
GR_API GR_CHECKED gr_status gr_apply_results(gr_context *ctx, const gr_op *op, int count,
                                             gr_tensor *const *in, const void *attributes,
                                             gr_tensor **results);

/* Used by the macros: adds the place of the call to an error, as gr_here does. */
GR_API GR_CHECKED gr_status gr_apply_results_here(gr_context *ctx, const gr_op *op, int count,
                                                  gr_tensor *const *in, const void *attributes,
                                                  gr_tensor **results, const char *file, int line);
#ifndef GR_NO_PLACES
#define gr_apply_with(...)    GR_HERE(gr_apply_with(__VA_ARGS__))
#define gr_apply_results(...) gr_apply_results_here(__VA_ARGS__, __FILE__, __LINE__)
#endif

/* gr_apply(&op, a, b): gr_apply_with for a list of operands and no attributes. */
#ifndef __cplusplus
#define gr_apply(op, ...)                                                                          \
    gr_apply_with((op), (int)(sizeof((gr_tensor *[]){__VA_ARGS__}) / sizeof(gr_tensor *)),         \
                  (gr_tensor *[]){__VA_ARGS__}, NULL)
#endif

/* Returns the address of the first element, for writing: run fills call->out through it. NULL for a
   failed tensor. Each call counts as a write to x: a gradient that would read the old values fails
   from then on. */
GR_API void *gr_data_mutable(gr_tensor *x);

/* Stores an error in the context, if it is the first, and returns `status`. The message is "NAME: "
   and then the text of format and what follows, as printf makes it. */
GR_API gr_status gr_raise(gr_context *ctx, gr_status status, const char *name, const char *format,
                          ...) GR_PRINTF(4, 5);

#ifdef __cplusplus
}
#endif

#endif
