/* model_test.c - the tiny models beside this file end to end: logits against Hugging Face transformers, the same bits
 * for any number of threads and any cutting into calls, no allocation while tokens are evaluated. */
#include "allocations.h"
#include "fovea/session.h"
#include "support/test_policy.h"
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FOLDER FV_SOURCE_DIR "/tests/model/"

/* How far logits may be off, in parts of the range of the reference's, and in KL: four times what f32 sums cost; half
 * as much again as what a cache in f16 costs, which is all where weights are floats; and a fifth more than what int8
 * activations cost, which meet quantised weights (gemma's sums of them are larger). */
typedef struct tolerance {
    double worst, kl;
} tolerance;

static const tolerance exact_tolerance = {1e-5, 5e-11}, cache_tolerance = {2e-3, 4e-6},
                       rounded_tolerance = {1.2e-2, 9e-4}, gemma_tolerance = {2e-2, 9e-4};

/* A model and its reference: the logits after each token. */
typedef struct tiny_model {
    char name[64];
    fv_llm *llm;
    uint32_t tokens, vocabulary;
    int32_t *ids;
    float *logits; /* [tokens][vocabulary] */
    bool f32;      /* all matrices are */
} tiny_model;

static fv_llm *open_llm(const char *name) {
    char path[512];
    fv_message message = {{0}};
    fv_llm *llm = NULL;
    snprintf(path, sizeof path, "%s%s.gguf", FOLDER, name);
    if (fv_llm_open(&llm, path, &message) != FV_OK) fail_msg("%s", message.text);
    return llm;
}

static void read_reference(tiny_model *model) {
    char path[512], magic[4];
    uint32_t header[3] = {0};
    snprintf(path, sizeof path, "%s%s.ref", FOLDER, model->name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(magic, 1, 4, file), 4);
    assert_memory_equal(magic, "FVLR", 4);
    assert_int_equal(fread(header, 4, 3, file), 3); /* the tests run on little-endian machines */
    assert_int_equal(header[0], 1);
    model->tokens = header[1];
    model->vocabulary = header[2];
    assert_in_range(model->tokens, 2, 4096);
    assert_in_range(model->vocabulary, 2, 1 << 20);
    size_t count = (size_t)model->tokens * model->vocabulary;
    model->ids = malloc(model->tokens * sizeof *model->ids);
    model->logits = malloc(count * sizeof *model->logits);
    assert_true(model->ids && model->logits);
    assert_int_equal(fread(model->ids, sizeof *model->ids, model->tokens, file), model->tokens);
    assert_int_equal(fread(model->logits, sizeof *model->logits, count, file), count);
    fclose(file);
}

static tiny_model open_model(const char *name) {
    tiny_model model = {.f32 = true};
    snprintf(model.name, sizeof model.name, "%s", name);
    model.llm = open_llm(name);
    read_reference(&model);
    assert_int_equal(model.vocabulary, fv_llm_config(model.llm)->vocabulary);
    const fv_gguf *gguf = fv_llm_gguf(model.llm);
    for (size_t i = 0; i < fv_gguf_tensors(gguf); i++)
        if (fv_gguf_tensor_at(gguf, i)->ggml_type != FV_WEIGHT_F32) model.f32 = false;
    return model;
}

static void close_model(tiny_model *model) {
    fv_llm_close(model->llm);
    free(model->ids);
    free(model->logits);
}

typedef void model_check(const tiny_model *model);

static int is_reference(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    return length >= 5 && length <= 60 && strcmp(entry->d_name + length - 4, ".ref") == 0;
}

/* Every `stride`th NAME.gguf with a NAME.ref; at least one, else the folder was lost. */
static void for_each_model(model_check *check, int stride) {
    struct dirent **found;
    int count = scandir(FOLDER, &found, is_reference, alphasort);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        char name[64] = {0};
        memcpy(name, found[i]->d_name, strlen(found[i]->d_name) - 4);
        free(found[i]);
        if (i % stride != 0) continue;
        tiny_model model = open_model(name);
        check(&model);
        close_model(&model);
    }
    free(found);
}

/* For checks that hold for all models alike: a few will do where a processor is emulated (FV_RUNS is set there), and
 * under the address sanitizer. */
#ifdef __SANITIZE_ADDRESS__
static int few_models(void) { return 5; }
#else
static int few_models(void) { return getenv("FV_RUNS") ? 5 : 1; }
#endif

/* --- running a model ---------------------------------------------------------------------------------------------- */

