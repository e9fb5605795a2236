/* base.h - the context and its services for all other folders: errors, memory, scopes, threads and
 * random bits. Nothing here knows tensors: a scope owns members of any kind.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_BASE_H
#define GRADUS_BASE_H

#ifndef GR_NO_PLACES
#define GR_NO_PLACES /* inside the library, a call's place is the place of the user's call */
#endif
#include <gradus/core.h>
#include "core/base/float_mode.h"
#include "kernels/kernels.h"

typedef struct gr_scope gr_scope;
typedef struct gr_member gr_member;
typedef struct gr_buffer gr_buffer;
typedef struct gr_chunk gr_chunk;
typedef struct gr_block gr_block;

/* ---- Memory ---------------------------------------------------------------------------------- */

/* Returns bytes from the context's allocator, aligned to 64. NULL (and the error MEMORY) if there
   is no memory. Every allocation of the library goes through these two. release takes NULL. */
void *gr_allocate(gr_context *ctx, int64_t bytes);
void gr_release(gr_context *ctx, void *memory, int64_t bytes);

/* Returns zeroed bytes that live until gr_block_free or the end of the context. NULL (and
   MEMORY). */
void *gr_block_new(gr_context *ctx, int64_t bytes);
void gr_block_free(gr_context *ctx, void *memory); /* takes NULL */

/* Returns zeroed bytes that are freed with the innermost scope. NULL (and MEMORY). */
void *gr_arena_cut(gr_context *ctx, int64_t bytes);

/* The elements of a tensor. A buffer goes back to the pool with the last member that holds it.
   version counts the writes after the buffer was first filled. writer, file and line describe the
   last write. */
struct gr_buffer {
    char *bytes; /* aligned to 64 */
    int64_t size;
    int64_t holders;
    int64_t version;
    const char *writer, *file;
    int line;
    int size_class;
    gr_buffer *next; /* in the pool */
};

/* Returns a buffer of at least `bytes` bytes with one holder. Its contents are undefined. NULL (and
   MEMORY). */
gr_buffer *gr_buffer_new(gr_context *ctx, int64_t bytes);
static inline void gr_buffer_hold(gr_buffer *buffer) { buffer->holders++; }
void gr_buffer_drop(gr_context *ctx, gr_buffer *buffer); /* takes NULL */

/* Counts a write. writer and file are static texts. file may be NULL. */
void gr_buffer_wrote(gr_buffer *buffer, const char *writer, const char *file, int line);

/* ---- Members --------------------------------------------------------------------------------- */

/* A scope owns members. A tensor's header begins with one. The memory of a member belongs to the
   context until the context ends, and is used again for later members. generation counts these
   uses, so that a handle to an earlier use is detected. It wraps around: after GR_GENERATIONS - 1
   scopes an old handle may pass as a new one. */
enum { GR_LIVE = 1, GR_DEAD, GR_FAILED };
enum { GR_MEMBER_BYTES = 256, GR_GENERATIONS = GR_MEMBER_BYTES };

struct gr_member {
    uint8_t state; /* GR_LIVE, GR_DEAD or GR_FAILED */
    uint8_t generation;
    gr_context *ctx;
    gr_scope *scope;
    gr_member *next, *previous; /* in its scope */
    gr_buffer *buffer;          /* the member is one of its holders; may be NULL */
};

/* Returns a live member of that scope: GR_MEMBER_BYTES long, and aligned to that. The bytes after
   the fields above are undefined. NULL (and MEMORY). */
gr_member *gr_member_new(gr_scope *scope);

/* Ends a member before its scope ends. */
void gr_member_free(gr_member *member);

/* Ends all members of a scope. */
void gr_members_end(gr_scope *scope);

/* Ends a member whose handle nobody has seen. It may be used again at once, with the same
   generation. */
void gr_member_unmake(gr_member *member);

/* Moves a member of an internal scope to another scope. */
void gr_member_move(gr_member *member, gr_scope *to);

/* ---- Scopes ---------------------------------------------------------------------------------- */

struct gr_scope {
    gr_context *ctx;
    gr_scope *outer;    /* NULL for the root */
    gr_member *members; /* newest first */
    gr_chunk *chunk;    /* top of the arena when the scope began */
    int64_t used;
    struct gr_entry *last; /* the youngest kept entry when it began */
    int no_grad;           /* depth of no_grad brackets when it began */
    bool internal;         /* opened by the library: no user has seen its members */
    bool inside_check;     /* lies in a scope of gr_scope_begin_check */
};

/* gr_scope_begin for a check (gr_hessian, gr_gradcheck), which ends many scopes. The members of
   this scope and of those that begin in it have an idle list of their own. So a check does not use
   up the generations of members that the user knew before. */
GR_CHECKED gr_status gr_scope_begin_check(gr_context *ctx);

/* Opens an internal scope as the innermost one. NULL (and MEMORY). */
gr_scope *gr_scope_open(gr_context *ctx);

/* Ends all scopes from the innermost one up to and including `scope`. Takes NULL. */
void gr_scope_close(gr_scope *scope);

/* These two surround a call of the user's function or rule. The user's code cannot end the scopes
   that are open before the call. leave ends the scopes that the user's code left open, and returns
   false if there were any. */
typedef struct gr_floor {
    gr_scope *scope;
    int lost_scopes; /* of the user, outside the call */
} gr_floor;
gr_floor gr_floor_enter(gr_context *ctx);
bool gr_floor_leave(gr_context *ctx, gr_floor former);

