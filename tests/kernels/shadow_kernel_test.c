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

#include <cmocka.h>

enum { MOST_ROWS = 13 };

static test_tables tables;
static test_fence query_fence, key_fence, step_fence, out_fence, mass_fence;

static int8_t *random_query(test_random *random, size_t rows, size_t dim) {
    int8_t *query = fence_place(&query_fence, rows * dim);
    bool extreme = test_random_in(random, 0, 3) == 0;
    for (size_t i = 0; i < rows * dim; i++)
        query[i] = (int8_t)(extreme ? (test_random_in(random, 0, 1) ? 127 : -127) : (int)test_random_in(random, 0, 254) - 127);
    return query;
}

static void check_dot_panel_u8(const fv_kernels *table) {
    test_random random = test_random_make(70);
    for (int run = 0; run < 300; run++) {
        size_t dim = 4 * test_random_in(&random, 1, run % 10 ? 40 : 256), rows = test_random_in(&random, 1, MOST_ROWS);
        size_t panels = test_random_in(&random, 1, 3), stride = 16 * panels + test_random_in(&random, 0, 5);
        const int8_t *query = random_query(&random, rows, dim);
        uint8_t *key = fence_place(&key_fence, panels * dim * 16);
        if (run % 7)
            test_fill_bytes(&random, key, panels * dim * 16);
        else
            memset(key, 255, panels * dim * 16);
        int32_t want[MOST_ROWS * 64], *got = fence_place(&out_fence, rows * stride * 4);
        memset(want, FENCE_POISON, sizeof want);
        tables.table[0]->dot_panel_u8(rows, panels, dim, query, key, want, stride);
        table->dot_panel_u8(rows, panels, dim, query, key, got, stride);
        if (memcmp(got, want, rows * stride * 4) != 0)
            fail_msg("%s rows=%zu panels=%zu dim=%zu (seed %u)", test_table_name(table), rows, panels, dim, random.seed);
    }
}

static float factor_of(test_random *random) {
    static const float odd[] = {0.0f, 1e30f, INFINITY, NAN, 1e-30f};
    uint32_t dice = test_random_in(random, 0, 40);
    return dice < 5 ? odd[dice] : ldexpf(1.0f + test_random_f32(random) / 4, (int)test_random_in(random, 0, 8) - 4);
}

static void check_shadow_mass(const fv_kernels *table) {
    test_random random = test_random_make(71);
    for (int run = 0; run < 500; run++) {
        size_t dim = 16 * test_random_in(&random, 1, run % 10 ? 9 : 64), keys = test_random_in(&random, 1, 300);
        size_t rows = test_random_in(&random, 1, MOST_ROWS), pages = (keys + 15) / 16, blocks = (keys + 63) / 64;
        const int8_t *query = random_query(&random, rows, dim);
        uint8_t *codes = fence_place(&key_fence, pages * dim * 4);
        uint16_t *steps = fence_place(&step_fence, pages * 16 * 2);
        float half[MOST_ROWS], factor[MOST_ROWS], base[MOST_ROWS * 5];
        test_fill_bytes(&random, codes, pages * dim * 4);
        for (size_t i = 0; i < pages * 16; i++) steps[i] = (uint16_t)(0x3F00 + test_random_in(&random, 0, 255));
        if (run % 9 == 0) steps[test_random_in(&random, 0, (uint32_t)keys - 1)] = 0x7FC0; /* NaN: of a key that is not finite */
        for (size_t r = 0; r < rows; r++) {
            half[r] = 1.5f * (float)((int)test_random_in(&random, 0, 2000) - 1000);
            factor[r] = factor_of(&random);
        }
        test_fill_f32(&random, base, rows * 5, 50.0f);
        fv_shadow_rows with = {rows, dim, query, half, factor, base, 5};
        int32_t want_best[MOST_ROWS * 5];
        uint32_t want_mass[MOST_ROWS * 20];
        int32_t *best = fence_place(&out_fence, rows * blocks * 4);
        uint32_t *mass = fence_place(&mass_fence, rows * pages * 4);
        tables.table[0]->shadow_mass(&with, keys, codes, steps, want_best, blocks, want_mass, pages);
        table->shadow_mass(&with, keys, codes, steps, best, blocks, mass, pages);
        if (memcmp(best, want_best, rows * blocks * 4) != 0 || memcmp(mass, want_mass, rows * pages * 4) != 0)
            fail_msg("%s rows=%zu keys=%zu dim=%zu run=%d (seed %u)", test_table_name(table), rows, keys, dim, run,
                     random.seed);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0) && fence_is_whole(&mass_fence, 1, 0, 0));
    }
}

