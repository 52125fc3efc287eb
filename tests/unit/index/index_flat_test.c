/* index_flat_test.c - a search finds what looking at every vector finds, whatever the metric, the dimension, the number
 * of vectors, the company and the threads; and says what it read. */
#include "fovea/pool.h"
#include "support/index_world.h"
#include <stdio.h>

enum { MOST_ROWS = 6000, MOST_DIM = 200, QUERIES = 20 };

static float vectors[MOST_ROWS * MOST_DIM], queries[QUERIES * MOST_DIM];

static void check_nearest(const fv_index *index, uint32_t metric, uint32_t dim, size_t rows, const uint64_t *labels,
                          uint32_t k, size_t count) {
    uint64_t *got = malloc(count * k * sizeof *got);
    float *distances = malloc(count * k * sizeof *distances);
    fv_index_search search;
    fv_index_search_default(dim, &search);
    search.queries = queries;
    search.count = count;
    search.k = k;
    search.confidence = 20; /* no bound is wrong */
    WORLD_OK(fv_index_nearest(index, &search, got, distances, NULL, why));
    for (size_t q = 0; q < count; q++) {
        fv_near *want = world_sorted(metric, dim, rows, vectors, labels, queries + q * dim);
        for (size_t i = 0; i < k; i++) {
            uint64_t label = i < rows ? want[i].label : FV_INDEX_NO_LABEL;
            float distance = i < rows ? want[i].distance : INFINITY;
            if (got[q * k + i] != label || distances[q * k + i] != distance)
                fail_msg("metric %u dim %u rows %zu k %u query %zu place %zu: %llu at %g, want %llu at %g", metric, dim,
                         rows, k, q, i, (unsigned long long)got[q * k + i], (double)distances[q * k + i],
                         (unsigned long long)label, (double)distance);
        }
        free(want);
    }
    free(got);
    free(distances);
}

/* Defects 14 and 15: dimensions that are no multiple of 8, none, one or fewer vectors than asked for. */
static void defects_14_and_15_any_dimension_and_any_number_of_vectors(void **state) {
    (void)state;
    static const uint32_t dims[] = {1, 2, 3, 63, 64, 65, 72, 100, 128, 200};
    static const size_t numbers[] = {0, 1, 2, 31, 32, 33, 64, 700};
    for (uint32_t metric = 0; metric <= FV_INDEX_COSINE; metric++)
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
            manifold_fill(1 + dims[d], 0, 700, dims[d], vectors);
            manifold_fill(1 + dims[d], 1, 3, dims[d], queries);
            for (size_t n = 0; n < sizeof numbers / sizeof numbers[0]; n++) {
                fv_index *index = world_index(metric, dims[d], numbers[n], vectors, NULL);
                check_nearest(index, metric, dims[d], numbers[n], NULL, 1, 3);
                check_nearest(index, metric, dims[d], numbers[n], NULL, 40, 3);
                fv_index_close(index);
            }
        }
}

/* Defect 3: vectors of one direction and many lengths, and what else no codes by angle can tell apart. */
static void defect_3_lengths_count(void **state) {
    (void)state;
    enum { DIM = 24, ROWS = 900 };
    test_random random = test_random_make(6);
    for (uint32_t metric = 0; metric <= FV_INDEX_COSINE; metric++) {
        test_fill_f32(&random, vectors, ROWS * DIM, 1.0f);
        test_fill_f32(&random, queries, 4 * DIM, 1.0f);
        for (size_t row = 0; row < ROWS; row++)
            for (size_t i = 0; i < DIM; i++) {
                float *x = vectors + row * DIM + i;
                if (row < 300) *x = vectors[600 * DIM + i] * (float)row * 0.01f; /* on one line, from 0 on */
                if (row >= 300 && row < 400) *x = vectors[601 * DIM + i];        /* one vector, a hundred times */
                if (row >= 400 && row < 405) *x = 0;
                if (row == 500) *x *= 1e6f; /* a hub for products */
            }
        memset(queries, 0, DIM * sizeof *queries); /* a query of zeros */
        memcpy(queries + DIM, vectors + 350 * DIM, DIM * sizeof *queries);
        fv_index *index = world_index(metric, DIM, ROWS, vectors, NULL);
        check_nearest(index, metric, DIM, ROWS, NULL, 10, 4);
        check_nearest(index, metric, DIM, ROWS, NULL, 250, 4);
        fv_index_close(index);
    }
}

