/* prefix_store_test.c - a folder of sessions: the longest beginning is found, the least recently used goes first, and
 * processes that share it do not get in each other's way. */
#include "fovea/prefix_store.h"
#include "fovea/step.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDER "prefix_store_test_folder"
#define MODEL FV_SOURCE_DIR "/tests/model/llama_f32.gguf"
enum { CONTEXT = 4096 };

typedef struct world {
    fv_llm *llm;
    fv_segments *pool;
    fv_stepper *stepper;
    fv_session_config config;
    fv_prefix_store *store;
} world;

static int folder_count(void) {
    int count = 0;
    DIR *folder = opendir(FOLDER);
    for (struct dirent *entry; folder && (entry = readdir(folder));) count += entry->d_name[0] != '.';
    if (folder) closedir(folder);
    return count;
}

static void folder_clear(void) {
    DIR *folder = opendir(FOLDER);
    char path[600];
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (entry->d_name[0] != '.' && snprintf(path, sizeof path, FOLDER "/%s", entry->d_name) > 0) remove(path);
    if (folder) closedir(folder);
    rmdir(FOLDER);
}

static int setup(void **state) {
    world *w = calloc(1, sizeof *w);
    folder_clear();
    if (!w || fv_llm_open(&w->llm, MODEL, NULL) != FV_OK || fv_segments_open(&w->pool, 0, NULL) != FV_OK) return -1;
    fv_session_config_default(&w->config);
    w->config.context_tokens = CONTEXT;
    if (fv_stepper_open(&w->stepper, w->llm, &w->config, NULL, NULL) != FV_OK) return -1;
    *state = w;
    return fv_prefix_store_open(&w->store, FOLDER, (uint64_t)1 << 30, NULL) == FV_OK ? 0 : -1;
}

static int teardown(void **state) {
    world *w = *state;
    fv_prefix_store_close(w->store);
    fv_stepper_close(w->stepper);
    fv_segments_close(w->pool);
    fv_llm_close(w->llm);
    free(w);
    folder_clear();
    return 0;
}

/* Two texts with the same seed are the same up to `shared` and differ from there on. */
static void text_make(int32_t *tokens, size_t count, unsigned seed, size_t shared, unsigned tail) {
    for (size_t i = 0; i < count; i++)
        tokens[i] = (int32_t)((i * 2654435761u + (i < shared ? seed : seed + tail) * 40503u) >> 7) % 300;
    for (size_t i = 0; i < count; i++)
        if (tokens[i] < 0) tokens[i] = -tokens[i];
}

static void keep(const world *w, fv_prefix_store *store, const int32_t *tokens, size_t count) {
    fv_sequence *sequence = NULL;
    fv_message message = {""};
    assert_int_equal(fv_sequence_open(&sequence, w->llm, w->pool, &w->config, NULL), FV_OK);
    assert_int_equal(fv_sequence_feed(sequence, w->stepper, tokens, count, NULL, NULL), FV_OK);
    if (fv_prefix_store_keep(store, sequence, &message) != FV_OK) fail_msg("%s", message.text);
    fv_sequence_close(sequence);
}

/* Tokens that the file that is found shares; 0: there is none. */
static uint32_t found(const world *w, const int32_t *tokens, size_t count) {
    fv_sequence *sequence = NULL;
    fv_session_file *file = NULL;
    uint32_t shared = 0;
    assert_int_equal(fv_sequence_open(&sequence, w->llm, w->pool, &w->config, NULL), FV_OK);
    assert_int_equal(fv_prefix_store_find(w->store, sequence, tokens, count, &file, NULL), FV_OK);
    if (file) {
        shared = fv_session_file_shared(file, tokens, count);
        assert_int_equal(fv_sequence_wake(sequence, file, shared, NULL), FV_OK);
        assert_memory_equal(fv_sequence_ids(sequence), tokens, shared * sizeof *tokens);
    }
    fv_session_file_close(file);
    fv_sequence_close(sequence);
    return shared;
}

static void the_longest_beginning_is_found(void **state) {
    world *w = *state;
    static int32_t a[CONTEXT], b[CONTEXT], c[CONTEXT];
    text_make(a, CONTEXT, 1, CONTEXT, 0);
    text_make(b, CONTEXT, 1, 2500, 7);
    text_make(c, CONTEXT, 2, CONTEXT, 0);
    assert_int_equal(found(w, a, 4000), 0);
    keep(w, w->store, a, 1000); /* no whole segment */
    assert_int_equal(folder_count(), 0);
    keep(w, w->store, a, 1500);
    assert_int_equal(folder_count(), 1);
    assert_int_equal(found(w, a, 4000), 1024);
    assert_int_equal(found(w, a, 1023), 0);
    assert_int_equal(found(w, c, 4000), 0);
    keep(w, w->store, b, 3100);
    assert_int_equal(found(w, b, 4000), 3072);
    assert_int_equal(found(w, a, 4000), 2500); /* of the other text's file */
    keep(w, w->store, b, 3200);                /* the same segments */
    assert_int_equal(folder_count(), 2);
    fv_policy_default(FV_SELECTOR_WINDOW, &w->config.policy);
    assert_int_equal(found(w, a, 4000), 0); /* read so, its keys would be others */
    w->config.key_type = FV_ELEMENT_F32;
    fv_policy_default(FV_SELECTOR_DENSE, &w->config.policy);
    assert_int_equal(found(w, a, 4000), 0);
}

