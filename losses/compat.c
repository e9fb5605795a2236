/* compat.c - the parameter lists of PyTorch and MindSpore over gr_bce and gr_bce_with_logits.
 *
 * Each function consists of a set of rules (dtypes, names) and a call of apply_loss.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/losses.h"
#include <gradus/compat.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- Reductions ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    gr_reduction reduction;
    bool deprecated;
} reductions[] = {
    {"none", GR_NONE, false},
    {"mean", GR_MEAN, false},
    {"sum", GR_SUM, false},
    {"elementwise_mean", GR_MEAN, true},
};
enum { REDUCTIONS = sizeof reductions / sizeof *reductions };

static bool same_word(const char *a, const char *b, bool any_case)
{
    for (; *a && *b; a++, b++) {
        const int left = any_case ? tolower((unsigned char)*a) : (unsigned char)*a;
        if (left != (unsigned char)*b)
            return false;
    }
    return *a == *b;
}

static gr_status parse_reduction(gr_context *ctx, const char *api, const char *name, bool any_case,
                                 gr_reduction *reduction)
{
    name = name ? name : "mean";
    for (int i = 0; i < REDUCTIONS; i++) {
        if (!same_word(name, reductions[i].name, any_case))
            continue;
        if (reductions[i].deprecated)
            gr_note(ctx, "reduction='elementwise_mean' is deprecated, please use reduction='mean' "
                         "instead.");
        *reduction = reductions[i].reduction;
        return GR_OK;
    }
    return gr_fail(ctx, GR_ERROR_REDUCTION, api,
                   "'%.40s' is no reduction; the known ones are 'none', 'mean' and 'sum'", name);
}

gr_status gr_reduction_from_name(gr_context *ctx, const char *name, gr_reduction *reduction)
{
    const char *api = "reduction_from_name";
    if (!ctx)
        return GR_ERROR_NULL;
    if (ctx->broken)
        return ctx->error;
    const gr_status status = reduction ? parse_reduction(ctx, api, name, true, reduction)
                                       : gr_fail(ctx, GR_ERROR_NULL, api, "reduction is NULL");
    if (status != GR_OK)
        gr_finish(ctx);
    return status;
}

bool gr_legacy_reduction(gr_tristate size_average, gr_tristate reduce, gr_reduction *reduction)
{
    if (size_average == GR_UNSET && reduce == GR_UNSET)
        return false;
    *reduction = reduce == GR_NO ? GR_NONE : size_average == GR_NO ? GR_SUM : GR_MEAN;
    return true;
}

static const char *reduction_name(gr_reduction reduction)
{
    return reduction == GR_NONE ? "none" : reduction == GR_SUM ? "sum" : "mean";
}

/* ---- Rules ----------------------------------------------------------------------------------- */

#define DTYPE(dtype) (1u << (dtype))
enum {
    HALF_OR_SINGLE = DTYPE(GR_F16) | DTYPE(GR_F32),
    NARROW_FLOATS = HALF_OR_SINGLE | DTYPE(GR_BF16),
    FLOATS = NARROW_FLOATS | DTYPE(GR_F64),
    NUMBERS = FLOATS | DTYPE(GR_I32) | DTYPE(GR_I64) | DTYPE(GR_U8),
    ANY = NUMBERS | DTYPE(GR_BOOL),
};

enum { INPUT, TARGET, WEIGHT, POS_WEIGHT, ARGUMENTS };

/* The rules of one function. The first same_dtype arguments must have the input's dtype. The first
   same_shape arguments must have its shape. The others broadcast to it. */
typedef struct rules {
    const char *api;
    const char *names[ARGUMENTS]; /* names in its messages */
    unsigned dtypes[ARGUMENTS];   /* the dtypes that each may have */
    int same_dtype, same_shape;
    int required;       /* number of required arguments */
    bool any_case;      /* names of reductions in any case */
    bool strict_target; /* the target must be in [0,1] */
    gr_tensor *(*loss)(gr_tensor *, const gr_bce_args *);
} rules;

