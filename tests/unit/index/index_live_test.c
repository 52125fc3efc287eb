/* index_live_test.c - an index changes while others search it: a graph stays as good as one made anew, the same calls
 * make the same bits, and no search sees half of a change. FV_RUNS: thousands of vectors of the recall test (1). */
#include "fovea/pool.h"
#include "index/index_file.h"
#include "index/index_graph.h"
#include "support/index_world.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { DIM = 32, QUERIES = 200, K = 10 };

static fv_index *linked(uint32_t metric, size_t rows, const float *vectors, uint32_t beam, uint32_t isa_limit) {
    fv_index_config config;
    fv_index_link_config link;
    fv_index *index = NULL;
    fv_index_config_default(DIM, metric, &config);
    config.seed = 5;
    config.isa_limit = isa_limit;
    fv_index_link_config_default(&link);
    link.beam = beam;
    WORLD_OK(fv_index_make(&index, &config, why));
    WORLD_OK(fv_index_add(index, rows, DIM, vectors, NULL, NULL, why));
    WORLD_OK(fv_index_link(index, &link, NULL, why));
    return index;
}

static double recall(const fv_index *index, const float *queries, uint32_t beam) {
    static uint64_t labels[2][QUERIES * K];
    static float distances[2][QUERIES * K];
    world_search(index, &(world_query){queries, QUERIES, K, 0}, labels[0], distances[0]);
    world_search(index, &(world_query){queries, QUERIES, K, beam}, labels[1], distances[1]);
    size_t right = 0;
    for (size_t i = 0; i < QUERIES * K; i++) right += distances[1][i] <= distances[0][i / K * K + K - 1];
    return (double)right / (QUERIES * K);
}

/* Rows [from, to) of all, with their numbers as labels, `step` at a time. */
static void add_rows(fv_index *index, size_t from, size_t to, size_t step, const float *vectors) {
    static uint64_t labels[1 << 20];
    for (size_t row = from; row < to; row += step) {
        size_t count = to - row < step ? to - row : step;
        for (size_t i = 0; i < count; i++) labels[i] = row + i;
        WORLD_OK(fv_index_add(index, count, DIM, vectors + row * DIM, labels, NULL, why));
    }
}

/* Three tenths come, a fifth goes: no worse than a graph of what is left, within a point. */
static void a_changed_graph_is_as_good_as_a_new_one(void **state) {
    (void)state;
    const char *runs = getenv("FV_RUNS");
    size_t base = (runs ? strtoul(runs, NULL, 10) : 1) * 1000, all = base * 13 / 10, left = 0;
    float *vectors = malloc(all * DIM * sizeof *vectors), *kept = malloc(all * DIM * sizeof *kept);
    float *queries = malloc(QUERIES * DIM * sizeof *queries);
    for (uint32_t metric = 0; metric <= FV_INDEX_COSINE; metric++) {
        manifold_fill(31, 0, all, DIM, vectors);
        manifold_fill(31, 1, QUERIES, DIM, queries);
        for (size_t i = base * DIM; i < all * DIM && metric == FV_INDEX_IP; i++)
            if (i / DIM % 50 == 0) vectors[i] *= 1.1f; /* some are longer than all before */
        fv_index *index = linked(metric, base, vectors, 200, FV_ISA_BEST);
        add_rows(index, base, all, 171, vectors);
        left = 0;
        for (uint64_t label = 0; label < all; label++) {
            bool goes = label % 5 == 2;
            if (goes) WORLD_OK(fv_index_remove(index, 1, &label, why));
            if (!goes) memcpy(kept + left++ * DIM, vectors + label * DIM, DIM * sizeof *kept);
        }
        fv_index_info info;
        fv_index_info_get(index, &info);
        assert_true(info.rows == left && info.degree == 32);
        fv_index *fresh = linked(metric, left, kept, 200, FV_ISA_BEST);
        for (uint32_t beam = 20; beam <= 80; beam *= 2) {
            double changed = recall(index, queries, beam), made = recall(fresh, queries, beam);
            printf("metric %u beam %u: recall %.3f, made anew %.3f\n", metric, beam, changed, made);
            if (beam >= 40) assert_true(changed >= made - 0.0101);
        }
        fv_index_close(fresh);
        fv_index_close(index);
    }
    free(vectors);
    free(kept);
    free(queries);
}

static uint64_t hash_of(const fv_index *index) {
    static const char path[] = "index_live_test.fvi";
    WORLD_OK(fv_index_save(index, path, why));
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(1 << 22);
    assert_non_null(file);
    uint64_t hash = fv_hash64(0, bytes, fread(bytes, 1, 1 << 22, file));
    fclose(file);
    free(bytes);
    remove(path);
    return hash;
}

