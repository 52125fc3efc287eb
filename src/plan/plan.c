/* The list of steps: append, check, count. */
#include "fovea/plan.h"
#include "build.h"
#include <stdbool.h>

fv_status fv_plan_add(fv_plan *plan, fv_step step) {
    if ((step.kind != FV_STEP_DIAG && step.begin >= step.end) || step.row_begin >= step.row_end) return FV_OK;
    if (plan->count == plan->capacity) return FV_ERROR_FULL;
    plan->steps[plan->count++] = step;
    return FV_OK;
}

static int step_is_valid(const fv_step *step, const fv_plan *plan, uint32_t tokens, uint32_t marks,
                         uint32_t *span_end) {
    if (step->row_begin >= step->row_end || step->row_end > plan->rows) return 0;
    if (step->kind == FV_STEP_DIAG && step->ahead) return step->ahead <= tokens - plan->first_token - step->row_end;
    if (step->kind == FV_STEP_DIAG) return step->begin <= plan->first_token + plan->rows - 1;
    if (step->begin >= step->end) return 0;
    if (step->kind == FV_STEP_MARK) return step->end <= marks;
    if (step->kind != FV_STEP_SPAN || step->end > tokens || step->begin < *span_end) return 0;
    *span_end = step->end;
    return 1;
}

fv_status fv_plan_check(const fv_plan *plan, uint32_t tokens, uint32_t marks) {
    if (!plan || (plan->count > 0 && !plan->steps) || plan->count > plan->capacity) return FV_ERROR_ARGUMENT;
    if (plan->rows < 1 || plan->rows > FV_TILE_ROWS) return FV_ERROR_ARGUMENT;
    if (plan->first_token > tokens || plan->rows > tokens - plan->first_token) return FV_ERROR_ARGUMENT;
    uint32_t span_end = 0;
    for (uint32_t i = 0; i < plan->count; i++)
        if (!step_is_valid(&plan->steps[i], plan, tokens, marks, &span_end)) return FV_ERROR_ARGUMENT;
    return FV_OK;
}

#if FV_BUILD_PROMPT
/* One row's spans from `at` on. */
typedef struct span_cursor {
    const fv_plan *plan;
    uint32_t step, last_end; /* the last span's end: what is beyond the row's own position is cut for it anyhow */
} span_cursor;

static uint32_t span_end(const span_cursor *cursor) {
    bool last = cursor->step + 1 == cursor->plan->count;
    return last ? cursor->last_end : cursor->plan->steps[cursor->step].end;
}

/* Whether the row reads `at`; where that ends or begins next. */
static bool span_holds(span_cursor *cursor, uint32_t at, uint32_t *change) {
    while (cursor->step < cursor->plan->count && span_end(cursor) <= at) cursor->step++;
    *change = UINT32_MAX;
    if (cursor->step == cursor->plan->count) return false;
    uint32_t begin = cursor->plan->steps[cursor->step].begin;
    *change = begin <= at ? span_end(cursor) : begin;
    return begin <= at;
}

/* Of the span that the cursor is at, or of none. */
static uint16_t span_reason(const span_cursor *cursor) {
    return cursor->step < cursor->plan->count ? cursor->plan->steps[cursor->step].reason : FV_REASON_NONE;
}

fv_status fv_plan_join(const fv_plan *first, const fv_plan *second, fv_plan *both) {
    uint32_t end = second->first_token + 1, own = first->steps[first->count - 1].end;
    span_cursor a = {.plan = first, .last_end = own == first->first_token + 1 ? end : own};
    span_cursor b = {.plan = second, .last_end = end};
    fv_status status = FV_OK;
    both->count = 0;
    both->first_token = first->first_token;
    both->rows = 2;
    for (uint32_t at = 0, stop; at < end && status == FV_OK; at = stop) {
        uint32_t a_change, b_change;
        uint16_t row_begin = span_holds(&a, at, &a_change) ? 0 : 1, row_end = span_holds(&b, at, &b_change) ? 2 : 1;
        stop = a_change < b_change ? a_change : b_change;
        fv_step step = {.reason = row_begin ? span_reason(&b) : span_reason(&a),
                        .begin = at,
                        .end = stop,
                        .row_begin = row_begin,
                        .row_end = row_end};
        status = fv_plan_add(both, step);
    }
    return status;
}
#endif

uint64_t fv_plan_row_keys(const fv_plan *plan, uint32_t row) {
    uint64_t keys = 0;
    uint32_t position = plan->first_token + row;
    for (uint32_t i = 0; i < plan->count; i++) {
        const fv_step *step = &plan->steps[i];
        if (row < step->row_begin || row >= step->row_end) continue;
        if (step->kind == FV_STEP_DIAG) keys += step->ahead || position >= step->begin;
        if (step->kind != FV_STEP_SPAN) continue;
        uint32_t begin = fv_step_span_begin(step, position), end = fv_step_span_end(step, position);
        if (begin < end) keys += end - begin;
    }
    return keys;
}
