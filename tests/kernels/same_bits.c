/* same_bits.c - every kernel of every table gives the same bits as the scalar one, for all values,
 * lengths and alignments, and writes nothing else. For the elementwise kernels this includes the
 * bits of a NaN; for products any two NaNs count as equal.
 *
 * The rows come from kernels.def, so that a new kernel is tested automatically.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

/* The other tables must give the same bits as the first. */
static const gr_kernels *tables[ISAS];
static int table_count;

static void find_several(void)
{
    reseed(1);
    table_count = find_tables(tables);
    if (table_count < 2)
        cr_skip_test("this processor has one table only");
}

TestSuite(same_bits, .init = find_several);

/* ---- Values ---------------------------------------------------------------------------------- */

typedef enum values { UNIT, NEAR, WIDE, FAR, LABELS, EDGES, ANY_BITS, MIXED, VALUES } values;

static double draw_of(values kind, int ktype)
{
    switch (kind) {
    case UNIT:
        return draw(0, 1);
    case NEAR:
        return draw(-10, 10);
    case WIDE:
        return draw(-110, 110);
    case FAR:
        return draw(-1e4, 1e4);
    case LABELS:
        return (double)(draw_bits() & 1);
    case EDGES:
        return draw_edge();
    case ANY_BITS:
        return draw_any(ktype);
    default:
        return draw_of((values)(draw_bits() % MIXED), ktype);
    }
}

/* Fills a guarded array with n values of this kind. */
static void *fill(guarded *array, int ktype, int64_t n, int shift, values kind)
{
    void *first = guard(array, ktype, n, shift);
    for (int64_t i = 0; i < n; i++)
        put(ktype, first, i, draw_of(kind, ktype));
    return first;
}

/* ---- Elementwise ----------------------------------------------------------------------------- */

enum { ARRAYS = 5 };

/* A call of a kernel, and its results for each table. Bit k of `given`: operand k is given. Bit k
   of `wanted`: output k is wanted. */
typedef struct call {
    int id, ktype;
    int64_t n;
    unsigned given, wanted;
    const void *args;
    const void *in[ARRAYS];
    void *out[ISAS][ARRAYS];
    int returned[ISAS];
} call;

static guarded operands[ARRAYS], results[ISAS][ARRAYS];

static void run(call *c, int table, int shift)
{
    for (int k = 0; k < ARRAYS; k++)
        c->out[table][k] = c->wanted >> k & 1
                               ? guard(&results[table][k], c->ktype, c->n, (shift + k) % SHIFTS)
                               : NULL;
    c->returned[table] = tables[table]->map[c->id][c->ktype](c->n, c->out[table], c->in, c->args);
}

static void expect_same_result(const call *c, int table)
{
    const char *name = kernel_rows[c->id].name, *isa = tables[table]->isa;
    if (c->returned[table] != c->returned[0])
        cr_expect_fail("%s f%d, %s: returns %d, not %d", name, 32 << c->ktype, isa,
                       c->returned[table], c->returned[0]);
    for (int k = 0; k < ARRAYS; k++) {
        if (!(c->wanted >> k & 1))
            continue;
        const void *got = c->out[table][k], *want = c->out[0][k];
        const int64_t i = first_other_bits(c->ktype, got, want, c->n);
        if (i >= 0)
            cr_expect_fail("%s f%d, %s, output %d: element %d of %d is %a, not %a", name,
                           32 << c->ktype, isa, k, (int)i, (int)c->n, get(c->ktype, got, i),
                           get(c->ktype, want, i));
        if (!guards_hold(got, c->ktype, c->n))
            cr_expect_fail("%s f%d, %s, output %d: writes beyond its %d elements", name,
                           32 << c->ktype, isa, k, (int)c->n);
    }
}

