/* unpack_test.c - scale * quant + offset must be what dequant says, on random blocks of every quantised type. */
#include "kernels/dequant.h"
#include "kernels/unpack.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEQUANT_FACTS(NAME, name, number, values, bytes) \
    enum { BLOCK_VALUES_##NAME = values, BLOCK_BYTES_##NAME = bytes };
FV_WEIGHT_LIST(DEQUANT_FACTS)

typedef struct unpack_case {
    const char *name;
    fv_unpack_fn *unpack;
    fv_dequant_fn *dequant;
    size_t block_values, block_bytes, group;
    int largest;
} unpack_case;

#define UNPACK_CASE(NAME, name, group, largest) \
    {#NAME,  fv_unpack_##name##_scalar, fv_dequant_##name##_scalar, BLOCK_VALUES_##NAME, BLOCK_BYTES_##NAME, group, \
     largest},
static const unpack_case cases[] = {FV_UNPACK_LIST(UNPACK_CASE)};

enum { CASES = sizeof cases / sizeof *cases, BLOCKS = 3, MAX_VALUES = 256 * BLOCKS, GUARD = 16, POISON = 0x88 };

typedef struct unpacked {
    uint8_t quants[MAX_VALUES + GUARD];
    float scale[MAX_VALUES / 16 + GUARD], offset[MAX_VALUES / 16 + GUARD];
} unpacked;

static uint32_t random_state = 1;
static uint8_t random_byte(void) {
    random_state = random_state * 1664525 + 1013904223;
    return (uint8_t)(random_state >> 24);
}

static bool all_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

static bool is_poison(const void *data, size_t bytes) {
    const uint8_t *byte = data;
    for (size_t i = 0; i < bytes; i++)
        if (byte[i] != POISON) return false;
    return true;
}

static void check_guards(const unpack_case *c, const unpacked *got) {
    size_t values = BLOCKS * c->block_values, groups = values / c->group;
    assert_true(is_poison(got->quants + values, sizeof got->quants - values));
    assert_true(is_poison(got->scale + groups, sizeof got->scale - groups * sizeof(float)));
    assert_true(is_poison(got->offset + groups, sizeof got->offset - groups * sizeof(float)));
}

/* Exact in double; dequant rounds at most once, to half an ulp of the largest term. */
static void check_values(const unpack_case *c, const unpacked *got, const float *expected, int *largest) {
    for (size_t i = 0; i < BLOCKS * c->block_values; i++) {
        double scaled = (double)got->scale[i / c->group] * got->quants[i], offset = (double)got->offset[i / c->group];
        double bound = 0x1p-24 * (fabs(scaled) + fabs(offset)), error = fabs(scaled + offset - (double)expected[i]);
        if (error > bound)
            fail_msg("%s value %zu: %.9g, dequant %.9g, error %.3g > bound %.3g", c->name, i, scaled + offset,
                     (double)expected[i], error, bound);
        if (got->quants[i] > *largest) *largest = got->quants[i];
    }
}

static void test_equals_dequant(void **state) {
    (void)state;
    for (int k = 0; k < CASES; k++) {
        const unpack_case *c = &cases[k];
        int largest = 0, checked = 0;
        for (int run = 0; run < 400; run++) {
            uint8_t blocks[1 + BLOCKS * 256];
            float expected[MAX_VALUES];
            unpacked got;
            for (size_t i = 0; i < sizeof blocks; i++) blocks[i] = random_byte();
            memset(&got, POISON, sizeof got);
            c->dequant(BLOCKS * c->block_values, blocks + 1, expected);
            c->unpack(BLOCKS * c->block_values, blocks + 1, got.quants, got.scale, got.offset);
            check_guards(c, &got);
            if (!all_finite(expected, BLOCKS * c->block_values)) continue; /* a scale of infinity or NaN */
            check_values(c, &got, expected, &largest);
            checked++;
        }
        assert_true(checked > 200);
        assert_int_equal(largest, strcmp(c->name, "IQ4_NL") == 0 ? 241 : c->largest);
    }
}

/* Exactly equal where the type has no minimum of its own: Q8_0, Q4_0, Q5_0, Q3_K, Q6_K, IQ4_NL, IQ2 and
 * IQ3. (IQ4_XS has scales of 17 bits: with its 8-bit quants one rounding; MXFP4 overflows earlier.) */
static void test_symmetric_types_are_exact(void **state) {
    (void)state;
    const char *names[] = {"Q8_0", "Q4_0", "Q5_0", "Q3_K", "Q6_K", "IQ4_NL", "IQ2_XXS", "IQ3_XXS", "IQ3_S"};
    for (int k = 0; k < CASES; k++) {
        bool symmetric = false;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            symmetric = symmetric || strcmp(cases[k].name, names[i]) == 0;
        if (!symmetric) continue;
        const unpack_case *c = &cases[k];
        uint8_t blocks[256], quants[256];
        float scale[16], offset[16], expected[256];
        for (int run = 0; run < 200; run++) {
            for (size_t i = 0; i < sizeof blocks; i++) blocks[i] = random_byte();
            c->dequant(c->block_values, blocks, expected);
            c->unpack(c->block_values, blocks, quants, scale, offset);
            if (!all_finite(expected, c->block_values)) continue;
            for (size_t i = 0; i < c->block_values; i++)
                assert_true(scale[i / c->group] * (float)quants[i] + offset[i / c->group] == expected[i]);
        }
    }
}

static void test_none_writes_nothing(void **state) {
    (void)state;
    for (int k = 0; k < CASES; k++) {
        uint8_t quants = POISON;
        float scale = 7, offset = 7;
        cases[k].unpack(0, "", &quants, &scale, &offset);
        assert_true(quants == POISON && scale == 7 && offset == 7);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_dequant),
        cmocka_unit_test(test_symmetric_types_are_exact),
        cmocka_unit_test(test_none_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
