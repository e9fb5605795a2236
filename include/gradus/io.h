/* gradus/io.h - files: tables from CSV, tensors in safetensors.
 *
 * An error message names the file. For text it also gives line and column, which count from 1; the
 * column counts bytes. Example: "csv: iris.csv:12:3: 'abc' is not a number (column width)".
 *
 * If the context has an error, these calls read, write and change nothing: they return that error,
 * NULL or the failed tensor. Tables and archives hold memory of their context: free them before it.
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

/* A table of text cells with named columns, as RFC 4180 defines it: cells may be quoted, "" stands
   for a quote, and quoted cells may contain commas and line ends. Lines end in CRLF or LF. A UTF-8
   byte order mark is skipped. Blanks belong to the cell. Columns and rows count from 0; the header
   is not a row.
   A blank line is empty or has only spaces and tabs that are no delimiter. It is never a row: blank
   lines at the end of the file are skipped, and one before a row is an error that names it. So in a
   table of one column, write an empty cell as "". */
typedef struct gr_csv gr_csv;

typedef struct gr_csv_args {
    const char *path;
    char delimiter;
    int64_t max_line; /* the longest record allowed, in bytes, from 1 to INT32_MAX */
    bool from_defaults;
} gr_csv_args;
#define GR_CSV_DEFAULTS .from_defaults = true, .delimiter = ',', .max_line = (int64_t)16 << 20
GR_API gr_csv_args gr_csv_defaults(void);

/* Reads a file whose first record holds the names of the columns. The caller frees the result with
   gr_csv_free. Returns NULL on an error:
       IO        the file is no regular file or cannot be read
       FORMAT    the file is empty or has no row; a row has more or fewer cells than the header; a
                 row follows a blank line; two columns have one name; a quote is not closed or is
                 inside a bare cell; text follows a closing quote; a CR without LF is outside
                 quotes; there is a NUL byte; a record is too long. The message also says if the
                 file seems to be of another format, such as a zip archive or UTF-16
       ARGUMENT  the delimiter is a NUL, a quote or a line end, or max_line is out of range
       MEMORY
   While it reads, it takes at most 12 times the file's size and 1 MiB. */
GR_API gr_csv *gr_csv_read_with(gr_context *ctx, const gr_csv_args *args);
#ifndef __cplusplus
#define gr_csv_read(ctx, ...)                                                                      \
    GR_BY_NAME(gr_csv_read_with((ctx), &(gr_csv_args){GR_CSV_DEFAULTS, .path = __VA_ARGS__}))
#endif

/* Frees a table. */
GR_API void gr_csv_free(gr_csv *csv);

/* The table owns the texts. For a row or column outside the table, names and cells are NULL, places
   are 0, and the cell is missing. */
GR_API int64_t gr_csv_rows(const gr_csv *csv);
GR_API int64_t gr_csv_columns(const gr_csv *csv);
GR_API const char *gr_csv_name(const gr_csv *csv, int64_t column);
GR_API int64_t gr_csv_find(const gr_csv *csv, const char *name); /* the column, or -1 */
GR_API const char *gr_csv_cell(const gr_csv *csv, int64_t row, int64_t column);
/* True for a cell that is empty, NA, N/A or ?. */
GR_API bool gr_csv_is_missing(const gr_csv *csv, int64_t row, int64_t column);
/* The line where a row begins, and the byte in its line where a cell begins; both count from 1. */
GR_API int64_t gr_csv_line(const gr_csv *csv, int64_t row);
GR_API int64_t gr_csv_column_at(const gr_csv *csv, int64_t row, int64_t column);

/* Sets *value to a cell's decimal number, rounded once. Blanks around it are allowed. The locale
   does not matter. Fails with FORMAT for a cell that is missing, no number, or too large for a
   double (the message gives line and column), and with ARGUMENT for a cell outside the table. */
GR_API GR_CHECKED gr_status gr_csv_number(const gr_csv *csv, int64_t row, int64_t column,
                                          double *value);

/* Returns the named columns as numbers: f64 [rows, count], freed with the scope. missing: the
   number for missing cells, such as NaN; NULL: a missing cell is an error. Fails with ARGUMENT for
   a name that the table does not have, with NULL and MEMORY, and as gr_csv_number does. */
GR_API gr_tensor *gr_csv_tensor(const gr_csv *csv, int64_t count, const char *const *names,
                                const double *missing);

/* ---- safetensors ----------------------------------------------------------------------------- */

/* A set of named tensors with metadata, in the safetensors format of Hugging Face: 8 bytes for the
   length of the header, a JSON header, the bytes of the tensors. gradus is strict where the
   specification leaves room: no gaps, no overlaps, no bytes after the end, no duplicate names. All
   dtypes of gr_dtype are supported. Tensors that gradus cannot have are listed. */
typedef struct gr_named_tensor {
    const char *name;
    gr_tensor *tensor;
} gr_named_tensor;

