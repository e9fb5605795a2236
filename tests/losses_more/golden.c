/* golden.c - compares values and gradients with PyTorch's in golden.json, which make.py writes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"
#include <jansson.h>

TestSuite(golden, .init = begin, .fini = end);

static gr_tensor *tensor_of(const json_t *object)
{
    const json_t *shape = json_object_get(object, "shape"), *data = json_object_get(object, "data");
    const bool whole = strcmp(json_string_value(json_object_get(object, "dtype")), "i64") == 0;
    gr_dims dims = {.count = (int)json_array_size(shape)};
    for (int i = 0; i < dims.count; i++)
        dims.at[i] = json_integer_value(json_array_get(shape, (size_t)i));
    gr_tensor *x = gr_zeros(ctx, whole ? GR_I64 : GR_F64, dims);
    for (size_t i = 0; i < json_array_size(data); i++) {
        const json_t *element = json_array_get(data, i);
        if (whole)
            ((int64_t *)gr_data_mutable(x))[i] = json_integer_value(element);
        else
            ((double *)gr_data_mutable(x))[i] = json_number_value(element);
    }
    return x;
}

static double number_or(double standard, const json_t *options, const char *name)
{
    const json_t *given = json_object_get(options, name);
    return given ? json_number_value(given) : standard;
}
static bool flag(const json_t *options, const char *name)
{
    return json_is_true(json_object_get(options, name));
}

static spec spec_of(const json_t *c)
{
    const json_t *o = json_object_get(c, "options");
    const char *reduction = json_string_value(json_object_get(c, "reduction"));
    const char *loss = json_string_value(json_object_get(c, "loss"));
    const bool poisson = strcmp(loss, "poisson_nll") == 0, cosine = strstr(loss, "cosine");
    return (spec){
        .loss = loss,
        .reduction = reduction[0] == 's'   ? GR_SUM
                     : reduction[0] == 'n' ? GR_NONE
                                           : GR_MEAN,
        .number = number_or(number_or(1, o, "beta"), o, "delta"),
        .margin = number_or(cosine ? 0 : 1, o, "margin"),
        .p = number_or(2, o, "p"),
        .eps = number_or(poisson ? 1e-8 : 1e-6, o, "eps"),
        .label_smoothing = number_or(0, o, "label_smoothing"),
        .log_target = flag(o, "log_target"),
        .batch_mean = flag(o, "batch_mean"),
        .rate_input = flag(o, "rate_input"),
        .full = flag(o, "full"),
        .swap = flag(o, "swap"),
        .ignore_index = (int64_t)number_or(-100, o, "ignore_index"),
        .axis = (int)number_or(0, o, "axis"),
    };
}

static void expect_tensor(size_t at, const char *what, gr_tensor *x, const json_t *expected)
{
    gr_tensor *y = tensor_of(expected);
    cr_assert_not(gr_failed(x), "case %zu: %s", at, gr_error_message(ctx));
    cr_assert_eq(gr_numel(x), gr_numel(y), "case %zu, %s", at, what);
    cr_assert_eq(gr_ndim(x), gr_ndim(y), "case %zu, %s", at, what);
    const double *a = gr_data(gr_contiguous(x)), *b = gr_data(y);
    for (int64_t i = 0; i < gr_numel(x); i++)
        cr_expect(isnan(a[i]) ? isnan(b[i]) : fabs(a[i] - b[i]) <= 1e-14 + 1e-12 * fabs(b[i]),
                  "case %zu, %s[%lld]: %.17g, PyTorch %.17g", at, what, (long long)i, a[i], b[i]);
}

static void run_case(size_t at, const json_t *c)
{
    static const char *names[] = {"x", "y", "labels", "z", "w"};
    const json_t *tensors = json_object_get(c, "tensors");
    const json_t *gradients = json_object_get(c, "gradients");
    spec s = spec_of(c);
    gr_tensor **places[] = {&s.x, &s.y, &s.y, &s.z, &s.w};
    cr_assert_eq(gr_scope_begin(ctx), GR_OK);
    for (int i = 0; i < 5; i++) {
        const json_t *object = json_object_get(tensors, names[i]);
        if (object)
            *places[i] = tensor_of(object);
        if (json_object_get(gradients, names[i]))
            *places[i] = gr_variable(*places[i]);
    }
    gr_tensor *out = call_loss(&s);
    expect_tensor(at, s.loss, out, json_object_get(c, "value"));
    for (int i = 0; i < 5; i++) {
        const json_t *object = json_object_get(gradients, names[i]);
        if (object)
            expect_tensor(at, names[i], gr_grad(gr_sum(out), *places[i]), object);
    }
    cr_assert_eq(gr_scope_end(ctx), GR_OK);
}

Test(golden, every_case_of_pytorch)
{
    json_error_t error;
    json_t *table = json_load_file("tests/losses_more/golden.json", 0, &error);
    cr_assert_not_null(table, "%s", error.text);
    const json_t *cases = json_object_get(table, "cases");
    cr_assert_gt(json_array_size(cases), 200);
    for (size_t i = 0; i < json_array_size(cases); i++)
        run_case(i, json_array_get(cases, i));
    json_decref(table);
}
