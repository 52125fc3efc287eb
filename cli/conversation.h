/* conversation.h - the turns of a chat as text for the model: only what is new since the last step. */
#ifndef FOVEA_CONVERSATION_H
#define FOVEA_CONVERSATION_H

#include "fovea/chat.h"

typedef struct cli_conversation {
    fv_chat_family family;
    const fv_gguf *gguf;
    fv_chat_turn *turns; /* contents owned */
    size_t count, capacity;
} cli_conversation;

/** Adds a turn; `content` is copied. FV_OK, FV_ERROR_MEMORY. */
fv_status cli_conversation_add(cli_conversation *conversation, const char *role, const char *content);
void cli_conversation_drop(cli_conversation *conversation); /* the last turn, if there is one */
void cli_conversation_free(cli_conversation *conversation);

/**
 * Appends what the model has not read yet: at first everything, later the closing of its last answer (its end token
 * included: generation never evaluates that one), the user's new turn and the opening of the next answer.
 */
fv_status cli_conversation_render(const cli_conversation *conversation, fv_text *text);
bool cli_conversation_is_new(const cli_conversation *conversation); /* no answer yet: the text starts the context */

#endif
