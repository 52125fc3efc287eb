/* Limit: loads and stores; these are short vectors that lie in L1. */
#include "kernels/avx2/exp_avx2.h"
#include "kernels/avx2/lanes_avx2.h"
#include "kernels/kernels.h"
#include <float.h>
#include <immintrin.h>

void fv_narrow_f16_avx2(size_t n, const float *x, uint16_t *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++) out[i] = (uint16_t)_cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
}

void fv_widen_f16_avx2(size_t n, const uint16_t *x, float *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(x + i))));
    for (; i < n; i++) out[i] = _cvtsh_ss(x[i]);
}

float fv_dot_f32_avx2(size_t n, const float *x, const float *y) {
    __m256 part[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (size_t j = 0; j < 4; j++)
            part[j] = _mm256_fmadd_ps(_mm256_loadu_ps(x + i + 8 * j), _mm256_loadu_ps(y + i + 8 * j), part[j]);
    for (; i + 8 <= n; i += 8) part[0] = _mm256_fmadd_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i), part[0]);
    float sum = sum8(_mm256_add_ps(_mm256_add_ps(part[0], part[1]), _mm256_add_ps(part[2], part[3])));
    for (; i < n; i++) sum += x[i] * y[i];
    return sum;
}

void fv_mix_f32_avx2(size_t n, float keep, float *into, float add, const float *from) {
    const __m256 k = _mm256_set1_ps(keep), a = _mm256_set1_ps(add);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 kept = _mm256_mul_ps(_mm256_loadu_ps(into + i), k);
        _mm256_storeu_ps(into + i, _mm256_add_ps(kept, _mm256_mul_ps(_mm256_loadu_ps(from + i), a)));
    }
    for (; i < n; i++) into[i] = into[i] * keep + from[i] * add;
}

void fv_copy_rows_f32_avx2(size_t rows, size_t n, const float *x, size_t x_stride, float *out) {
    for (size_t t = 0; t < rows; t++, x += x_stride, out += n) {
        size_t i = 0;
        for (; i + 8 <= n; i += 8)
            _mm256_storeu_si256((__m256i *)(void *)(out + i),
                                _mm256_loadu_si256((const __m256i *)(const void *)(x + i)));
        for (; i < n; i++) out[i] = x[i];
    }
}

/* Lanes of eight rows side by side, added in their order. */
static inline __m256 eight_factors(size_t sum_stride, const float *sum) {
    const __m256i place =
        _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)sum_stride));
    __m256 all = _mm256_setzero_ps();
    for (size_t i = 0; i < FV_SUM_LANES; i++) all = _mm256_add_ps(all, _mm256_i32gather_ps(sum + i, place, 4));
    __m256 above = _mm256_cmp_ps(all, _mm256_setzero_ps(), _CMP_GT_OQ);
    return _mm256_and_ps(above, _mm256_div_ps(_mm256_set1_ps(1.0f), all));
}

void fv_finish16_f32_avx2(size_t group, size_t head_dim, const float *sum, const float *x, float *out,
                          size_t out_stride) {
    const size_t sum_stride = group * FV_SUM_LANES;
    float factor[16];
    _mm256_storeu_ps(factor, eight_factors(sum_stride, sum));
    _mm256_storeu_ps(factor + 8, eight_factors(sum_stride, sum + 8 * sum_stride));
    for (size_t t = 0; t < 16; t++, x += group * head_dim, out += out_stride) {
        const __m256 f = _mm256_set1_ps(factor[t]);
        size_t c = 0;
        for (; c + 8 <= head_dim; c += 8) _mm256_storeu_ps(out + c, _mm256_mul_ps(_mm256_loadu_ps(x + c), f));
        for (; c < head_dim; c++) out[c] = x[c] * factor[t];
    }
}

/* `vectors` of the mean stay in registers while the rows pass. */
INLINE void mean_block(size_t vectors, uint32_t before, uint32_t rows, const float *x, size_t x_stride, float *mean) {
    __m256 held[8];
    for (size_t j = 0; j < vectors; j++) held[j] = before ? _mm256_loadu_ps(mean + 8 * j) : _mm256_setzero_ps();
    for (uint32_t t = 0; t < rows; t++, x += x_stride) {
        const __m256 share = _mm256_set1_ps(1.0f / (float)(before + t + 1));
        for (size_t j = 0; j < vectors; j++) {
            __m256 step = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + 8 * j), held[j]), share);
            held[j] = _mm256_add_ps(held[j], step);
        }
    }
    for (size_t j = 0; j < vectors; j++) _mm256_storeu_ps(mean + 8 * j, held[j]);
}

