/* stage_hub.h - the first stage's end of the ring: what was sent and is not answered, whose answer it is, and which
 * parts of steps failed later. Knows numbers of sequences and steppers, and nothing else of them. Thread-safe. Private
 * to src/llm. */
#ifndef FV_STAGE_HUB_H
#define FV_STAGE_HUB_H

#include "llm/stage_wire.h"

typedef struct fv_stage_hub fv_stage_hub;

/* Where an answer goes. Start from {0}; stays where it is until it came or fv_stage_hub_forget(). */
typedef struct fv_stage_slot {
    uint64_t ticket;         /* of what was sent last; answers of what was sent before are dropped */
    fv_stage_message answer; /* of this ticket, once it came */
} fv_stage_slot;

/* A part of a step that failed in a later stage. */
typedef struct fv_stage_failure {
    uint32_t stepper, sequence, position; /* tokens that the sequence must have now */
    fv_part_outcome outcome;              /* of a part that failed with its step and not by itself: no place */
} fv_stage_failure;

/* width: of rows. The link is copied. */
fv_status fv_stage_hub_open(fv_stage_hub **hub, const fv_stage_link *link, uint32_t stages, size_t width,
                            fv_message *message);
void fv_stage_hub_close(fv_stage_hub *hub, bool tell); /* NULL is allowed; tell: the others to end */
uint32_t fv_stage_hub_stages(const fv_stage_hub *hub);

/* A number that nobody has had; `holder` is found by it. FV_OK, FV_ERROR_MEMORY. */
fv_status fv_stage_hub_enter(fv_stage_hub *hub, void *holder, uint32_t *number);
void fv_stage_hub_leave(fv_stage_hub *hub, uint32_t number);
void fv_stage_hub_move(fv_stage_hub *hub, uint32_t number, void *holder);
void *fv_stage_hub_holder(fv_stage_hub *hub, uint32_t number); /* NULL: nobody */

/* Sends; waits for older answers where too much is on its way. slot: NULL: nobody looks at the answer. together: the
 * parts of a step fail with each other. *ticket (NULL: not wanted): for fv_stage_hub_wait(). */
fv_status fv_stage_hub_send(fv_stage_hub *hub, fv_stage_message *message, fv_stage_slot *slot, bool together,
                            uint64_t *ticket);

/* Until the answer to `ticket`, and so those before, are here. FV_OK, or the status of the link that is of no use. */
fv_status fv_stage_hub_wait(fv_stage_hub *hub, uint64_t ticket);

/* Sends and waits; the message is the answer then. What the link says, else the answer's status. */
fv_status fv_stage_hub_ask(fv_stage_hub *hub, fv_stage_message *message);

void fv_stage_hub_forget(fv_stage_hub *hub, fv_stage_slot *slot); /* frees what it has */

/* A failure that is known by now, of steps of a stepper or of a sequence (the other number is 0). Takes it off the
 * list. false: there is none. */
bool fv_stage_hub_failed(fv_stage_hub *hub, uint32_t stepper, uint32_t sequence, fv_stage_failure *failure);

/* Whether there is one; it stays. */
bool fv_stage_hub_has_failed(fv_stage_hub *hub, uint32_t stepper, uint32_t sequence);

/* The sentence of a link that is of no use. Returns `status`. */
fv_status fv_stage_hub_explain(fv_stage_hub *hub, fv_status status, fv_message *message);

#endif
