/* Codes over plain arrays, against their definitions: no cache is here. */
#include "codes/code_query.h"
#include "codes/codes.h"
#include "codes/means.h"
#include "numeric/half.h"
#include "support/random.h"
#include "support/tables.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { LANES = FV_CODES_LANES, DIM_MOST = 130, PADDED_MOST = 144, RUNS = 60 };

static test_tables tables;

static uint32_t any_dim(test_random *random, int run) {
    static const uint32_t dims[] = {1, 15, 16, 17, 64, 128};
    return run < 6 ? dims[run] : test_random_in(random, 1, DIM_MOST);
}

/* A level is 0.5 or 1.5 steps; the outer one for what is at least the root mean square; the step is the one of least
 * squares for these levels. */
static void test_a_code_is_the_nearest_of_its_levels(void **state) {
    (void)state;
    test_random random = test_random_make(201);
    for (int run = 0; run < RUNS; run++) {
        uint32_t dim = any_dim(&random, run);
        float x[DIM_MOST * LANES];
        uint8_t code[DIM_MOST * LANES];
        uint16_t step[LANES];
        test_fill_f32(&random, x, dim * LANES, run % 3 ? 3.0f : 1e-3f);
        fv_codes_make(dim, x, code, step);
        for (size_t t = 0; t < LANES; t++) {
            double square = 0, product = 0, norm = 0;
            for (size_t c = 0; c < dim; c++) square += (double)x[c * LANES + t] * (double)x[c * LANES + t];
            for (size_t c = 0; c < dim; c++) {
                double value = (double)x[c * LANES + t], level = (double)code[c * LANES + t] - 1.5;
                assert_true(code[c * LANES + t] <= 3 && (value >= 0) == (level > 0));
                double edge = sqrt(square / dim), off = fabs(value) - edge;
                if (fabs(off) > 1e-5 * edge) assert_true((off > 0) == (fabs(level) > 1));
                product += value * level;
                norm += level * level;
            }
            assert_true(fabs((double)fv_f32_from_bf16(step[t]) - product / norm) <= product / norm / 255);
        }
    }
}

/* What is in some of the vectors changes no code of the others. */
static void test_lanes_do_not_feel_each_other(void **state) {
    (void)state;
    test_random random = test_random_make(202);
    for (int run = 0; run < RUNS; run++) {
        uint32_t dim = any_dim(&random, run), first = test_random_in(&random, 0, 15),
                 end = test_random_in(&random, first + 1, 16);
        size_t plane = fv_codes_dim(dim) * 2;
        float x[DIM_MOST * LANES];
        uint8_t all[DIM_MOST * LANES], some[DIM_MOST * LANES], planes[2][2 * PADDED_MOST], part[2][2 * PADDED_MOST];
        uint16_t all_steps[LANES], steps[LANES];
        test_fill_f32(&random, x, dim * LANES, 1.0f);
        fv_codes_make(dim, x, all, all_steps);
        fv_codes_pack(dim, all, planes[0], planes[1]);
        for (size_t c = 0; c < dim; c++)
            for (size_t t = 0; t < LANES; t++)
                if (t < first || t >= end) x[c * LANES + t] = NAN;
        fv_codes_make(dim, x, some, steps);
        fv_codes_pack(dim, some, part[0], part[1]);
        for (size_t t = first; t < end; t++) {
            assert_int_equal(steps[t], all_steps[t]);
            for (size_t c = 0; c < dim; c++) assert_int_equal(some[c * LANES + t], all[c * LANES + t]);
            for (size_t i = t; i < plane; i += LANES)
                for (size_t p = 0; p < 2; p++) assert_int_equal(part[p][i], planes[p][i]);
        }
    }
}

