/* stage_session_test.c - sessions of a model whose layers are in several engines: saved by all, woken by the same
 * split, with the bits of one engine; what is missing, mixed or cut short is refused with a sentence. */
#include "fovea/sequence.h"
#include "fovea/session_file.h"
#include "llm/sequence_state.h"
#include "llm/session_layout.h"
#include "llm/session_segments.h"
#include "llm/stage_wire.h"
#include "support/random.h"
#include "support/stage_ring.h"
#include "support/test_policy.h"
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STORY FV_SOURCE_DIR "/tests/model/story.gguf"      /* five layers */
#define GEMMA FV_SOURCE_DIR "/tests/model/gemma3_f32.gguf" /* seven layers, of which six have a window of 16 tokens */
enum { CONTEXT = 3000, TOKENS = 1100, MORE = 20, VOCABULARY_MOST = 4096 };

static int32_t text[CONTEXT];
static char folder[] = "/tmp/stage_session_XXXXXX";
static char kept[64], whole_file[64];

static int folder_make(void **state) {
    (void)state;
    test_random random = test_random_make(5);
    for (size_t i = 0; i < CONTEXT; i++) text[i] = (int32_t)test_random_in(&random, 4, 200);
    if (!mkdtemp(folder)) return -1;
    snprintf(kept, sizeof kept, "%s/kept", folder);
    snprintf(whole_file, sizeof whole_file, "%s/whole", folder);
    return 0;
}

/* The name of the n-th file of a later rank; how many there are. */
static size_t rank_files(size_t n, char name[320]) {
    DIR *list = opendir(folder);
    size_t count = 0;
    assert_non_null(list);
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        if (!strstr(entry->d_name, ".rank")) continue;
        if (count++ == n && name) snprintf(name, 320, "%s/%s", folder, entry->d_name);
    }
    closedir(list);
    return count;
}

static void folder_empty(void) {
    char name[320];
    while (rank_files(0, name) > 0) unlink(name);
    unlink(kept), unlink(whole_file);
}

static int folder_remove(void **state) {
    (void)state;
    folder_empty();
    return rmdir(folder);
}

static fv_session *session_new(const fv_engine *engine) {
    fv_session_config config;
    fv_session *session = NULL;
    fv_message message = {{0}};
    fv_session_config_default(&config);
    config.context_tokens = CONTEXT;
    config.batch_tokens = 64;
    config.policy = test_policy(FV_SELECTOR_FOVEA);
    config.policy.dense_below = 0;
    fv_policy_set_budget(&config.policy, 0.2f);
    if (fv_engine_session_open(engine, &config, &session, &message) != FV_OK) fail_msg("%s", message.text);
    return session;
}

static void feed(fv_session *session, size_t first, size_t count) {
    assert_int_equal(fv_session_feed(session, text + first, count, NULL, NULL), FV_OK);
}

static void save(fv_session *session, const char *path) {
    fv_message message = {{0}};
    if (fv_session_save(session, path, FV_SESSION_END_PLAIN, &message) != FV_OK) fail_msg("%s", message.text);
}

static fv_status wake(fv_session *session, const char *path, size_t tokens, fv_message *message) {
    fv_session_file *file = NULL;
    fv_status status = fv_session_file_open(&file, path, message);
    if (status != FV_OK) return status;
    if (tokens == 0) tokens = fv_session_file_info(file)->tokens;
    status = fv_session_wake(session, file, tokens, message);
    fv_session_file_close(file);
    return status;
}

/* Feeds some tokens more: the logits after the last. */
static void go_on(fv_session *session, size_t first, float *logits) {
    feed(session, first, MORE);
    assert_int_equal(fv_session_logits(session, fv_session_batch_rows(session) - 1, 1, logits), FV_OK);
}

static void one_engine(fv_engine **engine, const char *path) {
    fv_engine_config config;
    fv_engine_config_default(&config);
    config.model = path, config.tune = "none", config.pool.threads = 1;
    assert_int_equal(fv_engine_open(engine, &config, NULL), FV_OK);
}

static fv_engine *ring_start(stage_ring *ring, const char *path, const uint32_t *layers, uint32_t stages) {
    ring_open(ring, path, layers, stages, NULL, NULL);
    assert_int_equal(ring_link(ring, NULL), FV_OK);
    return ring->stages[0].engine;
}

