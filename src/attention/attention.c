/* Composes selector and executor. A prompt is split into tiles x KV heads (tiles.c); a single row into KV heads x
 * segments (segments.c); with a deadline, any rows into rounds of keys, between which the clock is looked at
 * (rounds.c). A policy that chooses by the queries has a plan for each KV head, any other one for all. */
#include "fovea/attention.h"
#include "attention/ranks.h"
#include "attention/rounds.h"
#include "attention/segments.h"
#include "attention/tally.h"
#include "attention/tiles.h"
#include "cache/cache_pages.h"
#include "select/steps.h"

/* Whether all is there of the tokens from `begin` on, here or at another rank. */
static bool tokens_are_there(const fv_attention *attention, const fv_cache *cache, uint32_t begin) {
#if FV_BUILD_EXCHANGE
    if (attention->ranks) return fv_cache_holds(cache, begin, cache->tokens);
#endif
    (void)attention;
    return fv_cache_has(cache, begin, cache->tokens);
}

/* Everything but the plans. */
static fv_status call_check(const fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                            const fv_attention_rows *rows, const fv_parallel *parallel) {
    if (!attention || !cache || !rows || rows->count < 1 || rows->count > cache->tokens) return FV_ERROR_ARGUMENT;
    if (rows->first_token > cache->tokens - rows->count) return FV_ERROR_ARGUMENT;
    const fv_attend_config *attend = &attention->config.attend;
    if (attend->kv_heads != cache->config.kv_heads || attend->head_dim != cache->config.head_dim)
        return FV_ERROR_ARGUMENT;
    if (cache->config.max_tokens > attention->config.max_tokens) return FV_ERROR_ARGUMENT;
    if (parallel && parallel->workers > attention->config.workers) return FV_ERROR_ARGUMENT;
    if (!FV_BUILD_PROMPT && rows->count > 1) return FV_ERROR_UNSUPPORTED;
    if ((!FV_BUILD_STATE && rows->lse) || (!FV_BUILD_DEADLINE && rows->deadline)) return FV_ERROR_UNSUPPORTED;
    if (FV_BUILD_STATE && rows->lse && rows->lse_stride < attend->query_heads) return FV_ERROR_ARGUMENT;
    if (FV_BUILD_DEADLINE && rows->deadline && !fv_deadline_is_usable(rows->deadline, rows->progress))
        return FV_ERROR_ARGUMENT;
    uint32_t begin = 0; /* of what they see */
    if (rows->local_window && rows->first_token >= rows->local_window)
        begin = rows->first_token + 1 - rows->local_window;
    if (!tokens_are_there(attention, cache, begin)) return FV_ERROR_ARGUMENT;
    fv_status status = fv_policy_check(policy);
#if FV_BUILD_EXCHANGE
    if (status == FV_OK && attention->ranks) status = fv_ranks_check(attention, cache, policy, rows);
#endif
    if (status != FV_OK || rows->local_window) return status;
    status = fv_policy_suits(policy, &cache->config, attend->softcap, NULL);
    if (status != FV_OK) return status;
    if (fv_policy_chooses(policy) && !attention->config.chooses) return FV_ERROR_ARGUMENT;
    if (!FV_BUILD_PROMPT && fv_policy_chooses(policy) && policy->quality > 0.0f) return FV_ERROR_UNSUPPORTED;
    uint32_t steps = fv_policy_steps(policy, cache->config.max_tokens, fv_attend_rows(attend));
    return steps > attention->config.plan_steps ? FV_ERROR_FULL : FV_OK;
}

/* Checks, and fills attention->call. */
static fv_status call_make(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                           const fv_attention_rows *rows, const fv_parallel *parallel) {
    fv_status status = call_check(attention, cache, policy, rows, parallel);
    if (status != FV_OK) return status;
    size_t width = (size_t)attention->config.attend.query_heads * attention->config.attend.head_dim;
    if (!rows->query || !rows->out || rows->query_stride < width || rows->out_stride < width) return FV_ERROR_ARGUMENT;
    fv_attention_call *call = &attention->call; /* field by field: a literal would pass by on the stack */
    call->attention = attention;
    call->cache = cache;
    call->policy = policy;
    call->parallel = parallel;
    call->setting.config = &attention->config.attend;
    call->setting.layout = &attention->layout;
    call->setting.kernels = attention->kernels;
    call->setting.cache = cache;
    call->setting.query_stride = rows->query_stride;
    call->failed = FV_OK;
    call->local_window = rows->local_window;
    call->layer = rows->layer;
    call->chooses = fv_policy_chooses(policy) && !rows->local_window;
    call->tallied = true;
    call->first_token = rows->first_token;
    call->read_from = 0;
    call->rows = rows->count;
    call->query = rows->query;
    call->query_stride = rows->query_stride;
    call->out = rows->out;
    call->out_stride = rows->out_stride;
#if FV_BUILD_EXCHANGE
    call->gathered = NULL;
#endif
#if FV_BUILD_STATE
    call->lse = rows->lse;
    call->lse_stride = rows->lse_stride;
#endif
    return FV_OK;
}

/* All rows, without a deadline. */
static fv_status call_read(fv_attention_call *call) {
#if FV_BUILD_EXCHANGE
    if (call->attention->ranks) return fv_ranks_run(call);
#endif
#if FV_BUILD_PROMPT
    if (call->rows > 1 || (call->chooses && call->policy->quality > 0.0f)) return fv_tiles_run(call);
#endif
    return fv_segments_run(call);
}

fv_status fv_attention_run(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                           const fv_attention_rows *rows, const fv_parallel *parallel, fv_report *report) {
    if (!fv_report_has_room(report)) return FV_ERROR_ARGUMENT;
    fv_status status = call_make(attention, cache, policy, rows, parallel);
    if (status != FV_OK) return status;
    fv_attention_call *call = &attention->call;
    if (!FV_BUILD_REPORT && report) return FV_ERROR_UNSUPPORTED;
#if FV_BUILD_DEADLINE
    if (rows->deadline) {
        call->watch = &attention->watch;
        *call->watch = (fv_watch){.deadline = rows->deadline};
        return fv_rounds_run(call, rows, report);
    }
#endif
    call->tallied = report || attention->observer;
    fv_counts_clear(attention);
    status = call_read(call);
    if (status != FV_OK) return status;
    if (!FV_BUILD_REPORT || !report) return FV_OK;
    fv_work_count *count = fv_counts_sum(attention);
    count->visible = fv_keys_visible(call, call->first_token, call->rows);
    fv_report_add(call, count, report);
    return FV_OK;
}

#if FV_BUILD_DEADLINE
fv_status fv_attention_run_watched(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                                   const fv_attention_rows *rows, const fv_parallel *parallel, fv_report *report,
                                   fv_watch *watch) {
    fv_status status = call_make(attention, cache, policy, rows, parallel);
    if (status != FV_OK) return status;
    attention->call.watch = watch;
    return fv_rounds_run(&attention->call, rows, report);
}
#endif
