/* model.c - the forward pass. A layer is: norm, q k v, rope, append, attention, output, norm, gated feed-forward. What
 * differs between architectures is an optional weight or a number in the config. */
#include "fovea/model.h"
#include "attention/tally.h"
#include "build.h"
#include "model/model_deadline.h"
#include "model/model_state.h"
#include "model/rotary.h"
#include "model/soundness.h"

#if FV_BUILD_MODEL

enum { TASK_TOKENS = 8 }; /* tokens of one task of the steps between products */

const fv_cache *fv_model_cache(const fv_model *model, uint32_t layer) {
    return model->caches && layer < model->config.layers ? model->caches[layer] : NULL;
}

uint32_t fv_model_tokens(const fv_model *model) { return model->caches ? fv_cache_tokens(model->caches[0]) : 0; }

const fv_model_fault *fv_model_last_fault(const fv_model *model) { return &model->fault; }

uint32_t fv_model_batch_rows(const fv_model *model) { return model->batch_rows; }

float *fv_model_stream(fv_model *model) { return model->stream; }

void fv_model_observe(fv_model *model, fv_attention_observer_fn *observer, void *context) {
    model->observed = observer != NULL;
    fv_attention_observe(model->attention, observer, context);
}

void fv_model_time(fv_model *model, fv_clock_fn *clock, void *context) {
    model->clock = clock;
    model->clock_context = context;
    fv_attention_time(model->attention, clock, context);
    for (uint32_t i = 0; FV_BUILD_STEP && model->singles && i < model->workers; i++)
        fv_attention_time(model->singles[i], clock, context);
}

static uint64_t time_now(const fv_model *model) {
    return FV_BUILD_REPORT && model->clock ? model->clock(model->clock_context) : 0;
}

fv_status fv_model_truncate(fv_model *model, uint32_t tokens) {
    if (!model || !model->caches || tokens > fv_model_tokens(model)) return FV_ERROR_ARGUMENT;
    if (tokens < fv_model_tokens(model)) model->batch_rows = 0;
    for (uint32_t i = 0; i < model->config.layers; i++) fv_cache_truncate(model->caches[i], tokens);
    return FV_OK;
}

/* All layers have one shape: if the first can be copied, all can. */
fv_status fv_model_copy(fv_model *to, const fv_model *from) {
    if (!to || !from || !to->caches || !from->caches || to->config.layers != from->config.layers)
        return FV_ERROR_ARGUMENT;
    fv_status status = FV_OK;
    for (uint32_t i = 0; i < to->config.layers && status == FV_OK; i++)
        status = fv_cache_copy(to->caches[i], from->caches[i]);
    if (status == FV_OK && to != from) to->batch_rows = 0;
    return status;
}

static void step_task(void *context, size_t task, size_t worker) {
    const fv_forward_call *call = (const fv_forward_call *)context;
    size_t begin = call->first + task * TASK_TOKENS,
           end = begin + TASK_TOKENS < call->count ? begin + TASK_TOKENS : call->count;
    (void)worker;
    for (size_t token = begin; token < end; token++) call->step(call, token);
}

/* For the rows of the step from `first` on. */
static void step_run(fv_forward_call *call, uint32_t first, void (*step)(const fv_forward_call *call, size_t token)) {
    call->step = step;
    call->first = first;
    fv_parallel_run(call->parallel, (call->count - first + TASK_TOKENS - 1) / TASK_TOKENS, step_task, call);
}

/* Prepares a row for products: int8 unless the model computes in f32. A row that is not whole blocks is only ever met
 * by float weights. */
static void row_quantize(const fv_model *model, size_t token, const float *row, size_t columns) {
    if (model->config.exact_activations || columns % 32 != 0) return;
    model->kernels->quantize_q8(columns, row, model->quants + token * columns, model->scale + token * (columns / 32),
                                model->sum16 + token * (columns / 16), model->sum32 + token * (columns / 32));
}

