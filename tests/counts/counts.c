/* counts.c - six fixed workloads whose instructions counts_test.py counts under valgrind.
 *
 *   counts compiler          prints what this was compiled with
 *   counts WORKLOAD ISA      runs one; all that counts happens in counted_*(), which valgrind looks for by name
 *   counts TYPE ISA          one token's product with a matrix of that weight type: for a table, not for counts.csv */
#include "fovea/attention.h"
#include "fovea/reference/pattern.h"
#include "kernels/kernels.h"
#include "kernels/packed.h"
#include "model/linear.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNTED __attribute__((noinline)) /* valgrind finds it by its name */
enum { QUERY_HEADS = 9, KV_HEADS = 3, HEAD_DIM = 64, DECODE_TOKENS = 1024, PROMPT_TOKENS = 256, PATTERN_TOKENS = 512 };
enum { CHOOSE_TOKENS = 8192 };
enum { COLUMNS = 576, EIGHTS = 24, GEMM_TOKENS = 32, FEW_TOKENS = 4 };

static const fv_kernels *kernels;
static uint32_t seed = 1;

static void *take(size_t bytes) {
    void *memory = aligned_alloc(FV_CACHE_ALIGN, (bytes + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN);
    if (!memory) exit(1);
    return memset(memory, 0, bytes);
}

static float *floats(size_t n) {
    float *x = take(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)seed * 0x1p-31f;
    }
    return x;
}

static void need(fv_status status) {
    if (status == FV_OK) return;
    fprintf(stderr, "%s\n", fv_status_text(status));
    exit(1);
}

typedef struct attention_work {
    fv_cache *cache;
    fv_attention *attention;
    fv_policy policy;
    float *query, *keys, *out;
} attention_work;

COUNTED static void counted_attention(attention_work *work, uint32_t rows) {
    enum { WIDTH = QUERY_HEADS * HEAD_DIM };
    fv_attention_rows last = {.first_token = fv_cache_tokens(work->cache) - rows,
                              .count = rows,
                              .query = work->query,
                              .query_stride = WIDTH,
                              .out = work->out,
                              .out_stride = WIDTH};
    need(fv_attention_run(work->attention, work->cache, &work->policy, &last, NULL, NULL));
}

static attention_work attention_open(fv_selector selector, uint32_t tokens) {
    attention_work work = {0};
    fv_policy_default(selector, &work.policy);
    fv_cache_config shape;
    fv_cache_config_default(&shape);
    fv_attention_config config = {.max_tokens = tokens, .workers = 1};
    shape.shadow = config.chooses = fv_policy_is_dynamic(&work.policy);
    size_t bytes = 0;
    shape.kv_heads = KV_HEADS;
    shape.head_dim = HEAD_DIM;
    shape.max_tokens = tokens;
    need(fv_cache_size(&shape, &bytes));
    need(fv_cache_init(&work.cache, &shape, kernels, take(bytes), bytes));
    config.attend.query_heads = QUERY_HEADS;
    config.attend.kv_heads = KV_HEADS;
    config.attend.head_dim = HEAD_DIM;
    config.attend.scale = 0.125f;
    config.plan_steps = fv_policy_steps(&work.policy, tokens, FV_TILE_ROWS);
    need(fv_attention_size(&config, &bytes));
    need(fv_attention_init(&work.attention, &config, kernels, take(bytes), bytes));
    work.keys = floats((size_t)tokens * KV_HEADS * HEAD_DIM);
    work.query = floats((size_t)tokens * QUERY_HEADS * HEAD_DIM);
    work.out = floats((size_t)tokens * QUERY_HEADS * HEAD_DIM);
    need(fv_cache_append(work.cache, tokens, work.keys, KV_HEADS * HEAD_DIM, work.keys, KV_HEADS * HEAD_DIM));
    return work;
}

static void decode(void) {
    attention_work work = attention_open(FV_SELECTOR_DENSE, DECODE_TOKENS);
    counted_attention(&work, 1);
}

static void prompt(void) {
    attention_work work = attention_open(FV_SELECTOR_DENSE, PROMPT_TOKENS);
    counted_attention(&work, PROMPT_TOKENS);
}

/* One token after many: it scores all pages by their codes and reads the best. */
static void choose(void) {
    attention_work work = attention_open(FV_SELECTOR_FOVEA, CHOOSE_TOKENS);
    counted_attention(&work, 1);
}

COUNTED static void counted_pattern(fv_pattern *pattern, const fv_pattern_call *call, float *out) {
    need(fv_pattern_forward(pattern, call, out));
}

static void pattern(void) {
    enum { HEADS = 4 };
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    fv_pattern *made = NULL;
    size_t bytes = 0, n = (size_t)PATTERN_TOKENS * HEADS * HEAD_DIM;
    config.max_tokens = PATTERN_TOKENS;
    config.query_heads = config.kv_heads = HEADS;
    config.head_dim = HEAD_DIM;
    need(fv_pattern_size(&config, &bytes));
    need(fv_pattern_init(&made, &config, kernels, take(bytes), bytes));
    fv_tensor shape = {floats(n), PATTERN_TOKENS, HEADS, HEAD_DIM};
    fv_pattern_call call = {.query = shape, .keys = shape, .values = shape};
    counted_pattern(made, &call, floats(n));
}

typedef struct product_work {
    fv_q8_rows x;
    uint8_t *packed, *quants;
    float *scale, *offset, *out;
} product_work;

