/* Calls about a cache of the caller's: appending, decoding, batches of both, warming up. No sum is made here. */
#include "cache/cache_pages.h"
#include "cache/rewind.h"
#include "reference/pattern_job.h"
#include "reference/pattern_tensor.h"

/* Known to be false where deadlines are not built. */
static bool has_deadline(const fv_pattern_call *call) { return FV_BUILD_DEADLINE && call->deadline; }

static uint32_t cache_room(const fv_cache *cache) { return cache->config.max_tokens - cache->tokens; }

static bool suits_cache(const fv_cache *cache, const fv_tensor *tensor) {
    const fv_cache_config *shape = &cache->config;
    return tensor->heads == shape->kv_heads && tensor->head_dim == shape->head_dim;
}

/* Keys and values that are to enter a cache with room for `room` tokens, but for what is in them. */
static fv_status entry_check(const fv_cache *cache, uint32_t room, const fv_tensor *keys, const fv_tensor *values) {
    if (keys->tokens != values->tokens || !suits_cache(cache, keys) || !suits_cache(cache, values))
        return FV_ERROR_SHAPE;
    if (keys->tokens > room) return FV_ERROR_FULL;
    if (keys->tokens == 0) return FV_OK;
    return fv_tensor_is_given(keys) && fv_tensor_is_given(values) ? FV_OK : FV_ERROR_ARGUMENT;
}

/* All that appending must fulfil. */
static fv_status append_check(const fv_pattern *pattern, const fv_cache *cache, uint32_t room, const fv_tensor *keys,
                              const fv_tensor *values) {
    fv_status status = entry_check(cache, room, keys, values);
    if (status != FV_OK || keys->tokens == 0) return status;
    return fv_pattern_inputs_check(pattern, NULL, keys, values);
}

fv_status fv_pattern_append(const fv_pattern *pattern, fv_cache *cache, const fv_tensor *keys,
                            const fv_tensor *values) {
    if (!pattern || !cache || !keys || !values) return FV_ERROR_ARGUMENT;
    fv_status status = append_check(pattern, cache, cache_room(cache), keys, values);
    size_t width = (size_t)keys->heads * keys->head_dim;
    return status == FV_OK ? fv_cache_append(cache, keys->tokens, keys->data, width, values->data, width) : status;
}

#if FV_BUILD_EVICT
fv_status fv_pattern_append_evict(const fv_pattern *pattern, fv_cache *cache, const fv_evict_config *config,
                                  uint32_t scores_count, const float *scores, const fv_tensor *key,
                                  const fv_tensor *value, uint32_t *victim) {
    if (!pattern || !cache || !key || !value) return FV_ERROR_ARGUMENT;
    if (key->tokens != 1) return FV_ERROR_SHAPE;
    fv_status status = append_check(pattern, cache, 1, key, value);
    if (status != FV_OK) return status;
    return fv_evict_append(cache, config, scores_count, scores, key->data, value->data, victim);
}
#endif

/* Whether the policy can read a cache of this shape holding `tokens` tokens. */
static fv_status policy_fits(const fv_policy *policy, const fv_cache *cache, uint32_t tokens) {
    fv_status status = fv_policy_suits(policy, &cache->config, 0.0f, NULL);
    if (status != FV_OK) return status;
    return fv_masks_reach(policy, tokens) ? FV_OK : FV_ERROR_SHAPE;
}

