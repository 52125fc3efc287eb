/* gate.h - which tokens matter: a small recurrent network (FastGRNN) gives each token a salience, and keep masks are
 * made of saliences. Forward in time: the salience of token t depends on the tokens up to t only.
 * How structs may change: docs/abi.md. */
#ifndef FOVEA_GATE_H
#define FOVEA_GATE_H

#include "fovea/api.h"
#include "fovea/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FV_GATE_ALIGN 64 /* bytes */

/** The six weights, all row-major f32. X(NAME, shape): with x the token and h the state before it,
 *    g = sigmoid(GATE_INPUT x + GATE_STATE h + GATE_BIAS),  c = tanh(UPDATE_INPUT x + UPDATE_STATE h + UPDATE_BIAS),
 *    f = clamp(zeta * g + nu, 0, 1),  h' = f * h + (1 - f) * c,  salience = |h'|,  h = 0 before the first token. */
#define FV_GATE_PART_LIST(X) \
    X(GATE_INPUT, "[hidden_dim][input_dim]") \
    X(GATE_STATE, "[hidden_dim][hidden_dim]") \
    X(UPDATE_INPUT, "[hidden_dim][input_dim]") \
    X(UPDATE_STATE, "[hidden_dim][hidden_dim]") \
    X(GATE_BIAS, "[hidden_dim]") \
    X(UPDATE_BIAS, "[hidden_dim]")
#define FV_GATE_PART_ENUM(NAME, shape) FV_GATE_PART_##NAME,
typedef enum fv_gate_part { FV_GATE_PART_LIST(FV_GATE_PART_ENUM) FV_GATE_PARTS } fv_gate_part;
#undef FV_GATE_PART_ENUM

/** Where the weights come from. */
typedef enum fv_gate_weights {
    FV_GATE_WEIGHTS_SEEDED = 0,    /* uniform in +-sqrt(6 / (inputs + outputs)) of each matrix (Glorot & Bengio 2010),
                                      drawn from config.seed, no number used twice; biases 0 */
    FV_GATE_WEIGHTS_REFERENCE = 1, /* bit for bit the fixed ones of ruvllm_sparse_attention 0.1.1, about a tenth as
                                      large; a matrix of more than 1000 elements shares numbers with the next one */
    FV_GATE_WEIGHTS_GIVEN = 2      /* the caller's */
} fv_gate_weights;

/** Shape of a gate. Start from fv_gate_config_default(), then set what differs. */
typedef struct fv_gate_config {
    uint32_t input_dim; /* 1..65536, elements of a token; default 64. For keys: the cache's head_dim */
    uint32_t
        hidden_dim;    /* 1..1024, default 32; memory is 8 * hidden_dim * (input_dim + hidden_dim) bytes and a little */
    float zeta;        /* finite, default 1 */
    float nu;          /* finite, default 0 */
    uint32_t weights;  /* fv_gate_weights; default SEEDED */
    uint32_t reserved; /* 0 */
    uint64_t seed;     /* SEEDED: any number, neighbours are as different as others; default 0 */
} fv_gate_config;

/** A gate and its working memory. Opaque; lives inside the caller's memory: drop that. One caller at a time. */
typedef struct fv_gate fv_gate;

FV_API void fv_gate_config_default(fv_gate_config *config);

/** Bytes that fv_gate_init() needs, exactly. *bytes untouched on error. FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_OVERFLOW. */
FV_API fv_status fv_gate_size(const fv_gate_config *config, size_t *bytes);

/**
 * Builds a gate in place.
 *
 * parts   GIVEN: [FV_GATE_PARTS] arrays in the order and shapes of FV_GATE_PART_LIST, copied; otherwise not read
 * (NULL).
 * memory  `bytes` long, aligned to FV_GATE_ALIGN; owned by the caller, must outlive the gate. Need not be cleared.
 * gate    out; untouched on error.
 * returns FV_OK, FV_ERROR_MEMORY (too small, misaligned or NULL), FV_ERROR_ARGUMENT (a field is out of range, a part is
 *         missing), FV_ERROR_NOT_FINITE (an element of a part), FV_ERROR_OVERFLOW. O(weights).
 */
FV_API fv_status fv_gate_init(fv_gate **gate, const fv_gate_config *config, const float *const *parts, void *memory,
                              size_t bytes);

FV_API const fv_gate_config *fv_gate_shape(const fv_gate *gate);

/** Copies one of the weights out, in its shape. FV_OK or FV_ERROR_ARGUMENT. */
FV_API fv_status fv_gate_read(const fv_gate *gate, fv_gate_part part, float *out);

