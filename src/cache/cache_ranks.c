/* Which segments are here, and links between neighbours that are not. */
#include "cache/cache_ranks.h"

#if FV_BUILD_EXCHANGE

bool fv_cache_holds(const fv_cache *cache, uint32_t begin, uint32_t end) {
    if (cache->ranks < 2) return fv_cache_has(cache, begin, end);
    if (begin >= end) return true;
    if (end > cache->config.max_tokens) return false;
    for (uint32_t i = begin / FV_SEGMENT_TOKENS; i <= (end - 1) / FV_SEGMENT_TOKENS; i++)
        if (!cache->table.segments[i] && !fv_cache_is_foreign(cache, i * FV_SEGMENT_PAGES)) return false;
    return true;
}

fv_status fv_cache_divide(fv_cache *cache, uint32_t rank, uint32_t ranks) {
    if (!cache || !cache->segments || cache->tokens) return FV_ERROR_ARGUMENT;
    if (ranks < 1 || ranks > FV_EXCHANGE_RANKS || rank >= ranks) return FV_ERROR_ARGUMENT;
    if (ranks > 1 && (cache->config.landmark_tokens || cache->config.margins)) return FV_ERROR_UNSUPPORTED;
    for (uint32_t i = 0; i < cache->segments; i++)
        if (cache->table.segments[i]) return FV_ERROR_ARGUMENT;
    cache->rank = rank;
    cache->ranks = ranks;
    cache->linked = 1; /* there is nothing before segment 0 */
    return FV_OK;
}

/* Segments whose first page is full. */
static uint32_t begun(const fv_cache *cache) {
    uint32_t pages = cache->tokens / FV_PAGE_TOKENS;
    return (pages + FV_SEGMENT_PAGES - 1) / FV_SEGMENT_PAGES;
}

uint32_t fv_cache_link_next(const fv_cache *cache) {
    return cache->ranks > 1 && cache->shadow.dim && cache->linked < begun(cache) ? cache->linked : 0;
}

fv_status fv_cache_link(fv_cache *cache, const fv_exchange *exchange, float *memory) {
    size_t bytes[FV_EXCHANGE_RANKS];
    if (!cache || !exchange || !memory) return FV_ERROR_ARGUMENT;
    if (!fv_cache_suits_exchange(cache, exchange)) return FV_ERROR_ARGUMENT;
    for (uint32_t segment; (segment = fv_cache_link_next(cache)) > 0;) {
        uint32_t owner = fv_exchange_owner(segment - 1, exchange->ranks);
        for (uint32_t r = 0; r < exchange->ranks; r++) bytes[r] = 0;
        bytes[owner] = (size_t)cache->config.kv_heads * cache->config.head_dim * sizeof(float);
        if (owner == exchange->rank) fv_shadow_link_read(cache, segment, memory);
        fv_status status = exchange->all_gather(exchange->self, memory, bytes);
        if (status != FV_OK) return status;
        cache->linked = segment + 1;
        if (!fv_cache_is_foreign(cache, segment * FV_SEGMENT_PAGES)) fv_shadow_link_write(cache, segment, memory);
    }
    return FV_OK;
}

void fv_links_cut(fv_cache *cache) {
    uint32_t most = begun(cache) > 1 ? begun(cache) : 1;
    if (cache->linked > most) cache->linked = most;
}

#else

fv_status fv_cache_divide(fv_cache *cache, uint32_t rank, uint32_t ranks) {
    (void)cache, (void)rank, (void)ranks;
    return FV_ERROR_UNSUPPORTED;
}

fv_status fv_cache_link(fv_cache *cache, const fv_exchange *exchange, float *memory) {
    (void)cache, (void)exchange, (void)memory;
    return FV_ERROR_UNSUPPORTED;
}

#endif
