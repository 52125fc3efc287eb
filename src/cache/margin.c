/* Margins are recomputed for a whole page whenever a token of it comes or goes: a cut leaves no trace. */
#include "cache/margin.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "kernels/kernels.h"
#include "numeric/root.h"
#include "numeric/size.h"

#if FV_BUILD_CERTIFICATE

/* Of sums of squares of up to 1,024 elements, of a rotation in f32 and of a root: all far below. */
static const float slack = 1.001f;
static const float rotation_slack = 1e-5f; /* of the key's length */

void fv_margin_layout(const fv_cache_config *config, size_t pages, size_t *bytes, fv_margins *layout) {
    *layout = (fv_margins){0};
    if (!config->margins) return;
    layout->head_stride = pages;
    layout->offset = fv_size_reserve(bytes, config->kv_heads, layout->head_stride * sizeof(fv_margin));
}

static float larger(float a, float b) { return a > b ? a : b; }

static float length_of(size_t dim, const float *x) {
    float sum = 0.0f;
    for (size_t c = 0; c < dim; c++) sum += x[c] * x[c];
    return fv_root_f32(sum) * slack;
}

static void rotate(const fv_cache *cache, float *key) {
    size_t dim = cache->config.head_dim;
    float *lane = fv_shadow_keys(&cache->shadow);
    for (size_t c = 0; c < dim; c++) lane[c * FV_PAGE_TOKENS] = key[c];
    cache->kernels->rotate_page(dim, 0, 1, lane);
    for (size_t c = 0; c < dim; c++) key[c] = lane[c * FV_PAGE_TOKENS];
}

static void key_add(const fv_cache *cache, uint32_t head, uint32_t token, fv_margin *margin) {
    size_t dim = cache->config.head_dim;
    float *key = fv_shadow_row(&cache->shadow, 0), *coarse = fv_shadow_row(&cache->shadow, 1);
    fv_cache_read(cache, head, token, 1, key, NULL);
    float key_length = length_of(dim, key);
    rotate(cache, key);
    fv_shadow_centre(cache, head, token, coarse);
    margin->centre = larger(margin->centre, length_of(dim, coarse));
    for (size_t c = 0; c < dim; c++) key[c] -= coarse[c];
    fv_shadow_code(cache, head, token, coarse);
    margin->code = larger(margin->code, length_of(dim, coarse));
    for (size_t c = 0; c < dim; c++) key[c] -= coarse[c];
    margin->residual = larger(margin->residual, length_of(dim, key) + rotation_slack * key_length);
}

static void value_add(const fv_cache *cache, uint32_t head, uint32_t token, fv_margin *margin, float *squares) {
    float *value = fv_shadow_row(&cache->shadow, 0);
    fv_cache_read(cache, head, token, 1, NULL, value);
    for (size_t c = 0; c < cache->config.head_dim; c++) {
        margin->value_max = larger(margin->value_max, value[c] < 0.0f ? -value[c] : value[c]);
        *squares += value[c] * value[c];
    }
}

void fv_margin_update(fv_cache *cache, uint32_t first) {
    if (!cache->margins.head_stride) return;
    for (uint32_t head = 0; head < cache->config.kv_heads; head++)
        for (uint32_t page = first / FV_PAGE_TOKENS; page * FV_PAGE_TOKENS < cache->tokens; page++) {
            fv_margin made = {0};
            float squares = 0.0f;
            uint32_t begin = page * FV_PAGE_TOKENS, left = cache->tokens - begin;
            uint32_t count = left < FV_PAGE_TOKENS ? left : FV_PAGE_TOKENS;
            for (uint32_t t = 0; t < count; t++) {
                if (count == FV_PAGE_TOKENS) key_add(cache, head, begin + t, &made); /* others have no codes */
                value_add(cache, head, begin + t, &made, &squares);
            }
            made.value_rms = fv_root_f32(squares / (float)(count * cache->config.head_dim));
            *fv_margin_of(&cache->margins, head, page) = made;
        }
}

#endif
