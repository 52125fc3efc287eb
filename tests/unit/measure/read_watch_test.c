/* read_watch_test.c - what rows in company are said to have read, against sums over every key made here. */
#include "fovea/measure/mass.h"
#include "fovea/measure/read_watch.h"
#include "fovea/policy_text.h"
#include "numeric/splitmix.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL FV_SOURCE_DIR "/tests/model/llama_f32.gguf"
#define TOKENS 160 /* ten whole pages, a whole tile last */
#define PAGES 10
#define FIRST 1
#define END (PAGES - FV_READS_LAST_TOKENS / FV_PAGE_TOKENS)
#define LAYERS_MOST 16

typedef struct world {
    fv_llm *llm;
    fv_segments *segments;
    fv_session_config config;
    int32_t tokens[3][TOKENS];
} world;

static int setup(void **state) {
    static world made;
    memset(&made, 0, sizeof made);
    assert_int_equal(fv_llm_open(&made.llm, MODEL, NULL), FV_OK);
    assert_int_equal(fv_segments_open(&made.segments, 0, NULL), FV_OK);
    fv_session_config_default(&made.config);
    made.config.context_tokens = 512;
    made.config.batch_tokens = 3 * TOKENS;
    for (uint32_t s = 0; s < 3; s++)
        for (uint32_t i = 0; i < TOKENS; i++)
            made.tokens[s][i] = (int32_t)(fv_splitmix(s, i) % fv_llm_config(made.llm)->vocabulary);
    *state = &made;
    return 0;
}

static int teardown(void **state) {
    world *w = *state;
    fv_segments_close(w->segments);
    fv_llm_close(w->llm);
    return 0;
}

static fv_sequence *open_sequence(world *w, const char *policy) {
    fv_sequence *sequence = NULL;
    assert_int_equal(fv_policy_parse(&w->config.policy, policy, NULL), FV_OK);
    assert_int_equal(fv_sequence_open(&sequence, w->llm, w->segments, &w->config, NULL), FV_OK);
    return sequence;
}

static fv_stepper *open_stepper(world *w) {
    fv_stepper *stepper = NULL;
    assert_int_equal(fv_policy_parse(&w->config.policy, "dense", NULL), FV_OK);
    assert_int_equal(fv_stepper_open(&stepper, w->llm, &w->config, NULL, NULL), FV_OK);
    return stepper;
}

/* ---- sums made here ---- */

typedef struct sums {
    double page[LAYERS_MOST][PAGES];
} sums;

static void sum_last_row(void *context, const fv_attention_seen *seen, size_t worker) {
    sums *all = context;
    uint32_t group = seen->attend->query_heads / seen->attend->kv_heads, dim = seen->attend->head_dim;
    (void)worker;
    if (seen->plan->first_token + seen->plan->rows != TOKENS) return;
    float *mass = malloc((size_t)group * TOKENS * sizeof *mass), *scratch = malloc(FV_PAGE_TOKENS * dim * sizeof *mass);
    assert_true(mass && scratch);
    const float *query =
        seen->query + (seen->plan->rows - 1) * seen->query_stride + (size_t)seen->kv_head * group * dim;
    assert_int_equal(
        fv_mass_tokens(seen->attend, seen->kernels, seen->cache, seen->kv_head, TOKENS - 1, query, mass, scratch),
        FV_OK);
    for (uint32_t i = 0; i < group * TOKENS; i++)
        all->page[seen->layer][i % TOKENS / FV_PAGE_TOKENS] += (double)mass[i];
    free(mass);
    free(scratch);
}

static void make_sums(world *w, uint32_t number, sums *all) {
    fv_stepper *stepper = open_stepper(w);
    fv_sequence *sequence = open_sequence(w, "dense");
    memset(all, 0, sizeof *all);
    fv_stepper_observe(stepper, sum_last_row, all);
    const fv_step_part part = {.sequence = sequence, .tokens = w->tokens[number], .count = TOKENS};
    assert_int_equal(fv_stepper_run(stepper, &part, 1), FV_OK);
    fv_sequence_close(sequence);
    fv_stepper_close(stepper);
}

static void check_top(fv_read_watch *watch, size_t row, uint32_t layer, const sums *all, uint32_t layers) {
    fv_reads_passage passages[PAGES];
    double page[PAGES] = {0}, whole = 0;
    for (uint32_t l = 0; l < layers; l++)
        for (size_t p = 0; p < PAGES && (layer == FV_READ_ALL_LAYERS || l == layer); p++) page[p] += all->page[l][p];
    for (size_t p = 0; p < PAGES; p++) whole += page[p];
    float shares[PAGES + 1] = {[PAGES] = 9};
    assert_int_equal(fv_read_watch_pages(watch, row, layer, shares, PAGES - 1), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_read_watch_pages(watch, 99, layer, shares, PAGES), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_read_watch_pages(watch, row, LAYERS_MOST, shares, PAGES), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_read_watch_pages(watch, row, layer, shares, PAGES + 1), FV_OK);
    for (size_t p = 0; p < PAGES; p++) assert_true(fabs((double)shares[p] - page[p] / whole) < 1e-5);
    assert_true(shares[PAGES] == 0);
    assert_int_equal(fv_read_watch_top(watch, row, layer, passages, PAGES), END - FIRST);
    for (size_t i = 0; i < END - FIRST; i++) {
        size_t p = passages[i].position / FV_PAGE_TOKENS;
        assert_true(p >= FIRST && p < END && passages[i].position % FV_PAGE_TOKENS == 0);
        assert_true(fabs((double)passages[i].share - page[p] / whole) < 1e-5);
        if (i > 0) assert_true(passages[i].share <= passages[i - 1].share);
        page[p] = -1; /* each once */
    }
    fv_reads_passage few[2];
    assert_int_equal(fv_read_watch_top(watch, row, layer, few, 2), 2);
    assert_memory_equal(few, passages, sizeof few);
}

