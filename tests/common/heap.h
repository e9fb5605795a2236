/* heap.h - an allocator that counts and fails, for the contexts of tests.
 *
 * Criterion runs each test in its own process, so this state belongs to one test.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_HEAP_H
#define GRADUS_TESTS_HEAP_H

#include <gradus/core.h>

/* Makes call number fail_at fail (counted from 1; 0: none). With `lasting`, all later calls fail
   too. */
typedef struct test_heap {
    int64_t calls, fail_at, live;
    bool lasting;
} test_heap;
extern test_heap heap;
extern const gr_allocator heap_allocator;

/* From now on, makes the n-th allocation fail. 0: none. */
void heap_fail(int64_t n, bool lasting);

#endif
