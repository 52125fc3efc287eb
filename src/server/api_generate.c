/* api_generate.c - endpoints whose answers the model writes: each has its fields, its prompt and its shape. */
#include "endpoints.h"
#include "shape_llama.h"
#include "shape_openai.h"
#include "worker.h"

/* An endpoint while it reads. */
typedef struct draft {
    fv_settings settings; /* the first member: tables of fields are its own */
    const json_t *prompt, *messages;
} draft;

typedef struct endpoint {
    const fv_shape *shape;
    const char *id_prefix;
    const fv_field_table *tables; /* [count] */
    size_t count;
    bool many; /* several prompts */
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

/* The body's fields into the request. */
static fv_status read_body(fv_request *request, const endpoint *e, const json_t *body, fv_message *message) {
    draft d = {.settings = request->settings};
    fv_status status = fv_fields_read(e->tables, e->count, body, "", &d, message);
    request->settings = d.settings;
    if (status == FV_OK) status = fv_settings_finish(&request->settings, message);
    if (status != FV_OK) return status;
    if (e->shape == &fv_shape_chat) {
        if (!d.messages) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'messages' is missing");
        status = fv_prompts_chat(&request->prompts, request->server, d.messages, message);
    } else {
        status = fv_prompts_read(&request->prompts, request->server, d.prompt, e->many, message);
    }
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
    serve(call, &(endpoint){&fv_shape_completion, "cmpl-", tables, 4, true});
}

/* logprobs: whether there are any; top_logprobs: how many beside. */
static const fv_field chat_list[] = {
    {.name = "messages", .kind = FV_FIELD_READ, .read = read_messages},
    {.name = "max_completion_tokens", .kind = FV_FIELD_INTEGER, AT(max_tokens), .low = -1, .high = 2147483647},
    {.name = "logprobs", .kind = FV_FIELD_SWITCH, AT(logprobs_wanted)},
    {.name = "top_logprobs", .kind = FV_FIELD_INTEGER, AT(logprobs), .high = FV_TOP_LOGPROBS},
    {.name = "response_format", .kind = FV_FIELD_ONLY, .only = "[{\"type\":\"text\"}]"},
    {.name = "tools", .kind = FV_FIELD_ONLY, .only = "[[]]"},
    {.name = "tool_choice", .kind = FV_FIELD_ONLY, .only = "[\"none\",\"auto\"]"},
    {.name = "parallel_tool_calls", .kind = FV_FIELD_ONLY, .only = "[true,false]"},
    {.name = "functions", .kind = FV_FIELD_ONLY, .only = "[[]]"},
    {.name = "function_call", .kind = FV_FIELD_ONLY, .only = "[\"none\",\"auto\"]"},
    {.name = "modalities", .kind = FV_FIELD_ONLY, .only = "[[\"text\"]]"},
    {.name = "store", .kind = FV_FIELD_ONLY, .only = "[false]"},
    {.name = "metadata", .kind = FV_FIELD_ONLY, .only = "[{}]"},
    {.name = "chat_template_kwargs", .kind = FV_FIELD_ONLY, .only = "[{}]"},
};

void fv_api_chat(fv_call *call) {
    const fv_field_table tables[] = {TABLE(chat_list), fv_sampling_fields, fv_openai_fields, fv_llama_fields};
    serve(call, &(endpoint){&fv_shape_chat, "chatcmpl-", tables, 4, false});
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
    serve(call, &(endpoint){&fv_shape_llama, "cmpl-", tables, 4, false});
}
