/* summaries.h - all that a cache keeps beside its elements and landmarks, as one: coarse keys (shadow.h), coarse values
 * (tail_values.h), margins (margin.h). What is not asked for takes no memory and no time. */
#ifndef FV_SUMMARIES_H
#define FV_SUMMARIES_H

#include "build.h"
#include "cache/margin.h"
#include "cache/shadow.h"
#include "cache/tail_values.h"

typedef struct fv_summaries_layout {
    fv_shadow shadow;
    fv_margins margins;
    fv_tail_values tail;
    size_t work; /* where the shadow's work area begins */
} fv_summaries_layout;

#if FV_BUILD_CHOOSE

/* Adds their regions of a segment of `pages` pages to `bytes` by fv_size_reserve(), and what a cache has once to `own`;
 * the two may be the same. */
void fv_summaries_layout_make(const fv_cache_config *config, size_t pages, size_t *bytes, size_t *own,
                              fv_summaries_layout *layout);

/* Of a cache whose own memory begins at `base`. */
void fv_summaries_place(fv_cache *cache, const fv_summaries_layout *layout, unsigned char *base);

/* After tokens from `first` on were stored. */
void fv_summaries_update(fv_cache *cache, uint32_t first);

/* After a token was taken out: those from `first` on are others now. */
void fv_summaries_rebuild(fv_cache *cache, uint32_t first);

/* After the cache was cut to the tokens that it has. */
void fv_summaries_cut(fv_cache *cache);

#else /* there are none */

static inline void fv_summaries_layout_make(const fv_cache_config *config, size_t pages, size_t *bytes, size_t *own,
                                            fv_summaries_layout *layout) {
    (void)config, (void)pages, (void)bytes, (void)own, (void)layout;
}
static inline void fv_summaries_place(fv_cache *cache, const fv_summaries_layout *layout, unsigned char *base) {
    (void)cache, (void)layout, (void)base;
}
static inline void fv_summaries_update(fv_cache *cache, uint32_t first) { (void)cache, (void)first; }
static inline void fv_summaries_rebuild(fv_cache *cache, uint32_t first) { (void)cache, (void)first; }
static inline void fv_summaries_cut(fv_cache *cache) { (void)cache; }

#endif

#endif
