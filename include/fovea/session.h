/* session.h - a model file opened, and conversations with it: what the command line and bindings use. Hosted.
 * How structs may change: docs/abi.md. */
#ifndef FOVEA_SESSION_H
#define FOVEA_SESSION_H

#include "fovea/api.h"
#include "fovea/cache.h"
#include "fovea/deadline.h"
#include "fovea/isa.h"
#include "fovea/model.h"
#include "fovea/policy.h"
#include "fovea/pool.h"
#include "fovea/report.h"
#include "fovea/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A model file: mapped weights, tokenizer, the shape of its forward pass. Read-only once open: many sessions may
 *  share it, from many threads. */
typedef struct fv_llm fv_llm;

/**
 * Opens `path`, checks that every tensor and every metadata key under the architecture's prefix is understood.
 * returns FV_OK, FV_ERROR_UNSUPPORTED (architecture, tensor type or key, named, with what is supported) and what
 *         fv_gguf_open() and fv_tokenizer_open() return.
 */
FV_API fv_status fv_llm_open(fv_llm **llm, const char *path, fv_message *message);

/** In messages of fv_llm_open() where fv_llm_open_allowing() would pass over the key; a front end adds its own way to
 * do that. */
#define FV_LLM_ALLOW_ADVICE "allow it by its name"

/** The same, but metadata keys that the caller knows to change nothing, by their whole names, are passed over. keys
 *  [count] is not needed afterwards. */
FV_API fv_status fv_llm_open_allowing(fv_llm **llm, const char *path, const char *const *keys, size_t count,
                                      fv_message *message);

/**
 * fv_llm_open_allowing() of some layers. The whole file is checked, but weights of other layers are not read, nor can
 * they be: fv_llm_repack() takes its own only, sequences have caches of its own only. Without the first layer there is
 * no tokenizer (fv_llm_tokenizer() is NULL), no embedding and no vocabulary.
 */
FV_API fv_status fv_llm_open_range(fv_llm **llm, const char *path, const char *const *keys, size_t count,
                                   const fv_layer_range *range, fv_message *message);

/** The layers that it has; all of them unless it was opened by the one above. */
FV_API void fv_llm_range(const fv_llm *llm, fv_layer_range *range);

/** NULL is allowed. Sessions that are open stay usable; closing the last of them frees the model. */
FV_API void fv_llm_close(fv_llm *llm);

/**
 * Interleaves the weights for speed (fv_weight_pack()), reading all of them once, while no session is open. The
 * weights are copied into private memory of huge pages and the file's pages given back one matrix after the other:
 * resident memory stays the file's size, but is no longer shared with other processes. The bits of every result stay
 * the same.
 * returns FV_OK, FV_ERROR_ARGUMENT (a session is open: nothing is changed; nor can one be opened meanwhile),
 *         FV_ERROR_MEMORY (the model stays usable), FV_ERROR_FILE (the file was written to meanwhile).
 */
FV_API fv_status fv_llm_repack(fv_llm *llm, fv_message *message);

/**
 * From now on contexts are divided over the ranks of `exchange`: sequences, sessions and steppers of this model hold
 * the segments of this rank (fv_exchange_owner()) and evaluate the same rows as the others', with the bits of one
 * process. Every rank opens the same sequences with the same settings and makes the same calls in the same order, of
 * everything that evaluates, truncates, forks or copies, or is told by rank 0 (fv_engine_lead()); what fails at one
 * rank for want of memory fails at all.
 *
 * exchange  the caller's; outlives the model. NULL: contexts are whole again.
 * returns   FV_OK, FV_ERROR_ARGUMENT (a session is open, a rank out of range).
 *
 * Refused then: policies that are not fv_policy_divides() (FV_ERROR_POLICY), deadlines, saving and waking
 * (FV_ERROR_UNSUPPORTED), each with a sentence.
 */
FV_API fv_status fv_llm_divide(fv_llm *llm, const fv_exchange *exchange, fv_message *message);

/** Whether what was computed so far can be trusted as far as the file goes: FV_ERROR_FILE if weights are read from it
 *  and it was written to since it was opened (fv_gguf_check_unchanged()). A model all of whose matrices are repacked
 *  needs its file no longer. */
FV_API fv_status fv_llm_check_file(const fv_llm *llm, fv_message *message);
FV_API uint64_t fv_llm_packable_bytes(const fv_llm *llm); /* bytes of weights that fv_llm_repack() replaces */
FV_API uint64_t fv_llm_packed_bytes(const fv_llm *llm);   /* bytes that it has replaced: 0 before */

FV_API const fv_gguf *fv_llm_gguf(const fv_llm *llm);
FV_API const fv_tokenizer *fv_llm_tokenizer(const fv_llm *llm);
FV_API const fv_model_config *fv_llm_config(const fv_llm *llm); /* shape; max_tokens is the training context */
FV_API const char *fv_llm_architecture(const fv_llm *llm);      /* "llama", ... */
FV_API uint64_t fv_llm_parameters(const fv_llm *llm);           /* weights in all tensors */
FV_API uint64_t fv_llm_weight_bytes(const fv_llm *llm);         /* bytes of all tensors */

