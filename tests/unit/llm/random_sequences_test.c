/* random_sequences_test.c - whatever is done to sequences that share segments, in any order and from any thread, they
 * hold what plain arrays hold, answer with the bits of models whose caches are blocks of their own, and take the memory
 * that counting by hand says.
 *
 * FV_OPERATIONS in the environment says how many operations each test does; FV_SEED where they begin. A fault ends the
 * program at once and says in which operation: cmocka's own assertions are for one thread.
 */
#include "fovea/reference/evict.h"
#include "fovea/session_file.h"
#include "fovea/step.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "llm/session_segments.h"
#include "llm/session_shape.h"
#include "support/random.h"
#include "support/slow_sequence.h"
#include "support/test_policy.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define WINDOWS FV_SOURCE_DIR "/tests/model/gemma3_f32.gguf" /* six of its seven layers have a window of 16 tokens */
#define PLAIN FV_SOURCE_DIR "/tests/model/llama_f32.gguf"

enum { SLOTS = 32, FILES = 3, KINDS = 5, BATCH = 64, STEP = 2 * BATCH, VOCABULARY = 304, SHARED = 6, THREADS = 4 };

static _Thread_local struct {
    const char *name;
    uint32_t number, thread;
} doing; /* for messages */

#define CHECK(condition) \
    do { \
        if (!(condition)) fault(#condition, __LINE__); \
    } while (0)

static void fault(const char *condition, int line) {
    fprintf(stderr, "%s:%d: thread %u, operation %u (%s): not so: %s\n", __FILE__, line, doing.thread, doing.number,
            doing.name, condition);
    abort();
}

/* A sequence, its arrays, and a model whose caches are blocks of its own. */
typedef struct slot {
    fv_sequence *sequence; /* NULL: it is empty */
    slow_sequence *slow;
    fv_model *twin;
    void *twin_memory;
    uint32_t kind;
} slot;

/* What a file holds. */
typedef struct saved {
    slot held; /* its sequence is never fed: it has the shape */
    char path[64];
} saved;

/* Sequences that threads hand to each other. */
typedef struct exchange {
    pthread_mutex_t lock;
    slot slots[SHARED];
} exchange;

typedef struct world {
    const fv_llm *llm;
    fv_segments *segments;
    fv_stepper *stepper;
    test_random random;
    slot slots[SLOTS];
    saved files[FILES];
    slow_pool pool;
    exchange *others; /* NULL: there are none, and memory can be counted */
    uint32_t operations, thread;
    uint32_t refused; /* operations that found no memory */
    /* Room, not on stacks nor of each thread: what a thread has takes from the stacks of all. */
    float keys[SLOW_TOKENS * SLOW_ROW], values[SLOW_TOKENS * SLOW_ROW], scores[SLOW_TOKENS];
    float got[SLOTS][VOCABULARY], want[VOCABULARY];
    double weights[SLOW_TOKENS];
} world;

static const fv_kernels *kernels; /* of all twins, which outlive the sequence that they stand beside */
static void *kernels_memory;

static uint32_t in(world *w, uint32_t low, uint32_t high) { return test_random_in(&w->random, low, high); }

/* --- sequences, arrays and twins --------------------------------------------------------------------------------- */

static fv_session_config config_of(uint32_t kind) {
    static const struct {
        fv_selector selector;
        uint32_t key_type, value_type, block, tail;
    } kinds[KINDS] = {{FV_SELECTOR_DENSE, FV_ELEMENT_F16, FV_ELEMENT_F16, 0, 0},
                      {FV_SELECTOR_FOVEA, FV_ELEMENT_F16, FV_ELEMENT_F16, 0, 1},
                      {FV_SELECTOR_FOVEA, FV_ELEMENT_Q8_0, FV_ELEMENT_Q4_0, 0, 0},
                      {FV_SELECTOR_PATTERN, FV_ELEMENT_F16, FV_ELEMENT_Q8_0, 64, 0},
                      {FV_SELECTOR_PATTERN, FV_ELEMENT_F32, FV_ELEMENT_BF16, 48, 0}};
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = SLOW_TOKENS;
    config.batch_tokens = BATCH;
    config.policy = test_policy(kinds[kind].selector);
    config.key_type = kinds[kind].key_type;
    config.value_type = kinds[kind].value_type;
    if (kinds[kind].block) config.policy.block = kinds[kind].block;
    if (kinds[kind].selector == FV_SELECTOR_FOVEA) {
        config.policy.dense_below = 0;
        fv_policy_set_budget(&config.policy, 0.2f);
        config.policy.tail = kinds[kind].tail;
    }
    return config;
}

static slow_shape shape_of(const fv_sequence *sequence) {
    const fv_model_config *model = &sequence->shape;
    slow_shape shape = {.layers = model->layers,
                        .kv_heads = model->cache.kv_heads,
                        .query_heads = model->query_heads,
                        .ring = fv_session_ring(model, 1),
                        .reach = model->local_window ? model->local_window - 1 : 0,
                        .scale = model->attention_scale};
    CHECK(shape.layers <= SLOW_LAYERS && shape.kv_heads * model->cache.head_dim == SLOW_ROW);
    for (uint32_t layer = 0; layer < shape.layers; layer++) {
        uint32_t block = fv_cache_shape(sequence->caches[layer])->landmark_tokens;
        shape.window[layer] = fv_model_is_local(model, layer) ? model->local_window : 0;
        shape.block[layer] = block ? block : 1;
        shape.segment_bytes[layer] = sequence->segment_bytes[layer];
    }
    return shape;
}

/* All but the sequence. */
static void slot_equip(world *w, slot *s, uint32_t kind) {
    fv_session_config config = config_of(kind);
    fv_model_config shape = fv_session_shape(w->llm, &config, 0);
    fv_model_weights weights = fv_loaded_weights(&w->llm->loaded, SLOW_TOKENS);
    fv_model_bytes bytes;
    s->kind = kind;
    s->slow = calloc(1, sizeof *s->slow);
    CHECK(s->slow && fv_model_size(&shape, 1, &bytes) == FV_OK);
    s->slow->shape = shape_of(s->sequence);
    s->twin_memory = aligned_alloc(64, (bytes.total + 63) / 64 * 64);
    CHECK(s->twin_memory);
    CHECK(fv_model_init(&s->twin, &shape, &weights, kernels, 1, s->twin_memory, bytes.total) == FV_OK);
}

static void slot_open(world *w, slot *s, uint32_t kind) {
    fv_session_config config = config_of(kind);
    CHECK(fv_sequence_open(&s->sequence, w->llm, w->segments, &config, NULL) == FV_OK);
    slot_equip(w, s, kind);
}

static void slot_close(slot *s) {
    fv_sequence_close(s->sequence);
    free(s->slow);
    free(s->twin_memory);
    *s = (slot){0};
}

/* The arrays and the twin of one are those of the other. */
static void slot_copy(slot *to, const slot *from) {
    memcpy(to->slow, from->slow, sizeof *to->slow);
    CHECK(fv_model_copy(to->twin, from->twin) == FV_OK);
}

static void slots_count(world *w) {
    for (uint32_t i = 0; i < SLOTS; i++) w->pool.all[i] = w->slots[i].slow;
}

/* The twin evaluates what the sequence has been fed, and the arrays get its keys and values. */
static void twin_feed(slot *s, const int32_t *tokens, uint32_t count) {
    slow_sequence *slow = s->slow;
    uint32_t first = slow->tokens, dim = SLOW_ROW / slow->shape.kv_heads;
    float keys[BATCH * SLOW_ROW], values[BATCH * SLOW_ROW];
    CHECK(fv_model_forward(s->twin, tokens, count, fv_sequence_policy(s->sequence), NULL, NULL) == FV_OK);
    for (uint32_t layer = 0; layer < slow->shape.layers; layer++)
        for (uint32_t head = 0; head < slow->shape.kv_heads; head++) {
            CHECK(fv_cache_read(fv_model_cache(s->twin, layer), head, first, count, keys, values) == FV_OK);
            for (uint32_t t = 0; t < count; t++) {
                memcpy(&slow->rows[first + t].key[layer][head * dim], keys + t * dim, dim * sizeof *keys);
                memcpy(&slow->rows[first + t].value[layer][head * dim], values + t * dim, dim * sizeof *values);
            }
        }
    memcpy(slow->ids + first, tokens, count * sizeof *tokens);
    slow->tokens += count;
}

/* --- what must be equal ------------------------------------------------------------------------------------------- */

static void check_rows(world *w, const slot *s, uint32_t layer) {
    const slow_sequence *slow = s->slow;
    uint32_t dim = SLOW_ROW / slow->shape.kv_heads;
    uint32_t first = slow->shape.window[layer] ? slow->local_first * SLOW_SEGMENT : 0;
    for (uint32_t head = 0; head < slow->shape.kv_heads; head++) {
        const fv_cache *cache = s->sequence->caches[layer];
        CHECK(fv_cache_read(cache, head, first, slow->tokens - first, w->keys, w->values) == FV_OK);
        for (uint32_t t = first; t < slow->tokens; t++) {
            size_t at = (size_t)(t - first) * dim;
            CHECK(memcmp(w->keys + at, &slow->rows[t].key[layer][head * dim], dim * sizeof(float)) == 0);
            CHECK(memcmp(w->values + at, &slow->rows[t].value[layer][head * dim], dim * sizeof(float)) == 0);
        }
    }
}

static void check_slot(world *w, const slot *s) {
    const slow_sequence *slow = s->slow;
    CHECK(fv_sequence_tokens(s->sequence) == slow->tokens && fv_model_tokens(s->twin) == slow->tokens);
    CHECK(fv_sequence_earliest(s->sequence) == slow_earliest(slow));
    if (slow->tokens) CHECK(memcmp(fv_sequence_ids(s->sequence), slow->ids, slow->tokens * sizeof *slow->ids) == 0);
    for (uint32_t layer = 0; layer < slow->shape.layers; layer++) check_rows(w, s, layer);
    if (w->others) return;
    CHECK(fv_sequence_bytes(s->sequence) == slow_bytes(&w->pool, slow, true));
    CHECK(fv_sequence_own_bytes(s->sequence) == slow_bytes(&w->pool, slow, false));
}

static void check_memory(const world *w) {
    if (!w->others) CHECK(fv_segments_bytes(w->segments) == slow_pool_bytes(&w->pool));
}

/* Dense attention over the segments: near to the arrays' in double. */
static void check_attention(world *w, const slot *s, uint32_t layer) {
    enum { WIDEST = 128 };
    const slow_sequence *slow = s->slow;
    uint32_t dim = SLOW_ROW / slow->shape.kv_heads, width = slow->shape.query_heads * dim;
    fv_policy dense = test_policy(FV_SELECTOR_DENSE);
    fv_attention_config config = {.attend = {.query_heads = slow->shape.query_heads,
                                             .kv_heads = slow->shape.kv_heads,
                                             .head_dim = dim,
                                             .scale = slow->shape.scale},
                                  .max_tokens = SLOW_TOKENS,
                                  .workers = 1,
                                  .plan_steps = 1000};
    float query[WIDEST], got[WIDEST];
    double want[WIDEST];
    size_t bytes = 0;
    fv_attention *attention = NULL;
    CHECK(width <= WIDEST && fv_attention_size(&config, &bytes) == FV_OK);
    void *memory = aligned_alloc(FV_CACHE_ALIGN, (bytes + 63) / 64 * 64);
    CHECK(memory && fv_attention_init(&attention, &config, kernels, memory, bytes) == FV_OK);
    test_fill_f32(&w->random, query, width, 3.0f);
    fv_attention_rows row = {.first_token = slow->tokens - 1,
                             .count = 1,
                             .local_window = slow->shape.window[layer],
                             .layer = layer,
                             .query = query,
                             .query_stride = width,
                             .out = got,
                             .out_stride = width};
    CHECK(fv_attention_run(attention, s->sequence->caches[layer], &dense, &row, NULL, NULL) == FV_OK);
    slow_attend(slow, layer, query, w->weights, want);
    for (uint32_t i = 0; i < width; i++) CHECK(fabs((double)got[i] - want[i]) <= 2e-5 * (1 + fabs(want[i])));
    free(memory);
}

/* --- operations --------------------------------------------------------------------------------------------------- */

static slot *slot_any(world *w) { return &w->slots[in(w, 0, SLOTS - 1)]; }

/* One that is open, or NULL. */
static slot *slot_open_one(world *w) {
    slot *s = slot_any(w);
    for (uint32_t i = 0; i < SLOTS && !s->sequence; i++) s = &w->slots[(size_t)(s + 1 - w->slots) % SLOTS];
    return s->sequence ? s : NULL;
}

static void tokens_make(world *w, int32_t *tokens, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) tokens[i] = (int32_t)in(w, 4, VOCABULARY - 1);
}

