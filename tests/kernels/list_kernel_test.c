/* list_kernel_test.c - scores and value sums of one page for listed positions: the bits of score_page and value_sum, of
 * whatever rows, places, groups and lengths, and nothing written beside them. */
#include "cache/element.h"
#include "kernels/kernel_slots.h"
#include "kernels/kernels.h"
#include "support/fence.h"
#include "support/random.h"
#include "support/tables.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { PAGE = FV_PAGE_TOKENS, POSITIONS = 14, MAX_GROUP = 17, MAX_ROWS = POSITIONS * MAX_GROUP, MAX_DIM = 160 };
enum { PLACES = 2 * MAX_ROWS * FV_CHUNK_KEYS };

static test_tables tables;
static test_fence query_fence, page_fence, next_fence, score_fence, out_fence;

/* A list of distinct positions with places of their own, both in any order. */
static fv_row_list list_make(test_random *random, size_t group, fv_listed_rows *at) {
    fv_row_list list = {.group = group, .at = at};
    for (uint32_t i = 0; i < POSITIONS; i++)
        if (test_random_in(random, 0, 2)) at[list.positions++] = (fv_listed_rows){i * (uint32_t)group, 0};
    for (size_t i = 0; i < list.positions; i++) {
        size_t other = test_random_in(random, 0, (uint32_t)list.positions - 1);
        fv_listed_rows kept = at[i];
        at[i] = at[other];
        at[other] = kept;
    }
    for (size_t i = 0; i < list.positions; i++)
        at[i].place = (uint32_t)((2 * i + test_random_in(random, 0, 1)) * group * FV_CHUNK_KEYS) +
                      test_random_in(random, 0, 3) * PAGE;
    return list;
}

/* Row r of a list, and where its scores lie. */
static size_t row_at(const fv_row_list *list, size_t r) { return list->at[r / list->group].row + r % list->group; }
static size_t place_at(const fv_row_list *list, size_t r) {
    return list->at[r / list->group].place + r % list->group * FV_CHUNK_KEYS;
}

static size_t next_dim(size_t dim) {
    return dim < 34 ? dim + 1 : dim < 64 ? 64 : dim < 80 ? 80 : dim < 128 ? 128 : 160;
}

/* What a table's kernels read of queries. */
static const float *query_packed(const fv_kernels *table, uint32_t type, size_t dim, const float *query) {
    static float packed[MAX_ROWS * MAX_DIM];
    if (type != FV_ELEMENT_BF16 || !table->query_pack_bf16) return query;
    table->query_pack_bf16(MAX_ROWS, dim, query, dim, packed);
    return packed;
}

static void score_check(fv_score_list_fn *tested, fv_score_page_fn *page_of, uint32_t type, const fv_kernels *table) {
    test_random random = test_random_make(60 + type);
    float x[MAX_DIM], scale[PAGE], want[PAGE];
    fv_listed_rows at[POSITIONS];
    size_t group = 0;
    for (size_t dim = 1, last = 0; tested && last < MAX_DIM; last = dim, dim = next_dim(dim)) {
        group = group % MAX_GROUP + 1;
        fv_row_list list = list_make(&random, group, at);
        size_t bytes = fv_element_panel_bytes(type, dim);
        float *query = fence_place(&query_fence, MAX_ROWS * dim * 4), *score = fence_place(&score_fence, PLACES * 4);
        void *key = fence_place(&page_fence, bytes), *next = fence_place(&next_fence, bytes);
        test_fill_f32(&random, query, MAX_ROWS * dim, 1.0f);
        for (size_t t = 0; t < PAGE; t++) {
            test_fill_f32(&random, x, dim, 1.0f);
            fv_element_key_store(table, type, dim, x, key, t, &scale[t]);
        }
        const float *packed = query_packed(table, type, dim, query);
        tested(&list, dim, packed, key, dim % 2 ? next : NULL, scale, score);
        for (size_t r = 0; r < list.positions * group; r++) {
            const void *pages[] = {key};
            page_of(1, 1, dim, packed + row_at(&list, r) * dim, dim, pages, NULL, scale, want, PAGE);
            assert_memory_equal(score + place_at(&list, r), want, sizeof want);
            memset(score + place_at(&list, r), FENCE_POISON, sizeof want);
        }
        assert_true(fence_is_poison(score, PLACES * 4));
        assert_true(fence_is_whole(&score_fence, 1, PLACES * 4, PLACES * 4));
    }
}

