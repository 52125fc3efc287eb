/* code_table.c - see code_table.h. */
#include "index/code_table.h"

/* Sums of the 16 nibbles in the order of doubling, so that sums[15 - i] = -sums[i] to the bit. */
static void nibble_sums(const float *q, float *sums) {
    for (size_t i = 0; i < 16; i++) {
        float low = (i & 1 ? q[0] : -q[0]) + (i & 2 ? q[1] : -q[1]);
        float high = (i & 4 ? q[2] : -q[2]) + (i & 8 ? q[3] : -q[3]);
        sums[i] = low + high;
    }
}

static float magnitude(float x) { return x < 0 ? -x : x; }

/* Nearest even, |x| < 2^22. */
static int32_t nearest(float x) { return (int32_t)((x + 12582912.0f) - 12582912.0f); }

float fv_code_table_make(size_t n, const float *q, uint8_t *table) {
    float most = 0;
    for (size_t i = 0; i < n; i += 4) {
        float sum = (magnitude(q[i]) + magnitude(q[i + 1])) + (magnitude(q[i + 2]) + magnitude(q[i + 3]));
        if (sum > most) most = sum;
    }
    float scale = most > 0x1p-100f ? (float)FV_TABLE_ZERO / most : 0;
    for (size_t group = 0; group < n / 4; group++) {
        float sums[16];
        nibble_sums(q + group * 4, sums);
        for (size_t i = 0; i < 16; i++) table[group * 16 + i] = (uint8_t)(FV_TABLE_ZERO + nearest(sums[i] * scale));
    }
    return scale > 0 ? most / (float)FV_TABLE_ZERO : 0;
}
