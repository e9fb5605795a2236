/* support.h - helpers that the tests of nn share: a context on an allocator that can fail, and
 * copies of bits.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_NN_SUPPORT_H
#define GRADUS_TESTS_NN_SUPPORT_H

#define GR_NO_PLACES /* tests/core/places.c tests the places */
#include <criterion/criterion.h>
#include <gradus/gradus.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/common/heap.h"

static gr_context *ctx;

static gr_context *new_context(uint64_t seed)
{
    return gr_context_new(&(gr_context_options){.allocator = &heap_allocator, .seed = seed});
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

/* Calls check with NULL and with each kind of context that could not be made, and with its error.
 */
static inline void on_each_broken_context(void (*check)(gr_context *broken, gr_status status))
{
    const gr_allocator half = {NULL, heap_allocator.release, NULL};
    const struct {
        gr_context_options options;
        int fail_at; /* the allocation that fails; 0: none */
        gr_status status;
    } kinds[] = {
        {{.allocator = &half}, 0, GR_ERROR_NULL},
        {{.allocator = &heap_allocator}, 1, GR_ERROR_MEMORY}, /* the context itself */
        {{.allocator = &heap_allocator}, 2, GR_ERROR_MEMORY}, /* its root scope */
        {{.isa = "abacus"}, 0, GR_ERROR_PROCESSOR},
        {{.threads = -1}, 0, GR_ERROR_ARGUMENT},
    };
    check(NULL, GR_ERROR_NULL);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        heap_fail(kinds[i].fail_at, false);
        gr_context *broken = gr_context_new(&kinds[i].options);
        heap_fail(0, false);
        check(broken, kinds[i].status);
        cr_expect_eq(gr_context_free(broken), kinds[i].status);
    }
}

/* Returns a copy of a tensor's bytes. The caller frees it. */
static inline void *bits_of(gr_tensor *x)
{
    const size_t bytes = (size_t)(gr_numel(x) * gr_dtype_size(gr_dtype_of(x)));
    return memcpy(malloc(bytes + 1), gr_data(x), bytes);
}

#endif
