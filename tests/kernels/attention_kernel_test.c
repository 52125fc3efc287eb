/* attention_kernel_test.c - scores, value sums and the softmax step of every instruction set: against the scalar twin
 * within the contract's bounds, the same bits however rows and keys are cut, no byte touched outside. */
#include "kernel_slots.h"
#include "kernels/kernels.h"
#include "numeric/half.h"
#include "support/fence.h"
#include "support/random.h"
#include "support/tables.h"
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_DIM = 256, MAX_ROWS = 17, MAX_STRIDE = MAX_DIM + 9, PAGE = 16 };

typedef enum element { ELEMENT_F32, ELEMENT_F16, ELEMENT_Q8, ELEMENT_BF16, ELEMENT_Q4 } element;

static test_tables tables;
static test_fence query_fence, key_fence, scale_fence, score_fence, weight_fence, value_fence, out_fence;
static float expected[MAX_ROWS * MAX_STRIDE], again[MAX_ROWS * MAX_STRIDE], exact_mass[MAX_ROWS * MAX_STRIDE];
static double exact[MAX_ROWS * MAX_STRIDE];

/* All up to 131, then those of real models. */
static size_t next_dim(size_t dim) {
    return dim < 131 ? dim + 1 : dim < 160 ? 160 : dim < 192 ? 192 : dim < 256 ? 256 : MAX_DIM + 1;
}

static size_t simple_bytes(element type) { return type == ELEMENT_F32 ? 4 : type == ELEMENT_Q8 ? 1 : 2; }

static size_t panel_bytes(element type, size_t dim) {
    if (type == ELEMENT_Q4) return (dim + 31) / 32 * 32 + (dim + 1) / 2 * 16;
    return PAGE * dim * simple_bytes(type);
}

static size_t row_bytes(element type, size_t dim) {
    return type == ELEMENT_Q4 ? (dim + 31) / 32 * 18 : dim * simple_bytes(type);
}

/* Bytes of any value are quants; scales are made small and finite, half of them negative. */
static void fill_elements(test_random *random, element type, void *data, size_t bytes) {
    uint16_t *half = data;
    if (type == ELEMENT_F32) test_fill_f32(random, data, bytes / 4, 2.0f);
    if (type == ELEMENT_Q8 || type == ELEMENT_Q4) test_fill_bytes(random, data, bytes);
    for (size_t i = 0; type == ELEMENT_F16 && i < bytes / 2; i++)
        half[i] = fv_f16_from_f32(2.0f * test_random_f32(random));
    for (size_t i = 0; type == ELEMENT_BF16 && i < bytes / 2; i++)
        half[i] = fv_bf16_from_f32(2.0f * test_random_f32(random));
}

static void fill_panels(test_random *random, element type, void *data, size_t pages, size_t dim) {
    fill_elements(random, type, data, pages * panel_bytes(type, dim));
    for (size_t p = 0; type == ELEMENT_Q4 && p < pages; p++) {
        uint16_t *scale = (void *)((unsigned char *)data + p * panel_bytes(type, dim));
        for (size_t i = 0; i < (dim + 31) / 32 * PAGE; i++) scale[i] = fv_f16_from_f32(0.1f * test_random_f32(random));
    }
}

static void fill_rows(test_random *random, element type, void *rows_out, size_t rows, size_t dim) {
    unsigned char *data = rows_out;
    fill_elements(random, type, data, rows * row_bytes(type, dim));
    for (size_t i = 0; type == ELEMENT_Q4 && i < rows * ((dim + 31) / 32); i++) {
        uint16_t scale = fv_f16_from_f32(0.1f * test_random_f32(random));
        data[i * 18] = (unsigned char)scale, data[i * 18 + 1] = (unsigned char)(scale >> 8);
    }
}

static double simple_at(element type, const void *data, size_t i) {
    if (type == ELEMENT_F32) return (double)((const float *)data)[i];
    if (type == ELEMENT_F16) return (double)fv_f32_from_f16(((const uint16_t *)data)[i]);
    if (type == ELEMENT_BF16) return (double)fv_f32_from_bf16(((const uint16_t *)data)[i]);
    return (double)((const int8_t *)data)[i];
}

/* Channel c of key t, of any page. */
static double key_at(element type, const void *data, size_t dim, size_t t, size_t c) {
    const unsigned char *panel = (const unsigned char *)data + t / PAGE * panel_bytes(type, dim);
    if (type != ELEMENT_Q4) return simple_at(type, panel, c * PAGE + t % PAGE);
    double scale = (double)fv_f32_from_f16(((const uint16_t *)(const void *)panel)[c / 32 * PAGE + t % PAGE]);
    return scale * ((panel[(dim + 31) / 32 * 32 + c / 2 * PAGE + t % PAGE] >> (c % 2 * 4) & 15) - 8);
}