typedef struct run_setup {
    fv_session_config config;
    uint32_t threads; /* 0: no pool */
    size_t step;      /* tokens per feed */
    size_t cut;       /* 0, or: after all tokens, go back to this many and feed the rest again */
} run_setup;

static run_setup setup_of(bool exact) {
    run_setup setup = {.step = SIZE_MAX};
    fv_session_config_default(&setup.config);
    setup.config.context_tokens = 64;
    if (!exact) return setup;
    setup.config.exact_activations = 1;
    setup.config.key_type = FV_ELEMENT_F32;
    setup.config.value_type = FV_ELEMENT_F32;
    return setup;
}

typedef struct collector {
    fv_session *session;
    float *logits; /* of all tokens */
    uint32_t vocabulary;
} collector;

static bool collect(void *context, size_t done, size_t total) {
    collector *c = context;
    size_t rows = fv_session_batch_rows(c->session), first = fv_session_tokens(c->session) - rows;
    assert_true(done <= total && rows > 0);
    assert_int_equal(fv_session_logits(c->session, 0, rows, c->logits + first * c->vocabulary), FV_OK);
    return true;
}

static void feed_from(collector *c, const tiny_model *model, size_t from, size_t step) {
    for (size_t at = from; at < model->tokens; at += step) {
        size_t count = step < model->tokens - at ? step : model->tokens - at;
        assert_int_equal(fv_session_feed(c->session, model->ids + at, count, collect, c), FV_OK);
        assert_int_equal(fv_session_tokens(c->session), at + count);
        if (count == model->tokens - at) break;
    }
}

/* Logits after each token, [tokens][vocabulary]; the caller frees them. */
static float *run(const tiny_model *model, const run_setup *setup) {
    fv_pool *pool = NULL;
    fv_session *session = NULL;
    fv_message message = {{0}};
    size_t bytes = (size_t)model->tokens * model->vocabulary * sizeof(float);
    if (setup->threads) assert_int_equal(fv_pool_open(&pool, setup->threads, NULL), FV_OK);
    if (fv_session_open(&session, model->llm, &setup->config, pool, &message) != FV_OK) fail_msg("%s", message.text);
    collector c = {session, malloc(bytes), model->vocabulary};
    assert_non_null(c.logits);
    feed_from(&c, model, 0, setup->step);
    if (setup->cut) {
        assert_int_equal(fv_session_truncate(session, setup->cut), FV_OK);
        memset(c.logits + setup->cut * model->vocabulary, 0xFF, bytes - setup->cut * model->vocabulary * sizeof(float));
        feed_from(&c, model, setup->cut, setup->step);
    }
    fv_session_close(session);
    fv_pool_close(pool);
    return c.logits;
}

/* --- against the reference ---------------------------------------------------------------------------------------- */

typedef struct figures {
    double range; /* of the reference's logits */
    double worst; /* largest |difference| / range */
    double kl;    /* mean over the tokens of KL(reference || ours), nats */
} figures;

static double log_sum(const float *row, uint32_t count) {
    double most = (double)row[0], sum = 0;
    for (uint32_t i = 1; i < count; i++) most = fmax(most, (double)row[i]);
    for (uint32_t i = 0; i < count; i++) sum += exp((double)row[i] - most);
    return most + log(sum);
}

static double row_kl(const float *reference, const float *ours, uint32_t count) {
    double r = log_sum(reference, count), o = log_sum(ours, count), kl = 0;
    for (uint32_t i = 0; i < count; i++) {
        double p = (double)reference[i] - r, q = (double)ours[i] - o;
        kl += exp(p) * (p - q);
    }
    return kl;
}

static figures compare(const tiny_model *model, const float *ours) {
    figures f = {0, 0, 0};
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < (size_t)model->tokens * model->vocabulary; i++) {
        assert_true(isfinite(ours[i]));
        low = fmin(low, (double)model->logits[i]);
        high = fmax(high, (double)model->logits[i]);
        f.worst = fmax(f.worst, fabs((double)ours[i] - (double)model->logits[i]));
    }
    for (uint32_t t = 0; t < model->tokens; t++) {
        size_t row = (size_t)t * model->vocabulary;
        f.kl += row_kl(model->logits + row, ours + row, model->vocabulary) / model->tokens;
    }
    f.range = high - low;
    f.worst /= f.range;
    return f;
}

static int failures;

