/* model.h - the forward pass of a transformer over memory that the caller hands in: freestanding, no heap, no files.
 * The architectures are rows of differences over this one pass; src/llm/loader.c fills them from a GGUF.
 * How structs may change: docs/abi.md. */
#ifndef FOVEA_MODEL_H
#define FOVEA_MODEL_H

#include "fovea/api.h"
#include "fovea/attention.h"
#include "fovea/cache.h"
#include "fovea/deadline.h"
#include "fovea/exchange.h"
#include "fovea/parallel.h"
#include "fovea/policy.h"
#include "fovea/report.h"
#include "fovea/weight.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fv_rope_kind {
    FV_ROPE_NONE = 0,
    FV_ROPE_PAIRS = 1, /* rotates (x[2i], x[2i+1]): llama, mistral as stored in GGUF */
    FV_ROPE_HALVES = 2 /* rotates (x[i], x[i + rope_dims/2]): qwen, gemma */
} fv_rope_kind;

typedef enum fv_activation {
    FV_ACTIVATION_SILU = 0,
    FV_ACTIVATION_GELU = 1 /* tanh form */
} fv_activation;

/** Shape of a model. Start from fv_model_config_default(): zeros and ones that switch everything optional off. */
typedef struct fv_model_config {
    uint32_t vocabulary;   /* tokens */
    uint32_t width;        /* embedding length */
    uint32_t feed_forward; /* hidden length of the feed-forward block */
    uint32_t layers;
    uint32_t query_heads;
    fv_cache_config cache;      /* of every layer; kv_heads divides query_heads; see fv_policy_needs() for the rest */
    uint32_t batch_tokens;      /* most tokens in one fv_model_forward(), or of all parts of one fv_model_step() */
    uint32_t rope_kind;         /* fv_rope_kind */
    uint32_t rope_dims;         /* elements of a head that are rotated; even, <= head_dim */
    uint32_t activation;        /* fv_activation */
    uint32_t local_window;      /* sliding window of local layers, tokens, own included; 0 = no local layers */
    uint32_t local_period;      /* layer l is local unless (l + 1) % local_period == 0; 0 = none, 1 is not allowed */
    uint32_t exact_activations; /* 1: f32 products for every weight type */
    float norm_epsilon;
    float attention_scale;     /* score = scale * q.k; 1/sqrt(head_dim) usually */
    float attention_softcap;   /* score = cap * tanh(score / cap); 0 = off */
    float logit_softcap;       /* likewise on logits; 0 = off */
    float embedding_scale;     /* 1 = off */
    float residual_scale;      /* each block's output times this before it is added; 1 = off */
    float logit_scale;         /* logits times this; 1 = off */
    float rope_magnitude;      /* cos and sin times this (yarn's attention factor); 1 = off */
    uint32_t unrotated_period; /* layer l is not rotated if (l + 1) % unrotated_period == 0; 0 = all are (smollm3) */
    uint32_t parts; /* 0: the model has caches of its own, and a step one part (default); else it has none, and a step
                       at most so many parts, at most batch_tokens, each with caches of its own: of `cache`'s kv_heads
                       and head_dim and at most its max_tokens; with cache.shadow they may be read by policies that
                       choose */
    uint32_t query_scale_tokens; /* a query at position p is multiplied by weights.query_scales[p / query_scale_tokens];
                                    0 = off (mistral3) */
    uint32_t query_scale_count;  /* the last of them holds for all further positions */
} fv_model_config;

/** Whether layer `layer` sees a sliding window. */
static inline bool fv_model_is_local(const fv_model_config *config, uint32_t layer) {
    return config->local_window && config->local_period && (layer + 1) % config->local_period != 0;
}

/** Weights of one layer; absent ones have data == NULL. Norms and biases are F32 with rows == 1. */
typedef struct fv_layer_weights {
    fv_weight attention_norm;                   /* optional (olmo2 has norms after its blocks only) */
    fv_weight query, key, value, output;        /* output: [width][query_heads * head_dim] */
    fv_weight query_bias, key_bias, value_bias; /* optional */
    fv_weight query_norm, key_norm; /* optional, of each head: [head_dim], or of all: [heads * head_dim] (olmo2) */
    fv_weight attention_post_norm;  /* optional, on the block's output (gemma) */
    fv_weight feed_norm;            /* optional */
    fv_weight gate, up, down;
    fv_weight feed_post_norm;                             /* optional (gemma) */
    fv_weight output_bias, gate_bias, up_bias, down_bias; /* optional */
} fv_layer_weights;

