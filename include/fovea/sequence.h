/* sequence.h - what one conversation has in the cache: a table of segments of 1,024 tokens for each layer, which
 * conversations that begin alike share. Steps over many sequences: step.h. Hosted. How structs may change: docs/abi.md.
 */
#ifndef FOVEA_SEQUENCE_H
#define FOVEA_SEQUENCE_H

#include "fovea/api.h"
#include "fovea/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Memory of segments for any number of sequences, also of several models. Comes from the system as segments are taken
 * and goes back as they are freed. A segment has owners and is freed by the last of them; only one that has a single
 * owner is ever written. Thread-safe.
 */
typedef struct fv_segments fv_segments;

/** limit_bytes: of all segments that are in use, whole ones counted; 0: no limit.
 *  returns FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY; *segments untouched on error. */
FV_API fv_status fv_segments_open(fv_segments **segments, uint64_t limit_bytes, fv_message *message);
/** NULL is allowed. Sequences that are open keep what they have, and the pool with it, until the last is closed. */
FV_API void fv_segments_close(fv_segments *segments);
FV_API uint64_t fv_segments_bytes(const fv_segments *segments); /* of segments in use, shared ones once */
FV_API uint64_t fv_segments_limit_bytes(const fv_segments *segments);

/** One conversation: its caches, tokens, policy and report. One caller at a time; sequences are independent of each
 *  other, also those that share segments. */
typedef struct fv_sequence fv_sequence;

/**
 * An empty sequence, which takes memory as it fills.
 *
 * llm       must be open now; the sequence holds it.
 * segments  where its memory comes from.
 * config    context_tokens, element types and policy are its own; the caches have what the policy needs.
 *           batch_tokens: most rows that one step will give it, which says how much of its layers with a sliding
 *           window is kept: fv_sequence_earliest(). isa_limit: of the conversions at appending.
 * returns   FV_OK (message: a remark, or empty), FV_ERROR_ARGUMENT, FV_ERROR_POLICY, FV_ERROR_MEMORY; *sequence
 *           untouched on error.
 */
FV_API fv_status fv_sequence_open(fv_sequence **sequence, const fv_llm *llm, fv_segments *segments,
                                  const fv_session_config *config, fv_message *message);
FV_API void fv_sequence_close(fv_sequence *sequence); /* NULL is allowed */

/**
 * A second sequence with the same tokens, policy and settings, and a report and counts of its own at zero. Both share
 * all segments; whichever first writes to one that is partly filled copies it. O(segments); no memory of segments is
 * taken. returns FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY; *fork untouched on error. `from` is only read, but must not
 * be written by another thread meanwhile.
 */
FV_API fv_status fv_sequence_fork(fv_sequence **fork, const fv_sequence *from, fv_message *message);

/**
 * Takes back all tokens after the first `tokens`. Memory of segments that held nothing else goes back.
 * returns FV_OK, FV_ERROR_ARGUMENT (NULL, or there are fewer), FV_ERROR_RANGE (fewer than fv_sequence_earliest(), and
 *         not 0: truncate to 0 and evaluate again), FV_ERROR_FULL or FV_ERROR_MEMORY (the last segment is shared, and
 *         there is none for a copy); nothing is changed on error.
 */
FV_API fv_status fv_sequence_truncate(fv_sequence *sequence, size_t tokens);

/**
 * The fewest tokens besides 0 that fv_sequence_truncate() can go back to: 0 unless the model has layers with a sliding
 * window and more tokens came than they keep. They keep at least the window and a batch before the newest token, in
 * whole segments, so that it is always possible to go back by batch_tokens at least.
 */
FV_API size_t fv_sequence_earliest(const fv_sequence *sequence);

FV_API size_t fv_sequence_tokens(const fv_sequence *sequence);         /* in the caches */
FV_API size_t fv_sequence_context_tokens(const fv_sequence *sequence); /* that they can hold */
FV_API const int32_t *fv_sequence_ids(const fv_sequence *sequence);    /* [tokens]; until the next change */
FV_API uint64_t fv_sequence_bytes(const fv_sequence *sequence);        /* of its segments, shared ones too */
FV_API uint64_t fv_sequence_own_bytes(const fv_sequence *sequence);    /* of those that nobody else has */

/** The cache of one layer, to know the sequence by in what an observer is shown; NULL: there is no such layer. */
FV_API const fv_cache *fv_sequence_cache(const fv_sequence *sequence, uint32_t layer);

FV_API const fv_policy *fv_sequence_policy(const fv_sequence *sequence);
/** As fv_session_set_policy(). */
FV_API fv_status fv_sequence_set_policy(fv_sequence *sequence, const fv_policy *policy, fv_message *message);

/** As fv_session_set_deadline(), of fv_sequence_feed() and fv_schedule_feed(); there, waiting in line takes of the
 * time, and the clock is asked by whichever thread runs the step. Parts of fv_stepper_run() bring their own. */
FV_API fv_status fv_sequence_set_deadline(fv_sequence *sequence, const fv_token_deadline *deadline,
                                          fv_message *message);
FV_API const fv_deadline_counts *fv_sequence_deadline_counts(const fv_sequence *sequence); /* as they are now */

/** As fv_session_explain(), of what fv_stepper_run_each() and fv_schedule_feed() last told of it. */
FV_API fv_status fv_sequence_explain(const fv_sequence *sequence, fv_status status, fv_message *message);

FV_API const fv_report *fv_sequence_report(const fv_sequence *sequence); /* since the last reset; as it is now */
FV_API void fv_sequence_report_reset(fv_sequence *sequence);

#ifdef __cplusplus
}
#endif

#endif
