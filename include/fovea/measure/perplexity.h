/* perplexity.h - perplexity of a text as llama-perplexity measures it, for several policies side by side, and how far
 * the predictions of each are from those of the first. Hosted. How structs may change: docs/abi.md. */
#ifndef FOVEA_PERPLEXITY_H
#define FOVEA_PERPLEXITY_H

#include "fovea/generate.h"
#include "fovea/measure/kld_file.h"
#include "fovea/measure/mass_table.h"
#include "fovea/measure/score.h"
#include "fovea/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Fill by fv_perplexity_config_default(), then set llm and policies. */
typedef struct fv_perplexity_config {
    const fv_llm *llm;
    fv_pool *pool;             /* default NULL: one thread */
    fv_session_config session; /* types, micro-batch, activations; its context and policy are not looked at */
    const fv_policy *policies; /* copied, but not what they point to; the first is the base: dense, as a rule */
    size_t policy_count;       /* >= 1 */
    uint32_t context;          /* tokens of a chunk, >= 4; default 512 */
    uint32_t scored; /* last positions of a chunk that are scored, below context; default 0: the second half, context -
                        1 - context / 2 */
    uint32_t decode; /* 0 (default): all is read in batches with the policy. 1: what is before the scored positions
                        is read densely in batches, the scored ones one at a time with the policy */
    uint32_t mass;   /* 1: also the share of dense attention's mass that is read; slow; default 0 */
    fv_kld_file *base; /* borrowed; NULL (default): the logits of policies[0]. Its context, and its positions, must be
                          those here */
    /* Told how many tokens of a chunk are read, after each micro-batch of each policy; false stops. NULL: nobody */
    fv_session_progress_fn *progress;
    void *progress_context;
} fv_perplexity_config;

FV_API void fv_perplexity_config_default(fv_perplexity_config *config);

/** A session per policy, over one model, and what they have measured. One caller at a time. */
typedef struct fv_perplexity fv_perplexity;

/** returns FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY and what fv_session_open() returns; *perplexity untouched on
 *  error. Memory: the sessions, and two groups of rows of logits (16 MiB each, or one row). */
FV_API fv_status fv_perplexity_open(fv_perplexity **perplexity, const fv_perplexity_config *config,
                                    fv_message *message);
FV_API void fv_perplexity_close(fv_perplexity *perplexity); /* NULL is allowed */

/** Appends the tokens of a text as llama-perplexity reads it: with what the metadata puts in front, without an end
 * token after it, without the first `skip`. FV_OK, FV_ERROR_MEMORY and what fv_tokenizer_encode() returns. */
FV_API fv_status fv_perplexity_encode(const fv_llm *llm, const char *text, size_t length, size_t skip,
                                      fv_tokens *tokens);

/**
 * Measures one chunk with every policy. Its first token is replaced by the beginning-of-text token where the metadata
 * asks for one; its last one is predicted, not read.
 *
 * tokens   [context], inside the vocabulary.
 * chunk    its number in `base`; not looked at without one.
 * returns  FV_OK, FV_ERROR_INTERRUPTED (progress said no), what fv_session_feed() and fv_kld_file_read() return. On
 * error all figures are as before the call.
 */
FV_API fv_status fv_perplexity_chunk(fv_perplexity *perplexity, const int32_t *tokens, size_t chunk,
                                     fv_message *message);

/** What a policy has measured so far. */
typedef struct fv_perplexity_figures {
    fv_score_sum sum;         /* over the scored positions */
    fv_generate_phase scored; /* counters of the scored positions; ns of all that was read with the policy */
} fv_perplexity_figures;

FV_API const fv_perplexity_figures *fv_perplexity_of(const fv_perplexity *perplexity, size_t policy);
FV_API const fv_mass_table *fv_perplexity_mass(const fv_perplexity *perplexity,
                                               size_t policy);         /* NULL without `mass` */
FV_API uint32_t fv_perplexity_scored(const fv_perplexity *perplexity); /* positions of a chunk that are scored */

#ifdef __cplusplus
}
#endif

#endif
