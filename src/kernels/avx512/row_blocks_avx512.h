/* row_blocks_avx512.h - how many rows a kernel of attention takes at once: as many chains as hide the latency of an FMA
 * or a product of pairs, and no more than 32 registers hold. */
#ifndef FV_ROW_BLOCKS_AVX512_H
#define FV_ROW_BLOCKS_AVX512_H

#include "kernels/avx512/lanes_avx512.h"

/* Rows of the next block: twelve, but two times eight for sixteen. */
INLINE size_t block_rows(size_t rows) {
    if (rows >= 12 && rows != 16) return 12;
    return rows >= 8 ? 8 : rows;
}

/* Of a group's rows that are left, how many go together: 1, 2, 3, 4 or 6. */
INLINE size_t run_of(size_t left) {
    if (left == 5) return 3;
    if (left == 7 || left == 8) return 4;
    return left > 6 ? 6 : left;
}

#endif
