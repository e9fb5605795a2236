/* pages.c - checks the mapping pages: each C example is compiled, run, and compared with the output
 * printed below it. Each parameter of each API has its table line. The pages of both languages have
 * the same code and the same tables. The first program of README is compiled and run too.
 *
 * The programs are compiled by the compiler in CC, and linked with the shared library in the build
 * folder of this test.
 *
 * SPDX-License-Identifier: MIT
 */
#include <criterion/criterion.h>
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef TESTS_ROOT
#define TESTS_ROOT "tests" /* the tests run in the root of the source */
#endif

extern char **environ;

/* A program must be built with the same sanitizers as the library. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#endif
#ifdef SANITIZED
#define SANITIZE "-fsanitize=address,undefined"
#ifdef __clang__
#define COMPILER "clang"
#else
#define COMPILER "gcc"
#endif
#else
#define SANITIZE "-O1"
#define COMPILER "cc"
#endif

/* The folder of the programs. It is removed when the test ends, also after a failure. */
static char folder[64];

static void remove_folder(void)
{
    static const char *const names[] = {"program.c", "program", "output"};
    char path[128];
    for (int i = 0; i < 3 && *folder; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    if (*folder)
        rmdir(folder);
}

static void new_folder(void)
{
    strcpy(folder, "/tmp/gradus-pages-XXXXXX");
    cr_assert(mkdtemp(folder));
}

TestSuite(pages, .init = new_folder, .fini = remove_folder, .timeout = 300);

/* ---- Files ----------------------------------------------------------------------------------- */

/* Returns a whole file of the source. The caller frees it. */
static char *source(const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, TESTS_ROOT "/../%s", name);
    FILE *file = fopen(path, "rb");
    cr_assert(file, "cannot open %s", path);
    size_t size = 0, room = 1 << 20;
    char *text = malloc(room);
    size = fread(text, 1, room - 1, file);
    cr_assert(size < room - 1);
    text[size] = '\0';
    fclose(file);
    return text;
}

/* Returns the folder of libgradus.so, which is above this executable's folder. */
static const char *build_folder(void)
{
    static char path[PATH_MAX];
    const ssize_t size = readlink("/proc/self/exe", path, sizeof path - 32);
    cr_assert(size > 0);
    path[size] = '\0';
    for (int up = 0; up < 2; up++)
        *strrchr(path, '/') = '\0';
    const size_t end = strlen(path);
    strcat(path, "/libgradus.so");
    cr_assert(access(path, R_OK) == 0, "%s is missing", path);
    path[end] = '\0';
    return path;
}

static const char *include_folder(void)
{
    static char path[PATH_MAX];
    cr_assert(realpath(TESTS_ROOT "/../include", path), "no include folder");
    return path;
}

/* ---- Pages: fences and headings -------------------------------------------------------------- */

static const char *const PAGES[] = {"docs/api_mapping.md", "docs/api_mapping.zh.md"};

typedef struct block {
    char language[16];
    const char *text;
    int size;
} block;
enum { MOST_BLOCKS = 128 };

static const char *next_line(const char *line)
{
    const char *end = strchr(line, '\n');
    return end ? end + 1 : line + strlen(line);
}

/* Finds the fenced blocks of a page, in order. */
static int blocks_of(const char *page, block *blocks)
{
    int count = 0;
    bool inside = false;
    for (const char *line = page; *line; line = next_line(line)) {
        if (strncmp(line, "```", 3) != 0)
            continue;
        if (inside) {
            blocks[count].size = (int)(line - blocks[count].text);
            count++;
        } else {
            cr_assert(count < MOST_BLOCKS);
            sscanf(line + 3, "%15[a-z]", blocks[count].language);
            blocks[count].text = next_line(line);
        }
        inside = !inside;
    }
    cr_assert(!inside, "a fence is not closed");
    return count;
}

static bool is_language(const block *b, const char *language)
{
    return !strcmp(b->language, language);
}

/* ---- Programs -------------------------------------------------------------------------------- */

