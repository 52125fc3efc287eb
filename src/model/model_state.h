/* model_state.h - a model inside its memory, and a step on its way, as the files of this room see them. */
#ifndef FV_MODEL_STATE_H
#define FV_MODEL_STATE_H

#include "build.h"
#include "fovea/attention.h"
#include "fovea/model.h"
#include "model/linear.h"

/* Where a part of the step at work begins, and what became of it. */
typedef struct fv_part_place {
    uint32_t first_row, first_token; /* in the step; in its caches */
    fv_status status;                /* after a layer, and after the step: of a part that failed alone */
#if FV_BUILD_STEP
    uint32_t first_output; /* the row of the step from which on there are logits */
#endif
    fv_attention_rows rows; /* what attention is told in the layer at work */
} fv_part_place;

/* One step's surroundings; the steps between products are tasks over ranges of its rows. */
typedef struct fv_forward_call {
    fv_model *model;
    const fv_layer_weights *layer;
    const fv_parallel *parallel;
    const fv_model_part *parts;
    uint32_t part_count, count; /* rows of all parts */
    uint32_t layer_index;
    uint32_t first; /* row of the step at work */
#if FV_BUILD_STEP
    uint32_t muted;            /* the first rows, of which the layer at work makes keys and values only */
    uint32_t alive;            /* parts that did not fail */
    fv_part_outcome *outcomes; /* NULL: a part that fails ends the step */
#endif
    bool local, rotates;
    void (*step)(const struct fv_forward_call *call, size_t token);
    fv_linear_product products[3]; /* at work, and what they read */
    fv_linear_input input;
#if FV_BUILD_STEP && FV_BUILD_DEADLINE
    uint32_t timed_parts, timed_left; /* parts with a deadline; those not read yet in this layer */
    uint64_t begin_ns, seen_ns;       /* by their clock: when the step began, when the last one had read */
    fv_deadline deadline;             /* of the part at work, in this layer */
    fv_progress made;                 /* of that */
#endif
} fv_forward_call;

struct fv_model {
    fv_model_config config;
#if FV_BUILD_STEP
    fv_layer_range range; /* that it evaluates */
#endif
    fv_model_weights weights;
    const fv_kernels *kernels;
    fv_cache **caches; /* [layers]; NULL: the caller brings them */
    fv_attention *attention;
    fv_attention **singles;       /* [workers], for parts of one row, one a worker; NULL: there are no such parts */
    fv_part_place *places;        /* [parts + 1], of the step at work; the last one ends its rows */
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
#if FV_BUILD_EXCHANGE
    const fv_exchange *exchange; /* NULL: caches hold all */
#endif
    uint32_t workers, batch_rows;
    bool observed;
    bool lacks_rows;      /* of the last step, those of parts that failed, or that nobody asked for */
    fv_model_fault fault; /* of the last call that failed so */
    fv_clock_fn *clock;   /* NULL: no time is taken */
    void *clock_context;
    uint64_t begin_ns, attended_ns; /* when the step at work began; what reports said of attention then */
    uint64_t product_ns;            /* of the forward at work */
    fv_model_part part;             /* of fv_model_forward(); here and not on a chip's stack, as the call */
    uint64_t rest_ns;               /* between the reading of two layers, where there was a deadline; 0: not known */
    fv_forward_call call;           /* at work; here and not on a chip's stack */
};

/* Layers that it evaluates: from the first up to the end. */
#if FV_BUILD_STEP
static inline uint32_t fv_first_layer(const fv_model *model) { return model->range.first; }
static inline uint32_t fv_layers_end(const fv_model *model) { return model->range.first + model->range.count; }
#else
static inline uint32_t fv_first_layer(const fv_model *model) { return (void)model, 0; }
static inline uint32_t fv_layers_end(const fv_model *model) { return model->config.layers; }
#endif

/* With the other ranks that hold the caches, or NULL. */
static inline const fv_exchange *fv_model_exchange(const fv_model *model) {
#if FV_BUILD_EXCHANGE
    return model->exchange;
#else
    (void)model;
    return NULL;
#endif
}

static inline bool fv_has_first_layer(const fv_model *model) { return fv_first_layer(model) == 0; }
static inline bool fv_has_last_layer(const fv_model *model) { return fv_layers_end(model) == model->config.layers; }

static inline uint32_t fv_call_muted(const fv_forward_call *call) {
#if FV_BUILD_STEP
    return call->muted;
#else
    (void)call;
    return 0;
#endif
}

static inline uint32_t fv_call_parts(const fv_forward_call *call) { return FV_BUILD_STEP ? call->part_count : 1; }

/* --- model_step.c --- */

/* Whether all parts can be evaluated; nothing is changed. *refused (may be NULL): the part that can't, where
 * it is one. */
fv_status fv_model_parts_check(const fv_model *model, const fv_model_part *parts, uint32_t part_count,
                               const fv_parallel *parallel, uint32_t *refused);

/* Rows and positions of all parts, call->count, and the rotation of each row. */
void fv_model_parts_place(fv_forward_call *call);

/* Appends the layer's keys and values of all parts, each to its own cache, and attends. */
fv_status fv_model_parts_attend(fv_forward_call *call, uint32_t layer);

/* Whether the part has a report with room for times. */
bool fv_model_part_is_timed(const fv_model_part *part);
uint64_t fv_model_parts_attended_ns(const fv_forward_call *call); /* what the reports of all parts say of attention */

/* --- part_failure.c --- */

/* The caches as they were before the step. */
void fv_model_parts_take_back(const fv_forward_call *call);

#if FV_BUILD_STEP
/* The part that a row of the step is of; whether it failed already. */
uint32_t fv_model_part_at(const fv_forward_call *call, uint32_t row);
bool fv_model_part_is_out(const fv_forward_call *call, uint32_t index);

/* A part fails with `status`, and model->fault. true: the step goes on without it. */
bool fv_model_part_drop(fv_forward_call *call, uint32_t index, fv_status status);
#endif

/* Of the last step, whose rows are more than `row`: whether it was asked for and its part came through. */
bool fv_model_has_row(const fv_model *model, uint32_t row);

static inline fv_cache *const *fv_part_caches(const fv_model *model, const fv_model_part *part) {
    return FV_BUILD_STEP && part->caches ? part->caches : model->caches;
}

/* The one that knows how many tokens the part's sequence has. */
static inline fv_cache *fv_part_cache(const fv_model *model, const fv_model_part *part) {
    return fv_part_caches(model, part)[fv_first_layer(model)];
}

static inline size_t fv_query_width(const fv_model_config *config) {
    return (size_t)config->query_heads * config->cache.head_dim;
}

static inline size_t fv_kv_width(const fv_model_config *config) {
    return (size_t)config->cache.kv_heads * config->cache.head_dim;
}

static inline bool fv_is_rotated(const fv_model_config *config, uint32_t layer) {
    return config->rope_kind != FV_ROPE_NONE &&
           (!config->unrotated_period || (layer + 1) % config->unrotated_period != 0);
}

#endif
