/* scan_kernel_test.c - the loops of the index: every instruction set gives the scalar twin's bits. */
#include "index/level_code.h"
#include "index/scan_kernels.h"
#include "numeric/half.h"
#include "support/fence.h"
#include "support/random.h"
#include "support/tables.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_GROUPS = 16400, MOST_DIM = 5000, MOST_LEVELS = FV_SCAN_CODES_MOST };

static test_tables tables;
static test_fence code_fence, table_fence, out_fence;

/* The table of the index for the processor that this table of kernels is for. */
static const fv_scan_kernels *twin(size_t i) { return fv_scan_kernels_of(fv_kernels_isa(tables.table[i])); }

static size_t some_groups(test_random *random, int run) {
    static const size_t edges[] = {16, 240, 256, 272, 512, 4112, 16384};
    return run < 7 ? edges[run] : 16 * test_random_in(random, 1, run % 8 ? 40 : MOST_GROUPS / 16);
}

static void check_sums(const fv_scan_kernels *table) {
    test_random random = test_random_make(91);
    for (int run = 0; run < 200; run++) {
        size_t groups = some_groups(&random, run);
        uint8_t *codes = fence_place(&code_fence, groups * 16), *entries = fence_place(&table_fence, groups * 16);
        uint32_t *got = fence_place(&out_fence, 128), want[32], plain[32] = {0};
        test_fill_bytes(&random, codes, groups * 16);
        test_fill_bytes(&random, entries, groups * 16);
        if (run % 3 == 0) memset(entries, 255, groups * 16); /* the most that sums must hold */
        fv_scan_kernels_of(FV_ISA_SCALAR)->scan_sums(groups, codes, entries, want);
        table->scan_sums(groups, codes, entries, got);
        for (size_t group = 0; group < groups; group++)
            for (size_t t = 0; t < 32; t++)
                plain[t] += entries[group * 16 + (codes[group * 16 + t % 8 * 2 + t / 8 % 2] >> t / 16 * 4 & 15)];
        for (size_t t = 0; t < 32; t++)
            if (got[t] != want[t] || got[t] != plain[t])
                fail_msg("%s groups=%zu code %zu: %u, scalar %u, by hand %u (seed %u)", fv_isa_name(table->isa), groups,
                         t, got[t], want[t], plain[t], random.seed);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0));
    }
}

static void check_bounds(const fv_scan_kernels *table) {
    const fv_scan_kernels *scalar = fv_scan_kernels_of(FV_ISA_SCALAR);
    test_random random = test_random_make(92);
    for (int run = 0; run < 2000; run++) {
        float *factors = fence_place(&code_fence, 96 * 4), *got = fence_place(&out_fence, 128), want[32];
        uint32_t *sum = fence_place(&table_fence, 128);
        fv_scan_query query = {(int32_t)test_random_in(&random, 0, 1 << 22), test_random_f32(&random),
                               test_random_f32(&random), 9 * test_random_f32(&random), test_random_f32(&random)};
        for (size_t t = 0; t < 32; t++) sum[t] = test_random_in(&random, 0, 1 << 22);
        test_fill_f32(&random, factors, 96, run % 7 ? 1.0f : 1e30f);
        float limit = (float)(1 << 20) * test_random_f32(&random);
        uint32_t expected = scalar->scan_bounds(factors, sum, &query, limit, want);
        uint32_t under = table->scan_bounds(factors, sum, &query, limit, got);
        if (under != expected || memcmp(got, want, 128) != 0)
            fail_msg("%s bounds, run %d (seed %u)", fv_isa_name(table->isa), run, random.seed);
        for (size_t t = 0; t < 32; t++) assert_int_equal(under >> t & 1, want[t] < limit);
        expected = scalar->scan_estimates(factors, sum, &query, limit, want);
        under = table->scan_estimates(factors, sum, &query, limit, got);
        table->scan_fetch(factors, sizeof want);
        for (size_t t = 0; t < 32; t++) assert_int_equal(expected >> t & 1, want[t] < limit);
        if (under != expected || memcmp(got, want, 128) != 0)
            fail_msg("%s estimates (seed %u)", fv_isa_name(table->isa), random.seed);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0));
    }
}

