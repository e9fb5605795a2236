/* bce_sums.c - bce_sum and the map kernels of the cross entropies: the bits of an element depend
 * only on the element, an option that has no effect changes no bit, and sums and slopes are
 * accurate.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

enum { X, Y, W, P, MASK, ARRAYS };
enum { LOSS, DX, DY, DW, DP };
enum { MANY = 9000 };

static const gr_kernels *tables[ISAS];
static int table_count;

static void begin_bce_sums(void)
{
    reseed(1);
    table_count = find_tables(tables);
}

TestSuite(bce_sums, .init = begin_bce_sums);

/* A cross entropy of a table: a map kernel, or bce_sum if `sum`. */
typedef struct form {
    const gr_kernels *table;
    int kind, ktype;
    bool sum;
    gr_bce_kernel_args args;
} form;

#define EACH_FORM(f)                                                                               \
    for (form f = {.table = tables[0]}, *at = &f; at; at = NULL)                                   \
        for (int t = 0; t < table_count; t++)                                                      \
            for (f.table = tables[t], f.kind = 0; f.kind < GR_BCE_KINDS; f.kind++)                 \
                for (f.ktype = 0; f.ktype < GR_KTYPES; f.ktype++)                                  \
                    for (int sum = 0; sum < 2; sum++)                                              \
                        for (int option = (f.sum = sum, 0); option < COUNT_OF(options); option++)

static const gr_bce_kernel_args options[] = {{0},
                                             {.label_smoothing = 0.1},
                                             {.gamma = 2, .alpha = 0.25, .balanced = true},
                                             {.strict_target = true}};

/* ---- Elements -------------------------------------------------------------------------------- */

typedef struct arrays {
    double memory[ARRAYS][MANY];
} arrays;

static arrays source, given, reference, result;

/* Inputs of this kind, a few of them infinite or NaN; hard and soft targets; weights, many of them
   1; masks of 0 and 1. */
static void draw_elements(int kind, int ktype, arrays *to)
{
    for (int64_t i = 0; i < MANY; i++) {
        const double ends[] = {kind ? INFINITY : 0, kind ? -INFINITY : 1, NAN, 0.5};
        const double x = kind ? draw(-30, 30) : draw(0, 1);
        put(ktype, to->memory[X], i, draw_bits() % 50 ? x : ends[draw_bits() % 4]);
        put(ktype, to->memory[Y], i, draw_bits() % 2 ? (double)(draw_bits() & 1) : draw(0, 1));
        put(ktype, to->memory[W], i, draw_bits() % 2 ? 1 : draw(-1, 3));
        put(ktype, to->memory[P], i, draw_bits() % 2 ? 1 : draw(0, 5));
        put(ktype, to->memory[MASK], i, draw_bits() % 4 ? 1 : 0);
    }
}

/* Runs the form over n elements, in blocks, as the driver does. Bit k of `operands`: operand k is
   given. Bit k of `wanted`: output k is wanted. All bits are set in what the kernel does not
   write. */
static int run(const form *f, int64_t n, arrays *from, unsigned operands, unsigned wanted,
               arrays *to, double *lanes)
{
    const int64_t size = size_of(f->ktype);
    int outside = 0;
    memset(lanes, 0, GR_LANES * sizeof *lanes);
    memset(to, 0xff, sizeof *to);
    for (int64_t i = 0; i < n; i += GR_BLOCK) {
        const int64_t count = n - i < GR_BLOCK ? n - i : GR_BLOCK;
        const void *in[ARRAYS];
        void *out[ARRAYS];
        for (int k = 0; k < ARRAYS; k++) {
            in[k] = operands >> k & 1 ? (char *)from->memory[k] + i * size : NULL;
            out[k] = wanted >> k & 1 ? (char *)to->memory[k] + i * size : NULL;
        }
        if (f->sum)
            outside |= f->table->bce_sum[f->kind][f->ktype](count, out, in, &f->args, lanes);
        else
            outside |= f->table->map[GR_KERNEL_BCE + f->kind][f->ktype](count, out, in, &f->args);
    }
    return outside;
}

/* ---- Bits of an element ---------------------------------------------------------------------- */

/* Runs n elements of the source, in an order that differs each time. Each must give the same bits
   as it gave among all elements. */
