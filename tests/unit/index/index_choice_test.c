/* index_choice_test.c - a search with a recall finds that share, for the work that is least; what calibration measured
 * is interpolated to the safe side and kept in the file. FV_RUNS: thousands of vectors (2). */
#include "fovea/pool.h"
#include "index/index_choice.h"
#include "index/index_file.h"
#include "support/index_world.h"
#include <stdio.h>

enum { DIM = 32, QUERIES = 400, MOST_K = 100 };

static float *vectors, queries[QUERIES * DIM];
static size_t rows;
static fv_index *shared; /* by L2; nobody changes it */
static uint64_t labels[2][QUERIES * MOST_K];
static float distances[2][QUERIES * MOST_K];

static fv_index *linked(uint32_t metric) {
    fv_index_link_config link;
    fv_index *index = world_index(metric, DIM, rows, vectors, NULL);
    fv_index_link_config_default(&link);
    link.beam = 80;
    link.rounds = 2;
    WORLD_OK(fv_index_link(index, &link, NULL, why));
    return index;
}

static fv_index_search search_for(uint32_t k, float recall) {
    fv_index_search search;
    fv_index_search_default(DIM, &search);
    search.queries = queries;
    search.count = QUERIES;
    search.k = k;
    search.recall = recall;
    return search;
}

static fv_index_report answer(const fv_index *index, const fv_index_search *search, int slot) {
    fv_index_report report = {.struct_bytes = sizeof report};
    WORLD_OK(fv_index_nearest(index, search, labels[slot], distances[slot], &report, why));
    return report;
}

/* Share of slot 1 that is as near as slot 0 says. */
static double share(uint32_t k, size_t count) {
    size_t found = 0, all = 0;
    for (size_t i = 0; i < count * k; i++) {
        float last = distances[0][i / k * k + k - 1];
        all += distances[0][i] < INFINITY;
        found += distances[0][i] < INFINITY && distances[1][i] <= last;
    }
    return all ? (double)found / (double)all : 1;
}

static void a_recall_is_honoured(void **state) {
    (void)state;
    static const uint32_t counts[] = {1, 10, 100};
    static const float recalls[] = {0.8f, 0.9f, 0.95f, 0.99f};
    for (uint32_t metric = 0; metric <= FV_INDEX_IP; metric++) {
        fv_index *index = metric ? linked(metric) : shared;
        for (size_t c = 0; c < 3; c++)
            for (size_t r = 0; r < 4; r++) {
                fv_index_search scan = search_for(counts[c], 0), search = search_for(counts[c], recalls[r]),
                                walk = scan;
                answer(index, &scan, 0);
                fv_index_report report = answer(index, &search, 1);
                double chosen = share(counts[c], QUERIES);
                WORLD_OK(fv_index_beam_for(index, &walk, (double)recalls[r], &walk.beam, why));
                answer(index, &walk, 1);
                double walked = share(counts[c], QUERIES);
                printf("metric %u k %3u recall %.2f: %.4f by %s; beam %u: %.4f\n", metric, counts[c],
                       (double)recalls[r], chosen, report.walks ? "walks" : "scans", walk.beam, walked);
                assert_true(report.walks == 0 || report.walks == QUERIES);
                assert_true(chosen >= (double)recalls[r] - 0.01 && walked >= (double)recalls[r] - 0.01);
            }
        if (index != shared) fv_index_close(index);
    }
}

/* ---- filters ---- */

static uint64_t bits[1 << 15]; /* labels up to 2^21 */
static size_t asked;

static bool has_bit(void *context, uint64_t label) {
    (void)context;
    asked++;
    return bits[label / 64] >> label % 64 & 1;
}

/* Counted work, in bytes, those of rows that are jumped to fourfold. */
static double work_of(const fv_index *index, const fv_index_report *report) {
    uint64_t visits = report->visits, codes = report->codes - visits * index->degree;
    return fv_scan_work(index, (double)codes, (double)(report->rows - visits)) + fv_walk_work(index, (double)visits);
}

