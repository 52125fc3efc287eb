/* A cache as bytes that outlive it: two slots, the header of a slot written last, a checksum over either part. The
 * bytes are those of docs/file-formats.md: tokens, not pages, so that a file does not depend on how a cache lies in
 * memory. */
#include "build.h"
#include "cache/cache_pages.h"
#include "cache/element.h"
#include "cache/summaries.h"
#include <stdbool.h>

#if FV_BUILD_FILE

enum {
    VERSION = 1,       /* F32, F16 and Q8_0 alone: what the first version could hold, it can still read */
    VERSION_TYPES = 2, /* BF16, Q4_0 */
    SLOTS = 2,
    SECTOR_BYTES =
        4096, /* a header has one to itself: flash erases so much at once, and a torn sector takes no neighbour */
    PIECE_BYTES = 256, /* a page of serial flash */
    HEADER_BYTES = 72
};

static const unsigned char magic[8] = {'f', 'v', 'c', 'a', 'c', 'h', 'e', 0};

/* CRC-64/XZ (ECMA-182, reflected), four bits at a time: 128 bytes of table, for small flash. It finds any error burst
 * of up to 64 bits for certain, so each flipped bit and byte, and misses others, a cut in the middle among them, with
 * 2^-64. */
static uint64_t checksum_add(uint64_t sum, const unsigned char *bytes, size_t count) {
    static const uint64_t step[16] = {
        0x0000000000000000u, 0x7D9BA13851336649u, 0xFB374270A266CC92u, 0x86ACE348F355AADBu,
        0x64B62BCAEBC387A1u, 0x192D8AF2BAF0E1E8u, 0x9F8169BA49A54B33u, 0xE21AC88218962D7Au,
        0xC96C5795D7870F42u, 0xB4F7F6AD86B4690Bu, 0x325B15E575E1C3D0u, 0x4FC0B4DD24D2A599u,
        0xADDA7C5F3C4488E3u, 0xD041DD676D77EEAAu, 0x56ED3E2F9E224471u, 0x2B769F17CF112238u,
    };
    sum = ~sum;
    for (size_t i = 0; i < count; i++) {
        sum ^= bytes[i];
        sum = sum >> 4 ^ step[sum & 15];
        sum = sum >> 4 ^ step[sum & 15];
    }
    return ~sum;
}

static uint64_t number_get(const unsigned char *bytes, size_t count) {
    uint64_t number = 0;
    for (size_t i = 0; i < count; i++) number |= (uint64_t)bytes[i] << (8 * i);
    return number;
}

static void number_put(unsigned char *bytes, size_t count, uint64_t number) {
    for (size_t i = 0; i < count; i++) bytes[i] = (unsigned char)(number >> (8 * i));
}

/* What the header of a slot says. */
typedef struct saved {
    fv_status status; /* FV_OK; CORRUPT: no header; UNSUPPORTED: a newer version's; or what reading it returned */
    uint32_t slot, tokens;
    uint64_t sequence, checksum;
    fv_cache_config config;
} saved;

static uint32_t version_of(const fv_cache_config *config) {
    bool is_first = config->key_type <= FV_ELEMENT_Q8_0 && config->value_type <= FV_ELEMENT_Q8_0;
    return is_first ? VERSION : VERSION_TYPES;
}

static void header_pack(const saved *state, unsigned char bytes[HEADER_BYTES]) {
    const fv_cache_config *config = &state->config;
    const uint32_t words[] = {config->kv_heads,   config->head_dim,        config->max_tokens, config->key_type,
                              config->value_type, config->landmark_tokens, state->tokens,      0};
    fv_bytes_copy(bytes, magic, sizeof magic);
    number_put(bytes + 8, 4, version_of(config));
    number_put(bytes + 12, 4, HEADER_BYTES);
    number_put(bytes + 16, 8, state->sequence);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) number_put(bytes + 24 + 4 * i, 4, words[i]);
    number_put(bytes + 56, 8, state->checksum);
    number_put(bytes + 64, 8, checksum_add(0, bytes, 64));
}

static uint32_t word_get(const unsigned char *bytes) { return (uint32_t)number_get(bytes, 4); }

