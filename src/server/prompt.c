/* prompt.c - ids are taken as they are; a text gets the beginning token that the model's file asks for. */
#include "prompt.h"
#include "content.h"
#include "dialogue.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPTS_MOST = 1024, TURNS_MOST = 100000 };

void fv_prompts_free(fv_prompts *prompts) {
    for (size_t i = 0; i < prompts->count; i++) {
        fv_tokens_free(&prompts->items[i].tokens);
        fv_text_free(&prompts->items[i].text);
        free(prompts->items[i].places);
    }
    free(prompts->items);
    *prompts = (fv_prompts){0};
}

static fv_status prompts_reserve(fv_prompts *prompts, size_t count, fv_message *message) {
    if (count == 0 || count > PROMPTS_MOST)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'prompt' must have 1 to %d prompts, got %zu",
                              PROMPTS_MOST, count);
    prompts->items = calloc(count, sizeof *prompts->items);
    if (!prompts->items) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for prompts");
    prompts->count = count;
    return FV_OK;
}

/* ---- texts and ids ---- */

static const fv_tokenizer *tokenizer_of(const fv_server *server) { return fv_llm_tokenizer(server->llm); }

static fv_status add_text(fv_prompt *prompt, const fv_server *server, const json_t *value, uint32_t flags) {
    const char *bytes = json_string_value(value);
    size_t length = json_string_length(value);
    fv_status status = fv_text_append(&prompt->text, bytes, length);
    if (status == FV_OK)
        status = fv_tokenizer_encode(tokenizer_of(server), bytes, length, flags | FV_TOKENIZE_PARSE_SPECIAL,
                                     &prompt->tokens);
    return status;
}

fv_status fv_prompt_id(const fv_server *server, const char *field, const json_t *value, int32_t *id,
                       fv_message *message) {
    int32_t tokens = fv_tokenizer_tokens(tokenizer_of(server));
    json_int_t given = json_is_integer(value) ? json_integer_value(value) : -1;
    if (given < 0 || given >= tokens)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field '%s': a token is an id from 0 to %d", field,
                              tokens - 1);
    *id = (int32_t)given;
    return FV_OK;
}

static fv_status add_id(fv_prompt *prompt, const fv_server *server, const json_t *value, fv_message *message) {
    int32_t token = -1;
    fv_status status = fv_prompt_id(server, "prompt", value, &token, message);
    if (status == FV_OK) status = fv_tokens_append(&prompt->tokens, &token, 1);
    if (status == FV_OK) status = fv_tokenizer_piece(tokenizer_of(server), token, true, &prompt->text);
    return status;
}

static fv_status refuse(fv_message *message) {
    return fv_message_set(message, FV_ERROR_ARGUMENT,
                          "field 'prompt' must be a text, a list of token ids, or a list of such prompts");
}

/* One prompt: a text, or a list of ids and texts. */
static fv_status read_one(fv_prompt *prompt, const fv_server *server, const json_t *value, fv_message *message) {
    fv_status status = FV_OK;
    if (json_is_string(value)) status = add_text(prompt, server, value, FV_TOKENIZE_ADD_SPECIAL);
    if (!json_is_string(value) && !json_is_array(value)) return refuse(message);
    for (size_t i = 0; i < json_array_size(value) && status == FV_OK; i++) {
        const json_t *part = json_array_get(value, i);
        if (json_is_string(part))
            status = add_text(prompt, server, part, i == 0 ? FV_TOKENIZE_ADD_SPECIAL : 0);
        else
            status = add_id(prompt, server, part, message);
    }
    if (status == FV_OK && prompt->tokens.count == 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'prompt' is empty: there is nothing to go on from");
    return status;
}

/* Whether the list is of prompts: of texts only, or it has a list in it. */
static bool is_many(const json_t *value) {
    bool texts = json_array_size(value) > 0;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *part = json_array_get(value, i);
        if (json_is_array(part)) return true;
        texts = texts && json_is_string(part);
    }
    return texts;
}

fv_status fv_prompts_read(fv_prompts *prompts, const fv_server *server, const json_t *value, bool many,
                          fv_message *message) {
    bool list = json_is_array(value) && is_many(value);
    size_t count = list ? json_array_size(value) : 1;
    if (!value) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'prompt' is missing");
    if (count > 1 && !many)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "field 'prompt' must be one prompt here; several go to "
                              "/v1/completions");
    fv_status status = prompts_reserve(prompts, count, message);
    for (size_t i = 0; i < count && status == FV_OK; i++)
        status = read_one(&prompts->items[i], server, list ? json_array_get(value, i) : value, message);
    return status;
}

