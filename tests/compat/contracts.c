/* contracts.c - every parameter of every compatible function: its position, the values that it
 * takes, the messages for all other values, and its gradient. One entry of a table describes one
 * API.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

TestSuite(contracts, .init = begin, .fini = end);

/* ---- The APIs, each with its own order of parameters ----------------------------------------- */

typedef gr_tensor *loss_call(gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *p,
                             const char *reduction);

static gr_tensor *torch_logits(gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *p,
                               const char *r)
{
    return gr_torch_binary_cross_entropy_with_logits(x, y, w, GR_UNSET, GR_UNSET, r, p);
}
static gr_tensor *torch_bce(gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *p, const char *r)
{
    (void)p;
    return gr_torch_binary_cross_entropy(x, y, w, GR_UNSET, GR_UNSET, r);
}
static gr_tensor *torch_bce_object(gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *p,
                                   const char *r)
{
    (void)p;
    const gr_torch_bce_loss loss = {w, GR_UNSET, GR_UNSET, r};
    return gr_torch_bce_loss_call(&loss, x, y);
}
static gr_tensor *torch_logits_object(gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *p,
                                      const char *r)
{
    const gr_torch_bce_with_logits_loss loss = {w, GR_UNSET, GR_UNSET, r, p};
    return gr_torch_bce_with_logits_loss_call(&loss, x, y);
}
static gr_tensor *ops_logits(gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *p, const char *r)
{
    return gr_mindspore_binary_cross_entropy_with_logits(x, y, w, p, r);
}
static gr_tensor *ops_object(gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *p, const char *r)
{
    const gr_mindspore_bce_with_logits_loss loss = {r};
    return gr_mindspore_bce_with_logits_loss_call(&loss, x, y, w, p);
}
static gr_tensor *nn_object(gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *p, const char *r)
{
    const gr_mindspore_nn_bce_with_logits_loss loss = {r, w, p};
    return gr_mindspore_nn_bce_with_logits_loss_call(&loss, x, y);
}
static gr_tensor *mint_bce(gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *p, const char *r)
{
    (void)p;
    return gr_mint_binary_cross_entropy(x, y, w, r);
}
static gr_tensor *mint_logits(gr_tensor *x, gr_tensor *y, gr_tensor *w, gr_tensor *p, const char *r)
{
    return gr_mint_binary_cross_entropy_with_logits(x, y, w, r, p);
}

/* ---- What each takes ------------------------------------------------------------------------- */

typedef struct dtypes {
    const char *text; /* the list in an error message */
    bool of[GR_BOOL + 1];
} dtypes;

#define FOUR_FLOATS [GR_F32] = true, [GR_F64] = true, [GR_F16] = true, [GR_BF16] = true
#define INTEGERS    [GR_I32] = true, [GR_I64] = true, [GR_U8] = true
static const dtypes floats = {"f32, f64, f16 or bf16", {FOUR_FLOATS}},
                    numbers = {"f32, f64, f16, bf16, i32, i64 or u8", {FOUR_FLOATS, INTEGERS}},
                    any = {"", {FOUR_FLOATS, INTEGERS, [GR_BOOL] = true}},
                    two = {"f32 or f16", {[GR_F32] = true, [GR_F16] = true}},
                    three = {"f32, f16 or bf16",
                             {[GR_F32] = true, [GR_F16] = true, [GR_BF16] = true}};

enum { INPUT, TARGET, WEIGHT, POS_WEIGHT, ARGUMENTS };

typedef struct api {
    const char *name;
    loss_call *call;
    const char *names[ARGUMENTS]; /* NULL: the API does not have it */
    const dtypes *takes[ARGUMENTS];
    bool chance; /* the input is a probability */
    int same_dtype, same_shape, required;
    bool any_case, strict_target;
} api;

