/* A row over segments. The plans come first, one for each KV head that chooses. */
#include "attention/segments.h"
#include "attention/row_choice.h"
#include "attention/tally.h"

/* attention->plans of one row that chooses. */
static void plans_task(void *context, size_t task, size_t worker) {
    const fv_attention_call *call = (const fv_attention_call *)context;
    fv_attention *attention = call->attention;
    fv_choosing *at = fv_choosing_make(call, &call->view, (uint32_t)task, worker);
    at->tail_place = task;
    fv_chosen_plan(at, call->view.first_token, worker, &attention->plans[task]);
    fv_plan_note(call, &attention->plans[task], (uint32_t)task, call->view.first_token - call->first_token, worker);
}

/* The segments that any of the plans reads. */
static void plans_segments(fv_attention_call *call) {
    uint32_t heads = call->chooses ? call->attention->config.attend.kv_heads : 1, low = UINT32_MAX, high = 0;
    for (uint32_t head = 0; head < heads; head++) {
        uint32_t first, end;
        fv_attend_segments(&call->attention->plans[head], &first, &end);
        if (first < low) low = first;
        if (end > high) high = end;
    }
    call->first_segment = low;
    call->segments = high - low + 1;
}

fv_status fv_plans_make(fv_attention_call *call) {
    fv_attention *attention = call->attention;
    call->plan_rows = call->view.rows;
    for (size_t head = 0; head < attention->config.attend.kv_heads; head++) {
        unsigned char *steps =
            (unsigned char *)attention->row_steps + (call->chooses ? head : 0) * attention->step_bytes;
        attention->plans[head] = (fv_plan){.steps = (fv_step *)(void *)steps, .capacity = attention->config.plan_steps};
    }
    fv_phase_begin(attention, 0);
    if (FV_BUILD_CHOOSE && call->chooses) {
        fv_parallel_run(call->parallel, attention->config.attend.kv_heads, plans_task, call);
        fv_phase_end_choose_all(attention, call->parallel);
    } else {
        fv_status status = fv_policy_plan(call->policy, &call->view, &attention->plans[0]);
        if (status != FV_OK) return status;
        for (size_t head = 0; head < attention->config.attend.kv_heads; head++) {
            attention->plans[head] = attention->plans[0];
            fv_plan_note(call, &attention->plans[head], (uint32_t)head, call->view.first_token - call->first_token, 0);
        }
    }
    plans_segments(call);
    return FV_OK;
}

fv_state fv_row_state(const fv_attention_call *call, size_t kv_head, size_t segment) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t rows = call->plan_rows * (size_t)fv_attend_group(attend);
    size_t floats = fv_state_floats(rows, attend->head_dim);
    return fv_state_at(call->attention->states + (kv_head * (call->attention->segments + 1) + segment) * floats, rows,
                       attend->head_dim);
}

static void segment_task(void *context, size_t task, size_t worker) {
    const fv_attention_call *call = (const fv_attention_call *)context;
    uint32_t kv_head = (uint32_t)(task / call->segments), segment = (uint32_t)(task % call->segments);
    fv_attend_job *run = fv_call_begin(call, &call->attention->plans[kv_head], kv_head, 0, worker);
    fv_attend_segment(run, fv_row_state(call, kv_head, segment), call->first_segment + segment,
                      segment == call->segments - 1);
}

#if FV_BUILD_STATE
void fv_states_execute(fv_attention_call *call, uint32_t first_segment, uint32_t segments, uint32_t gathered) {
    fv_attention *attention = call->attention;
    const fv_attend_config *attend = &attention->config.attend;
    fv_execution *execution = &attention->counts[0].execution;
    execution->config = attend;
    execution->cache = call->cache;
    execution->plans = attention->plans;
    execution->first_head = 0;
    execution->heads = attend->kv_heads;
    execution->query = call->query;
    execution->query_stride = call->query_stride;
    execution->first_segment = first_segment;
    execution->segments = segments;
    execution->gathered = gathered;
    execution->part_stride = fv_state_floats(call->plan_rows * (size_t)fv_attend_group(attend), attend->head_dim);
    execution->head_stride = (attention->segments + (size_t)1) * execution->part_stride;
    execution->states = fv_row_state(call, 0, segments ? first_segment - call->first_segment : call->segments - 1).out;
    execution->parallel = call->parallel;
    execution->worker = 0;
    fv_status status = attention->config.executor->run(attention->config.executor->self, execution);
    if (status != FV_OK) call->failed = status;
}
#endif

void fv_states_merge(const fv_attention_call *call) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t rows = call->plan_rows * (size_t)fv_attend_group(attend);
    for (uint32_t head = 0; head < attend->kv_heads; head++) {
        fv_state total = fv_row_state(call, head, 0);
        for (uint32_t segment = 1; segment < call->segments; segment++) {
            fv_state part = fv_row_state(call, head, segment);
            fv_state_merge_by(call->setting.kernels, &total, &part, rows, attend->head_dim);
        }
        if (fv_call_has_tail(call)) fv_tails_merge(call, &total, &call->attention->plans[head], head);
    }
}

void fv_states_write(const fv_attention_call *call) {
    size_t row = call->view.first_token - call->first_token;
    for (uint32_t head = 0; head < call->attention->config.attend.kv_heads; head++) {
        fv_state total = fv_row_state(call, head, 0);
        fv_call_write(call, &total, call->plan_rows, head, row);
    }
}

/* The scores of the plans' row are made once more: by now other heads' are in the scratch. Where time was short, all
 * that the plan had in mind may be unread, sinks and window too. */
static void certify_task(void *context, size_t task, size_t worker) {
    const fv_attention_call *call = (const fv_attention_call *)context;
    fv_certified *into = &call->attention->counts[worker].certified;
    const fv_plan *plan = &call->attention->plans[task];
    fv_choosing *at = fv_choosing_make(call, &call->view, (uint32_t)task, worker);
    if (call->read_from > plan->first_token) {
        fv_certify_nothing(fv_select_at(&at->rows, plan->first_token), 1, into);
        return;
    }
    fv_select_again(&at->rows, plan, call->read_from);
    fv_choosing_certify(at, fv_row_state(call, task, 0), &at->made);
    if (call->read_from) at->made.relative_estimate *= FV_CERTIFICATE_CUT;
    fv_certified_add(into, &at->made);
}

void fv_plans_certify(fv_attention_call *call) {
    if (!fv_call_certifies(call)) return;
    fv_parallel_run(call->parallel, call->attention->config.attend.kv_heads, certify_task, call);
    fv_phase_end_choose_all(call->attention, call->parallel);
}

fv_status fv_segments_run(fv_attention_call *call) {
    fv_call_tile(call, 0, &call->view);
    fv_status status = fv_plans_make(call);
    if (status != FV_OK) return status;
#if FV_BUILD_STATE
    if (fv_call_executor(call)) {
        fv_states_execute(call, call->first_segment, call->segments - 1, 1);
        if (call->failed != FV_OK) return call->failed;
    } else
#endif
        fv_parallel_run(call->parallel, (size_t)call->attention->config.attend.kv_heads * call->segments, segment_task,
                        call);
    fv_states_merge(call);
    fv_states_write(call);
    fv_phase_end_read_all(call->attention, call->parallel);
    fv_plans_certify(call);
    return FV_OK;
}
