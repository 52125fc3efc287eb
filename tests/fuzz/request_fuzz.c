/* request_fuzz.c - any bytes as the body of a request, to every endpoint that has one: it is refused by a 4xx whose
 * message is there, or it is taken, and what reaches the thread that steps is in range. There logits of noise are
 * answered to, so that shapes, stop texts and log-probabilities are run as well: what goes out is JSON.
 * Input: a byte of the endpoint, a byte of the noise, the body. The model's thread is in this file; there is no socket.
 */
#include "server/desk.h"
#include "server/endpoints.h"
#include "server/keys.h"
#include "server/routes.h"
#include "server/worker.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do \
        if (!(condition)) abort(); \
    while (0)

enum { SLOT_TOKENS = 256, ANSWER_MOST = 12, CHOICES_MOST = 6 };

static fv_engine *engine;
static fv_server_config config;
static uint32_t noise;

/* ---- the thread that steps ---- */

static float next_noise(void) {
    noise ^= noise << 13;
    noise ^= noise >> 17;
    noise ^= noise << 5;
    return (float)(noise % 4096) / 256.0f;
}

static void fill(float *logits, uint32_t vocabulary) {
    for (uint32_t i = 0; i < vocabulary; i++) logits[i] = next_noise();
}

static void check_request(const fv_request *request, uint32_t vocabulary) {
    const fv_settings *settings = &request->settings;
    REQUIRE(settings->answers >= 1 && settings->answers <= FV_ANSWERS_MOST);
    REQUIRE(settings->max_tokens >= -1 && settings->logprobs >= -1 && settings->logprobs <= FV_TOP_LOGPROBS);
    REQUIRE(settings->stop_count <= FV_ANSWER_STOPS && fv_policy_check(&settings->policy) == FV_OK);
    REQUIRE(isfinite(settings->sampler.temperature) && isfinite(settings->quality));
    for (size_t i = 0; i < settings->bias_count; i++)
        REQUIRE(settings->bias[i].token >= 0 && (uint32_t)settings->bias[i].token < vocabulary);
    REQUIRE(request->choice_count == request->prompts.count * (size_t)settings->answers && request->choice_count > 0);
    for (size_t i = 0; i < request->prompts.count; i++) {
        const fv_tokens *tokens = &request->prompts.items[i].tokens;
        REQUIRE(tokens->count >= 1 && tokens->count <= SLOT_TOKENS);
        for (size_t t = 0; t < tokens->count; t++)
            REQUIRE(tokens->ids[t] >= 0 && (uint32_t)tokens->ids[t] < vocabulary);
    }
}

static void answer(fv_choice *choice, uint32_t vocabulary, float *logits, float *scratch) {
    size_t prompt = choice->prompt->tokens.count;
    REQUIRE(fv_choice_open(choice) == FV_OK);
    for (size_t i = 0; i < prompt && fv_choice_wants_rows(choice); i++) {
        fill(logits, vocabulary);
        REQUIRE(fv_choice_prompt_row(choice, i, logits) == FV_OK);
    }
    choice->read = prompt;
    for (int i = 0; i < ANSWER_MOST && choice->finish == FV_FINISH_NOT; i++) {
        fill(logits, vocabulary);
        size_t held = prompt + choice->tokens.count;
        REQUIRE(fv_choice_next(choice, logits, scratch, held < SLOT_TOKENS ? SLOT_TOKENS - held : 0) == FV_OK);
    }
    fv_choice_end(choice, choice->finish == FV_FINISH_NOT ? FV_FINISH_LIMIT : (fv_finish)choice->finish);
}

void fv_worker_put(fv_worker *worker, fv_request *request) {
    uint32_t vocabulary = fv_llm_config(fv_engine_llm(engine))->vocabulary;
    float *logits = calloc(2 * (size_t)vocabulary, sizeof *logits);
    (void)worker;
    REQUIRE(logits);
    check_request(request, vocabulary);
    if (request->choice_count > CHOICES_MOST) fv_request_fail(request, 429, "too many for this test");
    for (size_t i = 0; i < request->choice_count && !request->failed; i++)
        answer(&request->choices[i], vocabulary, logits, logits + vocabulary);
    free(logits);
    fv_request_free(request);
}

void fv_worker_act(fv_worker *worker, fv_slot_action *action) {
    (void)worker;
    REQUIRE(action->slot < config.slots);
    REQUIRE(action->verb == FV_SLOT_ERASE || fv_slot_file_is_good(action->file));
    fv_reply_json(action->reply, 200, json_object());
    fv_reply_drop(action->reply);
    free(action);
}

/* For GET endpoints, which are not asked here. */
void fv_worker_look(fv_worker *worker, fv_worker_counts *counts, fv_worker_slot *slots) {
    (void)worker, (void)counts, (void)slots;
    abort();
}

/* ---- the server ---- */

