/* The coarse copy of the keys. Every number is one chain of f32 operations in a fixed order, channel by channel with the
 * tokens of a page in lanes: neither the batch nor the machine shows in a bit. */
#include "cache/shadow.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "kernels/kernels.h"
#include "size.h"
#include "splitmix.h"
#include <float.h>

#if FV_BUILD_CHOOSE

enum { LANES = FV_PAGE_TOKENS, MOST_DIM = 1024, BLOCK_PAGES = FV_SHADOW_BLOCK / FV_PAGE_TOKENS };

static const uint64_t sign_seed = 0x666F766561; /* "fovea" */

/* 1/sqrt(2^i) */
static const float norm_of[11] = {1.0f,    0.70710678f, 0.5f,     0.35355339f,  0.25f,    0.17677670f,
                                  0.125f,  0.08838835f, 0.0625f,  0.044194174f, 0.03125f};

static bool region_add(size_t *bytes, size_t heads, size_t count, size_t size, size_t *offset, size_t *head_bytes) {
    *offset = *bytes;
    return fv_size_add(head_bytes, count, size, FV_CACHE_ALIGN) && fv_size_add(bytes, heads, *head_bytes, FV_CACHE_ALIGN);
}

bool fv_shadow_layout(const fv_cache_config *config, size_t *bytes, fv_shadow *layout) {
    *layout = (fv_shadow){0};
    if (!config->shadow) return true;
    size_t heads = config->kv_heads, pages = ((size_t)config->max_tokens + LANES - 1) / LANES;
    size_t panels = (pages + BLOCK_PAGES * LANES - 1) / (BLOCK_PAGES * LANES);
    size_t work_bytes = 0;
    layout->dim = (config->head_dim + 15) / 16 * 16;
    return region_add(bytes, heads, pages, layout->dim * 4, &layout->code_offset, &layout->code_head_bytes) &&
           region_add(bytes, heads, panels, layout->dim * LANES, &layout->centre_offset, &layout->centre_head_bytes) &&
           region_add(bytes, heads, pages, LANES * sizeof(uint16_t), &layout->step_offset, &layout->step_head_bytes) &&
           region_add(bytes, heads, panels, LANES * sizeof(float), &layout->centre_step_offset,
                      &layout->centre_step_head_bytes) &&
           region_add(bytes, 1, layout->dim, 19 * sizeof(float) + LANES, &layout->work_offset, &work_bytes);
}

/* One butterfly pass over `count` channels of `lanes` lanes each, 16 apart. */
static void butterfly(size_t count, size_t half, size_t stride, size_t first, size_t end, float *x) {
    for (size_t i = 0; i < count; i += 2 * half)
        for (size_t c = i; c < i + half; c++) {
            float *low = x + c * stride, *high = x + (c + half) * stride;
            for (size_t t = first; t < end; t++) {
                float a = low[t], b = high[t];
                low[t] = a + b;
                high[t] = a - b;
            }
        }
}

/* Rotates lanes first..end-1; channels lie `stride` apart. A length that is no power of two is cut into powers of two. */
static void rotate(size_t dim, size_t stride, size_t first, size_t end, float *x) {
    for (size_t c = 0; c < dim; c++)
        for (size_t t = first; t < end && fv_splitmix(sign_seed, c) >> 63; t++) x[c * stride + t] = -x[c * stride + t];
    for (size_t done = 0, piece = MOST_DIM, log = 10; done < dim; piece /= 2, log--) {
        if (piece > dim - done) continue;
        float *part = x + done * stride;
        for (size_t half = 1; half < piece; half *= 2) butterfly(piece, half, stride, first, end, part);
        for (size_t c = 0; c < piece; c++)
            for (size_t t = first; t < end; t++) part[c * stride + t] *= norm_of[log];
        done += piece;
    }
}

void fv_shadow_rotate(size_t dim, float *x) { rotate(dim, 1, 0, 1, x); }

/* Stored keys of one page as f32, [head_dim][16]; lanes first..end-1. */
static void page_keys(const fv_cache *cache, uint32_t head, uint32_t page, uint32_t first, uint32_t end, float *out) {
    size_t dim = cache->config.head_dim;
    if (cache->config.key_type == FV_ELEMENT_F16 && end - first > 1) {
        cache->kernels->widen_f16(dim * LANES, fv_cache_key_page(cache, head, page), out);
        return;
    }
    float *key = fv_shadow_row(&cache->shadow, 2);
    for (uint32_t t = first; t < end; t++) {
        fv_cache_read(cache, head, page * LANES + t, 1, key, NULL);
        for (size_t c = 0; c < dim; c++) out[c * LANES + t] = key[c];
    }
}

/* The centre of block `block` is the mean of the block before it, of block 0 nothing. */
static void centre_make(const fv_cache *cache, uint32_t head, uint32_t block) {
    const fv_shadow *shadow = &cache->shadow;
    size_t dim = cache->config.head_dim;
    float *mean = fv_shadow_row(shadow, 1), *keys = fv_shadow_keys(shadow), most = 0.0f;
    for (size_t c = 0; c < dim; c++) mean[c] = 0.0f;
    for (uint32_t page = 0; block && page < BLOCK_PAGES; page++) {
        page_keys(cache, head, (block - 1) * BLOCK_PAGES + page, 0, LANES, keys);
        for (size_t c = 0; c < dim; c++)
            for (size_t t = 0; t < LANES; t++) mean[c] += keys[c * LANES + t];
    }
    rotate(dim, 1, 0, 1, mean);
    for (size_t c = 0; c < dim; c++) {
        float magnitude = mean[c] < 0.0f ? -mean[c] : mean[c];
        if (magnitude > most) most = magnitude;
    }
    float inverse = most > 0.0f && most <= FLT_MAX ? 127.0f / most : 0.0f;
    uint8_t *panel = fv_shadow_centres(shadow, head) + block / LANES * (size_t)shadow->dim * LANES;
    for (size_t c = 0; c < shadow->dim; c++)
        panel[(c / 4 * LANES + block % LANES) * 4 + c % 4] =
            (uint8_t)(128 + (c < dim ? fv_shadow_round(mean[c], inverse) : 0));
    fv_shadow_centre_steps(shadow, head)[block] = inverse > 0.0f ? most / (127.0f * FV_SHADOW_BLOCK) : 0.0f;
}

