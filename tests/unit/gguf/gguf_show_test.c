/* gguf_show_test.c - numbers of every metadata type, and the types of a file's tensors. */
#include "fovea/gguf.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static fv_gguf_number number_of(fv_gguf_type type, const uint8_t *data, uint64_t index, uint64_t count) {
    fv_gguf_entry entry = {
        .type = count > 1 ? FV_GGUF_ARRAY : type, .element_type = type, .count = count, .data = data};
    fv_gguf_number number;
    assert_true(fv_gguf_number_at(&entry, index, &number));
    return number;
}

static void numbers_of_every_type(void **state) {
    static const uint8_t ones[16] = {0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0x80, 0, 0, 2, 0, 0, 0};
    static const struct {
        fv_gguf_type type;
        int64_t first, second;
    } cases[] = {{FV_GGUF_UINT8, 254, 255},
                 {FV_GGUF_INT8, -2, -1},
                 {FV_GGUF_UINT16, 65534, 65535},
                 {FV_GGUF_INT16, -2, -1},
                 {FV_GGUF_UINT32, 4294967294, 4294967295},
                 {FV_GGUF_INT32, -2, -1},
                 {FV_GGUF_INT64, -2, 0x200008001},
                 {FV_GGUF_UINT64, -2, 0x200008001}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(number_of(cases[i].type, ones, 0, 1).kind, FV_GGUF_INT64);
        assert_int_equal(number_of(cases[i].type, ones, 0, 1).whole, cases[i].first);
        assert_int_equal(number_of(cases[i].type, ones, 1, 2).whole, cases[i].second);
    }
    assert_int_equal(number_of(FV_GGUF_BOOL, ones, 0, 1).kind, FV_GGUF_BOOL);
    assert_int_equal(number_of(FV_GGUF_BOOL, ones, 0, 1).whole, 1);
    assert_int_equal(number_of(FV_GGUF_BOOL, ones, 10, 12).whole, 0);
}

static void reals(void **state) {
    const float narrow[2] = {1.5f, INFINITY};
    const double wide[2] = {-2.25, NAN};
    uint8_t bytes[16];
    (void)state;
    memcpy(bytes, narrow, sizeof narrow); /* tests run on little-endian machines */
    assert_int_equal(number_of(FV_GGUF_FLOAT32, bytes, 0, 1).kind, FV_GGUF_FLOAT64);
    assert_true(number_of(FV_GGUF_FLOAT32, bytes, 0, 1).real == 1.5);
    assert_true(isinf(number_of(FV_GGUF_FLOAT32, bytes, 1, 2).real));
    memcpy(bytes, wide, sizeof wide);
    assert_true(number_of(FV_GGUF_FLOAT64, bytes, 0, 1).real == -2.25);
    assert_true(isnan(number_of(FV_GGUF_FLOAT64, bytes, 1, 2).real));
}

static void what_is_no_number(void **state) {
    fv_gguf_entry entry = {.type = FV_GGUF_STRING, .element_type = FV_GGUF_STRING, .count = 1};
    fv_gguf_number number = {.whole = 7};
    (void)state;
    assert_false(fv_gguf_number_at(&entry, 0, &number));
    entry.type = entry.element_type = FV_GGUF_UINT8;
    assert_false(fv_gguf_number_at(&entry, 1, &number));
    entry.element_type = (fv_gguf_type)99;
    assert_false(fv_gguf_number_at(&entry, 0, &number));
    assert_int_equal(number.whole, 7);
    assert_string_equal(fv_gguf_value_type_name(FV_GGUF_FLOAT64), "f64");
    assert_string_equal(fv_gguf_value_type_name((fv_gguf_type)13), "?");
}

static void types_of_a_file(void **state) {
    fv_gguf *gguf = NULL;
    fv_gguf_type_use uses[8];
    uint64_t tensors = 0, bytes = 0, all = 0;
    (void)state;
    assert_int_equal(fv_gguf_open(&gguf, FV_SOURCE_DIR "/tests/model/llama_q4_k.gguf", NULL), FV_OK);
    size_t count = fv_gguf_type_uses(gguf, uses, 8);
    assert_true(count > 1 && count < 8);
    assert_int_equal(uses[0].ggml_type, fv_gguf_tensor_at(gguf, 0)->ggml_type);
    for (size_t i = 0; i < count; i++) {
        tensors += uses[i].tensors;
        bytes += uses[i].bytes;
        assert_true(fv_gguf_type_is_supported(uses[i].ggml_type));
    }
    for (size_t i = 0; i < fv_gguf_tensors(gguf); i++) all += fv_gguf_tensor_at(gguf, i)->bytes;
    assert_int_equal(tensors, fv_gguf_tensors(gguf));
    assert_int_equal(bytes, all);
    assert_int_equal(fv_gguf_type_uses(gguf, uses, 1), 1);
    assert_true(uses[0].tensors < tensors);
    assert_false(fv_gguf_type_is_supported(34)); /* TQ1_0 */
    const fv_gguf_tensor tensor = {.dimension_count = 3, .dimensions = {5, 7, 2, 1}};
    assert_int_equal(fv_gguf_tensor_values(&tensor), 70);
    fv_gguf_close(gguf);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_of_every_type), cmocka_unit_test(reals),
                                       cmocka_unit_test(what_is_no_number), cmocka_unit_test(types_of_a_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
