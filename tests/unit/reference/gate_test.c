/* gate_test.c - the gate against its definition in double and against recorded vectors, keep masks against sorting,
 * causal masks against the mask of each prefix. */
#include "fovea/reference/gate.h"
#include "support/random.h"
#include "unit/reference/gate_vectors.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void *take(size_t bytes) {
    void *memory = aligned_alloc(FV_GATE_ALIGN, (bytes + FV_GATE_ALIGN - 1) / FV_GATE_ALIGN * FV_GATE_ALIGN);
    if (!memory) exit(1);
    memset(memory, 0x88, bytes);
    return memory;
}

static fv_gate *gate_make(const fv_gate_config *config, const float *const *parts) {
    size_t bytes;
    fv_gate *gate = NULL;
    assert_int_equal(fv_gate_size(config, &bytes), FV_OK);
    assert_int_equal(fv_gate_init(&gate, config, parts, take(bytes), bytes), FV_OK);
    return gate;
}

static fv_gate_config shape(uint32_t input_dim, uint32_t hidden_dim) {
    fv_gate_config config;
    fv_gate_config_default(&config);
    config.input_dim = input_dim;
    config.hidden_dim = hidden_dim;
    return config;
}

/* rows, columns of a part. */
static size_t part_rows(const fv_gate_config *config) { return config->hidden_dim; }
static size_t part_columns(const fv_gate_config *config, int part) {
    if (part == FV_GATE_PART_GATE_INPUT || part == FV_GATE_PART_UPDATE_INPUT) return config->input_dim;
    return part == FV_GATE_PART_GATE_BIAS || part == FV_GATE_PART_UPDATE_BIAS ? 1 : config->hidden_dim;
}

static const char *const part_files[FV_GATE_PARTS] = {"w_gate.npy",   "u_gate.npy",    "w_update.npy",
                                                      "u_update.npy", "bias_gate.npy", "bias_update.npy"};

static float *parts_read(const fv_gate *gate, int part) {
    const fv_gate_config *config = fv_gate_shape(gate);
    float *out = take(part_rows(config) * part_columns(config, part) * sizeof *out);
    assert_int_equal(fv_gate_read(gate, (fv_gate_part)part, out), FV_OK);
    return out;
}

/* The cell as it is written in gate.h, in double. */
static double cell_double(const fv_gate_config *config, float *const *parts, const float *x, double *hidden) {
    double next[64], square = 0;
    for (size_t r = 0; r < config->hidden_dim; r++) {
        double gate = (double)parts[FV_GATE_PART_GATE_BIAS][r], update = (double)parts[FV_GATE_PART_UPDATE_BIAS][r];
        for (size_t i = 0; i < config->input_dim; i++) {
            gate += (double)parts[FV_GATE_PART_GATE_INPUT][r * config->input_dim + i] * (double)x[i];
            update += (double)parts[FV_GATE_PART_UPDATE_INPUT][r * config->input_dim + i] * (double)x[i];
        }
        for (size_t i = 0; i < config->hidden_dim; i++) {
            gate += (double)parts[FV_GATE_PART_GATE_STATE][r * config->hidden_dim + i] * hidden[i];
            update += (double)parts[FV_GATE_PART_UPDATE_STATE][r * config->hidden_dim + i] * hidden[i];
        }
        double keep = (double)config->zeta / (1 + exp(-gate)) + (double)config->nu;
        keep = keep < 0 ? 0 : keep > 1 ? 1 : keep;
        next[r] = keep * hidden[r] + (1 - keep) * tanh(update);
        square += next[r] * next[r];
    }
    memcpy(hidden, next, config->hidden_dim * sizeof *hidden);
    return sqrt(square);
}

