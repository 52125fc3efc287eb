/* index_rows_test.c - rows of all types, scanned, in graphs and in lean ones: a search finds the nearest of what is
 * kept, and of what came as many as so few bits tell apart; they live through changes, files and journals. */
#include "fovea/pool.h"
#include "index/index_file.h"
#include "index/index_graph.h"
#include "support/index_world.h"

enum { DIM = 100, ROWS = 600, QUERIES = 30, K = 10, TYPES = 6, FORMS = 3 };

#define PATH "index_rows_test.fvi"

static const uint32_t types[TYPES] = {FV_INDEX_F32, FV_INDEX_F16, FV_INDEX_BF16, FV_INDEX_Q8, FV_INDEX_Q4, 3};
typedef enum form { FLAT, GRAPH, LEAN } form;

static float vectors[ROWS * DIM], queries[QUERIES * DIM];

static fv_index *made(uint32_t metric, uint32_t type, form what, size_t rows, uint32_t isa_limit,
                      const fv_parallel *parallel) {
    fv_index_config config;
    fv_index_link_config link;
    fv_index *index = NULL;
    fv_index_config_default(DIM, metric, &config);
    config.row_type = type;
    config.isa_limit = isa_limit;
    fv_index_link_config_default(&link);
    link.beam = 40;
    link.lean = what == LEAN;
    WORLD_OK(fv_index_make(&index, &config, why));
    WORLD_OK(fv_index_add(index, rows, DIM, vectors, NULL, parallel, why));
    if (what != FLAT) WORLD_OK(fv_index_link(index, &link, parallel, why));
    return index;
}

static void search_with(const fv_index *index, uint32_t beam, uint64_t *labels, float *distances) {
    world_search(index, &(world_query){queries, QUERIES, K, beam}, labels, distances);
}

/* Share of the nearest by `truth` [QUERIES][K] labels. */
static double share_of(const uint64_t *truth, const uint64_t *labels) {
    size_t right = 0;
    for (size_t i = 0; i < QUERIES * K; i++)
        for (size_t j = 0; j < K; j++) right += truth[i] == labels[i / K * K + j];
    return (double)right / (QUERIES * K);
}

/* A scan finds the nearest of the vectors that it gives out, at their distances. */
static void check_kept(const fv_index *index, uint32_t metric, double slack, const uint64_t *labels,
                       const float *distances) {
    static float kept[ROWS * DIM];
    for (uint64_t row = 0; row < ROWS; row++) WORLD_OK(fv_index_vector(index, row, kept + row * DIM, why));
    for (size_t q = 0; q < QUERIES; q++) {
        const float *query = queries + q * DIM;
        fv_near *all = world_sorted(metric == FV_INDEX_COSINE ? FV_INDEX_IP : metric, DIM, ROWS, kept, NULL, query);
        double length = metric == FV_INDEX_COSINE ? sqrt(fv_index_product(DIM, query, query)) : 1;
        for (size_t i = 0; i < K; i++) {
            double want = (double)all[i].distance, got = (double)distances[q * K + i];
            if (metric == FV_INDEX_COSINE) want = 1 - (1 - want) / length;
            if (fabs(got - want) > slack * (fabs(want) + 1))
                fail_msg("metric %u query %zu place %zu: %g, want %g (label %llu)", metric, q, i, got, want,
                         (unsigned long long)labels[q * K + i]);
        }
        free(all);
    }
}

/* Of 10 nearest of f32, so many are among those of codes: "4, 5 and 7 bits find 90, 95 and 99 %". */
static void searches_find_the_nearest_of_what_is_kept(void **state) {
    (void)state;
    static const double least[TYPES] = {1, 0.98, 0.94, 0.97, 0.8, 0.62};
    static uint64_t truth[QUERIES * K], labels[FORMS][QUERIES * K];
    static float distances[QUERIES * K];
    for (uint32_t metric = 0; metric <= FV_INDEX_COSINE; metric++)
        for (size_t t = 0; t < TYPES; t++)
            for (form what = FLAT; what <= LEAN; what++) {
                if (t % 3 != metric && types[t] != FV_INDEX_Q4 && (t || what)) continue; /* others are alike */
                fv_index *index = made(metric, types[t], what, ROWS, FV_ISA_BEST, NULL);
                fv_index_info info;
                fv_index_info_get(index, &info);
                assert_true(info.row_type == types[t] && info.is_lean == (what == LEAN));
                search_with(index, what == FLAT ? 0 : 150, labels[what], distances);
                if (what == FLAT && t == 0) memcpy(truth, labels[FLAT], sizeof truth);
                if (what == FLAT) check_kept(index, metric, 1e-4, labels[FLAT], distances);
                double share = share_of(truth, labels[what]), same = share_of(labels[FLAT], labels[what]);
                printf("metric %u type %2u %s: %.3f of the nearest, %.3f of what a scan finds\n", metric, types[t],
                       what == FLAT    ? "flat"
                       : what == GRAPH ? "graph"
                                       : "lean",
                       share, same);
                assert_true(share >= least[t] - (what == FLAT ? 0 : 0.03) && same >= 0.95);
                fv_index_close(index);
            }
}

