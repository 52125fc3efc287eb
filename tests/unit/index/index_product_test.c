/* index_product_test.c - inner products of vectors of widely different lengths with queries unlike them: words, as it
 * were, of lognormal lengths, and queries that are sums of eight of them, or no kin of theirs at all. FV_RUNS:
 * thousands of vectors (4). */
#include "fovea/pool.h"
#include "index/index_graph.h"
#include "support/index_world.h"
#include <stdio.h>

enum { DIM = 48, QUERIES = 200, K = 10, WORDS = 8 };

static float *vectors, queries[QUERIES * DIM];
static size_t rows;
static uint64_t labels[2][QUERIES * K];
static float distances[2][QUERIES * K];

static const char *const kinds[] = {"sums of eight", "another surface", "any direction"};

/* Frequent words have small numbers, and sums are of frequent ones. */
static void draw_queries(size_t kind) {
    test_random random = test_random_make(43);
    memset(queries, 0, sizeof queries);
    if (kind == 1) manifold_fill(42, 1, QUERIES, DIM, queries);
    for (size_t i = 0; kind == 2 && i < QUERIES * DIM; i++) queries[i] = manifold_normal(&random);
    for (size_t q = 0; kind == 0 && q < QUERIES * WORDS; q++) {
        double x = (double)test_random_in(&random, 0, 1 << 20) * 0x1p-20;
        size_t row = (size_t)(x * x * x * (double)(rows - 1));
        for (size_t i = 0; i < DIM; i++) queries[q / WORDS * DIM + i] += vectors[row * DIM + i];
    }
}

static double share_of(const fv_index *index, const fv_index_search *search, fv_index_report *report) {
    WORLD_OK(fv_index_nearest(index, search, labels[1], distances[1], report, why));
    size_t found = 0;
    for (size_t i = 0; i < QUERIES * K; i++) found += distances[1][i] <= distances[0][i / K * K + K - 1];
    return (double)found / (QUERIES * K);
}

/* By L2 with one more channel, which makes all as long as the longest: a graph of products themselves has few ways but
 * to the longest. Beams are measured with own vectors, turned ones among them: no easier queries than these. */
static void products_of_uneven_lengths_are_found(void **state) {
    (void)state;
    fv_index_link_config link;
    fv_index *index = world_index(FV_INDEX_IP, DIM, rows, vectors, NULL);
    fv_index_link_config_default(&link);
    link.beam = 100;
    WORLD_OK(fv_index_link(index, &link, NULL, why));
    for (size_t kind = 0; kind < 3; kind++) {
        fv_index_search search;
        draw_queries(kind);
        fv_index_search_default(DIM, &search);
        search.queries = queries;
        search.count = QUERIES;
        search.k = K;
        WORLD_OK(fv_index_nearest(index, &search, labels[0], distances[0], NULL, why));
        for (search.beam = 20; search.beam <= 160; search.beam *= 2) {
            fv_index_report report = {.struct_bytes = sizeof report};
            double share = share_of(index, &search, &report);
            printf("%s, beam %3u: recall %.3f, %.0f visits\n", kinds[kind], search.beam, share,
                   (double)report.visits / QUERIES);
            assert_true(search.beam < 80 || share >= 0.97);
        }
        WORLD_OK(fv_index_beam_for(index, &search, 0.95, &search.beam, why));
        double share = share_of(index, &search, NULL);
        printf("%s, recall 0.95: beam %3u finds %.3f\n", kinds[kind], search.beam, share);
        assert_true(search.beam > 0 && share >= 0.94);
    }
    fv_index_close(index);
}

/* Codes say which neighbours are computed, and results are of those: the same with the kernels of every processor, for
 * any number of threads, and for queries that come alone. */
static void exact_walks_find_the_same_everywhere(void **state) {
    (void)state;
    enum { SOME = 2000 };
    fv_index_config config;
    fv_index_link_config link;
    fv_index_search search;
    fv_pool *pool = NULL;
    WORLD_OK(fv_pool_open(&pool, 3, why));
    draw_queries(1);
    fv_index_config_default(DIM, FV_INDEX_IP, &config);
    fv_index_link_config_default(&link);
    fv_index_search_default(DIM, &search);
    search.queries = queries;
    search.count = QUERIES;
    search.k = K;
    search.beam = 30;
    for (size_t run = 0; run < 2; run++) {
        fv_index *index = NULL;
        fv_index_report report = {.struct_bytes = sizeof report};
        config.isa_limit = run ? FV_ISA_SCALAR : FV_ISA_BEST;
        search.parallel = run ? NULL : fv_pool_parallel(pool);
        WORLD_OK(fv_index_make(&index, &config, why));
        WORLD_OK(fv_index_add(index, SOME, DIM, vectors, NULL, search.parallel, why));
        WORLD_OK(fv_index_link(index, &link, search.parallel, why));
        WORLD_OK(fv_index_nearest(index, &search, labels[run], distances[run], &report, why));
        assert_true(report.rows > report.visits && report.rows < report.codes / 2);
        for (size_t q = 0; q < QUERIES && run; q += 50) {
            fv_index_search alone = search;
            uint64_t found[K];
            float near[K];
            alone.queries = queries + q * DIM;
            alone.count = 1;
            WORLD_OK(fv_index_nearest(index, &alone, found, near, NULL, why));
            assert_memory_equal(found, labels[0] + q * K, sizeof found);
            assert_memory_equal(near, distances[0] + q * K, sizeof near);
        }
        fv_index_close(index);
    }
    assert_memory_equal(labels[0], labels[1], sizeof labels[0]);
    assert_memory_equal(distances[0], distances[1], sizeof distances[0]);
    fv_pool_close(pool);
}

static int fill(void **state) {
    (void)state;
    const char *runs = getenv("FV_RUNS");
    test_random random = test_random_make(41);
    rows = (runs ? strtoul(runs, NULL, 10) : 4) * 1000;
    vectors = malloc(rows * DIM * sizeof *vectors);
    manifold_fill(41, 0, rows, DIM, vectors);
    for (size_t row = 0; row < rows; row++) {
        double size = sqrt(fv_index_product(DIM, vectors + row * DIM, vectors + row * DIM));
        double want = exp(0.5 * (double)manifold_normal(&random));
        for (size_t i = 0; i < DIM; i++) vectors[row * DIM + i] *= (float)(want / size);
    }
    return 0;
}

static int drop(void **state) {
    (void)state;
    free(vectors);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_uneven_lengths_are_found),
        cmocka_unit_test(exact_walks_find_the_same_everywhere),
    };
    return cmocka_run_group_tests(tests, fill, drop);
}
