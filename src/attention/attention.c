/* Composes selector and executor. A prompt is split into tiles x KV heads; a single row into KV heads x segments; with
 * a deadline, any rows into rounds of keys, between which the clock is looked at. A policy that chooses by the queries
 * has a plan for each KV head, any other one for all. */
#include "fovea/attention.h"
#include "attend/attend_state.h"
#include "attention/certify.h"
#include "attention/watch.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "numeric/size.h"
#include "select/choose.h"

/* What a worker did, and its tile at work; cache lines to itself. */
typedef struct work_count {
    uint64_t keys, sinks, window, selected, whole; /* all, and by reason */
    uint64_t bytes, visible, unused;               /* fills two lines */
    uint64_t choose_ns, read_ns, seen_ns;          /* the last: its last look at the clock */
    fv_certified certified;
    fv_plan plan;
    fv_plan_view view;
} work_count;

/* One call's arguments, shared by its tasks. */
typedef struct attention_call {
    fv_attention *attention;
    const fv_cache *cache;
    const fv_policy *policy;
    const fv_parallel *parallel;
    fv_attend_setting setting;
    uint32_t local_window, first_token, rows, layer;
    bool chooses;       /* here: not in a layer with a sliding window */
    fv_plan_view view;  /* of attention->plans */
    uint32_t plan_rows; /* of them */
    uint32_t read_from; /* tokens from this one on were read of those plans: all, unless a deadline came first */
    uint32_t first_segment, segments; /* of those plans; the last one is the gathered keys */
    const float *query;
    size_t query_stride;
    float *out;
    size_t out_stride;
    fv_watch *watch; /* with a deadline, as all that follows */
    uint32_t round_first,
        round_count;                /* segments that are read next, one KV head after the other: each time reading moves
                                       to another head, the stream from memory starts anew. None: the gathered keys */
    uint64_t keys_before, begin_ns; /* keys that were read and the time, before the older segments */
} attention_call;

struct fv_attention {
    fv_attention_config config;
    const fv_kernels *kernels;
    size_t worker_bytes, attend_bytes, step_bytes;
    fv_attend_layout layout; /* of attend's scratch */
    unsigned char *workers;  /* per worker: attend's scratch, steps of plans, then scratch for choosing */
    float *states;           /* [kv_heads][segments + 1] states of state_rows rows */
    fv_plan *plans;          /* [kv_heads], of a single row, or of those read together until a deadline */
    fv_step *row_steps;      /* of those plans: [kv_heads][plan_steps], but for one head if nothing chooses */
    work_count *counts;      /* [workers] */
    uint32_t segments;
    fv_attention_observer_fn *observer; /* NULL: nobody watches */
    void *observer_context;
    fv_clock_fn *clock; /* NULL: no time is taken */
    void *clock_context;
    attention_call call; /* at work; here and not on a chip's stack */
    work_count counted;  /* with a deadline: so far */
};

/* One worker's choosing for rows of one tile and one KV head; it lies in front of its scratch. */
typedef struct choosing {
    const attention_call *call;
    fv_plan_view view;
    fv_choose_scratch scratch; /* of the row at work */
    fv_chooser chooser;        /* likewise */
    uint32_t kv_head;
    fv_certified made;  /* of the row at work */
    size_t tail_place;  /* of the state of its tail */
    bool read_shared;   /* what rows of a tile share of the coarse keys */
    fv_plan next, both; /* of the row behind the one at work, of the two */
} choosing;

/* Room for plans that a worker needs: those of two rows, and of both at once, which may have twice as many steps. */
enum { PAIR_PLANS = FV_BUILD_PROMPT ? 4 : 1 };

