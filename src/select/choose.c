/* Sinks, window, and the pages that weigh most. The rule of who reads what is here; the scores are shadow_score.c's. */
#include "select/choose.h"
#include "build.h"
#include "size.h"

#if FV_BUILD_CHOOSE

enum { PAGE = FV_PAGE_TOKENS };

static uint64_t pages_of_tokens(uint64_t tokens) { return (tokens + PAGE - 1) / PAGE; }

/* Tokens that the row may read, by the policy. */
static uint64_t tokens_allowed(const fv_select_config *policy, uint64_t visible) {
    if (policy->top_p != 0.0f) return (uint64_t)policy->cap * PAGE;
    if (policy->pages) return (uint64_t)policy->pages * PAGE;
    uint64_t share = (uint64_t)(uint32_t)(policy->budget * 0x1p24f) * visible >> 24, least = (uint64_t)policy->floor * PAGE;
    return share > least ? share : least;
}

/* Whether the row reads all: short contexts, and where reading all takes no more bytes than choosing among it. */
static bool reads_all(const fv_chooser *chooser, uint64_t always, uint64_t allowed) {
    const fv_select_config *policy = chooser->policy;
    if (policy->dense_below != FV_SELECT_AUTO) return chooser->scored * PAGE < policy->dense_below;
    if (policy->top_p != 0.0f) return false;
    uint64_t read = pages_of_tokens(allowed > always ? allowed : always), visible = (uint64_t)chooser->scored + 1;
    uint64_t choosing = fv_shadow_bytes(&chooser->cache->shadow, chooser->scored * PAGE);
    return visible * fv_cache_page_bytes(chooser->cache) <= read * fv_cache_page_bytes(chooser->cache) + choosing;
}

static uint32_t head_allowance(const fv_select_config *policy, const fv_cache *cache, uint32_t layer, uint32_t kv_head,
                               uint64_t pages) {
    size_t place = (size_t)layer * cache->config.kv_heads + kv_head;
    uint64_t most = UINT32_MAX;
    if (policy->head_share && place < policy->head_share_count) pages = pages * policy->head_share[place] / 1024;
    return (uint32_t)(pages < most ? pages : most);
}

fv_chooser fv_chooser_make(const fv_select_config *policy, const fv_cache *cache, const fv_kernels *kernels, float scale,
                           uint32_t group, uint32_t layer, uint32_t kv_head, uint32_t position) {
    fv_chooser made = {.policy = policy,
                       .cache = cache,
                       .kernels = kernels,
                       .scale = scale,
                       .kv_head = kv_head,
                       .group = group,
                       .position = position,
                       .sinks_end = (uint32_t)pages_of_tokens(policy->sinks) * PAGE,
                       .scored = position / PAGE};
    made.window_begin = position + 1 > policy->window ? (position + 1 - policy->window) / PAGE * PAGE : 0;
    if (made.window_begin > made.scored * PAGE) made.window_begin = made.scored * PAGE;
    uint64_t visible = (uint64_t)position + 1, always = made.sinks_end + (visible - made.window_begin);
    uint64_t allowed = tokens_allowed(policy, visible);
    if (made.sinks_end >= made.window_begin || reads_all(&made, always, allowed)) {
        made.sinks_end = made.window_begin = 0;
        return made;
    }
    made.begin = made.sinks_end / PAGE;
    made.end = made.window_begin / PAGE;
    made.allowance = head_allowance(policy, cache, layer, kv_head, allowed > always ? (allowed - always) / PAGE : 0);
    return made;
}

/* The smallest score that is taken, if the largest are taken until their weights reach `goal` (> 0), and how much weight
 * those above it have. By digits from the top: a pass over the scores each. weight: 1 (count) or the score (mass). What is
 * FV_CHOSEN weighs nothing. */
