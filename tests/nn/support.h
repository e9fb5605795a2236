/* support.h - what the tests of nn share: a context on an allocator that can fail, and bits.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_NN_SUPPORT_H
#define GRADUS_TESTS_NN_SUPPORT_H

#include <criterion/criterion.h>
#include <gradus/gradus.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static gr_context *ctx;

/* Fails call number fail_at (from 1; 0: none), and with `lasting` all after it. */
static struct {
    int64_t calls, fail_at, live;
    bool lasting;
} heap;

static void *heap_allocate(void *state, size_t bytes, size_t alignment)
{
    (void)state;
    heap.calls++;
    if (heap.fail_at && (heap.lasting ? heap.calls >= heap.fail_at : heap.calls == heap.fail_at))
        return NULL;
    heap.live += (int64_t)bytes;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void heap_release(void *state, void *memory, size_t bytes)
{
    (void)state;
    heap.live -= (int64_t)bytes;
    free(memory);
}

static gr_context *new_context(uint64_t seed)
{
    static const gr_allocator allocator = {heap_allocate, heap_release, NULL};
    return gr_context_new(&(gr_context_options){.allocator = &allocator, .seed = seed});
}

static void begin(void)
{
    memset(&heap, 0, sizeof heap);
    ctx = new_context(7);
}

static void end(void)
{
    (void)!gr_context_free(ctx);
    cr_expect_eq(heap.live, 0, "%lld bytes are lost", (long long)heap.live);
}

/* From now on the n-th allocation fails. */
static void fail_allocation(int64_t n, bool lasting)
{
    heap.calls = 0;
    heap.fail_at = n;
    heap.lasting = lasting;
}

static inline void expect_error(gr_status status, const char *message)
{
    cr_expect_eq(gr_error(ctx), status, "%s", gr_error_message(ctx));
    cr_expect_str_eq(gr_error_message(ctx), message);
    gr_error_clear(ctx);
}

static inline bool same_bits(gr_tensor *x, const void *data)
{
    return memcmp(gr_data(x), data, (size_t)(gr_numel(x) * gr_dtype_size(gr_dtype_of(x)))) == 0;
}

/* A copy of a tensor's bytes, to be freed. */
static inline void *bits_of(gr_tensor *x)
{
    const size_t bytes = (size_t)(gr_numel(x) * gr_dtype_size(gr_dtype_of(x)));
    return memcpy(malloc(bytes + 1), gr_data(x), bytes);
}

#endif
