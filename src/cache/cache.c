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
#if FV_BUILD_SEGMENTS
    size_t table_offset, segments, segment_bytes; /* 0 where all is in one block */
#endif
    size_t bytes;
} cache_layout;

static fv_status config_check(const fv_cache_config *config) {
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
    return FV_OK;
}

/* The most landmarks whose first tokens are in one segment of so many tokens. */
static size_t marks_of(const fv_cache_config *config, size_t tokens) {
    return config->landmark_tokens ? (tokens + config->landmark_tokens - 1) / config->landmark_tokens : 0;
}

/* Of a block, or of a cache without its segments and of one of these. */
static fv_status cache_layout_make(const fv_cache_config *config, bool segmented, cache_layout *layout) {
    fv_status status = config_check(config);
    if (status != FV_OK) return status;
    *layout = (cache_layout){0};
    size_t pages = ((size_t)config->max_tokens + FV_PAGE_TOKENS - 1) / FV_PAGE_TOKENS, heads = config->kv_heads;
    size_t marks = marks_of(config, config->max_tokens);
    layout->key_page_bytes = fv_element_panel_bytes(config->key_type, config->head_dim);
    layout->value_row_bytes = fv_element_row_bytes(config->value_type, config->head_dim);
    layout->bytes = (sizeof(fv_cache) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN;
    size_t scale_head_bytes = 0, mark_head_bytes = 0, *bytes = &layout->bytes;
#if FV_BUILD_SEGMENTS
    if (segmented) {
        layout->segments = (pages + FV_SEGMENT_PAGES - 1) / FV_SEGMENT_PAGES;
        layout->table_offset = fv_size_reserve(bytes, layout->segments, sizeof(unsigned char *));
        pages = FV_SEGMENT_PAGES, marks = marks_of(config, FV_SEGMENT_TOKENS);
        bytes = &layout->segment_bytes;
    }
#else
    (void)segmented;
#endif
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
        fv_size_reserve(&mark_head_bytes, marks, config->head_dim * sizeof(float));
        layout->mark_key_offset = fv_size_reserve(bytes, heads, mark_head_bytes);
        layout->mark_value_offset = fv_size_reserve(bytes, heads, mark_head_bytes);
        layout->mark_head_stride = mark_head_bytes / sizeof(float);
    }
    fv_summaries_layout_make(config, pages, bytes, &layout->bytes, &layout->summaries);
    return *bytes == SIZE_MAX || layout->bytes == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
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
    fv_status status = cache_layout_make(config, false, &layout);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = layout.bytes;
    return FV_OK;
}

