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

/* Random weights: new tensors of shape [out, in], dtype any float, freed with the scope.
   gr_kaiming: normal with variance 2/in, for relu (He et al., "Delving deep into rectifiers", ICCV
   2015). gr_xavier: uniform in +-sqrt(6/(in+out)), for tanh and sigmoid (Glorot and Bengio,
   "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010). Fails
   with SHAPE for a size below 1, DTYPE and MEMORY. A call that fails leaves the random state as it
   was; this holds for the layers below, too. */
GR_API gr_tensor *gr_kaiming(gr_context *ctx, gr_dtype dtype, int64_t out, int64_t in);
GR_API gr_tensor *gr_xavier(gr_context *ctx, gr_dtype dtype, int64_t out, int64_t in);

/* ---- Layers ---------------------------------------------------------------------------------- */

typedef enum gr_activation { GR_RELU = 0, GR_TANH, GR_SIGMOID, GR_IDENTITY } gr_activation;

/* A linear layer: y = x weight^T + bias, [rows, in] -> [rows, out]. */
typedef struct gr_linear {
    gr_tensor *weight; /* parameter [out, in] */
    gr_tensor *bias;   /* parameter [out], at first 0 */
} gr_linear;

/* Returns a new layer with weights from gr_kaiming for GR_RELU, otherwise from gr_xavier. dtype:
   any float. The parameters live in the context until gr_linear_free. If they cannot be made, both
   are the failed tensor. Fails with SHAPE for a size below 1, ARGUMENT for an unknown activation,
   DTYPE and MEMORY. */
GR_API gr_linear gr_linear_new(gr_context *ctx, gr_dtype dtype, int64_t in, int64_t out,
                               gr_activation init);

/* Returns x weight^T + bias. x: [rows, in], the dtype of the parameters; the result is [rows, out]
   and is freed with the scope. Fails as gr_matmul and gr_add do. */
GR_API gr_tensor *gr_linear_forward(const gr_linear *layer, gr_tensor *x);

/* Frees the parameters of a layer and their gradients, and sets both pointers to NULL. layer may be
   NULL or one that could not be made. */
GR_API void gr_linear_free(gr_linear *layer);

/* A multi-layer perceptron: linear layers with an activation after each layer but the last. */
typedef struct gr_mlp gr_mlp;

/* Returns a new model. sizes: `count` sizes, at least two: the inputs, the hidden layers, the
   outputs. dtype: any float. The model lives in the context until gr_mlp_free. The result is never
   NULL; a model that could not be made returns the failed tensor from gr_mlp_forward. Fails with
   ARGUMENT for fewer than two sizes, a size below 1 or an unknown activation, and with DTYPE, NULL
   and MEMORY. */
GR_API gr_mlp *gr_mlp_new(gr_context *ctx, gr_dtype dtype, gr_activation activation, int count,
                          const int64_t *sizes);

/* Returns the outputs of the model: [rows, sizes[0]] -> [rows, sizes[count-1]], freed with the
   scope. x has the model's dtype. Fails as gr_linear_forward does. */
GR_API gr_tensor *gr_mlp_forward(const gr_mlp *mlp, gr_tensor *x);

/* Returns the parameters: weight and bias of the first layer, then of the next. The list is valid
   as long as the model. */
GR_API gr_tensors gr_mlp_parameters(const gr_mlp *mlp);

/* Returns the name of parameter i, "layers.0.weight", "layers.0.bias", ...; NULL if there is no
   such parameter. The model owns the text. */
GR_API const char *gr_mlp_parameter_name(const gr_mlp *mlp, int64_t i);

/* Frees a model with its parameters and their gradients. An optimiser of these parameters fails at
   its next step. mlp may be NULL or a model that could not be made. */
GR_API void gr_mlp_free(gr_mlp *mlp);

/* ---- Optimisers ------------------------------------------------------------------------------ */

typedef struct gr_optimizer gr_optimizer;

/* Stochastic gradient descent for a parameter theta with gradient g:
       g <- g + weight_decay theta,   v <- momentum v + g,   theta <- theta - lr v
   nesterov: theta <- theta - lr (g + momentum v). */
typedef struct gr_sgd_args {
    gr_tensors parameters;
    double lr;           /* learning rate, >= 0 */
    double momentum;     /* in [0,1) */
    double weight_decay; /* >= 0 */
    bool nesterov;       /* fails with ARGUMENT without momentum */
    bool from_defaults;
} gr_sgd_args;
#define GR_SGD_DEFAULTS .from_defaults = true, .lr = 0.01
GR_API gr_sgd_args gr_sgd_defaults(void);
GR_API gr_optimizer *gr_sgd_with(gr_context *ctx, const gr_sgd_args *args);

/* Adam (Kingma and Ba, ICLR 2015), in the t-th step of a parameter theta with gradient g:
       m <- b1 m + (1-b1) g,   v <- b2 v + (1-b2) g^2
       theta <- theta - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)
   AdamW applies the weight decay to theta and not to g (Loshchilov and Hutter, ICLR 2019). */
typedef struct gr_adam_args {
    gr_tensors parameters;
    double lr;           /* learning rate, >= 0 */
    double beta1, beta2; /* b1 and b2, in [0,1) */
    double epsilon;      /* >= 0. With 0, an element whose v is 0 stays as it is */
    double weight_decay; /* >= 0. Adam: g <- g + weight_decay theta. AdamW: theta <- theta - lr
                            weight_decay theta before the step */
    bool from_defaults;
} gr_adam_args;
#define GR_ADAM_DEFAULTS                                                                           \
    .from_defaults = true, .lr = 0.001, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8
