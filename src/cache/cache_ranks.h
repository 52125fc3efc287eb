/* cache_ranks.h - a cache that holds the segments of one rank of several. Coarse keys of a segment's first block need a
 * word of the block before it (shadow.h), which is another rank's: a link. The first four pages are coded once it came,
 * before anything is chosen. */
#ifndef FV_CACHE_RANKS_H
#define FV_CACHE_RANKS_H

#include "cache/cache_pages.h"

#if FV_BUILD_EXCHANGE

/* The next segment whose link is wanted: its first page is full. 0: none. All ranks have the same answer. */
uint32_t fv_cache_link_next(const fv_cache *cache);

/* After a cut: a first page that is no longer full will need its link once more. */
void fv_links_cut(fv_cache *cache);

#else

static inline void fv_links_cut(fv_cache *cache) { (void)cache; }

#endif

#endif
