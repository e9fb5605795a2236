/* save.c - the writer of safetensors.
 *
 * Tensors are written in the order of the reference implementation: larger dtypes first, then by
 * name. Metadata is sorted by key. So the same content gives the same bytes. All steps that can
 * fail for reasons other than the disk come before any file is touched.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/json.h"
#include "io/safetensors.h"

#include <string.h>

static int kind_of(gr_dtype dtype)
{
    int i = 0;
    while (gr_safe_kinds[i].dtype != dtype) /* the table has each dtype that a tensor can have */
        i++;
    return i;
}

typedef struct item {
    const char *name;
    gr_tensor *tensor;
    int kind;
    int64_t size;
    const void *bytes;
    void *copy; /* of the elements if they are not contiguous, else NULL */
    gr_safe_crc crc;
} item;

typedef struct save {
    gr_context *ctx;
    int64_t count, metadata_count;
    item *items;                  /* sorted in the order of writing */
    const gr_metadata **metadata; /* sorted by key */
    char *text;                   /* the header, with its length in front */
    int64_t text_size;
} save;

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const item *)a)->name, ((const item *)b)->name);
}

static int compare_items(const void *a, const void *b)
{
    const item *x = a, *y = b;
    return x->kind != y->kind ? x->kind - y->kind : compare_names(a, b);
}

static int compare_metadata(const void *a, const void *b)
{
    return strcmp((*(const gr_metadata *const *)a)->key, (*(const gr_metadata *const *)b)->key);
}

/* True if JSON can hold the text. */
static bool is_utf8(const char *text)
{
    int64_t left = (int64_t)strlen(text);
    for (int length = 1; left > 0 && length > 0; left -= length, text += length)
        length = gr_utf8_length(text, left);
    return left == 0;
}

static bool check_text(gr_context *ctx, const char *what, const char *text)
{
    bool fits = is_utf8(text);
    if (!fits)
        gr_fail(ctx, GR_ERROR_ARGUMENT, "save", "%s '%s' is not UTF-8", what, gr_show(text).text);
    return fits;
}

static bool check_name(gr_context *ctx, const char *name)
{
    if (strcmp(name, GR_SAFE_METADATA) != 0)
        return check_text(ctx, "name", name);
    gr_fail(ctx, GR_ERROR_ARGUMENT, "save", "a tensor has the name '%s'", name);
    return false;
}

static bool check_metadata(gr_context *ctx, const gr_metadata *entry)
{
    if (entry->key == NULL || entry->value == NULL) {
        gr_fail(ctx, GR_ERROR_NULL, "save", "a %s of the metadata is NULL",
                entry->key == NULL ? "key" : "value");
        return false;
    }
    if (strncmp(entry->key, GR_SAFE_CRC, sizeof GR_SAFE_CRC - 1) == 0) {
        gr_fail(ctx, GR_ERROR_ARGUMENT, "save", "metadata '%s': '%s' is kept for checksums",
                gr_show(entry->key).text, GR_SAFE_CRC);
        return false;
    }
    return check_text(ctx, "metadata", entry->key) && check_text(ctx, "metadata", entry->value);
}

static bool take_item(save *s, item *it, const gr_named_tensor *named, int64_t i)
{
    if (!gr_safe_check(s->ctx, "save", named, i) || !check_name(s->ctx, named->name))
        return false;
    *it = (item){.name = named->name,
                 .tensor = named->tensor,
                 .kind = kind_of(gr_dtype_of(named->tensor)),
                 .size = gr_safe_bytes(named->tensor),
                 .bytes = gr_data(named->tensor)};
    return true;
}

static bool take_tensors(save *s, const gr_named_tensor *tensors)
{
    for (int64_t i = 0; i < s->count; i++) {
        if (!take_item(s, &s->items[i], &tensors[i], i))
            return false;
    }
    gr_safe_sort(s->items, s->count, sizeof *s->items, compare_names);
    for (int64_t i = 1; i < s->count; i++) {
        if (compare_names(&s->items[i - 1], &s->items[i]) == 0) {
            gr_fail(s->ctx, GR_ERROR_ARGUMENT, "save", "two tensors have the name '%s'",
                    gr_show(s->items[i].name).text);
            return false;
        }
    }
    gr_safe_sort(s->items, s->count, sizeof *s->items, compare_items);
    return true;
}

static bool take_metadata(save *s, const gr_metadata *metadata)
{
    for (int64_t i = 0; i < s->metadata_count; i++) {
        if (!check_metadata(s->ctx, &metadata[i]))
            return false;
        s->metadata[i] = &metadata[i];
    }
    gr_safe_sort((void *)s->metadata, s->metadata_count, sizeof *s->metadata, compare_metadata);
    for (int64_t i = 1; i < s->metadata_count; i++) {
        if (compare_metadata(&s->metadata[i - 1], &s->metadata[i]) == 0) {
            gr_fail(s->ctx, GR_ERROR_ARGUMENT, "save", "metadata '%s' is given twice",
                    gr_show(s->metadata[i]->key).text);
            return false;
        }
    }
    return true;
}

/* Makes every item's bytes contiguous. */
static bool gather(save *s)
{
    for (int64_t i = 0; i < s->count; i++) {
        item *it = &s->items[i];
        if (gr_is_contiguous(it->tensor) || it->size == 0)
            continue;
        it->bytes = it->copy = gr_allocate(s->ctx, it->size);
        if (it->copy == NULL)
            return false;
        gr_safe_copy(it->tensor, it->copy, NULL);
    }
    return true;
}

