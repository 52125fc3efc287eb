/* Scores and value sums over bf16 by products of pairs: queries and weights are rounded to bf16, too. Limit: the
 * products, of which one does the work of two FMA, for eight rows and more; memory for the few of a decode. Blocks are
 * those of AVX-512's kernels: a register of keys or values takes one load and one permutation for two of them. */
#include "kernels/avx512/row_blocks_avx512.h"
#include "kernels/avx512bf16/pairs_avx512bf16.h"
#include "kernels/kernels.h"

void fv_query_pack_bf16_avx512bf16(size_t rows, size_t head_dim, const float *query, size_t query_stride, float *out) {
    for (size_t r = 0; r < rows; r++, query += query_stride, out += head_dim)
        for (size_t c = 0; c < head_dim; c += 32) {
            size_t left = head_dim - c < 32 ? head_dim - c : 32;
            __mmask16 low = lanes_of(left);
            __mmask16 high = (__mmask16)(left > 16 ? (1u << (left - 16)) - 1 : 0);
            __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, query + c + 16 * (left > 16)),
                                                 _mm512_maskz_loadu_ps(low, query + c));
            _mm512_mask_storeu_epi32(out + c / 2, (__mmask16)((1u << (left + 1) / 2) - 1), (__m512i)pairs);
        }
}

enum { FEW_CHANNELS = 64 }; /* pages of 4 KiB and more lose by what comes next, and by L1 */

/* Into L1: these kernels are through with a line before one comes from L2. */
INLINE void prefetch_near(size_t rows, const unsigned char *line) {
    if (rows <= 8 && line) _mm_prefetch((const char *)line, _MM_HINT_T0);
}

/* Key pages ahead, one after the other: memory gives lines in a row sooner than those of several pages in turn. */
typedef struct pages_ahead {
    const void *const *next;
    const unsigned char *at;
    size_t pages, page, turns, left;
} pages_ahead;

/* `pages` lines at each turn, one for each pair of channels; next may be NULL. */
INLINE pages_ahead pages_ahead_of(size_t pages, size_t head_dim, const void *const *next) {
    size_t turns = head_dim <= FEW_CHANNELS ? head_dim / 2 / pages : 0;
    return (pages_ahead){next, next && turns ? (const unsigned char *)next[0] : NULL, pages, 0, turns, turns};
}

INLINE void pages_ahead_turn(size_t rows, pages_ahead *ahead) {
    if (rows > 8 || !ahead->at) return;
    for (size_t p = 0; p < ahead->pages; p++) prefetch_near(rows, ahead->at + p * LINE_BYTES);
    ahead->at += ahead->pages * LINE_BYTES;
    if (--ahead->left) return;
    ahead->left = ahead->turns;
    ahead->at = ++ahead->page < ahead->pages ? (const unsigned char *)ahead->next[ahead->page] : NULL;
}

