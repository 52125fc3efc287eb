/* States of a unit's rows: segments in rounds, each rank's own made here, those of all merged in rising order. */
#include "attention/ranks.h"
#include "attention/row_choice.h"
#include "attention/segments.h"

#if FV_BUILD_EXCHANGE

static size_t unit_rows(const fv_attention_call *call) {
    return (size_t)call->view.rows * fv_attend_group(&call->attention->config.attend);
}

static fv_state state_at(const fv_attention_call *call, float *memory, size_t head) {
    size_t rows = unit_rows(call), dim = call->attention->config.attend.head_dim;
    return fv_state_at(memory + head * fv_state_floats(rows, dim), rows, dim);
}

static fv_state total_of(const fv_attention_call *call, size_t head) {
    return state_at(call, call->attention->ranks->totals, head);
}

static uint32_t unit_pages(const fv_attention_call *call) {
    return (call->view.first_token + call->view.rows - 1) / FV_PAGE_TOKENS + 1;
}

/* Whether any row reads anything of a segment in a head. */
static bool is_read(const fv_attention_call *call, uint32_t segment, size_t head) {
    const fv_ranks *ranks = call->attention->ranks;
    uint32_t begin = segment * FV_SEGMENT_TOKENS, end = begin + FV_SEGMENT_TOKENS;
    if (ranks->listed) {
        const uint16_t *readers = ranks->readers + head * ranks->reader_stride;
        uint32_t page = segment * FV_SEGMENT_PAGES, stop = page + FV_SEGMENT_PAGES;
        if (stop > unit_pages(call)) stop = unit_pages(call);
        while (page < stop && !readers[page]) page++;
        return page < stop;
    }
    const fv_plan *plan = &call->attention->plans[head];
    for (uint32_t s = 0; s < plan->count; s++)
        if (plan->steps[s].begin < end && plan->steps[s].end > begin) return true;
    return false;
}

static bool is_read_by_any(const fv_attention_call *call, uint32_t segment) {
    uint32_t heads = call->chooses ? call->attention->config.attend.kv_heads : 1; /* else all have one plan */
    for (uint32_t head = 0; head < heads; head++)
        if (is_read(call, segment, head)) return true;
    return false;
}

/* The next segments that are read, from `segment` on, and the room for their states; where to go on. */
static uint32_t round_make(const fv_attention_call *call, uint32_t segment, uint32_t end) {
    fv_ranks *ranks = call->attention->ranks;
    const fv_exchange *exchange = ranks->exchange;
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t floats = attend->kv_heads * fv_state_floats(unit_rows(call), attend->head_dim);
    size_t most = ranks->all_bytes / (floats * sizeof(float));
    ranks->round_count = ranks->round_own = 0;
    for (uint32_t r = 0; r < exchange->ranks; r++) ranks->bytes[r] = 0;
    for (; segment < end && ranks->round_count < most; segment++) {
        if (!is_read_by_any(call, segment)) continue;
        uint32_t owner = fv_exchange_owner(segment, exchange->ranks);
        if (owner == exchange->rank) ranks->own[ranks->round_own++] = ranks->round_count;
        ranks->round[ranks->round_count++] =
            (fv_rank_entry){.segment = segment, .offset = ranks->bytes[owner] / sizeof(float)};
        ranks->bytes[owner] += floats * sizeof(float);
    }
    fv_ranks_place(ranks);
    for (uint32_t i = 0; i < ranks->round_count; i++)
        ranks->round[i].offset += ranks->offset[fv_exchange_owner(ranks->round[i].segment, exchange->ranks)];
    return segment;
}

