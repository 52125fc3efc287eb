/* dialogue.c - messages are handed to the template as they came, after what they may hold was looked at: contents are
 * one text each, arguments of calls are objects, as templates expect them. */
#include "dialogue.h"
#include "content.h"
#include <stdlib.h>
#include <string.h>

/* ---- the template ---- */

static char *token_text(const fv_tokenizer *tokenizer, int32_t id) {
    fv_text text = {0};
    if (id < 0 || fv_tokenizer_piece(tokenizer, id, true, &text) != FV_OK) return NULL;
    return text.bytes; /* zero-terminated */
}

void fv_dialogue_open(fv_server *server) {
    const fv_server_config *config = server->config;
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(server->llm);
    fv_gguf_text text = {config->template_text, config->template_text ? strlen(config->template_text) : 0};
    if (!text.bytes && config->jinja != FV_SERVER_JINJA_OFF)
        (void)fv_gguf_string(fv_llm_gguf(server->llm), "tokenizer.chat_template", &text);
    if (!text.bytes) {
        (void)fv_message_set(&server->template_fault, FV_OK, "there is no chat template");
        return;
    }
    server->form.thinks = fv_template_thinks(text.bytes, text.length);
    server->tool_format = fv_tool_format_of(text.bytes, text.length);
    if (fv_template_open(&server->template, text.bytes, text.length, &server->template_fault) != FV_OK) return;
    server->bos = token_text(tokenizer, fv_tokenizer_bos(tokenizer));
    server->eos = token_text(tokenizer, fv_tokenizer_eos(tokenizer));
}

void fv_dialogue_close(fv_server *server) {
    fv_template_close(server->template);
    free(server->bos);
    free(server->eos);
}

/* ---- what is asked ---- */

static bool is_text(const json_t *value, const char *text) {
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

static bool has_any(const json_t *value) { return json_array_size(value) > 0 || json_object_size(value) > 0; }

bool fv_dialogue_wanted(const fv_server *server, const fv_chat_ask *ask) {
    if (server->chat.family == FV_CHAT_NONE || server->config->jinja == FV_SERVER_JINJA_ON) return server->template;
    if (has_any(ask->tools) || has_any(ask->variables)) return true;
    for (size_t i = 0; i < json_array_size(ask->messages); i++) {
        const json_t *one = json_array_get(ask->messages, i), *thought = json_object_get(one, "reasoning_content");
        bool special = is_text(json_object_get(one, "role"), "tool") || has_any(json_object_get(one, "tool_calls"));
        if (special || (thought && !json_is_null(thought))) return true;
    }
    return false;
}

/* ---- messages ---- */

static fv_status refuse(fv_message *message, const char *what) {
    return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'messages': %s", what);
}

/* A copy whose arguments are an object: templates go through them. */
static json_t *call_copy(const json_t *call) {
    json_t *copy = json_deep_copy(call), *function = json_object_get(copy, "function");
    const json_t *arguments = json_object_get(function, "arguments");
    if (!json_is_string(arguments)) return copy;
    json_t *read = json_loadb(json_string_value(arguments), json_string_length(arguments), 0, NULL);
    if (json_is_object(read))
        (void)json_object_set_new(function, "arguments", read);
    else
        json_decref(read);
    return copy;
}

static fv_status add_calls(json_t *made, const json_t *calls, fv_message *message) {
    json_t *list = json_array();
    (void)json_object_set_new(made, "tool_calls", list);
    if (!json_is_array(calls)) return refuse(message, "'tool_calls' must be a list");
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *one = json_array_get(calls, i);
        if (!json_is_string(json_object_get(json_object_get(one, "function"), "name")))
            return refuse(message, "a call of 'tool_calls' is {\"function\": {\"name\", \"arguments\"}}");
        if (json_array_append_new(list, call_copy(one)) != 0) return FV_ERROR_MEMORY;
    }
    return FV_OK;
}

static fv_status add_member(json_t *made, const char *name, const json_t *value, fv_message *message) {
    static const char *const texts[] = {"role", "name", "tool_call_id", "reasoning_content"};
    fv_text text = {0};
    if (strcmp(name, "content") == 0) {
        fv_status status = fv_content_text(value, &text, message);
        if (status == FV_OK) (void)json_object_set_new(made, name, json_stringn(text.bytes, text.length));
        fv_text_free(&text);
        return status;
    }
    if (strcmp(name, "tool_calls") == 0) return add_calls(made, value, message);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strcmp(name, texts[i]) != 0) continue;
        if (!json_is_string(value)) return refuse(message, "a member that must be a text is none");
        (void)json_object_set(made, name, (json_t *)(uintptr_t)value);
        return FV_OK;
    }
    return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'messages': '%.64s' is not implemented", name);
}

static fv_status check_role(json_t *made, fv_message *message) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    json_t *role = json_object_get(made, "role");
    if (is_text(role, "developer")) {
        (void)json_object_set_new(made, "role", json_string("system"));
        return FV_OK;
    }
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (is_text(role, roles[i])) return FV_OK;
    return refuse(message, "a role is system, developer, user, assistant or tool");
}