/** All weights; not owned, must outlive the model. */
typedef struct fv_model_weights {
    fv_weight embedding; /* [vocabulary][width] */
    fv_weight output_norm;
    fv_weight output;                    /* [vocabulary][width]; may be the embedding (tied) */
    const fv_layer_weights *layers;      /* [config.layers] */
    const float *rope_frequencies;       /* [rope_dims / 2] radians per token of global layers; scaling included */
    const float *rope_local_frequencies; /* likewise of local layers; NULL if there are none */
    const float *query_scales;           /* [config.query_scale_count]; NULL if there are none */
} fv_model_weights;

/** Weights, activations and, unless config.parts is set, caches, inside the caller's memory. One caller at a time. */
typedef struct fv_model fv_model;

FV_API void fv_model_config_default(fv_model_config *config);

/** Bytes by purpose; `total` is what fv_model_init() needs. */
typedef struct fv_model_bytes {
    size_t total, cache, landmarks, scratch; /* the two in the middle are 0 if it has no caches */
} fv_model_bytes;

/**
 * workers  of the fv_parallel that will be handed to fv_model_step(); >= 1.
 * returns  FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_OVERFLOW; *bytes untouched on error. Pure. O(1).
 */
FV_API fv_status fv_model_size(const fv_model_config *config, uint32_t workers, fv_model_bytes *bytes);

/**
 * Builds a model with empty caches in place. memory: aligned to FV_CACHE_ALIGN, at least total bytes.
 * returns FV_OK, FV_ERROR_MEMORY, FV_ERROR_ARGUMENT (a weight is missing or does not have the shape that config says).
 */
FV_API fv_status fv_model_init(fv_model **model, const fv_model_config *config, const fv_model_weights *weights,
                               const fv_kernels *kernels, uint32_t workers, void *memory, size_t bytes);

/** Layers first .. first + count - 1 of a model. */
typedef struct fv_layer_range {
    uint32_t first, count; /* count >= 1 */
} fv_layer_range;

/**
 * fv_model_init() of a model that evaluates some of config->layers alone, one stage of several; layers keep their
 * numbers. Weights of the others are not looked at, and the arrays of caches that parts bring may have anything in
 * their places.
 *
 * With the first layer it needs the embedding, and reads ids; without, fv_model_stream() has its input, and `tokens` of
 * parts is not looked at. With the last layer it needs output_norm, and rows of a step are normed; without, they have
 * no logits, and fv_model_stream() has what the next stage reads. Where weights.output is absent there are no logits.
 *
 * range    inside config->layers; unless that is all of them config.parts is >= 1, and no part has a deadline
 *          (FV_ERROR_UNSUPPORTED).
 * returns  what fv_model_init() returns. Not there where FV_BUILD_STEP is 0.
 */
FV_API fv_status fv_model_init_range(fv_model **model, const fv_model_config *config, const fv_model_weights *weights,
                                     const fv_layer_range *range, const fv_kernels *kernels, uint32_t workers,
                                     void *memory, size_t bytes);

/**
 * The residual stream, f32 [batch_tokens][width], rows of parts one after the other. Write the rows of the next step
 * here before fv_model_step() if the model does not have the first layer; read those of the last step here: after the
 * last layer they are normed. Rows of a part that failed alone are zeros.
 */
FV_API float *fv_model_stream(fv_model *model);

/** fv_model_logits() of `count` normed rows [count][width] from elsewhere, at most config.batch_tokens; `row` of a
 * fault is its place in `rows`. FV_ERROR_ARGUMENT also where weights.output is absent. */
FV_API fv_status fv_model_logits_from(fv_model *model, const float *rows, uint32_t count, const fv_parallel *parallel,
                                      float *logits);

