/* cache.h - the pages of K and V of one layer, as packed panels: what is appended is what the kernels read.
 * How structs may change: docs/abi.md. */
#ifndef FOVEA_CACHE_H
#define FOVEA_CACHE_H

#include "fovea/api.h"
#include "fovea/exchange.h"
#include "fovea/isa.h"
#include "fovea/plan.h"
#include "fovea/status.h"
#include "fovea/store.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FV_CACHE_ALIGN 64 /* bytes; alignment of every panel */

/** How a cached element is stored. X(NAME, name): the name is what -ctk/-ctv take. New types go to the end: saved
 *  caches hold the numbers. */
#define FV_ELEMENT_LIST(X) X(F32, f32) X(F16, f16) X(Q8_0, q8_0) X(BF16, bf16) X(Q4_0, q4_0)
#define FV_ELEMENT_ENUM(NAME, name) FV_ELEMENT_##NAME,
typedef enum fv_element { FV_ELEMENT_LIST(FV_ELEMENT_ENUM) FV_ELEMENT_COUNT } fv_element;
#undef FV_ELEMENT_ENUM

#define FV_CACHE_LARGEST 281474976710656.0f /* 2^48, largest magnitude of a key or value: see fv_cache_append() */

/** Shape of one layer's cache. Start from fv_cache_config_default(), then set what differs. */
typedef struct fv_cache_config {
    uint32_t kv_heads;        /* 1..1024 */
    uint32_t head_dim;        /* 1..1024, elements; K and V alike */
    uint32_t max_tokens;      /* 1..2^30, not rounded: 50 is room for 50; memory is for whole pages of 16 tokens */
    uint32_t key_type;        /* fv_element; default F16 */
    uint32_t value_type;      /* fv_element; default F16 */
    uint32_t landmark_tokens; /* tokens per landmark (block mean of K and V, f32); 0 = none (default) */
    uint32_t shadow;          /* 0 or 1, default 0: a copy of the keys in 2 bits a channel, for policies that choose
                                 by the queries */
    uint32_t margins;         /* 0 or 1, default 0: 20 bytes a page and head, for fv_policy.certificate; needs shadow */
    uint32_t tail;            /* 0 or 1, default 0: a copy of the values in 2 bits a channel, for fv_policy.tail; needs
                                 shadow */
} fv_cache_config;

/** Pages of K and V of one layer. Opaque; lives inside the caller's memory and holds no other resource: there is no
 *  destroy call, drop the memory instead. One writer or many readers at a time. */
typedef struct fv_cache fv_cache;

FV_API void fv_cache_config_default(fv_cache_config *config);

/**
 * Bytes that fv_cache_init() needs for `config`, exactly. Pure. O(1).
 * bytes   out; untouched on error.
 * returns FV_OK, FV_ERROR_ARGUMENT (a field is out of range), FV_ERROR_UNSUPPORTED (a type that this build leaves out),
 *         FV_ERROR_OVERFLOW.
 */
FV_API fv_status fv_cache_size(const fv_cache_config *config, size_t *bytes);

/** Bytes of a cache by purpose; what is not asked for takes none. */
typedef struct fv_cache_bytes {
    size_t keys, values; /* with the scales that lie among the elements (Q4_0) */
    size_t scales;       /* those that lie apart (Q8_0) */
    size_t landmarks;
    size_t total; /* all of them and the cache itself: fv_cache_size() */
} fv_cache_bytes;

/** Pure. O(1). bytes is out; untouched on error. Returns what fv_cache_size() returns. */
FV_API fv_status fv_cache_size_parts(const fv_cache_config *config, fv_cache_bytes *bytes);

/**
 * Builds an empty cache in place.
 *
 * kernels do the conversions of fv_cache_append(); must outlive the cache.
 * memory  `bytes` long, aligned to FV_CACHE_ALIGN; owned by the caller, must outlive the cache. Need not be cleared.
 * cache   out; points into `memory`; untouched on error.
 * returns FV_OK, FV_ERROR_MEMORY (too small, misaligned or NULL), and what fv_cache_size() returns. O(1).
 */