static fv_status add_message(json_t *list, const json_t *value, fv_message *message) {
    const char *name;
    json_t *member, *members = (json_t *)(uintptr_t)value, *made = json_object();
    fv_status status = json_array_append_new(list, made) == 0 ? FV_OK : FV_ERROR_MEMORY;
    if (!json_is_object(value)) return refuse(message, "must be a list of objects");
    json_object_foreach(members, name, member) {
        bool nothing = json_is_null(member) || (json_is_array(member) && json_array_size(member) == 0);
        if (status == FV_OK && !nothing) status = add_member(made, name, member, message);
    }
    if (status == FV_OK) status = check_role(made, message);
    if (status == FV_OK && !json_object_get(made, "content")) {
        if (!json_object_get(made, "tool_calls")) return refuse(message, "'content' is missing");
        (void)json_object_set_new(made, "content", json_string(""));
    }
    return status;
}

/* ---- rendering ---- */

static fv_status check_tools(const fv_server *server, const fv_chat_ask *ask, fv_message *message) {
    if (!has_any(ask->tools)) return FV_OK;
    if (!fv_template_names(server->template, "tools"))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'tools': the model's chat template has no tools");
    if (server->tool_format == FV_TOOLS_NONE)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "field 'tools': this version does not read the form in which this model calls tools");
    for (size_t i = 0; i < json_array_size(ask->tools); i++) {
        const json_t *one = json_array_get(ask->tools, i);
        bool fine = is_text(json_object_get(one, "type"), "function") &&
                    json_is_string(json_object_get(json_object_get(one, "function"), "name"));
        if (!fine)
            return fv_message_set(message, FV_ERROR_ARGUMENT,
                                  "field 'tools': a tool is {\"type\": \"function\", \"function\": {\"name\", ...}}");
    }
    return FV_OK;
}

/* What the template does not name would be ignored without a word. */
static fv_status check_variables(const fv_server *server, const fv_chat_ask *ask, fv_message *message) {
    const char *name;
    json_t *value, *members = (json_t *)(uintptr_t)ask->variables;
    json_object_foreach(members, name, value) {
        if (fv_template_names(server->template, name)) continue;
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "field 'chat_template_kwargs': the model's chat template has no '%.64s'", name);
    }
    return FV_OK;
}

/* Everything that the template may name, as one JSON object. */
static json_t *variables(const fv_chat_ask *ask, json_t *messages) {
    json_t *made = json_object();
    if (!made) return NULL;
    if (ask->variables) (void)json_object_update(made, (json_t *)(uintptr_t)ask->variables);
    (void)json_object_set(made, "messages", messages);
    (void)json_object_set_new(made, "add_generation_prompt", json_true());
    if (has_any(ask->tools)) (void)json_object_set(made, "tools", (json_t *)(uintptr_t)ask->tools);
    return made;
}

static fv_status tokenize(fv_prompt *prompt, const fv_server *server, const fv_text_spans *contents) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(server->llm);
    const char *text = prompt->text.bytes ? prompt->text.bytes : "", *bos = server->bos;
    bool begun = bos && bos[0] && strncmp(text, bos, strlen(bos)) == 0; /* the template wrote the beginning token */
    uint32_t flags = FV_TOKENIZE_PARSE_SPECIAL | (begun ? 0u : FV_TOKENIZE_ADD_SPECIAL);
    return fv_tokenizer_encode_spans(tokenizer, text, prompt->text.length, contents, flags, &prompt->tokens);
}

static fv_status render(fv_prompt *prompt, const fv_server *server, json_t *document, fv_message *message) {
    fv_text_spans contents = {0};
    fv_message why = {""};
    char *json = document ? json_dumps(document, JSON_COMPACT) : NULL;
    fv_template_input input = {.struct_bytes = sizeof input,
                               .bos = server->bos,
                               .eos = server->eos,
                               .json = json,
                               .json_length = json ? strlen(json) : 0};
    fv_status status =
        json ? fv_template_render(server->template, &input, &prompt->text, &contents, &why) : FV_ERROR_MEMORY;
    bool refused = json && status != FV_OK && status != FV_ERROR_MEMORY;
    if (refused) status = fv_message_set(message, FV_ERROR_ARGUMENT, "field 'messages': %.440s", why.text);
    if (status == FV_OK) status = tokenize(prompt, server, &contents);
    fv_text_spans_free(&contents);
    free(json);
    return status;
}

fv_status fv_dialogue_render(fv_prompt *prompt, fv_answer_form *form, const fv_server *server, const fv_chat_ask *ask,
                             fv_message *message) {
    if (!server->template)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "tools, calls, thoughts and variables need the model's own chat template: %.380s",
                              server->template_fault.text);
    fv_status status = check_tools(server, ask, message);
    if (status == FV_OK) status = check_variables(server, ask, message);
    json_t *messages = json_array(), *document = NULL;
    for (size_t i = 0; i < json_array_size(ask->messages) && status == FV_OK; i++)
        status = add_message(messages, json_array_get(ask->messages, i), message);
    if (status == FV_OK) document = variables(ask, messages);
    if (status == FV_OK) status = render(prompt, server, document, message);
    if (has_any(ask->tools)) form->tools = (uint32_t)server->tool_format;
    json_decref(document);
    json_decref(messages);
    return status;
}
