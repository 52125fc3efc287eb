/* product_kernel_test.c - quantised activations, panels and packed weights of every instruction set: exact twins where
 * the contract says so, integers that never overflow, and packed products with the panel's bits. */
#include "kernel_slots.h"
#include "kernels/kernels.h"
#include "kernels/packed.h"
#include "kernels/unpack.h"
#include "numeric/half.h"
#include "support/fence.h"
#include "support/random.h"
#include "support/tables.h"
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>

enum { MAX_COLUMNS = 32 * 20, MAX_TOKENS = 33, MAX_PANELS = 9, ROWS = FV_PANEL_ROWS };

/* The bytes of eight rows in a panel: quants 32 of each 4 * ROWS, scales 8 of each ROWS. */
enum { EIGHTS = ROWS / 8 };

static const size_t token_counts[] = {1, 2, 3, 4, 5, 8, 9, 17};
static test_tables tables;
static test_fence quant_fence, scale_fence, offset_fence, out_fence, packed_fence, x_fence, x_scale_fence, sum_fence;

/* Blocks of all kinds: plain, zero, a single spike, ties, subnormal, huge, infinite, NaN. */
static void fill_activations(test_random *random, float *x, size_t n) {
    for (size_t i = 0; i < n; i += 32) {
        uint32_t kind = test_random_in(random, 0, 11);
        test_fill_f32(random, x + i, 32, kind == 1 ? 0.0f : kind == 2 ? 1e-42f : kind == 3 ? 3e38f : 4.0f);
        uint32_t place = test_random_in(random, 0, 31);
        if (kind == 4) x[i + place] = 1e6f;
        if (kind == 5) x[i + place] = NAN;
        if (kind == 6) x[i + place] = -INFINITY;
        for (size_t j = 0; kind == 7 && j < 32; j++)
            x[i + j] = (float)((int)j - 16) + 0.5f; /* ties when the scale is 1 */
        if (kind == 7) x[i + place] = 127.0f;
    }
}

static void check_quantize_q8(const fv_kernels *table) {
    test_random random = test_random_make(1);
    static int8_t quants[MAX_COLUMNS];
    static float scale[MAX_COLUMNS / 32], sum16[MAX_COLUMNS / 16], sum32[MAX_COLUMNS / 32];
    for (int run = 0; run < 3000; run++) {
        size_t n = 32 * test_random_in(&random, 0, 6);
        float *x = fence_place(&x_fence, n * 4);
        fill_activations(&random, x, n);
        int8_t *got = fence_place(&quant_fence, n);
        float *got_scale = fence_place(&scale_fence, n / 8), *got16 = fence_place(&sum_fence, n / 4);
        float *got32 = fence_place(&offset_fence, n / 8);
        table->quantize_q8(n, x, got, got_scale, got16, got32);
        tables.table[0]->quantize_q8(n, x, quants, scale, sum16, sum32);
        assert_memory_equal(got, quants, n);
        for (size_t i = 0; i < n / 32; i++)
            assert_true(got_scale[i] == scale[i] || (isnan(got_scale[i]) && isnan(scale[i])));
        for (size_t i = 0; i < n; i++) assert_true(isfinite(x[i]) || !isfinite(got_scale[i / 32]));
        for (size_t i = 0; i < n / 16; i++) assert_true(got16[i] == sum16[i] || (isnan(got16[i]) && isnan(sum16[i])));
        for (size_t i = 0; i < n / 32; i++) assert_true(got32[i] == sum32[i] || (isnan(got32[i]) && isnan(sum32[i])));
        for (size_t i = 0; i < n; i++) assert_true(got[i] >= -127);
        for (size_t i = 0; i < n; i++) { /* what a quant means, where the block is ordinary */
            float step = got_scale[i / 32];
            if (!isfinite(x[i]) || !isfinite(step) || step < 1e-30f) continue;
            assert_true(fabs((double)x[i] - (double)step * got[i]) <= 0.50001 * (double)step);
        }
        assert_true(fence_is_whole(&quant_fence, 1, 0, 0) && fence_is_whole(&scale_fence, 1, 0, 0));
        assert_true(fence_is_whole(&sum_fence, 1, 0, 0) && fence_is_whole(&offset_fence, 1, 0, 0));
    }
}

