/* worker.h - the thread that steps the model: all answers at work go on in one step, chunks of prompts between. */
#ifndef FV_WORKER_H
#define FV_WORKER_H

#include "request.h"
#include "slot_action.h"

typedef struct fv_worker fv_worker;

/** What it did, and what it does now. */
typedef struct fv_worker_counts {
    uint64_t prompt_tokens, cached_tokens, answer_tokens, prompt_ns, answer_ns; /* of requests that ended */
    uint64_t requests, steps, rows, guessed, right;
    uint64_t keys_visible, keys_read, bytes_read;
    uint32_t working, waiting;
    uint64_t cache_tokens, cache_bytes;
} fv_worker_counts;

/** A slot as it is now. */
typedef struct fv_worker_slot {
    bool works;
    char id[40]; /* of the request */
    uint64_t tokens, prompt_tokens, read_tokens, answer_tokens;
} fv_worker_slot;

fv_status fv_worker_open(fv_worker **worker, const fv_server *server, fv_message *message);
/** What is still asked for, and what comes later, is told that the server is stopping; then slots are kept, if they are
 *  to be: what fv_slots_keep() returns. */
fv_status fv_worker_stop(fv_worker *worker, fv_message *message);
void fv_worker_close(fv_worker *worker); /* stops it; NULL is allowed */

/** Takes a request that is prepared; where the line is full it is told so. */
void fv_worker_put(fv_worker *worker, fv_request *request);

/** Takes it; it is done between two steps. */
void fv_worker_act(fv_worker *worker, fv_slot_action *action);

void fv_worker_look(fv_worker *worker, fv_worker_counts *counts, fv_worker_slot *slots);

#endif
