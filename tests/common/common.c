/* common.c - helpers that the tests of core and ops share.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"
#include <float.h>

/* ---- Memory ---------------------------------------------------------------------------------- */

/* Runs the scenario once. The k-th allocation fails. True if the scenario made that many
   allocations. */
static bool survives(const char *name, scenario *run, const void *data, int64_t k, bool lasting,
                     uint64_t right)
{
    const int64_t before = heap.live;
    heap_fail(k, lasting);
    gr_context *own = new_context(NULL, 2);
    run(own, data);
    const bool reached = heap.calls >= k;
    const gr_status status = gr_error(own), wanted = reached ? GR_ERROR_MEMORY : GR_OK;
    cr_expect_eq(status, wanted, "%s, allocation %d: %s", name, (int)k, gr_error_message(own));
    heap_fail(0, false);
    gr_error_clear(own);
    if (!own->broken)
        cr_expect_eq(run(own, data), right, "%s, after allocation %d failed: %s", name, (int)k,
                     gr_error_message(own));
    (void)!gr_context_free(own);
    cr_expect_eq(heap.live, before, "%s, allocation %d: %d bytes are lost", name, (int)k,
                 (int)(heap.live - before));
    return reached;
}

void expect_survives(const char *name, scenario *run, const void *data)
{
    enum { MOST = 2000 };
    gr_context *own = new_context(NULL, 2);
    const uint64_t right = run(own, data);
    expect_fine(own);
    (void)!gr_context_free(own);
    for (int lasting = 0; lasting < 2; lasting++) {
        int64_t k = 1;
        while (k < MOST && survives(name, run, data, k, lasting, right))
            k++;
        cr_expect_gt(k, 3, "%s: nothing was allocated", name);
        cr_expect_lt(k, MOST, "%s: allocates for ever", name);
    }
}

/* ---- Contexts -------------------------------------------------------------------------------- */

gr_context *ctx;

gr_context *new_context(const char *isa, int threads)
{
    return gr_context_new(&(gr_context_options){
        .allocator = &heap_allocator, .seed = 7, .isa = isa, .threads = threads});
}

void begin(void)
{
    memset(&heap, 0, sizeof heap);
    reseed(1);
    ctx = new_context(NULL, 0);
}

void end(void)
{
    (void)!gr_context_free(ctx);
    cr_expect_eq(heap.live, 0, "%lld bytes are lost", (long long)heap.live);
}

void on_each_context(void (*check)(gr_context *other, const char *label, void *data), void *data)
{
    static const char *const isas[] = {"scalar", "avx2", "avx512"};
    static const int threads[] = {1, 2, 4, 7};
    for (int i = 0; i < COUNT_OF(isas) * COUNT_OF(threads); i++) {
        const char *isa = isas[i / COUNT_OF(threads)];
        const int count = threads[i % COUNT_OF(threads)];
        gr_context *other = new_context(isa, count);
        char label[64];
        snprintf(label, sizeof label, "%s, %d threads", isa, count);
        if (gr_error(other) != GR_ERROR_PROCESSOR)
            check(other, label, data);
        else if (count == 1)
            printf("%s is left out: %s\n", isa, gr_error_message(other));
        (void)!gr_context_free(other);
    }
}

void expect_error(gr_context *of, gr_status status, const char *message)
{
    of = of ? of : ctx;
    cr_expect_eq(gr_error(of), status, "%s, not %s", gr_status_name(gr_error(of)),
                 gr_status_name(status));
    cr_expect_str_eq(gr_error_message(of), message);
    gr_error_clear(of);
}

int64_t entries_kept(void)
{
    int64_t count = 0;
    for (const gr_entry *entry = ctx->program.last; entry; entry = entry->previous)
        count++;
    return count;
}

void expect_fine(gr_context *of)
{
    of = of ? of : ctx;
    cr_expect_eq(gr_error(of), GR_OK, "%s", gr_error_message(of));
}

/* ---- Samples --------------------------------------------------------------------------------- */

