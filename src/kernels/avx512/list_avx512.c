/* Scores and value sums of one page for listed positions, over all types; the chains of the other kernels. Rows of a
 * position are addressed from one pointer: a pointer each would leave no register for more than a dozen rows. Scores:
 * some 24 rows share a vector of keys, since each FMA loads its query. Value sums: 12 to 16 sums at a time, which hide
 * the latency and let the next ones' loads begin early. */
#include "kernels/avx512/element_avx512.h"
#include "kernels/avx512/row_blocks_avx512.h"
#include "kernels/kernels.h"
#include <stdbool.h>

/* `run` rows of `positions` positions. */
INLINE void score_block(element type, size_t positions, size_t run, const fv_listed_rows *at, size_t head_dim,
                        const float *query, const void *key, const void *next, const float *key_scale, float *score) {
    const float *from[8];
    __m512 sum[24];
    for (size_t p = 0; p < positions; p++) from[p] = query + at[p].row * head_dim;
    for (size_t i = 0; i < positions * run; i++) sum[i] = _mm512_setzero_ps();
    for (size_t c = 0; c < head_dim; c++) {
        prefetch_line(1, next, c * lane_bytes(type));
        __m512 k = keys16(type, key, head_dim, c);
        for (size_t p = 0; p < positions; p++)
            for (size_t r = 0; r < run; r++)
                sum[p * run + r] = _mm512_fmadd_ps(_mm512_set1_ps(from[p][r * head_dim + c]), k, sum[p * run + r]);
    }
    for (size_t p = 0; p < positions; p++)
        for (size_t r = 0; r < run; r++) {
            __m512 x = sum[p * run + r];
            if (type == ELEMENT_Q8) x = _mm512_mul_ps(x, _mm512_loadu_ps(key_scale));
            _mm512_storeu_ps(score + at[p].place + r * FV_CHUNK_KEYS, x);
        }
}

#define SCORE_BLOCKS(count, run) \
    for (; left >= count; left -= count, at += count, next = NULL) \
    score_block(type, count, run, at, head_dim, query, key, next, key_scale, score)

/* A run of rows of all positions of a list. */
INLINE void score_run(element type, size_t run, const fv_row_list *list, size_t head_dim, const float *query,
                      const void *key, const void *next, const float *key_scale, float *score) {
    const fv_listed_rows *at = list->at;
    size_t left = list->positions;
    if (run <= 3) SCORE_BLOCKS(8, run);
    if (run == 4) SCORE_BLOCKS(6, run);
    if (run != 4) SCORE_BLOCKS(4, run);
    if (run == 4) SCORE_BLOCKS(3, run);
    SCORE_BLOCKS(2, run);
    SCORE_BLOCKS(1, run);
}

/* Token t of a page. */
INLINE void value_add(element type, size_t positions, size_t run, size_t vectors, size_t first, __mmask16 last,
                      const float *const *from, size_t t, size_t head_dim, const unsigned char *value, __m512 *sum) {
    __m512 v[4];
    row_widen(type, vectors, value + t * row_bytes16(type, head_dim), first, last, v);
    for (size_t p = 0; p < positions; p++)
        for (size_t r = 0; r < run; r++) {
            __m512 w = _mm512_set1_ps(from[p][r * FV_CHUNK_KEYS + t]);
            __m512 *to = sum + (p * run + r) * vectors;
            for (size_t j = 0; j < vectors; j++) to[j] = _mm512_fmadd_ps(w, v[j], to[j]);
        }
}

/* rows x (16 * vectors) channels, from channel `first` on; `last` masks the last vector's. */
INLINE void value_block(element type, bool known, size_t positions, size_t run, size_t vectors, size_t first,
                        __mmask16 last, const fv_listed_rows *at, size_t head_dim, size_t keys, const float *weight,
                        const unsigned char *value, float *out) {
    const float *from[4];
    __m512 sum[16];
    for (size_t p = 0; p < positions; p++) {
        from[p] = weight + at[p].place;
        for (size_t r = 0; r < run; r++)
            for (size_t j = 0; j < vectors; j++)
                sum[(p * run + r) * vectors + j] = _mm512_maskz_loadu_ps(
                    j + 1 < vectors ? 0xFFFF : last, out + (at[p].row + r) * head_dim + first + 16 * j);
    }
    if (known) {
#pragma GCC unroll 16
        for (size_t t = 0; t < 16; t++)
            value_add(type, positions, run, vectors, first, last, from, t, head_dim, value, sum);
    }
    for (size_t t = 0; !known && t < keys; t++)
        value_add(type, positions, run, vectors, first, last, from, t, head_dim, value, sum);
    for (size_t p = 0; p < positions; p++)
        for (size_t r = 0; r < run; r++)
            for (size_t j = 0; j < vectors; j++)
                _mm512_mask_storeu_ps(out + (at[p].row + r) * head_dim + first + 16 * j,
                                      j + 1 < vectors ? 0xFFFF : last, sum[(p * run + r) * vectors + j]);
}