/**
 * Saliences of a sequence, from h = 0 on.
 *
 * inputs   [tokens][input_dim], `stride` elements from token to token, >= input_dim.
 * salience out [tokens], no overlap with inputs.
 * returns  FV_OK (also for 0 tokens: nothing is read or written), FV_ERROR_ARGUMENT; outputs untouched on error.
 * Pure apart from the gate's working memory: the same bits every time, and the same as tokens one by one through
 * fv_gate_step(). A NaN among the inputs makes this salience and all later ones NaN, which every mask below refuses.
 * O(tokens * hidden_dim * (input_dim + hidden_dim)).
 */
FV_API fv_status fv_gate_score(fv_gate *gate, uint32_t tokens, const float *inputs, size_t stride, float *salience);

/** The same with the mean over the heads of keys [tokens][kv_heads][input_dim], `stride` elements from token to token,
 *  >= kv_heads * input_dim; kv_heads >= 1. */
FV_API fv_status fv_gate_score_keys(fv_gate *gate, uint32_t tokens, uint32_t kv_heads, const float *keys, size_t stride,
                                    float *salience);

/** One token of a stream. input [input_dim]; hidden [hidden_dim], zeros before the first token; next [hidden_dim] out,
 *  may be `hidden`; salience out. FV_OK or FV_ERROR_ARGUMENT (NULL), outputs untouched. */
FV_API fv_status fv_gate_step(fv_gate *gate, const float *input, const float *hidden, float *next, float *salience);

/* Keep masks. They need no gate: any score per token will do. Higher scores are kept, of equal ones the earlier token.
 * A NaN among the scores is FV_ERROR_NOT_FINITE and nothing is written; infinities are ordered like numbers.
 *
 * Causal use: a mask over the whole sequence tells early rows about later tokens (a token is dropped because something
 * better comes later). Where row i may know the tokens 0..i only, it takes the mask of their scores alone: the first
 * i + 1 scores handed to fv_keep_top() or fv_keep_quantile(), which is what decoding does at each token, or for all
 * rows at once fv_keep_until() with FV_KEEP_CAUSAL. */

/** mask[j] = 1 for the `keep` highest of `tokens` scores, else 0. keep 0: none; keep >= tokens: all. mask [tokens].
 *  FV_OK, FV_ERROR_ARGUMENT or FV_ERROR_NOT_FINITE. O(tokens). */
FV_API fv_status fv_keep_top(uint32_t tokens, const float *salience, uint32_t keep, uint8_t *mask);

/** mask[j] = 1 where salience[j] >= the element number min((int)(tokens * quantile), tokens - 1) of the ascending
 *  scores; the product is rounded to f32. quantile is held in 0..1, a NaN counts as 0: 0 keeps all, 1 the highest and
 *  its equals. FV_OK, FV_ERROR_ARGUMENT or FV_ERROR_NOT_FINITE. O(tokens). */
FV_API fv_status fv_keep_quantile(uint32_t tokens, const float *salience, float quantile, uint8_t *mask);

typedef enum fv_keep_scope {
    FV_KEEP_CAUSAL = 0,        /* row i uses the scores of the tokens up to i */
    FV_KEEP_WHOLE_SEQUENCE = 1 /* every row uses all: the published method, which leaks the future into causal rows */
} fv_keep_scope;

/**
 * The top masks of all rows at once, one number per token: row i keeps token j, j <= i, exactly if fv_keep_has(until,
 * i, j). It takes one number because a token that has fallen out of the top of a growing sequence never returns.
 *
 * CAUSAL          for row i the mask of fv_keep_top() over the first i + 1 scores; until[j] depends on later scores,
 * but
 *                 fv_keep_has(until, i, j) does not depend on scores after i. For causal attention: j > i means
 *                 nothing.
 * WHOLE_SEQUENCE  for every row and every j the mask of fv_keep_top() over all scores.
 * heap    scratch [min(keep, tokens)]; CAUSAL only, otherwise may be NULL.
 * until   out [tokens].
 * returns FV_OK, FV_ERROR_ARGUMENT or FV_ERROR_NOT_FINITE, nothing written. O(tokens * log keep).
 */
FV_API fv_status fv_keep_until(fv_keep_scope scope, uint32_t tokens, const float *salience, uint32_t keep,
                               uint32_t *heap, uint32_t *until);

static inline bool fv_keep_has(const uint32_t *until, uint32_t row, uint32_t token) { return row < until[token]; }

#ifdef __cplusplus
}
#endif

#endif
