/* model_world.h - the weights of a very small model, for tests of the forward pass. A program that includes it has one
 * set of them at a time. */
#ifndef FV_TEST_MODEL_WORLD_H
#define FV_TEST_MODEL_WORLD_H

#include "fovea/model.h"
#include "support/attention_world.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum {
    WIDTH = 24,
    FEED = 40,
    VOCABULARY = 11,
    LAYERS = 2,
    HEAD_DIM = 6,
    QUERY_HEADS = 4,
    KV_HEADS = 2,
    MAX_TOKENS = 50
};

static float pool[20000];
static size_t pool_used;

static inline fv_weight weight_make(uint32_t rows, uint32_t columns, float bias, test_random *random) {
    float *data = pool + pool_used;
    pool_used += (size_t)rows * columns;
    assert_true(pool_used <= sizeof pool / sizeof *pool);
    for (size_t i = 0; i < (size_t)rows * columns; i++) data[i] = bias + 0.3f * test_random_f32(random);
    return (fv_weight){.data = data, .type = FV_WEIGHT_F32, .rows = rows, .columns = columns};
}

static inline fv_model_config config_make(void) {
    fv_model_config config;
    fv_model_config_default(&config);
    config.vocabulary = VOCABULARY, config.width = WIDTH, config.feed_forward = FEED, config.layers = LAYERS;
    config.query_heads = QUERY_HEADS, config.cache.kv_heads = KV_HEADS, config.cache.head_dim = HEAD_DIM;
    config.cache.max_tokens = MAX_TOKENS, config.batch_tokens = 20;
    config.cache.landmark_tokens = 16;
    config.cache.shadow = 1;
    config.rope_kind = FV_ROPE_HALVES, config.rope_dims = 4;
    config.attention_scale = 0.4f;
    return config;
}

static inline fv_model_weights weights_make(fv_layer_weights *layers, test_random *random) {
    static const float frequencies[3] = {1.0f, 0.01f, 0.0001f};
    uint32_t queries = QUERY_HEADS * HEAD_DIM, keys = KV_HEADS * HEAD_DIM;
    pool_used = 0;
    for (size_t i = 0; i < LAYERS; i++)
        layers[i] = (fv_layer_weights){.attention_norm = weight_make(1, WIDTH, 1, random),
                                       .query = weight_make(queries, WIDTH, 0, random),
                                       .key = weight_make(keys, WIDTH, 0, random),
                                       .value = weight_make(keys, WIDTH, 0, random),
                                       .output = weight_make(WIDTH, queries, 0, random),
                                       .feed_norm = weight_make(1, WIDTH, 1, random),
                                       .gate = weight_make(FEED, WIDTH, 0, random),
                                       .up = weight_make(FEED, WIDTH, 0, random),
                                       .down = weight_make(WIDTH, FEED, 0, random)};
    fv_weight embedding = weight_make(VOCABULARY, WIDTH, 0, random);
    return (fv_model_weights){.embedding = embedding,
                              .output_norm = weight_make(1, WIDTH, 1, random),
                              .output = embedding,
                              .layers = layers,
                              .rope_frequencies = frequencies};
}

#endif
