/* choose_test.c - pages chosen by the queries: all chosen is dense, the same bits for any workers and any cutting,
 * equal pages on every instruction set, nothing of the future in a row, never more than the budget, and the copy of the
 * keys that it chooses by is what it would be if it were recomputed. */
#include "attention/watch.h"
#include "fovea/reference/evict.h"
#include "numeric/half.h"
#include "support/choose_world.h"
#include "support/tables.h"
#include "support/test_policy.h"
#include <math.h>

enum { MOST_WORKERS = 7 };

static test_tables tables;

/* Policies whose rows choose for themselves. */
static const fv_selector selectors[] = {FV_SELECTOR_FOVEA, FV_SELECTOR_CASCADE, FV_SELECTOR_FOVEA, FV_SELECTOR_CASCADE};
enum { SELECTORS = sizeof selectors / sizeof selectors[0], FIRST_TAIL = 2 };

static fv_policy policy_of(uint32_t selector, float budget, uint32_t window) {
    fv_policy policy = choose_policy(selectors[selector % SELECTORS], budget, window);
    policy.tail = selector % SELECTORS >= FIRST_TAIL; /* twice, with and without */
    return policy;
}

static void check_same(const attention_world *w, const float *out, const float *want, uint32_t rows, const char *what) {
    for (uint32_t row = 0; row < rows; row++)
        if (memcmp(out + row * choose_world_width(w), want + row * choose_world_width(w), choose_world_width(w) * 4) !=
            0)
            fail_msg("%s, %s dim %u type %u: row %u has other bits", what, test_table_name(w->kernels),
                     w->attend.head_dim, w->shape.key_type, row);
}

/* Dense attention's bits if everything is chosen. */
static void test_all_pages_are_dense(void **state) {
    (void)state;
    test_random random = test_random_make(80);
    static const uint32_t dims[] = {8, 16, 24, 64, 80};
    for (uint32_t i = 0; i < 20; i++) {
        attention_world w =
            world_make(tables.table[i % tables.count], choose_shape(1 + i % 2, dims[i % 5], 700, i % FV_ELEMENT_COUNT),
                       1 + i % 3, 0, &random);
        fv_policy dense = test_policy(FV_SELECTOR_DENSE), all = policy_of(i, 1.0f, 20 + i);
        fv_report report, dense_report;
        float *want = choose_world_run(&w, &dense, 0, 0, NULL, &random, &dense_report);
        float *out = choose_world_run(&w, &all, 0, i % 3 ? 50 : 0, NULL, &random, &report);
        check_same(&w, out, want, w.tokens, "all chosen");
        assert_int_equal(report.keys_read, dense_report.keys_read);
        assert_int_equal(report.keys_visible, dense_report.keys_visible);
        free(want);
        free(out);
        world_free(&w);
    }
}

static void test_workers_and_cuts(void **state) {
    (void)state;
    test_random random = test_random_make(81);
    static const uint32_t cuts[] = {1, 5, 40, 300}, workers[] = {1, 2, 3, 7};
    for (uint32_t i = 0; i < 12; i++) {
        attention_world w =
            world_make(tables.table[i % tables.count], choose_shape(2, 32, 600, i % FV_ELEMENT_COUNT), 3, 0, &random);
        fv_policy policy = policy_of(i, 0.3f, 32);
        if (i == 4) policy.budget = 0, policy.top_p = 0.5f, policy.floor = 6, policy.cap = 20;
        if (i == 6) policy.budget = 0, policy.pages = 12;
        fv_report want_report, report;
        float *want = choose_world_run(&w, &policy, 0, 0, NULL, &random, &want_report);
        assert_true(want_report.keys_read < want_report.keys_visible * 3 / 4);
        for (uint32_t k = 0; k < 4; k++) {
            shuffle_pool pool = {.random = random, .workers = workers[k]};
            fv_parallel parallel = shuffle_parallel(&pool);
            float *out = choose_world_run(&w, &policy, 0, cuts[(i + k) % 4], &parallel, &random, &report);
            check_same(&w, out, want, w.tokens, "cut and shared");
            assert_int_equal(report.keys_read, want_report.keys_read);
            assert_int_equal(report.keys_visible, want_report.keys_visible);
            free(out);
        }
        free(want);
        world_free(&w);
    }
}

