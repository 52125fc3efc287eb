/* kac_rotation.c - signs, butterflies, halves. */
#include "index/kac_rotation.h"
#include "numeric/half.h"
#include "numeric/splitmix.h"
#include <math.h>
#include <string.h>

enum { ROUNDS = 4 };

/* Bit i % 64 of number i / 64 turns channel i. */
static void turn_signs(uint64_t seed, size_t round, size_t n, float *x) {
    for (size_t i = 0; i < n; i += 64) {
        uint64_t bits = fv_splitmix(seed, round * (n / 64) + i / 64);
        for (size_t j = 0; j < 64; j++)
            x[i + j] = fv_f32_from_bits(fv_bits_from_f32(x[i + j]) ^ (uint32_t)(bits >> j & 1) << 31);
    }
}

static void butterflies(size_t half, float *restrict a, float *restrict b) {
    for (size_t i = 0; i < half; i++) {
        float x = a[i], y = b[i];
        a[i] = x + y;
        b[i] = x - y;
    }
}

/* n a power of two of at least 64; times `factor` in the end. */
static void hadamard(size_t n, float factor, float *x) {
    for (size_t half = n / 2; half >= 1; half /= 2)
        for (size_t i = 0; i < n; i += 2 * half) butterflies(half, x + i, x + i + half);
    for (size_t i = 0; i < n; i++) x[i] *= factor;
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
