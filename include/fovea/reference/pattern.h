/* pattern.h - the published log-stride pattern (ruvllm_sparse_attention 0.1.1) over plain arrays and caches, with every
 * call that it has; docs/from-ruvllm.md names them. A thin layer: shapes are checked here, all sums are
 * fovea/attention.h. How structs may change: docs/abi.md. */
#ifndef FOVEA_PATTERN_H
#define FOVEA_PATTERN_H

#include "fovea/api.h"
#include "fovea/attention.h"
#include "fovea/deadline.h"
#include "fovea/reference/evict.h"
#include "fovea/reference/gate.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An array [tokens][heads][head_dim] f32, row-major, without gaps. The caller's; data may be NULL if it is empty. */
typedef struct fv_tensor {
    const float *data;
    uint32_t tokens, heads, head_dim;
} fv_tensor;

/** Which head counts a call accepts. */
typedef enum fv_heads {
    FV_HEADS_AUTO = 0,  /* EQUAL if query and keys have the same number of heads, else SHARED */
    FV_HEADS_EQUAL = 1, /* query, keys and values have the same shape */
    FV_HEADS_SHARED = 2 /* consecutive query heads share a KV head (GQA, MQA) */
} fv_heads;

/** Policy and the shape of the largest call. Start from fv_pattern_config_default(). */
typedef struct fv_pattern_config {
    fv_policy policy;                         /* default FV_SELECTOR_PATTERN's; any selector will do */
    uint32_t max_tokens;                      /* tokens of a forward call, max_tokens of a cache; default 1024 */
    uint32_t query_heads, kv_heads, head_dim; /* default 1, 1, 64; a call may have others if it needs no more memory */
    uint32_t workers;                         /* of the fv_parallel of a call; default 1 */
    uint32_t gated;   /* 1: room for fv_pattern_forward_gated() too, 12 bytes per token; default 0 */
    uint32_t checked; /* 1 (default): an input that is not finite is FV_ERROR_NOT_FINITE; 0: it spreads to the rows that
                         read it and to no others */
    uint32_t decode_only; /* 1: room for decode and batches alone, row by row: some kilobytes. Forward calls, warming up
                             and batches that must fail at a deadline are FV_ERROR_MEMORY. The same bits. Default 0 */
} fv_pattern_config;

/** Policy and scratch in the caller's memory; one call at a time. */
typedef struct fv_pattern fv_pattern;

FV_API void fv_pattern_config_default(fv_pattern_config *config);

/** Bytes that fv_pattern_init() needs: about those of an F32 cache of max_tokens, unless decode_only. *bytes untouched
 *  on error. FV_OK, FV_ERROR_ARGUMENT (a field is out of range, block 0 too), FV_ERROR_OVERFLOW. */
FV_API fv_status fv_pattern_size(const fv_pattern_config *config, size_t *bytes);

/** memory: FV_CACHE_ALIGN aligned, the caller's, need not be cleared. FV_OK, FV_ERROR_MEMORY and what fv_pattern_size()
 *  returns. O(1). */
FV_API fv_status fv_pattern_init(fv_pattern **pattern, const fv_pattern_config *config, const fv_kernels *kernels,
                                 void *memory, size_t bytes);

/** The inputs of a call. Fields that are 0 or NULL have their default. */
typedef struct fv_pattern_call {
    fv_tensor query, keys, values;
    uint32_t heads; /* fv_heads */
    uint32_t tile;  /* positions that are handed to the executor at a time, 0 = all. It changes no bit of the result */
    uint32_t keep_tokens; /* length of keep and keep_until: the tokens of the call, those of the cache in decode */
    const uint8_t *keep;  /* keep mask, as in fv_policy; NULL = the policy's */
    const uint32_t *keep_until;  /* likewise */
    const fv_parallel *parallel; /* NULL = the calling thread */
    fv_report *report;           /* added to; NULL = none; set its struct_bytes */
    const fv_deadline *deadline; /* decode and batches; NULL = none, and what other calls need */
    fv_progress *progress;       /* out, also on FV_ERROR_DEADLINE; NULL = not asked for, unless the deadline is BEST */
} fv_pattern_call;