/* Token j changes no row before it. */
static void test_the_future_is_not_seen(void **state) {
    (void)state;
    test_random random = test_random_make(82);
    for (uint32_t i = 0; i < 12; i++) {
        attention_world w =
            world_make(tables.table[i % tables.count], choose_shape(1, 16, 500, FV_ELEMENT_F16), 2, 0, &random);
        fv_policy policy = policy_of(i, 0.25f, 16 + i);
        fv_report report;
        float *want = choose_world_run(&w, &policy, 0, 0, NULL, &random, &report);
        uint32_t j = test_random_in(&random, 200, 499);
        test_fill_f32(&random, w.keys + j * w.kv_stride, w.kv_stride, 4.0f);
        test_fill_f32(&random, w.values + j * w.kv_stride, w.kv_stride, 4.0f);
        test_fill_f32(&random, w.queries + j * w.query_stride, w.query_stride, 4.0f);
        float *out = choose_world_run(&w, &policy, 0, i % 2 ? 0 : 7, NULL, &random, &report);
        check_same(&w, out, want, j, "a later token changed");
        free(want);
        free(out);
        world_free(&w);
    }
}

/* No row reads more than its share, window and sinks included, nor less than those. */
static void test_budget_is_kept(void **state) {
    (void)state;
    test_random random = test_random_make(83);
    attention_world w = world_make(tables.table[0], choose_shape(1, 16, 900, FV_ELEMENT_F16), 2, 0, &random);
    fv_attention *attention = NULL;
    void *memory = choose_attention_open(&w, MOST_WORKERS, 0, &attention);
    float out[32];
    const fv_policy policy = policy_of(1, 0.2f, 40);
    for (uint32_t row = 0; row < w.tokens; row++) {
        fv_report report = {.struct_bytes = sizeof(fv_report)};
        world_append(&w, 1);
        check_status(test_attention_run(attention, w.cache, &policy, 0, 1, w.queries + row * w.query_stride,
                                        w.query_stride, out, 32, NULL, &report));
        uint64_t visible = row + 1, always = 16 + 40 + 15;
        assert_int_equal(report.keys_visible, visible);
        if (report.keys_read > always && report.keys_read * 5 > visible)
            fail_msg("row %u reads %u", row, (unsigned)report.keys_read);
        assert_true(report.keys_read >= (visible < 56 ? visible : 56));
        if (row > 600) assert_true(report.keys_read + 16 >= visible / 5);
    }
    free(memory);
    world_free(&w);
}

/* chosen [pages]: 1 or 0. */
static uint32_t choose_one(const attention_world *w, const fv_kernels *kernels, const fv_policy *policy, uint32_t row,
                           uint8_t *chosen) {
    size_t bytes = 0;
    uint32_t group = w->attend.query_heads / w->attend.kv_heads;
    assert_true(fv_choose_scratch_bytes(w->attend.head_dim, group, w->shape.max_tokens, 1, &bytes));
    void *memory = world_memory(bytes);
    fv_choose_scratch scratch = {0};
    fv_choose_scratch_at(&scratch, memory, w->attend.head_dim, group, w->shape.max_tokens, 1);
    fv_chooser chooser;
    fv_chooser_make(&chooser, policy, w->cache, kernels, w->attend.scale, group, 0, 0, row);
    assert_true(fv_chooser_has_choice(&chooser));
    memset(chosen, 0, w->shape.max_tokens / 16);
    fv_choose_weigh(&chooser, &scratch, 1, w->queries + row * w->query_stride, w->query_stride);
    uint32_t said = fv_choose_pages(&chooser, &scratch), count = 0;
    for (uint32_t i = 0; i < scratch.count; i++) {
        bool candidate = i >= scratch.first && i - scratch.first < scratch.candidates;
        assert_true(candidate || scratch.weight[i] != FV_CHOSEN);
        assert_true(candidate == (scratch.page[i] >= chooser.begin && scratch.page[i] < chooser.end));
        count += chosen[scratch.page[i]] = scratch.weight[i] == FV_CHOSEN;
    }
    assert_int_equal(count, said);
    free(memory);
    return count;
}

