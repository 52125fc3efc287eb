/* graph_degree_test.c - where nobody says, the degree follows the vectors: the same for whoever asks. */
#include "fovea/pool.h"
#include "index/graph_degree.h"
#include "support/index_world.h"

enum { DIM = 40, ROWS = 33000, COPIES = 100, GONE = 31000 };

static float *surface, *cube; /* [ROWS][DIM]: of 16 dimensions, and of as many as there are channels */

static fv_index *made(uint32_t metric, uint32_t row_type, uint32_t isa_limit, size_t rows, const float *vectors) {
    fv_index_config config;
    fv_index *index = NULL;
    fv_index_config_default(DIM, metric, &config);
    config.seed = 9;
    config.row_type = row_type;
    config.isa_limit = isa_limit;
    WORLD_OK(fv_index_make(&index, &config, why));
    WORLD_OK(fv_index_add(index, rows, DIM, vectors, NULL, NULL, why));
    return index;
}

static uint32_t degree_for(uint32_t metric, uint32_t row_type, size_t rows, const float *vectors) {
    fv_index *index = made(metric, row_type, FV_ISA_BEST, rows, vectors);
    uint32_t degree = fv_graph_degree_for(index, false, NULL);
    assert_int_equal(fv_graph_degree_for(index, true, NULL), 32); /* lean */
    fv_index_close(index);
    return degree;
}

static void it_follows_the_dimensions_that_vectors_spread_in(void **state) {
    (void)state;
    static const uint32_t types[] = {FV_INDEX_F32, FV_INDEX_BF16, FV_INDEX_Q8};
    for (uint32_t kind = 0; kind < 3; kind++) { /* a metric with a type of rows */
        assert_int_equal(degree_for(kind, types[kind], ROWS, surface), 32);
        assert_int_equal(degree_for(kind, types[kind], ROWS, cube), 64);
    }
}

static void it_is_the_same_for_any_threads_and_processor(void **state) {
    (void)state;
    fv_pool *pool = NULL;
    assert_int_equal(fv_pool_open(&pool, 3, NULL), FV_OK);
    for (uint32_t isa = FV_ISA_SCALAR; isa <= FV_ISA_BEST; isa += FV_ISA_BEST - FV_ISA_SCALAR)
        for (int wide = 0; wide <= 1; wide++) {
            fv_index *index = made(FV_INDEX_L2, FV_INDEX_F32, isa, ROWS, wide ? cube : surface);
            assert_int_equal(fv_graph_degree_for(index, false, NULL), wide ? 64 : 32);
            assert_int_equal(fv_graph_degree_for(index, false, fv_pool_parallel(pool)), wide ? 64 : 32);
            fv_index_close(index);
        }
    fv_pool_close(pool);
}

static void few_and_equal_vectors_have_the_least(void **state) {
    (void)state;
    float *copies = malloc(ROWS * DIM * sizeof *copies);
    for (size_t row = 0; row < ROWS; row++) memcpy(copies + row * DIM, cube + row % COPIES * DIM, DIM * sizeof *copies);
    assert_int_equal(degree_for(FV_INDEX_L2, FV_INDEX_F32, ROWS, copies), 32);
    for (size_t rows = 0; rows <= 5000; rows = rows * 10 + 5)
        assert_int_equal(degree_for(FV_INDEX_L2, FV_INDEX_F32, rows, cube), 32);
    free(copies);
}

static uint32_t linked_degree(fv_index *index, uint32_t degree) {
    fv_index_link_config link;
    fv_index_info info;
    fv_index_link_config_default(&link);
    assert_int_equal(link.degree, 0);
    link.degree = degree;
    link.beam = 2;
    WORLD_OK(fv_index_link(index, &link, NULL, why));
    fv_index_info_get(index, &info);
    return info.degree;
}

/* What comes and goes changes nothing of it, nor does a file; to link again does. */
static void an_index_keeps_it(void **state) {
    (void)state;
    static const char path[] = "graph_degree_test.fvi";
    static uint64_t labels[GONE];
    fv_index_info info;
    fv_index *index = made(FV_INDEX_L2, FV_INDEX_F32, FV_ISA_BEST, ROWS, cube), *opened = NULL;
    assert_int_equal(linked_degree(index, 0), 64);
    for (size_t i = 0; i < GONE; i++) labels[i] = i;
    WORLD_OK(fv_index_remove(index, GONE, labels, why)); /* more than a fifth: rows are taken out */
    WORLD_OK(fv_index_add(index, 10, DIM, surface, labels, NULL, why));
    WORLD_OK(fv_index_save(index, path, why));
    WORLD_OK(fv_index_open(&opened, path, why));
    fv_index_info_get(opened, &info);
    assert_true(info.degree == 64 && info.rows == ROWS - GONE + 10);
    fv_index_close(opened);
    remove(path);
    assert_int_equal(linked_degree(index, 0), 32); /* they are few now */
    assert_int_equal(linked_degree(index, 96), 96);
    fv_index_close(index);
}

static int fill(void **state) {
    (void)state;
    test_random random = test_random_make(41);
    surface = malloc(ROWS * DIM * sizeof *surface);
    cube = malloc(ROWS * DIM * sizeof *cube);
    manifold_fill(42, 0, ROWS, DIM, surface);
    test_fill_f32(&random, cube, ROWS * DIM, 1.0f);
    return 0;
}

static int drop(void **state) {
    (void)state;
    free(surface);
    free(cube);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_follows_the_dimensions_that_vectors_spread_in),
        cmocka_unit_test(it_is_the_same_for_any_threads_and_processor),
        cmocka_unit_test(few_and_equal_vectors_have_the_least),
        cmocka_unit_test(an_index_keeps_it),
    };
    return cmocka_run_group_tests(tests, fill, drop);
}
