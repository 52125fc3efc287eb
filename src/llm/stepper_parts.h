/* stepper_parts.h - steppers for less than their users may ask of one: of few parts, rows that follow each other.
 * Private to src/llm. */
#ifndef FV_STEPPER_PARTS_H
#define FV_STEPPER_PARTS_H

#include "fovea/step.h"

/* fv_stepper_open() for steps of at most `parts` parts: memory of attention is less for one. */
fv_status fv_stepper_open_parts(fv_stepper **stepper, const fv_llm *llm, const fv_session_config *config,
                                uint32_t parts, fv_pool *pool, fv_message *message);

/* fv_stepper_run_rest() of a later stage, whose parts have rows [count][width] in place of ids. */
fv_status fv_stepper_run_rows(fv_stepper *stepper, const fv_step_part *parts, const float *const *inputs, size_t count,
                              fv_part_outcome *outcomes, uint32_t *first_rows);

/* Rows of its last step as the next stage reads them, or normed after the last layer: [rows][width]. */
const float *fv_stepper_stream(const fv_stepper *stepper);

/* fv_sequence_feed_prompt() with `later` tokens to come; UINT64_MAX: fv_sequence_feed(). */
fv_status fv_sequence_feed_piece(fv_sequence *sequence, fv_stepper *stepper, const int32_t *tokens, size_t count,
                                 uint64_t later, fv_session_progress_fn *progress, void *context);

/* Logits of rows that follow each other: fv_model_logits(). */
fv_status fv_stepper_logits_run(fv_stepper *stepper, uint32_t first_row, uint32_t rows, float *logits);

#endif
