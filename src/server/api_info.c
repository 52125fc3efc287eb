/* api_info.c - what can be asked of the server and its model without asking the model. */
#include "endpoints.h"
#include "fovea/version.h"
#include <string.h>
#include <time.h>

void fv_call_fail(fv_call *call, fv_status status, const fv_message *message) {
    unsigned code = status == FV_ERROR_MEMORY ? 503 : status == FV_ERROR_UNSUPPORTED ? 501 : 400;
    fv_reply_error(call->reply, code, "%s", message && message->text[0] ? message->text : fv_status_text(status));
}

json_t *fv_call_body(fv_call *call) {
    fv_message message = {""};
    json_t *body = fv_json_parse(call->body.bytes, call->body.length, &message);
    if (!body) fv_call_fail(call, FV_ERROR_ARGUMENT, &message);
    fv_text_free(&call->body); /* it may be large */
    return body;
}

void fv_api_health(fv_call *call) {
    int phase = atomic_load(&call->server->phase);
    if (phase == FV_SERVER_RUNNING)
        fv_reply_json(call->reply, 200, json_pack("{s:s}", "status", "ok"));
    else
        fv_reply_error(call->reply, 503, phase == FV_SERVER_LOADING ? "Loading model" : "the server is stopping");
}

static json_t *name_of(const fv_server *server) { return fv_json_string(server->name, strlen(server->name)); }

void fv_api_models(fv_call *call) {
    const fv_server *server = call->server;
    const fv_model_config *shape = fv_llm_config(server->llm);
    json_t *meta =
        json_pack("{s:I, s:I, s:I, s:I, s:I}", "n_vocab", (json_int_t)shape->vocabulary, "n_ctx_train",
                  (json_int_t)shape->cache.max_tokens, "n_ctx", (json_int_t)server->slot_tokens, "n_params",
                  (json_int_t)fv_llm_parameters(server->llm), "size", (json_int_t)fv_llm_weight_bytes(server->llm));
    fv_reply_json(call->reply, 200,
                  json_pack("{s:s, s:[{s:o, s:s, s:I, s:s, s:o}]}", "object", "list", "data", "id", name_of(server),
                            "object", "model", "created", (json_int_t)server->began_s, "owned_by", "fovea", "meta",
                            meta));
}

/* ---- llama-server's ---- */

static json_t *token_text(const fv_server *server, int32_t token) {
    fv_text text = {0};
    if (token >= 0) (void)fv_tokenizer_piece(fv_llm_tokenizer(server->llm), token, true, &text);
    json_t *made = fv_json_string(text.bytes ? text.bytes : "", text.length);
    fv_text_free(&text);
    return made;
}

static json_t *template_text(const fv_server *server) {
    fv_gguf_text text;
    if (!fv_gguf_string(fv_llm_gguf(server->llm), "tokenizer.chat_template", &text)) return json_string("");
    return fv_json_string(text.bytes, text.length);
}

void fv_api_props(fv_call *call) {
    const fv_server *server = call->server;
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(server->llm);
    const char *path = fv_gguf_path(fv_llm_gguf(server->llm));
    json_t *settings =
        json_pack("{s:I, s:s}", "n_ctx", (json_int_t)server->slot_tokens, "attention", server->attention);
    fv_reply_json(call->reply, 200,
                  json_pack("{s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:s, s:b}", "default_generation_settings", settings,
                            "total_slots", (int)server->config->slots, "model_alias", name_of(server), "model_path",
                            fv_json_string(path, strlen(path)), "chat_template", template_text(server), "bos_token",
                            token_text(server, fv_tokenizer_bos(tokenizer)), "eos_token",
                            token_text(server, fv_tokenizer_eos(tokenizer)), "build_info", "fovea " FV_VERSION_STRING,
                            "is_sleeping", 0));
}

/* ---- vLLM's ---- */

/* What a client that cuts texts into tokens here wants to know. */
void fv_api_tokenizer_info(fv_call *call) {
    const fv_server *server = call->server;
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(server->llm);
    int32_t bos = fv_tokenizer_bos(tokenizer), eos = fv_tokenizer_eos(tokenizer);
    fv_reply_json(call->reply, 200,
                  json_pack("{s:s, s:o, s:o, s:i, s:o}", "tokenizer_class", "fovea", "bos_token",
                            bos >= 0 ? token_text(server, bos) : json_null(), "eos_token",
                            eos >= 0 ? token_text(server, eos) : json_null(), "model_max_length",
                            (int)server->slot_tokens, "chat_template", template_text(server)));
}

/* ---- Ollama's ---- */

void fv_api_version(fv_call *call) {
    fv_reply_json(call->reply, 200, json_pack("{s:s}", "version", FV_VERSION_STRING));
}

static json_t *details(const fv_server *server) {
    return json_pack("{s:s, s:s, s:s, s:s}", "parent_model", "", "format", "gguf", "family",
                     fv_llm_architecture(server->llm), "quantization_level", "");
}

static json_t *when(uint64_t seconds) {
    char text[32] = "";
    time_t at = (time_t)seconds;
    struct tm parts;
    if (gmtime_r(&at, &parts)) strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return json_string(text);
}

void fv_api_tags(fv_call *call) {
    const fv_server *server = call->server;
    fv_reply_json(call->reply, 200,
                  json_pack("{s:[{s:o, s:o, s:o, s:I, s:s, s:o}]}", "models", "name", name_of(server), "model",
                            name_of(server), "modified_at", when(server->began_s), "size",
                            (json_int_t)fv_gguf_file_bytes(fv_llm_gguf(server->llm)), "digest", "", "details",
                            details(server)));
}

void fv_api_show(fv_call *call) {
    const fv_server *server = call->server;
    json_t *body = fv_call_body(call);
    if (!body) return;
    json_decref(body); /* whatever model it names: there is one */
    json_t *facts = json_pack("{s:s, s:I}", "general.architecture", fv_llm_architecture(server->llm),
                              "general.parameter_count", (json_int_t)fv_llm_parameters(server->llm));
    fv_reply_json(call->reply, 200,
                  json_pack("{s:s, s:s, s:o, s:o, s:o, s:[s], s:o}", "modelfile", "", "parameters", "", "template",
                            template_text(server), "details", details(server), "model_info", facts, "capabilities",
                            "completion", "modified_at", when(server->began_s)));
}
