/* dequant_test.c - dequant kernels against golden vectors (bit for bit), half-precision conversions exhaustively. */
#include "kernels/blocks.h"
#include "kernels/dequant.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct dequant_case {
    const char *name;
    fv_dequant_fn *run;
    uint32_t type, block_values, block_bytes;
} dequant_case;

#define DEQUANT_CASE(NAME, name, number, values, bytes) {#NAME, fv_dequant_##name##_scalar, number, values, bytes},
static const dequant_case cases[] = {FV_WEIGHT_LIST(DEQUANT_CASE)};

enum { CASES = sizeof cases / sizeof *cases };

typedef struct vectors {
    uint8_t *file;
    uint32_t values, bytes;
    const uint8_t *blocks;   /* odd address on purpose: blocks have no alignment */
    const uint8_t *expected; /* f32 */
} vectors;

/* False if there is no such file (F32 has none). */
static bool vectors_load(const dequant_case *c, vectors *out) {
    char path[1024];
    snprintf(path, sizeof path, FV_SOURCE_DIR "/tests/golden/dequant/%s.bin", c->name);
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    out->file = malloc((size_t)1 << 20);
    assert_non_null(out->file);
    size_t size = fread(out->file + 1, 1, ((size_t)1 << 20) - 1, file);
    fclose(file);
    const uint8_t *start = out->file + 1;
    assert_true(size >= 16);
    assert_memory_equal(start, "FVDQ", 4);
    assert_int_equal(fv_load_u32(start + 4), c->type);
    out->values = fv_load_u32(start + 8);
    out->bytes = fv_load_u32(start + 12);
    out->blocks = start + 16;
    out->expected = out->blocks + out->bytes;
    assert_int_equal(size, 16 + (size_t)out->bytes + 4 * (size_t)out->values);
    assert_int_equal(out->values % c->block_values, 0);
    assert_int_equal(out->values / c->block_values * c->block_bytes, out->bytes);
    return true;
}

static void check_values(const dequant_case *c, const vectors *v, const float *got) {
    for (uint32_t i = 0; i < v->values; i++) {
        uint32_t expected = fv_load_u32(v->expected + 4 * i), bits = fv_bits_from_f32(got[i]);
        if (bits != expected)
            fail_msg("%s value %u: got %.9g (%08x), expected %.9g (%08x)", c->name, i, (double)got[i], bits,
                     (double)fv_f32_from_bits(expected), expected);
    }
}

static void test_golden(void **state) {
    (void)state;
    int checked = 0;
    for (int i = 0; i < CASES; i++) {
        const dequant_case *c = &cases[i];
        vectors v;
        if (!vectors_load(c, &v)) continue;
        float *out = malloc((v.values + 2) * sizeof *out);
        assert_non_null(out);
        out[0] = out[v.values + 1] = 12345; /* guards */
        c->run(v.values, v.blocks, out + 1);
        check_values(c, &v, out + 1);
        assert_true(out[0] == 12345 && out[v.values + 1] == 12345);
        free(out);
        free(v.file);
        checked++;
    }
    assert_int_equal(checked, CASES - 1); /* all but F32 */
}

static void test_none_writes_nothing(void **state) {
    (void)state;
    for (int i = 0; i < CASES; i++) {
        float out = 7;
        cases[i].run(0, "", &out);
        assert_true(out == 7);
    }
}

static void test_f32_is_copied(void **state) {
    (void)state;
    const uint32_t bits[] = {0, 0x80000000, 1, 0x7F7FFFFF, 0x7F800000, 0x3F800000};
    uint8_t bytes[1 + sizeof bits];
    float out[6];
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 4; k++) bytes[1 + 4 * i + k] = (uint8_t)(bits[i] >> (8 * k));
    fv_dequant_f32_scalar(6, bytes + 1, out);
    for (int i = 0; i < 6; i++) assert_int_equal(fv_bits_from_f32(out[i]), bits[i]);
}

/* A scale of infinity or NaN must not break anything else than the values. */
static void test_any_bytes(void **state) {
    (void)state;
    uint8_t block[1024];
    float out[1024];
    for (int fill = 0; fill < 256; fill += 5) {
        memset(block, fill, sizeof block);
        for (int i = 0; i < CASES; i++) cases[i].run(cases[i].block_values, block, out);
    }
}

/* The definition: (-1)^s 2^(e-15) (1 + f/1024). */
static double half_value(uint32_t half) {
    int exponent = (int)(half >> 10 & 31);
    double fraction = half & 1023;
    double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return half & 0x8000 ? -magnitude : magnitude;
}

static void test_half_round_trip(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        float wide = fv_f32_from_f16((uint16_t)half);
        uint16_t back = fv_f16_from_f32(wide);
        if ((half & 0x7FFF) > 0x7C00) { /* NaN stays one, becomes quiet */
            assert_true(isnan(wide));
            assert_int_equal(back, half | 0x200);
            continue;
        }
        assert_int_equal(back, half);
        if ((half & 0x7FFF) == 0x7C00)
            assert_true(isinf(wide) && (half & 0x8000 ? wide < 0 : wide > 0));
        else
            assert_true((double)wide == half_value(half) && (signbit(wide) != 0) == (half >> 15 != 0));
    }
}

/* Between each two neighbours: the middle goes to the even one, its f32 neighbours to the nearer one. */
static void test_half_rounds_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 0x7C00; half++) {
        double low = half_value(half), high = half_value(half + 1);
        float middle = (float)((low + high) / 2);
        uint32_t even = half & 1 ? half + 1 : half;
        assert_true((double)middle == (low + high) / 2);
        assert_int_equal(fv_f16_from_f32(middle), even);
        assert_int_equal(fv_f16_from_f32(-middle), even | 0x8000);
        assert_int_equal(fv_f16_from_f32(nextafterf(middle, 0)), half);
        assert_int_equal(fv_f16_from_f32(nextafterf(middle, INFINITY)), half + 1);
    }
    assert_int_equal(fv_f16_from_f32(3e38f), 0x7C00);
    assert_int_equal(fv_f16_from_f32(-INFINITY), 0xFC00);
    assert_int_equal(fv_f16_from_f32(1e-45f), 0);
    assert_int_equal(fv_f16_from_f32(fv_f32_from_bits(0xFFFFFFFF)), 0xFFFF);
    assert_int_equal(fv_f16_from_f32(fv_f32_from_bits(0x7F800001)), 0x7E00);
}

static void test_bf16(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        float wide = fv_f32_from_bf16((uint16_t)half);
        uint16_t back = fv_bf16_from_f32(wide);
        assert_int_equal(back, (half & 0x7FFF) > 0x7F80 ? half | 0x40 : half);
        if ((half & 0x7FFF) >= 0x7F80) continue;
        uint32_t even = half & 1 ? half + 1 : half, bits = half << 16;
        assert_int_equal(fv_bf16_from_f32(fv_f32_from_bits(bits | 0x8000)), even);
        assert_int_equal(fv_bf16_from_f32(fv_f32_from_bits(bits | 0x7FFF)), half);
        assert_int_equal(fv_bf16_from_f32(fv_f32_from_bits(bits | 0x8001)), half + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_none_writes_nothing),
        cmocka_unit_test(test_f32_is_copied),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_half_round_trip),
        cmocka_unit_test(test_half_rounds_to_nearest_even),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
