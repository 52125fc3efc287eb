/* shadow.h - a coarse copy of the keys to choose by: 2 bits a channel. A key is rotated (random signs, Hadamard), less
 * the mean of the block of 64 before it, and coded in four levels of its own step:
 *   key ~ centre + step * (2 * sign + size - 1.5), two bits
 * A page that is full also has the mean of its keys in 7 bits a channel; a centre is the mean of the means of four
 * pages, in 7 bits again. All of a token's depends on stored keys up to its own page's last only: it is made when
 * tokens are appended, a cut needs no repair, and recomputed from what is stored it has the same bits on every machine.
 */
#ifndef FV_SHADOW_H
#define FV_SHADOW_H

#include "cache/segment_table.h"
#include "fovea/cache.h"

#define FV_SHADOW_BLOCK 64 /* tokens that share a centre */

/* Where it lies. `dim` is head_dim rounded up to a multiple of 16. In each segment, per head:
 *   signs, sizes            [pages] of planes, as fv_codes_pack() writes them
 *   steps                   [pages * 16] bf16
 *   means, mean_steps       of full pages, as fv_mean_put() writes them
 *   centres, centre_steps   of blocks, likewise
 * The work area, one for all heads, is for whoever writes the cache: rows [3][dim], then keys [dim][16], all f32, then
 * codes [dim][16]. */
typedef struct fv_shadow {
    uint32_t dim; /* 0: there is none */
    const fv_segment_table *table;
    unsigned char *work; /* of the cache's own memory */
    size_t sign_offset, size_offset, step_offset, mean_offset, mean_step_offset, centre_offset,
        centre_step_offset;                                                          /* bytes in a segment */
    size_t plane_head_bytes, step_head_bytes, mean_head_bytes, mean_step_head_bytes, /* from head to head */
        centre_head_bytes, centre_step_head_bytes;
} fv_shadow;

/* Of a page; those of its segment lie one after the other, as those of all functions here do. */
static inline uint8_t *fv_shadow_signs(const fv_shadow *shadow, uint32_t head, uint32_t page) {
    return fv_segment_of(shadow->table, page) + shadow->sign_offset + head * shadow->plane_head_bytes +
           (size_t)fv_segment_page(shadow->table, page) * shadow->dim * 2;
}

static inline uint8_t *fv_shadow_sizes(const fv_shadow *shadow, uint32_t head, uint32_t page) {
    return fv_segment_of(shadow->table, page) + shadow->size_offset + head * shadow->plane_head_bytes +
           (size_t)fv_segment_page(shadow->table, page) * shadow->dim * 2;
}

static inline uint16_t *fv_shadow_steps(const fv_shadow *shadow, uint32_t head, uint32_t token) {
    uint32_t page = token / FV_PAGE_TOKENS;
    unsigned char *steps = fv_segment_of(shadow->table, page) + shadow->step_offset + head * shadow->step_head_bytes;
    return (uint16_t *)(void *)steps + fv_segment_page(shadow->table, page) * FV_PAGE_TOKENS + token % FV_PAGE_TOKENS;
}

/* Of the segment that has page `page`, all from its first on: fv_segment_page() says where the page's is. */
static inline uint8_t *fv_shadow_means(const fv_shadow *shadow, uint32_t head, uint32_t page) {
    return fv_segment_of(shadow->table, page) + shadow->mean_offset + head * shadow->mean_head_bytes;
}

static inline float *fv_shadow_mean_steps(const fv_shadow *shadow, uint32_t head, uint32_t page) {
    return (float *)(void *)(fv_segment_of(shadow->table, page) + shadow->mean_step_offset +
                             head * shadow->mean_step_head_bytes);
}

static inline uint8_t *fv_shadow_centres(const fv_shadow *shadow, uint32_t head, uint32_t page) {
    return fv_segment_of(shadow->table, page) + shadow->centre_offset + head * shadow->centre_head_bytes;
}

static inline float *fv_shadow_centre_steps(const fv_shadow *shadow, uint32_t head, uint32_t page) {
    return (float *)(void *)(fv_segment_of(shadow->table, page) + shadow->centre_step_offset +
                             head * shadow->centre_step_head_bytes);
}

/* Row 0..2 of the work area. */
static inline float *fv_shadow_row(const fv_shadow *shadow, uint32_t row) {
    return (float *)(void *)shadow->work + (size_t)row * shadow->dim;
}

static inline float *fv_shadow_keys(const fv_shadow *shadow) { return fv_shadow_row(shadow, 3); }

static inline uint8_t *fv_shadow_key_codes(const fv_shadow *shadow) { return (uint8_t *)fv_shadow_row(shadow, 19); }

#define FV_SHADOW_WORK_BYTES (19 * sizeof(float) + FV_PAGE_TOKENS) /* times dim, of the work area */

/* Adds its regions of a segment of `pages` pages to `bytes` by fv_size_reserve(). */
void fv_shadow_layout(const fv_cache_config *config, size_t pages, size_t *bytes, fv_shadow *layout);

/* The two parts of the coarse key of a token in a full page, rotated: [head_dim] each. */
void fv_shadow_centre(const fv_cache *cache, uint32_t head, uint32_t token, float *out);
void fv_shadow_code(const fv_cache *cache, uint32_t head, uint32_t token, float *out);

/* Codes of the full pages from that of token `first` on, all heads: a page is chosen only once it is full. */
void fv_shadow_update(fv_cache *cache, uint32_t first);

#if FV_BUILD_EXCHANGE
/* What the first block of `segment` needs of the segment before it, which is here and full: [kv_heads][head_dim]. */
void fv_shadow_link_read(const fv_cache *cache, uint32_t segment, float *out);

/* Codes the first block of `segment`, which is here, by that. */
void fv_shadow_link_write(fv_cache *cache, uint32_t segment, const float *link);
#endif

/* Cache lines x 64 that scoring reads, one head: the means of pages or blocks, a plane of pages, the steps of their
 * keys. */
uint64_t fv_shadow_mean_bytes(const fv_shadow *shadow, uint64_t pages);
uint64_t fv_shadow_plane_bytes(const fv_shadow *shadow, uint64_t pages);
uint64_t fv_shadow_step_bytes(uint64_t pages);

#endif
