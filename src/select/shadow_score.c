/* What pages weigh, by the coarse copy of the keys: by the means of pages; by the signs of their keys; by all of the
 * codes, of all pages or of the better ones. */
#include "build.h"
#include "codes/code_query.h"
#include "kernels/kernels.h"
#include "numeric/size.h"
#include "select/choose.h"

#if FV_BUILD_CHOOSE

enum { PAGE = FV_PAGE_TOKENS, BLOCK_PAGES = FV_SHADOW_BLOCK / PAGE };

/* The next `count` elements of `memory`, of which *bytes are taken; NULL: they are only counted. */
static void *region_add(unsigned char *memory, size_t *bytes, size_t count, size_t size) {
    size_t begin = fv_size_reserve(bytes, count, size);
    return memory ? memory + begin : NULL;
}

/* Lays the scratch out in `memory`, or only says how many bytes it is; SIZE_MAX on overflow. */
static size_t scratch_make(unsigned char *memory, uint32_t head_dim, size_t group, uint32_t max_tokens,
                           uint32_t together, fv_choose_scratch *out) {
    size_t rows = group * together, pages = ((size_t)max_tokens + PAGE - 1) / PAGE,
           sixteens = ((size_t)head_dim + 15) / 16, bytes = 0;
    out->stride = (pages + 15) / 16 * 16;
    out->base_stride = (pages + BLOCK_PAGES * 16 - 1) / (BLOCK_PAGES * 16) * 16;
    out->query = (int8_t *)region_add(memory, &bytes, rows, sixteens * 16);
    out->table = (uint8_t *)region_add(memory, &bytes, rows, sixteens * 64);
    out->sum = (int32_t *)region_add(memory, &bytes, rows, 4);
    out->coarse_sum = (int32_t *)region_add(memory, &bytes, rows, 4);
    out->factor = (float *)region_add(memory, &bytes, rows, 4);
    out->coarse_factor = (float *)region_add(memory, &bytes, rows, 4);
    out->score = (int32_t *)region_add(memory, &bytes, rows, out->stride * 4);
    out->base = (int32_t *)region_add(memory, &bytes, rows, out->base_stride * 4);
    out->page = (uint32_t *)region_add(memory, &bytes, pages, 4);
    out->weight = (uint32_t *)region_add(memory, &bytes, pages, 4);
    out->chosen = (uint32_t *)region_add(memory, &bytes, pages, 4);
    out->local = (uint32_t *)region_add(memory, &bytes, FV_SEGMENT_PAGES, 4);
    out->rotated = (float *)region_add(memory, &bytes, head_dim, 4);
    if (!FV_BUILD_TAIL) return bytes;
    out->tail = (uint32_t *)region_add(memory, &bytes, pages, 4);
    out->tail_score = (int32_t *)region_add(memory, &bytes, group, FV_TAIL_PAGES * PAGE * 4);
    out->tail_level = (int32_t *)region_add(memory, &bytes, group, 4);
    out->tail_noise = (float *)region_add(memory, &bytes, group, 4);
    out->tail_mass = (uint64_t *)region_add(memory, &bytes, group, 8);
    out->tail_rows = (float *)region_add(memory, &bytes, (group + PAGE) * sixteens, 16 * 4);
    return bytes;
}

bool fv_choose_scratch_bytes(uint32_t head_dim, uint32_t group, uint32_t max_tokens, uint32_t together, size_t *bytes) {
    fv_choose_scratch counted;
    *bytes = scratch_make(NULL, head_dim, group, max_tokens, together, &counted);
    return *bytes != SIZE_MAX;
}

void fv_choose_scratch_at(fv_choose_scratch *scratch, void *memory, uint32_t head_dim, uint32_t group,
                          uint32_t max_tokens, uint32_t together) {
    scratch_make((unsigned char *)memory, head_dim, group, max_tokens, together, scratch);
    scratch->together = together;
    scratch->scored_rows = 0;
}

static fv_code_queries queries_of(const fv_choose_scratch *scratch) {
    return (fv_code_queries){.query = scratch->query,
                             .table = scratch->table,
                             .sum = scratch->sum,
                             .coarse_sum = scratch->coarse_sum,
                             .factor = scratch->factor,
                             .coarse_factor = scratch->coarse_factor};
}

