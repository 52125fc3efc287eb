/* attend_test.c - hand-written plans through fv_attend_tile(), against a slow model in double that reads key by key. */
#include "attend/attend_state.h"
#include "fovea/attend.h"
#include "fovea/state.h"
#include "kernels/kernels.h"
#include "support/attention_world.h"
#include "support/tables.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static test_tables tables;

static fv_step span_step(uint32_t begin, uint32_t end, uint16_t row_begin, uint16_t row_end) {
    return (fv_step){.kind = FV_STEP_SPAN, .begin = begin, .end = end, .row_begin = row_begin, .row_end = row_end};
}

static fv_step mark_step(uint32_t begin, uint32_t end, uint16_t row_begin, uint16_t row_end) {
    return (fv_step){.kind = FV_STEP_MARK, .begin = begin, .end = end, .row_begin = row_begin, .row_end = row_end};
}

static fv_step diag_step(uint32_t offset, uint16_t row_begin, uint16_t row_end) {
    return (fv_step){.kind = FV_STEP_DIAG, .begin = offset, .row_begin = row_begin, .row_end = row_end};
}

static void check_status(fv_status status) { assert_int_equal(status, FV_OK); }

/* Runs one tile for one KV head; out [rows][query_heads * head_dim], poisoned before. */
static void tile_run(const attention_world *w, const fv_plan *plan, uint32_t kv_head, float *out) {
    size_t bytes = 0, width = (size_t)w->attend.query_heads * w->attend.head_dim;
    check_status(fv_attend_size(&w->attend, &bytes));
    unsigned char *scratch = world_memory(bytes + 64);
    memset(out, 0x88, plan->rows * width * sizeof(float));
    check_status(fv_attend_tile(&w->attend, w->kernels, w->cache, plan, kv_head,
                                w->queries + plan->first_token * w->query_stride, w->query_stride, out, width, scratch,
                                bytes));
    for (size_t i = 0; i < 64; i++) assert_int_equal(scratch[bytes + i], 0xFF);
    free(scratch);
}

static void check_tile(const attention_world *w, const fv_plan *plan, uint32_t seed, int run) {
    uint32_t group = w->attend.query_heads / w->attend.kv_heads, dim = w->attend.head_dim;
    size_t width = (size_t)w->attend.query_heads * dim;
    float *out = world_memory(plan->rows * width * sizeof(float)), poison;
    double want[1024];
    memset(&poison, 0x88, sizeof poison);
    for (uint32_t kv_head = 0; kv_head < w->attend.kv_heads; kv_head++) {
        tile_run(w, plan, kv_head, out);
        for (uint32_t row = 0; row < plan->rows; row++) {
            read_set set = set_of_plan(plan, row);
            for (uint32_t head = 0; head < w->attend.query_heads; head++) {
                const float *got = out + row * width + head * dim;
                bool mine = head / group == kv_head;
                if (mine) world_attend(w, &set, plan->first_token + row, head, want);
                for (uint32_t c = 0; c < dim; c++) {
                    if (!mine) {
                        assert_memory_equal(&got[c], &poison, sizeof poison); /* other heads are not written */
                        continue;
                    }
                    double error = fabs((double)got[c] - want[c]);
                    if (!(error < 1.5e-5))
                        fail_msg("%s run %d: types %u,%u group %u dim %u tokens %u first %u row %u head %u [%u]: got "
                                 "%.9g, want "
                                 "%.9g (FV_SEED=%u)",
                                 test_table_name(w->kernels), run, w->shape.key_type, w->shape.value_type, group, dim,
                                 fv_cache_tokens(w->cache), plan->first_token, row, head, c, (double)got[c], want[c],
                                 seed);
                }
            }
        }
    }
    free(out);
}

static uint32_t pick(test_random *random, const uint32_t *list, uint32_t count) {
    return list[test_random_in(random, 0, count - 1)];
}

