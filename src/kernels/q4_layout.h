/* q4_layout.h - where things lie in a Q4_0 panel of keys and in a Q4_0 row of values; for kernels
 * and for the cache. */
#ifndef FV_Q4_LAYOUT_H
#define FV_Q4_LAYOUT_H

#include <stddef.h>

/* A block of a row, as in a GGUF file: f16 scale, little-endian, and 16 bytes whose low nibbles are the first 16
 * values. */
enum { FV_Q4_VALUES = 32, FV_Q4_BYTES = 18 };

static inline size_t fv_q4_blocks(size_t head_dim) { return (head_dim + FV_Q4_VALUES - 1) / FV_Q4_VALUES; }

/* Scales [blocks][16] f16, then channel pairs [pairs][16]: the low nibble is the even channel. */
static inline size_t fv_q4_panel_quants(size_t head_dim) { return fv_q4_blocks(head_dim) * 32; }
static inline size_t fv_q4_panel_bytes(size_t head_dim) {
    return fv_q4_panel_quants(head_dim) + (head_dim + 1) / 2 * 16;
}
static inline size_t fv_q4_row_bytes(size_t head_dim) { return fv_q4_blocks(head_dim) * FV_Q4_BYTES; }

#endif
