/* model_step_test.c - a row's bits do not depend on its company in a step; a refused step leaves all caches as they
 * were. */
#include "fovea/pool.h"
#include "support/model_world.h"
#include "support/tables.h"
#include "support/test_policy.h"

enum { SEQUENCES = 16, LONGEST = 130, BATCH = 40 };

static test_tables tables;

/* One sequence: its caches, its text, and what a model that has no company says of every position. */
typedef struct sequence {
    fv_cache *caches[LAYERS];
    void *memory[LAYERS];
    fv_policy policy;
    fv_report report, alone;
    int32_t text[LONGEST];
    uint32_t length, done;
    float want[LONGEST][VOCABULARY];
} sequence;

typedef struct step_world {
    fv_layer_weights layers[LAYERS];
    fv_model_weights weights;
    fv_model *model; /* borrows */
    void *memory;
    sequence sequences[SEQUENCES];
} step_world;

static step_world world;

static fv_model_config step_config(bool borrows) {
    fv_model_config config = config_make();
    config.cache.max_tokens = LONGEST;
    config.batch_tokens = BATCH;
    config.local_window = 7, config.local_period = 2;
    config.parts = borrows ? SEQUENCES : 0;
    return config;
}

static void *model_new(fv_model **model, const fv_model_config *config, const fv_kernels *kernels, uint32_t workers) {
    fv_model_bytes bytes;
    assert_int_equal(fv_model_size(config, workers, &bytes), FV_OK);
    void *memory = world_memory(bytes.total);
    *model = NULL;
    assert_int_equal(fv_model_init(model, config, &world.weights, kernels, workers, memory, bytes.total), FV_OK);
    return memory;
}

/* Dense, windows, patterns and choices, in caches that hold no more than the policy and the text need. Even layers have
 * the model's own sliding window. */
static void sequence_make(sequence *s, uint32_t index, const fv_kernels *kernels, test_random *random) {
    static const fv_selector selectors[] = {FV_SELECTOR_DENSE, FV_SELECTOR_WINDOW, FV_SELECTOR_PATTERN,
                                            FV_SELECTOR_FOVEA};
    *s = (sequence){.policy = test_policy(selectors[index % 4]), .length = test_random_in(random, 1, LONGEST)};
    if (index % 4 == 1 || index % 4 == 2) s->policy.window = 1 + index;
    if (index % 4 == 2) s->policy.block = 16;
    if (index % 4 == 3) s->policy.window = 1, s->policy.dense_below = 0, fv_policy_set_budget(&s->policy, 0.5f);
    if (index < 3) s->length = LONGEST - index;
    s->report = s->alone = (fv_report){.struct_bytes = sizeof s->report};
    for (uint32_t i = 0; i < s->length; i++) s->text[i] = (int32_t)test_random_in(random, 0, VOCABULARY - 1);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        fv_cache_config shape = {.kv_heads = KV_HEADS, .head_dim = HEAD_DIM, .max_tokens = s->length};
        shape.key_type = shape.value_type = index % 5 ? FV_ELEMENT_F16 : FV_ELEMENT_F32;
        if (layer % 2 == 1) fv_policy_needs(&s->policy, &shape);
        size_t bytes = 0;
        assert_int_equal(fv_cache_size(&shape, &bytes), FV_OK);
        s->memory[layer] = world_memory(bytes);
        assert_int_equal(fv_cache_init(&s->caches[layer], &shape, kernels, s->memory[layer], bytes), FV_OK);
    }
}

/* Token by token, in a model of its own. */
static void sequence_evaluate(sequence *s, const fv_kernels *kernels) {
    fv_model_config config = step_config(false);
    fv_model *model;
    config.cache.key_type = config.cache.value_type = fv_cache_shape(s->caches[0])->key_type;
    void *memory = model_new(&model, &config, kernels, 1);
    for (uint32_t i = 0; i < s->length; i++) {
        assert_int_equal(fv_model_forward(model, s->text + i, 1, &s->policy, NULL, &s->alone), FV_OK);
        assert_int_equal(fv_model_logits(model, 0, 1, NULL, s->want[i]), FV_OK);
    }
    free(memory);
}

