/* margin.h - how far the coarse keys of a page may be from the stored ones, and how large its values are: what a
 * certificate needs of pages that were not read. */
#ifndef FV_MARGIN_H
#define FV_MARGIN_H

#include "cache/segment_table.h"
#include "fovea/cache.h"

/* One page of one head. All are upper bounds, rounding included, but value_rms. */
typedef struct fv_margin {
    float residual;  /* |key - coarse key|, the largest of the page's tokens (Euclidean) */
    float code;      /* |coarse key - its centre|, likewise */
    float centre;    /* |centre| */
    float value_max; /* largest magnitude of an element of a value */
    float value_rms; /* root of the mean square of the elements */
} fv_margin;
_Static_assert(sizeof(fv_margin) == 20, "fovea/cache.h says how many bytes a page takes");

typedef struct fv_margins {
    const fv_segment_table *table;
    size_t offset;      /* bytes in a segment, [kv_heads][head_stride] */
    size_t head_stride; /* margins; 0: they are not kept */
} fv_margins;

static inline fv_margin *fv_margin_of(const fv_margins *margins, uint32_t head, uint32_t page) {
    fv_margin *all = (fv_margin *)(void *)(fv_segment_of(margins->table, page) + margins->offset);
    return all + head * margins->head_stride + fv_segment_page(margins->table, page);
}

/* Adds its region of a segment of `pages` pages to `bytes` by fv_size_reserve(). */
void fv_margin_layout(const fv_cache_config *config, size_t pages, size_t *bytes, fv_margins *layout);

/* Those of the page of token `first` and of all after it, from what is stored. */
void fv_margin_update(fv_cache *cache, uint32_t first);

#endif
