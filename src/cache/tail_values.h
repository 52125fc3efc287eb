/* tail_values.h - a coarse copy of the values of full pages, 2 bits a channel: what a policy's tail adds up. A value is
 * rotated as keys are (src/cache/shadow.h) and coded in four levels of its own step: value ~ step * (code - 1.5). A
 * page is coded when its last token is appended, from stored values: a cut needs no repair, and recomputed it has the
 * same bits. */
#ifndef FV_TAIL_VALUES_H
#define FV_TAIL_VALUES_H

#include "cache/segment_table.h"
#include "fovea/cache.h"

/* Per head and page fv_tail_page_bytes(): codes as fv_codes_pack_for_sums() writes them, then steps [16] bf16. `dim` is
 * head_dim rounded up to a multiple of 16. */
typedef struct fv_tail_values {
    uint32_t dim; /* 0: there is none */
    const fv_segment_table *table;
    size_t offset, head_bytes; /* in a segment */
} fv_tail_values;

/* Of a page; what a row reads of it, too. */
static inline size_t fv_tail_page_bytes(const fv_tail_values *tail) {
    return (size_t)tail->dim * 4 + 16 * sizeof(uint16_t);
}

/* Those of its segment lie one after the other. */
static inline uint8_t *fv_tail_page(const fv_tail_values *tail, uint32_t head, uint32_t page) {
    return fv_segment_of(tail->table, page) + tail->offset + head * tail->head_bytes +
           fv_segment_page(tail->table, page) * fv_tail_page_bytes(tail);
}

/* Adds its region of a segment of `pages` pages to `bytes`, SIZE_MAX once something does not fit. */
void fv_tail_layout(const fv_cache_config *config, size_t pages, size_t *bytes, fv_tail_values *layout);

/* The coarse value of a token of a full page, rotated: [head_dim]. */
void fv_tail_value(const fv_cache *cache, uint32_t head, uint32_t token, float *out);

/* Codes of the full pages from that of token `first` on, all heads. Uses the shadow's work area. */
void fv_tail_update(fv_cache *cache, uint32_t first);

#endif
