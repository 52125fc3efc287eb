/* report_test.c - what reports count, by formula: keys by reason, bytes and times of each policy, of one row and of a
 * batch, by several workers, and with a deadline that is met. */
#include "attention/watch.h"
#include "support/choose_world.h"
#include "support/tables.h"
#include "support/test_policy.h"

enum { HEADS = 2, GROUP = 2, DIM = 64, TOKENS = 1500, WORKERS = 3, WIDTH = HEADS * GROUP * DIM };
enum { PAGE_BYTES = 16 * DIM * 4, TAIL_BYTES = DIM * 4 + 32 }; /* f16 keys and values; 2 bits a channel and a step */

static test_tables tables;

static fv_policy policy_of(uint32_t i) {
    fv_policy policy;
    fv_policy_default(FV_SELECTOR_DENSE, &policy);
    if (i == 1) policy = test_policy(FV_SELECTOR_WINDOW), policy.window = 200, policy.sinks = 20;
    if (i >= 2) policy = choose_policy(i % 2 ? FV_SELECTOR_CASCADE : FV_SELECTOR_FOVEA, 0.3f, 40);
    policy.tail = i == 4 || i == 5;
    if (i == 3 || i == 6) policy.sinks = 37; /* up to whole pages */
    if (i == 6) policy.budget = 0, policy.top_p = 0.7f;
    if (i == 7) policy.budget = 0, policy.pages = 20;
    if (i == 8) policy.dense_below = 800;
    if (i == 9) policy.budget = 0.05f; /* nothing beyond sinks and window, up to some row */
    return policy;
}
enum { POLICIES = 10 };

/* What is expected of the plans that an observer saw. */
typedef struct expected {
    const fv_policy *policy;
    uint64_t keys, sinks, window, selected, whole, bytes, plans;
    uint32_t shared[HEADS];               /* one past the last tile whose coarse keys were counted */
    uint32_t tile[HEADS];                 /* whose pages are in `read` */
    uint8_t read[HEADS][TOKENS / 16 + 1]; /* pages that rows of the tile have chosen: they are read once */
    bool row_by_row;                      /* no tile shares anything */
} expected;