/* What is packed either way comes back; padding has bits 0. */
static void test_packed_codes_come_back(void **state) {
    (void)state;
    test_random random = test_random_make(203);
    for (int run = 0; run < RUNS; run++) {
        uint32_t dim = any_dim(&random, run), padded = (uint32_t)fv_codes_dim(dim);
        uint8_t code[DIM_MOST * LANES], signs[2 * PADDED_MOST], sizes[2 * PADDED_MOST], sums[4 * PADDED_MOST];
        uint16_t step = fv_bf16_from_f32(0.375f);
        float back[DIM_MOST];
        uint32_t bits = 0, ones = 0;
        for (size_t i = 0; i < dim * LANES; i++) code[i] = (uint8_t)test_random_in(&random, 0, 3);
        for (size_t i = 0; i < dim * LANES; i++) ones += code[i] / 2u + code[i] % 2u;
        memset(signs, 0xFF, sizeof signs);
        memset(sizes, 0xFF, sizeof sizes);
        memset(sums, 0xFF, sizeof sums);
        fv_codes_pack(dim, code, signs, sizes);
        fv_codes_pack_for_sums(dim, code, sums);
        for (uint32_t t = 0; t < LANES; t++) {
            fv_codes_read(dim, signs, sizes, step, t, back);
            for (size_t c = 0; c < dim; c++) assert_true(back[c] == 0.375f * ((float)code[c * LANES + t] - 1.5f));
            fv_codes_read_for_sums(dim, sums, step, t, back);
            for (size_t c = 0; c < dim; c++) assert_true(back[c] == 0.375f * ((float)code[c * LANES + t] - 1.5f));
        }
        for (size_t i = 0; i < padded * 2; i++)
            for (int bit = 0; bit < 8; bit++)
                bits += ((uint32_t)signs[i] >> bit & 1u) + ((uint32_t)sizes[i] >> bit & 1u);
        assert_int_equal(bits, ones);
        assert_true(padded * 4 == sizeof sums || sums[padded * 4] == 0xFF);
    }
}

static void test_a_mean_is_within_half_a_step(void **state) {
    (void)state;
    test_random random = test_random_make(204);
    for (int run = 0; run < RUNS; run++) {
        enum { VECTORS = 35 };
        uint32_t dim = any_dim(&random, run);
        static uint8_t codes[48 * PADDED_MOST];
        static float x[VECTORS][DIM_MOST], steps[VECTORS];
        float back[DIM_MOST];
        memset(codes, 1, sizeof codes);
        for (uint32_t n = 0; n < VECTORS; n++) {
            test_fill_f32(&random, x[n], dim, n % 4 ? 5.0f : n % 8 ? 0.0f : 1e-30f);
            if (n == 22) x[n][dim - 1] = NAN;
            if (n == 21) x[n][0] = -INFINITY;
            steps[n] = fv_mean_put(dim, x[n], n, codes);
        }
        for (uint32_t n = 0; n < VECTORS; n++) {
            fv_mean_read(dim, codes, steps, n, back);
            for (size_t c = 0; c < dim; c++) {
                if (n == 21 || n == 22)
                    assert_true(back[c] == 0.0f && steps[n] == 0.0f &&
                                codes[fv_mean_place(fv_codes_dim(dim), n, c)] ==
                                    64); /* what is not finite is nothing */
                else
                    assert_true(fabsf(back[c] - x[n][c]) <= 0.5001f * steps[n]);
            }
            for (size_t c = dim; c < fv_codes_dim(dim); c++)
                assert_int_equal(codes[fv_mean_place(fv_codes_dim(dim), n, c)], 64);
        }
    }
}

/* Vectors and a query as they are, coded and scored: the score is the product but for the error of two bits, and nearly
 * that of the decoded vectors. This is all that an index over plain arrays needs. */