/* The same file and results from every instruction set, with any number of threads. */
static void processors_and_threads_change_no_bit(void **state) {
    (void)state;
    static uint64_t labels[2][QUERIES * K];
    static float distances[2][QUERIES * K];
    fv_pool *pool = NULL;
    assert_int_equal(fv_pool_open(&pool, 3, NULL), FV_OK);
    for (size_t t = 1; t < TYPES; t += 2)
        for (form what = GRAPH; what <= LEAN; what++) {
            size_t count[2];
            uint8_t *bytes[2];
            for (size_t i = 0; i < 2; i++) {
                fv_index *index = made((uint32_t)t % 3, types[t], what, 220, i ? FV_ISA_SCALAR : FV_ISA_BEST,
                                       i ? NULL : fv_pool_parallel(pool));
                search_with(index, 40, labels[i], distances[i]);
                WORLD_OK(fv_index_save(index, PATH, why));
                bytes[i] = world_file(PATH, count + i);
                fv_index_close(index);
            }
            assert_int_equal(count[0], count[1]);
            assert_memory_equal(bytes[0], bytes[1], count[0]);
            assert_memory_equal(labels[0], labels[1], sizeof labels[0]);
            assert_memory_equal(distances[0], distances[1], sizeof distances[0]);
            free(bytes[0]);
            free(bytes[1]);
        }
    fv_pool_close(pool);
    remove(PATH);
}

/* Added to, removed from until the dead are taken out, updated, opened with a journal: as good as one that is made of
 * what is left. */
static void rows_live_through_changes(void **state) {
    (void)state;
    enum { FIRST = 210, LAST = 360, GONE = 90 };
    static uint64_t truth[QUERIES * K], labels[2][QUERIES * K], gone[GONE];
    static float distances[2][QUERIES * K];
    for (size_t i = 0; i < GONE; i++) gone[i] = i * 2;
    for (size_t t = 0; t < TYPES; t++)
        for (form what = FLAT; what <= LEAN; what++) {
            uint32_t metric = (uint32_t)(t + what) % 3;
            if ((t + what) % 2) continue; /* each type, and each form with three of them */
            fv_index *index = made(metric, types[t], what, FIRST, FV_ISA_BEST, NULL), *opened = NULL;
            WORLD_OK(fv_index_save(index, PATH, why));
            WORLD_OK(fv_index_open_journal(&opened, PATH, NULL, why));
            fv_index *both[] = {index, opened};
            for (size_t i = 0; i < 2; i++) {
                uint64_t more[LAST - FIRST], one = 1;
                for (size_t row = FIRST; row < LAST; row++) more[row - FIRST] = row;
                WORLD_OK(fv_index_add(both[i], LAST - FIRST, DIM, vectors + FIRST * DIM, more, NULL, why));
                WORLD_OK(fv_index_remove(both[i], GONE, gone, why));
                WORLD_OK(fv_index_update(both[i], 1, DIM, vectors, &one, NULL, why));
                WORLD_OK(fv_index_update(both[i], 1, DIM, vectors + DIM, &one, NULL, why));
                search_with(both[i], what == FLAT ? 0 : 200, labels[i], distances[i]);
            }
            assert_memory_equal(labels[0], labels[1], sizeof labels[0]);
            fv_index_close(opened);
            WORLD_OK(fv_index_open(&opened, PATH, why)); /* and what waited in the journal */
            search_with(opened, what == FLAT ? 0 : 200, labels[1], distances[1]);
            assert_memory_equal(labels[0], labels[1], sizeof labels[0]);
            assert_memory_equal(distances[0], distances[1], sizeof distances[0]);
            search_with(opened, 0, truth, distances[1]);
            double share = share_of(truth, labels[0]);
            if (share < 0.93) fail_msg("type %u form %d: %.3f", types[t], (int)what, share);
            for (size_t i = 0; i < QUERIES * K; i++) assert_true(truth[i] >= 2 * GONE || truth[i] % 2);
            fv_index_close(index);
            fv_index_close(opened);
            remove(PATH);
            remove(PATH ".journal");
        }
}

