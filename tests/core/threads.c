/* threads.c - that ops are given to threads, and to none where there are others already.
 *
 * The kernels' table of a context is exchanged for one whose kernels note which thread calls them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/common.h"
#include <omp.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(threads, .init = begin, .fini = end);

enum { THREADS = 4 };

/* ---- Who computes ---------------------------------------------------------------------------- */

static const gr_kernels *real;
static int calls[64]; /* of each thread */

static void note(void)
{
    const int thread = omp_get_thread_num();
#pragma omp atomic
    calls[thread % COUNT_OF(calls)]++;
}

static void noted_gemm(const gr_gemm *problem, int64_t row, int64_t row_end, int64_t column,
                       int64_t column_end, void *scratch)
{
    note();
    real->gemm[GR_K32](problem, row, row_end, column, column_end, scratch);
}

static int noted_sigmoid(int64_t n, void *const *out, const void *const *in, const void *args)
{
    note();
    return real->map[GR_KERNEL_SIGMOID][GR_K32](n, out, in, args);
}

static void noted_accumulate(int64_t n, const void *x, double *lanes)
{
    note();
    real->accumulate[GR_K32](n, x, lanes);
}

static int noted_sum(int64_t n, void *const *out, const void *const *in, const void *args,
                     double *lanes)
{
    note();
    return real->bce_sum[GR_BCE_OF_LOGITS][GR_K32](n, out, in, args, lanes);
}

static gr_tensor *product(gr_tensor *x) { return gr_matmul(x, gr_transpose(x)); }
static gr_tensor *bce(gr_tensor *x) { return gr_bce_with_logits(x, x); }

/* Ops of a [512,512]. */
static const struct threaded_row {
    const char *name;
    gr_tensor *(*call)(gr_tensor *x);
} threaded_rows[] = {{"matmul", product}, {"sigmoid", gr_sigmoid}, {"sum", sum_of}, {"bce", bce}};

static int threads_that_computed(void)
{
    int count = 0;
    for (int i = 0; i < COUNT_OF(calls); i++)
        count += calls[i] > 0;
    return count;
}

static void expect_threads(gr_tensor *(*call)(gr_tensor *), const char *name, int available,
                           int64_t size, int wanted)
{
    gr_context *own = new_context(NULL, available);
    gr_kernels noted = *own->kernels;
    real = own->kernels;
    noted.gemm[GR_K32] = noted_gemm;
    noted.map[GR_KERNEL_SIGMOID][GR_K32] = noted_sigmoid;
    noted.accumulate[GR_K32] = noted_accumulate;
    noted.bce_sum[GR_BCE_OF_LOGITS][GR_K32] = noted_sum;
    gr_tensor *x = sample(own, GR_F32, gr_shape(size, size), 0, 1);
    memset(calls, 0, sizeof calls);
    own->kernels = &noted;
    call(x);
    own->kernels = real;
    expect_fine(own);
    const int found = threads_that_computed();
    cr_expect_eq(found, wanted, "%s: %d threads of %d, not %d", name, found, available, wanted);
    (void)!gr_context_free(own);
}

Test(threads, large_ops_use_all_of_them_and_small_ones_one)
{
    for (const struct threaded_row *row = threaded_rows;
         row < threaded_rows + COUNT_OF(threaded_rows); row++) {
        expect_threads(row->call, row->name, THREADS, 512, THREADS);
        expect_threads(row->call, row->name, 1, 512, 1);
        expect_threads(row->call, row->name, THREADS, 16, 1);
    }
}

/* ---- Fork ------------------------------------------------------------------------------------ */

static uint64_t product_hash(void)
{
    gr_context *own = gr_context_new(&(gr_context_options){.threads = THREADS});
    gr_tensor *x = gr_randn(own, GR_F32, gr_shape(512, 512));
    const uint64_t hash = hash_of(product(x));
    return gr_context_free(own) == GR_OK ? hash : 0;
}

/* What product_hash returns in a child; 0 if the child does not end within 20 seconds. */
static uint64_t hash_in_child(void)
{
    int ends[2];
    uint64_t hash = 0;
    cr_assert_eq(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        hash = product_hash();
        _exit(write(ends[1], &hash, sizeof hash) != (ssize_t)sizeof hash);
    }
    cr_assert_gt(child, 0);
    close(ends[1]);
    if (read(ends[0], &hash, sizeof hash) != (ssize_t)sizeof hash)
        hash = 0;
    close(ends[0]);
    waitpid(child, NULL, 0);
    return hash;
}

Test(threads, a_child_of_fork_computes_the_same, .timeout = 60)
{
    const uint64_t here = product_hash();
    cr_expect_neq(here, 0);
    cr_expect_eq(hash_in_child(), here);
    cr_expect_eq(product_hash(), here);
}

/* ---- Scratch --------------------------------------------------------------------------------- */

/* What a product takes besides its operands and its result, on the system's allocator, which other
   threads may use as well. */
static int64_t product_bytes(int threads, gr_dtype dtype)
{
    gr_context *own = gr_context_new(&(gr_context_options){.threads = threads});
    gr_tensor *x = gr_ones(own, dtype, gr_shape(512, 512));
    const int64_t before = gr_memory(own).live_bytes;
    product(x);
    const int64_t bytes = gr_memory(own).peak_bytes - before;
    (void)!gr_context_free(own);
    return bytes;
}

Test(threads, each_has_scratch_of_its_own)
{
    for (gr_dtype dtype = GR_F32; dtype <= GR_F16; dtype++) {
        const int64_t one = product_bytes(1, dtype), two = product_bytes(2, dtype),
                      four = product_bytes(THREADS, dtype);
        cr_expect_gt(two, one + 100 * 1000, "%s: %lld and %lld bytes", gr_dtype_name(dtype),
                     (long long)one, (long long)two);
        cr_expect_gt(four, two + 200 * 1000, "%s: %lld and %lld bytes", gr_dtype_name(dtype),
                     (long long)two, (long long)four);
    }
}

/* In a parallel region of the caller's an op has one thread, and one thread's scratch. */
Test(threads, a_product_in_a_parallel_region_takes_what_one_thread_takes)
{
    const int64_t alone = product_bytes(1, GR_F32);
    int64_t bytes[2] = {0, 0};
#pragma omp parallel num_threads(2)
    bytes[omp_get_thread_num() % 2] = product_bytes(THREADS, GR_F32);
    for (int i = 0; i < 2; i++)
        cr_expect_leq(bytes[i], alone, "%lld bytes, and %lld with one thread", (long long)bytes[i],
                      (long long)alone);
}

static int many_in_region(void)
{
    int most = 0;
#pragma omp parallel num_threads(2)
    {
        gr_context *own = gr_context_new(&(gr_context_options){.threads = THREADS});
        const int threads = gr_threads_for(own, 1 << 30);
#pragma omp critical
        most = threads > most ? threads : most;
        (void)!gr_context_free(own);
    }
    return most;
}

Test(threads, none_are_started_in_a_parallel_region)
{
    cr_expect_eq(many_in_region(), 1);
    cr_expect_eq(gr_threads_for(ctx, 1), 1);
}
