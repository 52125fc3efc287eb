/* Limit: table look-ups of four channels for 16 keys, and the additions after them; up to four rows share a page's
 * nibbles. */
#include "kernels/kernels.h"
#include "numeric/half.h"
#include <arm_neon.h>
#include <float.h>
#include <stdbool.h>

#define INLINE static inline __attribute__((always_inline))

enum { MOST_ROWS = 4, MOST_CODE_DIM = 512 }; /* 3 x 120 x 128 nibbles fit 16 bits */

INLINE int32x4_t round_held(float32x4_t x, float most) {
    return vcvtnq_s32_f32(vminnmq_f32(vmaxnmq_f32(x, vdupq_n_f32(-most)), vdupq_n_f32(most))); /* NaN: -most */
}

/* ---- the rotation ---- */

INLINE float32x4_t turned(float32x4_t x, uint32x4_t minus) {
    return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x), vandq_u32(minus, vdupq_n_u32(0x80000000u))));
}

/* Signs and the butterflies within eight channels from c on, c a multiple of 8: 1, 2 and 4 apart. */
INLINE void rotate8(size_t c, float *x) {
    static const uint32_t bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const uint32x4_t byte = vdupq_n_u32(fv_rotate_signs[c / 32] >> c % 32);
    float32x4_t a = turned(vld1q_f32(x + c), vtstq_u32(byte, vld1q_u32(bits)));
    float32x4_t b = turned(vld1q_f32(x + c + 4), vtstq_u32(byte, vld1q_u32(bits + 4)));
    for (size_t i = 0; i < 3; i++) { /* the pairs of a stage lie side by side: those of the next one follow */
        float32x4_t even = vuzp1q_f32(a, b), odd = vuzp2q_f32(a, b);
        a = vaddq_f32(even, odd);
        b = vsubq_f32(even, odd);
    }
    vst1q_f32(x + c, a);
    vst1q_f32(x + c + 4, b);
}

/* Butterflies of what lies `half` apart, then `half` * 2, up to n; times `norm`. half, n: multiples of 4. */
INLINE void butterflies(size_t half, size_t n, float norm, float *x) {
    for (; half < n; half *= 2)
        for (size_t i = 0; i < n; i += 2 * half)
            for (size_t c = i; c < i + half; c += 4) {
                float32x4_t a = vld1q_f32(x + c), b = vld1q_f32(x + c + half);
                vst1q_f32(x + c, vaddq_f32(a, b));
                vst1q_f32(x + c + half, vsubq_f32(a, b));
            }
    for (size_t c = 0; c < n; c += 4) vst1q_f32(x + c, vmulq_n_f32(vld1q_f32(x + c), norm));
}

/* dim a multiple of 8. */
INLINE void rotate_row(size_t dim, float *x) {
    for (size_t c = 0; c < dim; c += 8) rotate8(c, x);
    for (size_t done = 0, piece = 1024, log = 10; done < dim; piece /= 2, log--) {
        if (piece > dim - done) continue;
        butterflies(8, piece, fv_rotate_norms[log], x + done);
        done += piece;
    }
}

/* One lane of a page, as when a token is appended. */
static void rotate_lane(size_t dim, float *x) {
    float row[1024];
    for (size_t c = 0; c < dim; c++) row[c] = x[c * 16];
    rotate_row(dim, row);
    for (size_t c = 0; c < dim; c++) x[c * 16] = row[c];
}

void fv_rotate_page_neon(size_t dim, size_t first, size_t end, float *x) {
    if (end - first == 1 && dim % 8 == 0) {
        rotate_lane(dim, x + first);
        return;
    }
    if (first != 0 || end != 16) {
        fv_rotate_page_scalar(dim, first, end, x);
        return;
    }
    for (size_t c = 0; c < dim; c++) {
        if (!(fv_rotate_signs[c / 32] >> c % 32 & 1)) continue;
        for (size_t t = 0; t < 16; t += 4) vst1q_f32(x + c * 16 + t, vnegq_f32(vld1q_f32(x + c * 16 + t)));
    }
    for (size_t done = 0, piece = 1024, log = 10; done < dim; piece /= 2, log--) {
        if (piece > dim - done) continue;
        butterflies(16, piece * 16, fv_rotate_norms[log], x + done * 16); /* of all lanes */
        done += piece;
    }
}