/* Runs a command in the folder. Its stdout and stderr go to the file "output" there. */
static int run(const char *const *words)
{
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status = -1;
    cr_assert(posix_spawn_file_actions_init(&actions) == 0);
    posix_spawn_file_actions_addchdir_np(&actions, folder);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "output",
                                     O_CREAT | O_TRUNC | O_WRONLY, 0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    const int failed =
        posix_spawnp(&child, words[0], &actions, NULL, (char *const *)(uintptr_t)words, environ);
    posix_spawn_file_actions_destroy(&actions);
    cr_assert(failed == 0, "cannot start %s", words[0]);
    cr_assert(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void read_output(char *text, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/output", folder);
    FILE *file = fopen(path, "rb");
    cr_assert(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

/* Compiles a block without warnings and runs it. Its output goes to `text`. */
static void compile_and_run(const block *b, char *text, size_t size)
{
    char path[128], include[PATH_MAX + 8], library[PATH_MAX + 8], rpath[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/program.c", folder);
    FILE *file = fopen(path, "wb");
    cr_assert(file);
    fwrite(b->text, 1, (size_t)b->size, file);
    cr_assert(fclose(file) == 0);
    snprintf(include, sizeof include, "-I%s", include_folder());
    snprintf(library, sizeof library, "-L%s", build_folder());
    snprintf(rpath, sizeof rpath, "-Wl,-rpath,%s", build_folder());
    /* CC may hold several words. */
    const char *const compile[] = {"sh",       "-c",        "${CC:-" COMPILER "} \"$@\"",
                                   "sh",       "-std=c11",  "-Wall",
                                   "-Wextra",  "-pedantic", "-Werror",
                                   SANITIZE,   include,     "program.c",
                                   "-o",       "program",   library,
                                   "-lgradus", rpath,       "-lm",
                                   NULL};
    int status = run(compile);
    read_output(text, size);
    cr_assert(status == 0 && !*text, "does not compile cleanly:\n%.*s\n%s", b->size, b->text, text);
    status = run((const char *const[]){"./program", NULL});
    read_output(text, size);
    cr_assert(status == 0, "ended with %d:\n%.*s\n%s", status, b->size, b->text, text);
}

/* ---- Examples -------------------------------------------------------------------------------- */

static void examples_print_what_stands_below(const char *name)
{
    block blocks[MOST_BLOCKS] = {0};
    char *page = source(name), text[4096];
    const int count = blocks_of(page, blocks);
    int programs = 0;
    for (int i = 0; i < count; i++) {
        if (!is_language(&blocks[i], "c"))
            continue;
        cr_assert(i + 1 < count && is_language(&blocks[i + 1], "text"));
        compile_and_run(&blocks[i], text, sizeof text);
        const block *want = &blocks[i + 1];
        cr_expect(strlen(text) == (size_t)want->size && !strncmp(text, want->text, strlen(text)),
                  "%s:\n%.*s\nprints\n%sinstead of\n%.*s", name, blocks[i].size, blocks[i].text,
                  text, want->size, want->text);
        programs++;
    }
    cr_expect_geq(programs, 10, "%s has only %d programs", name, programs);
    free(page);
}

Test(pages, the_english_examples) { examples_print_what_stands_below(PAGES[0]); }
Test(pages, the_chinese_examples) { examples_print_what_stands_below(PAGES[1]); }

Test(pages, the_documents_numbers_stand_on_both)
{
    for (int i = 0; i < 2; i++) {
        char *page = source(PAGES[i]);
        cr_expect(strstr(page, "```text\n0.34636116\n```"));
        cr_expect(strstr(page, "```text\n0.38240483\n```"));
        cr_expect(strstr(page, "print(output)  # 0.34636116\n"));
        cr_expect(strstr(page, "print(output)  # 0.38240486\n"));
        cr_expect(strstr(page, "# tensor(0.3464, dtype=torch.float64)\n"));
        free(page);
    }
}

Test(pages, the_first_program_of_readme)
{
    block blocks[MOST_BLOCKS] = {0};
    char *page = source("README.md"), text[4096];
    const int count = blocks_of(page, blocks);
    int i = 0;
    while (i < count && !is_language(&blocks[i], "c"))
        i++;
    cr_assert(i < count);
    compile_and_run(&blocks[i], text, sizeof text);
    free(page);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

typedef struct api {
    const char *name, *parameters[8];
} api;

static const api apis[] = {
    {"torch.nn.functional.binary_cross_entropy_with_logits",
     {"input", "target", "weight", "size_average", "reduce", "reduction", "pos_weight"}},
    {"torch.nn.functional.binary_cross_entropy",
     {"input", "target", "weight", "size_average", "reduce", "reduction"}},
    {"torch.nn.BCELoss", {"weight", "size_average", "reduce", "reduction", "input", "target"}},
    {"torch.nn.BCEWithLogitsLoss",
     {"weight", "size_average", "reduce", "reduction", "pos_weight", "input", "target"}},
    {"mindspore.ops.binary_cross_entropy_with_logits",
     {"logits", "label", "weight", "pos_weight", "reduction"}},
    {"mindspore.ops.BCEWithLogitsLoss", {"reduction", "logits", "label", "weight", "pos_weight"}},
    {"mindspore.nn.BCEWithLogitsLoss", {"reduction", "weight", "pos_weight", "logits", "labels"}},
    {"mindspore.mint.nn.functional.binary_cross_entropy",
     {"input", "target", "weight", "reduction"}},
    {"mindspore.mint.nn.functional.binary_cross_entropy_with_logits",
     {"input", "target", "weight", "reduction", "pos_weight"}},
};

/* Returns the section of an API, up to the next section. */
static char *section_of(const char *page, const char *name)
{
    char heading[128];
    snprintf(heading, sizeof heading, "\n## %s\n", name);
    const char *start = strstr(page, heading);
    cr_assert(start, "no section for %s", name);
    const char *end = strstr(start + 1, "\n## ");
    return strndup(start, end ? (size_t)(end - start) : strlen(start));
}

Test(pages, every_parameter_of_every_api_has_its_row)
{
    for (int language = 0; language < 2; language++) {
        char *page = source(PAGES[language]);
        for (size_t i = 0; i < sizeof apis / sizeof *apis; i++) {
            char *section = section_of(page, apis[i].name), row[128];
            for (int k = 0; apis[i].parameters[k]; k++) {
                snprintf(row, sizeof row, "\n| %d | `%s` | `", k + 1, apis[i].parameters[k]);
                cr_expect(strstr(section, row), "%s: %s has no row for %s as its parameter %d",
                          PAGES[language], apis[i].name, apis[i].parameters[k], k + 1);
            }
            cr_expect(strstr(section, "```python\n") && strstr(section, "```c\n"),
                      "%s: %s has not an example of both", PAGES[language], apis[i].name);
            free(section);
        }
        free(page);
    }
}

/* Looks up each name that follows a word in a text, in both pages. */
Test(pages, every_function_of_the_header_is_named)
{
    char *header = source("include/gradus/compat.h"),
         *pages[] = {source(PAGES[0]), source(PAGES[1])};
    int count = 0;
    for (char *at = strstr(header, "GR_API"); at; at = strstr(at, "GR_API")) {
        char *open = strchr(at, '('), name[128];
        int size = 0;
        while (isalnum((unsigned char)open[-size - 1]) || open[-size - 1] == '_')
            size++;
        snprintf(name, sizeof name, "`%.*s`", size, open - size);
        for (int i = 0; i < 2; i++)
            cr_expect(strstr(pages[i], name), "%s does not name %s", PAGES[i], name);
        count++;
        at = open;
    }
    cr_expect_eq(count, 11, "the header declares %d functions", count);
    free(header);
    free(pages[0]);
    free(pages[1]);
}

/* ---- The two languages ----------------------------------------------------------------------- */

Test(pages, both_languages_have_the_same_blocks)
{
    static block blocks[2][MOST_BLOCKS];
    char *pages[] = {source(PAGES[0]), source(PAGES[1])};
    const int count = blocks_of(pages[0], blocks[0]);
    cr_assert_eq(blocks_of(pages[1], blocks[1]), count);
    for (int i = 0; i < count; i++) {
        const block *a = &blocks[0][i], *b = &blocks[1][i];
        cr_expect_str_eq(a->language, b->language);
        cr_expect(a->size == b->size && !strncmp(a->text, b->text, (size_t)a->size),
                  "block %d:\n%.*s", i, a->size, a->text);
    }
    free(pages[0]);
    free(pages[1]);
}

/* Extracts the parts of a table line that do not depend on the language: the number of cells, and
   the code. */
static int row_outline(const char *line, char *outline)
{
    int cells = 0, size = 0;
    bool code = false;
    for (; *line && *line != '\n'; line++) {
        cells += *line == '|';
        if (*line == '`')
            code = !code;
        if (code)
            outline[size++] = *line;
    }
    outline[size] = '\0';
    return cells;
}

static const char *next_row(const char *line)
{
    while (*line && *line != '|')
        line = next_line(line);
    return line;
}

Test(pages, both_languages_have_the_same_tables)
{
    char *pages[] = {source(PAGES[0]), source(PAGES[1])}, outlines[2][2048];
    const char *a = next_row(pages[0]), *b = next_row(pages[1]);
    int rows = 0;
    for (; *a && *b; a = next_row(next_line(a)), b = next_row(next_line(b)), rows++) {
        cr_expect_eq(row_outline(a, outlines[0]), row_outline(b, outlines[1]), "%.60s", a);
        cr_expect_str_eq(outlines[0], outlines[1]);
    }
    cr_expect(!*a && !*b, "one page has more rows: %.60s%.60s", a, b);
    cr_expect_geq(rows, 70);
    free(pages[0]);
    free(pages[1]);
}
