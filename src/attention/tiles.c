/* Prompts, tile by tile. Rows that choose are read together, each page once for those that chose it; by an executor of
 * the caller's two by two, and one by one where each is certified. */
#include "attention/tiles.h"
#include "attention/row_choice.h"
#include "attention/tally.h"

#if FV_BUILD_PROMPT

static const fv_state *plan_read(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t worker) {
#if FV_BUILD_STATE
    if (fv_call_executor(call)) return fv_plan_execute(call, plan, kv_head, worker);
#endif
    return fv_attend_plan(fv_call_begin(call, plan, kv_head, plan->first_token - call->first_token, worker));
}

/* The state of what was read. */
static const fv_state *plan_run(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t worker) {
    size_t row = plan->first_token - call->first_token;
    const fv_state *state = plan_read(call, plan, kv_head, worker);
    if (fv_call_has_tail(call)) fv_tails_merge(call, state, plan, worker);
    fv_call_write(call, state, plan->rows, kv_head, row);
    return state;
}

static void plan_attend(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t worker) {
    fv_plan_note(call, plan, kv_head, plan->first_token - call->first_token, worker);
    plan_run(call, plan, kv_head, worker);
}

/* One row with its certificate; where a quality is asked for, it reads more pages until its estimate is good enough or
 * it has read all. */
static void row_until(fv_choosing *at, fv_plan *plan, size_t worker) {
    const fv_attention_call *call = at->call;
    fv_attention *attention = call->attention;
    fv_work_count *count = &attention->counts[worker];
    const fv_chooser *chooser = fv_select_at(&at->rows, plan->first_token);
    fv_certified *made = &at->made;
    for (uint32_t more = 8, left = chooser->end - chooser->begin;; more *= 2) {
        *made = (fv_certified){0};
        const fv_state *state = plan_run(call, plan, at->rows.kv_head, worker);
        fv_phase_end_read(attention, worker);
        float estimate = fv_choosing_certify(at, *state, made);
        if (left == 0 && chooser->begin < chooser->end) made->whole = made->rows;
        if (!(call->policy->quality > 0.0f) || estimate <= call->policy->quality || left == 0) break;
        count->bytes += fv_attend_bytes(call->cache, plan);
        left = fv_select_more(&at->rows, more, plan);
        fv_phase_end_choose(attention, worker);
    }
    fv_phase_end_choose(attention, worker);
    fv_plan_note(call, plan, at->rows.kv_head, plan->first_token - call->first_token, worker);
    fv_certified_add(&count->certified, made);
}

static uint32_t tile_count(const fv_attention_call *call) {
    return (call->first_token + call->rows - 1) / fv_call_tile_rows(call) -
           call->first_token / fv_call_tile_rows(call) + 1;
}

/* That the plan of every tile can be made, before any output. */
static fv_status plans_try(const fv_attention_call *call) {
    const fv_attention *attention = call->attention;
    fv_work_count *work = &attention->counts[0];
    work->plan = (fv_plan){.steps = attention->row_steps, .capacity = attention->config.plan_steps};
    fv_status status = FV_OK;
    for (uint32_t tile = 0; !call->chooses && status == FV_OK && tile < tile_count(call); tile++) {
        fv_call_tile(call, tile, &work->view);
        status = fv_policy_plan(call->policy, &work->view, &work->plan);
    }
    return status;
}

/* Two rows that follow each other share the pages that both have chosen, whole rows are not among them: where that is
 * so, the plan of both; otherwise `first` is read, and the next row's plan is what is left. */
static const fv_plan *pair_plan(fv_choosing *at, const fv_plan *first, size_t worker) {
    const fv_attention_call *call = at->call;
    if (first->rows != 1 || fv_select_reads_all(&at->rows) || fv_call_certifies(call)) return first;
    uint32_t position = first->first_token + 1;
    if (position == at->rows.end) return first;
    if (fv_chosen_plan(at, position, worker, &at->next) != FV_OK) return first;
    if (!fv_select_reads_all(&at->rows) && fv_plan_join(first, &at->next, &at->both) == FV_OK) return &at->both;
    plan_attend(call, first, at->rows.kv_head, worker);
    return &at->next;
}

/* The rows of a tile, each by its own choice, or all by one. */
static void rows_attend(fv_choosing *at, uint32_t begin, fv_plan *plan, size_t worker) {
    const fv_attention_call *call = at->call;
    fv_attention *attention = call->attention;
    const fv_plan *ready;
    uint32_t end = at->rows.end;
    at->next = (fv_plan){.steps = plan->steps + plan->capacity, .capacity = plan->capacity};
    at->parts[0] = plan;
    at->parts[1] = &at->next;
    at->both = (fv_plan){.steps = at->next.steps + plan->capacity, .capacity = 2 * plan->capacity};
    for (uint32_t position = begin; position < end; position = ready->first_token + ready->rows) {
        if (fv_chosen_plan(at, position, worker, plan) != FV_OK) return;
        ready = pair_plan(at, plan, worker);
        fv_phase_end_choose(attention, worker);
        if (fv_call_certifies(call) && ready->rows == 1) {
            row_until(at, plan, worker);
        } else { /* rows that read all leave nothing to certify */
            if (ready == &at->both) attention->counts[worker].parts = at->parts;
            plan_attend(call, ready, at->rows.kv_head, worker);
            if (fv_call_certifies(call))
                attention->counts[worker].certified.rows += (uint64_t)ready->rows * at->rows.group;
        }
        fv_phase_end_read(attention, worker);
    }
}

