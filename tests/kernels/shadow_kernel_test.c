/* shadow_kernel_test.c - scores of coarse keys: every instruction set gives the scalar twin's integers. */
#include "kernel_slots.h"
#include "kernels/kernels.h"
#include "support/fence.h"
#include "support/random.h"
#include "support/tables.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_ROWS = 13 };

static test_tables tables;
static test_fence query_fence, key_fence, step_fence, out_fence, weight_fence;

/* Ordinary numbers, and now and then what no model should make. */
static void random_floats(test_random *random, float *x, size_t n) {
    static const float odd[] = {0.0f, -0.0f, 1e30f, 1e-38f, INFINITY, -INFINITY, NAN};
    test_fill_f32(random, x, n, 3.0f);
    if (test_random_in(random, 0, 5) == 0)
        x[test_random_in(random, 0, (uint32_t)n - 1)] = odd[test_random_in(random, 0, 6)];
}

/* Equal bits, but that one NaN is as good as another. */
static bool same_floats(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, 4) != 0 && !(isnan(a[i]) && isnan(b[i]))) return false;
    return true;
}

static void check_rotate_page(const fv_kernels *table) {
    test_random random = test_random_make(73);
    for (int run = 0; run < 300; run++) {
        size_t dim = test_random_in(&random, 1, run % 10 ? 140 : 1024), first = 0, end = 16;
        if (run % 3 == 0)
            first = test_random_in(&random, 0, 15), end = test_random_in(&random, (uint32_t)first + 1, 16);
        float *got = fence_place(&out_fence, dim * 64), *want = malloc(dim * 64);
        random_floats(&random, want, dim * 16);
        memcpy(got, want, dim * 64);
        tables.table[0]->rotate_page(dim, first, end, want);
        table->rotate_page(dim, first, end, got);
        if (!same_floats(got, want, dim * 16))
            fail_msg("%s dim=%zu lanes %zu..%zu (seed %u)", test_table_name(table), dim, first, end, random.seed);
        free(want);
    }
}

enum { BIAS = 4 * FV_COARSE_MOST }; /* of an entry */

static void check_shadow_query(const fv_kernels *table) {
    test_random random = test_random_make(74);
    for (int run = 0; run < 600; run++) {
        size_t dim = test_random_in(&random, 1, run % 10 ? 140 : 1024), padded = (dim + 15) / 16 * 16;
        if (run % 3) dim = padded;
        float *got = fence_place(&query_fence, dim * 4), want[1024], lanes[1024 * 16];
        int8_t *code = fence_place(&out_fence, padded), want_code[1024];
        uint8_t *entry = fence_place(&key_fence, padded * 4), want_entry[4096];
        int32_t sum, want_sum;
        random_floats(&random, want, dim);
        memcpy(got, want, dim * 4);
        for (size_t c = 0; c < dim; c++) lanes[c * 16 + 5] = want[c];
        float want_most = tables.table[0]->shadow_query(dim, padded, want, want_code, want_entry, &want_sum);
        float most = table->shadow_query(dim, padded, got, code, entry, &sum);
        table->rotate_page(dim, 5, 6, lanes);
        if (!same_floats(got, want, dim) || memcmp(code, want_code, padded) != 0 || memcmp(&most, &want_most, 4) != 0 ||
            memcmp(entry, want_entry, padded * 4) != 0 || sum != want_sum)
            fail_msg("%s dim=%zu (seed %u)", test_table_name(table), dim, random.seed);
        for (size_t c = 0; c < dim; c++) assert_true(same_floats(lanes + c * 16 + 5, want + c, 1)); /* one rotation */
        for (size_t c = dim; c < padded; c++) assert_int_equal(code[c], 0);
        for (size_t group = 0; group < padded / 4; group++) { /* entries of one bit, and of all */
            const uint8_t *of = entry + group * 16;
            assert_int_equal(of[0], BIAS);
            assert_int_equal(of[15] - BIAS, of[1] + of[2] + of[4] + of[8] - 4 * BIAS);
            sum -= of[15] - BIAS;
        }
        assert_int_equal(sum, 0);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0) && fence_is_whole(&query_fence, 1, 0, 0) &&
                    fence_is_whole(&key_fence, 1, 0, 0));
    }
}

/* Queries of random tables, as if fv_shadow_query_fn had made them. */
typedef struct coarse_rows {
    uint8_t table[MOST_ROWS * 4096];
    int32_t sum[MOST_ROWS], base[MOST_ROWS * 10];
    float factor[MOST_ROWS];
} coarse_rows;

