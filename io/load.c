/* load.c - the reader of safetensors. It trusts nothing in the file.
 *
 * It checks in this order: the limits; the lengths against the size of the file; all sums and
 * products for overflow. Only then it allocates memory: for the header when its length fits in the
 * file, and for the data when the place of each tensor is correct. Sorted by place, the tensors
 * must fill the data from 0 to its end without gaps. So no two tensors overlap, and each byte
 * belongs to a tensor. The file is copied and not mapped, so it cannot change after the checks.
 *
 * The header's text stays in memory and holds all names, dtypes, shapes and metadata. Its strings
 * are decoded where they lie. Beside it there are a few numbers for each tensor and metadata key.
 * Their room is the most that a header of this length can hold, and less than 1.4 times its length.
 * So no file takes more than three times its own size, whatever its header is made of.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/json.h"
#include "io/safetensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    LEAST_ENTRY = 48, /* bytes: "":{"dtype":"","shape":[],"data_offsets":[0,0]}, */
    LEAST_PAIR = 6    /* bytes: "":"", */
};

/* Places in the header's text fit in 32 bits. */
typedef struct entry {
    uint32_t name, dtype;
    uint32_t sizes; /* the first number of the shape, or the bracket after none */
    int32_t ndim;
    int64_t begin, end;
} entry;
_Static_assert(sizeof(entry) <= 2 * LEAST_ENTRY / 3, "tensors take memory beyond the stated bound");

