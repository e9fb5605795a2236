/* gemm.c - tests of kernels/gemm.inc: each element has the bits of a chain of fused multiply-adds
 * in ascending k that starts at 0, for every shape, stride, part of the result and table.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

static const gr_kernels *tables[ISAS];
static int table_count;

static void begin_gemm(void)
{
    reseed(1);
    table_count = find_tables(tables);
}

TestSuite(gemm, .init = begin_gemm);

/* ---- Operands -------------------------------------------------------------------------------- */

/* How the elements of a matrix are arranged in memory. */
typedef enum layout { PLAIN, PADDED, TRANSPOSED, BACKWARDS, SPARSE, REPEATED, LAYOUTS } layout;

typedef struct matrix {
    int64_t row, column; /* strides */
    void *memory, *first;
} matrix;

static int64_t row_stride(layout how, int64_t columns)
{
    switch (how) {
    case PADDED:
        return columns + 3;
    case TRANSPOSED:
        return 1;
    case BACKWARDS:
        return -columns - 1;
    case SPARSE:
        return 2 * columns + 1;
    case REPEATED:
        return 0;
    default:
        return columns;
    }
}

static int64_t column_stride(layout how, int64_t rows)
{
    return how == TRANSPOSED ? rows : how == SPARSE ? 2 : 1;
}

static matrix new_matrix(int ktype, int64_t rows, int64_t columns, layout how)
{
    matrix m = {row_stride(how, columns), column_stride(how, rows), NULL, NULL};
    const int64_t before = m.row < 0 && rows ? -m.row * (rows - 1) : 0;
    const int64_t room = rows * (2 * columns + 3) + 1;
    m.memory = malloc((size_t)(room * size_of(ktype)));
    m.first = (char *)m.memory + before * size_of(ktype);
    for (int64_t i = 0; i < room; i++)
        put(ktype, m.memory, i, draw(-1, 1));
    return m;
}

/* ---- The reference --------------------------------------------------------------------------- */

/* A product of two matrices; right: the expected result, m x n. */
typedef struct product {
    int ktype;
    int64_t m, n, k;
    matrix a, b;
    void *right;
} product;

static double chain_f64(const product *p, int64_t i, int64_t j)
{
    const double *a = (const double *)p->a.first + i * p->a.row;
    const double *b = (const double *)p->b.first + j * p->b.column;
    double sum = 0;
    for (int64_t k = 0; k < p->k; k++)
        sum = fma(a[k * p->a.column], b[k * p->b.row], sum);
    return sum;
}

static float chain_f32(const product *p, int64_t i, int64_t j)
{
    const float *a = (const float *)p->a.first + i * p->a.row;
    const float *b = (const float *)p->b.first + j * p->b.column;
    float sum = 0;
    for (int64_t k = 0; k < p->k; k++)
        sum = fmaf(a[k * p->a.column], b[k * p->b.row], sum);
    return sum;
}

static product new_product(int ktype, int64_t m, int64_t n, int64_t k, layout a, layout b)
{
    product p = {.ktype = ktype,
                 .m = m,
                 .n = n,
                 .k = k,
                 .a = new_matrix(ktype, m, k, a),
                 .b = new_matrix(ktype, k, n, b)};
    p.right = malloc((size_t)(m * n * size_of(ktype)) + 1);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            put(ktype, p.right, i * n + j,
                ktype == GR_K32 ? (double)chain_f32(&p, i, j) : chain_f64(&p, i, j));
    return p;
}

static void free_product(product *p)
{
    free(p->a.memory);
    free(p->b.memory);
    free(p->right);
}

/* ---- The check ------------------------------------------------------------------------------- */

/* Scratch memory between guards. It is filled with NaN, so that reading before writing is
   noticed. */
typedef struct scratch {
    int64_t size;
    char *memory;
} scratch;

enum { ALIGNMENT = 64 };

/* All scratches share one memory, which grows if necessary. Only one may be in use at a time. */
static scratch new_scratch(const gr_kernels *table, int ktype, int64_t n, int64_t k)
{
    static scratch room;
    const int64_t size = table->gemm_scratch[ktype](n, k);
    const int64_t whole = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + 2 * ALIGNMENT;
    if (room.size < whole) {
        free(room.memory);
        room = (scratch){whole, aligned_alloc(ALIGNMENT, (size_t)whole)};
    }
    memset(room.memory, GUARD_BYTE, (size_t)whole);
    memset(room.memory + ALIGNMENT, 0xff, (size_t)size);
    return (scratch){size, room.memory};
}

