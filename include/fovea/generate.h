/* generate.h - a prompt in, tokens and text out: the decode loop over one session, with its stop conditions, counted
 * and timed. Hosted. How structs may change: docs/abi.md. */
#ifndef FOVEA_GENERATE_H
#define FOVEA_GENERATE_H

#include "fovea/api.h"
#include "fovea/sampler.h"
#include "fovea/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, name): why an answer ended. */
#define FV_STOP_LIST(X) \
    X(END, end) \
    X(LIMIT, limit) \
    X(CONTEXT, context) \
    X(TEXT, text) X(INTERRUPTED, interrupted) X(OUTPUT, output) X(FAILED, failed) X(DEADLINE, deadline)
#define FV_STOP_ENUM(NAME, name) FV_STOP_##NAME,
/** END: an end-of-generation token. LIMIT: as many tokens as allowed. CONTEXT: the context is full; nothing is shifted
 *  out. TEXT: one of the stop texts. INTERRUPTED, OUTPUT: the caller's go_on or text said no. FAILED: see the status.
 *  DEADLINE: a token was not through the layers in time (fv_session_set_deadline(), FV_DEADLINE_FAIL): it is pending.
 */
typedef enum fv_stop { FV_STOP_LIST(FV_STOP_ENUM) FV_STOP_COUNT } fv_stop;
#undef FV_STOP_ENUM

FV_API const char *fv_stop_name(fv_stop stop); /* "end"; static; NULL for an unknown one */

/** What the caller is told and asked, from the thread that called fv_generator_feed() or fv_generator_answer(). Each
 * may be NULL. `context` is handed to all of them. */
typedef struct fv_generate_watch {
    void *context;
    bool (*go_on)(void *context); /* before each token: false stops with FV_STOP_INTERRUPTED */
    /* The next bytes of the answer, whole UTF-8 sequences as far as they come; a stop text and what may become one is
     * held back. false stops with FV_STOP_OUTPUT. */
    bool (*text)(void *context, const char *bytes, size_t length);
    fv_status (*evaluate)(void *context, const int32_t *tokens, size_t count); /* these are evaluated next */
    fv_status (*token)(void *context, int32_t token); /* was chosen from what was evaluated last */
} fv_generate_watch;

/** Fill by fv_generate_config_default(), then set session and llm. */
typedef struct fv_generate_config {
    fv_session *session; /* borrowed; the generator is its only caller */
    const fv_llm *llm;   /* the session's */
    /* Its vocabulary is set from the model, its context_tokens from the session; default fv_sampler_config_default().
     */
    fv_sampler_config sampler;
    uint32_t ignore_end;      /* 1: end-of-generation tokens are forbidden: none ends an answer; default 0 */
    const char *const *stops; /* texts that end an answer and are no part of it; copied; default NULL */
    size_t stop_count;        /* 0..16 */
    fv_generate_watch watch;  /* default: nobody */
} fv_generate_config;

FV_API void fv_generate_config_default(fv_generate_config *config);

/** One sequence of prompts and answers. One caller at a time. */
typedef struct fv_generator fv_generator;

/** returns FV_OK, FV_ERROR_ARGUMENT (no session or model, an empty stop text, too many), FV_ERROR_MEMORY and what
 *  fv_sampler_open() returns; *generator untouched on error. */
FV_API fv_status fv_generator_open(fv_generator **generator, const fv_generate_config *config, fv_message *message);
FV_API void fv_generator_close(fv_generator *generator); /* before the session; NULL is allowed */

/**
 * Lookup: while an answer is made, the tokens that may come next are guessed, from where its last ones stood before in
 * prompt and answer, and evaluated together with the one that is due, which costs less than one after the other. A
 * guess is kept if it is the token that would have been chosen. So the answer has the same tokens, and the session the
 * same bits, as without: greedy or with a seed. Answers that repeat their prompt, such as quotations and edits, come
 * sooner; how many are guessed at a time follows from how many were right lately. Tokens with a deadline have none.
 *
 * most     guesses at a time, at most FV_GENERATE_GUESSES; 0: none (default).
 * returns  FV_OK, FV_ERROR_ARGUMENT (too many; something was fed already), FV_ERROR_UNSUPPORTED (a watch that asks to
 *          see what is evaluated), FV_ERROR_MEMORY; as before on error. Takes most * vocabulary * 4 bytes, and about 12
 *          a token of prompt and answer.
 * Method: prompt lookup decoding, Saxena 2023; checked as in speculative decoding, Leviathan et al. 2023.
 */
