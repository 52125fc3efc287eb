/* answer_form.h - the parts of an answer: what the model thought, what it says, and the calls of tools that it asks
 * for. Pure functions of the text so far, so that a stream tells the difference between two of them. */
#ifndef FV_ANSWER_FORM_H
#define FV_ANSWER_FORM_H

#include "json_text.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum fv_tool_format {
    FV_TOOLS_NONE,
    FV_TOOLS_TAGS, /* <tool_call>{"name", "arguments"}</tool_call>: Hermes, Qwen */
    FV_TOOLS_BARE  /* {"name", "parameters"} and nothing else: Llama 3 */
} fv_tool_format;

typedef struct fv_answer_form {
    bool thinks;        /* <think>...</think> stands before what is said */
    bool begins_inside; /* the prompt opened it */
    uint32_t tools;     /* fv_tool_format */
} fv_answer_form;

/** Places in the answer; an empty part has equal ends. */
typedef struct fv_answer_parts {
    size_t thought_begin, thought_end, content_begin, content_end;
    bool calls; /* the rest is calls, as fv_answer_calls() reads them */
} fv_answer_parts;

/** What can be told of a text that may go on; `last`: it does not. What was told once is told again of a longer text.
 */
void fv_answer_split(const fv_answer_form *form, const char *text, size_t length, bool last, fv_answer_parts *parts);

/** [{"index","id","type","function":{"name","arguments"}}]; NULL: there are none, or they are malformed. The ids begin
 *  with "call_" and `id`. */
json_t *fv_answer_calls(const fv_answer_form *form, const char *text, size_t length, const char *id);

/** The format in which a template's model calls tools; NONE: another one. */
fv_tool_format fv_tool_format_of(const char *template_text, size_t length);
bool fv_template_thinks(const char *template_text, size_t length);

#endif