/* Saved and woken by stages, whole and cut: what one engine says. */
static void keep_check(const char *path, const uint32_t *layers, uint32_t stages, size_t cut) {
    static float want[VOCABULARY_MOST], got[VOCABULARY_MOST], cut_want[VOCABULARY_MOST];
    static stage_ring ring;
    fv_engine *whole = NULL;
    fv_message message = {{0}};
    one_engine(&whole, path);
    size_t bytes = fv_llm_config(fv_engine_llm(whole))->vocabulary * sizeof *want;
    assert_true(bytes <= sizeof want);
    fv_session *session = session_new(whole);
    feed(session, 0, TOKENS);
    save(session, whole_file);
    assert_int_equal(wake(session, whole_file, cut, &message), FV_OK);
    go_on(session, cut, cut_want);
    assert_int_equal(wake(session, whole_file, 0, &message), FV_OK);
    go_on(session, TOKENS, want);
    fv_session_close(session);
    fv_engine_close(whole);
    session = session_new(ring_start(&ring, path, layers, stages));
    feed(session, 0, TOKENS); /* saving waits for what is on its way */
    save(session, kept);
    assert_int_equal(rank_files(0, NULL), stages - 1);
    go_on(session, TOKENS, got); /* goes on itself */
    assert_memory_equal(got, want, bytes);
    fv_session_close(session);
    ring_close(&ring, FV_OK);
    session = session_new(ring_start(&ring, path, layers, stages));
    feed(session, 700, 30); /* what it held goes */
    if (wake(session, kept, 0, &message) != FV_OK) fail_msg("%s", message.text);
    assert_int_equal(fv_session_tokens(session), TOKENS);
    go_on(session, TOKENS, got);
    assert_memory_equal(got, want, bytes);
    if (wake(session, kept, cut, &message) != FV_OK) fail_msg("%s", message.text);
    go_on(session, cut, got);
    assert_memory_equal(got, cut_want, bytes);
    save(session, kept); /* in the place of the one that it woke from */
    assert_int_equal(rank_files(0, NULL), stages - 1);
    assert_int_equal(wake(session, kept, 0, &message), FV_OK);
    assert_int_equal(fv_session_tokens(session), cut + MORE);
    fv_session_close(session);
    ring_close(&ring, FV_OK);
    folder_empty();
}

static void stages_go_on_as_one_process_does(void **state) {
    (void)state;
    keep_check(STORY, (uint32_t[]){3, 2}, 2, 1050);
    keep_check(STORY, (uint32_t[]){1, 3, 1}, 3, 1024);
}

static void layers_with_windows_too(void **state) {
    (void)state;
    keep_check(GEMMA, (uint32_t[]){4, 3}, 2, 1090);
}

static void refused(fv_session *session, const char *path, fv_status want, const char *says) {
    fv_message message = {{0}};
    size_t tokens = fv_session_tokens(session);
    assert_int_equal(wake(session, path, 0, &message), want);
    if (!strstr(message.text, says)) fail_msg("\"%s\" does not say \"%s\"", message.text, says);
    assert_int_equal(fv_session_tokens(session), tokens);
}

static void another_split_is_refused(void **state) {
    (void)state;
    static stage_ring ring;
    fv_engine *whole = NULL;
    char name[320];
    fv_session *session = session_new(ring_start(&ring, STORY, (uint32_t[]){3, 2}, 2));
    feed(session, 0, 40);
    save(session, kept);
    assert_int_equal(rank_files(0, name), 1);
    fv_session_close(session);
    ring_close(&ring, FV_OK);
    one_engine(&whole, STORY);
    session = session_new(whole);
    refused(session, kept, FV_ERROR_UNSUPPORTED, "was saved by 2 ranks with layers 3,2; go on with the same");
    feed(session, 0, 40);
    save(session, whole_file);
    fv_session_close(session);
    fv_engine_close(whole);
    session = session_new(ring_start(&ring, STORY, (uint32_t[]){3, 2}, 2));
    refused(session, whole_file, FV_ERROR_UNSUPPORTED, "was saved by one process");
    refused(session, name, FV_ERROR_UNSUPPORTED, "has the layers of rank 1 alone");
    feed(session, 0, 5); /* nothing is wrong with the stages */
    fv_session_close(session);
    ring_close(&ring, FV_OK);
    session = session_new(ring_start(&ring, STORY, (uint32_t[]){3, 1, 1}, 3));
    refused(session, kept, FV_ERROR_UNSUPPORTED, "with layers 3,2, and here they are 3,1,1");
    fv_session_close(session);
    ring_close(&ring, FV_OK);
    session = session_new(ring_start(&ring, STORY, (uint32_t[]){2, 3}, 2));
    refused(session, kept, FV_ERROR_UNSUPPORTED, "with layers 3,2");
    fv_session_close(session);
    ring_close(&ring, FV_OK);
    folder_empty();
}

