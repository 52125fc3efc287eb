/* sampler_test.c - each flag of the chain against its definition, computed the slow and obvious way. */
#include "fovea/sampler.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VOCABULARY 64
#define DRAWS 8000

static fv_sampler_config plain(uint32_t vocabulary) { /* everything off but the draw */
    fv_sampler_config config;
    fv_sampler_config_default(&config);
    config.vocabulary = vocabulary;
    config.temperature = 1;
    config.top_k = 0;
    config.top_p = 1;
    config.min_p = 0;
    config.seed = 7;
    return config;
}

static fv_sampler *open_sampler(const fv_sampler_config *config) {
    fv_sampler *sampler = NULL;
    assert_int_equal(fv_sampler_open(&sampler, config, NULL), FV_OK);
    return sampler;
}

static void make_logits(float *logits, uint32_t count, uint32_t seed) {
    for (uint32_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        logits[i] = (float)(seed >> 8) / (float)(1 << 24) * 8 - 4;
    }
}

/* --- the slow and obvious way --- */

typedef struct item {
    double logit;
    int id;
} item;

static int compare(const void *left, const void *right) {
    const item *a = left, *b = right;
    if (a->logit > b->logit || a->logit < b->logit) return a->logit > b->logit ? -1 : 1;
    return a->id - b->id;
}

/* probability[id] after the whole chain. */
static void expect(const fv_sampler_config *c, const float *logits, double *probability) {
    item items[VOCABULARY];
    int count = (int)c->vocabulary;
    for (int i = 0; i < count; i++) items[i] = (item){(double)logits[i], i};
    qsort(items, (size_t)count, sizeof *items, compare);
    if (c->top_k > 0 && c->top_k < count) count = c->top_k;
    double sum = 0, held = 0;
    for (int i = 0; i < count; i++) sum += exp(items[i].logit - items[0].logit);
    if (c->top_p < 1) {
        int kept = 0;
        while (kept < count) {
            held += exp(items[kept++].logit - items[0].logit) / sum;
            if (held >= (double)c->top_p) break;
        }
        count = kept;
    }
    while (count > 1 && exp(items[count - 1].logit - items[0].logit) < (double)c->min_p) count--;
    memset(probability, 0, c->vocabulary * sizeof *probability);
    sum = 0;
    for (int i = 0; i < count; i++) sum += exp((items[i].logit - items[0].logit) / (double)c->temperature);
    for (int i = 0; i < count; i++)
        probability[items[i].id] = exp((items[i].logit - items[0].logit) / (double)c->temperature) / sum;
}

/* Nothing outside the support is drawn; inside, frequencies are within five standard deviations. */
static void check_draws(const fv_sampler_config *config, const float *logits) {
    double probability[VOCABULARY];
    uint32_t drawn[VOCABULARY] = {0};
    expect(config, logits, probability);
    fv_sampler *sampler = open_sampler(config);
    for (int i = 0; i < DRAWS; i++) {
        int32_t id = fv_sampler_next(sampler, logits);
        assert_in_range(id, 0, config->vocabulary - 1);
        drawn[id]++;
    }
    fv_sampler_close(sampler);
    for (uint32_t i = 0; i < config->vocabulary; i++) {
        double mean = DRAWS * probability[i], deviation = sqrt(mean * (1 - probability[i]));
        if (probability[i] <= 0)
            assert_int_equal(drawn[i], 0);
        else
            assert_true(fabs((double)drawn[i] - mean) <= 5 * deviation + 1);
    }
}

static void draws_follow_the_definition(void **state) {
    (void)state;
    static const int32_t top_k[] = {0, 1, 5, 40, 64, 1000};
    static const float top_p[] = {1, 0.95f, 0.5f, 0.01f, -1};
    static const float min_p[] = {0, 0.05f, 0.5f, 2};
    float logits[VOCABULARY];
    uint32_t seed = 1;
    for (size_t k = 0; k < 6; k++)
        for (size_t p = 0; p < 5; p++)
            for (size_t m = 0; m < 4; m++) {
                fv_sampler_config config = plain(VOCABULARY);
                config.top_k = top_k[k];
                config.top_p = top_p[p];
                config.min_p = min_p[m];
                config.temperature = seed % 3 == 0 ? 0.5f : seed % 3 == 1 ? 1.0f : 1.7f;
                config.seed = seed;
                make_logits(logits, VOCABULARY, seed++);
                check_draws(&config, logits);
            }
}

/* How often each id comes in 200 draws. */
static void draw_often(const fv_sampler_config *config, const float *logits, uint32_t *drawn) {
    fv_sampler *sampler = open_sampler(config);
    memset(drawn, 0, config->vocabulary * sizeof *drawn);
    for (int i = 0; i < 200; i++) drawn[fv_sampler_next(sampler, logits)]++;
    fv_sampler_close(sampler);
}

