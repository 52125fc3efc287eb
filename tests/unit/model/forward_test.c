/* forward_test.c - a refused forward pass leaves a model as it was; memory that is exactly enough; bits that do not
 * depend on the cutting. The numbers themselves are checked end to end by tests/model. */
#include "fovea/model.h"
#include "support/model_world.h"
#include "support/tables.h"
#include "support/test_policy.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static test_tables tables;

typedef struct model_case {
    fv_layer_weights layers[LAYERS];
    fv_model *model;
    void *memory;
} model_case;

static void model_make(model_case *c, const fv_kernels *kernels) {
    test_random random = test_random_make(1);
    fv_model_config config = config_make();
    fv_model_weights weights = weights_make(c->layers, &random);
    fv_model_bytes bytes;
    assert_int_equal(fv_model_size(&config, 1, &bytes), FV_OK);
    c->memory = world_memory(bytes.total);
    c->model = NULL;
    assert_int_equal(fv_model_init(&c->model, &config, &weights, kernels, 1, c->memory, bytes.total - 1),
                     FV_ERROR_MEMORY);
    assert_int_equal(fv_model_init(&c->model, &config, &weights, kernels, 1, (char *)c->memory + 4, bytes.total),
                     FV_ERROR_MEMORY);
    weights.output_norm.columns--;
    assert_int_equal(fv_model_init(&c->model, &config, &weights, kernels, 1, c->memory, bytes.total),
                     FV_ERROR_ARGUMENT);
    weights.output_norm.columns++;
    assert_null(c->model);
    assert_int_equal(fv_model_init(&c->model, &config, &weights, kernels, 1, c->memory, bytes.total), FV_OK);
}

static const int32_t text[20] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1, 3, 5, 7, 9, 2, 4, 6, 8};

static void test_cutting_shows_in_no_bit(void **state) {
    (void)state;
    for (size_t k = 0; k < tables.count; k++)
        for (uint32_t selector = FV_SELECTOR_DENSE; selector <= FV_SELECTOR_PATTERN; selector++) {
            fv_policy policy;
            fv_policy_default((fv_selector)selector, &policy);
            policy.block = 16;
            if (selector == FV_SELECTOR_PATTERN) policy.window = 3;
            model_case c;
            float want[20][VOCABULARY], got[VOCABULARY];
            model_make(&c, tables.table[k]);
            assert_int_equal(fv_model_forward(c.model, text, 20, &policy, NULL, NULL), FV_OK);
            assert_int_equal(fv_model_logits(c.model, 0, 20, NULL, want[0]), FV_OK);
            for (size_t i = 0; i < sizeof want / sizeof **want; i++)
                assert_true(isfinite(want[i / VOCABULARY][i % VOCABULARY]));
            assert_int_equal(fv_model_truncate(c.model, 0), FV_OK);
            for (uint32_t t = 0; t < 20; t++) {
                assert_int_equal(fv_model_forward(c.model, text + t, 1, &policy, NULL, NULL), FV_OK);
                assert_int_equal(fv_model_logits(c.model, 0, 1, NULL, got), FV_OK);
                assert_memory_equal(got, want[t], sizeof got);
            }
            free(c.memory);
        }
}

