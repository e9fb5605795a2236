/* load.c - the reader of safetensors. It trusts nothing in the file.
 *
 * It checks in this order: the limits; the lengths against the size of the file; all sums and
 * products for overflow. Only then it allocates memory: for the header when its length fits in the
 * file, and for the data when the place of each tensor is correct. Sorted by place, the tensors
 * must fill the data from 0 to its end without gaps. So no two tensors overlap, and each byte
 * belongs to a tensor. The file is copied and not mapped, so it cannot change after the checks.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/safetensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    SMALLEST_ENTRY = 45, /* bytes: "":{"dtype":"U8","shape":[],"data_offsets":[0,0]} is longer */
    HEADER_DEPTH = 3,    /* the header, a tensor's object, its lists */
    MAX_LIST = 64        /* far more dimensions than any tensor has */
};

typedef struct entry {
    const char *name; /* owned by the header */
    gr_dtype dtype;
    gr_dims shape;
    int64_t begin, end;
} entry;

struct gr_archive {
    gr_context *ctx;
    char *path;
    int64_t path_size;
    json_t *header;   /* owns the names and the metadata */
    json_t *metadata; /* part of the header, or NULL */
    int64_t count;
    entry *entries;  /* sorted by the place of their bytes */
    entry **by_name; /* sorted by name */
    char *data;
    int64_t data_size;
};

static bool malformed(const gr_archive *a, const char *what, ...) GR_PRINTF(2, 3);

/* Raises FORMAT: "PATH: WHAT". */
static bool malformed(const gr_archive *a, const char *what, ...)
{
    char text[256];
    va_list list;
    va_start(list, what);
    vsnprintf(text, sizeof text, what, list);
    va_end(list);
    gr_fail(a->ctx, GR_ERROR_FORMAT, "load", "%s: %s", gr_show_path(a->path), text);
    return false;
}

void gr_archive_free(gr_archive *a)
{
    if (a == NULL)
        return;
    gr_release(a->ctx, a->path, a->path_size);
    gr_release(a->ctx, a->entries, a->count * (int64_t)sizeof *a->entries);
    gr_release(a->ctx, (void *)a->by_name, a->count * (int64_t)sizeof *a->by_name);
    gr_release(a->ctx, a->data, a->data_size);
    json_decref(a->header);
    gr_release(a->ctx, a, sizeof *a);
}

static gr_archive *new_archive(gr_context *ctx, const char *path)
{
    gr_archive *a = gr_allocate(ctx, sizeof *a);
    if (a == NULL)
        return NULL;
    *a = (gr_archive){.ctx = ctx, .path_size = (int64_t)strlen(path) + 1};
    a->path = gr_allocate(ctx, a->path_size);
    if (a->path == NULL) {
        gr_archive_free(a);
        return NULL;
    }
    memcpy(a->path, path, (size_t)a->path_size);
    return a;
}

/* Reads exactly `count` bytes. The size of the file says that they exist. */
static bool read_promised(const gr_archive *a, gr_input *in, void *bytes, int64_t count)
{
    int64_t got = gr_input_read(in, bytes, count);
    return got == count || (got >= 0 && malformed(a, "the file has become shorter"));
}

/* Reads the length of the header, and checks that the header fits in the file. */
static bool read_length(const gr_archive *a, gr_input *in, int64_t *length)
{
    uint64_t stated;
    if (in->size < GR_SAFE_LENGTH)
        return malformed(a, "has %lld bytes, too few for a header's length", (long long)in->size);
    if (!read_promised(a, in, &stated, GR_SAFE_LENGTH))
        return false;
    if (stated > GR_SAFE_MAX_HEADER)
        return malformed(a, "states a header of %llu bytes, more than %d",
                         (unsigned long long)stated, GR_SAFE_MAX_HEADER);
    if ((int64_t)stated > in->size - GR_SAFE_LENGTH)
        return malformed(a, "states a header of %llu bytes, but only %lld follow",
                         (unsigned long long)stated, (long long)(in->size - GR_SAFE_LENGTH));
    *length = (int64_t)stated;
    return true;
}

