/* session_test.c - opening: settings that are refused, the instruction set from the environment, memory that is not
 * there. llm.c, session.c and step.c are compiled into this test so that their memory can be made to fail. What
 * sessions compute: model_test.c. */
#include "platform/pages.h"
#include <stdbool.h>
#include <stdlib.h>

static bool no_pages;
static int allocations_left = 1000000;
static void *test_pages_reserve(size_t bytes) { return no_pages ? NULL : fv_pages_reserve(bytes); }
static void *test_calloc(size_t count, size_t bytes) { return allocations_left-- > 0 ? calloc(count, bytes) : NULL; }
#define fv_pages_reserve test_pages_reserve
#define calloc test_calloc
#include "llm/llm.c"     /* NOLINT */
#include "llm/session.c" /* NOLINT */
#include "llm/step.c"    /* NOLINT */
#include "support/test_policy.h"
#undef fv_pages_reserve
#undef calloc

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL FV_SOURCE_DIR "/tests/model/gemma3_f32.gguf"

static int open_file(void **state) {
    fv_message message = {{0}};
    fv_llm *llm = NULL;
    unsetenv("FV_ISA");
    if (fv_llm_open(&llm, MODEL, &message) == FV_OK) {
        *state = llm;
        return 0;
    }
    print_error("%s\n", message.text);
    return -1;
}

static int close_file(void **state) {
    fv_llm_close(*state);
    return 0;
}

static void expect_refusal(const fv_llm *llm, const fv_session_config *config, fv_status status, const char *word) {
    fv_session *session = NULL;
    fv_message message = {{0}};
    assert_int_equal(fv_session_open(&session, llm, config, NULL, &message), status);
    assert_null(session);
    if (!strstr(message.text, word)) fail_msg("expected '%s' in '%s'", word, message.text);
}

static void what_the_file_says(void **state) {
    const fv_llm *llm = *state;
    assert_string_equal(fv_llm_architecture(llm), "gemma3");
    assert_int_equal(fv_llm_config(llm)->cache.max_tokens, 256);
    assert_int_equal(fv_llm_config(llm)->vocabulary, fv_tokenizer_tokens(fv_llm_tokenizer(llm)));
    assert_true(fv_llm_parameters(llm) * 4 == fv_llm_weight_bytes(llm)); /* all F32 */
    assert_true(fv_llm_weight_bytes(llm) < fv_gguf_file_bytes(fv_llm_gguf(llm)));
}

static void files_that_do_not_open(void **state) {
    (void)state;
    fv_llm *llm = NULL;
    fv_message message = {{0}};
    assert_int_equal(fv_llm_open(&llm, "/nonexistent/model.gguf", &message), FV_ERROR_FILE);
    assert_non_null(strstr(message.text, "/nonexistent/model.gguf"));
    assert_int_equal(fv_llm_open(&llm, NULL, &message), FV_ERROR_ARGUMENT);
    allocations_left = 0;
    assert_int_equal(fv_llm_open(&llm, MODEL, &message), FV_ERROR_MEMORY);
    allocations_left = 1000000;
    assert_null(llm);
    fv_llm_close(NULL);
    fv_session_close(NULL);
}

static void settings_out_of_range(void **state) {
    const fv_llm *llm = *state;
    fv_session_config config;
    fv_session_config_default(&config);
    config.batch_tokens = 0;
    expect_refusal(llm, &config, FV_ERROR_ARGUMENT, "batch");
    fv_session_config_default(&config);
    config.context_tokens = FV_MOST_CONTEXT + 1;
    expect_refusal(llm, &config, FV_ERROR_ARGUMENT, "1073741825");
    fv_session_config_default(&config);
    config.key_type = FV_ELEMENT_COUNT;
    expect_refusal(llm, &config, FV_ERROR_ARGUMENT, "element type");
    fv_session_config_default(&config);
    config.isa_limit = FV_ISA_COUNT;
    expect_refusal(llm, &config, FV_ERROR_ARGUMENT, "instruction set");
    fv_session_config_default(&config);
    config.policy.selector = 99;
    expect_refusal(llm, &config, FV_ERROR_POLICY, "attention policy: selector must be");
}