/* Refused before and in the middle: tokens stay, rows of no forward have no logits, what follows has the same bits. */
static void test_refused_forward(void **state) {
    (void)state;
    model_case c, other;
    float got[VOCABULARY], want[VOCABULARY];
    fv_policy dense = test_policy(FV_SELECTOR_DENSE), bad = test_policy(FV_SELECTOR_PATTERN);
    static const uint8_t keep[1] = {1};
    model_make(&c, tables.table[0]);
    assert_int_equal(fv_model_logits(c.model, 0, 1, NULL, got), FV_ERROR_ARGUMENT); /* nothing was evaluated yet */
    assert_int_equal(fv_model_forward(c.model, text, 3, &dense, NULL, NULL), FV_OK);
    const int32_t outside[2] = {1, VOCABULARY}, negative[1] = {-1};
    assert_int_equal(fv_model_forward(c.model, outside, 2, &dense, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_model_forward(c.model, negative, 1, &dense, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_model_forward(c.model, text, 0, &dense, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_model_forward(c.model, text, 21, &dense, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_model_forward(c.model, text, 1, &bad, NULL, NULL),
                     FV_ERROR_POLICY); /* block 64, caches have 16 */
    assert_int_equal(fv_model_batch_rows(c.model),
                     3); /* refused at the door: the last forward's rows are still there */
    assert_int_equal(fv_model_logits(c.model, 1, 1, NULL, got), FV_OK);
    bad.block = 16, bad.keep = keep, bad.keep_tokens = 1;
    assert_int_equal(fv_model_forward(c.model, text + 3, 2, &bad, NULL, NULL),
                     FV_ERROR_ARGUMENT); /* too short a mask */
    assert_int_equal(fv_model_tokens(c.model), 3);
    uint32_t rows = fv_model_batch_rows(c.model);
    assert_true(rows == 0 || rows == 3); /* rows that are overwritten are not offered */
    if (rows == 3) {
        assert_int_equal(fv_model_logits(c.model, 1, 1, NULL, want), FV_OK);
        assert_memory_equal(got, want, sizeof got);
    }
    assert_int_equal(fv_model_forward(c.model, text + 3, 2, &dense, NULL, NULL), FV_OK);
    assert_int_equal(fv_model_logits(c.model, 1, 1, NULL, got), FV_OK);
    model_make(&other, tables.table[0]);
    assert_int_equal(fv_model_forward(other.model, text, 5, &dense, NULL, NULL), FV_OK);
    assert_int_equal(fv_model_logits(other.model, 4, 1, NULL, want), FV_OK);
    assert_memory_equal(got, want, sizeof got);
    for (int i = 0; i < 2; i++) assert_int_equal(fv_model_forward(other.model, text, 20, &dense, NULL, NULL), FV_OK);
    assert_int_equal(fv_model_forward(other.model, text, 6, &dense, NULL, NULL), FV_ERROR_FULL);
    assert_int_equal(fv_model_forward(other.model, text, 5, &dense, NULL, NULL), FV_OK);
    assert_int_equal(fv_model_tokens(other.model), MAX_TOKENS);
    assert_int_equal(fv_model_logits(other.model, 5, 1, NULL, got), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_model_logits(other.model, 0, 6, NULL, got), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_model_truncate(other.model, MAX_TOKENS + 1), FV_ERROR_ARGUMENT);
    free(c.memory);
    free(other.memory);
}

static uint64_t tick(void *context) { return *(uint64_t *)context += 10; }

/* All of a forward's time has a place. */
static void test_time(void **state) {
    (void)state;
    model_case c;
    uint64_t now = 0;
    const int32_t five[] = {1, 2, 3, 4, 5};
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    fv_report report = {.struct_bytes = sizeof report};
    model_make(&c, tables.table[0]);
    fv_model_time(c.model, tick, &now);
    assert_int_equal(fv_model_forward(c.model, five, 5, &dense, NULL, &report), FV_OK);
    assert_true(report.read_ns > 0 && report.product_ns > 0 && report.other_ns > 0);
    assert_int_equal(report.choose_ns + report.read_ns + report.product_ns + report.other_ns,
                     now - 10); /* the first look */
    fv_model_time(c.model, NULL, NULL);
    fv_report plain = {.struct_bytes = sizeof plain};
    assert_int_equal(fv_model_forward(c.model, five, 5, &dense, NULL, &plain), FV_OK);
    assert_int_equal(plain.choose_ns + plain.read_ns + plain.product_ns + plain.other_ns, 0);
    free(c.memory);
}

/* A report without its size: nothing is evaluated, and the rows of the forward before are still there. */
static void test_a_report_without_its_size(void **state) {
    (void)state;
    model_case c;
    const int32_t five[] = {1, 2, 3, 4, 5};
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    model_make(&c, tables.table[0]);
    assert_int_equal(fv_model_forward(c.model, five, 5, &dense, NULL, NULL), FV_OK);
    static const uint32_t sizes[] = {0, FV_REPORT_LEAST - 1};
    for (int i = 0; i < 2; i++) {
        fv_report report = {.struct_bytes = sizes[i]}, untouched = report;
        assert_int_equal(fv_model_forward(c.model, five, 2, &dense, NULL, &report), FV_ERROR_ARGUMENT);
        assert_memory_equal(&report, &untouched, sizeof report);
        assert_int_equal(fv_model_tokens(c.model), 5);
        assert_int_equal(fv_model_batch_rows(c.model), 5);
    }
    free(c.memory);
}

enum { LONG_TEXT = 50 };

/* Logits of all positions under a policy that chooses, in batches of at most `batch`. */
static void long_logits(fv_model *model, const int32_t *tokens, uint32_t batch, float (*logits)[VOCABULARY]) {
    fv_policy policy;
    fv_policy_default(FV_SELECTOR_FOVEA, &policy);
    fv_report report = {.struct_bytes = sizeof report};
    policy.window = 1, policy.dense_below = 0,
    fv_policy_set_budget(&policy, 0.8f); /* of two pages between sinks and window one */
    assert_int_equal(fv_model_truncate(model, 0), FV_OK);
    for (uint32_t done = 0, count; done < LONG_TEXT; done += count) {
        count = LONG_TEXT - done < batch ? LONG_TEXT - done : batch;
        assert_int_equal(fv_model_forward(model, tokens + done, count, &policy, NULL, &report), FV_OK);
        assert_int_equal(fv_model_logits(model, 0, count, NULL, logits[done]), FV_OK);
    }
    assert_true(report.keys_read < report.keys_visible); /* something was left out */
}

/* A policy that chooses by the queries: neither a later token nor the cutting shows in a bit. */
static void test_choosing_sees_no_later_token(void **state) {
    (void)state;
    test_random random = test_random_make(2);
    for (size_t k = 0; k < tables.count; k++) {
        model_case c;
        int32_t tokens[LONG_TEXT];
        float want[LONG_TEXT][VOCABULARY], got[LONG_TEXT][VOCABULARY];
        model_make(&c, tables.table[k]);
        for (uint32_t i = 0; i < LONG_TEXT; i++) tokens[i] = (int32_t)test_random_in(&random, 0, VOCABULARY - 1);
        long_logits(c.model, tokens, 20, want);
        for (uint32_t batch = 1; batch <= 19; batch += 6) {
            long_logits(c.model, tokens, batch, got);
            assert_memory_equal(got, want, sizeof want);
            uint32_t j = test_random_in(&random, 30, LONG_TEXT - 1);
            int32_t held = tokens[j];
            tokens[j] = (held + 1) % VOCABULARY;
            long_logits(c.model, tokens, batch, got);
            assert_memory_equal(got, want, j * sizeof *want);
            assert_memory_not_equal(got[j], want[j], sizeof *want);
            tokens[j] = held;
        }
        free(c.memory);
    }
}

/* Logits of the text by a model whose config and weights `change` has changed (NULL: not). */
typedef void change_fn(fv_model_config *config, fv_model_weights *weights, fv_layer_weights *layers);

static void changed_logits(const fv_kernels *kernels, change_fn *change, float (*logits)[VOCABULARY]) {
    test_random random = test_random_make(1);
    fv_layer_weights layers[LAYERS];
    fv_model_config config = config_make();
    fv_model_weights weights = weights_make(layers, &random);
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    fv_model_bytes bytes;
    fv_model *model = NULL;
    if (change) change(&config, &weights, layers);
    assert_int_equal(fv_model_size(&config, 1, &bytes), FV_OK);
    void *memory = world_memory(bytes.total);
    assert_int_equal(fv_model_init(&model, &config, &weights, kernels, 1, memory, bytes.total), FV_OK);
    assert_int_equal(fv_model_forward(model, text, 20, &dense, NULL, NULL), FV_OK);
    assert_int_equal(fv_model_logits(model, 0, 20, NULL, logits[0]), FV_OK);
    free(memory);
}

static void weight_scale(const fv_weight *weight, float factor) {
    float *data = pool + ((const float *)weight->data - pool);
    for (size_t i = 0; i < (size_t)weight->rows * weight->columns; i++) data[i] *= factor;
}

/* Two models that must agree, by a number in the config and by what it means; within `tolerance` of the logits' size.
 */
static void check_same(const fv_kernels *kernels, const char *name, change_fn *one, change_fn *other, float tolerance) {
    float a[20][VOCABULARY], b[20][VOCABULARY], plain[20][VOCABULARY], most = 0, differs = 0;
    changed_logits(kernels, one, a);
    changed_logits(kernels, other, b);
    changed_logits(kernels, NULL, plain);
    for (size_t i = 0; i < 20 * VOCABULARY; i++) {
        size_t row = i / VOCABULARY, id = i % VOCABULARY;
        most = fmaxf(most, fabsf(a[row][id] - b[row][id]) / (1 + fabsf(b[row][id])));
        differs = fmaxf(differs, fabsf(a[row][id] - plain[row][id]) / (1 + fabsf(plain[row][id])));
    }
    if (most > tolerance) fail_msg("%s: differ by %g", name, (double)most);
    assert_true(differs > 1e-2f && differs > 20 * tolerance); /* it is felt at all */
}

#define CHANGE(name) static void name(fv_model_config *config, fv_model_weights *weights, fv_layer_weights *layers)
#define UNUSED (void)config, (void)weights, (void)layers

CHANGE(residual_halved) { UNUSED, config->residual_scale = 0.5f; }
CHANGE(outputs_halved) {
    UNUSED;
    for (size_t i = 0; i < LAYERS; i++) weight_scale(&layers[i].output, 0.5f), weight_scale(&layers[i].down, 0.5f);
}
CHANGE(embedding_tripled) { UNUSED, config->embedding_scale = 3; }
CHANGE(own_embedding_tripled) {
    static float copy[VOCABULARY * WIDTH];
    UNUSED;
    for (size_t i = 0; i < VOCABULARY * WIDTH; i++) copy[i] = 3 * ((const float *)weights->embedding.data)[i];
    weights->embedding.data = copy;
}
CHANGE(logits_doubled) { UNUSED, config->logit_scale = 2; }
CHANGE(output_doubled) {
    static float copy[VOCABULARY * WIDTH];
    UNUSED;
    for (size_t i = 0; i < VOCABULARY * WIDTH; i++) copy[i] = 2 * ((const float *)weights->output.data)[i];
    weights->output.data = copy;
}
CHANGE(scores_flattened) { UNUSED, config->attention_softcap = 1e-6f; } /* no score is above the cap: all weigh alike */
CHANGE(scores_gone) { UNUSED, config->attention_scale = 1e-30f; }
CHANGE(scores_capped_high) { UNUSED, config->attention_scale = 4, config->attention_softcap = 1e3f; }
CHANGE(scores_larger) { UNUSED, config->attention_scale = 4; }
CHANGE(rotation_larger) { UNUSED, config->rope_dims = HEAD_DIM - HEAD_DIM % 2, config->rope_magnitude = 2; }
CHANGE(rotated_scores_larger) { UNUSED, config->rope_dims = HEAD_DIM - HEAD_DIM % 2, config->attention_scale *= 4; }

static void test_numbers_mean_what_they_say(void **state) {
    (void)state;
    for (size_t k = 0; k < tables.count; k++) {
        check_same(tables.table[k], "residual_halved", residual_halved, outputs_halved, 1e-5f);
        check_same(tables.table[k], "embedding_tripled", embedding_tripled, own_embedding_tripled, 1e-5f);
        check_same(tables.table[k], "logits_doubled", logits_doubled, output_doubled, 1e-5f);
        check_same(tables.table[k], "scores_flattened", scores_flattened, scores_gone, 1e-4f);
        check_same(tables.table[k], "scores_capped_high", scores_capped_high, scores_larger, 1e-3f);
        check_same(tables.table[k], "rotation_larger", rotation_larger, rotated_scores_larger, 1e-4f);
    }
}

CHANGE(logits_capped) { UNUSED, config->logit_softcap = 0.7f; }
CHANGE(logits_doubled_and_capped) { UNUSED, config->logit_scale = 2, config->logit_softcap = 0.7f; }

static void test_logits_are_capped_last(void **state) {
    (void)state;
    for (size_t k = 0; k < tables.count; k++) {
        float plain[20][VOCABULARY], capped[20][VOCABULARY], both[20][VOCABULARY];
        changed_logits(tables.table[k], NULL, plain);
        changed_logits(tables.table[k], logits_capped, capped);
        changed_logits(tables.table[k], logits_doubled_and_capped, both);
        for (size_t i = 0; i < 20 * VOCABULARY; i++) {
            double x = (double)plain[i / VOCABULARY][i % VOCABULARY];
            assert_true(fabs((double)capped[i / VOCABULARY][i % VOCABULARY] - 0.7 * tanh(x / 0.7)) <= 1e-5);
            assert_true(fabs((double)both[i / VOCABULARY][i % VOCABULARY] - 0.7 * tanh(2 * x / 0.7)) <= 1e-5);
        }
    }
}

static void test_rows_of_tokens_taken_back(void **state) {
    (void)state;
    model_case c;
    float got[VOCABULARY];
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    model_make(&c, tables.table[0]);
    assert_int_equal(fv_model_forward(c.model, text, 5, &dense, NULL, NULL), FV_OK);
    assert_int_equal(fv_model_truncate(c.model, 5), FV_OK);
    assert_int_equal(fv_model_batch_rows(c.model), 5);
    assert_int_equal(fv_model_truncate(c.model, 4), FV_OK);
    assert_int_equal(fv_model_batch_rows(c.model), 0);
    assert_int_equal(fv_model_logits(c.model, 0, 1, NULL, got), FV_ERROR_ARGUMENT);
    free(c.memory);
}

/* Each matrix with a row or a column too many or too few is refused. */
static void test_shapes_are_checked(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    fv_layer_weights layers[LAYERS];
    fv_model_config config = config_make();
    fv_model_weights weights = weights_make(layers, &random);
    fv_model_bytes bytes;
    fv_model *model = NULL;
    assert_int_equal(fv_model_size(&config, 1, &bytes), FV_OK);
    void *memory = world_memory(bytes.total);
    fv_layer_weights *last = &layers[LAYERS - 1];
    fv_weight *const all[] = {
        &last->query,    &last->key,        &last->value,          &last->output,    &last->gate,
        &last->up,       &last->down,       &last->attention_norm, &last->feed_norm, &weights.output_norm,
        &weights.output, &weights.embedding};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const fv_weight held = *all[i];
        for (int change = 0; change < 5; change++) {
            all[i]->rows = held.rows + (uint32_t)(change == 0) - (uint32_t)(change == 1);
            all[i]->columns = held.columns + (uint32_t)(change == 2) - (uint32_t)(change == 3);
            bool optional = all[i] == &last->attention_norm || all[i] == &last->feed_norm;
            if (change == 4 && optional) continue;
            if (change == 4) all[i]->data = NULL;
            assert_int_equal(fv_model_init(&model, &config, &weights, tables.table[0], 1, memory, bytes.total),
                             FV_ERROR_ARGUMENT);
            *all[i] = held;
        }
    }
    assert_int_equal(fv_model_init(&model, &config, &weights, tables.table[0], 1, memory, bytes.total), FV_OK);
    free(memory);
}

/* A key that f16 cannot hold stops the forward in the middle: the rows of the one before it are gone by then. */
static void test_a_forward_that_fails_midway_leaves_no_rows(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    fv_layer_weights layers[LAYERS];
    fv_model_config config = config_make();
    fv_model_weights weights = weights_make(layers, &random);
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    fv_model_bytes bytes;
    fv_model *model = NULL;
    float got[VOCABULARY];
    float *key = pool + ((const float *)layers[0].key.data - pool);
    float *embedding = pool + ((const float *)weights.embedding.data - pool);
    for (size_t c = 0; c < WIDTH; c++) key[c] = c == 0 ? 1e7f : 0.0f; /* row 0 sees the first channel only ... */
    embedding[1 * WIDTH] = 0.0f;                                      /* ... which token 1 has not */
    embedding[2 * WIDTH] = 1.0f;
    assert_int_equal(fv_model_size(&config, 1, &bytes), FV_OK);
    void *memory = world_memory(bytes.total);
    assert_int_equal(fv_model_init(&model, &config, &weights, tables.table[0], 1, memory, bytes.total), FV_OK);
    const int32_t good[] = {1, 1}, bad[] = {1, 2};
    assert_int_equal(fv_model_forward(model, good, 2, &dense, NULL, NULL), FV_OK);
    assert_int_equal(fv_model_batch_rows(model), 2);
    assert_int_equal(fv_model_forward(model, bad, 2, &dense, NULL, NULL), FV_ERROR_RANGE);
    assert_int_equal(fv_model_tokens(model), 2);
    assert_int_equal(fv_model_batch_rows(model), 0);
    assert_int_equal(fv_model_logits(model, 0, 1, NULL, got), FV_ERROR_ARGUMENT);
    free(memory);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_a_report_without_its_size),
        cmocka_unit_test(test_cutting_shows_in_no_bit),
        cmocka_unit_test(test_refused_forward),
        cmocka_unit_test(test_choosing_sees_no_later_token),
        cmocka_unit_test(test_numbers_mean_what_they_say),
        cmocka_unit_test(test_logits_are_capped_last),
        cmocka_unit_test(test_rows_of_tokens_taken_back),
        cmocka_unit_test(test_shapes_are_checked),
        cmocka_unit_test(test_a_forward_that_fails_midway_leaves_no_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