static float factor_of(test_random *random) {
    static const float odd[] = {0.0f, 0x1p100f, 1e-30f};
    uint32_t dice = test_random_in(random, 0, 30);
    return dice < 3 ? odd[dice] : ldexpf(1.0f + test_random_f32(random) / 4, (int)test_random_in(random, 0, 8) - 4);
}

static fv_shadow_rows random_rows(test_random *random, coarse_rows *rows, size_t count, size_t dim) {
    bool extreme = test_random_in(random, 0, 3) == 0;
    for (size_t r = 0; r < count; r++) {
        rows->sum[r] = 0;
        for (size_t c = 0; c < dim; c += 4) {
            int32_t x[4];
            for (size_t i = 0; i < 4; i++) {
                x[i] = extreme ? (test_random_in(random, 0, 1) ? FV_COARSE_MOST : -FV_COARSE_MOST)
                               : (int32_t)test_random_in(random, 0, 2 * FV_COARSE_MOST) - FV_COARSE_MOST;
                rows->sum[r] += x[i];
            }
            for (size_t e = 0; e < 16; e++) {
                int32_t sum = BIAS;
                for (size_t i = 0; i < 4; i++) sum += e >> i & 1 ? x[i] : 0;
                rows->table[r * 4 * dim + c * 4 + e] = (uint8_t)sum;
            }
        }
        rows->factor[r] = factor_of(random);
        for (size_t i = 0; i < 10; i++) rows->base[r * 10 + i] = (int32_t)test_random_in(random, 0, 40000) - 20000;
    }
    return (fv_shadow_rows){.rows = count,
                            .dim = dim,
                            .table = rows->table,
                            .coarse_sum = rows->sum,
                            .coarse_factor = rows->factor,
                            .base = rows->base,
                            .base_stride = 10};
}

static int8_t *random_query(test_random *random, size_t rows, size_t dim, int32_t *sum) {
    int8_t *query = fence_place(&query_fence, rows * dim);
    bool extreme = test_random_in(random, 0, 3) == 0;
    for (size_t r = 0; r < rows; r++) sum[r] = 0;
    for (size_t i = 0; i < rows * dim; i++) {
        query[i] =
            (int8_t)(extreme ? (test_random_in(random, 0, 1) ? 127 : -127) : (int)test_random_in(random, 0, 254) - 127);
        sum[i / dim] += query[i];
    }
    return query;
}

static void check_mean_score(const fv_kernels *table) {
    test_random random = test_random_make(70);
    for (int run = 0; run < 300; run++) {
        size_t dim = 16 * test_random_in(&random, 1, run % 10 ? 9 : 64), rows = test_random_in(&random, 1, MOST_ROWS);
        size_t panels = test_random_in(&random, 1, 3), stride = 16 * panels + test_random_in(&random, 0, 5);
        int32_t sum[MOST_ROWS], want[MOST_ROWS * 64];
        float factor[MOST_ROWS];
        const int8_t *query = random_query(&random, rows, dim, sum);
        uint8_t *mean = fence_place(&key_fence, panels * dim * 16);
        float *step = fence_place(&step_fence, panels * 64);
        for (size_t i = 0; i < panels * dim * 16; i++)
            mean[i] = (uint8_t)(run % 7 ? test_random_in(&random, 0, 127) : 127);
        random_floats(&random, step, panels * 16);
        for (size_t r = 0; r < rows; r++) factor[r] = factor_of(&random);
        int32_t *got = fence_place(&out_fence, rows * stride * 4);
        memset(want, FENCE_POISON, sizeof want);
        fv_shadow_rows with = {.rows = rows, .dim = dim, .query = query, .sum = sum, .factor = factor};
        tables.table[0]->mean_score(&with, panels, mean, step, want, stride);
        table->mean_score(&with, panels, mean, step, got, stride);
        if (memcmp(got, want, rows * stride * 4) != 0)
            fail_msg("%s rows=%zu panels=%zu dim=%zu (seed %u)", test_table_name(table), rows, panels, dim,
                     random.seed);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0));
    }
}

enum { PAGES = 40 };

static uint16_t *random_steps(test_random *random) {
    uint16_t *steps = fence_place(&step_fence, PAGES * 16 * 2);
    for (size_t i = 0; i < PAGES * 16; i++) steps[i] = (uint16_t)(0x3F00 + test_random_in(random, 0, 255));
    if (test_random_in(random, 0, 8) == 0)
        steps[test_random_in(random, 0, PAGES * 16 - 1)] = test_random_in(random, 0, 1) ? 0 : 0x7180; /* 2^100 */
    return steps;
}

