/* Composes selector and executor. A prompt is split into tiles x KV heads; a single row into KV heads x segments; with
 * a deadline, any rows into rounds of keys, between which the clock is looked at. */
#include "fovea/attention.h"
#include "attend/attend_state.h"
#include "attention/watch.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "size.h"

struct fv_attention {
    fv_attention_config config;
    const fv_kernels *kernels;
    size_t worker_bytes, attend_bytes;
    unsigned char *workers; /* per worker: attend's scratch, then plan steps */
    float *states;          /* [kv_heads][segments + 1] states of state_rows rows */
    fv_step *row_steps;     /* the plan of a single row */
    uint32_t segments;
};

typedef struct attention_layout {
    size_t worker_offset, worker_bytes, attend_bytes, state_offset, step_offset, bytes;
    uint32_t segments;
} attention_layout;

static fv_status attention_layout_make(const fv_attention_config *config, attention_layout *out) {
    if (!config || config->workers < 1 || config->workers > 1024 || config->max_tokens < 1) return FV_ERROR_ARGUMENT;
    if (config->plan_steps < 1 || config->plan_steps > 1u << 24 || config->state_rows > fv_attend_rows(&config->attend))
        return FV_ERROR_ARGUMENT;
    attention_layout layout = {.bytes = (sizeof(fv_attention) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN};
    fv_status status = fv_attend_size(&config->attend, &layout.attend_bytes);
    if (status != FV_OK) return status;
    size_t group = config->attend.query_heads / config->attend.kv_heads, states = 0;
    size_t state_rows = group * (config->state_rows ? config->state_rows : 1);
    layout.segments = (config->max_tokens - 1) / FV_SEGMENT_TOKENS + 1;
    layout.worker_bytes = layout.attend_bytes;
    if (!fv_size_add(&layout.worker_bytes, config->plan_steps, sizeof(fv_step), FV_CACHE_ALIGN) ||
        !fv_size_add(&states, config->attend.kv_heads, layout.segments + 1, 1))
        return FV_ERROR_OVERFLOW;
    layout.worker_offset = layout.bytes;
    if (!fv_size_add(&layout.bytes, config->workers, layout.worker_bytes, FV_CACHE_ALIGN)) return FV_ERROR_OVERFLOW;
    layout.state_offset = layout.bytes;
    if (state_rows > SIZE_MAX / sizeof(float) / fv_state_floats(1, config->attend.head_dim) ||
        !fv_size_add(&layout.bytes, states, fv_state_floats(state_rows, config->attend.head_dim) * sizeof(float),
                     FV_CACHE_ALIGN))
        return FV_ERROR_OVERFLOW;
    layout.step_offset = layout.bytes;
    if (!fv_size_add(&layout.bytes, config->plan_steps, sizeof(fv_step), FV_CACHE_ALIGN)) return FV_ERROR_OVERFLOW;
    *out = layout;
    return FV_OK;
}

fv_status fv_attention_size(const fv_attention_config *config, size_t *bytes) {
    attention_layout layout;
    fv_status status = attention_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = layout.bytes;
    return FV_OK;
}

fv_status fv_attention_init(fv_attention **attention, const fv_attention_config *config, const fv_kernels *kernels,
                            void *memory, size_t bytes) {
    attention_layout layout;
    fv_status status = attention_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!attention || !kernels) return FV_ERROR_ARGUMENT;
    if (!memory || bytes < layout.bytes || (uintptr_t)memory % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    unsigned char *base = memory;
    fv_attention *made = memory;
    *made = (fv_attention){.config = *config,
                           .kernels = kernels,
                           .worker_bytes = layout.worker_bytes,
                           .attend_bytes = layout.attend_bytes,
                           .workers = base + layout.worker_offset,
                           .states = (float *)(void *)(base + layout.state_offset),
                           .row_steps = (fv_step *)(void *)(base + layout.step_offset),
                           .segments = layout.segments};
    *attention = made;
    return FV_OK;
}

/* One call's arguments, shared by its tasks. */
typedef struct attention_call {
    fv_attention *attention;
    const fv_cache *cache;
    const fv_select_config *policy;
    fv_plan plan; /* of a single row, or of those read together until a deadline */
    uint32_t local_window, first_token, rows;
    uint32_t first_segment, segments; /* of that plan; the last one is the gathered keys */
    const float *query;
    size_t query_stride;
    float *out;
    size_t out_stride;
} attention_call;

static uint32_t tile_rows(const attention_call *call) { return fv_attend_rows(&call->attention->config.attend); }

/* Tiles begin at absolute multiples of their rows, wherever the batch begins. */
static fv_select_view tile_view(const attention_call *call, uint32_t tile) {
    uint32_t most = tile_rows(call), end = call->first_token + call->rows,
             begin = (call->first_token / most + tile) * most;
    uint32_t stop = begin + most < end ? begin + most : end;
    if (begin < call->first_token) begin = call->first_token;
    return (fv_select_view){
        .first_token = begin, .rows = stop - begin, .local_window = call->local_window, .tokens = call->cache->tokens};
}

static uint32_t tile_count(const attention_call *call) {
    return (call->first_token + call->rows - 1) / tile_rows(call) - call->first_token / tile_rows(call) + 1;
}

#if FV_BUILD_PROMPT
static void tile_task(void *context, size_t task, size_t worker) {
    const attention_call *call = context;
    fv_attention *attention = call->attention;
    const fv_attend_config *attend = &attention->config.attend;
    unsigned char *scratch = attention->workers + worker * attention->worker_bytes;
    fv_plan plan = {.steps = (fv_step *)(void *)(scratch + attention->attend_bytes),
                    .capacity = attention->config.plan_steps};
    uint32_t tiles =
        tile_count(call); /* one head after the other: what neighbouring tiles read stays in the L2 cache */
    fv_select_view view = tile_view(call, (uint32_t)(task % tiles));
    if (fv_select_plan(call->policy, &view, &plan) != FV_OK) return; /* cannot happen: the call was checked */
    size_t row = view.first_token - call->first_token;
    fv_attend_tile(attend, attention->kernels, call->cache, &plan, (uint32_t)(task / tiles),
                   call->query + row * call->query_stride, call->query_stride, call->out + row * call->out_stride,
                   call->out_stride, scratch, attention->attend_bytes);
}
#endif

static fv_state row_state(const attention_call *call, size_t kv_head, size_t segment) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t rows = call->plan.rows * (size_t)(attend->query_heads / attend->kv_heads);
    size_t floats = fv_state_floats(rows, attend->head_dim);
    return fv_state_at(call->attention->states + (kv_head * (call->attention->segments + 1) + segment) * floats, rows,
                       attend->head_dim);
}