static double value_at(element type, const void *data, size_t dim, size_t t, size_t c) {
    const unsigned char *row = (const unsigned char *)data + t * row_bytes(type, dim), *block = row + c / 32 * 18;
    if (type != ELEMENT_Q4) return simple_at(type, row, c);
    return (double)fv_f32_from_f16((uint16_t)(block[0] | block[1] << 8)) *
           ((block[2 + c % 16] >> (c % 32 / 16 * 4) & 15) - 8);
}

/* One call's shape, for messages too. */
typedef struct shape {
    const char *slot, *isa;
    size_t rows, dim, keys, stride, out_stride;
    uint32_t seed;
} shape;

static void check_near(const shape *s, size_t row, size_t column, float got, double want, double bound) {
    double error = fabs((double)got - want);
    if (!(error <= bound))
        fail_msg(
            "%s %s rows=%zu dim=%zu keys=%zu strides=%zu,%zu at [%zu][%zu]: got %.9g, want %.9g, error %.3g > %.3g "
            "(FV_SEED=%u)",
            s->slot, s->isa, s->rows, s->dim, s->keys, s->stride, s->out_stride, row, column, (double)got, want, error,
            bound, s->seed);
}

/* One product of pairs as processors define it: the odd one first, each rounded once, what is below 2^-126 is 0. */
static float flushed(float x) { return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x; }
static float pair_step(float sum, float x0, float x1, float y0, float y1) {
    sum = flushed(fmaf(flushed(x1), flushed(y1), flushed(sum)));
    return flushed(fmaf(flushed(x0), flushed(y0), sum));
}

static float narrowed(float x) { return fv_f32_from_bf16(fv_bf16_from_f32(flushed(x))); }

/* The bits that kernels for pairs give a score. */
static float score_of_pairs(size_t dim, const float *query, const void *panel, size_t t) {
    float sum = 0;
    for (size_t c = 0; c < dim; c += 2) {
        bool both = c + 1 < dim;
        sum = pair_step(sum, narrowed(query[c]), both ? narrowed(query[c + 1]) : 0,
                        (float)key_at(ELEMENT_BF16, panel, dim, t, c),
                        both ? (float)key_at(ELEMENT_BF16, panel, dim, t, c + 1) : 0);
    }
    return sum;
}

/* Likewise one of a value. */
static float value_of_pairs(float out, size_t dim, size_t keys, const float *weight, const void *value, size_t c) {
    for (size_t t = 0; t < keys; t += 2) {
        bool both = t + 1 < keys;
        out = pair_step(out, narrowed(weight[t]), both ? narrowed(weight[t + 1]) : 0,
                        (float)value_at(ELEMENT_BF16, value, dim, t, c),
                        both ? (float)value_at(ELEMENT_BF16, value, dim, t + 1, c) : 0);
    }
    return out;
}

/* What a table's kernels read of queries: as they are, or packed. */
typedef struct packed_query {
    const float *rows;
    size_t stride;
} packed_query;

static packed_query query_packed(fv_query_pack_fn *pack, const shape *s, const float *query) {
    static float packed[MAX_ROWS * MAX_DIM];
    if (!pack) return (packed_query){query, s->stride};
    pack(s->rows, s->dim, query, s->stride, packed);
    return (packed_query){packed, s->dim};
}