INLINE int8x8_t narrow8(int32x4_t low, int32x4_t high) {
    return vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high)));
}

/* The two tables of eight channels. */
INLINE void tables8(int8x8_t coarse, uint8_t *table) {
    static const int8_t bit[4][16] = {{0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1},
                                      {0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1},
                                      {0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1},
                                      {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}};
    int8x16_t low = vdupq_n_s8(4 * FV_COARSE_MOST), high = low;
#define CHANNEL(i) \
    low = vmlaq_s8(low, vld1q_s8(bit[i]), vdupq_lane_s8(coarse, i)); \
    high = vmlaq_s8(high, vld1q_s8(bit[i]), vdupq_lane_s8(coarse, 4 + i))
    CHANNEL(0);
    CHANNEL(1);
    CHANNEL(2);
    CHANNEL(3);
#undef CHANNEL
    vst1q_u8(table, vreinterpretq_u8_s8(low));
    vst1q_u8(table + 16, vreinterpretq_u8_s8(high));
}

float fv_shadow_query_neon(size_t dim, size_t padded, float *x, int8_t *query, uint8_t *table, int32_t *coarse_sum) {
    if (dim % 8 != 0) return fv_shadow_query_scalar(dim, padded, x, query, table, coarse_sum);
    uint32x4_t top = vdupq_n_u32(0);
    int32x4_t sum = vdupq_n_s32(0);
    rotate_row(dim, x);
    for (size_t c = 0; c < dim; c += 4) /* as integers, so that a NaN is larger than all */
        top = vmaxq_u32(top, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + c))));
    float most = fv_f32_from_bits(vmaxvq_u32(top));
    bool fit = most > 0.0f && most <= FLT_MAX;
    float inverse = fit ? 127.0f / most : 0.0f, coarse_inverse = fit ? (float)FV_COARSE_MOST / most : 0.0f;
    for (size_t c = 0; c < padded; c += 8) {
        int8x8_t fine = vdup_n_s8(0), coarse = fine;
        if (fit && c < dim) {
            float32x4_t a = vld1q_f32(x + c), b = vld1q_f32(x + c + 4);
            int32x4_t low = round_held(vmulq_n_f32(a, coarse_inverse), (float)FV_COARSE_MOST);
            int32x4_t high = round_held(vmulq_n_f32(b, coarse_inverse), (float)FV_COARSE_MOST);
            fine = narrow8(round_held(vmulq_n_f32(a, inverse), 127.0f), round_held(vmulq_n_f32(b, inverse), 127.0f));
            coarse = narrow8(low, high);
            sum = vaddq_s32(sum, vaddq_s32(low, high));
        }
        vst1_s8(query + c, fine);
        tables8(coarse, table + 4 * c);
    }
    *coarse_sum = vaddvq_s32(sum);
    return fit ? most : 0.0f;
}

/* ---- scores ---- */

/* The same four channels for every page. */
INLINE int8x16_t broadcast4(const int8_t *x) {
    int32_t word;
    __builtin_memcpy(&word, x, sizeof word);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

/* dot[i]: products of a query with the means of pages 4i..4i+3 of a panel. Two products of 127 x 127 fit 16 bits. */
INLINE void mean_dot(size_t dim, const int8_t *query, const uint8_t *mean, int32x4_t dot[4]) {
    int32x4_t sum[8];
    for (size_t i = 0; i < 8; i++) sum[i] = vdupq_n_s32(0);
    for (size_t c = 0; c < dim; c += 8, mean += 128) {
        int8x16_t x = broadcast4(query + c), y = broadcast4(query + c + 4);
        for (size_t i = 0; i < 4; i++) {
            int8x16_t a = vreinterpretq_s8_u8(vld1q_u8(mean + 16 * i)),
                      b = vreinterpretq_s8_u8(vld1q_u8(mean + 64 + 16 * i));
            int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(x)), vget_low_s8(b), vget_low_s8(y));
            sum[2 * i] = vpadalq_s16(sum[2 * i], low);
            sum[2 * i + 1] = vpadalq_s16(sum[2 * i + 1], vmlal_high_s8(vmull_high_s8(a, x), b, y));
        }
    }
    for (size_t i = 0; i < 4; i++) dot[i] = vpaddq_s32(sum[2 * i], sum[2 * i + 1]);
}