/* Ascending spans with and without windows, diagonals and landmarks, for any rows: also ones that read nothing. */
static void random_plan(test_random *random, const attention_world *w, fv_plan *plan) {
    uint32_t tokens = fv_cache_tokens(w->cache), marks = fv_cache_landmarks(w->cache), end = 0;
    plan->count = 0;
    plan->rows = test_random_in(random, 1, FV_TILE_ROWS);
    if (plan->rows > tokens) plan->rows = tokens;
    plan->first_token = test_random_in(random, 0, tokens - plan->rows);
    uint32_t steps = test_random_in(random, 0, 8);
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t kind = test_random_in(random, 0, 3), row = test_random_in(random, 0, plan->rows - 1);
        fv_step step = {.row_begin = (uint16_t)row, .row_end = (uint16_t)test_random_in(random, row + 1, plan->rows)};
        if (test_random_in(random, 0, 1)) step.row_begin = 0, step.row_end = (uint16_t)plan->rows;
        if (kind == FV_STEP_DIAG) {
            step.kind = FV_STEP_DIAG;
            step.begin = test_random_in(random, 0, plan->first_token + plan->rows - 1);
        } else if (kind == FV_STEP_MARK && marks) {
            step.kind = FV_STEP_MARK;
            step.begin = test_random_in(random, 0, marks - 1);
            step.end = test_random_in(random, step.begin + 1, marks);
        } else {
            if (end >= tokens) continue;
            step.begin = test_random_in(random, end, tokens - 1);
            step.end = end = test_random_in(random, step.begin + 1, tokens);
            step.window = test_random_in(random, 0, 2) ? 0 : test_random_in(random, 1, tokens);
        }
        check_status(fv_plan_add(plan, step));
    }
    check_status(fv_plan_check(plan, tokens, marks));
}

static void test_random_plans(void **state) {
    (void)state;
    static const uint32_t dims[] = {1, 7, 8, 24, 40, 64, 80, 128, 256}, groups[] = {1, 2, 3, 4, 7, 9, 16};
    static const uint32_t lengths[] = {1, 15, 16, 17, 63, 64, 65, 200, 1023, 1024, 1025, 1300};
    test_random random = test_random_make(1);
    for (int run = 0; run < 260; run++) {
        fv_cache_config shape = {.kv_heads = test_random_in(&random, 1, 2),
                                 .head_dim = pick(&random, dims, 9),
                                 .max_tokens = pick(&random, lengths, run % 8 ? 8 : 12),
                                 .key_type = test_random_in(&random, 0, 2),
                                 .value_type = test_random_in(&random, 0, 2),
                                 .landmark_tokens = 16 * test_random_in(&random, 0, 2)};
        attention_world w = world_make(tables.table[(size_t)run % tables.count], shape, pick(&random, groups, 7),
                                       run % 5 ? 0.0f : 2.0f, &random);
        world_append(&w, shape.max_tokens);
        fv_step steps[8];
        fv_plan plan = {.steps = steps, .capacity = 8};
        for (int k = 0; k < 2; k++) {
            random_plan(&random, &w, &plan);
            if (w.attend.query_heads * shape.max_tokens * plan.rows > 300000 && plan.rows > 4) {
                plan.rows = 4;
                for (uint32_t s = 0; s < plan.count; s++) {
                    if (steps[s].row_end > 4) steps[s].row_end = 4;
                    if (steps[s].row_begin >= 4) steps[s].row_begin = 3;
                }
            }
            check_tile(&w, &plan, random.seed, run);
        }
        world_free(&w);
    }
}

/* More landmarks and diagonals than one chunk of 64 holds. */
static void test_many_gathered_keys(void **state) {
    (void)state;
    test_random random = test_random_make(2);
    for (size_t k = 0; k < tables.count; k++) {
        fv_cache_config shape = {.kv_heads = 1,
                                 .head_dim = 16,
                                 .max_tokens = 1600,
                                 .key_type = FV_ELEMENT_F16,
                                 .value_type = FV_ELEMENT_Q8_0,
                                 .landmark_tokens = 16};
        attention_world w = world_make(tables.table[k], shape, 2, 0, &random);
        world_append(&w, 1600);
        fv_step steps[140];
        fv_plan plan = {.steps = steps, .capacity = 140, .first_token = 1590, .rows = 3};
        check_status(fv_plan_add(&plan, mark_step(0, 65, 0, 3)));
        check_status(fv_plan_add(&plan, mark_step(66, 99, 0, 3)));
        check_status(fv_plan_add(&plan, mark_step(5, 6, 1, 2)));
        for (uint32_t i = 0; i < 130; i++) check_status(fv_plan_add(&plan, diag_step(3 * i, i % 3 ? 0 : 1, 3)));
        check_tile(&w, &plan, random.seed, 0);
        world_free(&w);
    }
}