static void segment_task(void *context, size_t task, size_t worker) {
    const attention_call *call = context;
    fv_attention *attention = call->attention;
    uint32_t kv_head = (uint32_t)(task / call->segments), segment = (uint32_t)(task % call->segments);
    fv_attend_segment(&attention->config.attend, attention->kernels, call->cache, &call->plan, kv_head,
                      call->first_segment + segment, segment == call->segments - 1, call->query, call->query_stride,
                      row_state(call, kv_head, segment), attention->workers + worker * attention->worker_bytes);
}

/* The states merge in rising order, as fv_attend_tile() merges them: the split shows in no bit. Each total is in the
 * place of the first. */
static void states_merge(const attention_call *call) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t rows = call->plan.rows * (size_t)(attend->query_heads / attend->kv_heads);
    for (uint32_t head = 0; head < attend->kv_heads; head++)
        for (uint32_t segment = 1; segment < call->segments; segment++)
            fv_state_merge(row_state(call, head, 0), row_state(call, head, segment), rows, attend->head_dim);
}

static void states_finish(const attention_call *call, float *out) {
    const fv_attend_config *attend = &call->attention->config.attend;
    for (uint32_t head = 0; head < attend->kv_heads; head++)
        fv_state_finish(attend, row_state(call, head, 0), call->plan.rows, head, out, call->out_stride);
}

static void single_row(attention_call *call, const fv_parallel *parallel) {
    uint32_t end;
    fv_attend_segments(&call->plan, &call->first_segment, &end);
    call->segments = end - call->first_segment + 1;
    fv_parallel_run(parallel, (size_t)call->attention->config.attend.kv_heads * call->segments, segment_task, call);
    states_merge(call);
    states_finish(call, call->out);
}