static uint64_t story(uint32_t metric, const float *vectors, uint32_t isa_limit, const fv_parallel *parallel) {
    fv_index *index = linked(metric, 200, vectors, 40, isa_limit), *opened = NULL;
    uint64_t labels[150];
    for (size_t i = 0; i < 150; i++) labels[i] = 1000 + i;
    WORLD_OK(fv_index_add(index, 150, DIM, vectors + 200 * DIM, labels, parallel, why));
    WORLD_OK(fv_index_remove(index, 40, labels + 7, why));
    WORLD_OK(fv_index_update(index, 30, DIM, vectors + 10 * DIM, labels + 100, parallel, why));
    uint64_t first = hash_of(index);
    WORLD_OK(fv_index_remove(index, 30, labels + 100, why)); /* more than a fifth is dead */
    assert_int_equal(index->dead, 0);
    WORLD_OK(fv_index_add(index, 40, DIM, vectors, labels + 7, parallel, why));
    uint64_t hash = hash_of(index) + first * 31;
    WORLD_OK(fv_index_save(index, "index_live_test.fvi", why));
    WORLD_OK(fv_index_open(&opened, "index_live_test.fvi", why));
    WORLD_OK(fv_index_check(opened, why));
    fv_index_close(opened);
    remove("index_live_test.fvi");
    fv_index_close(index);
    return hash;
}

static void the_same_calls_make_the_same_bits(void **state) {
    (void)state;
    static float vectors[350 * DIM];
    fv_pool *pool = NULL;
    assert_int_equal(fv_pool_open(&pool, 3, NULL), FV_OK);
    manifold_fill(32, 0, 350, DIM, vectors);
    for (uint32_t metric = 0; metric <= FV_INDEX_COSINE; metric++) {
        uint64_t one = story(metric, vectors, FV_ISA_SCALAR, NULL);
        assert_int_equal(one, story(metric, vectors, FV_ISA_BEST, fv_pool_parallel(pool)));
        assert_int_equal(one, story(metric, vectors, FV_ISA_BEST, NULL));
    }
    fv_pool_close(pool);
}

/* Any vectors come, go and change, in a graph that began with none: what is there is found, what is not is not. */
static void what_is_there_is_found(void **state) {
    (void)state;
    enum { MOST = 120 };
    static float vectors[2 * MOST * DIM], at[MOST * DIM];
    static bool is_there[MOST];
    for (int equal = 0; equal <= 1; equal++) {
        test_random random = test_random_make(33);
        test_fill_f32(&random, vectors, 2 * MOST * DIM, 1.0f);
        for (size_t i = DIM; equal && i < 2 * MOST * DIM; i++) vectors[i] = vectors[i - DIM];
        memset(is_there, 0, sizeof is_there);
        fv_index *index = linked(FV_INDEX_IP, 0, vectors, 40, FV_ISA_BEST), *opened = NULL;
        for (int run = 0; run < 900; run++) {
            uint64_t label = test_random_in(&random, 0, run < 400 ? MOST - 1 : 9), found[MOST];
            const float *vector = vectors + test_random_in(&random, 0, 2 * MOST - 1) * DIM;
            float distances[MOST], got[DIM];
            bool changes = is_there[label] && test_random_in(&random, 0, 2) == 0;
            if (changes)
                WORLD_OK(fv_index_update(index, 1, DIM, vector, &label, NULL, why));
            else if (is_there[label])
                WORLD_OK(fv_index_remove(index, 1, &label, why));
            else
                WORLD_OK(fv_index_add(index, 1, DIM, vector, &label, NULL, why));
            if (!changes) is_there[label] = !is_there[label];
            if (is_there[label]) memcpy(at + label * DIM, vector, sizeof got);
            size_t rows = 0;
            for (size_t i = 0; i < MOST; i++) rows += is_there[i];
            world_search(index, &(world_query){vector, 1, MOST, 1 + (uint32_t)run % 3 * 20}, found, distances);
            for (size_t i = 0; i < MOST; i++) assert_true((found[i] == FV_INDEX_NO_LABEL) == (i >= rows));
            for (size_t i = 0; i < rows; i++) {
                assert_true(is_there[found[i]]);
                assert_true(distances[i] == world_distance(FV_INDEX_IP, DIM, vector, at + found[i] * DIM));
            }
            assert_int_equal(fv_index_vector(index, label, got, NULL), is_there[label] ? FV_OK : FV_ERROR_ARGUMENT);
            if (run % 100) continue; /* a file holds dead rows, too */
            WORLD_OK(fv_index_save(index, "index_live_test.fvi", why));
            WORLD_OK(fv_index_open(&opened, "index_live_test.fvi", why));
            fv_index_close(index);
            index = opened;
        }
        fv_index_close(index);
    }
    remove("index_live_test.fvi");
}

