/* Attention until a deadline: rounds of keys, between which the clock is looked at. */
#include "attention/rounds.h"
#include "attention/row_choice.h"
#include "attention/segments.h"
#include "attention/tally.h"
#include "attention/watch.h"
#include "numeric/half.h"

#if FV_BUILD_DEADLINE

static uint64_t span_keys(const fv_plan *plan, uint32_t from, uint32_t to) {
    uint64_t keys = 0;
    for (uint32_t s = 0; s < plan->count; s++)
        if (plan->steps[s].kind == FV_STEP_SPAN) keys += fv_step_keys(plan, &plan->steps[s], from, to);
    return keys;
}

static uint64_t gathered_keys(const fv_plan *plan, bool landmarks) {
    uint64_t keys = 0;
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        for (uint32_t i = step->row_begin; i < step->row_end; i++) {
            if (step->kind == FV_STEP_DIAG) keys += step->ahead || plan->first_token + i >= step->begin;
            if (step->kind == FV_STEP_MARK && landmarks) keys += step->end - step->begin;
        }
    }
    return keys;
}

/* Plans that differ: one stands for all heads unless they choose. */
static uint32_t plan_heads(const fv_attention_call *call) {
    return call->chooses ? call->attention->config.attend.kv_heads : 1;
}

static uint64_t plans_span_keys(const fv_attention_call *call, uint32_t from, uint32_t to) {
    uint64_t keys = 0;
    for (uint32_t head = 0; head < plan_heads(call); head++) keys += span_keys(&call->attention->plans[head], from, to);
    return keys;
}

static void round_task(void *context, size_t task, size_t worker) {
    const fv_attention_call *call = (const fv_attention_call *)context;
    fv_attention *attention = call->attention;
    uint32_t count = call->round_count ? call->round_count : 1, head = (uint32_t)(task / count);
    fv_attend_job *run = fv_call_begin(call, &attention->plans[head], head, 0, worker);
    if (!call->round_count) {
        fv_attend_segment(run, fv_row_state(call, head, call->segments - 1), 0, true);
        return;
    }
    uint32_t segment = call->round_first + (uint32_t)(task % count);
    uint32_t begin = segment * FV_SEGMENT_TOKENS, end = begin + FV_SEGMENT_TOKENS;
    fv_token_range tokens = {begin, end, end, head};
    if (segment + 1 == call->round_first + count) { /* then comes the next head */
        tokens.ahead = call->round_first * FV_SEGMENT_TOKENS;
        if (++tokens.ahead_head == attention->config.attend.kv_heads) /* or what is older, all of it if there is time */
            tokens.ahead = tokens.ahead_head = 0;
    }
    fv_attend_spans(run, fv_row_state(call, head, segment - call->first_segment), &tokens);
}

static uint64_t round_keys(const fv_attention_call *call) {
    if (!call->round_count)
        return gathered_keys(&call->attention->plans[0], true); /* plans that choose gather nothing */
    return plans_span_keys(call, call->round_first * FV_SEGMENT_TOKENS,
                           (call->round_first + call->round_count) * FV_SEGMENT_TOKENS);
}

static void round_read(fv_attention_call *call) {
    fv_watch *watch = call->watch;
    size_t heads = call->attention->config.attend.kv_heads;
    watch->progress.checkpoint = FV_CHECKPOINT_DOT_PRODUCT;
#if FV_BUILD_STATE
    if (fv_call_executor(call))
        fv_states_execute(call, call->round_first, call->round_count, !call->round_count);
    else
#endif
        fv_parallel_run(call->parallel, heads * (call->round_count ? call->round_count : 1), round_task, call);
    uint64_t keys = round_keys(call);
    watch->progress.keys_read += keys;
    watch->tokens_read += call->round_count ? keys : gathered_keys(&call->attention->plans[0], false);
    if (call->round_count) call->read_from = call->round_first * FV_SEGMENT_TOKENS;
}

/* Looks at the clock and reads the segments end-count..end-1, or tells that it is too late. A round of no keys is not
 * worth a look. */
static bool round_run(fv_attention_call *call, uint32_t end, uint32_t count) {
    call->round_first = end - count;
    call->round_count = count;
    if (round_keys(call) == 0) return true;
    if (fv_watch_is_over(call->watch)) return false;
    round_read(call);
    return true;
}

/* Segments of the next round: as many as a quarter of the time that is left is enough for, if all their keys are read
 * at the speed of those since call->begin_ns. */