static void report_add(const attention_call *call, const fv_plan *plan, fv_report *report) {
    uint64_t heads = call->attention->config.attend.kv_heads, read = 0, visible = 0;
    for (uint32_t row = 0; row < plan->rows; row++) {
        read += fv_plan_row_keys(plan, row);
        visible += call->policy->causal || call->local_window ? plan->first_token + row + 1 : call->cache->tokens;
    }
    report->isa = fv_kernels_isa(call->attention->kernels);
    report->bytes_read += heads * fv_attend_bytes(call->cache, plan);
    if (call->local_window) {
        report->local_keys += heads * read;
    } else {
        report->keys_read += heads * read;
        report->keys_visible += heads * visible;
    }
}

static fv_status call_check(const fv_attention *attention, const fv_cache *cache, const fv_select_config *policy,
                            const fv_attention_rows *rows, const fv_parallel *parallel) {
    if (!attention || !cache || !rows || rows->count < 1 || rows->count > cache->tokens) return FV_ERROR_ARGUMENT;
    if (rows->first_token > cache->tokens - rows->count) return FV_ERROR_ARGUMENT;
    const fv_attend_config *attend = &attention->config.attend;
    if (attend->kv_heads != cache->config.kv_heads || attend->head_dim != cache->config.head_dim)
        return FV_ERROR_ARGUMENT;
    if (cache->config.max_tokens > attention->config.max_tokens) return FV_ERROR_ARGUMENT;
    if (parallel && parallel->workers > attention->config.workers) return FV_ERROR_ARGUMENT;
    if (!FV_BUILD_PROMPT && rows->count > 1) return FV_ERROR_UNSUPPORTED;
    fv_status status = fv_select_check(policy);
    if (status != FV_OK || rows->local_window) return status;
    if (policy->selector == FV_SELECTOR_PATTERN && policy->landmarks && policy->block != cache->config.landmark_tokens)
        return FV_ERROR_ARGUMENT;
    uint32_t steps = fv_select_steps(policy, cache->config.max_tokens, fv_attend_rows(attend));
    return steps > attention->config.plan_steps ? FV_ERROR_FULL : FV_OK;
}

/* Checks everything but the plans. */
static fv_status call_make(fv_attention *attention, const fv_cache *cache, const fv_select_config *policy,
                           const fv_attention_rows *rows, const fv_parallel *parallel, attention_call *call) {
    fv_status status = call_check(attention, cache, policy, rows, parallel);
    if (status != FV_OK) return status;
    size_t width = (size_t)attention->config.attend.query_heads * attention->config.attend.head_dim;
    if (!rows->query || !rows->out || rows->query_stride < width || rows->out_stride < width) return FV_ERROR_ARGUMENT;
    *call = (attention_call){.attention = attention,
                             .cache = cache,
                             .policy = policy,
                             .plan = {.steps = attention->row_steps, .capacity = attention->config.plan_steps},
                             .local_window = rows->local_window,
                             .first_token = rows->first_token,
                             .rows = rows->count,
                             .query = rows->query,
                             .query_stride = rows->query_stride,
                             .out = rows->out,
                             .out_stride = rows->out_stride};
    return FV_OK;
}

fv_status fv_attention_run_rows(fv_attention *attention, const fv_cache *cache, const fv_select_config *policy,
                                const fv_attention_rows *rows, const fv_parallel *parallel, fv_report *report) {
    attention_call call;
    fv_status status = call_make(attention, cache, policy, rows, parallel, &call);
    if (status != FV_OK) return status;
    if (!FV_BUILD_REPORT && report) return FV_ERROR_UNSUPPORTED;
    uint32_t tiles = tile_count(&call);
    for (uint32_t tile = 0; tile < tiles; tile++) { /* also the check that every plan can be made, before any output */
        fv_select_view view = tile_view(&call, tile);
        status = fv_select_plan(policy, &view, &call.plan);
        if (status != FV_OK) return status;
        if (FV_BUILD_REPORT && report) report_add(&call, &call.plan, report);
    }
    if (!FV_BUILD_PROMPT || call.rows == 1) single_row(&call, parallel);
#if FV_BUILD_PROMPT
    else
        fv_parallel_run(parallel, (size_t)tiles * attention->config.attend.kv_heads, tile_task, &call);
#endif
    return FV_OK;
}

fv_status fv_attention_run(fv_attention *attention, const fv_cache *cache, const fv_select_config *policy,
                           uint32_t local_window, uint32_t rows, const float *query, size_t query_stride, float *out,
                           size_t out_stride, const fv_parallel *parallel, fv_report *report) {
    if (!cache || rows > cache->tokens) return FV_ERROR_ARGUMENT;
    fv_attention_rows last = {.first_token = cache->tokens - rows,
                              .count = rows,
                              .local_window = local_window,
                              .query = query,
                              .query_stride = query_stride,
                              .out = out,
                              .out_stride = out_stride};
    return fv_attention_run_rows(attention, cache, policy, &last, parallel, report);
}

