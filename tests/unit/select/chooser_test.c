/* chooser_test.c - who may read how much: the rules of fv_chooser_make() as tables and formulas, without a key. */
#include "select/choose.h"
#include "support/cache_state.h"
#include "support/tables.h"
#include "support/test_policy.h"

static test_tables tables;

static fv_cache *cache_of(uint32_t heads, uint32_t dim, uint32_t type) {
    fv_cache_config shape;
    fv_cache_config_default(&shape);
    shape.kv_heads = heads;
    shape.head_dim = dim;
    shape.max_tokens = 16; /* the rules do not ask how many there are */
    shape.key_type = shape.value_type = type;
    shape.shadow = shape.tail = 1;
    return test_cache_make(&shape, tables.table[0]);
}

static fv_chooser chooser_of(const fv_policy *policy, const fv_cache *cache, uint32_t layer, uint32_t kv_head,
                             uint32_t position) {
    fv_chooser made;
    fv_chooser_make(&made, policy, cache, tables.table[0], 0.125f, 1, layer, kv_head, position);
    return made;
}

/* What each field of a policy is worth, by hand. A row at 3,999 sees 4,000 tokens. */
static void test_allowances(void **state) {
    (void)state;
    static const struct {
        uint32_t window, sinks;
        float budget, top_p;
        uint32_t pages, floor, cap, position;
        uint32_t sinks_end, window_begin, begin, end, allowance;
    } rows[] = {
        /* 1,000 of 4,000 tokens, 16 + 128 of them always */
        {128, 16, 0.25f, 0, 0, 0, 1 << 30, 3999, 16, 3872, 1, 242, 53},
        /* six tokens of the row's own page, and ten, and eleven */
        {128, 16, 0.25f, 0, 0, 0, 1 << 30, 4005, 16, 3872, 1, 242, 53},
        {128, 16, 0.25f, 0, 0, 0, 1 << 30, 4009, 16, 3872, 1, 242, 53},
        {128, 16, 0.25f, 0, 0, 0, 1 << 30, 4010, 16, 3872, 1, 242, 52},
        /* sinks up to whole pages; the smallest window is the row's own page */
        {1, 17, 0.5f, 0, 0, 0, 1 << 30, 1600, 32, 1600, 2, 100, 47},
        {1, 16, 0.5f, 0, 0, 0, 1 << 30, 1599, 16, 1584, 1, 99, 48},
        {1, 0, 0.5f, 0, 0, 0, 1 << 30, 1599, 0, 1584, 0, 99, 49},
        /* window and sinks are more than the budget */
        {128, 16, 0.01f, 0, 0, 0, 1 << 30, 3999, 16, 3872, 1, 242, 0},
        {128, 16, 0.036f, 0, 0, 0, 1 << 30, 3999, 16, 3872, 1, 242, 0},
        {128, 16, 0.0401f, 0, 0, 0, 1 << 30, 3999, 16, 3872, 1, 242, 1},
        /* a floor counts them, too, and is none where the budget is more */
        {128, 16, 0.01f, 0, 0, 20, 1 << 30, 3999, 16, 3872, 1, 242, 11},
        {128, 16, 0.01f, 0, 0, 9, 1 << 30, 3999, 16, 3872, 1, 242, 0},
        {128, 16, 0.01f, 0, 0, 10, 1 << 30, 3999, 16, 3872, 1, 242, 1},
        {128, 16, 0.25f, 0, 0, 62, 1 << 30, 3999, 16, 3872, 1, 242, 53},
        {128, 16, 0.25f, 0, 0, 63, 1 << 30, 3999, 16, 3872, 1, 242, 54},
        /* the cap is for top-p alone */
        {128, 16, 0.25f, 0, 0, 5, 10, 3999, 16, 3872, 1, 242, 53},
        {128, 16, 0, 0.5f, 0, 0, 30, 3999, 16, 3872, 1, 242, 21},
        {128, 16, 0, 0.5f, 0, 9, 9, 3999, 16, 3872, 1, 242, 0},
        {128, 16, 0, 0.5f, 0, 0, 1 << 30, 3999, 16, 3872, 1, 242, (1 << 30) - 9},
        /* a number of pages */
        {128, 16, 0, 0, 12, 0, 1 << 30, 3999, 16, 3872, 1, 242, 3},
        {128, 16, 0, 0, 12, 0, 1 << 30, 4005, 16, 3872, 1, 242, 2},
        /* windows that leave one candidate, none, none */
        {3968, 16, 1.0f, 0, 0, 0, 1 << 30, 3999, 16, 32, 1, 2, 1},
        {3969, 16, 1.0f, 0, 0, 0, 1 << 30, 3999, 0, 0, 0, 0, 1},
        {4000, 16, 1.0f, 0, 0, 0, 1 << 30, 3999, 0, 0, 0, 0, 0},
        {UINT32_MAX / 4, 16, 1.0f, 0, 0, 0, 1 << 30, 3999, 0, 0, 0, 0, 0},
    };
    fv_cache *cache = cache_of(1, 64, FV_ELEMENT_F16);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fv_policy policy;
        fv_policy_default(FV_SELECTOR_FOVEA, &policy);
        policy.window = rows[i].window, policy.sinks = rows[i].sinks;
        policy.budget = rows[i].budget, policy.top_p = rows[i].top_p, policy.pages = rows[i].pages;
        policy.floor = rows[i].floor, policy.cap = rows[i].cap;
        policy.dense_below = 0;
        fv_chooser got = chooser_of(&policy, cache, 0, 0, rows[i].position);
        if (got.sinks_end != rows[i].sinks_end || got.window_begin != rows[i].window_begin ||
            got.begin != rows[i].begin || got.end != rows[i].end ||
            (got.begin < got.end && got.allowance != rows[i].allowance))
            fail_msg("row %zu: sinks to %u, window from %u, candidates %u..%u, %u of them", i, got.sinks_end,
                     got.window_begin, got.begin, got.end, got.allowance);
        assert_int_equal(fv_chooser_reads_all(&got), rows[i].begin == rows[i].end);
        assert_int_equal(got.scored, rows[i].position / 16);
    }
    free(cache);
}

