/* packing.h - one block of a packed row, back in the file's layout; blocks of 256 values on their way there. */
#ifndef FV_PACKING_H
#define FV_PACKING_H

#include "fovea/weight.h"
#include "kernels/packed.h"

enum { FV_PACKED_BLOCK_MOST = 210 }; /* bytes of one row's block, of any packable type */

/* Which packable type it is; FV_PACKED_COUNT for the others. */
fv_packed_type fv_packed_type_of(uint32_t weight_type);

/* Block `index` of a packed row: at most FV_PACKED_BLOCK_MOST bytes to `block`. row < weight->packed. */
void fv_weight_unpack_block(const fv_weight *weight, uint32_t row, size_t index, unsigned char *block);

/* Blocks of 256: row r's block to its places in eight packed rows, and back. */
void fv_super_pack(fv_packed_type type, const uint8_t *block, size_t r, uint8_t *packed);
void fv_super_unpack(fv_packed_type type, const uint8_t *packed, size_t r, uint8_t *block);

#endif