#if FV_BUILD_DEADLINE
/* Tokens of a segment that are read between two looks at the clock. */
enum { ROUND_TOKENS = 512 };

/* The part of `count` neighbouring segments that is read next, for all KV heads; count 0: the gathered keys. */
typedef struct key_round {
    const attention_call *call;
    uint32_t first_segment, count, offset;
} key_round;

static uint64_t span_keys(const fv_plan *plan, uint32_t from, uint32_t to) {
    uint64_t keys = 0;
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        for (uint32_t i = step->row_begin; step->kind == FV_STEP_SPAN && i < step->row_end; i++) {
            uint32_t position = plan->first_token + i, begin = step->begin, end = fv_step_span_end(step, position);
            if (step->window && position + 1 > step->window && begin < position + 1 - step->window)
                begin = position + 1 - step->window;
            if (begin < from) begin = from;
            if (end > to) end = to;
            if (begin < end) keys += end - begin;
        }
    }
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

static void round_task(void *context, size_t task, size_t worker) {
    const key_round *round = context;
    const attention_call *call = round->call;
    fv_attention *attention = call->attention;
    void *scratch = attention->workers + worker * attention->worker_bytes;
    if (!round->count) {
        fv_attend_segment(&attention->config.attend, attention->kernels, call->cache, &call->plan, (uint32_t)task, 0,
                          true, call->query, call->query_stride, row_state(call, task, call->segments - 1), scratch);
        return;
    }
    uint32_t head = (uint32_t)(task / round->count), segment = round->first_segment + (uint32_t)(task % round->count);
    uint32_t begin = segment * FV_SEGMENT_TOKENS + round->offset;
    fv_attend_spans(&attention->config.attend, attention->kernels, call->cache, &call->plan, head, begin,
                    begin + ROUND_TOKENS, call->query, call->query_stride,
                    row_state(call, head, segment - call->first_segment), scratch);
}

/* Looks at the clock and reads, or tells that it is too late. A round of no keys is not worth a look. */
static bool round_run(key_round round, const fv_parallel *parallel, fv_watch *watch) {
    const fv_plan *plan = &round.call->plan;
    uint64_t keys = round.count ? 0 : gathered_keys(plan, true);
    for (uint32_t i = 0; i < round.count; i++) {
        uint32_t begin = (round.first_segment + i) * FV_SEGMENT_TOKENS + round.offset;
        keys += span_keys(plan, begin, begin + ROUND_TOKENS);
    }
    if (keys == 0) return true;
    if (fv_watch_is_over(watch)) return false;
    watch->progress.checkpoint = FV_CHECKPOINT_DOT_PRODUCT;
    size_t heads = round.call->attention->config.attend.kv_heads;
    fv_parallel_run(parallel, heads * (round.count ? round.count : 1), round_task, &round);
    watch->progress.keys_read += keys;
    watch->tokens_read += round.count ? keys : gathered_keys(plan, false);
    return true;
}

/* All rounds of a plan: the newest segments, what is gathered, then the older segments; within a segment in rising
 * order, as without a deadline. Whether there was time for all. */
static bool rounds_run(attention_call *call, const fv_parallel *parallel, fv_watch *watch) {
    const fv_attend_config *attend = &call->attention->config.attend;
    uint32_t first, end, workers = parallel && parallel->workers > 1 ? parallel->workers : 1;
    fv_attend_segments(&call->plan, &first, &end);
    call->first_segment = first;
    call->segments = end - first + 1;
    size_t rows = call->plan.rows * (size_t)(attend->query_heads / attend->kv_heads);
    for (uint32_t head = 0; head < attend->kv_heads; head++)
        for (uint32_t segment = 0; segment < call->segments; segment++)
            fv_state_clear(row_state(call, head, segment), rows, attend->head_dim);
    for (bool newest = true; newest || end > first; newest = false) {
        uint32_t count = workers < end - first ? workers : end - first;
        for (uint32_t offset = 0; count && offset < FV_SEGMENT_TOKENS; offset += ROUND_TOKENS)
            if (!round_run((key_round){call, end - count, count, offset}, parallel, watch)) return false;
        if (newest && !round_run((key_round){.call = call}, parallel, watch)) return false;
        end -= count;
    }
    return true;
}