/* Where a limit is met exactly: top-p is reached by the first of two equals, min-p is no loss to an equal. */
static void limits_on_ties(void **state) {
    (void)state;
    const float pair[3] = {-INFINITY, 1, 1}, triple[3] = {1, 1, 1};
    uint32_t drawn[3];
    fv_sampler_config config = plain(3);
    config.top_p = 0.5f;
    draw_often(&config, pair, drawn);
    assert_int_equal(drawn[1], 200);
    config.top_p = 0.5000001f;
    draw_often(&config, pair, drawn);
    assert_true(drawn[1] > 0 && drawn[2] > 0);
    config = plain(3);
    config.min_p = 1;
    draw_often(&config, pair, drawn);
    assert_true(drawn[0] == 0 && drawn[1] > 0 && drawn[2] > 0);
    config = plain(3);
    config.top_k = 2; /* of equals the lower ids */
    draw_often(&config, triple, drawn);
    assert_true(drawn[0] > 0 && drawn[1] > 0 && drawn[2] == 0);
}

static void zero_temperature_is_the_lowest_best_id(void **state) {
    (void)state;
    fv_sampler_config config = plain(6);
    const float logits[6] = {1, 3, -2, 3, 2, 3};
    config.temperature = 0;
    fv_sampler *sampler = open_sampler(&config);
    for (int i = 0; i < 10; i++) assert_int_equal(fv_sampler_next(sampler, logits), 1);
    assert_int_equal(fv_sampler_forbid(sampler, 1), FV_OK);
    assert_int_equal(fv_sampler_next(sampler, logits), 3);
    fv_sampler_close(sampler);
    config.temperature = -1;
    sampler = open_sampler(&config);
    assert_int_equal(fv_sampler_next(sampler, logits), 1);
    fv_sampler_close(sampler);
}

static void penalties_change_the_best(void **state) {
    (void)state;
    const float logits[4] = {2, 1.9f, -1, -1.1f};
    fv_sampler_config config = plain(4);
    config.temperature = 0;
    config.repeat_penalty = 2; /* 2 -> 1 */
    config.repeat_last_tokens = 2;
    fv_sampler *sampler = open_sampler(&config);
    assert_int_equal(fv_sampler_next(sampler, logits), 0);
    fv_sampler_accept(sampler, 0);
    assert_int_equal(fv_sampler_next(sampler, logits), 1);
    fv_sampler_accept(sampler, 1); /* 1 and 0.95 */
    assert_int_equal(fv_sampler_next(sampler, logits), 0);
    fv_sampler_close(sampler);
    const float three[4] = {2, 1.9f, 1.2f, -1.1f};
    sampler = open_sampler(&config);
    fv_sampler_accept(sampler, 0);
    fv_sampler_accept(sampler, 1); /* 1, 0.95 and 1.2 */
    assert_int_equal(fv_sampler_next(sampler, three), 2);
    fv_sampler_accept(sampler, 3); /* 0 has left the window of 2: it is worth 2 again */
    assert_int_equal(fv_sampler_next(sampler, three), 0);
    fv_sampler_accept(sampler, 3); /* 1 has left it, too; 3 is in it twice */
    fv_sampler_accept(sampler, 0);
    assert_int_equal(fv_sampler_next(sampler, three), 1);
    fv_sampler_close(sampler);
}

static void negative_logits_are_multiplied(void **state) {
    (void)state;
    const float logits[2] = {-1, -1.5f};
    fv_sampler_config config = plain(2);
    config.temperature = 0;
    config.repeat_penalty = 2;
    config.repeat_last_tokens = -1;
    config.context_tokens = 100;
    fv_sampler *sampler = open_sampler(&config);
    fv_sampler_accept(sampler, 0);
    assert_int_equal(fv_sampler_next(sampler, logits), 1);
    fv_sampler_close(sampler);
}

static void presence_and_frequency(void **state) {
    (void)state;
    const float logits[3] = {2, 1.5f, 1.3f};
    fv_sampler_config config = plain(3);
    config.temperature = 0;
    config.presence_penalty = 0.6f; /* once, however often it was there */
    fv_sampler *sampler = open_sampler(&config);
    for (int i = 0; i < 5; i++) fv_sampler_accept(sampler, 0); /* 2 -> 1.4 */
    assert_int_equal(fv_sampler_next(sampler, logits), 1);
    fv_sampler_accept(sampler, 1); /* 1.5 -> 0.9 */
    assert_int_equal(fv_sampler_next(sampler, logits), 0);
    fv_sampler_close(sampler);
    config.presence_penalty = 0;
    config.frequency_penalty = 0.2f; /* for each time */
    sampler = open_sampler(&config);
    fv_sampler_accept(sampler, 0);
    fv_sampler_accept(sampler, 0); /* 1.6 */
    assert_int_equal(fv_sampler_next(sampler, logits), 0);
    fv_sampler_accept(sampler, 0); /* 1.4 */
    assert_int_equal(fv_sampler_next(sampler, logits), 1);
    fv_sampler_close(sampler);
}

