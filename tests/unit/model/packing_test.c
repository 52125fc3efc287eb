/* packing_test.c - rows interleaved in eights come back bit for bit, block by block; what follows stays as it was.
 */
#include "fovea/weight.h"
#include "kernels/unpack.h"
#include "model/packing.h"
#include "support/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint32_t packable[] = {FV_WEIGHT_Q4_0,   FV_WEIGHT_Q4_1, FV_WEIGHT_Q5_0, FV_WEIGHT_Q5_1, FV_WEIGHT_Q8_0,
                                    FV_WEIGHT_IQ4_NL, FV_WEIGHT_Q4_K, FV_WEIGHT_Q5_K, FV_WEIGHT_Q6_K,
#if FV_PACKED_PAIRS
                                    FV_WEIGHT_Q2_K,   FV_WEIGHT_Q3_K,
#endif
                                    FV_WEIGHT_IQ4_XS, FV_WEIGHT_MXFP4};
enum { PACKABLE = sizeof packable / sizeof *packable };

static uint32_t block_values(uint32_t type) { return fv_weight_row_bytes(type, 32) ? 32 : 256; }

static void test_round_trip(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    for (int run = 0; run < 312; run++) {
        uint32_t type = packable[run % PACKABLE], values = block_values(type);
        uint32_t rows = test_random_in(&random, 1, 50), columns = values * test_random_in(&random, 1, 9);
        fv_weight weight = {.type = type, .rows = rows, .columns = columns};
        size_t row_bytes = fv_weight_row_bytes(weight.type, columns), bytes = rows * row_bytes;
        size_t block_bytes = row_bytes / (columns / values);
        unsigned char *file = malloc(bytes), *data = malloc(bytes + 64), *scratch = malloc(8 * row_bytes);
        assert_true(file && data && scratch);
        test_fill_bytes(&random, file, bytes);
        memcpy(data, file, bytes);
        memset(data + bytes, 0x88, 64);
        weight.data = data;
        assert_int_equal(fv_weight_pack(&weight, data, scratch, 8 * row_bytes), FV_OK);
        assert_int_equal(weight.packed, rows / 8 * 8);
        size_t packed_bytes = weight.packed * row_bytes;
        assert_memory_equal(data + packed_bytes, file + packed_bytes, bytes - packed_bytes); /* rows after the eights */
        for (size_t i = 0; i < 64; i++) assert_int_equal(data[bytes + i], 0x88);
        for (uint32_t row = 0; row < weight.packed; row++)
            for (size_t b = 0; b < columns / values; b++) {
                unsigned char block[FV_PACKED_BLOCK_MOST + 1];
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

/* kernels.h's words, read back: the quants and scales of a packed row are those of the file. */
static void super_is(fv_packed_type type, const uint8_t *packed, size_t r, const uint8_t *quants, const float *scale) {
    size_t group_bytes = type == FV_PACKED_Q6_K ? 192 : type == FV_PACKED_Q5_K ? 160 : 128;
    size_t header = type == FV_PACKED_Q6_K ? 144 : 128;
    for (size_t i = 0; i < 256; i++) {
        const uint8_t *bytes = packed + header + i / 32 * group_bytes;
        size_t in = i % 32, j = in % 16 / 4, byte = in % 4;
        int quant = bytes[j * 32 + r * 4 + byte] >> (in < 16 ? 0 : 4) & 15;
        if (type == FV_PACKED_Q5_K) quant |= (bytes[128 + r * 4 + byte] >> (in / 4) & 1) << 4;
        if (type == FV_PACKED_Q6_K) quant |= (bytes[128 + in / 16 * 32 + r * 4 + byte] >> (2 * j) & 3) << 4;
        assert_int_equal(quant, quants[i]);
    }
    for (size_t g = 0; g < 16 && type == FV_PACKED_Q6_K; g++) /* the block's scale is 1 */
        assert_true(scale[g] == (float)(int8_t)packed[16 + 8 * g + r]);
    for (size_t g = 0; g < 8 && type != FV_PACKED_Q6_K; g++) {
        int low = packed[32 + 8 * g + r] & 15, top = packed[96 + 8 * (g % 4) + r] >> (g < 4 ? 0 : 4) & 3;
        assert_true(scale[g] == (float)(low | top << 4));
    }
}

/* The same of the types of two and three bits; scale and minimum of the block are 1. */
static void pairs_are(fv_packed_type type, const uint8_t *packed, size_t r, const uint8_t *quants, const float *scale,
                      const float *offset) {
    size_t group_bytes = type == FV_PACKED_Q2_K ? 64 : 96, header = type == FV_PACKED_Q2_K ? 160 : 112;
    for (size_t i = 0; i < 256; i++) {
        const uint8_t *bytes = packed + header + i / 32 * group_bytes;
        size_t in = i % 32, place = r * 4 + in % 4;
        int quant = bytes[in / 16 * 32 + place] >> (2 * (in % 16 / 4)) & 3;
        if (type == FV_PACKED_Q3_K) quant |= (bytes[64 + place] >> (in / 4) & 1) << 2;
        assert_int_equal(quant, quants[i]);
    }
    for (size_t g = 0; g < 16; g++) {
        int both = packed[32 + 8 * g + r];
        int low = packed[16 + 8 * (g % 8) + r] >> (g < 8 ? 0 : 4) & 15;
        int top = packed[80 + 8 * (g % 4) + r] >> (2 * (g / 4)) & 3;
        assert_true(scale[g] == (float)(type == FV_PACKED_Q2_K ? both & 15 : (low | top << 4) - 32));
        assert_true(offset[g] == (type == FV_PACKED_Q2_K ? -(float)(both >> 4) : -4 * scale[g]));
    }
}

static void test_pair_layout(void **state) {
    (void)state;
    test_random random = test_random_make(5);
    for (size_t run = 0; run < (FV_PACKED_PAIRS ? 40 : 0); run++) {
        unsigned char block[110], packed[880], quants[256];
        float scale[16], offset[16];
        bool two = run % 2;
        size_t r = run / 2 % 8, at = two ? 80 : 108;
        test_fill_bytes(&random, block, sizeof block);
        for (size_t i = 0; i < (two ? 4u : 2u); i++) block[at + i] = i % 2 ? 0x3C : 0; /* 1 in f16 */
        fv_super_pack(two ? FV_PACKED_Q2_K : FV_PACKED_Q3_K, block, r, packed);
        (two ? fv_unpack_q2_k_scalar : fv_unpack_q3_k_scalar)(256, block, quants, scale, offset);
        pairs_are(two ? FV_PACKED_Q2_K : FV_PACKED_Q3_K, packed, r, quants, scale, offset);
    }
}

static void test_super_layout(void **state) {
    (void)state;
    test_random random = test_random_make(3);
    static const struct {
        fv_packed_type type;
        fv_unpack_fn *unpack;
        size_t bytes, scale_offset;
    } supers[] = {{FV_PACKED_Q4_K, fv_unpack_q4_k_scalar, 144, 0},
                  {FV_PACKED_Q5_K, fv_unpack_q5_k_scalar, 176, 0},
                  {FV_PACKED_Q6_K, fv_unpack_q6_k_scalar, 210, 208}};
    for (size_t run = 0; run < 60; run++) {
        unsigned char block[210], packed[1680], quants[256];
        float scale[16], offset[16];
        size_t r = run % 8, t = run % 3;
        test_fill_bytes(&random, block, sizeof block);
        block[supers[t].scale_offset] = 0, block[supers[t].scale_offset + 1] = 0x3C; /* 1 in f16 */
        fv_super_pack(supers[t].type, block, r, packed);
        supers[t].unpack(256, block, quants, scale, offset);
        super_is(supers[t].type, packed, r, quants, scale);
    }
}

static void test_types(void **state) {
    (void)state;
#define TYPE_CHECK(NAME, name, number, values, bytes) \
    { \
        bool known = false; \
        for (size_t i = 0; i < PACKABLE; i++) known = known || packable[i] == (number); \
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
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_super_layout), cmocka_unit_test(test_pair_layout),
        cmocka_unit_test(test_types),      cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
