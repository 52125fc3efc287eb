/* Finite input, however large, gives finite output and reports without a NaN, or is refused before anything is stored:
 * every element type under every policy. */
#include "support/attention_world.h"
#include "support/tables.h"
#include <float.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { TOKENS = 1100, DIM = 32, GROUP = 2, WIDTH = GROUP * DIM };

static test_tables tables;

/* Every selector, with what it can be asked for. */
typedef struct policy_case {
    fv_selector selector;
    uint32_t certificate, tail;
    float quality;
} policy_case;

static const policy_case policies[] = {
    {.selector = FV_SELECTOR_DENSE},
    {.selector = FV_SELECTOR_WINDOW},
    {.selector = FV_SELECTOR_PATTERN},
    {.selector = FV_SELECTOR_FOVEA},
    {.selector = FV_SELECTOR_FOVEA, .certificate = 1},
    {.selector = FV_SELECTOR_FOVEA, .certificate = 1, .quality = 0.1f},
    {.selector = FV_SELECTOR_FOVEA, .tail = 1},
    {.selector = FV_SELECTOR_CASCADE},
};

static fv_policy policy_of(const policy_case *given) {
    fv_policy policy;
    fv_policy_default(given->selector, &policy);
    policy.certificate = given->certificate;
    policy.tail = given->tail;
    policy.quality = given->quality;
    if (fv_policy_is_dynamic(&policy)) policy.window = 16, policy.floor = 0, policy.dense_below = 0;
    return policy;
}

static fv_cache_config shape_of(uint32_t type, const fv_policy *policy) {
    bool chooses = fv_policy_is_dynamic(policy);
    return (fv_cache_config){.kv_heads = 1,
                             .head_dim = DIM,
                             .max_tokens = TOKENS,
                             .key_type = type,
                             .value_type = type,
                             .landmark_tokens = policy->selector == FV_SELECTOR_PATTERN ? policy->block : 0,
                             .shadow = chooses,
                             .margins = chooses && policy->certificate,
                             .tail = chooses && policy->tail};
}

static void check_finite(const float *x, size_t n, const char *what, uint32_t type, const fv_policy *policy, float size,
                         float query_size) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            fail_msg("%s: %g at %zu; type %u selector %u certificate %u tail %u quality %g size %g query %g", what,
                     (double)x[i], i, type, policy->selector, policy->certificate, policy->tail,
                     (double)policy->quality, (double)size, (double)query_size);
}

/* The last rows, alone and together. */
static void rows_run(const attention_world *w, const fv_policy *policy, uint32_t type, float size, float query_size) {
    static float out[20 * WIDTH];
    size_t bytes = 0;
    fv_attention *attention = NULL;
    fv_attention_config config = {.attend = w->attend,
                                  .max_tokens = TOKENS,
                                  .workers = 1,
                                  .plan_steps = fv_policy_steps(policy, TOKENS, FV_TILE_ROWS),
                                  .chooses = fv_policy_is_dynamic(policy)};
    assert_int_equal(fv_attention_size(&config, &bytes), FV_OK);
    void *memory = world_memory(bytes);
    assert_int_equal(fv_attention_init(&attention, &config, w->kernels, memory, bytes), FV_OK);
    for (uint32_t rows = 1; rows <= 20; rows += 19) {
        fv_report report = {.struct_bytes = sizeof report};
        fv_attention_rows part = {.first_token = TOKENS - rows,
                                  .count = rows,
                                  .query = w->queries + (TOKENS - rows) * w->query_stride,
                                  .query_stride = w->query_stride,
                                  .out = out,
                                  .out_stride = WIDTH};
        assert_int_equal(fv_attention_run(attention, w->cache, policy, &part, NULL, &report), FV_OK);
        check_finite(out, rows * WIDTH, "output", type, policy, size, query_size);
        if (!policy->certificate) continue;
        assert_int_equal(report.certified_rows, rows * GROUP);
        assert_false(isnan(report.error_bound) || isnan(report.relative_bound) || isnan(report.relative_estimate));
    }
    free(memory);
}

/* size: of the largest key and value. Whether they were taken. */
static bool world_fill(attention_world *w, float size, float query_size, uint32_t constant) {
    for (size_t i = 0; i < w->tokens * w->kv_stride; i++) {
        w->keys[i] = size * (constant ? 1.0f : w->keys[i]);
        w->values[i] = size * (constant ? 1.0f : w->values[i]);
    }
    for (size_t i = 0; i < w->tokens * w->query_stride; i++) w->queries[i] *= query_size;
    w->keys[7] = w->values[3] = size;
    fv_status status = fv_cache_append(w->cache, w->tokens, w->keys, w->kv_stride, w->values, w->kv_stride);
    assert_true(status == FV_OK || status == FV_ERROR_RANGE);
    if (status != FV_OK) assert_int_equal(fv_cache_tokens(w->cache), 0);
    return status == FV_OK;
}

