/* gradus/io.h - files: tables from CSV, tensors in safetensors.
 *
 * A message names the file, and for text its line and column, both from 1, the column in bytes:
 * "csv: iris.csv:12:3: 'abc' is not a number (column width)".
 *
 * In a context with an error nothing is read, written or moved: each call below that could do so
 * returns that error, NULL or the failed tensor. Tables and archives hold memory of their context:
 * free them before it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_IO_H
#define GRADUS_IO_H

#include <gradus/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- CSV ------------------------------------------------------------------------------------- */

/* A table of text cells with named columns (RFC 4180: quotes, commas and line ends inside quotes,
   "" for a quote; CRLF or LF; a UTF-8 byte order mark is skipped). Blanks belong to a cell; a blank
   line is a row of one empty cell. Columns and rows count from 0, the header apart. */
typedef struct gr_csv gr_csv;

/* Every zero is the default. */
typedef struct gr_csv_args {
    const char *path;
    char delimiter;    /* ',' */
    int64_t max_line;  /* the longest record in bytes that is accepted, at most 2 GiB; 16 MiB */
} gr_csv_args;

/* Reads a file whose first record names the columns. The caller's: gr_csv_free. NULL on an error:
   IO if it is no regular file or cannot be read; FORMAT if it is empty, has no row, a row with more
   or fewer cells than the header, two columns of one name, a quote that is not closed or stands
   inside a bare cell, text behind a closing quote, a CR without LF outside quotes, a NUL byte, or a
   record that is too long; ARGUMENT for a delimiter that is a quote or a line end; MEMORY. */
GR_API gr_csv *gr_csv_read_with(gr_context *ctx, const gr_csv_args *args);
#ifndef __cplusplus
#define gr_csv_read(ctx, ...) gr_csv_read_with((ctx), &(gr_csv_args){.path = __VA_ARGS__})
#endif
GR_API void gr_csv_free(gr_csv *csv);

GR_API int64_t gr_csv_rows(const gr_csv *csv);
GR_API int64_t gr_csv_columns(const gr_csv *csv);
/* Outside the table the names and cells are NULL, the places 0, and a cell is missing. */
GR_API const char *gr_csv_name(const gr_csv *csv, int64_t column);               /* the table's */
GR_API int64_t gr_csv_find(const gr_csv *csv, const char *name);                 /* -1: no such */
GR_API const char *gr_csv_cell(const gr_csv *csv, int64_t row, int64_t column);  /* the table's */
GR_API bool gr_csv_is_missing(const gr_csv *csv, int64_t row, int64_t column);   /* empty, NA, N/A, ? */
GR_API int64_t gr_csv_line(const gr_csv *csv, int64_t row);      /* where a row begins, from 1 */
GR_API int64_t gr_csv_column_at(const gr_csv *csv, int64_t row, int64_t column); /* its byte, from 1 */

/* A cell as a number: decimal, with blanks around it at most, read without regard to the locale and
   rounded once. Fails with FORMAT, naming line and column, for one that is missing, no number, or
   too large to be finite, and with ARGUMENT for one that is not there. */
GR_API GR_CHECKED gr_status gr_csv_number(const gr_csv *csv, int64_t row, int64_t column,
                                          double *value);

/* The named columns as numbers, f64 [rows, count]; the scope's. missing: put where a cell is
   missing (NaN to let it through as such); NULL: a missing cell is an error. Fails with ARGUMENT
   for a name that is not there, with NULL, and as gr_csv_number does. */
GR_API gr_tensor *gr_csv_tensor(const gr_csv *csv, int64_t count, const char *const *names,
                                const double *missing);

/* ---- safetensors ----------------------------------------------------------------------------- */

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
   file in the same folder (".NAME.tmp-gradus.N"; the next save removes one that a killed process
   left), fsync, rename, fsync of the folder. The mode of the old file is kept, a symbolic link is
   followed, and several may save at once. The same tensors and metadata in any order give the same
   bytes. A CRC-32 of each tensor is kept under "crc32.NAME" in the metadata. Fails with IO, and the
   old file as it was (if only the folder's fsync failed: the new one, and the message says so);
   ARGUMENT for a name that is empty, twice, "__metadata__" or no UTF-8, or a metadata key that is
   twice or begins with "crc32."; NULL, CONTEXT, MEMORY. */
GR_API GR_CHECKED gr_status gr_save(gr_context *ctx, const char *path, int64_t count,
                                    const gr_named_tensor *tensors, int64_t metadata_count,
                                    const gr_metadata *metadata);

/* A file's tensors and metadata. */
typedef struct gr_archive gr_archive;

/* Reads a whole file, ours or another program's. The caller's: gr_archive_free. NULL on an error:
   IO, or FORMAT for anything that the format does not allow, a truncated file, a dtype that
   gr_dtype has not, a bool other than 0 and 1, or a tensor whose CRC-32, if there is one, does not
   fit; MEMORY. Nothing is allocated for a size that the file has not. */
GR_API gr_archive *gr_load(gr_context *ctx, const char *path);
GR_API void gr_archive_free(gr_archive *archive);

GR_API int64_t gr_archive_count(const gr_archive *archive);
/* Names in the order of the tensors' bytes. The texts are the archive's. */
GR_API const char *gr_archive_name(const gr_archive *archive, int64_t i); /* NULL outside */
GR_API const char *gr_archive_metadata(const gr_archive *archive, const char *key); /* NULL: no such */

/* The named tensor, a copy, the scope's. Fails with ARGUMENT if there is none of that name, and
   with NULL. */
GR_API gr_tensor *gr_archive_tensor(gr_archive *archive, const char *name);

/* Copies the file's tensors into tensors of the same names, shapes and dtypes: all, or on an error
   none. Counts as a write, as gr_write does. Fails with FORMAT for a name that the file has not, or
   another shape or dtype, GRADIENT for the result of a recorded op, ARGUMENT for a view whose
   elements share memory or a negative count; NULL, CONTEXT. */
GR_API GR_CHECKED gr_status gr_archive_read(gr_archive *archive, int64_t count,
                                            const gr_named_tensor *tensors);

/* ---- Text files, atomically ------------------------------------------------------------------ */

/* Writes bytes to a path as gr_save does: whole or not at all. Fails with IO, NULL, ARGUMENT. */
GR_API GR_CHECKED gr_status gr_write_file(gr_context *ctx, const char *path, const void *bytes,
                                          int64_t count);

/* ---- Places ---------------------------------------------------------------------------------- */

/* What the macro gr_archive_read is made of, as gr_here. */
GR_API GR_CHECKED gr_status gr_archive_read_here(gr_archive *archive, int64_t count,
                                                 const gr_named_tensor *tensors, const char *file,
                                                 int line);

#ifdef __cplusplus
}
#endif

#ifndef GR_NO_PLACES
#define gr_csv_tensor(...) GR_HERE(gr_csv_tensor(__VA_ARGS__))
#define gr_archive_tensor(...) GR_HERE(gr_archive_tensor(__VA_ARGS__))
#define gr_archive_read(...) gr_archive_read_here(__VA_ARGS__, __FILE__, __LINE__)
#endif

#endif
