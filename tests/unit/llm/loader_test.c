/* loader_test.c - a tiny GGUF made in memory loads; each thing that can be wrong with it is an error that names it.
 * array.c, where its memory comes from, is compiled into this test so that allocations can be made to fail. */
#include <stdlib.h>

static int allocations_left = 1000000;
static void *test_calloc(size_t count, size_t bytes) { return allocations_left-- > 0 ? calloc(count, bytes) : NULL; }
#define calloc test_calloc
#include "platform/posix/array.c" /* NOLINT */
#undef calloc

#include "gguf/ggml_type.h"
#include "llm/load.h"
#include "support/gguf_builder.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TOKENS 3
#define I8 24 /* a tensor type that the format knows and fovea doesn't */
#define F64 28

/* Metadata whose value is a number or a text. */
typedef struct meta {
    const char *key; /* NULL: dropped */
    uint32_t type;
    double number;
    const char *text;
} meta;

typedef struct tensor {
    const char *name; /* NULL: dropped */
    uint32_t type;
    uint64_t columns, rows; /* rows 0: one dimension */
} tensor;

typedef struct file {
    meta metas[48];
    tensor tensors[48];
    size_t meta_count, tensor_count;
    const uint8_t *pattern; /* of attention.sliding_window_pattern as an array; NULL: none */
    size_t pattern_count;
    const void *last; /* the first 16 bytes of the last tensor, of at most 32; NULL: any bytes */
    builder bytes;
    fv_gguf *gguf;
} file;

static void set_meta(file *f, const char *key, uint32_t type, double number, const char *text) {
    size_t i = 0;
    while (i < f->meta_count && (!f->metas[i].key || strcmp(f->metas[i].key, key) != 0)) i++;
    if (i == f->meta_count) f->meta_count++;
    f->metas[i] = (meta){key, type, number, text};
}
static void set_u32(file *f, const char *key, uint32_t value) { set_meta(f, key, FV_GGUF_UINT32, value, NULL); }
static void set_f32(file *f, const char *key, double value) { set_meta(f, key, FV_GGUF_FLOAT32, value, NULL); }
static void set_text(file *f, const char *key, const char *text) { set_meta(f, key, FV_GGUF_STRING, 0, text); }
static void set_bool(file *f, const char *key, bool value) { set_meta(f, key, FV_GGUF_BOOL, value, NULL); }
static void drop_meta(file *f, const char *key) {
    for (size_t i = 0; i < f->meta_count; i++)
        if (f->metas[i].key && strcmp(f->metas[i].key, key) == 0) f->metas[i].key = NULL;
}

static void set_tensor(file *f, const char *name, uint32_t type, uint64_t columns, uint64_t rows) {
    size_t i = 0;
    while (i < f->tensor_count && (!f->tensors[i].name || strcmp(f->tensors[i].name, name) != 0)) i++;
    if (i == f->tensor_count) f->tensor_count++;
    f->tensors[i] = (tensor){name, type, columns, rows};
}
static void drop_tensor(file *f, const char *name) {
    for (size_t i = 0; i < f->tensor_count; i++)
        if (f->tensors[i].name && strcmp(f->tensors[i].name, name) == 0) f->tensors[i].name = NULL;
}

/* width 16, 2 query heads of 8 over 1, feed-forward 24, 1 layer. */
static void start(file *f, const char *name) {
    static const struct {
        const char *suffix;
        double value;
    } numbers[] = {{"block_count", 1},          {"context_length", 64},      {"embedding_length", 16},
                   {"feed_forward_length", 24}, {"attention.head_count", 2}, {"attention.head_count_kv", 1}};
    static char keys[8][64]; /* one file at a time */
    memset(f, 0, sizeof *f);
    set_text(f, "general.architecture", name);
    for (size_t i = 0; i < 6; i++) {
        snprintf(keys[i], sizeof keys[i], "%s.%s", name, numbers[i].suffix);
        set_u32(f, keys[i], (uint32_t)numbers[i].value);
    }
    snprintf(keys[6], sizeof keys[6], "%s.attention.layer_norm_rms_epsilon", name);
    set_f32(f, keys[6], 1e-5);
    set_tensor(f, "token_embd.weight", FV_WEIGHT_F16, 16, TOKENS);
    set_tensor(f, "output_norm.weight", FV_WEIGHT_F32, 16, 0);
    set_tensor(f, "blk.0.attn_norm.weight", FV_WEIGHT_F32, 16, 0);
    set_tensor(f, "blk.0.attn_q.weight", FV_WEIGHT_F16, 16, 16);
    set_tensor(f, "blk.0.attn_k.weight", FV_WEIGHT_F16, 16, 8);
    set_tensor(f, "blk.0.attn_v.weight", FV_WEIGHT_F16, 16, 8);
    set_tensor(f, "blk.0.attn_output.weight", FV_WEIGHT_F16, 16, 16);
    set_tensor(f, "blk.0.ffn_norm.weight", FV_WEIGHT_F32, 16, 0);
    set_tensor(f, "blk.0.ffn_gate.weight", FV_WEIGHT_F16, 16, 24);
    set_tensor(f, "blk.0.ffn_up.weight", FV_WEIGHT_F16, 16, 24);
    set_tensor(f, "blk.0.ffn_down.weight", FV_WEIGHT_F16, 24, 16);
}

