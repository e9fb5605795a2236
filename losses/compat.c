/* compat.c - the parameter lists of PyTorch and MindSpore over gr_bce and gr_bce_with_logits.
 *
 * A front end is a row of rules (which dtypes, which spelling) and a call of `run`.
 *
 * SPDX-License-Identifier: MIT
 */
#include "losses/losses.h"
#include <gradus/compat.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- Reductions ------------------------------------------------------------------------------------- */

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
    if (!ctx || !reduction)
        return GR_ERROR_NULL;
    if (parse_reduction(ctx, "reduction_from_name", name, true, reduction) != GR_OK) {
        gr_finish(ctx);
        return GR_ERROR_REDUCTION;
    }
    return GR_OK;
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

/* ---- Rules ------------------------------------------------------------------------------------------ */

#define DTYPE(dtype) (1u << (dtype))
enum {
    HALF_OR_SINGLE = DTYPE(GR_F16) | DTYPE(GR_F32),
    MINT = HALF_OR_SINGLE | DTYPE(GR_BF16),
    FLOATS = MINT | DTYPE(GR_F64),
    NUMBERS = FLOATS | DTYPE(GR_I32) | DTYPE(GR_I64) | DTYPE(GR_U8),
    ANY = NUMBERS | DTYPE(GR_BOOL),
};

/* What one function of a system takes. */
typedef struct rules {
    const char *api;
    const char *names[4];   /* of input, target, weight, pos_weight, as its errors say them */
    unsigned dtypes[4];     /* that each may have */
    int equal_dtypes;       /* the first so many must have the input's */
    bool required[4];       /* must be given */
    bool any_case;          /* of reductions */
    bool strict_target;     /* in [0,1] */
    gr_tensor *(*loss)(gr_tensor *, const gr_bce_args *);
} rules;

/* "f16 or f32" */
static gr_text dtypes_text(unsigned dtypes)
{
    gr_text text = {""};
    size_t used = 0;
    for (int dtype = GR_F32; dtype <= (int)GR_BOOL; dtype++) {
        if (!(dtypes & DTYPE(dtype)))
            continue;
        dtypes &= ~DTYPE(dtype);
        used += (size_t)snprintf(text.text + used, sizeof text.text - used, "%s%s",
                                 used == 0 ? "" : dtypes ? ", " : " or ",
                                 gr_dtype_name((gr_dtype)dtype));
    }
    return text;
}

static gr_status check_argument(const rules *r, gr_context *ctx, gr_tensor *const *in, int i)
{
    if (!in[i])
        return r->required[i] ? gr_fail(ctx, GR_ERROR_NULL, r->api, "%s is NULL", r->names[i])
                              : GR_OK;
    const gr_dtype dtype = gr_dtype_of(in[i]);
    if (!(r->dtypes[i] & DTYPE(dtype)) && !in[i]->weak)
        return gr_fail(ctx, GR_ERROR_DTYPE, r->api, "%s is %s; it must be %s", r->names[i],
                       gr_dtype_name(dtype), dtypes_text(r->dtypes[i]).text);
    if (i < r->equal_dtypes && dtype != gr_dtype_of(in[0]) && !in[i]->weak)
        return gr_fail(ctx, GR_ERROR_DTYPE, r->api, "%s is %s, %s %s; they must be the same",
                       r->names[0], gr_dtype_name(gr_dtype_of(in[0])), r->names[i],
                       gr_dtype_name(dtype));
    return GR_OK;
}

/* Checks by the rules, brings all to the input's dtype, and applies the loss. */
static gr_tensor *run(const rules *r, gr_tensor *const *given, gr_reduction reduction,
                      const char *name)
{
    gr_tensor *in[4], *failed = &gr_null_context.failed;
    gr_context *ctx = gr_operands_context(r->api, 4, given, &failed);
    if (!ctx)
        return failed;
    if (name && parse_reduction(ctx, r->api, name, r->any_case, &reduction) != GR_OK)
        return &ctx->failed;
    for (int i = 0; i < 4; i++)
        if (check_argument(r, ctx, given, i) != GR_OK)
            return &ctx->failed;
    for (int i = 0; i < 4; i++) {
        in[i] = given[i] ? gr_cast(given[i], gr_dtype_of(given[0])) : NULL;
        if (in[i] && gr_failed(in[i]))
            return in[i];
    }
    return r->loss(in[0], &(gr_bce_args){.target = in[1],
                                         .weight = in[2],
                                         .pos_weight = in[3],
                                         .reduction = reduction,
                                         .strict_target = r->strict_target});
}

/* ---- PyTorch ------------------------------------------------------------------------------------------ */

/* The deprecated pair decides if it is there, and then reduction is not even looked at. */
static gr_tensor *run_torch(const rules *r, gr_tensor *const *in, gr_tristate size_average,
                            gr_tristate reduce, const char *name)
{
    gr_reduction reduction = GR_MEAN;
    if (!gr_legacy_reduction(size_average, reduce, &reduction))
        return run(r, in, reduction, name ? name : "mean");
    gr_tensor *failed;
    if (!gr_usable(r->api, in[0], 0, &failed))
        return failed;
    char note[128];
    snprintf(note, sizeof note,
             "size_average and reduce args will be deprecated, please use reduction='%s' instead.",
             reduction_name(reduction));
    gr_note(in[0]->ctx, note);
    return run(r, in, reduction, NULL);
}