/* Eight rows of a panel that was filled with 0xA5: theirs equal `want`, the others untouched. */
static void eight_is(const void *got, const void *want, size_t count, size_t bytes, size_t eight) {
    const uint8_t *a = got, *b = want;
    for (size_t i = 0; i < count; i++)
        for (size_t e = 0; e < EIGHTS; e++, a += bytes)
            if (e == eight)
                assert_memory_equal(a, b + (i * EIGHTS + e) * bytes, bytes);
            else
                for (size_t j = 0; j < bytes; j++) assert_int_equal(a[j], 0xA5);
}

static void check_panel_pack(const fv_kernels *table) {
    test_random random = test_random_make(2);
    static uint8_t quants[8 * MAX_COLUMNS], out[ROWS * MAX_COLUMNS];
    static float scale[MAX_COLUMNS], offset[MAX_COLUMNS], out_scale[ROWS * MAX_COLUMNS / 16],
        out_offset[ROWS * MAX_COLUMNS / 16];
    for (size_t columns = 32; columns <= MAX_COLUMNS; columns += 32)
        for (size_t group = 16; group <= 32; group += 16) {
            size_t groups = columns / group, eight = columns / 32 % EIGHTS;
            test_fill_bytes(&random, quants, 8 * columns);
            test_fill_f32(&random, scale, 8 * groups, 1.0f);
            test_fill_f32(&random, offset, 8 * groups, 1.0f);
            uint8_t *in = fence_place(&x_fence, 8 * columns), *got = fence_place(&quant_fence, ROWS * columns);
            memcpy(in, quants, 8 * columns);
            float *got_scale = fence_place(&scale_fence, 4 * ROWS * groups),
                  *got_offset = fence_place(&offset_fence, 4 * ROWS * groups);
            memset(got, 0xA5, ROWS * columns);
            memset(got_scale, 0xA5, 4 * ROWS * groups);
            memset(got_offset, 0xA5, 4 * ROWS * groups);
            table->panel_pack(columns, groups, in, scale, offset, got + 32 * eight, got_scale + 8 * eight,
                              got_offset + 8 * eight);
            tables.table[0]->panel_pack(columns, groups, quants, scale, offset, out + 32 * eight, out_scale + 8 * eight,
                                        out_offset + 8 * eight);
            eight_is(got, out, columns / 4, 32, eight);
            eight_is(got_scale, out_scale, groups, 32, eight);
            eight_is(got_offset, out_offset, groups, 32, eight);
            for (size_t r = 0; r < 8; r++)
                for (size_t c = 0; c < columns; c++)
                    assert_int_equal(got[(c / 4 * ROWS + 8 * eight + r) * 4 + c % 4], quants[r * columns + c]);
        }
}

/* NaN of any bits, so that the rest can be compared byte by byte. */
static void calm(float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i])) x[i] = NAN;
}

/* Blocks and scale groups of a packed type. */
static size_t group_of(fv_packed_type type) { return type == FV_PACKED_Q6_K || fv_packed_is_pairs(type) ? 16 : 32; }

static void unpack_check(fv_packed_type type, const fv_kernels *table) {
    test_random random = test_random_make(3 + type);
    static uint8_t quants[ROWS * MAX_COLUMNS];
    static float scale[ROWS * MAX_COLUMNS / 16], offset[ROWS * MAX_COLUMNS / 16];
    size_t values = fv_packed_block_values(type);
    for (size_t columns = values; columns <= MAX_COLUMNS; columns += values)
        for (size_t run = 0; run < 32; run++) {
            size_t bytes = columns / values * fv_packed_block_bytes(type), groups = columns / group_of(type);
            size_t scales = ROWS * groups, eight = run % EIGHTS;
            uint8_t *packed = fence_place(&packed_fence, bytes), *got = fence_place(&quant_fence, ROWS * columns);
            float *got_scale = fence_place(&scale_fence, 4 * scales);
            float *got_offset = fence_place(&offset_fence, 4 * scales);
            test_fill_bytes(&random, packed, bytes);
            memset(got, 0xA5, ROWS * columns);
            memset(got_scale, 0xA5, 4 * scales);
            memset(got_offset, 0xA5, 4 * scales);
            table->panel_unpack(type, columns, packed, got + 32 * eight, got_scale + 8 * eight, got_offset + 8 * eight);
            tables.table[0]->panel_unpack(type, columns, packed, quants + 32 * eight, scale + 8 * eight,
                                          offset + 8 * eight);
            calm(scale, scales), calm(offset, scales), calm(got_scale, scales), calm(got_offset, scales);
            eight_is(got, quants, columns / 4, 32, eight);
            eight_is(got_scale, scale, groups, 32, eight);
            eight_is(got_offset, offset, groups, 32, eight);
        }
}