static void check_sign_score(const fv_kernels *table) {
    static coarse_rows made;
    test_random random = test_random_make(76);
    for (int run = 0; run < 500; run++) {
        size_t dim = 16 * test_random_in(&random, 1, run % 10 ? 9 : 64), rows = test_random_in(&random, 1, MOST_ROWS);
        size_t pages = test_random_in(&random, 1, PAGES), stride = pages + test_random_in(&random, 0, 3);
        fv_shadow_rows with = random_rows(&random, &made, rows, dim);
        uint8_t *signs = fence_place(&key_fence, pages * dim * 2);
        const uint16_t *steps = random_steps(&random);
        int32_t want[MOST_ROWS * (PAGES + 3)], *got = fence_place(&out_fence, rows * stride * 4);
        test_fill_bytes(&random, signs, pages * dim * 2);
        memset(want, FENCE_POISON, sizeof want);
        tables.table[0]->sign_score(&with, pages, signs, steps, want, stride);
        table->sign_score(&with, pages, signs, steps, got, stride);
        if (memcmp(got, want, rows * stride * 4) != 0)
            fail_msg("%s rows=%zu pages=%zu dim=%zu run=%d (seed %u)", test_table_name(table), rows, pages, dim, run,
                     random.seed);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0));
    }
}

static void check_shadow_score(const fv_kernels *table) {
    static coarse_rows made;
    test_random random = test_random_make(71);
    for (int run = 0; run < 500; run++) {
        size_t dim = 16 * test_random_in(&random, 1, run % 10 ? 9 : 64), rows = test_random_in(&random, 1, MOST_ROWS),
               count = 0;
        uint32_t pages[PAGES];
        for (uint32_t page = 0; page < PAGES; page++)
            if (run % 4 == 0 || test_random_in(&random, 0, 2) == 0) pages[count++] = page;
        if (run % 5 == 1 || count == 0) pages[0] = (uint32_t)run % PAGES, count = 1;
        fv_shadow_rows with = random_rows(&random, &made, rows, dim);
        uint8_t *signs = fence_place(&key_fence, PAGES * dim * 2), *sizes = fence_place(&weight_fence, PAGES * dim * 2);
        const uint16_t *steps = random_steps(&random);
        int32_t want[MOST_ROWS * PAGES], *got = fence_place(&out_fence, rows * count * 4);
        test_fill_bytes(&random, signs, PAGES * dim * 2);
        test_fill_bytes(&random, sizes, PAGES * dim * 2);
        tables.table[0]->shadow_score(&with, count, pages, signs, sizes, steps, want, count);
        table->shadow_score(&with, count, pages, signs, sizes, steps, got, count);
        if (memcmp(got, want, rows * count * 4) != 0)
            fail_msg("%s rows=%zu pages=%zu dim=%zu run=%d (seed %u)", test_table_name(table), rows, count, dim, run,
                     random.seed);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0));
    }
}

static void check_key_score(const fv_kernels *table) {
    static coarse_rows made;
    test_random random = test_random_make(75);
    for (int run = 0; run < 300; run++) {
        static const float odd[] = {0.0f, 1e30f, 0x1p100f};
        size_t dim = 16 * test_random_in(&random, 1, run % 10 ? 9 : 64), rows = test_random_in(&random, 1, MOST_ROWS),
               count = 0;
        uint32_t pages[PAGES];
        float noise[MOST_ROWS];
        for (uint32_t page = 0; page < PAGES; page++)
            if (run % 4 == 0 || test_random_in(&random, 0, 2) == 0) pages[count++] = page;
        if (run % 5 == 1 || count == 0) pages[0] = (uint32_t)run % PAGES, count = 1;
        fv_shadow_rows with = random_rows(&random, &made, rows, dim);
        for (size_t r = 0; r < rows; r++)
            noise[r] = run % 7 == 0 ? odd[test_random_in(&random, 0, 2)] : 100.0f * fabsf(test_random_f32(&random));
        uint8_t *signs = fence_place(&key_fence, PAGES * dim * 2), *sizes = fence_place(&weight_fence, PAGES * dim * 2);
        const uint16_t *steps = random_steps(&random);
        int32_t want[MOST_ROWS * PAGES * 16], *got = fence_place(&out_fence, rows * count * 64),
                                              mass[MOST_ROWS * PAGES];
        test_fill_bytes(&random, signs, PAGES * dim * 2);
        test_fill_bytes(&random, sizes, PAGES * dim * 2);
        tables.table[0]->key_score(&with, count, pages, signs, sizes, steps, noise, want, count * 16);
        table->key_score(&with, count, pages, signs, sizes, steps, noise, got, count * 16);
        if (memcmp(got, want, rows * count * 64) != 0)
            fail_msg("%s rows=%zu pages=%zu dim=%zu run=%d (seed %u)", test_table_name(table), rows, count, dim, run,
                     random.seed);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0));
        table->shadow_score(&with, count, pages, signs, sizes, steps, mass,
                            count); /* a page's is above those of its keys */
        for (size_t i = 0; i < rows * count * 16; i++) assert_true(got[i] <= mass[i / 16] + (int32_t)FV_KEY_NOISE);
    }
}