/* Scans a header before jansson parses it. jansson needs some hundred bytes for an object and some
   ten for a number. Without these limits on nesting, lists and empty objects, a small file could
   demand much memory. */
static bool header_is_plausible(const gr_archive *a, const char *text, int64_t length)
{
    int64_t depth = 0, objects = 0, in_list = 0;
    bool quoted = false;
    for (int64_t i = 0; i < length; i++) {
        char byte = text[i];
        if (quoted) {
            i += byte == '\\';
            quoted = byte != '"';
            continue;
        }
        quoted = byte == '"';
        depth += (byte == '{' || byte == '[') - (byte == '}' || byte == ']');
        objects += byte == '{';
        in_list = byte == '[' ? 0 : in_list + (byte == ',' && depth == HEADER_DEPTH);
        if (depth > HEADER_DEPTH)
            return malformed(a, "header is nested too deep at byte %lld", (long long)i);
        if (in_list >= MAX_LIST)
            return malformed(a, "header has a list of more than %d values at byte %lld", MAX_LIST,
                             (long long)i);
    }
    return objects <= length / SMALLEST_ENTRY + 2 || malformed(a, "header has empty entries");
}

/* True if the header starts with a brace and ends with one. Spaces may follow. */
static bool header_is_framed(const gr_archive *a, const char *text, int64_t length)
{
    while (length > 0 && text[length - 1] == ' ')
        length--;
    return (length >= 2 && text[0] == '{' && text[length - 1] == '}') ||
           malformed(a, "header is not framed by braces");
}

static bool parse_header(gr_archive *a, const char *text, int64_t length)
{
    json_error_t error;
    if (!header_is_framed(a, text, length) || !header_is_plausible(a, text, length))
        return false;
    a->header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (a->header != NULL)
        return true;
    if (json_error_code(&error) == json_error_out_of_memory || error.text[0] == '\0')
        return gr_safe_no_memory(a->ctx, "load");
    return malformed(a, "header is not the JSON of this format at byte %d: %s", error.position,
                     gr_show(error.text).text);
}

static bool read_header(gr_archive *a, gr_input *in)
{
    int64_t length = 0;
    if (!read_length(a, in, &length))
        return false;
    char *text = gr_allocate(a->ctx, length + 1); /* even an empty header needs an address */
    if (text == NULL)
        return false;
    bool parsed = read_promised(a, in, text, length) && parse_header(a, text, length);
    gr_release(a->ctx, text, length + 1);
    a->data_size = in->size - GR_SAFE_LENGTH - length;
    return parsed;
}

static bool take_file_metadata(gr_archive *a)
{
    const char *key;
    json_t *value;
    a->metadata = json_object_get(a->header, GR_SAFE_METADATA);
    if (a->metadata == NULL)
        return true;
    if (!json_is_object(a->metadata))
        return malformed(a, "%s is not an object", GR_SAFE_METADATA);
    json_object_foreach(a->metadata, key, value)
    {
        if (!json_is_string(value))
            return malformed(a, "metadata '%s' is not a string", gr_show(key).text);
    }
    return true;
}

static bool take_dtype(const gr_archive *a, entry *e, json_t *info)
{
    const char *name = json_string_value(json_object_get(info, "dtype"));
    if (name == NULL)
        return malformed(a, "tensor '%s' has no dtype", gr_show(e->name).text);
    for (int i = 0; i < GR_SAFE_KINDS; i++) {
        if (strcmp(gr_safe_kinds[i].name, name) == 0) {
            e->dtype = gr_safe_kinds[i].dtype;
            return true;
        }
    }
    return malformed(a, "tensor '%s' has dtype '%s', which gradus does not read",
                     gr_show(e->name).text, gr_show(name).text);
}

/* Returns an item of a list if it is a whole number of at least 0. Returns a negative number for
   anything else. */
