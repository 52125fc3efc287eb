/* server.c - opening and ending in order: what answers ends before what listens. */
#include "server.h"
#include "desk.h"
#include "dialogue.h"
#include "fovea/conversation.h"
#include "http.h"
#include "listener.h"
#include "settings.h"
#include "supervisor.h"
#include "worker.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void fv_server_config_default(fv_server_config *config) {
    *config = (fv_server_config){.host = "127.0.0.1",
                                 .port = 8080,
                                 .prefix = "",
                                 .timeout_s = 3600,
                                 .max_body_bytes = 64u << 20,
                                 .slots = 4,
                                 .queue = 256,
                                 .lookup = FV_GENERATE_GUESSES,
                                 .session_bytes = (uint64_t)8 << 30};
}

fv_status fv_server_open(fv_server **server, const fv_server_config *config, fv_message *message) {
    fv_policy policy;
    fv_chat_family family;
    fv_status status = config->attention ? fv_policy_parse(&policy, config->attention, message) : FV_OK;
    if (status == FV_OK && config->chat_template)
        status = fv_chat_family_from_name(config->chat_template, &family, message);
    if (status != FV_OK) return status;
    fv_server *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the server");
    made->config = config;
    made->listener = -1;
    made->began_s = (uint64_t)time(NULL);
    atomic_init(&made->phase, FV_SERVER_LOADING);
    status = fv_listener_open(made, message);
    if (status == FV_OK) status = fv_desk_open(&made->desk, message);
    if (status == FV_OK) status = fv_http_start(made, message);
    if (status == FV_OK)
        *server = made;
    else
        fv_server_close(made);
    return status;
}

const char *fv_server_url(const fv_server *server) { return server->url; }

/* ---- the model ---- */

/* The model's name: its alias, or its file's without folder and ending. */
static void name_take(fv_server *server) {
    const char *path = fv_gguf_path(fv_llm_gguf(server->llm)), *file = strrchr(path, '/');
    file = file ? file + 1 : path;
    size_t length = strlen(file);
    if (length > 5 && strcmp(file + length - 5, ".gguf") == 0) length -= 5;
    if (server->config->name)
        snprintf(server->name, sizeof server->name, "%s", server->config->name);
    else
        snprintf(server->name, sizeof server->name, "%.*s", (int)length, file);
}

static void template_find(fv_server *server, fv_message *message) {
    const char *name = server->config->chat_template;
    fv_chat_family family = FV_CHAT_NONE;
    fv_dialogue_open(server);
    fv_status status = name ? fv_chat_family_from_name(name, &family, message)
                            : fv_chat_family_detect(fv_llm_gguf(server->llm), &family, message);
    server->chat = (fv_chat_format){.gguf = fv_llm_gguf(server->llm), .family = family};
    bool differs = status == FV_OK && !name && server->template && family != FV_CHAT_NONE &&
                   !fv_chat_family_agrees(family, fv_llm_gguf(server->llm), server->template);
    if (server->template && (status != FV_OK || differs || server->config->template_text)) {
        server->chat.family = FV_CHAT_NONE;
        (void)fv_message_set(message, FV_OK, "%s", "");
        return;
    }
    if (status == FV_OK && family != FV_CHAT_NONE) return;
    if (status == FV_OK) (void)fv_message_set(message, FV_OK, "the model's file has no chat template");
    if (server->template_fault.text[0] && status != FV_OK && server->config->jinja != FV_SERVER_JINJA_OFF)
        *message = server->template_fault;
    server->chat_fault = *message;
    server->chat.family = FV_CHAT_NONE;
    (void)fv_message_set(message, FV_OK, "there is no chat: %.400s", server->chat_fault.text);
}

static fv_status context_choose(fv_server *server, fv_message *message) {
    const fv_server_config *config = server->config;
    uint32_t trained = fv_llm_config(server->llm)->cache.max_tokens;
    server->slot_tokens = config->context_tokens ? config->context_tokens / config->slots : trained;
    if (server->slot_tokens >= 2) return FV_OK;
    return fv_message_set(message, FV_ERROR_ARGUMENT, "a context of %u tokens is too short for %u slots",
                          config->context_tokens, config->slots);
}

static void attention_choose(fv_server *server) {
    fv_session_config config;
    fv_engine_session_config(server->engine, &config);
    config.context_tokens = server->slot_tokens;
    server->attention = server->config->attention;
    if (!server->attention) server->attention = fv_engine_attention(server->engine, &config);
}

fv_status fv_server_start(fv_server *server, const fv_engine *engine, fv_message *message) {
    server->engine = engine;
    server->llm = fv_engine_llm(engine);
    name_take(server);
    fv_status status = context_choose(server, message);
    if (status != FV_OK) return status;
    attention_choose(server);
    template_find(server, message);
    if (server->config->template_text && !server->template)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the chat template that was named can't be used: %.400s",
                              server->template_fault.text);
    fv_message why = {""};
    status = fv_worker_open(&server->worker, server, &why);
    if (status != FV_OK) {
        *message = why;
        return status;
    }
    atomic_store(&server->phase, FV_SERVER_RUNNING);
    fv_supervisor_tell("READY=1");
    return FV_OK;
}

/* ---- the end ---- */

static void wait_ms(long ms) {
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

fv_status fv_server_stop(fv_server *server, uint32_t grace_s, fv_message *message) {
    enum { STEP_MS = 20, DELIVERY_MS = 2000 };
    atomic_store(&server->phase, FV_SERVER_STOPPING);
    fv_supervisor_tell("STOPPING=1");
    fv_http_quiesce(server);
    for (uint64_t ms = 0; ms < (uint64_t)grace_s * 1000 && atomic_load(&server->open_replies) > 0; ms += STEP_MS)
        wait_ms(STEP_MS);
    fv_desk_stop(server->desk);
    fv_status kept = server->worker ? fv_worker_stop(server->worker, message) : FV_OK;
    for (int ms = 0; ms < DELIVERY_MS && atomic_load(&server->open_replies) > 0; ms += STEP_MS) wait_ms(STEP_MS);
    return kept;
}

void fv_server_close(fv_server *server) {
    if (!server) return;
    if (server->desk) fv_desk_stop(server->desk);
    if (server->worker) (void)fv_worker_stop(server->worker, NULL);
    fv_http_stop(server);
    fv_worker_close(server->worker);
    fv_desk_close(server->desk);
    if (server->listener >= 0) close(server->listener);
    fv_listener_remove(server);
    fv_dialogue_close(server);
    free(server);
}