static fv_status check_bytes(const uint8_t *bytes, size_t count) {
    fv_index *index = NULL;
    fv_message message = {""};
    fv_status status = fv_index_open_memory(&index, bytes, count, "x", &message);
    if (status == FV_OK) status = fv_index_check(index, &message);
    assert_true((status == FV_OK) == (message.text[0] == 0));
    fv_index_close(index);
    return status;
}

static void every_bit_and_byte_of_a_file_matters(void **state) {
    (void)state;
    enum { FEW = 40 };
    for (size_t t = 1; t < TYPES; t++) {
        size_t count;
        fv_index *index = made(FV_INDEX_IP, types[t], t % 2 ? LEAN : GRAPH, FEW, FV_ISA_BEST, NULL);
        WORLD_OK(fv_index_save(index, PATH, why));
        uint8_t *bytes = world_file(PATH, &count);
        assert_int_equal(fv_le32_get(bytes + FV_INDEX_AT_VERSION), t % 2 && fv_row_bits(index) ? 3 : 2);
        assert_int_equal(check_bytes(bytes, count), FV_OK);
        for (size_t i = 0; i < count; i++) {
            if (i % 7 && i >= FV_INDEX_HEADER) continue;
            bytes[i] ^= (uint8_t)(1u << i % 8);
            if (check_bytes(bytes, count) == FV_OK) fail_msg("type %u: a bit of byte %zu", types[t], i);
            bytes[i] ^= (uint8_t)(1u << i % 8);
            if (check_bytes(bytes, i) == FV_OK) fail_msg("type %u: %zu bytes", types[t], i);
        }
        free(bytes);
        fv_index_close(index);
    }
    remove(PATH);
}

/* Makes a lean graph one with whole numbers of neighbours, as those of version 2 are, and of the largest graphs. */
static void unpack(fv_index *index) {
    fv_index wide = *index;
    wide.is_packed = false;
    wide.row_bytes = fv_graph_row_bytes(&wide, wide.degree);
    assert_true(fv_index_arrays_make(&wide, wide.capacity, &wide.arrays));
    memcpy(wide.arrays.labels, index->arrays.labels, index->rows * sizeof(uint64_t));
    memcpy(wide.arrays.blocks, index->arrays.blocks, fv_index_blocks(index->rows) * fv_index_block_bytes(index));
    for (size_t row = 0; row < index->rows; row++) {
        memcpy((uint8_t *)(uintptr_t)fv_index_row(&wide, row), fv_index_row(index, row), fv_graph_head_bytes(index));
        fv_graph_tail_get(index, fv_graph_blocks(index, row), fv_graph_ids(&wide, row));
    }
    WORLD_OK(fv_index_replace(index, &wide, why));
}

static fv_index *saved_and_opened(fv_index *index, uint32_t version) {
    fv_index *opened = NULL;
    fv_index_info info;
    WORLD_OK(fv_index_save(index, PATH, why));
    fv_index_close(index);
    WORLD_OK(fv_index_open(&opened, PATH, why));
    WORLD_OK(fv_index_check(opened, why));
    fv_index_info_get(opened, &info);
    assert_true(info.version == version && info.is_lean == 1);
    return opened;
}

static void neighbours_of_lean_rows_are_packed(void **state) {
    (void)state;
    static uint64_t labels[2][QUERIES * K], gone[ROWS / 3];
    static float distances[2][QUERIES * K];
    for (size_t i = 0; i < ROWS / 3; i++) gone[i] = i * 3;
    for (uint32_t metric = FV_INDEX_L2; metric <= FV_INDEX_IP; metric++) {
        fv_index *both[2];
        for (size_t i = 0; i < 2; i++) {
            both[i] = made(metric, FV_INDEX_Q8, LEAN, ROWS - 200, FV_ISA_BEST, NULL);
            assert_true(both[i]->is_packed);
            if (i) unpack(both[i]);
            both[i] = saved_and_opened(both[i], i ? 2 : 3);
        }
        assert_int_equal(both[1]->row_bytes - both[0]->row_bytes, 32);
        for (int change = 0; change < 3; change++) {
            for (size_t i = 0; i < 2; i++) {
                if (change == 1)
                    WORLD_OK(fv_index_add(both[i], 200, DIM, vectors + (ROWS - 200) * DIM, NULL, NULL, why));
                if (change == 2) WORLD_OK(fv_index_remove(both[i], ROWS / 3, gone, why));
                search_with(both[i], 60, labels[i], distances[i]);
            }
            assert_memory_equal(labels[0], labels[1], sizeof labels[0]);
            assert_memory_equal(distances[0], distances[1], sizeof distances[0]);
        }
        fv_index_close(both[0]);
        fv_index_close(both[1]);
    }
    remove(PATH);
}

