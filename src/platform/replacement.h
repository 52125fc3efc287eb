/* replacement.h - a file written whole or not at all: beside its name first, then in its place. */
#ifndef FV_REPLACEMENT_H
#define FV_REPLACEMENT_H

#include "fovea/message.h"
#include <stdbool.h>
#include <stdio.h>

#define FV_REPLACEMENT_ENDING ".part" /* of the name that it has meanwhile */

typedef struct fv_replacement {
    FILE *file;       /* to be written to; NULL: it could not be opened, and fv_replacement_end() says so */
    const char *path; /* the caller's */
    bool busy;        /* another process is writing the same file */
    char part[4096];
} fv_replacement;

/* FV_OK, also where the file cannot be opened; FV_ERROR_FILE (the name is too long, or another process is writing the
 * same file: there is nothing to end). What a process left that was killed while it wrote is taken over. */
fv_status fv_replacement_begin(fv_replacement *replacement, const char *path, fv_message *message);

/* Puts what was written in the place of `path`, durably, if all of it is good; else drops it and leaves `path` as it
 * was. FV_OK, FV_ERROR_FILE. */
fv_status fv_replacement_end(fv_replacement *replacement, bool good, fv_message *message);

/* Makes the names in the folder of `path` durable; a file system that can't do that has done what it can. */
void fv_folder_sync(const char *path);

/* Removes the part at `part`, which a killed process left, unless somebody is writing it. Whoever is about to write it
 * sees that its name is gone. */
void fv_replacement_sweep(const char *part);

#endif
