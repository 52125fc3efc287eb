/* Scores and value sums of one page for listed rows, over all types; the chains of the other kernels.
 * Limit: FMA. Six rows x 16 keys, or x 16 channels, are 12 of 16 registers of sums; what is loaded or converted serves
 * all six. */
#include "kernels/avx2/element_avx2.h"
#include "kernels/kernels.h"

/* A row by itself, and which of the list's is the next one. */
typedef struct one_row {
    uint32_t row, place;
} one_row;
typedef struct row_cursor {
    const fv_listed_rows *at;
    size_t g, group, left;
} row_cursor;

INLINE row_cursor cursor_make(const fv_row_list *list) {
    return (row_cursor){list->at, 0, list->group, list->positions * list->group};
}

INLINE void rows_take(row_cursor *cursor, size_t rows, one_row *list) {
    cursor->left -= rows;
    for (size_t i = 0; i < rows; i++) {
        uint32_t g = (uint32_t)cursor->g;
        list[i] = (one_row){cursor->at->row + g, cursor->at->place + g * FV_CHUNK_KEYS};
        if (++cursor->g < cursor->group) continue;
        cursor->g = 0;
        cursor->at++;
    }
}

/* A few lines of what is read next. Into L2: it comes from the third cache, or from memory. */
INLINE void prefetch(const unsigned char *next, size_t begin, size_t end) {
    for (size_t i = begin / 64 * 64; i < end; i += 64) _mm_prefetch((const char *)next + i, _MM_HINT_T1);
}

INLINE void score_channel(element type, size_t rows, size_t head_dim, size_t c, const float *const *query,
                          const unsigned char *key, __m256 *sum) {
    __m256 low = keys8(type, key, head_dim, c, 0), high = keys8(type, key, head_dim, c, 1);
    for (size_t r = 0; r < rows; r++) {
        __m256 q = broadcast(query[r] + c);
        sum[2 * r] = _mm256_fmadd_ps(q, low, sum[2 * r]);
        sum[2 * r + 1] = _mm256_fmadd_ps(q, high, sum[2 * r + 1]);
    }
}

INLINE void score_block(element type, bool ahead, size_t rows, const one_row *list, size_t head_dim, const float *query,
                        const unsigned char *key, const unsigned char *next, const float *key_scale, float *score) {
    const float *from[6];
    __m256 sum[12];
    size_t c = 0, bytes = row_bytes8(type, 2 * 16); /* about those of two channels */
    for (size_t r = 0; r < rows; r++) from[r] = query + list[r].row * head_dim;
    for (size_t i = 0; i < 2 * rows; i++) sum[i] = _mm256_setzero_ps();
    for (; c + 2 <= head_dim; c += 2) {
        if (ahead) prefetch(next, c / 2 * bytes, (c / 2 + 1) * bytes);
        score_channel(type, rows, head_dim, c, from, key, sum);
        score_channel(type, rows, head_dim, c + 1, from, key, sum);
    }
    if (c < head_dim) score_channel(type, rows, head_dim, c, from, key, sum);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < 2; i++) {
            __m256 value = sum[2 * r + i];
            if (type == ELEMENT_Q8) value = _mm256_mul_ps(value, _mm256_loadu_ps(key_scale + 8 * i));
            _mm256_storeu_ps(score + list[r].place + 8 * i, value);
        }
}

#define SCORE_BLOCK(ahead, rows, list) \
    score_block(type, ahead, rows, list, head_dim, query, key, next, key_scale, score)
INLINE void score_list(element type, const fv_row_list *list, size_t head_dim, const float *query, const void *key,
                       const void *next, const float *key_scale, float *score) {
    row_cursor cursor = cursor_make(list);
    one_row row[6];
    for (; cursor.left >= 4; next = NULL) {
        size_t rows = cursor.left < 6 ? cursor.left : 6;
        rows_take(&cursor, rows, row);
        /* the last one again: of four or five rows gcc stores all sums at each channel */
        for (size_t i = rows; i < 6; i++) row[i] = row[rows - 1];
        if (next) SCORE_BLOCK(true, 6, row);
        if (!next) SCORE_BLOCK(false, 6, row);
    }
    size_t rows = cursor.left;
    rows_take(&cursor, rows, row);
    if (rows == 3) SCORE_BLOCK(false, 3, row);
    if (rows == 2) SCORE_BLOCK(false, 2, row);
    if (rows == 1) SCORE_BLOCK(false, 1, row);
}