static void start_gemma3(file *f) {
    start(f, "gemma3");
    set_u32(f, "gemma3.attention.sliding_window", 5);
    set_tensor(f, "blk.0.attn_q_norm.weight", FV_WEIGHT_F32, 8, 0);
    set_tensor(f, "blk.0.attn_k_norm.weight", FV_WEIGHT_F32, 8, 0);
    set_tensor(f, "blk.0.post_attention_norm.weight", FV_WEIGHT_F32, 16, 0);
    set_tensor(f, "blk.0.post_ffw_norm.weight", FV_WEIGHT_F32, 16, 0);
}

static void put_meta(builder *b, const meta *m) {
    float narrow = (float)m->number;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    put_key(b, m->key, m->type);
    if (m->type == FV_GGUF_STRING)
        put_text(b, m->text);
    else if (m->type == FV_GGUF_FLOAT32)
        put_number(b, bits, 4);
    else if (m->type == FV_GGUF_BOOL)
        put_number(b, (uint64_t)m->number, 1);
    else
        put_number(b, (uint64_t)m->number, 4);
}

static size_t tensor_bytes(const tensor *t) {
    size_t values = (size_t)(t->columns * (t->rows ? t->rows : 1));
    const fv_ggml_type *type = fv_ggml_type_find(t->type);
    return type ? values / type->block_values * type->block_bytes : 0;
}

static size_t padded(size_t bytes) { return (bytes + 31) / 32 * 32; }

static void write_file(file *f) {
    builder *b = &f->bytes;
    size_t metas = 0, tensors = 0, offset = 0;
    for (size_t i = 0; i < f->meta_count; i++) metas += f->metas[i].key != NULL;
    for (size_t i = 0; i < f->tensor_count; i++) tensors += f->tensors[i].name != NULL;
    put_header(b, 3, tensors, metas + (f->pattern ? 1 : 0));
    for (size_t i = 0; i < f->meta_count; i++)
        if (f->metas[i].key) put_meta(b, &f->metas[i]);
    if (f->pattern) {
        put_array(b, "gemma3.attention.sliding_window_pattern", FV_GGUF_BOOL, f->pattern_count);
        put_bytes(b, f->pattern, f->pattern_count);
    }
    for (size_t i = 0; i < f->tensor_count; i++) {
        const tensor *t = &f->tensors[i];
        const uint64_t dimensions[] = {t->columns, t->rows};
        if (!t->name) continue;
        put_tensor(b, t->name, t->rows ? 2 : 1, dimensions, t->type, offset);
        offset += padded(tensor_bytes(t));
    }
    put_data(b, 32, 0);
    size_t data = b->count;
    put_data(b, 32, offset);
    for (size_t i = data; i < b->count; i++) b->bytes[i] &= 0x3F; /* finite, whatever the type */
    if (f->last) memcpy(b->bytes + b->count - 32, f->last, 16);
}

static fv_status load_file(file *f, fv_loaded *loaded, fv_message *message) {
    int left = allocations_left; /* of the loader's: the file has its own test */
    allocations_left = 1000000;
    write_file(f);
    if (fv_gguf_open_memory(&f->gguf, f->bytes.bytes, f->bytes.count, "test.gguf", message) != FV_OK)
        fail_msg("%s", message->text);
    allocations_left = left;
    return fv_loader_open(loaded, f->gguf, TOKENS, NULL, NULL, message);
}

static void finish(file *f, fv_loaded *loaded) {
    fv_loader_close(loaded);
    fv_gguf_close(f->gguf);
}

/* Loads; the caller looks at the result and calls finish(). */
static fv_loaded load_good(file *f) {
    fv_loaded loaded = {0};
    fv_message message = {{0}};
    if (load_file(f, &loaded, &message) != FV_OK) fail_msg("%s", message.text);
    return loaded;
}

