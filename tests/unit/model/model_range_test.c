/* model_range_test.c - a model whose layers are in two models, each with weights and caches of its own layers alone,
 * has the bits of one; what is refused. */
#include "support/model_world.h"
#include "support/tables.h"
#include "support/test_policy.h"
#include <string.h>

enum { TEXT = 43, BATCH = 20 };

/* A model of some layers, its caches, and nothing of the others. */
typedef struct stage {
    fv_layer_weights layers[LAYERS];
    fv_model *model;
    void *memory;
    fv_cache *caches[LAYERS];
    void *cache_memory[LAYERS];
    fv_report report;
} stage;

static test_tables tables;
static fv_layer_weights all_layers[LAYERS];
static fv_model_weights all;

static fv_model_config range_config(void) {
    fv_model_config config = config_make();
    config.local_window = 7, config.local_period = 2;
    config.parts = 2;
    return config;
}

static fv_model_weights weights_of(stage *s, const fv_layer_range *range) {
    fv_model_weights weights = all;
    weights.rope_local_frequencies = weights.rope_frequencies;
    memset(s->layers, 0, sizeof s->layers);
    for (uint32_t i = 0; i < range->count; i++) s->layers[range->first + i] = all_layers[range->first + i];
    weights.layers = s->layers;
    if (range->first > 0) weights.embedding = weights.output = (fv_weight){0};
    if (range->first + range->count < LAYERS) weights.output_norm = (fv_weight){0};
    return weights;
}

static void stage_open(stage *s, uint32_t first, uint32_t count, const fv_kernels *kernels) {
    fv_model_config config = range_config();
    const fv_layer_range range = {first, count};
    fv_model_weights weights = weights_of(s, &range);
    fv_model_bytes bytes;
    assert_int_equal(fv_model_size(&config, 1, &bytes), FV_OK);
    s->memory = world_memory(bytes.total);
    assert_int_equal(fv_model_init_range(&s->model, &config, &weights, &range, kernels, 1, s->memory, bytes.total),
                     FV_OK);
    s->report = (fv_report){.struct_bytes = sizeof s->report};
    for (uint32_t layer = first; layer < first + count; layer++) {
        size_t cache_bytes = 0;
        assert_int_equal(fv_cache_size(&config.cache, &cache_bytes), FV_OK);
        s->cache_memory[layer] = world_memory(cache_bytes);
        assert_int_equal(fv_cache_init(&s->caches[layer], &config.cache, kernels, s->cache_memory[layer], cache_bytes),
                         FV_OK);
    }
}

static void stage_close(stage *s) {
    for (uint32_t layer = 0; layer < LAYERS; layer++) free(s->cache_memory[layer]);
    free(s->memory);
}

static fv_policy choosing(void) {
    fv_policy policy = test_policy(FV_SELECTOR_FOVEA);
    policy.window = 1, policy.dense_below = 0;
    fv_policy_set_budget(&policy, 0.5f);
    return policy;
}

static fv_status stage_step(stage *s, const int32_t *tokens, uint32_t count, const fv_policy *policy) {
    const fv_model_part part = {
        .caches = s->caches, .tokens = tokens, .count = count, .policy = policy, .report = &s->report};
    return fv_model_step(s->model, &part, 1, NULL);
}

