/* heap.h - an allocator that counts and fails, for the contexts of tests.
 *
 * Criterion runs each test in a process of its own: the state is that of one test.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_HEAP_H
#define GRADUS_TESTS_HEAP_H

#include <gradus/core.h>

/* Fails call number fail_at (from 1; 0: none), and with `lasting` all after it. */
typedef struct test_heap {
    int64_t calls, fail_at, live;
    bool lasting;
} test_heap;
extern test_heap heap;
extern const gr_allocator heap_allocator;

/* From now on the n-th allocation fails; 0: none. */
void heap_fail(int64_t n, bool lasting);

#endif