fv_status fv_cache_size_parts(const fv_cache_config *config, fv_cache_bytes *bytes) {
    cache_layout layout;
    fv_status status = cache_layout_make(config, false, &layout);
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

/* A new cache in memory that is large enough. */
static fv_cache *cache_place(const fv_cache_config *config, const cache_layout *layout, const fv_kernels *kernels,
                             void *memory) {
    fv_cache *made = (fv_cache *)memory;
    *made = (fv_cache){.kernels = kernels,
                       .key_offset = layout->key_offset,
                       .value_offset = layout->value_offset,
                       .key_scale_offset = layout->key_scale_offset,
                       .value_scale_offset = layout->value_scale_offset,
                       .mark_key_offset = layout->mark_key_offset,
                       .mark_value_offset = layout->mark_value_offset,
                       .key_page_bytes = layout->key_page_bytes,
                       .value_row_bytes = layout->value_row_bytes,
                       .key_head_bytes = layout->key_head_bytes,
                       .value_head_bytes = layout->value_head_bytes,
                       .scale_head_stride = layout->scale_head_stride,
                       .mark_head_stride = layout->mark_head_stride};
    made->config = *config;
    fv_summaries_place(made, &layout->summaries, (unsigned char *)memory);
    return made;
}

/* All in one block, or without any segment yet. */
static void table_make(fv_cache *cache, const cache_layout *layout, bool segmented) {
    unsigned char *memory = (unsigned char *)cache;
#if FV_BUILD_SEGMENTS
    cache->block = memory;
    cache->table = (fv_segment_table){.segments = &cache->block, .shift = 31, .mask = UINT32_MAX >> 1};
    if (!segmented) return;
    unsigned char **segments = (unsigned char **)(void *)(memory + layout->table_offset);
    for (size_t i = 0; i < layout->segments; i++) segments[i] = NULL;
    cache->segments = (uint32_t)layout->segments;
    cache->table = (fv_segment_table){.segments = segments, .shift = 6, .mask = FV_SEGMENT_PAGES - 1};
#else
    (void)layout, (void)segmented;
    cache->table.block = memory;
#endif
}

static fv_status cache_make(fv_cache **cache, const fv_cache_config *config, bool segmented, const fv_kernels *kernels,
                            void *memory, size_t bytes) {
    cache_layout layout;
    fv_status status = cache_layout_make(config, segmented, &layout);
    if (status != FV_OK) return status;
    if (!cache || !kernels) return FV_ERROR_ARGUMENT;
    if (!memory || bytes < layout.bytes || (uintptr_t)memory % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    fv_cache *made = cache_place(config, &layout, kernels, memory);
    table_make(made, &layout, segmented);
    *cache = made;
    return FV_OK;
}

fv_status fv_cache_init(fv_cache **cache, const fv_cache_config *config, const fv_kernels *kernels, void *memory,
                        size_t bytes) {
    return cache_make(cache, config, false, kernels, memory, bytes);
}

#if FV_BUILD_SEGMENTS
fv_status fv_cache_segments_size(const fv_cache_config *config, size_t *bytes, size_t *segment_bytes) {
    cache_layout layout;
    fv_status status = cache_layout_make(config, true, &layout);
    if (status != FV_OK) return status;
    if (!bytes || !segment_bytes) return FV_ERROR_ARGUMENT;
    *bytes = layout.bytes;
    *segment_bytes = layout.segment_bytes;
    return FV_OK;
}

fv_status fv_cache_segments_init(fv_cache **cache, const fv_cache_config *config, const fv_kernels *kernels,
                                 void *memory, size_t bytes) {
    return cache_make(cache, config, true, kernels, memory, bytes);
}
#else
fv_status fv_cache_segments_size(const fv_cache_config *config, size_t *bytes, size_t *segment_bytes) {
    (void)config, (void)bytes, (void)segment_bytes;
    return FV_ERROR_UNSUPPORTED;
}

fv_status fv_cache_segments_init(fv_cache **cache, const fv_cache_config *config, const fv_kernels *kernels,
                                 void *memory, size_t bytes) {
    (void)cache, (void)config, (void)kernels, (void)memory, (void)bytes;
    return FV_ERROR_UNSUPPORTED;
}
#endif

uint32_t fv_cache_tokens(const fv_cache *cache) { return cache->tokens; }

bool fv_cache_region_at(const fv_cache *cache, uint32_t index, fv_cache_region *region) {
    uint32_t heads = cache->config.kv_heads, head = index % heads;
    size_t pages = ((size_t)cache->tokens + FV_PAGE_TOKENS - 1) / FV_PAGE_TOKENS;
    if (index / heads > 1 || cache->segments) return false;
    if (index < heads)
        *region = (fv_cache_region){.memory = fv_cache_key_page(cache, head, 0),
                                    .bytes = cache->key_head_bytes,
                                    .used = pages * cache->key_page_bytes};
    else
        *region = (fv_cache_region){.memory = fv_cache_value_row(cache, head, 0),
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
    if (cache->key_scale_offset) bytes += FV_PAGE_TOKENS * sizeof(float);
    if (cache->value_scale_offset) bytes += FV_PAGE_TOKENS * sizeof(float);
    return (bytes + 63) / 64 * 64;
}

/* Tokens of one page. */
static void tokens_store(fv_cache *cache, uint32_t head, uint32_t token, uint32_t tokens, const float *key,
                         size_t key_stride, const float *value, size_t value_stride) {
    const fv_cache_config *config = &cache->config;
    uint32_t page = token / FV_PAGE_TOKENS, column = token % FV_PAGE_TOKENS;
    unsigned char *panel = fv_cache_key_page(cache, head, page), *row = fv_cache_value_row(cache, head, token);
    float *key_scale = fv_cache_key_scale(cache, head, token), *value_scale = fv_cache_value_scale(cache, head, token);
    bool whole = tokens == FV_PAGE_TOKENS &&
                 fv_element_page_store(cache->kernels, config->key_type, config->head_dim, key, key_stride, panel);
    bool copied = FV_BUILD_AVX2 && config->value_type == FV_ELEMENT_F32 && cache->kernels->copy_rows_f32;
    if (copied) cache->kernels->copy_rows_f32(tokens, config->head_dim, value, value_stride, (float *)(void *)row);
    for (uint32_t t = 0; t < tokens; t++, row += cache->value_row_bytes) {
        if (!whole)
            fv_element_key_store(cache->kernels, config->key_type, config->head_dim, key + t * key_stride, panel,
                                 column + t, key_scale ? key_scale + t : NULL);
        if (copied) continue;
        fv_element_row_store(cache->kernels, config->value_type, config->head_dim, value + t * value_stride, row,
                             value_scale ? value_scale + t : NULL);
    }
}

/* Tokens from `token` on that lie in one page and in one landmark's block, `most` at most. */
static uint32_t run_tokens(const fv_cache *cache, uint32_t token, uint32_t most) {
    uint32_t block = cache->config.landmark_tokens ? cache->config.landmark_tokens : FV_PAGE_TOKENS;
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
        if (!fv_element_holds(cache->kernels, config->key_type, row, keys + t * key_stride) ||
            !fv_element_holds(cache->kernels, config->value_type, row, values + t * value_stride))
            return false;
    return true;
}

/* Tokens of a head that are stored before another head's, so that each goes to lines that follow each other and its
 * inputs are near for the next. */
enum { STORED_TOKENS = 4 * FV_PAGE_TOKENS };

/* Of one head, page by page. */
static void head_store(fv_cache *cache, uint32_t head, uint32_t first, uint32_t tokens, const float *key,
                       size_t key_stride, const float *value, size_t value_stride) {
    for (uint32_t done = 0, count; done < tokens; done += count) {
        count = run_tokens(cache, first + done, tokens - done);
        if (fv_cache_is_foreign(cache, (first + done) / FV_PAGE_TOKENS)) continue;
        const float *keys = key + done * key_stride, *values = value + done * value_stride;
        tokens_store(cache, head, first + done, count, keys, key_stride, values, value_stride);
        if (cache->config.landmark_tokens)
            fv_landmark_add(cache, head, first + done, count, keys, key_stride, values, value_stride);
    }
}

void fv_cache_add(fv_cache *cache, uint32_t tokens, const float *keys, size_t key_stride, const float *values,
                  size_t value_stride) {
    const size_t dim = cache->config.head_dim;
    for (uint32_t done = 0, count; done < tokens; done += count) {
        count = STORED_TOKENS < tokens - done ? STORED_TOKENS : tokens - done;
        for (uint32_t head = 0; head < cache->config.kv_heads; head++)
            head_store(cache, head, cache->tokens + done, count, keys + done * key_stride + head * dim, key_stride,
                       values + done * value_stride + head * dim, value_stride);
    }
    cache->tokens += tokens;
    fv_summaries_update(cache, cache->tokens - tokens);
}

fv_status fv_cache_append(fv_cache *cache, uint32_t tokens, const float *keys, size_t key_stride, const float *values,
                          size_t value_stride) {
    if (!cache) return FV_ERROR_ARGUMENT;
    if (tokens == 0) return FV_OK;
    size_t row = (size_t)cache->config.head_dim * cache->config.kv_heads;
    if (!keys || !values || key_stride < row || value_stride < row) return FV_ERROR_ARGUMENT;
    if (tokens > cache->config.max_tokens - cache->tokens) return FV_ERROR_FULL;
    if (!fv_cache_holds(cache, cache->tokens - (cache->tokens > 0), cache->tokens + tokens)) return FV_ERROR_FULL;
    if (!tokens_fit(cache, tokens, keys, key_stride, values, value_stride)) return FV_ERROR_RANGE;
    fv_cache_add(cache, tokens, keys, key_stride, values, value_stride);
    return FV_OK;
}

fv_status fv_cache_truncate(fv_cache *cache, uint32_t tokens) {
    if (!cache || tokens > cache->tokens) return FV_ERROR_ARGUMENT;
    bool cut = tokens < cache->tokens;
    if (cut && tokens > 0 && !fv_cache_holds(cache, tokens - 1, tokens)) return FV_ERROR_ARGUMENT;
    cache->tokens = tokens;
    if (cut) fv_summaries_cut(cache);
    if (cut && cache->config.landmark_tokens)
        for (uint32_t head = 0; head < cache->config.kv_heads; head++) fv_landmark_rebuild(cache, head, tokens);
    return FV_OK;
}

/* The tokens first..end-1, all of one page. */
static void page_copy(fv_cache *to, const fv_cache *from, uint32_t head, uint32_t first, size_t tokens) {
    fv_bytes_copy(fv_cache_key_page(to, head, first / FV_PAGE_TOKENS),
                  fv_cache_key_page(from, head, first / FV_PAGE_TOKENS), from->key_page_bytes);
    fv_bytes_copy(fv_cache_value_row(to, head, first), fv_cache_value_row(from, head, first),
                  tokens * from->value_row_bytes);
    if (to->key_scale_offset)
        fv_bytes_copy(fv_cache_key_scale(to, head, first), fv_cache_key_scale(from, head, first),
                      tokens * sizeof(float));
    if (to->value_scale_offset)
        fv_bytes_copy(fv_cache_value_scale(to, head, first), fv_cache_value_scale(from, head, first),
                      tokens * sizeof(float));
}

static void head_copy(fv_cache *to, const fv_cache *from, uint32_t head) {
    uint32_t tokens = from->tokens, block = from->config.landmark_tokens;
    size_t row_bytes = from->config.head_dim * sizeof(float);
    for (uint32_t first = 0; first < tokens; first += FV_PAGE_TOKENS)
        page_copy(to, from, head, first, tokens - first < FV_PAGE_TOKENS ? tokens - first : FV_PAGE_TOKENS);
    for (uint32_t mark = 0; block && tokens && mark <= (tokens - 1) / block; mark++) {
        fv_bytes_copy(fv_cache_mark_key_row(to, head, mark), fv_cache_mark_key_row(from, head, mark), row_bytes);
        fv_bytes_copy(fv_cache_mark_value_row(to, head, mark), fv_cache_mark_value_row(from, head, mark), row_bytes);
    }
}

fv_status fv_cache_copy(fv_cache *to, const fv_cache *from) {
    if (!to || !from || !fv_cache_shape_equals(&to->config, &from->config)) return FV_ERROR_ARGUMENT;
    if (fv_cache_is_divided(to) || fv_cache_is_divided(from)) return FV_ERROR_ARGUMENT;
    if (!fv_cache_has(from, 0, from->tokens)) return FV_ERROR_ARGUMENT;
    if (from->tokens > to->config.max_tokens || !fv_cache_has(to, 0, from->tokens)) return FV_ERROR_FULL;
    if (to == from) return FV_OK;
    for (uint32_t head = 0; head < from->config.kv_heads; head++) head_copy(to, from, head);
    to->tokens = from->tokens;
    fv_summaries_update(to, 0);
    return FV_OK;
}

/* The next token takes the place of each from `token` on. */
static void tokens_close(fv_cache *cache, uint32_t head, uint32_t token) {
    for (uint32_t to = token, from = token + 1; from < cache->tokens; to++, from++) {
        fv_element_key_copy(cache->config.key_type, cache->config.head_dim,
                            fv_cache_key_page(cache, head, from / FV_PAGE_TOKENS), from % FV_PAGE_TOKENS,
                            fv_cache_key_page(cache, head, to / FV_PAGE_TOKENS), to % FV_PAGE_TOKENS);
        fv_bytes_copy(fv_cache_value_row(cache, head, to), fv_cache_value_row(cache, head, from),
                      cache->value_row_bytes);
        if (cache->key_scale_offset) *fv_cache_key_scale(cache, head, to) = *fv_cache_key_scale(cache, head, from);
        if (cache->value_scale_offset)
            *fv_cache_value_scale(cache, head, to) = *fv_cache_value_scale(cache, head, from);
    }
}

fv_status fv_cache_remove(fv_cache *cache, uint32_t token) {
    if (!cache || token >= cache->tokens) return FV_ERROR_ARGUMENT;
    uint32_t first = token;
    if (cache->config.shadow) first -= first % FV_SHADOW_BLOCK, first -= first > 0; /* codes need the block before */
    if (fv_cache_is_divided(cache) || !fv_cache_has(cache, first, cache->tokens)) return FV_ERROR_ARGUMENT;
    for (uint32_t head = 0; head < cache->config.kv_heads; head++) tokens_close(cache, head, token);
    cache->tokens--;
    fv_summaries_rebuild(cache, token);
    for (uint32_t head = 0; cache->config.landmark_tokens && head < cache->config.kv_heads; head++)
        fv_landmark_rebuild(cache, head, token);
    return FV_OK;
}