void fv_mean_score_neon(const fv_shadow_rows *query, size_t panels, const uint8_t *mean, const float *step,
                        int32_t *out, size_t out_stride) {
    for (size_t p = 0; p < panels; p++)
        for (size_t r = 0; r < query->rows; r++) {
            int32x4_t dot[4];
            mean_dot(query->dim, query->query + r * query->dim, mean + p * query->dim * 16, dot);
            for (size_t i = 0; i < 4; i++) {
                int32x4_t less = vsubq_s32(dot[i], vdupq_n_s32(64 * query->sum[r]));
                float32x4_t x = vmulq_f32(vcvtq_f32_s32(less), vld1q_f32(step + p * 16 + 4 * i));
                vst1q_s32(out + r * out_stride + p * 16 + 4 * i, round_held(vmulq_n_f32(x, query->factor[r]), 0x1p28f));
            }
        }
}

/* Sums of a plane for `rows` rows, 4 * FV_COARSE_MOST a nibble too large: sum[r][i] of keys 8i..8i+7. Four entries fit
 * a byte. */
INLINE void plane_sums(size_t rows, size_t dim, const uint8_t *table, const uint8_t *plane,
                       uint16x8_t sum[MOST_ROWS][2]) {
    for (size_t r = 0; r < rows; r++) sum[r][0] = sum[r][1] = vdupq_n_u16(0);
    for (size_t c = 0; c < dim; c += 16, plane += 32, table += 64) {
        uint8x16_t first = vld1q_u8(plane), second = vld1q_u8(plane + 16);
        uint8x16_t low[2] = {vandq_u8(first, vdupq_n_u8(15)), vandq_u8(second, vdupq_n_u8(15))};
        uint8x16_t high[2] = {vshrq_n_u8(first, 4), vshrq_n_u8(second, 4)};
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *from = table + r * 4 * dim;
            uint8x16_t a = vaddq_u8(vqtbl1q_u8(vld1q_u8(from), low[0]), vqtbl1q_u8(vld1q_u8(from + 16), low[1]));
            uint8x16_t b = vaddq_u8(vqtbl1q_u8(vld1q_u8(from + 32), high[0]), vqtbl1q_u8(vld1q_u8(from + 48), high[1]));
            a = vaddq_u8(a, b);
            sum[r][0] = vaddw_u8(sum[r][0], vget_low_u8(a));
            sum[r][1] = vaddw_high_u8(sum[r][1], a);
        }
    }
}

/* Steps of the sixteen keys of a page. */
INLINE void steps_load(const uint16_t *steps, float32x4_t out[4]) {
    for (size_t i = 0; i < 2; i++) {
        uint16x8_t half = vld1q_u16(steps + 8 * i);
        out[2 * i] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(half), 16));
        out[2 * i + 1] = vreinterpretq_f32_u32(vshll_high_n_u16(half, 16));
    }
}

/* x[t] <- (float)(2 * sum[t] - less) * step[t]; the difference fits 16 bits, whatever its parts. */
INLINE void key_products(const uint16x8_t sum[2], int32_t less, const float32x4_t step[4], float32x4_t x[4]) {
    for (size_t i = 0; i < 2; i++) {
        uint16x8_t wide = vsubq_u16(vshlq_n_u16(sum[i], 1), vdupq_n_u16((uint16_t)less));
        int16x8_t dot = vreinterpretq_s16_u16(wide);
        x[2 * i] = vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(dot))), step[2 * i]);
        x[2 * i + 1] = vmulq_f32(vcvtq_f32_s32(vmovl_high_s16(dot)), step[2 * i + 1]);
    }
}

INLINE void store_some(int32x4_t x, size_t count, int32_t *out) {
    if (count >= 4) {
        vst1q_s32(out, x);
        return;
    }
    int32_t four[4];
    vst1q_s32(four, x);
    for (size_t i = 0; i < count; i++) out[i] = four[i];
}

