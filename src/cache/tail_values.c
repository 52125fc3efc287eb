/* The coarse copy of the values. */
#include "cache/tail_values.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "codes/codes.h"
#include "kernels/kernels.h"
#include "numeric/size.h"

#if FV_BUILD_TAIL

enum { LANES = FV_PAGE_TOKENS };

void fv_tail_layout(const fv_cache_config *config, size_t pages, size_t *bytes, fv_tail_values *layout) {
    *layout = (fv_tail_values){0};
    if (!config->tail) return;
    layout->dim = (uint32_t)fv_codes_dim(config->head_dim);
    fv_size_reserve(&layout->head_bytes, pages, fv_tail_page_bytes(layout));
    layout->offset = fv_size_reserve(bytes, config->kv_heads, layout->head_bytes);
}

static uint16_t *page_steps(const fv_tail_values *tail, uint8_t *page) {
    return (uint16_t *)(void *)(page + (size_t)tail->dim * 4);
}

static void page_code(const fv_cache *cache, uint32_t head, uint32_t page) {
    const fv_tail_values *tail = &cache->tail;
    size_t dim = cache->config.head_dim;
    float *values = fv_shadow_keys(&cache->shadow), *value = fv_shadow_row(&cache->shadow, 2);
    uint8_t *code = fv_shadow_key_codes(&cache->shadow), *out = fv_tail_page(tail, head, page);
    for (uint32_t t = 0; t < LANES; t++) {
        fv_cache_read(cache, head, page * LANES + t, 1, NULL, value);
        for (size_t c = 0; c < dim; c++) values[c * LANES + t] = value[c];
    }
    cache->kernels->rotate_page(dim, 0, LANES, values);
    fv_codes_make(dim, values, code, page_steps(tail, out));
    fv_codes_pack_for_sums(dim, code, out);
}

void fv_tail_update(fv_cache *cache, uint32_t first) {
    if (!cache->tail.dim) return;
    for (uint32_t head = 0; head < cache->config.kv_heads; head++)
        for (uint32_t page = first / LANES; page < cache->tokens / LANES; page++)
            if (!fv_cache_is_foreign(cache, page)) page_code(cache, head, page);
}

void fv_tail_value(const fv_cache *cache, uint32_t head, uint32_t token, float *out) {
    const fv_tail_values *tail = &cache->tail;
    uint8_t *codes = fv_tail_page(tail, head, token / LANES);
    fv_codes_read_for_sums(cache->config.head_dim, codes, page_steps(tail, codes)[token % LANES], token % LANES, out);
}

#endif