/* Scores of one shape: everything that the contract says. */
static void score_shape(element type, fv_score_page_fn *scalar, fv_score_page_fn *tested, fv_query_pack_fn *pack,
                        shape s, test_random *random) {
    float *query = fence_place(&query_fence, ((s.rows - 1) * s.stride + s.dim) * 4);
    void *key = fence_place(&key_fence, s.keys / PAGE * panel_bytes(type, s.dim));
    float *scale = fence_place(&scale_fence, s.keys * 4);
    float *score = fence_place(&score_fence, ((s.rows - 1) * s.out_stride + s.keys) * 4);
    test_fill_f32(random, query, (s.rows - 1) * s.stride + s.dim, 1.0f);
    fill_panels(random, type, key, s.keys / PAGE, s.dim);
    test_fill_f32(random, scale, s.keys, 0.1f);
    const float *scales = type == ELEMENT_Q8 ? scale : NULL;
    size_t pages = s.keys / PAGE, page_bytes = panel_bytes(type, s.dim);
    const void *page[FV_CHUNK_KEYS / PAGE];
    for (size_t p = 0; p < pages; p++) page[p] = (char *)key + (pages - 1 - p) * page_bytes; /* in any order */
    const packed_query read = query_packed(pack, &s, query);
    tested(s.rows, pages, s.dim, read.rows, read.stride, page, s.rows % 2 ? page : NULL, scales, score, s.out_stride);
    assert_true(fence_is_whole(&score_fence, s.rows, s.keys * 4, s.out_stride * 4));
    scalar(s.rows, pages, s.dim, query, s.stride, page, NULL, scales, expected, s.keys);
    for (size_t r = 0; r < s.rows; r++)
        for (size_t t = 0; t < s.keys; t++) {
            double sum = 0, mass = 0, factor = scales ? (double)scales[t] : 1;
            for (size_t c = 0; c < s.dim; c++) {
                double term =
                    (double)query[r * s.stride + c] * key_at(type, page[t / PAGE], s.dim, t % PAGE, c) * factor;
                sum += term;
                mass += fabs(term);
            }
            check_near(&s, r, t, expected[r * s.keys + t], sum, (double)(s.dim + 2) * 0x1p-24 * mass);
            if (scalar != tested)
                check_near(&s, r, t, score[r * s.out_stride + t], (double)expected[r * s.keys + t],
                           ((double)s.dim * 0x1p-23 + (pack ? 0x1p-8 : 0)) * mass);
            if (pack)
                assert_true(score[r * s.out_stride + t] ==
                            score_of_pairs(s.dim, query + r * s.stride, page[t / PAGE], t % PAGE));
        }
    for (size_t r = 0; r < s.rows; r++) { /* one row and page at a time: the same bits */
        for (size_t p = 0; p < pages; p++)
            tested(1, 1, s.dim, read.rows + r * read.stride, read.stride, page + p, NULL,
                   scales ? scales + p * PAGE : NULL, again + p * PAGE, PAGE);
        assert_memory_equal(again, score + r * s.out_stride, s.keys * 4);
    }
}

static void score_check(const char *slot, element type, fv_score_page_fn *scalar, fv_score_page_fn *tested,
                        fv_query_pack_fn *pack, const char *isa) {
    test_random random = test_random_make(type);
    for (size_t dim = 1; dim <= MAX_DIM; dim = next_dim(dim))
        for (size_t rows = 1; rows <= MAX_ROWS; rows++) {
            size_t pages = test_random_in(&random, 1, 4);
            shape s = {slot,
                       isa,
                       rows,
                       dim,
                       PAGE * pages,
                       dim + test_random_in(&random, 0, 9),
                       PAGE * pages + test_random_in(&random, 0, 9),
                       random.seed};
            score_shape(type, scalar, tested, pack, s, &random);
        }
}

#define SCORE_CHECK(slot, type) \
    static void check_##slot(const fv_kernels *table) { \
        score_check(#slot, type, tables.table[0]->slot, table->slot, \
                    type == ELEMENT_BF16 ? table->query_pack_bf16 : NULL, test_table_name(table)); \
    }
SCORE_CHECK(score_page_f32, ELEMENT_F32)
SCORE_CHECK(score_page_f16, ELEMENT_F16)
SCORE_CHECK(score_page_q8, ELEMENT_Q8)
SCORE_CHECK(score_page_bf16, ELEMENT_BF16)
SCORE_CHECK(score_page_q4, ELEMENT_Q4)

static void value_shape(element type, fv_value_sum_fn *scalar, fv_value_sum_fn *tested, bool pairs, shape s,
                        test_random *random) {
    float before[MAX_DIM];
    size_t bytes = row_bytes(type, s.dim);
    float *weight = fence_place(&weight_fence, ((s.rows - 1) * s.stride + s.keys) * 4);
    unsigned char *value = fence_place(&value_fence, s.keys * bytes);
    float *out = fence_place(&out_fence, ((s.rows - 1) * s.out_stride + s.dim) * 4);
    test_fill_f32(random, weight, (s.rows - 1) * s.stride + s.keys, 1.0f);
    fill_rows(random, type, value, s.keys, s.dim);
    for (size_t r = 0; r < s.rows; r++) {
        test_fill_f32(random, out + r * s.out_stride, s.dim, 1.0f);
        for (size_t c = 0; c < s.dim; c++) {
            size_t i = r * MAX_STRIDE + c;
            expected[i] = again[i] = out[r * s.out_stride + c];
            exact[i] = (double)expected[i];
            exact_mass[i] = fabsf(expected[i]);
            for (size_t t = 0; t < s.keys; t++) {
                double term = (double)weight[r * s.stride + t] * value_at(type, value, s.dim, t, c);
                exact[i] += term;
                exact_mass[i] += (float)fabs(term);
            }
        }
    }
    tested(s.rows, s.dim, s.keys, weight, s.stride, value, s.rows % 2 ? value : NULL, out, s.out_stride);
    assert_true(fence_is_whole(&out_fence, s.rows, s.dim * 4, s.out_stride * 4));
    scalar(s.rows, s.dim, s.keys, weight, s.stride, value, NULL, expected, MAX_STRIDE);
    size_t half = s.keys / 4 * 2;         /* pairs stay together */
    for (size_t r = 0; r < s.rows; r++) { /* a row at a time, in two runs of keys: the same bits */
        float *row = again + r * MAX_STRIDE;
        memcpy(before, row, s.dim * 4);
        tested(1, s.dim, half, weight + r * s.stride, s.stride, value, NULL, row, s.dim);
        tested(1, s.dim, s.keys - half, weight + r * s.stride + half, s.stride, value + half * bytes, NULL, row, s.dim);
        assert_memory_equal(row, out + r * s.out_stride, s.dim * 4);
        for (size_t c = 0; c < s.dim; c++) {
            size_t i = r * MAX_STRIDE + c;
            double mass = (double)exact_mass[i] * (1 + 0x1p-16);
            check_near(&s, r, c, expected[i], exact[i], (double)(s.keys + 2) * 0x1p-24 * mass);
            if (scalar != tested)
                check_near(&s, r, c, out[r * s.out_stride + c], (double)expected[i],
                           ((double)s.keys * 0x1p-23 + (pairs ? 0x1p-8 : 0)) * mass);
            if (pairs)
                assert_true(out[r * s.out_stride + c] ==
                            value_of_pairs(before[c], s.dim, s.keys, weight + r * s.stride, value, c));
        }
    }
}