static void memory_that_is_not_there(void **state) {
    const fv_llm *llm = *state;
    fv_session_config config;
    fv_session_config_default(&config);
    fv_session_memory memory;
    char bytes[32];
    assert_int_equal(fv_session_memory_plan(llm, &config, 1, &memory, NULL), FV_OK);
    fv_message remark = {"before"};
    assert_int_equal(fv_session_memory_plan(llm, &config, 1, &memory, &remark), FV_OK);
    assert_string_equal(remark.text, "");
    fv_session_config longer = config;
    longer.context_tokens = 2 * fv_llm_config(llm)->cache.max_tokens;
    assert_int_equal(fv_session_memory_plan(llm, &longer, 1, &memory, &remark), FV_OK);
    assert_non_null(strstr(remark.text, "was trained for"));
    assert_int_equal(fv_session_memory_plan(llm, &config, 1, &memory, NULL), FV_OK);
    snprintf(bytes, sizeof bytes, "256 tokens %" PRIu64 " bytes", memory.cache_bytes);
    no_pages = true;
    expect_refusal(llm, &config, FV_ERROR_MEMORY, bytes);
    no_pages = false;
    allocations_left = 0;
    expect_refusal(llm, &config, FV_ERROR_MEMORY, "out of memory");
    allocations_left = 1000000;
}

static void the_plan_is_what_is_taken(void **state) {
    const fv_llm *llm = *state;
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = 100;
    fv_policy_default(FV_SELECTOR_PATTERN, &config.policy);
    fv_pool *pool = NULL;
    fv_session *session = NULL;
    fv_session_memory plan;
    assert_int_equal(fv_pool_open(&pool, 3, NULL), FV_OK);
    assert_int_equal(fv_session_open(&session, llm, &config, pool, NULL), FV_OK);
    assert_int_equal(fv_session_memory_plan(llm, &config, 3, &plan, NULL), FV_OK);
    fv_session_memory use = session->use;
    assert_memory_equal(&plan, &use, sizeof use);
    assert_true(use.landmark_bytes > 0 && use.landmark_bytes < use.cache_bytes && use.scratch_bytes > 0);
    const fv_model_config *shape = fv_llm_config(llm);
    assert_int_equal(use.token_bytes,
                     2 * 2 * shape->layers * shape->cache.kv_heads * shape->cache.head_dim); /* K and V, f16 */
    fv_policy_default(FV_SELECTOR_DENSE, &config.policy);
    assert_int_equal(fv_session_memory_plan(llm, &config, 3, &plan, NULL), FV_OK);
    assert_int_equal(plan.landmark_bytes, 0);
    assert_int_equal(plan.cache_bytes, use.cache_bytes - use.landmark_bytes);
    fv_session_close(session);
    fv_pool_close(pool);
}

static size_t resident_of(const void *memory, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (bytes + page - 1) / page, count = 0;
    unsigned char *there = malloc(pages);
    assert_non_null(there);
    assert_int_equal(mincore((void *)(uintptr_t)memory, bytes, there), 0);
    for (size_t i = 0; i < pages; i++) count += there[i] & 1u;
    free(there);
    return count * page;
}

/* Activations and segments. */
static size_t resident_bytes(const fv_session *session) {
    const fv_sequence *sequence = session->sequence;
    size_t sum = resident_of(session->stepper->memory, session->stepper->memory_bytes);
    for (uint32_t layer = 0; layer < session->shape.layers; layer++)
        for (uint32_t i = 0; i < sequence->table; i++) {
            const fv_segment *segment = *fv_sequence_segment(sequence, layer, i);
            if (segment) sum += resident_of(segment->memory, sequence->segment_bytes[layer]);
        }
    return sum;
}

