/* stage_test.c - a model whose layers are in several engines has the bits of one engine: text, logits, pages, reports;
 * what each takes; where the layers go. Failures: stage_failure_test.c. */
#include "fovea/schedule.h"
#include "fovea/sequence.h"
#include "fovea/step.h"
#include "support/random.h"
#include "support/stage_ring.h"
#include "support/test_policy.h"
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>

#define STORY FV_SOURCE_DIR "/tests/model/story.gguf"      /* five layers */
#define GEMMA FV_SOURCE_DIR "/tests/model/gemma3_f32.gguf" /* seven layers, of which six have a window of 16 tokens */
enum { CONTEXT = 3000, BATCH = 64, PROMPT = 1300, ANSWER = 12, VOCABULARY_MOST = 4096 };

static int32_t text[CONTEXT];

static void text_make(uint32_t vocabulary) {
    test_random random = test_random_make(3);
    for (size_t i = 0; i < CONTEXT; i++) text[i] = (int32_t)test_random_in(&random, 4, vocabulary - 1);
}

static fv_session_config config_of(fv_selector selector) {
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = CONTEXT;
    config.batch_tokens = BATCH;
    config.policy = test_policy(selector);
    if (selector == FV_SELECTOR_FOVEA) config.policy.dense_below = 0, fv_policy_set_budget(&config.policy, 0.2f);
    return config;
}

static fv_engine *whole_open(const char *path) {
    fv_engine_config config;
    fv_engine *engine = NULL;
    fv_engine_config_default(&config);
    config.model = path;
    config.tune = "none";
    config.pool.threads = 1;
    assert_int_equal(fv_engine_open(&engine, &config, NULL), FV_OK);
    return engine;
}

/* --- one conversation ------------------------------------------------------------------------------------------- */

/* All plans that were seen, in any order. */
static void plans_add(void *context, const fv_attention_seen *seen, size_t worker) {
    atomic_ullong *sum = context;
    uint64_t hash = ((uint64_t)seen->layer << 40) + ((uint64_t)seen->kv_head << 32) + seen->plan->first_token;
    (void)worker;
    for (uint32_t i = 0; i < seen->plan->count; i++) {
        const fv_step *step = &seen->plan->steps[i];
        const uint64_t numbers[] = {step->kind, step->reason, step->begin, step->end, step->row_begin, step->row_end};
        for (size_t n = 0; n < 6; n++) hash = (hash ^ numbers[n]) * 0x9E3779B97F4A7C15u, hash ^= hash >> 29;
    }
    atomic_fetch_add(sum, hash);
}

static int32_t likeliest(const float *logits, uint32_t vocabulary) {
    int32_t best = 0;
    for (uint32_t i = 1; i < vocabulary; i++)
        if (logits[i] > logits[best]) best = (int32_t)i;
    return best;
}

typedef struct talk {
    int32_t answer[ANSWER];
    float rows[3][VOCABULARY_MOST]; /* of the prompt */
    double bits;                    /* of the prompt's last rows, as a perplexity sums them */
    fv_report report;
    unsigned long long plans;
} talk;

static double surprise(const float *logits, uint32_t vocabulary, int32_t token) {
    double sum = 0;
    for (uint32_t i = 0; i < vocabulary; i++) sum += exp((double)logits[i] - (double)logits[token]);
    return log(sum);
}

