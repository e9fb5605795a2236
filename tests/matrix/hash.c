/* hash.c - prints hashes of the bits of two training runs, to compare them with other builds.
 *
 *     hash            prints the hashes, one on each line. The environment sets the instruction set
 *                     and the threads.
 *     hash --isa      prints the name of the instruction set. If there is none, it prints the
 *                     reason and returns 1.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/training/curve.h"
#include <string.h>

static int print_isa(void)
{
    gr_context *ctx = gr_context_new(NULL);
    const bool usable = gr_error(ctx) == GR_OK;
    puts(usable ? gr_context_isa(ctx) : gr_error_message(ctx));
    return gr_context_free(ctx) == GR_OK ? 0 : 1;
}

static int print_hash(const curve_problem *problem)
{
    const uint64_t hash = curve_hash(problem, NULL, 0);
    printf("%s %016llx\n", problem->name, (unsigned long long)hash);
    return hash == 0;
}

int main(int count, char **words)
{
    if (count == 2 && strcmp(words[1], "--isa") == 0)
        return print_isa();
    return print_hash(&curve_tall) + print_hash(&curve_wide) ? 1 : 0;
}
