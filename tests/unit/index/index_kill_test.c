/* index_kill_test.c - vectors come by the hundred and go by the fifty in a process that is killed again and again while
 * its threads search: what was acknowledged is there, readers saw nothing else, and the graph is as good as a new one.
 * FV_RUNS: thousands of vectors that come (1), each with two kills more. */
#include "index/index_file.h"
#include "support/index_world.h"
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH "index_kill_test.fvi"

enum { DIM = 32, BASE = 500, EACH = 100, HALF = 50, BASE_LABEL = 1 << 24, QUERIES = 100, K = 10, BEAM = 40 };

/* ---- a story: call 2b adds batch b; calls 4b + 1 and 4b + 3 remove the halves of batch b ---- */

typedef struct story {
    size_t batches;
    float *base, *vectors, *queries; /* [BASE], [batches * EACH], [QUERIES] of DIM */
} story;

static bool is_there(uint64_t label, size_t calls) {
    uint64_t batch = label / EACH, half = label % EACH / HALF;
    return 2 * batch < calls && 4 * batch + 2 * half + 1 >= calls;
}

static const float *vector_of(const story *told, uint64_t label) {
    return label >= BASE_LABEL ? told->base + (label - BASE_LABEL) * DIM : told->vectors + label * DIM;
}

static fv_status tell(const story *told, fv_index *index, size_t call, fv_message *message) {
    uint64_t labels[EACH], first = call % 2 ? call / 4 * EACH + call % 4 / 2 * HALF : call / 2 * EACH;
    for (size_t i = 0; i < EACH; i++) labels[i] = first + i;
    return call % 2 ? fv_index_remove(index, HALF, labels, message)
                    : fv_index_add(index, EACH, DIM, told->vectors + first * DIM, labels, NULL, message);
}

/* Whether the index is what it is after so many calls: each vector, and no other. */
static bool is_after(const story *told, const fv_index *index, size_t calls) {
    size_t want = BASE, got = 0;
    for (uint64_t label = 0; label < told->batches * EACH; label++) want += is_there(label, calls);
    for (size_t row = 0; row < index->rows; row++) {
        uint64_t label = index->arrays.labels[row];
        if (label == FV_INDEX_NO_LABEL) continue;
        if (label < BASE_LABEL && (label >= told->batches * EACH || !is_there(label, calls))) return false;
        if (memcmp(fv_index_row(index, row), vector_of(told, label), DIM * sizeof(float)) != 0) return false;
        got++;
    }
    return got == want && fv_index_live(index) == want;
}

static fv_index *linked(size_t rows, const float *vectors, const uint64_t *labels) {
    fv_index_link_config link;
    fv_index *index = world_index(FV_INDEX_L2, DIM, rows, vectors, labels);
    fv_index_link_config_default(&link);
    WORLD_OK(fv_index_link(index, &link, NULL, why));
    return index;
}

/* ---- the process that is killed ---- */

typedef struct reader {
    const story *told;
    const fv_index *index;
} reader;

static fv_status nearest(const story *told, const fv_index *index, uint32_t beam, uint64_t *labels, float *distances) {
    fv_index_search search;
    fv_index_search_default(DIM, &search);
    search.queries = told->queries;
    search.count = QUERIES;
    search.k = K;
    search.beam = beam;
    return fv_index_nearest(index, &search, labels, distances, NULL, NULL);
}

/* What is found are vectors of the story, at their distances, each once. */
static void *read_on(void *context) {
    const reader *with = context;
    uint64_t labels[QUERIES * K];
    float distances[QUERIES * K];
    for (;; nanosleep(&(struct timespec){0, 1000000}, NULL)) {
        if (nearest(with->told, with->index, BEAM, labels, distances) != FV_OK) _exit(2);
        for (size_t i = 0; i < QUERIES * K; i++) {
            const float *query = with->told->queries + i / K * DIM;
            if (labels[i] == FV_INDEX_NO_LABEL || (i % K && distances[i] < distances[i - 1])) _exit(3);
            if (world_distance(FV_INDEX_L2, DIM, query, vector_of(with->told, labels[i])) != distances[i]) _exit(4);
            for (size_t j = i / K * K; j < i; j++)
                if (labels[j] == labels[i]) _exit(5);
        }
    }
    return NULL;
}

/* Tells on from call n with two readers, and says which calls were acknowledged. */
static void write_on(const story *told, int out, size_t n) {
    reader with = {.told = told};
    fv_index *index = NULL;
    pthread_t threads[2];
    if (fv_index_open_journal(&index, PATH, NULL, NULL) != FV_OK) _exit(1);
    with.index = index;
    for (int i = 0; i < 2; i++)
        if (pthread_create(threads + i, NULL, read_on, &with)) _exit(1);
    for (; n < 2 * told->batches; n++) {
        uint32_t done = (uint32_t)n + 1;
        if (tell(told, index, n, NULL) != FV_OK || write(out, &done, sizeof done) != sizeof done) _exit(1);
    }
    _exit(0);
}

