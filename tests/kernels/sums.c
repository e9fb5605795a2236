/* sums.c - the lanes are compared with their definition, and the sum of BCE with logits with long
 * double and with its limits.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

static const gr_kernels *tables[ISAS];
static int table_count;

static void begin_sums(void)
{
    reseed(1);
    table_count = find_tables(tables);
}

TestSuite(sums, .init = begin_sums);

#define EACH_TABLE_AND_TYPE(table, ktype)                                                          \
    for (const gr_kernels *const *at = tables, *table; at < tables + table_count; at++)            \
        for (int ktype = (table = *at, 0); ktype < GR_KTYPES; ktype++)

static guarded array_x, array_y, array_dx, array_lanes;

/* Values of very different sizes, so that another order gives another sum. */
static void *fill(guarded *array, int ktype, int64_t n)
{
    void *x = guard(array, ktype, n, (int)(draw_bits() % SHIFTS));
    for (int64_t i = 0; i < n; i++)
        put(ktype, x, i, draw(-1, 1) * exp(draw(-15, 15)));
    return x;
}

/* Lanes that are not 0 before the call. */
static double *begun_lanes(int64_t count)
{
    double *lanes = guard(&array_lanes, GR_K64, count, 0);
    for (int64_t i = 0; i < count; i++)
        lanes[i] = 0.1 * (double)(i + 1);
    return lanes;
}

/* ---- accumulate ------------------------------------------------------------------------------ */

static void accumulate_by_definition(int ktype, int64_t n, const void *x, double *lanes)
{
    for (int64_t start = 0; start < n; start += GR_GROUP) {
        double own[GR_LANES] = {0};
        for (int64_t i = start; i < n && i < start + GR_GROUP; i++)
            own[i % GR_LANES] += get(ktype, x, i);
        for (int lane = 0; lane < GR_LANES; lane++)
            lanes[lane] += own[lane];
    }
}

static void check_accumulate(const gr_kernels *table, int ktype, int64_t n)
{
    const void *x = fill(&array_x, ktype, n);
    double right[GR_LANES], *lanes = begun_lanes(GR_LANES);
    memcpy(right, lanes, sizeof right);
    accumulate_by_definition(ktype, n, x, right);
    table->accumulate[ktype](n, x, lanes);
    cr_expect_arr_eq(lanes, right, sizeof right, "f%d, %s, %d elements", 32 << ktype, table->isa,
                     (int)n);
    cr_expect(guards_hold(lanes, GR_K64, GR_LANES), "%s", table->isa);
}

Test(sums, accumulate_adds_element_i_to_lane_i_mod_16)
{
    EACH_TABLE_AND_TYPE(table, ktype) {
        for (int64_t n = 0; n <= 100; n++)
            check_accumulate(table, ktype, n);
        check_accumulate(table, ktype, GR_BLOCK);
        check_accumulate(table, ktype, LONGEST);
    }
}

/* Floats are added in double, where 2^24 + 1 is not 2^24. */
Test(sums, floats_add_up_in_double)
{
    EACH_TABLE_AND_TYPE(table, ktype) {
        double lanes[GR_LANES] = {0};
        void *x = guard(&array_x, ktype, 17, 0);
        for (int i = 0; i < 17; i++)
            put(ktype, x, i, i == 16 ? 1 : 0x1p24);
        table->accumulate[ktype](17, x, lanes);
        cr_expect_eq(lanes[0], 0x1p24 + 1, "f%d, %s", 32 << ktype, table->isa);
    }
}

/* ---- accumulate_rows ------------------------------------------------------------------------- */

/* The lanes of each column are those of accumulate over the column. The old values of the lanes are
   kept. The elements between the rows are not read. */