static void a_window_of_zero_switches_penalties_off(void **state) {
    (void)state;
    const float logits[2] = {2, 1.9f};
    fv_sampler_config config = plain(2);
    config.temperature = 0;
    config.repeat_penalty = 5;
    config.repeat_last_tokens = 0;
    fv_sampler *sampler = open_sampler(&config);
    fv_sampler_accept(sampler, 0);
    assert_int_equal(fv_sampler_next(sampler, logits), 0);
    fv_sampler_close(sampler);
}

static void forbidden_tokens_never_come(void **state) {
    (void)state;
    float logits[VOCABULARY];
    make_logits(logits, VOCABULARY, 3);
    fv_sampler_config config = plain(VOCABULARY);
    fv_sampler *sampler = open_sampler(&config);
    logits[9] = 20;
    assert_int_equal(fv_sampler_forbid(sampler, 9), FV_OK);
    assert_int_equal(fv_sampler_forbid(sampler, VOCABULARY), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_sampler_forbid(sampler, -1), FV_ERROR_ARGUMENT);
    for (int i = 0; i < 2000; i++) assert_int_not_equal(fv_sampler_next(sampler, logits), 9);
    fv_sampler_close(sampler);
}

/* Pinned: these ids are a promise to users who keep a seed. */
static void a_seed_gives_the_same_tokens_everywhere(void **state) {
    (void)state;
    static const int32_t pinned[12] = {5, 61, 32, 32, 61, 54, 32, 10, 32, 41, 61, 29};
    float logits[VOCABULARY], before[VOCABULARY];
    make_logits(logits, VOCABULARY, 11);
    memcpy(before, logits, sizeof logits);
    fv_sampler_config config;
    fv_sampler_config_default(&config);
    config.vocabulary = VOCABULARY;
    config.seed = 42;
    fv_sampler *sampler = open_sampler(&config);
    for (int i = 0; i < 12; i++) assert_int_equal(fv_sampler_next(sampler, logits), pinned[i]);
    assert_memory_equal(before, logits, sizeof logits);
    fv_sampler_close(sampler);
}

static void ugly_logits_do_no_harm(void **state) {
    (void)state;
    const float nans[4] = {NAN, NAN, NAN, NAN}, mixed[4] = {NAN, -INFINITY, 3, NAN}, top[4] = {0, INFINITY, 1, 2};
    for (int i = 0; i < 2; i++) {
        fv_sampler_config config = plain(4);
        if (i) fv_sampler_config_default(&config);
        config.vocabulary = 4;
        fv_sampler *sampler = open_sampler(&config);
        assert_in_range(fv_sampler_next(sampler, nans), 0, 3);
        assert_int_equal(fv_sampler_next(sampler, mixed), 2);
        assert_int_equal(fv_sampler_next(sampler, top), 1);
        fv_sampler_accept(sampler, -1);
        fv_sampler_accept(sampler, 4);
        fv_sampler_close(sampler);
    }
    fv_sampler_config tiny = plain(4);
    tiny.temperature = 1e-38f; /* a division that overflows */
    fv_sampler *sampler = open_sampler(&tiny);
    assert_int_equal(fv_sampler_next(sampler, (const float[4]){1, 2, 50, 3}), 2);
    fv_sampler_close(sampler);
}

static void bad_settings_are_named(void **state) {
    (void)state;
    fv_message message = {{0}};
    fv_sampler *sampler = NULL;
    fv_sampler_config config = plain(0);
    assert_int_equal(fv_sampler_open(&sampler, &config, &message), FV_ERROR_ARGUMENT);
    static const char *const names[] = {"temperature",      "top-p", "min-p", "repeat-penalty", "presence-penalty",
                                        "frequency-penalty"};
    for (size_t i = 0; i < 2 * sizeof names / sizeof *names; i++) {
        config = plain(4);
        float *values[] = {
            &config.temperature,      &config.top_p, &config.min_p, &config.repeat_penalty, &config.presence_penalty,
            &config.frequency_penalty};
        *values[i / 2] = i % 2 ? NAN : INFINITY;
        assert_int_equal(fv_sampler_open(&sampler, &config, &message), FV_ERROR_ARGUMENT);
        assert_non_null(strstr(message.text, names[i / 2]));
    }
    config = plain(4);
    config.repeat_penalty = 0;
    assert_int_equal(fv_sampler_open(&sampler, &config, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "repeat-penalty"));
    config = plain(4);
    config.repeat_last_tokens = -2;
    assert_int_equal(fv_sampler_open(&sampler, &config, &message), FV_ERROR_ARGUMENT);
    assert_null(sampler);
    fv_sampler_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_definition),
        cmocka_unit_test(zero_temperature_is_the_lowest_best_id),
        cmocka_unit_test(penalties_change_the_best),
        cmocka_unit_test(negative_logits_are_multiplied),
        cmocka_unit_test(presence_and_frequency),
        cmocka_unit_test(a_window_of_zero_switches_penalties_off),
        cmocka_unit_test(forbidden_tokens_never_come),
        cmocka_unit_test(a_seed_gives_the_same_tokens_everywhere),
        cmocka_unit_test(limits_on_ties),
        cmocka_unit_test(ugly_logits_do_no_harm),
        cmocka_unit_test(bad_settings_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