/* Memory of a step by hand: segments for each part, one after the other, then what windows leave. Returns whether there
 * is enough; else the parts before the first that finds too little keep what they copied. */
static bool step_count(world *w, slot *const *of, const fv_step_part *parts, uint32_t count) {
    uint64_t limit = fv_segments_limit_bytes(w->segments), used = slow_pool_bytes(&w->pool);
    uint32_t ready = 0;
    bool enough = true;
    while (ready < count && enough) {
        slow_sequence *slow = of[ready]->slow;
        uint64_t before[SLOW_LAYERS][SLOW_TABLE];
        uint32_t tokens = slow->tokens + parts[ready].count;
        memcpy(before, slow->segment, sizeof before);
        uint64_t spared = slow_trim(&w->pool, slow, tokens, false);
        uint64_t needed = slow_own(&w->pool, slow, slow->tokens, slow_segments(tokens));
        enough = !limit || !needed || used + needed <= limit + spared;
        if (!enough) memcpy(slow->segment, before, sizeof before);
        if (enough) used += needed, ready++;
    }
    for (uint32_t i = 0; i < ready; i++) {
        if (enough)
            slow_trim(&w->pool, of[i]->slow, of[i]->slow->tokens + parts[i].count, true);
        else
            slow_settle(of[i]->slow);
    }
    return enough;
}

