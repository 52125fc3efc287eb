/* certified_world.h - caches with margins whose keys and values are hard on a bound, queries towards them, and the
 * dense softmax in double that certificates are held against. */
#ifndef FV_TEST_CERTIFIED_WORLD_H
#define FV_TEST_CERTIFIED_WORLD_H

#include "support/attention_world.h"
#include "support/tables.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { CERTIFIED_TOKENS = 480, CERTIFIED_LONG = 3300, CERTIFIED_MOST_DIM = 40 };

typedef struct certified_world {
    attention_world w;
    fv_attention *attention;
    void *memory;
    double *keys, *values; /* as stored, [kv_heads][tokens][dim] */
    fv_policy policy;
} certified_world;

/* Ways to make keys and values that are hard on a bound. */
static inline void certified_spoil(attention_world *w, test_random *random, uint32_t kind) {
    uint32_t dim = w->shape.head_dim;
    for (uint32_t t = 0; t < w->tokens; t++) {
        float *key = w->keys + t * w->kv_stride, *value = w->values + t * w->kv_stride;
        bool rare = test_random_in(random, 0, 40) == 0;
        for (uint32_t c = 0; c < dim; c++) {
            if (kind == 0) value[c] = -fabsf(value[c]) * (rare ? 50 : 1);      /* the largest are negative */
            if (kind == 1 && c == dim / 2) key[c] *= 30;                       /* a channel that outweighs all others */
            if (kind == 2 && rare) key[c] *= 12;                               /* few tokens with long keys */
            if (kind == 3 && rare) value[c] *= 1000;                           /* few with huge values */
            if (kind == 4) key[c] = key[c] > 0 ? 1 : -1;                       /* corners */
            if (kind == 5) key[c] = t % 16 == 3 ? 4 * key[c] : 0.01f * key[c]; /* one loud token in each page */
            if (kind == 6) key[c] = w->keys[c], value[c] = w->values[c] + (rare ? 5.0f : 0.0f); /* all keys equal */
            if (kind == 7) key[c] += 20; /* far from the origin */
        }
    }
}

static inline certified_world certified_world_of(uint32_t tokens, uint32_t kv_heads, uint32_t group, uint32_t number,
                                                 const test_tables *tables, test_random *random) {
    static const uint32_t dims[] = {16, 8, 40, 24, 32, 20};
    certified_world made;
    fv_cache_config shape;
    fv_cache_config_default(&shape);
    shape.head_dim = dims[number % 6];
    shape.max_tokens = tokens;
    shape.kv_heads = kv_heads;
    shape.key_type = number / 2 % FV_ELEMENT_COUNT;
    shape.value_type = number / 3 % FV_ELEMENT_COUNT;
    shape.shadow = shape.margins = 1;
    made.w = world_make(tables->table[number % tables->count], shape, group, 0, random);
    made.w.attend.scale = number % 4 == 3 ? 4.0f : 1.0f / sqrtf((float)shape.head_dim);
    certified_spoil(&made.w, random, number % 8);
    world_append(&made.w, tokens);
    fv_policy_default(FV_SELECTOR_FOVEA, &made.policy);
    made.policy.window = 32;
    fv_policy_set_budget(&made.policy, number % 3 == 0 ? 0.7f : 0.2f);
    made.policy.dense_below = 0;
    made.policy.certificate = 1;
    fv_attention_config config = {.attend = made.w.attend,
                                  .max_tokens = tokens,
                                  .workers = 1,
                                  .chooses = 1,
                                  .plan_steps = fv_policy_steps(&made.policy, tokens, FV_TILE_ROWS)};
    size_t bytes = 0;
    assert_int_equal(fv_attention_size(&config, &bytes), FV_OK);
    made.memory = world_memory(bytes);
    assert_int_equal(fv_attention_init(&made.attention, &config, made.w.kernels, made.memory, bytes), FV_OK);
    size_t head = (size_t)tokens * shape.head_dim, count = head * kv_heads;
    float *keys = malloc(count * 4), *values = malloc(count * 4);
    made.keys = malloc(count * sizeof(double));
    made.values = malloc(count * sizeof(double));
    for (uint32_t h = 0; h < kv_heads; h++)
        assert_int_equal(fv_cache_read(made.w.cache, h, 0, tokens, keys + h * head, values + h * head), FV_OK);
    for (size_t i = 0; i < count; i++) made.keys[i] = (double)keys[i], made.values[i] = (double)values[i];
    free(keys);
    free(values);
    return made;
}

static inline certified_world certified_world_open(uint32_t number, const test_tables *tables, test_random *random) {
    return certified_world_of(CERTIFIED_TOKENS, 1, 1, number, tables, random);
}

static inline void certified_world_close(certified_world *made) {
    world_free(&made->w);
    free(made->memory);
    free(made->keys);
    free(made->values);
}

/* A query of the last position: at random, or towards some key, so that mass gathers on a page that may be left out. */
static inline void certified_query(const certified_world *made, test_random *random, float *query) {
    uint32_t dim = made->w.shape.head_dim, kind = test_random_in(random, 0, 3);
    const float *key = made->w.keys + test_random_in(random, 0, made->w.tokens - 1) * made->w.kv_stride;
    float size = (float)test_random_in(random, 1, 40) / 8;
    for (uint32_t c = 0; c < dim; c++) {
        query[c] = size * test_random_f32(random);
        if (kind == 1) query[c] = size * key[c];
        if (kind == 2) query[c] = 0.01f * query[c];
        if (kind == 3 && c != dim / 2) query[c] = 0;
    }
}

/* One query head of the KV head's group, over those of the first `count` tokens that were read (NULL: dense). How far
 * the executor's outputs may be from it for the rounding of its own f32 sums: a score of many terms is off by their
 * number times 2^-24 of their magnitudes, a weight by as much in proportion; 2^-8 where they are rounded to bf16. In
 * parts of the largest value. */
static inline double certified_softmax(const certified_world *made, uint32_t kv_head, uint32_t count, const bool *read,
                                       const float *query, double *out) {
    uint32_t dim = made->w.shape.head_dim;
    size_t head = (size_t)kv_head * made->w.tokens * dim;
    const double *keys = made->keys + head, *values = made->values + head;
    double score[CERTIFIED_LONG], most = -1e300, sum = 0, magnitude = 0;
    for (uint32_t t = 0; t < count; t++) {
        double terms = 0;
        score[t] = 0;
        for (uint32_t c = 0; c < dim; c++) {
            score[t] += (double)query[c] * keys[t * dim + c];
            terms += fabs((double)query[c] * keys[t * dim + c]);
        }
        magnitude = fmax(magnitude, terms * (double)made->w.attend.scale);
        score[t] *= (double)made->w.attend.scale;
        if ((!read || read[t]) && score[t] > most) most = score[t];
    }
    for (uint32_t c = 0; c < dim; c++) out[c] = 0;
    for (uint32_t t = 0; t < count; t++) {
        double weight = !read || read[t] ? exp(score[t] - most) : 0;
        sum += weight;
        for (uint32_t c = 0; c < dim; c++) out[c] += weight * values[t * dim + c];
    }
    for (uint32_t c = 0; c < dim; c++) out[c] /= sum;
    return 2e-5 + dim * magnitude * 0x1p-24 + (world_rounds(&made->w) ? (magnitude + 1) * 0x1p-8 : 0);
}

#endif
