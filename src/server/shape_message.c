/* shape_message.c - the parts of an answer's text, told once each. */
#include "shape_message.h"
#include "shape_parts.h"
#include <stdio.h>
#include <string.h>

static const fv_answer_form *form_of(const fv_choice *choice) { return &choice->request->prompts.form; }

static const fv_text *text_of(const fv_choice *choice) {
    static char nothing[1];
    static const fv_text empty = {.bytes = nothing};
    const fv_text *text = fv_answer_text_all(choice->text);
    return text->bytes ? text : &empty;
}

static json_t *calls_of(const fv_choice *choice) {
    char id[64];
    const fv_text *text = text_of(choice);
    const char *tail = strrchr(choice->request->id, '-');
    snprintf(id, sizeof id, "%s_%u", tail ? tail + 1 : choice->request->id, choice->index);
    return fv_answer_calls(form_of(choice), text->bytes, text->length, id);
}

static fv_answer_parts parts_of(const fv_choice *choice) {
    const fv_text *text = text_of(choice);
    fv_answer_parts parts;
    fv_answer_split(form_of(choice), text->bytes, text->length, true, &parts);
    return parts;
}

const char *fv_shape_message_finish(const fv_choice *choice) {
    bool ended = choice->finish == FV_FINISH_END || choice->finish == FV_FINISH_TEXT;
    return ended && parts_of(choice).calls ? "tool_calls" : fv_shape_finish(choice);
}

json_t *fv_shape_message(const fv_choice *choice) {
    const char *bytes = text_of(choice)->bytes;
    fv_answer_parts parts = parts_of(choice);
    size_t thought = parts.thought_end - parts.thought_begin, said = parts.content_end - parts.content_begin;
    json_t *content = parts.calls && said == 0 ? fv_json_null() : fv_json_string(bytes + parts.content_begin, said);
    json_t *made = json_pack("{s:s, s:o}", "role", "assistant", "content", content);
    if (made && thought > 0)
        (void)json_object_set_new(made, "reasoning_content", fv_json_string(bytes + parts.thought_begin, thought));
    json_t *calls = made && parts.calls ? calls_of(choice) : NULL;
    for (size_t i = 0; i < json_array_size(calls); i++) (void)json_object_del(json_array_get(calls, i), "index");
    if (calls) (void)json_object_set_new(made, "tool_calls", calls);
    return made;
}

/* ---- streams ---- */

/* Text between two places, none where the second is not after the first. */
static void add_text(json_t *delta, const char *name, const char *text, size_t begin, size_t end) {
    if (end > begin) (void)json_object_set_new(delta, name, fv_json_string(text + begin, end - begin));
}

static json_t *difference(const char *text, const fv_answer_parts *before, const fv_answer_parts *after) {
    json_t *delta = json_object();
    size_t thought = before->thought_end > after->thought_begin ? before->thought_end : after->thought_begin;
    size_t said = before->content_end > after->content_begin ? before->content_end : after->content_begin;
    if (!delta) return NULL;
    add_text(delta, "reasoning_content", text, thought, after->thought_end);
    add_text(delta, "content", text, said, after->content_end);
    return delta;
}

json_t *fv_shape_delta(const fv_choice *choice, const char *bytes, size_t length) {
    const fv_answer_form *form = form_of(choice);
    const fv_text *text = text_of(choice);
    fv_answer_parts before, after;
    if (!form->thinks && form->tools == FV_TOOLS_NONE)
        return json_pack("{s:o}", "content", fv_json_string(bytes, length));
    if (length == 0) return json_object();
    size_t begin = (size_t)(bytes - text->bytes);
    fv_answer_split(form, text->bytes, begin, false, &before);
    fv_answer_split(form, text->bytes, begin + length, false, &after);
    return difference(text->bytes, &before, &after);
}

json_t *fv_shape_last_delta(const fv_choice *choice) {
    const fv_answer_form *form = form_of(choice);
    const fv_text *text = text_of(choice);
    fv_answer_parts before, after = parts_of(choice);
    if (!form->thinks && form->tools == FV_TOOLS_NONE) return json_object();
    fv_answer_split(form, text->bytes, text->length, false, &before);
    json_t *delta = difference(text->bytes, &before, &after);
    if (delta && after.calls) (void)json_object_set_new(delta, "tool_calls", calls_of(choice));
    return delta;
}
