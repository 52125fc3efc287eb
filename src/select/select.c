/* The selectors that need no scores: dense, window, pattern. They write plans; nothing here reads a key. */
#include "fovea/select.h"

fv_select_config fv_select_config_default(fv_selector selector) {
    fv_select_config config = {.selector = selector, .block = 64};
    if (selector == FV_SELECTOR_WINDOW) {
        config.window = 512;
        config.sinks = 16;
    }
    if (selector == FV_SELECTOR_PATTERN) {
        config.window = 128;
        config.globals_count = 1; /* token 0 */
        config.log_stride = 1;
        config.landmarks = 1;
    }
    return config;
}

fv_status fv_select_check(const fv_select_config *config) {
    if (!config || config->selector > FV_SELECTOR_PATTERN) return FV_ERROR_ARGUMENT;
    if (config->selector == FV_SELECTOR_WINDOW && config->window < 1) return FV_ERROR_ARGUMENT;
    if (config->selector == FV_SELECTOR_PATTERN) {
        if (config->globals_count > FV_SELECT_GLOBALS || config->log_stride > 1 || config->landmarks > 1)
            return FV_ERROR_ARGUMENT;
        if (config->block < FV_PAGE_TOKENS || config->block % FV_PAGE_TOKENS != 0) return FV_ERROR_ARGUMENT;
    }
    return FV_OK;
}

uint32_t fv_select_steps(const fv_select_config *config, uint32_t max_tokens) {
    if (config->selector != FV_SELECTOR_PATTERN) return 2;
    uint32_t strides = 0;
    while (strides < 31 && max_tokens >> strides) strides++;
    /* spans: one a global and one between each two; strides: split by each global; marks: two pivots a tile and strides */
    return 2 * config->globals_count + 1 + strides * (config->globals_count + 1) + 2 * (strides + 2);
}

static fv_step step_for(fv_step_kind kind, uint32_t begin, uint32_t end, uint32_t window, uint32_t row_begin,
                        uint32_t row_end) {
    return (fv_step){.kind = kind,
                     .begin = begin,
                     .end = end,
                     .window = window,
                     .row_begin = (uint16_t)row_begin,
                     .row_end = (uint16_t)row_end};
}

/* First token that the oldest row still sees through a window of `window` tokens (0: all). */
static uint32_t window_begin(const fv_select_view *view, uint32_t window) {
    return window && view->first_token + 1 > window ? view->first_token + 1 - window : 0;
}

static fv_status plan_dense(const fv_select_view *view, uint32_t window, fv_plan *plan) {
    return fv_plan_add(plan, step_for(FV_STEP_SPAN, window_begin(view, window), view->first_token + view->rows, window, 0,
                                      view->rows));
}

/* The sinks and the window are disjoint spans: a row whose window reaches into the sinks reads them once. */
static fv_status plan_window(const fv_select_config *config, const fv_select_view *view, fv_plan *plan) {
    uint32_t end = view->first_token + view->rows, begin = window_begin(view, config->window);
    uint32_t sinks = config->sinks < end ? config->sinks : end;
    fv_status status = fv_plan_add(plan, step_for(FV_STEP_SPAN, 0, sinks, 0, 0, view->rows));
    if (status != FV_OK) return status;
    return fv_plan_add(plan, step_for(FV_STEP_SPAN, begin > sinks ? begin : sinks, end, config->window, 0, view->rows));
}

/* Globals in rising order, without repetition and without those that no row sees. */
static uint32_t globals_sorted(const fv_select_config *config, uint32_t end, uint32_t *sorted) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < config->globals_count; i++) {
        uint32_t token = config->globals[i], place = 0;
        while (place < count && sorted[place] < token) place++;
        if (token >= end || (place < count && sorted[place] == token)) continue;
        for (uint32_t j = count; j > place; j--) sorted[j] = sorted[j - 1];
        sorted[place] = token;
        count++;
    }
    return count;
}

