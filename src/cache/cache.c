/* Pages of one layer: layout, append, truncate. One function knows the layout; size query and init both read it. */
#include "build.h"
#include "cache/cache_pages.h"
#include "cache/element.h"
#include "cache/landmarks.h"
#include "cache/summaries.h"
#include "kernels/kernels.h"
#include "numeric/size.h"

typedef struct cache_layout {
    size_t key_page_bytes, value_row_bytes, key_head_bytes, value_head_bytes, scale_head_stride, mark_head_stride;
    size_t key_offset, value_offset, key_scale_offset, value_scale_offset, mark_key_offset, mark_value_offset;
    fv_summaries_layout summaries;
    size_t bytes;
} cache_layout;

static fv_status cache_layout_make(const fv_cache_config *config, cache_layout *layout) {
    if (!config || config->kv_heads < 1 || config->kv_heads > 1024) return FV_ERROR_ARGUMENT;
    if (config->head_dim < 1 || config->head_dim > 1024) return FV_ERROR_ARGUMENT;
    if (config->max_tokens < 1 || config->max_tokens > 1u << 30) return FV_ERROR_ARGUMENT;
    if (config->key_type >= FV_ELEMENT_COUNT || config->value_type >= FV_ELEMENT_COUNT) return FV_ERROR_ARGUMENT;
    if (config->landmark_tokens > 1u << 30 || config->shadow > 1) return FV_ERROR_ARGUMENT;
    if (config->margins > 1 || config->tail > 1) return FV_ERROR_ARGUMENT;
    if ((config->margins || config->tail) && !config->shadow) return FV_ERROR_ARGUMENT;
    if (config->tail > FV_BUILD_TAIL) return FV_ERROR_UNSUPPORTED;
    if (config->shadow > FV_BUILD_CHOOSE || config->margins > FV_BUILD_CERTIFICATE) return FV_ERROR_UNSUPPORTED;
    if (!fv_element_is_built(config->key_type) || !fv_element_is_built(config->value_type)) return FV_ERROR_UNSUPPORTED;
    *layout = (cache_layout){0};
    size_t pages = ((size_t)config->max_tokens + FV_PAGE_TOKENS - 1) / FV_PAGE_TOKENS, heads = config->kv_heads;
    layout->key_page_bytes = fv_element_panel_bytes(config->key_type, config->head_dim);
    layout->value_row_bytes = fv_element_row_bytes(config->value_type, config->head_dim);
    layout->bytes = (sizeof(fv_cache) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN;
    size_t scale_head_bytes = 0, mark_head_bytes = 0, *bytes = &layout->bytes;
    fv_size_reserve(&layout->key_head_bytes, pages, layout->key_page_bytes);
    fv_size_reserve(&layout->value_head_bytes, pages, FV_PAGE_TOKENS * layout->value_row_bytes);
    fv_size_reserve(&scale_head_bytes, pages, FV_PAGE_TOKENS * sizeof(float));
    layout->scale_head_stride = scale_head_bytes / sizeof(float);
    layout->key_offset = fv_size_reserve(bytes, heads, layout->key_head_bytes);
    layout->value_offset = fv_size_reserve(bytes, heads, layout->value_head_bytes);
    if (fv_element_has_scale(config->key_type))
        layout->key_scale_offset = fv_size_reserve(bytes, heads, scale_head_bytes);
    if (fv_element_has_scale(config->value_type))
        layout->value_scale_offset = fv_size_reserve(bytes, heads, scale_head_bytes);
    if (config->landmark_tokens) {
        size_t marks = ((size_t)config->max_tokens + config->landmark_tokens - 1) / config->landmark_tokens;
        fv_size_reserve(&mark_head_bytes, marks, config->head_dim * sizeof(float));
        layout->mark_key_offset = fv_size_reserve(bytes, heads, mark_head_bytes);
        layout->mark_value_offset = fv_size_reserve(bytes, heads, mark_head_bytes);
        layout->mark_head_stride = mark_head_bytes / sizeof(float);
    }
    fv_summaries_layout_make(config, bytes, &layout->summaries);
    return *bytes == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
}

void fv_cache_config_default(fv_cache_config *config) {
    *config = (fv_cache_config){.kv_heads = 1,
                                .head_dim = 64,
                                .max_tokens = 1024,
                                .key_type = FV_ELEMENT_F16,
                                .value_type = FV_ELEMENT_F16,
                                .landmark_tokens = 0};
}

fv_status fv_cache_size(const fv_cache_config *config, size_t *bytes) {
    cache_layout layout;
    fv_status status = cache_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = layout.bytes;
    return FV_OK;
}

fv_status fv_cache_size_parts(const fv_cache_config *config, fv_cache_bytes *bytes) {
    cache_layout layout;
    fv_status status = cache_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    size_t heads = config->kv_heads, scaled = 0;
    scaled += fv_element_has_scale(config->key_type);
    scaled += fv_element_has_scale(config->value_type);
    *bytes = (fv_cache_bytes){.keys = heads * layout.key_head_bytes,
                              .values = heads * layout.value_head_bytes,
                              .scales = scaled * heads * layout.scale_head_stride * sizeof(float),
                              .landmarks = 2 * heads * layout.mark_head_stride * sizeof(float),
                              .total = layout.bytes};
    return FV_OK;
}

fv_status fv_cache_init(fv_cache **cache, const fv_cache_config *config, const fv_kernels *kernels, void *memory,
                        size_t bytes) {
    cache_layout layout;
    fv_status status = cache_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!cache || !kernels) return FV_ERROR_ARGUMENT;
    if (!memory || bytes < layout.bytes || (uintptr_t)memory % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    unsigned char *base = (unsigned char *)memory;
    fv_cache *made = (fv_cache *)memory;
    *made = (fv_cache){.kernels = kernels,
                       .keys = base + layout.key_offset,
                       .values = base + layout.value_offset,
                       .key_page_bytes = layout.key_page_bytes,
                       .value_row_bytes = layout.value_row_bytes,
                       .key_head_bytes = layout.key_head_bytes,
                       .value_head_bytes = layout.value_head_bytes,
                       .scale_head_stride = layout.scale_head_stride,
                       .mark_head_stride = layout.mark_head_stride};
    made->config = *config;
    if (layout.key_scale_offset) made->key_scales = (float *)(void *)(base + layout.key_scale_offset);
    if (layout.value_scale_offset) made->value_scales = (float *)(void *)(base + layout.value_scale_offset);
    if (layout.mark_key_offset) made->mark_keys = (float *)(void *)(base + layout.mark_key_offset);
    if (layout.mark_value_offset) made->mark_values = (float *)(void *)(base + layout.mark_value_offset);
    fv_summaries_place(made, &layout.summaries, base);
    *cache = made;
    return FV_OK;
}

uint32_t fv_cache_tokens(const fv_cache *cache) { return cache->tokens; }

bool fv_cache_region_at(const fv_cache *cache, uint32_t index, fv_cache_region *region) {
    uint32_t heads = cache->config.kv_heads, head = index % heads;
    size_t pages = ((size_t)cache->tokens + FV_PAGE_TOKENS - 1) / FV_PAGE_TOKENS;
    if (index / heads > 1) return false;
    if (index < heads)
        *region = (fv_cache_region){.memory = cache->keys + head * cache->key_head_bytes,
                                    .bytes = cache->key_head_bytes,
                                    .used = pages * cache->key_page_bytes};
    else
        *region = (fv_cache_region){.memory = cache->values + head * cache->value_head_bytes,
                                    .bytes = cache->value_head_bytes,
                                    .used = cache->tokens * cache->value_row_bytes};
    return true;
}

const fv_cache_config *fv_cache_shape(const fv_cache *cache) { return &cache->config; }

uint32_t fv_cache_landmarks(const fv_cache *cache) {
    return cache->config.landmark_tokens ? cache->tokens / cache->config.landmark_tokens : 0;
}

uint64_t fv_cache_page_bytes(const fv_cache *cache) {
    uint64_t bytes = cache->key_page_bytes + FV_PAGE_TOKENS * cache->value_row_bytes;
    if (cache->key_scales) bytes += FV_PAGE_TOKENS * sizeof(float);
    if (cache->value_scales) bytes += FV_PAGE_TOKENS * sizeof(float);
    return (bytes + 63) / 64 * 64;
}

/* Tokens of one page. */
static void tokens_store(fv_cache *cache, uint32_t head, uint32_t token, uint32_t tokens, const float *key,
                         size_t key_stride, const float *value, size_t value_stride) {
    const fv_cache_config *config = &cache->config;
    uint32_t page = token / FV_PAGE_TOKENS, column = token % FV_PAGE_TOKENS;
    unsigned char *panel = cache->keys + head * cache->key_head_bytes + page * cache->key_page_bytes;
    unsigned char *row = cache->values + head * cache->value_head_bytes + token * cache->value_row_bytes;
    size_t scale = head * cache->scale_head_stride + token;
    bool whole = tokens == FV_PAGE_TOKENS &&
                 fv_element_page_store(cache->kernels, config->key_type, config->head_dim, key, key_stride, panel);
    for (uint32_t t = 0; t < tokens; t++, scale++, row += cache->value_row_bytes) {
        if (!whole)
            fv_element_key_store(cache->kernels, config->key_type, config->head_dim, key + t * key_stride, panel,
                                 column + t, cache->key_scales ? cache->key_scales + scale : NULL);
        fv_element_row_store(cache->kernels, config->value_type, config->head_dim, value + t * value_stride, row,
                             cache->value_scales ? cache->value_scales + scale : NULL);
    }
}

/* Tokens from `token` on that lie in one page and in one landmark's block, `most` at most. */
static uint32_t run_tokens(const fv_cache *cache, uint32_t token, uint32_t most) {
    uint32_t block = cache->mark_keys ? cache->config.landmark_tokens : FV_PAGE_TOKENS;
    uint32_t count = FV_PAGE_TOKENS - token % FV_PAGE_TOKENS, rest = block - token % block;
    if (count > rest) count = rest;
    return count < most ? count : most;
}

/* Whether all of it is in the range of the cache's elements. */
static bool tokens_fit(const fv_cache *cache, uint32_t tokens, const float *keys, size_t key_stride,
                       const float *values, size_t value_stride) {
    const fv_cache_config *config = &cache->config;
    size_t row = (size_t)config->kv_heads * config->head_dim;
    if (FV_BUILD_PROMPT && key_stride == row && value_stride == row) row *= tokens, tokens = 1;
    for (size_t t = 0; t < tokens; t++)
        if (!fv_element_holds(config->key_type, row, keys + t * key_stride) ||
            !fv_element_holds(config->value_type, row, values + t * value_stride))
            return false;
    return true;
}

fv_status fv_cache_append(fv_cache *cache, uint32_t tokens, const float *keys, size_t key_stride, const float *values,
                          size_t value_stride) {
    if (!cache) return FV_ERROR_ARGUMENT;
    if (tokens == 0) return FV_OK;
    size_t dim = cache->config.head_dim, row = dim * cache->config.kv_heads;
    if (!keys || !values || key_stride < row || value_stride < row) return FV_ERROR_ARGUMENT;
    if (tokens > cache->config.max_tokens - cache->tokens) return FV_ERROR_FULL;
    if (!tokens_fit(cache, tokens, keys, key_stride, values, value_stride)) return FV_ERROR_RANGE;
    for (uint32_t done = 0, count; done < tokens; done += count) {
        uint32_t first = cache->tokens + done;
        count = run_tokens(cache, first, tokens - done);
        for (uint32_t head = 0; head < cache->config.kv_heads; head++) {
            const float *key = keys + done * key_stride + head * dim,
                        *value = values + done * value_stride + head * dim;
            tokens_store(cache, head, first, count, key, key_stride, value, value_stride);
            if (cache->mark_keys) fv_landmark_add(cache, head, first, count, key, key_stride, value, value_stride);
        }
    }
    cache->tokens += tokens;
    fv_summaries_update(cache, cache->tokens - tokens);
    return FV_OK;
}

fv_status fv_cache_truncate(fv_cache *cache, uint32_t tokens) {
    if (!cache || tokens > cache->tokens) return FV_ERROR_ARGUMENT;
    bool cut = tokens < cache->tokens;
    cache->tokens = tokens;
    if (cut) fv_summaries_cut(cache);
    if (cut && cache->mark_keys)
        for (uint32_t head = 0; head < cache->config.kv_heads; head++) fv_landmark_rebuild(cache, head, tokens);
    return FV_OK;
}

static void head_copy(fv_cache *to, const fv_cache *from, uint32_t head) {
    size_t tokens = from->tokens, pages = (tokens + FV_PAGE_TOKENS - 1) / FV_PAGE_TOKENS;
    size_t dim = from->config.head_dim, scale = head * to->scale_head_stride, mark = head * to->mark_head_stride;
    fv_bytes_copy(to->keys + head * to->key_head_bytes, fv_cache_key_page(from, head, 0), pages * from->key_page_bytes);
    fv_bytes_copy(to->values + head * to->value_head_bytes, fv_cache_value_row(from, head, 0),
                  tokens * from->value_row_bytes);
    if (to->key_scales)
        fv_bytes_copy(to->key_scales + scale, fv_cache_key_scale(from, head, 0), tokens * sizeof(float));
    if (to->value_scales)
        fv_bytes_copy(to->value_scales + scale, fv_cache_value_scale(from, head, 0), tokens * sizeof(float));
    if (!to->mark_keys || !tokens) return;
    size_t marks = (tokens - 1) / from->config.landmark_tokens + 1;
    fv_bytes_copy(to->mark_keys + mark, fv_cache_mark_key_row(from, head, 0), marks * dim * sizeof(float));
    fv_bytes_copy(to->mark_values + mark, fv_cache_mark_value_row(from, head, 0), marks * dim * sizeof(float));
}

fv_status fv_cache_copy(fv_cache *to, const fv_cache *from) {
    if (!to || !from || !fv_cache_shape_equals(&to->config, &from->config)) return FV_ERROR_ARGUMENT;
    if (from->tokens > to->config.max_tokens) return FV_ERROR_FULL;
    if (to == from) return FV_OK;
    for (uint32_t head = 0; head < from->config.kv_heads; head++) head_copy(to, from, head);
    to->tokens = from->tokens;
    fv_summaries_update(to, 0);
    return FV_OK;
}

/* The key column of the next token takes the place of each from `token` on. */
static void columns_close(fv_cache *cache, uint32_t head, uint32_t token) {
    unsigned char *keys = cache->keys + head * cache->key_head_bytes;
    for (size_t to = token; to + 1 < cache->tokens; to++) {
        size_t from = to + 1;
        fv_element_key_copy(cache->config.key_type, cache->config.head_dim,
                            keys + from / FV_PAGE_TOKENS * cache->key_page_bytes, from % FV_PAGE_TOKENS,
                            keys + to / FV_PAGE_TOKENS * cache->key_page_bytes, to % FV_PAGE_TOKENS);
    }
}

fv_status fv_cache_remove(fv_cache *cache, uint32_t token) {
    if (!cache || token >= cache->tokens) return FV_ERROR_ARGUMENT;
    size_t behind = cache->tokens - token - 1;
    for (uint32_t head = 0; head < cache->config.kv_heads; head++) {
        unsigned char *row = cache->values + head * cache->value_head_bytes + token * cache->value_row_bytes;
        size_t scale = head * cache->scale_head_stride + token;
        columns_close(cache, head, token);
        fv_bytes_copy(row, row + cache->value_row_bytes, behind * cache->value_row_bytes);
        if (cache->key_scales)
            fv_bytes_copy(cache->key_scales + scale, cache->key_scales + scale + 1, behind * sizeof(float));
        if (cache->value_scales)
            fv_bytes_copy(cache->value_scales + scale, cache->value_scales + scale + 1, behind * sizeof(float));
    }
    cache->tokens--;
    fv_summaries_rebuild(cache, token);
    for (uint32_t head = 0; cache->mark_keys && head < cache->config.kv_heads; head++)
        fv_landmark_rebuild(cache, head, token);
    return FV_OK;
}
