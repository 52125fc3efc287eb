/* Sinks, window, and the pages that weigh most. The rule of who reads what is here; the scores are shadow_score.c's. */
#include "select/choose.h"
#include "build.h"
#include "kernels/kernels.h"
#include "numeric/size.h"

#if FV_BUILD_CHOOSE

enum { PAGE = FV_PAGE_TOKENS };

static uint64_t pages_of_tokens(uint64_t tokens) { return (tokens + PAGE - 1) / PAGE; }

static uint64_t share_of(float share, uint64_t visible) {
    return (uint64_t)(uint32_t)(share * 0x1p24f) * visible >> 24;
}

/* Tokens that the row reads at least, if it sees as many. */
static uint64_t floor_tokens(const fv_policy *policy, uint64_t visible) {
    uint64_t floor = (uint64_t)policy->floor * PAGE, kept = (uint64_t)FV_POLICY_FLOOR_DEFAULT * PAGE;
    if (policy->floor_share == 0.0f || floor <= kept) return floor;
    uint64_t most = share_of(policy->floor_share, visible);
    if (most < kept) return kept;
    return most < floor ? most : floor;
}

/* Tokens that the row may read, by the policy. */
static uint64_t tokens_allowed(const fv_policy *policy, uint64_t visible) {
    if (policy->top_p != 0.0f) return (uint64_t)policy->cap * PAGE;
    if (policy->pages) return (uint64_t)policy->pages * PAGE;
    uint64_t share = share_of(policy->budget, visible), least = floor_tokens(policy, visible);
    return share > least ? share : least;
}

/* Candidates whose codes a cascade reads whole: the better by their signs. Twice what is read, and some more for rows
 * that read few (docs/lab/choosing.md). */
static uint32_t cascade_width(uint64_t allowance, uint32_t candidates, uint32_t scored) {
    uint64_t width = 2 * allowance + scored / 32;
    return width < candidates ? (uint32_t)width : candidates;
}

static bool is_cascade(const fv_chooser *chooser) {
    return chooser->policy->selector == FV_SELECTOR_CASCADE && chooser->looked_at < chooser->end - chooser->begin;
}

uint64_t fv_chooser_shared_bytes(const fv_chooser *chooser) {
    const fv_shadow *shadow = &chooser->cache->shadow;
    uint64_t pages = chooser->scored, plane = fv_shadow_plane_bytes(shadow, pages);
    uint64_t centres = fv_shadow_mean_bytes(shadow, pages * FV_PAGE_TOKENS / FV_SHADOW_BLOCK + 1);
    return centres + fv_shadow_step_bytes(pages) + (is_cascade(chooser) ? plane : 2 * plane);
}

uint64_t fv_chooser_own_bytes(const fv_chooser *chooser) {
    uint64_t always = chooser->scored - (chooser->end - chooser->begin);
    return is_cascade(chooser) ? fv_shadow_plane_bytes(&chooser->cache->shadow, always + chooser->looked_at) : 0;
}

/* Whether the row reads all: short contexts, and where reading all takes no more bytes than choosing among it. */
static bool reads_all(const fv_chooser *chooser) {
    const fv_policy *policy = chooser->policy;
    if (chooser->begin >= chooser->end) return true;
    if (policy->dense_below != FV_POLICY_AUTO) return (uint64_t)chooser->scored * PAGE < policy->dense_below;
    if (policy->top_p != 0.0f) return false;
    uint64_t left = chooser->end - chooser->begin, unread = left > chooser->allowance ? left - chooser->allowance : 0;
    return unread * fv_cache_page_bytes(chooser->cache) <=
           fv_chooser_shared_bytes(chooser) + fv_chooser_own_bytes(chooser);
}

static uint32_t head_allowance(const fv_policy *policy, const fv_cache *cache, uint32_t layer, uint32_t kv_head,
                               uint64_t pages) {
    size_t place = (size_t)layer * cache->config.kv_heads + kv_head;
    uint64_t most = UINT32_MAX;
    if (policy->head_share && place < policy->head_share_count) pages = pages * policy->head_share[place] / 1024;
    return (uint32_t)(pages < most ? pages : most);
}

