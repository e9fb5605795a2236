/* table.c - every op that the library exports has a row. It is in ops.def, whose rows the other
 * test files use, or in this file, which runs each op and checks its gradient.
 *
 * The list of exported names is read from the library itself. So the test fails for a new op
 * without a row, and for a new name that no_ops does not list.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/rows.h"

TestSuite(table, .init = begin, .fini = end);

static const char *const exported[] = {
#define EXPORTED(name) #name,
#include "tests/ops/exported.h"
};

/* ---- What is no op --------------------------------------------------------------------------- */

/* Names without gr_, and the reason why they need no row. A star matches any rest of a name. */
static const struct no_op {
    const char *reason, *names;
} no_ops[] = {
    {"contexts and scopes", "context_new context_free context_isa memory scope_begin scope_end "
                            "version"},
    {"errors", "status_name error error_message error_clear here raise"},
    {"dtypes and shapes", "dtype_name dtype_size dtype_is_float dims_from"},
    {"makes a tensor of no tensor's elements",
     "zeros ones full from_data scalar scalar_like zeros_like ones_like arange rand randn "
     "permutation"},
    {"looks at a tensor, or moves its bytes",
     "context_of failed dtype_of shape_of strides_of ndim size numel is_contiguous data "
     "data_mutable item get read write write_here"},
    {"the same elements with another place in the program: tests/core",
     "keep parameter parameter_free variable detach"},
    {"differentiates", "no_grad_begin no_grad_end requires_grad backward backward_here gradient "
                       "zero_grad grad grad_with grad_here hessian gradcheck_with gradcheck_here "
                       "gradcheck_print"},
    {"applies a row that the caller has", "apply_with apply_results apply_results_here"},
    {"nn: made of ops", "kaiming xavier linear_new linear_here linear_forward linear_free mlp_new "
                        "mlp_here mlp_forward mlp_parameters mlp_parameter_name mlp_free"},
    {"nn: optimisers", "sgd_with adam_with adamw_with step step_here learning_rate "
                       "set_learning_rate set_learning_rate_here optimizer_here optimizer_state "
                       "optimizer_steps optimizer_free"},
    {"the defaults of options: tests/core/options.c",
     "sgd_defaults adam_defaults adamw_defaults bce_defaults huber_defaults smooth_l1_defaults "
     "poisson_nll_defaults gaussian_nll_defaults nll_defaults cross_entropy_defaults "
     "hinge_embedding_defaults triplet_margin_defaults gradcheck_defaults csv_defaults"},
    {"io", "csv_* archive_* save load write_file"},
    {"another system's name of a loss", "torch_* mindspore_* mint_* reduction_from_name "
                                        "legacy_reduction"},
};

/* True if a list of names has this one. */
static bool lists(const char *names, const char *name)
{
    for (size_t length; *names; names += length + strspn(names + length, " ")) {
        length = strcspn(names, " ");
        const bool star = names[length - 1] == '*';
        if (strncmp(names, name, length - star) == 0 && (star || name[length] == 0))
            return true;
    }
    return false;
}

static bool is_no_op(const char *name)
{
    bool found = false;
    EACH_ROW(row, no_ops)
        found = found || lists(row->names, name);
    return found;
}

/* ---- Samples: the ops that are not in ops.def ------------------------------------------------ */

static gr_tensor *ones_of(gr_tensor *x, gr_dims shape)
{
    return gr_ones(gr_context_of(x), gr_dtype_of(x), shape);
}

/* Returns 1 and -1 in turn, in x's shape and dtype. */
static gr_tensor *signs_of(gr_tensor *x)
{
    static const double signs[] = {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1};
    gr_tensor *all = gr_from_data(gr_context_of(x), GR_F64, gr_shape_of(x), signs);
    return gr_cast(all, gr_dtype_of(x));
}

/* Returns one of four classes for each of three samples. */
static gr_tensor *classes_of(gr_tensor *x)
{
    return gr_from_data(gr_context_of(x), GR_I64, gr_shape(3), (const int64_t[]){2, 0, 3});
}

/* SAMPLE(name, operands, kind, expression): x, y and z are [3,4], in (0.1, 0.9). SMOOTH:
   differences check the gradient to second order. FLAT: the op is only run, because differences
   cannot check its gradient. */