/* A step of these parts; the last rows' logits are those of the twins. */
static void step_run(world *w, slot *const *of, const fv_step_part *parts, uint32_t count) {
    uint32_t rows[SLOTS], sum = 0;
    fv_status status = fv_stepper_run(w->stepper, parts, count);
    bool enough = step_count(w, of, parts, count); /* of others' segments it knows nothing, nor is there a limit */
    CHECK(status == (enough ? FV_OK : FV_ERROR_FULL));
    w->refused += status != FV_OK;
    if (status != FV_OK) return;
    for (uint32_t i = 0; i < count; i++) rows[i] = (sum += parts[i].count) - 1;
    CHECK(fv_stepper_rows(w->stepper) == sum);
    CHECK(fv_stepper_logits(w->stepper, rows, count, w->got[0]) == FV_OK);
    for (uint32_t i = 0; i < count; i++) {
        twin_feed(of[i], parts[i].tokens, parts[i].count);
        CHECK(fv_model_logits(of[i]->twin, parts[i].count - 1, 1, NULL, w->want) == FV_OK);
        CHECK(memcmp(w->got[i], w->want, sizeof w->want) == 0);
    }
}

/* A step of up to `most` sequences, of `longest` rows each at most. */
static void feed_company(world *w, uint32_t most, uint32_t longest) {
    fv_step_part parts[SLOTS];
    int32_t tokens[STEP];
    slot *of[SLOTS];
    uint32_t count = 0, used = 0, begin = in(w, 0, SLOTS - 1);
    for (uint32_t i = 0; i < SLOTS && count < most && used < STEP; i++) {
        slot *s = &w->slots[(begin + i) % SLOTS];
        if (!s->sequence || (most < SLOTS && in(w, 0, 1))) continue;
        uint32_t room = SLOW_TOKENS - s->slow->tokens, some = in(w, 0, 1) ? 1 : in(w, 1, longest);
        some = some < room ? some : room;
        some = some < STEP - used ? some : STEP - used;
        if (some == 0) continue;
        tokens_make(w, tokens + used, some);
        parts[count] = (fv_step_part){.sequence = s->sequence, .tokens = tokens + used, .count = some};
        of[count++] = s;
        used += some;
    }
    if (count) step_run(w, of, parts, count);
    for (uint32_t i = 0; i < count; i++) check_slot(w, of[i]);
}

