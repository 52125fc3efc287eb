/* soundness_test.c - a NaN, an infinity or an overflow anywhere in a forward pass is an error that says where, with
 * every type of cache, and leaves the model as it was. Weights are Q8_0, so that activations go through int8. */
#include "fovea/model.h"
#include "numeric/half.h"
#include "support/random.h"
#include "support/tables.h"
#include "support/test_policy.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 64, FEED = 96, VOCABULARY = 10, LAYERS = 2, HEAD_DIM = 32, QUERY_HEADS = 2, KV_HEADS = 1, TOKENS = 24 };

static test_tables tables;
static unsigned char pool[200000];
static size_t pool_used;

/* Everything a model stands on; `matrices` and `vectors` are what tests damage. */
typedef struct world {
    fv_layer_weights layers[LAYERS];
    fv_model_weights weights;
    fv_model *model;
    void *memory;
} world;

static void *take(size_t bytes) {
    void *out = pool + pool_used;
    pool_used += (bytes + 63) / 64 * 64;
    assert_true(pool_used <= sizeof pool);
    return out;
}

/* Q8_0: blocks of an f16 scale and 32 bytes. */
static fv_weight matrix_make(uint32_t rows, uint32_t columns, test_random *random) {
    size_t blocks = (size_t)rows * columns / 32;
    unsigned char *data = take(blocks * 34);
    for (size_t i = 0; i < blocks * 34; i++) data[i] = (unsigned char)test_random_in(random, 0, 255);
    uint16_t scale = fv_f16_from_f32(0.002f);
    for (size_t b = 0; b < blocks; b++) memcpy(data + 34 * b, &scale, 2);
    return (fv_weight){.data = data, .type = FV_WEIGHT_Q8_0, .rows = rows, .columns = columns};
}

static fv_weight vector_make(uint32_t columns, float value) {
    float *data = take(columns * sizeof *data);
    for (uint32_t i = 0; i < columns; i++) data[i] = value;
    return (fv_weight){.data = data, .type = FV_WEIGHT_F32, .rows = 1, .columns = columns};
}

static void world_make(world *w, const fv_kernels *kernels, uint32_t cache_type) {
    static const float frequencies[HEAD_DIM / 2] = {1.0f};
    test_random random = test_random_make(5);
    fv_model_config config;
    fv_model_bytes bytes;
    pool_used = 0;
    fv_model_config_default(&config);
    config.vocabulary = VOCABULARY, config.width = WIDTH, config.feed_forward = FEED, config.layers = LAYERS;
    config.query_heads = QUERY_HEADS, config.cache.kv_heads = KV_HEADS, config.cache.head_dim = HEAD_DIM;
    config.cache.key_type = config.cache.value_type = cache_type;
    config.cache.max_tokens = TOKENS, config.batch_tokens = TOKENS;
    config.rope_kind = FV_ROPE_HALVES, config.rope_dims = HEAD_DIM;
    config.attention_scale = 0.2f;
    config.logit_softcap = 30.0f;
    for (size_t i = 0; i < LAYERS; i++)
        w->layers[i] = (fv_layer_weights){.attention_norm = vector_make(WIDTH, 1),
                                          .query = matrix_make(QUERY_HEADS * HEAD_DIM, WIDTH, &random),
                                          .key = matrix_make(KV_HEADS * HEAD_DIM, WIDTH, &random),
                                          .value = matrix_make(KV_HEADS * HEAD_DIM, WIDTH, &random),
                                          .output = matrix_make(WIDTH, QUERY_HEADS * HEAD_DIM, &random),
                                          .key_bias = vector_make(KV_HEADS * HEAD_DIM, 0),
                                          .value_bias = vector_make(KV_HEADS * HEAD_DIM, 0),
                                          .feed_norm = vector_make(WIDTH, 1),
                                          .gate = matrix_make(FEED, WIDTH, &random),
                                          .up = matrix_make(FEED, WIDTH, &random),
                                          .down = matrix_make(WIDTH, FEED, &random)};
    w->weights = (fv_model_weights){.embedding = matrix_make(VOCABULARY, WIDTH, &random),
                                    .output_norm = vector_make(WIDTH, 1),
                                    .output = matrix_make(VOCABULARY, WIDTH, &random),
                                    .layers = w->layers,
                                    .rope_frequencies = frequencies};
    assert_int_equal(fv_model_size(&config, 1, &bytes), FV_OK);
    w->memory = aligned_alloc(FV_CACHE_ALIGN, (bytes.total + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN);
    assert_non_null(w->memory);
    assert_int_equal(fv_model_init(&w->model, &config, &w->weights, kernels, 1, w->memory, bytes.total), FV_OK);
}

static const int32_t text[TOKENS] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

/* Reads three tokens in one call and one in another, and asks for all logits: the first error. */
static fv_status work(world *w) {
    float logits[3 * VOCABULARY];
    fv_policy dense = test_policy(FV_SELECTOR_DENSE);
    assert_int_equal(fv_model_last_fault(w->model)->place, FV_PLACE_NONE);
    fv_status status = fv_model_forward(w->model, text, 3, &dense, NULL, NULL);
    if (status != FV_OK) assert_int_equal(fv_model_tokens(w->model), 0);
    if (status == FV_OK) status = fv_model_logits(w->model, 0, 3, NULL, logits);
    if (status == FV_OK) status = fv_model_forward(w->model, text + 3, 1, &dense, NULL, NULL);
    if (status == FV_OK) status = fv_model_logits(w->model, 0, 1, NULL, logits);
    for (size_t i = 0; status == FV_OK && i < VOCABULARY; i++) assert_true(isfinite(logits[i]));
    return status;
}

typedef struct damage {
    size_t offset; /* of the weight in a world */
    uint32_t place, layer;
} damage;

#define AT(field) offsetof(world, field)

static const damage damages[] = {
    {AT(weights.embedding), FV_PLACE_INPUT, 0},    {AT(layers[0].query), FV_PLACE_QUERY, 0},
    {AT(layers[1].key), FV_PLACE_KEY, 1},          {AT(layers[0].value), FV_PLACE_VALUE, 0},
    {AT(layers[0].output), FV_PLACE_INPUT, 1},     {AT(layers[0].gate), FV_PLACE_INPUT, 1},
    {AT(layers[0].up), FV_PLACE_INPUT, 1},         {AT(layers[0].down), FV_PLACE_INPUT, 1},
    {AT(layers[1].output), FV_PLACE_OUTPUT, 1},    {AT(layers[1].gate), FV_PLACE_OUTPUT, 1},
    {AT(layers[1].down), FV_PLACE_OUTPUT, 1},      {AT(weights.output), FV_PLACE_LOGITS, 1},
    {AT(layers[1].feed_norm), FV_PLACE_OUTPUT, 1}, {AT(layers[1].attention_norm), FV_PLACE_QUERY, 1},
};

/* The row of a matrix that token 2 reads, which is row 1 of the first forward; any element of a vector. */
static void spoil(const fv_weight *weight, float value) {
    unsigned char *data = (unsigned char *)(uintptr_t)weight->data;
    uint16_t scale = fv_f16_from_f32(value);
    if (weight->type == FV_WEIGHT_F32)
        memcpy(data + 4 * 17, &value, sizeof value);
    else
        memcpy(data + 2 * (size_t)WIDTH / 32 * 34, &scale, sizeof scale);
}

static void what_is_not_finite_is_found_where_it_arises(void **state) {
    (void)state;
    const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t k = 0; k < tables.count; k++)
        for (uint32_t type = 0; type < FV_ELEMENT_COUNT; type++)
            for (size_t i = 0; i < sizeof damages / sizeof *damages; i++)
                for (size_t v = 0; v < 3; v++) {
                    world w;
                    world_make(&w, tables.table[k], type);
                    spoil((const fv_weight *)(const void *)((const char *)&w + damages[i].offset), values[v]);
                    fv_status status = work(&w);
                    const fv_model_fault *fault = fv_model_last_fault(w.model);
                    if (status != FV_ERROR_NOT_FINITE || fault->place != damages[i].place ||
                        fault->layer != damages[i].layer || isfinite(fault->value))
                        fail_msg("%s, cache %u, damage %zu, value %g: status %d, place %u, layer %u, row %u: %g",
                                 test_table_name(tables.table[k]), type, i, (double)values[v], (int)status,
                                 fault->place, fault->layer, fault->row, (double)fault->value);
                    if (fault->place == FV_PLACE_INPUT && fault->layer == 0) assert_int_equal(fault->row, 1);
                    free(w.memory);
                }
}

