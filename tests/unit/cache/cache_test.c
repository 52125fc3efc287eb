/* cache_test.c - memory that is exactly enough, what append stores, what truncate leaves, means that stay means. */
#include "fovea/cache.h"
#include "numeric/half.h"
#include "support/random.h"
#include "support/tables.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

/* The layout inside is private, but means must be looked at. */
#include "cache/cache_pages.h"

static test_tables tables;

typedef struct world {
    fv_cache *cache;
    unsigned char *block;
    size_t bytes;
    float *keys, *values; /* what was appended, [tokens][key_stride] */
    size_t stride;
} world;

/* A cache in memory that holds garbage, with guards after it. */
static world world_make(const fv_cache_config *config, const fv_kernels *kernels, test_random *random) {
    world w = {0};
    assert_int_equal(fv_cache_size(config, &w.bytes), FV_OK);
    w.block = aligned_alloc(FV_CACHE_ALIGN, (w.bytes + 64 + 63) / 64 * 64);
    assert_non_null(w.block);
    memset(w.block, 0xFF, w.bytes + 64); /* NaN wherever it is read as f32 or f16 */
    assert_int_equal(fv_cache_init(&w.cache, config, kernels, w.block, w.bytes), FV_OK);
    w.stride = (size_t)config->kv_heads * config->head_dim + 3;
    w.keys = malloc(config->max_tokens * w.stride * sizeof(float));
    w.values = malloc(config->max_tokens * w.stride * sizeof(float));
    assert_true(w.keys && w.values);
    test_fill_f32(random, w.keys, config->max_tokens * w.stride, 3.0f);
    test_fill_f32(random, w.values, config->max_tokens * w.stride, 1.0f);
    return w;
}

static void world_free(world *w) {
    for (size_t i = 0; i < 64; i++) assert_int_equal(w->block[w->bytes + i], 0xFF);
    free(w->block);
    free(w->keys);
    free(w->values);
}

static void world_append(world *w, uint32_t tokens) {
    size_t first = fv_cache_tokens(w->cache) * w->stride;
    assert_int_equal(fv_cache_append(w->cache, tokens, w->keys + first, w->stride, w->values + first, w->stride),
                     FV_OK);
}

static void test_size_and_init(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    for (int run = 0; run < 100; run++) {
        fv_cache_config config = {.kv_heads = test_random_in(&random, 1, 9),
                                  .head_dim = test_random_in(&random, 1, 130),
                                  .max_tokens = test_random_in(&random, 1, 100),
                                  .key_type = test_random_in(&random, 0, FV_ELEMENT_COUNT - 1),
                                  .value_type = test_random_in(&random, 0, FV_ELEMENT_COUNT - 1),
                                  .landmark_tokens = 16 * test_random_in(&random, 0, 3)};
        size_t bytes = 0;
        fv_cache *cache = NULL;
        assert_int_equal(fv_cache_size(&config, &bytes), FV_OK);
        unsigned char *block = aligned_alloc(64, (bytes + 127) / 64 * 64);
        assert_non_null(block);
        assert_int_equal(fv_cache_init(&cache, &config, tables.table[0], block, bytes - 1), FV_ERROR_MEMORY);
        assert_int_equal(fv_cache_init(&cache, &config, tables.table[0], block + 1, bytes), FV_ERROR_MEMORY);
        assert_int_equal(fv_cache_init(&cache, &config, tables.table[0], block + 32, bytes), FV_ERROR_MEMORY);
        assert_int_equal(fv_cache_init(&cache, &config, tables.table[0], NULL, bytes), FV_ERROR_MEMORY);
        assert_int_equal(fv_cache_init(&cache, &config, NULL, block, bytes), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_cache_init(NULL, &config, tables.table[0], block, bytes), FV_ERROR_ARGUMENT);
        assert_null(cache);
        assert_int_equal(fv_cache_init(&cache, &config, tables.table[0], block, bytes), FV_OK);
        assert_int_equal(fv_cache_tokens(cache), 0);
        assert_int_equal(fv_cache_landmarks(cache), 0);
        assert_memory_equal(fv_cache_shape(cache), &config, sizeof config);
        free(block);
    }
}

