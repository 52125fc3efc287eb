/* levels_scalar.c - sums of codes of 2 to 8 bits a channel: what all others must equal. */
#include "index/scan_kernels.h"

/* Levels of the 64 channels of a group. */
static void group_levels(size_t bits, const uint8_t *group, uint8_t *level) {
    uint32_t place = 0;
    for (size_t i = 0; i < 64; i++) level[i] = bits == 8 ? group[i] : 0;
    for (size_t width = 4; width && bits < 8; width /= 2) {
        if (!(bits & width)) continue;
        uint32_t mask = (1u << width) - 1;
        for (size_t i = 0; i < 64; i++)
            level[i] =
                (uint8_t)(level[i] | ((uint32_t)group[i % (8 * width)] >> i / (8 * width) * width & mask) << place);
        group += 8 * width;
        place += (uint32_t)width;
    }
}

int32_t fv_scan_levels_scalar(size_t n, size_t bits, const uint8_t *code, const int16_t *level) {
    int32_t sum = 0;
    for (size_t i = 0; i < n; i += 64) {
        uint8_t own[64];
        group_levels(bits, code + i / 8 * bits, own);
        for (size_t j = 0; j < 64; j++) sum += (int32_t)own[j] * level[i + j];
    }
    return sum;
}

int32_t fv_scan_codes_scalar(size_t n, size_t bits, const uint8_t *x, const uint8_t *y) {
    int32_t sum = 0, most = (1 << bits) - 1;
    for (size_t i = 0; i < n; i += 64) {
        uint8_t a[64], b[64];
        group_levels(bits, x + i / 8 * bits, a);
        group_levels(bits, y + i / 8 * bits, b);
        for (size_t j = 0; j < 64; j++) sum += (2 * (int32_t)a[j] - most) * (2 * (int32_t)b[j] - most);
    }
    return sum;
}
