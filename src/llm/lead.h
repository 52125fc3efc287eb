/* lead.h - what rank 0 does to sequences and steppers, done by the ranks that hold their contexts with it. Goes over
 * the exchange itself: a length, then a message as between stages (stage_wire.h). Without a lead all of it does
 * nothing. Private to src/llm. */
#ifndef FV_LEAD_H
#define FV_LEAD_H

#include "fovea/step.h"
#include "llm/divided.h"
#include "llm/stage_wire.h"

typedef struct fv_lead fv_lead;

/* Memory of messages on their way. Start from {0}; free() it. */
typedef struct fv_call_room {
    void *memory;
    size_t bytes;
} fv_call_room;

/* Rank 0's message goes to all others, whose `message` it becomes. FV_OK, FV_ERROR_MEMORY, FV_ERROR_CORRUPT, what the
 * exchange returns. */
fv_status fv_call_pass(const fv_exchange *exchange, fv_call_room *room, fv_stage_message *message);

/* Around a call that is told and what it exchanges: one after the other, whatever threads they come from. Nest. */
void fv_lead_begin(const fv_llm *llm);
void fv_lead_end(const fv_llm *llm);

/* Tells of one; inside of begin and end. *number: of what is opened, out. */
fv_status fv_lead_open(const fv_llm *llm, fv_stage_kind kind, uint32_t parts, const fv_session_config *config,
                       uint32_t *number);
fv_status fv_lead_policy(const fv_llm *llm, uint32_t number, const fv_session_config *config);
fv_status fv_lead_tell(const fv_llm *llm, fv_stage_kind kind, uint32_t number, uint32_t count);
fv_status fv_lead_step(const fv_llm *llm, fv_stage_kind kind, uint32_t number, const fv_step_part *parts, size_t count);

/* From now on the ranks of llm->exchange are told. FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY. */
fv_status fv_lead_make(fv_llm *llm, fv_message *message);

/* The others are told to end. NULL is allowed. */
void fv_lead_close(fv_lead *lead);

#endif
