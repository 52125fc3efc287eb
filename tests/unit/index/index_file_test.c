/* index_file_test.c - files of indexes: what is written is read, and nothing else is believed: not one bit that
 * differs, not one byte that is missing, not the state between two writes. */
#include "index/index_file.h"
#include "support/index_world.h"
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH "index_file_test.fvi"

enum { DIM = 21, ROWS = 70 };

static float vectors[ROWS * DIM];

static uint8_t *written(const fv_index *index, size_t *count) {
    WORLD_OK(fv_index_save(index, PATH, why));
    return world_file(PATH, count);
}

/* What opening the bytes and checking all of them comes to. */
static fv_status open_and_check(const uint8_t *bytes, size_t count) {
    fv_index *index = NULL;
    fv_message message = {""};
    fv_status status = fv_index_open_memory(&index, bytes, count, "the index", &message);
    if (status == FV_OK) status = fv_index_check(index, &message);
    assert_true((status == FV_OK) == (message.text[0] == 0));
    assert_true(status == FV_OK || strncmp(message.text, "the index: ", 11) == 0);
    fv_index_close(index);
    return status;
}

static void search_both(const fv_index *index, const fv_index *other) {
    uint64_t labels[2][8 * 5];
    float distances[2][8 * 5];
    fv_index_search search;
    fv_index_search_default(DIM, &search);
    search.queries = vectors;
    search.count = 8;
    search.k = 5;
    WORLD_OK(fv_index_nearest(index, &search, labels[0], distances[0], NULL, why));
    WORLD_OK(fv_index_nearest(other, &search, labels[1], distances[1], NULL, why));
    assert_memory_equal(labels[0], labels[1], sizeof labels[0]);
    assert_memory_equal(distances[0], distances[1], sizeof distances[0]);
}

/* Defect 18: there was no file at all. */
static void defect_18_what_is_written_is_read(void **state) {
    (void)state;
    static const size_t numbers[] = {0, 1, 31, 32, 33, ROWS};
    for (uint32_t metric = 0; metric <= FV_INDEX_COSINE; metric++)
        for (size_t n = 0; n < sizeof numbers / sizeof numbers[0]; n++) {
            fv_index *index = world_index(metric, DIM, numbers[n], vectors, NULL), *opened = NULL;
            WORLD_OK(fv_index_save(index, PATH, why));
            WORLD_OK(fv_index_open(&opened, PATH, why));
            WORLD_OK(fv_index_check(opened, why));
            fv_index_info info[2];
            fv_index_info_get(index, info);
            fv_index_info_get(opened, info + 1);
            assert_true(info[0].rows == info[1].rows && info[0].metric == info[1].metric &&
                        info[0].seed == info[1].seed);
            assert_true(info[1].file_bytes > 0 && info[1].version == 1);
            search_both(index, opened);
            /* a change moves it into memory; the file stays */
            float vector[DIM] = {0.25f};
            uint64_t label = 999;
            WORLD_OK(fv_index_add(opened, 1, DIM, vector, &label, NULL, why));
            WORLD_OK(fv_index_add(index, 1, DIM, vector, &label, NULL, why));
            search_both(index, opened);
            if (numbers[n]) WORLD_OK(fv_index_remove(opened, 1, (const uint64_t[]){0}, why));
            if (numbers[n]) WORLD_OK(fv_index_remove(index, 1, (const uint64_t[]){0}, why));
            search_both(index, opened);
            fv_index_info_get(opened, info + 1);
            assert_int_equal(info[1].file_bytes, 0);
            fv_index_close(index);
            fv_index_close(opened);
            remove(PATH);
        }
}

static void every_bit_matters(void **state) {
    (void)state;
    size_t count;
    fv_index *index = world_index(FV_INDEX_L2, DIM, ROWS, vectors, NULL);
    uint8_t *bytes = written(index, &count);
    assert_int_equal(open_and_check(bytes, count), FV_OK);
    for (size_t i = 0; i < count; i++)
        for (int bit = 0; bit < 8; bit++) {
            if (i >= 1024 && (i + (size_t)bit) % 8) continue; /* a bit of each byte, all of the header and the centre */
            bytes[i] ^= (uint8_t)(1u << bit);
            if (open_and_check(bytes, count) == FV_OK) fail_msg("bit %d of byte %zu of %zu", bit, i, count);
            bytes[i] ^= (uint8_t)(1u << bit);
        }
    free(bytes);
    fv_index_close(index);
    remove(PATH);
}

