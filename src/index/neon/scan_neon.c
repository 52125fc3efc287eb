/* scan_neon.c - one group of four channels in a register. */
#include "index/scan_pairs.h"
#include <arm_neon.h>
#include <stdbool.h>
#include <string.h>

enum { CHUNK = 256 }; /* groups whose entries fit 16 bits: 256 * 255 < 2^16 */

static void add_eight(uint16x8_t eight, uint32_t *sum) {
    vst1q_u32(sum, vaddw_u16(vld1q_u32(sum), vget_low_u16(eight)));
    vst1q_u32(sum + 4, vaddw_u16(vld1q_u32(sum + 4), vget_high_u16(eight)));
}

void fv_scan_sums_neon(size_t groups, const uint8_t *codes, const uint8_t *table, uint32_t *sum) {
    const uint8x16_t mask = vdupq_n_u8(15);
    memset(sum, 0, 32 * sizeof *sum);
    for (size_t from = 0; from < groups; from += CHUNK) {
        size_t end = groups - from < CHUNK ? groups : from + CHUNK;
        uint16x8_t low = vdupq_n_u16(0), low_odd = low, high = low, high_odd = low;
        for (size_t group = from; group < end; group++) {
            uint8x16_t code = vld1q_u8(codes + group * 16), entry = vld1q_u8(table + group * 16);
            uint16x8_t a = vreinterpretq_u16_u8(vqtbl1q_u8(entry, vandq_u8(code, mask)));
            uint16x8_t b = vreinterpretq_u16_u8(vqtbl1q_u8(entry, vshrq_n_u8(code, 4)));
            low = vaddq_u16(low, a);
            low_odd = vsraq_n_u16(low_odd, a, 8);
            high = vaddq_u16(high, b);
            high_odd = vsraq_n_u16(high_odd, b, 8);
        }
        add_eight(vsubq_u16(low, vshlq_n_u16(low_odd, 8)), sum);
        add_eight(low_odd, sum + 8);
        add_eight(vsubq_u16(high, vshlq_n_u16(high_odd, 8)), sum + 16);
        add_eight(high_odd, sum + 24);
    }
}

static float32x4_t sums_scaled(const uint32_t *sum, const fv_scan_query *query) {
    int32x4_t whole = vsubq_s32(vreinterpretq_s32_u32(vld1q_u32(sum)), vdupq_n_s32(query->zero));
    return vmulq_f32(vcvtq_f32_s32(whole), vdupq_n_f32(query->step));
}

/* Bit l: lane l is less than the limit. */
static uint32_t lanes_under(float32x4_t lanes, float limit) {
    static const uint32_t places[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcltq_f32(lanes, vdupq_n_f32(limit)), vld1q_u32(places)));
}

uint32_t fv_scan_bounds_neon(const float *factors, const uint32_t *sum, const fv_scan_query *query, float limit,
                             float *low) {
    uint32_t under = 0;
    for (size_t t = 0; t < 32; t += 4) {
        float32x4_t add = vmulq_f32(vld1q_f32(factors + t), vdupq_n_f32(query->weight));
        float32x4_t product = vmulq_f32(vld1q_f32(factors + 32 + t), sums_scaled(sum + t, query));
        float32x4_t error = vmulq_f32(vld1q_f32(factors + 64 + t), vdupq_n_f32(query->spread));
        float32x4_t near = vaddq_f32(vaddq_f32(add, vdupq_n_f32(query->base)), product);
        float32x4_t bound = vsubq_f32(near, error);
        vst1q_f32(low + t, bound);
        under |= lanes_under(bound, limit) << t;
    }
    return under;
}

uint32_t fv_scan_estimates_neon(const float *factors, const uint32_t *sum, const fv_scan_query *query, float limit,
                                float *near) {
    uint32_t under = 0;
    for (size_t t = 0; t < 32; t += 4) {
        float32x4_t add = vaddq_f32(vld1q_f32(factors + t), vdupq_n_f32(query->base));
        float32x4_t product = vmulq_f32(vld1q_f32(factors + 32 + t), sums_scaled(sum + t, query));
        float32x4_t all = vaddq_f32(add, product);
        vst1q_f32(near + t, all);
        under |= lanes_under(all, limit) << t;
    }
    return under;
}

void fv_scan_fetch_neon(const void *bytes, size_t count) {
    for (size_t i = 0; i < count; i += 64) __builtin_prefetch((const char *)bytes + i, 0, 3);
}

static float lanes_total(float32x4_t *lane) {
    for (size_t half = 4; half >= 1; half /= 2)
        for (size_t j = 0; j < half; j++) lane[j] = vaddq_f32(lane[j], lane[j + half]);
    float32x2_t two = vadd_f32(vget_low_f32(lane[0]), vget_high_f32(lane[0]));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

void fv_scan_code_neon(size_t n, const float *self, const float *other, uint8_t *bits, fv_scan_code *code) {
    float32x4_t square[8], size[8], known[8];
    for (size_t j = 0; j < 8; j++) square[j] = size[j] = known[j] = vdupq_n_f32(0);
    for (size_t i = 0; i < n; i += 32)
        for (size_t j = 0; j < 8; j++) {
            float32x4_t own = vld1q_f32(self + i + 4 * j), r = vsubq_f32(vld1q_f32(other + i + 4 * j), own);
            uint32x4_t above = vcgtq_f32(r, vdupq_n_f32(0)), turn = vbicq_u32(vdupq_n_u32(1u << 31), above);
            uint32_t four = lanes_under(vnegq_f32(r), 0);
            bits[i / 8 + j / 2] = (uint8_t)(j % 2 ? bits[i / 8 + j / 2] | four << 4 : four);
            square[j] = vaddq_f32(square[j], vmulq_f32(r, r));
            size[j] = vaddq_f32(size[j], vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(r), turn)));
            known[j] = vaddq_f32(known[j], vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(own), turn)));
        }
    *code = (fv_scan_code){lanes_total(square), lanes_total(size), lanes_total(known)};
}

/* ---- pairs ---- */

static inline float32x4_t load_four(element type, const void *x, size_t i) {
    if (type == F32) return vld1q_f32((const float *)x + i);
    uint16x4_t half = vld1_u16((const uint16_t *)x + i);
    return type == F16 ? vcvt_f32_f16(vreinterpret_f16_u16(half)) : vreinterpretq_f32_u32(vshll_n_u16(half, 16));
}

/* Of differences with themselves, or of x with y. */
static inline void pair_step(bool is_product, element x_type, element y_type, const void *x, const void *y, size_t i,
                             float32x4_t *lane) {
    for (size_t j = 0; j < 8; j++) {
        float32x4_t a = load_four(x_type, x, i + 4 * j), b = load_four(y_type, y, i + 4 * j), d = vsubq_f32(a, b);
        lane[j] = vaddq_f32(lane[j], is_product ? vmulq_f32(a, b) : vmulq_f32(d, d));
    }
}

static inline float pair_sum(bool is_product, element x_type, element y_type, size_t n, const void *x, const void *y) {
    float32x4_t lane[8];
    for (size_t j = 0; j < 8; j++) lane[j] = vdupq_n_f32(0);
    size_t i = 0;
    for (; n - i >= 32; i += 32) pair_step(is_product, x_type, y_type, x, y, i, lane);
    if (i < n) {
        float rest[2][32];
        pair_rest(x_type, y_type, n, x, y, i, rest);
        pair_step(is_product, x_type, y_type, rest[0], rest[1], 0, lane);
    }
    return lanes_total(lane);
}

FV_SCAN_PAIRS(neon)