/* ---- The context ----------------------------------------------------------------------------- */

/* Sizes start at 64 bytes. There are four size classes for each power of two. */
enum { GR_SIZE_CLASSES = 4 * 57 };

/* A context refuses more threads than this. */
enum { GR_MOST_THREADS = 256 };

/* Memory that a context keeps so that it can use it again. */
typedef struct gr_pool {
    gr_buffer *buffers[GR_SIZE_CLASSES];
    int32_t count[GR_SIZE_CLASSES];    /* number of idle buffers */
    int32_t least[GR_SIZE_CLASSES];    /* smallest count since the last trim */
    gr_buffer *headers;                /* headers of buffers, without bytes */
    gr_member *members, *internal;     /* dead members of user scopes, of internal scopes */
    gr_member *checked;                /* of user scopes inside a check */
    gr_member *waiting, *last_waiting; /* of the user's, freed since a scope ended, oldest first */
    int32_t waiting_count;
    gr_chunk *slabs; /* headers and members are cut from these */
} gr_pool;

typedef struct gr_arena {
    gr_chunk *top;   /* the chunk in use; older chunks are below it */
    gr_chunk *spare; /* empty chunks to use next */
} gr_arena;

/* The engine's part of the context. */
typedef struct gr_program {
    int64_t serial;        /* of the next entry; only increases */
    int64_t sweeps;        /* number of sweeps so far */
    int64_t visited;       /* entries that sweeps have visited so far; for tests of their cost */
    int no_grad;           /* depth of no_grad brackets */
    int rules_running;     /* gradient rules on the C stack */
    bool keep_all;         /* keep entries even if no gradient may need them */
    struct gr_entry *last; /* the youngest kept entry */
} gr_program;

struct gr_context {
    gr_allocator allocator;
    gr_memory_report memory;
    const gr_kernels *kernels;
    int threads;
    bool broken; /* creation failed: every call fails */

    gr_status error;
    char message[512];
    bool place_known, handler_due;
    int handler_held; /* depth of gr_hold_handler */
    gr_error_handler *handler;
    void *handler_data;
    const char *doing; /* the running call, for messages about memory */
    gr_tensor *failed;

    gr_scope *root, *scope;
    gr_scope *floor;      /* the innermost scope that gr_scope_end must not end */
    int lost_scopes;      /* scopes that failed to begin; their ends do nothing */
    int64_t ended_scopes; /* user scopes that have ended */
    gr_pool pool;
    gr_arena arena;
    gr_block *blocks;

    uint64_t seed, stream;
    gr_program program;
};

/* Fills a context in memory of `bytes` bytes. Its failed tensor is already set. If creation fails,
   the context is broken and keeps the error. */
void gr_context_begin(gr_context *ctx, int64_t bytes, const gr_context_options *options);

/* Releases everything that the context holds, but not the context itself. */
void gr_context_end(gr_context *ctx);

/* Returns the allocator of the options, or the system's allocator. */
const gr_allocator *gr_allocator_of(const gr_context_options *options);

/* ---- Errors ---------------------------------------------------------------------------------- */

/* Keeps the error if it is the first one. Puts "op: " before the message. Returns status. */
gr_status gr_fail(gr_context *ctx, gr_status status, const char *op, const char *format, ...)
    GR_PRINTF(4, 5);

/* Does the same and returns the context's failed tensor. */
gr_tensor *gr_fail_tensor(gr_context *ctx, gr_status status, const char *op, const char *format,
                          ...) GR_PRINTF(4, 5);

/* Returns from_defaults. If it is false, keeps an ARGUMENT: a struct of options was not begun by
   gr_NAME_defaults. */
bool gr_check_defaults(gr_context *ctx, const char *op, bool from_defaults, const char *name);

/* Between these two the handler is not called. They nest. A handler may leave with longjmp, and
   then open scopes would stay open. */
void gr_hold_handler(gr_context *ctx);
void gr_resume_handler(gr_context *ctx);

/* Passes a notice to the handler if there is one. A notice is not an error. */
void gr_note(gr_context *ctx, const char *message);

/* Each call that returns a status ends with this. Calls the handler if an error waits for it and
   nothing holds it. Returns the context's first error. */
gr_status gr_finish(gr_context *ctx);

/* Appends " (file:line)" to the message if its place is not yet known. file may be NULL. */
void gr_place_error(gr_context *ctx, const char *file, int line);

/* Calls both at the end of a call whose place is known. */
static inline gr_status gr_finish_at(gr_context *ctx, const char *file, int line)
{
    if (file)
        gr_place_error(ctx, file, line);
    return gr_finish(ctx);
}

/* ---- Threads --------------------------------------------------------------------------------- */

/* Returns the number of threads for a pass that costs as much as this many additions. */
int gr_threads_for(const gr_context *ctx, int64_t elements);

/* Calls part(state, i) for each i in [0, parts), in any order, with at most `threads` threads. */
typedef void gr_part(void *state, int64_t i);
void gr_parallel_for(int threads, int64_t parts, gr_part *part, void *state);

/* ---- Random bits ----------------------------------------------------------------------------- */

/* Returns four words that depend only on the three numbers. */
typedef struct gr_words {
    uint32_t at[4];
} gr_words;
gr_words gr_philox(uint64_t seed, uint64_t stream, uint64_t index);

#endif
