/* stage_keeper.h - a later stage's file of a session: written, woken and removed as the first stage says
 * (stage_session.h). Private to src/llm. */
#ifndef FV_STAGE_KEEPER_H
#define FV_STAGE_KEEPER_H

#include "fovea/sequence.h"
#include "llm/stage_wire.h"

/* Whether all numbers and the name in such a message can be, for stage `index` of the model. */
bool fv_stage_keeper_takes(const fv_stage_message *message, const fv_llm *llm, uint32_t index);

/* Does what it says. */
fv_status fv_stage_keeper_run(fv_sequence *sequence, const fv_stage_message *message, uint32_t index,
                              fv_message *fault);

#endif
