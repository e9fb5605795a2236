/* options.c - what an option means that is written as 0, and one that is left out.
 *
 * Each number in a struct of options has a row. The row tells what the header's default is, and
 * what 0 means: a value, or a refusal. The headers themselves are read for options without a row.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"
#include <ctype.h>
#include <unistd.h>

TestSuite(options, .init = begin, .fini = end);

/* The ways to call something with an option. MEANT does not use the option. It computes from the
   formula in the header what 0 must give; NULL: 0 is refused. */
typedef enum way { LEFT_OUT, DEFAULT, ZERO, MEANT } way;

typedef struct row {
    const char *option; /* STRUCT.MEMBER, without gr_ and _args */
    gr_tensor *(*call)(way how);
    const char *refusal; /* the message for 0; NULL: 0 is not refused */
    bool is_zero;        /* the default is 0 */
} row;

/* ---- Losses ---------------------------------------------------------------------------------- */

static gr_tensor *column(const double *values)
{
    return gr_from_data(ctx, GR_F64, gr_shape(4), values);
}
#define COLUMN(...) column((const double[]){__VA_ARGS__})

static gr_tensor *number(double value) { return gr_scalar(ctx, value); }
static gr_tensor *logits(void) { return COLUMN(-1.5, 0.25, 3, 0.5); }
static gr_tensor *targets(void) { return COLUMN(0, 1, 0.25, 1); }
static gr_tensor *signs(void) { return COLUMN(-1, 1, -1, -1); }
static gr_tensor *rates(void) { return COLUMN(1e-9, 0.5, 2, 3); }
static gr_tensor *distance(void) { return gr_sub(logits(), targets()); }
static gr_tensor *rows(double shift)
{
    const double values[] = {0.5, -1, 2, 0.25, 1, -0.75};
    gr_tensor *x = gr_from_data(ctx, GR_F64, gr_shape(2, 3), values);
    return gr_add(x, gr_mul(number(shift), gr_square(x)));
}
static gr_tensor *classes(void)
{
    return gr_from_data(ctx, GR_I64, gr_shape(2), (const int64_t[]){0, 2});
}
static gr_tensor *pair_signs(void)
{
    return gr_from_data(ctx, GR_F64, gr_shape(2), (const double[]){1, -1});
}

/* The second of two rows alone, because the first one has the class 0. */
static gr_tensor *second_alone(gr_tensor *each)
{
    return gr_mul(each, gr_from_data(ctx, GR_F64, gr_shape(2), (const double[]){0, 1}));
}

/* |a - b| of each row */
static gr_tensor *lengths(gr_tensor *a, gr_tensor *b)
{
    return gr_sqrt(gr_sum(gr_square(gr_sub(a, b)), .axes = gr_axes(1)));
}

static gr_tensor *cosines(gr_tensor *a, gr_tensor *b)
{
    gr_tensor *dot = gr_sum(gr_mul(a, b), .axes = gr_axes(1)), *zero = gr_zeros_like(a);
    return gr_div(dot, gr_mul(lengths(a, zero), lengths(b, zero)));
}

/* log v + d^2 / v, halved */
static gr_tensor *gaussian(gr_tensor *v)
{
    gr_tensor *twice = gr_add(gr_log(v), gr_div(gr_square(distance()), v));
    return gr_mul(twice, number(0.5));
}

/* 1 - cos of the first row, max(0, cos) of the second */
static gr_tensor *cosine_losses(void)
{
    gr_tensor *cos = cosines(rows(0), rows(1));
    return gr_where(gr_greater(pair_signs(), number(0)), gr_sub(number(1), cos), gr_relu(cos));
}

/* max(0, 1 + |a - p| - |a - n|) */
static gr_tensor *triplet_losses(void)
{
    gr_tensor *near = lengths(rows(0), rows(1)), *far = lengths(rows(0), rows(0.5));
    return gr_relu(gr_add(number(1), gr_sub(near, far)));
}

#define EACH .reduction = GR_NONE
/* LOSS(name, option, default, what 0 means, arguments): of the loss gr_NAME. Its struct has the
   name of the loss, or bce. */