static void print_metadata(const save *s, gr_json_printer *p)
{
    const char *comma = "";
    gr_json_put_string(p, GR_SAFE_METADATA, "");
    gr_json_put(p, ":{");
    for (int64_t i = 0; i < s->metadata_count; i++, comma = ",") {
        gr_json_put(p, comma);
        gr_json_put_string(p, s->metadata[i]->key, "");
        gr_json_put(p, ":");
        gr_json_put_string(p, s->metadata[i]->value, "");
    }
    for (int64_t i = 0; i < s->count; i++, comma = ",") {
        gr_json_put(p, comma);
        gr_json_put_string(p, GR_SAFE_CRC, s->items[i].name);
        gr_json_put(p, ":");
        gr_json_put_string(p, s->items[i].crc.text, "");
    }
    gr_json_put(p, "}");
}

static void print_item(const item *it, gr_json_printer *p, int64_t begin)
{
    gr_json_put(p, ",");
    gr_json_put_string(p, it->name, "");
    gr_json_put(p, ":{\"dtype\":");
    gr_json_put_string(p, gr_safe_kinds[it->kind].name, "");
    gr_json_put(p, ",\"shape\":[");
    for (int axis = 0; axis < gr_ndim(it->tensor); axis++) {
        gr_json_put(p, axis == 0 ? "" : ",");
        gr_json_put_number(p, gr_size(it->tensor, axis));
    }
    gr_json_put(p, "],\"data_offsets\":[");
    gr_json_put_number(p, begin);
    gr_json_put(p, ",");
    gr_json_put_number(p, begin + it->size);
    gr_json_put(p, "]}");
}

static void print_header(const save *s, gr_json_printer *p)
{
    int64_t begin = 0;
    gr_json_put(p, "{");
    if (s->count + s->metadata_count > 0)
        print_metadata(s, p);
    for (int64_t i = 0; i < s->count; i++) {
        print_item(&s->items[i], p, begin);
        begin += s->items[i].size;
    }
    gr_json_put(p, "}");
}

/* Makes the header, with its length in front, and with spaces after it up to a multiple of 8. */
static bool make_header(save *s)
{
    gr_json_printer counted = {0};
    for (int64_t i = 0; i < s->count; i++)
        s->items[i].crc = gr_safe_crc_of(s->items[i].bytes, s->items[i].size);
    print_header(s, &counted);
    int64_t padded = (counted.length + 7) / 8 * 8;
    if (padded > GR_SAFE_MAX_HEADER) {
        gr_fail(s->ctx, GR_ERROR_ARGUMENT, "save", "the names need a header of %lld bytes, over %d",
                (long long)padded, GR_SAFE_MAX_HEADER);
        return false;
    }
    s->text_size = GR_SAFE_LENGTH + padded;
    s->text = gr_allocate(s->ctx, s->text_size);
    if (s->text == NULL)
        return false;
    memset(s->text, ' ', (size_t)s->text_size);
    memcpy(s->text, &padded, GR_SAFE_LENGTH);
    print_header(s, &(gr_json_printer){.text = s->text + GR_SAFE_LENGTH});
    return true;
}

static void write_save(const save *s, const char *path)
{
    gr_output out;
    if (!gr_output_open(&out, s->ctx, "save", path))
        return;
    bool written = gr_output_write(&out, s->text, s->text_size);
    for (int64_t i = 0; i < s->count && written; i++)
        written = gr_output_write(&out, s->items[i].bytes, s->items[i].size);
    if (written)
        (void)gr_output_commit(&out);
}

static void free_save(save *s)
{
    for (int64_t i = 0; s->items != NULL && i < s->count; i++)
        gr_release(s->ctx, s->items[i].copy, s->items[i].size);
    gr_release(s->ctx, s->items, s->count * (int64_t)sizeof *s->items);
    gr_release(s->ctx, (void *)s->metadata, s->metadata_count * (int64_t)sizeof *s->metadata);
    gr_release(s->ctx, s->text, s->text_size);
}

static bool save_args_are_right(gr_context *ctx, const char *path, int64_t count,
                                const gr_named_tensor *tensors, int64_t metadata_count,
                                const gr_metadata *metadata)
{
    const int64_t many = INT32_MAX; /* a header cannot hold more */
    if (path == NULL || (tensors == NULL && count > 0) || (metadata == NULL && metadata_count > 0))
        gr_fail(ctx, GR_ERROR_NULL, "save", "%s is NULL",
                path == NULL                   ? "path"
                : tensors == NULL && count > 0 ? "tensors"
                                               : "metadata");
    else if (count < 0 || metadata_count < 0 || count > many || metadata_count > many)
        gr_fail(ctx, GR_ERROR_ARGUMENT, "save", "%lld tensors and %lld metadata are asked for",
                (long long)count, (long long)metadata_count);
    else
        return true;
    return false;
}

gr_status gr_save(gr_context *ctx, const char *path, int64_t count, const gr_named_tensor *tensors,
                  int64_t metadata_count, const gr_metadata *metadata)
{
    if (!gr_io_begin(ctx, "save"))
        return gr_io_refuse(ctx);
    if (save_args_are_right(ctx, path, count, tensors, metadata_count, metadata)) {
        save s = {.ctx = ctx, .count = count, .metadata_count = metadata_count};
        void *items = NULL, *sorted = NULL;
        bool room = gr_safe_list(ctx, &items, count, sizeof *s.items) &&
                    gr_safe_list(ctx, &sorted, metadata_count, sizeof *s.metadata);
        s.items = items;
        s.metadata = sorted;
        if (room && take_tensors(&s, tensors) && take_metadata(&s, metadata) && gather(&s) &&
            make_header(&s))
            write_save(&s, path);
        free_save(&s);
    }
    return gr_finish(ctx);
}
