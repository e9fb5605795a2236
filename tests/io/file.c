/* file.c - tests of io/file.c: a file is replaced as a whole or not at all, and any call may fail.
 *
 * This file defines the system calls of a save again. The linker takes these, so that each can
 * fail.
 *
 * SPDX-License-Identifier: MIT
 */
#include "temp.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>

/* ---- Calls that fail ------------------------------------------------------------------------- */

enum call { OPENAT, READ, WRITE, FSYNC, CLOSE, RENAME, FCHMOD, FLOCK, FCNTL, CALLS };
static const char *const call_names[] = {"openat", "read",   "write", "fsync", "close",
                                         "rename", "fchmod", "flock", "fcntl"};

/* The k-th call of one kind fails with this error. shortened: reads and writes transfer half of the
   bytes. stuck: writes transfer none. */
static struct plan {
    bool armed, shortened, stuck;
    enum call call;
    int k, error;
    int made[CALLS];
} plan;

static bool fails(enum call call)
{
    if (!plan.armed || ++plan.made[call] != plan.k || call != plan.call)
        return false;
    errno = plan.error;
    return plan.error != 0;
}

ssize_t write(int file, const void *bytes, size_t count)
{
    if (fails(WRITE))
        return -1;
    if (plan.armed && plan.stuck)
        return 0;
    bool half = plan.armed && plan.shortened && count > 1;
    return syscall(SYS_write, file, bytes, half ? count / 2 : count);
}

ssize_t read(int file, void *bytes, size_t count)
{
    if (fails(READ))
        return -1;
    bool half = plan.armed && plan.shortened && count > 1;
    return syscall(SYS_read, file, bytes, half ? count / 2 : count);
}

int fsync(int file) { return fails(FSYNC) ? -1 : (int)syscall(SYS_fsync, file); }
int fchmod(int file, mode_t mode)
{
    return fails(FCHMOD) ? -1 : (int)syscall(SYS_fchmod, file, mode);
}
int flock(int file, int how) { return fails(FLOCK) ? -1 : (int)syscall(SYS_flock, file, how); }

/* close really closes the file, even if it reports a failure. */
int close(int file)
{
    bool failing = fails(CLOSE);
    int reason = errno;
    int result = (int)syscall(SYS_close, file);
    if (failing)
        errno = reason;
    return failing ? -1 : result;
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    if (fails(RENAME))
        return -1;
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
}

int openat(int at, const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    int mode = (flags & O_CREAT) != 0 ? va_arg(list, int) : 0;
    va_end(list);
    return fails(OPENAT) ? -1 : (int)syscall(SYS_openat, at, path, flags, mode);
}

int fcntl(int file, int command, ...)
{
    va_list list;
    va_start(list, command);
    long argument = va_arg(list, long);
    va_end(list);
    return fails(FCNTL) ? -1 : (int)syscall(SYS_fcntl, file, command, argument);
}

/* ---- Helpers --------------------------------------------------------------------------------- */

TestSuite(file, .init = begin, .fini = end);

static gr_status put_text(const char *path, const char *text)
{
    return gr_write_file(ctx, path, text, (int64_t)strlen(text));
}

static void holds(const char *path, const char *text)
{
    size_t count;
    char *bytes = get_file(path, &count);
    cr_expect_eq(count, strlen(text));
    cr_expect_str_eq(bytes, text);
    free(bytes);
}

static mode_t mode_of(const char *path)
{
    struct stat is;
    cr_assert_eq(lstat(path, &is), 0);
    return is.st_mode & 07777;
}

/* ---- What a save does ------------------------------------------------------------------------ */

Test(file, writes_and_replaces)
{
    cr_expect_eq(put_text("t", "one"), GR_OK, "%s", gr_error_message(ctx));
    holds("t", "one");
    cr_expect_eq(put_text("t", "another"), GR_OK);
    holds("t", "another");
    cr_expect_eq(gr_write_file(ctx, "t", NULL, 0), GR_OK);
    holds("t", "");
    char path[600];
    snprintf(path, sizeof path, "%s/t", folder);
    cr_expect_eq(put_text(path, "absolute"), GR_OK);
    holds("t", "absolute");
    cr_expect_eq(count_files(false), 1);
}

Test(file, keeps_the_mode)
{
    umask(027);
    cr_expect_eq(put_text("new", "1"), GR_OK);
    cr_expect_eq(mode_of("new"), 0640);
    put_file("old", "1", 1);
    cr_assert_eq(chmod("old", 0604), 0);
    cr_expect_eq(put_text("old", "2"), GR_OK);
    cr_expect_eq(mode_of("old"), 0604);
}