static void the_cell_follows_its_definition(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    double worst = 0;
    for (int round = 0; round < 60; round++) {
        fv_gate_config config = shape(test_random_in(&random, 1, 70), test_random_in(&random, 1, 64));
        config.zeta = 1 + test_random_f32(&random);
        config.nu = 0.3f * test_random_f32(&random);
        config.seed = test_random_u32(&random);
        fv_gate *gate = gate_make(&config, NULL);
        float *parts[FV_GATE_PARTS], x[20 * 70], salience[20];
        double hidden[64] = {0};
        for (int part = 0; part < FV_GATE_PARTS; part++) parts[part] = parts_read(gate, part);
        test_fill_f32(&random, x, 20 * 70, round % 2 ? 1.0f : 4.0f);
        assert_int_equal(fv_gate_score(gate, 20, x, 70, salience), FV_OK);
        for (size_t t = 0; t < 20; t++) {
            double want = cell_double(&config, parts, x + 70 * t, hidden), off = fabs((double)salience[t] - want);
            if (off > worst) worst = off;
            if (!(off <= 5e-6))
                fail_msg("%u x %u, token %zu: %.9g, not %.9g (seed %u)", config.input_dim, config.hidden_dim, t,
                         (double)salience[t], want, random.seed);
        }
        for (int part = 0; part < FV_GATE_PARTS; part++) free(parts[part]);
        free(gate);
    }
    print_message("worst difference from the cell in double: %.2g\n", worst);
}

/* One input, one state: with zeta 0 the state is tanh(w x), and with w = 0 it is (1 - sigmoid(u x)) * tanh(1). */
static void sigmoid_and_tanh_are_exact_to_a_few_ulp(void **state) {
    (void)state;
    float one = 1, zero = 0, big = 30;
    const float *tangent[FV_GATE_PARTS] = {&zero, &zero, &one, &zero, &zero, &zero};
    const float *sigmoid[FV_GATE_PARTS] = {&one, &zero, &zero, &zero, &zero, &big};
    fv_gate_config config = shape(1, 1);
    config.weights = FV_GATE_WEIGHTS_GIVEN;
    config.zeta = 0;
    fv_gate *tanh_gate = gate_make(&config, tangent);
    config.zeta = 1;
    fv_gate *sigmoid_gate = gate_make(&config, sigmoid);
    double worst_tangent = 0, worst_sigmoid = 0;
    for (float x = -30; x < 30; x += 0.00037f) {
        float h = 0, salience;
        assert_int_equal(fv_gate_step(tanh_gate, &x, &h, &h, &salience), FV_OK);
        double off = fabs((double)h - tanh((double)x)) / fabs(tanh((double)x));
        if (off > worst_tangent) worst_tangent = off;
        assert_true(salience == fabsf(h)); /* the root of a square that does not underflow */
        h = 0;                             /* h' = 1 - sigmoid(x): the error of the subtraction is absolute */
        assert_int_equal(fv_gate_step(sigmoid_gate, &x, &h, &h, &salience), FV_OK);
        off = fabs((double)h - 1 / (1 + exp((double)x)));
        if (off > worst_sigmoid) worst_sigmoid = off;
    }
    print_message("tanh: %.2f ulp, sigmoid: %.2f ulp of 1\n", worst_tangent * 0x1p24, worst_sigmoid * 0x1p24);
    assert_true(worst_tangent <= 0x1p-22 && worst_sigmoid <= 0x1p-23);
    free(tanh_gate);
    free(sigmoid_gate);
}

/* The salience of one hidden element is |h|, so any root can be asked for through two of them: sqrt(a^2 + b^2). */
static void the_norm_is_the_nearest_root(void **state) {
    (void)state;
    test_random random = test_random_make(2);
    float zero[4] = {0}, ten[2] = {1, 1};
    const float *parts[FV_GATE_PARTS] = {zero, zero, zero, zero, ten, zero};
    fv_gate_config config = shape(1, 2);
    config.weights = FV_GATE_WEIGHTS_GIVEN;
    config.nu = 1; /* h' = h */
    fv_gate *gate = gate_make(&config, parts);
    for (int i = 0; i < 100000; i++) {
        float size = ldexpf(1, (int)test_random_in(&random, 0, 120) - 70), x = 0, salience;
        float h[2] = {size * test_random_f32(&random), size * test_random_f32(&random)};
        float square = h[0] * h[0];
        square += h[1] * h[1];
        assert_int_equal(fv_gate_step(gate, &x, h, h, &salience), FV_OK);
        if (salience != sqrtf(square))
            fail_msg("root of %a: %a, not %a", (double)square, (double)salience, sqrt((double)square));
    }
    free(gate);
}

