/* batch.c - what a sample gives depends on nothing but the sample: not on how many others there
 * are, where among them it stands, nor who they are; and an option that changes nothing changes
 * nothing.
 *
 * For one form of call (an op, its options and reduction, a dtype, a recorded sweep or not) the
 * value and the gradients of a sample have the same bits whatever instruction set and threads
 * compute them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/forms.h"

TestSuite(batch, .init = begin, .fini = end, .timeout = 600);

/* Samples to choose from; elements at which threads are started; the most numbers in an operand. */
enum { MANY = 9001, FORKED = 70001, MOST_ELEMENTS = 100000 };

/* ---- What a form gives for some samples ------------------------------------------------------ */

/* The value (of GR_NONE) and the gradients, sample by sample. */
enum { VALUE, GRADIENTS, RESULTS = GRADIENTS + FORM_OPERANDS };
typedef struct outcome {
    int64_t size[RESULTS]; /* bytes a sample; 0: there is none */
    char *at[RESULTS];
} outcome;

typedef struct way {
    const form *form;
    gr_dtype dtype;
    gr_reduction reduction;
    bool record;
} way;

static void keep_bytes(outcome *o, int k, gr_tensor *x, int64_t n)
{
    const int64_t bytes = gr_numel(x) * gr_dtype_size(gr_dtype_of(x));
    o->size[k] = bytes / n;
    o->at[k] = malloc((size_t)bytes + 1);
    cr_assert_eq(gr_read(x, gr_dtype_of(x), gr_numel(x), o->at[k]), GR_OK);
}

static outcome run(gr_context *of, const way *w, const form_samples *s, int64_t n,
                   const int64_t *which)
{
    outcome o = {0};
    gr_tensor *in[FORM_OPERANDS], *variables[FORM_OPERANDS], *gradients[FORM_OPERANDS];
    cr_assert_eq(gr_scope_begin(of), GR_OK);
    const int count = gather_operands(of, w->form, w->dtype, s, n, which, in, variables);
    gr_tensor *y = w->form->call(in, w->reduction);
    gr_grad_args args = {.record = w->record};
    if (w->reduction == GR_NONE && !gr_failed(y)) {
        gr_tensor *seed = gather(of, gr_dtype_of(y), s->seed, (int)(gr_numel(y) / n), n, which);
        args.seed = gr_reshape(seed, gr_shape_of(y));
        keep_bytes(&o, VALUE, y, n);
    }
    cr_assert_eq(gr_grad_with(y, (gr_tensors){count, variables}, gradients, &args), GR_OK, "%s: %s",
                 w->form->name, gr_error_message(of));
    for (int i = 0; i < count; i++)
        keep_bytes(&o, GRADIENTS + i, gradients[i], n);
    cr_assert_eq(gr_scope_end(of), GR_OK, "%s: %s", w->form->name, gr_error_message(of));
    return o;
}

static void free_outcome(outcome *o)
{
    for (int k = 0; k < RESULTS; k++)
        free(o->at[k]);
}

static double number_at(gr_dtype dtype, const char *at)
{
    float narrow;
    double wide;
    uint16_t half;
    memcpy(&narrow, at, sizeof narrow);
    memcpy(&half, at, sizeof half);
    if (dtype != GR_F64)
        return (double)(dtype == GR_F32 ? narrow : gr_f16_to_f32(half));
    memcpy(&wide, at, sizeof wide);
    return wide;
}

/* The first number in which samples differ; -1: none. */
static int64_t first_other(gr_dtype dtype, const char *a, const char *b, int64_t bytes)
{
    const int64_t size = gr_dtype_size(dtype);
    if (memcmp(a, b, (size_t)bytes) == 0)
        return -1;
    for (int64_t i = 0; i < bytes; i += size)
        if (memcmp(a + i, b + i, (size_t)size) != 0)
            return i;
    return -1;
}

