/* api_generate.c - endpoints whose answers the model writes: each has its fields, its prompt and its shape. */
#include "endpoints.h"
#include "shape_llama.h"
#include "shape_ollama.h"
#include "shape_openai.h"
#include "shape_responses.h"
#include "worker.h"
#include <string.h>

/* An endpoint while it reads. */
typedef struct draft {
    fv_settings settings; /* the first member: tables of fields are its own */
    const json_t *prompt, *messages, *system, *input, *tools, *variables;
    bool raw, calls_nothing;
} draft;

typedef struct endpoint {
    const fv_shape *shape;
    const char *id_prefix;
    const fv_field_table *tables; /* [count] */
    size_t count;
    bool many;   /* several prompts */
    bool stream; /* unless the request says something else */
} endpoint;

static fv_status read_prompt(void *target, const json_t *value, fv_message *message) {
    (void)message;
    ((draft *)target)->prompt = value;
    return FV_OK;
}

static fv_status read_messages(void *target, const json_t *value, fv_message *message) {
    (void)message;
    ((draft *)target)->messages = value;
    return FV_OK;
}

static fv_status read_tools(void *target, const json_t *value, fv_message *message) {
    if (!json_is_array(value)) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'tools' must be a list");
    ((draft *)target)->tools = value;
    return FV_OK;
}

/* What forces a call would have to keep the model from saying anything else. */
static fv_status read_tool_choice(void *target, const json_t *value, fv_message *message) {
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    ((draft *)target)->calls_nothing = strcmp(text, "none") == 0;
    if (strcmp(text, "none") == 0 || strcmp(text, "auto") == 0) return FV_OK;
    return fv_message_set(message, FV_ERROR_ARGUMENT,
                          "field 'tool_choice' must be \"auto\" or \"none\": a call can't be forced in this version");
}

static fv_status read_variables(void *target, const json_t *value, fv_message *message) {
    if (!json_is_object(value))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'chat_template_kwargs' must be an object");
    ((draft *)target)->variables = value;
    return FV_OK;
}

/* Ollama's prompt is a turn of its user where the model has a template. */
static json_t *as_messages(const draft *d) {
    json_t *list = json_array();
    if (list && d->system)
        (void)json_array_append_new(list, json_pack("{s:s, s:O}", "role", "system", "content", d->system));
    if (json_array_append_new(list, json_pack("{s:s, s:O}", "role", "user", "content", d->prompt)) == 0) return list;
    json_decref(list);
    return NULL;
}

/* A response's parts are input_text and output_text: those of a chat are text. */
static json_t *content_of(const json_t *content) {
    json_t *made = json_deep_copy(content), *part;
    size_t index;
    json_array_foreach(made, index, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        if (type && (strcmp(type, "input_text") == 0 || strcmp(type, "output_text") == 0))
            (void)json_object_set_new(part, "type", json_string("text"));
    }
    return made;
}

static fv_status add_item(json_t *messages, const json_t *item, fv_message *message) {
    const char *type = json_string_value(json_object_get(item, "type"));
    const json_t *role = json_object_get(item, "role"), *content = json_object_get(item, "content");
    if (!json_is_object(item) || (type && strcmp(type, "message") != 0))
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "field 'input': an item of type '%.32s' is not implemented; messages are",
                              type ? type : "");
    if (!json_is_string(role) || !content)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'input': a message has a role and a content");
    json_t *made = json_pack("{s:O, s:o}", "role", role, "content", content_of(content));
    return json_array_append_new(messages, made) == 0 ? FV_OK : FV_ERROR_MEMORY;
}