#define TORCH    "torch.nn."
#define MIND     "mindspore."
#define OF_PARTS "input", "target", "weight", "pos_weight"
/* clang-format off */
static const api apis[] = {
    {TORCH "functional.binary_cross_entropy_with_logits", torch_logits, {OF_PARTS},
     {&floats, &floats, &any, &numbers}, .same_shape = 2, .required = 2},
    {TORCH "functional.binary_cross_entropy", torch_bce, {"input", "target", "weight"},
     {&floats, &floats, &any}, true, 2, 2, 2, .strict_target = true},
    {TORCH "BCELoss", torch_bce_object, {"input", "target", "weight"},
     {&floats, &floats, &any}, true, 2, 2, 2, .strict_target = true},
    {TORCH "BCEWithLogitsLoss", torch_logits_object, {OF_PARTS},
     {&floats, &floats, &any, &numbers}, .same_shape = 2, .required = 2},
    {MIND "ops.binary_cross_entropy_with_logits", ops_logits,
     {"logits", "label", "weight", "pos_weight"}, {&two, &two, &two, &two},
     .same_shape = 2, .required = 2, .any_case = true},
    {MIND "ops.BCEWithLogitsLoss", ops_object, {"logits", "label", "weight", "pos_weight"},
     {&two, &two, &two, &two}, .same_shape = 2, .required = 4, .any_case = true},
    {MIND "nn.BCEWithLogitsLoss", nn_object, {"logits", "labels", "weight", "pos_weight"},
     {&two, &two, &two, &two}, .same_dtype = 2, .same_shape = 2, .required = 2, .any_case = true},
    {MIND "mint.nn.functional.binary_cross_entropy", mint_bce, {"input", "target", "weight"},
     {&two, &two, &two}, true, 3, 3, 2, .any_case = true},
    {MIND "mint.nn.functional.binary_cross_entropy_with_logits", mint_logits, {OF_PARTS},
     {&three, &three, &three, &three}, .same_shape = 2, .required = 2, .any_case = true},
};
/* clang-format on */
enum { APIS = sizeof apis / sizeof *apis };
#define EACH_API(a)         for (const api *a = apis; a < apis + APIS; a++)
#define EACH_ARGUMENT(a, i) for (int i = INPUT; i < ARGUMENTS && a->names[i]; i++)

/* ---- Arguments ------------------------------------------------------------------------------- */

/* Returns BY_COLUMN as a weight. It is broadcast, unless the API requires the input's shape. */
static gr_tensor *weight(const api *a, gr_dtype dtype)
{
    return a->same_shape > WEIGHT ? MAKE(dtype, gr_shape(2, 3), 2, 4, 3, 2, 4, 3) : columns(dtype);
}

typedef struct arguments {
    gr_tensor *at[ARGUMENTS];
} arguments;

/* Returns all arguments of the API: weight with one value for each column, pos_weight with one
   value for each sample. */
static arguments given(const api *a, gr_dtype dtype)
{
    return (arguments){{a->chance ? chances(dtype) : logits(dtype),
                        a->chance ? targets(dtype) : labels(dtype), weight(a, dtype),
                        a->names[POS_WEIGHT] ? rows(dtype) : NULL}};
}
static weights all(const api *a)
{
    return (weights){.by_column = true, .pos_row = a->names[POS_WEIGHT] != NULL};
}

static gr_tensor *call(const api *a, arguments in, const char *reduction)
{
    return a->call(in.at[INPUT], in.at[TARGET], in.at[WEIGHT], in.at[POS_WEIGHT], reduction);
}

#define MESSAGE(...) message_of((char[400]){""}, __VA_ARGS__)
static const char *message_of(char *text, const api *a, const char *format, const char *one,
                              const char *other)
{
    char rest[300];
    snprintf(rest, sizeof rest, format, one, other);
    snprintf(text, 400, "%s: %s", a->name, rest);
    return text;
}

/* ---- Values: each parameter in its place ----------------------------------------------------- */