static void do_step(world *w) { feed_company(w, in(w, 1, 6), BATCH); }
static void do_step_of_all(world *w) { feed_company(w, SLOTS, 4); }

static void do_feed(world *w) {
    slot *s = slot_open_one(w);
    if (!s) return;
    int32_t tokens[BATCH];
    uint32_t count = in(w, 1, 600), room = SLOW_TOKENS - s->slow->tokens;
    for (count = count < room ? count : room; count > 0;) {
        uint32_t some = count < BATCH ? count : BATCH, before = w->refused;
        tokens_make(w, tokens, some);
        fv_step_part part = {.sequence = s->sequence, .tokens = tokens, .count = some};
        step_run(w, &s, &part, 1);
        count = w->refused == before ? count - some : 0;
    }
    check_slot(w, s);
}

static void do_open(world *w) {
    slot *s = slot_any(w);
    if (s->sequence) return;
    slot_open(w, s, in(w, 0, KINDS - 1));
    slots_count(w);
}

static void do_free(world *w) {
    slot *s = slot_any(w);
    slot_close(s);
    slots_count(w);
}

static void fork_make(world *w, slot *to, const slot *from) {
    CHECK(fv_sequence_fork(&to->sequence, from->sequence, NULL) == FV_OK);
    slot_equip(w, to, from->kind);
    slot_copy(to, from);
    slots_count(w);
    check_slot(w, to);
}