/* An index of the survivors alone, scanned. */
static double survivors_work(uint32_t metric, const fv_index_search *search, size_t *count) {
    float *some = malloc(rows * DIM * sizeof *some);
    uint64_t *names = malloc(rows * sizeof *names);
    fv_index_search scan = *search;
    *count = 0;
    for (size_t row = 0; row < rows; row++)
        if (bits[row / 64] >> row % 64 & 1) {
            memcpy(some + *count * DIM, vectors + row * DIM, DIM * sizeof *some);
            names[(*count)++] = row;
        }
    scan.recall = 0;
    scan.filter = NULL;
    scan.filter_bits = NULL;
    fv_index *index = world_index(metric, DIM, *count, some, names);
    fv_index_report report = answer(index, &scan, 0);
    double work = work_of(index, &report);
    fv_index_close(index);
    free(some);
    free(names);
    return work;
}

static void draw_bits(size_t per_hundred_thousand) {
    test_random random = test_random_make(34);
    memset(bits, 0, sizeof bits);
    for (size_t row = 0; row < rows; row++)
        bits[row / 64] |= (uint64_t)(test_random_in(&random, 0, 99999) < per_hundred_thousand) << row % 64;
}

static const char *way_of(const fv_index_report *report) {
    return report->walks > QUERIES / 2 ? "walks" : report->lists ? report->codes ? "packed" : "listed" : "scans";
}

/* Whatever the share that a filter lets pass: 0.95 of what is to be found, for at most twice the work of a scan of an
 * index of the survivors alone. */
static void filters_cost_what_their_survivors_do(void **state) {
    (void)state;
    static const size_t shares[] = {50000, 5000, 500, 50, 0};
    for (int graph = 0; graph <= 1; graph++) {
        fv_index *index = graph ? shared : world_index(FV_INDEX_L2, DIM, rows, vectors, NULL);
        for (size_t s = 0; s < 5; s++)
            for (int call = 0; call <= 1; call++) {
                fv_index_search search = search_for(10, 0.95f);
                size_t count = 0;
                draw_bits(shares[s]);
                double least = survivors_work(FV_INDEX_L2, &search, &count);
                search.filter_bits = call ? NULL : bits;
                search.filter_words = rows / 64 + 1;
                search.filter = call ? has_bit : NULL;
                asked = 0;
                fv_index_report report = answer(index, &search, 1);
                double work = work_of(index, &report);
                if (report.lists && report.codes) /* survivors' codes were gathered, from a block each */
                    work += fv_scan_work(index, (double)count * FV_BLOCK_CODES, 0) * 4;
                printf("%s, %s, %6zu survivors: recall %.4f, %.2f of the survivors' work, by %s, %zu asked\n",
                       graph ? "graph" : "flat", call ? "callback" : "bits", count, share(10, QUERIES), work / least,
                       way_of(&report), asked);
                assert_true(share(10, QUERIES) >= 0.94 && work <= 2 * least);
                for (size_t i = 0; i < QUERIES * 10; i++)
                    assert_true(labels[1][i] == FV_INDEX_NO_LABEL || bits[labels[1][i] / 64] >> labels[1][i] % 64 & 1);
            }
        if (index != shared) fv_index_close(index);
    }
}

/* A query alone has no others to share what a list costs: it does no more than computing every survivor would. */
static void a_filtered_query_alone_costs_no_more_than_its_survivors(void **state) {
    (void)state;
    static const size_t shares[] = {50000, 5000, 500, 50};
    const fv_index *index = shared;
    for (size_t s = 0; s < 4; s++) {
        double work = 0, found = 0;
        size_t count = 0;
        fv_index_report report = {0};
        draw_bits(shares[s]);
        for (size_t row = 0; row < rows; row++) count += bits[row / 64] >> row % 64 & 1;
        for (size_t q = 0; q < 20; q++) {
            fv_index_search search = search_for(10, 0);
            search.queries = queries + q * DIM;
            search.count = 1;
            search.filter_bits = bits;
            search.filter_words = rows / 64 + 1;
            answer(index, &search, 0);
            search.recall = 0.95f;
            report = answer(index, &search, 1);
            work += work_of(index, &report);
            found += share(10, 1) / 20;
        }
        double all = 20 * fv_scan_work(index, 0, (double)count);
        printf("one query, %zu survivors: %.3f of computing all of them, by %s\n", count, work / all,
               report.walks ? "walks" : way_of(&report));
        assert_true(work <= all && found >= 0.94);
    }
}