static int64_t number_at(const json_t *list, size_t i)
{
    const json_t *value = json_array_get(list, i);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

static bool take_shape(const gr_archive *a, entry *e, json_t *info)
{
    const json_t *list = json_object_get(info, "shape");
    if (!json_is_array(list))
        return malformed(a, "tensor '%s' has no shape", gr_show(e->name).text);
    if (json_array_size(list) > GR_MAX_DIMS)
        return malformed(a, "tensor '%s' has %zu dimensions, more than %d", gr_show(e->name).text,
                         json_array_size(list), GR_MAX_DIMS);
    e->shape.count = (int)json_array_size(list);
    for (int axis = 0; axis < e->shape.count; axis++) {
        e->shape.at[axis] = number_at(list, (size_t)axis);
        if (e->shape.at[axis] < 0)
            return malformed(a, "tensor '%s': a size of its shape is no whole number of 0 or more",
                             gr_show(e->name).text);
    }
    return true;
}

/* Returns the bytes for a dtype and shape. -1 if they exceed 64 bits. Sizes of 0 are skipped first,
   because the product of the other sizes must also fit. */
static int64_t wanted_bytes(const entry *e)
{
    int64_t bytes = gr_dtype_size(e->dtype);
    bool empty = false;
    for (int axis = 0; axis < e->shape.count; axis++) {
        empty |= e->shape.at[axis] == 0;
        if (e->shape.at[axis] != 0 && __builtin_mul_overflow(bytes, e->shape.at[axis], &bytes))
            return -1;
    }
    return empty ? 0 : bytes;
}

static bool take_offsets(const gr_archive *a, entry *e, json_t *info)
{
    const json_t *list = json_object_get(info, "data_offsets");
    e->begin = number_at(list, 0);
    e->end = number_at(list, 1);
    if (json_array_size(list) != 2 || e->begin < 0 || e->end < 0)
        return malformed(a, "tensor '%s': data_offsets are not two whole numbers of 0 or more",
                         gr_show(e->name).text);
    if (e->end < e->begin || e->end > a->data_size)
        return malformed(a, "tensor '%s' lies from byte %lld to %lld of %lld",
                         gr_show(e->name).text, (long long)e->begin, (long long)e->end,
                         (long long)a->data_size);
    int64_t wanted = wanted_bytes(e);
    if (wanted < 0)
        return malformed(a, "tensor '%s' has a shape of more bytes than 64 bits can count",
                         gr_show(e->name).text);
    return wanted == e->end - e->begin ||
           malformed(a, "tensor '%s' has %lld bytes, but dtype and shape ask for %lld",
                     gr_show(e->name).text, (long long)(e->end - e->begin), (long long)wanted);
}

static bool take_entry(const gr_archive *a, entry *e, const char *name, json_t *info)
{
    e->name = name;
    if (!json_is_object(info) || json_object_size(info) != 3)
        return malformed(a, "tensor '%s' is not an object of dtype, shape and data_offsets",
                         gr_show(name).text);
    return take_dtype(a, e, info) && take_shape(a, e, info) && take_offsets(a, e, info);
}

static int compare_places(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const entry *const *)a)->name, (*(const entry *const *)b)->name);
}

/* Checks that each tensor begins where the one before it ends, from 0 to the end of the data. */
static bool check_places(const gr_archive *a)
{
    int64_t end = 0;
    for (int64_t i = 0; i < a->count; i++) {
        const entry *e = &a->entries[i];
        if (e->begin != end)
            return malformed(a, "tensor '%s' %s at byte %lld of the data", gr_show(e->name).text,
                             e->begin < end ? "overlaps another" : "has a hole before it",
                             (long long)e->begin);
        end = e->end;
    }
    return end == a->data_size ||
           malformed(a, "%lld bytes follow the last tensor", (long long)(a->data_size - end));
}

static bool take_entries(gr_archive *a)
{
    const char *name;
    json_t *info;
    void *entries, *by_name = NULL;
    int64_t i = 0;
    a->count = (int64_t)json_object_size(a->header) - (a->metadata != NULL);
    bool room = gr_safe_list(a->ctx, &entries, a->count, sizeof *a->entries) &&
                gr_safe_list(a->ctx, &by_name, a->count, sizeof *a->by_name);
    a->entries = entries;
    a->by_name = by_name;
    if (!room)
        return false;
    json_object_foreach(a->header, name, info)
    {
        if (info != a->metadata && !take_entry(a, &a->entries[i++], name, info))
            return false;
    }
    gr_safe_sort(a->entries, a->count, sizeof *a->entries, compare_places);
    for (i = 0; i < a->count; i++)
        a->by_name[i] = &a->entries[i];
    gr_safe_sort((void *)a->by_name, a->count, sizeof *a->by_name, compare_names);
    return check_places(a);
}

