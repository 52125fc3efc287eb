/* template_turns.h - the turns of a conversation through the template of the model's file. */
#ifndef FV_TEMPLATE_TURNS_H
#define FV_TEMPLATE_TURNS_H

#include "fovea/chat.h"
#include "fovea/template.h"

/* As fv_chat_render_format() with done 0; the file gives the texts of its beginning and end tokens. */
fv_status fv_template_turns_render(const fv_template *made, const fv_gguf *gguf, const fv_chat_turn *turns,
                                   size_t count, bool open_answer, fv_chat_reasoning reasoning, fv_text *text,
                                   fv_text_spans *contents, fv_message *message);

/* Whether a text begins with the beginning token: the tokenizer must not add another one. */
bool fv_template_turns_begin(const fv_gguf *gguf, const fv_text *text);

#endif