#define GR_ADAMW_DEFAULTS                                                                          \
    .from_defaults = true, .lr = 0.001, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8,             \
    .weight_decay = 0.01
GR_API gr_adam_args gr_adam_defaults(void);
GR_API gr_adam_args gr_adamw_defaults(void);
GR_API gr_optimizer *gr_adam_with(gr_context *ctx, const gr_adam_args *args);
GR_API gr_optimizer *gr_adamw_with(gr_context *ctx, const gr_adam_args *args);

/* Options are given by name: gr_sgd(ctx, gr_list(w, b), .lr = 0.1, .momentum = 0.9). An optimiser
   lives in the context until gr_optimizer_free; the result is never NULL. It does not own the
   parameters. All its memory is allocated here, none in gr_step. Fails with ARGUMENT for an option
   outside its range or not finite, for an empty list and for a parameter that is listed twice, with
   GRADIENT for a tensor that is no parameter, and with NULL, CONTEXT and MEMORY. gr_step fails on
   an optimiser that could not be made. */
#ifndef __cplusplus
#define gr_sgd(ctx, ...)                                                                           \
    GR_BY_NAME(gr_sgd_with((ctx), &(gr_sgd_args){GR_SGD_DEFAULTS, .parameters = __VA_ARGS__}))
#define gr_adam(ctx, ...)                                                                          \
    GR_BY_NAME(gr_adam_with((ctx), &(gr_adam_args){GR_ADAM_DEFAULTS, .parameters = __VA_ARGS__}))
#define gr_adamw(ctx, ...)                                                                         \
    GR_BY_NAME(gr_adamw_with((ctx), &(gr_adam_args){GR_ADAMW_DEFAULTS, .parameters = __VA_ARGS__}))
#endif

/* Changes each parameter by one step with the gradient that gr_backward has added up, and then sets
   the gradient to none. A parameter without a gradient stays as it is, and so does its state. The
   step is computed in f64 and rounded once to each tensor's dtype. A half parameter (f16, bf16) has
   an f32 copy in the optimiser's state, its master, that takes the step, and is the master rounded:
   so steps that are smaller than a half's last place add up. Where a half parameter was written
   since the last step, the master takes the new value. The bits do not depend on threads or
   instruction set. A step counts as a write to the parameters and the state: a gradient that
   would read their old values fails from then on. If the context has an error, nothing changes
   and the call returns that error. Fails with SCOPE if a parameter was freed; then nothing
   changes either. */
GR_API GR_CHECKED gr_status gr_step(gr_optimizer *optimizer);

/* Returns the learning rate, or NaN for an optimiser that could not be made. */
GR_API double gr_learning_rate(const gr_optimizer *optimizer);

/* Sets the learning rate. lr >= 0; at 0 a step changes the state but no parameter. Fails with
   ARGUMENT for an lr that is negative or not finite. If the context has an error, the rate stays
   and the call returns that error. */
GR_API GR_CHECKED gr_status gr_set_learning_rate(gr_optimizer *optimizer, double lr);

/* Returns all tensors, other than the parameters, that a step changes. Save them, and copy them
   (gr_write) into a new optimiser of the same kind to continue from there. They are, in this order:
       for each parameter   SGD with momentum: v; Adam: m and v. f64 for an f64 parameter, else f32
       Adam                 b1^t and b2^t, f64 [parameters, 2], with t the steps of each parameter
       for each half        its master, f32
       all                  the number of steps, i64 []
   The list and its tensors are valid as long as the optimiser. */
GR_API gr_tensors gr_optimizer_state(const gr_optimizer *optimizer);

/* Returns the number of steps so far. */
GR_API int64_t gr_optimizer_steps(const gr_optimizer *optimizer);

/* Frees an optimiser and its state. The parameters stay. optimizer may be NULL or one that could
   not be made. */
GR_API void gr_optimizer_free(gr_optimizer *optimizer);

/* ---- Places ---------------------------------------------------------------------------------- */

/* Used by the macros below: each adds the place of the call to an error, as gr_here does. */
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
#define gr_kaiming(...)           GR_HERE(gr_kaiming(__VA_ARGS__))
#define gr_xavier(...)            GR_HERE(gr_xavier(__VA_ARGS__))
#define gr_linear_new(...)        gr_linear_here(gr_linear_new(__VA_ARGS__), __FILE__, __LINE__)
#define gr_linear_forward(...)    GR_HERE(gr_linear_forward(__VA_ARGS__))
#define gr_mlp_new(...)           gr_mlp_here(gr_mlp_new(__VA_ARGS__), __FILE__, __LINE__)
#define gr_mlp_forward(...)       GR_HERE(gr_mlp_forward(__VA_ARGS__))
#define gr_sgd_with(...)          gr_optimizer_here(gr_sgd_with(__VA_ARGS__), __FILE__, __LINE__)
#define gr_adam_with(...)         gr_optimizer_here(gr_adam_with(__VA_ARGS__), __FILE__, __LINE__)
#define gr_adamw_with(...)        gr_optimizer_here(gr_adamw_with(__VA_ARGS__), __FILE__, __LINE__)
#define gr_step(optimizer)        gr_step_here((optimizer), __FILE__, __LINE__)
#define gr_set_learning_rate(...) gr_set_learning_rate_here(__VA_ARGS__, __FILE__, __LINE__)
#endif

#endif