static void world_open(const fv_kernels *kernels) {
    static const float local_frequencies[2] = {1.0f, 0.1f};
    test_random random = test_random_make(1), texts = test_random_make(2);
    world.weights = weights_make(world.layers, &random);
    world.weights.rope_local_frequencies = local_frequencies;
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        sequence_make(&world.sequences[i], i, kernels, &texts);
        sequence_evaluate(&world.sequences[i], kernels);
    }
}

static void world_rewind(void) {
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        sequence *s = &world.sequences[i];
        s->done = 0;
        s->report = (fv_report){.struct_bytes = sizeof s->report};
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            assert_int_equal(fv_cache_truncate(s->caches[layer], 0), FV_OK);
    }
}

static void world_close(void) {
    for (uint32_t i = 0; i < SEQUENCES; i++)
        for (uint32_t layer = 0; layer < LAYERS; layer++) free(world.sequences[i].memory[layer]);
}

static fv_model_part part_of(sequence *s, uint32_t count) {
    return (fv_model_part){
        .caches = s->caches, .tokens = s->text + s->done, .count = count, .policy = &s->policy, .report = &s->report};
}

static fv_model_part part_like(fv_cache *const *caches, const int32_t *tokens, uint32_t count, const fv_policy *policy,
                               fv_report *report) {
    return (fv_model_part){.caches = caches, .tokens = tokens, .count = count, .policy = policy, .report = report};
}

/* Chunks and single tokens of some sequences; `single`: single tokens alone; `asked`: not all rows are to have logits.
 * Returns how many parts. */
static uint32_t parts_draw(test_random *random, bool single, bool asked, fv_model_part *parts, sequence **of) {
    uint32_t count = 0, left = BATCH;
    for (uint32_t i = 0; i < SEQUENCES && left; i++) {
        sequence *s = &world.sequences[i];
        uint32_t most = s->length - s->done, some = single ? 1 : test_random_in(random, 1, 12);
        if (most == 0 || test_random_in(random, 0, 3) == 0) continue;
        some = some < most ? some : most;
        some = some < left ? some : left;
        of[count] = s;
        parts[count] = part_of(s, some);
        if (asked) parts[count].output_rows = test_random_in(random, 0, some);
        count++;
        left -= some;
    }
    return count;
}

static uint32_t muted_rows(const fv_model_part *part) {
    return part->output_rows ? part->count - part->output_rows : 0;
}

/* Rows that nobody asked for have no logits, alone or with others. */
static void check_muted(uint32_t first, uint32_t count) {
    static float logits[BATCH][VOCABULARY];
    for (uint32_t row = first; row < first + count; row++) {
        const uint32_t both[2] = {first + count, row};
        assert_int_equal(fv_model_logits(world.model, row, 1, NULL, logits[0]), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_model_logits_of(world.model, both, 2, NULL, logits[0]), FV_ERROR_ARGUMENT);
    }
    if (count) assert_int_equal(fv_model_logits(world.model, first, count + 1, NULL, logits[0]), FV_ERROR_ARGUMENT);
}

/* The rows' logits in their order, and in a stranger one. */
static void check_rows(const fv_model_part *parts, sequence **of, uint32_t count, const fv_parallel *parallel) {
    static float logits[BATCH][VOCABULARY], picked[BATCH][VOCABULARY];
    uint32_t rows = 0, lasts[SEQUENCES];
    for (uint32_t i = 0; i < count; i++) lasts[count - 1 - i] = (rows += parts[i].count) - 1;
    assert_int_equal(fv_model_batch_rows(world.model), rows);
    assert_int_equal(fv_model_logits_of(world.model, lasts, count, parallel, picked[0]), FV_OK);
    rows = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t muted = muted_rows(&parts[i]), first = rows + muted, made = parts[i].count - muted;
        check_muted(rows, muted);
        assert_int_equal(fv_model_logits(world.model, first, made, parallel, logits[first]), FV_OK);
        assert_memory_equal(logits[first], of[i]->want[of[i]->done + muted], made * sizeof *logits);
        rows += parts[i].count;
        assert_memory_equal(picked[count - 1 - i], logits[rows - 1], sizeof *picked);
        of[i]->done += parts[i].count;
    }
}