static void file_move(const char *from, const char *to) { assert_int_equal(rename(from, to), 0); }

/* What is at `path`, but for its last bytes or one that differs. */
static void file_harm(const char *path, size_t cut, long flipped) {
    FILE *file = fopen(path, "r+b");
    struct stat info;
    assert_non_null(file);
    assert_int_equal(stat(path, &info), 0);
    if (cut) assert_int_equal(truncate(path, info.st_size - (off_t)cut), 0);
    if (!cut) {
        assert_int_equal(fseek(file, flipped, SEEK_SET), 0);
        int byte = fgetc(file);
        assert_int_equal(fseek(file, flipped, SEEK_SET), 0);
        assert_true(fputc(byte ^ 1, file) != EOF);
    }
    assert_int_equal(fclose(file), 0);
}

static void files_that_are_not_of_one_save_are_refused(void **state) {
    (void)state;
    static stage_ring ring;
    char first[320], second[320], aside[340];
    fv_session *session = session_new(ring_start(&ring, STORY, (uint32_t[]){3, 2}, 2));
    feed(session, 0, 40);
    save(session, kept);
    assert_int_equal(rank_files(0, first), 1);
    snprintf(aside, sizeof aside, "%s/aside", folder);
    file_move(first, aside);
    refused(session, kept, FV_ERROR_FILE, "is missing, a part of the session");
    save(session, kept); /* the same tokens, another save */
    assert_int_equal(rank_files(0, second), 1);
    assert_string_not_equal(first, second);
    file_move(aside, second);
    refused(session, kept, FV_ERROR_CORRUPT, "is of another save than");
    save(session, kept);
    assert_int_equal(rank_files(0, second), 1);
    file_harm(second, 1, 0);
    refused(session, kept, FV_ERROR_CORRUPT, "read the document again");
    save(session, kept);
    for (long place = 40; place < 140; place += 33) { /* stamp, numbers, layers */
        assert_int_equal(rank_files(0, second), 1);
        file_harm(second, 0, place);
        refused(session, kept, FV_ERROR_CORRUPT, "damaged");
        file_harm(second, 0, place);
    }
    assert_int_equal(wake(session, kept, 0, NULL), FV_OK);
    fv_session_close(session);
    ring_close(&ring, FV_OK);
    folder_empty();
}

static void bytes_sign(uint8_t *bytes) {
    size_t head = (size_t)fv_le64_get(bytes + FV_SESSION_AT_HEAD_BYTES);
    fv_le64_put(bytes + FV_SESSION_AT_HEAD_CHECKSUM, fv_hash64(0, bytes + FV_SESSION_HEADER, head - FV_SESSION_HEADER));
    fv_le64_put(bytes + FV_SESSION_AT_CHECKSUM, fv_hash64(0, bytes, FV_SESSION_AT_CHECKSUM));
}

