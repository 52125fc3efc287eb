/* What pages weigh, by the coarse copy of the keys: by the means of pages; by the signs of their keys; by all of the codes,
 * of all pages or of the better ones. */
#include "build.h"
#include "kernels/kernels.h"
#include "kernels/root.h"
#include "select/choose.h"
#include "size.h"

#if FV_BUILD_CHOOSE

enum { PAGE = FV_PAGE_TOKENS, BLOCK_PAGES = FV_SHADOW_BLOCK / PAGE };

/* How far above its mean a page's best key is taken to lie, in standard deviations of a product of the query with what
 * its keys are beside the mean. */
static const float reach_of_best = 1.5f;

typedef struct scratch_layout {
    size_t query, table, sum, coarse_sum, factor, coarse_factor, reach, score, base, page, weight, chosen, tail, tail_score, tail_noise, tail_level, tail_mass, tail_rows, rotated, stride, base_stride,
        bytes;
} scratch_layout;

static bool region_add(size_t *bytes, size_t count, size_t size, size_t *offset) {
    *offset = *bytes;
    return fv_size_add(bytes, count, size, FV_CACHE_ALIGN);
}

static bool scratch_layout_make(uint32_t head_dim, uint32_t group, uint32_t max_tokens, scratch_layout *out) {
    size_t pages = ((size_t)max_tokens + PAGE - 1) / PAGE, stride = (pages + 15) / 16 * 16;
    size_t base_stride = (pages + BLOCK_PAGES * 16 - 1) / (BLOCK_PAGES * 16) * 16;
    scratch_layout made = {.stride = stride, .base_stride = base_stride};
    bool fits = region_add(&made.bytes, (size_t)group * (((size_t)head_dim + 15) / 16 * 16), 1, &made.query) &&
                region_add(&made.bytes, (size_t)group * (((size_t)head_dim + 15) / 16 * 64), 1, &made.table) &&
                region_add(&made.bytes, group, 4, &made.sum) && region_add(&made.bytes, group, 4, &made.coarse_sum) &&
                region_add(&made.bytes, group, 4, &made.factor) &&
                region_add(&made.bytes, group, 4, &made.coarse_factor) &&
                region_add(&made.bytes, group, 4, &made.reach) &&
                region_add(&made.bytes, group, stride * 4, &made.score) &&
                region_add(&made.bytes, group, base_stride * 4, &made.base) && region_add(&made.bytes, pages, 4, &made.page) &&
                region_add(&made.bytes, pages, 4, &made.weight) && region_add(&made.bytes, pages, 4, &made.chosen) &&
                region_add(&made.bytes, head_dim, 4, &made.rotated);
    if (fits && FV_BUILD_TAIL)
        fits = region_add(&made.bytes, pages, 4, &made.tail) &&
               region_add(&made.bytes, group, FV_TAIL_PAGES * PAGE * 4, &made.tail_score) &&
               region_add(&made.bytes, group, 4, &made.tail_noise) && region_add(&made.bytes, group, 4, &made.tail_level) &&
               region_add(&made.bytes, group, 8, &made.tail_mass) &&
               region_add(&made.bytes, ((size_t)group + PAGE) * (((size_t)head_dim + 15) / 16 * 16), 4, &made.tail_rows);
    *out = made;
    return fits;
}

bool fv_choose_scratch_bytes(uint32_t head_dim, uint32_t group, uint32_t max_tokens, size_t *bytes) {
    scratch_layout layout;
    if (!scratch_layout_make(head_dim, group, max_tokens, &layout)) return false;
    *bytes = layout.bytes;
    return true;
}

