/* packing_test.c - rows interleaved in eights come back bit for bit, block by block; what lies behind stays as it was.
 */
#include "fovea/weight.h"
#include "model/packing.h"
#include "support/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint32_t packable[] = {FV_WEIGHT_Q4_0, FV_WEIGHT_Q4_1, FV_WEIGHT_Q5_0, FV_WEIGHT_Q8_0};

static void test_round_trip(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    for (int run = 0; run < 200; run++) {
        uint32_t rows = test_random_in(&random, 1, 50), columns = 32 * test_random_in(&random, 1, 9);
        fv_weight weight = {.type = packable[run % 4], .rows = rows, .columns = columns};
        size_t row_bytes = fv_weight_row_bytes(weight.type, columns), bytes = rows * row_bytes;
        size_t block_bytes = row_bytes / (columns / 32);
        unsigned char *file = malloc(bytes), *data = malloc(bytes + 64), *scratch = malloc(8 * row_bytes);
        assert_true(file && data && scratch);
        test_fill_bytes(&random, file, bytes);
        memcpy(data, file, bytes);
        memset(data + bytes, 0x88, 64);
        weight.data = data;
        assert_int_equal(fv_weight_pack(&weight, data, scratch, 8 * row_bytes), FV_OK);
        assert_int_equal(weight.packed, rows / 8 * 8);
        size_t packed_bytes = weight.packed * row_bytes;
        assert_memory_equal(data + packed_bytes, file + packed_bytes,
                            bytes - packed_bytes); /* rows behind the eights */
        for (size_t i = 0; i < 64; i++) assert_int_equal(data[bytes + i], 0x88);
        for (uint32_t row = 0; row < weight.packed; row++)
            for (size_t b = 0; b < columns / 32; b++) {
                unsigned char block[64];
                memset(block, 0x88, sizeof block);
                fv_weight_unpack_block(&weight, row, b, block);
                assert_memory_equal(block, file + row * row_bytes + b * block_bytes, block_bytes);
                assert_int_equal(block[block_bytes], 0x88);
            }
        assert_int_equal(fv_weight_pack(&weight, data, scratch, 8 * row_bytes),
                         weight.packed ? FV_ERROR_ARGUMENT : FV_OK); /* not twice */
        free(file);
        free(data);
        free(scratch);
    }
}

static void test_types(void **state) {
    (void)state;
#define TYPE_CHECK(NAME, name, number, values, bytes) \
    { \
        bool known = false; \
        for (size_t i = 0; i < 4; i++) known = known || packable[i] == (number); \
        assert_true(fv_weight_is_packable(number) == known); \
        assert_int_equal(fv_weight_row_bytes(number, 3 * (values)), 3 * (bytes)); \
        if ((values) > 1) assert_int_equal(fv_weight_row_bytes(number, 3 * (values) + 1), 0); \
    }
    FV_WEIGHT_LIST(TYPE_CHECK)
    assert_int_equal(fv_weight_row_bytes(4, 32), 0);
    assert_int_equal(fv_weight_row_bytes(UINT32_MAX, 32), 0);
    assert_false(fv_weight_is_packable(UINT32_MAX));
}

static void test_arguments(void **state) {
    (void)state;
    static unsigned char data[16 * 18], scratch[8 * 18], before[16 * 18];
    test_random random = test_random_make(2);
    test_fill_bytes(&random, data, sizeof data);
    memcpy(before, data, sizeof data);
    fv_weight good = {.data = data, .type = FV_WEIGHT_Q4_0, .rows = 16, .columns = 32}, bad = good;
    assert_int_equal(fv_weight_pack(NULL, data, scratch, sizeof scratch), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_weight_pack(&bad, NULL, scratch, sizeof scratch), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_weight_pack(&bad, data + 1, scratch, sizeof scratch),
                     FV_ERROR_ARGUMENT); /* not the weight's data */
    assert_int_equal(fv_weight_pack(&bad, data, NULL, sizeof scratch), FV_ERROR_MEMORY);
    assert_int_equal(fv_weight_pack(&bad, data, scratch, sizeof scratch - 1), FV_ERROR_MEMORY);
    bad.columns = 33;
    assert_int_equal(fv_weight_pack(&bad, data, scratch, sizeof scratch), FV_ERROR_ARGUMENT);
    bad = good, bad.type = FV_WEIGHT_F16; /* cannot be packed: nothing happens */
    assert_int_equal(fv_weight_pack(&bad, data, NULL, 0), FV_OK);
    assert_int_equal(bad.packed, 0);
    assert_memory_equal(data, before, sizeof data);
    assert_int_equal(fv_weight_pack(&good, data, scratch, sizeof scratch), FV_OK);
    assert_int_equal(good.packed, 16);
    assert_memory_not_equal(data, before, sizeof data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