/* What is read where nobody asks for some rows: as much but in the last layer, where it is less, or with an observer
 * all. */
static void check_reports(bool asked, bool observed) {
    uint64_t got_keys = 0, want_keys = 0;
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        const fv_report *got = &world.sequences[i].report, *want = &world.sequences[i].alone;
        assert_int_equal(got->local_keys, want->local_keys);
        got_keys += got->keys_read, want_keys += want->keys_read;
        if (asked && !observed) continue;
        assert_int_equal(got->keys_visible, want->keys_visible);
        assert_int_equal(got->keys_read, want->keys_read);
    }
    if (asked && !observed) assert_true(got_keys < want_keys);
}

static void observe_nothing(void *context, const fv_attention_seen *seen, size_t worker) {
    (void)context, (void)seen, (void)worker;
}

static void check_schedule(const fv_kernels *kernels, const fv_parallel *parallel, bool asked, uint32_t stream) {
    bool observed = asked && stream % 2 == 1;
    test_random random = test_random_make(stream);
    fv_model_config config = step_config(true);
    world_rewind();
    world.memory = model_new(&world.model, &config, kernels, parallel ? parallel->workers : 1);
    if (observed) fv_model_observe(world.model, observe_nothing, NULL);
    fv_model_part parts[SEQUENCES];
    sequence *of[SEQUENCES];
    for (uint32_t step = 0, left = 1; left; step++) {
        uint32_t count = parts_draw(&random, step % 3 == 0, asked, parts, of);
        if (count) assert_int_equal(fv_model_step(world.model, parts, count, parallel), FV_OK);
        if (count) check_rows(parts, of, count, parallel);
        left = 0;
        for (uint32_t i = 0; i < SEQUENCES; i++) left += world.sequences[i].length - world.sequences[i].done;
    }
    check_reports(asked, observed);
    free(world.memory);
}

static void test_company_shows_in_no_bit(void **state) {
    (void)state;
    static const uint32_t threads[] = {1, 2, 3, 7};
    for (size_t k = 0; k < tables.count; k++) {
        world_open(tables.table[k]);
        for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
            fv_pool *started = NULL;
            assert_int_equal(fv_pool_open(&started, threads[i], NULL), FV_OK);
            check_schedule(tables.table[k], fv_pool_parallel(started), false, (uint32_t)i);
            check_schedule(tables.table[k], fv_pool_parallel(started), true, (uint32_t)i);
            fv_pool_close(started);
        }
        shuffle_pool shuffle = {test_random_make(9), 5};
        fv_parallel parallel = shuffle_parallel(&shuffle);
        check_schedule(tables.table[k], &parallel, false, 8);
        check_schedule(tables.table[k], NULL, false, 9);
        check_schedule(tables.table[k], NULL, true, 10);
        world_close();
    }
}

/* Three sequences with tokens, in the model of the world. */
static void three_open(uint32_t workers) {
    fv_model_config config = step_config(true);
    world_open(tables.table[0]);
    world.memory = model_new(&world.model, &config, tables.table[0], workers);
    fv_model_part parts[3];
    sequence *of[3];
    for (uint32_t i = 0; i < 3; i++) of[i] = &world.sequences[i], parts[i] = part_of(of[i], 4 + i);
    assert_int_equal(fv_model_step(world.model, parts, 3, NULL), FV_OK);
    check_rows(parts, of, 3, NULL);
}

static void three_close(void) {
    free(world.memory);
    world_close();
}

/* Nothing has changed: tokens, rows of the step before, and what comes next. */
static void check_untouched(const fv_model_part *parts, uint32_t count, fv_status status) {
    float logits[VOCABULARY];
    fv_report before[3];
    for (uint32_t i = 0; i < 3; i++) before[i] = world.sequences[i].report;
    assert_int_equal(fv_model_step(world.model, parts, count, NULL), status);
    for (uint32_t i = 0; i < 3; i++) {
        assert_memory_equal(&before[i], &world.sequences[i].report, sizeof before[i]);
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            assert_int_equal(fv_cache_tokens(world.sequences[i].caches[layer]), 4 + i);
    }
    assert_int_equal(fv_model_batch_rows(world.model), 15);
    assert_int_equal(fv_model_logits(world.model, 3, 1, NULL, logits), FV_OK);
    assert_memory_equal(logits, world.sequences[0].want[3], sizeof logits);
}

