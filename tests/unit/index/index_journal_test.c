/* index_journal_test.c - changes that wait in a journal: what a call acknowledged is there, whatever happened since,
 * and no half of a call. FV_RUNS: kills (6). */
#include "index/index_file.h"
#include "index/index_journal.h"
#include "support/index_world.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH "index_journal_test.fvi"
#define JOURNAL PATH ".journal"

enum { DIM = 7, EACH = 3, CALLS = 12, BASE = 40, BASE_LABEL = 1 << 20, MOST_CALLS = 4000 };

/* ---- a story: what the n-th call does, and what is there after so many ---- */

static void fill(float *vectors, uint64_t label, size_t version) {
    for (size_t i = 0; i < EACH * DIM; i++)
        vectors[i] = (float)(label + i / DIM) / 64 + (float)(i % DIM) + (float)version / 1024;
}

static fv_status tell(fv_index *index, size_t n, fv_message *message) {
    float vectors[EACH * DIM];
    uint64_t first = (n % 4 == 2 ? n - 1 : n % 4 == 3 ? n - 3 : n) * EACH, labels[EACH] = {first, first + 1, first + 2};
    fill(vectors, first, n);
    if (n % 4 == 3) return fv_index_remove(index, EACH, labels, message);
    return n % 4 == 2 ? fv_index_update(index, EACH, DIM, vectors, labels, NULL, message)
                      : fv_index_add(index, EACH, DIM, vectors, labels, NULL, message);
}

/* Whether the index is what it is after n calls. */
static bool is_after(const fv_index *index, size_t n) {
    fv_index_info info;
    size_t rows = BASE;
    fv_index_info_get(index, &info);
    for (size_t call = 0; call < n; call++) {
        float want[EACH * DIM], got[DIM];
        if (call % 4 > 1) continue;
        bool is_gone = call % 4 == 0 && call + 3 < n;
        rows += is_gone ? 0 : EACH;
        fill(want, call * EACH, call % 4 == 1 && call + 1 < n ? call + 1 : call);
        for (size_t i = 0; i < EACH; i++) {
            bool is_there = fv_index_vector(index, call * EACH + i, got, NULL) == FV_OK;
            if (is_there == is_gone || (is_there && memcmp(got, want + i * DIM, sizeof got) != 0)) return false;
        }
    }
    return info.rows == rows;
}

static fv_index *opened(void) {
    fv_index *index = NULL;
    WORLD_OK(fv_index_open(&index, PATH, why));
    return index;
}

static void expect_after(size_t n) {
    fv_index *index = opened();
    if (!is_after(index, n)) fail_msg("the index is not what it is after %zu calls", n);
    WORLD_OK(fv_index_check(index, why));
    fv_index_close(index);
}

/* A file with a graph, and nothing that waits. */
static void begin(void) {
    static float vectors[BASE * DIM];
    uint64_t labels[BASE];
    fv_index_link_config link;
    remove(JOURNAL);
    manifold_fill(41, 0, BASE, DIM, vectors);
    for (size_t i = 0; i < BASE; i++) labels[i] = BASE_LABEL + i;
    fv_index *index = world_index(FV_INDEX_L2, DIM, BASE, vectors, labels);
    fv_index_link_config_default(&link);
    link.beam = 20;
    WORLD_OK(fv_index_link(index, &link, NULL, why));
    WORLD_OK(fv_index_save(index, PATH, why));
    fv_index_close(index);
}

static fv_index *for_change(void) {
    fv_index *index = NULL;
    WORLD_OK(fv_index_open_journal(&index, PATH, NULL, why));
    return index;
}

static void end(void) {
    remove(PATH);
    remove(JOURNAL);
    remove(PATH ".part");
}

static void spit(const char *path, const uint8_t *bytes, size_t count) {
    FILE *file = fopen(path, "wb");
    assert_true(file && fwrite(bytes, 1, count, file) == count && fclose(file) == 0);
}

/* ---- tests ---- */

