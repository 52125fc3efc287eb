/* stage_session.h - saving and waking where several stages have a sequence's layers: what the first one does and tells
 * the others (stage_keeper.h). fv_sequence_save() and fv_sequence_wake() return what these return. All files of a save
 * have its stamp, and the first stage's takes its name last: until then the save before it is there whole. Private to
 * src/llm. */
#ifndef FV_STAGE_SESSION_H
#define FV_STAGE_SESSION_H

#include "fovea/session_file.h"

fv_status fv_stage_session_save(fv_sequence *sequence, const char *path, uint32_t end, fv_message *message);

/* Whether the file was saved with the layers of the stages that there are. */
fv_status fv_stage_session_fits(const fv_sequence *sequence, const fv_session_file *file, fv_message *message);

/* The sequence, which is empty in the other stages, holds there what their files have. */
fv_status fv_stage_session_wake(fv_sequence *sequence, const fv_session_file *file, uint32_t tokens,
                                fv_message *message);

#endif
