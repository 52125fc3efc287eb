/* prompt.h - what the model is to read: from a text, from ids, from the turns of a conversation. */
#ifndef FV_PROMPT_H
#define FV_PROMPT_H

#include "server_state.h"

typedef struct fv_prompt {
    fv_tokens tokens;
    fv_text text;     /* as handed in or rendered; of ids what they say */
    uint64_t *places; /* [tokens + 1] characters of the text before each; NULL: nobody asked (passages.h) */
} fv_prompt;

typedef struct fv_prompts {
    fv_prompt *items;
    size_t count;
    fv_answer_form form; /* of the answers, where the prompt is a conversation */
} fv_prompts;

/** A conversation. */
typedef struct fv_chat_ask {
    const json_t *messages;
    const json_t *tools;     /* NULL or a list */
    const json_t *variables; /* NULL or an object: the template's, by name */
} fv_chat_ask;

void fv_prompts_free(fv_prompts *prompts);

/** One token of the list that is the value of `field`. FV_OK, FV_ERROR_ARGUMENT: no id of the model. */
fv_status fv_prompt_id(const fv_server *server, const char *field, const json_t *value, int32_t *id,
                       fv_message *message);

/** The prompts of a completion: a text, a list of ids, or a list of either; several only where `many`. FV_OK,
 * FV_ERROR_ARGUMENT, FV_ERROR_MEMORY. */
fv_status fv_prompts_read(fv_prompts *prompts, const fv_server *server, const json_t *value, bool many,
                          fv_message *message);

/** One prompt of the messages, in the model's chat template with an answer opened. FV_ERROR_UNSUPPORTED: there is no
 * template. Text of control tokens in contents is text. */
fv_status fv_prompts_chat(fv_prompts *prompts, const fv_server *server, const fv_chat_ask *ask, fv_message *message);

#endif
