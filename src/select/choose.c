/* Sinks, window, and the pages that weigh most. The rule of who reads what is here; the scores are shadow_score.c's. */
#include "select/choose.h"
#include "size.h"

enum { PAGE = FV_PAGE_TOKENS };

uint64_t fv_choose_fingerprint(const fv_select_config *policy) {
    union {
        float value;
        uint32_t bits;
    } budget = {.value = policy->budget}, top_p = {.value = policy->top_p};
    const uint64_t parts[] = {policy->selector, policy->window,      policy->sinks,      budget.bits,
                              policy->pages,    top_p.bits,          policy->floor,      policy->cap,
                              policy->reselect, policy->first_share, policy->dense_below, policy->share_rows};
    uint64_t print = 14695981039346656037u; /* FNV-1a, by words */
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) print = (print ^ parts[i]) * 1099511628211u;
    return print;
}

static uint64_t pages_of_tokens(uint64_t tokens) { return (tokens + PAGE - 1) / PAGE; }

/* Tokens that the last row of the group may read, by the policy. */
static uint64_t tokens_allowed(const fv_select_config *policy, uint64_t visible) {
    if (policy->top_p != 0.0f) return (uint64_t)policy->cap * PAGE;
    if (policy->pages) return (uint64_t)policy->pages * PAGE;
    return (uint64_t)(uint32_t)(policy->budget * 0x1p24f) * visible >> 24;
}

/* Whether reading all takes no more bytes than choosing among it. */
static bool is_dense(const fv_chooser *chooser, uint64_t always, uint64_t allowed) {
    const fv_select_config *policy = chooser->policy;
    if (policy->dense_below != FV_SELECT_AUTO) return chooser->tile < policy->dense_below;
    uint64_t page_bytes = fv_cache_page_bytes(chooser->cache), visible = (uint64_t)chooser->tile + PAGE;
    uint64_t read = allowed > always ? allowed : always;
    uint64_t choosing = fv_shadow_bytes(&chooser->cache->shadow, chooser->tile) / policy->reselect;
    return read >= visible || pages_of_tokens(visible) * page_bytes <= pages_of_tokens(read) * page_bytes + choosing;
}

static uint32_t head_allowance(const fv_select_config *policy, const fv_cache *cache, uint32_t layer, uint32_t kv_head,
                               uint64_t pages) {
    size_t place = (size_t)layer * cache->config.kv_heads + kv_head;
    uint64_t most = UINT32_MAX;
    if (policy->head_share && place < policy->head_share_count) pages = pages * policy->head_share[place] / 1024;
    return (uint32_t)(pages < most ? pages : most);
}

fv_chooser fv_chooser_make(const fv_select_config *policy, const fv_cache *cache, const fv_kernels *kernels, float scale,
                           uint32_t group, uint32_t layer, uint32_t kv_head, uint32_t token) {
    uint32_t tile = token / PAGE * PAGE;
    fv_chooser made = {.policy = policy,
                       .cache = cache,
                       .kernels = kernels,
                       .scale = scale,
                       .kv_head = kv_head,
                       .group = group,
                       .tile = tile,
                       .first = token / policy->share_rows * policy->share_rows,
                       .rows = policy->share_rows,
                       .sinks_end = (uint32_t)pages_of_tokens(policy->sinks) * PAGE};
    made.window_begin = made.first + 1 > policy->window ? (made.first + 1 - policy->window) / PAGE * PAGE : 0;
    if (made.window_begin > tile) made.window_begin = tile;
    uint64_t last = (uint64_t)made.first + made.rows, always = made.sinks_end + (last - made.window_begin);
    uint64_t allowed = tokens_allowed(policy, last);
    bool whole = made.sinks_end >= made.window_begin || (policy->top_p == 0.0f && is_dense(&made, always, allowed));
    if (policy->top_p != 0.0f && policy->dense_below != FV_SELECT_AUTO && tile < policy->dense_below) whole = true;
    if (whole) {
        made.sinks_end = made.window_begin = 0;
        return made;
    }
    made.begin = made.sinks_end / PAGE;
    made.end = made.window_begin / PAGE;
    made.allowance =
        head_allowance(policy, cache, layer, kv_head, allowed > always ? (allowed - always) / PAGE : 0);
    return made;
}

/* Pages that the rows up to `row` may have chosen together: `first_share` of the allowance by the first, equal parts of
 * the rest by the others. If there is enough for all, the first row takes all. */
static uint32_t allowance_by(const fv_chooser *chooser, uint32_t row) {
    uint32_t last = chooser->rows / chooser->policy->reselect - 1, turn = row / chooser->policy->reselect;
    uint64_t all = chooser->allowance;
    if (last == 0 || turn >= last || all >= chooser->end - chooser->begin) return chooser->allowance;
    uint64_t first = (all * chooser->policy->first_share + 255) / 256;
    return (uint32_t)(first + (all - first) * turn / last);
}

/* The smallest score that is taken, if the largest are taken until their weights reach `goal` (> 0), and how much weight
 * those above it have. By digits from the top: a pass over the scores each. weight: 1 (count) or the score (mass). */
