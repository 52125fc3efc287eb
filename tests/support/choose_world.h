/* choose_world.h - choosing for one row and KV head of an attention_world, step by step, and what it should come to in
 * double: the rotation, exact scores of keys, what pages weigh. */
#ifndef FV_TEST_CHOOSE_WORLD_H
#define FV_TEST_CHOOSE_WORLD_H

#include "kernels/kernels.h"
#include "select/choose.h"
#include "support/attention_world.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { CHOOSE_MOST_DIM = 256, CHOOSE_MOST_GROUP = 4 };

static inline void check_status(fv_status status) {
    if (status != FV_OK) fail_msg("%s", fv_status_text(status));
}

static inline fv_cache_config choose_shape(uint32_t heads, uint32_t dim, uint32_t tokens, uint32_t type) {
    fv_cache_config shape;
    fv_cache_config_default(&shape);
    shape.kv_heads = heads;
    shape.head_dim = dim;
    shape.max_tokens = tokens;
    shape.key_type = shape.value_type = type;
    shape.shadow = shape.tail = 1;
    return shape;
}

static inline fv_policy choose_policy(fv_selector selector, float budget, uint32_t window) {
    fv_policy policy;
    fv_policy_default(selector, &policy);
    fv_policy_set_budget(&policy, budget);
    policy.window = window;
    policy.dense_below = 0;
    return policy;
}

/* Attention that chooses; tile_rows 0: as usual. */
static inline void *choose_attention_open(const attention_world *w, uint32_t workers, uint32_t tile_rows,
                                          fv_attention **attention) {
    fv_policy policy;
    fv_policy_default(FV_SELECTOR_FOVEA, &policy);
    fv_attention_config config = {.attend = w->attend,
                                  .max_tokens = w->shape.max_tokens,
                                  .workers = workers,
                                  .chooses = 1,
                                  .plan_steps = fv_policy_steps(&policy, w->shape.max_tokens, FV_TILE_ROWS)};
    config.attend.tile_rows = tile_rows;
    size_t bytes = 0;
    check_status(fv_attention_size(&config, &bytes));
    void *memory = world_memory(bytes);
    check_status(fv_attention_init(attention, &config, w->kernels, memory, bytes));
    return memory;
}

static inline size_t choose_world_width(const attention_world *w) {
    return (size_t)w->attend.query_heads * w->attend.head_dim;
}

/* All tokens of the world through an empty cache in calls of at most `cut` rows (0: one call); [tokens][width]. */
static inline float *choose_world_run(attention_world *w, const fv_policy *policy, uint32_t tile_rows, uint32_t cut,
                                      const fv_parallel *parallel, test_random *random, fv_report *report) {
    fv_attention *attention = NULL;
    void *memory = choose_attention_open(w, parallel ? parallel->workers : 1, tile_rows, &attention);
    size_t width = choose_world_width(w);
    float *out = world_memory(w->tokens * width * sizeof(float));
    if (report) *report = (fv_report){.struct_bytes = sizeof(fv_report)};
    world_cache_reset(w);
    for (uint32_t done = 0, rows; done < w->tokens; done += rows) {
        rows = cut ? test_random_in(random, 1, cut) : w->tokens;
        if (rows > w->tokens - done) rows = w->tokens - done;
        world_append(w, rows);
        check_status(test_attention_run(attention, w->cache, policy, 0, rows, w->queries + done * w->query_stride,
                                        w->query_stride, out + done * width, width, parallel, report));
    }
    free(memory);
    return out;
}

/* One row's choosing. */
typedef struct row_choice {
    fv_chooser chooser;
    fv_choose_scratch scratch;
    void *memory;
    const float *query; /* [group][head_dim] */
} row_choice;

static inline row_choice row_choice_open(const attention_world *w, const fv_kernels *kernels, const fv_policy *policy,
                                         uint32_t kv_head, uint32_t position) {
    uint32_t group = w->attend.query_heads / w->attend.kv_heads, dim = w->attend.head_dim;
    row_choice choice = {.query = w->queries + position * w->query_stride + kv_head * group * dim};
    size_t bytes = 0;
    assert_true(fv_choose_scratch_bytes(dim, group, w->shape.max_tokens, 1, &bytes));
    choice.memory = world_memory(bytes);
    fv_choose_scratch_at(&choice.scratch, choice.memory, dim, group, w->shape.max_tokens, 1);
    fv_chooser_make(&choice.chooser, policy, w->cache, kernels, w->attend.scale, group, 0, kv_head, position);
    return choice;
}

static inline void row_choice_weigh(row_choice *choice) {
    assert_true(fv_chooser_has_choice(&choice->chooser));
    fv_choose_weigh(&choice->chooser, &choice->scratch, 1, choice->query, 0);
}