static void open_engine(void) {
    fv_engine_config wanted;
    fv_message message = {""};
    fv_engine_config_default(&wanted);
    wanted.model = FV_SOURCE_DIR "/tests/model/llama_f32.gguf";
    wanted.tune = "none";
    wanted.pool.threads = 1;
    json_object_seed(1);
    REQUIRE(fv_engine_open(&engine, &wanted, &message) == FV_OK);
    config = (fv_server_config){
        .host = "", .prefix = "", .slots = 2, .queue = 1, .attention = "dense", .slot_folder = "/nowhere"};
}

static void check_json(const char *bytes, size_t length, bool failed) {
    json_t *document = json_loadb(bytes, length, JSON_ALLOW_NUL, NULL);
    REQUIRE(json_is_object(document));
    const json_t *error = json_object_get(document, "error");
    REQUIRE(!failed || (json_is_object(error) && json_string_length(json_object_get(error, "message")) > 0));
    json_decref(document);
}

/* Events of a stream, each a document. */
static void check_stream(const fv_reply *reply) {
    bool lines = strcmp(reply->type, FV_REPLY_NDJSON) == 0;
    size_t head = lines ? 0 : 6, tail = lines ? 1 : 2;
    for (size_t at = 0; at < reply->bytes.length;) {
        const char *event = reply->bytes.bytes + at, *end = strstr(event, lines ? "\n" : "\n\n");
        REQUIRE(end && (lines || memcmp(event, "data: ", 6) == 0 || memcmp(event, "event: ", 7) == 0));
        size_t length = (size_t)(end - event);
        if (!lines && memcmp(event, "event: ", 7) == 0) { /* a name, then the data */
            const char *data = strstr(event, "\ndata: ");
            REQUIRE(data && data < end);
            head = (size_t)(data - event) + 7;
        }
        if (length != 12 || memcmp(event, "data: [DONE]", 12) != 0) check_json(event + head, length - head, false);
        at += length + tail;
        head = lines ? 0 : 6;
    }
}

static void check_reply(const fv_reply *reply) {
    REQUIRE(reply->status >= 200 && reply->status < 600 && reply->ended);
    REQUIRE(reply->status < 500 || reply->status == 501); /* nothing is the server's own fault here */
    if (reply->streamed)
        check_stream(reply);
    else
        check_json(reply->bytes.bytes, reply->bytes.length, reply->status >= 400);
}

static const char *const paths[] = {"/v1/completions", "/v1/chat/completions",
                                    "/completion",     "/tokenize",
                                    "/detokenize",     "/apply-template",
                                    "/slots/1",        "/api/chat",
                                    "/api/generate",   "/api/show",
                                    "/v1/responses"};

static void ask(const char *path, uint8_t seed, const uint8_t *body, size_t length) {
    static const char *const actions[] = {"save", "restore", "erase", "else"};
    fv_server server = {.config = &config, .engine = engine, .llm = fv_engine_llm(engine), .slot_tokens = SLOT_TOKENS};
    server.chat = (fv_chat_format){.gguf = fv_llm_gguf(server.llm), .family = FV_CHAT_CHATML};
    strcpy(server.name, "fuzz");
    fv_reply *reply = fv_reply_new();
    fv_call *call = calloc(1, sizeof *call);
    REQUIRE(reply && call);
    bool other = false;
    const char *reason = NULL;
    *call = (fv_call){.server = &server, .reply = reply};
    call->route = fv_routes_find("POST", path, &call->slot, &other, &reason);
    strcpy(call->action, actions[seed % 4]);
    REQUIRE(fv_text_append(&call->body, (const char *)body, length) == FV_OK);
    fv_reply_hold(reply);
    if (call->route) {
        fv_call_serve(call);
        check_reply(reply);
    } else {
        REQUIRE(reason);
        fv_call_free(call);
    }
    fv_reply_drop(reply);
}

/* The same bytes as what comes before a body: a path, a key. */
static void ask_head(const uint8_t *data, size_t size) {
    char text[256];
    const char *reason, *const keys[] = {"key", "another"};
    uint32_t number = 0;
    bool other;
    size_t length = size < sizeof text - 1 ? size : sizeof text - 1;
    memcpy(text, data, length);
    text[length] = 0;
    const fv_route *route = fv_routes_find("POST", text, &number, &other, &reason);
    REQUIRE(!route || strcmp(route->method, "POST") == 0);
    const fv_server_config asks = {.keys = keys, .key_count = 2};
    REQUIRE(fv_keys_find(&asks, text, NULL) < 0 || strstr(text, keys[0]) || strstr(text, keys[1]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    if (!engine) open_engine();
    noise = 1u + data[1];
    ask_head(data, size);
    ask(paths[data[0] % (sizeof paths / sizeof *paths)], data[1], data + 2, size - 2);
    return 0;
}
