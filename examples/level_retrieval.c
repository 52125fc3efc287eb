/* level_retrieval.c - makes levels by attending over a corpus of levels: the key of a corpus position is the embedding
 * of the columns before it, its value the column that came next, so attention is a distribution over the next column,
 * which is drawn from it. There is no training. Usage: level_retrieval [SEED] */
#include "level.h"
#include <fovea/reference/pattern.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CORPUS = 8192,
    CONTEXT = 10, /* columns that a key tells of */
    HEAD_DIM = CONTEXT * LEVEL_EMBED,
    LENGTH = 96,
    LEVELS = 12
};
#define SHARPNESS 4.0f /* score that one wrong element of the embedding costs */
#define FLOOR 0.05f    /* columns less likely than this part of the likeliest are not drawn */

_Static_assert(HEAD_DIM >= LEVEL_COLUMNS, "a value holds a weight for each column");

static void check(fv_status status) {
    if (status == FV_OK) return;
    fprintf(stderr, "error: %s\n", fv_status_text(status));
    exit(1);
}

static void *aligned(size_t bytes) {
    void *memory = aligned_alloc(FV_CACHE_ALIGN, (bytes + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN);
    if (!memory) check(FV_ERROR_MEMORY);
    return memory;
}

/* The CONTEXT columns before `at`; those before the beginning are zeros. */
static void context_embed(const uint8_t *columns, uint32_t at, float scale, float *out) {
    for (uint32_t i = 0; i < HEAD_DIM; i++) out[i] = 0;
    for (uint32_t back = 1; back <= CONTEXT && back <= at; back++)
        level_embed(columns[at - back], scale, out + (back - 1) * LEVEL_EMBED);
}

static void corpus_append(fv_cache *cache, const uint8_t *corpus) {
    for (uint32_t at = 0; at < CORPUS; at++) {
        float key[HEAD_DIM], value[HEAD_DIM] = {0};
        context_embed(corpus, at, 1, key);
        value[corpus[at]] = 1;
        check(fv_cache_append(cache, 1, key, HEAD_DIM, value, HEAD_DIM));
    }
}

static fv_pattern *pattern_open(const fv_policy *policy, const fv_kernels *kernels, void **memory) {
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    config.policy = *policy;
    config.max_tokens = CORPUS;
    config.head_dim = HEAD_DIM;
    size_t bytes;
    check(fv_pattern_size(&config, &bytes));
    *memory = aligned(bytes);
    fv_pattern *pattern;
    check(fv_pattern_init(&pattern, &config, kernels, *memory, bytes));
    return pattern;
}

static void level_retrieve(fv_pattern *pattern, const fv_cache *cache, uint64_t *state, uint8_t *columns,
                           fv_report *report) {
    columns[0] = columns[1] = LEVEL_START * LEVEL_OBJECTS + LEVEL_PLAIN;
    for (uint32_t at = 2; at < LENGTH; at++) {
        float query[HEAD_DIM], out[HEAD_DIM];
        context_embed(columns, at, SHARPNESS * sqrtf((float)HEAD_DIM), query);
        fv_pattern_call call = {.query = {query, 1, 1, HEAD_DIM}, .report = report};
        check(fv_pattern_decode(pattern, cache, &call, out));
        columns[at] = (uint8_t)level_draw(state, LEVEL_COLUMNS, out, FLOOR);
    }
}

static void level_by_pairs(float pairs[LEVEL_COLUMNS][LEVEL_COLUMNS], uint64_t *state, uint8_t *columns) {
    columns[0] = columns[1] = LEVEL_START * LEVEL_OBJECTS + LEVEL_PLAIN;
    for (uint32_t at = 2; at < LENGTH; at++)
        columns[at] = (uint8_t)level_draw(state, LEVEL_COLUMNS, pairs[columns[at - 1]], 0);
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    static uint8_t corpus[CORPUS], columns[LENGTH];
    level_make(seed, CORPUS, corpus);
    printf("corpus: %d columns from seed %" PRIu64 ", %" PRIu32 " keep the rules\n", CORPUS, seed,
           level_valid_count(corpus, CORPUS));

    static uint64_t kernel_memory[FV_KERNELS_BYTES / sizeof(uint64_t)];
    const fv_kernels *kernels;
    check(fv_kernels_init(&kernels, FV_ISA_BEST, kernel_memory, sizeof kernel_memory));
    fv_cache_config shape;
    fv_cache_config_default(&shape);
    shape.kv_heads = 1;
    shape.head_dim = HEAD_DIM;
    shape.max_tokens = CORPUS;
    shape.landmark_tokens = 64;
    size_t bytes;
    check(fv_cache_size(&shape, &bytes));
    void *cache_memory = aligned(bytes);
    fv_cache *cache;
    check(fv_cache_init(&cache, &shape, kernels, cache_memory, bytes));
    corpus_append(cache, corpus);

    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    fv_policy pattern;
    fv_policy_default(FV_SELECTOR_PATTERN, &pattern);
    pattern.window = 2048;
    const struct {
        const char *name;
        const fv_policy *policy;
    } ways[] = {{"dense", &dense}, {"pattern", &pattern}};
    printf("%d levels of %d columns each way\n", LEVELS, LENGTH);
    for (uint32_t way = 0; way < 2; way++) {
        void *memory;
        fv_pattern *attention = pattern_open(ways[way].policy, kernels, &memory);
        fv_report report = {.struct_bytes = sizeof report};
        uint64_t state = seed + 1000;
        uint32_t valid = 0, copied = 0;
        for (uint32_t level = 0; level < LEVELS; level++) {
            level_retrieve(attention, cache, &state, columns, &report);
            if (level == 0) level_print(columns, NULL, LENGTH);
            uint32_t stretch = level_copied(columns, LENGTH, corpus, CORPUS);
            valid += level_valid_count(columns, LENGTH);
            copied = stretch > copied ? stretch : copied;
        }
        printf("%-8s valid %.1f %%, keys read %.1f %%, longest stretch as in the corpus %" PRIu32 " columns\n",
               ways[way].name, 100.0 * valid / (LEVELS * LENGTH),
               100.0 * (double)report.keys_read / (double)report.keys_visible, copied);
        free(memory);
    }
    free(cache_memory);

    static float pairs[LEVEL_COLUMNS][LEVEL_COLUMNS];
    level_pairs(corpus, CORPUS, pairs);
    uint64_t state = seed + 1000;
    uint32_t valid = 0;
    for (uint32_t level = 0; level < LEVELS; level++) {
        level_by_pairs(pairs, &state, columns);
        if (level == 0) level_print(columns, NULL, LENGTH);
        valid += level_valid_count(columns, LENGTH);
    }
    printf("%-8s valid %.1f %%\n", "bigram", 100.0 * valid / (LEVELS * LENGTH));
    return 0;
}
