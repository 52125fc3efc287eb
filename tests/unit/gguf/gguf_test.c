/* gguf_test.c - GGUF files right and wrong: reads, cuts, flips, lies, splits. */
#include "support/gguf_builder.h"
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static fv_status open_builder(fv_gguf **gguf, const builder *b, fv_message *message) {
    return fv_gguf_open_memory(gguf, b->bytes, b->count, "test.gguf", message);
}

static fv_gguf *open_good(const builder *b) {
    fv_gguf *gguf = NULL;
    fv_message message = {{0}};
    fv_status status = open_builder(&gguf, b, &message);
    if (status != FV_OK) fail_msg("status %d: %s", (int)status, message.text);
    assert_non_null(gguf);
    return gguf;
}

/* Refused with this status and a message that names the file and holds `part`; the output stays untouched. */
static void check_refused(const builder *b, fv_status expected, const char *part) {
    char marker;
    fv_gguf *gguf = (fv_gguf *)(void *)&marker;
    fv_message message = {{0}};
    fv_status status = open_builder(&gguf, b, &message);
    if (status != expected || !strstr(message.text, part) || strncmp(message.text, "test.gguf: ", 11) != 0)
        fail_msg("status %d, expected %d with \"%s\": %s", (int)status, (int)expected, part, message.text);
    assert_ptr_equal(gguf, &marker);
    assert_int_equal(open_builder(&gguf, b, NULL), expected);
}

static bool text_is(fv_gguf_text text, const char *expected) {
    return text.length == strlen(expected) && memcmp(text.bytes, expected, text.length) == 0;
}

/* Reads every byte that the calls give access to; the sum keeps the reads alive. */
static uint64_t walk(const fv_gguf *gguf) {
    uint64_t sum = 0;
    for (size_t i = 0; i < fv_gguf_entries(gguf); i++) {
        const fv_gguf_entry *entry = fv_gguf_entry_at(gguf, i);
        for (size_t k = 0; k < entry->data_bytes; k++) sum += entry->data[k];
        fv_gguf_text text;
        size_t cursor = 0;
        while (fv_gguf_array_next(entry, &cursor, &text))
            for (size_t k = 0; k < text.length; k++) sum += (uint8_t)text.bytes[k];
    }
    for (size_t i = 0; i < fv_gguf_tensors(gguf); i++) {
        const fv_gguf_tensor *tensor = fv_gguf_tensor_at(gguf, i);
        const uint8_t *data = tensor->data;
        for (uint64_t k = 0; k < tensor->bytes; k++) sum += data[k];
    }
    return sum;
}

/* ---- Reads ---- */

static void test_contents(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        builder b;
        build_sample(&b, version);
        fv_gguf *gguf = open_good(&b);
        assert_string_equal(fv_gguf_path(gguf), "test.gguf");
        assert_int_equal(fv_gguf_version(gguf), version);
        assert_int_equal(fv_gguf_files(gguf), 1);
        assert_int_equal(fv_gguf_file_bytes(gguf), b.count);
        assert_int_equal(fv_gguf_alignment(gguf), 32);
        assert_int_equal(fv_gguf_entries(gguf), 20);
        assert_int_equal(fv_gguf_tensors(gguf), 2);
        assert_null(fv_gguf_entry_at(gguf, 20));
        assert_null(fv_gguf_tensor_at(gguf, 2));
        for (size_t i = 0; i < 20; i++) { /* file order, and each is found by its name */
            const fv_gguf_entry *entry = fv_gguf_entry_at(gguf, i);
            char key[32] = {0};
            memcpy(key, entry->key.bytes, entry->key.length);
            assert_ptr_equal(fv_gguf_entry_find(gguf, key), entry);
        }
        assert_true(text_is(fv_gguf_entry_at(gguf, 1)->key, "u8"));
        assert_null(fv_gguf_entry_find(gguf, "u"));
        assert_null(fv_gguf_entry_find(gguf, ""));
        assert_null(fv_gguf_entry_find(gguf, NULL));
        assert_null(fv_gguf_tensor_find(gguf, "a.weigh"));
        walk(gguf);
        fv_gguf_close(gguf);
    }
    fv_gguf_close(NULL);
}

static void test_tensors(void **state) {
    (void)state;
    builder b;
    build_sample(&b, 3);
    fv_gguf *gguf = open_good(&b);
    const fv_gguf_tensor *matrix = fv_gguf_tensor_find(gguf, "a.weight"), *vector = fv_gguf_tensor_find(gguf, "b.bias");
    assert_ptr_equal(matrix, fv_gguf_tensor_at(gguf, 0));
    assert_int_equal(matrix->ggml_type, FV_WEIGHT_Q8_0);
    assert_int_equal(matrix->dimension_count, 2);
    assert_true(matrix->dimensions[0] == 32 && matrix->dimensions[1] == 3);
    assert_true(matrix->dimensions[2] == 1 && matrix->dimensions[3] == 1);
    assert_int_equal(matrix->bytes, 3 * 34);
    assert_int_equal(matrix->file, 0);
    assert_int_equal(matrix->file_offset % 32, 0);
    assert_ptr_equal(matrix->data, b.bytes + matrix->file_offset);
    assert_int_equal(((const uint8_t *)vector->data)[0], 128);
    assert_int_equal(vector->bytes, 20);
    fv_gguf_close(gguf);
}

static void check_u32(const fv_gguf *gguf, const char *key, bool fits, uint32_t expected) {
    uint32_t value = 4711;
    assert_int_equal(fv_gguf_u32(gguf, key, &value), fits);
    assert_int_equal(value, fits ? expected : 4711);
}

