/* session_file_test.c - files of sessions: what is written is read, and nothing else is believed: not one bit that
 * differs, not one byte that is missing, not the state between two writes. */
#include "fovea/session_file.h"
#include "llm/hash64.h"
#include "llm/session_layout.h"
#include "llm/session_pack.h"
#include "llm/session_segments.h"
#include "support/session_image.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "session_file_test.fovea"

static size_t file_bytes(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? (size_t)info.st_size : 0;
}

/* The file's bytes, and room for as many more as `more` says; to be freed. */
static uint8_t *slurp(const char *path, size_t *count) {
    *count = file_bytes(path);
    uint8_t *bytes = malloc(*count + FV_SESSION_ALIGN);
    FILE *file = fopen(path, "rb");
    assert_non_null(bytes);
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, *count, file), *count);
    fclose(file);
    return bytes;
}

static uint8_t *written(const test_image *image, size_t *count) {
    fv_message message = {""};
    if (fv_session_file_write(&image->image, PATH, &message) != FV_OK) fail_msg("%s", message.text);
    uint8_t *bytes = slurp(PATH, count);
    remove(PATH);
    return bytes;
}

/* What opening the bytes and checking every segment comes to. */
static fv_status open_and_check(const uint8_t *bytes, size_t count) {
    fv_session_file *file = NULL;
    fv_message message = {""};
    fv_status status = fv_session_file_open_memory(&file, bytes, count, "the file", &message);
    if (status == FV_OK) status = fv_session_file_check(file, &message);
    assert_true((status == FV_OK) == (message.text[0] == 0));
    assert_true(status == FV_OK || strncmp(message.text, "the file: ", 10) == 0);
    fv_session_file_close(file);
    return status;
}

static void the_checksum_is_xxh64(void **state) {
    (void)state;
    assert_true(fv_hash64(0, "", 0) == 0xEF46DB3751D8E999u);
    assert_true(fv_hash64(0, "a", 1) == 0xD24EC4F1A98C6E5Bu);
    assert_true(fv_hash64(0, "abc", 3) == 0x44BC2CF5AD770999u);
    static const char long_text[] = "Nobody inspects the spammish repetition";
    assert_true(fv_hash64(0, long_text, strlen(long_text)) == 0xFBCEA83C8A378BF1u);
}

static void what_is_written_is_read(void **state) {
    (void)state;
    static const uint32_t lengths[] = {1, 15, 1023, 1024, 1025, 2048, 3000, 4096};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        test_image *image = image_make(lengths[i], (unsigned)i);
        fv_session_file *file = NULL;
        fv_message message = {""};
        assert_int_equal(fv_session_file_write(&image->image, PATH, &message), FV_OK);
        assert_true(fv_session_file_is(PATH));
        assert_int_equal(fv_session_file_open(&file, PATH, &message), FV_OK);
        const fv_session_info *info = fv_session_file_info(file);
        assert_true(image_is_in(image, file));
        assert_int_equal(fv_session_file_check(file, &message), FV_OK);
        assert_int_equal(info->file_bytes, file_bytes(PATH));
        assert_int_equal(info->end, FV_SESSION_END_TURN);
        assert_int_equal(info->cache.value_type, 2);
        assert_string_equal(info->model_name, "tiny.gguf");
        assert_string_equal(info->attention, "dense");
        assert_int_equal(fv_session_file_first(file, 1), image->first[1]);
        assert_int_equal(fv_session_file_shared(file, image->tokens, lengths[i]), lengths[i]);
        image->tokens[lengths[i] / 2]++;
        assert_int_equal(fv_session_file_shared(file, image->tokens, lengths[i]), lengths[i] / 2);
        const void *mapped = PATH;
        assert_int_equal(fv_session_file_segment(file, 0, 4, &mapped, &message), FV_OK);
        assert_null(mapped); /* there is none */
        fv_session_file_close(file);
        free(image);
    }
    remove(PATH);
    assert_false(fv_session_file_is(PATH));
}

static void whole_segments_are_mapped_where_they_may_be_used(void **state) {
    (void)state;
    test_image *image = image_make(2100, 1);
    fv_session_file *file = NULL;
    const void *mapped = NULL;
    assert_int_equal(fv_session_file_write(&image->image, PATH, NULL), FV_OK);
    assert_int_equal(fv_session_file_open(&file, PATH, NULL), FV_OK);
    for (uint32_t index = 0; index < 3; index++) {
        assert_int_equal(fv_session_file_segment(file, 0, index, &mapped, NULL), FV_OK);
        assert_true((mapped != NULL) == (index < 2)); /* the last one is packed */
        assert_true((uintptr_t)mapped % FV_CACHE_ALIGN == 0);
    }
    fv_session_file_close(file);
    free(image);
    remove(PATH);
}

