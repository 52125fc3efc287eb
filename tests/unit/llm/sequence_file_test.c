/* sequence_file_test.c - a sequence that woke from a file is the one that was saved, bit by bit, and whatever does not
 * fit is refused with both as they were. */
#include "fovea/session_file.h"
#include "fovea/step.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PATH "sequence_file_test.fovea"
#define MODEL(name) FV_SOURCE_DIR "/tests/model/" name ".gguf"
enum { CONTEXT = 3000, TOKENS = 2300, MORE = 20, VOCABULARY_MOST = 1000 };

typedef struct world {
    fv_llm *llm;
    fv_session_config config;
    int32_t tokens[CONTEXT];
} world;

static world *world_open(const char *model, const fv_policy *policy) {
    world *made = calloc(1, sizeof *made);
    fv_message message = {""};
    assert_non_null(made);
    if (fv_llm_open(&made->llm, model, &message) != FV_OK) fail_msg("%s", message.text);
    fv_session_config_default(&made->config);
    made->config.context_tokens = CONTEXT;
    made->config.batch_tokens = 128;
    if (policy) made->config.policy = *policy;
    uint32_t vocabulary = fv_llm_config(made->llm)->vocabulary;
    for (uint32_t i = 0; i < CONTEXT; i++)
        made->tokens[i] = (int32_t)((i * 2654435761u >> 8) % (vocabulary < VOCABULARY_MOST ? vocabulary : 1000));
    return made;
}

static void world_close(world *w) {
    fv_llm_close(w->llm);
    free(w);
}

static fv_session *session_open(const world *w) {
    fv_session *session = NULL;
    fv_message message = {""};
    if (fv_session_open(&session, w->llm, &w->config, NULL, &message) != FV_OK) fail_msg("%s", message.text);
    return session;
}

/* A session that was fed the first `tokens` tokens. */
static fv_session *session_fed(const world *w, size_t tokens) {
    fv_session *session = session_open(w);
    assert_int_equal(fv_session_feed(session, w->tokens, tokens, NULL, NULL), FV_OK);
    return session;
}

/* The logits after MORE further tokens; to be freed. */
static float *logits_after(const world *w, fv_session *session) {
    size_t vocabulary = fv_llm_config(w->llm)->vocabulary, before = fv_session_tokens(session);
    float *logits = calloc(MORE * vocabulary, sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(fv_session_feed(session, w->tokens + before, MORE, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_logits(session, 0, MORE, logits), FV_OK);
    return logits;
}

static void assert_same(const world *w, fv_session *one, fv_session *other) {
    size_t bytes = MORE * fv_llm_config(w->llm)->vocabulary * sizeof(float);
    float *a = logits_after(w, one), *b = logits_after(w, other);
    assert_memory_equal(a, b, bytes);
    free(a);
    free(b);
}

static fv_session_file *file_open(void) {
    fv_session_file *file = NULL;
    fv_message message = {""};
    if (fv_session_file_open(&file, PATH, &message) != FV_OK) fail_msg("%s", message.text);
    return file;
}

static fv_session *session_woken(const world *w, size_t tokens) {
    fv_session *session = session_open(w);
    fv_session_file *file = file_open();
    fv_message message = {""};
    if (fv_session_wake(session, file, tokens, &message) != FV_OK) fail_msg("%s", message.text);
    assert_string_equal(message.text, "");
    assert_int_equal(fv_session_tokens(session), tokens);
    assert_int_equal(fv_session_batch_rows(session), 0);
    fv_session_file_close(file); /* the session keeps what it reads */
    return session;
}

static void save(fv_session *session) {
    fv_message message = {""};
    if (fv_session_save(session, PATH, FV_SESSION_END_PLAIN, &message) != FV_OK) fail_msg("%s", message.text);
}

/* All of a session, beginnings of it, and what is written afterwards. */
static void check_model(const char *model, const fv_policy *policy) {
    static const size_t lengths[] = {TOKENS, TOKENS - 1, 2049, 2048, 2047, 1500, 1024, 1000, 64, 3};
    world *w = world_open(model, policy);
    fv_session *saved = session_fed(w, TOKENS);
    save(saved);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        if (lengths[i] < fv_session_earliest(saved)) continue;
        fv_session *woken = session_woken(w, lengths[i]), *fed = session_fed(w, TOKENS);
        assert_int_equal(fv_session_rewind(fed, lengths[i]), FV_OK);
        assert_same(w, woken, fed);
        size_t back = lengths[i] / 2;
        assert_int_equal(fv_session_rewind(woken, back), FV_OK);
        assert_int_equal(fv_session_rewind(fed, back), FV_OK);
        assert_same(w, woken, fed);
        fv_session_close(fed);
        fv_session_close(woken);
    }
    fv_session *again = session_woken(w, TOKENS), *other = session_woken(w, TOKENS), *fed = session_fed(w, TOKENS);
    assert_same(w, again, saved);
    fv_session_close(again);
    assert_same(w, other, fed); /* what `again` wrote is not in the file */
    fv_session_close(fed);
    fv_session_close(other);
    fv_session_close(saved);
    world_close(w);
    remove(PATH);
}

static void a_dense_session_wakes_with_the_same_bits(void **state) {
    (void)state;
    check_model(MODEL("llama_f32"), NULL);
}

static void caches_of_policies_wake_with_all_that_they_have(void **state) {
    (void)state;
    fv_policy policy;
    fv_policy_default(FV_SELECTOR_FOVEA, &policy);
    policy.tail = 1;
    policy.floor = 8;
    check_model(MODEL("llama_f32"), &policy);
    fv_policy_default(FV_SELECTOR_PATTERN, &policy);
    check_model(MODEL("llama_f32"), &policy);
}

static uint8_t *bytes_of_file(size_t *count) {
    FILE *file = fopen(PATH, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *count = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*count);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *count, file), *count);
    fclose(file);
    return bytes;
}