static void value_check(fv_value_list_fn *tested, fv_value_sum_fn *sum_of, uint32_t type, const fv_kernels *table) {
    test_random random = test_random_make(70 + type);
    static float want[MAX_ROWS * MAX_DIM];
    float x[MAX_DIM], scale;
    fv_listed_rows at[POSITIONS];
    size_t group = 0;
    for (size_t dim = 1, last = 0; tested && last < MAX_DIM; last = dim, dim = next_dim(dim)) {
        group = group % MAX_GROUP + 1;
        fv_row_list list = list_make(&random, group, at);
        size_t bytes = fv_element_row_bytes(type, dim), keys = dim % 2 ? PAGE : test_random_in(&random, 1, PAGE);
        float *out = fence_place(&out_fence, MAX_ROWS * dim * 4), *weight = fence_place(&score_fence, PLACES * 4);
        unsigned char *value = fence_place(&page_fence, keys * bytes), *next = fence_place(&next_fence, keys * bytes);
        test_fill_f32(&random, out, MAX_ROWS * dim, 1.0f);
        test_fill_f32(&random, weight, PLACES, 1.0f);
        memcpy(want, out, MAX_ROWS * dim * 4);
        for (size_t t = 0; t < keys; t++) {
            test_fill_f32(&random, x, dim, 1.0f);
            fv_element_row_store(table, type, dim, x, value + t * bytes, &scale);
        }
        for (size_t r = 0; r < list.positions * group; r++)
            sum_of(1, dim, keys, weight + place_at(&list, r), 1, value, NULL, want + row_at(&list, r) * dim, dim);
        tested(&list, dim, keys, weight, value, dim % 3 ? next : NULL, out);
        assert_memory_equal(out, want, MAX_ROWS * dim * 4);
        assert_true(fence_is_whole(&out_fence, 1, MAX_ROWS * dim * 4, MAX_ROWS * dim * 4));
    }
}

#define LIST_CHECK(name, TYPE) \
    static void check_score_list_##name(const fv_kernels *table) { \
        score_check(table->score_list_##name, table->score_page_##name, FV_ELEMENT_##TYPE, table); \
    } \
    static void check_value_list_##name(const fv_kernels *table) { \
        value_check(table->value_list_##name, table->value_sum_##name, FV_ELEMENT_##TYPE, table); \
    }
LIST_CHECK(f32, F32)
LIST_CHECK(f16, F16)
LIST_CHECK(q8, Q8_0)
LIST_CHECK(bf16, BF16)
LIST_CHECK(q4, Q4_0)

/* A kernel that a table takes from the one before it was checked there. */
#define SLOT_TEST(slot) \
    static void test_##slot(void **state) { \
        (void)state; \
        for (size_t k = 0; k < tables.count; k++) \
            if (k == 0 || tables.table[k]->slot != tables.table[k - 1]->slot) check_##slot(tables.table[k]); \
    }
LIST_SLOTS(SLOT_TEST)

int main(void) {
    test_tables_make(&tables);
    test_fence *fences[] = {&query_fence, &page_fence, &next_fence, &score_fence, &out_fence};
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++)
        *fences[i] = fence_open((MAX_ROWS * MAX_DIM > PLACES ? MAX_ROWS * MAX_DIM : PLACES) * 4);
#define SLOT_ENTRY(slot) cmocka_unit_test(test_##slot),
    const struct CMUnitTest tests[] = {LIST_SLOTS(SLOT_ENTRY)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) fence_close(fences[i]);
    return failed;
}