static void check_panel_unpack(const fv_kernels *table) {
    for (int type = 0; type < FV_PACKED_COUNT; type++) unpack_check((fv_packed_type)type, table);
}

/* Quantised rows at the fence: `kind` 0 random, 1 all +127, 2 all -127, 3 alternating. */
static fv_q8_rows make_rows(test_random *random, size_t columns, size_t tokens, int kind) {
    int8_t *quants = fence_place(&x_fence, tokens * columns);
    float *scale = fence_place(&x_scale_fence, tokens * columns / 32 * 4);
    float *sums = fence_place(&sum_fence, tokens * columns / 32 * 12), *sum32 = sums + tokens * columns / 16;
    for (size_t i = 0; i < tokens * columns; i++)
        quants[i] = (int8_t)(kind == 1 || (kind == 3 && i % 2) ? 127
                             : kind >= 2                       ? -127
                                                               : (int)test_random_in(random, 0, 254) - 127);
    for (size_t b = 0; b < tokens * columns / 32; b++) {
        int sum[2] = {0, 0};
        for (size_t i = 0; i < 32; i++) sum[i / 16] += quants[b * 32 + i];
        scale[b] = kind ? 1.0f : 0.01f + 0.005f * test_random_f32(random);
        sums[2 * b] = scale[b] * (float)sum[0];
        sums[2 * b + 1] = scale[b] * (float)sum[1];
        sum32[b] = scale[b] * (float)(sum[0] + sum[1]);
    }
    return (fv_q8_rows){quants, scale, sums, sum32};
}

/* A row is [columns] quants: `kind` 0 random, 1 all `largest`, 2 all 0, 3 alternating. */
static void product_shape(const fv_kernels *table, uint32_t group, uint32_t largest, size_t columns, size_t tokens,
                          int kind, int x_kind, test_random *random) {
    size_t groups = columns / group, stride = ROWS + test_random_in(random, 0, 5);
    uint8_t *quants = fence_place(&quant_fence, ROWS * columns);
    float *scale = fence_place(&scale_fence, 4 * ROWS * groups),
          *offset = fence_place(&offset_fence, 4 * ROWS * groups);
    for (size_t i = 0; i < ROWS * columns; i++)
        quants[i] = (uint8_t)(kind == 1 || (kind == 3 && i % 3) ? largest
                              : kind >= 2                       ? 0
                                                                : test_random_in(random, 0, largest));
    for (size_t i = 0; i < ROWS * groups; i++) {
        scale[i] = kind ? 1.0f : 0.1f * test_random_f32(random);
        offset[i] = kind ? 0.0f : test_random_f32(random);
    }
    fv_q8_rows x = make_rows(random, columns, tokens, x_kind);
    fv_panel panel = {quants, scale, offset, group, largest};
    float *out = fence_place(&out_fence, ((tokens - 1) * stride + ROWS) * 4), want[ROWS * MAX_TOKENS];
    table->product_panel(columns, tokens, &panel, &x, out, stride);
    assert_true(fence_is_whole(&out_fence, tokens, 4 * ROWS, stride * 4));
    tables.table[0]->product_panel(columns, tokens, &panel, &x, want, ROWS);
    const float *sums = group == 16 ? x.sum16 : x.sum32;
    for (size_t t = 0; t < tokens; t++)
        for (size_t r = 0; r < ROWS; r++) {
            double exact = 0, mass = 0, got = (double)out[t * stride + r];
            for (size_t g = 0; g < groups; g++) {
                int64_t dot = 0;
                for (size_t c = g * group; c < (g + 1) * group; c++)
                    dot += (int64_t)quants[(c / 4 * ROWS + r) * 4 + c % 4] * x.quants[t * columns + c];
                double a =
                    (double)dot * (double)scale[g * ROWS + r] * (double)x.scale[t * (columns / 32) + g * group / 32];
                double b = (double)offset[g * ROWS + r] * (double)sums[t * groups + g];
                exact += a + b;
                mass += fabs(a) + fabs(b);
            }
            double bound = (double)groups * 0x1p-22 * mass;
            if (!(fabs(got - exact) <= bound && fabs(got - (double)want[t * ROWS + r]) <= bound))
                fail_msg(
                    "%s largest=%u columns=%zu tokens=%zu kinds=%d,%d [%zu][%zu]: got %.9g, scalar %.9g, exact %.9g, "
                    "bound %.3g "
                    "(FV_SEED=%u)",
                    test_table_name(table), largest, columns, tokens, kind, x_kind, t, r, got,
                    (double)want[t * ROWS + r], exact, bound, random->seed);
        }
    for (size_t t = 0; t < tokens; t++) { /* alone: the same bits */
        fv_q8_rows one = fv_q8_rows_from(&x, columns, t);
        float alone[ROWS];
        table->product_panel(columns, 1, &panel, &one, alone, ROWS);
        assert_memory_equal(alone, out + t * stride, 4 * ROWS);
    }
}

