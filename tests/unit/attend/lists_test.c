/* lists_test.c - positions that each read pages of their own, page by page for all of them: the bits that each has
 * alone, and nothing that a position does not read reaches it. */
#include "attend/attend_lists.h"
#include "kernels/kernels.h"
#include "support/attention_world.h"
#include "support/tables.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { TOKENS = 2500, PAGES = (TOKENS + FV_PAGE_TOKENS - 1) / FV_PAGE_TOKENS };

static test_tables tables;

static void check_status(fv_status status) { assert_int_equal(status, FV_OK); }

static attention_world lists_world(const fv_kernels *kernels, int run, test_random *random) {
    static const uint32_t dims[] = {64, 33, 128, 8}, groups[] = {3, 1, 7};
    fv_cache_config shape = {.kv_heads = 2,
                             .head_dim = dims[run % 4],
                             .max_tokens = TOKENS,
                             .key_type = (uint32_t)run % 5,
                             .value_type = (uint32_t)(run + run / 5) % 5};
    attention_world w = world_make(kernels, shape, groups[run % 3], run % 7 == 6 ? 2.0f : 0.0f, random);
    w.attend.scale *= run % 2 ? 20.0f : 1.0f; /* maxima that rise by more than the slack */
    world_append(&w, TOKENS);
    return w;
}

/* Who reads which page of a tile of positions, up to their own; one of them may read nothing. */
static void readers_draw(test_random *random, uint32_t first, uint32_t rows, uint16_t *readers) {
    memset(readers, 0, PAGES * sizeof *readers);
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t own = (first + i) / FV_PAGE_TOKENS, of = test_random_in(random, 1, 20);
        if (test_random_in(random, 0, 15) == 0) continue;
        for (uint32_t page = 0; page <= own; page++)
            if (page == own || test_random_in(random, 0, of) == 0) readers[page] = (uint16_t)(readers[page] | 1u << i);
    }
}

/* One position by a plan of its own; out [query_heads * head_dim]. */
static void position_run(const attention_world *w, const uint16_t *readers, uint32_t position, uint32_t bit,
                         uint32_t kv_head, float *out) {
    fv_step steps[PAGES];
    fv_plan plan = {.steps = steps, .capacity = PAGES, .first_token = position, .rows = 1};
    for (uint32_t page = 0; page * FV_PAGE_TOKENS <= position; page++)
        if (readers[page] >> bit & 1)
            check_status(fv_plan_add(
                &plan, (fv_step){.begin = page * FV_PAGE_TOKENS,
                                 .end = page < position / FV_PAGE_TOKENS ? (page + 1) * FV_PAGE_TOKENS : position + 1,
                                 .row_end = 1}));
    size_t bytes = 0, width = (size_t)w->attend.query_heads * w->attend.head_dim;
    check_status(fv_attend_size(&w->attend, &bytes));
    void *scratch = world_memory(bytes);
    check_status(fv_attend_tile(&w->attend, w->kernels, w->cache, &plan, kv_head,
                                w->queries + position * w->query_stride, w->query_stride, out, width, scratch, bytes));
    free(scratch);
}

/* All of them at once; out [rows][query_heads * head_dim]. */
static void lists_run(const attention_world *w, const uint16_t *readers, uint32_t first, uint32_t rows,
                      uint32_t kv_head, float *out) {
    fv_attend_layout layout;
    check_status(fv_attend_layout_make(&w->attend, &layout));
    size_t bytes = fv_attend_lists_bytes(&w->attend), width = (size_t)w->attend.query_heads * w->attend.head_dim;
    void *scratch = world_memory(layout.bytes);
    unsigned char *memory = world_memory(bytes + 64);
    fv_attend_setting setting = {&w->attend, &layout, w->kernels, w->cache, w->query_stride};
    fv_plan plan = {.first_token = first, .rows = rows};
    fv_attend_job *job = fv_attend_begin(&setting, &plan, kv_head, w->queries + first * w->query_stride, scratch);
    const fv_state *state = fv_attend_lists(job, readers, (first + rows - 1) / FV_PAGE_TOKENS + 1, memory);
    fv_state_write(&w->attend, w->kernels, state, rows, kv_head, out, width);
    for (size_t i = 0; i < 64; i++) assert_int_equal(memory[bytes + i], 0xFF);
    free(scratch), free(memory);
}

static void check_world(const attention_world *w, test_random *random) {
    uint32_t rows = test_random_in(random, 1, FV_TILE_ROWS), first = test_random_in(random, 0, TOKENS - rows);
    uint32_t kv_head = test_random_in(random, 0, 1), group = w->attend.query_heads / w->attend.kv_heads;
    size_t dim = w->attend.head_dim, width = w->attend.query_heads * dim;
    float *all = world_memory(rows * width * sizeof(float)), *one = world_memory(width * sizeof(float));
    uint16_t readers[PAGES];
    readers_draw(random, first, rows, readers);
    lists_run(w, readers, first, rows, kv_head, all);
    for (uint32_t i = 0; i < rows; i++) {
        position_run(w, readers, first + i, i, kv_head, one);
        if (memcmp(all + i * width + kv_head * group * dim, one + kv_head * group * dim, group * dim * sizeof(float)))
            fail_msg("%s: row %u of %u from %u on, head_dim %zu, types %u and %u: other bits (FV_SEED=%u)",
                     test_table_name(w->kernels), i, rows, first, dim, w->shape.key_type, w->shape.value_type,
                     random->seed);
    }
    free(all), free(one);
}

static void test_bits_are_those_of_rows_alone(void **state) {
    (void)state;
    test_random random = test_random_make(81);
    for (size_t k = 0; k < tables.count; k++)
        for (int run = 0; run < 15; run++) {
            attention_world w = lists_world(tables.table[k], run, &random);
            for (int tile = 0; tile < 3; tile++) check_world(&w, &random);
            world_free(&w);
        }
}

/* A table without kernels for lists has the work done run by run. */
static void test_tables_without_list_kernels(void **state) {
    (void)state;
    test_random random = test_random_make(82);
    for (size_t k = 1; k < tables.count; k++) {
        fv_kernels bare = *tables.table[k];
#define SLOT_CLEAR(slot, type) bare.slot = NULL;
        FV_KERNEL_LISTED_LIST(SLOT_CLEAR)
        for (int run = 0; run < 10; run++) {
            attention_world w = lists_world(&bare, run, &random);
            check_world(&w, &random);
            world_free(&w);
        }
    }
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits_are_those_of_rows_alone),
                                       cmocka_unit_test(test_tables_without_list_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
