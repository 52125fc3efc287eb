/* index_test.c - an index grows and shrinks, and refuses what it can't do with a sentence, unchanged. */
#include "support/index_world.h"
#include <stdio.h>

enum { DIM = 20, MOST = 400 };

static void expect(fv_status got, fv_status want, const fv_message *message, const char *part) {
    if (got != want || !strstr(message->text, part))
        fail_msg("status %d, \"%s\": want %d, \"%s\"", got, message->text, want, part);
}

/* What is left after any additions and removals is what is found. */
static void what_is_added_is_there_and_what_is_removed_is_not(void **state) {
    (void)state;
    test_random random = test_random_make(8);
    static float vectors[MOST * DIM], left[MOST * DIM];
    static bool is_there[MOST];
    memset(is_there, 0, sizeof is_there);
    test_fill_f32(&random, vectors, MOST * DIM, 1.0f);
    fv_index *index = world_index(FV_INDEX_L2, DIM, 0, vectors, NULL);
    for (int run = 0; run < 600; run++) {
        uint64_t label = test_random_in(&random, 0, MOST - 1), labels[MOST], got[5];
        float vector[DIM], distances[5];
        fv_message message = {""};
        if (is_there[label])
            WORLD_OK(fv_index_remove(index, 1, &label, why));
        else
            WORLD_OK(fv_index_add(index, 1, DIM, vectors + label * DIM, &label, NULL, why));
        is_there[label] = !is_there[label];
        size_t rows = 0;
        for (uint64_t i = 0; i < MOST; i++) {
            if (!is_there[i]) continue;
            memcpy(left + rows * DIM, vectors + i * DIM, DIM * sizeof *left);
            labels[rows++] = i;
        }
        fv_index_info info;
        fv_index_info_get(index, &info);
        assert_true(info.rows == rows && info.dimension == DIM && info.file_bytes == 0);
        assert_int_equal(fv_index_vector(index, label, vector, &message), is_there[label] ? FV_OK : FV_ERROR_ARGUMENT);
        if (is_there[label]) assert_memory_equal(vector, vectors + label * DIM, sizeof vector);
        if (run % 10) continue;
        fv_index_search search;
        fv_index_search_default(DIM, &search);
        search.queries = vectors + label * DIM;
        search.count = 1;
        search.k = 5;
        search.confidence = 20;
        WORLD_OK(fv_index_nearest(index, &search, got, distances, NULL, why));
        fv_near *all = world_sorted(FV_INDEX_L2, DIM, rows, left, labels, search.queries);
        for (size_t i = 0; i < 5; i++) assert_true(got[i] == (i < rows ? all[i].label : FV_INDEX_NO_LABEL));
        free(all);
    }
    fv_index_close(index);
}

static void many_labels_of_one_place_are_told_apart(void **state) {
    (void)state;
    enum { ROWS = 3000 };
    static uint64_t labels[ROWS];
    fv_label_map map = {0};
    test_random random = test_random_make(9);
    for (size_t i = 0; i < ROWS; i++) labels[i] = (uint64_t)i << 40;
    assert_true(fv_label_map_reserve(&map, labels, 10));
    for (uint32_t i = 0; i < ROWS; i++) {
        assert_true(fv_label_map_reserve(&map, labels, i + 1));
        fv_label_map_put(&map, labels, i);
    }
    static bool gone[ROWS];
    for (int run = 0; run < 20000; run++) {
        uint32_t row = test_random_in(&random, 0, ROWS - 1);
        if (gone[row])
            fv_label_map_put(&map, labels, row);
        else
            fv_label_map_drop(&map, labels, row);
        gone[row] = !gone[row];
        uint32_t other = test_random_in(&random, 0, ROWS - 1);
        assert_int_equal(fv_label_map_find(&map, labels, labels[other]), gone[other] ? FV_NO_ROW : other);
    }
    fv_label_map_free(&map);
}

static void bad_configurations_are_refused(void **state) {
    (void)state;
    fv_index *index = NULL;
    fv_index_config config;
    fv_message message;
    fv_index_config_default(0, FV_INDEX_L2, &config);
    expect(fv_index_make(&index, &config, &message), FV_ERROR_ARGUMENT, &message, "the dimension is 0");
    fv_index_config_default(65536, FV_INDEX_L2, &config);
    expect(fv_index_make(&index, &config, &message), FV_ERROR_ARGUMENT, &message, "65536");
    fv_index_config_default(4, 3, &config);
    expect(fv_index_make(&index, &config, &message), FV_ERROR_ARGUMENT, &message, "metric 3");
    fv_index_config_default(4, FV_INDEX_L2, &config);
    config.reserved[8] = 1;
    expect(fv_index_make(&index, &config, &message), FV_ERROR_ARGUMENT, &message, "reserved");
    config.reserved[8] = 0;
    config.isa_limit = 99;
    expect(fv_index_make(&index, &config, &message), FV_ERROR_ARGUMENT, &message, "isa_limit 99");
    expect(fv_index_make(NULL, &config, &message), FV_ERROR_ARGUMENT, &message, "NULL");
    assert_null(index);
}