/* The rows of call->plan. */
static fv_status watched_rows(attention_call *call, const fv_parallel *parallel, fv_watch *watch, float *out) {
    bool whole = rounds_run(call, parallel, watch), fail = watch->deadline->on_deadline == FV_DEADLINE_FAIL;
    if (whole && !fv_watch_is_over(watch)) watch->progress.checkpoint = FV_CHECKPOINT_SOFTMAX;
    if (fail && watch->progress.expired) return FV_ERROR_DEADLINE;
    states_merge(call);
    if (fv_watch_is_over(watch) && fail) return FV_ERROR_DEADLINE;
    states_finish(call, out);
    if (whole) watch->progress.rows_complete += call->plan.rows;
    return FV_OK;
}

/* The next rows to read together: as many as there is room for, of one tile. */
static fv_select_view watched_view(const attention_call *call, uint32_t done) {
    uint32_t begin = call->first_token + done, most = call->attention->config.state_rows, rows = call->rows - done;
    if (!most) most = 1;
    if (most > FV_TILE_ROWS - begin % FV_TILE_ROWS) most = FV_TILE_ROWS - begin % FV_TILE_ROWS;
    return (fv_select_view){.first_token = begin,
                            .rows = rows < most ? rows : most,
                            .local_window = call->local_window,
                            .tokens = call->cache->tokens};
}

/* Writes the plans once, to know that they can be made and how many keys they read. */
static fv_status watched_plan(attention_call *call, fv_watch *watch) {
    uint64_t planned = 0;
    for (uint32_t done = 0; done < call->rows; done += call->plan.rows) {
        fv_select_view view = watched_view(call, done);
        fv_status status = fv_select_plan(call->policy, &view, &call->plan);
        if (status != FV_OK) return status;
        planned += span_keys(&call->plan, 0, UINT32_MAX) + gathered_keys(&call->plan, true);
    }
    watch->progress.keys_planned += planned;
    return FV_OK;
}

/* Adds the rows of call->plan, as far as they were read; the bytes then are in proportion. */
static void watched_report(const attention_call *call, fv_watch *watch, fv_report *report) {
    fv_report rows = {0};
    report_add(call, &call->plan, &rows);
    uint64_t planned = rows.keys_read + rows.local_keys,
             read = watch->tokens_read * call->attention->config.attend.kv_heads;
    if (read < planned) rows.bytes_read = rows.bytes_read / planned * read;
    if (call->local_window)
        report->local_keys += read;
    else
        report->keys_read += read;
    report->keys_visible += rows.keys_visible;
    report->bytes_read += rows.bytes_read;
    watch->tokens_read = 0;
}

fv_status fv_attention_run_watched(fv_attention *attention, const fv_cache *cache, const fv_select_config *policy,
                                   const fv_attention_rows *rows, const fv_parallel *parallel, fv_report *report,
                                   fv_watch *watch) {
    attention_call call;
    fv_status status = call_make(attention, cache, policy, rows, parallel, &call);
    if (status == FV_OK && !watch->progress.expired) status = watched_plan(&call, watch);
    fv_report counted = {0};
    uint32_t done = 0;
    while (status == FV_OK && done < call.rows && !watch->progress.expired) {
        fv_select_view view = watched_view(&call, done);
        if (view.rows < call.rows) fv_select_plan(policy, &view, &call.plan); /* else it is there already */
        call.query = rows->query + done * rows->query_stride;
        status = watched_rows(&call, parallel, watch, rows->out + done * rows->out_stride);
        if (report) watched_report(&call, watch, &counted);
        done += view.rows;
    }
    if (status != FV_OK) return status;
    size_t width = (size_t)attention->config.attend.query_heads * attention->config.attend.head_dim;
    for (; done < call.rows; done++)
        for (size_t c = 0; c < width; c++) rows->out[done * rows->out_stride + c] = 0.0f;
    if (!report) return FV_OK;
    report->isa = fv_kernels_isa(attention->kernels);
    report->bytes_read += counted.bytes_read;
    report->local_keys += counted.local_keys;
    report->keys_read += counted.keys_read;
    report->keys_visible += counted.keys_visible;
    return FV_OK;
}

#endif