static void check_page_share(const fv_kernels *table) {
    test_random random = test_random_make(72);
    for (int run = 0; run < 500; run++) {
        size_t pages = test_random_in(&random, 1, run % 20 ? 70 : 4000), blocks = (pages + 3) / 4;
        int32_t *best = fence_place(&key_fence, blocks * 4), spread = run % 3 ? 4000 : 1 << 28;
        uint32_t *mass = fence_place(&query_fence, pages * 4), want[4000], *got = fence_place(&out_fence, pages * 4);
        for (size_t b = 0; b < blocks; b++) best[b] = (int32_t)test_random_in(&random, 0, (uint32_t)spread) - spread / 2;
        for (size_t p = 0; p < pages; p++) mass[p] = test_random_in(&random, p % 4 ? 0 : 65536, 1 << 20);
        for (size_t p = 0; p < pages; p++) want[p] = got[p] = run % 2 ? test_random_u32(&random) >> 3 : 1;
        tables.table[0]->page_share(pages, best, mass, want);
        table->page_share(pages, best, mass, got);
        if (memcmp(got, want, pages * 4) != 0)
            fail_msg("%s pages=%zu run=%d (seed %u)", test_table_name(table), pages, run, random.seed);
        double sum = 0;
        for (size_t p = 0; p < pages; p++) sum += want[p];
        if (run % 2 == 0) assert_true(fabs(sum * 0x1p-30 - 1.0) < 1e-4); /* shares */
        assert_true(fence_is_whole(&out_fence, 1, 0, 0));
    }
}

#define SLOT_TEST(slot) \
    static void test_##slot(void **state) { \
        (void)state; \
        for (size_t i = 0; i < tables.count; i++) check_##slot(tables.table[i]); \
    }
SHADOW_SLOTS(SLOT_TEST)

/* One page by hand: scores in halves of powers of two. */
static void test_mass_by_hand(void **state) {
    (void)state;
    int8_t query[16] = {1};
    uint8_t codes[64] = {0};
    uint16_t steps[16];
    for (size_t t = 0; t < 16; t++) {
        steps[t] = 0x3F80;              /* 1 */
        codes[t * 4] = (uint8_t)(t & 3); /* channel 0 is plane 0, byte 0 */
    }
    float half = 1.5f, factor = 128.0f, base = 0.0f;
    fv_shadow_rows with = {1, 16, query, &half, &factor, &base, 1};
    for (size_t i = 0; i < tables.count; i++) {
        int32_t best = 0;
        uint32_t mass = 0;
        tables.table[i]->shadow_mass(&with, 16, codes, steps, &best, 1, &mass, 1);
        assert_int_equal(best, 192); /* code 3: 1.5 * 128 */
        assert_int_equal(mass, 4 * (65536 + 49152 + 32768 + 24576)); /* 1, 3/4 (2^-1/2 straight), 1/2, 3/8 */
    }
}

int main(void) {
    test_tables_make(&tables);
    test_fence *fences[] = {&query_fence, &key_fence, &step_fence, &out_fence, &mass_fence};
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) *fences[i] = fence_open(100000);
#define SLOT_ENTRY(slot) cmocka_unit_test(test_##slot),
    const struct CMUnitTest tests[] = {SHADOW_SLOTS(SLOT_ENTRY) cmocka_unit_test(test_mass_by_hand)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) fence_close(fences[i]);
    return failed;
}