/* A prompt, its last rows, and an answer that takes the likeliest token each time. */
static void talk_make(talk *made, const fv_engine *engine, const fv_session_config *config, atomic_ullong *plans) {
    static float logits[BATCH * VOCABULARY_MOST];
    fv_session *session = NULL;
    fv_message message = {{0}};
    uint32_t vocabulary = fv_llm_config(fv_engine_llm(engine))->vocabulary;
    assert_true(vocabulary <= VOCABULARY_MOST);
    memset(made, 0, sizeof *made);
    if (fv_engine_session_open(engine, config, &session, &message) != FV_OK) fail_msg("%s", message.text);
    fv_session_observe(session, plans_add, plans);
    assert_int_equal(fv_session_feed(session, text, PROMPT, NULL, NULL), FV_OK);
    size_t held = fv_session_batch_rows(session);
    assert_int_equal(held, 1 + (PROMPT - 1) % BATCH);
    assert_int_equal(fv_session_logits(session, 0, held, logits), FV_OK);
    for (size_t i = 0; i + 1 < held; i++)
        made->bits += surprise(logits + i * vocabulary, vocabulary, text[PROMPT - held + i + 1]);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(fv_session_logits(session, i * (held - 1) / 2, 1, made->rows[i]), FV_OK);
    for (size_t i = 0; i < ANSWER; i++) {
        held = fv_session_batch_rows(session);
        assert_int_equal(fv_session_logits(session, held - 1, 1, logits), FV_OK);
        made->answer[i] = likeliest(logits, vocabulary);
        assert_int_equal(fv_session_feed(session, &made->answer[i], 1, NULL, NULL), FV_OK);
    }
    made->report = *fv_session_report(session);
    assert_int_equal(fv_session_tokens(session), PROMPT + ANSWER);
    fv_session_close(session);
    made->plans = atomic_exchange(plans, 0);
}

static void talk_check(const char *path, const uint32_t *layers, uint32_t stages, fv_selector selector) {
    static talk want, got;
    static stage_ring ring;
    fv_session_config config = config_of(selector);
    fv_message message = {{0}};
    atomic_ullong plans = 0;
    fv_engine *whole = whole_open(path);
    text_make(fv_llm_config(fv_engine_llm(whole))->vocabulary);
    talk_make(&want, whole, &config, &plans);
    fv_engine_close(whole);
    ring_open(&ring, path, layers, stages, plans_add, &plans);
    if (ring_link(&ring, &message) != FV_OK) fail_msg("%s", message.text);
    talk_make(&got, ring.stages[0].engine, &config, &plans);
    ring_close(&ring, FV_OK);
    assert_memory_equal(got.answer, want.answer, sizeof got.answer);
    assert_memory_equal(got.rows, want.rows, sizeof got.rows);
    assert_memory_equal(&got.bits, &want.bits, sizeof got.bits);
    assert_memory_equal(&got.report, &want.report, sizeof got.report);
    assert_true(got.plans == want.plans && want.plans != 0);
    assert_true(want.report.keys_read > 0);
    if (selector == FV_SELECTOR_FOVEA) assert_true(want.report.selected_keys > 0);
    assert_true(ring.flight > 1 && ring.flight <= FV_STAGE_FLIGHT(stages)); /* chunks were on their way together */
}

static void two_three_and_four_engines_have_the_bits_of_one(void **state) {
    (void)state;
    talk_check(STORY, (uint32_t[]){3, 2}, 2, FV_SELECTOR_FOVEA);
    talk_check(STORY, (uint32_t[]){1, 3, 1}, 3, FV_SELECTOR_DENSE);
    talk_check(STORY, (uint32_t[]){1, 2, 1, 1}, 4, FV_SELECTOR_FOVEA);
    talk_check(STORY, (uint32_t[]){2, 3}, 2, FV_SELECTOR_PATTERN);
}

static void layers_with_windows_too(void **state) {
    (void)state;
    talk_check(GEMMA, (uint32_t[]){4, 3}, 2, FV_SELECTOR_FOVEA);
    talk_check(GEMMA, (uint32_t[]){2, 3, 2}, 3, FV_SELECTOR_DENSE);
}

/* --- many sequences --------------------------------------------------------------------------------------------- */

enum { SEQUENCES = 4, MOVES = 60 };

/* A sequence in one engine and the same in several. */
typedef struct pair {
    fv_sequence *one, *several;
} pair;

typedef struct side {
    const fv_llm *llm;
    fv_segments *segments;
    fv_stepper *stepper;
} side;