static void test_a_refused_step_changes_nothing(void **state) {
    (void)state;
    three_open(1);
    sequence *s = world.sequences;
    const fv_model_part good[3] = {part_of(&s[0], 2), part_of(&s[1], 1), part_of(&s[2], 3)};
    const int32_t outside[3] = {1, 2, VOCABULARY};
    fv_policy chooses = test_policy(FV_SELECTOR_FOVEA), two_sided = test_policy(FV_SELECTOR_DENSE), unfit = chooses;
    two_sided.causal = 0, unfit.selector = 99;
    fv_report small = {.struct_bytes = FV_REPORT_LEAST - 1};
    fv_cache *unlike[2] = {s[2].caches[0], s[1].caches[1]}, *missing[2] = {s[2].caches[0], NULL};
    struct {
        fv_model_part part;
        fv_status status;
    } bad[] = {
        {part_like(s[2].caches, outside, 3, &s[2].policy, NULL), FV_ERROR_ARGUMENT},
        {part_like(s[2].caches, NULL, 3, &s[2].policy, NULL), FV_ERROR_ARGUMENT},
        {part_like(s[2].caches, s[2].text, 0, &s[2].policy, NULL), FV_ERROR_ARGUMENT},
        {part_like(s[2].caches, s[2].text, BATCH - 2, &s[2].policy, NULL),
         FV_ERROR_ARGUMENT},                                                     /* a row too many in all */
        {part_like(s[2].caches, s[2].text, 1, &chooses, NULL), FV_ERROR_POLICY}, /* no shadow */
        {part_like(s[2].caches, s[2].text, 1, &two_sided, NULL), FV_ERROR_POLICY},
        {part_like(s[2].caches, s[2].text, 1, &unfit, NULL), FV_ERROR_POLICY},
        {part_like(s[2].caches, s[2].text, 1, NULL, NULL), FV_ERROR_ARGUMENT},
        {part_like(s[2].caches, s[2].text, 1, &s[2].policy, &small), FV_ERROR_ARGUMENT},
        {part_like(s[2].caches, s[2].text, 1, &s[2].policy, &s[1].report), FV_ERROR_ARGUMENT}, /* two in one report */
        {part_like(s[1].caches, s[1].text, 1, &s[1].policy, NULL), FV_ERROR_ARGUMENT},         /* two in one cache */
        {part_like(unlike, s[2].text, 1, &s[2].policy, NULL), FV_ERROR_ARGUMENT},
        {part_like(missing, s[2].text, 1, &s[0].policy, NULL), FV_ERROR_ARGUMENT},
        {part_like(NULL, s[2].text, 1, &s[2].policy, NULL), FV_ERROR_ARGUMENT}, /* the model has none of its own */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fv_model_part parts[3] = {good[0], good[1], bad[i].part};
        check_untouched(parts, 3, bad[i].status);
    }
    fv_model_part many[3] = {good[0], good[1], good[2]};
    many[2].output_rows = many[2].count + 1;
    check_untouched(many, 3, FV_ERROR_ARGUMENT);
    check_untouched(good, 0, FV_ERROR_ARGUMENT);
    check_untouched(good, SEQUENCES + 1, FV_ERROR_ARGUMENT);
    check_untouched(NULL, 1, FV_ERROR_ARGUMENT);
    assert_int_equal(fv_model_step(world.model, good, 3, NULL), FV_OK);
    sequence *of[3] = {&s[0], &s[1], &s[2]};
    check_rows(good, of, 3, NULL);
    three_close();
}

