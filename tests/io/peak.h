/* peak.h - the most memory that a call holds at once: at the allocator of its context, and at
 * malloc, which libc and other libraries call without the context. It can also make malloc fail.
 *
 * A sanitizer has its own malloc. There only the context's allocator is measured, and no malloc
 * fails.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_IO_PEAK_H
#define GRADUS_TESTS_IO_PEAK_H

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

#if defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ || !defined __GLIBC__
#define SANITIZED 1
#endif

/* calls and fail_at count from 1; a fail_at of 0 lets no call fail. */
static struct mallocs {
    int64_t live, peak, calls, fail_at;
} mallocs;

#ifndef SANITIZED
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *memory);

static bool malloc_fails(void)
{
    bool fails = ++mallocs.calls == mallocs.fail_at;
    errno = fails ? ENOMEM : errno;
    return fails;
}

static void *count_memory(void *memory)
{
    mallocs.live += memory != NULL ? (int64_t)malloc_usable_size(memory) : 0;
    mallocs.peak = mallocs.live > mallocs.peak ? mallocs.live : mallocs.peak;
    return memory;
}

void *malloc(size_t bytes) { return malloc_fails() ? NULL : count_memory(__libc_malloc(bytes)); }

void *calloc(size_t count, size_t bytes)
{
    return malloc_fails() ? NULL : count_memory(__libc_calloc(count, bytes));
}

void *realloc(void *memory, size_t bytes)
{
    if (malloc_fails())
        return NULL;
    mallocs.live -= memory != NULL ? (int64_t)malloc_usable_size(memory) : 0;
    return count_memory(__libc_realloc(memory, bytes));
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return count_memory(
        __libc_memalign(alignment, bytes)); /* the context's: heap.fail_at is there */
}

void free(void *memory)
{
    mallocs.live -= memory != NULL ? (int64_t)malloc_usable_size(memory) : 0;
    __libc_free(memory);
}
#endif

#endif