static void check_batch(const form *f, int64_t n, unsigned operands, unsigned wanted)
{
    const int64_t size = size_of(f->ktype), step = 2 * (int64_t)(draw_bits() % 4000) + 1;
    const int64_t first = (int64_t)(draw_bits() % MANY);
    double lanes[GR_LANES];
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < ARRAYS; k++)
            memcpy((char *)given.memory[k] + i * size,
                   (char *)source.memory[k] + (first + i * step) % MANY * size, (size_t)size);
    run(f, n, &given, operands, wanted, &result, lanes);
    for (int k = f->sum; k < ARRAYS; k++)
        for (int64_t i = 0; wanted >> k & 1 && i < n; i++) {
            const int64_t at = (first + i * step) % MANY;
            if (memcmp((char *)result.memory[k] + i * size, (char *)reference.memory[k] + at * size,
                       (size_t)size) == 0)
                continue;
            cr_expect_fail("%s, kind %d, f%d, sum %d, output %d: element %d of %d is %a, not %a",
                           f->table->isa, f->kind, 32 << f->ktype, f->sum, k, (int)i, (int)n,
                           get(f->ktype, result.memory[k], i),
                           get(f->ktype, reference.memory[k], at));
            return;
        }
}

static int64_t draw_length(int i)
{
    static const int64_t lengths[] = {1, 7, 16, 63, 64, 65, 1023, 1024, 1025, 4096, 4097, MANY};
    return i < COUNT_OF(lengths) ? lengths[i] : 1 + (int64_t)(draw_bits() % (i % 2 ? 200 : MANY));
}

Test(bce_sums, an_elements_bits_depend_on_the_element_alone)
{
    EACH_FORM(f) {
        f.args = options[option];
        draw_elements(f.kind, f.ktype, &source);
        for (unsigned more = 0; more < 8; more++) {
            const unsigned operands = 3 | more << 2;
            double lanes[GR_LANES];
            run(&f, MANY, &source, operands, 0x1f, &reference, lanes);
            for (int i = 0; i < 16; i++)
                check_batch(&f, draw_length(i), operands, 1 + (unsigned)(draw_bits() % 31));
        }
    }
}

/* ---- Options without effect ------------------------------------------------------------------ */

static void expect_same(const form *f, int64_t n, const char *what, unsigned choice,
                        const double *lanes, const double *right)
{
    cr_expect_eq(first_other_bits(GR_K64, lanes, right, GR_LANES), -1,
                 "%s, kind %d, f%d, %d elements, %s %u: another sum", f->table->isa, f->kind,
                 32 << f->ktype, (int)n, what, choice);
    for (int k = f->sum; k < ARRAYS; k++)
        cr_expect(first_other_bits(f->ktype, result.memory[k], reference.memory[k], n) < 0,
                  "%s, kind %d, f%d, sum %d, %d elements, %s %u: another output %d", f->table->isa,
                  f->kind, 32 << f->ktype, f->sum, (int)n, what, choice, k);
}

Test(bce_sums, ones_change_nothing)
{
    EACH_FORM(f) {
        f.args = options[option];
        draw_elements(f.kind, f.ktype, &source);
        for (int64_t i = 0; i < MANY; i++)
            for (int k = W; k < ARRAYS; k++)
                put(f.ktype, source.memory[k], i, 1);
        for (int i = 0; i < 14; i++) {
            const int64_t n = draw_length(i);
            double right[GR_LANES], lanes[GR_LANES];
            run(&f, n, &source, 3, 0x1f, &reference, right);
            for (unsigned more = 1; more < 8; more++) {
                run(&f, n, &source, 3 | more << 2, 0x1f, &result, lanes);
                expect_same(&f, n, "operands", more, lanes, right);
            }
        }
    }
}

/* The sum does not depend on which outputs are wanted, or on strict_target. */
Test(bce_sums, outputs_and_strictness_do_not_change_the_sum)
{
    EACH_FORM(f) {
        f.args = options[option];
        draw_elements(f.kind, f.ktype, &source);
        for (int i = 0; f.sum && i < 14; i++) {
            const int64_t n = draw_length(i);
            const unsigned operands = 3 | (unsigned)(draw_bits() % 8) << 2;
            double right[GR_LANES], lanes[GR_LANES];
            f.args.strict_target = false;
            run(&f, n, &source, operands, 0, &reference, right);
            for (unsigned wanted = 0; wanted < 32; wanted += 2) {
                f.args.strict_target = wanted & 4;
                run(&f, n, &source, operands, wanted, &result, lanes);
                cr_expect_eq(first_other_bits(GR_K64, lanes, right, GR_LANES), -1,
                             "%s, kind %d, f%d, %d elements, outputs %x", f.table->isa, f.kind,
                             32 << f.ktype, (int)n, wanted);
            }
        }
    }
}

/* ---- Many plain logits ----------------------------------------------------------------------- */

/* What a chunk adds to a lane: the losses' linear parts, and log1p of q, the product of the (1 + z)
   less 1, z = exp(-|x|). One exp an element, and a logarithm a lane. */