static void test_huge_input(void **state) {
    (void)state;
    static const float sizes[] = {1.0f, 60000.0f, 70000.0f, 1e9f, FV_CACHE_LARGEST, 1e20f, 3e38f, FLT_MAX};
    static const float query_sizes[] = {1.0f, 1e15f, FLT_MAX};
    static const uint32_t sizes_taken[FV_ELEMENT_COUNT] = {[FV_ELEMENT_F32] = 5,
                                                           [FV_ELEMENT_F16] = 2,
                                                           [FV_ELEMENT_Q8_0] = 5,
                                                           [FV_ELEMENT_BF16] = 5,
                                                           [FV_ELEMENT_Q4_0] = 3};
    test_random random = test_random_make(31);
    const fv_kernels *kernels = tables.table[tables.count - 1];
    for (uint32_t type = 0; type < FV_ELEMENT_COUNT; type++)
        for (size_t p = 0; p < sizeof policies / sizeof *policies; p++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                for (uint32_t k = 0; k < 3; k++) {
                    fv_policy policy = policy_of(&policies[p]);
                    attention_world w = world_make(kernels, shape_of(type, &policy), GROUP, 0, &random);
                    bool taken = world_fill(&w, sizes[s], query_sizes[k], (k + (uint32_t)s) % 2);
                    assert_int_equal(taken, s < sizes_taken[type]);
                    if (taken) rows_run(&w, &policy, type, sizes[s], query_sizes[k]);
                    world_free(&w);
                }
}

/* The first number that is refused, of keys and of values, in any place; what is not finite is another matter. */
static void test_edges(void **state) {
    (void)state;
    static const float last[FV_ELEMENT_COUNT] = {[FV_ELEMENT_F32] = FV_CACHE_LARGEST,
                                                 [FV_ELEMENT_F16] = 65519.996f,
                                                 [FV_ELEMENT_Q8_0] = FV_CACHE_LARGEST,
                                                 [FV_ELEMENT_BF16] = FV_CACHE_LARGEST,
                                                 [FV_ELEMENT_Q4_0] = 524032.0f};
    _Alignas(64) static unsigned char memory[65536];
    enum { HEADS = 2, WIDE = 40, ROW = HEADS * WIDE, STRIDE = ROW + 1, COUNT = 19 };
    float x[COUNT * STRIDE], got[WIDE];
    for (size_t i = 0; i < COUNT * STRIDE; i++) x[i] = i % STRIDE == ROW ? 3e38f : 1.0f; /* gaps are not looked at */
    for (uint32_t type = 0; type < FV_ELEMENT_COUNT; type++)
        for (size_t i = 0; i < COUNT * STRIDE; i += 7) {
            if (i % STRIDE == ROW) continue;
            const fv_cache_config config = {
                .kv_heads = HEADS, .head_dim = WIDE, .max_tokens = 32, .key_type = type, .value_type = type};
            fv_cache *cache = NULL;
            float y[COUNT * STRIDE], sign = i % 2 ? -1.0f : 1.0f;
            memcpy(y, x, sizeof y);
            assert_int_equal(fv_cache_init(&cache, &config, tables.table[0], memory, sizeof memory), FV_OK);
            y[i] = sign * nextafterf(last[type], INFINITY);
            assert_int_equal(fv_cache_append(cache, COUNT, x, STRIDE, y, STRIDE), FV_ERROR_RANGE);
            assert_int_equal(fv_cache_append(cache, COUNT, y, STRIDE, x, STRIDE), FV_ERROR_RANGE);
            assert_int_equal(fv_cache_tokens(cache), 0);
            y[i] = sign * last[type];
            assert_int_equal(fv_cache_append(cache, COUNT, y, STRIDE, y, STRIDE), FV_OK);
            uint32_t token = (uint32_t)(i / STRIDE), head = (uint32_t)(i % STRIDE / WIDE);
            for (int side = 0; side < 2; side++) {
                assert_int_equal(fv_cache_read(cache, head, token, 1, side ? NULL : got, side ? got : NULL), FV_OK);
                for (size_t c = 0; c < WIDE; c++) assert_true(isfinite(got[c]));
                assert_true(fabsf(got[i % STRIDE % WIDE] - y[i]) <= last[type] / 7.9f);
            }
            assert_int_equal(fv_cache_truncate(cache, 0), FV_OK);
            y[i] = sign * INFINITY;
            assert_int_equal(fv_cache_append(cache, COUNT, y, STRIDE, y, STRIDE), FV_OK);
        }
}

static int setup(void **state) {
    (void)state;
    test_tables_make(&tables);
    return tables.count == 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_huge_input),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