static void test_a_full_cache_refuses_the_step(void **state) {
    (void)state;
    three_open(1);
    sequence *s = world.sequences;
    while (s[0].length - s[0].done > 1) {
        uint32_t left = s[0].length - s[0].done - 1;
        fv_model_part part = part_of(&s[0], left < BATCH ? left : BATCH);
        assert_int_equal(fv_model_step(world.model, &part, 1, NULL), FV_OK);
        s[0].done += part.count;
    }
    fv_model_part parts[2] = {part_of(&s[1], 2), part_of(&s[0], 1)};
    parts[1].tokens = s[1].text, parts[1].count = 2;
    uint32_t rows = fv_model_batch_rows(world.model);
    assert_int_equal(fv_model_step(world.model, parts, 2, NULL), FV_ERROR_FULL);
    assert_int_equal(fv_cache_tokens(s[1].caches[0]), s[1].done);
    assert_int_equal(fv_model_batch_rows(world.model), rows);
    parts[1].count = 1;
    assert_int_equal(fv_model_step(world.model, parts, 2, NULL), FV_OK);
    three_close();
}

/* A key that f16 cannot hold, in one part only: in the second layer, when all have written to the first. */
static void check_stop_midway(uint32_t workers, uint32_t count) {
    shuffle_pool shuffle = {test_random_make(9), workers};
    fv_parallel parallel = shuffle_parallel(&shuffle);
    three_open(workers);
    sequence *s = world.sequences;
    static float twisted[KV_HEADS * HEAD_DIM * WIDTH];
    fv_weight *key = &world.layers[1].key, held = *key;
    for (size_t i = 0; i < sizeof twisted / sizeof *twisted; i++) twisted[i] = 1e7f * ((const float *)key->data)[i];
    fv_model_part parts[3];
    sequence *of[3];
    for (uint32_t i = 0; i < 3; i++) of[i] = &s[i], parts[i] = part_of(of[i], count);
    key->data = twisted; /* the first sequence is of f32, which holds them */
    assert_int_equal(fv_model_step(world.model, parts, 3, &parallel), FV_ERROR_RANGE);
    key->data = held.data;
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            assert_int_equal(fv_cache_tokens(s[i].caches[layer]), s[i].done);
    assert_int_equal(fv_model_batch_rows(world.model), 0);
    assert_int_equal(fv_model_step(world.model, parts, 3, &parallel), FV_OK);
    assert_int_equal(fv_model_batch_rows(world.model), 3 * count);
    float logits[VOCABULARY]; /* those of the one whose landmark was rebuilt may differ a little */
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(fv_model_logits(world.model, i * count, 1, NULL, logits), FV_OK);
        assert_memory_equal(logits, s[i].want[s[i].done], sizeof logits);
    }
    three_close();
}

static void test_a_step_that_stops_midway_takes_all_back(void **state) {
    (void)state;
    check_stop_midway(1, 1);
    check_stop_midway(1, 5);
    check_stop_midway(3, 1);
    check_stop_midway(3, 5);
}

/* ---- parts that fail alone ---- */

enum { COMPANY = 6 };

/* The first sequences, each with `count` tokens less than `vocabulary`. */
static void company_make(fv_model_part *parts, uint32_t count, int32_t tokens[COMPANY][8]) {
    for (uint32_t i = 0; i < COMPANY; i++) {
        for (uint32_t t = 0; t < count; t++) tokens[i][t] = (int32_t)((i * 5 + t * 3) % (VOCABULARY - 1));
        parts[i] = part_of(&world.sequences[i], count);
        parts[i].tokens = tokens[i];
    }
}

static void company_rewind(void) {
    for (uint32_t i = 0; i < COMPANY; i++)
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            assert_int_equal(fv_cache_truncate(world.sequences[i].caches[layer], 0), FV_OK);
}

