/* model_state.h - a model inside its memory, as the parts of this room see it. */
#ifndef FV_MODEL_STATE_H
#define FV_MODEL_STATE_H

#include "fovea/attention.h"
#include "fovea/model.h"
#include "model/linear.h"

/* One forward's surroundings; the steps between products are tasks over ranges of tokens. */
typedef struct fv_forward_call {
    fv_model *model;
    const fv_layer_weights *layer;
    const fv_parallel *parallel;
    const int32_t *tokens;
    uint32_t count;
    bool local, rotates;
    void (*step)(const struct fv_forward_call *call, size_t token);
    fv_linear_product products[3]; /* at work, and what they read */
    fv_linear_input input;
    fv_attention_rows rows;
} fv_forward_call;

struct fv_model {
    fv_model_config config;
    fv_model_weights weights;
    const fv_kernels *kernels;
    fv_cache **caches; /* [layers] */
    fv_attention *attention;
    float *stream;                /* [batch][width], the residual stream; normed output rows after a forward */
    float *normed;                /* [batch][max(width, query width)] */
    float *query, *key, *value;   /* [batch][heads * head_dim] */
    float *mixed;                 /* [batch][query width], attention's output */
    float *gate, *up;             /* [batch][feed_forward] */
    float *rope, *rope_local;     /* [batch][rope_dims] */
    int8_t *quants;               /* [batch][widest] */
    float *scale, *sum16, *sum32; /* of the quants */
    unsigned char *linear;        /* scratch, per worker */
    size_t linear_bytes;
    uint32_t workers, batch_rows;
    fv_clock_fn *clock; /* NULL: no time is taken */
    void *clock_context;
    uint64_t product_ns;  /* of the forward at work */
    fv_forward_call call; /* at work; here and not on a chip's stack */
};

static inline size_t fv_query_width(const fv_model_config *config) {
    return (size_t)config->query_heads * config->cache.head_dim;
}

static inline size_t fv_kv_width(const fv_model_config *config) {
    return (size_t)config->cache.kv_heads * config->cache.head_dim;
}

static inline bool fv_is_local(const fv_model_config *config, uint32_t layer) {
    return config->local_window && config->local_period && (layer + 1) % config->local_period != 0;
}

static inline bool fv_is_rotated(const fv_model_config *config, uint32_t layer) {
    return config->rope_kind != FV_ROPE_NONE &&
           (!config->unrotated_period || (layer + 1) % config->unrotated_period != 0);
}

#endif