/* Returns text such as "f16 or f32". */
static gr_text dtypes_text(unsigned dtypes)
{
    gr_text text = {""};
    size_t used = 0;
    for (int dtype = GR_F32; dtype <= (int)GR_BOOL; dtype++) {
        if (!(dtypes & DTYPE(dtype)))
            continue;
        dtypes &= ~DTYPE(dtype);
        used += (size_t)snprintf(text.text + used, sizeof text.text - used, "%s%s",
                                 used == 0 ? ""
                                 : dtypes  ? ", "
                                           : " or ",
                                 gr_dtype_name((gr_dtype)dtype));
    }
    return text;
}

/* A gr_scalar adapts to the input. */
static gr_status check_dtype(const rules *r, gr_context *ctx, gr_tensor *const *in, int i)
{
    const gr_dtype dtype = gr_dtype_of(in[i]), input = gr_dtype_of(in[INPUT]);
    if (i > INPUT && gr_weak(in[i]))
        return GR_OK;
    if (!(r->dtypes[i] & DTYPE(dtype)))
        return gr_fail(ctx, GR_ERROR_DTYPE, r->api, "%s is %s; it must be %s", r->names[i],
                       gr_dtype_name(dtype), dtypes_text(r->dtypes[i]).text);
    if (i < r->same_dtype && dtype != input)
        return gr_fail(ctx, GR_ERROR_DTYPE, r->api, "%s is %s, %s %s; they must be the same",
                       r->names[INPUT], gr_dtype_name(input), r->names[i], gr_dtype_name(dtype));
    return GR_OK;
}

static gr_status check_shape(const rules *r, gr_context *ctx, gr_tensor *const *in, int i)
{
    const gr_dims shape = gr_shape_of(in[i]), input = gr_shape_of(in[INPUT]);
    if (i < r->same_shape)
        return gr_same_dims(&shape, &input)
                   ? GR_OK
                   : gr_fail(ctx, GR_ERROR_SHAPE, r->api, "%s shape %s must be that of %s, %s",
                             r->names[i], gr_dims_text(&shape).text, r->names[INPUT],
                             gr_dims_text(&input).text);
    if (!gr_broadcasts_to(in[i], &input))
        return gr_fail(ctx, GR_ERROR_BROADCAST, r->api,
                       "%s shape %s does not broadcast to that of %s, %s", r->names[i],
                       gr_dims_text(&shape).text, r->names[INPUT], gr_dims_text(&input).text);
    return GR_OK;
}

static gr_status check_argument(const rules *r, gr_context *ctx, gr_tensor *const *in, int i)
{
    if (!in[i])
        return i < r->required ? gr_fail(ctx, GR_ERROR_NULL, r->api, "%s is NULL", r->names[i])
                               : GR_OK;
    const gr_status status = check_dtype(r, ctx, in, i);
    return status == GR_OK ? check_shape(r, ctx, in, i) : status;
}

/* Returns the context of the operands. If there is none, returns NULL and sets *failed. */
static gr_context *context_of(const rules *r, gr_tensor *const *in, gr_tensor **failed)
{
    return gr_operands_context(r->api, ARGUMENTS, in, failed);
}

/* Checks by the rules, converts all operands to the input's dtype, and applies the loss. name is
   the reduction's name. If it is NULL, `reduction` counts. */
static gr_tensor *apply_loss(const rules *r, gr_tensor *const *given, gr_reduction reduction,
                             const char *name)
{
    gr_tensor *in[ARGUMENTS], *failed;
    gr_context *ctx = context_of(r, given, &failed);
    if (!ctx)
        return failed;
    if (name && parse_reduction(ctx, r->api, name, r->any_case, &reduction) != GR_OK)
        return ctx->failed;
    for (int i = 0; i < ARGUMENTS; i++)
        if (check_argument(r, ctx, given, i) != GR_OK)
            return ctx->failed;
    for (int i = 0; i < ARGUMENTS; i++) {
        in[i] = given[i] ? gr_cast(given[i], gr_dtype_of(given[INPUT])) : NULL;
        if (in[i] && gr_failed(in[i]))
            return in[i];
    }
    return r->loss(in[INPUT],
                   &(gr_bce_args){GR_BCE_DEFAULTS, .target = in[TARGET], .weight = in[WEIGHT],
                                  .pos_weight = in[POS_WEIGHT], .reduction = reduction,
                                  .strict_target = r->strict_target});
}