/* Returns the bytes of a tensor. NULL if it has none. */
static const char *bytes_at(const gr_archive *a, const entry *e)
{
    return e->end > e->begin ? a->data + e->begin : NULL;
}

/* A bool with a value other than 0 and 1 is undefined in C. */
static bool check_bools(const gr_archive *a, const entry *e)
{
    for (int64_t i = e->begin; e->dtype == GR_BOOL && i < e->end; i++) {
        if ((unsigned char)a->data[i] > 1)
            return malformed(a, "tensor '%s' has a bool of the value %d", gr_show(e->name).text,
                             (unsigned char)a->data[i]);
    }
    return true;
}

static bool check_crc(const gr_archive *a, const entry *e)
{
    gr_safe_key key;
    if (!gr_safe_crc_key(a->ctx, &key, e->name))
        return false;
    const char *stated = json_string_value(json_object_get(a->metadata, key.text));
    gr_release(a->ctx, key.text, key.size);
    if (stated == NULL)
        return true;
    const gr_safe_crc found = gr_safe_crc_of(bytes_at(a, e), e->end - e->begin);
    return strcasecmp(stated, found.text) == 0 ||
           malformed(a, "tensor '%s' is damaged: its CRC-32 is %s, the file states %s",
                     gr_show(e->name).text, found.text, gr_show(stated).text);
}

static bool read_data(gr_archive *a, gr_input *in)
{
    if (a->data_size > 0) {
        a->data = gr_allocate(a->ctx, a->data_size);
        if (a->data == NULL || !read_promised(a, in, a->data, a->data_size))
            return false;
    }
    for (int64_t i = 0; i < a->count; i++) {
        if (!check_bools(a, &a->entries[i]) || !check_crc(a, &a->entries[i]))
            return false;
    }
    return true;
}

gr_archive *gr_load(gr_context *ctx, const char *path)
{
    gr_input in;
    gr_archive *a = NULL;
    if (!gr_io_ready(ctx))
        return NULL;
    if (path == NULL)
        gr_fail(ctx, GR_ERROR_NULL, "load", "path is NULL");
    else if (gr_input_open(&in, ctx, "load", path)) {
        a = new_archive(ctx, path);
        if (a != NULL && !(read_header(a, &in) && take_file_metadata(a) && take_entries(a) &&
                           read_data(a, &in))) {
            gr_archive_free(a);
            a = NULL;
        }
        gr_input_close(&in);
    }
    (void)gr_finish(ctx);
    return a;
}

/* ---- Looking at an archive ------------------------------------------------------------------- */

int64_t gr_archive_count(const gr_archive *a) { return a == NULL ? 0 : a->count; }

const char *gr_archive_name(const gr_archive *a, int64_t i)
{
    return i >= 0 && i < gr_archive_count(a) ? a->entries[i].name : NULL;
}

const char *gr_archive_metadata(const gr_archive *a, const char *key)
{
    return a == NULL || key == NULL ? NULL : json_string_value(json_object_get(a->metadata, key));
}

static const entry *find(const gr_archive *a, const char *name)
{
    const entry wanted = {.name = name}, *key = &wanted;
    if (a->count == 0)
        return NULL;
    entry *const *found =
        bsearch(&key, a->by_name, (size_t)a->count, sizeof *a->by_name, compare_names);
    return found == NULL ? NULL : *found;
}