/** What a step evaluates of one sequence. Start from {0}. Everything is the caller's and read during the call only. */
typedef struct fv_model_part {
    fv_cache *const *caches;     /* [layers] of the sequence, each with as many tokens; NULL: the model's own */
    const int32_t *tokens;       /* [count] ids, which follow those in the caches */
    uint32_t count;              /* >= 1 */
    uint32_t dense_rows;         /* the last ones, at most count, read everything whatever the policy is; 0 with a
                                    deadline, and where this build has no steps of many */
    const fv_policy *policy;     /* of the layers without a sliding window; their caches have what it needs
                                    (fv_policy_suits()) */
    fv_report *report;           /* counters are added to; NULL or this part's own */
    const fv_deadline *deadline; /* NULL, or when its rows must be through the layers; all parts of a step that have one
                                    have the same clock */
    fv_progress *progress;       /* with a deadline, out: keys of all layers, rows of which none lacks any; NULL only if
                                    on_deadline is FV_DEADLINE_FAIL */
    uint32_t output_rows;        /* the last ones, at most count, which alone have logits; 0: all. With a deadline, and
                                    where this build has no steps of many, 0 */
} fv_model_part;

/**
 * Evaluates the rows of `part_count` sequences in one forward pass: weights are read once for all of them. Prompts and
 * single tokens may be mixed. Keeps the normed output rows for fv_model_logits(), in the order of the parts. Of rows
 * of the first part that have no logits the last layer makes keys and values only, unless somebody observes: 3 % of a
 * prompt where there are 30 layers. Reports count what was read.
 *
 * parts     [part_count], at most config.parts, or 1; at most config.batch_tokens rows in all. No two share a cache or
 *           a report.
 * parallel  NULL or with workers <= those of fv_model_init(). Parts of one row may run side by side, a worker each.
 * returns   FV_OK, FV_ERROR_ARGUMENT (NULL, no row or too many, an id outside the vocabulary, caches of another shape
 *           or none, two parts that share, a report without its size), FV_ERROR_POLICY (out of range, not causal, or
 *           the caches lack what it needs), FV_ERROR_FULL (a cache has no room for its part's rows): nothing was
 *           changed; FV_ERROR_NOT_FINITE, FV_ERROR_RANGE (a key or value beyond the cache's type; of both
 *           fv_model_last_fault() says where) and what else fv_cache_append() and
 *           fv_attention_run() return: rows of the step before are gone, each cache is truncated to the tokens it had,
 *           as by fv_cache_truncate().
 *
 * A row has the same bits whatever other parts there are, for any cutting of its sequence into parts and any number of
 * workers. Reports: time that cannot be told apart is split by rows.
 *
 * Deadlines are of reading the caches; products are never left out. With FV_DEADLINE_BEST each layer gets an equal
 * share of the time that is left less what products took so far, and reads what it can: fv_attention_run(). With
 * FV_DEADLINE_FAIL a part that is late ends the step for all: FV_ERROR_DEADLINE, caches as after other errors midway.
 * FV_ERROR_UNSUPPORTED: a deadline with a policy of quality > 0, or where this build has neither deadlines nor steps of
 * many.
 */
FV_API fv_status fv_model_step(fv_model *model, const fv_model_part *parts, uint32_t part_count,
                               const fv_parallel *parallel);

/** Where numbers went wrong: they are looked at before a cache, int8 or a softmax could hide them. */
typedef enum fv_model_place {
    FV_PLACE_NONE = 0,
    FV_PLACE_INPUT = 1, /* what comes into `layer`: into layer 0 a row of the embedding */
    FV_PLACE_QUERY = 2,
    FV_PLACE_KEY = 3,
    FV_PLACE_VALUE = 4,
    FV_PLACE_OUTPUT = 5, /* what leaves the last layer, normed */
    FV_PLACE_LOGITS = 6
} fv_model_place;

typedef struct fv_model_fault {
    uint32_t place; /* fv_model_place */
    uint32_t layer;
    uint32_t row; /* of the step */
    float value;  /* a NaN, an infinity, or what was too large: for anything 2^60, for a cache its type's largest */
} fv_model_fault;

/** What became of one part of a step. */
typedef struct fv_part_outcome {
    int32_t status;       /* fv_status */
    fv_model_fault fault; /* after FV_ERROR_NOT_FINITE and FV_ERROR_RANGE: where; `row` is the part's own */
} fv_part_outcome;

/**
 * fv_model_step() in which a part that fails midway (FV_ERROR_NOT_FINITE, FV_ERROR_RANGE, FV_ERROR_DEADLINE) fails
 * alone: its caches are truncated to the tokens they had, the others have the bits that they have without it.
 *
 * outcomes  [part_count], out. Where the step is refused and nothing was changed, the first part that is why has that
 *           status; if it is none's alone (too many rows), none has.
 * returns   FV_OK: at least one part came through; rows of the others are counted and have no logits
 *           (FV_ERROR_ARGUMENT). If all failed the status of one of them, and no rows are left. Else what
 *           fv_model_step() returns before it changes anything. FV_ERROR_UNSUPPORTED where this build has no steps of
 *           many. Cost: that of fv_model_step().
 */