/* A walk that meets too few survivors says nothing of the others: they are looked for again. */
static void survivors_that_are_all_far_are_found(void **state) {
    (void)state;
    fv_index_search search = search_for(1, 0);
    fv_near *all = world_sorted(FV_INDEX_L2, DIM, rows, vectors, NULL, queries);
    memset(bits, 0, sizeof bits);
    for (size_t i = rows / 2; i < rows; i++) bits[all[i].label / 64] |= (uint64_t)1 << all[i].label % 64;
    search.count = 1;
    search.recall = 0.8f;
    search.filter_bits = bits;
    search.filter_words = rows / 64 + 1;
    fv_index_report report = answer(shared, &search, 1);
    assert_true(report.visits > 0 && report.walks == 0); /* it was walked in vain */
    assert_true(labels[1][0] == all[rows / 2].label && distances[1][0] == all[rows / 2].distance);
    free(all);
}

/* Without a graph, too: a scan for a smaller share looks at fewer rows, and finds it. */
static void a_scan_computes_what_its_recall_needs(void **state) {
    (void)state;
    static const float recalls[] = {1, 0.99f, 0.95f, 0.9f, 0.8f};
    fv_index *index = world_index(FV_INDEX_COSINE, DIM, rows, vectors, NULL);
    uint64_t before = UINT64_MAX;
    for (size_t r = 0; r < sizeof recalls / sizeof recalls[0]; r++) {
        fv_index_search exact = search_for(10, 0), search = search_for(10, recalls[r]);
        answer(index, &exact, 0);
        fv_index_report report = answer(index, &search, 1);
        printf("recall %.2f: %.4f, %.1f rows\n", (double)recalls[r], share(10, QUERIES), (double)report.rows / QUERIES);
        assert_true(share(10, QUERIES) >= (double)recalls[r] && report.rows < before);
        before = report.rows;
    }
    fv_index_close(index);
}

static void a_table_is_interpolated_to_the_safe_side(void **state) {
    (void)state;
    fv_calibration table = {.queries = 1000, .rows = {10, 40, 160}, .visits = 1.25f};
    static const uint32_t beam[] = {10, 20, 40, 80};
    static const double shares[] = {0.5, 0.8, 0.94, 0.992};
    for (size_t i = 0; i < FV_CALIBRATED_COUNTS; i++) fv_calibration_fill(&table, i, 4, beam, shares);
    assert_true(table.beams[2][0] > 16 && table.beams[2][0] <= 18); /* 0.7: two thirds of the way, and a deviation */
    assert_true(table.beams[0][3] > 40 && table.beams[0][3] >= table.beams[2][3]);
    assert_int_equal(table.beams[0][7], 0); /* 0.999 was not met */
    assert_true(fv_calibrated_beam(&table, 10, (double)0.95f) == table.beams[1][3]);
    assert_true(fv_calibrated_beam(&table, 1, 0.2) == table.beams[0][0]);
    assert_true(fv_calibrated_beam(&table, 10, 0.999) == 0 && fv_calibrated_beam(&table, 10, 1) == 0);
    double middle = fv_calibrated_beam(&table, 10, 0.93);
    assert_true(middle > table.beams[1][2] && middle < table.beams[1][3]);
    assert_true(fv_calibrated_beam(&table, 300, 0.9) == 3.0 * table.beams[2][2]);
    assert_true(fv_calibrated_rows(&table, 1, 1000) == 10 && fv_calibrated_rows(&table, 100, 1000) == 160);
    assert_true(fv_calibrated_rows(&table, 10, 1000) == 40 && fv_calibrated_rows(&table, 400, 1000) == 320);
    assert_true(fv_calibrated_rows(&table, 40000, 1000) == 1000);
    table.beams[0][5] = 0;
    assert_true(fv_calibrated_beam(&table, 1, 0.985) == 0); /* one side of it is not known */
    uint8_t bytes[FV_CALIBRATION_BYTES];
    fv_calibration other;
    fv_calibration_put(&table, bytes);
    assert_true(fv_calibration_get(bytes, &other));
    assert_memory_equal(&table, &other, sizeof table);
    bytes[79] = 1;
    assert_false(fv_calibration_get(bytes, &other));
}