static void bad_updates_change_nothing(void **state) {
    (void)state;
    static float vectors[3 * DIM];
    fv_message message = {""};
    fv_index *index = linked(FV_INDEX_L2, 3, vectors, 40, FV_ISA_BEST);
    uint64_t hash = hash_of(index);
    assert_int_equal(fv_index_update(index, 2, DIM, vectors, (const uint64_t[]){1, 9}, NULL, &message),
                     FV_ERROR_ARGUMENT);
    assert_string_equal(message.text, "no vector has the label 9");
    assert_int_equal(fv_index_update(index, 2, DIM, vectors, (const uint64_t[]){1, 1}, NULL, &message),
                     FV_ERROR_ARGUMENT);
    assert_int_equal(fv_index_update(index, 1, DIM + 1, vectors, (const uint64_t[]){1}, NULL, &message),
                     FV_ERROR_SHAPE);
    assert_int_equal(fv_index_update(index, 1, DIM, vectors, NULL, NULL, &message), FV_ERROR_ARGUMENT);
    assert_int_equal(hash, hash_of(index));
    fv_index_close(index);
}

/* ---- readers beside a writer ---- */

enum { GROUP = 16, OTHERS = 300, READERS = 2 };

typedef struct shared {
    fv_index *index;
    atomic_bool is_over;
    atomic_size_t searches, faults;
    uint32_t beam;
} shared;

/* Labels 0 to 15 have one distance from 0, which every change of the group changes for all of them. A walk may miss
 * some, a scan finds all. */
static void *read_on(void *context) {
    shared *with = context;
    static const float zero[DIM];
    uint64_t labels[GROUP];
    float distances[GROUP], last = 0;
    while (!atomic_load(&with->is_over)) {
        uint32_t met = 0;
        world_search(with->index, &(world_query){zero, 1, GROUP, with->beam}, labels, distances);
        for (size_t i = 0; i < GROUP && labels[i] < GROUP; i++) {
            bool good = !(met >> labels[i] & 1) && distances[i] == distances[0] && distances[0] >= last;
            if (!good) atomic_fetch_add(&with->faults, 1);
            met |= 1u << labels[i];
        }
        if (!met || (!with->beam && met != (1u << GROUP) - 1)) atomic_fetch_add(&with->faults, 1);
        last = distances[0];
        atomic_fetch_add(&with->searches, 1);
    }
    return NULL;
}

static void put_group(fv_index *index, int generation, bool is_new) {
    static float vectors[GROUP * DIM];
    uint64_t labels[GROUP];
    for (size_t i = 0; i < GROUP; i++) {
        for (size_t c = 0; c < DIM; c++) vectors[i * DIM + c] = 0;
        vectors[i * DIM + i] = 1 + (float)generation / 1024;
        labels[i] = i;
    }
    if (is_new)
        WORLD_OK(fv_index_add(index, GROUP, DIM, vectors, labels, NULL, why));
    else
        WORLD_OK(fv_index_update(index, GROUP, DIM, vectors, labels, NULL, why));
}

static void no_search_sees_half_of_a_change(void **state) {
    (void)state;
    static float others[OTHERS * DIM];
    test_random random = test_random_make(34);
    test_fill_f32(&random, others, OTHERS * DIM, 1.0f);
    for (size_t i = 0; i < OTHERS * DIM; i++) others[i] += 10; /* far away */
    for (uint32_t beam = 0; beam <= 60; beam += 60) {
        uint64_t labels[OTHERS];
        pthread_t threads[READERS];
        shared with = {.index = linked(FV_INDEX_L2, 0, others, 40, FV_ISA_BEST), .beam = beam};
        for (size_t i = 0; i < OTHERS; i++) labels[i] = GROUP + i;
        put_group(with.index, 0, true);
        for (size_t i = 0; i < READERS; i++) assert_int_equal(pthread_create(threads + i, NULL, read_on, &with), 0);
        for (int generation = 1; generation < 20; generation++) {
            put_group(with.index, generation, false);
            if (generation % 10 == 5) WORLD_OK(fv_index_add(with.index, OTHERS, DIM, others, labels, NULL, why));
            if (generation % 10 == 9) WORLD_OK(fv_index_remove(with.index, OTHERS, labels, why));
        }
        while (atomic_load(&with.searches) < 100) {
        }
        atomic_store(&with.is_over, true);
        for (size_t i = 0; i < READERS; i++) pthread_join(threads[i], NULL);
        printf("beam %u: %zu searches beside 23 changes\n", beam, atomic_load(&with.searches));
        assert_int_equal(atomic_load(&with.faults), 0);
        fv_index_close(with.index);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_changed_graph_is_as_good_as_a_new_one),
        cmocka_unit_test(the_same_calls_make_the_same_bits),
        cmocka_unit_test(what_is_there_is_found),
        cmocka_unit_test(bad_updates_change_nothing),
        cmocka_unit_test(no_search_sees_half_of_a_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
