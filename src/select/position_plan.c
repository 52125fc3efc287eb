/* position_plan.c - plans of the selectors that need no scores: dense, window, pattern. They are written by position
 * alone, nothing here reads a key. What chooses by the queries is in choose.c. */
#include "select/steps.h"

/* Strides 1, 2, 4, … below max_tokens, both ways if the policy is not causal. */
static uint32_t stride_count(const fv_policy *policy, uint32_t max_tokens) {
    uint32_t strides = 0;
    while (strides < 31 && max_tokens >> strides) strides++;
    return policy->causal ? strides : 2 * strides;
}

static uint32_t steps_most(const fv_policy *policy, uint32_t max_tokens, uint32_t rows, bool masked) {
    if (fv_policy_chooses(policy)) return max_tokens / FV_PAGE_TOKENS + 4; /* one a page */
    if (policy->selector != FV_SELECTOR_PATTERN) return 2;
    /* spans: one a global and one between each two; strides: cut by globals and by what is kept into runs of rows;
     * marks: of each pivot of the tile its neighbours and strides */
    uint32_t most_runs = (rows + 1) / 2, runs = policy->globals_count + 1,
             pivots = policy->block < rows || rows < 2 ? rows : 2;
    if (masked || runs > most_runs) runs = most_runs;
    uint32_t strides = stride_count(policy, max_tokens);
    return 2 * policy->globals_count + 1 + strides * runs + pivots * (2 + strides);
}

uint32_t fv_policy_steps(const fv_policy *policy, uint32_t max_tokens, uint32_t rows) {
    return steps_most(policy, max_tokens, rows, policy->keep || policy->keep_until);
}

uint32_t fv_select_masked_steps(const fv_policy *policy, uint32_t max_tokens, uint32_t rows) {
    return steps_most(policy, max_tokens, rows, true);
}

uint32_t fv_policy_gathered(const fv_policy *policy, uint32_t max_tokens) {
    return policy->selector == FV_SELECTOR_PATTERN ? 2 + stride_count(policy, max_tokens) : 0;
}

/* As fv_plan_add(), field by field into its place: a copy of a step that was just made waits for its parts. */
static fv_status add_step(fv_plan *plan, fv_step_kind kind, fv_reason reason, uint32_t begin, uint32_t end,
                          uint32_t row_begin, uint32_t row_end) {
    if ((kind != FV_STEP_DIAG && begin >= end) || row_begin >= row_end) return FV_OK;
    if (plan->count == plan->capacity) return FV_ERROR_FULL;
    fv_step *step = &plan->steps[plan->count++];
    step->kind = (uint16_t)kind;
    step->reason = (uint16_t)reason;
    step->begin = begin;
    step->end = end;
    step->window = step->ahead = 0;
    step->row_begin = (uint16_t)row_begin;
    step->row_end = (uint16_t)row_end;
    return FV_OK;
}

static fv_status add_span(fv_plan *plan, fv_reason reason, uint32_t begin, uint32_t end, uint32_t window,
                          uint32_t ahead) {
    const uint32_t before = plan->count;
    fv_status status = add_step(plan, FV_STEP_SPAN, reason, begin, end, 0, plan->rows);
    if (plan->count == before) return status;
    plan->steps[before].window = window;
    plan->steps[before].ahead = ahead;
    return FV_OK;
}

/* First token that the oldest row still sees through a window of `window` tokens (0: all). */
static uint32_t window_begin(const fv_plan_view *view, uint32_t window) {
    return window && view->first_token + 1 > window ? view->first_token + 1 - window : 0;
}

/* One past the last token that any row may see. */
static uint32_t view_end(const fv_policy *policy, const fv_plan_view *view) {
    return policy->causal || view->local_window ? view->first_token + view->rows : view->tokens;
}

/* One past the last token that the newest row sees when it looks `ahead` tokens forward. */
static uint32_t window_end(const fv_plan_view *view, uint32_t ahead, uint32_t end) {
    uint32_t last = view->first_token + view->rows;
    return end - last > ahead ? last + ahead : end;
}

