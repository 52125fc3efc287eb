/* file_map.h - a whole file as memory, read-only until asked. */
#ifndef FV_FILE_MAP_H
#define FV_FILE_MAP_H

#include "fovea/message.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Start from {0}. The bytes are the file's own: whoever shortens the file while it is mapped takes them away. */
typedef struct fv_file_map {
    const uint8_t *bytes;
    size_t count;
    struct fv_file_mark *mark; /* what the file was when it was mapped */
} fv_file_map;

/* Whether the file is what it was: one that was replaced by another of its name, or removed, is; one that was written
 * to is not, and its new bytes show in the map. */
bool fv_file_map_is_unchanged(const fv_file_map *map);
const char *fv_file_map_path(const fv_file_map *map);

/* Maps the regular, non-empty file at `path`; *map untouched on error.
 * returns FV_OK, FV_ERROR_FILE, FV_ERROR_UNSUPPORTED (larger than the address space), FV_ERROR_MEMORY. */
fv_status fv_file_map_open(fv_file_map *map, const char *path, fv_message *message);

/* Gives the memory of whole pages between `data` and `data + bytes` back; they are read from the file again if they are
 * needed. Nothing happens if `data` is not in this map. */
void fv_file_map_release(const fv_file_map *map, const void *data, size_t bytes);
void fv_file_map_close(fv_file_map *map);

#endif
