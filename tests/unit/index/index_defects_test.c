/* index_defects_test.c - what other indexes of this kind were seen to get wrong, by the numbers of
 * docs/vector-index.md: those faults that no other test holds. It counts allocations: src/platform/array.h is kept in
 * one file for that. */
#include "index/code_table.h"
#include "index/graph_edges.h"
#include "index/kac_rotation.h"
#include "platform/array.h"
#include "support/index_world.h"
#include <stdio.h>

enum { DIM = 32, ROWS = 1500, K = 10, WIDE = 768, WIDE_ROWS = 800, QUERIES = 40 };

static float vectors[ROWS * DIM], queries[QUERIES * DIM];

/* ---- allocations, counted, and failing at will ---- */

static size_t calls, bytes, fails_at = SIZE_MAX;

static bool has_memory(size_t more) {
    bytes += more;
    return calls++ != fails_at;
}

void *fv_array_new(size_t count, size_t element_bytes) {
    count = count ? count : 1;
    return has_memory(count * element_bytes) ? calloc(count, element_bytes) : NULL;
}

void *fv_array_new_huge(size_t count, size_t element_bytes) {
    size_t whole = ((count ? count : 1) * element_bytes + 63) / 64 * 64;
    void *array = has_memory(whole) ? aligned_alloc(64, whole) : NULL;
    return array ? memset(array, 0, whole) : NULL;
}

void *fv_array_reserve(void *array, size_t *capacity, size_t count, size_t more, size_t element_bytes) {
    size_t wanted = (count + more) * 2 + 64;
    if (array && more <= *capacity - count) return array;
    void *grown = has_memory(wanted * element_bytes) ? realloc(array, wanted * element_bytes) : NULL;
    if (grown) *capacity = wanted;
    return grown;
}

/* ---- indexes ---- */

static fv_index *linked(uint32_t metric, uint32_t dim, size_t rows, const float *from) {
    fv_index_link_config link;
    fv_index *index = world_index(metric, dim, rows, from, NULL);
    fv_index_link_config_default(&link);
    link.beam = 60;
    link.rounds = 2;
    WORLD_OK(fv_index_link(index, &link, NULL, why));
    return index;
}

static fv_index_search search_of(uint32_t dim, const float *from, size_t count, uint32_t beam) {
    fv_index_search search;
    fv_index_search_default(dim, &search);
    search.queries = from;
    search.count = count;
    search.k = K;
    search.beam = beam;
    return search;
}

static void defect_7_walks_begin_in_the_middle(void **state) {
    (void)state;
    fv_index *index = linked(FV_INDEX_L2, DIM, ROWS, vectors);
    float least = INFINITY;
    for (size_t row = 0; row < ROWS; row++)
        least = fminf(least, world_distance(FV_INDEX_L2, DIM, index->centre, vectors + row * DIM));
    assert_true(world_distance(FV_INDEX_L2, DIM, index->centre, fv_index_row(index, index->entry)) == least);
    fv_index_close(index);
}

/* An edge is not kept if a nearer neighbour is nearer to its end than the vector is; distances are compared with
 * distances, and those of the metric's own space. */
static void defect_8_occluded_neighbours_are_pruned(void **state) {
    (void)state;
    fv_index *index = linked(FV_INDEX_IP, DIM, 300, vectors);
    fv_visit all[299];
    size_t count = 0;
    for (uint32_t row = 1; row < 300; row++) all[count++] = fv_graph_candidate(index, 0, row);
    count = fv_graph_order(all, count, 0);
    size_t kept = fv_graph_prune(index, all, count, 32);
    assert_true(kept >= 2 && kept <= 32);
    for (size_t i = 0; i < count; i++) {
        bool is_occluded = false;
        for (size_t j = 0; j < kept && !is_occluded; j++)
            is_occluded = j != i && all[j].distance <= all[i].distance &&
                          fv_graph_candidate(index, all[j].row, all[i].row).distance * FV_OCCLUDING < all[i].distance;
        assert_true(is_occluded == (i >= kept) || kept == 32);
    }
    fv_index_close(index);
}

/* As many allocations for few vectors as for many, of as many bytes, and no more for long walks than for short ones:
 * nothing is allocated on the way, and nothing is as long as the index. */
