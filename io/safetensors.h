/* safetensors.h - declarations that the writer and the reader of safetensors share.
 *
 * A file is 8 bytes of header length, a JSON header, and the tensors' bytes:
 *
 *     {"__metadata__":{"key":"value"},
 *      "NAME":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}, ...}
 *
 * Offsets count from the beginning of the data. The end is exclusive. Numbers are little-endian.
 * Elements are in row-major order.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_IO_SAFETENSORS_H
#define GRADUS_IO_SAFETENSORS_H

#include "io/file.h"

enum {
    GR_SAFE_LENGTH = 8,                     /* bytes of the header's length */
    GR_SAFE_MAX_HEADER = 100 * 1000 * 1000, /* the limit of the reference implementation */
    GR_SAFE_KINDS = 8
};

#define GR_SAFE_METADATA "__metadata__"
#define GR_SAFE_CRC      "crc32." /* the metadata key "crc32.NAME" holds a tensor's checksum */

/* The dtypes with their names in a file, in the order of writing. As in the reference
   implementation, larger dtypes come first, so that each tensor is aligned. */
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

/* Allocates `count` zeroed items of `size` bytes. Sets *list to NULL if count is 0. False after
   MEMORY. */
bool gr_safe_list(gr_context *ctx, void **list, int64_t count, size_t size);

/* Calls qsort, but not for 0 items, because qsort must not get NULL. */
void gr_safe_sort(void *items, int64_t count, size_t size,
                  int (*compare)(const void *, const void *));

/* True if the i-th tensor of a call has a name and is usable. If not, raises the reason. */
bool gr_safe_check(gr_context *ctx, const char *op, const gr_named_tensor *named, int64_t i);

int64_t gr_safe_bytes(const gr_tensor *x); /* bytes of its elements */

/* Copies x's elements, in row-major order, to the array `out`. If out is NULL, copies them from the
   array `in`. */
void gr_safe_copy(gr_tensor *x, char *out, const char *in);

#endif