static void test_every_machine_chooses_alike(void **state) {
    (void)state;
    test_random random = test_random_make(84);
    static const uint32_t dims[] = {8, 24, 64, 80, 128, 256};
    for (uint32_t i = 0; i < 24; i++) {
        attention_world w = world_make(tables.table[0], choose_shape(1, dims[i % 6], 1500, i % FV_ELEMENT_COUNT),
                                       1 + i % 4, 0, &random);
        fv_policy policy = policy_of(i, 0.1f + 0.02f * (float)i, 32);
        if (i % 12 == 0) policy.budget = 0, policy.top_p = 0.3f;
        uint8_t want[100], got[100];
        world_append(&w, 1500);
        choose_one(&w, tables.table[0], &policy, 1499 - i, want);
        for (size_t t = 1; t < tables.count; t++) {
            choose_one(&w, tables.table[t], &policy, 1499 - i, got);
            assert_memory_equal(got, want, 1500 / 16);
        }
        world_free(&w);
    }
}

/* The key that a row looks for is in a page that it chooses. */
static void test_a_needle_is_found(void **state) {
    (void)state;
    test_random random = test_random_make(85);
    uint32_t found[2] = {0};
    for (uint32_t i = 0; i < 40; i++) {
        attention_world w =
            world_make(tables.table[i % tables.count], choose_shape(1, 64, 2048, FV_ELEMENT_F16), 3, 0, &random);
        uint32_t needle = test_random_in(&random, 16, 1900);
        fv_policy policy = policy_of(i % 2, 0.09f, 128); /* one page beyond window and sinks */
        uint8_t chosen[128];
        for (uint32_t c = 0; c < 64; c++) /* the second head looks for it */
            w.keys[needle * w.kv_stride + c] = 1.5f * w.queries[2040 * w.query_stride + 64 + c];
        world_append(&w, 2048);
        assert_int_equal(choose_one(&w, w.kernels, &policy, 2040, chosen), 1);
        found[i % 2] += chosen[needle / 16];
        world_free(&w);
    }
    assert_int_equal(found[0], 20);
    assert_true(found[1] >=
                19); /* a cascade looks at 18 pages of 120: one key of random ones does not always show in a mean */
}

static void check_means(const fv_cache *cache, const fv_cache *want, uint32_t head) {
    uint32_t pages = fv_cache_tokens(want) / FV_PAGE_TOKENS, dim = cache->shadow.dim;
    for (uint32_t page = 0; page < pages; page++)
        for (uint32_t j = 0; j < dim / 4; j++) {
            size_t place = (size_t)page / 16 * dim * 16 + (j * 16 + page % 16) * 4;
            assert_memory_equal(fv_shadow_means(&cache->shadow, head, 0) + place,
                                fv_shadow_means(&want->shadow, head, 0) + place, 4);
        }
    assert_memory_equal(fv_shadow_mean_steps(&cache->shadow, head, 0), fv_shadow_mean_steps(&want->shadow, head, 0),
                        pages * 4);
    assert_memory_equal(fv_shadow_centre_steps(&cache->shadow, head, 0), fv_shadow_centre_steps(&want->shadow, head, 0),
                        (pages + 3) / 4 * 4);
}

/* Of full pages: others have no codes. */
static void check_shadow(const fv_cache *cache, const fv_cache *want) {
    uint32_t tokens = fv_cache_tokens(want) / FV_PAGE_TOKENS * FV_PAGE_TOKENS;
    assert_int_equal(fv_cache_tokens(cache), fv_cache_tokens(want));
    for (uint32_t head = 0; head < cache->config.kv_heads; head++) {
        assert_memory_equal(fv_shadow_steps(&cache->shadow, head, 0), fv_shadow_steps(&want->shadow, head, 0),
                            tokens * 2);
        for (uint32_t token = 0; token < tokens; token++)
            for (uint32_t j = 0; j < cache->shadow.dim / 8; j++) {
                uint32_t page = token / 16, place = j * 16 + token % 16;
                assert_int_equal(fv_shadow_signs(&cache->shadow, head, page)[place],
                                 fv_shadow_signs(&want->shadow, head, page)[place]);
                assert_int_equal(fv_shadow_sizes(&cache->shadow, head, page)[place],
                                 fv_shadow_sizes(&want->shadow, head, page)[place]);
            }
        check_means(cache, want, head);
        if (tokens >= 16)
            assert_memory_equal(fv_tail_page(&cache->tail, head, 0), fv_tail_page(&want->tail, head, 0),
                                tokens / 16 * fv_tail_page_bytes(&want->tail));
    }
}