static void check_rows(const gr_kernels *table, int ktype, int64_t rows, int64_t columns,
                       int64_t stride)
{
    void *x = fill(&array_x, ktype, rows * stride);
    for (int64_t i = 0; i < rows * stride; i++)
        if (i % stride >= columns)
            put(ktype, x, i, NAN);
    double *lanes = begun_lanes(GR_LANES * columns), column_lanes[GR_LANES];
    table->accumulate_rows[ktype](rows, columns, x, stride, lanes);
    int wrong = 0;
    for (int64_t c = 0; c < columns; c++) {
        void *column = guard(&array_y, ktype, rows, 0);
        for (int64_t r = 0; r < rows; r++)
            put(ktype, column, r, get(ktype, x, r * stride + c));
        for (int lane = 0; lane < GR_LANES; lane++)
            column_lanes[lane] = 0.1 * (double)(lane * columns + c + 1);
        table->accumulate[ktype](rows, column, column_lanes);
        for (int lane = 0; lane < GR_LANES; lane++)
            wrong += lanes[lane * columns + c] != column_lanes[lane];
    }
    cr_expect_eq(wrong, 0, "f%d, %s, %d rows, %d columns, stride %d: %d lanes", 32 << ktype,
                 table->isa, (int)rows, (int)columns, (int)stride, wrong);
    cr_expect(guards_hold(lanes, GR_K64, GR_LANES * columns), "%s", table->isa);
}

Test(sums, accumulate_rows_is_accumulate_of_each_column)
{
    EACH_TABLE_AND_TYPE(table, ktype) {
        for (int64_t columns = 1; columns <= 40; columns++)
            for (int64_t rows = 0; rows <= 40; rows += 1 + rows / 4)
                check_rows(table, ktype, rows, columns, columns + rows % 3);
        check_rows(table, ktype, 1000, 3, 4);
        check_rows(table, ktype, 20, 200, 200);
        check_rows(table, ktype, LONGEST, 1, 1);
    }
}

/* ---- BCE with logits: accuracy --------------------------------------------------------------- */

/* Without weights, mask or options. */
static void sum_bce(const gr_kernels *table, int ktype, int64_t n, const void *x, const void *y,
                    void *dx, double *lanes)
{
    static const gr_bce_kernel_args none;
    const void *in[5] = {x, y};
    void *out[5] = {NULL, dx};
    cr_assert_eq(table->bce_sum[GR_BCE_OF_LOGITS][ktype](n, out, in, &none, lanes), 0);
}

static long double softplus_of(long double x) { return (x > 0 ? x : 0) + log1pl(expl(-fabsl(x))); }

static long double sigmoid_of(long double x)
{
    return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x));
}

typedef struct bce_check {
    long double loss; /* the right sum */
    double error;     /* relative error of the sum */
    double ulps;      /* largest error of dx */
} bce_check;

/* x is in [-range, range]; y is 0 or 1 if `hard`, otherwise between them. The sum is computed with
   and without dx. */
static bce_check check_bce(const gr_kernels *table, int ktype, int64_t n, double range, bool hard)
{
    void *x = guard(&array_x, ktype, n, 1), *y = guard(&array_y, ktype, n, 2);
    void *dx = guard(&array_dx, ktype, n, 3);
    double lanes[GR_LANES] = {0}, without[GR_LANES] = {0};
    bce_check of = {0};
    for (int64_t i = 0; i < n; i++) {
        put(ktype, x, i, draw(-range, range));
        put(ktype, y, i, hard ? (double)(draw_bits() & 1) : draw(0, 1));
    }
    sum_bce(table, ktype, n, x, y, dx, lanes);
    sum_bce(table, ktype, n, x, y, NULL, without);
    cr_expect_arr_eq(without, lanes, sizeof lanes, "%s: dx changes the loss", table->isa);
    for (int64_t i = 0; i < n; i++) {
        const long double at = get(ktype, x, i), t = get(ktype, y, i);
        of.loss += (1 - t) * softplus_of(at) + t * softplus_of(-at);
        const long double slope = (1 - t) * sigmoid_of(at) - t * sigmoid_of(-at);
        const double error = ulps(dtype_of(ktype), get(ktype, dx, i), slope);
        of.ulps = hard && error > of.ulps ? error : of.ulps;
    }
    of.error = (double)fabsl((gr_fold_lanes(lanes) - of.loss) / (of.loss + 1e-30L));
    return of;
}