static void test_scores_of_plain_arrays(void **state) {
    (void)state;
    enum { DIM = 128, PAGES = 12, COUNT = PAGES * LANES };
    static float vectors[COUNT][DIM], lanes[DIM * LANES], query[DIM], rotated[DIM];
    static uint8_t code[DIM * LANES], signs[PAGES][2 * DIM], sizes[PAGES][2 * DIM];
    static uint16_t steps[COUNT];
    for (size_t k = 0; k < tables.count; k++) {
        const fv_kernels *kernels = tables.table[k];
        test_random random = test_random_make(205);
        test_fill_f32(&random, vectors[0], sizeof vectors / sizeof(float), 1.0f);
        test_fill_f32(&random, query, DIM, 1.0f);
        for (size_t c = 0; c < DIM; c++) vectors[77][c] = query[c] * 0.9f; /* the nearest by far */
        for (uint32_t page = 0; page < PAGES; page++) {
            for (size_t c = 0; c < DIM; c++)
                for (uint32_t t = 0; t < LANES; t++) lanes[c * LANES + t] = vectors[page * LANES + t][c];
            kernels->rotate_page(DIM, 0, LANES, lanes);
            fv_codes_make(DIM, lanes, code, steps + page * LANES);
            fv_codes_pack(DIM, code, signs[page], sizes[page]);
        }
        int8_t rounded[DIM];
        uint8_t table[4 * DIM];
        int32_t sum, coarse_sum, score[16], base[16] = {0};
        float factor, coarse_factor;
        const fv_code_queries queries = {rounded, table, &sum, &coarse_sum, &factor, &coarse_factor};
        fv_code_query_make(kernels, DIM, 1.0f, query, rotated, &queries, 0);
        fv_shadow_rows rows = fv_code_query_rows(DIM, &queries, 0, 1);
        rows.base = base;
        rows.base_stride = 16;
        uint32_t pages[PAGES];
        for (uint32_t page = 0; page < PAGES; page++) pages[page] = page;
        kernels->shadow_score(&rows, PAGES, pages, signs[0], sizes[0], steps, score, 16);
        uint32_t best = 0;
        for (uint32_t page = 1; page < PAGES; page++)
            if (score[page] > score[best]) best = page;
        assert_int_equal(best, 77 / LANES);
        double most = 0;
        for (size_t c = 0; c < DIM; c++) most += (double)vectors[77][c] * (double)query[c] * 256 / log(2);
        assert_true(fabs((double)score[best] - most) < 0.2 * most);
    }
}

/* A rotation and the way back are one another's inverse. */
static void test_rotated_back(void **state) {
    (void)state;
    test_random random = test_random_make(206);
    for (size_t k = 0; k < tables.count; k++)
        for (int run = 0; run < RUNS; run++) {
            uint32_t dim = any_dim(&random, run), rows = test_random_in(&random, 1, 16), stride = dim + 3;
            static float x[16][DIM_MOST], from[16 * (DIM_MOST + 3)], lanes[DIM_MOST * LANES], out[16 * DIM_MOST];
            test_fill_f32(&random, x[0], sizeof x / sizeof(float), 1.0f);
            for (size_t c = 0; c < dim; c++)
                for (uint32_t r = 0; r < 16; r++) lanes[c * LANES + r] = x[r][c];
            tables.table[k]->rotate_page(dim, 0, LANES, lanes);
            for (size_t c = 0; c < dim; c++)
                for (uint32_t r = 0; r < rows; r++) from[r * stride + c] = lanes[c * LANES + r];
            fv_code_rotate_back(tables.table[k], dim, 0.5f, rows, from, stride, lanes, out);
            for (uint32_t r = 0; r < rows; r++)
                for (size_t c = 0; c < dim; c++) assert_true(fabsf(out[r * dim + c] - 0.5f * x[r][c]) < 2e-6f);
        }
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_code_is_the_nearest_of_its_levels),
        cmocka_unit_test(test_lanes_do_not_feel_each_other),
        cmocka_unit_test(test_packed_codes_come_back),
        cmocka_unit_test(test_a_mean_is_within_half_a_step),
        cmocka_unit_test(test_scores_of_plain_arrays),
        cmocka_unit_test(test_rotated_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