enum { DIAGONALS = 21 };

/* Single pages here and there, read from some row of the tile on, the tile's own pages, and strides. */
static void page_plan(test_random *random, uint32_t tokens, uint32_t rows, fv_plan *plan) {
    plan->count = 0;
    plan->rows = rows;
    plan->first_token = tokens - rows;
    uint32_t own = plan->first_token / FV_PAGE_TOKENS * FV_PAGE_TOKENS, often = test_random_in(random, 1, 9);
    for (uint32_t begin = 0; begin < own; begin += FV_PAGE_TOKENS) {
        if (test_random_in(random, 0, 9) >= often) continue;
        uint32_t row = test_random_in(random, 0, 1) ? test_random_in(random, 0, rows - 1) : 0;
        check_status(fv_plan_add(plan, span_step(begin, begin + FV_PAGE_TOKENS, (uint16_t)row, (uint16_t)rows)));
    }
    check_status(fv_plan_add(plan, span_step(own, tokens, 0, (uint16_t)rows)));
    for (uint32_t i = 0; i < DIAGONALS; i++) {
        uint32_t offset = test_random_in(random, 1, 3) == 1 ? test_random_in(random, 0, tokens) : 16 * i + 16;
        uint32_t row = test_random_in(random, 0, 3) ? 0 : test_random_in(random, 0, rows - 1);
        if (offset < tokens) check_status(fv_plan_add(plan, diag_step(offset, (uint16_t)row, (uint16_t)rows)));
    }
    check_status(fv_plan_check(plan, tokens, 0));
}

enum { SPARSE_TOKENS = 1300, SPARSE_STEPS = 2 * SPARSE_TOKENS / FV_PAGE_TOKENS + DIAGONALS + 4 };

static attention_world sparse_world(const fv_kernels *kernels, int run, test_random *random) {
    static const uint32_t dims[] = {64, 8, 33, 128}, groups[] = {1, 3, 7};
    fv_cache_config shape = {.kv_heads = 1,
                             .head_dim = dims[run % 4],
                             .max_tokens = SPARSE_TOKENS,
                             .key_type = (uint32_t)run % 3,
                             .value_type = (uint32_t)(run / 3) % 3};
    attention_world w = world_make(kernels, shape, groups[run % 3], run % 7 == 6 ? 2.0f : 0.0f, random);
    world_append(&w, SPARSE_TOKENS);
    return w;
}

static void test_sparse_pages(void **state) {
    (void)state;
    test_random random = test_random_make(6);
    for (size_t k = 0; k < tables.count; k++)
        for (int run = 0; run < 4; run++) {
            attention_world w = sparse_world(tables.table[k], run, &random);
            fv_step steps[SPARSE_STEPS];
            fv_plan plan = {.steps = steps, .capacity = SPARSE_STEPS};
            page_plan(&random, SPARSE_TOKENS, test_random_in(&random, 1, 6), &plan);
            check_tile(&w, &plan, random.seed, run);
            world_free(&w);
        }
}

/* The plan of rows first..end-1 of a tile alone. */
static fv_plan plan_of_rows(const fv_plan *plan, uint32_t first, uint32_t end, fv_step *steps) {
    fv_plan part = {
        .steps = steps, .capacity = SPARSE_STEPS, .first_token = plan->first_token + first, .rows = end - first};
    for (uint32_t s = 0; s < plan->count; s++) {
        fv_step step = plan->steps[s];
        step.row_begin = (uint16_t)(step.row_begin > first ? step.row_begin - first : 0);
        step.row_end =
            (uint16_t)((step.row_end < end ? step.row_end : end) - (step.row_end < first ? step.row_end : first));
        check_status(fv_plan_add(&part, step));
    }
    return part;
}