static void check_pairs(const fv_scan_kernels *table) {
    const fv_scan_kernels *scalar = fv_scan_kernels_of(FV_ISA_SCALAR);
    test_random random = test_random_make(93);
    for (size_t run = 1; run < 400; run++) {
        size_t n = run <= 140 ? run : test_random_in(&random, 1, MOST_DIM);
        float *x = fence_place(&code_fence, n * 4), *y = fence_place(&table_fence, n * 4);
        test_fill_f32(&random, x, n, 3.0f);
        test_fill_f32(&random, y, n, 3.0f);
        float got[2] = {table->scan_distance(n, x, y), table->scan_product(n, x, y)};
        float want[2] = {scalar->scan_distance(n, x, y), scalar->scan_product(n, x, y)};
        if (memcmp(got, want, sizeof got) != 0)
            fail_msg("%s n=%zu: %.9g %.9g, scalar %.9g %.9g (seed %u)", fv_isa_name(table->isa), n, (double)got[0],
                     (double)got[1], (double)want[0], (double)want[1], random.seed);
        double distance = 0, product = 0, mass = 0;
        for (size_t i = 0; i < n; i++) {
            double d = (double)x[i] - (double)y[i], p = (double)x[i] * (double)y[i];
            distance += d * d;
            product += p;
            mass += p < 0 ? -p : p;
        }
        double slack = 0x1p-22 * (double)(n / 32 + 6);
        assert_true((double)want[0] - distance <= distance * slack && distance - (double)want[0] <= distance * slack);
        assert_true((double)want[1] - product <= mass * slack && product - (double)want[1] <= mass * slack);
    }
}

static void check_codes(const fv_scan_kernels *table) {
    const fv_scan_kernels *scalar = fv_scan_kernels_of(FV_ISA_SCALAR);
    test_random random = test_random_make(94);
    for (size_t n = 64; n <= MOST_DIM; n += 64) {
        float *x = fence_place(&code_fence, n * 4), *y = fence_place(&table_fence, n * 4);
        uint8_t got[MOST_DIM / 8 + 1], want[MOST_DIM / 8 + 1];
        fv_scan_code all[2];
        test_fill_f32(&random, x, n, 3.0f);
        test_fill_f32(&random, y, n, 3.0f);
        y[n / 2] = x[n / 2];
        got[n / 8] = want[n / 8] = 0x88;
        table->scan_code(n, x, y, got, all);
        scalar->scan_code(n, x, y, want, all + 1);
        if (memcmp(all, all + 1, sizeof all[0]) != 0 || memcmp(got, want, n / 8 + 1) != 0)
            fail_msg("%s codes, n=%zu (seed %u)", fv_isa_name(table->isa), n, random.seed);
        for (size_t i = 0; i < n; i++) assert_int_equal(got[i / 8] >> i % 8 & 1, y[i] > x[i]);
    }
}

