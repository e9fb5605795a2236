/* file.h - reads and writes whole files for the formats in this folder.
 *
 * Each function raises its error in the context, with the path as the caller gave it. Its result
 * also reports the failure.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_IO_FILE_H
#define GRADUS_IO_FILE_H

#include "core/tensor/tensor.h"
#include <gradus/io.h>
#include <sys/stat.h>

/* Begins a call. False if it may not begin: ctx is NULL or has an error. From here on, a message
   about memory names this call. */
bool gr_io_begin(gr_context *ctx, const char *op);

/* Returns the status of a call that may not begin: ctx is NULL or has an error. */
gr_status gr_io_refuse(gr_context *ctx);

/* Raises IO: "PATH: cannot WHAT: REASON" with errno's reason. */
void gr_io_fail(gr_context *ctx, const char *op, const char *path, const char *what);

/* Returns a path for a message. If it is too long, only its end is shown. */
const char *gr_show_path(const char *path);

/* Text from a file for a message: on one line, and cut if it is long. */
typedef struct gr_shown {
    char text[64];
} gr_shown;
gr_shown gr_show(const char *text);

/* ---- Reading --------------------------------------------------------------------------------- */

typedef struct gr_input {
    gr_context *ctx;
    const char *op, *path;
    int file;
    int64_t size;
} gr_input;

/* Opens a regular file. Refuses any other file without waiting for it. */
bool gr_input_open(gr_input *in, gr_context *ctx, const char *op, const char *path);

/* Reads until it has `count` bytes or the file ends. Returns the number of bytes, or -1. */
int64_t gr_input_read(gr_input *in, void *bytes, int64_t count);

/* Reads the first bytes of the file, up to `count`. Returns their number, 0 on any failure. What is
   read next does not change. */
int64_t gr_input_peek(const gr_input *in, void *bytes, int64_t count);

void gr_input_close(gr_input *in);

/* ---- Files of other formats ------------------------------------------------------------------ */

enum { GR_GUESS_BYTES = 512 };

/* Returns what a file with these first bytes seems to be, for a message: "a PNG picture". NULL if
   they say nothing. GR_GUESS_BYTES bytes are enough. */
const char *gr_guess(const char *bytes, int64_t count);

/* True for bytes that can be text: there are some, and no control characters. */
bool gr_is_text(const char *bytes, int64_t count);

/* ---- Writing --------------------------------------------------------------------------------- */

enum { GR_FILE_NAME = 256 };

/* A new file. It is written to a temporary file and then replaces the old one. */
typedef struct gr_output {
    gr_context *ctx;
    const char *op, *path;
    int folder, file;
    int guard; /* holds the lock of the file from close to rename */
    bool replaces;
    mode_t mode; /* of the file to be replaced */
    char name[GR_FILE_NAME], temporary[GR_FILE_NAME];
} gr_output;

/* After any failure the temporary file is removed and the old file is unchanged. Each later call on
   `out` fails too. */
bool gr_output_open(gr_output *out, gr_context *ctx, const char *op, const char *path);
bool gr_output_write(gr_output *out, const void *bytes, int64_t count);

/* Puts the new file in the place of the old one. If the folder then cannot be flushed, this is an
   error too, although the new file is in place. */
bool gr_output_commit(gr_output *out);

#endif