static void changes_wait_and_are_taken_into_the_file(void **state) {
    (void)state;
    fv_index_changes changes;
    begin();
    fv_index *before = opened(), *index = for_change(), *second = NULL;
    for (size_t n = 0; n < CALLS; n++) {
        WORLD_OK(tell(index, n, why));
        assert_true(is_after(index, n + 1) && is_after(before, 0));
        expect_after(n + 1); /* whoever opens it now */
    }
    fv_message message = {""};
    assert_int_equal(fv_index_open_journal(&second, PATH, NULL, &message), FV_ERROR_FILE);
    assert_string_equal(message.text, PATH ": is being changed by another process");
    assert_int_equal(fv_index_save(before, PATH, &message), FV_ERROR_FILE); /* that would lose them */
    assert_int_equal(tell(index, 0, &message), FV_OK);                      /* its labels had gone */
    assert_int_equal(tell(index, 0, &message), FV_ERROR_ARGUMENT);
    WORLD_OK(fv_index_remove(index, EACH, (const uint64_t[]){0, 1, 2}, why));
    fv_index_changes_get(index, &changes);
    assert_true(changes.waiting_calls == CALLS + 2 && changes.waiting_vectors > 0 && changes.journal_bytes > 1000);
    WORLD_OK(fv_index_save(index, PATH, why));
    fv_index_changes_get(index, &changes);
    assert_true(changes.waiting_calls == 0 && changes.journal_bytes == 0 && changes.file_bytes > 1000);
    expect_after(CALLS);
    WORLD_OK(tell(index, CALLS, why));
    fv_index_close(index);
    assert_true(is_after(before, 0));
    fv_index_close(before);
    expect_after(CALLS + 1);
    index = for_change();
    fv_index_changes_get(index, &changes);
    assert_int_equal(changes.waiting_calls, 1);
    WORLD_OK(tell(index, CALLS + 1, why));
    fv_index_close(index);
    expect_after(CALLS + 2);
    end();
}

/* The same calls, journal or not, make the same file. */
static void a_journal_changes_no_bit(void **state) {
    (void)state;
    size_t count[2];
    uint8_t *bytes[2];
    for (int way = 0; way < 2; way++) {
        begin();
        fv_index *index = way ? for_change() : opened();
        for (size_t n = 0; n < CALLS; n++) {
            WORLD_OK(tell(index, n, why));
            if (!way || n % 5 != 3) continue;
            fv_index_close(index); /* and replayed */
            index = for_change();
        }
        WORLD_OK(fv_index_save(index, PATH, why));
        fv_index_close(index);
        bytes[way] = world_file(PATH, count + way);
    }
    assert_int_equal(count[0], count[1]);
    assert_memory_equal(bytes[0] + FV_INDEX_HEADER, bytes[1] + FV_INDEX_HEADER, count[0] - FV_INDEX_HEADER);
    free(bytes[0]);
    free(bytes[1]);
    end();
}

static void a_cut_leaves_whole_calls_and_a_flipped_bit_none(void **state) {
    (void)state;
    enum { FEW = 4 };
    begin();
    fv_index *index = for_change();
    for (size_t n = 0; n < FEW; n++) WORLD_OK(tell(index, n, why));
    fv_index_close(index);
    size_t count, after = 0;
    uint8_t *bytes = world_file(JOURNAL, &count);
    for (size_t cut = 0; cut <= count; cut++) {
        spit(JOURNAL, bytes, cut);
        index = opened();
        if (after < FEW && is_after(index, after + 1)) after++;
        if (!is_after(index, after)) fail_msg("cut at %zu of %zu", cut, count);
        fv_index_close(index);
        if (cut % 16) continue; /* who changes it next cuts it */
        index = for_change();
        assert_true(is_after(index, after));
        if (after < FEW) WORLD_OK(tell(index, after, why));
        fv_index_close(index);
        expect_after(after < FEW ? after + 1 : after);
    }
    assert_int_equal(after, FEW);
    for (size_t i = 0; i < count; i++) {
        fv_message message = {""};
        bytes[i] ^= (uint8_t)(1u << i % 8);
        spit(JOURNAL, bytes, count);
        fv_status status = fv_index_open(&index, PATH, &message);
        if (i + FV_JOURNAL_RECORD >= count) { /* the mark at the end is no change */
            assert_int_equal(status, FV_OK);
            assert_true(is_after(index, FEW));
            fv_index_close(index);
        } else if (status != FV_ERROR_CORRUPT || !strstr(message.text, JOURNAL ": "))
            fail_msg("byte %zu of %zu: %d, %s", i, count, status, message.text);
        bytes[i] ^= (uint8_t)(1u << i % 8);
    }
    free(bytes);
    end();
}