/* What a header says whose bytes are whole. */
static fv_status header_unpack(const unsigned char bytes[HEADER_BYTES], saved *state) {
    state->sequence = number_get(bytes + 16, 8);
    uint32_t version = word_get(bytes + 8);
    if (version != VERSION && version != VERSION_TYPES) return FV_ERROR_UNSUPPORTED;
    state->config = (fv_cache_config){.kv_heads = word_get(bytes + 24),
                                      .head_dim = word_get(bytes + 28),
                                      .max_tokens = word_get(bytes + 32),
                                      .key_type = word_get(bytes + 36),
                                      .value_type = word_get(bytes + 40),
                                      .landmark_tokens = word_get(bytes + 44)};
    state->tokens = word_get(bytes + 48);
    state->checksum = number_get(bytes + 56, 8);
    bool is_made_here = word_get(bytes + 12) == HEADER_BYTES && word_get(bytes + 52) == 0;
    if (!is_made_here || version != version_of(&state->config) || state->tokens > state->config.max_tokens)
        return FV_ERROR_CORRUPT;
    size_t memory;
    fv_status valid = fv_cache_size(&state->config, &memory);
    return valid == FV_ERROR_ARGUMENT ? FV_ERROR_CORRUPT : valid;
}

static void header_read(const fv_cache_store *store, uint32_t slot, saved *state) {
    unsigned char bytes[HEADER_BYTES];
    *state = (saved){.slot = slot};
    state->status = store->read(store->context, (uint64_t)slot * SECTOR_BYTES, bytes, sizeof bytes);
    if (state->status != FV_OK) return;
    bool is_whole =
        number_get(bytes, 8) == number_get(magic, 8) && number_get(bytes + 64, 8) == checksum_add(0, bytes, 64);
    state->status = is_whole ? header_unpack(bytes, state) : FV_ERROR_CORRUPT;
}

/* Whether a state fits into a cache; whatever is read of it then lies below that cache's fv_cache_save_size(). */
static bool config_fits(const fv_cache_config *state, const fv_cache_config *cache) {
    return fv_cache_shape_equals(state, cache) && state->max_tokens <= cache->max_tokens;
}

static bool config_equals(const fv_cache_config *a, const fv_cache_config *b) {
    return fv_cache_shape_equals(a, b) && a->max_tokens == b->max_tokens;
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
    return (data_bytes(config, config->max_tokens) + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
}

static uint64_t data_offset(const fv_cache_config *config, uint32_t slot) {
    return SLOTS * SECTOR_BYTES + slot * slot_bytes(config);
}

/* Bytes of a slot that pass by in order, a piece at a time. After a failure nothing is read or written any more. */
typedef struct stream {
    const fv_cache_store *store;
    bool writes;
    fv_status status;
    uint64_t offset, left, checksum; /* of the next piece; bytes from it on; of the pieces before it */
    size_t used, filled;             /* of the piece: bytes passed by; bytes read */
    unsigned char piece[PIECE_BYTES];
} stream;

/* Fills the fields one by one: an initialiser would clear the piece, too. */
static void stream_begin(stream *s, const fv_cache_store *store, bool writes, const saved *state) {
    s->store = store;
    s->writes = writes;
    s->status = FV_OK;
    s->offset = data_offset(&state->config, state->slot);
    s->left = data_bytes(&state->config, state->tokens);
    s->checksum = 0;
    s->used = s->filled = 0;
}

static size_t piece_bytes(const stream *s) { return s->left < PIECE_BYTES ? (size_t)s->left : PIECE_BYTES; }

static void piece_end(stream *s, size_t count) {
    if (s->status == FV_OK) s->checksum = checksum_add(s->checksum, s->piece, count);
    s->offset += count;
    s->left -= count;
    s->used = 0;
}

static void piece_read(stream *s) {
    s->filled = piece_bytes(s);
    if (s->status == FV_OK) s->status = s->store->read(s->store->context, s->offset, s->piece, s->filled);
    for (size_t i = 0; s->status != FV_OK && i < PIECE_BYTES; i++) s->piece[i] = 0;
    piece_end(s, s->filled);
}

static void piece_write(stream *s) {
    size_t count = s->used;
    if (s->status == FV_OK) s->status = s->store->write(s->store->context, s->offset, s->piece, count);
    piece_end(s, count);
}

static void byte_put(stream *s, unsigned char byte) {
    s->piece[s->used++] = byte;
    if (s->used == piece_bytes(s)) piece_write(s);
}

static unsigned char byte_get(stream *s) {
    if (s->used == s->filled) piece_read(s);
    return s->piece[s->used++];
}

/* One element of 1, 2 or 4 bytes, to or from memory; in the file its low byte comes first. */
static void element_move(stream *s, void *element, size_t bytes) {
    const uint16_t one = 1;
    bool low_first = *(const unsigned char *)&one == 1;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char *byte = (unsigned char *)element + (low_first ? i : bytes - 1 - i);
        if (s->writes)
            byte_put(s, *byte);
        else
            *byte = byte_get(s);
    }
}

