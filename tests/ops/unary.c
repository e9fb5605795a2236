/* unary.c - tests of ops/unary.c: compares each row of ops.def with its formula, and checks special
 * cases of single ops.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/rows.h"

TestSuite(unary, .init = begin, .fini = end);

/* Returns the allowed error of an op, in units of the last place. */
static double allowed(const char *name)
{
    static const char *const exact[] = {"neg", "abs", "sign", "square", "sqrt", "relu"};
    static const char *const composed[] = {"sigmoid", "softplus"};
    for (int i = 0; i < COUNT_OF(exact); i++)
        if (strcmp(name, exact[i]) == 0)
            return 0.501;
    for (int i = 0; i < COUNT_OF(composed); i++)
        if (strcmp(name, composed[i]) == 0)
            return 2.5;
    return 1.01;
}

/* Returns values in the row's domain, away from 0 if there is a kink at 0. */
static gr_tensor *inside(gr_context *of, const unary_row *row, gr_dtype dtype, gr_dims shape)
{
    gr_tensor *x = sample(of, dtype, shape, row->low, row->high);
    double *values = gr_failed(x) ? NULL : values_of(x);
    for (int64_t i = 0; values && row->slope != SMOOTH && i < gr_numel(x); i++)
        values[i] += values[i] < 0 ? -0.25 : 0.25;
    if (values)
        (void)!gr_write(x, GR_F64, gr_numel(x), values);
    free(values);
    return x;
}

/* ---- Values ---------------------------------------------------------------------------------- */

static void expect_reference(const unary_row *row, gr_tensor *x)
{
    double *in = values_of(x), *out = values_of(row->call(x)), worst = 0, at = 0;
    for (int64_t i = 0; i < gr_numel(x); i++) {
        const double off = ulps(gr_dtype_of(x), out[i], row->reference(in[i]));
        at = off > worst ? in[i] : at;
        worst = off > worst ? off : worst;
    }
    cr_expect_leq(worst, allowed(row->name), "%s %s(%a) is off by %g ulp",
                  gr_dtype_name(gr_dtype_of(x)), row->name, at, worst);
    free(in);
    free(out);
}

Test(unary, values)
{
    for (int dtype = GR_F32; dtype <= GR_F64; dtype++) {
        EACH_ROW(row, unary_rows) {
            expect_reference(row, edges(ctx, dtype));
            expect_reference(row, any_bits(ctx, dtype, 20001));
            expect_reference(row, sample(ctx, dtype, gr_shape(10007), row->low, row->high));
            expect_reference(row,
                             sample(ctx, dtype, gr_shape(5003), row->low / 64, row->high / 64));
        }
    }
    expect_fine(ctx);
}

/* f16 and bf16 are computed in f32 and rounded once. This tests all of their 65536 values. */
Test(unary, narrow_values)
{
    static uint16_t all[65536];
    for (int i = 0; i < COUNT_OF(all); i++)
        all[i] = (uint16_t)i;
    for (int dtype = GR_F16; dtype <= GR_BF16; dtype++) {
        gr_tensor *x = gr_from_data(ctx, dtype, gr_shape(COUNT_OF(all)), all);
        gr_tensor *wide = gr_cast(x, GR_F32);
        EACH_ROW(row, unary_rows)
            cr_expect(same_bits(row->call(x), gr_cast(row->call(wide), dtype)), "%s %s", row->name,
                      gr_dtype_name(dtype));
    }
    expect_fine(ctx);
}

Test(unary, nan_gives_nan)
{
    for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
        gr_tensor *x = gr_full(ctx, dtype, gr_shape(19), NAN);
        EACH_ROW(row, unary_rows) {
            double *out = values_of(row->call(x));
            for (int i = 0; i < 19; i++)
                cr_expect(isnan(out[i]), "%s %s", row->name, gr_dtype_name(dtype));
            free(out);
        }
    }
}

