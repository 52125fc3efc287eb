/* file_map.h - a whole file as read-only memory. */
#ifndef FV_FILE_MAP_H
#define FV_FILE_MAP_H

#include "fovea/message.h"
#include <stddef.h>
#include <stdint.h>

/* Start from {0}. The bytes are the file's own: whoever shortens the file while it is mapped takes them away. */
typedef struct fv_file_map {
    const uint8_t *bytes;
    size_t count;
} fv_file_map;

/* Maps the regular, non-empty file at `path`; *map untouched on error.
 * returns FV_OK, FV_ERROR_FILE, FV_ERROR_UNSUPPORTED (larger than the address space), FV_ERROR_MEMORY. */
fv_status fv_file_map_open(fv_file_map *map, const char *path, fv_message *message);
void fv_file_map_close(fv_file_map *map);

#endif
