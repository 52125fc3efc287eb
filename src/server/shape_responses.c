/* shape_responses.c - a response is a list of items, here one message of one text; what is streamed opens and closes
 * each. */
#include "shape_responses.h"
#include "shape_parts.h"
#include <stdio.h>
#include <string.h>

static json_t *text_part(const fv_choice *choice, bool done) {
    return json_pack("{s:s, s:o, s:[], s:[]}", "type", "output_text", "text",
                     done ? fv_shape_text(choice) : json_string(""), "annotations", "logprobs");
}

static json_t *item_id(const fv_choice *choice) {
    char id[64];
    const char *tail = strchr(choice->request->id, '_');
    snprintf(id, sizeof id, "msg_%s", tail ? tail + 1 : choice->request->id);
    return json_string(id);
}

static bool is_whole(const fv_choice *choice) {
    return choice->finish == FV_FINISH_END || choice->finish == FV_FINISH_TEXT;
}

static const char *status_of(const fv_choice *choice, bool done) {
    return !done ? "in_progress" : is_whole(choice) ? "completed" : "incomplete";
}

static json_t *item(const fv_choice *choice, bool done) {
    json_t *content = done ? json_pack("[o]", text_part(choice, true)) : json_array();
    return json_pack("{s:s, s:o, s:s, s:s, s:o}", "type", "message", "id", item_id(choice), "status",
                     status_of(choice, done), "role", "assistant", "content", content);
}

static json_t *usage(const fv_request *request) {
    json_t *figures = fv_shape_usage(request);
    json_t *made =
        json_pack("{s:O, s:O, s:O, s:O, s:{s:i}}", "input_tokens", json_object_get(figures, "prompt_tokens"),
                  "output_tokens", json_object_get(figures, "completion_tokens"), "total_tokens",
                  json_object_get(figures, "total_tokens"), "input_tokens_details",
                  json_object_get(figures, "prompt_tokens_details"), "output_tokens_details", "reasoning_tokens", 0);
    json_decref(figures);
    return made;
}

static json_t *response(const fv_choice *choice, bool done) {
    const fv_request *request = choice->request;
    const fv_settings *settings = &request->settings;
    json_t *cut = done && !is_whole(choice) ? json_pack("{s:s}", "reason", "max_output_tokens") : fv_json_null();
    json_t *most = settings->max_tokens >= 0 ? json_integer(settings->max_tokens) : fv_json_null();
    json_t *output = done ? json_pack("[o]", item(choice, true)) : json_array();
    json_t *made = json_pack(
        "{s:s, s:s, s:I, s:s, s:n, s:o, s:n, s:o, s:o, s:o, s:b, s:n, s:b, s:f, s:f, s:{s:{s:s}}, s:s, s:[], s:s, "
        "s:{}}",
        "id", request->id, "object", "response", "created_at", (json_int_t)request->created_s, "status",
        status_of(choice, done), "error", "incomplete_details", cut, "instructions", "max_output_tokens", most, "model",
        fv_shape_model(request), "output", output, "parallel_tool_calls", 1, "previous_response_id", "store", 0,
        "temperature", (double)settings->sampler.temperature, "top_p", (double)settings->sampler.top_p, "text",
        "format", "type", "text", "tool_choice", "auto", "tools", "truncation", "disabled", "metadata");
    if (made) (void)json_object_set_new(made, "usage", done ? usage(request) : fv_json_null());
    if (made && done) (void)json_object_set_new(made, "fovea", fv_shape_reads(choice));
    return made;
}

/* ---- events ---- */

/* {"type", "sequence_number", name: value} */
static json_t *event(const char *type, size_t number, const char *name, json_t *value) {
    return json_pack("{s:s, s:I, s:o}", "type", type, "sequence_number", (json_int_t)number, name, value);
}

/* One of the message, or of its text. */
static json_t *placed(const fv_choice *choice, json_t *made, bool in_text) {
    if (made) (void)json_object_set_new(made, "output_index", json_integer(0));
    if (made && in_text) (void)json_object_set_new(made, "item_id", item_id(choice));
    if (made && in_text) (void)json_object_set_new(made, "content_index", json_integer(0));
    return made;
}

static json_t *responses_begin(const fv_choice *choice) {
    return json_pack("[o, o, o, o]", event("response.created", 0, "response", response(choice, false)),
                     event("response.in_progress", 1, "response", response(choice, false)),
                     placed(choice, event("response.output_item.added", 2, "item", item(choice, false)), false),
                     placed(choice, event("response.content_part.added", 3, "part", text_part(choice, false)), true));
}

/* Numbers rise with the tokens: an event tells at least one, but for the last of the text. */
static size_t number_of(const fv_choice *choice) {
    return 4 + 2 * choice->tokens.count + (choice->finish != FV_FINISH_NOT);
}

static json_t *responses_piece(const fv_choice *choice, const char *bytes, size_t length) {
    json_t *made = event("response.output_text.delta", number_of(choice), "delta", fv_json_string(bytes, length));
    if (made) (void)json_object_set_new(made, "logprobs", json_array());
    return json_pack("[o]", placed(choice, made, true));
}

static json_t *responses_end(const fv_choice *choice) {
    size_t number = number_of(choice);
    const char *last = is_whole(choice) ? "response.completed" : "response.incomplete";
    json_t *text = event("response.output_text.done", number + 1, "text", fv_shape_text(choice));
    if (text) (void)json_object_set_new(text, "logprobs", json_array());
    return json_pack(
        "[o, o, o, o]", placed(choice, text, true),
        placed(choice, event("response.content_part.done", number + 2, "part", text_part(choice, true)), true),
        placed(choice, event("response.output_item.done", number + 3, "item", item(choice, true)), false),
        event(last, number + 4, "response", response(choice, true)));
}

static json_t *responses_whole(const fv_request *request) { return response(request->choices, true); }

const fv_shape fv_shape_responses = {.type = FV_REPLY_SSE,
                                     .begin = responses_begin,
                                     .piece = responses_piece,
                                     .end = responses_end,
                                     .whole = responses_whole};