/* Does not load: `status`, and the message holds `word`. */
static void expect_error(file *f, fv_status status, const char *word) {
    fv_loaded loaded = {0};
    fv_message message = {{0}};
    fv_status got = load_file(f, &loaded, &message);
    if (got != status || !strstr(message.text, word) || !strstr(message.text, "test.gguf"))
        fail_msg("expected status %d and '%s', got %d and '%s'", status, word, got, message.text);
    assert_null(loaded.owned);
    fv_gguf_close(f->gguf);
}

static void assert_near(double a, double b) { assert_true(fabs(a - b) <= 1e-6 * fabs(b) + 1e-12); }

/* --- what loads ------------------------------------------------------------------------------------------------- */

static void llama_loads(void **state) {
    file *f = *state;
    start(f, "llama");
    set_u32(f, "llama.vocab_size", TOKENS);
    set_u32(f, "llama.rope.dimension_count", 8);
    set_text(f, "llama.tensor_data_layout", "Meta AI original pth");
    fv_loaded loaded = load_good(f);
    const fv_model_config *c = &loaded.config;
    assert_string_equal(loaded.architecture, "llama");
    assert_true(c->vocabulary == 3 && c->width == 16 && c->feed_forward == 24 && c->layers == 1 &&
                c->cache.max_tokens == 64);
    assert_true(c->query_heads == 2 && c->cache.kv_heads == 1 && c->cache.head_dim == 8 && c->rope_dims == 8);
    assert_true(c->rope_kind == FV_ROPE_PAIRS && c->activation == FV_ACTIVATION_SILU && c->local_window == 0);
    assert_near((double)c->attention_scale, 1 / sqrt(8.0));
    assert_near((double)c->embedding_scale, 1);
    assert_near((double)c->norm_epsilon, 1e-5);
    for (int i = 0; i < 4; i++) assert_near((double)loaded.weights.rope_frequencies[i], pow(10000, -2.0 * i / 8));
    assert_ptr_equal(loaded.weights.output.data, loaded.weights.embedding.data);
    assert_null(loaded.weights.layers[0].query_bias.data);
    assert_int_equal(loaded.weights.layers[0].down.columns, 24);
    assert_int_equal(loaded.parameters, 3 * 16 + 3 * 16 + 2 * 256 + 2 * 128 + 3 * 16 * 24);
    finish(f, &loaded);
}

static void qwen_may_have_biases_and_needs_norms(void **state) {
    file *f = *state;
    start(f, "qwen2");
    fv_loaded without = load_good(f);
    assert_null(without.weights.layers[0].query_bias.data);
    finish(f, &without);
    start(f, "qwen2");
    set_tensor(f, "blk.0.attn_q.bias", FV_WEIGHT_F32, 16, 0);
    set_tensor(f, "blk.0.attn_k.bias", FV_WEIGHT_F32, 8, 0);
    set_tensor(f, "blk.0.attn_v.bias", FV_WEIGHT_F32, 8, 0);
    fv_loaded loaded = load_good(f);
    assert_true(loaded.config.rope_kind == FV_ROPE_HALVES && loaded.weights.layers[0].value_bias.columns == 8);
    finish(f, &loaded);
    start(f, "qwen3");
    expect_error(f, FV_ERROR_CORRUPT, "blk.0.attn_q_norm.weight");
    start(f, "llama");
    set_tensor(f, "blk.0.attn_q_norm.weight", FV_WEIGHT_F32, 8, 0);
    expect_error(f, FV_ERROR_UNSUPPORTED, "blk.0.attn_q_norm.weight");
}

static void gemma3_loads(void **state) {
    file *f = *state;
    start_gemma3(f);
    set_f32(f, "gemma3.rope.freq_base", 1e6);
    set_f32(f, "gemma3.rope.scaling.factor", 8);
    set_text(f, "gemma3.rope.scaling.type", "linear");
    set_f32(f, "gemma3.final_logit_softcapping", 30);
    fv_loaded loaded = load_good(f);
    const fv_model_config *c = &loaded.config;
    assert_true(c->local_window == 5 && c->local_period == 6 && c->activation == FV_ACTIVATION_GELU);
    assert_near((double)c->embedding_scale, 4);
    assert_near((double)c->attention_scale, 1 / sqrt(8.0));
    assert_near((double)c->logit_softcap, 30);
    for (int i = 0; i < 4; i++) {
        assert_near((double)loaded.weights.rope_frequencies[i], pow(1e6, -2.0 * i / 8) / 8);
        assert_near((double)loaded.weights.rope_local_frequencies[i], pow(1e4, -2.0 * i / 8));
    }
    finish(f, &loaded);
}