#define SCORE_LIST(type, name) \
    void fv_score_list_##name##_avx2(const fv_row_list *list, size_t head_dim, const float *query, const void *key, \
                                     const void *next, const float *key_scale, float *score) { \
        score_list(type, list, head_dim, query, key, next, key_scale, score); \
    }
SCORE_LIST(ELEMENT_F32, f32)
SCORE_LIST(ELEMENT_F16, f16)
SCORE_LIST(ELEMENT_Q8, q8)
SCORE_LIST(ELEMENT_BF16, bf16)
SCORE_LIST(ELEMENT_Q4, q4)

/* rows x (8 * vectors) channels, from channel `first` on. */
INLINE void value_block(element type, bool ahead, size_t rows, size_t vectors, size_t first, const one_row *list,
                        size_t head_dim, size_t keys, const float *weight, const unsigned char *value,
                        const unsigned char *next, float *out) {
    const size_t bytes = row_bytes8(type, head_dim), begin = row_bytes8(type, first);
    const float *from[6];
    __m256 sum[12];
    for (size_t r = 0; r < rows; r++) {
        from[r] = weight + list[r].place;
        for (size_t j = 0; j < vectors; j++)
            sum[r * vectors + j] = _mm256_loadu_ps(out + list[r].row * head_dim + first + 8 * j);
    }
    for (size_t t = 0; t < keys; t++, value += bytes) {
        __m256 v[4];
        if (ahead) prefetch(next, t * bytes + begin, t * bytes + begin + 1);
        for (size_t j = 0; j < vectors; j++) v[j] = values8(type, value, first + 8 * j);
        for (size_t r = 0; r < rows; r++) {
            __m256 w = broadcast(from[r] + t);
            for (size_t j = 0; j < vectors; j++) sum[r * vectors + j] = _mm256_fmadd_ps(w, v[j], sum[r * vectors + j]);
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vectors; j++)
            _mm256_storeu_ps(out + list[r].row * head_dim + first + 8 * j, sum[r * vectors + j]);
}

/* `wide` vectors while they fit, then one at a time, then single channels: each channel is the same chain in all three.
 */
INLINE void value_rows(element type, bool ahead, size_t rows, size_t wide, const one_row *list, size_t head_dim,
                       size_t keys, const float *weight, const unsigned char *value, const unsigned char *next,
                       float *out) {
    size_t c = 0;
    for (; c + 8 * wide <= head_dim; c += 8 * wide)
        value_block(type, ahead, rows, wide, c, list, head_dim, keys, weight, value, next, out);
    for (; c + 8 <= head_dim; c += 8)
        value_block(type, ahead, rows, 1, c, list, head_dim, keys, weight, value, next, out);
    for (; c < head_dim; c++)
        for (size_t r = 0; r < rows; r++)
            for (size_t t = 0; t < keys; t++) {
                float *to = out + list[r].row * head_dim + c;
                *to = __builtin_fmaf(weight[list[r].place + t],
                                     one_value(type, value + t * row_bytes8(type, head_dim), c), *to);
            }
}

#define VALUE_ROWS(ahead, rows, wide) value_rows(type, ahead, rows, wide, row, head_dim, keys, weight, value, next, out)
INLINE void value_list(element type, const fv_row_list *list, size_t head_dim, size_t keys, const float *weight,
                       const void *value, const void *next, float *out) {
    row_cursor cursor = cursor_make(list);
    one_row row[6];
    for (; cursor.left >= 6; next = NULL) {
        rows_take(&cursor, 6, row);
        if (next) VALUE_ROWS(true, 6, 2);
        if (!next) VALUE_ROWS(false, 6, 2);
    }
    size_t rows = cursor.left;
    rows_take(&cursor, rows, row);
    if (rows == 5) VALUE_ROWS(false, 5, 2);
    if (rows == 4) VALUE_ROWS(false, 4, 2);
    if (rows == 3) VALUE_ROWS(false, 3, 2);
    if (rows == 2) VALUE_ROWS(false, 2, 4);
    if (rows == 1) VALUE_ROWS(false, 1, 4);
}

#define VALUE_LIST(type, name) \
    void fv_value_list_##name##_avx2(const fv_row_list *list, size_t head_dim, size_t keys, const float *weight, \
                                     const void *value, const void *next, float *out) { \
        value_list(type, list, head_dim, keys, weight, value, next, out); \
    }
VALUE_LIST(ELEMENT_F32, f32)
VALUE_LIST(ELEMENT_F16, f16)
VALUE_LIST(ELEMENT_Q8, q8)
VALUE_LIST(ELEMENT_BF16, bf16)
VALUE_LIST(ELEMENT_Q4, q4)
