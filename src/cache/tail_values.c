/* The coarse copy of the values. As the codes of keys, every number is one chain of f32 operations in a fixed order. */
#include "cache/tail_values.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "kernels/kernels.h"
#include "numeric/half.h"
#include "numeric/size.h"

#if FV_BUILD_TAIL

enum { LANES = FV_PAGE_TOKENS };

void fv_tail_layout(const fv_cache_config *config, size_t *bytes, fv_tail_values *layout) {
    *layout = (fv_tail_values){0};
    if (!config->tail) return;
    size_t pages = ((size_t)config->max_tokens + LANES - 1) / LANES;
    layout->dim = (config->head_dim + 15) / 16 * 16;
    fv_size_reserve(&layout->head_bytes, pages, fv_tail_page_bytes(layout));
    layout->offset = fv_size_reserve(bytes, config->kv_heads, layout->head_bytes);
}

static uint16_t *page_steps(const fv_tail_values *tail, uint8_t *page) {
    return (uint16_t *)(void *)(page + (size_t)tail->dim * 4);
}

/* Byte and bit of a code within its page. */
static size_t code_byte(size_t channel, size_t token) {
    return channel / 16 * 64 + token / 8 * 32 + channel % 16 * 2 + token % 2;
}

static size_t code_bit(size_t token) { return token % 8 / 2 * 2; }

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
    fv_shadow_lanes_code(dim, 0, LANES, values, code, page_steps(tail, out));
    for (size_t i = 0; i < (size_t)tail->dim * 4; i++) out[i] = 0;
    for (size_t c = 0; c < dim; c++)
        for (size_t t = 0; t < LANES; t++) out[code_byte(c, t)] |= (uint8_t)(code[c * LANES + t] << code_bit(t));
}

void fv_tail_update(fv_cache *cache, uint32_t first) {
    if (!cache->tail.dim) return;
    for (uint32_t head = 0; head < cache->config.kv_heads; head++)
        for (uint32_t page = first / LANES; page < cache->tokens / LANES; page++) page_code(cache, head, page);
}

void fv_tail_value(const fv_cache *cache, uint32_t head, uint32_t token, float *out) {
    const fv_tail_values *tail = &cache->tail;
    uint8_t *codes = fv_tail_page(tail, head, token / LANES);
    float step = fv_f32_from_bf16(page_steps(tail, codes)[token % LANES]);
    for (size_t c = 0; c < cache->config.head_dim; c++)
        out[c] = step * ((float)(codes[code_byte(c, token % LANES)] >> code_bit(token % LANES) & 3) - 1.5f);
}

#endif