/* `wide` vectors of all positions while they fit, then two, of which a block of Q4_0 is made, or one of each. */
INLINE void value_rows(element type, bool known, size_t positions, size_t run, size_t wide, const fv_listed_rows *at,
                       size_t head_dim, size_t keys, const float *weight, const void *value, float *out) {
    size_t c = 0;
    for (; c + 16 * wide <= head_dim; c += 16 * wide)
        value_block(type, known, positions, run, wide, c, 0xFFFF, at, head_dim, keys, weight, value, out);
    for (; c < head_dim; c += 32) {
        size_t left = head_dim - c;
        __mmask16 last = (__mmask16)(left % 16 && left < 32 ? (1u << left % 16) - 1 : 0xFFFF);
        for (size_t p = 0; p < positions; p++) {
            if (left > 16) value_block(type, false, 1, run, 2, c, last, at + p, head_dim, keys, weight, value, out);
            if (left <= 16) value_block(type, false, 1, run, 1, c, last, at + p, head_dim, keys, weight, value, out);
        }
    }
}

/* A run of rows of all positions of a list. */
INLINE void value_run(element type, bool known, size_t together, size_t run, size_t wide, const fv_row_list *list,
                      size_t head_dim, size_t keys, const float *weight, const void *value, float *out) {
    const fv_listed_rows *at = list->at;
    size_t left = list->positions;
    for (; left >= together; left -= together, at += together)
        value_rows(type, known, together, run, wide, at, head_dim, keys, weight, value, out);
    for (; left; left--, at++) value_rows(type, known, 1, run, wide, at, head_dim, keys, weight, value, out);
}

typedef void value_run_fn(const fv_row_list *list, size_t head_dim, size_t keys, const float *weight, const void *value,
                          float *out);

/* With constant numbers of channels, as f16 has them here, and of keys, distances and loops are constants, too. */
#define KNOWN_DIM(type, dim) (type == ELEMENT_F16 && head_dim == dim)

/* Runs of all lengths, each in a function of its own: together they would share registers badly. */
#define RUN(type, name, run, together, wide) \
    static __attribute__((noinline)) void score_##name##_##run(const fv_row_list *list, size_t head_dim, \
                                                               const float *query, const void *key, const void *next, \
                                                               const float *key_scale, float *score) { \
        if (KNOWN_DIM(type, 64)) \
            score_run(type, run, list, 64, query, key, next, key_scale, score); \
        else if (KNOWN_DIM(type, 128)) \
            score_run(type, run, list, 128, query, key, next, key_scale, score); \
        else \
            score_run(type, run, list, head_dim, query, key, next, key_scale, score); \
    } \
    static __attribute__((noinline)) void value_##name##_##run(const fv_row_list *list, size_t head_dim, size_t keys, \
                                                               const float *weight, const void *value, float *out) { \
        if (KNOWN_DIM(type, 64) && keys == 16) \
            value_run(type, true, together, run, wide, list, 64, 16, weight, value, out); \
        else if (KNOWN_DIM(type, 128) && keys == 16) \
            value_run(type, true, together, run, wide, list, 128, 16, weight, value, out); \
        else \
            value_run(type, false, together, run, wide, list, head_dim, keys, weight, value, out); \
    }
#define LISTS(type, name) \
    RUN(type, name, 1, 4, 4) \
    RUN(type, name, 2, 2, 4) \
    RUN(type, name, 3, 2, 2) \
    RUN(type, name, 4, 1, 4) \
    RUN(type, name, 6, 1, 2) \
    void fv_score_list_##name##_avx512(const fv_row_list *list, size_t head_dim, const float *query, const void *key, \
                                       const void *next, const float *key_scale, float *score) { \
        static fv_score_list_fn *const runs[] = { \
            score_##name##_1, score_##name##_2, score_##name##_3, score_##name##_4, NULL, score_##name##_6}; \
        for (size_t first = 0, run; first < list->group; first += run, next = NULL) { \
            run = run_of(list->group - first); \
            runs[run - 1](list, head_dim, query + first * head_dim, key, next, key_scale, \
                          score + first * FV_CHUNK_KEYS); \
        } \
    } \
    void fv_value_list_##name##_avx512(const fv_row_list *list, size_t head_dim, size_t keys, const float *weight, \
                                       const void *value, const void *next, float *out) { \
        static value_run_fn *const runs[] = { \
            value_##name##_1, value_##name##_2, value_##name##_3, value_##name##_4, NULL, value_##name##_6}; \
        for (size_t i = 0; next && i < keys * row_bytes16(type, head_dim); i += LINE_BYTES) prefetch_line(1, next, i); \
        for (size_t first = 0, run; first < list->group; first += run) { \
            run = run_of(list->group - first); \
            runs[run - 1](list, head_dim, keys, weight + first * FV_CHUNK_KEYS, value, out + first * head_dim); \
        } \
    }
LISTS(ELEMENT_F32, f32)
LISTS(ELEMENT_F16, f16)
LISTS(ELEMENT_BF16, bf16)
LISTS(ELEMENT_Q8, q8)
LISTS(ELEMENT_Q4, q4)