static tolerance tolerance_of(const tiny_model *model, bool exact) {
    bool floats = model->f32 || strstr(model->name, "f16"); /* bf16 too */
    if (exact) return exact_tolerance;
    if (floats) return cache_tolerance;
    return strstr(model->name, "gemma") ? gemma_tolerance : rounded_tolerance;
}

static void check_one(const tiny_model *model, bool exact, fv_isa isa) {
    run_setup setup = setup_of(exact);
    setup.config.isa_limit = isa;
    float *ours = run(model, &setup);
    figures f = compare(model, ours);
    tolerance most = tolerance_of(model, exact);
    bool good = f.worst <= most.worst && f.kl <= most.kl;
    print_message("%-18s %-7s %-8s |difference|/range %.2e  KL %.2e%s\n", model->name, fv_isa_name(isa),
                  exact ? "exact" : "rounded", f.worst, f.kl, good ? "" : "  FAIL");
    if (!good) failures++;
    free(ours);
}

static void check_logits(const tiny_model *model) {
    static const fv_isa limits[] = {FV_ISA_SCALAR, FV_ISA_BEST};
    for (size_t i = 0; i < 2; i++) {
        check_one(model, true, limits[i]);
        check_one(model, false, limits[i]);
    }
}

static void logits_are_those_of_transformers(void **state) {
    (void)state;
    failures = 0;
    for_each_model(check_logits, 1);
    assert_int_equal(failures, 0);
}

/* --- the same bits ------------------------------------------------------------------------------------------------ */

static void expect_same(const tiny_model *model, const float *base, const run_setup *setup, const char *what) {
    float *ours = run(model, setup);
    if (memcmp(base, ours, (size_t)model->tokens * model->vocabulary * sizeof *base) != 0)
        fail_msg("%s: %s changes the logits (threads %u, step %zu, batch %u, cut %zu)", model->name, what,
                 (unsigned)setup->threads, setup->step, (unsigned)setup->config.batch_tokens, setup->cut);
    free(ours);
}

static void check_invariance(const tiny_model *model, run_setup base_setup) {
    float *base = run(model, &base_setup);
    static const uint32_t threads[] = {1, 2, 3, 7}, batches[] = {1, 5, 16, 17};
    static const size_t steps[] = {1, 3, 16, 19}, cuts[] = {1, 7, 15};
    for (size_t i = 0; i < 4; i++) {
        run_setup setup = base_setup;
        setup.threads = threads[i];
        expect_same(model, base, &setup, "the number of threads");
        setup = base_setup;
        setup.config.batch_tokens = batches[i];
        expect_same(model, base, &setup, "the batch size");
        setup = base_setup;
        setup.step = steps[i];
        expect_same(model, base, &setup, "the cutting into calls");
        setup.threads = 3;
        expect_same(model, base, &setup, "cutting with threads");
    }
    bool landmarks = base_setup.config.policy.selector == FV_SELECTOR_PATTERN; /* recomputed from rounded elements */
    for (size_t i = 0; i < 3 && !landmarks; i++) {
        run_setup setup = base_setup;
        setup.cut = cuts[i];
        expect_same(model, base, &setup, "going back");
        setup.step = 1;
        expect_same(model, base, &setup, "going back in single steps");
    }
    free(base);
}

static void check_dense_invariance(const tiny_model *model) {
    check_invariance(model, setup_of(false));
    check_invariance(model, setup_of(true));
    run_setup scalar = setup_of(false);
    scalar.config.isa_limit = FV_ISA_SCALAR;
    check_invariance(model, scalar);
}

static void check_sparse_invariance(const tiny_model *model) {
    run_setup setup = setup_of(false);
    fv_policy_default(FV_SELECTOR_WINDOW, &setup.config.policy);
    setup.config.policy.window = 9;
    setup.config.policy.sinks = 2;
    check_invariance(model, setup);
    setup = setup_of(false);
    fv_policy_default(FV_SELECTOR_PATTERN, &setup.config.policy);
    setup.config.policy.window = 5;
    setup.config.policy.block = 16;
    check_invariance(model, setup);
    setup = setup_of(false);
    setup.config.key_type = setup.config.value_type = FV_ELEMENT_Q8_0;
    check_invariance(model, setup);
}

static void threads_and_cutting_change_no_bit(void **state) {
    (void)state;
    for_each_model(check_dense_invariance, few_models());
}

static void policies_are_as_steady(void **state) {
    (void)state;
    for_each_model(check_sparse_invariance, few_models());
}