/**
 * Attention of every position under the policy: out[i][h] = sum over candidates j of i of softmax(query[i][h] . key[j]
 * / sqrt(head_dim)) * value[j]; landmarks are candidates with the weight of one key.
 *
 * call    keys.tokens = values.tokens = query.tokens; head_dim the same, >= 1; heads as call->heads says. No tokens or
 *         no query heads: nothing to do, FV_OK.
 * out     [tokens][query heads][head_dim]; no overlap with the inputs; untouched on error.
 * returns FV_OK, FV_ERROR_ARGUMENT (NULL, a deadline, a report without its size), FV_ERROR_SHAPE (shapes,
 *         keep_tokens != tokens), FV_ERROR_MEMORY (the call is larger than the config), FV_ERROR_NOT_FINITE,
 *         FV_ERROR_RANGE (as fv_cache_append() of F32).
 *         Sizes are compared before an array is read.
 * The same bits for any tile and any number of workers. With keep or keep_until: the gated forward, also with shared
 * heads and tiles; a mask removes tokens that only a log-stride reaches, nothing else.
 */
FV_API fv_status fv_pattern_forward(fv_pattern *pattern, const fv_pattern_call *call, float *out);

/** The same with every key, causal if the policy is. */
FV_API fv_status fv_pattern_forward_dense(fv_pattern *pattern, const fv_pattern_call *call, float *out);

/**
 * Gate and forward in one call: the keep mask is the `keep` keys of highest salience, one for all heads.
 *
 * gate    input_dim = head_dim.
 * scope   FV_KEEP_CAUSAL: row i uses the saliences of the keys up to i; needs a causal policy.
 *         FV_KEEP_WHOLE_SEQUENCE: the published method, in which a late key changes early rows.
 * returns as fv_pattern_forward(); FV_ERROR_ARGUMENT also for a mask in the call, FV_ERROR_NOT_FINITE also for
 *         a salience that is NaN.
 */
FV_API fv_status fv_pattern_forward_gated(fv_pattern *pattern, fv_gate *gate, fv_keep_scope scope, uint32_t keep,
                                          const fv_pattern_call *call, float *out);

/** Appends keys and values, any number of tokens, all or none. FV_OK, FV_ERROR_ARGUMENT (NULL),
 * FV_ERROR_SHAPE (not the cache's), FV_ERROR_FULL, FV_ERROR_NOT_FINITE, FV_ERROR_RANGE; sizes are compared first. */
FV_API fv_status fv_pattern_append(const fv_pattern *pattern, fv_cache *cache, const fv_tensor *keys,
                                   const fv_tensor *values);

/** fv_evict_append() of one token whose shape is checked first. */
FV_API fv_status fv_pattern_append_evict(const fv_pattern *pattern, fv_cache *cache, const fv_evict_config *config,
                                         uint32_t scores_count, const float *scores, const fv_tensor *key,
                                         const fv_tensor *value, uint32_t *victim);

/**
 * Attention of the newest token of `cache`, appended before the call, whatever the cache's element types.
 *
 * call    query of one token, head_dim as the cache's, heads a multiple of kv_heads; keys, values, heads, tile unused.
 * out     [query heads][head_dim]; zeros if the cache is empty; untouched on error.
 * returns FV_OK, FV_ERROR_ARGUMENT (NULL, a report without its size; a policy that chooses by the queries and a cache
 *         without the shadow for it),
 *         FV_ERROR_SHAPE (shapes, a mask shorter than the cache), FV_ERROR_POLICY (landmarks in the policy whose block
 *         is not the cache's), FV_ERROR_MEMORY, FV_ERROR_NOT_FINITE, FV_ERROR_DEADLINE, FV_ERROR_UNSUPPORTED (a
 *         quality with a deadline). Sizes are compared before an array is read.
 * A causal policy gives the row of the forward pass. Not causal: there is nothing ahead yet, and the last block is the
 * row's own, hence no landmark of it.
 *
 * With a deadline that is met, the same bits. With BEST and one worker the keys read are the first of this order: the
 * tokens of the newest segment (FV_SEGMENT_TOKENS); log-strides and landmarks; older segments, newest first; each of
 * these whole. Nothing read in time: zeros.
 */
