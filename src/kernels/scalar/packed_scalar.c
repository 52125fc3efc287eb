/* Packed weights to panels. */
#include "kernels/blocks.h"
#include "kernels/kernels.h"
#include "kernels/packed.h"

static inline void panel_unpack(fv_packed_type type, size_t columns, const void *packed, uint8_t *quants, float *scale,
                                float *offset) {
    const uint8_t *group = packed;
    for (size_t g = 0; g < columns / 32; g++, group += fv_packed_group_bytes(type)) {
        for (size_t r = 0; r < FV_PACKED_ROWS; r++) {
            scale[r] = fv_load_f16(group + 2 * r);
            offset[r] = type == FV_PACKED_Q4_1 ? fv_load_f16(group + 16 + 2 * r) : scale[r] * fv_packed_bias(type);
        }
        const uint8_t *bytes = group + fv_packed_quant_offset(type), *fifths = bytes + 128;
        for (size_t i = 0; i < 256; i++) {
            uint8_t *quant = quants + i / 32 * 4 * FV_PANEL_ROWS + i % 32;
            if (type == FV_PACKED_Q8_0)
                *quant = bytes[i];
            else
                *quant = i < 128 ? bytes[i] & 15 : bytes[i - 128] >> 4;
            if (type == FV_PACKED_Q5_0) *quant = (uint8_t)(*quant | (fifths[i % 32] >> (i / 32) & 1) << 4);
        }
        quants += 32 * FV_PANEL_ROWS;
        scale += FV_PANEL_ROWS;
        offset += FV_PANEL_ROWS;
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