/* Runs the call with every table, on operands of these kinds and at different alignments. */
static void compare(call c, values first, values others)
{
    const int shift = (int)(draw_bits() % SHIFTS);
    for (int k = 0; k < ARRAYS; k++)
        c.in[k] = c.given >> k & 1 ? fill(&operands[k], c.ktype, c.n, (shift + 3 * k) % SHIFTS,
                                          k ? others : first)
                                   : NULL;
    for (int table = 0; table < table_count; table++) {
        run(&c, table, (shift + table) % SHIFTS);
        expect_same_result(&c, table);
    }
}

static bool is_bce(int id) { return id == GR_KERNEL_BCE || id == GR_KERNEL_BCE_WITH_LOGITS; }

static const double exponents[] = {0,  1,   2, 3,  -1,  0.5, -0.5, 1.5,
                                   -2, 0.1, 7, -3, 2.5, 100, -0.1, 1e300};

/* Random options of the kernel. */
static const void *draw_options(int id)
{
    static gr_pow_kernel_args power;
    static gr_scale_kernel_args scale;
    static gr_bce_kernel_args bce;
    static const double gammas[] = {0, 0, 2, 1, 0.5, 2.5};
    power.exponent = exponents[draw_bits() % COUNT_OF(exponents)];
    scale.factor = draw_bits() % 4 ? draw(-2, 2) : draw_bits() % 2 ? (double)INFINITY : 0.25;
    scale.rest = draw_bits() % 2 ? 0 : scale.factor * draw(-1, 1) * 0x1p-53;
    bce.label_smoothing = draw_bits() % 2 ? 0 : 0.1;
    bce.gamma = gammas[draw_bits() % COUNT_OF(gammas)];
    bce.balanced = draw_bits() % 2;
    bce.alpha = bce.balanced ? 0.25 : 0;
    bce.strict_target = draw_bits() % 2;
    if (id == GR_KERNEL_SCALE)
        return &scale;
    return is_bce(id) ? (const void *)&bce : (const void *)&power;
}

/* Compares a kernel with all operands and outputs. All operands have values of this kind, or all
   but the first are labels. */
static void compare_row(int id, int ktype, int64_t n, values kind)
{
    const call c = {.id = id,
                    .ktype = ktype,
                    .n = n,
                    .given = (1u << kernel_rows[id].inputs) - 1,
                    .wanted = (1u << kernel_rows[id].outputs) - 1,
                    .args = draw_options(id)};
    compare(c, kind, draw_bits() % 2 ? kind : LABELS);
}

#define EACH_ROW_AND_TYPE(id, ktype)                                                               \
    for (int id = 0; id < GR_KERNEL_COUNT; id++)                                                   \
        for (int ktype = 0; ktype < GR_KTYPES; ktype++)

Test(same_bits, every_row_at_every_short_length)
{
    EACH_ROW_AND_TYPE(id, ktype)
        for (int64_t n = 0; n <= 100; n++)
            compare_row(id, ktype, n, MIXED);
}

Test(same_bits, every_row_at_length_over_all_kinds_of_values)
{
    EACH_ROW_AND_TYPE(id, ktype)
        for (values kind = 0; kind < VALUES; kind++)
            compare_row(id, ktype, LONGEST, kind);
}

Test(same_bits, every_exponent)
{
    for (int ktype = 0; ktype < GR_KTYPES; ktype++)
        for (int i = 0; i < COUNT_OF(exponents); i++) {
            const gr_pow_kernel_args args = {exponents[i]};
            compare((call){.id = GR_KERNEL_POW,
                           .ktype = ktype,
                           .n = 1003,
                           .given = 1,
                           .wanted = 1,
                           .args = &args},
                    MIXED, MIXED);
        }
}

/* ---- NaN ------------------------------------------------------------------------------------- */

