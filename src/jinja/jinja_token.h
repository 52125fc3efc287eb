/* jinja_token.h - a template cut into tokens, white space controlled as transformers' environment does it: trim_blocks
 * and lstrip_blocks, one newline at the end dropped, every newline is \n. */
#ifndef FV_JINJA_TOKEN_H
#define FV_JINJA_TOKEN_H

#include "jinja/jinja_value.h"

typedef enum fv_token_kind {
    FV_TOKEN_TEXT,   /* `value` */
    FV_TOKEN_OUTPUT, /* {{ */
    FV_TOKEN_OUTPUT_END,
    FV_TOKEN_BLOCK, /* {% */
    FV_TOKEN_BLOCK_END,
    FV_TOKEN_NAME,
    FV_TOKEN_STRING, /* `value`; so are numbers */
    FV_TOKEN_NUMBER,
    FV_TOKEN_SIGN, /* an operator or a bracket: `sign` */
    FV_TOKEN_END
} fv_token_kind;

/* One or two characters. */
#define FV_SIGN(A, B) ((uint32_t)(unsigned char)(A) | (uint32_t)(unsigned char)(B) << 8)

typedef struct fv_token {
    uint8_t kind;
    uint32_t line, sign;
    const char *bytes; /* as it stands there */
    size_t length;
    fv_value value;
} fv_token;

typedef struct fv_token_list {
    fv_token *items; /* the last is END */
    size_t count, capacity;
} fv_token_list;

/* Fails with the line of what can't be read. The tokens point into `room`. */
void fv_tokens_read(fv_jinja_room *room, const char *text, size_t length, fv_token_list *list);

/* Where the last character of begin..end, not empty, begins. */
size_t fv_string_last(const fv_value *string, size_t begin, size_t end);

/* White space at an end of a text, as Python sees it. */
size_t fv_space_begin(const fv_value *string); /* bytes of it at the beginning */
size_t fv_space_end(const fv_value *string);   /* where that at the end begins; 0: all of it is */
bool fv_code_is_space(uint32_t code);

#endif
