/* The coarse copy of the keys, a page's tokens side by side as in codes/codes.h: neither the batch nor the machine
 * shows in a bit. */
#include "cache/shadow.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "codes/means.h"
#include "kernels/kernels.h"
#include "numeric/size.h"

#if FV_BUILD_CHOOSE

enum { LANES = FV_PAGE_TOKENS, BLOCK_PAGES = FV_SHADOW_BLOCK / FV_PAGE_TOKENS };

/* Reserves room for all heads and says how much of it is one head's. */
static size_t region_add(size_t *bytes, size_t heads, size_t count, size_t size, size_t *head_bytes) {
    *head_bytes = 0;
    fv_size_reserve(head_bytes, count, size);
    return fv_size_reserve(bytes, heads, *head_bytes);
}

void fv_shadow_layout(const fv_cache_config *config, size_t pages, size_t *bytes, fv_shadow *layout) {
    *layout = (fv_shadow){0};
    if (!config->shadow) return;
    size_t heads = config->kv_heads, same;
    size_t panels = (pages + LANES - 1) / LANES, block_panels = (panels + BLOCK_PAGES - 1) / BLOCK_PAGES;
    size_t dim = fv_codes_dim(config->head_dim);
    layout->dim = (uint32_t)dim;
    layout->sign_offset = region_add(bytes, heads, pages, dim * 2, &layout->plane_head_bytes);
    layout->size_offset = region_add(bytes, heads, pages, dim * 2, &same);
    layout->step_offset = region_add(bytes, heads, pages, LANES * sizeof(uint16_t), &layout->step_head_bytes);
    layout->mean_offset = region_add(bytes, heads, panels, dim * LANES, &layout->mean_head_bytes);
    layout->mean_step_offset = region_add(bytes, heads, panels, LANES * sizeof(float), &layout->mean_step_head_bytes);
    layout->centre_offset = region_add(bytes, heads, block_panels, dim * LANES, &layout->centre_head_bytes);
    layout->centre_step_offset =
        region_add(bytes, heads, block_panels, LANES * sizeof(float), &layout->centre_step_head_bytes);
}

/* Stored keys of one page as f32, [head_dim][16]. */
static void page_keys(const fv_cache *cache, uint32_t head, uint32_t page, float *out) {
    size_t dim = cache->config.head_dim;
    if (cache->config.key_type == FV_ELEMENT_F16) {
        cache->kernels->widen_f16(dim * LANES, (const uint16_t *)fv_cache_key_page(cache, head, page), out);
        return;
    }
    float *key = fv_shadow_row(&cache->shadow, 2);
    for (uint32_t t = 0; t < LANES; t++) {
        fv_cache_read(cache, head, page * LANES + t, 1, key, NULL);
        for (size_t c = 0; c < dim; c++) out[c * LANES + t] = key[c];
    }
}

/* The mean of a page's rotated keys [dim][16]. */
static void mean_make(const fv_cache *cache, uint32_t head, uint32_t page, const float *keys) {
    const fv_shadow *shadow = &cache->shadow;
    size_t dim = cache->config.head_dim;
    float *mean = fv_shadow_row(shadow, 1);
    for (size_t c = 0; c < dim; c++) {
        mean[c] = 0.0f;
        for (size_t t = 0; t < LANES; t++) mean[c] += keys[c * LANES + t];
        mean[c] /= LANES;
    }
    uint32_t place = fv_segment_page(shadow->table, page);
    fv_shadow_mean_steps(shadow, head, page)[place] =
        fv_mean_put(dim, mean, place, fv_shadow_means(shadow, head, page));
}

/* The centre of a block is the mean of the four pages before it, of block 0 nothing. */
static void centre_sum(const fv_cache *cache, uint32_t head, uint32_t block, float *mean) {
    const fv_shadow *shadow = &cache->shadow;
    for (size_t c = 0; c < cache->config.head_dim; c++) {
        mean[c] = 0.0f;
        for (uint32_t page = (block - 1) * BLOCK_PAGES; block && page < block * BLOCK_PAGES; page++)
            mean[c] += 0.25f * fv_mean_value(shadow->dim, fv_shadow_means(shadow, head, page),
                                             fv_shadow_mean_steps(shadow, head, page),
                                             fv_segment_page(shadow->table, page), c);
    }
}

static void centre_make(const fv_cache *cache, uint32_t head, uint32_t block) {
    const fv_shadow *shadow = &cache->shadow;
    float *mean = fv_shadow_row(shadow, 1);
    centre_sum(cache, head, block, mean);
    uint32_t first = block * BLOCK_PAGES, place = fv_segment_page(shadow->table, first) / BLOCK_PAGES;
    fv_shadow_centre_steps(shadow, head, first)[place] =
        fv_mean_put(cache->config.head_dim, mean, place, fv_shadow_centres(shadow, head, first));
}

