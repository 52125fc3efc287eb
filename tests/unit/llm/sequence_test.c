/* sequence_test.c - sequences that share segments hold, bit for bit, what caches of their own would; what they take and
 * give back; what is refused before anything changes. */
#include "fovea/step.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "llm/session_shape.h"
#include "support/random.h"
#include "support/test_policy.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MODEL FV_SOURCE_DIR "/tests/model/gemma3_f32.gguf" /* six of its seven layers have a window of 16 tokens */

enum { CONTEXT = 5000, BATCH = 64, SLOTS = 6, LOCALS = 6, GLOBALS = 1, VOCABULARY = 304 };

static int open_file(void **state) {
    fv_llm *llm = NULL;
    fv_message message = {{0}};
    if (fv_llm_open(&llm, MODEL, &message) != FV_OK) return print_error("%s\n", message.text), -1;
    *state = llm;
    return 0;
}

static int close_file(void **state) {
    fv_llm_close(*state);
    return 0;
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

static int32_t text[CONTEXT];

static void text_make(test_random *random) {
    for (size_t i = 0; i < CONTEXT; i++) text[i] = (int32_t)test_random_in(random, 4, VOCABULARY - 1);
}

/* A sequence, and a model whose caches are blocks of its own. */
typedef struct twin {
    fv_sequence *sequence;
    fv_model *plain;
    void *memory;
} twin;

static void plain_open(twin *t, const fv_llm *llm, const fv_session_config *config) {
    fv_model_config shape = fv_session_shape(llm, config, 0);
    fv_model_weights weights = fv_loaded_weights(&llm->loaded, CONTEXT);
    fv_model_bytes bytes;
    assert_int_equal(fv_model_size(&shape, 1, &bytes), FV_OK);
    t->memory = aligned_alloc(64, (bytes.total + 63) / 64 * 64);
    assert_non_null(t->memory);
    assert_int_equal(fv_model_init(&t->plain, &shape, &weights, t->sequence->kernels, 1, t->memory, bytes.total),
                     FV_OK);
}

static void twin_open(twin *t, const fv_llm *llm, fv_segments *pool, const fv_session_config *config) {
    assert_int_equal(fv_sequence_open(&t->sequence, llm, pool, config, NULL), FV_OK);
    plain_open(t, llm, config);
}

static void twin_close(twin *t) {
    fv_sequence_close(t->sequence);
    free(t->memory);
    *t = (twin){0};
}

static void twin_fork(twin *to, const twin *from, const fv_llm *llm) {
    assert_int_equal(fv_sequence_fork(&to->sequence, from->sequence, NULL), FV_OK);
    plain_open(to, llm, &from->sequence->config);
    if (fv_model_tokens(from->plain)) assert_int_equal(fv_model_copy(to->plain, from->plain), FV_OK);
}

static void twin_truncate(twin *t, size_t tokens) {
    size_t earliest = fv_sequence_earliest(t->sequence), before = fv_sequence_tokens(t->sequence);
    bool possible = tokens == 0 || tokens >= earliest;
    assert_true(before - earliest >= BATCH || earliest == 0);
    assert_int_equal(fv_sequence_truncate(t->sequence, tokens), possible ? FV_OK : FV_ERROR_RANGE);
    assert_int_equal(fv_sequence_tokens(t->sequence), possible ? tokens : before);
    if (possible) assert_int_equal(fv_model_truncate(t->plain, (uint32_t)tokens), FV_OK);
}

/* Some tokens for some of the twins, in one step; the last rows' logits are those of the plain ones. */
static void twins_feed(twin *twins, fv_stepper *stepper, test_random *random) {
    static float got[SLOTS][VOCABULARY], want[VOCABULARY];
    fv_step_part parts[SLOTS];
    twin *of[SLOTS];
    uint32_t rows[SLOTS], count = 0, left = 2 * BATCH, sum = 0;
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (!twins[i].sequence || test_random_in(random, 0, 1)) continue;
        size_t held = fv_sequence_tokens(twins[i].sequence), most = CONTEXT - held;
        uint32_t some = test_random_in(random, 0, 1) ? 1 : test_random_in(random, 1, BATCH);
        if (some > most) some = (uint32_t)most;
        if (some > left) some = left;
        if (some == 0) continue;
        of[count] = &twins[i];
        parts[count] = (fv_step_part){.sequence = twins[i].sequence, .tokens = text + held, .count = some};
        left -= some;
        rows[count++] = (sum += some) - 1;
    }
    if (count == 0) return;
    assert_int_equal(fv_stepper_run(stepper, parts, count), FV_OK);
    assert_int_equal(fv_stepper_rows(stepper), sum);
    assert_int_equal(fv_stepper_logits(stepper, rows, count, got[0]), FV_OK);
    for (uint32_t i = 0; i < count; i++) {
        const fv_step_part *part = &parts[i];
        assert_int_equal(
            fv_model_forward(of[i]->plain, part->tokens, part->count, fv_sequence_policy(part->sequence), NULL, NULL),
            FV_OK);
        assert_int_equal(fv_model_logits(of[i]->plain, part->count - 1, 1, NULL, want), FV_OK);
        assert_memory_equal(got[i], want, sizeof want);
        assert_int_equal(fv_sequence_tokens(part->sequence), fv_model_tokens(of[i]->plain));
    }
}

