/* part_failure_test.c - one conversation's numbers go wrong, or there is no room for it: those in the same steps have
 * the bits that they have without it, and whoever fails is told where and holds what it held. */
#include "fovea/schedule.h"
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SOUND FV_SOURCE_DIR "/tests/model/llama_f32.gguf"
#define DAMAGED "part_failure_test.gguf"
enum { CONTEXT = 200, BATCH = 32, VOCABULARY_MOST = 4096, TALKS = 4, TOKENS = 20, NAN_TOKEN = 7 };

typedef struct world {
    fv_llm *llm;
    fv_segments *segments;
    fv_stepper *stepper;
    fv_schedule *schedule;
    size_t vocabulary;
} world;

/* A copy of the model whose tensor `name` is times `factor`, or, without a factor, has a NaN in row `row`. */
static void model_damage(const char *name, float factor, size_t row) {
    fv_gguf *gguf = NULL;
    assert_int_equal(fv_gguf_open(&gguf, SOUND, NULL), FV_OK);
    fv_gguf_tensor tensor = *fv_gguf_tensor_find(gguf, name);
    fv_gguf_close(gguf);
    FILE *file = fopen(SOUND, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size_t bytes = (size_t)ftell(file);
    unsigned char *all = malloc(bytes);
    assert_non_null(all);
    rewind(file);
    assert_int_equal(fread(all, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
    float *values = malloc((size_t)tensor.bytes);
    assert_non_null(values);
    memcpy(values, all + tensor.file_offset, (size_t)tensor.bytes);
    for (size_t i = 0; factor != 0 && i < tensor.bytes / sizeof *values; i++) values[i] *= factor;
    if (factor == 0) values[row * tensor.dimensions[0] + 1] = NAN;
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

static world world_open(uint64_t limit_bytes) {
    world w = {0};
    fv_session_config config = config_of(FV_ELEMENT_F32);
    assert_int_equal(fv_llm_open(&w.llm, DAMAGED, NULL), FV_OK);
    assert_int_equal(fv_segments_open(&w.segments, limit_bytes, NULL), FV_OK);
    assert_int_equal(fv_stepper_open(&w.stepper, w.llm, &config, NULL, NULL), FV_OK);
    assert_int_equal(fv_schedule_open(&w.schedule, w.stepper, 16, NULL), FV_OK);
    w.vocabulary = fv_llm_config(w.llm)->vocabulary;
    assert_true(w.vocabulary <= VOCABULARY_MOST);
    return w;
}

static void world_close(world *w) {
    fv_schedule_close(w->schedule);
    fv_stepper_close(w->stepper);
    fv_segments_close(w->segments);
    fv_llm_close(w->llm);
    remove(DAMAGED);
}

static fv_sequence *sequence_new(const world *w, uint32_t type) {
    fv_session_config config = config_of(type);
    fv_sequence *made = NULL;
    return fv_sequence_open(&made, w->llm, w->segments, &config, NULL) == FV_OK ? made : NULL;
}

/* Keys of layer 1 that f16 does not hold and f32 does. */
static void test_a_key_beyond_one_cache(void **state) {
    (void)state;
    static float got[2][VOCABULARY_MOST], want[VOCABULARY_MOST];
    model_damage("blk.1.attn_k.weight", 1e7f, 0);
    world w = world_open(0);
    fv_sequence *s[3] = {sequence_new(&w, FV_ELEMENT_F32), sequence_new(&w, FV_ELEMENT_F16),
                         sequence_new(&w, FV_ELEMENT_F32)};
    int32_t tokens[3][5] = {{1, 2, 3, 4, 5}, {3, 1, 4, 1, 5}, {9, 8, 7, 6, 5}};
    fv_step_part parts[3];
    fv_part_outcome outcomes[3];
    fv_message message = {""};
    for (size_t i = 0; i < 3; i++) parts[i] = (fv_step_part){.sequence = s[i], .tokens = tokens[i], .count = 5};
    assert_int_equal(fv_stepper_run(w.stepper, parts, 3), FV_ERROR_RANGE); /* all or none */
    for (size_t i = 0; i < 3; i++) assert_int_equal(fv_sequence_tokens(s[i]), 0);
    assert_int_equal(fv_stepper_run_each(w.stepper, parts, 3, outcomes), FV_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(outcomes[i].status, i == 1 ? FV_ERROR_RANGE : FV_OK);
        assert_int_equal(fv_sequence_tokens(s[i]), i == 1 ? 0 : 5);
    }
    assert_int_equal(fv_sequence_explain(s[1], FV_ERROR_RANGE, &message), FV_ERROR_RANGE);
    assert_non_null(strstr(message.text, "f16"));
    assert_non_null(strstr(message.text, "layer 1"));
    assert_int_equal(fv_sequence_bytes(s[1]), 0);
    const uint32_t rows[3] = {4, 9, 14};
    assert_int_equal(fv_stepper_logits(w.stepper, &rows[0], 1, got[0]), FV_OK);
    assert_int_equal(fv_stepper_logits(w.stepper, &rows[1], 1, want), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_stepper_logits(w.stepper, &rows[2], 1, got[1]), FV_OK);
    for (size_t i = 0; i < 3; i += 2) {
        assert_int_equal(fv_sequence_truncate(s[i], 0), FV_OK);
        assert_int_equal(fv_sequence_feed(s[i], w.stepper, tokens[i], 5, NULL, NULL), FV_OK);
        assert_int_equal(fv_stepper_logits(w.stepper, rows, 1, want), FV_OK);
        assert_memory_equal(got[i / 2], want, w.vocabulary * sizeof *want);
    }
    for (size_t i = 0; i < 3; i++) fv_sequence_close(s[i]);
    world_close(&w);
}

/* The pool has room for two. */
static void test_no_room_for_one(void **state) {
    (void)state;
    model_damage("blk.1.attn_k.weight", 1, 0); /* as it was */
    world w = world_open(0);
    fv_sequence *s[3] = {sequence_new(&w, FV_ELEMENT_F32), NULL, NULL};
    int32_t token = 3, nowhere = -1;
    uint32_t first_rows[3];
    fv_part_outcome outcomes[3];
    assert_int_equal(fv_sequence_feed(s[0], w.stepper, &token, 1, NULL, NULL), FV_OK);
    uint64_t bytes = fv_sequence_bytes(s[0]);
    fv_sequence_close(s[0]);
    world_close(&w);
    model_damage("blk.1.attn_k.weight", 1, 0);
    w = world_open(2 * bytes);
    fv_step_part parts[3];
    for (size_t i = 0; i < 3; i++) {
        s[i] = sequence_new(&w, FV_ELEMENT_F32);
        parts[i] = (fv_step_part){.sequence = s[i], .tokens = &token, .count = 1};
    }
    assert_int_equal(fv_stepper_run_each(w.stepper, parts, 3, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_stepper_run_each(w.stepper, parts, 3, outcomes), FV_ERROR_FULL);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(outcomes[i].status, i == 2 ? FV_ERROR_FULL : FV_OK);
        assert_int_equal(fv_sequence_tokens(s[i]), 0);
    }
    assert_int_equal(fv_segments_bytes(w.segments), 0);
    parts[2] = parts[0];
    assert_int_equal(fv_stepper_run_each(w.stepper, parts, 3, outcomes), FV_ERROR_ARGUMENT); /* one twice */
    assert_int_equal(outcomes[2].status, FV_ERROR_ARGUMENT);
    parts[1].tokens = &nowhere; /* taken out for itself; then there is room for the third */
    parts[2] = (fv_step_part){.sequence = s[2], .tokens = &token, .count = 1};
    assert_int_equal(fv_stepper_run_rest(w.stepper, parts, 3, outcomes, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_stepper_run_rest(w.stepper, parts, 3, outcomes, first_rows), FV_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(outcomes[i].status, i == 1 ? FV_ERROR_ARGUMENT : FV_OK);
        assert_int_equal(first_rows[i], i == 1 ? UINT32_MAX : i / 2);
        assert_int_equal(fv_sequence_tokens(s[i]), i == 1 ? 0 : 1);
    }
    assert_int_equal(fv_stepper_rows(w.stepper), 2);
    assert_int_equal(fv_stepper_run_rest(w.stepper, parts + 1, 1, outcomes, first_rows), FV_ERROR_ARGUMENT); /* none */
    assert_int_equal(first_rows[0], UINT32_MAX);
    assert_int_equal(fv_sequence_truncate(s[2], 0), FV_OK);
    parts[1].tokens = &token;
    assert_int_equal(fv_stepper_run_each(w.stepper, parts, 2, outcomes), FV_OK);
    assert_int_equal(fv_schedule_feed(w.schedule, s[2], &token, 1, NULL, NULL, NULL), FV_ERROR_FULL);
    assert_int_equal(fv_schedule_feed(w.schedule, s[1], &token, 1, NULL, NULL, NULL), FV_OK);
    for (size_t i = 0; i < 3; i++) fv_sequence_close(s[i]);
    world_close(&w);
}

/* One conversation. cmocka is not thread-safe: threads only take notes. */
typedef struct talk {
    const world *world;
    int32_t seed;
    bool is_bad; /* every second token has no finite embedding: is refused, and the conversation goes on */
    fv_status logits_status;
    int32_t tokens[TOKENS];
    size_t held;
    bool failed;
} talk;

static void talk_on(talk *self, fv_sequence *sequence, float *logits) {
    const world *w = self->world;
    int32_t token = 9 + self->seed, bad = NAN_TOKEN;
    for (size_t i = 0; i < TOKENS; i++) {
        if (self->is_bad && i % 2) {
            self->failed |= fv_schedule_feed(w->schedule, sequence, &bad, 1, NULL, NULL, NULL) != FV_ERROR_NOT_FINITE;
            self->failed |= fv_sequence_explain(sequence, FV_ERROR_NOT_FINITE, NULL) != FV_ERROR_NOT_FINITE;
        }
        fv_status status = fv_schedule_feed(w->schedule, sequence, &token, 1, logits, NULL, NULL);
        self->failed |= status != self->logits_status;
        uint32_t best = 0;
        for (uint32_t v = 1; v < w->vocabulary; v++)
            if (logits[v] > logits[best]) best = v;
        token = ((int32_t)best + self->seed) % (int32_t)w->vocabulary;
        if (token == NAN_TOKEN) token++;
        self->tokens[i] = token;
    }
    self->held = fv_sequence_tokens(sequence);
}

static void *talk_main(void *argument) {
    talk *self = argument;
    fv_sequence *sequence = sequence_new(self->world, FV_ELEMENT_F16);
    float *logits = calloc(self->world->vocabulary, sizeof *logits);
    if (sequence && logits) talk_on(self, sequence, logits);
    self->failed |= self->held != TOKENS; /* each token once */
    fv_sequence_close(sequence);
    free(logits);
    return NULL;
}

/* Until some met in a step, which they do soon. */
static void talks_run(const world *w, talk *talks) {
    fv_schedule_counts counts = {0};
    for (int round = 0; round < 100 && counts.most_parts < 2; round++) {
        pthread_t threads[TALKS];
        for (size_t i = 0; i < TALKS; i++) assert_int_equal(pthread_create(&threads[i], NULL, talk_main, &talks[i]), 0);
        for (size_t i = 0; i < TALKS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_false(talks[i].failed);
        }
        fv_schedule_counts_read(w->schedule, &counts);
    }
    assert_true(counts.most_parts > 1);
}

static void test_a_token_that_is_no_number(void **state) {
    (void)state;
    static talk alone[TALKS], shared[TALKS];
    model_damage("token_embd.weight", 0, NAN_TOKEN);
    world w = world_open(0);
    for (int32_t i = 0; i < TALKS; i++) {
        alone[i] = (talk){.world = &w, .seed = i};
        shared[i] = (talk){.world = &w, .seed = i, .is_bad = i % 2 == 1};
        talk_main(&alone[i]);
        assert_false(alone[i].failed);
    }
    talks_run(&w, shared);
    for (size_t i = 0; i < TALKS; i++) assert_memory_equal(shared[i].tokens, alone[i].tokens, sizeof alone[i].tokens);
    world_close(&w);
}

/* Logits that are no numbers come after the step: nobody's tokens are evaluated a second time for them. */
static void test_logits_that_are_no_numbers(void **state) {
    (void)state;
    static talk talks[TALKS];
    model_damage("output.weight", 0, 3);
    world w = world_open(0);
    for (int32_t i = 0; i < TALKS; i++) talks[i] = (talk){.world = &w, .seed = i, .logits_status = FV_ERROR_NOT_FINITE};
    talks_run(&w, talks);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_beyond_one_cache),
        cmocka_unit_test(test_no_room_for_one),
        cmocka_unit_test(test_a_token_that_is_no_number),
        cmocka_unit_test(test_logits_that_are_no_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