Test(file, follows_links)
{
    cr_assert_eq(mkdir("d", 0700), 0);
    put_file("d/t", "old", 3);
    cr_assert_eq(symlink("t", "d/first"), 0);
    cr_assert_eq(symlink("d/first", "second"), 0);
    cr_expect_eq(put_text("second", "new"), GR_OK, "%s", gr_error_message(ctx));
    holds("d/t", "new");
    cr_expect_eq(put_text("second", "newer"), GR_OK);
    holds("d/t", "newer");
    char link[16] = "";
    cr_expect_eq(readlink("second", link, sizeof link - 1), 7);
    cr_expect_eq(unlink("d/t"), 0);
    cr_expect_eq(put_text("second", "through a dangling link"), GR_OK);
    holds("d/t", "through a dangling link");
    cr_expect_eq(unlink("d/t") + unlink("d/first"), 0);

    cr_assert_eq(symlink("loop", "loop"), 0);
    cr_expect_eq(put_text("loop", "x"), GR_ERROR_IO);
    expect_error(GR_ERROR_IO, "write_file: loop: cannot write: Too many levels of symbolic links");
}

/* Checks that a path that cannot be written gives an error, and that no file is left. */
static void refuses(const char *path, const char *message)
{
    int before = count_files(false);
    cr_expect_eq(put_text(path, "x"), GR_ERROR_IO, "%s", path);
    expect_error(GR_ERROR_IO, message);
    cr_expect_eq(count_files(false), before);
}

Test(file, refuses_what_is_no_file)
{
    cr_assert_eq(mkdir("d", 0700), 0);
    cr_assert_eq(mkfifo("pipe", 0600), 0);
    /* If a save were broken, root would replace /dev/full itself. So root uses a device of its
       own. */
    if (geteuid() != 0)
        refuses("/dev/full", "write_file: /dev/full: is not a regular file");
    else if (mknod("full", S_IFCHR | 0666, makedev(1, 7)) == 0)
        refuses("full", "write_file: full: is not a regular file");
    cr_assert_eq(symlink("pipe", "to a pipe"), 0);
    refuses("to a pipe", "write_file: to a pipe: is not a regular file");
    refuses("pipe", "write_file: pipe: is not a regular file");
    refuses("d", "write_file: d: is a directory");
    refuses(".", "write_file: .: is a directory");
    refuses("d/", "write_file: d/: cannot write: Is a directory");
    refuses("", "write_file: : cannot write: No such file or directory");
    refuses("none/t", "write_file: none/t: cannot write: No such file or directory");
    put_file("t", "old", 3);
    refuses("t/u", "write_file: t/u: cannot write: Not a directory");
    holds("t", "old");
}

Test(file, refuses_what_it_may_not_write)
{
    if (geteuid() == 0)
        cr_skip_test("root may write everything");
    put_file("t", "old", 3);
    cr_assert_eq(chmod("t", 0444), 0);
    refuses("t", "write_file: t: cannot write: Permission denied");
    holds("t", "old");
    cr_assert_eq(mkdir("d", 0500), 0);
    refuses("d/t", "write_file: d/t: cannot create a temporary file beside it: Permission denied");
}

Test(file, refuses_names_that_are_too_long)
{
    char name[5000];
    memset(name, 'n', sizeof name);
    name[255] = '\0';
    cr_expect_eq(put_text(name, "longest"), GR_OK, "%s", gr_error_message(ctx));
    holds(name, "longest");
    name[255] = 'n';
    for (size_t length = 256; length < sizeof name; length = length == 256 ? 4999 : 5000) {
        name[length] = '\0';
        cr_expect_eq(put_text(name, "x"), GR_ERROR_IO);
        cr_expect_not_null(strstr(gr_error_message(ctx), ": cannot write: File name too long"));
        gr_error_clear(ctx);
        name[length] = 'n';
    }
    cr_expect_eq(count_files(false), 1);
}