static uint64_t state;

void reseed(uint64_t seed) { state = seed; }

uint64_t draw_bits(void)
{
    uint64_t bits = state += UINT64_C(0x9e3779b97f4a7c15);
    bits = (bits ^ bits >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ bits >> 27) * UINT64_C(0x94d049bb133111eb);
    return bits ^ bits >> 31;
}

double draw(double low, double high)
{
    return low + (high - low) * (double)(draw_bits() >> 11) * 0x1p-53;
}

gr_tensor *sample(gr_context *of, gr_dtype dtype, gr_dims shape, double low, double high)
{
    const int64_t count = gr_dims_count(&shape);
    double *values = malloc((size_t)(count + 1) * sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = draw(low, high);
    gr_tensor *x = gr_zeros(of, dtype, shape);
    if (!gr_failed(x))
        (void)!gr_write(x, GR_F64, count, values);
    free(values);
    return x;
}

gr_tensor *edges(gr_context *of, gr_dtype dtype)
{
    static const double sizes[] = {0,         0x1p-149,    0x1.8p-148, 0x1p-126,    0x1p-126 * 0.75,
                                   1e-40,     1e-30,       1e-20,      1e-10,       0x1p-25,
                                   0x1p-24,   0x1p-23,     1e-3,       0.5,         1 - 0x1p-24,
                                   1,         1 + 0x1p-23, 1.5,        2,           3,
                                   16.6,      17,          20,         37,          40,
                                   83,        87.3,        88.7,       88.72,       88.73,
                                   89,        103.9,       104,        105,         709.7,
                                   709.78,    709.79,      709.782712, 709.7827128, 744,
                                   745.1,     746,         1e4,        1e10,        1e19,
                                   1e30,      1.7e38,      FLT_MAX,    INFINITY,    0x1p-1074,
                                   0x1p-1022, 1e-310,      1e-300,     1e-160,      0x1p-53,
                                   0x1p-54,   1e38,        1e100,      1e154,       1e300,
                                   DBL_MAX};
    double values[2 * COUNT_OF(sizes) + 1];
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        values[2 * i] = sizes[i];
        values[2 * i + 1] = -sizes[i];
    }
    values[2 * COUNT_OF(sizes)] = NAN;
    gr_tensor *x = gr_zeros(of, dtype, gr_shape(COUNT_OF(values)));
    cr_assert_eq(gr_write(x, GR_F64, COUNT_OF(values), values), GR_OK);
    return x;
}

gr_tensor *any_bits(gr_context *of, gr_dtype dtype, int64_t count)
{
    gr_tensor *x = gr_zeros(of, dtype, gr_shape(count));
    const size_t size = (size_t)gr_dtype_size(dtype);
    for (int64_t i = 0; i < count && !gr_failed(x); i++) {
        const uint64_t bits = draw_bits();
        memcpy(gr_bytes(x) + (size_t)i * size, &bits, size);
    }
    return x;
}

/* ---- Comparing ------------------------------------------------------------------------------- */

double ulps(gr_dtype dtype, double got, long double want)
{
    const bool narrow = dtype == GR_F32;
    const int digits = narrow ? 24 : 53, lowest = narrow ? -149 : -1074;
    const long double beyond = narrow ? 0x1p128L : 0x1p1024L;
    if (isnan(got) || isnan(want))
        return isnan(got) && isnan(want) ? 0 : INFINITY;
    const long double left = isinf(got) ? copysignl(beyond, got) : got;
    const long double right = fabsl(want) > beyond ? copysignl(beyond, want) : want;
    int exponent = lowest;
    (void)!frexpl(right, &exponent);
    const int unit = exponent - digits > lowest && right != 0 ? exponent - digits : lowest;
    return (double)ldexpl(fabsl(left - right), -unit);
}