static fv_index_report search_all(const fv_index *index, uint32_t dim, size_t count, float confidence,
                                  const fv_parallel *parallel, uint64_t *labels, float *distances) {
    fv_index_report report = {.struct_bytes = sizeof report};
    fv_index_search search;
    fv_index_search_default(dim, &search);
    search.queries = queries;
    search.count = count;
    search.parallel = parallel;
    search.confidence = confidence;
    WORLD_OK(fv_index_nearest(index, &search, labels, distances, &report, why));
    return report;
}

static size_t right_of(uint32_t metric, uint32_t dim, size_t rows, size_t count, const float *distances) {
    size_t right = 0;
    for (size_t q = 0; q < count; q++) {
        fv_near *want = world_sorted(metric, dim, rows, vectors, NULL, queries + q * dim);
        for (size_t i = 0; i < 10; i++) right += distances[q * 10 + i] <= want[9].distance;
        free(want);
    }
    return right;
}

/* Defect 2: codes of all-positive vectors must differ; a scan that tells nothing would compute every row. */
static void defect_2_few_rows_are_computed_of_positive_vectors(void **state) {
    (void)state;
    enum { DIM = 128, ROWS = 6000 };
    static uint64_t labels[QUERIES * 10];
    static float distances[QUERIES * 10];
    for (uint32_t metric = 0; metric <= FV_INDEX_COSINE; metric++)
        for (int positive = 0; positive <= 1; positive++) {
            manifold_fill(3, 0, ROWS, DIM, vectors);
            manifold_fill(3, 1, QUERIES, DIM, queries);
            for (size_t i = 0; positive && i < ROWS * DIM; i++) vectors[i] += 1.2f;
            for (size_t i = 0; positive && i < QUERIES * DIM; i++) queries[i] += 1.2f;
            fv_index *index = world_index(metric, DIM, ROWS, vectors, NULL);
            fv_index_report report = search_all(index, DIM, QUERIES, 3, NULL, labels, distances);
            size_t right = right_of(metric, DIM, ROWS, QUERIES, distances);
            printf("metric %u, %s: %zu of %d right, %.2f %% of rows computed\n", metric,
                   positive ? "positive" : "centred", right, QUERIES * 10,
                   (double)report.rows / (ROWS * QUERIES / 100.0));
            assert_true(report.codes == ROWS * QUERIES && report.queries == QUERIES && report.rows >= QUERIES * 10);
            assert_true(right >= QUERIES * 10 - 1);
            assert_true(report.rows < ROWS * QUERIES / 8);
            fv_index_close(index);
        }
}

/* Rows of one shard and of several; each query alone and all together. */
static void company_threads_and_processor_change_no_bit(void **state) {
    (void)state;
    enum { DIM = 65, ROWS = 6000 };
    static uint64_t labels[2][QUERIES * 10];
    static float distances[2][QUERIES * 10];
    fv_pool *pool = NULL;
    assert_int_equal(fv_pool_open(&pool, 3, NULL), FV_OK);
    manifold_fill(4, 0, ROWS, DIM, vectors);
    manifold_fill(4, 1, QUERIES, DIM, queries);
    for (uint32_t metric = 0; metric <= FV_INDEX_COSINE; metric++) {
        fv_index *index = world_index(metric, DIM, ROWS, vectors, NULL), *other = NULL;
        fv_index_report first = search_all(index, DIM, QUERIES, 1.9f, NULL, labels[0], distances[0]);
        fv_index_report second = search_all(index, DIM, QUERIES, 1.9f, fv_pool_parallel(pool), labels[1], distances[1]);
        assert_memory_equal(labels[0], labels[1], sizeof labels[0]);
        assert_memory_equal(distances[0], distances[1], sizeof distances[0]);
        assert_true(first.rows == second.rows && first.codes == second.codes && first.bytes == second.bytes);
        fv_index_search search;
        fv_index_search_default(DIM, &search);
        search.count = 1;
        search.confidence = 1.9f;
        fv_index_config config;
        fv_index_config_default(DIM, metric, &config);
        config.seed = 77;
        config.isa_limit = FV_ISA_SCALAR;
        WORLD_OK(fv_index_make(&other, &config, why));
        WORLD_OK(fv_index_add(other, ROWS, DIM, vectors, NULL, fv_pool_parallel(pool), why));
        for (size_t q = 0; q < QUERIES; q++) {
            search.queries = queries + q * DIM;
            WORLD_OK(fv_index_nearest(other, &search, labels[1] + q * 10, distances[1] + q * 10, NULL, why));
        }
        assert_memory_equal(labels[0], labels[1], sizeof labels[0]);
        assert_memory_equal(distances[0], distances[1], sizeof distances[0]);
        fv_index_close(index);
        fv_index_close(other);
    }
    fv_pool_close(pool);
}

