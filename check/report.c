/* report.c - a report in one line.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/check.h"

static const char *output_name(const gr_gradcheck_entry *e)
{
    return e->order == 2 ? "gradient" : "out";
}

static void print_output(const gr_gradcheck_entry *e, FILE *out)
{
    if (e->output_at == GR_CHECK_ALL_OUTPUTS)
        fprintf(out, "%s", output_name(e));
    else
        fprintf(out, "%s[%lld]", output_name(e), (long long)e->output_at);
}

/* Prints "d out[2] / d in[0] at [3,1]", or "out[2]" if the entry has no input. */
static void print_place(const gr_gradcheck_entry *e, FILE *out)
{
    if (e->input == GR_CHECK_NO_INPUT) {
        print_output(e, out);
        return;
    }
    fputs("d ", out);
    print_output(e, out);
    if (e->input == GR_CHECK_UPSTREAM)
        fputs(" / d upstream", out);
    else
        fprintf(out, " / d in[%d]", e->input);
    fprintf(out, " at %s", gr_dims_text(&e->index).text);
}

static void print_worst(const gr_gradcheck_report *r, const char *what, FILE *out)
{
    const gr_gradcheck_entry *e = &r->worst;
    fprintf(out, "%s: ", what);
    print_place(e, out);
    fprintf(
        out, ": analytic %.10g, numeric %.10g, relative error %.1e (noise %.0e), %lld of %lld\n",
        e->analytic, e->numeric, e->relative, e->noise, (long long)r->bad, (long long)r->checked);
}

static void print_not_linear(const gr_gradcheck_report *r, FILE *out)
{
    const gr_gradcheck_entry *e = &r->worst;
    fputs("not linear in the upstream gradient: ", out);
    print_place(e, out);
    fprintf(out, ", weighted: %.10g, and %.10g from the outputs one by one\n", e->analytic,
            e->numeric);
}

static void print_two(const gr_gradcheck_report *r, FILE *out)
{
    fputs("not the same twice: ", out);
    print_place(&r->worst, out);
    fprintf(out, ": %.17g, then %.17g\n", r->worst.analytic, r->worst.numeric);
}

static void print_passed(const gr_gradcheck_report *r, FILE *out)
{
    fprintf(out, "passed, %lld entries", (long long)r->checked);
    if (r->kinks > 0)
        fprintf(out, ", %lld at kinks", (long long)r->kinks);
    if (r->unsure > 0)
        fprintf(out, ", %lld unsure: rounding or steps hide errors there", (long long)r->unsure);
    fputc('\n', out);
}

void gr_gradcheck_print(const gr_gradcheck_report *report, FILE *out)
{
    if (!report || !out)
        return;
    fprintf(out, "%s: ", report->name ? report->name : "f");
    switch (report->reason) {
    case GR_CHECK_PASSED:
        print_passed(report, out);
        break;
    case GR_CHECK_WRONG:
        print_worst(report, "wrong gradient", out);
        break;
    case GR_CHECK_NOT_FINITE:
        print_worst(report, "gradient not finite", out);
        break;
    case GR_CHECK_NOT_LINEAR:
        print_not_linear(report, out);
        break;
    case GR_CHECK_NOT_SAME:
        print_two(report, out);
        break;
    case GR_CHECK_ERROR:
        fputs("failed: the context's error says how\n", out);
        break;
    }
}