#define SAMPLES                                                                                    \
    SAMPLE(pow, 1, SMOOTH, gr_pow(x, 2.5))                                                         \
    SAMPLE(where, 2, SMOOTH, gr_where(gr_less(signs_of(x), gr_scalar_like(x, 0)), x, y))           \
    SAMPLE(sum_with, 1, SMOOTH, gr_sum_with(&(gr_reduce_args){.x = x, .axes = gr_axes(0)}))        \
    SAMPLE(mean_with, 1, SMOOTH, gr_mean_with(&(gr_reduce_args){.x = x, .keepdim = true}))         \
    SAMPLE(sum_to, 1, SMOOTH, gr_sum_to(x, gr_shape(3, 1)))                                        \
    SAMPLE(softmax, 1, SMOOTH, gr_softmax(x, -1))                                                  \
    SAMPLE(log_softmax, 1, SMOOTH, gr_log_softmax(x, 0))                                           \
    SAMPLE(matmul, 2, SMOOTH, gr_matmul(x, gr_transpose(y)))                                       \
    SAMPLE(reshape, 1, SMOOTH, gr_reshape(gr_square(x), gr_shape(2, -1)))                          \
    SAMPLE(transpose, 1, SMOOTH, gr_transpose(gr_square(x)))                                       \
    SAMPLE(permute, 1, SMOOTH, gr_permute(gr_square(x), gr_axes(1, 0)))                            \
    SAMPLE(slice, 1, SMOOTH, gr_slice(gr_square(x), 1, 1, 4, 2))                                   \
    SAMPLE(expand, 1, SMOOTH, gr_expand(gr_square(x), gr_shape(2, 3, 4)))                          \
    SAMPLE(contiguous, 1, SMOOTH, gr_contiguous(gr_transpose(gr_square(x))))                       \
    SAMPLE(cast, 1, FLAT, gr_cast(x, GR_BF16))                                                     \
    SAMPLE(bce_with, 2, SMOOTH, gr_bce_with(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y}))      \
    SAMPLE(bce_with_logits_with, 3, SMOOTH,                                                        \
           gr_bce_with_logits_with(                                                                \
               x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = y, .pos_weight = z, .gamma = 2}))      \
    SAMPLE(mse_with, 2, SMOOTH, gr_mse_with(x, &(gr_loss_args){.target = y}))                      \
    SAMPLE(l1_with, 2, SMOOTH, gr_l1_with(x, &(gr_loss_args){.target = gr_exp(y)}))                \
    SAMPLE(huber_with, 2, SMOOTH,                                                                  \
           gr_huber_with(x, &(gr_huber_args){GR_HUBER_DEFAULTS, .target = y}))                     \
    SAMPLE(smooth_l1_with, 2, SMOOTH,                                                              \
           gr_smooth_l1_with(x, &(gr_smooth_l1_args){GR_SMOOTH_L1_DEFAULTS, .target = y}))         \
    SAMPLE(kl_div_with, 2, SMOOTH, gr_kl_div_with(x, &(gr_kl_div_args){.target = y}))              \
    SAMPLE(poisson_nll_with, 2, SMOOTH,                                                            \
           gr_poisson_nll_with(x, &(gr_poisson_nll_args){GR_POISSON_NLL_DEFAULTS, .target = y}))   \
    SAMPLE(gaussian_nll_with, 3, SMOOTH,                                                           \
           gr_gaussian_nll_with(                                                                   \
               x, &(gr_gaussian_nll_args){GR_GAUSSIAN_NLL_DEFAULTS, .target = y, .variance = z}))  \
    SAMPLE(nll_with, 1, SMOOTH,                                                                    \
           gr_nll_with(x, &(gr_nll_args){GR_NLL_DEFAULTS, .target = classes_of(x)}))               \
    SAMPLE(cross_entropy_with, 2, SMOOTH,                                                          \
           gr_cross_entropy_with(                                                                  \
               x, &(gr_cross_entropy_args){GR_CROSS_ENTROPY_DEFAULTS, .target = y}))               \
    SAMPLE(multilabel_soft_margin_with, 2, SMOOTH,                                                 \
           gr_multilabel_soft_margin_with(x, &(gr_multilabel_soft_margin_args){.target = y}))      \
    SAMPLE(soft_margin_with, 1, SMOOTH,                                                            \
           gr_soft_margin_with(x, &(gr_loss_args){.target = signs_of(x)}))                         \
    SAMPLE(hinge_embedding_with, 1, SMOOTH,                                                        \
           gr_hinge_embedding_with(                                                                \
               x, &(gr_hinge_embedding_args){GR_HINGE_EMBEDDING_DEFAULTS, .target = signs_of(x)})) \
    SAMPLE(cosine_embedding_with, 2, SMOOTH,                                                       \
           gr_cosine_embedding_with(                                                               \
               x, &(gr_cosine_embedding_args){.other = y, .target = ones_of(x, gr_shape(3))}))     \
    SAMPLE(triplet_margin_with, 3, SMOOTH,                                                         \
           GR_BY_NAME(gr_triplet_margin_with(                                                      \
               x, &(gr_triplet_margin_args){GR_TRIPLET_MARGIN_DEFAULTS, .positive = y,             \
                                            .negative = z, .margin = 5})))