static void packing_gives_the_segment_back_and_leaves_its_zeros_out(void **state) {
    (void)state;
    static uint8_t segment[64 * 40], got[sizeof segment], packed[2 * sizeof segment];
    for (int round = 0; round < 2000; round++) {
        size_t units = 1 + (size_t)(round % 40), used = 0, runs = 0;
        memset(segment, 0, sizeof segment);
        for (size_t unit = 0; unit < units; unit++)
            if (((unsigned)round * 2654435761u >> (unit % 32) & 1) != 0) {
                segment[unit * 64 + (unsigned)round % 64] = 1;
                runs += unit == 0 || used == 0 || segment[(unit - 1) * 64 + (unsigned)round % 64] == 0;
                used++;
            }
        size_t bytes = fv_session_packed_bytes(segment, units * 64);
        assert_int_equal(bytes, (4 + 8 * runs + 63) / 64 * 64 + used * 64);
        fv_session_pack(segment, units * 64, packed);
        memset(got, 0xee, sizeof got);
        assert_true(fv_session_unpack(packed, bytes, got, units * 64));
        assert_memory_equal(got, segment, units * 64);
        assert_false(fv_session_unpack(packed, bytes + 64, NULL, units * 64));
        assert_false(fv_session_unpack(packed, bytes - 64, NULL, units * 64));
        if (used) assert_false(fv_session_unpack(packed, bytes, NULL, (units - 1) * 64) && segment[(units - 1) * 64]);
    }
}

static void every_flipped_bit_is_an_error(void **state) {
    (void)state;
    for (uint32_t tokens = 700; tokens <= 1100; tokens += 400) {
        size_t count;
        test_image *image = image_make(tokens, 5);
        uint8_t *bytes = written(image, &count);
        assert_int_equal(open_and_check(bytes, count), FV_OK);
        for (size_t bit = 0; bit < 8 * count; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (open_and_check(bytes, count) == FV_OK) fail_msg("bit %zu of %zu bytes is not missed", bit, count);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        free(bytes);
        free(image);
    }
}

static void every_other_length_is_an_error(void **state) {
    (void)state;
    size_t count;
    test_image *image = image_make(1100, 6);
    uint8_t *bytes = written(image, &count);
    memset(bytes + count, 0, FV_SESSION_ALIGN);
    for (size_t length = 0; length < count; length++) {
        uint8_t *cut = malloc(length ? length : 1); /* of its own, so that a sanitizer sees what is read beyond it */
        assert_non_null(cut);
        memcpy(cut, bytes, length);
        assert_int_equal(open_and_check(cut, length), FV_ERROR_CORRUPT);
        free(cut);
    }
    assert_int_equal(open_and_check(bytes, count + 1), FV_ERROR_CORRUPT);
    assert_int_equal(open_and_check(bytes, count + FV_SESSION_ALIGN), FV_ERROR_CORRUPT);
    free(bytes);
    free(image);
}

/* As someone who knows the format would: the checksums of the head are right again. */
static void checksums_mend(uint8_t *bytes) {
    size_t head = (size_t)fv_le64_get(bytes + FV_SESSION_AT_HEAD_BYTES);
    fv_le64_put(bytes + FV_SESSION_AT_HEAD_CHECKSUM, fv_hash64(0, bytes + FV_SESSION_HEADER, head - FV_SESSION_HEADER));
    fv_le64_put(bytes + FV_SESSION_AT_CHECKSUM, fv_hash64(0, bytes, FV_SESSION_AT_CHECKSUM));
}

static void numbers_that_lie_are_not_believed(void **state) {
    (void)state;
    static const uint32_t lies[] = {0, 1, 2, 7, 1023, 4096, 65537, 1u << 30, INT32_MAX, UINT32_MAX};
    size_t count;
    test_image *image = image_make(1100, 7);
    uint8_t *bytes = written(image, &count), *lie = malloc(count);
    assert_non_null(lie);
    for (size_t at = 8; at < FV_SESSION_AT_HEAD_CHECKSUM + 1200; at += 4)
        for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
            memcpy(lie, bytes, count);
            fv_le32_put(lie + at, lies[i]);
            size_t head = (size_t)fv_le64_get(lie + FV_SESSION_AT_HEAD_BYTES);
            if (head >= FV_SESSION_HEADER && head <= count) checksums_mend(lie);
            (void)open_and_check(lie, count); /* no read outside, no overflow: the sanitizers look */
        }
    memcpy(lie, bytes, count);
    fv_le32_put(lie + FV_SESSION_AT_VERSION, FV_SESSION_VERSION_STAGE + 1);
    checksums_mend(lie);
    assert_int_equal(open_and_check(lie, count), FV_ERROR_UNSUPPORTED);
    free(lie);
    free(bytes);
    free(image);
}