static void check_f32(const fv_gguf *gguf, const char *key, bool fits, float expected) {
    float value = 4711;
    assert_int_equal(fv_gguf_f32(gguf, key, &value), fits);
    assert_true(value == (fits ? expected : 4711));
}

static void test_numbers(void **state) {
    (void)state;
    builder b;
    build_sample(&b, 3);
    fv_gguf *gguf = open_good(&b);
    check_u32(gguf, "u8", true, 200);
    check_u32(gguf, "i8", false, 0);
    check_u32(gguf, "u16", true, 60000);
    check_u32(gguf, "i16", true, 30000);
    check_u32(gguf, "u32", true, 4000000000u);
    check_u32(gguf, "i32", false, 0);
    check_u32(gguf, "u64", false, 0);
    check_u32(gguf, "i64", false, 0);
    check_u32(gguf, "small_i64", true, 77);
    check_u32(gguf, "f32", false, 0);
    check_u32(gguf, "yes", false, 0);
    check_u32(gguf, "numbers", false, 0);
    check_u32(gguf, "general.architecture", false, 0);
    check_u32(gguf, "absent", false, 0);
    check_f32(gguf, "f32", true, 1.5f);
    check_f32(gguf, "f64", true, -2.5f);
    check_f32(gguf, "big_f64", false, 0);
    check_f32(gguf, "i8", true, -100);
    check_f32(gguf, "i32", true, -2);
    check_f32(gguf, "u64", true, 0x1p64f);
    check_f32(gguf, "i64", true, -0x1p63f);
    check_f32(gguf, "yes", false, 0);
    check_f32(gguf, "words", false, 0);
    check_f32(gguf, "absent", false, 0);
    fv_gguf_close(gguf);
}

static void test_bools_and_strings(void **state) {
    (void)state;
    builder b;
    build_sample(&b, 3);
    fv_gguf *gguf = open_good(&b);
    bool value = false;
    assert_true(fv_gguf_bool(gguf, "yes", &value) && value);
    assert_true(fv_gguf_bool(gguf, "no", &value) && !value);
    assert_false(fv_gguf_bool(gguf, "perhaps", &value));
    assert_false(fv_gguf_bool(gguf, "u8", &value));
    assert_false(fv_gguf_bool(gguf, "absent", &value));
    assert_false(fv_gguf_bool(gguf, "f32", &value));
    fv_gguf_text text = {0};
    assert_false(fv_gguf_string(gguf, "u8", &text));
    assert_false(fv_gguf_string(gguf, "words", &text));
    assert_false(fv_gguf_string(gguf, "absent", &text));
    assert_null(text.bytes);
    assert_true(fv_gguf_string(gguf, "general.architecture", &text) && text_is(text, "llama"));
    fv_gguf_close(gguf);
}

/* Absent, read, or unreadable with the key, what was found and what was wanted. */
static void test_known_keys(void **state) {
    (void)state;
    builder b;
    build_sample(&b, 3);
    fv_gguf *gguf = open_good(&b);
    fv_message message = {""};
    uint32_t whole = 7;
    float real = 7;
    bool flag = true;
    fv_gguf_text text = {"seven", 5};
    assert_int_equal(fv_gguf_take_u32(gguf, "absent", &whole, &message), FV_OK);
    assert_int_equal(fv_gguf_take_f32(gguf, "absent", &real, &message), FV_OK);
    assert_int_equal(fv_gguf_take_bool(gguf, "absent", &flag, &message), FV_OK);
    assert_int_equal(fv_gguf_take_string(gguf, "absent", &text, &message), FV_OK);
    assert_true(whole == 7 && real == 7 && flag && text_is(text, "seven") && !message.text[0]);
    assert_int_equal(fv_gguf_take_u32(gguf, "small_i64", &whole, &message), FV_OK);
    assert_int_equal(fv_gguf_take_f32(gguf, "f64", &real, &message), FV_OK);
    assert_int_equal(fv_gguf_take_bool(gguf, "no", &flag, &message), FV_OK);
    assert_int_equal(fv_gguf_take_string(gguf, "general.architecture", &text, &message), FV_OK);
    assert_true(whole == 77 && real == -2.5f && !flag && text_is(text, "llama") && !message.text[0]);
    assert_int_equal(fv_gguf_take_u32(gguf, "i32", &whole, &message), FV_ERROR_CORRUPT);
    assert_string_equal(message.text, "test.gguf: metadata key i32 is the i32 -2, it must be a whole number from 0 to "
                                      "4294967295");
    assert_int_equal(fv_gguf_take_u32(gguf, "u64", &whole, &message), FV_ERROR_CORRUPT);
    assert_non_null(strstr(message.text, "is the u64 18446744073709551615,"));
    assert_int_equal(fv_gguf_take_f32(gguf, "words", &real, &message), FV_ERROR_CORRUPT);
    assert_non_null(strstr(message.text, "is an array of 3 string, it must be a number"));
    assert_int_equal(fv_gguf_take_bool(gguf, "perhaps", &flag, &message), FV_ERROR_CORRUPT);
    assert_int_equal(fv_gguf_take_bool(gguf, "general.architecture", &flag, &message), FV_ERROR_CORRUPT);
    assert_non_null(strstr(message.text, "is the string 'llama',"));
    assert_int_equal(fv_gguf_take_string(gguf, "f32", &text, &message), FV_ERROR_CORRUPT);
    assert_non_null(strstr(message.text, "is the f32 1.5, it must be a string"));
    assert_true(whole == 77 && real == -2.5f && !flag && text_is(text, "llama"));
    fv_gguf_close(gguf);
}

