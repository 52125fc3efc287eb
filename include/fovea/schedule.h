/* schedule.h - many threads, one model: what they want evaluated at the same time is put together into steps, so that
 * the weights are read once for all of them. Hosted. How structs may change: docs/abi.md. */
#ifndef FOVEA_SCHEDULE_H
#define FOVEA_SCHEDULE_H

#include "fovea/api.h"
#include "fovea/step.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A stepper that any number of threads may share. No thread of its own: a waiting caller runs the steps. */
typedef struct fv_schedule fv_schedule;

/**
 * stepper       is the schedule's alone until it is closed; not owned.
 * chunk_tokens  most tokens of prompts in one step, and so the longest that a running answer waits; 0: 256. At most the
 *               stepper's batch, of which single tokens take theirs first.
 * returns       FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY; *schedule untouched on error.
 */
FV_API fv_status fv_schedule_open(fv_schedule **schedule, fv_stepper *stepper, uint32_t chunk_tokens,
                                  fv_message *message);
FV_API void fv_schedule_close(fv_schedule *schedule); /* when nobody feeds by it; NULL is allowed */

/**
 * fv_sequence_feed() in company; returns when all tokens are evaluated. Thread-safe, for sequences that differ.
 *
 * A step takes every single token that waits, then prompts in turn, chunk_tokens of them in all: a prompt that was
 * served goes to the end of the line, so that long ones share the time, and an answer waits for one chunk at most. What
 * fails in one sequence (a full context, a value beyond its cache: fv_sequence_explain()) is told to its caller alone;
 * the others go on in the same step. A single token has its
 * sequence's deadline from when it comes (fv_sequence_set_deadline()); steps have one clock, tokens with another wait.
 *
 * logits    NULL, or [vocabulary] f32 of the last token.
 * progress  as of fv_session_feed(), called by the feeding thread after each of its chunks: false gives up before its
 *           next one. NULL is allowed.
 * returns   FV_OK, FV_ERROR_ARGUMENT, what fv_sequence_feed() returns. What was evaluated before an error stays.
 *
 * The same bits as alone, whatever else is fed, and whatever came first. Where the model's layers are divided over
 * processes (stage.h), as many steps as there are stages are on their way at once, and share out the single tokens.
 */
FV_API fv_status fv_schedule_feed(fv_schedule *schedule, fv_sequence *sequence, const int32_t *tokens, size_t count,
                                  float *logits, fv_session_progress_fn *progress, void *context);

/** The same of a whole prompt: its last tokens read everything if the sequence's policy says so
 *  (fv_sequence_feed_prompt()), and it has no deadline. */
FV_API fv_status fv_schedule_feed_prompt(fv_schedule *schedule, fv_sequence *sequence, const int32_t *tokens,
                                         size_t count, float *logits, fv_session_progress_fn *progress, void *context);

/** What the steps so far were. */
typedef struct fv_schedule_counts {
    uint64_t steps, rows, parts;
    uint64_t most_parts, most_rows; /* of one step */
    uint64_t most_waited;           /* steps that were begun from when a single token came to its own, which counts */
} fv_schedule_counts;

FV_API void fv_schedule_counts_read(fv_schedule *schedule, fv_schedule_counts *counts);

#ifdef __cplusplus
}
#endif

#endif