static void do_fork(world *w) {
    slot *from = slot_open_one(w), *to = slot_any(w);
    if (!from || to->sequence) return;
    fork_make(w, to, from);
    check_slot(w, from);
}

static void do_truncate(world *w) {
    slot *s = slot_open_one(w);
    if (!s) return;
    uint32_t tokens = s->slow->tokens, to = in(w, 0, tokens);
    switch (in(w, 0, 3)) { /* back a little, to the beginning of a segment, or anywhere */
    case 0:
    case 1:
        to = tokens - in(w, 0, tokens < BATCH ? tokens : BATCH);
        break;
    case 2:
        to = tokens / SLOW_SEGMENT * SLOW_SEGMENT;
        break;
    default:
        break;
    }
    bool possible = to == 0 || to == tokens || to >= slow_earliest(s->slow);
    fv_status status = fv_sequence_truncate(s->sequence, to);
    if (possible && status == FV_ERROR_FULL && fv_segments_limit_bytes(w->segments)) {
        w->refused++;
    } else {
        CHECK(status == (possible ? FV_OK : FV_ERROR_RANGE));
        if (possible) slow_truncate(&w->pool, s->slow, to);
        if (possible) CHECK(fv_model_truncate(s->twin, to) == FV_OK);
    }
    check_slot(w, s);
}

