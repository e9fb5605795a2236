/* split.c - sets rows aside at random. The classes keep their proportions.
 *
 * SPDX-License-Identifier: MIT
 */
#include "split.h"

#include "fail.h"

#include <stdlib.h>

static row_list new_rows(int64_t room) { return (row_list){0, allocate(room, sizeof(int64_t))}; }

row_list all_rows(int64_t count)
{
    row_list all = new_rows(count);
    while (all.count < count) {
        all.at[all.count] = all.count;
        all.count++;
    }
    return all;
}

static row_list rows_of_class(row_list from, const unsigned char *positive, unsigned char class)
{
    row_list members = new_rows(from.count);
    for (int64_t i = 0; i < from.count; i++)
        if (positive[from.at[i]] == class)
            members.at[members.count++] = from.at[i];
    return members;
}

/* Rounds to the nearest number, but leaves at least one on each side. */
static int64_t share(double fraction, int64_t count)
{
    int64_t taken = (int64_t)(fraction * (double)count + 0.5);
    return taken < 1 ? 1 : taken >= count ? count - 1 : taken;
}

static void mark_some(gr_context *ctx, row_list members, double fraction, bool *marked)
{
    gr_tensor *order = gr_permutation(ctx, members.count);
    give_up_error(ctx);
    const int64_t *at = gr_data(order);
    int64_t count = share(fraction, members.count);
    for (int64_t i = 0; i < count; i++)
        marked[members.at[at[i]]] = true;
}

/* Puts both parts in ascending order, so that they have the order of the file. */
static split divide(row_list from, const bool *marked)
{
    split parts = {new_rows(from.count), new_rows(from.count)};
    for (int64_t i = 0; i < from.count; i++) {
        row_list *part = marked[from.at[i]] ? &parts.taken : &parts.left;
        part->at[part->count++] = from.at[i];
    }
    return parts;
}

split take_rows(row_list from, const unsigned char *positive, double fraction, uint64_t seed,
                purpose why)
{
    gr_context *ctx = gr_context_new(&(gr_context_options){.seed = seed_for(seed, why)});
    bool *marked = allocate(from.count ? from.at[from.count - 1] + 1 : 0, sizeof *marked);
    for (unsigned char class = 0; class < 2; class ++) {
        row_list members = rows_of_class(from, positive, class);
        if (members.count < 2)
            refuse("too few rows to set some aside: %lld %s", (long long)members.count,
                   class ? "positive" : "negative");
        mark_some(ctx, members, fraction, marked);
        rows_free(&members);
    }
    split parts = divide(from, marked);
    free(marked);
    gr_context_free(ctx);
    return parts;
}

void rows_free(row_list *r)
{
    free(r->at);
    *r = (row_list){0};
}