/* `rows` x `pages` at once: as many chains. */
INLINE void score_block(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                        const void *const *key, const void *const *next, float *score, size_t score_stride) {
    __m512 sum[24];
    for (size_t i = 0; i < rows * pages; i++) sum[i] = _mm512_setzero_ps();
    pages_ahead ahead = pages_ahead_of(pages, head_dim, next);
    for (size_t i = 0; i < (head_dim + 1) / 2; i++) {
        __m512i k[4];
        pages_ahead_turn(rows, &ahead);
        for (size_t p = 0; p < pages; p++) {
            if (head_dim > FEW_CHANNELS) prefetch_line(rows, next ? next[p] : NULL, i * LINE_BYTES);
            k[p] = key_pair((const uint16_t *)key[p], head_dim, i);
        }
        for (size_t r = 0; r < rows; r++) {
            __m512i q = query_spread(query + r * query_stride + i);
            for (size_t p = 0; p < pages; p++) sum[r * pages + p] = pair_add(sum[r * pages + p], q, k[p]);
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t p = 0; p < pages; p++) _mm512_storeu_ps(score + r * score_stride + 16 * p, sum[r * pages + p]);
}

/* `together` pages while they fit, of few rows then two, then one at a time. */
INLINE void score_rows(size_t rows, size_t together, size_t pages, size_t head_dim, const float *query,
                       size_t query_stride, const void *const *key, const void *const *next, float *score,
                       size_t score_stride) {
    size_t p = 0;
    for (; p + together <= pages; p += together)
        score_block(rows, together, head_dim, query, query_stride, key + p, next ? next + p : NULL, score + 16 * p,
                    score_stride);
    for (; together > 2 && p + 2 <= pages; p += 2)
        score_block(rows, 2, head_dim, query, query_stride, key + p, next ? next + p : NULL, score + 16 * p,
                    score_stride);
    for (; p < pages; p++)
        score_block(rows, 1, head_dim, query, query_stride, key + p, next ? next + p : NULL, score + 16 * p,
                    score_stride);
}

/* With strides known to the compiler, many rows need one pointer. */
INLINE void score_many(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                       const void *const *key, const void *const *next, float *score, size_t score_stride) {
    enum { OUT = FV_CHUNK_KEYS };
    size_t known = score_stride == OUT && head_dim == query_stride ? query_stride : 0;
    if (known == 64)
        score_rows(rows, 2, pages, 64, query, 64, key, next, score, OUT);
    else if (known == 128)
        score_rows(rows, 2, pages, 128, query, 128, key, next, score, OUT);
    else if (known == 256)
        score_rows(rows, 2, pages, 256, query, 256, key, next, score, OUT);
    else
        score_rows(rows, 2, pages, head_dim, query, query_stride, key, next, score, score_stride);
}

void fv_score_page_bf16_avx512bf16(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                                   const void *const *key, const void *const *next, const float *key_scale,
                                   float *score, size_t score_stride) {
#define SCORE_MANY(count) \
    case count: \
        score_many(count, pages, head_dim, query, query_stride, key, next, score, score_stride); \
        break;
#define SCORE_FEW(count, together) \
    case count: \
        score_rows(count, together, pages, head_dim, query, query_stride, key, next, score, score_stride); \
        break;
    (void)key_scale;
    for (size_t block; rows; rows -= block, query += block * query_stride, score += block * score_stride) {
        block = block_rows(rows);
        switch (block) {
            SCORE_MANY(12)
            SCORE_MANY(8)
            SCORE_FEW(7, 2)
            SCORE_FEW(6, 4)
            SCORE_FEW(5, 4)
            SCORE_FEW(4, 4)
            SCORE_FEW(3, 4)
            SCORE_FEW(2, 4)
            SCORE_FEW(1, 4)
        }
    }
}

enum { PACKED_KEYS = 64, PACKED_PAIRS = PACKED_KEYS / 2 }; /* whose weights are packed at once */

/* rows x (16 * vectors) channels, from channel `first` on; `last` masks the last vector's. */
INLINE void value_block(size_t rows, size_t vectors, size_t first, __mmask16 last, size_t head_dim, size_t keys,
                        const uint32_t *weight, const uint16_t *value, const uint16_t *next, float *out,
                        size_t out_stride) {
    __m512 sum[24];
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vectors; j++)
            sum[r * vectors + j] =
                _mm512_maskz_loadu_ps(j + 1 < vectors ? 0xFFFF : last, out + r * out_stride + first + 16 * j);
    for (size_t t = 0; t < keys; t += 2) {
        __m512i v[8];
        for (size_t row = t; row < t + 2 && row < keys; row++)
            for (size_t i = 0; i < 16 * vectors; i += LINE_BYTES / 2) {
                const unsigned char *line = next ? (const unsigned char *)(next + row * head_dim + first + i) : NULL;
                if (head_dim <= FEW_CHANNELS)
                    prefetch_near(rows, line);
                else
                    prefetch_line(rows, line, 0);
            }
        for (size_t j = 0; j < vectors; j++)
            v[j] = value_pair(value + t * head_dim + first + 16 * j, head_dim, t + 1 < keys,
                              j + 1 < vectors ? 0xFFFF : last);
        for (size_t r = 0; r < rows; r++) {
            __m512i w = weight_spread(weight[r * PACKED_PAIRS + t / 2]);
            for (size_t j = 0; j < vectors; j++) sum[r * vectors + j] = pair_add(sum[r * vectors + j], w, v[j]);
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vectors; j++)
            _mm512_mask_storeu_ps(out + r * out_stride + first + 16 * j, j + 1 < vectors ? 0xFFFF : last,
                                  sum[r * vectors + j]);
}

/* `wide` vectors while they fit, then one, or the masked rest; the weights of some keys at a time. */
INLINE void value_rows(size_t rows, size_t wide, size_t head_dim, size_t keys, const float *weight,
                       size_t weight_stride, const uint16_t *value, const uint16_t *next, float *out,
                       size_t out_stride) {
    uint32_t pairs[12 * PACKED_PAIRS];
    for (size_t some; keys; keys -= some, weight += some, value += some * head_dim) {
        some = keys < PACKED_KEYS ? keys : PACKED_KEYS;
        for (size_t r = 0; r < rows; r++)
            for (size_t t = 0; t < some; t += 16)
                weights_pack(some - t, weight + r * weight_stride + t, pairs + r * PACKED_PAIRS + t / 2);
        size_t c = 0;
        for (; c + 16 * wide <= head_dim; c += 16 * wide)
            value_block(rows, wide, c, 0xFFFF, head_dim, some, pairs, value, next, out, out_stride);
        for (; c < head_dim; c += 16) {
            __mmask16 last = lanes_of(head_dim - c);
            value_block(rows, 1, c, last, head_dim, some, pairs, value, next, out, out_stride);
        }
        if (next) next += some * head_dim;
    }
}

static void value_sum(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                      const uint16_t *value, const uint16_t *next, float *out, size_t out_stride) {
#define VALUE_ROWS(count, wide) \
    case count: \
        value_rows(count, wide, head_dim, keys, weight, weight_stride, value, next, out, out_stride); \
        break;
    for (size_t block; rows; rows -= block, weight += block * weight_stride, out += block * out_stride) {
        block = block_rows(rows);
        switch (block) {
            VALUE_ROWS(12, 2)
            VALUE_ROWS(8, 2)
            VALUE_ROWS(7, 2)
            VALUE_ROWS(6, 4)
            VALUE_ROWS(5, 4)
            VALUE_ROWS(4, 4)
            VALUE_ROWS(3, 4)
            VALUE_ROWS(2, 4)
        case 1: /* chains enough to hide the latency */
            if (head_dim % 128 == 0)
                value_rows(1, 8, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
            else
                value_rows(1, 4, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
            break;
        }
    }
}

void fv_value_sum_bf16_avx512bf16(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                                  const void *value, const void *next, float *out, size_t out_stride) {
    value_sum(rows, head_dim, keys, weight, weight_stride, (const uint16_t *)value, (const uint16_t *)next, out,
              out_stride);
}

/* A first key that is the odd one of its pair is added alone. */
void fv_value_parts_bf16_avx512bf16(size_t positions, size_t group, size_t head_dim, const fv_value_part *part,
                                    const float *weight, size_t weight_stride, const void *value, float *out,
                                    size_t out_stride) {
    const uint16_t *values = (const uint16_t *)value;
    for (size_t p = 0; p < positions; p++, weight += group * weight_stride, out += group * out_stride) {
        size_t odd = part[p].keys && part[p].column % 2;
        if (odd)
            value_sum(group, head_dim, 1, weight + part[p].column, weight_stride, values + part[p].first * head_dim,
                      NULL, out, out_stride);
        if (part[p].keys > odd)
            value_sum(group, head_dim, part[p].keys - odd, weight + part[p].column + odd, weight_stride,
                      values + (part[p].first + odd) * head_dim, NULL, out, out_stride);
    }
}