/* What it will write to becomes the sequence's own; false: there is no memory for it. */
static bool make_own(fv_sequence *sequence, uint32_t token) {
    uint32_t end = slow_segments((uint32_t)fv_sequence_tokens(sequence));
    for (uint32_t layer = 0; layer < sequence->shape.layers; layer++)
        for (uint32_t i = fv_cache_segment_written(sequence->caches[layer], token); i < end; i++) {
            fv_segment *held = *fv_sequence_segment(sequence, layer, i), *made = NULL;
            size_t bytes = sequence->segment_bytes[layer];
            if (fv_segment_is_own(held)) continue;
            if (fv_segments_charge(sequence->pool, bytes, 0) != FV_OK) return false;
            CHECK(fv_segment_take(sequence->pool, bytes, 1, &made) == FV_OK);
            memcpy(made->memory, held->memory, bytes);
            fv_sequence_set(sequence, layer, i, made);
        }
    return true;
}

/* The token with the lowest score leaves every layer. */
static void do_evict(world *w) {
    slot *s = slot_open_one(w);
    if (!s || s->slow->tokens < 2) return;
    uint32_t tokens = s->slow->tokens, victim = 0;
    fv_evict_config config;
    fv_evict_config_default(&config);
    test_fill_f32(&w->random, w->scores, tokens, 1.0f);
    CHECK(fv_evict_victim(&config, tokens, w->scores, &victim) == FV_OK);
    /* where there is no limit, so that half of it is never done; and a window's layers have what they read */
    if (fv_segments_limit_bytes(w->segments) || victim < slow_earliest(s->slow)) return;
    CHECK(make_own(s->sequence, victim));
    for (uint32_t layer = 0; layer < s->slow->shape.layers; layer++) {
        fv_cache *twin = (fv_cache *)(uintptr_t)fv_model_cache(s->twin, layer);
        CHECK(fv_cache_remove(s->sequence->caches[layer], victim) == FV_OK);
        CHECK(fv_cache_remove(twin, victim) == FV_OK);
    }
    CHECK(fv_evict_compact(s->sequence->ids, sizeof(int32_t), tokens, victim) == FV_OK);
    fv_sequence_settle(s->sequence);
    slow_own(&w->pool, s->slow, victim, slow_segments(tokens));
    slow_remove(s->slow, victim);
    slow_settle(s->slow);
    check_slot(w, s);
}

static void do_save(world *w) {
    slot *s = slot_open_one(w);
    saved *file = &w->files[in(w, 0, FILES - 1)];
    if (!s) return;
    fv_status status = fv_sequence_save(s->sequence, file->path, FV_SESSION_END_PLAIN, NULL);
    CHECK(status == (s->slow->tokens ? FV_OK : FV_ERROR_ARGUMENT));
    if (status != FV_OK) return;
    slot_close(&file->held);
    slot_open(w, &file->held, s->kind);
    slot_copy(&file->held, s);
}

static void mapped_find(const fv_session_file *file, const slow_sequence *s, bool mapped[SLOW_LAYERS][SLOW_TABLE]) {
    for (uint32_t layer = 0; layer < s->shape.layers; layer++)
        for (uint32_t i = 0; i < slow_segments(s->tokens); i++) {
            const void *memory = NULL;
            CHECK(fv_session_file_segment(file, layer, i, &memory, NULL) == FV_OK);
            mapped[layer][i] = memory != NULL;
        }
}

static void do_wake(world *w) {
    const saved *file = &w->files[in(w, 0, FILES - 1)];
    slot *s = slot_any(w);
    if (!file->held.sequence || (s->sequence && s->kind != file->held.kind)) return;
    if (!s->sequence) slot_open(w, s, file->held.kind);
    slots_count(w);
    uint32_t all = file->held.slow->tokens, tokens = in(w, 0, 1) ? all : in(w, 1, all);
    fv_session_file *opened = NULL;
    CHECK(fv_session_file_open(&opened, file->path, NULL) == FV_OK);
    fv_status status = fv_sequence_wake(s->sequence, opened, tokens, NULL);
    if (status == FV_ERROR_FULL && fv_segments_limit_bytes(w->segments)) {
        w->refused++;
    } else if (tokens < slow_earliest(file->held.slow)) {
        CHECK(status == FV_ERROR_RANGE);
    } else {
        CHECK(status == FV_OK);
        CHECK(fv_model_copy(s->twin, file->held.twin) == FV_OK && fv_model_truncate(s->twin, tokens) == FV_OK);
        bool mapped[SLOW_LAYERS][SLOW_TABLE] = {{false}};
        mapped_find(opened, file->held.slow, mapped);
        slow_wake(&w->pool, s->slow, file->held.slow, tokens, mapped);
    }
    fv_session_file_close(opened);
    check_slot(w, s);
}

