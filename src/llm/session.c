/* session.c - a conversation with a model: a sequence, its segments, and a stepper of one. */
#include "fovea/session_file.h"
#include "fovea/step.h"
#include "llm/fault_text.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "llm/session_shape.h"
#include "llm/stage_hub.h"
#include "llm/stepper_parts.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct fv_session {
    const fv_llm *llm; /* of the sequence, which holds it */
    fv_segments *segments;
    fv_sequence *sequence;
    fv_stepper *stepper;
    fv_model_config shape;
    fv_session_memory use;
    fv_status failed;    /* of the last feed or logits, */
    size_t fault_tokens; /* and the tokens before the rows that it failed at */
    bool has_rows;       /* the last step's have logits */
    uint32_t workers;
    fv_clock_fn *clock; /* NULL: no time is taken */
    void *clock_context;
};

/* --- opening ---------------------------------------------------------------------------------------------------- */

static fv_status no_memory(const fv_session *session, fv_message *message) {
    return fv_message_set(message, FV_ERROR_MEMORY,
                          "no memory for the session: KV cache of %" PRIu32 " tokens %" PRIu64
                          " bytes (of them landmarks %" PRIu64 "), activations %" PRIu64
                          " bytes; a smaller context needs less",
                          session->shape.cache.max_tokens, session->use.cache_bytes, session->use.landmark_bytes,
                          session->use.scratch_bytes);
}

static fv_status session_build(fv_session *session, const fv_session_config *config, fv_pool *pool,
                               fv_message *message) {
    size_t scratch = 0;
    fv_status status = fv_session_shape_make(&session->shape, session->llm, config, 1, message);
    if (status != FV_OK) return status;
    const fv_session_layers layers = fv_session_layers_of(session->llm);
    status = fv_session_memory_of(&session->shape, &layers, session->workers, &session->use, &scratch, message);
    if (status != FV_OK) return status;
    status = fv_segments_open(&session->segments, 0, message);
    if (status == FV_OK) status = fv_stepper_open_parts(&session->stepper, session->llm, config, 1, pool, message);
    if (status == FV_OK)
        status = fv_sequence_open(&session->sequence, session->llm, session->segments, config, message);
    return status == FV_ERROR_MEMORY ? no_memory(session, message) : status;
}

fv_status fv_session_open(fv_session **session, const fv_llm *llm, const fv_session_config *config, fv_pool *pool,
                          fv_message *message) {
    if (!session || !llm || !config) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_session *made = calloc(1, sizeof *made);
    if (!made)
        return fv_message_set(message, FV_ERROR_MEMORY, "out of memory for a session of %zu bytes", sizeof *made);
    const fv_parallel *parallel = fv_pool_parallel(pool);
    made->llm = llm;
    made->workers = parallel ? parallel->workers : 1;
    fv_status status = session_build(made, config, pool, message);
    if (status == FV_OK)
        *session = made;
    else
        fv_session_close(made);
    return status;
}

void fv_session_close(fv_session *session) {
    if (!session) return;
    fv_sequence_close(session->sequence);
    fv_stepper_close(session->stepper);
    fv_segments_close(session->segments);
    free(session);
}

/* --- evaluation ------------------------------------------------------------------------------------------------- */

typedef struct feed_watch {
    fv_session *session;
    fv_session_progress_fn *progress; /* NULL: nobody's */
    void *context;
} feed_watch;

/* After each step: its rows are there when others are told of it. */
static bool feed_goes_on(void *context, size_t done, size_t total) {
    const feed_watch *watch = context;
    watch->session->has_rows = true;
    return !watch->progress || watch->progress(watch->context, done, total);
}

/* For fv_session_explain(). */
static fv_status book_failure(fv_session *session, fv_status status, size_t tokens) {
    session->failed = status;
    session->fault_tokens = tokens;
    return status;
}

/* later: as of fv_sequence_feed_piece(). */
static fv_status feed(fv_session *session, const int32_t *tokens, size_t count, uint64_t later,
                      fv_session_progress_fn *progress, void *context) {
    if (!session) return FV_ERROR_ARGUMENT;
    if (count == 0) return FV_OK;
    feed_watch watch = {session, progress, context};
    fv_status status =
        fv_sequence_feed_piece(session->sequence, session->stepper, tokens, count, later, feed_goes_on, &watch);
    return book_failure(session, status, fv_session_tokens(session));
}

fv_status fv_session_feed(fv_session *session, const int32_t *tokens, size_t count, fv_session_progress_fn *progress,
                          void *context) {
    return feed(session, tokens, count, UINT64_MAX, progress, context);
}

fv_status fv_session_feed_prompt(fv_session *session, const int32_t *tokens, size_t count, size_t later,
                                 fv_session_progress_fn *progress, void *context) {
    return feed(session, tokens, count, later, progress, context);
}

