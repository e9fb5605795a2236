/* costs.c - what losses and ops hold, and what their sweeps meet, with bars.
 *
 * Bytes are counted at the allocator seam, in multiples of the first operand's; work in entries
 * met.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/forms.h"
#include "tests/common/rows.h"

TestSuite(costs, .init = begin, .fini = end, .timeout = 120);

/* Numbers in an operand of one number a sample: 1 MB of floats. */
enum { NUMBERS = 1 << 18 };

static const form *form_of(const char *name)
{
    const form *found = NULL;
    EACH_FORM(f)
        found = strcmp(f->name, name) == 0 ? f : found;
    cr_assert_not_null(found, "there is no form %s", name);
    return found;
}

/* ---- Losses, forward and backward ------------------------------------------------------------ */

/* The most that is held beyond the operands while mean and gradients are computed; with the kernels
   that every machine has, for a product's scratch is as large as their tiles. */
static double peak_of(const form *f, bool record)
{
    const int64_t n = NUMBERS / width_of(f);
    gr_context *own = new_context("scalar", 1);
    gr_tensor *in[FORM_OPERANDS], *variables[FORM_OPERANDS], *gradients[FORM_OPERANDS];
    form_samples s = draw_samples(f, n);
    const int count = gather_operands(own, f, GR_F32, &s, n, NULL, in, variables);
    const int64_t before = gr_memory(own).live_bytes;
    gr_tensor *y = f->call(in, GR_MEAN);
    const gr_grad_args args = {.record = record,
                               .seed = f->flags & REDUCES ? NULL : gr_ones_like(y)};
    cr_assert_eq(gr_grad_with(y, (gr_tensors){count, variables}, gradients, &args), GR_OK, "%s: %s",
                 f->name, gr_error_message(own));
    const int64_t peak = gr_memory(own).peak_bytes - before, size = 4 * gr_numel(in[0]);
    (void)!gr_context_free(own);
    free_samples(&s);
    return (double)peak / (double)size;
}

/* What was found, in multiples of x, not recorded and recorded; the bar is a tenth above. Compilers
   differ in which of two arguments they evaluate first: the larger of what gcc and clang give. */
static const struct peak_row {
    const char *form;
    double fused, recorded;
} peak_rows[] = {
    {"bce", 4.00, 16.52},
    {"bce_weight", 6.00, 20.52},
    {"bce_pos_weight", 6.00, 25.77},
    {"bce_all", 12.00, 39.78},
    {"bce_kept", 6.00, 23.52},
    {"bce_weights", 4.00, 18.52},
    {"bce_smooth", 4.00, 19.52},
    {"bce_focal", 4.00, 117.05},
    {"bce_strict", 4.00, 16.52},
    {"bce_with_logits", 4.00, 12.00},
    {"bce_with_logits_weight", 6.00, 16.00},
    {"bce_with_logits_pos_weight", 6.00, 27.27},
    {"bce_with_logits_all", 12.00, 41.28},
    {"bce_with_logits_kept", 6.00, 19.02},
    {"bce_with_logits_weights", 4.00, 14.02},
    {"bce_with_logits_smooth", 4.00, 15.00},
    {"bce_with_logits_focal", 4.00, 165.56},
    {"bce_with_logits_strict", 4.00, 12.00},
    {"mse", 4.00, 5.00},
    {"l1", 4.00, 5.00},
    {"huber", 11.50, 20.02},
    {"smooth_l1", 12.50, 22.02},
    {"kl_div", 11.25, 16.25},
    {"kl_div_log", 9.25, 12.25},
    {"kl_div_batch", 11.25, 16.25},
    {"poisson_nll", 8.25, 12.25},
    {"poisson_nll_rate", 24.02, 44.03},
    {"gaussian_nll", 15.25, 22.27},
    {"nll", 3.54, 3.54},
    {"nll_weight", 4.85, 4.85},
    {"cross_entropy", 6.54, 23.56},
    {"cross_entropy_smooth", 9.96, 29.43},
    {"cross_entropy_of_probabilities", 5.78, 21.78},
    {"cross_entropy_of_pixels", 7.54, 24.56},
    {"multilabel_soft_margin", 5.63, 15.63},
    {"soft_margin", 6.00, 8.00},
    {"hinge_embedding", 7.50, 11.75},
    {"cosine_embedding", 11.72, 17.98},
    {"triplet_margin", 20.09, 29.80},
    {"softmax", 5.00, 25.00},
    {"softmax_of_columns", 5.00, 25.00},
    {"softmax_of_many", 5.14, 25.15},
    {"log_softmax", 3.00, 19.00},
    {"log_softmax_of_columns", 3.00, 19.00},
    {"log_softmax_of_many", 3.10, 19.12},
    {"matmul_rows", 1.63, 1.63},
    {"matmul_columns", 1.73, 1.73},
    {"matmul_vector", 1.06, 1.06},
};

