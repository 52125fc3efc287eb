/* A row's choice, from its scores to its plan. */
#include "select/select_row.h"
#include "build.h"

#if FV_BUILD_CHOOSE

const fv_chooser *fv_select_at(fv_select_rows *rows, uint32_t position) {
    fv_chooser_make(&rows->chooser, rows->policy, rows->cache, rows->kernels, rows->scale, rows->group, rows->layer,
                    rows->kv_head, position);
    return &rows->chooser;
}

/* Scores the row at hand; `count` rows of the tile are left. */
static void row_weigh(fv_select_rows *rows, uint32_t count) {
    size_t row = rows->chooser.position - rows->first_token;
#if FV_BUILD_EXCHANGE
    if (rows->gathered) {
        fv_choose_take(&rows->chooser, &rows->scratch, rows->gathered);
        return;
    }
#endif
    fv_choose_weigh(&rows->chooser, &rows->scratch, count, rows->query + row * rows->query_stride, rows->query_stride);
}

/* What the row at hand weighs and chooses; `count` rows of the tile are left. */
static void row_choose(fv_select_rows *rows, uint32_t count, const fv_state *tail, uint64_t *bytes) {
    const fv_chooser *chooser = &rows->chooser;
    const fv_choose_scratch *scratch = &rows->scratch;
    row_weigh(rows, count);
    fv_choose_pages(chooser, &rows->scratch);
    if (!rows->read_shared) *bytes += fv_chooser_shared_bytes(chooser);
    *bytes += fv_chooser_own_bytes(chooser);
    rows->read_shared = true;
    if (!FV_BUILD_TAIL || !tail || !scratch->tail_count) return;
    fv_tail_make(chooser, scratch, tail->maximum, tail->sum, tail->out);
    *bytes += scratch->tail_count * fv_tail_page_bytes(&rows->cache->tail);
}

fv_status fv_select_row(fv_select_rows *rows, uint32_t position, const fv_state *tail, uint64_t *bytes, fv_plan *plan) {
    const fv_chooser *chooser = fv_select_at(rows, position);
    uint32_t count = 1;
    if (fv_chooser_reads_all(chooser)) {
        while (position + count < rows->end && fv_chooser_reads_all(fv_select_at(rows, position + count))) count++;
        plan->count = 0;
        plan->first_token = position;
        plan->rows = count;
        fv_step all = {.reason = FV_REASON_WHOLE, .end = position + count, .row_end = (uint16_t)count};
        return fv_plan_add(plan, all);
    }
    if (fv_chooser_has_choice(chooser)) row_choose(rows, rows->end - position, tail, bytes);
    return fv_choose_plan(chooser, &rows->scratch, 1, plan);
}

#if FV_BUILD_LISTS
uint64_t fv_select_readers(fv_select_rows *rows, uint32_t position, const fv_state *tail, uint64_t *bytes,
                           uint16_t reader, uint16_t *readers, uint64_t *by_reason) {
    const fv_chooser *chooser = fv_select_at(rows, position);
    if (fv_chooser_reads_all(chooser)) return 0;
    if (fv_chooser_has_choice(chooser)) row_choose(rows, rows->end - position, tail, bytes);
    return fv_choose_readers(chooser, &rows->scratch, reader, readers, by_reason);
}
#endif

#if FV_BUILD_EXCHANGE
bool fv_select_scores(fv_select_rows *rows, uint32_t position) {
    const fv_chooser *chooser = fv_select_at(rows, position);
    return !fv_chooser_reads_all(chooser) && fv_chooser_has_choice(chooser);
}

uint32_t fv_select_score(fv_select_rows *rows, uint32_t position, const fv_gathered_scores *into) {
    size_t row = position - rows->first_token;
    fv_select_at(rows, position);
    rows->chooser.scored = into->pages;
    return fv_choose_score(&rows->chooser, &rows->scratch, rows->end - position, rows->query + row * rows->query_stride,
                           rows->query_stride, into);
}
#endif

uint32_t fv_select_more(fv_select_rows *rows, uint32_t more, fv_plan *plan) {
    uint32_t left = fv_choose_more(&rows->chooser, &rows->scratch, more);
    return fv_choose_plan(&rows->chooser, &rows->scratch, 1, plan) == FV_OK ? left : 0; /* there is room for all */
}

/* Marks the pages of the list, which is all, that were read of the plan in time. */
static void pages_mark(const fv_plan *plan, uint32_t from, const fv_choose_scratch *scratch) {
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        uint32_t page = (step->begin > from ? step->begin : from) / FV_PAGE_TOKENS, end = step->end / FV_PAGE_TOKENS;
        for (; page < end && page < scratch->count; page++) scratch->weight[page] = FV_CHOSEN;
    }
}

void fv_select_again(fv_select_rows *rows, const fv_plan *plan, uint32_t from) {
    fv_select_at(rows, plan->first_token);
    if (from) fv_chooser_take_all(&rows->chooser);
    if (!fv_chooser_has_choice(&rows->chooser)) return;
    row_weigh(rows, 1);
    if (from)
        pages_mark(plan, from, &rows->scratch);
    else
        fv_choose_pages(&rows->chooser, &rows->scratch);
}

#endif