/* Fewer rows are read together where the memory is too small for their states. */
static fv_status decode_make(fv_pattern *pattern, const fv_cache *cache, const fv_pattern_call *call,
                             uint32_t staged_rows) {
    fv_pattern_job *job = &pattern->job;
    const fv_cache_config *cached = &cache->config;
    uint32_t most = pattern->config.decode_only ? 1 : FV_TILE_ROWS;
    uint32_t together = call->query.tokens < most ? call->query.tokens : most;
    job->shape = (fv_call_shape){.tokens = cached->max_tokens,
                                 .query_heads = call->query.heads,
                                 .kv_heads = cached->kv_heads,
                                 .head_dim = cached->head_dim,
                                 .workers = fv_call_workers(call),
                                 .state_rows = has_deadline(call) ? together : 0,
                                 .staged_rows = staged_rows,
                                 .by_row = pattern->config.decode_only != 0};
    fv_status status = fv_pattern_attention_make(pattern);
    while (status == FV_ERROR_MEMORY && job->shape.state_rows > 1) {
        job->shape.state_rows--;
        status = fv_pattern_attention_make(pattern);
    }
    if (status != FV_OK) return status;
    job->marks = (float *)(void *)(pattern->arena + job->layout.mark_offset);
    job->stage = (float *)(void *)(pattern->arena + job->layout.stage_offset);
    return FV_OK;
}

/* The deadline and the report of a call. */
static bool options_are_usable(const fv_pattern_call *call) {
    const fv_deadline *deadline = call->deadline;
    if (!fv_report_has_room(call->report)) return false;
    if (!FV_BUILD_DEADLINE && deadline) return false;
    return !deadline || fv_deadline_is_usable(deadline, call->progress);
}

/* The first look at the clock. FV_ERROR_DEADLINE if it was too late and that is a failure. */
static fv_status watch_start(const fv_pattern_call *call, fv_pattern_job *job) {
    if (!has_deadline(call)) return FV_OK;
    job->watch = (fv_watch){.deadline = call->deadline};
    return fv_watch_is_over(&job->watch) && call->deadline->on_deadline == FV_DEADLINE_FAIL ? FV_ERROR_DEADLINE : FV_OK;
}

static fv_status watch_end(const fv_pattern_call *call, const fv_pattern_job *job, fv_status status) {
    if (has_deadline(call) && call->progress && (status == FV_OK || status == FV_ERROR_DEADLINE))
        *call->progress = job->watch.progress;
    return status;
}

/* The last `count` tokens of the cache, which are the rows from `first` on of the call. */
static fv_status decode_run(fv_pattern_job *job, const fv_cache *cache, const fv_pattern_call *call, uint32_t first,
                            uint32_t count, float *out) {
    size_t width = (size_t)call->query.heads * call->query.head_dim;
    job->rows = (fv_attention_rows){.first_token = cache->tokens - count,
                                    .count = count,
                                    .query = call->query.data + first * width,
                                    .query_stride = width,
                                    .out = out,
                                    .out_stride = width};
    if (!has_deadline(call))
        return fv_attention_run(job->attention, cache, &job->policy, &job->rows, call->parallel, call->report);
    return fv_attention_run_watched(job->attention, cache, &job->policy, &job->rows, call->parallel, call->report,
                                    &job->watch);
}

/* The query of a decode call against the cache it reads, but for what is in it. */
static fv_status query_check(const fv_cache *cache, const fv_pattern_call *call) {
    const fv_cache_config *cached = &cache->config;
    if (call->query.head_dim != cached->head_dim || call->query.heads % cached->kv_heads != 0) return FV_ERROR_SHAPE;
    return call->query.heads == 0 || fv_tensor_is_given(&call->query) ? FV_OK : FV_ERROR_ARGUMENT;
}