static void value_check(const char *slot, element type, fv_value_sum_fn *scalar, fv_value_sum_fn *tested, bool pairs,
                        const char *isa) {
    test_random random = test_random_make(10 + type);
    for (size_t dim = 1; dim <= MAX_DIM; dim = next_dim(dim)) {
        for (size_t rows = 1; rows <= MAX_ROWS; rows++) {
            size_t keys = test_random_in(&random, 1, 24);
            shape s = {slot,
                       isa,
                       rows,
                       dim,
                       keys,
                       keys + test_random_in(&random, 0, 9),
                       dim + test_random_in(&random, 0, 9),
                       random.seed};
            value_shape(type, scalar, tested, pairs, s, &random);
        }
        for (size_t keys = 1; keys <= FV_CHUNK_KEYS; keys += dim > 64 ? test_random_in(&random, 1, 7) : 1) {
            shape s = {slot, isa, test_random_in(&random, 1, 3), dim, keys, FV_CHUNK_KEYS, dim, random.seed};
            value_shape(type, scalar, tested, pairs, s, &random);
        }
    }
}

#define VALUE_CHECK(slot, type) \
    static void check_##slot(const fv_kernels *table) { \
        value_check(#slot, type, tables.table[0]->slot, table->slot, type == ELEMENT_BF16 && table->query_pack_bf16, \
                    test_table_name(table)); \
    }
VALUE_CHECK(value_sum_f32, ELEMENT_F32)
VALUE_CHECK(value_sum_f16, ELEMENT_F16)
VALUE_CHECK(value_sum_q8, ELEMENT_Q8)
VALUE_CHECK(value_sum_bf16, ELEMENT_BF16)
VALUE_CHECK(value_sum_q4, ELEMENT_Q4)

/* Any parts of 16 positions, some of them empty: value_sum's bits. */
static void parts_shape(element type, fv_value_parts_fn *tested, fv_value_sum_fn *sum, shape s, size_t group,
                        test_random *random) {
    enum { ROWS_OF_VALUES = 31 };
    size_t bytes = row_bytes(type, s.dim), positions = s.rows / group, rows = positions * group;
    fv_value_part part[MAX_ROWS];
    float *weight = fence_place(&weight_fence, ((rows - 1) * s.stride + s.keys) * 4);
    unsigned char *value = fence_place(&value_fence, ROWS_OF_VALUES * bytes);
    float *out = fence_place(&out_fence, ((rows - 1) * s.out_stride + s.dim) * 4);
    test_fill_f32(random, weight, (rows - 1) * s.stride + s.keys, 1.0f);
    fill_rows(random, type, value, ROWS_OF_VALUES, s.dim);
    for (size_t r = 0; r < rows; r++) {
        test_fill_f32(random, out + r * s.out_stride, s.dim, 1.0f);
        memcpy(expected + r * MAX_STRIDE, out + r * s.out_stride, s.dim * 4);
    }
    for (size_t p = 0; p < positions; p++) {
        size_t keys = test_random_in(random, 0, (uint32_t)(s.keys < 16 ? s.keys : 16));
        part[p] = (fv_value_part){.first = (uint8_t)test_random_in(random, 0, (uint32_t)(ROWS_OF_VALUES - keys)),
                                  .keys = (uint8_t)keys,
                                  .column = (uint8_t)test_random_in(random, 0, (uint32_t)(s.keys - keys))};
        size_t odd = keys && part[p].column % 2; /* a key that is the odd one of its pair is added alone */
        for (size_t r = p * group; r < (p + 1) * group; r++) {
            const float *weights = weight + r * s.stride + part[p].column;
            const unsigned char *values = value + part[p].first * bytes;
            float *row = expected + r * MAX_STRIDE;
            if (odd) sum(1, s.dim, 1, weights, s.stride, values, NULL, row, MAX_STRIDE);
            if (keys > odd)
                sum(1, s.dim, keys - odd, weights + odd, s.stride, values + odd * bytes, NULL, row, MAX_STRIDE);
        }
    }
    tested(positions, group, s.dim, part, weight, s.stride, value, out, s.out_stride);
    assert_true(fence_is_whole(&out_fence, rows, s.dim * 4, s.out_stride * 4));
    for (size_t r = 0; r < rows; r++) assert_memory_equal(out + r * s.out_stride, expected + r * MAX_STRIDE, s.dim * 4);
}

