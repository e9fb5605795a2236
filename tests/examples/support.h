/* support.h - runs train and predict as a user does, in a folder of its own for each test.
 *
 * GR_EXAMPLES is the folder of the programs (build/examples). GR_SHARED is the folder of data/.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_EXAMPLES_SUPPORT_H
#define TESTS_EXAMPLES_SUPPORT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

extern char shared[PATH_MAX + 32];

/* The rows of a small table with columns a, b and y. Eight rows of sixteen are positive. */
typedef struct labelled {
    const char *header, *positive, *negative, *delimiter, *line_end;
} labelled;

/* Writes that table. NULL stands for "a,b,y", "1", "0", "," and a line feed. */
void put_labelled(const char *path, labelled form);

/* Trains quickly on such a file and saves good.safetensors. `options` follow. */
void train_good(const char *data, const char *positive, const char *options);

/* Returns the path of the breast cancer data. Skips the test where it is not. */
const char *breast_cancer(void);

/* For a suite's .init and .fini: enter a new folder, and remove it. */
void enter(void);
void leave(void);

void put(const char *path, const char *text);

/* Reads a whole file and adds a 0 at the end. The caller frees it. NULL if there is no file. */
char *get(const char *path, size_t *size);
bool same_files(const char *left, const char *right);

/* Starts "PROGRAM ARGUMENT ...", split at blanks. stdout goes to the file out, stderr to err. */
pid_t start(const char *line, char **environment);

/* Returns the exit status. If a signal ended the program, which is always wrong, returns more than
   1000. */
int finish(pid_t child);
int run(const char *line);

int count_lines(const char *text);

/* Checks for status 2, empty stdout, and one line on stderr that holds `words`. No output file may
   change: neither old.safetensors nor old.png, and there is no moons.safetensors. */
void expect_refusal(const char *line, const char *words);

/* Checks for status 0, and that the file ("out" or "err") holds `words`. */
void expect_success(const char *line, const char *file, const char *words);

#endif
