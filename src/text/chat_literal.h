/* chat_literal.h - string literals of a template: found by what they begin with, never run. */
#ifndef FV_CHAT_LITERAL_H
#define FV_CHAT_LITERAL_H

#include "fovea/chat.h"

/* The first place of `wanted` at or after `from`. */
bool fv_chat_find(fv_gguf_text text, const char *wanted, size_t from, size_t *at);
bool fv_chat_has(fv_gguf_text text, const char *wanted);

/* A quoted literal at *at: what is in it; *at moves beyond its quote. */
bool fv_chat_read_literal(fv_gguf_text text, size_t *at, fv_gguf_text *literal);

/* The system text that a template inserts where a conversation has none, if it stands there as one literal; bytes NULL:
 * there is none, or it is put together from parts. */
fv_gguf_text fv_chat_find_system(fv_gguf_text text, fv_chat_family family);

/* What the literal that opens an answer has after `opening`; bytes NULL: nothing. */
fv_gguf_text fv_chat_find_thinking(fv_gguf_text text, const char *opening);

/* The literal of an empty thought that a template with enable_thinking opens an answer with when that is false; bytes
 * NULL: it has no such switch. */
fv_gguf_text fv_chat_find_no_thinking(fv_gguf_text text);

#endif