/* `rows` rows that are ready, from `first` on. */
static fv_shadow_rows rows_from(const fv_chooser *chooser, const fv_choose_scratch *scratch, size_t first,
                                size_t rows) {
    fv_code_queries queries = queries_of(scratch);
    fv_shadow_rows ready = fv_code_query_rows(chooser->cache->config.head_dim, &queries, first, rows);
    ready.base = scratch->base + first * scratch->base_stride;
    ready.base_stride = scratch->base_stride;
    return ready;
}

/* Of `positions` positions, query_stride apart. */
static fv_shadow_rows queries_make(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t positions,
                                   const float *query, size_t query_stride) {
    size_t dim = chooser->cache->config.head_dim, rows = chooser->group;
    const fv_code_queries queries = queries_of(scratch);
    for (size_t i = 0; i < positions; i++, query += query_stride)
        for (size_t g = 0; g < rows; g++)
            fv_code_query_make(chooser->kernels, dim, chooser->scale, query + g * dim, scratch->rotated, &queries,
                               i * rows + g);
    return rows_from(chooser, scratch, 0, positions * rows);
}

fv_shadow_rows fv_choose_rows(const fv_chooser *chooser, const fv_choose_scratch *scratch) {
    return rows_from(chooser, scratch, scratch->row, chooser->group);
}

/* The pages from `first` on that are scored and in the same segment end before the one that is returned. */
static uint32_t segment_end(const fv_chooser *chooser, uint32_t first) {
    uint32_t end = fv_segment_end(&chooser->cache->table, first);
    return end < chooser->scored ? end : chooser->scored;
}

/* What the scores of a block's keys have in common, query . centre. */
static void bases_make(const fv_chooser *chooser, const fv_choose_scratch *scratch, const fv_shadow_rows *rows) {
    const fv_shadow *shadow = &chooser->cache->shadow;
    for (uint32_t first = 0, end; first < chooser->scored; first = end) {
        end = segment_end(chooser, first);
        if (fv_cache_is_foreign(chooser->cache, first)) continue;
        chooser->kernels->mean_score(rows, (end - first + BLOCK_PAGES * 16 - 1) / (BLOCK_PAGES * 16),
                                     fv_shadow_centres(shadow, chooser->kv_head, first),
                                     fv_shadow_centre_steps(shadow, chooser->kv_head, first),
                                     scratch->base + first / BLOCK_PAGES, scratch->base_stride);
    }
}

/* By their signs, of all pages that are scored. */
static void signs_make(const fv_chooser *chooser, const fv_choose_scratch *scratch, fv_shadow_rows rows) {
    const fv_shadow *shadow = &chooser->cache->shadow;
    const int32_t *base = rows.base;
    for (uint32_t first = 0, end; first < chooser->scored; first = end) {
        end = segment_end(chooser, first);
        rows.base = base + first / BLOCK_PAGES;
        chooser->kernels->sign_score(&rows, end - first, fv_shadow_signs(shadow, chooser->kv_head, first),
                                     fv_shadow_steps(shadow, chooser->kv_head, first * PAGE), scratch->score + first,
                                     scratch->stride);
    }
}

/* Weights of the pages whose scores are in the scratch. */
static void weigh_scores(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t pages) {
    for (uint32_t i = 0; i < pages; i++) scratch->weight[i] = 0;
    for (size_t row = scratch->row; row < scratch->row + chooser->group; row++)
        chooser->kernels->page_weight(pages, scratch->score + row * scratch->stride, scratch->weight);
}

static void list_add(fv_choose_scratch *scratch, uint32_t begin, uint32_t end) {
    uint32_t *restrict place = scratch->page + scratch->count;
    for (uint32_t page = begin; page < end; page++) place[page - begin] = page;
    if (begin < end) scratch->count += end - begin;
}

/* Which of a list of all pages can be chosen. */
static void list_candidates(const fv_chooser *chooser, fv_choose_scratch *scratch) {
    scratch->first = chooser->begin;
    scratch->candidates = chooser->end - chooser->begin;
}

static void list_all(const fv_chooser *chooser, fv_choose_scratch *scratch) {
    scratch->count = 0;
    list_add(scratch, 0, chooser->scored);
    list_candidates(chooser, scratch);
}

