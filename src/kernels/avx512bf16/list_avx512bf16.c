/* Scores and value sums of one page of bf16 for listed positions: the chains of score_page and value_sum of this folder
 * in the blocks of AVX-512's lists. */
#include "kernels/avx512/row_blocks_avx512.h"
#include "kernels/avx512bf16/pairs_avx512bf16.h"
#include "kernels/kernels.h"

/* `run` rows of `positions` positions. */
INLINE void score_block(size_t positions, size_t run, const fv_listed_rows *at, size_t head_dim, const float *query,
                        const void *key, const void *next, float *score) {
    const float *from[8];
    __m512 sum[24];
    for (size_t p = 0; p < positions; p++) from[p] = query + at[p].row * head_dim;
    for (size_t i = 0; i < positions * run; i++) sum[i] = _mm512_setzero_ps();
    for (size_t i = 0; i < (head_dim + 1) / 2; i++) {
        prefetch_line(1, next, i * LINE_BYTES);
        __m512i k = key_pair((const uint16_t *)key, head_dim, i);
        for (size_t p = 0; p < positions; p++)
            for (size_t r = 0; r < run; r++)
                sum[p * run + r] = pair_add(sum[p * run + r], query_spread(from[p] + r * head_dim + i), k);
    }
    for (size_t p = 0; p < positions; p++)
        for (size_t r = 0; r < run; r++) _mm512_storeu_ps(score + at[p].place + r * FV_CHUNK_KEYS, sum[p * run + r]);
}

#define SCORE_BLOCKS(count, run) \
    for (; left >= count; left -= count, at += count, next = NULL) \
    score_block(count, run, at, head_dim, query, key, next, score)

/* A run of rows of all positions of a list. */
INLINE void score_run(size_t run, const fv_row_list *list, size_t head_dim, const float *query, const void *key,
                      const void *next, float *score) {
    const fv_listed_rows *at = list->at;
    size_t left = list->positions;
    if (run <= 3) SCORE_BLOCKS(8, run);
    if (run == 4) SCORE_BLOCKS(6, run);
    if (run != 4) SCORE_BLOCKS(4, run);
    if (run == 4) SCORE_BLOCKS(3, run);
    SCORE_BLOCKS(2, run);
    SCORE_BLOCKS(1, run);
}

enum { PAIRS = 8 }; /* of the weights of a page */

/* rows x (16 * vectors) channels, from channel `first` on; `last` masks the last vector's. */
INLINE void value_block(size_t positions, size_t run, size_t vectors, size_t first, __mmask16 last,
                        const fv_listed_rows *at, size_t head_dim, size_t keys, const uint32_t *pairs,
                        const uint16_t *value, float *out) {
    __m512 sum[16];
    for (size_t p = 0; p < positions; p++)
        for (size_t r = 0; r < run; r++)
            for (size_t j = 0; j < vectors; j++)
                sum[(p * run + r) * vectors + j] = _mm512_maskz_loadu_ps(
                    j + 1 < vectors ? 0xFFFF : last, out + (at[p].row + r) * head_dim + first + 16 * j);
    for (size_t t = 0; t < keys; t += 2) {
        __m512i v[4];
        for (size_t j = 0; j < vectors; j++)
            v[j] = value_pair(value + t * head_dim + first + 16 * j, head_dim, t + 1 < keys,
                              j + 1 < vectors ? 0xFFFF : last);
        for (size_t i = 0; i < positions * run; i++) {
            __m512i w = weight_spread(pairs[i * PAIRS + t / 2]);
            for (size_t j = 0; j < vectors; j++) sum[i * vectors + j] = pair_add(sum[i * vectors + j], w, v[j]);
        }
    }
    for (size_t p = 0; p < positions; p++)
        for (size_t r = 0; r < run; r++)
            for (size_t j = 0; j < vectors; j++)
                _mm512_mask_storeu_ps(out + (at[p].row + r) * head_dim + first + 16 * j,
                                      j + 1 < vectors ? 0xFFFF : last, sum[(p * run + r) * vectors + j]);
}