/* Three in one step, of whom two are watched; all logits are those without. */
static void check_company(world *w) {
    sums all[3];
    fv_stepper *stepper = open_stepper(w), *plain = open_stepper(w);
    fv_step_part parts[3];
    fv_sequence *others[3];
    fv_read_watch *watch = NULL;
    size_t row = 9;
    uint32_t vocabulary = fv_llm_config(w->llm)->vocabulary, layers = fv_llm_config(w->llm)->layers;
    assert_int_equal(fv_read_watch_open(&watch, stepper, w->llm, 512, 1), FV_OK);
    fv_read_watch_begin(watch);
    for (uint32_t s = 0; s < 3; s++) {
        make_sums(w, s, &all[s]);
        parts[s] = (fv_step_part){.sequence = open_sequence(w, "dense"), .tokens = w->tokens[s], .count = TOKENS};
        others[s] = parts[s].sequence;
        if (s == 1) continue;
        assert_int_equal(fv_read_watch_add(watch, parts[s].sequence, TOKENS - 1, &row), FV_OK);
        assert_int_equal(row, s / 2);
    }
    assert_int_equal(fv_read_watch_add(watch, parts[1].sequence, 512, &row), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_stepper_run(stepper, parts, 3), FV_OK);
    for (uint32_t layer = 0; layer < layers; layer++) {
        check_top(watch, 0, layer, &all[0], layers);
        check_top(watch, 1, layer, &all[2], layers);
    }
    check_top(watch, 0, FV_READ_ALL_LAYERS, &all[0], layers);
    check_top(watch, 1, FV_READ_ALL_LAYERS, &all[2], layers);
    for (uint32_t s = 0; s < 3; s++) parts[s].sequence = open_sequence(w, "dense");
    assert_int_equal(fv_stepper_run(plain, parts, 3), FV_OK);
    const uint32_t rows[3] = {TOKENS - 1, 2 * TOKENS - 1, 3 * TOKENS - 1};
    float *logits = calloc((size_t)6 * vocabulary, sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(fv_stepper_logits(stepper, rows, 3, logits), FV_OK);
    assert_int_equal(fv_stepper_logits(plain, rows, 3, logits + (size_t)3 * vocabulary), FV_OK);
    assert_memory_equal(logits, logits + (size_t)3 * vocabulary, (size_t)3 * vocabulary * sizeof *logits);
    free(logits);
    fv_read_watch_begin(watch);
    assert_int_equal(fv_read_watch_top(watch, 0, FV_READ_ALL_LAYERS, &(fv_reads_passage){0}, 1), 0);
    fv_read_watch_close(watch);
    for (uint32_t s = 0; s < 3; s++) {
        fv_sequence_close(parts[s].sequence);
        fv_sequence_close(others[s]);
    }
    fv_stepper_close(stepper);
    fv_stepper_close(plain);
}

static void rows_in_company_are_told_apart(void **state) {
    static const uint32_t types[] = {FV_ELEMENT_F16, FV_ELEMENT_F32, FV_ELEMENT_BF16, FV_ELEMENT_Q8_0};
    world *w = *state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        w->config.key_type = w->config.value_type = types[i];
        check_company(w);
    }
    w->config.key_type = w->config.value_type = FV_ELEMENT_F16;
}

/* A span is shared by the rows of a tile, whose windows begin at different tokens. */
static void what_lies_before_the_window_was_not_read(void **state) {
    world *w = *state;
    fv_reads_passage passages[PAGES];
    fv_read_watch *watch = NULL;
    size_t row;
    fv_stepper *stepper = open_stepper(w);
    fv_sequence *sequence = open_sequence(w, "window:window=96,sinks=4");
    assert_int_equal(fv_read_watch_open(&watch, stepper, w->llm, 512, 1), FV_OK);
    assert_int_equal(fv_read_watch_add(watch, sequence, TOKENS - 1, &row), FV_OK);
    const fv_step_part part = {.sequence = sequence, .tokens = w->tokens[0], .count = TOKENS};
    assert_int_equal(fv_stepper_run(stepper, &part, 1), FV_OK);
    assert_int_equal(fv_read_watch_top(watch, row, FV_READ_ALL_LAYERS, passages, PAGES), 2);
    for (size_t i = 0; i < 2; i++) assert_true(passages[i].position == 64 || passages[i].position == 80);
    fv_read_watch_close(watch);
    fv_sequence_close(sequence);
    fv_stepper_close(stepper);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_in_company_are_told_apart),
        cmocka_unit_test(what_lies_before_the_window_was_not_read),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