static void sound_weights_have_no_fault(void **state) {
    (void)state;
    for (size_t k = 0; k < tables.count; k++)
        for (uint32_t type = 0; type < FV_ELEMENT_COUNT; type++) {
            world w;
            world_make(&w, tables.table[k], type);
            assert_int_equal(work(&w), FV_OK);
            assert_int_equal(fv_model_last_fault(w.model)->place, FV_PLACE_NONE);
            free(w.memory);
        }
}

/* Finite weights whose numbers leave f32, or all sense. */
static void an_overflow_is_found(void **state) {
    (void)state;
    for (size_t k = 0; k < tables.count; k++)
        for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
            world w;
            world_make(&w, tables.table[k], FV_ELEMENT_F32);
            const fv_weight *weight = (const fv_weight *)(const void *)((const char *)&w + damages[i].offset);
            if (weight->type == FV_WEIGHT_F32) {
                spoil(weight, 3e38f);
                assert_int_equal(work(&w), FV_ERROR_NOT_FINITE);
                assert_true(!(fabsf(fv_model_last_fault(w.model)->value) <= 0x1p60f));
            }
            free(w.memory);
        }
}

/* A value beyond the cache's type: which, where and how large. */
static void what_a_cache_cannot_hold_is_found(void **state) {
    (void)state;
    for (size_t k = 0; k < tables.count; k++)
        for (int value = 0; value < 2; value++) {
            world w;
            world_make(&w, tables.table[k], FV_ELEMENT_F16);
            const fv_weight *bias = value ? &w.layers[1].value_bias : &w.layers[1].key_bias;
            spoil(bias, 1e5f);
            assert_int_equal(work(&w), FV_ERROR_RANGE);
            const fv_model_fault *fault = fv_model_last_fault(w.model);
            assert_int_equal(fault->place, value ? FV_PLACE_VALUE : FV_PLACE_KEY);
            assert_int_equal(fault->layer, 1);
            assert_int_equal(fault->row, 0);
            assert_true(fabsf(fault->value) > 65504.0f && fabsf(fault->value) < 1.5e5f);
            free(w.memory);
            world_make(&w, tables.table[k], FV_ELEMENT_BF16);
            spoil(value ? &w.layers[1].value_bias : &w.layers[1].key_bias, 1e5f);
            assert_int_equal(work(&w), FV_OK);
            free(w.memory);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_finite_is_found_where_it_arises),
        cmocka_unit_test(sound_weights_have_no_fault),
        cmocka_unit_test(an_overflow_is_found),
        cmocka_unit_test(what_a_cache_cannot_hold_is_found),
    };
    test_tables_make(&tables);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