static void add_chunk(const form *f, const char *x, const char *y, double *lanes)
{
    double down[GR_CHUNK], z[GR_CHUNK], linear[GR_LANES] = {0}, q[GR_LANES] = {0}, log[GR_LANES];
    for (int64_t i = 0; i < GR_CHUNK; i++)
        put(f->ktype, down, i, -fabs(get(f->ktype, x, i)));
    f->table->map[GR_KERNEL_EXP][f->ktype](GR_CHUNK, (void *[]){z}, (const void *[]){down}, NULL);
    for (int64_t i = 0; i < GR_CHUNK; i++) {
        const double one_x = get(f->ktype, x, i), one_y = get(f->ktype, y, i);
        double part[2];
        put(f->ktype, part, 0, one_x < 0 ? one_y : 1 - one_y);
        put(f->ktype, part, 0, get(f->ktype, part, 0) * fabs(one_x));
        const double one_z = get(f->ktype, z, i);
        linear[i % GR_LANES] += get(f->ktype, part, 0);
        q[i % GR_LANES] = fma(q[i % GR_LANES], 1 + one_z, one_z);
    }
    f->table->map[GR_KERNEL_LOG1P][GR_K64](GR_LANES, (void *[]){log}, (const void *[]){q}, NULL);
    for (int lane = 0; lane < GR_LANES; lane++)
        lanes[lane] += linear[lane] + log[lane];
}

/* The bits are those of the product, and not those of the elements' logarithms. */
Test(bce_sums, logarithms_of_plain_logits_are_taken_together)
{
    enum { COUNT = 2 * GR_BLOCK };
    EACH_FORM(f) {
        if (!f.sum || f.kind != GR_BCE_OF_LOGITS || option != 0)
            continue;
        for (int64_t i = 0; i < MANY; i++) {
            put(f.ktype, source.memory[X], i, draw(-30, 30));
            put(f.ktype, source.memory[Y], i, draw(0, 1));
        }
        for (unsigned wanted = 0; wanted < 32; wanted += 2) {
            double got[GR_LANES], right[GR_LANES] = {0}, elements[GR_LANES] = {0};
            run(&f, COUNT, &source, 3, wanted, &result, got);
            for (int64_t i = 0; i < COUNT; i += GR_CHUNK)
                add_chunk(&f, (char *)source.memory[X] + i * size_of(f.ktype),
                          (char *)source.memory[Y] + i * size_of(f.ktype), right);
            cr_expect_eq(first_other_bits(GR_K64, got, right, GR_LANES), -1,
                         "%s, f%d, outputs %x: %a, not %a", f.table->isa, 32 << f.ktype, wanted,
                         got[0], right[0]);
            form single = f;
            single.sum = false;
            double unused[GR_LANES];
            run(&single, COUNT, &source, 3, 1, &reference, unused);
            f.table->accumulate[f.ktype](COUNT, reference.memory[LOSS], elements);
            cr_expect_neq(first_other_bits(GR_K64, right, elements, GR_LANES), -1,
                          "%s, f%d: the two ways cannot be told apart", f.table->isa,
                          32 << f.ktype);
        }
    }
}

/* For all outputs and all ways of summing, unless the mask drops the element. */
Test(bce_sums, a_target_outside_is_reported)
{
    EACH_FORM(f) {
        f.args = options[option];
        draw_elements(f.kind, f.ktype, &source);
        for (int64_t i = 0; i < MANY; i++) {
            put(f.ktype, source.memory[X], i, 0.5);
            put(f.ktype, source.memory[MASK], i, i != 7);
        }
        put(f.ktype, source.memory[Y], 7, option % 2 ? 1.5 : NAN);
        for (unsigned wanted = f.sum ? 0 : 1; wanted < 32; wanted++)
            for (int64_t n = 8; n < 3000; n *= 12) {
                double lanes[GR_LANES];
                const int right = f.args.strict_target ? GR_OUTSIDE_TARGET : 0;
                cr_expect_eq(run(&f, n, &source, 3, wanted, &result, lanes), right);
                cr_expect_eq(run(&f, n, &source, 0x13, wanted, &result, lanes), 0);
            }
    }
}

