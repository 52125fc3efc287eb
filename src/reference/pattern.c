/* Checks shapes, lays a cache and an fv_attention out in the scratch of a call, and runs them. No sum is made here. */
#include "fovea/reference/pattern.h"
#include "attention/watch.h"
#include "build.h"
#include "cache/rewind.h"
#include "numeric/root.h"
#include "numeric/size.h"
#include "select/steps.h"

/* What a call needs in the arena. */
typedef struct call_shape {
    uint32_t tokens; /* the most in the cache */
    uint32_t query_heads, kv_heads, head_dim, workers;
    uint32_t state_rows, staged_rows; /* with a deadline: rows read together, rows kept back until all are done */
    bool cache, gated;                /* a cache of its own; room for saliences and masks */
    bool by_row;                      /* scratch for one row at a time */
} call_shape;

typedef struct call_layout {
    fv_cache_config cache;
    fv_attention_config attention;
    size_t cache_bytes, attention_bytes;
    size_t attention_offset, gate_offset, mark_offset, stage_offset, bytes; /* the cache comes first */
} call_layout;

/* What a call runs with. */
typedef struct decode_job {
    fv_policy policy;
    fv_attention *attention;
    float *marks, *stage; /* room for fv_cache_mark_save(), for staged rows */
    fv_watch watch;       /* of a call with a deadline */
    call_shape shape;
    call_layout layout;
    fv_attention_rows rows;
    fv_pattern_call inner; /* the call as it goes on, where that is another one */
    fv_report counted;     /* of rows that may be taken back */
} decode_job;

struct fv_pattern {
    fv_pattern_config config;
    const fv_kernels *kernels;
    unsigned char *arena;
    size_t arena_bytes;
    decode_job job; /* of the call at work; here and not on a chip's stack */
};

/* A cache takes no longer landmark; neither has a block that long an end. */
#define LONGEST_BLOCK (1u << 30)

static uint32_t landmark_tokens(const fv_policy *policy) {
    if (policy->selector != FV_SELECTOR_PATTERN || !policy->landmarks) return 0;
    return policy->block < LONGEST_BLOCK ? policy->block : LONGEST_BLOCK;
}

static fv_attend_config attend_config(const fv_policy *policy, const call_shape *shape) {
    uint32_t pages = fv_policy_gathered(policy, shape->tokens) / FV_PAGE_TOKENS + 1;
    return (fv_attend_config){.query_heads = shape->query_heads,
                              .kv_heads = shape->kv_heads,
                              .head_dim = shape->head_dim,
                              .scale = 1.0f / fv_root_f32((float)shape->head_dim),
                              .tile_rows = shape->by_row ? 1u : FV_TILE_ROWS,
                              .gather_keys = (pages < 4 ? pages : 4) * FV_PAGE_TOKENS};
}

/* The cache of a forward call, which without FV_BUILD_PROMPT there is not. */
static fv_status cache_layout_make(const fv_policy *policy, const call_shape *shape, call_layout *layout) {
    if (!FV_BUILD_PROMPT || !shape->cache) return FV_OK;
    layout->cache = (fv_cache_config){.kv_heads = shape->kv_heads,
                                      .head_dim = shape->head_dim,
                                      .max_tokens = shape->tokens,
                                      .key_type = FV_ELEMENT_F32,
                                      .value_type = FV_ELEMENT_F32,
                                      .landmark_tokens = landmark_tokens(policy),
                                      .shadow = fv_policy_is_dynamic(policy),
                                      .margins = fv_policy_is_dynamic(policy) ? policy->certificate : 0,
                                      .tail = fv_policy_is_dynamic(policy) ? policy->tail : 0};
    return fv_cache_size(&layout->cache, &layout->cache_bytes);
}