static void packed_numbers_have_24_bits(void **state) {
    (void)state;
    fv_index *index = made(FV_INDEX_L2, FV_INDEX_Q4, LEAN, 50, FV_ISA_BEST, NULL);
    fv_message message = {""};
    uint8_t *tail = fv_graph_blocks(index, 7);
    uint32_t ids[FV_GRAPH_DEGREE];
    for (uint32_t i = 0; i < 32; i++) fv_graph_tail_put(index, tail, i, (0xFFFFFFu >> i % 24) ^ i);
    fv_graph_tail_get(index, tail, ids);
    for (uint32_t i = 0; i < 32; i++)
        assert_true(ids[i] == ((0xFFFFFFu >> i % 24) ^ i) && fv_graph_id(index, 7, i) == ids[i]);
    index->rows = FV_PACKED_ROWS - 1; /* nothing is looked at before it is refused */
    assert_int_equal(fv_index_add(index, 1, DIM, vectors, (const uint64_t[]){1u << 25}, NULL, &message),
                     FV_ERROR_OVERFLOW);
    index->rows = 50;
    fv_index_close(index);
}

static fv_index *refined(uint32_t metric, uint32_t type, uint32_t bits) {
    fv_index_config config;
    fv_index *index = NULL;
    fv_index_config_default(DIM, metric, &config);
    config.row_type = type;
    config.refine_bits = bits;
    WORLD_OK(fv_index_make(&index, &config, why));
    WORLD_OK(fv_index_add(index, 500, DIM, vectors, NULL, NULL, why));
    WORLD_OK(fv_index_add(index, ROWS - 500, DIM, vectors + 500 * DIM, NULL, NULL, why));
    return index;
}

/* What is found stays, fewer rows are computed the more bits there are; in files, after changes, and by radius. */
static void scans_refine_by_finer_codes(void **state) {
    (void)state;
    static const uint32_t bits[] = {0, 2, 4, 8};
    static uint64_t labels[3][QUERIES * K], gone[ROWS / 3];
    static float distances[3][QUERIES * K];
    world_query all = {queries, QUERIES, K, 0};
    for (size_t i = 0; i < ROWS / 3; i++) gone[i] = i * 3;
    for (uint32_t metric = 0; metric <= FV_INDEX_COSINE; metric++) {
        uint64_t before = UINT64_MAX;
        for (size_t b = 0; b < 4; b++) {
            fv_index *index = refined(metric, b % 2 ? FV_INDEX_F16 : FV_INDEX_F32, bits[b]), *opened = NULL;
            fv_index_report report = world_search(index, &all, labels[b > 0], distances[b > 0]);
            printf("metric %u, %u bits: %.1f rows of %d computed\n", metric, bits[b], (double)report.rows / QUERIES,
                   ROWS);
            assert_true(share_of(labels[0], labels[b > 0]) >= 0.98 && (b < 2 || report.rows < before));
            before = report.rows;
            WORLD_OK(fv_index_save(index, PATH, why));
            WORLD_OK(fv_index_open(&opened, PATH, why));
            WORLD_OK(fv_index_check(opened, why));
            world_search(opened, &all, labels[2], distances[2]);
            assert_memory_equal(distances[2], distances[b > 0], sizeof distances[2]);
            size_t count;
            uint8_t *bytes = world_file(PATH, &count);
            for (size_t i = count - 4096; i < count; i += 53) { /* the finer codes are the last */
                bytes[i] ^= 4;
                assert_int_not_equal(check_bytes(bytes, count), FV_OK);
                bytes[i] ^= 4;
            }
            assert_int_equal(check_bytes(bytes, count - 64), FV_ERROR_CORRUPT);
            free(bytes);
            fv_index *both[] = {index, opened};
            for (size_t i = 0; i < 2; i++) { /* more than a fifth: they are taken out */
                WORLD_OK(fv_index_remove(both[i], ROWS / 3, gone, why));
                world_search(both[i], &all, labels[1 + i], distances[1 + i]);
            }
            assert_memory_equal(distances[1], distances[2], sizeof distances[1]);
            for (size_t i = 0; i < QUERIES * K; i++) assert_true(labels[1][i] % 3 != 0);
            fv_index_close(index);
            fv_index_close(opened);
        }
    }
    remove(PATH);
}

