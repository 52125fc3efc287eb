/* api_text.c - text to tokens and back, and conversations as the text that the model would read. */
#include "endpoints.h"
#include "fields.h"
#include "prompt.h"
#include <string.h>

typedef struct text_ask {
    const json_t *content; /* borrowed */
    const json_t *tools, *variables;
    bool add_special, parse_special, with_pieces;
    const json_t *prompt; /* vLLM's words: this, add_special_tokens, and an answer that counts */
    bool add_special_tokens;
} text_ask;

static fv_status read_text(void *target, const json_t *value, fv_message *message) {
    if (!json_is_string(value)) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'content' must be a text");
    ((text_ask *)target)->content = value;
    return FV_OK;
}

static fv_status read_prompt_text(void *target, const json_t *value, fv_message *message) {
    if (!json_is_string(value)) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'prompt' must be a text");
    ((text_ask *)target)->prompt = value;
    return FV_OK;
}

static fv_status read_list(void *target, const json_t *value, fv_message *message) {
    if (!json_is_array(value)) return fv_message_set(message, FV_ERROR_ARGUMENT, "field must be a list");
    ((text_ask *)target)->content = value;
    return FV_OK;
}

/* ---- tokenize ---- */

/* A part of a character has no text: its bytes. */
static json_t *piece_json(const fv_tokenizer *tokenizer, int32_t id) {
    fv_text piece = {0};
    json_t *made = NULL;
    fv_status status = fv_tokenizer_piece(tokenizer, id, true, &piece);
    if (status == FV_OK && fv_utf8_valid(piece.bytes, piece.length) == piece.length)
        made = json_stringn(piece.bytes ? piece.bytes : "", piece.length);
    else if (status == FV_OK)
        made = json_array();
    for (size_t i = 0; json_is_array(made) && i < piece.length; i++)
        json_array_append_new(made, json_integer((unsigned char)piece.bytes[i]));
    fv_text_free(&piece);
    return json_pack("{s:i, s:o}", "id", (int)id, "piece", made);
}

static json_t *tokens_json(const fv_tokenizer *tokenizer, const fv_tokens *tokens, bool pieces) {
    json_t *list = json_array();
    for (size_t i = 0; i < tokens->count; i++) {
        json_t *one = pieces ? piece_json(tokenizer, tokens->ids[i]) : json_integer(tokens->ids[i]);
        if (json_array_append_new(list, one) == 0) continue;
        json_decref(list);
        return NULL;
    }
    return json_pack("{s:o}", "tokens", list);
}

/* Either of the two ways to ask, in the words of the first. */
static fv_status settle_ask(text_ask *ask, fv_message *message) {
    if (ask->prompt && ask->content)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "fields 'content' and 'prompt' exclude each other");
    if (!ask->prompt && !ask->content) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'content' is missing");
    if (!ask->prompt) return FV_OK;
    ask->content = ask->prompt;
    ask->add_special = ask->add_special_tokens;
    return FV_OK;
}

static json_t *tokenize_answer(const fv_server *server, const fv_tokens *tokens, const text_ask *ask) {
    json_t *answer = tokens_json(fv_llm_tokenizer(server->llm), tokens, ask->with_pieces);
    if (!ask->prompt || !answer) return answer;
    (void)json_object_set_new(answer, "count", json_integer((json_int_t)tokens->count));
    (void)json_object_set_new(answer, "max_model_len", json_integer(server->slot_tokens));
    return answer;
}

void fv_api_tokenize(fv_call *call) {
    static const fv_field list[] = {
        {.name = "model", .kind = FV_FIELD_LABEL},
        {.name = "prompt", .kind = FV_FIELD_READ, .read = read_prompt_text},
        {.name = "add_special_tokens", .kind = FV_FIELD_SWITCH, .offset = offsetof(text_ask, add_special_tokens)},
        {.name = "content", .kind = FV_FIELD_READ, .read = read_text},
        {.name = "add_special", .kind = FV_FIELD_SWITCH, .offset = offsetof(text_ask, add_special)},
        {.name = "parse_special", .kind = FV_FIELD_SWITCH, .offset = offsetof(text_ask, parse_special)},
        {.name = "with_pieces", .kind = FV_FIELD_SWITCH, .offset = offsetof(text_ask, with_pieces)}};
    const fv_field_table table = {list, sizeof list / sizeof *list};
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(call->server->llm);
    text_ask ask = {.parse_special = true, .add_special_tokens = true};
    fv_tokens tokens = {0};
    fv_message message = {""};
    json_t *body = fv_call_body(call);
    if (!body) return;
    fv_status status = fv_fields_read(&table, 1, body, "", &ask, &message);
    if (status == FV_OK) status = settle_ask(&ask, &message);
    uint32_t flags =
        (ask.add_special ? FV_TOKENIZE_ADD_SPECIAL : 0u) | (ask.parse_special ? FV_TOKENIZE_PARSE_SPECIAL : 0u);
    if (status == FV_OK)
        status = fv_tokenizer_encode(tokenizer, json_string_value(ask.content), json_string_length(ask.content), flags,
                                     &tokens);
    json_decref(body);
    if (status == FV_OK)
        fv_reply_json(call->reply, 200, tokenize_answer(call->server, &tokens, &ask));
    else
        fv_call_fail(call, status, &message);
    fv_tokens_free(&tokens);
}