/* A link's target takes the place of its name, behind its folder. Both together can be too long. */
Test(file, refuses_links_that_lead_too_far)
{
    enum { DEPTH = 12, LENGTH = 200 };
    char path[DEPTH * (LENGTH + 1) + 8], target[2000];
    memset(path, 'd', sizeof path);
    memset(target, 't', sizeof target);
    target[sizeof target - 1] = '\0';
    for (int i = 1; i <= DEPTH; i++) {
        path[i * (LENGTH + 1) - 1] = '\0';
        cr_assert_eq(mkdir(path, 0700), 0);
        path[i * (LENGTH + 1) - 1] = '/';
    }
    strcpy(path + DEPTH * (LENGTH + 1), "link");
    cr_assert_eq(symlink(target, path), 0);
    cr_expect_eq(put_text(path, "x"), GR_ERROR_IO);
    cr_expect_not_null(strstr(gr_error_message(ctx), ": cannot write: File name too long"), "%s",
                       gr_error_message(ctx));
    gr_error_clear(ctx);
    cr_assert_eq(unlink(path), 0);
    for (int i = DEPTH; i > 0; i--) {
        path[i * (LENGTH + 1) - 1] = '\0';
        cr_assert_eq(rmdir(path), 0);
    }
}

/* The number of the next file that is opened: no file is left open. */
static int next_file(void)
{
    int file = open(".", O_RDONLY);
    cr_assert_geq(file, 0);
    close(file);
    return file;
}

Test(file, what_cannot_be_read_is_closed)
{
    cr_assert_eq(mkdir("d", 0700), 0);
    const int next = next_file();
    cr_expect_null(gr_load(ctx, "d"));
    gr_error_clear(ctx);
    cr_expect_null(gr_csv_read(ctx, "d"));
    gr_error_clear(ctx);
    put_file("t", "\1", 1);
    cr_expect_null(gr_load(ctx, "t"));
    gr_error_clear(ctx);
    cr_expect_eq(next_file(), next);
}

Test(file, refuses_wrong_arguments)
{
    cr_expect_eq(gr_write_file(NULL, "t", "x", 1), GR_ERROR_NULL);
    cr_expect_eq(gr_write_file(ctx, NULL, "x", 1), GR_ERROR_NULL);
    cr_expect_eq(gr_write_file(ctx, "t", "x", 1), GR_ERROR_NULL, "an error stays");
    expect_error(GR_ERROR_NULL, "write_file: path is NULL");
    cr_expect_eq(gr_write_file(ctx, "t", NULL, 1), GR_ERROR_NULL);
    expect_error(GR_ERROR_NULL, "write_file: bytes is NULL");
    cr_expect_eq(gr_write_file(ctx, "t", "x", -1), GR_ERROR_ARGUMENT);
    expect_error(GR_ERROR_ARGUMENT, "write_file: count is -1");
    cr_expect_eq(count_files(false), 0);
}

/* ---- What fails ------------------------------------------------------------------------------ */

static const gr_metadata note[] = {{"k", "v"}};

/* Saves a checkpoint. It takes three writes. */
static gr_status save(double value)
{
    gr_named_tensor tensors[] = {{"w", gr_full(ctx, GR_F64, gr_shape(100), value)},
                                 {"b", gr_full(ctx, GR_F32, gr_shape(7), value)}};
    return gr_save(ctx, "t", 2, tensors, 1, note);
}

static bool same_bytes(const char *path, const char *bytes, size_t count)
{
    size_t found_count;
    char *found = get_file(path, &found_count);
    bool same = found_count == count && memcmp(found, bytes, count) == 0;
    free(found);
    return same;
}

typedef struct pair {
    char *old, *new;
    size_t old_count, new_count;
} pair;

/* Makes an old and a new file. Counts the calls of each kind that one replacement takes. */
static pair make_pair(int *calls_made)
{
    pair p;
    cr_assert_eq(save(2), GR_OK, "%s", gr_error_message(ctx));
    p.new = get_file("t", &p.new_count);
    cr_assert_eq(save(1), GR_OK);
    p.old = get_file("t", &p.old_count);
    plan = (struct plan){.armed = true, .k = -1};
    cr_assert_eq(save(2), GR_OK);
    memcpy(calls_made, plan.made, sizeof plan.made);
    plan.armed = false;
    cr_assert(same_bytes("t", p.new, p.new_count));
    return p;
}

/* Lets one call fail. There must be an error and the old file. If the failure is harmless or comes
   after the rename, there must be the new file. No other file may be left in the folder. */