/* Kills it some time after `calls` more were acknowledged; how many calls were. */
static size_t run_and_kill(const story *told, size_t n, size_t calls, long pause_ns) {
    int ends[2], status;
    uint32_t done;
    size_t stop = n + calls;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) write_on(told, ends[1], n);
    close(ends[1]);
    while (n < stop && read(ends[0], &done, sizeof done) == sizeof done) n = done;
    struct timespec pause = {0, pause_ns};
    nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    while (read(ends[0], &done, sizeof done) == sizeof done) n = done;
    waitpid(child, &status, 0);
    close(ends[0]);
    if (!WIFSIGNALED(status) && WEXITSTATUS(status) != 0) fail_msg("the process ended with %d", WEXITSTATUS(status));
    return n;
}

/* ---- the whole ---- */

static double recall(const story *told, const fv_index *index) {
    static uint64_t labels[2][QUERIES * K];
    static float distances[2][QUERIES * K];
    size_t right = 0;
    assert_int_equal(nearest(told, index, 0, labels[0], distances[0]), FV_OK);
    assert_int_equal(nearest(told, index, BEAM, labels[1], distances[1]), FV_OK);
    for (size_t i = 0; i < QUERIES * K; i++) right += distances[1][i] <= distances[0][i / K * K + K - 1];
    return (double)right / (QUERIES * K);
}

static fv_index *opened(void) {
    fv_index *index = NULL;
    WORLD_OK(fv_index_open(&index, PATH, why));
    return index;
}

static double recall_of_new(const story *told, const fv_index *index) {
    size_t rows = 0;
    float *vectors = malloc(fv_index_live(index) * DIM * sizeof *vectors);
    for (size_t row = 0; row < index->rows; row++)
        if (index->arrays.labels[row] != FV_INDEX_NO_LABEL)
            memcpy(vectors + rows++ * DIM, fv_index_row(index, row), DIM * sizeof *vectors);
    fv_index *made = linked(rows, vectors, NULL);
    double share = recall(told, made);
    fv_index_close(made);
    free(vectors);
    return share;
}

static void begin(story *told, size_t thousands) {
    uint64_t labels[BASE];
    *told = (story){.batches = thousands * 1000 / EACH};
    size_t rows = told->batches * EACH;
    told->base = malloc((BASE + rows + QUERIES) * DIM * sizeof(float));
    told->vectors = told->base + BASE * DIM;
    told->queries = told->vectors + rows * DIM;
    manifold_fill(43, 0, BASE + rows, DIM, told->base);
    manifold_fill(43, 1, QUERIES, DIM, told->queries);
    for (size_t i = 0; i < BASE; i++) labels[i] = BASE_LABEL + i;
    fv_index *index = linked(BASE, told->base, labels);
    WORLD_OK(fv_index_save(index, PATH, why));
    fv_index_close(index);
}

static void kills_while_thousands_come_and_go_lose_nothing(void **state) {
    (void)state;
    const char *text = getenv("FV_RUNS");
    size_t thousands = text ? strtoul(text, NULL, 10) : 1, kills = 2 + 2 * thousands, n = 0, extra = 0, done = 0;
    test_random random = test_random_make(44);
    story told;
    begin(&told, thousands);
    for (size_t run = 0; n < 2 * told.batches; run++) {
        size_t rest = 2 * told.batches - n, calls = run < kills ? rest / (kills + 1 - run) : rest;
        n = run_and_kill(&told, n, run < kills ? calls : rest, (long)test_random_in(&random, 0, 40000000));
        done += n < 2 * told.batches;
        fv_index *index = opened();
        if (n < 2 * told.batches && !is_after(&told, index, n)) { /* written, and not yet acknowledged */
            n++;
            extra++;
        }
        assert_true(is_after(&told, index, n));
        WORLD_OK(fv_index_check(index, why));
        fv_index_close(index);
    }
    fv_index *index = opened();
    double share = recall(&told, index), fresh = recall_of_new(&told, index);
    printf("%zu came, %zu went; %zu kills, %zu calls whole and not acknowledged; recall %.4f, of a new graph %.4f\n",
           told.batches * EACH, told.batches * HALF, done, extra, share, fresh);
    assert_true(share >= fresh - 0.01);
    fv_index_close(index);
    free(told.base);
    remove(PATH);
    remove(PATH ".journal");
    remove(PATH ".part");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kills_while_thousands_come_and_go_lose_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