/* Sample which[i] of the known ones is sample i of the others, for those that are below `limit`. */
static void expect_same(const way *w, const char *label, const outcome *known, int64_t limit,
                        const outcome *got, int64_t n, const int64_t *which)
{
    static const char *const reductions[] = {"mean", "sum", "none"};
    for (int k = 0; k < RESULTS; k++) {
        const int64_t size = known->size[k];
        cr_assert_eq(size, got->size[k]);
        for (int64_t i = 0; size && i < n; i++) {
            if (which[i] >= limit)
                continue;
            const char *a = known->at[k] + which[i] * size, *b = got->at[k] + i * size;
            const int64_t at = first_other(w->dtype, a, b, size);
            if (at < 0)
                continue;
            cr_expect_fail("%s, %s, %s, %s%s: %s %d of sample %d is %a at %d of %d, not %a",
                           w->form->name, gr_dtype_name(w->dtype), reductions[w->reduction], label,
                           w->record ? ", recorded" : "", k ? "gradient" : "value",
                           k ? k - GRADIENTS : 0, (int)which[i], number_at(w->dtype, b + at),
                           (int)i, (int)n, number_at(w->dtype, a + at));
            break;
        }
    }
}

/* ---- Choices of samples ---------------------------------------------------------------------- */

/* Lengths where vectors, chunks and blocks begin and end, and two random ones. For several threads:
   lengths where threads start. A recorded sweep is a composition, and short lengths are enough for
   it. Returns 0 after the last length. */
static int64_t length_at(const gr_context *of, const way *w, int i)
{
    static const int64_t of_one[] = {1, 2, 7, 63, 64, 65, 1023, 1024, 1025, 4095, 4096, 4097, MANY};
    static const int64_t of_more[] = {4097, FORKED};
    const int64_t most = (w->record ? 1100 : MOST_ELEMENTS) / width_of(w->form);
    const int count = of->threads == 1 ? COUNT_OF(of_one) : COUNT_OF(of_more);
    if (i >= count + (of->threads == 1 ? 2 : 0))
        return 0;
    const int64_t n = i < count ? (of->threads == 1 ? of_one : of_more)[i]
                                : 1 + (int64_t)(draw_bits() % (i > count ? 200 : MANY));
    return n < most ? n : most > 0 ? most : 1;
}

static int64_t samples_of(const form *f) { return width_of(f) < WIDE ? MANY : 64; }

/* n samples of `many`, any of them. */
static int64_t *choose(int64_t n, int64_t many)
{
    int64_t *which = malloc((size_t)n * sizeof *which);
    for (int64_t i = 0; i < n; i++)
        which[i] = (int64_t)(draw_bits() % (uint64_t)many);
    return which;
}

static int64_t *in_order(int64_t n, int64_t many)
{
    int64_t *which = malloc((size_t)n * sizeof *which);
    for (int64_t i = 0; i < n; i++)
        which[i] = i % many;
    return which;
}

/* The same n samples in another order; some of them exchanged for others, if that is allowed. */
static int64_t *shuffle(const form *f, int64_t n, int64_t many)
{
    int64_t *which = in_order(n, many);
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t j = (int64_t)(draw_bits() % (uint64_t)(i + 1)), other = which[j];
        which[j] = which[i];
        which[i] = other;
    }
    for (int64_t i = 0; !(f->flags & COUNTS) && n < many && i < n; i += 1 + n / 64)
        which[i] = n + (int64_t)(draw_bits() % (uint64_t)(many - n));
    return which;
}

/* ---- Of elements and sums -------------------------------------------------------------------- */

typedef struct property {
    gr_dtype dtype;
    void (*check)(gr_context *of, const char *label, const way *w, const form_samples *s,
                  const outcome *known);
    bool means;
} property;

static void check_choices(gr_context *of, const char *label, const way *w, const form_samples *s,
                          const outcome *known)
{
    for (int64_t i = 0, n; (n = length_at(of, w, (int)i)) > 0; i++) {
        int64_t *which = choose(n, s->count);
        outcome got = run(of, w, s, n, which);
        expect_same(w, label, known, s->count, &got, n, which);
        free_outcome(&got);
        free(which);
    }
}

/* A mean's gradient has the number of samples in it: arrays of one length are set beside each
   other. */