#if FV_BUILD_LISTS
/* Adds a row's plan to who reads which page. */
static void readers_add(uint16_t *readers, const fv_plan *plan, uint32_t first_token) {
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        for (uint32_t page = step->begin / FV_PAGE_TOKENS; page * FV_PAGE_TOKENS < step->end; page++)
            readers[page] = (uint16_t)(readers[page] | 1u << (plan->first_token - first_token));
    }
}

/* Reads the pages of the positions first..end-1, and forgets who read them. */
static void lists_attend(fv_choosing *at, uint32_t first, uint32_t end, size_t worker) {
    const fv_attention_call *call = at->call;
    fv_attention *attention = call->attention;
    unsigned char *scratch = attention->workers + worker * attention->worker_bytes;
    uint16_t *readers = (uint16_t *)(void *)(scratch + attention->reader_offset);
    uint32_t pages = (end - 1) / FV_PAGE_TOKENS + 1;
    if (first == end) return;
    at->both = (fv_plan){.first_token = first, .rows = end - first};
    fv_phase_end_choose(attention, worker);
    fv_attend_job *job = fv_call_begin(call, &at->both, at->rows.kv_head, first - call->first_token, worker);
    const fv_state *state = fv_attend_lists(job, readers, pages, scratch + attention->list_offset);
    if (fv_call_has_tail(call)) fv_tails_merge(call, state, &at->both, at->tail_place);
    fv_call_write(call, state, end - first, at->rows.kv_head, first - call->first_token);
    for (uint32_t page = 0; page < pages; page++) {
        if (readers[page]) attention->counts[worker].bytes += fv_cache_page_bytes(call->cache);
        readers[page] = 0;
    }
    fv_phase_end_read(attention, worker);
}

/* The rows of a tile: all that choose at once, page by page; several that read all by one plan. */
static void tile_attend(fv_choosing *at, uint32_t begin, fv_plan *plan, size_t worker) {
    const fv_attention_call *call = at->call;
    fv_attention *attention = call->attention;
    unsigned char *scratch = attention->workers + worker * attention->worker_bytes;
    uint16_t *readers = (uint16_t *)(void *)(scratch + attention->reader_offset);
    uint32_t first = begin, end = at->rows.end; /* first: of the rows that have chosen and are not read yet */
    for (uint32_t page = 0; page * FV_PAGE_TOKENS < end; page++) readers[page] = 0;
    for (uint32_t position = begin; position < end; position += plan->rows) {
        plan->rows = 1; /* a plan that nobody looks at is not made */
        if (!attention->observer &&
            fv_chosen_readers(at, position, worker, (uint16_t)(1u << (position - first)), readers))
            continue;
        if (fv_chosen_plan(at, position, worker, plan) != FV_OK) return;
        if (plan->rows == 1) {
            if (FV_BUILD_REPORT) fv_plan_see(call, plan, at->rows.kv_head, position - call->first_token, worker);
            readers_add(readers, plan, first);
            continue;
        }
        lists_attend(at, first, position, worker);
        fv_phase_end_choose(attention, worker);
        plan_attend(call, plan, at->rows.kv_head, worker);
        fv_phase_end_read(attention, worker);
        first = position + plan->rows;
    }
    lists_attend(at, first, end, worker);
}
#endif

/* Plans cannot fail here: they were tried. */
static void tile_task(void *context, size_t task, size_t worker) {
    const fv_attention_call *call = (const fv_attention_call *)context;
    fv_attention *attention = call->attention;
    unsigned char *scratch = attention->workers + worker * attention->worker_bytes;
    fv_plan *plan = &attention->counts[worker].plan;
    plan->steps = (fv_step *)(void *)(scratch + attention->attend_bytes);
    plan->capacity = attention->config.plan_steps;
    uint32_t tiles =
        tile_count(call); /* one head after the other: what neighbouring tiles read stays in the L2 cache */
    uint32_t kv_head = (uint32_t)(task / tiles);
    fv_plan_view *view = &attention->counts[worker].view;
    fv_call_tile(call, (uint32_t)(task % tiles), view);
    fv_phase_begin(attention, worker);
    if (FV_BUILD_CHOOSE && call->chooses) {
        fv_choosing *at = fv_choosing_make(call, view, kv_head, worker);
        at->tail_place = worker;
#if FV_BUILD_LISTS
        if (!fv_call_executor(call) && !fv_call_certifies(call)) {
            tile_attend(at, view->first_token, plan, worker);
            return;
        }
#endif
        rows_attend(at, view->first_token, plan, worker);
        return;
    }
    if (fv_policy_plan(call->policy, view, plan) == FV_OK) plan_attend(call, plan, kv_head, worker);
    fv_phase_end_read(attention, worker);
}

fv_status fv_tiles_run(fv_attention_call *call) {
    fv_status status = plans_try(call);
    if (status != FV_OK) return status;
#if FV_BUILD_STATE
    for (uint32_t i = 0; i < call->attention->config.workers; i++) call->attention->counts[i].failed = FV_OK;
#endif
    fv_parallel_run(call->parallel, (size_t)tile_count(call) * call->attention->config.attend.kv_heads, tile_task,
                    call);
#if FV_BUILD_STATE
    for (uint32_t i = 0; i < call->attention->config.workers; i++)
        if (call->attention->counts[i].failed != FV_OK) status = call->attention->counts[i].failed;
#endif
    return status;
}

#endif