static uint32_t threshold_of(const uint32_t *score, size_t count, bool by_mass, uint64_t goal, uint64_t *above) {
    uint32_t prefix = 0;
    *above = 0;
    for (uint32_t shift = 24;; shift -= 8) {
        uint64_t weight[256] = {0};
        uint32_t known = shift == 24 ? 0 : UINT32_MAX << (shift + 8), digit = 255;
        for (size_t i = 0; i < count; i++)
            if ((score[i] & known) == prefix) weight[score[i] >> shift & 255] += by_mass ? score[i] : 1;
        for (; digit > 0 && *above + weight[digit] < goal; digit--) *above += weight[digit];
        prefix |= digit << shift;
        if (shift == 0) return prefix;
    }
}

/* Takes the best pages: score 0 stands for one that cannot be taken. Of equal ones at the edge the older. */
static void take_best(uint32_t *score, size_t count, bool by_mass, uint64_t goal, uint32_t most, uint32_t row,
                      uint8_t *first_row) {
    uint64_t above = 0;
    uint32_t threshold = threshold_of(score, count, by_mass, goal, &above);
    if (threshold == 0) threshold = 1;
    for (size_t i = 0; i < count && most; i++) {
        if (score[i] <= threshold) continue;
        first_row[i] = (uint8_t)row;
        most--;
    }
    uint64_t step = by_mass ? threshold : 1;
    for (size_t i = 0; i < count && most && above < goal; i++) {
        if (score[i] != threshold) continue;
        first_row[i] = (uint8_t)row;
        above += step;
        most--;
    }
}

static uint64_t share_sum(const uint32_t *share, uint32_t begin, uint32_t end) {
    uint64_t sum = 0;
    for (uint32_t page = begin; page < end; page++) sum += share[page];
    return sum;
}

/* Counts the candidates that are taken already and puts them out of reach. */
static uint32_t taken_clear(const fv_chooser *chooser, const uint8_t *first_row, uint32_t *share) {
    uint32_t taken = 0;
    for (uint32_t page = chooser->begin; page < chooser->end; page++) {
        if (first_row[page] == FV_NOT_CHOSEN) continue;
        taken++;
        share[page] = 0;
    }
    return taken;
}

void fv_choose_pages(const fv_chooser *chooser, const fv_choose_scratch *scores, uint32_t place, uint32_t row,
                     uint32_t *share, uint8_t *first_row) {
    const fv_select_config *policy = chooser->policy;
    uint32_t begin = chooser->begin, count = chooser->end - begin, most = allowance_by(chooser, row);
    if (!count) return;
    fv_shadow_shares(chooser, scores, place, share);
    uint64_t total = share_sum(share, 0, chooser->tile / PAGE);
    uint32_t taken = taken_clear(chooser, first_row, share);
    if (policy->top_p == 0.0f) {
        if (most > taken) take_best(share + begin, count, false, most - taken, most - taken, row, first_row + begin);
        return;
    }
    uint64_t left = share_sum(share, begin, chooser->end), wanted = (total >> 8) * (uint32_t)(policy->top_p * 0x1p16f) >> 8;
    if (total - left < wanted && most > taken)
        take_best(share + begin, count, true, wanted - (total - left), most - taken, row, first_row + begin);
    uint64_t always = (uint64_t)chooser->sinks_end + chooser->first + chooser->rows - chooser->window_begin;
    uint32_t least = policy->floor > always / PAGE ? policy->floor - (uint32_t)(always / PAGE) : 0;
    taken = taken_clear(chooser, first_row, share);
    if (least > most) least = most;
    if (least > taken) take_best(share + begin, count, false, least - taken, least - taken, row, first_row + begin);
}

static fv_status span_add(fv_plan *plan, uint32_t begin, uint32_t end, uint32_t row) {
    fv_step *last = plan->count ? &plan->steps[plan->count - 1] : NULL;
    if (begin == end) return FV_OK;
    if (last && last->end == begin && last->row_begin == row) {
        last->end = end;
        return FV_OK;
    }
    return fv_plan_add(plan, (fv_step){.kind = FV_STEP_SPAN,
                                       .begin = begin,
                                       .end = end,
                                       .row_begin = (uint16_t)row,
                                       .row_end = (uint16_t)plan->rows});
}

fv_status fv_choose_plan(const fv_chooser *chooser, const uint8_t *first_row, fv_plan *plan) {
    uint32_t first = plan->first_token - chooser->first, last = first + plan->rows;
    plan->count = 0;
    fv_status status = span_add(plan, 0, chooser->sinks_end, 0);
    for (uint32_t page = chooser->begin; status == FV_OK && page < chooser->end; page++) {
        uint32_t row = first_row[page];
        if (row >= last) continue;
        status = span_add(plan, page * PAGE, (page + 1) * PAGE, row > first ? row - first : 0);
    }
    if (status != FV_OK) return status;
    return span_add(plan, chooser->window_begin, plan->first_token + plan->rows, 0);
}