static void check_failure(const pair *p, enum call call, int k, int error)
{
    put_file("t", p->old, p->old_count);
    plan = (struct plan){.armed = true, .call = call, .k = k, .error = error};
    gr_status status = save(2);
    plan.armed = false;
    bool in_place = strstr(gr_error_message(ctx), "is in place") != NULL;
    bool is_new = status == GR_OK || in_place;
    cr_expect(status == GR_OK || status == GR_ERROR_IO);
    cr_expect(same_bytes("t", is_new ? p->new : p->old, is_new ? p->new_count : p->old_count),
              "%s %d with %s", call_names[call], k, strerror(error));
    cr_expect_eq(count_files(false), 1, "%s %d leaves a file", call_names[call], k);
    if (call == WRITE || call == RENAME || call == FCHMOD || call == FCNTL)
        cr_expect(status != GR_OK && !in_place, "%s %d", call_names[call], k);
    if (call == FSYNC || (call == CLOSE && k == 1)) /* the first close is that of the new file */
        cr_expect_neq(status, GR_OK, "%s %d", call_names[call], k);
    if (status != GR_OK)
        cr_expect_not_null(strstr(gr_error_message(ctx), strerror(error)));
    gr_error_clear(ctx);
}

Test(file, keeps_the_old_file_whatever_call_fails)
{
    int made[CALLS];
    pair p = make_pair(made);
    static const enum call always[] = {WRITE, FSYNC, CLOSE, RENAME, FCHMOD, FCNTL, OPENAT, FLOCK};
    for (int i = 0; i < CALLS - 1; i++) { /* a save reads nothing */
        cr_expect_geq(made[always[i]], 1, "%s", call_names[always[i]]);
        for (int k = 1; k <= made[always[i]]; k++) {
            check_failure(&p, always[i], k, EIO);
            check_failure(&p, always[i], k, ENOSPC);
        }
    }
    cr_expect_eq(made[WRITE], 3);
    cr_expect_eq(made[FSYNC], 2);
    free(p.old);
    free(p.new);
}

Test(file, goes_on_after_short_and_interrupted_writes)
{
    int made[CALLS];
    pair p = make_pair(made);
    put_file("t", p.old, p.old_count);
    plan = (struct plan){.armed = true, .shortened = true, .k = -1};
    cr_expect_eq(save(2), GR_OK);
    cr_expect_gt(plan.made[WRITE], 10);
    plan.armed = false;
    cr_expect(same_bytes("t", p.new, p.new_count));
    for (int k = 1; k <= made[WRITE]; k++) {
        put_file("t", p.old, p.old_count);
        plan = (struct plan){.armed = true, .call = WRITE, .k = k, .error = EINTR};
        cr_expect_eq(save(2), GR_OK);
        plan.armed = false;
        cr_expect(same_bytes("t", p.new, p.new_count));
    }
    free(p.old);
    free(p.new);
}

Test(file, gives_up_where_nothing_is_written)
{
    cr_assert_eq(put_text("t", "old"), GR_OK);
    plan = (struct plan){.armed = true, .stuck = true};
    cr_expect_eq(put_text("t", "new"), GR_ERROR_IO);
    plan.armed = false;
    expect_error(GR_ERROR_IO, "write_file: t: cannot write: Input/output error");
    holds("t", "old");
    cr_expect_eq(count_files(false), 1);
}

Test(file, reads_in_pieces_and_after_interruptions)
{
    cr_assert_eq(save(3), GR_OK);
    for (int k = 0; k <= 3; k++) {
        plan =
            (struct plan){.armed = true, .shortened = k == 0, .call = READ, .k = k, .error = EINTR};
        gr_archive *archive = gr_load(ctx, "t");
        plan.armed = false;
        cr_assert_not_null(archive, "%s", gr_error_message(ctx));
        cr_expect_eq(gr_item(gr_mean(gr_archive_tensor(archive, "w"))), 3);
        gr_archive_free(archive);
    }
    for (int k = 1; k <= 3; k++) {
        plan = (struct plan){.armed = true, .call = READ, .k = k, .error = EIO};
        cr_expect_null(gr_load(ctx, "t"));
        plan.armed = false;
        expect_error(GR_ERROR_IO, "load: t: cannot read: Input/output error");
    }
    put_file("t.csv", "a\n1\n", 4);
    plan = (struct plan){.armed = true, .call = READ, .k = 1, .error = EIO};
    cr_expect_null(gr_csv_read(ctx, "t.csv"));
    plan.armed = false;
    expect_error(GR_ERROR_IO, "csv: t.csv: cannot read: Input/output error");
}

/* Beyond what the file system allows in one file, write fails in the same way, but without a
   signal. */
