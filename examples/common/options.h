/* options.h - the values of command-line options, read strictly.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_OPTIONS_H
#define EXAMPLES_OPTIONS_H

#include <stdint.h>

/* A model has at most so many hidden layers, each of at most so many units. */
#define MAX_HIDDEN 8
#define MAX_UNITS  4096

/* Seeds are small enough that seeds.h can make several of one. */
#define MAX_SEED 4294967295

/* `what` stands in the message, as in "--epochs: 'ten' is not a whole number from 1 to 100000". */
int64_t read_integer(const char *what, const char *text, int64_t low, int64_t high);

/* A number between low and high, neither of them included. */
double read_number(const char *what, const char *text, double low, double high);

/* "32,16", or "none": returns how many sizes were read. */
int read_sizes(const char *what, const char *text, int64_t sizes[MAX_HIDDEN]);

/* Refuses a path at which no file could be written, before hours of work are lost on it. */
void check_writable(const char *what, const char *path);

#endif