/* The first `count` of call->products, of the rows of the step from `first` on. */
static void products_run(fv_forward_call *call, uint32_t first, const float *rows, size_t columns, size_t count) {
    fv_model *model = call->model;
    uint64_t begin_ns = time_now(model);
    const fv_q8_rows q8 = {model->quants, model->scale, model->sum16, model->sum32};
    for (size_t i = 0; i < count; i++) call->products[i].out += first * call->products[i].out_stride;
    call->input = (fv_linear_input){.rows = rows + first * columns,
                                    .q8 = fv_q8_rows_from(&q8, columns, first),
                                    .columns = (uint32_t)columns,
                                    .tokens = call->count - first,
                                    .exact = model->config.exact_activations != 0};
    fv_linear_run(model->kernels, call->products, count, &call->input, call->parallel, model->linear,
                  model->linear_bytes);
    model->product_ns += time_now(model) - begin_ns;
}

static void product_run(fv_forward_call *call, uint32_t first, const float *rows, size_t columns,
                        const fv_weight *weight, float *out) {
    call->products[0] = (fv_linear_product){weight, out, weight->rows};
    products_run(call, first, rows, columns, 1);
}

static void step_embed(const fv_forward_call *call, size_t token) {
    const fv_model *model = call->model;
    float *row = model->stream + token * model->config.width;
    const fv_part_place *place = model->places;
    while (FV_BUILD_STEP && place[1].first_row <= token) place++;
    const fv_model_part *part = &call->parts[place - model->places];
    size_t first = FV_BUILD_STEP ? place->first_row : 0;
    fv_linear_row(model->kernels, &model->weights.embedding, (uint32_t)part->tokens[token - first], row);
    for (size_t c = 0; c < model->config.width; c++) row[c] *= model->config.embedding_scale;
}

static void row_norm(const fv_model *model, const fv_weight *weight, const float *x, float *out) {
    model->kernels->rms_norm_f32(weight->columns, x, (const float *)weight->data, model->config.norm_epsilon, out);
}

/* The stream's row as a block reads it, in `normed`: as it is where norms come after blocks only. */
static void stream_norm(const fv_model *model, const fv_weight *weight, size_t token) {
    size_t width = model->config.width;
    const float *row = model->stream + token * width;
    float *normed = model->normed + token * width;
    if (weight->data) row_norm(model, weight, row, normed);
    for (size_t c = 0; !weight->data && c < width; c++) normed[c] = row[c];
    row_quantize(model, token, normed, width);
}

static void step_attention_norm(const fv_forward_call *call, size_t token) {
    stream_norm(call->model, &call->layer->attention_norm, token);
}

static void bias_add(const fv_weight *bias, float *x) {
    const float *values = (const float *)bias->data;
    for (size_t c = 0; values && c < bias->columns; c++) x[c] += values[c];
}

/* A norm is of each head, or of all of them as one row. table: NULL: nothing is rotated. */
static void heads_rotate(const fv_model *model, const fv_weight *norm, const float *table, uint32_t heads, float *x) {
    bool whole = norm->columns > model->config.cache.head_dim;
    if (whole) row_norm(model, norm, x, x);
    for (uint32_t h = 0; h < heads; h++, x += model->config.cache.head_dim) {
        if (norm->data && !whole) row_norm(model, norm, x, x);
        if (table) fv_rope_apply(model->config.rope_dims / 2, model->config.rope_kind == FV_ROPE_HALVES, table, x);
    }
}

/* Some models make queries larger the further they are from the beginning of the text. */
static void query_scale(const fv_forward_call *call, size_t token, float *query) {
    const fv_model_config *config = &call->model->config;
    const fv_part_place *place = call->model->places;
    if (!config->query_scale_tokens) return;
    while (FV_BUILD_STEP && place[1].first_row <= token) place++;
    uint32_t index = (place->first_token + (uint32_t)token - place->first_row) / config->query_scale_tokens;
    if (index >= config->query_scale_count) index = config->query_scale_count - 1;
    for (size_t c = 0; c < fv_query_width(config); c++) query[c] *= call->model->weights.query_scales[index];
}