/* What other rows of the tile read decides how pages are packed, and no bit of a row. */
static void test_row_bits_are_its_own(void **state) {
    (void)state;
    test_random random = test_random_make(7);
    for (size_t k = 0; k < tables.count; k++)
        for (int run = 0; run < 18; run++) {
            attention_world w = sparse_world(tables.table[k], run, &random);
            fv_step steps[SPARSE_STEPS], part_steps[SPARSE_STEPS];
            fv_plan plan = {.steps = steps, .capacity = SPARSE_STEPS};
            page_plan(&random, SPARSE_TOKENS, FV_TILE_ROWS, &plan);
            size_t width = (size_t)w.attend.query_heads * w.attend.head_dim;
            float *whole = world_memory(FV_TILE_ROWS * width * sizeof(float)),
                  *part = world_memory(FV_TILE_ROWS * width * 4);
            tile_run(&w, &plan, 0, whole);
            for (uint32_t first = 0, end; first < FV_TILE_ROWS; first = end) {
                end = test_random_in(&random, first + 1, FV_TILE_ROWS);
                fv_plan rows = plan_of_rows(&plan, first, end, part_steps);
                tile_run(&w, &rows, 0, part);
                assert_memory_equal(part, whole + first * width, (end - first) * width * sizeof(float));
            }
            free(whole), free(part);
            world_free(&w);
        }
}

/* Every page in a step of its own, cut anywhere, is one span; and a key that nobody reads does not matter. */
static void test_touching_spans_are_one(void **state) {
    (void)state;
    test_random random = test_random_make(8);
    for (size_t k = 0; k < tables.count; k++)
        for (int run = 0; run < 9; run++) {
            attention_world w = sparse_world(tables.table[k], run, &random);
            fv_step whole_steps[2], steps[SPARSE_STEPS], diagonal = diag_step(SPARSE_TOKENS - FV_TILE_ROWS, 15, 16);
            whole_steps[0] = span_step(1 + (uint32_t)run * 7, SPARSE_TOKENS, 0, FV_TILE_ROWS),
            whole_steps[1] = diagonal;
            if (run % 2) whole_steps[0].window = 400;
            fv_plan whole = {whole_steps, 2, 2, SPARSE_TOKENS - FV_TILE_ROWS, FV_TILE_ROWS}, cut = whole;
            cut.steps = steps, cut.capacity = SPARSE_STEPS, cut.count = 0;
            for (uint32_t begin = whole_steps[0].begin, end; begin < SPARSE_TOKENS; begin = end) {
                end = (begin / FV_PAGE_TOKENS + 1) * FV_PAGE_TOKENS;
                if (cut.count % 5 == 4) end = begin + test_random_in(&random, 1, 40);
                if (end > SPARSE_TOKENS) end = SPARSE_TOKENS;
                fv_step step = whole_steps[0];
                step.begin = begin, step.end = end;
                check_status(fv_plan_add(&cut, step));
                if (cut.count == 20) check_status(fv_plan_add(&cut, diagonal)); /* between the spans */
            }
            size_t bytes = FV_TILE_ROWS * (size_t)w.attend.query_heads * w.attend.head_dim * sizeof(float);
            float *one = world_memory(bytes), *many = world_memory(bytes);
            tile_run(&w, &whole, 0, one);
            tile_run(&w, &cut, 0, many);
            assert_memory_equal(one, many, bytes);
            free(one), free(many);
            world_free(&w);
        }
}

/* Keys and values that no row reads may be anything. */
static void test_unread_keys_do_not_matter(void **state) {
    (void)state;
    test_random random = test_random_make(9);
    for (size_t k = 0; k < tables.count; k++)
        for (uint32_t type = 0; type < 2; type++) {
            fv_cache_config shape = {
                .kv_heads = 1, .head_dim = 24, .max_tokens = 400, .key_type = type, .value_type = type};
            attention_world w = world_make(tables.table[k], shape, 2, 0, &random);
            fv_step steps[SPARSE_STEPS];
            fv_plan plan = {.steps = steps, .capacity = SPARSE_STEPS};
            page_plan(&random, 400, FV_TILE_ROWS, &plan);
            size_t width = 2 * 24, bytes = FV_TILE_ROWS * width * sizeof(float);
            float *clean = world_memory(bytes), *dirty = world_memory(bytes);
            world_append(&w, 400);
            tile_run(&w, &plan, 0, clean);
            uint32_t row = test_random_in(&random, 0, FV_TILE_ROWS - 1);
            read_set set = set_of_plan(&plan, row);
            for (uint32_t token = 0; token < 400; token++)
                for (uint32_t c = 0; c < 24 && !set.token[token]; c++)
                    w.keys[token * w.kv_stride + c] = w.values[token * w.kv_stride + c] = token % 3 ? NAN : INFINITY;
            world_cache_reset(&w);
            world_append(&w, 400);
            tile_run(&w, &plan, 0, dirty);
            assert_memory_equal(clean + row * width, dirty + row * width, width * sizeof(float));
            free(clean), free(dirty);
            world_free(&w);
        }
}