/* Parts of `failing` (bits) fail with `status` at `place` of `layer`; the others are as they are without them. */
static void check_company(const fv_model_part *parts, uint32_t failing, fv_status status, fv_model_fault fault,
                          const fv_parallel *parallel) {
    static float got[COMPANY][VOCABULARY], want[VOCABULARY];
    fv_part_outcome outcomes[COMPANY];
    uint32_t count = parts[0].count;
    assert_int_equal(fv_model_step_each(world.model, parts, COMPANY, parallel, outcomes), FV_OK);
    assert_int_equal(fv_model_batch_rows(world.model), COMPANY * count);
    for (uint32_t i = 0; i < COMPANY; i++) {
        bool fails = failing >> i & 1;
        uint32_t row = (i + 1) * count - 1;
        assert_int_equal(outcomes[i].status, fails ? status : FV_OK);
        assert_int_equal(outcomes[i].fault.place, fails ? fault.place : FV_PLACE_NONE);
        assert_int_equal(outcomes[i].fault.layer, fails ? fault.layer : 0);
        assert_true(outcomes[i].fault.row < count);
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            assert_int_equal(fv_cache_tokens(parts[i].caches[layer]), fails ? 0 : count);
        fv_status rows = fails ? FV_ERROR_ARGUMENT : FV_OK;
        assert_int_equal(fv_model_logits(world.model, row, 1, parallel, got[i]), rows);
        assert_int_equal(fv_model_logits_of(world.model, &row, 1, parallel, got[i]), rows);
    }
    company_rewind();
    for (uint32_t i = 0; i < COMPANY; i++) {
        if (failing >> i & 1) continue;
        assert_int_equal(fv_model_step(world.model, &parts[i], 1, parallel), FV_OK);
        assert_int_equal(fv_model_logits(world.model, count - 1, 1, parallel, want), FV_OK);
        assert_memory_equal(got[i], want, sizeof want);
    }
    company_rewind();
}

/* Keys that f16 cannot hold: sequences 0 and 5 are of f32. */
static void check_keys_beyond_range(const fv_model_part *parts, const fv_parallel *parallel) {
    static float twisted[KV_HEADS * HEAD_DIM * WIDTH];
    fv_weight *key = &world.layers[1].key, held = *key;
    fv_part_outcome outcomes[COMPANY];
    for (size_t i = 0; i < sizeof twisted / sizeof *twisted; i++) twisted[i] = 1e7f * ((const float *)key->data)[i];
    key->data = twisted;
    check_company(parts, 0x1E, FV_ERROR_RANGE, (fv_model_fault){.place = FV_PLACE_KEY, .layer = 1}, parallel);
    assert_int_equal(fv_model_step_each(world.model, parts + 1, 4, parallel, outcomes), FV_ERROR_RANGE);
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(outcomes[i].status, FV_ERROR_RANGE);
    assert_int_equal(fv_model_batch_rows(world.model), 0);
    key->data = held.data;
    check_company(parts, 0, FV_OK, (fv_model_fault){0}, parallel);
}

/* A row of the embedding that is no number, and who reads it; a part that is late. */
static void check_damaged_row_and_late_part(fv_model_part *parts, int32_t tokens[COMPANY][8], float *row,
                                            const fv_parallel *parallel) {
    float held = row[3];
    uint64_t looks = 0;
    fv_deadline late = {look_count, &looks, 0, FV_DEADLINE_FAIL}, far = {look_count, &looks, UINT64_MAX, 0};
    row[3] = NAN;
    tokens[1][0] = tokens[4][parts[4].count - 1] = VOCABULARY - 1;
    check_company(parts, 0x12, FV_ERROR_NOT_FINITE, (fv_model_fault){.place = FV_PLACE_INPUT}, parallel);
    row[3] = held;
    parts[0].deadline = parts[3].deadline = &late;
    parts[2].deadline = &far;
    check_company(parts, 0x09, FV_ERROR_DEADLINE, (fv_model_fault){0}, parallel);
    parts[0].deadline = parts[2].deadline = parts[3].deadline = NULL;
}

static void test_a_part_fails_alone(void **state) {
    (void)state;
    static float embedding[VOCABULARY * WIDTH]; /* apart from the vocabulary's, which all rows are multiplied with */
    fv_model_config config = step_config(true);
    world_open(tables.table[0]);
    memcpy(embedding, world.weights.embedding.data, sizeof embedding);
    world.weights.embedding.data = embedding;
    for (uint32_t workers = 1; workers <= 3; workers += 2) {
        shuffle_pool shuffle = {test_random_make(9), workers};
        fv_parallel parallel = shuffle_parallel(&shuffle);
        world.memory = model_new(&world.model, &config, tables.table[0], workers);
        for (uint32_t count = 1; count <= 5; count += 4) {
            fv_model_part parts[COMPANY];
            int32_t tokens[COMPANY][8];
            company_make(parts, count, tokens);
            check_keys_beyond_range(parts, &parallel);
            check_damaged_row_and_late_part(parts, tokens, embedding + (VOCABULARY - 1) * WIDTH, &parallel);
        }
        free(world.memory);
    }
    world_close();
}