fv_choose_scratch fv_choose_scratch_at(void *memory, uint32_t head_dim, uint32_t group, uint32_t max_tokens) {
    scratch_layout layout;
    unsigned char *base = (unsigned char *)memory;
    if (!scratch_layout_make(head_dim, group, max_tokens, &layout)) return (fv_choose_scratch){0};
    return (fv_choose_scratch){.query = (int8_t *)(base + layout.query),
                               .table = base + layout.table,
                               .sum = (int32_t *)(void *)(base + layout.sum),
                               .coarse_sum = (int32_t *)(void *)(base + layout.coarse_sum),
                               .factor = (float *)(void *)(base + layout.factor),
                               .coarse_factor = (float *)(void *)(base + layout.coarse_factor),
                               .reach = (float *)(void *)(base + layout.reach),
                               .score = (int32_t *)(void *)(base + layout.score),
                               .base = (int32_t *)(void *)(base + layout.base),
                               .page = (uint32_t *)(void *)(base + layout.page),
                               .weight = (uint32_t *)(void *)(base + layout.weight),
                               .chosen = (uint32_t *)(void *)(base + layout.chosen),
                               .rotated = (float *)(void *)(base + layout.rotated),
                               .tail = (uint32_t *)(void *)(base + layout.tail),
                               .tail_score = (int32_t *)(void *)(base + layout.tail_score),
                               .tail_level = (int32_t *)(void *)(base + layout.tail_level),
                               .tail_noise = (float *)(void *)(base + layout.tail_noise),
                               .tail_rows = (float *)(void *)(base + layout.tail_rows),
                               .tail_mass = (uint64_t *)(void *)(base + layout.tail_mass),
                               .stride = layout.stride,
                               .base_stride = layout.base_stride};
}

/* Makes the head's query ready: query [head_dim]. */
static void query_make(const fv_chooser *chooser, const fv_choose_scratch *scratch, size_t g, const float *query) {
    size_t dim = chooser->cache->config.head_dim, padded = chooser->cache->shadow.dim;
    int8_t *out = scratch->query + g * padded;
    int32_t sum = 0, squares = 0;
    for (size_t c = 0; c < dim; c++) scratch->rotated[c] = query[c];
    float most = chooser->kernels->shadow_query(dim, padded, scratch->rotated, out, scratch->table + g * 4 * padded,
                                                &scratch->coarse_sum[g]);
    for (size_t c = 0; c < padded; c++) {
        sum += out[c];
        squares += out[c] * out[c];
    }
    scratch->sum[g] = sum;
    float unit = most * (chooser->scale * 369.32993f); /* 256 / ln 2 */
    unit = unit < 0x1p100f ? unit : 0x1p100f;
    scratch->factor[g] = unit / 127.0f;
    scratch->coarse_factor[g] = unit / 15.0f;
    scratch->reach[g] = fv_root_f32((float)squares / (float)dim) * scratch->factor[g] * reach_of_best;
}

/* Query heads that weigh: a gate is one for all. */
static uint32_t rows_of(const fv_chooser *chooser) {
    return chooser->policy->selector == FV_SELECTOR_GATE ? 1 : chooser->group;
}

static void queries_make(const fv_chooser *chooser, const fv_choose_scratch *scratch, const float *query) {
    size_t dim = chooser->cache->config.head_dim;
    if (chooser->policy->selector == FV_SELECTOR_GATE)
        query = chooser->policy->gate + ((size_t)chooser->layer * chooser->cache->config.kv_heads + chooser->kv_head) * dim;
    for (uint32_t g = 0; g < rows_of(chooser); g++) query_make(chooser, scratch, g, query + g * dim);
}

fv_shadow_rows fv_choose_rows(const fv_chooser *chooser, const fv_choose_scratch *scratch) {
    return (fv_shadow_rows){.rows = rows_of(chooser),
                            .dim = chooser->cache->shadow.dim,
                            .query = scratch->query,
                            .sum = scratch->sum,
                            .factor = scratch->factor,
                            .table = scratch->table,
                            .coarse_sum = scratch->coarse_sum,
                            .coarse_factor = scratch->coarse_factor,
                            .base = scratch->base,
                            .base_stride = scratch->base_stride};
}

/* What the scores of a block's keys have in common, query . centre. */
static void bases_make(const fv_chooser *chooser, const fv_choose_scratch *scratch, const fv_shadow_rows *rows) {
    const fv_shadow *shadow = &chooser->cache->shadow;
    chooser->kernels->mean_score(rows, (chooser->scored + BLOCK_PAGES * 16 - 1) / (BLOCK_PAGES * 16),
                                 fv_shadow_centres(shadow, chooser->kv_head), fv_shadow_centre_steps(shadow, chooser->kv_head),
                                 scratch->base, scratch->base_stride);
}