static product_work product_open(void) {
    size_t n = (size_t)GEMM_TOKENS * COLUMNS,
           bytes = (size_t)EIGHTS * COLUMNS / 32 * fv_packed_block_bytes(FV_PACKED_Q4_1);
    product_work work = {.packed = take(bytes), .quants = take((size_t)COLUMNS * FV_PANEL_ROWS)};
    int8_t *quants = take(n);
    float *scale = take(n / 8), *sum16 = take(n / 4), *sum32 = take(n / 8);
    for (size_t i = 0; i < bytes; i++) work.packed[i] = (uint8_t)(i * 37 & 0x3F);
    work.scale = take((size_t)COLUMNS * FV_PANEL_ROWS / 8);
    work.offset = take((size_t)COLUMNS * FV_PANEL_ROWS / 8);
    work.out = take((size_t)GEMM_TOKENS * EIGHTS * 8 * sizeof(float));
    kernels->quantize_q8(n, floats(n), quants, scale, sum16, sum32);
    work.x = (fv_q8_rows){quants, scale, sum16, sum32};
    return work;
}

/* As the model does: a few tokens need no panel where there is a kernel, and for many it is unpacked once. */
COUNTED static void counted_product(product_work *work, size_t tokens) {
    const size_t eight_bytes = COLUMNS / 32 * fv_packed_block_bytes(FV_PACKED_Q4_1), stride = EIGHTS * FV_PACKED_ROWS;
    if (kernels->product_packed(FV_PACKED_Q4_1, COLUMNS, EIGHTS, work->packed, tokens, &work->x, work->out, stride))
        return;
    fv_panel panel = {work->quants, work->scale, work->offset, 32, 15};
    for (size_t e = 0; e < EIGHTS; e += FV_PANEL_ROWS / 8) {
        for (size_t i = 0; i < FV_PANEL_ROWS / 8; i++)
            kernels->panel_unpack(FV_PACKED_Q4_1, COLUMNS, work->packed + (e + i) * eight_bytes, work->quants + 32 * i,
                                  work->scale + 8 * i, work->offset + 8 * i);
        kernels->product_panel(COLUMNS, tokens, &panel, &work->x, work->out + 8 * e, stride);
    }
}

static void gemv(void) {
    product_work work = product_open();
    counted_product(&work, 1);
}

static void rows(void) {
    product_work work = product_open();
    counted_product(&work, FEW_TOKENS);
}

static void gemm(void) {
    product_work work = product_open();
    counted_product(&work, GEMM_TOKENS);
}

COUNTED static void counted_type(const fv_linear_product *product, const fv_linear_input *x, void *scratch,
                                 size_t scratch_bytes) {
    fv_linear_run(kernels, product, 1, x, NULL, scratch, scratch_bytes);
}

/* As a model would: packed where the type can be. Zeros cost what other weights cost. False: no such type. */
static bool type_product(const char *name) {
    enum { TYPE_COLUMNS = 1024, TYPE_ROWS = 256 };
    fv_weight weight = {.type = UINT32_MAX, .rows = TYPE_ROWS, .columns = TYPE_COLUMNS};
#define TYPE_NAMED(NAME, type_name, number, values, bytes) \
    if (strcmp(name, #type_name) == 0) weight.type = number;
    FV_WEIGHT_LIST(TYPE_NAMED)
#undef TYPE_NAMED
    size_t row_bytes = fv_weight_row_bytes(weight.type, TYPE_COLUMNS), scratch_bytes = 0;
    if (!row_bytes) return false;
    void *data = take(TYPE_ROWS * row_bytes), *scratch = take(8 * row_bytes);
    weight.data = data;
    need(fv_weight_pack(&weight, data, scratch, 8 * row_bytes));
    fv_linear_input x = {.rows = floats(TYPE_COLUMNS), .columns = TYPE_COLUMNS, .tokens = 1};
    int8_t *quants = take(TYPE_COLUMNS);
    float *sums = take(TYPE_COLUMNS);
    x.q8 = (fv_q8_rows){quants, sums, sums + TYPE_COLUMNS / 32, sums + 3 * TYPE_COLUMNS / 32};
    kernels->quantize_q8(TYPE_COLUMNS, x.rows, quants, sums, sums + TYPE_COLUMNS / 32, sums + 3 * TYPE_COLUMNS / 32);
    fv_linear_product product = {&weight, floats(TYPE_ROWS), TYPE_ROWS};
    if (!fv_linear_scratch_bytes(TYPE_COLUMNS, &scratch_bytes)) return false;
    counted_type(&product, &x, take(scratch_bytes), scratch_bytes);
    return true;
}

static int print_compiler(void) {
#if defined(__clang__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
    puts("not comparable (clang, a sanitizer or no optimisation)");
#else
    printf("gcc %s\n", __VERSION__);
#endif
    return 0;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } works[] = {{"decode", decode}, {"prompt", prompt}, {"choose", choose}, {"pattern", pattern},
                 {"gemv", gemv},     {"rows", rows},     {"gemm", gemm}};
    static _Alignas(8) unsigned char table[FV_KERNELS_BYTES];
    fv_isa isa;
    if (argc == 2 && strcmp(argv[1], "compiler") == 0) return print_compiler();
    if (argc != 3 || fv_isa_from_name(argv[2], &isa) != FV_OK) return 2;
    need(fv_kernels_init(&kernels, isa, table, sizeof table));
    if (fv_kernels_isa(kernels) != isa) return 3;
    for (size_t i = 0; i < sizeof works / sizeof *works; i++)
        if (strcmp(argv[1], works[i].name) == 0) {
            works[i].run();
            return 0;
        }
    return type_product(argv[1]) ? 0 : 2;
}
