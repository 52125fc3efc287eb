/* array_attention.h - attention over plain arrays in one call: scaled dot product attention ("sdpa"), for prompts
 * ("prefill", "flash attention") and for the newest rows ("decode"), with grouped or shared KV heads (GQA, MQA), dense
 * or under any policy. Hosted: it allocates what it needs and frees it.
 *
 * A call copies keys and values into a cache of its own. Who decodes token by token keeps an fv_cache instead
 * (fovea/cache.h, fovea/attention.h) and appends to it. How structs may change: docs/abi.md. */
#ifndef FOVEA_ARRAY_ATTENTION_H
#define FOVEA_ARRAY_ATTENTION_H

#include "fovea/api.h"
#include "fovea/cache.h"
#include "fovea/message.h"
#include "fovea/parallel.h"
#include "fovea/report.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An array of batches, tokens, heads and elements, as it lies in memory: the caller's. The head_dim elements of a
 * token and head lie side by side; all else is strides, so that [token][head][dim] ("NHD"), [head][token][dim] ("HND")
 * and parts of larger arrays need no copy. */
typedef struct fv_array {
    void *data;                                     /* aligned to its element; inputs are only read */
    uint32_t type;                                  /* fv_element: FV_ELEMENT_F32, FV_ELEMENT_F16 or FV_ELEMENT_BF16 */
    uint32_t batches;                               /* independent sequences; 0 = 1 */
    uint32_t tokens, heads;                         /* 1.. */
    uint32_t head_dim;                              /* 1..1024 */
    uint32_t reserved;                              /* 0, or it is refused */
    size_t batch_stride, token_stride, head_stride; /* elements from one to the next. Of an input they may be 0: the
                                                       same for all */
} fv_array;

/** [batch][token][head][dim] without gaps; for more than one batch set `batches`. */
static inline fv_array fv_array_by_token(const void *data, fv_element type, uint32_t tokens, uint32_t heads,
                                         uint32_t head_dim) {
    fv_array array;
    array.data = (void *)(uintptr_t)data;
    array.type = (uint32_t)type;
    array.batches = 1;
    array.tokens = tokens;
    array.heads = heads;
    array.head_dim = head_dim;
    array.reserved = 0;
    array.head_stride = head_dim;
    array.token_stride = (size_t)heads * head_dim;
    array.batch_stride = tokens * array.token_stride;
    return array;
}

/** [batch][head][token][dim] without gaps; for more than one batch set `batches`. */
static inline fv_array fv_array_by_head(const void *data, fv_element type, uint32_t tokens, uint32_t heads,
                                        uint32_t head_dim) {
    fv_array array = fv_array_by_token(data, type, tokens, heads, head_dim);
    array.token_stride = head_dim;
    array.head_stride = (size_t)tokens * head_dim;
    return array;
}

/** One call. Start from fv_array_attention_default(), then set the four arrays and what differs. */
typedef struct fv_array_attention {
    fv_array query;        /* heads: a multiple of those of keys; consecutive ones share a KV head */
    fv_array keys, values; /* of one shape; heads 1..1024, tokens up to 2^30 */
    fv_array out;          /* the shape of query; no two elements in one place, no overlap with inputs */
    float *lse;            /* NULL, or out [batch][token][query head], no gaps: natural log-sum-exp of the scores read
                              ("return_lse"), to merge with attention over other keys (fovea/state.h) */
    const char *policy;    /* as fovea/policy_text.h says: "fovea:budget=0.12"; NULL = "dense" */
    const fv_parallel *parallel; /* NULL = the calling thread; fv_pool_parallel() of a pool */
    fv_report *report;           /* NULL, or counters that are added to; set its struct_bytes */
    float scale;                 /* of scores ("sm_scale"), 0 < scale <= 1024; 0 = 1 / sqrt(head_dim) */
    float softcap;               /* score = cap * tanh(score / cap) ("logits_soft_cap"); 0 = off */
    uint32_t causal;      /* 0 or 1, default 1: query i of n sits at key position keys - n + i and reads up to it, so
                             that fewer queries than keys are the last rows. 0: every key is visible to each */
    uint32_t window;      /* the model's own mask: a row sees its last `window` keys ("window_left" + 1) and the
                             policy does not apply; needs causal. 0 = none */
    uint32_t reserved[8]; /* 0, or it is refused: where new fields go */
} fv_array_attention;

/** Dense, causal, scale 1 / sqrt(head_dim), no arrays. */
FV_API void fv_array_attention_default(fv_array_attention *call);

/**
 * out[b][i][h] = sum over keys t that row i reads of softmax_t(scale * query[b][i][h] . keys[b][t][g]) *
 * values[b][t][g], g being the KV head of h. The keys read are those that the policy says: all visible ones if it is
 * dense.
 *
 * message  may be NULL; filled on error.
 * returns  FV_OK. FV_ERROR_ARGUMENT: a NULL, a type, alignment, scale, softcap, causal, window or reserved field;
 *          a report without its size.
 *          FV_ERROR_SHAPE: sizes that do not fit each other; strides of `out` that put two elements in one place; more
 *          queries than keys, unless dense and not causal.
 *          FV_ERROR_POLICY: the policy's text, or a policy that the call does not suit (choosing pages is causal).
 *          FV_ERROR_NOT_FINITE: a NaN or an infinity; the message says in which array and where.
 *          FV_ERROR_RANGE: a magnitude above FV_CACHE_LARGEST, or, where out is F16, of a value above 65,504.
 *          FV_ERROR_OVERFLOW, FV_ERROR_MEMORY. FV_ERROR_UNSUPPORTED: left out of this build (src/build.h).
 * On error `out`, `lse` and the report are untouched.
 *
 * Keys and values are stored in the types they come in, so nothing is rounded but sums, and `out` to its type. The same
 * bits for any number of workers, any strides, and whatever other batches and rows are in the call. Reentrant. Memory:
 * about one batch of keys and values. O(queries * keys read * heads * head_dim).
 */
FV_API fv_status fv_array_attention_run(const fv_array_attention *call, fv_message *message);

#ifdef __cplusplus
}
#endif

#endif