/* Checksums are right, and who has which layer can't be. */
static void splits_that_cannot_be_are_refused(void **state) {
    (void)state;
    static const uint32_t bad[][5] = {{1, 0, 1, UINT32_MAX, UINT32_MAX}, /* stages; UINT32_MAX: this file */
                                      {0, 0, 0, 0, 0},
                                      {0, 0, 2, UINT32_MAX, UINT32_MAX},
                                      {0, 0, 1, UINT32_MAX, UINT32_MAX - 1},
                                      {0, 1, 0, UINT32_MAX, UINT32_MAX},
                                      {0, UINT32_MAX, 0, UINT32_MAX, UINT32_MAX},
                                      {0, UINT32_MAX, 1, UINT32_MAX, UINT32_MAX},
                                      {0, 0, 0, UINT32_MAX, 1},
                                      {0, 0, 0, UINT32_MAX, 0}};
    static uint8_t bytes[1 << 20], lie[1 << 20];
    static stage_ring ring;
    char name[320];
    fv_session_file *file = NULL;
    fv_session *session = session_new(ring_start(&ring, STORY, (uint32_t[]){3, 2}, 2));
    feed(session, 0, 40);
    save(session, kept);
    assert_int_equal(rank_files(0, name), 1);
    FILE *stored = fopen(name, "rb");
    assert_non_null(stored);
    size_t count = fread(bytes, 1, sizeof bytes, stored);
    assert_true(count < sizeof bytes);
    assert_int_equal(fclose(stored), 0);
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        memcpy(lie, bytes, count);
        for (size_t layer = 0; layer < 5; layer++) {
            uint8_t *record = lie + FV_SESSION_HEADER + layer * FV_SESSION_LAYER;
            bool is_own = bad[n][layer] == UINT32_MAX;
            fv_le32_put(record, is_own ? 0 : bad[n][layer]);
            fv_le32_put(record + 4, is_own ? fv_le32_get(bytes + FV_SESSION_HEADER + 4 * FV_SESSION_LAYER + 4) : 0);
        }
        bytes_sign(lie);
        assert_int_equal(fv_session_file_open_memory(&file, lie, count, "lie", NULL), FV_ERROR_CORRUPT);
    }
    memcpy(lie, bytes, count);
    bytes_sign(lie); /* what signs is right */
    assert_int_equal(fv_session_file_open_memory(&file, lie, count, "lie", NULL), FV_OK);
    fv_session_file_close(file);
    fv_le64_put(lie + FV_SESSION_AT_STAMP, 0);
    bytes_sign(lie);
    assert_int_equal(fv_session_file_open_memory(&file, lie, count, "lie", NULL), FV_ERROR_CORRUPT);
    fv_session_close(session);
    ring_close(&ring, FV_OK);
    folder_empty();
}

/* What a save left that was killed goes with the next; what failed leaves the save before it. */
static void a_save_that_fails_leaves_the_one_before(void **state) {
    (void)state;
    static stage_ring ring;
    char left[128], blocked[128], found[320];
    fv_message message = {{0}};
    fv_session *session = session_new(ring_start(&ring, STORY, (uint32_t[]){3, 2}, 2));
    feed(session, 0, 40);
    save(session, kept);
    snprintf(left, sizeof left, "%s.0123456789abcdef.rank3", kept);
    snprintf(blocked, sizeof blocked, "%s.part", kept);
    assert_int_equal(fclose(fopen(left, "w")), 0);
    assert_int_equal(mkdir(blocked, 0777), 0); /* the first stage can't write */
    feed(session, 40, 10);
    assert_int_equal(fv_session_save(session, kept, 0, &message), FV_ERROR_FILE);
    assert_int_equal(rank_files(0, NULL), 2);
    assert_int_equal(wake(session, kept, 0, &message), FV_OK);
    assert_int_equal(fv_session_tokens(session), 40);
    assert_int_equal(rmdir(blocked), 0);
    save(session, kept);
    assert_int_equal(rank_files(0, found), 1);
    assert_string_not_equal(found, left);
    assert_int_equal(fv_session_save(session, "/nowhere/kept", 0, &message), FV_ERROR_FILE);
    char *longest = malloc(5001);
    assert_non_null(longest);
    memset(longest, 'a', 5000), longest[5000] = 0;
    assert_int_equal(fv_session_save(session, longest, 0, &message), FV_ERROR_FILE);
    free(longest);
    assert_int_equal(fv_session_save(session, kept, 77, &message), FV_ERROR_ARGUMENT);
    assert_int_equal(wake(session, kept, 0, &message), FV_OK);
    fv_session_close(session);
    ring_close(&ring, FV_OK);
    folder_empty();
}

/* Saves 40 tokens and 30 in turn, until it is killed. */
static void save_for_ever(int told) {
    static stage_ring ring;
    fv_session *session = session_new(ring_start(&ring, STORY, (uint32_t[]){2, 2, 1}, 3));
    for (size_t round = 0;; round++) {
        if (round % 2 == 0) feed(session, fv_session_tokens(session), 40 - fv_session_tokens(session));
        if (round % 2 == 1) assert_int_equal(fv_session_truncate(session, 30), FV_OK);
        save(session, kept);
        if (round == 0) assert_int_equal(write(told, "", 1), 1);
    }
}