/* Headers with right checksums that say what can't be. */
static void hostile_headers_are_refused(void **state) {
    (void)state;
    static const struct {
        size_t at;
        uint32_t value;
    } lies[] = {{FV_INDEX_AT_ROW_TYPE, 1},      {FV_INDEX_AT_ROW_TYPE, 9}, {FV_INDEX_AT_ROW_TYPE, 18},
                {FV_INDEX_AT_ROW_TYPE, 3},      {FV_INDEX_AT_LEAN, 3},     {FV_INDEX_AT_LEAN, 1},
                {FV_INDEX_AT_LEAN, 0},          {FV_INDEX_AT_VERSION, 2},  {FV_INDEX_AT_ROW_TYPE, ~0u},
                {FV_INDEX_AT_VERSION, 1},       {FV_INDEX_AT_DEGREE, 0},   {FV_INDEX_AT_REFINE, 4},
                {FV_INDEX_AT_CHECKSUMS + 32, 1}};
    size_t count;
    fv_index *index = made(FV_INDEX_L2, FV_INDEX_Q4, LEAN, 50, FV_ISA_BEST, NULL);
    WORLD_OK(fv_index_save(index, PATH, why));
    uint8_t *bytes = world_file(PATH, &count), *copy = malloc(count);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        memcpy(copy, bytes, count);
        fv_le32_put(copy + lies[i].at, lies[i].value);
        fv_le64_put(copy + FV_INDEX_AT_CHECKSUM, fv_hash64(0, copy, FV_INDEX_AT_CHECKSUM));
        if (check_bytes(copy, count) != FV_ERROR_CORRUPT) fail_msg("lie %zu", i);
    }
    free(copy);
    free(bytes);
    fv_index_close(index);
    remove(PATH);
}

/* Defect 15 for all types: NaN, another dimension, numbers that f16 has not, more results than there are, none. */
static void defect_15_what_is_wrong_is_refused(void **state) {
    (void)state;
    fv_index_config config;
    fv_index *none = NULL;
    fv_message message = {""};
    fv_index_config_default(DIM, FV_INDEX_L2, &config);
    config.row_type = 9;
    assert_int_equal(fv_index_make(&none, &config, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "row type 9"));
    config.row_type = FV_INDEX_Q8;
    config.refine_bits = 4;
    assert_int_equal(fv_index_make(&none, &config, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "refine_bits is 4"));
    for (size_t t = 0; t < TYPES; t++)
        for (form what = FLAT; what <= LEAN; what++) {
            static uint64_t labels[QUERIES * K];
            static float distances[QUERIES * K], vector[DIM], zero[DIM];
            fv_index *index = made(FV_INDEX_L2, types[t], what, 0, FV_ISA_BEST, NULL);
            search_with(index, 0, labels, distances);
            assert_true(labels[0] == FV_INDEX_NO_LABEL);
            vector[3] = NAN;
            assert_int_equal(fv_index_add(index, 1, DIM, vector, NULL, NULL, &message), FV_ERROR_NOT_FINITE);
            vector[3] = 65505;
            fv_status status = fv_index_add(index, 1, DIM, vector, NULL, NULL, &message);
            assert_int_equal(status, types[t] == FV_INDEX_F16 ? FV_ERROR_RANGE : FV_OK);
            assert_int_equal(fv_index_add(index, 1, DIM - 1, vector, NULL, NULL, &message), FV_ERROR_SHAPE);
            for (uint64_t i = 10; i < 50; i++) /* duplicates, and the centre itself */
                WORLD_OK(fv_index_add(index, 1, DIM, i % 2 ? zero : vectors, &i, NULL, why));
            search_with(index, what == FLAT ? 0 : 30, labels, distances);
            for (size_t i = 0; i < QUERIES * K; i++) assert_true(isfinite(distances[i]) && distances[i] >= 0);
            fv_index_close(index);
        }
}

static int fill(void **state) {
    (void)state;
    manifold_fill(71, 0, ROWS, DIM, vectors);
    manifold_fill(71, 1, QUERIES, DIM, queries);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(searches_find_the_nearest_of_what_is_kept),
        cmocka_unit_test(processors_and_threads_change_no_bit),
        cmocka_unit_test(rows_live_through_changes),
        cmocka_unit_test(every_bit_and_byte_of_a_file_matters),
        cmocka_unit_test(neighbours_of_lean_rows_are_packed),
        cmocka_unit_test(packed_numbers_have_24_bits),
        cmocka_unit_test(scans_refine_by_finer_codes),
        cmocka_unit_test(hostile_headers_are_refused),
        cmocka_unit_test(defect_15_what_is_wrong_is_refused),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
