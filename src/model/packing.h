/* packing.h - one block of a packed row, back in the file's layout. */
#ifndef FV_PACKING_H
#define FV_PACKING_H

#include "fovea/weight.h"

/* Block `index` of a packed row: at most 34 bytes to `block`. row < weight->packed. */
void fv_weight_unpack_block(const fv_weight *weight, uint32_t row, size_t index, unsigned char *block);

#endif
