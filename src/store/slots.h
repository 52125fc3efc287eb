/* slots.h - a store that holds the state saved last beside the one before: two slots, the header of a slot written
 * last, a checksum over either part. A cut at any write leaves the old state or the new one. Whose state it is, a
 * format says: caches today. docs/file-formats.md has the bytes. */
#ifndef FV_SLOTS_H
#define FV_SLOTS_H

#include "store/stream.h"

enum { FV_SLOTS = 2, FV_SLOT_WORDS = 8 };

/* What the header of a slot says. */
typedef struct fv_slot {
    fv_status status; /* FV_OK; CORRUPT: no header; UNSUPPORTED: a newer version's; or what reading it returned */
    uint32_t slot, version;
    uint64_t sequence, checksum; /* of the data */
    uint32_t words[FV_SLOT_WORDS];
    uint64_t data_bytes, slot_bytes; /* of this state; of a slot, whole sectors: as the format computes them */
} fv_slot;

typedef struct fv_slot_format {
    unsigned char magic[8];
    /* Whether version and words are those of a state; if so, sets data_bytes and slot_bytes. FV_OK, FV_ERROR_CORRUPT,
     * FV_ERROR_UNSUPPORTED. */
    fv_status (*accept)(fv_slot *slot);
} fv_slot_format;

/* `bytes` in whole sectors. */
uint64_t fv_slot_whole(uint64_t bytes);

/* Bytes of a store whose slots have slot_bytes. */
uint64_t fv_slots_bytes(uint64_t slot_bytes);

bool fv_store_is_usable(const fv_store *store);

/* Both headers, the newest first; one that is none comes last. Returns the status of the first, if it is one; else an
 * error of reading, if there was one, rather than CORRUPT. */
fv_status fv_slots_read(const fv_slot_format *format, const fv_store *store, fv_slot state[FV_SLOTS]);

/* A header that is whole, of whatever version. */
static inline bool fv_slot_is_header(const fv_slot *state) {
    return state->status == FV_OK || state->status == FV_ERROR_UNSUPPORTED;
}

/* Reads the data of a state whose status is FV_OK: FV_OK, FV_ERROR_CORRUPT, or what the store returns. */
fv_status fv_slot_check(const fv_store *store, const fv_slot *state);

/* The data of a state, to be read or written. */
void fv_slot_open(fv_stream *s, const fv_store *store, bool writes, const fv_slot *state);

/* Where the state goes that comes after those of fv_slots_read(): never over the newest whole one. Sets slot and
 * sequence of `target` alone. FV_OK, FV_ERROR_OVERFLOW (no number is left), what the store returns. */
fv_status fv_slots_target(const fv_store *store, const fv_slot state[FV_SLOTS], fv_slot *target);

/* Ends a state whose data was written by `s`: now it is the newest. */
fv_status fv_slot_commit(const fv_slot_format *format, fv_slot *target, fv_stream *s);

/* Gives up the newest state if its number is above `sequence`, as fv_cache_save_forget() says. */
fv_status fv_slots_forget(const fv_slot_format *format, const fv_store *store, uint64_t sequence);

#endif
