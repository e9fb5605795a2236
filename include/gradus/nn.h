/* gradus/nn.h - layers, initialisers and optimisers for small models.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_NN_H
#define GRADUS_NN_H

#include <gradus/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Initialisers ---------------------------------------------------------------------------- */

/* New tensors of two dimensions [out, in], random, the scope's. Kaiming (He et al., "Delving deep
   into rectifiers", ICCV 2015): normal, variance 2/in, for relu. Xavier (Glorot and Bengio,
   "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010):
   uniform in +-sqrt(6/(in+out)), for tanh and sigmoid. Fail with SHAPE for sizes below 1, DTYPE,
   MEMORY; a call that fails leaves the random state as it was, here and in the layers below. */
GR_API gr_tensor *gr_kaiming(gr_context *ctx, gr_dtype dtype, int64_t out, int64_t in);
GR_API gr_tensor *gr_xavier(gr_context *ctx, gr_dtype dtype, int64_t out, int64_t in);

/* ---- Layers ---------------------------------------------------------------------------------- */

typedef enum gr_activation { GR_RELU = 0, GR_TANH, GR_SIGMOID, GR_IDENTITY } gr_activation;

/* y = x weight^T + bias: [rows, in] -> [rows, out]. */
typedef struct gr_linear {
    gr_tensor *weight; /* parameter [out, in] */
    gr_tensor *bias;   /* parameter [out], zeros at first */
} gr_linear;

/* A layer; Kaiming for GR_RELU, Xavier otherwise. The parameters are the root's; where making them
   fails both are the failed tensor. Fails with SHAPE for a size below 1, ARGUMENT for an unknown
   activation, DTYPE, MEMORY. */
GR_API gr_linear gr_linear_new(gr_context *ctx, gr_dtype dtype, int64_t in, int64_t out,
                               gr_activation init);
GR_API gr_tensor *gr_linear_forward(const gr_linear *layer, gr_tensor *x);

/* Ends a layer before the context does: its parameters, as gr_parameter_free does, and their
   gradients. Both are NULL then. Takes NULL, and a layer that could not be made. */
GR_API void gr_linear_free(gr_linear *layer);

/* A multi-layer perceptron: linear layers with an activation between them, none after the last. */
typedef struct gr_mlp gr_mlp;

/* sizes: count of them, inputs first, outputs last, at least two. The root's, or until gr_mlp_free;
   never NULL (a failed one forwards the failed tensor). Fails with ARGUMENT for fewer sizes, one
   below 1 or an unknown activation, DTYPE, NULL, MEMORY. */
GR_API gr_mlp *gr_mlp_new(gr_context *ctx, gr_dtype dtype, gr_activation activation, int count,
                          const int64_t *sizes);

/* [rows, sizes[0]] -> [rows, sizes[count-1]]; the scope's. */
GR_API gr_tensor *gr_mlp_forward(const gr_mlp *mlp, gr_tensor *x);

/* weight and bias of each layer, first layer first; valid as long as the model. */
GR_API gr_tensors gr_mlp_parameters(const gr_mlp *mlp);

/* The name of the i-th of these, "layers.0.weight", "layers.0.bias", ...; NULL outside. */
GR_API const char *gr_mlp_parameter_name(const gr_mlp *mlp, int64_t i);

/* Ends a model before the context does, with its parameters and their gradients. An optimiser of
   them steps no more. Takes NULL, and a model that could not be made. */
GR_API void gr_mlp_free(gr_mlp *mlp);

/* ---- Optimisers ------------------------------------------------------------------------------ */

typedef struct gr_optimizer gr_optimizer;

/* theta <- theta - lr v,  v <- momentum v + g + weight_decay theta; nesterov: g + momentum v. */
typedef struct gr_sgd_args {
    gr_tensors parameters;
    double lr;           /* default 0.01 */
    double momentum;     /* in [0,1); 0 */
    double weight_decay; /* >= 0; 0 */
    bool nesterov;
} gr_sgd_args;
GR_API gr_optimizer *gr_sgd_with(gr_context *ctx, const gr_sgd_args *args);

/* Adam (Kingma and Ba, ICLR 2015); AdamW decays the weights apart from the gradient (Loshchilov and
   Hutter, ICLR 2019).  m <- b1 m + (1-b1) g,  v <- b2 v + (1-b2) g^2,
   theta <- theta - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon). */
typedef struct gr_adam_args {
    gr_tensors parameters;
    double lr;           /* default 0.001 */
    double beta1, beta2; /* in [0,1); defaults 0.9, 0.999 */
    double epsilon;      /* > 0; default 1e-8 */
    double weight_decay; /* Adam: added to the gradient, default 0; AdamW: theta <- theta - lr
                            weight_decay theta before the step, default 0.01 */
} gr_adam_args;
GR_API gr_optimizer *gr_adam_with(gr_context *ctx, const gr_adam_args *args);
GR_API gr_optimizer *gr_adamw_with(gr_context *ctx, const gr_adam_args *args);

