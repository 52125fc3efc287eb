/* generate.c - the decode loop. A token that was chosen is evaluated only when its successor is wanted: the last one
 * of an answer stays pending. */
#include "fovea/generate.h"
#include "fovea/machine.h"
#include "fovea/report_sum.h"
#include <stdlib.h>
#include <string.h>

#define STOPS_MAX 16

struct fv_generator {
    fv_session *session;
    const fv_tokenizer *tokenizer;
    fv_sampler *sampler;
    fv_generate_watch watch;
    bool ignore_end;
    char *stops[STOPS_MAX]; /* owned */
    size_t stop_count;
    float *logits;   /* [vocabulary] of the last position */
    bool fed;        /* there are logits */
    int32_t pending; /* chosen but not evaluated; -1: none */
    fv_text text;    /* the last answer */
    size_t told;     /* bytes of it that watch.text has */
    fv_tokens tokens, joined;
    fv_generate_phase prompt, decode;
};

const char *fv_stop_name(fv_stop stop) {
#define STOP_NAME(NAME, name) #name,
    static const char *const names[] = {FV_STOP_LIST(STOP_NAME)};
#undef STOP_NAME
    return (unsigned)stop < FV_STOP_COUNT ? names[stop] : NULL;
}

fv_status fv_generate_context(const fv_llm *llm, int64_t asked, uint64_t prompt, uint32_t room, uint32_t *context,
                              fv_message *message) {
    uint64_t trained = fv_llm_config(llm)->cache.max_tokens;
    uint64_t tokens = prompt < trained && room < trained - prompt ? prompt + room : trained;
    if (asked >= 0) tokens = asked > 0 ? (uint64_t)asked : trained;
    if (tokens == 0) tokens = 1;
    if (tokens > UINT32_MAX) tokens = UINT32_MAX;
    if (prompt > tokens)
        return fv_message_set(message, FV_ERROR_FULL,
                              "the prompt has %llu tokens, the context holds %llu (the model was trained on %llu)",
                              (unsigned long long)prompt, (unsigned long long)tokens, (unsigned long long)trained);
    *context = (uint32_t)tokens;
    return FV_OK;
}

double fv_generate_rate(const fv_generate_phase *phase) {
    return phase->ns > 0 ? (double)phase->tokens * 1e9 / (double)phase->ns : 0;
}

double fv_generate_token_bytes(const fv_generate_phase *phase) {
    return phase->tokens > 0 ? (double)phase->report.bytes_read / (double)phase->tokens : 0;
}

const fv_text *fv_generator_text(const fv_generator *generator) { return &generator->text; }
const fv_tokens *fv_generator_tokens(const fv_generator *generator) { return &generator->tokens; }
int32_t fv_generator_pending(const fv_generator *generator) { return generator->pending; }
const fv_generate_phase *fv_generator_prompt(const fv_generator *generator) { return &generator->prompt; }
const fv_generate_phase *fv_generator_decode(const fv_generator *generator) { return &generator->decode; }

/* ---- opening ---- */

void fv_generate_config_default(fv_generate_config *config) {
    *config = (fv_generate_config){0};
    fv_sampler_config_default(&config->sampler);
}

static fv_status copy_stops(fv_generator *generator, const fv_generate_config *config, fv_message *message) {
    if (config->stop_count > STOPS_MAX)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%zu stop texts; the most is %d", config->stop_count,
                              STOPS_MAX);
    for (size_t i = 0; i < config->stop_count; i++) {
        if (!config->stops[i] || !config->stops[i][0])
            return fv_message_set(message, FV_ERROR_ARGUMENT, "stop text %zu is empty", i);
        generator->stops[i] = strdup(config->stops[i]);
        if (!generator->stops[i]) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for stop texts");
        generator->stop_count++;
    }
    return FV_OK;
}

static fv_status forbid_ends(fv_generator *generator) {
    fv_status status = FV_OK;
    for (int32_t id = 0; id < fv_tokenizer_tokens(generator->tokenizer) && status == FV_OK; id++)
        if (fv_tokenizer_is_end(generator->tokenizer, id)) status = fv_sampler_forbid(generator->sampler, id);
    return status;
}