/* NaN of both signs, with and without payload, and values for which a function has no result. */
static const uint32_t special_floats[] = {
    0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000,
    0x7fc01234, 0xffc01234, 0x7f800001, 0xff800001, 0x7fabcdef, 0xffabcdef, 0x7f7fffff, 0xff7fffff,
    0x00000001, 0x80000001, 0xc0000000, 0xbf000000, 0x42c80000, 0xc2c80000,
};
static const uint64_t special_doubles[] = {
    0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,
    0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0xfff8000000000000,
    0x7ff8000012345678, 0xfff8000012345678, 0x7ff0000000000001, 0xfff0000000000001,
    0x7ff4567812345678, 0xfff4567812345678, 0x7fefffffffffffff, 0xffefffffffffffff,
    0x0000000000000001, 0x8000000000000001, 0xc000000000000000, 0xbfe0000000000000,
    0x4087000000000000, 0xc087000000000000,
};
enum { SPECIALS = COUNT_OF(special_floats) };

static void put_special(int ktype, void *to, int64_t i, int64_t special)
{
    if (ktype == GR_K32)
        memcpy((float *)to + i, &special_floats[special], sizeof(float));
    else
        memcpy((double *)to + i, &special_doubles[special], sizeof(double));
}

/* The first two operands are all pairs of special values. The others are random ones. */
static void compare_specials(int id, int ktype, const void *args)
{
    call c = {.id = id,
              .ktype = ktype,
              .n = SPECIALS * SPECIALS,
              .given = (1u << kernel_rows[id].inputs) - 1,
              .wanted = (1u << kernel_rows[id].outputs) - 1,
              .args = args};
    for (int k = 0; k < kernel_rows[id].inputs; k++) {
        void *x = guard(&operands[k], ktype, c.n, k);
        c.in[k] = x;
        for (int64_t i = 0; i < c.n; i++)
            put_special(ktype, x, i,
                        k == 0   ? i / SPECIALS
                        : k == 1 ? i % SPECIALS
                                 : (int64_t)(draw_bits() % SPECIALS));
    }
    for (int table = 0; table < table_count; table++) {
        run(&c, table, table);
        expect_same_result(&c, table);
    }
}

Test(same_bits, every_row_of_special_values)
{
    EACH_ROW_AND_TYPE(id, ktype)
        for (int i = 0; i < 30; i++)
            compare_specials(id, ktype, draw_options(id));
}

/* Rows that compute their result: each NaN is the one NaN. */
Test(same_bits, a_computed_nan_is_the_one_nan)
{
    static const int computed[] = {
        GR_KERNEL_SQUARE,
        GR_KERNEL_SQRT,
        GR_KERNEL_LOG,
        GR_KERNEL_LOG1P,
        GR_KERNEL_SIGN,
        GR_KERNEL_SOFTPLUS,
        GR_KERNEL_ADD,
        GR_KERNEL_SUB,
        GR_KERNEL_MUL,
        GR_KERNEL_DIV,
        GR_KERNEL_POW,
        GR_KERNEL_TIMES,
        GR_KERNEL_SIGMOID_VJP,
        GR_KERNEL_SOFTPLUS_VJP,
        GR_KERNEL_TANH_VJP,
        GR_KERNEL_BCE,
        GR_KERNEL_BCE_WITH_LOGITS,
        GR_KERNEL_SIGMOID_SLOPE,
        GR_KERNEL_TANH_SLOPE,
        GR_KERNEL_SIGMOID,
        GR_KERNEL_SCALE,
    };
    for (int r = 0; r < COUNT_OF(computed); r++)
        for (int ktype = 0; ktype < GR_KTYPES; ktype++) {
            double one[1] = {0};
            put(ktype, one, 0, (double)NAN);
            compare_specials(computed[r], ktype, draw_options(computed[r]));
            const void *got = results[0][0].memory;
            for (int64_t i = 0; i < SPECIALS * SPECIALS; i++) {
                const char *at = (const char *)got + (GUARD + i) * size_of(ktype);
                cr_expect(!isnan(get(ktype, at, 0)) || first_other_bits(ktype, at, one, 1) < 0,
                          "%s f%d of special %d, %d", kernel_rows[computed[r]].name, 32 << ktype,
                          (int)(i / SPECIALS), (int)(i % SPECIALS));
            }
        }
}