struct gr_archive {
    gr_context *ctx;
    char *path;
    int64_t path_size;
    char *text; /* the header */
    int64_t text_size;
    entry *entries; /* in the order of the header */
    int64_t count, entry_room;
    uint32_t *by_place, *by_name; /* numbers of entries */
    uint32_t *pairs;              /* places of metadata keys, sorted; the value follows its key */
    int64_t pair_count, pair_room;
    bool has_metadata;
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
    gr_release(a->ctx, a->text, a->text_size);
    gr_release(a->ctx, a->entries, a->entry_room * (int64_t)sizeof *a->entries);
    gr_release(a->ctx, a->by_place, a->count * (int64_t)sizeof *a->by_place);
    gr_release(a->ctx, a->by_name, a->count * (int64_t)sizeof *a->by_name);
    gr_release(a->ctx, a->pairs, a->pair_room * (int64_t)sizeof *a->pairs);
    gr_release(a->ctx, a->data, a->data_size);
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

/* Raises FORMAT for a file that is no safetensors from its first bytes on: what it seems to be, or
   the given reason. */
static bool no_header(const gr_archive *a, const gr_input *in, const char *reason)
{
    char bytes[GR_GUESS_BYTES];
    int64_t count = gr_input_peek(in, bytes, sizeof bytes);
    const char *guess = gr_guess(bytes, count);
    if (guess == NULL && gr_is_text(bytes, count))
        guess = "text";
    return guess == NULL ? malformed(a, "%s", reason)
                         : malformed(a, "is no safetensors file; it seems to be %s", guess);
}

/* True if a file whose stated length is too long for it may have lost its end: it has the brace of
   a header, or ends before. The length of a safetensors file can look like the sign of any
   format. */
static bool is_cut(const gr_input *in)
{
    char bytes[GR_SAFE_LENGTH + 1];
    return gr_input_peek(in, bytes, sizeof bytes) < (int64_t)sizeof bytes ||
           bytes[GR_SAFE_LENGTH] == '{';
}

/* Reads the length of the header, and checks that the header fits in the file. */
static bool read_length(const gr_archive *a, gr_input *in, int64_t *length)
{
    uint64_t stated;
    char reason[128];
    if (in->size < GR_SAFE_LENGTH) {
        snprintf(reason, sizeof reason, "has %lld bytes, too few for a header's length",
                 (long long)in->size);
        return no_header(a, in, reason);
    }
    if (!read_promised(a, in, &stated, GR_SAFE_LENGTH))
        return false;
    *length = (int64_t)stated;
    if (stated > GR_SAFE_MAX_HEADER) {
        snprintf(reason, sizeof reason, "states a header of %llu bytes, more than %d",
                 (unsigned long long)stated, GR_SAFE_MAX_HEADER);
        return no_header(a, in, reason);
    }
    if (*length <= in->size - GR_SAFE_LENGTH)
        return true;
    snprintf(reason, sizeof reason, "states a header of %lld bytes, but only %lld follow",
             (long long)stated, (long long)(in->size - GR_SAFE_LENGTH));
    return is_cut(in) ? malformed(a, "%s", reason) : no_header(a, in, reason);
}

/* ---- The header ------------------------------------------------------------------------------ */

static bool wrong_json(const gr_archive *a, const gr_json *j)
{
    return malformed(a, "header is not the JSON of this format at byte %lld: %s", (long long)j->at,
                     j->fault);
}

/* Passes a comma or the closing byte of a list or object. Sets *more to whether another item must
   follow. */
static bool take_separator(gr_json *j, char closing, const char *fault, bool *more)
{
    *more = gr_json_next(j, ',');
    return *more || gr_json_expect(j, closing, fault);
}

/* Reads the object of the metadata. Keys and values move together, each with a NUL behind it. */
static bool take_metadata(gr_archive *a, gr_json *j)
{
    char *out = j->text + j->at;
    if (a->has_metadata)
        return malformed(a, "%s is there twice", GR_SAFE_METADATA);
    a->has_metadata = true;
    if (!gr_json_next(j, '{'))
        return malformed(a, "%s is not an object", GR_SAFE_METADATA);
    for (bool more = !gr_json_next(j, '}'); more;) {
        const char *key = out;
        if (!gr_json_string(j, &out) || !gr_json_expect(j, ':', "':' is expected"))
            return wrong_json(a, j);
        if (!gr_json_next(j, '"'))
            return malformed(a, "metadata '%s' is not a string", gr_show(key).text);
        j->at--;
        if (!gr_json_string(j, &out) || !take_separator(j, '}', "',' or '}' is expected", &more))
            return wrong_json(a, j);
        a->pairs[a->pair_count++] = (uint32_t)(key - a->text);
    }
    return true;
}

static const char *name_of(const gr_archive *a, const entry *e) { return a->text + e->name; }
static gr_shown show_name(const gr_archive *a, const entry *e) { return gr_show(name_of(a, e)); }

static bool take_dtype(const gr_archive *a, entry *e, gr_json *j)
{
    if (!gr_json_next(j, '"'))
        return malformed(a, "tensor '%s' has no dtype", show_name(a, e).text);
    char *out = j->text + --j->at;
    e->dtype = (uint32_t)j->at;
    return gr_json_string(j, &out) || wrong_json(a, j);
}

static bool take_shape(const gr_archive *a, entry *e, gr_json *j)
{
    int64_t size;
    if (!gr_json_next(j, '['))
        return malformed(a, "tensor '%s' has no shape", show_name(a, e).text);
    e->sizes = (uint32_t)j->at;
    e->ndim = 0;
    for (bool more = !gr_json_next(j, ']'); more; e->ndim++) {
        if (!gr_json_whole(j, &size) || !take_separator(j, ']', "", &more))
            return malformed(a, "tensor '%s': a size of its shape is no whole number of 0 or more",
                             show_name(a, e).text);
    }
    return true;
}

static bool take_offsets(const gr_archive *a, entry *e, gr_json *j)
{
    return (gr_json_next(j, '[') && gr_json_whole(j, &e->begin) && gr_json_next(j, ',') &&
            gr_json_whole(j, &e->end) && gr_json_next(j, ']')) ||
           malformed(a, "tensor '%s': data_offsets are not two whole numbers of 0 or more",
                     show_name(a, e).text);
}

static bool not_an_entry(const gr_archive *a, const entry *e)
{
    return malformed(a, "tensor '%s' is not an object of dtype, shape and data_offsets",
                     show_name(a, e).text);
}

/* Reads the value of one key of a tensor's object. Each key may come once. */
static bool take_field(const gr_archive *a, entry *e, gr_json *j, const char *key, int *seen)
{
    static const char *const keys[] = {"dtype", "shape", "data_offsets"};
    bool (*const take[])(const gr_archive *, entry *, gr_json *) = {take_dtype, take_shape,
                                                                    take_offsets};
    for (int i = 0; i < 3; i++) {
        if (strcmp(key, keys[i]) == 0 && (*seen & 1 << i) == 0) {
            *seen |= 1 << i;
            return take[i](a, e, j);
        }
    }
    return not_an_entry(a, e);
}

/* Sets *dtype to what a text stands for. False for a dtype that gradus does not have. */
static bool find_dtype(const char *text, gr_dtype *dtype)
{
    for (int i = 0; i < GR_SAFE_KINDS; i++) {
        if (strcmp(gr_safe_kinds[i].name, text) == 0) {
            *dtype = gr_safe_kinds[i].dtype;
            return true;
        }
    }
    return false;
}

/* Returns the size of an axis. The shape has been read before, so it is correct. */
static int64_t size_at(const gr_archive *a, const entry *e, int64_t axis)
{
    int64_t size = 0;
    gr_json j = {.text = a->text, .length = a->text_size, .at = e->sizes};
    for (int64_t i = 0; i <= axis; i++) {
        (void)gr_json_whole(&j, &size);
        (void)gr_json_next(&j, ',');
    }
    return size;
}

/* Returns the bytes for a dtype and the shape. -1 if they exceed 64 bits. Sizes of 0 are skipped
   first, because the product of the other sizes must also fit. */
static int64_t wanted_bytes(const gr_archive *a, const entry *e, gr_dtype dtype)
{
    int64_t bytes = gr_dtype_size(dtype), size;
    bool empty = false;
    gr_json j = {.text = a->text, .length = a->text_size, .at = e->sizes};
    for (int i = 0; i < e->ndim; i++) {
        (void)gr_json_whole(&j, &size);
        (void)gr_json_next(&j, ',');
        empty |= size == 0;
        if (size != 0 && __builtin_mul_overflow(bytes, size, &bytes))
            return -1;
    }
    return empty ? 0 : bytes;
}

/* Checks the place of a tensor against the data and, if gradus has its dtype, against its shape. */
static bool check_place(const gr_archive *a, const entry *e)
{
    gr_dtype dtype;
    if (e->end < e->begin || e->end > a->data_size)
        return malformed(a, "tensor '%s' lies from byte %lld to %lld of %lld", show_name(a, e).text,
                         (long long)e->begin, (long long)e->end, (long long)a->data_size);
    if (!find_dtype(a->text + e->dtype, &dtype))
        return true;
    int64_t wanted = wanted_bytes(a, e, dtype);
    if (wanted < 0)
        return malformed(a, "tensor '%s' has a shape of more bytes than 64 bits can count",
                         show_name(a, e).text);
    return wanted == e->end - e->begin ||
           malformed(a, "tensor '%s' has %lld bytes, but dtype and shape ask for %lld",
                     show_name(a, e).text, (long long)(e->end - e->begin), (long long)wanted);
}

/* Reads the object of a tensor. Its fields may come in any order. */
static bool take_entry(gr_archive *a, gr_json *j, const char *name)
{
    int seen = 0;
    entry e = {.name = (uint32_t)(name - a->text)};
    if (!gr_json_next(j, '{'))
        return not_an_entry(a, &e);
    for (bool more = !gr_json_next(j, '}'); more;) {
        char *out = j->text + j->at;
        const char *key = out;
        if (!gr_json_string(j, &out) || !gr_json_expect(j, ':', "':' is expected"))
            return wrong_json(a, j);
        if (!take_field(a, &e, j, key, &seen))
            return false;
        if (!take_separator(j, '}', "',' or '}' is expected", &more))
            return wrong_json(a, j);
    }
    if (seen != 7)
        return not_an_entry(a, &e);
    a->entries[a->count++] = e; /* a whole entry has its place: see LEAST_ENTRY */
    return check_place(a, &e);
}

static bool take_entries(gr_archive *a, gr_json *j)
{
    for (bool more = !gr_json_next(j, '}'); more;) {
        char *out = j->text + j->at;
        const char *name = out;
        if (!gr_json_string(j, &out) || !gr_json_expect(j, ':', "':' is expected"))
            return wrong_json(a, j);
        if (!(strcmp(name, GR_SAFE_METADATA) == 0 ? take_metadata(a, j) : take_entry(a, j, name)))
            return false;
        if (!take_separator(j, '}', "',' or '}' is expected", &more))
            return wrong_json(a, j);
    }
    while (j->at < j->length && j->text[j->at] == ' ')
        j->at++;
    j->fault = "only spaces may follow the header's end";
    return j->at == j->length || wrong_json(a, j);
}

static bool parse_header(gr_archive *a, const gr_input *in, int64_t length)
{
    void *entries, *pairs;
    gr_json j = {.text = a->text, .length = length, .at = 1};
    if (length == 0 || a->text[0] != '{')
        return no_header(a, in, "header does not begin with a brace");
    a->entry_room = (length + 1) / LEAST_ENTRY;
    a->pair_room = (length + 1) / LEAST_PAIR;
    bool room = gr_safe_list(a->ctx, &entries, a->entry_room, sizeof *a->entries);
    a->entries = entries;
    room = room && gr_safe_list(a->ctx, &pairs, a->pair_room, sizeof *a->pairs);
    a->pairs = room ? pairs : NULL;
    return room && take_entries(a, &j);
}

static bool read_header(gr_archive *a, gr_input *in)
{
    int64_t length = 0;
    if (!read_length(a, in, &length))
        return false;
    a->data_size = in->size - GR_SAFE_LENGTH - length;
    a->text_size = length + 1; /* even an empty header needs an address */
    a->text = gr_allocate(a->ctx, a->text_size);
    return a->text != NULL && read_promised(a, in, a->text, length) && parse_header(a, in, length);
}

/* ---- Order ----------------------------------------------------------------------------------- */

static int compare_places(const void *i, const void *j, void *archive)
{
    const gr_archive *a = archive;
    const entry *x = &a->entries[*(const uint32_t *)i], *y = &a->entries[*(const uint32_t *)j];
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(name_of(a, x), name_of(a, y));
}

static int compare_names(const void *i, const void *j, void *archive)
{
    const gr_archive *a = archive;
    return strcmp(name_of(a, &a->entries[*(const uint32_t *)i]),
                  name_of(a, &a->entries[*(const uint32_t *)j]));
}

static int compare_keys(const void *i, const void *j, void *archive)
{
    const gr_archive *a = archive;
    return strcmp(a->text + *(const uint32_t *)i, a->text + *(const uint32_t *)j);
}

static void sort(gr_archive *a, uint32_t *numbers, int64_t count,
                 int (*compare)(const void *, const void *, void *))
{
    if (count > 1) /* without any, there is no list */
        qsort_r(numbers, (size_t)count, sizeof *numbers, compare, a);
}

static bool sort_metadata(gr_archive *a)
{
    sort(a, a->pairs, a->pair_count, compare_keys);
    for (int64_t i = 1; i < a->pair_count; i++) {
        if (compare_keys(&a->pairs[i - 1], &a->pairs[i], a) == 0)
            return malformed(a, "metadata '%s' is there twice",
                             gr_show(a->text + a->pairs[i]).text);
    }
    return true;
}

static const entry *entry_at(const gr_archive *a, const uint32_t *order, int64_t i)
{
    return &a->entries[order[i]];
}

/* Checks that each tensor begins where the one before it ends, from 0 to the end of the data. */
static bool check_places(const gr_archive *a)
{
    int64_t end = 0;
    for (int64_t i = 0; i < a->count; i++) {
        const entry *e = entry_at(a, a->by_place, i);
        if (e->begin != end)
            return malformed(a, "tensor '%s' %s at byte %lld of the data", show_name(a, e).text,
                             e->begin < end ? "overlaps another" : "has a hole before it",
                             (long long)e->begin);
        end = e->end;
    }
    return end == a->data_size ||
           malformed(a, "%lld bytes follow the last tensor", (long long)(a->data_size - end));
}

/* Sorts the tensors by name and by place. Refuses two of one name, gaps and overlaps. */
static bool sort_entries(gr_archive *a)
{
    void *by_place, *by_name = NULL;
    bool room = gr_safe_list(a->ctx, &by_place, a->count, sizeof *a->by_place) &&
                gr_safe_list(a->ctx, &by_name, a->count, sizeof *a->by_name);
    a->by_place = by_place;
    a->by_name = by_name;
    if (!room)
        return false;
    for (int64_t i = 0; i < a->count; i++)
        a->by_place[i] = a->by_name[i] = (uint32_t)i;
    sort(a, a->by_name, a->count, compare_names);
    for (int64_t i = 1; i < a->count; i++) {
        if (compare_names(&a->by_name[i - 1], &a->by_name[i], a) == 0)
            return malformed(a, "tensor '%s' is there twice",
                             show_name(a, entry_at(a, a->by_name, i)).text);
    }
    sort(a, a->by_place, a->count, compare_places);
    return check_places(a);
}

/* Returns the value of the metadata key that consists of two texts. NULL if there is none. */
static const char *find_metadata(const gr_archive *a, const char *first, const char *second)
{
    const size_t length = strlen(first);
    int64_t low = 0, high = a->pair_count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        const char *key = a->text + a->pairs[middle];
        int order = strncmp(first, key, length);
        order = order != 0 ? order : strcmp(second, key + length);
        if (order == 0)
            return key + strlen(key) + 1;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* ---- The data -------------------------------------------------------------------------------- */

/* Returns the bytes of a tensor. NULL if it has none. */
static const char *bytes_at(const gr_archive *a, const entry *e)
{
    return e->end > e->begin ? a->data + e->begin : NULL;
}

/* A bool with a value other than 0 and 1 is undefined in C. */
static bool check_bools(const gr_archive *a, const entry *e)
{
    gr_dtype dtype;
    if (!find_dtype(a->text + e->dtype, &dtype) || dtype != GR_BOOL)
        return true;
    for (int64_t i = e->begin; i < e->end; i++) {
        if ((unsigned char)a->data[i] > 1)
            return malformed(a, "tensor '%s' has a bool of the value %d", show_name(a, e).text,
                             (unsigned char)a->data[i]);
    }
    return true;
}

static bool check_crc(const gr_archive *a, const entry *e)
{
    const char *stated = find_metadata(a, GR_SAFE_CRC, name_of(a, e));
    if (stated == NULL)
        return true;
    const gr_safe_crc found = gr_safe_crc_of(bytes_at(a, e), e->end - e->begin);
    return strcasecmp(stated, found.text) == 0 ||
           malformed(a, "tensor '%s' is damaged: its CRC-32 is %s, the file states %s",
                     show_name(a, e).text, found.text, gr_show(stated).text);
}

static bool read_data(gr_archive *a, gr_input *in)
{
    if (a->data_size > 0) {
        a->data = gr_allocate(a->ctx, a->data_size);
        if (a->data == NULL || !read_promised(a, in, a->data, a->data_size))
            return false;
    }
    for (int64_t i = 0; i < a->count; i++) {
        const entry *e = entry_at(a, a->by_place, i);
        if (!check_bools(a, e) || !check_crc(a, e))
            return false;
    }
    return true;
}

gr_archive *gr_load(gr_context *ctx, const char *path)
{
    gr_input in;
    gr_archive *a = NULL;
    if (!gr_io_begin(ctx, "load"))
        return NULL;
    if (path == NULL)
        gr_fail(ctx, GR_ERROR_NULL, "load", "path is NULL");
    else if (gr_input_open(&in, ctx, "load", path)) {
        a = new_archive(ctx, path);
        if (a != NULL &&
            !(read_header(a, &in) && sort_metadata(a) && sort_entries(a) && read_data(a, &in))) {
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

static const entry *tensor_at(const gr_archive *a, int64_t i)
{
    return i >= 0 && i < gr_archive_count(a) ? entry_at(a, a->by_place, i) : NULL;
}

const char *gr_archive_name(const gr_archive *a, int64_t i)
{
    const entry *e = tensor_at(a, i);
    return e == NULL ? NULL : name_of(a, e);
}

const char *gr_archive_dtype(const gr_archive *a, int64_t i)
{
    const entry *e = tensor_at(a, i);
    return e == NULL ? NULL : a->text + e->dtype;
}

int gr_archive_ndim(const gr_archive *a, int64_t i)
{
    const entry *e = tensor_at(a, i);
    return e == NULL ? 0 : e->ndim;
}

int64_t gr_archive_size(const gr_archive *a, int64_t i, int axis)
{
    const entry *e = tensor_at(a, i);
    if (e == NULL || axis < -e->ndim || axis >= e->ndim)
        return 0;
    return size_at(a, e, axis < 0 ? axis + e->ndim : axis);
}

const char *gr_archive_metadata(const gr_archive *a, const char *key)
{
    return a == NULL || key == NULL ? NULL : find_metadata(a, "", key);
}

/* Returns the shape. It may have no more than GR_MAX_DIMS dimensions. */
static gr_dims shape_of(const gr_archive *a, const entry *e)
{
    gr_dims shape = {.count = e->ndim};
    for (int axis = 0; axis < shape.count; axis++)
        shape.at[axis] = size_at(a, e, axis);
    return shape;
}

/* True if gradus can have this tensor. Then sets its dtype and shape. */
static bool fits(const gr_archive *a, const entry *e, gr_dtype *dtype, gr_dims *shape)
{
    if (!find_dtype(a->text + e->dtype, dtype) || e->ndim > GR_MAX_DIMS)
        return false;
    *shape = shape_of(a, e);
    return gr_countable(shape);
}

bool gr_archive_is_readable(const gr_archive *a, int64_t i)
{
    gr_dtype dtype;
    gr_dims shape;
    const entry *e = tensor_at(a, i);
    return e != NULL && fits(a, e, &dtype, &shape);
}

static const entry *find(const gr_archive *a, const char *name)
{
    int64_t low = 0, high = a->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        const entry *e = entry_at(a, a->by_name, middle);
        int order = strcmp(name, name_of(a, e));
        if (order == 0)
            return e;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* Does what fits does, and raises FORMAT with the reason if gradus cannot have the tensor. */
static bool take_form(const gr_archive *a, const char *op, const entry *e, gr_dtype *dtype,
                      gr_dims *shape)
{
    if (fits(a, e, dtype, shape))
        return true;
    const char *path = gr_show_path(a->path);
    const gr_shown name = show_name(a, e);
    if (!find_dtype(a->text + e->dtype, dtype))
        gr_fail(a->ctx, GR_ERROR_FORMAT, op,
                "%s: tensor '%s' has dtype '%s', which gradus does not have", path, name.text,
                gr_show(a->text + e->dtype).text);
    else if (e->ndim > GR_MAX_DIMS)
        gr_fail(a->ctx, GR_ERROR_FORMAT, op, "%s: tensor '%s' has %d dimensions, more than %d",
                path, name.text, e->ndim, GR_MAX_DIMS);
    else
        gr_fail(a->ctx, GR_ERROR_FORMAT, op, "%s: tensor '%s' has shape %s of too many elements",
                path, name.text, gr_dims_text(shape).text);
    return false;
}

gr_tensor *gr_archive_tensor(gr_archive *a, const char *name)
{
    gr_dtype dtype;
    gr_dims shape;
    if (a == NULL)
        return gr_null_context.failed;
    gr_context *ctx = a->ctx;
    if (!gr_io_begin(ctx, "archive_tensor"))
        return ctx->failed;
    if (name == NULL)
        return gr_fail_tensor(ctx, GR_ERROR_NULL, "archive_tensor", "name is NULL");
    const entry *e = find(a, name);
    if (e == NULL)
        return gr_fail_tensor(ctx, GR_ERROR_ARGUMENT, "archive_tensor",
                              "%s: there is no tensor '%s'", gr_show_path(a->path),
                              gr_show(name).text);
    if (!take_form(a, "archive_tensor", e, &dtype, &shape))
        return ctx->failed;
    gr_tensor *x = gr_tensor_in(ctx->scope, "archive_tensor", dtype, &shape);
    if (x == NULL)
        return ctx->failed;
    if (e->end > e->begin)
        memcpy(gr_bytes(x), bytes_at(a, e), (size_t)(e->end - e->begin));
    return x;
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
    gr_dtype dtype;
    gr_dims form;
    if (!gr_safe_check(a->ctx, "archive_read", target, i))
        return false;
    const char *path = gr_show_path(a->path);
    const gr_shown name = gr_show(target->name);
    const gr_dims shape = gr_shape_of(target->tensor);
    const entry *e = *from = find(a, target->name);
    if (e == NULL) {
        gr_fail(a->ctx, GR_ERROR_FORMAT, "archive_read", "%s: there is no tensor '%s'", path,
                name.text);
        return false;
    }
    if (!take_form(a, "archive_read", e, &dtype, &form))
        return false;
    if (dtype != gr_type(target->tensor))
        gr_fail(a->ctx, GR_ERROR_FORMAT, "archive_read", "%s: tensor '%s' is %s, not %s", path,
                name.text, gr_dtype_name(dtype), gr_dtype_name(gr_type(target->tensor)));
    else if (!gr_same_dims(&shape, &form))
        gr_fail(a->ctx, GR_ERROR_FORMAT, "archive_read", "%s: tensor '%s' has shape %s, not %s",
                path, name.text, gr_dims_text(&form).text, gr_dims_text(&shape).text);
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
    if (!gr_io_begin(a->ctx, "archive_read"))
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
