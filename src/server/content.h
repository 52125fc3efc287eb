/* content.h - what a message says: a text, or a list of parts. */
#ifndef FV_CONTENT_H
#define FV_CONTENT_H

#include "json_text.h"

/** Appends a message's content, a text or a list of text parts. FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY. */
fv_status fv_content_text(const json_t *content, fv_text *text, fv_message *message);

#endif
