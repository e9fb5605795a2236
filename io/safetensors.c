/* safetensors.c - helpers that the writer (save.c) and the reader (load.c) of safetensors share.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/safetensors.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "tensors are written as they lie in memory");

const gr_safe_kind gr_safe_kinds[GR_SAFE_KINDS] = {
    {"I64", GR_I64},   {"F64", GR_F64}, {"F32", GR_F32}, {"I32", GR_I32},
    {"BF16", GR_BF16}, {"F16", GR_F16}, {"U8", GR_U8},   {"BOOL", GR_BOOL},
};

gr_safe_crc gr_safe_crc_of(const void *bytes, int64_t count)
{
    gr_safe_crc crc;
    unsigned long value = crc32_z(crc32_z(0, NULL, 0), bytes, (size_t)count);
    snprintf(crc.text, sizeof crc.text, "%08lx", value & 0xffffffff);
    return crc;
}

bool gr_safe_list(gr_context *ctx, void **list, int64_t count, size_t size)
{
    *list = NULL;
    if (count == 0)
        return true;
    *list = gr_allocate(ctx, count * (int64_t)size);
    if (*list != NULL)
        memset(*list, 0, (size_t)count * size);
    return *list != NULL;
}

void gr_safe_sort(void *items, int64_t count, size_t size,
                  int (*compare)(const void *, const void *))
{
    if (count > 1)
        qsort(items, (size_t)count, size, compare);
}

bool gr_safe_check(gr_context *ctx, const char *op, const gr_named_tensor *named, int64_t i)
{
    gr_tensor *failed;
    if (named->name == NULL || named->tensor == NULL) {
        gr_fail(ctx, GR_ERROR_NULL, op, "the %s of tensor %lld is NULL",
                named->name == NULL ? "name" : "address", (long long)i);
        return false;
    }
    const gr_shown name = gr_show(named->name);
    if (gr_state(named->tensor) == GR_FAILED ||
        !gr_usable(op, named->tensor, (int)i, &failed)) /* keeps gr_usable's own error */
        gr_fail(ctx, GR_ERROR_ARGUMENT, op, "tensor '%s' is a failed one", name.text);
    else if (gr_context_of(named->tensor) != ctx)
        gr_fail(ctx, GR_ERROR_CONTEXT, op, "tensor '%s' belongs to another context", name.text);
    else
        return true;
    return false;
}

int64_t gr_safe_bytes(const gr_tensor *x) { return gr_count(x) * gr_dtype_size(gr_type(x)); }

void gr_safe_copy(gr_tensor *x, char *out, const char *in)
{
    const gr_dims shape = gr_shape_of(x), strides = gr_strides_of(x);
    const size_t size = (size_t)gr_dtype_size(gr_type(x));
    int64_t at[GR_MAX_DIMS] = {0};
    char *element = gr_bytes(x);
    for (int64_t i = 0, count = gr_count(x); i < count; i++) {
        if (out != NULL)
            memcpy(out + i * (int64_t)size, element, size);
        else
            memcpy(element, in + i * (int64_t)size, size);
        /* Counts up like an odometer: the last axis is the fastest. */
        for (int axis = shape.count - 1; axis >= 0; axis--) {
            element += strides.at[axis] * (int64_t)size;
            if (++at[axis] < shape.at[axis])
                break;
            element -= strides.at[axis] * (int64_t)size * shape.at[axis];
            at[axis] = 0;
        }
    }
}
