/* support.c - runs the programs in a folder of its own for each test.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

char shared[PATH_MAX + 32];

/* ---- A folder for each test ------------------------------------------------------------------ */

static char programs[PATH_MAX], folder[] = "/tmp/gradus-examples-XXXXXX";

/* Criterion runs each test in its own process, so a test may change the working folder. */
void enter(void)
{
    const char *named = getenv("GR_EXAMPLES"), *data = getenv("GR_SHARED");
    cr_assert(realpath(named ? named : "build/examples", programs), "GR_EXAMPLES is not set");
    if (!data || !realpath(data, shared))
        snprintf(shared, sizeof shared, "%s/../../../shared", programs);
    cr_assert(mkdtemp(folder));
    cr_assert(chdir(folder) == 0);
}

void leave(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert(system(command) == 0);
}

void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    cr_assert(file);
    fputs(text, file);
    cr_assert(fclose(file) == 0);
}

char *get(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    struct stat about;
    if (!file)
        return NULL;
    cr_assert(fstat(fileno(file), &about) == 0);
    char *text = calloc((size_t)about.st_size + 1, 1);
    *size = fread(text, 1, (size_t)about.st_size, file);
    fclose(file);
    return text;
}

bool same_files(const char *left, const char *right)
{
    size_t n = 0, m = 1;
    char *a = get(left, &n), *b = get(right, &m);
    bool same = a && b && n == m && memcmp(a, b, n) == 0;
    free(a);
    free(b);
    return same;
}

/* ---- Data ------------------------------------------------------------------------------------ */

void put_labelled(const char *path, labelled form)
{
    static const char a[] = "1235467812345678", b[] = "2154293843175261";
    const char *delimiter = form.delimiter ? form.delimiter : ",";
    const char *end = form.line_end ? form.line_end : "\n";
    FILE *file = fopen(path, "wb");
    cr_assert(file);
    fprintf(file, "%s%s", form.header ? form.header : "a,b,y", end);
    for (int i = 0; i < 16; i++) {
        const char *positive = form.positive ? form.positive : "1";
        const char *negative = form.negative ? form.negative : "0";
        fprintf(file, "%c%s%c%s%s%s", a[i], delimiter, b[i], delimiter, i % 2 ? positive : negative,
                end);
    }
    cr_assert(fclose(file) == 0);
}

void train_good(const char *data, const char *positive, const char *options)
{
    char line[512];
    snprintf(line, sizeof line,
             "train --data %s --target y --positive %s --batch 4 --epochs 3 --hidden 3 "
             "--save good.safetensors %s",
             data, positive, options);
    expect_success(line, "out", "accuracy");
}

const char *breast_cancer(void)
{
    static char path[sizeof shared + 32];
    snprintf(path, sizeof path, "%s/data/wdbc.csv", shared);
    if (access(path, R_OK) != 0)
        cr_skip("skipped: there is no %s", path);
    return path;
}

/* ---- A program run --------------------------------------------------------------------------- */

enum { MOST_WORDS = 24 };

pid_t start(const char *line, char **environment)
{
    char words[PATH_MAX], program[PATH_MAX + 64], *list[MOST_WORDS] = {0};
    snprintf(words, sizeof words, "%s", line);
    int count = 0;
    for (char *word = strtok(words, " "); word && count < MOST_WORDS - 1; word = strtok(NULL, " "))
        list[count++] = word;
    snprintf(program, sizeof program, "%s/%s", programs, list[0]);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "out", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, "err", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    pid_t child;
    int failed = posix_spawn(&child, program, &actions, NULL, list, environment);
    posix_spawn_file_actions_destroy(&actions);
    cr_assert(!failed, "%s: %s", program, strerror(failed));
    return child;
}

int finish(pid_t child)
{
    int status;
    cr_assert(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status) + 1000;
}

int run(const char *line) { return finish(start(line, environ)); }

/* ---- What a program says --------------------------------------------------------------------- */

int count_lines(const char *text)
{
    int count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

void expect_refusal(const char *line, const char *words)
{
    put("old.safetensors", "the old model");
    put("old.png", "the old picture");
    put("keep", "the old model");
    put("keep.png", "the old picture");
    int status = run(line);
    size_t size, none;
    char *said = get("err", &size), *out = get("out", &none);
    cr_expect(status == 2, "%s: status %d, said: %s", line, status, said);
    cr_expect(none == 0, "%s: wrote to stdout: %s", line, out);
    cr_expect(count_lines(said) == 1, "%s: not one line: %s", line, said);
    cr_expect(strstr(said, words) != NULL, "%s: no '%s' in: %s", line, words, said);
    cr_expect(same_files("old.safetensors", "keep"), "%s: touched the model", line);
    cr_expect(same_files("old.png", "keep.png"), "%s: touched the picture", line);
    cr_expect(access("moons.safetensors", F_OK) != 0, "%s: wrote a model", line);
    free(said);
    free(out);
}

void expect_success(const char *line, const char *file, const char *words)
{
    int status = run(line);
    size_t size;
    char *said = get("err", &size), *text = get(file, &size);
    cr_expect(status == 0, "%s: status %d, said: %s", line, status, said);
    cr_expect(strstr(text, words) != NULL, "%s: no '%s' in: %s", line, words, text);
    free(said);
    free(text);
}
