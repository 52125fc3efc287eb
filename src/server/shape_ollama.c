/* shape_ollama.c - a piece is {"response"} or {"message"}; the last has the figures. */
#include "shape_ollama.h"
#include "shape_parts.h"
#include <time.h>

static json_t *created(const fv_request *request) {
    char text[32] = "";
    time_t at = (time_t)request->created_s;
    struct tm parts;
    if (gmtime_r(&at, &parts)) strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return json_string(text);
}

static bool is_chat(const fv_request *request) { return request->shape == &fv_shape_ollama_chat; }

static json_t *line(const fv_choice *choice, json_t *content, bool done) {
    const fv_request *request = choice->request;
    json_t *made =
        json_pack("{s:o, s:o, s:b}", "model", fv_shape_model(request), "created_at", created(request), "done", done);
    json_t *value = content;
    if (is_chat(request)) value = json_pack("{s:s, s:o}", "role", "assistant", "content", content);
    if (made && json_object_set_new(made, is_chat(request) ? "message" : "response", value) == 0) return made;
    json_decref(made);
    return NULL;
}

static uint64_t between(uint64_t begin_ns, uint64_t end_ns) {
    return begin_ns > 0 && end_ns > begin_ns ? end_ns - begin_ns : 0;
}

static json_t *with_figures(const fv_choice *choice, json_t *made) {
    const fv_request *request = choice->request;
    json_t *figures = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "done_reason", fv_shape_finish(choice), "total_duration",
        (json_int_t)between(request->came_ns, choice->end_ns), "load_duration", (json_int_t)0, "prompt_eval_count",
        (json_int_t)choice->prompt->tokens.count, "prompt_eval_duration",
        (json_int_t)between(choice->open_ns, choice->read_ns), "eval_count", (json_int_t)choice->tokens.count,
        "eval_duration", (json_int_t)between(choice->read_ns, choice->end_ns), "fovea", fv_shape_reads(choice));
    if (made && figures) (void)json_object_update(made, figures);
    json_decref(figures);
    return made;
}

static json_t *ollama_piece(const fv_choice *choice, const char *bytes, size_t length) {
    return line(choice, fv_json_string(bytes, length), false);
}

static json_t *ollama_end(const fv_choice *choice) { return with_figures(choice, line(choice, json_string(""), true)); }

static json_t *ollama_whole(const fv_request *request) {
    return with_figures(request->choices, line(request->choices, fv_shape_text(request->choices), true));
}

const fv_shape fv_shape_ollama_generate = {
    .type = FV_REPLY_NDJSON, .piece = ollama_piece, .end = ollama_end, .whole = ollama_whole};
const fv_shape fv_shape_ollama_chat = {
    .type = FV_REPLY_NDJSON, .piece = ollama_piece, .end = ollama_end, .whole = ollama_whole};
