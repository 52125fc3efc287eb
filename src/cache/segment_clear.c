/* Takes out of a copy of a segment what it still has of tokens that a cache has no more: a cut only moves the count. */
#include "build.h"
#include "cache/cache_pages.h"
#include "cache/element.h"
#include "codes/means.h"
#include "kernels/q4_layout.h"

#if FV_BUILD_SEGMENTS

enum { LANES = FV_PAGE_TOKENS, BLOCK_PAGES = FV_SHADOW_BLOCK / FV_PAGE_TOKENS };

static void bytes_clear(void *memory, size_t bytes) {
    unsigned char *byte = (unsigned char *)memory;
    for (size_t i = 0; i < bytes; i++) byte[i] = 0;
}

/* Lanes `first` to the last of rows [count][16 lanes][lane_bytes]. */
static void lanes_clear(void *rows, size_t count, size_t lane_bytes, uint32_t first) {
    for (size_t i = 0; i < count; i++)
        bytes_clear((unsigned char *)rows + (i * LANES + first) * lane_bytes, (LANES - first) * lane_bytes);
}

static void key_page_clear(fv_cache *cache, uint32_t head, uint32_t page, uint32_t first) {
    size_t dim = cache->config.head_dim;
    unsigned char *panel = fv_cache_key_page(cache, head, page);
    if (!FV_ELEMENT_IS(cache->config.key_type, Q4_0)) {
        lanes_clear(panel, dim, fv_element_bytes(cache->config.key_type), first);
        return;
    }
    lanes_clear(panel, fv_q4_blocks(dim), sizeof(uint16_t), first);
    lanes_clear(panel + fv_q4_panel_quants(dim), (dim + 1) / 2, 1, first);
}

static void elements_clear(fv_cache *cache, uint32_t head, uint32_t page, uint32_t first) {
    uint32_t token = page * LANES + first;
    float *key_scale = fv_cache_key_scale(cache, head, token), *value_scale = fv_cache_value_scale(cache, head, token);
    key_page_clear(cache, head, page, first);
    bytes_clear(fv_cache_value_row(cache, head, token), (LANES - first) * cache->value_row_bytes);
    if (key_scale) bytes_clear(key_scale, (LANES - first) * sizeof *key_scale);
    if (value_scale) bytes_clear(value_scale, (LANES - first) * sizeof *value_scale);
}

/* Vector `place` of those that fv_mean_put() wrote. */
static void mean_clear(const fv_shadow *shadow, uint8_t *codes, float *steps, uint32_t place) {
    for (size_t c = 0; c < shadow->dim; c++) codes[fv_mean_place(shadow->dim, place, c)] = 0;
    steps[place] = 0.0f;
}

/* A page that is not full has no codes; a block has a centre once its first page is full. */
static void shadow_clear(const fv_shadow *shadow, uint32_t head, uint32_t page) {
    uint32_t place = fv_segment_page(shadow->table, page);
    bytes_clear(fv_shadow_signs(shadow, head, page), shadow->dim / 8 * LANES);
    bytes_clear(fv_shadow_sizes(shadow, head, page), shadow->dim / 8 * LANES);
    bytes_clear(fv_shadow_steps(shadow, head, page * LANES), LANES * sizeof(uint16_t));
    mean_clear(shadow, fv_shadow_means(shadow, head, page), fv_shadow_mean_steps(shadow, head, page), place);
    if (place % BLOCK_PAGES == 0)
        mean_clear(shadow, fv_shadow_centres(shadow, head, page), fv_shadow_centre_steps(shadow, head, page),
                   place / BLOCK_PAGES);
}

/* What a page has of lane `first` and those after it. Margins of a page that keeps tokens are bounds of these alone. */
static void page_clear(fv_cache *cache, uint32_t head, uint32_t page, uint32_t first) {
    elements_clear(cache, head, page, first);
    if (!FV_BUILD_CHOOSE || !cache->shadow.dim) return;
    shadow_clear(&cache->shadow, head, page);
    if (cache->tail.dim) bytes_clear(fv_tail_page(&cache->tail, head, page), fv_tail_page_bytes(&cache->tail));
    if (cache->margins.head_stride && first == 0)
        bytes_clear(fv_margin_of(&cache->margins, head, page), sizeof(fv_margin));
}

/* The landmarks whose blocks begin among the tokens begin..end-1. */
static void marks_clear(fv_cache *cache, uint32_t head, uint32_t begin, uint32_t end) {
    uint32_t block = cache->config.landmark_tokens;
    size_t bytes = cache->config.head_dim * sizeof(float);
    if (block == 0) return;
    for (uint32_t mark = begin / block + (begin % block != 0); mark < (end + block - 1) / block; mark++) {
        bytes_clear(fv_cache_mark_key_row(cache, head, mark), bytes);
        bytes_clear(fv_cache_mark_value_row(cache, head, mark), bytes);
    }
}

fv_status fv_cache_segment_clear(const fv_cache *cache, uint32_t index, void *copy) {
    if (!cache || index >= cache->segments) return FV_ERROR_ARGUMENT;
    if (!copy || (uintptr_t)copy % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    fv_cache view = *cache; /* of a block that is the copy: every page is one of its */
    view.block = (unsigned char *)copy;
    view.table = (fv_segment_table){.segments = &view.block, .shift = 31, .mask = FV_SEGMENT_PAGES - 1};
    view.shadow.table = view.margins.table = view.tail.table = &view.table;
    uint32_t begin = index * FV_SEGMENT_TOKENS, end = begin + FV_SEGMENT_TOKENS;
    if (begin < cache->tokens) begin = cache->tokens;
    for (uint32_t head = 0; begin < end && head < view.config.kv_heads; head++) {
        for (uint32_t page = begin / LANES; page < end / LANES; page++)
            page_clear(&view, head, page, page == begin / LANES ? begin % LANES : 0);
        marks_clear(&view, head, begin, end);
    }
    return FV_OK;
}

#else

fv_status fv_cache_segment_clear(const fv_cache *cache, uint32_t index, void *copy) {
    (void)cache, (void)index, (void)copy;
    return FV_ERROR_UNSUPPORTED;
}

#endif