enum { CHOOSING_BYTES = (sizeof(choosing) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN };

typedef struct attention_layout {
    size_t worker_offset, worker_bytes, attend_bytes, step_bytes, state_offset, plan_offset, step_offset, count_offset;
    size_t bytes;
    fv_attend_layout attend;
    uint32_t segments;
} attention_layout;

/* Positions of a tile that are scored together: they share the unpacking of codes. */
static uint32_t choose_together(const fv_attend_config *attend) {
    uint32_t rows = FV_BUILD_PROMPT ? fv_attend_rows(attend) : 1;
    return rows < 4 ? rows : 4;
}

static fv_status attention_layout_make(const fv_attention_config *config, attention_layout *layout) {
    if (!config || config->workers < 1 || config->workers > 1024 || config->max_tokens < 1) return FV_ERROR_ARGUMENT;
    if (config->plan_steps < 1 || config->plan_steps > 1u << 24 || config->state_rows > fv_attend_rows(&config->attend))
        return FV_ERROR_ARGUMENT;
    *layout =
        (attention_layout){.bytes = (sizeof(fv_attention) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN};
    fv_status status = fv_attend_layout_make(&config->attend, &layout->attend);
    if (status != FV_OK) return status;
    layout->attend_bytes = layout->attend.bytes;
    size_t group = config->attend.query_heads / config->attend.kv_heads;
    size_t state_rows = group * (config->state_rows ? config->state_rows : 1);
    layout->segments = (config->max_tokens - 1) / FV_SEGMENT_TOKENS + 1;
    layout->worker_bytes = layout->attend_bytes;
    size_t choose_bytes = 0, heads = config->attend.kv_heads, *bytes = &layout->bytes;
    if (FV_BUILD_CHOOSE && config->chooses &&
        !fv_choose_scratch_bytes(config->attend.head_dim, (uint32_t)group, config->max_tokens,
                                 choose_together(&config->attend), &choose_bytes))
        return FV_ERROR_OVERFLOW;
    fv_size_reserve(&layout->step_bytes, config->plan_steps, sizeof(fv_step));
    fv_size_reserve(&layout->worker_bytes, config->chooses ? PAIR_PLANS : 1, layout->step_bytes);
    fv_size_reserve(&layout->worker_bytes, 1, choose_bytes);
    if (choose_bytes) fv_size_reserve(&layout->worker_bytes, 1, CHOOSING_BYTES);
    size_t states = 0;
    if (!fv_size_add(&states, heads, layout->segments + 1, 1) ||
        state_rows > SIZE_MAX / sizeof(float) / fv_state_floats(1, config->attend.head_dim))
        return FV_ERROR_OVERFLOW;
    layout->worker_offset = fv_size_reserve(bytes, config->workers, layout->worker_bytes);
    layout->state_offset =
        fv_size_reserve(bytes, states, fv_state_floats(state_rows, config->attend.head_dim) * sizeof(float));
    if (FV_BUILD_TAIL && config->chooses)
        fv_size_reserve(bytes, 2 * (heads > config->workers ? heads : config->workers),
                        fv_state_floats(group, config->attend.head_dim) * sizeof(float));
    layout->plan_offset = fv_size_reserve(bytes, heads, sizeof(fv_plan));
    layout->step_offset = fv_size_reserve(bytes, config->chooses ? heads : 1, layout->step_bytes);
    layout->count_offset = fv_size_reserve(bytes, config->workers, sizeof(work_count));
    return *bytes == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
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
    unsigned char *base = (unsigned char *)memory;
    fv_attention *made = (fv_attention *)memory;
    *made = (fv_attention){.kernels = kernels,
                           .worker_bytes = layout.worker_bytes,
                           .attend_bytes = layout.attend_bytes,
                           .step_bytes = layout.step_bytes,
                           .layout = layout.attend,
                           .workers = base + layout.worker_offset,
                           .states = (float *)(void *)(base + layout.state_offset),
                           .plans = (fv_plan *)(void *)(base + layout.plan_offset),
                           .row_steps = (fv_step *)(void *)(base + layout.step_offset),
                           .counts = (work_count *)(void *)(base + layout.count_offset),
                           .segments = layout.segments};
    made->config = *config;
    *attention = made;
    return FV_OK;
}

void fv_attention_observe(fv_attention *attention, fv_attention_observer_fn *observer, void *context) {
    attention->observer = observer;
    attention->observer_context = context;
}

void fv_attention_time(fv_attention *attention, fv_clock_fn *clock, void *context) {
    attention->clock = clock;
    attention->clock_context = context;
}

/* The time since the worker's last look is that of a phase, of so many workers. */
static void phase_end(fv_attention *attention, size_t worker, uint64_t *phase_ns, uint64_t workers) {
    if (!FV_BUILD_REPORT || !attention->clock) return;
    work_count *count = &attention->counts[worker];
    uint64_t now = attention->clock(attention->clock_context);
    if (phase_ns) *phase_ns += (now - count->seen_ns) * workers;
    count->seen_ns = now;
}

static void phase_begin(fv_attention *attention, size_t worker) { phase_end(attention, worker, NULL, 1); }

/* Of a single row's phases, whose tasks are too short for looks of their own, the caller takes the time. */
static void all_choose_end(fv_attention *attention, const fv_parallel *parallel) {
    phase_end(attention, 0, &attention->counts[0].choose_ns, parallel ? parallel->workers : 1);
}

static void all_read_end(fv_attention *attention, const fv_parallel *parallel) {
    phase_end(attention, 0, &attention->counts[0].read_ns, parallel ? parallel->workers : 1);
}

static uint32_t tile_rows(const attention_call *call) { return fv_attend_rows(&call->attention->config.attend); }

/* Tiles begin at absolute multiples of their rows, wherever the batch begins. */
static void tile_view(const attention_call *call, uint32_t tile, fv_plan_view *view) {
    uint32_t most = tile_rows(call), end = call->first_token + call->rows,
             begin = (call->first_token / most + tile) * most;
    uint32_t stop = begin + most < end ? begin + most : end;
    if (begin < call->first_token) begin = call->first_token;
    view->first_token = begin;
    view->rows = stop - begin;
    view->local_window = call->local_window;
    view->tokens = call->cache->tokens;
}

static choosing *choosing_make(const attention_call *call, const fv_plan_view *view, uint32_t kv_head, size_t worker) {
    const fv_attention *attention = call->attention;
    const fv_attend_config *attend = &attention->config.attend;
    unsigned char *memory = attention->workers + worker * attention->worker_bytes + attention->attend_bytes +
                            PAIR_PLANS * attention->step_bytes;
    choosing *at = (choosing *)(void *)memory;
    *at = (choosing){.call = call, .view = *view, .kv_head = kv_head};
    fv_choose_scratch_at(&at->scratch, memory + CHOOSING_BYTES, attend->head_dim,
                         attend->query_heads / attend->kv_heads, attention->config.max_tokens, choose_together(attend));
    return at;
}

static void chooser_make(const attention_call *call, uint32_t kv_head, uint32_t position, fv_chooser *chooser) {
    const fv_attend_config *attend = &call->attention->config.attend;
    fv_chooser_make(chooser, call->policy, call->cache, call->attention->kernels, attend->scale,
                    attend->query_heads / attend->kv_heads, call->layer, kv_head, position);
}

/* Makes at->chooser that of a row. */
static const fv_chooser *chooser_at(choosing *at, uint32_t position) {
    chooser_make(at->call, at->kv_head, position, &at->chooser);
    return &at->chooser;
}

static size_t group_width(const choosing *at) {
    return (size_t)at->chooser.group * at->call->attention->config.attend.head_dim;
}

static bool has_tail(const attention_call *call) { return FV_BUILD_TAIL && call->chooses && call->policy->tail; }

/* Of a position: two that follow each other may be at work. These states lie behind those of segments. */
static fv_state tail_state(const attention_call *call, size_t place, uint32_t position) {
    const fv_attention *attention = call->attention;
    const fv_attend_config *attend = &attention->config.attend;
    size_t rows = attend->query_heads / attend->kv_heads, floats = fv_state_floats(rows, attend->head_dim);
    size_t state_rows = rows * (attention->config.state_rows ? attention->config.state_rows : 1);
    size_t segments =
        attend->kv_heads * ((size_t)attention->segments + 1) * fv_state_floats(state_rows, attend->head_dim);
    segments = (segments * sizeof(float) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN / sizeof(float);
    return fv_state_at(attention->states + segments + (2 * place + position % 2) * floats, rows, attend->head_dim);
}

/* What the row at work has in its tail, if anything. */
static void tail_make(const choosing *at, size_t worker) {
    const attention_call *call = at->call;
    if (!FV_BUILD_TAIL || !has_tail(call) || !at->scratch.tail_count) return;
    fv_state tail = tail_state(call, at->tail_place, at->chooser.position);
    fv_tail_make(&at->chooser, &at->scratch, tail.maximum, tail.sum, tail.out);
    call->attention->counts[worker].bytes += at->scratch.tail_count * fv_tail_page_bytes(&call->cache->tail);
}

static void tail_clear(const attention_call *call, size_t place, uint32_t position) {
    const fv_attend_config *attend = &call->attention->config.attend;
    if (has_tail(call))
        fv_state_clear(tail_state(call, place, position), attend->query_heads / attend->kv_heads, attend->head_dim);
}

/* Adds them to the state of what was read of one row, or of two. More rows than that read all. */
static void tails_merge(const attention_call *call, const fv_state *state, const fv_plan *plan, size_t place) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t group = attend->query_heads / attend->kv_heads;
    for (uint32_t row = 0; has_tail(call) && plan->rows <= 2 && row < plan->rows; row++) {
        fv_state tail = tail_state(call, place, plan->first_token + row);
        fv_state one = {.maximum = state->maximum + row * group,
                        .sum = state->sum + row * group * FV_SUM_LANES,
                        .out = state->out + row * group * attend->head_dim};
        fv_state_merge(&one, &tail, group, attend->head_dim);
    }
}

/* What the chooser's row weighs and chooses; `rows` rows of the tile are left. */
static void rows_choose(choosing *at, uint32_t rows, size_t worker) {
    const attention_call *call = at->call;
    const fv_chooser *chooser = &at->chooser;
    work_count *count = &call->attention->counts[worker];
    size_t row = chooser->position - call->first_token;
    fv_choose_weigh(chooser, &at->scratch, rows, call->query + row * call->query_stride + at->kv_head * group_width(at),
                    call->query_stride);
    fv_choose_pages(chooser, &at->scratch);
    if (!at->read_shared) count->bytes += fv_chooser_shared_bytes(chooser);
    count->bytes += fv_chooser_own_bytes(chooser);
    at->read_shared = true;
    tail_make(at, worker);
}

/* The plan of one row by its queries, or of as many as read all or share their choice; rows of a tile come in rising
 * order. */
static fv_status chosen_plan(choosing *at, uint32_t position, size_t worker, fv_plan *plan) {
    const fv_chooser *chooser = chooser_at(at, position);
    uint32_t rows = 1, end = at->view.first_token + at->view.rows;
    tail_clear(at->call, at->tail_place, position);
    if (fv_chooser_reads_all(chooser)) {
        while (position + rows < end && fv_chooser_reads_all(chooser_at(at, position + rows))) rows++;
        tail_clear(at->call, at->tail_place, position + 1);
        plan->count = 0;
        plan->first_token = position;
        plan->rows = rows;
        fv_step all = {.kind = FV_STEP_SPAN, .end = position + rows, .row_end = (uint16_t)rows};
        return fv_plan_add(plan, all);
    }
    if (at->call->policy->selector == FV_SELECTOR_BLOCK) rows = end - position;
    if (fv_chooser_has_choice(chooser)) rows_choose(at, end - position, worker);
    return fv_choose_plan(chooser, &at->scratch, rows, plan);
}

static bool certifies(const attention_call *call) {
    return FV_BUILD_CERTIFICATE && call->chooses && call->policy->certificate;
}

/* The certificate of the chooser's row, whose scores and choices are in the scratch; its largest relative estimate. */
static float row_certify(choosing *at, fv_state state, fv_certified *into) {
    const attention_call *call = at->call;
    const fv_chooser *chooser = &at->chooser;
    size_t row = chooser->position - call->first_token, width = group_width(at);
    return fv_certify_row(chooser, &at->scratch, call->query + row * call->query_stride + at->kv_head * width,
                          call->out + row * call->out_stride + at->kv_head * width, state, into);
}

static uint64_t common(uint64_t begin, uint64_t end, uint64_t from, uint64_t to) {
    if (begin < from) begin = from;
    if (end > to) end = to;
    return begin < end ? end - begin : 0;
}

/* Keys of the tokens from..to-1 that all rows of a SPAN read. */
static uint64_t step_keys(const fv_plan *plan, const fv_step *step, uint32_t from, uint32_t to) {
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
static void reasons_by_position(const fv_policy *policy, const fv_plan *plan, uint32_t from, work_count *count) {
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        if (step->kind != FV_STEP_SPAN) continue;
        uint64_t keys = step_keys(plan, step, from, UINT32_MAX);
        if (policy->selector == FV_SELECTOR_DENSE)
            count->whole += keys;
        else if (step->window || (policy->selector == FV_SELECTOR_PATTERN && !is_global(policy, step->begin)))
            count->window += keys;
        else
            count->sinks += keys;
    }
}

/* The same of a plan by the queries. Rows that read all are one span. */
static void reasons_by_query(const attention_call *call, const fv_plan *plan, uint32_t kv_head, uint32_t from,
                             work_count *count) {
    fv_chooser chooser;
    chooser_make(call, kv_head, plan->first_token, &chooser);
    bool whole = plan->count == 1 && plan->steps[0].begin == 0;
    if (!whole && from == 0 && call->policy->selector != FV_SELECTOR_BLOCK) { /* as fv_choose_plan() makes them */
        for (uint32_t row = 0; row < plan->rows; row++) {
            uint32_t position = plan->first_token + row;
            if (row) chooser_make(call, kv_head, position, &chooser);
            uint64_t sinks = chooser.sinks_end, window = position + 1 - chooser.window_begin;
            count->sinks += sinks;
            count->window += window;
            count->selected += fv_plan_row_keys(plan, row) - sinks - window;
        }
        return;
    }
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        uint64_t keys = step_keys(plan, step, from, UINT32_MAX);
        if (whole) {
            count->whole += keys;
            continue;
        }
        uint64_t sinks = step_keys(plan, step, from, chooser.sinks_end);
        uint64_t window = step_keys(plan, step, chooser.window_begin > from ? chooser.window_begin : from, UINT32_MAX);
        count->sinks += sinks;
        count->window += window;
        count->selected += keys - sinks - window;
    }
}

/* Counts why the keys of the tokens from `from` on are read. */
static void reasons_add(const attention_call *call, const fv_plan *plan, uint32_t kv_head, uint32_t from,
                        work_count *count) {
    if (call->local_window) return;
    if (FV_BUILD_CHOOSE && call->chooses)
        reasons_by_query(call, plan, kv_head, from, count);
    else
        reasons_by_position(call->policy, plan, from, count);
}

/* Counts what a head reads, and shows it to whoever watches; `row` is the plan's first. */
static void plan_note(const attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t row, size_t worker) {
    if (!FV_BUILD_REPORT) return;
    fv_attention *attention = call->attention;
    work_count *count = &attention->counts[worker];
    for (uint32_t i = 0; i < plan->rows; i++) count->keys += fv_plan_row_keys(plan, i);
    reasons_add(call, plan, kv_head, 0, count);
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

/* The reading of a plan whose first row is `row` of the call. */
static attend_job *run_begin(const attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t row,
                             size_t worker) {
    fv_attention *attention = call->attention;
    return fv_attend_begin(&call->setting, plan, kv_head, call->query + row * call->query_stride,
                           attention->workers + worker * attention->worker_bytes);
}

#if FV_BUILD_PROMPT
static void choose_end(fv_attention *attention, size_t worker) {
    phase_end(attention, worker, &attention->counts[worker].choose_ns, 1);
}

static void read_end(fv_attention *attention, size_t worker) {
    phase_end(attention, worker, &attention->counts[worker].read_ns, 1);
}

/* The state of what was read. */
static const fv_state *plan_run(const attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t worker) {
    size_t row = plan->first_token - call->first_token;
    const fv_state *state = fv_attend_plan(run_begin(call, plan, kv_head, row, worker));
    tails_merge(call, state, plan, worker);
    fv_state_finish(call->setting.config, state, plan->rows, kv_head, call->out + row * call->out_stride,
                    call->out_stride);
    return state;
}

static void plan_attend(const attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t worker) {
    plan_note(call, plan, kv_head, plan->first_token - call->first_token, worker);
    plan_run(call, plan, kv_head, worker);
}

/* One row with its certificate; where a quality is asked for, it reads more pages until its estimate is good enough or
 * it has read all. */
static void row_until(choosing *at, fv_plan *plan, size_t worker) {
    const attention_call *call = at->call;
    fv_attention *attention = call->attention;
    work_count *count = &attention->counts[worker];
    const fv_chooser *chooser = chooser_at(at, plan->first_token);
    fv_certified *made = &at->made;
    for (uint32_t more = 8, left = chooser->end - chooser->begin;; more *= 2) {
        *made = (fv_certified){0};
        const fv_state *state = plan_run(call, plan, at->kv_head, worker);
        read_end(attention, worker);
        float estimate = row_certify(at, *state, made);
        if (left == 0 && chooser->begin < chooser->end) made->whole = made->rows;
        if (!(call->policy->quality > 0.0f) || estimate <= call->policy->quality || left == 0) break;
        count->bytes += fv_attend_bytes(call->cache, plan);
        left = fv_choose_more(chooser, &at->scratch, more);
        if (fv_choose_plan(chooser, &at->scratch, 1, plan) != FV_OK) break; /* cannot happen: there is room for all */
        choose_end(attention, worker);
    }
    choose_end(attention, worker);
    plan_note(call, plan, at->kv_head, plan->first_token - call->first_token, worker);
    fv_certified_add(&count->certified, made);
}

static uint32_t tile_count(const attention_call *call) {
    return (call->first_token + call->rows - 1) / tile_rows(call) - call->first_token / tile_rows(call) + 1;
}

/* That the plan of every tile can be made, before any output. */
static fv_status plans_try(const attention_call *call) {
    const fv_attention *attention = call->attention;
    work_count *work = &attention->counts[0];
    work->plan = (fv_plan){.steps = attention->row_steps, .capacity = attention->config.plan_steps};
    fv_status status = FV_OK;
    for (uint32_t tile = 0; !call->chooses && status == FV_OK && tile < tile_count(call); tile++) {
        tile_view(call, tile, &work->view);
        status = fv_policy_plan(call->policy, &work->view, &work->plan);
    }
    return status;
}

/* Two rows that follow each other share the pages that both have chosen, whole rows are not among them: where that is
 * so, the plan of both; otherwise `first` is read, and the next row's plan is what is left. */
static const fv_plan *pair_plan(choosing *at, const fv_plan *first, size_t worker) {
    const attention_call *call = at->call;
    if (first->rows != 1 || fv_chooser_reads_all(&at->chooser) || certifies(call)) return first;
    uint32_t position = first->first_token + 1;
    if (position == at->view.first_token + at->view.rows) return first;
    if (chosen_plan(at, position, worker, &at->next) != FV_OK) return first;
    if (!fv_chooser_reads_all(&at->chooser) && fv_plan_join(first, &at->next, &at->both) == FV_OK) return &at->both;
    plan_attend(call, first, at->kv_head, worker);
    return &at->next;
}

/* The rows of a tile, each by its own choice, or all by one. */
static void rows_attend(choosing *at, fv_plan *plan, size_t worker) {
    const attention_call *call = at->call;
    fv_attention *attention = call->attention;
    const fv_plan *ready;
    uint32_t end = at->view.first_token + at->view.rows;
    at->next = (fv_plan){.steps = plan->steps + plan->capacity, .capacity = plan->capacity};
    at->both = (fv_plan){.steps = at->next.steps + plan->capacity, .capacity = 2 * plan->capacity};
    for (uint32_t position = at->view.first_token; position < end; position = ready->first_token + ready->rows) {
        if (chosen_plan(at, position, worker, plan) != FV_OK) return;
        ready = pair_plan(at, plan, worker);
        choose_end(attention, worker);
        if (certifies(call) && ready->rows == 1) {
            row_until(at, plan, worker);
        } else { /* rows that read all leave nothing to certify */
            plan_attend(call, ready, at->kv_head, worker);
            if (certifies(call)) attention->counts[worker].certified.rows += (uint64_t)ready->rows * at->chooser.group;
        }
        read_end(attention, worker);
    }
}

/* Plans cannot fail here: they were tried. */
static void tile_task(void *context, size_t task, size_t worker) {
    const attention_call *call = (const attention_call *)context;
    fv_attention *attention = call->attention;
    unsigned char *scratch = attention->workers + worker * attention->worker_bytes;
    fv_plan *plan = &attention->counts[worker].plan;
    plan->steps = (fv_step *)(void *)(scratch + attention->attend_bytes);
    plan->capacity = attention->config.plan_steps;
    uint32_t tiles =
        tile_count(call); /* one head after the other: what neighbouring tiles read stays in the L2 cache */
    uint32_t kv_head = (uint32_t)(task / tiles);
    fv_plan_view *view = &attention->counts[worker].view;
    tile_view(call, (uint32_t)(task % tiles), view);
    phase_begin(attention, worker);
    if (FV_BUILD_CHOOSE && call->chooses) {
        choosing *at = choosing_make(call, view, kv_head, worker);
        at->tail_place = worker;
        rows_attend(at, plan, worker);
        return;
    }
    if (fv_policy_plan(call->policy, view, plan) == FV_OK) plan_attend(call, plan, kv_head, worker);
    read_end(attention, worker);
}

#endif

/* attention->plans of one row that chooses. */
static void plans_task(void *context, size_t task, size_t worker) {
    const attention_call *call = (const attention_call *)context;
    fv_attention *attention = call->attention;
    choosing *at = choosing_make(call, &call->view, (uint32_t)task, worker);
    at->tail_place = task;
    chosen_plan(at, call->view.first_token, worker, &attention->plans[task]);
    plan_note(call, &attention->plans[task], (uint32_t)task, call->view.first_token - call->first_token, worker);
}

/* Of call->view. One that chooses cannot fail: the call was checked. */
static fv_status plans_make(attention_call *call) {
    fv_attention *attention = call->attention;
    call->plan_rows = call->view.rows;
    for (size_t head = 0; head < attention->config.attend.kv_heads; head++) {
        unsigned char *steps =
            (unsigned char *)attention->row_steps + (call->chooses ? head : 0) * attention->step_bytes;
        attention->plans[head] = (fv_plan){.steps = (fv_step *)(void *)steps, .capacity = attention->config.plan_steps};
    }
    if (FV_BUILD_CHOOSE && call->chooses) {
        phase_begin(attention, 0);
        fv_parallel_run(call->parallel, attention->config.attend.kv_heads, plans_task, call);
        all_choose_end(attention, call->parallel);
        return FV_OK;
    }
    phase_begin(attention, 0);
    fv_status status = fv_policy_plan(call->policy, &call->view, &attention->plans[0]);
    for (size_t head = 0; status == FV_OK && head < attention->config.attend.kv_heads; head++) {
        attention->plans[head] = attention->plans[0];
        plan_note(call, &attention->plans[head], (uint32_t)head, call->view.first_token - call->first_token, 0);
    }
    return status;
}

static fv_state row_state(const attention_call *call, size_t kv_head, size_t segment) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t rows = call->plan_rows * (size_t)(attend->query_heads / attend->kv_heads);
    size_t floats = fv_state_floats(rows, attend->head_dim);
    return fv_state_at(call->attention->states + (kv_head * (call->attention->segments + 1) + segment) * floats, rows,
                       attend->head_dim);
}

static void segment_task(void *context, size_t task, size_t worker) {
    const attention_call *call = (const attention_call *)context;
    uint32_t kv_head = (uint32_t)(task / call->segments), segment = (uint32_t)(task % call->segments);
    attend_job *run = run_begin(call, &call->attention->plans[kv_head], kv_head, 0, worker);
    fv_attend_segment(run, row_state(call, kv_head, segment), call->first_segment + segment,
                      segment == call->segments - 1);
}

/* The states merge in rising order, as fv_attend_tile() merges them: the split shows in no bit. Each total is in the
 * place of the first. */
static void states_merge(const attention_call *call) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t rows = call->plan_rows * (size_t)(attend->query_heads / attend->kv_heads);
    for (uint32_t head = 0; head < attend->kv_heads; head++) {
        fv_state total = row_state(call, head, 0);
        for (uint32_t segment = 1; segment < call->segments; segment++) {
            fv_state part = row_state(call, head, segment);
            fv_state_merge(&total, &part, rows, attend->head_dim);
        }
        tails_merge(call, &total, &call->attention->plans[head], head);
    }
}

