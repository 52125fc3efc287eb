/* slow_sequence.h - what a sequence holds, in plain arrays: ids, keys and values of every layer; attention over them in
 * double; and whose its segments are, as numbers, so that memory can be counted without the library. For the small
 * models of tests/model with 16 elements of keys a token and layer. */
#ifndef FV_TEST_SLOW_SEQUENCE_H
#define FV_TEST_SLOW_SEQUENCE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SLOW_TOKENS = 3300, SLOW_SEGMENT = 1024, SLOW_TABLE = 4, SLOW_LAYERS = 7, SLOW_ROW = 16, SLOW_MOST = 64 };

#define SLOW_MAPPED \
    ((uint64_t)1 << 63) /* in a number: a file's segment, which takes no memory and is never written \
                         */

typedef struct slow_row {
    float key[SLOW_LAYERS][SLOW_ROW], value[SLOW_LAYERS][SLOW_ROW]; /* of all heads, as stored */
} slow_row;

/* What does not change. */
typedef struct slow_shape {
    uint32_t layers, kv_heads, query_heads, ring, reach; /* segments and tokens that a window keeps at least */
    uint32_t window[SLOW_LAYERS];                        /* 0: sees everything */
    uint32_t block[SLOW_LAYERS];                         /* tokens of a landmark, or 1 */
    size_t segment_bytes[SLOW_LAYERS];
    float scale;
} slow_shape;

typedef struct slow_sequence {
    slow_shape shape;
    uint32_t tokens, local_first; /* segments before local_first are gone where there is a window */
    int32_t ids[SLOW_TOKENS];
    slow_row rows[SLOW_TOKENS];
    uint64_t segment[SLOW_LAYERS][SLOW_TABLE]; /* its number; 0: it is not there */
} slow_sequence;

static inline uint32_t slow_segments(uint32_t tokens) { return (tokens + SLOW_SEGMENT - 1) / SLOW_SEGMENT; }

/* The fewest tokens, besides 0, that it can go back to. */
static inline uint32_t slow_earliest(const slow_sequence *s) {
    return s->local_first ? s->local_first * SLOW_SEGMENT + s->shape.reach : 0;
}

static inline void slow_remove(slow_sequence *s, uint32_t token) {
    uint32_t after = --s->tokens - token;
    memmove(&s->ids[token], &s->ids[token + 1], after * sizeof s->ids[0]);
    memmove(&s->rows[token], &s->rows[token + 1], after * sizeof s->rows[0]);
}

/* Attention of the newest token; query and out [query_heads][head_dim]; weights [SLOW_TOKENS] is room. */
static inline void slow_attend(const slow_sequence *s, uint32_t layer, const float *query, double *weights,
                               double *out) {
    uint32_t dim = SLOW_ROW / s->shape.kv_heads, group = s->shape.query_heads / s->shape.kv_heads;
    uint32_t window = s->shape.window[layer], first = window && s->tokens > window ? s->tokens - window : 0;
    for (uint32_t head = 0; head < s->shape.query_heads; head++) {
        uint32_t at = head / group * dim;
        double most = -INFINITY, sum = 0;
        for (uint32_t t = first; t < s->tokens; t++) {
            double dot = 0;
            for (uint32_t i = 0; i < dim; i++)
                dot += (double)query[head * dim + i] * (double)s->rows[t].key[layer][at + i];
            weights[t] = dot * (double)s->shape.scale;
            most = fmax(most, weights[t]);
        }
        for (uint32_t t = first; t < s->tokens; t++) sum += weights[t] = exp(weights[t] - most);
        for (uint32_t i = 0; i < dim; i++) {
            double mean = 0;
            for (uint32_t t = first; t < s->tokens; t++)
                mean += weights[t] / sum * (double)s->rows[t].value[layer][at + i];
            out[head * dim + i] = mean;
        }
    }
}

/* --- whose segments are ------------------------------------------------------------------------------------------ */

/* All sequences of one pool of segments. */
typedef struct slow_pool {
    slow_sequence *all[SLOW_MOST]; /* NULL: there is none */
    uint64_t last;                 /* number that was given */
} slow_pool;

static inline uint32_t slow_holders(const slow_pool *pool, uint32_t layer, uint32_t index, uint64_t number) {
    uint32_t holders = 0;
    for (uint32_t i = 0; i < SLOW_MOST; i++) holders += pool->all[i] && pool->all[i]->segment[layer][index] == number;
    return holders;
}