#define LOSS(name, option, standard, meant, ...)                                                   \
    static gr_tensor *name##_##option(way how)                                                     \
    {                                                                                              \
        if (how == MEANT)                                                                          \
            return meant;                                                                          \
        return how == LEFT_OUT  ? gr_##name(__VA_ARGS__, EACH)                                     \
               : how == DEFAULT ? gr_##name(__VA_ARGS__, EACH, .option = standard)                 \
                                : gr_##name(__VA_ARGS__, EACH, .option = 0);                       \
    }

LOSS(bce_with_logits, label_smoothing, 0, gr_bce_with_logits(logits(), targets(), EACH), logits(),
     targets())
LOSS(bce_with_logits, gamma, 0, gr_bce_with_logits(logits(), targets(), EACH), logits(), targets())
LOSS(bce_with_logits, alpha, GR_NO_ALPHA,
     gr_mul(gr_sub(number(1), targets()), gr_bce_with_logits(logits(), targets(), EACH)), logits(),
     targets())
LOSS(bce, alpha, GR_NO_ALPHA,
     gr_mul(gr_sub(number(1), targets()), gr_bce(gr_sigmoid(logits()), targets(), EACH)),
     gr_sigmoid(logits()), targets())
LOSS(huber, delta, 1, NULL, logits(), targets())
LOSS(smooth_l1, beta, 1, gr_abs(distance()), logits(), targets())
LOSS(poisson_nll, eps, 1e-8, gr_sub(rates(), gr_mul(targets(), gr_log(rates()))), rates(),
     targets(), .rate_input = true)
LOSS(gaussian_nll, eps, 1e-6, gaussian(rates()), logits(), targets(), rates())
LOSS(nll, ignore_index, -100, second_alone(gr_nll(gr_log_softmax(rows(0), 1), classes(), EACH)),
     gr_log_softmax(rows(0), 1), classes())
LOSS(cross_entropy, ignore_index, -100, second_alone(gr_cross_entropy(rows(0), classes(), EACH)),
     rows(0), classes())
LOSS(cross_entropy, label_smoothing, 0, gr_nll(gr_log_softmax(rows(0), 1), classes(), EACH),
     rows(0), classes())
LOSS(hinge_embedding, margin, 1,
     gr_where(gr_greater(signs(), number(0)), logits(), gr_relu(gr_neg(logits()))), logits(),
     signs())
LOSS(cosine_embedding, margin, 0, cosine_losses(), rows(0), rows(1), pair_signs())
LOSS(triplet_margin, margin, 1, NULL, rows(0), rows(1), rows(0.5))
LOSS(triplet_margin, p, 2, NULL, rows(0), rows(1), rows(0.5))
LOSS(triplet_margin, eps, 1e-6, triplet_losses(), rows(0), rows(1), rows(0.5))

/* ---- Optimisers ------------------------------------------------------------------------------ */

enum { STEPS = 3 };
static const double theta[4] = {1, -2, 0.5, 3}, slope[4] = {0.5, -1, 2, 0};

/* Takes some steps on the losses t sum(slope x), t = 1, 2, 3. */
static gr_tensor *trained(gr_tensor *x, gr_optimizer *optimizer)
{
    for (int t = 1; t <= STEPS; t++) {
        gr_tensor *loss = gr_mul(gr_sum(gr_mul(x, column(slope))), number(t));
        cr_expect_eq(gr_backward(loss), GR_OK);
        cr_expect_eq(gr_step(optimizer), GR_OK);
    }
    return x;
}

/* The formulas of nn.h. */
static gr_tensor *sgd_by_hand(double lr, double momentum, double decay)
{
    double x[4], v[4] = {0};
    for (int i = 0; i < 4; i++) {
        x[i] = theta[i];
        for (int t = 1; t <= STEPS; t++) {
            v[i] = momentum * v[i] + t * slope[i] + decay * x[i];
            x[i] -= lr * v[i];
        }
    }
    return column(x);
}

static gr_tensor *adam_by_hand(double lr, double b1, double b2, double epsilon, double decay,
                               bool apart)
{
    double x[4];
    for (int i = 0; i < 4; i++) {
        double m = 0, v = 0;
        x[i] = theta[i];
        for (int t = 1; t <= STEPS; t++) {
            const double g = t * slope[i] + (apart ? 0 : decay * x[i]);
            x[i] -= apart ? lr * decay * x[i] : 0;
            m = b1 * m + (1 - b1) * g;
            v = b2 * v + (1 - b2) * g * g;
            const double below = sqrt(v / (1 - pow(b2, t))) + epsilon;
            x[i] -= below > 0 ? lr * m / (1 - pow(b1, t)) / below : 0;
        }
    }
    return column(x);
}

