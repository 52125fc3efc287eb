/* engine.h - what all conversations of a program share: a model file, its threads, what was tuned for it, and how
 * sessions are opened. Hosted. How structs may change: docs/abi.md. */
#ifndef FOVEA_ENGINE_H
#define FOVEA_ENGINE_H

#include "fovea/machine.h"
#include "fovea/pool.h"
#include "fovea/session.h"
#include "fovea/tune.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Whether weights are interleaved at opening (fv_llm_repack()): AUTO unless they are more than half of the memory that
 *  this process may use (fv_machine_limits). The bits of every result are the same. */
typedef enum fv_repack { FV_REPACK_AUTO, FV_REPACK_ON, FV_REPACK_OFF } fv_repack;

/** Fill by fv_engine_config_default(), then set `model`. */
typedef struct fv_engine_config {
    const char *model; /* path of a GGUF file; of a split one the first part */
    const char *tune;  /* path of a tune file, which must be there; "none": no shares; NULL (default): MODEL.fovea.json
                          if it is there */
    uint32_t repack;   /* fv_repack; default AUTO */
    fv_pool_config pool;
    fv_session_config session;       /* how fv_engine_session_open() opens sessions that ask for nothing else */
    const char *const *allowed_keys; /* of fv_llm_open_allowing(); default none */
    uint32_t allowed_key_count;
} fv_engine_config;

FV_API void fv_engine_config_default(fv_engine_config *config);

/** Immutable once open: any number of threads may share it, each with sessions of its own. */
typedef struct fv_engine fv_engine;

/**
 * Opens the model, repacks it, reads its tune file, starts the threads. `config` is not needed afterwards, nor what it
 * points to.
 *
 * returns FV_OK, FV_ERROR_ARGUMENT (no model), and what fv_llm_open_allowing(), fv_llm_repack(), fv_pool_open_config()
 *         and fv_tune_read() return. A tune file that was not asked for is no error here, whether it is there, damaged
 *         or another model's: fv_engine_tune_attach() says so where it would be used. *engine untouched on error.
 */
FV_API fv_status fv_engine_open(fv_engine **engine, const fv_engine_config *config, fv_message *message);
FV_API void fv_engine_close(fv_engine *engine); /* after its sessions; NULL is allowed */

/** fv_llm_divide() of the engine's model, before its first session. */
FV_API fv_status fv_engine_divide(fv_engine *engine, const fv_exchange *exchange, fv_message *message);

/**
 * Rank 0 of such a group, before its first session: from now on it tells the others, over the exchange, what is done to
 * its sequences, steppers and sessions, from any thread, and they do it with it: they call fv_engine_follow(). Without
 * a lead every rank makes the calls itself. What ranks are told are ids and settings, 24 bytes and 40 for each sequence
 * beside them, in two exchanges more a call. Closing the engine and its sessions tells them to end. FV_OK,
 * FV_ERROR_ARGUMENT, FV_ERROR_MEMORY.
 */
FV_API fv_status fv_engine_lead(fv_engine *engine, fv_message *message);

/** The life of every other rank: does what rank 0 tells, on the engine's threads, until it is told to end. Numbers that
 *  come are checked before they are used. FV_OK; FV_ERROR_ARGUMENT, FV_ERROR_CORRUPT (ranks do not agree),
 *  FV_ERROR_MEMORY, what the exchange returns. */
FV_API fv_status fv_engine_follow(fv_engine *engine, fv_message *message);

/** Whether fv_engine_open() would repack this model's weights. */
FV_API bool fv_engine_repacks(const fv_llm *llm, uint32_t repack);

FV_API const fv_llm *fv_engine_llm(const fv_engine *engine);
FV_API fv_pool *fv_engine_pool(const fv_engine *engine);
FV_API uint32_t fv_engine_threads(const fv_engine *engine);    /* of the pool, >= 1 */
FV_API const fv_tune *fv_engine_tune(const fv_engine *engine); /* NULL: there is none */

/**
 * Gives `policy` the engine's shares if it chooses by the queries and has none.
 *
 * attached  out: whether it did; untouched on error.
 * returns   FV_OK; FV_ERROR_CORRUPT or FV_ERROR_UNSUPPORTED: the file beside the model, which this policy would go by,
 *           can't be read or is another model's. Name "none" in fv_engine_config.tune to do without.
 */
FV_API fv_status fv_engine_tune_attach(const fv_engine *engine, fv_policy *policy, bool *attached, fv_message *message);

/** What `fovea run`, `read` and `serve` take where no policy is named: a row reads a quarter of the keys that it
 *  sees up to 8,192, 2,048 of them up to 17,000, 12 % beyond, and 1,024 at least; the last 128 of a prompt read all.
 *  What that costs: docs/results.md, "The default". */
#define FV_ENGINE_ATTENTION "fovea:budget=0.12,floor=128,floor-share=0.25"
#define FV_ENGINE_ATTENTION_TOKENS 4096 /* contexts of no more are read densely: little could be left out */

/**
 * The policy for sessions of `config` where none is named: FV_ENGINE_ATTENTION, or "dense" where the context is short
 * or the model's heads or the rest of `config` do not allow it. config: NULL: the engine's own; its policy is not
 * looked at. Static. Pure.
 */
FV_API const char *fv_engine_attention(const fv_engine *engine, const fv_session_config *config);

/** The engine's own session settings, for a caller that changes some of them. */
FV_API void fv_engine_session_config(const fv_engine *engine, fv_session_config *config);

/**
 * Whether a session of `memory` for `context` tokens fits into `limits`, swap included, once `tokens` are in it, beside
 * weights in private pages. What a context does not hold takes no memory.
 *
 * returns FV_OK, with a remark where a full context would not fit; FV_ERROR_MEMORY: the tokens do not. Both say how
 * many do. Pure. Limits whose memory is not known limit nothing.
 */
FV_API fv_status fv_session_memory_check(const fv_session_memory *memory, uint32_t context, uint64_t tokens,
                                         uint64_t weight_bytes, const fv_machine_limits *limits, fv_message *message);

/** How many tokens of such a context do, at most `context`. Pure. */
FV_API uint32_t fv_session_memory_tokens(const fv_session_memory *memory, uint32_t context, uint64_t weight_bytes,
                                         const fv_machine_limits *limits);

/** Both for a session of this engine as `config` says, and the limits of this moment. The first returns also what
 *  fv_session_memory_plan() returns; where that fails, the second is 0. */
FV_API fv_status fv_engine_memory_check(const fv_engine *engine, const fv_session_config *config, uint64_t tokens,
                                        fv_message *message);
FV_API uint32_t fv_engine_memory_tokens(const fv_engine *engine, const fv_session_config *config);

/** A session on the engine's threads. config: NULL: the engine's own. A policy that chooses and has no shares gets the
 * engine's. Returns what fv_engine_tune_attach() and fv_session_open() return. */
FV_API fv_status fv_engine_session_open(const fv_engine *engine, const fv_session_config *config, fv_session **session,
                                        fv_message *message);

#ifdef __cplusplus
}
#endif

#endif
