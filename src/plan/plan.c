/* The list of steps: append, check, count. */
#include "fovea/plan.h"

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

uint64_t fv_plan_row_keys(const fv_plan *plan, uint32_t row) {
    uint64_t keys = 0;
    uint32_t position = plan->first_token + row;
    for (uint32_t i = 0; i < plan->count; i++) {
        const fv_step *step = &plan->steps[i];
        if (row < step->row_begin || row >= step->row_end) continue;
        if (step->kind == FV_STEP_DIAG) keys += step->ahead || position >= step->begin;
        if (step->kind != FV_STEP_SPAN) continue;
        uint32_t begin = step->begin, end = fv_step_span_end(step, position);
        if (step->window && position + 1 > step->window && begin < position + 1 - step->window)
            begin = position + 1 - step->window;
        if (begin < end) keys += end - begin;
    }
    return keys;
}