/* Element i of an array of either type, as bits. */
static uint64_t element_bits(int ktype, const void *from, int64_t i)
{
    uint64_t bits = 0;
    memcpy(&bits, (const char *)from + i * size_of(ktype), (size_t)size_of(ktype));
    return bits;
}

/* exp keeps the bits of a NaN, and makes it quiet. The NaN of tanh has all bits set. */
Test(same_bits, the_nan_of_exp_and_tanh)
{
    static const int rows[] = {GR_KERNEL_EXP, GR_KERNEL_TANH};
    for (int r = 0; r < COUNT_OF(rows); r++)
        for (int ktype = 0; ktype < GR_KTYPES; ktype++) {
            const uint64_t quiet = ktype == GR_K32 ? 1ull << 22 : 1ull << 51;
            const uint64_t sign = ktype == GR_K32 ? 1ull << 31 : 1ull << 63;
            compare_specials(rows[r], ktype, NULL);
            const char *x = (const char *)operands[0].memory + GUARD * size_of(ktype);
            const char *y = (const char *)results[0][0].memory + GUARD * size_of(ktype);
            for (int64_t i = 0; i < SPECIALS * SPECIALS; i++) {
                if (!isnan(get(ktype, x, i)))
                    continue;
                uint64_t right = element_bits(ktype, x, i) | quiet;
                if (rows[r] == GR_KERNEL_TANH)
                    right = sign | (sign - 1);
                cr_expect_eq(element_bits(ktype, y, i), right, "%s f%d of special %d",
                             kernel_rows[rows[r]].name, 32 << ktype, (int)(i / SPECIALS));
            }
        }
}

/* ---- Binary cross entropy -------------------------------------------------------------------- */

/* Options number `choice` of 24. */
static gr_bce_kernel_args options_of(int choice)
{
    static const double gammas[] = {0, 2, 0.7};
    return (gr_bce_kernel_args){.label_smoothing = choice % 2 ? 0.1 : 0,
                                .alpha = 0.25,
                                .balanced = choice / 2 % 2,
                                .strict_target = choice / 4 % 2,
                                .gamma = gammas[choice / 8]};
}

/* All combinations of operands, outputs and options. */
static void compare_bce(int id, int ktype)
{
    enum { OPERANDS = 1 << 3, OUTPUTS = 1 << ARRAYS, OPTIONS = 24 };
    for (unsigned i = 0; i < OPERANDS * OUTPUTS * OPTIONS; i++) {
        const gr_bce_kernel_args args = options_of((int)(i / (OPERANDS * OUTPUTS)));
        const call c = {.id = id,
                        .ktype = ktype,
                        .n = 1 + (int64_t)(draw_bits() % 40),
                        .given = 3 | (i % OPERANDS) << 2,
                        .wanted = i / OPERANDS % OUTPUTS,
                        .args = &args};
        compare(c, i % 3 ? (id == GR_KERNEL_BCE ? UNIT : WIDE) : MIXED, i % 5 ? LABELS : MIXED);
    }
}

Test(same_bits, bce_with_every_choice_of_operands_outputs_and_options)
{
    for (int ktype = 0; ktype < GR_KTYPES; ktype++)
        compare_bce(GR_KERNEL_BCE, ktype);
}

Test(same_bits, bce_with_logits_with_every_choice_of_operands_outputs_and_options)
{
    for (int ktype = 0; ktype < GR_KTYPES; ktype++)
        compare_bce(GR_KERNEL_BCE_WITH_LOGITS, ktype);
}

/* ---- Sums ------------------------------------------------------------------------------------ */

static guarded lanes_of[ISAS];