static inline void row_choice_close(row_choice *choice) { free(choice->memory); }

/* Which pages the row reads exactly: 1, or 0. */
static inline void row_choice_pages(const row_choice *choice, uint8_t *read) {
    const fv_chooser *chooser = &choice->chooser;
    for (uint32_t page = 0; page <= chooser->scored; page++)
        read[page] = page * 16 < chooser->sinks_end || page * 16 >= chooser->window_begin;
    for (uint32_t i = 0; i < choice->scratch.count; i++)
        if (choice->scratch.weight[i] == FV_CHOSEN) read[choice->scratch.page[i]] = 1;
}

/* y = H D x in double, by the definition in kernels.h. */
static inline void rotate_double(uint32_t dim, const double *x, double *y) {
    for (uint32_t c = 0; c < dim; c++) y[c] = fv_rotate_signs[c / 32] >> c % 32 & 1 ? -x[c] : x[c];
    for (uint32_t done = 0, piece = 1024; done < dim; piece /= 2) {
        if (piece > dim - done) continue;
        double in[1024];
        memcpy(in, y + done, piece * sizeof *in);
        for (uint32_t i = 0; i < piece; i++) {
            double sum = 0;
            for (uint32_t k = 0; k < piece; k++) sum += __builtin_parity(i & k) ? -in[k] : in[k];
            y[done + i] = sum / sqrt(piece);
        }
        done += piece;
    }
}

/* 2^x, straight between powers of two, and its inverse. */
static inline double straight_power(double x) { return exp2(floor(x)) * (1 + x - floor(x)); }

static inline double straight_log(double x) {
    int power;
    double fraction = 2 * frexp(x, &power);
    return power - 1 + (fraction - 1);
}

/* A query as the coarse keys meet it: what it is rounded to for means and for codes, in units of `most`. */
typedef struct met_query {
    double mean[CHOOSE_MOST_DIM], code[CHOOSE_MOST_DIM];
    double unit; /* of scores in powers of two: most * scale * log2 e */
} met_query;

static inline met_query met_query_make(const attention_world *w, const float *query) {
    uint32_t dim = w->attend.head_dim;
    double wide[CHOOSE_MOST_DIM] = {0}, x[CHOOSE_MOST_DIM], most = 0;
    met_query met;
    for (uint32_t c = 0; c < dim; c++) wide[c] = (double)query[c];
    rotate_double(dim, wide, x);
    for (uint32_t c = 0; c < dim; c++) most = fmax(most, fabs(x[c]));
    for (uint32_t c = 0; c < dim; c++) {
        met.mean[c] = rint(x[c] * 127 / most) / 127;
        met.code[c] = rint(x[c] * 7 / most) / 7;
    }
    met.unit = most * (double)w->attend.scale * 1.4426950408889634;
    return met;
}

static inline double met_dot(uint32_t dim, const double *query, const float *x) {
    double dot = 0;
    for (uint32_t c = 0; c < dim; c++) dot += query[c] * (double)x[c];
    return dot;
}

/* The stored key of a token, rotated. */
static inline void rotated_key(const fv_cache *cache, uint32_t kv_head, uint32_t token, double *out) {
    uint32_t dim = fv_cache_shape(cache)->head_dim;
    float key[1024];
    double wide[1024] = {0};
    check_status(fv_cache_read(cache, kv_head, token, 1, key, NULL));
    for (uint32_t c = 0; c < dim; c++) wide[c] = (double)key[c];
    rotate_double(dim, wide, out);
}

/* log2 of the mass of each page before the row's own, exactly, of one query head; keys as stored. */
static inline void exact_page_scores(const attention_world *w, const row_choice *choice, uint32_t g, double *out) {
    uint32_t dim = w->attend.head_dim;
    const float *query = choice->query + g * dim;
    for (uint32_t page = 0; page < choice->chooser.scored; page++) {
        float keys[16 * CHOOSE_MOST_DIM];
        double score[16], best = -1e300, sum = 0;
        check_status(fv_cache_read(w->cache, choice->chooser.kv_head, page * 16, 16, keys, NULL));
        for (uint32_t t = 0; t < 16; t++) {
            score[t] = 0;
            for (uint32_t c = 0; c < dim; c++) score[t] += (double)query[c] * (double)keys[t * dim + c];
            score[t] *= (double)w->attend.scale * 1.4426950408889634;
            if (score[t] > best) best = score[t];
        }
        for (uint32_t t = 0; t < 16; t++) sum += exp2(score[t] - best);
        out[page] = best + log2(sum);
    }
}

#endif