static void refuse(fv_cache_config config, fv_status status) {
    size_t bytes = 12345;
    fv_cache *cache = NULL;
    static _Alignas(64) unsigned char block[64];
    assert_int_equal(fv_cache_size(&config, &bytes), status);
    assert_int_equal(bytes, 12345);
    assert_int_equal(fv_cache_init(&cache, &config, tables.table[0], block, SIZE_MAX), status);
    assert_null(cache);
}

static void test_arguments(void **state) {
    (void)state;
    fv_cache_config good;
    fv_cache_config_default(&good);
    size_t bytes = 0;
    assert_int_equal(fv_cache_size(&good, &bytes), FV_OK);
    assert_int_equal(fv_cache_size(&good, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_size(NULL, &bytes), FV_ERROR_ARGUMENT);
    fv_cache_config bad = good;
    bad.kv_heads = 0, refuse(bad, FV_ERROR_ARGUMENT);
    bad.kv_heads = 1025, refuse(bad, FV_ERROR_ARGUMENT);
    bad = good, bad.head_dim = 0, refuse(bad, FV_ERROR_ARGUMENT);
    bad = good, bad.head_dim = 1025, refuse(bad, FV_ERROR_ARGUMENT);
    bad = good, bad.max_tokens = 0, refuse(bad, FV_ERROR_ARGUMENT);
    bad = good, bad.max_tokens = (1u << 30) + 1, refuse(bad, FV_ERROR_ARGUMENT);
    bad = good, bad.shadow = 2, refuse(bad, FV_ERROR_ARGUMENT);
    bad = good, bad.margins = 1, refuse(bad, FV_ERROR_ARGUMENT); /* without a shadow */
    bad = good, bad.shadow = 1, bad.margins = 2, refuse(bad, FV_ERROR_ARGUMENT);
    bad = good, bad.key_type = FV_ELEMENT_COUNT, refuse(bad, FV_ERROR_ARGUMENT);
    bad = good, bad.value_type = FV_ELEMENT_COUNT, refuse(bad, FV_ERROR_ARGUMENT);
    bad = good, bad.landmark_tokens = UINT32_MAX - 15, refuse(bad, FV_ERROR_ARGUMENT);
#if SIZE_MAX <= UINT32_MAX
    bad = good, bad.kv_heads = 1024, bad.head_dim = 1024, bad.max_tokens = 1u << 30, refuse(bad, FV_ERROR_OVERFLOW);
#endif
}

/* Half a step of the 32 elements' scale; a whole one at the end of the range that has no -8. */
static void check_q4(const float *got, const float *want, size_t dim) {
    for (size_t first = 0; first < dim; first += 32) {
        double most = 0, step;
        for (size_t c = first; c < dim && c < first + 32; c++) most = fmax(most, fabs((double)want[c]));
        step = most / 8;
        for (size_t c = first; c < dim && c < first + 32; c++) {
            double error = fabs((double)got[c] - (double)want[c]);
            assert_true(error <= (fabs((double)want[c]) < 7.49 * step ? 0.505 : 1.005) * step + 1e-7);
        }
    }
}

/* Products with the Hadamard matrix / 32, whole blocks alone. */
static void turn(const float *x, size_t dim, float *out) {
    for (size_t c = 0; c < dim; c++) {
        size_t first = c / 32 * 32;
        double sum = (double)x[c] * 32;
        if (first + 32 <= dim) sum = 0;
        for (size_t j = 0; j < 32 && first + 32 <= dim; j++)
            sum += __builtin_popcount((unsigned)((c - first) & j)) % 2 ? -(double)x[first + j] : (double)x[first + j];
        out[c] = (float)(sum / 32);
    }
}

/* Keys of 4 bits are rounded after they were turned. */
static void check_q4_key(const float *got, const float *want, size_t dim) {
    float turned_got[1024], turned_want[1024];
    turn(got, dim, turned_got), turn(want, dim, turned_want);
    check_q4(turned_got, turned_want, dim);
}

/* What comes back: the bits of f32; the nearest f16 or bf16; one scale a token and half a step of error. */
static void check_stored(uint32_t type, const float *got, const float *want, size_t dim) {
    double most = 0;
    for (size_t c = 0; c < dim; c++) most = fmax(most, fabs((double)want[c]));
    for (size_t c = 0; c < dim; c++) {
        if (type == FV_ELEMENT_F32) assert_true(got[c] == want[c]);
        if (type == FV_ELEMENT_F16) assert_true(got[c] == fv_f32_from_f16(fv_f16_from_f32(want[c])));
        if (type == FV_ELEMENT_BF16) assert_true(got[c] == fv_f32_from_bf16(fv_bf16_from_f32(want[c])));
        if (type == FV_ELEMENT_Q8_0) assert_true(fabs((double)got[c] - (double)want[c]) <= most / 127 * 0.50001);
    }
    if (type == FV_ELEMENT_Q4_0) check_q4(got, want, dim);
}

static void check_contents(const world *w) {
    const fv_cache_config *config = fv_cache_shape(w->cache);
    uint32_t tokens = fv_cache_tokens(w->cache);
    size_t dim = config->head_dim;
    float *keys = malloc((tokens + 1) * dim * sizeof(float)), *values = malloc((tokens + 1) * dim * sizeof(float));
    for (uint32_t head = 0; head < config->kv_heads; head++) {
        assert_int_equal(fv_cache_read(w->cache, head, 0, tokens, keys, values), FV_OK);
        for (uint32_t t = 0; t < tokens; t++) {
            const float *key = w->keys + t * w->stride + head * dim;
            if (config->key_type == FV_ELEMENT_Q4_0) check_q4_key(keys + t * dim, key, dim);
            if (config->key_type != FV_ELEMENT_Q4_0) check_stored(config->key_type, keys + t * dim, key, dim);
            check_stored(config->value_type, values + t * dim, w->values + t * w->stride + head * dim, dim);
        }
    }
    free(keys);
    free(values);
}

/* Complete landmarks are means of what was appended; `loose` after a rebuild from rounded elements. */
static void check_landmarks(const world *w, double loose) {
    const fv_cache_config *config = fv_cache_shape(w->cache);
    uint32_t block = config->landmark_tokens, dim = config->head_dim;
    assert_int_equal(fv_cache_landmarks(w->cache), block ? fv_cache_tokens(w->cache) / block : 0);
    for (uint32_t head = 0; head < config->kv_heads; head++)
        for (uint32_t mark = 0; mark < fv_cache_landmarks(w->cache); mark++)
            for (uint32_t c = 0; c < dim; c++) {
                double key = 0, value = 0;
                for (uint32_t t = mark * block; t < (mark + 1) * block; t++) {
                    key += (double)w->keys[t * w->stride + head * dim + c] / block;
                    value += (double)w->values[t * w->stride + head * dim + c] / block;
                }
                float got_key = fv_cache_mark_key_row(w->cache, head, mark)[c];
                float got_value = fv_cache_mark_value_row(w->cache, head, mark)[c];
                assert_true(fabs((double)got_key - key) <= 3e-6 + loose);
                assert_true(fabs((double)got_value - value) <= 1e-6 + loose);
            }
}

static fv_cache_config random_config(test_random *random) {
    return (fv_cache_config){.kv_heads = test_random_in(random, 1, 3),
                             .head_dim = test_random_in(random, 1, 70),
                             .max_tokens = test_random_in(random, 1, 330),
                             .key_type = test_random_in(random, 0, FV_ELEMENT_COUNT - 1),
                             .value_type = test_random_in(random, 0, FV_ELEMENT_COUNT - 1),
                             .landmark_tokens = 16 * test_random_in(random, 0, 3)};
}

static void test_append_and_read(void **state) {
    (void)state;
    test_random random = test_random_make(2);
    for (int run = 0; run < 120; run++) {
        fv_cache_config config = random_config(&random);
        world w = world_make(&config, tables.table[(size_t)run % tables.count], &random);
        while (fv_cache_tokens(w.cache) < config.max_tokens) {
            uint32_t left = config.max_tokens - fv_cache_tokens(w.cache);
            uint32_t tokens = test_random_in(&random, 0, 40);
            world_append(&w, tokens < left ? tokens : left);
        }
        check_contents(&w);
        check_landmarks(&w, 0);
        assert_int_equal(fv_cache_append(w.cache, 1, w.keys, w.stride, w.values, w.stride), FV_ERROR_FULL);
        assert_int_equal(fv_cache_append(w.cache, UINT32_MAX, w.keys, w.stride, w.values, w.stride), FV_ERROR_FULL);
        assert_int_equal(fv_cache_append(w.cache, 0, w.keys, w.stride, w.values, w.stride), FV_OK);
        assert_int_equal(fv_cache_tokens(w.cache), config.max_tokens);
        check_contents(&w);
        world_free(&w);
    }
}

/* The same bytes however the tokens arrive, on every instruction set. */
static void test_cutting_shows_in_no_bit(void **state) {
    (void)state;
    test_random random = test_random_make(3);
    for (int run = 0; run < 60; run++) {
        fv_cache_config config = random_config(&random);
        test_random same = random;
        world a = world_make(&config, tables.table[0], &random);
        world b = world_make(&config, tables.table[(size_t)run % tables.count], &same);
        world_append(&a, config.max_tokens);
        for (uint32_t t = 0; t < config.max_tokens; t++) world_append(&b, 1);
        size_t head = (sizeof(fv_cache) + 63) / 64 * 64; /* pointers differ there */
        assert_memory_equal(a.block + head, b.block + head, a.bytes - head);
        world_free(&a);
        world_free(&b);
    }
}

static void test_truncate(void **state) {
    (void)state;
    test_random random = test_random_make(4);
    for (int run = 0; run < 150; run++) {
        fv_cache_config config = random_config(&random);
        world w = world_make(&config, tables.table[(size_t)run % tables.count], &random);
        uint32_t tokens = test_random_in(&random, 0, config.max_tokens), keep = test_random_in(&random, 0, tokens);
        world_append(&w, tokens);
        assert_int_equal(fv_cache_truncate(w.cache, tokens + 1), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_cache_tokens(w.cache), tokens);
        assert_int_equal(fv_cache_truncate(w.cache, keep), FV_OK);
        assert_int_equal(fv_cache_tokens(w.cache), keep);
        check_contents(&w);
        test_fill_f32(&random, w.keys + keep * w.stride, (config.max_tokens - keep) * w.stride,
                      2.0f); /* another future */
        test_fill_f32(&random, w.values + keep * w.stride, (config.max_tokens - keep) * w.stride, 2.0f);
        world_append(&w, config.max_tokens - keep);
        check_contents(&w);
        bool is_coarse = config.key_type == FV_ELEMENT_Q4_0 || config.value_type == FV_ELEMENT_Q4_0;
        check_landmarks(&w, is_coarse ? 0.6 : 0.02); /* a step of q4_0 and more; half a step of q8_0 */
        world_free(&w);
    }
}

/* f32 elements lose nothing: a rebuilt mean has the bits of one that was never cut. */
static void test_truncate_f32_is_exact(void **state) {
    (void)state;
    test_random random = test_random_make(5);
    fv_cache_config config = {.kv_heads = 2,
                              .head_dim = 5,
                              .max_tokens = 200,
                              .key_type = FV_ELEMENT_F32,
                              .value_type = FV_ELEMENT_F32,
                              .landmark_tokens = 32};
    test_random same = random;
    world a = world_make(&config, tables.table[0], &random), b = world_make(&config, tables.table[0], &same);
    world_append(&a, 200);
    world_append(&b, 150);
    for (uint32_t keep = 150; keep > 100; keep -= 7) assert_int_equal(fv_cache_truncate(b.cache, keep), FV_OK);
    world_append(&b, 200 - fv_cache_tokens(b.cache));
    size_t head = (sizeof(fv_cache) + 63) / 64 * 64;
    assert_memory_equal(a.block + head, b.block + head, a.bytes - head);
    world_free(&a);
    world_free(&b);
}

/* The work area holds what the last append needed. */
static void wipe_work(world *w) {
    const fv_shadow *shadow = &w->cache->shadow;
    if (shadow->dim) memset(shadow->work, 0, shadow->dim * (19 * sizeof(float) + 16));
}

/* A copy of a cache without summaries goes on as if it had been appended to from the start, every byte of it. */
static void test_copy(void **state) {
    (void)state;
    test_random random = test_random_make(9);
    for (int run = 0; run < 60; run++) {
        fv_cache_config config = random_config(&random), plain = config;
        config.shadow = test_random_in(&random, 0, 1);
        config.margins = config.shadow ? test_random_in(&random, 0, 1) : 0;
        config.tail = config.shadow ? test_random_in(&random, 0, 1) : 0;
        plain.max_tokens += test_random_in(&random, 0, 100);
        const fv_kernels *kernels = tables.table[(size_t)run % tables.count];
        test_random same = random;
        world a = world_make(&config, kernels, &random), b = world_make(&config, kernels, &same);
        world c = world_make(&plain, kernels, &random);
        uint32_t tokens = test_random_in(&random, 0, config.max_tokens);
        world_append(&a, config.max_tokens);
        world_append(&b, test_random_in(&random, 0, config.max_tokens)); /* what will be replaced */
        assert_int_equal(fv_cache_append(c.cache, tokens, a.keys, a.stride, a.values, a.stride), FV_OK);
        assert_int_equal(fv_cache_copy(b.cache, c.cache), FV_OK);
        assert_int_equal(fv_cache_tokens(b.cache), tokens);
        check_contents(&b);
        world_append(&b, config.max_tokens - tokens);
        wipe_work(&a);
        wipe_work(&b);
        size_t head = (sizeof(fv_cache) + 63) / 64 * 64;
        assert_memory_equal(a.block + head, b.block + head, a.bytes - head);
        world_free(&a);
        world_free(&b);
        world_free(&c);
    }
}

static void refuse_copy(fv_cache_config config, const world *from, fv_status status) {
    test_random random = test_random_make(11);
    world to = world_make(&config, tables.table[0], &random);
    world_append(&to, 3);
    assert_int_equal(fv_cache_copy(to.cache, from->cache), status);
    assert_int_equal(fv_cache_tokens(to.cache), 3);
    check_contents(&to);
    world_free(&to);
}

static void test_copy_arguments(void **state) {
    (void)state;
    test_random random = test_random_make(10);
    const fv_cache_config config = {.kv_heads = 2,
                                    .head_dim = 8,
                                    .max_tokens = 64,
                                    .key_type = FV_ELEMENT_F16,
                                    .value_type = FV_ELEMENT_F32,
                                    .landmark_tokens = 16};
    world w = world_make(&config, tables.table[0], &random);
    world_append(&w, 40);
    assert_int_equal(fv_cache_copy(NULL, w.cache), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_copy(w.cache, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_copy(w.cache, w.cache), FV_OK);
    check_contents(&w);
    refuse_copy((fv_cache_config){.kv_heads = 3,
                                  .head_dim = 8,
                                  .max_tokens = 64,
                                  .key_type = FV_ELEMENT_F16,
                                  .value_type = FV_ELEMENT_F32,
                                  .landmark_tokens = 16},
                &w, FV_ERROR_ARGUMENT);
    refuse_copy((fv_cache_config){.kv_heads = 2,
                                  .head_dim = 7,
                                  .max_tokens = 64,
                                  .key_type = FV_ELEMENT_F16,
                                  .value_type = FV_ELEMENT_F32,
                                  .landmark_tokens = 16},
                &w, FV_ERROR_ARGUMENT);
    refuse_copy((fv_cache_config){.kv_heads = 2,
                                  .head_dim = 8,
                                  .max_tokens = 64,
                                  .key_type = FV_ELEMENT_F32,
                                  .value_type = FV_ELEMENT_F32,
                                  .landmark_tokens = 16},
                &w, FV_ERROR_ARGUMENT);
    refuse_copy((fv_cache_config){.kv_heads = 2,
                                  .head_dim = 8,
                                  .max_tokens = 64,
                                  .key_type = FV_ELEMENT_F16,
                                  .value_type = FV_ELEMENT_F16,
                                  .landmark_tokens = 16},
                &w, FV_ERROR_ARGUMENT);
    refuse_copy(
        (fv_cache_config){
            .kv_heads = 2, .head_dim = 8, .max_tokens = 64, .key_type = FV_ELEMENT_F16, .value_type = FV_ELEMENT_F32},
        &w, FV_ERROR_ARGUMENT);
    refuse_copy((fv_cache_config){.kv_heads = 2,
                                  .head_dim = 8,
                                  .max_tokens = 39,
                                  .key_type = FV_ELEMENT_F16,
                                  .value_type = FV_ELEMENT_F32,
                                  .landmark_tokens = 16},
                &w, FV_ERROR_FULL);
    world_free(&w);
}

static void test_append_and_read_arguments(void **state) {
    (void)state;
    test_random random = test_random_make(6);
    fv_cache_config config = {
        .kv_heads = 2, .head_dim = 8, .max_tokens = 64, .key_type = FV_ELEMENT_F16, .value_type = FV_ELEMENT_Q8_0};
    world w = world_make(&config, tables.table[0], &random);
    world_append(&w, 20);
    assert_int_equal(fv_cache_append(NULL, 1, w.keys, 16, w.values, 16), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_append(w.cache, 1, NULL, 16, w.values, 16), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_append(w.cache, 1, w.keys, 16, NULL, 16), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_append(w.cache, 1, w.keys, 15, w.values, 16), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_append(w.cache, 1, w.keys, 16, w.values, 15), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_append(w.cache, 45, w.keys, 16, w.values, 16), FV_ERROR_FULL);
    assert_int_equal(fv_cache_tokens(w.cache), 20);
    float out[8 * 20];
    assert_int_equal(fv_cache_read(NULL, 0, 0, 1, out, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_read(w.cache, 2, 0, 1, out, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_read(w.cache, 0, 0, 21, out, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_read(w.cache, 0, 21, 0, out, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_read(w.cache, 0, 5, UINT32_MAX, out, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_read(w.cache, 1, 20, 0, NULL, NULL), FV_OK);
    assert_int_equal(fv_cache_read(w.cache, 1, 17, 3, NULL, out), FV_OK);
    check_stored(FV_ELEMENT_Q8_0, out, w.values + 17 * w.stride + 8, 8);
    assert_int_equal(fv_cache_truncate(NULL, 0), FV_ERROR_ARGUMENT);
    world_free(&w);
}

/* Zeros, subnormals, what f16 cannot hold, what is not finite: stored as promised, the neighbours untouched. */
static void test_extreme_elements(void **state) {
    (void)state;
    fv_cache_config config = {
        .kv_heads = 1, .head_dim = 4, .max_tokens = 16, .key_type = FV_ELEMENT_Q8_0, .value_type = FV_ELEMENT_F16};
    const float rows[][4] = {{0, 0, 0, -0.0f},
                             {1e-42f, -1e-42f, 0, 0},
                             {5e4f, -5e4f, 1e4f, 0},
                             {NAN, 1, 2, 3},
                             {INFINITY, 1, -1, 0},
                             {127, 0.5f, 1.5f, -2.5f},
                             {65504, 65519.99f, -INFINITY, 6e-8f}};
    enum { ROWS = sizeof rows / sizeof *rows };
    _Alignas(64) static unsigned char block[8192];
    for (size_t k = 0; k < tables.count; k++) {
        fv_cache *cache = NULL;
        float keys[ROWS][4], values[ROWS][4];
        assert_int_equal(fv_cache_init(&cache, &config, tables.table[k], block, sizeof block), FV_OK);
        assert_int_equal(fv_cache_append(cache, ROWS, rows[0], 4, rows[0], 4), FV_OK);
        assert_int_equal(fv_cache_read(cache, 0, 0, ROWS, keys[0], values[0]), FV_OK);
        for (size_t r = 0; r < 3; r++)
            for (size_t c = 0; c < 4; c++) assert_true(isfinite(keys[r][c]));
        assert_true(keys[0][0] == 0 && keys[1][0] == 0 && keys[2][1] < -4.9e4f);
        assert_true(keys[3][0] == 0 && fabsf(keys[3][3] - 3) < 0.02f); /* a NaN is 0, the others keep their values */
        assert_true(keys[5][0] == 127 && keys[5][1] == 0 && keys[5][2] == 2 && keys[5][3] == -2); /* ties to even */
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < 4; c++) {
                float want = fv_f32_from_f16(fv_f16_from_f32(rows[r][c]));
                assert_true(values[r][c] == want || (isnan(want) && isnan(values[r][c])));
            }
        assert_true(values[6][0] == 65504.0f && values[6][1] == 65504.0f && isinf(values[6][2]));
    }
}

/* The same for BF16 and Q4_0: what is finite stays finite. */
static void test_extreme_coarse_elements(void **state) {
    (void)state;
    fv_cache_config config = {
        .kv_heads = 1, .head_dim = 4, .max_tokens = 16, .key_type = FV_ELEMENT_Q4_0, .value_type = FV_ELEMENT_BF16};
    const float rows[][4] = {{0, 0, 0, -0.0f},        {1e-42f, -1e-42f, 0, 0}, {524032, -524032, 1e5f, 0},
                             {NAN, 1, 2, -8},         {-8, 7, 1.5f, 2.5f},     {8, -7, -1.5f, -2.5f},
                             {1, -1, 0.0625f, 0.06f}, {-INFINITY, 1, 0, 0}};
    enum { ROWS = sizeof rows / sizeof *rows };
    _Alignas(64) static unsigned char block[8192];
    for (size_t k = 0; k < tables.count; k++) {
        fv_cache *cache = NULL;
        float keys[ROWS][4], values[ROWS][4];
        assert_int_equal(fv_cache_init(&cache, &config, tables.table[k], block, sizeof block), FV_OK);
        assert_int_equal(fv_cache_append(cache, ROWS, rows[0], 4, rows[0], 4), FV_OK);
        assert_int_equal(fv_cache_read(cache, 0, 0, ROWS, keys[0], values[0]), FV_OK);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < 4; c++) {
                float want = fv_f32_from_bf16(fv_bf16_from_f32(rows[r][c]));
                assert_true(isfinite(keys[r][c]));
                assert_true(values[r][c] == want || (isnan(want) && isnan(values[r][c])));
            }
        assert_true(keys[0][0] == 0 && keys[1][0] == 0 && keys[1][1] == 0);
        assert_true(keys[2][0] == 8 * 65504.0f && keys[2][1] == -7 * 65504.0f); /* the largest scale, negative */
        assert_true(keys[3][0] == 0 && keys[3][1] == 1 && keys[3][2] == 2 && keys[3][3] == -8); /* a NaN is 0 */
        assert_true(keys[4][0] == -8 && keys[4][1] == 7 && keys[4][2] == 2 && keys[4][3] == 2); /* ties to even */
        assert_true(keys[5][0] == 8 && keys[5][1] == -7 && keys[5][2] == -2 && keys[5][3] == -2);
        assert_true(keys[6][0] == 1 && keys[6][1] == -0.875f && keys[6][2] == 0 && keys[6][3] == 0);
    }
}

/* One element a hundred times the others: in 32 turned channels they keep a digit, in a plain block they would be 0. */
static void test_q4_key_outlier(void **state) {
    (void)state;
    fv_cache_config config = {
        .kv_heads = 1, .head_dim = 64, .max_tokens = 16, .key_type = FV_ELEMENT_Q4_0, .value_type = FV_ELEMENT_Q4_0};
    _Alignas(64) static unsigned char block[8192];
    float x[64], keys[64], values[64];
    double key_error = 0, value_error = 0;
    for (size_t k = 0; k < tables.count; k++) {
        fv_cache *cache = NULL;
        for (size_t c = 0; c < 64; c++) x[c] = c == 5 ? 30.0f : c == 63 ? NAN : (c * 7 % 5 < 2 ? 1.0f : -1.0f) * 1.7f;
        assert_int_equal(fv_cache_init(&cache, &config, tables.table[k], block, sizeof block), FV_OK);
        assert_int_equal(fv_cache_append(cache, 1, x, 64, x, 64), FV_OK);
        assert_int_equal(fv_cache_read(cache, 0, 0, 1, keys, values), FV_OK);
        for (size_t c = 0; c < 32; c++) {
            key_error += ((double)keys[c] - (double)x[c]) * ((double)keys[c] - (double)x[c]);
            value_error += ((double)values[c] - (double)x[c]) * ((double)values[c] - (double)x[c]);
        }
        for (size_t c = 32; c < 64; c++) assert_true(isfinite(keys[c]) && isfinite(values[c])); /* a NaN is 0 */
    }
    assert_true(key_error < 0.3 * value_error);
    for (size_t c = 0; c < 64; c++) x[c] = c % 2 ? -524032 : 524032;
    fv_cache *cache = NULL;
    assert_int_equal(fv_cache_init(&cache, &config, tables.table[0], block, sizeof block), FV_OK);
    assert_int_equal(fv_cache_append(cache, 1, x, 64, x, 64), FV_OK);
    assert_int_equal(fv_cache_read(cache, 0, 0, 1, keys, values), FV_OK);
    for (size_t c = 0; c < 64; c++) assert_true(isfinite(keys[c]) && isfinite(values[c]));
}

/* 4-bit blocks in every place of a page: a column that moves or is overwritten takes no neighbour along. */
static void test_q4_columns(void **state) {
    (void)state;
    test_random random = test_random_make(8);
    for (uint32_t dim = 1; dim <= 70; dim++) {
        fv_cache_config config = {.kv_heads = 1,
                                  .head_dim = dim,
                                  .max_tokens = 48,
                                  .key_type = FV_ELEMENT_Q4_0,
                                  .value_type = FV_ELEMENT_Q4_0};
        world w = world_make(&config, tables.table[dim % tables.count], &random);
        world_append(&w, 48);
        for (uint32_t gone = 0; gone < 20; gone++) {
            uint32_t token = test_random_in(&random, 0, fv_cache_tokens(w.cache) - 1);
            assert_int_equal(fv_cache_remove(w.cache, token), FV_OK);
            size_t rest = (fv_cache_tokens(w.cache) - token) * w.stride * sizeof(float);
            memmove(w.keys + token * w.stride, w.keys + (token + 1) * w.stride, rest);
            memmove(w.values + token * w.stride, w.values + (token + 1) * w.stride, rest);
            check_contents(&w);
        }
        world_free(&w);
    }
}

/* Each part where it is said to be: what is filled lies in the regiones, and they and the rest are all there is. */
static void test_parts(void **state) {
    (void)state;
    test_random random = test_random_make(9);
    for (int run = 0; run < 60; run++) {
        fv_cache_config config = random_config(&random);
        world w = world_make(&config, tables.table[0], &random);
        fv_cache_bytes parts = {.total = 1};
        fv_cache_region region;
        size_t keys = 0, values = 0, header = (sizeof(fv_cache) + 63) / 64 * 64;
        uint32_t index = 0, tokens = test_random_in(&random, 0, config.max_tokens);
        assert_int_equal(fv_cache_size_parts(&config, NULL), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_cache_size_parts(&config, &parts), FV_OK);
        assert_int_equal(parts.total, w.bytes);
        assert_int_equal(parts.total, header + parts.keys + parts.values + parts.scales + parts.landmarks);
        bool scaled = config.key_type == FV_ELEMENT_Q8_0 || config.value_type == FV_ELEMENT_Q8_0;
        assert_true((parts.scales > 0) == scaled && (parts.landmarks > 0) == (config.landmark_tokens > 0));
        world_append(&w, tokens);
        for (; fv_cache_region_at(w.cache, index, &region); index++) {
            unsigned char *memory = region.memory;
            assert_true(memory >= w.block + header && memory + region.bytes <= w.block + w.bytes);
            assert_true(region.used <= region.bytes && (region.used > 0) == (tokens > 0));
            for (size_t i = region.used; i < region.bytes; i++) assert_int_equal(memory[i], 0xFF); /* untouched */
            *(index < config.kv_heads ? &keys : &values) += region.bytes;
        }
        assert_true(index == 2 * config.kv_heads && keys == parts.keys && values == parts.values);
        world_free(&w);
    }
    fv_cache_config bad = {0};
    fv_cache_bytes parts = {.total = 7};
    assert_int_equal(fv_cache_size_parts(&bad, &parts), FV_ERROR_ARGUMENT);
    assert_int_equal(parts.total, 7);
}

/* K and V of a long context cost their bytes and little more; scales and landmarks are there only if asked for. */
static void test_long_context_bytes(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        double bytes; /* of an element, scales included */
    } types[] = {{FV_ELEMENT_F32, 4},
                 {FV_ELEMENT_F16, 2},
                 {FV_ELEMENT_BF16, 2},
                 {FV_ELEMENT_Q8_0, 1.0625},
                 {FV_ELEMENT_Q4_0, 0.5625}};
    assert_int_equal(sizeof types / sizeof *types, FV_ELEMENT_COUNT);
    for (size_t i = 0; i < FV_ELEMENT_COUNT; i++) {
        fv_cache_config config = {.kv_heads = 3,
                                  .head_dim = 64,
                                  .max_tokens = 131072,
                                  .key_type = types[i].type,
                                  .value_type = types[i].type};
        double plain = 2.0 * 3 * 64 * 131072 * types[i].bytes;
        size_t bytes = 0;
        assert_int_equal(fv_cache_size(&config, &bytes), FV_OK);
        assert_true((double)bytes >= plain && (double)bytes <= plain * 1.001 && bytes % FV_CACHE_ALIGN == 0);
    }
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size_and_init),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_append_and_read),
        cmocka_unit_test(test_cutting_shows_in_no_bit),
        cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_truncate_f32_is_exact),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_copy_arguments),
        cmocka_unit_test(test_append_and_read_arguments),
        cmocka_unit_test(test_extreme_elements),
        cmocka_unit_test(test_extreme_coarse_elements),
        cmocka_unit_test(test_q4_columns),
        cmocka_unit_test(test_q4_key_outlier),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_long_context_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