/* The lanes of a table before a call. They are the same for all tables, and not 0 if `begun`. */
static double *lanes_before(int table, int64_t count, bool begun)
{
    double *lanes = guard(&lanes_of[table], GR_K64, count, 0);
    for (int64_t i = 0; i < count; i++)
        lanes[i] = begun ? 0.1 * (double)(i + 1) : 0;
    return lanes;
}

static void expect_same_lanes(const char *name, int ktype, int table, const double *lanes,
                              const double *right, int64_t count, int64_t n)
{
    const int64_t lane = first_difference(GR_K64, lanes, right, count);
    if (lane >= 0)
        cr_expect_fail("%s f%d, %s: lane %d of %d elements is %a, not %a", name, 32 << ktype,
                       tables[table]->isa, (int)lane, (int)n, lanes[lane], right[lane]);
    if (!guards_hold(lanes, GR_K64, count))
        cr_expect_fail("%s f%d, %s: writes beyond its lanes", name, 32 << ktype,
                       tables[table]->isa);
}

static void compare_accumulate(int ktype, int64_t n, values kind)
{
    const void *x = fill(&operands[0], ktype, n, (int)(draw_bits() % SHIFTS), kind);
    double *lanes[ISAS];
    for (int table = 0; table < table_count; table++) {
        lanes[table] = lanes_before(table, GR_LANES, true);
        tables[table]->accumulate[ktype](n, x, lanes[table]);
        expect_same_lanes("accumulate", ktype, table, lanes[table], lanes[0], GR_LANES, n);
    }
}

Test(same_bits, accumulate)
{
    for (int ktype = 0; ktype < GR_KTYPES; ktype++) {
        for (int64_t n = 0; n <= 100; n++)
            compare_accumulate(ktype, n, n % 3 ? NEAR : MIXED);
        for (values kind = 0; kind < VALUES; kind++)
            compare_accumulate(ktype, LONGEST, kind);
    }
}

static void compare_rows(int ktype, int64_t rows, int64_t columns, values kind)
{
    const int64_t stride = columns + (int64_t)(draw_bits() % 5), n = rows * stride;
    const void *x = fill(&operands[0], ktype, n, (int)(draw_bits() % SHIFTS), kind);
    double *lanes[ISAS];
    for (int table = 0; table < table_count; table++) {
        lanes[table] = lanes_before(table, GR_LANES * columns, true);
        tables[table]->accumulate_rows[ktype](rows, columns, x, stride, lanes[table]);
        expect_same_lanes("accumulate_rows", ktype, table, lanes[table], lanes[0],
                          GR_LANES * columns, n);
    }
}

Test(same_bits, accumulate_rows)
{
    for (int ktype = 0; ktype < GR_KTYPES; ktype++)
        for (int64_t columns = 1; columns <= 70; columns++)
            for (int64_t rows = 0; rows <= 50; rows += rows < 3 ? 1 : 13)
                compare_rows(ktype, rows, columns, rows % 2 ? MIXED : NEAR);
}