Test(unary, empty_and_0d)
{
    EACH_ROW(row, unary_rows) {
        expect_shape(row->call(gr_zeros(ctx, GR_F32, gr_shape(0))), gr_shape(0));
        expect_shape(row->call(gr_zeros(ctx, GR_F64, gr_shape(2, 0, 3))), gr_shape(2, 0, 3));
        const double x = row->slope == FLAT ? 3 : row->low + 0.75 * (row->high - row->low);
        gr_tensor *y = row->call(gr_full(ctx, GR_F64, gr_shape(), x));
        expect_shape(y, gr_shape());
        cr_expect_leq(ulps(GR_F64, gr_item(y), row->reference(x)), allowed(row->name), "%s",
                      row->name);
        gr_tensor *alone = row->call(gr_scalar(ctx, x));
        cr_expect_eq(gr_dtype_of(alone), GR_F64, "%s", row->name);
        cr_expect_eq(gr_item(alone), gr_item(y), "%s", row->name);
    }
    expect_fine(ctx);
}

/* ---- Strides --------------------------------------------------------------------------------- */

/* The same elements with other strides: a transposed tensor, and every third element of a larger
   one. */
static gr_tensor *transposed(gr_tensor *x) { return gr_transpose(gr_contiguous(gr_transpose(x))); }
static gr_tensor *sparse(gr_tensor *x)
{
    const int64_t rows = gr_size(x, 0), columns = gr_size(x, 1);
    gr_tensor *spread =
        gr_expand(gr_reshape(x, gr_shape(rows, columns, 1)), gr_shape(rows, columns, 3));
    return gr_slice(gr_reshape(spread, gr_shape(rows, 3 * columns)), 1, 1, 3 * columns, 3);
}

Test(unary, strided)
{
    for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
        EACH_ROW(row, unary_rows) {
            gr_tensor *x = inside(ctx, row, dtype, gr_shape(61, 97)), *y = row->call(x);
            gr_tensor *line = gr_slice(x, 0, 3, 4, 1);
            gr_tensor *repeated = gr_expand(line, gr_shape(5, 61, 97));
            cr_assert_not(gr_is_contiguous(transposed(x)) || gr_is_contiguous(sparse(x)));
            cr_expect(same_bits(row->call(transposed(x)), y), "%s", row->name);
            cr_expect(same_bits(row->call(sparse(x)), y), "%s", row->name);
            cr_expect(same_bits(row->call(repeated), row->call(gr_contiguous(repeated))), "%s",
                      row->name);
            cr_expect(gr_is_contiguous(row->call(transposed(x))), "%s", row->name);
        }
    }
    expect_fine(ctx);
}

Test(unary, strided_gradients)
{
    EACH_ROW(row, unary_rows) {
        if (row->slope == FLAT)
            continue;
        gr_tensor *x = gr_variable(inside(ctx, row, GR_F64, gr_shape(7, 11)));
        gr_tensor *plain = gradient_of(row->call(x), x);
        cr_expect(same_bits(gradient_of(row->call(transposed(x)), x), plain), "%s", row->name);
        cr_expect(same_bits(gradient_of(row->call(sparse(x)), x), plain), "%s", row->name);
    }
    expect_fine(ctx);
}

/* ---- Gradients ------------------------------------------------------------------------------- */

static gr_tensor *apply_row(gr_tensors in, void *data)
{
    return ((const unary_row *)data)->call(in.at[0]);
}

Test(unary, gradients)
{
    EACH_ROW(row, unary_rows) {
        if (row->slope == FLAT)
            continue;
        gr_gradcheck_report report;
        gr_tensor *x = inside(ctx, row, GR_F64, gr_shape(3, 5));
        const gr_status status =
            gr_gradcheck(apply_row, (void *)(uintptr_t)row, gr_list(x), .order = 2, .rtol = 1e-8,
                         .atol = 1e-10, .report = &report);
        cr_expect_eq(status, GR_OK, "%s: reason %d, %d of %d are wrong", row->name, report.reason,
                     (int)report.bad, (int)report.checked);
        cr_expect_eq(report.checked, 3 * 15 * 15, "%s: %d checked", row->name, (int)report.checked);
        /* At three points a sigmoid is so near to 1 that rounding hides its slope. Each counts in
           both orders. */
        const int64_t hidden = strcmp(row->name, "sigmoid") == 0 ? 2 * 3 : 0;
        cr_expect_eq(report.unsure, hidden, "%s: %d unsure", row->name, (int)report.unsure);
    }
    expect_fine(ctx);
}