static void states_finish(const attention_call *call, float *out) {
    const fv_attend_config *attend = &call->attention->config.attend;
    for (uint32_t head = 0; head < attend->kv_heads; head++) {
        fv_state total = row_state(call, head, 0);
        fv_state_finish(attend, &total, call->plan_rows, head, out, call->out_stride);
    }
}

/* The segments that any of the plans reads. */
static void plans_segments(attention_call *call) {
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

/* Marks the pages of the list, which is all, that were read of the plan in time. */
static void mark_read(const fv_plan *plan, uint32_t from, const fv_choose_scratch *scratch) {
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        uint32_t page = (step->begin > from ? step->begin : from) / FV_PAGE_TOKENS, end = step->end / FV_PAGE_TOKENS;
        for (; page < end && page < scratch->count; page++) scratch->weight[page] = FV_CHOSEN;
    }
}

/* The scores of the plans' row are made once more: by now other heads' are in the scratch. Where time was short, all
 * that the plan had in mind may be unread, sinks and window too. */
static void certify_task(void *context, size_t task, size_t worker) {
    const attention_call *call = (const attention_call *)context;
    fv_certified *into = &call->attention->counts[worker].certified;
    const fv_plan *plan = &call->attention->plans[task];
    choosing *at = choosing_make(call, &call->view, (uint32_t)task, worker);
    chooser_at(at, plan->first_token);
    if (call->read_from > plan->first_token) {
        fv_certify_nothing(&at->chooser, 1, into);
        return;
    }
    if (call->read_from) fv_chooser_take_all(&at->chooser);
    if (fv_chooser_has_choice(&at->chooser)) {
        size_t row = plan->first_token - call->first_token;
        fv_choose_weigh(&at->chooser, &at->scratch, 1, call->query + row * call->query_stride + task * group_width(at),
                        call->query_stride);
        if (call->read_from)
            mark_read(plan, call->read_from, &at->scratch);
        else
            fv_choose_pages(&at->chooser, &at->scratch);
    }
    fv_certified made = {0};
    row_certify(at, row_state(call, task, 0), &made);
    if (call->read_from) made.relative_estimate *= FV_CERTIFICATE_CUT;
    fv_certified_add(into, &made);
}