/* A mean is that of the keys, as far as seven bits say. */
static void test_means_are_means(void **state) {
    (void)state;
    test_random random = test_random_make(89);
    attention_world w = world_make(tables.table[0], choose_shape(1, 64, 64, FV_ELEMENT_F32), 1, 0, &random);
    world_append(&w, 64);
    const fv_shadow *shadow = &w.cache->shadow;
    for (uint32_t page = 0; page < 4; page++) {
        double want = 0, got = 0;
        for (uint32_t c = 0; c < 64; c++) {
            double mean = 0;
            for (uint32_t t = 0; t < 16; t++) {
                double x = (double)w.keys[(page * 16 + t) * w.kv_stride + c];
                mean += x / 16;
            }
            want += mean * mean;
            double code = fv_shadow_means(shadow, 0, 0)[(c / 4 * 16 + page) * 4 + c % 4] - 64.0;
            got += pow(code * (double)fv_shadow_mean_steps(shadow, 0, 0)[page], 2);
        }
        assert_true(fabs(got - want) < 0.02 * want); /* a rotation keeps lengths */
    }
    world_free(&w);
}

/* fv_list_best() against a search for the largest, one after the other. */
static void test_the_best_are_listed(void **state) {
    (void)state;
    test_random random = test_random_make(90);
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t count = test_random_in(&random, 1, i % 50 ? 60 : 3000), most = test_random_in(&random, 0, count + 2),
                 left = 0;
        uint32_t spread = 1u << test_random_in(&random, 0, 29), weight[3000], want[3000], place[3000], listed = 0;
        for (uint32_t k = 0; k < count; k++) {
            weight[k] = FV_WEIGHT_WHOLE - test_random_in(&random, 0, spread);
            if (test_random_in(&random, 0, 9) == 0) weight[k] = FV_CHOSEN;
            left += weight[k] != FV_CHOSEN;
        }
        memcpy(want, weight, sizeof want);
        for (uint32_t n = 0; n < most && n < left; n++) {
            uint32_t best = UINT32_MAX;
            for (uint32_t k = 0; k < count; k++)
                if (want[k] != FV_CHOSEN && (best == UINT32_MAX || want[k] > want[best])) best = k;
            want[best] = FV_CHOSEN;
        }
        uint32_t got = fv_list_best(tables.table[i % tables.count], weight, count, most, place);
        for (uint32_t k = 0; k < count; k++)
            if (want[k] == FV_CHOSEN) assert_true(listed < got && place[listed++] == k);
        assert_int_equal(listed, got);
    }
}

/* The same contents, appended at once. */
static attention_world world_copy(const attention_world *w, uint32_t tokens) {
    attention_world copy = *w;
    copy.cache_memory = NULL;
    world_cache_reset(&copy);
    world_append(&copy, tokens);
    return copy;
}