static void side_open(side *made, const fv_engine *engine, const fv_session_config *config) {
    fv_message message = {{0}};
    made->llm = fv_engine_llm(engine);
    assert_int_equal(fv_segments_open(&made->segments, 0, NULL), FV_OK);
    if (fv_stepper_open(&made->stepper, made->llm, config, fv_engine_pool(engine), &message) != FV_OK)
        fail_msg("%s", message.text);
}

static void side_close(side *made) {
    fv_stepper_close(made->stepper);
    fv_segments_close(made->segments);
}

static void same_reports(const pair *p) {
    fv_report one = *fv_sequence_report(p->one), several = *fv_sequence_report(p->several);
    assert_memory_equal(&one, &several, sizeof one);
    assert_int_equal(fv_sequence_tokens(p->one), fv_sequence_tokens(p->several));
}

/* One step over some of them, and logits of a row of each. */
static void pairs_step(pair *pairs, size_t count, side *one, side *several, test_random *random, bool each) {
    static float want[SEQUENCES * VOCABULARY_MOST], got[SEQUENCES * VOCABULARY_MOST];
    fv_step_part parts[2][SEQUENCES];
    fv_part_outcome outcomes[SEQUENCES];
    uint32_t rows[SEQUENCES], first = 0, silent = UINT32_MAX;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t rows_of = test_random_in(random, 0, 9);
        if (rows_of == 0) continue;
        const int32_t *tokens = text + test_random_in(random, 0, 900);
        parts[0][used] = (fv_step_part){.sequence = pairs[i].one,
                                        .tokens = tokens,
                                        .count = rows_of,
                                        .dense_rows = test_random_in(random, 0, 1) ? rows_of / 2 : 0,
                                        .output_rows = test_random_in(random, 0, rows_of)};
        parts[1][used] = parts[0][used];
        parts[1][used].sequence = pairs[i].several;
        uint32_t muted = parts[0][used].output_rows ? rows_of - parts[0][used].output_rows : 0;
        if (muted) silent = first + test_random_in(random, 0, muted - 1);
        rows[used++] = first + test_random_in(random, muted, rows_of - 1);
        first += rows_of;
    }
    if (used == 0) return;
    assert_int_equal(fv_stepper_run(one->stepper, parts[0], used), FV_OK);
    if (each)
        assert_int_equal(fv_stepper_run_each(several->stepper, parts[1], used, outcomes), FV_OK);
    else
        assert_int_equal(fv_stepper_run(several->stepper, parts[1], used), FV_OK);
    assert_int_equal(fv_stepper_rows(one->stepper), fv_stepper_rows(several->stepper));
    if (test_random_in(random, 0, 2) == 0) return; /* nobody looks: the next step follows at once */
    size_t bytes = used * fv_llm_config(one->llm)->vocabulary * sizeof *want;
    assert_int_equal(fv_stepper_logits(one->stepper, rows, used, want), FV_OK);
    assert_int_equal(fv_stepper_logits(several->stepper, rows, used, got), FV_OK);
    assert_memory_equal(got, want, bytes);
    assert_int_equal(fv_stepper_logits(one->stepper, &silent, 1, want), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_stepper_logits(several->stepper, &silent, 1, got), FV_ERROR_ARGUMENT);
}

