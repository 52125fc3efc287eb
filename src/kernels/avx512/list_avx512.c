/* Scores and value sums of one page for listed rows, over all types; the chains of the other kernels. Limit: loads, a
 * broadcast for each FMA of scores. Twelve rows share what is loaded or converted. */
#include "kernels/avx512/element_avx512.h"
#include "kernels/kernels.h"

INLINE void score_listed(element type, size_t rows, const fv_listed_row *list, size_t head_dim, const float *query,
                         const void *key, const void *next, const float *key_scale, float *score) {
    const float *from[12];
    __m512 sum[12];
    for (size_t r = 0; r < rows; r++) from[r] = query + list[r].row * head_dim;
    for (size_t r = 0; r < rows; r++) sum[r] = _mm512_setzero_ps();
    for (size_t c = 0; c < head_dim; c++) {
        prefetch_line(1, next, c * lane_bytes(type));
        __m512 k = keys16(type, key, head_dim, c);
        for (size_t r = 0; r < rows; r++) sum[r] = _mm512_fmadd_ps(_mm512_set1_ps(from[r][c]), k, sum[r]);
    }
    for (size_t r = 0; r < rows; r++) {
        if (type == ELEMENT_Q8) sum[r] = _mm512_mul_ps(sum[r], _mm512_loadu_ps(key_scale));
        _mm512_storeu_ps(score + list[r].place, sum[r]);
    }
}

/* rows x (16 * vectors) channels, from channel `first` on; `last` masks the last vector's. */
INLINE void value_listed(element type, size_t rows, size_t vectors, size_t first, __mmask16 last,
                         const fv_listed_row *list, size_t head_dim, size_t keys, const float *weight,
                         const unsigned char *value, float *out) {
    const float *from[12];
    __m512 sum[24], v[2];
    for (size_t r = 0; r < rows; r++) {
        from[r] = weight + list[r].place;
        for (size_t j = 0; j < vectors; j++)
            sum[r * vectors + j] =
                _mm512_maskz_loadu_ps(j + 1 < vectors ? 0xFFFF : last, out + list[r].row * head_dim + first + 16 * j);
    }
    for (size_t t = 0; t < keys; t++) {
        row_widen(type, vectors, value + t * row_bytes16(type, head_dim), first, last, v);
        for (size_t r = 0; r < rows; r++)
            for (size_t j = 0; j < vectors; j++)
                sum[r * vectors + j] = _mm512_fmadd_ps(_mm512_set1_ps(from[r][t]), v[j], sum[r * vectors + j]);
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vectors; j++)
            _mm512_mask_storeu_ps(out + list[r].row * head_dim + first + 16 * j, j + 1 < vectors ? 0xFFFF : last,
                                  sum[r * vectors + j]);
}

/* Two vectors while there is more than one. */
INLINE void value_list(element type, size_t rows, const fv_listed_row *list, size_t head_dim, size_t keys,
                       const float *weight, const void *value, float *out) {
    for (size_t c = 0; c < head_dim; c += 32) {
        size_t left = head_dim - c, end = left < 32 ? left : 32, vectors = end > 16 ? 2 : 1;
        __mmask16 last = (__mmask16)((1u << (end - 16 * (vectors - 1))) - 1);
        if (end == 32)
            value_listed(type, rows, 2, c, 0xFFFF, list, head_dim, keys, weight, value, out);
        else if (vectors == 2)
            value_listed(type, rows, 2, c, last, list, head_dim, keys, weight, value, out);
        else
            value_listed(type, rows, 1, c, last, list, head_dim, keys, weight, value, out);
    }
}

#define LISTED(rows, n, call) \
    for (; rows >= n; rows -= n, list += n, next = NULL) call
#define SCORE_LIST(type, name) \
    void fv_score_list_##name##_avx512(size_t rows, const fv_listed_row *list, size_t head_dim, const float *query, \
                                       const void *key, const void *next, const float *key_scale, float *score) { \
        LISTED(rows, 12, score_listed(type, 12, list, head_dim, query, key, next, key_scale, score)); \
        LISTED(rows, 6, score_listed(type, 6, list, head_dim, query, key, next, key_scale, score)); \
        LISTED(rows, 3, score_listed(type, 3, list, head_dim, query, key, next, key_scale, score)); \
        LISTED(rows, 1, score_listed(type, 1, list, head_dim, query, key, next, key_scale, score)); \
    }
#define VALUE_LIST(type, name) \
    void fv_value_list_##name##_avx512(size_t rows, const fv_listed_row *list, size_t head_dim, size_t keys, \
                                       const float *weight, const void *value, const void *next, float *out) { \
        for (size_t i = 0; next && i < keys * row_bytes16(type, head_dim); i += LINE_BYTES) prefetch_line(1, next, i); \
        LISTED(rows, 12, value_list(type, 12, list, head_dim, keys, weight, value, out)); \
        LISTED(rows, 6, value_list(type, 6, list, head_dim, keys, weight, value, out)); \
        LISTED(rows, 3, value_list(type, 3, list, head_dim, keys, weight, value, out)); \
        LISTED(rows, 1, value_list(type, 1, list, head_dim, keys, weight, value, out)); \
    }
#define LISTS(type, name) SCORE_LIST(type, name) VALUE_LIST(type, name)
LISTS(ELEMENT_F32, f32)
LISTS(ELEMENT_F16, f16)
LISTS(ELEMENT_BF16, bf16)
LISTS(ELEMENT_Q8, q8)
LISTS(ELEMENT_Q4, q4)