static void test_shadow_is_maintained(void **state) {
    (void)state;
    test_random random = test_random_make(86);
    for (uint32_t i = 0; i < 10; i++) {
        uint32_t type = i % 5 < 2 ? FV_ELEMENT_F16 : i % FV_ELEMENT_COUNT;
        attention_world w =
            world_make(tables.table[i % tables.count], choose_shape(2, 8 + 8 * i, 400, type), 1, 0, &random);
        while (fv_cache_tokens(w.cache) < 300) { /* forth and back */
            world_append(&w, test_random_in(&random, 1, 90));
            uint32_t tokens = fv_cache_tokens(w.cache), back = test_random_in(&random, 0, tokens / 3);
            check_status(fv_cache_truncate(w.cache, tokens - back));
        }
        attention_world fresh = world_copy(&w, fv_cache_tokens(w.cache));
        check_shadow(w.cache, fresh.cache);
        free(fresh.cache_memory);
        uint32_t gone = test_random_in(&random, 0, 299), left = fv_cache_tokens(w.cache) - 1;
        if (type == FV_ELEMENT_F16) { /* stored again, these have the same bits */
            check_status(fv_cache_remove(w.cache, gone));
            memmove(w.keys + gone * w.kv_stride, w.keys + (gone + 1) * w.kv_stride, (left - gone) * w.kv_stride * 4);
            memmove(w.values + gone * w.kv_stride, w.values + (gone + 1) * w.kv_stride,
                    (left - gone) * w.kv_stride * 4);
            fresh = world_copy(&w, left);
            check_shadow(w.cache, fresh.cache);
            free(fresh.cache_memory);
        }
        world_free(&w);
    }
}

/* A clock that is told how many looks it has. */
typedef struct look_clock {
    uint64_t looks;
} look_clock;

static uint64_t look(void *context) { return ++((look_clock *)context)->looks; }

/* Any number of looks: the bits without a deadline if there was time, else a softmax over what was read, or nothing. */
static void test_deadlines(void **state) {
    (void)state;
    test_random random = test_random_make(88);
    attention_world w =
        world_make(tables.table[tables.count - 1], choose_shape(2, 16, 1500, FV_ELEMENT_F16), 2, 0, &random);
    const fv_policy policy = policy_of(1, 0.5f, 40);
    fv_attention *attention = NULL;
    void *memory = choose_attention_open(&w, MOST_WORKERS, 0, &attention);
    size_t width = choose_world_width(&w);
    float want[3 * 64], out[3 * 64];
    world_append(&w, 1500);
    fv_attention_rows rows = {.first_token = 1400,
                              .count = 3,
                              .query = w.queries + 1400 * w.query_stride,
                              .query_stride = w.query_stride,
                              .out = want,
                              .out_stride = width};
    fv_report plain = {.struct_bytes = sizeof plain}, report;
    check_status(fv_attention_run(attention, w.cache, &policy, &rows, NULL, &plain));
    rows.out = out;
    uint64_t last = 0;
    for (uint64_t end = 1;; end++) {
        look_clock clock = {0};
        fv_deadline deadline = {look, &clock, end, FV_DEADLINE_BEST};
        fv_watch watch = {.deadline = &deadline};
        report = (fv_report){.struct_bytes = sizeof report};
        check_status(fv_attention_run_watched(attention, w.cache, &policy, &rows, NULL, &report, &watch));
        assert_true(watch.progress.keys_read >= last && watch.progress.keys_read <= watch.progress.keys_planned);
        assert_int_equal(report.keys_read, watch.progress.keys_read);
        assert_memory_equal(out, want, watch.progress.rows_complete * width * 4);
        for (size_t i = 0; i < 3 * width; i++) assert_true(isfinite(out[i]));
        last = watch.progress.keys_read;
        if (!watch.progress.expired) break;
        deadline.on_deadline = FV_DEADLINE_FAIL, clock.looks = 0;
        fv_watch failing = {.deadline = &deadline};
        assert_int_equal(fv_attention_run_watched(attention, w.cache, &policy, &rows, NULL, NULL, &failing),
                         FV_ERROR_DEADLINE);
    }
    assert_int_equal(last, plain.keys_read);
    assert_memory_equal(out, want, sizeof out);
    free(memory);
    world_free(&w);
}