static void pair_move(pair *pairs, side *one, side *several, const fv_session_config *config, test_random *random) {
    pair *p = &pairs[test_random_in(random, 0, SEQUENCES - 1)],
         *from = &pairs[test_random_in(random, 0, SEQUENCES - 1)];
    size_t tokens = fv_sequence_tokens(p->one), earliest = fv_sequence_earliest(p->one);
    fv_policy policy = *fv_sequence_policy(p->one);
    pair made = {NULL, NULL};
    switch (test_random_in(random, 0, 4)) {
    case 0: /* back */
        tokens = earliest + test_random_in(random, 0, (uint32_t)(tokens - earliest));
        assert_int_equal(fv_sequence_truncate(p->one, tokens), FV_OK);
        assert_int_equal(fv_sequence_truncate(p->several, tokens), FV_OK);
        break;
    case 1: /* a fork in another's place */
        if (p == from) break;
        assert_int_equal(fv_sequence_fork(&made.one, from->one, NULL), FV_OK);
        assert_int_equal(fv_sequence_fork(&made.several, from->several, NULL), FV_OK);
        fv_sequence_close(p->one), fv_sequence_close(p->several);
        *p = made;
        break;
    case 2: /* a new one */
        fv_sequence_close(p->one), fv_sequence_close(p->several);
        assert_int_equal(fv_sequence_open(&p->one, one->llm, one->segments, config, NULL), FV_OK);
        assert_int_equal(fv_sequence_open(&p->several, several->llm, several->segments, config, NULL), FV_OK);
        break;
    case 3: /* reads otherwise */
        fv_policy_set_budget(&policy, 0.1f + 0.1f * (float)test_random_in(random, 0, 8));
        assert_int_equal(fv_sequence_set_policy(p->one, &policy, NULL), FV_OK);
        assert_int_equal(fv_sequence_set_policy(p->several, &policy, NULL), FV_OK);
        break;
    default:
        fv_sequence_report_reset(p->one), fv_sequence_report_reset(p->several);
    }
    same_reports(p);
}

static void moves_check(const char *path, const uint32_t *layers, uint32_t stages) {
    static stage_ring ring;
    static pair pairs[SEQUENCES];
    test_random random = test_random_make(11);
    fv_session_config config = config_of(FV_SELECTOR_FOVEA);
    fv_engine *whole = whole_open(path);
    side one, several;
    text_make(fv_llm_config(fv_engine_llm(whole))->vocabulary);
    ring_open(&ring, path, layers, stages, NULL, NULL);
    assert_int_equal(ring_link(&ring, NULL), FV_OK);
    side_open(&one, whole, &config), side_open(&several, ring.stages[0].engine, &config);
    for (size_t i = 0; i < SEQUENCES; i++) {
        assert_int_equal(fv_sequence_open(&pairs[i].one, one.llm, one.segments, &config, NULL), FV_OK);
        assert_int_equal(fv_sequence_open(&pairs[i].several, several.llm, several.segments, &config, NULL), FV_OK);
        if (i % 2 == 1) continue; /* some are long */
        assert_int_equal(fv_sequence_feed(pairs[i].one, one.stepper, text, 1000 + i, NULL, NULL), FV_OK);
        assert_int_equal(fv_sequence_feed(pairs[i].several, several.stepper, text, 1000 + i, NULL, NULL), FV_OK);
    }
    for (size_t i = 0; i < MOVES; i++) {
        if (i % 3 == 2) pair_move(pairs, &one, &several, &config, &random);
        pairs_step(pairs, SEQUENCES, &one, &several, &random, i % 2 == 1);
    }
    for (size_t i = 0; i < SEQUENCES; i++) {
        same_reports(&pairs[i]);
        fv_sequence_close(pairs[i].one), fv_sequence_close(pairs[i].several);
    }
    side_close(&one), side_close(&several);
    fv_engine_close(whole);
    ring_close(&ring, FV_OK);
}

static void sequences_are_mirrored(void **state) {
    (void)state;
    moves_check(STORY, (uint32_t[]){2, 1, 2}, 3);
    moves_check(GEMMA, (uint32_t[]){3, 4}, 2);
}

/* --- a schedule -------------------------------------------------------------------------------------------------- */

enum { TALKERS = 6, SAID = 10 };

/* Who feeds a sequence by a schedule, from a thread of its own. */
typedef struct talker {
    fv_schedule *schedule;
    fv_sequence *sequence;
    uint32_t index, vocabulary;
    int32_t said[SAID];
    float logits[VOCABULARY_MOST];
    pthread_t thread;
} talker;

static void *talker_run(void *context) {
    talker *t = context;
    fv_status status =
        fv_schedule_feed(t->schedule, t->sequence, text + 50 * t->index, 40 + 30 * t->index, t->logits, NULL, NULL);
    for (size_t i = 0; i < SAID && status == FV_OK; i++) {
        t->said[i] = likeliest(t->logits, t->vocabulary);
        status = fv_schedule_feed(t->schedule, t->sequence, &t->said[i], 1, t->logits, NULL, NULL);
    }
    return status == FV_OK ? NULL : t;
}