static bool scratch_holds(const scratch *s)
{
    for (int i = 0; i < ALIGNMENT; i++)
        if (s->memory[i] != GUARD_BYTE || s->memory[ALIGNMENT + s->size + i] != GUARD_BYTE)
            return false;
    return true;
}

/* Rows and columns of the result. */
typedef struct part {
    int64_t row, row_end, column, column_end;
} part;

/* True if the elements [from, to) of a row were not written. */
static bool untouched(const char *row, int64_t from, int64_t to, int64_t size)
{
    for (int64_t i = from * size; i < to * size; i++)
        if (row[i] != GUARD_BYTE)
            return false;
    return true;
}

/* True if c holds the elements of the part and nothing else was written. */
static bool holds_part(const product *p, part of, const char *c, int64_t c_row)
{
    const int64_t size = size_of(p->ktype), length = (of.column_end - of.column) * size;
    for (int64_t i = 0; i < p->m; i++) {
        const char *row = c + i * c_row * size;
        const char *right = (const char *)p->right + (i * p->n + of.column) * size;
        if (i < of.row || i >= of.row_end) {
            if (!untouched(row, 0, c_row, size))
                return false;
        } else if (memcmp(row + of.column * size, right, (size_t)length) != 0 ||
                   !untouched(row, 0, of.column, size) ||
                   !untouched(row, of.column_end, c_row, size)) {
            return false;
        }
    }
    return true;
}

static void multiply(const product *p, const gr_kernels *table, part of, int64_t gap)
{
    const int64_t c_row = p->n + gap;
    const size_t bytes = (size_t)(p->m * c_row * size_of(p->ktype));
    void *c = malloc(bytes + 1);
    memset(c, GUARD_BYTE, bytes);
    scratch s = new_scratch(table, p->ktype, of.column_end - of.column, p->k);
    const gr_gemm problem = {.m = p->m,
                             .n = p->n,
                             .k = p->k,
                             .a = p->a.first,
                             .a_row = p->a.row,
                             .a_column = p->a.column,
                             .b = p->b.first,
                             .b_row = p->b.row,
                             .b_column = p->b.column,
                             .c = c,
                             .c_row = c_row};
    table->gemm[p->ktype](&problem, of.row, of.row_end, of.column, of.column_end,
                          s.memory + ALIGNMENT);
    if (!holds_part(p, of, c, c_row) || !scratch_holds(&s))
        cr_expect_fail("f%d, %s: %dx%dx%d, strides %d,%d by %d,%d, [%d,%d) x [%d,%d)%s",
                       32 << p->ktype, table->isa, (int)p->m, (int)p->n, (int)p->k, (int)p->a.row,
                       (int)p->a.column, (int)p->b.row, (int)p->b.column, (int)of.row,
                       (int)of.row_end, (int)of.column, (int)of.column_end,
                       scratch_holds(&s) ? "" : ": writes beyond its scratch");
    free(c);
}

/* Checks the whole product, with every table. */
static void check(int ktype, int64_t m, int64_t n, int64_t k, layout a, layout b)
{
    product p = new_product(ktype, m, n, k, a, b);
    for (int table = 0; table < table_count; table++)
        multiply(&p, tables[table], (part){0, m, 0, n}, (m + n) % 3);
    free_product(&p);
}

#define EACH_TYPE(ktype) for (int ktype = 0; ktype < GR_KTYPES; ktype++)

/* ---- Shapes ---------------------------------------------------------------------------------- */

Test(gemm, every_small_result)
{
    EACH_TYPE(ktype)
        for (int64_t m = 0; m <= 40; m++)
            for (int64_t n = 0; n <= 40; n++)
                check(ktype, m, n, (7 * m + 3 * n) % 41, PLAIN, m % 2 ? PLAIN : TRANSPOSED);
}

Test(gemm, every_small_depth)
{
    static const int64_t sizes[] = {1, 7, 13, 40};
    EACH_TYPE(ktype)
        for (int64_t k = 0; k <= 40; k++)
            for (int i = 0; i < 16; i++)
                check(ktype, sizes[i / 4], sizes[i % 4], k, k % 2 ? TRANSPOSED : PLAIN, PLAIN);
}

/* Sizes around those where the code changes its way: the rows of a tile, the rows from which b is
   packed, the columns from which a is packed, the columns of a block (512 floats, 256 doubles) and
   the depth of a block (256). */
