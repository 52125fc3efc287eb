/* step.h - one forward pass over rows of many sequences: the weights are read once for all of them. Hosted. How structs
 * may change: docs/abi.md. */
#ifndef FOVEA_STEP_H
#define FOVEA_STEP_H

#include "fovea/api.h"
#include "fovea/pool.h"
#include "fovea/sequence.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Runs steps: activations and threads, no conversation. One caller at a time; a sequence may be in the steps of any
 *  number of steppers, one after the other. (An fv_step is a step of a plan.) */
typedef struct fv_stepper fv_stepper;

/**
 * Allocates everything that steps need.
 *
 * config   context_tokens: of the longest sequence; batch_tokens: rows of a step, of all parts; policy: sequences whose
 *          policies choose by the queries need one here that does, too; exact_activations, isa_limit.
 * pool     NULL (one thread), or threads; must outlive the stepper.
 * returns  FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_POLICY, FV_ERROR_MEMORY; *stepper untouched on error.
 */
FV_API fv_status fv_stepper_open(fv_stepper **stepper, const fv_llm *llm, const fv_session_config *config,
                                 fv_pool *pool, fv_message *message);
FV_API void fv_stepper_close(fv_stepper *stepper); /* NULL is allowed */
FV_API size_t fv_stepper_batch_tokens(const fv_stepper *stepper);
FV_API uint64_t fv_stepper_bytes(const fv_stepper *stepper); /* that it takes */
/** Scores and states that came from other ranks so far (fv_llm_divide()); 0 without any. */
FV_API uint64_t fv_stepper_exchanged_bytes(const fv_stepper *stepper);

/** What a step evaluates of one sequence. */
typedef struct fv_step_part {
    fv_sequence *sequence;
    const int32_t *tokens;       /* [count] */
    uint32_t count;              /* >= 1 */
    uint32_t dense_rows;         /* the last ones that read everything; 0 with a deadline. Of a prompt:
                                    fv_step_part_ask() */
    const fv_deadline *deadline; /* NULL, or when its rows must be through the layers; see fv_model_part */
    fv_progress *progress;       /* likewise */
    uint32_t output_rows;        /* the last ones, at most count, whose logits may be asked for; 0: all. Of a prompt 1,
                                    which saves most of the last layer of the first part of a step. 0 with a deadline */
} fv_step_part;

/** The part is of a prompt, of which `left` tokens are still to come with its own: sets dense_rows, by the policy of
 * its sequence, and output_rows, to 1. */
static inline void fv_step_part_ask(fv_step_part *part, uint64_t left) {
    part->dense_rows = fv_policy_question_rows(fv_sequence_policy(part->sequence), left, part->count);
    part->output_rows = 1;
}

/**
 * Evaluates the tokens of all parts after those of their sequences: prompts' chunks and single tokens mixed.
 *
 * parts    [count]; at most batch_tokens rows in all; no two of the same sequence.
 * returns  FV_OK, FV_ERROR_ARGUMENT (NULL, too many rows or none, an id outside the vocabulary, a sequence twice, of
 *          another model, with a longer context or a smaller batch), FV_ERROR_POLICY (a policy that chooses, where the
 *          stepper was opened without), FV_ERROR_FULL (a sequence's context, or no segment is left in its pool),
 *          FV_ERROR_MEMORY: nothing is changed, rows of the step before are still there. FV_ERROR_RANGE,
 *          FV_ERROR_NOT_FINITE (fv_stepper_last_fault() says where), FV_ERROR_DEADLINE: the sequences hold the tokens
 *          that they held; no rows are left.
 *
 * A row has the same bits whatever other parts there are, for any cutting of its sequence and any number of threads.
 */
FV_API fv_status fv_stepper_run(fv_stepper *stepper, const fv_step_part *parts, size_t count);

/**
 * fv_stepper_run() in which a part fails alone: FV_ERROR_RANGE, FV_ERROR_NOT_FINITE (fv_sequence_explain()) and
 * FV_ERROR_DEADLINE are told in its outcome, its sequence holds the tokens that it held, and the others have the bits
 * that they have without it. For steps over the requests of people who do not know each other.
 *
 * outcomes  [count], out. Where the step is refused and nothing was changed, the first part that is why has that status
 *           and the others FV_OK: take it out and run the rest. If it is none's alone (rows of all parts), all have
 *           FV_OK.
 * returns   FV_OK: at least one part came through; rows of the others are counted and have no logits. If all failed the
 *           status of one of them, and no rows are left. Else what fv_stepper_run() returns before it changes anything.
 */
FV_API fv_status fv_stepper_run_each(fv_stepper *stepper, const fv_step_part *parts, size_t count,
                                     fv_part_outcome *outcomes);

/**
 * fv_stepper_run_each() of those parts that can be in a step: one that is why it would be refused (a full context or
 * pool, a policy that the stepper can't) is taken out, and the rest is evaluated together. With nobody to ask for
 * another step, this is what a server or a scheduler runs.
 *
 * outcomes    [count], out: also of those that were taken out.
 * first_rows  [count], out: where the rows of each part begin; UINT32_MAX of one that was taken out.
 * returns     FV_OK: at least one part came through. Else a status of one of them, or, where it is none's alone, what
 *             all have as theirs; no rows are left.
 */