/* `wide` vectors of all positions while they fit, then one of each. */
INLINE void value_rows(size_t positions, size_t run, size_t wide, const fv_listed_rows *at, size_t head_dim,
                       size_t keys, const float *weight, const void *value, float *out) {
    uint32_t pairs[16 * PAIRS];
    size_t c = 0;
    for (size_t p = 0; p < positions; p++)
        for (size_t r = 0; r < run; r++)
            weights_pack(keys, weight + at[p].place + r * FV_CHUNK_KEYS, pairs + (p * run + r) * PAIRS);
    for (; c + 16 * wide <= head_dim; c += 16 * wide)
        value_block(positions, run, wide, c, 0xFFFF, at, head_dim, keys, pairs, (const uint16_t *)value, out);
    for (; c < head_dim; c += 16) {
        __mmask16 last = lanes_of(head_dim - c);
        value_block(positions, run, 1, c, last, at, head_dim, keys, pairs, (const uint16_t *)value, out);
    }
}

/* A run of rows of all positions of a list. */
INLINE void value_run(size_t together, size_t run, size_t wide, const fv_row_list *list, size_t head_dim, size_t keys,
                      const float *weight, const void *value, float *out) {
    const fv_listed_rows *at = list->at;
    size_t left = list->positions;
    for (; left >= together; left -= together, at += together)
        value_rows(together, run, wide, at, head_dim, keys, weight, value, out);
    for (; left; left--, at++) value_rows(1, run, wide, at, head_dim, keys, weight, value, out);
}

typedef void score_run_fn(const fv_row_list *list, size_t head_dim, const float *query, const void *key,
                          const void *next, float *score);
typedef void value_run_fn(const fv_row_list *list, size_t head_dim, size_t keys, const float *weight, const void *value,
                          float *out);

/* Runs of all lengths, each in a function of its own: together they would share registers badly. With constant numbers
 * of channels and keys, distances and loops are constants, too. */
#define RUN(run, together, wide) \
    static __attribute__((noinline)) void score_##run(const fv_row_list *list, size_t head_dim, const float *query, \
                                                      const void *key, const void *next, float *score) { \
        if (head_dim == 64) \
            score_run(run, list, 64, query, key, next, score); \
        else if (head_dim == 128) \
            score_run(run, list, 128, query, key, next, score); \
        else \
            score_run(run, list, head_dim, query, key, next, score); \
    } \
    static __attribute__((noinline)) void value_##run(const fv_row_list *list, size_t head_dim, size_t keys, \
                                                      const float *weight, const void *value, float *out) { \
        if (head_dim == 64 && keys == 16) \
            value_run(together, run, wide, list, 64, 16, weight, value, out); \
        else if (head_dim == 128 && keys == 16) \
            value_run(together, run, wide, list, 128, 16, weight, value, out); \
        else \
            value_run(together, run, wide, list, head_dim, keys, weight, value, out); \
    }
RUN(1, 4, 4)
RUN(2, 2, 4)
RUN(3, 2, 2)
RUN(4, 1, 4)
RUN(6, 1, 2)

void fv_score_list_bf16_avx512bf16(const fv_row_list *list, size_t head_dim, const float *query, const void *key,
                                   const void *next, const float *key_scale, float *score) {
    static score_run_fn *const runs[] = {score_1, score_2, score_3, score_4, NULL, score_6};
    (void)key_scale;
    for (size_t first = 0, run; first < list->group; first += run, next = NULL) {
        run = run_of(list->group - first);
        runs[run - 1](list, head_dim, query + first * head_dim, key, next, score + first * FV_CHUNK_KEYS);
    }
}

void fv_value_list_bf16_avx512bf16(const fv_row_list *list, size_t head_dim, size_t keys, const float *weight,
                                   const void *value, const void *next, float *out) {
    static value_run_fn *const runs[] = {value_1, value_2, value_3, value_4, NULL, value_6};
    for (size_t i = 0; next && i < keys * head_dim * 2; i += LINE_BYTES) prefetch_line(1, next, i);
    for (size_t first = 0, run; first < list->group; first += run) {
        run = run_of(list->group - first);
        runs[run - 1](list, head_dim, keys, weight + first * FV_CHUNK_KEYS, value, out + first * head_dim);
    }
}
