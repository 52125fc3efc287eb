/* The one place that knows which summaries there are, and in which order they are made. */
#include "cache/summaries.h"
#include "cache/cache_pages.h"
#include "cache/cache_ranks.h"
#include "numeric/size.h"

#if FV_BUILD_CHOOSE

void fv_summaries_layout_make(const fv_cache_config *config, size_t pages, size_t *bytes, size_t *own,
                              fv_summaries_layout *layout) {
    fv_shadow_layout(config, pages, bytes, &layout->shadow);
    layout->work = fv_size_reserve(own, layout->shadow.dim, FV_SHADOW_WORK_BYTES);
    if (FV_BUILD_CERTIFICATE) fv_margin_layout(config, pages, bytes, &layout->margins);
    if (FV_BUILD_TAIL) fv_tail_layout(config, pages, bytes, &layout->tail);
}

void fv_summaries_place(fv_cache *cache, const fv_summaries_layout *layout, unsigned char *base) {
    cache->shadow = layout->shadow;
    cache->shadow.table = &cache->table;
    cache->shadow.work = base + layout->work;
    if (FV_BUILD_CERTIFICATE) {
        cache->margins = layout->margins;
        cache->margins.table = &cache->table;
    }
    if (FV_BUILD_TAIL) {
        cache->tail = layout->tail;
        cache->tail.table = &cache->table;
    }
}

void fv_summaries_update(fv_cache *cache, uint32_t first) {
    if (!cache->shadow.dim) return;
    fv_shadow_update(cache, first);
    if (FV_BUILD_TAIL) fv_tail_update(cache, first);
    if (FV_BUILD_CERTIFICATE) fv_margin_update(cache, first);
}

/* A token's code depends on its block's centre, and that on the block before. */
void fv_summaries_rebuild(fv_cache *cache, uint32_t first) {
    fv_summaries_update(cache, first - first % FV_SHADOW_BLOCK);
}

void fv_summaries_cut(fv_cache *cache) {
    fv_links_cut(cache);
    if (FV_BUILD_CERTIFICATE) fv_margin_update(cache, cache->tokens);
}

#endif
