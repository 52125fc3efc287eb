/* session_layout.h - what lies where in a session file: the one place that the writer and the reader both look at.
 * docs/file-formats.md says the same in words. */
#ifndef FV_SESSION_LAYOUT_H
#define FV_SESSION_LAYOUT_H

#include "fovea/session_file.h"
#include "llm/hash64.h"
#include <stddef.h>

#define FV_SESSION_MAGIC "fvsess\0" /* 8 bytes with the closing zero */
#define FV_SESSION_VERSION 1
#define FV_SESSION_VERSION_STAGE 2 /* one of several files of a save: each has some layers */
#define FV_SESSION_HEADER 128      /* bytes */
#define FV_SESSION_ALIGN 4096      /* where segments begin */
#define FV_SESSION_SEGMENT_TOKENS 1024
#define FV_SESSION_LAYER 8        /* bytes of a layer's record: its first segment, units of a segment */
#define FV_SESSION_ENTRY 16       /* bytes of the table of one segment: its bytes, their checksum */
#define FV_SESSION_TEXT_MOST 4096 /* bytes of either text */
#define FV_SESSION_UNIT 64        /* segments are counted in; so many zero bytes are left out of a packed one */

enum fv_session_place { /* offsets in the header */
                        FV_SESSION_AT_VERSION = 8,
                        FV_SESSION_AT_HEADER_BYTES = 12,
                        FV_SESSION_AT_HEAD_BYTES = 16,
                        FV_SESSION_AT_FILE_BYTES = 24,
                        FV_SESSION_AT_MODEL = 32,
                        FV_SESSION_AT_STAMP = 40,          /* of the save, not 0; version 1: 0 */
                        FV_SESSION_AT_NUMBERS = 48,        /* FV_SESSION_NUMBERS, 4 bytes each */
                        FV_SESSION_AT_HEAD_CHECKSUM = 112, /* of the head after the header */
                        FV_SESSION_AT_CHECKSUM = 120       /* of the header before it */
};

/* X(field of fv_session_numbers, least, most), in the order of the header from byte 48 on. */
#define FV_SESSION_NUMBERS(X) \
    X(vocabulary, 1, INT32_MAX) \
    X(layers, 1, 65536) \
    X(tokens, 1, 1u << 30) \
    X(segment_tokens, FV_SESSION_SEGMENT_TOKENS, FV_SESSION_SEGMENT_TOKENS) \
    X(cache.kv_heads, 1, 1024) \
    X(cache.head_dim, 1, 1024) \
    X(cache.key_type, 0, FV_ELEMENT_COUNT - 1) \
    X(cache.value_type, 0, FV_ELEMENT_COUNT - 1) \
    X(cache.landmark_tokens, 0, 1u << 30) \
    X(cache.shadow, 0, 1) \
    X(cache.margins, 0, 1) \
    X(cache.tail, 0, 1) \
    X(exact_activations, 0, 1) \
    X(end, 0, FV_SESSION_END_ANSWER) \
    X(name_bytes, 0, FV_SESSION_TEXT_MOST) \
    X(attention_bytes, 0, FV_SESSION_TEXT_MOST)

/* The numbers of a header, and where the rest of the head lies. */
typedef struct fv_session_numbers {
    uint64_t model, head_bytes, file_bytes;
    uint64_t stamp;        /* 0: the file has all layers, and is of version 1 */
    fv_cache_config cache; /* max_tokens is 0 */
    uint32_t vocabulary, layers, tokens, segment_tokens, exact_activations, end, name_bytes, attention_bytes;
} fv_session_numbers;

/* Offsets within the head, which begins with the header: layers, ids, table, texts. */
typedef struct fv_session_places {
    size_t ids, table, texts, bytes; /* bytes: rounded up to FV_SESSION_ALIGN */
} fv_session_places;

/* Segments of a layer that has all of them. */
static inline uint32_t fv_session_segments(uint32_t tokens) {
    return tokens / FV_SESSION_SEGMENT_TOKENS + (tokens % FV_SESSION_SEGMENT_TOKENS != 0);
}

/* false: it does not fit a size_t. entries: of the table. */
bool fv_session_places_make(const fv_session_numbers *numbers, size_t entries, fv_session_places *places);

void fv_session_header_put(const fv_session_numbers *numbers, uint64_t head_checksum, uint8_t *header);

/* What is wrong with a header of FV_SESSION_HEADER bytes; NULL: nothing, and *numbers is filled. *status with it. */
const char *fv_session_header_get(const uint8_t *header, fv_session_numbers *numbers, fv_status *status);

/* The stamp that the file at `path` has in its header; 0: it has none, or there is no such file. */
uint64_t fv_session_stamp_at(const char *path);

#endif
