/* generate.c - the decode loop. A token that was chosen is evaluated only when its successor is wanted: the last one
 * of an answer stays pending. With lookup, guesses of what follows are evaluated with it: as long as the tokens that
 * are chosen are the guessed ones, their rows are there already. */
#include "fovea/generate.h"
#include "fovea/answer_text.h"
#include "fovea/lookup.h"
#include "fovea/machine.h"
#include "fovea/report_sum.h"
#include "fovea/session_file.h"
#include "llm/sequence_state.h"
#include <stdlib.h>
#include <string.h>

struct fv_generator {
    fv_session *session;
    const fv_tokenizer *tokenizer;
    fv_sampler *sampler;
    fv_generate_watch watch;
    bool ignore_end;
    fv_answer_text *text; /* of the last answer */
    float *logits;        /* [1 + most_guesses][vocabulary] of the tokens evaluated last */
    size_t vocabulary;
    bool fed; /* there are logits */
    /* rows of logits, and which is that of the last position; those after it are of guesses[row] and on, which the
     * session holds until settle() */
    uint32_t rows, row;
    int32_t guesses[FV_GENERATE_GUESSES];
    uint32_t most_guesses;
    fv_lookup *lookup;            /* NULL: nothing is guessed */
    fv_generate_guesses guessing; /* how it went */
    int32_t pending;              /* chosen but not evaluated; -1: none */
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

const fv_text *fv_generator_text(const fv_generator *generator) { return fv_answer_text_all(generator->text); }
const fv_tokens *fv_generator_tokens(const fv_generator *generator) { return &generator->tokens; }
int32_t fv_generator_pending(const fv_generator *generator) { return generator->pending; }
const fv_generate_phase *fv_generator_prompt(const fv_generator *generator) { return &generator->prompt; }
const fv_generate_phase *fv_generator_decode(const fv_generator *generator) { return &generator->decode; }
const fv_generate_guesses *fv_generator_guesses(const fv_generator *generator) { return &generator->guessing; }

/* ---- opening ---- */

void fv_generate_config_default(fv_generate_config *config) {
    *config = (fv_generate_config){0};
    fv_sampler_config_default(&config->sampler);
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
    if (status == FV_OK) status = fv_answer_text_open(&generator->text, config->stops, config->stop_count, message);
    if (status != FV_OK) return status;
    generator->vocabulary = sampler.vocabulary;
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
    made->rows = 1;
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
    fv_lookup_close(generator->lookup);
    free(generator->logits);
    fv_answer_text_close(generator->text);
    fv_tokens_free(&generator->tokens);
    fv_tokens_free(&generator->joined);
    free(generator);
}

fv_status fv_generator_set_lookup(fv_generator *generator, uint32_t most) {
    if (!generator || most > FV_GENERATE_GUESSES || generator->fed) return FV_ERROR_ARGUMENT;
    if (most > 0 && generator->watch.evaluate) return FV_ERROR_UNSUPPORTED;
    float *logits = calloc(1 + (size_t)most, generator->vocabulary * sizeof *logits);
    fv_status status = logits ? FV_OK : FV_ERROR_MEMORY;
    if (status == FV_OK && most > 0 && !generator->lookup) status = fv_lookup_open(&generator->lookup);
    if (status != FV_OK) {
        free(logits);
        return status;
    }
    free(generator->logits);
    generator->logits = logits;
    generator->most_guesses = most;
    return FV_OK;
}

/* What comes is of use to later guesses, no more: where there is no memory for it, there are none. */
static void remember(fv_generator *generator, const int32_t *tokens, size_t count) {
    if (!generator->lookup || fv_lookup_add(generator->lookup, tokens, count) == FV_OK) return;
    fv_lookup_close(generator->lookup);
    generator->lookup = NULL;
}

/* ---- evaluating ---- */

/* Books the work since the session's counters were reset. */
static void phase_add(fv_generate_phase *phase, const fv_session *session, uint64_t tokens, uint64_t start_ns) {
    phase->tokens += tokens;
    phase->ns += fv_machine_clock_ns() - start_ns;
    fv_report_sum(&phase->report, fv_session_report(session));
}

/* Before tokens of a prompt or an answer are fed. */
static fv_status announce(fv_generator *generator, const int32_t *tokens, size_t count) {
    const fv_generate_watch *watch = &generator->watch;
    fv_session_report_reset(generator->session);
    return watch->evaluate ? watch->evaluate(watch->context, tokens, count) : FV_OK;
}

/* The logits of the last `wanted` tokens that were fed. */
static fv_status logits_take(fv_generator *generator, size_t wanted) {
    fv_session *session = generator->session;
    size_t rows = fv_session_batch_rows(session);
    fv_status status =
        rows < wanted ? FV_ERROR_ARGUMENT : fv_session_logits(session, rows - wanted, wanted, generator->logits);
    if (status == FV_OK) generator->rows = (uint32_t)wanted, generator->row = 0;
    return status;
}

/* The joined tokens of a step of an answer, and the logits of each. */
static fv_status evaluate(fv_generator *generator) {
    const fv_tokens *joined = &generator->joined;
    fv_status status = announce(generator, joined->ids, joined->count);
    if (status == FV_OK) status = fv_session_feed(generator->session, joined->ids, joined->count, NULL, NULL);
    return status == FV_OK ? logits_take(generator, joined->count) : status;
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
    const fv_tokens *joined = &generator->joined;
    status = announce(generator, joined->ids, joined->count);
    if (status == FV_OK)
        status = fv_session_feed_prompt(session, joined->ids, joined->count, 0, progress, progress_context);
    if (status == FV_OK) status = logits_take(generator, 1);
    phase_add(&generator->prompt, session, fv_session_tokens(session) - before, start_ns);
    if (status != FV_OK) {
        (void)fv_session_rewind(session, before); /* evaluates again only what a sliding window has lost */
        return status;
    }
    generator->fed = true;
    generator->pending = -1; /* its sampler has it since it was chosen */
    fv_generator_recall(generator, tokens, count);
    return FV_OK;
}

void fv_generator_recall(fv_generator *generator, const int32_t *tokens, size_t count) {
    for (size_t i = 0; i < count; i++) fv_sampler_accept(generator->sampler, tokens[i]);
    remember(generator, tokens, count);
}

/* ---- guesses ---- */

/* Tokens of the session without the guesses that nothing was chosen for yet. */
static size_t tokens_held(const fv_generator *generator) {
    return fv_session_tokens(generator->session) - (generator->rows - 1 - generator->row);
}

/* Takes back the guesses that were not right, or are not wanted any more. */
static fv_status settle(fv_generator *generator) {
    if (generator->rows <= generator->row + 1) return FV_OK;
    fv_status status = fv_session_truncate(generator->session, tokens_held(generator));
    if (status == FV_OK) generator->rows = generator->row + 1;
    return status;
}

/* How many guesses go with the next token: none with a deadline, which is one token's. */
static uint32_t guess(fv_generator *generator) {
    size_t room = fv_session_context_tokens(generator->session) - fv_session_tokens(generator->session);
    if (!generator->lookup || fv_session_sequence(generator->session)->deadline.clock || room <= 1) return 0;
    uint32_t most = room - 1 < generator->most_guesses ? (uint32_t)(room - 1) : generator->most_guesses;
    return fv_lookup_guess(generator->lookup, most, generator->guesses);
}

/* The pending token, and `count` guesses after it. On error the session holds what it held before. */
static fv_status evaluate_with(fv_generator *generator, uint32_t count) {
    fv_session *session = generator->session;
    uint64_t start_ns = fv_machine_clock_ns();
    size_t before = fv_session_tokens(session);
    fv_status status = join(generator, generator->guesses, count);
    if (status == FV_OK) status = evaluate(generator);
    bool counts = count > 0 ? status == FV_OK : fv_session_tokens(session) > before;
    phase_add(&generator->decode, session, counts, start_ns);
    if (status != FV_OK && count > 0) {
        generator->most_guesses /= 2;
        fv_status back = fv_session_truncate(session, before);
        return back == FV_OK ? status : back;
    }
    return status;
}

/* Guesses must not make an answer fail that would not without them: a row of theirs may be one that goes wrong, and a
 * micro-batch may be too short for them. */
static fv_status evaluate_pending(fv_generator *generator) {
    uint32_t count = guess(generator);
    fv_status status = evaluate_with(generator, count);
    if (status != FV_OK && count > 0) status = evaluate_with(generator, count = 0);
    if (status == FV_OK) generator->pending = -1;
    generator->guessing.steps++;
    generator->guessing.guessed += count;
    return status;
}

/* The logits after the pending token: they are there if it is what was guessed. */
static fv_status advance(fv_generator *generator) {
    uint32_t row = generator->row, rows = generator->rows;
    bool right = row + 1 < rows && generator->guesses[row] == generator->pending;
    if (right) {
        generator->row++;
        generator->pending = -1;
        generator->decode.tokens++;
        generator->guessing.right++;
        return FV_OK;
    }
    if (generator->lookup && rows > 1) fv_lookup_learn(generator->lookup, rows - 1, row);
    fv_status status = settle(generator);
    return status == FV_OK ? evaluate_pending(generator) : status;
}

/* ---- the answer's text ---- */

/* Hands out what can be shown; all that is left where the answer is over. */
static bool tell(fv_generator *generator, bool last) {
    const fv_generate_watch *watch = &generator->watch;
    const char *bytes;
    size_t length = watch->text ? fv_answer_text_take(generator->text, last, &bytes) : 0;
    return length == 0 || watch->text(watch->context, bytes, length);
}

/* Appends the token's text and hands out what is complete. */
static fv_status emit(fv_generator *generator, int32_t token, fv_stop *stop, bool *more) {
    int met = -1;
    fv_status status = fv_tokens_append(&generator->tokens, &token, 1);
    if (status == FV_OK) status = fv_answer_text_add(generator->text, generator->tokenizer, token, &met);
    if (status != FV_OK) return status;
    *stop = FV_STOP_TEXT;
    *more = met < 0;
    if (!tell(generator, !*more)) {
        *stop = FV_STOP_OUTPUT;
        *more = false;
    }
    return FV_OK;
}

/* ---- the loop ---- */

/* One token; where *more is false, *stop is why there is none or no further one. */
static fv_status step(fv_generator *generator, int64_t limit, fv_stop *stop, bool *more) {
    const fv_generate_watch *watch = &generator->watch;
    *more = false;
    *stop = FV_STOP_LIMIT;
    if (limit >= 0 && generator->tokens.count >= (uint64_t)limit) return FV_OK;
    *stop = FV_STOP_INTERRUPTED;
    if (watch->go_on && !watch->go_on(watch->context)) return FV_OK;
    *stop = FV_STOP_CONTEXT;
    if (generator->pending >= 0 && tokens_held(generator) >= fv_session_context_tokens(generator->session))
        return FV_OK;
    fv_status status = generator->pending >= 0 ? advance(generator) : FV_OK;
    *stop = FV_STOP_DEADLINE;
    if (status != FV_OK) return status == FV_ERROR_DEADLINE ? FV_OK : status;
    int32_t token = fv_sampler_next(generator->sampler, generator->logits + generator->row * generator->vocabulary);
    *stop = FV_STOP_END;
    if (!generator->ignore_end && fv_tokenizer_is_end(generator->tokenizer, token)) return FV_OK;
    fv_generator_recall(generator, &token, 1);
    generator->pending = token;
    status = emit(generator, token, stop, more);
    return status == FV_OK && watch->token ? watch->token(watch->context, token) : status;
}

fv_status fv_generator_answer(fv_generator *generator, int64_t limit, fv_stop *stop) {
    bool more = true;
    fv_status status = generator->fed ? FV_OK : FV_ERROR_ARGUMENT;
    fv_answer_text_clear(generator->text);
    generator->tokens.count = 0;
    *stop = FV_STOP_FAILED;
    while (more && status == FV_OK) status = step(generator, limit, stop, &more);
    fv_status settled = settle(generator);
    if (status == FV_OK) status = settled;
    if (status != FV_OK) *stop = FV_STOP_FAILED;
    /* what was held back, and a sequence that never ended */
    if (*stop != FV_STOP_OUTPUT && !tell(generator, true)) *stop = FV_STOP_OUTPUT;
    return status;
}
