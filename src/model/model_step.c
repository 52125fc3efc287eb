/* model_step.c - the parts of a step: whether they can be evaluated at all, and what each does for itself in a layer,
 * with its own caches. All else is done for the rows of all parts at once (model.c). */
#include "attention/tally.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "model/model_deadline.h"
#include "model/model_state.h"
#include "model/rotary.h"
#include "model/soundness.h"
#include "select/steps.h"

#if FV_BUILD_MODEL

/* --- checks ----------------------------------------------------------------------------------------------------- */

/* Caches of the caller's. */
static fv_status caches_check(const fv_model *model, const fv_model_part *part) {
    const fv_model_config *config = &model->config;
    fv_cache *const *caches = part->caches;
    bool full = false;
    for (uint32_t layer = fv_first_layer(model); layer < fv_layers_end(model); layer++) {
        if (!caches[layer] || fv_cache_tokens(caches[layer]) != fv_cache_tokens(fv_part_cache(model, part)))
            return FV_ERROR_ARGUMENT;
        if (!fv_cache_suits_exchange(caches[layer], fv_model_exchange(model))) return FV_ERROR_ARGUMENT;
        const fv_cache_config *shape = fv_cache_shape(caches[layer]);
        if (shape->kv_heads != config->cache.kv_heads || shape->head_dim != config->cache.head_dim ||
            shape->max_tokens > config->cache.max_tokens)
            return FV_ERROR_ARGUMENT;
        full |= part->count > shape->max_tokens - fv_cache_tokens(caches[layer]);
        if (fv_model_is_local(config, layer)) continue;
        fv_status status = fv_policy_suits(part->policy, shape, config->attention_softcap, NULL);
        if (status != FV_OK) return status;
    }
    if (fv_policy_chooses(part->policy) && !config->cache.shadow) return FV_ERROR_POLICY;
    if (fv_model_exchange(model) && (part->deadline || !fv_policy_divides(part->policy))) return FV_ERROR_UNSUPPORTED;
    return full ? FV_ERROR_FULL : FV_OK;
}

static fv_status part_check(const fv_model *model, const fv_model_part *part) {
    const fv_model_config *config = &model->config;
    if (!fv_report_has_room(part->report)) return FV_ERROR_ARGUMENT;
    bool has_ids = fv_has_first_layer(model);
    if ((has_ids && !part->tokens) || part->count < 1 || part->count > config->batch_tokens ||
        !fv_part_caches(model, part))
        return FV_ERROR_ARGUMENT;
    fv_status status = fv_policy_check(part->policy);
    if (status != FV_OK) return status;
    if (!part->policy->causal) return FV_ERROR_POLICY;
    status = fv_model_deadline_check(part);
    if (status != FV_OK) return status;
    if (part->deadline && !(has_ids && fv_has_last_layer(model))) return FV_ERROR_UNSUPPORTED;
    if (part->dense_rows > part->count || part->output_rows > part->count) return FV_ERROR_ARGUMENT;
    if ((part->dense_rows || part->output_rows) && (part->deadline || !FV_BUILD_STEP)) return FV_ERROR_UNSUPPORTED;
    for (uint32_t i = 0; has_ids && i < part->count; i++)
        if (part->tokens[i] < 0 || (uint32_t)part->tokens[i] >= config->vocabulary) return FV_ERROR_ARGUMENT;
    if (FV_BUILD_STEP && part->caches) return caches_check(model, part);
    status = fv_policy_suits(part->policy, &config->cache, config->attention_softcap, NULL);
    if (status != FV_OK) return status;
    return part->count > config->cache.max_tokens - fv_cache_tokens(model->caches[0]) ? FV_ERROR_FULL : FV_OK;
}

/* Whether two parts write to the same cache or the same report. */
static bool parts_meet(const fv_model *model, const fv_model_part *one, const fv_model_part *other) {
    return fv_part_cache(model, one) == fv_part_cache(model, other) || (one->report && one->report == other->report);
}

