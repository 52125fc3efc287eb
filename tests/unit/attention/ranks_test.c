/* ranks_test.c - a context that two or three ranks hold: attention, reports and segments have the bits of one cache,
 * however tokens come and go; what cannot be divided is refused, and a failing exchange ends the call. */
#include "attention/ranks.h"
#include "support/choose_world.h"
#include "support/rank_group.h"
#include "support/tables.h"

static test_tables tables;

enum {
    TOKENS = 4200,
    SEGMENTS = 5,
    HEADS = 2,
    DIM = 32,
    GROUP = 3,
    POLICIES = 5,
    MOST_EVENTS = 16,
    RUNS = 2 * POLICIES * MOST_EVENTS,
    MOST_ROWS = 20
};

/* What happens to the context; `truncates`: it is cut to so many tokens, else they are appended. */
typedef struct event {
    uint32_t tokens;
    bool truncates;
} event;

typedef struct event_list {
    event events[MOST_EVENTS];
    uint32_t count;
} event_list;

/* One who holds the context, or its part. */
typedef struct holder {
    const attention_world *w;
    const event_list *script;
    const fv_exchange *exchange; /* NULL: it has all */
    const fv_parallel *parallel;
    fv_cache *cache;
    fv_attention *attention;
    void *memory[3], *segments[SEGMENTS];
    float *link, *out[RUNS], *lse[RUNS];
    fv_report report[RUNS];
    uint32_t runs;
    size_t segment_bytes;
    fv_status status;
} holder;

static void policies_make(fv_policy *policies, uint32_t *windows) {
    fv_policy_default(FV_SELECTOR_DENSE, &policies[0]);
    policies[1] = choose_policy(FV_SELECTOR_FOVEA, 0.2f, 64);
    fv_policy_default(FV_SELECTOR_WINDOW, &policies[2]);
    policies[2].window = 700;
    fv_policy_default(FV_SELECTOR_FOVEA, &policies[3]);
    fv_policy_set_top_p(&policies[3], 0.7f);
    fv_policy_default(FV_SELECTOR_DENSE, &policies[4]);
    for (uint32_t i = 0; i < POLICIES; i++) windows[i] = i == 4 ? 1300 : 0;
}

static holder holder_make(const attention_world *w, const event_list *script, const fv_exchange *exchange,
                          const fv_parallel *parallel) {
    holder made = {.w = w, .script = script, .exchange = exchange, .parallel = parallel};
    size_t bytes = 0;
    check_status(fv_cache_segments_size(&w->shape, &bytes, &made.segment_bytes));
    made.memory[0] = world_memory(bytes);
    check_status(fv_cache_segments_init(&made.cache, &w->shape, w->kernels, made.memory[0], bytes));
    made.memory[1] = choose_attention_open(w, parallel ? parallel->workers : 1, 0, &made.attention);
    made.link = world_memory(HEADS * DIM * sizeof(float));
    if (exchange) {
        check_status(fv_cache_divide(made.cache, exchange->rank, exchange->ranks));
        check_status(fv_attention_exchange_size(made.attention, exchange->ranks, &bytes));
        made.memory[2] = world_memory(bytes);
        check_status(fv_attention_set_exchange(made.attention, exchange, made.memory[2], bytes));
    }
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        if (exchange && fv_exchange_owner(i, exchange->ranks) != exchange->rank) continue;
        made.segments[i] = world_memory(made.segment_bytes);
        check_status(fv_cache_segment_set(made.cache, i, made.segments[i]));
    }
    return made;
}

static void holder_close(holder *h) {
    for (uint32_t i = 0; i < SEGMENTS; i++) free(h->segments[i]);
    for (uint32_t i = 0; i < h->runs; i++) free(h->out[i]), free(h->lse[i]);
    for (uint32_t i = 0; i < 3; i++) free(h->memory[i]);
    free(h->link);
}

/* The last `rows` rows. */
static fv_status holder_attend(holder *h, const fv_policy *policy, uint32_t window, uint32_t rows) {
    size_t width = choose_world_width(h->w), heads = h->w->attend.query_heads;
    uint32_t first = fv_cache_tokens(h->cache) - rows, i = h->runs++;
    h->out[i] = world_memory(MOST_ROWS * width * sizeof(float));
    h->lse[i] = world_memory(MOST_ROWS * heads * sizeof(float));
    h->report[i] = (fv_report){.struct_bytes = sizeof(fv_report)};
    fv_attention_rows call = {.first_token = first,
                              .count = rows,
                              .local_window = window,
                              .query = h->w->queries + first * h->w->query_stride,
                              .query_stride = h->w->query_stride,
                              .out = h->out[i],
                              .out_stride = width,
                              .lse = h->lse[i],
                              .lse_stride = heads};
    return fv_attention_run(h->attention, h->cache, policy, &call, h->parallel, &h->report[i]);
}

