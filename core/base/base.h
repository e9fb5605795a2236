/* base.h - the context and what it gives to every room: errors, memory, scopes, threads, random
 * bits. It knows no tensor: a scope holds members, whatever they are.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_BASE_H
#define GRADUS_BASE_H

#ifndef GR_NO_PLACES
#define GR_NO_PLACES /* inside the library a call's place is its user's */
#endif
#include <gradus/core.h>
#include "kernels/kernels.h"

typedef struct gr_scope gr_scope;
typedef struct gr_member gr_member;
typedef struct gr_buffer gr_buffer;
typedef struct gr_chunk gr_chunk;
typedef struct gr_block gr_block;

/* ---- Memory ---------------------------------------------------------------------------------- */

/* Bytes from the context's allocator, aligned to 64; NULL (and the error MEMORY) if there are none.
   Every allocation of the library goes through these two. release takes NULL. */
void *gr_allocate(gr_context *ctx, int64_t bytes);
void gr_release(gr_context *ctx, void *memory, int64_t bytes);

/* Zeroed bytes that live until gr_block_free or the end of the context; NULL (and MEMORY). */
void *gr_block_new(gr_context *ctx, int64_t bytes);
void gr_block_free(gr_context *ctx, void *memory); /* takes NULL */

/* Zeroed bytes that die with the innermost scope; NULL (and MEMORY). */
void *gr_arena_cut(gr_context *ctx, int64_t bytes);

/* The elements of a tensor. A buffer dies with the last member that holds it, and goes back to the
   pool. version counts the writes after it was filled; writer, file and line say who wrote last. */
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

/* At least `bytes` bytes, contents undefined, held once; NULL (and MEMORY). */
gr_buffer *gr_buffer_new(gr_context *ctx, int64_t bytes);
static inline void gr_buffer_hold(gr_buffer *buffer) { buffer->holders++; }
void gr_buffer_drop(gr_context *ctx, gr_buffer *buffer); /* takes NULL */

/* Counts a write. writer and file are static texts; file may be NULL. */
void gr_buffer_wrote(gr_buffer *buffer, const char *writer, const char *file, int line);

/* ---- Members --------------------------------------------------------------------------------- */

/* What a scope owns one by one: a tensor's header begins with it. Its memory belongs to the context
   until the context ends, and is used again for later members. generation counts the uses, so that
   a handle that is too old is noticed: GR_GENERATIONS - 1 scopes have to end before one is not. */
enum { GR_LIVE = 1, GR_DEAD, GR_FAILED };
enum { GR_MEMBER_BYTES = 256, GR_GENERATIONS = GR_MEMBER_BYTES };

struct gr_member {
    uint8_t state; /* GR_LIVE, or what became of it */
    uint8_t generation;
    gr_context *ctx;
    gr_scope *scope;
    gr_member *next, *previous; /* in its scope */
    gr_buffer *buffer;          /* held, or NULL */
};

/* A live member of that scope, GR_MEMBER_BYTES long, aligned to that; what lies behind the fields
   above is undefined. NULL (and MEMORY). */
gr_member *gr_member_new(gr_scope *scope);

/* Ends one member before its scope does. */
void gr_member_free(gr_member *member);

/* Ends all members of a scope. */
void gr_members_end(gr_scope *scope);

/* Gives a member of an internal scope to another one. */
void gr_member_move(gr_member *member, gr_scope *to);

/* ---- Scopes ---------------------------------------------------------------------------------- */

struct gr_scope {
    gr_context *ctx;
    gr_scope *outer;       /* NULL: the root */
    gr_member *members;    /* newest first */
    gr_chunk *chunk;       /* where the arena stood when it began */
    int64_t used;
    struct gr_entry *last; /* the youngest kept entry when it began */
    int no_grad;           /* depth of the brackets when it began */
    bool internal;         /* the library's own: no user has seen its members */
};

/* Opens a scope of the library's own, innermost; NULL (and MEMORY). */
gr_scope *gr_scope_open(gr_context *ctx);

/* Ends the innermost scopes down to `scope`, and that one. Takes NULL. */
void gr_scope_close(gr_scope *scope);

/* Around a call of the user's function or rule: the scopes that are open stay open, and those that
   it leaves open are ended. leave is false if there were any. */
typedef struct gr_floor {
    gr_scope *scope;
    int lost_scopes; /* of the user, outside the call */
} gr_floor;
gr_floor gr_floor_enter(gr_context *ctx);
bool gr_floor_leave(gr_context *ctx, gr_floor former);

/* ---- The context ----------------------------------------------------------------------------- */

/* Four size classes to a power of two, from 64 bytes on. */
enum { GR_SIZE_CLASSES = 4 * 57 };

