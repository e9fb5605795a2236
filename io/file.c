/* file.c - files are read as a whole, and are replaced as a whole or not at all.
 *
 * A save leaves the old file untouched until the new file is complete and on the disk:
 *
 *     create .NAME.tmp-gradus.SLOT in the same folder, lock it, write, fsync, close;
 *     rename it to NAME; fsync the folder.
 *
 * Several saves can run at once. A temporary file belongs to the process that holds its lock
 * (flock). No other process renames or removes it. The kernel drops the lock when the process dies.
 * So if a temporary file can be locked, a killed process left it behind, and the next save removes
 * it. There are only a few slots, so a save finds such files without a search through the folder.
 * On a file system without locks everything works except this cleanup.
 *
 * If the path is a symbolic link, the link stays and its target is replaced. The new file gets the
 * mode of the old one. Its owner is the user who writes. Other hard links keep the old file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum {
    SLOTS = 32,         /* simultaneous saves of one file */
    MAX_LINKS = 40,     /* symbolic links in a chain; the kernel has the same limit */
    NAME_IN_SLOT = 200, /* bytes of NAME in the temporary name, so that both names are allowed */
    SHOWN_PATH = 280    /* bytes of a path in a message */
};

/* The kernel transfers at most a little less than 2 GiB at once. */
static const int64_t most_at_once = INT64_C(1) << 30;

/* ---- Errors ---------------------------------------------------------------------------------- */

bool gr_io_begin(gr_context *ctx, const char *op)
{
    if (ctx == NULL || gr_error(ctx) != GR_OK)
        return false;
    ctx->doing = op;
    return true;
}

gr_status gr_io_refuse(gr_context *ctx) { return ctx == NULL ? GR_ERROR_NULL : gr_finish(ctx); }

const char *gr_show_path(const char *path)
{
    size_t length = strlen(path);
    return length > SHOWN_PATH ? path + length - SHOWN_PATH : path;
}

void gr_io_fail(gr_context *ctx, const char *op, const char *path, const char *what)
{
    const char *reason = strerror(errno);
    gr_fail(ctx, GR_ERROR_IO, op, "%s: cannot %s: %s", gr_show_path(path), what, reason);
}

gr_shown gr_show(const char *text)
{
    gr_shown shown = {{0}};
    size_t room = sizeof shown.text - sizeof "...", at = 0;
    for (; text[at] != '\0' && at < room; at++)
        shown.text[at] = (unsigned char)text[at] < ' ' || text[at] == 0x7f ? '?' : text[at];
    if (text[at] == '\0')
        return shown;
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80) /* do not cut a UTF-8 character */
        at--;
    memcpy(shown.text + at, "...", sizeof "...");
    return shown;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static bool refuse_kind(gr_context *ctx, const char *op, const char *path, mode_t mode)
{
    const char *kind = S_ISDIR(mode) ? "a directory" : "not a regular file";
    gr_fail(ctx, GR_ERROR_IO, op, "%s: is %s", gr_show_path(path), kind);
    return false;
}

