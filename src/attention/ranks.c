/* A call over ranks: links of the cache, then unit by unit scores, choices, states. Every rank makes the same calls of
 * the exchange, as all that decides about them is known to all. */
#include "attention/ranks.h"
#include "attention/row_choice.h"
#include "attention/segments.h"
#include "attention/tally.h"
#include "cache/cache_ranks.h"

#if FV_BUILD_EXCHANGE

fv_status fv_ranks_check(const fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                         const fv_attention_rows *rows) {
    if (!fv_cache_suits_exchange(cache, attention->ranks->exchange)) return FV_ERROR_ARGUMENT;
    if (rows->deadline) return FV_ERROR_UNSUPPORTED;
    if (rows->local_window) return FV_OK;
    if (!fv_policy_divides(policy)) return FV_ERROR_UNSUPPORTED;
    return fv_policy_is_dynamic(policy) && fv_cache_link_next(cache) ? FV_ERROR_ARGUMENT : FV_OK;
}

/* --- scores ----------------------------------------------------------------------------------------------------- */

/* Whether any row of the unit chooses by scores. */
static bool scores_wanted(const fv_attention_call *call) {
    const fv_plan_view *view = &call->view;
    if (!call->chooses) return false;
    for (uint32_t head = 0; head < call->attention->config.attend.kv_heads; head++) {
        fv_choosing *at = fv_choosing_make(call, view, head, 0);
        for (uint32_t i = 0; i < view->rows; i++)
            if (fv_select_scores(&at->rows, view->first_token + i)) return true;
    }
    return false;
}

static void scores_task(void *context, size_t task, size_t worker) {
    const fv_attention_call *call = (const fv_attention_call *)context;
    const fv_gathered_scores *into = &call->attention->ranks->scores;
    fv_choosing *at = fv_choosing_make(call, &call->view, (uint32_t)task, worker);
    for (uint32_t position = into->first_token; position < at->rows.end;)
        position += fv_select_score(&at->rows, position, into);
}

static fv_status scores_gather(fv_attention_call *call) {
    fv_ranks *ranks = call->attention->ranks;
    const fv_attend_config *attend = &call->attention->config.attend;
    const fv_plan_view *view = &call->view;
    if (!scores_wanted(call)) return FV_OK;
    ranks->scores = (fv_gathered_scores){.all = (int32_t *)(void *)ranks->all,
                                         .offset = ranks->offset,
                                         .rank = ranks->exchange->rank,
                                         .ranks = ranks->exchange->ranks,
                                         .pages = (view->first_token + view->rows - 1) / FV_PAGE_TOKENS,
                                         .first_token = view->first_token,
                                         .rows = view->rows,
                                         .kv_heads = attend->kv_heads,
                                         .group = fv_attend_group(attend)};
    for (uint32_t r = 0; r < ranks->exchange->ranks; r++)
        ranks->bytes[r] = fv_gathered_count(&ranks->scores, r) * sizeof(int32_t);
    fv_ranks_place(ranks);
    fv_parallel_run(call->parallel, attend->kv_heads, scores_task, call);
    fv_status status = fv_ranks_gather(ranks);
    if (status == FV_OK) call->gathered = &ranks->scores;
    return status;
}

/* --- units ------------------------------------------------------------------------------------------------------ */

/* Adds rows to who reads which page: those of a plan, from row `first` of the unit on. */
static void readers_add(uint16_t *readers, const fv_plan *plan, uint32_t first) {
    for (uint32_t s = 0; s < plan->count; s++)
        for (uint32_t i = 0; i < plan->rows; i++) {
            const fv_step *step = &plan->steps[s];
            uint32_t end = fv_step_span_end(step, plan->first_token + i);
            for (uint32_t page = step->begin / FV_PAGE_TOKENS; page * FV_PAGE_TOKENS < end; page++)
                readers[page] = (uint16_t)(readers[page] | 1u << (first + i));
        }
}

/* The choices of all rows of the unit in one head. */
static void readers_task(void *context, size_t head, size_t worker) {
    const fv_attention_call *call = (const fv_attention_call *)context;
    fv_attention *attention = call->attention;
    fv_ranks *ranks = attention->ranks;
    fv_work_count *count = &attention->counts[worker];
    fv_plan *plan = &count->plan;
    const fv_plan_view *view = &call->view;
    uint16_t *readers = ranks->readers + head * ranks->reader_stride;
    fv_choosing *at = fv_choosing_make(call, view, (uint32_t)head, worker);
    at->tail_place = head;
    *plan = (fv_plan){
        .steps = (fv_step *)(void *)(attention->workers + worker * attention->worker_bytes + attention->attend_bytes),
        .capacity = attention->config.plan_steps};
    uint32_t end = at->rows.end, pages = (end - 1) / FV_PAGE_TOKENS + 1;
    for (uint32_t page = 0; page < pages; page++) readers[page] = 0;
    ranks->chosen[head] = 0;
    for (uint32_t position = view->first_token; position < end; position += plan->rows) {
        uint32_t row = position - view->first_token;
        if (fv_chosen_plan(at, position, worker, plan) != FV_OK) return; /* there is room for all */
        readers_add(readers, plan, row);
        if (plan->rows == 1) ranks->chosen[head] = (uint16_t)(ranks->chosen[head] | 1u << row);
        if (!FV_BUILD_REPORT) continue;
        if (plan->rows == 1)
            fv_plan_see(call, plan, (uint32_t)head, position - call->first_token, worker);
        else
            fv_plan_tally(call, plan, (uint32_t)head, position - call->first_token, worker);
    }
    for (uint32_t page = 0; page < pages; page++)
        if (readers[page] & ranks->chosen[head]) count->bytes += fv_cache_page_bytes(call->cache);
}

/* What every row of call->view reads, and reads it. */
static fv_status unit_run(fv_attention_call *call) {
    fv_attention *attention = call->attention;
    fv_ranks *ranks = attention->ranks;
    fv_phase_begin(attention, 0);
    call->gathered = NULL;
    fv_status status = scores_gather(call);
    if (status != FV_OK) return status;
    ranks->listed = call->chooses && call->rows > 1;
    if (ranks->listed) fv_parallel_run(call->parallel, attention->config.attend.kv_heads, readers_task, call);
    fv_phase_end_choose_all(attention, call->parallel);
    if (!ranks->listed) status = fv_plans_make(call);
    if (status == FV_OK) status = fv_ranks_read(call);
    fv_phase_end_read_all(attention, call->parallel);
    return status;
}

fv_status fv_ranks_run(fv_attention_call *call) {
    const fv_ranks *ranks = call->attention->ranks;
    uint32_t most = fv_call_tile_rows(call), end = call->first_token + call->rows;
    fv_status status = FV_OK;
    for (uint32_t first = call->first_token, stop; first < end && status == FV_OK; first = stop) {
        stop = (first / most + 1) * most; /* tiles begin where they do without ranks */
        if (call->chooses && stop - first > ranks->unit_rows) stop = first + ranks->unit_rows;
        if (stop > end) stop = end;
        call->view = (fv_plan_view){.first_token = first,
                                    .rows = stop - first,
                                    .local_window = call->local_window,
                                    .tokens = call->cache->tokens};
        status = unit_run(call);
    }
    return status;
}

#endif
