/* A cache as a state of a two-slot store: what its header says, and its elements token by token, not page by page, so
 * that a file does not depend on how a cache lies in memory. docs/file-formats.md has the bytes. */
#include "build.h"
#include "cache/cache_pages.h"
#include "cache/element.h"
#include "cache/summaries.h"
#include "store/slots.h"
#include <stdbool.h>

#if FV_BUILD_FILE

enum {
    VERSION = 1,      /* F32, F16 and Q8_0 alone: what the first version could hold, it can still read */
    VERSION_TYPES = 2 /* BF16, Q4_0 */
};

/* The words of a header. */
enum { KV_HEADS, HEAD_DIM, MAX_TOKENS, KEY_TYPE, VALUE_TYPE, LANDMARK_TOKENS, TOKENS, RESERVED };

static uint32_t version_of(const fv_cache_config *config) {
    bool is_first = config->key_type <= FV_ELEMENT_Q8_0 && config->value_type <= FV_ELEMENT_Q8_0;
    return is_first ? VERSION : VERSION_TYPES;
}

/* A key lies in the file as a value does. */
static size_t vector_bytes(uint32_t type, size_t head_dim) {
    return fv_element_row_bytes(type, head_dim) + (fv_element_has_scale(type) ? 4 : 0);
}

static uint32_t mark_count(const fv_cache_config *config, uint32_t tokens) {
    if (!config->landmark_tokens || !tokens) return 0;
    return (tokens - 1) / config->landmark_tokens + 1; /* the partly filled one too: it goes on */
}

/* Below 2^54 for any valid configuration. */
static uint64_t data_bytes(const fv_cache_config *config, uint32_t tokens) {
    uint64_t token =
        vector_bytes(config->key_type, config->head_dim) + vector_bytes(config->value_type, config->head_dim);
    uint64_t mark = (uint64_t)2 * config->head_dim * 4;
    return config->kv_heads * (tokens * token + mark_count(config, tokens) * mark);
}

static uint64_t slot_bytes(const fv_cache_config *config) {
    return fv_slot_whole(data_bytes(config, config->max_tokens));
}

static fv_slot slot_of(const fv_cache_config *config, uint32_t tokens) {
    return (fv_slot){.status = FV_OK,
                     .version = version_of(config),
                     .words = {config->kv_heads, config->head_dim, config->max_tokens, config->key_type,
                               config->value_type, config->landmark_tokens, tokens, 0},
                     .data_bytes = data_bytes(config, tokens),
                     .slot_bytes = slot_bytes(config)};
}

static fv_cache_config config_of(const fv_slot *state) {
    return (fv_cache_config){.kv_heads = state->words[KV_HEADS],
                             .head_dim = state->words[HEAD_DIM],
                             .max_tokens = state->words[MAX_TOKENS],
                             .key_type = state->words[KEY_TYPE],
                             .value_type = state->words[VALUE_TYPE],
                             .landmark_tokens = state->words[LANDMARK_TOKENS]};
}

static fv_status slot_accept(fv_slot *state) {
    if (state->version != VERSION && state->version != VERSION_TYPES) return FV_ERROR_UNSUPPORTED;
    fv_cache_config config = config_of(state);
    if (state->words[RESERVED] != 0 || state->version != version_of(&config) ||
        state->words[TOKENS] > config.max_tokens)
        return FV_ERROR_CORRUPT;
    size_t memory;
    fv_status valid = fv_cache_size(&config, &memory);
    if (valid != FV_OK) return valid == FV_ERROR_ARGUMENT ? FV_ERROR_CORRUPT : valid;
    state->data_bytes = data_bytes(&config, state->words[TOKENS]);
    state->slot_bytes = slot_bytes(&config);
    return FV_OK;
}

static const fv_slot_format format = {.magic = {'f', 'v', 'c', 'a', 'c', 'h', 'e', 0}, .accept = slot_accept};

/* Whether a state fits into a cache; whatever is read of it then lies below that cache's fv_cache_save_size(). */
static bool config_fits(const fv_cache_config *state, const fv_cache_config *cache) {
    return fv_cache_shape_equals(state, cache) && state->max_tokens <= cache->max_tokens;
}

static bool config_equals(const fv_cache_config *a, const fv_cache_config *b) {
    return fv_cache_shape_equals(a, b) && a->max_tokens == b->max_tokens;
}

/* `stride` elements apart: 16 in a panel of keys, 1 in a row of values. */
static void vector_move(fv_stream *s, size_t head_dim, void *first, size_t stride, size_t bytes) {
    unsigned char *element = (unsigned char *)first;
    for (size_t c = 0; c < head_dim; c++) fv_stream_move(s, element + c * stride * bytes, bytes);
}

static void key_move(fv_stream *s, uint32_t type, size_t head_dim, unsigned char *panel, size_t column) {
    if (!FV_ELEMENT_IS(type, Q4_0)) {
        size_t bytes = fv_element_bytes(type);
        vector_move(s, head_dim, panel + column * bytes, FV_PAGE_TOKENS, bytes);
        return;
    }
    for (size_t block = 0; block * FV_ELEMENT_RUN < head_dim; block++) {
        unsigned char bytes[FV_Q4_BYTES];
        fv_element_q4_get(head_dim, panel, column, block, bytes);
        vector_move(s, sizeof bytes, bytes, 1, 1);
        if (!s->writes) fv_element_q4_put(head_dim, panel, column, block, bytes);
    }
}