/* Queries unlike the vectors need more; measured with them, the recall is honoured for them. */
static void given_queries_calibrate(void **state) {
    (void)state;
    static float given[QUERIES * DIM], saved[QUERIES * DIM];
    test_random random = test_random_make(33);
    memcpy(saved, queries, sizeof saved);
    test_fill_f32(&random, queries, QUERIES * DIM, 1.5f);
    test_fill_f32(&random, given, QUERIES * DIM, 1.5f);
    fv_index *index = linked(FV_INDEX_L2);
    fv_index_search scan = search_for(10, 0), walk = scan;
    WORLD_OK(fv_index_beam_for(index, &walk, 0.9, &walk.beam, why));
    uint32_t before = walk.beam;
    answer(index, &scan, 0);
    answer(index, &walk, 1);
    double unlike = share(10, QUERIES);
    WORLD_OK(fv_index_calibrate(index, QUERIES, DIM, given, NULL, why));
    WORLD_OK(fv_index_beam_for(index, &walk, 0.9, &walk.beam, why));
    answer(index, &walk, 1);
    printf("queries unlike the vectors: beam %u finds %.3f, beam %u %.3f\n", before, unlike, walk.beam,
           share(10, QUERIES));
    assert_true(walk.beam > before && unlike < 0.89 && share(10, QUERIES) >= 0.89);
    fv_message message;
    assert_int_equal(fv_index_calibrate(index, 1, DIM + 1, given, NULL, &message), FV_ERROR_SHAPE);
    given[3] = NAN;
    assert_int_equal(fv_index_calibrate(index, 1, DIM, given, NULL, &message), FV_ERROR_NOT_FINITE);
    assert_int_equal(fv_index_calibrate(index, 1, DIM, NULL, NULL, &message), FV_ERROR_ARGUMENT);
    fv_index_close(index);
    memcpy(queries, saved, sizeof saved);
}

static void what_was_measured_is_kept(void **state) {
    (void)state;
    static const char path[] = "index_choice_test.fvi";
    fv_index *index = linked(FV_INDEX_COSINE), *opened = NULL;
    fv_pool *pool = NULL;
    fv_calibration before = index->calibration;
    printf("%u queries, beam %u, %.1f %.1f %.1f rows, %.3f visits a row of the beam\n", before.queries,
           before.beams[1][3], (double)before.rows[0], (double)before.rows[1], (double)before.rows[2],
           (double)before.visits);
    assert_true(before.queries >= 256 && before.beams[1][3] >= 10 && before.rows[1] > 10 && before.visits > 0.5f &&
                before.visits < 3);
    assert_int_equal(fv_pool_open(&pool, 3, NULL), FV_OK);
    WORLD_OK(fv_index_calibrate(index, 0, 0, NULL, fv_pool_parallel(pool), why));
    assert_memory_equal(&before, &index->calibration, sizeof before);
    fv_pool_close(pool);
    WORLD_OK(fv_index_save(index, path, why));
    WORLD_OK(fv_index_open(&opened, path, why));
    assert_memory_equal(&before, &opened->calibration, sizeof before);
    remove(path);
    fv_index_close(opened);
    fv_index_close(index);
}

