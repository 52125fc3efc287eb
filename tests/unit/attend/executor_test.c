/* Executors under attention: one that counts and forwards gives the same bits, one that fails ends the call; states of
 * two halves of the keys in two caches merge to attention over all. */
#include "fovea/attention.h"
#include "fovea/executor.h"
#include "support/attention_world.h"
#include "support/tables.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

enum {
    TOKENS = 2300,
    HEADS = 2,
    GROUP = 3,
    QUERY_HEADS = HEADS * GROUP,
    DIM = 32,
    ROWS = 40,
    WIDTH = QUERY_HEADS * DIM
};

static test_tables tables;

typedef struct forwarder {
    fv_executor to;
    atomic_uint runs, fail_at; /* fail_at: the run that fails, counted from 1; 0: none */
} forwarder;

static fv_status forward(void *self, const fv_execution *execution) {
    forwarder *own = self;
    uint32_t run = atomic_fetch_add(&own->runs, 1) + 1;
    if (run == own->fail_at) return FV_ERROR_FILE;
    return own->to.run(own->to.self, execution);
}

static attention_world world_of(uint32_t tokens) {
    test_random random = test_random_make(73);
    fv_cache_config shape;
    fv_cache_config_default(&shape);
    shape.kv_heads = HEADS, shape.head_dim = DIM, shape.max_tokens = TOKENS, shape.shadow = 1;
    attention_world w = world_make(tables.table[tables.count - 1], shape, GROUP, 0, &random);
    world_append(&w, tokens);
    return w;
}

static void *cpu_open(const attention_world *w, uint32_t workers, fv_executor *executor) {
    size_t bytes = 0;
    assert_int_equal(fv_executor_cpu_size(&w->attend, workers, &bytes), FV_OK);
    void *memory = world_memory(bytes);
    assert_int_equal(fv_executor_cpu_init(executor, &w->attend, w->kernels, workers, memory, bytes), FV_OK);
    return memory;
}

static void *attention_open(const attention_world *w, const fv_policy *policy, const fv_executor *executor,
                            fv_attention **attention) {
    fv_attention_config config = {.attend = w->attend,
                                  .max_tokens = TOKENS,
                                  .workers = 3,
                                  .plan_steps = fv_policy_steps(policy, TOKENS, FV_TILE_ROWS),
                                  .state_rows = 2,
                                  .chooses = 1,
                                  .executor = executor};
    size_t bytes = 0;
    assert_int_equal(fv_attention_size(&config, &bytes), FV_OK);
    void *memory = world_memory(bytes);
    assert_int_equal(fv_attention_init(attention, &config, w->kernels, memory, bytes), FV_OK);
    return memory;
}

static fv_status attend(const attention_world *w, const fv_policy *policy, const fv_executor *executor, uint32_t rows,
                        fv_deadline *deadline, float *out) {
    fv_attention *attention;
    void *memory = attention_open(w, policy, executor, &attention);
    fv_progress progress;
    fv_attention_rows last = {.first_token = TOKENS - rows,
                              .count = rows,
                              .query = w->queries + (TOKENS - rows) * w->query_stride,
                              .query_stride = w->query_stride,
                              .out = out,
                              .out_stride = WIDTH,
                              .deadline = deadline,
                              .progress = deadline ? &progress : NULL};
    fv_status status = fv_attention_run(attention, w->cache, policy, &last, NULL, NULL);
    free(memory);
    return status;
}

