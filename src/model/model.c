/* The forward pass. Memory comes from the caller and is laid out once; a layer is: norm, q k v, rope, append,
 * attention, output, norm, gated feed-forward. What differs between architectures is an optional weight or a number in
 * the config. */
#include "fovea/model.h"
#include "build.h"
#include "fovea/attention.h"
#include "model/linear.h"
#include "model/rotary.h"
#include "numeric/size.h"

#if FV_BUILD_MODEL

enum { TASK_TOKENS = 8 }; /* tokens of one task of the steps between products */

/* One forward's surroundings; the steps between products are tasks over ranges of tokens. */
typedef struct forward_call {
    fv_model *model;
    const fv_layer_weights *layer;
    const fv_parallel *parallel;
    const int32_t *tokens;
    uint32_t count;
    bool local;
    void (*step)(const struct forward_call *call, size_t token);
    fv_linear_product products[3]; /* at work, and what they read */
    fv_linear_input input;
    fv_attention_rows rows;
} forward_call;

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
    uint64_t product_ns; /* of the forward at work */
    forward_call call;   /* at work; here and not on a chip's stack */
};

typedef struct model_layout {
    size_t caches, attention, stream, normed, query, key, value, mixed, gate, up, rope, rope_local, quants, scale,
        sum16, sum32, linear, cache_memory;
    size_t cache_bytes, attention_bytes, linear_bytes, bytes;
    fv_model_bytes sizes;
} model_layout;

fv_model_config fv_model_config_default(void) {
    return (fv_model_config){.cache = {.key_type = FV_ELEMENT_F16, .value_type = FV_ELEMENT_F16},
                             .batch_tokens = 512,
                             .norm_epsilon = 1e-5f,
                             .embedding_scale = 1.0f,
                             .residual_scale = 1.0f,
                             .logit_scale = 1.0f,
                             .rope_magnitude = 1.0f};
}

static size_t query_width(const fv_model_config *config) {
    return (size_t)config->query_heads * config->cache.head_dim;
}

static size_t kv_width(const fv_model_config *config) {
    return (size_t)config->cache.kv_heads * config->cache.head_dim;
}

/* Longest row that any product reads. */
static size_t widest(const fv_model_config *config) {
    size_t most = config->width > config->feed_forward ? config->width : config->feed_forward;
    return most > query_width(config) ? most : query_width(config);
}

/* Room for the plan of any policy: the pattern with all its globals needs most. */
static uint32_t plan_steps(const fv_model_config *config) {
    fv_policy most = {.selector = FV_SELECTOR_PATTERN,
                      .block = 1,
                      .globals_count = FV_POLICY_GLOBALS,
                      .log_stride = 1,
                      .landmarks = 1,
                      .causal = 1};
    uint32_t steps = fv_policy_steps(&most, config->cache.max_tokens, FV_TILE_ROWS);
    most.selector = FV_SELECTOR_FOVEA;
    uint32_t chosen_steps = fv_policy_steps(&most, config->cache.max_tokens, FV_TILE_ROWS);
    return config->cache.shadow && chosen_steps > steps ? chosen_steps : steps;
}

static fv_attention_config attention_config(const fv_model_config *config, uint32_t workers) {
    return (fv_attention_config){.attend = {.query_heads = config->query_heads,
                                            .kv_heads = config->cache.kv_heads,
                                            .head_dim = config->cache.head_dim,
                                            .scale = config->attention_scale,
                                            .softcap = config->attention_softcap},
                                 .max_tokens = config->cache.max_tokens,
                                 .workers = workers,
                                 .plan_steps = plan_steps(config),
                                 .chooses = config->cache.shadow};
}

static bool is_local(const fv_model_config *config, uint32_t layer) {
    return config->local_window && config->local_period && (layer + 1) % config->local_period != 0;
}

