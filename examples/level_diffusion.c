/* level_diffusion.c - masked-diffusion decoding of levels by attending over a corpus of levels: the key of a corpus
 * position is the embedding of the columns on both sides of it, its value the column itself, and attention looks both
 * ways (not causal). A level begins masked; step by step the columns that are most certain given their neighbours are
 * drawn, then those that turned out unlikely are masked and drawn again. There is no training. Usage: level_diffusion
 * [SEED] */
#include "level.h"
#include <fovea/attention.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CORPUS = 4096,
    SIDE = 8, /* columns on each side that a key tells of */
    HEAD_DIM = 2 * SIDE * LEVEL_EMBED,
    LENGTH = 96,
    GIVEN = 2, /* first columns, which every level has */
    LEVELS = 6,
    APART = 4,   /* columns that are filled in one step lie this far from each other */
    AT_ONCE = 6, /* columns of one step */
    ROUNDS = 6,  /* of masking what is unlikely and drawing again */
    AGAIN = 3    /* columns masked on each side of an unlikely one */
};
#define SHARPNESS 3.0f /* score that one wrong element of the embedding costs */
#define FLOOR 0.1f     /* columns less likely than this part of the likeliest are not drawn */
#define UNLIKELY 0.02f /* a column to which its neighbours give less is masked again */

_Static_assert(HEAD_DIM >= LEVEL_COLUMNS && LENGTH <= CORPUS, "a value holds a weight for each column");

/* Writes the probabilities of columns[at] for each `at` that is asked for, [asked][LEVEL_COLUMNS]. */
typedef struct model model;
typedef void predict_fn(const model *self, const uint8_t *columns, const uint8_t *masked, uint32_t asked,
                        const uint32_t *at, float *weights);
struct model {
    predict_fn *predict;
    fv_attention *attention; /* of attention_predict */
    const fv_cache *cache;
    const fv_policy *policy;
    uint32_t first_token; /* where in the corpus the rows stand: what the pattern's window is around */
    fv_report *report;
    float (*pairs)[LEVEL_COLUMNS]; /* of pairs_predict */
};

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

/* SIDE columns on each side of `at`; masked ones, and those beyond the ends, are zeros: they agree with anything. */
static void context_embed(const uint8_t *columns, const uint8_t *masked, uint32_t length, uint32_t at, float scale,
                          float *out) {
    for (uint32_t i = 0; i < HEAD_DIM; i++) out[i] = 0;
    for (uint32_t away = 1; away <= SIDE; away++) {
        float *slot = out + 2 * (away - 1) * LEVEL_EMBED;
        if (away <= at && !(masked && masked[at - away])) level_embed(columns[at - away], scale, slot);
        if (at + away < length && !(masked && masked[at + away]))
            level_embed(columns[at + away], scale, slot + LEVEL_EMBED);
    }
}

static void attention_predict(const model *self, const uint8_t *columns, const uint8_t *masked, uint32_t asked,
                              const uint32_t *at, float *weights) {
    static float query[LENGTH][HEAD_DIM], out[LENGTH][HEAD_DIM];
    for (uint32_t i = 0; i < asked; i++) context_embed(columns, masked, LENGTH, at[i], SHARPNESS, query[i]);
    fv_attention_rows rows = {.first_token = self->first_token,
                              .count = asked,
                              .query = query[0],
                              .query_stride = HEAD_DIM,
                              .out = out[0],
                              .out_stride = HEAD_DIM};
    check(fv_attention_run(self->attention, self->cache, self->policy, &rows, NULL, self->report));
    for (uint32_t i = 0; i < asked; i++) memcpy(weights + i * LEVEL_COLUMNS, out[i], LEVEL_COLUMNS * sizeof(float));
}

/* The baseline: P(column | the one before) * P(the one after | column), as far as they are known. */
static void pairs_predict(const model *self, const uint8_t *columns, const uint8_t *masked, uint32_t asked,
                          const uint32_t *at, float *weights) {
    for (uint32_t i = 0; i < asked; i++) {
        bool left = at[i] > 0 && !masked[at[i] - 1], right = at[i] + 1 < LENGTH && !masked[at[i] + 1];
        float *weight = weights + i * LEVEL_COLUMNS, sum = 0;
        for (uint32_t column = 0; column < LEVEL_COLUMNS; column++) {
            float count = 0;
            for (uint32_t next = 0; next < LEVEL_COLUMNS; next++) count += self->pairs[column][next];
            weight[column] = left ? self->pairs[columns[at[i] - 1]][column] : count;
            if (right) weight[column] *= count > 0 ? self->pairs[column][columns[at[i] + 1]] / count : 0;
            sum += weight[column];
        }
        for (uint32_t column = 0; column < LEVEL_COLUMNS && sum > 0; column++) weight[column] /= sum;
    }
}

static float largest(const float *weight) {
    float most = 0;
    for (uint32_t i = 0; i < LEVEL_COLUMNS; i++) most = weight[i] > most ? weight[i] : most;
    return most;
}

/* Draws up to AT_ONCE of the masked columns, the most certain first. Returns how many are still masked. */
static uint32_t fill_step(const model *self, uint64_t *state, uint8_t *columns, uint8_t *masked) {
    static float weights[LENGTH][LEVEL_COLUMNS];
    uint32_t at[LENGTH], asked = 0, filled[AT_ONCE], count = 0;
    for (uint32_t i = 0; i < LENGTH; i++)
        if (masked[i]) at[asked++] = i;
    if (asked == 0) return 0;
    self->predict(self, columns, masked, asked, at, weights[0]);
    while (count < AT_ONCE) {
        uint32_t best = asked;
        for (uint32_t i = 0; i < asked; i++) {
            bool free = masked[at[i]];
            for (uint32_t j = 0; j < count && free; j++) free = at[i] > filled[j] + APART || filled[j] > at[i] + APART;
            if (free && (best == asked || largest(weights[i]) > largest(weights[best]))) best = i;
        }
        if (best == asked) break;
        columns[at[best]] = (uint8_t)level_draw(state, LEVEL_COLUMNS, weights[best], FLOOR);
        masked[at[best]] = 0;
        filled[count++] = at[best];
    }
    return asked - count;
}

