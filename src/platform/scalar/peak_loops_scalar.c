/* What the compiler makes of plain C for any processor of this family: a multiplication and an addition. */
#include "platform/peak_loops.h"

enum { CHAINS = 32 };

size_t fv_peak_f32_scalar(size_t rounds) {
    volatile float factor = 0.5f, term = 1.0f, sink;
    float f = factor, t = term, chain[CHAINS], sum = 0.0f;
    for (size_t i = 0; i < CHAINS; i++) chain[i] = (float)i;
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < CHAINS; i++) chain[i] = chain[i] * f + t;
    for (size_t i = 0; i < CHAINS; i++) sum += chain[i];
    sink = sum;
    (void)sink;
    return 2 * CHAINS;
}

uint64_t fv_peak_read_scalar(const void *memory, size_t bytes) {
    const uint64_t *words = memory;
    uint64_t sums[16] = {0}, sum = 0;
    for (size_t i = 0; i < bytes / sizeof *words; i += 16)
        for (size_t k = 0; k < 16; k++) sums[k] |= words[i + k];
    for (size_t k = 0; k < 16; k++) sum |= sums[k];
    return sum;
}