/* Prompt, one row, rounds before a deadline; policies by position, by the queries, with gathered keys. */
static void test_another_executor_has_the_same_bits(void **state) {
    (void)state;
    attention_world w = world_of(TOKENS);
    forwarder other = {.runs = 0};
    void *memory = cpu_open(&w, 3, &other.to);
    const fv_executor executor = {.run = forward, .self = &other};
    fv_policy policies[3];
    fv_policy_default(FV_SELECTOR_DENSE, &policies[0]);
    fv_policy_default(FV_SELECTOR_PATTERN, &policies[1]);
    fv_policy_default(FV_SELECTOR_FOVEA, &policies[2]);
    policies[1].landmarks = 0;
    policies[2].dense_below = 0;
    policies[2].floor = 0;
    for (uint32_t p = 0; p < 3; p++)
        for (uint32_t run = 0; run < 4; run++) {
            static float want[ROWS * WIDTH], out[ROWS * WIDTH];
            uint64_t looks = 0;
            fv_deadline deadline = {.clock = look_count, .context = &looks, .end_ns = UINT64_MAX};
            fv_deadline *given = run < 2 ? NULL : &deadline;
            uint32_t rows = run % 2 ? 1 : ROWS, before = other.runs;
            assert_int_equal(attend(&w, &policies[p], NULL, rows, given, want), FV_OK);
            assert_int_equal(other.runs, before);
            assert_int_equal(attend(&w, &policies[p], &executor, rows, given, out), FV_OK);
            assert_memory_equal(out, want, rows * WIDTH * sizeof(float));
            assert_true(other.runs > before);
            other.runs = 0;
            other.fail_at = 1;
            assert_int_equal(attend(&w, &policies[p], &executor, rows, given, out), FV_ERROR_FILE);
            other.fail_at = 0;
        }
    free(memory);
    world_free(&w);
}

/* Keys 0..1332 in one cache, the others in another: their states, merged, are those of all keys. */
static void test_states_of_two_caches_merge(void **state) {
    (void)state;
    const uint32_t begin[3] = {0, 0, 1333}, end[3] = {TOKENS, 1333, TOKENS};
    attention_world w = world_of(TOKENS);
    size_t bytes = 0;
    assert_int_equal(fv_state_bytes(GROUP, DIM, &bytes), FV_OK);
    float *memory[3], out[2][GROUP * DIM], lse[2][GROUP];
    for (uint32_t part = 0; part < 3; part++) {
        uint32_t tokens = end[part] - begin[part];
        size_t first = begin[part] * w.kv_stride;
        world_cache_reset(&w);
        assert_int_equal(fv_cache_append(w.cache, tokens, w.keys + first, w.kv_stride, w.values + first, w.kv_stride),
                         FV_OK);
        fv_step all = {.kind = FV_STEP_SPAN, .end = tokens, .row_end = 1};
        fv_plan plan = {.steps = &all, .count = 1, .capacity = 1, .first_token = tokens - 1, .rows = 1};
        fv_executor cpu;
        void *scratch = cpu_open(&w, 1, &cpu);
        memory[part] = world_memory(bytes);
        fv_execution execution = {.config = &w.attend,
                                  .cache = w.cache,
                                  .plans = &plan,
                                  .first_head = 1,
                                  .heads = 1,
                                  .query = w.queries + (TOKENS - 1) * w.query_stride,
                                  .query_stride = w.query_stride,
                                  .segments = (tokens - 1) / FV_SEGMENT_TOKENS + 1,
                                  .states = memory[part]};
        assert_int_equal(cpu.run(cpu.self, &execution), FV_OK);
        execution.worker = 1;
        assert_int_equal(cpu.run(cpu.self, &execution), FV_ERROR_ARGUMENT);
        free(scratch);
    }
    fv_state whole = fv_state_at(memory[0], GROUP, DIM), half = fv_state_at(memory[1], GROUP, DIM),
             other = fv_state_at(memory[2], GROUP, DIM);
    fv_state_merge(&half, &other, GROUP, DIM);
    fv_state_finish(&whole, GROUP, DIM, out[0]);
    fv_state_finish(&half, GROUP, DIM, out[1]);
    fv_state_lse(&whole, GROUP, lse[0]);
    fv_state_lse(&half, GROUP, lse[1]);
    for (uint32_t i = 0; i < GROUP * DIM; i++) assert_true(fabsf(out[0][i] - out[1][i]) < 1e-6f);
    for (uint32_t g = 0; g < GROUP; g++) assert_true(fabsf(lse[0][g] - lse[1][g]) < 2e-6f);
    for (uint32_t part = 0; part < 3; part++) free(memory[part]);
    world_free(&w);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_another_executor_has_the_same_bits),
                                       cmocka_unit_test(test_states_of_two_caches_merge)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
