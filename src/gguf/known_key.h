/* known_key.h - what messages say of a metadata key that is there and cannot be used. */
#ifndef FV_KNOWN_KEY_H
#define FV_KNOWN_KEY_H

#include "fovea/gguf.h"

typedef struct fv_gguf_found {
    char text[80]; /* "the string 'yes'", "the i32 -1", "an array of 3 u32" */
} fv_gguf_found;

fv_gguf_found fv_gguf_found_of(const fv_gguf_entry *entry);

/* FV_ERROR_CORRUPT with a message that names the key, what was found and what was wanted. */
fv_status fv_gguf_unreadable(const fv_gguf *gguf, const char *key, const char *wanted, fv_message *message);

#endif
