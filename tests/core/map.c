/* map.c - tests of core/engine/elementwise.c and core/base/threads.c: the result of an element does
 * not depend on how the work is cut, and each element is computed once. Sums give the same bits as
 * core/engine/sums.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"

TestSuite(map, .init = begin, .fini = end);

static const int64_t sizes[] = {1,    2,    3,    7,     8,     9,    15,   16,
                                17,   31,   33,   1023,  1024,  1025, 4095, 4096,
                                4097, 8191, 9000, 65535, 65536, 70001};

/* An op on a part must equal the part of the op. With each start, the elements have other places in
   the vectors. */
Test(map, an_element_does_not_depend_on_its_neighbours)
{
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        for (int dtype = GR_F32; dtype <= GR_BF16; dtype++) {
            gr_tensor *x = sample(ctx, dtype, gr_shape(sizes[i]), -8, 8), *y = gr_tanh(x);
            for (int64_t start = 0; start < 20 && start < sizes[i]; start += 3) {
                gr_tensor *part = gr_slice(x, 0, start, sizes[i], 1);
                cr_expect(same_bits(gr_tanh(part), gr_slice(y, 0, start, sizes[i], 1)),
                          "%s %d from %d", gr_dtype_name(dtype), (int)sizes[i], (int)start);
            }
        }
    }
    expect_fine(ctx);
}

/* All kinds of operands: contiguous, strided, repeated along either axis, one element, and mixed
   dtypes. */
Test(map, operands_of_every_kind)
{
    static const int64_t shapes[][2] = {{3, 5}, {40, 33}, {1, 5000}, {5000, 1}, {300, 301}};
    for (int i = 0; i < COUNT_OF(shapes); i++) {
        const int64_t rows = shapes[i][0], columns = shapes[i][1];
        const gr_dims shape = gr_shape(rows, columns);
        gr_tensor *kinds[] = {
            sample(ctx, GR_F64, shape, 1, 2),
            gr_transpose(sample(ctx, GR_F64, gr_shape(columns, rows), 1, 2)),
            gr_slice(sample(ctx, GR_F64, gr_shape(rows, 2 * columns), 1, 2), 1, 1, 2 * columns, 2),
            sample(ctx, GR_F64, gr_shape(columns), 1, 2),
            sample(ctx, GR_F64, gr_shape(rows, 1), 1, 2),
            sample(ctx, GR_F64, gr_shape(), 1, 2),
            gr_scalar(ctx, 1.5)};
        gr_tensor *condition = gr_less(kinds[0], gr_scalar(ctx, 1.5));
        for (int j = 0; j < COUNT_OF(kinds) * COUNT_OF(kinds); j++) {
            gr_tensor *a = kinds[j % COUNT_OF(kinds)], *b = kinds[j / COUNT_OF(kinds)];
            gr_tensor *flat_a = gr_contiguous(gr_expand(a, shape)),
                      *flat_b = gr_contiguous(gr_expand(b, shape));
            cr_expect(same_bits(gr_where(condition, a, b), gr_where(condition, flat_a, flat_b)),
                      "%d, %d", i, j);
        }
    }
    expect_fine(ctx);
}

/* ---- Sums on the way ------------------------------------------------------------------------- */

/* Adds squares, in f64, to the lanes, in the groups of every sum. Also stores them in out[0] if it
   is given. */
static int sum_squares(int64_t n, void *const *out, const void *const *in, const void *args,
                       double *lanes)
{
    (void)args;
    const double *x = in[0];
    for (int64_t start = 0; start < n; start += GR_GROUP) {
        double own[GR_LANES] = {0};
        for (int64_t i = start; i < n && i < start + GR_GROUP; i++) {
            own[i % GR_LANES] += x[i] * x[i];
            if (out[0])
                ((double *)out[0])[i] = x[i] * x[i];
        }
        for (int lane = 0; lane < GR_LANES; lane++)
            lanes[lane] += own[lane];
    }
    return 0;
}

static double map_sum(gr_context *of, gr_tensor *x, gr_tensor *out)
{
    double sum = NAN;
    void *scratch = malloc((size_t)gr_map_scratch(gr_numel(x)) + 1);
    const gr_map map = {.ctx = of,
                        .ktype = GR_K64,
                        .shape = gr_shape_of(x),
                        .inputs = 1,
                        .outputs = 1,
                        .in = {x},
                        .out = {out},
                        .sum_kernel = sum_squares,
                        .sum = &sum,
                        .scratch = scratch};
    cr_expect_eq(gr_map_run(&map), 0);
    free(scratch);
    return sum;
}

Test(map, sum_is_that_of_the_results)
{
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        gr_tensor *x = sample(ctx, GR_F64, gr_shape(sizes[i]), -2, 3), *y = gr_square(x);
        gr_tensor *out = gr_zeros(ctx, GR_F64, gr_shape(sizes[i]));
        cr_expect_eq(map_sum(ctx, x, out), gr_item(sum_of(y)), "%d", (int)sizes[i]);
        cr_expect(same_bits(out, y));
        cr_expect_eq(map_sum(ctx, x, NULL), gr_item(sum_of(y)), "without results");
        gr_tensor *spread =
            gr_slice(gr_reshape(gr_expand(gr_reshape(x, gr_shape(-1, 1)), gr_shape(sizes[i], 2)),
                                gr_shape(-1)),
                     0, 0, 2 * sizes[i], 2);
        cr_expect_eq(map_sum(ctx, spread, NULL), gr_item(sum_of(y)), "strided");
    }
    cr_expect_eq(map_sum(ctx, gr_zeros(ctx, GR_F64, gr_shape(0)), NULL), 0);
}

Test(map, allocates_nothing)
{
    gr_tensor *x = sample(ctx, GR_F64, gr_shape(1 << 19), -1, 1);
    heap_fail(1, true);
    const double sum = map_sum(ctx, x, NULL);
    heap_fail(0, false);
    expect_fine(ctx);
    cr_expect(sum > 0);
}

/* ---- Threads --------------------------------------------------------------------------------- */

static void count_part(void *state, int64_t i) { ((int *)state)[i]++; }

Test(map, each_part_runs_once)
{
    enum { PARTS = 1000 };
    static int seen[PARTS];
    for (int threads = 0; threads < 9; threads++) {
        for (int64_t parts = 0; parts <= PARTS; parts += 1 + parts * 3) {
            memset(seen, 0, sizeof seen);
            gr_parallel_for(threads, parts, count_part, seen);
            for (int64_t i = 0; i < PARTS; i++)
                cr_assert_eq(seen[i], i < parts, "part %d of %d, %d threads", (int)i, (int)parts,
                             threads);
        }
    }
}

Test(map, threads_for)
{
    gr_context *seven = new_context(NULL, 7), *one = new_context(NULL, 1);
    cr_expect_eq(gr_threads_for(seven, 100), 1, "small work wakes nobody");
    cr_expect_gt(gr_threads_for(seven, 100000), 1);
    cr_expect_eq(gr_threads_for(seven, 100000000), 7);
    cr_expect_eq(gr_threads_for(one, 100000000), 1);
    cr_expect_eq(gr_context_free(seven), GR_OK);
    cr_expect_eq(gr_context_free(one), GR_OK);
}
