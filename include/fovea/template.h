/* template.h - the chat template that a model file has in it, run: the part of Jinja that such templates use.
 * Hosted. */
#ifndef FOVEA_TEMPLATE_H
#define FOVEA_TEMPLATE_H

#include "fovea/api.h"
#include "fovea/message.h"
#include "fovea/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A template, read once and rendered any number of times, from any threads. */
typedef struct fv_template fv_template;

/**
 * Reads a template's text, in the environment that transformers gives it: trim_blocks, lstrip_blocks, loop controls,
 * the generation block, raise_exception() and strftime_now().
 *
 * text     not needed afterwards.
 * returns  FV_OK, FV_ERROR_CORRUPT (it is no template: the message has the line), FV_ERROR_UNSUPPORTED (a construct of
 *          Jinja that is not in this version: its name and its line), FV_ERROR_FULL (nested too deeply),
 *          FV_ERROR_ARGUMENT, FV_ERROR_MEMORY. *made is untouched on error.
 */
FV_API fv_status fv_template_open(fv_template **made, const char *text, size_t length, fv_message *message);
FV_API void fv_template_close(fv_template *made); /* NULL is allowed */

/** Whether the template names something: "tools", "enable_thinking". */
FV_API bool fv_template_names(const fv_template *made, const char *name);

/** What one rendering gets. Start from {0}. */
typedef struct fv_template_input {
    uint32_t struct_bytes; /* sizeof(fv_template_input) */
    const char *bos, *eos; /* bos_token and eos_token; NULL: the template finds none */
    const char *json;      /* a JSON object: messages, add_generation_prompt, tools and what else there is */
    size_t json_length;    /* bytes */
    int64_t now_s;         /* seconds since 1970 for strftime_now(), in the local time zone; 0: now */
    uint64_t most_bytes;   /* of memory; 0: 256 MiB and 64 times the JSON */
    uint64_t most_steps;   /* 0: 100 million */
} fv_template_input;

/**
 * Appends the rendering to `text`. What comes from the JSON is somebody's words wherever the template puts it: those
 * parts of `text` are appended to `contents` (NULL: not), for fv_tokenizer_encode_spans(). Excepted is a member "role"
 * that is system, developer, user, assistant, tool or function.
 *
 * returns  FV_OK, FV_ERROR_ARGUMENT (the template refuses the conversation, or does with it what can't be done; the
 *          message says what, and in which line), FV_ERROR_UNSUPPORTED (a filter, test or method that is not in this
 *          version), FV_ERROR_CORRUPT (the JSON), FV_ERROR_FULL (more steps or depth than it may have),
 *          FV_ERROR_OVERFLOW (a whole number beyond 64 bits), FV_ERROR_MEMORY. Both outputs as before on error.
 * Thread-safe.
 */
FV_API fv_status fv_template_render(const fv_template *made, const fv_template_input *input, fv_text *text,
                                    fv_text_spans *contents, fv_message *message);

#ifdef __cplusplus
}
#endif

#endif
