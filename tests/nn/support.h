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

/* Returns a copy of a tensor's bytes. The caller frees it. */
static inline void *bits_of(gr_tensor *x)
{
    const size_t bytes = (size_t)(gr_numel(x) * gr_dtype_size(gr_dtype_of(x)));
    return memcpy(malloc(bytes + 1), gr_data(x), bytes);
}

#endif
