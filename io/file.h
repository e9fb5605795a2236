/* file.h - reading and writing whole files, for the formats in this folder.
 *
 * Every function raises its error in the context, with the path as the caller gave it, and says
 * so in its result.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_IO_FILE_H
#define GRADUS_IO_FILE_H

#include "core/tensor/tensor.h"
#include <gradus/io.h>
#include <sys/stat.h>

/* Whether a call may begin: there is a context, and it has no error. */
bool gr_io_ready(const gr_context *ctx);

/* What a context without a context, or with an error, makes a call return. */
gr_status gr_io_refuse(gr_context *ctx);

/* Raises IO: "PATH: cannot WHAT: REASON" with errno's reason. */
void gr_io_fail(gr_context *ctx, const char *op, const char *path, const char *what);

/* A path as a message shows it: its end, where it is longer than a message. */
const char *gr_show_path(const char *path);

/* Text from a file as a message shows it: on one line, and cut where it is long. */
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

/* Opens a regular file; anything else is refused without waiting for it. */
bool gr_input_open(gr_input *in, gr_context *ctx, const char *op, const char *path);

/* Reads on until there are `count` bytes or the file ends. Returns how many there are, or -1. */
int64_t gr_input_read(gr_input *in, void *bytes, int64_t count);

void gr_input_close(gr_input *in);

/* ---- Writing --------------------------------------------------------------------------------- */

enum { GR_FILE_NAME = 256 };

/* A file that is being written beside the one that it will replace. */
typedef struct gr_output {
    gr_context *ctx;
    const char *op, *path;
    int folder, file;
    int guard; /* keeps the lock of the file from its close to the rename */
    bool replaces;
    mode_t mode; /* of the file that it replaces */
    char name[GR_FILE_NAME], temporary[GR_FILE_NAME];
} gr_output;

/* On any failure the temporary file is gone, the old file is as it was, and each later call on
   `out` fails too. */
bool gr_output_open(gr_output *out, gr_context *ctx, const char *op, const char *path);
bool gr_output_write(gr_output *out, const void *bytes, int64_t count);

/* Puts the new file in the old one's place. If the folder alone cannot be flushed afterwards, that
   is an error as well, with the new file in place. */
bool gr_output_commit(gr_output *out);

#endif
