/* kld_file_test.c - a file of log-probabilities written here byte by byte, whose rows and entries all differ. */
#include "fovea/measure/kld_file.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PATH "kld_file_test.kld"
enum { CONTEXT = 9, VOCABULARY = 5, CHUNKS = 3, ROWS = CONTEXT - 1 - CONTEXT / 2 };

static void put16(FILE *file, unsigned value) {
    assert_true(fputc((int)(value & 255), file) != EOF && fputc((int)(value >> 8 & 255), file) != EOF);
}

static void put32(FILE *file, uint32_t value) {
    put16(file, value & 0xFFFF);
    put16(file, value >> 16);
}

static void put_f32(FILE *file, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put32(file, bits);
}

static int32_t token_at(unsigned i) { return (int32_t)(i * 3 % VOCABULARY); }
static unsigned number_at(unsigned row, unsigned i) { return 257 * row + 4099 * i + 0x0102; } /* bytes differ */
static float scale_at(unsigned row) { return 1.0f / (float)(16384 << row % 3); }
static float least_at(unsigned row) { return -8.0f - (float)row / 4; }

static int write_file(void **state) {
    FILE *file = fopen(PATH, "wb");
    (void)state;
    if (!file || fwrite("_logits_", 1, 8, file) != 8) return -1;
    put32(file, CONTEXT);
    put32(file, VOCABULARY);
    put32(file, CHUNKS);
    for (unsigned i = 0; i < CONTEXT * CHUNKS; i++) put32(file, (uint32_t)token_at(i));
    for (unsigned row = 0; row < ROWS * CHUNKS; row++) {
        put_f32(file, scale_at(row));
        put_f32(file, least_at(row));
        for (unsigned i = 0; i < VOCABULARY + 1; i++) put16(file, number_at(row, i)); /* one more: it is odd */
    }
    return fclose(file) == 0 ? 0 : -1;
}

static int drop_file(void **state) {
    (void)state;
    return remove(PATH);
}

static fv_kld_file *open_file(void) {
    fv_kld_file *file = NULL;
    fv_message message = {""};
    if (fv_kld_file_open(&file, PATH, &message) != FV_OK) fail_msg("%s", message.text);
    return file;
}

static void what_the_header_says(void **state) {
    fv_kld_file *file = open_file();
    (void)state;
    assert_int_equal(fv_kld_file_context(file), CONTEXT);
    assert_int_equal(fv_kld_file_vocabulary(file), VOCABULARY);
    assert_int_equal(fv_kld_file_chunks(file), CHUNKS);
    for (unsigned i = 0; i < CONTEXT * CHUNKS; i++) assert_int_equal(fv_kld_file_tokens(file)[i], token_at(i));
    fv_kld_file_close(file);
    fv_kld_file_close(NULL);
}

/* Every run of rows of every chunk. */
static void rows_are_those_asked_for(void **state) {
    fv_kld_file *file = open_file();
    float got[ROWS * VOCABULARY];
    (void)state;
    for (unsigned chunk = 0; chunk < CHUNKS; chunk++)
        for (unsigned first = 0; first < ROWS; first++)
            for (unsigned rows = 1; rows <= ROWS - first; rows++) {
                assert_int_equal(fv_kld_file_read(file, chunk, first, rows, got, NULL), FV_OK);
                for (unsigned r = 0; r < rows; r++)
                    for (unsigned i = 0; i < VOCABULARY; i++) {
                        unsigned row = chunk * ROWS + first + r;
                        double wanted = (double)scale_at(row) * number_at(row, i) + (double)least_at(row);
                        assert_true(fabs((double)got[r * VOCABULARY + i] - wanted) < 1e-5);
                    }
            }
    fv_kld_file_close(file);
}

static void rows_that_are_not_there_are_refused(void **state) {
    fv_kld_file *file = open_file();
    fv_message message = {""};
    float got[ROWS * VOCABULARY] = {7};
    (void)state;
    assert_int_equal(fv_kld_file_read(file, CHUNKS, 0, 1, got, &message), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_kld_file_read(file, 0, 0, ROWS + 1, got, &message), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_kld_file_read(file, 0, ROWS, 1, got, &message), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_kld_file_read(file, 0, 1, SIZE_MAX, got, &message), FV_ERROR_ARGUMENT);
    assert_true(got[0] == 7 && message.text[0]);
    fv_kld_file_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_header_says),
        cmocka_unit_test(rows_are_those_asked_for),
        cmocka_unit_test(rows_that_are_not_there_are_refused),
    };
    return cmocka_run_group_tests(tests, write_file, drop_file);
}