static uint64_t lines(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

static uint32_t pages_of(uint32_t tokens) { return (tokens + 15) / 16; }

/* A row that chooses: what it reads of the coarse keys, by itself and together with its tile. */
static void expect_coarse(expected *e, uint32_t position, uint32_t kv_head, uint64_t selected) {
    const fv_policy *p = e->policy;
    uint64_t visible = position + 1, scored = position / 16, window_begin = (visible - p->window) / 16;
    uint64_t candidates = window_begin - pages_of(p->sinks), always = visible - candidates * 16;
    uint64_t allowed = p->pages ? p->pages * 16 : (uint64_t)(uint32_t)(p->budget * 0x1p24f) * visible >> 24;
    uint64_t allowance = allowed > always ? (allowed - always) / 16 : 0, plane = lines(scored * DIM * 2);
    uint64_t looked_at = 2 * allowance + scored / 32;
    if (p->top_p == 0.0f && allowance == 0) return;
    bool cascade = p->selector == FV_SELECTOR_CASCADE && looked_at < candidates;
    if (e->row_by_row || e->shared[kv_head] <= position / 16) {
        e->bytes += lines((scored / 4 + 1) * (DIM + 4)) + lines(scored * 32) + (cascade ? plane : 2 * plane);
        e->shared[kv_head] = position / 16 + 1;
    }
    if (cascade) e->bytes += lines((scored - candidates + looked_at) * DIM * 2);
    if (!p->tail) return;
    if (allowance > candidates) allowance = candidates;
    uint64_t given = allowance - selected / 16, most = given * PAGE_BYTES / TAIL_BYTES, left = candidates;
    if (cascade) left = looked_at;
    left -= selected / 16;
    e->bytes += (most < left ? most : left) * TAIL_BYTES;
}

static void expect_row(expected *e, const read_set *set, uint32_t position, uint32_t kv_head) {
    const fv_policy *p = e->policy;
    uint64_t count = 0, sinks = 0, window = 0;
    bool chooses = fv_policy_is_dynamic(p);
    uint32_t first = chooses ? pages_of(p->sinks) * 16 : p->sinks, newest = 0;
    if (position + 1 > p->window) newest = position + 1 - p->window;
    if (chooses) newest = newest / 16 * 16;
    for (uint32_t t = 0; t <= position; t++) {
        count += set->token[t];
        sinks += set->token[t] && t < first;
        window += set->token[t] && t >= newest && t >= first;
    }
    e->keys += count;
    if (p->selector == FV_SELECTOR_DENSE || (chooses && newest < first + 16) ||
        (chooses && position / 16 * 16 < p->dense_below)) {
        assert_int_equal(count, position + 1);
        e->whole += count;
        return;
    }
    uint32_t end = position + 1, sinks_end = end < first ? end : first;
    assert_int_equal(window, end - (newest > sinks_end ? newest : sinks_end)); /* all of it is read */
    assert_int_equal(sinks, sinks_end);
    if (chooses) expect_coarse(e, position, kv_head, count - sinks - window);
    if (chooses && count == end) /* it chose all */
        e->whole += count;
    else
        e->sinks += sinks, e->window += window, e->selected += count - sinks - window;
}

/* The pages of a row that chose and is read with its tile, which nobody counted yet. */
static void expect_pages(expected *e, const fv_plan *plan, uint32_t kv_head) {
    if (e->tile[kv_head] != plan->first_token / 16) memset(e->read[kv_head], 0, sizeof e->read[kv_head]);
    e->tile[kv_head] = plan->first_token / 16;
    for (uint32_t s = 0; s < plan->count; s++)
        for (uint32_t page = plan->steps[s].begin / 16; page * 16 < plan->steps[s].end; page++) {
            e->bytes += e->read[kv_head][page] ? 0 : PAGE_BYTES;
            e->read[kv_head][page] = 1;
        }
}

static void expect_plan(void *context, const fv_attention_seen *seen, size_t worker) {
    expected *e = context;
    (void)worker;
    e->plans++;
    bool listed = seen->plan->rows == 1 && fv_policy_is_dynamic(e->policy) && !e->row_by_row;
    if (listed) expect_pages(e, seen->plan, seen->kv_head);
    for (uint32_t s = 0; !listed && s < seen->plan->count; s++) {
        const fv_step *step = &seen->plan->steps[s];
        e->bytes += (uint64_t)((step->end - 1) / 16 - step->begin / 16 + 1) * PAGE_BYTES;
    }
    for (uint32_t row = 0; row < seen->plan->rows; row++) {
        read_set set = set_of_plan(seen->plan, row);
        expect_row(e, &set, seen->plan->first_token + row, seen->kv_head);
    }
}

static attention_world world_of(const fv_kernels *kernels, test_random *random) {
    attention_world w = world_make(kernels, choose_shape(HEADS, DIM, TOKENS, FV_ELEMENT_F16), GROUP, 0, random);
    w.attend.scale = 0.125f;
    world_append(&w, TOKENS);
    return w;
}

static fv_attention_rows rows_of(const attention_world *w, uint32_t first, uint32_t count, float *out) {
    return (fv_attention_rows){.first_token = first,
                               .count = count,
                               .query = w->queries + first * w->query_stride,
                               .query_stride = w->query_stride,
                               .out = out,
                               .out_stride = WIDTH};
}

static void check_counts(const expected *e, const fv_report *report, uint32_t first, uint32_t rows, uint32_t policy) {
    uint64_t visible = 0;
    for (uint32_t row = first; row < first + rows; row++) visible += HEADS * (row + 1);
    if (report->keys_visible != visible || report->keys_read != e->keys || report->sink_keys != e->sinks ||
        report->window_keys != e->window || report->selected_keys != e->selected || report->whole_keys != e->whole ||
        report->bytes_read != e->bytes)
        fail_msg("policy %u, %u rows from %u: keys %u of %u, sinks %u, window %u, selected %u, whole %u, bytes %u; "
                 "expected keys %u of %u, sinks %u, window %u, selected %u, whole %u, bytes %u",
                 policy, rows, first, (unsigned)report->keys_read, (unsigned)report->keys_visible,
                 (unsigned)report->sink_keys, (unsigned)report->window_keys, (unsigned)report->selected_keys,
                 (unsigned)report->whole_keys, (unsigned)report->bytes_read, (unsigned)e->keys, (unsigned)visible,
                 (unsigned)e->sinks, (unsigned)e->window, (unsigned)e->selected, (unsigned)e->whole,
                 (unsigned)e->bytes);
    assert_int_equal(report->local_keys, 0);
    assert_int_equal(report->certified_rows + report->vacuous_rows + report->whole_rows, 0);
}

/* Each row for itself, then some batches, whose tiles share what they read together. */
static void test_counts_by_formula(void **state) {
    (void)state;
    test_random random = test_random_make(170);
    static float out[TOKENS * WIDTH];
    attention_world w = world_of(tables.table[tables.count - 1], &random);
    fv_attention *attention = NULL;
    void *memory = choose_attention_open(&w, WORKERS, 0, &attention);
    for (uint32_t i = 0; i < POLICIES; i++) {
        fv_policy policy = policy_of(i);
        for (uint32_t k = 0; k < 20; k++) {
            bool single = k % 4;
            uint32_t count = single ? 1 : test_random_in(&random, 2, 90),
                     first = test_random_in(&random, 0, TOKENS - count);
            if (k == 1) first = 15;
            shuffle_pool pool = {.random = random, .workers = WORKERS};
            fv_parallel parallel = shuffle_parallel(&pool);
            expected e = {.policy = &policy, .row_by_row = single};
            fv_report report = {.struct_bytes = sizeof report};
            fv_attention_rows rows = rows_of(&w, first, count, out);
            if (!single) pool.workers = 1; /* tiles in their order */
            fv_attention_observe(attention, expect_plan, &e);
            check_status(fv_attention_run(attention, w.cache, &policy, &rows, single ? &parallel : NULL, &report));
            check_counts(&e, &report, first, count, i);
            fv_report shared = {.struct_bytes = sizeof shared};
            pool.workers = WORKERS;
            fv_attention_observe(attention, NULL, NULL);
            check_status(fv_attention_run(attention, w.cache, &policy, &rows, &parallel, &shared));
            assert_memory_equal(&shared, &report, sizeof report);
        }
    }
    free(memory);
    world_free(&w);
}

/* A clock that moves on by ten with each look. */
static uint64_t ten_more(void *context) { return *(uint64_t *)context += 10; }

/* Time between two looks has one name and one only, whichever worker it was. */
static void test_times_of_all_workers(void **state) {
    (void)state;
    test_random random = test_random_make(171);
    static float out[300 * WIDTH];
    attention_world w = world_of(tables.table[0], &random);
    fv_attention *attention = NULL;
    void *memory = choose_attention_open(&w, WORKERS, 0, &attention);
    for (uint32_t i = 0; i < POLICIES; i++) {
        fv_policy policy = policy_of(i);
        bool chooses = fv_policy_is_dynamic(&policy);
        shuffle_pool pool = {.random = random, .workers = WORKERS};
        fv_parallel parallel = shuffle_parallel(&pool);
        fv_attention_rows rows = rows_of(&w, 1200, 300, out);
        fv_report report = {.struct_bytes = sizeof report};
        uint64_t now = 0, tasks = HEADS * 19; /* tiles of 16 from 1,200 on */
        fv_attention_time(attention, ten_more, &now);
        check_status(fv_attention_run(attention, w.cache, &policy, &rows, &parallel, &report));
        /* a task's first look begins its time, each other one ends a phase */
        assert_int_equal(report.choose_ns + report.read_ns, now - 10 * tasks);
        assert_int_equal(report.choose_ns, chooses ? report.read_ns : 0);
        assert_true(report.read_ns >= 10 * tasks);
        report = (fv_report){.struct_bytes = sizeof report}, now = 0; /* one row: the caller's time, of all workers */
        rows = rows_of(&w, 1300, 1, out);
        check_status(fv_attention_run(attention, w.cache, &policy, &rows, &parallel, &report));
        assert_int_equal(report.read_ns, 10 * WORKERS);
        assert_int_equal(report.choose_ns, chooses ? 10 * WORKERS : 0);
        report = (fv_report){.struct_bytes = sizeof report};
        check_status(fv_attention_run(attention, w.cache, &policy, &rows, NULL, &report));
        assert_int_equal(report.read_ns, 10);
        assert_int_equal(report.choose_ns, chooses ? 10 : 0);
        assert_int_equal(report.product_ns + report.other_ns, 0);
        fv_attention_time(attention, NULL, NULL);
    }
    free(memory);
    world_free(&w);
}

/* Where there was time, a deadline changes no count: a batch's bytes are those of its rows, one by one. */
static void test_a_deadline_that_is_met(void **state) {
    (void)state;
    test_random random = test_random_make(172);
    static float out[2][40 * WIDTH];
    attention_world w = world_of(tables.table[tables.count - 1], &random);
    fv_attention *attention = NULL;
    void *memory = choose_attention_open(&w, WORKERS, 0, &attention);
    for (uint32_t i = 0; i < POLICIES; i++)
        for (uint32_t k = 0; k < 8; k++) {
            fv_policy policy = policy_of(i);
            uint32_t count = k % 2 ? 1 : test_random_in(&random, 2, 40),
                     first = test_random_in(&random, 0, TOKENS - count);
            fv_attention_rows rows = rows_of(&w, first, count, out[0]);
            fv_report plain = {.struct_bytes = sizeof plain}, single = plain, report = plain;
            check_status(fv_attention_run(attention, w.cache, &policy, &rows, NULL, &plain));
            for (uint32_t row = 0; row < count; row++) {
                fv_attention_rows one = rows_of(&w, first + row, 1, out[1]);
                check_status(fv_attention_run(attention, w.cache, &policy, &one, NULL, &single));
            }
            uint64_t looks = 0;
            fv_deadline deadline = {look_count, &looks, UINT64_MAX, k < 4 ? FV_DEADLINE_FAIL : FV_DEADLINE_BEST};
            fv_watch watch = {.deadline = &deadline};
            rows.out = out[1];
            check_status(fv_attention_run_watched(attention, w.cache, &policy, &rows, NULL, &report, &watch));
            assert_memory_equal(out[1], out[0], count * WIDTH * sizeof(float));
            assert_int_equal(report.bytes_read, single.bytes_read);
            assert_int_equal(watch.progress.keys_read, watch.progress.keys_planned);
            plain.bytes_read = single.bytes_read;
            assert_memory_equal(&single, &plain, sizeof plain);
            assert_memory_equal(&report, &plain, sizeof plain);
        }
    free(memory);
    world_free(&w);
}

/* Cut short, a row has read its newest keys, and bytes in their proportion; reasons are those of what was read. */
static void test_a_deadline_that_is_missed(void **state) {
    (void)state;
    test_random random = test_random_make(175);
    static float out[WIDTH];
    uint32_t cut = 0;
    attention_world w = world_of(tables.table[tables.count - 1], &random);
    fv_attention *attention = NULL;
    void *memory = choose_attention_open(&w, WORKERS, 0, &attention);
    for (uint32_t i = 0; i < POLICIES; i++) {
        fv_policy policy = policy_of(i);
        fv_attention_rows rows = rows_of(&w, TOKENS - 1, 1, out);
        fv_report plain = {.struct_bytes = sizeof plain};
        check_status(fv_attention_run(attention, w.cache, &policy, &rows, NULL, &plain));
        for (uint64_t end = 0;; end++) {
            uint64_t looks = 0;
            fv_deadline deadline = {look_count, &looks, end, FV_DEADLINE_BEST};
            fv_watch watch = {.deadline = &deadline};
            fv_report report = {.struct_bytes = sizeof report};
            check_status(fv_attention_run_watched(attention, w.cache, &policy, &rows, NULL, &report, &watch));
            assert_int_equal(report.sink_keys + report.window_keys + report.selected_keys + report.whole_keys,
                             report.keys_read);
            if (report.keys_read > 0 && report.keys_read < plain.keys_read) {
                double want = (double)plain.bytes_read / (double)plain.keys_read * (double)report.keys_read;
                assert_true(fabs((double)report.bytes_read / want - 1) < 0.01);
                assert_int_equal(report.sink_keys, 0); /* the oldest are read last */
                assert_true(report.window_keys == plain.window_keys);
                cut++;
            }
            if (!watch.progress.expired) break;
        }
    }
    assert_int_equal(cut, POLICIES); /* each once, between its two segments */
    free(memory);
    world_free(&w);
}

/* FV_POLICY_AUTO: no row reads more bytes than dense attention would. */
static void test_auto_never_costs_more(void **state) {
    (void)state;
    test_random random = test_random_make(173);
    static float out[WIDTH];
    attention_world w = world_of(tables.table[tables.count - 1], &random);
    fv_attention *attention = NULL;
    void *memory = choose_attention_open(&w, 1, 0, &attention);
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    for (uint32_t i = 2; i < 6; i++) {
        fv_policy policy = policy_of(i);
        policy.dense_below = FV_POLICY_AUTO;
        fv_policy_set_budget(&policy, 0.5f);
        uint32_t chose = 0, first = 0;
        for (uint32_t row = 0; row < TOKENS; row += 19) {
            fv_report all = {.struct_bytes = sizeof all}, report = all;
            fv_attention_rows rows = rows_of(&w, row, 1, out);
            check_status(fv_attention_run(attention, w.cache, &dense, &rows, NULL, &all));
            check_status(fv_attention_run(attention, w.cache, &policy, &rows, NULL, &report));
            if (report.bytes_read > all.bytes_read)
                fail_msg("policy %u: row %u reads %u bytes, dense %u", i, row, (unsigned)report.bytes_read,
                         (unsigned)all.bytes_read);
            if (report.whole_keys == 0 && !chose++) first = row;
        }
        printf("policy %u: rows from %u on choose\n", i, first);
        assert_true(chose > 20 && first > 50);
    }
    free(memory);
    world_free(&w);
}

/* Sliding-window layers are counted apart, whatever the policy. */
static void test_local_layers(void **state) {
    (void)state;
    test_random random = test_random_make(174);
    static float out[100 * WIDTH];
    attention_world w = world_of(tables.table[0], &random);
    fv_attention *attention = NULL;
    void *memory = choose_attention_open(&w, WORKERS, 0, &attention);
    for (uint32_t i = 0; i < POLICIES; i++)
        for (uint32_t count = 1; count <= 100; count += 99) {
            fv_policy policy = policy_of(i);
            fv_attention_rows rows = rows_of(&w, 400, count, out);
            fv_report report = {.struct_bytes = sizeof report};
            rows.local_window = 50;
            check_status(fv_attention_run(attention, w.cache, &policy, &rows, NULL, &report));
            assert_int_equal(report.local_keys, HEADS * count * 50);
            assert_int_equal(report.keys_read + report.keys_visible + report.selected_keys, 0);
            assert_int_equal(report.sink_keys + report.window_keys + report.whole_keys, 0);
            if (count == 1) assert_int_equal(report.bytes_read, HEADS * 5 * PAGE_BYTES); /* 351..400: pages 21..25 */
        }
    free(memory);
    world_free(&w);
}

/* A report that does not say how long it is, with and without a deadline: nothing is read, nothing written. */
static void test_a_size_that_was_forgotten(void **state) {
    (void)state;
    test_random random = test_random_make(175);
    static float out[2 * WIDTH], before[2 * WIDTH];
    static const uint32_t sizes[] = {0, 1, FV_REPORT_LEAST - 1, FV_REPORT_LEAST, sizeof(fv_report)};
    attention_world w = world_of(tables.table[0], &random);
    fv_attention *attention = NULL;
    void *memory = choose_attention_open(&w, WORKERS, 0, &attention);
    fv_policy policy = policy_of(0);
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        uint32_t bytes = sizes[i / 2];
        uint64_t now = 0;
        fv_progress progress, unset;
        fv_deadline deadline = {.clock = ten_more, .context = &now, .end_ns = UINT64_MAX};
        fv_attention_rows rows = rows_of(&w, 400, 2, out);
        if (i % 2) rows.deadline = &deadline, rows.progress = &progress;
        fv_report report, untouched;
        memset(&report, 0x55, sizeof report);
        memset(&progress, 0x55, sizeof progress);
        memset(out, 0x55, sizeof out);
        report.struct_bytes = bytes;
        memcpy(&untouched, &report, sizeof report);
        memcpy(&unset, &progress, sizeof progress);
        memcpy(before, out, sizeof out);
        bool fine = bytes >= FV_REPORT_LEAST;
        fv_status status = fv_attention_run(attention, w.cache, &policy, &rows, NULL, &report);
        assert_int_equal(status, fine ? FV_OK : FV_ERROR_ARGUMENT);
        assert_int_equal(memcmp(out, before, sizeof out) == 0, !fine);
        assert_int_equal(memcmp(&report, &untouched, sizeof report) == 0, !fine);
        if (fine) continue;
        assert_memory_equal(&progress, &unset, sizeof progress);
        assert_int_equal(now, 0);
    }
    free(memory);
    world_free(&w);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_by_formula),         cmocka_unit_test(test_times_of_all_workers),
        cmocka_unit_test(test_a_deadline_that_is_met),    cmocka_unit_test(test_a_deadline_that_is_missed),
        cmocka_unit_test(test_auto_never_costs_more),     cmocka_unit_test(test_local_layers),
        cmocka_unit_test(test_a_size_that_was_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