void fv_chooser_make(fv_chooser *made, const fv_policy *policy, const fv_cache *cache, const fv_kernels *kernels,
                     float scale, uint32_t group, uint32_t layer, uint32_t kv_head, uint32_t position) {
    *made = (fv_chooser){.policy = policy,
                         .cache = cache,
                         .kernels = kernels,
                         .scale = scale,
                         .layer = layer,
                         .kv_head = kv_head,
                         .group = group,
                         .position = position,
                         .sinks_end = (uint32_t)pages_of_tokens(policy->sinks) * PAGE,
                         .scored = position / PAGE};
    made->window_begin = position + 1 > policy->window ? (position + 1 - policy->window) / PAGE * PAGE : 0;
    if (made->window_begin > made->scored * PAGE) made->window_begin = made->scored * PAGE;
    uint64_t visible = (uint64_t)position + 1, always = made->sinks_end + (visible - made->window_begin);
    uint64_t allowed = tokens_allowed(policy, visible);
    made->begin = made->sinks_end / PAGE;
    made->end = made->window_begin / PAGE;
    made->allowance = head_allowance(policy, cache, layer, kv_head, allowed > always ? (allowed - always) / PAGE : 0);
    if (made->begin < made->end) made->looked_at = made->end - made->begin;
    if (policy->selector == FV_SELECTOR_CASCADE)
        made->looked_at = cascade_width(made->allowance, made->looked_at, made->scored);
    if (reads_all(made)) made->sinks_end = made->window_begin = made->begin = made->end = 0;
}

/* ---- top-p ---- */

/* What a page weighs, of 2^30 in all; what is less than 2^-30 of all counts as that. */
static uint64_t linear(uint32_t weight) {
    uint32_t below = FV_WEIGHT_WHOLE - weight, shift = (below + 255) >> 8;
    return shift < 31 ? (uint64_t)(256 + (-below & 255)) << 22 >> shift : 1;
}

/* Linear weights of the places begin..end-1 that are at least `least` and not chosen. */
static uint64_t linear_sum(const uint32_t *weight, uint32_t begin, uint32_t end, uint32_t least) {
    uint64_t sum = 0;
    for (uint32_t i = begin; i < end; i++)
        if (weight[i] >= least && weight[i] != FV_CHOSEN) sum += linear(weight[i]);
    return sum;
}