/* A segment that is here, in one head. Nothing is fetched ahead: what comes next may not be here. */
static void own_task(void *context, size_t task, size_t worker) {
    const fv_attention_call *call = (const fv_attention_call *)context;
    fv_attention *attention = call->attention;
    const fv_ranks *ranks = attention->ranks;
    uint32_t head = (uint32_t)(task / ranks->round_own);
    const fv_rank_entry *entry = &ranks->round[ranks->own[task % ranks->round_own]];
    fv_state state = state_at(call, ranks->all + entry->offset, head);
    size_t row = call->view.first_token - call->first_token;
    if (ranks->listed) {
        const fv_plan rows = {.first_token = call->view.first_token, .rows = call->view.rows};
        unsigned char *scratch = attention->workers + worker * attention->worker_bytes;
        fv_attend_job *job = fv_call_begin(call, &rows, head, row, worker);
        fv_attend_lists_segment(job, ranks->readers + head * ranks->reader_stride, unit_pages(call), entry->segment,
                                state, scratch + attention->list_offset);
        return;
    }
    uint32_t begin = entry->segment * FV_SEGMENT_TOKENS;
    const fv_token_range tokens = {begin, begin + FV_SEGMENT_TOKENS, UINT32_MAX, head};
    fv_attend_job *job = fv_call_begin(call, &attention->plans[head], head, row, worker);
    fv_state_clear(state, unit_rows(call), attention->config.attend.head_dim);
    fv_attend_spans(job, state, &tokens);
}

/* The round's states of a head into its total; the first one is the total. */
static void merge_task(void *context, size_t head, size_t worker) {
    const fv_attention_call *call = (const fv_attention_call *)context;
    const fv_ranks *ranks = call->attention->ranks;
    size_t rows = unit_rows(call), dim = call->attention->config.attend.head_dim;
    fv_state total = total_of(call, head);
    (void)worker;
    for (uint32_t i = 0; i < ranks->round_count; i++) {
        if (!is_read(call, ranks->round[i].segment, head)) continue;
        fv_state part = state_at(call, ranks->all + ranks->round[i].offset, head);
        if (ranks->begun[head])
            fv_state_merge_by(call->setting.kernels, &total, &part, rows, dim);
        else
            fv_bytes_copy(total.out, part.out, fv_state_floats(rows, dim) * sizeof(float));
        ranks->begun[head] = true;
    }
}

static void tails_merge(const fv_attention_call *call, const fv_state *total, size_t head) {
    const fv_ranks *ranks = call->attention->ranks;
    const fv_attend_config *attend = &call->attention->config.attend;
    for (uint32_t i = 0; i < call->view.rows; i++) {
        const fv_plan row = {.first_token = call->view.first_token + i, .rows = 1};
        fv_state one = fv_state_row(total, i * (size_t)fv_attend_group(attend), attend->head_dim);
        if (!ranks->listed)
            fv_tails_merge(call, &one, &call->attention->plans[head], head);
        else if (ranks->chosen[head] >> i & 1)
            fv_tails_merge(call, &one, &row, head);
    }
}

static void write_task(void *context, size_t head, size_t worker) {
    const fv_attention_call *call = (const fv_attention_call *)context;
    fv_state total = total_of(call, head);
    (void)worker;
    if (!call->attention->ranks->begun[head])
        fv_state_clear(total, unit_rows(call), call->attention->config.attend.head_dim);
    if (fv_call_has_tail(call)) tails_merge(call, &total, head);
    fv_call_write(call, &total, call->view.rows, (uint32_t)head, call->view.first_token - call->first_token);
}

fv_status fv_ranks_read(fv_attention_call *call) {
    fv_ranks *ranks = call->attention->ranks;
    uint32_t heads = call->attention->config.attend.kv_heads, segment = 0;
    uint32_t end = (unit_pages(call) - 1) / FV_SEGMENT_PAGES + 1;
    if (!ranks->listed) segment = call->first_segment, end = call->first_segment + call->segments - 1;
    for (uint32_t head = 0; head < heads; head++) ranks->begun[head] = false;
    while (segment < end) {
        segment = round_make(call, segment, end);
        if (!ranks->round_count) break;
        fv_parallel_run(call->parallel, (size_t)heads * ranks->round_own, own_task, call);
        fv_status status = fv_ranks_gather(ranks);
        if (status != FV_OK) return status;
        fv_parallel_run(call->parallel, heads, merge_task, call);
    }
    fv_parallel_run(call->parallel, heads, write_task, call);
    return FV_OK;
}

#endif