/* Instructions are a system text, what is put in is the user's, or messages. */
static fv_status read_input(fv_request *request, const draft *d, fv_message *message) {
    json_t *messages = json_array();
    fv_status status = FV_OK;
    if (d->system)
        (void)json_array_append_new(messages, json_pack("{s:s, s:O}", "role", "system", "content", d->system));
    if (json_is_string(d->input))
        (void)json_array_append_new(messages, json_pack("{s:s, s:O}", "role", "user", "content", d->input));
    else if (!json_is_array(d->input) || json_array_size(d->input) == 0)
        status = fv_message_set(message, FV_ERROR_ARGUMENT, "field 'input' must be a text or a list of messages");
    for (size_t i = 0; json_is_array(d->input) && i < json_array_size(d->input) && status == FV_OK; i++)
        status = add_item(messages, json_array_get(d->input, i), message);
    const fv_chat_ask ask = {messages, NULL, NULL};
    if (status == FV_OK) status = fv_prompts_chat(&request->prompts, request->server, &ask, message);
    request->prompts.form = (fv_answer_form){0}; /* a thought stands in the text */
    json_decref(messages);
    return status;
}

static fv_status read_asked(fv_request *request, const endpoint *e, const draft *d, fv_message *message) {
    const fv_server *server = request->server;
    bool chats = e->shape == &fv_shape_chat || e->shape == &fv_shape_ollama_chat;
    if (chats && !d->messages) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'messages' is missing");
    if (e->shape == &fv_shape_responses) return read_input(request, d, message);
    const fv_chat_ask ask = {d->messages, d->calls_nothing ? NULL : d->tools, d->variables};
    if (chats) return fv_prompts_chat(&request->prompts, server, &ask, message);
    bool has_chat = server->chat.family != FV_CHAT_NONE || server->template;
    bool turn = e->shape == &fv_shape_ollama_generate && !d->raw && has_chat;
    if (!turn || !d->prompt) return fv_prompts_read(&request->prompts, server, d->prompt, e->many, message);
    json_t *messages = as_messages(d);
    const fv_chat_ask one = {messages, NULL, NULL};
    fv_status status = messages ? fv_prompts_chat(&request->prompts, server, &one, message) : FV_ERROR_MEMORY;
    json_decref(messages);
    return status;
}

/* The body's fields into the request. */
static fv_status read_body(fv_request *request, const endpoint *e, const json_t *body, fv_message *message) {
    draft d = {.settings = request->settings};
    d.settings.stream = e->stream;
    fv_status status = fv_fields_read(e->tables, e->count, body, "", &d, message);
    request->settings = d.settings;
    if (status == FV_OK) status = fv_settings_finish(&request->settings, message);
    if (status != FV_OK) return status;
    status = read_asked(request, e, &d, message);
    return status == FV_OK ? fv_request_prepare(request, message) : status;
}

static void serve(fv_call *call, const endpoint *e) {
    fv_request *request = NULL;
    fv_message message = {""};
    json_t *body = fv_call_body(call);
    if (!body) return;
    fv_status status = fv_request_new(&request, call, e->shape, e->id_prefix, &message);
    if (status == FV_OK) status = read_body(request, e, body, &message);
    json_decref(body);
    if (status == FV_OK) {
        fv_worker_put(call->server->worker, request);
        return;
    }
    fv_request_free(request);
    fv_call_fail(call, status, &message);
}

/* ---- OpenAI's ---- */

#define AT(FIELD) .offset = offsetof(fv_settings, FIELD)
#define TABLE(LISTED) \
    { LISTED, sizeof LISTED / sizeof *LISTED }

static const fv_field completion_list[] = {
    {.name = "prompt", .kind = FV_FIELD_READ, .read = read_prompt},
    {.name = "echo", .kind = FV_FIELD_SWITCH, AT(echo)},
    {.name = "logprobs", .kind = FV_FIELD_INTEGER, AT(logprobs), .high = FV_TOP_LOGPROBS},
    {.name = "best_of", .kind = FV_FIELD_ONLY, .only = "[1]"},
    {.name = "suffix", .kind = FV_FIELD_ONLY, .only = "[\"\"]"},
};

void fv_api_completions(fv_call *call) {
    const fv_field_table tables[] = {TABLE(completion_list), fv_sampling_fields, fv_openai_fields, fv_llama_fields};
    serve(call, &(endpoint){&fv_shape_completion, "cmpl-", tables, 4, true, false});
}

