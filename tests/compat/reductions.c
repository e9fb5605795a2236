/* reductions.c - reductions by name, PyTorch's deprecated pair with its truth table, and where
 * notices go.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"
#include <unistd.h>

TestSuite(reductions, .init = begin, .fini = end);

#define KNOWN "; the known ones are 'none', 'mean' and 'sum'"

/* ---- Names ----------------------------------------------------------------------------------- */

static void reads_as(const char *name, gr_reduction want, int wanted_notes)
{
    gr_reduction reduction = want == GR_NONE ? GR_SUM : GR_NONE;
    notes = 0;
    cr_expect_eq(gr_reduction_from_name(ctx, name, &reduction), GR_OK, "%s", name);
    cr_expect_eq(reduction, want, "%s", name ? name : "NULL");
    cr_expect_eq(notes, wanted_notes, "%s: %d notes", name, notes);
}

Test(reductions, names_in_any_case)
{
    static const char *const none[] = {"none", "None", "NONE", "nOnE"},
                             *const mean[] = {"mean", "Mean", "MEAN", "meaN"},
                             *const sum[] = {"sum", "Sum", "SUM", "sUM"};
    for (int i = 0; i < 4; i++) {
        reads_as(none[i], GR_NONE, 0);
        reads_as(mean[i], GR_MEAN, 0);
        reads_as(sum[i], GR_SUM, 0);
    }
    reads_as(NULL, GR_MEAN, 0);
}

Test(reductions, elementwise_mean_in_any_case_and_noted)
{
    static const char *const words[] = {"elementwise_mean", "Elementwise_Mean", "ELEMENTWISE_MEAN"};
    for (int i = 0; i < 3; i++) {
        reads_as(words[i], GR_MEAN, 1);
        cr_expect_str_eq(note, "reduction='elementwise_mean' is deprecated, please use "
                               "reduction='mean' instead.");
        note[0] = '\0';
    }
}

static void is_refused(const char *name, const char *shown)
{
    char message[256];
    gr_reduction reduction = GR_SUM;
    snprintf(message, sizeof message, "reduction_from_name: '%s' is no reduction" KNOWN, shown);
    cr_expect_eq(gr_reduction_from_name(ctx, name, &reduction), GR_ERROR_REDUCTION, "%s", name);
    cr_expect_eq(reduction, GR_SUM);
    cr_expect_eq(gr_error(ctx), GR_ERROR_REDUCTION);
    cr_expect_str_eq(gr_error_message(ctx), message);
    cr_expect_eq(errors, 1);
    cr_expect_str_eq(error, message);
    gr_error_clear(ctx);
    errors = 0;
}

