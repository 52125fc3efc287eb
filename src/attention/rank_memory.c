/* What attention over ranks needs besides: room for one exchange, and who reads what. */
#include "attention/ranks.h"
#include "numeric/size.h"

#if FV_BUILD_EXCHANGE

typedef struct ranks_layout {
    size_t bytes_offset, part_offset, total_offset, reader_offset, chosen_offset, begun_offset, round_offset,
        own_offset, all_offset;
    size_t all_bytes, reader_stride, bytes;
    uint32_t unit_rows;
} ranks_layout;

/* Of a row that chooses in the longest context, all heads. */
static size_t score_bytes(const fv_attention_config *config) {
    size_t bytes = 0;
    if (config->chooses)
        fv_size_reserve(&bytes, config->max_tokens / FV_PAGE_TOKENS + 1, config->attend.query_heads * 4);
    return bytes;
}

/* Of a segment and the rows of a tile, all heads; how many of them are in the longest context. */
static size_t state_bytes(const fv_attention_config *config, uint32_t segments, size_t *all) {
    size_t rows = (size_t)fv_attend_rows(&config->attend) * config->attend.query_heads;
    size_t bytes = rows * fv_state_floats(1, config->attend.head_dim) * sizeof(float);
    *all = 0;
    fv_size_reserve(all, segments, bytes);
    return bytes;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }
static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static fv_status ranks_layout_make(const fv_attention *attention, uint32_t ranks, ranks_layout *layout) {
    if (!attention || ranks < 1 || ranks > FV_EXCHANGE_RANKS) return FV_ERROR_ARGUMENT;
    const fv_attention_config *config = &attention->config;
    size_t heads = config->attend.kv_heads, row = score_bytes(config), states, *bytes = &layout->bytes;
    size_t state = state_bytes(config, attention->segments, &states), rows = fv_attend_rows(&config->attend);
    *layout = (ranks_layout){.bytes = 0};
    layout->unit_rows = (uint32_t)(row ? larger(1, smaller(rows, FV_RANKS_BYTES / row)) : rows);
    layout->all_bytes = larger(layout->unit_rows * row, larger(state, smaller(states, FV_RANKS_BYTES)));
    layout->reader_stride = config->chooses ? config->max_tokens / FV_PAGE_TOKENS + 1 : 0;
    fv_size_reserve(bytes, 1, sizeof(fv_ranks));
    layout->bytes_offset = fv_size_reserve(bytes, ranks, sizeof(size_t));
    layout->part_offset = fv_size_reserve(bytes, ranks, sizeof(size_t));
    layout->total_offset = fv_size_reserve(bytes, 1, state);
    layout->reader_offset = fv_size_reserve(bytes, heads * layout->reader_stride, sizeof(uint16_t));
    layout->chosen_offset = fv_size_reserve(bytes, heads, sizeof(uint16_t));
    layout->begun_offset = fv_size_reserve(bytes, heads, sizeof(bool));
    layout->round_offset = fv_size_reserve(bytes, attention->segments, sizeof(fv_rank_entry));
    layout->own_offset = fv_size_reserve(bytes, attention->segments, sizeof(uint32_t));
    layout->all_offset = fv_size_reserve(bytes, 1, layout->all_bytes);
    return *bytes == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
}

fv_status fv_attention_exchange_size(const fv_attention *attention, uint32_t ranks, size_t *bytes) {
    ranks_layout layout;
    fv_status status = ranks_layout_make(attention, ranks, &layout);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = layout.bytes;
    return FV_OK;
}

static void ranks_place(fv_ranks *ranks, unsigned char *base, const ranks_layout *layout) {
    ranks->bytes = (size_t *)(void *)(base + layout->bytes_offset);
    ranks->offset = (size_t *)(void *)(base + layout->part_offset);
    ranks->totals = (float *)(void *)(base + layout->total_offset);
    ranks->readers = (uint16_t *)(void *)(base + layout->reader_offset);
    ranks->chosen = (uint16_t *)(void *)(base + layout->chosen_offset);
    ranks->begun = (bool *)(base + layout->begun_offset);
    ranks->round = (fv_rank_entry *)(void *)(base + layout->round_offset);
    ranks->own = (uint32_t *)(void *)(base + layout->own_offset);
    ranks->all = (float *)(void *)(base + layout->all_offset);
    ranks->all_bytes = layout->all_bytes;
    ranks->reader_stride = layout->reader_stride;
    ranks->unit_rows = layout->unit_rows;
}

fv_status fv_attention_set_exchange(fv_attention *attention, const fv_exchange *exchange, void *memory, size_t bytes) {
    ranks_layout layout;
    if (attention && !exchange) {
        attention->ranks = NULL;
        return FV_OK;
    }
    if (!exchange || !exchange->all_gather || exchange->rank >= exchange->ranks) return FV_ERROR_ARGUMENT;
    fv_status status = ranks_layout_make(attention, exchange->ranks, &layout);
    if (status != FV_OK) return status;
    if (attention->config.executor) return FV_ERROR_UNSUPPORTED;
    if (!memory || bytes < layout.bytes || (uintptr_t)memory % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    fv_ranks *ranks = (fv_ranks *)memory;
    *ranks = (fv_ranks){.exchange = exchange};
    ranks_place(ranks, (unsigned char *)memory, &layout);
    attention->ranks = ranks;
    return FV_OK;
}

uint64_t fv_attention_exchanged_bytes(const fv_attention *attention) {
    return attention->ranks ? attention->ranks->moved_bytes : 0;
}

#else

fv_status fv_attention_exchange_size(const fv_attention *attention, uint32_t ranks, size_t *bytes) {
    (void)attention, (void)ranks, (void)bytes;
    return FV_ERROR_UNSUPPORTED;
}

fv_status fv_attention_set_exchange(fv_attention *attention, const fv_exchange *exchange, void *memory, size_t bytes) {
    (void)attention, (void)exchange, (void)memory, (void)bytes;
    return FV_ERROR_UNSUPPORTED;
}

uint64_t fv_attention_exchanged_bytes(const fv_attention *attention) {
    (void)attention;
    return 0;
}

#endif