static void a_journal_that_the_file_has_already_is_passed_over(void **state) {
    (void)state;
    size_t count;
    begin();
    fv_index *index = for_change();
    for (size_t n = 0; n < 4; n++) WORLD_OK(tell(index, n, why));
    uint8_t *bytes = world_file(JOURNAL, &count);
    WORLD_OK(fv_index_save(index, PATH, why));
    fv_index_close(index);
    spit(JOURNAL, bytes, count); /* killed between the two */
    expect_after(4);
    index = for_change();
    WORLD_OK(tell(index, 4, why));
    fv_index_close(index);
    expect_after(5);
    begin(); /* another index, and one that is saved over it */
    spit(JOURNAL, bytes, count);
    index = opened();
    assert_true(is_after(index, 4)); /* the same file as before: it is its own */
    WORLD_OK(fv_index_save(index, PATH, why));
    fv_index_close(index);
    assert_int_equal(access(JOURNAL, F_OK), -1);
    expect_after(4);
    fv_message message = {""};
    bytes[16] ^= 1; /* of a file that is not there */
    fv_le64_put(bytes + 56, fv_hash64(0, bytes, 56));
    spit(JOURNAL, bytes, count);
    assert_int_equal(fv_index_open(&index, PATH, &message), FV_ERROR_CORRUPT);
    assert_non_null(strstr(message.text, "belongs to another index"));
    spit(JOURNAL, (const uint8_t *)"no journal, though as long as the header of one would be: 64 bytes", 66);
    assert_int_equal(fv_index_open_journal(&index, PATH, NULL, &message), FV_ERROR_CORRUPT);
    assert_non_null(strstr(message.text, "is no journal"));
    free(bytes);
    end();
    assert_int_equal(fv_index_open_journal(&index, PATH, NULL, &message), FV_ERROR_FILE);
    assert_int_equal(access(JOURNAL, F_OK), -1);
}

static void a_full_disk_loses_nothing(void **state) {
    (void)state;
    struct rlimit limit, old;
    size_t count, calls = 0;
    fv_message message = {""};
    begin();
    fv_index *index = for_change();
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){1000, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    while (tell(index, calls, &message) == FV_OK) calls++;
    assert_int_equal(tell(index, calls, &message), FV_ERROR_FILE);
    bool saved = fv_index_save(index, PATH, &message) == FV_OK;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_true(!saved && calls > 1);
    assert_non_null(strstr(message.text, PATH));
    assert_true(is_after(index, calls));
    expect_after(calls);
    free(world_file(JOURNAL, &count));
    assert_true(count <= 1000);
    WORLD_OK(tell(index, calls, why)); /* there is room again */
    fv_index_close(index);
    expect_after(calls + 1);
    end();
}

/* More than may wait is taken into the file. */
static void many_changes_are_taken_into_the_file(void **state) {
    (void)state;
    enum { MANY = 1100 };
    static float vectors[MANY * DIM];
    fv_index_changes changes;
    begin();
    fv_index *index = for_change();
    WORLD_OK(tell(index, 0, why));
    uint64_t labels[MANY];
    for (size_t i = 0; i < MANY; i++) labels[i] = 5000 + i;
    WORLD_OK(fv_index_add(index, MANY, DIM, vectors, labels, NULL, why));
    fv_index_changes_get(index, &changes);
    assert_int_equal(changes.waiting_calls, 0);
    fv_index_close(index);
    index = opened();
    assert_true(index->is_mapped && fv_index_live(index) == BASE + EACH + MANY);
    fv_index_close(index);
    end();
}

