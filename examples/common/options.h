/* options.h - reads the values of command-line options strictly.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_OPTIONS_H
#define EXAMPLES_OPTIONS_H

#include <stdint.h>

/* The limits of a model: number of hidden layers, and units in each. */
#define MAX_HIDDEN 8
#define MAX_UNITS  4096

/* Larger seeds are refused, because seeds.h makes several seeds from one. */
#define MAX_SEED 4294967295

/* `what` is the start of the message, as in "--epochs: 'ten' is not a whole number from 1 to
   100000". */
int64_t read_integer(const char *what, const char *text, int64_t low, int64_t high);

/* Reads a number between low and high. The limits themselves are not allowed. */
double read_number(const char *what, const char *text, double low, double high);

/* Reads sizes such as "32,16", or "none". Returns the number of sizes. */
int read_sizes(const char *what, const char *text, int64_t sizes[MAX_HIDDEN]);

/* Refuses a path that cannot be written: no regular file, or a folder where no file can be made.
   Called before the work, so that hours of it are not lost. */
void check_writable(const char *what, const char *path);

/* Refuses an output that is the same file as another one. Either path may be NULL. */
void check_apart(const char *what, const char *path, const char *other, const char *other_path);

#endif