/* Weights in the order that kernels like best: fv_llm_repack(). It changes the open model only. */
static void check_repacked(const tiny_model *model) {
    static const fv_isa limits[] = {FV_ISA_SCALAR, FV_ISA_AVX2, FV_ISA_BEST};
    float *base[3][2];
    run_setup setup[3][2];
    for (int i = 0; i < 3; i++)
        for (int exact = 0; exact < 2; exact++) {
            setup[i][exact] = setup_of(exact);
            setup[i][exact].config.isa_limit = limits[i];
            base[i][exact] = run(model, &setup[i][exact]);
        }
    assert_int_equal(fv_llm_repack(model->llm, NULL), FV_OK);
    for (int i = 0; i < 3; i++)
        for (int exact = 0; exact < 2; exact++) {
            expect_same(model, base[i][exact], &setup[i][exact], "repacking");
            setup[i][exact].step = 1;
            setup[i][exact].threads = 3;
            expect_same(model, base[i][exact], &setup[i][exact], "repacking, in single steps");
            free(base[i][exact]);
        }
}

static void repacking_changes_no_bit(void **state) {
    (void)state;
    for_each_model(check_repacked, few_models());
}

/* --- the session around it ---------------------------------------------------------------------------------------- */

/* But for memory of the cache, which comes by segments of 1,024 tokens. */
static void decode_does_not_allocate(void **state) {
    (void)state;
    if (!ALLOCATIONS_COUNTED) {
        print_message("skipped: allocations can't be counted under a sanitizer or without glibc\n");
        skip();
    }
    tiny_model model = open_model("llama_q4_0");
    fv_pool *pool = NULL;
    fv_session *session = NULL;
    run_setup setup = setup_of(false);
    assert_int_equal(fv_pool_open(&pool, 3, NULL), FV_OK);
    assert_int_equal(fv_session_open(&session, model.llm, &setup.config, pool, NULL), FV_OK);
    float *logits = malloc(model.vocabulary * sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(fv_session_feed(session, model.ids, 1, NULL, NULL), FV_OK);
    unsigned long before = allocations_count();
    assert_true(before > 0 && model.tokens <= 1024);
    assert_int_equal(fv_session_feed(session, model.ids + 1, 9, NULL, NULL), FV_OK);
    for (uint32_t i = 10; i < model.tokens; i++) {
        assert_int_equal(fv_session_feed(session, model.ids + i, 1, NULL, NULL), FV_OK);
        assert_int_equal(fv_session_logits(session, 0, 1, logits), FV_OK);
    }
    assert_int_equal(fv_session_truncate(session, 3), FV_OK);
    assert_int_equal(fv_session_feed(session, model.ids + 3, 5, NULL, NULL), FV_OK);
    assert_int_equal(allocations_count(), before);
    free(logits);
    fv_session_close(session);
    fv_pool_close(pool);
    close_model(&model);
}

static bool stop_after_two(void *context, size_t done, size_t total) {
    size_t *calls = context;
    (void)done, (void)total;
    return ++*calls < 2;
}

static void feeding_checks_first(void **state) {
    (void)state;
    tiny_model model = open_model("llama_f32");
    fv_session *session = NULL;
    run_setup setup = setup_of(false);
    setup.config.context_tokens = 32;
    setup.config.batch_tokens = 4;
    assert_int_equal(fv_session_open(&session, model.llm, &setup.config, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_context_tokens(session), 32);
    assert_int_equal(fv_session_feed(session, model.ids, 33, NULL, NULL), FV_ERROR_FULL);
    int32_t wrong[3] = {1, 2, (int32_t)model.vocabulary};
    assert_int_equal(fv_session_feed(session, wrong, 3, NULL, NULL), FV_ERROR_ARGUMENT);
    wrong[2] = -1;
    assert_int_equal(fv_session_feed(session, wrong, 3, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_session_feed(session, NULL, 3, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_session_tokens(session), 0);
    size_t calls = 0;
    assert_int_equal(fv_session_feed(session, model.ids, 30, stop_after_two, &calls), FV_ERROR_INTERRUPTED);
    assert_int_equal(fv_session_tokens(session), 8);
    assert_int_equal(fv_session_batch_rows(session), 4);
    float *logits = malloc(5 * model.vocabulary * sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(fv_session_logits(session, 0, 4, logits), FV_OK);
    assert_int_equal(fv_session_logits(session, 0, 5, logits), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_session_logits(session, 4, 1, logits), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_session_truncate(session, 9), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_session_feed(session, model.ids, 24, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_feed(session, model.ids, 1, NULL, NULL), FV_ERROR_FULL);
    free(logits);
    fv_session_close(session);
    close_model(&model);
}

/* What follows a copied beginning has the bits of what follows one that was read. */
static void a_copy_goes_on_alike(const tiny_model *model) {
    run_setup setup = setup_of(false);
    fv_session *read = NULL, *copied = NULL;
    assert_int_equal(fv_session_open(&read, model->llm, &setup.config, NULL, NULL), FV_OK);
    fv_policy_default(FV_SELECTOR_FOVEA, &setup.config.policy);
    assert_int_equal(fv_session_open(&copied, model->llm, &setup.config, NULL, NULL), FV_OK);
    size_t half = model->tokens / 2, bytes = model->vocabulary * sizeof(float);
    float *logits = malloc(2 * bytes);
    assert_non_null(logits);
    assert_int_equal(fv_session_feed(read, model->ids, half, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_feed(copied, model->ids, 3, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_copy(copied, read), FV_OK);
    assert_int_equal(fv_session_tokens(copied), half);
    assert_int_equal(fv_session_logits(copied, 0, 1, logits), FV_ERROR_ARGUMENT);
    fv_policy all = setup.config.policy, dense = test_policy(FV_SELECTOR_DENSE);
    assert_int_equal(fv_session_set_policy(copied, &dense, NULL), FV_OK);
    assert_int_equal(fv_session_feed(read, model->ids + half, 1, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_feed(copied, model->ids + half, 1, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_set_policy(copied, &all, NULL), FV_OK); /* it has a shadow of all tokens */
    assert_int_equal(fv_session_logits(read, 0, 1, logits), FV_OK);
    assert_int_equal(fv_session_logits(copied, 0, 1, logits + model->vocabulary), FV_OK);
    assert_memory_equal(logits, logits + model->vocabulary, bytes);
    assert_int_equal(fv_session_feed(copied, model->ids + half + 1, 1, NULL, NULL), FV_OK);
    fv_session_close(copied);
    setup.config.context_tokens = (uint32_t)half;
    assert_int_equal(fv_session_open(&copied, model->llm, &setup.config, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_copy(copied, read), FV_ERROR_FULL);
    assert_int_equal(fv_session_tokens(copied), 0);
    assert_int_equal(fv_session_copy(NULL, read), FV_ERROR_ARGUMENT);
    free(logits);
    fv_session_close(copied);
    fv_session_close(read);
}

static void copies_go_on_alike(void **state) {
    (void)state;
    for_each_model(a_copy_goes_on_alike, few_models());
}

static void the_report_counts(void **state) {
    (void)state;
    tiny_model model = open_model("llama_f32");
    fv_session *session = NULL;
    run_setup setup = setup_of(false);
    assert_int_equal(fv_session_open(&session, model.llm, &setup.config, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_feed(session, model.ids, 20, NULL, NULL), FV_OK);
    const fv_model_config *shape = fv_llm_config(model.llm);
    fv_report report = *fv_session_report(session);
    /* 1 + 2 + ... + 20 keys, for each KV head and layer */
    assert_int_equal(report.keys_visible, 210 * shape->cache.kv_heads * shape->layers);
    assert_int_equal(report.keys_read, report.keys_visible);
    assert_true(report.bytes_read > 0 && report.struct_bytes == sizeof report);
    fv_policy window;
    fv_policy_default(FV_SELECTOR_WINDOW, &window);
    window.window = 4;
    window.sinks = 1;
    fv_session_report_reset(session);
    assert_int_equal(fv_session_set_policy(session, &window, NULL), FV_OK);
    assert_int_equal(fv_session_feed(session, model.ids, 1, NULL, NULL), FV_OK);
    report = *fv_session_report(session);
    assert_int_equal(report.keys_visible, 21 * shape->cache.kv_heads * shape->layers);
    assert_int_equal(report.keys_read, 5 * shape->cache.kv_heads * shape->layers);
    fv_session_close(session);
    close_model(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_transformers),
        cmocka_unit_test(threads_and_cutting_change_no_bit),
        cmocka_unit_test(policies_are_as_steady),
        cmocka_unit_test(repacking_changes_no_bit),
        cmocka_unit_test(decode_does_not_allocate),
        cmocka_unit_test(feeding_checks_first),
        cmocka_unit_test(copies_go_on_alike),
        cmocka_unit_test(the_report_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