/* Rows first..first + rows - 1; four pages, of which the last ones may be missing, are a block: they share a base. */
INLINE void sign_score(size_t rows, size_t first, const fv_shadow_rows *query, size_t pages, const uint8_t *signs,
                       const uint16_t *steps, int32_t *out, size_t out_stride) {
    const size_t dim = query->dim;
    for (size_t page = 0; page < pages; page += 4) {
        float best[MOST_ROWS][4] = {{0}};
        for (size_t i = 0; i < 4 && page + i < pages; i++) {
            uint16x8_t sum[MOST_ROWS][2];
            float32x4_t step[4], x[4];
            steps_load(steps + (page + i) * 16, step);
            plane_sums(rows, dim, query->table + first * 4 * dim, signs + (page + i) * 2 * dim, sum);
            for (size_t r = 0; r < rows; r++) {
                key_products(sum[r], 2 * FV_COARSE_MOST * (int32_t)dim + query->coarse_sum[first + r], step, x);
                best[r][i] = vmaxvq_f32(vmaxq_f32(vmaxq_f32(x[0], x[1]), vmaxq_f32(x[2], x[3])));
            }
        }
        for (size_t r = 0; r < rows; r++) {
            int32x4_t score =
                round_held(vmulq_n_f32(vld1q_f32(best[r]), 0.82f * query->coarse_factor[first + r]), 0x1p28f);
            score = vaddq_s32(score, vdupq_n_s32(query->base[(first + r) * query->base_stride + page / 4]));
            store_some(score, pages - page, out + (first + r) * out_stride + page);
        }
    }
}

/* Constant numbers of rows let the compiler keep sums in registers. */
#define BY_ROWS(kernel, ...) \
    for (size_t r = 0; r < query->rows; r += MOST_ROWS) { \
        if (query->rows - r >= 4) kernel(4, r, query, __VA_ARGS__); \
        if (query->rows - r == 3) kernel(3, r, query, __VA_ARGS__); \
        if (query->rows - r == 2) kernel(2, r, query, __VA_ARGS__); \
        if (query->rows - r == 1) kernel(1, r, query, __VA_ARGS__); \
    }

void fv_sign_score_neon(const fv_shadow_rows *query, size_t pages, const uint8_t *signs, const uint16_t *steps,
                        int32_t *out, size_t out_stride) {
    if (query->dim > MOST_CODE_DIM) {
        fv_sign_score_scalar(query, pages, signs, steps, out, out_stride);
        return;
    }
    BY_ROWS(sign_score, pages, signs, steps, out, out_stride)
}

/* The powers of a page's keys, of four keys each in one sum. */
INLINE float32x4_t page_powers(const uint16x8_t sum[2], int32_t less, const float32x4_t step[4], float factor) {
    const float32x4_t most = vdupq_n_f32(FV_SCORE_MOST), least = vdupq_n_f32(-FV_SCORE_MOST);
    const float32x4_t magic =
        vdupq_n_f32(12582912.0f + 127 * 256); /* rounds; what it adds above bit 16 is shifted out */
    float32x4_t x[4];
    key_products(sum, less, step, x);
    for (size_t i = 0; i < 4; i++) {
        float32x4_t held = vmaxq_f32(vminq_f32(vmulq_n_f32(x[i], factor), most), least);
        x[i] = vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(vaddq_f32(held, magic)), 15));
    }
    return vpaddq_f32(vpaddq_f32(x[0], x[1]), vpaddq_f32(x[2], x[3]));
}