void fv_mean_add_f32_avx2(uint32_t before, uint32_t rows, size_t n, const float *x, size_t x_stride, float *mean) {
    size_t i = 0;
    for (; i + 64 <= n; i += 64) mean_block(8, before, rows, x + i, x_stride, mean + i);
    for (; i + 8 <= n; i += 8) mean_block(1, before, rows, x + i, x_stride, mean + i);
    for (; i < n; i++) {
        float held = before ? mean[i] : 0.0f;
        for (uint32_t t = 0; t < rows; t++)
            held = held + (x[t * x_stride + i] - held) * (1.0f / (float)(before + t + 1));
        mean[i] = held;
    }
}

uint32_t fv_largest_f32_avx2(size_t n, const float *x) {
    const __m256i magnitude = _mm256_set1_epi32(INT32_MAX);
    __m256i most[4];
    uint32_t lane[8], best = 0;
    size_t i = 0;
    for (size_t j = 0; j < 4; j++) most[j] = _mm256_setzero_si256();
    for (; i + 32 <= n; i += 32)
        for (size_t j = 0; j < 4; j++) {
            __m256i bits = _mm256_loadu_si256((const __m256i *)(const void *)(x + i + 8 * j));
            most[j] = _mm256_max_epu32(most[j], _mm256_and_si256(bits, magnitude));
        }
    most[0] = _mm256_max_epu32(_mm256_max_epu32(most[0], most[1]), _mm256_max_epu32(most[2], most[3]));
    _mm256_storeu_si256((__m256i *)(void *)lane, most[0]);
    for (size_t j = 0; j < 8; j++) best = best > lane[j] ? best : lane[j];
    for (; i < n; i++) {
        uint32_t bits = fv_bits_from_f32(x[i]) & INT32_MAX;
        best = best > bits ? best : bits;
    }
    return best;
}

void fv_rms_norm_f32_avx2(size_t n, const float *x, const float *weight, float epsilon, float *out) {
    float square = fv_dot_f32_avx2(n, x, x) / (float)n + epsilon;
    square = square < FLT_MIN ? FLT_MIN : square > FLT_MAX ? FLT_MAX : square;
    float factor = 1.0f / _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(square)));
    __m256 f = _mm256_set1_ps(factor);
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), f), _mm256_loadu_ps(weight + i)));
    for (; i < n; i++) out[i] = x[i] * factor * weight[i];
}

static inline __m256 sigmoid8(__m256 x) {
    const __m256 one = _mm256_set1_ps(1.0f);
    return _mm256_div_ps(one, _mm256_add_ps(one, exp8(_mm256_sub_ps(_mm256_setzero_ps(), x))));
}

/* 0.5 (1 + tanh y) = sigmoid(2y), so gelu's tanh form is x * sigmoid of twice its argument. */
static inline __m256 gated8(int gelu, __m256 x) {
    if (!gelu) return _mm256_mul_ps(x, sigmoid8(x));
    __m256 cubic = _mm256_mul_ps(_mm256_mul_ps(_mm256_mul_ps(x, x), x), _mm256_set1_ps(0.044715f));
    return _mm256_mul_ps(x, sigmoid8(_mm256_mul_ps(_mm256_set1_ps(1.59576912160573f), _mm256_add_ps(x, cubic))));
}

static inline void gated(int gelu, size_t n, const float *gate, const float *up, float *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_mul_ps(gated8(gelu, _mm256_loadu_ps(gate + i)), _mm256_loadu_ps(up + i)));
    for (; i < n; i++) out[i] = _mm256_cvtss_f32(gated8(gelu, _mm256_set1_ps(gate[i]))) * up[i];
}

void fv_silu_f32_avx2(size_t n, const float *gate, const float *up, float *out) { gated(0, n, gate, up, out); }

void fv_gelu_f32_avx2(size_t n, const float *gate, const float *up, float *out) { gated(1, n, gate, up, out); }
