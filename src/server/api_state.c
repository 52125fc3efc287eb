/* api_state.c - what the server does at this moment, and what it did so far. */
#include "endpoints.h"
#include "worker.h"
#include <stdio.h>
#include <stdlib.h>

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
        {"fovea:keys_visible_total", "counter", "Keys that dense attention would have read.", (double)c.keys_visible},
        {"fovea:keys_read_total", "counter", "Keys that were read.", (double)c.keys_read},
        {"fovea:kv_bytes_read_total", "counter", "Bytes of caches that were read.", (double)c.bytes_read},
        {"fovea:cache_bytes", "gauge", "Memory of all caches; what they share, once.", (double)c.cache_bytes},
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) write_metric(&text, &metrics[i]);
    fv_reply_text(call->reply, 200, "text/plain; version=0.0.4", text.bytes ? text.bytes : "", text.length);
    fv_text_free(&text);
}