/* `stride` elements apart: 16 in a panel of keys, 1 in a row of values. */
static void vector_move(stream *s, size_t head_dim, void *first, size_t stride, size_t bytes) {
    unsigned char *element = (unsigned char *)first;
    for (size_t c = 0; c < head_dim; c++) element_move(s, element + c * stride * bytes, bytes);
}

static void key_move(stream *s, uint32_t type, size_t head_dim, unsigned char *panel, size_t column) {
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

static void value_move(stream *s, uint32_t type, size_t head_dim, unsigned char *row) {
    size_t bytes = FV_ELEMENT_IS(type, Q4_0) ? 1 : fv_element_bytes(type); /* Q4_0: bytes in any case */
    vector_move(s, fv_element_row_bytes(type, head_dim) / bytes, row, 1, bytes);
}

/* All that a state is, in the order of the file; save and restore both read it here, so they cannot disagree. */
static void data_move(stream *s, const fv_cache *cache, uint32_t tokens) {
    const fv_cache_config *config = &cache->config;
    size_t dim = config->head_dim;
    for (uint32_t head = 0; head < config->kv_heads; head++) {
        for (uint32_t t = 0; t < tokens && s->status == FV_OK; t++) {
            unsigned char *panel =
                cache->keys + head * cache->key_head_bytes + t / FV_PAGE_TOKENS * cache->key_page_bytes;
            unsigned char *row = cache->values + head * cache->value_head_bytes + t * cache->value_row_bytes;
            size_t scale = head * cache->scale_head_stride + t;
            key_move(s, config->key_type, dim, panel, t % FV_PAGE_TOKENS);
            if (cache->key_scales) element_move(s, cache->key_scales + scale, 4);
            value_move(s, config->value_type, dim, row);
            if (cache->value_scales) element_move(s, cache->value_scales + scale, 4);
        }
        for (uint32_t mark = 0; mark < mark_count(config, tokens) && s->status == FV_OK; mark++) {
            size_t row = head * cache->mark_head_stride + mark * dim;
            vector_move(s, dim, cache->mark_keys + row, 1, 4);
            vector_move(s, dim, cache->mark_values + row, 1, 4);
        }
    }
}

static fv_status data_check(const fv_cache_store *store, const saved *state) {
    stream s;
    stream_begin(&s, store, false, state);
    while (s.left > 0 && s.status == FV_OK) piece_read(&s);
    if (s.status != FV_OK) return s.status;
    return s.checksum == state->checksum ? FV_OK : FV_ERROR_CORRUPT;
}

static bool is_header(const saved *state) { return state->status == FV_OK || state->status == FV_ERROR_UNSUPPORTED; }

/* Both headers, the newest first; one that is none comes last. The status is that of the first, if it is one; else it
 * is an error of reading, if there was one, rather than CORRUPT. */
static fv_status headers_read(const fv_cache_store *store, saved state[SLOTS]) {
    header_read(store, 0, &state[0]);
    header_read(store, 1, &state[1]);
    bool first_is = is_header(&state[0]), second_is = is_header(&state[1]);
    if (second_is && (!first_is || state[1].sequence > state[0].sequence)) {
        saved second = state[1];
        state[1] = state[0];
        state[0] = second;
    }
    return first_is || second_is || state[0].status != FV_ERROR_CORRUPT ? state[0].status : state[1].status;
}

/* A whole header of another kind is never ignored: it is somebody's state. */
static fv_status header_accept(const saved *state, bool fits) {
    if (state->status == FV_OK && !fits) return FV_ERROR_ARGUMENT;
    return state->status == FV_ERROR_CORRUPT ? FV_OK : state->status;
}

static bool store_is_usable(const fv_cache_store *store) { return store && store->read && store->write; }

fv_status fv_cache_save_size(const fv_cache_config *config, uint64_t *bytes) {
    size_t memory;
    fv_status status = fv_cache_size(config, &memory);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = data_offset(config, SLOTS);
    return FV_OK;
}

fv_status fv_cache_save_shape(const fv_cache_store *store, fv_cache_config *config) {
    if (!store_is_usable(store) || !config) return FV_ERROR_ARGUMENT;
    saved state[SLOTS];
    fv_status status = headers_read(store, state);
    if (status == FV_OK) *config = state[0].config;
    return status;
}

static fv_status store_sync(const fv_cache_store *store) { return store->sync ? store->sync(store->context) : FV_OK; }

/* Where the next state goes, and its number: never over the newest whole one. */
static fv_status target_find(const fv_cache *cache, const fv_cache_store *store, saved *target) {
    saved state[SLOTS];
    headers_read(store, state);
    uint32_t slot = 0, is_kept = 0;
    uint64_t sequence = 0;
    for (uint32_t i = 0; i < SLOTS; i++) {
        fv_status status = header_accept(&state[i], config_equals(&state[i].config, &cache->config));
        if (status != FV_OK) return status;
        if (state[i].status != FV_OK) continue;
        if (state[i].sequence > sequence) sequence = state[i].sequence;
        if (is_kept) continue;
        status = data_check(store, &state[i]);
        if (status != FV_OK && status != FV_ERROR_CORRUPT) return status;
        is_kept = status == FV_OK;
        slot = is_kept ? SLOTS - 1 - state[i].slot : slot;
    }
    if (sequence == UINT64_MAX) return FV_ERROR_OVERFLOW;
    *target = (saved){.slot = slot, .tokens = cache->tokens, .sequence = sequence + 1, .config = cache->config};
    return FV_OK;
}

fv_status fv_cache_save(const fv_cache *cache, const fv_cache_store *store, uint64_t *sequence) {
    if (!cache || !store_is_usable(store)) return FV_ERROR_ARGUMENT;
    saved target = {.status = FV_OK};
    fv_status status = target_find(cache, store, &target);
    if (status != FV_OK) return status;
    stream s;
    stream_begin(&s, store, true, &target);
    data_move(&s, cache, cache->tokens);
    if (s.status == FV_OK) s.status = store_sync(store);
    if (s.status != FV_OK) return s.status;
    target.checksum = s.checksum;
    header_pack(&target, s.piece);
    status = store->write(store->context, (uint64_t)target.slot * SECTOR_BYTES, s.piece, HEADER_BYTES);
    if (status == FV_OK) status = store_sync(store);
    if (status == FV_OK && sequence) *sequence = target.sequence;
    return status;
}

fv_status fv_cache_save_forget(const fv_cache_store *store, uint64_t sequence) {
    if (!store_is_usable(store)) return FV_ERROR_ARGUMENT;
    saved state[SLOTS];
    fv_status status = headers_read(store, state);
    if (status != FV_OK || state[0].sequence <= sequence) return status;
    if (state[1].status != FV_OK || state[1].sequence > sequence) return FV_ERROR_CORRUPT;
    status = data_check(store, &state[1]);
    if (status != FV_OK) return status;
    const unsigned char none[HEADER_BYTES] = {0};
    status = store->write(store->context, (uint64_t)state[0].slot * SECTOR_BYTES, none, sizeof none);
    return status == FV_OK ? store_sync(store) : status;
}

static fv_status data_restore(fv_cache *cache, const fv_cache_store *store, const saved *state) {
    stream s;
    cache->tokens = 0;
    stream_begin(&s, store, false, state);
    data_move(&s, cache, state->tokens);
    if (s.status != FV_OK) return s.status;
    if (s.checksum != state->checksum) return FV_ERROR_CORRUPT;
    cache->tokens = state->tokens;
    fv_summaries_update(cache, 0);
    return FV_OK;
}

fv_status fv_cache_restore(fv_cache *cache, const fv_cache_store *store, uint64_t *sequence) {
    if (!cache || !store_is_usable(store)) return FV_ERROR_ARGUMENT;
    saved state[SLOTS];
    fv_status failure = headers_read(store, state);
    for (uint32_t i = 0; i < SLOTS; i++) {
        bool fits = config_fits(&state[i].config, &cache->config);
        fv_status status = is_header(&state[i]) ? header_accept(&state[i], fits) : FV_OK;
        if (status != FV_OK) return status;
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (state[i].status != FV_OK) continue;
        fv_status status = data_check(store, &state[i]);
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
