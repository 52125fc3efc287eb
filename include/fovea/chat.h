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
    X(GEMMA, "gemma") \
    X(ZEPHYR, "zephyr") \
    X(LLAMA2, "llama2") \
    X(DEEPSEEK3, "deepseek3") \
    X(VICUNA, "vicuna") \
    X(PHI3, "phi3") \
    X(PHI4, "phi4") \
    X(GRANITE, "granite") \
    X(FALCON3, "falcon3") \
    X(OPENCHAT, "openchat")
#define FV_CHAT_ENUM(NAME, name) FV_CHAT_##NAME,
typedef enum fv_chat_family { FV_CHAT_NONE, FV_CHAT_LIST(FV_CHAT_ENUM) FV_CHAT_COUNT } fv_chat_family;
#undef FV_CHAT_ENUM

/** From a name. FV_ERROR_ARGUMENT: the message lists the names. */
FV_API fv_status fv_chat_family_from_name(const char *name, fv_chat_family *family, fv_message *message);

/** From tokenizer.chat_template. No template: FV_OK and FV_CHAT_NONE. One of no known family: FV_ERROR_UNSUPPORTED, the
 *  message names the families. With FV_OK the message is a remark, or empty: a system text of the template that has the
 *  date of the day in it is left out. */
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
 *
 * The text of control tokens in a turn's content would become those tokens: fv_chat_render_format() says where contents
 * are.
 */
FV_API fv_status fv_chat_render(fv_chat_family family, const fv_gguf *gguf, const fv_chat_turn *turns, size_t count,
                                size_t done, bool open_answer, fv_text *text);

/** How answers are opened. AUTO: as the template opens them ("<think>" of models that always think). OFF: with an empty
 *  thought, where the template has a switch for it (enable_thinking). NONE: without anything of that kind. */
typedef enum fv_chat_reasoning {
    FV_CHAT_REASONING_AUTO,
    FV_CHAT_REASONING_OFF,
    FV_CHAT_REASONING_NONE,
    FV_CHAT_REASONING_COUNT
} fv_chat_reasoning;

typedef struct fv_chat_format {
    const fv_gguf *gguf; /* whose template gives the spacing; NULL: none */
    uint32_t family;     /* fv_chat_family */
    uint32_t reasoning;  /* fv_chat_reasoning */
    uint32_t day;        /* days since 1970-01-01: what a template's own system text says is today; 0: such a text, of
                          * Granite 3 or Mistral Small 3, is left out */
} fv_chat_format;

/** The day of the local date, for fv_chat_format. Thread-safe. */
FV_API uint32_t fv_chat_today(void);

/**
 * The same, and the parts of `text` that are contents of turns are appended to `contents` (NULL: not): for
 * fv_tokenizer_encode_spans(), so that a content can't forge a turn. Places are those in `text`, which may have held
 * something before.
 *
 * returns the same; FV_ERROR_UNSUPPORTED: OFF, and the template has no such switch. Both outputs as before on error.
 */
FV_API fv_status fv_chat_render_format(const fv_chat_format *format, const fv_chat_turn *turns, size_t count,
                                       size_t done, bool open_answer, fv_text *text, fv_text_spans *contents);

#ifdef __cplusplus
}
#endif

#endif