/* A floor holds a share of what a row sees, and 64 pages at least; more than all of itself it never does. */
static void test_floor_share(void **state) {
    (void)state;
    const struct {
        uint32_t floor;
        float share, budget;
        uint32_t position, pages; /* that are read, sinks, window and the row's own among them */
    } rows[] = {
        {128, 0.25f, 0.12f, 4095, 64},   {128, 0.25f, 0.12f, 4607, 72},  {128, 0.25f, 0.12f, 6143, 96},
        {128, 0.25f, 0.12f, 8191, 128},  {128, 0.25f, 0.12f, 9999, 128}, {128, 0.25f, 0.12f, 17615, 132},
        {128, 0.0f, 0.12f, 6143, 128},   {128, 1.0f, 0.12f, 6143, 128},  {128, 0.001f, 0.12f, 6143, 64},
        {40, 0.001f, 0.0625f, 6143, 40}, {64, 0.25f, 0.125f, 2047, 64},
    };
    fv_cache *cache = cache_of(1, 64, FV_ELEMENT_F16);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fv_policy policy;
        fv_policy_default(FV_SELECTOR_FOVEA, &policy);
        fv_policy_set_budget(&policy, rows[i].budget);
        policy.floor = rows[i].floor, policy.floor_share = rows[i].share, policy.dense_below = 0;
        fv_chooser got = chooser_of(&policy, cache, 0, 0, rows[i].position);
        uint32_t always = got.sinks_end + (rows[i].position + 1 - got.window_begin);
        if (got.allowance + always / 16 != rows[i].pages)
            fail_msg("row %zu: %u pages besides %u tokens", i, got.allowance, always);
    }
    fv_policy policy;
    fv_policy_default(FV_SELECTOR_FOVEA, &policy);
    policy.floor_share = 0.5f;
    fv_policy_set_budget(&policy, 0.5f);
    assert_true(policy.floor_share == 0.0f);
    free(cache);
}

/* Each layer and head has a share of its own, of what is left beyond sinks and window. */
static void test_head_shares(void **state) {
    (void)state;
    static const uint16_t share[] = {1024, 512, 0, 3072, 100, 65535};
    static const uint32_t want[] = {53, 26, 0, 159, 5, 3391};
    fv_cache *cache = cache_of(3, 64, FV_ELEMENT_F16);
    fv_policy policy;
    fv_policy_default(FV_SELECTOR_FOVEA, &policy);
    fv_policy_set_budget(&policy, 0.25f);
    policy.dense_below = 0;
    policy.head_share = share;
    policy.head_share_count = 6;
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(chooser_of(&policy, cache, i / 3, i % 3, 3999).allowance, want[i]);
    assert_int_equal(chooser_of(&policy, cache, 2, 0, 3999).allowance, 53); /* past the table */
    policy.head_share_count = 4;
    assert_int_equal(chooser_of(&policy, cache, 1, 1, 3999).allowance, 53);
    free(cache);
}

/* A row chooses from exactly dense_below tokens in the pages before its own on. */
static void test_dense_below(void **state) {
    (void)state;
    fv_cache *cache = cache_of(1, 64, FV_ELEMENT_F16);
    static const uint32_t below[] = {0, 1, 511, 512, 513, 528, 4000};
    for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
        fv_policy policy;
        fv_policy_default(FV_SELECTOR_FOVEA, &policy);
        policy.window = 32;
        policy.dense_below = below[i];
        uint32_t first = (below[i] + 15) / 16 * 16; /* whose pages hold as many */
        if (first < 64) first = 64;                 /* sinks, a candidate, window */
        for (uint32_t position = 0; position < 5000; position++) {
            fv_chooser got = chooser_of(&policy, cache, 0, 0, position);
            bool candidates = position + 1 >= 32 + 32; /* a page between the sinks and the window */
            if (fv_chooser_reads_all(&got) != !(candidates && position / 16 * 16 >= below[i]))
                fail_msg("dense_below %u: position %u", below[i], position);
            if (position == first) assert_false(fv_chooser_reads_all(&got));
        }
    }
    free(cache);
}