static void plans_certify(attention_call *call) {
    if (!certifies(call)) return;
    fv_parallel_run(call->parallel, call->attention->config.attend.kv_heads, certify_task, call);
    all_choose_end(call->attention, call->parallel);
}

static void single_row(attention_call *call) {
    plans_segments(call);
    fv_parallel_run(call->parallel, (size_t)call->attention->config.attend.kv_heads * call->segments, segment_task,
                    call);
    states_merge(call);
    states_finish(call, call->out);
    all_read_end(call->attention, call->parallel);
    plans_certify(call);
}

static void counts_clear(fv_attention *attention) {
    if (!FV_BUILD_REPORT) return;
    for (uint32_t i = 0; i < attention->config.workers; i++) attention->counts[i] = (work_count){0};
}

/* into <- into + from, but for the look. */
static void count_add(work_count *into, const work_count *from) {
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

/* All workers' counts, which are those of the first from now on. */
static work_count *counts_sum(fv_attention *attention) {
    for (uint32_t i = 1; i < attention->config.workers; i++) count_add(&attention->counts[0], &attention->counts[i]);
    return &attention->counts[0];
}

/* Keys that dense attention would read in `rows` rows from `first_token` on, all KV heads. */
static uint64_t keys_visible(const attention_call *call, uint64_t first_token, uint64_t rows) {
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

/* A caller of an older report has less room. */
static void report_add(const attention_call *call, const work_count *count, fv_report *report) {
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
    fv_status status = fv_policy_check(policy);
    if (status != FV_OK || rows->local_window) return status;
    if (fv_policy_is_dynamic(policy) && (!cache->shadow.dim || !attention->config.chooses)) return FV_ERROR_ARGUMENT;
    if (fv_policy_is_dynamic(policy) && policy->certificate && (!cache->margins.pages || attend->softcap > 0.0f))
        return FV_ERROR_ARGUMENT;
    if (fv_policy_is_dynamic(policy) && policy->tail && (!cache->tail.dim || attend->softcap > 0.0f))
        return FV_ERROR_ARGUMENT;
    if (!FV_BUILD_PROMPT && policy->quality > 0.0f) return FV_ERROR_UNSUPPORTED;
    if (policy->selector == FV_SELECTOR_PATTERN && policy->landmarks && policy->block != cache->config.landmark_tokens)
        return FV_ERROR_ARGUMENT;
    uint32_t steps = fv_policy_steps(policy, cache->config.max_tokens, fv_attend_rows(attend));
    return steps > attention->config.plan_steps ? FV_ERROR_FULL : FV_OK;
}

/* Checks everything but the plans, and fills attention->call. */
static fv_status call_make(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                           const fv_attention_rows *rows, const fv_parallel *parallel) {
    fv_status status = call_check(attention, cache, policy, rows, parallel);
    if (status != FV_OK) return status;
    size_t width = (size_t)attention->config.attend.query_heads * attention->config.attend.head_dim;
    if (!rows->query || !rows->out || rows->query_stride < width || rows->out_stride < width) return FV_ERROR_ARGUMENT;
    attention_call *call = &attention->call; /* field by field: a literal would pass by on the stack */
    call->attention = attention;
    call->cache = cache;
    call->policy = policy;
    call->parallel = parallel;
    call->setting.config = &attention->config.attend;
    call->setting.layout = &attention->layout;
    call->setting.kernels = attention->kernels;
    call->setting.cache = cache;
    call->setting.query_stride = rows->query_stride;
    call->local_window = rows->local_window;
    call->layer = rows->layer;
    call->chooses = FV_BUILD_CHOOSE && fv_policy_is_dynamic(policy) && !rows->local_window;
    call->first_token = rows->first_token;
    call->read_from = 0;
    call->rows = rows->count;
    call->query = rows->query;
    call->query_stride = rows->query_stride;
    call->out = rows->out;
    call->out_stride = rows->out_stride;
    return FV_OK;
}

fv_status fv_attention_run_rows(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                                const fv_attention_rows *rows, const fv_parallel *parallel, fv_report *report) {
    fv_status status = call_make(attention, cache, policy, rows, parallel);
    if (status != FV_OK) return status;
    attention_call *call = &attention->call;
    if (!FV_BUILD_REPORT && report) return FV_ERROR_UNSUPPORTED;
    counts_clear(attention);
    if (!FV_BUILD_PROMPT || (call->rows == 1 && !(call->chooses && policy->quality > 0.0f))) {
        tile_view(call, 0, &call->view);
        status = plans_make(call);
        if (status == FV_OK) single_row(call);
    }
#if FV_BUILD_PROMPT
    else {
        status = plans_try(call);
        if (status == FV_OK)
            fv_parallel_run(parallel, (size_t)tile_count(call) * attention->config.attend.kv_heads, tile_task, call);
    }
#endif
    if (status != FV_OK) return status;
    if (!FV_BUILD_REPORT || !report) return FV_OK;
    work_count *count = counts_sum(attention);
    count->visible = keys_visible(call, call->first_token, call->rows);
    report_add(call, count, report);
    return FV_OK;
}

fv_status fv_attention_run(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
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
static uint64_t span_keys(const fv_plan *plan, uint32_t from, uint32_t to) {
    uint64_t keys = 0;
    for (uint32_t s = 0; s < plan->count; s++)
        if (plan->steps[s].kind == FV_STEP_SPAN) keys += step_keys(plan, &plan->steps[s], from, to);
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
static uint32_t plan_heads(const attention_call *call) {
    return call->chooses ? call->attention->config.attend.kv_heads : 1;
}

static uint64_t plans_span_keys(const attention_call *call, uint32_t from, uint32_t to) {
    uint64_t keys = 0;
    for (uint32_t head = 0; head < plan_heads(call); head++) keys += span_keys(&call->attention->plans[head], from, to);
    return keys;
}

static void round_task(void *context, size_t task, size_t worker) {
    const attention_call *call = (const attention_call *)context;
    fv_attention *attention = call->attention;
    uint32_t count = call->round_count ? call->round_count : 1, head = (uint32_t)(task / count);
    attend_job *run = run_begin(call, &attention->plans[head], head, 0, worker);
    if (!call->round_count) {
        fv_attend_segment(run, row_state(call, head, call->segments - 1), 0, true);
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
    fv_attend_spans(run, row_state(call, head, segment - call->first_segment), &tokens);
}

static uint64_t round_keys(const attention_call *call) {
    if (!call->round_count)
        return gathered_keys(&call->attention->plans[0], true); /* plans that choose gather nothing */
    return plans_span_keys(call, call->round_first * FV_SEGMENT_TOKENS,
                           (call->round_first + call->round_count) * FV_SEGMENT_TOKENS);
}

static void round_read(attention_call *call) {
    fv_watch *watch = call->watch;
    size_t heads = call->attention->config.attend.kv_heads;
    watch->progress.checkpoint = FV_CHECKPOINT_DOT_PRODUCT;
    fv_parallel_run(call->parallel, heads * (call->round_count ? call->round_count : 1), round_task, call);
    uint64_t keys = round_keys(call);
    watch->progress.keys_read += keys;
    watch->tokens_read += call->round_count ? keys : gathered_keys(&call->attention->plans[0], false);
    if (call->round_count) call->read_from = call->round_first * FV_SEGMENT_TOKENS;
}

/* Looks at the clock and reads the segments end-count..end-1, or tells that it is too late. A round of no keys is not
 * worth a look. */
static bool round_run(attention_call *call, uint32_t end, uint32_t count) {
    call->round_first = end - count;
    call->round_count = count;
    if (round_keys(call) == 0) return true;
    if (fv_watch_is_over(call->watch)) return false;
    round_read(call);
    return true;
}

/* Segments of the next round: as many as a quarter of the time that is left is enough for, if all their keys are read
 * at the speed of those since call->begin_ns. */
static uint32_t round_segments(const attention_call *call, uint32_t least, uint32_t most) {
    const fv_watch *watch = call->watch;
    uint64_t now = watch->progress.elapsed_ns, left = watch->deadline->end_ns - watch->start_ns - now;
    uint64_t keys = watch->progress.keys_read - call->keys_before;
    float whole = (float)FV_SEGMENT_TOKENS * (float)call->plan_rows * (float)plan_heads(call);
    float segments = (float)(left / 4) * (float)keys / ((float)(now - call->begin_ns + 1) * whole);
    return segments >= (float)most ? most : segments > (float)least ? (uint32_t)segments : least;
}

static void states_clear(const attention_call *call) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t rows = call->plan_rows * (size_t)(attend->query_heads / attend->kv_heads);
    for (uint32_t head = 0; head < attend->kv_heads; head++)
        for (uint32_t segment = 0; segment < call->segments; segment++)
            fv_state_clear(row_state(call, head, segment), rows, attend->head_dim);
}

/* All rounds of a plan: the newest segments, what is gathered, then the older segments. Whether there was time for
 * all. */
static bool rounds_run(attention_call *call) {
    uint32_t workers = call->parallel && call->parallel->workers > 1 ? call->parallel->workers : 1;
    plans_segments(call);
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
static fv_status watched_rows(attention_call *call, float *out) {
    fv_watch *watch = call->watch;
    bool whole = rounds_run(call), fail = watch->deadline->on_deadline == FV_DEADLINE_FAIL;
    if (whole && !fv_watch_is_over(watch)) watch->progress.checkpoint = FV_CHECKPOINT_SOFTMAX;
    if (fail && watch->progress.expired) return FV_ERROR_DEADLINE;
    states_merge(call);
    if (fv_watch_is_over(watch) && fail) return FV_ERROR_DEADLINE;
    states_finish(call, out);
    all_read_end(call->attention, call->parallel);
    if (whole) watch->progress.rows_complete += call->plan_rows;
    return FV_OK;
}

/* The next rows to read together: as many as there is room for, of one tile. */
static fv_plan_view watched_view(const attention_call *call, uint32_t done) {
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
static fv_status watched_plan(attention_call *call) {
    uint64_t planned = 0;
    if (call->chooses) return FV_OK;
    const fv_plan *plan = &call->attention->plans[0];
    for (uint32_t done = 0; done < call->rows; done += plan->rows) {
        call->view = watched_view(call, done);
        fv_status status = plans_make(call);
        if (status != FV_OK) return status;
        planned += span_keys(plan, 0, UINT32_MAX) + gathered_keys(plan, true);
    }
    call->watch->progress.keys_planned += planned;
    return FV_OK;
}

/* Adds the rows of the plans, as far as they were read; the bytes then are in proportion. */
static void watched_count(const attention_call *call) {
    fv_attention *attention = call->attention;
    fv_watch *watch = call->watch;
    const fv_plan *plan = &attention->plans[0];
    work_count *count = counts_sum(attention);
    uint64_t read = watch->tokens_read * (attention->config.attend.kv_heads / plan_heads(call));
    if (read < count->keys) count->bytes = count->bytes / count->keys * read;
    count->keys = read;
    count->visible = keys_visible(call, plan->first_token, plan->rows);
    count->sinks = count->window = count->selected = count->whole = 0;
    for (uint32_t head = 0; head < attention->config.attend.kv_heads; head++)
        reasons_add(call, &attention->plans[head], head, call->read_from, count);
    count_add(&attention->counted, count);
    watch->tokens_read = 0;
}

/* Rows until it is too late; how many are written. */
static fv_status watched_run(attention_call *call, const fv_attention_rows *rows, bool counts, uint32_t *done) {
    fv_watch *watch = call->watch;
    while (*done < call->rows && !watch->progress.expired) {
        call->view = watched_view(call, *done);
        counts_clear(call->attention);
        if (call->chooses && fv_watch_is_over(watch))
            return watch->deadline->on_deadline == FV_DEADLINE_FAIL ? FV_ERROR_DEADLINE : FV_OK;
        plans_make(call);
        if (call->chooses) watch->progress.keys_planned += plans_span_keys(call, 0, UINT32_MAX);
        call->query = rows->query + *done * rows->query_stride;
        fv_status status = watched_rows(call, rows->out + *done * rows->out_stride);
        call->query = rows->query; /* of the first row, as those that choose count from there */
        if (status != FV_OK) return status;
        if (counts) {
            plans_certify(call);
            watched_count(call);
        }
        *done += call->view.rows;
    }
    return FV_OK;
}

/* Rows from `done` on were not reached: zeros, of which a certificate says so. The last row's holds for all. */
static void rows_skip(attention_call *call, uint32_t done) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t width = (size_t)attend->query_heads * attend->head_dim;
    for (uint32_t row = done; row < call->rows; row++)
        for (size_t c = 0; c < width; c++) call->out[row * call->out_stride + c] = 0.0f;
    if (!certifies(call) || done == call->rows) return;
    call->view = watched_view(call, done);
    for (uint32_t head = 0; head < attend->kv_heads; head++) {
        choosing *at = choosing_make(call, &call->view, head, 0);
        fv_certify_nothing(chooser_at(at, call->first_token + call->rows - 1), call->rows - done,
                           &call->attention->counted.certified);
    }
}

fv_status fv_attention_run_watched(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                                   const fv_attention_rows *rows, const fv_parallel *parallel, fv_report *report,
                                   fv_watch *watch) {
    fv_status status = call_make(attention, cache, policy, rows, parallel);
    if (status != FV_OK) return status;
    attention_call *call = &attention->call;
    if ((!FV_BUILD_REPORT && report) || (call->chooses && policy->quality > 0.0f)) return FV_ERROR_UNSUPPORTED;
    call->watch = watch;
    attention->counted = (work_count){0};
    uint32_t done = 0;
    if (!watch->progress.expired) status = watched_plan(call);
    if (status == FV_OK) status = watched_run(call, rows, report != NULL, &done);
    if (status != FV_OK) return status;
    rows_skip(call, done);
    if (report) report_add(call, &attention->counted, report);
    return FV_OK;
}

#endif
