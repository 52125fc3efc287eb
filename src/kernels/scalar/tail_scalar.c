/* Sums of coarse values in plain C: the reference for every instruction set. */
#include "build.h"
#include "kernels/kernels.h"
#include "numeric/half.h"

#if FV_BUILD_TAIL

enum { LANES = 16 };

/* Weights of a page's tokens in whole numbers; what one of them stands for. */
static float weights_of(const int32_t *score, int32_t level, const uint16_t *steps, int32_t *whole, uint64_t *mass) {
    float weight[LANES], top = 0.0f;
    for (size_t t = 0; t < LANES; t++) {
        uint32_t power = fv_power_of(score[t] - level);
        *mass += power;
        weight[t] = (float)power * fv_f32_from_bf16(steps[t]);
        if (weight[t] > top) top = weight[t];
    }
    float inverse = top >= 0x1p-100f ? 255.0f / top : 0.0f;
    for (size_t t = 0; t < LANES; t++) whole[t] = fv_round_held(weight[t] * inverse, 255.0f);
    return top * (0.5f / 255.0f);
}

void fv_tail_sum_scalar(size_t rows, size_t dim, size_t count, const uint32_t *pages, const int32_t *score,
                        size_t score_stride, const int32_t *level, const uint8_t *values, uint64_t *mass, float *out) {
    for (size_t i = 0; i < rows * count; i++) {
        size_t r = i / count, n = i % count;
        const uint8_t *code = values + pages[n] * (4 * dim + 2 * LANES);
        const uint16_t *steps = (const uint16_t *)(const void *)(code + 4 * dim);
        int32_t whole[LANES], all = 0;
        float unit = weights_of(score + r * score_stride + n * LANES, level[r], steps, whole, &mass[r]);
        for (size_t t = 0; t < LANES; t++) all += whole[t];
        for (size_t c = 0; c < dim; c++) {
            const uint8_t *of = code + c / 16 * 64 + c % 16 * 2;
            int32_t sum = 0;
            for (size_t t = 0; t < LANES; t++) sum += whole[t] * (of[t / 8 * 32 + t % 2] >> t % 8 / 2 * 2 & 3);
            out[r * dim + c] += (float)(2 * sum - 3 * all) * unit;
        }
    }
}

#endif
