/* json_text.h - JSON in and out, within bounds: what a body may hold, and texts of models, which may not be UTF-8.
 * Where there is no memory the values are NULL, and so is what json_pack() makes of them. */
#ifndef FV_JSON_TEXT_H
#define FV_JSON_TEXT_H

#include "fovea/message.h"
#include "fovea/tokenizer.h"
#include <jansson.h>
#include <stddef.h>

#define FV_JSON_DEPTH 32         /* most arrays and objects inside each other */
#define FV_JSON_VALUES (1 << 22) /* most values, each of which takes memory */

/** One document: an object. NULL: the message says what is wrong and where. Names occur once, texts hold no zero. */
json_t *fv_json_parse(const char *bytes, size_t length, fv_message *message);

json_t *fv_json_string(const char *bytes, size_t length); /* what is no UTF-8 is U+FFFD */
json_t *fv_json_real(double value);                       /* null if it is not finite */
json_t *fv_json_count(uint64_t value);
json_t *fv_json_null(void);

/** Appends the document to `text` and drops the reference. NULL is FV_ERROR_MEMORY. FV_OK, FV_ERROR_MEMORY. */
fv_status fv_json_write(json_t *document, fv_text *text);

#endif
