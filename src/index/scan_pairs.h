/* scan_pairs.h - the kernels that sum over pairs of elements of two rows, for an instruction set that brings a
 * pair_sum() of its own: what elements are, the end of a row, and the list of the kernels. */
#ifndef FV_SCAN_PAIRS_H
#define FV_SCAN_PAIRS_H

#include "index/scan_kernels.h"
#include <stdbool.h>
#include <string.h>

/* What elements are kept as. */
typedef enum element { F32, F16, BF16 } element;

/* The elements i <= j < n of two rows, fewer than 32, at rest[0] and rest[1]; zeros after them. */
static inline void pair_rest(element x_type, element y_type, size_t n, const void *x, const void *y, size_t i,
                             float rest[2][32]) {
    const size_t x_bytes = x_type == F32 ? 4 : 2, y_bytes = y_type == F32 ? 4 : 2;
    memset(rest, 0, 2 * sizeof rest[0]);
    memcpy(rest[0], (const uint8_t *)x + i * x_bytes, (n - i) * x_bytes);
    memcpy(rest[1], (const uint8_t *)y + i * y_bytes, (n - i) * y_bytes);
}

/* One kernel: pair_sum() for these elements. */
#define FV_SCAN_PAIR(name, is_product, x_type, y_type, x_of, y_of) \
    float name(size_t n, const x_of *x, const y_of *y) { return pair_sum(is_product, x_type, y_type, n, x, y); }

/* All of them, of the instruction set `set`. */
#define FV_SCAN_PAIRS(set) \
    FV_SCAN_PAIR(fv_scan_distance_##set, false, F32, F32, float, float) \
    FV_SCAN_PAIR(fv_scan_product_##set, true, F32, F32, float, float) \
    FV_SCAN_PAIR(fv_scan_distance_f16_##set, false, F32, F16, float, uint16_t) \
    FV_SCAN_PAIR(fv_scan_product_f16_##set, true, F32, F16, float, uint16_t) \
    FV_SCAN_PAIR(fv_scan_distance_bf16_##set, false, F32, BF16, float, uint16_t) \
    FV_SCAN_PAIR(fv_scan_product_bf16_##set, true, F32, BF16, float, uint16_t) \
    FV_SCAN_PAIR(fv_scan_distance_f16_f16_##set, false, F16, F16, uint16_t, uint16_t) \
    FV_SCAN_PAIR(fv_scan_distance_bf16_bf16_##set, false, BF16, BF16, uint16_t, uint16_t)

#endif
