/* Pieces of 256 bytes that never cross a multiple of 256. */
#include "store/stream.h"
#include "build.h"
#include "store/crc64.h"

#if FV_BUILD_FILE

/* Fills the fields one by one: an initialiser would clear the piece, too. */
void fv_stream_begin(fv_stream *s, const fv_store *store, bool writes, uint64_t offset, uint64_t bytes) {
    s->store = store;
    s->writes = writes;
    s->status = FV_OK;
    s->offset = offset;
    s->left = bytes;
    s->checksum = 0;
    s->used = s->filled = 0;
}

static size_t piece_bytes(const fv_stream *s) { return s->left < FV_STREAM_PIECE ? (size_t)s->left : FV_STREAM_PIECE; }

static void piece_end(fv_stream *s, size_t count) {
    if (s->status == FV_OK) s->checksum = fv_crc64_add(s->checksum, s->piece, count);
    s->offset += count;
    s->left -= count;
    s->used = 0;
}

static void piece_read(fv_stream *s) {
    s->filled = piece_bytes(s);
    if (s->status == FV_OK) s->status = s->store->read(s->store->context, s->offset, s->piece, s->filled);
    for (size_t i = 0; s->status != FV_OK && i < FV_STREAM_PIECE; i++) s->piece[i] = 0;
    piece_end(s, s->filled);
}

static void piece_write(fv_stream *s) {
    size_t count = s->used;
    if (s->status == FV_OK) s->status = s->store->write(s->store->context, s->offset, s->piece, count);
    piece_end(s, count);
}

static void byte_put(fv_stream *s, unsigned char byte) {
    s->piece[s->used++] = byte;
    if (s->used == piece_bytes(s)) piece_write(s);
}

static unsigned char byte_get(fv_stream *s) {
    if (s->used == s->filled) piece_read(s);
    return s->piece[s->used++];
}

void fv_stream_move(fv_stream *s, void *element, size_t bytes) {
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

void fv_stream_skip(fv_stream *s) {
    while (s->left > 0 && s->status == FV_OK) piece_read(s);
}

#endif
