/* stage_steps.h - a stepper's steps on their way through the other stages. Private to src/llm. */
#ifndef FV_STAGE_STEPS_H
#define FV_STAGE_STEPS_H

#include "fovea/step.h"
#include "llm/stage_hub.h"

typedef struct fv_stage_steps fv_stage_steps;

/* Steppers for at most `parts` parts in all other stages. width: of rows. FV_OK, FV_ERROR_MEMORY, what they say. */
fv_status fv_stage_steps_open(fv_stage_steps **steps, fv_stage_hub *hub, const fv_session_config *config,
                              uint32_t parts, uint32_t width, fv_message *message);
/* A second one over the same steppers, with steps of its own on their way: of parts that fail alone, and of which the
 * last rows alone are asked for. Is closed before the first. */
fv_status fv_stage_steps_open_beside(fv_stage_steps **steps, const fv_stage_steps *first);
void fv_stage_steps_close(fv_stage_steps *steps); /* NULL is allowed; after steps that are on their way */

/* Hands on the rows of a step that was made here and whose tokens are in the sequences. outcomes: NULL, or what became
 * of each part here: those that failed stay. together: parts fail with each other. */
fv_status fv_stage_steps_send(fv_stage_steps *steps, const fv_step_part *parts, size_t count,
                              const fv_part_outcome *outcomes, const float *rows, bool together);

/* There is no step whose rows can be asked for. */
void fv_stage_steps_drop(fv_stage_steps *steps);

/* Waits for all that was sent. Sequences of steps that failed go back, in all stages: FV_OK, or a failure's status and
 * in *fault where it was, if it has a place. outcomes: NULL, or [count] as they were sent: failures are written. */
fv_status fv_stage_steps_await(fv_stage_steps *steps, fv_model_fault *fault, fv_part_outcome *outcomes);

/* The same if a failure is known by now; FV_OK and no waiting else. */
fv_status fv_stage_steps_look(fv_stage_steps *steps, fv_model_fault *fault);

uint32_t fv_stage_steps_count(const fv_stage_steps *steps); /* rows of the last step */

/* Normed rows of the last step that nothing has failed of unknown: after fv_stage_steps_await(). rows: NULL: from
 * `first` on. out [count][width]. FV_OK, FV_ERROR_ARGUMENT (no such row, or its part failed), what the link says. */
fv_status fv_stage_steps_rows(fv_stage_steps *steps, const uint32_t *rows, uint32_t first, uint32_t count, float *out);

#endif