/* The bits of `choice` select the operands, outputs and options of bce_sum. */
static void compare_bce_sum(int kind, int ktype, int64_t n, values of, unsigned choice)
{
    const gr_bce_kernel_args args = options_of(choice % 3 ? 0 : (int)(draw_bits() % 24));
    const values first = kind == GR_BCE_OF_PROBABILITIES && of != MIXED ? UNIT : of;
    const void *in[ARRAYS];
    void *out[ISAS][ARRAYS];
    double *lanes[ISAS];
    int returned[ISAS];
    for (int k = 0; k < ARRAYS; k++) {
        const values target = choice % 2 ? UNIT : LABELS, other = k == 1 ? target : NEAR;
        const values kind_of = k == 0 ? first : of == MIXED ? MIXED : other;
        const bool is_given = k < 2 || choice >> k & 1;
        const int shift = (int)(draw_bits() % SHIFTS);
        in[k] = is_given ? fill(&operands[k], ktype, n, shift, kind_of) : NULL;
    }
    for (int table = 0; table < table_count; table++) {
        lanes[table] = lanes_before(table, GR_LANES, true);
        for (int k = 0; k < ARRAYS; k++)
            out[table][k] = k && choice >> (4 + k) & 1
                                ? guard(&results[table][k], ktype, n, (int)(draw_bits() % SHIFTS))
                                : NULL;
        returned[table] =
            tables[table]->bce_sum[kind][ktype](n, out[table], in, &args, lanes[table]);
        cr_expect_eq(returned[table], returned[0], "bce_sum %d f%d, %s", kind, 32 << ktype,
                     tables[table]->isa);
        expect_same_lanes("bce_sum", ktype, table, lanes[table], lanes[0], GR_LANES, n);
        cr_expect_eq(first_other_bits(GR_K64, lanes[table], lanes[0], GR_LANES), -1);
        for (int k = 1; k < ARRAYS; k++) {
            if (!out[table][k])
                continue;
            const int64_t i = first_other_bits(ktype, out[table][k], out[0][k], n);
            cr_expect_eq(i, -1, "bce_sum %d f%d, %s, output %d: element %d of %d is %a, not %a",
                         kind, 32 << ktype, tables[table]->isa, k, (int)i, (int)n,
                         get(ktype, out[table][k], i < 0 ? 0 : i),
                         get(ktype, out[0][k], i < 0 ? 0 : i));
            cr_expect(guards_hold(out[table][k], ktype, n), "output %d f%d, %s", k, 32 << ktype,
                      tables[table]->isa);
        }
    }
}

/* The second half uses only inputs and targets. */
static void compare_bce_sums(int kind)
{
    for (int ktype = 0; ktype < GR_KTYPES; ktype++)
        for (unsigned plain = 0; plain < 2; plain++) {
            const unsigned most = plain ? ~0x1cu : ~0u;
            for (int64_t n = 0; n <= 100; n++)
                for (int i = 0; i < 4; i++)
                    compare_bce_sum(kind, ktype, n, n % 2 ? NEAR : WIDE,
                                    (unsigned)draw_bits() & most);
            for (values of = 0; of < VALUES; of++)
                for (int i = 0; i < 8; i++)
                    compare_bce_sum(kind, ktype, i % 2 ? GR_BLOCK : 1100 + i, of,
                                    (unsigned)draw_bits() & most);
        }
}

Test(same_bits, bce_sum_of_probabilities) { compare_bce_sums(GR_BCE_OF_PROBABILITIES); }
Test(same_bits, bce_sum_of_logits) { compare_bce_sums(GR_BCE_OF_LOGITS); }

/* ---- Products and normals -------------------------------------------------------------------- */

/* The product of an m x k and a k x n matrix; m, n and k are at most 60. */
static void compare_gemm(int ktype, int64_t m, int64_t n, int64_t k, values kind)
{
    const void *a = fill(&operands[0], ktype, m * k, 0, kind);
    const void *b = fill(&operands[1], ktype, k * n, 1, kind);
    void *c[ISAS];
    for (int table = 0; table < table_count; table++) {
        const int64_t size = (tables[table]->gemm_scratch[ktype](n, k) + 63) & ~(int64_t)63;
        void *scratch = aligned_alloc(64, (size_t)size);
        memset(scratch, 0xff, (size_t)size);
        c[table] = guard(&results[table][0], ktype, m * n, 2);
        const gr_gemm problem = {.m = m,
                                 .n = n,
                                 .k = k,
                                 .a = a,
                                 .a_row = k,
                                 .a_column = 1,
                                 .b = b,
                                 .b_row = n,
                                 .b_column = 1,
                                 .c = c[table],
                                 .c_row = n};
        tables[table]->gemm[ktype](&problem, 0, m, 0, n, scratch);
        cr_expect_eq(first_difference(ktype, c[table], c[0], m * n), -1, "gemm f%d, %s, %dx%dx%d",
                     32 << ktype, tables[table]->isa, (int)m, (int)n, (int)k);
        cr_expect(guards_hold(c[table], ktype, m * n), "gemm f%d, %s", 32 << ktype,
                  tables[table]->isa);
        free(scratch);
    }
}