static void every_byte_matters(void **state) {
    (void)state;
    size_t count;
    fv_index *index = world_index(FV_INDEX_IP, DIM, ROWS, vectors, NULL);
    uint8_t *bytes = written(index, &count);
    for (size_t i = 0; i < count; i++)
        if (open_and_check(bytes, i) == FV_OK) fail_msg("%zu bytes of %zu", i, count);
    bytes[count] = 0;
    assert_int_equal(open_and_check(bytes, count + 1), FV_ERROR_CORRUPT);
    free(bytes);
    fv_index_close(index);
    remove(PATH);
}

static void what_is_damaged_is_neither_changed_nor_written(void **state) {
    (void)state;
    size_t count;
    fv_index *index = world_index(FV_INDEX_L2, DIM, ROWS, vectors, NULL), *opened = NULL;
    uint8_t *bytes = written(index, &count);
    bytes[count - 65] ^= 1;
    fv_message message = {""};
    assert_int_equal(fv_index_open_memory(&opened, bytes, count, "x", &message), FV_OK);
    assert_int_equal(fv_index_add(opened, 1, DIM, vectors, (const uint64_t[]){500}, NULL, &message), FV_ERROR_CORRUPT);
    assert_int_equal(fv_index_remove(opened, 1, (const uint64_t[]){5}, &message), FV_ERROR_CORRUPT);
    assert_int_equal(fv_index_save(opened, PATH, &message), FV_ERROR_CORRUPT);
    assert_non_null(strstr(message.text, "damaged: vectors"));
    fv_index_close(opened);
    free(bytes);
    fv_index_close(index);
    remove(PATH);
}

static void other_files_and_versions_are_named(void **state) {
    (void)state;
    size_t count;
    fv_index *index = world_index(FV_INDEX_L2, DIM, 3, vectors, NULL), *opened = NULL;
    fv_message message = {""};
    uint8_t *bytes = written(index, &count);
    fv_le32_put(bytes + FV_INDEX_AT_VERSION, 4);
    fv_le64_put(bytes + FV_INDEX_AT_CHECKSUM, fv_hash64(0, bytes, FV_INDEX_AT_CHECKSUM));
    assert_int_equal(fv_index_open_memory(&opened, bytes, count, "x", &message), FV_ERROR_UNSUPPORTED);
    assert_string_equal(message.text, "x: is of version 4; this program reads versions 1 to 3");
    assert_int_equal(fv_index_open(&opened, "no_such_file", &message), FV_ERROR_FILE);
    assert_int_equal(fv_index_save(index, "no_such_folder/x", &message), FV_ERROR_FILE);
    free(bytes);
    fv_index_close(index);
    FILE *file = fopen(PATH, "w");
    assert_true(file && fputs("GGUF and other letters, more than a header has, are no index", file) >= 0);
    fclose(file);
    assert_int_equal(fv_index_open(&opened, PATH, &message), FV_ERROR_CORRUPT);
    assert_non_null(strstr(message.text, "is no index"));
    remove(PATH);
}

static size_t kills(void) {
    const char *text = getenv("FV_RUNS");
    return text ? strtoul(text, NULL, 10) : 10;
}

/* A child saves two indexes in turn and is killed at any moment: what is left is one of them. */
static void a_kill_leaves_the_old_or_the_new(void **state) {
    (void)state;
    fv_index *index[2] = {world_index(FV_INDEX_L2, DIM, ROWS, vectors, NULL),
                          world_index(FV_INDEX_L2, DIM, 40, vectors, NULL)};
    test_random random = test_random_make(10);
    WORLD_OK(fv_index_save(index[0], PATH, why));
    size_t runs = kills();
    for (size_t run = 0; run < runs; run++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            for (size_t i = 0;; i++) (void)fv_index_save(index[i % 2], PATH, NULL);
        struct timespec pause = {0, (long)test_random_in(&random, 0, 9000000)};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        fv_index *opened = NULL;
        fv_index_info info;
        WORLD_OK(fv_index_open(&opened, PATH, why));
        WORLD_OK(fv_index_check(opened, why));
        fv_index_info_get(opened, &info);
        assert_true(info.rows == ROWS || info.rows == 40);
        search_both(opened, index[info.rows == 40]);
        fv_index_close(opened);
    }
    fv_index_close(index[0]);
    fv_index_close(index[1]);
    remove(PATH);
    remove(PATH ".part");
}