static bool is_third(void *context, uint64_t label) {
    (void)context;
    return label % 3 == 0;
}

static void filters_leave_what_they_let_pass(void **state) {
    (void)state;
    enum { DIM = 40, ROWS = 3000 };
    static uint64_t bits[ROWS / 64 + 1];
    manifold_fill(5, 0, ROWS, DIM, vectors);
    manifold_fill(5, 1, 4, DIM, queries);
    fv_index *index = world_index(FV_INDEX_L2, DIM, ROWS, vectors, NULL);
    for (int share = 0; share < 4; share++) { /* all, one of 7, one of 500, none */
        static const size_t every[] = {1, 7, 500, ROWS + 1};
        memset(bits, 0, sizeof bits);
        for (size_t i = 0; i < ROWS; i++) bits[i / 64] |= (uint64_t)(i % every[share] == every[share] - 1) << i % 64;
        uint64_t labels[12];
        float distances[12];
        fv_index_search search;
        fv_index_search_default(DIM, &search);
        search.k = 12;
        search.count = 1;
        search.confidence = 20;
        search.filter_bits = bits;
        search.filter_words = ROWS / 64; /* the last labels are beyond */
        search.filter = share == 1 ? is_third : NULL;
        for (size_t q = 0; q < 4; q++) {
            search.queries = queries + q * DIM;
            WORLD_OK(fv_index_nearest(index, &search, labels, distances, NULL, why));
            fv_near *all = world_sorted(FV_INDEX_L2, DIM, ROWS, vectors, NULL, search.queries);
            size_t at = 0;
            for (size_t i = 0; i < ROWS && at < 12; i++) {
                if (all[i].label >= ROWS / 64 * 64 || all[i].label % every[share] != every[share] - 1) continue;
                if (share == 1 && all[i].label % 3) continue;
                assert_true(labels[at] == all[i].label && distances[at] == all[i].distance);
                at++;
            }
            for (; at < 12; at++) assert_true(labels[at] == FV_INDEX_NO_LABEL && isinf(distances[at]));
            free(all);
        }
    }
    fv_index_close(index);
}

static void all_within_a_radius_are_found(void **state) {
    (void)state;
    enum { DIM = 40, ROWS = 3000 };
    manifold_fill(6, 0, ROWS, DIM, vectors);
    manifold_fill(6, 1, 4, DIM, queries);
    fv_index_hits hits[4] = {{0}};
    for (uint32_t metric = 0; metric <= FV_INDEX_COSINE; metric++) {
        fv_index *index = world_index(metric, DIM, ROWS, vectors, NULL);
        fv_index_search search;
        fv_index_search_default(DIM, &search);
        search.queries = queries;
        search.count = 4;
        search.confidence = 20;
        static const size_t places[] = {0, 37, ROWS - 1};
        for (size_t p = 0; p < 4; p++) {
            fv_near *first = world_sorted(metric, DIM, ROWS, vectors, NULL, queries);
            float radius = p < 3 ? first[places[p]].distance : INFINITY;
            free(first);
            WORLD_OK(fv_index_within(index, &search, radius, hits, NULL, why));
            assert_true(p == 3 || hits[0].count == places[p] + 1);
            for (size_t q = 0; q < 4; q++) {
                fv_near *all = world_sorted(metric, DIM, ROWS, vectors, NULL, queries + q * DIM);
                for (size_t i = 0; i < hits[q].count; i++)
                    assert_true(hits[q].labels[i] == all[i].label && hits[q].distances[i] == all[i].distance);
                assert_true(hits[q].count == ROWS || all[hits[q].count].distance > radius);
                free(all);
            }
        }
        fv_index_close(index);
    }
    for (size_t q = 0; q < 4; q++) fv_index_hits_free(hits + q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defects_14_and_15_any_dimension_and_any_number_of_vectors),
        cmocka_unit_test(defect_3_lengths_count),
        cmocka_unit_test(defect_2_few_rows_are_computed_of_positive_vectors),
        cmocka_unit_test(company_threads_and_processor_change_no_bit),
        cmocka_unit_test(filters_leave_what_they_let_pass),
        cmocka_unit_test(all_within_a_radius_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