static void check_tail_sum(const fv_kernels *table) {
    test_random random = test_random_make(76);
    for (int run = 0; run < 500; run++) {
        size_t dim = 16 * test_random_in(&random, 1, run % 10 ? 9 : 64), rows = test_random_in(&random, 1, MOST_ROWS);
        size_t count = 0, stride = 16 * FV_TAIL_PAGES + test_random_in(&random, 0, 3);
        uint32_t pages[FV_TAIL_PAGES];
        int32_t level[MOST_ROWS], *score = fence_place(&weight_fence, rows * stride * 4);
        uint64_t mass[MOST_ROWS], want_mass[MOST_ROWS];
        float want[MOST_ROWS * 1024], *got = fence_place(&out_fence, rows * dim * 4);
        uint8_t *values = fence_place(&key_fence, PAGES * (dim * 4 + 32) + 2);
        if ((uintptr_t)values % 2) values++; /* steps are aligned */
        const uint16_t *steps = random_steps(&random);
        for (uint32_t page = 0; page < PAGES && count < FV_TAIL_PAGES; page++)
            if (run % 4 == 0 || test_random_in(&random, 0, 2) == 0) pages[count++] = page;
        test_fill_bytes(&random, values, PAGES * (dim * 4 + 32));
        for (size_t page = 0; page < PAGES; page++)
            memcpy(values + page * (dim * 4 + 32) + dim * 4, steps + page * 16, 32);
        for (size_t r = 0; r < rows; r++) {
            level[r] = (int32_t)test_random_in(&random, 0, 80000) - 40000;
            want_mass[r] = mass[r] = test_random_in(&random, 0, 1000);
            for (size_t i = 0; i < stride; i++)
                score[r * stride + i] = level[r] - (int32_t)test_random_in(&random, 0, run % 3 ? 3000 : 1 << 28);
        }
        test_fill_f32(&random, want, rows * dim, 3.0f);
        memcpy(got, want, rows * dim * 4);
        tables.table[0]->tail_sum(rows, dim, count, pages, score, stride, level, values, want_mass, want);
        table->tail_sum(rows, dim, count, pages, score, stride, level, values, mass, got);
        if (memcmp(got, want, rows * dim * 4) != 0 || memcmp(mass, want_mass, rows * sizeof *mass) != 0)
            fail_msg("%s rows=%zu pages=%zu dim=%zu run=%d (seed %u)", test_table_name(table), rows, count, dim, run,
                     random.seed);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0) && fence_is_whole(&weight_fence, 1, 0, 0));
    }
}

static void check_page_weight(const fv_kernels *table) {
    test_random random = test_random_make(72);
    for (int run = 0; run < 500; run++) {
        size_t pages = test_random_in(&random, 1, run % 20 ? 70 : 4000);
        int32_t *score = fence_place(&key_fence, pages * 4), spread = run % 3 ? 4000 : 1 << 29;
        uint32_t want[4000], *got = fence_place(&weight_fence, pages * 4);
        for (size_t p = 0; p < pages; p++)
            score[p] = (int32_t)test_random_in(&random, 0, (uint32_t)spread) - spread / 2;
        for (size_t p = 0; p < pages; p++)
            want[p] = got[p] = run % 2 ? FV_WEIGHT_WHOLE - test_random_in(&random, 0, 8000) : 0;
        tables.table[0]->page_weight(pages, score, want);
        table->page_weight(pages, score, got);
        if (memcmp(got, want, pages * 4) != 0)
            fail_msg("%s pages=%zu run=%d (seed %u)", test_table_name(table), pages, run, random.seed);
        double sum = 0;
        for (size_t p = 0; p < pages; p++) sum += exp2(((double)want[p] - FV_WEIGHT_WHOLE) / 256);
        if (run % 2 == 0) assert_true(sum > 0.9 && sum < 1.1); /* shares, as straight logarithms have them */
        assert_true(fence_is_whole(&weight_fence, 1, 0, 0));
    }
}