/* gr_sgd(ctx, gr_list(w, b), .lr = 0.1, .momentum = 0.9); each optimiser is the root's, or until
   gr_optimizer_free, and never NULL. It steps the parameters, which are not its own: they outlive
   it. All state is allocated here, none in gr_step. Fail with ARGUMENT for an option outside its
   range (NaN is outside each), for no parameter or one listed twice, with GRADIENT for a tensor
   that is no parameter, with NULL, CONTEXT and MEMORY. A failed one refuses to step. */
#ifndef __cplusplus
#define gr_sgd(ctx, ...) gr_sgd_with((ctx), &(gr_sgd_args){.parameters = __VA_ARGS__})
#define gr_adam(ctx, ...) gr_adam_with((ctx), &(gr_adam_args){.parameters = __VA_ARGS__})
#define gr_adamw(ctx, ...) gr_adamw_with((ctx), &(gr_adam_args){.parameters = __VA_ARGS__})
#endif

/* One step with the gradients that gr_backward has summed up, which are forgotten afterwards; a
   parameter that got none since the last step stays as it is, and so does its state. Computed in
   f64 and rounded once to each tensor's dtype; its bits depend on neither threads nor instruction
   set. It counts as a write to the parameters and the state: a gradient that would have to read
   their old values fails. In a context with an error nothing moves, and the error is returned;
   likewise with SCOPE where a parameter was freed. */
GR_API GR_CHECKED gr_status gr_step(gr_optimizer *optimizer);

/* The learning rate, read (NaN of a failed optimiser) and set (ARGUMENT if it is not a finite
   number above 0; in a context with an error it stays, and the error is returned). */
GR_API double gr_learning_rate(const gr_optimizer *optimizer);
GR_API GR_CHECKED gr_status gr_set_learning_rate(gr_optimizer *optimizer, double lr);

/* All that a step changes besides the parameters, to be saved, compared, and written (gr_write)
   into a new optimiser of the same kind, which then goes on where this one stood. In order: for
   each parameter its momentum (SGD with momentum), or m and v (f64 for an f64 parameter, else f32);
   Adam: b1^t and b2^t, f64 [parameters, 2], t the steps that the parameter took; and the number of
   steps, i64 [], which is gr_optimizer_steps. Valid as long as the optimiser. */
GR_API gr_tensors gr_optimizer_state(const gr_optimizer *optimizer);
GR_API int64_t gr_optimizer_steps(const gr_optimizer *optimizer);

/* Ends an optimiser before the context does, with its state; the parameters stay. Takes NULL, and
   one that could not be made. */
GR_API void gr_optimizer_free(gr_optimizer *optimizer);

/* ---- Places ---------------------------------------------------------------------------------- */

/* What the macros of the calls above are made of: each gives an error its place, as gr_here. */
GR_API gr_linear gr_linear_here(gr_linear layer, const char *file, int line);
GR_API gr_mlp *gr_mlp_here(gr_mlp *mlp, const char *file, int line);
GR_API gr_optimizer *gr_optimizer_here(gr_optimizer *optimizer, const char *file, int line);
GR_API GR_CHECKED gr_status gr_step_here(gr_optimizer *optimizer, const char *file, int line);
GR_API GR_CHECKED gr_status gr_set_learning_rate_here(gr_optimizer *optimizer, double lr,
                                                      const char *file, int line);

#ifdef __cplusplus
}
#endif

#ifndef GR_NO_PLACES
#define gr_kaiming(...) GR_HERE(gr_kaiming(__VA_ARGS__))
#define gr_xavier(...) GR_HERE(gr_xavier(__VA_ARGS__))
#define gr_linear_new(...) gr_linear_here(gr_linear_new(__VA_ARGS__), __FILE__, __LINE__)
#define gr_linear_forward(...) GR_HERE(gr_linear_forward(__VA_ARGS__))
#define gr_mlp_new(...) gr_mlp_here(gr_mlp_new(__VA_ARGS__), __FILE__, __LINE__)
#define gr_mlp_forward(...) GR_HERE(gr_mlp_forward(__VA_ARGS__))
#define gr_sgd_with(...) gr_optimizer_here(gr_sgd_with(__VA_ARGS__), __FILE__, __LINE__)
#define gr_adam_with(...) gr_optimizer_here(gr_adam_with(__VA_ARGS__), __FILE__, __LINE__)
#define gr_adamw_with(...) gr_optimizer_here(gr_adamw_with(__VA_ARGS__), __FILE__, __LINE__)
#define gr_step(optimizer) gr_step_here((optimizer), __FILE__, __LINE__)
#define gr_set_learning_rate(...) gr_set_learning_rate_here(__VA_ARGS__, __FILE__, __LINE__)
#endif

#endif