Test(same_bits, gemm)
{
    for (int ktype = 0; ktype < GR_KTYPES; ktype++)
        for (int i = 0; i < 300; i++)
            compare_gemm(ktype, 1 + (int64_t)(draw_bits() % 60), 1 + (int64_t)(draw_bits() % 60),
                         (int64_t)(draw_bits() % 60), i % 8 == 7 ? EDGES : (values)(i % 8));
}

enum { LINES = 4 };

/* Calls a kernel of a line on four arrays. */
static void run_line(int table, int kernel, int64_t n, double *const *at)
{
    const gr_kernels *k = tables[table];
    static float narrow[LONGEST];
    switch (kernel) {
    case 0:
        k->line.softmax(n, at[0], at[1]);
        break;
    case 1:
        k->line.log_softmax(n, at[0], at[1]);
        break;
    case 2:
        k->line.others(n, at[0], at[1]);
        break;
    case 3:
        k->line.softmax_slope(n, at[0], at[1], at[2], at[3]);
        break;
    case 4:
        k->line.log_softmax_slope(n, at[0], at[1], at[2]);
        break;
    default:
        k->line.narrow(n, at[0], narrow);
        for (int64_t i = 0; i < n; i++)
            at[1][i] = (double)narrow[i];
    }
}

/* The arrays that hold results of the kernels above: bit k for array k. */
static const unsigned line_results[] = {3, 2, 2, 1, 4, 2};

static void compare_lines(int kernel, int64_t n, values of)
{
    static double in[LINES][LONGEST], got[ISAS][LINES][LONGEST + GR_LINE_PAD];
    for (int k = 0; k < LINES; k++)
        memcpy(in[k], fill(&operands[0], GR_K64, n, 0, of), (size_t)n * sizeof(double));
    for (int table = 0; table < table_count; table++) {
        double *at[LINES];
        for (int k = 0; k < LINES; k++)
            at[k] = memcpy(got[table][k], in[k], (size_t)n * sizeof(double));
        run_line(table, kernel, n, at);
        for (int k = 0; k < LINES; k++)
            if (line_results[kernel] >> k & 1)
                cr_expect_lt(first_other_bits(GR_K64, got[table][k], got[0][k], n), 0,
                             "line kernel %d, %s, %d elements, array %d", kernel,
                             tables[table]->isa, (int)n, k);
    }
}

Test(same_bits, lines)
{
    for (int kernel = 0; kernel < COUNT_OF(line_results); kernel++) {
        for (int64_t n = 1; n <= 70; n++)
            for (int of = 0; of < 8; of++)
                compare_lines(kernel, n, (values)of);
        compare_lines(kernel, LONGEST, WIDE);
    }
}

static void compare_normal(int64_t n)
{
    static uint32_t words[2 * LONGEST];
    static const uint32_t ends[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, UINT32_MAX};
    for (int64_t i = 0; i < 2 * n; i++)
        words[i] = draw_bits() % 8 ? (uint32_t)draw_bits() : ends[draw_bits() % COUNT_OF(ends)];
    double *out[ISAS];
    for (int table = 0; table < table_count; table++) {
        out[table] = guard(&results[table][0], GR_K64, n, (int)(draw_bits() % SHIFTS));
        tables[table]->normal(n, words, out[table]);
        cr_expect_eq(first_difference(GR_K64, out[table], out[0], n), -1, "normal, %s, %d elements",
                     tables[table]->isa, (int)n);
        cr_expect(guards_hold(out[table], GR_K64, n), "normal, %s", tables[table]->isa);
    }
}

Test(same_bits, normal)
{
    for (int64_t n = 0; n <= 100; n++)
        compare_normal(n);
    compare_normal(LONGEST);
}