static void gemma3_patterns(void **state) {
    file *f = *state;
    static const uint8_t all_local[] = {1}, all_global[] = {0}, too_short[1] = {1};
    start_gemma3(f);
    f->pattern = all_local;
    f->pattern_count = 1;
    fv_loaded loaded = load_good(f);
    assert_int_equal(loaded.config.local_period, 2); /* one layer, (0 + 1) % 2 != 0: local */
    finish(f, &loaded);
    start_gemma3(f);
    f->pattern = all_global;
    f->pattern_count = 1;
    loaded = load_good(f);
    assert_true(loaded.config.local_window == 0 && loaded.config.local_period == 0);
    finish(f, &loaded);
    start_gemma3(f);
    set_u32(f, "gemma3.block_count", 2);
    f->pattern = too_short;
    f->pattern_count = 1;
    expect_error(f, FV_ERROR_UNSUPPORTED, "sliding_window_pattern");
    start_gemma3(f);
    set_u32(f, "gemma3.attention.sliding_window_pattern", 1);
    loaded = load_good(f);
    assert_int_equal(loaded.config.local_window, 0);
    finish(f, &loaded);
    start_gemma3(f);
    drop_meta(f, "gemma3.attention.sliding_window");
    loaded = load_good(f);
    assert_int_equal(loaded.config.local_period, 0);
    finish(f, &loaded);
    start(f, "llama");
    set_u32(f, "llama.attention.sliding_window", 5);
    expect_error(f, FV_ERROR_UNSUPPORTED, "llama.attention.sliding_window");
}

/* Of 4,096 tokens the frequency at index 8 ln(4096 / (n 2 pi)) / (2 ln 1e4) turns n times: 2.81 for 1, 2.51 for 2, 1.76
 * for 11. Frequencies up to the floor of the fast one stay, from the ceiling of the slow one on they are divided. */
