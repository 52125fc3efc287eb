/* shape_openai.c - one event or document around lists of choices. */
#include "shape_openai.h"
#include "shape_message.h"
#include "shape_parts.h"
#include <math.h>

#define DONE "data: [DONE]\n\n"

static json_t *around(const fv_request *request, const char *object, json_t *choices) {
    return json_pack("{s:s, s:s, s:I, s:o, s:o}", "id", request->id, "object", object, "created",
                     (json_int_t)request->created_s, "model", fv_shape_model(request), "choices", choices);
}

static json_t *with_figures(const fv_request *request, json_t *document) {
    if (!document) return NULL;
    (void)json_object_set_new(document, "usage", fv_shape_usage(request));
    (void)json_object_set_new(document, "timings", fv_shape_timings(request->choices));
    (void)json_object_set_new(document, "fovea", fv_shape_reads(request->choices));
    return document;
}

/* With the passages of the tokens from `first` on. */
static json_t *with_passages(const fv_choice *choice, size_t first, json_t *made) {
    if (made) fv_shape_passages(choice, first, made);
    return made;
}

/* An event's, of the tokens that it tells. */
static json_t *with_new_passages(const fv_choice *choice, json_t *event) {
    fv_shape_passages(choice, choice->shown_tokens, json_array_get(json_object_get(event, "choices"), 0));
    return event;
}

static json_t *all_choices(const fv_request *request, json_t *(*one)(const fv_choice *choice)) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < request->choice_count; i++) {
        if (json_array_append_new(list, one(&request->choices[i])) == 0) continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

/* ---- completions ---- */

static void map_set(const fv_choice *choice, json_t *map, int32_t token, float logprob) {
    json_t *text = token >= 0 ? fv_shape_piece(choice, token) : NULL;
    if (text) (void)json_object_set_new(map, json_string_value(text), fv_json_real((double)logprob));
    json_decref(text);
}

/* {"text": logprob}, the token's own, too; of several tokens with one text the likeliest, or the own. */
static json_t *top_map(const fv_choice *choice, size_t index) {
    size_t count = (size_t)choice->request->settings.logprobs;
    const fv_alternative *tops = choice->tops + index * count;
    if (isnan(choice->entries[index].logprob)) return fv_json_null();
    json_t *map = json_object();
    for (size_t i = count; map && i > 0; i--) map_set(choice, map, tops[i - 1].token, tops[i - 1].logprob);
    if (map) map_set(choice, map, choice->entries[index].token, choice->entries[index].logprob);
    return map;
}

static json_t *logprobs_json(const fv_choice *choice, size_t first, size_t end) {
    json_t *tokens = json_array(), *values = json_array(), *tops = json_array(), *offsets = json_array();
    if (choice->request->settings.logprobs < 0) end = 0;
    for (size_t i = first; i < end; i++) {
        const fv_entry *entry = &choice->entries[i];
        (void)json_array_append_new(tokens, fv_shape_piece(choice, entry->token));
        (void)json_array_append_new(values, fv_json_real((double)entry->logprob));
        (void)json_array_append_new(tops, top_map(choice, i));
        (void)json_array_append_new(offsets, fv_json_count(entry->offset));
    }
    json_t *made = json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", values, "top_logprobs", tops,
                             "text_offset", offsets);
    if (choice->request->settings.logprobs >= 0) return made;
    json_decref(made);
    return fv_json_null();
}

static json_t *completion_json(const fv_choice *choice, json_t *text, size_t first, json_t *finish) {
    return json_pack("{s:i, s:o, s:o, s:o}", "index", (int)choice->index, "text", text, "logprobs",
                     logprobs_json(choice, first, choice->entry_count), "finish_reason", finish);
}

static json_t *completion_piece(const fv_choice *choice, const char *bytes, size_t length) {
    return with_new_passages(choice, around(choice->request, "text_completion",
                                            json_pack("[o]", completion_json(choice, fv_json_string(bytes, length),
                                                                             choice->shown_entries, fv_json_null()))));
}

static json_t *completion_end(const fv_choice *choice) {
    return around(choice->request, "text_completion",
                  json_pack("[o]", completion_json(choice, json_string(""), choice->entry_count,
                                                   json_string(fv_shape_finish(choice)))));
}

static json_t *completion_usage(const fv_request *request) {
    return with_figures(request, around(request, "text_completion", json_array()));
}

static json_t *completion_one(const fv_choice *choice) {
    return with_passages(choice, 0,
                         completion_json(choice, fv_shape_text(choice), 0, json_string(fv_shape_finish(choice))));
}

static json_t *completion_whole(const fv_request *request) {
    return with_figures(request, around(request, "text_completion", all_choices(request, completion_one)));
}

const fv_shape fv_shape_completion = {.type = FV_REPLY_SSE,
                                      .last_word = DONE,
                                      .piece = completion_piece,
                                      .end = completion_end,
                                      .usage = completion_usage,
                                      .whole = completion_whole};

/* ---- chat ---- */

static json_t *chat_logprobs(const fv_choice *choice, size_t first) {
    if (choice->request->settings.logprobs < 0) return fv_json_null();
    return json_pack("{s:o}", "content", fv_shape_entries(choice, first, choice->entry_count, false));
}

static json_t *chat_event(const fv_choice *choice, json_t *delta, json_t *logprobs, json_t *finish) {
    return around(choice->request, "chat.completion.chunk",
                  json_pack("[{s:i, s:o, s:o, s:o}]", "index", (int)choice->index, "delta", delta, "logprobs", logprobs,
                            "finish_reason", finish));
}

static json_t *chat_begin(const fv_choice *choice) {
    return chat_event(choice, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), fv_json_null(),
                      fv_json_null());
}

static json_t *chat_piece(const fv_choice *choice, const char *bytes, size_t length) {
    return with_new_passages(choice, chat_event(choice, fv_shape_delta(choice, bytes, length),
                                                chat_logprobs(choice, choice->shown_entries), fv_json_null()));
}

static json_t *chat_end(const fv_choice *choice) {
    return chat_event(choice, fv_shape_last_delta(choice), fv_json_null(),
                      json_string(fv_shape_message_finish(choice)));
}

static json_t *chat_usage(const fv_request *request) {
    return with_figures(request, around(request, "chat.completion.chunk", json_array()));
}

static json_t *chat_one(const fv_choice *choice) {
    return with_passages(choice, 0,
                         json_pack("{s:i, s:o, s:o, s:s}", "index", (int)choice->index, "message",
                                   fv_shape_message(choice), "logprobs", chat_logprobs(choice, 0), "finish_reason",
                                   fv_shape_message_finish(choice)));
}

static json_t *chat_whole(const fv_request *request) {
    return with_figures(request, around(request, "chat.completion", all_choices(request, chat_one)));
}

const fv_shape fv_shape_chat = {.type = FV_REPLY_SSE,
                                .last_word = DONE,
                                .begin = chat_begin,
                                .piece = chat_piece,
                                .end = chat_end,
                                .usage = chat_usage,
                                .whole = chat_whole};