Test(contracts, each_parameter_does_its_own_work)
{
    EACH_API(a) {
        const arguments in = given(a, GR_F32);
        expect_loss(call(a, in, "mean"), a->chance, all(a), GR_MEAN, GR_F32);
        expect_loss(call(a, in, "sum"), a->chance, all(a), GR_SUM, GR_F32);
        expect_loss(call(a, in, "none"), a->chance, all(a), GR_NONE, GR_F32);
    }
}

Test(contracts, weight_and_pos_weight_do_not_stand_for_each_other)
{
    EACH_API(a) {
        arguments in = given(a, GR_F32);
        if (!a->names[POS_WEIGHT])
            continue;
        in.at[WEIGHT] = rows(GR_F32);
        in.at[POS_WEIGHT] = columns(GR_F32);
        expect_loss(call(a, in, "none"), false, (weights){.by_row = true, .pos_column = true},
                    GR_NONE, GR_F32);
    }
}

Test(contracts, defaults_are_the_mean_without_weights)
{
    EACH_API(a) {
        arguments in = given(a, GR_F32);
        if (a->required > WEIGHT)
            in.at[WEIGHT] = in.at[POS_WEIGHT] = gr_ones(ctx, GR_F32, gr_shape(3));
        else
            in.at[WEIGHT] = in.at[POS_WEIGHT] = NULL;
        expect_loss(call(a, in, NULL), a->chance, (weights){0}, GR_MEAN, GR_F32);
    }
    const gr_torch_bce_loss torch = {0};
    expect_loss(gr_torch_bce_loss_call(&torch, chances(GR_F64), targets(GR_F64)), true,
                (weights){0}, GR_MEAN, GR_F64);
    const gr_torch_bce_with_logits_loss torch_with_logits = {0};
    expect_loss(
        gr_torch_bce_with_logits_loss_call(&torch_with_logits, logits(GR_F64), labels(GR_F64)),
        false, (weights){0}, GR_MEAN, GR_F64);
    const gr_mindspore_nn_bce_with_logits_loss nn = {0};
    expect_loss(gr_mindspore_nn_bce_with_logits_loss_call(&nn, logits(GR_F32), labels(GR_F32)),
                false, (weights){0}, GR_MEAN, GR_F32);
    cr_expect_eq(notes, 0);
}

Test(contracts, what_must_be_given)
{
    EACH_API(a)
        EACH_ARGUMENT(a, i) {
            arguments in = given(a, GR_F32);
            in.at[i] = NULL;
            gr_tensor *loss = call(a, in, "mean");
            if (i < a->required)
                REFUSED(loss, GR_ERROR_NULL, MESSAGE(a, "%s is NULL%s", a->names[i], ""));
            else
                expect_loss(loss, a->chance,
                            (weights){.by_column = i != WEIGHT,
                                      .pos_row = a->names[POS_WEIGHT] && i != POS_WEIGHT},
                            GR_MEAN, GR_F32);
        }
}

Test(contracts, nothing_given_at_all)
{
    EACH_API(a) {
        gr_tensor *loss = a->call(NULL, NULL, NULL, NULL, "mean");
        cr_expect(gr_failed(loss));
        cr_expect_eq(gr_error(gr_context_of(loss)), GR_ERROR_NULL, "%s", a->name);
    }
}

/* ---- Dtypes ---------------------------------------------------------------------------------- */

/* Returns the input in this dtype, with the other arguments that must have the same dtype. */
static arguments input_of(const api *a, gr_dtype dtype)
{
    arguments in = given(a, GR_F32);
    for (int i = INPUT; i < (a->same_dtype ? a->same_dtype : 1); i++)
        in.at[i] = gr_cast(in.at[i], dtype);
    return in;
}

static void try_input(const api *a, gr_dtype dtype)
{
    const arguments in = input_of(a, dtype);
    gr_tensor *loss = call(a, in, "mean");
    if (a->takes[INPUT]->of[dtype]) {
        cr_expect_eq(gr_dtype_of(loss), dtype);
        expect_loss(loss, a->chance, all(a), GR_MEAN, dtype == GR_F64 ? GR_F32 : dtype);
        return;
    }
    char text[100];
    snprintf(text, sizeof text, "%s; it must be %s", gr_dtype_name(dtype), a->takes[INPUT]->text);
    REFUSED(loss, GR_ERROR_DTYPE, MESSAGE(a, "%s is %s", a->names[INPUT], text));
}