gr_tensor *gr_archive_tensor(gr_archive *a, const char *name)
{
    if (a == NULL)
        return gr_null_context.failed;
    if (!gr_io_ready(a->ctx))
        return a->ctx->failed;
    if (name == NULL)
        return gr_fail_tensor(a->ctx, GR_ERROR_NULL, "archive_tensor", "name is NULL");
    const entry *e = find(a, name);
    if (e == NULL)
        return gr_fail_tensor(a->ctx, GR_ERROR_ARGUMENT, "archive_tensor",
                              "%s: there is no tensor '%s'", gr_show_path(a->path),
                              gr_show(name).text);
    return gr_from_data(a->ctx, e->dtype, e->shape, bytes_at(a, e));
}

/* True if elements share memory, as in gr_expand. A later element would overwrite an earlier
   one. */
static bool repeats(const gr_tensor *x)
{
    const gr_dims strides = gr_strides_of(x);
    for (int axis = 0; axis < strides.count; axis++) {
        if (strides.at[axis] == 0 && gr_size(x, axis) > 1)
            return true;
    }
    return false;
}

/* True if the file's tensor of that name can be copied into this one. Sets *from to it. */
static bool check_target(gr_archive *a, const gr_named_tensor *target, int64_t i,
                         const entry **from)
{
    if (!gr_safe_check(a->ctx, "archive_read", target, i))
        return false;
    const char *path = gr_show_path(a->path);
    const gr_shown name = gr_show(target->name);
    const gr_dims shape = gr_shape_of(target->tensor);
    const entry *e = *from = find(a, target->name);
    if (e == NULL)
        gr_fail(a->ctx, GR_ERROR_FORMAT, "archive_read", "%s: there is no tensor '%s'", path,
                name.text);
    else if (e->dtype != gr_type(target->tensor))
        gr_fail(a->ctx, GR_ERROR_FORMAT, "archive_read", "%s: tensor '%s' is %s, not %s", path,
                name.text, gr_dtype_name(e->dtype), gr_dtype_name(gr_type(target->tensor)));
    else if (!gr_same_dims(&shape, &e->shape))
        gr_fail(a->ctx, GR_ERROR_FORMAT, "archive_read", "%s: tensor '%s' has shape %s, not %s",
                path, name.text, gr_dims_text(&e->shape).text, gr_dims_text(&shape).text);
    else if (gr_history_of(target->tensor)->entry != NULL)
        gr_fail(a->ctx, GR_ERROR_GRADIENT, "archive_read",
                "tensor '%s' is the result of a recorded op and cannot be overwritten", name.text);
    else if (repeats(target->tensor))
        gr_fail(a->ctx, GR_ERROR_ARGUMENT, "archive_read", "elements of tensor '%s' share memory",
                name.text);
    else
        return true;
    return false;
}

static void copy_into(gr_tensor *x, const char *bytes, int64_t size)
{
    if (size == 0)
        return;
    if (gr_is_contiguous(x))
        memcpy(gr_bytes(x), bytes, (size_t)size);
    else
        gr_safe_copy(x, NULL, bytes);
}

gr_status gr_archive_read(gr_archive *a, int64_t count, const gr_named_tensor *tensors)
{
    return gr_archive_read_here(a, count, tensors, NULL, 0);
}

gr_status gr_archive_read_here(gr_archive *a, int64_t count, const gr_named_tensor *tensors,
                               const char *file, int line)
{
    if (a == NULL)
        return GR_ERROR_NULL;
    if (!gr_io_ready(a->ctx))
        return gr_io_refuse(a->ctx);
    if (tensors == NULL && count > 0)
        gr_fail(a->ctx, GR_ERROR_NULL, "archive_read", "tensors is NULL");
    if (count < 0)
        gr_fail(a->ctx, GR_ERROR_ARGUMENT, "archive_read", "count is %lld", (long long)count);
    const entry *e;
    for (int64_t i = 0; i < count && gr_error(a->ctx) == GR_OK; i++)
        (void)check_target(a, &tensors[i], i, &e);
    for (int64_t i = 0; i < count && gr_error(a->ctx) == GR_OK; i++) {
        e = find(a, tensors[i].name);
        copy_into(tensors[i].tensor, bytes_at(a, e), e->end - e->begin);
        gr_wrote(tensors[i].tensor, "archive_read", file, line);
    }
    return gr_finish_at(a->ctx, file, line);
}