/* A weight that is not 1 changes how its own chunk is summed, but no other chunk. */
Test(bce_sums, a_chunk_is_summed_as_it_would_be_alone)
{
    form f = {.kind = GR_BCE_OF_LOGITS, .sum = true};
    for (int t = 0; t < table_count; t++)
        for (f.table = tables[t], f.ktype = 0; f.ktype < GR_KTYPES; f.ktype++) {
            double both[GR_LANES], lanes[GR_LANES], alone[GR_LANES];
            draw_elements(f.kind, f.ktype, &source);
            for (int64_t i = 0; i < MANY; i++) {
                put(f.ktype, source.memory[X], i, draw(-9, 9));
                put(f.ktype, source.memory[W], i, i == GR_CHUNK + 5 ? 2 : 1);
            }
            run(&f, 2 * GR_CHUNK, &source, 7, 0x1e, &result, both);
            run(&f, GR_CHUNK, &source, 3, 0x1e, &result, lanes);
            memcpy(&given.memory[X], (char *)source.memory[X] + GR_CHUNK * size_of(f.ktype), 8192);
            memcpy(&given.memory[Y], (char *)source.memory[Y] + GR_CHUNK * size_of(f.ktype), 8192);
            memcpy(&given.memory[W], (char *)source.memory[W] + GR_CHUNK * size_of(f.ktype), 8192);
            run(&f, GR_CHUNK, &given, 7, 0x1e, &result, alone);
            for (int lane = 0; lane < GR_LANES; lane++)
                cr_expect_leq(fabs(both[lane] - (lanes[lane] + alone[lane])), 1e-12, "f%d, %s",
                              32 << f.ktype, f.table->isa);
        }
}

/* The sum of less than a chunk adds the losses that the map kernel computes. */
Test(bce_sums, of_few_elements_is_the_sum_of_their_losses)
{
    EACH_FORM(f) {
        f.args = options[option];
        draw_elements(f.kind, f.ktype, &source);
        for (int64_t n = 1; f.sum && n < GR_CHUNK; n += 1 + n / 8) {
            double lanes[GR_LANES], right[GR_LANES] = {0}, none[GR_LANES];
            const unsigned operands = 3 | (unsigned)(draw_bits() % 8) << 2;
            run(&f, n, &source, operands, 0, &result, lanes);
            form elements = f;
            elements.sum = false;
            run(&elements, n, &source, operands, 1, &result, none);
            f.table->accumulate[f.ktype](n, result.memory[LOSS], right);
            for (int lane = 0; lane < GR_LANES; lane++)
                cr_expect(same_element(GR_K64, lanes, right, lane), "f%d, %s, %d elements",
                          32 << f.ktype, f.table->isa, (int)n);
        }
    }
}

/* ---- Accuracy of the slope ------------------------------------------------------------------- */

static long double unit_of(int ktype, long double size)
{
    int exponent;
    (void)!frexpl(size, &exponent);
    return ldexpl(1, exponent - (ktype == GR_K32 ? 24 : 53));
}

/* The largest error of dx, in ulp of dx or of the larger of its two terms, if that is larger. */
static double slope_error(const gr_kernels *table, int ktype, int64_t n, unsigned operands,
                          double smoothing)
{
    form f = {table, GR_BCE_OF_LOGITS, ktype, true, {.label_smoothing = smoothing}};
    double lanes[GR_LANES], most = 0;
    for (int64_t i = 0; i < n; i++) {
        put(ktype, given.memory[X], i, draw(-1, 1) * (i % 2 ? 30 : 5));
        put(ktype, given.memory[Y], i, draw_bits() % 2 ? (double)(draw_bits() & 1) : draw(0, 1));
        put(ktype, given.memory[W], i, draw_bits() % 4 ? draw(0.1, 3) : 1);
        put(ktype, given.memory[P], i, draw_bits() % 4 ? draw(0, 5) : 1);
        put(ktype, given.memory[MASK], i, 1);
    }
    run(&f, n, &given, operands, 1 << DX, &result, lanes);
    for (int64_t i = 0; i < n; i++) {
        const long double x = get(ktype, given.memory[X], i), z = expl(-fabsl(x));
        const long double y = get(ktype, given.memory[Y], i);
        const long double t = y * (1 - (long double)smoothing) + (long double)smoothing / 2;
        const long double w = operands >> W & 1 ? get(ktype, given.memory[W], i) : 1;
        const long double p = operands >> P & 1 ? get(ktype, given.memory[P], i) : 1;
        const long double up = w * (1 - t) * (x < 0 ? z : 1) / (1 + z);
        const long double down = w * p * t * (x < 0 ? 1 : z) / (1 + z);
        const long double size = fmaxl(up, down), right = up - down;
        const long double off = fabsl(get(ktype, result.memory[DX], i) - right);
        most = fmax(most, (double)(off / unit_of(ktype, fmaxl(size, fabsl(right)))));
    }
    return most;
}

