/* pattern_bench.c - the pattern's forward pass beside a plain C transcription of the published loops, in one run:
 * pattern_bench [TOKENS...]. 8 heads x 64, default pattern, causal, one thread; the best of interleaved runs. */
#include "fovea/reference/pattern.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HEADS = 8, HEAD_DIM = 64, ROUNDS = 7, WIDTH = HEADS * HEAD_DIM };

/* ---- the published loops: per head, per row: list the candidates, then one pass of online softmax over them ---- */

typedef struct row_lists {
    uint32_t *tokens, *blocks, *stamp; /* stamp[t] = row + 1: listed already */
    uint32_t token_count, block_count;
} row_lists;

static void list_token(row_lists *lists, uint32_t row, uint32_t token) {
    if (lists->stamp[token] == row + 1) return;
    lists->stamp[token] = row + 1;
    lists->tokens[lists->token_count++] = token;
}

static void list_row(const fv_policy *policy, uint32_t tokens, uint32_t row, row_lists *lists) {
    lists->token_count = lists->block_count = 0;
    for (uint32_t t = row > policy->window ? row - policy->window : 0; t <= row; t++) list_token(lists, row, t);
    for (uint32_t g = 0; g < policy->globals_count; g++)
        if (policy->globals[g] <= row) list_token(lists, row, policy->globals[g]);
    for (uint32_t s = 1; s < tokens && s <= row; s *= 2) list_token(lists, row, row - s);
    uint32_t available = (row + 1) / policy->block;
    if (!available) return;
    uint32_t pivot = available - 1;
    if (pivot >= 1) lists->blocks[lists->block_count++] = pivot - 1;
    lists->blocks[lists->block_count++] = pivot;
    for (uint32_t s = 2; s <= pivot; s *= 2) lists->blocks[lists->block_count++] = pivot - s;
}

/* State of one row of one head. */
typedef struct softmax {
    float maximum, sum, out[HEAD_DIM];
} softmax;

static void softmax_add(softmax *state, const float *query, const float *key, const float *value, float scale) {
    float score = 0.0f;
    for (size_t c = 0; c < HEAD_DIM; c++) score += query[c] * key[c];
    score *= scale;
    float maximum = score > state->maximum ? score : state->maximum;
    float keep = expf(state->maximum - maximum), weight = expf(score - maximum);
    for (size_t c = 0; c < HEAD_DIM; c++) state->out[c] = state->out[c] * keep + weight * value[c];
    state->sum = state->sum * keep + weight;
    state->maximum = maximum;
}

static void means(uint32_t tokens, uint32_t block, const float *rows, float *marks) {
    for (uint32_t first = 0, mark = 0; first < tokens; first += block, mark++) {
        uint32_t count = tokens - first < block ? tokens - first : block;
        float *mean = marks + (size_t)mark * WIDTH;
        memset(mean, 0, WIDTH * sizeof *mean);
        for (size_t t = first; t < first + count; t++)
            for (size_t c = 0; c < WIDTH; c++) mean[c] += rows[t * WIDTH + c];
        for (size_t c = 0; c < WIDTH; c++) mean[c] /= (float)count;
    }
}

static void published_forward(const fv_policy *policy, uint32_t tokens, const float *q, const float *k, const float *v,
                              row_lists *lists, float *marks[2], float *out) {
    const float scale = 1.0f / sqrtf((float)HEAD_DIM);
    means(tokens, policy->block, k, marks[0]);
    means(tokens, policy->block, v, marks[1]);
    for (size_t head = 0; head < HEADS; head++) {
        memset(lists->stamp, 0, tokens * sizeof *lists->stamp);
        for (uint32_t row = 0; row < tokens; row++) {
            softmax state = {.maximum = -INFINITY};
            const float *query = q + row * WIDTH + head * HEAD_DIM;
            list_row(policy, tokens, row, lists);
            for (uint32_t i = 0; i < lists->token_count; i++) {
                size_t at = (size_t)lists->tokens[i] * WIDTH + head * HEAD_DIM;
                softmax_add(&state, query, k + at, v + at, scale);
            }
            for (uint32_t i = 0; i < lists->block_count; i++) {
                size_t at = (size_t)lists->blocks[i] * WIDTH + head * HEAD_DIM;
                softmax_add(&state, query, marks[0] + at, marks[1] + at, scale);
            }
            for (size_t c = 0; c < HEAD_DIM; c++) out[row * WIDTH + head * HEAD_DIM + c] = state.out[c] / state.sum;
        }
    }
}