static uint64_t lines(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

/* Bytes of the coarse keys that a single row reads, by what lies where. */
static uint64_t coarse_bytes(const fv_chooser *chooser, uint32_t dim, uint64_t candidates, bool cascade) {
    uint64_t padded = (dim + 15) / 16 * 16, pages = chooser->scored, plane = lines(pages * padded * 2);
    uint64_t centres = lines((pages / 4 + 1) * (padded + 4)), steps = lines(pages * 16 * 2);
    uint64_t width = 2 * (uint64_t)chooser->allowance + pages / 32;
    if (!cascade || width >= candidates) return centres + steps + 2 * plane;
    return centres + steps + plane + lines((pages - candidates + width) * padded * 2);
}

/* FV_POLICY_AUTO: a row reads all where that takes no more bytes, a tie included, and never elsewhere. */
static void test_dense_below_auto(void **state) {
    (void)state;
    static const uint32_t dims[] = {16, 24, 64, 80, 128};
    uint32_t ties = 0, chosen = 0;
    for (uint32_t i = 0; i < 5 * FV_ELEMENT_COUNT * 2 * 3; i++) {
        uint32_t dim = dims[i % 5], type = i / 5 % FV_ELEMENT_COUNT;
        bool cascade = i / 5 / FV_ELEMENT_COUNT % 2;
        fv_cache *cache = cache_of(1, dim, type);
        fv_policy policy = test_policy(cascade ? FV_SELECTOR_CASCADE : FV_SELECTOR_FOVEA), forced;
        policy.window = 64;
        fv_policy_set_budget(&policy, 0.1f + 0.3f * (float)(i % 3));
        forced = policy;
        forced.dense_below = 0;
        assert_int_equal(policy.dense_below, FV_POLICY_AUTO);
        for (uint32_t position = 0; position < 3000; position++) {
            fv_chooser got = chooser_of(&policy, cache, 0, 0, position),
                       wanted = chooser_of(&forced, cache, 0, 0, position);
            uint64_t left = wanted.end - wanted.begin, choosing = coarse_bytes(&wanted, dim, left, cascade);
            if (left && !wanted.allowance) continue; /* nothing to choose: no code is read either way */
            uint64_t unread = left > wanted.allowance ? left - wanted.allowance : 0;
            uint64_t saved = unread * fv_cache_page_bytes(cache);
            if (fv_chooser_reads_all(&got) != (left == 0 || saved <= choosing))
                fail_msg("dim %u type %u budget %g: position %u saves %u bytes for %u", dim, type,
                         (double)policy.budget, position, (unsigned)saved, (unsigned)choosing);
            ties += left && saved == choosing;
            chosen += !fv_chooser_reads_all(&got);
            if (left) assert_int_equal(fv_chooser_shared_bytes(&wanted) + fv_chooser_own_bytes(&wanted), choosing);
        }
        policy.budget = 0, policy.top_p = 0.9f; /* nobody knows what a mass will take */
        fv_chooser by_mass = chooser_of(&policy, cache, 0, 0, 200);
        if (!cascade) assert_false(fv_chooser_reads_all(&by_mass));
        free(cache);
    }
    printf("%u rows choose, %u ties\n", chosen, ties);
    assert_true(chosen > 1000 && ties > 0);
}

/* What a cascade looks at: twice what it may read and a 32nd of all, at most all. */
static void test_cascade_width(void **state) {
    (void)state;
    fv_cache *cache = cache_of(1, 64, FV_ELEMENT_F16);
    fv_policy policy;
    fv_policy_default(FV_SELECTOR_CASCADE, &policy);
    policy.dense_below = 0;
    fv_policy_set_budget(&policy, 0.25f);
    assert_int_equal(chooser_of(&policy, cache, 0, 0, 3999).looked_at, 2 * 53 + 249 / 32);
    fv_policy_set_budget(&policy, 0.5f); /* 116 of 241 */
    assert_int_equal(chooser_of(&policy, cache, 0, 0, 3999).looked_at, 2 * 116 + 249 / 32);
    fv_policy_set_budget(&policy, 0.6f);
    assert_int_equal(chooser_of(&policy, cache, 0, 0, 3999).looked_at, 241);
    policy.selector = FV_SELECTOR_FOVEA;
    fv_policy_set_budget(&policy, 0.25f);
    assert_int_equal(chooser_of(&policy, cache, 0, 0, 3999).looked_at, 241);
    free(cache);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allowances),       cmocka_unit_test(test_head_shares),
        cmocka_unit_test(test_floor_share),      cmocka_unit_test(test_dense_below),
        cmocka_unit_test(test_dense_below_auto), cmocka_unit_test(test_cascade_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