/* One number of each type that has any, by its bits: the largest finite one, an infinity, NaNs. */
static void test_tensor_numbers(void **state) {
    (void)state;
    static const struct {
        uint32_t type, offset; /* in a block */
        uint32_t bytes;        /* of a block */
        uint64_t good, bad[2];
        uint32_t size; /* of the number */
    } cases[] = {
        {0, 0, 4, 0x7F7FFFFF, {0x7F800000, 0xFFC00001}, 4},                          /* F32 */
        {1, 0, 2, 0x7BFF, {0x7C00, 0xFE01}, 2},                                      /* F16 */
        {30, 0, 2, 0xFF7F, {0xFF80, 0x7FC1}, 2},                                     /* BF16 */
        {28, 0, 8, 0x7FEFFFFFFFFFFFFF, {0x7FF0000000000000, 0xFFF8000000000001}, 8}, /* F64 */
        {2, 0, 18, 0x7BFF, {0xFC00, 0x7E00}, 2},                                     /* Q4_0 */
        {3, 2, 20, 0x7BFF, {0xFC00, 0x7E00}, 2},                                     /* Q4_1, the minimum */
        {8, 0, 34, 0x7BFF, {0xFC00, 0x7E00}, 2},                                     /* Q8_0 */
        {10, 82, 84, 0x7BFF, {0xFC00, 0x7E00}, 2},                                   /* Q2_K */
        {11, 108, 110, 0x7BFF, {0xFC00, 0x7E00}, 2},                                 /* Q3_K */
        {12, 2, 144, 0x7BFF, {0xFC00, 0x7E00}, 2},                                   /* Q4_K */
        {14, 208, 210, 0x7BFF, {0xFC00, 0x7E00}, 2},                                 /* Q6_K */
        {23, 0, 136, 0x7BFF, {0xFC00, 0x7E00}, 2},                                   /* IQ4_XS */
        {34, 52, 54, 0x7BFF, {0xFC00, 0x7E00}, 2},                                   /* TQ1_0 */
        {39, 0, 17, 0xFE, {0xFF, 0xFF}, 1},                                          /* MXFP4 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t blocks[3 * 256];
        fv_gguf_tensor tensor = {.ggml_type = cases[i].type, .data = blocks, .bytes = 3 * (uint64_t)cases[i].bytes};
        fv_gguf_check check = {0};
        for (int kind = 0; kind < 3; kind++) {
            uint64_t bits = kind ? cases[i].bad[kind - 1] : cases[i].good;
            memset(blocks, 1, sizeof blocks);
            for (uint32_t b = 0; b < cases[i].size; b++)
                blocks[2 * cases[i].bytes + cases[i].offset + b] = (uint8_t)(bits >> 8 * b);
            assert_true(fv_gguf_tensor_check(&tensor, &check));
            assert_int_equal(check.blocks, 3);
            if (check.bad_blocks != (kind > 0)) fail_msg("type %u, kind %d", cases[i].type, kind);
            if (kind) assert_int_equal(check.first_bad, 2);
            assert_false(check.zero);
        }
        memset(blocks, 0, sizeof blocks);
        assert_true(fv_gguf_tensor_check(&tensor, &check) && check.zero && check.bad_blocks == 0);
    }
    fv_gguf_check untouched = {.blocks = 7};
    const fv_gguf_tensor foreign = {.ggml_type = 77, .bytes = 8}, odd = {.ggml_type = 29, .data = cases, .bytes = 56};
    assert_false(fv_gguf_tensor_check(&foreign, &untouched) || fv_gguf_tensor_check(&odd, &untouched));
    assert_int_equal(untouched.blocks, 7);
}

static void test_number_arrays(void **state) {
    (void)state;
    builder b;
    build_sample(&b, 3);
    fv_gguf *gguf = open_good(&b);
    const fv_gguf_entry *numbers = fv_gguf_entry_find(gguf, "numbers"), *flags = fv_gguf_entry_find(gguf, "flags");
    int64_t whole = 0;
    float real = 0;
    assert_true(numbers->type == FV_GGUF_ARRAY && numbers->element_type == FV_GGUF_INT16 && numbers->count == 3);
    assert_true(fv_gguf_array_i64(numbers, 1, &whole) && whole == -2);
    assert_true(fv_gguf_array_i64(numbers, 2, &whole) && whole == 300);
    assert_true(fv_gguf_array_f32(numbers, 1, &real) && real == -2);
    assert_false(fv_gguf_array_i64(numbers, 3, &whole));
    assert_false(fv_gguf_array_f32(numbers, UINT64_MAX, &real));
    assert_true(fv_gguf_array_i64(flags, 0, &whole) && whole == 1);
    assert_true(fv_gguf_array_i64(flags, 1, &whole) && whole == 0);
    assert_false(fv_gguf_array_i64(fv_gguf_entry_find(gguf, "u8"), 0, &whole));
    assert_false(fv_gguf_array_i64(fv_gguf_entry_find(gguf, "words"), 0, &whole));
    assert_false(fv_gguf_array_f32(fv_gguf_entry_find(gguf, "nothing"), 0, &real));
    assert_false(fv_gguf_array_i64(NULL, 0, &whole));
    fv_gguf_close(gguf);
}

static void test_string_arrays(void **state) {
    (void)state;
    builder b;
    build_sample(&b, 3);
    fv_gguf *gguf = open_good(&b);
    const fv_gguf_entry *words = fv_gguf_entry_find(gguf, "words");
    const char *expected[] = {"one", "", "three"};
    size_t cursor = 0;
    fv_gguf_text text;
    for (int i = 0; i < 3; i++) assert_true(fv_gguf_array_next(words, &cursor, &text) && text_is(text, expected[i]));
    assert_false(fv_gguf_array_next(words, &cursor, &text));
    cursor = SIZE_MAX;
    assert_false(fv_gguf_array_next(words, &cursor, &text));
    for (size_t start = 1; start < words->data_bytes; start++) { /* not where a string starts: any answer inside */
        cursor = start;
        while (fv_gguf_array_next(words, &cursor, &text)) {
            size_t at = (size_t)((const uint8_t *)text.bytes - words->data);
            assert_true(at <= words->data_bytes && text.length <= words->data_bytes - at);
        }
    }
    cursor = 0;
    assert_false(fv_gguf_array_next(fv_gguf_entry_find(gguf, "numbers"), &cursor, &text));
    assert_false(fv_gguf_array_next(NULL, &cursor, &text));
    fv_gguf_close(gguf);
}