/* ---- kills ---- */

typedef struct reading {
    atomic_bool is_over;
    atomic_size_t opens, faults;
    atomic_size_t acknowledged; /* calls, as the parent knows */
} reading;

/* Opens the index again and again: it is what it is after some number of whole calls, at least those that were
 * acknowledged before. */
static void *read_on(void *context) {
    reading *with = context;
    while (!atomic_load(&with->is_over)) {
        size_t least = atomic_load(&with->acknowledged), n = least;
        fv_index *index = NULL;
        bool good = fv_index_open(&index, PATH, NULL) == FV_OK;
        while (good && n < least + 400 && !is_after(index, n)) n++;
        if (!good || n == least + 400) atomic_fetch_add(&with->faults, 1);
        fv_index_close(index);
        atomic_fetch_add(&with->opens, 1);
    }
    return NULL;
}

/* Tells on from call n, saves now and then, and says which calls were acknowledged. */
static void write_on(int out, size_t n) {
    fv_index *index = NULL;
    uint32_t begun = (uint32_t)n;
    if (fv_index_open_journal(&index, PATH, NULL, NULL) != FV_OK) _exit(1);
    if (write(out, &begun, sizeof begun) != sizeof begun) _exit(1);
    for (; n < MOST_CALLS; n++) {
        uint32_t done = (uint32_t)n + 1;
        if (tell(index, n, NULL) != FV_OK || write(out, &done, sizeof done) != sizeof done) _exit(1);
        if (n % 7 == 5 && fv_index_save(index, PATH, NULL) != FV_OK) _exit(1);
    }
    _exit(0);
}

/* Kills it some time after it has opened the index, or after it began. */
static size_t run_and_kill(reading *with, size_t n, bool opens, long pause_ns) {
    int ends[2];
    uint32_t done;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) write_on(ends[1], n);
    close(ends[1]);
    if (opens) assert_int_equal(read(ends[0], &done, sizeof done), sizeof done);
    struct timespec pause = {0, pause_ns};
    nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    while (read(ends[0], &done, sizeof done) == sizeof done) {
        atomic_store(&with->acknowledged, done);
        n = done;
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    close(ends[0]);
    return n;
}

static void a_kill_at_any_moment_loses_nothing(void **state) {
    (void)state;
    const char *text = getenv("FV_RUNS");
    size_t runs = text ? strtoul(text, NULL, 10) : 6, n = 0, extra = 0;
    test_random random = test_random_make(42);
    reading with = {0};
    pthread_t reader;
    begin();
    assert_int_equal(pthread_create(&reader, NULL, read_on, &with), 0);
    for (size_t run = 0; run < runs && n < MOST_CALLS - 400; run++) {
        n = run_and_kill(&with, n, run % 4 != 3, (long)test_random_in(&random, 0, 40000000));
        fv_index *index = opened();
        if (!is_after(index, n)) { /* a call that was written and not yet acknowledged */
            n++;
            extra++;
        }
        assert_true(is_after(index, n));
        WORLD_OK(fv_index_check(index, why));
        fv_index_close(index);
    }
    atomic_store(&with.is_over, true);
    pthread_join(reader, NULL);
    printf("%zu kills, %zu calls, %zu of them whole and not acknowledged; opened %zu times meanwhile\n", runs, n, extra,
           atomic_load(&with.opens));
    assert_int_equal(atomic_load(&with.faults), 0);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_wait_and_are_taken_into_the_file),
        cmocka_unit_test(a_journal_changes_no_bit),
        cmocka_unit_test(a_cut_leaves_whole_calls_and_a_flipped_bit_none),
        cmocka_unit_test(a_journal_that_the_file_has_already_is_passed_over),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(many_changes_are_taken_into_the_file),
        cmocka_unit_test(a_kill_at_any_moment_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