typedef struct fv_session_config {
    uint32_t context_tokens;       /* KV cache size; 0 = training context */
    uint32_t batch_tokens;         /* tokens per micro-batch of a prompt; default 512 (clamped to the context) */
    uint32_t key_type, value_type; /* fv_element; default FV_ELEMENT_F16 */
    uint32_t exact_activations;    /* 1: f32 activations against every weight type (slow, for checking); default 0 */
    uint32_t isa_limit;            /* fv_isa; default FV_ISA_BEST; FV_ISA in the environment lowers it */
    fv_policy policy;              /* default dense */
} fv_session_config;

FV_API const char *fv_element_name(uint32_t type); /* of an fv_element: "f16"; "?" for none; static */

FV_API void fv_session_config_default(fv_session_config *config);

/** Tokens in a cache, and what they were read with. One caller at a time; sessions are independent. */
typedef struct fv_session fv_session;

/**
 * Allocates what every step needs; memory of the cache comes as it fills.
 *
 * message  may be NULL. With FV_OK its text is a remark that people should see (a context longer than the one that the
 *          model was trained for), or empty.
 * pool     may be NULL (one thread); must outlive the session. Sessions in any number of threads may share it.
 * returns  FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_POLICY (out of range, or the model lacks what it needs: a certificate
 *          or a tail where scores are capped), FV_ERROR_MEMORY (the message says how many bytes for what).
 */
FV_API fv_status fv_session_open(fv_session **session, const fv_llm *llm, const fv_session_config *config,
                                 fv_pool *pool, fv_message *message);
FV_API void fv_session_close(fv_session *session); /* NULL is allowed */

/** Called after each micro-batch; false stops: FV_ERROR_INTERRUPTED, what was evaluated stays in the cache. */
typedef bool fv_session_progress_fn(void *context, size_t done, size_t total);

/**
 * Evaluates `count` tokens after those in the cache. 0 tokens change nothing: the rows of the feed before are still
 * there.
 * returns FV_OK, FV_ERROR_FULL (nothing evaluated), FV_ERROR_ARGUMENT (an id outside the vocabulary: nothing
 *         evaluated), FV_ERROR_MEMORY (none for more of the cache), FV_ERROR_INTERRUPTED, FV_ERROR_NOT_FINITE,
 *         FV_ERROR_RANGE (see fv_session_explain()), FV_ERROR_DEADLINE (fv_session_set_deadline()); after these, the
 * micro-batches before stay in the cache. progress may be NULL. The same tokens give the same bits however they are cut
 * into calls.
 */
FV_API fv_status fv_session_feed(fv_session *session, const int32_t *tokens, size_t count,
                                 fv_session_progress_fn *progress, void *context);

/** fv_session_feed() of a prompt, or of a piece of it with `later` tokens still to come: the last tokens of the prompt,
 *  as many as the policy's `question` says, read everything, in whatever pieces it comes, and it has no deadline. Of a
 *  micro-batch the last row alone has logits: fv_session_logits(session, fv_session_batch_rows(session) - 1, 1, ..). */
FV_API fv_status fv_session_feed_prompt(fv_session *session, const int32_t *tokens, size_t count, size_t later,
                                        fv_session_progress_fn *progress, void *context);

/**
 * Logits of rows of the last micro-batch: the last 1 + (count - 1) % batch_tokens tokens of the last feed, as many as
 * fv_session_batch_rows() says. Row 0 is its first token; the vocabulary product is done here, for these rows only.
 * There are no rows before the first feed, after a copy, after an error midway, and once any token was taken back.
 * logits  [rows][vocabulary] f32.
 * returns FV_OK (also for 0 rows: nothing is written), FV_ERROR_ARGUMENT (there are no such rows, or of a prompt:
 *         fv_session_feed_prompt()),
 *         FV_ERROR_NOT_FINITE (a logit is NaN, infinite or beyond 2^60; they are written).
 */
FV_API fv_status fv_session_logits(fv_session *session, size_t first_row, size_t rows, float *logits);

/** Where numbers went wrong, in words, and where to look: if `status` is FV_ERROR_NOT_FINITE or FV_ERROR_RANGE and the
 *  last fv_session_feed() or fv_session_logits() returned it, `message` is filled; else it stays as it is. session:
 *  NULL is allowed. Returns `status`. */
FV_API fv_status fv_session_explain(const fv_session *session, fv_status status, fv_message *message);
FV_API size_t fv_session_batch_rows(const fv_session *session);

FV_API size_t fv_session_tokens(const fv_session *session);         /* in the cache */
FV_API size_t fv_session_context_tokens(const fv_session *session); /* that it can hold */

/**
 * Takes back all tokens after the first `tokens`, and with any of them all rows of logits: the next feed brings new
 * ones.
 * returns FV_OK, FV_ERROR_ARGUMENT (there are fewer), FV_ERROR_RANGE (fewer than fv_session_earliest(), and not 0: see
 *         fv_session_rewind()), FV_ERROR_MEMORY (none for the copy of a segment that is shared since an
 *         fv_session_copy()); nothing is changed on error.
 */
