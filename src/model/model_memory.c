/* model_memory.c - what a model's memory holds, and the weights that fit its shape. */
#include "build.h"
#include "model/model_state.h"
#include "numeric/size.h"

#if FV_BUILD_MODEL

typedef struct model_layout {
    size_t caches, places, attention, singles, single_memory, stream, normed, query, key, value, mixed, gate, up, rope,
        rope_local, quants, scale, sum16, sum32, linear, cache_memory;
    size_t cache_bytes, attention_bytes, single_bytes, linear_bytes, bytes;
    fv_model_bytes sizes;
} model_layout;

void fv_model_config_default(fv_model_config *config) {
    *config = (fv_model_config){.cache = {.key_type = FV_ELEMENT_F16, .value_type = FV_ELEMENT_F16},
                                .batch_tokens = 512,
                                .norm_epsilon = 1e-5f,
                                .embedding_scale = 1.0f,
                                .residual_scale = 1.0f,
                                .logit_scale = 1.0f,
                                .rope_magnitude = 1.0f};
}

/* Longest row that any product reads. */
static size_t widest(const fv_model_config *config) {
    size_t most = config->width > config->feed_forward ? config->width : config->feed_forward;
    return most > fv_query_width(config) ? most : fv_query_width(config);
}

/* Room for the plan of any policy: the pattern with all its globals needs most. */
static uint32_t plan_steps(const fv_model_config *config) {
    fv_policy most = {.selector = FV_SELECTOR_PATTERN,
                      .causal = 1,
                      .block = 1,
                      .globals_count = FV_POLICY_GLOBALS,
                      .log_stride = 1,
                      .landmarks = 1};
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
    if (config->local_period == 1 || config->parts > config->batch_tokens) return FV_ERROR_ARGUMENT;
    return !FV_BUILD_STEP && config->parts ? FV_ERROR_UNSUPPORTED : FV_OK;
}