static void centre_read(const fv_cache *cache, uint32_t head, uint32_t block, float *out) {
    const fv_shadow *shadow = &cache->shadow;
    uint32_t first = block * BLOCK_PAGES;
    fv_mean_read(cache->config.head_dim, fv_shadow_centres(shadow, head, first),
                 fv_shadow_centre_steps(shadow, head, first), fv_segment_page(shadow->table, first) / BLOCK_PAGES, out);
}

/* Whether another rank has what a page's block needs of the block before it, and has not said it yet. */
static bool awaits_link(const fv_cache *cache, uint32_t page) {
#if FV_BUILD_EXCHANGE
    return cache->ranks > 1 && page % FV_SEGMENT_PAGES < BLOCK_PAGES && page / FV_SEGMENT_PAGES >= cache->linked;
#else
    (void)cache, (void)page;
    return false;
#endif
}

/* Whether a page's block begins with it, and its centre can be made of what is stored here. */
static bool makes_centre(const fv_cache *cache, uint32_t page) {
    return page % BLOCK_PAGES == 0 && (page == 0 || !fv_cache_is_foreign(cache, page - 1));
}

static void page_code(const fv_cache *cache, uint32_t head, uint32_t page) {
    const fv_shadow *shadow = &cache->shadow;
    size_t dim = cache->config.head_dim;
    float *keys = fv_shadow_keys(shadow), *centre = fv_shadow_row(shadow, 0);
    uint8_t *code = fv_shadow_key_codes(shadow);
    page_keys(cache, head, page, keys);
    cache->kernels->rotate_page(dim, 0, LANES, keys);
    mean_make(cache, head, page, keys);
    if (awaits_link(cache, page)) return;
    if (makes_centre(cache, page)) centre_make(cache, head, page / BLOCK_PAGES);
    centre_read(cache, head, page / BLOCK_PAGES, centre);
    for (size_t c = 0; c < dim; c++)
        for (uint32_t t = 0; t < LANES; t++) keys[c * LANES + t] -= centre[c];
    fv_codes_make(dim, keys, code, fv_shadow_steps(shadow, head, page * LANES));
    fv_codes_pack(dim, code, fv_shadow_signs(shadow, head, page), fv_shadow_sizes(shadow, head, page));
}

void fv_shadow_update(fv_cache *cache, uint32_t first) {
    for (uint32_t head = 0; head < cache->config.kv_heads; head++)
        for (uint32_t page = first / LANES; page < cache->tokens / LANES; page++)
            if (!fv_cache_is_foreign(cache, page)) page_code(cache, head, page);
}

#if FV_BUILD_EXCHANGE
void fv_shadow_link_read(const fv_cache *cache, uint32_t segment, float *out) {
    size_t dim = cache->config.head_dim;
    for (uint32_t head = 0; head < cache->config.kv_heads; head++, out += dim)
        centre_sum(cache, head, segment * (FV_SEGMENT_PAGES / BLOCK_PAGES), out);
}

void fv_shadow_link_write(fv_cache *cache, uint32_t segment, const float *link) {
    const fv_shadow *shadow = &cache->shadow;
    uint32_t first = segment * FV_SEGMENT_PAGES, end = cache->tokens / LANES;
    if (end > first + BLOCK_PAGES) end = first + BLOCK_PAGES;
    for (uint32_t head = 0; head < cache->config.kv_heads; head++, link += cache->config.head_dim) {
        fv_shadow_centre_steps(shadow, head, first)[0] =
            fv_mean_put(cache->config.head_dim, link, 0, fv_shadow_centres(shadow, head, first));
        for (uint32_t page = first; page < end; page++) page_code(cache, head, page);
    }
}
#endif

void fv_shadow_centre(const fv_cache *cache, uint32_t head, uint32_t token, float *out) {
    centre_read(cache, head, token / FV_SHADOW_BLOCK, out);
}

void fv_shadow_code(const fv_cache *cache, uint32_t head, uint32_t token, float *out) {
    const fv_shadow *shadow = &cache->shadow;
    fv_codes_read(cache->config.head_dim, fv_shadow_signs(shadow, head, token / LANES),
                  fv_shadow_sizes(shadow, head, token / LANES), *fv_shadow_steps(shadow, head, token), token % LANES,
                  out);
}

static uint64_t whole_lines(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

uint64_t fv_shadow_mean_bytes(const fv_shadow *shadow, uint64_t pages) {
    return whole_lines(pages * (shadow->dim + sizeof(float)));
}

uint64_t fv_shadow_plane_bytes(const fv_shadow *shadow, uint64_t pages) { return whole_lines(pages * shadow->dim * 2); }

uint64_t fv_shadow_step_bytes(uint64_t pages) { return whole_lines(pages * LANES * sizeof(uint16_t)); }

#endif