static void check_near(const char *what, const float *got, const float *want, size_t count, double *worst) {
    for (size_t i = 0; i < count; i++) {
        double off = fabs((double)got[i] - (double)want[i]);
        if (off > *worst) *worst = off;
        if (!(off <= 2e-6)) fail_msg("%s [%zu]: %.9g, not %.9g", what, i, (double)got[i], (double)want[i]);
    }
}

static fv_gate_config case_config(const char *json) {
    fv_gate_config config = shape(vectors_count(json, "input_dim"), vectors_count(json, "hidden_dim"));
    config.zeta = vectors_number(json, "zeta");
    config.nu = vectors_number(json, "nu");
    config.weights = FV_GATE_WEIGHTS_GIVEN;
    return config;
}

static char *vectors_or_skip(const char *name) {
    size_t bytes;
    char *json = vectors_read(name, "case.json", &bytes);
    if (!json) {
        print_message("skipped: no tests/golden/reference/%s here\n", name);
        skip();
    }
    return json;
}

/* The fixed weights are the recorded ones, bit for bit. */
static void check_reference_weights(const fv_gate_config *given, float *const *parts) {
    fv_gate_config config = *given;
    config.weights = FV_GATE_WEIGHTS_REFERENCE;
    fv_gate *gate = gate_make(&config, NULL);
    for (int part = 0; part < FV_GATE_PARTS; part++) {
        float *got = parts_read(gate, part);
        assert_memory_equal(got, parts[part], part_rows(&config) * part_columns(&config, part) * sizeof *got);
        free(got);
    }
    free(gate);
}

static void check_gate_case(const char *name, double *worst) {
    char *json = vectors_or_skip(name);
    fv_gate_config config = case_config(json);
    size_t count, tokens = vectors_count(json, "seq"), heads = vectors_count(json, "kv_heads");
    float *parts[FV_GATE_PARTS];
    for (int part = 0; part < FV_GATE_PARTS; part++) parts[part] = vectors_f32(name, part_files[part], &count);
    if (strncmp(vectors_find(json, "deterministic_init"), "true", 4) == 0) check_reference_weights(&config, parts);
    fv_gate *gate = gate_make(&config, (const float *const *)parts);
    float *got = take(tokens * (1 + config.hidden_dim) * sizeof *got), *hidden = got + tokens;

    float *input = vectors_f32(name, "tokens.npy", &count), *want = vectors_f32(name, "salience.npy", &count);
    assert_int_equal(fv_gate_score(gate, (uint32_t)tokens, input, config.input_dim, got), FV_OK);
    check_near("salience", got, want, tokens, worst);
    free(want);

    float *state = vectors_f32(name, "h0.npy", &count), *want_hidden = vectors_f32(name, "hidden.npy", &count);
    for (size_t t = 0; t < tokens; t++, memcpy(hidden + (t - 1) * config.hidden_dim, state, config.hidden_dim * 4))
        assert_int_equal(fv_gate_step(gate, input + t * config.input_dim, state, state, got + t), FV_OK);
    want = vectors_f32(name, "step_salience.npy", &count);
    check_near("step salience", got, want, tokens, worst);
    check_near("hidden", hidden, want_hidden, tokens * config.hidden_dim, worst);
    free(want);
    free(want_hidden);
    free(input);
    free(state);

    float *keys = vectors_f32(name, "k.npy", &count);
    want = vectors_f32(name, "salience_kv.npy", &count);
    assert_int_equal(fv_gate_score_keys(gate, (uint32_t)tokens, (uint32_t)heads, keys, heads * config.input_dim, got),
                     FV_OK);
    check_near("salience of keys", got, want, tokens, worst);
    free(want);
    free(keys);
    for (int part = 0; part < FV_GATE_PARTS; part++) free(parts[part]);
    free(got);
    free(gate);
    free(json);
}