FV_API fv_status fv_cache_init(fv_cache **cache, const fv_cache_config *config, const fv_kernels *kernels, void *memory,
                               size_t bytes);

/**
 * Appends `tokens` tokens to all heads.
 *
 * keys    [tokens][kv_heads][head_dim] f32, row-major, tokens `key_stride` elements apart; values likewise.
 * returns FV_OK (also for 0 tokens: nothing is read), FV_ERROR_ARGUMENT (NULL, stride too small), FV_ERROR_FULL
 *         (more than max_tokens, or a segment that they would go to is not there),
 *         FV_ERROR_RANGE (a finite element is beyond its type); nothing is appended on error.
 *
 * Magnitudes that a type takes: F16 below 65,520; Q4_0 524,032 and below; F32, BF16 and Q8_0 FV_CACHE_LARGEST and
 * below. Take BF16 or F32 where F16 or Q4_0 is refused. With FV_CACHE_LARGEST no sum over a cache overflows: not one of
 * 2^30 values before it is divided by the sum of weights, and no sum of squares. So finite input gives finite output.
 * What is not finite passes: it spreads to the rows that read it.
 * F16 and BF16 round to nearest even. Q8_0: one f32 scale per token and head (max |x| / 127).
 * Q4_0: integers -8..7 with one f16 scale per token, head and 32 elements (that of largest magnitude / -8, held within
 * f16); a part of 32 at the end of head_dim has a scale of its own. Its keys are first multiplied by a Hadamard matrix,
 * 32 elements at a time, so that an outlier costs the others little; reading undoes it. NaN becomes 0 in Q8_0 and Q4_0.
 * Landmarks are running means of the unrounded input. O(tokens * kv_heads * head_dim).
 */
FV_API fv_status fv_cache_append(fv_cache *cache, uint32_t tokens, const float *keys, size_t key_stride,
                                 const float *values, size_t value_stride);

/** Forgets all but the first `tokens` tokens. A landmark that the cut leaves partly filled is recomputed from the
 *  stored (rounded) elements. FV_OK or FV_ERROR_ARGUMENT (more than there are). */
FV_API fv_status fv_cache_truncate(fv_cache *cache, uint32_t tokens);

/** Replaces what `to` holds by what `from` holds: the same bits of elements and landmarks; shadow, margins and tail,
 *  where `to` has them, are made from those. The two may differ in max_tokens, shadow and tail alone. FV_OK,
 *  FV_ERROR_ARGUMENT (NULL, or they differ in more), FV_ERROR_FULL (more tokens than fit); `to` is untouched on error.
 *  O(bytes stored). */
FV_API fv_status fv_cache_copy(fv_cache *to, const fv_cache *from);

/*
 * A cache whose memory comes by segments of 1,024 tokens (FV_SEGMENT_TOKENS), as it fills. A segment
 * holds all that there is of its tokens, of all heads: elements, scales, landmarks that begin there, shadow, margins
 * and tail. What it holds depends on the tokens, `config` without max_tokens, and nothing else: caches may share a
 * segment, one may be mapped from a file that another machine wrote. Who owns it, and for how long, is the caller's
 * affair; the cache only reads and writes those that are set.
 */

/**
 * bytes          out; of the cache itself.
 * segment_bytes  out; of one segment, a multiple of FV_CACHE_ALIGN. Both are untouched on error.
 * returns        what fv_cache_size() returns, FV_ERROR_UNSUPPORTED (this build has no segments). Pure. O(1).
 */
FV_API fv_status fv_cache_segments_size(const fv_cache_config *config, size_t *bytes, size_t *segment_bytes);

/** fv_cache_init() for such a cache: empty, and no segment is set. O(max_tokens / 1,024). */
FV_API fv_status fv_cache_segments_init(fv_cache **cache, const fv_cache_config *config, const fv_kernels *kernels,
                                        void *memory, size_t bytes);

/**
 * From now on segment `index`, of the tokens 1,024 * index and on, lies at `memory`: FV_CACHE_ALIGN aligned and
 * segment_bytes long; NULL: it is not there. Taking one away that holds tokens is allowed if they are not read any
 * more: those beyond a layer's sliding window. A call that would read or write a segment that is not there is refused,
 * but for fv_attend_tile() and executors, which do not look. An append and a truncation also read the segment before
 * the ones that they write.
 *
 * returns FV_OK, FV_ERROR_ARGUMENT (no such segment, or the cache has none), FV_ERROR_MEMORY (misaligned). O(1).
 */