/* The window without its globals, the globals without a window: every token is in one span at most. */
static fv_status pattern_spans(const fv_select_view *view, uint32_t window, const uint32_t *globals, uint32_t count,
                               fv_plan *plan) {
    uint32_t end = view->first_token + view->rows, begin = window_begin(view, window);
    for (uint32_t i = 0; i <= count; i++) {
        uint32_t stop = i < count ? globals[i] : end;
        fv_status status = fv_plan_add(plan, step_for(FV_STEP_SPAN, begin, stop, window, 0, view->rows));
        if (status != FV_OK) return status;
        if (i == count) break;
        status = fv_plan_add(plan, step_for(FV_STEP_SPAN, stop, stop + 1, 0, 0, view->rows));
        if (status != FV_OK) return status;
        if (begin < stop + 1) begin = stop + 1;
    }
    return FV_OK;
}

/* One stride outside the window, without the rows where it falls on a global. */
static fv_status pattern_stride(const fv_select_view *view, uint32_t offset, const uint32_t *globals, uint32_t count,
                                fv_plan *plan) {
    uint32_t row = offset > view->first_token ? offset - view->first_token : 0;
    for (uint32_t i = 0; i < count && row < view->rows; i++) {
        uint64_t hit = (uint64_t)globals[i] + offset;
        if (hit < view->first_token + row || hit >= view->first_token + view->rows) continue;
        uint32_t stop = (uint32_t)hit - view->first_token;
        fv_status status = fv_plan_add(plan, step_for(FV_STEP_DIAG, offset, offset + 1, 0, row, stop));
        if (status != FV_OK) return status;
        row = stop + 1;
    }
    return fv_plan_add(plan, step_for(FV_STEP_DIAG, offset, offset + 1, 0, row, view->rows));
}

/* Landmarks of the rows row..stop-1, which see the same `available` complete blocks: the last two, then strides back. */
static fv_status pattern_marks(const fv_select_config *config, uint32_t available, uint32_t row, uint32_t stop,
                               fv_plan *plan) {
    if (!available) return FV_OK;
    uint32_t pivot = available - 1;
    fv_status status = fv_plan_add(plan, step_for(FV_STEP_MARK, pivot ? pivot - 1 : 0, pivot + 1, 0, row, stop));
    for (uint32_t s = 2; status == FV_OK && config->log_stride && s <= pivot; s *= 2)
        status = fv_plan_add(plan, step_for(FV_STEP_MARK, pivot - s, pivot - s + 1, 0, row, stop));
    return status;
}

static fv_status plan_pattern(const fv_select_config *config, const fv_select_view *view, fv_plan *plan) {
    uint32_t globals[FV_SELECT_GLOBALS], end = view->first_token + view->rows;
    uint32_t count = globals_sorted(config, end, globals);
    uint32_t window = config->window < end ? config->window + 1 : 0; /* own token included; 0: everything is inside */
    fv_status status = pattern_spans(view, window, globals, count, plan);
    for (uint32_t s = 1; status == FV_OK && config->log_stride && window && s < end; s *= 2) {
        if (s >= window) status = pattern_stride(view, s, globals, count, plan);
        if (s > UINT32_MAX / 2) break;
    }
    for (uint32_t row = 0, stop; status == FV_OK && config->landmarks && row < view->rows; row = stop) {
        uint32_t available = (view->first_token + row + 1) / config->block;
        stop = row + 1;
        while (stop < view->rows && (view->first_token + stop + 1) / config->block == available) stop++;
        status = pattern_marks(config, available, row, stop, plan);
    }
    return status;
}

fv_status fv_select_plan(const fv_select_config *config, const fv_select_view *view, fv_plan *plan) {
    fv_status status = fv_select_check(config);
    if (status != FV_OK) return status;
    if (!view || !plan || view->rows < 1 || view->rows > FV_TILE_ROWS || view->first_token > UINT32_MAX / 2)
        return FV_ERROR_ARGUMENT;
    plan->count = 0;
    plan->first_token = view->first_token;
    plan->rows = view->rows;
    if (view->local_window || config->selector == FV_SELECTOR_DENSE) return plan_dense(view, view->local_window, plan);
    if (config->selector == FV_SELECTOR_WINDOW) return plan_window(config, view, plan);
    return plan_pattern(config, view, plan);
}