/* A graph that grows is measured again, but for what the caller measured. */
static void what_was_measured_follows_the_graph(void **state) {
    (void)state;
    fv_index_link_config link;
    fv_index *index = world_index(FV_INDEX_L2, DIM, 150, vectors, NULL);
    fv_index_link_config_default(&link);
    WORLD_OK(fv_index_link(index, &link, NULL, why));
    assert_int_equal(index->calibration.queries, 0);
    WORLD_OK(fv_index_add(index, 250, DIM, vectors + 150 * DIM, NULL, NULL, why));
    assert_int_equal(index->calibration.vectors, 400);
    WORLD_OK(fv_index_add(index, 199, DIM, vectors + 400 * DIM, NULL, NULL, why));
    assert_int_equal(index->calibration.vectors, 400);
    WORLD_OK(fv_index_add(index, 1, DIM, vectors + 599 * DIM, NULL, NULL, why));
    assert_true(index->calibration.vectors == 600 && index->calibration.beams[1][1] >= 10);
    WORLD_OK(fv_index_calibrate(index, QUERIES, DIM, queries, NULL, why));
    fv_calibration given = index->calibration;
    WORLD_OK(fv_index_add(index, 600, DIM, vectors + 600 * DIM, NULL, NULL, why));
    assert_memory_equal(&given, &index->calibration, sizeof given);
    assert_int_equal(given.is_given, 1);
    fv_index_close(index);
}

static void without_a_graph_all_is_scanned(void **state) {
    (void)state;
    fv_index *index = world_index(FV_INDEX_L2, DIM, rows, vectors, NULL);
    for (int measured = 0; measured <= 1; measured++) {
        fv_index_search search = search_for(10, 0.95f);
        uint32_t beam = 5;
        fv_index_report report = answer(index, &search, 1);
        assert_true(report.walks == 0 && report.codes == QUERIES * rows);
        WORLD_OK(fv_index_beam_for(index, &search, 0.95, &beam, why));
        assert_int_equal(beam, 0);
        WORLD_OK(fv_index_calibrate(index, 0, 0, NULL, NULL, why));
        assert_true(index->calibration.queries > 0);
    }
    fv_message message;
    fv_index_search search = search_for(10, 1.5f);
    assert_int_equal(fv_index_nearest(index, &search, labels[0], distances[0], NULL, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "recall is 1.5"));
    search = search_for(10, NAN);
    assert_int_equal(fv_index_nearest(index, &search, labels[0], distances[0], NULL, &message), FV_ERROR_ARGUMENT);
    fv_index_close(index);
    search = search_for(10, 0.5f);
    search.beam = 10;
    assert_int_equal(fv_index_nearest(shared, &search, labels[0], distances[0], NULL, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "one of them"));
}

/* Many vectors of few channels are walked to. Few are scanned, without a try; so are some that are all nearly equally
 * far, after one. */
static void a_graph_stays_if_it_is_less_work(void **state) {
    (void)state;
    enum { MOST = 8 * 4000 };
    static const struct {
        uint32_t dim;
        size_t rows;
        bool graph;
    } sets[] = {{8, 4000, true}, {8, 600, false}, {64, 400, false}};
    static float even[MOST];
    test_random random = test_random_make(35);
    fv_index_link_config link;
    fv_index_link_config_default(&link);
    link.if_less = 1;
    link.beam = 60;
    link.rounds = 2;
    test_fill_f32(&random, even, MOST, 1.0f);
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++) {
        fv_index_info info;
        fv_index *index = world_index(FV_INDEX_L2, sets[s].dim, sets[s].rows, even, NULL);
        WORLD_OK(fv_index_link(index, &link, NULL, why));
        fv_index_info_get(index, &info);
        printf("%zu vectors of %u channels: %s\n", sets[s].rows, sets[s].dim, info.degree ? "graph" : "flat");
        assert_true((info.degree != 0) == sets[s].graph && fv_walks_are_less(index) == sets[s].graph);
        assert_true(index->calibration.queries > 0);
        fv_index_close(index);
    }
    fv_message message;
    link.if_less = 2;
    assert_int_equal(fv_index_link(shared, &link, NULL, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "if_less is 2"));
}

typedef struct progress_seen {
    size_t last, calls, stop_at;
} progress_seen;

static bool see(void *context, size_t done, size_t total) {
    progress_seen *seen = context;
    assert_true(done > seen->last && done <= total && total == 2 * rows);
    seen->last = done;
    return ++seen->calls != seen->stop_at;
}

