/* model_bench_test.c - figures of `fovea bench` from times that are made up, and a run of a tiny model. */
#include "fovea/engine.h"
#include "fovea/measure/model_bench.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static bool near(double a, double b) { return fabs(a - b) <= 1e-9 * (1 + fabs(b)); }

/* 10 tokens in 1, 2 and 4 microseconds: 10, 5 and 2.5 million a second. */
static void means_and_deviations_of_a_sample(void **state) {
    uint64_t ns[3] = {1000, 2000, 4000};
    const fv_model_bench_test test = {.prompt = 7, .generated = 3, .batch = 4, .micro_batch = 4};
    fv_model_bench_result result = {.samples_ns = ns, .samples = 3};
    fv_model_bench_figures figures;
    (void)state;
    fv_model_bench_figures_of(&test, &result, &figures);
    assert_true(near(figures.mean_ns, 7000.0 / 3));
    assert_true(near(figures.deviation_ns, sqrt((pow(4000 / 3.0, 2) + pow(1000 / 3.0, 2) + pow(5000 / 3.0, 2)) / 2)));
    assert_true(near(figures.mean_rate, 17.5e6 / 3));
    double mean = 17.5e6 / 3, squares = pow(10e6 - mean, 2) + pow(5e6 - mean, 2) + pow(2.5e6 - mean, 2);
    assert_true(near(figures.deviation_rate, sqrt(squares / 2)));
    result.samples = 1;
    fv_model_bench_figures_of(&test, &result, &figures);
    assert_true(figures.deviation_ns == 0 && figures.mean_ns == 1000);
    assert_true(fv_model_bench_rate(&test, 0) == 0);
}

typedef struct watched {
    size_t asked, stop_at, ran;
} watched;

static bool go_on(void *context) {
    watched *watch = context;
    return ++watch->asked < watch->stop_at;
}

static void ran(void *context, size_t samples) {
    watched *watch = context;
    assert_int_equal(samples, ++watch->ran);
}

static void a_test_reads_what_it_says(void **state) {
    uint64_t ns[4];
    fv_engine *engine = NULL;
    fv_session *session = NULL;
    fv_engine_config config;
    const fv_model_bench_test test = {.prompt = 10, .generated = 3, .depth = 5, .batch = 4, .micro_batch = 4};
    (void)state;
    fv_engine_config_default(&config);
    config.model = FV_SOURCE_DIR "/tests/model/llama_f32.gguf";
    config.session.context_tokens = 18;
    config.session.batch_tokens = 4;
    assert_int_equal(fv_engine_open(&engine, &config, NULL), FV_OK);
    assert_int_equal(fv_engine_session_open(engine, NULL, &session, NULL), FV_OK);
    const fv_llm *llm = fv_engine_llm(engine);
    watched watch = {.stop_at = SIZE_MAX};
    const fv_model_bench_watch watching = {&watch, go_on, ran};
    fv_model_bench_result result = {.samples_ns = ns};
    assert_int_equal(fv_model_bench_run(llm, session, &test, true, 4, &watching, &result), FV_OK);
    assert_int_equal(result.samples, 4);
    assert_int_equal(watch.ran, 4);
    assert_int_equal(fv_session_tokens(session), 18);
    const fv_model_config *shape = fv_llm_config(llm);
    uint64_t keys = 0;
    for (uint64_t position = 5; position < 18; position++) { /* what is before the clock is not */
        bool has_logits = position >= 15 || position == 8 || position == 12 || position == 14; /* batches end there */
        keys += (position + 1) * (shape->layers - !has_logits);
    }
    assert_int_equal(result.report.keys_read, 4 * keys * shape->cache.kv_heads);
    /* warm-up: 3 batches and a token; depth: 2 batches; each sample: 3 batches and 3 tokens */
    assert_int_equal(watch.asked, 4 + 2 + 4 * 6);
    watch = (watched){.stop_at = 4 + 2 + 6 + 2};
    assert_int_equal(fv_session_truncate(session, 0), FV_OK);
    assert_int_equal(fv_model_bench_run(llm, session, &test, true, 4, &watching, &result), FV_ERROR_INTERRUPTED);
    assert_int_equal(result.samples, 1);
    fv_session_close(session);
    fv_engine_close(engine);
}

/* The tiny model is f32: all its products are f32's, its weights are read once a batch. */
static void work_by_formula(void **state) {
    fv_llm *llm = NULL;
    uint64_t ns[2] = {1, 1};
    char name[64];
    (void)state;
    assert_int_equal(fv_llm_open(&llm, FV_SOURCE_DIR "/tests/model/llama_f32.gguf", NULL), FV_OK);
    const fv_model_bench_test test = {.prompt = 10, .generated = 3, .batch = 4, .micro_batch = 2};
    const fv_model_bench_result result = {
        .samples_ns = ns, .samples = 2, .report = {.keys_read = 100, .local_keys = 20, .bytes_read = 640}};
    const fv_model_config *shape = fv_llm_config(llm);
    const fv_gguf_tensor *output = fv_gguf_tensor_find(fv_llm_gguf(llm), "output.weight"),
                         *embedding = fv_gguf_tensor_find(fv_llm_gguf(llm), "token_embd.weight");
    double table = (double)shape->vocabulary * shape->width;
    double layers = (double)fv_llm_parameters(llm) - (output ? 2 : 1) * table;
    double layer_bytes =
        (double)fv_llm_weight_bytes(llm) - (double)embedding->bytes - (output ? (double)output->bytes : 0);
    double output_bytes = output ? (double)output->bytes : (double)embedding->bytes;
    double group = (double)shape->query_heads / shape->cache.kv_heads;
    double muted = layers / shape->layers - 2.0 * shape->width * shape->cache.kv_heads * shape->cache.head_dim;
    fv_peak_work work;
    fv_model_bench_work(llm, &test, &result, &work);
    assert_true(work.int8_operations == 0);
    /* logits: 3 batches of the prompt and 3 tokens; micro-batches: 5; keys: 60 a sample */
    double products = 13 * layers - 5 * muted + 6 * table;
    assert_true(near(work.f32_operations, 2 * products + 4 * 60 * group * shape->cache.head_dim));
    assert_true(near(work.bytes, 8 * layer_bytes + 6 * output_bytes + 320));
    assert_true(near(fv_model_bench_bytes(llm, &test, &result), work.bytes / 8));
    fv_model_bench_name(llm, name, sizeof name);
    assert_non_null(strstr(name, "llama "));
    assert_non_null(strstr(name, "M F32"));
    fv_llm_close(llm);
}

static void a_test_is_named_as_llama_bench_names_it(void **state) {
    (void)state;
    char name[64];
    fv_model_bench_test test = {.prompt = 512};
    fv_model_bench_test_name(&test, name, sizeof name);
    assert_string_equal(name, "pp512");
    test = (fv_model_bench_test){.generated = 128, .depth = 4096};
    fv_model_bench_test_name(&test, name, sizeof name);
    assert_string_equal(name, "tg128 @ d4096");
    test.prompt = 1;
    fv_model_bench_test_name(&test, name, sizeof name);
    assert_string_equal(name, "pp1+tg128 @ d4096");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_and_deviations_of_a_sample),
        cmocka_unit_test(a_test_reads_what_it_says),
        cmocka_unit_test(work_by_formula),
        cmocka_unit_test(a_test_is_named_as_llama_bench_names_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
