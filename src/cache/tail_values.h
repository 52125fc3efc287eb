/* tail_values.h - a coarse copy of the values of full pages, 2 bits a channel: what a policy's tail adds up. A value is
 * rotated as keys are (src/cache/shadow.h) and coded in four levels of its own step: value ~ step * (code - 1.5). A page
 * is coded when its last token is appended, from stored values: a cut needs no repair, and made anew it has the same bits. */
#ifndef FV_TAIL_VALUES_H
#define FV_TAIL_VALUES_H

#include "fovea/cache.h"
#include <stdbool.h>

/* Per head, codes [pages][dim / 16][2][16 channels][2]: bits 2m, 2m + 1 of byte (j, h, i, p) are the code of channel 16j + i
 * of token 8h + 2m + p. steps [pages * 16] bf16. `dim` is head_dim rounded up to a multiple of 16. */
typedef struct fv_tail_values {
    uint32_t dim;        /* 0: there is none */
    unsigned char *base; /* of the cache's memory; the offsets are bytes */
    size_t code_offset, step_offset, code_head_bytes, step_head_bytes;
} fv_tail_values;

static inline uint8_t *fv_tail_codes(const fv_tail_values *tail, uint32_t head) {
    return tail->base + tail->code_offset + head * tail->code_head_bytes;
}

static inline uint16_t *fv_tail_steps(const fv_tail_values *tail, uint32_t head) {
    return (uint16_t *)(void *)(tail->base + tail->step_offset + head * tail->step_head_bytes);
}

/* Bytes that a row reads of one page of them. */
static inline uint64_t fv_tail_page_bytes(const fv_tail_values *tail) { return (uint64_t)tail->dim * 4 + 32; }

/* Adds its regions to `bytes`. False on overflow. */
bool fv_tail_layout(const fv_cache_config *config, size_t *bytes, fv_tail_values *layout);

/* The coarse value of a token of a full page, rotated: [head_dim]. */
void fv_tail_value(const fv_cache *cache, uint32_t head, uint32_t token, float *out);

/* Codes of the full pages from that of token `first` on, all heads. Uses the shadow's work area. */
void fv_tail_update(fv_cache *cache, uint32_t first);

#endif