static void yarn_ramps_between_its_betas(void **state) {
    file *f = *state;
    static const struct {
        double fast, slow, kept[4]; /* share of the plain frequency */
    } cases[] = {{2, 1, {1, 1, 1, 0}}, {11, 1, {1, 1, 0.5, 0}}, {11, 2, {1, 1, 0.5, 0}}, {2, 11, {1, 1, 1, 0}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start(f, "llama");
        set_text(f, "llama.rope.scaling.type", "yarn");
        set_f32(f, "llama.rope.scaling.factor", 4);
        set_u32(f, "llama.rope.scaling.original_context_length", 4096);
        set_f32(f, "llama.rope.scaling.yarn_beta_fast", cases[i].fast);
        set_f32(f, "llama.rope.scaling.yarn_beta_slow", cases[i].slow);
        fv_loaded loaded = load_good(f);
        for (int c = 0; c < 4; c++)
            assert_near((double)loaded.weights.rope_frequencies[c],
                        pow(1e4, -2.0 * c / 8) * (cases[i].kept[c] + (1 - cases[i].kept[c]) / 4));
        finish(f, &loaded);
    }
}

static void scales_are_read(void **state) {
    file *f = *state;
    start(f, "llama");
    set_f32(f, "llama.attention.scale", 0.3);
    set_f32(f, "llama.embedding_scale", 12);
    set_f32(f, "llama.residual_scale", 0.22);
    set_f32(f, "llama.attn_logit_softcapping", 50);
    set_f32(f, "llama.final_logit_softcapping", 30);
    fv_loaded loaded = load_good(f);
    const fv_model_config *c = &loaded.config;
    const double got[] = {(double)c->attention_scale,   (double)c->embedding_scale, (double)c->residual_scale,
                          (double)c->attention_softcap, (double)c->logit_softcap,   (double)c->rope_magnitude};
    const double want[] = {0.3, 12, 0.22, 50, 30, 1};
    for (size_t i = 0; i < 6; i++) assert_true(fabs(got[i] - want[i]) <= 1e-6 * want[i]);
    finish(f, &loaded);
}

static void yarn_and_linear(void **state) {
    file *f = *state;
    start(f, "llama");
    set_text(f, "llama.rope.scaling.type", "yarn");
    set_f32(f, "llama.rope.scaling.factor", 4);
    set_u32(f, "llama.rope.scaling.original_context_length", 32);
    fv_loaded loaded = load_good(f);
    assert_near((double)loaded.config.rope_magnitude, 0.1 * log(4.0) + 1);
    /* ramp ends: floor(8 ln(32 / (32 * 2 pi)) / (2 ln 1e4)) < 0 -> 0, ceil(8 ln(32 / 2 pi) / (2 ln 1e4)) = 1 */
    assert_near((double)loaded.weights.rope_frequencies[0], 1);
    for (int i = 1; i < 4; i++) assert_near((double)loaded.weights.rope_frequencies[i], pow(1e4, -2.0 * i / 8) / 4);
    finish(f, &loaded);
    set_f32(f, "llama.rope.scaling.yarn_attn_factor", 1.5);
    set_f32(f, "llama.rope.scaling.attn_factor", 2);
    loaded = load_good(f);
    assert_near((double)loaded.config.rope_magnitude, 3);
    finish(f, &loaded);
    set_text(f, "llama.rope.scaling.type", "linear");
    loaded = load_good(f);
    assert_near((double)loaded.weights.rope_frequencies[0], 0.25);
    finish(f, &loaded);
    set_text(f, "llama.rope.scaling.type", "none");
    loaded = load_good(f);
    assert_near((double)loaded.weights.rope_frequencies[0], 1);
    finish(f, &loaded);
    set_text(f, "llama.rope.scaling.type", "linear");
    set_f32(f, "llama.rope.scaling.factor", 0); /* some files say so for none */
    loaded = load_good(f);
    assert_near((double)loaded.weights.rope_frequencies[0], 1);
    finish(f, &loaded);
    set_text(f, "llama.rope.scaling.type", "longrope");
    expect_error(f, FV_ERROR_UNSUPPORTED, "longrope");
}

/* Gemma 3 27B, known by its 62 layers, was trained with 1/sqrt(width / heads); its heads are longer than that. */
static void only_gemma3_of_62_layers_is_scaled_by_its_width(void **state) {
    file *f = *state;
    static const struct {
        const char *name;
        uint32_t layers;
        double scaled_by;
    } cases[] = {{"gemma3", 62, 21}, {"gemma3", 61, 8}, {"gemma3", 63, 8}, {"gemma3", 34, 8}, {"qwen3", 62, 8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool gemma = cases[i].name[0] == 'g';
        const fv_architecture row = {.name = cases[i].name, .gemma = gemma, .wide_layers = gemma ? 62 : 0};
        fv_message message = {{0}};
        start(f, cases[i].name);
        write_file(f);
        assert_int_equal(fv_gguf_open_memory(&f->gguf, f->bytes.bytes, f->bytes.count, "t.gguf", &message), FV_OK);
        fv_load load = {.gguf = f->gguf, .row = &row, .message = &message};
        fv_model_config_default(&load.out.config);
        load.out.config.layers = cases[i].layers;
        load.out.config.width = 5376 / 8;
        load.out.config.query_heads = 32;
        load.out.config.cache.head_dim = 8;
        assert_int_equal(fv_load_scales(&load), FV_OK);
        assert_near((double)load.out.config.attention_scale, 1 / sqrt(cases[i].scaled_by));
        assert_near((double)load.out.config.embedding_scale, row.gemma ? sqrt(5376.0 / 8) : 1);
        fv_gguf_close(f->gguf);
    }
}

static void norms_in_half_precision_are_converted(void **state) {
    file *f = *state;
    static const uint16_t f16[] = {0x3C00, 0xC500, 0x0001, 0x83FF, 0x7BFF, 0x8000, 0x3555, 0x4000};
    static const uint16_t bf16[] = {0x3F80, 0xC0A0, 0x0001, 0xFF7F, 0x4049, 0x8000, 0x3EAB, 0x4000};
    static const double of_f16[] = {1, -5, 0x1p-24, -0x3FFp-24, 65504, -0.0, 0x1.554p-2, 2};
    static const double of_bf16[] = {1, -5, 0x1p-133, -0x1.FEp127, 0x1.92p1, -0.0, 0x1.56p-2, 2};
    for (int kind = 0; kind < 2; kind++) {
        start(f, "llama");
        drop_tensor(f, "output_norm.weight"); /* to be the last one, whose data is known */
        set_tensor(f, "output_norm.weight", kind ? FV_WEIGHT_BF16 : FV_WEIGHT_F16, 16, 0);
        set_tensor(f, "blk.0.attn_norm.weight", FV_WEIGHT_BF16, 16, 0);
        f->last = kind ? (const void *)bf16 : f16;
        fv_loaded loaded = load_good(f);
        assert_int_equal(loaded.weights.output_norm.type, FV_WEIGHT_F32);
        assert_int_equal(loaded.weights.layers[0].attention_norm.type, FV_WEIGHT_F32);
        const float *values = loaded.weights.output_norm.data;
        for (int i = 0; i < 8; i++) {
            double want = kind ? of_bf16[i] : of_f16[i], got = (double)values[i];
            assert_memory_equal(&got, &want, sizeof want);
        }
        finish(f, &loaded);
    }
    start(f, "llama");
    set_tensor(f, "output_norm.weight", I8, 16, 0);
    expect_error(f, FV_ERROR_UNSUPPORTED, "output_norm.weight: type I8");
}

static void norms_that_are_not_finite_are_named(void **state) {
    file *f = *state;
    static const uint16_t nan16[] = {0x3C00, 0x3C00, 0x7E01}, infinite16[] = {0x3F80, 0xFF80};
    static const float nan32[] = {1, 1, 1, NAN};
    const void *const bad[] = {nan16, infinite16, nan32};
    static const uint32_t types[] = {FV_WEIGHT_F16, FV_WEIGHT_BF16, FV_WEIGHT_F32};
    static const char *const places[] = {"element 2 is", "element 1 is", "element 11 is"};
    for (int i = 0; i < 3; i++) {
        static unsigned char last[16];
        memset(last, 0, sizeof last);
        memcpy(last, bad[i], i == 0 ? sizeof nan16 : i == 1 ? sizeof infinite16 : sizeof nan32);
        start(f, "llama");
        drop_tensor(f, "output_norm.weight"); /* to be the last one, whose data is known */
        set_tensor(f, "output_norm.weight", types[i], 16, 0);
        f->last = last;
        expect_error(f, FV_ERROR_CORRUPT, places[i]);
    }
}

static void rope_factors_divide(void **state) {
    file *f = *state;
    static const float good[] = {1, 2, 4, 8}, zero[] = {1, 0, 1, 1}, nan[] = {1, 1, NAN, 1}, negative[] = {1, 1, 1, -1};
    static const float *const bad[] = {zero, nan, negative};
    start(f, "llama");
    set_tensor(f, "rope_freqs.weight", FV_WEIGHT_F32, 4, 0);
    f->last = good;
    fv_loaded loaded = load_good(f);
    for (int i = 0; i < 4; i++)
        assert_near((double)loaded.weights.rope_frequencies[i], pow(1e4, -2.0 * i / 8) / (double)good[i]);
    finish(f, &loaded);
    for (int i = 0; i < 3; i++) {
        f->last = bad[i];
        expect_error(f, FV_ERROR_CORRUPT, "rope_freqs.weight");
    }
    set_tensor(f, "rope_freqs.weight", FV_WEIGHT_F32, 5, 0);
    expect_error(f, FV_ERROR_CORRUPT, "rope_freqs.weight");
    start(f, "qwen3");
    set_tensor(f, "blk.0.attn_q_norm.weight", FV_WEIGHT_F32, 8, 0);
    set_tensor(f, "blk.0.attn_k_norm.weight", FV_WEIGHT_F32, 8, 0);
    set_tensor(f, "rope_freqs.weight", FV_WEIGHT_F32, 4, 0);
    expect_error(f, FV_ERROR_UNSUPPORTED, "rope_freqs.weight");
}

/* --- what doesn't ----------------------------------------------------------------------------------------------- */

static void unknown_architecture(void **state) {
    file *f = *state;
    start(f, "mamba");
    expect_error(f, FV_ERROR_UNSUPPORTED,
                 "mamba is not supported; "
                 "supported: llama qwen2 qwen3 gemma gemma2 gemma3 granite smollm3 phi3 mistral3 olmo2");
    drop_meta(f, "general.architecture");
    expect_error(f, FV_ERROR_CORRUPT, "general.architecture");
}

static void missing_keys_are_named(void **state) {
    file *f = *state;
    static const char *const keys[] = {"llama.block_count",          "llama.context_length",
                                       "llama.embedding_length",     "llama.feed_forward_length",
                                       "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        start(f, "llama");
        drop_meta(f, keys[i]);
        expect_error(f, FV_ERROR_CORRUPT, keys[i]);
    }
}

static void numbers_out_of_range_are_named(void **state) {
    file *f = *state;
    static const struct {
        const char *key;
        uint32_t value;
    } wrong[] = {{"llama.block_count", 0},
                 {"llama.block_count", 513},
                 {"llama.block_count", UINT32_MAX},
                 {"llama.context_length", 0},
                 {"llama.context_length", (1u << 30) + 1},
                 {"llama.embedding_length", 0},
                 {"llama.embedding_length", UINT32_MAX},
                 {"llama.feed_forward_length", 0},
                 {"llama.attention.head_count", 0},
                 {"llama.attention.head_count", 65537},
                 {"llama.attention.head_count_kv", 0},
                 {"llama.attention.head_count_kv", 1025},
                 {"llama.attention.key_length", 0},
                 {"llama.attention.key_length", 1025},
                 {"llama.rope.dimension_count", 10},
                 {"llama.rope.dimension_count", 0}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        start(f, "llama");
        set_u32(f, wrong[i].key, wrong[i].value);
        expect_error(f, FV_ERROR_CORRUPT, wrong[i].key);
    }
    static const char *const floats[] = {"llama.attention.layer_norm_rms_epsilon",
                                         "llama.rope.freq_base",
                                         "llama.rope.scaling.factor",
                                         "llama.attention.scale",
                                         "llama.residual_scale",
                                         "llama.attn_logit_softcapping"};
    static const double values[] = {-1, NAN, INFINITY};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        for (size_t k = 0; k < 3; k++) {
            start(f, "llama");
            set_f32(f, floats[i], values[k]);
            expect_error(f, FV_ERROR_CORRUPT, floats[i]);
        }
}

static void shapes_that_do_not_work_are_explained(void **state) {
    file *f = *state;
    start(f, "llama");
    set_u32(f, "llama.attention.head_count", 3);
    set_u32(f, "llama.attention.head_count_kv", 2);
    expect_error(f, FV_ERROR_UNSUPPORTED, "3 query heads over 2 KV heads");
    start(f, "llama");
    set_u32(f, "llama.attention.head_count", 65);
    expect_error(f, FV_ERROR_UNSUPPORTED, "65 query heads over 1 KV heads");
    start(f, "llama");
    set_u32(f, "llama.attention.value_length", 16);
    expect_error(f, FV_ERROR_UNSUPPORTED, "value_length 16");
    start(f, "llama");
    set_u32(f, "llama.rope.dimension_count", 7);
    expect_error(f, FV_ERROR_UNSUPPORTED, "rope over 7");
    start(f, "llama");
    set_u32(f, "llama.attention.head_count", 32); /* 16 / 32 */
    set_u32(f, "llama.attention.head_count_kv", 32);
    expect_error(f, FV_ERROR_UNSUPPORTED, "head dimension 0");
}

static void unread_keys_are_named(void **state) {
    file *f = *state;
    static const char *const keys[] = {"llama.attention.q_lora_rank", "llama.rope.scaling.alpha", "llama.x", "llama."};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        start(f, "llama");
        set_u32(f, keys[i], 1);
        expect_error(f, FV_ERROR_UNSUPPORTED, keys[i]);
    }
    start(f, "llama");
    set_u32(f, "llamas.x", 1); /* other prefixes are nobody's business */
    set_u32(f, "general.x", 1);
    set_u32(f, "llama.expert_count", 0);
    set_bool(f, "llama.attention.causal", true);
    fv_loaded loaded = load_good(f);
    finish(f, &loaded);
    set_u32(f, "llama.expert_count", 8);
    expect_error(f, FV_ERROR_UNSUPPORTED, "llama.expert_count is 8");
    start(f, "llama");
    set_bool(f, "llama.attention.causal", false);
    expect_error(f, FV_ERROR_UNSUPPORTED, "llama.attention.causal");
    start(f, "llama");
    set_f32(f, "llama.logit_scale", 0.5);
    expect_error(f, FV_ERROR_UNSUPPORTED, "llama.logit_scale");
    start(f, "llama");
    set_text(f, "llama.expert_count", "many");
    expect_error(f, FV_ERROR_CORRUPT, "llama.expert_count");
    start(f, "llama");
    set_text(f, "llama.block_count", "many");
    expect_error(f, FV_ERROR_CORRUPT, "llama.block_count");
}

static void every_tensor_is_needed(void **state) {
    file *f = *state;
    start(f, "llama");
    size_t count = f->tensor_count;
    for (size_t i = 0; i < count; i++) {
        start(f, "llama");
        const char *name = f->tensors[i].name;
        drop_tensor(f, name);
        expect_error(f, FV_ERROR_CORRUPT, name);
    }
}

static void every_shape_and_type_is_checked(void **state) {
    file *f = *state;
    start(f, "llama");
    size_t count = f->tensor_count;
    for (size_t i = 0; i < count; i++) {
        start(f, "llama");
        const char *name = f->tensors[i].name;
        f->tensors[i].columns++;
        expect_error(f, FV_ERROR_CORRUPT, name);
        start(f, "llama");
        f->tensors[i].rows += f->tensors[i].rows ? 1 : 2;
        expect_error(f, FV_ERROR_CORRUPT, name);
        start(f, "llama");
        f->tensors[i].type = F64;
        expect_error(f, FV_ERROR_UNSUPPORTED, name);
    }
    start(f, "llama");
    set_tensor(f, "blk.0.attn_k.weight", F64, 16, 8);
    expect_error(f, FV_ERROR_UNSUPPORTED, "blk.0.attn_k.weight: type F64 is not supported; supported: F32 F16 Q4_0");
    start(f, "llama");
    set_tensor(f, "blk.0.attn_k.weight", 77, 16, 8);
    expect_error(f, FV_ERROR_UNSUPPORTED, "blk.0.attn_k.weight: type number 77 is not supported");
}

static void other_tensors_are_named(void **state) {
    file *f = *state;
    start(f, "llama");
    set_tensor(f, "blk.0.ffn_gate_inp.weight", FV_WEIGHT_F32, 16, 4);
    expect_error(f, FV_ERROR_UNSUPPORTED, "blk.0.ffn_gate_inp.weight");
    start(f, "llama");
    set_tensor(f, "blk.1.attn_norm.weight", FV_WEIGHT_F32, 16, 0); /* a layer more than block_count says */
    expect_error(f, FV_ERROR_UNSUPPORTED, "blk.1.attn_norm.weight");
    start(f, "llama");
    set_tensor(f, "blk.0.attn_rot_embd.weight", FV_WEIGHT_F32, 4, 0);
    fv_loaded loaded = load_good(f);
    finish(f, &loaded);
}

static void vocabularies_must_agree(void **state) {
    file *f = *state;
    start(f, "llama");
    set_tensor(f, "token_embd.weight", FV_WEIGHT_F16, 16, TOKENS + 1);
    expect_error(f, FV_ERROR_CORRUPT, "has 4 rows, the tokenizer has 3 tokens");
    start(f, "llama");
    set_u32(f, "llama.vocab_size", 4);
    expect_error(f, FV_ERROR_CORRUPT, "llama.vocab_size is 4");
    start(f, "llama");
    set_tensor(f, "output.weight", FV_WEIGHT_F16, 16, TOKENS + 1);
    expect_error(f, FV_ERROR_CORRUPT, "output.weight");
    start(f, "llama");
    set_tensor(f, "output.weight", FV_WEIGHT_F32, 16, TOKENS);
    fv_loaded loaded = load_good(f);
    assert_ptr_not_equal(loaded.weights.output.data, loaded.weights.embedding.data);
    finish(f, &loaded);
}

static void failing_allocations_are_reported(void **state) {
    file *f = *state;
    start_gemma3(f);
    set_tensor(f, "output_norm.weight", FV_WEIGHT_F16, 16, 0);
    fv_status status = FV_ERROR_MEMORY;
    int limit = 0;
    for (; status != FV_OK; limit++) {
        fv_loaded loaded = {0};
        fv_message message = {{0}};
        allocations_left = limit;
        status = load_file(f, &loaded, &message);
        allocations_left = 1000000;
        if (status != FV_OK) {
            assert_int_equal(status, FV_ERROR_MEMORY);
            assert_non_null(strstr(message.text, "out of memory"));
            assert_null(loaded.owned);
        }
        finish(f, &loaded);
    }
    assert_true(limit > 4);
}

static int make_file(void **state) {
    *state = malloc(sizeof(file));
    return *state ? 0 : -1;
}

static int free_file(void **state) {
    free(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_loads),
        cmocka_unit_test(qwen_may_have_biases_and_needs_norms),
        cmocka_unit_test(gemma3_loads),
        cmocka_unit_test(gemma3_patterns),
        cmocka_unit_test(yarn_and_linear),
        cmocka_unit_test(scales_are_read),
        cmocka_unit_test(yarn_ramps_between_its_betas),
        cmocka_unit_test(norms_in_half_precision_are_converted),
        cmocka_unit_test(norms_that_are_not_finite_are_named),
        cmocka_unit_test(only_gemma3_of_62_layers_is_scaled_by_its_width),
        cmocka_unit_test(rope_factors_divide),
        cmocka_unit_test(unknown_architecture),
        cmocka_unit_test(missing_keys_are_named),
        cmocka_unit_test(numbers_out_of_range_are_named),
        cmocka_unit_test(shapes_that_do_not_work_are_explained),
        cmocka_unit_test(unread_keys_are_named),
        cmocka_unit_test(every_tensor_is_needed),
        cmocka_unit_test(every_shape_and_type_is_checked),
        cmocka_unit_test(other_tensors_are_named),
        cmocka_unit_test(vocabularies_must_agree),
        cmocka_unit_test(failing_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, make_file, free_file);
}