/* Runs of pages that are cut at their beginning, their end and in their middle: what the cuts leave out may be
 * anything, for all rows of a tile. */
static void test_cut_pages_in_a_run(void **state) {
    (void)state;
    static const uint32_t types[] = {FV_ELEMENT_F32, FV_ELEMENT_F16, FV_ELEMENT_BF16};
    test_random random = test_random_make(10);
    for (uint32_t run = 0; run < 40 * tables.count; run++) {
        fv_cache_config shape = {.kv_heads = 1,
                                 .head_dim = run % 5 ? 16 : 33,
                                 .max_tokens = 200,
                                 .key_type = types[run % 3],
                                 .value_type = types[run / 3 % 3]};
        attention_world w = world_make(tables.table[run % tables.count], shape, 1 + run % 3, 0, &random);
        fv_step steps[12];
        fv_plan plan = {.steps = steps, .capacity = 12, .first_token = 190, .rows = test_random_in(&random, 1, 5)};
        uint16_t rows = (uint16_t)plan.rows;
        if (run < tables.count) {
            check_status(fv_plan_add(&plan, span_step(0, 10, 0, rows)));
            check_status(fv_plan_add(&plan, span_step(16, 48, 0, rows)));
        } else {
            for (uint32_t begin = test_random_in(&random, 0, 20), end; begin < 170 && plan.count < 12;
                 begin =
                     end + (test_random_in(&random, 0, 1) ? (16 - end % 16) % 16 : test_random_in(&random, 1, 20))) {
                end = begin + test_random_in(&random, 1, 40); /* often up to a page's end, and on after a cut page */
                if (test_random_in(&random, 0, 1)) end = (end + 15) / 16 * 16;
                if (end > 190) end = 190; /* rows see all of it */
                check_status(fv_plan_add(&plan, span_step(begin, end, 0, rows)));
            }
        }
        check_status(fv_plan_check(&plan, 200, 0));
        size_t width = (size_t)w.attend.query_heads * shape.head_dim, bytes = rows * width * sizeof(float);
        float *clean = world_memory(bytes), *dirty = world_memory(bytes);
        world_append(&w, 200);
        tile_run(&w, &plan, 0, clean);
        read_set set = set_of_plan(&plan, 0);
        for (uint32_t token = 0; token < 200; token++)
            for (uint32_t c = 0; c < shape.head_dim && !set.token[token]; c++)
                w.keys[token * w.kv_stride + c] = w.values[token * w.kv_stride + c] = token % 3 ? NAN : INFINITY;
        world_cache_reset(&w);
        world_append(&w, 200);
        tile_run(&w, &plan, 0, dirty);
        assert_memory_equal(clean, dirty, bytes);
        free(clean), free(dirty);
        world_free(&w);
    }
}

/* Nothing to read: zeros, in every part of a tile. */
static void test_empty_rows_are_zero(void **state) {
    (void)state;
    test_random random = test_random_make(3);
    fv_cache_config shape = {
        .kv_heads = 2, .head_dim = 12, .max_tokens = 40, .key_type = FV_ELEMENT_F32, .value_type = FV_ELEMENT_F16};
    for (size_t k = 0; k < tables.count; k++) {
        attention_world w = world_make(tables.table[k], shape, 3, 0, &random);
        world_append(&w, 40);
        fv_step steps[2];
        fv_plan plan = {.steps = steps, .capacity = 2, .first_token = 10, .rows = 8};
        float out[8 * 6 * 12];
        for (int filled = 0; filled < 2; filled++) {
            plan.count = 0;
            if (filled) check_status(fv_plan_add(&plan, span_step(14, 30, 0, 8)));
            tile_run(&w, &plan, 1, out);
            for (uint32_t row = 0; row < 8; row++)
                for (uint32_t c = 0; c < 36; c++) {
                    float got = out[row * 72 + 36 + c];
                    if (!filled || row < 4) assert_true(got == 0.0f);
                    if (filled && row >= 4) assert_true(got != 0.0f && fabsf(got) <= 1.0f);
                }
        }
        world_free(&w);
    }
}

