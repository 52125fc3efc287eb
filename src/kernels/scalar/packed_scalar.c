/* Packed weights to panels. */
#include "kernels/blocks.h"
#include "kernels/kernels.h"
#include "kernels/packed.h"

static inline void panel_unpack(fv_packed_type type, size_t columns, const void *packed, uint8_t *quants, float *scale,
                                float *offset) {
    const uint8_t *group = packed;
    for (size_t g = 0; g < columns / 32; g++, group += fv_packed_group_bytes(type), quants += 256) {
        for (size_t r = 0; r < FV_PACKED_ROWS; r++) {
            *scale = fv_load_f16(group + 2 * r);
            *offset++ = type == FV_PACKED_Q4_1 ? fv_load_f16(group + 16 + 2 * r) : *scale * fv_packed_bias(type);
            scale++;
        }
        const uint8_t *bytes = group + fv_packed_quant_offset(type), *fifths = bytes + 128;
        for (size_t i = 0; i < 256; i++) {
            if (type == FV_PACKED_Q8_0)
                quants[i] = bytes[i];
            else
                quants[i] = i < 128 ? bytes[i] & 15 : bytes[i - 128] >> 4;
            if (type == FV_PACKED_Q5_0) quants[i] = (uint8_t)(quants[i] | (fifths[i % 32] >> (i / 32) & 1) << 4);
        }
    }
}

void fv_panel_unpack_q4_0_scalar(size_t columns, const void *packed, uint8_t *quants, float *scale, float *offset) {
    panel_unpack(FV_PACKED_Q4_0, columns, packed, quants, scale, offset);
}

void fv_panel_unpack_q4_1_scalar(size_t columns, const void *packed, uint8_t *quants, float *scale, float *offset) {
    panel_unpack(FV_PACKED_Q4_1, columns, packed, quants, scale, offset);
}

void fv_panel_unpack_q5_0_scalar(size_t columns, const void *packed, uint8_t *quants, float *scale, float *offset) {
    panel_unpack(FV_PACKED_Q5_0, columns, packed, quants, scale, offset);
}

void fv_panel_unpack_q8_0_scalar(size_t columns, const void *packed, uint8_t *quants, float *scale, float *offset) {
    panel_unpack(FV_PACKED_Q8_0, columns, packed, quants, scale, offset);
}