FV_API fv_status fv_model_step_each(fv_model *model, const fv_model_part *parts, uint32_t part_count,
                                    const fv_parallel *parallel, fv_part_outcome *outcomes);

/** Bytes that fv_model_set_exchange() needs: fv_attention_exchange_size() of its attention. */
FV_API fv_status fv_model_exchange_size(const fv_model *model, uint32_t ranks, size_t *bytes);

/**
 * From now on steps are those of one rank of several (exchange.h): all ranks of the group make the same calls with the
 * same rows and policies, over caches that are theirs (fv_cache_divide()), and get the same rows, bit for bit those of
 * one process. exchange NULL: no more.
 *
 * exchange, memory  the caller's; they outlive their use. memory: FV_CACHE_ALIGN aligned.
 * returns           FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY, FV_ERROR_UNSUPPORTED (the model has caches of its own;
 *                   this build).
 *
 * Steps then also return FV_ERROR_UNSUPPORTED for deadlines and policies that are not fv_policy_divides(), before
 * anything is changed, and what the exchange returns, which ends a step for all parts: rows of the step before are
 * gone, caches have the tokens that they had.
 */
FV_API fv_status fv_model_set_exchange(fv_model *model, const fv_exchange *exchange, void *memory, size_t bytes);
FV_API uint64_t fv_model_exchanged_bytes(const fv_model *model); /* fv_attention_exchanged_bytes() of all layers */

/** fv_model_step() of one part over the model's own caches. */
FV_API fv_status fv_model_forward(fv_model *model, const int32_t *tokens, uint32_t count, const fv_policy *policy,
                                  const fv_parallel *parallel, fv_report *report);

/** Logits of rows first_row .. first_row + rows - 1 of the last step. logits [rows][vocabulary] f32.
 *  FV_OK, FV_ERROR_ARGUMENT (also: one of them has none) or, with logits written, FV_ERROR_NOT_FINITE: see
 * fv_model_last_fault(). */
FV_API fv_status fv_model_logits(fv_model *model, uint32_t first_row, uint32_t rows, const fv_parallel *parallel,
                                 float *logits);

/** Logits of rows `rows` [count] of the last step, in that order: the vocabulary's matrix is read once for all of them.
 *  At most config.batch_tokens at a time. Returns as fv_model_logits(). */
FV_API fv_status fv_model_logits_of(fv_model *model, const uint32_t *rows, uint32_t count, const fv_parallel *parallel,
                                    float *logits);

/** Of the last call that returned FV_ERROR_NOT_FINITE or (but where FV_BUILD_STEP is 0) FV_ERROR_RANGE; FV_PLACE_NONE
 *  before any. Never NULL. */
FV_API const fv_model_fault *fv_model_last_fault(const fv_model *model);

/* Of the model's own caches: NULL beyond the last layer or if it has none; 0 if it has none. */
FV_API const fv_cache *fv_model_cache(const fv_model *model, uint32_t layer);
FV_API uint32_t fv_model_tokens(const fv_model *model);
/** Rows of the last step; 0 after one that failed midway. */
FV_API uint32_t fv_model_batch_rows(const fv_model *model);
/** fv_attention_observe() for all layers. */
FV_API void fv_model_observe(fv_model *model, fv_attention_observer_fn *observer, void *context);
/** fv_attention_time() for all layers; reports of a step also say what products and all else took. */
FV_API void fv_model_time(fv_model *model, fv_clock_fn *clock, void *context);

/** fv_cache_truncate() for all of its own caches; if it takes any token back, no rows of a step are left. FV_OK or
 *  FV_ERROR_ARGUMENT (also: it has none). */
FV_API fv_status fv_model_truncate(fv_model *model, uint32_t tokens);
/** fv_cache_copy() for all of their own caches; no rows of a step are left. FV_OK, FV_ERROR_ARGUMENT (also: another
 *  number of layers, or one has none), FV_ERROR_FULL; `to` is untouched on error. */
FV_API fv_status fv_model_copy(fv_model *to, const fv_model *from);

#ifdef __cplusplus
}
#endif

#endif