static void parts_check(const char *slot, element type, fv_value_parts_fn *tested, fv_value_sum_fn *sum,
                        const char *isa) {
    test_random random = test_random_make(30 + type);
    for (size_t dim = 1; tested && dim <= MAX_DIM; dim = next_dim(dim))
        for (size_t group = 1; group <= 4; group++) {
            size_t rows = group * test_random_in(&random, 1, 16 / (uint32_t)group), keys = 64;
            size_t out_stride = dim + test_random_in(&random, 0, 9);
            shape s = {slot, isa, rows, dim, keys, keys + test_random_in(&random, 0, 9), out_stride, random.seed};
            parts_shape(type, tested, sum, s, group, &random);
        }
}

#define PARTS_CHECK(name, type) \
    static void check_value_parts_##name(const fv_kernels *table) { \
        parts_check("value_parts_" #name, type, table->value_parts_##name, table->value_sum_##name, \
                    test_table_name(table)); \
    }
PARTS_CHECK(f32, ELEMENT_F32)
PARTS_CHECK(f16, ELEMENT_F16)
PARTS_CHECK(q8, ELEMENT_Q8)
PARTS_CHECK(bf16, ELEMENT_BF16)
PARTS_CHECK(q4, ELEMENT_Q4)

/* Nearest bf16, side by side. */
static void check_query_pack_bf16(const fv_kernels *table) {
    test_random random = test_random_make(40);
    for (size_t dim = 1; table->query_pack_bf16 && dim <= MAX_DIM; dim = next_dim(dim)) {
        size_t rows = test_random_in(&random, 1, MAX_ROWS), stride = dim + test_random_in(&random, 0, 9);
        float *query = fence_place(&query_fence, ((rows - 1) * stride + dim) * 4);
        float *out = fence_place(&out_fence, rows * dim * 4);
        test_fill_f32(&random, query, (rows - 1) * stride + dim, 3.0f);
        query[0] = INFINITY;
        table->query_pack_bf16(rows, dim, query, stride, out);
        assert_true(fence_is_whole(&out_fence, rows, (dim + 1) / 2 * 4, dim * 4));
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < dim; c++) {
                uint16_t got;
                memcpy(&got, (const char *)(out + r * dim) + 2 * c, sizeof got);
                assert_int_equal(got, fv_bf16_from_f32(query[r * stride + c]));
            }
    }
}

enum { OWN_PAGES = 16, OWN_ROWS = 16 };

/* The bits of score_page_f32, one position and column at a time. */
static void check_score_own_f32(const fv_kernels *table) {
    static float query[OWN_ROWS * MAX_DIM], turned[OWN_ROWS * MAX_DIM], keys[OWN_PAGES][OWN_ROWS * MAX_DIM];
    test_random random = test_random_make(41);
    for (size_t dim = 1; table->score_own_f32 && dim <= MAX_DIM; dim = next_dim(dim)) {
        size_t pages = test_random_in(&random, 1, OWN_PAGES);
        const float *key[OWN_PAGES];
        const void *page[OWN_PAGES];
        float one[16 * OWN_PAGES], score[16 * OWN_PAGES];
        test_fill_f32(&random, query, OWN_ROWS * dim, 1.0f);
        for (size_t t = 0; t < OWN_ROWS; t++)
            for (size_t c = 0; c < dim; c++) turned[16 * c + t] = query[t * dim + c];
        for (size_t n = 0; n < pages; n++) {
            test_fill_f32(&random, keys[n], OWN_ROWS * dim, 1.0f);
            page[n] = key[n] = keys[n];
        }
        table->score_own_f32(pages, dim, turned, key, score);
        for (size_t t = 0; t < OWN_ROWS; t++) {
            for (size_t n = 0; n < pages; n++) {
                table->score_page_f32(1, 1, dim, query + t * dim, dim, page + n, NULL, NULL, one, 16);
                assert_memory_equal(&score[16 * n + t], &one[t], 4);
            }
        }
    }
}

