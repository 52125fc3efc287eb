/* Coding channel by channel, with the vectors in lanes. */
#include "codes/codes.h"
#include "build.h"
#include "numeric/half.h"
#include <stdbool.h>

#if FV_BUILD_CHOOSE

/* Nearest even, at most 2^100; NaN is 0. */
static uint16_t step_code(float x) { return x > 0x1p100f ? 0x7180 : x == x ? fv_bf16_from_f32(x) : 0; }

void fv_codes_make(size_t dim, const float *x, uint8_t *code, uint16_t *step) {
    float square[FV_CODES_LANES] = {0}, product[FV_CODES_LANES] = {0}, norm[FV_CODES_LANES] = {0};
    for (size_t c = 0; c < dim; c++)
        for (size_t t = 0; t < FV_CODES_LANES; t++) square[t] += x[c * FV_CODES_LANES + t] * x[c * FV_CODES_LANES + t];
    for (size_t t = 0; t < FV_CODES_LANES; t++) square[t] /= (float)dim;
    for (size_t c = 0; c < dim; c++)
        for (size_t t = 0; t < FV_CODES_LANES; t++) {
            float value = x[c * FV_CODES_LANES + t];
            bool outer = value * value >= square[t];
            float level = value >= 0.0f ? (outer ? 1.5f : 0.5f) : (outer ? -1.5f : -0.5f);
            code[c * FV_CODES_LANES + t] = (uint8_t)(level + 1.5f);
            product[t] += value * level;
            norm[t] += level * level;
        }
    for (size_t t = 0; t < FV_CODES_LANES; t++) step[t] = step_code(product[t] / norm[t]);
}

void fv_codes_pack(size_t dim, const uint8_t *code, uint8_t *signs, uint8_t *sizes) {
    for (size_t j = 0; j < fv_codes_dim(dim) / 8; j++) /* byte row (j / 2, j % 2) */
        for (size_t t = 0; t < FV_CODES_LANES; t++) {
            uint32_t sign = 0, size = 0;
            for (size_t i = 0; i < 8; i++) {
                size_t c = j / 2 * 16 + j % 2 * 4 + i / 4 * 8 + i % 4;
                if (c >= dim) continue;
                sign |= (uint32_t)(code[c * FV_CODES_LANES + t] >> 1) << i;
                size |= (uint32_t)(code[c * FV_CODES_LANES + t] & 1) << i;
            }
            signs[j * FV_CODES_LANES + t] = (uint8_t)sign;
            sizes[j * FV_CODES_LANES + t] = (uint8_t)size;
        }
}

void fv_codes_read(size_t dim, const uint8_t *signs, const uint8_t *sizes, uint16_t step, uint32_t lane, float *out) {
    float unit = fv_f32_from_bf16(step);
    for (size_t c = 0; c < dim; c++) {
        size_t byte = (c / 16 * 2 + c / 4 % 2) * FV_CODES_LANES + lane, bit = c / 8 % 2 * 4 + c % 4;
        uint32_t code = (signs[byte] >> bit & 1u) * 2 + (sizes[byte] >> bit & 1u);
        out[c] = ((float)code - 1.5f) * unit;
    }
}

#endif

#if FV_BUILD_TAIL

/* Byte and bit of a code. */
static size_t code_byte(size_t channel, size_t lane) {
    return channel / 16 * 64 + lane / 8 * 32 + channel % 16 * 2 + lane % 2;
}

static size_t code_bit(size_t lane) { return lane % 8 / 2 * 2; }

void fv_codes_pack_for_sums(size_t dim, const uint8_t *code, uint8_t *out) {
    for (size_t i = 0; i < fv_codes_dim(dim) * 4; i++) out[i] = 0;
    for (size_t c = 0; c < dim; c++)
        for (size_t t = 0; t < FV_CODES_LANES; t++)
            out[code_byte(c, t)] |= (uint8_t)(code[c * FV_CODES_LANES + t] << code_bit(t));
}

void fv_codes_read_for_sums(size_t dim, const uint8_t *codes, uint16_t step, uint32_t lane, float *out) {
    float unit = fv_f32_from_bf16(step);
    for (size_t c = 0; c < dim; c++) out[c] = unit * ((float)(codes[code_byte(c, lane)] >> code_bit(lane) & 3) - 1.5f);
}

#endif