gr_tensor *gr_torch_binary_cross_entropy_with_logits(gr_tensor *input, gr_tensor *target,
                                                     gr_tensor *weight, gr_tristate size_average,
                                                     gr_tristate reduce, const char *reduction,
                                                     gr_tensor *pos_weight)
{
    static const rules r = {.api = "torch.nn.functional.binary_cross_entropy_with_logits",
                            .names = {"input", "target", "weight", "pos_weight"},
                            .dtypes = {FLOATS, FLOATS, ANY, NUMBERS},
                            .required = {true, true},
                            .loss = gr_bce_with_logits_with};
    gr_tensor *in[] = {input, target, weight, pos_weight};
    return run_torch(&r, in, size_average, reduce, reduction);
}

gr_tensor *gr_torch_binary_cross_entropy(gr_tensor *input, gr_tensor *target, gr_tensor *weight,
                                         gr_tristate size_average, gr_tristate reduce,
                                         const char *reduction)
{
    static const rules r = {.api = "torch.nn.functional.binary_cross_entropy",
                            .names = {"input", "target", "weight", "pos_weight"},
                            .dtypes = {FLOATS, FLOATS, ANY, 0},
                            .equal_dtypes = 2,
                            .required = {true, true},
                            .strict_target = true,
                            .loss = gr_bce_with};
    gr_tensor *in[] = {input, target, weight, NULL};
    return run_torch(&r, in, size_average, reduce, reduction);
}

gr_tensor *gr_torch_bce_loss_call(const gr_torch_bce_loss *loss, gr_tensor *input,
                                  gr_tensor *target)
{
    return gr_torch_binary_cross_entropy(input, target, loss->weight, loss->size_average,
                                         loss->reduce, loss->reduction);
}

gr_tensor *gr_torch_bce_with_logits_loss_call(const gr_torch_bce_with_logits_loss *loss,
                                              gr_tensor *input, gr_tensor *target)
{
    return gr_torch_binary_cross_entropy_with_logits(input, target, loss->weight,
                                                     loss->size_average, loss->reduce,
                                                     loss->reduction, loss->pos_weight);
}

/* ---- MindSpore ------------------------------------------------------------------------------------------ */

#define MINDSPORE_LOGITS                                                                           \
    .dtypes = {HALF_OR_SINGLE, HALF_OR_SINGLE, HALF_OR_SINGLE, HALF_OR_SINGLE}, .any_case = true,  \
    .loss = gr_bce_with_logits_with

static gr_tensor *run_mindspore(const rules *r, gr_tensor *input, gr_tensor *target,
                                gr_tensor *weight, gr_tensor *pos_weight, const char *reduction)
{
    gr_tensor *in[] = {input, target, weight, pos_weight};
    return run(r, in, GR_MEAN, reduction ? reduction : "mean");
}

gr_tensor *gr_mindspore_binary_cross_entropy_with_logits(gr_tensor *logits, gr_tensor *label,
                                                         gr_tensor *weight, gr_tensor *pos_weight,
                                                         const char *reduction)
{
    static const rules r = {.api = "mindspore.ops.binary_cross_entropy_with_logits",
                            .names = {"logits", "label", "weight", "pos_weight"},
                            .required = {true, true},
                            MINDSPORE_LOGITS};
    return run_mindspore(&r, logits, label, weight, pos_weight, reduction);
}

gr_tensor *gr_mindspore_bce_with_logits_loss_call(const gr_mindspore_bce_with_logits_loss *loss,
                                                  gr_tensor *logits, gr_tensor *label,
                                                  gr_tensor *weight, gr_tensor *pos_weight)
{
    static const rules r = {.api = "mindspore.ops.BCEWithLogitsLoss",
                            .names = {"logits", "label", "weight", "pos_weight"},
                            .required = {true, true, true, true},
                            MINDSPORE_LOGITS};
    return run_mindspore(&r, logits, label, weight, pos_weight, loss->reduction);
}

gr_tensor *gr_mindspore_nn_bce_with_logits_loss_call(const gr_mindspore_nn_bce_with_logits_loss *loss,
                                                     gr_tensor *logits, gr_tensor *labels)
{
    static const rules r = {.api = "mindspore.nn.BCEWithLogitsLoss",
                            .names = {"logits", "labels", "weight", "pos_weight"},
                            .required = {true, true},
                            MINDSPORE_LOGITS};
    return run_mindspore(&r, logits, labels, loss->weight, loss->pos_weight, loss->reduction);
}

gr_tensor *gr_mint_binary_cross_entropy(gr_tensor *input, gr_tensor *target, gr_tensor *weight,
                                        const char *reduction)
{
    static const rules r = {.api = "mindspore.mint.nn.functional.binary_cross_entropy",
                            .names = {"input", "target", "weight", "pos_weight"},
                            .dtypes = {MINT, MINT, MINT, 0},
                            .equal_dtypes = 3,
                            .required = {true, true},
                            .any_case = true,
                            .loss = gr_bce_with};
    return run_mindspore(&r, input, target, weight, NULL, reduction);
}

gr_tensor *gr_mint_binary_cross_entropy_with_logits(gr_tensor *input, gr_tensor *target,
                                                    gr_tensor *weight, const char *reduction,
                                                    gr_tensor *pos_weight)
{
    static const rules r = {.api = "mindspore.mint.nn.functional.binary_cross_entropy_with_logits",
                            .names = {"input", "target", "weight", "pos_weight"},
                            .dtypes = {MINT, MINT, MINT, MINT},
                            .required = {true, true},
                            .any_case = true,
                            .loss = gr_bce_with_logits_with};
    return run_mindspore(&r, input, target, weight, pos_weight, reduction);
}