static void talkers_run(talker *talkers, const fv_engine *engine, const fv_session_config *config) {
    side used;
    fv_schedule *schedule = NULL;
    side_open(&used, engine, config);
    assert_int_equal(fv_schedule_open(&schedule, used.stepper, 32, NULL), FV_OK);
    for (uint32_t i = 0; i < TALKERS; i++) {
        talkers[i] = (talker){.schedule = schedule, .index = i, .vocabulary = fv_llm_config(used.llm)->vocabulary};
        assert_int_equal(fv_sequence_open(&talkers[i].sequence, used.llm, used.segments, config, NULL), FV_OK);
        assert_int_equal(pthread_create(&talkers[i].thread, NULL, talker_run, &talkers[i]), 0);
    }
    for (uint32_t i = 0; i < TALKERS; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(talkers[i].thread, &failed), 0);
        assert_null(failed);
        fv_sequence_close(talkers[i].sequence);
    }
    fv_schedule_close(schedule);
    side_close(&used);
}

/* Steps of several requests are in several stages at once, and say what they say in one. */
static void a_schedule_keeps_all_stages_at_work(void **state) {
    (void)state;
    static talker want[TALKERS], got[TALKERS];
    static stage_ring ring;
    fv_session_config config = config_of(FV_SELECTOR_FOVEA);
    fv_engine *whole = whole_open(STORY);
    text_make(fv_llm_config(fv_engine_llm(whole))->vocabulary);
    talkers_run(want, whole, &config);
    ring_open(&ring, STORY, (uint32_t[]){2, 2, 1}, 3, NULL, NULL);
    assert_int_equal(ring_link(&ring, NULL), FV_OK);
    talkers_run(got, ring.stages[0].engine, &config);
    for (size_t i = 0; i < TALKERS; i++) {
        assert_memory_equal(got[i].said, want[i].said, sizeof got[i].said);
        assert_memory_equal(got[i].logits, want[i].logits, sizeof got[i].logits);
    }
    assert_true(ring.flight > 1);
    fv_engine_close(whole);
    ring_close(&ring, FV_OK);
}

/* --- what it costs ---------------------------------------------------------------------------------------------- */

/* A token's message has its hidden row and at most so much more; weights and caches are each stage's own. */
static void a_stage_has_its_own_layers_alone(void **state) {
    (void)state;
    static stage_ring ring;
    static float logits[VOCABULARY_MOST];
    fv_session_config config = config_of(FV_SELECTOR_DENSE);
    fv_session *session = NULL;
    fv_engine *whole = whole_open(STORY);
    const fv_llm *llm = fv_engine_llm(whole);
    fv_session_memory all, own;
    uint64_t packed = 0, cache = 0;
    text_make(fv_llm_config(llm)->vocabulary);
    assert_int_equal(fv_session_memory_plan(llm, &config, 1, &all, NULL), FV_OK);
    ring_open(&ring, STORY, (uint32_t[]){2, 2, 1}, 3, NULL, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        const fv_llm *stage = fv_engine_llm(ring.stages[i].engine);
        assert_int_equal(fv_session_memory_plan(stage, &config, 1, &own, NULL), FV_OK);
        packed += fv_llm_packed_bytes(stage), cache += own.cache_bytes;
        assert_true(fv_llm_tokenizer(stage) == NULL || i == 0);
    }
    assert_int_equal(packed, fv_llm_packed_bytes(llm));
    assert_int_equal(cache, all.cache_bytes);
    assert_int_equal(ring_link(&ring, NULL), FV_OK);
    assert_int_equal(fv_engine_session_open(ring.stages[0].engine, &config, &session, NULL), FV_OK);
    uint64_t empty = fv_stage_worker_bytes(ring.stages[1].worker);
    assert_int_equal(fv_session_feed(session, text, 1024, NULL, NULL), FV_OK);
    uint64_t held = fv_stage_worker_bytes(ring.stages[1].worker) - empty;
    assert_true(held > 0 && held <= own.token_bytes * 2 * 1024 + 65536);
    size_t before = ring.stages[0].bytes, row = fv_llm_config(llm)->width * sizeof(float);
    size_t back = ring.stages[2].bytes;
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(fv_session_feed(session, text, 1, NULL, NULL), FV_OK);
        assert_int_equal(fv_session_logits(session, 0, 1, logits), FV_OK);
    }
    assert_true(ring.stages[0].bytes - before <= 8 * (row + FV_STAGE_OVERHEAD));
    assert_true(ring.stages[2].bytes - back <= 8 * (row + FV_STAGE_OVERHEAD));
    fv_session_close(session);
    fv_engine_close(whole);
    ring_close(&ring, FV_OK);
}

