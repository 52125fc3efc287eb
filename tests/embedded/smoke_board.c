/* smoke_board.c - the problem of examples/smoke.c in the memory of a small chip: TOKENS tokens, 4 heads of 32, window
 * 16, made token by token from a seed, appended to an F16 cache, and one row of output at a time, whose bits are
 * printed. */
#include "board.h"
#include <fovea/reference/pattern.h>

#ifndef TOKENS
#define TOKENS 64
#endif
#ifndef HEADS
#define HEADS 4
#endif
enum { HEAD_DIM = 32, ROW = HEADS * HEAD_DIM, WINDOW = 16, BLOCK = 16, MARKS = TOKENS / BLOCK };
enum {
    CACHE_BYTES = 2 * TOKENS * ROW * 2 + 2 * MARKS * ROW * 4 + (sizeof(void *) == 4 ? 192 : 384),
    PATTERN_BYTES = sizeof(void *) == 8 ? 9792
                    : TOKENS > 16       ? 9280
                                        : 8192
};

static _Alignas(FV_CACHE_ALIGN) unsigned char cache_memory[CACHE_BYTES], pattern_memory[PATTERN_BYTES];
static float first[ROW], second[ROW]; /* key and value, then query and output */

/* Numerical Recipes' generator; query, keys and values of examples/smoke.c are neighbouring parts of one sequence. */
typedef struct sequence {
    uint32_t state;
} sequence;

static sequence sequence_at(uint32_t array) {
    sequence at = {1};
    for (uint32_t i = 0; i < array * 64 * ROW; i++) at.state = at.state * 1664525u + 1013904223u;
    return at;
}

static void row_make(sequence *at, float *row) {
    for (uint32_t i = 0; i < ROW; i++) {
        at->state = at->state * 1664525u + 1013904223u;
        row[i] = (float)(at->state >> 8) * 0x1p-23f - 1.0f;
    }
}

static fv_status open(fv_cache **cache, fv_pattern **pattern) {
    fv_cache_config shape;
    fv_cache_config_default(&shape);
    shape.kv_heads = HEADS;
    shape.head_dim = HEAD_DIM;
    shape.max_tokens = TOKENS;
    shape.landmark_tokens = BLOCK;
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    config.policy.window = WINDOW;
    config.policy.block = BLOCK;
    config.max_tokens = TOKENS;
    config.query_heads = config.kv_heads = HEADS;
    config.head_dim = HEAD_DIM;
    config.decode_only = 1;
    size_t cache_bytes, pattern_bytes;
    fv_status status = fv_cache_size(&shape, &cache_bytes);
    if (status == FV_OK) status = fv_pattern_size(&config, &pattern_bytes);
    if (status != FV_OK) return status;
    fv_board_number("cache ", cache_bytes, " bytes\n");
    fv_board_number("scratch ", pattern_bytes, " bytes\n");
    status = fv_cache_init(cache, &shape, fv_kernels_scalar(), cache_memory, sizeof cache_memory);
    return status == FV_OK
               ? fv_pattern_init(pattern, &config, fv_kernels_scalar(), pattern_memory, sizeof pattern_memory)
               : status;
}

/* One token: appended, read back by its query, printed. */
static fv_status token_run(fv_cache *cache, fv_pattern *pattern, sequence *rows, bool last) {
    fv_tensor key = {first, 1, HEADS, HEAD_DIM}, value = {second, 1, HEADS, HEAD_DIM};
    row_make(&rows[1], first);
    row_make(&rows[2], second);
    fv_status status = fv_pattern_append(pattern, cache, &key, &value);
    if (status != FV_OK) return status;
    static const fv_pattern_call call = {.query = {first, 1, HEADS, HEAD_DIM}};
    row_make(&rows[0], first);
    uint64_t start = fv_board_instructions();
    status = fv_pattern_decode(pattern, cache, &call, second);
    if (last) fv_board_count("decode", start);
    fv_board_floats("row", ROW, second);
    return status;
}

int fv_board_main(void) {
    fv_cache *cache;
    fv_pattern *pattern;
    fv_status status = open(&cache, &pattern);
    sequence rows[] = {sequence_at(0), sequence_at(1), sequence_at(2)}; /* queries, keys, values */
    for (uint32_t token = 0; status == FV_OK && token < TOKENS; token++)
        status = token_run(cache, pattern, rows, token == TOKENS - 1);
    if (status != FV_OK) fv_board_number("status ", (uint64_t)(-(int)status), " below zero\n");
    return status == FV_OK ? 0 : 1;
}