static void recorded_saliences(void **state) {
    (void)state;
    static const char *const names[] = {"gate01_init_8_4",         "gate02_init_16_8",      "gate03_init_3_1",
                                        "gate04_init_64_32",       "gate05_weights_8_4",    "gate06_weights_clamp_hi",
                                        "gate07_weights_clamp_lo", "gate08_weights_zeta_nu"};
    double worst = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) check_gate_case(names[i], &worst);
    print_message("worst difference from the recorded saliences: %.2g\n", worst);
}

static void recorded_masks_of_keys(void **state) {
    (void)state;
    static const char *const names[] = {"gatedf01_k8", "gatedf02_k0", "gatedf03_kall", "gatedf04_nc_w", "gatedf05_w"};
    double worst = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *json = vectors_or_skip(names[i]);
        fv_gate_config config = case_config(json);
        size_t count;
        uint32_t tokens = vectors_count(json, "seq"), heads = vectors_count(json, "kv_heads");
        float *parts[FV_GATE_PARTS];
        for (int part = 0; part < FV_GATE_PARTS; part++) parts[part] = vectors_f32(names[i], part_files[part], &count);
        fv_gate *gate = gate_make(&config, (const float *const *)parts);
        float *keys = vectors_f32(names[i], "k.npy", &count), *want = vectors_f32(names[i], "salience_kv.npy", &count);
        uint8_t *want_mask = vectors_npy(names[i], "keep_mask.npy", 1, &count), *mask = take(tokens);
        float *salience = take(tokens * sizeof *salience);
        assert_int_equal(count, tokens);
        assert_int_equal(fv_gate_score_keys(gate, tokens, heads, keys, (size_t)heads * config.input_dim, salience),
                         FV_OK);
        check_near(names[i], salience, want, tokens, &worst);
        assert_int_equal(fv_keep_top(tokens, salience, vectors_count(json, "gate_top_k"), mask), FV_OK);
        assert_memory_equal(mask, want_mask, tokens);
        for (int part = 0; part < FV_GATE_PARTS; part++) free(parts[part]);
        free(gate), free(keys), free(want), free(want_mask), free(mask), free(salience), free(json);
    }
    print_message("worst difference from the recorded saliences of keys: %.2g\n", worst);
}

static void recorded_keep_masks(void **state) {
    (void)state;
    enum { ROOM = 4096 };
    char *json = vectors_or_skip("keepmask");
    static float salience[ROOM], want[ROOM];
    uint8_t mask[ROOM];
    size_t rows = 0;
    for (char *row = strstr(json, "{\"kind\""), *end; row; row = strstr(end, "{\"kind\""), rows++) {
        end = strchr(row, '}');
        size_t count = vectors_list(row, "salience", salience, ROOM);
        assert_int_equal(vectors_list(row, "mask", want, ROOM), count);
        bool top = strncmp(vectors_find(row, "kind"), "top_k", 5) == 0;
        fv_status status = top ? fv_keep_top((uint32_t)count, salience, vectors_count(row, "param"), mask)
                               : fv_keep_quantile((uint32_t)count, salience, vectors_number(row, "param"), mask);
        assert_int_equal(status, FV_OK);
        for (size_t t = 0; t < count; t++)
            if (mask[t] != (want[t] != 0.0f)) fail_msg("row %zu, token %zu: %d (%.60s)", rows, t, mask[t], row);
    }
    assert_true(rows >= 100);
    free(json);
}

/* Scores with many equal ones, both zeros, negatives and infinities. */
static void scores_fill(test_random *random, float *salience, uint32_t tokens) {
    uint32_t kinds = test_random_in(random, 1, 40);
    for (uint32_t t = 0; t < tokens; t++) {
        salience[t] = (float)(int32_t)test_random_in(random, 0, kinds) - 3.0f;
        if (salience[t] == 0.0f && test_random_in(random, 0, 1)) salience[t] = -0.0f;
        if (kinds > 35) salience[t] = test_random_f32(random);
        if (kinds == 7 && test_random_in(random, 0, 9) == 0)
            salience[t] = test_random_in(random, 0, 1) ? INFINITY : -INFINITY;
    }
}