/* The value is correct and the gradient is wrong by a factor. If this is not found, the test above
   is useless. */
typedef struct planted {
    const unary_row *row;
    double factor;
} planted;

static gr_tensor *apply_planted(gr_tensors in, void *data)
{
    const planted *p = data;
    gr_tensor *y = p->row->call(in.at[0]), *factor = gr_scalar_like(y, p->factor);
    gr_tensor *rest = gr_scalar_like(y, 1 - p->factor);
    return gr_add(gr_mul(factor, y), gr_mul(rest, gr_detach(y)));
}

Test(unary, wrong_gradients_are_caught)
{
    static const double factors[] = {1.0001, -1, 0};
    EACH_ROW(row, unary_rows) {
        for (int i = 0; row->slope != FLAT && i < COUNT_OF(factors); i++) {
            planted p = {row, factors[i]};
            gr_gradcheck_report report;
            gr_tensor *x = inside(ctx, row, GR_F64, gr_shape(4));
            const gr_status status = gr_gradcheck(apply_planted, &p, gr_list(x), .report = &report);
            cr_expect_eq(status, GR_ERROR_GRADIENT, "%s times %g", row->name, factors[i]);
            cr_expect_eq(report.reason, GR_CHECK_WRONG, "%s times %g", row->name, factors[i]);
        }
    }
    expect_fine(ctx);
}

Test(unary, flat_rows_pass_no_gradient)
{
    EACH_ROW(row, unary_rows) {
        gr_tensor *x = gr_variable(inside(ctx, row, GR_F64, gr_shape(9))), *y = row->call(x);
        cr_expect_eq(gr_requires_grad(y), row->slope != FLAT, "%s", row->name);
        if (row->slope != FLAT)
            continue;
        gr_tensor *g = gr_grad(sum_of(gr_add(gr_mul(gr_scalar(ctx, 3), x), y)), x);
        cr_expect(same_bits(g, gr_full(ctx, GR_F64, gr_shape(9), 3)), "%s", row->name);
    }
    expect_fine(ctx);
}

/* Compares the gradients in f32 with those in f64 at the same points. */
Test(unary, narrow_gradients)
{
    EACH_ROW(row, unary_rows) {
        if (row->slope == FLAT)
            continue;
        gr_tensor *x = gr_variable(inside(ctx, row, GR_F32, gr_shape(4001)));
        gr_tensor *wide = gr_variable(gr_cast(gr_detach(x), GR_F64));
        double *narrow = values_of(gr_grad(sum_of(row->call(x)), x));
        double *right = values_of(gr_grad(sum_of(row->call(wide)), wide));
        for (int i = 0; i < 4001; i++)
            cr_assert_leq(fabs(narrow[i] - right[i]), 8 * 0x1p-24 * fabs(right[i]), "%s",
                          row->name);
        free(narrow);
        free(right);
    }
    expect_fine(ctx);
}

/* ---- Derivatives in closed form -------------------------------------------------------------- */

#define L(f) static long double f(long double x)
L(s) { return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x)); }
L(sigmoid_1) { return s(x) * s(-x); }
L(sigmoid_2) { return -tanhl(x / 2) * sigmoid_1(x); }
L(sigmoid_3) { return sigmoid_1(x) * (powl(tanhl(x / 2), 2) - 2 * sigmoid_1(x)); }
L(tanh_1) { return 4 * s(2 * x) * s(-2 * x); }
L(tanh_2) { return -2 * tanhl(x) * tanh_1(x); }
L(tanh_3) { return tanh_1(x) * (4 * powl(tanhl(x), 2) - 2 * tanh_1(x)); }
#undef L

/* The bars are in units of the last place, for the derivatives of order 1 to 3. Order 3 crosses
   0. */
static const struct tail_row {
    const char *name;
    gr_tensor *(*call)(gr_tensor *x);
    long double (*exact[3])(long double x);
    double most[3];
} tail_rows[] = {{"sigmoid", gr_sigmoid, {sigmoid_1, sigmoid_2, sigmoid_3}, {5, 8, 200}},
                 {"tanh", gr_tanh, {tanh_1, tanh_2, tanh_3}, {5, 8, 200}},
                 {"softplus", gr_softplus, {s, sigmoid_1, sigmoid_2}, {4, 5, 8}}};