/* ---- measuring ---- */

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void *take(size_t bytes) {
    void *memory = aligned_alloc(FV_CACHE_ALIGN, (bytes + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN);
    if (!memory) {
        fprintf(stderr, "pattern_bench: no memory\n");
        exit(1);
    }
    return memory;
}

static float *random_rows(uint32_t tokens, uint32_t *state) {
    float *rows = take((size_t)tokens * WIDTH * sizeof *rows);
    for (size_t i = 0; i < (size_t)tokens * WIDTH; i++) {
        *state = *state * 1664525u + 1013904223u;
        rows[i] = (float)(int32_t)*state * 0x1p-31f * 1.7f;
    }
    return rows;
}

static int measure(const fv_kernels *kernels, uint32_t tokens) {
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    uint32_t random = 1;
    uint64_t edges = 0;
    size_t bytes = 0, n = (size_t)tokens * WIDTH;
    config.max_tokens = tokens;
    config.query_heads = config.kv_heads = HEADS;
    config.head_dim = HEAD_DIM;
    fv_pattern *pattern = NULL;
    if (fv_pattern_size(&config, &bytes) != FV_OK || fv_pattern_edges(&config.policy, tokens, &edges) != FV_OK)
        return 1;
    void *memory = take(bytes);
    if (fv_pattern_init(&pattern, &config, kernels, memory, bytes) != FV_OK) return 1;
    float *q = random_rows(tokens, &random), *k = random_rows(tokens, &random), *v = random_rows(tokens, &random);
    float *ours = take(n * sizeof *ours), *theirs = take(n * sizeof *theirs);
    float *marks[2] = {take(n * sizeof(float)), take(n * sizeof(float))};
    row_lists lists = {
        .tokens = take((tokens + 1) * 4), .blocks = take((tokens + 1) * 4), .stamp = take((tokens + 1) * 4)};
    fv_tensor shape = {q, tokens, HEADS, HEAD_DIM};
    fv_pattern_call call = {.query = shape, .keys = shape, .values = shape};
    call.keys.data = k;
    call.values.data = v;
    double best[2] = {1e9, 1e9}, worst = 0.0;
    int status = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        status |= fv_pattern_forward(pattern, &call, ours) != FV_OK;
        double middle = seconds();
        published_forward(&config.policy, tokens, q, k, v, &lists, marks, theirs);
        double end = seconds();
        if (middle - start < best[0]) best[0] = middle - start;
        if (end - middle < best[1]) best[1] = end - middle;
    }
    for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs((double)ours[i] - (double)theirs[i]));
    printf("%6u %10.2f %10.2f %7.1f %12.3g %12.2f %10.1e\n", tokens, best[1] * 1e3, best[0] * 1e3, best[1] / best[0],
           (double)edges * HEADS / best[0], best[0] * 1e9 / tokens / HEADS, worst);
    free(q), free(k), free(v), free(ours), free(theirs), free(marks[0]), free(marks[1]), free(memory);
    free(lists.tokens), free(lists.blocks), free(lists.stamp);
    return status || !(worst < 2e-6);
}

int main(int argc, char **argv) {
    static _Alignas(8) unsigned char table[FV_KERNELS_BYTES];
    static const uint32_t usual[] = {512, 1024, 2048, 4096, 8192};
    const fv_kernels *kernels;
    const char *wanted = getenv("FV_ISA");
    fv_isa limit = FV_ISA_BEST;
    int bad = 0;
    if (wanted && fv_isa_from_name(wanted, &limit) != FV_OK) {
        fprintf(stderr, "FV_ISA=%s is no instruction set of this build\n", wanted);
        return 2;
    }
    if (fv_kernels_init(&kernels, limit, table, sizeof table) != FV_OK) return 1;
    printf("8 heads x 64, default pattern, causal, one thread, %s\n", fv_isa_name(fv_kernels_isa(kernels)));
    printf("tokens  theirs ms    ours ms   ratio      edges/s   ns/row/head  max diff\n");
    for (int i = 1; i < argc; i++) bad |= measure(kernels, (uint32_t)strtoul(argv[i], NULL, 10));
    for (size_t i = 0; argc == 1 && i < sizeof usual / sizeof usual[0]; i++) bad |= measure(kernels, usual[i]);
    return bad;
}