static void test_array_elements_out_of_range(void **state) {
    (void)state;
    builder b;
    put_header(&b, 3, 0, 2);
    put_array(&b, "large", FV_GGUF_UINT64, 2);
    put_number(&b, UINT64_MAX, 8), put_number(&b, INT64_MAX, 8);
    put_array(&b, "wide", FV_GGUF_FLOAT64, 1);
    put_number(&b, 0x7FE0000000000000, 8);
    fv_gguf *gguf = open_good(&b);
    int64_t whole = 5;
    float real = 5;
    assert_false(fv_gguf_array_i64(fv_gguf_entry_find(gguf, "large"), 0, &whole));
    assert_false(fv_gguf_array_f32(fv_gguf_entry_find(gguf, "wide"), 0, &real));
    assert_true(whole == 5 && real == 5);
    assert_true(fv_gguf_array_i64(fv_gguf_entry_find(gguf, "large"), 1, &whole) && whole == INT64_MAX);
    fv_gguf_close(gguf);
}

static void test_type_names(void **state) {
    (void)state;
#define CHECK_NAME(NAME, name, number, values, bytes) assert_string_equal(fv_gguf_type_name(number), #NAME);
    FV_WEIGHT_LIST(CHECK_NAME)
    assert_string_equal(fv_gguf_type_name(19), "IQ1_S");
    assert_null(fv_gguf_type_name(4));
    assert_null(fv_gguf_type_name(77));
    assert_null(fv_gguf_type_name(UINT32_MAX));
}

static void test_many_names(void **state) {
    (void)state;
    builder b;
    put_header(&b, 3, 0, 500);
    char key[16];
    for (uint32_t i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "k%u", (unsigned)(i * 7919 % 500));
        put_u32_entry(&b, key, i * 7919 % 500);
    }
    fv_gguf *gguf = open_good(&b);
    for (uint32_t i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "k%u", (unsigned)i);
        check_u32(gguf, key, true, i);
    }
    fv_gguf_close(gguf);
}

/* ---- Damage ---- */

/* The bytes lie in a block of exactly their size, so that a sanitizer sees the first byte read too far. */
static fv_status open_exact(const uint8_t *bytes, size_t count, fv_message *message, uint64_t *sum) {
    uint8_t *copy = malloc(count ? count : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, count);
    fv_gguf *gguf = NULL;
    fv_status status = fv_gguf_open_memory(&gguf, copy, count, "test.gguf", message);
    assert_true((status == FV_OK) == (gguf != NULL));
    if (gguf) *sum += walk(gguf);
    fv_gguf_close(gguf);
    free(copy);
    return status;
}

static void test_every_cut_is_refused(void **state) {
    (void)state;
    builder b;
    uint64_t sum = 0;
    build_sample(&b, 3);
    for (size_t count = 0; count < b.count; count++) {
        fv_message message = {{0}};
        fv_status status = open_exact(b.bytes, count, &message, &sum);
        if (status == FV_OK || message.text[0] == 0) fail_msg("cut at %zu: status %d", count, (int)status);
    }
    fv_message message;
    assert_int_equal(open_exact(b.bytes, b.count, &message, &sum), FV_OK);
}

static void test_every_flip_is_survived(void **state) {
    (void)state;
    builder b;
    uint64_t sum = 0;
    const uint8_t flips[] = {0x01, 0x02, 0x08, 0x20, 0x80, 0xFF};
    build_sample(&b, 3);
    for (size_t at = 0; at < b.count; at++)
        for (size_t i = 0; i < sizeof flips; i++) {
            fv_message message = {{0}};
            b.bytes[at] ^= flips[i];
            fv_status status = open_exact(b.bytes, b.count, &message, &sum);
            if (status != FV_OK && strncmp(message.text, "test.gguf: ", 11) != 0)
                fail_msg("byte %zu ^ %02x: status %d without a message", at, flips[i], (int)status);
            b.bytes[at] ^= flips[i];
        }
}

static void test_foreign_files(void **state) {
    (void)state;
    const struct {
        const char *bytes, *part;
    } foreign[] = {
        {"tjgg....", "old GGML"},
        {"PK\x03\x04....", "PyTorch"},
        {"version https://git-lfs.github.com/spec/v1", "git lfs pull"},
        {"<!DOCTYPE html>", "web page"},
        {"{\"error\": 404}", "JSON"},
        {"12345678{\"a\":", "safetensors"},
        {"GGU", "GGUF file"},
        {"something else", "GGUF file"},
    };
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        builder b = {.count = 0};
        put_bytes(&b, foreign[i].bytes, strlen(foreign[i].bytes));
        check_refused(&b, FV_ERROR_CORRUPT, foreign[i].part);
    }
    builder empty = {.count = 0};
    check_refused(&empty, FV_ERROR_FILE, "empty");
}

