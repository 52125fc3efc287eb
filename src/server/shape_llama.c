/* shape_llama.c - /completion: a document, or events without a last word. */
#include "shape_llama.h"
#include "shape_parts.h"

static void add_probabilities(const fv_choice *choice, size_t first, json_t *document) {
    if (document && choice->request->settings.logprobs > 0)
        (void)json_object_set_new(document, "completion_probabilities",
                                  fv_shape_entries(choice, first, choice->entry_count, true));
}

static json_t *llama_piece(const fv_choice *choice, const char *bytes, size_t length) {
    json_t *made = json_pack("{s:i, s:o, s:o, s:b, s:I, s:I}", "index", (int)choice->index, "content",
                             fv_json_string(bytes, length), "tokens", fv_shape_tokens(choice, choice->shown_tokens),
                             "stop", 0, "tokens_predicted", (json_int_t)choice->tokens.count, "tokens_evaluated",
                             (json_int_t)choice->prompt->tokens.count);
    add_probabilities(choice, choice->shown_entries, made);
    fv_shape_passages(choice, choice->shown_tokens, made);
    return made;
}

static const char *stop_type(const fv_choice *choice) {
    return choice->finish == FV_FINISH_END ? "eos" : choice->finish == FV_FINISH_TEXT ? "word" : "limit";
}

static json_t *last(const fv_choice *choice, json_t *content, json_t *tokens) {
    const fv_request *request = choice->request;
    const char *word = choice->stop >= 0 ? request->settings.stops[choice->stop] : "";
    return json_pack("{s:i, s:o, s:o, s:b, s:o, s:s, s:s, s:I, s:I, s:I, s:b, s:o, s:o}", "index", (int)choice->index,
                     "content", content, "tokens", tokens, "stop", 1, "model", fv_shape_model(request), "stop_type",
                     stop_type(choice), "stopping_word", word, "tokens_predicted", (json_int_t)choice->tokens.count,
                     "tokens_evaluated", (json_int_t)choice->prompt->tokens.count, "tokens_cached",
                     (json_int_t)choice->cached, "truncated", 0, "timings", fv_shape_timings(choice), "fovea",
                     fv_shape_reads(choice));
}

static json_t *llama_end(const fv_choice *choice) { return last(choice, json_string(""), json_array()); }

static json_t *llama_whole(const fv_request *request) {
    const fv_choice *choice = request->choices;
    json_t *tokens = request->settings.return_tokens ? fv_shape_tokens(choice, 0) : json_array();
    json_t *made = last(choice, fv_shape_text(choice), tokens);
    add_probabilities(choice, 0, made);
    fv_shape_passages(choice, 0, made);
    return made;
}

const fv_shape fv_shape_llama = {.type = FV_REPLY_SSE, .piece = llama_piece, .end = llama_end, .whole = llama_whole};