static void expect_bce(const gr_kernels *table, int ktype, int64_t n, double range, bool hard,
                       double most)
{
    const bce_check of = check_bce(table, ktype, n, range, hard);
    cr_expect_leq(of.error, most, "f%d, %s, %d in [-%g, %g]: the sum is off by %g", 32 << ktype,
                  table->isa, (int)n, range, range, of.error);
    cr_expect_leq(of.ulps, 2.5, "f%d, %s, %d in [-%g, %g]: dx is off by %g ulp", 32 << ktype,
                  table->isa, (int)n, range, range, of.ulps);
}

Test(sums, bce_with_logits_is_accurate)
{
    static const double ranges[] = {0.01, 1, 5, 20, 60, 100, 1e4};
    EACH_TABLE_AND_TYPE(table, ktype)
        for (int i = 0; i < COUNT_OF(ranges); i++)
            for (int hard = 0; hard < 2; hard++) {
                expect_bce(table, ktype, GR_BLOCK, ranges[i], hard, ktype == GR_K32 ? 1e-8 : 1e-15);
                for (int64_t n = 1; n < 70; n += 3)
                    expect_bce(table, ktype, n, ranges[i], hard, ktype == GR_K32 ? 2e-7 : 4e-16);
            }
}

/* The largest error of a sum of n elements. In a part that is not a whole chunk, each loss is
   rounded to float. */
static double bound_of_few(int ktype, int64_t n, double size, double bound_of_chunks)
{
    return ktype == GR_K32 && n % GR_CHUNK ? 0x1p-24 * size : bound_of_chunks;
}

/* The product of a lane is then 2^64, its largest value. */
Test(sums, bce_with_logits_of_zeros_is_log_2_each)
{
    static const int64_t lengths[] = {1,        15,           16,      17, GR_CHUNK - 1,
                                      GR_CHUNK, GR_CHUNK + 1, GR_BLOCK};
    EACH_TABLE_AND_TYPE(table, ktype)
        for (int i = 0; i < COUNT_OF(lengths); i++) {
            const int64_t n = lengths[i];
            void *x = guard(&array_x, ktype, n, 1), *y = guard(&array_y, ktype, n, 2);
            for (int64_t j = 0; j < n; j++)
                put(ktype, x, j, j % 2 ? 0.0 : -0.0), put(ktype, y, j, (double)(j % 3) / 2);
            double lanes[GR_LANES] = {0};
            sum_bce(table, ktype, n, x, y, NULL, lanes);
            const double sum = gr_fold_lanes(lanes), right = (double)n * log(2);
            const double most = bound_of_few(ktype, n, right, 4e-16 * right);
            cr_expect_leq(fabs(sum - right), most, "f%d, %s, %d: %.17g, not %.17g", 32 << ktype,
                          table->isa, (int)n, sum, right);
        }
}

/* Element i is added to lane i % 16. The other lanes keep their values. */
Test(sums, bce_with_logits_keeps_to_its_lanes)
{
    EACH_TABLE_AND_TYPE(table, ktype)
        for (int64_t n = 1; n <= 3 * GR_LANES; n++) {
            void *x = guard(&array_x, ktype, n, 0), *y = guard(&array_y, ktype, n, 0);
            for (int64_t i = 0; i < n; i++)
                put(ktype, x, i, i == n - 1 ? 8 : -INFINITY), put(ktype, y, i, 0);
            double lanes[GR_LANES];
            for (int lane = 0; lane < GR_LANES; lane++)
                lanes[lane] = lane;
            sum_bce(table, ktype, n, x, y, NULL, lanes);
            for (int lane = 0; lane < GR_LANES; lane++) {
                const double right = lane + (lane == (n - 1) % GR_LANES ? 8 + log1p(exp(-8)) : 0);
                cr_expect_leq(fabs(lanes[lane] - right), bound_of_few(ktype, n, 9, 1e-9),
                              "f%d, %s, %d: lane %d is %g", 32 << ktype, table->isa, (int)n, lane,
                              lanes[lane]);
            }
        }
}