fv_status fv_model_parts_check(const fv_model *model, const fv_model_part *parts, uint32_t part_count,
                               const fv_parallel *parallel, uint32_t *refused) {
    if (!model || !parts || part_count < 1) return FV_ERROR_ARGUMENT;
    if (parallel && parallel->workers > model->workers) return FV_ERROR_ARGUMENT;
    if (!FV_BUILD_STEP) return part_count > 1 || parts->caches ? FV_ERROR_UNSUPPORTED : part_check(model, parts);
    if (part_count > (model->config.parts ? model->config.parts : 1)) return FV_ERROR_ARGUMENT;
    fv_status status = FV_OK;
    uint32_t left = model->config.batch_tokens;
    for (uint32_t i = 0; i < part_count && status == FV_OK; left -= parts[i++].count) {
        bool too_many = parts[i].count > left && parts[i].count <= model->config.batch_tokens;
        if (refused) *refused = too_many ? UINT32_MAX : i;
        if (too_many) return FV_ERROR_ARGUMENT;
        status = part_check(model, &parts[i]);
        for (uint32_t j = 0; j < i && status == FV_OK; j++)
            if (parts_meet(model, &parts[i], &parts[j])) status = FV_ERROR_ARGUMENT;
    }
    return status;
}

/* --- a step ----------------------------------------------------------------------------------------------------- */

void fv_model_parts_place(fv_forward_call *call) {
    fv_model *model = call->model;
    const fv_model_config *config = &model->config;
    uint32_t pairs = config->rope_dims / 2;
    for (uint32_t i = 0; i < fv_call_parts(call); i++) {
        const fv_model_part *part = &call->parts[i];
        size_t table = (size_t)call->count * config->rope_dims;
        fv_part_place *place = &model->places[i];
        *place = (fv_part_place){.first_row = call->count, .first_token = fv_cache_tokens(fv_part_cache(model, part))};
        call->count += part->count;
#if FV_BUILD_STEP
        place->first_output = call->count - (part->output_rows ? part->output_rows : part->count);
        model->lacks_rows |= part->output_rows != 0;
#endif
        if (config->rope_kind == FV_ROPE_NONE) continue;
        fv_rope_table(place->first_token, part->count, pairs, model->weights.rope_frequencies, config->rope_magnitude,
                      model->rope + table);
        if (fv_model_is_local(config, 0))
            fv_rope_table(place->first_token, part->count, pairs, model->weights.rope_local_frequencies, 1.0f,
                          model->rope_local + table);
    }
    if (FV_BUILD_STEP) model->places[call->part_count].first_row = call->count;
}

bool fv_model_part_is_timed(const fv_model_part *part) {
    return part->report && part->report->struct_bytes >= sizeof *part->report;
}

uint64_t fv_model_parts_attended_ns(const fv_forward_call *call) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < fv_call_parts(call); i++)
        if (fv_model_part_is_timed(&call->parts[i]))
            sum += call->parts[i].report->choose_ns + call->parts[i].report->read_ns;
    return sum;
}

/* The row of the step in which a part begins. */
static inline size_t first_row(const fv_part_place *place) { return FV_BUILD_STEP ? place->first_row : 0; }

/* The first `count` of the rows are done with. */
static void rows_skip(fv_attention_rows *rows, uint32_t count) {
    rows->first_token += count;
    rows->count -= count;
    rows->query += count * rows->query_stride;
    rows->out += count * rows->out_stride;
}

/* The part's policy for the first of its rows, everything for the last. */
static fv_status rows_attend(const fv_model_part *part, const fv_cache *cache, fv_attention *attention,
                             fv_attention_rows *rows, const fv_parallel *parallel) {
    static const fv_policy dense = {.selector = FV_SELECTOR_DENSE, .causal = 1};
    uint32_t all = rows->count, chosen = all > part->dense_rows ? all - part->dense_rows : 0;
    fv_status status = FV_OK;
    rows->count = chosen;
    if (chosen > 0) status = fv_attention_run(attention, cache, part->policy, rows, parallel, part->report);
    if (status != FV_OK || part->dense_rows == 0) return status;
    rows->count = all;
    rows_skip(rows, chosen);
    return fv_attention_run(attention, cache, &dense, rows, parallel, part->report);
}