/* Handles a call with a loss object that is NULL. */
static gr_tensor *no_loss(const rules *r, gr_tensor *input, gr_tensor *target)
{
    gr_tensor *in[ARGUMENTS] = {input, target}, *failed;
    gr_context *ctx = context_of(r, in, &failed);
    return ctx ? gr_fail_tensor(ctx, GR_ERROR_NULL, r->api, "loss is NULL") : failed;
}

/* ---- PyTorch --------------------------------------------------------------------------------- */

#define TORCH_LOGITS                                                                               \
    .names = {"input", "target", "weight", "pos_weight"},                                          \
    .dtypes = {FLOATS, FLOATS, ANY, NUMBERS}, .same_shape = 2, .required = 2,                      \
    .loss = gr_bce_with_logits_with
#define TORCH_BCE                                                                                  \
    .names = {"input", "target", "weight"}, .dtypes = {FLOATS, FLOATS, ANY}, .same_dtype = 2,      \
    .same_shape = 2, .required = 2, .strict_target = true, .loss = gr_bce_with

/* If one of the deprecated pair is set, the pair decides the reduction, and name is ignored. */
static gr_tensor *apply_torch(const rules *r, gr_tensor *const *in, gr_tristate size_average,
                              gr_tristate reduce, const char *name)
{
    gr_reduction reduction;
    if (!gr_legacy_reduction(size_average, reduce, &reduction))
        return apply_loss(r, in, GR_MEAN, name);
    gr_tensor *failed;
    gr_context *ctx = context_of(r, in, &failed);
    if (!ctx)
        return failed;
    char note[128];
    snprintf(note, sizeof note,
             "size_average and reduce args will be deprecated, please use reduction='%s' instead.",
             reduction_name(reduction));
    gr_note(ctx, note);
    return apply_loss(r, in, reduction, NULL);
}

gr_tensor *gr_torch_binary_cross_entropy_with_logits(gr_tensor *input, gr_tensor *target,
                                                     gr_tensor *weight, gr_tristate size_average,
                                                     gr_tristate reduce, const char *reduction,
                                                     gr_tensor *pos_weight)
{
    static const rules r = {.api = "torch.nn.functional.binary_cross_entropy_with_logits",
                            TORCH_LOGITS};
    gr_tensor *in[ARGUMENTS] = {input, target, weight, pos_weight};
    return apply_torch(&r, in, size_average, reduce, reduction);
}

gr_tensor *gr_torch_binary_cross_entropy(gr_tensor *input, gr_tensor *target, gr_tensor *weight,
                                         gr_tristate size_average, gr_tristate reduce,
                                         const char *reduction)
{
    static const rules r = {.api = "torch.nn.functional.binary_cross_entropy", TORCH_BCE};
    gr_tensor *in[ARGUMENTS] = {input, target, weight};
    return apply_torch(&r, in, size_average, reduce, reduction);
}

gr_tensor *gr_torch_bce_loss_call(const gr_torch_bce_loss *loss, gr_tensor *input,
                                  gr_tensor *target)
{
    static const rules r = {.api = "torch.nn.BCELoss", TORCH_BCE};
    if (!loss)
        return no_loss(&r, input, target);
    gr_tensor *in[ARGUMENTS] = {input, target, loss->weight};
    return apply_torch(&r, in, loss->size_average, loss->reduce, loss->reduction);
}

gr_tensor *gr_torch_bce_with_logits_loss_call(const gr_torch_bce_with_logits_loss *loss,
                                              gr_tensor *input, gr_tensor *target)
{
    static const rules r = {.api = "torch.nn.BCEWithLogitsLoss", TORCH_LOGITS};
    if (!loss)
        return no_loss(&r, input, target);
    gr_tensor *in[ARGUMENTS] = {input, target, loss->weight, loss->pos_weight};
    return apply_torch(&r, in, loss->size_average, loss->reduce, loss->reduction);
}