static void defect_9_queries_cost_no_allocation_of_their_own(void **state) {
    (void)state;
    static float distances[QUERIES * K];
    static uint64_t labels[QUERIES * K];
    static const size_t numbers[] = {500, ROWS};
    size_t got_calls[2][2], got_bytes[2][2];
    for (size_t n = 0; n < 2; n++) {
        fv_index *index = linked(FV_INDEX_L2, DIM, numbers[n], vectors);
        for (size_t b = 0; b < 2; b++) {
            fv_index_search search = search_of(DIM, queries, b ? QUERIES : 1, b ? 200 : 20);
            calls = bytes = 0;
            WORLD_OK(fv_index_nearest(index, &search, labels, distances, NULL, why));
            got_calls[n][b] = calls;
            got_bytes[n][b] = bytes;
        }
        fv_index_close(index);
    }
    printf("%zu allocations, %zu bytes a call; %zu for %d queries and ten times the beam\n", got_calls[1][0],
           got_bytes[1][0], got_calls[1][1], QUERIES);
    for (size_t b = 0; b < 2; b++)
        assert_true(got_calls[0][b] == got_calls[1][b] && got_bytes[0][b] == got_bytes[1][b]);
    assert_int_equal(got_calls[1][0], got_calls[1][1]);
}

/* A walk of one's own, to look at what it has in sight. */
static fv_walk walk_of(const fv_index *index, const float *query, uint8_t *table, size_t most) {
    float less[DIM], rotated[64];
    fv_walk walk = {.probe = {.vector = query, .weight = 1}, .table = table};
    for (size_t i = 0; i < DIM; i++) less[i] = query[i] - index->centre[i];
    fv_kac_rotate(index->config.seed, DIM, less, rotated);
    walk.query = (fv_scan_query){.zero = FV_TABLE_ZERO * 16, .step = fv_code_table_make(64, rotated, table)};
    assert_true(fv_beam_make(&walk.beam, most, FV_BLOCK_CODES, 0));
    fv_graph_walk(index, &walk, 1, 0);
    return walk;
}

static void defects_10_and_11_a_short_list_with_all_estimates_of_a_row(void **state) {
    (void)state;
    fv_index *index = linked(FV_INDEX_L2, DIM, ROWS, vectors);
    size_t again = 0;
    for (size_t q = 0; q < QUERIES; q++) {
        uint8_t table[256];
        calls = 0;
        fv_walk walk = walk_of(index, queries + q * DIM, table, 48);
        assert_true(walk.beam.count <= 48 && calls == 3); /* what fv_beam_make() made */
        for (size_t i = 0; i < walk.beam.count; i++) {
            uint32_t row = (uint32_t)(walk.beam.entries[i] >> 1) & (uint32_t)(FV_BEAM_ROWS - 1);
            for (size_t j = i + 1; j < walk.beam.count; j++)
                again += ((uint32_t)(walk.beam.entries[j] >> 1) & (uint32_t)(FV_BEAM_ROWS - 1)) == row &&
                         walk.beam.entries[j] >> 32 != walk.beam.entries[i] >> 32;
            assert_true(i == 0 || walk.beam.entries[i - 1] <= walk.beam.entries[i]);
        }
        fv_beam_free(&walk.beam);
    }
    printf("%.1f rows a query are in sight with several estimates\n", (double)again / QUERIES);
    assert_true(again > QUERIES);
    fv_index_close(index);
}

/* 768 channels and nothing trained: one bit each rules nearly all rows out, and walks find what scans do. */
/* Wide beams would be filled by worse estimates of what is there, and end before they are as wide as they were asked to
 * be: 1,124 visits with a beam of 2,560 over Gemma's embeddings. */
static void wide_beams_keep_no_worse_estimates(void **state) {
    (void)state;
    static const float nears[] = {3, 4, 2, 2};
    for (size_t wide = 0; wide < 2; wide++) {
        fv_beam beam;
        uint64_t fresh[FV_BLOCK_CODES];
        uint32_t row;
        assert_true(fv_beam_make(&beam, wide ? FV_BEAM_WIDE : FV_BEAM_WIDE - 1, FV_BLOCK_CODES, 0));
        fv_beam_begin(&beam);
        for (size_t i = 0; i < sizeof nears / sizeof nears[0]; i++) {
            size_t count = 0;
            fv_beam_meet(&beam, nears[i], 7, fresh, &count);
            fv_beam_merge(&beam, fresh, count);
        }
        assert_int_equal(beam.count, wide ? 2 : 4);
        assert_true(fv_beam_take(&beam, &row) && row == 7 && !fv_beam_take(&beam, &row));
        size_t count = 0;
        fv_beam_meet(&beam, 1, 7, fresh, &count); /* it was visited */
        assert_int_equal(count, 0);
        for (uint32_t other = 8; other < 8 + 4 * beam.slots; other++) { /* more than the table has room for */
            count = 0;
            fv_beam_meet(&beam, (float)other, other, fresh, &count);
            assert_true(count == 1);
            fv_beam_merge(&beam, fresh, count);
        }
        for (size_t i = 0; i + 4 < beam.most; i++)
            assert_true(fv_beam_take(&beam, &row) && row >= 8 && row < 8 + beam.most);
        fv_beam_free(&beam);
    }
}

