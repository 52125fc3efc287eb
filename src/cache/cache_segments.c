/* Segments of a cache that come and go one by one; who owns them is the caller's affair. */
#include "build.h"
#include "cache/cache_pages.h"

#if FV_BUILD_SEGMENTS

/* The first token whose landmark's block a token is in. */
static uint32_t mark_begin(const fv_cache *cache, uint32_t token) {
    return cache->config.landmark_tokens ? token - token % cache->config.landmark_tokens : token;
}

bool fv_cache_has(const fv_cache *cache, uint32_t begin, uint32_t end) {
    if (!cache->segments || begin >= end) return true;
    if (end > cache->config.max_tokens) return false;
    for (uint32_t i = mark_begin(cache, begin) / FV_SEGMENT_TOKENS; i <= (end - 1) / FV_SEGMENT_TOKENS; i++)
        if (!cache->table.segments[i]) return false;
    return true;
}

fv_status fv_cache_segment_set(fv_cache *cache, uint32_t index, void *memory) {
    if (!cache || index >= cache->segments) return FV_ERROR_ARGUMENT;
    if (memory && fv_cache_is_foreign(cache, index * FV_SEGMENT_PAGES)) return FV_ERROR_ARGUMENT;
    if ((uintptr_t)memory % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    cache->table.segments[index] = (unsigned char *)memory;
    return FV_OK;
}

void *fv_cache_segment_at(const fv_cache *cache, uint32_t index) {
    return index < cache->segments ? cache->table.segments[index] : NULL;
}

uint32_t fv_cache_segment_written(const fv_cache *cache, uint32_t tokens) {
    return mark_begin(cache, tokens) / FV_SEGMENT_TOKENS;
}

fv_status fv_cache_adopt(fv_cache *cache, uint32_t tokens) {
    if (!cache || !cache->segments || tokens > cache->config.max_tokens) return FV_ERROR_ARGUMENT;
    if (tokens && !fv_cache_holds(cache, tokens - 1, tokens)) return FV_ERROR_ARGUMENT;
    cache->tokens = tokens;
    return FV_OK;
}

#else

fv_status fv_cache_segment_set(fv_cache *cache, uint32_t index, void *memory) {
    (void)cache, (void)index, (void)memory;
    return FV_ERROR_UNSUPPORTED;
}

void *fv_cache_segment_at(const fv_cache *cache, uint32_t index) {
    (void)cache, (void)index;
    return NULL;
}

uint32_t fv_cache_segment_written(const fv_cache *cache, uint32_t tokens) {
    (void)cache, (void)tokens;
    return 0;
}

fv_status fv_cache_adopt(fv_cache *cache, uint32_t tokens) {
    (void)cache, (void)tokens;
    return FV_ERROR_UNSUPPORTED;
}

#endif
