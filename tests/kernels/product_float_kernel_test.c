/* product_float_kernel_test.c - float weights times float activations: every tail of columns, rows and tokens against
 * sums in double, nothing read or written outside, and the same bits for one token and many. */
#include "kernel_slots.h"
#include "kernels/kernels.h"
#include "numeric/half.h"
#include "support/fence.h"
#include "support/random.h"
#include "support/tables.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>

enum { MOST_COLUMNS = 300, MOST_ROWS = 11, MOST_TOKENS = 14 };

static test_tables tables;
static test_fence weight_fence, x_fence, out_fence;

/* The value that weight i has once it is stored in its type. */
static float weight_store(uint32_t type, void *weights, size_t i, float value) {
    uint16_t half = type == FV_WEIGHT_F16 ? fv_f16_from_f32(value) : fv_bf16_from_f32(value);
    if (type == FV_WEIGHT_F32)
        ((float *)weights)[i] = value;
    else
        ((uint16_t *)weights)[i] = half;
    return type == FV_WEIGHT_F32 ? value : type == FV_WEIGHT_F16 ? fv_f32_from_f16(half) : fv_f32_from_bf16(half);
}

static void shape_check(const char *slot, const fv_kernels *table, uint32_t type, fv_product_float_fn *tested,
                        size_t columns, size_t rows, size_t tokens, test_random *random) {
    static float value[MOST_ROWS * MOST_COLUMNS];
    size_t stride = rows + test_random_in(random, 0, 5), value_bytes = type == FV_WEIGHT_F32 ? 4 : 2;
    void *weight = fence_place(&weight_fence, rows * columns * value_bytes);
    float *x = fence_place(&x_fence, tokens * columns * 4);
    float *out = fence_place(&out_fence, ((tokens - 1) * stride + rows) * 4);
    for (size_t i = 0; i < rows * columns; i++) value[i] = weight_store(type, weight, i, test_random_f32(random));
    test_fill_f32(random, x, tokens * columns, 1.0f);
    tested(columns, rows, tokens, weight, x, out, stride);
    assert_true(fence_is_whole(&out_fence, tokens, rows * 4, stride * 4));
    for (size_t t = 0; t < tokens; t++) {
        float alone[MOST_ROWS];
        tested(columns, rows, 1, weight, x + t * columns, alone, rows);
        assert_memory_equal(alone, out + t * stride, rows * 4);
        for (size_t r = 0; r < rows; r++) {
            double exact = 0, mass = 0, got = (double)alone[r];
            float one;
            for (size_t c = 0; c < columns; c++) {
                double term = (double)value[r * columns + c] * (double)x[t * columns + c];
                exact += term;
                mass += fabs(term);
            }
            if (!(fabs(got - exact) <= (double)columns * 0x1p-23 * mass))
                fail_msg(
                    "%s %s columns=%zu rows=%zu tokens=%zu [%zu][%zu]: got %.9g, exact %.9g, mass %.3g (FV_SEED=%u)",
                    slot, test_table_name(table), columns, rows, tokens, t, r, got, exact, mass, random->seed);
            tested(columns, 1, 1, (const char *)weight + r * columns * value_bytes, x + t * columns, &one, 1);
            assert_memory_equal(&one, &alone[r], 4);
        }
    }
}

static void product_check(const char *slot, const fv_kernels *table, uint32_t type, fv_product_float_fn *tested) {
    test_random random = test_random_make(40 + type);
    for (size_t columns = 1; columns <= MOST_COLUMNS; columns += columns < 70 ? 1 : 23)
        shape_check(slot, table, type, tested, columns, 1 + columns % 7, 1 + columns % MOST_TOKENS, &random);
    for (size_t rows = 1; rows <= MOST_ROWS; rows++)
        for (size_t tokens = 1; tokens <= MOST_TOKENS; tokens++)
            shape_check(slot, table, type, tested, 41, rows, tokens, &random);
}

#define PRODUCT_CHECK(NAME, name) \
    static void check_product_##name(const fv_kernels *table) { \
        product_check("product_" #name, table, FV_WEIGHT_##NAME, table->product_##name); \
    }
PRODUCT_CHECK(F32, f32)
PRODUCT_CHECK(F16, f16)
PRODUCT_CHECK(BF16, bf16)

#define SLOT_TEST(slot) \
    static void test_##slot(void **state) { \
        (void)state; \
        for (size_t k = 0; k < tables.count; k++) check_##slot(tables.table[k]); \
    }
PRODUCT_FLOAT_SLOTS(SLOT_TEST)

int main(void) {
    test_tables_make(&tables);
    test_fence *fences[] = {&weight_fence, &x_fence, &out_fence};
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) *fences[i] = fence_open(65536);
#define SLOT_ENTRY(slot) cmocka_unit_test(test_##slot),
    const struct CMUnitTest tests[] = {PRODUCT_FLOAT_SLOTS(SLOT_ENTRY)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) fence_close(fences[i]);
    return failed;
}
