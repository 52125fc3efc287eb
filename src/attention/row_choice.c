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
    *at = (fv_choosing){.call = call};
    fv_select_rows *rows = &at->rows;
    rows->policy = call->policy;
    rows->cache = call->cache;
    rows->kernels = attention->kernels;
    rows->scale = attend->scale;
    rows->group = fv_attend_group(attend);
    rows->layer = call->layer;
    rows->kv_head = kv_head;
    rows->query = call->query + (size_t)kv_head * rows->group * attend->head_dim;
    rows->query_stride = call->query_stride;
    rows->first_token = call->first_token;
    rows->end = view->first_token + view->rows;
#if FV_BUILD_EXCHANGE
    rows->gathered = call->gathered;
#endif
    fv_choose_scratch_at(&rows->scratch, memory + FV_CHOOSING_BYTES, attend->head_dim, rows->group,
                         attention->config.max_tokens, fv_choose_together(attend));
    return at;
}

/* Of a position: those of a tile may be at work. These states lie after those of segments. */
static fv_state tail_state(const fv_attention_call *call, size_t place, uint32_t position) {
    const fv_attention *attention = call->attention;
    const fv_attend_config *attend = &attention->config.attend;
    size_t rows = fv_attend_group(attend), floats = fv_state_floats(rows, attend->head_dim);
    size_t state_rows = rows * (attention->config.state_rows ? attention->config.state_rows : 1);
    size_t segments =
        attend->kv_heads * ((size_t)attention->segments + 1) * fv_state_floats(state_rows, attend->head_dim);
    segments = (segments * sizeof(float) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN / sizeof(float);
    return fv_state_at(attention->states + segments + (FV_TAIL_ROWS * place + position % FV_TAIL_ROWS) * floats, rows,
                       attend->head_dim);
}

void fv_tails_merge(const fv_attention_call *call, const fv_state *state, const fv_plan *plan, size_t place) {
    const fv_attend_config *attend = &call->attention->config.attend;
    size_t group = fv_attend_group(attend);
    if (plan->count == 1 && plan->steps[0].reason == FV_REASON_WHOLE) return; /* nothing is left for a tail */
    for (uint32_t row = 0; row < plan->rows; row++) {
        fv_state tail = tail_state(call, place, plan->first_token + row);
        fv_state one = fv_state_row(state, row * group, attend->head_dim);
        fv_state_merge_by(call->setting.kernels, &one, &tail, group, attend->head_dim);
    }
}

/* The cleared state of a position's tail, in *tail; NULL: the call has none. */
static const fv_state *tail_begin(const fv_choosing *at, uint32_t position, fv_state *tail) {
    const fv_attention_call *call = at->call;
    if (!fv_call_has_tail(call)) return NULL;
    *tail = tail_state(call, at->tail_place, position);
    fv_state_clear(*tail, at->rows.group, call->attention->config.attend.head_dim);
    return tail;
}

fv_status fv_chosen_plan(fv_choosing *at, uint32_t position, size_t worker, fv_plan *plan) {
    fv_state tail;
    return fv_select_row(&at->rows, position, tail_begin(at, position, &tail),
                         &at->call->attention->counts[worker].bytes, plan);
}

#if FV_BUILD_LISTS
bool fv_chosen_readers(fv_choosing *at, uint32_t position, size_t worker, uint16_t reader, uint16_t *readers) {
    fv_work_count *count = &at->call->attention->counts[worker];
    fv_state tail;
    uint64_t keys = fv_select_readers(&at->rows, position, tail_begin(at, position, &tail), &count->bytes, reader,
                                      readers, count->by_reason);
    count->keys += keys;
    return keys > 0;
}
#endif

float fv_choosing_certify(fv_choosing *at, fv_state state, fv_certified *into) {
    const fv_attention_call *call = at->call;
    const fv_select_rows *rows = &at->rows;
    size_t row = rows->chooser.position - rows->first_token;
    size_t width = (size_t)rows->group * call->attention->config.attend.head_dim;
    return fv_certify_row(&rows->chooser, &rows->scratch, rows->query + row * rows->query_stride,
                          call->out + row * call->out_stride + rows->kv_head * width, state, into);
}

#endif