/* ---- detokenize ---- */

static fv_status read_ids(const fv_server *server, const json_t *value, fv_tokens *tokens, fv_message *message) {
    fv_status status = FV_OK;
    if (!value) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'tokens' is missing");
    for (size_t i = 0; i < json_array_size(value) && status == FV_OK; i++) {
        int32_t token = -1;
        status = fv_prompt_id(server, "tokens", json_array_get(value, i), &token, message);
        if (status == FV_OK) status = fv_tokens_append(tokens, &token, 1);
    }
    return status;
}

void fv_api_detokenize(fv_call *call) {
    static const fv_field list[] = {{.name = "model", .kind = FV_FIELD_LABEL},
                                    {.name = "tokens", .kind = FV_FIELD_READ, .read = read_list}};
    const fv_field_table table = {list, 2};
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(call->server->llm);
    text_ask ask = {0};
    fv_tokens tokens = {0};
    fv_text text = {0};
    fv_message message = {""};
    json_t *body = fv_call_body(call);
    if (!body) return;
    fv_status status = fv_fields_read(&table, 1, body, "", &ask, &message);
    if (status == FV_OK) status = read_ids(call->server, ask.content, &tokens, &message);
    if (status == FV_OK) status = fv_tokenizer_decode(tokenizer, tokens.ids, tokens.count, true, &text);
    json_decref(body);
    const char *bytes = text.bytes ? text.bytes : "";
    if (status == FV_OK)
        fv_reply_json(call->reply, 200,
                      json_pack("{s:o, s:o}", "content", fv_json_string(bytes, text.length), "prompt",
                                fv_json_string(bytes, text.length))); /* vLLM's word for it */
    else
        fv_call_fail(call, status, &message);
    fv_tokens_free(&tokens);
    fv_text_free(&text);
}

/* ---- apply-template ---- */

static fv_status read_tools(void *target, const json_t *value, fv_message *message) {
    if (!json_is_array(value)) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'tools' must be a list");
    ((text_ask *)target)->tools = value;
    return FV_OK;
}

static fv_status read_variables(void *target, const json_t *value, fv_message *message) {
    if (!json_is_object(value))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'chat_template_kwargs' must be an object");
    ((text_ask *)target)->variables = value;
    return FV_OK;
}

void fv_api_template(fv_call *call) {
    static const fv_field list[] = {{.name = "messages", .kind = FV_FIELD_READ, .read = read_list},
                                    {.name = "tools", .kind = FV_FIELD_READ, .read = read_tools},
                                    {.name = "chat_template_kwargs", .kind = FV_FIELD_READ, .read = read_variables}};
    const fv_field_table table = {list, sizeof list / sizeof *list};
    text_ask ask = {0};
    fv_prompts prompts = {0};
    fv_message message = {""};
    json_t *body = fv_call_body(call);
    if (!body) return;
    fv_status status = fv_fields_read(&table, 1, body, "", &ask, &message);
    const fv_chat_ask chat = {ask.content, ask.tools, ask.variables};
    if (status == FV_OK) status = fv_prompts_chat(&prompts, call->server, &chat, &message);
    json_decref(body);
    if (status == FV_OK) {
        const fv_text *text = &prompts.items[0].text;
        fv_reply_json(call->reply, 200, json_pack("{s:o}", "prompt", fv_json_string(text->bytes, text->length)));
    } else {
        fv_call_fail(call, status, &message);
    }
    fv_prompts_free(&prompts);
}