static fv_status holder_event(holder *h, const event *at) {
    const attention_world *w = h->w;
    if (at->truncates) return fv_cache_truncate(h->cache, at->tokens);
    fv_policy policies[POLICIES];
    uint32_t windows[POLICIES], rows = at->tokens < MOST_ROWS ? at->tokens : MOST_ROWS;
    size_t first = fv_cache_tokens(h->cache) * w->kv_stride;
    policies_make(policies, windows);
    fv_status status =
        fv_cache_append(h->cache, at->tokens, w->keys + first, w->kv_stride, w->values + first, w->kv_stride);
    if (status == FV_OK && h->exchange) status = fv_cache_link(h->cache, h->exchange, h->link);
    for (uint32_t p = 0; p < POLICIES && status == FV_OK; p++) {
        status = holder_attend(h, &policies[p], windows[p], rows);
        if (status == FV_OK && rows > 1) status = holder_attend(h, &policies[p], windows[p], 1);
    }
    return status;
}

static void *holder_main(void *context) {
    holder *h = context;
    for (uint32_t i = 0; i < h->script->count && h->status == FV_OK; i++)
        h->status = holder_event(h, &h->script->events[i]);
    return NULL;
}

/* Up to 4,200 tokens, with cuts near the borders of segments. */
static void script_make(event_list *made, test_random *random) {
    uint32_t tokens = 0;
    made->count = 0;
    while (made->count < MOST_EVENTS - 1 && tokens < TOKENS) {
        uint32_t more = test_random_in(random, 0, 2) ? test_random_in(random, 200, 900) : test_random_in(random, 1, 20);
        if (more > TOKENS - tokens) more = TOKENS - tokens;
        made->events[made->count++] = (event){.tokens = more};
        tokens += more;
        if (test_random_in(random, 0, 3) || tokens < 1100) continue;
        tokens = tokens / 1024 * 1024 - test_random_in(random, 0, 60) + test_random_in(random, 0, 40);
        made->events[made->count++] = (event){.tokens = tokens, .truncates = true};
    }
}

/* cut: tiles pass in parts, of which each reads the coarse keys. */
static void check_same(const holder *one, const holder *h, bool cut) {
    size_t width = choose_world_width(one->w), heads = one->w->attend.query_heads;
    uint64_t chosen = 0;
    check_status(h->status);
    assert_int_equal(one->runs, h->runs);
    for (uint32_t i = 0; i < one->runs; i++) {
        assert_memory_equal(one->out[i], h->out[i], MOST_ROWS * width * sizeof(float));
        assert_memory_equal(one->lse[i], h->lse[i], MOST_ROWS * heads * sizeof(float));
        fv_report report = h->report[i];
        if (cut) report.bytes_read = one->report[i].bytes_read;
        assert_memory_equal(&one->report[i], &report, sizeof report);
        chosen += h->report[i].selected_keys;
    }
    assert_true(chosen > 0);
    for (uint32_t i = 0; i < SEGMENTS; i++)
        if (h->segments[i]) assert_memory_equal(one->segments[i], h->segments[i], one->segment_bytes);
}

/* A world, what happens in it, and the one who holds all. */
typedef struct rank_world {
    attention_world w;
    event_list script;
    holder one;
} rank_world;

static void rank_world_make(rank_world *made, uint32_t type, const fv_kernels *kernels, uint32_t seed) {
    test_random random = test_random_make(seed);
    made->w = world_make(kernels, choose_shape(HEADS, DIM, TOKENS, type), GROUP, 0.0f, &random);
    script_make(&made->script, &random);
    made->one = holder_make(&made->w, &made->script, NULL, NULL);
    holder_main(&made->one);
    check_status(made->one.status);
}

static void rank_world_close(rank_world *made) {
    holder_close(&made->one);
    world_free(&made->w);
}

/* most_bytes: of an exchange; 0: as usual. */
static void check_ranks(const rank_world *made, uint32_t count, size_t most_bytes) {
    shuffle_pool pool = {.random = test_random_make(7), .workers = 3};
    const fv_parallel parallel = shuffle_parallel(&pool);
    holder ranks[RANK_GROUP_MOST];
    rank_group group;
    rank_group_make(&group, count);
    for (uint32_t r = 0; r < count; r++) {
        ranks[r] = holder_make(&made->w, &made->script, &group.exchange[r], r ? NULL : &parallel);
        fv_ranks *own = ranks[r].attention->ranks;
        if (most_bytes) own->unit_rows = 3, own->all_bytes = most_bytes;
    }
    assert_true(rank_group_run(&group, holder_main, ranks, sizeof *ranks));
    assert_false(group.differs);
    assert_true(group.moved_bytes > 0 || count == 1);
    uint64_t links = group.moved_bytes - fv_attention_exchanged_bytes(ranks[0].attention);
    assert_true(links < 16 * HEADS * DIM * sizeof(float));
    for (uint32_t r = 0; r < count; r++) {
        check_same(&made->one, &ranks[r], most_bytes > 0);
        holder_close(&ranks[r]);
    }
    rank_group_close(&group);
}