FV_API fv_status fv_cache_segment_set(fv_cache *cache, uint32_t index, void *memory);
FV_API void *fv_cache_segment_at(const fv_cache *cache, uint32_t index); /* NULL: it is not there */

/** The first segment that appending to `tokens` tokens, truncating to them, or removing token `tokens` may write: it
 *  and those after it must not be shared then. It may be one that is not there yet. O(1). */
FV_API uint32_t fv_cache_segment_written(const fv_cache *cache, uint32_t tokens);

/** Clears in `copy`, a copy of segment `index`, all that it has of tokens beyond the cache's: a truncation leaves them
 *  where they are, and who gets the copy is not to learn of them. The copy is then what the segment would be had they
 *  never come; bounds and means of a page or block that keeps tokens are as the truncation left them. FV_OK,
 *  FV_ERROR_ARGUMENT (no such segment), FV_ERROR_MEMORY (NULL, misaligned), FV_ERROR_UNSUPPORTED. O(bytes cleared). */
FV_API fv_status fv_cache_segment_clear(const fv_cache *cache, uint32_t index, void *copy);

/**
 * From now on the empty cache is one of `ranks` that hold a context together (exchange.h): segments of other ranks
 * (fv_exchange_owner()) take no memory. An append takes all tokens, counts them and stores its own; what another rank
 * holds cannot be set, read, copied, saved or removed here. Attention over it needs fv_attention_set_exchange().
 *
 * returns  FV_OK, FV_ERROR_ARGUMENT (not a cache of segments, not empty, segments are set, a rank out of range),
 *          FV_ERROR_UNSUPPORTED (landmarks or margins, which are of tokens of two ranks; this build). O(segments).
 */
FV_API fv_status fv_cache_divide(fv_cache *cache, uint32_t rank, uint32_t ranks);

/**
 * Coarse keys of a segment's first 64 tokens are coded about the mean of the 64 before them, which another rank holds:
 * all ranks call this after an append and before a policy chooses, and whoever holds that segment tells. Nothing is
 * exchanged unless the first page of a segment has become full; then once for each such segment, kv_heads * head_dim
 * f32.
 *
 * memory   [kv_heads][head_dim], FV_CACHE_ALIGN aligned; scratch.
 * returns  FV_OK, FV_ERROR_ARGUMENT (NULL, another rank than fv_cache_divide() was told), FV_ERROR_UNSUPPORTED, what
 * the exchange returns; call it again then, or truncate.
 */
FV_API fv_status fv_cache_link(fv_cache *cache, const fv_exchange *exchange, float *memory);

/** The segments that are set hold `tokens` tokens already. FV_OK, FV_ERROR_ARGUMENT (not such a cache, more than
 *  max_tokens, the last one's segment is not there); what they hold is not looked at. O(1). */
FV_API fv_status fv_cache_adopt(fv_cache *cache, uint32_t tokens);

/* These three read one field; the cache must not be NULL. */
FV_API uint32_t fv_cache_tokens(const fv_cache *cache); /* stored */
FV_API const fv_cache_config *fv_cache_shape(const fv_cache *cache);
FV_API uint32_t fv_cache_landmarks(const fv_cache *cache); /* complete ones; a causal plan may MARK these only */

/** Memory that fills from its beginning as tokens come; nothing beyond `used` has been touched. */
typedef struct fv_cache_region {
    void *memory;
    size_t bytes, used;
} fv_cache_region;

/** Region `index`: the keys of each head, then the values of each. For callers that place memory. false: there are no
 * more; a cache of segments has none. */
FV_API bool fv_cache_region_at(const fv_cache *cache, uint32_t index, fv_cache_region *region);

/** Copies landmark `mark` of one head out, [head_dim] each; either may be NULL. That of a partly filled block is the
 *  mean of the tokens it has. FV_OK or FV_ERROR_ARGUMENT (no token of that block is stored). */