static void do_attend(world *w) {
    slot *s = slot_open_one(w);
    if (s && s->slow->tokens) check_attention(w, s, in(w, 0, s->slow->shape.layers - 1));
}

/* Hands a sequence over, takes one, or forks one that stays. */
static void do_exchange(world *w) {
    if (!w->others) return;
    slot *mine = slot_any(w), *other = &w->others->slots[in(w, 0, SHARED - 1)];
    pthread_mutex_lock(&w->others->lock);
    if (other->sequence && !mine->sequence && in(w, 0, 1)) {
        fork_make(w, mine, other);
    } else {
        slot held = *other;
        *other = *mine;
        *mine = held;
    }
    pthread_mutex_unlock(&w->others->lock);
    slots_count(w);
}

static const struct {
    void (*run)(world *w);
    const char *name;
    uint32_t weight;
} operations[] = {{do_open, "open", 3},         {do_free, "free", 3},        {do_fork, "fork", 6},
                  {do_truncate, "truncate", 5}, {do_evict, "evict", 5},      {do_save, "save", 3},
                  {do_wake, "wake", 5},         {do_feed, "feed", 8},        {do_step, "step", 8},
                  {do_attend, "attend", 2},     {do_exchange, "exchange", 3}};

enum { OPERATIONS = sizeof operations / sizeof operations[0] };

static void do_one(world *w) {
    uint32_t sum = 0, at = 0;
    for (uint32_t i = 0; i < OPERATIONS; i++) sum += operations[i].weight;
    uint32_t drawn = in(w, 0, sum - 1);
    while (drawn >= operations[at].weight) drawn -= operations[at++].weight;
    doing.name = operations[at].name;
    operations[at].run(w);
    check_memory(w);
}

static void check_all(world *w) {
    doing.name = "all of them";
    for (uint32_t i = 0; i < SLOTS; i++)
        if (w->slots[i].sequence) check_slot(w, &w->slots[i]);
    do_step_of_all(w);
    check_memory(w);
}

/* --- worlds ------------------------------------------------------------------------------------------------------- */

static uint32_t operations_wanted(uint32_t usual) {
    const char *text = getenv("FV_OPERATIONS");
    return text ? (uint32_t)strtoul(text, NULL, 10) : usual;
}

static world *world_open(const fv_llm *llm, fv_segments *segments, fv_pool *threads, exchange *others,
                         uint32_t thread) {
    world *w = calloc(1, sizeof *w);
    CHECK(w);
    w->llm = llm, w->segments = segments, w->others = others, w->thread = thread;
    w->random = test_random_make(900 + thread);
    fv_session_config config = config_of(1);
    config.batch_tokens = STEP;
    CHECK(fv_stepper_open(&w->stepper, llm, &config, threads, NULL) == FV_OK);
    for (int i = 0; i < FILES; i++)
        snprintf(w->files[i].path, sizeof w->files[i].path, "random_sequences_%u_%d.fovea", thread, i);
    return w;
}

static void world_run(world *w) {
    uint32_t interval = w->operations / 20 + 1;
    doing.thread = w->thread;
    for (doing.number = 0; doing.number < w->operations; doing.number++) {
        do_one(w);
        if (doing.number % interval == interval - 1) check_all(w);
    }
}