static uint32_t round_segments(const fv_attention_call *call, uint32_t least, uint32_t most) {
    const fv_watch *watch = call->watch;
    uint64_t now = watch->progress.elapsed_ns, left = watch->deadline->end_ns - watch->start_ns - now;
    uint64_t keys = watch->progress.keys_read - call->keys_before;
    float whole = (float)FV_SEGMENT_TOKENS * (float)call->plan_rows * (float)plan_heads(call);
    float segments = (float)(left / 4) * (float)keys / ((float)(now - call->begin_ns + 1) * whole);
    return segments >= (float)most ? most : segments > (float)least ? (uint32_t)segments : least;
}

static void states_clear(const fv_attention_call *call) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t rows = call->plan_rows * (size_t)fv_attend_group(attend);
    for (uint32_t head = 0; head < attend->kv_heads; head++)
        for (uint32_t segment = 0; segment < call->segments; segment++)
            fv_state_clear(fv_row_state(call, head, segment), rows, attend->head_dim);
}

/* All rounds of a plan: the newest segments, what is gathered, then the older segments. Whether there was time for
 * all. */
static bool rounds_run(fv_attention_call *call) {
    uint32_t workers = call->parallel && call->parallel->workers > 1 ? call->parallel->workers : 1;
    states_clear(call);
    call->read_from = UINT32_MAX;
    uint32_t first = call->first_segment, end = first + call->segments - 1;
    uint32_t count = workers < end - first ? workers : end - first;
    call->keys_before = call->watch->progress.keys_read;
    if (count && !round_run(call, end, count)) return false;
    call->begin_ns = call->watch->progress.elapsed_ns;
    if (!round_run(call, end, 0)) return false;
    for (end -= count; end > first; end -= count) {
        count = workers < end - first ? workers : end - first;
        call->round_first = end - count;
        call->round_count = count;
        if (round_keys(call) == 0) continue;
        if (fv_watch_is_over(call->watch)) return false;
        count = round_segments(call, count, end - first);
        call->round_first = end - count;
        call->round_count = count;
        round_read(call);
    }
    call->read_from = 0;
    return true;
}

/* The rows of the plans. */
static fv_status watched_rows(fv_attention_call *call) {
    fv_watch *watch = call->watch;
    bool whole = rounds_run(call), fail = watch->deadline->on_deadline == FV_DEADLINE_FAIL;
    if (whole && !fv_watch_is_over(watch)) watch->progress.checkpoint = FV_CHECKPOINT_SOFTMAX;
    if (call->failed != FV_OK) return call->failed;
    if (fail && watch->progress.expired) return FV_ERROR_DEADLINE;
    fv_states_merge(call);
    if (fv_watch_is_over(watch) && fail) return FV_ERROR_DEADLINE;
    fv_states_write(call);
    fv_phase_end_read_all(call->attention, call->parallel);
    if (whole) watch->progress.rows_complete += call->plan_rows;
    return FV_OK;
}

/* The next rows to read together: as many as there is room for, of one tile. */
static fv_plan_view watched_view(const fv_attention_call *call, uint32_t done) {
    uint32_t begin = call->first_token + done, most = call->attention->config.state_rows, rows = call->rows - done;
    if (!most || call->chooses) most = 1;
    if (most > FV_TILE_ROWS - begin % FV_TILE_ROWS) most = FV_TILE_ROWS - begin % FV_TILE_ROWS;
    return (fv_plan_view){.first_token = begin,
                          .rows = rows < most ? rows : most,
                          .local_window = call->local_window,
                          .tokens = call->cache->tokens};
}

/* Writes the plans once, to know that they can be made and how many keys they read. Those that choose are made and
 * counted row by row: choosing takes time, too. */
static fv_status watched_plan(fv_attention_call *call) {
    uint64_t planned = 0;
    if (call->chooses) return FV_OK;
    const fv_plan *plan = &call->attention->plans[0];
    for (uint32_t done = 0; done < call->rows; done += plan->rows) {
        call->view = watched_view(call, done);
        fv_status status = fv_plans_make(call);
        if (status != FV_OK) return status;
        planned += span_keys(plan, 0, UINT32_MAX) + gathered_keys(plan, true);
    }
    call->watch->progress.keys_planned += planned;
    return FV_OK;
}