INLINE void shadow_score(size_t rows, size_t first, const fv_shadow_rows *query, size_t count, const uint32_t *pages,
                         const uint8_t *signs, const uint8_t *sizes, const uint16_t *steps, int32_t *out,
                         size_t out_stride) {
    const size_t dim = query->dim;
    const uint8_t *table = query->table + first * 4 * dim;
    for (size_t n = 0; n < count; n += 4) {
        int32_t base[MOST_ROWS][4];
        float32x4_t mass[MOST_ROWS][4];
        for (size_t i = 0; i < 4; i++) {
            const size_t page = pages[n + i < count ? n + i : n];
            uint16x8_t sum[MOST_ROWS][2], size[MOST_ROWS][2];
            float32x4_t step[4];
            steps_load(steps + page * 16, step);
            plane_sums(rows, dim, table, signs + page * 2 * dim, sum);
            plane_sums(rows, dim, table, sizes + page * 2 * dim, size);
            for (size_t r = 0; r < rows; r++) {
                for (size_t j = 0; j < 2; j++) sum[r][j] = vaddq_u16(vshlq_n_u16(sum[r][j], 1), size[r][j]);
                int32_t less = 6 * FV_COARSE_MOST * (int32_t)dim + 3 * query->coarse_sum[first + r];
                mass[r][i] = page_powers(sum[r], less, step, 0.5f * query->coarse_factor[first + r]);
                base[r][i] = query->base[(first + r) * query->base_stride + page / 4];
            }
        }
        for (size_t r = 0; r < rows; r++) {
            float32x4_t all = vpaddq_f32(vpaddq_f32(mass[r][0], mass[r][1]), vpaddq_f32(mass[r][2], mass[r][3]));
            int32x4_t power = vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_f32(all), 15));
            store_some(vaddq_s32(vld1q_s32(base[r]), vsubq_s32(power, vdupq_n_s32(127 * 256))), count - n,
                       out + (first + r) * out_stride + n);
        }
    }
}

void fv_shadow_score_neon(const fv_shadow_rows *query, size_t count, const uint32_t *pages, const uint8_t *signs,
                          const uint8_t *sizes, const uint16_t *steps, int32_t *out, size_t out_stride) {
    if (query->dim > MOST_CODE_DIM) {
        fv_shadow_score_scalar(query, count, pages, signs, sizes, steps, out, out_stride);
        return;
    }
    BY_ROWS(shadow_score, count, pages, signs, sizes, steps, out, out_stride)
}

/* ---- weights ---- */

enum { UNIT = (127 + 16) * 256 }; /* what 2^16 has above its fraction of 8 bits, as an f32 */

/* fv_power_of(e - UNIT): the bits of the f32 (1 + fraction) * 2^(16 + whole part), as a whole number. */
INLINE uint32x4_t power_of(int32x4_t e) {
    int32x4_t held = vmaxq_s32(e, vdupq_n_s32(UNIT - 20 * 256));
    return vcvtq_u32_f32(vreinterpretq_f32_s32(vshlq_n_s32(held, 15)));
}

void fv_page_weight_neon(size_t pages, const int32_t *score, uint32_t *weight) {
    const size_t fours = pages / 4 * 4;
    int32x4_t tops = vdupq_n_s32(INT32_MIN);
    uint64x2_t sums = vdupq_n_u64(0);
    for (size_t p = 0; p < fours; p += 4) tops = vmaxq_s32(tops, vld1q_s32(score + p));
    int32_t best = vmaxvq_s32(tops);
    for (size_t p = fours; p < pages; p++)
        if (score[p] > best) best = score[p];
    const int32x4_t zero = vdupq_n_s32(best - UNIT);
    for (size_t p = 0; p < fours; p += 4) sums = vpadalq_u32(sums, power_of(vsubq_s32(vld1q_s32(score + p), zero)));
    uint64_t total = vaddvq_u64(sums);
    for (size_t p = fours; p < pages; p++) total += fv_power_of(score[p] - best);
    const uint32_t shift = FV_WEIGHT_WHOLE - (uint32_t)(best + fv_log2_of(total) - 16 * 256);
    for (size_t p = 0; p < fours; p += 4) {
        uint32x4_t x = vaddq_u32(vreinterpretq_u32_s32(vld1q_s32(score + p)), vdupq_n_u32(shift));
        vst1q_u32(weight + p, vmaxq_u32(x, vld1q_u32(weight + p)));
    }
    for (size_t p = fours; p < pages; p++) {
        uint32_t x = (uint32_t)score[p] + shift;
        if (x > weight[p]) weight[p] = x;
    }
}

size_t fv_count_least_neon(size_t n, const uint32_t *x, uint32_t least) {
    const uint32x4_t low = vdupq_n_u32(least);
    uint32x4_t found = vdupq_n_u32(0); /* a lane counts to 2^32: more than there are pages */
    size_t i = 0;
    for (; i + 4 <= n; i += 4) found = vsubq_u32(found, vcgeq_u32(vld1q_u32(x + i), low));
    size_t count = vaddlvq_u32(found);
    for (; i < n; i++) count += x[i] >= least;
    return count;
}
