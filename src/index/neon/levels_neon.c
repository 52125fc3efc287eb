/* levels_neon.c - sums of codes of 2 to 8 bits a channel, 16 channels in a register. */
#include "index/scan_kernels.h"
#include <arm_neon.h>

/* Adds a part of `width` bits a channel, moved up by `place`, to levels of 64 channels. */
static inline void add_part(size_t width, size_t place, const uint8_t *part, uint8x16_t *levels) {
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1 << width) - 1));
    const int8x16_t up = vdupq_n_s8((int8_t)place);
    const int8_t second = width == 1 ? -1 : 0, step = width == 4 ? 4 : 2; /* bits down: of lanes 8..15; of a register */
    const int8x16_t down = vcombine_s8(vdup_n_s8(0), vdup_n_s8(second));
    for (size_t j = 0; j < 4; j++) {
        uint8x16_t all = width == 4   ? vld1q_u8(part + j % 2 * 16)
                         : width == 2 ? vld1q_u8(part)
                                      : vcombine_u8(vld1_u8(part), vld1_u8(part));
        int8_t times = (int8_t)(width == 4 ? j / 2 : j);
        uint8x16_t own = vshlq_u8(all, vsubq_s8(down, vdupq_n_s8((int8_t)(times * step))));
        levels[j] = vorrq_u8(levels[j], vshlq_u8(vandq_u8(own, mask), up));
    }
}

static inline void levels_of(size_t bits, const uint8_t *group, uint8x16_t *levels) {
    for (size_t j = 0; j < 4; j++) levels[j] = bits == 8 ? vld1q_u8(group + 16 * j) : vdupq_n_u8(0);
    if (bits == 8) return;
    if (bits & 4) add_part(4, 0, group, levels);
    if (bits & 2) add_part(2, bits & 4, group + 8 * (bits & 4), levels);
    if (bits & 1) add_part(1, bits & 6, group + 8 * (bits & 6), levels);
}

static inline int32x4_t add_products(int32x4_t sum, int16x8_t a, int16x8_t b) {
    sum = vmlal_s16(sum, vget_low_s16(a), vget_low_s16(b));
    return vmlal_s16(sum, vget_high_s16(a), vget_high_s16(b));
}

static inline int16x8_t low_eight(uint8x16_t levels) { return vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(levels))); }

static inline int16x8_t high_eight(uint8x16_t levels) { return vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(levels))); }

static inline int32_t levels_sum(size_t n, size_t bits, const uint8_t *code, const int16_t *level) {
    int32x4_t sum[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
    for (size_t i = 0; i < n; i += 64, code += 8 * bits) {
        uint8x16_t own[4];
        levels_of(bits, code, own);
        for (size_t j = 0; j < 4; j++) {
            sum[0] = add_products(sum[0], low_eight(own[j]), vld1q_s16(level + i + 16 * j));
            sum[1] = add_products(sum[1], high_eight(own[j]), vld1q_s16(level + i + 16 * j + 8));
        }
    }
    return vaddvq_s32(vaddq_s32(sum[0], sum[1]));
}

/* The widths that are common have loops of their own. */
int32_t fv_scan_levels_neon(size_t n, size_t bits, const uint8_t *code, const int16_t *level) {
    if (bits == 4) return levels_sum(n, 4, code, level);
    return bits == 8 ? levels_sum(n, 8, code, level) : levels_sum(n, bits, code, level);
}

static inline int16x8_t from_middle(int16x8_t level, int16x8_t most) {
    return vsubq_s16(vaddq_s16(level, level), most);
}

int32_t fv_scan_codes_neon(size_t n, size_t bits, const uint8_t *x, const uint8_t *y) {
    const int16x8_t most = vdupq_n_s16((int16_t)((1 << bits) - 1));
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t i = 0; i < n; i += 64, x += 8 * bits, y += 8 * bits) {
        uint8x16_t a[4], b[4];
        levels_of(bits, x, a);
        levels_of(bits, y, b);
        for (size_t j = 0; j < 4; j++) {
            sum = add_products(sum, from_middle(low_eight(a[j]), most), from_middle(low_eight(b[j]), most));
            sum = add_products(sum, from_middle(high_eight(a[j]), most), from_middle(high_eight(b[j]), most));
        }
    }
    return vaddvq_s32(sum);
}