static void value_move(fv_stream *s, uint32_t type, size_t head_dim, unsigned char *row) {
    size_t bytes = FV_ELEMENT_IS(type, Q4_0) ? 1 : fv_element_bytes(type); /* Q4_0: bytes in any case */
    vector_move(s, fv_element_row_bytes(type, head_dim) / bytes, row, 1, bytes);
}

/* All that a state is, in the order of the file; save and restore both read it here, so they cannot disagree. */
static void data_move(fv_stream *s, const fv_cache *cache, uint32_t tokens) {
    const fv_cache_config *config = &cache->config;
    size_t dim = config->head_dim;
    for (uint32_t head = 0; head < config->kv_heads; head++) {
        for (uint32_t t = 0; t < tokens && s->status == FV_OK; t++) {
            key_move(s, config->key_type, dim, fv_cache_key_page(cache, head, t / FV_PAGE_TOKENS), t % FV_PAGE_TOKENS);
            if (cache->key_scale_offset) fv_stream_move(s, fv_cache_key_scale(cache, head, t), 4);
            value_move(s, config->value_type, dim, fv_cache_value_row(cache, head, t));
            if (cache->value_scale_offset) fv_stream_move(s, fv_cache_value_scale(cache, head, t), 4);
        }
        for (uint32_t mark = 0; mark < mark_count(config, tokens) && s->status == FV_OK; mark++) {
            vector_move(s, dim, fv_cache_mark_key_row(cache, head, mark), 1, 4);
            vector_move(s, dim, fv_cache_mark_value_row(cache, head, mark), 1, 4);
        }
    }
}

/* A whole header of another kind is never ignored: it is somebody's state. */
static fv_status state_accept(const fv_slot *state, bool fits) {
    if (state->status == FV_OK && !fits) return FV_ERROR_ARGUMENT;
    return state->status == FV_ERROR_CORRUPT ? FV_OK : state->status;
}

fv_status fv_cache_save_size(const fv_cache_config *config, uint64_t *bytes) {
    size_t memory;
    fv_status status = fv_cache_size(config, &memory);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = fv_slots_bytes(slot_bytes(config));
    return FV_OK;
}

fv_status fv_cache_save_shape(const fv_store *store, fv_cache_config *config) {
    if (!fv_store_is_usable(store) || !config) return FV_ERROR_ARGUMENT;
    fv_slot state[FV_SLOTS];
    fv_status status = fv_slots_read(&format, store, state);
    if (status == FV_OK) *config = config_of(&state[0]);
    return status;
}

/* Where a state of the cache goes, if the store holds only its like. */
static fv_status target_find(const fv_cache *cache, const fv_store *store, fv_slot *target) {
    fv_slot state[FV_SLOTS];
    fv_slots_read(&format, store, state);
    for (uint32_t i = 0; i < FV_SLOTS; i++) {
        fv_cache_config config = config_of(&state[i]);
        fv_status accepted = state_accept(&state[i], config_equals(&config, &cache->config));
        if (accepted != FV_OK) return accepted;
    }
    return fv_slots_target(store, state, target);
}

fv_status fv_cache_save(const fv_cache *cache, const fv_store *store, uint64_t *sequence) {
    if (!cache || fv_cache_is_divided(cache) || !fv_store_is_usable(store) || !fv_cache_has(cache, 0, cache->tokens))
        return FV_ERROR_ARGUMENT;
    fv_slot target = slot_of(&cache->config, cache->tokens);
    fv_status status = target_find(cache, store, &target);
    if (status != FV_OK) return status;
    fv_stream s;
    fv_slot_open(&s, store, true, &target);
    data_move(&s, cache, cache->tokens);
    status = fv_slot_commit(&format, &target, &s);
    if (status == FV_OK && sequence) *sequence = target.sequence;
    return status;
}

fv_status fv_cache_save_forget(const fv_store *store, uint64_t sequence) {
    return fv_store_is_usable(store) ? fv_slots_forget(&format, store, sequence) : FV_ERROR_ARGUMENT;
}

static fv_status data_restore(fv_cache *cache, const fv_store *store, const fv_slot *state) {
    fv_stream s;
    cache->tokens = 0;
    fv_slot_open(&s, store, false, state);
    data_move(&s, cache, state->words[TOKENS]);
    if (s.status != FV_OK) return s.status;
    if (s.checksum != state->checksum) return FV_ERROR_CORRUPT;
    cache->tokens = state->words[TOKENS];
    fv_summaries_update(cache, 0);
    return FV_OK;
}

fv_status fv_cache_restore(fv_cache *cache, const fv_store *store, uint64_t *sequence) {
    if (!cache || fv_cache_is_divided(cache) || !fv_store_is_usable(store)) return FV_ERROR_ARGUMENT;
    fv_slot state[FV_SLOTS];
    fv_status failure = fv_slots_read(&format, store, state);
    for (uint32_t i = 0; i < FV_SLOTS; i++) {
        fv_cache_config config = config_of(&state[i]);
        bool fits = config_fits(&config, &cache->config) && fv_cache_has(cache, 0, state[i].words[TOKENS]);
        fv_status status = fv_slot_is_header(&state[i]) ? state_accept(&state[i], fits) : FV_OK;
        if (status != FV_OK) return status;
    }
    for (uint32_t i = 0; i < FV_SLOTS; i++) {
        if (state[i].status != FV_OK) continue;
        fv_status status = fv_slot_check(store, &state[i]);
        if (status == FV_OK) {
            status = data_restore(cache, store, &state[i]);
            if (status == FV_OK && sequence) *sequence = state[i].sequence;
            return status;
        }
        if (failure == FV_OK || failure == FV_ERROR_CORRUPT) failure = status;
    }
    return failure;
}

#endif