static void check_orders(gr_context *of, const char *label, const way *w, const form_samples *s,
                         const outcome *unused)
{
    (void)unused;
    for (int64_t i = 0, n; (n = length_at(of, w, (int)i)) > 0; i++) {
        int64_t *order = in_order(n, s->count), *other = shuffle(w->form, n, s->count);
        const int64_t limit = n < s->count ? n : s->count;
        outcome known = run(ctx, w, s, n, order), got = run(of, w, s, n, other);
        expect_same(w, label, &known, limit, &got, n, other);
        free_outcome(&known);
        free_outcome(&got);
        free(order);
        free(other);
    }
}

/* One thread and four; recorded sweeps with one alone. */
static void check_context(gr_context *of, const char *label, void *data)
{
    const property *p = data;
    if (of->threads != 1 && of->threads != 4)
        return;
    EACH_FORM(f) {
        reseed((uint64_t)(f - forms) + 100);
        form_samples s = draw_samples(f, samples_of(f));
        for (int reduction = GR_MEAN; reduction <= GR_NONE; reduction++)
            for (int record = 0; record < (of->threads == 1 ? 2 : 1); record++) {
                const way w = {f, p->dtype, reduction, record};
                if ((reduction == GR_MEAN) != p->means || (!(f->flags & REDUCES) && reduction < 2))
                    continue;
                outcome known = p->means ? (outcome){0} : run(ctx, &w, &s, s.count, NULL);
                p->check(of, label, &w, &s, &known);
                free_outcome(&known);
            }
        free_samples(&s);
    }
}

static void expect_property(gr_dtype dtype, bool means)
{
    property p = {dtype, means ? check_orders : check_choices, means};
    on_each_context(check_context, &p);
}

Test(batch, f32_samples_depend_on_nothing_else) { expect_property(GR_F32, false); }
Test(batch, f64_samples_depend_on_nothing_else) { expect_property(GR_F64, false); }
Test(batch, f16_samples_depend_on_nothing_else) { expect_property(GR_F16, false); }
Test(batch, f32_samples_of_a_mean_depend_on_its_length_alone) { expect_property(GR_F32, true); }
Test(batch, f64_samples_of_a_mean_depend_on_its_length_alone) { expect_property(GR_F64, true); }
Test(batch, f16_samples_of_a_mean_depend_on_its_length_alone) { expect_property(GR_F16, true); }

/* ---- Options that change nothing ------------------------------------------------------------- */

/* SAME(name, plain call, the same with an option, operands): o is ones of x's shape and dtype, with
   a gradient in every second run; e is one 0-d 1, c a row of ones, one a class. */
