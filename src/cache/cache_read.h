/* cache_read.h - stored keys and values as f32, in runs of channels as in cache/element.h. */
#ifndef FV_CACHE_READ_H
#define FV_CACHE_READ_H

#include "fovea/cache.h"

/* Channels channel..channel + count - 1 of one stored token. */
void fv_cache_key_run(const fv_cache *cache, uint32_t head, uint32_t token, size_t channel, size_t count, float *out);
void fv_cache_value_run(const fv_cache *cache, uint32_t head, uint32_t token, size_t channel, size_t count, float *out);

#endif
