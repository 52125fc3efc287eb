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

/* Steps of one stepper that are in the other stages at the same time, each with results of its own; where all layers
 * are here, one is over before the next begins. What computes is the caller's to keep apart: `begin` and `logits` of
 * all lanes of a stepper one after the other, `end` at any time, and nothing else of the stepper. */
typedef struct fv_stepper_lane fv_stepper_lane;

uint32_t fv_stepper_lanes(const fv_stepper *stepper);                        /* that are of use */
fv_status fv_stepper_lane_open(fv_stepper_lane **lane, fv_stepper *stepper); /* FV_OK, FV_ERROR_MEMORY */
void fv_stepper_lane_close(fv_stepper_lane *lane);                           /* before the stepper; NULL is allowed */

/* fv_stepper_run_rest(), what other stages do left out; then that, which changes outcomes. */
fv_status fv_stepper_lane_begin(fv_stepper_lane *lane, const fv_step_part *parts, size_t count,
                                fv_part_outcome *outcomes, uint32_t *first_rows);
fv_status fv_stepper_lane_end(fv_stepper_lane *lane, fv_part_outcome *outcomes);

/* fv_stepper_logits() of last rows of parts. */
fv_status fv_stepper_lane_logits(fv_stepper_lane *lane, const uint32_t *rows, size_t count, float *logits);

/* Rows of its last step as the next stage reads them, or normed after the last layer: [rows][width]. */
const float *fv_stepper_stream(const fv_stepper *stepper);

/* Logits of rows that follow each other: fv_model_logits(). */
fv_status fv_stepper_logits_run(fv_stepper *stepper, uint32_t first_row, uint32_t rows, float *logits);

#endif
