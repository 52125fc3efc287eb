/* chat.h - chat templates of the known families, recognised from the model's metadata. Hosted. */
#ifndef FOVEA_CHAT_H
#define FOVEA_CHAT_H

#include "fovea/api.h"
#include "fovea/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, name): the families; the name is what --chat-template takes. */
#define FV_CHAT_LIST(X) \
    X(CHATML, "chatml") \
    X(LLAMA3, "llama3") \
    X(MISTRAL, "mistral") \
    X(GEMMA, "gemma")
#define FV_CHAT_ENUM(NAME, name) FV_CHAT_##NAME,
typedef enum fv_chat_family { FV_CHAT_NONE, FV_CHAT_LIST(FV_CHAT_ENUM) FV_CHAT_COUNT } fv_chat_family;
#undef FV_CHAT_ENUM

/** From a name. FV_ERROR_ARGUMENT: the message lists the names. */
FV_API fv_status fv_chat_family_from_name(const char *name, fv_chat_family *family, fv_message *message);

/** From tokenizer.chat_template. No template: FV_OK and FV_CHAT_NONE. One of no known family: FV_ERROR_UNSUPPORTED, the
 *  message names --chat-template and its values. */
FV_API fv_status fv_chat_family_detect(const fv_gguf *gguf, fv_chat_family *family, fv_message *message);

typedef struct fv_chat_turn {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
} fv_chat_turn;

/**
 * Appends to `text` what follows the first `done` turns: turns done..count-1 and, if `open_answer`, the opening of the
 * assistant's next turn. With done == 0 the whole conversation. The text is to be tokenized with PARSE_SPECIAL, and
 * with ADD_SPECIAL when done == 0. A conversation rendered in steps equals the same rendered at once (where an
 * assistant's answer ended by an end token, that token is part of its turn and must not be evaluated twice: see
 * chat.c). The default system turn that a template inserts by itself when none is given (SmolLM2's) is inserted here
 * too.
 * returns FV_OK, FV_ERROR_ARGUMENT (role unknown, or order that the family can't express), FV_ERROR_MEMORY.
 */
FV_API fv_status fv_chat_render(fv_chat_family family, const fv_gguf *gguf, const fv_chat_turn *turns, size_t count,
                                size_t done, bool open_answer, fv_text *text);

#ifdef __cplusplus
}
#endif

#endif