/* One part by itself. */
static fv_status part_attend(fv_forward_call *call, uint32_t index, fv_attention *attention,
                             const fv_parallel *parallel) {
    const fv_model *model = call->model;
    const fv_model_part *part = &call->parts[index];
    fv_part_place *place = &model->places[index];
    fv_attention_rows *rows = &place->rows;
    size_t queries = fv_query_width(&model->config), keys = fv_kv_width(&model->config);
    fv_cache *cache = fv_part_caches(model, part)[call->layer_index];
    fv_status status = fv_cache_append(cache, part->count, model->key + first_row(place) * keys, keys,
                                       model->value + first_row(place) * keys, keys);
    if (status == FV_OK && fv_model_exchange(model)) /* rows of `normed` have been read */
        status = fv_cache_link(cache, fv_model_exchange(model), model->normed);
    if (status != FV_OK) return status;
    rows->first_token = place->first_token; /* field by field: a literal would pass by on the stack; the rest is 0 */
    rows->count = part->count;
    rows->local_window = call->local ? model->config.local_window : 0;
    rows->layer = call->layer_index;
    rows->query = model->query + first_row(place) * queries;
    rows->out = model->mixed + first_row(place) * queries;
    rows->query_stride = rows->out_stride = queries;
    if (index == 0) rows_skip(rows, fv_call_muted(call));
    if (part->deadline) fv_model_deadline_set(call, part, call->layer_index, rows);
    status = FV_BUILD_STEP ? rows_attend(part, cache, attention, rows, parallel)
                           : fv_attention_run(attention, cache, part->policy, rows, parallel, part->report);
    if (part->deadline) fv_model_deadline_add(call, part, call->layer_index);
    return status;
}

#if FV_BUILD_STEP
static void single_task(void *context, size_t task, size_t worker) {
    fv_forward_call *call = (fv_forward_call *)context;
    if (call->parts[task].count > 1 || fv_model_part_is_out(call, (uint32_t)task)) return;
    call->model->places[task].status = part_attend(call, (uint32_t)task, call->model->singles[worker], NULL);
}

/* Whether parts of one row are better off with a worker each than with all workers one after the other: not where one
 * of them has most of the keys. Observers are told workers of a single loop. */
static bool singles_spread(const fv_forward_call *call) {
    const fv_model *model = call->model;
    if (fv_model_exchange(model)) return false; /* ranks take parts in one order */
    if (!model->singles || model->observed || !call->parallel || call->parallel->workers < 2) return false;
    uint64_t most = 0, sum = 0, workers = call->parallel->workers;
    for (uint32_t i = 0; i < fv_call_parts(call); i++) {
        uint64_t keys = (uint64_t)model->places[i].first_token + 1;
        if (call->parts[i].deadline) return false; /* time is shared out one part after the other */
        if (call->parts[i].count > 1 || fv_model_part_is_out(call, i)) continue;
        sum += keys;
        most = keys > most ? keys : most;
    }
    return most < sum && most * workers <= 2 * sum;
}
#endif

#if FV_BUILD_STEP
/* Whether it is of one part only, and the same at all ranks. */
static bool fails_alone(fv_status status) {
    return status == FV_ERROR_RANGE || status == FV_ERROR_NOT_FINITE || status == FV_ERROR_DEADLINE;
}
#endif

fv_status fv_model_parts_attend(fv_forward_call *call, uint32_t layer) {
    fv_model *model = call->model;
    call->layer_index = layer;
#if FV_BUILD_STEP
    bool spread = singles_spread(call);
    fv_model_deadline_layer(call);
    if (spread) fv_parallel_run(call->parallel, call->part_count, single_task, call);
    for (uint32_t i = 0; i < call->part_count; i++) {
        if (fv_model_part_is_out(call, i)) continue;
        fv_status status = model->places[i].status;
        if (!spread || call->parts[i].count > 1) status = part_attend(call, i, model->attention, call->parallel);
        if (status == FV_OK) continue;
        status = fv_sound_range(call, i, fv_part_caches(model, &call->parts[i])[layer], status);
        if (!fails_alone(status) || !fv_model_part_drop(call, i, status)) return status;
    }
    return FV_OK;
#else
    return part_attend(call, 0, model->attention, call->parallel);
#endif
}

#endif
