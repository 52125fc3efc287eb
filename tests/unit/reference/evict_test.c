/* evict_test.c - who leaves a full cache, and 10,000 steps of a cache that is appended to, cut and evicted from,
 * against plain arrays. */
#include "fovea/reference/evict.h"
#include "support/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 10000, TOKENS_MOST = 40, WIDTH_MOST = 24 };

static _Alignas(8) unsigned char kernels_memory[FV_KERNELS_BYTES];
static const fv_kernels *kernels;

static void test_victim(void **state) {
    (void)state;
    const float scores[] = {3, 1, 2, 1, 5};
    const uint32_t globals[] = {1, 77};
    fv_evict_config config;
    fv_evict_config_default(&config);
    uint32_t victim;
    assert_int_equal(fv_evict_victim(&config, 5, scores, &victim), FV_OK);
    assert_int_equal(victim, 1); /* of equal ones the first */
    config.globals = globals;
    config.globals_count = 2;
    assert_int_equal(fv_evict_victim(&config, 5, scores, &victim), FV_OK);
    assert_int_equal(victim, 3);
    config.window = 2;
    assert_int_equal(fv_evict_victim(&config, 5, scores, &victim), FV_OK);
    assert_int_equal(victim, 2);
    const float nans[] = {NAN, 1, -INFINITY, 4, 4};
    config.globals_count = 0;
    assert_int_equal(fv_evict_victim(&config, 5, nans, &victim), FV_OK);
    assert_int_equal(victim, 0); /* nothing is lower than a NaN */
}

/* Q7: refused by default; the reference's way has a name. */
static void test_all_protected(void **state) {
    (void)state;
    const float scores[] = {3, 1, 2};
    static const uint32_t windows[] = {3, 4, UINT32_MAX};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        fv_evict_config config;
        fv_evict_config_default(&config);
        uint32_t victim = 9;
        config.window = windows[i];
        assert_int_equal(fv_evict_victim(&config, 3, scores, &victim), FV_ERROR_PROTECTED);
        assert_int_equal(victim, 9);
        config.when_all_protected = FV_EVICT_OLDEST;
        assert_int_equal(fv_evict_victim(&config, 3, scores, &victim), FV_OK);
        assert_int_equal(victim, 0);
    }
}

