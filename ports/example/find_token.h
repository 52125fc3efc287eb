/* find_token.h - the smallest use of fovea, in C and in C++: 64 tokens in a cache, and a query that asks for the one 16
 * back. The pattern reads the last 8 tokens, then those 8, 16, 32 back, and block means. All memory is static. */
#ifndef FV_FIND_TOKEN_H
#define FV_FIND_TOKEN_H

#include "fovea.h"

enum { FIND_TOKENS = 64, FIND_DIM = 32, FIND_BACK = 16, FIND_BYTES = 20 * 1024 };

/* Keys of +1 and -1 by an integer hash: no two tokens are alike. */
static float find_sign(uint32_t token, uint32_t c) {
    uint32_t bits = (token * FIND_DIM + c + 1) * 2654435761u;
    return bits >> 16 & 1 ? 1.0f : -1.0f;
}

static fv_tensor find_rows(const float *data) {
    fv_tensor rows = {data, 1, 1, FIND_DIM};
    return rows;
}

/* Appends FIND_TOKENS tokens whose values are their numbers. */
static fv_status find_fill(const fv_pattern *pattern, fv_cache *cache) {
    fv_status status = FV_OK;
    for (uint32_t token = 0; token < FIND_TOKENS && status == FV_OK; token++) {
        float key[FIND_DIM], value[FIND_DIM];
        for (uint32_t c = 0; c < FIND_DIM; c++) {
            key[c] = find_sign(token, c);
            value[c] = (float)token;
        }
        fv_tensor keys = find_rows(key), values = find_rows(value);
        status = fv_pattern_append(pattern, cache, &keys, &values);
    }
    return status;
}

/* The pattern and the cache, one after the other in `memory`. */
static fv_status find_open(fv_pattern **pattern, fv_cache **cache, unsigned char *memory, size_t bytes) {
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    fv_cache_config shape;
    fv_cache_config_default(&shape);
    size_t pattern_bytes, cache_bytes;
    config.policy.window = 8;
    config.policy.block = shape.landmark_tokens = 16;
    config.decode_only = 1;
    config.max_tokens = shape.max_tokens = FIND_TOKENS;
    config.head_dim = shape.head_dim = FIND_DIM;
    shape.kv_heads = 1;
    fv_status status = fv_pattern_size(&config, &pattern_bytes);
    if (status == FV_OK) status = fv_cache_size(&shape, &cache_bytes);
    if (status != FV_OK) return status;
    pattern_bytes = (pattern_bytes + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN;
    if (pattern_bytes > bytes || cache_bytes > bytes - pattern_bytes) return FV_ERROR_MEMORY;
    status = fv_pattern_init(pattern, &config, fv_kernels_scalar(), memory, pattern_bytes);
    if (status != FV_OK) return status;
    return fv_cache_init(cache, &shape, fv_kernels_scalar(), memory + pattern_bytes, cache_bytes);
}

/* The number of the token that the query asks for, FIND_TOKENS - 1 - FIND_BACK, but for what the softmax gives others.
 */
static fv_status find_token(float *found) {
    static unsigned char bytes[FIND_BYTES + FV_CACHE_ALIGN];
    unsigned char *memory = bytes + (FV_CACHE_ALIGN - (uintptr_t)bytes % FV_CACHE_ALIGN) % FV_CACHE_ALIGN;
    fv_pattern *pattern;
    fv_cache *cache;
    fv_status status = find_open(&pattern, &cache, memory, FIND_BYTES);
    if (status == FV_OK) status = find_fill(pattern, cache);
    if (status != FV_OK) return status;
    float query[FIND_DIM], out[FIND_DIM];
    for (uint32_t c = 0; c < FIND_DIM; c++) query[c] = 8.0f * find_sign(FIND_TOKENS - 1 - FIND_BACK, c);
    static fv_pattern_call call; /* zeros, in C and in C++ */
    call.query = find_rows(query);
    status = fv_pattern_decode(pattern, cache, &call, out);
    if (status == FV_OK) *found = out[0];
    return status;
}

#endif
