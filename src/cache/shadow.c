/* The coarse copy of the keys. Every number is one chain of f32 operations in a fixed order, channel by channel with
 * the tokens of a page in lanes: neither the batch nor the machine shows in a bit. */
#include "cache/shadow.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "kernels/kernels.h"
#include "numeric/half.h"
#include "numeric/size.h"
#include <float.h>

#if FV_BUILD_CHOOSE

enum { LANES = FV_PAGE_TOKENS, BLOCK_PAGES = FV_SHADOW_BLOCK / FV_PAGE_TOKENS };

/* Reserves room for all heads and says how much of it is one head's. */
static size_t region_add(size_t *bytes, size_t heads, size_t count, size_t size, size_t *head_bytes) {
    *head_bytes = 0;
    fv_size_reserve(head_bytes, count, size);
    return fv_size_reserve(bytes, heads, *head_bytes);
}

void fv_shadow_layout(const fv_cache_config *config, size_t *bytes, fv_shadow *layout) {
    *layout = (fv_shadow){0};
    if (!config->shadow) return;
    size_t heads = config->kv_heads, pages = ((size_t)config->max_tokens + LANES - 1) / LANES, same;
    size_t panels = (pages + LANES - 1) / LANES, block_panels = (panels + BLOCK_PAGES - 1) / BLOCK_PAGES;
    size_t dim = (config->head_dim + 15) / 16 * 16;
    layout->dim = (uint32_t)dim;
    layout->sign_offset = region_add(bytes, heads, pages, dim * 2, &layout->plane_head_bytes);
    layout->size_offset = region_add(bytes, heads, pages, dim * 2, &same);
    layout->step_offset = region_add(bytes, heads, pages, LANES * sizeof(uint16_t), &layout->step_head_bytes);
    layout->mean_offset = region_add(bytes, heads, panels, dim * LANES, &layout->mean_head_bytes);
    layout->mean_step_offset = region_add(bytes, heads, panels, LANES * sizeof(float), &layout->mean_step_head_bytes);
    layout->centre_offset = region_add(bytes, heads, block_panels, dim * LANES, &layout->centre_head_bytes);
    layout->centre_step_offset =
        region_add(bytes, heads, block_panels, LANES * sizeof(float), &layout->centre_step_head_bytes);
    layout->work_offset = fv_size_reserve(bytes, dim, 19 * sizeof(float) + LANES);
}

/* Stored keys of one page as f32, [head_dim][16]; lanes first..end-1. */
static void page_keys(const fv_cache *cache, uint32_t head, uint32_t page, uint32_t first, uint32_t end, float *out) {
    size_t dim = cache->config.head_dim;
    if (cache->config.key_type == FV_ELEMENT_F16 && end - first > 1) {
        cache->kernels->widen_f16(dim * LANES, (const uint16_t *)fv_cache_key_page(cache, head, page), out);
        return;
    }
    float *key = fv_shadow_row(&cache->shadow, 2);
    for (uint32_t t = first; t < end; t++) {
        fv_cache_read(cache, head, page * LANES + t, 1, key, NULL);
        for (size_t c = 0; c < dim; c++) out[c * LANES + t] = key[c];
    }
}

/* Channel c of mean number `n` in panels of means. */
static size_t mean_place(const fv_shadow *shadow, uint32_t n, size_t c) {
    return n / LANES * (size_t)shadow->dim * LANES + (c / 4 * LANES + n % LANES) * 4 + c % 4;
}

/* Writes x [head_dim] as mean number n of `codes`; returns its step. */
static float mean_code(const fv_cache *cache, const float *x, uint32_t n, uint8_t *codes) {
    size_t dim = cache->config.head_dim;
    float most = 0.0f;
    for (size_t c = 0; c < dim; c++) {
        float magnitude = x[c] < 0.0f ? -x[c] : x[c];
        if (!(magnitude <= most)) most = magnitude;
    }
    bool fit = most > 0.0f && most <= FLT_MAX;
    float inverse = fit ? 63.0f / most : 0.0f;
    for (size_t c = 0; c < cache->shadow.dim; c++)
        codes[mean_place(&cache->shadow, n, c)] =
            (uint8_t)(64 + (fit && c < dim ? fv_round_held(x[c] * inverse, 63.0f) : 0));
    return fit ? most / 63.0f : 0.0f;
}