static void test_versions(void **state) {
    (void)state;
    builder b;
    const uint32_t versions[] = {0, 1, 4, 0xFFFFFFFF};
    for (int i = 0; i < 4; i++) {
        put_header(&b, versions[i], 0, 0);
        check_refused(&b, FV_ERROR_UNSUPPORTED, "only 2 and 3");
    }
    put_header(&b, 0x03000000, 0, 0);
    check_refused(&b, FV_ERROR_UNSUPPORTED, "big-endian");
    put_header(&b, 3, 0, 0);
    fv_gguf_close(open_good(&b));
}

static void test_claims_beyond_the_file(void **state) {
    (void)state;
    builder b;
    put_header(&b, 3, 0, UINT64_MAX);
    check_refused(&b, FV_ERROR_CORRUPT, "too many");
    put_header(&b, 3, (uint64_t)1 << 61, 0);
    check_refused(&b, FV_ERROR_CORRUPT, "too many");
    const uint64_t counts[] = {UINT64_MAX, (uint64_t)1 << 62, (uint64_t)1 << 61, 1000};
    for (int i = 0; i < 4; i++) {
        put_header(&b, 3, 0, 1);
        put_array(&b, "numbers", FV_GGUF_UINT64, counts[i]);
        put_number(&b, 0, 8);
        check_refused(&b, FV_ERROR_CORRUPT, "metadata entry 0");
        put_header(&b, 3, 0, 1);
        put_array(&b, "words", FV_GGUF_STRING, counts[i]);
        put_text(&b, "x");
        check_refused(&b, FV_ERROR_CORRUPT, "metadata entry 0");
        put_header(&b, 3, 0, 1);
        put_number(&b, counts[i], 8); /* the key's length */
        put_data(&b, 1, 32);
        check_refused(&b, FV_ERROR_CORRUPT, "metadata entry 0");
    }
}

static void test_bad_metadata(void **state) {
    (void)state;
    builder b;
    put_header(&b, 3, 0, 2);
    put_u32_entry(&b, "twice", 1), put_u32_entry(&b, "twice", 2);
    check_refused(&b, FV_ERROR_CORRUPT, "metadata twice appears twice");
    put_header(&b, 3, 0, 1);
    put_value(&b, "key", 13, 0, 8);
    check_refused(&b, FV_ERROR_CORRUPT, "unknown type 13");
    put_header(&b, 3, 0, 1);
    put_array(&b, "key", 4711, 0);
    check_refused(&b, FV_ERROR_CORRUPT, "unknown type 4711");
    put_header(&b, 3, 0, 1);
    put_array(&b, "key", FV_GGUF_ARRAY, 1);
    check_refused(&b, FV_ERROR_UNSUPPORTED, "array of arrays");
    put_header(&b, 3, 0, 1);
    put_value(&b, "a\nb\x1b[2J", 99, 0, 8);
    check_refused(&b, FV_ERROR_CORRUPT, "a?b?[2J");
}

static void test_alignment(void **state) {
    (void)state;
    const uint64_t dimensions[] = {8};
    builder b;
    for (uint32_t alignment = 0; alignment <= 256; alignment++) {
        put_header(&b, 3, 2, 1);
        put_u32_entry(&b, "general.alignment", alignment);
        put_tensor(&b, "a", 1, dimensions, FV_WEIGHT_F32, 0);
        put_tensor(&b, "b", 1, dimensions, FV_WEIGHT_F32, 256);
        put_data(&b, alignment ? alignment : 1, 256 + 32);
        if (alignment < 8 || (alignment & (alignment - 1)) != 0) {
            check_refused(&b, FV_ERROR_CORRUPT, "general.alignment");
            continue;
        }
        fv_gguf *gguf = open_good(&b);
        assert_int_equal(fv_gguf_alignment(gguf), alignment);
        assert_int_equal(((const uint8_t *)fv_gguf_tensor_find(gguf, "a")->data)[5], 5);
        fv_gguf_close(gguf);
    }
    put_header(&b, 3, 0, 1);
    put_key(&b, "general.alignment", FV_GGUF_STRING), put_text(&b, "32");
    check_refused(&b, FV_ERROR_CORRUPT, "general.alignment");
}

/* One tensor of these properties before 1024 bytes of data. */
static void build_one(builder *b, uint32_t dimension_count, const uint64_t *dimensions, uint32_t type,
                      uint64_t offset) {
    put_header(b, 3, 1, 0);
    put_tensor(b, "blk.0.weight", dimension_count, dimensions, type, offset);
    put_data(b, 32, 1024);
}

static void test_tensor_ranges(void **state) {
    (void)state;
    builder b;
    const uint64_t fits[] = {256}, too_long[] = {257};
    build_one(&b, 1, fits, FV_WEIGHT_F32, 0);
    fv_gguf_close(open_good(&b));
    build_one(&b, 1, too_long, FV_WEIGHT_F32, 0);
    check_refused(&b, FV_ERROR_CORRUPT, "blk.0.weight needs bytes 0+1028");
    build_one(&b, 1, fits, FV_WEIGHT_F32, 32);
    check_refused(&b, FV_ERROR_CORRUPT, "the file has 1024");
    build_one(&b, 1, fits, FV_WEIGHT_F32, 1056);
    check_refused(&b, FV_ERROR_CORRUPT, "the file has 1024");
    build_one(&b, 1, fits, FV_WEIGHT_F32, UINT64_MAX - 31);
    check_refused(&b, FV_ERROR_CORRUPT, "the file has 1024");
    build_one(&b, 1, fits, FV_WEIGHT_F16, 33);
    check_refused(&b, FV_ERROR_CORRUPT, "no multiple of 32");
}

