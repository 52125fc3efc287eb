/* attention_world.h - a cache with known contents, the slow attention in double over sets of keys that tests compare
 * with, and loops over tasks in a strange order with strange workers. */
#ifndef FV_TEST_ATTENTION_WORLD_H
#define FV_TEST_ATTENTION_WORLD_H

#include "fovea/attention.h"
#include "kernels/kernels.h"
#include "support/random.h"
#include "support/read_set.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct attention_world {
    fv_cache_config shape;
    fv_attend_config attend;
    uint32_t tokens;                /* that exist below; how many the cache holds is its own matter */
    float *keys, *values, *queries; /* [tokens][heads * head_dim] */
    size_t kv_stride, query_stride;
    const fv_kernels *kernels;
    fv_cache *cache;
    void *cache_memory;
} attention_world;

/* Kernels for pairs round queries and weights to bf16 where they meet keys or values of that type. */
static inline bool world_rounds(const attention_world *w) {
    bool pairs = w->shape.key_type == FV_ELEMENT_BF16 || w->shape.value_type == FV_ELEMENT_BF16;
    return pairs && w->kernels->query_pack_bf16;
}

/* The last `rows` tokens of the cache. */
static inline fv_status test_attention_run(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                                           uint32_t local_window, uint32_t rows, const float *query,
                                           size_t query_stride, float *out, size_t out_stride,
                                           const fv_parallel *parallel, fv_report *report) {
    uint32_t tokens = cache ? fv_cache_tokens(cache) : 0;
    fv_attention_rows last = {.first_token = rows <= tokens ? tokens - rows : 0,
                              .count = rows,
                              .local_window = local_window,
                              .query = query,
                              .query_stride = query_stride,
                              .out = out,
                              .out_stride = out_stride};
    return fv_attention_run(attention, cache, policy, &last, parallel, report);
}

static inline void *world_memory(size_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    if (!memory) {
        fprintf(stderr, "no memory\n");
        exit(1);
    }
    memset(memory, 0xFF, bytes); /* NaN: nothing may rely on cleared memory */
    return memory;
}

static inline void world_cache_reset(attention_world *w) {
    size_t bytes = 0;
    free(w->cache_memory);
    if (fv_cache_size(&w->shape, &bytes) != FV_OK) abort();
    w->cache_memory = world_memory(bytes);
    if (fv_cache_init(&w->cache, &w->shape, w->kernels, w->cache_memory, bytes) != FV_OK) abort();
}

static inline void world_append(attention_world *w, uint32_t tokens) {
    size_t first = fv_cache_tokens(w->cache) * w->kv_stride;
    if (fv_cache_append(w->cache, tokens, w->keys + first, w->kv_stride, w->values + first, w->kv_stride) != FV_OK)
        abort();
}

/* Contents of size 1, cache empty. */
static inline attention_world world_make(const fv_kernels *kernels, fv_cache_config shape, uint32_t group,
                                         float softcap, test_random *random) {
    attention_world w = {.shape = shape, .tokens = shape.max_tokens, .kernels = kernels};
    w.attend = (fv_attend_config){.query_heads = shape.kv_heads * group,
                                  .kv_heads = shape.kv_heads,
                                  .head_dim = shape.head_dim,
                                  .scale = 3.0f / sqrtf((float)shape.head_dim), /* uneven weights */
                                  .softcap = softcap};
    w.kv_stride = (size_t)shape.kv_heads * shape.head_dim + 5;
    w.query_stride = w.kv_stride * group + 3;
    w.keys = world_memory(w.tokens * w.kv_stride * sizeof(float));
    w.values = world_memory(w.tokens * w.kv_stride * sizeof(float));
    w.queries = world_memory(w.tokens * w.query_stride * sizeof(float));
    test_fill_f32(random, w.keys, w.tokens * w.kv_stride, 1.0f);
    test_fill_f32(random, w.values, w.tokens * w.kv_stride, 1.0f);
    test_fill_f32(random, w.queries, w.tokens * w.query_stride, 1.0f);
    world_cache_reset(&w);
    return w;
}