static void expect_peak(const char *name, const char *how, double found, double usual)
{
    cr_expect_leq(found, usual * 1.1, "%s, %s: %.2f times x, and was %.2f", name, how, found,
                  usual);
}

Test(costs, losses_peak_at_these_multiples_of_their_input)
{
    for (const struct peak_row *row = peak_rows; row < peak_rows + COUNT_OF(peak_rows); row++) {
        const form *f = form_of(row->form);
        expect_peak(row->form, "not recorded", peak_of(f, false), row->fused);
        expect_peak(row->form, "recorded", peak_of(f, true), row->recorded);
    }
}

Test(costs, every_form_has_a_bar)
{
    cr_expect_eq(COUNT_OF(peak_rows), COUNT_OF(forms));
    EACH_FORM(f) {
        int found = 0;
        for (int i = 0; i < COUNT_OF(peak_rows); i++)
            found += strcmp(peak_rows[i].form, f->name) == 0;
        cr_expect_eq(found, 1, "%s", f->name);
    }
}

/* ---- Ops, backward --------------------------------------------------------------------------- */

/* A backward's peak beyond what the forward held, in multiples of x. */
static double beyond_forward(gr_tensor *(*one)(gr_tensor *),
                             gr_tensor *(*two)(gr_tensor *, gr_tensor *))
{
    gr_context *own = new_context(NULL, 1);
    gr_tensor *in[] = {gr_variable(gr_full(own, GR_F32, gr_shape(NUMBERS), 0.5)),
                       gr_variable(gr_full(own, GR_F32, gr_shape(NUMBERS), 0.25))};
    gr_tensor *y = sum_of(one ? one(in[0]) : two(in[0], in[1])), *gradients[2];
    const int64_t forward = gr_memory(own).live_bytes;
    cr_assert_eq(gr_grad_with(y, (gr_tensors){one ? 1 : 2, in}, gradients, NULL), GR_OK, "%s",
                 gr_error_message(own));
    const int64_t beyond = gr_memory(own).peak_bytes - forward;
    (void)!gr_context_free(own);
    return (double)beyond / (4.0 * NUMBERS);
}

/* Gradients included: of two operands there are two. */
enum { MOST_BUFFERS = 3 };

/* Those whose rules are compositions that take more. */
static const struct more_row {
    const char *name;
    int buffers;
} more_rows[] = {{"maximum", 7}, {"minimum", 7}};

static void expect_buffers(const char *name, double found)
{
    int most = MOST_BUFFERS;
    EACH_ROW(row, more_rows)
        most = strcmp(row->name, name) == 0 ? row->buffers : most;
    cr_expect_leq(found, most * 1.05, "%s: %.2f buffers, not %d", name, found, most);
}

Test(costs, a_backward_through_one_op_holds_three_buffers_more)
{
    EACH_ROW(row, unary_rows)
        expect_buffers(row->name, beyond_forward(row->call, NULL));
    EACH_ROW(row, binary_rows)
        expect_buffers(row->name, beyond_forward(NULL, row->call));
}