/* States merge to one pass; a part that read nothing changes no bit. */
static void test_state_merge(void **state) {
    (void)state;
    test_random random = test_random_make(4);
    enum { ROWS = 3, DIM = 9, FLOATS = ROWS * (DIM + 1 + FV_SUM_LANES) };
    assert_int_equal(fv_state_floats(ROWS, DIM), FLOATS);
    for (int run = 0; run < 400; run++) {
        float memory[2][FLOATS], before[FLOATS];
        fv_state part[2];
        double want[ROWS][DIM] = {{0}}, sum[ROWS] = {0};
        for (size_t p = 0; p < 2; p++) {
            part[p] = fv_state_at(memory[p], ROWS, DIM);
            for (size_t i = 0; i < FLOATS; i++) memory[p][i] = 1.5f + test_random_f32(&random);
            for (size_t r = 0; r < ROWS; r++) {
                part[p].maximum[r] = (float)test_random_in(&random, 0, 40) - 20.0f;
                for (size_t i = 0; i < FV_SUM_LANES; i++)
                    sum[r] += exp2((double)part[p].maximum[r]) * (double)part[p].sum[r * FV_SUM_LANES + i];
                for (size_t c = 0; c < DIM; c++)
                    want[r][c] += exp2((double)part[p].maximum[r]) * (double)part[p].out[r * DIM + c];
            }
        }
        fv_state_merge(&part[0], &part[1], ROWS, DIM);
        float out[ROWS * DIM];
        fv_state_finish(&part[0], ROWS, DIM, out);
        for (size_t i = 0; i < ROWS * DIM; i++)
            assert_true(fabs((double)out[i] / (want[i / DIM][i % DIM] / sum[i / DIM]) - 1) < 3e-6);
        memcpy(before, memory[0], sizeof before);
        fv_state_clear(part[1], ROWS, DIM);
        fv_state_merge(&part[0], &part[1], ROWS, DIM);
        assert_memory_equal(memory[0], before, sizeof before);
        fv_state_merge(&part[1], &part[0], ROWS, DIM); /* into an empty one: a copy */
        assert_memory_equal(memory[1], before, sizeof before);
    }
}

/* A part counts as long as it is a power of two of f32 that is normal, however far below the other its maximum is; and
 * log-sum-exps keep their last bits, however large a maximum is. */
static void test_state_of_distant_parts(void **state) {
    (void)state;
    test_random random = test_random_make(11);
    for (int distance = 0; distance <= 126; distance++) {
        float memory[2][1 + 1 + FV_SUM_LANES] = {{0}}, many = ldexpf(1.0f, distance), lse;
        fv_state near = fv_state_at(memory[0], 1, 1), far = fv_state_at(memory[1], 1, 1);
        near.maximum[0] = 3, near.sum[0] = 1, near.out[0] = 5;
        far.maximum[0] = (float)(3 - distance), far.sum[1] = many, far.out[0] = 2 * many;
        fv_state_merge(&near, &far, 1, 1);
        assert_true(near.maximum[0] == 3 && near.sum[0] == 1 && near.sum[1] == 1 && near.out[0] == 7);
        for (int i = 0; i < 4; i++) {
            near.maximum[0] = (float)(i % 2 ? distance : -distance);
            near.sum[0] = 1 + 1000 * fabsf(test_random_f32(&random)), near.sum[1] = 0;
            fv_state_lse(&near, 1, &lse);
            double want = (double)near.maximum[0] * 0.69314718055994531 + log((double)near.sum[0]);
            if (!(fabs((double)lse - want) <= 1.5e-7 * (fabs(want) + 4)))
                fail_msg("2^%g * %g: %.9g, not %.9g", (double)near.maximum[0], (double)near.sum[0], (double)lse, want);
        }
    }
}

