/* Composes selector and executor. A prompt is split into tiles x KV heads (tiles.c); a single row into KV heads x
 * segments (segments.c); with a deadline, any rows into rounds of keys, between which the clock is looked at
 * (rounds.c). A policy that chooses by the queries has a plan for each KV head, any other one for all. */
#include "fovea/attention.h"
#include "attention/rounds.h"
#include "attention/segments.h"
#include "attention/tally.h"
#include "attention/tiles.h"

fv_status fv_attention_run(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                           const fv_attention_rows *rows, const fv_parallel *parallel, fv_report *report) {
    if (!fv_report_has_room(report)) return FV_ERROR_ARGUMENT;
    fv_status status = fv_call_make(attention, cache, policy, rows, parallel);
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
    fv_counts_clear(attention);
    if (!FV_BUILD_PROMPT || (call->rows == 1 && !(call->chooses && policy->quality > 0.0f)))
        status = fv_segments_run(call);
#if FV_BUILD_PROMPT
    else
        status = fv_tiles_run(call);
#endif
    if (status != FV_OK) return status;
    if (!FV_BUILD_REPORT || !report) return FV_OK;
    fv_work_count *count = fv_counts_sum(attention);
    count->visible = fv_keys_visible(call, call->first_token, call->rows);
    fv_report_add(call, count, report);
    return FV_OK;
}
