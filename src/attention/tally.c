/* Counts of a call, and its report. */
#include "attention/tally.h"
#include "attention/row_choice.h"

static uint64_t common(uint64_t begin, uint64_t end, uint64_t from, uint64_t to) {
    if (begin < from) begin = from;
    if (end > to) end = to;
    return begin < end ? end - begin : 0;
}

uint64_t fv_step_keys(const fv_plan *plan, const fv_step *step, uint32_t from, uint32_t to) {
    uint64_t keys = 0;
    for (uint32_t i = step->row_begin; i < step->row_end; i++) {
        uint32_t position = plan->first_token + i, begin = step->begin;
        if (step->window && position + 1 > step->window && begin < position + 1 - step->window)
            begin = position + 1 - step->window;
        keys += common(begin, fv_step_span_end(step, position), from, to);
    }
    return keys;
}

static bool is_global(const fv_policy *policy, uint32_t token) {
    for (uint32_t i = 0; i < policy->globals_count; i++)
        if (policy->globals[i] == token) return true;
    return false;
}

/* Why the tokens from `from` on of a plan by position are read. */
static void reasons_by_position(const fv_policy *policy, const fv_plan *plan, uint32_t from, fv_work_count *count) {
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        if (step->kind != FV_STEP_SPAN) continue;
        uint64_t keys = fv_step_keys(plan, step, from, UINT32_MAX);
        if (policy->selector == FV_SELECTOR_DENSE)
            count->whole += keys;
        else if (step->window || (policy->selector == FV_SELECTOR_PATTERN && !is_global(policy, step->begin)))
            count->window += keys;
        else
            count->sinks += keys;
    }
}

/* The same of a plan by the queries. Rows that read all are one span. */
static void reasons_by_query(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, uint32_t from,
                             fv_work_count *count) {
    fv_chooser chooser;
    fv_call_chooser(call, kv_head, plan->first_token, &chooser);
    bool whole = plan->count == 1 && plan->steps[0].begin == 0;
    if (!whole && from == 0) { /* as fv_choose_plan() makes them */
        for (uint32_t row = 0; row < plan->rows; row++) {
            uint32_t position = plan->first_token + row;
            if (row) fv_call_chooser(call, kv_head, position, &chooser);
            uint64_t sinks = chooser.sinks_end, window = position + 1 - chooser.window_begin;
            count->sinks += sinks;
            count->window += window;
            count->selected += fv_plan_row_keys(plan, row) - sinks - window;
        }
        return;
    }
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        uint64_t keys = fv_step_keys(plan, step, from, UINT32_MAX);
        if (whole) {
            count->whole += keys;
            continue;
        }
        uint64_t sinks = fv_step_keys(plan, step, from, chooser.sinks_end);
        uint64_t window =
            fv_step_keys(plan, step, chooser.window_begin > from ? chooser.window_begin : from, UINT32_MAX);
        count->sinks += sinks;
        count->window += window;
        count->selected += keys - sinks - window;
    }
}

void fv_reasons_add(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, uint32_t from,
                    fv_work_count *count) {
    if (call->local_window) return;
    if (FV_BUILD_CHOOSE && call->chooses)
        reasons_by_query(call, plan, kv_head, from, count);
    else
        reasons_by_position(call->policy, plan, from, count);
}

void fv_plan_tally(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t row, size_t worker) {
    fv_attention *attention = call->attention;
    fv_work_count *count = &attention->counts[worker];
    for (uint32_t i = 0; i < plan->rows; i++) count->keys += fv_plan_row_keys(plan, i);
    fv_reasons_add(call, plan, kv_head, 0, count);
    count->bytes += fv_attend_bytes(call->cache, plan);
    if (!attention->observer) return;
    fv_attention_seen seen = {.attend = &attention->config.attend,
                              .kernels = attention->kernels,
                              .cache = call->cache,
                              .plan = plan,
                              .layer = call->layer,
                              .kv_head = kv_head,
                              .local_window = call->local_window,
                              .query = call->query + row * call->query_stride,
                              .query_stride = call->query_stride};
    attention->observer(attention->observer_context, &seen, worker);
}

void fv_count_add(fv_work_count *into, const fv_work_count *from) {
    into->keys += from->keys;
    into->sinks += from->sinks;
    into->window += from->window;
    into->selected += from->selected;
    into->whole += from->whole;
    into->bytes += from->bytes;
    into->visible += from->visible;
    into->choose_ns += from->choose_ns;
    into->read_ns += from->read_ns;
    if (FV_BUILD_CERTIFICATE) fv_certified_add(&into->certified, &from->certified);
}

fv_work_count *fv_counts_sum(fv_attention *attention) {
    for (uint32_t i = 1; i < attention->config.workers; i++) fv_count_add(&attention->counts[0], &attention->counts[i]);
    return &attention->counts[0];
}

uint64_t fv_keys_visible(const fv_attention_call *call, uint64_t first_token, uint64_t rows) {
    uint64_t heads = call->attention->config.attend.kv_heads;
    if (!call->policy->causal) return heads * rows * call->cache->tokens;
    return heads * (rows * first_token + rows * (rows + 1) / 2);
}

/* `into` is NaN as long as nothing was certified. */
static void report_worst(float *into, float value) {
    if (!(*into >= value)) *into = value;
}

static void report_certified(const fv_certified *certified, fv_report *report) {
    if (!certified->rows) return;
    report_worst(&report->error_bound, certified->error_bound);
    report_worst(&report->relative_bound, certified->relative_bound);
    report_worst(&report->relative_estimate, certified->relative_estimate);
    report->certified_rows += certified->rows;
    report->vacuous_rows += certified->vacuous;
    report->whole_rows += certified->whole;
}

void fv_report_add(const fv_attention_call *call, const fv_work_count *count, fv_report *report) {
    if (FV_BUILD_CERTIFICATE) report_certified(&count->certified, report);
    report->isa = fv_kernels_isa(call->attention->kernels);
    report->bytes_read += count->bytes;
    report->selected_keys += count->selected;
    if (call->local_window) {
        report->local_keys += count->keys;
    } else {
        report->keys_read += count->keys;
        report->keys_visible += count->visible;
    }
    if (report->struct_bytes < sizeof *report) return;
    report->sink_keys += count->sinks;
    report->window_keys += count->window;
    report->whole_keys += count->whole;
    report->choose_ns += count->choose_ns;
    report->read_ns += count->read_ns;
}