/* Masks the columns that their neighbours make unlikely, and what is around them. Returns how many were unlikely. */
static uint32_t mask_unlikely(const model *self, const uint8_t *columns, uint8_t *masked) {
    static float weights[LENGTH][LEVEL_COLUMNS];
    uint32_t at[LENGTH], unlikely = 0;
    for (uint32_t i = 0; i < LENGTH; i++) at[i] = i;
    self->predict(self, columns, masked, LENGTH, at, weights[0]);
    for (uint32_t i = GIVEN; i < LENGTH; i++) {
        if (weights[i][columns[i]] >= UNLIKELY) continue;
        unlikely++;
        for (uint32_t j = i > GIVEN + AGAIN ? i - AGAIN : GIVEN; j <= i + AGAIN && j < LENGTH; j++) masked[j] = 1;
    }
    return unlikely;
}

static void level_decode(const model *self, uint64_t *state, uint8_t *columns, bool shown) {
    uint8_t masked[LENGTH];
    for (uint32_t i = 0; i < LENGTH; i++) {
        columns[i] = LEVEL_START * LEVEL_OBJECTS + LEVEL_PLAIN;
        masked[i] = i >= GIVEN;
    }
    uint32_t left = LENGTH - GIVEN, steps = 0;
    for (uint32_t round = 0; round <= ROUNDS; round++) {
        if (round > 0 && mask_unlikely(self, columns, masked) == 0) break;
        do {
            left = fill_step(self, state, columns, masked);
            steps++;
            if (shown && round == 0 && left >= LENGTH / 2 && left < LENGTH / 2 + AT_ONCE) {
                printf("after %" PRIu32 " steps, %" PRIu32 " columns masked\n", steps, left);
                level_print(columns, masked, LENGTH);
            }
        } while (left > 0);
    }
    if (!shown) return;
    printf("after %" PRIu32 " steps\n", steps);
    level_print(columns, NULL, LENGTH);
}

static void report_print(const char *name, const model *self, uint64_t seed, const uint8_t *corpus) {
    uint8_t columns[LENGTH];
    uint64_t state = seed;
    uint32_t valid = 0, copied = 0;
    for (uint32_t level = 0; level < LEVELS; level++) {
        level_decode(self, &state, columns, level == 0);
        uint32_t stretch = level_copied(columns, LENGTH, corpus, CORPUS);
        valid += level_valid_count(columns, LENGTH);
        copied = stretch > copied ? stretch : copied;
    }
    printf("%-8s valid %.1f %%", name, 100.0 * valid / (LEVELS * LENGTH));
    if (self->report)
        printf(", keys read %.1f %%, longest stretch as in the corpus %" PRIu32 " columns",
               100.0 * (double)self->report->keys_read / (double)self->report->keys_visible, copied);
    putchar('\n');
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    static uint8_t corpus[CORPUS];
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
    size_t cache_bytes, bytes;
    check(fv_cache_size(&shape, &cache_bytes));
    void *cache_memory = aligned(cache_bytes);
    fv_cache *cache;
    check(fv_cache_init(&cache, &shape, kernels, cache_memory, cache_bytes));
    for (uint32_t at = 0; at < CORPUS; at++) {
        float key[HEAD_DIM], value[HEAD_DIM] = {0};
        context_embed(corpus, NULL, CORPUS, at, 1, key);
        value[corpus[at]] = 1;
        check(fv_cache_append(cache, 1, key, HEAD_DIM, value, HEAD_DIM));
    }

    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    fv_policy pattern;
    fv_policy_default(FV_SELECTOR_PATTERN, &pattern);
    dense.causal = pattern.causal = 0;
    pattern.window = 640; /* before, and as many after */
    fv_attention_config config = {.attend = {1, 1, HEAD_DIM, 1, 0, 0, 0}, .max_tokens = CORPUS, .workers = 1};
    uint32_t dense_steps = fv_policy_steps(&dense, CORPUS, FV_TILE_ROWS);
    uint32_t pattern_steps = fv_policy_steps(&pattern, CORPUS, FV_TILE_ROWS);
    config.plan_steps = dense_steps > pattern_steps ? dense_steps : pattern_steps;
    check(fv_attention_size(&config, &bytes));
    void *memory = aligned(bytes);
    fv_attention *attention;
    check(fv_attention_init(&attention, &config, kernels, memory, bytes));

    static float pairs[LEVEL_COLUMNS][LEVEL_COLUMNS];
    level_pairs(corpus, CORPUS, pairs);
    fv_report reports[2] = {{.struct_bytes = sizeof(fv_report)}, {.struct_bytes = sizeof(fv_report)}};
    model by_attention = {attention_predict, attention, cache, &dense, (CORPUS - LENGTH) / 2, &reports[0], NULL};
    model by_pairs = {.predict = pairs_predict, .pairs = pairs};
    printf("%d levels of %d columns each way\n", LEVELS, LENGTH);
    report_print("dense", &by_attention, seed + 1000, corpus);
    by_attention.policy = &pattern;
    by_attention.report = &reports[1];
    report_print("pattern", &by_attention, seed + 1000, corpus);
    report_print("bigram", &by_pairs, seed + 1000, corpus);
    free(memory);
    free(cache_memory);
    return 0;
}