#define OPTIMIZER(name, option, standard, meant)                                                   \
    static gr_tensor *name##_##option(way how)                                                     \
    {                                                                                              \
        gr_tensor *x = gr_parameter(column(theta));                                                \
        if (how == MEANT)                                                                          \
            return meant;                                                                          \
        return trained(x, how == LEFT_OUT  ? gr_##name(ctx, gr_list(x))                            \
                          : how == DEFAULT ? gr_##name(ctx, gr_list(x), .option = standard)        \
                                           : gr_##name(ctx, gr_list(x), .option = 0));             \
    }

OPTIMIZER(sgd, lr, 0.01, column(theta))
OPTIMIZER(sgd, momentum, 0, sgd_by_hand(0.01, 0, 0))
OPTIMIZER(sgd, weight_decay, 0, sgd_by_hand(0.01, 0, 0))
OPTIMIZER(adam, lr, 0.001, column(theta))
OPTIMIZER(adam, beta1, 0.9, adam_by_hand(0.001, 0, 0.999, 1e-8, 0, false))
OPTIMIZER(adam, beta2, 0.999, adam_by_hand(0.001, 0.9, 0, 1e-8, 0, false))
OPTIMIZER(adam, epsilon, 1e-8, adam_by_hand(0.001, 0.9, 0.999, 0, 0, false))
OPTIMIZER(adam, weight_decay, 0, adam_by_hand(0.001, 0.9, 0.999, 1e-8, 0, false))
OPTIMIZER(adamw, lr, 0.001, column(theta))
OPTIMIZER(adamw, beta1, 0.9, adam_by_hand(0.001, 0, 0.999, 1e-8, 0.01, true))
OPTIMIZER(adamw, beta2, 0.999, adam_by_hand(0.001, 0.9, 0, 1e-8, 0.01, true))
OPTIMIZER(adamw, epsilon, 1e-8, adam_by_hand(0.001, 0.9, 0.999, 0, 0.01, true))
OPTIMIZER(adamw, weight_decay, 0.01, adam_by_hand(0.001, 0.9, 0.999, 1e-8, 0, true))

/* ---- The gradient checker -------------------------------------------------------------------- */

/* x0 + e (x1 - detach(x1)): d/dx1 is e by the rules, and 0 by differences. With x1 = x0 a part of
   1 + e is wrong. */
typedef struct planted {
    double size;
    int64_t wrong;
} planted;

static gr_tensor *with_wrong_slope(gr_tensors in, void *data)
{
    const planted *p = data;
    gr_tensor *x = in.at[0], *first = gr_slice(x, 0, 0, 1, 1);
    gr_tensor *other = gr_slice(x, 0, p->wrong, p->wrong + 1, 1);
    gr_tensor *nothing = gr_mul(number(p->size), gr_sub(other, gr_detach(other)));
    return gr_sum(gr_add(first, nothing));
}

/* A check as a tensor: its status; a refusal is the error of the context. */
#define CHECK(option, standard, what, meant)                                                       \
    static gr_tensor *gradcheck_##option(way how)                                                  \
    {                                                                                              \
        planted p = what;                                                                          \
        gr_tensor *x = COLUMN(1, -1, 2, 0.5);                                                      \
        if (how == MEANT)                                                                          \
            return number(meant);                                                                  \
        const gr_status status =                                                                   \
            how == LEFT_OUT  ? gr_gradcheck(with_wrong_slope, &p, gr_list(x))                      \
            : how == DEFAULT ? gr_gradcheck(with_wrong_slope, &p, gr_list(x), .option = standard)  \
                             : gr_gradcheck(with_wrong_slope, &p, gr_list(x), .option = 0);        \
        return number(status);                                                                     \
    }
CHECK(order, 1, {0}, 0)
CHECK(rtol, 1e-6, ((planted){1e-7, 0}), GR_ERROR_GRADIENT)
CHECK(atol, 1e-9, ((planted){1e-10, 1}), GR_ERROR_GRADIENT)
CHECK(low, -INFINITY, {0}, 0)
CHECK(high, INFINITY, {0}, 0)

/* ---- CSV ------------------------------------------------------------------------------------- */

#define CSV(option, standard)                                                                      \
    static gr_tensor *csv_##option(way how)                                                        \
    {                                                                                              \
        char path[] = "/tmp/gradus-options-XXXXXX";                                                \
        const int file = mkstemp(path);                                                            \
        cr_assert_eq(write(file, "a,b\n1,2\n", 8), 8);                                             \
        close(file);                                                                               \
        gr_csv *csv = how == LEFT_OUT  ? gr_csv_read(ctx, path)                                    \
                      : how == DEFAULT ? gr_csv_read(ctx, path, .option = standard)                \
                                       : gr_csv_read(ctx, path, .option = 0);                      \
        unlink(path);                                                                              \
        gr_tensor *found = number((double)gr_csv_columns(csv));                                    \
        gr_csv_free(csv);                                                                          \
        return found;                                                                              \
    }
CSV(delimiter, ',')
CSV(max_line, 16 * 1024 * 1024)

/* ---- The table ------------------------------------------------------------------------------- */

static const row table[] = {
    {"bce.label_smoothing", bce_with_logits_label_smoothing, NULL, true},
    {"bce.gamma", bce_with_logits_gamma, NULL, true},
    {"bce.alpha", bce_with_logits_alpha, NULL, false},
    {"bce.alpha", bce_alpha, NULL, false},
    {"huber.delta", huber_delta, "huber: delta 0 is not a finite number above 0", false},
    {"smooth_l1.beta", smooth_l1_beta, NULL, false},
    {"poisson_nll.eps", poisson_nll_eps, NULL, false},
    {"gaussian_nll.eps", gaussian_nll_eps, NULL, false},
    {"nll.ignore_index", nll_ignore_index, NULL, false},
    {"cross_entropy.ignore_index", cross_entropy_ignore_index, NULL, false},
    {"cross_entropy.label_smoothing", cross_entropy_label_smoothing, NULL, true},
    {"hinge_embedding.margin", hinge_embedding_margin, NULL, false},
    {"cosine_embedding.margin", cosine_embedding_margin, NULL, true},
    {"triplet_margin.margin", triplet_margin_margin,
     "triplet_margin: margin 0 is not a finite number above 0", false},
    {"triplet_margin.p", triplet_margin_p, "triplet_margin: p 0 is not a finite number above 0",
     false},
    {"triplet_margin.eps", triplet_margin_eps, NULL, false},
    {"sgd.lr", sgd_lr, NULL, false},
    {"sgd.momentum", sgd_momentum, NULL, true},
    {"sgd.weight_decay", sgd_weight_decay, NULL, true},
    {"adam.lr", adam_lr, NULL, false},
    {"adam.beta1", adam_beta1, NULL, false},
    {"adam.beta2", adam_beta2, NULL, false},
    {"adam.epsilon", adam_epsilon, NULL, false},
    {"adam.weight_decay", adam_weight_decay, NULL, true},
    {"adam.lr", adamw_lr, NULL, false},
    {"adam.beta1", adamw_beta1, NULL, false},
    {"adam.beta2", adamw_beta2, NULL, false},
    {"adam.epsilon", adamw_epsilon, NULL, false},
    {"adam.weight_decay", adamw_weight_decay, NULL, false},
    {"gradcheck.order", gradcheck_order, "gradcheck: order 0 is neither 1 nor 2", false},
    {"gradcheck.rtol", gradcheck_rtol, NULL, false},
    {"gradcheck.atol", gradcheck_atol, NULL, false},
    {"gradcheck.low", gradcheck_low, "gradcheck: input 0 has an element -1, not in [0, inf]",
     false},
    {"gradcheck.high", gradcheck_high, "gradcheck: input 0 has an element 1, not in [-inf, 0]",
     false},
    {"csv.delimiter", csv_delimiter, "csv: the delimiter is a NUL, a quote or a line end", false},
    {"csv.max_line", csv_max_line, "csv: max_line is 0, not from 1 to 2147483647", false},
};
static const int table_rows = COUNT_OF(table);

/* True if all elements are the same up to a few roundings. */
static bool close_to(gr_tensor *a, gr_tensor *b)
{
    const int64_t count = gr_numel(a);
    double *x = values_of(a), *y = values_of(b);
    bool close = count == gr_numel(b);
    for (int64_t i = 0; close && i < count; i++)
        close = fabs(x[i] - y[i]) <= 1e-12 * (1 + fabs(y[i]));
    free(x), free(y);
    return close;
}

Test(options, left_out_is_the_default)
{
    for (int i = 0; i < table_rows; i++) {
        gr_tensor *left_out = table[i].call(LEFT_OUT);
        cr_expect(same_bits(left_out, table[i].call(DEFAULT)), "%s", table[i].option);
        expect_fine(ctx);
    }
}

/* The two results must differ unless the default is 0: otherwise the row would show nothing. */
Test(options, zero_is_zero)
{
    for (int i = 0; i < table_rows; i++) {
        const row *r = &table[i];
        if (r->refusal)
            continue;
        gr_tensor *zero = r->call(ZERO);
        cr_expect(close_to(zero, r->call(MEANT)), "%s", r->option);
        cr_expect_eq(same_bits(zero, r->call(LEFT_OUT)), r->is_zero, "%s", r->option);
        expect_fine(ctx);
    }
}

Test(options, zero_that_makes_no_sense_is_refused)
{
    for (int i = 0; i < table_rows; i++) {
        const row *r = &table[i];
        if (!r->refusal)
            continue;
        (void)r->call(ZERO);
        cr_expect_eq(gr_error(ctx), GR_ERROR_ARGUMENT, "%s", r->option);
        cr_expect_eq(strncmp(gr_error_message(ctx), r->refusal, strlen(r->refusal)), 0, "%s: %s",
                     r->option, gr_error_message(ctx));
        gr_error_clear(ctx);
    }
}

/* ---- No option without a row ----------------------------------------------------------------- */

static bool has_row(const char *name)
{
    for (int i = 0; i < table_rows; i++)
        if (strcmp(table[i].option, name) == 0)
            return true;
    return false;
}

/* Checks the members of a line such as "double beta1, beta2;". Returns their number. */
static int check_members(const char *of, const char *line)
{
    static const char *const types[] = {"double ", "int ", "int64_t ", "char "};
    int count = 0;
    line += strspn(line, " ");
    for (int t = 0; t < COUNT_OF(types); t++) {
        if (strncmp(line, types[t], strlen(types[t])) != 0)
            continue;
        for (const char *at = line + strlen(types[t]); *at && *at != ';'; count++) {
            char name[128];
            at += strspn(at, " ,");
            const int length = (int)strcspn(at, " ,;");
            snprintf(name, sizeof name, "%s.%.*s", of, length, at);
            cr_expect(has_row(name), "%s has no row", name);
            at += length;
        }
    }
    return count;
}

static int check_header(const char *path)
{
    char line[256], of[64] = "";
    int count = 0;
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    while (fgets(line, sizeof line, file)) {
        char name[64];
        if (sscanf(line, "typedef struct gr_%63s {", name) == 1) {
            char *end_of_name = strstr(name, "_args");
            strcpy(of, end_of_name ? name : "");
            of[end_of_name ? end_of_name - name : 0] = 0;
        } else if (line[0] == '}') {
            of[0] = 0;
        } else if (of[0]) {
            count += check_members(of, line);
        }
    }
    fclose(file);
    return count;
}

Test(options, each_number_has_a_row)
{
    static const char *const headers[] = {"core", "ops", "losses", "nn", "io", "check", "compat"};
    int count = 0;
    for (int i = 0; i < COUNT_OF(headers); i++) {
        char path[64];
        snprintf(path, sizeof path, "include/gradus/%s.h", headers[i]);
        count += check_header(path);
    }
    cr_expect_geq(count, 30, "only %d numbers were found", count);
}

/* ---- Structs that do not begin with their defaults ------------------------------------------- */

static void expect_not_begun(const char *name, const char *defaults)
{
    char text[128];
    snprintf(text, sizeof text, "%s: the options do not start from gr_%s_defaults()", name,
             defaults);
    cr_expect_eq(strncmp(gr_error_message(ctx), text, strlen(text)), 0, "%s: %s", name,
                 gr_error_message(ctx));
    cr_expect_eq(gr_error(ctx), GR_ERROR_ARGUMENT);
    gr_error_clear(ctx);
}

/* BEGUN(call, struct, message's name, first arguments, operands of the struct): zeros are refused,
   and the mark of the defaults is enough to be read. */
#define BEGUN(call, name, title, first, ...)                                                       \
    do {                                                                                           \
        gr_##name##_args args = {__VA_ARGS__};                                                     \
        (void)!call(first, &args);                                                                 \
        expect_not_begun(title, #name);                                                            \
        const gr_##name##_args from = gr_##name##_defaults();                                      \
        cr_expect(from.from_defaults);                                                             \
        args.from_defaults = true;                                                                 \
        (void)!call(first, &args);                                                                 \
        cr_expect_null(strstr(gr_error_message(ctx), "defaults"));                                 \
        gr_error_clear(ctx);                                                                       \
    } while (0)

static gr_status check_with(gr_tensors inputs, const gr_gradcheck_args *args)
{
    planted none = {0};
    return gr_gradcheck_with(with_wrong_slope, &none, inputs, args);
}

Test(options, structs_that_do_not_begin_with_their_defaults_are_refused)
{
    gr_tensor *x = logits(), *y = targets(), *a = rows(0);
    gr_tensor *p = gr_parameter(x);
    BEGUN(gr_bce_with, bce, "bce", y, .target = y);
    BEGUN(gr_bce_with_logits_with, bce, "bce_with_logits", x, .target = y);
    BEGUN(gr_huber_with, huber, "huber", x, .target = y);
    BEGUN(gr_smooth_l1_with, smooth_l1, "smooth_l1", x, .target = y);
    BEGUN(gr_poisson_nll_with, poisson_nll, "poisson_nll", x, .target = y);
    BEGUN(gr_gaussian_nll_with, gaussian_nll, "gaussian_nll", x, .target = y, .variance = rates());
    BEGUN(gr_nll_with, nll, "nll", a, .target = classes());
    BEGUN(gr_cross_entropy_with, cross_entropy, "cross_entropy", a, .target = classes());
    BEGUN(gr_cross_entropy_with, cross_entropy, "cross_entropy", a, .target = rows(1));
    BEGUN(gr_hinge_embedding_with, hinge_embedding, "hinge_embedding", x, .target = signs());
    BEGUN(gr_triplet_margin_with, triplet_margin, "triplet_margin", a, .positive = a,
          .negative = a);
    BEGUN(gr_sgd_with, sgd, "sgd", ctx, .parameters = gr_list(p));
    BEGUN(gr_adam_with, adam, "adam", ctx, .parameters = gr_list(p));
    BEGUN(check_with, gradcheck, "gradcheck", gr_list(x), .low = -9, .high = 9);
    BEGUN(gr_csv_read_with, csv, "csv", ctx, .path = "/nowhere");
    const gr_adam_args zeros = {.parameters = gr_list(p)};
    (void)!gr_adamw_with(ctx, &zeros);
    expect_not_begun("adamw", "adamw");
}

/* The functions give what the macros write. */
Test(options, the_functions_of_defaults_are_the_lines_of_the_headers)
{
    cr_expect_eq(gr_sgd_defaults().lr, 0.01);
    cr_expect_eq(gr_adam_defaults().weight_decay, 0);
    cr_expect_eq(gr_adamw_defaults().weight_decay, 0.01);
    cr_expect_eq(gr_adamw_defaults().beta2, 0.999);
    cr_expect_eq(gr_bce_defaults().alpha, GR_NO_ALPHA);
    cr_expect_eq(gr_nll_defaults().ignore_index, -100);
    cr_expect_eq(gr_csv_defaults().delimiter, ',');
    gr_adam_args args = gr_adamw_defaults();
    gr_tensor *x = gr_parameter(column(theta)), *y = gr_parameter(column(theta));
    args.parameters = gr_list(x);
    args.weight_decay = 0;
    gr_tensor *by_struct = trained(x, gr_adamw_with(ctx, &args));
    gr_tensor *by_name = trained(y, gr_adamw(ctx, gr_list(y), .weight_decay = 0));
    cr_expect(same_bits(by_struct, by_name));
}