static void world_close(world *w) {
    for (int i = 0; i < SLOTS; i++) slot_close(&w->slots[i]);
    for (int i = 0; i < FILES; i++) {
        slot_close(&w->files[i].held);
        remove(w->files[i].path);
    }
    fv_stepper_close(w->stepper);
    free(w);
}

/* One thread that runs operations, whose steps have three; `columns`: of the pool's limit, or 0. */
static void run_alone(const char *path, uint32_t columns, uint32_t usual) {
    fv_llm *llm = NULL;
    fv_pool *threads = NULL;
    fv_segments *segments = NULL;
    fv_session_config config = config_of(0);
    fv_session_memory memory;
    assert_int_equal(fv_llm_open(&llm, path, NULL), FV_OK);
    assert_int_equal(fv_pool_open(&threads, 3, NULL), FV_OK);
    config.context_tokens = SLOW_SEGMENT;
    assert_int_equal(fv_session_memory_plan(llm, &config, 1, &memory, NULL), FV_OK);
    assert_int_equal(fv_segments_open(&segments, columns * memory.cache_bytes, NULL), FV_OK);
    world *w = world_open(llm, segments, threads, NULL, 0);
    w->operations = operations_wanted(usual);
    world_run(w);
    if (columns)
        assert_true(w->refused > 0);
    else
        assert_int_equal(w->refused, 0);
    world_close(w);
    assert_int_equal(fv_segments_bytes(segments), 0);
    fv_segments_close(segments);
    fv_pool_close(threads);
    fv_llm_close(llm);
}

static void sequences_are_arrays(void **state) {
    (void)state;
    run_alone(PLAIN, 0, 150);
}

static void sequences_with_windows_are_arrays(void **state) {
    (void)state;
    run_alone(WINDOWS, 0, 150);
}

static void a_limit_changes_nothing_else(void **state) {
    (void)state;
    run_alone(WINDOWS, 20, 150);
}

static void *thread_main(void *context) {
    world_run(context);
    return NULL;
}

static void threads_hand_sequences_to_each_other(void **state) {
    (void)state;
    fv_llm *llm = NULL;
    fv_pool *workers = NULL;
    fv_segments *segments = NULL;
    world *worlds[THREADS];
    pthread_t threads[THREADS];
    exchange others = {.slots = {{0}}};
    assert_int_equal(pthread_mutex_init(&others.lock, NULL), 0);
    assert_int_equal(fv_llm_open(&llm, WINDOWS, NULL), FV_OK);
    assert_int_equal(fv_pool_open(&workers, 2, NULL), FV_OK);
    assert_int_equal(fv_segments_open(&segments, 0, NULL), FV_OK);
    for (uint32_t i = 0; i < THREADS; i++) {
        worlds[i] = world_open(llm, segments, workers, &others, i + 1);
        worlds[i]->operations = operations_wanted(200) / THREADS;
        assert_int_equal(pthread_create(&threads[i], NULL, thread_main, worlds[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) world_close(worlds[i]);
    for (int i = 0; i < SHARED; i++) slot_close(&others.slots[i]);
    assert_int_equal(fv_segments_bytes(segments), 0);
    pthread_mutex_destroy(&others.lock);
    fv_segments_close(segments);
    fv_pool_close(workers);
    fv_llm_close(llm);
}

static int kernels_open(void **state) {
    (void)state;
    fv_session_config config = config_of(0);
    return fv_session_kernels(&config, &kernels, &kernels_memory, NULL) == FV_OK ? 0 : -1;
}

static int kernels_close(void **state) {
    (void)state;
    free(kernels_memory);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]); /* the name of one test */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_are_arrays),
        cmocka_unit_test(sequences_with_windows_are_arrays),
        cmocka_unit_test(a_limit_changes_nothing_else),
        cmocka_unit_test(threads_hand_sequences_to_each_other),
    };
    return cmocka_run_group_tests(tests, kernels_open, kernels_close);
}