/* A weight of bools must be a weight of ones. */
static void try_other(const api *a, int i, gr_dtype dtype)
{
    arguments in = given(a, GR_F32);
    in.at[i] = gr_cast(in.at[i], dtype);
    gr_tensor *loss = call(a, in, "mean");
    char text[100];
    if (!a->takes[i]->of[dtype]) {
        snprintf(text, sizeof text, "%s; it must be %s", gr_dtype_name(dtype), a->takes[i]->text);
        REFUSED(loss, GR_ERROR_DTYPE, MESSAGE(a, "%s is %s", a->names[i], text));
    } else if (i < a->same_dtype && dtype != GR_F32) {
        snprintf(text, sizeof text, "%s %s; they must be the same", a->names[i],
                 gr_dtype_name(dtype));
        REFUSED(loss, GR_ERROR_DTYPE, MESSAGE(a, "%s is f32, %s", a->names[INPUT], text));
    } else {
        const bool narrow = dtype == GR_F16 || dtype == GR_BF16;
        weights w = all(a);
        w.by_column = w.by_column && dtype != GR_BOOL;
        cr_expect_eq(gr_dtype_of(loss), GR_F32);
        expect_loss(loss, a->chance, w, GR_MEAN, narrow ? dtype : GR_F32);
    }
}

Test(contracts, every_dtype_of_every_argument)
{
    EACH_API(a)
        EACH_ARGUMENT(a, i)
            for (int dtype = GR_F32; dtype <= (int)GR_BOOL; dtype++) {
                if (i == INPUT)
                    try_input(a, (gr_dtype)dtype);
                else
                    try_other(a, i, (gr_dtype)dtype);
            }
}

Test(contracts, a_scalar_takes_the_inputs_dtype)
{
    EACH_API(a) {
        arguments in = given(a, GR_F32), same = in;
        if (a->same_shape > WEIGHT)
            continue;
        in.at[WEIGHT] = gr_scalar(ctx, 3);
        same.at[WEIGHT] = gr_full(ctx, GR_F32, gr_shape(), 3);
        gr_tensor *loss = call(a, in, "mean");
        cr_assert(!gr_failed(loss), "%s", gr_error_message(ctx));
        cr_expect_eq(gr_dtype_of(loss), GR_F32);
        cr_expect_eq(gr_item(loss), gr_item(call(a, same, "mean")));
    }
}

/* As an input, a gr_scalar is an f64, as it is when it is alone. */
Test(contracts, a_scalar_as_input_is_a_double)
{
    EACH_API(a) {
        gr_tensor *x = gr_scalar(ctx, .5), *y = gr_full(ctx, GR_F64, gr_shape(), 1);
        gr_tensor *one = a->required > WEIGHT ? gr_scalar(ctx, 1) : NULL;
        gr_tensor *loss = a->call(x, y, one, one, NULL);
        if (a->takes[INPUT] != &floats) {
            char text[100];
            snprintf(text, sizeof text, "f64; it must be %s", a->takes[INPUT]->text);
            REFUSED(loss, GR_ERROR_DTYPE, MESSAGE(a, "%s is %s", a->names[INPUT], text));
            continue;
        }
        cr_expect_eq(gr_dtype_of(loss), GR_F64);
        const long double want = a->chance ? of_chance(.5L, 1, 1) : of_logit(.5L, 1, 1);
        cr_expect_leq(fabsl(gr_item(loss) - want), 1e-15);
    }
}

/* ---- Shapes ---------------------------------------------------------------------------------- */

typedef struct shape_row {
    gr_dims shape;
    const char *text;
    bool fits; /* broadcasts to [2,3] */
} shape_row;