static void centre_read(const fv_cache *cache, uint32_t head, uint32_t block, float *out) {
    const fv_shadow *shadow = &cache->shadow;
    const uint8_t *panel = fv_shadow_centres(shadow, head) + block / LANES * (size_t)shadow->dim * LANES;
    float step = fv_shadow_centre_steps(shadow, head)[block];
    for (size_t c = 0; c < cache->config.head_dim; c++)
        out[c] = (float)((int32_t)panel[(c / 4 * LANES + block % LANES) * 4 + c % 4] - 128) * step;
}

/* Nearest even; what is not finite is 0. */
static uint16_t bf16_from_f32(float x) {
    union {
        float value;
        uint32_t bits;
    } word = {.value = x};
    if (!(x <= FLT_MAX && x >= -FLT_MAX)) return 0;
    return (uint16_t)((word.bits + 0x7FFF + (word.bits >> 16 & 1)) >> 16);
}

/* Codes of x [dim][16], lanes first..end-1. A level is one step apart from the next; the outer ones are for what is larger
 * than the root mean square; the step then minimises the squared error. */
static void lanes_code(size_t dim, uint32_t first, uint32_t end, const float *x, uint8_t *code, uint16_t *step) {
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
    for (uint32_t t = first; t < end; t++) step[t] = bf16_from_f32(product[t] / norm[t]);
}

/* code [dim][16] to the four planes. */
static void codes_pack(const fv_shadow *shadow, size_t head_dim, uint32_t first, uint32_t end, const uint8_t *code,
                       uint8_t *out) {
    size_t plane = shadow->dim / 4;
    for (size_t b = 0; b < plane; b++)
        for (uint32_t t = first; t < end; t++) {
            uint32_t byte = 0;
            for (size_t p = 0; p < 4; p++)
                if (p * plane + b < head_dim) byte |= (uint32_t)code[(p * plane + b) * LANES + t] << (2 * p);
            out[(b / 4 * LANES + t) * 4 + b % 4] = (uint8_t)byte;
        }
}

static void page_code(const fv_cache *cache, uint32_t head, uint32_t page, uint32_t first, uint32_t end,
                      const float *centre) {
    size_t dim = cache->config.head_dim;
    float *keys = fv_shadow_keys(&cache->shadow);
    uint8_t *code = fv_shadow_key_codes(&cache->shadow);
    page_keys(cache, head, page, first, end, keys);
    rotate(dim, LANES, first, end, keys);
    for (size_t c = 0; c < dim; c++)
        for (uint32_t t = first; t < end; t++) keys[c * LANES + t] -= centre[c];
    lanes_code(dim, first, end, keys, code, fv_shadow_steps(&cache->shadow, head, page * LANES));
    codes_pack(&cache->shadow, dim, first, end, code, fv_shadow_codes(&cache->shadow, head, page));
}

void fv_shadow_update(fv_cache *cache, uint32_t first) {
    float *centre = fv_shadow_row(&cache->shadow, 0);
    for (uint32_t head = 0; head < cache->config.kv_heads; head++)
        for (uint32_t page = first / LANES; page * LANES < cache->tokens; page++) {
            uint32_t begin = page * LANES, left = cache->tokens - begin, block = begin / FV_SHADOW_BLOCK;
            uint32_t low = first > begin ? first - begin : 0, high = left < LANES ? left : LANES;
            if (begin % FV_SHADOW_BLOCK == 0 && low == 0) centre_make(cache, head, block);
            if (page == first / LANES || begin % FV_SHADOW_BLOCK == 0) centre_read(cache, head, block, centre);
            page_code(cache, head, page, low, high, centre);
        }
}

void fv_shadow_read(const fv_cache *cache, uint32_t head, uint32_t token, float *out) {
    const fv_shadow *shadow = &cache->shadow;
    const uint8_t *page = fv_shadow_codes(shadow, head, token / LANES);
    size_t plane = shadow->dim / 4;
    union {
        uint32_t bits;
        float value;
    } step = {.bits = (uint32_t)*fv_shadow_steps(shadow, head, token) << 16};
    centre_read(cache, head, token / FV_SHADOW_BLOCK, out);
    for (size_t c = 0; c < cache->config.head_dim; c++) {
        size_t b = c % plane;
        uint32_t code = page[(b / 4 * LANES + token % LANES) * 4 + b % 4] >> (2 * (c / plane)) & 3;
        out[c] += ((float)code - 1.5f) * step.value;
    }
}

uint64_t fv_shadow_bytes(const fv_shadow *shadow, uint32_t tokens) {
    uint64_t pages = ((uint64_t)tokens + LANES - 1) / LANES, blocks = (pages + BLOCK_PAGES - 1) / BLOCK_PAGES;
    uint64_t bytes = pages * (shadow->dim * 4 + LANES * sizeof(uint16_t)) + blocks * (shadow->dim + sizeof(float));
    return (bytes + 63) / 64 * 64;
}

#endif
