/* sampler.h - from logits to the next token: llama.cpp's default chain, in its order and meaning. Hosted.
 * How structs may change: docs/abi.md. */
#ifndef FOVEA_SAMPLER_H
#define FOVEA_SAMPLER_H

#include "fovea/api.h"
#include "fovea/gguf.h"
#include "fovea/message.h"
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Chain: penalties, top-k, top-p, min-p, temperature, draw. Start from fv_sampler_config_default(). */
typedef struct fv_sampler_config {
    uint32_t vocabulary;        /* tokens; >= 1 */
    float temperature;          /* <= 0: greedy; default 0.8 */
    int32_t top_k;              /* <= 0: off; default 40 */
    float top_p;                /* >= 1: off; default 0.95 */
    float min_p;                /* <= 0: off; default 0.05 */
    float repeat_penalty;       /* 1: off; default 1 */
    int32_t repeat_last_tokens; /* window of the penalties; 0: off, -1: context size; default 64 */
    float presence_penalty;     /* 0: off */
    float frequency_penalty;    /* 0: off */
    uint32_t seed;              /* same seed, logits and history: same tokens on every machine */
    uint32_t context_tokens;    /* what repeat_last_tokens == -1 means */
} fv_sampler_config;

typedef struct fv_sampler fv_sampler; /* one sequence; not thread-safe */

FV_API void fv_sampler_config_default(fv_sampler_config *config);

/* X(NAME, key): settings that a model file may recommend, under general.sampling.KEY. */
#define FV_SAMPLING_LIST(X) \
    X(TEMPERATURE, "temp") \
    X(TOP_K, "top_k") \
    X(TOP_P, "top_p") X(MIN_P, "min_p") X(REPEAT_PENALTY, "penalty_repeat") X(REPEAT_LAST, "penalty_last_n")
#define FV_SAMPLING_ENUM(NAME, key) FV_SAMPLING_##NAME,
typedef enum fv_sampling { FV_SAMPLING_LIST(FV_SAMPLING_ENUM) FV_SAMPLING_COUNT } fv_sampling;
#undef FV_SAMPLING_ENUM

FV_API const char *fv_sampling_name(fv_sampling value); /* "temp"; static; NULL for an unknown one */
FV_API double fv_sampling_value(const fv_sampler_config *config, fv_sampling which); /* a NaN for an unknown one */

/**
 * Replaces settings by those that the file recommends.
 *
 * kept     bit i: fv_sampling i stays as it is, since somebody asked for it.
 * taken    out: bits of those that came from the file.
 * returns  FV_OK, with a remark where the file recommends a sampler that there is not; FV_ERROR_CORRUPT (a value that
 * is no number). Outputs untouched on error.
 */
FV_API fv_status fv_sampler_config_recommended(const fv_gguf *gguf, uint32_t kept, fv_sampler_config *config,
                                               uint32_t *taken, fv_message *message);

FV_API fv_status fv_sampler_open(fv_sampler **sampler, const fv_sampler_config *config, fv_message *message);
FV_API void fv_sampler_close(fv_sampler *sampler);

/** Adds `token` to the history of the penalties (prompt tokens too, as llama.cpp does). */
FV_API void fv_sampler_accept(fv_sampler *sampler, int32_t token);

/** Forbids `token` from now on (--ignore-eos). FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY. */
FV_API fv_status fv_sampler_forbid(fv_sampler *sampler, int32_t token);

/** The next token; does not accept it. logits [vocabulary], unchanged. No allocation. O(vocabulary). */
FV_API int32_t fv_sampler_next(fv_sampler *sampler, const float *logits);

#ifdef __cplusplus
}
#endif

#endif
