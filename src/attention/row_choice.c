/* A row's choice: conducts select for one KV head, keeps the state of its tail. */
#include "attention/row_choice.h"
#include "cache/cache_pages.h"

#if FV_BUILD_CHOOSE

fv_choosing *fv_choosing_make(const fv_attention_call *call, const fv_plan_view *view, uint32_t kv_head,
                              size_t worker) {
    const fv_attention *attention = call->attention;
    const fv_attend_config *attend = &attention->config.attend;
    unsigned char *memory = attention->workers + worker * attention->worker_bytes + attention->attend_bytes +
                            FV_PAIR_PLANS * attention->step_bytes;
    fv_choosing *at = (fv_choosing *)(void *)memory;
    *at = (fv_choosing){.call = call, .view = *view, .kv_head = kv_head};
    fv_choose_scratch_at(&at->scratch, memory + FV_CHOOSING_BYTES, attend->head_dim, fv_attend_group(attend),
                         attention->config.max_tokens, fv_choose_together(attend));
    return at;
}

void fv_call_chooser(const fv_attention_call *call, uint32_t kv_head, uint32_t position, fv_chooser *chooser) {
    const fv_attend_config *attend = &call->attention->config.attend;
    fv_chooser_make(chooser, call->policy, call->cache, call->attention->kernels, attend->scale,
                    fv_attend_group(attend), call->layer, kv_head, position);
}

/* Of a position: two that follow each other may be at work. These states lie behind those of segments. */
static fv_state tail_state(const fv_attention_call *call, size_t place, uint32_t position) {
    const fv_attention *attention = call->attention;
    const fv_attend_config *attend = &attention->config.attend;
    size_t rows = fv_attend_group(attend), floats = fv_state_floats(rows, attend->head_dim);
    size_t state_rows = rows * (attention->config.state_rows ? attention->config.state_rows : 1);
    size_t segments =
        attend->kv_heads * ((size_t)attention->segments + 1) * fv_state_floats(state_rows, attend->head_dim);
    segments = (segments * sizeof(float) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN / sizeof(float);
    return fv_state_at(attention->states + segments + (2 * place + position % 2) * floats, rows, attend->head_dim);
}

/* What the row at work has in its tail, if anything. */
static void tail_make(const fv_choosing *at, size_t worker) {
    const fv_attention_call *call = at->call;
    if (!FV_BUILD_TAIL || !fv_call_has_tail(call) || !at->scratch.tail_count) return;
    fv_state tail = tail_state(call, at->tail_place, at->chooser.position);
    fv_tail_make(&at->chooser, &at->scratch, tail.maximum, tail.sum, tail.out);
    call->attention->counts[worker].bytes += at->scratch.tail_count * fv_tail_page_bytes(&call->cache->tail);
}

static void tail_clear(const fv_attention_call *call, size_t place, uint32_t position) {
    const fv_attend_config *attend = &call->attention->config.attend;
    if (fv_call_has_tail(call))
        fv_state_clear(tail_state(call, place, position), fv_attend_group(attend), attend->head_dim);
}

void fv_tails_merge(const fv_attention_call *call, const fv_state *state, const fv_plan *plan, size_t place) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t group = fv_attend_group(attend);
    for (uint32_t row = 0; plan->rows <= 2 && row < plan->rows; row++) {
        fv_state tail = tail_state(call, place, plan->first_token + row);
        fv_state one = {.maximum = state->maximum + row * group,
                        .sum = state->sum + row * group * FV_SUM_LANES,
                        .out = state->out + row * group * attend->head_dim};
        fv_state_merge(&one, &tail, group, attend->head_dim);
    }
}

/* What the chooser's row weighs and chooses; `rows` rows of the tile are left. */
static void rows_choose(fv_choosing *at, uint32_t rows, size_t worker) {
    const fv_attention_call *call = at->call;
    const fv_chooser *chooser = &at->chooser;
    fv_work_count *count = &call->attention->counts[worker];
    size_t row = chooser->position - call->first_token;
    fv_choose_weigh(chooser, &at->scratch, rows,
                    call->query + row * call->query_stride + at->kv_head * fv_group_width(at), call->query_stride);
    fv_choose_pages(chooser, &at->scratch);
    if (!at->read_shared) count->bytes += fv_chooser_shared_bytes(chooser);
    count->bytes += fv_chooser_own_bytes(chooser);
    at->read_shared = true;
    tail_make(at, worker);
}

fv_status fv_chosen_plan(fv_choosing *at, uint32_t position, size_t worker, fv_plan *plan) {
    const fv_chooser *chooser = fv_chooser_at(at, position);
    uint32_t rows = 1, end = at->view.first_token + at->view.rows;
    tail_clear(at->call, at->tail_place, position);
    if (fv_chooser_reads_all(chooser)) {
        while (position + rows < end && fv_chooser_reads_all(fv_chooser_at(at, position + rows))) rows++;
        tail_clear(at->call, at->tail_place, position + 1);
        plan->count = 0;
        plan->first_token = position;
        plan->rows = rows;
        fv_step all = {.kind = FV_STEP_SPAN, .end = position + rows, .row_end = (uint16_t)rows};
        return fv_plan_add(plan, all);
    }
    if (fv_chooser_has_choice(chooser)) rows_choose(at, end - position, worker);
    return fv_choose_plan(chooser, &at->scratch, rows, plan);
}

float fv_choosing_certify(fv_choosing *at, fv_state state, fv_certified *into) {
    const fv_attention_call *call = at->call;
    const fv_chooser *chooser = &at->chooser;
    size_t row = chooser->position - call->first_token, width = fv_group_width(at);
    return fv_certify_row(chooser, &at->scratch, call->query + row * call->query_stride + at->kv_head * width,
                          call->out + row * call->out_stride + at->kv_head * width, state, into);
}

#endif