static fv_status layout_make(const fv_policy *policy, const call_shape *shape, call_layout *layout) {
    *layout = (call_layout){
        .attention = {.attend = attend_config(policy, shape),
                      .max_tokens = shape->tokens,
                      .workers = shape->workers,
                      .plan_steps = fv_select_masked_steps(policy, shape->tokens, shape->by_row ? 1 : FV_TILE_ROWS),
                      .state_rows = shape->state_rows,
                      .chooses = fv_policy_is_dynamic(policy)}};
    fv_status status = cache_layout_make(policy, shape, layout);
    if (status == FV_OK) status = fv_attention_size(&layout->attention, &layout->attention_bytes);
    if (status != FV_OK) return status;
    size_t row_bytes = FV_BUILD_GATE && shape->gated ? sizeof(float) + 2 * sizeof(uint32_t) : 0;
    size_t head_bytes = shape->head_dim * sizeof(float), width_bytes = 0, *bytes = &layout->bytes;
    if (!fv_size_add(&width_bytes, shape->query_heads, head_bytes, 1)) return FV_ERROR_OVERFLOW;
    fv_size_reserve(bytes, 1, layout->cache_bytes);
    layout->attention_offset = fv_size_reserve(bytes, 1, layout->attention_bytes);
    layout->gate_offset = fv_size_reserve(bytes, shape->tokens, row_bytes);
    /* where rows may be taken back: the last landmark of a cache, by fv_cache_mark_save(); then rows of output */
    layout->mark_offset = fv_size_reserve(bytes, shape->staged_rows ? 2 * (size_t)shape->kv_heads : 0, head_bytes);
    layout->stage_offset = fv_size_reserve(bytes, shape->staged_rows, width_bytes);
    return *bytes == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
}

fv_pattern_config fv_pattern_config_default(void) {
    return (fv_pattern_config){.policy = fv_policy_default(FV_SELECTOR_PATTERN),
                               .max_tokens = 1024,
                               .query_heads = 1,
                               .kv_heads = 1,
                               .head_dim = 64,
                               .workers = 1,
                               .checked = 1};
}

