/* index_file.h - what lies where in the file of an index, docs/file-formats.md: a header, then the centre, labels,
 * blocks of codes and rows, each from a multiple of 64 bytes on, with zeros between. Numbers are little-endian. */
#ifndef FV_INDEX_FILE_H
#define FV_INDEX_FILE_H

#include "index/index_state.h"
#include "llm/hash64.h"

#define FV_INDEX_MAGIC "fvindex" /* 8 bytes with the closing zero */
#define FV_INDEX_HEADER 256      /* bytes */
#define FV_INDEX_ALIGN 64

enum fv_index_place { /* offsets in the header; what is not named is zero */
                      FV_INDEX_AT_VERSION = 8,
                      FV_INDEX_AT_HEADER_BYTES = 12,
                      FV_INDEX_AT_FILE_BYTES = 16,
                      FV_INDEX_AT_ROWS = 24,
                      FV_INDEX_AT_SEED = 32,
                      FV_INDEX_AT_DIMENSION = 40,
                      FV_INDEX_AT_METRIC = 44,
                      FV_INDEX_AT_IS_CENTRED = 48,
                      FV_INDEX_AT_DEGREE = 52,
                      FV_INDEX_AT_ENTRY = 56,
                      FV_INDEX_AT_ROW_TYPE = 60, /* this and the next from version 2 on */
                      FV_INDEX_AT_LEAN = 64,
                      FV_INDEX_AT_REFINE = 68,
                      FV_INDEX_AT_ZEROS = 72,
                      FV_INDEX_AT_REPLACED = 112,    /* base of the journal whose changes it has; 0: none */
                      FV_INDEX_AT_DEAD = 120,        /* rows, among all */
                      FV_INDEX_AT_CALIBRATION = 128, /* calibration.h */
                      FV_INDEX_AT_CHECKSUMS = 208,   /* of each section, zeros to its end included */
                      FV_INDEX_AT_CHECKSUM = 248     /* of the header before it */
};

enum { FV_INDEX_CENTRE, FV_INDEX_LABELS, FV_INDEX_BLOCKS, FV_INDEX_VECTORS, FV_INDEX_FINE, FV_INDEX_SECTIONS };

/* Where sections lie, and how many bytes of each are in use. */
typedef struct fv_index_sections {
    size_t offset[FV_INDEX_SECTIONS + 1]; /* the last: bytes of the file */
    size_t bytes[FV_INDEX_SECTIONS];
} fv_index_sections;

/* Sections that its file has; others are empty, and have no checksum. */
size_t fv_index_section_count(const fv_index *index);

/* Of an index with config and rows. False: they do not fit a size_t. */
bool fv_index_sections_make(const fv_index *index, fv_index_sections *sections);

/* fv_index_open() of bytes that are the caller's, aligned to 8, until it is closed. `name` is for messages. */
fv_status fv_index_open_memory(fv_index **index, const uint8_t *bytes, size_t count, const char *name,
                               fv_message *message);

/* fv_index_save() for who has the change. */
fv_status fv_index_write(const fv_index *index, const char *path, fv_message *message);

#endif