static void defect_16_many_channels_need_no_training(void **state) {
    (void)state;
    static float wide[WIDE_ROWS * WIDE], asked[QUERIES * WIDE], distances[2][QUERIES * K];
    static uint64_t labels[QUERIES * K];
    fv_index_report report = {.struct_bytes = sizeof report};
    manifold_fill(52, 0, WIDE_ROWS, WIDE, wide);
    manifold_fill(52, 1, QUERIES, WIDE, asked);
    fv_index *index = linked(FV_INDEX_COSINE, WIDE, WIDE_ROWS, wide);
    fv_index_search search = search_of(WIDE, asked, QUERIES, 0);
    search.confidence = 20; /* no bound is wrong: the truth */
    WORLD_OK(fv_index_nearest(index, &search, labels, distances[0], NULL, why));
    search = search_of(WIDE, asked, QUERIES, 0);
    for (int walks = 0; walks <= 1; walks++) {
        size_t found = 0;
        search.beam = walks ? 40 : 0;
        WORLD_OK(fv_index_nearest(index, &search, labels, distances[1], walks ? NULL : &report, why));
        for (size_t i = 0; i < QUERIES * K; i++) found += distances[1][i] <= distances[0][i / K * K + K - 1];
        printf("%d channels, by %s: %zu of %d\n", WIDE, walks ? "walks" : "scans", found, QUERIES * K);
        assert_true(found >= QUERIES * K * (walks ? 95 : 99) / 100);
    }
    printf("%.1f of %d rows computed\n", (double)report.rows / QUERIES, WIDE_ROWS);
    assert_true(report.rows < QUERIES * WIDE_ROWS / 5);
    fv_index_close(index);
}

static bool is_even(void *context, uint64_t label) {
    (void)context;
    return label % 2 == 0;
}

/* Whatever can't be had: a status, and nothing written. */
static void without_memory_nothing_is_written(void **state) {
    (void)state;
    fv_index *index = linked(FV_INDEX_L2, DIM, 400, vectors);
    fv_calibration before = index->calibration;
    fv_index_link_config link;
    fv_index_link_config_default(&link);
    for (int kind = 0; kind < 5; kind++) {
        fv_status status = FV_ERROR_MEMORY;
        size_t n = 0;
        for (; status != FV_OK && n < 2000; n += kind == 4 ? 29 : 1) {
            uint64_t labels[K] = {7};
            float distances[K] = {7};
            fv_message message = {""};
            fv_index_search search = search_of(DIM, queries, 1, kind == 1 ? 20 : 0);
            search.recall = kind == 2 || kind == 3 ? 0.9f : 0;
            search.filter = kind == 3 ? is_even : NULL;
            calls = 0;
            fails_at = n;
            status = kind == 4 ? fv_index_calibrate(index, 0, DIM, NULL, NULL, &message)
                               : fv_index_nearest(index, &search, labels, distances, NULL, &message);
            fails_at = SIZE_MAX;
            assert_true(status == FV_OK || (status == FV_ERROR_MEMORY && strstr(message.text, "memory")));
            if (status != FV_OK) assert_true(labels[0] == 7 && distances[0] == 7);
        }
        if (status != FV_OK || n < 3) fail_msg("search %d: status %d after %zu allocations", kind, status, n);
        assert_memory_equal(&before, &index->calibration, sizeof before);
    }
    fv_index_close(index);
}

static int fill(void **state) {
    (void)state;
    manifold_fill(51, 0, ROWS, DIM, vectors);
    manifold_fill(51, 1, QUERIES, DIM, queries);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defect_7_walks_begin_in_the_middle),
        cmocka_unit_test(defect_8_occluded_neighbours_are_pruned),
        cmocka_unit_test(defect_9_queries_cost_no_allocation_of_their_own),
        cmocka_unit_test(defects_10_and_11_a_short_list_with_all_estimates_of_a_row),
        cmocka_unit_test(wide_beams_keep_no_worse_estimates),
        cmocka_unit_test(defect_16_many_channels_need_no_training),
        cmocka_unit_test(without_memory_nothing_is_written),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
