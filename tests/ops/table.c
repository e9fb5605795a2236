/* table.c - every op that ops.h offers is in a table of tests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/common/rows.h"

/* Not in ops.def: the file of tests that has them. */
static const char *const elsewhere[] = {
    "pow",                               /* unary.c */
    "where",                             /* compare.c */
    "sum_with", "mean_with",   "sum_to", /* reduce.c */
    "softmax",  "log_softmax",           /* tests of the losses */
    "matmul",                            /* matmul.c */
    "reshape",  "transpose",   "permute", "slice", "expand", "contiguous", "cast", /* shape.c */
};

static bool has_tests(const char *name)
{
    bool found = false;
    EACH_ROW(row, unary_rows)
    found = found || strcmp(name, row->name) == 0;
    EACH_ROW(row, binary_rows)
    found = found || strcmp(name, row->name) == 0;
    EACH_ROW(row, compare_rows)
    found = found || strcmp(name, row->name) == 0;
    for (int i = 0; i < COUNT_OF(elsewhere); i++)
        found = found || strcmp(name, elsewhere[i]) == 0;
    return found;
}

/* Reads the header: the tests run in the folder of the sources. */
Test(table, every_op_has_tests)
{
    char line[256], name[64];
    int count = 0;
    FILE *header = fopen("include/gradus/ops.h", "r");
    cr_assert_not_null(header, "run this where the sources are");
    while (fgets(line, sizeof line, header)) {
        if (sscanf(line, "GR_API gr_tensor *gr_%63[a-z0-9_](", name) != 1)
            continue;
        count++;
        cr_expect(has_tests(name), "gr_%s is in no table of tests", name);
    }
    fclose(header);
    cr_expect_geq(count, row_count() + 13, "only %d declarations were read", count);
    cr_expect_not(has_tests("nothing"));
}

Test(table, rows_say_what_can_be_checked)
{
    EACH_ROW(row, unary_rows)
    {
        cr_expect_lt(row->low, row->high, "%s", row->name);
        cr_expect(isnan(row->reference(NAN)), "%s", row->name);
    }
    EACH_ROW(row, binary_rows)
    {
        cr_expect_lt(row->low, row->high, "%s", row->name);
        cr_expect(isnan(row->reference(NAN, 1)) && isnan(row->reference(1, NAN)), "%s", row->name);
    }
}
