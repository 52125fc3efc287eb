/* Angles by integer range reduction, tables per token, the rotation itself. No libm, no double. */
#include "model/rotary.h"
#include "build.h"
#include "numeric/half.h"

#if FV_BUILD_MODEL

/* Cephes' sinf and cosf on |r| <= pi/4. */
static float sine_near(float r) {
    float z = r * r;
    return ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
}

static float cosine_near(float r) {
    float z = r * r;
    return ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
}

/* x = m * 2^e with a 24-bit m; m * (2/pi) is taken to 32 fraction bits in integers, so that the quarter turns of a
 * large angle are exact and what is left keeps its digits. */
void fv_rope_sincos(float x, float *sine, float *cosine) {
    if (!(x < 2147483648.0f)) x = 0.0f;
    if (x < 0.78f) {
        *sine = sine_near(x);
        *cosine = cosine_near(x);
        return;
    }
    const uint64_t high = 0xA2F9836E, low = 0x4E441529;                   /* 2/pi * 2^64 */
    uint32_t bits = fv_bits_from_f32(x), shift = 32 + 150 - (bits >> 23); /* x >= 0.78: 32 <= shift <= 56 */
    uint64_t mantissa = (bits & 0x7FFFFF) | 0x800000;
    uint64_t turns = mantissa * high + (mantissa * low >> 32); /* quarter turns * 2^shift */
    uint64_t one = (uint64_t)1 << shift, rest = turns & (one - 1);
    uint32_t quadrant = (uint32_t)(turns >> shift) & 3;
    int64_t signed_rest = (int64_t)rest;
    if (rest > one / 2) {
        signed_rest -= (int64_t)one;
        quadrant = (quadrant + 1) & 3;
    }
    float step = fv_f32_from_bits((127 - shift) << 23); /* 2^-shift */
    float r = (float)signed_rest * step * 1.57079632679f;
    float s = sine_near(r), c = cosine_near(r);
    *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
    *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}

void fv_rope_table(uint32_t first_position, uint32_t tokens, uint32_t pairs, const float *frequencies, float magnitude,
                   float *table) {
    for (uint32_t t = 0; t < tokens; t++, table += 2 * (size_t)pairs)
        for (uint32_t i = 0; i < pairs; i++) {
            float sine, cosine;
            fv_rope_sincos((float)(first_position + t) * frequencies[i], &sine, &cosine);
            table[i] = cosine * magnitude;
            table[pairs + i] = sine * magnitude;
        }
}

/* The table never overlaps the values: said so, compilers work on several pairs at once. */
void fv_rope_apply(uint32_t pairs, int halves, const float *restrict table, float *restrict x) {
    const float *sines = table + pairs;
    float *upper = x + pairs;
    for (size_t i = 0; halves && i < pairs; i++) {
        float a = x[i], b = upper[i];
        x[i] = a * table[i] - b * sines[i];
        upper[i] = a * sines[i] + b * table[i];
    }
    for (size_t i = 0; !halves && i < pairs; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * table[i] - b * sines[i];
        x[2 * i + 1] = a * sines[i] + b * table[i];
    }
}

#endif