static void a_kill_at_any_moment_leaves_a_session(void **state) {
    (void)state;
    enum { ROUNDS = 20 };
    static stage_ring ring;
    test_random random = test_random_make(8);
    for (size_t round = 0; round < ROUNDS; round++) {
        int ends[2];
        char byte;
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            save_for_ever(ends[1]);
        }
        close(ends[1]);
        assert_int_equal(read(ends[0], &byte, 1), 1);
        close(ends[0]);
        const struct timespec pause = {0, (long)test_random_in(&random, 0, 20000000)};
        nanosleep(&pause, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        fv_session *session = session_new(ring_start(&ring, STORY, (uint32_t[]){2, 2, 1}, 3));
        fv_message message = {{0}};
        if (wake(session, kept, 0, &message) != FV_OK) fail_msg("%s", message.text);
        size_t tokens = fv_session_tokens(session);
        assert_true(tokens == 30 || tokens == 40);
        assert_memory_equal(fv_sequence_ids(fv_session_sequence(session)), text, tokens * sizeof *text);
        feed(session, tokens, 1);
        save(session, kept);
        assert_int_equal(rank_files(0, NULL), 2); /* nothing else is left */
        fv_session_close(session);
        ring_close(&ring, FV_OK);
    }
    folder_empty();
}

/* --- messages ---------------------------------------------------------------------------------------------------- */

/* Damages the n-th way a message that is whole. false: there are no more ways. */
static bool message_damage(fv_stage_message *message, size_t way) {
    fv_stage_session *session = fv_stage_body(message);
    uint32_t *layers = (uint32_t *)(void *)(session + 1);
    switch (way) {
    case 0: /* the name has no end */
        memset(session->path, 'a', FV_STAGE_PATH);
        return true;
    case 1:
        session->path[0] = 0;
        return true;
    case 2:
        session->stamp = 0;
        return true;
    case 3:
        session->tokens = 0;
        return true;
    case 4:
        layers[0] = UINT32_MAX, layers[1] = 6; /* 5, as it wraps around */
        return true;
    case 5:
        layers[0] = 2, layers[1] = 3;
        return true;
    case 6:
        fv_stage_head_of(message)->count = UINT32_MAX;
        return true;
    case 7:
        message->count -= 4;
        return true;
    case 8:
        fv_stage_head_of(message)->subject++;
        return true;
    default:
        return false;
    }
}

static void damaged_messages_write_nothing(void **state) {
    (void)state;
    static stage_ring ring;
    const uint32_t layers[] = {3, 2};
    fv_message message = {{0}};
    fv_session *session = session_new(ring_start(&ring, STORY, layers, 2));
    fv_stage_worker *worker = ring.stages[1].worker;
    bool ended = false, more = true;
    feed(session, 0, 40);
    save(session, kept); /* now stage 1 waits, and holds a sequence */
    for (uint32_t kind = FV_STAGE_SESSION_SAVE; kind <= FV_STAGE_SESSION_DROP; kind++, more = true)
        for (size_t way = 0; more; way++) {
            fv_stage_message sent = {0};
            assert_int_equal(fv_stage_begin(&sent, (fv_stage_kind)kind, fv_session_sequence(session)->number, 2,
                                            sizeof(fv_stage_session) + sizeof layers),
                             FV_OK);
            fv_stage_session *body = fv_stage_body(&sent);
            body->stamp = 7, body->tokens = 40;
            snprintf(body->path, sizeof body->path, "%s", whole_file);
            memcpy(body + 1, layers, sizeof layers);
            more = message_damage(&sent, way);
            if (more) assert_int_equal(fv_stage_worker_run(worker, &sent, &ended, &message), FV_ERROR_CORRUPT);
            fv_stage_message_free(&sent);
        }
    assert_int_equal(rank_files(0, NULL), 1);
    assert_int_equal(wake(session, kept, 0, NULL), FV_OK);
    fv_session_close(session);
    ring_close(&ring, FV_OK);
    folder_empty();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_go_on_as_one_process_does),
        cmocka_unit_test(layers_with_windows_too),
        cmocka_unit_test(another_split_is_refused),
        cmocka_unit_test(files_that_are_not_of_one_save_are_refused),
        cmocka_unit_test(splits_that_cannot_be_are_refused),
        cmocka_unit_test(a_save_that_fails_leaves_the_one_before),
        cmocka_unit_test(a_kill_at_any_moment_leaves_a_session),
        cmocka_unit_test(damaged_messages_write_nothing),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
