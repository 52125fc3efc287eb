/* append_file.h - a file that one process at a time appends to, each addition durable or not there. */
#ifndef FV_APPEND_FILE_H
#define FV_APPEND_FILE_H

#include "fovea/message.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fv_append_file {
    int descriptor;
    uint64_t end;   /* bytes that are in it, and durable */
    bool is_broken; /* what is beyond `end` can't be taken back: nothing is added any more */
} fv_append_file;

typedef enum fv_append_found { FV_APPEND_OPEN, FV_APPEND_NONE, FV_APPEND_BUSY, FV_APPEND_FAILED } fv_append_found;

/* Opens a file and locks it, until it is closed or the process ends. creates: makes it if there is none, else NONE.
 * BUSY: somebody has it. Where a file system knows no locks there is nobody to keep out. */
fv_append_found fv_append_open(fv_append_file *file, const char *path, bool creates);
void fv_append_close(fv_append_file *file);

/* Adds parts [count] of `bytes` each; durable when it returns. False: nothing was added. */
bool fv_append_put(fv_append_file *file, size_t count, const void *const *parts, const size_t *bytes);

/* Reads from its beginning; false: it has fewer bytes. */
bool fv_append_head(const fv_append_file *file, uint8_t *bytes, size_t count);

/* Cuts the file to `end` bytes, durably. */
bool fv_append_cut(fv_append_file *file, uint64_t end);

/* All that a file holds now, to be freed, *bytes NULL where there is none. FV_OK, FV_ERROR_FILE, FV_ERROR_MEMORY. */
fv_status fv_append_read(const char *path, uint8_t **bytes, size_t *count, fv_message *message);

#endif