/* logprobs: whether there are any; top_logprobs: how many beside. */
static const fv_field chat_list[] = {
    {.name = "messages", .kind = FV_FIELD_READ, .read = read_messages},
    {.name = "max_completion_tokens", .kind = FV_FIELD_INTEGER, AT(max_tokens), .low = -1, .high = 2147483647},
    {.name = "logprobs", .kind = FV_FIELD_SWITCH, AT(logprobs_wanted)},
    {.name = "top_logprobs", .kind = FV_FIELD_INTEGER, AT(logprobs), .high = FV_TOP_LOGPROBS},
    {.name = "response_format", .kind = FV_FIELD_ONLY, .only = "[{\"type\":\"text\"}]"},
    {.name = "tools", .kind = FV_FIELD_READ, .read = read_tools},
    {.name = "tool_choice", .kind = FV_FIELD_READ, .read = read_tool_choice},
    {.name = "parallel_tool_calls", .kind = FV_FIELD_ONLY, .only = "[true,false]"},
    {.name = "functions", .kind = FV_FIELD_ONLY, .only = "[[]]"},
    {.name = "function_call", .kind = FV_FIELD_ONLY, .only = "[\"none\",\"auto\"]"},
    {.name = "modalities", .kind = FV_FIELD_ONLY, .only = "[[\"text\"]]"},
    {.name = "store", .kind = FV_FIELD_ONLY, .only = "[false]"},
    {.name = "metadata", .kind = FV_FIELD_ONLY, .only = "[{}]"},
    {.name = "chat_template_kwargs", .kind = FV_FIELD_READ, .read = read_variables},
};

void fv_api_chat(fv_call *call) {
    const fv_field_table tables[] = {TABLE(chat_list), fv_sampling_fields, fv_openai_fields, fv_llama_fields};
    serve(call, &(endpoint){&fv_shape_chat, "chatcmpl-", tables, 4, false, false});
}

/* ---- OpenAI's responses ---- */

static fv_status read_response_input(void *target, const json_t *value, fv_message *message) {
    (void)message;
    ((draft *)target)->input = value;
    return FV_OK;
}

static fv_status read_instructions(void *target, const json_t *value, fv_message *message) {
    if (!json_is_string(value))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'instructions' must be a text");
    if (json_string_length(value) > 0) ((draft *)target)->system = value;
    return FV_OK;
}

/* Nothing is kept: the conversation so far is in `input`. */
static const fv_field responses_list[] = {
    {.name = "input", .kind = FV_FIELD_READ, .read = read_response_input},
    {.name = "instructions", .kind = FV_FIELD_READ, .read = read_instructions},
    {.name = "max_output_tokens", .kind = FV_FIELD_INTEGER, AT(max_tokens), .low = -1, .high = 2147483647},
    {.name = "max_tokens", .kind = FV_FIELD_ONLY, .only = "[]"},
    {.name = "n", .kind = FV_FIELD_ONLY, .only = "[1]"},
    {.name = "store", .kind = FV_FIELD_ONLY, .only = "[false]"},
    {.name = "previous_response_id", .kind = FV_FIELD_ONLY, .only = "[]"},
    {.name = "conversation", .kind = FV_FIELD_ONLY, .only = "[]"},
    {.name = "background", .kind = FV_FIELD_ONLY, .only = "[false]"},
    {.name = "tools", .kind = FV_FIELD_ONLY, .only = "[[]]"},
    {.name = "tool_choice", .kind = FV_FIELD_ONLY, .only = "[\"none\",\"auto\"]"},
    {.name = "parallel_tool_calls", .kind = FV_FIELD_ONLY, .only = "[true,false]"},
    {.name = "text", .kind = FV_FIELD_ONLY, .only = "[{},{\"format\":{\"type\":\"text\"}}]"},
    {.name = "reasoning", .kind = FV_FIELD_ONLY, .only = "[{}]"},
    {.name = "include", .kind = FV_FIELD_ONLY, .only = "[[]]"},
    {.name = "truncation", .kind = FV_FIELD_ONLY, .only = "[\"disabled\"]"},
    {.name = "metadata", .kind = FV_FIELD_ONLY, .only = "[{}]"},
    {.name = "top_logprobs", .kind = FV_FIELD_ONLY, .only = "[0]"},
};

