/* linear_test.c - products of every weight type: against dequantised weights in double, with the same bits for one
 * token or many, packed rows or not, any workers. */
#include "kernels/dequant.h"
#include "model/linear.h"
#include "numeric/half.h"
#include "support/attention_world.h"
#include "support/random.h"
#include "support/tables.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_TOKENS = 21, MOST_WORKERS = 5 };

static test_tables tables;

typedef struct type_case {
    const char *name;
    uint32_t type, values, bytes;
    fv_dequant_fn *dequant;
    size_t scale_offsets[2]; /* of f16 numbers inside a block that random bytes must not make huge; 0 bytes: none */
    size_t scales;
} type_case;

#define PLAIN_TYPE(NAME, name) \
    { #NAME, FV_WEIGHT_##NAME, 0, 0, fv_dequant_##name##_scalar, {0, 0 }, 0 }
#define BLOCK_TYPE(NAME, name, scales, first, second) \
    { #NAME, FV_WEIGHT_##NAME, 0, 0, fv_dequant_##name##_scalar, {first, second }, scales }
static type_case types[] = {
    PLAIN_TYPE(F32, f32),
    PLAIN_TYPE(F16, f16),
    PLAIN_TYPE(BF16, bf16),
    BLOCK_TYPE(Q4_0, q4_0, 1, 0, 0),
    BLOCK_TYPE(Q4_1, q4_1, 2, 0, 2),
    BLOCK_TYPE(Q5_0, q5_0, 1, 0, 0),
    BLOCK_TYPE(Q5_1, q5_1, 2, 0, 2),
    BLOCK_TYPE(Q8_0, q8_0, 1, 0, 0),
    BLOCK_TYPE(Q2_K, q2_k, 2, 80, 82),
    BLOCK_TYPE(Q3_K, q3_k, 1, 108, 0),
    BLOCK_TYPE(Q4_K, q4_k, 2, 0, 2),
    BLOCK_TYPE(Q5_K, q5_k, 2, 0, 2),
    BLOCK_TYPE(Q6_K, q6_k, 1, 208, 0),
    BLOCK_TYPE(IQ4_NL, iq4_nl, 1, 0, 0),
    BLOCK_TYPE(IQ2_XXS, iq2_xxs, 1, 0, 0),
    BLOCK_TYPE(IQ2_XS, iq2_xs, 1, 0, 0),
    BLOCK_TYPE(IQ2_S, iq2_s, 1, 0, 0),
    BLOCK_TYPE(IQ3_XXS, iq3_xxs, 1, 0, 0),
    BLOCK_TYPE(IQ3_S, iq3_s, 1, 0, 0),
    BLOCK_TYPE(IQ4_XS, iq4_xs, 1, 0, 0),
    PLAIN_TYPE(MXFP4, mxfp4),
};
enum { TYPES = sizeof types / sizeof *types };

static void types_complete(void) {
    for (size_t i = 0; i < TYPES; i++) {
#define TYPE_FACTS(NAME, name, number, block_values, block_bytes) \
    if (types[i].type == (number)) types[i].values = (block_values), types[i].bytes = (block_bytes);
        FV_WEIGHT_LIST(TYPE_FACTS)
    }
}

/* A new type in the list must get its line above. */
static void test_no_type_is_forgotten(void **state) {
    (void)state;
#define TYPE_FOUND(NAME, name, number, block_values, block_bytes) \
    { \
        bool found = false; \
        for (size_t i = 0; i < TYPES; i++) found = found || types[i].type == (number); \
        assert_true(found); \
    }
    FV_WEIGHT_LIST(TYPE_FOUND)
}

static void *weights_make(const type_case *type, size_t values, test_random *random) {
    size_t blocks = values / type->values;
    unsigned char *data = world_memory(blocks * type->bytes);
    test_fill_bytes(random, data, blocks * type->bytes);
    for (size_t b = 0; b < blocks; b++) {
        unsigned char *block = data + b * type->bytes;
        float value = test_random_f32(random);
        uint16_t half = type->type == FV_WEIGHT_BF16 ? fv_bf16_from_f32(value) : fv_f16_from_f32(value);
        if (type->type == FV_WEIGHT_F32) memcpy(block, &value, 4);
        if (type->type == FV_WEIGHT_F16 || type->type == FV_WEIGHT_BF16) memcpy(block, &half, 2);
        if (type->type == FV_WEIGHT_MXFP4) block[0] = (unsigned char)(112 + block[0] % 8);
        for (size_t s = 0; s < type->scales; s++) {
            half = fv_f16_from_f32(0.01f * test_random_f32(random));
            memcpy(block + type->scale_offsets[s], &half, 2);
        }
    }
    return data;
}

/* Activations with their int8 rows. */
typedef struct input_case {
    float *rows, *scale, *sum16, *sum32;
    int8_t *quants;
} input_case;

static input_case input_make(const fv_kernels *kernels, size_t columns, test_random *random) {
    input_case x = {.rows = world_memory(MOST_TOKENS * columns * 4),
                    .quants = world_memory(MOST_TOKENS * columns),
                    .scale = world_memory(MOST_TOKENS * columns / 8),
                    .sum16 = world_memory(MOST_TOKENS * columns / 4),
                    .sum32 = world_memory(MOST_TOKENS * columns / 8)};
    test_fill_f32(random, x.rows, MOST_TOKENS * columns, 1.0f);
    kernels->quantize_q8(MOST_TOKENS * columns, x.rows, x.quants, x.scale, x.sum16, x.sum32);
    return x;
}

static void input_free(input_case *x) {
    free(x->rows);
    free(x->quants);
    free(x->scale);
    free(x->sum16);
    free(x->sum32);
}

static fv_linear_input input_view(const input_case *x, size_t columns, size_t first, uint32_t tokens, bool exact) {
    return (fv_linear_input){.rows = x->rows + first * columns,
                             .q8 = {x->quants + first * columns, x->scale + first * columns / 32,
                                    x->sum16 + first * columns / 16, x->sum32 + first * columns / 32},
                             .columns = (uint32_t)columns,
                             .tokens = tokens,
                             .exact = exact};
}

/* One product; out [tokens][rows]. */
static void product_run(const fv_kernels *kernels, const fv_weight *weight, const fv_linear_input *input,
                        const fv_parallel *parallel, float *out) {
    size_t bytes = 0;
    assert_true(fv_linear_scratch_bytes(weight->columns, &bytes));
    unsigned char *scratch = world_memory(MOST_WORKERS * bytes + 64);
    fv_linear_product product = {weight, out, weight->rows};
    memset(out, 0x88, (size_t)input->tokens * weight->rows * 4);
    fv_linear_run(kernels, &product, 1, input, parallel, scratch, bytes);
    for (size_t i = 0; i < 64; i++) assert_int_equal(scratch[MOST_WORKERS * bytes + i], 0xFF);
    free(scratch);
}

static double worst_ratio; /* of the integer product: error over sum of |weight| * (|activation| + step) */

/* Float products within the sum's roundings. Integer ones are exact but for the scales: tight against the int8
 * activations, and within half a step each of the real ones. */
static void check_values(const type_case *type, const char *isa, const fv_weight *file, const input_case *x, bool exact,
                         const float *out) {
    size_t columns = file->columns, row_bytes = fv_weight_row_bytes(file->type, file->columns);
    float *values = world_memory(columns * 4);
    bool floats = exact || type->values == 1 || type->type == FV_WEIGHT_IQ2_XS || type->type == FV_WEIGHT_IQ2_S;
    for (uint32_t row = 0; row < file->rows; row++) {
        type->dequant(columns, (const unsigned char *)file->data + row * row_bytes, values);
        for (size_t t = 0; t < MOST_TOKENS; t++) {
            double real = 0, stored = 0, mass = 0, half_steps = 0, got = (double)out[t * file->rows + row];
            for (size_t c = t * columns; c < (t + 1) * columns; c++) {
                double w = (double)values[c - t * columns], step = (double)x->scale[c / 32];
                real += w * (double)x->rows[c];
                stored += w * step * x->quants[c];
                mass += fabs(w) * (fabs((double)x->rows[c]) + (floats ? 0 : step));
                half_steps += fabs(w) * step * 0.5001;
            }
            double bound = (floats ? (double)columns * 0x1p-24 : 2e-6) * mass + 1e-9,
                   error = fabs(got - (floats ? real : stored));
            if (!(error <= bound) || !(fabs(got - real) <= bound + half_steps))
                fail_msg("%s %s %ux%zu row %u token %zu exact=%d: got %.9g, int8 activations %.9g, real ones %.9g, "
                         "bound %.3g",
                         type->name, isa, file->rows, columns, row, t, exact, got, stored, real, bound);
            if (!floats) worst_ratio = fmax(worst_ratio, (error - 1e-9) / mass);
        }
    }
    free(values);
}

static void check_type(const type_case *type, const fv_kernels *kernels, uint32_t rows, size_t columns,
                       test_random *random) {
    fv_weight file = {.data = weights_make(type, rows * columns, random),
                      .type = type->type,
                      .rows = rows,
                      .columns = (uint32_t)columns};
    input_case x = input_make(kernels, columns, random);
    size_t row_bytes = fv_weight_row_bytes(file.type, file.columns), out_bytes = (size_t)MOST_TOKENS * rows * 4;
    void *data = world_memory(rows * row_bytes), *scratch = world_memory(8 * row_bytes);
    memcpy(data, file.data, rows * row_bytes);
    fv_weight packed = file;
    packed.data = data;
    assert_int_equal(fv_weight_pack(&packed, data, scratch, 8 * row_bytes), FV_OK);
    assert_int_equal(packed.packed, fv_weight_is_packable(type->type) ? rows / 8 * 8 : 0);
    float *want = world_memory(out_bytes), *out = world_memory(out_bytes);
    for (int exact = 0; exact < 2; exact++) {
        fv_linear_input all = input_view(&x, columns, 0, MOST_TOKENS, exact);
        product_run(kernels, &file, &all, NULL, want);
        check_values(type, test_table_name(kernels), &file, &x, exact, want);
        for (uint32_t tokens = 1; tokens <= MOST_TOKENS; tokens += tokens < 5 ? 1 : 8) /* cut and packed */
            for (int is_packed = 0; is_packed < 2; is_packed++) {
                shuffle_pool pool = {.random = *random, .workers = 1 + tokens % MOST_WORKERS};
                fv_parallel parallel = shuffle_parallel(&pool);
                for (uint32_t first = 0; first < MOST_TOKENS; first += tokens) {
                    uint32_t left = MOST_TOKENS - first;
                    fv_linear_input part = input_view(&x, columns, first, tokens < left ? tokens : left, exact);
                    product_run(kernels, is_packed ? &packed : &file, &part, &parallel, out + first * rows);
                }
                if (memcmp(out, want, out_bytes) != 0)
                    fail_msg("%s %s %ux%zu tokens=%u packed=%d exact=%d: other bits", type->name,
                             test_table_name(kernels), rows, columns, tokens, is_packed, exact);
            }
    }
    float *row_file = world_memory(columns * 4), *row_packed = world_memory(columns * 4);
    for (uint32_t row = 0; row < rows; row++) { /* the values of a row, packed or not */
        fv_linear_row(kernels, &file, row, row_file);
        fv_linear_row(kernels, &packed, row, row_packed);
        assert_memory_equal(row_file, row_packed, columns * 4);
        type->dequant(columns, (const unsigned char *)file.data + row * row_bytes, row_packed);
        assert_memory_equal(row_file, row_packed, columns * 4);
    }
    void *all[] = {(void *)(uintptr_t)file.data, data, scratch, want, out, row_file, row_packed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    input_free(&x);
}

static void test_types(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    for (size_t i = 0; i < TYPES; i++)
        for (size_t k = 0; k < tables.count; k++)
            for (int run = 0; run < 3; run++) {
                size_t unit = types[i].values < 32 ? 32 : types[i].values;
                check_type(&types[i], tables.table[k], test_random_in(&random, 1, run ? 30 : 150),
                           unit * test_random_in(&random, 1, unit == 256 ? 2 : 5), &random);
            }
    printf("integer products: worst error %.3g of the mass\n", worst_ratio);
}

/* Float weights take any number of columns. */
static void test_odd_columns(void **state) {
    (void)state;
    test_random random = test_random_make(2);
    for (size_t k = 0; k < tables.count; k++)
        for (size_t i = 0; i < 3; i++)
            for (uint32_t columns = 1; columns < 70; columns += 3) {
                fv_weight weight = {.data = weights_make(&types[i], 5 * columns, &random),
                                    .type = types[i].type,
                                    .rows = 5,
                                    .columns = columns};
                float x[70], out[5], values[70];
                test_fill_f32(&random, x, columns, 1.0f);
                fv_linear_input input = {.rows = x, .columns = columns, .tokens = 1};
                product_run(tables.table[k], &weight, &input, NULL, out);
                for (uint32_t row = 0; row < 5; row++) {
                    double want = 0;
                    fv_linear_row(tables.table[k], &weight, row, values);
                    for (uint32_t c = 0; c < columns; c++) want += (double)values[c] * (double)x[c];
                    assert_true(fabs((double)out[row] - want) <= columns * columns * 0x1p-24);
                }
                free((void *)(uintptr_t)weight.data);
            }
}

/* Several products in one loop, of different types and lengths: each as if alone. */
static void test_products_together(void **state) {
    (void)state;
    test_random random = test_random_make(3);
    enum { COLUMNS = 256, TOKENS = 4 };
    for (size_t k = 0; k < tables.count; k++) {
        const fv_kernels *kernels = tables.table[k];
        input_case x = input_make(kernels, COLUMNS, &random);
        fv_linear_input input = input_view(&x, COLUMNS, 0, TOKENS, false);
        fv_weight weights[4];
        fv_linear_product products[4];
        float *together[4], *alone = world_memory(TOKENS * 300 * 4);
        static const uint32_t rows[] = {65, 1, 300, 64};
        for (size_t i = 0; i < 4; i++) {
            const type_case *type = &types[(3 * i + k) % TYPES];
            weights[i] = (fv_weight){.data = weights_make(type, rows[i] * COLUMNS, &random),
                                     .type = type->type,
                                     .rows = rows[i],
                                     .columns = COLUMNS};
            together[i] = world_memory(TOKENS * (rows[i] + 3) * 4);
            products[i] = (fv_linear_product){&weights[i], together[i], rows[i] + 3};
        }
        size_t bytes = 0;
        assert_true(fv_linear_scratch_bytes(COLUMNS, &bytes));
        void *scratch = world_memory(3 * bytes);
        shuffle_pool pool = {.random = random, .workers = 3};
        fv_parallel parallel = shuffle_parallel(&pool);
        fv_linear_run(kernels, products, 4, &input, &parallel, scratch, bytes);
        for (size_t i = 0; i < 4; i++) {
            product_run(kernels, &weights[i], &input, NULL, alone);
            for (size_t t = 0; t < TOKENS; t++)
                assert_memory_equal(together[i] + t * (rows[i] + 3), alone + t * rows[i], rows[i] * 4);
            free((void *)(uintptr_t)weights[i].data);
            free(together[i]);
        }
        free(alone);
        free(scratch);
        input_free(&x);
    }
}

int main(void) {
    test_tables_make(&tables);
    types_complete();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_type_is_forgotten),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_odd_columns),
        cmocka_unit_test(test_products_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
