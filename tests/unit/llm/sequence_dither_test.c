/* sequence_dither_test.c - a session that wakes with noise holds what fv_cache_read_dithered() reads, by its seed
 * alone, goes on as any other, and is refused where its caches could not tell the noise from none. */
#include "fovea/reference/dither.h"
#include "fovea/session_file.h"
#include "llm/sequence_state.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PATH "sequence_dither_test.fovea"
#define MODEL(name) FV_SOURCE_DIR "/tests/model/" name ".gguf"
enum { CONTEXT = 4200, SEED = 42 };

static fv_llm *llm;

static fv_session *session_new(uint32_t key_type, uint32_t value_type, fv_selector selector) {
    fv_session_config config;
    fv_session *made = NULL;
    fv_session_config_default(&config);
    config.context_tokens = CONTEXT, config.batch_tokens = 128;
    config.key_type = key_type, config.value_type = value_type;
    fv_policy_default(selector, &config.policy);
    assert_int_equal(fv_session_open(&made, llm, &config, NULL, NULL), FV_OK);
    return made;
}

/* A file of so many tokens, and the session that it is of. */
static fv_session *stored_new(uint32_t type, fv_selector selector, size_t tokens) {
    fv_session *made = session_new(type, type, selector);
    int32_t *ids = malloc(tokens * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < tokens; i++) ids[i] = (int32_t)((i * 2654435761u >> 8) % fv_llm_config(llm)->vocabulary);
    assert_int_equal(fv_session_feed(made, ids, tokens, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_save(made, PATH, FV_SESSION_END_PLAIN, NULL), FV_OK);
    free(ids);
    return made;
}

static fv_session_file *file_open(void) {
    fv_session_file *file = NULL;
    assert_int_equal(fv_session_file_open(&file, PATH, NULL), FV_OK);
    return file;
}

/* Keys and values of a layer and head, of so many tokens: [2][tokens][head_dim]; to be freed. */
static float *layer_read(fv_session *session, uint32_t layer, uint32_t first, uint32_t tokens,
                         const fv_dither *dither) {
    fv_cache *cache = fv_session_sequence(session)->caches[layer];
    size_t count = (size_t)tokens * fv_cache_shape(cache)->head_dim;
    float *read = calloc(2 * count, sizeof *read);
    assert_non_null(read);
    assert_int_equal(fv_cache_read_dithered(cache, 0, first, tokens, dither, read, read + count), FV_OK);
    return read;
}

/* Whether what woke holds what is stored with the noise of `seed`, in f32 bit by bit. */
static bool holds(fv_session *woken, fv_session *stored, uint32_t first, uint64_t seed) {
    bool same = true;
    uint32_t tokens = (uint32_t)fv_session_tokens(woken) - first;
    for (uint32_t layer = 0; layer < fv_llm_config(llm)->layers; layer++) {
        const fv_dither dither = {.seed = seed, .stream = layer};
        float *got = layer_read(woken, layer, first, tokens, NULL);
        float *want = layer_read(stored, layer, first, tokens, &dither);
        size_t bytes = 2 * sizeof *got * tokens * fv_llm_config(llm)->cache.head_dim;
        same = same && memcmp(got, want, bytes) == 0;
        free(got);
        free(want);
    }
    return same;
}

static void test_the_noise_is_of_its_seed(void **state) {
    (void)state;
    fv_session *stored = stored_new(FV_ELEMENT_Q8_0, FV_SELECTOR_DENSE, 1100);
    fv_session *woken = session_new(FV_ELEMENT_F32, FV_ELEMENT_F32, FV_SELECTOR_DENSE);
    fv_session_file *file = file_open();
    for (size_t tokens = 1100; tokens > 0; tokens = tokens == 1100 ? 70 : 0) {
        assert_int_equal(fv_session_wake_dithered(woken, file, tokens, SEED, NULL), FV_OK);
        assert_int_equal(fv_session_tokens(woken), tokens);
        assert_memory_equal(fv_sequence_ids(fv_session_sequence(woken)), fv_session_file_tokens(file), 4 * tokens);
        assert_true(holds(woken, stored, 0, SEED));
        assert_false(holds(woken, stored, 0, SEED + 1));
    }
    fv_session_file_close(file);
    fv_session_close(woken);
    fv_session_close(stored);
}

/* The mean over seeds is what is stored. */
static void test_the_mean_is_the_stored_value(void **state) {
    (void)state;
    enum { TOKENS = 40, SEEDS = 64 };
    fv_session *stored = stored_new(FV_ELEMENT_Q4_0, FV_SELECTOR_DENSE, TOKENS);
    fv_session *woken = session_new(FV_ELEMENT_F32, FV_ELEMENT_F16, FV_SELECTOR_DENSE);
    fv_session_file *file = file_open();
    size_t count = (size_t)TOKENS * fv_llm_config(llm)->cache.head_dim;
    float *want = layer_read(stored, 0, 0, TOKENS, NULL), *sum = calloc(count, sizeof *sum);
    double once = 0, mean = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        assert_int_equal(fv_session_wake_dithered(woken, file, TOKENS, seed, NULL), FV_OK);
        float *got = layer_read(woken, 0, 0, TOKENS, NULL);
        for (size_t i = 0; i < count; i++) sum[i] += got[i];
        for (size_t i = 0; i < count && seed == 0; i++) once += fabs((double)got[i] - (double)want[i]);
        free(got);
    }
    for (size_t i = 0; i < count; i++) mean += fabs((double)sum[i] / SEEDS - (double)want[i]);
    assert_true(once > 0 && mean < once * 1.3 / sqrt(SEEDS));
    free(sum);
    free(want);
    fv_session_file_close(file);
    fv_session_close(woken);
    fv_session_close(stored);
}