static fv_status config_check(const fv_model_config *config, uint32_t workers) {
    if (!config || workers < 1 || workers > 1024) return FV_ERROR_ARGUMENT;
    const uint32_t counts[] = {
        config->vocabulary,  config->width,          config->feed_forward,   config->layers,
        config->query_heads, config->cache.kv_heads, config->cache.head_dim, config->cache.max_tokens,
        config->batch_tokens};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i] < 1 || counts[i] > 1u << 30) return FV_ERROR_ARGUMENT;
    if (config->query_heads % config->cache.kv_heads != 0 || config->query_heads > 1u << 16) return FV_ERROR_ARGUMENT;
    if (config->layers > 1u << 16 || config->rope_kind > FV_ROPE_HALVES || config->activation > FV_ACTIVATION_GELU)
        return FV_ERROR_ARGUMENT;
    if (config->rope_kind != FV_ROPE_NONE && (config->rope_dims % 2 != 0 || config->rope_dims > config->cache.head_dim))
        return FV_ERROR_ARGUMENT;
    if (config->local_period == 1) return FV_ERROR_ARGUMENT;
    return FV_OK;
}

/* Reserves rows * columns elements; false on overflow. */
static bool region_add(model_layout *layout, size_t rows, size_t columns, size_t element_bytes, size_t *offset) {
    size_t row_bytes = 0;
    *offset = layout->bytes;
    return fv_size_add(&row_bytes, columns, element_bytes, 1) &&
           fv_size_add(&layout->bytes, rows, row_bytes, FV_CACHE_ALIGN);
}

static bool scratch_layout_add(const fv_model_config *config, uint32_t workers, model_layout *layout) {
    size_t batch = config->batch_tokens, width = config->width, wide = widest(config), f32 = sizeof(float);
    size_t normed = width > query_width(config) ? width : query_width(config);
    return region_add(layout, config->layers, 1, sizeof(fv_cache *), &layout->caches) &&
           region_add(layout, 1, 1, layout->attention_bytes, &layout->attention) &&
           region_add(layout, batch, width, f32, &layout->stream) &&
           region_add(layout, batch, normed, f32, &layout->normed) &&
           region_add(layout, batch, query_width(config), f32, &layout->query) &&
           region_add(layout, batch, kv_width(config), f32, &layout->key) &&
           region_add(layout, batch, kv_width(config), f32, &layout->value) &&
           region_add(layout, batch, query_width(config), f32, &layout->mixed) &&
           region_add(layout, batch, config->feed_forward, f32, &layout->gate) &&
           region_add(layout, batch, config->feed_forward, f32, &layout->up) &&
           region_add(layout, batch, config->rope_dims, f32, &layout->rope) &&
           region_add(layout, batch, config->rope_dims, f32, &layout->rope_local) &&
           region_add(layout, batch, wide, 1, &layout->quants) &&
           region_add(layout, batch, wide / 32 + 1, f32, &layout->scale) &&
           region_add(layout, batch, wide / 16 + 1, f32, &layout->sum16) &&
           region_add(layout, batch, wide / 32 + 1, f32, &layout->sum32) &&
           region_add(layout, workers, layout->linear_bytes, 1, &layout->linear);
}