static void step_rotate(const fv_forward_call *call, size_t token) {
    const fv_model *model = call->model;
    const fv_model_config *config = &model->config;
    const float *tables = call->local ? model->rope_local : model->rope;
    const float *table = call->rotates ? tables + token * config->rope_dims : NULL;
    float *query = model->query + token * fv_query_width(config), *key = model->key + token * fv_kv_width(config);
    bias_add(&call->layer->key_bias, key);
    bias_add(&call->layer->value_bias, model->value + token * fv_kv_width(config));
    heads_rotate(model, &call->layer->key_norm, table, config->cache.kv_heads, key);
    if (token >= fv_call_muted(call)) {
        bias_add(&call->layer->query_bias, query);
        heads_rotate(model, &call->layer->query_norm, table, config->query_heads, query);
        query_scale(call, token, query);
    }
    fv_sound_mark(call, token);
}

static void step_mixed(const fv_forward_call *call, size_t token) {
    size_t width = fv_query_width(&call->model->config);
    row_quantize(call->model, token, call->model->mixed + token * width, width);
}

/* Adds a block's output (in `normed`) to the stream. */
static void row_add(const fv_model *model, const fv_weight *bias, const fv_weight *post_norm, size_t token) {
    size_t width = model->config.width;
    float *row = model->normed + token * width, *stream = model->stream + token * width;
    bias_add(bias, row);
    if (post_norm->data) row_norm(model, post_norm, row, row);
    for (size_t c = 0; c < width; c++) stream[c] += row[c] * model->config.residual_scale;
}

static void step_feed_norm(const fv_forward_call *call, size_t token) {
    row_add(call->model, &call->layer->output_bias, &call->layer->attention_post_norm, token);
    stream_norm(call->model, &call->layer->feed_norm, token);
}

static void step_gate(const fv_forward_call *call, size_t token) {
    const fv_model *model = call->model;
    size_t feed = model->config.feed_forward;
    float *gate = model->gate + token * feed, *up = model->up + token * feed;
    bias_add(&call->layer->gate_bias, gate);
    bias_add(&call->layer->up_bias, up);
    if (model->config.activation == FV_ACTIVATION_GELU)
        model->kernels->gelu_f32(feed, gate, up, gate);
    else
        model->kernels->silu_f32(feed, gate, up, gate);
    row_quantize(model, token, gate, feed);
}

static void step_feed_add(const fv_forward_call *call, size_t token) {
    row_add(call->model, &call->layer->down_bias, &call->layer->feed_post_norm, token);
}

static void step_output_norm(const fv_forward_call *call, size_t token) {
    float *row = call->model->stream + token * call->model->config.width;
    row_norm(call->model, &call->model->weights.output_norm, row, row);
}

/* In the last layer of all: rows of the first part that have no logits, which nothing reads but through the cache. */
static void call_mute(fv_forward_call *call, uint32_t layer) {
#if FV_BUILD_STEP
    bool last = layer + 1 == call->model->config.layers;
    call->muted = last && !call->model->observed ? call->model->places[0].first_output : 0;
#else
    (void)call, (void)layer;
#endif
}

static fv_status layer_run(fv_forward_call *call, uint32_t layer) {
    fv_model *model = call->model;
    const fv_model_config *config = &model->config;
    const fv_layer_weights *weights = &model->weights.layers[layer];
    size_t queries = fv_query_width(config), keys = fv_kv_width(config), width = config->width,
           feed = config->feed_forward;
    call->layer = weights;
    call->local = fv_model_is_local(config, layer);
    call->rotates = fv_is_rotated(config, layer);
    call_mute(call, layer);
    const uint32_t muted = fv_call_muted(call);
    step_run(call, 0, step_attention_norm);
    call->products[0] = (fv_linear_product){&weights->key, model->key, keys};
    call->products[1] = (fv_linear_product){&weights->value, model->value, keys};
    call->products[2] = (fv_linear_product){&weights->query, model->query, queries};
    products_run(call, 0, model->normed, width, muted ? 2 : 3);
    if (muted) product_run(call, muted, model->normed, width, &weights->query, model->query);
    step_run(call, 0, step_rotate);
    fv_status status = fv_sound_check(call, layer);
    if (status == FV_OK) status = fv_model_parts_attend(call, layer);
    if (status != FV_OK) return status;
    step_run(call, muted, step_mixed);
    product_run(call, muted, model->mixed, queries, &weights->output, model->normed);
    step_run(call, muted, step_feed_norm);
    call->products[0] = (fv_linear_product){&weights->gate, model->gate, feed};
    call->products[1] = (fv_linear_product){&weights->up, model->up, feed};
    products_run(call, muted, model->normed, width, 2);
    step_run(call, muted, step_gate);
    product_run(call, muted, model->gate, feed, &weights->down, model->normed);
    step_run(call, muted, step_feed_add);
    return FV_OK;
}