typedef struct choice {
    unsigned operands;
    double smoothing, most[GR_KTYPES]; /* 0: not tested */
} choice;

/* With label smoothing doubles are not tested: their target is rounded, which can be a large
   relative error of 1-t. */
static const choice choices[] = {
    {0x03, 0, {1.9, 1.9}}, {0x03, 0.1, {1.9, 0}}, {0x07, 0, {1.9, 1.9}},
    {0x0b, 0, {1.9, 1.9}}, {0x1f, 0, {1.9, 1.9}}, {0x1f, 0.1, {1.9, 0}},
};

/* Plain floats are tested with 4 million elements, the other choices with an eighth of that. The
   largest errors are 1.65 ulp for floats and 1.49 ulp for doubles. */
Test(bce_sums, a_logits_slope_is_accurate_with_every_option)
{
    for (int ktype = 0; ktype < GR_KTYPES; ktype++)
        for (int i = 0; i < COUNT_OF(choices); i++) {
            const choice *of = &choices[i];
            const int64_t count = ktype == GR_K32 && i == 0 ? 1 << 22 : 1 << 19;
            double most = 0;
            for (int64_t at = 0; of->most[ktype] != 0 && at < count; at += MANY)
                most = fmax(most, slope_error(tables[table_count - 1], ktype, MANY, of->operands,
                                              of->smoothing));
            if (getenv("ACCURACY_PRINT"))
                fprintf(stderr, "f%d, choice %d: %.3f ulp\n", 32 << ktype, i, most);
            cr_expect_leq(most, of->most[ktype], "f%d, choice %d: %g ulp", 32 << ktype, i, most);
        }
}

/* ---- Accuracy of the sum --------------------------------------------------------------------- */

/* The error of a sum over logits, relative to the sum. */
static double sum_error(const gr_kernels *table, int ktype, int64_t n, unsigned operands,
                        double smoothing, bool constant)
{
    form f = {table, GR_BCE_OF_LOGITS, ktype, true, {.label_smoothing = smoothing}};
    double lanes[GR_LANES];
    long double right = 0;
    const double first_x = draw(-20, 20);
    for (int64_t i = 0; i < n; i++) {
        put(ktype, given.memory[X], i, constant ? first_x : draw(-1, 1) * (i % 2 ? 30 : 5));
        put(ktype, given.memory[Y], i, draw_bits() % 2 ? (double)(draw_bits() & 1) : draw(0, 1));
        put(ktype, given.memory[W], i, draw(0.1, 3));
        put(ktype, given.memory[P], i, draw(0, 5));
        put(ktype, given.memory[MASK], i, draw_bits() % 4 ? 1 : 0);
    }
    run(&f, n, &given, operands, 0, &result, lanes);
    for (int64_t i = 0; i < n; i++) {
        const long double x = get(ktype, given.memory[X], i), q = log1pl(expl(-fabsl(x)));
        const long double y = get(ktype, given.memory[Y], i);
        const long double t = y * (1 - (long double)smoothing) + (long double)smoothing / 2;
        const long double w = operands >> W & 1 ? get(ktype, given.memory[W], i) : 1;
        const long double p = operands >> P & 1 ? get(ktype, given.memory[P], i) : 1;
        const bool kept = !(operands >> MASK & 1) || get(ktype, given.memory[MASK], i) != 0;
        if (kept)
            right += w * (p * t * (fmaxl(-x, 0) + q) + (1 - t) * (fmaxl(x, 0) + q));
    }
    return (double)fabsl((gr_fold_lanes(lanes) - right) / right);
}

/* Floats have errors in exp(-|x|), which cancel in a sum. If all logits are equal they do not
   cancel, and the relative error is that of one element. */
Test(bce_sums, a_sum_of_logits_is_accurate_with_every_option)
{
    const gr_kernels *table = tables[table_count - 1];
    for (int ktype = 0; ktype < GR_KTYPES; ktype++)
        for (int i = 0; i < COUNT_OF(choices); i++)
            for (int constant = 0; constant < 2; constant++) {
                const choice *of = &choices[i];
                const double bound = ktype == GR_K64 ? 5e-15 : constant ? 1e-7 : 1e-8;
                double most = 0;
                for (int turn = 0; turn < 50; turn++)
                    most = fmax(most, sum_error(table, ktype, GR_BLOCK, of->operands, of->smoothing,
                                                constant));
                if (getenv("ACCURACY_PRINT"))
                    fprintf(stderr, "f%d, choice %d, constant %d: %.3g\n", 32 << ktype, i, constant,
                            most);
                cr_expect_leq(most, bound, "f%d, choice %d: %g", 32 << ktype, i, most);
            }
}