/* clang-format off */
static const shape_row shapes[] = {
    {{0, {0}}, "[]", true},           {{1, {1}}, "[1]", true},
    {{1, {3}}, "[3]", true},          {{2, {1, 3}}, "[1,3]", true},
    {{2, {2, 1}}, "[2,1]", true},     {{2, {2, 3}}, "[2,3]", true},
    {{2, {1, 1}}, "[1,1]", true},     {{1, {2}}, "[2]", false},
    {{2, {3, 1}}, "[3,1]", false},    {{2, {3, 2}}, "[3,2]", false},
    {{1, {6}}, "[6]", false},         {{3, {1, 2, 3}}, "[1,2,3]", false},
    {{3, {4, 2, 3}}, "[4,2,3]", false}, {{4, {1, 1, 2, 3}}, "[1,1,2,3]", false},
    {{1, {0}}, "[0]", false},         {{3, {1, 1, 1}}, "[1,1,1]", false},
};
/* clang-format on */
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void try_shape(const api *a, int i, const shape_row *row)
{
    arguments in = given(a, GR_F32);
    in.at[i] = gr_ones(ctx, GR_F32, row->shape);
    gr_tensor *loss = call(a, in, "none");
    char text[100];
    const bool same = strcmp(row->text, "[2,3]") == 0;
    if (i < a->same_shape ? same : row->fits) {
        cr_assert(!gr_failed(loss), "%s", gr_error_message(ctx));
        const gr_dims shape = gr_shape_of(loss);
        cr_expect(shape.count == 2 && shape.at[0] == 2 && shape.at[1] == 3);
    } else if (i < a->same_shape) {
        snprintf(text, sizeof text, "%s must be that of %s, [2,3]", row->text, a->names[INPUT]);
        REFUSED(loss, GR_ERROR_SHAPE, MESSAGE(a, "%s shape %s", a->names[i], text));
    } else {
        snprintf(text, sizeof text, "%s does not broadcast to that of %s, [2,3]", row->text,
                 a->names[INPUT]);
        REFUSED(loss, GR_ERROR_BROADCAST, MESSAGE(a, "%s shape %s", a->names[i], text));
    }
}

Test(contracts, every_shape_of_every_argument)
{
    EACH_API(a)
        EACH_ARGUMENT(a, i)
            for (int k = 0; i > INPUT && k < SHAPES; k++)
                try_shape(a, i, &shapes[k]);
}

Test(contracts, a_weight_of_one_does_not_enlarge_a_scalar_input)
{
    EACH_API(a) {
        gr_tensor *x = gr_full(ctx, GR_F32, gr_shape(), .5), *y = gr_ones_like(x);
        gr_tensor *one = gr_ones(ctx, GR_F32, gr_shape(1)), *alone = gr_ones_like(x);
        gr_tensor *loss = a->call(x, y, one, alone, "none");
        char text[100];
        const bool exact = a->same_shape > WEIGHT;
        snprintf(text, sizeof text,
                 exact ? "[1] must be that of %s, []" : "[1] does not broadcast to that of %s, []",
                 a->names[INPUT]);
        REFUSED(loss, exact ? GR_ERROR_SHAPE : GR_ERROR_BROADCAST,
                MESSAGE(a, "%s shape %s", "weight", text));
        cr_expect_eq(gr_ndim(a->call(x, y, alone, alone, "none")), 0);
    }
}

Test(contracts, the_input_has_any_shape)
{
    EACH_API(a) {
        const gr_dims list[] = {gr_shape(),           gr_shape(1), gr_shape(5),
                                gr_shape(2, 3, 4, 5), gr_shape(0), gr_shape(0, 3)};
        for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
            gr_tensor *x = gr_full(ctx, GR_F32, list[k], .5), *y = gr_ones_like(x);
            gr_tensor *loss = a->call(x, y, gr_ones_like(x), gr_ones_like(x), "none");
            cr_expect_eq(gr_ndim(loss), list[k].count);
            cr_expect_eq(gr_numel(loss), gr_numel(x));
            cr_expect_eq(gr_ndim(a->call(x, y, gr_ones_like(x), gr_ones_like(x), NULL)), 0);
        }
    }
}