fv_status fv_session_logits(fv_session *session, size_t first_row, size_t rows, float *logits) {
    if (!session || !logits) return FV_ERROR_ARGUMENT;
    size_t held = fv_session_batch_rows(session);
    if (rows > held || first_row > held - rows) return FV_ERROR_ARGUMENT;
    if (rows == 0) return FV_OK;
    uint64_t begin_ns = session->clock ? session->clock(session->clock_context) : 0;
    fv_status status = fv_stepper_logits_run(session->stepper, (uint32_t)first_row, (uint32_t)rows, logits);
    if (session->clock)
        session->sequence->report.product_ns += (session->clock(session->clock_context) - begin_ns) * session->workers;
    return book_failure(session, status, fv_session_tokens(session) - held);
}

size_t fv_session_batch_rows(const fv_session *session) {
    return session->has_rows ? fv_stepper_rows(session->stepper) : 0;
}

size_t fv_session_tokens(const fv_session *session) { return fv_sequence_tokens(session->sequence); }
size_t fv_session_context_tokens(const fv_session *session) { return session->shape.cache.max_tokens; }
size_t fv_session_earliest(const fv_session *session) { return fv_sequence_earliest(session->sequence); }

fv_status fv_session_truncate(fv_session *session, size_t tokens) {
    if (!session || tokens > fv_session_tokens(session)) return FV_ERROR_ARGUMENT;
    if (tokens == fv_session_tokens(session)) return FV_OK;
    fv_status status = fv_sequence_truncate(session->sequence, tokens);
    if (status == FV_OK) session->has_rows = false;
    return status;
}

fv_status fv_session_rewind(fv_session *session, size_t tokens) {
    fv_status status = fv_session_truncate(session, tokens);
    if (status != FV_ERROR_RANGE) return status;
    int32_t *ids = malloc(tokens * sizeof *ids);
    if (!ids) return FV_ERROR_MEMORY;
    memcpy(ids, fv_sequence_ids(session->sequence), tokens * sizeof *ids);
    status = fv_session_truncate(session, 0);
    if (status == FV_OK) status = fv_session_feed(session, ids, tokens, NULL, NULL);
    session->has_rows = false;
    free(ids);
    return status;
}

fv_status fv_session_copy(fv_session *to, const fv_session *from) {
    if (!to || !from || to->llm != from->llm) return FV_ERROR_ARGUMENT;
    fv_status status = fv_sequence_copy(to->sequence, from->sequence);
    if (status == FV_OK && to != from) to->has_rows = false;
    return status;
}

const fv_policy *fv_session_policy(const fv_session *session) { return fv_sequence_policy(session->sequence); }

fv_status fv_session_set_policy(fv_session *session, const fv_policy *policy, fv_message *message) {
    if (!session) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    return fv_sequence_set_policy(session->sequence, policy, message);
}

fv_status fv_session_set_deadline(fv_session *session, const fv_token_deadline *deadline, fv_message *message) {
    if (!session) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    return fv_sequence_set_deadline(session->sequence, deadline, message);
}

const fv_deadline_counts *fv_session_deadline_counts(const fv_session *session) {
    return fv_sequence_deadline_counts(session->sequence);
}

void fv_session_observe(fv_session *session, fv_attention_observer_fn *observer, void *context) {
    fv_stepper_observe(session->stepper, observer, context);
}

void fv_session_time(fv_session *session, fv_clock_fn *clock, void *context) {
    session->clock = clock;
    session->clock_context = context;
    fv_stepper_time(session->stepper, clock, context);
}

fv_status fv_session_explain(const fv_session *session, fv_status status, fv_message *message) {
    if (session && session->llm->hub) (void)fv_stage_hub_explain(session->llm->hub, status, message);
    if (!session || status != session->failed) return status;
    const fv_model_fault *fault = fv_stepper_last_fault(session->stepper);
    const fv_cache_config *cache = &session->shape.cache;
    uint32_t type = fault->place == FV_PLACE_VALUE ? cache->value_type : cache->key_type;
    const fv_fault_cache held = {type, fv_element_name(type)};
    return fv_fault_text(fv_gguf_path(session->llm->gguf), fault, &held, session->fault_tokens, status, message);
}

const fv_report *fv_session_report(const fv_session *session) { return fv_sequence_report(session->sequence); }
void fv_session_report_reset(fv_session *session) { fv_sequence_report_reset(session->sequence); }

fv_sequence *fv_session_sequence(fv_session *session) { return session->sequence; }

/* --- files ------------------------------------------------------------------------------------------------------ */

fv_status fv_session_save(fv_session *session, const char *path, uint32_t end, fv_message *message) {
    if (!session) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    return fv_sequence_save(session->sequence, path, end, message);
}

fv_status fv_session_wake(fv_session *session, fv_session_file *file, size_t tokens, fv_message *message) {
    if (!session) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_status status = fv_sequence_wake(session->sequence, file, tokens, message);
    if (status == FV_OK) session->has_rows = false;
    return status;
}

fv_status fv_session_wake_dithered(fv_session *session, fv_session_file *file, size_t tokens, uint64_t seed,
                                   fv_message *message) {
    if (!session) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_status status = fv_sequence_wake_dithered(session->sequence, file, tokens, seed, message);
    if (status == FV_OK) session->has_rows = false;
    return status;
}
