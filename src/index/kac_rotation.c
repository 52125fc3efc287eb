/* kac_rotation.c - signs, butterflies, halves. */
#include "index/kac_rotation.h"
#include "numeric/splitmix.h"
#include <math.h>
#include <string.h>

enum { ROUNDS = 4 };

#define SIGN (1u << 31)

/* Bit i % 64 of number i / 64 turns channel i. */
static void turn_signs(uint64_t seed, size_t round, size_t n, float *x) {
    static const uint32_t turns[16][4] = {
        {0, 0, 0, 0},       {SIGN, 0, 0, 0},       {0, SIGN, 0, 0},       {SIGN, SIGN, 0, 0},
        {0, 0, SIGN, 0},    {SIGN, 0, SIGN, 0},    {0, SIGN, SIGN, 0},    {SIGN, SIGN, SIGN, 0},
        {0, 0, 0, SIGN},    {SIGN, 0, 0, SIGN},    {0, SIGN, 0, SIGN},    {SIGN, SIGN, 0, SIGN},
        {0, 0, SIGN, SIGN}, {SIGN, 0, SIGN, SIGN}, {0, SIGN, SIGN, SIGN}, {SIGN, SIGN, SIGN, SIGN}};
    for (size_t i = 0; i < n; i += 64) {
        uint64_t bits = fv_splitmix(seed, round * (n / 64) + i / 64);
        for (size_t j = 0; j < 64; j += 4) {
            uint32_t four[4];
            memcpy(four, x + i + j, sizeof four);
            for (size_t c = 0; c < 4; c++) four[c] ^= turns[bits >> j & 15][c];
            memcpy(x + i + j, four, sizeof four);
        }
    }
}

/* half a multiple of 4 */
static void butterflies(size_t half, float *restrict a, float *restrict b) {
    for (size_t i = 0; i < half; i += 4)
        for (size_t j = i; j < i + 4; j++) {
            float x = a[j], y = b[j];
            a[j] = x + y;
            b[j] = x - y;
        }
}

/* Two steps of butterflies at once: half and half / 2, the latter a multiple of 4. */
static void double_butterflies(size_t half, float *x) {
    float *restrict a = x, *restrict b = x + half / 2, *restrict c = x + half, *restrict d = c + half / 2;
    for (size_t i = 0; i < half / 2; i += 4)
        for (size_t j = i; j < i + 4; j++) {
            float ac = a[j] + c[j], bd = b[j] + d[j], less_ac = a[j] - c[j], less_bd = b[j] - d[j];
            a[j] = ac + bd;
            b[j] = ac - bd;
            c[j] = less_ac + less_bd;
            d[j] = less_ac - less_bd;
        }
}

/* The last two steps, and the factor. */
static void last_butterflies(size_t n, float factor, float *x) {
    for (size_t i = 0; i < n; i += 4) {
        float a = x[i] + x[i + 2], b = x[i + 1] + x[i + 3], c = x[i] - x[i + 2], d = x[i + 1] - x[i + 3];
        x[i] = (a + b) * factor;
        x[i + 1] = (a - b) * factor;
        x[i + 2] = (c + d) * factor;
        x[i + 3] = (c - d) * factor;
    }
}

/* n a power of two of at least 64; times `factor` in the end. */
static void hadamard(size_t n, float factor, float *x) {
    size_t half = n / 2;
    for (; half >= 8; half /= 4)
        for (size_t i = 0; i < n; i += 2 * half) double_butterflies(half, x + i);
    for (size_t i = 0; half == 4 && i < n; i += 8) butterflies(4, x + i, x + i + 4);
    last_butterflies(n, factor, x);
}

void fv_kac_rotate(uint64_t seed, size_t dim, const float *x, float *out) {
    size_t n = fv_rotated_dim(dim), power = FV_ROTATED_ALIGN;
    while (power * 2 <= n) power *= 2;
    float factor = (float)(1.0 / sqrt((double)power)); /* both correctly rounded: IEEE 754 */
    memcpy(out, x, dim * sizeof *x);
    memset(out + dim, 0, (n - dim) * sizeof *x);
    for (size_t round = 0; round < ROUNDS; round++) {
        turn_signs(seed, round, n, out);
        hadamard(power, factor, round % 2 ? out + n - power : out);
        if (power == n) continue;
        butterflies(n / 2, out, out + n / 2);
        for (size_t i = 0; i < n; i++) out[i] *= 0x1.6a09e6p-1f; /* 1 / sqrt(2) */
    }
}

/* All steps are their own inverses. */
void fv_kac_rotate_back(uint64_t seed, size_t dim, const float *x, float *out) {
    size_t n = fv_rotated_dim(dim), power = FV_ROTATED_ALIGN;
    while (power * 2 <= n) power *= 2;
    float factor = (float)(1.0 / sqrt((double)power));
    memcpy(out, x, n * sizeof *x);
    for (size_t round = ROUNDS; round-- > 0;) {
        if (power != n) butterflies(n / 2, out, out + n / 2);
        for (size_t i = 0; i < n && power != n; i++) out[i] *= 0x1.6a09e6p-1f; /* 1 / sqrt(2) */
        hadamard(power, factor, round % 2 ? out + n - power : out);
        turn_signs(seed, round, n, out);
    }
}