/* Whether there may be parts of one row, for each worker one at a time. */
static bool has_singles(const fv_model_config *config, uint32_t workers) {
    return FV_BUILD_STEP && config->parts > 1 && workers > 1;
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
    size_t normed = width > fv_query_width(config) ? width : fv_query_width(config);
    size_t singles = has_singles(config, workers) ? workers : 0;
    return region_add(layout, config->parts ? 0 : config->layers, 1, sizeof(fv_cache *), &layout->caches) &&
           region_add(layout, (size_t)config->parts + 2, 1, sizeof(fv_part_place), &layout->places) &&
           region_add(layout, 1, 1, layout->attention_bytes, &layout->attention) &&
           region_add(layout, singles, 1, sizeof(fv_attention *), &layout->singles) &&
           region_add(layout, singles, 1, layout->single_bytes, &layout->single_memory) &&
           region_add(layout, batch, width, f32, &layout->stream) &&
           region_add(layout, batch, normed, f32, &layout->normed) &&
           region_add(layout, batch, fv_query_width(config), f32, &layout->query) &&
           region_add(layout, batch, fv_kv_width(config), f32, &layout->key) &&
           region_add(layout, batch, fv_kv_width(config), f32, &layout->value) &&
           region_add(layout, batch, fv_query_width(config), f32, &layout->mixed) &&
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
    attention.workers = 1;
    if ((status = fv_attention_size(&attention, &layout->single_bytes)) != FV_OK) return status;
    if ((status = fv_cache_size(&config->cache, &layout->cache_bytes)) != FV_OK) return status;
    bare.landmark_tokens = 0;
    if ((status = fv_cache_size(&bare, &bare_bytes)) != FV_OK) return status;
    if (!fv_linear_scratch_bytes(widest(config), &layout->linear_bytes)) return FV_ERROR_OVERFLOW;
    if (!scratch_layout_add(config, workers, layout)) return FV_ERROR_OVERFLOW;
    layout->sizes.scratch = layout->bytes;
    size_t caches = config->parts ? 0 : config->layers;
    if (!region_add(layout, caches, layout->cache_bytes, 1, &layout->cache_memory)) return FV_ERROR_OVERFLOW;
    layout->sizes.cache = layout->bytes - layout->sizes.scratch;
    layout->sizes.landmarks = caches * (layout->cache_bytes - bare_bytes);
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

/* Of each head, or of all heads as one row. */
static bool norm_fits(const fv_weight *weight, const fv_model_config *config, size_t row) {
    return vector_fits(weight, config->cache.head_dim, true) || vector_fits(weight, row, true);
}

static bool layer_fits(const fv_model_config *config, const fv_layer_weights *layer) {
    size_t width = config->width, queries = fv_query_width(config), keys = fv_kv_width(config),
           feed = config->feed_forward;
    return vector_fits(&layer->attention_norm, width, true) && matrix_fits(&layer->query, queries, width) &&
           matrix_fits(&layer->key, keys, width) && matrix_fits(&layer->value, keys, width) &&
           matrix_fits(&layer->output, width, queries) && vector_fits(&layer->query_bias, queries, true) &&
           vector_fits(&layer->key_bias, keys, true) && vector_fits(&layer->value_bias, keys, true) &&
           norm_fits(&layer->query_norm, config, queries) && norm_fits(&layer->key_norm, config, keys) &&
           vector_fits(&layer->attention_post_norm, width, true) && vector_fits(&layer->feed_norm, width, true) &&
           matrix_fits(&layer->gate, feed, width) && matrix_fits(&layer->up, feed, width) &&
           matrix_fits(&layer->down, width, feed) && vector_fits(&layer->feed_post_norm, width, true) &&
           vector_fits(&layer->output_bias, width, true) && vector_fits(&layer->gate_bias, feed, true) &&
           vector_fits(&layer->up_bias, feed, true) && vector_fits(&layer->down_bias, width, true);
}

/* Outside the layers. */
static bool tables_fit(const fv_model_config *config, const fv_model_weights *weights) {
    if (config->rope_kind != FV_ROPE_NONE && !weights->rope_frequencies) return false;
    if (config->query_scale_tokens && (!weights->query_scales || !config->query_scale_count)) return false;
    return config->rope_kind == FV_ROPE_NONE || !fv_model_is_local(config, 0) || weights->rope_local_frequencies;
}

static bool weights_fit(const fv_model_config *config, fv_layer_range range, const fv_model_weights *weights) {
    if (!weights || !weights->layers) return false;
    bool whole = !FV_BUILD_STEP || range.count == config->layers, last = range.first + range.count == config->layers;
    if (range.first == 0 && !matrix_fits(&weights->embedding, config->vocabulary, config->width)) return false;
    if ((whole || weights->output.data) && !matrix_fits(&weights->output, config->vocabulary, config->width))
        return false;
    if (!vector_fits(&weights->output_norm, config->width, !whole && !last) || !tables_fit(config, weights))
        return false;
    for (uint32_t i = 0; i < range.count; i++)
        if (!layer_fits(config, &weights->layers[range.first + i])) return false;
    return true;
}

static void model_place(fv_model *model, unsigned char *base, const model_layout *layout) {
    if (!model->config.parts) model->caches = (fv_cache **)(void *)(base + layout->caches);
    model->places = (fv_part_place *)(void *)(base + layout->places);
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

/* A part of one row takes what a call with one worker takes. */
static fv_status attention_place(fv_model *model, unsigned char *base, const model_layout *layout) {
    fv_attention_config config = attention_config(&model->config, model->workers);
    fv_status status = fv_attention_init(&model->attention, &config, model->kernels, base + layout->attention,
                                         layout->attention_bytes);
    if (status != FV_OK || !has_singles(&model->config, model->workers)) return status;
    model->singles = (fv_attention **)(void *)(base + layout->singles);
    config.workers = 1;
    for (uint32_t i = 0; i < model->workers && status == FV_OK; i++)
        status = fv_attention_init(&model->singles[i], &config, model->kernels,
                                   base + layout->single_memory + i * layout->single_bytes, layout->single_bytes);
    return status;
}

static fv_status caches_place(fv_model *model, unsigned char *base, const model_layout *layout) {
    fv_status status = FV_OK;
    for (uint32_t i = 0; model->caches && i < model->config.layers && status == FV_OK; i++)
        status = fv_cache_init(&model->caches[i], &model->config.cache, model->kernels,
                               base + layout->cache_memory + i * layout->cache_bytes, layout->cache_bytes);
    return status;
}

static fv_status model_init(fv_model **model, const fv_model_config *config, const fv_model_weights *weights,
                            fv_layer_range range, const fv_kernels *kernels, uint32_t workers, void *memory,
                            size_t bytes) {
    model_layout layout;
    fv_status status = model_layout_make(config, workers, &layout);
    if (status != FV_OK) return status;
    if (FV_BUILD_STEP &&
        (range.count < 1 || range.first > config->layers || range.count > config->layers - range.first))
        return FV_ERROR_ARGUMENT;
    if (!model || !kernels || !weights_fit(config, range, weights)) return FV_ERROR_ARGUMENT;
    if (!memory || bytes < layout.bytes || (uintptr_t)memory % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    unsigned char *base = (unsigned char *)memory;
    fv_model *made = (fv_model *)memory;
    for (size_t i = 0; i < sizeof *made; i++) ((unsigned char *)made)[i] = 0; /* a literal would pass by on the stack */
    made->config = *config;
#if FV_BUILD_STEP
    made->range = range;
#endif
    made->weights = *weights;
    made->kernels = kernels;
    made->workers = workers;
    model_place(made, base, &layout);
    status = attention_place(made, base, &layout);
    if (status == FV_OK) status = caches_place(made, base, &layout);
    if (status != FV_OK) return status;
    *model = made;
    return FV_OK;
}

fv_status fv_model_init(fv_model **model, const fv_model_config *config, const fv_model_weights *weights,
                        const fv_kernels *kernels, uint32_t workers, void *memory, size_t bytes) {
    if (!config) return FV_ERROR_ARGUMENT;
    const fv_layer_range all = {0, config->layers};
    return model_init(model, config, weights, all, kernels, workers, memory, bytes);
}

#if FV_BUILD_STEP
fv_status fv_model_init_range(fv_model **model, const fv_model_config *config, const fv_model_weights *weights,
                              const fv_layer_range *range, const fv_kernels *kernels, uint32_t workers, void *memory,
                              size_t bytes) {
    if (!config || !range || (config->parts == 0 && range->count < config->layers)) return FV_ERROR_ARGUMENT;
    return model_init(model, config, weights, *range, kernels, workers, memory, bytes);
}
#endif

#endif
