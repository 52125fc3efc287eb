/* attend_arrays.c - attention over arrays: the last 64 queries of 8,192 tokens, 8 heads over 2 KV heads, dense and by
 * reading what matters. Eight keys far back are made to matter to every query. Prints what was read and how far the
 * results are apart. */
#include <fovea/array_attention.h>
#include <fovea/pool.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
enum { TOKENS = 8192, ROWS = 64, HEADS = 8, KV_HEADS = 2, HEAD_DIM = 64 };

static float keys[TOKENS][KV_HEADS][HEAD_DIM], values[TOKENS][KV_HEADS][HEAD_DIM];
static float query[ROWS][HEADS][HEAD_DIM], dense[ROWS][HEADS][HEAD_DIM], sparse[ROWS][HEADS][HEAD_DIM];

static void fill(float *array, size_t count, uint32_t state) {
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u; /* Numerical Recipes' generator */
        array[i] = (float)(state >> 8) * 0x1p-23f - 1.0f;
    }
}

static void attend(fv_array_attention *call, const char *policy, void *out) {
    fv_message message;
    fv_report report = {.struct_bytes = sizeof report};
    call->policy = policy;
    call->report = &report;
    call->out = fv_array_by_token(out, FV_ELEMENT_F32, ROWS, HEADS, HEAD_DIM);
    if (fv_array_attention_run(call, &message) != FV_OK) {
        fprintf(stderr, "%s: %s\n", policy, message.text);
        exit(1);
    }
    printf("%-18s reads %5.1f %% of the keys\n", policy,
           100.0 * (double)report.keys_read / (double)report.keys_visible);
}

int main(void) {
    fv_array_attention call;
    fv_pool *pool;
    double error = 0, size = 0;
    fill(&keys[0][0][0], sizeof keys / sizeof(float), 1);
    fill(&values[0][0][0], sizeof values / sizeof(float), 2);
    fill(&query[0][0][0], sizeof query / sizeof(float), 3);
    for (int i = 0; i < ROWS * HEADS * HEAD_DIM; i++) (&query[0][0][0])[i] += 1.0f;
    for (int i = 0; i < 8 * KV_HEADS * HEAD_DIM; i++) (&keys[5000][0][0])[i] += 1.5f;

    if (fv_pool_open(&pool, 0, NULL) != FV_OK) return 1;
    fv_array_attention_default(&call); /* causal, scale 1 / sqrt(head_dim) */
    call.query = fv_array_by_token(query, FV_ELEMENT_F32, ROWS, HEADS, HEAD_DIM);
    call.keys = fv_array_by_token(keys, FV_ELEMENT_F32, TOKENS, KV_HEADS, HEAD_DIM);
    call.values = fv_array_by_token(values, FV_ELEMENT_F32, TOKENS, KV_HEADS, HEAD_DIM);
    call.parallel = fv_pool_parallel(pool);
    attend(&call, "dense", dense);
    attend(&call, "fovea:budget=0.12", sparse);
    fv_pool_close(pool);
    for (int i = 0; i < ROWS * HEADS * HEAD_DIM; i++) {
        error += pow((double)(&dense[0][0][0])[i] - (double)(&sparse[0][0][0])[i], 2);
        size += pow((double)(&dense[0][0][0])[i], 2);
    }
    printf("relative difference %.3f\n", sqrt(error / size));
    return 0;
}