static void check_count_least(const fv_kernels *table) {
    test_random random = test_random_make(75);
    for (int run = 0; run < 500; run++) {
        size_t n = test_random_in(&random, 0, run % 20 ? 70 : 4000);
        uint32_t *x = fence_place(&key_fence, n * 4), least = run % 5 ? test_random_u32(&random) : UINT32_MAX;
        for (size_t i = 0; i < n; i++) x[i] = test_random_in(&random, 0, 3) ? test_random_u32(&random) : least;
        assert_int_equal(table->count_least(n, x, least), tables.table[0]->count_least(n, x, least));
    }
}

static void check_list_least(const fv_kernels *table) {
    test_random random = test_random_make(77);
    for (int run = 0; run < 500; run++) {
        size_t n = test_random_in(&random, 0, run % 20 ? 70 : 4000), want = 0;
        uint32_t *x = fence_place(&key_fence, n * 4), *place = fence_place(&out_fence, n * 4);
        uint32_t least = run % 5 ? test_random_u32(&random) : UINT32_MAX;
        for (size_t i = 0; i < n; i++) x[i] = test_random_in(&random, 0, 3) ? test_random_u32(&random) : least;
        size_t got = table->list_least(n, x, least, place);
        for (size_t i = 0; i < n; i++)
            if (x[i] >= least) assert_true(want < got && place[want++] == i);
        assert_int_equal(want, got);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0));
    }
}

/* Straight logarithms and powers are each other's inverse, and near the true ones. */
static void test_powers(void **state) {
    (void)state;
    for (int32_t e = -16 * 256; e <= 0; e++) {
        double want = 65536 * exp2(e / 256.0);
        assert_true(fv_power_of(e) <= 1.062 * want && fv_power_of(e) >= want - 1);
        if (e >= -8 * 256) assert_int_equal(fv_log2_of(fv_power_of(e)), e + 16 * 256);
    }
    assert_int_equal(fv_power_of(-17 * 256), 0);
    assert_int_equal(fv_log2_of(1), 0);
    assert_int_equal(fv_log2_of(3), 384);
    assert_int_equal(fv_log2_of(UINT64_MAX), 64 * 256 - 1);
}

#define SLOT_TEST(slot) \
    static void test_##slot(void **state) { \
        (void)state; \
        for (size_t i = 0; i < tables.count; i++) check_##slot(tables.table[i]); \
    }
SHADOW_SLOTS(SLOT_TEST)

/* One page by hand: scores in halves of powers of two. */
static void test_score_by_hand(void **state) {
    (void)state;
    uint8_t signs[32] = {0}, sizes[32] = {0}, entry[64];
    uint16_t steps[16];
    for (size_t e = 0; e < 64; e++) entry[e] = (uint8_t)(BIAS + (e < 16 && e & 1)); /* channel 0 is 1, all others 0 */
    for (size_t t = 0; t < 16; t++) {
        steps[t] = 0x3F80; /* 1 */
        signs[t] = t >> 1 & 1;
        sizes[t] = t & 1;
    }
    float factor = 128.0f;
    int32_t base = 1000, sum = 1;
    uint32_t page = 0;
    fv_shadow_rows with = {.rows = 1,
                           .dim = 16,
                           .table = entry,
                           .coarse_sum = &sum,
                           .coarse_factor = &factor,
                           .base = &base,
                           .base_stride = 1};
    for (size_t i = 0; i < tables.count; i++) {
        int32_t out = 0;
        tables.table[i]->shadow_score(&with, 1, &page, signs, sizes, steps, &out, 1);
        /* codes 3..0: 3/4, 1/4, -1/4, -3/4 powers of two, straight 7/4, 5/4, 7/8, 5/8; four keys of each: 18, whose
         * straight logarithm is 4 + 1/8 */
        assert_int_equal(out, 4 * 256 + 32 + 1000);
        tables.table[i]->sign_score(&with, 1, signs, steps, &out, 1);
        assert_int_equal(out, 105 + 1000); /* 0.82 * 128 */
    }
}

int main(void) {
    test_tables_make(&tables);
    test_fence *fences[] = {&query_fence, &key_fence, &step_fence, &out_fence, &weight_fence};
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) *fences[i] = fence_open(400000);
#define SLOT_ENTRY(slot) cmocka_unit_test(test_##slot),
    const struct CMUnitTest tests[] = {SHADOW_SLOTS(SLOT_ENTRY) cmocka_unit_test(test_score_by_hand),
                                       cmocka_unit_test(test_powers)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) fence_close(fences[i]);
    return failed;
}