/* A file has nothing of tokens that its sequence gave up before: it is that of one that never read them. */
static void check_taken_back(const fv_policy *policy) {
    enum { KEPT = TOKENS - 77 };
    world *w = world_open(MODEL("llama_f32"), policy);
    fv_session *cut = session_fed(w, TOKENS), *never = session_fed(w, KEPT);
    size_t cut_count = 0, never_count = 0;
    assert_int_equal(fv_session_rewind(cut, KEPT), FV_OK);
    save(cut);
    uint8_t *cut_bytes = bytes_of_file(&cut_count);
    save(never);
    uint8_t *never_bytes = bytes_of_file(&never_count);
    assert_int_equal(cut_count, never_count);
    assert_memory_equal(cut_bytes, never_bytes, never_count);
    free(cut_bytes);
    free(never_bytes);
    fv_session_close(cut);
    fv_session_close(never);
    world_close(w);
}

static void what_was_taken_back_is_in_no_file(void **state) {
    (void)state;
    fv_policy policy;
    check_taken_back(NULL);
    fv_policy_default(FV_SELECTOR_FOVEA, &policy);
    policy.tail = 1;
    check_taken_back(&policy);
}

static void a_sliding_window_wakes_with_what_it_keeps(void **state) {
    (void)state;
    check_model(MODEL("gemma3_f32"), NULL);
    world *w = world_open(MODEL("gemma3_f32"), NULL);
    fv_session *session = session_fed(w, TOKENS);
    save(session);
    fv_session_file *file = file_open();
    fv_message message = {""};
    size_t earliest = fv_session_earliest(session);
    assert_true(earliest > 1);
    assert_int_equal(fv_session_wake(session, file, earliest - 1, &message), FV_ERROR_RANGE);
    assert_true(strlen(message.text) > 0);
    assert_int_equal(fv_session_tokens(session), TOKENS); /* untouched */
    fv_session_file_close(file);
    fv_session_close(session);
    world_close(w);
    remove(PATH);
}

static void another_instruction_set_wakes_to_the_same_bits(void **state) {
    (void)state;
    world *w = world_open(MODEL("llama_f32"), NULL);
    fv_policy_default(FV_SELECTOR_FOVEA, &w->config.policy);
    fv_session *best = session_fed(w, 1500);
    save(best);
    w->config.isa_limit = FV_ISA_SCALAR;
    fv_session *scalar = session_woken(w, 1500);
    save(scalar); /* the same file again */
    w->config.isa_limit = FV_ISA_BEST;
    fv_session *again = session_woken(w, 1500);
    assert_same(w, again, best);
    fv_session_close(best);
    fv_session_close(scalar);
    fv_session_close(again);
    world_close(w);
    remove(PATH);
}

static void refused(const world *w, fv_status status, const char *word) {
    fv_session *session = session_fed(w, 30);
    fv_session_file *file = file_open();
    fv_message message = {""};
    assert_int_equal(fv_session_wake(session, file, 1100, &message), status);
    if (!strstr(message.text, word)) fail_msg("expected '%s' in '%s'", word, message.text);
    assert_int_equal(fv_session_tokens(session), 30);
    float *logits = logits_after(w, session); /* and it goes on */
    free(logits);
    fv_session_file_close(file);
    fv_session_close(session);
}