/* The fewest candidates that have `wanted`, at least and at most so many pages. */
static uint32_t pages_for_mass(const fv_kernels *kernels, const fv_choose_scratch *list, uint64_t wanted,
                               uint32_t least, uint32_t most) {
    const uint32_t *weight = list->weight + list->first;
    uint32_t low = least, high = most;
    while (low < high) { /* the best `middle` have enough, or not */
        uint32_t middle = low + (high - low) / 2, edge;
        edge = middle ? fv_list_threshold(kernels, weight, list->candidates, middle) : FV_CHOSEN;
        size_t above = kernels->count_least(list->candidates, weight, edge);
        uint64_t mass = linear_sum(weight, 0, list->candidates, edge);
        if (above > middle) mass -= (above - middle) * linear(edge);
        if (mass >= wanted)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static uint32_t top_p_pages(const fv_chooser *chooser, const fv_choose_scratch *list) {
    const fv_policy *policy = chooser->policy;
    uint32_t most = chooser->allowance < list->candidates ? chooser->allowance : list->candidates;
    uint64_t total = linear_sum(list->weight, 0, list->count, 0);
    uint64_t left = linear_sum(list->weight, list->first, list->first + list->candidates, 0);
    uint64_t wanted = (total >> 8) * (uint32_t)(policy->top_p * 0x1p16f) >> 8;
    uint64_t always = pages_of_tokens((uint64_t)chooser->sinks_end + chooser->position + 1 - chooser->window_begin);
    uint64_t floor = floor_tokens(policy, (uint64_t)chooser->position + 1) / PAGE;
    uint64_t least = floor > always ? floor - always : 0;
    if (least > most) least = most;
    wanted = wanted > total - left ? wanted - (total - left) : 0;
    return pages_for_mass(chooser->kernels, list, wanted, (uint32_t)least, most);
}

/* The best `most` besides those that are chosen. */
static void choose_best(const fv_chooser *chooser, fv_choose_scratch *scratch, uint32_t most) {
    uint32_t *weight = scratch->weight + scratch->first;
    scratch->chosen_count = fv_list_best(chooser->kernels, weight, scratch->candidates, most, scratch->chosen);
    for (uint32_t i = 0; i < scratch->chosen_count; i++) weight[scratch->chosen[i]] = FV_CHOSEN;
}

/* Pages of the tail that the bytes of the pages given up pay for. */
static uint64_t tail_pages(const fv_chooser *chooser, uint32_t given) {
    return given * fv_cache_page_bytes(chooser->cache) / fv_tail_page_bytes(&chooser->cache->tail);
}

/* Of the `most` best candidates an eighth is given up, but no more than it takes to cover all of them. */
static uint32_t tail_price(const fv_chooser *chooser, uint32_t most, uint32_t candidates) {
    if (!FV_BUILD_TAIL || !chooser->policy->tail || most >= candidates) return 0;
    uint32_t given = (most + 4) / 8;
    while (given > 0 && tail_pages(chooser, given - 1) >= (uint64_t)candidates - most + given - 1) given--;
    return given;
}

/* Lists the best `most` of those that are not chosen. */
static void tail_choose(const fv_chooser *chooser, fv_choose_scratch *scratch, uint64_t most) {
    const uint32_t *weight = scratch->weight + scratch->first;
    uint32_t held = most < scratch->candidates ? (uint32_t)most : scratch->candidates;
    uint32_t listed = fv_list_best(chooser->kernels, weight, scratch->candidates, held, scratch->tail);
    for (uint32_t i = 0; i < listed; i++)
        if (weight[scratch->tail[i]] != FV_CHOSEN) scratch->tail[scratch->tail_count++] = scratch->tail[i];
}

uint32_t fv_choose_pages(const fv_chooser *chooser, fv_choose_scratch *scratch) {
    uint32_t most = chooser->policy->top_p != 0.0f ? top_p_pages(chooser, scratch) : chooser->allowance;
    uint32_t given = tail_price(chooser, most, scratch->candidates);
    choose_best(chooser, scratch, most - given);
    scratch->tail_count = 0;
    if (given) tail_choose(chooser, scratch, tail_pages(chooser, given));
    if (FV_BUILD_TAIL && scratch->tail_count && !fv_tail_is_heard(chooser, scratch)) {
        choose_best(chooser, scratch, given);
        scratch->tail_count = 0;
    }
    return scratch->chosen_count;
}

uint32_t fv_choose_more(const fv_chooser *chooser, fv_choose_scratch *scratch, uint32_t most) {
    choose_best(chooser, scratch, most);
    return scratch->candidates - scratch->chosen_count;
}

/* Pages that are chosen of the candidates. */
static uint32_t chosen_of(const fv_chooser *chooser, const fv_choose_scratch *scratch) {
    return fv_chooser_has_choice(chooser) ? scratch->chosen_count : 0;
}

static fv_status span_add(fv_plan *plan, fv_reason reason, uint32_t begin, uint32_t end) {
    fv_step *last = plan->count ? &plan->steps[plan->count - 1] : NULL;
    if (last && last->end == begin && last->reason == reason) {
        last->end = end;
        return FV_OK;
    }
    return fv_plan_add(
        plan, (fv_step){.reason = (uint16_t)reason, .begin = begin, .end = end, .row_end = (uint16_t)plan->rows});
}

fv_status fv_choose_plan(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t rows, fv_plan *plan) {
    plan->count = 0;
    plan->first_token = chooser->position;
    plan->rows = rows;
    uint32_t chosen = chosen_of(chooser, scratch);
    if (chosen == chooser->end - chooser->begin) return span_add(plan, FV_REASON_WHOLE, 0, chooser->position + rows);
    fv_status status = span_add(plan, FV_REASON_SINK, 0, chooser->sinks_end);
    const uint32_t *page = scratch->page + scratch->first, *place = scratch->chosen;
    for (uint32_t i = 0, begin, end; i < chosen && status == FV_OK;) { /* neighbours at once */
        begin = end = page[place[i]];
        while (i < chosen && page[place[i]] == end) i++, end++;
        status = span_add(plan, FV_REASON_CHOSEN, begin * PAGE, end * PAGE);
    }
    if (status != FV_OK) return status;
    return span_add(plan, FV_REASON_WINDOW, chooser->window_begin, chooser->position + rows);
}

#if FV_BUILD_LISTS
static void readers_add(uint16_t reader, uint32_t begin, uint32_t end, uint16_t *readers) {
    for (uint32_t page = begin / PAGE; page * PAGE < end; page++) readers[page] = (uint16_t)(readers[page] | reader);
}

uint64_t fv_choose_readers(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint16_t reader,
                           uint16_t *readers, uint64_t *by_reason) {
    const uint32_t chosen = chosen_of(chooser, scratch), end = chooser->position + 1;
    const uint32_t *page = scratch->page + scratch->first;
    if (chosen == chooser->end - chooser->begin) {
        readers_add(reader, 0, end, readers);
        by_reason[FV_REASON_WHOLE] += end;
        return end;
    }
    readers_add(reader, 0, chooser->sinks_end, readers);
    for (uint32_t i = 0; i < chosen; i++) {
        uint16_t *to = &readers[page[scratch->chosen[i]]];
        *to = (uint16_t)(*to | reader);
    }
    readers_add(reader, chooser->window_begin, end, readers);
    by_reason[FV_REASON_SINK] += chooser->sinks_end;
    by_reason[FV_REASON_CHOSEN] += (uint64_t)chosen * PAGE;
    by_reason[FV_REASON_WINDOW] += end - chooser->window_begin;
    return chooser->sinks_end + (uint64_t)chosen * PAGE + (end - chooser->window_begin);
}
#endif

#endif
