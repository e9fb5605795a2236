/* heap.c - an allocator that counts and fails.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/heap.h"
#include <stdlib.h>

test_heap heap;

static void *heap_allocate(void *state, size_t bytes, size_t alignment)
{
    (void)state;
    heap.calls++;
    if (heap.fail_at && (heap.lasting ? heap.calls >= heap.fail_at : heap.calls == heap.fail_at))
        return NULL;
    void *memory = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    heap.live += memory ? (int64_t)bytes : 0;
    return memory;
}

static void heap_release(void *state, void *memory, size_t bytes)
{
    (void)state;
    heap.live -= (int64_t)bytes;
    free(memory);
}

const gr_allocator heap_allocator = {heap_allocate, heap_release, NULL};

void heap_fail(int64_t n, bool lasting)
{
    heap.calls = 0;
    heap.fail_at = n;
    heap.lasting = lasting;
}