/* More threads than that are refused. */
enum { GR_MOST_THREADS = 256 };

/* Memory that a context keeps for its next needs. */
typedef struct gr_pool {
    gr_buffer *buffers[GR_SIZE_CLASSES];
    int32_t count[GR_SIZE_CLASSES]; /* that lie idle */
    int32_t least[GR_SIZE_CLASSES]; /* the fewest that lay idle since the last trim */
    gr_buffer *headers;             /* of buffers, without bytes */
    gr_member *members, *internal;  /* dead ones of the user's scopes, and of internal scopes */
    gr_member *waiting, *last_waiting; /* of the user's, freed since a scope ended, oldest first */
    int32_t waiting_count;
    gr_chunk *slabs;                /* that headers and members are cut from */
} gr_pool;

typedef struct gr_arena {
    gr_chunk *top;   /* the chunk in use; below it the earlier ones */
    gr_chunk *spare; /* chunks to use next */
} gr_arena;

/* The engine's part of the context. */
typedef struct gr_program {
    int64_t serial;       /* of the next entry; never goes back */
    int64_t sweeps;       /* so far */
    int64_t visited;      /* entries that sweeps have met so far, for tests of their cost */
    int no_grad;          /* depth of brackets */
    int rules_running;    /* gradient rules on the C stack */
    bool keep_all;        /* entries are kept whether a gradient may need them or not */
    struct gr_entry *last; /* the youngest kept entry */
} gr_program;

struct gr_context {
    gr_allocator allocator;
    gr_memory_report memory;
    const gr_kernels *kernels;
    int threads;
    bool broken; /* could not be made: nothing works */

    gr_status error;
    char message[512];
    bool place_known, handler_due;
    int handler_held; /* depth of gr_hold_handler */
    gr_error_handler *handler;
    void *handler_data;
    const char *doing; /* the call that runs, for messages of memory */
    gr_tensor *failed;

    gr_scope *root, *scope;
    gr_scope *floor;      /* the innermost scope that gr_scope_end may not end */
    int lost_scopes;      /* begun without memory, to be ended without effect */
    int64_t ended_scopes; /* of the user */
    gr_pool pool;
    gr_arena arena;
    gr_block *blocks;

    uint64_t seed, stream;
    gr_program program;
};

/* Fills a context that lies in memory of `bytes` bytes; its failed tensor is set before. Where it
   cannot be made it is broken and keeps the reason. */
void gr_context_begin(gr_context *ctx, int64_t bytes, const gr_context_options *options);

/* Gives back all that the context holds but itself. */
void gr_context_end(gr_context *ctx);

/* What the options say, or the system's allocator. */
const gr_allocator *gr_allocator_of(const gr_context_options *options);

/* ---- Errors ---------------------------------------------------------------------------------- */

/* Keeps the error if it is the first; "op: " goes before the message. Returns status. */
gr_status gr_fail(gr_context *ctx, gr_status status, const char *op, const char *format, ...)
    GR_PRINTF(4, 5);

/* The same, and the context's failed tensor. */
gr_tensor *gr_fail_tensor(gr_context *ctx, gr_status status, const char *op, const char *format,
                          ...) GR_PRINTF(4, 5);

/* Between these, which nest, the handler waits: it may not come back, and what is open would stay
   open. */
void gr_hold_handler(gr_context *ctx);
void gr_resume_handler(gr_context *ctx);

/* Gives the handler, if there is one, a notice that is no error. */
void gr_note(gr_context *ctx, const char *message);

/* At the end of a call that returns a status: calls the handler if one is due and nothing holds it;
   returns the context's first error. */
gr_status gr_finish(gr_context *ctx);

/* Appends " (file:line)" to the message if its place is not known yet. file may be NULL. */
void gr_place_error(gr_context *ctx, const char *file, int line);

/* Both at the end of a call whose place is known. */
static inline gr_status gr_finish_at(gr_context *ctx, const char *file, int line)
{
    if (file)
        gr_place_error(ctx, file, line);
    return gr_finish(ctx);
}

/* ---- Threads --------------------------------------------------------------------------------- */

/* How many threads a pass is worth that costs as much as so many elements' additions. */
int gr_threads_for(const gr_context *ctx, int64_t elements);

/* Calls part(state, i) for each i in [0, parts), in any order, by at most so many threads. */
typedef void gr_part(void *state, int64_t i);
void gr_parallel_for(int threads, int64_t parts, gr_part *part, void *state);

/* ---- Random bits ----------------------------------------------------------------------------- */

/* Four words that depend on nothing but the three numbers. */
typedef struct gr_words {
    uint32_t at[4];
} gr_words;
gr_words gr_philox(uint64_t seed, uint64_t stream, uint64_t index);

#endif