static void the_least_recently_used_goes_first(void **state) {
    world *w = *state;
    static int32_t texts[4][CONTEXT];
    struct stat info;
    char path[600] = "";
    for (unsigned i = 0; i < 4; i++) text_make(texts[i], CONTEXT, 10 + i, CONTEXT, 0);
    keep(w, w->store, texts[0], 1100);
    DIR *folder = opendir(FOLDER);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.') snprintf(path, sizeof path, FOLDER "/%s", entry->d_name);
    closedir(folder);
    assert_int_equal(stat(path, &info), 0);
    fv_prefix_store *small = NULL, *smallest = NULL;
    assert_int_equal(fv_prefix_store_open(&small, FOLDER, 3 * (uint64_t)info.st_size, NULL), FV_OK);
    assert_int_equal(fv_prefix_store_open(&smallest, FOLDER, (uint64_t)info.st_size - 1, NULL), FV_OK);
    usleep(20000);
    keep(w, small, texts[1], 1100);
    usleep(20000);
    keep(w, small, texts[2], 1100);
    usleep(20000);
    assert_int_equal(found(w, texts[0], 1100), 1024); /* used: now texts[1] is the oldest */
    usleep(20000);
    keep(w, small, texts[3], 1100);
    assert_int_equal(folder_count(), 3);
    assert_int_equal(found(w, texts[0], 1100), 1024);
    assert_int_equal(found(w, texts[1], 1100), 0);
    assert_int_equal(found(w, texts[2], 1100), 1024);
    assert_int_equal(found(w, texts[3], 1100), 1024);
    keep(w, smallest, texts[1], 1100); /* larger than the limit: nothing is given up for it */
    assert_int_equal(folder_count(), 3);
    fv_prefix_store_close(small);
    fv_prefix_store_close(smallest);
}

static void processes_share_a_folder(void **state) {
    world *w = *state;
    enum { PROCESSES = 3, ROUNDS = 12 };
    static int32_t tokens[CONTEXT];
    pid_t children[PROCESSES];
    for (unsigned p = 0; p < PROCESSES; p++) {
        children[p] = fork();
        assert_true(children[p] >= 0);
        if (children[p] > 0) continue;
        fv_prefix_store *store = NULL; /* room for two files or three: each takes others' away */
        bool good = fv_prefix_store_open(&store, FOLDER, 400000, NULL) == FV_OK;
        for (unsigned round = 0; round < ROUNDS && good; round++) {
            fv_sequence *sequence = NULL;
            fv_session_file *file = NULL;
            fv_message message = {""};
            text_make(tokens, CONTEXT, (p + round) % 4, CONTEXT, 0);
            good = fv_sequence_open(&sequence, w->llm, w->pool, &w->config, NULL) == FV_OK &&
                   fv_prefix_store_find(store, sequence, tokens, 1100, &file, &message) == FV_OK;
            uint32_t shared = file ? fv_session_file_shared(file, tokens, 1100) : 0;
            if (file) good = good && shared == 1024 && fv_sequence_wake(sequence, file, shared, &message) == FV_OK;
            good = good &&
                   fv_sequence_feed(sequence, w->stepper, tokens + shared, 1100 - shared, NULL, NULL) == FV_OK &&
                   fv_prefix_store_keep(store, sequence, &message) == FV_OK;
            if (!good) fprintf(stderr, "%s\n", message.text);
            fv_session_file_close(file);
            fv_sequence_close(sequence);
        }
        _exit(good ? 0 : 1);
    }
    for (unsigned p = 0; p < PROCESSES; p++) {
        int status = 1;
        assert_int_equal(waitpid(children[p], &status, 0), children[p]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    for (unsigned i = 0; i < 4; i++) { /* whatever is left is whole */
        text_make(tokens, CONTEXT, i, CONTEXT, 0);
        uint32_t shared = found(w, tokens, 1100);
        assert_true(shared == 0 || shared == 1024);
    }
}

static void a_folder_that_can_not_be_is_refused(void **state) {
    (void)state;
    fv_prefix_store *store = NULL;
    fv_message message = {""};
    assert_int_equal(fv_prefix_store_open(&store, "no/such/folder", 1, &message), FV_ERROR_FILE);
    assert_int_equal(fv_prefix_store_open(&store, MODEL, 1, &message), FV_ERROR_FILE);
    assert_int_equal(fv_prefix_store_open(&store, "", 1, &message), FV_ERROR_ARGUMENT);
    assert_null(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_longest_beginning_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(the_least_recently_used_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(processes_share_a_folder, setup, teardown),
        cmocka_unit_test(a_folder_that_can_not_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
