/* stream.h - the data of a slot, passing by in order a piece at a time, with its checksum. */
#ifndef FV_STREAM_H
#define FV_STREAM_H

#include "fovea/store.h"
#include <stdbool.h>

enum { FV_STREAM_PIECE = 256 }; /* bytes: a page of serial flash */

/* After a failure nothing is read or written any more; what is read is zeros. */
typedef struct fv_stream {
    const fv_store *store;
    bool writes;
    fv_status status;
    uint64_t offset, left, checksum; /* of the next piece; bytes from it on; of the pieces before it */
    size_t used, filled;             /* of the piece: bytes passed by; bytes read */
    unsigned char piece[FV_STREAM_PIECE];
} fv_stream;

/* `bytes` bytes from `offset` on, a multiple of FV_STREAM_PIECE. */
void fv_stream_begin(fv_stream *s, const fv_store *store, bool writes, uint64_t offset, uint64_t bytes);

/* One element of 1, 2 or 4 bytes, to or from memory; in the store its low byte comes first. */
void fv_stream_move(fv_stream *s, void *element, size_t bytes);

/* Reads to the end, for the checksum. */
void fv_stream_skip(fv_stream *s);

#endif