static void product_check(const fv_kernels *table, uint32_t group, uint32_t largest) {
    test_random random = test_random_make(20 + largest);
    for (size_t columns = 32; columns <= 256 + 64; columns += 32)
        for (size_t tokens = 1; tokens <= MAX_TOKENS; tokens++)
            product_shape(table, group, largest, columns, tokens, 0, 0, &random);
    for (int kind = 0; kind < 4; kind++) /* sixteen-bit sums at their limits */
        for (int x_kind = 0; x_kind < 4; x_kind++)
            for (size_t tokens = 1; tokens <= 9; tokens++)
                product_shape(table, group, largest, 64, tokens, kind, x_kind, &random);
}

static void check_product_panel(const fv_kernels *table) {
    product_check(table, 32, 15);
    product_check(table, 32, 31);
    product_check(table, 32, 255);
    product_check(table, 16, 63);
}

/* Packed panels: `kind` 0 random, 1 all bits set, 2 all clear; scales ordinary. */
static void fill_packed(test_random *random, fv_packed_type type, uint8_t *packed, size_t blocks, int kind) {
    bool minima = fv_packed_has_minima(type) || type == FV_PACKED_Q4_K || type == FV_PACKED_Q5_K;
    size_t halves = minima ? 16 : 8, bytes = fv_packed_block_bytes(type);
    for (size_t g = 0; g < blocks; g++, packed += bytes) {
        if (kind)
            memset(packed, kind == 1 ? 0xFF : 0, bytes);
        else
            test_fill_bytes(random, packed, bytes);
        for (size_t i = 0; type == FV_PACKED_MXFP4 && i < 8; i++) packed[i] = (uint8_t)test_random_in(random, 0, 130);
        for (size_t i = 0; type != FV_PACKED_MXFP4 && i < halves; i++) {
            uint16_t half = fv_f16_from_f32(0.1f * test_random_f32(random));
            memcpy(packed + 2 * i, &half, 2);
        }
    }
}

