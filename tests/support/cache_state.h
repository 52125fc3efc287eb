/* cache_state.h - caches with seeded content, and whether two hold the same bits. */
#ifndef FV_TEST_CACHE_STATE_H
#define FV_TEST_CACHE_STATE_H

#include "cache/cache_pages.h"
#include "cache/element.h"
#include "fovea/cache.h"
#include "support/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The memory of caches holds 0xFF where nothing was stored: NaN. */
static inline fv_cache *test_cache_make(const fv_cache_config *config, const fv_kernels *kernels) {
    size_t bytes = 0;
    fv_cache *cache = NULL;
    assert_int_equal(fv_cache_size(config, &bytes), FV_OK);
    void *memory = aligned_alloc(FV_CACHE_ALIGN, (bytes + 63) / 64 * 64);
    assert_non_null(memory);
    memset(memory, 0xFF, bytes);
    assert_int_equal(fv_cache_init(&cache, config, kernels, memory, bytes), FV_OK);
    assert_ptr_equal(cache, memory);
    return cache;
}

static inline void test_cache_append(fv_cache *cache, uint32_t tokens, test_random *random) {
    size_t width = (size_t)cache->config.kv_heads * cache->config.head_dim;
    float *rows = malloc((2 * tokens * width + 1) * sizeof(float));
    assert_non_null(rows);
    test_fill_f32(random, rows, 2 * tokens * width, 2.0f);
    assert_int_equal(fv_cache_append(cache, tokens, rows, width, rows + tokens * width, width), FV_OK);
    free(rows);
}

static inline bool test_same_f32(const float *a, const float *b, size_t n) {
    return n == 0 || memcmp(a, b, n * sizeof *a) == 0;
}

/* What kernels read: the stored elements themselves, their scales, the landmarks; not only their values. */
static inline bool test_cache_equals(const fv_cache *a, const fv_cache *b) {
    const fv_cache_config *config = &a->config;
    size_t dim = config->head_dim, size = fv_element_bytes(config->key_type);
    if (a->tokens != b->tokens || memcmp(config, &b->config, sizeof *config) != 0) return false;
    float *x = malloc(4 * dim * sizeof *x);
    assert_non_null(x);
    bool same = true;
    for (uint32_t head = 0; head < config->kv_heads; head++) {
        for (uint32_t t = 0; t < a->tokens; t++) {
            const unsigned char *one = fv_cache_key_page(a, head, t / 16), *two = fv_cache_key_page(b, head, t / 16);
            for (size_t block = 0; size == 0 && block < fv_q4_blocks(dim); block++) {
                unsigned char first[FV_Q4_BYTES], second[FV_Q4_BYTES];
                fv_element_q4_get(dim, one, t % 16, block, first);
                fv_element_q4_get(dim, two, t % 16, block, second);
                same &= memcmp(first, second, sizeof first) == 0;
            }
            for (size_t c = 0; size && c < dim; c++)
                same &= memcmp(one + (c * 16 + t % 16) * size, two + (c * 16 + t % 16) * size, size) == 0;
            same &= memcmp(fv_cache_value_row(a, head, t), fv_cache_value_row(b, head, t), a->value_row_bytes) == 0;
            if (a->key_scale_offset)
                same &= test_same_f32(fv_cache_key_scale(a, head, t), fv_cache_key_scale(b, head, t), 1);
            if (a->value_scale_offset)
                same &= test_same_f32(fv_cache_value_scale(a, head, t), fv_cache_value_scale(b, head, t), 1);
        }
        uint32_t marks =
            config->landmark_tokens ? (a->tokens + config->landmark_tokens - 1) / config->landmark_tokens : 0;
        for (uint32_t mark = 0; mark < marks; mark++) {
            assert_int_equal(fv_cache_landmark_read(a, head, mark, x, x + dim), FV_OK);
            assert_int_equal(fv_cache_landmark_read(b, head, mark, x + 2 * dim, x + 3 * dim), FV_OK);
            same &= test_same_f32(x, x + 2 * dim, 2 * dim);
        }
    }
    free(x);
    return same;
}

#endif