static inline bool slow_is_own(const slow_pool *pool, const slow_sequence *s, uint32_t layer, uint32_t index) {
    uint64_t number = s->segment[layer][index];
    return number && !(number & SLOW_MAPPED) && slow_holders(pool, layer, index, number) == 1;
}

static inline uint64_t slow_bytes(const slow_pool *pool, const slow_sequence *s, bool shared_too) {
    uint64_t bytes = 0;
    for (uint32_t layer = 0; layer < s->shape.layers; layer++)
        for (uint32_t i = 0; i < SLOW_TABLE; i++)
            if (s->segment[layer][i] && (shared_too || slow_is_own(pool, s, layer, i)))
                bytes += s->shape.segment_bytes[layer];
    return bytes;
}

/* What all of them take: shared segments once, a file's not at all. */
static inline uint64_t slow_pool_bytes(const slow_pool *pool) {
    uint64_t bytes = 0;
    for (uint32_t j = 0; j < SLOW_MOST; j++)
        for (uint32_t i = 0; pool->all[j] && i < SLOW_LAYERS * SLOW_TABLE; i++) {
            uint32_t layer = i / SLOW_TABLE, index = i % SLOW_TABLE, before = 0;
            uint64_t number = pool->all[j]->segment[layer][index];
            if (!number || number & SLOW_MAPPED) continue;
            while (before < j && !(pool->all[before] && pool->all[before]->segment[layer][index] == number)) before++;
            if (before == j) bytes += pool->all[j]->shape.segment_bytes[layer];
        }
    return bytes;
}

/* What may be written once it has `tokens` tokens, up to segment end - 1, becomes its own. Returns the bytes that this
 * takes. */
static inline uint64_t slow_own(slow_pool *pool, slow_sequence *s, uint32_t tokens, uint32_t end) {
    uint64_t bytes = 0;
    for (uint32_t layer = 0; layer < s->shape.layers; layer++)
        for (uint32_t i = (tokens - tokens % s->shape.block[layer]) / SLOW_SEGMENT; i < end; i++)
            if (!slow_is_own(pool, s, layer, i)) {
                s->segment[layer][i] = ++pool->last;
                bytes += s->shape.segment_bytes[layer];
            }
    return bytes;
}

/* What windows will have left behind at `tokens` tokens. Returns the bytes of it that nobody else has. */
static inline uint64_t slow_trim(const slow_pool *pool, slow_sequence *s, uint32_t tokens, bool now) {
    uint32_t end = slow_segments(tokens), kept = s->local_first;
    uint64_t bytes = 0;
    for (uint32_t layer = 0; layer < s->shape.layers; layer++) {
        if (!s->shape.window[layer]) continue;
        if (end > s->local_first + s->shape.ring) kept = end - s->shape.ring;
        for (uint32_t i = s->local_first; i < kept; i++) {
            if (slow_is_own(pool, s, layer, i)) bytes += s->shape.segment_bytes[layer];
            if (now) s->segment[layer][i] = 0;
        }
    }
    if (now) s->local_first = kept;
    return bytes;
}

/* Segments beyond its tokens go. */
static inline void slow_settle(slow_sequence *s) {
    for (uint32_t layer = 0; layer < s->shape.layers; layer++)
        for (uint32_t i = slow_segments(s->tokens); i < SLOW_TABLE; i++) s->segment[layer][i] = 0;
    if (s->tokens == 0) s->local_first = 0;
}

static inline void slow_truncate(slow_pool *pool, slow_sequence *s, uint32_t tokens) {
    if (tokens == s->tokens) return;
    slow_own(pool, s, tokens, slow_segments(tokens));
    s->tokens = tokens;
    slow_settle(s);
}

/* The first `tokens` of what was saved; mapped: which segments lie whole in the file. */
static inline void slow_wake(slow_pool *pool, slow_sequence *s, const slow_sequence *saved, uint32_t tokens,
                             bool mapped[SLOW_LAYERS][SLOW_TABLE]) {
    uint32_t end = slow_segments(tokens), held = end * SLOW_SEGMENT;
    memset(s->segment, 0, sizeof s->segment);
    memcpy(s->ids, saved->ids, sizeof s->ids);
    memcpy(s->rows, saved->rows, sizeof s->rows);
    s->tokens = held < saved->tokens ? held : saved->tokens;
    s->local_first = saved->local_first;
    for (uint32_t layer = 0; layer < s->shape.layers; layer++)
        for (uint32_t i = s->shape.window[layer] ? s->local_first : 0; i < end; i++)
            s->segment[layer][i] = ++pool->last | (mapped[layer][i] ? SLOW_MAPPED : 0);
    slow_truncate(pool, s, tokens);
}

#endif