static void test_tensor_dimensions(void **state) {
    (void)state;
    builder b;
    const uint64_t zero[] = {32, 0}, five[] = {1, 1, 1, 1, 1}, half[] = {16, 2},
                   huge[] = {(uint64_t)1 << 32, 1, 1u << 31}, wide[] = {(uint64_t)1 << 62}, four[] = {4, 4, 4, 4};
    build_one(&b, 2, zero, FV_WEIGHT_F32, 0);
    check_refused(&b, FV_ERROR_CORRUPT, "impossible dimensions 32 x 0");
    build_one(&b, 5, five, FV_WEIGHT_F32, 0);
    check_refused(&b, FV_ERROR_CORRUPT, "5 dimensions");
    build_one(&b, 2, half, FV_WEIGHT_Q4_0, 0);
    check_refused(&b, FV_ERROR_CORRUPT, "a multiple of 32");
    build_one(&b, 3, huge, FV_WEIGHT_F32, 0);
    check_refused(&b, FV_ERROR_CORRUPT, "impossible dimensions");
    build_one(&b, 1, wide, FV_WEIGHT_F32, 0);
    check_refused(&b, FV_ERROR_CORRUPT, "too large");
    build_one(&b, 4, four, FV_WEIGHT_F32, 0);
    fv_gguf_close(open_good(&b));
    build_one(&b, 0, NULL, FV_WEIGHT_F32, 0);
    fv_gguf *gguf = open_good(&b);
    assert_int_equal(fv_gguf_tensor_at(gguf, 0)->dimension_count, 1);
    assert_int_equal(fv_gguf_tensor_at(gguf, 0)->bytes, 4);
    fv_gguf_close(gguf);
}

static void test_foreign_tensor_types(void **state) {
    (void)state;
    builder b;
    const uint64_t dimensions[] = {256};
    build_one(&b, 1, dimensions, 19, 32);
    fv_gguf *gguf = open_good(&b);
    const fv_gguf_tensor *tensor = fv_gguf_tensor_at(gguf, 0);
    assert_true(tensor->ggml_type == 19 && tensor->bytes == 50 && tensor->data != NULL);
    fv_gguf_close(gguf);
    build_one(&b, 1, dimensions, 77, 32);
    gguf = open_good(&b);
    tensor = fv_gguf_tensor_at(gguf, 0);
    assert_true(tensor->ggml_type == 77 && tensor->bytes == 0 && tensor->data == NULL);
    fv_gguf_close(gguf);
    build_one(&b, 1, dimensions, 77, 2048);
    check_refused(&b, FV_ERROR_CORRUPT, "the file has 1024");
}

/* Two tensors may not have a byte in common, wherever the second one begins. */
static void test_overlapping_tensors(void **state) {
    (void)state;
    builder b;
    const uint64_t sixteen[] = {16}, four[] = {4};
    for (uint64_t offset = 0; offset <= 64; offset += 32) {
        put_header(&b, 3, 2, 0);
        put_tensor(&b, "a", 1, sixteen, FV_WEIGHT_F32, 0);
        put_tensor(&b, "b", 1, four, FV_WEIGHT_F32, offset);
        put_data(&b, 32, 80);
        if (offset < 64)
            check_refused(&b, FV_ERROR_CORRUPT, "inside or before an earlier tensor");
        else
            fv_gguf_close(open_good(&b));
    }
}

/* Part n of n is the last there can be; a whole file is part 0 of 1, or of 0 as some writers say. */
static void test_part_numbers(void **state) {
    (void)state;
    builder b;
    for (uint32_t count = 0; count < 2; count++)
        for (uint32_t number = 0; number < 3; number++) {
            put_header(&b, 3, 0, 2);
            put_u32_entry(&b, "split.no", number);
            put_u32_entry(&b, "split.count", count);
            if (number > 0)
                check_refused(&b, FV_ERROR_CORRUPT, number == 1 ? "part 2 of 1" : "part 3 of 1");
            else
                fv_gguf_close(open_good(&b));
        }
}

static void test_duplicate_tensors(void **state) {
    (void)state;
    builder b;
    const uint64_t dimensions[] = {4};
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "same", 1, dimensions, FV_WEIGHT_F32, 0);
    put_tensor(&b, "same", 1, dimensions, FV_WEIGHT_F32, 32);
    put_data(&b, 32, 64);
    check_refused(&b, FV_ERROR_CORRUPT, "tensor same appears twice");
}

/* ---- Files ---- */

static char folder[64];

static int folder_make(void **state) {
    (void)state;
    strcpy(folder, "/tmp/fovea_gguf_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_drop(void **state) {
    (void)state;
    DIR *handle = opendir(folder);
    if (!handle) return -1;
    char path[512];
    for (struct dirent *entry = readdir(handle); entry; entry = readdir(handle)) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
    }
    closedir(handle);
    return rmdir(folder);
}

