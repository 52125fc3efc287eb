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

/* The next `count` elements of `memory`, of which *bytes are taken; NULL: they are only counted. */
static void *region_add(unsigned char *memory, size_t *bytes, size_t count, size_t size) {
    size_t begin = fv_size_reserve(bytes, count, size);
    return memory ? memory + begin : NULL;
}

/* Lays the scratch out in `memory`, or only says how many bytes it is; SIZE_MAX on overflow. */
static size_t scratch_make(unsigned char *memory, uint32_t head_dim, uint32_t group, uint32_t max_tokens, fv_choose_scratch *out) {
    size_t pages = ((size_t)max_tokens + PAGE - 1) / PAGE, sixteens = ((size_t)head_dim + 15) / 16, bytes = 0;
    out->stride = (pages + 15) / 16 * 16;
    out->base_stride = (pages + BLOCK_PAGES * 16 - 1) / (BLOCK_PAGES * 16) * 16;
    out->query = (int8_t *)region_add(memory, &bytes, group, sixteens * 16);
    out->table = (uint8_t *)region_add(memory, &bytes, group, sixteens * 64);
    out->sum = (int32_t *)region_add(memory, &bytes, group, 4);
    out->coarse_sum = (int32_t *)region_add(memory, &bytes, group, 4);
    out->factor = (float *)region_add(memory, &bytes, group, 4);
    out->coarse_factor = (float *)region_add(memory, &bytes, group, 4);
    out->reach = (float *)region_add(memory, &bytes, group, 4);
    out->score = (int32_t *)region_add(memory, &bytes, group, out->stride * 4);
    out->base = (int32_t *)region_add(memory, &bytes, group, out->base_stride * 4);
    out->page = (uint32_t *)region_add(memory, &bytes, pages, 4);
    out->weight = (uint32_t *)region_add(memory, &bytes, pages, 4);
    out->chosen = (uint32_t *)region_add(memory, &bytes, pages, 4);
    out->rotated = (float *)region_add(memory, &bytes, head_dim, 4);
    return bytes;
}

bool fv_choose_scratch_bytes(uint32_t head_dim, uint32_t group, uint32_t max_tokens, size_t *bytes) {
    fv_choose_scratch counted;
    *bytes = scratch_make(NULL, head_dim, group, max_tokens, &counted);
    return *bytes != SIZE_MAX;
}

void fv_choose_scratch_at(fv_choose_scratch *scratch, void *memory, uint32_t head_dim, uint32_t group, uint32_t max_tokens) {
    scratch_make((unsigned char *)memory, head_dim, group, max_tokens, scratch);
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

static fv_shadow_rows rows_make(const fv_chooser *chooser, const fv_choose_scratch *scratch) {
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
    fv_shadow_rows ready = rows_make(chooser, scratch);
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