/* ---- Reductions ------------------------------------------------------------------------------ */

typedef struct word {
    const char *text;
    gr_reduction means;
} word;

Test(contracts, reductions_spelt_as_each_system_spells_them)
{
    static const word exact[] = {{"none", GR_NONE}, {"mean", GR_MEAN}, {"sum", GR_SUM}},
                      other[] = {{"None", GR_NONE}, {"NONE", GR_NONE}, {"MEAN", GR_MEAN},
                                 {"mEaN", GR_MEAN}, {"Sum", GR_SUM},   {"SUM", GR_SUM}};
    EACH_API(a) {
        const arguments in = given(a, GR_F32);
        for (size_t i = 0; i < 3; i++)
            expect_loss(call(a, in, exact[i].text), a->chance, all(a), exact[i].means, GR_F32);
        for (size_t i = 0; i < 6; i++) {
            gr_tensor *loss = call(a, in, other[i].text);
            if (a->any_case)
                expect_loss(loss, a->chance, all(a), other[i].means, GR_F32);
            else
                REFUSED(loss, GR_ERROR_REDUCTION,
                        MESSAGE(a,
                                "'%s' is no reduction; the known ones are 'none', 'mean' and "
                                "'sum'%s",
                                other[i].text, ""));
        }
        cr_expect_eq(notes, 0);
    }
}

Test(contracts, words_that_are_no_reduction)
{
    static const char *const words[] = {"",      " ",         "average",     "means",  "mea",
                                        "no",    "su",        "sums",        "0",      "mean ",
                                        " mean", "batchmean", "elementwise", "GR_MEAN"};
    EACH_API(a)
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            REFUSED(call(a, given(a, GR_F32), words[i]), GR_ERROR_REDUCTION,
                    MESSAGE(a,
                            "'%s' is no reduction; the known ones are 'none', 'mean' and 'sum'%s",
                            words[i], ""));
    cr_expect_eq(notes, 0);
}

Test(contracts, elementwise_mean_is_the_mean_with_one_note)
{
    EACH_API(a) {
        notes = 0;
        expect_loss(call(a, given(a, GR_F32), "elementwise_mean"), a->chance, all(a), GR_MEAN,
                    GR_F32);
        cr_expect_eq(notes, 1);
        cr_expect_str_eq(note, "reduction='elementwise_mean' is deprecated, please use "
                               "reduction='mean' instead.");
        gr_tensor *loss = call(a, given(a, GR_F32), "Elementwise_Mean");
        if (a->any_case)
            cr_expect_eq(notes, 2);
        else
            REFUSED(loss, GR_ERROR_REDUCTION,
                    MESSAGE(a,
                            "'%s' is no reduction; the known ones are 'none', 'mean' and 'sum'%s",
                            "Elementwise_Mean", ""));
    }
    cr_expect_eq(errors, 0);
}

/* ---- Values outside [0,1] -------------------------------------------------------------------- */

static gr_tensor *with_one(gr_tensor *x, double value)
{
    const float number = (float)value;
    gr_tensor *other = gr_zeros_like(x);
    float row[6] = {0.5F, 0.5F, 0.5F, 0.5F, number, 0.5F};
    cr_assert_eq(gr_write(other, GR_F32, 6, row), GR_OK);
    return other;
}

/* Returns the message for a wrong value at element [1,1]. */
static const char *outside_text(char *text, const char *what, double value)
{
    snprintf(text, 120, "bce: %s at [1,1] of shape [2,3] is %g, outside [0,1]", what,
             (double)(float)value);
    return text;
}