/* Both signs of every size from 1e-30 to 100 (f32) or 700 (f64). */
enum { TAIL = 2000 };
static gr_tensor *tails_of(gr_dtype dtype)
{
    static double x[TAIL];
    for (int i = 0; i < TAIL; i++) {
        const double size = 1e-30 * pow(dtype == GR_F32 ? 1e32 : 7e32, (i / 2) / (TAIL / 2 - 1.0));
        x[i] = i % 2 ? -size : size;
    }
    return gr_variable(gr_cast(gr_from_data(ctx, GR_F64, gr_shape(TAIL), x), dtype));
}

Test(unary, derivatives_keep_their_digits_near_0_and_in_the_tails)
{
    for (int dtype = GR_F32; dtype <= GR_F64; dtype++)
        EACH_ROW(row, tail_rows) {
            gr_tensor *x = tails_of(dtype), *y = row->call(x);
            double *at = values_of(x);
            for (int order = 0; order < 3; order++) {
                gr_tensor *plain;
                cr_assert_eq(gr_grad_with(sum_of(y), gr_list(x), &plain, NULL), GR_OK);
                y = gr_grad(sum_of(y), x);
                double *got[2] = {values_of(plain), values_of(y)}, worst = 0, where = 0;
                for (int i = 0; i < 2 * TAIL; i++) {
                    const long double want = row->exact[order](at[i / 2]);
                    const double off = ulps(dtype, got[i % 2][i / 2], want);
                    where = off > worst ? at[i / 2] : where;
                    worst = fmax(worst, isnan(off) ? INFINITY : off);
                }
                cr_expect_leq(worst, row->most[order], "f%d %s, order %d: %g ulp at %g",
                              dtype == GR_F32 ? 32 : 64, row->name, order + 1, worst, where);
                free(got[0]), free(got[1]);
            }
            free(at);
        }
    expect_fine(ctx);
}

/* In f32 this was -2.086e-6. */
Test(unary, second_derivative_of_tanh_at_a_millionth)
{
    gr_tensor *x = gr_variable(gr_full(ctx, GR_F32, gr_shape(), 1e-6));
    const double got = gr_item(gr_grad(gr_grad(gr_tanh(x), x), x));
    cr_expect_float_eq(got / -2e-6, 1, 1e-7);
}

/* ---- The same bits whatever runs it ---------------------------------------------------------- */

/* The first row is large enough for seven threads, the others for two, because all share one
   driver. */
enum { COUNT = 230003, FEWER = 66003 };

typedef struct known_bits {
    bool known;
    uint64_t hash[2 * COUNT_OF(unary_rows)];
    float narrow[COUNT];
    double wide[COUNT];
} known_bits;

/* Fills in random bits and some numbers near 0. */
static void fill(known_bits *bits)
{
    for (int i = 0; i < COUNT; i++) {
        const uint64_t any = draw_bits();
        memcpy(&bits->narrow[i], &any, sizeof(float));
        memcpy(&bits->wide[i], &any, sizeof(double));
        if (i % 3)
            bits->narrow[i] = (float)(bits->wide[i] = draw(-30, 30));
    }
}

static uint64_t value_and_gradient(gr_context *of, const known_bits *bits, int i)
{
    const unary_row *row = &unary_rows[i / 2];
    const gr_dtype dtype = i % 2 ? GR_F64 : GR_F32;
    const void *data = i % 2 ? (const void *)bits->wide : bits->narrow;
    const gr_dims shape = gr_shape(i < 2 ? COUNT : FEWER);
    gr_tensor *x = gr_variable(gr_from_data(of, dtype, shape, data)), *y = row->call(x);
    return row->slope == FLAT ? hash_of(y) : hash_of(y) * 31 + hash_of(gr_grad(sum_of(y), x));
}