static size_t header_bytes(void) { return (sizeof(fv_pattern) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN; }

static fv_status pattern_bytes(const fv_pattern_config *config, size_t *bytes) {
    if (!config || config->gated > 1 || config->checked > 1 || config->decode_only > 1) return FV_ERROR_ARGUMENT;
    fv_status status = fv_policy_check(&config->policy);
    if (status != FV_OK) return status;
    call_shape shape = {.tokens = config->max_tokens,
                        .query_heads = config->query_heads,
                        .kv_heads = config->kv_heads,
                        .head_dim = config->head_dim,
                        .workers = config->workers,
                        .staged_rows = config->decode_only ? 0u : 2u, /* for fv_pattern_warm_up() */
                        .cache = !config->decode_only,
                        .gated = config->gated != 0,
                        .by_row = config->decode_only != 0};
    call_layout layout;
    status = layout_make(&config->policy, &shape, &layout);
    if (status != FV_OK) return status;
    *bytes = header_bytes();
    fv_size_reserve(bytes, 1, layout.bytes);
    return *bytes == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
}

fv_status fv_pattern_size(const fv_pattern_config *config, size_t *bytes) {
    size_t total;
    fv_status status = pattern_bytes(config, &total);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = total;
    return FV_OK;
}

fv_status fv_pattern_init(fv_pattern **pattern, const fv_pattern_config *config, const fv_kernels *kernels,
                          void *memory, size_t bytes) {
    size_t total;
    fv_status status = pattern_bytes(config, &total);
    if (status != FV_OK) return status;
    if (!pattern || !kernels) return FV_ERROR_ARGUMENT;
    if (!memory || bytes < total || (uintptr_t)memory % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    fv_pattern *made = (fv_pattern *)memory;
    *made = (fv_pattern){
        .kernels = kernels, .arena = (unsigned char *)memory + header_bytes(), .arena_bytes = total - header_bytes()};
    made->config = *config; /* in the literal it would pass by on the stack */
    *pattern = made;
    return FV_OK;
}

/* Elements, 0 on overflow as for an empty array: the caller has checked emptiness. */
static size_t tensor_elements(const fv_tensor *tensor) {
    size_t rows = 0, elements = 0;
    if (!fv_size_add(&rows, tensor->tokens, tensor->heads, 1) || !fv_size_add(&elements, rows, tensor->head_dim, 1))
        return 0;
    return elements;
}

/* In blocks without a way out in between, so that a compiler can use vectors. */
static bool all_finite(size_t n, const float *x) {
    enum { BLOCK = 256 };
    for (size_t first = 0; first < n; first += BLOCK) {
        size_t end = n - first < BLOCK ? n : first + BLOCK;
        uint32_t strange = 0;
        for (size_t i = first; i < end; i++) strange |= !(x[i] - x[i] == 0.0f); /* infinity or NaN */
        if (strange) return false;
    }
    return true;
}

static bool tensor_is_given(const fv_tensor *tensor) {
    size_t elements = tensor_elements(tensor);
    return tensor->data && elements != 0 && elements <= SIZE_MAX / sizeof(float);
}

/* Reads the whole array: only after its size has been compared with everything that it must fit. */
static bool tensor_passes(const fv_pattern *pattern, const fv_tensor *tensor) {
    return !pattern->config.checked || all_finite(tensor_elements(tensor), tensor->data);
}

static fv_status inputs_check(const fv_pattern *pattern, const fv_tensor *query, const fv_tensor *keys,
                              const fv_tensor *values) {
    if (query && !tensor_passes(pattern, query)) return FV_ERROR_NOT_FINITE;
    if (keys && !tensor_passes(pattern, keys)) return FV_ERROR_NOT_FINITE;
    return values && !tensor_passes(pattern, values) ? FV_ERROR_NOT_FINITE : FV_OK;
}

static bool heads_fit(uint32_t heads, uint32_t query_heads, uint32_t kv_heads) {
    if (heads == FV_HEADS_EQUAL || (heads == FV_HEADS_AUTO && query_heads == kv_heads)) return query_heads == kv_heads;
    return heads <= FV_HEADS_SHARED && kv_heads > 0 && query_heads % kv_heads == 0;
}

/* The shapes of a forward call; says nothing about what is in the arrays. */
static bool shapes_fit(const fv_pattern_call *call) {
    const fv_tensor *q = &call->query, *k = &call->keys, *v = &call->values;
    if (q->head_dim < 1 || k->head_dim != q->head_dim || v->head_dim != q->head_dim) return false;
    if (k->tokens != q->tokens || v->tokens != q->tokens || k->heads != v->heads) return false;
    return heads_fit(call->heads, q->heads, k->heads);
}

static bool call_is_masked(const fv_pattern_call *call) { return call->keep || call->keep_until; }

/* The job's policy: the pattern's with the call's masks. */
static fv_policy *call_policy(fv_pattern *pattern, const fv_pattern_call *call) {
    fv_policy *policy = &pattern->job.policy;
    *policy = pattern->config.policy;
    if (policy->selector == FV_SELECTOR_PATTERN && policy->block > LONGEST_BLOCK) policy->block = LONGEST_BLOCK;
    if (call_is_masked(call)) {
        policy->keep = call->keep;
        policy->keep_until = call->keep_until;
        policy->keep_tokens = call->keep_tokens;
    }
    return policy;
}

static bool masks_reach(const fv_policy *policy, uint32_t tokens) {
    return (!policy->keep && !policy->keep_until) || policy->keep_tokens >= tokens;
}

/* The job's layout, if there is room. */
static fv_status job_layout(fv_pattern *pattern) {
    decode_job *job = &pattern->job;
    fv_status status = layout_make(&job->policy, &job->shape, &job->layout);
    if (status != FV_OK) return status;
    return job->layout.bytes > pattern->arena_bytes ? FV_ERROR_MEMORY : FV_OK;
}

static fv_status attention_make(fv_pattern *pattern) {
    decode_job *job = &pattern->job;
    const call_layout *layout = &job->layout;
    fv_status status = job_layout(pattern);
    if (status != FV_OK) return status;
    return fv_attention_init(&job->attention, &layout->attention, pattern->kernels,
                             pattern->arena + layout->attention_offset, layout->attention_bytes);
}

/* Known to be false where deadlines are not built. */
static bool has_deadline(const fv_pattern_call *call) { return FV_BUILD_DEADLINE && call->deadline; }

static uint32_t call_workers(const fv_pattern_call *call) {
    return call->parallel && call->parallel->workers ? call->parallel->workers : 1;
}

/* The job's shape. */
static void forward_shape(fv_pattern *pattern, const fv_pattern_call *call, bool gated) {
    pattern->job.shape = (call_shape){.tokens = call->query.tokens,
                                      .query_heads = call->query.heads,
                                      .kv_heads = call->keys.heads,
                                      .head_dim = call->query.head_dim,
                                      .workers = call_workers(call),
                                      .cache = true,
                                      .gated = gated};
}

/* Packs keys and values, then hands the rows over, `tile` at a time. */
static fv_status forward_run(fv_pattern *pattern, const fv_pattern_call *call, float *out) {
    decode_job *job = &pattern->job;
    const call_shape *shape = &job->shape;
    fv_cache *cache;
    fv_status status = attention_make(pattern);
    if (status == FV_OK)
        status = fv_cache_init(&cache, &job->layout.cache, pattern->kernels, pattern->arena, job->layout.cache_bytes);
    if (status != FV_OK) return status;
    size_t kv_width = (size_t)shape->kv_heads * shape->head_dim, width = (size_t)shape->query_heads * shape->head_dim;
    status = fv_cache_append(cache, shape->tokens, call->keys.data, kv_width, call->values.data, kv_width);
    uint32_t tile = call->tile ? call->tile : shape->tokens;
    for (uint32_t first = 0, count; status == FV_OK && first < shape->tokens; first += count) {
        count = tile < shape->tokens - first ? tile : shape->tokens - first;
        job->rows = (fv_attention_rows){.first_token = first,
                                        .count = count,
                                        .query = call->query.data + first * width,
                                        .query_stride = width,
                                        .out = out + first * width,
                                        .out_stride = width};
        status = fv_attention_run_rows(job->attention, cache, &job->policy, &job->rows, call->parallel, call->report);
    }
    return status;
}

/* All that can be said of a forward call without a look into its arrays; *empty: there is nothing to do. */
static fv_status forward_check(const fv_pattern *pattern, const fv_pattern_call *call, const float *out, bool *empty) {
    if (!pattern || !call) return FV_ERROR_ARGUMENT;
    if (!shapes_fit(call)) return FV_ERROR_SHAPE;
    if (call_is_masked(call) && call->keep_tokens != call->query.tokens) return FV_ERROR_SHAPE;
    if (call->deadline) return FV_ERROR_ARGUMENT;
    *empty = call->query.tokens == 0 || call->query.heads == 0;
    if (*empty) return FV_OK;
    if (!out || !tensor_is_given(&call->query) || !tensor_is_given(&call->keys)) return FV_ERROR_ARGUMENT;
    return tensor_is_given(&call->values) ? FV_OK : FV_ERROR_ARGUMENT;
}

/* Room first, then the elements. */
static fv_status forward_start(fv_pattern *pattern, const fv_pattern_call *call, bool gated) {
    forward_shape(pattern, call, gated);
    fv_status status = job_layout(pattern);
    return status == FV_OK ? inputs_check(pattern, &call->query, &call->keys, &call->values) : status;
}

fv_status fv_pattern_forward(fv_pattern *pattern, const fv_pattern_call *call, float *out) {
    bool empty;
    fv_status status = forward_check(pattern, call, out, &empty);
    if (status != FV_OK || empty) return status;
    if (!masks_reach(call_policy(pattern, call), call->query.tokens)) return FV_ERROR_SHAPE;
    status = forward_start(pattern, call, false);
    return status == FV_OK ? forward_run(pattern, call, out) : status;
}

fv_status fv_pattern_forward_dense(fv_pattern *pattern, const fv_pattern_call *call, float *out) {
    bool empty;
    fv_status status = forward_check(pattern, call, out, &empty);
    if (status != FV_OK || empty) return status;
    call_policy(pattern, call)->selector = FV_SELECTOR_DENSE; /* which looks at `causal` alone */
    status = forward_start(pattern, call, false);
    return status == FV_OK ? forward_run(pattern, call, out) : status;
}

#if FV_BUILD_GATE
fv_status fv_pattern_forward_gated(fv_pattern *pattern, fv_gate *gate, fv_keep_scope scope, uint32_t keep,
                                   const fv_pattern_call *call, float *out) {
    bool empty;
    fv_status status = forward_check(pattern, call, out, &empty);
    if (status != FV_OK) return status;
    if (!gate || call_is_masked(call) || (uint32_t)scope > FV_KEEP_WHOLE_SEQUENCE) return FV_ERROR_ARGUMENT;
    if (scope == FV_KEEP_CAUSAL && !pattern->config.policy.causal) return FV_ERROR_ARGUMENT;
    if (fv_gate_shape(gate)->input_dim != call->keys.head_dim) return FV_ERROR_SHAPE;
    if (empty) return FV_OK;
    fv_policy *policy = call_policy(pattern, call);
    status = forward_start(pattern, call, true);
    if (status != FV_OK) return status;
    uint32_t tokens = call->keys.tokens;
    float *salience = (float *)(void *)(pattern->arena + pattern->job.layout.gate_offset);
    uint32_t *until = (uint32_t *)(void *)(salience + tokens);
    status = fv_gate_score_keys(gate, tokens, call->keys.heads, call->keys.data,
                                (size_t)call->keys.heads * call->keys.head_dim, salience);
    if (status == FV_OK) status = fv_keep_until(scope, tokens, salience, keep, until + tokens, until);
    if (status != FV_OK) return status;
    policy->keep = NULL;
    policy->keep_until = until;
    policy->keep_tokens = tokens;
    return forward_run(pattern, call, out);
}
#endif

static uint32_t cache_room(const fv_cache *cache) { return fv_cache_shape(cache)->max_tokens - fv_cache_tokens(cache); }

static bool suits_cache(const fv_cache *cache, const fv_tensor *tensor) {
    const fv_cache_config *shape = fv_cache_shape(cache);
    return tensor->heads == shape->kv_heads && tensor->head_dim == shape->head_dim;
}

/* Keys and values that are to enter a cache, but for what is in them. */
static fv_status entry_check(const fv_cache *cache, const fv_tensor *keys, const fv_tensor *values) {
    if (keys->tokens != values->tokens || !suits_cache(cache, keys) || !suits_cache(cache, values))
        return FV_ERROR_SHAPE;
    if (keys->tokens > cache_room(cache)) return FV_ERROR_FULL;
    if (keys->tokens == 0) return FV_OK;
    return tensor_is_given(keys) && tensor_is_given(values) ? FV_OK : FV_ERROR_ARGUMENT;
}

fv_status fv_pattern_append(const fv_pattern *pattern, fv_cache *cache, const fv_tensor *keys,
                            const fv_tensor *values) {
    if (!pattern || !cache || !keys || !values) return FV_ERROR_ARGUMENT;
    fv_status status = entry_check(cache, keys, values);
    if (status != FV_OK || keys->tokens == 0) return status;
    status = inputs_check(pattern, NULL, keys, values);
    if (status != FV_OK) return status;
    size_t width = (size_t)keys->heads * keys->head_dim;
    return fv_cache_append(cache, keys->tokens, keys->data, width, values->data, width);
}

#if FV_BUILD_EVICT
fv_status fv_pattern_append_evict(const fv_pattern *pattern, fv_cache *cache, const fv_evict_config *config,
                                  uint32_t scores_count, const float *scores, const fv_tensor *key,
                                  const fv_tensor *value, uint32_t *victim) {
    if (!pattern || !cache || !key || !value) return FV_ERROR_ARGUMENT;
    if (key->tokens != 1 || value->tokens != 1) return FV_ERROR_SHAPE;
    if (!suits_cache(cache, key) || !suits_cache(cache, value)) return FV_ERROR_SHAPE;
    if (!tensor_is_given(key) || !tensor_is_given(value)) return FV_ERROR_ARGUMENT;
    fv_status status = inputs_check(pattern, NULL, key, value);
    if (status != FV_OK) return status;
    return fv_evict_append(cache, config, scores_count, scores, key->data, value->data, victim);
}
#endif

/* Whether the policy can read a cache of this shape holding `tokens` tokens. */
static fv_status policy_fits(const fv_policy *policy, const fv_cache *cache, uint32_t tokens) {
    uint32_t block = landmark_tokens(policy);
    if (block && block != fv_cache_shape(cache)->landmark_tokens) return FV_ERROR_POLICY;
    return masks_reach(policy, tokens) ? FV_OK : FV_ERROR_SHAPE;
}

/* Fewer rows are read together where the memory is too small for their states. */
static fv_status decode_make(fv_pattern *pattern, const fv_cache *cache, const fv_pattern_call *call,
                             uint32_t staged_rows) {
    decode_job *job = &pattern->job;
    const fv_cache_config *cached = fv_cache_shape(cache);
    uint32_t most = pattern->config.decode_only ? 1 : FV_TILE_ROWS;
    uint32_t together = call->query.tokens < most ? call->query.tokens : most;
    job->shape = (call_shape){.tokens = cached->max_tokens,
                              .query_heads = call->query.heads,
                              .kv_heads = cached->kv_heads,
                              .head_dim = cached->head_dim,
                              .workers = call_workers(call),
                              .state_rows = has_deadline(call) ? together : 0,
                              .staged_rows = staged_rows,
                              .by_row = pattern->config.decode_only != 0};
    fv_status status = attention_make(pattern);
    while (status == FV_ERROR_MEMORY && job->shape.state_rows > 1) {
        job->shape.state_rows--;
        status = attention_make(pattern);
    }
    if (status != FV_OK) return status;
    job->marks = (float *)(void *)(pattern->arena + job->layout.mark_offset);
    job->stage = (float *)(void *)(pattern->arena + job->layout.stage_offset);
    return FV_OK;
}

static bool deadline_is_usable(const fv_pattern_call *call) {
    const fv_deadline *deadline = call->deadline;
    if (!FV_BUILD_DEADLINE && deadline) return false;
    if (!deadline) return true;
    return deadline->clock && deadline->on_deadline <= FV_DEADLINE_BEST &&
           (call->progress || deadline->on_deadline == FV_DEADLINE_FAIL);
}

/* The first look at the clock. FV_ERROR_DEADLINE if it was too late and that is a failure. */
static fv_status watch_start(const fv_pattern_call *call, decode_job *job) {
    job->watch = (fv_watch){.deadline = call->deadline};
    if (!has_deadline(call)) return FV_OK;
    return fv_watch_is_over(&job->watch) && call->deadline->on_deadline == FV_DEADLINE_FAIL ? FV_ERROR_DEADLINE : FV_OK;
}

static fv_status watch_end(const fv_pattern_call *call, const decode_job *job, fv_status status) {
    if (has_deadline(call) && call->progress && (status == FV_OK || status == FV_ERROR_DEADLINE))
        *call->progress = job->watch.progress;
    return status;
}

/* The last `count` tokens of the cache, which are the rows from `first` on of the call. */
static fv_status decode_run(decode_job *job, const fv_cache *cache, const fv_pattern_call *call, uint32_t first,
                            uint32_t count, float *out) {
    size_t width = (size_t)call->query.heads * call->query.head_dim;
    job->rows = (fv_attention_rows){.first_token = fv_cache_tokens(cache) - count,
                                    .count = count,
                                    .query = call->query.data + first * width,
                                    .query_stride = width,
                                    .out = out,
                                    .out_stride = width};
    if (!has_deadline(call))
        return fv_attention_run_rows(job->attention, cache, &job->policy, &job->rows, call->parallel, call->report);
    return fv_attention_run_watched(job->attention, cache, &job->policy, &job->rows, call->parallel, call->report,
                                    &job->watch);
}

/* The query of a decode call against the cache it reads, but for what is in it. */
static fv_status query_check(const fv_cache *cache, const fv_pattern_call *call) {
    const fv_cache_config *cached = fv_cache_shape(cache);
    if (call->query.head_dim != cached->head_dim || call->query.heads % cached->kv_heads != 0) return FV_ERROR_SHAPE;
    return call->query.heads == 0 || tensor_is_given(&call->query) ? FV_OK : FV_ERROR_ARGUMENT;
}

fv_status fv_pattern_decode(fv_pattern *pattern, const fv_cache *cache, const fv_pattern_call *call, float *out) {
    if (!pattern || !cache || !call) return FV_ERROR_ARGUMENT;
    if (call->query.tokens != 1 || call->query.head_dim < 1) return FV_ERROR_SHAPE;
    if (!deadline_is_usable(call)) return FV_ERROR_ARGUMENT;
    size_t width = (size_t)call->query.heads * call->query.head_dim;
    if (width > 0 && !out) return FV_ERROR_ARGUMENT;
    decode_job *job = &pattern->job;
    call_policy(pattern, call);
    fv_status status;
    if (fv_cache_tokens(cache) == 0) {
        status = watch_start(call, job);
        for (size_t i = 0; status == FV_OK && i < width; i++) out[i] = 0.0f;
        return watch_end(call, job, status);
    }
    status = query_check(cache, call);
    if (status == FV_OK) status = policy_fits(&job->policy, cache, fv_cache_tokens(cache));
    if (status == FV_OK && width) status = decode_make(pattern, cache, call, 0);
    if (status == FV_OK && width) status = inputs_check(pattern, &call->query, NULL, NULL);
    if (status == FV_OK) status = watch_start(call, job);
    if (status == FV_OK && width) status = decode_run(job, cache, call, 0, 1, out);
    return watch_end(call, job, status);
}

/* All sizes of a batch, before an array is read. */
static fv_status batch_check(const fv_cache *cache, const fv_pattern_call *call, const fv_policy *policy) {
    uint32_t tokens = call->query.tokens;
    if (call->keys.tokens != tokens) return FV_ERROR_SHAPE;
    fv_status status = entry_check(cache, &call->keys, &call->values);
    if (status == FV_OK) status = query_check(cache, call);
    return status == FV_OK ? policy_fits(policy, cache, fv_cache_tokens(cache) + tokens) : status;
}

/* Steps `first`..`first + count - 1` of a batch: appended together, then attended together. */
static fv_status batch_steps(decode_job *job, fv_cache *cache, const fv_pattern_call *call, uint32_t first,
                             uint32_t count, float *out) {
    size_t kv_width = (size_t)call->keys.heads * call->keys.head_dim;
    size_t width = (size_t)call->query.heads * call->query.head_dim;
    fv_status status = fv_cache_append(cache, count, call->keys.data + first * kv_width, kv_width,
                                       call->values.data + first * kv_width, kv_width);
    return status != FV_OK || width == 0 ? status : decode_run(job, cache, call, first, count, out + first * width);
}

/* With FAIL, rows wait in the stage until the last one is done, and the cache goes back if it is not. */
static fv_status batch_run(decode_job *job, fv_cache *cache, const fv_pattern_call *call, bool staged, float *out) {
    uint32_t tokens = call->query.tokens, before = fv_cache_tokens(cache);
    size_t elements = (size_t)tokens * call->query.heads * call->query.head_dim;
    fv_status status = watch_start(call, job);
    if (status != FV_OK) return status;
    fv_pattern_call *inner = &job->inner;
    *inner = *call;
    if (staged) {
        fv_cache_mark_save(cache, job->marks);
        if (call->report) job->counted = *call->report;
        inner->report = call->report ? &job->counted : NULL;
    }
    /* not causal: a step must not see those after it, so each is appended when its turn comes */
    uint32_t at_once = job->policy.causal ? tokens : 1;
    for (uint32_t first = 0; status == FV_OK && first < tokens; first += at_once)
        status = batch_steps(job, cache, inner, first, at_once, staged ? job->stage : out);
    if (!staged) return status;
    if (status != FV_OK) {
        fv_cache_rewind(cache, before, job->marks);
        return status;
    }
    for (size_t i = 0; i < elements; i++) out[i] = job->stage[i];
    if (call->report) *call->report = job->counted;
    return FV_OK;
}

fv_status fv_pattern_decode_batch(fv_pattern *pattern, fv_cache *cache, const fv_pattern_call *call, float *out) {
    if (!pattern || !cache || !call || !deadline_is_usable(call)) return FV_ERROR_ARGUMENT;
    uint32_t tokens = call->query.tokens;
    decode_job *job = &pattern->job;
    call_policy(pattern, call);
    if (tokens == 0 && call->keys.tokens == 0 && call->values.tokens == 0)
        return watch_end(call, job, watch_start(call, job));
    fv_status status = batch_check(cache, call, &job->policy);
    if (status != FV_OK) return status;
    bool staged = call->query.heads && has_deadline(call) && call->deadline->on_deadline == FV_DEADLINE_FAIL;
    if (call->query.heads) {
        if (!out) return FV_ERROR_ARGUMENT;
        status = decode_make(pattern, cache, call, staged ? tokens : 0);
    }
    if (status == FV_OK)
        status = inputs_check(pattern, call->query.heads ? &call->query : NULL, &call->keys, &call->values);
    if (status != FV_OK) return status;
    return watch_end(call, job, batch_run(job, cache, call, staged, out));
}

/* Every page is written with what it holds: a page that was never written may not be there yet. */
static void pages_touch(void *memory, size_t bytes) {
    volatile unsigned char *byte = (volatile unsigned char *)memory;
    for (size_t i = 0; i < bytes; i += 4096) byte[i] = byte[i];
    if (bytes) byte[bytes - 1] = byte[bytes - 1];
}

fv_status fv_pattern_warm_up(fv_pattern *pattern, fv_cache *cache, uint32_t query_heads) {
    if (!pattern || !cache) return FV_ERROR_ARGUMENT;
    const fv_cache_config *cached = fv_cache_shape(cache);
    decode_job *job = &pattern->job;
    fv_pattern_call *call = &job->inner;
    *call = (fv_pattern_call){.query = {.tokens = 1, .heads = query_heads, .head_dim = cached->head_dim}};
    call_policy(pattern, call);
    uint32_t before = fv_cache_tokens(cache), room = cache_room(cache) ? 1 : 0;
    if (query_heads < 1 || query_heads % cached->kv_heads != 0) return FV_ERROR_SHAPE;
    fv_status status = policy_fits(&job->policy, cache, before + room);
    if (status == FV_OK) status = decode_make(pattern, cache, call, 2);
    size_t bytes, width = (size_t)query_heads * cached->head_dim,
                  kv_width = (size_t)cached->kv_heads * cached->head_dim;
    if (status == FV_OK) status = fv_cache_size(cached, &bytes);
    if (status != FV_OK) return status;
    pages_touch(pattern->arena, pattern->arena_bytes);
    pages_touch(cache, bytes);
    for (size_t i = 0; i < width; i++) job->stage[i] = 0.0f;
    fv_cache_mark_save(cache, job->marks);
    if (room) fv_cache_append(cache, 1, job->stage, kv_width, job->stage, kv_width);
    call->query.data = job->stage;
    status = decode_run(job, cache, call, 0, 1, job->stage + width);
    fv_cache_rewind(cache, before, job->marks);
    return status;
}

fv_pattern_preset fv_pattern_preset_pi_zero_2w(uint32_t max_tokens, uint32_t query_heads, uint32_t kv_heads,
                                               uint32_t head_dim) {
    fv_pattern_preset preset = {.pattern = fv_pattern_config_default(), .cache = fv_cache_config_default(), .tile = 16};
    preset.pattern.policy.window = 64;
    preset.pattern.max_tokens = preset.cache.max_tokens = max_tokens;
    preset.pattern.query_heads = query_heads;
    preset.pattern.kv_heads = preset.cache.kv_heads = kv_heads;
    preset.pattern.head_dim = preset.cache.head_dim = head_dim;
    preset.pattern.workers = 4;
    preset.cache.landmark_tokens = preset.pattern.policy.block;
    return preset;
}