/* ---- Steps and gradients again --------------------------------------------------------------- */

/* One step of a loop over a form; a second one and those that follow take nothing more. */
static void expect_no_growth(const form *f, gr_reduction reduction, bool record)
{
    const int64_t n = 4096 / width_of(f) + 1;
    gr_context *own = new_context(NULL, 1);
    gr_tensor *in[FORM_OPERANDS], *variables[FORM_OPERANDS], *gradients[FORM_OPERANDS];
    form_samples s = draw_samples(f, n);
    const int count = gather_operands(own, f, GR_F32, &s, n, NULL, in, variables);
    gr_memory_report first = {0};
    for (int step = 0; step < 5; step++) {
        cr_assert_eq(gr_scope_begin(own), GR_OK);
        gr_tensor *y = f->call(in, reduction);
        const gr_grad_args args = {.record = record};
        cr_assert_eq(gr_grad_with(y, (gr_tensors){count, variables}, gradients, &args), GR_OK);
        cr_assert_eq(gr_scope_end(own), GR_OK, "%s: %s", f->name, gr_error_message(own));
        const gr_memory_report now = gr_memory(own);
        first = step == 0 ? now : first;
        cr_expect_eq(now.live_bytes, first.live_bytes, "%s, step %d", f->name, step);
        cr_expect_eq(now.peak_bytes, first.peak_bytes, "%s, step %d", f->name, step);
        cr_expect_eq(now.allocations, first.allocations, "%s, step %d", f->name, step);
    }
    (void)!gr_context_free(own);
    free_samples(&s);
}

Test(costs, a_second_step_takes_nothing_more)
{
    EACH_FORM(f)
        for (int record = 0; record < 2; record++) {
            expect_no_growth(f, GR_MEAN, record);
            expect_no_growth(f, GR_NONE, record);
        }
}

/* Whole steps of training, with each optimiser. */
static void train(gr_context *own, gr_mlp *mlp, gr_optimizer *optimizer, gr_tensor *x, gr_tensor *y)
{
    cr_assert_eq(gr_scope_begin(own), GR_OK);
    cr_assert_eq(gr_backward(gr_cross_entropy(gr_mlp_forward(mlp, x), y)), GR_OK);
    cr_assert_eq(gr_step(optimizer), GR_OK);
    cr_assert_eq(gr_scope_end(own), GR_OK, "%s", gr_error_message(own));
}

Test(costs, a_second_training_step_takes_nothing_more)
{
    for (int kind = 0; kind < 2; kind++) {
        gr_mlp *mlp = gr_mlp_new(ctx, GR_F32, GR_TANH, 3, (const int64_t[]){20, 30, CLASSES});
        const gr_tensors parameters = gr_mlp_parameters(mlp);
        gr_optimizer *optimizer =
            kind ? gr_adam(ctx, parameters) : gr_sgd(ctx, parameters, .lr = 0.1, .momentum = 0.9);
        gr_tensor *x = gr_randn(ctx, GR_F32, gr_shape(64, 20)),
                  *y = gr_zeros(ctx, GR_I64, gr_shape(64));
        train(ctx, mlp, optimizer, x, y);
        const gr_memory_report first = gr_memory(ctx);
        for (int step = 0; step < 10; step++)
            train(ctx, mlp, optimizer, x, y);
        const gr_memory_report now = gr_memory(ctx);
        cr_expect_eq(now.live_bytes, first.live_bytes);
        cr_expect_eq(now.peak_bytes, first.peak_bytes);
        cr_expect_eq(now.allocations, first.allocations);
    }
}

/* ---- Entries met ----------------------------------------------------------------------------- */

/* Records so many ops that a loss has nothing to do with. */
static void record_unrelated(int count)
{
    gr_tensor *v = gr_variable(gr_ones(ctx, GR_F32, gr_shape(3)));
    for (int i = 0; i < count; i++)
        v = gr_neg(v);
}