static void what_does_not_fit_is_refused_and_nothing_is_lost(void **state) {
    (void)state;
    world *w = world_open(MODEL("llama_f32"), NULL), *other = world_open(MODEL("llama_q8_0"), NULL);
    fv_session *session = session_fed(w, 1100);
    save(session);
    fv_session_close(session);
    refused(other, FV_ERROR_UNSUPPORTED, "another model");
    w->config.value_type = FV_ELEMENT_Q8_0;
    refused(w, FV_ERROR_UNSUPPORTED, "types");
    w->config.value_type = FV_ELEMENT_F16;
    fv_policy_default(FV_SELECTOR_FOVEA, &w->config.policy);
    refused(w, FV_ERROR_UNSUPPORTED, "policy");
    fv_policy_default(FV_SELECTOR_DENSE, &w->config.policy);
    w->config.exact_activations = 1;
    refused(w, FV_ERROR_UNSUPPORTED, "activations");
    w->config.exact_activations = 0;
    w->config.context_tokens = 1050;
    refused(w, FV_ERROR_FULL, "");
    world_close(w);
    world_close(other);
    remove(PATH);
}

static void a_damaged_segment_is_found_when_it_is_used(void **state) {
    (void)state;
    world *w = world_open(MODEL("llama_f32"), NULL);
    fv_session *session = session_fed(w, 2100);
    save(session);
    fv_session_close(session);
    FILE *file = fopen(PATH, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -2 * 4096 - 100, SEEK_END), 0); /* in the last layer */
    assert_int_equal(fputc(0x5a, file), 0x5a);
    fclose(file);
    fv_session_file *opened = file_open(); /* its head is whole */
    fv_message message = {""};
    assert_int_equal(fv_session_file_check(opened, &message), FV_ERROR_CORRUPT);
    fv_session_file_close(opened);
    w->config.context_tokens = CONTEXT;
    opened = file_open();
    session = session_fed(w, 5);
    assert_int_equal(fv_session_wake(session, opened, 2100, &message), FV_ERROR_CORRUPT);
    assert_non_null(strstr(message.text, "layer"));
    assert_int_equal(fv_session_tokens(session), 5);
    fv_session_file_close(opened);
    fv_session_close(session);
    world_close(w);
    remove(PATH);
}

static void woken_segments_take_no_memory_of_the_pool(void **state) {
    (void)state;
    world *w = world_open(MODEL("llama_f32"), NULL);
    fv_session *session = session_fed(w, 2048);
    save(session);
    fv_session_close(session);
    fv_segments *pool = NULL;
    fv_sequence *sequences[4] = {NULL};
    fv_session_file *file = file_open();
    assert_int_equal(fv_segments_open(&pool, 0, NULL), FV_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(fv_sequence_open(&sequences[i], w->llm, pool, &w->config, NULL), FV_OK);
        assert_int_equal(fv_sequence_wake(sequences[i], file, 2048, NULL), FV_OK);
        assert_memory_equal(fv_sequence_ids(sequences[i]), w->tokens, 2048 * sizeof *w->tokens);
    }
    assert_int_equal(fv_segments_bytes(pool), 0);
    assert_int_equal(fv_sequence_truncate(sequences[0], 2000), FV_OK); /* its last segment is its own now */
    assert_true(fv_segments_bytes(pool) > 0);
    fv_session_file_close(file);
    for (int i = 0; i < 4; i++) fv_sequence_close(sequences[i]);
    fv_segments_close(pool);
    world_close(w);
    remove(PATH);
}

static void the_identity_tells_models_apart(void **state) {
    (void)state;
    static const char *const models[] = {MODEL("llama_f32"),  MODEL("llama_f16"),  MODEL("llama_bf16"),
                                         MODEL("llama_q8_0"), MODEL("qwen2_f32"),  MODEL("gemma3_f32"),
                                         MODEL("llama_q4_k"), MODEL("llama_q4_0"), MODEL("story")};
    enum { MODELS = sizeof models / sizeof models[0] };
    uint64_t seen[MODELS];
    for (int i = 0; i < MODELS; i++) {
        world *w = world_open(models[i], NULL);
        seen[i] = fv_llm_identity(w->llm);
        assert_int_equal(fv_llm_repack(w->llm, NULL), FV_OK);
        assert_true(fv_llm_identity(w->llm) == seen[i]); /* however its weights lie */
        for (int j = 0; j < i; j++) assert_true(seen[j] != seen[i]);
        world_close(w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dense_session_wakes_with_the_same_bits),
        cmocka_unit_test(caches_of_policies_wake_with_all_that_they_have),
        cmocka_unit_test(what_was_taken_back_is_in_no_file),
        cmocka_unit_test(a_sliding_window_wakes_with_what_it_keeps),
        cmocka_unit_test(another_instruction_set_wakes_to_the_same_bits),
        cmocka_unit_test(what_does_not_fit_is_refused_and_nothing_is_lost),
        cmocka_unit_test(a_damaged_segment_is_found_when_it_is_used),
        cmocka_unit_test(woken_segments_take_no_memory_of_the_pool),
        cmocka_unit_test(the_identity_tells_models_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