fv_status fv_pattern_decode(fv_pattern *pattern, const fv_cache *cache, const fv_pattern_call *call, float *out) {
    if (!pattern || !cache || !call) return FV_ERROR_ARGUMENT;
    if (call->query.tokens != 1 || call->query.head_dim < 1) return FV_ERROR_SHAPE;
    if (!options_are_usable(call)) return FV_ERROR_ARGUMENT;
    size_t width = (size_t)call->query.heads * call->query.head_dim;
    if (width > 0 && !out) return FV_ERROR_ARGUMENT;
    fv_pattern_job *job = &pattern->job;
    fv_pattern_call_policy(pattern, call);
    fv_status status;
    if (cache->tokens == 0) {
        status = watch_start(call, job);
        for (size_t i = 0; status == FV_OK && i < width; i++) out[i] = 0.0f;
        return watch_end(call, job, status);
    }
    status = query_check(cache, call);
    if (status == FV_OK) status = policy_fits(&job->policy, cache, cache->tokens);
    if (status == FV_OK && width) status = decode_make(pattern, cache, call, 0);
    if (status == FV_OK && width && pattern->config.checked && !fv_tensor_is_finite(pattern->kernels, &call->query))
        status = FV_ERROR_NOT_FINITE;
    if (status == FV_OK) status = watch_start(call, job);
    if (status == FV_OK && width) status = decode_run(job, cache, call, 0, 1, out);
    return watch_end(call, job, status);
}

/* All sizes of a batch, before an array is read. */
static fv_status batch_check(const fv_cache *cache, const fv_pattern_call *call, const fv_policy *policy) {
    uint32_t tokens = call->query.tokens;
    if (call->keys.tokens != tokens) return FV_ERROR_SHAPE;
    fv_status status = entry_check(cache, cache_room(cache), &call->keys, &call->values);
    if (status == FV_OK) status = query_check(cache, call);
    return status == FV_OK ? policy_fits(policy, cache, cache->tokens + tokens) : status;
}

/* Steps `first`..`first + count - 1` of a batch: appended together, then attended together. */
static fv_status batch_steps(fv_pattern_job *job, fv_cache *cache, const fv_pattern_call *call, uint32_t first,
                             uint32_t count, float *out) {
    size_t kv_width = (size_t)call->keys.heads * call->keys.head_dim;
    size_t width = (size_t)call->query.heads * call->query.head_dim;
    fv_status status = fv_cache_append(cache, count, call->keys.data + first * kv_width, kv_width,
                                       call->values.data + first * kv_width, kv_width);
    return status != FV_OK || width == 0 ? status : decode_run(job, cache, call, first, count, out + first * width);
}

/* A caller of an older report has less room. */
static void report_copy(fv_report *into, const fv_report *from, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes && i < sizeof *from; i++)
        ((unsigned char *)into)[i] = ((const unsigned char *)from)[i];
}

/* With FAIL, rows wait in the stage until the last one is done, and the cache goes back if it is not. */
static fv_status batch_run(fv_pattern_job *job, fv_cache *cache, const fv_pattern_call *call, bool staged, float *out) {
    uint32_t tokens = call->query.tokens, before = cache->tokens;
    size_t elements = (size_t)tokens * call->query.heads * call->query.head_dim;
    fv_status status = watch_start(call, job);
    if (status != FV_OK) return status;
    fv_pattern_call *inner = &job->inner;
    *inner = *call;
    if (staged) {
        fv_cache_mark_save(cache, job->marks);
        if (call->report) report_copy(&job->counted, call->report, call->report->struct_bytes);
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
    if (call->report) report_copy(call->report, &job->counted, job->counted.struct_bytes);
    return FV_OK;
}

fv_status fv_pattern_decode_batch(fv_pattern *pattern, fv_cache *cache, const fv_pattern_call *call, float *out) {
    if (!pattern || !cache || !call || !options_are_usable(call)) return FV_ERROR_ARGUMENT;
    uint32_t tokens = call->query.tokens;
    fv_pattern_job *job = &pattern->job;
    fv_pattern_call_policy(pattern, call);
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
        status = fv_pattern_inputs_check(pattern, call->query.heads ? &call->query : NULL, &call->keys, &call->values);
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
    const fv_cache_config *cached = &cache->config;
    fv_pattern_job *job = &pattern->job;
    fv_pattern_call *call = &job->inner;
    *call = (fv_pattern_call){.query = {.tokens = 1, .heads = query_heads, .head_dim = cached->head_dim}};
    fv_pattern_call_policy(pattern, call);
    uint32_t before = cache->tokens, room = cache_room(cache) ? 1 : 0;
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