static fv_status generator_make(fv_generator *generator, const fv_generate_config *config, fv_message *message) {
    fv_sampler_config sampler = config->sampler;
    sampler.vocabulary = fv_llm_config(config->llm)->vocabulary;
    sampler.context_tokens = (uint32_t)fv_session_context_tokens(config->session);
    fv_status status = fv_sampler_open(&generator->sampler, &sampler, message);
    if (status == FV_OK && generator->ignore_end) status = forbid_ends(generator);
    if (status == FV_OK) status = copy_stops(generator, config, message);
    if (status != FV_OK) return status;
    generator->logits = calloc(sampler.vocabulary, sizeof *generator->logits);
    if (!generator->logits) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the logits");
    return FV_OK;
}

fv_status fv_generator_open(fv_generator **generator, const fv_generate_config *config, fv_message *message) {
    if (!generator || !config || !config->session || !config->llm)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "a generator needs a session and its model");
    fv_generator *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a generator");
    made->session = config->session;
    made->tokenizer = fv_llm_tokenizer(config->llm);
    made->watch = config->watch;
    made->ignore_end = config->ignore_end != 0;
    made->pending = -1;
    fv_status status = generator_make(made, config, message);
    if (status == FV_OK)
        *generator = made;
    else
        fv_generator_close(made);
    return status;
}

void fv_generator_close(fv_generator *generator) {
    if (!generator) return;
    fv_sampler_close(generator->sampler);
    for (size_t i = 0; i < generator->stop_count; i++) free(generator->stops[i]);
    free(generator->logits);
    fv_text_free(&generator->text);
    fv_tokens_free(&generator->tokens);
    fv_tokens_free(&generator->joined);
    free(generator);
}

/* ---- evaluating ---- */

/* Books the work since the session's counters were reset. */
static void phase_add(fv_generate_phase *phase, const fv_session *session, uint64_t tokens, uint64_t start_ns) {
    phase->tokens += tokens;
    phase->ns += fv_machine_clock_ns() - start_ns;
    fv_report_sum(&phase->report, fv_session_report(session));
}

/* Evaluates tokens, then the logits of the last of them. */
static fv_status evaluate(fv_generator *generator, const int32_t *tokens, size_t count,
                          fv_session_progress_fn *progress, void *context) {
    const fv_generate_watch *watch = &generator->watch;
    fv_session *session = generator->session;
    fv_session_report_reset(session);
    fv_status status = watch->evaluate ? watch->evaluate(watch->context, tokens, count) : FV_OK;
    if (status == FV_OK) status = fv_session_feed(session, tokens, count, progress, context);
    size_t rows = fv_session_batch_rows(session);
    if (status == FV_OK && rows == 0) status = FV_ERROR_ARGUMENT;
    return status == FV_OK ? fv_session_logits(session, rows - 1, 1, generator->logits) : status;
}

/* What was pending and the new tokens in one piece. */
static fv_status join(fv_generator *generator, const int32_t *tokens, size_t count) {
    fv_status status = FV_OK;
    generator->joined.count = 0;
    if (generator->pending >= 0) status = fv_tokens_append(&generator->joined, &generator->pending, 1);
    if (status == FV_OK && count > 0) status = fv_tokens_append(&generator->joined, tokens, count);
    return status == FV_OK && generator->joined.count == 0 ? FV_ERROR_ARGUMENT : status;
}

fv_status fv_generator_feed(fv_generator *generator, const int32_t *tokens, size_t count,
                            fv_session_progress_fn *progress, void *progress_context) {
    fv_session *session = generator->session;
    size_t before = fv_session_tokens(session);
    fv_status status = join(generator, tokens, count);
    if (status != FV_OK) return status;
    uint64_t start_ns = fv_machine_clock_ns();
    status = evaluate(generator, generator->joined.ids, generator->joined.count, progress, progress_context);
    phase_add(&generator->prompt, session, fv_session_tokens(session) - before, start_ns);
    if (status != FV_OK) {
        (void)fv_session_rewind(session, before); /* evaluates again only what a sliding window has lost */
        return status;
    }
    generator->fed = true;
    generator->pending = -1; /* its sampler has it since it was chosen */
    for (size_t i = 0; i < count; i++) fv_sampler_accept(generator->sampler, tokens[i]);
    return FV_OK;
}

void fv_generator_recall(fv_generator *generator, const int32_t *tokens, size_t count) {
    for (size_t i = 0; i < count; i++) fv_sampler_accept(generator->sampler, tokens[i]);
}

static fv_status evaluate_pending(fv_generator *generator) {
    uint64_t start_ns = fv_machine_clock_ns();
    fv_status status = evaluate(generator, &generator->pending, 1, NULL, NULL);
    phase_add(&generator->decode, generator->session, 1, start_ns);
    if (status == FV_OK) generator->pending = -1;
    return status;
}