static void compare_bits(gr_context *other, const char *label, void *data)
{
    known_bits *bits = data;
    for (int i = 0; i < COUNT_OF(bits->hash); i++) {
        cr_assert_eq(gr_scope_begin(other), GR_OK);
        const uint64_t hash = value_and_gradient(other, bits, i);
        cr_expect_eq(gr_scope_end(other), GR_OK);
        if (!bits->known)
            bits->hash[i] = hash;
        cr_expect_eq(hash, bits->hash[i], "%s: other bits with %s", unary_rows[i / 2].name, label);
    }
    bits->known = true;
}

Test(unary, same_bits)
{
    static known_bits bits;
    fill(&bits);
    on_each_context(compare_bits, &bits);
    cr_expect(bits.known);
}

/* ---- Rules in one pass ----------------------------------------------------------------------- */

/* Compares the bits of two gradients. The recorded sweep runs the rule of public ops, and the other
   sweep runs the fused rule. */
static void compare_rules(const unary_row *row, gr_tensor *x, gr_tensor *seed)
{
    gr_tensor *v = gr_variable(x), *y = row->call(v), *gradients[2];
    for (int record = 0; record < 2; record++)
        cr_assert_eq(gr_grad_with(y, gr_list(v), &gradients[record],
                                  &(gr_grad_args){.seed = seed, .record = record}),
                     GR_OK);
    cr_expect(same_bits(gradients[0], gradients[1]), "%s %s", row->name,
              gr_dtype_name(gr_dtype_of(x)));
}

Test(unary, fused_rules_have_the_bits_of_the_composed_ones)
{
    EACH_ROW(row, unary_rows)
        for (int dtype = GR_F32; dtype <= GR_F64 && row->slope != FLAT; dtype++) {
            gr_tensor *x = edges(ctx, dtype), *any = any_bits(ctx, dtype, 5000);
            compare_rules(row, x, NULL);
            for (int shift = 1; shift < 8; shift++) {
                const int64_t n = gr_numel(x);
                gr_tensor *turned = gr_slice(x, 0, shift, n, 1),
                          *seed = gr_slice(x, 0, 0, n - shift, 1);
                compare_rules(row, turned, seed);
            }
            compare_rules(row, any, any_bits(ctx, dtype, 5000));
            compare_rules(row, gr_transpose(gr_reshape(any, gr_shape(50, 100))), NULL);
        }
}

/* ---- Errors ---------------------------------------------------------------------------------- */

Test(unary, errors)
{
    char message[128];
    EACH_ROW(row, unary_rows) {
        gr_tensor *none = row->call(NULL);
        cr_expect(gr_failed(none));
        cr_expect_eq(gr_error(gr_context_of(none)), GR_ERROR_NULL);
        cr_expect_str_eq(gr_error_message(gr_context_of(none)), "operand 0 is NULL");
        expect_fine(ctx);

        for (int dtype = GR_I32; dtype <= GR_BOOL; dtype++) {
            snprintf(message, sizeof message, "%s: operand 0 is %s, not a float", row->name,
                     gr_dtype_name(dtype));
            cr_expect(gr_failed(row->call(gr_zeros(ctx, dtype, gr_shape(2)))));
            expect_error(ctx, GR_ERROR_DTYPE, message);
        }

        cr_expect_eq(gr_scope_begin(ctx), GR_OK);
        gr_tensor *dead = gr_ones(ctx, GR_F32, gr_shape(2));
        cr_expect_eq(gr_scope_end(ctx), GR_OK);
        snprintf(message, sizeof message, "%s: operand 0 belongs to a scope that has ended",
                 row->name);
        cr_expect(gr_failed(row->call(dead)));
        expect_error(ctx, GR_ERROR_SCOPE, message);

        gr_tensor *large = gr_expand(gr_ones(ctx, GR_F32, gr_shape(1)), gr_shape(1 << 20));
        heap_fail(1, true);
        cr_expect(gr_failed(row->call(large)));
        heap_fail(0, false);
        cr_expect(strstr(gr_error_message(ctx), ": out of memory: ") != NULL);
        cr_expect_eq(strncmp(gr_error_message(ctx), row->name, strlen(row->name)), 0);
        cr_expect_eq(gr_error(ctx), GR_ERROR_MEMORY);

        cr_expect_eq(row->call(row->call(row->call(ctx->failed))), ctx->failed);
        gr_error_clear(ctx);
    }
}