/* Files are the same whatever processor makes them, now and later: what was saved stays what it is. */
static void files_are_pinned(void **state) {
    (void)state;
    static const uint64_t pinned[] = {0x06730596FB14BE39u, 0x4BE69A185BC9C765u, 0x8ABE7091B29AD7CFu};
    enum { PINNED_DIM = 100, PINNED_ROWS = 150 };
    static float some[PINNED_ROWS * PINNED_DIM];
    if (getenv("FV_SEED")) skip(); /* other vectors */
    manifold_fill(21, 0, PINNED_ROWS, PINNED_DIM, some);
    for (uint32_t metric = 0; metric <= FV_INDEX_COSINE; metric++) {
        size_t count;
        fv_index_link_config link;
        fv_index_link_config_default(&link);
        link.beam = 30;
        fv_index *index = world_index(metric, PINNED_DIM, PINNED_ROWS, some, NULL);
        WORLD_OK(fv_index_link(index, &link, NULL, why));
        uint8_t *bytes = written(index, &count);
        uint64_t hash = fv_hash64(0, bytes, count);
        if (hash != pinned[metric]) fail_msg("metric %u: %#llx", metric, (unsigned long long)hash);
        free(bytes);
        fv_index_close(index);
        remove(PATH);
    }
}

/* The same of rows that are codes or halves. */
static void files_of_other_rows_are_pinned(void **state) {
    (void)state;
    static const struct {
        uint32_t type, metric, lean;
        uint64_t hash;
    } pinned[] = {{FV_INDEX_Q4, FV_INDEX_IP, 1, 0xf2eebd368d5be829u},
                  {FV_INDEX_F16, FV_INDEX_L2, 0, 0xa0f3e6a655da1ca3u},
                  {7, FV_INDEX_COSINE, 0, 0xc8343cbfa0ff6426u}};
    enum { PINNED_DIM = 100, PINNED_ROWS = 150 };
    static float some[PINNED_ROWS * PINNED_DIM];
    if (getenv("FV_SEED")) skip(); /* other vectors */
    manifold_fill(21, 0, PINNED_ROWS, PINNED_DIM, some);
    for (size_t i = 0; i < sizeof pinned / sizeof pinned[0]; i++) {
        size_t count;
        fv_index_config config;
        fv_index_link_config link;
        fv_index *index = NULL;
        fv_index_config_default(PINNED_DIM, pinned[i].metric, &config);
        config.row_type = pinned[i].type;
        fv_index_link_config_default(&link);
        link.beam = 30;
        link.lean = pinned[i].lean;
        WORLD_OK(fv_index_make(&index, &config, why));
        WORLD_OK(fv_index_add(index, PINNED_ROWS, PINNED_DIM, some, NULL, NULL, why));
        WORLD_OK(fv_index_link(index, &link, NULL, why));
        uint8_t *bytes = written(index, &count);
        uint64_t hash = fv_hash64(0, bytes, count);
        if (hash != pinned[i].hash) fail_msg("type %u: %#llx", pinned[i].type, (unsigned long long)hash);
        free(bytes);
        fv_index_close(index);
        remove(PATH);
    }
}

static int fill(void **state) {
    (void)state;
    manifold_fill(7, 0, ROWS, DIM, vectors);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defect_18_what_is_written_is_read),
        cmocka_unit_test(every_bit_matters),
        cmocka_unit_test(every_byte_matters),
        cmocka_unit_test(what_is_damaged_is_neither_changed_nor_written),
        cmocka_unit_test(other_files_and_versions_are_named),
        cmocka_unit_test(a_kill_leaves_the_old_or_the_new),
        cmocka_unit_test(files_are_pinned),
        cmocka_unit_test(files_of_other_rows_are_pinned),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