FV_API fv_status fv_cache_landmark_read(const fv_cache *cache, uint32_t head, uint32_t mark, float *key, float *value);

/** Takes token `token` out: those after it move up by one; their landmarks are computed again from what is stored.
 *  FV_OK or FV_ERROR_ARGUMENT (no such token). O(tokens after it * kv_heads * head_dim). */
FV_API fv_status fv_cache_remove(fv_cache *cache, uint32_t token);

/** Copies stored elements back out as f32: keys/values [count][head_dim] of one head; either may be NULL.
 *  FV_OK or FV_ERROR_ARGUMENT. */
FV_API fv_status fv_cache_read(const fv_cache *cache, uint32_t head, uint32_t first_token, uint32_t count, float *keys,
                               float *values);

/**
 * Bytes of a store for caches of `config`: two slots, one for the state before. docs/file-formats.md says what lies
 * where. Pure. O(1). bytes is out; untouched on error. Returns what fv_cache_size() returns.
 */
FV_API fv_status fv_cache_save_size(const fv_cache_config *config, uint64_t *bytes);

/**
 * Saves the cache beside the state saved last. That one stays whole: a cut at any write leaves it or the new one.
 *
 * sequence  out, may be NULL; number of this state, one above the largest in the store. Untouched on error.
 * returns FV_OK, FV_ERROR_ARGUMENT (NULL, or the store holds a state of another configuration), FV_ERROR_UNSUPPORTED
 * (it holds one of a newer version), FV_ERROR_OVERFLOW (no sequence number is left), what `store` returns. A store with
 * a state of another configuration is given up by zeros over its first 8,192 bytes.
 *
 * Reads the state saved last, to know that it is whole; then writes the data in rising order, and its header after it.
 * Same bytes on every host. O(bytes stored).
 */
FV_API fv_status fv_cache_save(const fv_cache *cache, const fv_store *store, uint64_t *sequence);

/**
 * Replaces what the cache holds by the newest whole state of the store: the same bits as when it was saved, landmarks
 * too. If the newest state is damaged or cannot be read, that is the one before it; `sequence` tells.
 *
 * cache     of the configuration that was saved, or with a larger max_tokens (which is then saved to a store of its
 *           own); any instruction set.
 * sequence  out, may be NULL; as fv_cache_save() returned it. Untouched on error.
 * returns FV_OK, FV_ERROR_ARGUMENT (NULL, or the store holds a state of another configuration: fv_cache_save_shape()
 * tells which), FV_ERROR_UNSUPPORTED (it holds one of a newer version), FV_ERROR_CORRUPT (it holds no whole state),
 * what `store` returns. On error the cache is as it was; only if the store reads differently the second time is it
 * empty.
 *
 * Reads all twice: once for the checksum, once into the cache. A checksum finds accidents, it is no signature.
 */
FV_API fv_status fv_cache_restore(fv_cache *cache, const fv_store *store, uint64_t *sequence);

/**
 * Gives up the state saved last if its number is above `sequence`, so that fv_cache_restore() finds the one before it.
 *
 * For a model, whose layers have a store each: after a cut some layers have the new state and some the old one. Restore
 * all, forget in each store what is above the smallest number, restore those again: now all are old or all are new, if
 * no layer begins a save before all have ended the one before it. If a layer has no state at all, give up every store.
 *
 * returns FV_OK (also if there is nothing to give up), FV_ERROR_ARGUMENT (NULL), FV_ERROR_UNSUPPORTED, FV_ERROR_CORRUPT
 * (no whole state of that number or below would be left: nothing is given up), what `store` returns.
 */
FV_API fv_status fv_cache_save_forget(const fv_store *store, uint64_t sequence);

/** The configuration of the newest state in the store, from its header alone. FV_OK, FV_ERROR_ARGUMENT (NULL),
 *  FV_ERROR_UNSUPPORTED, FV_ERROR_CORRUPT (no header is whole), what `store` returns. config is untouched on error. */
FV_API fv_status fv_cache_save_shape(const fv_store *store, fv_cache_config *config);

#ifdef __cplusplus
}
#endif

#endif