/* Sums over pairs of which one is, or both are, of 16 bits. */
static void check_halves(const fv_scan_kernels *table) {
    const fv_scan_kernels *scalar = fv_scan_kernels_of(FV_ISA_SCALAR);
    test_random random = test_random_make(95);
    for (size_t run = 1; run < 400; run++) {
        size_t n = run <= 140 ? run : test_random_in(&random, 1, MOST_DIM);
        float *x = fence_place(&code_fence, n * 4), wide[2][MOST_DIM];
        uint16_t *y = fence_place(&table_fence, n * 2), *z = fence_place(&out_fence, n * 2);
        test_fill_f32(&random, x, n, 3.0f);
        test_fill_f32(&random, wide[0], n, run % 9 ? 3.0f : 1e-6f);
        for (int bf16 = 0; bf16 <= 1; bf16++) {
            for (size_t i = 0; i < n; i++) {
                y[i] = bf16 ? fv_bf16_from_f32(wide[0][i]) : fv_f16_from_f32(wide[0][i]);
                z[i] = bf16 ? fv_bf16_from_f32(x[i]) : fv_f16_from_f32(x[i]);
                wide[0][i] = bf16 ? fv_f32_from_bf16(y[i]) : fv_f32_from_f16(y[i]);
                wide[1][i] = bf16 ? fv_f32_from_bf16(z[i]) : fv_f32_from_f16(z[i]);
            }
            float got[3] = {bf16 ? table->scan_distance_bf16(n, x, y) : table->scan_distance_f16(n, x, y),
                            bf16 ? table->scan_product_bf16(n, x, y) : table->scan_product_f16(n, x, y),
                            bf16 ? table->scan_distance_bf16_bf16(n, z, y) : table->scan_distance_f16_f16(n, z, y)};
            float want[3] = {scalar->scan_distance(n, x, wide[0]), scalar->scan_product(n, x, wide[0]),
                             scalar->scan_distance(n, wide[1], wide[0])};
            if (memcmp(got, want, sizeof got) != 0)
                fail_msg("%s %s n=%zu (seed %u)", fv_isa_name(table->isa), bf16 ? "bf16" : "f16", n, random.seed);
        }
    }
}

/* Codes of 2 to 8 bits, with levels as large as sums allow. */
static void check_levels(const fv_scan_kernels *table) {
    test_random random = test_random_make(96);
    for (size_t run = 0; run < 600; run++) {
        size_t bits = 2 + run % 7, n = 64 * test_random_in(&random, 1, run < 500 ? 16 : MOST_LEVELS / 64);
        size_t bytes = fv_level_code_bytes(n, bits);
        uint8_t *x = fence_place(&code_fence, bytes), *y = fence_place(&table_fence, bytes);
        static float u[2][MOST_LEVELS];
        int16_t *level = fence_place(&out_fence, n * 2);
        long long want[2] = {0, 0}, most = (1 << bits) - 1;
        test_fill_bytes(&random, x, bytes);
        test_fill_bytes(&random, y, bytes);
        test_fill_bytes(&random, (uint8_t *)level, n * 2);
        if (run % 5 == 0) memset(x, 255, bytes), memset(y, run % 2 ? 255 : 0, bytes);
        for (size_t i = 0; i < n; i++)
            level[i] = (int16_t)(run % 5 || n > 256 ? level[i] / (n > 256 ? 256 : 1) : INT16_MAX);
        fv_level_code_get(n, bits, x, 2, u[0]);
        fv_level_code_get(n, bits, y, 2, u[1]);
        for (size_t i = 0; i < n; i++) {
            want[0] += ((long long)u[0][i] + most) / 2 * level[i];
            want[1] += (long long)u[0][i] * (long long)u[1][i];
        }
        if (table->scan_levels(n, bits, x, level) != want[0] || table->scan_codes(n, bits, x, y) != want[1])
            fail_msg("%s %zu bits n=%zu (seed %u)", fv_isa_name(table->isa), bits, n, random.seed);
    }
}

static void every_twin_gives_the_same_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < tables.count; i++) {
        check_sums(twin(i));
        check_bounds(twin(i));
        check_pairs(twin(i));
        check_codes(twin(i));
        check_halves(twin(i));
        check_levels(twin(i));
    }
}

static void a_processor_gets_the_best_that_it_runs(void **state) {
    (void)state;
    assert_int_equal(fv_scan_kernels_of(FV_ISA_SCALAR)->isa, FV_ISA_SCALAR);
    for (size_t i = 0; i < tables.count; i++) {
        fv_isa isa = fv_kernels_isa(tables.table[i]);
        assert_true(fv_isa_includes(isa, twin(i)->isa));
        if (isa != FV_ISA_SCALAR) assert_int_not_equal(twin(i)->isa, FV_ISA_SCALAR);
    }
}

int main(void) {
    test_tables_make(&tables);
    code_fence = fence_open(MOST_GROUPS * 16);
    table_fence = fence_open(MOST_GROUPS * 16);
    out_fence = fence_open(2 * MOST_LEVELS);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_twin_gives_the_same_bits),
        cmocka_unit_test(a_processor_gets_the_best_that_it_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