static void two_models_have_the_bits_of_one(void **state) {
    (void)state;
    test_random random = {.state = 5};
    const fv_kernels *kernels = tables.table[0];
    const fv_policy policy = choosing();
    float want[BATCH][VOCABULARY], got[BATCH][VOCABULARY];
    int32_t text[TEXT];
    stage whole = {0}, first = {0}, last = {0};
    all = weights_make(all_layers, &random);
    for (size_t i = 0; i < TEXT; i++) text[i] = (int32_t)test_random_in(&random, 0, VOCABULARY - 1);
    stage_open(&whole, 0, LAYERS, kernels);
    stage_open(&first, 0, 1, kernels);
    stage_open(&last, 1, LAYERS - 1, kernels);
    for (uint32_t done = 0, count; done < TEXT; done += count) {
        count = TEXT - done < BATCH ? TEXT - done : BATCH;
        size_t bytes = (size_t)count * WIDTH * sizeof(float);
        assert_int_equal(stage_step(&whole, text + done, count, &policy), FV_OK);
        assert_int_equal(fv_model_logits(whole.model, 0, count, NULL, want[0]), FV_OK);
        assert_int_equal(stage_step(&first, text + done, count, &policy), FV_OK);
        assert_int_equal(fv_model_logits(first.model, 0, 1, NULL, got[0]), FV_ERROR_ARGUMENT);
        memcpy(fv_model_stream(last.model), fv_model_stream(first.model), bytes);
        assert_int_equal(stage_step(&last, NULL, count, &policy), FV_OK);
        assert_memory_equal(fv_model_stream(last.model), fv_model_stream(whole.model), bytes);
        assert_int_equal(fv_model_logits(last.model, 0, 1, NULL, got[0]), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_model_logits_from(first.model, fv_model_stream(last.model), count, NULL, got[0]), FV_OK);
        assert_memory_equal(got, want, count * sizeof *want);
    }
    assert_true(whole.report.keys_read > 0 && whole.report.local_keys > 0);
    assert_int_equal(first.report.keys_read + last.report.keys_read, whole.report.keys_read);
    assert_int_equal(first.report.local_keys + last.report.local_keys, whole.report.local_keys);
    stage_close(&whole), stage_close(&first), stage_close(&last);
}

/* A fault is told by the number that the layer has in the whole model, and takes back what the stage has. */
static void a_layer_keeps_its_number(void **state) {
    (void)state;
    test_random random = {.state = 6};
    stage last = {0};
    fv_policy dense = test_policy(FV_SELECTOR_DENSE);
    all = weights_make(all_layers, &random);
    stage_open(&last, 1, 1, tables.table[0]);
    float *stream = fv_model_stream(last.model);
    for (size_t i = 0; i < 2 * WIDTH; i++) stream[i] = 1.0f;
    stream[WIDTH] = INFINITY;
    assert_int_equal(stage_step(&last, NULL, 2, &dense), FV_ERROR_NOT_FINITE);
    const fv_model_fault *fault = fv_model_last_fault(last.model);
    assert_int_equal(fault->place, FV_PLACE_INPUT);
    assert_int_equal(fault->layer, 1);
    assert_int_equal(fault->row, 1);
    assert_int_equal(fv_cache_tokens(last.caches[1]), 0);
    stage_close(&last);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    test_random random = {.state = 7};
    fv_model_config config = range_config();
    fv_model_bytes bytes;
    fv_model *model = NULL;
    stage s = {0};
    all = weights_make(all_layers, &random);
    assert_int_equal(fv_model_size(&config, 1, &bytes), FV_OK);
    void *memory = world_memory(bytes.total);
    const fv_layer_range bad[] = {{0, 0}, {0, LAYERS + 1}, {LAYERS, 1}, {1, UINT32_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(fv_model_init_range(&model, &config, &all, &bad[i], tables.table[0], 1, memory, bytes.total),
                         FV_ERROR_ARGUMENT);
    const fv_layer_range one = {0, 1}, other = {1, 1};
    fv_model_weights weights = weights_of(&s, &other); /* of the other layer, no embedding */
    assert_int_equal(fv_model_init_range(&model, &config, &weights, &one, tables.table[0], 1, memory, bytes.total),
                     FV_ERROR_ARGUMENT);
    config.parts = 0; /* caches of its own */
    assert_int_equal(fv_model_init_range(&model, &config, &all, &one, tables.table[0], 1, memory, bytes.total),
                     FV_ERROR_ARGUMENT);
    assert_null(model);
    free(memory);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_models_have_the_bits_of_one),
        cmocka_unit_test(a_layer_keeps_its_number),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