static float mean_value(const fv_shadow *shadow, const uint8_t *codes, const float *steps, uint32_t n, size_t c) {
    return (float)((int32_t)codes[mean_place(shadow, n, c)] - 64) * steps[n];
}

/* The mean of a full page's rotated keys [dim][16]. */
static void mean_make(const fv_cache *cache, uint32_t head, uint32_t page, const float *keys) {
    const fv_shadow *shadow = &cache->shadow;
    size_t dim = cache->config.head_dim;
    float *mean = fv_shadow_row(shadow, 1);
    for (size_t c = 0; c < dim; c++) {
        mean[c] = 0.0f;
        for (size_t t = 0; t < LANES; t++) mean[c] += keys[c * LANES + t];
        mean[c] /= LANES;
    }
    fv_shadow_mean_steps(shadow, head)[page] = mean_code(cache, mean, page, fv_shadow_means(shadow, head));
}

/* The centre of a block is the mean of the four pages before it, of block 0 nothing. */
static void centre_make(const fv_cache *cache, uint32_t head, uint32_t block) {
    const fv_shadow *shadow = &cache->shadow;
    float *mean = fv_shadow_row(shadow, 1);
    for (size_t c = 0; c < cache->config.head_dim; c++) {
        mean[c] = 0.0f;
        for (uint32_t page = (block - 1) * BLOCK_PAGES; block && page < block * BLOCK_PAGES; page++)
            mean[c] +=
                0.25f * mean_value(shadow, fv_shadow_means(shadow, head), fv_shadow_mean_steps(shadow, head), page, c);
    }
    fv_shadow_centre_steps(shadow, head)[block] = mean_code(cache, mean, block, fv_shadow_centres(shadow, head));
}

static void centre_read(const fv_cache *cache, uint32_t head, uint32_t block, float *out) {
    const fv_shadow *shadow = &cache->shadow;
    for (size_t c = 0; c < cache->config.head_dim; c++)
        out[c] = mean_value(shadow, fv_shadow_centres(shadow, head), fv_shadow_centre_steps(shadow, head), block, c);
}

/* Nearest even, at most 2^100; NaN is 0. */
static uint16_t step_code(float x) { return x > 0x1p100f ? 0x7180 : x == x ? fv_bf16_from_f32(x) : 0; }

void fv_shadow_lanes_code(size_t dim, uint32_t first, uint32_t end, const float *x, uint8_t *code, uint16_t *step) {
    float square[LANES] = {0}, product[LANES] = {0}, norm[LANES] = {0};
    for (size_t c = 0; c < dim; c++)
        for (uint32_t t = first; t < end; t++) square[t] += x[c * LANES + t] * x[c * LANES + t];
    for (uint32_t t = first; t < end; t++) square[t] /= (float)dim;
    for (size_t c = 0; c < dim; c++)
        for (uint32_t t = first; t < end; t++) {
            float value = x[c * LANES + t];
            bool outer = value * value >= square[t];
            float level = value >= 0.0f ? (outer ? 1.5f : 0.5f) : (outer ? -1.5f : -0.5f);
            code[c * LANES + t] = (uint8_t)(level + 1.5f);
            product[t] += value * level;
            norm[t] += level * level;
        }
    for (uint32_t t = first; t < end; t++) step[t] = step_code(product[t] / norm[t]);
}