/* ---- the answer's text ---- */

/* Cuts the text before the first stop text that ends after its first `before` bytes. */
static bool cut_at_stop(fv_generator *generator, size_t before) {
    fv_text *text = &generator->text;
    size_t first = text->length;
    for (size_t i = 0; i < generator->stop_count; i++) {
        size_t length = strlen(generator->stops[i]);
        for (size_t at = before > length ? before - length : 0; at + length <= text->length && at < first; at++)
            if (memcmp(text->bytes + at, generator->stops[i], length) == 0) first = at;
    }
    if (first == text->length) return false;
    text->length = first;
    text->bytes[first] = 0;
    return true;
}

/* Bytes at the end of the text that may become a stop text. */
static size_t held_back(const fv_generator *generator) {
    const fv_text *text = &generator->text;
    size_t most = 0;
    for (size_t i = 0; i < generator->stop_count; i++) {
        size_t length = strlen(generator->stops[i]) - 1;
        if (length > text->length) length = text->length;
        while (length > most && memcmp(text->bytes + text->length - length, generator->stops[i], length) != 0) length--;
        if (length > most) most = length;
    }
    return most;
}

/* Hands out the text up to `end`. */
static bool tell(fv_generator *generator, size_t end) {
    const fv_generate_watch *watch = &generator->watch;
    if (!watch->text || end <= generator->told) return true;
    bool good = watch->text(watch->context, generator->text.bytes + generator->told, end - generator->told);
    generator->told = end;
    return good;
}

/* Appends the token's text and hands out what is complete. */
static fv_status emit(fv_generator *generator, int32_t token, fv_stop *stop, bool *more) {
    fv_text *text = &generator->text;
    size_t before = text->length;
    fv_status status = fv_tokens_append(&generator->tokens, &token, 1);
    if (status == FV_OK) status = fv_tokenizer_piece(generator->tokenizer, token, false, text);
    if (status != FV_OK) return status;
    *stop = FV_STOP_TEXT;
    *more = !cut_at_stop(generator, before);
    size_t end = text->length - (*more ? held_back(generator) : 0);
    if (end > generator->told)
        end = generator->told + fv_utf8_complete(text->bytes + generator->told, end - generator->told);
    if (!tell(generator, end)) {
        *stop = FV_STOP_OUTPUT;
        *more = false;
    }
    return FV_OK;
}

/* ---- the loop ---- */

/* One token; where *more is false, *stop is why there is none or no further one. */
static fv_status step(fv_generator *generator, int64_t limit, fv_stop *stop, bool *more) {
    const fv_generate_watch *watch = &generator->watch;
    const fv_session *session = generator->session;
    *more = false;
    *stop = FV_STOP_LIMIT;
    if (limit >= 0 && generator->tokens.count >= (uint64_t)limit) return FV_OK;
    *stop = FV_STOP_INTERRUPTED;
    if (watch->go_on && !watch->go_on(watch->context)) return FV_OK;
    *stop = FV_STOP_CONTEXT;
    if (generator->pending >= 0 && fv_session_tokens(session) >= fv_session_context_tokens(session)) return FV_OK;
    fv_status status = generator->pending >= 0 ? evaluate_pending(generator) : FV_OK;
    if (status != FV_OK) return status;
    int32_t token = fv_sampler_next(generator->sampler, generator->logits);
    *stop = FV_STOP_END;
    if (!generator->ignore_end && fv_tokenizer_is_end(generator->tokenizer, token)) return FV_OK;
    fv_sampler_accept(generator->sampler, token);
    generator->pending = token;
    status = emit(generator, token, stop, more);
    return status == FV_OK && watch->token ? watch->token(watch->context, token) : status;
}

fv_status fv_generator_answer(fv_generator *generator, int64_t limit, fv_stop *stop) {
    bool more = true;
    fv_status status = generator->fed ? FV_OK : FV_ERROR_ARGUMENT;
    generator->text.length = generator->tokens.count = generator->told = 0;
    *stop = FV_STOP_FAILED;
    while (more && status == FV_OK) status = step(generator, limit, stop, &more);
    if (status != FV_OK) *stop = FV_STOP_FAILED;
    /* what was held back, and a sequence that never ended */
    if (*stop != FV_STOP_OUTPUT && !tell(generator, generator->text.length)) *stop = FV_STOP_OUTPUT;
    return status;
}
