/* support.c - values for calls in which one pointer is NULL, and checks of the results.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tests/nulls/support.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- A test's own ---------------------------------------------------------------------------- */

gr_context *own;
void *volatile nothing;
void *no_elements[4];
static char folder[256];
static gr_csv *held_csv;
static gr_archive *held_archive;
static FILE *held_sink;

gr_context *another_context(void)
{
    return gr_context_new(&(gr_context_options){.allocator = &heap_allocator, .threads = 1});
}

void enter(void)
{
    own = another_context();
    cr_assert_eq(gr_scope_begin(own), GR_OK);
}

/* Enters a new folder, but only once. For tests that use files. */
static void need_folder(void)
{
    const char *temp = getenv("TMPDIR");
    if (folder[0])
        return;
    snprintf(folder, sizeof folder, "%s/gradus-nulls-XXXXXX", temp ? temp : "/tmp");
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
}

static void remove_folder(void)
{
    static const char *const files[] = {"in.csv", "in.safetensors", "out"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(files[i]);
    cr_expect_eq(chdir("/"), 0);
    cr_expect_eq(rmdir(folder), 0, "a file was left");
}

void leave(void)
{
    if (held_csv)
        gr_csv_free(held_csv);
    if (held_archive)
        gr_archive_free(held_archive);
    if (held_sink)
        fclose(held_sink);
    (void)!gr_context_free(own);
    cr_expect_eq(heap.live, 0, "%lld bytes are lost", (long long)heap.live);
    if (folder[0])
        remove_folder();
}

/* ---- Values ---------------------------------------------------------------------------------- */

gr_tensor *places[4];
double numbers[16] = {1, 2, 3, 4};
const int64_t sizes[8] = {2, 2, 2, 2, 2, 2, 2, 2};
char bytes[256];
const char *const columns[1] = {"a"};
gr_reduction reduction;

gr_tensor *matrix(void)
{
    static const float values[] = {0.25f, 0.5f, 0.75f, 0.5f};
    return gr_from_data(own, GR_F32, gr_shape(2, 2), values);
}

gr_tensor *vector(void) { return gr_ones(own, GR_F32, gr_shape(2)); }
gr_tensor *scalar(void) { return gr_ones(own, GR_F32, gr_shape()); }
gr_tensor *doubles(void) { return gr_full(own, GR_F64, gr_shape(2, 2), 0.5); }
gr_tensor *classes(void) { return gr_zeros(own, GR_I64, gr_shape(2)); }
gr_tensor *parameter(void) { return gr_parameter(matrix()); }
gr_tensor *loss(void) { return sum_of_squares(list_of(parameter()), NULL); }

gr_tensors list_of(gr_tensor *x)
{
    static gr_tensor *elements[16];
    static int count;
    gr_tensor **at = &elements[count++ % 16];
    *at = x;
    return (gr_tensors){1, at};
}

gr_mlp *mlp(void) { return gr_mlp_new(own, GR_F32, GR_TANH, 2, sizes); }

gr_optimizer *optimizer(void)
{
    return gr_sgd_with(own, &(gr_sgd_args){GR_SGD_DEFAULTS, .parameters = list_of(parameter())});
}

const char *out_path(void)
{
    need_folder();
    return "out";
}

const char *csv_path(void)
{
    need_folder();
    FILE *file = fopen("in.csv", "w");
    cr_assert(file && fputs("a,b\n1,2\n", file) >= 0 && fclose(file) == 0);
    return "in.csv";
}

const char *archive_path(void)
{
    const gr_named_tensor x = {"x", matrix()};
    const gr_metadata text = {"text", "value"};
    need_folder();
    cr_assert_eq(gr_save(own, "in.safetensors", 1, &x, 1, &text), GR_OK);
    return "in.safetensors";
}

gr_csv *loose_csv(void)
{
    return gr_csv_read_with(own, &(gr_csv_args){GR_CSV_DEFAULTS, .path = csv_path()});
}
gr_archive *loose_archive(void) { return gr_load(own, archive_path()); }
gr_csv *csv(void) { return held_csv = loose_csv(); }
gr_archive *archive(void) { return held_archive = loose_archive(); }
FILE *sink(void) { return held_sink = fopen("/dev/null", "w"); }

gr_tensor *sum_of_squares(gr_tensors inputs, void *data)
{
    (void)data;
    return gr_sum_with(&(gr_reduce_args){.x = gr_square(inputs.at[0])});
}

void ignore(gr_context *ctx, gr_status status, const char *message, void *data)
{
    (void)ctx, (void)status, (void)message, (void)data;
}

gr_status own_shape(const gr_call *call, gr_form *results)
{
    results[0].dtype = gr_dtype_of(call->in[0]);
    results[0].shape = gr_shape_of(call->in[0]);
    return GR_OK;
}

int64_t own_scratch(const gr_call *call) { return gr_numel(call->in[0]); }

gr_status own_run(const gr_call *call)
{
    memcpy(gr_data_mutable(call->out), gr_data(call->in[0]),
           (size_t)(gr_numel(call->out) * gr_dtype_size(gr_dtype_of(call->out))));
    return GR_OK;
}

void own_rule(const gr_node *node, gr_tensor *g, gr_tensor **dx)
{
    (void)node;
    dx[0] = g;
}

gr_status own_add_rule(const gr_node *node, gr_tensor *g, int i, gr_tensor *into)
{
    (void)node, (void)g, (void)i, (void)into;
    return GR_OK;
}

/* ---- Demands: all is given ------------------------------------------------------------------- */

void expect_no_error(void) { cr_expect_eq(gr_error(own), GR_OK, "%s", gr_error_message(own)); }

void given_tensor(gr_tensor *x) { cr_expect(x && !gr_failed(x), "it failed"); }
void given_status(gr_status status) { cr_expect_eq(status, GR_OK, "%s", gr_status_name(status)); }
void given_mlp(gr_mlp *made) { cr_expect_not_null(made); }
void given_optimizer(gr_optimizer *made) { cr_expect_not_null(made); }

void given_csv(gr_csv *made)
{
    cr_expect_not_null(made);
    held_csv = made;
}

void given_archive(gr_archive *made)
{
    cr_expect_not_null(made);
    held_archive = made;
}

void given_linear(gr_linear made) { cr_expect(!gr_failed(made.weight) && !gr_failed(made.bias)); }
void given_number(double x) { cr_expect(isfinite(x), "it is %g", x); }
void given_context(gr_context *of) { cr_expect_eq(of, own); }
void given_raised(gr_status status) { cr_expect_eq(status, GR_ERROR_SHAPE); }
void given_error(gr_status status) { given_status(status); }

void given_new_context(gr_context *made)
{
    cr_assert_not_null(made);
    const gr_status status = gr_context_free(made);
    cr_expect_eq(status, GR_OK, "%s", gr_status_name(status));
}

/* ---- Demands: a pointer is NULL -------------------------------------------------------------- */

static void expect_null(gr_status status, const char *of)
{
    cr_expect_eq(status, GR_ERROR_NULL, "%s is %s", of, gr_status_name(status));
}

void refused_tensor(gr_tensor *x)
{
    cr_assert_not_null(x, "the result is NULL");
    cr_expect(gr_failed(x), "the result has not failed");
    expect_null(gr_error(gr_context_of(x)), "the error");
}

void refused_status(gr_status status) { expect_null(status, "the result"); }

void refused_context(gr_context *of)
{
    cr_assert_not_null(of, "the result is NULL");
    expect_null(gr_error(of), "its error");
}

void refused_new_context(gr_context *made)
{
    refused_context(made);
    (void)!gr_context_free(made);
}

/* If the context itself was NULL, the model's error cannot be read, but a call on the model must
   fail. */
void refused_mlp(gr_mlp *made)
{
    cr_assert_not_null(made, "the result is NULL");
    refused_tensor(gr_mlp_forward(made, matrix()));
}

void refused_optimizer(gr_optimizer *made)
{
    cr_assert_not_null(made, "the result is NULL");
    refused_status(gr_step(made));
}

void refused_csv(gr_csv *made)
{
    cr_expect_null(made, "the result is a table");
    held_csv = made;
}

void refused_archive(gr_archive *made)
{
    cr_expect_null(made, "the result is an archive");
    held_archive = made;
}

void refused_linear(gr_linear made)
{
    refused_tensor(made.weight);
    refused_tensor(made.bias);
}

void refused_number(double x) { cr_expect(isnan(x), "it is %g", x); }
void refused_raised(gr_status status) { cr_expect_neq(status, GR_OK); }
void refused_error(gr_status status) { expect_null(status, "the result"); }