FV_API fv_status fv_session_truncate(fv_session *session, size_t tokens);

/** The fewest tokens besides 0 that fv_session_truncate() can go back to: 0 unless the model has layers with a sliding
 *  window, which keep at least their window and batch_tokens before the newest token. */
FV_API size_t fv_session_earliest(const fv_session *session);

/** fv_session_truncate() to any number of tokens: where it is FV_ERROR_RANGE, the first `tokens` are evaluated again,
 *  with the policy as it is now. Also what fv_session_feed() returns: the session then holds fewer. */
FV_API fv_status fv_session_rewind(fv_session *session, size_t tokens);

/**
 * Replaces what `to` holds by what `from` holds, as if it had been fed the same tokens; no logits are left. For several
 * answers to one long prompt, or several policies after one. Layers whose caches have the same shape share their
 * memory until one of the two writes to it.
 * returns FV_OK, FV_ERROR_ARGUMENT (NULL, another model, element type or block of landmarks), FV_ERROR_FULL (the
 *         context of `to` is too short), FV_ERROR_MEMORY; `to` is untouched on error. Time: of copying the caches that
 *         differ and making shadows.
 */
FV_API fv_status fv_session_copy(fv_session *to, const fv_session *from);

FV_API const fv_policy *fv_session_policy(const fv_session *session); /* of the next feed */

/** Another policy from the next feed on. FV_ERROR_ARGUMENT (NULL), FV_ERROR_POLICY (message says why: out of range,
 *  or the model or the cache, made for the policy at opening, lacks what it needs). */
FV_API fv_status fv_session_set_policy(fv_session *session, const fv_policy *policy, fv_message *message);

/** How soon each token of an answer must be through the layers. */
typedef struct fv_token_deadline {
    fv_clock_fn *clock;
    void *context;
    uint64_t token_ns;    /* >= 1, from when the token is handed in */
    uint32_t on_deadline; /* fv_on_deadline: an error, or the softmax over the keys that were read in time */
    uint32_t reserved;    /* 0 */
} fv_token_deadline;

/** What became of tokens that had a deadline, since it was set. Plain data, no padding. */
typedef struct fv_deadline_counts {
    uint64_t tokens; /* handed in */
    uint64_t cut;    /* of them, those whose softmax lacks keys in some layer: FV_DEADLINE_BEST */
    uint64_t late; /* of them, those through the layers after their deadline, cut or not: products are never left out */
    uint64_t failed; /* of them, those that were not evaluated: FV_DEADLINE_FAIL */
} fv_deadline_counts;

/**
 * Feeds of one token have a deadline from now on; prompts, which all that follows reads, have none. Time that is left
 * is shared out among the layers: fv_model_step(). With FV_DEADLINE_FAIL a late feed is FV_ERROR_DEADLINE, and the
 * session holds what it held. Time enough shows in no bit.
 *
 * deadline  copied; its clock is asked by the thread that evaluates. NULL: none any more.
 * returns   FV_OK, FV_ERROR_ARGUMENT (no clock, no time, a reserve that is not 0), FV_ERROR_UNSUPPORTED (the policy
 *           promises a quality; feeds return it, too, where one is set later); message says why.
 */
FV_API fv_status fv_session_set_deadline(fv_session *session, const fv_token_deadline *deadline, fv_message *message);
FV_API const fv_deadline_counts *fv_session_deadline_counts(const fv_session *session); /* as they are now */

/** Shows every plan to `observer` (NULL: nobody), see fv_attention_observe(). */
FV_API void fv_session_observe(fv_session *session, fv_attention_observer_fn *observer, void *context);

/** Takes time by `clock` (NULL: not), see fv_model_time(); products of fv_session_logits() are counted, too. */
FV_API void fv_session_time(fv_session *session, fv_clock_fn *clock, void *context);

/** Counters since the last reset. */
FV_API const fv_report *fv_session_report(const fv_session *session); /* the session's own, as it is now */
FV_API void fv_session_report_reset(fv_session *session);

/** Bytes of a session, by purpose. */
typedef struct fv_session_memory {
    uint64_t cache_bytes;            /* K, V, landmarks and shadow of a full context; layers with a sliding window keep
                                        no more of it than they need */
    uint64_t key_bytes, value_bytes; /* of them, K and V */
    uint64_t scale_bytes;            /* of them, scales that lie apart (0 unless K or V is Q8_0) */
    uint64_t landmark_bytes;         /* of them, landmarks (0 unless the policy at opening was pattern) */
    uint64_t scratch_bytes;          /* activations, tables, per-thread buffers */
    uint64_t token_bytes;            /* of K and V of a token in all layers, while all keep it */
} fv_session_memory;

/** What fv_session_open() would take, with a pool of `threads` threads (0 as 1), and what it would remark. Pure. */
FV_API fv_status fv_session_memory_plan(const fv_llm *llm, const fv_session_config *config, uint32_t threads,
                                        fv_session_memory *memory, fv_message *message);

#ifdef __cplusplus
}
#endif

#endif