/* A missing operand is x again. */
#define SAMPLE(name, operands, kind, expression)                                                   \
    static gr_tensor *name##_sample(gr_tensors in, void *data)                                     \
    {                                                                                              \
        gr_tensor *x = in.at[0], *y = in.at[operands > 1], *z = in.at[operands > 2 ? 2 : 0];       \
        (void)data, (void)y, (void)z;                                                              \
        return expression;                                                                         \
    }
SAMPLES
#undef SAMPLE

static const struct sample_row {
    const char *name;
    int operands;
    slope_kind slope;
    gr_function *call;
} sample_rows[] = {
#define SAMPLE(name, operands, kind, expression) {#name, operands, kind, name##_sample},
    SAMPLES
#undef SAMPLE
};

/* ---- Every op has a row ---------------------------------------------------------------------- */

static bool has_row(const char *name)
{
    bool found = false;
    EACH_ROW(row, unary_rows)
        found = found || strcmp(name, row->name) == 0;
    EACH_ROW(row, binary_rows)
        found = found || strcmp(name, row->name) == 0;
    EACH_ROW(row, compare_rows)
        found = found || strcmp(name, row->name) == 0;
    EACH_ROW(row, sample_rows)
        found = found || strcmp(name, row->name) == 0;
    return found;
}

Test(table, every_exported_op_has_a_row)
{
    int ops = 0;
    for (int i = 0; i < COUNT_OF(exported); i++) {
        const bool row = has_row(exported[i]), no_op = is_no_op(exported[i]);
        ops += row;
        cr_expect(row || no_op,
                  "gr_%s is exported: it needs a row in ops.def or in SAMPLES, or a "
                  "reason in no_ops",
                  exported[i]);
        cr_expect_not(row && no_op, "gr_%s has a row and is called no op", exported[i]);
    }
    cr_expect_eq(ops, row_count() + COUNT_OF(sample_rows), "rows of what is not exported");
    cr_expect_not(has_row("nothing") || is_no_op("nothing"));
}

/* If a name is no longer exported, it must leave no_ops. Otherwise it would excuse a later op of
   this name. */
Test(table, every_reason_is_needed)
{
    char name[64];
    EACH_ROW(row, no_ops)
        for (const char *at = row->names; sscanf(at, "%63s", name) == 1; at += strlen(name)) {
            bool found = false;
            for (int i = 0; i < COUNT_OF(exported); i++)
                found = found || lists(name, exported[i]);
            cr_expect(found, "no_ops (%s): gr_%s is not exported", row->reason, name);
            at += strspn(at, " ");
        }
}

/* ---- Every row is exercised ------------------------------------------------------------------ */

/* Checks that the result's values and the gradients of its sum are numbers. */
static void run_sample(const struct sample_row *row, gr_dtype dtype)
{
    gr_tensor *in[3];
    for (int i = 0; i < 3; i++)
        in[i] = gr_variable(sample(ctx, dtype, gr_shape(3, 4), 0.1, 0.9));
    gr_tensor *y = row->call((gr_tensors){row->operands, in}, NULL);
    expect_fine(ctx);
    cr_expect(isfinite(gr_item(sum_of(y))), "%s", row->name);
    for (int i = 0; i < row->operands; i++) {
        gr_tensor *dx = gr_grad(sum_of(y), in[i]);
        cr_expect(isfinite(gr_item(sum_of(dx))), "%s: gradient of operand %d", row->name, i);
        expect_shape(dx, gr_shape(3, 4));
    }
    expect_fine(ctx);
}

static void check_gradient(const struct sample_row *row)
{
    gr_gradcheck_report report;
    gr_tensor *in[3];
    for (int i = 0; i < 3; i++)
        in[i] = sample(ctx, GR_F64, gr_shape(3, 4), 0.1, 0.9);
    gr_gradcheck_args args = gr_gradcheck_defaults();
    args.order = 2;
    args.report = &report;
    args.name = row->name;
    const gr_status status =
        gr_gradcheck_with(row->call, NULL, (gr_tensors){row->operands, in}, &args);
    cr_expect_eq(status, GR_OK, "%s: %s, %d of %d entries", row->name, gr_status_name(status),
                 (int)report.bad, (int)report.checked);
    cr_expect_gt(report.checked, 0, "%s", row->name);
}

Test(table, samples_run)
{
    EACH_ROW(row, sample_rows) {
        run_sample(row, GR_F32);
        run_sample(row, GR_F64);
    }
}

Test(table, samples_have_right_gradients)
{
    EACH_ROW(row, sample_rows)
        if (row->slope == SMOOTH)
            check_gradient(row);
}

/* ---- Whatever computes is an entry that can be run again ------------------------------------- */