Test(contracts, probabilities_lie_between_0_and_1)
{
    static const double outside[] = {-0.1, 1.1, 1.00000012, INFINITY, -INFINITY, NAN};
    char text[120];
    EACH_API(a)
        for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
            arguments in = given(a, GR_F32);
            in.at[INPUT] = with_one(in.at[INPUT], outside[i]);
            gr_tensor *loss = call(a, in, "none");
            if (a->chance)
                REFUSED(loss, GR_ERROR_DOMAIN, outside_text(text, "input", outside[i]));
            else
                cr_expect(!gr_failed(loss));
        }
}

Test(contracts, targets_are_checked_where_the_system_does)
{
    static const double outside[] = {-0.5, 1.5, 2};
    char text[120];
    EACH_API(a)
        for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
            arguments in = given(a, GR_F32);
            in.at[TARGET] = with_one(in.at[TARGET], outside[i]);
            gr_tensor *loss = call(a, in, "none");
            if (a->strict_target)
                REFUSED(loss, GR_ERROR_DOMAIN, outside_text(text, "target", outside[i]));
            else
                cr_expect(!gr_failed(loss));
        }
}

/* ---- Gradients ------------------------------------------------------------------------------- */

/* Returns d element / d argument at element i. weight has one value for each column, and pos_weight
   one for each sample. */
static long double slope(const api *a, int argument, int i)
{
    const long double w = BY_COLUMN[i % 3],
                      p = a->names[POS_WEIGHT] ? (long double)BY_ROW[i / 3] : 1;
    const long double x = a->chance ? CHANCES[i] : LOGITS[i],
                      y = a->chance ? TARGETS[i] : LABELS[i];
    const long double positive = a->chance ? -logl(x) : of_logit(x, 1, 1);
    const long double negative = a->chance ? -log1pl(-x) : of_logit(x, 0, 1);
    const long double s = 1 / (1 + expl(-x));
    if (argument == INPUT)
        return a->chance ? w * (x - y) / (x * (1 - x)) : w * ((1 - y) * s - p * y * (1 - s));
    if (argument == TARGET)
        return w * (p * positive - negative);
    return argument == WEIGHT ? p * y * positive + (1 - y) * negative : w * y * positive;
}

/* Checks a gradient. If the tensor broadcasts to [2,3], its gradient is the sum of the slopes at
   its places. */
static void expect_gradient(const api *a, int argument, gr_tensor *gradient)
{
    const int64_t height = gr_ndim(gradient) == 2 ? gr_size(gradient, 0) : 1,
                  width = gr_size(gradient, -1);
    double got[6];
    cr_assert_eq(gr_read(gradient, GR_F64, height * width, got), GR_OK, "%s",
                 gr_error_message(ctx));
    for (int64_t place = 0; place < height * width; place++) {
        long double want = 0;
        for (int i = 0; i < 6; i++)
            if ((i / 3) % height * width + (i % 3) % width == place)
                want += slope(a, argument, i);
        cr_expect_leq(fabsl(got[place] - want), 4e-6 * (1 + fabsl(want)),
                      "%s, %s[%d]: %.8g, not %.8Lg", a->name, a->names[argument], (int)place,
                      got[place], want);
    }
}

Test(contracts, every_argument_gets_its_gradient)
{
    EACH_API(a) {
        arguments in = given(a, GR_F32);
        EACH_ARGUMENT(a, i)
            in.at[i] = gr_parameter(in.at[i]);
        cr_assert_eq(gr_backward(call(a, in, "sum")), GR_OK, "%s", gr_error_message(ctx));
        EACH_ARGUMENT(a, i)
            expect_gradient(a, i, gr_gradient(in.at[i]));
    }
}

/* A gradient goes to its own argument, of another dtype than the input. Half parameters add it up
   in f32. */
