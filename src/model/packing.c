/* Weights in eights: the layout that kernels.h describes, made in place and undone block by block. */
#include "model/packing.h"
#include "build.h"
#include "kernels/blocks.h"
#include "kernels/dequant.h"
#include "kernels/packed.h"

#if FV_BUILD_MODEL || FV_BUILD_DITHER

size_t fv_weight_row_bytes(uint32_t type, uint32_t columns) {
    switch (type) {
#define WEIGHT_CASE(NAME, name, number, values, bytes) \
    case number: \
        return columns % (values) == 0 ? (size_t)columns / (values) * (bytes) : 0;
        FV_WEIGHT_BUILT_LIST(WEIGHT_CASE)
#undef WEIGHT_CASE
    default:
        return 0;
    }
}

static bool is_built(fv_packed_type type) {
    return FV_PACKED_PAIRS || (type != FV_PACKED_Q2_K && type != FV_PACKED_Q3_K);
}

fv_packed_type fv_packed_type_of(uint32_t weight_type) {
    switch (weight_type) {
#define PACKED_CASE(NAME, name) \
    case FV_WEIGHT_##NAME: \
        return is_built(FV_PACKED_##NAME) ? FV_PACKED_##NAME : FV_PACKED_COUNT;
        FV_PACKED_LIST(PACKED_CASE)
#undef PACKED_CASE
    default:
        return FV_PACKED_COUNT;
    }
}

bool fv_weight_is_packable(uint32_t type) { return fv_packed_type_of(type) != FV_PACKED_COUNT; }

/* Bytes of a block's scale in the file. */
static size_t block_scale_bytes(fv_packed_type type) { return fv_packed_is_mxfp4(type) ? 1 : 2; }

/* Bytes before the quants' nibbles in a block of the file: scale, minimum, fifth bits. */
static size_t block_quant_offset(fv_packed_type type) {
    return block_scale_bytes(type) + (fv_packed_has_minima(type) ? 2u : 0u) + (fv_packed_has_fifths(type) ? 4u : 0u);
}

/* Row r's block into its places of eight packed ones. */
static void block_pack(fv_packed_type type, const uint8_t *block, size_t r, uint8_t *group) {
    if (fv_packed_block_values(type) == FV_SUPER_VALUES) {
        fv_super_pack(type, block, r, group);
        return;
    }
    const uint8_t *bytes = block + block_quant_offset(type);
    uint8_t *quants = group + fv_packed_header_bytes(type);
    size_t scale = block_scale_bytes(type);
    for (size_t i = 0; i < scale; i++) group[scale * r + i] = block[i];
    for (size_t i = 0; fv_packed_has_minima(type) && i < 2; i++) group[FV_PACKED_MINIMA + 2 * r + i] = block[2 + i];
    size_t steps = type == FV_PACKED_Q8_0 ? 8 : 4, flip = type == FV_PACKED_Q8_0 ? 0x80 : 0;
    for (size_t k = 0; k < steps; k++)
        for (size_t i = 0; i < 4; i++) quants[k * 32 + r * 4 + i] = (uint8_t)(bytes[k * 4 + i] ^ flip);
    if (!fv_packed_has_fifths(type)) return;
    uint32_t bits = fv_load_u32(bytes - 4);
    for (size_t i = 0; i < 4; i++) {
        uint32_t fifths = 0;
        for (size_t k = 0; k < 8; k++) fifths |= (bits >> (4 * k + i) & 1) << k;
        quants[128 + r * 4 + i] = (uint8_t)fifths;
    }
}

static void block_unpack(fv_packed_type type, const uint8_t *group, size_t r, uint8_t *block) {
    if (fv_packed_block_values(type) == FV_SUPER_VALUES) {
        fv_super_unpack(type, group, r, block);
        return;
    }
    const uint8_t *quants = group + fv_packed_header_bytes(type);
    uint8_t *bytes = block + block_quant_offset(type);
    size_t scale = block_scale_bytes(type);
    for (size_t i = 0; i < scale; i++) block[i] = group[scale * r + i];
    for (size_t i = 0; fv_packed_has_minima(type) && i < 2; i++) block[2 + i] = group[FV_PACKED_MINIMA + 2 * r + i];
    size_t steps = type == FV_PACKED_Q8_0 ? 8 : 4, flip = type == FV_PACKED_Q8_0 ? 0x80 : 0;
    for (size_t k = 0; k < steps; k++)
        for (size_t i = 0; i < 4; i++) bytes[k * 4 + i] = (uint8_t)(quants[k * 32 + r * 4 + i] ^ flip);
    if (!fv_packed_has_fifths(type)) return;
    uint32_t bits = 0;
    for (size_t k = 0; k < 8; k++)
        for (size_t i = 0; i < 4; i++) bits |= (uint32_t)(quants[128 + r * 4 + i] >> k & 1) << (4 * k + i);
    for (size_t i = 0; i < 4; i++) *(bytes - 4 + i) = (uint8_t)(bits >> (8 * i));
}

fv_status fv_weight_pack(fv_weight *weight, void *data, void *scratch, size_t scratch_bytes) {
    if (!weight || !data || data != weight->data || weight->packed) return FV_ERROR_ARGUMENT;
    fv_packed_type type = fv_packed_type_of(weight->type);
    if (type == FV_PACKED_COUNT) return FV_OK;
    size_t row_bytes = fv_weight_row_bytes(weight->type, weight->columns);
    if (!row_bytes) return FV_ERROR_ARGUMENT;
    if (!scratch || scratch_bytes / FV_PACKED_ROWS < row_bytes) return FV_ERROR_MEMORY;
    size_t eight_bytes = fv_packed_block_bytes(type), block_bytes = eight_bytes / FV_PACKED_ROWS;
    size_t blocks = weight->columns / fv_packed_block_values(type);
    uint32_t rows = weight->rows / FV_PACKED_ROWS * FV_PACKED_ROWS;
    uint8_t *eight = (uint8_t *)data, *copy = (uint8_t *)scratch;
    for (uint32_t row = 0; row < rows; row += FV_PACKED_ROWS, eight += FV_PACKED_ROWS * row_bytes) {
        for (size_t i = 0; i < FV_PACKED_ROWS * row_bytes; i++) copy[i] = eight[i];
        for (size_t r = 0; r < FV_PACKED_ROWS; r++)
            for (size_t b = 0; b < blocks; b++)
                block_pack(type, copy + r * row_bytes + b * block_bytes, r, eight + b * eight_bytes);
    }
    weight->packed = rows;
    return FV_OK;
}

void fv_weight_unpack_block(const fv_weight *weight, uint32_t row, size_t index, unsigned char *block) {
    fv_packed_type type = fv_packed_type_of(weight->type);
    size_t eight_bytes = FV_PACKED_ROWS * fv_weight_row_bytes(weight->type, weight->columns);
    const uint8_t *eight = (const uint8_t *)weight->data + row / FV_PACKED_ROWS * eight_bytes;
    block_unpack(type, eight + index * fv_packed_block_bytes(type), row % FV_PACKED_ROWS, block);
}

#endif