/* What has been fed, at most twice, and a few pages where a stretch begins. */
static void a_context_takes_memory_as_it_fills(void **state) {
    const fv_llm *llm = *state;
    enum { TOKENS = 700, CONTEXT = 1 << 20 };
    static int32_t tokens[TOKENS];
    for (int32_t i = 0; i < TOKENS; i++) tokens[i] = 2 + i % 50;
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = CONTEXT;
    config.batch_tokens = 64;
    fv_session *session = NULL;
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    size_t stretches = 2 * (size_t)session->shape.layers * session->shape.cache.kv_heads;
    for (size_t fed = 0, count = 1; fed < TOKENS; fed += count, count = TOKENS - fed) {
        assert_int_equal(fv_session_feed(session, tokens + fed, count, NULL, NULL), FV_OK);
        size_t most =
            2 * (fed + count) * (size_t)session->use.token_bytes + stretches * 8192 + session->use.scratch_bytes;
        assert_true(most < session->use.cache_bytes / 8); /* the bound says something */
        assert_true(resident_bytes(session) <= most);
    }
    assert_true(session->use.key_bytes + session->use.value_bytes <= session->use.cache_bytes);
    assert_true((double)session->use.cache_bytes <= 1.03 * (double)CONTEXT * (double)session->use.token_bytes);
    fv_session_close(session);
}

static void the_environment_lowers_the_instruction_set(void **state) {
    const fv_llm *llm = *state;
    fv_session_config config;
    fv_session_config_default(&config);
    fv_session *session = NULL;
    setenv("FV_ISA", "scalar", 1);
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_report(session)->isa, FV_ISA_SCALAR);
    fv_session_close(session);
    fv_isa other = FV_ISA_SCALAR, best = FV_ISA_SCALAR;
    for (uint32_t isa = 0; isa < FV_ISA_COUNT; isa++)
        *(fv_isa_from_name(fv_isa_name((fv_isa)isa), &best) == FV_OK ? &best : &other) = (fv_isa)isa;
    setenv("FV_ISA", fv_isa_name(best), 1); /* does not lift the caller's limit */
    config.isa_limit = FV_ISA_SCALAR;
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_report(session)->isa, FV_ISA_SCALAR);
    fv_session_close(session);
    setenv("FV_ISA", "sse9", 1);
    expect_refusal(llm, &config, FV_ERROR_ARGUMENT,
                   "FV_ISA=sse9 is no instruction set of this build, which has: scalar");
    setenv("FV_ISA", fv_isa_name(other), 1); /* of another family of processors */
    expect_refusal(llm, &config, FV_ERROR_UNSUPPORTED, fv_isa_name(other));
    setenv("FV_ISA", "", 1);
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    fv_session_close(session);
    unsetenv("FV_ISA");
}

static void another_policy_must_fit_the_cache(void **state) {
    const fv_llm *llm = *state;
    fv_session_config config;
    fv_session_config_default(&config);
    fv_policy pattern;
    fv_policy_default(FV_SELECTOR_PATTERN, &pattern);
    fv_session *session = NULL;
    fv_message message = {{0}};
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_set_policy(session, &pattern, &message), FV_ERROR_POLICY);
    assert_non_null(strstr(message.text, "block must be landmark_tokens of the cache"));
    pattern.landmarks = 0;
    assert_int_equal(fv_session_set_policy(session, &pattern, NULL), FV_OK);
    fv_session_close(session);
    fv_policy_default(FV_SELECTOR_PATTERN, &config.policy);
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    pattern = config.policy;
    assert_int_equal(fv_session_set_policy(session, &pattern, NULL), FV_OK);
    pattern.block = 32;
    assert_int_equal(fv_session_set_policy(session, &pattern, &message), FV_ERROR_POLICY);
    fv_policy_default(FV_SELECTOR_DENSE, &pattern);
    assert_int_equal(fv_session_set_policy(session, &pattern, NULL), FV_OK);
    fv_session_close(session);
}

/* Certificates and tails need scores as they are: a model that caps them is refused when the session is opened, not by
 * its first feed. */