static uint64_t one_op(gr_context *of, const void *data)
{
    const unary_row *row = data;
    reseed(5);
    (void)!gr_scope_begin(of);
    gr_tensor *x = gr_variable(inside(of, row, GR_F64, gr_shape(6, 7))), *y = row->call(x);
    uint64_t hash = hash_of(y);
    if (row->slope != FLAT)
        hash = hash * 31 + hash_of(gr_grad(sum_of(gr_grad(sum_of(gr_square(y)), x)), x));
    return (void)!gr_scope_end(of), hash;
}

Test(unary, memory)
{
    EACH_ROW(row, unary_rows)
        expect_survives(row->name, one_op, row);
}

/* ---- Single ops ------------------------------------------------------------------------------ */

static gr_tensor *list(gr_dtype dtype, int64_t count, const double *values)
{
    gr_tensor *x = gr_zeros(ctx, dtype, gr_shape(count));
    cr_assert_eq(gr_write(x, GR_F64, count, values), GR_OK);
    return x;
}
#define LIST(dtype, ...)                                                                           \
    list(dtype, sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]){__VA_ARGS__})

Test(unary, both_tails_of_the_sigmoid_keep_their_digits)
{
    gr_tensor *x = gr_variable(LIST(GR_F64, -700, -80, 80, 700));
    gr_tensor *s = gr_grad(sum_of(gr_sigmoid(x)), x), *t = gr_grad(sum_of(gr_tanh(x)), x);
    gr_tensor *p = gr_grad(sum_of(gr_softplus(x)), x);
    for (int i = 0; i < 4; i++) {
        const gr_dims at = gr_index(i);
        const long double e = expl(-fabsl((long double)gr_get(x, at)));
        cr_expect_leq(ulps(GR_F64, gr_get(s, at), e), 4);
        cr_expect_leq(ulps(GR_F64, gr_get(p, at), i < 2 ? e : 1), 4);
        cr_expect_leq(ulps(GR_F64, gr_get(t, at), 4 * e * e), 8);
    }
}

Test(unary, gradients_at_the_kinks)
{
    gr_tensor *x = gr_variable(LIST(GR_F64, -1, 0, 1, NAN));
    EXPECT_VALUES(gr_grad(sum_of(gr_abs(x)), x), -1, 0, 1, NAN);
    EXPECT_VALUES(gr_grad(sum_of(gr_relu(x)), x), 0, 0, 1, 0);
    EXPECT_VALUES(gr_sign(x), -1, 0, 1, NAN);
    EXPECT_VALUES(gr_relu(x), 0, 0, 1, NAN);
}

Test(unary, relu_keeps_an_infinite_gradient_out)
{
    gr_tensor *x = gr_variable(LIST(GR_F64, -1, 2)), *g = NULL;
    cr_expect_eq(gr_grad_with(gr_relu(x), gr_list(x), &g,
                              &(gr_grad_args){.seed = LIST(GR_F64, INFINITY, INFINITY)}),
                 GR_OK);
    EXPECT_VALUES(g, 0, INFINITY);
}

/* ---- pow ------------------------------------------------------------------------------------- */

static const double exponents[] = {0,  1,   2,   3,   -1,   0.5,  -0.5, 4,         -2,
                                   -3, 1.5, 2.5, 0.1, -0.7, 10.0, 1e-3, 1.0 / 3.0, 7};

Test(unary, pow_values)
{
    for (int dtype = GR_F32; dtype <= GR_F64; dtype++) {
        gr_tensor *all[] = {edges(ctx, dtype), any_bits(ctx, dtype, 10001),
                            sample(ctx, dtype, gr_shape(5003), -9, 9)};
        for (int i = 0; i < COUNT_OF(exponents) * COUNT_OF(all); i++) {
            const double e = exponents[i / COUNT_OF(all)];
            gr_tensor *x = all[i % COUNT_OF(all)];
            double *in = values_of(x), *out = values_of(gr_pow(x, e));
            for (int64_t j = 0; j < gr_numel(x); j++) {
                if (in[j] == -INFINITY && e != rint(e))
                    continue; /* C gives infinity here, but gradus gives NaN */
                /* NaN to the power of 0 is NaN here, because NaN stays NaN. */
                const long double want =
                    isnan(in[j]) ? (long double)NAN : powl(in[j], (long double)e);
                const double off = ulps(dtype, out[j], want);
                cr_assert_leq(off, 2, "%s pow(%a, %g) is %a, off by %g", gr_dtype_name(dtype),
                              in[j], e, out[j], off);
            }
            free(in);
            free(out);
        }
    }
    expect_fine(ctx);
}