Test(contracts, gradients_pass_through_conversions)
{
    EACH_API(a) {
        arguments in = given(a, GR_F32);
        if (a->same_dtype > WEIGHT)
            continue;
        in.at[WEIGHT] = gr_parameter(gr_cast(in.at[WEIGHT], GR_F16));
        gr_tensor *loss = call(a, in, "sum");
        cr_assert_eq(gr_backward(loss), GR_OK, "%s", gr_error_message(ctx));
        gr_tensor *gradient = gr_gradient(in.at[WEIGHT]);
        cr_expect_eq(gr_dtype_of(gradient), GR_F32);
        const long double want = slope(a, WEIGHT, 0) + slope(a, WEIGHT, 3);
        cr_expect_leq(fabsl(gr_get(gradient, gr_index(0)) - want), 2e-3 * fabsl(want));
    }
}

/* ---- Contexts and objects -------------------------------------------------------------------- */

Test(contracts, operands_of_two_contexts_are_refused)
{
    gr_context *other = gr_context_new(NULL);
    EACH_API(a)
        EACH_ARGUMENT(a, i) {
            arguments in = given(a, GR_F32);
            if (i == INPUT)
                continue;
            in.at[i] = gr_ones(other, GR_F32, gr_shape(2, 3));
            char text[80];
            snprintf(text, sizeof text, "operands 0 and %d belong to two contexts", i);
            REFUSED(call(a, in, "mean"), GR_ERROR_CONTEXT, MESSAGE(a, "%s%s", text, ""));
            cr_expect_eq(gr_error(other), GR_ERROR_CONTEXT);
            gr_error_clear(other);
        }
    cr_expect_eq(gr_context_free(other), GR_OK);
}

Test(contracts, a_failed_operand_keeps_its_own_error)
{
    EACH_API(a)
        EACH_ARGUMENT(a, i) {
            arguments in = given(a, GR_F32);
            in.at[i] = gr_add(gr_ones(ctx, GR_F32, gr_shape(2)), gr_ones(ctx, GR_F32, gr_shape(3)));
            const int heard = errors;
            cr_expect(gr_failed(call(a, in, "bogus")));
            cr_expect_eq(gr_error(ctx), GR_ERROR_BROADCAST);
            cr_expect_eq(errors, heard);
            gr_error_clear(ctx);
            errors = 0;
        }
}

Test(contracts, operands_of_a_context_that_could_not_be_made)
{
    gr_context *broken = gr_context_new(&(gr_context_options){.isa = "none such"});
    EACH_API(a) {
        gr_tensor *x = gr_ones(broken, GR_F32, gr_shape(2));
        cr_expect(gr_failed(a->call(x, x, x, x, "mean")));
        cr_expect_eq(gr_error(broken), GR_ERROR_PROCESSOR);
    }
    cr_expect_eq(gr_context_free(broken), GR_ERROR_PROCESSOR);
}

Test(contracts, an_operand_whose_scope_has_ended)
{
    EACH_API(a) {
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        gr_tensor *gone = gr_ones(ctx, GR_F32, gr_shape(2, 3));
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
        arguments in = given(a, GR_F32);
        in.at[TARGET] = gone;
        cr_expect(gr_failed(call(a, in, "mean")));
        cr_expect_eq(gr_error(ctx), GR_ERROR_SCOPE);
        gr_error_clear(ctx);
        errors = 0;
    }
}

Test(contracts, an_object_that_is_null)
{
    gr_tensor *x = logits(GR_F32), *y = labels(GR_F32);
    REFUSED(gr_torch_bce_loss_call(NULL, x, y), GR_ERROR_NULL, TORCH "BCELoss: loss is NULL");
    REFUSED(gr_torch_bce_with_logits_loss_call(NULL, x, y), GR_ERROR_NULL,
            TORCH "BCEWithLogitsLoss: loss is NULL");
    REFUSED(gr_mindspore_bce_with_logits_loss_call(NULL, x, y, x, x), GR_ERROR_NULL,
            MIND "ops.BCEWithLogitsLoss: loss is NULL");
    REFUSED(gr_mindspore_nn_bce_with_logits_loss_call(NULL, x, y), GR_ERROR_NULL,
            MIND "nn.BCEWithLogitsLoss: loss is NULL");
    cr_expect(gr_failed(gr_torch_bce_loss_call(NULL, NULL, NULL)));
}
