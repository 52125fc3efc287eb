/* Headers, which slot is next, and the order of writes. */
#include "store/slots.h"
#include "build.h"
#include "store/crc64.h"

#if FV_BUILD_FILE

enum {
    SECTOR_BYTES =
        4096, /* a header has one to itself: flash erases so much at once, a torn sector takes no neighbour */
    HEADER_BYTES = 72,
    AT_VERSION = 8,
    AT_HEADER_BYTES = 12,
    AT_SEQUENCE = 16,
    AT_WORDS = 24,
    AT_CHECKSUM = 56,
    AT_HEADER_CHECKSUM = 64
};

static uint64_t number_get(const unsigned char *bytes, size_t count) {
    uint64_t number = 0;
    for (size_t i = 0; i < count; i++) number |= (uint64_t)bytes[i] << (8 * i);
    return number;
}

static void number_put(unsigned char *bytes, size_t count, uint64_t number) {
    for (size_t i = 0; i < count; i++) bytes[i] = (unsigned char)(number >> (8 * i));
}

static uint32_t word_get(const unsigned char *bytes) { return (uint32_t)number_get(bytes, 4); }

static void header_pack(const fv_slot_format *format, const fv_slot *state, unsigned char bytes[HEADER_BYTES]) {
    for (size_t i = 0; i < sizeof format->magic; i++) bytes[i] = format->magic[i];
    number_put(bytes + AT_VERSION, 4, state->version);
    number_put(bytes + AT_HEADER_BYTES, 4, HEADER_BYTES);
    number_put(bytes + AT_SEQUENCE, 8, state->sequence);
    for (size_t i = 0; i < FV_SLOT_WORDS; i++) number_put(bytes + AT_WORDS + 4 * i, 4, state->words[i]);
    number_put(bytes + AT_CHECKSUM, 8, state->checksum);
    number_put(bytes + AT_HEADER_CHECKSUM, 8, fv_crc64_add(0, bytes, AT_HEADER_CHECKSUM));
}

/* What a header says whose bytes are whole; whether its length is that of headers today. */
static bool header_read(const fv_slot_format *format, const fv_store *store, uint32_t slot, fv_slot *state) {
    unsigned char bytes[HEADER_BYTES];
    *state = (fv_slot){.status = FV_OK, .slot = slot};
    state->status = store->read(store->context, (uint64_t)slot * SECTOR_BYTES, bytes, sizeof bytes);
    if (state->status != FV_OK) return false;
    bool is_whole = number_get(bytes, 8) == number_get(format->magic, 8) &&
                    number_get(bytes + AT_HEADER_CHECKSUM, 8) == fv_crc64_add(0, bytes, AT_HEADER_CHECKSUM);
    if (!is_whole) {
        state->status = FV_ERROR_CORRUPT;
        return false;
    }
    state->sequence = number_get(bytes + AT_SEQUENCE, 8);
    state->version = word_get(bytes + AT_VERSION);
    for (size_t i = 0; i < FV_SLOT_WORDS; i++) state->words[i] = word_get(bytes + AT_WORDS + 4 * i);
    state->checksum = number_get(bytes + AT_CHECKSUM, 8);
    return word_get(bytes + AT_HEADER_BYTES) == HEADER_BYTES;
}

uint64_t fv_slot_whole(uint64_t bytes) { return (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES; }

uint64_t fv_slots_bytes(uint64_t slot_bytes) { return FV_SLOTS * (SECTOR_BYTES + slot_bytes); }

bool fv_store_is_usable(const fv_store *store) { return store && store->read && store->write; }

fv_status fv_slots_read(const fv_slot_format *format, const fv_store *store, fv_slot state[FV_SLOTS]) {
    const bool has_length[FV_SLOTS] = {header_read(format, store, 0, &state[0]),
                                       header_read(format, store, 1, &state[1])};
    for (uint32_t i = 0; i < FV_SLOTS; i++) { /* only now: a chip's stack has let go of the bytes */
        if (state[i].status != FV_OK) continue;
        state[i].status = format->accept(&state[i]);
        if (state[i].status == FV_OK && !has_length[i]) state[i].status = FV_ERROR_CORRUPT;
    }
    bool first_is = fv_slot_is_header(&state[0]), second_is = fv_slot_is_header(&state[1]);
    if (second_is && (!first_is || state[1].sequence > state[0].sequence)) {
        fv_slot second = state[1];
        state[1] = state[0];
        state[0] = second;
    }
    return first_is || second_is || state[0].status != FV_ERROR_CORRUPT ? state[0].status : state[1].status;
}

void fv_slot_open(fv_stream *s, const fv_store *store, bool writes, const fv_slot *state) {
    fv_stream_begin(s, store, writes, FV_SLOTS * SECTOR_BYTES + state->slot * state->slot_bytes, state->data_bytes);
}

fv_status fv_slot_check(const fv_store *store, const fv_slot *state) {
    fv_stream s;
    fv_slot_open(&s, store, false, state);
    fv_stream_skip(&s);
    if (s.status != FV_OK) return s.status;
    return s.checksum == state->checksum ? FV_OK : FV_ERROR_CORRUPT;
}

fv_status fv_slots_target(const fv_store *store, const fv_slot state[FV_SLOTS], fv_slot *target) {
    uint32_t slot = 0, is_kept = 0;
    uint64_t sequence = 0;
    for (uint32_t i = 0; i < FV_SLOTS; i++) {
        if (state[i].status != FV_OK) continue;
        if (state[i].sequence > sequence) sequence = state[i].sequence;
        if (is_kept) continue;
        fv_status status = fv_slot_check(store, &state[i]);
        if (status != FV_OK && status != FV_ERROR_CORRUPT) return status;
        is_kept = status == FV_OK;
        slot = is_kept ? FV_SLOTS - 1 - state[i].slot : slot;
    }
    if (sequence == UINT64_MAX) return FV_ERROR_OVERFLOW;
    target->slot = slot;
    target->sequence = sequence + 1;
    return FV_OK;
}

static fv_status store_sync(const fv_store *store) { return store->sync ? store->sync(store->context) : FV_OK; }

static fv_status header_write(const fv_store *store, uint32_t slot, const unsigned char bytes[HEADER_BYTES]) {
    fv_status status = store->write(store->context, (uint64_t)slot * SECTOR_BYTES, bytes, HEADER_BYTES);
    return status == FV_OK ? store_sync(store) : status;
}

fv_status fv_slot_commit(const fv_slot_format *format, fv_slot *target, fv_stream *s) {
    if (s->status == FV_OK) s->status = store_sync(s->store);
    if (s->status != FV_OK) return s->status;
    target->checksum = s->checksum;
    header_pack(format, target, s->piece);
    return header_write(s->store, target->slot, s->piece);
}

fv_status fv_slots_forget(const fv_slot_format *format, const fv_store *store, uint64_t sequence) {
    fv_slot state[FV_SLOTS];
    fv_status status = fv_slots_read(format, store, state);
    if (status != FV_OK || state[0].sequence <= sequence) return status;
    if (state[1].status != FV_OK || state[1].sequence > sequence) return FV_ERROR_CORRUPT;
    status = fv_slot_check(store, &state[1]);
    if (status != FV_OK) return status;
    const unsigned char none[HEADER_BYTES] = {0};
    return header_write(store, state[0].slot, none);
}

#endif