static void test_arguments(void **state) {
    (void)state;
    test_random random = test_random_make(5);
    fv_cache_config shape = {
        .kv_heads = 2, .head_dim = 8, .max_tokens = 32, .key_type = FV_ELEMENT_F32, .value_type = FV_ELEMENT_F32};
    attention_world w = world_make(tables.table[0], shape, 2, 0, &random);
    world_append(&w, 32);
    size_t bytes = 777, exact = 0;
    fv_attend_config bad = w.attend;
    check_status(fv_attend_size(&w.attend, &exact));
    bad.query_heads = 5;
    assert_int_equal(fv_attend_size(&bad, &bytes), FV_ERROR_ARGUMENT);
    bad = w.attend, bad.kv_heads = 0;
    assert_int_equal(fv_attend_size(&bad, &bytes), FV_ERROR_ARGUMENT);
    bad = w.attend, bad.head_dim = 0;
    assert_int_equal(fv_attend_size(&bad, &bytes), FV_ERROR_ARGUMENT);
    bad = w.attend, bad.query_heads = 0;
    assert_int_equal(fv_attend_size(&bad, &bytes), FV_ERROR_ARGUMENT);
    bad = w.attend, bad.scale = 0;
    assert_int_equal(fv_attend_size(&bad, &bytes), FV_ERROR_ARGUMENT);
    bad.scale = NAN;
    assert_int_equal(fv_attend_size(&bad, &bytes), FV_ERROR_ARGUMENT);
    bad.scale = INFINITY;
    assert_int_equal(fv_attend_size(&bad, &bytes), FV_ERROR_ARGUMENT);
    bad = w.attend, bad.softcap = -1;
    assert_int_equal(fv_attend_size(&bad, &bytes), FV_ERROR_ARGUMENT);
    bad.softcap = INFINITY;
    assert_int_equal(fv_attend_size(&bad, &bytes), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_attend_size(&w.attend, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_attend_size(NULL, &bytes), FV_ERROR_ARGUMENT);
    assert_int_equal(bytes, 777);
    fv_step step = span_step(0, 32, 0, 2);
    fv_plan plan = {.steps = &step, .count = 1, .capacity = 1, .first_token = 30, .rows = 2};
    unsigned char *scratch = world_memory(exact + 64);
    float out[2 * 32] = {0};
#define TILE(config, kv_head, memory, size) \
    fv_attend_tile(config, w.kernels, w.cache, &plan, kv_head, w.queries, w.query_stride, out, 32, memory, size)
    assert_int_equal(TILE(&w.attend, 0, scratch, exact), FV_OK);
    memset(out, 0, sizeof out);
    assert_int_equal(TILE(&w.attend, 2, scratch, exact), FV_ERROR_ARGUMENT);
    assert_int_equal(TILE(&w.attend, 0, scratch, exact - 1), FV_ERROR_MEMORY);
    assert_int_equal(TILE(&w.attend, 0, scratch + 4, exact), FV_ERROR_MEMORY);
    assert_int_equal(TILE(&w.attend, 0, NULL, exact), FV_ERROR_MEMORY);
    bad = w.attend, bad.kv_heads = 1;
    assert_int_equal(TILE(&bad, 0, scratch, exact * 8), FV_ERROR_ARGUMENT);
    bad = w.attend, bad.head_dim = 4;
    assert_int_equal(TILE(&bad, 0, scratch, exact), FV_ERROR_ARGUMENT);
    for (size_t i = 0; i < 64; i++) assert_true(out[i] == 0.0f); /* untouched on error */
    free(scratch);
    world_free(&w);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_plans),           cmocka_unit_test(test_many_gathered_keys),
        cmocka_unit_test(test_empty_rows_are_zero),    cmocka_unit_test(test_state_merge),
        cmocka_unit_test(test_state_of_distant_parts), cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_sparse_pages),           cmocka_unit_test(test_row_bits_are_its_own),
        cmocka_unit_test(test_touching_spans_are_one), cmocka_unit_test(test_unread_keys_do_not_matter),
        cmocka_unit_test(test_cut_pages_in_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