bool gr_input_open(gr_input *in, gr_context *ctx, const char *op, const char *path)
{
    /* O_NONBLOCK: without it, opening a FIFO waits for a writer. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat is;
    *in = (gr_input){ctx, op, path, file, 0};
    if (file < 0 || fstat(file, &is) != 0) {
        gr_io_fail(ctx, op, path, "open");
        gr_input_close(in);
        return false;
    }
    if (!S_ISREG(is.st_mode)) {
        gr_input_close(in);
        return refuse_kind(ctx, op, path, is.st_mode);
    }
    in->size = is.st_size;
    return true;
}

int64_t gr_input_read(gr_input *in, void *bytes, int64_t count)
{
    int64_t done = 0;
    while (done < count) {
        int64_t wanted = count - done < most_at_once ? count - done : most_at_once;
        ssize_t got = read(in->file, (char *)bytes + done, (size_t)wanted);
        if (got == 0)
            break;
        if (got > 0) {
            done += got;
        } else if (errno != EINTR) {
            gr_io_fail(in->ctx, in->op, in->path, "read");
            return -1;
        }
    }
    return done;
}

int64_t gr_input_peek(const gr_input *in, void *bytes, int64_t count)
{
    ssize_t got = pread(in->file, bytes, (size_t)count, 0);
    return got > 0 ? got : 0;
}

void gr_input_close(gr_input *in)
{
    if (in->file >= 0)
        close(in->file);
    in->file = -1;
}

/* ---- Where a path leads ---------------------------------------------------------------------- */

/* Replaces the part of `path` after the last slash by the target of a link. */
static bool step_to(char path[PATH_MAX], const char *link)
{
    char *slash = strrchr(path, '/');
    size_t folder = link[0] == '/' || slash == NULL ? 0 : (size_t)(slash - path) + 1;
    if (folder + strlen(link) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return false;
    }
    strcpy(path + folder, link);
    return true;
}

/* Follows symbolic links until `path` names a file, or nothing yet. */
static bool follow_links(char path[PATH_MAX])
{
    char link[PATH_MAX];
    for (int count = 0; count < MAX_LINKS; count++) {
        ssize_t length = readlink(path, link, sizeof link - 1);
        if (length < 0)
            return errno == EINVAL || errno == ENOENT;
        link[length] = '\0';
        if (!step_to(path, link))
            return false;
    }
    errno = ELOOP;
    return false;
}

/* Opens the folder of the file that out->path leads to, and stores the file's name. */
static bool find_place(gr_output *out)
{
    char path[PATH_MAX];
    size_t length = strlen(out->path);
    errno = length == 0 ? ENOENT : ENAMETOOLONG;
    if (length == 0 || length >= sizeof path)
        return false;
    memcpy(path, out->path, length + 1);
    if (!follow_links(path))
        return false;

    char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    errno = name[0] == '\0' ? EISDIR : ENAMETOOLONG;
    if (name[0] == '\0' || strlen(name) >= sizeof out->name)
        return false;
    strcpy(out->name, name);
    if (slash != NULL)
        slash[slash == path] = '\0'; /* for "/name" the folder is "/" */
    out->folder = open(slash == NULL ? "." : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return out->folder >= 0;
}

/* Checks the file to be replaced. It must be a regular file, and we must be allowed to write it. */
static bool look_at_old(gr_output *out)
{
    struct stat old;
    if (fstatat(out->folder, out->name, &old, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT)
            return true;
        gr_io_fail(out->ctx, out->op, out->path, "write");
        return false;
    }
    if (!S_ISREG(old.st_mode))
        return refuse_kind(out->ctx, out->op, out->path, old.st_mode);
    if (faccessat(out->folder, out->name, W_OK, AT_EACCESS) != 0) {
        gr_io_fail(out->ctx, out->op, out->path, "write");
        return false;
    }
    out->replaces = true;
    out->mode = old.st_mode & 0777;
    return true;
}

/* ---- Temporary files ------------------------------------------------------------------------- */

static void name_slot(gr_output *out, int slot)
{
    snprintf(out->temporary, sizeof out->temporary, ".%.*s.tmp-gradus.%d", NAME_IN_SLOT, out->name,
             slot);
}

/* True if the temporary name still stands for this open file. */
static bool is_named(const gr_output *out, int file)
{
    struct stat named, opened;
    return fstat(file, &opened) == 0 &&
           fstatat(out->folder, out->temporary, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

/* Removes the temporary file of this slot if no process holds its lock. */
static void clear_slot(const gr_output *out)
{
    int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int file = openat(out->folder, out->temporary, flags);
    if (file < 0)
        return;
    if (flock(file, LOCK_EX | LOCK_NB) == 0 && is_named(out, file))
        unlinkat(out->folder, out->temporary, 0);
    close(file);
}

/* Takes this slot. Between the creation and the lock of our file, another save may remove it
   because it looks abandoned. Then the slot is lost. Returns 1 if it is taken, 0 if it is lost or
   in use, -1 if no file can be made. */
static int take_slot(gr_output *out)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    int file = openat(out->folder, out->temporary, flags, out->replaces ? 0600 : 0666);
    if (file < 0)
        return errno == EEXIST ? 0 : -1;
    bool held = flock(file, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    if (!held || !is_named(out, file)) {
        close(file);
        return 0;
    }
    out->file = file;
    /* The guard shares the lock; the lock ends when both are closed. */
    out->guard = fcntl(file, F_DUPFD_CLOEXEC, 0);
    return out->guard < 0 ? -1 : 1;
}

static bool take_some_slot(gr_output *out)
{
    for (int slot = 0; slot < SLOTS; slot++) {
        name_slot(out, slot);
        clear_slot(out);
    }
    for (int slot = 0; slot < SLOTS; slot++) {
        name_slot(out, slot);
        int taken = take_slot(out);
        if (taken != 0)
            return taken > 0;
    }
    errno = EBUSY;
    return false;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void close_all(gr_output *out)
{
    int *files[] = {&out->file, &out->guard, &out->folder};
    for (int i = 0; i < 3; i++) {
        if (*files[i] >= 0)
            close(*files[i]);
        *files[i] = -1;
    }
}

/* Removes the temporary file while it is locked. */
static bool give_up(gr_output *out, const char *what)
{
    int reason = errno;
    if (out->file >= 0 || out->guard >= 0)
        unlinkat(out->folder, out->temporary, 0);
    close_all(out);
    errno = reason;
    if (what != NULL)
        gr_io_fail(out->ctx, out->op, out->path, what);
    return false;
}

bool gr_output_open(gr_output *out, gr_context *ctx, const char *op, const char *path)
{
    *out = (gr_output){.ctx = ctx, .op = op, .path = path, .folder = -1, .file = -1, .guard = -1};
    if (!find_place(out))
        return give_up(out, "write");
    if (!look_at_old(out))
        return give_up(out, NULL);
    if (!take_some_slot(out))
        return give_up(out, "create a temporary file beside it");
    return true;
}

/* Calls write. Above a limit on file sizes, write gives EFBIG and also the signal SIGXFSZ, whose
   default action kills the process. This removes that one signal before it is delivered. */
static ssize_t write_quietly(int file, const void *bytes, size_t count)
{
    sigset_t limit, pending, before;
    sigemptyset(&limit);
    sigaddset(&limit, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &limit, &before);
    sigpending(&pending);
    ssize_t written = write(file, bytes, count);
    int reason = errno;
    if (written < 0 && reason == EFBIG && !sigismember(&pending, SIGXFSZ)) {
        const struct timespec at_once = {0, 0};
        while (sigtimedwait(&limit, NULL, &at_once) < 0 && errno == EINTR)
            continue;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = reason;
    return written;
}

bool gr_output_write(gr_output *out, const void *bytes, int64_t count)
{
    for (int64_t done = 0; out->file >= 0 && done < count;) {
        int64_t wanted = count - done < most_at_once ? count - done : most_at_once;
        ssize_t written = write_quietly(out->file, (const char *)bytes + done, (size_t)wanted);
        if (written > 0) {
            done += written;
        } else if (written == 0) { /* no error and no progress: would loop forever */
            errno = EIO;
            return give_up(out, "write");
        } else if (errno != EINTR) {
            return give_up(out, "write");
        }
    }
    return out->file >= 0;
}

/* Flushes the new file to the disk and closes it. The guard still holds its lock. */
static bool settle(gr_output *out)
{
    if (out->replaces && fchmod(out->file, out->mode) != 0)
        return false;
    /* Only once: a second fsync does not report data that the first one lost. */
    if (fsync(out->file) != 0)
        return false;
    int file = out->file;
    out->file = -1;
    return close(file) == 0;
}

bool gr_output_commit(gr_output *out)
{
    if (out->file < 0)
        return false;
    if (!settle(out))
        return give_up(out, "flush to the disk");
    if (renameat(out->folder, out->temporary, out->folder, out->name) != 0)
        return give_up(out, "replace");
    /* EINVAL: this file system does not flush folders. */
    bool flushed = fsync(out->folder) == 0 || errno == EINVAL;
    if (!flushed)
        gr_io_fail(out->ctx, out->op, out->path, "flush its folder (the new file is in place)");
    close_all(out);
    return flushed;
}

gr_status gr_write_file(gr_context *ctx, const char *path, const void *bytes, int64_t count)
{
    gr_output out;
    if (!gr_io_begin(ctx, "write_file"))
        return gr_io_refuse(ctx);
    if (path == NULL || (bytes == NULL && count > 0))
        gr_fail(ctx, GR_ERROR_NULL, "write_file", "%s is NULL", path == NULL ? "path" : "bytes");
    else if (count < 0)
        gr_fail(ctx, GR_ERROR_ARGUMENT, "write_file", "count is %lld", (long long)count);
    else if (gr_output_open(&out, ctx, "write_file", path) && gr_output_write(&out, bytes, count))
        (void)gr_output_commit(&out);
    return gr_finish(ctx);
}
