/* golden.c - compares both losses with PyTorch 2.13, and with the true value where PyTorch is
 * inexact. The cases are in tests/golden/losses.jsonl. tests/golden/make.py makes them, and
 * describes the lines of that file.
 *
 * GR_GOLDEN can name another file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"

#include <jansson.h>
#include <stdio.h>

#ifndef TESTS_ROOT
#define TESTS_ROOT "tests"
#endif

TestSuite(golden, .init = begin, .fini = end);

/* Both sides are within 3 ulp of the true value: PyTorch's value or the rounded true value, and
   gradus (see accuracy.c). Second derivatives take one or two ulp more from the recorded rules.
   Measured: 4. */
enum { TOLERANCE = 6 };
enum { OF_LOSS, OF_DX, OF_DY, OF_DXX, OF_DXY, EXPECTED };
static const char *const expected_names[EXPECTED] = {"loss", "dx", "dy", "dxx", "dxy"};
static const double GRADIENT[] = {1, -.5, 2, .25}, SECOND[] = {1, 2, -.5};

/* ---- Reading --------------------------------------------------------------------------------- */

static double *numbers_of(const json_t *array)
{
    double *numbers = malloc((json_array_size(array) + 1) * sizeof *numbers);
    for (size_t i = 0; i < json_array_size(array); i++)
        numbers[i] = strtod(json_string_value(json_array_get(array, i)), NULL);
    return numbers;
}

static gr_dims shape_of(const json_t *array)
{
    gr_dims shape = {.count = (int)json_array_size(array)};
    for (int i = 0; i < shape.count; i++)
        shape.at[i] = json_integer_value(json_array_get(array, (size_t)i));
    return shape;
}

static gr_tensor *tensor_of(gr_dtype dtype, gr_dims shape, const json_t *data)
{
    double *numbers = numbers_of(data);
    gr_tensor *made = make(dtype, shape, numbers);
    free(numbers);
    return made;
}

/* Returns an option with its own shape, or NULL. */
static gr_tensor *option_of(gr_dtype dtype, const json_t *given)
{
    if (!given)
        return NULL;
    return tensor_of(dtype, shape_of(json_object_get(given, "shape")),
                     json_object_get(given, "data"));
}

static gr_tensor *cycle(gr_dtype dtype, gr_dims shape, const double *pattern, int period)
{
    double values[64];
    int64_t count = 1;
    for (int i = 0; i < shape.count; i++)
        count *= shape.at[i];
    for (int i = 0; i < count; i++)
        values[i] = pattern[i % period];
    return make(dtype, shape, values);
}

static bool text_is(const json_t *line, const char *key, const char *value)
{
    return strcmp(json_string_value(json_object_get(line, key)), value) == 0;
}

/* ---- One case -------------------------------------------------------------------------------- */

typedef struct tally {
    int line, values, differing;
    double most[2]; /* in ulp, for floats and doubles, where nothing cancels */
} tally;

static void expect_numbers(tally *t, const json_t *line, int quantity, gr_tensor *got)
{
    const char *name = expected_names[quantity];
    const gr_dtype dtype = gr_dtype_of(got);
    const json_t *own = json_object_get(json_object_get(line, "ulps"), name);
    double *want = numbers_of(json_object_get(line, name)), *values = values_of(got);
    const int64_t count = (int64_t)json_array_size(json_object_get(line, name));
    cr_assert_eq(gr_numel(got), count, "line %d: %s has %lld elements", t->line, name,
                 (long long)gr_numel(got));
    for (int64_t i = 0; i < count; i++, t->values++) {
        const double off = ulps_off(dtype, values[i], (long double)want[i], 0);
        cr_expect(off <= (own ? (double)json_integer_value(own) : TOLERANCE),
                  "line %d: %s[%lld] is %.17g instead of %.17g, %g ulp", t->line, name,
                  (long long)i, values[i], want[i], off);
        if (!own && off > t->most[dtype == GR_F64])
            t->most[dtype == GR_F64] = off;
    }
    free(want);
    free(values);
}

static void expect_case(tally *t, const json_t *line)
{
    const gr_dtype dtype = text_is(line, "dtype", "f64") ? GR_F64 : GR_F32;
    const loss_kind kind = text_is(line, "op", "logits") ? LOGITS : PROBABILITIES;
    const gr_dims shape = shape_of(json_object_get(line, "shape"));
    gr_tensor *x = gr_variable(tensor_of(dtype, shape, json_object_get(line, "x")));
    gr_tensor *y = gr_variable(tensor_of(dtype, shape, json_object_get(line, "y")));
    const gr_bce_args args = {
        GR_BCE_DEFAULTS,
        .target = y,
        .weight = option_of(dtype, json_object_get(line, "weight")),
        .pos_weight = option_of(dtype, json_object_get(line, "pos_weight")),
        .reduction = text_is(line, "reduction", "mean")  ? GR_MEAN
                     : text_is(line, "reduction", "sum") ? GR_SUM
                                                         : GR_NONE,
    };
    gr_tensor *loss = loss_of(kind, x, &args), *d[2], *dd[2];
    gr_tensor *seed = args.reduction == GR_NONE ? cycle(dtype, shape, GRADIENT, 4) : NULL;
    expect_numbers(t, line, OF_LOSS, loss);
    for (int record = 0; record < 2; record++) {
        cr_assert_eq(
            gr_grad_with(loss, gr_list(x, y), d, &(gr_grad_args){.seed = seed, .record = record}),
            GR_OK, "line %d: %s", t->line, gr_error_message(ctx));
        expect_numbers(t, line, OF_DX, d[0]);
        expect_numbers(t, line, OF_DY, d[1]);
    }
    cr_assert_eq(gr_grad_with(d[0], gr_list(x, y), dd,
                              &(gr_grad_args){.seed = cycle(dtype, shape, SECOND, 3)}),
                 GR_OK, "line %d: %s", t->line, gr_error_message(ctx));
    expect_numbers(t, line, OF_DXX, dd[0]);
    expect_numbers(t, line, OF_DXY, dd[1]);
    t->differing += json_object_get(line, "differs") != NULL;
}

Test(golden, losses)
{
    char text[8192];
    tally t = {0};
    const char *path =
        getenv("GR_GOLDEN") ? getenv("GR_GOLDEN") : TESTS_ROOT "/golden/losses.jsonl";
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    while (fgets(text, sizeof text, file)) {
        t.line++;
        json_t *line = json_loads(text, 0, NULL);
        cr_assert_not_null(line, "line %d", t.line);
        cr_assert_eq(gr_scope_begin(ctx), GR_OK);
        expect_case(&t, line);
        cr_assert_eq(gr_scope_end(ctx), GR_OK);
        json_decref(line);
    }
    fclose(file);
    cr_expect(t.line >= 300, "only %d cases", t.line);
    cr_expect(t.differing > 0 && t.differing < t.line, "%d cases where PyTorch differs",
              t.differing);
    if (getenv("ACCURACY_PRINT"))
        fprintf(stderr,
                "%d cases, %d values, %d cases with others than PyTorch's; at most %g ulp in "
                "floats, %g in doubles\n",
                t.line, t.values, t.differing, t.most[0], t.most[1]);
}
