/* code_table.c - see code_table.h. */
#include "index/code_table.h"
#include "numeric/half.h"

static float magnitude(float x) { return x < 0 ? -x : x; }

/* Entries of the 16 nibbles: sums in the order of doubling, so that those of i and 15 - i differ in their sign alone;
 * rounded to the nearest even as low bits of a sum with 3 * 2^22. */
static void put_group(const float *q, float scale, uint8_t *entries) {
    const float low[4] = {-q[0] + -q[1], q[0] + -q[1], -q[0] + q[1], q[0] + q[1]};
    const float high[4] = {-q[2] + -q[3], q[2] + -q[3], -q[2] + q[3], q[2] + q[3]};
    uint32_t all[16];
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 4; j++)
            all[4 * i + j] = fv_bits_from_f32((low[j] + high[i]) * scale + 12582912.0f) + FV_TABLE_ZERO;
    for (size_t i = 0; i < 16; i++) entries[i] = (uint8_t)all[i];
}

float fv_code_table_make(size_t n, const float *q, uint8_t *table) {
    float most = 0;
    for (size_t i = 0; i < n; i += 4) {
        float sum = (magnitude(q[i]) + magnitude(q[i + 1])) + (magnitude(q[i + 2]) + magnitude(q[i + 3]));
        if (sum > most) most = sum;
    }
    float scale = most > 0x1p-100f ? (float)FV_TABLE_ZERO / most : 0;
    for (size_t group = 0; group < n / 4; group++) put_group(q + group * 4, scale, table + group * 16);
    return scale > 0 ? most / (float)FV_TABLE_ZERO : 0;
}