/* The bits of value_sum_f32, one value at a time. */
static void check_value_own_f32(const fv_kernels *table) {
    static float values[OWN_PAGES][OWN_ROWS * MAX_DIM], out[OWN_ROWS * (MAX_DIM + 9)], wanted[OWN_ROWS * (MAX_DIM + 9)];
    test_random random = test_random_make(42);
    for (size_t dim = 1; table->value_own_f32 && dim <= MAX_DIM; dim = next_dim(dim)) {
        size_t pages = test_random_in(&random, 1, OWN_PAGES), stride = dim + test_random_in(&random, 0, 9);
        const float *value[OWN_PAGES];
        float weight[OWN_ROWS * 20];
        test_fill_f32(&random, weight, OWN_ROWS * 20, 1.0f);
        test_fill_f32(&random, out, OWN_ROWS * stride, 1.0f);
        memcpy(wanted, out, OWN_ROWS * stride * 4);
        for (size_t n = 0; n < pages; n++) {
            test_fill_f32(&random, values[n], OWN_ROWS * dim, 1.0f);
            value[n] = values[n];
        }
        table->value_own_f32(pages, dim, weight, 20, value, out, stride);
        for (size_t t = 0; t < OWN_ROWS; t++)
            for (size_t n = 0; n < pages; n++)
                table->value_sum_f32(1, dim, 1, weight + t * 20 + n, 20, values[n] + t * dim, NULL, wanted + t * stride,
                                     stride);
        assert_memory_equal(out, wanted, OWN_ROWS * stride * 4);
    }
}

static void check_transpose16_f32(const fv_kernels *table) {
    test_random random = test_random_make(40);
    for (size_t dim = 1; table->transpose16_f32 && dim <= MAX_DIM; dim = next_dim(dim)) {
        size_t stride = dim + test_random_in(&random, 0, 9);
        uint32_t *x = fence_place(&value_fence, (15 * stride + dim) * 4);
        uint32_t *out = fence_place(&key_fence, 16 * dim * 4);
        test_fill_bytes(&random, x, (15 * stride + dim) * 4); /* also what no number is */
        table->transpose16_f32(dim, (const float *)(const void *)x, stride, (float *)(void *)out);
        assert_true(fence_is_whole(&key_fence, 1, 16 * dim * 4, 16 * dim * 4));
        for (size_t c = 0; c < dim; c++)
            for (size_t t = 0; t < 16; t++) assert_int_equal(out[16 * c + t], x[t * stride + c]);
    }
}

static double ulp_of(double x) {
    int exponent;
    frexp(x, &exponent);
    return ldexp(1, (exponent > -125 ? exponent : -125) - 24);
}

static float worst_ulp; /* of one table's 2^x */

/* A weight: 2 ulp where the contract promises digits, 0 below. */
static void check_exp2(const shape *s, size_t row, size_t column, double x, float got) {
    if (x < -126.5) {
        check_near(s, row, column, got, 0, 0);
        return;
    }
    double want = exp2(x), error = fabs((double)got - want) / ulp_of(want);
    if (x < -125.5 && got == 0.0f) return; /* which of the two depends on the nearest whole number */
    if (error > (double)worst_ulp) worst_ulp = (float)error;
    check_near(s, row, column, got, want, 2 * ulp_of(want));
}

/* Scores of all kinds: masked, tiny, huge. */
static float random_score(test_random *random, int kind) {
    uint32_t dice = test_random_in(random, 0, 9);
    if (kind == 1 && dice < 3) return -INFINITY;
    if (kind == 2) return -INFINITY;
    if (kind == 3) return (dice < 5 ? 1e38f : -1e38f) * (1.0f + test_random_f32(random));
    if (kind == 4 && dice < 2) return dice ? INFINITY : NAN;
    return 20.0f * test_random_f32(random);
}

/* What the contract says of the maximum. */
static float next_maximum(float maximum, float best) {
    return best > maximum + FV_SOFTMAX_SLACK ? ceilf(best) : maximum;
}