/* ---- conversations ---- */

static fv_status read_role(const json_t *value, const char **role, fv_message *message) {
    static const char *const roles[][2] = {
        {"system", "system"}, {"developer", "system"}, {"user", "user"}, {"assistant", "assistant"}};
    const char *given = json_is_string(value) ? json_string_value(value) : "";
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(given, roles[i][0]) != 0) continue;
        *role = roles[i][1];
        return FV_OK;
    }
    return fv_message_set(message, FV_ERROR_ARGUMENT,
                          "field 'messages': a role is system, developer, user or assistant, not '%.32s'", given);
}

static fv_status read_turn(const json_t *value, fv_chat_turn *turn, fv_text *text, fv_message *message) {
    const char *name;
    json_t *member, *members = (json_t *)(uintptr_t)value;
    if (!json_is_object(value))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'messages' must be a list of objects");
    json_object_foreach(members, name, member) {
        bool nothing = json_is_null(member) || (json_is_array(member) && json_array_size(member) == 0);
        if (nothing || strcmp(name, "role") == 0 || strcmp(name, "content") == 0) continue;
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'messages': '%.64s' is not implemented", name);
    }
    fv_status status = read_role(json_object_get(value, "role"), &turn->role, message);
    if (status == FV_OK) status = fv_content_text(json_object_get(value, "content"), text, message);
    turn->content = text->bytes;
    return status;
}

static fv_status render(fv_prompt *prompt, const fv_server *server, const fv_chat_turn *turns, size_t count,
                        fv_message *message) {
    fv_text_spans contents = {0};
    fv_chat_format format = server->chat;
    format.day = fv_chat_today();
    fv_status status = fv_chat_render_format(&format, turns, count, 0, true, &prompt->text, &contents);
    if (status != FV_OK)
        (void)fv_message_set(message, status, "field 'messages': the chat template can't express this order of roles");
    if (status == FV_OK)
        status = fv_tokenizer_encode_spans(tokenizer_of(server), prompt->text.bytes, prompt->text.length, &contents,
                                           FV_TOKENIZE_ADD_SPECIAL | FV_TOKENIZE_PARSE_SPECIAL, &prompt->tokens);
    fv_text_spans_free(&contents);
    return status;
}

/* In the spacing of the template's family. */
static fv_status render_family(fv_prompt *prompt, const fv_server *server, const json_t *messages,
                               fv_message *message) {
    size_t count = json_array_size(messages);
    fv_chat_turn *turns = calloc(count, sizeof *turns);
    fv_text *texts = calloc(count, sizeof *texts);
    fv_status status = turns && texts ? FV_OK : FV_ERROR_MEMORY;
    for (size_t i = 0; i < count && status == FV_OK; i++)
        status = read_turn(json_array_get(messages, i), &turns[i], &texts[i], message);
    if (status == FV_OK) status = render(prompt, server, turns, count, message);
    for (size_t i = 0; texts && i < count; i++) fv_text_free(&texts[i]);
    free(texts);
    free(turns);
    return status;
}

/* Whether the prompt opened a thought, so that the answer begins inside it. */
static bool opens_thought(const fv_text *text) {
    static const char tag[] = "<think>";
    size_t end = text->length, length = sizeof tag - 1;
    while (end > 0 && strchr(" \n", text->bytes[end - 1]) && text->bytes[end - 1]) end--;
    return end >= length && memcmp(text->bytes + end - length, tag, length) == 0;
}

fv_status fv_prompts_chat(fv_prompts *prompts, const fv_server *server, const fv_chat_ask *ask, fv_message *message) {
    size_t count = json_array_size(ask->messages);
    bool own = fv_dialogue_wanted(server, ask);
    if (server->chat.family == FV_CHAT_NONE && !own)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s", server->chat_fault.text);
    if (count == 0 || count > TURNS_MOST)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'messages' must be a list of 1 to %d messages",
                              TURNS_MOST);
    fv_status status = prompts_reserve(prompts, 1, message);
    prompts->form = server->form;
    if (status == FV_OK && own) status = fv_dialogue_render(prompts->items, &prompts->form, server, ask, message);
    if (status == FV_OK && !own) status = render_family(prompts->items, server, ask->messages, message);
    if (status == FV_OK) prompts->form.begins_inside = opens_thought(&prompts->items->text);
    return status;
}