static void twin_feed_alone(twin *t, fv_stepper *stepper, size_t count) {
    size_t held = fv_sequence_tokens(t->sequence);
    if (count > CONTEXT - held) count = CONTEXT - held;
    assert_int_equal(fv_sequence_feed(t->sequence, stepper, text + held, count, NULL, NULL), FV_OK);
    for (size_t done = 0, some; done < count; done += some) {
        some = count - done < BATCH ? count - done : BATCH;
        assert_int_equal(
            fv_model_forward(t->plain, text + held + done, (uint32_t)some, fv_sequence_policy(t->sequence), NULL, NULL),
            FV_OK);
    }
    assert_memory_equal(fv_sequence_ids(t->sequence), text, fv_sequence_tokens(t->sequence) * sizeof *text);
}

static fv_stepper *stepper_open(const fv_llm *llm, uint32_t batch, fv_pool *threads) {
    fv_session_config config = config_of(FV_SELECTOR_FOVEA);
    fv_stepper *stepper = NULL;
    config.batch_tokens = batch;
    assert_int_equal(fv_stepper_open(&stepper, llm, &config, threads, NULL), FV_OK);
    return stepper;
}

/* One random thing that may happen to one of the twins. */
static void twins_change(twin *twins, const fv_llm *llm, fv_segments *pool, fv_stepper *stepper, test_random *random) {
    static const fv_selector selectors[] = {FV_SELECTOR_DENSE, FV_SELECTOR_FOVEA, FV_SELECTOR_PATTERN};
    twin *one = &twins[test_random_in(random, 0, SLOTS - 1)], *other = &twins[test_random_in(random, 0, SLOTS - 1)];
    if (!one->sequence) {
        fv_session_config config = config_of(selectors[test_random_in(random, 0, 2)]);
        if (other->sequence)
            twin_fork(one, other, llm);
        else
            twin_open(one, llm, pool, &config);
        return;
    }
    size_t tokens = fv_sequence_tokens(one->sequence);
    switch (test_random_in(random, 0, 7)) {
    case 0:
        twin_close(one);
        break;
    case 1:
    case 2:
        twin_feed_alone(one, stepper, test_random_in(random, 1, 1500));
        break;
    case 3: /* back a little, to the beginning of a segment, or anywhere */
        twin_truncate(one, tokens - test_random_in(random, 0, tokens < BATCH ? (uint32_t)tokens : BATCH));
        break;
    case 4:
        twin_truncate(one, tokens / FV_SEGMENT_TOKENS * FV_SEGMENT_TOKENS);
        break;
    case 5:
        twin_truncate(one, test_random_in(random, 0, (uint32_t)tokens));
        break;
    default:
        twins_feed(twins, stepper, random);
    }
}