static void a_capped_model_has_no_certificate(void **state) {
    fv_llm *llm = *state;
    fv_session_config config, dense;
    fv_session_config_default(&config);
    fv_session_config_default(&dense);
    fv_session *session = NULL;
    fv_message message = {{0}};
    fv_session_memory memory;
    assert_true(llm->loaded.config.attention_softcap == 0.0f);
    for (uint32_t tail = 0; tail < 2; tail++) {
        fv_policy_default(FV_SELECTOR_FOVEA, &config.policy);
        config.policy.tail = tail;
        config.policy.certificate = !tail;
        assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
        fv_session_close(session);
        session = NULL;
        llm->loaded.config.attention_softcap = 30.0f;
        expect_refusal(llm, &config, FV_ERROR_POLICY, "needs a model that does not cap its scores");
        assert_int_equal(fv_session_memory_plan(llm, &config, 1, &memory, NULL), FV_ERROR_POLICY);
        assert_int_equal(fv_session_open(&session, llm, &dense, NULL, NULL), FV_OK);
        fv_session_close(session);
        config.policy.tail = config.policy.certificate = 0;
        assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
        config.policy.certificate = 1; /* another session's cache would not help here */
        assert_int_equal(fv_session_set_policy(session, &config.policy, &message), FV_ERROR_POLICY);
        assert_string_equal(message.text,
                            "attention policy: certificate or tail needs a model that does not cap its scores");
        fv_session_close(session);
        session = NULL;
        llm->loaded.config.attention_softcap = 0.0f;
    }
}

