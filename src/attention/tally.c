/* Counts of a call, and its report. */
#include "attention/tally.h"

static uint64_t common(uint64_t begin, uint64_t end, uint64_t from, uint64_t to) {
    if (begin < from) begin = from;
    if (end > to) end = to;
    return begin < end ? end - begin : 0;
}

uint64_t fv_step_keys(const fv_plan *plan, const fv_step *step, uint32_t from, uint32_t to) {
    uint64_t keys = 0;
    for (uint32_t i = step->row_begin; i < step->row_end; i++) {
        uint32_t position = plan->first_token + i;
        keys += common(fv_step_span_begin(step, position), fv_step_span_end(step, position), from, to);
    }
    return keys;
}

void fv_reasons_add(const fv_plan *plan, uint32_t from, fv_work_count *count) {
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        if (step->kind == FV_STEP_SPAN) count->by_reason[step->reason] += fv_step_keys(plan, step, from, UINT32_MAX);
    }
}

static void plan_see(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t row, size_t worker) {
    fv_attention *attention = call->attention;
    fv_work_count *count = &attention->counts[worker];
    for (uint32_t i = 0; i < plan->rows; i++) count->keys += fv_plan_row_keys(plan, i);
    fv_reasons_add(count->parts ? count->parts[0] : plan, 0, count);
    if (count->parts) fv_reasons_add(count->parts[1], 0, count);
    count->parts = NULL;
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

#if FV_BUILD_LISTS
void fv_plan_see(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t row, size_t worker) {
    plan_see(call, plan, kv_head, row, worker);
}
#endif

void fv_plan_tally(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t row, size_t worker) {
    plan_see(call, plan, kv_head, row, worker);
    call->attention->counts[worker].bytes += fv_attend_bytes(call->cache, plan);
}

void fv_count_add(fv_work_count *into, const fv_work_count *from) {
    into->keys += from->keys;
    for (size_t i = 0; i < FV_REASON_COUNT; i++) into->by_reason[i] += from->by_reason[i];
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
    report->selected_keys += count->by_reason[FV_REASON_CHOSEN];
    if (call->local_window) {
        report->local_keys += count->keys;
    } else {
        report->keys_read += count->keys;
        report->keys_visible += count->visible;
    }
    if (report->struct_bytes < sizeof *report) return;
    if (!call->local_window) {
        report->sink_keys += count->by_reason[FV_REASON_SINK] + count->by_reason[FV_REASON_GLOBAL];
        report->window_keys += count->by_reason[FV_REASON_WINDOW];
        report->whole_keys += count->by_reason[FV_REASON_WHOLE];
    }
    report->choose_ns += count->choose_ns;
    report->read_ns += count->read_ns;
}