/* Splits the time of a step: of attention each part has counted its own; of the rest it gets what its rows are of all
 * rows. */
static void reports_time(const fv_forward_call *call) {
    const fv_model *model = call->model;
    uint64_t workers = call->parallel ? call->parallel->workers : 1, products_ns = model->product_ns * workers;
    uint64_t all_ns = (time_now(model) - model->begin_ns) * workers;
    uint64_t known_ns = products_ns + (fv_model_parts_attended_ns(call) - model->attended_ns);
    uint64_t other_ns = all_ns > known_ns ? all_ns - known_ns : 0;
    for (uint32_t i = 0; i < fv_call_parts(call); i++) {
        const fv_model_part *part = &call->parts[i];
        if (!fv_model_part_is_timed(part)) continue;
        part->report->product_ns += FV_BUILD_STEP ? products_ns * part->count / call->count : products_ns;
        part->report->other_ns += FV_BUILD_STEP ? other_ns * part->count / call->count : other_ns;
    }
}

/* The step of model->call, whose parts were checked. */
static fv_status call_run(fv_model *model) {
    fv_forward_call *call = &model->call;
    if (FV_BUILD_REPORT && model->clock) {
        model->begin_ns = time_now(model);
        model->attended_ns = fv_model_parts_attended_ns(call);
        model->product_ns = 0;
    }
    model->lacks_rows = false;
    fv_model_parts_place(call);
    fv_model_deadline_begin(call);
    model->batch_rows = 0; /* the last step's rows are overwritten from here on, also if this one is refused midway */
    if (fv_has_first_layer(model)) step_run(call, 0, step_embed);
    for (uint32_t layer = fv_first_layer(model); layer < fv_layers_end(model); layer++) {
        fv_status status = layer_run(call, layer);
        if (status == FV_OK) continue;
        fv_model_parts_take_back(call);
        return status;
    }
    if (fv_has_last_layer(model)) step_run(call, fv_call_muted(call), step_output_norm);
    model->batch_rows = call->count;
    if (FV_BUILD_REPORT && model->clock) reports_time(call);
    return FV_OK;
}

fv_status fv_model_step(fv_model *model, const fv_model_part *parts, uint32_t part_count, const fv_parallel *parallel) {
    fv_status status = fv_model_parts_check(model, parts, part_count, parallel, NULL);
    if (status != FV_OK) return status;
    model->call = (fv_forward_call){.model = model, .parallel = parallel, .parts = parts, .part_count = part_count};
    return call_run(model);
}

#if FV_BUILD_STEP
fv_status fv_model_step_each(fv_model *model, const fv_model_part *parts, uint32_t part_count,
                             const fv_parallel *parallel, fv_part_outcome *outcomes) {
    uint32_t refused = UINT32_MAX;
    if (!outcomes) return FV_ERROR_ARGUMENT;
    fv_status status = fv_model_parts_check(model, parts, part_count, parallel, &refused);
    for (uint32_t i = 0; i < part_count; i++) outcomes[i] = (fv_part_outcome){.status = i == refused ? status : FV_OK};
    if (status != FV_OK) return status;
    model->call = (fv_forward_call){.model = model,
                                    .parallel = parallel,
                                    .parts = parts,
                                    .part_count = part_count,
                                    .alive = part_count,
                                    .outcomes = outcomes};
    status = call_run(model);
    for (uint32_t i = 0; i < part_count && status != FV_OK; i++)
        if (outcomes[i].status == FV_OK) outcomes[i].status = status; /* it ended the step for all */
    return status;
}
#else
fv_status fv_model_step_each(fv_model *model, const fv_model_part *parts, uint32_t part_count,
                             const fv_parallel *parallel, fv_part_outcome *outcomes) {
    (void)model, (void)parts, (void)part_count, (void)parallel, (void)outcomes;
    return FV_ERROR_UNSUPPORTED;
}
#endif