/* amount * part / whole, part <= whole, rounded down; a whole of 2^32 and more loses its last bits. */
static uint64_t part_of(uint64_t amount, uint64_t part, uint64_t whole) {
    uint64_t parts = amount / whole * part, rest = amount % whole;
    for (; whole >> 32; whole /= 2) part /= 2, rest /= 2;
    return parts + rest * part / whole;
}

/* Adds the rows of the plans, as far as they were read; the bytes then are in proportion. */
static void watched_count(const fv_attention_call *call) {
    fv_attention *attention = call->attention;
    fv_watch *watch = call->watch;
    const fv_plan *plan = &attention->plans[0];
    fv_work_count *count = fv_counts_sum(attention);
    uint64_t read = watch->tokens_read * (attention->config.attend.kv_heads / plan_heads(call));
    if (read < count->keys) count->bytes = part_of(count->bytes, read, count->keys);
    count->keys = read;
    count->visible = fv_keys_visible(call, plan->first_token, plan->rows);
    for (size_t i = 0; i < FV_REASON_COUNT; i++) count->by_reason[i] = 0;
    for (uint32_t head = 0; head < attention->config.attend.kv_heads; head++)
        fv_reasons_add(&attention->plans[head], call->read_from, count);
    fv_count_add(&attention->counted, count);
    watch->tokens_read = 0;
}

/* Rows until it is too late; how many are written. */
static fv_status watched_run(fv_attention_call *call, const fv_attention_rows *rows, bool counts, uint32_t *done) {
    fv_watch *watch = call->watch;
    while (*done < call->rows && !watch->progress.expired) {
        call->view = watched_view(call, *done);
        fv_counts_clear(call->attention);
        if (call->chooses && fv_watch_is_over(watch))
            return watch->deadline->on_deadline == FV_DEADLINE_FAIL ? FV_ERROR_DEADLINE : FV_OK;
        fv_plans_make(call);
        if (call->chooses) watch->progress.keys_planned += plans_span_keys(call, 0, UINT32_MAX);
        call->query = rows->query + *done * rows->query_stride;
        fv_status status = watched_rows(call);
        call->query = rows->query; /* of the first row, as those that choose count from there */
        if (status != FV_OK) return status;
        if (counts) {
            fv_plans_certify(call);
            watched_count(call);
        }
        *done += call->view.rows;
    }
    return FV_OK;
}

/* Rows from `done` on were not reached: zeros, of which a certificate says so. The last row's holds for all. */
static void rows_skip(fv_attention_call *call, uint32_t done) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t width = (size_t)attend->query_heads * attend->head_dim;
    for (uint32_t row = done; row < call->rows; row++)
        for (size_t c = 0; c < width; c++) call->out[row * call->out_stride + c] = 0.0f;
    for (uint32_t row = done; FV_BUILD_STATE && call->lse && row < call->rows; row++)
        for (size_t h = 0; h < attend->query_heads; h++)
            call->lse[row * call->lse_stride + h] = fv_f32_from_bits(0xFF800000); /* -infinity */
    if (!fv_call_certifies(call) || done == call->rows) return;
    call->view = watched_view(call, done);
    for (uint32_t head = 0; head < attend->kv_heads; head++) {
        fv_choosing *at = fv_choosing_make(call, &call->view, head, 0);
        fv_certify_nothing(fv_select_at(&at->rows, call->first_token + call->rows - 1), call->rows - done,
                           &call->attention->counted.certified);
    }
}

static bool is_late(fv_watch *watch) {
    return !watch->started && fv_watch_is_over(watch) && watch->deadline->on_deadline == FV_DEADLINE_FAIL;
}

fv_status fv_rounds_run(fv_attention_call *call, const fv_attention_rows *rows, fv_report *report) {
    fv_watch *watch = call->watch;
    if ((!FV_BUILD_REPORT && report) || (call->chooses && call->policy->quality > 0.0f)) return FV_ERROR_UNSUPPORTED;
    fv_status status = is_late(watch) ? FV_ERROR_DEADLINE : FV_OK;
    uint32_t done = 0;
    fv_counts_clear(call->attention);
    call->attention->counted = (fv_work_count){0};
    if (status == FV_OK && !watch->progress.expired) status = watched_plan(call);
    if (status == FV_OK) status = watched_run(call, rows, report != NULL, &done);
    if (rows->progress && (status == FV_OK || status == FV_ERROR_DEADLINE)) *rows->progress = watch->progress;
    if (status != FV_OK) return status;
    rows_skip(call, done);
    if (report) fv_report_add(call, &call->attention->counted, report);
    return FV_OK;
}

#endif