static void what_can_not_be_saved_is_refused_and_the_file_stays(void **state) {
    (void)state;
    fv_message message = {""};
    test_image *good = image_make(2000, 8), *bad = image_make(2000, 9);
    fv_session_file *file = NULL;
    assert_int_equal(fv_session_file_write(&good->image, PATH, &message), FV_OK);
    bad->first[0] = 2; /* not even the last segment */
    assert_int_equal(fv_session_file_write(&bad->image, PATH, &message), FV_ERROR_ARGUMENT);
    bad->first[0] = 0;
    bad->info.cache.key_type = FV_ELEMENT_COUNT;
    assert_int_equal(fv_session_file_write(&bad->image, PATH, &message), FV_ERROR_ARGUMENT);
    bad->info.cache.key_type = 0;
    bad->info.tokens = 0;
    assert_int_equal(fv_session_file_write(&bad->image, PATH, &message), FV_ERROR_ARGUMENT);
    bad->info.tokens = 2000;
    assert_int_equal(fv_session_file_write(&bad->image, "no/such/folder/file", &message), FV_ERROR_FILE);
    assert_int_equal(fv_session_file_open(&file, PATH, &message), FV_OK);
    assert_true(image_is_in(good, file));
    assert_int_equal(fv_session_file_write(&bad->image, PATH, &message), FV_OK);
    assert_true(image_is_in(good, file)); /* what was open stays what it was */
    fv_session_file_close(file);
    assert_int_equal(access(PATH ".part", F_OK), -1);
    free(good);
    free(bad);
    remove(PATH);
}

/* Which of the two images the file holds; -1: neither. */
static int which_is_in(test_image *const *images) {
    fv_session_file *file = NULL;
    fv_message message = {""};
    int which = -1;
    if (fv_session_file_open(&file, PATH, &message) != FV_OK) return -1;
    for (int i = 0; i < 2; i++)
        if (image_is_in(images[i], file)) which = i;
    fv_session_file_close(file);
    return which;
}

/* Microseconds of a few saves, so that moments lie among them however slow the machine is. */
static unsigned some_saves_us(test_image *const *images) {
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < 8; i++) assert_int_equal(fv_session_file_write(&images[i & 1]->image, PATH, NULL), FV_OK);
    clock_gettime(CLOCK_MONOTONIC, &end);
    long us = (end.tv_sec - begin.tv_sec) * 1000000 + (end.tv_nsec - begin.tv_nsec) / 1000;
    return us < 6000 ? 6000 : us > 400000 ? 400000 : (unsigned)us;
}

static void a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(void **state) {
    (void)state;
    enum { MOMENTS = 200 };
    test_image *images[2] = {image_make(4096, 10), image_make(2500, 11)};
    int met[2] = {0, 0};
    unsigned span_us = some_saves_us(images);
    for (unsigned moment = 0; moment < MOMENTS; moment++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            for (unsigned i = 1;; i++)
                if (fv_session_file_write(&images[i & 1]->image, PATH, NULL) != FV_OK) _exit(1);
        usleep((useconds_t)(moment * 7919 % span_us));
        assert_int_equal(kill(child, SIGKILL), 0);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* no save failed, not over what the one before left either */
        int which = which_is_in(images);
        assert_true(which >= 0);
        met[which]++;
    }
    assert_true(met[0] > 0 && met[1] > 0);
    assert_int_equal(fv_session_file_write(&images[1]->image, PATH, NULL), FV_OK);
    assert_int_equal(access(PATH ".part", F_OK), -1);
    for (int i = 0; i < 2; i++) free(images[i]);
    remove(PATH);
}

static void two_processes_that_save_one_file_leave_a_whole_one(void **state) {
    (void)state;
    test_image *images[2] = {image_make(4096, 12), image_make(2500, 13)};
    pid_t children[2];
    for (int i = 0; i < 2; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            for (int saved = 0; saved < 20;) /* or the other is at it */
                saved += fv_session_file_write(&images[i]->image, PATH, NULL) == FV_OK;
            _exit(0);
        }
    }
    for (int i = 0; i < 2; i++) {
        int status = 1;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_true(which_is_in(images) >= 0);
    for (int i = 0; i < 2; i++) free(images[i]);
    remove(PATH);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_xxh64),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(whole_segments_are_mapped_where_they_may_be_used),
        cmocka_unit_test(packing_gives_the_segment_back_and_leaves_its_zeros_out),
        cmocka_unit_test(every_flipped_bit_is_an_error),
        cmocka_unit_test(every_other_length_is_an_error),
        cmocka_unit_test(numbers_that_lie_are_not_believed),
        cmocka_unit_test(what_can_not_be_saved_is_refused_and_the_file_stays),
        cmocka_unit_test(a_kill_at_any_moment_leaves_the_old_file_or_the_new_one),
        cmocka_unit_test(two_processes_that_save_one_file_leave_a_whole_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