static void test_bad_policies(void **state) {
    (void)state;
    fv_policy good;
    fv_policy_default(FV_SELECTOR_FOVEA, &good);
    check_status(fv_policy_check(&good));
#define REFUSED(...) \
    do { \
        fv_policy bad = good; \
        __VA_ARGS__; \
        assert_int_equal(fv_policy_check(&bad), FV_ERROR_POLICY); \
    } while (0)
    REFUSED(bad.budget = 1.5f);
    REFUSED(bad.budget = -0.1f);
    REFUSED(bad.budget = NAN);
    REFUSED(bad.budget = 0);
    REFUSED(bad.top_p = 0.5f);
    REFUSED(bad.budget = 0, bad.top_p = NAN);
    REFUSED(bad.budget = 0, bad.top_p = 1.01f);
    REFUSED(bad.pages = 100);
    REFUSED(bad.budget = 0, bad.pages = fv_policy_min_pages(&good) - 1);
    REFUSED(bad.window = 0);
    REFUSED(bad.causal = 0);
    REFUSED(bad.floor = 5, bad.cap = 4);
    REFUSED(bad.selector = FV_SELECTOR_COUNT);
    REFUSED(bad.selector = FV_SELECTOR_CASCADE, bad.budget = 0, bad.top_p = 0.5f);
    REFUSED(bad.selector = FV_SELECTOR_CASCADE, bad.certificate = 1);
    REFUSED(bad.window = (1u << 30) + 1);
    REFUSED(bad.sinks = (1u << 30) + 1);
    REFUSED(bad.cap = (1u << 30) + 1);
    REFUSED(bad.budget = 0, bad.pages = (1u << 30) + 1);
    REFUSED(bad.certificate = 2);
    REFUSED(bad.quality = 0.1f); /* of what certificate? */
    REFUSED(bad.certificate = 1, bad.quality = 1.1e6f);
    REFUSED(bad.certificate = 1, bad.quality = -0.1f);
    REFUSED(bad.certificate = 1, bad.quality = NAN);
    fv_policy largest = good;
    largest.window = largest.sinks = largest.cap = largest.floor = 1u << 30;
    largest.certificate = 1, largest.quality = 1e6f, largest.budget = 1.0f;
    check_status(fv_policy_check(&largest));
    REFUSED(bad.tail = 2);
    REFUSED(bad.tail = 1, bad.certificate = 1);
    test_random random = test_random_make(87);
    fv_cache_config shape = choose_shape(1, 16, 64, FV_ELEMENT_F16);
    size_t bytes;
    shape.shadow = 0;
    assert_int_equal(fv_cache_size(&shape, &bytes), FV_ERROR_ARGUMENT); /* a tail without a shadow */
    shape.shadow = 1, shape.tail = 2;
    assert_int_equal(fv_cache_size(&shape, &bytes), FV_ERROR_ARGUMENT);
    shape.shadow = shape.tail = 0;
    attention_world w = world_make(tables.table[0], shape, 1, 0, &random);
    fv_attention *attention = NULL;
    void *memory = choose_attention_open(&w, MOST_WORKERS, 0, &attention);
    float out[16];
    world_append(&w, 64);
    assert_int_equal(
        test_attention_run(attention, w.cache, &good, 0, 1, w.queries, w.query_stride, out, 16, NULL, NULL),
        FV_ERROR_POLICY);
    free(memory);
    world_free(&w);
    fv_policy tail = good;
    tail.tail = 1;
    shape.shadow = 1; /* but no tail */
    w = world_make(tables.table[0], shape, 1, 0, &random);
    memory = choose_attention_open(&w, MOST_WORKERS, 0, &attention);
    world_append(&w, 64);
    check_status(test_attention_run(attention, w.cache, &good, 0, 1, w.queries, w.query_stride, out, 16, NULL, NULL));
    assert_int_equal(
        test_attention_run(attention, w.cache, &tail, 0, 1, w.queries, w.query_stride, out, 16, NULL, NULL),
        FV_ERROR_POLICY);
    free(memory);
    world_free(&w);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_pages_are_dense),
        cmocka_unit_test(test_workers_and_cuts),
        cmocka_unit_test(test_the_future_is_not_seen),
        cmocka_unit_test(test_budget_is_kept),
        cmocka_unit_test(test_every_machine_chooses_alike),
        cmocka_unit_test(test_a_needle_is_found),
        cmocka_unit_test(test_shadow_is_maintained),
        cmocka_unit_test(test_means_are_means),
        cmocka_unit_test(test_the_best_are_listed),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_bad_policies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