static void softmax_row_check(const shape *s, size_t r, float factor, const float *before, const float *score,
                              const float state[2], const float *sum_before, const float *sum) {
    float best = -INFINITY, x[FV_CHUNK_KEYS];
    for (size_t t = 0; t < s->keys; t++) {
        x[t] = factor * before[t];
        x[t] = x[t] < FLT_MAX ? x[t] : FLT_MAX; /* a NaN too */
        if (x[t] > best) best = x[t];
    }
    assert_true(state[1] == next_maximum(state[0], best));
    double total[FV_SUM_LANES], keep = exp2((double)state[0] - (double)state[1]);
    for (size_t i = 0; i < FV_SUM_LANES; i++) total[i] = (double)sum_before[i] * keep;
    for (size_t t = 0; t < s->keys; t++) {
        check_exp2(s, r, t, (double)x[t] - (double)state[1], score[t]);
        total[t % FV_SUM_LANES] += (double)score[t];
    }
    for (size_t i = 0; i < FV_SUM_LANES; i++)
        check_near(s, r, 1000 + i, sum[i], total[i], total[i] * 5 * 0x1p-24 + (double)FLT_MIN);
    for (size_t t = s->keys; t < FV_CHUNK_KEYS; t++) assert_memory_equal(&before[t], &score[t], sizeof *score);
}

static void softmax_shape(fv_softmax_chunk_fn *tested, shape s, int kind, test_random *random) {
    static float before[MAX_ROWS * FV_CHUNK_KEYS], out_before[MAX_ROWS * MAX_STRIDE];
    float factor = kind == 3 ? 4.0f : 0.125f + test_random_f32(random) * 0.1f, maximum[MAX_ROWS],
          maximum_before[MAX_ROWS];
    float sum[MAX_ROWS * FV_SUM_LANES], sum_before[MAX_ROWS * FV_SUM_LANES];
    float *score = fence_place(&score_fence, s.rows * FV_CHUNK_KEYS * 4);
    float *out = fence_place(&out_fence, ((s.rows - 1) * s.out_stride + s.dim) * 4);
    for (size_t i = 0; i < s.rows * FV_CHUNK_KEYS; i++) score[i] = random_score(random, kind);
    for (size_t r = 0; r < s.rows; r++) {
        bool fresh = test_random_in(random, 0, 2) == 0;
        maximum[r] = fresh ? -FV_NO_MAXIMUM : (float)test_random_in(random, 0, 30) - 20.0f;
        for (size_t i = 0; i < FV_SUM_LANES; i++)
            sum[r * FV_SUM_LANES + i] = fresh ? 0.0f : 1.5f + test_random_f32(random);
        for (size_t c = 0; c < s.dim; c++) {
            out[r * s.out_stride + c] = fresh ? 0.0f : test_random_f32(random);
            out_before[r * MAX_STRIDE + c] = out[r * s.out_stride + c];
        }
    }
    memcpy(before, score, s.rows * FV_CHUNK_KEYS * 4);
    memcpy(maximum_before, maximum, sizeof maximum);
    memcpy(sum_before, sum, sizeof sum);
    tested(s.rows, s.keys, s.dim, factor, score, maximum, sum, out, s.out_stride);
    assert_true(fence_is_whole(&out_fence, s.rows, s.dim * 4, s.out_stride * 4));
    assert_true(fence_is_whole(&score_fence, 1, 0, 0));
    for (size_t r = 0; r < s.rows; r++) {
        float *old_score = before + r * FV_CHUNK_KEYS, *old_sum = sum_before + r * FV_SUM_LANES;
        softmax_row_check(&s, r, factor, old_score, score + r * FV_CHUNK_KEYS, (float[]){maximum_before[r], maximum[r]},
                          old_sum, sum + r * FV_SUM_LANES);
        float keep = (float)exp2((double)maximum_before[r] - (double)maximum[r]);
        for (size_t c = 0; c < s.dim; c++)
            assert_true(out[r * s.out_stride + c] == out_before[r * MAX_STRIDE + c] * keep);
        tested(1, s.keys, s.dim, factor, old_score, &maximum_before[r], old_sum, out_before + r * MAX_STRIDE, s.dim);
        assert_memory_equal(old_score, score + r * FV_CHUNK_KEYS, FV_CHUNK_KEYS * 4); /* alone: the same bits */
        assert_memory_equal(old_sum, sum + r * FV_SUM_LANES, FV_SUM_LANES * 4);
        assert_memory_equal(out_before + r * MAX_STRIDE, out + r * s.out_stride, s.dim * 4);
        assert_true(maximum_before[r] == maximum[r]);
    }
}