/* The sinks and the window are disjoint spans: a row whose window reaches into the sinks reads them once. */
static fv_status plan_window(const fv_policy *policy, const fv_plan_view *view, fv_plan *plan) {
    uint32_t end = view_end(policy, view), begin = window_begin(view, policy->window);
    uint32_t sinks = policy->sinks < end ? policy->sinks : end, ahead = policy->causal ? 0 : policy->window - 1;
    fv_status status = add_span(plan, FV_REASON_SINK, 0, sinks, 0, policy->causal ? 0 : UINT32_MAX);
    if (status != FV_OK) return status;
    return add_span(plan, FV_REASON_WINDOW, begin > sinks ? begin : sinks, window_end(view, ahead, end), policy->window,
                    ahead);
}

/* What the parts of the pattern share. */
typedef struct pattern_job {
    const fv_policy *policy;
    const fv_plan_view *view;
    fv_plan *plan;
    uint32_t end;           /* one past the last visible token */
    uint32_t window, ahead; /* as in a SPAN; window 0: everything is inside */
    uint32_t globals_count;
    uint32_t globals[FV_POLICY_GLOBALS]; /* rising, each once, all visible to some row */
} pattern_job;

static void globals_sort(pattern_job *job) {
    for (uint32_t i = 0; i < job->policy->globals_count; i++) {
        uint32_t token = job->policy->globals[i], place = 0;
        while (place < job->globals_count && job->globals[place] < token) place++;
        if (token >= job->end || (place < job->globals_count && job->globals[place] == token)) continue;
        for (uint32_t j = job->globals_count; j > place; j--) job->globals[j] = job->globals[j - 1];
        job->globals[place] = token;
        job->globals_count++;
    }
}

/* The window without its globals, the globals without a window: every token is in one span at most. */
static fv_status pattern_spans(const pattern_job *job) {
    uint32_t begin = window_begin(job->view, job->window), end = window_end(job->view, job->ahead, job->end);
    for (uint32_t i = 0; i <= job->globals_count; i++) {
        uint32_t global = i < job->globals_count ? job->globals[i] : job->end, stop = global < end ? global : end;
        fv_status status = add_span(job->plan, FV_REASON_WINDOW, begin, stop, job->window, job->ahead);
        if (status != FV_OK) return status;
        if (i == job->globals_count) break;
        status = add_span(job->plan, FV_REASON_GLOBAL, global, global + 1, 0, job->policy->causal ? 0 : UINT32_MAX);
        if (status != FV_OK) return status;
        if (begin < global + 1) begin = global + 1;
    }
    return FV_OK;
}

static bool is_global(const pattern_job *job, uint32_t token) {
    for (uint32_t i = 0; i < job->globals_count; i++)
        if (job->globals[i] == token) return true;
    return false;
}

/* Whether the row at `position` reads the token that its stride leads to. */
static bool takes_stride(const pattern_job *job, uint32_t position, uint32_t offset, bool forward) {
    if (forward ? offset >= job->end - position : offset > position) return false;
    uint32_t token = forward ? position + offset : position - offset;
    if (is_global(job, token)) return false;
    if (job->policy->keep && !job->policy->keep[token]) return false;
    return !job->policy->keep_until || position < job->policy->keep_until[token];
}

static bool has_global(const pattern_job *job, uint32_t begin, uint32_t end) {
    for (uint32_t i = 0; i < job->globals_count; i++)
        if (job->globals[i] >= begin && job->globals[i] < end) return true;
    return false;
}

static fv_status add_stride(const pattern_job *job, uint32_t offset, bool forward, uint32_t row, uint32_t stop) {
    const uint32_t before = job->plan->count;
    fv_status status = add_step(job->plan, FV_STEP_DIAG, FV_REASON_STRIDE, forward ? 0 : offset, 0, row, stop);
    if (forward && job->plan->count > before) job->plan->steps[before].ahead = offset;
    return status;
}

/* One stride outside the window, for the runs of rows that take it: one run where nothing is on its way. */
static fv_status pattern_stride(const pattern_job *job, uint32_t offset, bool forward) {
    uint32_t first = job->view->first_token, rows = job->view->rows;
    if (!forward && !job->policy->keep && !job->policy->keep_until) {
        uint32_t row = offset > first ? offset - first : 0;
        if (row >= rows) return FV_OK;
        if (!has_global(job, first + row - offset, first + rows - offset))
            return add_stride(job, offset, forward, row, rows);
    }
    for (uint32_t row = 0, stop; row < rows; row = stop + 1) {
        while (row < rows && !takes_stride(job, first + row, offset, forward)) row++;
        stop = row;
        while (stop < rows && takes_stride(job, first + stop, offset, forward)) stop++;
        fv_status status = add_stride(job, offset, forward, row, stop);
        if (status != FV_OK) return status;
    }
    return FV_OK;
}