Test(gemm, shapes_around_the_edges_of_blocks)
{
    static const int64_t shapes[][3] = {
        {1, 1, 255},    {1, 1, 256},    {1, 1, 257},   {1, 1, 512},     {1, 1, 513},
        {6, 16, 256},   {12, 32, 257},  {13, 33, 700}, {47, 63, 256},   {48, 64, 255},
        {49, 65, 257},  {95, 127, 31},  {96, 128, 33}, {97, 129, 32},   {97, 131, 300},
        {5, 255, 60},   {7, 256, 61},   {12, 257, 62}, {11, 511, 60},   {13, 512, 61},
        {50, 513, 257}, {100, 300, 20}, {3, 1030, 30}, {98, 1025, 3},   {200, 5, 513},
        {64, 64, 1025}, {300, 17, 100}, {1, 600, 600}, {101, 520, 260},
    };
    EACH_TYPE(ktype)
        for (int i = 0; i < COUNT_OF(shapes); i++)
            check(ktype, shapes[i][0], shapes[i][1], shapes[i][2], i % 3 ? PLAIN : TRANSPOSED,
                  i % 2 ? PLAIN : TRANSPOSED);
}

/* A depth of 0 gives +0, not the old contents of c or of the scratch. */
Test(gemm, no_depth_gives_0)
{
    EACH_TYPE(ktype) {
        product p = new_product(ktype, 20, 70, 0, PLAIN, PLAIN);
        for (int64_t i = 0; i < p.m * p.n; i++)
            cr_assert(get(ktype, p.right, i) == 0 && !signbit(get(ktype, p.right, i)));
        for (int table = 0; table < table_count; table++)
            multiply(&p, tables[table], (part){0, p.m, 0, p.n}, 0);
        free_product(&p);
    }
}

/* ---- Strides and parts ----------------------------------------------------------------------- */

Test(gemm, every_pair_of_layouts)
{
    EACH_TYPE(ktype)
        for (int i = 0; i < LAYOUTS * LAYOUTS; i++) {
            const layout a = (layout)(i / LAYOUTS), b = (layout)(i % LAYOUTS);
            check(ktype, 19, 37, 23, a, b);
            check(ktype, 98, 141, 27, a, b);
            check(ktype, 5, 70, 258, a, b);
        }
}

/* Random parts of a product. Nothing outside a part is written. */
static void check_parts(int ktype, int64_t m, int64_t n, int64_t k, int count)
{
    product p = new_product(ktype, m, n, k, (layout)(m % LAYOUTS), (layout)(n % LAYOUTS));
    for (int i = 0; i < count; i++) {
        part of = {.row = (int64_t)(draw_bits() % (uint64_t)m),
                   .column = (int64_t)(draw_bits() % (uint64_t)n)};
        of.row_end = of.row + (int64_t)(draw_bits() % (uint64_t)(m - of.row + 1));
        of.column_end = of.column + (int64_t)(draw_bits() % (uint64_t)(n - of.column + 1));
        for (int table = 0; table < table_count; table++)
            multiply(&p, tables[table], of, i % 4);
    }
    free_product(&p);
}

Test(gemm, any_part_of_a_result)
{
    EACH_TYPE(ktype) {
        for (int64_t size = 1; size < 60; size += 3)
            check_parts(ktype, size, 61 - size, size % 17, 20);
        check_parts(ktype, 130, 600, 40, 20);
        check_parts(ktype, 120, 270, 300, 20);
    }
}

/* ---- Scratch --------------------------------------------------------------------------------- */

/* A small product needs little scratch. A large one needs only as much as its blocks. More columns
   or a greater depth never need less. */
Test(gemm, scratch_is_what_the_product_needs)
{
    for (int table = 0; table < table_count; table++)
        for (int ktype = 0; ktype < GR_KTYPES; ktype++) {
            int64_t (*bytes)(int64_t, int64_t) = tables[table]->gemm_scratch[ktype];
            cr_expect_leq(bytes(2, 2), 2048, "%s", tables[table]->isa);
            cr_expect_eq(bytes(10000, 10000), bytes(1000000, 1000000), "%s", tables[table]->isa);
            cr_expect_geq(bytes(10000, 10000), 1 << 19, "%s", tables[table]->isa);
            for (int64_t n = 1; n < 3000; n += n / 3 + 1)
                for (int64_t k = 0; k < 600; k += k / 3 + 1) {
                    cr_expect_gt(bytes(n, k), 0);
                    cr_expect_leq(bytes(n, k), bytes(n + 1, k));
                    cr_expect_leq(bytes(n, k), bytes(n, k + 1));
                }
        }
}