/* Sets all bits of each NaN, so that NaNs compare as equal. */
static void make_nans_alike(gr_dtype dtype, int64_t count, char *bytes)
{
    const int64_t size = gr_dtype_size(dtype);
    for (int64_t i = 0; i < count && gr_dtype_is_float(dtype); i++) {
        uint64_t bits = 0;
        memcpy(&bits, bytes + i * size, (size_t)size);
        const uint64_t infinity = dtype == GR_F64    ? UINT64_C(0x7ff) << 52
                                  : dtype == GR_F32  ? UINT64_C(0xff) << 23
                                  : dtype == GR_BF16 ? UINT64_C(0xff) << 7
                                                     : UINT64_C(0x1f) << 10;
        const uint64_t unsigned_bits = bits & ((UINT64_C(1) << (8 * size - 1)) - 1);
        if (unsigned_bits > infinity)
            memset(bytes + i * size, 0xff, (size_t)size);
    }
}

/* Returns the elements in row-major order, with all NaNs alike. The caller frees them. */
static char *bytes_of(gr_tensor *x)
{
    const int64_t count = gr_numel(x), size = gr_dtype_size(gr_dtype_of(x));
    char *bytes = calloc((size_t)(count * size) + 8, 1);
    cr_assert_eq(gr_read(x, gr_dtype_of(x), count, bytes), GR_OK);
    make_nans_alike(gr_dtype_of(x), count, bytes);
    return bytes;
}

bool same_bits(gr_tensor *a, gr_tensor *b)
{
    const gr_dims left = gr_shape_of(a), right = gr_shape_of(b);
    if (gr_failed(a) || gr_failed(b) || gr_dtype_of(a) != gr_dtype_of(b) ||
        !gr_same_dims(&left, &right))
        return false;
    char *one = bytes_of(a), *other = bytes_of(b);
    const bool same =
        memcmp(one, other, (size_t)(gr_numel(a) * gr_dtype_size(gr_dtype_of(a)))) == 0;
    free(one);
    free(other);
    return same;
}

uint64_t hash_of(gr_tensor *x)
{
    if (gr_failed(x))
        return 0;
    char *bytes = bytes_of(x);
    uint64_t hash = UINT64_C(0xcbf29ce484222325) + (uint64_t)gr_ndim(x);
    for (int64_t i = 0; i < gr_numel(x) * gr_dtype_size(gr_dtype_of(x)); i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    free(bytes);
    return hash;
}

double *values_of(gr_tensor *x)
{
    double *values = calloc((size_t)gr_numel(x) + 1, sizeof *values);
    cr_assert_not(gr_failed(x), "%s", gr_error_message(gr_context_of(x)));
    cr_assert_eq(gr_read(x, GR_F64, gr_numel(x), values), GR_OK);
    return values;
}

void expect_values(gr_tensor *x, const double *values, int64_t count)
{
    cr_assert_eq(gr_numel(x), count, "%s", gr_shape_text(x).text);
    double *got = values_of(x);
    for (int64_t i = 0; i < count; i++) {
        const bool right = got[i] == values[i] || (isnan(got[i]) && isnan(values[i]));
        cr_expect(right, "element %d is %.17g, not %.17g", (int)i, got[i], values[i]);
    }
    free(got);
}

void expect_shape(gr_tensor *x, gr_dims shape)
{
    const gr_dims own = gr_shape_of(x);
    cr_expect(!gr_failed(x) && gr_same_dims(&own, &shape), "%s, not %s", gr_dims_text(&own).text,
              gr_dims_text(&shape).text);
}

gr_tensor *sum_of(gr_tensor *x) { return gr_sum_with(&(gr_reduce_args){.x = x}); }

gr_tensor *gradient_of(gr_tensor *y, gr_tensor *x)
{
    const gr_dims shape = gr_shape_of(y);
    gr_tensor *weights =
        gr_reshape(gr_arange(gr_context_of(y), gr_dtype_of(y), gr_numel(y)), shape);
    weights = gr_add(gr_mul(weights, gr_scalar(gr_context_of(y), 0.25)),
                     gr_scalar(gr_context_of(y), 0.5));
    return gr_grad(sum_of(gr_mul(weights, y)), x);
}