void fv_api_responses(fv_call *call) {
    const fv_field_table tables[] = {TABLE(responses_list), fv_sampling_fields, fv_openai_fields, fv_llama_fields};
    serve(call, &(endpoint){&fv_shape_responses, "resp_", tables, 4, false, false});
}

/* ---- llama-server's ---- */

static const fv_field llama_completion_list[] = {
    {.name = "prompt", .kind = FV_FIELD_READ, .read = read_prompt},
    {.name = "n_predict", .kind = FV_FIELD_INTEGER, AT(max_tokens), .low = -1, .high = 2147483647},
    {.name = "n_probs", .kind = FV_FIELD_INTEGER, AT(logprobs), .high = FV_TOP_LOGPROBS},
    {.name = "n", .kind = FV_FIELD_ONLY, .only = "[1]"},
};

void fv_api_llama(fv_call *call) {
    const fv_field_table tables[] = {TABLE(llama_completion_list), fv_sampling_fields, fv_openai_fields,
                                     fv_llama_fields};
    serve(call, &(endpoint){&fv_shape_llama, "cmpl-", tables, 4, false, false});
}

/* ---- Ollama's ---- */

static fv_status read_system(void *target, const json_t *value, fv_message *message) {
    if (!json_is_string(value)) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'system' must be a text");
    if (json_string_length(value) > 0) ((draft *)target)->system = value;
    return FV_OK;
}

static fv_status read_options(void *target, const json_t *value, fv_message *message) {
    const fv_field_table tables[] = {fv_sampling_fields, fv_ollama_options};
    if (!json_is_object(value)) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'options' must be an object");
    return fv_fields_read(tables, 2, value, "options.", target, message);
}

#define OLLAMA_FIELDS \
    {.name = "model", .kind = FV_FIELD_LABEL}, {.name = "stream", .kind = FV_FIELD_SWITCH, AT(stream)}, \
        {.name = "options", .kind = FV_FIELD_READ, .read = read_options}, \
        {.name = "format", .kind = FV_FIELD_ONLY, .only = "[\"\"]"}, \
        {.name = "think", .kind = FV_FIELD_ONLY, .only = "[]"}, \
        {.name = "logprobs", .kind = FV_FIELD_ONLY, .only = "[false]"}, { \
        .name = "keep_alive", .kind = FV_FIELD_READ, .read = read_keep_alive \
    }

/* How long a model stays loaded: this one always does. */
static fv_status read_keep_alive(void *target, const json_t *value, fv_message *message) {
    (void)target;
    if (json_is_string(value) || json_is_number(value)) return FV_OK;
    return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'keep_alive' must be a time");
}

static const fv_field ollama_generate_list[] = {
    {.name = "prompt", .kind = FV_FIELD_READ, .read = read_prompt},
    {.name = "system", .kind = FV_FIELD_READ, .read = read_system},
    {.name = "raw", .kind = FV_FIELD_SWITCH, .offset = offsetof(draft, raw)},
    {.name = "suffix", .kind = FV_FIELD_ONLY, .only = "[\"\"]"},
    {.name = "template", .kind = FV_FIELD_ONLY, .only = "[\"\"]"},
    {.name = "context", .kind = FV_FIELD_ONLY, .only = "[[]]"},
    {.name = "images", .kind = FV_FIELD_ONLY, .only = "[[]]"},
    OLLAMA_FIELDS,
};

void fv_api_ollama_generate(fv_call *call) {
    const fv_field_table tables[] = {TABLE(ollama_generate_list)};
    serve(call, &(endpoint){&fv_shape_ollama_generate, "ollama-", tables, 1, false, true});
}

static const fv_field ollama_chat_list[] = {
    {.name = "messages", .kind = FV_FIELD_READ, .read = read_messages},
    {.name = "tools", .kind = FV_FIELD_ONLY, .only = "[[]]"},
    OLLAMA_FIELDS,
};

void fv_api_ollama_chat(fv_call *call) {
    const fv_field_table tables[] = {TABLE(ollama_chat_list)};
    serve(call, &(endpoint){&fv_shape_ollama_chat, "ollama-", tables, 1, false, true});
}