fv_status fv_model_forward(fv_model *model, const int32_t *tokens, uint32_t count, const fv_policy *policy,
                           const fv_parallel *parallel, fv_report *report) {
    if (!model) return FV_ERROR_ARGUMENT;
    model->part = (fv_model_part){.tokens = tokens, .count = count, .policy = policy, .report = report};
    return fv_model_step(model, &model->part, 1, parallel);
}

/* Whether rows of a step have any. */
static bool has_logits(const fv_model *model) {
    return !FV_BUILD_STEP || (fv_has_last_layer(model) && model->weights.output.data);
}

/* Of `rows` normed rows that lie one after the other. */
static fv_status logits_make(fv_model *model, const float *hidden, uint32_t rows, const fv_parallel *parallel,
                             float *logits) {
    const fv_model_config *config = &model->config;
    for (uint32_t r = 0; r < rows; r++) row_quantize(model, r, hidden + (size_t)r * config->width, config->width);
    model->call = (fv_forward_call){.model = model, .parallel = parallel, .count = rows};
    product_run(&model->call, 0, hidden, config->width, &model->weights.output, logits);
    fv_status status = fv_sound_logits(model, hidden, rows, logits);
    size_t values = (size_t)rows * config->vocabulary;
    if (config->logit_scale != 1.0f)
        for (size_t i = 0; i < values; i++) logits[i] *= config->logit_scale;
    if (config->logit_softcap > 0.0f) model->kernels->softcap_f32(values, 1.0f, config->logit_softcap, logits);
    return status;
}

fv_status fv_model_logits(fv_model *model, uint32_t first_row, uint32_t rows, const fv_parallel *parallel,
                          float *logits) {
    if (!model || !logits || rows < 1 || first_row > model->batch_rows || rows > model->batch_rows - first_row)
        return FV_ERROR_ARGUMENT;
    if ((parallel && parallel->workers > model->workers) || !has_logits(model)) return FV_ERROR_ARGUMENT;
    for (uint32_t r = 0; FV_BUILD_STEP && model->lacks_rows && r < rows; r++)
        if (!fv_model_has_row(model, first_row + r)) return FV_ERROR_ARGUMENT;
    const float *hidden = model->stream + (size_t)first_row * model->config.width;
    fv_status status = logits_make(model, hidden, rows, parallel, logits);
    if (status != FV_OK) model->fault.row += first_row;
    return status;
}

#if FV_BUILD_STEP
fv_status fv_model_logits_from(fv_model *model, const float *rows, uint32_t count, const fv_parallel *parallel,
                               float *logits) {
    if (!model || !rows || !logits || count < 1 || count > model->config.batch_tokens) return FV_ERROR_ARGUMENT;
    if ((parallel && parallel->workers > model->workers) || !model->weights.output.data) return FV_ERROR_ARGUMENT;
    return logits_make(model, rows, count, parallel, logits);
}

fv_status fv_model_logits_of(fv_model *model, const uint32_t *rows, uint32_t count, const fv_parallel *parallel,
                             float *logits) {
    if (!model || !rows || !logits || count < 1 || count > model->config.batch_tokens) return FV_ERROR_ARGUMENT;
    if ((parallel && parallel->workers > model->workers) || !has_logits(model)) return FV_ERROR_ARGUMENT;
    size_t width = model->config.width;
    for (uint32_t r = 0; r < count; r++)
        if (rows[r] >= model->batch_rows || (model->lacks_rows && !fv_model_has_row(model, rows[r])))
            return FV_ERROR_ARGUMENT;
    for (uint32_t r = 0; r < count; r++) /* no step is at work: the rows of its products are free */
        for (size_t c = 0; c < width; c++) model->normed[r * width + c] = model->stream[rows[r] * width + c];
    fv_status status = logits_make(model, model->normed, count, parallel, logits);
    if (status != FV_OK) model->fault.row = rows[model->fault.row];
    return status;
}
#endif

#endif