static inline void world_free(attention_world *w) {
    free(w->keys);
    free(w->values);
    free(w->queries);
    free(w->cache_memory);
}

/* Means of what was appended, in double; of a block that is partly filled, of what it has. */
static inline void world_mark(const attention_world *w, uint32_t kv_head, uint32_t mark, double *key, double *value) {
    uint32_t block = w->shape.landmark_tokens, dim = w->shape.head_dim, first = mark * block, end = first + block;
    if (end > fv_cache_tokens(w->cache)) end = fv_cache_tokens(w->cache);
    for (uint32_t c = 0; c < dim; c++) key[c] = value[c] = 0;
    for (uint32_t t = first; t < end; t++)
        for (uint32_t c = 0; c < dim; c++) {
            key[c] += (double)w->keys[t * w->kv_stride + kv_head * dim + c] / (end - first);
            value[c] += (double)w->values[t * w->kv_stride + kv_head * dim + c] / (end - first);
        }
}

/* Adds one key to a softmax that needs no maximum: scores of these worlds are small. */
static inline double world_weigh(const attention_world *w, const float *query, const double *key) {
    double dot = 0, scale = (double)w->attend.scale, cap = (double)w->attend.softcap;
    for (uint32_t c = 0; c < w->shape.head_dim; c++) dot += (double)query[c] * key[c];
    return exp(cap > 0 ? cap * tanh(dot * scale / cap) : dot * scale);
}

/* One query head of one position over a set, from what the cache really stores. out [head_dim]. */
static inline void world_attend(const attention_world *w, const read_set *set, uint32_t position, uint32_t query_head,
                                double *out) {
    enum { MOST = 1024 };
    uint32_t dim = w->shape.head_dim, kv_head = query_head / (w->attend.query_heads / w->attend.kv_heads);
    const float *query = w->queries + position * w->query_stride + query_head * dim;
    double sum = 0, key[MOST], value[MOST];
    for (uint32_t c = 0; c < dim; c++) out[c] = 0;
    for (uint32_t t = 0; t < fv_cache_tokens(w->cache) + SET_MARKS; t++) {
        uint32_t mark = t - fv_cache_tokens(w->cache), is_mark = t >= fv_cache_tokens(w->cache);
        unsigned times = is_mark ? set->mark[mark] : set->token[t];
        if (!times) continue;
        if (is_mark) {
            world_mark(w, kv_head, mark, key, value);
        } else {
            float stored[2][MOST];
            if (fv_cache_read(w->cache, kv_head, t, 1, stored[0], stored[1]) != FV_OK) abort();
            for (uint32_t c = 0; c < dim; c++) key[c] = (double)stored[0][c], value[c] = (double)stored[1][c];
        }
        double weight = times * world_weigh(w, query, key);
        sum += weight;
        for (uint32_t c = 0; c < dim; c++) out[c] += weight * value[c];
    }
    for (uint32_t c = 0; c < dim && sum > 0; c++) out[c] /= sum;
}

/* An fv_clock_fn whose time is how often it was looked at. */
static inline uint64_t look_count(void *looks) { return ++*(uint64_t *)looks; }

/* A pool of one thread that runs tasks in a shuffled order and hands out any worker. */
typedef struct shuffle_pool {
    test_random random;
    uint32_t workers;
} shuffle_pool;

static inline void shuffle_run(void *pool, size_t tasks, fv_task_fn *task, void *context) {
    shuffle_pool *shuffle = pool;
    size_t *order = malloc((tasks + 1) * sizeof *order);
    for (size_t i = 0; i < tasks; i++) {
        size_t place = test_random_in(&shuffle->random, 0, (uint32_t)i);
        order[i] = order[place];
        order[place] = i;
    }
    for (size_t i = 0; i < tasks; i++)
        task(context, order[i], test_random_in(&shuffle->random, 0, shuffle->workers - 1));
    free(order);
}

static inline fv_parallel shuffle_parallel(shuffle_pool *pool) {
    return (fv_parallel){.run = shuffle_run, .pool = pool, .workers = pool->workers};
}

#endif