/* Two pages in one chunk, in two, and with a masked page between them: the same bits but for the power of two. */
static void softmax_cuts(fv_softmax_chunk_fn *tested, test_random *random) {
    enum { PAGES = 2, WAYS = 3 };
    static const size_t slots[WAYS][PAGES] = {{0, 1}, {0, 0}, {0, 2}}, columns[WAYS] = {32, 16, 48};
    for (int run = 0; run < 2000; run++) {
        float x[PAGES * PAGE], sum[WAYS][FV_SUM_LANES] = {{0}}, out[WAYS], maximum[WAYS];
        for (size_t t = 0; t < PAGES * PAGE; t++) x[t] = (run % 3 ? 10.0f : 50.0f) * test_random_f32(random);
        for (size_t way = 0; way < WAYS; way++) {
            float score[FV_CHUNK_KEYS];
            maximum[way] = -FV_NO_MAXIMUM, out[way] = 0;
            for (size_t t = 0; t < FV_CHUNK_KEYS; t++) score[t] = -INFINITY;
            for (size_t p = 0; p < PAGES; p++) {
                memcpy(score + PAGE * slots[way][p], x + PAGE * p, PAGE * 4);
                if (way != 1 && p + 1 < PAGES) continue;
                tested(1, columns[way], 1, 1.0f, score, maximum + way, sum[way], out + way, 1);
                for (size_t i = way == 1 ? p : 0; i <= p; i++)
                    for (size_t t = 0; t < PAGE; t++)
                        out[way] = fmaf(score[PAGE * slots[way][i] + t], x[PAGE * i + t], out[way]);
            }
        }
        for (size_t way = 1; way < WAYS; way++) {
            float shift = exp2f(maximum[way] - maximum[0]);
            assert_true(out[way] * shift == out[0]);
            for (size_t i = 0; i < FV_SUM_LANES; i++) assert_true(sum[way][i] * shift == sum[0][i]);
        }
    }
}

/* Every 97th float of -150..0, then the neighbourhood of every half. */
static void softmax_sweep(fv_softmax_chunk_fn *tested, const char *isa) {
    shape s = {"softmax_chunk 2^x", isa, 1, 1, FV_CHUNK_KEYS, 0, 1, 0};
    float score[FV_CHUNK_KEYS], x[FV_CHUNK_KEYS], out = 0;
    uint32_t bits = fv_bits_from_f32(-0x1p-26f), last = fv_bits_from_f32(-150.0f), near = 0;
    while (bits < last) {
        x[0] = 0;
        for (size_t t = 1; t < FV_CHUNK_KEYS; t++, bits += near < 300 ? 97 : 997) {
            x[t] = fv_f32_from_bits(bits);
            if (near++ % 16 == 0) x[t] = (float)(-(double)(near / 16 % 256) * 0.5 - (double)(near % 5) * 1e-6);
        }
        float maximum = -FV_NO_MAXIMUM, sum[FV_SUM_LANES] = {0};
        memcpy(score, x, sizeof score);
        tested(1, FV_CHUNK_KEYS, 1, 1.0f, score, &maximum, sum, &out, 1);
        for (size_t t = 0; t < FV_CHUNK_KEYS; t++) check_exp2(&s, 0, t, (double)x[t], score[t]);
    }
}

static void check_softmax_chunk(const fv_kernels *table) {
    test_random random = test_random_make(20);
    const char *isa = test_table_name(table);
    worst_ulp = 0;
    for (size_t dim = 1; dim <= MAX_DIM; dim = next_dim(dim))
        for (size_t rows = 1; rows <= MAX_ROWS; rows += dim > 20 ? 4 : 1) {
            shape s = {"softmax_chunk",
                       isa,
                       rows,
                       dim,
                       PAGE * test_random_in(&random, 1, FV_CHUNK_KEYS / PAGE),
                       FV_CHUNK_KEYS,
                       dim + test_random_in(&random, 0, 9),
                       random.seed};
            for (int kind = 0; kind < 5; kind++) softmax_shape(table->softmax_chunk, s, kind, &random);
        }
    softmax_cuts(table->softmax_chunk, &random);
    softmax_sweep(table->softmax_chunk, isa);
    printf("2^x %s: worst error %.3f ulp\n", isa, (double)worst_ulp);
}

/* A kernel that a table takes from the one before it was checked there. */
#define SLOT_TEST(slot) \
    static void test_##slot(void **state) { \
        (void)state; \
        for (size_t k = 0; k < tables.count; k++) \
            if (k == 0 || tables.table[k]->slot != tables.table[k - 1]->slot) check_##slot(tables.table[k]); \
    }
ATTENTION_SLOTS(SLOT_TEST)

int main(void) {
    test_tables_make(&tables);
    test_fence *fences[] = {&query_fence,  &key_fence,   &scale_fence, &score_fence,
                            &weight_fence, &value_fence, &out_fence};
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) *fences[i] = fence_open(80000);
#define SLOT_ENTRY(slot) cmocka_unit_test(test_##slot),
    const struct CMUnitTest tests[] = {ATTENTION_SLOTS(SLOT_ENTRY)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) fence_close(fences[i]);
    return failed;
}