static void test_who_is_why_a_step_is_refused(void **state) {
    (void)state;
    three_open(1);
    sequence *s = world.sequences;
    const int32_t outside[1] = {VOCABULARY};
    fv_part_outcome outcomes[3];
    fv_model_part parts[3] = {part_of(&s[0], 2), part_like(s[1].caches, outside, 1, &s[1].policy, NULL),
                              part_of(&s[2], 3)};
    assert_int_equal(fv_model_step_each(world.model, parts, 3, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_model_step_each(world.model, parts, 3, NULL, outcomes), FV_ERROR_ARGUMENT);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(outcomes[i].status, i == 1 ? FV_ERROR_ARGUMENT : FV_OK);
    parts[1] = part_of(&s[1], BATCH - 2);
    assert_int_equal(fv_model_step_each(world.model, parts, 3, NULL, outcomes), FV_ERROR_ARGUMENT);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(outcomes[i].status, FV_OK); /* all together are too many */
    check_untouched(parts, 3, FV_ERROR_ARGUMENT);
    three_close();
}

static void test_a_model_that_borrows_has_no_caches(void **state) {
    (void)state;
    three_open(1);
    fv_model_config own = step_config(false), borrows = step_config(true), wrong = borrows;
    fv_model_bytes with, without;
    assert_int_equal(fv_model_size(&own, 1, &with), FV_OK);
    assert_int_equal(fv_model_size(&borrows, 1, &without), FV_OK);
    assert_int_equal(without.cache, 0);
    assert_int_equal(without.landmarks, 0);
    assert_int_equal(without.scratch, without.total);
    assert_true(with.cache > 0 &&
                without.total < with.total - with.cache + 1024 + (BATCH + 1) * sizeof(fv_attention_rows));
    wrong.parts = BATCH + 1;
    assert_int_equal(fv_model_size(&wrong, 1, &with), FV_ERROR_ARGUMENT);
    assert_null(fv_model_cache(world.model, 0));
    assert_int_equal(fv_model_tokens(world.model), 0);
    assert_int_equal(fv_model_truncate(world.model, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_model_copy(world.model, world.model), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_model_forward(world.model, world.sequences[0].text, 1, &world.sequences[0].policy, NULL, NULL),
                     FV_ERROR_ARGUMENT);
    uint32_t row = 15;
    float logits[VOCABULARY];
    assert_int_equal(fv_model_logits_of(world.model, &row, 1, NULL, logits), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_model_logits_of(world.model, &row, 0, NULL, logits), FV_ERROR_ARGUMENT);
    three_close();
}

static uint64_t tick(void *context) { return *(uint64_t *)context += 10; }

/* All of a step's time is in the reports of its parts. */
static void test_time_is_split(void **state) {
    (void)state;
    three_open(1);
    uint64_t now = 0, sum = 0;
    fv_model_time(world.model, tick, &now);
    fv_model_part parts[2] = {part_of(&world.sequences[0], 6), part_of(&world.sequences[1], 2)};
    assert_int_equal(fv_model_step(world.model, parts, 2, NULL), FV_OK);
    for (uint32_t i = 0; i < 2; i++) {
        const fv_report *report = parts[i].report;
        assert_true(report->read_ns > 0 && report->product_ns > 0 && report->other_ns > 0);
        sum += report->choose_ns + report->read_ns + report->product_ns + report->other_ns;
    }
    assert_in_range(now - sum, 10, 14); /* the first look, and what does not divide */
    assert_true(parts[0].report->product_ns >= 3 * parts[1].report->product_ns);
    three_close();
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_company_shows_in_no_bit),
        cmocka_unit_test(test_a_refused_step_changes_nothing),
        cmocka_unit_test(test_a_full_cache_refuses_the_step),
        cmocka_unit_test(test_a_step_that_stops_midway_takes_all_back),
        cmocka_unit_test(test_a_part_fails_alone),
        cmocka_unit_test(test_who_is_why_a_step_is_refused),
        cmocka_unit_test(test_a_model_that_borrows_has_no_caches),
        cmocka_unit_test(test_time_is_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
