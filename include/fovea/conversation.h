/* conversation.h - the turns of a chat as text for the model: only what it has not read yet. Hosted. */
#ifndef FOVEA_CONVERSATION_H
#define FOVEA_CONVERSATION_H

#include "fovea/api.h"
#include "fovea/chat.h"
#include "fovea/template.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Whether a family's rendering is the template's: for a question, with a system text, and after an answer, of a fixed
 * day. A beginning token counts for nothing, nor does what the template refuses. Takes a millisecond. */
FV_API bool fv_chat_family_agrees(fv_chat_family family, const fv_gguf *gguf, const fv_template *made);

/** Turns in their order. One caller at a time. */
typedef struct fv_conversation fv_conversation;

/** An empty conversation in the template of `family`, not FV_CHAT_NONE. `gguf` is borrowed until it is closed.
 *  returns FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY; *conversation untouched on error. */
FV_API fv_status fv_conversation_open(fv_conversation **conversation, fv_chat_family family, const fv_gguf *gguf);
/**
 * The same in a template that is run: `text`, zero-terminated, or where it is NULL the one in the file. It is read
 * once; what it refuses is an error of the calls that render, whose sentence is fv_conversation_explain().
 *
 * returns FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY, and what fv_template_open() returns. message: its line, too.
 */
FV_API fv_status fv_conversation_open_template(fv_conversation **conversation, const fv_gguf *gguf, const char *text,
                                               fv_message *message);

/** What the template said of the last rendering that it refused; "" if it refused none. Until the next call. */
FV_API const char *fv_conversation_explain(const fv_conversation *conversation);

FV_API void fv_conversation_close(fv_conversation *conversation); /* NULL is allowed */

/** Adds a turn. `role`: "system", "user" or "assistant"; `content`: zero-terminated. Both are copied. FV_OK,
 *  FV_ERROR_ARGUMENT (another role), FV_ERROR_MEMORY. */
FV_API fv_status fv_conversation_add(fv_conversation *conversation, const char *role, const char *content);

FV_API void fv_conversation_drop(fv_conversation *conversation); /* the last turn, if there is one */

/** How answers are opened from now on; AUTO at first. FV_OK, FV_ERROR_UNSUPPORTED (OFF, and the template has no
 * switch), FV_ERROR_ARGUMENT, FV_ERROR_MEMORY; on error as before. */
FV_API fv_status fv_conversation_set_reasoning(fv_conversation *conversation, fv_chat_reasoning reasoning);

/** An empty conversation goes on after a session that was woken: `end` is its fv_session_end. The first text is then
 *  the rest of the user's turn that the session is in, or begins with the closing of the answer that it ends with, and
 *  never with a beginning token. FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY. */
FV_API fv_status fv_conversation_resume(fv_conversation *conversation, uint32_t end);

/** Appends the tokens of a conversation whose last turn, the user's, stays open, up to the end of its content without
 *  white space: a document, whose questions come later, after an empty line, FV_SESSION_END_TURN. Text of control
 * tokens in contents is text. FV_OK, FV_ERROR_UNSUPPORTED (a template that rewrites what was said), and what
 * fv_conversation_encode() returns. */
FV_API fv_status fv_conversation_encode_document(const fv_conversation *conversation, const fv_tokenizer *tokenizer,
                                                 fv_tokens *tokens);

/** Whether no answer was added yet: the next text starts the context (FV_TOKENIZE_ADD_SPECIAL). */
FV_API bool fv_conversation_is_new(const fv_conversation *conversation);

/**
 * Appends to `text` what the model has not read yet: at first everything; later the closing of its last answer (its end
 * token included: a generator never evaluates that one), the turns after it, and the opening of the next answer. To be
 * tokenized with FV_TOKENIZE_PARSE_SPECIAL, as fv_conversation_encode() does it. An answer's own content is never
 * rendered again: its tokens are in the cache.
 *
 * returns FV_OK, FV_ERROR_UNSUPPORTED (a template that rewrites what was said), FV_ERROR_MEMORY and what
 *         fv_chat_render() returns; on error `text` may have grown.
 */
FV_API fv_status fv_conversation_render(const fv_conversation *conversation, fv_text *text);

/**
 * Appends that text's tokens to `tokens`, with the beginning token where it starts the context. The text of a control
 * token in a turn's content is text: what people write can't end their turn and forge another one. `parse_contents`: it
 * is that token, as llama.cpp reads it.
 *
 * returns what fv_conversation_render() and fv_tokenizer_encode_spans() return; tokens as before on error.
 */
FV_API fv_status fv_conversation_encode(const fv_conversation *conversation, const fv_tokenizer *tokenizer,
                                        bool parse_contents, fv_tokens *tokens);

#ifdef __cplusplus
}
#endif

#endif
