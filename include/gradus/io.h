/* gradus/io.h - files: tables from CSV, tensors in safetensors.
 *
 * A message names the file, and for text its line and column: "iris.csv:12:3: ...".
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_IO_H
#define GRADUS_IO_H

#include <gradus/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- CSV --------------------------------------------------------------------------------------- */

/* A table of text cells with named columns (RFC 4180: quotes, commas and line ends inside quotes,
   "" for a quote; CRLF or LF; a UTF-8 byte order mark is skipped). Columns and rows count from 0. */
typedef struct gr_csv gr_csv;

/* Every zero is the default. */
typedef struct gr_csv_args {
    const char *path;
    char delimiter;    /* ',' */
    int64_t max_line;  /* the longest record in bytes that is accepted; 16 MiB */
} gr_csv_args;

/* Reads a file whose first record names the columns. The caller's: gr_csv_free. NULL on an error:
   IO if it cannot be read; FORMAT if it is empty, has no row, a row with more or fewer cells than
   the header, two columns of one name, a quote that is not closed or stands inside a bare cell, a
   NUL byte, or a record that is too long; MEMORY. */
GR_API gr_csv *gr_csv_read_with(gr_context *ctx, const gr_csv_args *args);
#ifndef __cplusplus
#define gr_csv_read(ctx, ...) gr_csv_read_with((ctx), &(gr_csv_args){.path = __VA_ARGS__})
#endif
GR_API void gr_csv_free(gr_csv *csv);

GR_API int64_t gr_csv_rows(const gr_csv *csv);
GR_API int64_t gr_csv_columns(const gr_csv *csv);
GR_API const char *gr_csv_name(const gr_csv *csv, int64_t column);               /* of a column */
GR_API int64_t gr_csv_find(const gr_csv *csv, const char *name);                 /* -1: no such */
GR_API const char *gr_csv_cell(const gr_csv *csv, int64_t row, int64_t column);  /* the table's */
GR_API bool gr_csv_is_missing(const gr_csv *csv, int64_t row, int64_t column);   /* empty, NA, N/A, ? */
GR_API int64_t gr_csv_line(const gr_csv *csv, int64_t row);      /* where a row begins, from 1 */
GR_API int64_t gr_csv_column_at(const gr_csv *csv, int64_t row, int64_t column); /* its byte, from 1 */

/* A cell as a number, read without regard to the locale. Fails with FORMAT, naming line and column,
   for one that is missing, no number, or not finite. */
GR_API GR_CHECKED gr_status gr_csv_number(const gr_csv *csv, int64_t row, int64_t column,
                                          double *value);

/* The named columns as numbers, f64 [rows, count]; the scope's. missing: put where a cell is missing
   (NaN to let it through as such); NULL: a missing cell is an error. Fails with ARGUMENT for a name
   that is not there, and as gr_csv_number does. */
GR_API gr_tensor *gr_csv_tensor(const gr_csv *csv, int64_t count, const char *const *names,
                                const double *missing);

/* ---- safetensors ------------------------------------------------------------------------------- */

/* A set of named tensors with a text to text map, the format of Hugging Face's safetensors: 8 bytes
   of header length, a JSON header, the tensors' bytes. Strict where the specification leaves room:
   no holes, no overlaps, no bytes behind, no duplicate name. Dtypes: all of gr_dtype. */
typedef struct gr_named_tensor {
    const char *name;
    gr_tensor *tensor;
} gr_named_tensor;

typedef struct gr_metadata {
    const char *key, *value; /* UTF-8 */
} gr_metadata;

/* Writes a file so that at any moment the path holds the old file or the new one, whole: temporary
   file in the same folder, fsync, rename, fsync of the folder. The same tensors give the same bytes.
   A CRC-32 of each tensor is kept under "crc32.NAME" in the metadata. Fails with IO, ARGUMENT for a
   name that is empty, twice, or "__metadata__", MEMORY. */
GR_API GR_CHECKED gr_status gr_save(gr_context *ctx, const char *path, int64_t count,
                                    const gr_named_tensor *tensors, int64_t metadata_count,
                                    const gr_metadata *metadata);

/* A file's tensors and metadata. */
typedef struct gr_archive gr_archive;

/* Reads a whole file. The caller's: gr_archive_free. NULL on an error: IO, or FORMAT for anything
   that the format does not allow, a truncated file, or a tensor whose CRC-32 does not fit; MEMORY.
   Nothing is allocated for a size that the file has not. */
GR_API gr_archive *gr_load(gr_context *ctx, const char *path);
GR_API void gr_archive_free(gr_archive *archive);

GR_API int64_t gr_archive_count(const gr_archive *archive);
GR_API const char *gr_archive_name(const gr_archive *archive, int64_t i); /* NULL outside */
GR_API const char *gr_archive_metadata(const gr_archive *archive, const char *key); /* NULL: no such */

/* The named tensor, a copy, the scope's. Fails with ARGUMENT if there is none of that name. */
GR_API gr_tensor *gr_archive_tensor(gr_archive *archive, const char *name);

/* Copies the file's tensors into tensors of the same names, shapes and dtypes: all, or on an error
   none. Fails with FORMAT for a name that the file has not, or another shape or dtype. */
GR_API GR_CHECKED gr_status gr_archive_read(gr_archive *archive, int64_t count,
                                            const gr_named_tensor *tensors);

/* ---- Text files, atomically --------------------------------------------------------------------- */

/* Writes bytes to a path as gr_save does: whole or not at all. Fails with IO. */
GR_API GR_CHECKED gr_status gr_write_file(gr_context *ctx, const char *path, const void *bytes,
                                          int64_t count);

#ifdef __cplusplus
}
#endif

#endif