/* By counting who comes before: a higher score, or an equal one with a lower index. */
static bool top_keeps(const float *salience, uint32_t tokens, uint32_t token, uint32_t keep) {
    uint32_t before = 0;
    for (uint32_t t = 0; t < tokens; t++)
        before += salience[t] > salience[token] || (salience[t] == salience[token] && t < token);
    return before < keep;
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void masks_follow_their_definitions(void **state) {
    (void)state;
    test_random random = test_random_make(3);
    for (int round = 0; round < 600; round++) {
        uint32_t tokens = test_random_in(&random, 0, 90), keep = test_random_in(&random, 0, 100);
        float salience[90], sorted[90], quantile = 1.5f * test_random_f32(&random);
        uint8_t mask[92];
        uint32_t until[90];
        scores_fill(&random, salience, tokens);
        memset(mask, 0x88, sizeof mask);
        assert_int_equal(fv_keep_top(tokens, salience, keep, mask), FV_OK);
        assert_int_equal(fv_keep_until(FV_KEEP_WHOLE_SEQUENCE, tokens, salience, keep, NULL, until), FV_OK);
        for (uint32_t t = 0; t < tokens; t++) {
            assert_int_equal(mask[t], top_keeps(salience, tokens, t, keep));
            for (uint32_t row = 0; row < tokens; row++) assert_int_equal(fv_keep_has(until, row, t), mask[t]);
        }
        assert_int_equal(mask[tokens], 0x88);
        if (tokens == 0) continue;
        assert_int_equal(fv_keep_quantile(tokens, salience, quantile, mask), FV_OK);
        memcpy(sorted, salience, sizeof sorted);
        qsort(sorted, tokens, sizeof *sorted, ascending);
        float product = (float)tokens * fminf(fmaxf(quantile, 0), 1);
        uint32_t index = (uint32_t)product < tokens ? (uint32_t)product : tokens - 1;
        for (uint32_t t = 0; t < tokens; t++) assert_int_equal(mask[t], salience[t] >= sorted[index]);
        assert_int_equal(mask[tokens], 0x88);
    }
}

/* 10 * 0.9f is 9 in f32 and 8.99... in double. */
static void the_quantile_rounds_in_f32(void **state) {
    (void)state;
    float salience[10];
    uint8_t mask[10], kept = 0;
    for (int t = 0; t < 10; t++) salience[t] = (float)t;
    assert_int_equal(fv_keep_quantile(10, salience, 0.9f, mask), FV_OK);
    for (int t = 0; t < 10; t++) kept = (uint8_t)(kept + mask[t]);
    assert_int_equal(kept, 1);
    assert_int_equal(fv_keep_quantile(10, salience, NAN, mask), FV_OK);
    for (int t = 0; t < 10; t++) assert_int_equal(mask[t], 1);
}

static void a_causal_row_is_the_mask_of_its_prefix(void **state) {
    (void)state;
    test_random random = test_random_make(4);
    for (int round = 0; round < 300; round++) {
        uint32_t tokens = test_random_in(&random, 0, 80), keep = test_random_in(&random, 0, round % 3 ? 12 : 90);
        float salience[80];
        uint8_t mask[80];
        uint32_t until[80], heap[91];
        uint32_t room = keep < tokens ? keep : tokens;
        scores_fill(&random, salience, tokens);
        heap[room] = 0x88888888;
        assert_int_equal(fv_keep_until(FV_KEEP_CAUSAL, tokens, salience, keep, heap, until), FV_OK);
        assert_int_equal(heap[room], 0x88888888);
        for (uint32_t row = 0; row < tokens; row++) {
            assert_int_equal(fv_keep_top(row + 1, salience, keep, mask), FV_OK);
            for (uint32_t t = 0; t <= row; t++)
                if (fv_keep_has(until, row, t) != mask[t])
                    fail_msg("keep %u, row %u, token %u (seed %u)", keep, row, t, random.seed);
        }
    }
}

/* The leak of the published method: here later tokens change no earlier row, there they do. */
static void later_keys_change_no_earlier_row(void **state) {
    (void)state;
    enum { TOKENS = 96, DIM = 16, KEEP = 12, FROM = 60 };
    test_random random = test_random_make(5);
    fv_gate_config config = shape(DIM, 8);
    fv_gate *gate = gate_make(&config, NULL);
    static float keys[TOKENS * 2 * DIM];
    float before[TOKENS], after[TOKENS];
    uint32_t heap[KEEP], until[2][TOKENS], whole[2][TOKENS], moved = 0;
    test_fill_f32(&random, keys, TOKENS * 2 * DIM, 1);
    assert_int_equal(fv_gate_score_keys(gate, TOKENS, 2, keys, 2 * DIM, before), FV_OK);
    for (size_t i = FROM * 2 * DIM; i < TOKENS * 2 * DIM; i++) keys[i] *= 3;
    assert_int_equal(fv_gate_score_keys(gate, TOKENS, 2, keys, 2 * DIM, after), FV_OK);
    assert_memory_equal(before, after, FROM * sizeof *before);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fv_keep_until(FV_KEEP_CAUSAL, TOKENS, i ? after : before, KEEP, heap, until[i]), FV_OK);
        assert_int_equal(fv_keep_until(FV_KEEP_WHOLE_SEQUENCE, TOKENS, i ? after : before, KEEP, NULL, whole[i]),
                         FV_OK);
    }
    for (uint32_t row = 0; row < FROM; row++)
        for (uint32_t t = 0; t <= row; t++) {
            assert_int_equal(fv_keep_has(until[0], row, t), fv_keep_has(until[1], row, t));
            moved += fv_keep_has(whole[0], row, t) != fv_keep_has(whole[1], row, t);
        }
    assert_true(moved > 0);
    free(gate);
}

