/* rewind.h - takes appended tokens back so that the cache is what it was, bit for bit. fv_cache_truncate() makes the
 * last landmark again from rounded elements; this one puts the old one back. */
#ifndef FV_REWIND_H
#define FV_REWIND_H

#include "fovea/cache.h"

/* Copies the landmark of the partly filled block out, [2][kv_heads][head_dim]. */
void fv_cache_mark_save(const fv_cache *cache, float *saved);

/* Back to `tokens` tokens; `saved` was copied when there were as many. */
void fv_cache_rewind(fv_cache *cache, uint32_t tokens, const float *saved);

#endif