/* code [dim][16] to the two planes. */
static void codes_pack(const fv_shadow *shadow, size_t head_dim, uint32_t first, uint32_t end, const uint8_t *code,
                       uint8_t *signs, uint8_t *sizes) {
    for (size_t j = 0; j < (size_t)shadow->dim / 8; j++) /* byte row (j / 2, j % 2) */
        for (uint32_t t = first; t < end; t++) {
            uint32_t sign = 0, size = 0;
            for (size_t i = 0; i < 8; i++) {
                size_t c = j / 2 * 16 + j % 2 * 4 + i / 4 * 8 + i % 4;
                if (c >= head_dim) continue;
                sign |= (uint32_t)(code[c * LANES + t] >> 1) << i;
                size |= (uint32_t)(code[c * LANES + t] & 1) << i;
            }
            signs[j * LANES + t] = (uint8_t)sign;
            sizes[j * LANES + t] = (uint8_t)size;
        }
}

/* Tokens first..end-1 of a page; one that is full has a mean. */
static void page_code(const fv_cache *cache, uint32_t head, uint32_t page, uint32_t first, uint32_t end) {
    const fv_shadow *shadow = &cache->shadow;
    size_t dim = cache->config.head_dim;
    float *keys = fv_shadow_keys(shadow), *centre = fv_shadow_row(shadow, 0);
    uint8_t *code = fv_shadow_key_codes(shadow);
    uint32_t begin = end == LANES ? 0 : first;
    page_keys(cache, head, page, begin, end, keys);
    cache->kernels->rotate_page(dim, begin, end, keys);
    if (end == LANES) mean_make(cache, head, page, keys);
    if (page % BLOCK_PAGES == 0 && first == 0) centre_make(cache, head, page / BLOCK_PAGES);
    centre_read(cache, head, page / BLOCK_PAGES, centre);
    for (size_t c = 0; c < dim; c++)
        for (uint32_t t = first; t < end; t++) keys[c * LANES + t] -= centre[c];
    fv_shadow_lanes_code(dim, first, end, keys, code, fv_shadow_steps(shadow, head, page * LANES));
    codes_pack(shadow, dim, first, end, code, fv_shadow_signs(shadow, head, page), fv_shadow_sizes(shadow, head, page));
}

void fv_shadow_update(fv_cache *cache, uint32_t first) {
    for (uint32_t head = 0; head < cache->config.kv_heads; head++)
        for (uint32_t page = first / LANES; page * LANES < cache->tokens; page++) {
            uint32_t begin = page * LANES, left = cache->tokens - begin;
            page_code(cache, head, page, first > begin ? first - begin : 0, left < LANES ? left : LANES);
        }
}

void fv_shadow_centre(const fv_cache *cache, uint32_t head, uint32_t token, float *out) {
    centre_read(cache, head, token / FV_SHADOW_BLOCK, out);
}

void fv_shadow_code(const fv_cache *cache, uint32_t head, uint32_t token, float *out) {
    const fv_shadow *shadow = &cache->shadow;
    const uint8_t *signs = fv_shadow_signs(shadow, head, token / LANES),
                  *sizes = fv_shadow_sizes(shadow, head, token / LANES);
    float step = fv_f32_from_bf16(*fv_shadow_steps(shadow, head, token));
    for (size_t c = 0; c < cache->config.head_dim; c++) {
        size_t byte = (c / 16 * 2 + c / 4 % 2) * LANES + token % LANES, bit = c / 8 % 2 * 4 + c % 4;
        uint32_t code = (signs[byte] >> bit & 1u) * 2 + (sizes[byte] >> bit & 1u);
        out[c] = ((float)code - 1.5f) * step;
    }
}

static uint64_t whole_lines(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

uint64_t fv_shadow_mean_bytes(const fv_shadow *shadow, uint64_t pages) {
    return whole_lines(pages * (shadow->dim + sizeof(float)));
}

uint64_t fv_shadow_plane_bytes(const fv_shadow *shadow, uint64_t pages) { return whole_lines(pages * shadow->dim * 2); }

uint64_t fv_shadow_step_bytes(uint64_t pages) { return whole_lines(pages * LANES * sizeof(uint16_t)); }

#endif