/* Entries that value and gradients of a form meet; unrelated ones before the operands, between them
   and the loss, and after it. */
static int64_t visits(const form *f, gr_reduction reduction, bool record, int unrelated)
{
    gr_tensor *in[FORM_OPERANDS], *variables[FORM_OPERANDS], *gradients[FORM_OPERANDS];
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    reseed(3);
    form_samples s = draw_samples(f, 9);
    record_unrelated(unrelated);
    const int count = gather_operands(ctx, f, GR_F32, &s, 9, NULL, in, variables);
    record_unrelated(unrelated);
    const int64_t before = ctx->program.visited;
    gr_tensor *y = f->call(in, reduction);
    record_unrelated(unrelated);
    cr_assert_eq(gr_grad_with(y, (gr_tensors){count, variables}, gradients,
                              &(gr_grad_args){.record = record}),
                 GR_OK, "%s: %s", f->name, gr_error_message(ctx));
    const int64_t met = ctx->program.visited - before;
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
    free_samples(&s);
    return met;
}

Test(costs, unrelated_ops_are_not_met)
{
    EACH_FORM(f)
        for (int reduction = GR_MEAN; reduction <= GR_NONE; reduction++)
            for (int record = 0; record < 2; record++) {
                const int64_t alone = visits(f, reduction, record, 0);
                const int64_t among = visits(f, reduction, record, 1000);
                cr_expect_eq(alone, among, "%s: %d entries, and %d among others", f->name,
                             (int)alone, (int)among);
                cr_expect_gt(alone, 0, "%s", f->name);
                cr_expect_leq(alone, 150, "%s: %d entries", f->name, (int)alone);
            }
}

/* A cross entropy of two classes is one entry, whatever its options. */
Test(costs, a_fused_loss_is_one_entry)
{
    EACH_FORM(f)
        if (strncmp(f->name, "bce", 3) == 0)
            cr_expect_eq(visits(f, GR_MEAN, false, 10), 1, "%s", f->name);
}

/* ---- Without memory -------------------------------------------------------------------------- */

/* A mean over what mask or weight count, and its gradients, by either rule. */
typedef struct counted {
    gr_denominator denominator;
    gr_tensor *(*loss)(gr_tensor *x, const gr_bce_args *args);
    bool record;
} counted;

static uint64_t counted_mean(gr_context *of, const void *data)
{
    enum { COUNT = 5000 };
    const counted *c = data;
    uint64_t hash = 0;
    if (gr_scope_begin(of) != GR_OK) {
        (void)!gr_scope_end(of);
        return 0;
    }
    gr_tensor *x = gr_variable(gr_full(of, GR_F32, gr_shape(COUNT), 0.25));
    gr_tensor *w = gr_variable(gr_full(of, GR_F32, gr_shape(COUNT), 1.5)), *gradients[2];
    gr_tensor *mask = gr_less(gr_arange(of, GR_F32, COUNT), gr_scalar(of, 3000));
    gr_tensor *mean =
        c->loss(x, &(gr_bce_args){GR_BCE_DEFAULTS, .target = gr_detach(x), .weight = w,
                                  .mask = mask, .denominator = c->denominator});
    if (gr_grad_with(mean, gr_list(x, w), gradients, &(gr_grad_args){.record = c->record}) == GR_OK)
        hash = hash_of(mean) ^ hash_of(gradients[0]) * 3 ^ hash_of(gradients[1]) * 5;
    (void)!gr_scope_end(of);
    return hash;
}

Test(costs, denominators_survive_without_memory)
{
    for (int denominator = GR_ALL; denominator <= GR_WEIGHTS; denominator++)
        for (int record = 0; record < 2; record++) {
            const counted logits = {denominator, gr_bce_with_logits_with, record};
            const counted probabilities = {denominator, gr_bce_with, record};
            expect_survives("mean of logits", counted_mean, &logits);
            expect_survives("mean of probabilities", counted_mean, &probabilities);
        }
}