static void weigh_means(const fv_chooser *chooser, const fv_choose_scratch *scratch, const fv_shadow_rows *rows,
                        uint32_t *weight) {
    const fv_shadow *shadow = &chooser->cache->shadow;
    const float *radii = fv_shadow_radii(shadow, chooser->kv_head);
    chooser->kernels->mean_score(rows, (chooser->scored + 15) / 16, fv_shadow_means(shadow, chooser->kv_head),
                                 fv_shadow_mean_steps(shadow, chooser->kv_head), scratch->score, scratch->stride);
    for (uint32_t g = 0; g < rows_of(chooser); g++)
        chooser->kernels->page_weight(chooser->scored, scratch->score + g * scratch->stride, radii, scratch->reach[g], weight);
}

/* Weights of the pages whose scores are in the scratch. */
static void weigh_scores(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t pages) {
    for (uint32_t i = 0; i < pages; i++) scratch->weight[i] = 0;
    for (uint32_t g = 0; g < rows_of(chooser); g++)
        chooser->kernels->page_weight(pages, scratch->score + g * scratch->stride, NULL, 0.0f, scratch->weight);
}

static void list_add(fv_choose_scratch *scratch, uint32_t begin, uint32_t end) {
    for (uint32_t page = begin; page < end; page++) scratch->page[scratch->count++] = page;
}

/* All pages, or sinks, window and the candidates with the best signs. */
static void list_make(const fv_chooser *chooser, fv_choose_scratch *scratch, const fv_shadow_rows *rows) {
    const fv_shadow *shadow = &chooser->cache->shadow;
    uint32_t candidates = chooser->end - chooser->begin;
    scratch->count = 0;
    list_add(scratch, 0, chooser->begin);
    if (chooser->policy->selector == FV_SELECTOR_CASCADE && chooser->looked_at < candidates) {
        uint32_t *place = scratch->page + chooser->begin;
        chooser->kernels->sign_score(rows, chooser->scored, fv_shadow_signs(shadow, chooser->kv_head, 0),
                                     fv_shadow_steps(shadow, chooser->kv_head, 0), scratch->score, scratch->stride);
        weigh_scores(chooser, scratch, chooser->scored);
        scratch->count += fv_list_best(chooser->kernels, scratch->weight + chooser->begin, candidates, chooser->looked_at, place);
        for (uint32_t i = chooser->begin; i < scratch->count; i++) scratch->page[i] += chooser->begin;
    } else
        list_add(scratch, chooser->begin, chooser->end);
    scratch->first = chooser->begin;
    scratch->candidates = scratch->count - chooser->begin;
    list_add(scratch, chooser->end, chooser->scored);
}

void fv_choose_weigh(const fv_chooser *chooser, fv_choose_scratch *scratch, uint32_t rows, const float *query,
                     size_t query_stride) {
    const fv_shadow *shadow = &chooser->cache->shadow;
    fv_shadow_rows ready = fv_choose_rows(chooser, scratch);
    queries_make(chooser, scratch, query);
    if (chooser->looked_at) {
        bases_make(chooser, scratch, &ready);
        list_make(chooser, scratch, &ready);
        chooser->kernels->shadow_score(&ready, scratch->count, scratch->page, fv_shadow_signs(shadow, chooser->kv_head, 0),
                                       fv_shadow_sizes(shadow, chooser->kv_head, 0),
                                       fv_shadow_steps(shadow, chooser->kv_head, 0), scratch->score, scratch->stride);
        weigh_scores(chooser, scratch, scratch->count);
        return;
    }
    list_make(chooser, scratch, &ready);
    for (uint32_t i = 0; i < scratch->count; i++) scratch->weight[i] = 0;
    weigh_means(chooser, scratch, &ready, scratch->weight);
    for (uint32_t row = 1; row < rows; row++) {
        queries_make(chooser, scratch, query + row * query_stride);
        weigh_means(chooser, scratch, &ready, scratch->weight);
    }
}

#endif