static fv_status pattern_strides(const pattern_job *job) {
    fv_status status = FV_OK;
    for (uint32_t s = 1; status == FV_OK && job->window && s < job->end; s *= 2) {
        if (s >= job->window) status = pattern_stride(job, s, false);
        if (s >= job->window && status == FV_OK && !job->policy->causal) status = pattern_stride(job, s, true);
        if (s > UINT32_MAX / 2) break;
    }
    return status;
}

static fv_status add_mark(const pattern_job *job, uint32_t mark, uint32_t count, uint32_t row, uint32_t stop) {
    return add_step(job->plan, FV_STEP_MARK, FV_REASON_LANDMARK, mark, mark + count, row, stop);
}

/* Landmarks of the rows row..stop-1, which see the same `available` complete blocks: the last two, then strides back.
 */
static fv_status marks_causal(const pattern_job *job, uint32_t available, uint32_t row, uint32_t stop) {
    if (!available) return FV_OK;
    uint32_t pivot = available - 1;
    fv_status status = add_mark(job, pivot ? pivot - 1 : 0, pivot ? 2 : 1, row, stop);
    for (uint32_t s = 2; status == FV_OK && job->policy->log_stride && s <= pivot; s *= 2)
        status = add_mark(job, pivot - s, 1, row, stop);
    return status;
}

/* Landmarks of rows whose own block is `pivot`: its neighbours, then strides both ways; its own never. */
static fv_status marks_both_ways(const pattern_job *job, uint32_t pivot, uint32_t row, uint32_t stop) {
    uint32_t blocks = (job->end - 1) / job->policy->block + 1;
    fv_status status = FV_OK;
    for (uint32_t s = 1; status == FV_OK && s < blocks; s *= 2) {
        if (s <= pivot) status = add_mark(job, pivot - s, 1, row, stop);
        if (status == FV_OK && s < blocks - pivot) status = add_mark(job, pivot + s, 1, row, stop);
        if (!job->policy->log_stride) break;
    }
    return status;
}

static fv_status plan_pattern(const fv_policy *policy, const fv_plan_view *view, fv_plan *plan) {
    pattern_job job = {.policy = policy, .view = view, .plan = plan, .end = view_end(policy, view)};
    if ((policy->keep || policy->keep_until) && policy->keep_tokens < job.end) return FV_ERROR_ARGUMENT;
    if (policy->window < job.end) job.window = policy->window + 1; /* own token included */
    if (!policy->causal) job.ahead = job.window ? policy->window : UINT32_MAX;
    globals_sort(&job);
    fv_status status = pattern_spans(&job);
    if (status == FV_OK && policy->log_stride) status = pattern_strides(&job);
    for (uint32_t row = 0, stop; status == FV_OK && policy->landmarks && row < view->rows; row = stop) {
        uint32_t own = view->first_token + row + policy->causal, blocks = own / policy->block;
        uint32_t left = policy->block - own % policy->block; /* rows that see as many */
        stop = left < view->rows - row ? row + left : view->rows;
        status = policy->causal ? marks_causal(&job, blocks, row, stop) : marks_both_ways(&job, blocks, row, stop);
    }
    return status;
}

fv_status fv_policy_plan(const fv_policy *policy, const fv_plan_view *view, fv_plan *plan) {
    fv_status status = fv_policy_check(policy);
    if (status != FV_OK) return status;
    if (!view || !plan || view->rows < 1 || view->rows > FV_TILE_ROWS || view->first_token > UINT32_MAX / 2)
        return FV_ERROR_ARGUMENT;
    if (!policy->causal && (view->tokens < view->first_token + view->rows || view->tokens > UINT32_MAX / 2))
        return FV_ERROR_ARGUMENT;
    plan->count = 0;
    plan->first_token = view->first_token;
    plan->rows = view->rows;
    uint32_t end = view_end(policy, view), local = view->local_window;
    if (local || policy->selector == FV_SELECTOR_DENSE)
        return add_span(plan, local ? FV_REASON_WINDOW : FV_REASON_WHOLE, window_begin(view, local), end, local,
                        local || policy->causal ? 0 : UINT32_MAX);
    if (fv_policy_chooses(policy)) return FV_ERROR_POLICY;
    if (policy->selector == FV_SELECTOR_WINDOW) return plan_window(policy, view, plan);
    return plan_pattern(policy, view, plan);
}