static void test_same_bits(void **state) {
    const uint32_t types[] = {FV_ELEMENT_F16, FV_ELEMENT_Q4_0, FV_ELEMENT_Q8_0, FV_ELEMENT_F32};
    (void)state;
    for (uint32_t n = 0; n < 4; n++) {
        rank_world made;
        rank_world_make(&made, types[n], tables.table[n % 2 ? 0 : tables.count - 1], 500 + n);
        check_ranks(&made, 1 + n, 0);
        rank_world_close(&made);
    }
}

/* Where little goes over at a time, a call takes more exchanges. */
static void test_rounds(void **state) {
    (void)state;
    rank_world made;
    rank_world_make(&made, FV_ELEMENT_F16, tables.table[tables.count - 1], 510);
    size_t state_bytes = FV_TILE_ROWS * (size_t)HEADS * GROUP * (DIM + 17) * sizeof(float);
    check_ranks(&made, 2, state_bytes);
    check_ranks(&made, 3, 2 * state_bytes);
    rank_world_close(&made);
}

/* Whichever exchange of a call fails, its ranks return what it says; the next call is as ever. */
static void test_a_failing_exchange(void **state) {
    (void)state;
    rank_world made;
    rank_world_make(&made, FV_ELEMENT_F16, tables.table[tables.count - 1], 520);
    for (uint32_t fail_at = 1; fail_at < 40; fail_at += 3) {
        holder ranks[2];
        rank_group group;
        rank_group_make(&group, 2);
        group.fail_at = fail_at;
        for (uint32_t r = 0; r < 2; r++) ranks[r] = holder_make(&made.w, &made.script, &group.exchange[r], NULL);
        assert_true(rank_group_run(&group, holder_main, ranks, sizeof *ranks));
        assert_int_equal(group.calls, fail_at);
        for (uint32_t r = 0; r < 2; r++) {
            assert_int_equal(ranks[r].status, FV_ERROR_FILE);
            holder_close(&ranks[r]);
        }
        rank_group_close(&group);
    }
    rank_world_close(&made);
}

static void test_what_is_refused(void **state) {
    (void)state;
    test_random random = test_random_make(530);
    attention_world w =
        world_make(tables.table[0], choose_shape(HEADS, DIM, TOKENS, FV_ELEMENT_F16), GROUP, 0.0f, &random);
    event_list none = {.count = 0};
    fv_exchange exchange = {.all_gather = rank_group_gather, .rank = 1, .ranks = 2};
    holder h = holder_make(&w, &none, &exchange, NULL);
    fv_cache *other = w.cache;
    assert_int_equal(fv_cache_segment_set(h.cache, 2, h.segments[1]), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_divide(h.cache, 0, 2), FV_ERROR_ARGUMENT); /* segments are set */
    assert_int_equal(fv_cache_divide(other, 0, 2), FV_ERROR_ARGUMENT);   /* it has none */
    check_status(fv_cache_append(h.cache, 100, w.keys, w.kv_stride, w.values, w.kv_stride));
    assert_int_equal(fv_cache_remove(h.cache, 50), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_copy(other, h.cache), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_read(h.cache, 0, 50, 1, w.values, NULL), FV_ERROR_ARGUMENT);
    fv_policy policy = choose_policy(FV_SELECTOR_CASCADE, 0.2f, 64);
    assert_int_equal(holder_attend(&h, &policy, 0, 1), FV_ERROR_UNSUPPORTED);
    policy = choose_policy(FV_SELECTOR_FOVEA, 0.2f, 64);
    policy.certificate = 1;
    assert_int_equal(holder_attend(&h, &policy, 0, 1), FV_ERROR_UNSUPPORTED);
    fv_policy_default(FV_SELECTOR_PATTERN, &policy);
    assert_int_equal(holder_attend(&h, &policy, 0, 1), FV_ERROR_UNSUPPORTED);
    exchange.rank = 0; /* not the cache's */
    fv_policy_default(FV_SELECTOR_DENSE, &policy);
    assert_int_equal(holder_attend(&h, &policy, 0, 1), FV_ERROR_ARGUMENT);
    check_status(fv_attention_set_exchange(h.attention, NULL, NULL, 0));
    assert_int_equal(holder_attend(&h, &policy, 0, 1), FV_ERROR_ARGUMENT);
    holder_close(&h);
    world_free(&w);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits), cmocka_unit_test(test_rounds),
                                       cmocka_unit_test(test_a_failing_exchange),
                                       cmocka_unit_test(test_what_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