static const char *file_path(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void file_write(const char *name, const builder *b) {
    FILE *file = fopen(file_path(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(b->bytes, 1, b->count, file), b->count);
    fclose(file);
}

static void check_file_refused(const char *path, fv_status expected, const char *part) {
    fv_gguf *gguf = NULL;
    fv_message message = {{0}};
    fv_status status = fv_gguf_open(&gguf, path, &message);
    if (status != expected || !strstr(message.text, part))
        fail_msg("%s: status %d, expected %d with \"%s\": %s", path, (int)status, (int)expected, part, message.text);
    assert_null(gguf);
}

static void test_file(void **state) {
    (void)state;
    builder b;
    build_sample(&b, 3);
    file_write("whole.gguf", &b);
    fv_gguf *gguf = NULL;
    assert_int_equal(fv_gguf_open(&gguf, file_path("whole.gguf"), NULL), FV_OK);
    assert_string_equal(fv_gguf_path(gguf), file_path("whole.gguf"));
    assert_int_equal(fv_gguf_file_bytes(gguf), b.count);
    walk(gguf);
    fv_gguf_close(gguf);
}

static void test_what_is_no_file(void **state) {
    (void)state;
    builder empty = {.count = 0};
    file_write("empty.gguf", &empty);
    assert_int_equal(mkfifo(file_path("pipe.gguf"), 0600), 0);
    check_file_refused(file_path("empty.gguf"), FV_ERROR_FILE, "empty");
    check_file_refused(file_path("pipe.gguf"), FV_ERROR_FILE, "regular");
    check_file_refused(file_path("absent.gguf"), FV_ERROR_FILE, "absent.gguf");
    check_file_refused(folder, FV_ERROR_FILE, "folder");
    fv_gguf *gguf = NULL;
    assert_int_equal(fv_gguf_open(NULL, "x", NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_gguf_open(&gguf, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_gguf_open_memory(&gguf, NULL, 1, "x", NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_gguf_open_memory(&gguf, "GGUF", 4, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_null(gguf);
}

/* Part `number` (from 0) of `count`: one tensor "t<tensor>" of 4 f32, its first byte being 0. */
static void build_part(builder *b, uint32_t number, uint32_t count, uint32_t total, uint32_t tensor) {
    const uint64_t dimensions[] = {4};
    char name[16];
    snprintf(name, sizeof name, "t%u", (unsigned)tensor);
    put_header(b, 3, 1, 3);
    put_value(b, "split.no", FV_GGUF_UINT16, number, 2);
    put_value(b, "split.count", FV_GGUF_UINT16, count, 2);
    put_value(b, "split.tensors.count", FV_GGUF_INT32, total, 4);
    put_tensor(b, name, 1, dimensions, FV_WEIGHT_F32, 0);
    put_data(b, 32, 16);
}

static void write_split(void) {
    builder b;
    build_part(&b, 0, 3, 3, 0), file_write("m-00001-of-00003.gguf", &b);
    build_part(&b, 1, 3, 3, 1), file_write("m-00002-of-00003.gguf", &b);
    build_part(&b, 2, 3, 3, 2), file_write("m-00003-of-00003.gguf", &b);
}

static void test_split(void **state) {
    (void)state;
    builder b;
    write_split();
    fv_gguf *gguf = NULL;
    fv_message message = {{0}};
    fv_status status = fv_gguf_open(&gguf, file_path("m-00001-of-00003.gguf"), &message);
    if (status != FV_OK) fail_msg("%s", message.text);
    build_part(&b, 0, 3, 3, 0);
    assert_int_equal(fv_gguf_files(gguf), 3);
    assert_int_equal(fv_gguf_tensors(gguf), 3);
    assert_int_equal(fv_gguf_entries(gguf), 3);
    assert_int_equal(fv_gguf_file_bytes(gguf), 3 * b.count);
    for (uint32_t i = 0; i < 3; i++) {
        const char *names[] = {"t0", "t1", "t2"};
        const fv_gguf_tensor *tensor = fv_gguf_tensor_find(gguf, names[i]);
        assert_int_equal(tensor->file, i);
        assert_int_equal(((const uint8_t *)tensor->data)[15], 15);
    }
    fv_gguf_close(gguf);
}

static void test_split_wrong_part(void **state) {
    (void)state;
    write_split();
    check_file_refused(file_path("m-00002-of-00003.gguf"), FV_ERROR_FILE, "m-00001-of-00003.gguf instead");
    builder b;
    build_part(&b, 0, 3, 3, 0);
    file_write("renamed.gguf", &b);
    check_file_refused(file_path("renamed.gguf"), FV_ERROR_FILE, "-00001-of-00003.gguf");
    check_refused(&b, FV_ERROR_UNSUPPORTED, "part 1 of 3");
    build_sample(&b, 3);
    file_write("w-00001-of-00002.gguf", &b);
    check_file_refused(file_path("w-00001-of-00002.gguf"), FV_ERROR_CORRUPT, "no split.count");
    file_write("w-00001-of-00001.gguf", &b);
    fv_gguf *gguf = NULL;
    assert_int_equal(fv_gguf_open(&gguf, file_path("w-00001-of-00001.gguf"), NULL), FV_OK);
    fv_gguf_close(gguf);
}

static void test_split_damage(void **state) {
    (void)state;
    builder b;
    const char *first = "m-00001-of-00003.gguf", *third = "m-00003-of-00003.gguf";
    write_split();
    unlink(file_path(third));
    check_file_refused(file_path(first), FV_ERROR_FILE, third);
    build_part(&b, 1, 3, 3, 2), file_write(third, &b);
    check_file_refused(file_path(first), FV_ERROR_CORRUPT, "expected was 3 of 3");
    build_part(&b, 2, 4, 3, 2), file_write(third, &b);
    check_file_refused(file_path(first), FV_ERROR_CORRUPT, "part 3 of 4");
    build_part(&b, 2, 3, 3, 1), file_write(third, &b);
    check_file_refused(file_path(first), FV_ERROR_CORRUPT, "tensor t1 appears twice");
    build_part(&b, 2, 3, 3, 2), b.count--, file_write(third, &b);
    check_file_refused(file_path(first), FV_ERROR_CORRUPT, third);
    build_part(&b, 3, 3, 3, 2), file_write(third, &b);
    check_file_refused(file_path(first), FV_ERROR_CORRUPT, "part 4 of 3");
    write_split();
    build_part(&b, 0, 3, 4, 0), file_write(first, &b);
    check_file_refused(file_path(first), FV_ERROR_CORRUPT, "promises 4 tensors");
}

typedef struct told {
    size_t count;
    char last[256];
} told;

static void keep_told(void *context, const char *fault) {
    told *heard = context;
    heard->count++;
    snprintf(heard->last, sizeof heard->last, "%s", fault);
}

/* Opened for a look: whatever is offered can be read. */
static fv_status look(const uint8_t *bytes, size_t count, told *heard, uint64_t *sum) {
    const char *path = file_path("damaged.gguf");
    fv_gguf *gguf = NULL;
    fv_message message = {{0}};
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    fclose(file);
    *heard = (told){0};
    fv_status status = fv_gguf_open_damaged(&gguf, path, keep_told, heard, &message);
    if (status != FV_OK) {
        assert_null(gguf);
        assert_true(message.text[0] != 0);
        return status;
    }
    if (heard->count) assert_non_null(strstr(heard->last, "damaged.gguf"));
    for (size_t i = 0; i < fv_gguf_tensors(gguf); i++) {
        const fv_gguf_tensor *tensor = fv_gguf_tensor_at(gguf, i);
        const uint8_t *data = tensor->data;
        for (uint64_t k = 0; data && k < tensor->bytes; k++) *sum += data[k];
        for (size_t k = 0; k < tensor->name.length; k++) *sum += (uint8_t)tensor->name.bytes[k];
    }
    for (size_t i = 0; i < fv_gguf_entries(gguf); i++)
        for (size_t k = 0; k < fv_gguf_entry_at(gguf, i)->data_bytes; k++) *sum += fv_gguf_entry_at(gguf, i)->data[k];
    fv_gguf_close(gguf);
    return FV_OK;
}

static void test_a_damaged_file_is_shown_as_far_as_it_goes(void **state) {
    (void)state;
    builder b;
    told heard;
    uint64_t sum = 0;
    build_sample(&b, 3);
    assert_int_equal(look(b.bytes, b.count, &heard, &sum), FV_OK);
    assert_int_equal(heard.count, 0);
    for (size_t count = 1; count < b.count; count++) {
        fv_status status = look(b.bytes, count, &heard, &sum);
        assert_true(count < 24 ? status != FV_OK : status == FV_OK && heard.count > 0);
    }
    for (size_t at = 8; at < b.count; at++) {
        b.bytes[at] ^= 0xFF;
        (void)look(b.bytes, b.count, &heard, &sum);
        b.bytes[at] ^= 0xFF;
    }
    assert_true(sum > 0);
    assert_int_equal(fv_gguf_open_damaged(NULL, "x", keep_told, &heard, NULL), FV_ERROR_ARGUMENT);
}

static void test_tiny_models(void **state) {
    (void)state;
    DIR *models = opendir(FV_SOURCE_DIR "/tests/model");
    assert_non_null(models);
    int opened = 0;
    for (struct dirent *entry = readdir(models); entry; entry = readdir(models)) {
        if (!strstr(entry->d_name, ".gguf")) continue;
        char path[1024];
        snprintf(path, sizeof path, FV_SOURCE_DIR "/tests/model/%s", entry->d_name);
        fv_gguf *gguf = NULL;
        fv_message message = {{0}};
        if (fv_gguf_open(&gguf, path, &message) != FV_OK) fail_msg("%s", message.text);
        assert_non_null(fv_gguf_tensor_find(gguf, "token_embd.weight"));
        walk(gguf);
        fv_gguf_close(gguf);
        opened++;
    }
    closedir(models);
    assert_true(opened > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_bools_and_strings),
        cmocka_unit_test(test_known_keys),
        cmocka_unit_test(test_tensor_numbers),
        cmocka_unit_test(test_number_arrays),
        cmocka_unit_test(test_string_arrays),
        cmocka_unit_test(test_array_elements_out_of_range),
        cmocka_unit_test(test_type_names),
        cmocka_unit_test(test_many_names),
        cmocka_unit_test(test_every_cut_is_refused),
        cmocka_unit_test(test_every_flip_is_survived),
        cmocka_unit_test(test_foreign_files),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_claims_beyond_the_file),
        cmocka_unit_test(test_bad_metadata),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_tensor_ranges),
        cmocka_unit_test(test_tensor_dimensions),
        cmocka_unit_test(test_foreign_tensor_types),
        cmocka_unit_test(test_duplicate_tensors),
        cmocka_unit_test(test_overlapping_tensors),
        cmocka_unit_test(test_part_numbers),
        cmocka_unit_test_setup_teardown(test_file, folder_make, folder_drop),
        cmocka_unit_test_setup_teardown(test_what_is_no_file, folder_make, folder_drop),
        cmocka_unit_test_setup_teardown(test_split, folder_make, folder_drop),
        cmocka_unit_test_setup_teardown(test_split_wrong_part, folder_make, folder_drop),
        cmocka_unit_test_setup_teardown(test_split_damage, folder_make, folder_drop),
        cmocka_unit_test_setup_teardown(test_a_damaged_file_is_shown_as_far_as_it_goes, folder_make, folder_drop),
        cmocka_unit_test(test_tiny_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