Test(unary, pow_narrow)
{
    for (int dtype = GR_F16; dtype <= GR_BF16; dtype++) {
        gr_tensor *x = sample(ctx, dtype, gr_shape(3001), 0, 9), *wide = gr_cast(x, GR_F32);
        for (int i = 0; i < COUNT_OF(exponents); i++)
            cr_expect(
                same_bits(gr_pow(x, exponents[i]), gr_cast(gr_pow(wide, exponents[i]), dtype)));
    }
}

/* The rule must not round its constant to a narrow dtype, in which 0.7 has few digits. */
Test(unary, pow_narrow_gradient)
{
    enum { POINTS = 501 };
    gr_tensor *x = gr_variable(sample(ctx, GR_BF16, gr_shape(POINTS), 0.5, 9));
    double *power = values_of(gr_pow(gr_detach(x), 0.7 - 1));
    gr_tensor *want = gr_zeros(ctx, GR_BF16, gr_shape(POINTS));
    for (int i = 0; i < POINTS; i++)
        power[i] = (float)0.7 * (float)power[i];
    cr_expect_eq(gr_write(want, GR_F64, POINTS, power), GR_OK);
    free(power);
    cr_expect(same_bits(gr_grad(sum_of(gr_pow(x, 0.7)), x), want));
}

static gr_tensor *apply_pow(gr_tensors in, void *data)
{
    return gr_pow(in.at[0], *(const double *)data);
}

Test(unary, pow_gradients)
{
    for (int i = 0; i < COUNT_OF(exponents); i++) {
        double e = exponents[i];
        const bool whole = e == rint(e) && e >= 0;
        gr_tensor *x = sample(ctx, GR_F64, gr_shape(5), whole ? -3 : 0.5, 3);
        gr_gradcheck_report report;
        cr_expect_eq(gr_gradcheck(apply_pow, &e, gr_list(x), .order = 2, .report = &report), GR_OK,
                     "pow %g: %d of %d", e, (int)report.bad, (int)report.checked);
        cr_expect_eq(report.unsure, 0);
    }
}

Test(unary, pow_at_0)
{
    gr_tensor *x = gr_variable(LIST(GR_F64, 0));
    EXPECT_VALUES(gr_grad(sum_of(gr_pow(x, 0)), x), 0);
    EXPECT_VALUES(gr_grad(sum_of(gr_pow(x, 1)), x), 1);
    EXPECT_VALUES(gr_grad(sum_of(gr_pow(x, 2)), x), 0);
    EXPECT_VALUES(gr_grad(sum_of(gr_pow(x, 0.5)), x), INFINITY);
}

Test(unary, pow_errors)
{
    cr_expect(gr_failed(gr_pow(NULL, 2)));
    cr_expect(gr_failed(gr_pow(gr_ones(ctx, GR_U8, gr_shape(1)), 2)));
    expect_error(ctx, GR_ERROR_DTYPE, "pow: operand 0 is u8, not a float");
}

static void compare_pow(gr_context *other, const char *label, void *data)
{
    uint64_t hash = 0, *known = data;
    reseed(13);
    for (int i = 0; i < 2 * COUNT_OF(exponents); i++) {
        cr_assert_eq(gr_scope_begin(other), GR_OK);
        gr_tensor *x[] = {any_bits(other, GR_F32, i < 2 ? FEWER : 5003),
                          any_bits(other, GR_F64, 5003)};
        hash = hash * 31 + hash_of(gr_pow(x[i % 2], exponents[i / 2]));
        cr_expect_eq(gr_scope_end(other), GR_OK);
    }
    *known = *known ? *known : hash;
    cr_expect_eq(hash, *known, "pow: other bits with %s", label);
}

Test(unary, pow_same_bits)
{
    uint64_t known = 0;
    on_each_context(compare_pow, &known);
}
