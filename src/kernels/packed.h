/* packed.h - sizes inside a packed group of eight rows (kernels.h says the layout); read by the packing and its
 * kernels. */
#ifndef FV_PACKED_H
#define FV_PACKED_H

#include <stddef.h>
#include <stdint.h>

typedef enum fv_packed_type { FV_PACKED_Q4_0, FV_PACKED_Q4_1, FV_PACKED_Q5_0, FV_PACKED_Q8_0 } fv_packed_type;

enum { FV_PACKED_ROWS = 8, FV_PACKED_SCALE_BYTES = 16 };

/* Bytes of 32 inputs of eight rows, and where their quants begin. */
static inline size_t fv_packed_group_bytes(fv_packed_type type) {
    return type == FV_PACKED_Q4_0 ? 144 : type == FV_PACKED_Q4_1 ? 160 : type == FV_PACKED_Q5_0 ? 176 : 272;
}

static inline size_t fv_packed_quant_offset(fv_packed_type type) { return type == FV_PACKED_Q4_1 ? 32 : 16; }

/* offset = scale * this, for the types without minima of their own. */
static inline float fv_packed_bias(fv_packed_type type) {
    return type == FV_PACKED_Q4_0 ? -8.0f : type == FV_PACKED_Q5_0 ? -16.0f : -128.0f;
}

#endif