static void sharing_shows_in_no_bit(void **state) {
    const fv_llm *llm = *state;
    test_random random = test_random_make(1);
    text_make(&random);
    fv_pool *threads = NULL;
    fv_segments *pool = NULL;
    assert_int_equal(fv_pool_open(&threads, 3, NULL), FV_OK);
    assert_int_equal(fv_segments_open(&pool, 0, NULL), FV_OK);
    fv_stepper *stepper = stepper_open(llm, 2 * BATCH, threads);
    twin twins[SLOTS] = {0};
    for (int i = 0; i < 150; i++) {
        twins_change(twins, llm, pool, stepper, &random);
        twins_feed(twins, stepper, &random);
    }
    for (size_t i = 0; i < SLOTS; i++) twin_close(&twins[i]);
    assert_int_equal(fv_segments_bytes(pool), 0);
    fv_stepper_close(stepper);
    fv_segments_close(pool);
    fv_pool_close(threads);
}

/* What a sequence of so many tokens takes, in this model. */
static uint64_t bytes_of(const fv_sequence *s, uint64_t globals, uint64_t locals) {
    return globals * GLOBALS * s->segment_bytes[5] + locals * LOCALS * s->segment_bytes[0];
}

static void forks_take_what_is_their_own(void **state) {
    const fv_llm *llm = *state;
    enum { FORKS = 8 };
    test_random random = test_random_make(2);
    text_make(&random);
    fv_session_config config = config_of(FV_SELECTOR_FOVEA);
    fv_segments *pool = NULL;
    fv_sequence *base = NULL, *forks[FORKS];
    fv_stepper *stepper = stepper_open(llm, BATCH, NULL);
    assert_int_equal(fv_segments_open(&pool, 0, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&base, llm, pool, &config, NULL), FV_OK);
    assert_int_equal(fv_sequence_feed(base, stepper, text, 3500, NULL, NULL), FV_OK);
    assert_int_equal(fv_segments_bytes(pool), bytes_of(base, 4, 2)); /* a window's layers keep two segments */
    assert_int_equal(fv_sequence_bytes(base), bytes_of(base, 4, 2));
    for (int i = 0; i < FORKS; i++) assert_int_equal(fv_sequence_fork(&forks[i], base, NULL), FV_OK);
    assert_int_equal(fv_segments_bytes(pool), bytes_of(base, 4, 2)); /* so far nothing is their own */
    assert_int_equal(fv_sequence_own_bytes(base), 0);
    for (int i = 0; i < FORKS; i++)
        assert_int_equal(fv_sequence_feed(forks[i], stepper, text + 100 * i, 10, NULL, NULL), FV_OK);
    assert_int_equal(fv_segments_bytes(pool), bytes_of(base, 4, 2) + FORKS * bytes_of(base, 1, 1));
    assert_int_equal(fv_sequence_own_bytes(forks[3]), bytes_of(base, 1, 1));
    assert_memory_equal(fv_sequence_ids(forks[3]) + 3500, text + 300, 10 * sizeof *text);
    fv_sequence_close(base);
    for (int i = 0; i + 1 < FORKS; i++) fv_sequence_close(forks[i]);
    assert_int_equal(fv_segments_bytes(pool), bytes_of(forks[FORKS - 1], 4, 2));
    fv_segments_close(pool); /* the last sequence keeps it */
    assert_int_equal(fv_sequence_feed(forks[FORKS - 1], stepper, text, 1000, NULL, NULL), FV_OK);
    fv_sequence_close(forks[FORKS - 1]);
    fv_stepper_close(stepper);
}

static void check_held(const fv_sequence *sequence, size_t tokens, const fv_segments *pool, uint64_t bytes) {
    assert_int_equal(fv_sequence_tokens(sequence), tokens);
    assert_int_equal(fv_segments_bytes(pool), bytes);
}