static fv_status model_layout_make(const fv_model_config *config, uint32_t workers, model_layout *layout) {
    fv_status status = config_check(config, workers);
    if (status != FV_OK) return status;
    *layout = (model_layout){.bytes = (sizeof(fv_model) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN};
    fv_attention_config attention = attention_config(config, workers);
    fv_cache_config bare = config->cache;
    size_t bare_bytes = 0;
    if ((status = fv_attention_size(&attention, &layout->attention_bytes)) != FV_OK) return status;
    if ((status = fv_cache_size(&config->cache, &layout->cache_bytes)) != FV_OK) return status;
    bare.landmark_tokens = 0;
    if ((status = fv_cache_size(&bare, &bare_bytes)) != FV_OK) return status;
    if (!fv_linear_scratch_bytes(widest(config), &layout->linear_bytes)) return FV_ERROR_OVERFLOW;
    if (!scratch_layout_add(config, workers, layout)) return FV_ERROR_OVERFLOW;
    layout->sizes.scratch = layout->bytes;
    if (!region_add(layout, config->layers, layout->cache_bytes, 1, &layout->cache_memory)) return FV_ERROR_OVERFLOW;
    layout->sizes.cache = layout->bytes - layout->sizes.scratch;
    layout->sizes.landmarks = config->layers * (layout->cache_bytes - bare_bytes);
    layout->sizes.total = layout->bytes;
    return FV_OK;
}

fv_status fv_model_size(const fv_model_config *config, uint32_t workers, fv_model_bytes *bytes) {
    model_layout layout;
    fv_status status = model_layout_make(config, workers, &layout);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = layout.sizes;
    return FV_OK;
}

static bool matrix_fits(const fv_weight *weight, size_t rows, size_t columns) {
    return weight->data && weight->rows == rows && weight->columns == columns &&
           fv_weight_row_bytes(weight->type, weight->columns) > 0 && weight->packed <= weight->rows &&
           (weight->packed == 0 || fv_weight_is_packable(weight->type));
}

static bool vector_fits(const fv_weight *weight, size_t length, bool optional) {
    if (!weight->data) return optional;
    return weight->type == FV_WEIGHT_F32 && weight->rows == 1 && weight->columns == length;
}

static bool layer_fits(const fv_model_config *config, const fv_layer_weights *layer) {
    size_t width = config->width, queries = query_width(config), keys = kv_width(config), feed = config->feed_forward;
    return vector_fits(&layer->attention_norm, width, false) && matrix_fits(&layer->query, queries, width) &&
           matrix_fits(&layer->key, keys, width) && matrix_fits(&layer->value, keys, width) &&
           matrix_fits(&layer->output, width, queries) && vector_fits(&layer->query_bias, queries, true) &&
           vector_fits(&layer->key_bias, keys, true) && vector_fits(&layer->value_bias, keys, true) &&
           vector_fits(&layer->query_norm, config->cache.head_dim, true) &&
           vector_fits(&layer->key_norm, config->cache.head_dim, true) &&
           vector_fits(&layer->attention_post_norm, width, true) && vector_fits(&layer->feed_norm, width, false) &&
           matrix_fits(&layer->gate, feed, width) && matrix_fits(&layer->up, feed, width) &&
           matrix_fits(&layer->down, width, feed) && vector_fits(&layer->feed_post_norm, width, true);
}

static bool weights_fit(const fv_model_config *config, const fv_model_weights *weights) {
    if (!weights || !weights->layers || !matrix_fits(&weights->embedding, config->vocabulary, config->width))
        return false;
    if (!matrix_fits(&weights->output, config->vocabulary, config->width)) return false;
    if (!vector_fits(&weights->output_norm, config->width, false)) return false;
    if (config->rope_kind != FV_ROPE_NONE && !weights->rope_frequencies) return false;
    if (config->rope_kind != FV_ROPE_NONE && is_local(config, 0) && !weights->rope_local_frequencies) return false;
    for (uint32_t i = 0; i < config->layers; i++)
        if (!layer_fits(config, &weights->layers[i])) return false;
    return true;
}

static void model_place(fv_model *model, unsigned char *base, const model_layout *layout) {
    model->caches = (fv_cache **)(void *)(base + layout->caches);
    model->stream = (float *)(void *)(base + layout->stream);
    model->normed = (float *)(void *)(base + layout->normed);
    model->query = (float *)(void *)(base + layout->query);
    model->key = (float *)(void *)(base + layout->key);
    model->value = (float *)(void *)(base + layout->value);
    model->mixed = (float *)(void *)(base + layout->mixed);
    model->gate = (float *)(void *)(base + layout->gate);
    model->up = (float *)(void *)(base + layout->up);
    model->rope = (float *)(void *)(base + layout->rope);
    model->rope_local = (float *)(void *)(base + layout->rope_local);
    model->quants = (int8_t *)(base + layout->quants);
    model->scale = (float *)(void *)(base + layout->scale);
    model->sum16 = (float *)(void *)(base + layout->sum16);
    model->sum32 = (float *)(void *)(base + layout->sum32);
    model->linear = base + layout->linear;
    model->linear_bytes = layout->linear_bytes;
}

fv_status fv_model_init(fv_model **model, const fv_model_config *config, const fv_model_weights *weights,
                        const fv_kernels *kernels, uint32_t workers, void *memory, size_t bytes) {
    model_layout layout;
    fv_status status = model_layout_make(config, workers, &layout);
    if (status != FV_OK) return status;
    if (!model || !kernels || !weights_fit(config, weights)) return FV_ERROR_ARGUMENT;
    if (!memory || bytes < layout.bytes || (uintptr_t)memory % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    unsigned char *base = (unsigned char *)memory;
    fv_model *made = (fv_model *)memory;
    *made = (fv_model){.config = *config, .weights = *weights, .kernels = kernels, .workers = workers};
    model_place(made, base, &layout);
    fv_attention_config attention = attention_config(config, workers);
    status = fv_attention_init(&made->attention, &attention, kernels, base + layout.attention, layout.attention_bytes);
    if (status != FV_OK) return status;
    for (uint32_t i = 0; i < config->layers; i++) {
        status = fv_cache_init(&made->caches[i], &config->cache, kernels,
                               base + layout.cache_memory + i * layout.cache_bytes, layout.cache_bytes);
        if (status != FV_OK) return status;
    }
    *model = made;
    return FV_OK;
}

const fv_cache *fv_model_cache(const fv_model *model, uint32_t layer) {
    return layer < model->config.layers ? model->caches[layer] : NULL;
}

uint32_t fv_model_tokens(const fv_model *model) { return fv_cache_tokens(model->caches[0]); }

uint32_t fv_model_batch_rows(const fv_model *model) { return model->batch_rows; }

void fv_model_observe(fv_model *model, fv_attention_observer_fn *observer, void *context) {
    fv_attention_observe(model->attention, observer, context);
}

void fv_model_time(fv_model *model, fv_clock_fn *clock, void *context) {
    model->clock = clock;
    model->clock_context = context;
    fv_attention_time(model->attention, clock, context);
}

static uint64_t time_now(const fv_model *model) {
    return FV_BUILD_REPORT && model->clock ? model->clock(model->clock_context) : 0;
}

fv_status fv_model_truncate(fv_model *model, uint32_t tokens) {
    if (!model || tokens > fv_model_tokens(model)) return FV_ERROR_ARGUMENT;
    if (tokens < fv_model_tokens(model)) model->batch_rows = 0;
    for (uint32_t i = 0; i < model->config.layers; i++) fv_cache_truncate(model->caches[i], tokens);
    return FV_OK;
}

/* All layers have one shape: if the first can be copied, all can. */
fv_status fv_model_copy(fv_model *to, const fv_model *from) {
    if (!to || !from || to->config.layers != from->config.layers) return FV_ERROR_ARGUMENT;
    fv_status status = FV_OK;
    for (uint32_t i = 0; i < to->config.layers && status == FV_OK; i++)
        status = fv_cache_copy(to->caches[i], from->caches[i]);
    if (status == FV_OK && to != from) to->batch_rows = 0;
    return status;
}

static void step_task(void *context, size_t task, size_t worker) {
    const forward_call *call = (const forward_call *)context;
    size_t begin = task * TASK_TOKENS, end = begin + TASK_TOKENS < call->count ? begin + TASK_TOKENS : call->count;
    (void)worker;
    for (size_t token = begin; token < end; token++) call->step(call, token);
}

static void step_run(forward_call *call, void (*step)(const forward_call *call, size_t token)) {
    call->step = step;
    fv_parallel_run(call->parallel, (call->count + TASK_TOKENS - 1) / TASK_TOKENS, step_task, call);
}

/* Prepares a row for products: int8 unless the model computes in f32. A row that is not whole blocks is only ever met
 * by float weights. */
static void row_quantize(const fv_model *model, size_t token, const float *row, size_t columns) {
    if (model->config.exact_activations || columns % 32 != 0) return;
    model->kernels->quantize_q8(columns, row, model->quants + token * columns, model->scale + token * (columns / 32),
                                model->sum16 + token * (columns / 16), model->sum32 + token * (columns / 32));
}

/* The first `count` of call->products. */
static void products_run(forward_call *call, const float *rows, size_t columns, size_t count) {
    fv_model *model = call->model;
    uint64_t begin_ns = time_now(model);
    call->input = (fv_linear_input){.rows = rows,
                                    .q8 = {model->quants, model->scale, model->sum16, model->sum32},
                                    .columns = (uint32_t)columns,
                                    .tokens = call->count,
                                    .exact = model->config.exact_activations != 0};
    fv_linear_run(model->kernels, call->products, count, &call->input, call->parallel, model->linear,
                  model->linear_bytes);
    model->product_ns += time_now(model) - begin_ns;
}

static void product_run(forward_call *call, const float *rows, size_t columns, const fv_weight *weight, float *out) {
    call->products[0] = (fv_linear_product){weight, out, weight->rows};
    products_run(call, rows, columns, 1);
}

static void step_embed(const forward_call *call, size_t token) {
    const fv_model *model = call->model;
    float *row = model->stream + token * model->config.width;
    fv_linear_row(model->kernels, &model->weights.embedding, (uint32_t)call->tokens[token], row);
    for (size_t c = 0; c < model->config.width; c++) row[c] *= model->config.embedding_scale;
}

static void row_norm(const fv_model *model, const fv_weight *weight, const float *x, float *out) {
    model->kernels->rms_norm_f32(weight->columns, x, (const float *)weight->data, model->config.norm_epsilon, out);
}

static void step_attention_norm(const forward_call *call, size_t token) {
    const fv_model *model = call->model;
    size_t width = model->config.width;
    row_norm(model, &call->layer->attention_norm, model->stream + token * width, model->normed + token * width);
    row_quantize(model, token, model->normed + token * width, width);
}

static void bias_add(const fv_weight *bias, float *x) {
    const float *values = (const float *)bias->data;
    for (size_t c = 0; values && c < bias->columns; c++) x[c] += values[c];
}

static void heads_rotate(const fv_model *model, const fv_weight *norm, const float *table, uint32_t heads, float *x) {
    for (uint32_t h = 0; h < heads; h++, x += model->config.cache.head_dim) {
        if (norm->data) row_norm(model, norm, x, x);
        if (model->config.rope_kind != FV_ROPE_NONE)
            fv_rope_apply(model->config.rope_dims / 2, model->config.rope_kind == FV_ROPE_HALVES, table, x);
    }
}

static void step_rotate(const forward_call *call, size_t token) {
    const fv_model *model = call->model;
    const fv_model_config *config = &model->config;
    const float *table = (call->local ? model->rope_local : model->rope) + token * config->rope_dims;
    float *query = model->query + token * query_width(config), *key = model->key + token * kv_width(config);
    bias_add(&call->layer->query_bias, query);
    bias_add(&call->layer->key_bias, key);
    bias_add(&call->layer->value_bias, model->value + token * kv_width(config));
    heads_rotate(model, &call->layer->query_norm, table, config->query_heads, query);
    heads_rotate(model, &call->layer->key_norm, table, config->cache.kv_heads, key);
}

static void step_mixed(const forward_call *call, size_t token) {
    size_t width = query_width(&call->model->config);
    row_quantize(call->model, token, call->model->mixed + token * width, width);
}

/* Adds a block's output (in `normed`) to the stream. */
static void row_add(const fv_model *model, const fv_weight *post_norm, size_t token) {
    size_t width = model->config.width;
    float *row = model->normed + token * width, *stream = model->stream + token * width;
    if (post_norm->data) row_norm(model, post_norm, row, row);
    for (size_t c = 0; c < width; c++) stream[c] += row[c] * model->config.residual_scale;
}

static void step_feed_norm(const forward_call *call, size_t token) {
    const fv_model *model = call->model;
    size_t width = model->config.width;
    row_add(model, &call->layer->attention_post_norm, token);
    row_norm(model, &call->layer->feed_norm, model->stream + token * width, model->normed + token * width);
    row_quantize(model, token, model->normed + token * width, width);
}

static void step_gate(const forward_call *call, size_t token) {
    const fv_model *model = call->model;
    size_t feed = model->config.feed_forward;
    float *gate = model->gate + token * feed, *up = model->up + token * feed;
    if (model->config.activation == FV_ACTIVATION_GELU)
        model->kernels->gelu_f32(feed, gate, up, gate);
    else
        model->kernels->silu_f32(feed, gate, up, gate);
    row_quantize(model, token, gate, feed);
}

static void step_feed_add(const forward_call *call, size_t token) {
    row_add(call->model, &call->layer->feed_post_norm, token);
}

static void step_output_norm(const forward_call *call, size_t token) {
    float *row = call->model->stream + token * call->model->config.width;
    row_norm(call->model, &call->model->weights.output_norm, row, row);
}

static fv_status layer_run(forward_call *call, uint32_t layer, const fv_policy *policy, fv_report *report) {
    fv_model *model = call->model;
    const fv_model_config *config = &model->config;
    const fv_layer_weights *weights = &model->weights.layers[layer];
    size_t queries = query_width(config), keys = kv_width(config), width = config->width, feed = config->feed_forward;
    call->layer = weights;
    call->local = is_local(config, layer);
    step_run(call, step_attention_norm);
    call->products[0] = (fv_linear_product){&weights->query, model->query, queries};
    call->products[1] = (fv_linear_product){&weights->key, model->key, keys};
    call->products[2] = (fv_linear_product){&weights->value, model->value, keys};
    products_run(call, model->normed, width, 3);
    step_run(call, step_rotate);
    fv_status status = fv_cache_append(model->caches[layer], call->count, model->key, keys, model->value, keys);
    if (status != FV_OK) return status;
    call->rows = (fv_attention_rows){.first_token = fv_cache_tokens(model->caches[layer]) - call->count,
                                     .count = call->count,
                                     .local_window = call->local ? config->local_window : 0,
                                     .layer = layer,
                                     .query = model->query,
                                     .query_stride = queries,
                                     .out = model->mixed,
                                     .out_stride = queries};
    status = fv_attention_run_rows(model->attention, model->caches[layer], policy, &call->rows, call->parallel, report);
    if (status != FV_OK) return status;
    step_run(call, step_mixed);
    product_run(call, model->mixed, queries, &weights->output, model->normed);
    step_run(call, step_feed_norm);
    call->products[0] = (fv_linear_product){&weights->gate, model->gate, feed};
    call->products[1] = (fv_linear_product){&weights->up, model->up, feed};
    products_run(call, model->normed, width, 2);
    step_run(call, step_gate);
    product_run(call, model->gate, feed, &weights->down, model->normed);
    step_run(call, step_feed_add);
    return FV_OK;
}

static fv_status forward_check(const fv_model *model, const int32_t *tokens, uint32_t count, const fv_policy *policy,
                               const fv_parallel *parallel) {
    if (!model || !tokens || count < 1 || count > model->config.batch_tokens) return FV_ERROR_ARGUMENT;
    if (parallel && parallel->workers > model->workers) return FV_ERROR_ARGUMENT;
    fv_status status = fv_policy_check(policy);
    if (status != FV_OK) return status;
    if (!policy->causal) return FV_ERROR_ARGUMENT;
    if (policy->selector == FV_SELECTOR_PATTERN && policy->landmarks &&
        policy->block != model->config.cache.landmark_tokens)
        return FV_ERROR_ARGUMENT;
    if (fv_policy_is_dynamic(policy) && !model->config.cache.shadow) return FV_ERROR_ARGUMENT;
    if (fv_policy_is_dynamic(policy) && policy->certificate &&
        (!model->config.cache.margins || model->config.attention_softcap > 0.0f))
        return FV_ERROR_ARGUMENT;
    if (fv_policy_is_dynamic(policy) && policy->tail &&
        (!model->config.cache.tail || model->config.attention_softcap > 0.0f))
        return FV_ERROR_ARGUMENT;
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= model->config.vocabulary) return FV_ERROR_ARGUMENT;
    return count > model->config.cache.max_tokens - fv_model_tokens(model) ? FV_ERROR_FULL : FV_OK;
}

/* Splits the time of a forward, of which attention has counted its part. */
static void report_time(const forward_call *call, uint64_t begin_ns, uint64_t attended_ns, fv_report *report) {
    const fv_model *model = call->model;
    if (!FV_BUILD_REPORT || !model->clock) return;
    uint64_t workers = call->parallel ? call->parallel->workers : 1, products_ns = model->product_ns * workers;
    uint64_t all_ns = (time_now(model) - begin_ns) * workers;
    uint64_t known_ns = products_ns + (report->choose_ns + report->read_ns - attended_ns);
    report->product_ns += products_ns;
    report->other_ns += all_ns > known_ns ? all_ns - known_ns : 0;
}

fv_status fv_model_forward(fv_model *model, const int32_t *tokens, uint32_t count, const fv_policy *policy,
                           const fv_parallel *parallel, fv_report *report) {
    fv_status status = forward_check(model, tokens, count, policy, parallel);
    if (status != FV_OK) return status;
    const fv_model_config *config = &model->config;
    uint32_t first = fv_model_tokens(model), pairs = config->rope_dims / 2;
    forward_call *call = &model->call;
    *call = (forward_call){.model = model, .parallel = parallel, .tokens = tokens, .count = count};
    bool timed = report && report->struct_bytes >= sizeof *report;
    uint64_t begin_ns = time_now(model), attended_ns = timed ? report->choose_ns + report->read_ns : 0;
    model->product_ns = 0;
    if (config->rope_kind != FV_ROPE_NONE) {
        fv_rope_table(first, count, pairs, model->weights.rope_frequencies, config->rope_magnitude, model->rope);
        if (is_local(config, 0))
            fv_rope_table(first, count, pairs, model->weights.rope_local_frequencies, 1.0f, model->rope_local);
    }
    model->batch_rows =
        0; /* the last forward's rows are overwritten from here on, also if this one is refused midway */
    step_run(call, step_embed);
    for (uint32_t layer = 0; layer < config->layers; layer++) {
        status = layer_run(call, layer, policy, report);
        if (status == FV_OK) continue;
        fv_model_truncate(model, first);
        return status;
    }
    step_run(call, step_output_norm);
    model->batch_rows = count;
    if (timed) report_time(call, begin_ns, attended_ns, report);
    return FV_OK;
}

fv_status fv_model_logits(fv_model *model, uint32_t first_row, uint32_t rows, const fv_parallel *parallel,
                          float *logits) {
    if (!model || !logits || rows < 1 || first_row > model->batch_rows || rows > model->batch_rows - first_row)
        return FV_ERROR_ARGUMENT;
    if (parallel && parallel->workers > model->workers) return FV_ERROR_ARGUMENT;
    const fv_model_config *config = &model->config;
    float *hidden = model->stream + (size_t)first_row * config->width;
    for (uint32_t r = 0; r < rows; r++) row_quantize(model, r, hidden + (size_t)r * config->width, config->width);
    model->call = (forward_call){.model = model, .parallel = parallel, .count = rows};
    product_run(&model->call, hidden, config->width, &model->weights.output, logits);
    size_t values = (size_t)rows * config->vocabulary;
    if (config->logit_scale != 1.0f)
        for (size_t i = 0; i < values; i++) logits[i] *= config->logit_scale;
    if (config->logit_softcap > 0.0f) model->kernels->softcap_f32(values, 1.0f, config->logit_softcap, logits);
    return FV_OK;
}

#endif