#define SAMES                                                                                      \
    BCE_SAMES(bce, probability)                                                                    \
    BCE_SAMES(bce_with_logits, logit)                                                              \
    SAME(huber, gr_huber(x, y, R), gr_huber(x, y, R, .delta = 1), OF(any_real, 1),                 \
         OF(any_real, 1))                                                                          \
    SAME(smooth_l1, gr_smooth_l1(x, y, R), gr_smooth_l1(x, y, R, .beta = 1), OF(any_real, 1),      \
         OF(any_real, 1))                                                                          \
    SAME(poisson_nll, gr_poisson_nll(x, y, R, .rate_input = true),                                 \
         gr_poisson_nll(x, y, R, .rate_input = true, .eps = 1e-8), OF(rate, 1), OF(count, 1))      \
    SAME(gaussian_nll, gr_gaussian_nll(x, y, z, R), gr_gaussian_nll(x, y, z, R, .eps = 1e-6),      \
         OF(any_real, 1), OF(any_real, 1), OF(variance, 1))                                        \
    SAME(nll_weight, gr_nll(x, y, .reduction = r), gr_nll(x, y, c, R),                             \
         OF(log_probability, CLASSES), AS(INDICES, class_number, 1))                               \
    SAME(nll_ignore, gr_nll(x, y, .reduction = r),                                                 \
         gr_nll(x, y, .reduction = r, .ignore_index = -100), OF(log_probability, CLASSES),         \
         AS(INDICES, class_number, 1))                                                             \
    SAME(cross_entropy_weight, gr_cross_entropy(x, y, .reduction = r),                             \
         gr_cross_entropy(x, y, c, R), OF(logit, CLASSES), AS(INDICES, class_number, 1))           \
    SAME(cross_entropy_smooth, gr_cross_entropy(x, y, .reduction = r),                             \
         gr_cross_entropy(x, y, .reduction = r, .label_smoothing = 0), OF(logit, CLASSES),         \
         AS(INDICES, class_number, 1))                                                             \
    SAME(cross_entropy_of_probabilities, gr_cross_entropy(x, y, .reduction = r),                   \
         gr_cross_entropy(x, y, c, R), OF(logit, CLASSES), OF(probability, CLASSES))               \
    SAME(multilabel_weight, gr_multilabel_soft_margin(x, y, .reduction = r),                       \
         gr_multilabel_soft_margin(x, y, o, R), OF(logit, CLASSES), OF(target, CLASSES))           \
    SAME(multilabel_classes, gr_multilabel_soft_margin(x, y, .reduction = r),                      \
         gr_multilabel_soft_margin(x, y, c, R), OF(logit, CLASSES), OF(target, CLASSES))           \
    SAME(hinge_embedding, gr_hinge_embedding(x, y, R), gr_hinge_embedding(x, y, R, .margin = 1),   \
         OF(any_real, 1), OF(sign, 1))                                                             \
    SAME(triplet_margin, gr_triplet_margin(x, y, z, .reduction = r),                               \
         gr_triplet_margin(x, y, z, .reduction = r, .margin = 1, .p = 2, .eps = 1e-6),             \
         OF(any_real, DEPTH), OF(any_real, DEPTH), OF(any_real, DEPTH))