FV_API fv_status fv_pattern_decode(fv_pattern *pattern, const fv_cache *cache, const fv_pattern_call *call, float *out);

/**
 * Appends query.tokens keys and values and attends each with what is before it: as many single steps.
 *
 * call    keys.tokens = values.tokens = query.tokens, keys.heads = values.heads = kv_heads; no tokens: FV_OK.
 * out     [tokens][query heads][head_dim]
 * returns as fv_pattern_decode(), FV_ERROR_FULL. On error nothing is appended and `out` is untouched.
 *
 * With a deadline, FV_ERROR_MEMORY also if tokens * query heads > 2 * max_tokens * kv_heads of the config. BEST appends
 * all tokens; rows are finished in their order, up to 16 together.
 */
FV_API fv_status fv_pattern_decode_batch(fv_pattern *pattern, fv_cache *cache, const fv_pattern_call *call, float *out);

/**
 * Touches every page of the memory of `pattern` and `cache`, then appends, decodes and takes back one token of zeros
 * with `query_heads` heads, so that the first real call finds memory and code at hand. The cache holds what it held,
 * bit for bit; a full one is only read.
 * returns as fv_pattern_decode().
 */
FV_API fv_status fv_pattern_warm_up(fv_pattern *pattern, fv_cache *cache, uint32_t query_heads);

/** Settings that go together. */
typedef struct fv_pattern_preset {
    fv_pattern_config pattern;
    fv_cache_config cache;
    uint32_t tile; /* for fv_pattern_call */
} fv_pattern_preset;

/** For a Raspberry Pi Zero 2 W (four Cortex-A53, 512 MiB): window 64, tile 16, a cache of F16, 4 workers. Landmarks of
 *  the cache follow what is appended for decode; a forward call touches none of them. */
FV_API void fv_pattern_preset_pi_zero_2w(uint32_t max_tokens, uint32_t query_heads, uint32_t kv_heads,
                                         uint32_t head_dim, fv_pattern_preset *preset);

typedef enum fv_order {
    FV_ORDER_BUILT = 0, /* as the method lists them: window, globals, strides; nearest landmarks, then strides */
    FV_ORDER_RISING = 1
} fv_order;

/**
 * The tokens that row `row` among `tokens` reads exactly under a PATTERN policy, each once.
 *
 * list    out [capacity]; may be NULL with capacity 0, to count.
 * count   out; how many there are, also if that is more than capacity.
 * returns FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_FULL (capacity). Decode over a cache of n tokens: row n - 1 among n.
 */
FV_API fv_status fv_pattern_tokens(const fv_policy *policy, uint32_t tokens, uint32_t row, fv_order order,
                                   uint32_t capacity, uint32_t *list, uint32_t *count);

/** The same for landmarks. */
FV_API fv_status fv_pattern_landmarks(const fv_policy *policy, uint32_t tokens, uint32_t row, fv_order order,
                                      uint32_t capacity, uint32_t *list, uint32_t *count);

/** Sum over all rows of tokens and landmarks read, for one head: the cost of a forward pass. FV_OK or
 *  FV_ERROR_ARGUMENT. O(tokens * log(tokens) * globals). */
FV_API fv_status fv_pattern_edges(const fv_policy *policy, uint32_t tokens, uint64_t *edges);

#ifdef __cplusplus
}
#endif

#endif