static void bad_vectors_and_labels_are_refused_and_change_nothing(void **state) {
    (void)state;
    float vectors[4 * DIM] = {1, 2, 3};
    fv_message message;
    fv_index_info info;
    fv_index *index = world_index(FV_INDEX_L2, DIM, 2, vectors, (const uint64_t[]){10, 11});
    expect(fv_index_add(index, 1, DIM + 1, vectors, NULL, NULL, &message), FV_ERROR_SHAPE, &message,
           "dimension 21, the index has 20");
    expect(fv_index_add(index, 2, DIM, vectors, (const uint64_t[]){12, 11}, NULL, &message), FV_ERROR_ARGUMENT,
           &message, "label 11 is there already");
    expect(fv_index_add(index, 2, DIM, vectors, (const uint64_t[]){12, 12}, NULL, &message), FV_ERROR_ARGUMENT,
           &message, "label 12 is there already");
    expect(fv_index_add(index, 1, DIM, vectors, (const uint64_t[]){UINT64_MAX}, NULL, &message), FV_ERROR_ARGUMENT,
           &message, "stands for no vector");
    expect(fv_index_remove(index, 2, (const uint64_t[]){10, 12}, &message), FV_ERROR_ARGUMENT, &message,
           "no vector has the label 12");
    expect(fv_index_remove(index, 2, (const uint64_t[]){10, 10}, &message), FV_ERROR_ARGUMENT, &message, "twice");
    vectors[DIM + 3] = NAN;
    expect(fv_index_add(index, 2, DIM, vectors, NULL, NULL, &message), FV_ERROR_NOT_FINITE, &message,
           "vector 1, element 3 is nan");
    vectors[DIM + 3] = -INFINITY;
    expect(fv_index_add(index, 2, DIM, vectors, NULL, NULL, &message), FV_ERROR_NOT_FINITE, &message, "-inf");
    vectors[DIM + 3] = 2e15f;
    expect(fv_index_add(index, 2, DIM, vectors, NULL, NULL, &message), FV_ERROR_RANGE, &message, "at most 1e+15");
    fv_index_info_get(index, &info);
    assert_int_equal(info.rows, 2);
    WORLD_OK(fv_index_add(index, 2, DIM, (float[2 * DIM]){0}, (const uint64_t[]){12, 13}, NULL, why));
    fv_index_close(index);
}

/* Defect 15: a query of another dimension read past its end, and a NaN was equal to everything. */
static void defect_15_bad_searches_are_refused_and_write_nothing(void **state) {
    (void)state;
    float vectors[4 * DIM] = {1, 2, 3}, distances[10];
    uint64_t labels[10];
    fv_message message = {""};
    fv_index_search search, good;
    fv_index_report report = {0};
    fv_index *index = world_index(FV_INDEX_L2, DIM, 4, vectors, NULL);
    memset(labels, 0x88, sizeof labels);
    fv_index_search_default(DIM, &good);
    good.queries = vectors;
    good.count = 1;
    search = good;
    search.dimension = DIM - 1;
    expect(fv_index_nearest(index, &search, labels, distances, NULL, &message), FV_ERROR_SHAPE, &message,
           "dimension 19");
    search = good;
    search.k = 0;
    expect(fv_index_nearest(index, &search, labels, distances, NULL, &message), FV_ERROR_ARGUMENT, &message, "k is 0");
    search = good;
    search.confidence = NAN;
    expect(fv_index_nearest(index, &search, labels, distances, NULL, &message), FV_ERROR_ARGUMENT, &message, "nan");
    search = good;
    search.reserved[6] = 1;
    expect(fv_index_nearest(index, &search, labels, distances, NULL, &message), FV_ERROR_ARGUMENT, &message,
           "reserved");
    search = good;
    search.beam = 10;
    expect(fv_index_nearest(index, &search, labels, distances, NULL, &message), FV_ERROR_ARGUMENT, &message,
           "no graph");
    expect(fv_index_nearest(index, &good, labels, NULL, NULL, &message), FV_ERROR_ARGUMENT, &message, "NULL");
    expect(fv_index_nearest(index, &good, labels, distances, &report, &message), FV_ERROR_ARGUMENT, &message,
           "struct_bytes");
    expect(fv_index_within(index, &good, NAN, &(fv_index_hits){0}, NULL, &message), FV_ERROR_ARGUMENT, &message,
           "radius");
    search = good;
    search.recall = 0.5f;
    expect(fv_index_within(index, &search, 1, &(fv_index_hits){0}, NULL, &message), FV_ERROR_ARGUMENT, &message,
           "recall is 0.5");
    search.recall = -1;
    expect(fv_index_nearest(index, &search, labels, distances, NULL, &message), FV_ERROR_ARGUMENT, &message,
           "recall is -1");
    vectors[1] = NAN;
    expect(fv_index_nearest(index, &good, labels, distances, NULL, &message), FV_ERROR_NOT_FINITE, &message,
           "query 0, element 1 is nan");
    for (size_t i = 0; i < sizeof labels; i++) assert_int_equal(((unsigned char *)labels)[i], 0x88);
    vectors[1] = 2;
    assert_int_equal(fv_index_nearest(index, &good, labels, distances, NULL, &message), FV_OK);
    assert_string_equal(message.text, "k is 10 and the index holds 4: the rest of the results is empty");
    assert_true(labels[3] < 4 && labels[4] == FV_INDEX_NO_LABEL);
    fv_index_close(index);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_added_is_there_and_what_is_removed_is_not),
        cmocka_unit_test(many_labels_of_one_place_are_told_apart),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(bad_vectors_and_labels_are_refused_and_change_nothing),
        cmocka_unit_test(defect_15_bad_searches_are_refused_and_write_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
