/* gate_trained_test.c - gates trained on a real model's keys (tests/golden/gate_trained) score as the tool that trained
 * them says: in large weights and large keys, and token by token as in one call. */
#include "fovea/reference/gate.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct gate_file {
    uint32_t input_dim, hidden_dim, kv_heads, tokens;
    const float *parts[FV_GATE_PARTS];
    const float *keys;     /* [tokens][kv_heads][input_dim] */
    const float *salience; /* [tokens] */
    float *data;           /* what the pointers point into */
} gate_file;

static uint32_t u32_at(const unsigned char *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static gate_file file_read(const char *name) {
    char path[1024];
    unsigned char head[20];
    snprintf(path, sizeof path, "%s/tests/golden/gate_trained/%s", FV_SOURCE_DIR, name);
    FILE *in = fopen(path, "rb");
    if (!in) fail_msg("%s: cannot be opened", path);
    assert_int_equal(fread(head, 1, sizeof head, in), sizeof head);
    assert_memory_equal(head, "FVGT", 4);
    gate_file file = {.input_dim = u32_at(head + 4),
                      .hidden_dim = u32_at(head + 8),
                      .kv_heads = u32_at(head + 12),
                      .tokens = u32_at(head + 16)};
    assert_in_range(file.input_dim, 1, 256);
    assert_in_range(file.hidden_dim, 1, 256);
    assert_in_range(file.kv_heads, 1, 64);
    assert_in_range(file.tokens, 1, 4096);
    size_t hidden = file.hidden_dim, inputs = file.input_dim, keys = (size_t)file.tokens * file.kv_heads * inputs;
    size_t sizes[FV_GATE_PARTS] = {hidden * inputs, hidden * hidden, hidden * inputs, hidden * hidden, hidden, hidden};
    size_t count = keys + file.tokens, offset = 0;
    for (int part = 0; part < FV_GATE_PARTS; part++) count += sizes[part];
    unsigned char *bytes = malloc(4 * count);
    file.data = malloc(count * sizeof *file.data);
    assert_non_null(bytes);
    assert_non_null(file.data);
    assert_int_equal(fread(bytes, 4, count, in), count);
    assert_int_equal(fgetc(in), EOF);
    fclose(in);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = u32_at(bytes + 4 * i);
        memcpy(&file.data[i], &bits, 4);
    }
    free(bytes);
    for (int part = 0; part < FV_GATE_PARTS; offset += sizes[part++]) file.parts[part] = file.data + offset;
    file.keys = file.data + offset;
    file.salience = file.keys + keys;
    return file;
}

static fv_gate *gate_make(const gate_file *file) {
    fv_gate_config config;
    fv_gate_config_default(&config);
    config.input_dim = file->input_dim;
    config.hidden_dim = file->hidden_dim;
    config.weights = FV_GATE_WEIGHTS_GIVEN;
    size_t bytes;
    fv_gate *gate = NULL;
    assert_int_equal(fv_gate_size(&config, &bytes), FV_OK);
    void *memory = aligned_alloc(FV_GATE_ALIGN, (bytes + FV_GATE_ALIGN - 1) / FV_GATE_ALIGN * FV_GATE_ALIGN);
    assert_int_equal(fv_gate_init(&gate, &config, file->parts, memory, bytes), FV_OK);
    return gate;
}

/* Saliences are at most sqrt(hidden_dim); f32 against f64 stays far below this share of that. */
#define TOLERANCE 1e-5

static void check_file(const char *name) {
    gate_file file = file_read(name);
    fv_gate *gate = gate_make(&file);
    size_t stride = (size_t)file.kv_heads * file.input_dim;
    float *got = malloc(file.tokens * sizeof *got), *mean = malloc(file.input_dim * sizeof *mean);
    float *hidden = calloc(file.hidden_dim, sizeof *hidden);
    double worst = 0, spread = 0, bound = TOLERANCE * sqrt(file.hidden_dim);
    assert_int_equal(fv_gate_score_keys(gate, file.tokens, file.kv_heads, file.keys, stride, got), FV_OK);
    for (size_t t = 0; t < file.tokens; t++) {
        double error = fabs((double)got[t] - (double)file.salience[t]);
        worst = fmax(worst, error);
        spread = fmax(spread, fabs((double)file.salience[t] - (double)file.salience[0]));
        if (!(error <= bound))
            fail_msg("%s token %zu: %.9g, the tool says %.9g", name, t, (double)got[t], (double)file.salience[t]);
        for (size_t c = 0; c < file.input_dim; c++) {
            mean[c] = 0.0f;
            for (size_t head = 0; head < file.kv_heads; head++)
                mean[c] += file.keys[t * stride + head * file.input_dim + c] * (1.0f / (float)file.kv_heads);
        }
        float salience;
        assert_int_equal(fv_gate_step(gate, mean, hidden, hidden, &salience), FV_OK);
        assert_memory_equal(&salience, &got[t], sizeof salience);
    }
    print_message("%s: largest difference %.2g\n", name, worst);
    assert_true(spread > 0.1); /* a gate that has learned nothing would prove nothing */
    free(hidden);
    free(mean);
    free(got);
    free(gate);
    free(file.data);
}

static void test_layers(void **state) {
    (void)state;
    check_file("layer_7.bin");
    check_file("layer_18.bin");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