/* ---- MindSpore ------------------------------------------------------------------------------- */

#define MINDSPORE_LOGITS(target)                                                                   \
    .names = {"logits", target, "weight", "pos_weight"},                                           \
    .dtypes = {HALF_OR_SINGLE, HALF_OR_SINGLE, HALF_OR_SINGLE, HALF_OR_SINGLE}, .same_shape = 2,   \
    .any_case = true, .loss = gr_bce_with_logits_with

static gr_tensor *apply_mindspore(const rules *r, gr_tensor *input, gr_tensor *target,
                                  gr_tensor *weight, gr_tensor *pos_weight, const char *reduction)
{
    gr_tensor *in[ARGUMENTS] = {input, target, weight, pos_weight};
    return apply_loss(r, in, GR_MEAN, reduction);
}

gr_tensor *gr_mindspore_binary_cross_entropy_with_logits(gr_tensor *logits, gr_tensor *label,
                                                         gr_tensor *weight, gr_tensor *pos_weight,
                                                         const char *reduction)
{
    static const rules r = {.api = "mindspore.ops.binary_cross_entropy_with_logits",
                            .required = 2,
                            MINDSPORE_LOGITS("label")};
    return apply_mindspore(&r, logits, label, weight, pos_weight, reduction);
}

gr_tensor *gr_mindspore_bce_with_logits_loss_call(const gr_mindspore_bce_with_logits_loss *loss,
                                                  gr_tensor *logits, gr_tensor *label,
                                                  gr_tensor *weight, gr_tensor *pos_weight)
{
    static const rules r = {
        .api = "mindspore.ops.BCEWithLogitsLoss", .required = ARGUMENTS, MINDSPORE_LOGITS("label")};
    if (!loss)
        return no_loss(&r, logits, label);
    return apply_mindspore(&r, logits, label, weight, pos_weight, loss->reduction);
}

gr_tensor *
gr_mindspore_nn_bce_with_logits_loss_call(const gr_mindspore_nn_bce_with_logits_loss *loss,
                                          gr_tensor *logits, gr_tensor *labels)
{
    static const rules r = {.api = "mindspore.nn.BCEWithLogitsLoss",
                            .required = 2,
                            .same_dtype = 2,
                            MINDSPORE_LOGITS("labels")};
    if (!loss)
        return no_loss(&r, logits, labels);
    return apply_mindspore(&r, logits, labels, loss->weight, loss->pos_weight, loss->reduction);
}

/* The documentation says both that weight broadcasts and that it has the input's shape. MindSpore's
   kernels read it without a broadcast, so here it must have the input's shape. */
gr_tensor *gr_mint_binary_cross_entropy(gr_tensor *input, gr_tensor *target, gr_tensor *weight,
                                        const char *reduction)
{
    static const rules r = {.api = "mindspore.mint.nn.functional.binary_cross_entropy",
                            .names = {"input", "target", "weight"},
                            .dtypes = {HALF_OR_SINGLE, HALF_OR_SINGLE, HALF_OR_SINGLE},
                            .same_dtype = 3,
                            .same_shape = 3,
                            .required = 2,
                            .any_case = true,
                            .loss = gr_bce_with};
    return apply_mindspore(&r, input, target, weight, NULL, reduction);
}

gr_tensor *gr_mint_binary_cross_entropy_with_logits(gr_tensor *input, gr_tensor *target,
                                                    gr_tensor *weight, const char *reduction,
                                                    gr_tensor *pos_weight)
{
    static const rules r = {.api = "mindspore.mint.nn.functional.binary_cross_entropy_with_logits",
                            .names = {"input", "target", "weight", "pos_weight"},
                            .dtypes = {NARROW_FLOATS, NARROW_FLOATS, NARROW_FLOATS, NARROW_FLOATS},
                            .same_shape = 2,
                            .required = 2,
                            .any_case = true,
                            .loss = gr_bce_with_logits_with};
    return apply_mindspore(&r, input, target, weight, pos_weight, reduction);
}