static void a_full_pool_refuses_before_anything_changes(void **state) {
    const fv_llm *llm = *state;
    test_random random = test_random_make(3);
    text_make(&random);
    fv_session_config config = config_of(FV_SELECTOR_DENSE);
    fv_segments *pool = NULL, *endless = NULL;
    fv_sequence *one = NULL, *two = NULL, *other = NULL, *fork = NULL;
    fv_stepper *stepper = stepper_open(llm, 2 * BATCH, NULL);
    float before[VOCABULARY], after[VOCABULARY];
    assert_int_equal(fv_segments_open(&endless, 0, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&other, llm, endless, &config, NULL), FV_OK);
    uint64_t column = bytes_of(other, 1, 1);
    assert_int_equal(fv_segments_open(&pool, 2 * column + 100, NULL), FV_OK);
    assert_int_equal(fv_segments_limit_bytes(pool), 2 * column + 100);
    assert_int_equal(fv_sequence_open(&one, llm, pool, &config, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&two, llm, pool, &config, NULL), FV_OK);
    assert_int_equal(fv_sequence_feed(one, stepper, text, 1024, NULL, NULL), FV_OK);
    assert_int_equal(fv_sequence_feed(two, stepper, text, 500, NULL, NULL), FV_OK);
    uint32_t row = (uint32_t)fv_stepper_rows(stepper) - 1;
    assert_int_equal(fv_stepper_logits(stepper, &row, 1, before), FV_OK);
    /* parts that need no memory, or have it, are refused with the one that finds none */
    fv_step_part parts[3] = {{.sequence = two, .tokens = text, .count = 3},
                             {.sequence = other, .tokens = text, .count = 5},
                             {.sequence = one, .tokens = text, .count = 1}};
    assert_int_equal(fv_stepper_run(stepper, parts, 3), FV_ERROR_FULL);
    check_held(one, 1024, pool, 2 * column);
    check_held(two, 500, pool, 2 * column);
    check_held(other, 0, endless, 0);
    assert_int_equal(fv_stepper_logits(stepper, &row, 1, after), FV_OK);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(fv_sequence_fork(&fork, two, NULL), FV_OK); /* takes none */
    parts[2].sequence = fork;
    assert_int_equal(fv_stepper_run(stepper, parts, 3), FV_ERROR_FULL); /* two would write to what it shares */
    assert_int_equal(fv_sequence_truncate(fork, 100), FV_ERROR_FULL);
    check_held(fork, 500, pool, 2 * column);
    assert_int_equal(fv_sequence_truncate(fork, 0), FV_OK);
    assert_int_equal(fv_stepper_run(stepper, parts, 2), FV_OK); /* now it is two's alone */
    check_held(two, 503, pool, 2 * column);
    fv_sequence_close(one);
    check_held(two, 503, pool, column);
    assert_int_equal(fv_stepper_run(stepper, &parts[2], 1), FV_OK);
    check_held(fork, 1, pool, 2 * column);
    fv_sequence_close(two), fv_sequence_close(fork), fv_sequence_close(other);
    fv_segments_close(pool), fv_segments_close(endless);
    fv_stepper_close(stepper);
}