static void packed_shape(const char *name, const fv_kernels *table, fv_packed_type type, uint32_t largest,
                         size_t columns, size_t panels, size_t tokens, int kind, int x_kind, test_random *random) {
    static uint8_t quants[ROWS * MAX_COLUMNS];
    static float scale[ROWS * MAX_COLUMNS / 16], offset[ROWS * MAX_COLUMNS / 16], wide[MAX_TOKENS * ROWS];
    static float want[MAX_TOKENS * 8 * MAX_PANELS];
    size_t blocks = columns / fv_packed_block_values(type), panel_bytes = blocks * fv_packed_block_bytes(type);
    uint8_t *packed = fence_place(&packed_fence, panels * panel_bytes);
    fill_packed(random, type, packed, panels * blocks, kind);
    fv_q8_rows x = make_rows(random, columns, tokens, x_kind);
    fv_panel panel = {quants, scale, offset, (uint32_t)group_of(type), largest};
    for (size_t p = 0; p < panels; p++) {
        size_t eight = p % EIGHTS;
        table->panel_unpack(type, columns, packed + p * panel_bytes, quants + 32 * eight, scale + 8 * eight,
                            offset + 8 * eight);
        table->product_panel(columns, tokens, &panel, &x, wide, ROWS);
        for (size_t t = 0; t < tokens; t++) memcpy(want + t * 8 * panels + 8 * p, wide + t * ROWS + 8 * eight, 32);
    }
    for (size_t first = 0; first < tokens; first++) { /* every number of tokens, every token in every company's place */
        size_t count = tokens - first, stride = 8 * panels + test_random_in(random, 0, 5);
        fv_q8_rows some = fv_q8_rows_from(&x, columns, first);
        float *out = fence_place(&out_fence, ((count - 1) * stride + 8 * panels) * 4);
        if (!table->product_packed(type, columns, panels, packed, count, &some, out, stride)) {
            assert_true(count > FV_PACKED_TOKENS && fence_is_poison(out, 32 * panels));
            continue;
        }
        for (size_t t = 0; t < count; t++)
            if (memcmp(out + t * stride, want + (first + t) * 8 * panels, 32 * panels) != 0)
                fail_msg("%s %s columns=%zu panels=%zu tokens=%zu..%zu kinds=%d,%d token %zu: not the panel's bits "
                         "(%.9g, %.9g) (FV_SEED=%u)",
                         name, test_table_name(table), columns, panels, first, tokens, kind, x_kind, first + t,
                         (double)out[t * stride], (double)want[(first + t) * 8 * panels], random->seed);
        assert_true(fence_is_whole(&out_fence, count, 32 * panels, stride * 4));
    }
}

static void packed_check(const char *name, const fv_kernels *table, fv_packed_type type, uint32_t largest) {
    if (table == tables.table[0] && type != FV_PACKED_Q8_0) { /* for chips: the other types go through panels */
        assert_false(table->product_packed(type, 256, 1, NULL, 1, NULL, NULL, 0));
        return;
    }
    test_random random = test_random_make(30 + type);
    size_t values = fv_packed_block_values(type);
    for (size_t i = 0; i < sizeof token_counts / sizeof *token_counts; i++)
        for (size_t columns = values; columns <= (values == 32 ? 256 : MAX_COLUMNS); columns += values)
            packed_shape(name, table, type, largest, columns, 1 + (columns / 32 + i) % MAX_PANELS, token_counts[i], 0,
                         0, &random);
    for (int kind = 0; kind < 3; kind++)
        for (int x_kind = 0; x_kind < 4; x_kind++)
            packed_shape(name, table, type, largest, values == 32 ? 96 : 512, 3, 9, kind, x_kind, &random);
}

static void check_product_packed(const fv_kernels *table) {
    static const uint32_t largest[] = {
#define LARGEST(NAME, name, group, most) [FV_WEIGHT_##NAME] = most,
        FV_UNPACK_LIST(LARGEST)};
#define PACKED_CHECK(NAME, name) packed_check(#name, table, FV_PACKED_##NAME, largest[FV_WEIGHT_##NAME]);
    FV_PACKED_LIST(PACKED_CHECK)
    assert_false(table->product_packed(FV_PACKED_COUNT, 256, 1, NULL, 1, NULL, NULL, 0));
}

#define SLOT_TEST(slot) \
    static void test_##slot(void **state) { \
        (void)state; \
        for (size_t k = 0; k < tables.count; k++) check_##slot(tables.table[k]); \
    }
PRODUCT_SLOTS(SLOT_TEST)

int main(void) {
    test_tables_make(&tables);
    test_fence *fences[] = {&quant_fence,  &scale_fence, &offset_fence,  &out_fence,
                            &packed_fence, &x_fence,     &x_scale_fence, &sum_fence};
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) *fences[i] = fence_open(65536);
#define SLOT_ENTRY(slot) cmocka_unit_test(test_##slot),
    const struct CMUnitTest tests[] = {PRODUCT_SLOTS(SLOT_ENTRY)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) fence_close(fences[i]);
    return failed;
}