static void progress_is_told_and_may_stop(void **state) {
    (void)state;
    fv_index_link_config link;
    fv_index_info info;
    fv_index_link_config_default(&link);
    link.beam = 20;
    link.rounds = 2;
    link.progress = see;
    for (size_t stop_at = 0; stop_at <= 1; stop_at++) {
        progress_seen seen = {.stop_at = stop_at};
        fv_index *index = world_index(FV_INDEX_L2, DIM, rows, vectors, NULL);
        link.progress_context = &seen;
        fv_message message;
        assert_int_equal(fv_index_link(index, &link, NULL, &message), stop_at ? FV_ERROR_INTERRUPTED : FV_OK);
        fv_index_info_get(index, &info);
        assert_true(stop_at ? info.degree == 0 && seen.calls == 1 : info.degree == 32 && seen.last == 2 * rows);
        fv_index_close(index);
    }
}

/* None, one, fewer than neighbours, all the same: what a scan finds, with and without a filter that lets nothing pass.
 */
static void small_sets_are_answered(void **state) {
    (void)state;
    static const size_t numbers[] = {0, 1, 2, 31, 33, 250};
    static float same[250 * DIM];
    for (size_t i = 0; i < 250 * DIM; i++) same[i] = vectors[i % DIM];
    for (int equal = 0; equal <= 1; equal++)
        for (size_t n = 0; n < sizeof numbers / sizeof numbers[0]; n++) {
            fv_index_link_config link;
            fv_index_link_config_default(&link);
            fv_index *index = world_index(FV_INDEX_COSINE, DIM, numbers[n], equal ? same : vectors, NULL);
            WORLD_OK(fv_index_link(index, &link, NULL, why));
            for (uint32_t k = 1; k <= 300; k *= 17) {
                fv_index_search search = search_for(k, 0);
                search.count = 5;
                answer(index, &search, 0);
                search.recall = 1;
                answer(index, &search, 1);
                assert_memory_equal(distances[0], distances[1], 5 * k * sizeof distances[0][0]);
                search.recall = 0.9f;
                answer(index, &search, 1);
                assert_true(share(k, 5) >= 0.8);
                memset(bits, 0, sizeof bits);
                search.filter_bits = bits;
                search.filter_words = 4;
                answer(index, &search, 1);
                for (size_t i = 0; i < 5 * k; i++) assert_true(labels[1][i] == FV_INDEX_NO_LABEL);
            }
            fv_index_close(index);
        }
}

static int fill(void **state) {
    (void)state;
    const char *runs = getenv("FV_RUNS");
    rows = (runs ? strtoul(runs, NULL, 10) : 2) * 1000;
    vectors = malloc(rows * DIM * sizeof *vectors);
    manifold_fill(31, 0, rows, DIM, vectors);
    manifold_fill(31, 1, QUERIES, DIM, queries);
    shared = linked(FV_INDEX_L2);
    return 0;
}

static int drop(void **state) {
    (void)state;
    fv_index_close(shared);
    free(vectors);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recall_is_honoured),
        cmocka_unit_test(filters_cost_what_their_survivors_do),
        cmocka_unit_test(a_filtered_query_alone_costs_no_more_than_its_survivors),
        cmocka_unit_test(survivors_that_are_all_far_are_found),
        cmocka_unit_test(a_scan_computes_what_its_recall_needs),
        cmocka_unit_test(a_table_is_interpolated_to_the_safe_side),
        cmocka_unit_test(given_queries_calibrate),
        cmocka_unit_test(what_was_measured_is_kept),
        cmocka_unit_test(what_was_measured_follows_the_graph),
        cmocka_unit_test(without_a_graph_all_is_scanned),
        cmocka_unit_test(small_sets_are_answered),
        cmocka_unit_test(a_graph_stays_if_it_is_less_work),
        cmocka_unit_test(progress_is_told_and_may_stop),
    };
    return cmocka_run_group_tests(tests, fill, drop);
}