static void layers_are_divided_by_bytes(void **state) {
    (void)state;
    fv_session_config config = config_of(FV_SELECTOR_DENSE);
    fv_llm *llm = NULL;
    uint32_t layers[8];
    assert_int_equal(fv_llm_open(&llm, GEMMA, NULL), FV_OK);
    for (uint32_t stages = 1; stages <= 7; stages++) {
        uint32_t sum = 0, most = 0;
        assert_int_equal(fv_stage_split(llm, &config, stages, FV_STAGE_PROMPTS, layers, NULL), FV_OK);
        for (uint32_t i = 0; i < stages; i++) {
            fv_layer_range range;
            fv_stage_bytes bytes;
            fv_stage_layers(layers, i, &range);
            assert_int_equal(range.first, sum);
            assert_int_equal(fv_stage_bytes_plan(llm, &config, &range, &bytes, NULL), FV_OK);
            assert_true(layers[i] >= 1);
            assert_true(bytes.weights + bytes.cache <=
                        bytes.all / stages + bytes.largest_layer + FV_STAGE_SLACK / stages);
            sum += layers[i];
            if (layers[i] > most) most = layers[i];
        }
        assert_int_equal(sum, 7);
        assert_int_equal(most, (7 + stages - 1) / stages);
    }
    assert_int_equal(fv_stage_split(llm, &config, 0, FV_STAGE_PROMPTS, layers, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_stage_split(llm, &config, 8, FV_STAGE_PROMPTS, layers, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_stage_split(llm, &config, 2, (fv_stage_work)2, layers, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_stage_split(llm, &config, 2, FV_STAGE_ANSWERS, layers, NULL), FV_OK);
    assert_true(layers[0] < layers[1]); /* the vocabulary's product is the first one's */
    fv_llm_close(llm);
}

static void a_list_of_layers_is_read(void **state) {
    (void)state;
    static const char *const bad[] = {"",         "8,8,7",   "8,8,7,7,0", "8,8,7,8",
                                      "8,8,14,0", "8,,7,7",  "8,8,7,7,",  "8,8,7,-7",
                                      "a",        "8 8 7 7", "30,0,0,0",  "99999999999999999999,8,7,7"};
    uint32_t layers[4] = {1, 2, 3, 4};
    fv_message message = {{0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(fv_stage_split_parse(bad[i], 30, 4, layers, &message), FV_ERROR_ARGUMENT);
        assert_non_null(strstr(message.text, "30 layers"));
        assert_int_equal(layers[3], 4);
    }
    assert_int_equal(fv_stage_split_parse("8,8,7,7", 30, 4, layers, &message), FV_OK);
    assert_int_equal(layers[0], 8);
    assert_int_equal(layers[3], 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_three_and_four_engines_have_the_bits_of_one),
        cmocka_unit_test(layers_with_windows_too),
        cmocka_unit_test(sequences_are_mirrored),
        cmocka_unit_test(a_schedule_keeps_all_stages_at_work),
        cmocka_unit_test(a_stage_has_its_own_layers_alone),
        cmocka_unit_test(layers_are_divided_by_bytes),
        cmocka_unit_test(a_list_of_layers_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
