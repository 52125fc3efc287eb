/* sign_code.c - one code at a time; scans are kernels (scan_kernels.h). */
#include "index/sign_code.h"
#include <math.h>

/* Byte of a group and bit within it where a vector's nibble begins. */
static size_t nibble_byte(size_t lane) { return lane % 8 * 2 + lane / 8 % 2; }
static size_t nibble_shift(size_t lane) { return lane / 16 * 4; }

void fv_sign_bits_put(size_t n, const uint8_t *bits, size_t lane, uint8_t *block) {
    uint8_t *byte = block + nibble_byte(lane), kept = (uint8_t) ~(15u << nibble_shift(lane));
    for (size_t i = 0; i < n / 8; i++, byte += 32) {
        byte[0] = (uint8_t)((byte[0] & kept) | (bits[i] & 15u) << nibble_shift(lane));
        byte[16] = (uint8_t)((byte[16] & kept) | (uint32_t)bits[i] >> 4 << nibble_shift(lane));
    }
}

/* Rounding of table entries to 8 bits: at most 0.044 |q| of s(q), were the rotated query as uneven as it can be; sums
 * of f32: 2^-11 |r| |q|. */
#define TABLE_SHARE 0x1p-9
#define SUM_SHARE 0x1p-11

fv_sign_code fv_sign_code_put(size_t n, const float *r, size_t lane, uint8_t *block) {
    double square = 0, sum = 0;
    for (size_t group = 0; group < n / 4; group++) {
        uint32_t nibble = 0;
        for (size_t j = 0; j < 4; j++) {
            double x = (double)r[group * 4 + j];
            square += x * x;
            sum += x < 0 ? -x : x;
            nibble |= (uint32_t)(x > 0) << j;
        }
        uint8_t *byte = block + group * 16 + nibble_byte(lane);
        *byte = (uint8_t)((*byte & ~(15u << nibble_shift(lane))) | nibble << nibble_shift(lane));
    }
    if (!(sum > 0)) return (fv_sign_code){0};
    double product = square / sum, rest = (product * product * (double)n - square) / ((double)n - 1);
    if (rest < 0) rest = 0;
    double spread = sqrt(rest + product * product * TABLE_SHARE) + sqrt(square) * SUM_SHARE;
    return (fv_sign_code){(float)square, (float)product, (float)spread};
}

void fv_sign_code_copy(size_t n, const uint8_t *from, size_t from_lane, uint8_t *block, size_t lane) {
    size_t from_byte = nibble_byte(from_lane), from_shift = nibble_shift(from_lane);
    size_t byte = nibble_byte(lane), shift = nibble_shift(lane);
    for (size_t group = 0; group < n / 4; group++, from += 16, block += 16) {
        uint32_t nibble = (uint32_t)from[from_byte] >> from_shift & 15;
        block[byte] = (uint8_t)((block[byte] & ~(15u << shift)) | nibble << shift);
    }
}

double fv_sign_code_sum(size_t n, const float *q, size_t lane, const uint8_t *block) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t nibble = (uint32_t)block[i / 4 * 16 + nibble_byte(lane)] >> nibble_shift(lane);
        sum += nibble >> i % 4 & 1 ? (double)q[i] : -(double)q[i];
    }
    return sum;
}