/* Layers with a sliding window have lost their beginnings; what chooses pages has codes of what woke. */
static void test_it_goes_on(void **state) {
    (void)state;
    static const fv_selector selectors[] = {FV_SELECTOR_DENSE, FV_SELECTOR_FOVEA, FV_SELECTOR_PATTERN};
    size_t tokens = fv_llm_config(llm)->local_window ? 3000 : 1100, vocabulary = fv_llm_config(llm)->vocabulary;
    float *near = malloc(vocabulary * sizeof *near), *got = malloc(vocabulary * sizeof *got);
    for (size_t i = 0; i < sizeof selectors / sizeof *selectors; i++) {
        fv_session *stored = stored_new(FV_ELEMENT_Q8_0, selectors[i], tokens);
        fv_session *woken = session_new(FV_ELEMENT_F16, FV_ELEMENT_F16, selectors[i]);
        fv_session_file *file = file_open();
        fv_message message = {"?"};
        int32_t token = 7;
        double square = 0, difference = 0;
        assert_int_equal(fv_session_wake_dithered(woken, file, tokens, SEED, &message), FV_OK);
        assert_string_equal(message.text, "");
        assert_int_equal(fv_session_batch_rows(woken), 0);
        assert_int_equal(fv_session_earliest(woken), fv_session_earliest(stored));
        assert_int_equal(fv_session_earliest(woken) > 0, fv_llm_config(llm)->local_window > 0);
        assert_int_equal(fv_session_feed(woken, &token, 1, NULL, NULL), FV_OK);
        assert_int_equal(fv_session_feed(stored, &token, 1, NULL, NULL), FV_OK);
        assert_int_equal(fv_session_logits(woken, 0, 1, got), FV_OK);
        assert_int_equal(fv_session_logits(stored, 0, 1, near), FV_OK);
        for (size_t v = 0; v < vocabulary; v++) {
            square += (double)near[v] * (double)near[v];
            difference += ((double)got[v] - (double)near[v]) * ((double)got[v] - (double)near[v]);
        }
        assert_true(difference > 0 && difference < 0.01 * square);
        assert_int_equal(fv_session_truncate(woken, tokens - 100), FV_OK);
        assert_int_equal(fv_session_save(woken, PATH "2", FV_SESSION_END_PLAIN, NULL), FV_OK);
        fv_session_file_close(file);
        fv_session_close(woken);
        fv_session_close(stored);
    }
    remove(PATH "2");
    free(near);
    free(got);
}

static void check_refused(uint32_t key_type, uint32_t value_type, const char *words) {
    fv_session *session = session_new(key_type, value_type, FV_SELECTOR_DENSE);
    fv_session_file *file = file_open();
    fv_message message = {""};
    int32_t tokens[3] = {1, 2, 3};
    assert_int_equal(fv_session_feed(session, tokens, 3, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_wake_dithered(session, file, 10, SEED, &message), FV_ERROR_UNSUPPORTED);
    assert_non_null(strstr(message.text, words));
    assert_int_equal(fv_session_tokens(session), 3);
    fv_session_file_close(file);
    fv_session_close(session);
}

static void test_what_has_no_room_for_noise(void **state) {
    (void)state;
    fv_session_close(stored_new(FV_ELEMENT_Q8_0, FV_SELECTOR_DENSE, 20));
    check_refused(FV_ELEMENT_Q8_0, FV_ELEMENT_F32, "keys of type q8_0 have no room");
    check_refused(FV_ELEMENT_F16, FV_ELEMENT_BF16, "values of type bf16 have no room");
    check_refused(FV_ELEMENT_F16, FV_ELEMENT_Q4_0, "take f32 or f16");
    fv_session_close(stored_new(FV_ELEMENT_F16, FV_SELECTOR_DENSE, 20));
    check_refused(FV_ELEMENT_F16, FV_ELEMENT_F32, "keys of type f16 have no room");
    fv_session_close(stored_new(FV_ELEMENT_F32, FV_SELECTOR_DENSE, 20));
    check_refused(FV_ELEMENT_F32, FV_ELEMENT_F32, "read as they are");
    fv_session_close(stored_new(FV_ELEMENT_F16, FV_SELECTOR_FOVEA, 20));
    check_refused(FV_ELEMENT_F32, FV_ELEMENT_F32, "another policy");
    fv_session *session = session_new(FV_ELEMENT_F32, FV_ELEMENT_F32, FV_SELECTOR_FOVEA);
    fv_session_file *file = file_open();
    assert_int_equal(fv_session_wake_dithered(session, file, 21, SEED, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_session_wake_dithered(session, file, 0, SEED, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_session_wake_dithered(NULL, file, 1, SEED, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_session_wake_dithered(session, NULL, 1, SEED, NULL), FV_ERROR_ARGUMENT);
    fv_session_file_close(file);
    fv_session_close(session);
}

static int open_model(void **state, const char *path) {
    (void)state;
    return fv_llm_open(&llm, path, NULL);
}

static int open_llama(void **state) { return open_model(state, MODEL("llama_f32")); }
static int open_gemma(void **state) { return open_model(state, MODEL("gemma3_f32")); }

static int close_model(void **state) {
    (void)state;
    fv_llm_close(llm);
    remove(PATH);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_noise_is_of_its_seed, open_llama, close_model),
        cmocka_unit_test_setup_teardown(test_the_mean_is_the_stored_value, open_llama, close_model),
        cmocka_unit_test_setup_teardown(test_it_goes_on, open_llama, close_model),
        cmocka_unit_test_setup_teardown(test_it_goes_on, open_gemma, close_model),
        cmocka_unit_test_setup_teardown(test_what_has_no_room_for_noise, open_llama, close_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