static void test_arguments(void **state) {
    (void)state;
    const float scores[] = {3};
    fv_evict_config config;
    fv_evict_config_default(&config);
    uint32_t victim = 9;
    int32_t items[] = {5, 6, 7};
    assert_int_equal(fv_evict_victim(NULL, 1, scores, &victim), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_evict_victim(&config, 0, scores, &victim), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_evict_victim(&config, 1, NULL, &victim), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_evict_victim(&config, 1, scores, NULL), FV_ERROR_ARGUMENT);
    config.when_all_protected = 2;
    assert_int_equal(fv_evict_victim(&config, 1, scores, &victim), FV_ERROR_ARGUMENT);
    fv_evict_config_default(&config);
    config.globals_count = 1; /* and no globals */
    assert_int_equal(fv_evict_victim(&config, 1, scores, &victim), FV_ERROR_ARGUMENT);
    assert_int_equal(victim, 9);
    assert_int_equal(fv_evict_compact(items, sizeof *items, 3, 3), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_evict_compact(NULL, sizeof *items, 3, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_evict_compact(items, sizeof *items, 3, 1), FV_OK);
    assert_int_equal(items[1], 7);
    assert_int_equal(fv_evict_compact(items, sizeof *items, 2, 1), FV_OK);
    assert_int_equal(items[0], 5);
    assert_int_equal(fv_evict_compact(items, SIZE_MAX / 2, 3, 1), FV_ERROR_OVERFLOW); /* no list is that long */
    assert_int_equal(items[0], 5);
}

/* Everything, token by token. */
typedef struct model {
    fv_cache_config config;
    uint32_t tokens, width;
    float key[TOKENS_MOST][WIDTH_MOST], value[TOKENS_MOST][WIDTH_MOST];
} model;

/* The running mean in the order of the tokens. */
static void model_mark(const model *m, uint32_t mark, uint32_t head, const float (*rows)[WIDTH_MOST], float *mean) {
    uint32_t first = mark * m->config.landmark_tokens, dim = m->config.head_dim;
    for (uint32_t c = 0; c < dim; c++) {
        mean[c] = 0.0f;
        for (uint32_t i = 0; i < m->config.landmark_tokens && first + i < m->tokens; i++)
            mean[c] += (rows[first + i][head * dim + c] - mean[c]) * (1.0f / (float)(i + 1));
    }
}

static void check_same(const model *m, const fv_cache *cache) {
    uint32_t dim = m->config.head_dim;
    float key[WIDTH_MOST], value[WIDTH_MOST], mean[WIDTH_MOST];
    assert_int_equal(fv_cache_tokens(cache), m->tokens);
    for (uint32_t head = 0; head < m->config.kv_heads; head++) {
        for (uint32_t t = 0; t < m->tokens; t++) {
            assert_int_equal(fv_cache_read(cache, head, t, 1, key, value), FV_OK);
            assert_memory_equal(key, m->key[t] + head * dim, dim * sizeof *key);
            assert_memory_equal(value, m->value[t] + head * dim, dim * sizeof *value);
        }
        uint32_t marks = (m->tokens + m->config.landmark_tokens - 1) / m->config.landmark_tokens;
        for (uint32_t mark = 0; mark < marks; mark++) {
            assert_int_equal(fv_cache_landmark_read(cache, head, mark, key, value), FV_OK);
            model_mark(m, mark, head, m->key, mean);
            assert_memory_equal(key, mean, dim * sizeof *key);
            model_mark(m, mark, head, m->value, mean);
            assert_memory_equal(value, mean, dim * sizeof *value);
        }
        assert_int_equal(fv_cache_landmark_read(cache, head, marks, key, value), FV_ERROR_ARGUMENT);
    }
}

static void model_remove(model *m, uint32_t token) {
    fv_evict_compact(m->key, sizeof m->key[0], m->tokens, token);
    fv_evict_compact(m->value, sizeof m->value[0], m->tokens, token);
    m->tokens--;
}

static void step_append(model *m, fv_cache *cache, test_random *random) {
    uint32_t count = test_random_in(random, 0, 6), room = m->config.max_tokens - m->tokens;
    float rows[2][6 * WIDTH_MOST];
    test_fill_f32(random, rows[0], sizeof rows / sizeof(float), 2.0f);
    fv_status status = fv_cache_append(cache, count, rows[0], m->width, rows[1], m->width);
    assert_int_equal(status, count > room ? FV_ERROR_FULL : FV_OK);
    for (uint32_t i = 0; status == FV_OK && i < count; i++, m->tokens++) {
        memcpy(m->key[m->tokens], rows[0] + i * m->width, m->width * sizeof(float));
        memcpy(m->value[m->tokens], rows[1] + i * m->width, m->width * sizeof(float));
    }
}

static void step_evict(model *m, fv_cache *cache, test_random *random) {
    float scores[TOKENS_MOST], rows[2][WIDTH_MOST];
    uint32_t globals[2] = {test_random_in(random, 0, TOKENS_MOST), 0}, victim = 1234, want = FV_EVICT_NONE;
    fv_evict_config config = {.globals = globals, .globals_count = test_random_in(random, 0, 2)};
    config.window = test_random_in(random, 0, 3) ? test_random_in(random, 0, 8) : TOKENS_MOST;
    config.when_all_protected = test_random_in(random, 0, 1);
    test_fill_f32(random, rows[0], sizeof rows / sizeof(float), 2.0f);
    for (size_t i = 0; i < TOKENS_MOST; i++) scores[i] = (float)test_random_in(random, 0, 9);
    bool full = m->tokens == m->config.max_tokens;
    fv_status expected = full ? fv_evict_victim(&config, m->tokens, scores, &want) : FV_OK;
    if (full && test_random_in(random, 0, 9) == 0) { /* scores of another cache */
        assert_int_equal(fv_evict_append(cache, &config, m->tokens + 1, scores, rows[0], rows[1], &victim),
                         FV_ERROR_SHAPE);
        return;
    }
    assert_int_equal(fv_evict_append(cache, &config, m->tokens, scores, rows[0], rows[1], &victim), expected);
    if (expected != FV_OK) return;
    assert_int_equal(victim, want);
    if (victim != FV_EVICT_NONE) model_remove(m, victim);
    memcpy(m->key[m->tokens], rows[0], m->width * sizeof(float));
    memcpy(m->value[m->tokens], rows[1], m->width * sizeof(float));
    m->tokens++;
}

static void one_step(model *m, fv_cache *cache, test_random *random) {
    uint32_t token = test_random_in(random, 0, TOKENS_MOST);
    switch (test_random_in(random, 0, 9)) {
    case 0: {
        uint32_t tokens = test_random_in(random, 0, 3) ? m->tokens - m->tokens / 5 : token;
        assert_int_equal(fv_cache_truncate(cache, tokens), tokens > m->tokens ? FV_ERROR_ARGUMENT : FV_OK);
        if (tokens <= m->tokens) m->tokens = tokens;
        break;
    }
    case 1:
        assert_int_equal(fv_cache_remove(cache, token), token < m->tokens ? FV_OK : FV_ERROR_ARGUMENT);
        if (token < m->tokens) model_remove(m, token);
        break;
    case 2:
    case 3:
    case 4:
        step_append(m, cache, random);
        break;
    default:
        step_evict(m, cache, random);
    }
}

static void test_against_arrays(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    static model m;
    for (int step = 0; step < STEPS;) {
        m = (model){.config = {.kv_heads = test_random_in(&random, 1, 3),
                               .head_dim = test_random_in(&random, 1, 8),
                               .max_tokens = test_random_in(&random, 1, TOKENS_MOST),
                               .key_type = FV_ELEMENT_F32,
                               .value_type = FV_ELEMENT_F32,
                               .landmark_tokens = test_random_in(&random, 1, 20)}};
        m.width = m.config.kv_heads * m.config.head_dim;
        size_t bytes;
        fv_cache *cache;
        assert_int_equal(fv_cache_size(&m.config, &bytes), FV_OK);
        void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
        memset(memory, 0x88, bytes);
        assert_int_equal(fv_cache_init(&cache, &m.config, kernels, memory, bytes), FV_OK);
        for (int end = step + STEPS / 20; step < end; step++) {
            one_step(&m, cache, &random);
            check_same(&m, cache);
        }
        free(memory);
    }
}

/* F16 and Q8_0: what is left is what was stored, to the bit. */
static void test_remove_of_each_type(void **state) {
    (void)state;
    test_random random = test_random_make(2);
    enum { TOKENS = 37, HEADS = 2, DIM = 9 };
    for (uint32_t types = 0; types < FV_ELEMENT_COUNT * FV_ELEMENT_COUNT; types++) {
        fv_cache_config config = {.kv_heads = HEADS,
                                  .head_dim = DIM,
                                  .max_tokens = TOKENS,
                                  .key_type = types % FV_ELEMENT_COUNT,
                                  .value_type = types / FV_ELEMENT_COUNT,
                                  .landmark_tokens = types % 2 ? 5 : 0};
        size_t bytes;
        fv_cache *cache;
        float rows[TOKENS * HEADS * DIM], before[2][TOKENS * DIM], after[2][TOKENS * DIM];
        assert_int_equal(fv_cache_size(&config, &bytes), FV_OK);
        void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
        assert_int_equal(fv_cache_init(&cache, &config, kernels, memory, bytes), FV_OK);
        test_fill_f32(&random, rows, TOKENS * HEADS * DIM, 3.0f);
        assert_int_equal(fv_cache_append(cache, TOKENS, rows, HEADS * DIM, rows, HEADS * DIM), FV_OK);
        uint32_t token = test_random_in(&random, 0, TOKENS - 1);
        fv_cache_read(cache, 1, 0, TOKENS, before[0], before[1]);
        assert_int_equal(fv_cache_remove(cache, token), FV_OK);
        fv_cache_read(cache, 1, 0, TOKENS - 1, after[0], after[1]);
        for (int i = 0; i < 2; i++) {
            fv_evict_compact(before[i], DIM * sizeof(float), TOKENS, token);
            assert_memory_equal(after[i], before[i], (TOKENS - 1) * DIM * sizeof(float));
        }
        free(memory);
    }
}

static int setup(void **state) {
    (void)state;
    return fv_kernels_init(&kernels, FV_ISA_BEST, kernels_memory, sizeof kernels_memory) != FV_OK;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_victim),
        cmocka_unit_test(test_all_protected),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_against_arrays),
        cmocka_unit_test(test_remove_of_each_type),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
