/* stage_failure_test.c - what fails in a later stage is told as in one process, and all stages go back together; a link
 * that is lost; stages that do not fit; messages that are damaged. */
#include "fovea/sequence.h"
#include "fovea/session_file.h"
#include "fovea/step.h"
#include "support/random.h"
#include "support/stage_ring.h"
#include <stdio.h>

#define SOUND FV_SOURCE_DIR "/tests/model/gemma3_f32.gguf" /* seven layers, of which all but number 5 have a window */
#define STORY FV_SOURCE_DIR "/tests/model/story.gguf"
#define DAMAGED "stage_failure_test.gguf"
enum { CONTEXT = 2500, BATCH = 64, TOKENS = 1300, VOCABULARY_MOST = 4096, VOCABULARY = 304 };

static int32_t text[TOKENS];

static int text_make(void **state) {
    test_random random = test_random_make(5);
    (void)state;
    for (size_t i = 0; i < TOKENS; i++) text[i] = i < 300 ? 7 : (int32_t)test_random_in(&random, 4, VOCABULARY - 1);
    return 0;
}

/* A copy of the model whose keys in layer 5 are so many times as large. */
static void model_damage(float factor) {
    fv_gguf *gguf = NULL;
    assert_int_equal(fv_gguf_open(&gguf, SOUND, NULL), FV_OK);
    fv_gguf_tensor tensor = *fv_gguf_tensor_find(gguf, "blk.5.attn_k_norm.weight");
    fv_gguf_close(gguf);
    FILE *file = fopen(SOUND, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size_t bytes = (size_t)ftell(file);
    unsigned char *all = malloc(bytes);
    float *values = malloc((size_t)tensor.bytes);
    assert_true(all && values);
    rewind(file);
    assert_int_equal(fread(all, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
    memcpy(values, all + tensor.file_offset, (size_t)tensor.bytes);
    for (size_t i = 0; i < tensor.bytes / sizeof *values; i++) values[i] *= factor;
    memcpy(all + tensor.file_offset, values, (size_t)tensor.bytes);
    file = fopen(DAMAGED, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(all, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
    free(values);
    free(all);
}

static fv_session_config config_of(uint32_t type) {
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = CONTEXT;
    config.batch_tokens = BATCH;
    config.key_type = config.value_type = type;
    return config;
}

static fv_engine *whole_open(void) {
    fv_engine_config config;
    fv_engine *engine = NULL;
    fv_engine_config_default(&config);
    config.model = DAMAGED;
    config.tune = "none";
    config.pool.threads = 1;
    assert_int_equal(fv_engine_open(&engine, &config, NULL), FV_OK);
    return engine;
}

static fv_session *session_new(const fv_engine *engine, uint32_t type) {
    fv_session_config config = config_of(type);
    fv_session *session = NULL;
    assert_int_equal(fv_engine_session_open(engine, &config, &session, NULL), FV_OK);
    return session;
}

/* Tokens that the damaged model gets through. */
static size_t tokens_through(float factor) {
    model_damage(factor);
    fv_engine *engine = whole_open();
    fv_session *session = session_new(engine, FV_ELEMENT_F16);
    (void)fv_session_feed(session, text, TOKENS, NULL, NULL);
    size_t tokens = fv_session_tokens(session);
    fv_session_close(session);
    fv_engine_close(engine);
    return tokens;
}

/* A model that fails in the middle of the text, and not in its first chunks. */
static size_t model_find(void) {
    float low = 1e2f, high = 1e7f;
    for (int i = 0; i < 40; i++) {
        float middle = (low + high) / 2;
        size_t tokens = tokens_through(middle);
        if (tokens >= 128 && tokens < TOKENS - 4 * BATCH) return tokens;
        *(tokens < 128 ? &high : &low) = middle;
    }
    fail_msg("no factor was found");
    return 0;
}

static void logits_same(fv_session *one, fv_session *several) {
    static float want[VOCABULARY_MOST], got[VOCABULARY_MOST];
    size_t row = fv_session_batch_rows(one) - 1;
    assert_int_equal(fv_session_logits(one, row, 1, want), FV_OK);
    assert_int_equal(fv_session_logits(several, row, 1, got), FV_OK);
    assert_memory_equal(got, want, VOCABULARY * sizeof *want);
}

static void prompt_fails(const uint32_t *layers, uint32_t stages, size_t tokens) {
    static stage_ring ring;
    fv_message want = {{0}}, got = {{0}};
    fv_engine *whole = whole_open();
    ring_open(&ring, DAMAGED, layers, stages, NULL, NULL);
    assert_int_equal(ring_link(&ring, NULL), FV_OK);
    fv_session *one = session_new(whole, FV_ELEMENT_F16), *several = session_new(ring.stages[0].engine, FV_ELEMENT_F16);
    for (size_t round = 0; round < 2; round++) {
        assert_int_equal(fv_session_feed(one, text, TOKENS, NULL, NULL), FV_ERROR_RANGE);
        assert_int_equal(fv_session_feed(several, text, TOKENS, NULL, NULL), FV_ERROR_RANGE);
        assert_int_equal(fv_session_tokens(one), tokens);
        assert_int_equal(fv_session_tokens(several), tokens);
        assert_int_equal(fv_session_batch_rows(several), 0);
        (void)fv_session_explain(one, FV_ERROR_RANGE, &want);
        (void)fv_session_explain(several, FV_ERROR_RANGE, &got);
        assert_string_equal(got.text, want.text);
        assert_non_null(strstr(got.text, "layer 5"));
        assert_int_equal(fv_session_feed(one, text, 10, NULL, NULL), FV_OK); /* goes on from there */
        assert_int_equal(fv_session_feed(several, text, 10, NULL, NULL), FV_OK);
        logits_same(one, several);
        assert_int_equal(fv_session_truncate(one, 0), FV_OK);
        assert_int_equal(fv_session_truncate(several, 0), FV_OK);
    }
    fv_session_close(one), fv_session_close(several);
    ring_close(&ring, FV_OK);
    fv_engine_close(whole);
}

static void a_prompt_fails_in_a_later_stage(void **state) {
    (void)state;
    size_t tokens = model_find();
    prompt_fails((uint32_t[]){4, 3}, 2, tokens);
    prompt_fails((uint32_t[]){2, 2, 3}, 3, tokens);
    prompt_fails((uint32_t[]){2, 2, 2, 1}, 4, tokens); /* one more after it */
    prompt_fails((uint32_t[]){6, 1}, 2, tokens);       /* and in the first */
    remove(DAMAGED);
}

/* Caches of f32 hold what those of f16 do not. */
static void a_part_fails_alone_or_with_its_step(void **state) {
    (void)state;
    enum { PARTS = 3 };
    static stage_ring ring;
    static float want[PARTS][VOCABULARY_MOST], got[PARTS][VOCABULARY_MOST];
    model_damage(1e7f);
    fv_engine *whole = whole_open();
    ring_open(&ring, DAMAGED, (uint32_t[]){2, 2, 3}, 3, NULL, NULL);
    assert_int_equal(ring_link(&ring, NULL), FV_OK);
    const fv_engine *engines[2] = {whole, ring.stages[0].engine};
    fv_sequence *sequences[2][PARTS];
    fv_stepper *steppers[2];
    fv_segments *segments = NULL;
    fv_part_outcome outcomes[2][PARTS];
    const uint32_t rows[PARTS] = {6, 8, 20};
    assert_int_equal(fv_segments_open(&segments, 0, NULL), FV_OK);
    for (size_t e = 0; e < 2; e++) {
        const fv_llm *llm = fv_engine_llm(engines[e]);
        fv_session_config configs[2] = {config_of(FV_ELEMENT_F32), config_of(FV_ELEMENT_F16)};
        fv_step_part parts[PARTS];
        assert_int_equal(fv_stepper_open(&steppers[e], llm, &configs[0], NULL, NULL), FV_OK);
        for (size_t i = 0; i < PARTS; i++) {
            assert_int_equal(fv_sequence_open(&sequences[e][i], llm, segments, &configs[i == 1], NULL), FV_OK);
            parts[i] = (fv_step_part){.sequence = sequences[e][i], .tokens = text + 20 * i, .count = 7};
        }
        fv_status status = fv_stepper_run(steppers[e], parts, PARTS);
        if (status == FV_OK) status = fv_stepper_wait(steppers[e]);
        assert_int_equal(status, FV_ERROR_RANGE);
        assert_int_equal(fv_stepper_last_fault(steppers[e])->layer, 5);
        assert_int_equal(fv_stepper_rows(steppers[e]), 0);
        for (size_t i = 0; i < PARTS; i++) assert_int_equal(fv_sequence_tokens(sequences[e][i]), 0);
        assert_int_equal(fv_stepper_run_each(steppers[e], parts, PARTS, outcomes[e]), FV_OK);
        for (size_t i = 0; i < PARTS; i++) {
            fv_status became = fv_stepper_logits(steppers[e], &rows[i], 1, e ? got[i] : want[i]);
            assert_int_equal(became, i == 1 ? FV_ERROR_ARGUMENT : FV_OK);
            assert_int_equal(fv_sequence_tokens(sequences[e][i]), i == 1 ? 0 : 7);
        }
        assert_int_equal(fv_stepper_run_each(steppers[e], parts + 1, 1, outcomes[e] + 1), FV_ERROR_RANGE);
        assert_int_equal(fv_stepper_run(steppers[e], parts, 1), FV_OK);
    }
    assert_memory_equal(outcomes[0], outcomes[1], sizeof outcomes[0]);
    assert_memory_equal(got, want, sizeof got);
    for (size_t e = 0; e < 2; e++) {
        for (size_t i = 0; i < PARTS; i++) fv_sequence_close(sequences[e][i]);
        fv_stepper_close(steppers[e]);
    }
    fv_segments_close(segments);
    ring_close(&ring, FV_OK);
    fv_engine_close(whole);
    remove(DAMAGED);
}

/* --- links ------------------------------------------------------------------------------------------------------ */

/* Wherever it happens, there is an end, and a sentence. */
static void a_link_is_lost(void **state) {
    (void)state;
    for (uint32_t cut = 1; cut < 30; cut += 3) {
        static stage_ring ring;
        fv_session_config config = config_of(FV_ELEMENT_F16);
        fv_session *session = NULL;
        fv_message message = {{0}};
        ring_open(&ring, SOUND, (uint32_t[]){3, 2, 2}, 3, NULL, NULL);
        ring.cut = cut;
        fv_status status = ring_link(&ring, &message);
        bool linked = status == FV_OK;
        if (linked) status = fv_engine_session_open(ring.stages[0].engine, &config, &session, &message);
        if (session) {
            status = fv_session_feed(session, text, TOKENS, NULL, NULL);
            for (size_t i = 0; i < 20 && status == FV_OK; i++) status = fv_session_feed(session, text, 1, NULL, NULL);
            (void)fv_session_explain(session, status, &message);
        }
        assert_int_equal(status, FV_ERROR_FILE);
        assert_non_null(strstr(message.text, "stage 1 on host test is gone"));
        if (session) assert_int_equal(fv_session_truncate(session, 0), FV_ERROR_FILE);
        fv_session_close(session);
        ring_leave(&ring);
        ring_close(&ring, FV_ERROR_FILE);
    }
}

static void stages_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static stage_ring ring;
    fv_message message = {{0}};
    ring_open(&ring, SOUND, (uint32_t[]){3, 4}, 2, NULL, NULL);
    fv_engine_close(ring.stages[0].engine);
    fv_engine_config config;
    fv_engine_config_default(&config);
    const fv_layer_range range = {0, 2};
    config.model = SOUND, config.tune = "none", config.pool.threads = 1;
    assert_int_equal(fv_engine_open_range(&ring.stages[0].engine, &config, &range, NULL), FV_OK);
    assert_int_equal(ring_link(&ring, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "stage 1 begins with layer 3; those before end with layer 2"));
    ring_close(&ring, FV_OK); /* it was told to end */
    ring_open(&ring, SOUND, (uint32_t[]){3, 4}, 2, NULL, NULL);
    fv_engine_close(ring.stages[0].engine);
    config.model = STORY;
    const fv_layer_range three = {0, 3};
    assert_int_equal(fv_engine_open_range(&ring.stages[0].engine, &config, &three, NULL), FV_OK);
    assert_int_equal(ring_link(&ring, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "is another model"));
    ring_close(&ring, FV_OK);
    const fv_layer_range none = {0, 0}, beyond = {6, 2};
    config.model = SOUND;
    assert_int_equal(fv_engine_open_range(&ring.stages[0].engine, &config, &none, &message), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_engine_open_range(&ring.stages[0].engine, &config, &beyond, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "the model has 7"));
}

static uint64_t no_time(void *context) { return (void)context, 0; }

static uint64_t sum_of(const char *path, uint32_t first, uint32_t count, const fv_layer_range *opened) {
    fv_llm *llm = NULL;
    assert_int_equal(fv_llm_open_range(&llm, path, NULL, 0, opened, NULL), FV_OK);
    uint64_t sum = fv_stage_sum(llm, &(fv_layer_range){first, count});
    fv_llm_close(llm);
    return sum;
}

/* Whoever starts stages sees it before they are linked: shapes are the same. */
static void a_sum_tells_files_of_other_weights(void **state) {
    (void)state;
    model_damage(2.0f); /* in layer 5 */
    assert_true(sum_of(SOUND, 0, 5, NULL) == sum_of(DAMAGED, 0, 5, NULL));
    assert_true(sum_of(SOUND, 6, 1, NULL) == sum_of(DAMAGED, 6, 1, NULL));
    assert_true(sum_of(SOUND, 4, 2, NULL) != sum_of(DAMAGED, 4, 2, NULL));
    assert_true(sum_of(SOUND, 0, 5, NULL) != sum_of(SOUND, 1, 4, NULL)); /* the embedding is the first one's */
    const fv_layer_range own = {4, 2};
    assert_true(sum_of(SOUND, 4, 2, &own) == sum_of(SOUND, 4, 2, NULL)); /* whatever of it is open */
    assert_true(sum_of(SOUND, 0, 3, NULL) != sum_of(STORY, 0, 3, NULL));
}

static void deadlines_are_refused(void **state) {
    (void)state;
    static stage_ring ring;
    fv_message message = {{0}};
    ring_open(&ring, SOUND, (uint32_t[]){3, 4}, 2, NULL, NULL);
    assert_int_equal(ring_link(&ring, NULL), FV_OK);
    fv_session *session = session_new(ring.stages[0].engine, FV_ELEMENT_F16);
    const fv_token_deadline deadline = {.clock = no_time, .token_ns = 1};
    assert_int_equal(fv_session_set_deadline(session, &deadline, &message), FV_ERROR_UNSUPPORTED);
    assert_non_null(strstr(message.text, "divided over processes"));
    fv_session_close(session);
    ring_close(&ring, FV_OK);
}

/* --- damaged messages ------------------------------------------------------------------------------------------- */

enum { RECORDED = 16 };

/* A stage of the test's own between the first and the last: keeps copies of what passes. */
typedef struct recorder {
    stage_ring *ring;
    fv_stage_message messages[RECORDED];
    size_t count;
} recorder;

static fv_status recorder_send(void *context, const fv_stage_message *message, fv_message *fault) {
    recorder *r = context;
    if (r->count < RECORDED) {
        fv_stage_message *copy = &r->messages[r->count++];
        assert_int_equal(fv_stage_message_reserve(copy, message->count), FV_OK);
        memcpy(copy->bytes, message->bytes, message->count);
        copy->count = message->count;
    }
    return ring_send(&r->ring->stages[0], message, fault);
}

static fv_status recorder_receive(void *context, fv_stage_message *message, fv_message *fault) {
    recorder *r = context;
    return ring_receive(&r->ring->stages[0], message, fault);
}

/* Some of the bytes that say what a message is, or how long it is. */
static void message_damage(fv_stage_message *message, test_random *random) {
    size_t head = message->count < 120 ? message->count : 120;
    if (test_random_in(random, 0, 4) == 0) message->count = test_random_in(random, 0, (uint32_t)message->count);
    for (uint32_t i = test_random_in(random, 0, 3); i > 0; i--) {
        uint32_t place = test_random_in(random, 0, (uint32_t)head - 1);
        message->bytes[place] = (unsigned char)test_random_u32(random);
    }
}

static void a_damaged_message_harms_nothing_else(void **state) {
    (void)state;
    enum { ROUNDS = 200 };
    static stage_ring ring;
    recorder r = {.ring = &ring};
    const fv_stage_link link = {&r, recorder_send, recorder_receive};
    test_random random = test_random_make(9);
    fv_message message = {{0}};
    ring_open(&ring, STORY, (uint32_t[]){3, 2}, 2, NULL, NULL);
    assert_int_equal(fv_engine_link(ring.stages[0].engine, &link, 2, &message), FV_OK);
    fv_session_config config = config_of(FV_ELEMENT_F16);
    fv_session *session = NULL;
    assert_int_equal(fv_engine_session_open(ring.stages[0].engine, &config, &session, NULL), FV_OK);
    static float logits[20 * VOCABULARY_MOST];
    for (size_t i = 0; i < 20; i++) text[i] = (int32_t)(4 + i);
    assert_int_equal(fv_session_feed(session, text, 20, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_logits(session, 0, 20, logits), FV_OK);
    assert_int_equal(fv_session_truncate(session, 10), FV_OK);
    (void)fv_session_report(session);
    fv_session_close(session);
    size_t refused = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        fv_stage_worker *worker = NULL;
        bool ended = false;
        size_t damaged = test_random_in(&random, 0, (uint32_t)r.count - 1);
        assert_int_equal(fv_stage_worker_open(&worker, ring.stages[1].engine, NULL), FV_OK);
        for (size_t i = 0; i < r.count && !ended; i++) {
            fv_stage_message copy = {0};
            assert_int_equal(fv_stage_message_reserve(&copy, r.messages[i].count), FV_OK);
            memcpy(copy.bytes, r.messages[i].bytes, r.messages[i].count);
            copy.count = r.messages[i].count;
            if (i == damaged) message_damage(&copy, &random);
            fv_status status = fv_stage_worker_run(worker, &copy, &ended, &message);
            fv_stage_message_free(&copy);
            if (status != FV_OK) refused++;
            if (status != FV_OK) assert_true(status == FV_ERROR_CORRUPT || status == FV_ERROR_MEMORY);
            if (status != FV_OK) break;
        }
        fv_stage_worker_close(worker);
    }
    assert_true(refused > ROUNDS / 4);
    ring_close(&ring, FV_OK); /* one message more */
    for (size_t i = 0; i < r.count; i++) fv_stage_message_free(&r.messages[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_fails_in_a_later_stage),
        cmocka_unit_test(a_part_fails_alone_or_with_its_step),
        cmocka_unit_test(a_link_is_lost),
        cmocka_unit_test(stages_that_do_not_fit_are_refused),
        cmocka_unit_test(a_sum_tells_files_of_other_weights),
        cmocka_unit_test(deadlines_are_refused),
        cmocka_unit_test(a_damaged_message_harms_nothing_else),
    };
    return cmocka_run_group_tests(tests, text_make, NULL);
}