Test(reductions, other_words_are_refused)
{
    static const char *const words[] = {
        /* clang-format off */
        "", " ", "means", "mea", "mean ", " mean", "su", "sums", "no", "n", "nones", "average",
        "batchmean", "elementwise", "0", "1", "elementwise_mean_", "elementwise mean",
        "m\xc3\xa8n",
        /* clang-format on */
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        is_refused(words[i], words[i]);
    cr_expect_eq(notes, 0);
}

Test(reductions, a_long_word_is_cut_in_the_message)
{
    char word[1000], shown[41];
    memset(word, 'x', sizeof word);
    word[999] = '\0';
    memset(shown, 'x', sizeof shown);
    shown[40] = '\0';
    is_refused(word, shown);
}

Test(reductions, nowhere_to_put_it)
{
    gr_reduction reduction = GR_SUM;
    cr_expect_eq(gr_reduction_from_name(NULL, "mean", &reduction), GR_ERROR_NULL);
    cr_expect_eq(reduction, GR_SUM);
    cr_expect_eq(gr_reduction_from_name(ctx, "mean", NULL), GR_ERROR_NULL);
    cr_expect_str_eq(gr_error_message(ctx), "reduction_from_name: reduction is NULL");
    cr_expect_eq(errors, 1);
    gr_error_clear(ctx);
}

Test(reductions, a_context_that_could_not_be_made)
{
    gr_context *broken = gr_context_new(&(gr_context_options){.isa = "none such"});
    gr_reduction reduction = GR_SUM;
    cr_expect_eq(gr_reduction_from_name(broken, "mean", &reduction), GR_ERROR_PROCESSOR);
    cr_expect_eq(gr_reduction_from_name(broken, "bogus", &reduction), GR_ERROR_PROCESSOR);
    cr_expect_eq(reduction, GR_SUM);
    cr_expect_eq(gr_context_free(broken), GR_ERROR_PROCESSOR);
}

/* ---- The truth table: size_average, reduce, reduction ---------------------------------------- */

static const gr_tristate STATES[] = {GR_UNSET, GR_YES, GR_NO};
static const char *const NAMES[] = {"none", "mean", "sum"};
static const gr_reduction REDUCTIONS[] = {GR_NONE, GR_MEAN, GR_SUM};

/* The indices are size_average and reduce. If both are unset, reduction decides. */
static const gr_reduction TABLE[3][3] = {
    {GR_NONE /* not read */, GR_MEAN, GR_NONE},
    {GR_MEAN, GR_MEAN, GR_NONE},
    {GR_SUM, GR_SUM, GR_NONE},
};
#define EACH_ROW(row) for (int row = 0; row < 27; row++)

static bool is_given(int row) { return row / 9 != 0 || row / 3 % 3 != 0; }
static gr_reduction wanted(int row)
{
    return is_given(row) ? TABLE[row / 9][row / 3 % 3] : REDUCTIONS[row % 3];
}

Test(reductions, zero_is_not_given) { cr_expect_eq(GR_UNSET, 0); }

Test(reductions, the_pair_alone)
{
    EACH_ROW(row) {
        gr_reduction reduction = REDUCTIONS[row % 3];
        cr_expect_eq(gr_legacy_reduction(STATES[row / 9], STATES[row / 3 % 3], &reduction),
                     is_given(row), "row %d", row);
        cr_expect_eq(reduction, wanted(row), "row %d", row);
    }
    cr_expect_eq(notes, 0);
}

typedef gr_tensor *pair_call(gr_tristate size_average, gr_tristate reduce, const char *reduction);

static gr_tensor *logits_function(gr_tristate size_average, gr_tristate reduce,
                                  const char *reduction)
{
    return gr_torch_binary_cross_entropy_with_logits(logits(GR_F64), labels(GR_F64), NULL,
                                                     size_average, reduce, reduction, NULL);
}
static gr_tensor *bce_function(gr_tristate size_average, gr_tristate reduce, const char *reduction)
{
    return gr_torch_binary_cross_entropy(chances(GR_F64), targets(GR_F64), NULL, size_average,
                                         reduce, reduction);
}
static gr_tensor *bce_object(gr_tristate size_average, gr_tristate reduce, const char *reduction)
{
    const gr_torch_bce_loss loss = {
        .size_average = size_average, .reduce = reduce, .reduction = reduction};
    return gr_torch_bce_loss_call(&loss, chances(GR_F64), targets(GR_F64));
}
static gr_tensor *logits_object(gr_tristate size_average, gr_tristate reduce, const char *reduction)
{
    const gr_torch_bce_with_logits_loss loss = {
        .size_average = size_average, .reduce = reduce, .reduction = reduction};
    return gr_torch_bce_with_logits_loss_call(&loss, logits(GR_F64), labels(GR_F64));
}
static const struct {
    pair_call *call;
    bool chance;
} calls[] = {
    {logits_function, false}, {bce_function, true}, {bce_object, true}, {logits_object, false}};
enum { CALLS = sizeof calls / sizeof *calls };

static void expect_note(gr_reduction reduction)
{
    char want[200];
    snprintf(want, sizeof want,
             "size_average and reduce args will be deprecated, please use reduction='%s' instead.",
             reduction == GR_NONE  ? "none"
             : reduction == GR_SUM ? "sum"
                                   : "mean");
    cr_expect_str_eq(note, want);
}

Test(reductions, the_truth_table)
{
    for (int k = 0; k < CALLS; k++)
        EACH_ROW(row) {
            notes = 0;
            note[0] = '\0';
            gr_tensor *loss = calls[k].call(STATES[row / 9], STATES[row / 3 % 3], NAMES[row % 3]);
            expect_loss(loss, calls[k].chance, (weights){0}, wanted(row), GR_F64);
            cr_expect_eq(notes, is_given(row), "call %d, row %d: %d notes", k, row, notes);
            if (is_given(row))
                expect_note(wanted(row));
        }
    cr_expect_eq(errors, 0);
}

Test(reductions, the_pair_hides_even_a_wrong_word)
{
    static const char *const words[] = {NULL, "", "bogus", "MEAN", "elementwise_mean"};
    for (int k = 0; k < CALLS; k++)
        for (int i = 0; i < 5; i++) {
            notes = 0;
            gr_tensor *loss = calls[k].call(GR_NO, GR_UNSET, words[i]);
            expect_loss(loss, calls[k].chance, (weights){0}, GR_SUM, GR_F64);
            cr_expect_eq(notes, 1);
            expect_note(GR_SUM);
        }
}

/* ---- Notes ----------------------------------------------------------------------------------- */

Test(reductions, a_note_without_a_handler_goes_nowhere)
{
    gr_context *heard = ctx;
    ctx = gr_context_new(NULL);
    for (int k = 0; k < CALLS; k++) {
        expect_loss(calls[k].call(GR_YES, GR_NO, NULL), calls[k].chance, (weights){0}, GR_NONE,
                    GR_F64);
        expect_loss(calls[k].call(GR_UNSET, GR_UNSET, "elementwise_mean"), calls[k].chance,
                    (weights){0}, GR_MEAN, GR_F64);
    }
    cr_expect_eq(notes, 0);
    end();
    ctx = heard;
}

Test(reductions, a_note_is_no_error)
{
    logits_function(GR_NO, GR_NO, NULL);
    cr_expect_eq(gr_error(ctx), GR_OK);
    cr_expect_str_eq(gr_error_message(ctx), "");
    cr_expect_eq(errors, 0);
}

Test(reductions, a_call_with_the_pair_still_fails_in_its_own_context)
{
    gr_tensor *loss = gr_torch_binary_cross_entropy_with_logits(NULL, labels(GR_F64), NULL, GR_NO,
                                                                GR_UNSET, NULL, NULL);
    REFUSED(loss, GR_ERROR_NULL,
            "torch.nn.functional.binary_cross_entropy_with_logits: input is NULL");
    cr_expect_eq(notes, 1);
}

/* Provokes each notice and error, with and without a handler, and checks the two streams. */
static void speak(void)
{
    gr_reduction reduction;
    for (int k = 0; k < CALLS; k++) {
        calls[k].call(GR_NO, GR_UNSET, "bogus");
        calls[k].call(GR_UNSET, GR_UNSET, "elementwise_mean");
        calls[k].call(GR_UNSET, GR_UNSET, "bogus");
        gr_error_clear(ctx);
    }
    cr_expect_eq(gr_reduction_from_name(ctx, "Elementwise_mean", &reduction), GR_OK);
    cr_expect_eq(gr_reduction_from_name(ctx, "", &reduction), GR_ERROR_REDUCTION);
    gr_error_clear(ctx);
}

Test(reductions, nothing_is_printed)
{
    FILE *caught = tmpfile();
    cr_assert(caught);
    fflush(NULL);
    const int streams[] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    dup2(fileno(caught), STDOUT_FILENO);
    dup2(fileno(caught), STDERR_FILENO);

    gr_context *heard = ctx, *deaf = gr_context_new(NULL);
    speak();
    ctx = deaf;
    speak();
    ctx = heard;
    const gr_status status = gr_context_free(deaf);

    fflush(NULL);
    dup2(streams[0], STDOUT_FILENO);
    dup2(streams[1], STDERR_FILENO);
    cr_expect_eq(status, GR_OK);
    cr_expect_eq(lseek(fileno(caught), 0, SEEK_END), 0, "something was printed");
    fclose(caught);
    cr_expect_eq(notes, 2 * CALLS + 1);
    cr_expect_eq(errors, CALLS + 1);
}
