/* planted.c - one planted fault for each sanitizer, and one that Criterion does not count as a
 * failure. The tests of the first and the last fault pass. So the matrix must read reports and
 * logs, and not only Criterion's result.
 *
 * SPDX-License-Identifier: MIT
 */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdlib.h>

static volatile int one = 1;
static char *volatile memory;

Test(planted, leak)
{
    memory = malloc(100);
    memory = NULL;
}

Test(planted, overflow)
{
    memory = malloc(100);
    memory[99 + one] = 1;
    free(memory);
}

Test(planted, undefined)
{
    one = INT_MAX;
    one++;
}

static void fail_late(void) { cr_expect(one == 0, "planted"); }
Test(planted, late, .fini = fail_late) {}
