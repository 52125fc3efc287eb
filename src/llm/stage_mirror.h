/* stage_mirror.h - what the first stage does to sequences and steppers, done in all others. Private to src/llm. */
#ifndef FV_STAGE_MIRROR_H
#define FV_STAGE_MIRROR_H

#include "llm/stage_hub.h"

/* Opens a sequence or a stepper (`kind`), or gives a sequence the policy of `config`. FV_OK or why not, with a sentence
 * where there is one. */
fv_status fv_stage_mirror_open(fv_stage_hub *hub, fv_stage_kind kind, uint32_t number, uint32_t parts,
                               const fv_session_config *config, fv_message *message);

/* One sequence holds what another holds; has only `tokens` tokens from now on. */
fv_status fv_stage_mirror_fill(fv_stage_hub *hub, uint32_t number, uint32_t from);
fv_status fv_stage_mirror_cut(fv_stage_hub *hub, uint32_t number, uint32_t tokens);

/* Adds the reports of all other stages. */
fv_status fv_stage_mirror_report(fv_stage_hub *hub, uint32_t number, fv_report *report);

/* What can't fail: closing, a report at zero. */
void fv_stage_mirror_tell(fv_stage_hub *hub, fv_stage_kind kind, uint32_t number);

#endif