/* What the parts before have copied is shared again; the last of those who share writes where it is. */
static void a_refused_step_leaves_no_copies(void **state) {
    const fv_llm *llm = *state;
    test_random random = test_random_make(11);
    text_make(&random);
    fv_session_config config = config_of(FV_SELECTOR_DENSE);
    fv_segments *endless = NULL, *pool = NULL;
    fv_sequence *measure = NULL, *base = NULL, *forks[2] = {0};
    fv_stepper *stepper = stepper_open(llm, 2 * BATCH, NULL);
    assert_int_equal(fv_segments_open(&endless, 0, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&measure, llm, endless, &config, NULL), FV_OK);
    uint64_t column = bytes_of(measure, 1, 1);
    assert_int_equal(fv_segments_open(&pool, 2 * column + 100, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&base, llm, pool, &config, NULL), FV_OK);
    assert_int_equal(fv_sequence_feed(base, stepper, text, 500, NULL, NULL), FV_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(fv_sequence_fork(&forks[i], base, NULL), FV_OK);
    fv_step_part parts[2] = {{.sequence = forks[0], .tokens = text, .count = 1},
                             {.sequence = forks[1], .tokens = text + 1, .count = 1}};
    assert_int_equal(fv_stepper_run(stepper, parts, 2), FV_ERROR_FULL);
    check_held(forks[0], 500, pool, column);
    fv_sequence_close(base);
    check_held(forks[1], 500, pool, column);
    assert_int_equal(fv_stepper_run(stepper, parts, 2), FV_OK); /* one copy does for two */
    check_held(forks[0], 501, pool, 2 * column);
    for (int i = 0; i < 2; i++) fv_sequence_close(forks[i]);
    check_held(measure, 0, pool, 0);
    fv_sequence_close(measure);
    fv_segments_close(pool), fv_segments_close(endless);
    fv_stepper_close(stepper);
}

/* A pool for one conversation: what its windows give back makes room for what they need. */
static void a_ring_lives_in_a_full_pool(void **state) {
    const fv_llm *llm = *state;
    fv_session_config config = config_of(FV_SELECTOR_DENSE);
    fv_segments *pool = NULL;
    fv_sequence *sequence = NULL;
    fv_stepper *stepper = stepper_open(llm, BATCH, NULL);
    assert_int_equal(fv_segments_open(&pool, 0, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&sequence, llm, pool, &config, NULL), FV_OK);
    uint64_t limit = bytes_of(sequence, 4, 2);
    fv_sequence_close(sequence);
    fv_segments_close(pool);
    assert_int_equal(fv_segments_open(&pool, limit, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&sequence, llm, pool, &config, NULL), FV_OK);
    assert_int_equal(fv_sequence_feed(sequence, stepper, text, 4096, NULL, NULL), FV_OK);
    assert_int_equal(fv_segments_bytes(pool), limit);
    size_t earliest = fv_sequence_earliest(sequence);
    assert_true(earliest > 2048 && earliest <= 4096 - BATCH);
    assert_int_equal(fv_sequence_feed(sequence, stepper, text, 1, NULL, NULL), FV_ERROR_FULL);
    assert_int_equal(fv_sequence_earliest(sequence), earliest);
    assert_int_equal(fv_sequence_truncate(sequence, earliest - 1), FV_ERROR_RANGE);
    assert_int_equal(fv_sequence_truncate(sequence, 1), FV_ERROR_RANGE);
    assert_int_equal(fv_sequence_truncate(sequence, earliest), FV_OK);
    assert_int_equal(fv_sequence_truncate(sequence, 0), FV_OK);
    assert_int_equal(fv_sequence_earliest(sequence), 0);
    assert_int_equal(fv_segments_bytes(pool), 0);
    fv_sequence_close(sequence);
    fv_segments_close(pool);
    fv_stepper_close(stepper);
}

static void what_a_step_refuses(void **state) {
    const fv_llm *llm = *state;
    fv_llm *again = NULL;
    fv_session_config dense = config_of(FV_SELECTOR_DENSE), longer = dense, chooses = config_of(FV_SELECTOR_FOVEA);
    longer.context_tokens++;
    fv_segments *pool = NULL;
    fv_sequence *one = NULL, *foreign = NULL, *chosen = NULL, *large = NULL;
    fv_stepper *stepper = NULL;
    assert_int_equal(fv_llm_open(&again, MODEL, NULL), FV_OK);
    assert_int_equal(fv_segments_open(&pool, 0, NULL), FV_OK);
    assert_int_equal(fv_stepper_open(&stepper, llm, &dense, NULL, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&one, llm, pool, &dense, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&foreign, again, pool, &dense, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&chosen, llm, pool, &chooses, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&large, llm, pool, &longer, NULL), FV_OK);
    int32_t tokens[BATCH + 1] = {5, 6, 7}, outside[1] = {VOCABULARY};
    const fv_step_part good = {.sequence = one, .tokens = tokens, .count = 3};
    struct {
        fv_step_part part;
        fv_status status;
    } bad[] = {{{.sequence = one, .tokens = tokens, .count = 1}, FV_ERROR_ARGUMENT}, /* twice */
               {{.sequence = foreign, .tokens = tokens, .count = 1}, FV_ERROR_ARGUMENT},
               {{.sequence = large, .tokens = tokens, .count = 1}, FV_ERROR_ARGUMENT},
               {{.sequence = chosen, .tokens = tokens, .count = 1}, FV_ERROR_POLICY},
               {{.sequence = NULL, .tokens = tokens, .count = 1}, FV_ERROR_ARGUMENT},
               {{.sequence = one, .tokens = outside, .count = 1}, FV_ERROR_ARGUMENT}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fv_step_part parts[2] = {good, bad[i].part};
        assert_int_equal(fv_stepper_run(stepper, parts, 2), bad[i].status);
        check_held(one, 0, pool, 0);
    }
    fv_step_part many = {.sequence = one, .tokens = tokens, .count = BATCH + 1};
    assert_int_equal(fv_stepper_run(stepper, &many, 1), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_stepper_run(stepper, &good, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_stepper_run(stepper, &good, 1), FV_OK);
    uint32_t row = 3;
    float logits[VOCABULARY];
    assert_int_equal(fv_stepper_logits(stepper, &row, 1, logits), FV_ERROR_ARGUMENT);
    fv_sequence_close(one), fv_sequence_close(foreign), fv_sequence_close(chosen), fv_sequence_close(large);
    fv_stepper_close(stepper);
    fv_segments_close(pool);
    fv_llm_close(again);
}

/* --- threads ---------------------------------------------------------------------------------------------------- */

typedef struct thread_work {
    const fv_llm *llm;
    const fv_sequence *base;
    const float *want; /* logits after the base and ten tokens */
    bool good;
} thread_work;

/* Forks of one beginning, again and again. */
static void *thread_main(void *context) {
    thread_work *work = context;
    fv_session_config config = config_of(FV_SELECTOR_FOVEA);
    fv_stepper *stepper = NULL;
    work->good = fv_stepper_open(&stepper, work->llm, &config, NULL, NULL) == FV_OK;
    for (int i = 0; i < 10 && work->good; i++) {
        fv_sequence *fork = NULL;
        float got[VOCABULARY];
        uint32_t row = 9;
        size_t held = fv_sequence_tokens(work->base);
        work->good = fv_sequence_fork(&fork, work->base, NULL) == FV_OK &&
                     fv_sequence_feed(fork, stepper, text + held, 10, NULL, NULL) == FV_OK &&
                     fv_stepper_logits(stepper, &row, 1, got) == FV_OK && memcmp(got, work->want, sizeof got) == 0 &&
                     fv_sequence_truncate(fork, held - 3) == FV_OK &&
                     fv_sequence_feed(fork, stepper, text, 200, NULL, NULL) == FV_OK;
        fv_sequence_close(fork);
    }
    fv_stepper_close(stepper);
    return NULL;
}

static void threads_share_one_pool(void **state) {
    enum { THREADS = 4 };
    const fv_llm *llm = *state;
    test_random random = test_random_make(4);
    text_make(&random);
    fv_session_config config = config_of(FV_SELECTOR_FOVEA);
    fv_segments *pool = NULL;
    fv_sequence *base = NULL, *fork = NULL;
    fv_stepper *stepper = stepper_open(llm, BATCH, NULL);
    float want[VOCABULARY];
    uint32_t row = 9;
    assert_int_equal(fv_segments_open(&pool, 0, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&base, llm, pool, &config, NULL), FV_OK);
    assert_int_equal(fv_sequence_feed(base, stepper, text, 1900, NULL, NULL), FV_OK);
    uint64_t bytes = fv_segments_bytes(pool);
    assert_int_equal(fv_sequence_fork(&fork, base, NULL), FV_OK);
    assert_int_equal(fv_sequence_feed(fork, stepper, text + 1900, 10, NULL, NULL), FV_OK);
    assert_int_equal(fv_stepper_logits(stepper, &row, 1, want), FV_OK);
    fv_sequence_close(fork);
    pthread_t threads[THREADS];
    thread_work work[THREADS];
    for (int i = 0; i < THREADS; i++) {
        work[i] = (thread_work){llm, base, want, false};
        assert_int_equal(pthread_create(&threads[i], NULL, thread_main, &work[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(work[i].good);
    }
    assert_int_equal(fv_segments_bytes(pool), bytes);
    fv_sequence_close(base);
    fv_segments_close(pool);
    fv_stepper_close(stepper);
}

/* --- sessions --------------------------------------------------------------------------------------------------- */

/* Gemma 3 270M: 18 layers, of which every sixth sees everything; one head of 256, a window of 512. */
static void a_window_takes_a_window(void **state) {
    (void)state;
    fv_model_config shape;
    fv_model_config_default(&shape);
    shape.vocabulary = 1000, shape.width = 640, shape.feed_forward = 2048, shape.layers = 18, shape.query_heads = 4;
    shape.cache.kv_heads = 1, shape.cache.head_dim = 256, shape.cache.max_tokens = 32768;
    shape.local_window = 512, shape.local_period = 6, shape.parts = 1, shape.attention_scale = 0.0625f;
    fv_session_memory memory;
    const fv_session_layers all = {{0, shape.layers}, 1, 1};
    size_t scratch = 0;
    assert_int_equal(fv_session_memory_of(&shape, &all, 1, &memory, &scratch, NULL), FV_OK);
    assert_true(memory.key_bytes + memory.value_bytes <= (uint64_t)130 << 20);
    assert_int_equal(memory.key_bytes + memory.value_bytes, (uint64_t)126 << 20);
    assert_int_equal(fv_session_ring(&shape, 1), 2);
    shape.local_window = 0;
    assert_int_equal(fv_session_memory_of(&shape, &all, 1, &memory, &scratch, NULL), FV_OK);
    assert_int_equal(memory.key_bytes + memory.value_bytes, (uint64_t)576 << 20);
}

/* Going back further than a window's layers remember: refused, or evaluated again. */
static void a_session_goes_back_by_reading_again(void **state) {
    const fv_llm *llm = *state;
    test_random random = test_random_make(5);
    text_make(&random);
    fv_session_config config = config_of(FV_SELECTOR_DENSE);
    fv_session *session = NULL, *copy = NULL;
    float want[VOCABULARY], got[VOCABULARY];
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_open(&copy, llm, &config, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_feed(session, text, 301, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_logits(session, fv_session_batch_rows(session) - 1, 1, want), FV_OK);
    assert_int_equal(fv_session_earliest(session), 0);
    assert_int_equal(fv_session_feed(session, text + 301, 3000, NULL, NULL), FV_OK);
    assert_true(fv_session_earliest(session) > 1024);
    assert_int_equal(fv_session_truncate(session, 300), FV_ERROR_RANGE);
    assert_int_equal(fv_session_tokens(session), 3301);
    assert_true(fv_session_batch_rows(session) > 0);
    assert_int_equal(fv_session_copy(copy, session), FV_OK);
    assert_int_equal(fv_session_earliest(copy), fv_session_earliest(session));
    assert_int_equal(fv_session_rewind(session, 300), FV_OK);
    assert_int_equal(fv_session_tokens(session), 300);
    assert_int_equal(fv_session_batch_rows(session), 0);
    assert_int_equal(fv_session_feed(session, text + 300, 1, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_logits(session, 0, 1, got), FV_OK);
    assert_memory_equal(got, want, sizeof got);
    assert_int_equal(fv_session_rewind(copy, 3300), FV_OK); /* near enough */
    assert_int_equal(fv_session_feed(copy, text + 3300, 1, NULL, NULL), FV_OK);
    fv_session_close(session);
    fv_session_close(copy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sharing_shows_in_no_bit),
        cmocka_unit_test(forks_take_what_is_their_own),
        cmocka_unit_test(a_full_pool_refuses_before_anything_changes),
        cmocka_unit_test(a_refused_step_leaves_no_copies),
        cmocka_unit_test(a_ring_lives_in_a_full_pool),
        cmocka_unit_test(what_a_step_refuses),
        cmocka_unit_test(threads_share_one_pool),
        cmocka_unit_test(a_window_takes_a_window),
        cmocka_unit_test(a_session_goes_back_by_reading_again),
    };
    return cmocka_run_group_tests(tests, open_file, close_file);
}