Test(file, survives_a_limit_of_the_file_system)
{
    cr_assert_eq(put_text("t", "old"), GR_OK);
    plan = (struct plan){.armed = true, .call = WRITE, .k = 1, .error = EFBIG};
    cr_expect_eq(put_text("t", "new"), GR_ERROR_IO);
    plan.armed = false;
    expect_error(GR_ERROR_IO, "write_file: t: cannot write: File too large");
    holds("t", "old");
    cr_expect_eq(count_files(false), 1);
}

/* Without the special handling, the signal would end the process. */
Test(file, survives_a_limit_on_the_size_of_files)
{
    char bytes[1 << 16] = {0};
    struct rlimit limit = {1 << 12, RLIM_INFINITY};
    cr_assert_eq(put_text("t", "old"), GR_OK);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_expect_eq(gr_write_file(ctx, "t", bytes, sizeof bytes), GR_ERROR_IO);
    limit.rlim_cur = RLIM_INFINITY;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_error(GR_ERROR_IO, "write_file: t: cannot write: File too large");
    holds("t", "old");
    cr_expect_eq(count_files(false), 1);
    sigset_t pending;
    sigpending(&pending);
    cr_expect(!sigismember(&pending, SIGXFSZ));
    cr_expect_eq(gr_write_file(ctx, "t", bytes, sizeof bytes), GR_OK);
}

/* ---- What others leave and do ---------------------------------------------------------------- */

Test(file, removes_what_a_killed_save_left)
{
    put_file(".t.tmp-gradus.0", "half", 4);
    put_file(".t.tmp-gradus.7", "half", 4);
    cr_expect_eq(put_text("t", "new"), GR_OK);
    holds("t", "new");
    cr_expect_eq(count_files(false), 1);
}

Test(file, leaves_the_temporary_file_of_a_living_save)
{
    put_file(".t.tmp-gradus.0", "mine", 4);
    int mine = open(".t.tmp-gradus.0", O_RDONLY);
    cr_assert_eq(flock(mine, LOCK_EX | LOCK_NB), 0);
    cr_expect_eq(put_text("t", "new"), GR_OK);
    holds("t", "new");
    holds(".t.tmp-gradus.0", "mine");
    close(mine);
    cr_assert_eq(mkdir(".t.tmp-gradus.3", 0700), 0);
    cr_expect_eq(put_text("t", "newer"), GR_OK);
    cr_expect_eq(count_files(false), 2);
    cr_expect_eq(rmdir(".t.tmp-gradus.3"), 0);
}

Test(file, refuses_more_saves_at_once_than_slots)
{
    char name[64];
    int held[32];
    for (int i = 0; i < 32; i++) {
        snprintf(name, sizeof name, ".t.tmp-gradus.%d", i);
        put_file(name, "", 0);
        held[i] = open(name, O_RDONLY);
        cr_assert_eq(flock(held[i], LOCK_EX | LOCK_NB), 0);
    }
    cr_expect_eq(put_text("t", "x"), GR_ERROR_IO);
    expect_error(GR_ERROR_IO, "write_file: t: cannot create a temporary file beside it: "
                              "Device or resource busy");
    for (int i = 0; i < 32; i++)
        close(held[i]);
    cr_expect_eq(put_text("t", "x"), GR_OK);
    cr_expect_eq(count_files(false), 1);
}

/* Writes one letter again and again. The length of the text depends on the letter. */
static int save_often(char letter)
{
    char text[40000];
    memset(text, letter, sizeof text);
    for (int i = 0; i < 100; i++) {
        if (gr_write_file(ctx, "t", text, 1000 * (letter - 'a' + 1)) != GR_OK) {
            fprintf(stderr, "%s\n", gr_error_message(ctx));
            return 1;
        }
    }
    return 0;
}

static void check_one_letter(void)
{
    size_t count;
    char *bytes = get_file("t", &count);
    cr_assert(bytes[0] >= 'a' && bytes[0] <= 'h', "%s", bytes);
    cr_assert_eq(count, 1000 * (size_t)(bytes[0] - 'a' + 1));
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(bytes[i], bytes[0]);
    free(bytes);
}

Test(file, lets_several_save_at_once)
{
    pid_t children[8];
    cr_assert_eq(put_text("t", ""), GR_OK);
    for (int i = 0; i < 8; i++) {
        children[i] = fork();
        if (children[i] == 0)
            _exit(save_often((char)('a' + i)));
    }
    for (int i = 0; i < 8; i++) {
        int status;
        cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
        cr_expect_eq(status, 0);
        check_one_letter();
    }
    cr_expect_eq(count_files(false), 1, "a temporary file is left");
}