#define FV_GENERATE_GUESSES 15
FV_API fv_status fv_generator_set_lookup(fv_generator *generator, uint32_t most);

/** How lookup did so far: every step evaluates one token that is due and the guesses after it. */
typedef struct fv_generate_guesses {
    uint64_t steps, guessed, right;
} fv_generate_guesses;
FV_API const fv_generate_guesses *fv_generator_guesses(const fv_generator *generator);

/**
 * Evaluates a prompt after what the session holds: first the last token of an answer, where that is still pending (see
 * fv_generator_pending()), then `tokens`. They count for the sampler's penalties. As of
 * fv_session_feed_prompt(), the last ones read everything if the policy says so, and a deadline of the session is for
 * answers: a prompt has none, even where it is one token.
 *
 * progress  as for fv_session_feed(); may be NULL.
 * returns   FV_OK, FV_ERROR_ARGUMENT (nothing to evaluate), FV_ERROR_MEMORY, what watch.evaluate and fv_session_feed()
 *           return. On error the session holds what it held before, and what was pending still is.
 */
FV_API fv_status fv_generator_feed(fv_generator *generator, const int32_t *tokens, size_t count,
                                   fv_session_progress_fn *progress, void *progress_context);

/** What the session held before the generator was opened counts for the sampler's penalties, too: the same seed gives
 * the same text as if `tokens` had been fed. */
FV_API void fv_generator_recall(fv_generator *generator, const int32_t *tokens, size_t count);

/**
 * Chooses and evaluates tokens until something stops it. A token is evaluated only when its successor is wanted.
 *
 * limit    most tokens of the answer; negative: none.
 * stop     out: why it ended, also on error (FV_STOP_FAILED).
 * returns  FV_OK; or what failed: FV_ERROR_MEMORY, FV_ERROR_ARGUMENT (nothing was fed yet), what watch.evaluate,
 *          watch.token and fv_session_feed() return.
 */
FV_API fv_status fv_generator_answer(fv_generator *generator, int64_t limit, fv_stop *stop);

/* Of the last answer; valid until the next call. The end token is in neither; tokens of a stop text are in `tokens`. */
FV_API const fv_text *fv_generator_text(const fv_generator *generator);
FV_API const fv_tokens *fv_generator_tokens(const fv_generator *generator);

/** The token that was chosen but not evaluated yet; -1: none. The next feed evaluates it first. */
FV_API int32_t fv_generator_pending(const fv_generator *generator);

/** What prompts, or the decoding of answers, did so far. */
typedef struct fv_generate_phase {
    uint64_t tokens, ns; /* evaluated; time in the model and its products with the vocabulary */
    fv_report report;
} fv_generate_phase;

FV_API const fv_generate_phase *fv_generator_prompt(const fv_generator *generator);
FV_API const fv_generate_phase *fv_generator_decode(const fv_generator *generator);

/**
 * Tokens of a context for a prompt of `prompt` tokens and an answer of up to `room`.
 *
 * asked    > 0: that many; 0: as many as the model was trained on; < 0: prompt + room, but no more than it was trained
 *          on. At least 1.
 * context  out; untouched on error.
 * returns  FV_OK, FV_ERROR_FULL (the prompt is longer; the message has the figures). Pure.
 */
FV_API fv_status fv_generate_context(const fv_llm *llm, int64_t asked, uint64_t prompt, uint32_t room,
                                     uint32_t *context, fv_message *message);

/* Pure. */
FV_API double fv_generate_rate(const fv_generate_phase *phase);        /* tokens per second; 0 if there were none */
FV_API double fv_generate_token_bytes(const fv_generate_phase *phase); /* cache bytes read per token; 0 likewise */

#ifdef __cplusplus
}
#endif

#endif
