/* gguf_split.h - models in several files: their names end in -00001-of-00003.gguf. */
#ifndef FV_GGUF_SPLIT_H
#define FV_GGUF_SPLIT_H

#include "gguf/gguf_header.h"

/* The name must agree with what the file says of itself: otherwise the siblings' names would be a guess.
 * returns FV_OK, FV_ERROR_CORRUPT, FV_ERROR_FILE. */
fv_status fv_gguf_split_check_name(const char *path, const fv_gguf_header *facts, fv_message *message);

/* A copy of `path`, which ends in a split suffix, that names part number `part`, from 1; free() it. NULL: no memory. */
char *fv_gguf_split_sibling(const char *path, uint32_t part);

/* FV_ERROR_FILE, and the message names the first part. */
fv_status fv_gguf_split_refuse_later(const char *path, const fv_gguf_header *facts, fv_message *message);

#endif