FV_API fv_status fv_stepper_run_rest(fv_stepper *stepper, const fv_step_part *parts, size_t count,
                                     fv_part_outcome *outcomes, uint32_t *first_rows);

/**
 * Waits until steps are through the layers of all stages (stage.h), and tells what failed in one of them; FV_OK at once
 * where the model is in this process alone. Returns what fv_stepper_run() returns after it began; the sequences hold
 * then what they held before the step that failed, and no rows are left.
 */
FV_API fv_status fv_stepper_wait(fv_stepper *stepper);

/** The deadline of one token that is handed in (fv_sequence_set_deadline()), and what became of it. Stays where it is
 *  until its step is over: parts point to it. */
typedef struct fv_token_time {
    fv_deadline deadline; /* without a clock: there is none */
    fv_progress progress;
} fv_token_time;

/** `count` tokens of the sequence are handed in together, now: one alone has a deadline, if the sequence has. */
FV_API void fv_token_time_begin(fv_token_time *time, const fv_sequence *sequence, size_t count);
/** The part is of those tokens: sets its deadline and progress, where there is one. */
FV_API void fv_token_time_attach(fv_token_time *time, fv_step_part *part);
/** Counts what became of them (fv_sequence_deadline_counts()), by the status of their part. */
FV_API void fv_token_time_end(const fv_token_time *time, fv_sequence *sequence, fv_status status);
/** Whether tokens with these can be in one step: it has one clock. Pure. */
FV_API bool fv_token_times_suit(const fv_token_time *one, const fv_token_time *other);

/** Rows of the last step, in the order of its parts. */
FV_API size_t fv_stepper_rows(const fv_stepper *stepper);
/** Logits of `count` of them, by their numbers; the vocabulary's matrix is read once for all. logits
 *  [count][vocabulary] f32. At most batch_tokens at a time. FV_OK, FV_ERROR_ARGUMENT (there is no such row, it is not
 * of the output_rows, or its part failed), FV_ERROR_NOT_FINITE (of one of them; all are written). */
FV_API fv_status fv_stepper_logits(fv_stepper *stepper, const uint32_t *rows, size_t count, float *logits);

/**
 * A step of a stepper on its way. Where later layers are in other stages (stage.h), several steps of one stepper can be
 * in them at the same time, each in a lane of its own, so that no stage waits for the others; a sequence is in one of
 * them. Where all layers are here, a lane's step is over when it has begun. fv_schedule does this for callers in many
 * threads. One thread at a time calls begin and logits of all lanes of a stepper, and nothing else of the stepper while
 * a step is on its way; `end` any thread.
 */
typedef struct fv_stepper_lane fv_stepper_lane;

FV_API uint32_t fv_stepper_lanes(const fv_stepper *stepper); /* that are of use: one for each stage */

/** FV_OK, FV_ERROR_MEMORY; *lane untouched then. Closed before the stepper, after its step. */
FV_API fv_status fv_stepper_lane_open(fv_stepper_lane **lane, fv_stepper *stepper);
FV_API void fv_stepper_lane_close(fv_stepper_lane *lane); /* NULL is allowed */

/** fv_stepper_run_rest() as far as layers here go. `outcomes` is not final until the lane's end. */
FV_API fv_status fv_stepper_lane_begin(fv_stepper_lane *lane, const fv_step_part *parts, size_t count,
                                       fv_part_outcome *outcomes, uint32_t *first_rows);

/** Waits for the rest of a step that began with FV_OK, and says what became of its parts there; what
 *  fv_stepper_run_rest() returns. */
FV_API fv_status fv_stepper_lane_end(fv_stepper_lane *lane, fv_part_outcome *outcomes);

/** fv_stepper_logits() of the lane's step, which ended: of last rows of parts, or, if the stepper has begun no other
 *  step since, of any. */
FV_API fv_status fv_stepper_lane_logits(fv_stepper_lane *lane, const uint32_t *rows, size_t count, float *logits);

/** Feeds one sequence alone, in steps of at most batch_tokens, of the stepper or of the sequence; one token with the
 *  sequence's deadline (fv_sequence_set_deadline()). progress: as of fv_session_feed(). Returns what fv_stepper_run()
 * returns, FV_ERROR_INTERRUPTED. What was evaluated before an error stays. */
FV_API fv_status fv_sequence_feed(fv_sequence *sequence, fv_stepper *stepper, const int32_t *tokens, size_t count,
                                  fv_session_progress_fn *progress, void *context);

/** fv_session_feed_prompt() of one sequence alone, as fv_sequence_feed(). */
FV_API fv_status fv_sequence_feed_prompt(fv_sequence *sequence, fv_stepper *stepper, const int32_t *tokens,
                                         size_t count, size_t later, fv_session_progress_fn *progress, void *context);

/** Of the last call that returned FV_ERROR_NOT_FINITE or FV_ERROR_RANGE: see fv_model_last_fault(). Never NULL. */
FV_API const fv_model_fault *fv_stepper_last_fault(const fv_stepper *stepper);

FV_API void fv_stepper_observe(fv_stepper *stepper, fv_attention_observer_fn *observer, void *context);
FV_API void fv_stepper_time(fv_stepper *stepper, fv_clock_fn *clock, void *context); /* as fv_model_time() */

#ifdef __cplusplus
}
#endif

#endif
