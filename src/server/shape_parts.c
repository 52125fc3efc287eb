/* shape_parts.c - the parts, each made where it is wanted. */
#include "shape_parts.h"
#include "fovea/report_sum.h"
#include <math.h>
#include <string.h>

const char *fv_shape_finish(const fv_choice *choice) {
    return choice->finish == FV_FINISH_END || choice->finish == FV_FINISH_TEXT ? "stop" : "length";
}

double fv_shape_ms(uint64_t begin_ns, uint64_t end_ns) {
    return begin_ns > 0 && end_ns > begin_ns ? (double)(end_ns - begin_ns) * 1e-6 : 0;
}

json_t *fv_shape_text(const fv_choice *choice) {
    const fv_text *answer = fv_answer_text_all(choice->text), *prompt = &choice->prompt->text;
    fv_text text = {0};
    fv_status status = FV_OK;
    if (choice->request->settings.echo)
        status = fv_text_append(&text, prompt->bytes ? prompt->bytes : "", prompt->length);
    if (status == FV_OK) status = fv_text_append(&text, answer->bytes ? answer->bytes : "", answer->length);
    json_t *made = status == FV_OK ? fv_json_string(text.bytes, text.length) : NULL;
    fv_text_free(&text);
    return made;
}

json_t *fv_shape_model(const fv_request *request) {
    return fv_json_string(request->server->name, strlen(request->server->name));
}

json_t *fv_shape_usage(const fv_request *request) {
    size_t prompt = 0, cached = 0, answer = 0;
    for (size_t i = 0; i < request->choice_count; i++) {
        const fv_choice *choice = &request->choices[i];
        answer += choice->tokens.count;
        if (i % (size_t)request->settings.answers != 0) continue; /* one prompt, however many answers */
        prompt += choice->prompt->tokens.count;
        cached += choice->cached;
    }
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", (json_int_t)prompt, "completion_tokens",
                     (json_int_t)answer, "total_tokens", (json_int_t)(prompt + answer), "prompt_tokens_details",
                     "cached_tokens", (json_int_t)cached);
}

static double rate(size_t count, double ms) { return ms > 0 ? (double)count * 1e3 / ms : 0; }

json_t *fv_shape_timings(const fv_choice *choice) {
    size_t prompt = choice->read - choice->cached, answer = choice->tokens.count;
    double prompt_ms = fv_shape_ms(choice->open_ns, choice->read_ns);
    double answer_ms = fv_shape_ms(choice->read_ns, choice->end_ns);
    return json_pack("{s:I, s:I, s:f, s:f, s:I, s:f, s:f}", "cache_n", (json_int_t)choice->cached, "prompt_n",
                     (json_int_t)prompt, "prompt_ms", prompt_ms, "prompt_per_second", rate(prompt, prompt_ms),
                     "predicted_n", (json_int_t)answer, "predicted_ms", answer_ms, "predicted_per_second",
                     rate(answer, answer_ms));
}

json_t *fv_shape_reads(const fv_choice *choice) {
    return json_pack("{s:s, s:f, s:I, s:I, s:I}", "attention", choice->request->settings.policy_text, "density",
                     fv_report_density(&choice->report), "bytes_read", (json_int_t)choice->report.bytes_read,
                     "reused_tokens", (json_int_t)choice->cached, "cut_tokens", (json_int_t)choice->cut);
}

static json_t *token_passages(const fv_choice *choice, size_t token) {
    const fv_passages *passages = &choice->passages;
    json_t *layers = passages->layers > 0 ? json_array() : NULL;
    for (uint32_t layer = 0; layer < passages->layers; layer++)
        (void)json_array_append_new(layers, fv_passages_json(passages, choice->prompt, token, 1 + (size_t)layer));
    json_t *made = json_pack("{s:o, s:o}", "token", fv_shape_piece(choice, choice->tokens.ids[token]), "passages",
                             fv_passages_json(passages, choice->prompt, token, 0));
    if (layers) (void)json_object_set_new(made, "layers", layers);
    return made;
}

void fv_shape_passages(const fv_choice *choice, size_t first, json_t *document) {
    if (choice->passages.most == 0) return;
    json_t *list = json_array();
    for (size_t token = first; token < fv_choice_passages(choice); token++)
        (void)json_array_append_new(list, token_passages(choice, token));
    (void)json_object_set_new(document, "reads", list);
}

json_t *fv_shape_tokens(const fv_choice *choice, size_t first) {
    json_t *list = json_array();
    for (size_t i = first; i < choice->tokens.count; i++)
        if (json_array_append_new(list, json_integer(choice->tokens.ids[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* ---- log-probabilities ---- */

static fv_status piece_bytes(const fv_choice *choice, int32_t token, fv_text *piece) {
    return fv_tokenizer_piece(fv_llm_tokenizer(choice->request->server->llm), token, true, piece);
}

json_t *fv_shape_piece(const fv_choice *choice, int32_t token) {
    fv_text piece = {0};
    json_t *made = NULL;
    if (piece_bytes(choice, token, &piece) == FV_OK)
        made = fv_json_string(piece.bytes ? piece.bytes : "", piece.length);
    fv_text_free(&piece);
    return made;
}

static json_t *bytes_json(const fv_choice *choice, int32_t token) {
    fv_text piece = {0};
    json_t *list = piece_bytes(choice, token, &piece) == FV_OK ? json_array() : NULL;
    for (size_t i = 0; list && i < piece.length; i++)
        (void)json_array_append_new(list, json_integer((unsigned char)piece.bytes[i]));
    fv_text_free(&piece);
    return list;
}

static json_t *token_json(const fv_choice *choice, int32_t token, double logprob, bool with_id) {
    json_t *made = json_pack("{s:o, s:o, s:o}", "token", fv_shape_piece(choice, token), "logprob",
                             fv_json_real(logprob), "bytes", bytes_json(choice, token));
    if (made && with_id) (void)json_object_set_new(made, "id", json_integer(token));
    return made;
}

static json_t *tops_json(const fv_choice *choice, size_t index, bool with_id) {
    size_t count = (size_t)choice->request->settings.logprobs;
    const fv_alternative *tops = choice->tops + index * count;
    json_t *list = json_array();
    for (size_t i = 0; list && i < count && !isnan(choice->entries[index].logprob); i++)
        if (tops[i].token >= 0)
            (void)json_array_append_new(list, token_json(choice, tops[i].token, (double)tops[i].logprob, with_id));
    return list;
}

json_t *fv_shape_entries(const fv_choice *choice, size_t first, size_t end, bool with_id) {
    json_t *list = json_array();
    for (size_t i = first; list && i < end; i++) {
        json_t *one = token_json(choice, choice->entries[i].token, (double)choice->entries[i].logprob, with_id);
        if (one) (void)json_object_set_new(one, "top_logprobs", tops_json(choice, i, with_id));
        if (json_array_append_new(list, one) == 0) continue;
        json_decref(list);
        return NULL;
    }
    return list;
}
