/* session_segments.h - the segments of a session file as memory of caches, and how such a file is written. */
#ifndef FV_SESSION_SEGMENTS_H
#define FV_SESSION_SEGMENTS_H

#include "fovea/session_file.h"

/* Which layers each file of a save has. */
typedef struct fv_session_split {
    uint64_t stamp;         /* of the save; 0: one file has all layers */
    const uint32_t *layers; /* [stages] */
    uint32_t stages, index; /* index: of the stage whose file it is */
} fv_session_split;

/* Of an open file; valid until it is closed. One of all layers: one stage. */
const fv_session_split *fv_session_file_split(const fv_session_file *file);
const char *fv_session_file_path(const fv_session_file *file); /* that it was opened by */

/* The first segment that a layer has in the file: those before it lie outside its window. */
uint32_t fv_session_file_first(const fv_session_file *file, uint32_t layer);
size_t fv_session_file_segment_bytes(const fv_session_file *file, uint32_t layer); /* in memory */

void fv_session_file_hold(const fv_session_file *file); /* one holder more; fv_session_file_close() is one less */

/*
 * Segment `index` of a layer, checked if it is used for the first time.
 *
 * mapped   out: where it lies in the file, [fv_session_file_segment_bytes()], aligned to 4,096 bytes; NULL: it is
 * packed, or there is none, see fv_session_file_first(). Valid until the file is closed. returns  FV_OK,
 * FV_ERROR_CORRUPT.
 */
fv_status fv_session_file_segment(const fv_session_file *file, uint32_t layer, uint32_t index, const void **mapped,
                                  fv_message *message);

/* Copies a segment that the file has, packed or not, to memory[fv_session_file_segment_bytes()]. FV_OK,
 * FV_ERROR_CORRUPT. */
fv_status fv_session_file_read(const fv_session_file *file, uint32_t layer, uint32_t index, void *memory,
                               fv_message *message);

/* The same over bytes that the caller keeps alive and unchanged (tests, fuzzing). */
fv_status fv_session_file_open_memory(fv_session_file **file, const void *bytes, size_t count, const char *name,
                                      fv_message *message);

/* What is to be written. */
typedef struct fv_session_image {
    const fv_session_info *info; /* version, file_bytes and cache.max_tokens are not looked at; texts may be NULL */
    const size_t *segment_bytes; /* [info->layers] in memory */
    const int32_t *tokens;       /* [info->tokens] */
    /* Memory of segment `index` of a layer, [segment_bytes[layer]]; NULL: there is none. A layer has all segments from
     * its first one on. */
    const void *(*segment)(void *context, uint32_t layer, uint32_t index);
    /* Clears in a copy of the last segment of a layer, aligned as it is, what it has of tokens beyond info->tokens;
     * NULL: there are none. */
    void (*clear)(void *context, uint32_t layer, uint32_t index, void *copy);
    void *context;
    bool *busy; /* out, may be NULL: set if another process is writing the same file, which is FV_ERROR_FILE */
    const fv_session_split *split; /* NULL: the file has all layers */
    /* Writes the save's other files, while nobody else writes this one; before it takes its name. NULL: there are none.
     */
    fv_status (*others)(void *others_context, fv_message *message);
    void *others_context;
} fv_session_image;

/*
 * Writes a session file in the place of what is at `path`: whole and durable, or not at all. A cut or the end of the
 * process at any moment leaves the old file or the new one.
 *
 * returns FV_OK, FV_ERROR_ARGUMENT (a number is out of its range, a layer has no last segment), FV_ERROR_FILE,
 *         FV_ERROR_MEMORY, FV_ERROR_OVERFLOW. O(bytes).
 */
fv_status fv_session_file_write(const fv_session_image *image, const char *path, fv_message *message);

#endif