/* Each option beside nothing, and beside options that change something. */
#define BCE_SAMES(loss, draw)                                                                      \
    BCE_SAME(loss##_weight, loss, draw, .gamma = 0, .weight = o)                                   \
    BCE_SAME(loss##_weight_of_one, loss, draw, .gamma = 0, .weight = e)                            \
    BCE_SAME(loss##_pos_weight, loss, draw, .gamma = 0, .pos_weight = o)                           \
    BCE_SAME(loss##_mask, loss, draw, .gamma = 0, .mask = gr_cast(o, GR_BOOL))                     \
    BCE_SAME(loss##_kept, loss, draw, .gamma = 0, .denominator = GR_KEPT)                          \
    BCE_SAME(loss##_weights, loss, draw, .gamma = 0, .denominator = GR_WEIGHTS)                    \
    BCE_SAME(loss##_strict, loss, draw, .gamma = 0, .strict_target = true)                         \
    BCE_SAME(loss##_smooth, loss, draw, .gamma = 0, .label_smoothing = 0)                          \
    BCE_SAME(loss##_smooth_weight, loss, draw, .label_smoothing = 0.1, .weight = o)                \
    BCE_SAME(loss##_smooth_pos, loss, draw, .label_smoothing = 0.1, .pos_weight = o)               \
    BCE_SAME(loss##_smooth_mask, loss, draw, .label_smoothing = 0.1, .mask = o)                    \
    BCE_SAME(loss##_focal_weight, loss, draw, .gamma = 2, .weight = o)                             \
    BCE_SAME(loss##_focal_pos, loss, draw, .gamma = 0.5, .pos_weight = o)                          \
    BCE_SAME(loss##_alpha_mask, loss, draw, .alpha = 0.25, .mask = o)
#define BCE_SAME(name, loss, draw, base, option)                                                   \
    SAME(name, gr_##loss(x, y, R, base), gr_##loss(x, y, R, base, option), OF(draw, 1),            \
         OF(target, 1))

#define SAME(id, plain, other, ...)                                                                \
    static gr_tensor *id##_pair(gr_tensor *const *in, gr_reduction r, bool given)                  \
    {                                                                                              \
        gr_tensor *x = in[0], *y = in[1], *z = in[2], *o = in[3], *c = in[4];                      \
        gr_tensor *e = gr_scalar(gr_context_of(x), 1);                                             \
        (void)z, (void)o, (void)c, (void)e;                                                        \
        return given ? other : plain;                                                              \
    }
SAMES
#undef SAME

typedef struct pair {
    form form;
    gr_tensor *(*call)(gr_tensor *const *in, gr_reduction r, bool given);
} pair;

static const pair pairs[] = {
#define SAME(id, plain, other, ...) {{.name = #id, .operands = {__VA_ARGS__}}, id##_pair},
    SAMES
#undef SAME
};

/* Value and gradients with the option and without it. */
static void compare_pair(gr_context *of, const char *label, const pair *p, const way *w,
                         const form_samples *s, int64_t n)
{
    gr_tensor *in[FORM_OPERANDS], *variables[FORM_OPERANDS], *y[2], *gradients[2][FORM_OPERANDS];
    cr_assert_eq(gr_scope_begin(of), GR_OK);
    int64_t *which = choose(n, s->count);
    const int count = gather_operands(of, &p->form, w->dtype, s, n, which, in, variables);
    in[3] = gr_ones_like(in[0]);
    in[3] = n % 2 ? gr_variable(in[3]) : in[3];
    in[4] = gr_ones(of, w->dtype, gr_shape(CLASSES));
    for (int given = 0; given < 2; given++) {
        y[given] = p->call(in, w->reduction, given);
        cr_assert_eq(gr_grad_with(y[given], (gr_tensors){count, variables}, gradients[given],
                                  &(gr_grad_args){.record = w->record}),
                     GR_OK, "%s: %s", p->form.name, gr_error_message(of));
    }
    cr_expect(same_bits(y[0], y[1]), "%s, %s, %s: the value, reduction %d, of %d", p->form.name,
              gr_dtype_name(w->dtype), label, w->reduction, (int)n);
    for (int i = 0; i < count; i++)
        cr_expect(same_bits(gradients[0][i], gradients[1][i]),
                  "%s, %s, %s%s: gradient %d, reduction %d, of %d", p->form.name,
                  gr_dtype_name(w->dtype), label, w->record ? ", recorded" : "", i, w->reduction,
                  (int)n);
    free(which);
    cr_assert_eq(gr_scope_end(of), GR_OK);
}

static void check_pairs(gr_context *of, const char *label, void *data)
{
    if (of->threads != 1 && of->threads != 4)
        return;
    for (const pair *p = pairs; p < pairs + COUNT_OF(pairs); p++)
        for (int reduction = GR_MEAN; reduction <= GR_NONE; reduction++)
            for (int record = 0; record < (of->threads == 1 ? 2 : 1); record++) {
                const way w = {&p->form, *(gr_dtype *)data, reduction, record};
                no_specials = reduction != GR_NONE && !record;
                form_samples s = draw_samples(&p->form, MANY);
                for (int64_t i = 0, n; (n = length_at(of, &w, (int)i)) > 0; i++)
                    compare_pair(of, label, p, &w, &s, n);
                free_samples(&s);
            }
}

static void expect_pairs(gr_dtype dtype) { on_each_context(check_pairs, &dtype); }

Test(batch, f32_options_that_change_nothing) { expect_pairs(GR_F32); }
Test(batch, f64_options_that_change_nothing) { expect_pairs(GR_F64); }
Test(batch, f16_options_that_change_nothing) { expect_pairs(GR_F16); }

/* ---- Every loss has a form ------------------------------------------------------------------- */

/* The header's losses, each "GR_API gr_tensor *gr_NAME_with(". */
Test(batch, every_loss_of_the_header_has_a_form)
{
    char line[256], name[64];
    FILE *header = fopen("include/gradus/losses.h", "r");
    cr_assert_not_null(header);
    int losses = 0;
    while (fgets(line, sizeof line, header)) {
        if (sscanf(line, "GR_API gr_tensor *gr_%63[a-z0-9_](", name) != 1)
            continue;
        name[strlen(name) - strlen("_with")] = 0;
        bool found = false;
        EACH_FORM(f)
            found = found || strcmp(f->name, name) == 0;
        cr_expect(found, "gr_%s_with needs a row in FORMS", name);
        losses++;
    }
    fclose(header);
    cr_expect_eq(losses, 16);
}
