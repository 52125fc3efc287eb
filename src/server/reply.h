/* reply.h - what goes to one client: a status, then bytes, from whichever thread has them to the one of HTTP. Nobody
 * who writes waits for who reads. */
#ifndef FV_REPLY_H
#define FV_REPLY_H

#include "json_text.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define FV_REPLY_JSON "application/json; charset=utf-8"
#define FV_REPLY_SSE "text/event-stream; charset=utf-8"
#define FV_REPLY_NDJSON "application/x-ndjson"

/** Called with the lock of the reply. */
typedef struct fv_reply_peer {
    void (*wake)(void *context);     /* what it waits for has come */
    bool (*is_there)(void *context); /* while it waits */
    void *context;
} fv_reply_peer;

typedef struct fv_reply {
    pthread_mutex_t lock;
    atomic_uint holders;
    /* with the lock: */
    unsigned status;  /* 0: not known yet */
    const char *type; /* static */
    bool streamed;    /* bytes go out as they come */
    bool plain_error; /* {"error": TEXT}, as Ollama words it; set before anybody answers */
    bool ended, gone, waiting;
    fv_text bytes;
    size_t taken;  /* of them, by the reader */
    uint64_t sent; /* taken in all */
    fv_reply_peer peer;
    uint64_t prompt_tokens, cached_tokens, answer_tokens; /* for the access log */
} fv_reply;

fv_reply *fv_reply_new(void); /* one holder; NULL: no memory */
void fv_reply_hold(fv_reply *reply);
void fv_reply_drop(fv_reply *reply); /* the last holder's frees it; NULL is allowed */

/* ---- who answers ---- */

/** A whole answer; drops the document's reference. Nothing if one began already. */
void fv_reply_json(fv_reply *reply, unsigned status, json_t *document);
void fv_reply_text(fv_reply *reply, unsigned status, const char *type, const char *bytes, size_t length);

/** {"error":{"code","message","type"}}, or a plain one; where a stream runs, its last event. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
void fv_reply_error(fv_reply *reply, unsigned status, const char *format, ...);

void fv_reply_stream(fv_reply *reply, const char *type); /* begins: 200 */
void fv_reply_write(fv_reply *reply, const char *bytes, size_t length);
/* An array: several, each with the name that is its "type". */
void fv_reply_event(fv_reply *reply, json_t *document); /* "data: ...\n\n", or a line of NDJSON; drops the reference */
void fv_reply_end(fv_reply *reply);
bool fv_reply_began(fv_reply *reply);

/** Whether nobody will read it any more. */
bool fv_reply_gone(fv_reply *reply);
void fv_reply_used(fv_reply *reply, uint64_t prompt, uint64_t cached, uint64_t answer);

/* ---- who reads ---- */

/** Whether there is something to do: a whole answer, a stream's beginning or, of one that began (`reading`), bytes or
 *  the end. Else the peer will be woken, once. `wait` is called with the lock where that is so. */
bool fv_reply_await(fv_reply *reply, bool reading, void (*wait)(void *context));
/** Copies up to `most` bytes. 0: none now; *ended: none ever. */
size_t fv_reply_read(fv_reply *reply, char *bytes, size_t most, bool *ended);
void fv_reply_leave(fv_reply *reply); /* the reader is gone */

#endif