/* Hashes the bits of an entry's results. */
static uint64_t results_hash(const gr_entry *entry)
{
    uint64_t hash = 0;
    for (int k = 0; k < entry->outs; k++)
        hash = hash * 31 + (entry->out[k] ? hash_of(entry->out[k]) : 7);
    return hash;
}

/* Overwrites the results of an entry if the entry computes them in its own buffers. */
static bool spoil(const gr_entry *entry)
{
    const gr_op *op = entry->node.op;
    if (!op->run || op->flags & GR_OP_IN_PLACE)
        return false;
    for (int k = 0; k < entry->outs; k++)
        if (entry->out[k])
            memset(gr_bytes(entry->out[k]), 0x5a,
                   (size_t)(gr_numel(entry->out[k]) * gr_dtype_size(gr_dtype_of(entry->out[k]))));
    return true;
}

/* Runs each entry of the scope again, youngest first, so that each one finds its original
   operands. */
static int run_entries_again(const char *name)
{
    int count = 0;
    for (gr_entry *entry = ctx->program.last; entry; entry = entry->previous) {
        const uint64_t before = results_hash(entry);
        if (!spoil(entry))
            continue;
        cr_expect_eq(gr_rerun(entry), GR_OK, "%s: %s", name, entry->node.op->name);
        cr_expect_eq(results_hash(entry), before, "%s: %s", name, entry->node.op->name);
        count++;
    }
    return count;
}

/* Computes value and gradient of a call, and keeps all entries. */
static void expect_again(const char *name, gr_tensor *(*call)(gr_tensors, void *), int operands,
                         void *data)
{
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    gr_tensor *in[3];
    for (int i = 0; i < 3; i++)
        in[i] = gr_variable(sample(ctx, GR_F32, gr_shape(3, 4), 0.2, 0.9));
    ctx->program.keep_all = true;
    gr_tensor *y = sum_of(call((gr_tensors){operands, in}, data));
    for (int i = 0; i < operands; i++)
        gr_grad(y, in[i]);
    ctx->program.keep_all = false;
    expect_fine(ctx);
    cr_expect_gt(run_entries_again(name), 2, "%s", name);
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
}

static gr_tensor *call_unary(gr_tensors in, void *row)
{
    return ((const unary_row *)row)->call(in.at[0]);
}

static gr_tensor *call_binary(gr_tensors in, void *row)
{
    return ((const binary_row *)row)->call(in.at[0], in.at[1]);
}

static gr_tensor *call_compare(gr_tensors in, void *row)
{
    gr_tensor *chosen = ((const compare_row *)row)->call(in.at[0], in.at[1]);
    return gr_where(chosen, in.at[0], in.at[1]);
}

Test(table, entries_run_again)
{
    EACH_ROW(row, unary_rows)
        expect_again(row->name, call_unary, 1, (void *)(uintptr_t)row);
    EACH_ROW(row, binary_rows)
        expect_again(row->name, call_binary, 2, (void *)(uintptr_t)row);
    EACH_ROW(row, compare_rows)
        expect_again(row->name, call_compare, 2, (void *)(uintptr_t)row);
    EACH_ROW(row, sample_rows)
        expect_again(row->name, row->call, row->operands, NULL);
}

/* Each elementwise row has a formula. */
Test(table, elementwise_entries_have_a_formula)
{
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    ctx->program.keep_all = true;
    gr_tensor *in[3];
    for (int i = 0; i < 3; i++)
        in[i] = sample(ctx, GR_F32, gr_shape(3, 4), 0.2, 0.9);
    EACH_ROW(row, unary_rows)
        row->call(in[0]);
    EACH_ROW(row, binary_rows)
        row->call(in[0], in[1]);
    EACH_ROW(row, sample_rows)
        row->call((gr_tensors){row->operands, in}, NULL);
    int count = 0;
    for (gr_entry *entry = ctx->program.last; entry; entry = entry->previous) {
        const gr_op *op = entry->node.op;
        const bool cast = strcmp(op->name, "cast") == 0; /* the dtype tells what it computes */
        if (op->kind == GR_ELEMENTWISE && !cast)
            cr_expect(op->formula && *op->formula, "%s", op->name);
        count += op->kind == GR_ELEMENTWISE;
    }
    cr_expect_gt(count, 40);
    ctx->program.keep_all = false;
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
}

Test(table, rows_say_what_can_be_checked)
{
    EACH_ROW(row, unary_rows) {
        cr_expect_lt(row->low, row->high, "%s", row->name);
        cr_expect(isnan(row->reference(NAN)), "%s", row->name);
    }
    EACH_ROW(row, binary_rows) {
        cr_expect_lt(row->low, row->high, "%s", row->name);
        cr_expect(isnan(row->reference(NAN, 1)) && isnan(row->reference(1, NAN)), "%s", row->name);
    }
}
