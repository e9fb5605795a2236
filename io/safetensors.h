/* safetensors.h - what the writer and the reader of safetensors share.
 *
 * A file is 8 bytes of header length, a JSON header, and the tensors' bytes:
 *
 *     {"__metadata__":{"key":"value"},
 *      "NAME":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}, ...}
 *
 * Offsets count from the data's beginning; the end is exclusive. Numbers are little-endian,
 * elements in row-major order.
 *
 * JSON is jansson's business, and so is its memory: its hooks belong to the whole process, so that
 * a library must not set them, and what it allocates does not come from the context's allocator.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_IO_SAFETENSORS_H
#define GRADUS_IO_SAFETENSORS_H

#include "io/file.h"
#include <jansson.h>

enum {
    GR_SAFE_LENGTH = 8,                     /* bytes of the header's length */
    GR_SAFE_MAX_HEADER = 100 * 1000 * 1000, /* as the reference implementation has it */
    GR_SAFE_KINDS = 8
};

#define GR_SAFE_METADATA "__metadata__"
#define GR_SAFE_CRC      "crc32." /* a tensor's checksum is in the metadata as "crc32.NAME" */

/* The dtypes under their names in a file, in the order of writing: that of the reference
   implementation, by which larger ones come first, so that each tensor is aligned. */
typedef struct gr_safe_kind {
    const char *name;
    gr_dtype dtype;
} gr_safe_kind;
extern const gr_safe_kind gr_safe_kinds[GR_SAFE_KINDS];

/* A CRC-32 in 8 hexadecimal digits. */
typedef struct gr_safe_crc {
    char text[9];
} gr_safe_crc;
gr_safe_crc gr_safe_crc_of(const void *bytes, int64_t count);

/* The metadata key for a name of any length; to be released. False after MEMORY. */
typedef struct gr_safe_key {
    char *text;
    int64_t size;
} gr_safe_key;
bool gr_safe_crc_key(gr_context *ctx, gr_safe_key *key, const char *name);

/* Room for `count` items of `size` bytes, zeroed; NULL for none. False after MEMORY. */
bool gr_safe_list(gr_context *ctx, void **list, int64_t count, size_t size);

/* qsort, which must not be given NULL even for no items. */
void gr_safe_sort(void *items, int64_t count, size_t size,
                  int (*compare)(const void *, const void *));

/* Raises MEMORY for jansson; false. */
bool gr_safe_no_memory(gr_context *ctx, const char *op);

/* Whether a tensor, the i-th of a call's, has a name and can be used; if not, raises why. */
bool gr_safe_check(gr_context *ctx, const char *op, const gr_named_tensor *named, int64_t i);

int64_t gr_safe_bytes(const gr_tensor *x); /* of its elements */

/* Copies x's elements, in row-major order, to an array `out`, or, if that is NULL, from an array
   `in`. */
void gr_safe_copy(gr_tensor *x, char *out, const char *in);

#endif