static void a_nan_is_refused_and_nothing_written(void **state) {
    (void)state;
    float salience[5] = {0.5f, 0.25f, NAN, 1, 2};
    uint8_t mask[5] = {7, 7, 7, 7, 7};
    uint32_t until[5] = {7, 7, 7, 7, 7}, heap[5];
    assert_int_equal(fv_keep_top(5, salience, 2, mask), FV_ERROR_NOT_FINITE);
    assert_int_equal(fv_keep_top(5, salience, 0, mask), FV_ERROR_NOT_FINITE);
    assert_int_equal(fv_keep_top(5, salience, 9, mask), FV_ERROR_NOT_FINITE);
    assert_int_equal(fv_keep_quantile(5, salience, 0.5f, mask), FV_ERROR_NOT_FINITE);
    assert_int_equal(fv_keep_until(FV_KEEP_CAUSAL, 5, salience, 2, heap, until), FV_ERROR_NOT_FINITE);
    assert_int_equal(fv_keep_until(FV_KEEP_WHOLE_SEQUENCE, 5, salience, 2, NULL, until), FV_ERROR_NOT_FINITE);
    for (int t = 0; t < 5; t++) assert_true(mask[t] == 7 && until[t] == 7);
    assert_int_equal(fv_keep_top(2, salience, 1, mask), FV_OK); /* before the NaN all is well */
    assert_int_equal(fv_keep_until((fv_keep_scope)2, 2, salience, 1, heap, until), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_keep_until(FV_KEEP_CAUSAL, 2, salience, 1, NULL, until), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_keep_top(2, NULL, 1, mask), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_keep_top(2, salience, 1, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_keep_top(0, NULL, 1, NULL), FV_OK);
    assert_int_equal(fv_keep_quantile(0, NULL, 1, NULL), FV_OK);
    assert_int_equal(fv_keep_until(FV_KEEP_CAUSAL, 0, NULL, 1, NULL, NULL), FV_OK);
}

/* A NaN input is seen in every later salience: the hidden state can't forget it. */
static void a_nan_input_stays_visible(void **state) {
    (void)state;
    fv_gate_config config = shape(3, 4);
    fv_gate *gate = gate_make(&config, NULL);
    float x[6 * 3], salience[6];
    for (int i = 0; i < 18; i++) x[i] = 0.5f;
    x[3 * 2 + 1] = NAN;
    assert_int_equal(fv_gate_score(gate, 6, x, 3, salience), FV_OK);
    for (int t = 0; t < 6; t++) assert_int_equal(isnan(salience[t]) != 0, t >= 2);
    x[3 * 2 + 1] = 1e30f; /* finite saturates and does no harm */
    assert_int_equal(fv_gate_score(gate, 6, x, 3, salience), FV_OK);
    for (int t = 0; t < 6; t++) assert_true(salience[t] >= 0 && salience[t] <= 2);
    free(gate);
}

static void steps_give_the_bits_of_the_sequence(void **state) {
    (void)state;
    enum { TOKENS = 33, DIM = 13, HEADS = 3, HIDDEN = 9 };
    test_random random = test_random_make(6);
    fv_gate_config config = shape(DIM, HIDDEN);
    fv_gate *gate = gate_make(&config, NULL);
    float x[TOKENS * (DIM + 2)], salience[TOKENS], again[TOKENS], hidden[HIDDEN] = {0}, next[HIDDEN], one;
    test_fill_f32(&random, x, TOKENS * (DIM + 2), 2);
    assert_int_equal(fv_gate_score(gate, TOKENS, x, DIM + 2, salience), FV_OK);
    assert_int_equal(fv_gate_score_keys(gate, TOKENS, 1, x, DIM + 2, again), FV_OK);
    assert_memory_equal(salience, again, sizeof salience);
    for (size_t t = 0; t < TOKENS; t++) {
        assert_int_equal(fv_gate_step(gate, x + t * (DIM + 2), hidden, next, &one), FV_OK);
        assert_int_equal(fv_gate_step(gate, x + t * (DIM + 2), hidden, hidden, &again[t]), FV_OK); /* in place */
        assert_memory_equal(hidden, next, sizeof hidden);
        assert_true(one == salience[t] && again[t] == salience[t]);
    }
    free(gate);
}

static void seeds_differ_and_no_number_is_used_twice(void **state) {
    (void)state;
    fv_gate_config config = shape(128, 32); /* here the published streams overlap */
    enum { COUNT = 2 * (128 * 32 + 32 * 32) };
    static float weights[3][COUNT];
    for (int i = 0; i < 3; i++) {
        config.seed = i == 1 ? 43 : 42;
        fv_gate *gate = gate_make(&config, NULL);
        float *at = weights[i];
        for (int part = 0; part < FV_GATE_PART_GATE_BIAS; part++) {
            assert_int_equal(fv_gate_read(gate, (fv_gate_part)part, at), FV_OK);
            at += part_rows(&config) * part_columns(&config, part);
        }
        float bias[32];
        assert_int_equal(fv_gate_read(gate, FV_GATE_PART_UPDATE_BIAS, bias), FV_OK);
        for (int r = 0; r < 32; r++) assert_true(bias[r] == 0.0f);
        free(gate);
    }
    assert_memory_equal(weights[0], weights[2], sizeof weights[0]);
    size_t same = 0, repeats = 0;
    double mean = 0;
    for (size_t i = 0; i < COUNT; i++) {
        same += weights[0][i] == weights[1][i];
        mean += (double)weights[0][i] / COUNT;
        assert_true(fabsf(weights[0][i]) < sqrtf(6.0f / 64));
    }
    assert_true(same < 5 && fabs(mean) < 0.005);
    for (size_t lag = 1; lag < COUNT; lag++) /* an overlap would be a run of equal numbers at some distance */
        for (size_t i = 0, run = 0; i + lag < COUNT; i++) {
            run = weights[0][i] == weights[0][i + lag] ? run + 1 : 0;
            repeats += run >= 3;
        }
    assert_int_equal(repeats, 0);
}

static void memory_and_arguments_are_checked(void **state) {
    (void)state;
    fv_gate_config config = shape(5, 3);
    size_t bytes = 99, same;
    assert_int_equal(fv_gate_size(&config, &bytes), FV_OK);
    unsigned char *memory = take(bytes + 64);
    fv_gate *gate = NULL;
    assert_int_equal(fv_gate_init(&gate, &config, NULL, memory, bytes - 1), FV_ERROR_MEMORY);
    assert_int_equal(fv_gate_init(&gate, &config, NULL, memory + 4, bytes), FV_ERROR_MEMORY);
    assert_int_equal(fv_gate_init(&gate, &config, NULL, NULL, bytes), FV_ERROR_MEMORY);
    assert_int_equal(fv_gate_init(NULL, &config, NULL, memory, bytes), FV_ERROR_ARGUMENT);
    assert_null(gate);
    for (size_t i = 0; i < bytes; i++) assert_int_equal(memory[i], 0x88);
    same = bytes;
    fv_gate_config bad[8];
    for (int i = 0; i < 8; i++) bad[i] = config;
    bad[0].input_dim = 0;
    bad[1].hidden_dim = 0;
    bad[2].input_dim = 65537;
    bad[3].hidden_dim = 1025;
    bad[4].zeta = NAN;
    bad[5].nu = INFINITY;
    bad[6].weights = 3;
    bad[7].reserved = 1;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(fv_gate_size(&bad[i], &bytes), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_gate_init(&gate, &bad[i], NULL, memory, bytes), FV_ERROR_ARGUMENT);
    }
    assert_int_equal(fv_gate_size(NULL, &bytes), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_gate_size(&config, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(bytes, same);

    float part[15] = {0}, *const wrong = take(15 * sizeof *wrong);
    memset(wrong, 0, 15 * sizeof *wrong);
    wrong[8] = NAN;
    const float *parts[FV_GATE_PARTS] = {part, part, part, part, part, part};
    config.weights = FV_GATE_WEIGHTS_GIVEN;
    assert_int_equal(fv_gate_init(&gate, &config, NULL, memory, bytes), FV_ERROR_ARGUMENT);
    for (int i = 0; i < FV_GATE_PARTS; i++) {
        const float *right = parts[i];
        parts[i] = NULL;
        assert_int_equal(fv_gate_init(&gate, &config, parts, memory, bytes), FV_ERROR_ARGUMENT);
        parts[i] = wrong;
        if (i < FV_GATE_PART_GATE_BIAS)
            assert_int_equal(fv_gate_init(&gate, &config, parts, memory, bytes), FV_ERROR_NOT_FINITE);
        parts[i] = right;
    }
    assert_null(gate);
    for (size_t i = 0; i < bytes + 64; i++) assert_int_equal(memory[i], 0x88);
    assert_int_equal(fv_gate_init(&gate, &config, parts, memory, bytes), FV_OK);
    for (size_t i = bytes; i < bytes + 64; i++) assert_int_equal(memory[i], 0x88);

    float x[10] = {0}, out[4] = {7, 7, 7, 7};
    assert_int_equal(fv_gate_score(NULL, 2, x, 5, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_gate_score(gate, 2, x, 4, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_gate_score(gate, 2, NULL, 5, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_gate_score(gate, 2, x, 5, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_gate_score(gate, 0, NULL, 5, NULL), FV_OK);
    assert_int_equal(fv_gate_score_keys(gate, 1, 0, x, 5, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_gate_score_keys(gate, 1, 2, x, 9, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_gate_step(gate, x, NULL, out, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_gate_step(gate, x, x, out, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_gate_read(gate, FV_GATE_PARTS, out), FV_ERROR_ARGUMENT);
    for (int i = 0; i < 4; i++) assert_true(out[i] == 7);
    free(memory);
    free(wrong);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cell_follows_its_definition),
        cmocka_unit_test(sigmoid_and_tanh_are_exact_to_a_few_ulp),
        cmocka_unit_test(the_norm_is_the_nearest_root),
        cmocka_unit_test(recorded_saliences),
        cmocka_unit_test(recorded_masks_of_keys),
        cmocka_unit_test(recorded_keep_masks),
        cmocka_unit_test(masks_follow_their_definitions),
        cmocka_unit_test(the_quantile_rounds_in_f32),
        cmocka_unit_test(a_causal_row_is_the_mask_of_its_prefix),
        cmocka_unit_test(later_keys_change_no_earlier_row),
        cmocka_unit_test(a_nan_is_refused_and_nothing_written),
        cmocka_unit_test(a_nan_input_stays_visible),
        cmocka_unit_test(steps_give_the_bits_of_the_sequence),
        cmocka_unit_test(seeds_differ_and_no_number_is_used_twice),
        cmocka_unit_test(memory_and_arguments_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
