/* api_state.c - what the server does at this moment, and what it did so far. */
#include "endpoints.h"
#include "fields.h"
#include "worker.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *slot_json(const fv_server *server, uint32_t index, const fv_worker_slot *slot) {
    return json_pack("{s:i, s:I, s:b, s:b, s:s, s:I, s:I, s:I, s:{s:I}}", "id", (int)index, "n_ctx",
                     (json_int_t)server->slot_tokens, "speculative", 0, "is_processing", slot->works, "id_task",
                     slot->works ? slot->id : "", "n_prompt_tokens", (json_int_t)slot->prompt_tokens,
                     "n_prompt_tokens_processed", (json_int_t)slot->read_tokens, "n_tokens", (json_int_t)slot->tokens,
                     "next_token", "n_decoded", (json_int_t)slot->answer_tokens);
}

void fv_api_slots(fv_call *call) {
    const fv_server *server = call->server;
    uint32_t count = server->config->slots;
    fv_worker_counts counts;
    fv_worker_slot *slots = calloc(count, sizeof *slots);
    json_t *list = slots ? json_array() : NULL;
    if (slots) fv_worker_look(server->worker, &counts, slots);
    for (uint32_t i = 0; list && i < count; i++) (void)json_array_append_new(list, slot_json(server, i, &slots[i]));
    if (list && call->fail_on_no_slot && counts.working == count) {
        json_decref(list);
        fv_reply_error(call->reply, 503, "no slot is free");
    } else {
        fv_reply_json(call->reply, 200, list);
    }
    free(slots);
}

/* ---- what is done to slots ---- */

static fv_status read_name(void *target, const json_t *value, fv_message *message) {
    fv_slot_action *action = target;
    const char *name = json_is_string(value) ? json_string_value(value) : "";
    if (!fv_slot_file_is_good(name))
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "field 'filename' must be a name without a folder: letters, digits, '.', '_', '-'");
    strcpy(action->file, name);
    return FV_OK;
}

static fv_status read_action(fv_slot_action *action, fv_call *call, fv_message *message) {
    static const char *const verbs[] = {"save", "restore", "erase"};
    static const fv_field list[] = {{.name = "filename", .kind = FV_FIELD_READ, .read = read_name}};
    const fv_field_table table = {list, 1};
    size_t verb = 0;
    while (verb < 3 && strcmp(call->action, verbs[verb]) != 0) verb++;
    if (verb == 3)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "'action' must be save, restore or erase, not '%s'",
                              call->action);
    action->verb = (fv_slot_verb)verb;
    action->slot = call->slot;
    if (action->slot >= call->server->config->slots)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "there is no slot %u: they are 0 to %u", action->slot,
                              call->server->config->slots - 1);
    if (action->verb == FV_SLOT_ERASE && call->body.length == 0) return FV_OK;
    json_t *body = fv_json_parse(call->body.bytes, call->body.length, message);
    fv_status status = body ? fv_fields_read(&table, 1, body, "", action, message) : FV_ERROR_ARGUMENT;
    json_decref(body);
    if (status == FV_OK && action->verb != FV_SLOT_ERASE && !action->file[0])
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'filename' is missing");
    return status;
}

void fv_api_slot(fv_call *call) {
    fv_message message = {""};
    if (!call->server->config->slot_folder) {
        fv_reply_error(call->reply, 501, "this server was started without a folder for slots");
        return;
    }
    fv_slot_action *action = calloc(1, sizeof *action);
    fv_status status = action ? read_action(action, call, &message) : FV_ERROR_MEMORY;
    if (status != FV_OK) {
        free(action);
        fv_call_fail(call, status, &message);
        return;
    }
    action->reply = call->reply;
    fv_reply_hold(action->reply);
    fv_worker_act(call->server->worker, action);
}

/* ---- metrics ---- */

typedef struct metric {
    const char *name, *kind, *help;
    double value;
} metric;

static void write_metric(fv_text *text, const metric *m) {
    char line[512];
    int length = snprintf(line, sizeof line, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", m->name, m->help, m->name,
                          m->kind, m->name, m->value);
    if (length > 0) (void)fv_text_append(text, line, (size_t)length);
}

static double per_second(uint64_t count, uint64_t ns) { return ns > 0 ? (double)count * 1e9 / (double)ns : 0; }

void fv_api_metrics(fv_call *call) {
    const fv_server *server = call->server;
    fv_worker_counts c;
    fv_text text = {0};
    fv_worker_look(server->worker, &c, NULL);
    double room = (double)server->slot_tokens * server->config->slots;
    const metric metrics[] = {
        {"llamacpp:prompt_tokens_total", "counter", "Tokens of prompts that were read.", (double)c.prompt_tokens},
        {"llamacpp:prompt_seconds_total", "counter", "Time of reading them.", (double)c.prompt_ns * 1e-9},
        {"llamacpp:tokens_predicted_total", "counter", "Tokens of answers.", (double)c.answer_tokens},
        {"llamacpp:tokens_predicted_seconds_total", "counter", "Time of answers.", (double)c.answer_ns * 1e-9},
        {"llamacpp:prompt_tokens_seconds", "gauge", "Tokens of a prompt in a second.",
         per_second(c.prompt_tokens, c.prompt_ns)},
        {"llamacpp:predicted_tokens_seconds", "gauge", "Tokens of an answer in a second.",
         per_second(c.answer_tokens, c.answer_ns)},
        {"llamacpp:kv_cache_usage_ratio", "gauge", "Share of all contexts that is filled.",
         (double)c.cache_tokens / room},
        {"llamacpp:kv_cache_tokens", "gauge", "Tokens in all contexts.", (double)c.cache_tokens},
        {"llamacpp:requests_processing", "gauge", "Answers at work.", (double)c.working},
        {"llamacpp:requests_deferred", "gauge", "Answers that wait for a slot.", (double)c.waiting},
        {"llamacpp:n_decode_total", "counter", "Steps of the model.", (double)c.steps},
        {"fovea:answers_total", "counter", "Answers that ended.", (double)c.requests},
        {"fovea:reused_tokens_total", "counter", "Tokens of prompts that were there already.", (double)c.cached_tokens},
        {"fovea:step_rows_total", "counter", "Rows of all steps.", (double)c.rows},
        {"fovea:guessed_tokens_total", "counter", "Tokens that were guessed and evaluated ahead.", (double)c.guessed},
        {"fovea:right_guesses_total", "counter", "Of them, those that were chosen.", (double)c.right},
        {"fovea:keys_visible_total", "counter", "Keys that dense attention would have read.", (double)c.keys_visible},
        {"fovea:keys_read_total", "counter", "Keys that were read.", (double)c.keys_read},
        {"fovea:kv_bytes_read_total", "counter", "Bytes of caches that were read.", (double)c.bytes_read},
        {"fovea:cache_bytes", "gauge", "Memory of all caches; what they share, once.", (double)c.cache_bytes},
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) write_metric(&text, &metrics[i]);
    fv_reply_text(call->reply, 200, "text/plain; version=0.0.4", text.bytes ? text.bytes : "", text.length);
    fv_text_free(&text);
}
