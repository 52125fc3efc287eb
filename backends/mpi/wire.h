/* wire.h - messages between the ranks of a job, as a table of functions: wire_mpi.c fills it with MPI, a test with
 * queues of one process. No call waits, but for start() and finish(); one thread at a time calls. */
#ifndef FV_WIRE_H
#define FV_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FV_WIRE_VERSION 1u /* of this table: a module of another version is refused */
#define FV_WIRE_MOST_RANKS 1024u
#define FV_WIRE_HOST_BYTES 128               /* of a host's name, with its zero */
#define FV_WIRE_TEXT_BYTES 256               /* of what went wrong, with its zero */
#define FV_WIRE_MOST_BYTES ((size_t)1 << 30) /* of a message */

/** Messages of one channel arrive in the order in which a rank sent them. */
typedef enum fv_wire_channel {
    FV_WIRE_WORK, /* what is computed with */
    FV_WIRE_WORD, /* pulses, faults, the end: never after work that nobody takes yet */
    FV_WIRE_CHANNELS
} fv_wire_channel;

typedef struct fv_wire_self {
    uint32_t rank, ranks;
    char host[FV_WIRE_HOST_BYTES];
} fv_wire_self;

/** false: it failed, and error() says why. */
typedef struct fv_wire_table {
    uint32_t version;
    const char *name; /* of the library, "MPICH" */
    bool (*start)(void **context, fv_wire_self *self);
    /* A message goes; bytes [size] stay where they are until it is done. It is done when its receiver has begun to take
     * it. */
    bool (*send)(void *context, uint32_t to, fv_wire_channel channel, const void *bytes, size_t size, void **request);
    /* The next message that is there: from whom, how long; *message NULL: there is none. One that was told is taken. */
    bool (*arrived)(void *context, fv_wire_channel channel, uint32_t *from, size_t *size, void **message);
    bool (*take)(void *context, void *message, void *bytes, size_t size, void **request);
    /* *done: it is over, and `request` is gone. */
    bool (*done)(void *context, void *request, bool *done);
    const char *(*error)(void *context);      /* of the last call that failed; context may be NULL after start() */
    void (*end_all)(void *context, int code); /* ends every rank at once, also this one */
    void (*finish)(void *context);            /* all ranks together */
} fv_wire_table;

/** What a module of this program exports. */
#define FV_WIRE_ENTRY "fv_wire_module"
typedef const fv_wire_table *fv_wire_entry(void);

#endif