/* All pages, or sinks, window and the candidates with the best signs. */
static void list_make(const fv_chooser *chooser, fv_choose_scratch *scratch, const fv_shadow_rows *rows) {
    uint32_t candidates = chooser->end - chooser->begin, *place = scratch->page + chooser->begin;
    list_all(chooser, scratch);
    if (chooser->policy->selector != FV_SELECTOR_CASCADE || chooser->looked_at >= candidates) return;
    signs_make(chooser, scratch, *rows);
    weigh_scores(chooser, scratch, chooser->scored);
    scratch->candidates =
        fv_list_best(chooser->kernels, scratch->weight + chooser->begin, candidates, chooser->looked_at, place);
    scratch->count = chooser->begin + scratch->candidates;
    for (uint32_t i = chooser->begin; i < scratch->count; i++) scratch->page[i] += chooser->begin;
    list_add(scratch, chooser->end, chooser->scored);
}

/* Positions from the chooser's on that can be scored with it: they look at the same pages. */
static uint32_t positions_alike(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t rows) {
    uint32_t left = PAGE - chooser->position % PAGE, most = rows < scratch->together ? rows : scratch->together;
    if (chooser->policy->selector != FV_SELECTOR_FOVEA) return 1;
    return most < left ? most : left;
}

/* By both planes, of listed pages from place `place` on that are in one segment; how many. */
static uint32_t list_score(const fv_chooser *chooser, const fv_choose_scratch *scratch, fv_shadow_rows rows,
                           uint32_t place) {
    const fv_shadow *shadow = &chooser->cache->shadow;
    const uint32_t *pages = scratch->page + place;
    uint32_t count = scratch->count - place, first = pages[0] - fv_segment_page(shadow->table, pages[0]);
#if FV_BUILD_SEGMENTS
    if (chooser->cache->segments) {
        uint32_t end = fv_segment_end(shadow->table, first), n = 0;
        for (; n < count && pages[n] < end; n++) scratch->local[n] = pages[n] - first;
        pages = scratch->local, count = n;
        if (fv_cache_is_foreign(chooser->cache, first)) return count;
        rows.base += first / BLOCK_PAGES;
    }
#endif
    chooser->kernels->shadow_score(&rows, count, pages, fv_shadow_signs(shadow, chooser->kv_head, first),
                                   fv_shadow_sizes(shadow, chooser->kv_head, first),
                                   fv_shadow_steps(shadow, chooser->kv_head, first * PAGE), scratch->score + place,
                                   scratch->stride);
    return count;
}

static void scores_make(const fv_chooser *chooser, fv_choose_scratch *scratch, uint32_t rows, const float *query,
                        size_t query_stride) {
    fv_shadow_rows ready = queries_make(chooser, scratch, rows, query, query_stride);
    bases_make(chooser, scratch, &ready);
    list_make(chooser, scratch, &ready);
    for (uint32_t place = 0; place < scratch->count;) place += list_score(chooser, scratch, ready, place);
    scratch->scored_from = chooser->position;
    scratch->scored_rows = rows;
}

void fv_choose_weigh(const fv_chooser *chooser, fv_choose_scratch *scratch, uint32_t rows, const float *query,
                     size_t query_stride) {
    scratch->row = 0;
    if (chooser->position - scratch->scored_from < scratch->scored_rows) { /* scored with a position before it */
        scratch->row = (chooser->position - scratch->scored_from) * chooser->group;
        list_candidates(chooser, scratch);
    } else
        scores_make(chooser, scratch, positions_alike(chooser, scratch, rows), query, query_stride);
    weigh_scores(chooser, scratch, scratch->count);
}

#if FV_BUILD_EXCHANGE
uint32_t fv_choose_score(const fv_chooser *chooser, fv_choose_scratch *scratch, uint32_t rows, const float *query,
                         size_t query_stride, const fv_gathered_scores *into) {
    uint32_t count = positions_alike(chooser, scratch, rows);
    scores_make(chooser, scratch, count, query, query_stride);
    for (size_t i = 0; i < (size_t)count * chooser->group; i++)
        fv_gathered_put(into, chooser->kv_head, chooser->position + (uint32_t)(i / chooser->group),
                        (uint32_t)(i % chooser->group), scratch->score + i * scratch->stride);
    scratch->scored_rows = 0; /* some pages of them are missing here */
    return count;
}

void fv_choose_take(const fv_chooser *chooser, fv_choose_scratch *scratch, const fv_gathered_scores *from) {
    list_all(chooser, scratch);
    scratch->row = 0;
    for (uint32_t g = 0; g < chooser->group; g++)
        fv_gathered_get(from, chooser->kv_head, chooser->position, g, chooser->scored,
                        scratch->score + g * scratch->stride);
    weigh_scores(chooser, scratch, scratch->count);
}
#endif

#endif