typedef struct gr_metadata {
    const char *key, *value; /* UTF-8 */
} gr_metadata;

/* Writes tensors and metadata to a file. At any moment the path holds the whole old file or the
   whole new one: gr_save writes a temporary file in the same folder, calls fsync, renames it, and
   calls fsync for the folder. The temporary file is ".NAME.tmp-gradus.N"; the next save removes one
   that a killed process left. The mode of the old file is kept. A symbolic link is followed.
   Several processes may save at once. The same tensors and metadata give the same bytes in any
   order. The metadata holds a CRC-32 of each tensor under "crc32.NAME".
   Each name is allowed that gr_load reads: also "".
   Fails with IO (the old file stays; if only the fsync of the folder fails, the new file is there
   and the message says so); with ARGUMENT for a name that is used twice, "__metadata__" or no
   UTF-8, and for a metadata key that is used twice or begins with "crc32."; with NULL, CONTEXT
   and MEMORY. */
GR_API GR_CHECKED gr_status gr_save(gr_context *ctx, const char *path, int64_t count,
                                    const gr_named_tensor *tensors, int64_t metadata_count,
                                    const gr_metadata *metadata);

/* The tensors and metadata of a file. */
typedef struct gr_archive gr_archive;

/* Reads a whole file, written by gradus or by another program. The caller frees the result with
   gr_archive_free. Returns NULL on an error: IO; FORMAT for a file that breaks the format, a
   truncated file, a bool other than 0 and 1, or a tensor that does not match its CRC-32, if there
   is one; MEMORY. For a file of another format the message says what it seems to be. All sizes are
   checked before memory is allocated for them: a file takes at most 3 times its size and 1 MiB,
   whatever is in it. */
GR_API gr_archive *gr_load(gr_context *ctx, const char *path);

/* Frees an archive. Tensors from gr_archive_tensor stay. */
GR_API void gr_archive_free(gr_archive *archive);

/* The tensors of an archive count from 0, in the order of their bytes. The archive owns the texts.
   Where there is no such tensor, axis or key: NULL, 0 or false. */
GR_API int64_t gr_archive_count(const gr_archive *archive);
GR_API const char *gr_archive_name(const gr_archive *archive, int64_t i);
/* The dtype as the file names it, such as "F32" or "F8_E4M3"; the number of dimensions; the size of
   an axis, where -1 is the last one. */
GR_API const char *gr_archive_dtype(const gr_archive *archive, int64_t i);
GR_API int gr_archive_ndim(const gr_archive *archive, int64_t i);
GR_API int64_t gr_archive_size(const gr_archive *archive, int64_t i, int axis);
/* True if gradus can have tensor i: its dtype is in gr_dtype, it has at most GR_MAX_DIMS
   dimensions, and a gr_tensor may have its shape. Any other tensor is an error only if it is asked
   for. */
GR_API bool gr_archive_is_readable(const gr_archive *archive, int64_t i);
GR_API const char *gr_archive_metadata(const gr_archive *archive, const char *key);

/* Returns a copy of a tensor of the archive, freed with the scope. Fails with ARGUMENT if the
   archive has no tensor of that name, with FORMAT if it is not readable, with NULL and MEMORY. */
GR_API gr_tensor *gr_archive_tensor(gr_archive *archive, const char *name);

/* Copies tensors of the archive into tensors of the same names, shapes and dtypes. On an error none
   is changed. The call counts as a write, as gr_write does. Fails with FORMAT for a name that the
   archive does not have, a tensor that is not readable, or a different shape or dtype, GRADIENT for
   the result of a recorded op, ARGUMENT for a view whose elements share memory or a negative count,
   NULL and CONTEXT. */
GR_API GR_CHECKED gr_status gr_archive_read(gr_archive *archive, int64_t count,
                                            const gr_named_tensor *tensors);

/* ---- Text files, atomically ------------------------------------------------------------------ */

/* Writes `count` bytes to a file as gr_save does: the whole file or nothing. Fails with IO, NULL,
   ARGUMENT for a negative count, and MEMORY. */
GR_API GR_CHECKED gr_status gr_write_file(gr_context *ctx, const char *path, const void *bytes,
                                          int64_t count);

/* ---- Places ---------------------------------------------------------------------------------- */

/* Used by the macro gr_archive_read: adds the place of the call to an error, as gr_here does. */
GR_API GR_CHECKED gr_status gr_archive_read_here(gr_archive *archive, int64_t count,
                                                 const gr_named_tensor *tensors, const char *file,
                                                 int line);

#ifdef __cplusplus
}
#endif

#ifndef GR_NO_PLACES
#define gr_csv_tensor(...)     GR_HERE(gr_csv_tensor(__VA_ARGS__))
#define gr_archive_tensor(...) GR_HERE(gr_archive_tensor(__VA_ARGS__))
#define gr_archive_read(...)   gr_archive_read_here(__VA_ARGS__, __FILE__, __LINE__)
#endif

#endif
