/* gguf_text.h - texts of a file beside our own. */
#ifndef FV_GGUF_TEXT_H
#define FV_GGUF_TEXT_H

#include "fovea/gguf.h"
#include <string.h>

static inline bool fv_gguf_text_is(fv_gguf_text text, const char *literal) {
    return text.length == strlen(literal) && memcmp(text.bytes, literal, text.length) == 0;
}

#endif