static uint32_t threshold_of(const uint32_t *score, size_t count, bool by_mass, uint64_t goal, uint64_t *weight,
                             uint64_t *above) {
    uint32_t prefix = 0;
    *above = 0;
    for (uint32_t shift = 24;; shift -= 8) {
        for (size_t i = 0; i < 256; i++) weight[i] = 0;
        uint32_t known = shift == 24 ? 0 : UINT32_MAX << (shift + 8), digit = 255;
        for (size_t i = 0; i < count; i++)
            if ((score[i] & known) == prefix && score[i] != FV_CHOSEN)
                weight[score[i] >> shift & 255] += by_mass ? score[i] : 1;
        for (; digit > 0 && *above + weight[digit] < goal; digit--) *above += weight[digit];
        prefix |= digit << shift;
        if (shift == 0) return prefix;
    }
}

/* Takes the best of those that are not taken yet, at most `most`; of equal ones at the edge the older. How many. */
static uint32_t take_best(uint32_t *score, size_t count, bool by_mass, uint64_t goal, uint32_t most,
                          uint64_t *weight) {
    uint64_t above = 0;
    uint32_t threshold = threshold_of(score, count, by_mass, goal, weight, &above), taken = 0;
    uint64_t step = by_mass ? threshold : 1;
    for (size_t i = 0; i < count && taken < most; i++) {
        if (score[i] <= threshold || score[i] == FV_CHOSEN) continue;
        score[i] = FV_CHOSEN;
        taken++;
    }
    for (size_t i = 0; i < count && taken < most && above < goal; i++) {
        if (score[i] != threshold) continue;
        score[i] = FV_CHOSEN;
        above += step;
        taken++;
    }
    return taken;
}

static uint64_t share_sum(const uint32_t *share, uint32_t begin, uint32_t end) {
    uint64_t sum = 0;
    for (uint32_t page = begin; page < end; page++) sum += share[page];
    return sum;
}

void fv_choose_pages(const fv_chooser *chooser, const fv_choose_scratch *scores, uint32_t place, uint32_t *share) {
    const fv_select_config *policy = chooser->policy;
    uint32_t *candidates = share + chooser->begin, count = chooser->end - chooser->begin, most = chooser->allowance;
    fv_shadow_shares(chooser, scores, place, share);
    if (policy->top_p == 0.0f) {
        take_best(candidates, count, false, most, most, scores->weight);
        return;
    }
    uint64_t total = share_sum(share, 0, chooser->scored), left = share_sum(share, chooser->begin, chooser->end);
    uint64_t wanted = (total >> 8) * (uint32_t)(policy->top_p * 0x1p16f) >> 8, taken = 0;
    if (total - left < wanted) taken = take_best(candidates, count, true, wanted - (total - left), most, scores->weight);
    uint64_t always = pages_of_tokens((uint64_t)chooser->sinks_end + chooser->position + 1 - chooser->window_begin);
    uint64_t least = policy->floor > always ? policy->floor - always : 0;
    if (least > most) least = most;
    if (least > taken)
        take_best(candidates, count, false, least - taken, (uint32_t)(least - taken), scores->weight);
}

uint32_t fv_choose_more(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t most, uint32_t *share) {
    uint32_t count = chooser->end - chooser->begin, left = 0;
    for (uint32_t page = chooser->begin; page < chooser->end; page++) left += share[page] != FV_CHOSEN;
    if (most > left) most = left;
    return most ? left - take_best(share + chooser->begin, count, false, most, most, scratch->weight) : left;
}

static fv_status span_add(fv_plan *plan, uint32_t begin, uint32_t end) {
    fv_step *last = plan->count ? &plan->steps[plan->count - 1] : NULL;
    if (last && last->end == begin) {
        last->end = end;
        return FV_OK;
    }
    return fv_plan_add(plan, (fv_step){.kind = FV_STEP_SPAN, .begin = begin, .end = end, .row_end = 1});
}

fv_status fv_choose_plan(const fv_chooser *chooser, const uint32_t *share, fv_plan *plan) {
    plan->count = 0;
    plan->first_token = chooser->position;
    plan->rows = 1;
    fv_status status = span_add(plan, 0, chooser->sinks_end);
    for (uint32_t page = chooser->begin; fv_chooser_has_choice(chooser) && page < chooser->end; page++)
        if (share[page] == FV_CHOSEN && status == FV_OK) status = span_add(plan, page * PAGE, (page + 1) * PAGE);
    return status == FV_OK ? span_add(plan, chooser->window_begin, chooser->position + 1) : status;
}

#endif
