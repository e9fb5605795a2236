/* temp.h - a separate folder for each test, files in it, and contexts that count their memory.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TESTS_IO_TEMP_H
#define GRADUS_TESTS_IO_TEMP_H

#include "core/engine/engine.h"
#include <gradus/gradus.h>
#include "tests/common/heap.h"
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Criterion runs each test in its own process, so this state belongs to one test. */
static char folder[256];
static gr_context *ctx;

static gr_context *new_context(void)
{
    return gr_context_new(&(gr_context_options){.allocator = &heap_allocator, .threads = 1});
}

/* Enters a new folder, so that the names of files in messages are short. */
static void begin(void)
{
    const char *temp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/gradus-io-XXXXXX", temp == NULL ? "/tmp" : temp);
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
    ctx = new_context();
}

/* Counts the files here. With `removing` it removes them. */
static int count_files(bool removing)
{
    int count = 0;
    DIR *here = opendir(".");
    for (struct dirent *file = readdir(here); file != NULL; file = readdir(here)) {
        if (strcmp(file->d_name, ".") == 0 || strcmp(file->d_name, "..") == 0)
            continue;
        count++;
        if (removing && unlink(file->d_name) != 0)
            cr_assert_eq(rmdir(file->d_name), 0);
    }
    closedir(here);
    return count;
}

static void end(void)
{
    gr_status ignored = gr_context_free(ctx);
    (void)ignored;
    count_files(true);
    cr_assert_eq(chdir("/"), 0);
    cr_assert_eq(rmdir(folder), 0);
    cr_assert_eq(heap.live, 0, "%lld bytes were not given back", (long long)heap.live);
}

static void put_file(const char *path, const void *bytes, size_t count)
{
    /* Without this, some file systems flush a file that is truncated and written again. Then
       thousands of files take minutes. */
    unlink(path);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, count, file), count);
    cr_assert_eq(fclose(file), 0);
}

/* Returns the bytes of a file. The caller frees them. */
static inline char *get_file(const char *path, size_t *count)
{
    struct stat is;
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fstat(fileno(file), &is), 0);
    *count = (size_t)is.st_size;
    char *bytes = calloc(*count + 1, 1);
    cr_assert_eq(fread(bytes, 1, *count, file), *count);
    fclose(file);
    return bytes;
}

/* Checks that the context has this error, and clears it. */
static inline void expect_error(gr_status status, const char *message)
{
    cr_expect_str_eq(gr_error_message(ctx), message);
    cr_expect_eq(gr_error(ctx), status, "%s", gr_status_name(gr_error(ctx)));
    gr_error_clear(ctx);
}

#endif