static float *row_of(fv_session *session, size_t row) {
    float *logits = malloc(session->shape.vocabulary * sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(fv_session_logits(session, row, 1, logits), FV_OK);
    return logits;
}

static void expect_no_rows(fv_session *session) {
    static float logits[4096];
    assert_true(session->shape.vocabulary <= 4096);
    assert_int_equal(fv_session_batch_rows(session), 0);
    logits[0] = 1234;
    assert_int_equal(fv_session_logits(session, 0, 1, logits), FV_ERROR_ARGUMENT);
    assert_true(logits[0] == 1234.0f);
}

static fv_session *open_small(const fv_llm *llm, uint32_t batch) {
    fv_session_config config;
    fv_session_config_default(&config);
    fv_session *session = NULL;
    config.context_tokens = 64;
    config.batch_tokens = batch;
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    return session;
}

static void rows_that_were_taken_back_are_gone(void **state) {
    static const int32_t tokens[11] = {3, 9, 4, 7, 22, 5, 31, 8, 6, 12, 2};
    fv_session *session = open_small(*state, 4), *other = open_small(*state, 64);
    expect_no_rows(session);
    for (size_t count = 1; count <= 11; count++) {
        assert_int_equal(fv_session_truncate(session, 0), FV_OK);
        expect_no_rows(session);
        assert_int_equal(fv_session_feed(session, tokens, count, NULL, NULL), FV_OK);
        assert_int_equal(fv_session_batch_rows(session), 1 + (count - 1) % 4);
    }
    float *last = row_of(session, 2), untouched = 1234;
    assert_int_equal(fv_session_logits(session, 3, 0, &untouched), FV_OK);
    assert_int_equal(fv_session_logits(session, 4, 0, &untouched), FV_ERROR_ARGUMENT);
    assert_true(untouched == 1234.0f);
    assert_int_equal(fv_session_feed(session, tokens, 0, NULL, NULL), FV_OK); /* nothing changes */
    assert_int_equal(fv_session_truncate(session, 11), FV_OK);                /* nothing is taken back */
    assert_int_equal(fv_session_batch_rows(session), 3);
    assert_int_equal(fv_session_truncate(session, 10), FV_OK);
    expect_no_rows(session);
    assert_int_equal(fv_session_feed(session, tokens, 0, NULL, NULL), FV_OK);
    expect_no_rows(session);
    assert_int_equal(fv_session_feed(session, tokens + 10, 1, NULL, NULL), FV_OK);
    float *again = row_of(session, 0);
    assert_memory_equal(again, last, session->shape.vocabulary * sizeof *last);
    assert_int_equal(fv_session_feed(other, tokens, 3, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_batch_rows(other), 3);
    assert_int_equal(fv_session_copy(other, session), FV_OK);
    expect_no_rows(other);
    assert_int_equal(fv_session_batch_rows(session), 1);
    free(last);
    free(again);
    fv_session_close(session);
    fv_session_close(other);
}

/* The micro-batches before the wrong id are not evaluated either. */
/* The same file opened twice is two models. */
static void a_copy_stays_within_one_model(void **state) {
    static const int32_t tokens[3] = {3, 9, 4};
    fv_llm *other = NULL;
    assert_int_equal(fv_llm_open(&other, MODEL, NULL), FV_OK);
    fv_session *from = open_small(*state, 8), *to = open_small(other, 8);
    assert_int_equal(fv_session_feed(from, tokens, 3, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_copy(to, from), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_session_tokens(to), 0);
    fv_session_close(from);
    fv_session_close(to);
    fv_llm_close(other);
}

static void expect_policy_refused(fv_session *session, const fv_policy *policy, const char *word) {
    fv_message message = {{0}};
    assert_int_equal(fv_session_set_policy(session, policy, &message), FV_ERROR_POLICY);
    if (!strstr(message.text, word)) fail_msg("expected '%s' in '%s'", word, message.text);
}

static void what_a_cache_lacks_is_named(void **state) {
    fv_session_config config;
    fv_session_config_default(&config);
    fv_policy fovea = test_policy(FV_SELECTOR_FOVEA), certified = fovea, tailed = fovea;
    certified.certificate = 1;
    tailed.tail = 1;
    fv_session *session = NULL;
    assert_int_equal(fv_session_open(&session, *state, &config, NULL, NULL), FV_OK);
    expect_policy_refused(session, &fovea, "shadow");
    fv_session_close(session);
    config.policy = fovea;
    assert_int_equal(fv_session_open(&session, *state, &config, NULL, NULL), FV_OK);
    expect_policy_refused(session, &certified, "margins");
    expect_policy_refused(session, &tailed, "a cache with a tail");
    fv_session_close(session);
    config.policy = tailed;
    assert_int_equal(fv_session_open(&session, *state, &config, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_set_policy(session, &tailed, NULL), FV_OK);
    session->sequence->shape.attention_softcap = 30; /* as a model that caps its scores */
    expect_policy_refused(session, &tailed, "does not cap");
    assert_int_equal(fv_session_set_policy(session, &fovea, NULL), FV_OK);
    fv_session_close(session);
}

static void every_id_is_checked_before_the_first_is_fed(void **state) {
    fv_session *session = open_small(*state, 4);
    int32_t tokens[6] = {3, 9, 4, 7, 22, -1};
    assert_int_equal(fv_session_feed(session, tokens, 6, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_session_tokens(session), 0);
    tokens[5] = (int32_t)session->shape.vocabulary;
    assert_int_equal(fv_session_feed(session, tokens, 6, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_session_tokens(session), 0);
    tokens[5]--;
    assert_int_equal(fv_session_feed(session, tokens, 6, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_tokens(session), 6);
    fv_session_close(session);
}

static void weights_are_not_repacked_beside_sessions(void **state) {
    (void)state;
    fv_llm *llm = NULL;
    fv_message message = {{0}};
    assert_int_equal(fv_llm_open(&llm, FV_SOURCE_DIR "/tests/model/llama_q4_0.gguf", NULL), FV_OK);
    fv_session *session = open_small(llm, 8);
    assert_int_equal(fv_llm_repack(llm, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "close its sessions first"));
    assert_int_equal(fv_llm_packed_bytes(llm), 0);
    fv_session_close(session);
    assert_int_equal(fv_llm_repack(llm, &message), FV_OK);
    assert_true(fv_llm_packed_bytes(llm) > 0 && fv_llm_packed_bytes(llm) == fv_llm_packable_bytes(llm));
    assert_int_equal(fv_llm_repack(llm, &message), FV_OK); /* once more: nothing to do */
    atomic_store(&llm->holders, REPACKING);                /* as in another thread at work */
    fv_session_config config;
    fv_session_config_default(&config);
    expect_refusal(llm, &config, FV_ERROR_ARGUMENT, "being repacked");
    assert_int_equal(fv_llm_repack(llm, &message), FV_ERROR_ARGUMENT);
    atomic_store(&llm->holders, 1);
    assert_int_equal(fv_llm_repack(NULL, &message), FV_ERROR_ARGUMENT);
    fv_llm_close(llm);
}

static void a_session_outlives_the_handle_of_its_model(void **state) {
    (void)state;
    static const int32_t tokens[3] = {3, 9, 4};
    fv_llm *llm = NULL;
    assert_int_equal(fv_llm_open(&llm, MODEL, NULL), FV_OK);
    fv_session *one = open_small(llm, 8), *two = open_small(llm, 8);
    fv_llm_close(llm);
    fv_session_close(one);
    assert_int_equal(fv_session_feed(two, tokens, 3, NULL, NULL), FV_OK);
    free(row_of(two, 2));
    fv_session_close(two); /* the sanitizer of leaks looks on */
}

static void a_context_beyond_the_trained_one_is_remarked(void **state) {
    const fv_llm *llm = *state;
    fv_session_config config;
    fv_session_config_default(&config);
    static const uint32_t contexts[] = {0, 16, 256, 257, 100000};
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        fv_session *session = NULL;
        fv_message message;
        memset(&message, 'x', sizeof message);
        config.context_tokens = contexts[i];
        assert_int_equal(fv_session_open(&session, llm, &config, NULL, &message), FV_OK);
        if (contexts[i] <= 256) assert_string_equal(message.text, "");
        if (contexts[i] == 257) assert_non_null(strstr(message.text, "257 tokens, but the model was trained for 256"));
        if (contexts[i] == 100000) assert_non_null(strstr(message.text, "100000"));
        fv_session_close(session);
    }
}

/* Bytes by formula, not by the code that lays memory out: pages of 16 tokens, K and V of each KV head and layer. */
static void bytes_are_those_of_the_formula(void **state) {
    const fv_llm *llm = *state;
    const fv_model_config *shape = fv_llm_config(llm);
    static const struct {
        uint32_t type;
        double bytes; /* of an element, its scale included */
    } types[] = {{FV_ELEMENT_F32, 4}, {FV_ELEMENT_F16, 2}, {FV_ELEMENT_BF16, 2}};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        fv_session_config config;
        fv_session_config_default(&config);
        fv_session_memory plan;
        config.context_tokens = 96;
        config.key_type = types[t].type;
        config.value_type = FV_ELEMENT_F16;
        assert_int_equal(fv_session_memory_plan(llm, &config, 2, &plan, NULL), FV_OK);
        double elements = 96.0 * shape->layers * shape->cache.kv_heads * shape->cache.head_dim;
        assert_true((double)plan.key_bytes == elements * types[t].bytes);
        assert_true((double)plan.value_bytes == elements * 2);
        assert_true((double)plan.token_bytes == elements / 96 * (types[t].bytes + 2));
        assert_int_equal(plan.scale_bytes, 0);
        assert_int_equal(plan.landmark_bytes, 0);
        assert_true(plan.cache_bytes >= plan.key_bytes + plan.value_bytes);
        assert_true(plan.cache_bytes <= plan.key_bytes + plan.value_bytes + shape->layers * 1024);
        fv_session_memory more;
        config.batch_tokens = 32;
        config.context_tokens = 1 << 16;
        assert_int_equal(fv_session_memory_plan(llm, &config, 2, &plan, NULL), FV_OK);
        config.batch_tokens = 33;
        assert_int_equal(fv_session_memory_plan(llm, &config, 2, &more, NULL), FV_OK);
        /* one row of each activation: stream, normed, q, k, v, mixed, gate, up, and what is quantized */
        size_t queries = (size_t)shape->query_heads * shape->cache.head_dim,
               keys = (size_t)shape->cache.kv_heads * shape->cache.head_dim;
        size_t floats = shape->width + (shape->width > queries ? shape->width : queries) + 2 * queries + 2 * keys +
                        2 * (size_t)shape->feed_forward + 2 * (size_t)shape->rope_dims;
        uint64_t row = more.scratch_bytes - plan.scratch_bytes;
        assert_true(row >= 4 * floats && row <= 4 * floats + 4096);
    }
}

static uint64_t count_calls(void *context) { return 1000 * ++*(uint64_t *)context; }

static void note_plan(void *context, const fv_attention_seen *seen, size_t worker) {
    ++*(uint64_t *)context;
    (void)seen, (void)worker;
}

static void time_and_plans_are_shown_to_who_asks(void **state) {
    static const int32_t tokens[5] = {3, 9, 4, 7, 22};
    fv_session *session = open_small(*state, 8);
    uint64_t calls = 0, plans = 0;
    assert_int_equal(fv_session_feed(session, tokens, 2, NULL, NULL), FV_OK);
    fv_report report = *fv_session_report(session);
    assert_true(report.product_ns == 0 && report.choose_ns == 0 && report.read_ns == 0 && report.other_ns == 0);
    fv_session_time(session, count_calls, &calls);
    fv_session_observe(session, note_plan, &plans);
    assert_int_equal(fv_session_feed(session, tokens, 3, NULL, NULL), FV_OK);
    report = *fv_session_report(session);
    assert_true(calls > 0 && report.product_ns > 0 && report.read_ns > 0 && report.other_ns > 0);
    assert_true(plans >= session->shape.layers);
    uint64_t products = report.product_ns, before = calls, shown = plans;
    free(row_of(session, 2)); /* of logits, too: from the first look at the clock to the last, 1000 ns each */
    assert_true(calls >= before + 2);
    assert_int_equal(fv_session_report(session)->product_ns, products + 1000 * (calls - before - 1));
    before = calls;
    fv_session_time(session, NULL, NULL);
    fv_session_observe(session, NULL, NULL);
    fv_session_report_reset(session);
    assert_int_equal(fv_session_feed(session, tokens, 5, NULL, NULL), FV_OK);
    assert_int_equal(calls, before);
    assert_int_equal(plans, shown);
    assert_int_equal(fv_session_report(session)->product_ns, 0);
    fv_session_close(session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_file_says),
        cmocka_unit_test(files_that_do_not_open),
        cmocka_unit_test(settings_out_of_range),
        cmocka_unit_test(memory_that_is_not_there),
        cmocka_unit_test(the_plan_is_what_is_taken),
        cmocka_unit_test(a_context_takes_memory_as_it_fills),
        cmocka_unit_test(the_environment_lowers_the_instruction_set),
        cmocka_unit_test(another_policy_must_fit_the_cache),
        cmocka_unit_test(a_capped_model_has_no_certificate),
        cmocka_unit_test(rows_that_were_taken_back_are_gone),
        cmocka_unit_test(every_id_is_checked_before_the_first_is_fed),
        cmocka_unit_test(a_copy_stays_within_one_model),
        cmocka_unit_test(what_a_cache_lacks_is_named),
        cmocka_unit_test(weights_are_not_repacked_beside_sessions),
        cmocka_unit_test(a_session_outlives_the_handle_of_its_model),
        cmocka_unit_test(a_context_beyond_the_trained_one_is_remarked),
        cmocka_unit_test(bytes_are_those_of_the_formula),
        cmocka_unit_test(time_and_plans_are_shown_to_who_asks),
    };
    return cmocka_run_group_tests(tests, open_file, close_file);
}