Test(sums, bce_with_logits_has_its_slope_before_the_reduction)
{
    EACH_TABLE_AND_TYPE(table, ktype) {
        void *x = guard(&array_x, ktype, 3, 0), *y = guard(&array_y, ktype, 3, 0);
        void *dx = guard(&array_dx, ktype, 3, 0);
        double lanes[GR_LANES] = {0};
        for (int i = 0; i < 3; i++)
            put(ktype, x, i, 0), put(ktype, y, i, i / 2.0);
        sum_bce(table, ktype, 3, x, y, dx, lanes);
        cr_expect_eq(get(ktype, dx, 0), 0.5, "%s", table->isa);
        cr_expect_eq(get(ktype, dx, 1), 0, "%s", table->isa);
        cr_expect_eq(get(ktype, dx, 2), -0.5, "%s", table->isa);
        cr_expect_leq(fabs(lanes[1] - log(2)), bound_of_few(ktype, 3, 1, 1e-15), "%s", table->isa);
    }
}

/* ---- BCE with logits: limits ----------------------------------------------------------------- */

typedef struct limit {
    double x, y, loss, dx;
} limit;

static const limit limits[] = {
    {INFINITY, 0, INFINITY, 1},
    {INFINITY, 1, 0, 0},
    {INFINITY, 0.5, INFINITY, 0.5},
    {-INFINITY, 1, INFINITY, -1},
    {-INFINITY, 0, 0, 0},
    {-INFINITY, 0.5, INFINITY, -0.5},
    {1e4, 0, 1e4, 1},
    {1e4, 1, 0, 0},
    {-1e4, 1, 1e4, -1},
    {-1e4, 0, 0, 0},
    {0x1p127, 0, 0x1p127, 1},
    {-0x1p127, 1, 0x1p127, -1},
    {NAN, 0, NAN, NAN},
    {NAN, 1, NAN, NAN},
    {NAN, 0.5, NAN, NAN},
    {0, NAN, NAN, NAN},
    {INFINITY, NAN, NAN, NAN},
};

static bool is(double got, double want) { return isnan(want) ? isnan(got) : got == want; }

/* The element is at `place` among n elements. The loss of the others is 0. */
static void check_limit(const gr_kernels *table, int ktype, const limit *of, int64_t n,
                        int64_t place)
{
    void *x = guard(&array_x, ktype, n, 0), *y = guard(&array_y, ktype, n, 0);
    void *dx = guard(&array_dx, ktype, n, 0);
    double lanes[GR_LANES] = {0};
    for (int64_t i = 0; i < n; i++)
        put(ktype, x, i, i == place ? of->x : -INFINITY), put(ktype, y, i, i == place ? of->y : 0);
    sum_bce(table, ktype, n, x, y, dx, lanes);
    cr_expect(is(gr_fold_lanes(lanes), of->loss), "f%d, %s, x %g, y %g: loss %g, not %g",
              32 << ktype, table->isa, of->x, of->y, gr_fold_lanes(lanes), of->loss);
    for (int64_t i = 0; i < n; i++)
        cr_expect(is(get(ktype, dx, i), i == place ? of->dx : 0), "f%d, %s, x %g, y %g: dx %g",
                  32 << ktype, table->isa, of->x, of->y, get(ktype, dx, i));
    for (int lane = 0; lane < GR_LANES; lane++)
        cr_expect(lane == place % GR_LANES || lanes[lane] == 0, "%s: lane %d", table->isa, lane);
}

Test(sums, bce_with_logits_has_its_limits)
{
    EACH_TABLE_AND_TYPE(table, ktype)
        for (int i = 0; i < COUNT_OF(limits); i++) {
            check_limit(table, ktype, &limits[i], 1, 0);
            check_limit(table, ktype, &limits[i], 40, 5);
            check_limit(table, ktype, &limits[i], 40, 39);
        }
}
